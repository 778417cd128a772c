//! A member of the group: the worker's order of steps around real tasks, with a fault between any
//! two of them.
//!
//! ```text
//! turn: answer the group ► restore ► take records ► process ► commit when due ► write stores
//!       ► follow what others own
//! ```
//!
//! The steps and their order are those of `streams/src/runtime/worker.rs`; [`super::rules`] says
//! what they rest on.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::Rng as _;
use streams::Task;
use streams::record::{Batch, Offset, Partition, SourceId, Timestamp};
use streams::store::Memory;
use streams::task::{Consumed, State};

use super::broker::Sent;
use super::replica::{self, Disks, Tail, offset, place};
use super::rules::{Rule, Stop};
use super::sample::DEAD_LETTERS;
use super::world::Env;

type Result<T = (), E = Stop> = std::result::Result<T, E>;

struct Owned {
    task: Task,
    /// What the group has committed of it.
    base: Option<Consumed>,
    /// The same, or where the source begins: what it resumes from and sends as a proof.
    position: Option<Consumed>,
    fetched: usize,
    tails: Vec<Tail>,
}

/// A commit that has begun and is not answered.
struct Half {
    offsets: BTreeMap<usize, Sent>,
    sent: bool,
}

/// A process, its disk, and the transactional id that both outlive.
pub(crate) struct Member {
    id: usize,
    /// Unique for each time that it joins.
    pub(crate) incarnation: u64,
    epoch: u64,
    pub(crate) up: bool,
    owned: BTreeMap<usize, Owned>,
    disks: Disks,
    /// It keeps warm what others own.
    is_standby: bool,
    /// By partition: what it keeps warm.
    warm: BTreeMap<usize, Vec<Tail>>,
    snapshots: BTreeMap<(usize, usize), Memory>,
    /// Ends asked for and not yet used: partition, store, end.
    round: Option<Vec<(usize, usize, usize)>>,
    half: Option<Half>,
}

impl Member {
    /// A process that has never run.
    pub(crate) fn new(id: usize, is_standby: bool) -> Self {
        Self {
            id,
            incarnation: 0,
            epoch: 0,
            up: false,
            owned: BTreeMap::new(),
            disks: Disks::new(),
            is_standby,
            warm: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            round: None,
            half: None,
        }
    }

    /// Starts, or starts anew, and joins.
    pub(crate) fn start(&mut self, env: &mut Env<'_>) {
        self.stop();
        env.broker.expel(self.incarnation);
        *env.incarnations += 1;
        self.incarnation = *env.incarnations;
        self.epoch = env.broker.init(self.id, self.incarnation);
        env.broker.join(self.incarnation);
        self.up = true;
    }

    /// Dies: what is on disk is all that is left.
    pub(crate) fn stop(&mut self) {
        self.owned.clear();
        self.warm.clear();
        self.round = None;
        self.half = None;
        self.up = false;
    }

    /// Its disk remembers how it is now.
    pub(crate) fn snapshot(&mut self) -> Result {
        for (at, disk) in &self.disks {
            self.snapshots.insert(*at, disk.snapshot()?);
        }
        Ok(())
    }

    /// Its disk falls back to what it remembered, or to nothing.
    pub(crate) fn fall_back(&mut self) {
        let mut snapshots = std::mem::take(&mut self.snapshots);
        for (at, disk) in &self.disks {
            disk.fall_back(snapshots.remove(at).unwrap_or_default());
        }
    }

    const fn producer(&self) -> (usize, u64) {
        (self.id, self.epoch)
    }

    /// One round of the worker loop.
    pub(crate) fn turn(&mut self, env: &mut Env<'_>) -> Result {
        if self.half.is_some() {
            self.end_commit(env)?;
        }
        self.answer_group(env)?;
        self.restore(env)?;
        self.take_records(env);
        self.process(env)?;
        if self.running().any(|(_, owned)| owned.task.wants_commit()) || env.chance(30) {
            self.commit(env, false)?;
        }
        self.write_stores(env)?;
        self.follow_others(env)
    }

    fn running(&self) -> impl Iterator<Item = (usize, &Owned)> {
        let running = |(partition, owned): (&usize, _)| (*partition, owned);
        self.owned
            .iter()
            .map(running)
            .filter(|(_, o): &(_, &Owned)| o.task.state() == State::Running)
    }

    // Ownership.

    fn answer_group(&mut self, env: &mut Env<'_>) -> Result {
        if !env.broker.is_member(self.incarnation) {
            // A zombie goes on until it hears of it.
            return if env.fault(85) { Ok(()) } else { self.lose(env) };
        }
        for partition in 0..env.broker.owner.len() {
            if env.broker.owner[partition] != Some(self.incarnation) {
                continue;
            }
            if env.broker.revoking[partition] {
                self.commit(env, false)?;
                self.give_back(env, partition)?;
                env.broker.release(partition);
            } else if !self.owned.contains_key(&partition) {
                self.take_over(env, partition)?;
            }
        }
        Ok(())
    }

    fn lose(&mut self, env: &mut Env<'_>) -> Result {
        if !env.keeps(Rule::LostTasksAreNotWritten) {
            self.owned.values_mut().for_each(|owned| owned.task.discard());
            let partitions: Vec<usize> = self.owned.keys().copied().collect();
            for partition in partitions {
                self.give_back(env, partition)?;
            }
        }
        Err(Stop::Rejoin("lost its partitions"))
    }

    /// The group's offsets first, then the stores that belong to them.
    fn take_over(&mut self, env: &mut Env<'_>, partition: usize) -> Result {
        let stable = env.broker.are_stable(partition);
        if !stable && env.keeps(Rule::OffsetsAreStable) {
            return Ok(());
        }
        let base = env.broker.take_offsets(partition, self.incarnation);
        let warm = self.warm.remove(&partition);
        let how = if warm.is_some() { "warm" } else { "cold" };
        let mut tails = match warm {
            Some(tails) => tails,
            None => replica::open(env, &mut self.disks, partition)?,
        };
        for tail in &mut tails {
            tail.aim(env, partition);
        }
        let stores = tails.iter().map(|tail| Arc::clone(tail.replica.store())).collect();
        let number = Partition(i32::try_from(partition).unwrap_or(i32::MAX));
        let mut task = Task::new(env.topology, number, stores, env.cache_max_bytes)?;
        task.begin_restore();
        let fetched = base.map_or(0, |base| place(base.next));
        let first = Consumed { source: SourceId(0), next: Offset(0), stream_time: Timestamp::MIN };
        let position = base.or(env.keeps(Rule::PositionsAreKnown).then_some(first));
        env.note(format!("{} takes {partition} {how} from {fetched}", self.incarnation));
        self.owned.insert(partition, Owned { task, base, position, fetched, tails });
        Ok(())
    }

    /// Writes the stores, so that whoever opens them next has little to restore, and lets go.
    fn give_back(&mut self, env: &mut Env<'_>, partition: usize) -> Result {
        self.finish_round(env)?;
        self.round = Some(self.ends(env, Some(partition)));
        self.finish_round(env)?;
        if self.owned.remove(&partition).is_none() {
            return Ok(());
        }
        env.note(format!("{} gives {partition} back", self.incarnation));
        Ok(())
    }

    fn restore(&mut self, env: &mut Env<'_>) -> Result {
        for (partition, owned) in &mut self.owned {
            if owned.task.state() != State::Restoring {
                continue;
            }
            for tail in &mut owned.tails {
                tail.poll(env, *partition)?;
            }
            if owned.tails.iter().all(|tail| tail.caught_up) {
                owned.task.run(owned.position.as_slice());
                env.note(format!("{} runs {partition}", self.incarnation));
                env.audit_task(self.incarnation, *partition, &owned.task)?;
            }
        }
        Ok(())
    }

    /// Keeps warm what it does not own, and writes it now and then.
    fn follow_others(&mut self, env: &mut Env<'_>) -> Result {
        if !self.is_standby {
            return Ok(());
        }
        for partition in 0..env.broker.owner.len() {
            if self.owned.contains_key(&partition) || !env.chance(40) {
                continue;
            }
            if !self.warm.contains_key(&partition) {
                let mut tails = replica::open(env, &mut self.disks, partition)?;
                for tail in &mut tails {
                    tail.aim(env, partition);
                }
                self.warm.insert(partition, tails);
            }
            let Self { warm, disks, .. } = self;
            for (index, tail) in warm.get_mut(&partition).into_iter().flatten().enumerate() {
                tail.poll(env, partition)?;
                tail.audit(env, partition)?;
                if env.chance(15) && tail.replica.freeze()? {
                    tail.replica.store().write_frozen()?;
                    env.audit_disk(
                        &tail.replica.spec().topic,
                        partition,
                        &disks[&(partition, index)],
                    )?;
                }
            }
        }
        Ok(())
    }

    // Records.

    fn take_records(&mut self, env: &mut Env<'_>) {
        for (partition, owned) in &mut self.owned {
            let most = if env.chance(50) { 0 } else { env.rng.random_range(1..8) };
            let mut batch = Batch::default();
            for event in env.broker.inputs[*partition].iter().skip(owned.fetched).take(most) {
                let at = offset(owned.fetched + batch.len());
                batch.push(at, Timestamp(event.timestamp), &event.key, event.value.as_deref());
            }
            owned.fetched += batch.len();
            owned.task.add_records(SourceId(0), batch);
        }
    }

    fn process(&mut self, env: &mut Env<'_>) -> Result {
        for owned in self.owned.values_mut() {
            if owned.task.state() != State::Running {
                continue;
            }
            owned.task.punctuate(env.now)?;
            let most = env.rng.random_range(0..10);
            for _ in 0..most {
                if owned.task.wants_commit() || !owned.task.process()? {
                    break;
                }
            }
        }
        Ok(())
    }

    // Commit.

    /// Everything since the last commit, all or nothing; with `proof`, offsets even if there is
    /// nothing else.
    fn commit(&mut self, env: &mut Env<'_>, proof: bool) -> Result {
        let mut empty = true;
        let mut offsets = BTreeMap::new();
        for (partition, owned) in &mut self.owned {
            if owned.task.state() != State::Running {
                continue;
            }
            let commit = owned.task.prepare_commit()?;
            empty &= commit.is_empty();
            let resent = owned.position.filter(|_| proof);
            if let Some(consumed) = commit.consumed.first().copied().or(resent) {
                offsets.insert(*partition, Sent { consumed, base: owned.base });
            }
        }
        if empty && offsets.is_empty() {
            self.owned.values_mut().for_each(|owned| owned.task.post_commit());
            return Ok(());
        }
        env.die(1, "before the transaction")?;
        self.produce(env)?;
        env.die(1, "after the records")?;
        if !env.keeps(Rule::StoresHearAfterTheWrite) {
            self.owned.values_mut().for_each(|owned| owned.task.post_commit());
        }
        for (partition, owned) in &self.owned {
            if owned.task.state() == State::Running {
                env.audit_task(self.incarnation, *partition, &owned.task)?;
            }
        }
        self.half = Some(Half { offsets, sent: false });
        self.end_commit(env)
    }

    fn produce(&self, env: &mut Env<'_>) -> Result {
        let by = self.producer();
        for (partition, owned) in &self.owned {
            let Some(commit) = owned.task.pending() else {
                continue;
            };
            for (spec, changes) in env.topology.stores().iter().zip(&commit.changes) {
                for change in changes.iter() {
                    let to = (spec.topic.as_str(), *partition);
                    env.broker.produce(by, to, change.topic_key, change.value)?;
                }
            }
            for (sink, outputs) in env.topology.sinks().iter().zip(&commit.outputs) {
                for output in outputs {
                    let to = (sink.as_str(), *partition);
                    env.broker.produce(by, to, &output.key, output.value.as_deref())?;
                }
            }
            for letter in &commit.dead_letters {
                let (key, to) = (letter.offset.to_string(), (DEAD_LETTERS, *partition));
                env.broker.produce(by, to, key.as_bytes(), Some(letter.reason.as_bytes()))?;
            }
        }
        Ok(())
    }

    /// The second half; begins where it stood still.
    fn end_commit(&mut self, env: &mut Env<'_>) -> Result {
        let by = self.producer();
        let Some(half) = &mut self.half else {
            return Ok(());
        };
        if !half.sent {
            env.stall()?;
            env.broker.send_offsets(by, self.incarnation, half.offsets.clone())?;
            half.sent = true;
            env.die(1, "after the offsets")?;
            env.stall()?;
        }
        match env.rng.random_range(0..100) {
            0 if env.faults => return Err(Stop::Rejoin("the commit was lost")),
            1 if env.faults => {
                env.broker.commit(by)?;
                return Err(Stop::Rejoin("the commit was not answered"));
            }
            2 if env.faults => {
                env.broker.prepare(by)?;
                return Err(Stop::Died("while the commit was decided"));
            }
            3..6 => {
                env.broker.commit(by)?;
                env.broker.commit(by)?;
            }
            _ => env.broker.commit(by)?,
        }
        env.die(1, "before the stores hear of the commit")?;
        let offsets = self.half.take().map(|half| half.offsets).unwrap_or_default();
        for (partition, owned) in &mut self.owned {
            owned.task.post_commit();
            let sent = offsets.get(partition).map(|sent| sent.consumed);
            owned.base = sent.or(owned.base);
            owned.position = sent.or(owned.position);
            if owned.task.state() == State::Running {
                env.audit_task(self.incarnation, *partition, &owned.task)?;
            }
        }
        Ok(())
    }

    // Stores.

    /// The ends of the changelogs; of tasks that have something to prove their ownership with.
    fn ends(&self, env: &mut Env<'_>, only: Option<usize>) -> Vec<(usize, usize, usize)> {
        let wanted = self.running().filter(|(partition, owned)| {
            only.is_none_or(|only| only == *partition) && owned.position.is_some()
        });
        let mut ends = Vec::new();
        for (partition, _) in wanted {
            for (index, spec) in env.topology.stores().iter().enumerate() {
                ends.push((partition, index, env.broker.log(&spec.topic, partition).stable()));
            }
        }
        ends
    }

    fn write_stores(&mut self, env: &mut Env<'_>) -> Result {
        if self.round.is_none() {
            if env.chance(25) {
                self.round = Some(self.ends(env, None));
            }
            return Ok(());
        }
        if env.chance(50) { self.finish_round(env) } else { Ok(()) }
    }

    fn finish_round(&mut self, env: &mut Env<'_>) -> Result {
        if self.round.is_none() {
            return Ok(());
        }
        self.commit(env, env.keeps(Rule::EndsAreProved))?;
        let mut frozen = Vec::new();
        for (partition, index, end) in self.round.take().unwrap_or_default() {
            if let Some(owned) = self.owned.get(&partition)
                && owned.task.stores()[index].freeze(offset(end))
            {
                frozen.push((partition, index, Arc::clone(&owned.task.stores()[index])));
            }
        }
        env.die(1, "between freeze and write")?;
        for (partition, index, store) in frozen {
            let disk = &self.disks[&(partition, index)];
            if env.fault(1) {
                disk.tear(env.rng.random_range(0..5));
            }
            store.write_frozen()?;
            disk.mend();
            env.audit_disk(&env.topology.stores()[index].topic, partition, disk)?;
        }
        Ok(())
    }
}
