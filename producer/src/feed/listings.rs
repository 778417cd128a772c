//! The listing of a venue while feeds run: the facts of instruments, shared by all feeds.
//!
//! ```text
//! feeds ── ask ──→ a moment, in which more is listed ─→ requests ─→ newest listing ──→ every feed
//!                         ▲                                │
//!                         └──────── a longer wait ◀── no answer
//! ```
//!
//! A venue announces the names of new instruments alone; their contract size and tick size are in its
//! listing. It is asked for again after an announcement, and after each reconnect: what came or ended
//! meanwhile was not announced.
//!
//! Invariants:
//! - A feed never waits for a listing.
//! - However many feeds ask, one request is on its way, and two are `GATHER` apart at least.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use venues::Venue;

use crate::metrics::Metrics;
use crate::plan::instruments::{self, ListingAnswer};

/// The wait before a request: a venue lists the strikes of a new expiry within seconds, and allows
/// few requests for its listing.
const GATHER: Duration = Duration::from_secs(5);
/// The wait after a listing that did not come, which was asked for several times.
const RETRY: Duration = Duration::from_mins(1);

/// The source of a listing.
#[derive(Clone, Debug)]
pub struct ListingSource {
    /// The venue.
    pub venue: Venue,
    /// The address of its HTTP requests.
    pub rest_url: String,
    /// The address of its feed.
    pub url: String,
    /// The currencies of everything that is followed.
    pub currencies: Vec<String>,
    /// The wait before a request.
    pub gather: Duration,
}

impl ListingSource {
    /// The source of these currencies, with the usual wait.
    pub fn new(venue: Venue, rest_url: String, url: String, currencies: Vec<String>) -> Self {
        Self { venue, rest_url, url, currencies, gather: GATHER }
    }
}

/// The newest listing, for one feed.
#[derive(Clone, Debug)]
pub struct Listings {
    newest: watch::Receiver<Arc<[ListingAnswer]>>,
    asked: Arc<Notify>,
}

impl Listings {
    /// Starts the task that asks the venue. It ends with the last clone.
    pub fn start(source: ListingSource, first: Vec<ListingAnswer>, metrics: Arc<Metrics>) -> Self {
        let (sender, newest) = watch::channel(Arc::from(first));
        let asked = Arc::new(Notify::new());
        tokio::spawn(serve(source, sender, Arc::clone(&asked), metrics));
        Self { newest, asked }
    }

    /// Asks for the listing. Never waits.
    pub(super) fn ask(&self) {
        self.asked.notify_one();
    }

    /// Waits for a newer listing than the last one that was taken. Cancel safe.
    pub(super) async fn changed(&mut self) {
        if self.newest.changed().await.is_err() {
            // The task has ended, which it does after all feeds only.
            std::future::pending::<()>().await;
        }
    }

    /// Takes the newest listing; empty before the first one.
    pub(super) fn take(&mut self) -> Arc<[ListingAnswer]> {
        Arc::clone(&self.newest.borrow_and_update())
    }
}

/// Waits for a newer listing, for ever where there is none.
pub(super) async fn changed(listings: &mut Option<Listings>) {
    match listings {
        Some(listings) => listings.changed().await,
        None => std::future::pending().await,
    }
}

async fn serve(
    source: ListingSource,
    newest: watch::Sender<Arc<[ListingAnswer]>>,
    asked: Arc<Notify>,
    metrics: Arc<Metrics>,
) {
    let work = async {
        loop {
            asked.notified().await;
            sleep(source.gather).await;
            while !fetch(&source, &newest, &metrics).await {
                sleep(RETRY).await;
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = newest.closed() => {}
    }
}

/// Fetches the listing and publishes it; false when it did not come.
async fn fetch(
    source: &ListingSource,
    newest: &watch::Sender<Arc<[ListingAnswer]>>,
    metrics: &Metrics,
) -> bool {
    let ListingSource { venue, rest_url, url, currencies, .. } = source;
    let label = [venue.as_str()];
    match instruments::discover(*venue, rest_url, url, currencies).await {
        Ok(answers) => {
            metrics.tickers.listings.with_label_values(&label).inc();
            newest.send_replace(Arc::from(answers));
            true
        }
        Err(error) => {
            metrics.tickers.listings_failed.with_label_values(&label).inc();
            tracing::warn!(
                venue = venue.as_str(), error = format!("{error:#}"), retry = ?RETRY,
                "the listing did not come: new instruments lack their sizes until it is there"
            );
            false
        }
    }
}
