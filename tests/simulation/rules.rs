//! What the worker rests on: rules of its clients, which a simulated client can break.
//!
//! A rule that the worker keeps itself has no entry here. `tests/mutations` breaks it in the worker's
//! source, and the same auditor has to find it.

/// A test breaks each and expects the auditor to see it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Committed offsets are given out when no pending transaction may change them.
    OffsetsAreStable,
    /// The end of a topic that is followed is where it ends, and not only the last stable offset: a
    /// transaction left open by a zombie hides what was committed after it.
    RestorePassesOpenTransactions,
    /// The group takes offsets from the owner only, those of a transaction without records
    /// included: a worker proves by it that nobody else has written below the ends of its round.
    EndsAreProved,
    /// A partition without committed offsets goes on at its first record, and can send that: a
    /// commit without offsets fences nobody.
    PositionsAreKnown,
    /// A member that has lost its partitions is told so, and not asked to give them back.
    LossIsTold,
}
