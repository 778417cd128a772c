//! The worker's calls over librdkafka: a group member with its producer, and topics with the disk.
//!
//! This file only translates. How each client is set up and what its errors mean is in
//! `consumer.rs`, `producer.rs`, `flusher.rs` and `errors.rs`.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::{Offset as NativeOffset, TopicPartitionList};

use super::client::{
    Fetched, Group, JobResult, MissingOffset, OffsetRange, Rebalance, StartPosition, StoreJob,
    Topics,
};
use super::config::{AppConfig, Guarantee, StoreConfig};
use super::consumer::GroupConsumer;
use super::dead_letter_limit::DeadLetterLimit;
use super::flusher::Flusher;
use super::librdkafka::{Polled, Records};
use super::metrics::Metrics;
use super::producer::OutputProducer;
use super::purge::Purge;
use super::stable_offsets::{STATISTICS_MS, StableOffsets};
use super::state_dir::StateDir;
use super::{clock, errors, lost_offsets, removed_sources};
use crate::error::Result;
use crate::record::{Offset, Partition, SourceRecord, TaskId, Timestamp};
use crate::store::Store;
use crate::task::{Commit, Consumed};
use crate::topology::{StoreSpec, Topology};

/// A request for where a topic is, or for a partition's first and last offset.
const BROKER_TIMEOUT: Duration = Duration::from_secs(10);

/// One member of the group.
#[derive(Clone, Copy)]
pub(super) struct Membership<'a> {
    /// The name of its clients and transactions.
    pub(super) name: &'a str,
    /// Of a static member.
    pub(super) instance: Option<&'a str>,
    /// The worker has checked the sources of the group. It does so once: a member that runs while further
    /// sources are added goes on with its own.
    pub(super) is_checked: &'a Cell<bool>,
}

/// A member of the group, and its producer.
pub(super) struct KafkaGroup<'a> {
    consumer: GroupConsumer,
    producer: OutputProducer,
    config: &'a AppConfig,
    topology: &'a Topology,
    membership: Membership<'a>,
    /// Where the tasks of the assignment under way go on.
    resumes: Vec<StartPosition>,
    /// Made when the first repartition topic is purged.
    purge: Option<Purge>,
}

impl<'a> KafkaGroup<'a> {
    /// Fences the worker's earlier incarnation and joins the group.
    pub(super) fn join(
        config: &'a AppConfig,
        topology: &'a Topology,
        partitions: &[i32],
        letters: &DeadLetterLimit,
        metrics: &Metrics,
        membership: Membership<'a>,
    ) -> Result<Self> {
        let Membership { name, instance, .. } = membership;
        let producer = OutputProducer::new(config, topology, partitions, letters, name)?;
        let stable = StableOffsets::new(&metrics.stable_offset_held);
        let consumer = GroupConsumer::new(config, topology, name, instance, stable)?;
        let resumes = Vec::new();
        Ok(Self { consumer, producer, config, topology, membership, resumes, purge: None })
    }

    const fn guarantee(&self) -> Guarantee {
        self.config.processing_guarantee
    }
}

impl Group for KafkaGroup<'_> {
    fn poll(&mut self) -> Result<Vec<Rebalance>> {
        self.consumer.poll()
    }

    fn is_lost(&self) -> bool {
        self.consumer.assignment_lost()
    }

    fn positions(&mut self, tasks: &[TaskId]) -> Result<Option<Vec<StartPosition>>> {
        let mut listed = BTreeSet::new();
        self.resumes = self.consumer.committed(tasks, &mut listed)?;
        if !self.membership.is_checked.get() {
            removed_sources::check(self.config, self.topology, &listed)?;
            self.membership.is_checked.set(true);
        }
        Ok(Some(self.resumes.clone()))
    }

    fn decide(&mut self, missing: &[MissingOffset]) -> Result<Vec<StartPosition>> {
        let Self { consumer, config, topology, resumes, .. } = self;
        let of = |task| missing.iter().find(move |missing| missing.task == task);
        let is_on_disk = |task| of(task).is_some_and(|missing| missing.is_on_disk);
        lost_offsets::resolve(config, topology, consumer, resumes, is_on_disk)?;
        Ok(resumes.iter().filter(|resume| of(resume.task).is_some()).copied().collect())
    }

    fn assign(&mut self, _: &[TaskId]) -> Result<()> {
        self.consumer.assign(&self.resumes)
    }

    fn unassign(&mut self, tasks: &[TaskId]) -> Result<()> {
        self.consumer.unassign(tasks)
    }

    fn take(&mut self, wait: Duration, take: impl FnMut(SourceRecord<'_>)) -> Result<()> {
        self.consumer.take(wait, take)
    }

    fn pause(&mut self, task: TaskId) -> Result<()> {
        self.consumer.pause(task)
    }

    fn resume(&mut self, task: TaskId) -> Result<()> {
        self.consumer.resume(task)
    }

    fn lag(&mut self, task: TaskId, position: Offset) -> Option<i64> {
        self.consumer.lag(task, position)
    }

    fn purge(&mut self, committed: &[(TaskId, Offset)]) -> Result<()> {
        let offsets = self.consumer.list_at(committed)?;
        let purge = match &mut self.purge {
            Some(purge) => purge,
            none => none.insert(Purge::new(self.config)?),
        };
        purge.begin(&offsets);
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        self.producer.begin()
    }

    fn write(&mut self, task: TaskId, commit: &Commit) -> Result<()> {
        self.producer.produce(task, commit)
    }

    fn flush(&mut self) -> Result<()> {
        self.producer.flush()
    }

    fn send_offsets(&mut self, offsets: &[(TaskId, Consumed)]) -> Result<()> {
        let offsets = self.consumer.offsets(offsets)?;
        match self.guarantee() {
            // A rebalance makes metadata stale: it is taken afresh.
            Guarantee::ExactlyOnceV2 => {
                self.producer.send_offsets(&offsets, &self.consumer.group_metadata()?)
            }
            Guarantee::AtLeastOnce => self.consumer.commit(&offsets),
        }
    }

    fn commit(&mut self) -> Result<()> {
        match self.guarantee() {
            Guarantee::ExactlyOnceV2 => self.producer.commit(),
            Guarantee::AtLeastOnce => Ok(()),
        }
    }
}

/// Output topics, followed by one consumer outside any group, and the stores of a state directory.
pub(super) struct KafkaTopics<'a> {
    // Dropped in this order: a queue must go before its client.
    records: Records,
    consumer: BaseConsumer<StableOffsets>,
    /// Reads uncommitted, and so sees the true ends of topics.
    probe: BaseConsumer,
    /// The settings of the consumer.
    client: ClientConfig,
    flusher: Flusher,
    state_dir: &'a StateDir,
}

impl<'a> KafkaTopics<'a> {
    /// A consumer that follows nothing yet, and knows where the topics of the stores are.
    pub(super) fn new(
        config: &StoreConfig,
        topology: &Topology,
        state_dir: &'a StateDir,
        metrics: &Metrics,
    ) -> Result<Self> {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &config.bootstrap_servers)
            // Assigning needs a name; nothing is ever committed under it.
            .set("group.id", format!("{}-tail", config.application_id))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("statistics.interval.ms", STATISTICS_MS)
            .set("enable.partition.eof", "true")
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.wait.max.ms", "50")
            .set("queued.max.messages.kbytes", "65536");
        for (name, value) in &config.kafka {
            client.set(name, value);
        }
        let stable = StableOffsets::new(&metrics.stable_offset_held);
        let (records, consumer) =
            open(&client, stable, topology.stores().map(|store| store.topic.as_str()))?;
        let mut probe = client.clone();
        probe.set("isolation.level", "read_uncommitted").set("statistics.interval.ms", "0");
        let probe = probe.create();
        let probe = probe.map_err(errors::setting)?;
        let flusher = Flusher::start(config)?;
        Ok(Self { records, consumer, probe, client, flusher, state_dir })
    }

    fn assign(&self, topic: &str, partition: Partition, next: Offset) -> Result<()> {
        self.records.forward(self.consumer.client(), topic, partition.0)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition.0, NativeOffset::Offset(next.0))
            .map_err(errors::plain)?;
        self.consumer.incremental_assign(&list).map_err(errors::plain)
    }
}

/// A consumer and its queue. It requests the metadata of the topics now: librdkafka would look for
/// topics that it knows from an assignment only once a second.
fn open<'a>(
    client: &ClientConfig,
    stable: StableOffsets,
    topics: impl Iterator<Item = &'a str>,
) -> Result<(Records, BaseConsumer<StableOffsets>)> {
    let consumer: BaseConsumer<_> = client.create_with_context(stable).map_err(errors::setting)?;
    for topic in topics {
        consumer.fetch_metadata(Some(topic), BROKER_TIMEOUT).map_err(errors::plain)?;
    }
    Ok((Records::new(consumer.client())?, consumer))
}

impl Topics for KafkaTopics<'_> {
    fn now(&self) -> Timestamp {
        clock::now()
    }

    fn uptime(&self) -> Duration {
        clock::uptime()
    }

    fn wait(&mut self, time: Duration) {
        clock::wait(time);
    }

    fn open(&mut self, spec: &StoreSpec, partition: Partition) -> Result<Box<dyn Store>> {
        self.state_dir.open_store(spec, partition)
    }

    fn disk_bytes(&self) -> u64 {
        self.state_dir.size_bytes()
    }

    fn follow(&mut self, topic: &str, partition: Partition, next: Offset) -> Result<OffsetRange> {
        let extent = self.extent(topic, partition)?;
        self.assign(topic, partition, next.max(extent.first))?;
        Ok(extent)
    }

    fn extent(&mut self, topic: &str, partition: Partition) -> Result<OffsetRange> {
        let marks = self.probe.fetch_watermarks(topic, partition.0, BROKER_TIMEOUT);
        let (first, end) = marks.map_err(errors::plain)?;
        Ok(OffsetRange { first: Offset(first), end: Offset(end) })
    }

    /// With a new consumer: librdkafka does not seek in a partition whose position was refused, and one
    /// that is assigned again loses its queue at a moment that cannot be known.
    fn follow_anew(&mut self, all: &[(&str, Partition, Offset)]) -> Result<()> {
        let stable = StableOffsets::clone(self.consumer.context());
        let topics = all.iter().map(|(topic, ..)| *topic);
        (self.records, self.consumer) = open(&self.client, stable, topics)?;
        all.iter().try_for_each(|(topic, partition, next)| self.assign(topic, *partition, *next))
    }

    fn unfollow(&mut self, topics: &[&str], partition: Partition) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for topic in topics {
            list.add_partition(topic, partition.0);
        }
        self.consumer.incremental_unassign(&list).map_err(errors::plain)
    }

    fn ends(&mut self, topics: &[(&str, Partition)]) -> Result<Vec<Option<Offset>>> {
        let mut list = TopicPartitionList::new();
        for (topic, partition) in topics {
            // As a time to look for, it is the end.
            list.add_partition_offset(topic, partition.0, NativeOffset::End)
                .map_err(errors::plain)?;
        }
        let ends = self.probe.offsets_for_times(list, BROKER_TIMEOUT).map_err(errors::plain)?;
        let end = |(topic, partition): &(&str, Partition)| {
            let found = ends.find_partition(topic, partition.0)?;
            match found.offset() {
                NativeOffset::Offset(end) if found.error().is_ok() => Some(Offset(end)),
                _ => None,
            }
        };
        Ok(topics.iter().map(end).collect())
    }

    fn read(
        &mut self,
        wait: Duration,
        mut take: impl FnMut(Fetched<'_>) -> Result<()>,
    ) -> Result<()> {
        if let Some(Err(error)) = self.consumer.poll(Duration::ZERO) {
            errors::consumer(&error)?;
        }
        let mut failed = Ok(());
        self.records.take(wait, |taken| {
            let taken = match taken {
                Polled::Record { topic, partition, offset, timestamp, key, value } => {
                    let (partition, offset) = (Partition(partition), Offset(offset));
                    let timestamp = Timestamp(timestamp);
                    take(Fetched::Record { topic, partition, offset, timestamp, key, value })
                }
                Polled::End { topic, partition, offset } => {
                    let (partition, next) = (Partition(partition), Offset(offset));
                    take(Fetched::End { topic, partition, next })
                }
                Polled::Failed { topic, partition, code } if errors::is_out_of_range(code) => {
                    take(Fetched::OutOfRange { topic, partition: Partition(partition) })
                }
                Polled::Failed { topic, partition, code } => {
                    errors::changelog(&String::from_utf8_lossy(topic), partition, code)
                }
            };
            if let Err(error) = taken {
                failed = Err(error);
            }
        });
        failed
    }

    fn submit(&mut self, job: StoreJob) -> Result<()> {
        self.flusher.submit(job)
    }

    fn done(&mut self, wait: Duration) -> Result<Option<JobResult>> {
        self.flusher.done(wait)
    }
}
