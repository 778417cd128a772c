//! Scans: the first rows of subscriptions, read off the hub's thread, in a fair order.
//!
//! ```text
//! hub   pending ─► waiting, by client ─► next ─► ScanJob ═► scanner reads ═► ScanJobResult ─► members
//!                    fewest rows first     │ the group keeps the rows that change            ▲
//!                                          └─────────────────────────────────────────────────┘
//! ```
//!
//! A snapshot of a wide pattern reads every pair. On the hub's thread it would delay the updates
//! and heartbeats of all clients, so the hub only decides which scan is next. A client with many
//! scans waits behind clients that have read fewer rows.
//!
//! Invariants:
//! - The hub never waits for a scanner, and runs no more scans than [`Scans::has_room`] allows.
//! - A client is charged for the rows of its own scans only.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;

use super::client_queue::ClientId;
use super::pattern::Pattern;
use super::protocol::Resume;
use super::recent_changes::{Gone, Key};
use super::snapshot::{LocalStores, Parts, Rows};
use crate::api::budget::Budget;

/// Jobs per scanner: one that runs, and one queued, so that the scanner need not wait for the hub.
const JOBS: usize = 2;
/// The maximum of scanners, one for four cores: the engine and other reads come first.
const MAX_SCANNERS: usize = 4;
const CORES_OF_A_SCANNER: usize = 4;
/// Scans per job: scans of a few look-ups share a job.
pub(super) const MAX_SCANS_PER_JOB: usize = 256;
/// Rows that a client's scans may read before it has to wait: a screen of wide patterns over a
/// hundred thousand pairs.
const MAX_DEBT: usize = 1_000_000;
/// Rows per second that are deducted from a client's debt.
const DEBT_REDUCTION: usize = 100_000;

/// The first rows of a subscription.
pub(super) enum StartFrom {
    /// A snapshot.
    New,
    /// The changes since a token.
    Resume(Resume),
    /// A snapshot again, because changes in these partitions are missing.
    Restart(Vec<i32>),
}

/// A subscription that waits for its first rows.
pub(super) struct PendingSubscription {
    /// The client's number.
    pub(super) client: ClientId,
    /// The client's own id of the subscription.
    pub(super) id: u32,
    /// A unique number: the client may use the same id again later.
    pub(super) number: u64,
    /// The first rows that it wants.
    pub(super) start: StartFrom,
}

/// The rows to read.
pub(super) enum ScanTarget {
    /// All rows that match a pattern.
    All,
    /// The current values of these keys.
    Keys(Vec<(i32, Key)>),
}

/// One scan for all subscriptions of a pattern that want the same rows.
pub(super) struct Scan {
    /// The pattern of the group.
    pub(super) pattern: Pattern,
    /// The subscriptions, with a `gone` message to send before the rows.
    pub(super) wanted: Vec<(PendingSubscription, Option<Gone>)>,
    /// The type of the messages.
    pub(super) kind: &'static str,
    /// The client that subscribed first, and is charged.
    pub(super) of: ClientId,
}

/// A job for a scanner.
pub(super) struct ScanJob {
    number: u64,
    stores: LocalStores,
    reads: Vec<(Pattern, ScanTarget)>,
}

/// The results of a job, in its order.
pub(super) struct ScanJobResult {
    job: u64,
    pub(super) reads: Vec<ScanResult>,
}

/// The result of one scan.
pub(super) struct ScanResult {
    /// The rows.
    pub(super) parts: streams::Result<Parts>,
    /// The number of rows read.
    pub(super) looked_at: usize,
}

impl ScanJob {
    /// Runs the scans of the job.
    pub(super) fn run(self, budget: &Budget) -> ScanJobResult {
        let reads = self.reads.iter().map(|(pattern, what)| {
            let mut rows = Rows::default();
            let looked_at = match what {
                ScanTarget::All => self.stores.snapshot(pattern, &mut rows),
                ScanTarget::Keys(keys) => {
                    self.stores.values(pattern, keys, &mut rows).map(|()| keys.len())
                }
            };
            match looked_at {
                Ok(looked_at) => ScanResult { parts: Ok(rows.into_parts(budget)), looked_at },
                Err(error) => ScanResult { parts: Err(error), looked_at: 0 },
            }
        });
        ScanJobResult { job: self.number, reads: reads.collect() }
    }
}

/// A job that a scanner has.
struct RunningJob {
    job: u64,
    scans: Vec<Scan>,
}

/// Pending scans and running jobs.
pub(super) struct Scans {
    /// The patterns that a client waits for, and the number of its first request.
    waiting: FxHashMap<ClientId, (u64, VecDeque<Pattern>)>,
    /// Rows that a client's scans have read lately.
    debts: FxHashMap<ClientId, usize>,
    running: Vec<RunningJob>,
    places: usize,
    next: u64,
    jobs: SyncSender<ScanJob>,
    done: Receiver<ScanJobResult>,
}

/// The scanners' ends of the channels.
pub(super) struct ScannerEnds {
    /// Jobs to run.
    pub(super) jobs: Receiver<ScanJob>,
    /// Results.
    pub(super) done: SyncSender<ScanJobResult>,
}

impl Scans {
    /// A queue for so many scanners, and their ends of the channels.
    pub(super) fn new(scanners: usize) -> (Self, ScannerEnds) {
        let places = scanners * JOBS;
        let ((jobs, to_do), (finished, done)) = (sync_channel(places), sync_channel(places));
        let (waiting, debts, running) = Default::default();
        let scans = Self { waiting, debts, running, places, next: 0, jobs, done };
        (scans, ScannerEnds { jobs: to_do, done: finished })
    }

    /// The number of scanners for this machine.
    pub(super) fn scanners() -> usize {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        (cores / CORES_OF_A_SCANNER).clamp(1, MAX_SCANNERS)
    }

    /// The next unique number.
    pub(super) const fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Adds a pattern that a client waits for.
    pub(super) fn ask(&mut self, client: ClientId, pattern: &Pattern) {
        let number = self.number();
        let (_, patterns) = self.waiting.entry(client).or_insert_with(|| (number, VecDeque::new()));
        if !patterns.contains(pattern) {
            patterns.push_back(pattern.clone());
        }
    }

    /// Removes all that a client waits for.
    pub(super) fn leave(&mut self, client: ClientId) {
        self.waiting.remove(&client);
        self.debts.remove(&client);
    }

    /// Whether one more job may start.
    pub(super) fn has_room(&self) -> bool {
        self.running.len() < self.places && !self.waiting.is_empty()
    }

    /// The next client: the one with the least debt, below the limit.
    pub(super) fn turn(&self) -> Option<ClientId> {
        let debt = |client: &ClientId| self.debts.get(client).copied().unwrap_or(0);
        let may = self.waiting.iter().filter(|(client, _)| debt(client) < MAX_DEBT);
        let first = may.min_by_key(|(client, (since, _))| (debt(client), *since));
        first.map(|(client, _)| *client)
    }

    /// The pattern that a client has waited for longest.
    pub(super) fn next(&mut self, client: ClientId) -> Option<Pattern> {
        let (_, patterns) = self.waiting.get_mut(&client)?;
        let pattern = patterns.pop_front();
        if patterns.is_empty() {
            self.waiting.remove(&client);
        }
        pattern
    }

    /// Starts a job.
    pub(super) fn give(&mut self, stores: LocalStores, scans: Vec<(Scan, ScanTarget)>) {
        let number = self.number();
        let (scans, whats): (Vec<_>, Vec<_>) = scans.into_iter().unzip();
        let patterns = scans.iter().map(|scan: &Scan| scan.pattern.clone());
        let reads = patterns.zip(whats).collect();
        self.running.push(RunningJob { job: number, scans });
        // The queue has room for every job, and the scanners outlive the hub.
        let _ = self.jobs.try_send(ScanJob { number, stores, reads });
    }

    /// The scans and results of a job that has ended.
    pub(super) fn finished(&mut self) -> Option<Vec<(Scan, ScanResult)>> {
        let done = self.done.try_recv().ok()?;
        let at = self.running.iter().position(|running| running.job == done.job)?;
        let RunningJob { scans, .. } = self.running.swap_remove(at);
        for (scan, read) in scans.iter().zip(&done.reads) {
            *self.debts.entry(scan.of).or_default() += read.looked_at;
        }
        Some(scans.into_iter().zip(done.reads).collect())
    }

    /// Sets a client's debt.
    #[cfg(test)]
    pub(super) fn charge(&mut self, client: ClientId, rows: usize) {
        self.debts.insert(client, rows);
    }

    /// Deducts one tick's share from every debt; `ticks` make a second.
    pub(super) fn reduce_debts(&mut self, ticks: u32) {
        let share = DEBT_REDUCTION / usize::try_from(ticks.max(1)).unwrap_or(1);
        self.debts.retain(|_, debt| {
            *debt = debt.saturating_sub(share);
            *debt > 0
        });
    }
}

/// Starts the scanners on threads of their own, which end when the hub does.
pub(super) fn start(ends: ScannerEnds, scanners: usize, budget: &Budget) -> std::io::Result<()> {
    // Locked by one of them while it waits for a job.
    let jobs = Arc::new(Mutex::new(ends.jobs));
    for _ in 0..scanners {
        let (jobs, done, budget) = (Arc::clone(&jobs), ends.done.clone(), budget.clone());
        std::thread::Builder::new().name("scan".into()).spawn(move || {
            loop {
                let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(job) = job else { return };
                if done.send(job.run(&budget)).is_err() {
                    return;
                }
            }
        })?;
    }
    Ok(())
}
