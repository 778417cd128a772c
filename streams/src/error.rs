//! Errors, named by what the caller does next.
//!
//! | error | reaction |
//! |---|---|
//! | [`Error::Fenced`] | drop the tasks, rejoin the group |
//! | [`Error::Indeterminate`] | the commit may or may not have happened: close without `post_commit`, rejoin, restore |
//! | [`Error::Unavailable`] | try again with bounded back-off |
//! | [`Error::Corrupt`] | store and changelog disagree: stop, a person decides |
//! | [`Error::Invalid`] | configuration, schema or a full disk: stop, a person corrects it |
//!
//! A bad *record* is no error: it is [`Failure::Drop`], counted, written to the dead letters in the
//! same transaction, and the task goes on.

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error, by the reaction of the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another member or a newer incarnation has taken over.
    #[error("fenced: {0}")]
    Fenced(String),
    /// The outcome of a commit is not known.
    #[error("commit outcome unknown: {0}")]
    Indeterminate(String),
    /// Something outside does not answer for now.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// A store and its changelog disagree.
    #[error("corrupt: {0}")]
    Corrupt(String),
    /// A person has to change something.
    #[error("{0}")]
    Invalid(String),
}

/// Why a processor did not take a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The record cannot be processed, now or ever; the reason is a metric label.
    Drop(&'static str),
    /// The task cannot go on.
    Stop(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Stop(error)
    }
}
