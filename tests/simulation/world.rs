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
use streams::record::{Change, SubTopologyId};
use streams::runtime::worker::{DiskSettings, RuntimeContext, WorkerSettings};
use streams::runtime::{Guarantee, Metrics, Queries};
use streams::task::DeadLetter;
use streams::{Driver, Topology};

use super::broker::{Broker, Event};
use super::env::{Env, Shared, index, place};
use super::log::Pairs;
use super::member::Member;
use super::rules::Rule;
use super::sample::{self, ECHO, PULSE, dead_letters};

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
    let made = topology.and_then(|t| Ok((t, Metrics::new("simulated", &Registry::new())?)));
    let (topology, metrics) = match made {
        Ok(made) => made,
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
        purge_interval: Duration::from_millis(rng.random_range(1..300)),
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
        let settings = settings(&mut rng);
        let partitions: Vec<i32> =
            topology.sub_topologies().iter().map(|_| rng.random_range(1..5)).collect();
        let coming = (0..partitions[0]).map(|_| events(&mut rng)).collect();
        let standbys: Vec<bool> = scenes.iter().map(|_| rng.random()).collect();
        let mut env = Env {
            rng,
            broker: Broker::default(),
            topology: topology.clone(),
            partitions,
            broken,
            faults: true,
            now: 0,
            incarnations: 0,
            died: None,
            stands_still: false,
            audit_due: false,
            trace: Vec::new(),
        };
        let tasks = env.tasks();
        env.broker = Broker::new(&tasks, scenes.len(), written_by(topology));
        let env = Rc::new(RefCell::new(env));
        let members = scenes.into_iter().zip(standbys).enumerate().map(|(id, (scene, standby))| {
            Member::new(&env, scene, settings, tasks.clone(), (id, standby))
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
                let env = &mut self.env.borrow_mut();
                let tasks = env.tasks();
                let task = tasks[env.rng.random_range(0..tasks.len())];
                let claimed = env.broker.claimed(task);
                claimed.is_revoking = claimed.owner.is_some();
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

    /// Tasks that no member has go to members.
    fn assign(&mut self) {
        let env = &mut *self.env.borrow_mut();
        let members = env.broker.members();
        for claimed in env.broker.tasks.values_mut().filter(|claimed| claimed.owner.is_none()) {
            if !members.is_empty() {
                claimed.owner = Some(members[env.rng.random_range(0..members.len())]);
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
        let env = &mut *self.env.borrow_mut();
        let tasks = env.tasks();
        tasks.into_iter().all(|task| {
            let next = env.broker.claimed(task).offset.map_or(0, |consumed| place(consumed.next));
            match env.between(task) {
                Some(log) => log.is_read(next),
                None => next == env.broker.inputs[index(task.partition)].len(),
            }
        })
    }

    /// The outputs of a run without faults.
    fn undisturbed(&self) -> streams::Result<Expected> {
        let mut expected = Expected::default();
        for (partition, events) in self.coming.iter().enumerate() {
            let mut driver = Driver::new(self.topology.clone())?;
            for event in events {
                driver.pipe("events", event.timestamp, &event.key, event.value.as_deref())?;
            }
            driver.commit()?;
            for (index, shape) in self.topology.sub_topologies().iter().enumerate() {
                let at = (!shape.is_repartition()).then_some(partition);
                for spec in shape.stores() {
                    let changes = driver.output(&spec.topic).iter();
                    let pairs = changes.filter_map(|o| Some((o.key.clone(), o.value.clone()?)));
                    expected.add_state(&spec.topic, at, pairs.collect());
                }
                for sink in shape.sinks().iter().filter(|sink| *sink != PULSE) {
                    let outputs = driver.output(sink).iter();
                    let records = outputs.map(|o| (o.key.clone(), o.value.clone()));
                    expected.sequences.entry((sink.clone(), at)).or_default().extend(records);
                }
                let letters =
                    driver.dead_letters().into_iter().filter(|(from, _)| *from == shape.source());
                // Where a record stands in a repartition topic differs between two runs.
                let key = |letter: &DeadLetter| {
                    at.map_or_else(Vec::new, |_| letter.offset.to_string().into_bytes())
                };
                let records = letters.map(|(_, l)| (key(l), Some(l.reason.as_bytes().to_vec())));
                let topic = dead_letters(SubTopologyId(index));
                expected.sequences.entry((topic, at)).or_default().extend(records);
            }
        }
        Ok(expected)
    }

    fn compare(&self, expected: &Expected) -> Result<(), String> {
        let env = &mut *self.env.borrow_mut();
        for ((topic, partition), pairs) in &expected.states {
            let mut found = Pairs::new();
            for at in env.partitions_of(topic, *partition) {
                let log = env.broker.log(topic, at);
                let end = log.high_watermark();
                found.append(&mut log.fold(Pairs::new(), 0, end));
            }
            if found != *pairs {
                return Err(format!("{topic} {partition:?} differs from a run without faults"));
            }
        }
        for ((topic, partition), records) in &expected.sequences {
            let (mut found, mut records) = (Vec::new(), records.clone());
            for at in env.partitions_of(topic, *partition) {
                let log = env.broker.log(topic, at);
                let committed = log.committed(0, log.high_watermark());
                found.extend(committed.map(|(_, r)| (r.key.clone(), r.value.clone())));
            }
            if partition.is_none() {
                // The records of several partitions have no order.
                if topic != ECHO {
                    for (key, _) in &mut found {
                        key.clear();
                    }
                }
                found.sort();
                records.sort();
            }
            if found != records {
                return Err(format!("{topic} {partition:?} differs from a run without faults"));
            }
        }
        Ok(())
    }
}

/// The topics with one writer for each partition, and the sub-topology of the writer.
fn written_by(topology: &Topology) -> BTreeMap<String, usize> {
    let shapes = topology.sub_topologies().iter().enumerate();
    let topics = shapes.flat_map(|(index, shape)| {
        let stores = shape.stores().iter().map(|spec| spec.topic.clone());
        let sinks = shape.sinks().iter().cloned();
        let letters = dead_letters(SubTopologyId(index));
        stores.chain(sinks).chain([letters]).map(move |topic| (topic, index))
    });
    topics.collect()
}

/// A topic and, where each partition has its own content, the partition.
type Place = (String, Option<usize>);

/// The content of all topics in the end.
#[derive(Default)]
struct Expected {
    /// The last value of each key.
    states: BTreeMap<Place, Pairs>,
    /// Exactly these records.
    sequences: BTreeMap<Place, Vec<Change>>,
}

impl Expected {
    /// Numbers of the same key behind repartition topics add up.
    fn add_state(&mut self, topic: &str, partition: Option<usize>, pairs: Pairs) {
        let state = self.states.entry((topic.to_owned(), partition)).or_default();
        for (key, value) in pairs {
            let sum = state.entry(key).or_insert_with(|| 0_i64.to_be_bytes().to_vec());
            *sum = (number(sum) + number(&value)).to_be_bytes().to_vec();
        }
    }
}

fn number(bytes: &[u8]) -> i64 {
    bytes.try_into().map_or(0, i64::from_be_bytes)
}
