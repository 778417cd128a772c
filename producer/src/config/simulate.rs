//! The flags of `producer simulate`: the market of a simulated venue, and its faults.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use cli::units;
use simulator::SimulatorConfig;
use simulator::faults::Faults;
use venues::Venue;

/// Simulate a venue: its protocol on a WebSocket, a seeded market, faults on demand.
#[derive(Clone, Debug, Args)]
pub struct SimulateConfig {
    /// The venue.
    #[arg(long, env = "SIMULATOR_VENUE", value_enum, default_value = "coinbase")]
    pub venue: Venue,
    /// Address to listen on.
    #[arg(long, env = "SIMULATOR_LISTEN", default_value = "127.0.0.1:9201")]
    pub listen: SocketAddr,
    /// Seed of the market: the same seed makes the same trades.
    #[arg(long, env = "SIMULATOR_SEED", default_value_t = 1)]
    pub seed: u64,
    /// Products in the venue's notation, comma separated; all listed products without it.
    #[arg(long, env = "SIMULATOR_PRODUCTS", value_delimiter = ',')]
    pub products: Vec<String>,
    /// Trades per second over all products.
    #[arg(long, env = "SIMULATOR_RATE", default_value_t = 50,
          value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub rate: u32,
    /// Interval of the subscribed tickers; without it each trade sends one. Deribit only.
    #[arg(long, env = "SIMULATOR_TICKERS_EVERY", value_parser = units::duration)]
    pub tickers_every: Option<Duration>,
    /// Cut each connection after this many matches.
    #[arg(long, env = "SIMULATOR_DISCONNECT_EVERY", value_name = "MATCHES", value_parser = clap::value_parser!(u64).range(1..))]
    pub disconnect_every: Option<u64>,
    /// Fall silent for --silence after this many matches.
    #[arg(long, env = "SIMULATOR_SILENCE_EVERY", value_name = "MATCHES", value_parser = clap::value_parser!(u64).range(1..))]
    pub silence_every: Option<u64>,
    /// Duration of a silence.
    #[arg(long, env = "SIMULATOR_SILENCE", default_value = "15s", value_parser = units::duration)]
    pub silence: Duration,
    /// Send a truncated frame before every match whose trade id is a multiple of this.
    #[arg(long, env = "SIMULATOR_MALFORMED_EVERY", value_name = "IDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub malformed_every: Option<u64>,
    /// Send every match whose trade id is a multiple of this twice.
    #[arg(long, env = "SIMULATOR_REPEAT_EVERY", value_name = "IDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub repeat_every: Option<u64>,
    /// Never send a match whose trade id is a multiple of this.
    #[arg(long, env = "SIMULATOR_SKIP_EVERY", value_name = "IDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub skip_every: Option<u64>,
    /// Omit every match whose trade id is a multiple of this from answers to requests.
    #[arg(long, env = "SIMULATOR_FORGET_EVERY", value_name = "IDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub forget_every: Option<u64>,
    /// Send every match whose trade id is a multiple of this after the next one of its product.
    #[arg(long, env = "SIMULATOR_REORDER_EVERY", value_name = "IDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub reorder_every: Option<u64>,
    /// Send wrong book checksums from every trade whose id is a multiple of this, for --checksum-for. Kraken only.
    #[arg(long, env = "SIMULATOR_CHECKSUM_EVERY", value_name = "IDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub checksum_every: Option<u64>,
    /// Number of trades for which checksums stay wrong.
    #[arg(long, env = "SIMULATOR_CHECKSUM_FOR", value_name = "IDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub checksum_for: u64,
    /// Delay of each match.
    #[arg(long, env = "SIMULATOR_SLOW", default_value = "0ms", value_parser = units::duration)]
    pub slow: Duration,
    /// Close each connection for maintenance after this many matches.
    #[arg(long, env = "SIMULATOR_MAINTENANCE_EVERY", value_name = "MATCHES", value_parser = clap::value_parser!(u64).range(1..))]
    pub maintenance_every: Option<u64>,
    /// Leave each connection half open after this many matches: silent for ever, and not closed.
    #[arg(long, env = "SIMULATOR_HALF_OPEN_EVERY", value_name = "MATCHES", value_parser = clap::value_parser!(u64).range(1..))]
    pub half_open_every: Option<u64>,
    /// Number of first subscriptions to refuse.
    #[arg(long, env = "SIMULATOR_REFUSE_FIRST", value_name = "REQUESTS", default_value_t = 0)]
    pub refuse_first: u32,
    /// Number of first handshakes to answer with 429.
    #[arg(long, env = "SIMULATOR_LIMIT_FIRST", value_name = "HANDSHAKES", default_value_t = 0)]
    pub limit_first: u32,
    /// Rate limit every n-th HTTP request, with the venue's own answer.
    #[arg(long, env = "SIMULATOR_LIMIT_REQUESTS_EVERY", value_name = "REQUESTS", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit_requests_every: Option<u64>,
    /// Retry-After of an answer with 429.
    #[arg(long, env = "SIMULATOR_RETRY_AFTER", default_value = "1s", value_parser = units::duration)]
    pub retry_after: Duration,
    /// Time by which the venue's clock is ahead of this machine's.
    #[arg(long, env = "SIMULATOR_CLOCK_AHEAD", default_value = "0ms", value_parser = units::duration)]
    pub clock_ahead: Duration,
}

impl SimulateConfig {
    /// Checks the rules between values.
    pub fn validate(&self) -> anyhow::Result<()> {
        for product in &self.products {
            ensure!(
                self.venue.pair(product).is_ok(),
                "--products: '{product}' is not a product of {}",
                self.venue
            );
        }
        let zero = self.tickers_every.is_some_and(|every| every.is_zero());
        ensure!(!zero, "--tickers-every must be longer than nothing");
        ensure!(
            self.checksum_every.is_none() || self.venue == Venue::Kraken,
            "--checksum-every: {} sends no checksums, only kraken does",
            self.venue
        );
        Ok(())
    }

    /// The simulator's settings.
    pub fn simulator(&self) -> anyhow::Result<SimulatorConfig> {
        let venue = simulator::Venue::from_name(self.venue.as_str());
        let venue =
            venue.with_context(|| format!("--venue {}: it is not simulated", self.venue))?;
        Ok(SimulatorConfig {
            venue,
            seed: self.seed,
            products: self.products.clone(),
            rate: self.rate,
            tickers_every: self.tickers_every,
            faults: Faults {
                disconnect_every: self.disconnect_every,
                silence_every: self.silence_every,
                silence: self.silence,
                malformed_every: self.malformed_every,
                repeat_every: self.repeat_every,
                skip_every: self.skip_every,
                forget_every: self.forget_every,
                reorder_every: self.reorder_every,
                checksum_every: self.checksum_every,
                checksum_for: self.checksum_for,
                slow: self.slow,
                maintenance_every: self.maintenance_every,
                half_open_every: self.half_open_every,
                refuse_first: self.refuse_first,
                limit_first: self.limit_first,
                limit_requests_every: self.limit_requests_every,
                retry_after: self.retry_after,
                clock_ahead: self.clock_ahead,
            },
        })
    }
}
