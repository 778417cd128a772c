//! What `spreads_1m` should be, computed from `quotes` by other means than the product's.
//!
//! Nothing of `streams` or `processor` is used. Each pair keeps its quotes with the times in which
//! they were in force, and each minute is summed up at the end, from scratch:
//!
//! - a quote comes into force at the greatest of its time, the pair's last time, and the beginning of
//!   the first minute that the exchange's clock has not closed;
//! - it is in force until the next quote of its pair, or until its book is out of sync;
//! - a minute exists if a quote came in it, and counts every quote that was in force in it.
//!
//! Marks, coverage and revisions are not computed: the product states them, and the tests hold them to
//! what they did to it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use schemas::{
    Codec, Decimal, FeedMark, Kind, PairKey, Part, Quote, Spread, SpreadKey, Status, Timestamp,
};

use super::exact::{decimal, half_to_even};
use super::topics::Record;

const GRACE: i64 = 5_000;
const MINUTE: i64 = 60_000;
/// Mids whose mean is kept.
const MIDS: usize = 10;

/// A quote and the time in which it was in force; the end of the last one is not known.
struct InForce {
    quote: Quote,
    from: i64,
    until: Option<i64>,
    /// The mean of the last mids up to here.
    mean: Option<Decimal>,
}

/// The quotes of a pair in their order.
#[derive(Default)]
struct History {
    quotes: Vec<InForce>,
    /// The pair's last time.
    clock: Option<i64>,
    mids: Vec<i128>,
}

/// A minute: what the product's must say, where it does not depend on the state of the window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minute {
    /// Quotes that came.
    pub updates: i64,
    /// Smallest, largest and largest absolute spread.
    pub spreads: [Option<Decimal>; 3],
    /// First, highest, lowest and last mid.
    pub mids: [Option<Decimal>; 4],
    /// Mean of the last ten mids, microprice and imbalance at the last quote.
    pub last: [Option<Decimal>; 3],
    /// Means of spread and mid, weighted by time; `None` for a window that is open.
    pub means: Option<[Option<Decimal>; 2]>,
}

impl Minute {
    /// The same of the product's.
    pub fn of(spread: &Spread) -> Self {
        let is_open = spread.status == Status::Open;
        Self {
            updates: spread.updates,
            spreads: [spread.spread_min, spread.spread_max, spread.spread_max_abs],
            mids: [spread.mid_open, spread.mid_high, spread.mid_low, spread.mid_close],
            last: [spread.mid_mean_10, spread.microprice, spread.imbalance],
            means: (!is_open).then(|| [spread.spread_mean(), spread.mid_mean()]),
        }
    }
}

/// The minutes of every pair in the records of `quotes`, in the order of their partitions.
pub fn minutes(codec: &Codec, records: &[Record]) -> Result<BTreeMap<SpreadKey, Minute>> {
    let mut histories: BTreeMap<PairKey, History> = BTreeMap::new();
    // Each partition has the clock of each exchange.
    let mut clocks: BTreeMap<(i32, String), i64> = BTreeMap::new();
    for record in records {
        let key: PairKey = codec.decode(&record.key)?;
        let value = record.value.as_deref().context("a tombstone in quotes")?;
        let clock_of = (record.partition, key.exchange.clone());
        if codec.kind(value)? == Some(Kind::FeedMark) {
            let mark: FeedMark = codec.decode(value)?;
            if key.base.is_empty() {
                let clock = clocks.entry(clock_of).or_insert(i64::MIN);
                *clock = (*clock).max(mark.healthy_until.0);
            } else if mark.part == Some(Part::Book) && mark.healthy_from.is_none() {
                histories.entry(key).or_default().lose(&mark);
            }
            continue;
        }
        let clock = clocks.get(&clock_of).copied();
        histories.entry(key).or_default().take(codec.decode(value)?, clock)?;
    }
    let mut found = BTreeMap::new();
    for (pair, history) in histories {
        for start in history.starts() {
            let key = SpreadKey { pair: pair.clone(), open_time: Timestamp(start) };
            found.insert(key, history.minute(start)?);
        }
    }
    Ok(found)
}

const fn start(time: i64) -> i64 {
    time - time.rem_euclid(MINUTE)
}

impl History {
    fn take(&mut self, quote: Quote, exchange: Option<i64>) -> Result<()> {
        let open = exchange.map(|clock| start(clock - GRACE));
        let from = [Some(quote.event_time.0), self.clock, open].into_iter().flatten().max();
        let from = from.unwrap_or(quote.event_time.0);
        if let Some(mid) = quote.mid() {
            self.mids.push(mid.units());
        }
        let last = &self.mids[self.mids.len().saturating_sub(MIDS)..];
        let count = i128::try_from(last.len())?;
        let mean = match count {
            0 => None,
            _ => Some(decimal(half_to_even(last.iter().sum(), count))?),
        };
        self.end(from);
        self.quotes.push(InForce { quote, from, until: None, mean });
        self.clock = Some(from);
        Ok(())
    }

    /// The book is out of sync. A gap that was over before the newest quote ends nothing.
    fn lose(&mut self, mark: &FeedMark) {
        let lost = mark.gap_from.unwrap_or(mark.healthy_until).0;
        let Some(newest) = self.quotes.last() else { return };
        let was_over = mark.gap_until.is_some_and(|until| until.0 <= newest.from);
        if newest.until.is_none() && !was_over {
            let at = lost.max(newest.from);
            self.end(at);
            self.clock = Some(at);
        }
    }

    fn end(&mut self, at: i64) {
        if let Some(newest) = self.quotes.last_mut() {
            newest.until.get_or_insert(at);
        }
    }

    /// The minutes in which quotes came.
    fn starts(&self) -> Vec<i64> {
        let mut starts: Vec<_> = self.quotes.iter().map(|one| start(one.from)).collect();
        starts.dedup();
        starts
    }

    fn minute(&self, start: i64) -> Result<Minute> {
        let end = start + MINUTE;
        let ms = |one: &InForce| (one.until.unwrap_or(end).min(end) - one.from.max(start)).max(0);
        let came = |one: &&InForce| (start..end).contains(&one.from);
        let counted =
            self.quotes.iter().filter(|one| came(one) || (one.from < start && ms(one) > 0));
        let (mut spreads, mut mids) = (Vec::new(), Vec::new());
        let (mut spread_sum, mut mid_sum, mut weight) = (0_i128, 0_i128, 0_i128);
        for one in counted {
            let Some((spread, mid)) = one.quote.spread().zip(one.quote.mid()) else { continue };
            spreads.push(spread);
            mids.push(mid);
            let ms = i128::from(ms(one));
            spread_sum += spread.units() * ms;
            mid_sum += mid.units() * ms;
            weight += ms;
        }
        let mean = |sum: i128, last: Option<&Decimal>| match weight {
            0 => Ok(last.copied()),
            _ => decimal(half_to_even(sum, weight)).map(Some),
        };
        let means = [mean(spread_sum, spreads.last())?, mean(mid_sum, mids.last())?];
        let magnitudes = spreads.iter().map(|spread| decimal(spread.units().abs()));
        let magnitudes = magnitudes.collect::<Result<Vec<_>>>()?;
        let last = self.quotes.iter().rfind(came).context("a minute without a quote")?;
        Ok(Minute {
            updates: i64::try_from(self.quotes.iter().filter(came).count())?,
            spreads: [
                spreads.iter().min().copied(),
                spreads.iter().max().copied(),
                magnitudes.into_iter().max(),
            ],
            mids: [
                mids.first().copied(),
                mids.iter().max().copied(),
                mids.iter().min().copied(),
                mids.last().copied(),
            ],
            last: [last.mean, last.quote.microprice(), last.quote.imbalance()],
            means: Some(means),
        })
    }
}

#[cfg(test)]
mod tests {
    use anyhow::ensure;
    use schemas::Proof;

    use super::*;

    fn record(codec: &Codec, bid: &str, ask: &str, time: i64) -> Result<Record> {
        let (bid, ask): (Decimal, Decimal) = (bid.parse()?, ask.parse()?);
        let quote = Quote {
            bid: Some(bid),
            bid_size: Some(Decimal::ONE),
            ask: Some(ask),
            ask_size: Some(Decimal::ONE),
            ..Quote::empty(Proof::None, Timestamp(time))
        };
        Ok(of(codec.to_bytes(&quote), codec.to_bytes(&PairKey::new("BTC", "USD", "x"))))
    }

    fn of(value: Vec<u8>, key: Vec<u8>) -> Record {
        Record { partition: 0, offset: 0, key, value: Some(value), headers: BTreeMap::new() }
    }

    #[test]
    fn a_quote_is_weighed_by_its_time_and_not_after_its_book_was_lost() -> Result<()> {
        let codec = Codec::offline();
        let lost = FeedMark {
            part: Some(Part::Book),
            ..FeedMark::healthy("1", Timestamp(70_000), Timestamp(71_000))
        };
        let records = [
            record(&codec, "99", "101", 0)?,
            record(&codec, "100", "101", 30_000)?,
            of(codec.to_bytes(&lost), codec.to_bytes(&PairKey::new("BTC", "USD", "x"))),
            record(&codec, "100", "104", 110_000)?,
        ];
        let found: Vec<_> = minutes(&codec, &records)?.into_values().collect();
        let text = |values: &[Option<Decimal>]| -> Vec<String> {
            values.iter().map(|v| v.map_or("-".into(), |v| v.to_string())).collect()
        };
        ensure!(found.len() == 2 && found[0].updates == 2 && found[1].updates == 1, "{found:?}");
        ensure!(text(&found[0].means.context("means")?) == ["1.5", "100.25"], "{found:?}");
        // Ten seconds of 1, forty of nothing, ten of 4.
        ensure!(text(&found[1].means.context("means")?) == ["2.5", "101.25"], "{found:?}");
        ensure!(text(&found[1].spreads) == ["1", "4", "4"], "{found:?}");
        Ok(())
    }
}
