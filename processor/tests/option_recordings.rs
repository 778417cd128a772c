//! Recorded tickers of Deribit: each field arrives as the venue sent it, and Black-76 gives the
//! venue's marks and greeks again.

#[path = "../../tests/support/recordings.rs"]
#[expect(dead_code, unreachable_pub, reason = "a library elsewhere")]
mod recordings;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use processor::checks::black76::Black76;
use processor::checks::options::{Mark, divergence, float, mark, model, parity};
use processor::compute::{self, COMMIT_EVERY, ComputeOptions, Printed};
use schemas::instrument::{InstrumentName, Right};
use schemas::topic::Topic;
use schemas::{Decimal, OptionState, PairKey, Timestamp};
use serde_json::Value;
use venues::pipeline::{Output, Pipeline, Produced};
use venues::{Follow, Venue};

const CAPTURE: &str = "deribit/20210417_ws.jsonl.zst";
const LISTING: &str = "deribit/20210417_rest_instruments.jsonl.zst";
const MIXED: &str = "mixed/messages.jsonl.zst";

/// The fields of a row by their paths in the venue's frame.
const FIELDS: [(&str, &str); 27] = [
    ("mark_price", "/mark_price"),
    ("last_price", "/last_price"),
    ("bid", "/best_bid_price"),
    ("bid_size", "/best_bid_amount"),
    ("ask", "/best_ask_price"),
    ("ask_size", "/best_ask_amount"),
    ("mark_iv", "/mark_iv"),
    ("bid_iv", "/bid_iv"),
    ("ask_iv", "/ask_iv"),
    ("delta", "/greeks/delta"),
    ("gamma", "/greeks/gamma"),
    ("vega", "/greeks/vega"),
    ("theta", "/greeks/theta"),
    ("rho", "/greeks/rho"),
    ("open_interest", "/open_interest"),
    ("underlying_price", "/underlying_price"),
    ("index_price", "/index_price"),
    ("settlement_price", "/settlement_price"),
    ("min_price", "/min_price"),
    ("max_price", "/max_price"),
    ("interest_rate", "/interest_rate"),
    ("estimated_delivery_price", "/estimated_delivery_price"),
    ("volume", "/stats/volume"),
    ("volume_usd", "/stats/volume_usd"),
    ("high", "/stats/high"),
    ("low", "/stats/low"),
    ("price_change", "/stats/price_change"),
];

/// The content of the ticker of a frame.
fn ticker_of(frame: &str) -> Option<Value> {
    let frame: Value = serde_json::from_str(frame).ok()?;
    let channel = frame.pointer("/params/channel")?.as_str()?;
    channel.starts_with("ticker.").then(|| frame.pointer("/params/data").cloned())?
}

/// The tickers of the capture, in order.
fn frames() -> Result<Vec<Value>> {
    let lines = recordings::lines(CAPTURE)?;
    let raw = |line: &String| -> Option<Value> {
        let line: Value = serde_json::from_str(line).ok()?;
        ticker_of(line["raw"].as_str()?)
    };
    Ok(lines.iter().filter_map(raw).collect())
}

/// The number at a path; an empty side has price, amount and volatility 0, which is none.
fn number(data: &Value, field: &str, path: &str) -> Result<Option<Decimal>> {
    let at = |path: &str| -> Result<Option<Decimal>> {
        match data.pointer(path) {
            Some(Value::Number(number)) => Ok(Some(number.to_string().parse()?)),
            _ => Ok(None),
        }
    };
    let side = field.split('_').next().unwrap_or_default();
    if matches!(side, "bid" | "ask") && at(&format!("/best_{side}_price"))? == Some(Decimal::ZERO) {
        return Ok(None);
    }
    at(path)
}

/// Compares a row with the frame that it should be of.
fn is_of(row: &Value, data: &Value) -> Result<()> {
    for (field, path) in FIELDS {
        let expected = number(data, field, path)?;
        let found = row["value"].get(field).with_context(|| format!("no field {field}: {row}"))?;
        let found: Option<Decimal> = found.as_str().map(str::parse).transpose()?;
        ensure!(found == expected, "{field}: {found:?}, not {expected:?}\n{row}\n{data}");
        ensure!(
            found.is_some() || row["value"][field].is_null(),
            "{field} is neither text nor null: {row}"
        );
    }
    let key = serde_json::json!({
        "base": data["instrument_name"],
        "quote": data["instrument_name"].as_str().and_then(|name| name.split('-').next()),
        "exchange": "deribit",
    });
    ensure!(row["key"] == key, "{row}");
    ensure!(row["value"]["underlying_index"] == data["underlying_index"], "{row}");
    ensure!(row["value"]["event_time"] == data["timestamp"], "{row}");
    Ok(())
}

fn computed(topic: Topic, changes: bool, listing: bool) -> Result<Vec<Value>> {
    let listing = listing.then(|| recordings::path(LISTING)).transpose()?;
    let print = Printed::Topic(topic);
    let options = ComputeOptions { print, changes, listing, commit_every: COMMIT_EVERY };
    let mut out = Vec::new();
    compute::run(&[recordings::path(CAPTURE)?], &options, &mut out)?;
    String::from_utf8(out)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

#[test]
fn each_recorded_ticker_is_printed_with_every_field() -> Result<()> {
    for listing in [false, true] {
        let (rows, frames) = (computed(Topic::OptionTickers, true, listing)?, frames()?);
        ensure!(rows.len() == frames.len() && frames.len() == 92, "{} rows", rows.len());
        for (row, data) in rows.iter().zip(&frames) {
            is_of(row, data)?;
            ensure!(row["value"]["state"] == data["state"], "{row}");
        }
    }
    Ok(())
}

#[test]
fn the_recording_has_what_makes_the_rules_matter() -> Result<()> {
    let frames = frames()?;
    let zero =
        |data: &Value, path: &str| number(data, "", path).ok().flatten() == Some(Decimal::ZERO);
    let count = |is: &dyn Fn(&Value) -> bool| frames.iter().filter(|data| is(data)).count();
    ensure!(count(&|data| zero(data, "/best_bid_price")) > 0, "an empty bid");
    ensure!(count(&|data| zero(data, "/best_ask_price")) > 0, "an empty ask");
    ensure!(
        count(&|data| zero(data, "/bid_iv") && !zero(data, "/best_bid_price")) > 0,
        "a bid of IV 0"
    );
    ensure!(count(&|data| data["last_price"].is_null()) > 0, "no trade");
    Ok(())
}

/// The newest frame of each instrument.
fn newest() -> Result<BTreeMap<String, Value>> {
    let mut newest = BTreeMap::<String, Value>::new();
    for data in frames()? {
        let name = data["instrument_name"].as_str().context("a name")?.to_owned();
        let is_newer = newest
            .get(&name)
            .is_none_or(|known| known["timestamp"].as_i64() <= data["timestamp"].as_i64());
        if is_newer {
            newest.insert(name, data);
        }
    }
    Ok(newest)
}

#[test]
fn the_row_of_each_option_is_its_newest_ticker_with_the_facts_of_its_name() -> Result<()> {
    let newest = newest()?;
    let rows = computed(Topic::Options, false, false)?;
    ensure!(rows.len() == newest.len(), "{} rows", rows.len());
    for row in &rows {
        let name = row["key"]["base"].as_str().context("a name")?;
        is_of(row, &newest[name])?;
        let value = &row["value"];
        let of_name = InstrumentName::parse(name).context("an option")?;
        ensure!(value["state"] == "OPEN" && value["closed_at"].is_null(), "{row}");
        ensure!(value["currency"] == of_name.currency.as_str(), "{row}");
        ensure!(value["expiry_time"].as_i64() == of_name.expiry_time.map(|time| time.0), "{row}");
        ensure!(value["strike"].as_str() == name.split('-').nth(2), "{row}");
        let right = if name.ends_with("-C") { "CALL" } else { "PUT" };
        ensure!(value["right"] == right && value["tick_size"].is_null(), "{row}");
    }
    Ok(())
}

#[test]
fn with_a_listing_every_listed_option_has_a_row_with_its_facts() -> Result<()> {
    let mut listed = BTreeMap::new();
    for line in recordings::lines(LISTING)? {
        let line: Value = serde_json::from_str(&line)?;
        let answer: Value = serde_json::from_str(line["raw"].as_str().context("an answer")?)?;
        for one in answer["result"].as_array().context("a listing")? {
            listed
                .insert(one["instrument_name"].as_str().context("a name")?.to_owned(), one.clone());
        }
    }
    let newest = newest()?;
    let number = |value: &Value| -> Result<Option<Decimal>> {
        Ok(value.as_str().map(str::parse).transpose()?)
    };
    let mut seen = BTreeSet::new();
    for topic in [Topic::Options, Topic::Derivatives] {
        for row in computed(topic, false, true)? {
            let name = row["key"]["base"].as_str().context("a name")?.to_owned();
            let (value, facts) = (&row["value"], &listed[&name]);
            for (field, of_listing) in [
                ("tick_size", "tick_size"),
                ("contract_size", "contract_size"),
                ("strike", "strike"),
            ] {
                let expected = match &facts[of_listing] {
                    Value::Number(number) => Some(number.to_string().parse::<Decimal>()?),
                    _ => None,
                };
                ensure!(number(&value[field])? == expected, "{field}: {row} {facts}");
            }
            if topic == Topic::Options {
                ensure!(value["expiry_time"] == facts["expiration_timestamp"], "{row} {facts}");
                match newest.get(&name) {
                    Some(data) => is_of(&row, data)?,
                    None => {
                        ensure!(value["mark_price"].is_null() && value["bid"].is_null(), "{row}");
                    }
                }
            }
            seen.insert(name);
        }
    }
    ensure!(seen.len() == 922 && seen.iter().eq(listed.keys()), "{} rows", seen.len());
    Ok(())
}

#[test]
fn a_minute_has_the_last_ticker_of_each_option() -> Result<()> {
    let mut last = BTreeMap::<(String, i64), Value>::new();
    for data in frames()? {
        let at = data["timestamp"].as_i64().context("a time")?;
        let name = data["instrument_name"].as_str().context("a name")?.to_owned();
        last.insert((name, at - at % 60_000), data);
    }
    let rows = computed(Topic::Options1m, false, false)?;
    ensure!(rows.len() == last.len(), "{} minutes", rows.len());
    for row in rows {
        let name = row["key"]["base"].as_str().context("a name")?.to_owned();
        let open_time = row["key"]["open_time"].as_i64().context("a time")?;
        let data = &last[&(name, open_time)];
        let fields = [
            "mark_price",
            "mark_iv",
            "bid",
            "ask",
            "bid_iv",
            "ask_iv",
            "delta",
            "open_interest",
            "underlying_price",
            "index_price",
        ];
        for field in fields {
            let (_, path) = FIELDS.into_iter().find(|(name, _)| *name == field).context(field)?;
            let found: Option<Decimal> =
                row["value"][field].as_str().map(str::parse).transpose()?;
            ensure!(found == number(data, field, path)?, "{field}: {row}\n{data}");
        }
        ensure!(row["value"]["event_time"] == data["timestamp"], "{row}");
        ensure!(row["value"].as_object().map(serde_json::Map::len) == Some(11), "{row}");
    }
    Ok(())
}

// The model.

/// All recorded option tickers, as rows.
fn tickers() -> Result<Vec<(PairKey, OptionState)>> {
    let mut pipeline = Pipeline::new(Venue::Deribit, "1", Follow::ALL);
    let mut produced = Produced::default();
    let mut texts = Vec::new();
    for line in recordings::lines(CAPTURE)?.iter().chain(&recordings::lines(MIXED)?) {
        let line: Value = serde_json::from_str(line)?;
        let is_ours = [&line["venue"], &line["exchange"]].contains(&&Value::from("deribit"));
        if let Some(raw) = line["raw"].as_str().filter(|_| is_ours)
            && ticker_of(raw).is_some()
        {
            texts.push(raw.to_owned());
        }
    }
    for text in texts {
        let _ = pipeline.frame(&text, Timestamp(1_700_000_000_000), &mut produced);
    }
    let row = |output: &Output| -> Option<(PairKey, OptionState)> {
        let Output::Ticker { pair, ticker } = output else { return None };
        let mut row = OptionState::named(&InstrumentName::parse(&pair.base)?)?;
        row.take(ticker);
        Some((pair.clone(), row))
    };
    Ok(produced.outputs.iter().filter_map(row).collect())
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

#[test]
fn black_76_gives_the_recorded_marks_and_greeks() -> Result<()> {
    let tickers = tickers()?;
    ensure!(tickers.len() == 93, "{} tickers", tickers.len());
    let found: Vec<_> = tickers.iter().filter_map(|(pair, row)| divergence(pair, row)).collect();
    ensure!(found.len() == tickers.len(), "{} of {}", found.len(), tickers.len());
    let prices = sorted(found.iter().map(|one| one.mark_coin));
    let (median, largest) = (prices[prices.len() / 2], prices[prices.len() - 1]);
    ensure!(median <= 5e-6 && largest <= 5e-4, "price: median {median}, largest {largest}");
    let deltas = sorted(found.iter().filter_map(|one| one.delta));
    let largest = deltas.last().copied().context("deltas")?;
    ensure!(deltas.len() == found.len() && largest <= 2e-4, "delta: largest {largest}");
    for (pair, row) in &tickers {
        let model = model(row).context("a model")?;
        let greeks = [
            ("gamma", row.gamma, model.gamma()),
            ("vega", row.vega, model.vega()),
            ("rho", row.rho, model.rho()),
            ("theta", row.theta, model.theta()),
        ];
        // In the last days the venue's theta is the loss of a whole day and not the slope.
        let is_slope = row.expiry_time.0 - row.event_time.0 > 5 * 86_400_000;
        for (name, of_venue, of_model) in &greeks[..if is_slope { 4 } else { 3 }] {
            let of_venue = float(of_venue.with_context(|| format!("{name} of {pair}"))?);
            let bound = 2e-5 + of_venue.abs() * 0.02;
            ensure!(
                (of_venue - of_model).abs() <= bound,
                "{name} of {pair}: {of_venue} {of_model}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_wrong_field_shows_as_divergence() -> Result<()> {
    let tickers = tickers()?;
    let most = |change: &dyn Fn(&mut OptionState)| {
        let changed = tickers.iter().map(|(pair, row)| {
            let mut row = row.clone();
            change(&mut row);
            (pair, row)
        });
        let found = changed.filter_map(|(pair, row)| divergence(pair, &row));
        found.fold((0.0, 0.0), |(mark, delta): (f64, f64), one| {
            (mark.max(one.mark_coin), delta.max(one.delta.unwrap_or_default()))
        })
    };
    ensure!(
        most(&|row| row.mark_price = row.last_price.or(row.bid)).0 > 1e-3,
        "the last is no mark"
    );
    ensure!(
        most(&|row| row.mark_iv = row.ask_iv).0 > 1e-3,
        "the ask's volatility is not the mark's"
    );
    ensure!(most(&|row| row.delta = row.gamma).1 > 1e-2, "gamma is not delta");
    ensure!(most(&|row| row.expiry_time.0 += 86_400_000).0 > 5e-4, "another day is another price");
    Ok(())
}

#[test]
fn parity_holds_between_each_recorded_mark_and_the_other_side_of_the_model() -> Result<()> {
    // No recorded strike has both sides.
    let mut names = BTreeSet::new();
    for (pair, row) in tickers()? {
        let (mark, model) = (mark(&pair, &row).context("a mark")?, model(&row).context("a model")?);
        let right = if row.right == Right::Call { Right::Put } else { Right::Call };
        let other = Mark { coin: Black76 { right, ..model }.price(), ..mark };
        let (call, put) = if row.right == Right::Call { (mark, other) } else { (other, mark) };
        let found = parity(call, put, row.strike).context("one moment")?;
        ensure!(found <= 5e-4, "{pair}: {found}");
        // The other way round it does not hold, but at the money.
        let wrong = parity(put, call, row.strike).context("one moment")?;
        let is_at_the_money = (model.strike / model.forward - 1.0).abs() < 0.01;
        ensure!(wrong > 5e-4 || is_at_the_money, "{pair}: {wrong}");
        names.insert(pair.base);
    }
    ensure!(names.len() == 11, "{} options", names.len());
    Ok(())
}
