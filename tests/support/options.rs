//! The outputs of `options` by the field names of their schemas: the newest of each key, the rows of
//! their tables, and the fields that a venue's ticker gives.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use anyhow::{Context as _, Result};
use schemas::json::RecordJson;
use schemas::topic::Topic;
use schemas::{Codec, Decimal, Kind};
use serde_json::Value;

use super::outputs::put;
use super::topics::Record;

/// The fields of a record by name: numbers as decimals are printed, times in milliseconds.
pub type Fields = BTreeMap<String, Option<String>>;
/// The newest value of each key, and the partition each is in.
pub type Newest = BTreeMap<Fields, (i32, Fields)>;

/// The numbers of a ticker, and the venue's field for each.
pub const NUMBERS: [(&str, &str); 28] = [
    ("mark_price", "mark_price"),
    ("last_price", "last_price"),
    ("bid", "best_bid_price"),
    ("bid_size", "best_bid_amount"),
    ("ask", "best_ask_price"),
    ("ask_size", "best_ask_amount"),
    ("mark_iv", "mark_iv"),
    ("bid_iv", "bid_iv"),
    ("ask_iv", "ask_iv"),
    ("delta", "greeks.delta"),
    ("gamma", "greeks.gamma"),
    ("vega", "greeks.vega"),
    ("theta", "greeks.theta"),
    ("rho", "greeks.rho"),
    ("open_interest", "open_interest"),
    ("underlying_price", "underlying_price"),
    ("index_price", "index_price"),
    ("settlement_price", "settlement_price"),
    ("min_price", "min_price"),
    ("max_price", "max_price"),
    ("interest_rate", "interest_rate"),
    ("estimated_delivery_price", "estimated_delivery_price"),
    ("current_funding", "current_funding"),
    ("funding_8h", "funding_8h"),
    ("volume", "stats.volume"),
    ("volume_usd", "stats.volume_usd"),
    ("price_change", "stats.price_change"),
    ("high", "stats.high"),
];
/// One more number of a ticker.
const LOW: (&str, &str) = ("low", "stats.low");
/// The numbers of each side, of which none stands when its price is zero.
const SIDES: [[&str; 3]; 2] = [["bid", "bid_size", "bid_iv"], ["ask", "ask_size", "ask_iv"]];

/// The topics whose tables are compared.
const TOPICS: [Topic; 3] = [Topic::Options, Topic::Options1m, Topic::Derivatives];
/// The columns of `options`.
const STATE: &str = "base quote exchange currency expiry_time strike right settlement_currency \
                     contract_size tick_size mark_price last_price bid bid_size ask ask_size \
                     mark_iv bid_iv ask_iv delta gamma vega theta rho open_interest \
                     underlying_price underlying_index index_price settlement_price min_price \
                     max_price interest_rate estimated_delivery_price volume volume_usd \
                     price_change high low state closed_at event_time received_at";
/// The columns of `options_1m`.
const MINUTE: &str = "base quote exchange open_time mark_price mark_iv bid ask bid_iv ask_iv delta \
                      open_interest underlying_price index_price event_time";
/// The columns of `derivatives`.
const DERIVATIVE: &str = "base quote exchange class currency settlement_currency expiry_time \
                          contract_size tick_size mark_price last_price bid bid_size ask ask_size \
                          open_interest index_price settlement_price min_price max_price \
                          interest_rate estimated_delivery_price current_funding funding_8h volume \
                          volume_usd price_change high low state closed_at event_time received_at";

static JSON: LazyLock<Option<RecordJson>> = LazyLock::new(|| RecordJson::new().ok());

/// The content of the output topics of `options`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    newest: BTreeMap<Topic, Newest>,
}

impl Options {
    /// Takes a record of one of the topics; false when it is of another one.
    pub fn add(&mut self, codec: &Codec, topic: Topic, record: &Record) -> Result<bool> {
        if !TOPICS.contains(&topic) {
            return Ok(false);
        }
        let value = record.value.as_deref().context("a tombstone")?;
        let newest = (record.partition, fields(codec, value)?.1);
        let key = fields(codec, &record.key)?.1;
        put(self.newest.entry(topic).or_default(), key, newest)?;
        Ok(true)
    }

    /// The newest values of a topic by their key.
    pub fn of(&self, topic: Topic) -> impl Iterator<Item = (&Fields, &Fields)> {
        let newest = self.newest.get(&topic).into_iter().flatten();
        newest.map(|(key, (_, value))| (key, value))
    }

    /// The columns and rows of the table of a topic; `None` when it is of another one.
    pub fn rows(&self, topic: Topic) -> Result<Option<(&'static str, Vec<String>)>> {
        let columns = match topic {
            Topic::Options => STATE,
            Topic::Options1m => MINUTE,
            Topic::Derivatives => DERIVATIVE,
            _ => return Ok(None),
        };
        let row = |(key, value): (&Fields, &Fields)| {
            let column = |name: &str| {
                let field = key.get(name).or_else(|| value.get(name));
                let field = field.with_context(|| format!("{topic:?} has no field {name}"))?;
                Ok(field.clone().unwrap_or_default())
            };
            Ok(columns.split(' ').map(column).collect::<Result<Vec<_>>>()?.join("|"))
        };
        Ok(Some((columns, self.of(topic).map(row).collect::<Result<_>>()?)))
    }
}

/// The kind of a record, and its fields.
pub fn fields(codec: &Codec, bytes: &[u8]) -> Result<(Kind, Fields)> {
    let (kind, body) = codec.own(bytes).context("it is of no schema of ours")?;
    let json = JSON.as_ref().context("a schema of ours is not Avro")?;
    let mut text = String::new();
    json.write(kind, body, &mut text)?;
    let record: BTreeMap<String, Value> = serde_json::from_str(&text)?;
    let text = |value: Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    };
    Ok((kind, record.into_iter().map(|(name, value)| (name, text(value))).collect()))
}

/// The fields of a record that a ticker of the venue, as its truth has it, decides: its numbers, its
/// time, and the name of the underlying. Numbers of an empty side are none, and a zero volatility
/// beside a price is a zero.
pub fn told(ticker: &BTreeMap<String, Option<String>>) -> Result<Fields> {
    let mut told = Fields::new();
    for (name, field) in NUMBERS.into_iter().chain([LOW]) {
        let text = ticker.get(field).cloned().flatten();
        let number = text.map(|text| text.parse::<Decimal>().with_context(|| text.clone()));
        told.insert(name.into(), number.transpose()?.map(|number| number.to_string()));
    }
    for side in SIDES {
        if told.get(side[0]).is_some_and(|price| price.as_deref() == Some("0")) {
            for name in side {
                told.insert(name.into(), None);
            }
        }
    }
    let text = |field: &str| ticker.get(field).cloned().flatten();
    told.insert("underlying_index".into(), text("underlying_index"));
    told.insert("event_time".into(), text("timestamp"));
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticker(fields: &[(&str, &str)]) -> BTreeMap<String, Option<String>> {
        fields.iter().map(|(name, text)| ((*name).into(), Some((*text).into()))).collect()
    }

    #[test]
    fn an_empty_side_has_no_numbers_and_a_zero_volatility_beside_a_price_is_one() -> Result<()> {
        let told = told(&ticker(&[
            ("best_bid_price", "1.0e-4"),
            ("best_bid_amount", "5.0"),
            ("bid_iv", "0.0"),
            ("best_ask_price", "0.0"),
            ("best_ask_amount", "0.0"),
            ("ask_iv", "0.0"),
        ]))?;
        let of = |name: &str| told[name].as_deref();
        assert_eq!(
            (of("bid"), of("bid_size"), of("bid_iv")),
            (Some("0.0001"), Some("5"), Some("0"))
        );
        assert_eq!((of("ask"), of("ask_size"), of("ask_iv")), (None, None, None));
        assert_eq!(of("last_price"), None);
        Ok(())
    }
}
