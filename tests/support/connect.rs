//! Sinks of a test's own: `infra/connectors.sh` with its prefix and its schema.

use std::time::Duration;

use anyhow::{Result, ensure};
use schemas::topic::Topic;
use schemas::{Candle, CandleKey, Decimal, LatestPrice, PairKey, Timestamp};
use serde_json::Value;

use super::Installation;
use super::fold::Outputs;
use super::postgres::Schema;
use super::stack::Stack;
use super::wait::{soon, wait_until};

/// What sinks take for what they missed, with the pauses between their tries.
const CATCH_UP: Duration = Duration::from_secs(150);

/// Sinks of some of an installation's topics. Dropped, they are gone.
pub struct Sinks {
    stack: Stack,
    prefix: String,
    tables: Vec<&'static str>,
    /// Where they write.
    pub schema: Schema,
}

impl Sinks {
    /// Registers the sinks of these topics and waits until they run.
    pub fn register(
        installation: &Installation,
        topics: &[Topic],
        variables: &[(&str, &str)],
    ) -> Result<Self> {
        Self::register_at(&installation.stack, &installation.prefix, topics, variables)
    }

    /// The same of topics with this prefix, on the Connect worker of this stack.
    pub fn register_at(
        stack: &Stack,
        prefix: &str,
        topics: &[Topic],
        variables: &[(&str, &str)],
    ) -> Result<Self> {
        stack.has_connect()?;
        let name = prefix.trim_end_matches('.').replace('-', "_");
        let sinks = Self {
            stack: stack.clone(),
            prefix: prefix.into(),
            tables: topics.iter().map(|topic| topic.base_name()).collect(),
            schema: Schema::create(stack, &name)?,
        };
        sinks.script("register", variables)?;
        Ok(sinks)
    }

    fn script(&self, command: &str, variables: &[(&str, &str)]) -> Result<String> {
        let own = [
            ("TOPIC_PREFIX", self.prefix.as_str()),
            ("CONNECTOR_PREFIX", self.prefix.as_str()),
            ("PG_SCHEMA", self.schema.name()),
        ];
        let arguments = [&[command], &self.tables[..]].concat();
        self.stack.script("connectors.sh", &arguments, &[&own[..], variables].concat())
    }

    /// The consumer groups of these sinks.
    pub fn groups(&self) -> Vec<String> {
        self.tables.iter().map(|table| format!("connect-{}{table}", self.prefix)).collect()
    }

    /// The states of the connectors and of their tasks.
    fn states(&self) -> Result<Vec<String>> {
        let mut states = Vec::new();
        for table in &self.tables {
            let url = format!("{}/connectors/{}{table}/status", self.stack.connect, self.prefix);
            let status: Value = reqwest::blocking::get(url)?.json()?;
            let tasks = status["tasks"].as_array().into_iter().flatten();
            for part in [&status["connector"]].into_iter().chain(tasks) {
                states.push(part["state"].as_str().unwrap_or("no state").to_owned());
            }
        }
        Ok(states)
    }

    /// Connectors and tasks, all of them running.
    pub fn are_running(&self) -> Result<bool> {
        let states = self.states()?;
        Ok(states.len() >= 2 * self.tables.len() && states.iter().all(|state| state == "RUNNING"))
    }

    /// Waits until the tables hold exactly what the topics hold.
    pub fn tables_equal(&self, outputs: &mut Outputs) -> Result<()> {
        let mut shown = String::new();
        for table in &self.tables {
            let (sql, mut expected) = expected(table, outputs)?;
            expected.sort();
            let what = format!("table {table} to hold what its topic holds");
            let result = wait_until(&what, CATCH_UP, || {
                let mut rows = self.schema.query(&sql)?;
                rows.sort();
                if rows == expected {
                    return Ok(Some(()));
                }
                let different = rows.iter().zip(&expected).find(|(row, wanted)| row != wanted);
                shown = format!("{} rows, of {}; {different:?}", rows.len(), expected.len());
                Ok(None)
            });
            ensure!(result.is_ok(), "{result:?}: {shown}");
        }
        Ok(())
    }

    /// Waits until a table has so many rows.
    pub fn rows_at_least(&self, table: &str, count: usize) -> Result<()> {
        let sql = format!("SELECT count(*) >= {count} FROM {table}");
        soon(&format!("{count} rows in {table}"), || Ok(self.schema.query(&sql)? == ["t"]))
    }
}

impl Drop for Sinks {
    fn drop(&mut self) {
        let _ = self.script("delete", &[]);
        let _ = super::broker::delete(&self.stack.bootstrap_servers, &[], &self.groups());
    }
}

/// The query that prints a table, and the rows that it should print.
fn expected(table: &str, outputs: &mut Outputs) -> Result<(String, Vec<String>)> {
    if table == Topic::Latest.base_name() {
        let rows = outputs.latest.iter().map(|(pair, (_, latest))| latest_row(pair, latest));
        return Ok((query(table, LATEST), rows.collect()));
    }
    let topic = Topic::SUNK.into_iter().find(|topic| topic.base_name() == table);
    let topic = topic.unwrap_or(Topic::Events);
    if let Some((columns, rows)) = outputs.options.rows(topic)? {
        return Ok((query(table, columns), rows));
    }
    if let Some((columns, rows)) = outputs.books.rows(topic) {
        return Ok((query(table, columns), rows));
    }
    match topic {
        // The members of these tests compute none of it.
        Topic::Pools | Topic::PoolMinutes | Topic::Token5m | Topic::Token1h | Topic::SwapStatus => {
            return Ok((query(table, "chain"), Vec::new()));
        }
        Topic::Index => return Ok((query(table, "base"), Vec::new())),
        _ => {}
    }
    let length_ms = match topic {
        Topic::Ohlc1m => 60_000,
        Topic::Ohlc1h => 3_600_000,
        _ => 86_400_000,
    };
    let candles = outputs.candles(topic)?;
    let rows =
        candles.iter().map(|(key, (_, candle))| candle_row(key, candle, length_ms)).collect();
    Ok((query(table, CANDLE), rows))
}

/// The columns of `latest`, in the order of [`latest_row`].
const LATEST: &str = "base quote exchange price size trade_id basis base_volume_24h \
                      quote_volume_24h volume_source volume_time event_time received_at";
/// The columns of a table of candles, in the order of [`candle_row`].
const CANDLE: &str = "base quote exchange basis open_time open high low close base_volume \
                      quote_volume taker_buy_base taker_buy_quote trades status revision \
                      open_event_time close_event_time gap coverage_ms partial_start \
                      missing_trades complete";
/// Those of them that are decimals.
const DECIMALS: &str = "price size base_volume_24h quote_volume_24h open high low close \
                        base_volume quote_volume taker_buy_base taker_buy_quote bid bid_size ask \
                        ask_size spread mid microprice imbalance max_spread mid_mean_10 spread_min \
                        spread_max spread_max_abs spread_mean mid_open mid_high mid_low mid_close \
                        mid_mean strike contract_size tick_size mark_price last_price mark_iv \
                        bid_iv ask_iv delta gamma vega theta rho open_interest underlying_price \
                        index_price settlement_price min_price max_price interest_rate \
                        estimated_delivery_price current_funding funding_8h volume volume_usd \
                        price_change";

/// Numbers as short as their text is, times as milliseconds.
fn query(table: &str, columns: &str) -> String {
    let shown = columns.split(' ').map(|name| {
        if DECIMALS.split(' ').any(|decimal| decimal == name) {
            format!("trim_scale(\"{name}\")")
        } else if name.ends_with("_time") || name.ends_with("_at") {
            format!("(extract(epoch FROM \"{name}\") * 1000)::bigint")
        } else {
            format!("\"{name}\"::text")
        }
    });
    format!("SELECT {} FROM {table}", shown.collect::<Vec<_>>().join(", "))
}

fn optional(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn time(time: Timestamp) -> String {
    time.0.to_string()
}

fn latest_row(pair: &PairKey, latest: &LatestPrice) -> String {
    [
        pair.base.clone(),
        pair.quote.clone(),
        pair.exchange.clone(),
        latest.price.to_string(),
        optional(latest.size),
        optional(latest.trade_id),
        latest.basis.as_str().into(),
        optional(latest.base_volume_24h),
        optional(latest.quote_volume_24h),
        latest.volume_source.as_str().into(),
        optional(latest.volume_time.map(|time| time.0)),
        time(latest.event_time),
        time(latest.received_at),
    ]
    .join("|")
}

fn candle_row(key: &CandleKey, candle: &Candle, length_ms: i64) -> String {
    let volume = |volume: Option<Decimal>| optional(volume);
    [
        key.pair.base.clone(),
        key.pair.quote.clone(),
        key.pair.exchange.clone(),
        key.basis.as_str().into(),
        time(key.open_time),
        candle.open.to_string(),
        candle.high.to_string(),
        candle.low.to_string(),
        candle.close.to_string(),
        volume(candle.base_volume),
        volume(candle.quote_volume),
        volume(candle.taker_buy_base),
        volume(candle.taker_buy_quote),
        candle.trades.to_string(),
        candle.status.as_str().into(),
        candle.revision.to_string(),
        time(candle.open_event_time),
        time(candle.close_event_time),
        candle.gap.to_string(),
        optional(candle.coverage_ms),
        candle.partial_start.to_string(),
        optional(candle.missing_trades),
        candle.is_complete(length_ms).to_string(),
    ]
    .join("|")
}
