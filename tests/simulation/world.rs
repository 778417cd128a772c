//! The world: one seed decides who acts, what arrives and what fails.
//!
//! While faults run the auditor checks every store against its changelog and every commit against
//! the group. In the end all is healed, and outputs equal those of one task that nothing happened
//! to.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use prometheus::Registry;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use streams::runtime::worker::{DiskSettings, RuntimeContext, WorkerSettings};
use streams::runtime::{Guarantee, Metrics, Queries};
use streams::{Driver, Topology};

use super::broker::{Broker, Event};
use super::env::{Env, Shared, number};
use super::log::Pairs;
use super::member::Member;
use super::rules::Rule;
use super::sample::{self, DEAD_LETTERS, PULSE};

/// Steps with faults.
const STEPS: usize = 600;
/// Rounds of all members within which a healed world must be done: more than it ever takes.
const HEALING: usize = 1000;

/// A life: how it ended, and what happened in it, line by line.
pub(crate) struct Life {
    pub(crate) outcome: Result<(), String>,
    pub(crate) trace: Vec<String>,
}

/// Lives through the world of that seed; its clients break these rules.
pub(crate) fn live(seed: u64, broken: &'static [Rule]) -> Life {
    let mut rng = SmallRng::seed_from_u64(seed);
    let topology = sample::topology(rng.random());
    let metrics = match Metrics::new("simulated", &Registry::new()) {
        Ok(metrics) => metrics,
        Err(error) => return Life { outcome: Err(error.to_string()), trace: Vec::new() },
    };
    let queries: Vec<Queries> = (0..rng.random_range(1..5)).map(|_| Queries::default()).collect();
    let scenes = queries.iter().map(|queries| RuntimeContext {
        topology: &topology,
        metrics: &metrics,
        queries,
    });
    let mut world = World::new(rng, scenes.collect(), broken);
    let outcome = world.run();
    let trace = std::mem::take(&mut world.env.borrow_mut().trace);
    Life { outcome, trace }
}

/// Everything there is.
struct World<'a> {
    env: Shared,
    topology: &'a Topology,
    members: Vec<Member<'a>>,
    /// By partition: what has not arrived yet.
    coming: Vec<VecDeque<Event>>,
}

fn settings(rng: &mut SmallRng) -> WorkerSettings {
    // Small enough that each bound is met, or never met.
    let mut bytes = |some: [usize; 2]| *some.get(rng.random_range(0..3)).unwrap_or(&(1 << 20));
    let (cache_max_bytes, buffer_max_bytes) = (bytes([300, 1_000]), bytes([0, 100]));
    let (overlay_max_bytes, restore_max_bytes) = (bytes([5_000, 9_000]), bytes([5_000, 9_000]));
    WorkerSettings {
        guarantee: Guarantee::ExactlyOnceV2,
        commit_interval: Duration::from_millis(rng.random_range(1..40)),
        cache_max_bytes,
        buffer_max_bytes,
        disk: DiskSettings {
            overlay_max_bytes,
            flush_interval: Duration::from_millis(rng.random_range(1..80)),
            restore_max_bytes,
        },
    }
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

impl<'a> World<'a> {
    fn new(mut rng: SmallRng, scenes: Vec<RuntimeContext<'a>>, broken: &'static [Rule]) -> Self {
        let topology = scenes[0].topology;
        let (partitions, settings) = (rng.random_range(1..5), settings(&mut rng));
        let coming = (0..partitions).map(|_| events(&mut rng)).collect();
        let standbys: Vec<bool> = scenes.iter().map(|_| rng.random()).collect();
        let env = Rc::new(RefCell::new(Env {
            rng,
            broker: Broker::new(partitions, scenes.len()),
            topology: topology.clone(),
            broken,
            faults: true,
            now: 0,
            incarnations: 0,
            died: None,
            stands_still: false,
            audit_due: false,
            trace: Vec::new(),
        }));
        let members = scenes.into_iter().zip(standbys).enumerate().map(|(id, (scene, standby))| {
            Member::new(&env, scene, settings, number(partitions).0, (id, standby))
        });
        let members = members.collect();
        Self { env, topology, members, coming }
    }

    /// Lives through all of it.
    fn run(&mut self) -> Result<(), String> {
        let expected = self.undisturbed().map_err(|error| error.to_string())?;
        let quiet = [0, 0, STEPS / 3][self.dice(3)];
        for step in 0..STEPS {
            self.step(step >= quiet)?;
        }
        self.heal()?;
        self.compare(&expected)
    }

    fn dice(&mut self, sides: usize) -> usize {
        self.env.borrow_mut().rng.random_range(0..sides)
    }

    fn note(&mut self, line: String) {
        self.env.borrow_mut().note(line);
    }

    fn step(&mut self, arriving: bool) -> Result<(), String> {
        let (member, partition) = (self.dice(self.members.len()), self.dice(self.coming.len()));
        match self.dice(100) {
            0..14 if arriving => self.arrive(partition),
            0..79 => self.turn(member)?,
            79 => self.stop(member),
            80..82 => self.kill(member),
            82..88 => self.start(member),
            88..91 => self.expel(member),
            91..93 => {
                let broker = &mut self.env.borrow_mut().broker;
                broker.revoking[partition] = broker.owner[partition].is_some();
            }
            93 => self.members[member].snapshot().map_err(|error| error.to_string())?,
            94 if !self.members[member].is_up() => {
                self.note(format!("the disk of {member} falls back"));
                self.members[member].fall_back();
            }
            94..97 => self.env.borrow_mut().broker.settle(member),
            _ => self.pass(40),
        }
        self.assign();
        self.violation()
    }

    fn violation(&mut self) -> Result<(), String> {
        self.env.borrow_mut().broker.violation.take().map_or(Ok(()), Err)
    }

    fn pass(&mut self, most: i64) {
        let env = &mut self.env.borrow_mut();
        env.now += env.rng.random_range(1..most);
    }

    fn arrive(&mut self, partition: usize) {
        for _ in 0..=self.dice(3) {
            let Some(event) = self.coming[partition].pop_front() else {
                return;
            };
            self.env.borrow_mut().broker.inputs[partition].push(event);
        }
    }

    fn start(&mut self, member: usize) {
        if !self.members[member].is_up() {
            self.members[member].start();
            self.note(format!("{member} starts as {}", self.members[member].incarnation));
        }
    }

    fn stop(&mut self, member: usize) {
        if self.members[member].is_up() {
            self.note(format!("{} is told to stop", self.members[member].incarnation));
            self.members[member].stop();
        }
    }

    fn kill(&mut self, member: usize) {
        if self.members[member].is_up() {
            self.note(format!("{} is killed", self.members[member].incarnation));
            self.members[member].crash();
        }
    }

    fn expel(&mut self, member: usize) {
        let incarnation = self.members[member].incarnation;
        self.note(format!("{incarnation} is expelled"));
        self.env.borrow_mut().broker.expel(incarnation);
    }

    fn turn(&mut self, member: usize) -> Result<(), String> {
        self.pass(4);
        self.members[member].turn().map_err(|error| error.to_string())
    }

    /// Partitions that nobody has go to members.
    fn assign(&mut self) {
        let env = &mut *self.env.borrow_mut();
        let members = env.broker.members();
        for owner in env.broker.owner.iter_mut().filter(|owner| owner.is_none()) {
            if !members.is_empty() {
                *owner = Some(members[env.rng.random_range(0..members.len())]);
            }
        }
    }

    /// No more faults: everyone starts, and everything is processed and committed.
    fn heal(&mut self) -> Result<(), String> {
        self.env.borrow_mut().faults = false;
        self.note("healed".into());
        for partition in 0..self.coming.len() {
            let rest = std::mem::take(&mut self.coming[partition]);
            self.env.borrow_mut().broker.inputs[partition].extend(rest);
        }
        for _ in 0..HEALING {
            for member in 0..self.members.len() {
                if !self.members[member].is_up() {
                    // The dead are noticed: their sessions end.
                    let incarnation = self.members[member].incarnation;
                    self.env.borrow_mut().broker.expel(incarnation);
                    self.start(member);
                }
                self.assign();
                self.turn(member)?;
            }
            self.violation()?;
            if self.is_done() {
                return Ok(());
            }
        }
        Err("a healed world makes no progress".into())
    }

    fn is_done(&self) -> bool {
        let broker = &self.env.borrow().broker;
        let mut offsets = broker.offsets.iter().zip(&broker.inputs);
        let done = |next: i64, input: &[Event]| usize::try_from(next) == Ok(input.len());
        offsets.all(|(consumed, input)| done(consumed.map_or(0, |c| c.next.0), input))
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

    fn compare(&self, all: &[BTreeMap<String, Expected>]) -> Result<(), String> {
        let broker = &mut self.env.borrow_mut().broker;
        for (partition, expected) in all.iter().enumerate() {
            for (topic, expected) in expected {
                let log = broker.log(topic, partition);
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
