//! A durable log in files: the topics of one application on one machine, without a broker.
//!
//! ```text
//! commit ──► frame ──► last segment ──full──► sealed segments ──► compaction
//!            one write, one fsync                 │
//!                        readers ◄────────────────┘
//! ```
//!
//! - [`commit`] is what one commit holds: records of any partitions, and consumed offsets.
//! - [`mod@format`] and [`scan`] are the bytes: frames, and what of a segment is valid. They do no I/O.
//! - [`disk`] is the file access: a directory, or memory.
//! - [`Log`] opens a directory, commits, and follows nothing by itself: [`Reader`] does.
//! - [`compaction`] removes what is superseded or expired.
//! - [`repair`] reads every frame, and drops what lies behind a damage.
//!
//! The format, the file system's promises and the limits are in `docs/design/local-log.md`.
//!
//! # Invariants
//!
//! 1. A commit is visible completely or not at all.
//! 2. What is visible is a beginning of the stream of commits, before and after any crash.
//! 3. With [`Fsync::Always`], an acknowledged commit survives any crash.
//! 4. Compaction changes no answer of the newest value of a key.
//!
//! # What this does not do
//!
//! It is no broker: one process, no network, no replication. Time and random bits are arguments.
//!
//! ```
//! use std::sync::Arc;
//! use streams::log::commit::{Append, LogCommit, LogRecord};
//! use streams::log::disk::Memory;
//! use streams::log::{Log, Options, Reader};
//! use streams::record::{Offset, Partition, Timestamp};
//!
//! let log = Arc::new(Log::open(Arc::new(Memory::default()), Options::default())?);
//! let record = LogRecord { key: b"BTC".to_vec(), value: Some(b"42".to_vec()), ..LogRecord::default() };
//! let append = Append { topic: "prices".into(), partition: Partition(0), records: vec![record] };
//! log.commit(LogCommit { appends: vec![append], ..LogCommit::default() }, Timestamp(1))?;
//!
//! let mut reader = Reader::new(log, "prices", Partition(0), Offset(0));
//! let mut keys = Vec::new();
//! reader.read(1 << 20, |record| keys.push(record.key.to_vec()))?;
//! assert_eq!(keys, [b"BTC"]);
//! # Ok::<(), streams::log::LogError>(())
//! ```

pub mod commit;
pub mod compaction;
pub mod disk;
mod error;
pub mod format;
mod group;
mod local;
mod open;
mod options;
mod reader;
pub mod repair;
pub mod scan;
mod segment;
mod summary;
mod wire;

pub use error::{LogError, Result};
pub use group::Receipt;
pub use local::{Extent, Log};
pub use open::Recovery;
pub use options::{Fsync, Options};
pub use reader::{Progress, Reader};
