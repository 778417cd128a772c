//! The flags of `producer run --venue ethereum`: one chain, its node and its pools.

use std::time::Duration;

use clap::Args;
use cli::units;
use venues::ethereum::NAME;

use super::LiveConfig;
use crate::feed::capture::Capturing;
use crate::feed::chain::ChainFeedConfig;
use crate::plan::pools::ChainConfig;
use crate::sink::config::SinkConfig;

/// Publish the swaps of a chain's pools until stopped.
#[derive(Clone, Debug, Args)]
pub struct ChainRunConfig {
    /// The chain and its pools.
    #[command(flatten)]
    pub chain: ChainConfig,
    /// Time without a new head after which the connection to the node is replaced. Ethereum only.
    #[arg(long, env = "PRODUCER_HEAD_TIMEOUT", default_value = "60s", value_parser = units::positive_duration)]
    pub head_timeout: Duration,
    /// Settings of every live feed.
    #[command(flatten)]
    pub live: LiveConfig,
}

impl ChainRunConfig {
    /// Checks the rules between values.
    pub fn validate(&self) -> anyhow::Result<()> {
        self.chain.validate()?;
        self.live.validate()
    }

    /// The settings of the feed; reads the listing of pools.
    pub fn feed(&self) -> anyhow::Result<ChainFeedConfig> {
        Ok(ChainFeedConfig {
            url: self.chain.url()?.clone(),
            follower: self.chain.follower()?,
            head_timeout: self.head_timeout,
            backoff: self.live.backoff()?,
            breaker: self.live.breaker(),
        })
    }

    /// The capture and its thread, with --capture.
    pub fn capture(&self) -> anyhow::Result<Option<Capturing>> {
        self.live.capture(NAME)
    }

    /// The settings of the sink: the topic of swaps must exist.
    pub fn sink(&self) -> SinkConfig {
        SinkConfig { follows_swaps: true, ..self.live.kafka.sink() }
    }
}
