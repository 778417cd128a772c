package peer;

import java.util.Locale;
import java.util.concurrent.atomic.AtomicLongArray;
import java.util.concurrent.atomic.LongAdder;

/** Times in the buckets that the processor's own histogram has, so that both are read in the same way. */
final class Histogram {
    private static final double[] BOUNDS = {
        0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.0125, 0.015, 0.0175, 0.02, 0.025, 0.03, 0.04, 0.05,
        0.075, 0.1, 0.2, 0.5, 2.0, 10.0,
    };

    private final AtomicLongArray counts = new AtomicLongArray(BOUNDS.length + 1);
    private final LongAdder nanos = new LongAdder();

    void record(final long took) {
        int i = 0;
        while (i < BOUNDS.length && took > BOUNDS[i] * 1e9) {
            i++;
        }
        counts.incrementAndGet(i);
        nanos.add(took);
    }

    /** In the text format of Prometheus. */
    void write(final StringBuilder out, final String name) {
        long below = 0;
        for (int i = 0; i < BOUNDS.length; i++) {
            below += counts.get(i);
            out.append(name).append("_bucket{le=\"").append(BOUNDS[i]).append("\"} ").append(below).append('\n');
        }
        below += counts.get(BOUNDS.length);
        out.append(name).append("_bucket{le=\"+Inf\"} ").append(below).append('\n');
        out.append(name).append("_count ").append(below).append('\n');
        out.append(String.format(Locale.ROOT, "%s_sum %.6f%n", name, nanos.sum() / 1e9));
    }
}
