package peer;

import java.io.IOException;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.function.Function;
import java.util.function.Predicate;
import java.util.function.ToLongBiFunction;

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
 */
public final class Verify {
    private static final String USAGE = """
        usage: Verify --input TOPIC --prefix OUTPUT_PREFIX [--bootstrap 127.0.0.1:9092] [--grace-ms 10000]
                      [--emit every-commit|on-close]
                      [--latest TOPIC] [--ohlc-1m TOPIC] [--ohlc-1h TOPIC] [--ohlc-1d TOPIC]""";

    private static final int SHOWN = 10;
    private static final BigInteger UNIT = BigInteger.TEN.pow(18);
    /** The taker sides' first symbol. */
    private static final int BUY = 0;
    private static final long STALL_NANOS = Duration.ofSeconds(60).toNanos();
    private static final String[] NAMES = {"ohlc_1m", "ohlc_1h", "ohlc_1d"};
    /**
     * Event time after its close in which a window's candle may not have been published yet: Kafka Streams looks for
     * closed windows once a second of real time, when a record comes.
     */
    private static final long CLOSING_MS = 60_000L;
    private static final long[] LENGTHS = {60_000L, 3_600_000L, 86_400_000L};

    private record Pair(String base, String quote, String exchange) {
    }

    private record Window(Pair pair, long start) {
    }

    /** A MarketEvent; the union's missing values are null. */
    private record Event(BigInteger price, BigInteger size, Long tradeId, Long sequence, Integer side, BigInteger base24h,
                         BigInteger quote24h, int source, long time, long received, int basis) {
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
        private int partition;

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

    private interface Reader<T> {
        T read(BinaryDecoder in) throws IOException;
    }

    private final Args args;
    /** One object per pair, however many windows name it. */
    private final Map<Pair, Pair> pairs = new HashMap<>();
    private long mismatched;
    private int shown;

    private Verify(final String[] argv) {
        args = new Args(USAGE,
            Set.of("input", "prefix", "bootstrap", "grace-ms", "emit", "latest", "ohlc-1m", "ohlc-1h", "ohlc-1d"), Set.of(), argv);
    }

    public static void main(final String[] argv) throws Exception {
        System.exit(new Verify(argv).run() ? 0 : 1);
    }

    private boolean run() throws IOException {
        final String prefix = args.get("prefix", "");
        final long grace = args.number("grace-ms", "10000");
        final boolean onClose = Pipeline.Emit.of(args) == Pipeline.Emit.ON_CLOSE;

        final Map<Pair, Event> latest = new HashMap<>();
        final List<Map<Window, Building>> candles = List.of(new HashMap<>(), new HashMap<>(), new HashMap<>());
        final Map<Integer, Long> streamTimes = new HashMap<>();
        final long[] counts = new long[2];
        read(args.get("input"), "read_uncommitted", record -> {
            final Pair pair = decode(record.key(), this::pair);
            final Event e = decode(record.value(), Verify::event);
            counts[0]++;
            latest.merge(pair, e, (old, now) -> now.time >= old.time ? now : old);
            final long streamTime = streamTimes.merge(record.partition(), e.time, Math::max);
            for (int i = 0; i < LENGTHS.length; i++) {
                final long start = Math.floorDiv(e.time, LENGTHS[i]) * LENGTHS[i];
                if (start + LENGTHS[i] > streamTime - grace) {
                    final Building candle = candles.get(i).computeIfAbsent(new Window(pair, start), w -> new Building());
                    candle.partition = record.partition();
                    candle.add(e);
                } else {
                    counts[1]++;
                }
            }
        });

        final StringBuilder json = new StringBuilder();
        json.append(String.format(Locale.ROOT, "{\"input_events\":%d,\"dropped_late\":%d", counts[0], counts[1]));
        json.append(compare("latest", args.get("latest", prefix + "latest"), latest, e -> true, e -> e, this::pair, Verify::event));
        for (int i = 0; i < LENGTHS.length; i++) {
            final long length = LENGTHS[i];
            final Map<Window, Building> expected = candles.get(i);
            final Set<Window> closing = new HashSet<>();
            if (onClose && i > 0) {
                // How far beyond its end and grace the time of a window's partition has come.
                final ToLongBiFunction<Window, Building> beyond =
                    (w, candle) -> streamTimes.get(candle.partition) - grace - w.start - length;
                expected.entrySet().removeIf(e -> beyond.applyAsLong(e.getKey(), e.getValue()) < 0);
                expected.forEach((w, candle) -> {
                    if (beyond.applyAsLong(w, candle) < CLOSING_MS) {
                        closing.add(w);
                    }
                });
            }
            json.append(compare(NAMES[i], args.get(NAMES[i].replace('_', '-'), prefix + NAMES[i]), expected,
                w -> !closing.contains(w), Building::ohlc,
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

    /** Compares the topic's last value per key, and that neither side has a key the other lacks but for those not due. */
    private <K, E, V> String compare(final String name, final String topic, final Map<K, E> expected, final Predicate<K> due,
                                     final Function<E, V> finish, final Reader<K> key, final Reader<V> value) throws IOException {
        final Map<K, V> actual = new HashMap<>();
        final long[] records = new long[1];
        read(topic, "read_committed", record -> {
            records[0]++;
            actual.put(decode(record.key(), key), record.value() == null ? null : decode(record.value(), value));
        });
        long wrong = 0;
        long missing = 0;
        for (final Map.Entry<K, E> e : expected.entrySet()) {
            final V wanted = finish.apply(e.getValue());
            final V got = actual.remove(e.getKey());
            if (wanted.equals(got) || got == null && !due.test(e.getKey())) {
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
        mismatched += wrong + missing + actual.size();
        return String.format(Locale.ROOT,
            ",%n \"%s\":{\"topic\":\"%s\",\"records\":%d,\"compared\":%d,\"mismatched\":%d,\"missing\":%d,\"unexpected\":%d}",
            name, topic, records[0], expected.size(), wrong, missing, actual.size());
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
            optionalDecimal(in), optionalDecimal(in), in.readEnum(), in.readLong(), in.readLong(), in.readEnum());
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
