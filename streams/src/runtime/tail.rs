//! Follows output topics: what restore, standby and view have in common.
//!
//! Whoever reads an output topic under `read_committed` into a store holds
//! fold(topic[.. position]), which is the invariant of every store ([`Replica`]).
//!
//! The end of a partition is where the broker says it is: transaction markers occupy offsets, so
//! "the position is the end less one" may never come true. And it must be at or past the end that
//! uncommitted reading showed when the tail began: an open transaction of a fenced member hides
//! what its successor has committed behind it, until the broker aborts it.
//!
//! How old a replica is counts from a request for the ends, once all before them is here. An end that
//! a fetch finds does not count: nothing says when that fetch was sent, and a process that was stopped
//! or cut off finds an old one.
//!
//! The start of a topic moves when its retention deletes segments. A replica that has not come so far
//! goes on at the new start, as one that begins there does.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::{Offset as NativeOffset, TopicPartitionList};

use super::clock;
use super::config::StoreConfig;
use super::errors;
use super::flusher::Changelog;
use super::native::{Records, Taken};
use crate::error::{Error, Result};
use crate::record::{Offset, Timestamp};
use crate::replica::Replica;
use crate::store::Moment;
use crate::topology::StoreSpec;

/// Between two progress lines of one restore.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// A request for where a topic is, or for a partition's first and last offset.
const BROKER_TIMEOUT: Duration = Duration::from_secs(10);
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
    partition: i32,
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
    started: Instant,
    reported: Instant,
}

impl Followed {
    fn new(replica: Replica, partition: i32, look: Look) -> Self {
        let now = clock::instant();
        Self {
            taken_before: replica.taken(),
            replica,
            partition,
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

    fn is(&self, topic: &[u8], partition: i32) -> bool {
        self.partition == partition && self.replica.spec().topic.as_bytes() == topic
    }

    const fn restored(&self) -> u64 {
        self.replica.taken() - self.taken_before
    }

    fn remaining(&self) -> i64 {
        (self.end.0 - self.replica.next().0).max(0)
    }

    /// Gives what was taken to the store, and says how old that leaves it. True when it has just
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

    fn report(&mut self) {
        if self.caught_up || self.reported.elapsed() < PROGRESS_EVERY {
            return;
        }
        self.reported = clock::instant();
        let seconds = self.started.elapsed().as_secs().max(1);
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

/// Follows any number of replicas, in one consumer outside any group.
pub(super) struct Tail {
    // Dropped in this order: a queue must go before its client.
    records: Records,
    consumer: BaseConsumer,
    /// Sees what is not committed, and so the true ends of topics.
    probe: BaseConsumer,
    /// What the consumer was made of.
    client: ClientConfig,
    /// Few enough that a search costs less than a map: stores times partitions of one thread.
    followed: Vec<Followed>,
}

impl Tail {
    /// A consumer that follows nothing yet, and knows where the topics of `stores` are: those of which
    /// it heard by an assignment it would ask for once a second.
    pub(super) fn new(config: &StoreConfig, stores: &[StoreSpec]) -> Result<Self> {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &config.bootstrap_servers)
            // Assigning needs a name; nothing is ever committed under it.
            .set("group.id", format!("{}-tail", config.application_id))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.wait.max.ms", "50")
            .set("queued.max.messages.kbytes", "65536");
        for (name, value) in &config.kafka {
            client.set(name, value);
        }
        let (records, consumer) = open(&client, stores.iter().map(|store| &store.topic))?;
        let probe = client.clone().set("isolation.level", "read_uncommitted").create();
        let probe = probe.map_err(errors::setting)?;
        Ok(Self { records, consumer, probe, client, followed: Vec::new() })
    }

    fn watermarks(&self, topic: &str, partition: i32) -> Result<(i64, i64)> {
        let marks = self.probe.fetch_watermarks(topic, partition, BROKER_TIMEOUT);
        marks.map_err(errors::plain)
    }

    /// Follows a replica's topic to the end, and beyond it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the replica claims to know more than the topic holds.
    pub(super) fn add(&mut self, partition: i32, mut replica: Replica) -> Result<()> {
        let asked = clock::moment();
        let (low, end) = self.watermarks(&replica.spec().topic, partition)?;
        check_position(&replica, partition, end)?;
        self.records.forward(self.consumer.client(), &replica.spec().topic, partition)?;
        replica.pass(Offset(low));
        self.assign(&replica, partition)?;
        let look = Look { asked, end: Offset(end) };
        self.followed.push(Followed::new(replica, partition, look));
        Ok(())
    }

    /// Fetches from where the replica is.
    fn assign(&self, replica: &Replica, partition: i32) -> Result<()> {
        let mut list = TopicPartitionList::new();
        let next = NativeOffset::Offset(replica.next().0);
        list.add_partition_offset(&replica.spec().topic, partition, next).map_err(errors::plain)?;
        self.consumer.incremental_assign(&list).map_err(errors::plain)
    }

    /// Goes on at the start of the topic, which has moved past the replica.
    fn begin_again(&mut self, index: usize) -> Result<()> {
        let Followed { replica, partition, .. } = &self.followed[index];
        let (topic, partition, was) = (replica.spec().topic.clone(), *partition, replica.next());
        let (low, end) = self.watermarks(&topic, partition)?;
        check_position(replica, partition, end)?;
        let followed = &mut self.followed[index];
        followed.refused += 1;
        if followed.refused > MAX_REFUSED {
            return Err(Error::Unavailable(format!(
                "{topic}/{partition}: the broker refuses position {was} although the topic begins \
                 at {low} and ends at {end}"
            )));
        }
        followed.replica.pass(Offset(low));
        tracing::warn!(
            topic,
            partition,
            position = was.0,
            start = low,
            "the topic's start has moved while it was read: going on there"
        );
        Ok(())
    }

    /// Fetches everything from where the replicas are, with a new consumer: librdkafka does not seek in
    /// a partition whose position was refused, and one that is assigned again loses its queue at a
    /// moment that cannot be known.
    fn fetch_anew(&mut self) -> Result<()> {
        let topics = self.followed.iter().map(|followed| &followed.replica.spec().topic);
        (self.records, self.consumer) = open(&self.client, topics)?;
        for Followed { replica, partition, .. } in &self.followed {
            self.records.forward(self.consumer.client(), &replica.spec().topic, *partition)?;
            self.assign(replica, *partition)?;
        }
        Ok(())
    }

    /// Follows a partition no longer; gives its replicas back, with everything that they took.
    pub(super) fn remove(&mut self, partition: i32) -> Result<Vec<Replica>> {
        let ours = self.followed.extract_if(.., |followed| followed.partition == partition);
        let mut replicas: Vec<Replica> = ours.map(|followed| followed.replica).collect();
        if replicas.is_empty() {
            return Ok(replicas);
        }
        let mut list = TopicPartitionList::new();
        for replica in &replicas {
            list.add_partition(&replica.spec().topic, partition);
        }
        self.consumer.incremental_unassign(&list).map_err(errors::plain)?;
        replicas.iter_mut().try_for_each(Replica::write)?;
        Ok(replicas)
    }

    /// Takes what waits. Returns the replicas that have just reached the end.
    pub(super) fn poll(&mut self, wait: Duration) -> Result<Vec<Restored>> {
        if let Some(Err(error)) = self.consumer.poll(Duration::ZERO) {
            errors::consumer(&error)?;
        }
        let mut failed = Ok(());
        let Self { records, followed, .. } = self;
        // A partition's records come together: what was found last is looked at first.
        let mut last = 0;
        records.take(wait, |taken| {
            if let Err(error) = take(followed, &mut last, &taken) {
                failed = Err(error);
            }
        });
        failed?;
        let mut moved = Vec::new();
        for (index, followed) in self.followed.iter_mut().enumerate() {
            if std::mem::take(&mut followed.out_of_range) {
                moved.push(index);
            }
        }
        for index in &moved {
            self.begin_again(*index)?;
        }
        if !moved.is_empty() {
            self.fetch_anew()?;
        }
        let mut restored = Vec::new();
        for followed in &mut self.followed {
            if followed.write()? {
                let (partition, records) = (followed.partition, followed.restored());
                restored.push(Restored { partition, records });
            }
            followed.report();
        }
        Ok(restored)
    }

    /// Asks the broker again where the topics end, each broker once: what has caught up is behind
    /// anew. One whose leader does not know is passed over: its age grows.
    pub(super) fn look_ahead(&mut self) -> Result<()> {
        if self.followed.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        for Followed { replica, partition, .. } in &self.followed {
            // As a time to look for, it is the end.
            list.add_partition_offset(&replica.spec().topic, *partition, NativeOffset::End)
                .map_err(errors::plain)?;
        }
        let asked = clock::moment();
        let ends = self.probe.offsets_for_times(list, BROKER_TIMEOUT).map_err(errors::plain)?;
        for element in ends.elements() {
            let NativeOffset::Offset(end) = element.offset() else { continue };
            let topic = element.topic().as_bytes();
            let found = find(&mut self.followed, &mut 0, topic, element.partition());
            if let Some(followed) = found.filter(|_| element.error().is_ok()) {
                followed.end = Offset(end);
                followed.look.get_or_insert(Look { asked, end: Offset(end) });
                followed.tell_age();
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

/// A consumer and its queue. It asks where the topics are: those of which it heard by an assignment it
/// would ask for once a second.
fn open<'a>(
    client: &ClientConfig,
    topics: impl Iterator<Item = &'a String>,
) -> Result<(Records, BaseConsumer)> {
    let consumer: BaseConsumer = client.create().map_err(errors::setting)?;
    for topic in topics {
        consumer.fetch_metadata(Some(topic), BROKER_TIMEOUT).map_err(errors::plain)?;
    }
    Ok((Records::new(consumer.client())?, consumer))
}

/// # Errors
/// [`Error::Corrupt`] when the replica claims to know more than the topic holds.
fn check_position(replica: &Replica, partition: i32, end: i64) -> Result<()> {
    let (spec, position) = (replica.spec(), replica.next());
    if position.0 <= end {
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
    partition: i32,
) -> Option<&'a mut Followed> {
    if !all.get(*last).is_some_and(|followed| followed.is(topic, partition)) {
        *last = all.iter().position(|followed| followed.is(topic, partition))?;
    }
    all.get_mut(*last)
}

/// Gives one record to its replica. What belongs to a partition that is no longer followed, or was
/// fetched before it was given away and came back, is passed over.
fn take(all: &mut [Followed], last: &mut usize, taken: &Taken<'_>) -> Result<()> {
    match *taken {
        Taken::Record { topic, partition, offset, timestamp, key, value } => {
            match find(all, last, topic, partition) {
                Some(followed) if followed.replica.next() <= Offset(offset) => {
                    followed.refused = 0;
                    followed.replica.take(Offset(offset), Timestamp(timestamp), key, value)
                }
                _ => Ok(()),
            }
        }
        Taken::End { topic, partition, offset } => {
            if let Some(followed) = find(all, last, topic, partition) {
                followed.replica.pass(Offset(offset));
                followed.at_end = true;
            }
            Ok(())
        }
        Taken::Failed { topic, partition, code } if errors::is_out_of_range(code) => {
            if let Some(followed) = find(all, last, topic, partition) {
                followed.out_of_range = true;
            }
            Ok(())
        }
        Taken::Failed { topic, partition, code } => {
            errors::changelog(&String::from_utf8_lossy(topic), partition, code)
        }
    }
}
