//! The outputs of `quotes`: the newest of each key, and the rows of their tables.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use schemas::topic::Topic;
use schemas::{Codec, Decimal, PairKey, Spread, SpreadKey, TopOfBook};

use super::outputs::put;
use super::topics::Record;

/// Spreads by window, and the partition each is in.
pub type Spreads = BTreeMap<SpreadKey, (i32, Spread)>;

/// The content of the output topics of `quotes`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// By pair.
    pub tops: BTreeMap<PairKey, (i32, TopOfBook)>,
    /// By topic and window.
    pub spreads: BTreeMap<Topic, Spreads>,
}

/// The topics of spreads.
const SPREADS: [Topic; 3] = [Topic::Spreads1m, Topic::Spreads1h, Topic::Spreads1d];
/// The columns of `top_of_book`, in the order of [`top_row`].
const TOP: &str = "base quote exchange bid bid_size ask ask_size spread mid microprice imbalance \
                   max_spread mid_mean_10 sequence state event_time received_at";
/// The columns of a table of spreads, in the order of [`spread_row`].
const SPREAD: &str = "base quote exchange open_time updates spread_min spread_max spread_max_abs \
                      spread_mean mid_open mid_high mid_low mid_close mid_mean mid_mean_10 \
                      microprice imbalance coverage_ms gap status revision";

impl Books {
    /// Takes a record of one of the topics; false when it is of another one.
    pub fn add(&mut self, codec: &Codec, topic: Topic, record: &Record) -> Result<bool> {
        let value = record.value.as_deref().context("a tombstone")?;
        if topic == Topic::TopOfBook {
            let newest = (record.partition, codec.decode(value)?);
            put(&mut self.tops, codec.decode(&record.key)?, newest)?;
        } else if SPREADS.contains(&topic) {
            let newest = (record.partition, codec.decode(value)?);
            put(self.spreads.entry(topic).or_default(), codec.decode(&record.key)?, newest)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// The columns and rows of the table of a topic; `None` when it is of another one.
    pub fn rows(&self, topic: Topic) -> Option<(&'static str, Vec<String>)> {
        if topic == Topic::TopOfBook {
            return Some((
                TOP,
                self.tops.iter().map(|(pair, (_, top))| top_row(pair, top)).collect(),
            ));
        }
        if !SPREADS.contains(&topic) {
            return None;
        }
        let spreads = self.spreads.get(&topic).into_iter().flatten();
        Some((SPREAD, spreads.map(|(key, (_, spread))| spread_row(key, spread)).collect()))
    }
}

fn optional(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn decimals(values: &[Option<Decimal>]) -> Vec<String> {
    values.iter().map(|value| optional(*value)).collect()
}

fn names(pair: &PairKey) -> Vec<String> {
    vec![pair.base.clone(), pair.quote.clone(), pair.exchange.clone()]
}

fn top_row(pair: &PairKey, top: &TopOfBook) -> String {
    let measures = [
        top.bid,
        top.bid_size,
        top.ask,
        top.ask_size,
        top.spread(),
        top.mid(),
        top.microprice(),
        top.imbalance(),
        top.max_spread,
        top.mid_mean_10(),
    ];
    let rest = vec![
        optional(top.sequence),
        top.state.as_str().to_owned(),
        top.event_time.0.to_string(),
        top.received_at.0.to_string(),
    ];
    [names(pair), decimals(&measures), rest].concat().join("|")
}

fn spread_row(key: &SpreadKey, spread: &Spread) -> String {
    let counts = vec![key.open_time.0.to_string(), spread.updates.to_string()];
    let measures = [
        spread.spread_min,
        spread.spread_max,
        spread.spread_max_abs,
        spread.spread_mean(),
        spread.mid_open,
        spread.mid_high,
        spread.mid_low,
        spread.mid_close,
        spread.mid_mean(),
        spread.mid_mean_10,
        spread.microprice,
        spread.imbalance,
    ];
    let rest = vec![
        optional(spread.coverage_ms),
        spread.gap.to_string(),
        spread.status.as_str().to_owned(),
        spread.revision.to_string(),
    ];
    [names(&key.pair), counts, decimals(&measures), rest].concat().join("|")
}
