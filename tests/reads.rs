//! What readers were promised, requirement by requirement, against the real stack with the exact
//! answers: over REST and at the command line, from a view that is no member of the group.

#[path = "reads/steady.rs"]
mod steady;

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use reqwest::blocking::Response;
use schemas::topic::Topic;
use schemas::{Codec, FeedMark, MarketEvent, PairKey, Timestamp};
use serde_json::{Value, json};
use tests::support::installation::{IMPATIENT, Member};
use tests::support::proxy::{Network, Proxy};
use tests::support::{Installation, settles, soon};

use steady::Steady;

/// 2024-01-01T00:00:00Z.
const EPOCH: i64 = 1_704_067_200_000;
const DAY: i64 = 86_400_000;
const BTC: &str = "base=BTC&quote=USD&exchange=coinbase";

const fn minute(minute: i64) -> i64 {
    EPOCH + minute * 60_000
}

/// A trade: its partition, which whoever writes it decides, its pair, price, size and time.
type Trade = (i32, (&'static str, &'static str, &'static str), &'static str, &'static str, i64);

const TRADES: [Trade; 9] = [
    (0, ("BTC", "USD", "coinbase"), "50", "1", EPOCH - 100 * DAY),
    (0, ("BTC", "USD", "coinbase"), "60.000000000000000001", "1", EPOCH - 40 * DAY),
    (0, ("BTC", "USD", "coinbase"), "100", "1", minute(0)),
    (0, ("BTC", "USD", "coinbase"), "101.5", "2", minute(0) + 1_000),
    (0, ("BTC", "USD", "coinbase"), "99", "0.5", minute(3)),
    (1, ("ETH", "USD", "coinbase"), "10", "1", minute(4)),
    (2, ("BTC", "USD", "kraken"), "98", "1", minute(3)),
    (3, ("BTC", "USD", "binance"), "150", "1", minute(3)),
    (1, ("BTC", "EUR", "kraken"), "90", "1", minute(1)),
];

fn record(codec: &Codec, pair: &PairKey, value: Vec<u8>) -> (Vec<u8>, Option<Vec<u8>>) {
    (codec.to_bytes(pair), Some(value))
}

/// Puts the trades, and then what the feeds say of themselves, into `events`.
fn write(installation: &Installation) -> Result<()> {
    let codec = installation.codec()?;
    for partition in 0..4 {
        let mut records = Vec::new();
        for (_, (base, quote, exchange), price, size, time) in
            TRADES.iter().filter(|trade| trade.0 == partition)
        {
            let event = MarketEvent::trade(price.parse()?, size.parse()?, Timestamp(*time));
            let pair = PairKey::new(*base, *quote, *exchange);
            records.push(record(&codec, &pair, codec.to_bytes(&event)));
        }
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        for (exchange, healthy_until, received_at) in
            // Far enough from now that a slow machine sees the same.
            [
                ("coinbase", minute(4) + 30_000, now + DAY),
                ("kraken", minute(3) + 500, now - DAY),
            ]
        {
            let (until, at) = (Timestamp(healthy_until), Timestamp(received_at));
            let mark = FeedMark::healthy("1", until, at);
            records.push(record(&codec, &PairKey::feed(exchange), codec.to_bytes(&mark)));
        }
        installation.write(Topic::Events, partition, &records)?;
    }
    Ok(())
}

struct Reader {
    url: String,
    http: reqwest::blocking::Client,
}

impl Reader {
    fn of(member: &mut Member) -> Result<Self> {
        let url = format!("http://{}", member.address()?);
        Ok(Self { url, http: reqwest::blocking::Client::new() })
    }

    fn get(&self, path: &str) -> Result<Response> {
        Ok(self.http.get(format!("{}{path}", self.url)).send()?)
    }

    fn json(&self, path: &str) -> Result<Value> {
        Ok(self.get(path)?.error_for_status()?.json()?)
    }

    fn text(&self, path: &str, accept: &str) -> Result<String> {
        let request = self.http.get(format!("{}{path}", self.url)).header("accept", accept);
        Ok(request.send()?.error_for_status()?.text()?)
    }
}

/// These fields of each row.
fn fields(rows: &Value, names: &[&str]) -> Vec<Vec<String>> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let row = |row: &Value| names.iter().map(|name| text(&row[*name])).collect();
    rows.as_array().into_iter().flatten().map(row).collect()
}

/// Rows of texts, to compare [`fields`] with.
fn texts<const N: usize, const M: usize>(rows: [[&str; N]; M]) -> Vec<Vec<String>> {
    rows.iter().map(|row| row.iter().map(|text| (*text).to_owned()).collect()).collect()
}

fn equal<T: std::fmt::Debug + PartialEq>(actual: &T, expected: &T, what: &str) -> Result<()> {
    ensure!(actual == expected, "{what}: {actual:#?}\nand not {expected:#?}");
    Ok(())
}

/// "The latest price by a tuple of base, quote and exchange."
fn latest_by_tuple(reader: &Reader) -> Result<()> {
    let expected = json!({
        "base": "BTC", "quote": "USD", "exchange": "coinbase", "price": "99", "size": "0.5",
        "trade_id": null, "basis": "TRADE", "base_volume_24h": null, "quote_volume_24h": null,
        "volume_source": "NONE", "volume_time": null,
        "event_time": "2024-01-01T00:03:00.000Z", "received_at": "2024-01-01T00:03:00.000Z",
    });
    equal(&reader.json(&format!("/v1/latest?{BTC}"))?, &expected, "latest")?;
    let unknown = reader.get("/v1/latest?base=DOGE&quote=USD&exchange=coinbase")?;
    equal(&unknown.status().as_u16(), &404, "an unknown pair")
}

/// "… and by an array of tuples."
fn latest_by_array(reader: &Reader) -> Result<()> {
    let asked = json!([
        { "base": "ETH", "quote": "USD", "exchange": "coinbase" },
        { "base": "DOGE", "quote": "USD", "exchange": "coinbase" },
        { "base": "BTC", "quote": "EUR", "exchange": "kraken" },
    ]);
    let sent = reader.http.post(format!("{}/v1/latest", reader.url)).json(&asked).send()?;
    let answer: Value = sent.error_for_status()?.json()?;
    let found = texts([["ETH", "USD", "10"], ["BTC", "EUR", "90"]]);
    equal(&fields(&answer["found"], &["base", "quote", "price"]), &found, "found")?;
    equal(&answer["missing"], &json!([asked[1]]), "missing")
}

/// "OHLC by key and range of time …"
fn candles_by_key_and_range(reader: &Reader) -> Result<()> {
    let path = format!("/v1/candles?{BTC}&from={EPOCH}&to=2024-01-01T01:00:00Z");
    let answer = reader.json(&path)?;
    let columns = ["open_time", "open", "high", "low", "close", "base_volume", "quote_volume"];
    let rows = [
        ["2024-01-01T00:00:00.000Z", "100", "101.5", "100", "101.5", "3", "303"],
        ["2024-01-01T00:03:00.000Z", "99", "99", "99", "99", "0.5", "49.5"],
    ];
    equal(&fields(&answer["candles"], &columns), &texts(rows), "minutes")?;
    let filled = reader.json(&format!("{path}&fill=previous&limit=3"))?;
    let rows = [["100", "false"], ["101.5", "true"], ["101.5", "true"]];
    equal(&fields(&filled["candles"], &["open", "filled"]), &texts(rows), "filled minutes")?;
    let csv = reader.text(&path, "text/csv")?;
    let closes: Vec<_> = csv.lines().filter_map(|line| line.split(',').nth(4)).collect();
    equal(&closes, &vec!["close", "101.5", "99"], "CSV")?;
    let arrow = reader.text(&path, "application/vnd.apache.arrow.stream")?;
    ensure!(arrow.len() > 1000, "an Arrow stream of {} bytes", arrow.len());
    Ok(())
}

/// "… coarser with age."
fn coarser_with_age(reader: &Reader) -> Result<()> {
    let of = |days: i64| {
        let from = EPOCH - days * DAY;
        reader.json(&format!("/v1/candles?{BTC}&interval=auto&from={from}"))
    };
    let (minutes, hours, all) = (of(1)?, of(101)?, of(1_000)?);
    equal(&minutes["resolution"], &json!("1m"), "a day back")?;
    equal(&hours["resolution"], &json!("1h"), "a hundred days back")?;
    let rows = [["50", "50"], ["60.000000000000000001", "60.000000000000000001"], ["100", "99"]];
    // The last hour is live: it has the minute that is open.
    equal(&fields(&hours["candles"], &["open", "close"]), &texts(rows), "hours")?;
    equal(&all["resolution"], &json!("1d"), "a thousand days back")?;
    equal(&fields(&all["candles"], &["open", "close"]), &texts(rows), "days")
}

/// "Exchanges, their pairs, and when each was last seen."
fn exchanges_and_pairs(reader: &Reader) -> Result<()> {
    let answer = reader.json("/v1/exchanges")?;
    let rows = [
        ["binance", "1", "2024-01-01T00:03:00.000Z", "quiet"],
        ["coinbase", "2", "2024-01-01T00:04:00.000Z", "live"],
        ["kraken", "2", "2024-01-01T00:03:00.000Z", "dead"],
    ];
    let columns = ["exchange", "pairs", "last_event_time", "state"];
    equal(&fields(&answer["exchanges"], &columns), &texts(rows), "exchanges")?;
    let pairs = reader.json("/v1/exchanges/coinbase/pairs")?;
    let rows =
        [["BTC", "USD", "2024-01-01T00:03:00.000Z"], ["ETH", "USD", "2024-01-01T00:04:00.000Z"]];
    equal(&fields(&pairs["pairs"], &["base", "quote", "last_event_time"]), &texts(rows), "pairs")
}

/// "Latest prices grouped by base."
fn grouped_by_base(reader: &Reader) -> Result<()> {
    let answer = reader.json("/v1/bases/BTC")?;
    let rows = [["EUR", "90"], ["USD", "98"]];
    equal(&fields(&answer["quotes"], &["quote", "price"]), &texts(rows), "quotes")?;
    let rows = [
        ["binance", "150", "false", "outlier"],
        ["coinbase", "99", "true", "null"],
        ["kraken", "98", "true", "null"],
    ];
    let columns = ["exchange", "price", "used", "unused_because"];
    equal(&fields(&answer["quotes"][1]["members"], &columns), &texts(rows), "members")
}

/// An answer says how old it is, and a client may refuse what is older.
fn freshness(reader: &Reader) -> Result<()> {
    let path = format!("/v1/latest?{BTC}");
    soon("an answer that is fresh", || {
        Ok(reader.get(&format!("{path}&max_lag_ms=3000"))?.status().is_success())
    })?;
    let answer = reader.get(&path)?;
    let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
    ensure!(header("positions").is_some_and(|at| at.starts_with("latest/0=")), "{answer:?}");
    let age: i64 = header("lag-ms").unwrap_or_default().parse()?;
    let as_of = header("as-of").and_then(Timestamp::parse_rfc3339);
    ensure!(as_of.is_some_and(|as_of| as_of.0 > EPOCH) && age >= 0, "{answer:?}");
    let tag = header("etag").unwrap_or_default();
    let again = reader.http.get(format!("{}{path}", reader.url)).header("if-none-match", tag);
    equal(&again.send()?.status().as_u16(), &304, "nothing has changed")
}

/// The same at the command line.
fn command_line(installation: &Installation, reader: &Reader) -> Result<()> {
    let query = |arguments: &[&str]| {
        let all = [&["query"], arguments, &["--url", &reader.url]].concat();
        installation.command("processor", &all)?.outcome()
    };
    let latest = query(&["latest", "BTC-USD@coinbase", "ETH-USD@coinbase"])?;
    let table = "\
base  quote  exchange  price  size  event time                base volume 24h
BTC   USD    coinbase     99   0.5  2024-01-01T00:03:00.000Z                -
ETH   USD    coinbase     10     1  2024-01-01T00:04:00.000Z                -
";
    equal(&latest.out.as_str(), &table, "a table of prices")?;
    let from = EPOCH.to_string();
    let candles = ["candles", "BTC-USD@coinbase", "--interval", "1m", "--from", &from];
    let csv = query(&[&candles[..], &["--format", "csv"]].concat())?.out;
    equal(&csv.lines().count(), &3, "lines of CSV")?;
    let said: Value =
        serde_json::from_str(&query(&[&candles[..], &["--format", "json"]].concat())?.out)?;
    let closes = vec![vec!["101.5".to_owned()], vec!["99".to_owned()]];
    equal(&fields(&said["candles"], &["close"]), &closes, "candles as JSON")?;
    let exchanges = query(&["exchanges"])?.out;
    ensure!(exchanges.lines().any(|line| line.starts_with("kraken") && line.contains("dead")));
    let missing = query(&["latest", "DOGE-USD@coinbase"])?;
    equal(&missing.code, &Some(1), "a pair that is not there")?;
    ensure!(missing.log.contains("not found: DOGE-USD@coinbase"), "{}", missing.log);
    let nobody = installation
        .command("processor", &["query", "exchanges", "--url", "http://127.0.0.1:9"])?;
    ensure!(nobody.outcome()?.log.contains("set --url"));
    Ok(())
}

#[test]
fn each_requirement_of_readers_is_answered_exactly() -> Result<()> {
    let installation = Installation::new("reads")?;
    let (mut member, mut view) = installation.member_and_view(&[], &[])?;
    write(&installation)?;
    installation.caught_up(&mut [&mut member])?;
    let reader = Reader::of(&mut view)?;
    soon("the view to have the last event of each partition", || {
        let answer = reader.json("/v1/exchanges")?;
        let pairs = fields(&answer["exchanges"], &["pairs", "state"]);
        let rows = [["1", "quiet"], ["2", "live"], ["2", "dead"]];
        Ok(pairs == texts(rows))
    })?;
    settles("the view to have the exchanges", || exchanges_and_pairs(&reader))?;
    for reader in [&reader, &Reader::of(&mut member)?] {
        // The group's offsets tell nobody that a member's or a view's stores have what they cover.
        settles("all that was written to be readable", || {
            latest_by_tuple(reader)?;
            latest_by_array(reader)?;
            candles_by_key_and_range(reader)?;
            coarser_with_age(reader)?;
            grouped_by_base(reader)
        })?;
        freshness(reader)?;
    }
    command_line(&installation, &reader)?;

    // Without its writer the view is as it was, and says how old that is.
    member.process.kill()?;
    latest_by_tuple(&reader)?;
    freshness(&reader)?;
    installation.finish_with([view])
}

/// A view answers from its own stores: who writes, who carries and who else reads may be gone.
#[test]
fn no_read_fails_while_the_writer_the_broker_or_another_view_is_gone() -> Result<()> {
    const LOAD: [&str; 7] = ["load", "--events", "20000", "--keys", "40", "--event-rate", "100"];
    const FRESH_MS: u64 = 1_500;
    let installation = Installation::new("reads-trouble")?;
    let proxy = Proxy::start(&installation.stack)?;
    let mut member = installation.member("one", &IMPATIENT)?;
    let mut view = installation.view("view", &[])?;
    let mut behind = installation.view("behind", &["--kafka", &proxy.setting()])?;
    member.ready()?;
    view.ready()?;
    behind.ready()?;
    installation
        .process(&[&LOAD[..], &["--start-ms", "1700000000000"]].concat(), &mut [&mut member])?;
    let address = view.address()?;
    let urls = [format!("http://{address}"), format!("http://{}", behind.address()?)];
    soon("both views to have the pairs", || {
        let has = |url: &String| -> Result<bool> {
            let url = format!("{url}/v1/exchanges");
            Ok(reqwest::blocking::get(url)?.text()?.contains("\"pairs\":40"))
        };
        Ok(has(&urls[0])? && has(&urls[1])?)
    })?;
    let [of_view, of_behind] = urls.map(|url| Steady::start(&url));

    // The writer, and what it writes when it is back.
    member.process.kill()?;
    of_view.goes_on(100)?;
    let mut member = installation.member("one", &IMPATIENT)?;
    let later = ["--start-ms", "1700010000000", "--seed", "2"];
    installation.process(&[&LOAD[..], &later].concat(), &mut [&mut member])?;
    of_view.is_fresh(FRESH_MS)?;

    // The broker, as the view behind the proxy sees it: silent, then gone, then back.
    proxy.set(Network::Holds);
    of_behind.ages(2_000)?;
    proxy.set(Network::Refuses);
    of_behind.ages(4_000)?;
    // The other view has not aged with it.
    of_view.is_fresh(FRESH_MS)?;
    proxy.set(Network::Passes);
    of_behind.is_fresh(FRESH_MS)?;

    // A view. What it had on disk it has again; what it cannot say yet is not said to be missing.
    view.process.kill()?;
    of_behind.goes_on(100)?;
    let mut view = installation.view("view", &["--listen", &address])?;
    of_view.goes_on(100)?;
    of_view.is_fresh(FRESH_MS)?;
    let told = of_view.stop()?;
    ensure!(told.unheard > 0, "it was not gone: {told:#?}");
    ensure!(told.first.iter().all(|f| !f.contains("404 Not Found")), "{told:#?}");
    let told = of_behind.stop_without_failure()?;
    ensure!(told.max_lag_ms >= 4_000, "{told:#?}");
    view.process.alive()?;
    installation.finish_with([view, behind, member])
}

#[test]
fn what_others_can_reach_is_refused_before_anything_is_opened() -> Result<()> {
    let installation = Installation::without_topics("reads-open")?;
    let outside = ["serve", "--listen", "0.0.0.0:0"];
    let said = installation.command("processor", &outside)?.outcome()?;
    equal(&said.code, &Some(1), "the exit code")?;
    ensure!(said.log.contains("--insecure-listen"), "{}", said.log);
    installation.finish()
}

#[test]
fn a_token_is_asked_for_over_rest_and_given_at_the_command_line() -> Result<()> {
    let installation = Installation::new("reads-token")?;
    let file = installation.folder().join("token");
    std::fs::write(&file, "secret\n")?;
    let file = file.to_string_lossy();
    let mut view = installation.ready_view("view", &["--auth-token-file", &file])?;
    let reader = Reader::of(&mut view)?;
    equal(&reader.get("/v1/exchanges")?.status().as_u16(), &401, "without the token")?;
    let ask = ["query", "exchanges", "--url", &reader.url, "--format", "json"];
    let said =
        installation.command("processor", &[&ask[..], &["--auth-token-file", &file]].concat())?;
    equal(&said.finish()?.out.as_str(), &"{\"exchanges\":[]}\n", "with the token")?;
    ensure!(!view.stop()?.contains("secret"), "the log tells the token");
    installation.finish()
}
