//! The simulated group member of a worker: [`Group`] over the broker in memory.
//!
//! It breaks the rules that a test asks it to break ([`Rule`]): each is something that the worker
//! rests on and cannot check itself.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use rand::Rng as _;
use streams::partitioner::partition;
use streams::record::{Offset, SourceRecord, TaskId, Timestamp};
use streams::runtime::worker::{Group, MissingOffset, Rebalance, StartPosition};
use streams::task::{Commit, Consumed};
use streams::{Error, Result};

use super::broker::{Event, Refused, Sent};
use super::env::{Env, Shared, index, offset, place};
use super::log::Record;
use super::rules::Rule;
use super::sample::dead_letters;

/// One incarnation of a member.
pub(crate) struct SimGroup {
    env: Shared,
    id: usize,
    incarnation: u64,
    epoch: u64,
    /// Tasks that the worker was told to take, and was not yet told to give back.
    assigned: BTreeSet<TaskId>,
    lost: bool,
    /// The committed offset of a task when this incarnation last knew it.
    base: BTreeMap<TaskId, Option<Consumed>>,
    /// By task: the next place of the source. Only of those whose assignment was answered.
    fetched: BTreeMap<TaskId, usize>,
    paused: BTreeSet<TaskId>,
    /// The open transaction has records.
    wrote: bool,
    sent: BTreeMap<TaskId, Sent>,
}

/// Some committed records of a task's source, with their places.
fn fetch(
    env: &mut Env,
    member: u64,
    task: TaskId,
    from: usize,
    most: usize,
) -> Result<Vec<(usize, Event)>> {
    let Some(log) = env.between(task) else {
        let events = env.broker.inputs[index(task.partition)].iter().enumerate();
        return Ok(events.skip(from).take(most).map(|(at, event)| (at, event.clone())).collect());
    };
    let start = log.start;
    let records = log.committed(from, log.stable()).take(most).map(|(at, record)| {
        let Record { timestamp, key, value, .. } = record;
        (at, Event { timestamp: *timestamp, key: key.clone(), value: value.clone() })
    });
    let records = records.collect();
    if from >= start {
        return Ok(records);
    }
    if env.broker.holds(task, member) {
        env.broker.violated(format!("task {task} reads from {from}, but {start} is the first"));
    }
    Err(Error::Unavailable("the records are deleted".into()))
}

fn refused(Refused(why): Refused) -> Error {
    Error::Fenced(why.into())
}

impl SimGroup {
    /// Fences what the member's earlier incarnation left, and joins.
    pub(crate) fn join(env: &Shared, id: usize, incarnation: u64) -> Self {
        let epoch = {
            let broker = &mut env.borrow_mut().broker;
            broker.join(incarnation);
            broker.init(id, incarnation)
        };
        Self {
            env: Rc::clone(env),
            id,
            incarnation,
            epoch,
            assigned: BTreeSet::new(),
            lost: false,
            base: BTreeMap::new(),
            fetched: BTreeMap::new(),
            paused: BTreeSet::new(),
            wrote: false,
            sent: BTreeMap::new(),
        }
    }

    const fn producer(&self) -> (usize, u64) {
        (self.id, self.epoch)
    }

    /// The group has given it up.
    fn hear_of_loss(&mut self) -> Vec<Rebalance> {
        let mut env = self.env.borrow_mut();
        // A zombie goes on until it hears of it.
        if env.fault(85) {
            return Vec::new();
        }
        if self.assigned.is_empty() {
            env.broker.join(self.incarnation);
            env.note(format!("{} joins the group again", self.incarnation));
            return Vec::new();
        }
        self.lost = env.keeps(Rule::LossIsTold);
        env.note(format!("{} hears of its loss", self.incarnation));
        vec![Rebalance::Revoke { tasks: self.assigned.iter().copied().collect(), lost: self.lost }]
    }

    fn produce(&self, task: TaskId, commit: &Commit) -> Result<(), Refused> {
        let (by, mut env) = (self.producer(), self.env.borrow_mut());
        let topology = env.topology.clone();
        let (shape, at) = (topology.sub_topology(task.sub_topology), index(task.partition));
        for (spec, changes) in shape.stores().iter().zip(&commit.changes) {
            for change in changes.iter() {
                let record = (0, change.topic_key, change.value);
                env.broker.produce(by, (&spec.topic, at), record)?;
            }
        }
        for (sink, outputs) in shape.sinks().iter().zip(&commit.outputs) {
            for output in outputs {
                let record = (0, output.key.as_slice(), output.value.as_deref());
                env.broker.produce(by, (sink, at), record)?;
            }
        }
        for (target, records) in shape.repartitions().iter().zip(&commit.repartitioned) {
            let topic = topology.sub_topology(*target).source();
            for one in records {
                let at = partition(&one.record.key, env.partitions[target.0]);
                let (key, value) = (one.record.key.as_slice(), one.record.value.as_deref());
                env.broker.produce(by, (topic, index(at)), (one.timestamp.0, key, value))?;
            }
        }
        let topic = dead_letters(task.sub_topology);
        for letter in &commit.dead_letters {
            let key = letter.offset.to_string();
            let record = (0, key.as_bytes(), Some(letter.reason.as_bytes()));
            env.broker.produce(by, (&topic, at), record)?;
        }
        Ok(())
    }

    /// A proof of ownership that nobody looks at.
    fn skips_proof(&self) -> bool {
        !self.wrote && !self.env.borrow().keeps(Rule::EndsAreProved)
    }
}

impl Group for SimGroup {
    fn poll(&mut self) -> Result<Vec<Rebalance>> {
        if !self.env.borrow().broker.is_member(self.incarnation) {
            return Ok(self.hear_of_loss());
        }
        let broker = &mut self.env.borrow_mut().broker;
        let (mut taken, mut revoked, mut released) = (Vec::new(), Vec::new(), Vec::new());
        for (task, claimed) in &broker.tasks {
            if claimed.owner != Some(self.incarnation) {
                continue;
            }
            match (claimed.is_revoking, self.assigned.contains(task)) {
                (true, true) => revoked.push(*task),
                (true, false) => released.push(*task),
                (false, true) => {}
                (false, false) => taken.push(*task),
            }
        }
        for task in released {
            broker.release(task);
        }
        self.assigned.extend(taken.iter().copied());
        let mut rebalances = Vec::new();
        if !revoked.is_empty() {
            rebalances.push(Rebalance::Revoke { tasks: revoked, lost: false });
        }
        if !taken.is_empty() {
            rebalances.push(Rebalance::Assign(taken));
        }
        Ok(rebalances)
    }

    fn is_lost(&self) -> bool {
        self.lost
    }

    fn positions(&mut self, tasks: &[TaskId]) -> Result<Option<Vec<StartPosition>>> {
        let mut env = self.env.borrow_mut();
        env.die(1, "before the positions")?;
        let stable = tasks.iter().all(|task| env.broker.is_stable(*task));
        if !stable && env.keeps(Rule::OffsetsAreStable) {
            env.note(format!("{} waits for stable offsets", self.incarnation));
            env.wait(Duration::from_millis(1));
            return Ok(None);
        }
        let resumes = tasks.iter().map(|task| {
            let consumed = env.broker.take_offset(*task, self.incarnation);
            self.base.insert(*task, consumed);
            StartPosition { task: *task, consumed }
        });
        let resumes = resumes.collect();
        env.stall(self.incarnation);
        Ok(Some(resumes))
    }

    /// No offset is ever lost here, so where there is none there is no state: it would be refused.
    fn decide(&mut self, missing: &[MissingOffset]) -> Result<Vec<StartPosition>> {
        let mut env = self.env.borrow_mut();
        env.die(1, "before it is decided where to begin")?;
        let known = env.keeps(Rule::PositionsAreKnown);
        let first = Consumed { next: Offset(0), stream_time: Timestamp::MIN };
        let resumes = missing.iter().map(|MissingOffset { task, is_on_disk }| {
            if *is_on_disk {
                env.broker.violated(format!("task {task} has state and no offset"));
            }
            StartPosition { task: *task, consumed: known.then_some(first) }
        });
        Ok(resumes.collect())
    }

    fn assign(&mut self, tasks: &[TaskId]) -> Result<()> {
        for task in tasks {
            let base = self.base.get(task).copied().flatten();
            let from = base.map_or(0, |base| place(base.next));
            self.fetched.insert(*task, from);
            self.env.borrow_mut().note(format!("{} takes {task} from {from}", self.incarnation));
        }
        Ok(())
    }

    fn unassign(&mut self, tasks: &[TaskId]) -> Result<()> {
        let mut env = self.env.borrow_mut();
        for task in tasks {
            self.assigned.remove(task);
            self.fetched.remove(task);
            self.paused.remove(task);
            if env.broker.claimed(*task).owner == Some(self.incarnation) {
                env.broker.release(*task);
                env.note(format!("{} gives {task} back", self.incarnation));
            }
        }
        self.lost = false;
        Ok(())
    }

    fn take(&mut self, wait: Duration, mut take: impl FnMut(SourceRecord<'_>)) -> Result<()> {
        let mut env = self.env.borrow_mut();
        let mut any = false;
        for (task, next) in &mut self.fetched {
            if self.paused.contains(task) || env.chance(50) {
                continue;
            }
            let most = env.rng.random_range(1..8);
            for (at, event) in fetch(&mut env, self.incarnation, *task, *next, most)? {
                take(SourceRecord {
                    task: *task,
                    offset: offset(at),
                    timestamp: Timestamp(event.timestamp),
                    key: &event.key,
                    value: event.value.as_deref(),
                });
                (*next, any) = (at + 1, true);
            }
        }
        if !any {
            env.now += i64::try_from(wait.as_millis()).unwrap_or(0);
        }
        Ok(())
    }

    fn pause(&mut self, task: TaskId) -> Result<()> {
        self.env.borrow_mut().note(format!("{} pauses {task}", self.incarnation));
        self.paused.insert(task);
        Ok(())
    }

    fn resume(&mut self, task: TaskId) -> Result<()> {
        self.paused.remove(&task);
        Ok(())
    }

    fn lag(&mut self, task: TaskId, position: Offset) -> Option<i64> {
        let mut env = self.env.borrow_mut();
        let end = match env.between(task) {
            Some(log) => log.stable(),
            None => env.broker.inputs[index(task.partition)].len(),
        };
        Some(offset(end).0 - position.0)
    }

    fn purge(&mut self, committed: &[(TaskId, Offset)]) -> Result<()> {
        let mut env = self.env.borrow_mut();
        env.die(1, "before it deletes records")?;
        for (task, before) in committed {
            let topic = env.topology.sub_topology(task.sub_topology).source().to_owned();
            env.broker.purge(*task, &topic, place(*before));
            env.note(format!("{} deletes records of {task} before {before}", self.incarnation));
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        self.wrote = false;
        self.sent.clear();
        self.env.borrow_mut().die(1, "before the transaction")
    }

    fn write(&mut self, task: TaskId, commit: &Commit) -> Result<()> {
        self.wrote = true;
        self.produce(task, commit).map_err(refused)?;
        let mut env = self.env.borrow_mut();
        env.stall(self.incarnation);
        env.die(1, "after the records")
    }

    fn flush(&mut self) -> Result<()> {
        let mut env = self.env.borrow_mut();
        env.stall(self.incarnation);
        env.die(1, "before the offsets")
    }

    fn send_offsets(&mut self, offsets: &[(TaskId, Consumed)]) -> Result<()> {
        if self.skips_proof() {
            return Ok(());
        }
        let sent = offsets.iter().map(|(task, consumed)| {
            let base = self.base.get(task).copied().flatten();
            (*task, Sent { consumed: *consumed, base })
        });
        self.sent = sent.collect();
        let by = self.producer();
        let mut env = self.env.borrow_mut();
        env.broker.send_offsets(by, self.incarnation, self.sent.clone()).map_err(refused)?;
        env.audit_due = true;
        env.stall(self.incarnation);
        env.die(1, "after the offsets")
    }

    fn commit(&mut self) -> Result<()> {
        if self.skips_proof() {
            return Ok(());
        }
        let by = self.producer();
        let mut env = self.env.borrow_mut();
        let dice = env.rng.random_range(0..100);
        match dice {
            0 if env.faults => return Err(Error::Indeterminate("the commit was lost".into())),
            1 if env.faults => {
                env.broker.commit(by).map_err(refused)?;
                return Err(Error::Indeterminate("the commit was not answered".into()));
            }
            2 if env.faults => {
                env.broker.prepare(by).map_err(refused)?;
                return Err(env.dead("while the commit was decided"));
            }
            3..6 => {
                env.broker.commit(by).map_err(refused)?;
                env.broker.commit(by).map_err(refused)?;
            }
            _ => env.broker.commit(by).map_err(refused)?,
        }
        env.die(1, "before the stores receive the commit")?;
        for (task, sent) in &self.sent {
            self.base.insert(*task, Some(sent.consumed));
        }
        env.audit_due = true;
        env.stall(self.incarnation);
        Ok(())
    }
}
