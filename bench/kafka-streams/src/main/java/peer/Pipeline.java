package peer;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.WindowStore;

/** The topology: the latest price per key, and candles of three lengths. */
final class Pipeline {
    static final Duration GRACE = Duration.ofSeconds(10);
    static final String LATEST = "latest";
    /**
     * Candle stores keep at least this much event time. The default for one minute candles, 70 s, has each task open
     * and destroy a RocksDB instance per minute of event time, which catching up feels; with an hour it is per half hour.
     */
    static final Duration MIN_RETENTION = Duration.ofHours(1);

    /**
     * A candle length; the name is the store's and the output topic's after the prefix. What is {@code always}
     * emitted is so at each commit, whatever {@link Emit} says.
     */
    record Interval(String name, Duration length, boolean always) {
        Duration retention() {
            final Duration least = length.plus(GRACE);
            return least.compareTo(MIN_RETENTION) < 0 ? MIN_RETENTION : least;
        }
    }

    static final List<Interval> CANDLES = List.of(
        new Interval("ohlc_1m", Duration.ofMinutes(1), true),
        new Interval("ohlc_1h", Duration.ofHours(1), false),
        new Interval("ohlc_1d", Duration.ofDays(1), false));

    private Pipeline() {
    }

    static List<String> outputs(final String prefix) {
        final List<String> topics = new ArrayList<>();
        topics.add(prefix + LATEST);
        for (final Interval i : CANDLES) {
            topics.add(prefix + i.name());
        }
        return topics;
    }

    /** Keys stay serialized throughout: grouping needs only their equality. */
    static Topology build(final String input, final String prefix, final Emit emit, final Meter meter) {
        final StreamsBuilder builder = new StreamsBuilder();
        final KGroupedStream<Bytes, Trade> events = builder
            .stream(input, Consumed.with(Serdes.Bytes(), Trade.SERDE)
                .withTimestampExtractor((record, partitionTime) -> ((Trade) record.value()).eventTime))
            .peek((key, event) -> meter.record())
            .groupByKey(Grouped.with(Serdes.Bytes(), Trade.SERDE));

        events
            .reduce((latest, event) -> event.eventTime >= latest.eventTime ? event : latest,
                Materialized.<Bytes, Trade, KeyValueStore<Bytes, byte[]>>as(LATEST)
                    .withKeySerde(Serdes.Bytes())
                    .withValueSerde(Trade.SERDE))
            .toStream()
            .to(prefix + LATEST, Produced.with(Serdes.Bytes(), Trade.SERDE));

        for (final Interval i : CANDLES) {
            events
                .windowedBy(TimeWindows.ofSizeAndGrace(i.length(), GRACE))
                .emitStrategy(i.always() ? Emit.EVERY_COMMIT.strategy : emit.strategy)
                .aggregate(Candle::new, (key, event, candle) -> candle.add(event),
                    Materialized.<Bytes, Candle, WindowStore<Bytes, byte[]>>as(i.name())
                        .withKeySerde(Serdes.Bytes())
                        .withValueSerde(Candle.STATE)
                        .withRetention(i.retention()))
                .toStream()
                .to(prefix + i.name(), Produced.with(Candle.KEY_WIRE, Candle.WIRE));
        }
        return builder.build();
    }
}
