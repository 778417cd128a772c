//! What subscriptions begin with, read off the hub's thread: who is next, and what is being read.
//!
//! ```text
//! hub   want ─► waiting, by client ─► next ─► Job ═► a scanner reads the stores ═► Done ─► members
//!                 fewest rows first     │ from here on the pool keeps what changes           ▲
//!                                       └────────────────────────────────────────────────────┘
//! ```
//!
//! A snapshot of a wide pattern looks at every pair, which takes as long as there are pairs. On the
//! hub's thread it would stop the updates and heartbeats of everybody, so the hub only decides what is
//! read next. One client that asks for many of them waits behind those who have asked for less.
//!
//! Invariants:
//! - The hub never waits for a scanner, and no more is read at once than [`Scans::has_place`] allows.
//! - A client is charged for the rows that its own questions look at, and no others.

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

/// Jobs for each scanner: one that is read, and one that waits, so that it need not wait for the hub.
const JOBS: usize = 2;
/// Scanners at most. One in four cores: the engine and the other reads come first.
const MAX_SCANNERS: usize = 4;
const CORES_OF_A_SCANNER: usize = 4;
/// Readings of one job: what costs a few look-ups each goes together.
pub(super) const MAX_SCANS_PER_JOB: usize = 256;
/// Rows that a client's questions may look at before it has to wait: a screen of wide patterns over a
/// hundred thousand pairs.
const MAX_DEBT: usize = 1_000_000;
/// Rows a second that a client that has to wait is forgiven.
const FORGIVEN: usize = 100_000;

/// What a subscription that waits begins with.
pub(super) enum StartFrom {
    /// A snapshot.
    New,
    /// What has changed since.
    Resume(Resume),
    /// A snapshot again, because what it was told has a hole in these partitions.
    Restart(Vec<i32>),
}

/// A subscription that waits.
pub(super) struct PendingSubscription {
    /// Whose.
    pub(super) client: ClientId,
    /// Its client's number for it.
    pub(super) id: u32,
    /// Its own number: another subscription may get the same id later.
    pub(super) number: u64,
    /// What it begins with.
    pub(super) start: StartFrom,
}

/// Which rows.
pub(super) enum ScanTarget {
    /// All that a pattern stands for.
    All,
    /// What these keys hold.
    Keys(Vec<(i32, Key)>),
}

/// Something that is read.
pub(super) struct Scan {
    /// Whose pool.
    pub(super) pattern: Pattern,
    /// Who waits for it, and what is said before it, if anything.
    pub(super) wanted: Vec<(PendingSubscription, Option<Gone>)>,
    /// The type of its messages.
    pub(super) kind: &'static str,
    /// Who asked for it first, and is charged.
    pub(super) of: ClientId,
}

/// What a scanner is told.
pub(super) struct ScanJob {
    number: u64,
    stores: LocalStores,
    reads: Vec<(Pattern, ScanTarget)>,
}

/// What it has read, in the order of the job.
pub(super) struct ScanJobResult {
    job: u64,
    pub(super) reads: Vec<ScanResult>,
}

/// One of them.
pub(super) struct ScanResult {
    /// Its rows.
    pub(super) parts: streams::Result<Parts>,
    /// Rows that were looked at for it.
    pub(super) looked_at: usize,
}

impl ScanJob {
    /// Reads.
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

/// What is read for whom.
struct RunningJob {
    job: u64,
    readings: Vec<Scan>,
}

/// What waits, and what is read.
pub(super) struct Scans {
    /// Patterns that a client waits for, and when it asked first.
    waiting: FxHashMap<ClientId, (u64, VecDeque<Pattern>)>,
    /// Rows that a client's questions have looked at lately.
    debts: FxHashMap<ClientId, usize>,
    running: Vec<RunningJob>,
    places: usize,
    next: u64,
    jobs: SyncSender<ScanJob>,
    done: Receiver<ScanJobResult>,
}

/// The scanners' ends.
pub(super) struct ScannerEnds {
    /// What is to be read.
    pub(super) jobs: Receiver<ScanJob>,
    /// What was.
    pub(super) done: SyncSender<ScanJobResult>,
}

impl Scans {
    /// With room for so many scanners, which have the other ends.
    pub(super) fn new(scanners: usize) -> (Self, ScannerEnds) {
        let places = scanners * JOBS;
        let ((jobs, to_do), (finished, done)) = (sync_channel(places), sync_channel(places));
        let (waiting, debts, running) = Default::default();
        let scans = Self { waiting, debts, running, places, next: 0, jobs, done };
        (scans, ScannerEnds { jobs: to_do, done: finished })
    }

    /// Scanners for this machine.
    pub(super) fn scanners() -> usize {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        (cores / CORES_OF_A_SCANNER).clamp(1, MAX_SCANNERS)
    }

    /// A number for what comes next.
    pub(super) const fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A client waits for a pattern.
    pub(super) fn ask(&mut self, client: ClientId, pattern: &Pattern) {
        let number = self.number();
        let (_, patterns) = self.waiting.entry(client).or_insert_with(|| (number, VecDeque::new()));
        if !patterns.contains(pattern) {
            patterns.push_back(pattern.clone());
        }
    }

    /// It does not any more, for none.
    pub(super) fn leave(&mut self, client: ClientId) {
        self.waiting.remove(&client);
        self.debts.remove(&client);
    }

    /// One more job may be given.
    pub(super) fn has_place(&self) -> bool {
        self.running.len() < self.places && !self.waiting.is_empty()
    }

    /// The client that has had least, and has not had too much: whose turn it is.
    pub(super) fn turn(&self) -> Option<ClientId> {
        let debt = |client: &ClientId| self.debts.get(client).copied().unwrap_or(0);
        let may = self.waiting.iter().filter(|(client, _)| debt(client) < MAX_DEBT);
        let first = may.min_by_key(|(client, (since, _))| (debt(client), *since));
        first.map(|(client, _)| *client)
    }

    /// The pattern that a client waits for longest.
    pub(super) fn next(&mut self, client: ClientId) -> Option<Pattern> {
        let (_, patterns) = self.waiting.get_mut(&client)?;
        let pattern = patterns.pop_front();
        if patterns.is_empty() {
            self.waiting.remove(&client);
        }
        pattern
    }

    /// Gives a job.
    pub(super) fn give(&mut self, stores: LocalStores, readings: Vec<(Scan, ScanTarget)>) {
        let number = self.number();
        let (readings, whats): (Vec<_>, Vec<_>) = readings.into_iter().unzip();
        let patterns = readings.iter().map(|reading: &Scan| reading.pattern.clone());
        let reads = patterns.zip(whats).collect();
        self.running.push(RunningJob { job: number, readings });
        // There is room for every place, and a scanner ends after the hub.
        let _ = self.jobs.try_send(ScanJob { number, stores, reads });
    }

    /// What a job that is done has read.
    pub(super) fn finished(&mut self) -> Option<Vec<(Scan, ScanResult)>> {
        let done = self.done.try_recv().ok()?;
        let at = self.running.iter().position(|running| running.job == done.job)?;
        let RunningJob { readings, .. } = self.running.swap_remove(at);
        for (reading, read) in readings.iter().zip(&done.reads) {
            *self.debts.entry(reading.of).or_default() += read.looked_at;
        }
        Some(readings.into_iter().zip(done.reads).collect())
    }

    /// A client owes so many rows.
    #[cfg(test)]
    pub(super) fn charge(&mut self, client: ClientId, rows: usize) {
        self.debts.insert(client, rows);
    }

    /// Time passes: so many ticks make a second.
    pub(super) fn forgive(&mut self, ticks: u32) {
        let share = FORGIVEN / usize::try_from(ticks.max(1)).unwrap_or(1);
        self.debts.retain(|_, debt| {
            *debt = debt.saturating_sub(share);
            *debt > 0
        });
    }
}

/// Starts scanners on threads of their own, which end when the hub does.
pub(super) fn start(ends: ScannerEnds, scanners: usize, budget: &Budget) -> std::io::Result<()> {
    // Held by one of them while it waits for a job.
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
