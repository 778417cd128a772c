//! The order books of Kraken's feed: levels around the newest trade, and the checksum of the best.
//!
//! A book is a function of one trade, so every connection sees the same book. A client receives the
//! difference between its book and the next one.
//!
//! ```text
//! trade ─ Book::at ─→ next ─ since(the client's book) ─→ levels to send
//!                       └─── checksum ─────────────────→ beside them
//! ```
//!
//! Invariants:
//! - A client that applies the sent levels, removes empty ones and truncates to its depth has
//!   exactly the book of the checksum.
//! - A level that truncation removes is never removed by a message, as at the venue.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::iter::once;

use crate::faults::Faults;
use crate::market::{Product, Trade};
use crate::text::rfc3339;

/// How many levels of each side may be asked for.
pub const DEPTHS: [usize; 5] = [10, 25, 100, 500, 1000];
/// Levels of each side that the checksum is over, whatever the depth.
const CHECKED: usize = 10;
/// Trades for which a level keeps its size: one or two of ten are then another with each trade.
const RENEWED: u64 = 16;
/// One of this many places has no level, so that levels come and go.
const EMPTY: u64 = 8;
/// Levels are as far apart as a trade is from the one before, so that a trade moves the book by a
/// level or so and leaves the rest standing.
const SPACING: i64 = 20_000;

/// Price in ticks → size in size units.
pub type Side = BTreeMap<i64, i64>;

/// Both sides, or the levels of both sides that are sent.
///
/// ```
/// use simulator::kraken::book::{Book, Side};
///
/// let book = Book { bids: Side::from([(99, 5)]), asks: Side::from([(101, 7)]) };
/// let next = Book { bids: Side::from([(98, 2)]), asks: Side::from([(101, 8)]) };
/// let sent = next.since(&book, 10);
/// assert_eq!(sent.bids, Side::from([(98, 2), (99, 0)]));
/// assert_eq!(sent.asks, Side::from([(101, 8)]));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    /// The highest is the best.
    pub bids: Side,
    /// The lowest is the best.
    pub asks: Side,
}

impl Book {
    /// The best levels as of a trade. The very best are those of the ticker.
    pub fn at(product: &Product, trade: &Trade, depth: usize) -> Self {
        let (bid, ask) = (trade.price, trade.price + 1);
        let spacing = (trade.day.open / SPACING).max(1);
        let middle = bid / spacing;
        let level = |place: i64| resting(product, trade, place, spacing);
        let below = (0..=middle).rev().filter_map(level);
        let above = (middle..).filter_map(level);
        let below = below.filter(|(price, _)| (1..bid).contains(price));
        let above = above.filter(|(price, _)| *price > ask);
        Self {
            bids: once((bid, trade.size)).chain(below).take(depth).collect(),
            asks: once((ask, trade.size)).chain(above).take(depth).collect(),
        }
    }

    /// The levels that turn the book `before`, cut to `depth`, into this one; a size of zero removes.
    #[must_use]
    pub fn since(&self, before: &Self, depth: usize) -> Self {
        let worst_bid = worst(&self.bids, depth, |bids| bids.keys().next().copied());
        let worst_ask = worst(&self.asks, depth, |asks| asks.keys().next_back().copied());
        Self {
            bids: changes(&before.bids, &self.bids, |price| {
                worst_bid.is_none_or(|worst| price > worst)
            }),
            asks: changes(&before.asks, &self.asks, |price| {
                worst_ask.is_none_or(|worst| price < worst)
            }),
        }
    }

    /// The venue's CRC-32: over prices and sizes of the ten best asks, then of the ten best bids,
    /// each number without its point and without the zeros before it. That is what ticks are.
    ///
    /// ```
    /// use simulator::kraken::book::{Book, Side};
    ///
    /// // 0.05005 with 0.00000500, and 0.05000 with 0.00000500.
    /// let book = Book { asks: Side::from([(5005, 500)]), bids: Side::from([(5000, 500)]) };
    /// assert_eq!(book.checksum(), crc32fast::hash(b"50055005000500"));
    /// ```
    pub fn checksum(&self) -> u32 {
        let asks = self.asks.iter().take(CHECKED);
        let bids = self.bids.iter().rev().take(CHECKED);
        let mut text = String::new();
        for (price, size) in asks.chain(bids) {
            // Text takes all that is written.
            let _ = write!(text, "{price}{size}");
        }
        crc32fast::hash(text.as_bytes())
    }

    fn is_empty(&self) -> bool {
        self.bids.is_empty() && self.asks.is_empty()
    }
}

/// The worst price of a side that is full: a level beyond it is cut, not removed.
fn worst(side: &Side, depth: usize, last: impl Fn(&Side) -> Option<i64>) -> Option<i64> {
    if side.len() < depth { None } else { last(side) }
}

/// Levels that are new or of another size, and those that are gone from where they would be kept.
fn changes(before: &Side, after: &Side, kept: impl Fn(i64) -> bool) -> Side {
    let other = after.iter().filter(|(price, size)| before.get(price) != Some(size));
    let gone = before.keys().filter(|price| !after.contains_key(price) && kept(**price));
    other.map(|(price, size)| (*price, *size)).chain(gone.map(|price| (*price, 0))).collect()
}

/// The level that rests at a place as of a trade: its price and size, if there is one.
fn resting(product: &Product, trade: &Trade, place: i64, spacing: i64) -> Option<(i64, i64)> {
    let of_place = mixed(place.cast_unsigned() ^ ((trade.product as u64) << 48));
    // Each place has its own turn, so that a trade renews a few and not all.
    let turn = (trade.id + of_place % RENEWED) / RENEWED;
    let of_turn = mixed(of_place ^ turn);
    let off = (of_place >> 8) % spacing.cast_unsigned();
    let most = product.typical_size.saturating_mul(2).cast_unsigned().max(1);
    let size = 1 + (of_turn >> 8) % most;
    (!of_turn.is_multiple_of(EMPTY))
        .then_some((place * spacing + off.cast_signed(), size.cast_signed()))
}

/// Spreads a number over all bits (splitmix64): neighbours have nothing in common.
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The books that one client follows, by product.
#[derive(Debug, Default)]
pub struct Books {
    followed: BTreeMap<usize, Followed>,
    faults: Faults,
}

/// A client's state of one book.
#[derive(Debug)]
struct Followed {
    depth: usize,
    /// The trade of the book; updates of earlier trades are not sent.
    seen: u64,
    book: Book,
}

impl Books {
    /// No book as yet.
    pub fn new(faults: Faults) -> Self {
        Self { followed: BTreeMap::new(), faults }
    }

    /// No book is followed.
    pub fn is_empty(&self) -> bool {
        self.followed.is_empty()
    }

    /// Follows a book from now on; its snapshot.
    pub fn follow(&mut self, product: &Product, depth: usize) -> String {
        let trade = &product.last;
        let book = Book::at(product, trade, depth);
        let checksum = self.checksum(&book, trade);
        let snapshot = message(product, "snapshot", &book, checksum, trade);
        self.followed.insert(trade.product, Followed { depth, seen: trade.id, book });
        snapshot
    }

    /// Follows it no longer; the depth at which it was followed.
    pub fn leave(&mut self, product: usize) -> Option<usize> {
        self.followed.remove(&product).map(|followed| followed.depth)
    }

    /// The update of a followed book by a trade.
    pub fn update(&mut self, product: &Product, trade: &Trade) -> Option<String> {
        let followed = self.followed.get_mut(&trade.product)?;
        if trade.id <= followed.seen {
            return None;
        }
        let next = Book::at(product, trade, followed.depth);
        let changes = next.since(&followed.book, followed.depth);
        followed.seen = trade.id;
        followed.book.clone_from(&next);
        let checksum = self.checksum(&next, trade);
        (!changes.is_empty()).then(|| message(product, "update", &changes, checksum, trade))
    }

    fn checksum(&self, book: &Book, trade: &Trade) -> u32 {
        let checksum = book.checksum();
        // Another bit is wrong for sure, where another number could be right by chance.
        if self.faults.breaks_checksum(trade.id) { checksum ^ 1 } else { checksum }
    }
}

fn message(product: &Product, form: &str, book: &Book, checksum: u32, trade: &Trade) -> String {
    let level = |(price, size): (&i64, &i64)| {
        format!(r#"{{"price":{},"qty":{}}}"#, product.price(*price), product.size(*size))
    };
    let bids: Vec<_> = book.bids.iter().rev().map(level).collect();
    let asks: Vec<_> = book.asks.iter().map(level).collect();
    let data = format!(
        r#"{{"symbol":"{}","bids":[{}],"asks":[{}],"checksum":{checksum},"timestamp":"{}"}}"#,
        product.name,
        bids.join(","),
        asks.join(","),
        rfc3339(trade.time_us),
    );
    frame("book", form, &data)
}

/// A message of a channel.
pub(super) fn frame(channel: &str, form: &str, data: &str) -> String {
    format!(r#"{{"channel":"{channel}","type":"{form}","data":[{data}]}}"#)
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
