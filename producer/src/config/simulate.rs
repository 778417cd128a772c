//! The flags of `producer simulate`: the market of a simulated venue, and its faults.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use cli::units;
use simulator::SimulatorConfig;
use simulator::book::settings::{BookSettings, MAX_SNAPSHOT_ANSWERS};
use simulator::coinbase::BOOKS;
use simulator::faults::Faults;
use simulator::surface::settings::SurfaceSettings;
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
    /// The faults.
    #[command(flatten)]
    pub faults: Faults,
    /// The order books and their faults.
    #[command(flatten)]
    pub books: BookSettings,
    /// The options.
    #[command(flatten)]
    pub surface: SurfaceSettings,
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
            self.faults.checksum_every.is_none() || self.venue == Venue::Kraken,
            "--checksum-every: {} sends no checksums, only kraken does",
            self.venue
        );
        self.validate_surface()?;
        self.validate_books()
    }

    fn validate_surface(&self) -> anyhow::Result<()> {
        let surface = &self.surface;
        let is_default = *surface == SurfaceSettings::default();
        ensure!(
            is_default || self.venue == Venue::Deribit,
            "--options, --currencies, --expire-every, --list-every: {} has no options, only deribit has",
            self.venue
        );
        let zero = [surface.expire_every, surface.list_every].contains(&Some(Duration::ZERO));
        ensure!(!zero, "--expire-every and --list-every must be longer than nothing");
        Ok(())
    }

    fn validate_books(&self) -> anyhow::Result<()> {
        let (books, venue) = (&self.books, self.venue);
        if let Some(faulty) = &books.faulty_book {
            ensure!(
                self.products.is_empty() || self.products.contains(faulty),
                "--faulty-book: '{faulty}' is not one of --products"
            );
        }
        let zero = books.book_interval.is_some_and(|every| every.is_zero());
        ensure!(!zero, "--book-interval must be longer than nothing");
        ensure!(
            books.snapshot_answers.is_empty() || [Venue::Binance, Venue::Bitstamp].contains(&venue),
            "--snapshot-answers: {venue} sends its snapshots over the feed, only binance and \
             bitstamp are asked for them"
        );
        let count = books.snapshot_answers.len();
        ensure!(
            count <= MAX_SNAPSHOT_ANSWERS,
            "--snapshot-answers: {count} answers are too many, name at most {MAX_SNAPSHOT_ANSWERS}"
        );
        ensure!(
            books.refuse_channels.is_empty() || venue == Venue::Coinbase,
            "--refuse-channels: {venue} refuses no channel, only coinbase does"
        );
        let channels = BOOKS.map(|(name, _)| name);
        for channel in &books.refuse_channels {
            ensure!(
                channels.contains(&channel.as_str()),
                "--refuse-channels: '{channel}' is none of {}",
                channels.join(", ")
            );
        }
        Ok(())
    }

    /// The simulator's settings.
    pub fn simulator(&self) -> anyhow::Result<SimulatorConfig> {
        let venue = simulator::Venue::parse(self.venue.as_str());
        let venue =
            venue.with_context(|| format!("--venue {}: it is not simulated", self.venue))?;
        Ok(SimulatorConfig {
            venue,
            seed: self.seed,
            products: self.products.clone(),
            rate: self.rate,
            tickers_every: self.tickers_every,
            faults: self.faults,
            books: self.books.clone(),
            surface: self.surface.clone(),
        })
    }
}
