package peer;

import java.io.IOException;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.function.Function;

import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Recomputes from the input what the output topics must end with, and compares. It shares no arithmetic and no
 * codec with the topology. Schema ids are not compared, so that it serves processors with other ids too.
 *
 * <p>With {@code --emit on-close} an hour or a day is there once, if it is closed, and else not at all. Kafka Streams
 * has closed a window when its end plus the grace is not after the stream time of its partition. It looks for closed
 * windows as it processes, at the first record of each millisecond by its clock, which stands still in a batch: so
 * what only the {@link #UNSETTLED} last records of a partition closed may be there and need not.
 */
public final class Verify {
    private static final String USAGE = """
        usage: Verify --input TOPIC --prefix OUTPUT_PREFIX [--bootstrap 127.0.0.1:9092] [--grace-ms 10000]
                      [--emit every-commit|on-close] [--latest TOPIC] [--ohlc-1m TOPIC] [--ohlc-1h TOPIC] [--ohlc-1d TOPIC]""";

    private static final int SHOWN = 10;
    private static final BigInteger UNIT = BigInteger.TEN.pow(18);
    /** The taker sides' first symbol. */
    private static final int BUY = 0;
    /** More records of a partition than are processed in a batch or a millisecond: Kafka Streams buffers 2,000. */
    private static final int UNSETTLED = 5_000;
    private static final long STALL_NANOS = Duration.ofSeconds(60).toNanos();
    private static final String[] NAMES = {"ohlc_1m", "ohlc_1h", "ohlc_1d"};
    private static final long[] LENGTHS = {60_000L, 3_600_000L, 86_400_000L};

    private record Pair(String base, String quote, String exchange) {
    }

    private record Window(Pair pair, long start) {
    }

    /** A MarketEvent; the union's missing values are null. */
    private record Event(BigInteger price, BigInteger size, Long tradeId, Long sequence, Integer side, BigInteger base24h,
                         BigInteger quote24h, int source, long time, long received, int basis, BigInteger iv, BigInteger index,
                         String liquidation, String block, String combo) {
    }

    private record Ohlc(BigInteger open, BigInteger high, BigInteger low, BigInteger close, BigInteger base, BigInteger quote,
                        BigInteger boughtBase, BigInteger boughtQuote, long count) {
    }

    /** A candle as it grows. */
    private static final class Building {
        private BigInteger open;
        private BigInteger high;
        private BigInteger low;
        private BigInteger close;
        private BigInteger base = BigInteger.ZERO;
        private BigInteger quote = BigInteger.ZERO;
        private BigInteger boughtBase = BigInteger.ZERO;
        private BigInteger boughtQuote = BigInteger.ZERO;
        private long count;
        private long openTime;
        private long closeTime;

        private void add(final Event e) {
            if (count == 0 || e.time < openTime) {
                open = e.price;
                openTime = e.time;
            }
            if (count == 0 || e.time >= closeTime) {
                close = e.price;
                closeTime = e.time;
            }
            high = count == 0 ? e.price : high.max(e.price);
            low = count == 0 ? e.price : low.min(e.price);
            final BigInteger worth = worth(e);
            base = base.add(e.size);
            quote = quote.add(worth);
            if (e.side == BUY) {
                boughtBase = boughtBase.add(e.size);
                boughtQuote = boughtQuote.add(worth);
            }
            count++;
        }

        private static BigInteger worth(final Event e) {
            final BigInteger[] product = e.price.multiply(e.size).divideAndRemainder(UNIT);
            if (product[1].signum() != 0) {
                throw new ArithmeticException("price times size is not exact: " + e);
            }
            return product[0];
        }

        private Ohlc ohlc() {
            return new Ohlc(open, high, low, close, base, quote, boughtBase, boughtQuote, count);
        }
    }

    /** How far a partition's records have taken its stream time. */
    private static final class Progress {
        private final long[] recent = new long[UNSETTLED];
        private long records;
        private long streamTime = Long.MIN_VALUE;

        private void add(final Event e) {
            streamTime = Math.max(streamTime, e.time);
            recent[(int) (records++ % UNSETTLED)] = streamTime;
        }

        private Due due(final long closeTime) {
            if (closeTime > streamTime) {
                return Due.MUST_NOT;
            }
            // The place that would be written next holds the oldest.
            final boolean settled = records >= UNSETTLED && closeTime <= recent[(int) (records % UNSETTLED)];
            return settled ? Due.MUST : Due.MAY;
        }
    }

    /** Whether a key is to be in the output. */
    private enum Due {
        MUST, MAY, MUST_NOT
    }

    /** What of an output's keys is to be there, and whether no more than once. */
    private record Rule<K>(Function<K, Due> due, boolean once) {
        private static <K> Rule<K> all() {
            return new Rule<>(key -> Due.MUST, false);
        }
    }

    private interface Reader<T> {
        T read(BinaryDecoder in) throws IOException;
    }

    private final Args args;
    private final Emit emit;
    private final long grace;
    /** One object per pair, however many windows name it. */
    private final Map<Pair, Pair> pairs = new HashMap<>();
    private final Map<Integer, Progress> partitions = new HashMap<>();
    /** A pair's records are all of one partition. */
    private final Map<Pair, Progress> partitionOf = new HashMap<>();
    private long mismatched;
    private int shown;

    private Verify(final String[] argv) {
        args = new Args(USAGE,
            Set.of("input", "prefix", "bootstrap", "grace-ms", "emit", "latest", "ohlc-1m", "ohlc-1h", "ohlc-1d"), Set.of(), argv);
        emit = Emit.of(args);
        grace = args.number("grace-ms", "10000");
    }

    public static void main(final String[] argv) throws Exception {
        System.exit(new Verify(argv).run() ? 0 : 1);
    }

    private boolean run() throws IOException {
        final String prefix = args.get("prefix", "");
        final Map<Pair, Event> latest = new HashMap<>();
        final List<Map<Window, Building>> candles = List.of(new HashMap<>(), new HashMap<>(), new HashMap<>());
        final long[] counts = new long[2];
        read(args.get("input"), "read_uncommitted", record -> {
            final Pair pair = decode(record.key(), this::pair);
            final Event e = decode(record.value(), Verify::event);
            counts[0]++;
            latest.merge(pair, e, (old, now) -> now.time >= old.time ? now : old);
            final Progress partition = partitions.computeIfAbsent(record.partition(), p -> new Progress());
            partition.add(e);
            if (partitionOf.putIfAbsent(pair, partition) != null && partitionOf.get(pair) != partition) {
                throw new IOException(pair + " is in more than one partition");
            }
            for (int i = 0; i < LENGTHS.length; i++) {
                final long start = Math.floorDiv(e.time, LENGTHS[i]) * LENGTHS[i];
                if (start + LENGTHS[i] > partition.streamTime - grace) {
                    candles.get(i).computeIfAbsent(new Window(pair, start), w -> new Building()).add(e);
                } else {
                    counts[1]++;
                }
            }
        });

        final StringBuilder json = new StringBuilder();
        json.append(String.format(Locale.ROOT, "{\"input_events\":%d,\"dropped_late\":%d", counts[0], counts[1]));
        json.append(compare("latest", args.get("latest", prefix + "latest"), latest, Rule.all(), e -> e, this::pair,
            Verify::event));
        for (int i = 0; i < LENGTHS.length; i++) {
            json.append(compare(NAMES[i], args.get(NAMES[i].replace('_', '-'), prefix + NAMES[i]), candles.get(i), rule(LENGTHS[i]),
                Building::ohlc,
                in -> new Window(pair(in), in.readLong()),
                in -> new Ohlc(decimal(in), decimal(in), decimal(in), decimal(in), decimal(in), decimal(in), decimal(in),
                    decimal(in), in.readLong())));
        }
        if (counts[0] == 0) {
            System.err.println("the input topic is empty: nothing was verified");
            mismatched++;
        }
        System.out.println(json.append(String.format(Locale.ROOT, ",\"mismatched\":%d}", mismatched)));
        return mismatched == 0;
    }

    /** Minutes are emitted at each commit, whatever --emit says. */
    private Rule<Window> rule(final long length) {
        if (emit == Emit.EVERY_COMMIT || length == LENGTHS[0]) {
            return Rule.all();
        }
        return new Rule<>(window -> partitionOf.get(window.pair).due(window.start + length + grace), true);
    }

    /** Compares the topic's last value per key, and that neither side has a key the other lacks. */
    private <K, E, V> String compare(final String name, final String topic, final Map<K, E> expected, final Rule<K> rule,
                                     final Function<E, V> finish, final Reader<K> key, final Reader<V> value) throws IOException {
        final Map<K, V> actual = new HashMap<>();
        final long[] records = new long[1];
        read(topic, "read_committed", record -> {
            records[0]++;
            actual.put(decode(record.key(), key), record.value() == null ? null : decode(record.value(), value));
        });
        final long again = rule.once ? records[0] - actual.size() : 0;
        long compared = 0;
        long unsettled = 0;
        long wrong = 0;
        long missing = 0;
        for (final Map.Entry<K, E> e : expected.entrySet()) {
            final Due due = rule.due.apply(e.getKey());
            if (due == Due.MUST_NOT) {
                continue;
            }
            if (due == Due.MAY && !actual.containsKey(e.getKey())) {
                unsettled++;
                continue;
            }
            compared++;
            final V wanted = finish.apply(e.getValue());
            final V got = actual.remove(e.getKey());
            if (wanted.equals(got)) {
                continue;
            }
            if (got == null) {
                missing++;
            } else {
                wrong++;
            }
            if (shown++ < SHOWN) {
                System.err.printf("%s %s%n  expected %s%n  got      %s%n", topic, e.getKey(), wanted, got);
            }
        }
        for (final Map.Entry<K, V> e : actual.entrySet()) {
            if (shown++ < SHOWN) {
                System.err.printf("%s %s%n  unexpected %s%n", topic, e.getKey(), e.getValue());
            }
        }
        mismatched += wrong + missing + actual.size() + again;
        return String.format(Locale.ROOT,
            ",%n \"%s\":{\"topic\":\"%s\",\"records\":%d,\"compared\":%d,\"mismatched\":%d,\"missing\":%d,\"unexpected\":%d,"
                + "\"again\":%d,\"unsettled\":%d}",
            name, topic, records[0], compared, wrong, missing, actual.size(), again, unsettled);
    }

    private interface Sink {
        void accept(ConsumerRecord<byte[], byte[]> record) throws IOException;
    }

    /** Gives each partition's records in order, from its beginning to what is its end now. */
    private void read(final String topic, final String isolation, final Sink sink) throws IOException {
        final Properties p = new Properties();
        p.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, args.get("bootstrap", "127.0.0.1:9092"));
        p.put(ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, ByteArrayDeserializer.class);
        p.put(ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, ByteArrayDeserializer.class);
        p.put(ConsumerConfig.ISOLATION_LEVEL_CONFIG, isolation);
        p.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false);
        p.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "none");
        p.put(ConsumerConfig.MAX_POLL_RECORDS_CONFIG, 5000);
        p.put(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG, 8 << 20);
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(p)) {
            final List<TopicPartition> partitions = new ArrayList<>();
            consumer.partitionsFor(topic).forEach(i -> partitions.add(new TopicPartition(topic, i.partition())));
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            final Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            long progress = System.nanoTime();
            while (ends.entrySet().stream().anyMatch(e -> consumer.position(e.getKey()) < e.getValue())) {
                boolean any = false;
                for (final ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(500))) {
                    sink.accept(record);
                    any = true;
                }
                if (any) {
                    progress = System.nanoTime();
                } else if (System.nanoTime() - progress > STALL_NANOS) {
                    throw new IOException(topic + " could not be read to its end");
                }
            }
        }
    }

    private static <T> T decode(final byte[] b, final Reader<T> reader) throws IOException {
        if (b == null || b.length < 6 || b[0] != 0) {
            throw new IOException("not in the Confluent wire format: " + (b == null ? "null" : b.length + " bytes"));
        }
        final BinaryDecoder in = DecoderFactory.get().binaryDecoder(b, 5, b.length - 5, null);
        final T value = reader.read(in);
        if (!in.isEnd()) {
            throw new IOException("bytes are left after " + value);
        }
        return value;
    }

    private Pair pair(final BinaryDecoder in) throws IOException {
        final Pair pair = new Pair(in.readString(), in.readString(), in.readString());
        final Pair known = pairs.putIfAbsent(pair, pair);
        return known == null ? pair : known;
    }

    private static Event event(final BinaryDecoder in) throws IOException {
        return new Event(decimal(in), optionalDecimal(in), optionalLong(in), optionalLong(in), in.readIndex() == 0 ? null : in.readEnum(),
            optionalDecimal(in), optionalDecimal(in), in.readEnum(), in.readLong(), in.readLong(), in.readEnum(),
            optionalDecimal(in), optionalDecimal(in), optionalString(in), optionalString(in), optionalString(in));
    }

    private static String optionalString(final BinaryDecoder in) throws IOException {
        return in.readIndex() == 0 ? null : in.readString();
    }

    private static Long optionalLong(final BinaryDecoder in) throws IOException {
        return in.readIndex() == 0 ? null : in.readLong();
    }

    private static BigInteger optionalDecimal(final BinaryDecoder in) throws IOException {
        return in.readIndex() == 0 ? null : decimal(in);
    }

    private static BigInteger decimal(final BinaryDecoder in) throws IOException {
        final ByteBuffer b = in.readBytes(null);
        return new BigInteger(b.array(), b.position(), b.remaining());
    }
}
