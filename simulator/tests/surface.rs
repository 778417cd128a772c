//! The options of the simulated Deribit: the venue's own model, its messages, and the life of its
//! instruments.

#[path = "../../tests/support/recordings.rs"]
#[expect(dead_code, unreachable_pub, reason = "a library elsewhere, and other tests read the rest")]
mod recordings;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use simulator::Venue;
use simulator::http::QueryString;
use simulator::listings;
use simulator::market::Market;
use simulator::reply::Reply;
use simulator::session::{Service, Session, answer};
use simulator::surface::black76::Contract;
use simulator::surface::instrument::{Kind, Life, Name};
use simulator::surface::settings::SurfaceSettings;

/// 30 November 2026, 18:27 UTC.
const NOW: i64 = 1_796_063_220_000_000;
const SECOND: i64 = 1_000_000;
/// Milliseconds of a year, as the venue counts it.
const YEAR_MS: f64 = 365.0 * 86_400_000.0;

fn number(value: &Value) -> Result<f64> {
    value.as_f64().with_context(|| format!("{value} is no number"))
}

/// The option of a ticker as the model sees it.
fn contract(ticker: &Value) -> Result<Option<Contract>> {
    let name = ticker["instrument_name"].as_str().context("no name")?;
    let name = Name::parse(name).with_context(|| name.to_owned())?;
    let Kind::Option { strike, is_call } = name.kind else { return Ok(None) };
    let expiry = number(&json!(name.expiry_ms))?;
    let years = (expiry - number(&ticker["timestamp"])?) / YEAR_MS;
    let forward = number(&ticker["underlying_price"])?;
    Ok(Some(Contract { forward, strike, years, is_call }))
}

/// The distance of each number of a ticker from the model's: price, delta, gamma, vega, theta, rho, the
/// last three in parts of their size.
fn errors(ticker: &Value, contract: &Contract) -> Result<[f64; 6]> {
    let iv = number(&ticker["mark_iv"])?;
    let greeks = contract.greeks(iv);
    let of = |name: &str| number(&ticker["greeks"][name]);
    let part = |model: f64, said: f64| (model - said).abs() / said.abs().max(1.0);
    Ok([
        (contract.price(iv) - number(&ticker["mark_price"])?).abs(),
        (greeks.delta - of("delta")?).abs(),
        (greeks.gamma - of("gamma")?).abs(),
        part(greeks.vega, of("vega")?),
        part(greeks.theta, of("theta")?),
        part(greeks.rho, of("rho")?),
    ])
}

#[test]
fn the_model_gives_the_marks_and_greeks_that_the_venue_recorded() -> Result<()> {
    let mut all: Vec<[f64; 6]> = Vec::new();
    for (_, text) in recordings::frames("deribit/20210417_ws.jsonl.zst")? {
        let frame: Value = serde_json::from_str(&text)?;
        let ticker = &frame["params"]["data"];
        if ticker["greeks"].is_object() {
            let contract = contract(ticker)?.context("not an option")?;
            all.push(errors(ticker, &contract)?);
        }
    }
    ensure!(all.len() > 20, "{} tickers", all.len());
    // The venue's volatility has two digits and its greeks five: the largest error is theirs.
    for (number, most) in [5e-4, 2e-4, 1e-5, 5e-3, 5e-3, 5e-3].into_iter().enumerate() {
        let largest = all.iter().map(|errors| errors[number]).fold(0.0, f64::max);
        ensure!(largest <= most, "error {number} is {largest}");
    }
    let mut prices: Vec<f64> = all.iter().map(|errors| errors[0]).collect();
    prices.sort_by(f64::total_cmp);
    ensure!(prices[prices.len() / 2] <= 5e-6, "median {}", prices[prices.len() / 2]);
    Ok(())
}

/// A venue without a socket, and one client.
struct Bench {
    market: Market,
    session: Session,
    now: i64,
    texts: Vec<String>,
    truth: Vec<String>,
}

impl Bench {
    fn new(settings: &SurfaceSettings) -> Result<Self> {
        let names = listings::names_at(Venue::Deribit, NOW, settings);
        let mut market = Market::new(3, &names, NOW)?.quoting(settings, NOW);
        market.surface_mut().keep_lines();
        let session = Session::new(Venue::Deribit, &Service::new(NOW));
        Ok(Self { market, session, now: NOW, texts: Vec::new(), truth: Vec::new() })
    }

    fn take(&mut self, reply: Reply) {
        self.texts.extend(reply.texts);
        self.truth.extend(reply.truth);
    }

    fn request(&mut self, method: &str, params: &Value) -> Result<Value> {
        let ask = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        let mut reply = self.session.request(&ask.to_string(), &self.market, self.now);
        ensure!(!reply.texts.is_empty(), "{method} has no answer");
        let answer: Value = serde_json::from_str(&reply.texts.remove(0))?;
        self.take(reply);
        ensure!(answer["id"] == 7, "{answer}");
        Ok(answer)
    }

    /// Subscribes the tickers of these products; the channels that are granted.
    fn subscribe(&mut self, names: &[String], interval: &str) -> Result<usize> {
        let channels: Vec<String> =
            names.iter().map(|name| format!("ticker.{name}.{interval}")).collect();
        let answer = self.request("public/subscribe", &json!({"channels": channels}))?;
        Ok(answer["result"].as_array().context("no channels")?.len())
    }

    /// A tenth of a second passes.
    fn tick(&mut self) -> Vec<(usize, Life)> {
        self.now += SECOND / 10;
        let changes = self.market.surface_mut().advance(self.now);
        let ticks = self.market.surface().ticks();
        let reply = self.session.tick(&self.market, ticks, self.now);
        self.take(reply);
        changes
    }

    fn names(&self) -> Vec<String> {
        self.market.products().iter().map(|product| product.name.clone()).collect()
    }

    /// The tickers so far, taken.
    fn tickers(&mut self) -> Result<Vec<Value>> {
        let frames = self.texts.drain(..).map(|text| Ok(serde_json::from_str::<Value>(&text)?));
        let frames = frames.collect::<Result<Vec<Value>>>()?;
        let is_ticker = |frame: &&Value| {
            frame["params"]["channel"].as_str().is_some_and(|name| name.starts_with("ticker."))
        };
        Ok(frames.iter().filter(is_ticker).map(|frame| frame["params"]["data"].clone()).collect())
    }

    fn get(&self, path: &str, query: &str) -> Result<Value> {
        let path = format!("/api/v2/public/{path}");
        let answer = answer(Venue::Deribit, &path, &QueryString(query), &self.market, self.now)
            .body()
            .clone();
        ensure!(answer["result"] != Value::Null, "{path}?{query}: {answer}");
        Ok(answer["result"].clone())
    }
}

fn many() -> SurfaceSettings {
    let currencies = vec!["BTC".to_owned()];
    SurfaceSettings { options: 1_500, currencies, ..SurfaceSettings::default() }
}

#[test]
fn two_seconds_of_1500_options_are_1500_tickers_that_the_model_explains() -> Result<()> {
    let mut bench = Bench::new(&many())?;
    let names = bench.names();
    ensure!(bench.subscribe(&names, "agg2")? == names.len());
    ensure!(bench.tickers()?.len() == names.len(), "each is sent at once");
    (0..20).for_each(|_| drop(bench.tick()));
    let tickers = bench.tickers()?;
    let seen: BTreeSet<&str> =
        tickers.iter().filter_map(|ticker| ticker["instrument_name"].as_str()).collect();
    ensure!((tickers.len(), seen.len()) == (names.len(), names.len()), "{}", tickers.len());
    let (mut options, mut zero_bids) = (0, 0);
    for ticker in &tickers {
        ensure!(ticker["state"] == "open", "{ticker}");
        let Some(contract) = contract(ticker)? else { continue };
        options += 1;
        let [price, delta, gamma, vega, theta, rho] = errors(ticker, &contract)?;
        ensure!(price <= 1.1e-8 && delta <= 1e-5 && gamma <= 1e-5, "{price} {delta}: {ticker}");
        ensure!(vega <= 1e-5 && theta <= 1e-5 && rho <= 1e-5, "{vega} {theta} {rho}: {ticker}");
        let of = |name: &str| number(&ticker[name]);
        let (bid, ask) = (of("best_bid_price")?, of("best_ask_price")?);
        ensure!((bid > 0.0) == (of("best_bid_amount")? > 0.0), "{ticker}");
        ensure!(bid < of("mark_price")? && (ask <= 0.0 || ask > of("mark_price")?), "{ticker}");
        zero_bids += u32::from(bid > 0.0 && of("bid_iv")? <= 0.0);
    }
    ensure!(options == 1_500 && zero_bids > 0, "{options} options, {zero_bids} zeros");
    Ok(())
}

#[test]
fn a_line_of_the_truth_is_what_was_sent() -> Result<()> {
    let mut bench = Bench::new(&many())?;
    let names = bench.names();
    bench.subscribe(&names, "100ms")?;
    bench.tick();
    let tickers = bench.tickers()?;
    ensure!(tickers.len() == bench.truth.len() && tickers.len() > names.len());
    for (ticker, line) in tickers.iter().zip(&bench.truth) {
        let line: Value = serde_json::from_str(line)?;
        let mut flat: BTreeMap<String, Value> = BTreeMap::new();
        for (name, value) in ticker.as_object().context("a ticker")? {
            match value.as_object().filter(|_| value.is_object()) {
                Some(group) => flat.extend(
                    group.iter().map(|(part, value)| (format!("{name}.{part}"), value.clone())),
                ),
                None => drop(flat.insert(name.clone(), value.clone())),
            }
        }
        let text = |value: &Value| match value {
            Value::Null => Value::Null,
            Value::String(text) => json!(text),
            number => json!(number.to_string()),
        };
        let sent: Value = flat.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        ensure!(line["ticker"] == sent, "{line} is not {sent}");
        ensure!(line["product"] == ticker["instrument_name"], "{line}");
        let (micros, millis) = (line["time_us"].as_i64(), ticker["timestamp"].as_i64());
        ensure!(micros.map(|micros| micros / 1000) == millis, "{line}");
    }
    Ok(())
}

/// The last of the tickers that each instrument has.
fn states(tickers: &[Value]) -> BTreeMap<String, String> {
    let text = |ticker: &Value, name: &str| ticker[name].as_str().unwrap_or_default().to_owned();
    tickers.iter().map(|one| (text(one, "instrument_name"), text(one, "state"))).collect()
}

#[test]
fn what_ends_says_so_once_and_is_no_longer_listed_and_what_is_new_is() -> Result<()> {
    let every = Some(Duration::from_secs(3));
    let mut settings = SurfaceSettings { expire_every: every, list_every: every, ..many() };
    settings.options = 48;
    let mut bench = Bench::new(&settings)?;
    let names = bench.names();
    let granted = bench.subscribe(&names, "agg2")?;
    ensure!(granted == 53, "{granted}, those that are listed later are not there yet");
    let listed = |bench: &Bench| -> Result<BTreeSet<String>> {
        let all = bench.get("get_instruments", "currency=BTC&expired=false")?;
        let all = all.as_array().context("a list")?.clone();
        let name = |one: &Value| one["instrument_name"].as_str().unwrap_or_default().to_owned();
        Ok(all.iter().map(name).collect())
    };
    let before = listed(&bench)?;
    bench.tickers()?;
    let changes: Vec<(usize, Life)> = (0..30).flat_map(|_| bench.tick()).collect();
    let after = listed(&bench)?;
    let (ended, new): (Vec<_>, Vec<_>) = changes.iter().partition(|(_, life)| *life != Life::Open);
    let of = |changes: &[&(usize, Life)]| -> BTreeSet<String> {
        changes.iter().map(|(product, _)| names[*product].clone()).collect()
    };
    let (ended, new) = (of(&ended), of(&new));
    ensure!(ended.len() == 4 && new.len() == 4, "{ended:?} {new:?}");
    ensure!(before.difference(&after).eq(&ended) && after.difference(&before).eq(&new));
    let states = states(&bench.tickers()?);
    ensure!(ended.iter().all(|name| states.get(name).is_some_and(|one| one == "closed")));
    ensure!(states.values().filter(|state| *state == "closed").count() == 4, "{states:?}");
    // From then on there is none, except on request.
    (0..40).for_each(|_| drop(bench.tick()));
    let later = bench.tickers()?;
    ensure!(later.iter().all(|one| !ended.contains(one["instrument_name"].as_str().unwrap_or(""))));
    let one = ended.first().context("one")?;
    let ticker = bench.get("ticker", &format!("instrument_name={one}"))?;
    ensure!(ticker["state"] == "closed", "{ticker}");
    ensure!(bench.subscribe(&ended.iter().cloned().collect::<Vec<_>>(), "agg2")? == 0);
    ensure!(bench.subscribe(&new.iter().cloned().collect::<Vec<_>>(), "agg2")? == 4);
    Ok(())
}

#[test]
fn requests_over_the_feed_have_the_answers_of_http() -> Result<()> {
    let mut bench = Bench::new(&SurfaceSettings { options: 48, ..SurfaceSettings::default() })?;
    let name = bench.names().into_iter().find(|name| name.ends_with("-C")).context("a call")?;
    let of_name = (format!("instrument_name={name}"), json!({"instrument_name": name}));
    let of_currency =
        ("currency=ETH&kind=option".to_owned(), json!({"currency": "ETH", "kind": "option"}));
    for (method, (query, params)) in [
        ("ticker", &of_name),
        ("get_order_book", &of_name),
        ("get_instrument", &of_name),
        ("get_book_summary_by_instrument", &of_name),
        ("get_instruments", &of_currency),
        ("get_book_summary_by_currency", &of_currency),
        ("get_index_price", &("index_name=btc_usd".to_owned(), json!({"index_name": "btc_usd"}))),
    ] {
        let over_http = bench.get(method, query)?;
        let answer = bench.request(&format!("public/{method}"), params)?;
        ensure!(answer["result"] == over_http, "{method}: {answer} is not {over_http}");
        let is_listing = params == &of_currency.1;
        ensure!(!is_listing || over_http.as_array().is_some_and(|all| all.len() == 24), "{method}");
    }
    let book = bench.get("get_order_book", &of_name.0)?;
    for (side, field) in [("bids", "best_bid_price"), ("asks", "best_ask_price")] {
        let best = book[side][0][0].as_f64().unwrap_or(0.0);
        ensure!((best - number(&book[field])?).abs() < 1e-9, "{book}");
    }
    let answer = bench.request("public/none", &json!({}))?;
    ensure!(answer["error"]["code"] == -32_601, "{answer}");
    Ok(())
}

#[test]
fn a_future_has_funding_and_the_bid_and_ask_of_its_book() -> Result<()> {
    let mut bench = Bench::new(&SurfaceSettings { options: 0, ..SurfaceSettings::default() })?;
    bench.subscribe(&["BTC-PERPETUAL".into()], "100ms")?;
    bench.tickers()?;
    let mut sent = 0;
    for _ in 0..200 {
        let trade = bench.market.trade(bench.now);
        bench.session.ticker(bench.market.products(), &trade);
        bench.tick();
        for ticker in bench.tickers()? {
            sent += 1;
            let product = &bench.market.products()[0];
            let shown = product.last.shown;
            for (field, text) in [
                ("best_bid_price", product.price(shown.bid.price)),
                ("best_ask_amount", product.size(shown.ask.size)),
            ] {
                let found = ticker[field].to_string();
                ensure!(found == text, "{field} is not {text}: {ticker}");
            }
            let (mark, index) = (number(&ticker["mark_price"])?, number(&ticker["index_price"])?);
            ensure!((mark / index - 1.0).abs() < 3e-4, "{ticker}");
            ensure!(ticker["funding_8h"].is_number() && ticker["current_funding"].is_number());
        }
    }
    ensure!(sent >= 20, "{sent} tickers");
    Ok(())
}
