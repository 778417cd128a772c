//! The metrics of order books.

use prometheus::{CounterVec, IntCounterVec, IntGaugeVec, Opts};
use venues::book::Reason;

use super::{Declaring, Named};
use crate::labels::NoSnapshot;

const BOOKS: Named = ("producer_books", "Order books followed.");
const BOOKS_OUT_OF_SYNC: Named =
    ("producer_books_out_of_sync", "Order books that are out of sync, so without quotes.");
const BOOK_SECONDS: Named = (
    "producer_book_out_of_sync_seconds_total",
    "Time in which order books were out of sync, summed over the books.",
);
const BOOK_FRAMES: Named =
    ("producer_book_frames_total", "Snapshots and updates of order books read.");
const BOOK_RESYNCS: Named =
    ("producer_book_resyncs_total", "Times that an order book left the sync.");
const BOOK_CHECKSUMS: Named =
    ("producer_book_checksums_verified_total", "Checksums of order books that hold.");
const BOOK_SNAPSHOTS: Named =
    ("producer_book_snapshots_fetched_total", "Snapshots of order books fetched from the venue.");
const BOOK_SNAPSHOTS_FAILED: Named = (
    "producer_book_snapshots_failed_total",
    "Snapshots of order books that did not come, which are asked for again.",
);
const QUOTES_PUBLISHED: Named =
    ("producer_quotes_published_total", "Records of quotes that the broker acknowledged.");
const BOOKS_PUBLISHED: Named =
    ("producer_books_published_total", "Records of books that the broker acknowledged.");

/// Metrics of order books.
#[derive(Debug)]
pub struct BookMetrics {
    /// Books followed, by venue.
    pub followed: IntGaugeVec,
    /// Books that are out of sync, by venue.
    pub out_of_sync: IntGaugeVec,
    /// Seconds out of sync, summed over the books, by venue.
    pub out_of_sync_seconds: CounterVec,
    /// Snapshots and updates read, by venue.
    pub frames: IntCounterVec,
    /// Losses of the sync, by venue and reason.
    pub resyncs: IntCounterVec,
    /// Checksums that hold, by venue.
    pub checksums: IntCounterVec,
    /// Snapshots fetched, by venue.
    pub snapshots: IntCounterVec,
    /// Snapshots that did not come, by venue and reason.
    pub snapshots_failed: IntCounterVec,
    /// Records acknowledged by the broker in `quotes`, by venue.
    pub quotes: IntCounterVec,
    /// Records acknowledged by the broker in `books`, by venue.
    pub books: IntCounterVec,
}

impl BookMetrics {
    pub(super) fn new(to: &Declaring) -> prometheus::Result<Self> {
        let seconds = Opts::new(BOOK_SECONDS.0, BOOK_SECONDS.1);
        Ok(Self {
            followed: to.gauges(BOOKS)?,
            out_of_sync: to.gauges(BOOKS_OUT_OF_SYNC)?,
            out_of_sync_seconds: to.add(CounterVec::new(seconds, &["venue"]))?,
            frames: to.counters(BOOK_FRAMES, &["venue"])?,
            resyncs: to.counters(BOOK_RESYNCS, &["venue", "reason"])?,
            checksums: to.counters(BOOK_CHECKSUMS, &["venue"])?,
            snapshots: to.counters(BOOK_SNAPSHOTS, &["venue"])?,
            snapshots_failed: to.counters(BOOK_SNAPSHOTS_FAILED, &["venue", "reason"])?,
            quotes: to.counters(QUOTES_PUBLISHED, &["venue"])?,
            books: to.counters(BOOKS_PUBLISHED, &["venue"])?,
        })
    }

    /// Makes every series of a venue exist.
    pub(super) fn declare(&self, venue: &str) {
        for gauge in [&self.followed, &self.out_of_sync] {
            gauge.with_label_values(&[venue]);
        }
        self.out_of_sync_seconds.with_label_values(&[venue]);
        for reason in Reason::ALL {
            self.resyncs.with_label_values(&[venue, reason.as_str()]);
        }
        for why in NoSnapshot::ALL {
            self.snapshots_failed.with_label_values(&[venue, why.as_str()]);
        }
        for counter in [&self.frames, &self.checksums, &self.snapshots, &self.quotes, &self.books] {
            counter.with_label_values(&[venue]);
        }
    }
}
