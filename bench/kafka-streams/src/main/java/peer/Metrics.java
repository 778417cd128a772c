package peer;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.atomic.LongAdder;

import com.sun.net.httpserver.HttpServer;
import org.apache.kafka.streams.KafkaStreams;

/** Serves what the measurement reads while the application runs, in the text format of Prometheus. */
final class Metrics {
    final Meter meter = new Meter();
    final Histogram commits = new Histogram();
    final LongAdder restored = new LongAdder();

    void serve(final int port, final KafkaStreams streams) {
        try {
            final HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
            server.createContext("/metrics", exchange -> {
                final byte[] body = text(streams).getBytes(StandardCharsets.UTF_8);
                exchange.sendResponseHeaders(200, body.length);
                exchange.getResponseBody().write(body);
                exchange.close();
            });
            server.start();
        } catch (final IOException e) {
            throw new UncheckedIOException("cannot listen on port " + port, e);
        }
    }

    private String text(final KafkaStreams streams) {
        final StringBuilder out = new StringBuilder();
        out.append("peer_records_processed_total ").append(meter.processed()).append('\n');
        out.append("peer_restore_records_total ").append(restored.sum()).append('\n');
        out.append("peer_running ").append(streams.state() == KafkaStreams.State.RUNNING ? 1 : 0).append('\n');
        commits.write(out, "peer_commit_duration_seconds");
        return out.toString();
    }
}
