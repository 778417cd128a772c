//! The divergences of the options of this process, as gauges by currency and expiry.
//!
//! They are computed when the metrics are read: 1,500 rows take some milliseconds. A process that
//! has some partitions compares a call and a put only if it has both. A closed option and one
//! without a volatility have no divergence, and an expiry without any has no series.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts, Registry};
use schemas::{Codec, Decimal, OptionState, PairKey};
use streams::runtime::Queries;

use super::options::{Strike, divergence, mark};
use crate::option_rows::visit_options;

/// Series of each gauge: several venues' currencies with a dozen expiries each. Further ones share one
/// series, whose labels are [`OTHER`].
const MAX_SERIES: usize = 256;
/// The labels of what exceeds [`MAX_SERIES`].
const OTHER: &str = "other";

/// A currency and an expiry as its date.
type Labels = (String, String);

/// The largest divergences of one expiry.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Largest {
    mark: Option<f64>,
    delta: Option<f64>,
    parity: Option<f64>,
}

/// The gauges.
struct Gauges {
    mark: GaugeVec,
    delta: GaugeVec,
    parity: GaugeVec,
}

/// See the module.
pub struct DivergenceGauges {
    queries: Queries,
    codec: Arc<Codec>,
    gauges: Gauges,
    /// Held while the metrics are read, so that one reader does not reset what another collects.
    reading: Mutex<()>,
}

impl DivergenceGauges {
    /// Registers the gauges over the stores of this process.
    ///
    /// # Errors
    /// A metric of the same name is registered.
    pub fn register(
        registry: &Registry,
        queries: Queries,
        codec: Arc<Codec>,
    ) -> prometheus::Result<()> {
        registry.register(Box::new(Self::new(queries, codec)?))
    }

    fn new(queries: Queries, codec: Arc<Codec>) -> prometheus::Result<Self> {
        let gauge =
            |name: &str, help: &str| GaugeVec::new(Opts::new(name, help), &["currency", "expiry"]);
        let gauges = Gauges {
            mark: gauge(
                "processor_option_mark_divergence_coin",
                "Largest difference of a mark price from Black-76 now, in coin, by expiry.",
            )?,
            delta: gauge(
                "processor_option_delta_divergence",
                "Largest difference of a delta from Black-76 now, by expiry.",
            )?,
            parity: gauge(
                "processor_option_parity_divergence_coin",
                "Largest difference of a call less a put from 1 - strike/forward now, in coin, by expiry.",
            )?,
        };
        Ok(Self { queries, codec, gauges, reading: Mutex::default() })
    }
}

impl Gauges {
    fn all(&self) -> [&GaugeVec; 3] {
        [&self.mark, &self.delta, &self.parity]
    }

    fn set(&self, (currency, expiry): &Labels, largest: Largest) {
        let Largest { mark, delta, parity } = largest;
        for (gauge, value) in self.all().into_iter().zip([mark, delta, parity]) {
            if let Some(value) = value {
                gauge.with_label_values(&[currency, expiry]).set(value);
            }
        }
    }
}

impl Collector for DivergenceGauges {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut found = Found::default();
        // A store that cannot be read is reported by the reads that need it.
        let read = visit_options(&self.queries, &self.codec, |pair, row| found.add(pair, row));
        if let Err(error) = read {
            tracing::warn!(%error, "cannot compute the divergences of options");
        }
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        self.gauges.all().iter().for_each(|gauge| gauge.reset());
        for (labels, largest) in found.bounded() {
            self.gauges.set(&labels, largest);
        }
        self.gauges.all().into_iter().flat_map(Collector::collect).collect()
    }
}

/// The divergences of all rows.
#[derive(Default)]
struct Found {
    expiries: BTreeMap<Labels, Largest>,
    /// By labels, quote, exchange and strike.
    strikes: BTreeMap<(Labels, String, String, Decimal), Strike>,
}

impl Found {
    fn add(&mut self, pair: &PairKey, row: &OptionState) {
        let date = row.expiry_time.to_string();
        let date = date.split('T').next().unwrap_or_default();
        let labels = (row.currency.clone(), date.to_owned());
        if let Some(mark) = mark(pair, row) {
            let of = (labels.clone(), pair.quote.clone(), pair.exchange.clone(), row.strike);
            self.strikes.entry(of).or_default().add(row.right, mark);
        }
        if let Some(found) = divergence(pair, row) {
            let largest = self.expiries.entry(labels).or_default();
            larger(&mut largest.mark, Some(found.mark_coin));
            larger(&mut largest.delta, found.delta);
        }
    }

    /// The largest ones of each expiry, in at most [`MAX_SERIES`] series and one of the rest.
    fn bounded(mut self) -> Vec<(Labels, Largest)> {
        for ((labels, _, _, strike), sides) in self.strikes {
            if let Some(found) = sides.parity(strike) {
                larger(&mut self.expiries.entry(labels).or_default().parity, Some(found));
            }
        }
        let mut all = self.expiries.into_iter();
        let mut series: Vec<_> = all.by_ref().take(MAX_SERIES).collect();
        let rest = all.reduce(|(labels, mut whole), (_, part)| {
            larger(&mut whole.mark, part.mark);
            larger(&mut whole.delta, part.delta);
            larger(&mut whole.parity, part.parity);
            (labels, whole)
        });
        series.extend(rest.map(|(_, largest)| ((OTHER.into(), OTHER.into()), largest)));
        series
    }
}

/// Keeps the larger one. Not a number is none.
fn larger(known: &mut Option<f64>, found: Option<f64>) {
    let found = found.filter(|found| !found.is_nan());
    *known = match (*known, found) {
        (Some(known), Some(found)) => Some(known.max(found)),
        (known, found) => known.or(found),
    };
}

#[cfg(test)]
mod tests {
    use prometheus::proto::LabelPair;
    use schemas::Timestamp;
    use schemas::instrument::InstrumentName;
    use streams::store::{Committed, MemoryStore};

    use super::*;
    use crate::store_keys;
    use crate::topology::store_name;
    use schemas::topic::Topic;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    /// An option a tenth of a year before its expiry, whose mark is that of the model and some coin.
    fn row(
        name: &str,
        volatility: &str,
        off: f64,
    ) -> Result<OptionState, Box<dyn std::error::Error>> {
        let name = InstrumentName::parse(name).ok_or("a name")?;
        let mut row = OptionState::named(&name).ok_or("an option")?;
        row.event_time = Timestamp(row.expiry_time.0 - 3_153_600_000);
        row.underlying_price = Some("42000".parse()?);
        row.mark_iv = Some(volatility.parse()?);
        let model = super::super::options::model(&row).ok_or("a model")?;
        row.mark_price = Some(format!("{:.18}", model.price() + off).parse()?);
        row.delta = Some(format!("{:.18}", model.delta() + 10.0 * off).parse()?);
        Ok(row)
    }

    fn gauges(rows: &[(&str, OptionState)]) -> Result<Vec<String>, Box<dyn std::error::Error>> {
        let (registry, queries, codec) = (Registry::new(), Queries::default(), Codec::offline());
        for (partition, part) in (0..).zip(rows.chunks(rows.len().div_ceil(2).max(1))) {
            let store = Committed::new(Box::new(MemoryStore::default()));
            for (name, row) in part {
                let pair = PairKey::new(*name, "BTC", "deribit");
                let (key, value) = (store_keys::pair_key(&pair), codec.to_bytes(row));
                store.commit([(&key[..], Some(&value[..]))].into_iter());
            }
            queries.add(store_name(Topic::Options), partition, Arc::new(store));
        }
        DivergenceGauges::register(&registry, queries, Arc::new(codec))?;
        let mut found = Vec::new();
        for family in registry.gather() {
            let name = family.name().trim_start_matches("processor_option_").to_owned();
            for metric in family.get_metric() {
                let labels = metric.get_label().iter().map(LabelPair::value);
                let labels: Vec<_> = labels.collect();
                let value = metric.get_gauge().get_value();
                found.push(format!("{name} {} {value:.4}", labels.join(" ")));
            }
        }
        Ok(found)
    }

    #[test]
    fn the_largest_divergence_of_each_expiry_is_shown_over_all_partitions() -> Outcome {
        let mut closed = row("BTC-5JAN24-50000-C", "60", 0.5)?;
        closed.closed_at = Some(Timestamp(1));
        let mut unknown = row("BTC-12JAN24-50000-C", "60", 0.5)?;
        unknown.mark_iv = None;
        let rows = [
            ("BTC-5JAN24-42000-C", row("BTC-5JAN24-42000-C", "60", 0.001)?),
            ("BTC-5JAN24-43000-C", row("BTC-5JAN24-43000-C", "60", -0.002)?),
            ("BTC-5JAN24-50000-C", closed),
            ("BTC-12JAN24-42000-P", row("BTC-12JAN24-42000-P", "50", 0.0)?),
            ("BTC-12JAN24-50000-C", unknown),
            // The other side, in the other partition.
            ("BTC-5JAN24-42000-P", row("BTC-5JAN24-42000-P", "60", -0.002)?),
        ];
        let expected = [
            "delta_divergence BTC 2024-01-05 0.0200",
            "delta_divergence BTC 2024-01-12 0.0000",
            "mark_divergence_coin BTC 2024-01-05 0.0020",
            "mark_divergence_coin BTC 2024-01-12 0.0000",
            "parity_divergence_coin BTC 2024-01-05 0.0030",
        ];
        assert_eq!(gauges(&rows)?, expected);
        assert_eq!(gauges(&[])?, [] as [&str; 0]);
        Ok(())
    }

    #[test]
    fn prices_of_two_moments_are_not_compared() -> Outcome {
        let call = row("BTC-5JAN24-42000-C", "60", 0.0)?;
        let mut put = row("BTC-5JAN24-42000-P", "60", 0.0)?;
        put.underlying_price = Some("42010".parse()?);
        let found = gauges(&[("BTC-5JAN24-42000-C", call), ("BTC-5JAN24-42000-P", put)])?;
        assert!(found.iter().all(|line| !line.starts_with("parity")), "{found:?}");
        Ok(())
    }

    #[test]
    fn expiries_beyond_the_bound_share_a_series() {
        let series = |index: usize| {
            let largest =
                Largest { mark: Some(if index == 300 { 2.0 } else { 1.0 }), ..Largest::default() };
            (("BTC".into(), format!("{index:04}")), largest)
        };
        let found = Found { expiries: (0..400).map(series).collect(), ..Found::default() };
        let all = found.bounded();
        assert_eq!(all.len(), MAX_SERIES + 1);
        let (labels, largest) = &all[MAX_SERIES];
        assert_eq!((labels.0.as_str(), labels.1.as_str(), largest.mark), (OTHER, OTHER, Some(2.0)));
    }
}
