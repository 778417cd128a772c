//! The flags of `processor pairs`.

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use schemas::{PairKey, Timestamp};

use super::query::pair;
use super::{Kafka, SchemaRegistry, Server, topic_prefix};

/// `processor pairs`.
#[derive(Debug, Subcommand)]
pub enum Pairs {
    /// Set back pairs whose clock, or whose exchange's clock, ran ahead. Prices, candles, quotes and
    /// spreads after a time are deleted, and new ones are accepted again.
    Reset(Box<ChangePairs>),
    /// End pairs: they leave `latest` and `top_of_book` a week later, unless they are traded or quoted
    /// again.
    End(Box<ChangePairs>),
}

/// `processor pairs reset`, `processor pairs end`.
#[derive(Args, Clone, Debug)]
pub struct ChangePairs {
    /// BASE-QUOTE@EXCHANGE.
    #[arg(required = true, value_parser = pair)]
    pub pairs: Vec<PairKey>,
    /// The time of the change, RFC 3339 or milliseconds, not in the future. Default: now.
    #[arg(long, env = "PAIRS_AT", value_parser = time)]
    pub at: Option<Timestamp>,
    /// Write the records; without it they are only printed.
    #[arg(long, env = "PAIRS_YES")]
    pub yes: bool,
    /// Where Kafka is.
    #[command(flatten)]
    pub kafka: Kafka,
    /// Put before the names of `events` and `quotes` instead of the prefix of every topic, as for `processor
    /// run`.
    #[arg(long, env = "INPUT_PREFIX", value_parser = topic_prefix)]
    pub input_prefix: Option<String>,
    /// Where the schema registry is.
    #[command(flatten)]
    pub registry: SchemaRegistry,
    /// The server that knows the pairs.
    #[command(flatten)]
    pub server: Server,
}

fn time(text: &str) -> Result<Timestamp> {
    let parsed = text.parse().ok().map(Timestamp).or_else(|| Timestamp::parse_rfc3339(text));
    parsed.filter(|time| time.0 > 0).context("a time is RFC 3339 or milliseconds since 1970")
}
