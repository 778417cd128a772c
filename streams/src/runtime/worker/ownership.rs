//! Tasks come and go: they are opened, restored, run, and given back.

use std::sync::Arc;
use std::time::Duration;

use super::{Group, MissingOffset, Owned, Rebalance, StartPosition, Step, Topics, Worker};
use crate::error::Result;
use crate::record::{Batch, TaskId};
use crate::replica::Replica;
use crate::runtime::follower::{self, Claim, ClaimReply};
use crate::store::Committed;
use crate::task::{State, Task};

/// How long to wait for records of a restore, for the disk that it is ahead of, or between two looks
/// for a follower's answer.
const RESTORE_WAIT: Duration = Duration::from_millis(1);
/// A worker that gets no answer from the follower in this time opens the stores itself.
const HAND_OVER: Duration = Duration::from_secs(10);

/// A task whose stores are being opened.
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
pub(super) fn labels(tasks: &[TaskId]) -> String {
    tasks.iter().map(TaskId::to_string).collect::<Vec<_>>().join(" ")
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
            Rebalance::Assign(tasks) => [Step::Positions(tasks), Step::Joined],
            Rebalance::Revoke { tasks, lost } => [Step::Revoke { tasks, lost }, Step::Joined],
        });
        self.then(steps);
        Ok(())
    }

    /// Takes tasks: the group's offsets first, then the stores that belong to them.
    ///
    /// The order matters. The offsets are stable only when no transaction of a former owner is
    /// pending, so what the changelogs hold after that is all that they will ever hold of it.
    pub(super) fn ask_positions(&mut self, tasks: Vec<TaskId>) -> Result<()> {
        let Some(resumes) = self.group.positions(&tasks)? else {
            self.then([Step::Positions(tasks)]);
            return Ok(());
        };
        self.then([Step::Decide(tasks.clone()), Step::Assign(tasks)]);
        let asked = self.topics.uptime();
        let openings = resumes.into_iter().map(|resume| Opening {
            claim: self.standby.claim(resume.task, self.index),
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
                follower::open(&self.context, &mut self.topics, opening.resume.task)?
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
        self.tail.add(&mut self.topics, opening.resume.task, replica)?;
        self.then([Step::Follow(opening)]);
        Ok(())
    }

    fn create(&mut self, opening: Opening) -> Result<()> {
        let Opening { resume, stores, .. } = opening;
        let cache = self.settings.cache_max_bytes;
        let mut task = Task::new(self.context.topology, resume.task, stores, cache)?;
        task.begin_restore();
        let label = resume.task.to_string();
        self.show_state(&label, Some(State::Restoring));
        let owned = Owned {
            task,
            resume,
            incoming: Batch::default(),
            newest: None,
            paused: false,
            label,
            started: self.topics.uptime(),
            restored: 0,
        };
        self.owned.insert(resume.task, owned);
        Ok(())
    }

    /// Finds out where those go on for which the group has no offset. It depends on what their stores
    /// hold, so these are open by now.
    pub(super) fn decide(&mut self, tasks: &[TaskId]) -> Result<()> {
        let mut missing = Vec::new();
        for (task, owned) in self.owned.iter().filter(|(task, _)| tasks.contains(task)) {
            if owned.resume.consumed.is_none() {
                let is_on_disk = is_on_disk(&owned.task)?;
                missing.push(MissingOffset { task: *task, is_on_disk });
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        for resume in self.group.decide(&missing)? {
            if let Some(owned) = self.owned.get_mut(&resume.task) {
                owned.resume = resume;
            }
        }
        Ok(())
    }

    pub(super) fn assign(&mut self, tasks: &[TaskId]) -> Result<()> {
        self.group.assign(tasks)?;
        tracing::info!(tasks = labels(tasks), "tasks assigned");
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
            if let Some(owned) = self.owned.get_mut(&restored.task) {
                owned.restored += restored.records;
            }
        }
        let restoring = self.owned.iter().filter(|(_, o)| o.task.state() == State::Restoring);
        let ready: Vec<TaskId> =
            restoring.map(|(task, _)| *task).filter(|task| self.tail.is_caught_up(*task)).collect();
        ready.into_iter().try_for_each(|task| self.start_task(task))
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

    fn start_task(&mut self, id: TaskId) -> Result<()> {
        self.tail.remove(&mut self.topics, id)?;
        let Some(owned) = self.owned.get_mut(&id) else {
            return Ok(());
        };
        owned.task.run(owned.resume.consumed);
        let specs = self.context.topology.sub_topology(id.sub_topology).stores();
        for (spec, store) in specs.iter().zip(owned.task.stores()) {
            self.context.queries.add(&spec.name, id.partition.0, Arc::clone(store));
        }
        if std::mem::take(&mut owned.paused) {
            self.group.resume(id)?;
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
    pub(super) fn revoke(&mut self, tasks: Vec<TaskId>, lost: bool) {
        let unassign = Step::Unassign { tasks: tasks.clone(), lost };
        if lost {
            // Another's already: what is not committed is theirs to do again.
            self.then([Step::EndWriting, Step::Forget(tasks), unassign]);
        } else {
            self.then([Step::Commit, Step::GiveBack(tasks), unassign]);
        }
    }

    pub(super) fn unassign(&mut self, tasks: &[TaskId], lost: bool) -> Result<()> {
        self.group.unassign(tasks)?;
        tracing::info!(tasks = labels(tasks), lost, "tasks revoked");
        Ok(())
    }

    /// Writes the stores of these tasks to disk while they are still ours, so that the next member that
    /// opens them has little to restore, and forgets the tasks.
    pub(super) fn give_back(&mut self, tasks: Vec<TaskId>) {
        let round = Step::BeginRound(tasks.clone());
        self.then([Step::FinishRound, round, Step::FinishRound, Step::Forget(tasks)]);
    }

    pub(super) fn forget(&mut self, tasks: &[TaskId]) -> Result<()> {
        for id in tasks {
            self.tail.remove(&mut self.topics, *id)?;
            if let Some(mut owned) = self.owned.remove(id) {
                owned.task.suspend();
                owned.task.close();
                self.show_gone(*id);
            }
            if self.standby.is_on() {
                // Readers keep the released stores until the follower's replicas have caught up.
                self.standby.release(*id, self.index);
                continue;
            }
            for spec in self.context.topology.sub_topology(id.sub_topology).stores() {
                self.context.queries.remove(&spec.name, id.partition.0);
            }
        }
        Ok(())
    }
}
