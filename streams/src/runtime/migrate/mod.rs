//! Moves an application to topics with another number of partitions.
//!
//! ```text
//! from                                          to
//! sources  all processed, and no member runs ─► sources  empty; offsets 0, the newest stream time
//! stores   each record ── by the source's key ► stores
//!          a key of every partition ── merged ► each partition
//! ```
//!
//! A changelog record lies in the partition of its task, so the key that chooses its new partition is that
//! of the source, which [`Placement`] tells. Records keep their order within a key, and their times.
//!
//! The offsets come last: until then the new group has none, and the command may be repeated. Each store
//! is compared with its copy by key before ([`verify`]).
//!
//! # What this does not do
//!
//! Records of source topics are not copied: what they say is in the stores. Sinks that are no changelog
//! stay where they are.

mod copy;
mod topics;
mod verify;

use std::fmt;

use rdkafka::TopicPartitionList;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::topic_partition_list::Offset;

use super::admin::{self, TIMEOUT, TopicSpec};
use super::config::settings_are_named;
use super::reset::shape_of;
use super::{errors, offset_metadata};
use crate::error::{Error, Result};
use crate::record::Timestamp;
use crate::topology::Topology;

/// The application, before and after.
pub struct MigrateConfig<'a> {
    /// `host:port`, separated by commas.
    pub bootstrap_servers: &'a str,
    /// Raw client settings.
    pub kafka: &'a [(String, String)],
    /// The consumer group, and the new one.
    pub groups: [&'a str; 2],
    /// The partitions of each new topic.
    pub partitions: i32,
}

/// The source's key of a store's name and a record's key, if the record belongs to one.
type SourceKey<'a> = dyn Fn(&str, &[u8]) -> Result<Option<Vec<u8>>> + 'a;
/// Values by old partitions to values by new ones, of the store of that name.
type Merge<'a> = dyn Fn(&str, &[Vec<u8>]) -> Result<Vec<Vec<u8>>> + 'a;

/// The place of state in a topology with another number of partitions.
pub struct Placement<'a> {
    /// The source's key to which a record of a store's topic belongs, by the store's name and the record's
    /// key. `None` for state that stands in every partition.
    pub source_key: &'a SourceKey<'a>,
    /// The values of such a key, one from each partition that has it, as the values of the new partitions,
    /// in their order; by the store's name.
    pub merge: &'a Merge<'a>,
}

/// A store's name, its topic, and the new one.
struct Moved {
    store: String,
    topics: [String; 2],
    partitions: i32,
}

/// A source topic, and the new one.
struct Source {
    topics: [String; 2],
    partitions: i32,
}

/// The steps of a migration. Printed, each is a line.
pub struct Migration<'a> {
    config: MigrateConfig<'a>,
    client: ClientConfig,
    sources: Vec<Source>,
    stores: Vec<Moved>,
    topics: Vec<TopicSpec>,
    /// See [`offset_metadata::list`], of the new topology.
    listed: Option<String>,
}

impl<'a> Migration<'a> {
    /// Plans it. Both topologies are wired alike over topics of other names; `topics` are all of the new
    /// ones but repartition topics.
    ///
    /// # Errors
    /// [`Error::Invalid`] names a topic that does not exist.
    pub fn plan(
        config: MigrateConfig<'a>,
        [from, to]: [&Topology; 2],
        mut topics: Vec<TopicSpec>,
    ) -> Result<Self> {
        settings_are_named(config.kafka)?;
        let mut client = admin::settings(config.bootstrap_servers, config.kafka);
        let known = admin::metadata(&admin::asking(&client)?, config.bootstrap_servers)?;
        client.set("enable.auto.commit", "false").set("auto.offset.reset", "error");
        let (mut sources, mut stores) = (Vec::new(), Vec::new());
        let [from, to] = [(from, config.groups[0]), (to, config.groups[1])]
            .map(|(topology, group)| topology.of_application(group));
        for (old, new) in from.sub_topologies().iter().zip(to.sub_topologies()) {
            let [partitions, replication] = shape_of(&known, old.source())?;
            if old.is_repartition() {
                topics.push(TopicSpec::repartition(new, config.partitions, replication));
            }
            for (store, copy) in old.stores().iter().zip(new.stores()) {
                let topics = [store.topic.clone(), copy.topic.clone()];
                stores.push(Moved { store: store.name.clone(), topics, partitions });
            }
            if !old.is_table() {
                let topics = [old.source().to_owned(), new.source().to_owned()];
                sources.push(Source { topics, partitions });
            }
        }
        let listed = offset_metadata::list(&to);
        Ok(Self { config, client, sources, stores, topics, listed })
    }

    /// Does it. Returns the number of records that were copied.
    ///
    /// # Errors
    /// [`Error::Invalid`] while a member runs, while a source has records that are not processed, when the
    /// new group has begun, and when a copy differs.
    pub fn run(&self, placement: &Placement<'_>) -> Result<u64> {
        let (old, new) = (self.member(0)?, self.member(1)?);
        self.has_not_begun(&new)?;
        let stream_times = self.is_processed(&old)?;
        admin::create_topics(self.config.bootstrap_servers, self.config.kafka, &self.topics)?;
        let mut copied = 0;
        for store in &self.stores {
            let count = copy::store(self, store, placement)?;
            verify::is_equal(self, store, placement, count)?;
            copied += count;
        }
        // Records of the meantime would be in neither application.
        self.is_processed(&old)?;
        self.begin(&new, &stream_times)?;
        Ok(copied)
    }

    fn member(&self, which: usize) -> Result<BaseConsumer> {
        let mut client = self.client.clone();
        client.set("group.id", self.config.groups[which]).create().map_err(errors::setting)
    }

    /// Checks that the new group has no offsets.
    fn has_not_begun(&self, member: &BaseConsumer) -> Result<()> {
        let mut asked = TopicPartitionList::new();
        for source in &self.sources {
            for partition in 0..self.config.partitions {
                asked.add_partition(&source.topics[1], partition);
            }
        }
        let known = member.committed_offsets(asked, TIMEOUT).map_err(errors::plain)?;
        let group = self.config.groups[1];
        match known.elements().iter().find(|one| one.offset() != Offset::Invalid) {
            None => Ok(()),
            Some(one) => Err(Error::Invalid(format!(
                "group {group} has an offset of {}/{}: it was migrated or has begun; choose another \
                 --to-prefix and --to-application-id",
                one.topic(),
                one.partition()
            ))),
        }
    }

    /// Checks that no member runs and that every source is processed. Returns the newest stream time of
    /// each source.
    fn is_processed(&self, member: &BaseConsumer) -> Result<Vec<Timestamp>> {
        let group = self.config.groups[0];
        let mut stream_times = Vec::with_capacity(self.sources.len());
        for Source { topics: [topic, _], partitions } in &self.sources {
            let mut asked = TopicPartitionList::new();
            for partition in 0..*partitions {
                asked.add_partition(topic, partition);
            }
            let known = member.committed_offsets(asked, TIMEOUT).map_err(errors::plain)?;
            let (mut left, mut newest) = (0, Timestamp::MIN);
            let mut again = TopicPartitionList::new();
            for one in known.elements() {
                let place = format!("{topic}/{}", one.partition());
                let ends = member.fetch_watermarks(topic, one.partition(), TIMEOUT);
                let (low, end) = ends.map_err(errors::plain)?;
                let Offset::Offset(next) = one.offset() else {
                    left += end - low;
                    continue;
                };
                left += end - next;
                newest = newest.max(offset_metadata::decode(one.metadata(), &place)?.stream_time);
                let mut same = again.add_partition(topic, one.partition());
                same.set_offset(one.offset()).map_err(errors::plain)?;
                same.set_metadata(one.metadata());
            }
            if left > 0 {
                return Err(Error::Invalid(format!(
                    "group {group} has not processed {left} records of {topic}: stop the producers, let \
                     the members reach the end, stop them, and repeat the command"
                )));
            }
            // The broker takes the same offsets again from nobody but an empty group.
            if again.count() > 0 {
                member.commit(&again, CommitMode::Sync).map_err(|error| {
                    Error::Invalid(format!(
                        "group {group} does not take its offsets of {topic} ({error}): stop its members, \
                         wait for the session timeout of those that were killed, and repeat the command"
                    ))
                })?;
            }
            stream_times.push(newest);
        }
        Ok(stream_times)
    }

    /// Commits the start of every new source.
    fn begin(&self, member: &BaseConsumer, stream_times: &[Timestamp]) -> Result<()> {
        let mut first = TopicPartitionList::new();
        for (source, stream_time) in self.sources.iter().zip(stream_times) {
            for partition in 0..self.config.partitions {
                let mut added = first.add_partition(&source.topics[1], partition);
                added.set_offset(Offset::Offset(0)).map_err(errors::plain)?;
                added.set_metadata(offset_metadata::encode(*stream_time, self.listed.as_deref()));
            }
        }
        member.commit(&first, CommitMode::Sync).map_err(errors::plain)
    }
}

impl fmt::Display for Migration<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [from, to] = self.config.groups;
        for source in &self.sources {
            let [old, _] = &source.topics;
            writeln!(
                f,
                "group {from}: has processed all of {old}, {} partitions",
                source.partitions
            )?;
        }
        for topic in &self.topics {
            writeln!(f, "topic {}: created, {} partitions", topic.name, topic.partitions)?;
        }
        for Moved { topics: [old, new], .. } in &self.stores {
            writeln!(f, "topic {new}: a copy of {old}, compared by key")?;
        }
        for source in &self.sources {
            writeln!(f, "group {to}: begins at the start of {}", source.topics[1])?;
        }
        Ok(())
    }
}
