//! `bench-visible`: how long a ticker takes from the producer's socket to `options`, visible under
//! `read_committed`.
//!
//! ```text
//! socket ─► producer ─► option_tickers ─► processor ─► options ─► this program
//!   └── received_at                                                └── the clock of this machine
//! ```
//!
//! It reads `options` from its end and compares each value's `received_at` with the time at which it is
//! read. All programs have to run on one machine, because two clocks would be compared otherwise. A
//! ticker that another one of its option overtook within a commit is not seen.

use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use bench::read::{Isolation, consumer, ends};
use clap::Parser;
use cli::kafka::SchemaRegistry;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use schemas::topic::Topic;
use schemas::{Codec, OptionState};
use serde_json::json;

/// The longest wait for a record before the time is looked at.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, Parser)]
struct Options {
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS", default_value = "127.0.0.1:9092")]
    bootstrap_servers: String,
    #[command(flatten)]
    registry: SchemaRegistry,
    /// The prefix of `options`.
    #[arg(long)]
    topic_prefix: String,
    /// How long to read.
    #[arg(long)]
    seconds: u64,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let codec = options.registry.client()?.codec(&options.topic_prefix)?;
    let topic = Topic::Options.name(&options.topic_prefix);
    let consumer = consumer(&options.bootstrap_servers, Isolation::Committed, &[])?;
    ends(&consumer, &[&topic])?;
    let latencies = read(&consumer, &codec, Duration::from_secs(options.seconds))?;
    writeln!(std::io::stdout(), "{}", report(latencies)?)?;
    Ok(())
}

/// The latency of each record that becomes visible within a time, in milliseconds.
fn read(consumer: &BaseConsumer, codec: &Codec, whole: Duration) -> Result<Vec<i64>> {
    let (started, mut latencies) = (Instant::now(), Vec::new());
    while started.elapsed() < whole {
        let message = match consumer.poll(LOOK) {
            None | Some(Err(KafkaError::PartitionEOF(_))) => continue,
            Some(message) => message.context("reading options")?,
        };
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        // A tombstone is of an option that has ended.
        let Some(value) = message.payload() else { continue };
        let state: OptionState = codec.decode(value)?;
        latencies.push(now - state.received_at.0);
    }
    Ok(latencies)
}

fn report(mut latencies: Vec<i64>) -> Result<serde_json::Value> {
    ensure!(!latencies.is_empty(), "no record of options became visible");
    latencies.sort_unstable();
    let at = |share: usize| latencies[(latencies.len() - 1) * share / 100];
    Ok(json!({
        "samples": latencies.len(), "p50_ms": at(50), "p99_ms": at(99), "max_ms": at(100),
    }))
}
