//! Follows output topics into replicas, for restore, standby and view.
//!
//! A store that is filled from an output topic under `read_committed` equals fold(topic[.. position]),
//! the invariant of every store ([`Replica`]).
//!
//! A restore ends at the end of the partition that the broker reports. Transaction markers occupy
//! offsets, so the last record may be before it. The end is that of uncommitted reading: an open
//! transaction of a fenced member hides later commits until the broker aborts it.
//!
//! The age of a replica counts from a request for the ends, once all records before them are here. An
//! end that a fetch finds does not count: the fetch may have been sent long ago, by a process that was
//! stopped or cut off.
//!
//! The start of a topic moves when its retention deletes segments. A replica that has not come so far
//! goes on at the new start, as one that begins there does.

use std::time::Duration;

use super::client::{Changelog, Fetched, OffsetRange, Topics};
use crate::error::{Error, Result};
use crate::record::{Offset, Partition, TaskId};
use crate::replica::Replica;
use crate::store::Moment;

/// Between two progress lines of one restore.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// Positions of one replica that the broker refuses in a row, without a record in between. Retention
/// deletes whole segments and looks for them every five minutes (`log.retention.check.interval.ms`): so
/// many are a broker that contradicts itself.
const MAX_REFUSED: u32 = 10;

/// An answer to the question where a topic ends.
#[derive(Clone, Copy)]
struct Look {
    /// When it was asked.
    asked: Moment,
    end: Offset,
}

/// One replica, and how far it has to go.
struct Followed {
    replica: Replica,
    task: TaskId,
    /// Records that the replica had taken when it came here.
    taken_before: u64,
    /// The end as last asked, uncommitted records included. Restoring ends at that of the beginning.
    end: Offset,
    /// The end that it has to reach before it is known to be of that age. A newer one waits for it: who
    /// is always a little behind would otherwise reach none.
    look: Option<Look>,
    at_end: bool,
    /// The position of its fetch is not in the topic.
    out_of_range: bool,
    /// How often that was so since the last record.
    refused: u32,
    caught_up: bool,
    started: Duration,
    reported: Duration,
}

impl Followed {
    fn new(replica: Replica, task: TaskId, look: Look, now: Duration) -> Self {
        Self {
            taken_before: replica.taken(),
            replica,
            task,
            end: look.end,
            look: Some(look),
            at_end: false,
            out_of_range: false,
            refused: 0,
            caught_up: false,
            started: now,
            reported: now,
        }
    }

    fn is(&self, topic: &[u8], partition: Partition) -> bool {
        self.task.partition == partition && self.replica.spec().topic.as_bytes() == topic
    }

    const fn restored(&self) -> u64 {
        self.replica.taken() - self.taken_before
    }

    fn remaining(&self) -> i64 {
        (self.end.0 - self.replica.next().0).max(0)
    }

    /// Gives the taken records to the store and updates its freshness. True when the replica has just
    /// reached the end.
    fn write(&mut self) -> Result<bool> {
        let at_end = std::mem::take(&mut self.at_end);
        let reached = self.write_taken(at_end)?;
        self.tell_age();
        Ok(reached)
    }

    fn tell_age(&mut self) {
        if !self.caught_up {
            return;
        }
        let (freshness, next) = (self.replica.store().freshness(), self.replica.next());
        freshness.claims(next);
        if let Some(look) = self.look.take_if(|look| next >= look.end) {
            freshness.complete(look.asked);
        }
    }

    fn write_taken(&mut self, at_end: bool) -> Result<bool> {
        if at_end && self.replica.next() >= self.end && !self.caught_up {
            self.caught_up = true;
            self.replica.follow()?;
            return Ok(true);
        }
        self.replica.write()?;
        Ok(false)
    }

    /// Goes on at the start of the topic, which has moved past the replica.
    fn begin_again(&mut self, topics: &mut impl Topics) -> Result<()> {
        let (topic, partition) = (self.replica.spec().topic.clone(), self.task.partition);
        let was = self.replica.next();
        let OffsetRange { first, end } = topics.extent(&topic, partition)?;
        check_position(&self.replica, partition, end)?;
        self.refused += 1;
        if self.refused > MAX_REFUSED {
            return Err(Error::Unavailable(format!(
                "{topic}/{partition}: the broker refuses position {was} although the topic begins \
                 at {first} and ends at {end}"
            )));
        }
        self.replica.pass(first);
        tracing::warn!(
            topic,
            partition = partition.0,
            position = was.0,
            start = first.0,
            "the topic's start has moved while it was read: going on there"
        );
        Ok(())
    }

    fn report(&mut self, now: Duration) {
        if self.caught_up || now.saturating_sub(self.reported) < PROGRESS_EVERY {
            return;
        }
        self.reported = now;
        let seconds = now.saturating_sub(self.started).as_secs().max(1);
        tracing::info!(
            store = self.replica.spec().name,
            partition = self.task.partition.0,
            restored = self.restored(),
            per_second = self.restored() / seconds,
            remaining = self.remaining(),
            "restoring"
        );
    }
}

/// A replica that has reached the end of its topic.
pub(super) struct Restored {
    /// Its task.
    pub(super) task: TaskId,
    /// Records that were behind.
    pub(super) records: u64,
}

/// Follows any number of replicas, outside any group.
#[derive(Default)]
pub(super) struct Tail {
    /// Few enough that a search costs less than a map: stores times partitions of one thread.
    followed: Vec<Followed>,
}

impl Tail {
    /// Follows a replica's topic to the end, and beyond it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the replica claims to know more than the topic holds.
    pub(super) fn add(
        &mut self,
        topics: &mut impl Topics,
        task: TaskId,
        mut replica: Replica,
    ) -> Result<()> {
        let (asked, partition) = (topics.moment(), task.partition);
        let OffsetRange { first, end } =
            topics.follow(&replica.spec().topic, partition, replica.next())?;
        check_position(&replica, partition, end)?;
        replica.pass(first);
        let look = Look { asked, end };
        self.followed.push(Followed::new(replica, task, look, topics.uptime()));
        Ok(())
    }

    /// Follows the topics of a task no longer; gives its replicas back, with everything that they took.
    pub(super) fn remove(
        &mut self,
        topics: &mut impl Topics,
        task: TaskId,
    ) -> Result<Vec<Replica>> {
        let ours = self.followed.extract_if(.., |followed| followed.task == task);
        let mut replicas: Vec<Replica> = ours.map(|followed| followed.replica).collect();
        if replicas.is_empty() {
            return Ok(replicas);
        }
        let names: Vec<&str> = replicas.iter().map(|r| r.spec().topic.as_str()).collect();
        topics.unfollow(&names, task.partition)?;
        replicas.iter_mut().try_for_each(Replica::write)?;
        Ok(replicas)
    }

    /// Takes waiting records. Returns the replicas that have just reached the end.
    pub(super) fn poll(
        &mut self,
        topics: &mut impl Topics,
        wait: Duration,
    ) -> Result<Vec<Restored>> {
        let Self { followed } = self;
        // A partition's records come together: what was found last is looked at first.
        let mut last = 0;
        topics.read(wait, |found| take(followed, &mut last, &found))?;
        let mut moved = false;
        for followed in &mut self.followed {
            if std::mem::take(&mut followed.out_of_range) {
                followed.begin_again(topics)?;
                moved = true;
            }
        }
        if moved {
            let all = self.followed.iter().map(|f| {
                let (replica, partition) = (&f.replica, f.task.partition);
                (replica.spec().topic.as_str(), partition, replica.next())
            });
            topics.follow_anew(&all.collect::<Vec<_>>())?;
        }
        let uptime = topics.uptime();
        let mut restored = Vec::new();
        for followed in &mut self.followed {
            if followed.write()? {
                let (task, records) = (followed.task, followed.restored());
                restored.push(Restored { task, records });
            }
            followed.report(uptime);
        }
        Ok(restored)
    }

    /// Asks the broker again where the topics end: what has caught up is behind anew. One whose leader
    /// does not know is passed over: its age grows.
    pub(super) fn look_ahead(&mut self, topics: &mut impl Topics) -> Result<()> {
        if self.followed.is_empty() {
            return Ok(());
        }
        let asked = topics.moment();
        let all = self.followed.iter().map(|f| (f.replica.spec().topic.as_str(), f.task.partition));
        let ends = topics.ends(&all.collect::<Vec<_>>())?;
        for (followed, end) in self.followed.iter_mut().zip(ends) {
            if let Some(end) = end {
                followed.end = end;
                followed.look.get_or_insert(Look { asked, end });
                followed.tell_age();
            }
        }
        Ok(())
    }

    /// Records between the replicas and the ends of their topics, as far as known.
    pub(super) fn remaining(&self, task: TaskId) -> i64 {
        self.of(task).map(Followed::remaining).sum()
    }

    fn of(&self, task: TaskId) -> impl Iterator<Item = &Followed> {
        self.followed.iter().filter(move |followed| followed.task == task)
    }

    /// Follows nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.followed.is_empty()
    }

    /// Every replica of the task has reached its end.
    pub(super) fn is_caught_up(&self, task: TaskId) -> bool {
        self.of(task).all(|followed| followed.caught_up)
    }

    /// All replicas, with their tasks.
    pub(super) fn all(&self) -> impl Iterator<Item = (TaskId, &Replica)> {
        self.followed.iter().map(|followed| (followed.task, &followed.replica))
    }

    /// The replicas of a task, in the topology's order.
    pub(super) fn replicas(&self, task: TaskId) -> impl Iterator<Item = &Replica> {
        self.of(task).map(|followed| &followed.replica)
    }

    /// Bytes in memory of the readable store that has the most.
    pub(super) fn overlay_bytes(&self) -> usize {
        let readable = self.followed.iter().filter(|followed| followed.caught_up);
        readable.map(|f| f.replica.store().overlay_bytes()).max().unwrap_or(0)
    }

    /// Bytes in memory of all stores that are being restored.
    pub(super) fn restoring_bytes(&self) -> usize {
        let restoring = self.followed.iter().filter(|f| !self.is_caught_up(f.task));
        restoring.map(|f| f.replica.store().overlay_bytes()).sum()
    }

    /// Freezes the changes in memory. Returns the stores that have some to write.
    pub(super) fn freeze(&mut self) -> Result<Vec<Changelog>> {
        let mut frozen = Vec::new();
        for Followed { replica, task, .. } in &mut self.followed {
            if replica.freeze()? {
                let topic = replica.spec().topic.clone();
                let store = std::sync::Arc::clone(replica.store());
                frozen.push(Changelog { topic, task: *task, store });
            }
        }
        Ok(frozen)
    }
}

/// # Errors
/// [`Error::Corrupt`] when the replica claims to know more than the topic holds.
fn check_position(replica: &Replica, partition: Partition, end: Offset) -> Result<()> {
    let (spec, position) = (replica.spec(), replica.next());
    if position <= end {
        return Ok(());
    }
    Err(Error::Corrupt(format!(
        "store {} partition {partition} is at position {position}, but topic {} ends at {end}: the \
         topic was recreated or has lost data; move the state directory away to restore what the \
         topic has",
        spec.name, spec.topic
    )))
}

fn find<'a>(
    all: &'a mut [Followed],
    last: &mut usize,
    topic: &[u8],
    partition: Partition,
) -> Option<&'a mut Followed> {
    if !all.get(*last).is_some_and(|followed| followed.is(topic, partition)) {
        *last = all.iter().position(|followed| followed.is(topic, partition))?;
    }
    all.get_mut(*last)
}

/// Gives one event to its replica. It is ignored when its partition is no longer followed, or when it
/// was fetched before the partition left and came back.
fn take(all: &mut [Followed], last: &mut usize, found: &Fetched<'_>) -> Result<()> {
    match *found {
        Fetched::Record { topic, partition, offset, timestamp, key, value } => {
            match find(all, last, topic, partition) {
                Some(followed) if followed.replica.next() <= offset => {
                    followed.refused = 0;
                    followed.replica.take(offset, timestamp, key, value)
                }
                _ => Ok(()),
            }
        }
        Fetched::OutOfRange { topic, partition } => {
            if let Some(followed) = find(all, last, topic, partition) {
                followed.out_of_range = true;
            }
            Ok(())
        }
        Fetched::End { topic, partition, next } => {
            if let Some(followed) = find(all, last, topic, partition) {
                followed.replica.pass(next);
                followed.at_end = true;
            }
            Ok(())
        }
    }
}
