//! What a member's order of steps rests on, and the ways in which a turn ends early.

use streams::Error;

use super::broker::Refused;

/// What the order of steps rests on. A test breaks each and expects the auditor to see it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Committed offsets are taken when no pending transaction may change them.
    OffsetsAreStable,
    /// A restore goes on to where the log ended when the offsets were taken, and not only to the
    /// last stable offset: a transaction left open by a zombie hides what was committed after it.
    RestorePassesOpenTransactions,
    /// Between asking for the ends and freezing at them, offsets are committed: only the member
    /// that still owns the partitions can, so nobody else has written below the ends.
    EndsAreProved,
    /// A task that nobody has committed for knows where it begins, and can send that: a commit
    /// without offsets fences nobody.
    PositionsAreKnown,
    /// A task that was lost, and not given back, is not written to disk.
    LostTasksAreNotWritten,
    /// Stores hear of a commit after it is written.
    StoresHearAfterTheWrite,
}

/// Why a turn ended before its end.
pub(crate) enum Stop {
    /// The process is dead.
    Died(&'static str),
    /// The worker gives up all it has not committed and joins again.
    Rejoin(&'static str),
    /// It stands still in the middle of a commit and goes on there.
    Stalled,
    /// The engine is wrong.
    Broken(String),
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Self {
        Self::Rejoin(refused.0)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        match error {
            Error::Unavailable(_) => Self::Died("in the middle of writing a store"),
            error => Self::Broken(error.to_string()),
        }
    }
}
