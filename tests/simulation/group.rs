//! The simulated group member of a worker: [`Group`] over the broker in memory.
//!
//! It breaks the rules that a test asks it to break ([`Rule`]): each is something that the worker
//! rests on and cannot check itself.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use rand::Rng as _;
use streams::record::{Offset, Partition, SourceId, SourceRecord, Timestamp};
use streams::runtime::worker::{Group, MissingOffset, Rebalance, StartPosition};
use streams::task::{Commit, Consumed};
use streams::{Error, Result};

use super::broker::{Refused, Sent};
use super::env::{Shared, index, number, offset, place};
use super::rules::Rule;
use super::sample::DEAD_LETTERS;

/// One incarnation of a member.
pub(crate) struct SimGroup {
    env: Shared,
    id: usize,
    incarnation: u64,
    epoch: u64,
    /// Partitions that the worker was told to take, and was not yet told to give back.
    assigned: BTreeSet<usize>,
    lost: bool,
    /// What the group had committed of a partition when this incarnation last knew.
    base: BTreeMap<usize, Option<Consumed>>,
    /// By partition: the next place of the source. Only of those whose assignment was answered.
    fetched: BTreeMap<usize, usize>,
    paused: BTreeSet<usize>,
    /// The open transaction has records.
    wrote: bool,
    sent: BTreeMap<usize, Sent>,
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
        let partitions = self.assigned.iter().map(|partition| number(*partition)).collect();
        vec![Rebalance::Revoke { partitions, lost: self.lost }]
    }

    fn produce(&self, partition: Partition, commit: &Commit) -> Result<(), Refused> {
        let (by, mut env) = (self.producer(), self.env.borrow_mut());
        let topology = env.topology.clone();
        for (spec, changes) in topology.stores().iter().zip(&commit.changes) {
            for change in changes.iter() {
                let to = (spec.topic.as_str(), index(partition));
                env.broker.produce(by, to, change.topic_key, change.value)?;
            }
        }
        for (sink, outputs) in topology.sinks().iter().zip(&commit.outputs) {
            for output in outputs {
                let to = (sink.as_str(), index(partition));
                env.broker.produce(by, to, &output.key, output.value.as_deref())?;
            }
        }
        for letter in &commit.dead_letters {
            let (key, to) = (letter.offset.to_string(), (DEAD_LETTERS, index(partition)));
            env.broker.produce(by, to, key.as_bytes(), Some(letter.reason.as_bytes()))?;
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
        let (mut taken, mut revoked) = (Vec::new(), Vec::new());
        for partition in 0..broker.owner.len() {
            if broker.owner[partition] != Some(self.incarnation) {
                continue;
            }
            match (broker.revoking[partition], self.assigned.contains(&partition)) {
                (true, true) => revoked.push(number(partition)),
                (true, false) => broker.release(partition),
                (false, true) => {}
                (false, false) => taken.push(partition),
            }
        }
        self.assigned.extend(taken.iter().copied());
        let mut rebalances = Vec::new();
        if !revoked.is_empty() {
            rebalances.push(Rebalance::Revoke { partitions: revoked, lost: false });
        }
        if !taken.is_empty() {
            rebalances.push(Rebalance::Assign(taken.into_iter().map(number).collect()));
        }
        Ok(rebalances)
    }

    fn is_lost(&self) -> bool {
        self.lost
    }

    fn positions(&mut self, partitions: &[Partition]) -> Result<Option<Vec<StartPosition>>> {
        let mut env = self.env.borrow_mut();
        env.die(1, "before the positions")?;
        let stable = partitions.iter().all(|partition| env.broker.are_stable(index(*partition)));
        if !stable && env.keeps(Rule::OffsetsAreStable) {
            env.note(format!("{} waits for stable offsets", self.incarnation));
            env.wait(Duration::from_millis(1));
            return Ok(None);
        }
        let resumes = partitions.iter().map(|partition| {
            let base = env.broker.take_offsets(index(*partition), self.incarnation);
            self.base.insert(index(*partition), base);
            let consumed = base.into_iter().collect();
            StartPosition { partition: *partition, consumed }
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
        let first = Consumed { source: SourceId(0), next: Offset(0), stream_time: Timestamp::MIN };
        let resumes = missing.iter().map(|MissingOffset { partition, is_on_disk }| {
            if *is_on_disk {
                env.broker.violated(format!("partition {partition} has state and no offset"));
            }
            StartPosition {
                partition: *partition,
                consumed: known.then_some(first).into_iter().collect(),
            }
        });
        Ok(resumes.collect())
    }

    fn assign(&mut self, partitions: &[Partition]) -> Result<()> {
        for partition in partitions {
            let base = self.base.get(&index(*partition)).copied().flatten();
            let from = base.map_or(0, |base| place(base.next));
            self.fetched.insert(index(*partition), from);
            self.env
                .borrow_mut()
                .note(format!("{} takes {partition} from {from}", self.incarnation));
        }
        Ok(())
    }

    fn unassign(&mut self, partitions: &[Partition]) -> Result<()> {
        let mut env = self.env.borrow_mut();
        for partition in partitions {
            let at = index(*partition);
            self.assigned.remove(&at);
            self.fetched.remove(&at);
            self.paused.remove(&at);
            if env.broker.owner[at] == Some(self.incarnation) {
                env.broker.release(at);
                env.note(format!("{} gives {partition} back", self.incarnation));
            }
        }
        self.lost = false;
        Ok(())
    }

    fn take(&mut self, wait: Duration, mut take: impl FnMut(SourceRecord<'_>)) -> Result<()> {
        let mut env = self.env.borrow_mut();
        let mut any = false;
        for (partition, next) in &mut self.fetched {
            if self.paused.contains(partition) || env.chance(50) {
                continue;
            }
            let most = env.rng.random_range(1..8);
            for event in env.broker.inputs[*partition].iter().skip(*next).take(most) {
                take(SourceRecord {
                    source: SourceId(0),
                    partition: number(*partition),
                    offset: offset(*next),
                    timestamp: Timestamp(event.timestamp),
                    key: &event.key,
                    value: event.value.as_deref(),
                });
                (*next, any) = (*next + 1, true);
            }
        }
        if !any {
            env.now += i64::try_from(wait.as_millis()).unwrap_or(0);
        }
        Ok(())
    }

    fn pause(&mut self, partition: Partition) -> Result<()> {
        self.env.borrow_mut().note(format!("{} pauses {partition}", self.incarnation));
        self.paused.insert(index(partition));
        Ok(())
    }

    fn resume(&mut self, partition: Partition) -> Result<()> {
        self.paused.remove(&index(partition));
        Ok(())
    }

    fn lag(&mut self, _: SourceId, partition: Partition, position: Offset) -> Option<i64> {
        let end = offset(self.env.borrow().broker.inputs[index(partition)].len());
        Some(end.0 - position.0)
    }

    fn begin(&mut self) -> Result<()> {
        self.wrote = false;
        self.sent.clear();
        self.env.borrow_mut().die(1, "before the transaction")
    }

    fn write(&mut self, partition: Partition, commit: &Commit) -> Result<()> {
        self.wrote = true;
        self.produce(partition, commit).map_err(refused)?;
        let mut env = self.env.borrow_mut();
        env.stall(self.incarnation);
        env.die(1, "after the records")
    }

    fn flush(&mut self) -> Result<()> {
        let mut env = self.env.borrow_mut();
        env.stall(self.incarnation);
        env.die(1, "before the offsets")
    }

    fn send_offsets(&mut self, offsets: &[(Partition, Vec<Consumed>)]) -> Result<()> {
        if self.skips_proof() {
            return Ok(());
        }
        let sent = offsets.iter().filter_map(|(partition, consumed)| {
            let base = self.base.get(&index(*partition)).copied().flatten();
            Some((index(*partition), Sent { consumed: *consumed.first()?, base }))
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
        for (partition, sent) in &self.sent {
            self.base.insert(*partition, Some(sent.consumed));
        }
        env.audit_due = true;
        env.stall(self.incarnation);
        Ok(())
    }
}
