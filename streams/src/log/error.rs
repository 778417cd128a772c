//! Errors of the log, named by what the caller does next. Each message has the failure, its cause, and
//! the remedy.
//!
//! | error | reaction |
//! |---|---|
//! | [`LogError::NoRoom`], [`LogError::Refused`] | the commit is not there and never will be: try again |
//! | [`LogError::Unknown`] | the commit may or may not be there: open the log again |
//! | [`LogError::OutOfRange`] | read on from the first offset |
//! | [`LogError::Damaged`] | stop: a person runs check and repair |
//! | others | stop: a person corrects the directory |

use std::io;

use crate::record::Offset;

/// The result of everything in the log that can fail.
pub type Result<T, E = LogError> = std::result::Result<T, E>;

/// An error of the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The disk is full. The commit was refused.
    #[error("{path}: no room for {operation}: {reason}; free space, intake continues by itself")]
    NoRoom {
        /// The file.
        path: String,
        /// The operation.
        operation: &'static str,
        /// The system's reason.
        reason: String,
    },
    /// A write failed, and its rest was removed. The commit was refused.
    #[error("{path}: {operation} failed: {reason}; check the disk, the commit can be tried again")]
    Refused {
        /// The file.
        path: String,
        /// The operation.
        operation: &'static str,
        /// The system's reason.
        reason: String,
    },
    /// The outcome of a commit is not known, and the log takes no further one.
    #[error(
        "{path}: {operation} failed: {reason}; the last commits may or may not be stored, \
         open the log again"
    )]
    Unknown {
        /// The file.
        path: String,
        /// The operation.
        operation: &'static str,
        /// The system's reason.
        reason: String,
    },
    /// An operation that changes no commit failed.
    #[error("{path}: {operation} failed: {reason}; check the disk and the permissions")]
    Io {
        /// The file.
        path: String,
        /// The operation.
        operation: &'static str,
        /// The system's reason.
        reason: String,
    },
    /// A stored frame is damaged.
    #[error(
        "{path}: damaged at offset {offset}: {reason}; run the check of the log to see what a repair \
         would lose"
    )]
    Damaged {
        /// The file.
        path: String,
        /// The offset in the file, in bytes.
        offset: u64,
        /// What does not fit.
        reason: &'static str,
    },
    /// A newer program wrote it.
    #[error("{path}: version {found} is newer than {known}, which this program knows; update it")]
    Newer {
        /// The file.
        path: String,
        /// The version of the file.
        found: u32,
        /// The newest version that is known.
        known: u32,
    },
    /// The directory is no log.
    #[error("{path}: not a data directory of this program: {reason}; name an empty directory")]
    Foreign {
        /// The directory or file.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// Another process has the log open.
    #[error("{path}: in use by another process; stop it, or name another directory")]
    InUse {
        /// The directory.
        path: String,
    },
    /// Nothing can be written there.
    #[error("{path}: cannot be written: {reason}; mount it writable, or give the user the right")]
    ReadOnly {
        /// The file or directory.
        path: String,
        /// The system's reason.
        reason: String,
    },
    /// Retention has removed the position of a reader.
    #[error("offset {next} of {topic}-{partition} has expired; read on from {first}")]
    OutOfRange {
        /// The topic.
        topic: String,
        /// Its partition.
        partition: i32,
        /// The position.
        next: Offset,
        /// The first offset that has not expired.
        first: Offset,
    },
    /// The caller asked for something that cannot be.
    #[error("{0}")]
    Invalid(String),
}

impl LogError {
    /// An error of an operation on a file that commits nothing.
    pub(super) fn io(path: String, operation: &'static str, error: &io::Error) -> Self {
        let reason = error.to_string();
        match error.kind() {
            kind if is_full(kind) => Self::NoRoom { path, operation, reason },
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                Self::ReadOnly { path, reason }
            }
            _ => Self::Io { path, operation, reason },
        }
    }

    /// The error of a commit that was refused: its bytes are removed.
    pub(super) fn refused(path: String, operation: &'static str, error: &io::Error) -> Self {
        let reason = error.to_string();
        if is_full(error.kind()) {
            Self::NoRoom { path, operation, reason }
        } else {
            Self::Refused { path, operation, reason }
        }
    }
}

fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl From<LogError> for crate::Error {
    fn from(error: LogError) -> Self {
        let text = error.to_string();
        match error {
            LogError::NoRoom { .. } | LogError::Refused { .. } => Self::Unavailable(text),
            LogError::Unknown { .. } => Self::Indeterminate(text),
            LogError::Damaged { .. } => Self::Corrupt(text),
            _ => Self::Invalid(text),
        }
    }
}
