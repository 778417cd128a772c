//! Decodes and checks records of `quotes`: bytes become entries, and invalid records become dead
//! letters.
//!
//! | reason | condition |
//! |---|---|
//! | `corrupt`, `unknown_schema`, `invalid_key`, `tombstone`, `bad_time` | as for `events` |
//! | `bad_quote` | a side with a price and no size, or the reverse; a bid above the ask; a spread of more than 38 digits |
//! | `bad_size` | less than zero |
//! | `bad_mark` | as for `events`; a pair's mark that is not of its book, or has ids; a change of a pair with a part or a gap |
//!
//! A price may be negative: combos of Deribit have such.

use std::cell::RefCell;
use std::rc::Rc;

use schemas::{Codec, Decimal, FeedMark, Kind, PairKey, Part, Quote};
use streams::Failure;
use streams::record::SourceRecord;

use crate::operators::entry::{check_mark, check_time, cut, failure};
use crate::operators::pairs::{Pair, PairCache, is_key_of_mark};
use crate::store_keys;

/// A checked record of `quotes`.
#[derive(Clone, Debug)]
pub enum QuoteEntry {
    /// The best bid and ask of a pair.
    Quote {
        /// The pair.
        pair: Rc<Pair>,
        /// The quote.
        quote: Quote,
    },
    /// A mark of a feed.
    Mark {
        /// Its key as a store key: an exchange without a pair, or one pair.
        key: Box<[u8]>,
        /// The mark.
        mark: FeedMark,
    },
}

/// Decodes one record of `quotes`; `pairs` caches the pairs of keys.
pub fn quote_entry(
    codec: &Codec,
    pairs: &RefCell<PairCache>,
    record: &SourceRecord<'_>,
) -> Result<QuoteEntry, Failure> {
    let value = record.value.ok_or(Failure::Drop("tombstone"))?;
    match codec.kind(value).map_err(failure)? {
        Some(Kind::Quote) => {
            let pair = pairs.borrow_mut().get(record.key, || {
                // Encoded again, because senders may write the lengths of a key in several forms.
                let key = codec.decode::<PairKey>(record.key).map_err(failure)?;
                Pair::read(&store_keys::pair_key(&key)).ok_or(Failure::Drop("invalid_key"))
            })?;
            let quote = codec.decode(value).map_err(failure)?;
            check(&quote)?;
            check_time(quote.event_time, quote.received_at, record)?;
            Ok(QuoteEntry::Quote { pair, quote })
        }
        Some(Kind::FeedMark) => {
            let key = codec.decode::<PairKey>(record.key).map_err(failure)?;
            let of = store_keys::pair_key(&key);
            if !is_key_of_mark(&of) {
                return Err(Failure::Drop("invalid_key"));
            }
            let mut mark = codec.decode(value).map_err(failure)?;
            check_mark(&key, &mark, record, &[Part::Book])?;
            check_book_mark(&key, &mark)?;
            cut(&mut mark.reason);
            Ok(QuoteEntry::Mark { key: of.into(), mark })
        }
        _ => Err(Failure::Drop("corrupt")),
    }
}

fn check(quote: &Quote) -> Result<(), Failure> {
    if [quote.bid_size, quote.ask_size].into_iter().flatten().any(Decimal::is_negative) {
        return Err(Failure::Drop("bad_size"));
    }
    let is_whole =
        |price: Option<Decimal>, size: Option<Decimal>| price.is_some() == size.is_some();
    let has_spread = match (quote.best_bid(), quote.best_ask()) {
        (Some(bid), Some(ask)) => bid.price <= ask.price && quote.spread().is_some(),
        _ => true,
    };
    let is_sound = is_whole(quote.bid, quote.bid_size) && is_whole(quote.ask, quote.ask_size);
    if is_sound && has_spread { Ok(()) } else { Err(Failure::Drop("bad_quote")) }
}

/// Refuses a pair's mark that says anything but the state of its book, or a change of the pair.
fn check_book_mark(key: &PairKey, mark: &FeedMark) -> Result<(), Failure> {
    let of_feed = key.base.is_empty() && key.quote.is_empty();
    let has_ids = mark.first_missing_id.is_some() || mark.missing.is_some();
    let is_sound = if mark.change.is_some() {
        !of_feed && !has_ids && mark.part.is_none() && mark.gap_from.is_none()
    } else {
        of_feed || (mark.part == Some(Part::Book) && !has_ids)
    };
    if is_sound { Ok(()) } else { Err(Failure::Drop("bad_mark")) }
}
