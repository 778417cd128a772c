//! A simulated venue, and the real feed that listens to it, with or without the fetching of what it
//! missed; a channel stands where Kafka is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use producer::feed::backfill::{self, BackfillConfig};
use producer::feed::backoff::Backoff;
use producer::feed::capture::Capture;
use producer::feed::session::Timeouts;
use producer::feed::{CircuitBreaker, Feed, FeedConfig, FeedContext, RotationConfig};
use producer::labels::Cause;
use producer::metrics::Metrics;
use producer::plan::ConnectionPlan;
use producer::plan::budget::RateLimiter;
use rand::SeedableRng;
use rand::rngs::StdRng;
use simulator::faults::Faults;
use simulator::{Handle, Simulator, SimulatorConfig};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use venues::Venue;
use venues::pipeline::Output;

/// A test that has not seen what it waits for by then has failed. Longer than anything lasts here.
const PATIENCE: Duration = Duration::from_mins(2);
/// How often a quiet feed is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// The simulation of a venue.
pub(crate) fn simulated(venue: Venue) -> anyhow::Result<simulator::Venue> {
    simulator::Venue::from_name(venue.as_str()).context("it is not simulated")
}

/// What a test changes.
pub(crate) struct Setup {
    pub(crate) venue: Venue,
    pub(crate) seed: u64,
    /// Trades a second of its two products.
    pub(crate) rate: u32,
    pub(crate) faults: Faults,
    pub(crate) stale_after: Duration,
    /// What the feed misses is fetched.
    pub(crate) fetches: bool,
    pub(crate) capture: Option<Capture>,
}

impl Setup {
    /// A venue with nothing wrong.
    pub(crate) fn of(venue: Venue) -> Self {
        let faults = Faults::default();
        Self {
            venue,
            seed: 7,
            rate: 2_000,
            faults,
            stale_after: PATIENCE,
            fetches: false,
            capture: None,
        }
    }

    fn products(&self) -> anyhow::Result<Vec<String>> {
        Ok(simulated(self.venue)?.majors().map(str::to_owned).to_vec())
    }

    fn feed(&self, url: String) -> anyhow::Result<FeedConfig> {
        let streams = self.venue.streams(&self.products()?);
        Ok(FeedConfig {
            url,
            venue: self.venue,
            connection: ConnectionPlan { name: format!("{}-0", self.venue), streams, grows: false },
            max_streams: 10,
            timeouts: Timeouts { stale_after: self.stale_after, quiet_after: PATIENCE },
            backoff: Backoff::new(Duration::from_millis(5), Duration::from_millis(50))?,
            rotation: RotationConfig { after: None, overlap: PATIENCE },
            breaker: CircuitBreaker { after: 5, pause: PATIENCE },
        })
    }
}

/// A simulator, and a feed that listens to it.
pub(crate) struct Live {
    venue: Venue,
    products: Vec<String>,
    outputs: mpsc::Receiver<Output>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) simulator: Handle,
    shutdown: watch::Sender<bool>,
    feed: JoinHandle<()>,
    serving: JoinHandle<()>,
}

impl Live {
    pub(crate) async fn start(setup: Setup) -> anyhow::Result<Self> {
        let (venue, products) = (setup.venue, setup.products()?);
        let config = SimulatorConfig {
            seed: setup.seed,
            products: products.clone(),
            rate: setup.rate,
            faults: setup.faults,
            ..SimulatorConfig::of(simulated(venue)?)
        };
        let served = Simulator::bind("127.0.0.1:0", &config).await?;
        let (url, simulator) = (served.url()?, served.handle());
        let serving = tokio::spawn(served.run());
        let metrics = Arc::new(Metrics::new()?);
        let (mut sender, outputs) = mpsc::channel(16);
        let (shutdown, watching) = watch::channel(false);
        if setup.fetches {
            let path = venue.adapter().endpoints.rest_path;
            let rest_url = format!("{}{path}", url.replacen("ws", "http", 1));
            let config = BackfillConfig { venue, rest_url, shutdown: watching.clone(), seed: 1 };
            sender = backfill::between(config, Arc::clone(&metrics), sender)?;
        }
        let config = setup.feed(url)?;
        let limiter = RateLimiter::new(venue.adapter().limits);
        let context = FeedContext::new(Arc::clone(&metrics), sender, watching, limiter);
        let context = context.captured(setup.capture);
        let feed = tokio::spawn(Feed::new(config, context, StdRng::seed_from_u64(1)).run());
        Ok(Self { venue, products, outputs, metrics, simulator, shutdown, feed, serving })
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

    /// Stops the feed as a signal would; the rest of what it read.
    pub(crate) async fn stop(mut self) -> anyhow::Result<Vec<Output>> {
        self.shutdown.send_replace(true);
        let mut rest = Vec::new();
        while let Some(output) = timeout(PATIENCE, self.outputs.recv()).await? {
            rest.push(output);
        }
        self.feed.await.context("the feed panicked")?;
        self.serving.abort();
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

    /// What is known of a feed that did not do what was waited for.
    fn describe(&self) -> String {
        let venue = self.venue.as_str();
        let causes = Cause::ALL.map(|cause| {
            let label = cause.as_str();
            (label, self.metrics.reconnects.with_label_values(&[venue, label]).get())
        });
        let made = self.made().map(|made| made.values().map(Vec::len).sum::<usize>());
        format!("{made:?} trades were made, it reconnected {causes:?}")
    }
}
