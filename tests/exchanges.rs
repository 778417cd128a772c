//! Clients that others wrote, of the exchanges themselves, work against the simulators: only the
//! address differs.
//!
//! ccxt (Python) and go-binance (Go) load markets and receive trades, tickers and order books. Each
//! number is compared with the simulator's market, which its seed makes again here. ccxt reads the chain
//! and the greeks of options, which are compared with the simulator's truth.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use schemas::Decimal;
use serde_json::Value;
use simulator::book::Book;
use simulator::market::{Market, Product, Trade};
use simulator::surface::instrument::{Kind, Name};
use tests::support::options::{Fields, told};
use tests::support::stack::root;
use tests::support::truth::Truth;
use tests::support::{Process, soon, wait_until};
use venues::Venue;

/// A busy machine takes this long to start a program.
const START: Duration = Duration::from_mins(1);
/// A client that takes longer waits for something that never comes.
const CLIENT: &str = "180";
/// Trades of a market that are made again: more than a client is there for.
const MADE: usize = 40_000;
/// Order books that a client reads.
const BOOKS: usize = 30;
/// Levels of a side.
const LEVELS: usize = 50;
/// The name of the market of that seed.
const SEED: u64 = 23;

/// A level as numbers.
type Level = (Decimal, Decimal);

/// The markets of a venue, as ccxt names them, and the one that is followed.
struct Exchange {
    venue: Venue,
    products: [&'static str; 2],
    markets: [&'static str; 2],
}

const EXCHANGES: [Exchange; 4] = [
    Exchange {
        venue: Venue::Coinbase,
        products: ["BTC-USD", "ETH-USD"],
        markets: ["BTC/USD", "ETH/USD"],
    },
    Exchange {
        venue: Venue::Binance,
        products: ["BTCUSDT", "ETHUSDT"],
        markets: ["BTC/USDT", "ETH/USDT"],
    },
    Exchange {
        venue: Venue::Kraken,
        products: ["BTC/USD", "ETH/USD"],
        markets: ["BTC/USD", "ETH/USD"],
    },
    Exchange {
        venue: Venue::Deribit,
        products: ["BTC-PERPETUAL", "ETH-PERPETUAL"],
        markets: ["BTC/USD:BTC", "ETH/USD:ETH"],
    },
];

/// A simulator as users start it.
struct Simulated {
    process: Process,
    address: String,
    truth: PathBuf,
    _folder: tempfile::TempDir,
}

impl Simulated {
    fn start(exchange: &Exchange) -> Result<Self> {
        let (products, levels) = (exchange.products.join(","), LEVELS.to_string());
        Self::start_with(exchange.venue, &["--products", &products, "--levels", &levels])
    }

    fn start_with(venue: Venue, flags: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let truth = folder.path().join("truth.jsonl");
        let (seed, file) = (SEED.to_string(), truth.to_string_lossy());
        let own = ["simulate", "--venue", venue.as_str(), "--listen", "127.0.0.1:0"];
        let market = ["--seed", &seed, "--rate", "40", "--truth", &file];
        let arguments = [&own[..], &market, flags].concat();
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        let mut process = Process::start("producer", &arguments, folder.path(), "simulator")?;
        let address = wait_until("a simulator to listen", START, || {
            process.alive()?;
            let lines = process.lines("url=\"ws://")?;
            let rest = lines.first().and_then(|line| line.split("url=\"ws://").nth(1));
            Ok(rest.and_then(|rest| rest.split('"').next()).map(str::to_owned))
        })?;
        Ok(Self { process, address, truth, _folder: folder })
    }
}

/// Its lines by key.
fn said(command: &mut Command) -> Result<BTreeMap<String, Vec<Value>>> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {words}");
    let mut said: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let line: BTreeMap<String, Value> = serde_json::from_str(line)?;
        for (key, value) in line {
            said.entry(key).or_default().push(value);
        }
    }
    Ok(said)
}

fn bounded(program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.arg(CLIENT).arg(program);
    command
}

/// The first product of a market, and all of its trades.
struct Made {
    product: Product,
    trades: Vec<Trade>,
    best: BTreeMap<[Level; 2], usize>,
}

impl Made {
    fn of(exchange: &Exchange) -> Result<Self> {
        let names = exchange.products.map(str::to_owned);
        let mut market = Market::new(SEED, &names, 0)?;
        let product = market.products()[0].clone();
        let mut trades = vec![product.last.clone()];
        let more = (0..MADE).map(|_| market.trade(0)).filter(|trade| trade.product == 0);
        trades.extend(more);
        let mut best = BTreeMap::new();
        for (number, trade) in trades.iter().enumerate() {
            let level = |level: simulator::book::Level| -> Result<Level> {
                Ok((product.price(level.price).parse()?, product.size(level.size).parse()?))
            };
            best.insert([level(trade.best.bid)?, level(trade.best.ask)?], number);
        }
        Ok(Self { product, trades, best })
    }

    /// The trade as of which these are the best levels.
    fn at(&self, bid: Level, ask: Level) -> Result<&Trade> {
        let number = self.best.get(&[bid, ask]);
        let number = number.with_context(|| format!("{bid:?} and {ask:?} were never the best"))?;
        Ok(&self.trades[*number])
    }

    /// The levels of one side of a book, best first.
    fn levels(&self, side: impl Iterator<Item = (i64, i64)>) -> Result<Vec<Level>> {
        let level = |(price, size): (i64, i64)| {
            Ok((self.product.price(price).parse()?, self.product.size(size).parse()?))
        };
        side.map(level).collect()
    }
}

fn number(value: &Value) -> Result<Decimal> {
    let text = value.as_str().with_context(|| format!("{value} is no number"))?;
    text.parse().with_context(|| text.to_owned())
}

fn side(book: &Value, name: &str) -> Result<Vec<Level>> {
    let levels = book[name].as_array().with_context(|| format!("no {name}: {book}"))?;
    levels.iter().map(|level| Ok((number(&level[0])?, number(&level[1])?))).collect()
}

/// A book that a client has is that of a trade of the market, level by level.
fn book_agrees(book: &Value, made: &Made) -> Result<()> {
    let (bids, asks) = (side(book, "bids")?, side(book, "asks")?);
    let (bid, ask) = (bids.first().context("no bid")?, asks.first().context("no ask")?);
    ensure!(bid.0 < ask.0, "it is crossed: {bid:?}, {ask:?}");
    let trade = made.at(*bid, *ask)?;
    ensure!(
        [10, LEVELS].contains(&bids.len()) && asks.len() == bids.len(),
        "{} levels",
        bids.len()
    );
    let wanted = Book::at(&made.product, trade, LEVELS);
    let ordered = |(price, size): (&i64, &i64)| (*price, *size);
    let (own_bids, own_asks) =
        (wanted.bids.iter().rev().map(ordered), wanted.asks.iter().map(ordered));
    ensure!(bids == made.levels(own_bids.take(bids.len()))?, "bids: {bids:?}");
    ensure!(asks == made.levels(own_asks.take(asks.len()))?, "asks: {asks:?}");
    Ok(())
}

/// Markets, trades, ticker and books of a client are the simulator's.
fn agrees(said: &BTreeMap<String, Vec<Value>>, exchange: &Exchange, made: &Made) -> Result<()> {
    let of = |key: &str| said.get(key).with_context(|| format!("no {key}: {said:?}"));
    ensure!(of("markets")?[0] == serde_json::json!(exchange.markets), "{:?}", of("markets")?);
    let mut trades = BTreeSet::new();
    for trade in &made.trades {
        let (price, size) = (made.product.price(trade.price), made.product.size(trade.size));
        trades.insert((price.parse::<Decimal>()?, size.parse::<Decimal>()?));
    }
    for trade in of("trade")? {
        let found = trades.contains(&(number(&trade["price"])?, number(&trade["size"])?));
        ensure!(found, "{trade} was never made");
    }
    let [ticker] = &of("ticker")?[..] else { anyhow::bail!("{:?}", of("ticker")?) };
    let (bid, ask) = (number(&ticker["bid"])?, number(&ticker["ask"])?);
    let shown = made.best.keys().any(|[one, other]| (one.0, other.0) == (bid, ask));
    ensure!(bid < ask && shown, "{ticker} was never shown");
    let last = number(&ticker["last"])?;
    ensure!(trades.iter().any(|(price, _)| *price == last), "{ticker}: nothing was traded at it");
    let books = of("book")?;
    ensure!(books.len() == BOOKS, "{} books", books.len());
    books.iter().try_for_each(|book| book_agrees(book, made))
}

/// The file of the truth has nothing that the market did not make.
fn truth_agrees(simulated: &Simulated, made: &Made) -> Result<()> {
    let truth = Truth::read(&simulated.truth)?;
    ensure!(truth.faults.is_empty(), "{:?}", truth.faults);
    let quotes = truth.quotes.get(&made.product.name).context("no quote")?;
    ensure!(quotes.len() > BOOKS, "{} quotes", quotes.len());
    for quote in quotes {
        let trade = made.at(quote.bid, quote.ask)?;
        ensure!(quote.id == trade.sequence, "{quote:?}, not {}", trade.sequence);
    }
    Ok(())
}

/// The environment with ccxt in the version of `infra/versions.env`.
fn python() -> Result<PathBuf> {
    let install = format!(
        "set -e; source {root}/infra/versions.env; {root}/infra/venv.sh exchanges \"ccxt==$CCXT_VERSION\"",
        root = root().display()
    );
    let output = Command::new("bash").arg("-c").arg(install).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let run = std::env::var_os("RUN_DIR").map_or(root().join(".run"), Into::into);
    Ok(run.join("venv/exchanges/bin/python"))
}

#[test]
fn ccxt_reads_markets_trades_tickers_and_books_of_each_venue() -> Result<()> {
    let python = python()?;
    for exchange in &EXCHANGES {
        let mut simulated = Simulated::start(exchange)?;
        let mut command = bounded(&python);
        command.arg(root().join("tests/clients/exchange.py"));
        command.args([exchange.venue.as_str(), &simulated.address, exchange.markets[0]]);
        let said = said(command.arg(BOOKS.to_string()))?;
        let made = Made::of(exchange)?;
        agrees(&said, exchange, &made).with_context(|| format!("{}", exchange.venue))?;
        truth_agrees(&simulated, &made).with_context(|| format!("{}", exchange.venue))?;
        let status = simulated.process.stop()?;
        ensure!(status.success(), "{} ended with {status}", exchange.venue);
    }
    Ok(())
}

/// The numbers of a line of ccxt's are those of a ticker that the simulator sent at its time: pairs of
/// ccxt's name and ours. ccxt has floats, and an empty side of a ticker is zero for it.
fn was_sent(line: &Value, truth: &Truth, names: &[(&str, &str)]) -> Result<()> {
    let id = line["id"].as_str().context("no id")?;
    let time = line["time"].as_i64().context("no time")?;
    let tickers = truth.tickers(id, time)?;
    ensure!(!tickers.is_empty(), "{id} had no ticker at {time}");
    let agrees = |ticker: &Fields| -> Result<bool> {
        let told = told(ticker)?;
        for (theirs, ours) in names {
            let wanted = told.get(*ours).with_context(|| (*ours).to_owned())?;
            let wanted: Option<Decimal> = wanted.as_deref().map(str::parse).transpose()?;
            let seen = Some(&line[theirs]).filter(|seen| !seen.is_null()).map(number);
            let seen = seen.transpose()?.filter(|seen| wanted.is_some() || *seen != Decimal::ZERO);
            if seen != wanted {
                return Ok(false);
            }
        }
        Ok(true)
    };
    for ticker in &tickers {
        if agrees(ticker)? {
            return Ok(());
        }
    }
    anyhow::bail!("{line} is none of {tickers:?}")
}

/// Numbers of `fetch_option_chain`, and ours.
const CHAIN: [(&str, &str); 7] = [
    ("bidPrice", "bid"),
    ("askPrice", "ask"),
    ("markPrice", "mark_price"),
    ("lastPrice", "last_price"),
    ("underlyingPrice", "underlying_price"),
    ("openInterest", "open_interest"),
    ("baseVolume", "volume"),
];
/// Numbers of `fetch_greeks`, and ours.
const GREEKS: [(&str, &str); 14] = [
    ("delta", "delta"),
    ("gamma", "gamma"),
    ("theta", "theta"),
    ("vega", "vega"),
    ("rho", "rho"),
    ("bidSize", "bid_size"),
    ("askSize", "ask_size"),
    ("bidImpliedVolatility", "bid_iv"),
    ("askImpliedVolatility", "ask_iv"),
    ("markImpliedVolatility", "mark_iv"),
    ("bidPrice", "bid"),
    ("askPrice", "ask"),
    ("markPrice", "mark_price"),
    ("underlyingPrice", "underlying_price"),
];
/// Options of the test.
const OPTIONS: usize = 96;

#[test]
fn ccxt_reads_the_markets_the_chain_and_the_greeks_of_options() -> Result<()> {
    let python = python()?;
    let count = OPTIONS.to_string();
    let flags = ["--options", &count, "--currencies", "BTC"];
    let mut simulated = Simulated::start_with(Venue::Deribit, &flags)?;
    let mut command = bounded(&python);
    command.arg(root().join("tests/clients/options.py")).args([&simulated.address, "BTC"]);
    let said = said(&mut command)?;
    let of = |key: &str| said.get(key).with_context(|| format!("no {key}: {said:?}"));
    let (markets, chain, greeks) = (of("market")?, of("chain")?, of("greeks")?);
    ensure!((markets.len(), chain.len()) == (OPTIONS, OPTIONS), "{said:?}");
    ensure!(greeks.len() == OPTIONS.div_ceil(7), "{} greeks", greeks.len());
    for market in markets {
        let id = market["id"].as_str().context("no id")?;
        let name = Name::parse(id).with_context(|| id.to_owned())?;
        let Kind::Option { strike, is_call } = name.kind else { anyhow::bail!("{market}") };
        ensure!(number(&market["strike"])? == strike.to_string().parse()?, "{market}");
        ensure!(market["optionType"] == if is_call { "call" } else { "put" }, "{market}");
        ensure!(market["expiry"].as_i64() == name.expiry_ms, "{market}");
        let words = [("base", "BTC"), ("settle", "BTC"), ("contractSize", "1.0")];
        ensure!(words.iter().all(|(key, word)| market[key] == *word), "{market}");
        ensure!(market["tick"] == "0.0001" && market["active"] == true, "{market}");
    }
    // The file has a ticker before the client does, but for the time of one step.
    soon("the truth to have every answer", || {
        let truth = Truth::read(&simulated.truth)?;
        Ok(truth.ticker_count() >= chain.len() + greeks.len())
    })?;
    let truth = Truth::read(&simulated.truth)?;
    chain.iter().try_for_each(|line| was_sent(line, &truth, &CHAIN))?;
    greeks.iter().try_for_each(|line| was_sent(line, &truth, &GREEKS))?;
    let has = |key: &str| greeks.iter().filter(|line| line[key] != "0.0").count();
    ensure!(has("delta") > 0 && has("bidPrice") > 0, "{greeks:?}");
    let status = simulated.process.stop()?;
    ensure!(status.success(), "it ended with {status}");
    Ok(())
}

#[test]
fn go_binance_reads_markets_trades_tickers_and_books() -> Result<()> {
    let output = Command::new(root().join("infra/install.sh")).arg("golang-go:go").output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let exchange = &EXCHANGES[1];
    let mut simulated = Simulated::start(exchange)?;
    let mut command = bounded(Path::new("go"));
    command.current_dir(root().join("tests/clients/binance"));
    command.args(["run", ".", &simulated.address, exchange.products[0], &BOOKS.to_string()]);
    let said = said(&mut command)?;
    let made = Made::of(exchange)?;
    agrees(&said, exchange, &made)?;
    truth_agrees(&simulated, &made)?;
    let status = simulated.process.stop()?;
    ensure!(status.success(), "it ended with {status}");
    Ok(())
}
