package peer;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.LongAdder;
import java.util.stream.Stream;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.streams.CloseOptions;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.LagInfo;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.processor.StateRestoreListener;

/** Runs the topology, and says on one JSON line what a run took. */
public final class App {
    private static final String USAGE = """
        usage: App --input TOPIC --prefix OUTPUT_PREFIX --app-id ID --state-dir DIR
                   [--bootstrap 127.0.0.1:9092] [--threads 2] [--cache-mb 64]
                   [--guarantee exactly_once_v2|at_least_once] [--emit every-commit|on-close]
                   [--set STREAMS_CONFIG=VALUE]...
                   [--event-id ID] [--listen PORT] [--expect N | --restore-only]""";

    /** With --expect, a run that stands still this long has failed. */
    private static final long STALL_NANOS = Duration.ofSeconds(120).toNanos();

    /**
     * On close, how often Kafka Streams looks whether a window has closed; by itself once a second. Catching up, a
     * second can be hours of event time, and windows whose retention ends meanwhile would never be emitted. A look
     * costs next to nothing unless a window has closed.
     */
    private static final long CLOSE_LOOK_MS = 1;

    private final Args args;
    private final Metrics metrics = new Metrics();
    private final Meter meter = metrics.meter;
    private final CountDownLatch ended = new CountDownLatch(1);
    private final String input;
    private final String appId;
    private final String guarantee;
    private final Emit emit;

    private App(final String[] argv) {
        args = new Args(USAGE,
            Set.of("input", "prefix", "app-id", "state-dir", "bootstrap", "threads", "cache-mb", "guarantee", "emit", "set", "expect",
                "event-id", "listen"),
            Set.of("restore-only"), argv);
        System.setProperty(Wire.MARKET_EVENT_ID_PROPERTY, args.get("event-id", "2"));
        input = args.get("input");
        appId = args.get("app-id");
        guarantee = args.get("guarantee", StreamsConfig.EXACTLY_ONCE_V2);
        if (!guarantee.equals(StreamsConfig.EXACTLY_ONCE_V2) && !guarantee.equals(StreamsConfig.AT_LEAST_ONCE)) {
            throw args.fail("--guarantee wants exactly_once_v2 or at_least_once, not " + guarantee);
        }
        emit = Emit.of(args);
        if (args.has("expect") && (args.has("restore-only") || args.number("expect") < 1)) {
            throw args.fail("--expect wants at least 1, and not --restore-only beside it");
        }
    }

    public static void main(final String[] argv) {
        final App app = new App(argv);
        int status = 1;
        try {
            status = app.run();
        } catch (final Exception e) {
            e.printStackTrace();
        } finally {
            app.ended.countDown();
        }
        System.exit(status);
    }

    private int run() throws Exception {
        final String prefix = args.get("prefix");
        final Path state = Path.of(args.get("state-dir"), appId);
        if (args.has("restore-only") && !empty(state)) {
            throw args.fail("--restore-only wants no state in " + state);
        }
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap()))) {
            final List<TopicPartition> partitions = partitions(admin);
            createOutputs(admin, Pipeline.outputs(prefix), partitions.size());

            final KafkaStreams streams =
                new KafkaStreams(Pipeline.build(input, prefix, emit, meter), config(), new TimedClients(metrics.commits));
            streams.setUncaughtExceptionHandler(e -> {
                e.printStackTrace();
                return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
            });
            streams.setGlobalStateRestoreListener(restored());
            if (args.has("listen")) {
                metrics.serve(args.integer("listen"), streams);
            }
            final boolean ok;
            if (args.has("restore-only")) {
                ok = restore(streams, partitions.size());
            } else if (args.has("expect")) {
                ok = expect(streams, admin, partitions, args.number("expect"));
            } else {
                ok = serve(streams);
            }
            // Leaving, rather than letting the session time out, lets the next run of this id start at once.
            final boolean closed = streams.close(CloseOptions.timeout(Duration.ofSeconds(60))
                .withGroupMembershipOperation(CloseOptions.GroupMembershipOperation.LEAVE_GROUP));
            if (!closed) {
                System.err.println("the streams did not close in 60 s");
            }
            return ok && closed ? 0 : 1;
        }
    }

    private String bootstrap() {
        return args.get("bootstrap", "127.0.0.1:9092");
    }

    private Properties config() {
        final Properties p = new Properties();
        p.put(StreamsConfig.APPLICATION_ID_CONFIG, appId);
        p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap());
        p.put(StreamsConfig.STATE_DIR_CONFIG, args.get("state-dir"));
        p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, args.integer("threads", "2"));
        p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, guarantee);
        p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, guarantee.equals(StreamsConfig.EXACTLY_ONCE_V2) ? 100 : 30_000);
        p.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        p.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, args.number("cache-mb", "64") << 20);
        // A commit sends all that changed since the last, most of it to the same partitions: 16 KiB batches are too many.
        p.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 128 << 10);
        if (emit == Emit.ON_CLOSE) {
            p.put(StreamsConfig.InternalConfig.EMIT_INTERVAL_MS_KSTREAMS_WINDOWED_AGGREGATION, CLOSE_LOOK_MS);
        }
        p.putAll(args.set);
        return p;
    }

    private List<TopicPartition> partitions(final Admin admin) throws ExecutionException, InterruptedException {
        final List<TopicPartition> partitions = new ArrayList<>();
        admin.describeTopics(Set.of(input)).allTopicNames().get().get(input).partitions()
            .forEach(p -> partitions.add(new TopicPartition(input, p.partition())));
        return partitions;
    }

    /** Kept for ever: output records bear event times, which the broker's retention would take for old. */
    private static void createOutputs(final Admin admin, final List<String> topics, final int partitions)
        throws ExecutionException, InterruptedException {
        final Set<String> existing = admin.listTopics().names().get();
        final List<NewTopic> missing = new ArrayList<>();
        for (final String topic : topics) {
            if (!existing.contains(topic)) {
                missing.add(new NewTopic(topic, partitions, (short) 1).configs(Map.of("retention.ms", "-1")));
            }
        }
        admin.createTopics(missing).all().get();
    }

    /** Runs until SIGTERM. */
    private boolean serve(final KafkaStreams streams) throws InterruptedException {
        final CountDownLatch stop = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            stop.countDown();
            try {
                ended.await();
            } catch (final InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }));
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.ERROR) {
                stop.countDown();
            }
        });
        streams.start();
        stop.await();
        return streams.state() != KafkaStreams.State.ERROR;
    }

    private boolean expect(final KafkaStreams streams, final Admin admin, final List<TopicPartition> partitions, final long events)
        throws Exception {
        streams.start();
        long last = -1;
        long lastNanos = System.nanoTime();
        for (long n = 0; n < events; n = meter.processed()) {
            if (failed(streams)) {
                return false;
            }
            final long now = System.nanoTime();
            if (n != last) {
                last = n;
                lastNanos = now;
            } else if (now - lastNanos > STALL_NANOS) {
                System.err.println("stuck at " + n + " of " + events + " records");
                return false;
            }
            Thread.sleep(10);
        }
        final long processedNanos = System.nanoTime();
        final long processedCpu = Meter.cpuNanos();

        final Map<TopicPartition, Long> ends = ends(admin, partitions);
        while (!committed(admin, ends)) {
            if (failed(streams)) {
                return false;
            }
            if (System.nanoTime() - processedNanos > STALL_NANOS) {
                System.err.println("all records processed, but no commit reached the end of " + input);
                return false;
            }
            Thread.sleep(50);
        }
        final double wall = (System.nanoTime() - meter.firstNanos) / 1e9;
        final long cpuNow = Meter.cpuNanos();
        final double cpu = (cpuNow - meter.firstCpu) / 1e9;
        final long n = meter.processed();
        System.out.printf(Locale.ROOT,
            "{\"events\":%d,\"wall_s\":%.3f,\"cpu_s\":%.3f,\"cpu_total_s\":%.3f,\"events_per_s\":%.0f,"
                + "\"cpu_us_per_event\":%.3f,\"rss_mb\":%.1f,\"rss_peak_mb\":%.1f,\"startup_s\":%.3f,"
                + "\"processed_wall_s\":%.3f,\"processed_cpu_s\":%.3f,\"threads\":%d,\"guarantee\":\"%s\"}%n",
            n, wall, cpu, cpuNow / 1e9, n / wall, cpu * 1e6 / n, Meter.statusMb("VmRSS"), Meter.statusMb("VmHWM"),
            Meter.sinceJvmStart(meter.firstMillis), (processedNanos - meter.firstNanos) / 1e9,
            (processedCpu - meter.firstCpu) / 1e9, args.integer("threads", "2"), guarantee);
        return true;
    }

    private static Map<TopicPartition, Long> ends(final Admin admin, final List<TopicPartition> partitions)
        throws ExecutionException, InterruptedException {
        final Map<TopicPartition, OffsetSpec> latest = new HashMap<>();
        partitions.forEach(p -> latest.put(p, OffsetSpec.latest()));
        final Map<TopicPartition, Long> ends = new HashMap<>();
        for (final Map.Entry<TopicPartition, ListOffsetsResultInfo> e : admin.listOffsets(latest).all().get().entrySet()) {
            ends.put(e.getKey(), e.getValue().offset());
        }
        return ends;
    }

    private boolean committed(final Admin admin, final Map<TopicPartition, Long> ends)
        throws ExecutionException, InterruptedException {
        final Map<TopicPartition, OffsetAndMetadata> offsets =
            admin.listConsumerGroupOffsets(appId).partitionsToOffsetAndMetadata().get();
        for (final Map.Entry<TopicPartition, Long> end : ends.entrySet()) {
            final OffsetAndMetadata offset = offsets.get(end.getKey());
            if ((offset == null ? 0 : offset.offset()) < end.getValue()) {
                return false;
            }
        }
        return true;
    }

    private boolean restore(final KafkaStreams streams, final int partitions) throws Exception {
        final LongAdder restored = metrics.restored;
        final CountDownLatch settled = new CountDownLatch(1);
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.RUNNING || now == KafkaStreams.State.ERROR) {
                settled.countDown();
            }
        });
        final long startMillis = System.currentTimeMillis();
        final long startCpu = Meter.cpuNanos();
        final long startNanos = System.nanoTime();
        streams.start();
        settled.await();
        while (streams.state() != KafkaStreams.State.RUNNING || !caughtUp(streams, partitions)) {
            if (failed(streams)) {
                return false;
            }
            Thread.sleep(10);
        }
        final double wall = (System.nanoTime() - startNanos) / 1e9;
        final long cpuNow = Meter.cpuNanos();
        System.out.printf(Locale.ROOT,
            "{\"restore_s\":%.3f,\"restored_records\":%d,\"cpu_s\":%.3f,\"cpu_total_s\":%.3f,\"rss_mb\":%.1f,"
                + "\"rss_peak_mb\":%.1f,\"startup_s\":%.3f,\"threads\":%d,\"guarantee\":\"%s\"}%n",
            wall, restored.sum(), (cpuNow - startCpu) / 1e9, cpuNow / 1e9, Meter.statusMb("VmRSS"), Meter.statusMb("VmHWM"),
            Meter.sinceJvmStart(startMillis), args.integer("threads", "2"), guarantee);
        if (restored.sum() == 0) {
            System.err.println("nothing was restored: has " + appId + " run before?");
            return false;
        }
        if (meter.processed() != 0) {
            System.err.println("the input was not fully consumed: " + meter.processed() + " records were processed");
            return false;
        }
        return true;
    }

    private StateRestoreListener restored() {
        return new StateRestoreListener() {
            @Override
            public void onRestoreStart(final TopicPartition changelog, final String store, final long from, final long to) {
            }

            @Override
            public void onBatchRestored(final TopicPartition changelog, final String store, final long to, final long count) {
                metrics.restored.add(count);
            }

            @Override
            public void onRestoreEnd(final TopicPartition changelog, final String store, final long total) {
            }
        };
    }

    /** All partitions of all stores are here, and none lags. */
    private static boolean caughtUp(final KafkaStreams streams, final int partitions) {
        final Collection<Map<Integer, LagInfo>> stores = streams.allLocalStorePartitionLags().values();
        return stores.size() == 1 + Pipeline.CANDLES.size()
            && stores.stream().allMatch(s -> s.size() == partitions && s.values().stream().allMatch(l -> l.offsetLag() == 0));
    }

    private static boolean failed(final KafkaStreams streams) {
        final KafkaStreams.State state = streams.state();
        if (state.hasCompletedShutdown() || state.isShuttingDown()) {
            System.err.println("the streams ended: " + state);
            return true;
        }
        return false;
    }

    private static boolean empty(final Path dir) throws IOException {
        if (!Files.isDirectory(dir)) {
            return true;
        }
        try (Stream<Path> entries = Files.list(dir)) {
            return entries.findAny().isEmpty();
        }
    }
}
