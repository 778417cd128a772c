//! The order books of Kraken's feed: their messages, and the checksum of the best levels.
//!
//! Invariant: a client that applies the sent levels, removes empty ones and truncates to its depth has
//! exactly the book of the checksum.

use std::fmt::Write as _;

use crate::book::Book;
use crate::book::update::{State, Update};
use crate::market::Product;
use crate::text::rfc3339;

/// How many levels of each side may be asked for.
pub const DEPTHS: [usize; 5] = [10, 25, 100, 500, 1000];
/// Levels of each side that the checksum is over, whatever the depth.
const CHECKED: usize = 10;

/// The venue's CRC-32: over prices and sizes of the ten best asks, then of the ten best bids, each
/// number without its point and without the zeros before it. That is what ticks are.
///
/// ```
/// use simulator::book::{Book, Side};
/// use simulator::kraken::book::checksum;
///
/// // 0.05005 with 0.00000500, and 0.05000 with 0.00000500.
/// let book = Book { asks: Side::from([(5005, 500)]), bids: Side::from([(5000, 500)]) };
/// assert_eq!(checksum(&book), crc32fast::hash(b"50055005000500"));
/// ```
pub fn checksum(book: &Book) -> u32 {
    let asks = book.asks.iter().take(CHECKED);
    let bids = book.bids.iter().rev().take(CHECKED);
    let mut text = String::new();
    for (price, size) in asks.chain(bids) {
        // Text takes all that is written.
        let _ = write!(text, "{price}{size}");
    }
    crc32fast::hash(text.as_bytes())
}

/// The snapshot of a state.
pub(super) fn snapshot(product: &Product, state: &State, depth: usize) -> String {
    let book = state.book(product).cut(depth);
    message(product, "snapshot", &book, stated(&book, state), state)
}

/// The update at a client that truncates to the depth, if anything changed there.
pub(super) fn update(product: &Product, update: &Update, depth: usize) -> Option<String> {
    let (changes, book) = update.truncated(product, depth);
    let checksum = stated(&book, &update.after);
    (!changes.is_empty()).then(|| message(product, "update", &changes, checksum, &update.after))
}

/// The checksum that the venue states.
fn stated(book: &Book, state: &State) -> u32 {
    // Another bit is wrong for sure, where another number could be right by chance.
    checksum(book) ^ u32::from(state.wrong_checksum)
}

fn message(product: &Product, form: &str, book: &Book, checksum: u32, state: &State) -> String {
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
        rfc3339(state.time_us),
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
