//! Backfill: trades that a feed missed are fetched over the venue's REST interface.
//!
//! ```text
//! feed ── Output ──→ pass on ──────────────────────────→ Output ──→ sink
//!                       │ a gap with ids                    ▲
//!                       └─→ queue, bounded ─→ fetch ────────┘ as ordinary late events
//! ```
//!
//! The mark of a gap is published before the trades that fill it. A fetched trade is an ordinary
//! event: it counts once, and the processor clears the mark with the last missing trade. The
//! requests and the parsing of answers are the venue's [`TradeHistory`].
//!
//! Invariants:
//! - A feed never waits for a fetch.
//! - Requests are sequential and paced; the venue's `Retry-After` is obeyed.
//! - A gap ends as filled or as given up with a reason. Both are counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use schemas::MarketEvent;
use tokio::sync::{mpsc, watch};
use venues::Venue;
use venues::history::{HistoryAnswer, MAX_WAIT, MissingTrades, PAGE_SIZE, Page, TradeHistory};
use venues::pipeline::Output;

use crate::clock;
use crate::feed::backoff::Backoff;
use crate::feed::http;
use crate::labels::GaveUp;
use crate::metrics::Metrics;

/// Gaps that wait. A reconnect makes at most one per pair; more are given up.
const QUEUE: usize = 1024;
/// Outputs between feed and sink.
const CHANNEL: usize = 1024;
/// Attempts of one request.
const ATTEMPTS: u32 = 6;
/// The longest first wait after a failure.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// The longest wait after a failure without a `Retry-After`.
const WAIT_MAX: Duration = Duration::from_mins(1);
/// Pages of one gap: a longer one is history, not a gap.
const MAX_PAGES: u32 = 100;
/// Searches for trades that the venue's answers lack: its requests may be behind its feed.
const LOOKS: u32 = 3;
/// The wait before the next search.
const LAG: Duration = Duration::from_secs(1);

/// The settings of backfill.
#[derive(Clone, Debug)]
pub struct BackfillConfig {
    /// The venue.
    pub venue: Venue,
    /// The address of its HTTP requests.
    pub rest_url: String,
    /// Turns true when the feeds must stop.
    pub shutdown: watch::Receiver<bool>,
    /// The seed of the jitter of waits.
    pub seed: u64,
}

/// Puts the fetching between a feed and its sink; the feed writes to the returned channel. A venue
/// without a history is not asked: the feed writes to the sink.
pub fn between(
    config: BackfillConfig,
    metrics: Arc<Metrics>,
    outputs: mpsc::Sender<Output>,
) -> anyhow::Result<mpsc::Sender<Output>> {
    let venue = config.venue;
    let Some(history) = &venue.adapter().history else { return Ok(outputs) };
    let (sender, mut inbox) = mpsc::channel::<Output>(CHANNEL);
    let (gaps, waiting) = mpsc::channel(QUEUE);
    let fetching = Fetching {
        client: http::client()?,
        history,
        backoff: Backoff::new(BACKOFF_FIRST, WAIT_MAX)?,
        rng: StdRng::seed_from_u64(config.seed),
        config,
        metrics: Arc::clone(&metrics),
        outputs: outputs.clone(),
    };
    tokio::spawn(fetching.run(waiting));
    tokio::spawn(async move {
        while let Some(output) = inbox.recv().await {
            let missing = match &output {
                Output::Gap { pair, mark } => MissingTrades::of(pair, mark),
                _ => None,
            };
            // The mark precedes the trades that fill it.
            if outputs.send(output).await.is_err() {
                return;
            }
            if let Some(missing) = missing
                && gaps.try_send(missing).is_err()
            {
                give_up(&metrics, venue, GaveUp::QueueFull);
            }
        }
    });
    Ok(sender)
}

fn give_up(metrics: &Metrics, venue: Venue, why: GaveUp) {
    metrics.recovery.backfill_given_up.with_label_values(&[venue.as_str(), why.as_str()]).inc();
}

/// Sends the requests to the venue.
struct Fetching {
    client: reqwest::Client,
    history: &'static TradeHistory,
    backoff: Backoff,
    rng: StdRng,
    config: BackfillConfig,
    metrics: Arc<Metrics>,
    outputs: mpsc::Sender<Output>,
}

/// The result of one request.
enum Attempt {
    Page(Page),
    /// To be repeated, after this time at least.
    Later(Duration),
    Never(GaveUp),
}

impl Fetching {
    async fn run(mut self, mut gaps: mpsc::Receiver<MissingTrades>) {
        while let Some(missing) = gaps.recv().await {
            if let Err(why) = self.fill(&missing).await {
                tracing::warn!(
                    pair = %missing.pair, first = missing.first, last = missing.last, why = why.as_str(),
                    "a gap was not filled"
                );
                give_up(&self.metrics, self.config.venue, why);
            }
        }
    }

    /// Fetches the trades of a gap and passes them on, the oldest first.
    async fn fill(&mut self, missing: &MissingTrades) -> Result<(), GaveUp> {
        let mut found = BTreeMap::new();
        let looked = self.look(missing, &mut found).await;
        // The found trades are published even if others are missing.
        let count = found.len() as u64;
        for event in found.into_values() {
            let output = Output::Event { pair: missing.pair.clone(), event };
            self.outputs.send(output).await.map_err(|_| GaveUp::Stopped)?;
        }
        let venue = self.config.venue.as_str();
        self.metrics.recovery.backfilled.with_label_values(&[venue]).inc_by(count);
        looked
    }

    /// Fetches the trades of a gap until all are found.
    async fn look(
        &mut self,
        missing: &MissingTrades,
        found: &mut BTreeMap<i64, MarketEvent>,
    ) -> Result<(), GaveUp> {
        if missing.count() > u64::from(MAX_PAGES * PAGE_SIZE) {
            return Err(GaveUp::TooLong);
        }
        for look in 0..LOOKS {
            if look > 0 {
                self.pause(LAG).await?;
            }
            self.pages(missing, found).await?;
            if found.len() as u64 == missing.count() {
                return Ok(());
            }
        }
        Err(GaveUp::Absent)
    }

    /// Reads all pages of a gap.
    async fn pages(
        &mut self,
        missing: &MissingTrades,
        found: &mut BTreeMap<i64, MarketEvent>,
    ) -> Result<(), GaveUp> {
        let mut cursor = (self.history.first_cursor)(missing);
        for _ in 0..MAX_PAGES {
            let page = self.page(missing, cursor).await?;
            found
                .extend(page.trades.into_iter().filter_map(|event| Some((event.trade_id?, event))));
            match page.next {
                // A page whose cursor does not advance is the last one.
                Some(next) if next != cursor => cursor = next,
                _ => return Ok(()),
            }
        }
        Err(GaveUp::TooLong)
    }

    /// A page, after retries.
    async fn page(&mut self, missing: &MissingTrades, cursor: i64) -> Result<Page, GaveUp> {
        let url = (self.history.request)(missing, cursor).url(&self.config.rest_url);
        self.backoff.reset();
        self.pause(self.history.pace).await?;
        for _ in 0..ATTEMPTS {
            match self.ask(&url, missing, cursor).await {
                Attempt::Page(page) => return Ok(page),
                Attempt::Never(why) => return Err(why),
                Attempt::Later(wish) => {
                    let wait = self.backoff.next(&mut self.rng).max(wish.min(MAX_WAIT));
                    self.pause(wait).await?;
                }
            }
        }
        Err(GaveUp::Failed)
    }

    async fn ask(&self, url: &str, missing: &MissingTrades, cursor: i64) -> Attempt {
        let Ok(response) = http::get(&self.client, url).send().await else {
            return Attempt::Later(Duration::ZERO);
        };
        let (status, wish) = (response.status(), http::wish(response.headers()));
        // A broken answer is requested again.
        let Ok(text) = response.text().await else { return Attempt::Later(wish) };
        let reply = (self.history.parse)(missing, cursor, &text, clock::now());
        match reply {
            Ok(HistoryAnswer::RetryAfter { reason, wait }) => {
                tracing::warn!(url, %status, reason, ?wait, "the venue is rate limiting or unavailable");
                Attempt::Later(wait.max(wish))
            }
            _ if http::passes(status) => {
                tracing::warn!(url, %status, ?wish, "the venue is rate limiting or unavailable");
                Attempt::Later(wish)
            }
            Ok(HistoryAnswer::Page(page)) if status.is_success() => Attempt::Page(page),
            Err(error) if status.is_success() => {
                tracing::warn!(url, %error, "the venue's trades cannot be read");
                Attempt::Never(GaveUp::Malformed)
            }
            reply => {
                tracing::warn!(url, %status, ?reply, "the venue refused a request");
                Attempt::Never(GaveUp::Failed)
            }
        }
    }

    async fn pause(&mut self, wait: Duration) -> Result<(), GaveUp> {
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            _ = self.config.shutdown.wait_for(|stop| *stop) => Err(GaveUp::Stopped),
        }
    }
}
