package peer;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;

import org.apache.kafka.common.errors.SerializationException;

/** The Confluent wire format and the few Avro primitives the writers need. */
final class Wire {
    /** The registry's id of the input's values, which latest carries on; set by {@link App} before anything is read. */
    static final String MARKET_EVENT_ID_PROPERTY = "peer.event-id";
    static final int MARKET_EVENT_ID = Integer.getInteger(MARKET_EVENT_ID_PROPERTY, 2);
    /** Ids of schemas that no registry knows: only {@link Verify} reads what carries them. */
    static final int CANDLE_KEY_ID = 3;
    static final int CANDLE_ID = 4;

    /** Magic byte and schema id. */
    static final int HEADER = 5;

    static final VarHandle LONG_BE = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.BIG_ENDIAN);
    private static final VarHandle INT_BE = MethodHandles.byteArrayViewVarHandle(int[].class, ByteOrder.BIG_ENDIAN);

    private Wire() {
    }

    static void putHeader(final byte[] b, final int id) {
        b[0] = 0;
        INT_BE.set(b, 1, id);
    }

    static void checkHeader(final byte[] b, final int id) {
        if (b == null || b.length <= HEADER || b[0] != 0 || (int) INT_BE.get(b, 1) != id) {
            throw new SerializationException("not an Avro record of schema id " + id);
        }
    }

    static int longSize(final long v) {
        final long z = (v << 1) ^ (v >> 63);
        // ceil(bits / 7), at least one byte
        return (63 - Long.numberOfLeadingZeros(z | 1)) / 7 + 1;
    }

    static int putLong(final byte[] b, final int at, final long v) {
        int p = at;
        long z = (v << 1) ^ (v >> 63);
        while ((z & ~0x7FL) != 0) {
            b[p++] = (byte) (z | 0x80);
            z >>>= 7;
        }
        b[p++] = (byte) z;
        return p;
    }

    /** The Avro long at {@code at}; its length is {@link #longSize} of the result. */
    static long getLong(final byte[] b, final int at) {
        int p = at;
        long z = 0;
        for (int shift = 0; ; shift += 7) {
            final byte x = b[p++];
            z |= (x & 0x7FL) << shift;
            if (x >= 0) {
                return (z >>> 1) ^ -(z & 1);
            }
        }
    }
}
