//! The connections of an exchange with several, and the one that carries each pair.
//!
//! ```text
//! clock mark of a connection ──► its stretches in the exchange's state, and the exchange's clock
//! mark of a pair and basis   ──► the connection that carries them, in the pair's own state
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

/// Changes of carrier kept per pair: one per basis for each start of the producer with another
/// plan, within the day in which a candle may be revised. Beyond it the oldest is forgotten.
pub(super) const MAX_CARRIERS: usize = 16;

/// The connection that carries a basis of a pair from a time on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carrier {
    /// Trades or samples.
    pub basis: Basis,
    /// The beginning, until the next carrier of the same basis; the first one also counts for all
    /// time before.
    pub since: Timestamp,
    /// The connection's name within the exchange.
    pub connection: String,
}

impl Carrier {
    /// The carrier of a mark whose key is a pair, if it has one.
    pub fn of(mark: &FeedMark) -> Option<Self> {
        let basis = match mark.part? {
            Part::Trades => Basis::Trade,
            Part::Tickers => Basis::Ticker,
            Part::Connection => return None,
        };
        Some(Self { basis, since: mark.healthy_from?, connection: mark.feed.clone() })
    }
}

/// Adds a carrier, unless it equals the newest of its basis.
pub(super) fn add(carriers: &mut Vec<Carrier>, new: Carrier) {
    let newest = carriers.iter().rfind(|known| known.basis == new.basis);
    if newest.is_some_and(|known| known.connection == new.connection) {
        return;
    }
    carriers.push(new);
    if carriers.len() > MAX_CARRIERS {
        carriers.remove(0);
    }
}

/// The spans in which each connection carried the basis, in order.
pub(super) fn terms(carriers: &[Carrier], basis: Basis) -> Vec<(&str, Span)> {
    let mut terms: Vec<(&str, Span)> = Vec::new();
    for one in carriers.iter().filter(|one| one.basis == basis) {
        let from = if terms.is_empty() { Timestamp(i64::MIN) } else { one.since };
        if let Some((_, last)) = terms.last_mut() {
            last.1 = one.since;
        }
        terms.push((&one.connection, (from, Timestamp(i64::MAX))));
    }
    terms
}

/// `count | (ticker?, since, connection)*`
pub(super) fn write(carriers: &[Carrier], out: &mut Vec<u8>) {
    write_count(out, carriers.len());
    for one in carriers {
        avro::boolean(out, one.basis == Basis::Ticker);
        avro::long(out, one.since.0);
        avro::string(out, &one.connection);
    }
}

pub(super) fn read(reader: &mut Reader<'_>) -> Option<Vec<Carrier>> {
    let count = count(reader, MAX_CARRIERS)?;
    let one = |_| {
        let basis = if reader.boolean().ok()? { Basis::Ticker } else { Basis::Trade };
        let since = Timestamp(reader.long().ok()?);
        Some(Carrier { basis, since, connection: reader.string().ok()?.to_owned() })
    };
    (0..count).map(one).collect()
}
