package peer;

import java.util.Arrays;

import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.kstream.Windowed;

/**
 * One open candle. Open is the first price in event time, close the last; of equal event times the earlier record
 * opens and the later record closes. Volumes are exact. {@link #add} changes the object in place: a persistent store
 * hands out a fresh one for each read.
 */
final class Candle {
    /** In the store: the output fields in Avro binary, then the times that decide open and close. */
    static final Serde<Candle> STATE =
        Serdes.serdeFrom((topic, c) -> c == null ? null : c.toState(), (topic, b) -> b == null ? null : fromState(b));

    /** The output topics' value: {open, high, low, close, base volume, quote volume, the takers' of both, trades}. */
    static final Serde<Candle> WIRE =
        Serdes.serdeFrom((topic, c) -> c == null ? null : c.toWire(), (topic, b) -> {
            throw new UnsupportedOperationException("candles are only written");
        });

    /** The output topics' key: {base, quote, exchange, window_start}, the input key's body and one Avro long. */
    static final Serde<Windowed<Bytes>> KEY_WIRE =
        Serdes.serdeFrom((topic, k) -> keyToWire(k), (topic, b) -> {
            throw new UnsupportedOperationException("candle keys are only written");
        });

    /** The decimals' places in {@link #decimals}, in the order of the wire: each takes two, the high half first. */
    private static final int OPEN = 0;
    private static final int HIGH = 2;
    private static final int LOW = 4;
    private static final int CLOSE = 6;
    private static final int BASE = 8;
    private static final int QUOTE = 10;
    private static final int BOUGHT_BASE = 12;
    private static final int BOUGHT_QUOTE = 14;
    private static final int DECIMALS = 16;

    private final long[] decimals = new long[DECIMALS];
    private long count;
    private long openTime;
    private long closeTime;

    Candle add(final Trade e) {
        final long[] d = decimals;
        final long hi = e.priceHi;
        final long lo = e.priceLo;
        final long time = e.eventTime;
        if (count++ == 0) {
            for (int i = OPEN; i <= CLOSE; i += 2) {
                d[i] = hi;
                d[i + 1] = lo;
            }
            openTime = closeTime = time;
        } else {
            if (time < openTime) {
                d[OPEN] = hi;
                d[OPEN + 1] = lo;
                openTime = time;
            }
            if (time >= closeTime) {
                d[CLOSE] = hi;
                d[CLOSE + 1] = lo;
                closeTime = time;
            }
            if (Dec128.compare(hi, lo, d[HIGH], d[HIGH + 1]) > 0) {
                d[HIGH] = hi;
                d[HIGH + 1] = lo;
            } else if (Dec128.compare(hi, lo, d[LOW], d[LOW + 1]) < 0) {
                d[LOW] = hi;
                d[LOW + 1] = lo;
            }
        }
        Dec128.addProduct(d, QUOTE, hi, lo, e.sizeHi, e.sizeLo);
        Dec128.add(d, BASE, e.sizeHi, e.sizeLo);
        if (e.bought) {
            Dec128.addProduct(d, BOUGHT_QUOTE, hi, lo, e.sizeHi, e.sizeLo);
            Dec128.add(d, BOUGHT_BASE, e.sizeHi, e.sizeLo);
        }
        return this;
    }

    byte[] toState() {
        final long span = closeTime - openTime;
        final int times = Wire.longSize(openTime) + Wire.longSize(span);
        final byte[] b = fields(0, times);
        Wire.putLong(b, Wire.putLong(b, b.length - times, openTime), span);
        return b;
    }

    byte[] toWire() {
        final byte[] b = fields(Wire.HEADER, 0);
        Wire.putHeader(b, Wire.CANDLE_ID);
        return b;
    }

    /** The output fields, with room left before and after them. */
    private byte[] fields(final int before, final int after) {
        final long[] d = decimals;
        int size = before + Wire.longSize(count) + after;
        for (int i = 0; i < DECIMALS; i += 2) {
            size += 1 + Dec128.bytes(d[i], d[i + 1]);
        }
        final byte[] b = new byte[size];
        int p = before;
        for (int i = 0; i < DECIMALS; i += 2) {
            p = Dec128.put(b, p, Dec128.bytes(d[i], d[i + 1]), d[i], d[i + 1]);
        }
        Wire.putLong(b, p, count);
        return b;
    }

    static Candle fromState(final byte[] b) {
        final Candle c = new Candle();
        final long[] d = c.decimals;
        int p = 0;
        for (int i = 0; i < DECIMALS; i += 2) {
            final int n = b[p++] >> 1;
            d[i] = Dec128.hi(b, p, n);
            d[i + 1] = Dec128.lo(b, p, n);
            p += n;
        }
        c.count = Wire.getLong(b, p);
        p += Wire.longSize(c.count);
        c.openTime = Wire.getLong(b, p);
        p += Wire.longSize(c.openTime);
        c.closeTime = c.openTime + Wire.getLong(b, p);
        return c;
    }

    private static byte[] keyToWire(final Windowed<Bytes> k) {
        final byte[] key = k.key().get();
        final long start = k.window().start();
        final byte[] b = Arrays.copyOf(key, key.length + Wire.longSize(start));
        Wire.putHeader(b, Wire.CANDLE_KEY_ID);
        Wire.putLong(b, key.length, start);
        return b;
    }
}
