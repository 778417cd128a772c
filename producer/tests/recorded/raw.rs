//! What stands in recorded files, read without the product: channels by their text, ids and
//! numbers by a plain JSON parser, sums in whole units.

#[path = "../../../tests/support/recordings.rs"]
#[expect(unreachable_pub, reason = "a library elsewhere")]
mod recordings;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use schemas::PairKey;
use serde_json::Value;
use venues::Venue;

pub(crate) use recordings::{bodies, path as data};

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// A frame as it was recorded.
pub(crate) struct Frame {
    pub(crate) at_us: i64,
    pub(crate) text: String,
}

/// The frames of a capture.
pub(crate) fn frames(name: &str) -> Result<Vec<Frame>> {
    let frames = recordings::frames(name)?.into_iter();
    Ok(frames.map(|(at_us, text)| Frame { at_us, text }).collect())
}

/// What stands in a frame's text, and the channel that it is of. The first that fits.
const COINBASE: [(&str, &str); 6] = [
    ("\"type\":\"match\"", "match"),
    ("\"type\":\"last_match\"", "last_match"),
    ("\"type\":\"ticker\"", "ticker"),
    ("\"type\":\"l2update\"", "l2update"),
    ("\"type\":\"snapshot\"", "snapshot"),
    ("\"type\":\"subscriptions\"", "subscriptions"),
];
const BINANCE: [(&str, &str); 6] = [
    ("\"e\":\"trade\"", "trade"),
    ("\"e\":\"aggTrade\"", "aggTrade"),
    ("\"e\":\"depthUpdate\"", "depthUpdate"),
    ("\"e\":\"kline\"", "kline"),
    ("@bookTicker\"", "bookTicker"),
    // A snapshot of the book.
    ("\"lastUpdateId\":", "depthUpdate"),
];
const DERIBIT: [(&str, &str); 4] = [
    ("\"channel\":\"ticker.", "ticker"),
    ("\"channel\":\"book.", "book"),
    ("\"channel\":\"trades.", "trades"),
    ("\"result\":", "answer"),
];
const BITSTAMP: [(&str, &str); 3] = [
    ("\"event\":\"trade\"", "trade"),
    ("\"event\":\"data\"", "data"),
    ("\"event\":\"bts:subscription_succeeded\"", "bts:subscription_succeeded"),
];

/// The channel of a frame.
pub(crate) fn channel(venue: Venue, text: &str) -> Result<&'static str> {
    let tags: &[(&str, &str)] = match venue {
        Venue::Coinbase => &COINBASE,
        Venue::Binance => &BINANCE,
        Venue::Deribit => &DERIBIT,
        Venue::Bitstamp => &BITSTAMP,
        Venue::Kraken => &[],
    };
    let found = tags.iter().find(|(tag, _)| text.contains(tag));
    found.map(|(_, channel)| *channel).with_context(|| format!("unexplained: {text}"))
}

/// How many trades and how many price samples a capture holds.
pub(crate) fn events(name: &str, venue: Venue) -> Result<(i64, i64)> {
    let (mut prints, mut samples) = (0, 0);
    for Frame { text, .. } in frames(name)? {
        match channel(venue, &text)? {
            "match" | "last_match" | "trade" | "aggTrade" => prints += 1,
            // One without a time or a trade is a quote: nothing was paid.
            "ticker" if venue == Venue::Coinbase => {
                samples += i64::from(text.contains("\"time\":") && text.contains("\"trade_id\":"));
            }
            "ticker" => samples += 1,
            _ => {}
        }
    }
    Ok((prints, samples))
}

/// One trade in the words of its venue.
struct Raw {
    pair: String,
    id: i64,
    value: Value,
}

impl Raw {
    /// Time in milliseconds, price and size in units.
    fn print(&self, venue: Venue) -> Result<(i64, i128, i128)> {
        let text = |field: &str| self.value[field].as_str().unwrap_or_default();
        let (time, price, size) = match venue {
            Venue::Coinbase => {
                (text("time").parse::<jiff::Timestamp>()?.as_millisecond(), "price", "size")
            }
            Venue::Bitstamp => {
                (number(&self.value["microtimestamp"])? / 1000, "price_str", "amount_str")
            }
            Venue::Binance => (number(&self.value["T"])?, "p", "q"),
            other => bail!("{other} has no recorded trades"),
        };
        Ok((time, units(text(price))?, units(text(size))?))
    }
}

fn raw_trades(name: &str) -> Result<Vec<Raw>> {
    let mut trades = Vec::new();
    if name.starts_with("hitbtc") {
        for value in recordings::json(name)? {
            let part = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
            let pair = PairKey::new(part("base"), part("quote"), part("exchange"));
            trades.push(Raw { pair: pair.to_string(), id: number(&value["trade_id"])?, value });
        }
        return Ok(trades);
    }
    for Frame { text, .. } in frames(name)? {
        let value: Value = serde_json::from_str(&text)?;
        let (body, id) = if name.starts_with("coinbase") {
            let is_match = value["type"] == "match" || value["type"] == "last_match";
            (value.clone(), is_match.then_some("trade_id"))
        } else if name.starts_with("bitstamp") {
            (value["data"].clone(), (value["event"] == "trade").then_some("id"))
        } else {
            let body = value["data"].clone();
            let id = match body["e"].as_str() {
                Some("trade") => Some("t"),
                Some("aggTrade") => Some("a"),
                _ => None,
            };
            (body, id)
        };
        let Some(id) = id else { continue };
        let channel = value["channel"].as_str().and_then(|name| name.strip_prefix("live_trades_"));
        let product = body["product_id"].as_str().or(body["s"].as_str()).or(channel);
        let product = product.context("a trade of nothing")?.to_owned();
        trades.push(Raw { pair: product, id: number(&body[id])?, value: body });
    }
    Ok(trades)
}

fn number(value: &Value) -> Result<i64> {
    let text = value.as_str().map(str::to_owned);
    Ok(text.unwrap_or_else(|| value.to_string()).parse()?)
}

/// The venue of a recording, if it has an adapter.
pub(crate) fn venue(name: &str) -> Option<Venue> {
    Venue::from_name(name.split('/').next()?)
}

/// The trade ids of each pair of a recording, in order; pairs as the product writes them.
pub(crate) fn trade_ids(name: &str) -> Result<BTreeMap<String, Vec<i64>>> {
    let mut ids: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for Raw { pair, id, .. } in raw_trades(name)? {
        let pair = match venue(name) {
            Some(venue) => venue.pair(&pair)?.to_string(),
            None => pair,
        };
        ids.entry(pair).or_default().push(id);
    }
    Ok(ids)
}

/// How many ids between the first and the last are not there.
pub(crate) fn holes(ids: &[i64]) -> i64 {
    let (mut newest, mut holes) = (ids.first().copied().unwrap_or_default(), 0);
    for &id in ids {
        holes += (id - newest - 1).max(0);
        newest = newest.max(id);
    }
    holes
}

/// A minute of trades, in units of 10⁻⁸.
#[derive(Debug)]
pub(crate) struct Minute {
    pub(crate) trades: i64,
    pub(crate) open: i128,
    pub(crate) high: i128,
    pub(crate) low: i128,
    pub(crate) close: i128,
    pub(crate) volume: i128,
}

/// Decimal text as units of 10⁻⁸.
pub(crate) fn units(text: &str) -> Result<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    ensure!(fraction.len() <= 8, "{text} has more than eight digits");
    Ok(format!("{whole}{fraction:0<8}").parse()?)
}

/// The minutes of a capture by pair and time, by a fold of the raw trades in order of time and id.
pub(crate) fn minutes(name: &str) -> Result<BTreeMap<(String, i64), Minute>> {
    let venue = venue(name).context("a capture of no venue")?;
    let mut trades = Vec::new();
    for raw in raw_trades(name)? {
        let (time, price, size) = raw.print(venue)?;
        trades.push((time, raw.id, price, size, venue.pair(&raw.pair)?.to_string()));
    }
    trades.sort_unstable();
    let mut minutes: BTreeMap<(String, i64), Minute> = BTreeMap::new();
    for (time, _, price, size, pair) in trades {
        let minute = minutes.entry((pair, time - time % 60_000)).or_insert(Minute {
            trades: 0,
            open: price,
            high: price,
            low: price,
            close: price,
            volume: 0,
        });
        minute.trades += 1;
        minute.high = minute.high.max(price);
        minute.low = minute.low.min(price);
        minute.close = price;
        minute.volume += size;
    }
    Ok(minutes)
}

/// What the fuzzer begins with.
pub(crate) fn seeds(venue: Venue) -> Result<Vec<String>> {
    let folder = root().join("fuzz/seeds").join(venue.as_str());
    let files = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let text = |path: PathBuf| Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned());
    files.map(|entry| text(entry?.path())).collect()
}
