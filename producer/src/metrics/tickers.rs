//! The metrics of whole tickers and of the facts of instruments.

use prometheus::IntCounterVec;
use schemas::InstrumentState;
use venues::{Class, NullField};

use super::{Declaring, Named};

const TICKERS_READ: Named =
    ("producer_tickers_read_total", "Whole tickers of options, futures and perpetuals read.");
const FIELDS_NULL: Named = (
    "producer_ticker_fields_null_total",
    "Fields of tickers that were sent and became null, by the reason.",
);
const TICKERS_REPEATED: Named = (
    "producer_tickers_repeated_total",
    "Tickers left out because another connection had brought them, or newer ones.",
);
const INSTRUMENTS: Named =
    ("producer_instrument_records_total", "Records that an instrument is listed or has ended.");
const LISTINGS_FETCHED: Named =
    ("producer_listings_fetched_total", "Listings fetched from the venue while feeds run.");
const LISTINGS_FAILED: Named = (
    "producer_listings_failed_total",
    "Listings that did not come while feeds run, which are asked for again.",
);
const WITHOUT_ROOM: Named = (
    "producer_instruments_without_room_total",
    "Newly listed instruments that no connection has room for: restart for a new plan.",
);
const PUBLISHED: Named = (
    "producer_option_tickers_published_total",
    "Records of option_tickers that the broker acknowledged.",
);

/// Metrics of whole tickers and of the facts of instruments.
#[derive(Debug)]
pub struct TickerMetrics {
    /// Tickers read, by venue and class.
    pub read: IntCounterVec,
    /// Fields that were sent and became null, by venue and reason.
    pub fields_null: IntCounterVec,
    /// Tickers left out at the replacement of a connection, by venue.
    pub repeated: IntCounterVec,
    /// Records of instruments, by venue and state.
    pub instruments: IntCounterVec,
    /// Listings fetched while feeds run, by venue.
    pub listings: IntCounterVec,
    /// Listings that did not come, by venue.
    pub listings_failed: IntCounterVec,
    /// Newly listed instruments that no connection has room for, by venue.
    pub without_room: IntCounterVec,
    /// Records acknowledged by the broker in `option_tickers`, by venue.
    pub published: IntCounterVec,
}

impl TickerMetrics {
    pub(super) fn new(to: &Declaring) -> prometheus::Result<Self> {
        Ok(Self {
            read: to.counters(TICKERS_READ, &["venue", "class"])?,
            fields_null: to.counters(FIELDS_NULL, &["venue", "reason"])?,
            repeated: to.counters(TICKERS_REPEATED, &["venue"])?,
            instruments: to.counters(INSTRUMENTS, &["venue", "state"])?,
            listings: to.counters(LISTINGS_FETCHED, &["venue"])?,
            listings_failed: to.counters(LISTINGS_FAILED, &["venue"])?,
            without_room: to.counters(WITHOUT_ROOM, &["venue"])?,
            published: to.counters(PUBLISHED, &["venue"])?,
        })
    }

    /// Makes every series of a venue exist.
    pub(super) fn declare(&self, venue: &str) {
        for class in Class::ALL {
            self.read.with_label_values(&[venue, class.as_str()]);
        }
        for reason in NullField::ALL {
            self.fields_null.with_label_values(&[venue, reason.as_str()]);
        }
        for state in InstrumentState::ALL {
            self.instruments.with_label_values(&[venue, state.as_str()]);
        }
        let of_venue = [
            &self.repeated,
            &self.listings,
            &self.listings_failed,
            &self.without_room,
            &self.published,
        ];
        for counter in of_venue {
            counter.with_label_values(&[venue]);
        }
    }
}
