//! A client that knows nothing of the simulator keeps Kraken's book over a real socket, and works
//! out every checksum by itself, from the text of the numbers as they came.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use simulator::book::settings::BookSettings;
use simulator::faults::Faults;
use simulator::{Simulator, SimulatorConfig, Venue};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// A test that has not seen what it waits for by then has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Trades after which a client has seen enough.
const ENOUGH: usize = 400;

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(default)]
    channel: &'a str,
    #[serde(rename = "type", default)]
    form: &'a str,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Levels<'a> {
    symbol: &'a str,
    #[serde(borrow)]
    bids: Vec<Level<'a>>,
    asks: Vec<Level<'a>>,
    checksum: u32,
    timestamp: &'a str,
}

#[derive(Deserialize)]
struct Level<'a> {
    #[serde(borrow)]
    price: &'a RawValue,
    qty: &'a RawValue,
}

#[derive(Deserialize)]
struct Trade {
    trade_id: u64,
}

/// A number as the checksum has it.
fn digits(number: &str) -> &str {
    number.trim_start_matches('0')
}

/// CRC-32 of IEEE 802.3, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

/// How often a level came, went, changed and was cut.
#[derive(Debug, Default)]
struct Seen {
    inserted: u32,
    removed: u32,
    changed: u32,
    cut: u32,
}

/// One side: price as a number → price and quantity without their points.
#[derive(Default)]
struct Side(BTreeMap<u64, (String, String)>);

impl Side {
    fn apply(&mut self, levels: &[Level<'_>], seen: &mut Seen) -> anyhow::Result<()> {
        for level in levels {
            let [price, qty] = [level.price, level.qty].map(|text| text.get().replace('.', ""));
            let key: u64 = price.parse().context("a price is a number")?;
            if digits(&qty).is_empty() {
                ensure!(self.0.remove(&key).is_some(), "{price} is removed and was not there");
                seen.removed += 1;
            } else if self.0.insert(key, (price, qty)).is_some() {
                seen.changed += 1;
            } else {
                seen.inserted += 1;
            }
        }
        Ok(())
    }
}

struct Book {
    depth: usize,
    bids: Side,
    asks: Side,
    seen: Seen,
}

impl Book {
    fn apply(&mut self, levels: &Levels<'_>) -> anyhow::Result<()> {
        self.bids.apply(&levels.bids, &mut self.seen)?;
        self.asks.apply(&levels.asks, &mut self.seen)?;
        while self.bids.0.len() > self.depth {
            self.bids.0.pop_first();
            self.seen.cut += 1;
        }
        while self.asks.0.len() > self.depth {
            self.asks.0.pop_last();
            self.seen.cut += 1;
        }
        let best = (self.bids.0.keys().next_back(), self.asks.0.keys().next());
        ensure!(matches!(best, (Some(bid), Some(ask)) if bid < ask), "it is crossed: {best:?}");
        Ok(())
    }

    fn checksum(&self) -> u32 {
        let asks = self.asks.0.values().take(10);
        let bids = self.bids.0.values().rev().take(10);
        let text: String =
            asks.chain(bids).flat_map(|(price, qty)| [digits(price), digits(qty)]).collect();
        crc32(text.as_bytes())
    }
}

struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Client {
    /// Of a simulator of one product.
    async fn start(faults: Faults) -> anyhow::Result<Self> {
        let config = SimulatorConfig {
            products: vec!["BTC/USD".into()],
            rate: 1_000,
            seed: 7,
            faults,
            books: BookSettings { levels: 1000, ..BookSettings::default() },
            ..SimulatorConfig::of(Venue::Kraken)
        };
        let simulator = Simulator::bind("127.0.0.1:0", &config).await?;
        let url = simulator.url()?;
        tokio::spawn(simulator.run());
        let (socket, _) = connect_async(&url).await?;
        Ok(Self { socket })
    }

    async fn ask(&mut self, method: &str, params: &str) -> anyhow::Result<()> {
        let text = format!(r#"{{"method":"{method}","params":{params},"req_id":7}}"#);
        Ok(self.socket.send(Message::text(text)).await?)
    }

    async fn next(&mut self) -> anyhow::Result<String> {
        loop {
            let message = timeout(PATIENCE, self.socket.next()).await?.context("closed")??;
            if let Message::Text(text) = message {
                return Ok(text.as_str().to_owned());
            }
        }
    }

    /// What comes of a channel, and the answer to a request as that of none.
    async fn next_of(&mut self, channels: &[Option<&str>]) -> anyhow::Result<Value> {
        loop {
            let message: Value = serde_json::from_str(&self.next().await?)?;
            if channels.contains(&message["channel"].as_str()) {
                return Ok(message);
            }
        }
    }

    /// The answer to a request, past what else comes.
    async fn answer(&mut self) -> anyhow::Result<Value> {
        self.next_of(&[None]).await
    }

    /// Follows the book; for each trade since its snapshot, its id and whether the checksum was
    /// that of the book.
    async fn follow(&mut self, depth: usize) -> anyhow::Result<(Vec<(u64, bool)>, Seen)> {
        let book = format!(r#"{{"channel":"book","symbol":["BTC/USD"],"depth":{depth}}}"#);
        self.ask("subscribe", &book).await?;
        let trades = r#"{"channel":"trade","symbol":["BTC/USD"],"snapshot":false}"#;
        self.ask("subscribe", trades).await?;
        let mut book =
            Book { depth, bids: Side::default(), asks: Side::default(), seen: Seen::default() };
        let (mut verdicts, mut waiting) = (Vec::new(), Vec::new());
        while verdicts.len() < ENOUGH {
            let text = self.next().await?;
            let frame: Frame<'_> = serde_json::from_str(&text)?;
            let data = frame.data.map_or("", RawValue::get);
            match (frame.channel, frame.form) {
                ("book", form) => {
                    let [levels]: [Levels<'_>; 1] = serde_json::from_str(data)?;
                    ensure!(levels.symbol == "BTC/USD" && levels.timestamp.ends_with('Z'));
                    let first = book.asks.0.is_empty();
                    ensure!(first == (form == "snapshot"), "{form} out of turn");
                    book.apply(&levels)?;
                    if first {
                        let sides = (levels.bids.len(), levels.asks.len());
                        ensure!(sides == (depth, depth), "a snapshot of {sides:?}");
                        book.seen = Seen::default();
                    }
                    waiting.push(levels.checksum == book.checksum());
                }
                // A book is sent before the trade that it is as of.
                ("trade", _) => {
                    let [trade]: [Trade; 1] = serde_json::from_str(data)?;
                    let first = trade.trade_id + 1 - u64::try_from(waiting.len())?;
                    verdicts.extend((first..).zip(waiting.drain(..)));
                }
                _ => {}
            }
        }
        Ok((verdicts, book.seen))
    }
}

#[tokio::test]
async fn every_checksum_is_right_at_every_depth() -> anyhow::Result<()> {
    for depth in [10, 25, 1000] {
        let mut client = Client::start(Faults::default()).await?;
        let (verdicts, seen) = client.follow(depth).await?;
        let wrong: Vec<_> = verdicts.iter().filter(|(_, right)| !right).collect();
        ensure!(wrong.is_empty(), "depth {depth}: wrong at {wrong:?}");
        ensure!(verdicts.windows(2).all(|two| two[1].0 == two[0].0 + 1), "{verdicts:?}");
        let of_all = [seen.inserted, seen.removed, seen.changed, seen.cut];
        ensure!(of_all.iter().all(|count| *count > 50), "depth {depth}: {seen:?}");
    }
    Ok(())
}

#[tokio::test]
async fn checksums_are_wrong_while_the_fault_lasts_and_right_again_after() -> anyhow::Result<()> {
    let faults = Faults { checksum_every: Some(100), checksum_for: 30, ..Faults::default() };
    let (verdicts, _) = Client::start(faults).await?.follow(10).await?;
    for (id, right) in &verdicts {
        ensure!(*right == (id % 100 >= 30), "{id}: right is {right}");
    }
    // The book itself is whole all the time: what is right after the fault needs what came in it.
    let ends = verdicts.windows(2).filter(|two| !two[0].1 && two[1].1);
    ensure!(ends.count() >= 3, "{verdicts:?}");
    Ok(())
}

#[tokio::test]
async fn a_book_is_granted_refused_and_left_in_the_venues_words() -> anyhow::Result<()> {
    let mut client = Client::start(Faults::default()).await?;
    let params = r#"{"channel":"book","symbol":["BTC/USD","FOO/USD"],"depth":11}"#;
    client.ask("subscribe", params).await?;
    for (symbol, error) in [
        ("BTC/USD", "Subscription depth not supported"),
        ("FOO/USD", "Currency pair not supported FOO/USD"),
    ] {
        let refusal = client.answer().await?;
        ensure!(refusal["symbol"] == symbol && refusal["error"] == error, "{refusal}");
        ensure!(refusal["success"] == false && refusal["method"] == "subscribe", "{refusal}");
    }
    client.ask("subscribe", r#"{"channel":"book","symbol":["BTC/USD"],"snapshot":false}"#).await?;
    let granted = client.answer().await?;
    let result = serde_json::json!({"channel": "book", "depth": 10, "snapshot": false,
        "symbol": "BTC/USD"});
    ensure!(granted["result"] == result && granted["req_id"] == 7, "{granted}");
    let update = client.next_of(&[Some("book")]).await?;
    ensure!(update["type"] == "update", "no snapshot was wanted: {update}");
    let left = r#"{"channel":"book","symbol":["BTC/USD"]}"#;
    client.ask("unsubscribe", left).await?;
    let answer = client.answer().await?;
    ensure!(answer["success"] == true && answer["result"]["depth"] == 10, "{answer}");
    // A book that is still sent would stand before the answer to another request.
    client.ask("unsubscribe", left).await?;
    let answer = client.next_of(&[None, Some("book")]).await?;
    ensure!(answer["error"] == "Subscription Not Found", "{answer}");
    Ok(())
}
