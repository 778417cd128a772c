//! How far the exchanges of a pair are apart, as gauges over the rows of `index` in this process.
//!
//! They are computed when the metrics are read. A pair with less than two prices that are not stale has
//! nothing to compare. A process without a partition of `index` has no series.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntGauge, Registry};
use schemas::{Codec, Decimal, Index};
use streams::runtime::Queries;

use crate::index_rows::visit_indexes;
use crate::operators::OUTLIER_PART;

/// See the module.
pub struct VenueGauges {
    queries: Queries,
    codec: Arc<Codec>,
    ratio: Gauge,
    apart: IntGauge,
    /// Held while the metrics are read, so that both gauges are of one look.
    reading: Mutex<()>,
}

impl VenueGauges {
    /// Registers the gauges over the stores of this process.
    ///
    /// # Errors
    /// A metric of the same name is registered.
    pub fn register(
        registry: &Registry,
        queries: Queries,
        codec: Arc<Codec>,
    ) -> prometheus::Result<()> {
        let ratio = Gauge::new(
            "processor_index_spread_ratio_max",
            "Largest spread across the exchanges of a pair, relative to its price, now.",
        )?;
        let apart = IntGauge::new(
            "processor_index_pairs_apart",
            "Pairs whose exchanges are further apart than 5 % of the price now.",
        )?;
        let reading = Mutex::default();
        registry.register(Box::new(Self { queries, codec, ratio, apart, reading }))
    }
}

impl Collector for VenueGauges {
    fn desc(&self) -> Vec<&Desc> {
        [self.ratio.desc(), self.apart.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut found = Apart::default();
        match visit_indexes(&self.queries, &self.codec, |row| found.add(row)) {
            Ok(0) => return Vec::new(),
            Ok(_) => {}
            Err(error) => {
                // A store that cannot be read is reported by the reads that need it.
                tracing::warn!(%error, "cannot compare the exchanges of an index");
                return Vec::new();
            }
        }
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        self.ratio.set(found.ratio);
        self.apart.set(found.pairs);
        [self.ratio.collect(), self.apart.collect()].concat()
    }
}

/// How far the exchanges of all pairs are apart.
#[derive(Debug, Default, PartialEq)]
struct Apart {
    /// The largest spread relative to its price.
    ratio: f64,
    /// Pairs beyond the bound of an outlier.
    pairs: i64,
}

impl Apart {
    fn add(&mut self, row: &Index) {
        let fresh = row.members.iter().filter(|one| !is_stale(one.unused_because.as_deref()));
        let prices = row.price.zip(row.spread_across_venues).filter(|_| fresh.count() > 1);
        let Some((price, spread)) = prices else { return };
        let units = |decimal: Decimal| decimal.units().unsigned_abs();
        let (price, spread) = (units(price), units(spread));
        if spread > price / OUTLIER_PART {
            self.pairs += 1;
        }
        let ratio = as_float(spread) / as_float(price);
        if ratio.is_finite() {
            self.ratio = self.ratio.max(ratio);
        }
    }
}

fn is_stale(unused_because: Option<&str>) -> bool {
    unused_because == Some(Index::STALE)
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and is no price")]
const fn as_float(units: u128) -> f64 {
    units as f64
}

#[cfg(test)]
mod tests {
    use schemas::topic::Topic;
    use schemas::{IndexKey, IndexMember};
    use streams::store::{Committed, MemoryStore};

    use super::*;
    use crate::store_keys;
    use crate::topology::store_name;

    type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

    /// A row with so many members that are not stale, and a stale one.
    fn row(price: Option<&str>, spread: Option<&str>, fresh: usize) -> Outcome<Index> {
        let parsed = |text: Option<&str>| text.map(str::parse::<Decimal>).transpose();
        let member = |because: Option<&str>| IndexMember {
            unused_because: because.map(str::to_owned),
            ..IndexMember::default()
        };
        let mut members = vec![member(Some(Index::STALE))];
        // An outlier is fresh.
        members.extend((0..fresh).map(|n| member((n > 0).then_some(Index::OUTLIER))));
        let (price, spread_across_venues) = (parsed(price)?, parsed(spread)?);
        Ok(Index { price, spread_across_venues, members, ..Index::default() })
    }

    /// The gauges of these partitions.
    fn gauges(partitions: &[Vec<Index>]) -> Outcome<Vec<(String, f64)>> {
        let (registry, queries, codec) = (Registry::new(), Queries::default(), Codec::offline());
        for (partition, rows) in (0..).zip(partitions) {
            let store = Committed::new(Box::new(MemoryStore::default()));
            for (at, row) in rows.iter().enumerate() {
                let key = store_keys::body(&IndexKey::new(format!("B{at}"), "USD"));
                let value = codec.to_bytes(row);
                store.commit([(&key[..], Some(&value[..]))].into_iter());
            }
            queries.add(store_name(Topic::Index), partition, Arc::new(store));
        }
        VenueGauges::register(&registry, queries, Arc::new(codec))?;
        let value = |family: &MetricFamily| {
            let value = family.get_metric().first().map(|one| one.get_gauge().get_value());
            (family.name().to_owned(), value.unwrap_or(f64::NAN))
        };
        Ok(registry.gather().iter().map(value).collect())
    }

    fn expected(pairs: f64, ratio: f64) -> [(String, f64); 2] {
        [
            ("processor_index_pairs_apart".into(), pairs),
            ("processor_index_spread_ratio_max".into(), ratio),
        ]
    }

    #[test]
    fn pairs_apart_and_the_largest_ratio_are_those_of_all_partitions() -> Outcome {
        let one = vec![row(Some("200"), Some("10"), 2)?, row(Some("100"), Some("25"), 3)?];
        let other = vec![row(Some("8"), Some("0.400000000000000001"), 2)?];
        assert_eq!(gauges(&[one, other])?, expected(2.0, 0.25));
        Ok(())
    }

    #[test]
    fn a_pair_with_one_fresh_price_has_nothing_to_compare() -> Outcome {
        let rows = vec![
            row(Some("100"), Some("90"), 1)?,
            row(None, None, 0)?,
            row(Some("100"), None, 2)?,
            row(Some("0"), Some("0"), 2)?,
        ];
        assert_eq!(gauges(&[rows])?, expected(0.0, 0.0));
        Ok(())
    }

    #[test]
    fn a_process_without_a_partition_has_no_series() -> Outcome {
        assert_eq!(gauges(&[])?, []);
        assert_eq!(gauges(&[vec![]])?, expected(0.0, 0.0));
        Ok(())
    }
}
