//! The connections of an exchange with several, and the one that carries each pair.
//!
//! ```text
//! clock mark of a connection ──► its stretches in the exchange's state, and the exchange's clock
//! mark of a pair and content ──► the connection that carries them, in the pair's own state
//! ```
//!
//! The exchange's clock closes windows: the latest time that any connection marks. Coverage is that
//! of the connection that carries the pair. A dead connection marks no time, so its pairs are not
//! covered from its last mark on. Outage records written afterwards would be lost if the producer
//! stopped first.
//!
//! A late connection marks the time of windows that others have closed. These are revised when it
//! is behind by more than the grace.

use schemas::avro::{self, Reader};
use schemas::{Basis, FeedMark, Part, Timestamp};

use super::stretches::{Span, count, write_count};

/// Changes of carrier kept per pair: one per content for each start of the producer with another
/// plan, within the day in which a candle may be revised. Beyond it the oldest is forgotten.
pub(super) const MAX_CARRIERS: usize = 16;

/// The content of a pair's stream, which has a carrier of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Trades.
    Trades,
    /// Price samples.
    Samples,
    /// The order book.
    Book,
}

impl Content {
    /// The basis of its candles; a book has none.
    pub(crate) const fn basis(self) -> Option<Basis> {
        match self {
            Self::Trades => Some(Basis::Trade),
            Self::Samples => Some(Basis::Ticker),
            Self::Book => None,
        }
    }

    /// Its number in the state bytes. As a byte, that of trades is 0 and that of samples 1.
    const fn number(self) -> i64 {
        match self {
            Self::Trades => 0,
            Self::Samples => -1,
            Self::Book => 1,
        }
    }

    fn of_number(number: i64) -> Option<Self> {
        [Self::Trades, Self::Samples, Self::Book].into_iter().find(|one| one.number() == number)
    }
}

impl From<Basis> for Content {
    fn from(basis: Basis) -> Self {
        match basis {
            Basis::Trade => Self::Trades,
            Basis::Ticker => Self::Samples,
        }
    }
}

/// The connection that carries a content of a pair from a time on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carrier {
    /// Trades, samples or the book.
    pub content: Content,
    /// The beginning, until the next carrier of the same content; the first one also counts for all
    /// time before.
    pub since: Timestamp,
    /// The connection's name within the exchange.
    pub connection: String,
}

impl Carrier {
    /// The carrier of a mark whose key is a pair, if it has one.
    pub fn of(mark: &FeedMark) -> Option<Self> {
        let content = match mark.part? {
            Part::Trades => Content::Trades,
            Part::Tickers => Content::Samples,
            Part::Book => Content::Book,
            Part::Connection => return None,
        };
        Some(Self { content, since: mark.healthy_from?, connection: mark.feed.clone() })
    }
}

/// Adds a carrier, unless it equals the newest of its content.
pub(super) fn add(carriers: &mut Vec<Carrier>, new: Carrier) {
    let newest = carriers.iter().rfind(|known| known.content == new.content);
    if newest.is_some_and(|known| known.connection == new.connection) {
        return;
    }
    carriers.push(new);
    if carriers.len() > MAX_CARRIERS {
        carriers.remove(0);
    }
}

/// The spans in which each connection carried the content, in order.
pub(super) fn terms(carriers: &[Carrier], content: Content) -> Vec<(&str, Span)> {
    let mut terms: Vec<(&str, Span)> = Vec::new();
    for one in carriers.iter().filter(|one| one.content == content) {
        let from = if terms.is_empty() { Timestamp(i64::MIN) } else { one.since };
        if let Some((_, last)) = terms.last_mut() {
            last.1 = one.since;
        }
        terms.push((&one.connection, (from, Timestamp(i64::MAX))));
    }
    terms
}

/// `count | (content, since, connection)*`
pub(super) fn write(carriers: &[Carrier], out: &mut Vec<u8>) {
    write_count(out, carriers.len());
    for one in carriers {
        avro::long(out, one.content.number());
        avro::long(out, one.since.0);
        avro::string(out, &one.connection);
    }
}

pub(super) fn read(reader: &mut Reader<'_>) -> Option<Vec<Carrier>> {
    let count = count(reader, MAX_CARRIERS)?;
    let one = |_| {
        let content = Content::of_number(reader.long().ok()?)?;
        let since = Timestamp(reader.long().ok()?);
        Some(Carrier { content, since, connection: reader.string().ok()?.to_owned() })
    };
    (0..count).map(one).collect()
}
