package peer;

import java.math.BigInteger;

/**
 * Unscaled values of decimal(38,18) as two longs (two's complement, 128 bits): 10^38 &lt; 2^127, so every value
 * of the type fits and comparing is exact. On the wire they are Avro bytes of minimal length, as
 * {@link java.math.BigInteger#toByteArray} gives them.
 */
final class Dec128 {
    static final int MAX_BYTES = 16;

    /** 10^18, its power of two, and the inverse of its power of five modulo 2^128. */
    private static final long SCALE = 1_000_000_000_000_000_000L;
    private static final int TWOS = 18;
    private static final long INVERSE_HI;
    private static final long INVERSE_LO;

    static {
        final BigInteger inverse = BigInteger.valueOf(SCALE).shiftRight(TWOS).modInverse(BigInteger.ONE.shiftLeft(128));
        INVERSE_HI = inverse.shiftRight(64).longValue();
        INVERSE_LO = inverse.longValue();
    }

    private Dec128() {
    }

    /** Bytes of the minimal two's complement form, 1 to 16. */
    static int bytes(final long hi, final long lo) {
        if (hi == lo >> 63) {
            return ((64 - Long.numberOfLeadingZeros(lo ^ (lo >> 63))) >> 3) + 1;
        }
        return ((64 - Long.numberOfLeadingZeros(hi ^ (hi >> 63))) >> 3) + 9;
    }

    /** Writes the Avro bytes (length and content); {@code n} is {@link #bytes} of the value. */
    static int put(final byte[] b, final int at, final int n, final long hi, final long lo) {
        int p = at;
        b[p++] = (byte) (n << 1);
        if (n > 8) {
            for (int shift = (n - 9) << 3; shift >= 0; shift -= 8) {
                b[p++] = (byte) (hi >> shift);
            }
            Wire.LONG_BE.set(b, p, lo);
            return p + 8;
        }
        for (int shift = (n - 1) << 3; shift >= 0; shift -= 8) {
            b[p++] = (byte) (lo >> shift);
        }
        return p;
    }

    static long hi(final byte[] b, final int at, final int n) {
        return n > 8 ? signed(b, at, n - 8) : b[at] >> 7;
    }

    static long lo(final byte[] b, final int at, final int n) {
        return n > 8 ? (long) Wire.LONG_BE.get(b, at + n - 8) : signed(b, at, n);
    }

    private static long signed(final byte[] b, final int at, final int n) {
        long v = b[at];
        for (int i = 1; i < n; i++) {
            v = v << 8 | b[at + i] & 0xFF;
        }
        return v;
    }

    static int compare(final long aHi, final long aLo, final long bHi, final long bLo) {
        return aHi != bHi ? Long.compare(aHi, bHi) : Long.compareUnsigned(aLo, bLo);
    }

    /** Adds to the value at {@code at}; a sum beyond 127 bits is an error. */
    static void add(final long[] d, final int at, final long hi, final long lo) {
        final long low = d[at + 1] + lo;
        final long carry = Long.compareUnsigned(low, lo) < 0 ? 1 : 0;
        d[at] = Math.addExact(Math.addExact(d[at], hi), carry);
        d[at + 1] = low;
    }

    /**
     * Adds the product of two values of 18 fraction digits, neither negative. The 256 bits of the product are divided
     * by 10^18 as by 2^18 and 5^18: where the division leaves nothing, as it must, the latter is one multiplication
     * with the inverse of 5^18 modulo 2^128.
     */
    static void addProduct(final long[] d, final int at, final long aHi, final long aLo, final long bHi, final long bLo) {
        final long p0 = aLo * bLo;
        long p1 = unsignedHigh(aLo, bLo);
        long p2 = aHi * bHi;
        long p3 = unsignedHigh(aHi, bHi);
        long low = aLo * bHi;
        long high = unsignedHigh(aLo, bHi);
        for (int i = 0; i < 2; i++) {
            p1 += low;
            final long carry = Long.compareUnsigned(p1, low) < 0 ? 1 : 0;
            p2 += carry;
            p3 += p2 == 0 ? carry : 0;
            p2 += high;
            p3 += Long.compareUnsigned(p2, high) < 0 ? 1 : 0;
            low = aHi * bLo;
            high = unsignedHigh(aHi, bLo);
        }
        final long halfLo = p0 >>> TWOS | p1 << Long.SIZE - TWOS;
        final long halfHi = p1 >>> TWOS | p2 << Long.SIZE - TWOS;
        final long lo = halfLo * INVERSE_LO;
        final long hi = unsignedHigh(halfLo, INVERSE_LO) + halfLo * INVERSE_HI + halfHi * INVERSE_LO;
        if (!isProduct(p0, p1, p2, p3, hi, lo)) {
            throw new ArithmeticException("a product beyond 127 bits, or with more than 18 fraction digits");
        }
        add(d, at, hi, lo);
    }

    /** Whether the value times 10^18 is the number of four limbs. */
    private static boolean isProduct(final long p0, final long p1, final long p2, final long p3, final long hi, final long lo) {
        final long middle = hi * SCALE;
        final long q1 = unsignedHigh(lo, SCALE) + middle;
        final long carry = Long.compareUnsigned(q1, middle) < 0 ? 1 : 0;
        return hi >= 0 && p3 == 0 && lo * SCALE == p0 && q1 == p1 && unsignedHigh(hi, SCALE) + carry == p2;
    }

    private static long unsignedHigh(final long a, final long b) {
        return Math.multiplyHigh(a, b) + (a >> 63 & b) + (b >> 63 & a);
    }
}
