package peer;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;

import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.common.errors.SerializationException;
import org.junit.jupiter.api.Test;

/** The hand-written codecs against BigInteger and Avro's own. */
class CodecTest {
    private static final BigInteger UNIT = BigInteger.TEN.pow(18);
    private static final BigInteger MAX = BigInteger.TEN.pow(38).subtract(BigInteger.ONE);

    /** Every sign and length, the ends of each length, and the ends of the type. */
    private static List<BigInteger> values() {
        final List<BigInteger> values = new ArrayList<>(List.of(BigInteger.ZERO, MAX, MAX.negate()));
        final Random random = new Random(7);
        for (int bits = 0; bits < 127; bits++) {
            final BigInteger power = BigInteger.ONE.shiftLeft(bits);
            for (final BigInteger v : List.of(power, power.subtract(BigInteger.ONE), new BigInteger(bits, random))) {
                values.add(v.min(MAX));
                values.add(v.min(MAX).negate());
                values.add(v.min(MAX).negate().subtract(BigInteger.ONE).max(MAX.negate()));
            }
        }
        return values;
    }

    @Test
    void decimalsAreWhatBigIntegerWrites() {
        for (final BigInteger v : values()) {
            final long hi = v.shiftRight(64).longValueExact();
            final long lo = v.longValue();
            final byte[] expected = v.toByteArray();
            assertEquals(expected.length, Dec128.bytes(hi, lo), v.toString());
            final byte[] b = new byte[expected.length + 1];
            assertEquals(b.length, Dec128.put(b, 0, expected.length, hi, lo));
            assertEquals(expected.length * 2, b[0]);
            assertArrayEquals(expected, Arrays.copyOfRange(b, 1, b.length), v.toString());
            assertEquals(hi, Dec128.hi(b, 1, expected.length), v.toString());
            assertEquals(lo, Dec128.lo(b, 1, expected.length), v.toString());
        }
    }

    @Test
    void decimalsCompareAsBigIntegersDo() {
        final List<BigInteger> values = values();
        for (final BigInteger a : values) {
            for (final BigInteger b : values) {
                assertEquals(a.compareTo(b), Dec128.compare(a.shiftRight(64).longValueExact(), a.longValue(),
                    b.shiftRight(64).longValueExact(), b.longValue()), a + " and " + b);
            }
        }
    }

    @Test
    void longsAreWhatAvroWrites() throws IOException {
        final List<Long> values = new ArrayList<>(List.of(0L, Long.MAX_VALUE, Long.MIN_VALUE));
        for (int bits = 0; bits < 63; bits++) {
            values.addAll(List.of(1L << bits, (1L << bits) - 1, -(1L << bits), -(1L << bits) - 1));
        }
        for (final long v : values) {
            final ByteArrayOutputStream out = new ByteArrayOutputStream();
            EncoderFactory.get().directBinaryEncoder(out, null).writeLong(v);
            final byte[] expected = out.toByteArray();
            final byte[] b = new byte[expected.length];
            assertEquals(expected.length, Wire.longSize(v), () -> "size of " + v);
            assertEquals(b.length, Wire.putLong(b, 0, v));
            assertArrayEquals(expected, b);
            assertEquals(v, Wire.getLong(b, 0));
        }
    }

    @Test
    void tradesAreRead() throws IOException {
        for (final BigInteger price : values()) {
            for (int optional = 0; optional < 16; optional++) {
                final byte[] wire = event(price, BigInteger.TWO, optional, 1, 1_700_000_000_123L);
                final Trade e = Trade.decode(wire);
                assertEquals(price.shiftRight(64).longValueExact(), e.priceHi);
                assertEquals(price.longValue(), e.priceLo);
                assertEquals(2, e.sizeLo);
                assertEquals(false, e.bought);
                assertEquals(1_700_000_000_123L, e.eventTime);
                assertArrayEquals(wire, Trade.SERDE.serializer().serialize("t", e));
            }
        }
        final byte[] other = event(BigInteger.ONE, BigInteger.ONE, 0, 0, 0);
        other[4] = 9;
        assertThrows(SerializationException.class, () -> Trade.decode(other));
    }

    @Test
    void productsAreExactOrRefused() {
        final Random random = new Random(11);
        for (int i = 0; i < 200_000; i++) {
            final BigInteger a = new BigInteger(random.nextInt(100), random).multiply(BigInteger.TEN.pow(random.nextInt(9))).min(MAX);
            final BigInteger b = new BigInteger(random.nextInt(70), random).multiply(BigInteger.TEN.pow(random.nextInt(17))).min(MAX);
            final BigInteger[] product = a.multiply(b).divideAndRemainder(UNIT);
            final long[] sum = {0, 5};
            if (product[1].signum() == 0 && product[0].bitLength() <= 127) {
                addProduct(sum, a, b);
                final BigInteger expected = product[0].add(BigInteger.valueOf(5));
                assertEquals(expected.shiftRight(64).longValueExact(), sum[0], a + " times " + b);
                assertEquals(expected.longValue(), sum[1], a + " times " + b);
            } else {
                assertThrows(ArithmeticException.class, () -> addProduct(sum, a, b), a + " times " + b);
            }
        }
    }

    private static void addProduct(final long[] sum, final BigInteger a, final BigInteger b) {
        Dec128.addProduct(sum, 0, a.shiftRight(64).longValueExact(), a.longValue(), b.shiftRight(64).longValueExact(), b.longValue());
    }

    @Test
    void candlesTakeOpenAndCloseByEventTimeAndSurviveTheStore() throws IOException {
        // Out of order, with ties at both ends: the earlier record opens, the later closes.
        final long[][] events = {{50, 2000}, {7, 1000}, {90, 1000}, {12, 3000}, {13, 3000}, {40, 2500}};
        Candle c = new Candle();
        for (int i = 0; i < events.length; i++) {
            final byte[] event = event(BigInteger.valueOf(events[i][0]).multiply(UNIT), UNIT.multiply(BigInteger.TWO), 0, i % 2, events[i][1]);
            c = Candle.fromState(c.add(Trade.decode(event)).toState());
        }
        final byte[] wire = c.toWire();
        assertEquals(Wire.CANDLE_ID, ByteBuffer.wrap(wire).getInt(1));
        final BinaryDecoder in = DecoderFactory.get().binaryDecoder(wire, 5, wire.length - 5, null);
        for (final long expected : new long[] {7, 90, 7, 13, 12, 424, 6, 306}) {
            final ByteBuffer b = in.readBytes(null);
            assertEquals(BigInteger.valueOf(expected).multiply(UNIT), new BigInteger(b.array(), 0, b.remaining()));
        }
        assertEquals(events.length, in.readLong());
        assertEquals(true, in.isEnd());
    }

    /** Bits of {@code optional} say which of the fields that may be missing, and are skipped, are there. */
    private static byte[] event(final BigInteger price, final BigInteger size, final int optional, final int side, final long time)
        throws IOException {
        final ByteArrayOutputStream out = new ByteArrayOutputStream();
        out.writeBytes(new byte[] {0, 0, 0, 0, (byte) Wire.MARKET_EVENT_ID});
        final BinaryEncoder encoder = EncoderFactory.get().directBinaryEncoder(out, null);
        encoder.writeBytes(price.toByteArray());
        encoder.writeIndex(1);
        encoder.writeBytes(size.toByteArray());
        for (int bit = 1; bit <= 2; bit++) {
            encoder.writeIndex((optional & bit) == 0 ? 0 : 1);
            if ((optional & bit) != 0) {
                encoder.writeLong(Long.MAX_VALUE);
            }
        }
        encoder.writeIndex(1);
        encoder.writeEnum(side);
        for (int bit = 4; bit <= 8; bit *= 2) {
            encoder.writeIndex((optional & bit) == 0 ? 0 : 1);
            if ((optional & bit) != 0) {
                encoder.writeBytes(price.toByteArray());
            }
        }
        encoder.writeEnum(2);
        encoder.writeLong(time);
        encoder.writeLong(time);
        encoder.writeEnum(0);
        encoder.flush();
        return out.toByteArray();
    }
}
