//! Decodes and checks records of `option_tickers`: bytes become entries, and invalid records become
//! dead letters.
//!
//! | reason | condition |
//! |---|---|
//! | `corrupt`, `unknown_schema`, `invalid_key`, `tombstone`, `bad_time` | as for `events` |
//! | `bad_mark` | as for `events`; a mark whose key is a pair |
//! | `bad_size` | a size, a volume or the open interest is less than zero |
//! | `bad_iv` | a volatility is less than zero |
//! | `bad_text` | the state or the name of the underlying is no name |
//! | `empty_ticker` | neither mark, last, bid, ask, open interest nor index |
//! | `bad_instrument` | the facts contradict themselves or the name: see [`check_instrument`] |
//!
//! The operator refuses further records: `bad_price`, `closed`, `expired`, `unknown_instrument`.
//! A volatility of 0 or 999 is the venue's value and stays.

use std::cell::RefCell;
use std::rc::Rc;

use schemas::instrument::{Class, InstrumentName};
use schemas::pair::check_name;
use schemas::{Codec, Decimal, Instrument, Kind, PairKey, Ticker};
use streams::Failure;
use streams::record::SourceRecord;

use crate::operators::entry::{check_mark, check_time, failure};
use crate::operators::pairs::{NO_PAIR, Pair, PairCache, is_key_of_mark};
use crate::operators::rules::END_OF_TIME;
use crate::store_keys;

/// A checked record of `option_tickers`.
#[derive(Clone, Debug)]
pub enum OptionEntry {
    /// The ticker of an option, a future or a perpetual.
    Ticker {
        /// The pair; its base is the instrument.
        pair: Rc<Pair>,
        /// The ticker.
        ticker: Box<Ticker>,
    },
    /// The facts of an instrument, or its end.
    Instrument {
        /// The pair; its base is the instrument.
        pair: Rc<Pair>,
        /// The facts.
        instrument: Box<Instrument>,
    },
    /// The clock of a feed, which only advances stream time.
    Clock,
}

/// Decodes one record of `option_tickers`; `pairs` caches the pairs of keys.
pub fn option_entry(
    codec: &Codec,
    pairs: &RefCell<PairCache>,
    record: &SourceRecord<'_>,
) -> Result<OptionEntry, Failure> {
    let value = record.value.ok_or(Failure::Drop("tombstone"))?;
    let pair = || {
        pairs.borrow_mut().get(record.key, || {
            // Encoded again, because senders may write the lengths of a key in several forms.
            let key = codec.decode::<PairKey>(record.key).map_err(failure)?;
            Pair::read(&store_keys::pair_key(&key)).ok_or(Failure::Drop("invalid_key"))
        })
    };
    match codec.kind(value).map_err(failure)? {
        Some(Kind::Ticker) => {
            let pair = pair()?;
            let ticker: Box<Ticker> = Box::new(codec.decode(value).map_err(failure)?);
            check_ticker(&ticker)?;
            check_time(ticker.event_time, ticker.received_at, record)?;
            Ok(OptionEntry::Ticker { pair, ticker })
        }
        Some(Kind::Instrument) => {
            let pair = pair()?;
            let instrument: Box<Instrument> = Box::new(codec.decode(value).map_err(failure)?);
            check_instrument(pair.base(), &instrument)?;
            check_time(instrument.event_time, instrument.received_at, record)?;
            Ok(OptionEntry::Instrument { pair, instrument })
        }
        Some(Kind::FeedMark) => {
            let key = codec.decode::<PairKey>(record.key).map_err(failure)?;
            let of = store_keys::pair_key(&key);
            if !is_key_of_mark(&of) {
                return Err(Failure::Drop("invalid_key"));
            }
            let mark = codec.decode(value).map_err(failure)?;
            check_mark(&key, &mark, record, &[])?;
            if !of.starts_with(&NO_PAIR) {
                return Err(Failure::Drop("bad_mark"));
            }
            Ok(OptionEntry::Clock)
        }
        _ => Err(Failure::Drop("corrupt")),
    }
}

fn check_ticker(ticker: &Ticker) -> Result<(), Failure> {
    let has_negative =
        |all: &[Option<Decimal>]| all.iter().flatten().any(|value| value.is_negative());
    let Ticker { bid_size, ask_size, open_interest, volume, volume_usd, .. } = *ticker;
    if has_negative(&[bid_size, ask_size, open_interest, volume, volume_usd]) {
        return Err(Failure::Drop("bad_size"));
    }
    if has_negative(&[ticker.mark_iv, ticker.bid_iv, ticker.ask_iv]) {
        return Err(Failure::Drop("bad_iv"));
    }
    let mut texts = [&ticker.state, &ticker.underlying_index].into_iter().flatten();
    if texts.any(|text| check_name(text.as_bytes()).is_err()) {
        return Err(Failure::Drop("bad_text"));
    }
    let Ticker { mark_price, last_price, bid, ask, index_price, .. } = *ticker;
    let is_empty =
        [mark_price, last_price, bid, ask, open_interest, index_price].iter().all(Option::is_none);
    if is_empty { Err(Failure::Drop("empty_ticker")) } else { Ok(()) }
}

/// Refuses facts that contradict themselves or the instrument's name.
///
/// | fact | rule |
/// |---|---|
/// | `class` | that of the name, if the name has one |
/// | `currency`, `settlement_currency` | a name |
/// | `strike`, `right` | those of the name, if both state them; an option has them from one of the two |
/// | `expiry_time` | after 1970, before [`END_OF_TIME`]; all but perpetuals have one; it may differ from the name |
/// | `strike`, `contract_size`, `tick_size` | greater than zero |
fn check_instrument(base: &str, instrument: &Instrument) -> Result<(), Failure> {
    let name = InstrumentName::parse(base);
    let name = name.as_ref();
    let differs = |of_name: Option<bool>| of_name.is_some_and(|is_same| !is_same);
    let has = |listed: bool, named: Option<bool>| listed || named.unwrap_or(false);
    let is_option = instrument.class == Class::Option;
    let contradicts = differs(name.map(|name| name.class == instrument.class))
        || differs(name.and_then(|name| Some(name.strike? == instrument.strike?)))
        || differs(name.and_then(|name| Some(name.right? == instrument.right?)));
    let has_strike = has(instrument.strike.is_some(), name.map(|name| name.strike.is_some()));
    let has_right = has(instrument.right.is_some(), name.map(|name| name.right.is_some()));
    let has_expiry =
        has(instrument.expiry_time.is_some(), name.map(|name| name.expiry_time.is_some()));
    let is_complete = (!is_option || (has_strike && has_right))
        && (has_expiry || instrument.class == Class::Perpetual);
    let currencies = [Some(&instrument.currency), instrument.settlement_currency.as_ref()];
    let are_names = currencies.into_iter().flatten().all(|one| check_name(one.as_bytes()).is_ok());
    let numbers = [instrument.strike, instrument.contract_size, instrument.tick_size];
    let are_positive = numbers.into_iter().flatten().all(Decimal::is_positive);
    let is_time = instrument.expiry_time.is_none_or(|time| time.0 > 0 && time < END_OF_TIME);
    let is_sound = !contradicts && is_complete && are_names && are_positive && is_time;
    if is_sound { Ok(()) } else { Err(Failure::Drop("bad_instrument")) }
}
