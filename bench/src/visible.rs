//! What becomes visible in topics while a program watches, and how late.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cli::kafka::SchemaRegistry;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use serde_json::json;

/// The longest wait for a record before the time is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// The flags of a program that watches.
#[derive(Debug, clap::Args)]
pub struct Watch {
    /// The broker.
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS", default_value = "127.0.0.1:9092")]
    pub bootstrap_servers: String,
    /// The registry.
    #[command(flatten)]
    pub registry: SchemaRegistry,
    /// The prefix of the topics.
    #[arg(long)]
    pub topic_prefix: String,
    /// How long to read.
    #[arg(long)]
    pub seconds: u64,
}

impl Watch {
    /// Gives each record that comes within the time.
    pub fn each(
        &self,
        consumer: &BaseConsumer,
        mut take: impl FnMut(&BorrowedMessage<'_>) -> Result<()>,
    ) -> Result<()> {
        let (started, whole) = (Instant::now(), Duration::from_secs(self.seconds));
        while started.elapsed() < whole {
            match consumer.poll(LOOK) {
                None | Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(message) => take(&message.context("reading topics")?)?,
            }
        }
        Ok(())
    }
}

/// Latencies in milliseconds: their number, median, 99th percentile and maximum.
pub fn report(mut latencies: Vec<i64>) -> Result<serde_json::Value> {
    ensure!(!latencies.is_empty(), "no record became visible");
    latencies.sort_unstable();
    let at = |share: usize| latencies[(latencies.len() - 1) * share / 100];
    Ok(json!({"samples": latencies.len(), "p50_ms": at(50), "p99_ms": at(99), "max_ms": at(100)}))
}
