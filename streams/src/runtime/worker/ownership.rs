//! Partitions come and go: tasks are opened, restored, run, and given back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Owned, Worker};
use crate::error::Result;
use crate::record::{Batch, Offset, Partition, SourceId};
use crate::runtime::{clock, lost_offsets, standby};
use crate::task::{Consumed, State, Task};

/// How long to wait for records of a restore, or for the disk that it is ahead of.
const RESTORE_WAIT: Duration = Duration::from_millis(1);

fn is_on_disk(owned: &BTreeMap<i32, Owned>, partition: i32) -> Result<bool> {
    let stores = owned.get(&partition).into_iter().flat_map(|owned| owned.task.stores());
    for store in stores {
        if store.position()?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Worker<'_> {
    /// Takes partitions: the group's offsets first, then the stores that belong to them.
    ///
    /// The order matters. The offsets are stable only when no transaction of a former owner is
    /// pending, so what the changelogs hold after that is all that they will ever hold of it.
    pub(super) fn take_over(&mut self, partitions: &[i32]) -> Result<()> {
        let mut resumes = self.consumer.committed(partitions)?;
        for resume in &resumes {
            let owned = self.open(resume.partition)?;
            self.owned.insert(resume.partition, owned);
        }
        let Self { shared, consumer, owned, .. } = self;
        let is_on_disk = |partition| is_on_disk(owned, partition);
        lost_offsets::resolve(
            &shared.config,
            &shared.topology,
            consumer,
            &mut resumes,
            is_on_disk,
        )?;
        for resume in &resumes {
            let source = SourceId(0);
            if let (Some(owned), Some(next)) = (owned.get_mut(&resume.partition), resume.next) {
                let (next, stream_time) = (Offset(next), resume.stream_time);
                owned.resume = vec![Consumed { source, next, stream_time }];
            }
        }
        self.consumer.assign(&resumes)?;
        tracing::info!(?partitions, "partitions assigned");
        Ok(())
    }

    fn open(&mut self, partition: i32) -> Result<Owned> {
        let shared = self.shared;
        let replicas = match shared.standby.claim(partition, self.index) {
            Some(warm) => warm,
            None => standby::open(&shared.topology, &shared.state_dir, &shared.queries, partition)?,
        };
        let stores = replicas.iter().map(|replica| Arc::clone(replica.store())).collect();
        for replica in replicas {
            self.tail.add(partition, replica)?;
        }
        let cache = self.config().cache_max_bytes;
        let mut task = Task::new(&self.shared.topology, Partition(partition), stores, cache)?;
        task.begin_restore();
        let label = format!("0_{partition}");
        self.show_state(&label, Some(State::Restoring));
        Ok(Owned {
            task,
            resume: Vec::new(),
            incoming: Batch::default(),
            newest: None,
            paused: false,
            label,
            started: clock::instant(),
            restored: 0,
        })
    }

    pub(super) fn restore(&mut self) -> Result<()> {
        if self.tail.is_empty() {
            return Ok(());
        }
        if !self.write_restored()? {
            clock::wait(RESTORE_WAIT);
            return Ok(());
        }
        for restored in self.tail.poll(RESTORE_WAIT)? {
            self.shared.metrics.restore_records.inc_by(restored.records);
            if let Some(owned) = self.owned.get_mut(&restored.partition) {
                owned.restored += restored.records;
            }
        }
        let restoring = self.owned.iter().filter(|(_, o)| o.task.state() == State::Restoring);
        let ready: Vec<i32> =
            restoring.map(|(p, _)| *p).filter(|p| self.tail.is_caught_up(*p)).collect();
        ready.into_iter().try_for_each(|partition| self.start_task(partition))
    }

    /// Writes what the tail has gathered when it is half of what may be; the rest of the records
    /// fill the other half meanwhile. False when there is no room: the disk is behind.
    fn write_restored(&mut self) -> Result<bool> {
        let (held, limit) = (self.tail.restoring_bytes(), self.config().restore_max_bytes);
        if held > limit / 2 && !self.flusher.is_busy() {
            let frozen = self.tail.freeze()?;
            self.flusher.write(frozen)?;
        }
        Ok(held <= limit)
    }

    fn start_task(&mut self, partition: i32) -> Result<()> {
        self.tail.remove(partition)?;
        let Some(owned) = self.owned.get_mut(&partition) else {
            return Ok(());
        };
        owned.task.run(&owned.resume);
        for (spec, store) in self.shared.topology.stores().iter().zip(owned.task.stores()) {
            self.shared.queries.add(&spec.name, partition, Arc::clone(store));
        }
        if std::mem::take(&mut owned.paused) {
            self.consumer.resume(partition)?;
        }
        tracing::info!(
            task = owned.label,
            restored = owned.restored,
            milliseconds = owned.started.elapsed().as_millis(),
            "restored"
        );
        let label = owned.label.clone();
        self.show_state(&label, Some(State::Running));
        Ok(())
    }

    /// Commits what is still ours, and lets go.
    pub(super) fn revoke(&mut self, partitions: &[i32], lost: bool) -> Result<()> {
        if lost {
            // Another's already: what is not committed is theirs to do again.
            self.forget(partitions)?;
        } else {
            self.commit()?;
            self.give_back(partitions)?;
        }
        self.consumer.unassign(partitions)?;
        tracing::info!(?partitions, lost, "partitions revoked");
        Ok(())
    }

    /// Writes the stores of these partitions to disk while they are still ours, so that whoever
    /// opens them next has little to restore, and forgets the tasks.
    pub(super) fn give_back(&mut self, partitions: &[i32]) -> Result<()> {
        self.finish_flush()?;
        let running: Vec<i32> = partitions
            .iter()
            .copied()
            .filter(|p| self.owned.get(p).is_some_and(|o| o.task.state() == State::Running))
            .collect();
        self.begin_round(&running)?;
        self.finish_flush()?;
        self.forget(partitions)
    }

    fn forget(&mut self, partitions: &[i32]) -> Result<()> {
        for partition in partitions {
            self.tail.remove(*partition)?;
            if let Some(mut owned) = self.owned.remove(partition) {
                owned.task.suspend();
                owned.task.close();
                self.show_gone(*partition, &owned.label);
            }
            if self.shared.standby.is_on() {
                // What is followed from here on is readable until the replica has caught up.
                self.shared.standby.release(*partition, self.index);
                continue;
            }
            for spec in self.shared.topology.stores() {
                self.shared.queries.remove(&spec.name, *partition);
            }
        }
        Ok(())
    }
}
