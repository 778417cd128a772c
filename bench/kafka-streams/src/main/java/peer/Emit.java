package peer;

import org.apache.kafka.streams.kstream.EmitStrategy;

/** When hours and days are emitted; latest and minutes always are at each commit. */
enum Emit {
    /** As the DSL does by itself. */
    EVERY_COMMIT("every-commit", EmitStrategy.onWindowUpdate()),
    /** Once, when the window closes: what of the DSL comes nearest to the processor's emission. */
    ON_CLOSE("on-close", EmitStrategy.onWindowClose());

    private final String option;
    final EmitStrategy strategy;

    Emit(final String option, final EmitStrategy strategy) {
        this.option = option;
        this.strategy = strategy;
    }

    /** What {@code --emit} says; at every commit if it says nothing. */
    static Emit of(final Args args) {
        final String wanted = args.get("emit", EVERY_COMMIT.option);
        for (final Emit emit : values()) {
            if (emit.option.equals(wanted)) {
                return emit;
            }
        }
        throw args.fail("--emit wants every-commit or on-close, not " + wanted);
    }
}
