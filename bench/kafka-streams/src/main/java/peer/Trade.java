package peer;

import java.io.IOException;
import java.nio.ByteBuffer;

import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.kafka.common.errors.SerializationException;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/**
 * A MarketEvent that is a trade: the fields the topology computes with, and the record as it came. {@code latest}
 * stores and emits the same schema, so writing one is handing the bytes on.
 */
final class Trade {
    /** Serves the input, the latest store and the latest topic. */
    static final Serde<Trade> SERDE =
        Serdes.serdeFrom((topic, e) -> e == null ? null : e.wire, (topic, b) -> b == null ? null : decode(b));

    private static final ThreadLocal<Scratch> SCRATCH = ThreadLocal.withInitial(Scratch::new);

    /** The enum's first symbol. */
    private static final int BUY = 0;

    final byte[] wire;
    long priceHi;
    long priceLo;
    long sizeHi;
    long sizeLo;
    boolean bought;
    long eventTime;

    private Trade(final byte[] wire) {
        this.wire = wire;
    }

    /** Reads up to the event time; what comes after it is not needed. */
    static Trade decode(final byte[] wire) {
        Wire.checkHeader(wire, Wire.MARKET_EVENT_ID);
        final Scratch s = SCRATCH.get();
        final BinaryDecoder in = DecoderFactory.get().binaryDecoder(wire, Wire.HEADER, wire.length - Wire.HEADER, s.decoder);
        s.decoder = in;
        try {
            final Trade t = new Trade(wire);
            int n = decimal(in, s);
            t.priceHi = Dec128.hi(s.bytes.array(), 0, n);
            t.priceLo = Dec128.lo(s.bytes.array(), 0, n);
            present(in, "size");
            n = decimal(in, s);
            t.sizeHi = Dec128.hi(s.bytes.array(), 0, n);
            t.sizeLo = Dec128.lo(s.bytes.array(), 0, n);
            skipOptionalLong(in);
            skipOptionalLong(in);
            present(in, "taker side");
            t.bought = in.readEnum() == BUY;
            skipOptionalBytes(in);
            skipOptionalBytes(in);
            in.readEnum();
            t.eventTime = in.readLong();
            return t;
        } catch (final IOException e) {
            throw new SerializationException("not a MarketEvent", e);
        }
    }

    private static int decimal(final BinaryDecoder in, final Scratch s) throws IOException {
        s.bytes = in.readBytes(s.bytes);
        final int n = s.bytes.remaining();
        if (n < 1 || n > Dec128.MAX_BYTES) {
            throw new SerializationException("a decimal of " + n + " bytes");
        }
        return n;
    }

    /** The benchmark's input is trades; a price sample among them would be counted wrong, so it is refused. */
    private static void present(final BinaryDecoder in, final String what) throws IOException {
        if (in.readIndex() == 0) {
            throw new SerializationException("an event without " + what + " is no trade");
        }
    }

    private static void skipOptionalLong(final BinaryDecoder in) throws IOException {
        if (in.readIndex() != 0) {
            in.readLong();
        }
    }

    private static void skipOptionalBytes(final BinaryDecoder in) throws IOException {
        if (in.readIndex() != 0) {
            in.skipBytes();
        }
    }

    private static final class Scratch {
        private ByteBuffer bytes = ByteBuffer.allocate(64);
        private BinaryDecoder decoder;
    }
}
