//! Computes a sub-topology anew: removes its committed offsets and everything that it has written.
//!
//! The offsets go first. A reset that dies before the topics are empty leaves a group that refuses to start
//! (state without offsets), so no member counts its source a second time.
//!
//! Sub-topologies behind its repartition topics have its records, so they are reset as well. Local stores of
//! topics that were deleted are refused at the next start: the topics have other ids.

use std::collections::BTreeSet;
use std::fmt;

use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::topic_partition_list::Offset;

use super::admin::{self, LOOK_AGAIN, TIMEOUT, TopicSpec, block_on};
use super::config::settings_are_named;
use super::{clock, errors};
use crate::error::{Error, Result};
use crate::record::SubTopologyId;
use crate::topology::Topology;

/// The application whose sub-topology is reset.
pub struct ResetConfig<'a> {
    /// `host:port`, separated by commas.
    pub bootstrap_servers: &'a str,
    /// Raw client settings.
    pub kafka: &'a [(String, String)],
    /// The consumer group.
    pub application_id: &'a str,
}

/// The steps of a reset. Printed, each is a line.
pub struct Reset<'a> {
    config: ResetConfig<'a>,
    /// Sources whose offsets go, and those whose offsets stay.
    sources: Vec<String>,
    kept: Vec<String>,
    topics: Vec<TopicSpec>,
}

impl<'a> Reset<'a> {
    /// Plans the reset of a sub-topology and of those behind it. `settings` are those of an output topic.
    ///
    /// # Errors
    /// [`Error::Invalid`] names a topic that does not exist.
    pub fn plan(
        config: ResetConfig<'a>,
        topology: &Topology,
        of: SubTopologyId,
        settings: impl Fn(&str) -> Vec<(&'static str, String)>,
    ) -> Result<Self> {
        settings_are_named(config.kafka)?;
        let topology = topology.of_application(config.application_id);
        let chosen = behind(&topology, of);
        let client = admin::settings(config.bootstrap_servers, config.kafka);
        let known = admin::metadata(&admin::asking(&client)?, config.bootstrap_servers)?;
        let (mut sources, mut kept, mut topics) = (Vec::new(), Vec::new(), Vec::new());
        for (index, shape) in topology.sub_topologies().iter().enumerate() {
            if shape.is_table() {
                continue;
            }
            if !chosen.contains(&index) {
                kept.push(shape.source().to_owned());
                continue;
            }
            sources.push(shape.source().to_owned());
            if shape.is_repartition() {
                let [partitions, replication] = shape_of(&known, shape.source())?;
                topics.push(TopicSpec::repartition(shape, partitions, replication));
            }
            let stores = shape.stores().iter().map(|store| store.topic.as_str());
            for name in stores.chain(shape.sinks().iter().map(String::as_str)) {
                let [partitions, replication] = shape_of(&known, name)?;
                let settings = settings(name);
                topics.push(TopicSpec { name: name.into(), partitions, replication, settings });
            }
        }
        Ok(Self { config, sources, kept, topics })
    }

    /// Does it. Repeated after a failure it does the rest.
    ///
    /// # Errors
    /// [`Error::Invalid`] while the group has members.
    pub fn run(&self) -> Result<()> {
        let ResetConfig { bootstrap_servers, kafka, application_id } = self.config;
        let client = admin::settings(bootstrap_servers, kafka);
        let admin: AdminClient<DefaultClientContext> = client.create().map_err(errors::setting)?;
        let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
        let mut member = client.clone();
        let member: BaseConsumer =
            member.set("group.id", application_id).create().map_err(errors::setting)?;
        let kept = self.kept_offsets(&member)?;

        let deleted = block_on(admin.delete_groups(&[application_id], &options));
        for result in deleted.map_err(errors::plain)? {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::GroupIdNotFound)) => {}
                Err((group, RDKafkaErrorCode::NonEmptyGroup)) => {
                    return Err(Error::Invalid(format!(
                        "group {group} has members: stop them, wait for the session timeout of those that \
                         were killed, and repeat the command"
                    )));
                }
                Err((group, code)) => return Err(refused(&format!("group {group}"), code)),
            }
        }
        if kept.count() > 0 {
            member.commit(&kept, CommitMode::Sync).map_err(errors::plain)?;
        }

        let names: Vec<&str> = self.topics.iter().map(|topic| topic.name.as_str()).collect();
        let deleted = block_on(admin.delete_topics(&names, &options)).map_err(errors::plain)?;
        for result in deleted {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
                Err((topic, code)) => return Err(refused(&format!("topic {topic}"), code)),
            }
        }
        self.wait_until_gone(&member)?;
        admin::create_topics(bootstrap_servers, kafka, &self.topics).map(|_| ())
    }

    /// The committed offsets of the other sources, with their metadata.
    fn kept_offsets(&self, member: &BaseConsumer) -> Result<TopicPartitionList> {
        let mut asked = TopicPartitionList::new();
        for source in &self.kept {
            let known = member.fetch_metadata(Some(source), TIMEOUT).map_err(errors::plain)?;
            let partitions = known.topics().iter().flat_map(MetadataTopic::partitions);
            for partition in partitions {
                asked.add_partition(source, partition.id());
            }
        }
        if asked.count() == 0 {
            return Ok(asked);
        }
        let known = member.committed_offsets(asked, TIMEOUT).map_err(errors::plain)?;
        let mut kept = TopicPartitionList::new();
        for one in known.elements().iter().filter(|one| one.offset() != Offset::Invalid) {
            let mut added = kept.add_partition(one.topic(), one.partition());
            added.set_offset(one.offset()).map_err(errors::plain)?;
            added.set_metadata(one.metadata());
        }
        Ok(kept)
    }

    /// The broker deletes topics after it has agreed to.
    fn wait_until_gone(&self, member: &BaseConsumer) -> Result<()> {
        let started = clock::instant();
        loop {
            let known = member.fetch_metadata(None, TIMEOUT).map_err(errors::plain)?;
            let is_ours = |name: &str| self.topics.iter().any(|topic| topic.name == name);
            if known.topics().iter().all(|topic| !is_ours(topic.name())) {
                return Ok(());
            }
            if started.elapsed() > TIMEOUT {
                return Err(Error::Unavailable(format!(
                    "the broker still lists topics that were deleted {TIMEOUT:?} ago: repeat the command"
                )));
            }
            clock::wait(LOOK_AGAIN);
        }
    }
}

impl fmt::Display for Reset<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = self.config.application_id;
        for source in &self.sources {
            writeln!(f, "group {group}: the offsets of {source} are deleted")?;
        }
        for topic in &self.topics {
            writeln!(
                f,
                "topic {}: deleted and created, {} partitions",
                topic.name, topic.partitions
            )?;
        }
        Ok(())
    }
}

fn refused(what: &str, code: RDKafkaErrorCode) -> Error {
    let way_out = errors::way_out(code).unwrap_or("see the broker's log, and repeat the command");
    Error::Invalid(format!("{what} cannot be deleted: {code}; {way_out}"))
}

/// A sub-topology and all that read what it writes.
fn behind(topology: &Topology, of: SubTopologyId) -> BTreeSet<usize> {
    let (mut found, mut next) = (BTreeSet::new(), vec![of]);
    while let Some(one) = next.pop() {
        if found.insert(one.0) {
            next.extend(topology.sub_topology(one).repartitions());
        }
    }
    found
}

/// Partitions and copies of a topic.
pub(super) fn shape_of(known: &Metadata, topic: &str) -> Result<[i32; 2]> {
    let found = known.topics().iter().find(|found| found.name() == topic);
    let first = found.and_then(|found| Some((found, found.partitions().first()?)));
    let (found, first) = first.ok_or_else(|| {
        Error::Invalid(format!("topic {topic} does not exist: processor topics create"))
    })?;
    let counts = [found.partitions().len(), first.replicas().len()];
    Ok(counts.map(|count| i32::try_from(count).unwrap_or(i32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, SinkRecord};

    #[test]
    fn what_is_behind_a_sub_topology_goes_with_it() -> Result<()> {
        let topology = Topology::new(|builder: &mut Builder| {
            let key = |key: &Vec<u8>| SinkRecord { key: key.clone(), value: None };
            let lines = builder.source("lines", |record| Ok(record.key.to_vec()));
            let words = lines.repartition(builder, "words", key, |record| Ok(record.key.to_vec()));
            words.repartition(builder, "letters", key, |record| Ok(record.key.to_vec()));
            builder.source("others", |record| Ok(record.key.to_vec()));
        })?;
        let of = |index| behind(&topology, SubTopologyId(index)).into_iter().collect::<Vec<_>>();
        assert_eq!([of(0), of(1), of(2), of(3)], [vec![0, 1, 2], vec![1, 2], vec![2], vec![3]]);
        Ok(())
    }
}
