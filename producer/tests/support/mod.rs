//! A simulated venue, and the real feed that listens to it, with or without the fetching of what it
//! missed; a channel stands where Kafka is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use producer::feed::backfill::{self, BackfillConfig};
use producer::feed::backoff::Backoff;
use producer::feed::books::snapshots::Snapshots;
use producer::feed::capture::Capture;
use producer::feed::listings::{ListingSource, Listings};
use producer::feed::session::Timeouts;
use producer::feed::{CircuitBreaker, Feed, FeedConfig, FeedContext, RotationConfig};
use producer::labels::Cause;
use producer::metrics::Metrics;
use producer::plan::ConnectionPlan;
use producer::plan::budget::RateLimiter;
use rand::SeedableRng;
use rand::rngs::StdRng;
use schemas::Basis;
use simulator::book::settings::BookSettings;
use simulator::faults::Faults;
use simulator::{Handle, Simulator, SimulatorConfig};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use venues::pipeline::Output;
use venues::{Follow, Limits, Venue};

/// A test that has not seen what it waits for by then has failed. Longer than anything lasts here.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);
/// Never comes in a test.
pub(crate) const NEVER: Duration = Duration::from_mins(10);
/// How often a quiet feed is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Refusals after which the breaker opens.
pub(crate) const REFUSALS: u32 = 3;

/// The simulation of a venue.
pub(crate) fn simulated(venue: Venue) -> anyhow::Result<simulator::Venue> {
    simulator::Venue::parse(venue.as_str()).context("it is not simulated")
}

/// Serves a simulation: its address, what a test may do to it, and the task to abort.
pub(crate) async fn serve(
    config: &SimulatorConfig,
) -> anyhow::Result<(String, Handle, JoinHandle<()>)> {
    let simulator = Simulator::bind("127.0.0.1:0", config).await?;
    let (url, handle) = (simulator.url()?, simulator.handle());
    Ok((url, handle, tokio::spawn(simulator.run())))
}

/// What a test changes.
pub(crate) struct Setup {
    pub(crate) venue: Venue,
    pub(crate) products: Vec<String>,
    pub(crate) connection: ConnectionPlan,
    pub(crate) max_streams: usize,
    pub(crate) follow: Follow,
    pub(crate) seed: u64,
    /// Trades a second of its products.
    pub(crate) rate: u32,
    pub(crate) faults: Faults,
    pub(crate) books: BookSettings,
    pub(crate) stale_after: Duration,
    pub(crate) rotation: RotationConfig,
    /// What the feed misses is fetched.
    pub(crate) fetches: bool,
    /// The facts of these currencies are told.
    pub(crate) listed: Vec<String>,
    pub(crate) capture: Option<Capture>,
}

impl Setup {
    /// Two products of a venue with nothing wrong.
    pub(crate) fn of(venue: Venue) -> anyhow::Result<Self> {
        let products = simulated(venue)?.majors().map(str::to_owned).to_vec();
        let streams = venue.streams(&products, Follow::default());
        Ok(Self {
            venue,
            products,
            connection: ConnectionPlan { name: format!("{venue}-0"), streams, grows: false },
            max_streams: 100,
            follow: Follow::default(),
            seed: 7,
            rate: 1_000,
            faults: Faults::default(),
            books: BookSettings::default(),
            stale_after: NEVER,
            rotation: RotationConfig { after: None, overlap: NEVER },
            fetches: false,
            listed: Vec::new(),
            capture: None,
        })
    }

    pub(crate) fn feed(&self, url: String) -> anyhow::Result<FeedConfig> {
        Ok(FeedConfig {
            url,
            venue: self.venue,
            connection: self.connection.clone(),
            followed: self.follow.into(),
            max_streams: self.max_streams,
            timeouts: Timeouts { stale_after: self.stale_after, quiet_after: NEVER },
            backoff: Backoff::new(Duration::from_millis(5), Duration::from_millis(50))?,
            rotation: self.rotation,
            breaker: CircuitBreaker { after: REFUSALS, pause: NEVER },
        })
    }
}

/// A simulator, and a feed that listens to it.
pub(crate) struct Bench {
    pub(crate) venue: Venue,
    pub(crate) products: Vec<String>,
    outputs: mpsc::Receiver<Output>,
    context: FeedContext,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) simulator: Handle,
    shutdown: watch::Sender<bool>,
    feed: JoinHandle<()>,
    serving: JoinHandle<()>,
}

impl Bench {
    pub(crate) async fn start(setup: Setup) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::new()?);
        let limits = Limits { messages_in_10s: 100, ..setup.venue.adapter().limits };
        let (of, limiter) = (Arc::clone(&metrics), RateLimiter::new(limits));
        Self::with(setup, metrics, |outputs, stop| FeedContext::new(of, outputs, stop, limiter))
            .await
    }

    /// Another connection of the same process.
    pub(crate) async fn beside(other: &Self, setup: Setup) -> anyhow::Result<Self> {
        let (metrics, context) = (Arc::clone(&other.metrics), other.context.clone());
        Self::with(setup, metrics, |outputs, stop| context.beside(outputs, stop)).await
    }

    async fn with(
        setup: Setup,
        metrics: Arc<Metrics>,
        context: impl FnOnce(mpsc::Sender<Output>, watch::Receiver<bool>) -> FeedContext,
    ) -> anyhow::Result<Self> {
        let config = SimulatorConfig {
            seed: setup.seed,
            products: setup.products.clone(),
            rate: setup.rate,
            faults: setup.faults,
            books: setup.books.clone(),
            ..SimulatorConfig::of(simulated(setup.venue)?)
        };
        let (url, simulator, serving) = serve(&config).await?;
        let (mut sender, outputs) = mpsc::channel(16);
        let (shutdown, watching) = watch::channel(false);
        let venue = setup.venue;
        let path = venue.adapter().endpoints.rest_path;
        let rest_url = format!("{}{path}", url.replacen("ws", "http", 1));
        let snapshots = Snapshots::start(rest_url.clone(), Duration::from_millis(5))?;
        let listings = (!setup.listed.is_empty()).then(|| {
            let of = setup.listed.clone();
            let source = ListingSource::new(venue, rest_url.clone(), url.clone(), of);
            let source = ListingSource { gather: Duration::from_millis(5), ..source };
            Listings::start(source, Vec::new(), Arc::clone(&metrics))
        });
        if setup.fetches {
            let config = BackfillConfig { venue, rest_url, shutdown: watching.clone(), seed: 1 };
            sender = backfill::between(config, Arc::clone(&metrics), sender)?;
        }
        let config = setup.feed(url)?;
        let context = context(sender, watching).captured(setup.capture);
        let context = context.fetching(Some(snapshots)).listing(listings);
        let feed = Feed::new(config, context.clone(), StdRng::seed_from_u64(1));
        let feed = tokio::spawn(feed.run());
        let products = setup.products;
        Ok(Self { venue, products, outputs, context, metrics, simulator, shutdown, feed, serving })
    }

    /// Outputs until `enough` says so, which is asked at each of them and while there are none.
    pub(crate) async fn until(
        &mut self,
        mut enough: impl FnMut(&[Output]) -> bool,
    ) -> anyhow::Result<Vec<Output>> {
        let mut seen = Vec::new();
        let outputs = &mut self.outputs;
        let waited = timeout(PATIENCE, async {
            while !enough(&seen) {
                match timeout(LOOK, outputs.recv()).await {
                    Ok(Some(output)) => seen.push(output),
                    Ok(None) => bail!("the feed ended"),
                    Err(_) => {}
                }
            }
            Ok(())
        });
        let waited = waited.await.context("it did not come").flatten();
        waited.with_context(|| format!("after {} outputs: {}", seen.len(), self.describe()))?;
        Ok(seen)
    }

    /// Every trade is one that the market made, and as many are missing as are marked.
    pub(crate) fn agree(&self, outputs: &[Output]) -> anyhow::Result<()> {
        let mut missing = 0;
        for product in &self.products {
            let pair = self.venue.pair(product)?;
            let made: BTreeMap<i64, (String, String)> = self
                .simulator
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
                let coins = self.venue == Venue::Deribit;
                ensure!(coins || event.size.map(Ok) == Some(size.parse()), "{product} {id}");
                seen.insert(id);
            }
            let (first, last) = (seen.first(), seen.last());
            let (first, last) = (first.context("no trade")?, last.context("no trade")?);
            missing += made.range(*first..=*last).filter(|(id, _)| !seen.contains(id)).count();
        }
        let marked = marked(outputs)?;
        // Without dense ids no gap can be told from the ids.
        let told = if self.venue.adapter().dense_trade_ids { missing } else { 0 };
        ensure!(marked == told, "{missing} are missing, {marked} are marked");
        Ok(())
    }

    /// Stops the feed as a signal would; the rest of what it read.
    pub(crate) async fn stop(self) -> anyhow::Result<Vec<Output>> {
        let Self { mut outputs, context, shutdown, feed, serving, .. } = self;
        // The channel ends when nobody can send.
        drop(context);
        shutdown.send_replace(true);
        let mut rest = Vec::new();
        while let Some(output) = timeout(PATIENCE, outputs.recv()).await? {
            rest.push(output);
        }
        feed.await.context("the feed panicked")?;
        serving.abort();
        Ok(rest)
    }

    /// What the market made, by base: id and price.
    pub(crate) fn made(&self) -> anyhow::Result<BTreeMap<String, Vec<(i64, String)>>> {
        let mut all = BTreeMap::new();
        for product in &self.products {
            let made = self.simulator.made(product).into_iter();
            let made = made.map(|(id, price, _)| (id.cast_signed(), price)).collect();
            all.insert(self.venue.pair(product)?.base, made);
        }
        Ok(all)
    }

    pub(crate) fn reconnects(&self, cause: &str) -> u64 {
        self.metrics.reconnects.with_label_values(&[self.venue.as_str(), cause]).get()
    }

    pub(crate) fn reconnected(&self) -> u64 {
        Cause::ALL.iter().map(|cause| self.reconnects(cause.as_str())).sum()
    }

    /// What is known of a feed that did not do what was waited for.
    fn describe(&self) -> String {
        let causes = Cause::ALL.map(|cause| (cause.as_str(), self.reconnects(cause.as_str())));
        let made = self.made().map(|made| made.values().map(Vec::len).sum::<usize>());
        format!("{made:?} trades were made, it reconnected {causes:?}")
    }
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

/// The trades among outputs; none just after a mark, which stands before the trade that proves it.
pub(crate) fn trades(outputs: &[Output]) -> usize {
    // Asked for at each output: counted without being built.
    let trade = |output: &&Output| matches!(output, Output::Event { event, .. } if event.basis == Basis::Trade);
    if matches!(outputs.last(), Some(Output::Gap { .. })) {
        return 0;
    }
    outputs.iter().filter(trade).count()
}

pub(crate) fn gap_marks(outputs: &[Output]) -> usize {
    outputs.iter().filter(|output| matches!(output, Output::Gap { .. })).count()
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
