//! Connections of an exchange that needs several: whose health a pair's candles speak of.
//!
//! ```text
//! clock mark of a connection ──► its stretches in the exchange's state, and the exchange's clock
//! mark of a pair and basis   ──► the connection that carries them, in the pair's own state
//! ```
//!
//! The clock that closes windows is the exchange's: the most that any connection tells. Coverage is
//! that of the connection that carries the pair. A dead one tells nothing, so what it carries is
//! not covered from its last telling on, without anybody having to write that down; telling the
//! outages afterwards, pair by pair, would lose those during which the producer ends.
//!
//! A connection that is not dead but late tells of minutes that others have closed: these are
//! revised, when it is behind by more than the grace.

use schemas::avro::{self, Reader};
use schemas::{Basis, FeedMark, Part, Timestamp};

use super::stretches::{Span, count, write_count};

/// Changes of connection remembered of a pair: one for each basis at a start of the producer whose
/// plan differs, within the day that a candle may be revised. Beyond it the oldest is forgotten.
pub(super) const MAX_CARRIERS: usize = 16;

/// From then on, what that basis of a pair is made of comes over that connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carrier {
    /// Trades or samples.
    pub basis: Basis,
    /// From here to the next of the same basis; the first one also speaks for all before.
    pub since: Timestamp,
    /// The connection's name within the exchange.
    pub connection: String,
}

impl Carrier {
    /// What a mark whose key is a pair tells of it, if that is it.
    pub fn of(mark: &FeedMark) -> Option<Self> {
        let basis = match mark.part? {
            Part::Trades => Basis::Trade,
            Part::Tickers => Basis::Ticker,
            Part::Connection => return None,
        };
        Some(Self { basis, since: mark.healthy_from?, connection: mark.feed.clone() })
    }
}

/// Remembers a carrier, unless it is the one that is known.
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

/// When each connection carried that basis, in order.
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
