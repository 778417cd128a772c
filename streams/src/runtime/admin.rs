//! Checks of the broker and its topics before a worker starts, and creation of topics.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;
use rdkafka::types::RDKafkaRespErr;

use super::config::{AppConfig, StoreConfig, settings_are_named};
use super::connection_refusal::ConnectionRefusal;
use super::queries::Queries;
use super::state_dir::StateDir;
use super::{clock, errors, librdkafka};
use crate::error::{Error, Result};
use crate::record::TaskId;
use crate::topology::{StoreSpec, SubTopology, Topology};

/// A broker that has not answered in this time is unreachable.
pub(super) const TIMEOUT: Duration = Duration::from_secs(15);
/// Between two looks at why it has not.
const LOOK: Duration = Duration::from_millis(500);

/// A client for requests that remembers why the brokers refuse it.
pub(super) type Asking = BaseConsumer<ConnectionRefusal>;

/// All topics that the user may see. A refusal is an error at once. It ends the process at its start;
/// later the worker tries again, for passwords and certificates may be renewed one by one.
pub(super) fn metadata(client: &Asking, bootstrap_servers: &str) -> Result<Metadata> {
    let started = clock::instant();
    loop {
        let error = match client.fetch_metadata(None, LOOK) {
            Ok(metadata) => return Ok(metadata),
            Err(error) => error,
        };
        // A poll hands over the errors of the connections.
        while client.poll(Duration::ZERO).is_some() {}
        let refusal = client.context().take();
        if let Some(reason) = refusal {
            let refused = format!("Kafka at {bootstrap_servers} refuses this client: {reason}");
            return Err(Error::Unavailable(refused));
        }
        if started.elapsed() >= TIMEOUT {
            return Err(Error::Unavailable(format!(
                "Kafka at {bootstrap_servers} does not answer: {error}; start it or set \
                 --bootstrap-servers"
            )));
        }
    }
}

/// Checks that Kafka answers this client, which it refuses in one line.
pub(super) fn check_access(bootstrap_servers: &str, kafka: &[(String, String)]) -> Result<()> {
    metadata(&asking(&settings(bootstrap_servers, kafka))?, bootstrap_servers).map(|_| ())
}

/// Checks that every topic of an application is there, those of a sub-topology with as many partitions
/// as its source. Returns how many, by sub-topology.
pub(super) fn check_app(config: &AppConfig, topology: &Topology) -> Result<Vec<i32>> {
    let (dead_letters, config) = (&config.dead_letters_topic, config.stores());
    let known = KnownTopics::ask(&config)?;
    let sources = topology.sub_topologies().iter().map(|shape| {
        let stores = shape.stores().iter().map(|store| store.topic.as_str());
        known.same(shape.source(), stores.chain(shape.sinks().iter().map(String::as_str)))
    });
    let partitions = sources.collect::<Result<Vec<i32>>>()?;
    let (found, wanted) = (known.partitions(dead_letters)?, partitions.iter().max());
    match wanted {
        // A dead letter goes to the partition that its record came from.
        Some(wanted) if found < *wanted => Err(Error::Invalid(format!(
            "topic {dead_letters} has {found} partitions, but a source has {wanted}: it must have as \
             many; recreate {dead_letters}: processor topics create"
        ))),
        _ => Ok(partitions),
    }
}

/// Checks that the topics of all stores are there, those of a sub-topology with as many partitions
/// each. Returns how many, by sub-topology: 0 for one without stores.
pub(super) fn check_stores(config: &StoreConfig, topology: &Topology) -> Result<Vec<i32>> {
    if topology.stores().next().is_none() {
        return Err(Error::Invalid(
            "a view needs a topology with at least one store: add one".into(),
        ));
    }
    let known = KnownTopics::ask(config)?;
    let partitions = topology.sub_topologies().iter().map(|shape| match shape.stores() {
        [] => Ok(0),
        [first, others @ ..] => {
            known.same(&first.topic, others.iter().map(|one| one.topic.as_str()))
        }
    });
    partitions.collect()
}

/// The tasks of a topology whose sub-topologies have so many partitions.
pub(super) fn tasks(partitions: &[i32]) -> Vec<TaskId> {
    let of = |(index, count): (usize, &i32)| (0..*count).map(move |one| TaskId::new(index, one));
    partitions.iter().enumerate().flat_map(of).collect()
}

/// Checks that the stores' topics are those that the state was made of: a position in a topic that
/// was deleted means nothing in another that bears its name.
pub(super) fn check_identity(
    config: &StoreConfig,
    topology: &Topology,
    state_dir: &StateDir,
    queries: &Queries,
) -> Result<()> {
    let names: Vec<&str> = topology.stores().map(|store| store.topic.as_str()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let client = client(config)?;
    let metadata = client.fetch_metadata(Some(names[0]), TIMEOUT).map_err(errors::plain)?;
    let controller = librdkafka::controller(client.client(), TIMEOUT).ok_or_else(|| {
        Error::Unavailable("the cluster has no controller: check the brokers".into())
    })?;
    if metadata.brokers().iter().all(|broker| broker.id() != controller) {
        // librdkafka would wait for it. A position beyond the end of a topic is found all the same.
        tracing::warn!(
            controller,
            "the controller is no broker: the ids of topics are not checked"
        );
        return Ok(());
    }
    let ids = librdkafka::topic_ids(client.client(), &names, TIMEOUT)?;
    let stores: Vec<(&StoreSpec, String)> = topology.stores().zip(ids).collect();
    state_dir.check_topics(&stores)?;
    queries.set_topics(stores.into_iter().map(|(store, id)| (store.name.clone(), id)));
    Ok(())
}

pub(super) fn settings(bootstrap_servers: &str, kafka: &[(String, String)]) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", bootstrap_servers);
    for (name, value) in kafka {
        client.set(name, value);
    }
    client
}

pub(super) fn asking(settings: &ClientConfig) -> Result<Asking> {
    settings.create_with_context(ConnectionRefusal::default()).map_err(errors::setting)
}

fn client(config: &StoreConfig) -> Result<Asking> {
    asking(&settings(&config.bootstrap_servers, &config.kafka))
}

/// Why a topic is not among those that the user may see.
fn absent(client: &Asking, topic: &str) -> Error {
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    // A consumer's question creates no topic.
    let asked = client.fetch_metadata(Some(topic), TIMEOUT);
    if asked.is_ok_and(|answer| answer.topics().iter().any(|found| found.error() == Some(denied))) {
        return Error::Invalid(format!("topic {topic}: {}", errors::TOPIC_DENIED));
    }
    let group =
        if topic.ends_with("-repartition") { " --application-id, with the group" } else { "" };
    Error::Invalid(format!("topic {topic} does not exist: processor topics create{group}"))
}

/// The topics that the user may see.
struct KnownTopics {
    client: Asking,
    metadata: Metadata,
}

impl KnownTopics {
    fn ask(config: &StoreConfig) -> Result<Self> {
        let client = client(config)?;
        let metadata = metadata(&client, &config.bootstrap_servers)?;
        Ok(Self { client, metadata })
    }

    fn partitions(&self, topic: &str) -> Result<i32> {
        let found = self.metadata.topics().iter().find(|found| found.name() == topic);
        let count = found.map(|found| i32::try_from(found.partitions().len()).unwrap_or(0));
        count.ok_or_else(|| absent(&self.client, topic))
    }

    /// Checks that the others have as many partitions as the first, and returns how many.
    fn same<'a>(&self, first: &str, others: impl Iterator<Item = &'a str>) -> Result<i32> {
        let expected = self.partitions(first)?;
        for topic in others {
            let found = self.partitions(topic)?;
            if found != expected {
                return Err(Error::Invalid(format!(
                    "topic {topic} has {found} partitions, but {first} has {expected}: they must be \
                     the same; recreate {topic}: processor topics create"
                )));
            }
        }
        Ok(expected)
    }
}

/// Between two looks for topics that were just created or deleted.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A topic that should exist.
#[derive(Clone, Debug)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// How many copies of each; -1 is the broker's default.
    pub replication: i32,
    /// The broker's settings for it.
    pub settings: Vec<(&'static str, String)>,
}

impl TopicSpec {
    /// A repartition topic. Its records stay until the next sub-topology has committed them, when the
    /// application deletes them, and have the times of their events.
    pub fn repartition(shape: &SubTopology, partitions: i32, replication: i32) -> Self {
        let settings = [
            ("cleanup.policy", "delete".into()),
            ("retention.ms", "-1".into()),
            ("message.timestamp.type", "CreateTime".into()),
            ("message.timestamp.before.max.ms", i64::MAX.to_string()),
            ("message.timestamp.after.max.ms", i64::MAX.to_string()),
        ];
        Self { name: shape.source().into(), partitions, replication, settings: settings.into() }
    }
}

/// Creates what is missing and checks the partitions of what is there. Returns the names of those
/// that were created, once the broker shows them to a client: it learns of them after it has agreed
/// to create them.
pub fn create_topics(
    bootstrap_servers: &str,
    kafka: &[(String, String)],
    topics: &[TopicSpec],
) -> Result<Vec<String>> {
    settings_are_named(kafka)?;
    let client = settings(bootstrap_servers, kafka);
    let probe = asking(&client)?;
    let metadata = metadata(&probe, bootstrap_servers)?;
    let mut missing = Vec::new();
    for topic in topics {
        let known = metadata.topics().iter().find(|known| known.name() == topic.name);
        let count = known.map(|known| i32::try_from(known.partitions().len()).unwrap_or(0));
        match count {
            None => missing.push(topic),
            Some(count) if count == topic.partitions => {}
            Some(count) => {
                return Err(Error::Invalid(format!(
                    "topic {} exists with {count} partitions, not {}: keys would move; set \
                     --partitions {count}, or use another --topic-prefix",
                    topic.name, topic.partitions
                )));
            }
        }
    }
    let created = create(&client, &missing)?;
    let started = clock::instant();
    while !are_known(&probe, &missing)? {
        if started.elapsed() > TIMEOUT {
            return Err(Error::Unavailable(format!(
                "topics {created:?} were created, but the broker does not list them after {TIMEOUT:?}: \
                 repeat the command"
            )));
        }
        clock::wait(LOOK_AGAIN);
    }
    Ok(created)
}

fn are_known(probe: &Asking, topics: &[&TopicSpec]) -> Result<bool> {
    if topics.is_empty() {
        return Ok(true);
    }
    let metadata = probe.fetch_metadata(None, TIMEOUT).map_err(errors::plain)?;
    Ok(topics.iter().all(|topic| {
        let known = metadata.topics().iter().find(|known| known.name() == topic.name);
        known.is_some_and(|known| !known.partitions().is_empty())
    }))
}

fn create(client: &ClientConfig, missing: &[&TopicSpec]) -> Result<Vec<String>> {
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let admin: AdminClient<DefaultClientContext> = client.create().map_err(errors::setting)?;
    let new: Vec<_> = missing
        .iter()
        .map(|topic| {
            let replication = TopicReplication::Fixed(topic.replication);
            let new = NewTopic::new(&topic.name, topic.partitions, replication);
            topic.settings.iter().fold(new, |new, (name, value)| new.set(name, value))
        })
        .collect();
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
    let results = block_on(admin.create_topics(&new, &options)).map_err(errors::plain)?;
    let mut created = Vec::new();
    for result in results {
        match result {
            Ok(name) => created.push(name),
            // Another process was faster.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                let way_out = errors::way_out(code).unwrap_or("see the broker's log");
                return Err(Error::Invalid(format!(
                    "topic {name} cannot be created: {code}; {way_out}"
                )));
            }
        }
    }
    Ok(created)
}

/// Waits for one future: the admin client answers from a thread of its own, and a whole async
/// runtime for one call would be out of proportion.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
