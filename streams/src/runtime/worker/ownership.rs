//! Partitions come and go: tasks are opened, restored, run, and given back.

use std::sync::Arc;
use std::time::Duration;

use super::{Group, MissingOffset, Owned, Rebalance, StartPosition, Step, Topics, Worker};
use crate::error::Result;
use crate::record::{Batch, Partition};
use crate::replica::Replica;
use crate::runtime::follower::{self, Claim, ClaimReply};
use crate::store::Committed;
use crate::task::{State, Task};

/// How long to wait for records of a restore, for the disk that it is ahead of, or between two looks
/// for a follower's answer.
const RESTORE_WAIT: Duration = Duration::from_millis(1);
/// A worker that gets no answer from the follower in this time opens the stores itself.
const HAND_OVER: Duration = Duration::from_secs(10);

/// A partition on its way to a task.
pub(super) struct Opening {
    resume: StartPosition,
    /// The follower is asked for its replicas.
    claim: Option<Claim>,
    asked: Duration,
    /// Replicas that the tail does not follow yet, in the topology's order.
    waiting: std::vec::IntoIter<Replica>,
    /// Stores of those that it follows.
    stores: Vec<Arc<Committed>>,
}

/// For a log line.
pub(super) fn numbers(partitions: &[Partition]) -> Vec<i32> {
    partitions.iter().map(|partition| partition.0).collect()
}

fn is_on_disk(task: &Task) -> Result<bool> {
    for store in task.stores() {
        if store.position()?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

impl<G: Group, T: Topics> Worker<'_, G, T> {
    pub(super) fn poll(&mut self) -> Result<()> {
        let rebalances = self.group.poll()?;
        self.context.metrics.rebalances.inc_by(rebalances.len() as u64);
        let steps = rebalances.into_iter().flat_map(|rebalance| match rebalance {
            Rebalance::Assign(partitions) => [Step::Positions(partitions), Step::Joined],
            Rebalance::Revoke { partitions, lost } => {
                [Step::Revoke { partitions, lost }, Step::Joined]
            }
        });
        self.then(steps);
        Ok(())
    }

    /// Takes partitions: the group's offsets first, then the stores that belong to them.
    ///
    /// The order matters. The offsets are stable only when no transaction of a former owner is
    /// pending, so what the changelogs hold after that is all that they will ever hold of it.
    pub(super) fn ask_positions(&mut self, partitions: Vec<Partition>) -> Result<()> {
        let Some(resumes) = self.group.positions(&partitions)? else {
            self.then([Step::Positions(partitions)]);
            return Ok(());
        };
        self.then([Step::Decide(partitions.clone()), Step::Assign(partitions)]);
        let asked = self.topics.uptime();
        let openings = resumes.into_iter().map(|resume| Opening {
            claim: self.standby.claim(resume.partition, self.index),
            resume,
            asked,
            waiting: Vec::new().into_iter(),
            stores: Vec::new(),
        });
        let openings: Vec<Step> = openings.map(Step::Open).collect();
        self.then(openings);
        Ok(())
    }

    /// Takes the replicas that the follower keeps warm, or opens them as they are on disk.
    pub(super) fn open(&mut self, mut opening: Opening) -> Result<()> {
        let answer = opening.claim.as_ref().map_or(ClaimReply::None, Claim::answer);
        let replicas = match answer {
            ClaimReply::Replicas(warm) => warm,
            ClaimReply::Waits if self.since(opening.asked) < HAND_OVER => {
                self.topics.wait(RESTORE_WAIT);
                self.then([Step::Open(opening)]);
                return Ok(());
            }
            ClaimReply::Waits | ClaimReply::None => {
                follower::open(&self.context, &mut self.topics, opening.resume.partition)?
            }
        };
        opening.waiting = replicas.into_iter();
        self.then([Step::Follow(opening)]);
        Ok(())
    }

    /// Follows the next store; the task is made when all are followed.
    pub(super) fn follow(&mut self, mut opening: Opening) -> Result<()> {
        let Some(replica) = opening.waiting.next() else {
            return self.create(opening);
        };
        opening.stores.push(Arc::clone(replica.store()));
        self.tail.add(&mut self.topics, opening.resume.partition, replica)?;
        self.then([Step::Follow(opening)]);
        Ok(())
    }

    fn create(&mut self, opening: Opening) -> Result<()> {
        let Opening { resume, stores, .. } = opening;
        let (topology, partition) = (self.context.topology, resume.partition);
        let cache = self.settings.cache_max_bytes;
        let mut task = Task::new(topology, partition, stores, cache)?;
        task.begin_restore();
        let label = format!("0_{partition}");
        self.show_state(&label, Some(State::Restoring));
        let owned = Owned {
            task,
            resume,
            incoming: topology.sources().iter().map(|_| Batch::default()).collect(),
            newest: None,
            paused: false,
            label,
            started: self.topics.uptime(),
            restored: 0,
        };
        self.owned.insert(partition, owned);
        Ok(())
    }

    /// Finds out where those go on for which the group has no offset. It depends on what their stores
    /// hold, so these are open by now.
    pub(super) fn decide(&mut self, partitions: &[Partition]) -> Result<()> {
        let mut missing = Vec::new();
        for (partition, owned) in self.owned.iter().filter(|(p, _)| partitions.contains(p)) {
            if owned.resume.consumed.len() < self.context.topology.sources().len() {
                let is_on_disk = is_on_disk(&owned.task)?;
                missing.push(MissingOffset { partition: *partition, is_on_disk });
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        for resume in self.group.decide(&missing)? {
            if let Some(owned) = self.owned.get_mut(&resume.partition) {
                owned.resume = resume;
            }
        }
        Ok(())
    }

    pub(super) fn assign(&mut self, partitions: &[Partition]) -> Result<()> {
        self.group.assign(partitions)?;
        tracing::info!(partitions = ?numbers(partitions), "partitions assigned");
        Ok(())
    }

    pub(super) fn restore(&mut self) -> Result<()> {
        if self.tail.is_empty() {
            return Ok(());
        }
        if !self.write_restored()? {
            self.topics.wait(RESTORE_WAIT);
            return Ok(());
        }
        for restored in self.tail.poll(&mut self.topics, RESTORE_WAIT)? {
            self.context.metrics.restore_records.inc_by(restored.records);
            if let Some(owned) = self.owned.get_mut(&restored.partition) {
                owned.restored += restored.records;
            }
        }
        let restoring = self.owned.iter().filter(|(_, o)| o.task.state() == State::Restoring);
        let ready: Vec<Partition> =
            restoring.map(|(p, _)| *p).filter(|p| self.tail.is_caught_up(*p)).collect();
        ready.into_iter().try_for_each(|partition| self.start_task(partition))
    }

    /// Writes what the tail has gathered when it is half of what may be; the rest of the records
    /// fill the other half meanwhile. False when there is no room: the disk is behind.
    fn write_restored(&mut self) -> Result<bool> {
        let (held, limit) = (self.tail.restoring_bytes(), self.settings.disk.restore_max_bytes);
        if held > limit / 2 && !self.writing {
            let frozen = self.tail.freeze()?;
            self.write_frozen(frozen)?;
        }
        Ok(held <= limit)
    }

    fn start_task(&mut self, partition: Partition) -> Result<()> {
        self.tail.remove(&mut self.topics, partition)?;
        let Some(owned) = self.owned.get_mut(&partition) else {
            return Ok(());
        };
        owned.task.run(&owned.resume.consumed);
        for (spec, store) in self.context.topology.stores().iter().zip(owned.task.stores()) {
            self.context.queries.add(&spec.name, partition.0, Arc::clone(store));
        }
        if std::mem::take(&mut owned.paused) {
            self.group.resume(partition)?;
        }
        tracing::info!(
            task = owned.label,
            restored = owned.restored,
            milliseconds = self.topics.uptime().saturating_sub(owned.started).as_millis(),
            "restored"
        );
        let label = owned.label.clone();
        self.show_state(&label, Some(State::Running));
        Ok(())
    }

    /// Commits what is still ours, and lets go.
    pub(super) fn revoke(&mut self, partitions: Vec<Partition>, lost: bool) {
        let unassign = Step::Unassign { partitions: partitions.clone(), lost };
        if lost {
            // Another's already: what is not committed is theirs to do again.
            self.then([Step::EndWriting, Step::Forget(partitions), unassign]);
        } else {
            self.then([Step::Commit, Step::GiveBack(partitions), unassign]);
        }
    }

    pub(super) fn unassign(&mut self, partitions: &[Partition], lost: bool) -> Result<()> {
        self.group.unassign(partitions)?;
        tracing::info!(partitions = ?numbers(partitions), lost, "partitions revoked");
        Ok(())
    }

    /// Writes the stores of these partitions to disk while they are still ours, so that whoever
    /// opens them next has little to restore, and forgets the tasks.
    pub(super) fn give_back(&mut self, partitions: Vec<Partition>) {
        let round = Step::BeginRound(partitions.clone());
        self.then([Step::FinishRound, round, Step::FinishRound, Step::Forget(partitions)]);
    }

    pub(super) fn forget(&mut self, partitions: &[Partition]) -> Result<()> {
        for partition in partitions {
            self.tail.remove(&mut self.topics, *partition)?;
            if let Some(mut owned) = self.owned.remove(partition) {
                owned.task.suspend();
                owned.task.close();
                self.show_gone(*partition, &owned.label);
            }
            if self.standby.is_on() {
                // Readers keep the released stores until the follower's replicas have caught up.
                self.standby.release(*partition, self.index);
                continue;
            }
            for spec in self.context.topology.stores() {
                self.context.queries.remove(&spec.name, partition.0);
            }
        }
        Ok(())
    }
}
