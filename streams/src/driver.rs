//! The topology test driver: a loop around the real task, with logs in memory for a broker.
//!
//! ```
//! use streams::{Builder, Driver, Failure, SinkRecord, Topology};
//! let topology = Topology::new(|builder: &mut Builder| {
//!     let lines = builder.source("lines", |record| {
//!         record.value.map(<[u8]>::to_ascii_uppercase).ok_or(Failure::Drop("empty"))
//!     });
//!     lines.to(builder, "shouts", |line| SinkRecord { key: vec![], value: Some(line.clone()) });
//! })?;
//! let mut driver = Driver::new(topology)?;
//! driver.pipe("lines", 0, b"", Some(b"hello"))?;
//! driver.commit()?;
//! assert_eq!(driver.output("shouts")[0].value.as_deref(), Some(&b"HELLO"[..]));
//! # Ok::<(), streams::Error>(())
//! ```
//!
//! A crash loses the task, its cache and its overlay, as the death of a process does. The stores on
//! disk stay, and a restore replays the rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::record::{Batch, Offset, SinkRecord, SubTopologyId, TaskId, Timestamp};
use crate::replica::Replica;
use crate::store::{Committed, MemoryStore};
use crate::task::{Commit, Consumed, DeadLetter, Task};
use crate::topology::{StoreSpec, Topology};

/// The cache bound of a driver's task unless a test sets another.
const CACHE_MAX_BYTES: usize = 64 << 20;

/// A task of each sub-topology, their logs and their stores. Every topic has one partition.
pub struct Driver {
    topology: Topology,
    /// By sub-topology.
    tasks: Vec<Task>,
    /// In the order of [`Topology::stores`].
    stores: Vec<MemoryStore>,
    /// Another member's disk and replicas.
    standby: Option<Standby>,
    /// By topic: what was committed to it, in order.
    logs: BTreeMap<String, Vec<SinkRecord>>,
    /// By topic: how much of its log was given out.
    read: BTreeMap<String, usize>,
    /// By sub-topology: its source.
    inputs: Vec<Vec<Input>>,
    /// By sub-topology.
    consumed: Vec<Option<Consumed>>,
    dead_letters: Vec<(SubTopologyId, DeadLetter)>,
    counted: BTreeMap<&'static str, u64>,
    now: Timestamp,
    cache_max_bytes: usize,
}

#[derive(Default)]
struct Standby {
    stores: Vec<MemoryStore>,
    replicas: Vec<Replica>,
}

/// A record of a source topic: timestamp, key, value.
type Input = (Timestamp, Vec<u8>, Option<Vec<u8>>);

/// A replica of each store of the topology. The stores outlive it, as files do.
fn open(topology: &Topology, stores: &[MemoryStore]) -> Result<Vec<Replica>> {
    let replicas = topology.stores().zip(stores).map(|(spec, store)| {
        Replica::new(spec.clone(), Arc::new(spec.committed(Box::new(store.clone()))?))
    });
    replicas.collect()
}

fn empty(topology: &Topology) -> Vec<MemoryStore> {
    topology.stores().map(|_| MemoryStore::default()).collect()
}

fn tasks(topology: &Topology, replicas: &[Replica], cache_max_bytes: usize) -> Result<Vec<Task>> {
    let mut stores = replicas.iter().map(|replica| Arc::clone(replica.store()));
    let tasks = topology.sub_topologies().iter().enumerate().map(|(index, one)| {
        let stores = stores.by_ref().take(one.stores().len()).collect();
        Task::new(topology, TaskId::new(index, 0), stores, cache_max_bytes)
    });
    tasks.collect()
}

impl Driver {
    /// Running tasks over empty stores and logs.
    pub fn new(topology: Topology) -> Result<Self> {
        Self::with_cache(topology, CACHE_MAX_BYTES)
    }

    /// The same with another bound of the cache of each task.
    pub fn with_cache(topology: Topology, cache_max_bytes: usize) -> Result<Self> {
        let stores = empty(&topology);
        let mut tasks = tasks(&topology, &open(&topology, &stores)?, cache_max_bytes)?;
        for task in &mut tasks {
            task.run(None);
        }
        Ok(Self {
            tasks,
            stores,
            standby: None,
            logs: BTreeMap::new(),
            read: BTreeMap::new(),
            inputs: vec![Vec::new(); topology.sub_topologies().len()],
            consumed: vec![None; topology.sub_topologies().len()],
            topology,
            dead_letters: Vec::new(),
            counted: BTreeMap::new(),
            now: Timestamp(0),
            cache_max_bytes,
        })
    }

    /// Appends a record to a source topic and processes all that waits. Returns its offset.
    pub fn pipe(
        &mut self,
        topic: &str,
        timestamp: i64,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<Offset> {
        let offset = self.add(topic, timestamp, key, value)?;
        self.process_all()?;
        Ok(offset)
    }

    /// Appends a record to a source topic and leaves it waiting.
    pub fn add(
        &mut self,
        topic: &str,
        timestamp: i64,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<Offset> {
        let id = self.topology.of_source(topic).ok_or_else(|| {
            Error::Invalid(format!(
                "{topic} is not a source of the topology: declare it with source"
            ))
        })?;
        if self.topology.sub_topology(id).is_table() {
            return self.follow_table(id, key, value);
        }
        Ok(self.append(id, (Timestamp(timestamp), key.to_vec(), value.map(<[u8]>::to_vec))))
    }

    /// Another program has written to the topic of a table.
    fn follow_table(
        &mut self,
        id: SubTopologyId,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<Offset> {
        let shape = self.topology.sub_topology(id);
        let log = self.logs.entry(shape.source().to_owned()).or_default();
        let offset = Offset(i64::try_from(log.len()).unwrap_or(i64::MAX));
        log.push(SinkRecord { key: key.to_vec(), value: value.map(<[u8]>::to_vec) });
        let mut batch = Batch::default();
        batch.push(offset, Timestamp(0), key, value);
        for (spec, store) in shape.stores().iter().zip(self.tasks[id.0].stores()) {
            spec.restore(&batch, store)?;
        }
        Ok(offset)
    }

    fn append(&mut self, id: SubTopologyId, input: Input) -> Offset {
        let log = &mut self.inputs[id.0];
        let offset = Offset(i64::try_from(log.len()).unwrap_or(i64::MAX));
        let mut batch = Batch::default();
        batch.push(offset, input.0, &input.1, input.2.as_deref());
        log.push(input);
        self.tasks[id.0].add_records(batch);
        offset
    }

    /// Processes all that waits; commits when the cache of a task is full.
    pub fn process_all(&mut self) -> Result<()> {
        while self.step()? {
            if self.tasks.iter().any(Task::wants_commit) {
                self.commit_once()?;
            }
        }
        Ok(())
    }

    /// Processes one record that waits, or one step of the last one; false when there is nothing to
    /// do. Commits nothing.
    pub fn step(&mut self) -> Result<bool> {
        for task in &mut self.tasks {
            if task.process()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Moves wall-clock time and calls what is due.
    pub fn advance_wall_clock(&mut self, ms: i64) -> Result<()> {
        self.now = Timestamp(self.now.0.saturating_add(ms));
        self.tasks.iter_mut().try_for_each(|task| task.punctuate(self.now))
    }

    /// Commits until no record is left in a repartition topic.
    pub fn commit(&mut self) -> Result<()> {
        while self.commit_once()? {
            self.process_all()?;
        }
        Ok(())
    }

    /// One commit: writes the logs, then calls [`Task::post_commit`]. True when it has written to a
    /// repartition topic.
    pub fn commit_once(&mut self) -> Result<bool> {
        let any = self.write_transaction()?;
        self.tasks.iter_mut().for_each(Task::post_commit);
        Ok(any)
    }

    /// Writes the logs and offsets of a commit without [`Task::post_commit`]. True when it has written
    /// to a repartition topic.
    pub fn write_transaction(&mut self) -> Result<bool> {
        self.prepare_commit()?;
        let commits: Vec<_> = self.tasks.iter().map(|task| task.pending().cloned()).collect();
        let mut any = false;
        for (index, commit) in commits.into_iter().enumerate() {
            any |= commit.is_some_and(|commit| self.write(SubTopologyId(index), commit));
        }
        Ok(any)
    }

    fn write(&mut self, id: SubTopologyId, commit: Commit) -> bool {
        let Commit { changes, outputs, repartitioned, dead_letters, consumed, counted, .. } =
            commit;
        for (what, count) in counted {
            *self.counted.entry(what).or_default() += count;
        }
        let shape = self.topology.sub_topology(id);
        for (spec, changes) in shape.stores().iter().zip(&changes) {
            let log = self.logs.entry(spec.topic.clone()).or_default();
            log.extend(changes.iter().map(|change| SinkRecord {
                key: change.topic_key.to_vec(),
                value: change.value.map(<[u8]>::to_vec),
            }));
        }
        for (topic, outputs) in shape.sinks().iter().zip(outputs) {
            self.logs.entry(topic.clone()).or_default().extend(outputs);
        }
        self.dead_letters.extend(dead_letters.into_iter().map(|letter| (id, letter)));
        self.consumed[id.0] = consumed.or(self.consumed[id.0]);
        let targets = shape.repartitions().to_vec();
        let any = repartitioned.iter().any(|records| !records.is_empty());
        for (target, records) in targets.into_iter().zip(repartitioned) {
            for one in records {
                self.append(target, (one.timestamp, one.record.key, one.record.value));
            }
        }
        any
    }

    /// Prepares a commit that is never written.
    pub fn prepare_commit(&mut self) -> Result<()> {
        self.tasks.iter_mut().try_for_each(|task| task.prepare_commit().map(|_| ()))
    }

    /// Drops all that is not committed, and gives the tasks its records again.
    pub fn discard(&mut self) {
        self.tasks.iter_mut().for_each(Task::discard);
        self.replay_inputs();
    }

    /// The stores of all tasks with what the runtime knows of them, in the topology's order.
    pub fn stores(&self) -> impl Iterator<Item = (&StoreSpec, &Arc<Committed>)> {
        self.topology.stores().zip(self.tasks.iter().flat_map(Task::stores))
    }

    /// The stores on disk, in the topology's order.
    pub fn disks(&self) -> impl Iterator<Item = &MemoryStore> {
        self.stores.iter()
    }

    /// Writes what is committed into the stores, as the background writer does.
    pub fn flush_stores(&mut self) -> Result<()> {
        for (spec, store) in self.stores() {
            let end = self.logs.get(&spec.topic).map_or(0, Vec::len);
            if store.freeze(Offset(i64::try_from(end).unwrap_or(i64::MAX))) {
                store.write_frozen()?;
            }
        }
        Ok(())
    }

    /// The process dies and starts again with the stores on disk. Returns how many records were
    /// restored.
    pub fn crash(&mut self) -> Result<usize> {
        let restored = self.restart()?;
        self.process_all()?;
        Ok(restored)
    }

    /// [`Self::crash`], and nothing is processed yet.
    pub fn restart(&mut self) -> Result<usize> {
        let replicas = open(&self.topology, &self.stores)?;
        self.run_with(replicas)
    }

    /// New tasks over these replicas, once they are at the ends of their topics.
    fn run_with(&mut self, mut replicas: Vec<Replica>) -> Result<usize> {
        self.tasks.iter_mut().for_each(Task::close);
        self.tasks = tasks(&self.topology, &replicas, self.cache_max_bytes)?;
        self.tasks.iter_mut().for_each(Task::begin_restore);
        let restored = self.catch_up(&mut replicas)?;
        self.tasks.iter_mut().zip(&self.consumed).for_each(|(task, resume)| task.run(*resume));
        self.replay_inputs();
        Ok(restored)
    }

    /// Another member, with a disk of its own, follows the topics to their ends. Returns how many
    /// records it took.
    pub fn follow(&mut self) -> Result<usize> {
        let mut standby = if let Some(standby) = self.standby.take() {
            standby
        } else {
            let stores = empty(&self.topology);
            Standby { replicas: open(&self.topology, &stores)?, stores }
        };
        let taken = self.catch_up(&mut standby.replicas);
        self.standby = Some(standby);
        taken
    }

    /// The standby writes what it has into its stores.
    pub fn flush_standby(&mut self) -> Result<()> {
        for replica in self.standby.iter_mut().flat_map(|standby| &mut standby.replicas) {
            if replica.freeze()? {
                replica.store().write_frozen()?;
            }
        }
        Ok(())
    }

    /// The member that runs the tasks dies, and the standby takes over. Returns how many records it
    /// had to replay.
    pub fn take_over(&mut self) -> Result<usize> {
        let Some(standby) = self.standby.take() else {
            return Err(Error::Invalid("no standby takes over: call follow first".into()));
        };
        self.stores = standby.stores;
        let restored = self.run_with(standby.replicas)?;
        self.process_all()?;
        Ok(restored)
    }

    /// The disk is lost too.
    pub fn lose_disk(&mut self) -> Result<usize> {
        self.stores.iter_mut().for_each(|store| *store = MemoryStore::default());
        self.crash()
    }

    fn catch_up(&self, replicas: &mut [Replica]) -> Result<usize> {
        let mut taken = 0;
        for replica in replicas {
            let spec = replica.spec();
            let log = self.logs.get(&spec.topic).map_or(&[][..], Vec::as_slice);
            let position = replica.next();
            let from = usize::try_from(position.0).unwrap_or(usize::MAX);
            let tail = log.get(from..).ok_or_else(|| {
                Error::Corrupt(format!(
                    "store {} is at {position}, but {} ends at {}",
                    spec.name,
                    spec.topic,
                    log.len()
                ))
            })?;
            for (offset, record) in (position.0..).zip(tail) {
                let value = record.value.as_deref();
                replica.take(Offset(offset), Timestamp(0), &record.key, value)?;
            }
            if replica.is_following() {
                replica.write()?;
            } else {
                replica.follow()?;
            }
            taken += tail.len();
        }
        Ok(taken)
    }

    /// Gives the inputs from the committed offsets again.
    fn replay_inputs(&mut self) {
        for ((log, consumed), task) in self.inputs.iter().zip(&self.consumed).zip(&mut self.tasks) {
            let from = consumed.map_or(0, |consumed| consumed.next.0);
            let mut batch = Batch::default();
            let rest = (from..).zip(log.iter().skip(usize::try_from(from).unwrap_or(0)));
            for (offset, (timestamp, key, value)) in rest {
                batch.push(Offset(offset), *timestamp, key, value.as_deref());
            }
            task.add_records(batch);
        }
    }

    /// The committed records of a topic, in order.
    pub fn output(&self, topic: &str) -> &[SinkRecord] {
        self.logs.get(topic).map_or(&[], Vec::as_slice)
    }

    /// The records committed to a topic since the last call for it.
    pub fn new_output(&mut self, topic: &str) -> Vec<SinkRecord> {
        let log = self.logs.get(topic).map_or(&[][..], Vec::as_slice);
        let read = self.read.insert(topic.to_owned(), log.len()).unwrap_or_default();
        log.get(read..).unwrap_or_default().to_vec()
    }

    /// The committed dead letters, with the topics that they come from.
    pub fn dead_letters(&self) -> Vec<(&str, &DeadLetter)> {
        let topic = |id: SubTopologyId| self.topology.sub_topology(id).source();
        self.dead_letters.iter().map(|(id, letter)| (topic(*id), letter)).collect()
    }

    /// The committed counts of processors.
    pub const fn counted(&self) -> &BTreeMap<&'static str, u64> {
        &self.counted
    }

    /// The committed state of a store.
    pub fn store(&self, name: &str) -> Option<&Committed> {
        self.stores().find(|(spec, _)| spec.name == name).map(|(_, store)| store.as_ref())
    }

    /// How far the sources are committed, by sub-topology.
    pub fn consumed(&self) -> &[Option<Consumed>] {
        &self.consumed
    }

    /// The tasks, by sub-topology.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }
}

#[cfg(test)]
#[path = "testscripts/mod.rs"]
mod testscripts;
