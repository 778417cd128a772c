package peer;

import java.util.Map;

import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.streams.processor.internals.DefaultKafkaClientSupplier;

/**
 * The clients that Kafka Streams makes by itself, whose producers time each commit: from the flush that begins it to
 * the end of its transaction. What Kafka Streams does before that flush, the emptying of its caches, is not in it.
 */
final class TimedClients extends DefaultKafkaClientSupplier {
    private final Histogram commits;

    TimedClients(final Histogram commits) {
        this.commits = commits;
    }

    @Override
    public Producer<byte[], byte[]> getProducer(final Map<String, Object> config) {
        return new TimedProducer(config, commits);
    }

    private static final class TimedProducer extends KafkaProducer<byte[], byte[]> {
        private final Histogram commits;
        /** Of the first flush since the last commit. Each producer is one stream thread's. */
        private long began;

        TimedProducer(final Map<String, Object> config, final Histogram commits) {
            super(config, new ByteArraySerializer(), new ByteArraySerializer());
            this.commits = commits;
        }

        @Override
        public void flush() {
            if (began == 0) {
                began = System.nanoTime();
            }
            super.flush();
        }

        @Override
        public void commitTransaction() {
            super.commitTransaction();
            if (began != 0) {
                commits.record(System.nanoTime() - began);
                began = 0;
            }
        }
    }
}
