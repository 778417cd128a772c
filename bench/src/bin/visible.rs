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
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use bench::read::{Isolation, consumer, ends};
use bench::visible::{Watch, report};
use clap::Parser;
use rdkafka::message::Message as _;
use schemas::OptionState;
use schemas::topic::Topic;

#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    watch: Watch,
}

fn main() -> Result<()> {
    let Options { watch } = Options::parse();
    let codec = watch.registry.client()?.codec(&watch.topic_prefix)?;
    let topic = Topic::Options.name(&watch.topic_prefix);
    let consumer = consumer(&watch.bootstrap_servers, Isolation::Committed, &[])?;
    ends(&consumer, &[&topic])?;
    // Of each record that becomes visible, in milliseconds.
    let mut latencies = Vec::new();
    watch.each(&consumer, |message| {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        // A tombstone is of an option that has ended.
        if let Some(value) = message.payload() {
            latencies.push(now - codec.decode::<OptionState>(value)?.received_at.0);
        }
        Ok(())
    })?;
    writeln!(std::io::stdout(), "{}", report(latencies)?)?;
    Ok(())
}
