//! Follows output topics: what restore, standby and view have in common.
//!
//! Whoever reads an output topic under `read_committed` into a store holds
//! fold(topic[.. position]), which is the invariant of every store ([`Replica`]).
//!
//! The end of a partition is where the broker says it is: transaction markers occupy offsets, so
//! "the position is the end less one" may never come true. And it must be at or past the end that
//! uncommitted reading showed when the tail began: an open transaction of a fenced member hides
//! what its successor has committed behind it, until the broker aborts it.

use std::time::Duration;

use super::worker::{Changelog, Followed as Found, Topics};
use crate::error::{Error, Result};
use crate::record::{Offset, Timestamp};
use crate::replica::Replica;

/// Between two progress lines of one restore.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// One replica, and how far it has to go.
struct Followed {
    replica: Replica,
    partition: i32,
    /// Records that the replica had taken when it came here.
    taken_before: u64,
    /// The end when the tail began, uncommitted records included.
    end: Offset,
    /// When the newest record that it took was produced.
    newest: Timestamp,
    at_end: bool,
    caught_up: bool,
    started: Duration,
    reported: Duration,
}

impl Followed {
    fn new(replica: Replica, partition: i32, end: Offset, now: Duration) -> Self {
        Self {
            taken_before: replica.taken(),
            replica,
            partition,
            end,
            newest: Timestamp::MIN,
            at_end: false,
            caught_up: false,
            started: now,
            reported: now,
        }
    }

    fn is(&self, topic: &[u8], partition: i32) -> bool {
        self.partition == partition && self.replica.spec().topic.as_bytes() == topic
    }

    const fn restored(&self) -> u64 {
        self.replica.taken() - self.taken_before
    }

    fn remaining(&self) -> i64 {
        (self.end.0 - self.replica.next().0).max(0)
    }

    /// Gives what was taken to the store, and says how old that leaves it: an end that is seen
    /// now was the end at `asked`. True when it has just reached the end.
    fn write(&mut self, asked: Timestamp, now: Timestamp) -> Result<bool> {
        let at_end = std::mem::take(&mut self.at_end);
        let reached = self.write_taken(at_end)?;
        if self.caught_up {
            let freshness = self.replica.store().freshness();
            // A writer's clock may be ahead of ours.
            freshness.reached(self.replica.next(), self.newest.min(now));
            if at_end {
                freshness.complete(asked);
            }
        }
        Ok(reached)
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

    fn report(&mut self, now: Duration) {
        if self.caught_up || now.saturating_sub(self.reported) < PROGRESS_EVERY {
            return;
        }
        self.reported = now;
        let seconds = now.saturating_sub(self.started).as_secs().max(1);
        tracing::info!(
            store = self.replica.spec().name,
            partition = self.partition,
            restored = self.restored(),
            per_second = self.restored() / seconds,
            remaining = self.remaining(),
            "restoring"
        );
    }
}

/// A replica that has reached the end of its topic.
pub(super) struct Restored {
    /// The partition.
    pub(super) partition: i32,
    /// Records that were behind.
    pub(super) records: u64,
}

/// Follows any number of replicas, outside any group.
pub(super) struct Tail {
    /// Few enough that a search costs less than a map: stores times partitions of one thread.
    followed: Vec<Followed>,
    /// When the queue of records was last found empty.
    drained: Timestamp,
}

impl Default for Tail {
    fn default() -> Self {
        Self { followed: Vec::new(), drained: Timestamp::MIN }
    }
}

impl Tail {
    /// Follows a replica's topic to the end, and beyond it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the replica claims to know more than the topic holds.
    pub(super) fn add(
        &mut self,
        topics: &mut impl Topics,
        partition: i32,
        mut replica: Replica,
    ) -> Result<()> {
        let (spec, position) = (replica.spec(), replica.next());
        let extent = topics.follow(&spec.topic, partition, position)?;
        let end = extent.end;
        if position > end {
            return Err(Error::Corrupt(format!(
                "store {} partition {partition} is at position {position}, but topic {} ends at \
                 {end}: the topic was recreated or has lost data; move the state directory away to \
                 restore what the topic has",
                spec.name, spec.topic
            )));
        }
        replica.pass(extent.first);
        self.followed.push(Followed::new(replica, partition, end, topics.uptime()));
        Ok(())
    }

    /// Follows a partition no longer; gives its replicas back, with everything that they took.
    pub(super) fn remove(
        &mut self,
        topics: &mut impl Topics,
        partition: i32,
    ) -> Result<Vec<Replica>> {
        let ours = self.followed.extract_if(.., |followed| followed.partition == partition);
        let mut replicas: Vec<Replica> = ours.map(|followed| followed.replica).collect();
        if replicas.is_empty() {
            return Ok(replicas);
        }
        let names: Vec<&str> = replicas.iter().map(|r| r.spec().topic.as_str()).collect();
        topics.unfollow(&names, partition)?;
        replicas.iter_mut().try_for_each(Replica::write)?;
        Ok(replicas)
    }

    /// Takes what waits. Returns the replicas that have just reached the end.
    pub(super) fn poll(
        &mut self,
        topics: &mut impl Topics,
        wait: Duration,
    ) -> Result<Vec<Restored>> {
        let (asked, now) = (self.drained, topics.now());
        let Self { followed, .. } = self;
        // A partition's records come together: what was found last is looked at first.
        let mut last = 0;
        if topics.read(wait, |found| take(followed, &mut last, &found))? {
            self.drained = now;
        }
        let uptime = topics.uptime();
        let mut restored = Vec::new();
        for followed in &mut self.followed {
            if followed.write(asked, now)? {
                let (partition, records) = (followed.partition, followed.restored());
                restored.push(Restored { partition, records });
            }
            followed.report(uptime);
        }
        Ok(restored)
    }

    /// Asks again where the topics end: what has caught up is behind anew.
    pub(super) fn look_ahead(&mut self, topics: &mut impl Topics) -> Result<()> {
        for Followed { replica, partition, end, caught_up, .. } in &mut self.followed {
            let asked = topics.now();
            *end = topics.end(&replica.spec().topic, *partition)?;
            if *caught_up && replica.next() >= *end {
                replica.store().freshness().complete(asked);
            }
        }
        Ok(())
    }

    /// Records between the replicas and the ends of their topics, as far as known.
    pub(super) fn remaining(&self, partition: i32) -> i64 {
        self.of(partition).map(Followed::remaining).sum()
    }

    fn of(&self, partition: i32) -> impl Iterator<Item = &Followed> {
        self.followed.iter().filter(move |followed| followed.partition == partition)
    }

    /// Follows nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.followed.is_empty()
    }

    /// Every replica of the partition has reached its end.
    pub(super) fn is_caught_up(&self, partition: i32) -> bool {
        self.of(partition).all(|followed| followed.caught_up)
    }

    /// All replicas, with their partitions.
    pub(super) fn all(&self) -> impl Iterator<Item = (i32, &Replica)> {
        self.followed.iter().map(|followed| (followed.partition, &followed.replica))
    }

    /// The replicas of a partition, in the topology's order.
    pub(super) fn replicas(&self, partition: i32) -> impl Iterator<Item = &Replica> {
        self.of(partition).map(|followed| &followed.replica)
    }

    /// The most that waits in front of any one store that is readable, in bytes.
    pub(super) fn overlay_bytes(&self) -> usize {
        let readable = self.followed.iter().filter(|followed| followed.caught_up);
        readable.map(|f| f.replica.store().overlay_bytes()).max().unwrap_or(0)
    }

    /// What waits in front of all stores of partitions that are being restored, in bytes.
    pub(super) fn restoring_bytes(&self) -> usize {
        let restoring = self.followed.iter().filter(|f| !self.is_caught_up(f.partition));
        restoring.map(|f| f.replica.store().overlay_bytes()).sum()
    }

    /// Sets apart what is in front of the stores. Returns those that have something to write.
    pub(super) fn freeze(&mut self) -> Result<Vec<Changelog>> {
        let mut frozen = Vec::new();
        for Followed { replica, partition, .. } in &mut self.followed {
            if replica.freeze()? {
                let topic = replica.spec().topic.clone();
                let store = std::sync::Arc::clone(replica.store());
                frozen.push(Changelog { topic, partition: *partition, store });
            }
        }
        Ok(frozen)
    }
}

fn find<'a>(
    all: &'a mut [Followed],
    last: &mut usize,
    topic: &[u8],
    partition: i32,
) -> Option<&'a mut Followed> {
    if !all.get(*last).is_some_and(|followed| followed.is(topic, partition)) {
        *last = all.iter().position(|followed| followed.is(topic, partition))?;
    }
    all.get_mut(*last)
}

/// Gives one record to its replica. What belongs to a partition that is no longer followed, or was
/// fetched before it was given away and came back, is passed over.
fn take(all: &mut [Followed], last: &mut usize, found: &Found<'_>) -> Result<()> {
    match *found {
        Found::Record { topic, partition, offset, timestamp, key, value } => {
            match find(all, last, topic, partition) {
                Some(followed) if followed.replica.next() <= offset => {
                    followed.newest = followed.newest.max(timestamp);
                    followed.replica.take(offset, timestamp, key, value)
                }
                _ => Ok(()),
            }
        }
        Found::End { topic, partition, next } => {
            if let Some(followed) = find(all, last, topic, partition) {
                followed.replica.pass(next);
                followed.at_end = true;
            }
            Ok(())
        }
    }
}
