//! Settings of a log.

use std::time::Duration;

use super::error::{LogError, Result};

/// The least and the greatest size of a segment: positions within it have 32 bits, with room for the
/// last commits.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 1 << 10..=1 << 30;

/// When commits are made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// Before they are acknowledged.
    Always,
    /// By the first commit after this time. A power failure loses the commits since.
    Interval(Duration),
    /// When a segment is full. A power failure loses the commits of the last one.
    Never,
}

/// Settings of a log.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// When commits are made durable.
    pub fsync: Fsync,
    /// A segment of this size is sealed, and the next commit begins another. Default 64 MiB.
    pub segment_bytes: u64,
    /// Keys that a compaction holds in memory, in bytes. Default 64 MiB.
    pub key_map_bytes: usize,
    /// Random bits: the id of the directory, if it is new.
    pub new_id: u128,
}

impl Default for Options {
    fn default() -> Self {
        Self { fsync: Fsync::Always, segment_bytes: 64 << 20, key_map_bytes: 64 << 20, new_id: 0 }
    }
}

impl Options {
    pub(super) fn check(&self) -> Result<()> {
        if SEGMENT_BYTES.contains(&self.segment_bytes) {
            return Ok(());
        }
        let (least, greatest) = (SEGMENT_BYTES.start(), SEGMENT_BYTES.end());
        Err(LogError::Invalid(format!(
            "a segment of {} bytes is not supported: set {least} to {greatest} bytes",
            self.segment_bytes
        )))
    }
}
