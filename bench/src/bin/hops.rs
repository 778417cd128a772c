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
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use bench::read::{Isolation, consumer, ends};
use bench::visible::{Watch, report};
use clap::Parser;
use rdkafka::message::{BorrowedMessage, Message as _};
use schemas::topic::Topic;
use schemas::{Codec, Kind, PoolMinute, PoolMinuteKey, Swap, SwapStatusKey};
use serde_json::json;

#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    watch: Watch,
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
    let Options { watch } = Options::parse();
    let codec = watch.registry.client()?.codec(&watch.topic_prefix)?;
    let name = |topic: Topic| topic.name(&watch.topic_prefix);
    let topics = Topics {
        swaps: name(Topic::Swaps),
        minutes: name(Topic::PoolMinutes),
        statuses: name(Topic::SwapStatus),
    };
    let consumer = consumer(&watch.bootstrap_servers, Isolation::Committed, &[])?;
    ends(&consumer, &[&topics.swaps, &topics.minutes, &topics.statuses])?;
    let mut seen = Seen::default();
    watch.each(&consumer, |message| seen.take(&codec, &topics, message))?;
    let [one, two] = seen.latencies();
    let report = json!({"one_hop": report(one)?, "two_hops": report(two)?});
    writeln!(std::io::stdout(), "{report}")?;
    Ok(())
}
