//! What all simulated members share: one broker, one clock, one source of chance, and the auditor.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::SmallRng;
use streams::record::{Offset, Partition, TaskId, Timestamp};
use streams::store::{Committed, Store as _};
use streams::task::State;
use streams::topology::SubTopology;
use streams::{Error, Replica, Result, Retention, Task, Topology};

use super::broker::Broker;
use super::disk::Disk;
use super::log::{Log, Pairs};
use super::rules::Rule;

/// A handle for the clients of all members. One thread uses it, a call at a time.
pub(crate) type Shared = Rc<RefCell<Env>>;

/// A member's disks, by topic and partition. They outlive its processes.
pub(crate) type Disks = Rc<RefCell<BTreeMap<(String, Partition), Disk>>>;

/// Everything that a client's call may use.
pub(crate) struct Env {
    pub(crate) rng: SmallRng,
    pub(crate) broker: Broker,
    pub(crate) topology: Topology,
    /// By sub-topology: partitions of its source.
    pub(crate) partitions: Vec<i32>,
    pub(crate) broken: &'static [Rule],
    pub(crate) faults: bool,
    /// Milliseconds.
    pub(crate) now: i64,
    pub(crate) incarnations: u64,
    /// The process of the call under way is dead.
    pub(crate) died: Option<&'static str>,
    /// The member of the call under way stands still: another one is next.
    pub(crate) stands_still: bool,
    /// The call under way has changed what tasks must agree with.
    pub(crate) audit_due: bool,
    /// What happened, line by line.
    pub(crate) trace: Vec<String>,
}

impl Env {
    /// Every task.
    pub(crate) fn tasks(&self) -> Vec<TaskId> {
        let of = |(index, count): (usize, &i32)| (0..*count).map(move |at| TaskId::new(index, at));
        self.partitions.iter().enumerate().flat_map(of).collect()
    }

    /// The partitions of a topic that are compared together.
    pub(crate) fn partitions_of(&self, topic: &str, partition: Option<usize>) -> Vec<usize> {
        let of = |shape: &&SubTopology| {
            let is_store = shape.stores().iter().any(|spec| spec.topic == topic);
            is_store || shape.sinks().iter().any(|sink| sink == topic)
        };
        let shapes = self.topology.sub_topologies();
        let found = shapes.iter().position(|shape| of(&shape));
        let found = found.or_else(|| topic.strip_prefix("dead-")?.parse().ok());
        let count = found.and_then(|index| usize::try_from(self.partitions[index]).ok());
        partition.map_or_else(|| (0..count.unwrap_or(0)).collect(), |partition| vec![partition])
    }

    /// The log of a task's source, if it is a repartition topic.
    pub(crate) fn between(&mut self, task: TaskId) -> Option<&mut Log> {
        let shape = self.topology.sub_topology(task.sub_topology);
        let topic = shape.is_repartition().then(|| shape.source().to_owned())?;
        Some(self.broker.log(&topic, index(task.partition)))
    }

    /// Whether the clients keep to a rule.
    pub(crate) fn keeps(&self, rule: Rule) -> bool {
        !self.broken.contains(&rule)
    }

    /// True so many times of a hundred.
    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_ratio(percent, 100)
    }

    /// The same, and never when faults are over.
    pub(crate) fn fault(&mut self, percent: u32) -> bool {
        self.faults && self.chance(percent)
    }

    /// Dies here, sometimes.
    pub(crate) fn die(&mut self, percent: u32, place: &'static str) -> Result<()> {
        if self.fault(percent) { Err(self.dead(place)) } else { Ok(()) }
    }

    /// Dies here.
    pub(crate) fn dead(&mut self, place: &'static str) -> Error {
        self.died = Some(place);
        Error::Unavailable(place.into())
    }

    /// Stands still after this call, sometimes.
    pub(crate) fn stall(&mut self, who: u64) {
        if self.fault(4) {
            self.note(format!("{who} stands still"));
            self.stands_still = true;
        }
    }

    /// Waits: time goes on, and so do others.
    pub(crate) fn wait(&mut self, time: Duration) {
        self.now += i64::try_from(time.as_millis()).unwrap_or(0);
        self.stands_still = true;
    }

    /// Writes a line of the trace.
    pub(crate) fn note(&mut self, line: String) {
        self.trace.push(line);
    }

    /// Wall-clock time.
    pub(crate) fn time(&self) -> Timestamp {
        Timestamp(self.now)
    }

    /// A store and the rest of its changelog make what the whole changelog makes.
    pub(crate) fn audit_disk(
        &mut self,
        topic: &str,
        partition: Partition,
        disk: &Disk,
    ) -> Result<()> {
        let position = disk.position()?.map_or(0, place);
        let pairs = disk.pairs()?;
        let retention = self.retention(topic);
        let log = self.broker.log(topic, index(partition));
        let end = log.high_watermark();
        let restored = log.fold(pairs, position, end);
        if kept(restored, retention) != kept(log.fold(Pairs::new(), 0, end), retention) {
            let what = format!("{topic}-{partition} on disk is wrong at position {position}");
            self.broker.violated(what);
        }
        Ok(())
    }

    /// The running tasks of a member, after a call that they must agree with.
    pub(crate) fn audit_tasks<'t>(
        &mut self,
        member: u64,
        tasks: impl Iterator<Item = &'t Task>,
    ) -> Result<()> {
        if !std::mem::take(&mut self.audit_due) {
            return Ok(());
        }
        let mut running = tasks.filter(|task| task.state() == State::Running);
        running.try_for_each(|task| self.audit_task(member, task))
    }

    /// The committed state of a running task is what its changelogs make, while the member holds
    /// it.
    fn audit_task(&mut self, member: u64, task: &Task) -> Result<()> {
        let (id, partition) = (task.id(), task.id().partition);
        if !self.broker.holds(id, member) {
            return Ok(());
        }
        let specs = self.topology.sub_topology(id.sub_topology).stores().to_vec();
        for (spec, store) in specs.iter().zip(task.stores()) {
            let topic = &spec.topic;
            let end = self.broker.log(topic, index(partition)).high_watermark();
            if !self.is_fold(topic, partition, store, end)? {
                self.broker.violated(format!("{topic}-{partition} of {member} is wrong"));
            }
        }
        Ok(())
    }

    /// What follows the log holds what the log makes up to there.
    pub(crate) fn audit_replica(&mut self, task: TaskId, replica: &Replica) -> Result<()> {
        let partition = task.partition;
        let (topic, next) = (&replica.spec().topic, place(replica.next()));
        if replica.is_following() && !self.is_fold(topic, partition, replica.store(), next)? {
            self.broker.violated(format!("a standby of {topic}-{partition} is wrong at {next}"));
        }
        Ok(())
    }

    fn is_fold(
        &mut self,
        topic: &str,
        partition: Partition,
        store: &Committed,
        end: usize,
    ) -> Result<bool> {
        let pairs: Pairs = store.range(&[], &[0xff; 64], usize::MAX)?.into_iter().collect();
        let retention = self.retention(topic);
        let fold = self.broker.log(topic, index(partition)).fold(Pairs::new(), 0, end);
        Ok(pairs == kept(fold, retention))
    }

    /// How long the store of a topic keeps its windows.
    fn retention(&self, topic: &str) -> Option<Retention> {
        self.topology.stores().find(|spec| spec.topic == topic)?.retention()
    }
}

/// The pairs that a store with that retention has not forgotten.
fn kept(mut pairs: Pairs, retention: Option<Retention>) -> Pairs {
    let newest = pairs.keys().map(|key| Retention::segment(key)).max();
    match (retention, newest) {
        (Some(retention), Some(newest)) => {
            pairs.split_off(&Retention::first_key(retention.first_kept(newest))[..])
        }
        _ => pairs,
    }
}

/// The place of a partition in the broker's lists.
pub(crate) fn index(partition: Partition) -> usize {
    usize::try_from(partition.0).unwrap_or(0)
}

/// An offset of a place in a log.
pub(crate) fn offset(place: usize) -> Offset {
    Offset(i64::try_from(place).unwrap_or(i64::MAX))
}

/// A place in a log of an offset.
pub(crate) fn place(offset: Offset) -> usize {
    usize::try_from(offset.0).unwrap_or(0)
}
