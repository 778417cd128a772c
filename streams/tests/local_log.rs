//! The local log against models: crashes, damage, full disks, compaction, readers.

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
