//! The flags of `producer simulate`: the market of a simulated venue, and its faults.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use cli::units;
use simulator::SimulatorConfig;
use simulator::book::settings::{BookSettings, MAX_SNAPSHOT_ANSWERS};
use simulator::coinbase::BOOKS;
use simulator::ethereum::EthereumConfig;
use simulator::ethereum::settings::{ChainSettings, MIN_BLOCK_EVERY};
use simulator::faults::Faults;
use simulator::surface::settings::SurfaceSettings;
use venues::Venue;

/// The name of the chain's node on the command line.
const ETHEREUM: &str = "ethereum";

/// A venue that is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Simulated {
    /// An exchange with products.
    Exchange(Venue),
    /// The node of a chain.
    Ethereum,
}

impl Simulated {
    /// The name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exchange(venue) => venue.as_str(),
            Self::Ethereum => ETHEREUM,
        }
    }

    fn parser() -> impl TypedValueParser<Value = Self> {
        let exchanges = simulator::Venue::ALL.into_iter().map(simulator::Venue::as_str);
        let names: Vec<&'static str> = exchanges.chain([ETHEREUM]).collect();
        PossibleValuesParser::new(names)
            .map(|name| Venue::from_name(&name).map_or(Self::Ethereum, Self::Exchange))
    }
}

/// Simulate a venue: its protocol on a WebSocket, a seeded market, faults on demand.
#[derive(Clone, Debug, Args)]
pub struct SimulateConfig {
    /// The venue.
    #[arg(long, env = "SIMULATOR_VENUE", value_parser = Simulated::parser(), default_value = "coinbase")]
    pub venue: Simulated,
    /// Address to listen on.
    #[arg(long, env = "SIMULATOR_LISTEN", default_value = "127.0.0.1:9201")]
    pub listen: SocketAddr,
    /// Seed of the market: the same seed makes the same trades.
    #[arg(long, env = "SIMULATOR_SEED", default_value_t = 1)]
    pub seed: u64,
    /// Products in the venue's notation, comma separated; all listed products without it.
    #[arg(long, env = "SIMULATOR_PRODUCTS", value_delimiter = ',')]
    pub products: Vec<String>,
    /// Trades per second over all products; swaps per second over all pools.
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
    /// The chain.
    #[command(flatten)]
    pub chain: ChainSettings,
}

impl SimulateConfig {
    /// Checks the rules between values.
    pub fn validate(&self) -> anyhow::Result<()> {
        let Simulated::Exchange(venue) = self.venue else { return self.validate_chain() };
        for product in &self.products {
            ensure!(
                venue.pair(product).is_ok(),
                "--products: '{product}' is not a product of {venue}"
            );
        }
        let zero = self.tickers_every.is_some_and(|every| every.is_zero());
        ensure!(!zero, "--tickers-every must be longer than nothing");
        ensure!(
            self.faults.checksum_every.is_none() || venue == Venue::Kraken,
            "--checksum-every: {venue} sends no checksums, only kraken does"
        );
        ensure!(
            self.chain == ChainSettings::default(),
            "--chain-id, --pools, --block-every and other flags of a chain: {venue} has no blocks, only \
             ethereum has"
        );
        self.validate_surface(venue)?;
        self.validate_books(venue)
    }

    /// The node of a chain has the faults of connections, logs and requests, and none of books.
    fn validate_chain(&self) -> anyhow::Result<()> {
        let chain = &self.chain;
        ensure!(
            self.products.is_empty() && self.tickers_every.is_none(),
            "--products, --tickers-every: a chain has pools and no products: use --pools COUNT"
        );
        let books = BookSettings { truth: self.books.truth.clone(), ..BookSettings::default() };
        ensure!(
            self.books == books && self.surface == SurfaceSettings::default(),
            "--levels, --options and other flags of books and options: a chain has neither: leave them out"
        );
        let faults = &self.faults;
        ensure!(
            [
                faults.skip_every,
                faults.forget_every,
                faults.checksum_every,
                faults.maintenance_every
            ]
            .iter()
            .all(Option::is_none)
                && faults.limit_first == 0,
            "--skip-every, --forget-every, --checksum-every, --maintenance-every, --limit-first: a node \
             has no such fault: see docs/simulator.md for those of a chain"
        );
        ensure!(
            chain.block_every >= MIN_BLOCK_EVERY,
            "--block-every: {:?} is too short, 20ms is the shortest",
            chain.block_every
        );
        let zero = chain.block_time.is_some_and(|step| step.is_zero());
        ensure!(!zero, "--block-time must be longer than nothing");
        ensure!(
            chain.reorg_back_every.is_none() || chain.reorg_every.is_some(),
            "--reorg-back-every needs --reorg-every: without it there is no fork to go back to"
        );
        ensure!(
            chain.drop_pending_every.is_none() || chain.pending_every.is_some(),
            "--drop-pending-every needs --pending-every: without it no transaction is pending"
        );
        Ok(())
    }

    fn validate_surface(&self, venue: Venue) -> anyhow::Result<()> {
        let surface = &self.surface;
        let is_default = *surface == SurfaceSettings::default();
        ensure!(
            is_default || venue == Venue::Deribit,
            "--options, --currencies, --expire-every, --list-every: {venue} has no options, only deribit has"
        );
        let zero = [surface.expire_every, surface.list_every].contains(&Some(Duration::ZERO));
        ensure!(!zero, "--expire-every and --list-every must be longer than nothing");
        Ok(())
    }

    fn validate_books(&self, venue: Venue) -> anyhow::Result<()> {
        let books = &self.books;
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
        let name = self.venue.as_str();
        let venue = simulator::Venue::parse(name);
        let venue =
            venue.with_context(|| format!("--venue {name}: it has no market of products"))?;
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

    /// The settings of the node of a chain.
    pub fn ethereum(&self) -> EthereumConfig {
        EthereumConfig {
            seed: self.seed,
            rate: self.rate,
            faults: self.faults,
            chain: self.chain.clone(),
            truth: self.books.truth.clone(),
        }
    }
}
