//! The connection to Kafka and to the schema registry, shared by the commands that publish.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use schemas::registry::RegistryError;
use schemas::{Codec, Kind};

use crate::config::KafkaConfig;
use crate::metrics::Metrics;
use crate::sink::Sink;
use crate::sink::config::SinkConfig;
use crate::sink::start::Start;

/// A broker that does not accept a connection within this time is away.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// Registers the schemas and connects to Kafka. While Kafka is away, the schema ids that an earlier
/// start left beside the spool are used. Blocks, and must not be called on a runtime.
pub(super) fn connect(
    config: &KafkaConfig,
    sink: &SinkConfig,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Sink> {
    let dir = config.spool_dir.as_deref();
    let remembered = dir.and_then(|dir| Start::read(dir, &config.cluster.topic_prefix));
    let codec = codec(config, remembered.as_ref())?;
    Ok(Sink::connect(sink, codec, Arc::clone(metrics))?)
}

/// The codec of the registered ids; of the remembered ones while the registry cannot be asked.
fn codec(config: &KafkaConfig, remembered: Option<&Start>) -> anyhow::Result<Codec> {
    // The registry keeps its schemas in Kafka: without Kafka its requests hang.
    if let Some(start) = remembered
        && !answers(&config.cluster.bootstrap_servers)
    {
        tracing::warn!("kafka is away: the schemas of the last start are taken as registered");
        return Ok(start.codec());
    }
    let registered = config.registry.client()?.codec(&config.cluster.topic_prefix);
    match (registered, remembered) {
        // A producer decodes no record, so it looks up no schema.
        (Ok(codec), _) => {
            Ok(Codec::new(Kind::ALL.map(|kind| codec.id(kind)), Box::new(|_| Ok(None))))
        }
        // Another program's schema is the one reason that waiting does not heal.
        (Err(error), Some(start)) if !matches!(error, RegistryError::Incompatible { .. }) => {
            tracing::warn!(%error, "the schemas of the last start are taken as registered");
            Ok(start.codec())
        }
        (Err(error), _) => Err(error.into()),
    }
}

/// One of the brokers takes a connection.
fn answers(bootstrap_servers: &str) -> bool {
    let addresses = bootstrap_servers.split(',').filter_map(|one| one.to_socket_addrs().ok());
    addresses.flatten().any(|one| TcpStream::connect_timeout(&one, CONNECT_WITHIN).is_ok())
}
