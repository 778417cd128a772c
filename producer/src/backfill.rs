//! Trades that a feed lost, fetched over the venue's REST interface.
//!
//! ```text
//! feed ── Output ──→ pass on ──────────────────────────→ Output ──→ sink
//!                       │ a gap with ids                    ▲
//!                       └─→ queue, bounded ─→ fetch ────────┘ as ordinary late events
//! ```
//!
//! The mark of a gap is in the log before anything that was fetched for it. What is fetched is an
//! event like any other: it counts once, whoever sends it, and the processor clears the mark when
//! the last one has come.
//!
//! Invariants:
//! - Nothing that a feed reads waits for a fetch.
//! - Requests are one at a time and `PAUSE` apart; what the venue says of waiting is obeyed.
//! - A gap ends as filled, or as given up with a reason, and both are counted.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use schemas::{FeedMark, MarketEvent, PairKey};
use tokio::sync::{mpsc, watch};

use crate::backfill_coinbase as coinbase;
use crate::backoff::Backoff;
use crate::clock;
use crate::exchange::Venue;
use crate::metrics::Metrics;
use crate::pipeline::Output;

/// Gaps that wait. A reconnect makes one for each pair at most; more are given up.
const QUEUE: usize = 1024;
/// Outputs between feed and sink on this way.
const CHANNEL: usize = 1024;
/// Between two requests: four a second, half of what the venue allows one address.
const PAUSE: Duration = Duration::from_millis(250);
/// A request that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Tries of one request.
const ATTEMPTS: u32 = 6;
/// The longest first wait after a failure.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// The longest wait after a failure, and the longest that a venue's own wish is obeyed.
const WAIT_MAX: Duration = Duration::from_mins(1);
/// Pages of one gap: what is longer is history, not a gap.
const MAX_PAGES: u32 = 100;

/// Why a gap was not filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GaveUp {
    /// Too many gaps wait.
    QueueFull,
    /// The venue has fewer of the trades than are missing.
    Absent,
    /// It is longer than is fetched.
    TooLong,
    /// The venue refused, or did not answer, as often as is tried.
    Failed,
    /// What it answered is not what it promises.
    Malformed,
    /// The process stops.
    Stopped,
}

impl GaveUp {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::QueueFull,
        Self::Absent,
        Self::TooLong,
        Self::Failed,
        Self::Malformed,
        Self::Stopped,
    ];

    /// As metrics have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Absent => "absent",
            Self::TooLong => "too_long",
            Self::Failed => "failed",
            Self::Malformed => "malformed",
            Self::Stopped => "stopped",
        }
    }
}

/// Trades that are to be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Of which pair.
    pub pair: PairKey,
    /// The first id.
    pub first: i64,
    /// The last id.
    pub last: i64,
}

impl Lost {
    /// What a gap's mark says is missing.
    pub fn of(pair: &PairKey, mark: &FeedMark) -> Option<Self> {
        let (first, count) = (mark.first_missing_id?, mark.missing?);
        let last = first.checked_add(count.checked_sub(1)?)?;
        (first <= last).then(|| Self { pair: pair.clone(), first, last })
    }
}

/// Where to fetch, and until when.
#[derive(Clone, Debug)]
pub struct BackfillConfig {
    /// Whose interface.
    pub venue: Venue,
    /// Where it is, without a path.
    pub rest_url: String,
    /// The feed ends when it turns true.
    pub shutdown: watch::Receiver<bool>,
    /// Decides the jitter of waits.
    pub seed: u64,
}

/// Puts the fetching between a feed and its sink; the feed writes to what this returns.
pub fn between(
    config: BackfillConfig,
    metrics: Arc<Metrics>,
    outputs: mpsc::Sender<Output>,
) -> anyhow::Result<mpsc::Sender<Output>> {
    let venue = config.venue;
    let (sender, mut inbox) = mpsc::channel::<Output>(CHANNEL);
    let (gaps, waiting) = mpsc::channel(QUEUE);
    let fetching = Fetching {
        client: reqwest::Client::builder().timeout(TIMEOUT).build()?,
        backoff: Backoff::new(BACKOFF_FIRST, WAIT_MAX)?,
        rng: StdRng::seed_from_u64(config.seed),
        config,
        metrics: Arc::clone(&metrics),
        outputs: outputs.clone(),
    };
    tokio::spawn(fetching.run(waiting));
    tokio::spawn(async move {
        while let Some(output) = inbox.recv().await {
            let lost = match &output {
                Output::Gap { pair, mark } => Lost::of(pair, mark),
                _ => None,
            };
            // The mark first: what fills it comes after.
            if outputs.send(output).await.is_err() {
                return;
            }
            if let Some(lost) = lost
                && gaps.try_send(lost).is_err()
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

/// The one that asks the venue.
struct Fetching {
    client: reqwest::Client,
    backoff: Backoff,
    rng: StdRng,
    config: BackfillConfig,
    metrics: Arc<Metrics>,
    outputs: mpsc::Sender<Output>,
}

/// How one request went.
enum Answer {
    Text(String),
    /// To be tried again, not before so long.
    Later(Duration),
    Refused(StatusCode),
}

impl Fetching {
    async fn run(mut self, mut gaps: mpsc::Receiver<Lost>) {
        while let Some(lost) = gaps.recv().await {
            if let Err(why) = self.fill(&lost).await {
                tracing::warn!(
                    pair = %lost.pair, first = lost.first, last = lost.last, why = why.as_str(),
                    "a gap is not filled"
                );
                give_up(&self.metrics, self.config.venue, why);
            }
        }
    }

    /// Fetches the trades of a gap and hands them on, the oldest first.
    async fn fill(&mut self, lost: &Lost) -> Result<(), GaveUp> {
        let mut found: Vec<MarketEvent> = Vec::new();
        let mut after = lost.last.checked_add(1).ok_or(GaveUp::Malformed)?;
        for page in 0.. {
            if page == MAX_PAGES {
                return Err(GaveUp::TooLong);
            }
            let text = self.page(&lost.pair, after).await?;
            let trades = coinbase::trades(&text, clock::now()).map_err(|error| {
                tracing::warn!(pair = %lost.pair, %error, "the venue's trades cannot be read");
                GaveUp::Malformed
            })?;
            let oldest = trades.iter().filter_map(|event| event.trade_id).min();
            let wanted = |event: &MarketEvent| {
                event.trade_id.is_some_and(|id| lost.first <= id && id <= lost.last)
            };
            found.extend(trades.into_iter().filter(wanted));
            match oldest {
                Some(oldest) if oldest > lost.first && oldest < after => after = oldest,
                _ => break,
            }
        }
        found.sort_by_key(|event| event.trade_id);
        found.dedup_by_key(|event| event.trade_id);
        let count = found.len() as u64;
        for event in found {
            let output = Output::Event { pair: lost.pair.clone(), event };
            self.outputs.send(output).await.map_err(|_| GaveUp::Stopped)?;
        }
        self.metrics
            .recovery
            .backfilled
            .with_label_values(&[self.config.venue.as_str()])
            .inc_by(count);
        let missing = lost.last.abs_diff(lost.first) + 1;
        if count < missing { Err(GaveUp::Absent) } else { Ok(()) }
    }

    /// The trades before `after`, newest first, after as many tries as it takes.
    async fn page(&mut self, pair: &PairKey, after: i64) -> Result<String, GaveUp> {
        let url = coinbase::url(&self.config.rest_url, pair, after);
        self.backoff.reset();
        self.pause(PAUSE).await?;
        for _ in 0..ATTEMPTS {
            match self.ask(&url).await {
                Answer::Text(text) => return Ok(text),
                Answer::Refused(status) => {
                    tracing::warn!(url, %status, "the venue refused a request");
                    return Err(GaveUp::Failed);
                }
                Answer::Later(at_least) => {
                    let wait = self.backoff.next(&mut self.rng).max(at_least);
                    self.pause(wait).await?;
                }
            }
        }
        Err(GaveUp::Failed)
    }

    async fn ask(&self, url: &str) -> Answer {
        // Coinbase refuses clients without a name.
        let request = self.client.get(url).header("user-agent", "market-producer");
        let Ok(response) = request.send().await else {
            return Answer::Later(Duration::ZERO);
        };
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            let wish = response.headers().get(RETRY_AFTER).and_then(|wish| wish.to_str().ok());
            let seconds = wish.and_then(|wish| wish.trim().parse().ok()).unwrap_or(0);
            return Answer::Later(Duration::from_secs(seconds).min(WAIT_MAX));
        }
        if !status.is_success() {
            return Answer::Refused(status);
        }
        // What breaks off is asked again.
        response.text().await.map_or(Answer::Later(Duration::ZERO), Answer::Text)
    }

    async fn pause(&mut self, wait: Duration) -> Result<(), GaveUp> {
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            _ = self.config.shutdown.wait_for(|stop| *stop) => Err(GaveUp::Stopped),
        }
    }
}

#[cfg(test)]
mod tests {
    use schemas::Timestamp;

    use super::*;

    #[test]
    fn a_mark_says_which_ids_are_to_be_fetched() {
        let pair = PairKey::new("BTC", "USD", "coinbase");
        let mut mark = FeedMark::healthy("coinbase-0", Timestamp(1), Timestamp(1));
        assert_eq!(Lost::of(&pair, &mark), None);
        for (count, last) in [(3, Some(9)), (1, Some(7)), (0, None), (i64::MIN, None)] {
            (mark.first_missing_id, mark.missing) = (Some(7), Some(count));
            assert_eq!(Lost::of(&pair, &mark).map(|lost| lost.last), last);
        }
    }
}
