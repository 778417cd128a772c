//! Recorded trades go in at one end, and the candles that the exchanges themselves published come
//! out at the other, digit for digit.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use processor::operators::{merge, single};
use schemas::topic::Topic;
use schemas::{Basis, Candle, CandleKey, Decimal, MarketEvent, PairKey, TakerSide, Timestamp};
use serde_json::Value;
use tests::support::Installation;
use tests::support::connect::Sinks;
use tests::support::data;
use tests::support::exact::units;
use tests::support::fold::Outputs;

const TRADES: &str = "hitbtc/trades.jsonl.zst";
const CANDLES: &str = "hitbtc/candles_1m.jsonl.zst";
/// Candles that the exchange published of minutes that the trades cover.
const OFFICIAL: usize = 428;
const BINANCE: &str = "binance/20210404_ws.jsonl.zst";
const COINBASE: &str = "coinbase/20210417_ws.jsonl.zst";

/// Open, high, low, close and volume, in units of 10⁻¹⁸.
type Bar = [i128; 5];
/// By base, quote and open time.
type Bars = BTreeMap<(String, String, i64), Bar>;

fn text<'a>(line: &'a Value, name: &str) -> Result<&'a str> {
    line[name].as_str().with_context(|| format!("{name} of {line}"))
}

/// Candles as the exchange and `processor candles` write them, by pair and minute.
fn bars(lines: &[Value]) -> Result<Bars> {
    lines
        .iter()
        .map(|line| {
            let time = line["open_time_ms"].as_i64().context("open_time_ms")?;
            let mut bar = [0; 5];
            for (part, name) in bar.iter_mut().zip(["open", "high", "low", "close", "volume"]) {
                *part = units(text(line, name)?)?;
            }
            Ok(((text(line, "base")?.into(), text(line, "quote")?.into(), time), bar))
        })
        .collect()
}

fn official() -> Result<Bars> {
    let bars = bars(&data::json(CANDLES)?)?;
    ensure!(bars.len() == OFFICIAL, "{} official candles", bars.len());
    Ok(bars)
}

/// Every official candle is among `ours`, digit for digit.
fn all_official_are_in(ours: &Bars) -> Result<()> {
    for (key, bar) in official()? {
        ensure!(ours.get(&key) == Some(&bar), "{key:?} is {:?}, not {bar:?}", ours.get(&key));
    }
    Ok(())
}

/// The minutes of basis TRADE.
fn bars_of(outputs: &Outputs) -> Bars {
    let trades = outputs.minutes.iter().filter(|(key, _)| key.basis == Basis::Trade);
    let bar = |(key, (_, candle)): (&CandleKey, &(i32, Candle))| {
        let volume = candle.base_volume.unwrap_or_default();
        let bar = [candle.open, candle.high, candle.low, candle.close, volume];
        let pair = key.pair.clone();
        ((pair.base, pair.quote, key.open_time.0), bar.map(Decimal::units))
    };
    trades.map(bar).collect()
}

/// The rows of `ohlc_1m`.
fn bars_in_postgres(sinks: &Sinks) -> Result<Bars> {
    let rows = sinks.schema.query(
        "SELECT base, quote, (extract(epoch FROM open_time) * 1000)::bigint, open, high, low, \
         close, base_volume FROM ohlc_1m WHERE basis = 'TRADE'",
    )?;
    rows.iter()
        .map(|row| {
            let parts: Vec<_> = row.split('|').collect();
            let bar = parts[3..].iter().map(|text| units(text)).collect::<Result<Vec<_>>>()?;
            let bar = Bar::try_from(bar).ok().context("five numbers")?;
            Ok(((parts[0].into(), parts[1].into(), parts[2].parse()?), bar))
        })
        .collect()
}

/// What is replayed ends in the tables, equal to the topics, which equal the fold.
fn replay_to_postgres(name: &str, arguments: &[&str]) -> Result<(Outputs, Bars)> {
    let installation = Installation::new(name)?;
    let mut member = installation.member("one", &[])?;
    let path = data::path(TRADES)?;
    installation
        .process(&[&["replay", &path.to_string_lossy()], arguments].concat(), &mut [&mut member])?;
    let mut outputs = installation.outputs_equal_the_fold()?;
    ensure!(outputs.dead_letters.is_empty() && outputs.late.is_empty(), "{outputs:?}");
    let sinks = Sinks::register(&installation, &Topic::SUNK, &[])?;
    sinks.tables_equal(&mut outputs)?;
    let rows = bars_in_postgres(&sinks)?;
    drop(sinks);
    member.stop()?;
    installation.finish()?;
    Ok((outputs, rows))
}

/// What `processor candles` says of the trades.
fn candles_without_a_broker() -> Result<Vec<Value>> {
    let installation = Installation::without_topics("candles")?;
    let path = data::path(TRADES)?;
    let candles = installation.command("processor", &["candles", &path.to_string_lossy()])?;
    let out = candles.finish()?.out;
    installation.finish()?;
    out.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

#[test]
fn every_official_candle_is_in_postgresql_digit_for_digit() -> Result<()> {
    let (outputs, rows) = replay_to_postgres("official", &[])?;
    all_official_are_in(&bars_of(&outputs))?;
    all_official_are_in(&rows)
}

#[test]
fn trades_out_of_order_and_repeated_give_the_same_candles() -> Result<()> {
    let disorder = ["--shuffle-within", "5m", "--repeat", "5%", "--seed", "7"];
    let (outputs, rows) = replay_to_postgres("disorder", &disorder)?;
    all_official_are_in(&bars_of(&outputs))?;
    all_official_are_in(&rows)?;
    let in_order = candles_without_a_broker()?;
    ensure!(in_order.len() == outputs.minutes.len(), "{} candles", outputs.minutes.len());
    for line in &in_order {
        let time = Timestamp(line["open_time_ms"].as_i64().context("open_time_ms")?);
        let pair = PairKey::new(text(line, "base")?, text(line, "quote")?, text(line, "exchange")?);
        let key = CandleKey { pair, basis: Basis::Trade, open_time: time };
        let (_, candle) = outputs.minutes.get(&key).with_context(|| format!("{key} is lost"))?;
        let quote = candle.quote_volume.map(|volume| volume.to_string());
        ensure!(Some(candle.trades) == line["trades"].as_i64(), "{line} {candle:?}");
        ensure!(quote.as_deref() == line["quote_volume"].as_str(), "{line} {candle:?}");
    }
    Ok(())
}

#[test]
fn every_official_candle_comes_out_without_a_broker() -> Result<()> {
    let ours = candles_without_a_broker()?;
    let trades: i64 = ours.iter().filter_map(|line| line["trades"].as_i64()).sum();
    ensure!(trades == i64::try_from(data::lines(TRADES)?.len())?, "{trades} trades were counted");
    all_official_are_in(&bars(&ours)?)
}

// Binance: klines in progress and final, aligned to aggregates by the ids of their first and last
// trade.

/// The fields that a kline and our candle have in common, as numbers.
fn kline(kline: &Value) -> Result<[i128; 8]> {
    let mut parts = [0; 8];
    for (part, name) in parts.iter_mut().zip(["o", "h", "l", "c", "v", "q", "V", "Q"]) {
        *part = units(text(kline, name)?)?;
    }
    Ok(parts)
}

fn parts(candle: &Candle) -> [i128; 8] {
    let volume = |volume: Option<Decimal>| volume.unwrap_or_default();
    [
        candle.open,
        candle.high,
        candle.low,
        candle.close,
        volume(candle.base_volume),
        volume(candle.quote_volume),
        volume(candle.taker_buy_base),
        volume(candle.taker_buy_quote),
    ]
    .map(Decimal::units)
}

/// An aggregate of trades: first and last id, and the event that it is to us.
struct Aggregate {
    first: i64,
    last: i64,
    event: MarketEvent,
}

fn integer(value: &Value, name: &str) -> Result<i64> {
    value[name].as_i64().with_context(|| format!("{name} of {value}"))
}

/// By symbol, in the order of the capture.
type Aggregates = BTreeMap<String, Vec<Aggregate>>;

/// Aggregates by symbol in order, and klines.
fn binance() -> Result<(Aggregates, Vec<Value>)> {
    let (mut aggregates, mut klines) = (BTreeMap::<_, Vec<_>>::new(), Vec::new());
    for frame in data::frames(BINANCE)? {
        let event = &frame["data"];
        match event["e"].as_str() {
            Some("kline") => klines.push(event["k"].clone()),
            Some("aggTrade") => {
                let number = |name| -> Result<Decimal> { Ok(text(event, name)?.parse()?) };
                let time = Timestamp(integer(event, "T")?);
                let seller = event["m"].as_bool().context("m")?;
                let trade = MarketEvent {
                    trade_id: Some(integer(event, "a")?),
                    taker_side: Some(if seller { TakerSide::Sell } else { TakerSide::Buy }),
                    ..MarketEvent::trade(number("p")?, number("q")?, time)
                };
                let (first, last) = (integer(event, "f")?, integer(event, "l")?);
                let symbol = text(event, "s")?.to_owned();
                aggregates.entry(symbol).or_default().push(Aggregate { first, last, event: trade });
            }
            _ => {}
        }
    }
    Ok((aggregates, klines))
}

fn fold<'a>(aggregates: impl Iterator<Item = &'a Aggregate>) -> Result<Option<Candle>> {
    let mut whole: Option<Candle> = None;
    for aggregate in aggregates {
        let part = single(&aggregate.event, 0);
        match &mut whole {
            None => whole = Some(part),
            Some(whole) => ensure!(merge(whole, &part), "a sum beyond 38 digits"),
        }
    }
    Ok(whole)
}

#[test]
fn klines_in_progress_are_the_merge_of_their_trades() -> Result<()> {
    let (aggregates, klines) = binance()?;
    let mut compared = 0;
    for expected in &klines {
        let (first, last) = (integer(expected, "f")?, integer(expected, "L")?);
        let all = &aggregates[text(expected, "s")?];
        let ours = all.iter().filter(|a| a.first >= first && a.last <= last);
        // The recording begins and ends within a minute: only what it covers can be compared.
        let ends =
            ours.clone().next().map(|a| a.first).zip(ours.clone().next_back().map(|a| a.last));
        if ends != Some((first, last)) {
            continue;
        }
        let candle = fold(ours)?.context("no trade")?;
        ensure!(parts(&candle) == kline(expected)?, "{expected} is not {candle:?}");
        compared += 1;
    }
    ensure!(compared >= 50, "only {compared} klines could be compared");
    Ok(())
}

#[test]
fn final_klines_are_an_earlier_one_merged_with_the_trades_since() -> Result<()> {
    let (aggregates, klines) = binance()?;
    let mut compared = BTreeSet::new();
    for last in klines.iter().filter(|kline| kline["x"] == true) {
        let (symbol, end) = (text(last, "s")?, integer(last, "L")?);
        let all = &aggregates[symbol];
        for start in klines.iter().filter(|k| k["s"] == last["s"] && k["t"] == last["t"]) {
            let from = integer(start, "L")? + 1;
            let rest = || all.iter().filter(|a| a.first >= from && a.last <= end);
            if rest().next().is_none_or(|a| a.first != from)
                || rest().next_back().is_none_or(|a| a.last != end)
            {
                continue;
            }
            let mut whole = fold(all.iter().take(1))?.context("no trade")?;
            let number = |name| -> Result<Decimal> { Ok(text(start, name)?.parse()?) };
            (whole.open, whole.close) = (number("o")?, number("c")?);
            (whole.high, whole.low) = (number("h")?, number("l")?);
            (whole.base_volume, whole.quote_volume) = (Some(number("v")?), Some(number("q")?));
            (whole.taker_buy_base, whole.taker_buy_quote) =
                (Some(number("V")?), Some(number("Q")?));
            whole.open_event_time = Timestamp(integer(start, "t")?);
            whole.close_event_time = whole.open_event_time;
            ensure!(merge(&mut whole, &fold(rest())?.context("no trade")?));
            ensure!(parts(&whole) == kline(last)?, "{last} is not {whole:?}");
            compared.insert(symbol.to_owned());
        }
    }
    ensure!(compared.len() == 3, "final klines of {compared:?} only");
    Ok(())
}

#[test]
fn the_newest_aligned_klines_come_out_of_the_topic() -> Result<()> {
    let (aggregates, klines) = binance()?;
    let aligned = |kline: &&Value| -> bool {
        let all = kline["s"].as_str().and_then(|symbol| aggregates.get(symbol));
        let starts = |a: &Aggregate| Some(a.first) == kline["f"].as_i64();
        let ends = |a: &Aggregate| Some(a.last) == kline["L"].as_i64();
        all.is_some_and(|all| all.iter().any(starts) && all.iter().any(ends))
    };
    let newest: BTreeMap<String, &Value> = klines
        .iter()
        .filter(aligned)
        .map(|kline| Ok((text(kline, "s")?.to_owned(), kline)))
        .collect::<Result<_>>()?;
    ensure!(newest.len() == 3, "aligned klines of {:?}", newest.keys());
    let installation = Installation::new("klines")?;
    let cut = installation.folder().join("cut.jsonl");
    std::fs::write(&cut, capture_up_to(&newest)?)?;
    let mut member = installation.member("one", &[])?;
    installation.process(&["replay", &cut.to_string_lossy()], &mut [&mut member])?;
    let outputs = installation.outputs_equal_the_fold()?;
    for (symbol, expected) in newest {
        let base = symbol.strip_suffix("USDT").context("a pair in USDT")?;
        let pair = PairKey::new(base, "USDT", "binance");
        let open_time = Timestamp(integer(expected, "t")?);
        let key = CandleKey { pair, basis: Basis::Trade, open_time };
        let (_, candle) = outputs.minutes.get(&key).with_context(|| format!("{key} is lost"))?;
        ensure!(parts(candle) == kline(expected)?, "{expected} is not {candle:?}");
    }
    installation.finish_with([member])
}

/// The lines of the recording without what was traded after these klines.
fn capture_up_to(newest: &BTreeMap<String, &Value>) -> Result<String> {
    let mut kept = String::new();
    for line in data::lines(BINANCE)? {
        let captured: Value = serde_json::from_str(&line)?;
        let raw = captured["raw"].as_str().unwrap_or_default();
        let frame: Value = serde_json::from_str(raw).unwrap_or_default();
        let event = &frame["data"];
        let later = event["e"] == "aggTrade"
            && integer(event, "l")? > integer(newest[text(event, "s")?], "L")?;
        if !later {
            kept.push_str(&line);
            kept.push('\n');
        }
    }
    Ok(kept)
}

// LEAN: bars of one second, one minute and one day, each published.

/// A line of times and prices: milliseconds since midnight, open, high, low, close, volume.
fn lean_bar(line: &str) -> Result<(i64, Candle)> {
    let parts: Vec<_> = line.split(',').collect();
    let time = parts[0].parse()?;
    let number = |index: usize| -> Result<Decimal> { Ok(parts[index].parse()?) };
    let event = MarketEvent::trade(number(1)?, number(5)?, Timestamp(time));
    let candle = single(&event, 0);
    Ok((time, Candle { high: number(2)?, low: number(3)?, close: number(4)?, ..candle }))
}

fn same_bar(a: &Candle, b: &Candle) -> bool {
    let bar = |c: &Candle| (c.open, c.high, c.low, c.close, c.base_volume);
    bar(a) == bar(b)
}

#[test]
fn bars_of_one_second_merge_to_the_published_minutes_and_day() -> Result<()> {
    let (mut minutes, mut day) = (BTreeMap::<i64, Candle>::new(), None::<Candle>);
    // In an order of no meaning: the merge must not depend on it.
    let mut seconds = data::lines("lean/coinbase_btcusd_20161007_1s.csv.zst")?;
    seconds.sort_by_key(|line| line.len() * 7 % 13);
    for line in &seconds {
        let (time, second) = lean_bar(line)?;
        match minutes.entry(time / 60_000 * 60_000) {
            Entry::Vacant(minute) => _ = minute.insert(second.clone()),
            Entry::Occupied(mut minute) => ensure!(merge(minute.get_mut(), &second)),
        }
        match &mut day {
            None => day = Some(second),
            Some(day) => ensure!(merge(day, &second)),
        }
    }
    let published = data::lines("lean/coinbase_btcusd_20161007_1m.csv")?;
    ensure!(published.len() == minutes.len(), "{} minutes, of {}", minutes.len(), published.len());
    for line in published {
        let (time, expected) = lean_bar(&line)?;
        let ours = minutes.get(&time).with_context(|| format!("minute {time}"))?;
        ensure!(same_bar(ours, &expected), "{line} is not {ours:?}");
    }
    let days = data::lines("lean/coinbase_btcusd_1d.csv")?;
    let row = days.iter().find(|line| line.starts_with("20161007 ")).context("the day's row")?;
    let (_, expected) = lean_bar(&row.replacen("20161007 00:00", "0", 1))?;
    let ours = day.context("no second")?;
    ensure!(same_bar(&ours, &expected), "{row} is not {ours:?}");
    Ok(())
}

// Coinbase: a capture of everything.

#[test]
fn the_coinbase_capture_replays_to_the_end_and_every_match_is_counted() -> Result<()> {
    let mut matches = BTreeMap::<(String, i64), BTreeSet<i64>>::new();
    let (mut frames, mut tickers) = (0, 0);
    for frame in data::frames(COINBASE)? {
        match frame["type"].as_str() {
            Some("match" | "last_match") => {
                frames += 1;
                let time = Timestamp::parse_rfc3339(text(&frame, "time")?).context("time")?;
                let minute = time.0.div_euclid(60_000) * 60_000;
                let product = text(&frame, "product_id")?.to_owned();
                let ids = matches.entry((product, minute)).or_default();
                ids.insert(integer(&frame, "trade_id")?);
            }
            Some("ticker") if frame.get("trade_id").is_some() => tickers += 1,
            _ => {}
        }
    }
    ensure!(frames == 107, "{frames} matches in the recording");
    let installation = Installation::new("coinbase")?;
    let mut member = installation.member("one", &[])?;
    let path = data::path(COINBASE)?;
    let said = installation.produce(&["replay", &path.to_string_lossy()])?.log;
    ensure!(said.contains(&format!("trades: {frames}, tickers: {tickers}")), "{said}");
    installation.caught_up(&mut [&mut member])?;
    let outputs = installation.outputs_equal_the_fold()?;
    ensure!(outputs.dead_letters.is_empty() && outputs.late.is_empty(), "{outputs:?}");
    let counted: BTreeMap<_, _> = outputs
        .minutes
        .iter()
        .filter(|(key, _)| key.basis == Basis::Trade)
        .map(|(key, (_, candle))| {
            let product = format!("{}-{}", key.pair.base, key.pair.quote);
            ((product, key.open_time.0), candle.trades)
        })
        .collect();
    let expected: BTreeMap<_, _> = matches
        .into_iter()
        .map(|(key, ids)| Ok((key, i64::try_from(ids.len())?)))
        .collect::<Result<_>>()?;
    ensure!(counted == expected, "{counted:?} is not {expected:?}");
    installation.finish_with([member])
}
