//! The newest quote of a pair, with its measures.

use crate::avro::{self, Malformed, Reader, Record};
use crate::book::BookLevel;
use crate::kind::Kind;
use crate::weighted_sum::WeightedSum;
use crate::{Decimal, Timestamp, quote};

crate::named! {
    /// The state of a pair's book.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum BookState {
        /// The book has its proof, and the quote is in force.
        InSync = "IN_SYNC",
        /// The book lost its proof after the quote, which is no longer in force.
        OutOfSync = "OUT_OF_SYNC",
    }
}

/// The newest quote of a pair, and all that is needed to go on from here.
///
/// The measures and the mean are not fields but methods: they follow from the others, and are
/// divided when the record is written. A reader of the bytes finds them there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopOfBook {
    /// The best bid, in units of the quote.
    pub bid: Option<Decimal>,
    /// The size at the best bid, in units of the base.
    pub bid_size: Option<Decimal>,
    /// The best ask, in units of the quote.
    pub ask: Option<Decimal>,
    /// The size at the best ask, in units of the base.
    pub ask_size: Option<Decimal>,
    /// The largest absolute spread since the first quote of the UTC day.
    pub max_spread: Option<Decimal>,
    /// The venue's id of this state of the book.
    pub sequence: Option<i64>,
    /// In sync, or not.
    pub state: BookState,
    /// The venue's time of the quote; the time of receipt where it has none.
    pub event_time: Timestamp,
    /// When we received the quote, by our clock.
    pub received_at: Timestamp,
    /// The pair's time at which the quote came into force.
    pub since: Timestamp,
    /// The pair's time, which never decreases: `since`, or the time at which the book lost its
    /// proof.
    pub clock: Timestamp,
    /// The beginning of the UTC day of `max_spread`.
    pub max_spread_day: Timestamp,
    /// The last mids, oldest first, at most [`Self::MIDS`].
    pub mids: Vec<Decimal>,
}

impl TopOfBook {
    /// Mids whose mean is kept.
    pub const MIDS: usize = 10;

    /// The best bid with its size.
    pub fn best_bid(&self) -> Option<BookLevel> {
        BookLevel::of(self.bid, self.bid_size)
    }

    /// The best ask with its size.
    pub fn best_ask(&self) -> Option<BookLevel> {
        BookLevel::of(self.ask, self.ask_size)
    }

    /// See [`quote::spread`].
    pub fn spread(&self) -> Option<Decimal> {
        quote::spread(self.best_bid(), self.best_ask())
    }

    /// See [`quote::mid`].
    pub fn mid(&self) -> Option<Decimal> {
        quote::mid(self.best_bid(), self.best_ask())
    }

    /// See [`quote::microprice`].
    pub fn microprice(&self) -> Option<Decimal> {
        quote::microprice(self.best_bid(), self.best_ask())
    }

    /// See [`quote::imbalance`].
    pub fn imbalance(&self) -> Option<Decimal> {
        quote::imbalance(self.best_bid(), self.best_ask())
    }

    /// The mean of the last mids; `None` when there is none.
    pub fn mid_mean_10(&self) -> Option<Decimal> {
        let mut sum = WeightedSum::default();
        self.mids.iter().for_each(|mid| sum.add(*mid, 1));
        sum.mean(i64::try_from(self.mids.len()).ok()?)
    }
}

impl Record for TopOfBook {
    const KIND: Kind = Kind::TopOfBook;

    fn write(&self, out: &mut Vec<u8>) {
        let sides = [self.bid, self.bid_size, self.ask, self.ask_size];
        let measures = [self.spread(), self.mid(), self.microprice(), self.imbalance()];
        let kept = [self.max_spread, self.mid_mean_10()];
        for value in sides.into_iter().chain(measures).chain(kept) {
            avro::optional(out, value, avro::decimal);
        }
        avro::optional(out, self.sequence, avro::long);
        avro::string(out, self.state.as_str());
        for time in [self.event_time, self.received_at, self.since, self.clock, self.max_spread_day]
        {
            avro::long(out, time.0);
        }
        avro::array(out, &self.mids, |out, mid| avro::decimal(out, *mid));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut decimals = [None; 10];
        for value in &mut decimals {
            *value = reader.optional(Reader::decimal)?;
        }
        let [
            bid,
            bid_size,
            ask,
            ask_size,
            _spread,
            _mid,
            _microprice,
            _imbalance,
            max_spread,
            _mean,
        ] = decimals;
        Ok(Self {
            bid,
            bid_size,
            ask,
            ask_size,
            max_spread,
            sequence: reader.optional(Reader::long)?,
            state: reader.named(BookState::parse)?,
            event_time: Timestamp(reader.long()?),
            received_at: Timestamp(reader.long()?),
            since: Timestamp(reader.long()?),
            clock: Timestamp(reader.long()?),
            max_spread_day: Timestamp(reader.long()?),
            mids: reader.array(Self::MIDS, Reader::decimal)?,
        })
    }
}
