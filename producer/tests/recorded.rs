//! Recorded traffic against counts by other means: frames by their text, trade ids by their text,
//! candles by a fold of their own. Each test prints a table: `make venues`.
//!
//! | test | shows |
//! |---|---|
//! | frames | every frame of every capture is explained by the adapter, channel by channel |
//! | trades | no trade of a recording is lost, none comes twice, gaps of ids are marked |
//! | candles | the minutes that `processor compute` makes of a capture are what a fold of the raw text says |
//! | instruments | Deribit's recorded listings, and the plan for them within its budget |
//! | parsers | arbitrary and damaged input never makes an adapter panic |

#[path = "recorded/raw.rs"]
mod raw;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context, ensure};
use clap::Parser;
use processor::compute::{self, COMMIT_EVERY, ComputeOptions, Printed};
use producer::config::{ByVenue, Command, Config};
use producer::input::replay::Replay;
use producer::metrics::Metrics;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use schemas::topic::Topic;
use schemas::{Basis, PairKey, Timestamp};
use serde_json::json;
use venues::pipeline::Output;
use venues::{Message, Parsed, Venue};

use raw::{Frame, data, frames};

/// Every capture, and the venue that it is of.
const CAPTURES: [(&str, Venue); 6] = [
    ("coinbase/20210417_ws.jsonl.zst", Venue::Coinbase),
    ("deribit/20210417_ws.jsonl.zst", Venue::Deribit),
    ("bitstamp/20220105_ws.jsonl.zst", Venue::Bitstamp),
    ("binance/20210404_ws.jsonl.zst", Venue::Binance),
    (BTCUSDT, Venue::Binance),
    (ETHUSDT, Venue::Binance),
];
const BTCUSDT: &str = "binance/20240808_spot_btcusdt.jsonl.zst";
const ETHUSDT: &str = "binance/20240808_spot_ethusdt.jsonl.zst";
/// Trades of an exchange that has no adapter here.
const HITBTC: &str = "hitbtc/trades.jsonl.zst";
const LISTINGS: &str = "deribit/20210417_rest_instruments.jsonl.zst";
/// Inputs for each parser.
const INPUTS: usize = 100_000;

/// A table, and nothing else of what stands in it.
#[expect(clippy::print_stdout, reason = "the table is what it is run for")]
fn print(rows: &[String]) {
    println!("\n{}\n", rows.join("\n"));
}

#[test]
fn every_frame_of_every_capture_is_explained() -> anyhow::Result<()> {
    let mut table = vec![
        "| capture | channel | raw frames | adapter | events | unexplained |".to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
    ];
    for (name, venue) in CAPTURES {
        let (mut read, mut events): (BTreeMap<&str, i64>, BTreeMap<&str, i64>) = Default::default();
        let mut by_text: BTreeMap<&str, i64> = BTreeMap::new();
        for Frame { at_us, text } in frames(name)? {
            let mut out = Vec::new();
            venue.parse(&text, Timestamp::from_micros(at_us), &mut out)?;
            let is_ticker = |parsed: &Parsed| matches!(parsed.message, Message::Ticker(..));
            let tickers = out.iter().filter(|parsed| is_ticker(parsed)).count();
            let is_whole = venue == Venue::Deribit && raw::channel(venue, &text)? == "ticker";
            ensure!(tickers == usize::from(is_whole), "{name}: {tickers} whole tickers in {text}");
            out.retain(|parsed| {
                !matches!(parsed.message, Message::Clock(_) | Message::Null(_))
                    && !is_ticker(parsed)
            });
            ensure!(out.len() == 1, "{name}: {} things in {text}", out.len());
            *read.entry(out[0].kind).or_default() += 1;
            let is_event = matches!(out[0].message, Message::Event(..));
            *events.entry(out[0].kind).or_default() += i64::from(is_event);
            *by_text.entry(raw::channel(venue, &text)?).or_default() += 1;
        }
        let channels: BTreeSet<_> = read.keys().chain(by_text.keys()).copied().collect();
        for channel in channels {
            let of = |counts: &BTreeMap<&str, i64>| counts.get(channel).copied().unwrap_or(0);
            let (raw, read) = (of(&by_text), of(&read));
            table.push(format!(
                "| {name} | {channel} | {raw} | {read} | {} | {} |",
                of(&events),
                raw - read
            ));
            ensure!(raw == read, "{name}, {channel}: {raw} frames, {read} by the adapter");
        }
        let (prints, samples) = raw::events(name, venue)?;
        let made: i64 = events.values().sum();
        ensure!(made == prints + samples, "{name}: {made} events of {prints} + {samples}");
        ensure!(made > 0 || name == ETHUSDT, "{name} has no events");
    }
    print(&table);
    Ok(())
}

/// What is replayed of a file: trade ids by pair, trades marked as missing, dead letters.
struct Replayed {
    ids: BTreeMap<String, Vec<i64>>,
    marked: BTreeMap<String, i64>,
}

fn replay(name: &str) -> anyhow::Result<Replayed> {
    let (mut ids, mut marked) = (BTreeMap::new(), BTreeMap::new());
    Replay::new(Arc::new(Metrics::new()?)).file(&data(name)?, &mut |_, output| {
        match output {
            Output::Event { pair, event } if event.basis == Basis::Trade => {
                let id = event.trade_id.context("a trade without an id")?;
                ids.entry(pair.to_string()).or_insert_with(Vec::new).push(id);
            }
            Output::Gap { pair, mark } => {
                let missing = mark.missing.context("a gap of unknown length")?;
                *marked.entry(pair.to_string()).or_insert(0) += missing;
            }
            Output::DeadLetter(letter) => anyhow::bail!("{name}: {letter:?}"),
            Output::Event { .. }
            | Output::Mark { .. }
            | Output::Quote { .. }
            | Output::Book { .. }
            | Output::BookMark { .. }
            | Output::BookClock { .. }
            | Output::Ticker { .. }
            | Output::Instrument { .. }
            | Output::TickerClock { .. }
            | Output::Swap { .. }
            | Output::Head { .. }
            | Output::Pool { .. } => {}
        }
        Ok(())
    })?;
    Ok(Replayed { ids, marked })
}

#[test]
fn no_recorded_trade_is_lost_and_none_comes_twice() -> anyhow::Result<()> {
    let mut table = vec![
        "| recording | pairs | raw trades | adapter | lost | twice | ids missing in the recording \
         | marked |"
            .to_owned(),
        "|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    let names = CAPTURES.iter().map(|(name, _)| *name).chain([HITBTC]);
    for name in names.filter(|name| !name.starts_with("deribit")) {
        let expected = raw::trade_ids(name)?;
        let Replayed { ids, marked } = replay(name)?;
        let count = |ids: &BTreeMap<String, Vec<i64>>| ids.values().map(Vec::len).sum::<usize>();
        let (mut lost, mut twice, mut holes) = (0, 0, 0);
        for (pair, raw) in &expected {
            let read: BTreeSet<_> = ids.get(pair).into_iter().flatten().collect();
            lost += raw.iter().filter(|id| !read.contains(id)).count();
            twice += ids.get(pair).map_or(0, Vec::len) - read.len();
            holes += raw::holes(raw);
        }
        // Ids of HitBTC and Bitstamp are of all their pairs together.
        let dense = raw::venue(name).is_some_and(|venue| venue.adapter().dense_trade_ids);
        let all_marked: i64 = marked.values().sum();
        table.push(format!(
            "| {name} | {} | {} | {} | {lost} | {twice} | {} | {all_marked} |",
            expected.len(),
            count(&expected),
            count(&ids),
            if dense { holes.to_string() } else { "not dense".into() },
        ));
        ensure!(lost == 0 && twice == 0, "{name}: {lost} lost, {twice} twice");
        ensure!(count(&ids) == count(&expected), "{name}: trades that nobody made");
        ensure!(!dense || all_marked == holes, "{name}: {holes} missing, {all_marked} marked");
        ensure!(!name.contains("20240808") || holes == 0, "{name} has a gap");
    }
    print(&table);
    Ok(())
}

/// The minutes of trades that a capture gives, by pair and time.
fn computed(name: &str) -> anyhow::Result<BTreeMap<(String, i64), serde_json::Value>> {
    let options = ComputeOptions {
        print: Printed::Topic(Topic::Ohlc1m),
        changes: false,
        listing: None,
        commit_every: COMMIT_EVERY,
    };
    let (mut out, mut minutes) = (Vec::new(), BTreeMap::new());
    compute::run(&[data(name)?], &options, &mut out)?;
    for line in String::from_utf8(out)?.lines() {
        let candle: serde_json::Value = serde_json::from_str(line)?;
        let key = &candle["key"];
        let part = |field: &str| key[field].as_str().unwrap_or_default();
        if part("basis") == "TRADE" {
            let pair = PairKey::new(part("base"), part("quote"), part("exchange")).to_string();
            let time = key["open_time"].as_i64().context("a candle without a time")?;
            ensure!(
                minutes.insert((pair, time), candle["value"].clone()).is_none(),
                "{line}: twice"
            );
        }
    }
    Ok(minutes)
}

#[test]
fn the_minutes_of_a_capture_are_what_a_fold_of_its_text_says() -> anyhow::Result<()> {
    let mut table = vec![
        "| recording | pair | minute | trades | open | high | low | close | volume | fold agrees |"
            .to_owned(),
        "|---|---|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    for (name, _) in CAPTURES.into_iter().filter(|(_, venue)| *venue != Venue::Deribit) {
        let (candles, minutes) = (computed(name)?, raw::minutes(name)?);
        ensure!(!minutes.is_empty() && candles.keys().eq(minutes.keys()), "{name}: other minutes");
        for (((pair, start), candle), minute) in candles.iter().zip(minutes.values()) {
            let text = |field: &str| candle[field].as_str().unwrap_or_default().to_owned();
            let prices = ["open", "high", "low", "close", "base_volume"].map(text);
            let [open, high, low, close, volume] = &prices;
            let same = candle["trades"].as_i64() == Some(minute.trades)
                && prices.iter().map(|text| raw::units(text)).collect::<Result<Vec<_>, _>>()?
                    == [minute.open, minute.high, minute.low, minute.close, minute.volume];
            table.push(format!(
                "| {name} | {pair} | {} | {} | {open} | {high} | {low} | {close} | {volume} | {} |",
                Timestamp(*start),
                minute.trades,
                if same { "yes" } else { "NO" },
            ));
            ensure!(same, "{name}: {candle} is not {minute:?}");
        }
    }
    print(&table);
    Ok(())
}

#[tokio::test]
async fn the_recorded_listings_of_deribit_are_planned_within_its_budget() -> anyhow::Result<()> {
    let path = data(LISTINGS)?;
    let path = path.to_string_lossy();
    let mut table = vec![
        "| currency | raw instruments | parsed | options |".to_owned(),
        "|---|---|---|---|".into(),
    ];
    for (body, (currency, count)) in raw::bodies(LISTINGS)?.iter().zip([("BTC", 423), ("ETH", 499)])
    {
        let listed = Venue::Deribit.instruments(body)?;
        let (named, options) = (
            body.matches("\"instrument_name\":").count(),
            body.matches("\"kind\":\"option\"").count(),
        );
        table.push(format!("| {currency} | {named} | {} | {options} |", listed.len()));
        ensure!(listed.len() == named && named == count, "{currency}: {} of {named}", listed.len());
        ensure!(listed.iter().all(|one| one.currency == currency), "not all are of {currency}");
    }
    let arguments =
        ["producer", "plan", "--venue", "deribit", "--currency", "BTC,ETH", "--listing", &path];
    let Command::Plan(follow) = Config::try_parse_from(arguments)?.command else {
        anyhow::bail!("not a plan")
    };
    let ByVenue::Market(follow) = *follow else { anyhow::bail!("not a plan of a market") };
    let ((plan, _), budget) = (follow.plan().await?, follow.budget());
    ensure!(plan.instruments() == 423 + 499, "{plan}");
    ensure!(plan.connections.len() <= budget.connections.min(budget.attempts), "{plan}");
    ensure!(plan.connections.iter().all(|line| line.streams.len() <= budget.streams), "{plan}");
    table.push(format!("\n{plan}"));
    print(&table);
    Ok(())
}

/// Deribit lists a linear instrument under the currency in which it is settled.
#[tokio::test]
async fn linear_options_are_planned_by_the_currency_of_their_settlement() -> anyhow::Result<()> {
    let listed = r#"{"jsonrpc":"2.0","result":[{"instrument_name":"XRP_USDC-25DEC46-1d02-P",
        "base_currency":"XRP","settlement_currency":"USDC","kind":"option","is_active":true}]}"#;
    let url = "https://www.deribit.com/api/v2/public/get_instruments?currency=USDC&expired=false";
    let line = json!({"at_us": 1, "venue": "deribit", "kind": "http", "url": url, "raw": listed});
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("listing.jsonl");
    std::fs::write(&file, format!("{line}\n"))?;
    for (currency, is_planned) in [("USDC", true), ("XRP", true), ("BTC", false)] {
        let path = file.to_string_lossy();
        let arguments =
            ["producer", "plan", "--venue", "deribit", "--currency", currency, "--listing", &path];
        let Command::Plan(follow) = Config::try_parse_from(arguments)?.command else {
            anyhow::bail!("not a plan")
        };
        let ByVenue::Market(follow) = *follow else { anyhow::bail!("not a plan of a market") };
        let planned = follow.plan().await.map(|(plan, _)| plan.instruments());
        ensure!(
            planned.as_ref().is_ok_and(|count| *count == 1) == is_planned,
            "{currency}: {planned:?}"
        );
    }
    Ok(())
}

/// Bytes as a socket would bring them: noise, or a frame that is damaged.
fn input(rng: &mut StdRng, seeds: &[String]) -> String {
    let mut bytes = match seeds.get(rng.random_range(0..=seeds.len())) {
        Some(seed) => seed.as_bytes().to_vec(),
        None => (0..rng.random_range(0..200)).map(|_| rng.random()).collect(),
    };
    for _ in 0..rng.random_range(0..6) {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..3) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.random()),
            _ => bytes
                .iter_mut()
                .skip(at)
                .take(1)
                .for_each(|byte| *byte = b"0-9.eE\"{}[]:,n"[usize::from(*byte) % 14]),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn no_input_makes_a_parser_panic() -> anyhow::Result<()> {
    let mut table = vec![
        "| parser | inputs | of them read | refused | panics | fuzz target |".to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
    ];
    for venue in Venue::ALL {
        let target = raw::root().join(format!("fuzz/targets/{venue}.rs"));
        ensure!(target.exists(), "{} is not there", target.display());
        let seeds = raw::seeds(venue)?;
        ensure!(!seeds.is_empty(), "no seeds for {venue}");
        let (mut rng, mut read) = (StdRng::seed_from_u64(7), 0);
        for _ in 0..INPUTS {
            // A panic fails the test, whose backtrace names the parser.
            let text = input(&mut rng, &seeds);
            read += usize::from(venue.parse(&text, Timestamp(1), &mut Vec::new()).is_ok());
            let class = venue.adapter().class;
            let _ = (venue.instruments(&text), venue.pair(&text), class(&text));
        }
        ensure!(read > 0 && read < INPUTS, "{venue}: input of one sort only");
        table.push(format!(
            "| {venue} | {INPUTS} | {read} | {} | 0 | fuzz/targets/{venue}.rs |",
            INPUTS - read
        ));
    }
    print(&table);
    Ok(())
}
