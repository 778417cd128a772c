//! Lines of recorded files become the outputs of live feeds.
//!
//! | file | line | result |
//! |---|---|---|
//! | capture | `{"at_us","venue","kind","url","raw"}` | the records of `raw`, received at `at_us` |
//! | capture, `kind` is `http` | the same | the snapshot of a book, if `url` is of one |
//! | trades | `{"exchange","base","quote","trade_id","price","size","event_time_us"[,"taker_side"]}` | a trade, received at its event time |
//!
//! A capture of venue `ethereum` gives the pools, the heads and the swaps that its follower published.
//!
//! A file may hold both formats. A line of neither format becomes a dead letter. The clock is not
//! read here: the same lines give the same outputs, byte for byte.

mod chain;
mod feed;

use std::borrow::Cow;

use schemas::{MarketEvent, PairKey, Pool, PoolKey, TakerSide, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::ethereum;
use crate::fields::{decimal, integer, scalar};
use crate::instrument::Instrument;
use crate::malformed::Malformed;
use crate::pipeline::{DeadLetter, Output, Produced};
use crate::venue::{AnyVenue, Venue};

use chain::CapturedChain;
use feed::CapturedFeed;

/// The name of this source in dead letters of lines that are not a venue's.
pub const SOURCE: &str = "replay";

/// Binance's stream of single trades, inside the escaped text of a capture's line.
const TRADE_STREAM: &str = "@trade\\\"";

/// A capture of a venue that has no adapter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("captures of {0} cannot be replayed yet: only those of {list}; leave them out", list = AnyVenue::ALL.map(AnyVenue::as_str).join(", "))]
pub struct NoAdapter(String);

/// A line of any of the formats.
#[derive(Deserialize)]
struct Line<'a> {
    at_us: Option<i64>,
    #[serde(borrow)]
    venue: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
    url: Option<Cow<'a, str>>,
    raw: Option<Cow<'a, str>>,
    exchange: Option<Cow<'a, str>>,
    base: Option<Cow<'a, str>>,
    quote: Option<Cow<'a, str>>,
    trade_id: Option<&'a RawValue>,
    price: Option<&'a RawValue>,
    size: Option<&'a RawValue>,
    event_time_us: Option<&'a RawValue>,
    taker_side: Option<&'a RawValue>,
}

/// A line of a capture.
struct Captured<'a> {
    at: Timestamp,
    venue: &'a str,
    kind: &'a str,
    /// Empty where the recorder did not write it.
    url: &'a str,
    raw: &'a str,
}

impl Line<'_> {
    fn captured(&self) -> Option<Captured<'_>> {
        Some(Captured {
            at: Timestamp::from_micros(self.at_us?),
            venue: self.venue.as_deref()?,
            kind: self.kind.as_deref()?,
            url: self.url.as_deref().unwrap_or_default(),
            raw: self.raw.as_deref()?,
        })
    }

    fn trade(&self) -> Result<(PairKey, MarketEvent), Malformed> {
        let part = |name, field: &Option<Cow<'_, str>>| {
            field.as_deref().map(str::to_owned).ok_or(Malformed::MissingField(name))
        };
        let pair = PairKey::new(
            part("base", &self.base)?,
            part("quote", &self.quote)?,
            part("exchange", &self.exchange)?,
        )
        .checked()?;
        let micros = integer("event_time_us", scalar(self.event_time_us))?;
        let price = decimal("price", scalar(self.price))?;
        let size = decimal("size", scalar(self.size))?;
        let trade_id = scalar(self.trade_id).map(|id| integer("trade_id", Some(id))).transpose()?;
        let taker_side = match scalar(self.taker_side) {
            None => None,
            Some("BUY") => Some(TakerSide::Buy),
            Some("SELL") => Some(TakerSide::Sell),
            Some(_) => return Err(Malformed::BadField("taker_side")),
        };
        let trade = MarketEvent::trade(price, size, Timestamp::from_micros(micros));
        Ok((pair, MarketEvent { trade_id, taker_side, ..trade }))
    }
}

/// The format of a file, as one of its lines shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Frames of venues.
    Capture,
    /// Trades of any exchange.
    Trades,
}

impl Format {
    /// The format of a line, by its fields; `None` for any other text.
    ///
    /// ```
    /// use venues::recording::Format;
    /// let capture = r#"{"at_us":1,"venue":"coinbase","kind":"open","url":"","raw":""}"#;
    /// assert_eq!(Format::of(capture), Some(Format::Capture));
    /// assert_eq!(Format::of("time,open,high,low,close"), None);
    /// ```
    pub fn of(text: &str) -> Option<Self> {
        let line: Line<'_> = serde_json::from_str(text).ok()?;
        if line.captured().is_some() {
            return Some(Self::Capture);
        }
        let names = [&line.exchange, &line.base, &line.quote].map(Option::is_some);
        let values = [line.price, line.size, line.event_time_us].map(|value| value.is_some());
        [names, values].iter().flatten().all(|is_there| *is_there).then_some(Self::Trades)
    }
}

/// The pair and the trade of a line of a trade file.
pub fn trade(text: &str) -> Result<(PairKey, MarketEvent), Malformed> {
    read(text)?.trade()
}

fn read(text: &str) -> Result<Line<'_>, Malformed> {
    serde_json::from_str(text).map_err(|error| Malformed::NotJson(error.to_string()))
}

/// The line is of a stream of single trades of Binance, which makes the aggregates of its file
/// repetitions. The first trade may stand behind the first aggregate, so a file is read twice for
/// it.
pub fn is_single_trade(text: &str) -> bool {
    text.contains(TRADE_STREAM)
}

/// The instruments of a captured answer to a request for a venue's listing; `None` for every other
/// line.
pub fn listing(text: &str) -> Option<(Venue, Vec<Instrument>)> {
    let line: Line<'_> = serde_json::from_str(text).ok()?;
    let Captured { venue, kind, raw, .. } = line.captured()?;
    let venue = Venue::from_name(venue)?;
    let is_answer = kind == "http" || (kind == "frame" && (venue.adapter().listing.is_answer)(raw));
    let listed = is_answer.then(|| venue.instruments(raw).ok())??;
    Some((venue, listed))
}

/// The receipt of a line's outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// When they were received; 0 for a line that cannot be read.
    pub at: Timestamp,
    /// The exchange of a capture's line; `None` for a chain.
    pub venue: Option<Venue>,
}

/// The lines of one file, in order.
#[derive(Default)]
pub struct Recording {
    /// In the order of the list of venues.
    feeds: [Option<CapturedFeed>; Venue::ALL.len()],
    chain: CapturedChain,
    without_aggregates: bool,
    /// The receipt of the newest line of a capture.
    newest: Timestamp,
}

impl Recording {
    /// A file at its beginning. `without_aggregates` leaves out aggregates of trades, because the
    /// file [has the single trades](is_single_trade).
    pub fn new(without_aggregates: bool) -> Self {
        Self { without_aggregates, ..Self::default() }
    }

    /// The pools whose swaps a capture of venue `ethereum` has. Without them, the pools are those whose
    /// facts the recorder asked for.
    #[must_use]
    pub fn with_pools(mut self, pools: Vec<(PoolKey, Pool)>) -> Self {
        self.chain = CapturedChain::new(pools);
        self
    }

    /// Appends the outputs at the end of the file: a book that is out of sync has a gap up to the last
    /// line. Nothing follows it.
    pub fn finish(&mut self, out: &mut Produced) -> Receipt {
        for feed in self.feeds.iter_mut().flatten() {
            feed.finish(out);
        }
        self.chain.finish(self.newest, out);
        Receipt { at: self.newest, venue: None }
    }

    /// Appends the outputs and counts of a line. An empty one has none.
    pub fn line(&mut self, text: &str, out: &mut Produced) -> Result<Receipt, NoAdapter> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Receipt::default());
        }
        let line = match read(text) {
            Ok(line) => line,
            Err(malformed) => return Ok(refuse(&malformed, text, out)),
        };
        if let Some(captured) = line.captured() {
            return self.captured(&captured, out);
        }
        Ok(match line.trade() {
            Ok((pair, event)) => {
                let at = event.received_at;
                out.outputs.push(Output::Event { pair, event });
                Receipt { at, venue: None }
            }
            Err(malformed) => refuse(&malformed, text, out),
        })
    }

    fn captured(&mut self, line: &Captured<'_>, out: &mut Produced) -> Result<Receipt, NoAdapter> {
        if line.venue == ethereum::NAME {
            self.newest = self.newest.max(line.at);
            self.chain.line(line, out);
            return Ok(Receipt { at: line.at, venue: None });
        }
        let venue = Venue::from_name(line.venue).ok_or_else(|| NoAdapter(line.venue.into()))?;
        self.newest = self.newest.max(line.at);
        let feed = &mut self.feeds[venue as usize];
        let without_aggregates = self.without_aggregates;
        feed.get_or_insert_with(|| CapturedFeed::new(venue, without_aggregates)).line(line, out);
        Ok(Receipt { at: line.at, venue: Some(venue) })
    }
}

fn refuse(malformed: &Malformed, text: &str, out: &mut Produced) -> Receipt {
    out.outputs.push(Output::DeadLetter(DeadLetter::new(SOURCE, malformed, text)));
    Receipt::default()
}

#[cfg(test)]
#[path = "recording_book_tests.rs"]
mod book_tests;
#[cfg(test)]
#[path = "recording_tests.rs"]
mod tests;
