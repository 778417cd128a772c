//! The part of a read that needs the stores of `options`.
//!
//! These stores have partitions of their own, as those of `quotes`. A chain has options of every
//! partition, so a member without some of them answers with a part: the header `positions` names the
//! partitions that it read.

use std::sync::Arc;

use schemas::avro::Record;
use schemas::topic::Topic;
use schemas::{Derivative, OptionMinute, OptionState, PairKey, Timestamp};
use streams::store::Committed;

use super::error::{Refusal, Result};
use super::pair_store::PairStore;
use super::read_service::ReadContext;
use super::segments::{Segments, WindowRange};
use crate::operators::Interval;
use crate::store_keys;
use crate::topology::store_name;

/// Options that the refusal of an unknown instrument names.
const NEAR: usize = 5;

impl ReadContext<'_> {
    /// The partitions of a store, and the extent of a read of all of them.
    pub(super) fn partitions_of(&mut self, topic: Topic) -> Vec<(i32, Arc<Committed>)> {
        let stores = self.service.queries.stores(store_name(topic));
        for (partition, store) in &stores {
            self.extent.add(topic, *partition, store);
        }
        stores
    }

    /// Gives each value of a store to `each`, decoded once. Returns the partitions.
    fn scan<V: Record>(
        &mut self,
        topic: Topic,
        prefix: &[u8],
        mut each: impl FnMut(PairKey, V),
    ) -> Result<Vec<i32>> {
        let stores = self.partitions_of(topic);
        for (_, store) in &stores {
            let store = PairStore::new(&self.service.codec, store, topic);
            store.visit_values(prefix, &mut each)?;
        }
        Ok(stores.into_iter().map(|(partition, _)| partition).collect())
    }

    /// Gives each option to `each`.
    pub(super) fn each_option(
        &mut self,
        each: impl FnMut(PairKey, OptionState),
    ) -> Result<Vec<i32>> {
        self.scan(Topic::Options, &[], each)
    }

    /// Gives each future and perpetual to `each`.
    pub(super) fn each_derivative(
        &mut self,
        each: impl FnMut(PairKey, Derivative),
    ) -> Result<Vec<i32>> {
        self.scan(Topic::Derivatives, &[], each)
    }

    /// The options of that name: one for each venue that lists it.
    fn named_options(
        &mut self,
        instrument: &str,
        exchange: Option<&str>,
    ) -> Result<Vec<(PairKey, OptionState)>> {
        let mut found = Vec::new();
        self.scan(Topic::Options, &store_keys::pair_prefix(instrument, None), |pair, option| {
            if exchange.is_none_or(|exchange| exchange == pair.exchange) {
                found.push((pair, option));
            }
        })?;
        Ok(found)
    }

    /// The only option of that name; a refusal that names near ones, or the venues to choose from.
    pub(super) fn only_option(
        &mut self,
        instrument: &str,
        exchange: Option<&str>,
    ) -> Result<(PairKey, OptionState)> {
        let mut found = self.named_options(instrument, exchange)?;
        let Some(last) = found.pop() else {
            return Err(self.no_option(instrument)?);
        };
        if found.is_empty() {
            return Ok(last);
        }
        let venues = found.iter().chain([&last]).map(|(pair, _)| pair.exchange.as_str());
        let venues = venues.collect::<Vec<_>>().join(", ");
        let reason = format!("{instrument}: several venues list it: add exchange, one of {venues}");
        Err(Refusal::bad(reason))
    }

    fn no_option(&mut self, instrument: &str) -> Result<Refusal> {
        let mut names = Vec::new();
        let stores = self.partitions_of(Topic::Options);
        for (_, store) in &stores {
            let store = PairStore::new(&self.service.codec, store, Topic::Options);
            names.extend(store.pairs(&[])?.into_iter().map(|pair| pair.base));
        }
        let near = near(instrument, names);
        let hint = if near.is_empty() {
            "GET /v1/options lists what is here, and a view has every partition".to_owned()
        } else {
            format!("near it are {}; GET /v1/options lists all", near.join(", "))
        };
        let reason =
            format!("{instrument}: no partition of this member has an option of it: {hint}");
        let partitions = stores.into_iter().map(|(partition, _)| partition).collect();
        Ok(self.not_among(Refusal::not_found(reason).with("near", near), partitions))
    }

    /// A refusal for want of data, with the partitions that were read; 503 while they are restored.
    pub(super) fn not_among(&self, refusal: Refusal, partitions: Vec<i32>) -> Refusal {
        if self.is_ready() {
            return refusal.with("partitions", partitions);
        }
        let reason = "options: they are not in the partitions that are restored so far: try again";
        Refusal::unavailable(reason).with("partitions", partitions)
    }

    /// The refusal when no partition of this process has options at all.
    pub(super) fn no_options_here(&self) -> Refusal {
        let reason = "options, futures and perpetuals: no partition of this member has them: ask a \
                      view, or compute them with processor run --topologies prices,options";
        self.not_among(Refusal::not_found(reason), Vec::new())
    }

    /// The minutes of an option within a range, oldest first.
    pub(super) fn option_minutes(
        &mut self,
        pair: &PairKey,
        range: WindowRange,
    ) -> Result<Vec<(Timestamp, OptionMinute)>> {
        let key = store_keys::pair_key(pair);
        for (_, store) in self.partitions_of(Topic::Options1m) {
            let segments = Segments {
                store: &store,
                interval: Interval::Minute,
                topic: Topic::Options1m,
                key: |time| {
                    let mut out = Vec::new();
                    store_keys::option_minute_key(&key, time, &mut out);
                    out
                },
                time: |key| store_keys::read_spread_key(key).map(|(_, time)| time),
            };
            let codec = &self.service.codec;
            let found = segments
                .read(range, |value| codec.decode(value).map_err(|e| segments.corrupt(e)))?;
            // A pair is in one partition.
            if !found.is_empty() {
                return Ok(found.into_iter().collect());
            }
        }
        Ok(Vec::new())
    }
}

/// The names that share the longest beginning with the one that was asked for. A name of another
/// currency is not near.
fn near(instrument: &str, names: Vec<String>) -> Vec<String> {
    let shared = |name: &str| {
        let pairs = name.bytes().zip(instrument.bytes());
        pairs.take_while(|(one, other)| one.eq_ignore_ascii_case(other)).count()
    };
    let least = instrument.find('-').map_or(usize::MAX, |end| end + 1);
    let mut near: Vec<(usize, String)> =
        names.into_iter().map(|name| (shared(&name), name)).filter(|(n, _)| *n >= least).collect();
    near.sort_unstable_by(|(one, a), (other, b)| other.cmp(one).then_with(|| a.cmp(b)));
    near.dedup();
    near.into_iter().take(NEAR).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_come_first_and_another_currency_is_not_near() {
        let names = [
            "ETH-25DEC26-4000-C",
            "BTC-25DEC26-110000-C",
            "BTC-25DEC26-100000-C",
            "BTC-25DEC26-100000-P",
            "BTC-26DEC26-100000-C",
            "BTC-25DEC26-90000-P",
            "BTC-1JAN27-1-C",
        ];
        let names: Vec<String> = names.map(str::to_owned).to_vec();
        let found = near("btc-25dec26-100000-X", names.clone());
        assert_eq!(found[..2], ["BTC-25DEC26-100000-C", "BTC-25DEC26-100000-P"]);
        assert_eq!((found.len(), found[2].as_str()), (NEAR, "BTC-25DEC26-110000-C"));
        assert_eq!(near("XRP-25DEC26-1-C", names.clone()), Vec::<String>::new());
        assert_eq!(near("", Vec::new()), Vec::<String>::new());
        assert_eq!(near("BT", names), Vec::<String>::new());
    }
}
