//! `bench-hops`: how long a swap takes from the producer's socket through one commit, and through two.
//!
//! ```text
//! socket ─► producer ─► swaps ─► processor ─┬─► pool_1m                                    one hop
//!   └── received_at                         └─► repartition ─► processor ─► swap_status    two hops
//! ```
//!
//! It reads the three topics from their ends under `read_committed`. A swap is the newest of its minute
//! when `pool_1m` names its block and log, and is done after two hops with its first row of
//! `swap_status`. Only swaps that both show are compared, so the two are of the same swaps. All programs
//! have to run on one machine, because two clocks would be compared otherwise.

use std::collections::HashMap;
use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use bench::read::{Isolation, consumer, ends};
use clap::Parser;
use cli::kafka::SchemaRegistry;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use schemas::topic::Topic;
use schemas::{Codec, Kind, PoolMinute, PoolMinuteKey, Swap, SwapStatusKey};
use serde_json::json;

/// The longest wait for a record before the time is looked at.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, Parser)]
struct Options {
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS", default_value = "127.0.0.1:9092")]
    bootstrap_servers: String,
    #[command(flatten)]
    registry: SchemaRegistry,
    /// The prefix of the topics.
    #[arg(long)]
    topic_prefix: String,
    /// How long to read.
    #[arg(long)]
    seconds: u64,
}

/// A swap of `swaps`, and when it was received.
struct Received {
    tx_hash: String,
    at_ms: i64,
}

/// What was seen, each at its first time in milliseconds.
#[derive(Default)]
struct Seen {
    /// By pool, block and log index.
    received: HashMap<(String, i64, i64), Received>,
    /// The newest swap of a minute, by the same.
    minutes: HashMap<(String, i64, i64), i64>,
    /// By transaction and log index.
    statuses: HashMap<(String, i64), i64>,
}

impl Seen {
    fn take(
        &mut self,
        codec: &Codec,
        topics: &Topics,
        message: &BorrowedMessage<'_>,
    ) -> Result<()> {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        // A tombstone is of a minute or status that is gone.
        let (Some(key), Some(value)) = (message.key(), message.payload()) else { return Ok(()) };
        if message.topic() == topics.swaps {
            if codec.kind(value)? == Some(Kind::Swap) {
                let swap: Swap = codec.decode(value)?;
                self.swap(codec.decode::<schemas::PoolKey>(key)?.pool, swap);
            }
        } else if message.topic() == topics.minutes {
            let minute: PoolMinute = codec.decode(value)?;
            let pool = codec.decode::<PoolMinuteKey>(key)?.pool;
            let newest = (pool, minute.close_block, minute.close_log_index);
            self.minutes.entry(newest).or_insert(now);
        } else {
            let key: SwapStatusKey = codec.decode(key)?;
            self.statuses.entry((key.tx_hash, key.log_index)).or_insert(now);
        }
        Ok(())
    }

    fn swap(&mut self, pool: String, swap: Swap) {
        if let (Some(block), Some(log_index)) = (swap.block_number, swap.log_index) {
            let received = Received { tx_hash: swap.tx_hash, at_ms: swap.received_at.0 };
            self.received.entry((pool, block, log_index)).or_insert(received);
        }
    }

    /// The latencies of one hop and of two, of the swaps that have both.
    fn latencies(&self) -> [Vec<i64>; 2] {
        let (mut one, mut two) = (Vec::new(), Vec::new());
        for (key, swap) in &self.received {
            let minute = self.minutes.get(key);
            let status = self.statuses.get(&(swap.tx_hash.clone(), key.2));
            if let (Some(minute), Some(status)) = (minute, status) {
                one.push(minute - swap.at_ms);
                two.push(status - swap.at_ms);
            }
        }
        [one, two]
    }
}

/// The names of the topics.
struct Topics {
    swaps: String,
    minutes: String,
    statuses: String,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let codec = options.registry.client()?.codec(&options.topic_prefix)?;
    let name = |topic: Topic| topic.name(&options.topic_prefix);
    let topics = Topics {
        swaps: name(Topic::Swaps),
        minutes: name(Topic::PoolMinutes),
        statuses: name(Topic::SwapStatus),
    };
    let consumer = consumer(&options.bootstrap_servers, Isolation::Committed, &[])?;
    ends(&consumer, &[&topics.swaps, &topics.minutes, &topics.statuses])?;
    let seen = read(&consumer, &codec, &topics, Duration::from_secs(options.seconds))?;
    let [one, two] = seen.latencies();
    let report = json!({"one_hop": report(one)?, "two_hops": report(two)?});
    writeln!(std::io::stdout(), "{report}")?;
    Ok(())
}

fn read(consumer: &BaseConsumer, codec: &Codec, topics: &Topics, whole: Duration) -> Result<Seen> {
    let (started, mut seen) = (Instant::now(), Seen::default());
    while started.elapsed() < whole {
        match consumer.poll(LOOK) {
            None | Some(Err(KafkaError::PartitionEOF(_))) => {}
            Some(message) => seen.take(codec, topics, &message.context("reading swaps")?)?,
        }
    }
    Ok(seen)
}

fn report(mut latencies: Vec<i64>) -> Result<serde_json::Value> {
    ensure!(!latencies.is_empty(), "no swap was seen in pool_1m and swap_status");
    latencies.sort_unstable();
    let at = |share: usize| latencies[(latencies.len() - 1) * share / 100];
    Ok(json!({"samples": latencies.len(), "p50_ms": at(50), "p99_ms": at(99), "max_ms": at(100)}))
}
