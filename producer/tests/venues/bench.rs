//! A simulated venue, and the feed that listens to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use futures_util::{SinkExt, StreamExt};
use producer::config::{Command, Config};
use producer::feed::backoff::Backoff;
use producer::feed::session::Timeouts;
use producer::feed::{CircuitBreaker, Feed, FeedConfig, FeedContext, RotationConfig};
use producer::labels::Cause;
use producer::metrics::Metrics;
use producer::plan::budget::RateLimiter;
use producer::plan::{ConnectionPlan, Plan};
use rand::SeedableRng;
use rand::rngs::StdRng;
use schemas::Basis;
use simulator::faults::Faults;
use simulator::{Handle, Simulator, SimulatorConfig};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{accept_async, connect_async};
use venues::pipeline::Output;
use venues::{Limits, Venue};

/// A test that has not seen what it waits for by then has failed.
const PATIENCE: Duration = Duration::from_mins(1);
/// Never comes in a test.
const NEVER: Duration = Duration::from_mins(10);
/// Refusals after which the breaker opens.
pub(crate) const REFUSALS: u32 = 3;

/// The simulation of a venue.
fn simulated(venue: Venue) -> anyhow::Result<simulator::Venue> {
    simulator::Venue::from_name(venue.as_str()).context("it is not simulated")
}

/// What a test changes.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) venue: Venue,
    pub(crate) products: Vec<String>,
    pub(crate) connection: ConnectionPlan,
    pub(crate) stale_after: Duration,
    pub(crate) rotation: RotationConfig,
}

impl Setup {
    /// Two products of a venue.
    pub(crate) fn of(venue: Venue) -> Self {
        let simulated = simulator::Venue::from_name(venue.as_str());
        let products = simulated.map_or_else(Vec::new, |venue| venue.majors().into());
        let products: Vec<String> = products.into_iter().map(str::to_owned).collect();
        let streams = venue.streams(&products);
        Self {
            venue,
            products,
            connection: ConnectionPlan { name: format!("{venue}-0"), streams, grows: false },
            stale_after: NEVER,
            rotation: RotationConfig { after: None, overlap: NEVER },
        }
    }

    /// All of a currency, before its option is listed.
    pub(crate) fn currency() -> Self {
        let mut setup = Self::of(Venue::Deribit);
        setup.products = vec!["BTC-PERPETUAL".into(), "BTC-22NOV26-40000-C".into()];
        let deribit = Venue::Deribit.adapter();
        let of_currencies = deribit.listing.currency_streams;
        setup.connection.streams = of_currencies.map_or_else(Vec::new, |of| of(&["BTC".into()]));
        setup.connection.streams.extend((deribit.subscriptions.streams_of_listed)("BTC-PERPETUAL"));
        setup.connection.grows = true;
        setup
    }
}

/// A simulator, and a feed that listens to it.
pub(crate) struct Bench {
    setup: Setup,
    outputs: mpsc::Receiver<Output>,
    context: FeedContext,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) handle: Handle,
    shutdown: watch::Sender<bool>,
    feed: JoinHandle<()>,
    simulator: JoinHandle<()>,
}

impl Bench {
    pub(crate) async fn start(setup: &Setup, faults: Faults) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::new()?);
        let limiter =
            RateLimiter::new(Limits { messages_in_10s: 100, ..setup.venue.adapter().limits });
        let (sender, outputs) = mpsc::channel(64);
        let (shutdown, watching) = watch::channel(false);
        let context = FeedContext::new(Arc::clone(&metrics), sender, watching, limiter);
        Self::with(setup, faults, context, outputs, shutdown).await
    }

    /// Another connection of the same process.
    pub(crate) async fn beside(other: &Self, faults: Faults) -> anyhow::Result<Self> {
        let (sender, outputs) = mpsc::channel(64);
        let (shutdown, watching) = watch::channel(false);
        let context = FeedContext { outputs: sender, shutdown: watching, ..other.context.clone() };
        Self::with(&other.setup, faults, context, outputs, shutdown).await
    }

    async fn with(
        setup: &Setup,
        faults: Faults,
        context: FeedContext,
        outputs: mpsc::Receiver<Output>,
        shutdown: watch::Sender<bool>,
    ) -> anyhow::Result<Self> {
        let config = SimulatorConfig {
            seed: 7,
            products: setup.products.clone(),
            rate: 1_000,
            faults,
            ..SimulatorConfig::of(simulated(setup.venue)?)
        };
        let simulator = Simulator::bind("127.0.0.1:0", &config).await?;
        let (url, handle) = (simulator.url()?, simulator.handle());
        let simulator = tokio::spawn(simulator.run());
        let config = feed(setup, url)?;
        let feed = Feed::new(config, context.clone(), StdRng::seed_from_u64(1));
        let feed = tokio::spawn(feed.run());
        let metrics = Arc::clone(&context.metrics);
        let setup = setup.clone();
        Ok(Self { setup, outputs, context, metrics, handle, shutdown, feed, simulator })
    }

    /// Outputs until `enough` says so.
    pub(crate) async fn until(
        &mut self,
        mut enough: impl FnMut(&[Output]) -> bool,
    ) -> anyhow::Result<Vec<Output>> {
        let mut seen = Vec::new();
        while !enough(&seen) {
            let next = timeout(PATIENCE, self.outputs.recv()).await;
            let next = next.with_context(|| {
                let causes =
                    Cause::ALL.map(|cause| (cause.as_str(), self.reconnects(cause.as_str())));
                format!("nothing more after {} outputs, reconnects {causes:?}", seen.len())
            })?;
            seen.push(next.context("the feed ended")?);
        }
        Ok(seen)
    }

    /// Waits for something that no output tells, reading outputs all the while.
    pub(crate) async fn wait_for(
        &mut self,
        mut come: impl FnMut(&Self) -> bool,
    ) -> anyhow::Result<()> {
        let mut looks = interval(Duration::from_millis(5));
        let wait = async {
            while !come(self) {
                tokio::select! {
                    _ = looks.tick() => {}
                    output = self.outputs.recv() => { output.context("the feed ended")?; }
                }
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, wait).await.context("it did not come")?
    }

    /// Every trade is one that the market made, and as many are missing as are marked.
    pub(crate) fn agree(&self, outputs: &[Output]) -> anyhow::Result<()> {
        let mut missing = 0;
        for product in &self.setup.products {
            let pair = self.setup.venue.pair(product)?;
            let made: BTreeMap<i64, (String, String)> = self
                .handle
                .made(product)
                .into_iter()
                .map(|(id, price, size)| (id.cast_signed(), (price, size)))
                .collect();
            let mut seen = BTreeSet::new();
            for output in outputs {
                let Output::Event { pair: of, event } = output else { continue };
                let (true, Some(id)) = (*of == pair, event.trade_id) else { continue };
                let (price, size) =
                    made.get(&id).with_context(|| format!("{product} {id} was never made"))?;
                ensure!(price.parse() == Ok(event.price), "{product} {id}: {}", event.price);
                // Deribit's are dollars, and coins when read.
                let coins = self.setup.venue == Venue::Deribit;
                ensure!(coins || event.size.map(Ok) == Some(size.parse()), "{product} {id}");
                seen.insert(id);
            }
            let (first, last) = (seen.first(), seen.last());
            let (first, last) = (first.context("no trade")?, last.context("no trade")?);
            missing += made.range(*first..=*last).filter(|(id, _)| !seen.contains(id)).count();
        }
        let marked = marked(outputs)?;
        // Without dense ids no gap can be told from the ids.
        let told = if self.setup.venue.adapter().dense_trade_ids { missing } else { 0 };
        ensure!(marked == told, "{missing} are missing, {marked} are marked");
        Ok(())
    }

    /// Stops the feed as a signal would.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.shutdown.send_replace(true);
        let ended = async {
            while !self.feed.is_finished() {
                tokio::select! {
                    _ = &mut self.feed => break,
                    _ = self.outputs.recv() => {}
                }
            }
        };
        timeout(PATIENCE, ended).await.context("the feed did not stop")?;
        self.simulator.abort();
        Ok(())
    }

    pub(crate) fn reconnects(&self, cause: &str) -> u64 {
        self.metrics.reconnects.with_label_values(&[self.setup.venue.as_str(), cause]).get()
    }

    pub(crate) fn reconnected(&self) -> u64 {
        Cause::ALL.iter().map(|cause| self.reconnects(cause.as_str())).sum()
    }
}

fn feed(setup: &Setup, url: String) -> anyhow::Result<FeedConfig> {
    Ok(FeedConfig {
        url,
        venue: setup.venue,
        connection: setup.connection.clone(),
        max_streams: 100,
        timeouts: Timeouts { stale_after: setup.stale_after, quiet_after: NEVER },
        backoff: Backoff::new(Duration::from_millis(5), Duration::from_millis(50))?,
        rotation: setup.rotation,
        breaker: CircuitBreaker { after: REFUSALS, pause: NEVER },
    })
}

/// The trade ids of each base, in the order in which they came.
pub(crate) fn ids(outputs: &[Output]) -> BTreeMap<&str, Vec<i64>> {
    let mut ids: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for output in outputs {
        if let Output::Event { pair, event } = output
            && event.basis == Basis::Trade
        {
            ids.entry(pair.base.as_str()).or_default().extend(event.trade_id);
        }
    }
    ids
}

pub(crate) fn trades(outputs: &[Output]) -> usize {
    // Asked for at each output: counted without being built.
    let trade = |output: &&Output| matches!(output, Output::Event { event, .. } if event.basis == Basis::Trade);
    // A mark stands before the trade that proves it: never between the two.
    if matches!(outputs.last(), Some(Output::Gap { .. })) {
        return 0;
    }
    outputs.iter().filter(trade).count()
}

pub(crate) fn sampled(outputs: &[Output], base: &str) -> bool {
    outputs.iter().any(|output| matches!(output, Output::Event { pair, event } if pair.base == base && event.basis == Basis::Ticker))
}

pub(crate) fn gap_marks(outputs: &[Output]) -> usize {
    outputs.iter().filter(|output| matches!(output, Output::Gap { .. })).count()
}

pub(crate) fn dead_letters(outputs: &[Output]) -> usize {
    outputs.iter().filter(|output| matches!(output, Output::DeadLetter(_))).count()
}

/// Trades that gap marks say are missing.
fn marked(outputs: &[Output]) -> anyhow::Result<usize> {
    let mut marked = 0;
    for output in outputs {
        if let Output::Gap { mark, .. } = output {
            marked += usize::try_from(mark.missing.context("a gap that does not say of what")?)?;
        }
    }
    Ok(marked)
}

/// A bare server sends a ping, and our feed must return what it bore.
pub(crate) async fn pings(venue: Venue) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("ws://{}", listener.local_addr()?);
    let (sender, _outputs) = mpsc::channel(64);
    let (_shutdown, watching) = watch::channel(false);
    let limiter = RateLimiter::new(venue.adapter().limits);
    let context = FeedContext::new(Arc::new(Metrics::new()?), sender, watching, limiter);
    let feed = Feed::new(feed(&Setup::of(venue), url)?, context, StdRng::seed_from_u64(1));
    let feed = tokio::spawn(feed.run());
    let (socket, _) = timeout(PATIENCE, listener.accept()).await??;
    let mut socket = accept_async(socket).await?;
    socket.send(Message::Ping("1723161255342".into())).await?;
    loop {
        let message = timeout(PATIENCE, socket.next()).await?.context("it hung up")??;
        if let Message::Pong(payload) = message {
            ensure!(payload.as_ref() == b"1723161255342", "{payload:?}");
            break;
        }
    }
    feed.abort();
    Ok(())
}

/// The plan for everything that a simulator lists.
pub(crate) async fn plan(venue: Venue) -> anyhow::Result<Plan> {
    let simulator = Simulator::bind("127.0.0.1:0", &SimulatorConfig::of(simulated(venue)?)).await?;
    let url = simulator.url()?;
    let simulator = tokio::spawn(simulator.run());
    let mut arguments = vec!["producer", "plan", "--venue", venue.as_str(), "--url", &url];
    if venue == Venue::Deribit {
        arguments.extend(["--currency", "BTC,ETH"]);
    }
    let config = Config::try_parse_from(arguments)?;
    let Command::Plan(follow) = config.command else { anyhow::bail!("not a plan") };
    follow.validate()?;
    let plan = follow.plan().await;
    simulator.abort();
    plan
}

/// Which of so many connections at once are turned away, by number.
pub(crate) async fn connections(venue: Venue, count: usize) -> anyhow::Result<Vec<usize>> {
    let simulator = Simulator::bind("127.0.0.1:0", &SimulatorConfig::of(simulated(venue)?)).await?;
    let url = simulator.url()?;
    let simulator = tokio::spawn(simulator.run());
    let (mut open, mut refused) = (Vec::new(), Vec::new());
    for number in 0..count {
        match timeout(PATIENCE, connect_async(&url)).await? {
            Ok((socket, _)) => open.push(socket),
            Err(Error::Http(answer)) if answer.status() == 429 => refused.push(number),
            Err(error) => return Err(error.into()),
        }
    }
    simulator.abort();
    Ok(refused)
}
