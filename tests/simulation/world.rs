//! The world: one seed decides who acts, what arrives and what fails.
//!
//! While faults run the auditor checks every store against its changelog and every commit against
//! the group. In the end all is healed, and outputs equal those of one task that nothing happened
//! to.

use std::collections::{BTreeMap, VecDeque};

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use streams::record::Timestamp;
use streams::store::Store as _;
use streams::{Driver, Task, Topology};

use super::broker::{Broker, Event};
use super::disk::Disk;
use super::log::Pairs;
use super::member::Member;
use super::rules::{Rule, Stop};
use super::sample::{self, DEAD_LETTERS, PULSE};

/// Steps with faults.
const STEPS: usize = 600;
/// Rounds of all members within which a healed world must be done: more than it ever takes.
const HEALING: usize = 1000;

/// What a member's turn may use.
pub(crate) struct Env<'a> {
    pub(crate) rng: &'a mut SmallRng,
    pub(crate) broker: &'a mut Broker,
    pub(crate) topology: &'a Topology,
    pub(crate) incarnations: &'a mut u64,
    broken: &'static [Rule],
    pub(crate) faults: bool,
    pub(crate) now: Timestamp,
    pub(crate) cache_max_bytes: usize,
    trace: &'a mut Vec<String>,
}

impl Env<'_> {
    /// Whether the members keep to a rule.
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
    pub(crate) fn die(&mut self, percent: u32, place: &'static str) -> Result<(), Stop> {
        if self.fault(percent) { Err(Stop::Died(place)) } else { Ok(()) }
    }

    /// Stands still here, sometimes.
    pub(crate) fn stall(&mut self) -> Result<(), Stop> {
        if self.fault(4) { Err(Stop::Stalled) } else { Ok(()) }
    }

    /// Writes a line of the trace.
    pub(crate) fn note(&mut self, line: String) {
        self.trace.push(line);
    }

    /// A store and the rest of its changelog make what the whole changelog makes.
    pub(crate) fn audit_disk(
        &mut self,
        topic: &str,
        partition: usize,
        disk: &Disk,
    ) -> Result<(), Stop> {
        let position = disk.position()?.map_or(0, |offset| usize::try_from(offset.0).unwrap_or(0));
        let pairs = disk.pairs()?;
        let log = self.broker.log(topic, partition);
        let end = log.high_watermark();
        if log.fold(pairs, position, end) == log.fold(Pairs::new(), 0, end) {
            return Ok(());
        }
        Err(Stop::Broken(format!("{topic}-{partition} on disk is wrong at position {position}")))
    }

    /// The committed state of a running task is what its changelogs make, while it holds the
    /// partition.
    pub(crate) fn audit_task(
        &mut self,
        member: u64,
        partition: usize,
        task: &Task,
    ) -> Result<(), Stop> {
        if !self.broker.holds(partition, member) {
            return Ok(());
        }
        for (spec, store) in self.topology.stores().iter().zip(task.stores()) {
            let pairs: Pairs = store.range(&[], &[0xff; 64], usize::MAX)?.into_iter().collect();
            let log = self.broker.log(&spec.topic, partition);
            if pairs != log.fold(Pairs::new(), 0, log.high_watermark()) {
                let topic = &spec.topic;
                return Err(Stop::Broken(format!("{topic}-{partition} of {member} is wrong")));
            }
        }
        Ok(())
    }
}

/// Everything there is.
pub(crate) struct World {
    rng: SmallRng,
    topology: Topology,
    broker: Broker,
    members: Vec<Member>,
    /// By partition: what has not arrived yet.
    coming: Vec<VecDeque<Event>>,
    broken: &'static [Rule],
    faults: bool,
    incarnations: u64,
    now: Timestamp,
    cache_max_bytes: usize,
    /// What happened, line by line.
    pub(crate) trace: Vec<String>,
}

fn events(rng: &mut SmallRng) -> VecDeque<Event> {
    let mut clock = 0;
    let events = (0..rng.random_range(20..90)).map(|_| {
        clock += rng.random_range(0..12);
        let value = match rng.random_range(0..20) {
            0 => None,
            1 => Some(b"dirt".to_vec()),
            _ => Some(rng.random_range(-9..100).to_string().into_bytes()),
        };
        let key = vec![b'a' + rng.random_range(0..6)];
        Event { timestamp: clock - rng.random_range(0..60), key, value }
    });
    events.collect()
}

impl World {
    /// The world of that seed, before anything has happened; its members break these rules.
    pub(crate) fn new(seed: u64, broken: &'static [Rule]) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let (partitions, members) = (rng.random_range(1..5), rng.random_range(1..5));
        let cache_max_bytes = [300, 1_000, 1 << 20][rng.random_range(0..3)];
        Self {
            topology: sample::topology(rng.random()),
            broker: Broker::new(partitions, members),
            members: (0..members).map(|id| Member::new(id, rng.random())).collect(),
            coming: (0..partitions).map(|_| events(&mut rng)).collect(),
            broken,
            faults: true,
            incarnations: 0,
            now: Timestamp(0),
            cache_max_bytes,
            trace: Vec::new(),
            rng,
        }
    }

    /// Lives through all of it.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        let expected = self.undisturbed().map_err(|error| error.to_string())?;
        let quiet = [0, 0, STEPS / 3][self.rng.random_range(0..3)];
        for step in 0..STEPS {
            self.step(step >= quiet)?;
        }
        self.heal()?;
        self.compare(&expected)
    }

    fn act<R>(&mut self, index: usize, act: impl FnOnce(&mut Member, &mut Env<'_>) -> R) -> R {
        let mut env = Env {
            rng: &mut self.rng,
            broker: &mut self.broker,
            topology: &self.topology,
            incarnations: &mut self.incarnations,
            broken: self.broken,
            faults: self.faults,
            now: self.now,
            cache_max_bytes: self.cache_max_bytes,
            trace: &mut self.trace,
        };
        act(&mut self.members[index], &mut env)
    }

    fn step(&mut self, arriving: bool) -> Result<(), String> {
        let member = self.rng.random_range(0..self.members.len());
        let partition = self.rng.random_range(0..self.coming.len());
        match self.rng.random_range(0..100) {
            0..14 if arriving => self.arrive(partition),
            0..80 => self.turn(member)?,
            80..82 => self.crash(member, "killed"),
            82..88 => self.start(member),
            88..91 => {
                let incarnation = self.members[member].incarnation;
                self.trace.push(format!("{incarnation} is expelled"));
                self.broker.expel(incarnation);
            }
            91..93 => self.broker.revoking[partition] = self.broker.owner[partition].is_some(),
            93 => self.remember(member)?,
            94 if !self.members[member].up => {
                self.trace.push(format!("the disk of {member} falls back"));
                self.members[member].fall_back();
            }
            94..97 => self.broker.settle(member),
            _ => self.now = Timestamp(self.now.0 + self.rng.random_range(1..40)),
        }
        self.assign();
        self.broker.violation.take().map_or(Ok(()), Err)
    }

    fn arrive(&mut self, partition: usize) {
        for _ in 0..self.rng.random_range(1..4) {
            let Some(event) = self.coming[partition].pop_front() else {
                return;
            };
            self.broker.inputs[partition].push(event);
        }
    }

    fn start(&mut self, member: usize) {
        if self.members[member].up {
            return;
        }
        self.act(member, Member::start);
        self.trace.push(format!("{member} starts as {}", self.members[member].incarnation));
    }

    fn crash(&mut self, member: usize, place: &str) {
        self.trace.push(format!("{} dies {place}", self.members[member].incarnation));
        self.members[member].stop();
    }

    fn remember(&mut self, member: usize) -> Result<(), String> {
        match self.members[member].snapshot() {
            Err(Stop::Broken(what)) => Err(what),
            _ => Ok(()),
        }
    }

    fn turn(&mut self, member: usize) -> Result<(), String> {
        if !self.members[member].up {
            return Ok(());
        }
        match self.act(member, Member::turn) {
            Ok(()) => {}
            Err(Stop::Stalled) => {
                self.trace.push(format!("{} stands still", self.members[member].incarnation));
            }
            Err(Stop::Died(place)) => self.crash(member, place),
            Err(Stop::Rejoin(reason)) => {
                let incarnation = self.members[member].incarnation;
                self.trace.push(format!("{incarnation} joins again: {reason}"));
                self.members[member].stop();
                self.start(member);
            }
            Err(Stop::Broken(what)) => return Err(what),
        }
        Ok(())
    }

    /// Partitions that nobody has go to members.
    fn assign(&mut self) {
        let members = self.broker.members();
        for partition in 0..self.coming.len() {
            if self.broker.owner[partition].is_none() && !members.is_empty() {
                let chosen = members[self.rng.random_range(0..members.len())];
                self.broker.owner[partition] = Some(chosen);
            }
        }
    }

    /// No more faults: everyone starts, and everything is processed and committed.
    fn heal(&mut self) -> Result<(), String> {
        self.faults = false;
        self.trace.push("healed".into());
        for partition in 0..self.coming.len() {
            let rest = std::mem::take(&mut self.coming[partition]);
            self.broker.inputs[partition].extend(rest);
        }
        for _ in 0..HEALING {
            for member in 0..self.members.len() {
                if !self.members[member].up {
                    // The dead are noticed: their sessions end.
                    self.broker.expel(self.members[member].incarnation);
                    self.start(member);
                }
                self.assign();
                self.turn(member)?;
            }
            self.broker.violation.take().map_or(Ok(()), Err)?;
            let offsets = self.broker.offsets.iter().zip(&self.broker.inputs);
            let done = |next: i64, input: &[Event]| usize::try_from(next) == Ok(input.len());
            if offsets.into_iter().all(|(c, input)| done(c.map_or(0, |c| c.next.0), input)) {
                return Ok(());
            }
        }
        Err("a healed world makes no progress".into())
    }

    /// What each output would be if nothing had happened.
    fn undisturbed(&self) -> streams::Result<Vec<BTreeMap<String, Expected>>> {
        let mut all = Vec::new();
        for events in &self.coming {
            let mut driver = Driver::new(self.topology.clone())?;
            for event in events {
                driver.pipe("events", event.timestamp, &event.key, event.value.as_deref())?;
            }
            driver.commit()?;
            let mut expected = BTreeMap::new();
            for spec in self.topology.stores() {
                let changes = driver.output(&spec.topic).iter();
                let pairs = changes.filter_map(|o| Some((o.key.clone(), o.value.clone()?)));
                expected.insert(spec.topic.clone(), Expected::State(pairs.collect()));
            }
            for sink in self.topology.sinks().iter().filter(|sink| *sink != PULSE) {
                let outputs = driver.output(sink).iter();
                let records = outputs.map(|o| (o.key.clone(), o.value.clone())).collect();
                expected.insert(sink.clone(), Expected::Sequence(records));
            }
            let letters = driver.dead_letters().iter();
            let records = letters
                .map(|l| (l.offset.to_string().into_bytes(), Some(l.reason.as_bytes().to_vec())));
            expected.insert(DEAD_LETTERS.into(), Expected::Sequence(records.collect()));
            all.push(expected);
        }
        Ok(all)
    }

    fn compare(&mut self, all: &[BTreeMap<String, Expected>]) -> Result<(), String> {
        for (partition, expected) in all.iter().enumerate() {
            for (topic, expected) in expected {
                let log = self.broker.log(topic, partition);
                let end = log.high_watermark();
                let equal = match expected {
                    Expected::State(pairs) => log.fold(Pairs::new(), 0, end) == *pairs,
                    Expected::Sequence(records) => {
                        let found = log.committed(0, end);
                        found.map(|(_, r)| (r.key.clone(), r.value.clone())).eq(records.clone())
                    }
                };
                if !equal {
                    return Err(format!("{topic}-{partition} differs from a run without faults"));
                }
            }
        }
        Ok(())
    }
}

/// What a topic must hold in the end.
enum Expected {
    /// The last value of each key.
    State(Pairs),
    /// Exactly these records.
    Sequence(Vec<(Vec<u8>, Option<Vec<u8>>)>),
}
