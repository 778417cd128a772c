//! The local log against models: crashes, damage, full disks, compaction, readers.

#![expect(clippy::unwrap_used, reason = "a test: a value that is missing is a failure")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "lengths and numbers of a log in memory"
)]

#[path = "local_log/disk.rs"]
mod disk;
#[path = "local_log/errors.rs"]
mod errors;
#[path = "local_log/properties.rs"]
mod properties;
#[path = "local_log/repair.rs"]
mod repair;
#[path = "local_log/sample.rs"]
mod sample;
#[path = "local_log/simulation.rs"]
mod simulation;
#[path = "local_log/threads.rs"]
mod threads;
