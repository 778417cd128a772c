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
use crate::topology::Topology;

/// A broker that has not answered in this time is unreachable.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Between two looks at why it has not.
const LOOK: Duration = Duration::from_millis(500);

/// A client for requests that remembers why the brokers refuse it.
type Asking = BaseConsumer<ConnectionRefusal>;

/// All topics that the user may see. A refusal is an error at once. It ends the process at its start;
/// later the worker tries again, for passwords and certificates may be renewed one by one.
fn metadata(client: &Asking, bootstrap_servers: &str) -> Result<Metadata> {
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

/// Checks that every topic of an application is there, with as many partitions as the source, and
/// returns how many.
pub(super) fn check_app(config: &AppConfig, topology: &Topology) -> Result<i32> {
    let [source] = topology.sources() else {
        return Err(Error::Invalid(
            "a topology has not exactly one source topic, and the runtime runs no other: split it"
                .into(),
        ));
    };
    let stores = topology.stores().iter().map(|store| &store.topic);
    let others = stores.chain(topology.sinks()).chain([&config.dead_letters_topic]);
    let config = config.stores();
    check_partitions(&client(&config)?, &config, source, others)
}

/// Checks that the topics of all stores are there, with as many partitions as the first, and
/// returns how many.
pub(super) fn check_stores(config: &StoreConfig, topology: &Topology) -> Result<i32> {
    let Some((first, others)) = topology.stores().split_first() else {
        return Err(Error::Invalid(
            "a view needs a topology with at least one store: add one".into(),
        ));
    };
    let others = others.iter().map(|store| &store.topic);
    check_partitions(&client(config)?, config, &first.topic, others)
}

/// Checks that the stores' topics are those that the state was made of: a position in a topic that
/// was deleted means nothing in another that bears its name.
pub(super) fn check_identity(
    config: &StoreConfig,
    topology: &Topology,
    state_dir: &StateDir,
    queries: &Queries,
) -> Result<()> {
    let names: Vec<&str> = topology.stores().iter().map(|store| store.topic.as_str()).collect();
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
    let ids: Vec<_> = names.into_iter().zip(ids).collect();
    state_dir.check_topics(&ids)?;
    let stores = topology.stores().iter().map(|store| store.name.clone());
    queries.set_topics(stores.zip(ids.into_iter().map(|(_, id)| id)));
    Ok(())
}

fn settings(bootstrap_servers: &str, kafka: &[(String, String)]) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", bootstrap_servers);
    for (name, value) in kafka {
        client.set(name, value);
    }
    client
}

fn asking(settings: &ClientConfig) -> Result<Asking> {
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
    Error::Invalid(format!("topic {topic} does not exist: processor topics create"))
}

fn check_partitions<'a>(
    client: &Asking,
    config: &StoreConfig,
    first: &str,
    others: impl Iterator<Item = &'a String>,
) -> Result<i32> {
    let metadata = metadata(client, &config.bootstrap_servers)?;
    let partitions = |topic: &str| {
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let count = found.map(|found| i32::try_from(found.partitions().len()).unwrap_or(0));
        count.ok_or_else(|| absent(client, topic))
    };
    let expected = partitions(first)?;
    for topic in others {
        let found = partitions(topic)?;
        if found != expected {
            return Err(Error::Invalid(format!(
                "topic {topic} has {found} partitions, but {first} has {expected}: they must be \
                 the same; recreate {topic}: processor topics create"
            )));
        }
    }
    Ok(expected)
}

/// Between two looks for topics that were just created.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A topic that should exist.
#[derive(Clone, Debug)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// How many copies of each.
    pub replication: i32,
    /// The broker's settings for it.
    pub settings: Vec<(&'static str, String)>,
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
fn block_on<F: Future>(future: F) -> F::Output {
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
