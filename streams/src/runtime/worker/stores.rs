//! Writing the stores, a round every few seconds: ask for the changelogs' ends, close the commit that
//! may be open, make sure that we are still the owner, set the changes apart, write them.

use std::sync::Arc;

use super::Worker;
use crate::error::Result;
use crate::runtime::clock;
use crate::runtime::flusher::{Changelog, Done};
use crate::task::State;

/// Of the time, writing stores takes at most one part in so many, unless one is full: the longer a
/// round takes, the more changes the next one merges.
const WRITE_SHARE: u32 = 4;

impl Worker<'_> {
    /// The stores of these partitions with changes that are not on disk.
    fn changelogs(&self, partitions: &[i32]) -> Vec<Changelog> {
        let mut changelogs = Vec::new();
        for partition in partitions {
            let Some(owned) = self.owned.get(partition) else {
                continue;
            };
            for (spec, store) in self.shared.topology.stores().iter().zip(owned.task.stores()) {
                if store.overlay_bytes() > 0 {
                    let (topic, store) = (spec.topic.clone(), Arc::clone(store));
                    changelogs.push(Changelog { topic, partition: *partition, store });
                }
            }
        }
        changelogs
    }

    /// One step of writing the stores; called at a commit boundary or between records, where
    /// nothing uncommitted is in any overlay.
    pub(super) fn write_stores(&mut self) -> Result<()> {
        if let Some(done) = self.flusher.poll()? {
            return self.go_on(done);
        }
        if self.flusher.is_busy() {
            return Ok(());
        }
        let limit = self.config().overlay_max_bytes;
        let stores = self.owned.values().flat_map(|owned| owned.task.stores());
        let full = stores.map(|store| store.overlay_bytes()).any(|bytes| bytes > limit);
        let pause = self.config().flush_interval.max(self.flush_took * WRITE_SHARE);
        if !full && self.last_flush.elapsed() < pause {
            return Ok(());
        }
        self.last_flush = clock::instant();
        let running = self.owned.iter().filter(|(_, o)| o.task.state() == State::Running);
        let running: Vec<i32> = running.map(|(partition, _)| *partition).collect();
        self.begin_round(&running)
    }

    /// The disk is behind by twice the bound: nothing more is processed until it has caught up.
    pub(super) fn is_ahead_of_disk(&self) -> bool {
        let limit = 2 * self.config().overlay_max_bytes;
        let mut stores = self.owned.values().flat_map(|owned| owned.task.stores());
        self.flusher.is_busy() && stores.any(|store| store.live_bytes() > limit)
    }

    /// Asks for the ends of what has changed in these partitions.
    pub(super) fn begin_round(&mut self, partitions: &[i32]) -> Result<()> {
        let changed = self.changelogs(partitions);
        if changed.is_empty() { Ok(()) } else { self.flusher.ask_ends(changed) }
    }

    fn go_on(&mut self, done: Done) -> Result<()> {
        let Done::Ends(ends) = done else {
            self.flush_took = self.last_flush.elapsed();
            self.shared.metrics.store_writes.inc();
            return Ok(());
        };
        // The ends were asked while a commit may have been open; it has to be closed first.
        self.commit()?;
        self.confirm_ownership()?;
        let mut frozen = Vec::new();
        for (changelog, end) in ends {
            // A partition that has left meanwhile, and perhaps come back, has other stores now.
            if self.holds(&changelog) && changelog.store.freeze(end) {
                frozen.push(changelog);
            }
        }
        self.flusher.write(frozen)
    }

    fn holds(&self, changelog: &Changelog) -> bool {
        let owned = self.owned.get(&changelog.partition);
        owned.is_some_and(|o| o.task.stores().iter().any(|s| Arc::ptr_eq(s, &changelog.store)))
    }

    /// Makes sure that nobody else has written to the changelogs before their ends were asked: the
    /// group takes offsets from the owner only, so whoever was paused past its session finds out
    /// here, before its stores would claim another's records.
    pub(super) fn confirm_ownership(&self) -> Result<()> {
        let running = self.owned.iter().filter(|(_, o)| o.task.state() == State::Running);
        let positions = running.map(|(partition, o)| (*partition, o.task.positions()));
        self.producer.begin()?;
        self.commit_offsets(positions)
    }

    /// Waits for the round under way.
    pub(super) fn finish_flush(&mut self) -> Result<()> {
        while let Some(done) = self.flusher.wait()? {
            self.go_on(done)?;
        }
        Ok(())
    }
}
