//! Snapshots over real sockets: each bad answer is made as asked for, for one product, and noted; a
//! book that joins a good one shows the quotes that the simulator says it has shown.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{SinkExt, StreamExt};
use simulator::book::settings::{BookSettings, SnapshotAnswer};
use simulator::book::truth::Fault;
use simulator::faults::Faults;
use simulator::{Handle, ShownQuote, Simulator, SimulatorConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use venues::book::{Book, BookMessage, Outcome, Quote, Reason};
use venues::{Follow, Venue};

/// A test that has not seen what it waits for by then has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Quotes after which a client has seen enough.
const ENOUGH: usize = 20;

struct Client {
    venue: Venue,
    address: String,
    handle: Handle,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    book: Book,
}

/// An answer over HTTP: status, head and as much of the body as came.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Client {
    /// Of a simulator of two products, with the book of the first subscribed.
    async fn start(venue: Venue, books: BookSettings) -> Result<Self> {
        let simulated = simulator::Venue::parse(venue.as_str()).context("it is not simulated")?;
        let products: Vec<String> = simulated.majors().map(str::to_owned).into();
        let faults = Faults { retry_after: Duration::from_secs(2), ..Faults::default() };
        let config = SimulatorConfig {
            products,
            rate: 200,
            faults,
            books,
            ..SimulatorConfig::of(simulated)
        };
        let simulator = Simulator::bind("127.0.0.1:0", &config).await?;
        let (url, handle) = (simulator.url()?, simulator.handle());
        tokio::spawn(simulator.run());
        let address = url.trim_start_matches("ws://").to_owned();
        let (socket, _) = connect_async(format!("{url}/ws")).await?;
        let rules = (venue.adapter().books.rules)(Follow::ALL, None).context("it has terms")?;
        let mut client = Self { venue, address, handle, socket, book: Book::new(rules) };
        client.subscribe().await?;
        Ok(client)
    }

    fn product(&self) -> &'static str {
        match self.venue {
            Venue::Binance => "BTCUSDT",
            Venue::Bitstamp => "btcusd",
            _ => "BTC-USD",
        }
    }

    async fn subscribe(&mut self) -> Result<()> {
        let text = match self.venue {
            Venue::Binance => r#"{"method":"SUBSCRIBE","params":["btcusdt@depth@100ms"],"id":1}"#,
            Venue::Bitstamp => {
                r#"{"event":"bts:subscribe","data":{"channel":"diff_order_book_btcusd"}}"#
            }
            _ => r#"{"type":"subscribe","product_ids":["BTC-USD"],"channels":["level2_batch"]}"#,
        };
        Ok(self.socket.send(Message::text(text)).await?)
    }

    async fn next(&mut self) -> Result<String> {
        loop {
            let message = timeout(PATIENCE, self.socket.next()).await?.context("closed")??;
            if let Message::Text(text) = message {
                return Ok(text.as_str().to_owned());
            }
        }
    }

    /// The outcome of the next frame of the book.
    async fn frame(&mut self) -> Result<Outcome> {
        loop {
            let text = self.next().await?;
            let mut messages = Vec::new();
            (self.venue.adapter().books.parse)(&text, &mut messages)?;
            if let Some(BookMessage::Frame(_, frame)) = messages.pop() {
                return Ok(self.book.apply(frame));
            }
        }
    }

    async fn get(&self, product: &str) -> Result<Answer> {
        let path = match self.venue {
            Venue::Binance => format!("/api/v3/depth?symbol={product}&limit=1000"),
            _ => format!("/api/v2/order_book/{product}/"),
        };
        let mut socket = TcpStream::connect(&self.address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        socket.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        timeout(PATIENCE, socket.read_to_end(&mut bytes)).await??;
        let text = String::from_utf8(bytes)?;
        let (head, body) = text.split_once("\r\n\r\n").context("no head")?;
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        Ok(Answer { status, head: head.to_lowercase(), body: body.into() })
    }

    fn join(&mut self, body: &str) -> Result<Outcome> {
        let parse = self.venue.adapter().books.snapshot.context("it has no snapshot")?;
        Ok(self.book.apply(parse(body)?))
    }

    /// Quotes until there are enough.
    async fn quotes(&mut self) -> Result<Vec<Quote>> {
        let mut quotes = Vec::new();
        while quotes.len() < ENOUGH {
            match self.frame().await? {
                Outcome::Quote(quote) => quotes.push(quote),
                Outcome::Unchanged => {}
                Outcome::Resync(reason) => anyhow::bail!("{}: {reason:?}", self.venue),
            }
        }
        Ok(quotes)
    }

    /// The simulator has shown each quote, in this order and without one in between.
    fn agrees(&self, quotes: &[Quote]) -> Result<()> {
        let shown = self.handle.quotes(self.product());
        let same = |quote: &Quote, shown: &ShownQuote| -> Result<bool> {
            let (bid, ask) = (quote.bid.context("no bid")?, quote.ask.context("no ask")?);
            Ok((bid.price, bid.size) == (shown.bid.0.parse()?, shown.bid.1.parse()?)
                && (ask.price, ask.size) == (shown.ask.0.parse()?, shown.ask.1.parse()?))
        };
        let first = quotes.first().context("no quote")?;
        let mut at = None;
        for (index, one) in shown.iter().enumerate() {
            if same(first, one)? {
                at = Some(index);
            }
        }
        let from = at.with_context(|| format!("{first:?} was never shown"))?;
        for (quote, shown) in quotes.iter().zip(&shown[from..]) {
            ensure!(same(quote, shown)?, "{quote:?}, not {shown:?}");
            let time = quote.event_time.context("no time")?;
            ensure!(time.0 == shown.time_us / 1000, "{time:?}, not {shown:?}");
        }
        Ok(())
    }

    fn faults(&self) -> Vec<Fault> {
        self.handle.book_faults(self.product()).into_iter().map(|(_, fault)| fault).collect()
    }
}

#[tokio::test]
async fn each_bad_answer_is_made_in_its_turn_and_the_next_snapshot_joins() -> Result<()> {
    let answers = vec![
        SnapshotAnswer::Stale,
        SnapshotAnswer::Limited,
        SnapshotAnswer::Banned,
        SnapshotAnswer::Broken,
        SnapshotAnswer::Unavailable,
        SnapshotAnswer::Html,
        SnapshotAnswer::Half,
    ];
    for venue in [Venue::Binance, Venue::Bitstamp] {
        let books = BookSettings { snapshot_answers: answers.clone(), ..BookSettings::default() };
        let mut client = Client::start(venue, books).await?;
        ensure!(client.frame().await? == Outcome::Unchanged, "{venue}: it has no snapshot");
        let other = if venue == Venue::Binance { "ETHUSDT" } else { "ethusd" };
        let untouched = client.get(other).await?;
        ensure!(untouched.status == 200 && untouched.body.ends_with('}'), "{venue}: {other}");

        let stale = client.get(client.product()).await?;
        let outcome = client.join(&stale.body)?;
        ensure!(outcome == Outcome::Resync(Reason::StaleSnapshot), "{venue}: {outcome:?}");
        for (status, words) in [
            (429, "retry-after: 2"),
            (418, "retry-after: 2"),
            (500, "application/json"),
            (503, "application/json"),
            (200, "text/html"),
        ] {
            let answer = client.get(client.product()).await?;
            ensure!(answer.status == status && answer.head.contains(words), "{}", answer.head);
            ensure!(client.join(&answer.body).is_err(), "{venue}: {}", answer.body);
        }
        let half = client.get(client.product()).await?;
        let length = format!("content-length: {}", half.body.len() * 2);
        let longer = format!("content-length: {}", half.body.len() * 2 + 1);
        ensure!(half.head.contains(&length) || half.head.contains(&longer), "{}", half.head);
        ensure!(client.join(&half.body).is_err(), "{venue}: it is whole");

        let good = client.get(client.product()).await?;
        let joined = client.join(&good.body)?;
        ensure!(!matches!(joined, Outcome::Resync(_)), "{venue}: {joined:?}");
        let quotes = client.quotes().await?;
        client.agrees(&quotes).with_context(|| format!("{venue}"))?;
        let mut expected = vec![Fault::StaleSnapshot];
        expected.extend([Fault::NoSnapshot; 6]);
        ensure!(client.faults() == expected, "{venue}: {:?}", client.faults());
    }
    Ok(())
}

#[tokio::test]
async fn a_slow_snapshot_comes_late_and_joins() -> Result<()> {
    let slow = Duration::from_millis(400);
    for venue in [Venue::Binance, Venue::Bitstamp, Venue::Coinbase] {
        let books = BookSettings { slow_snapshot: slow, ..BookSettings::default() };
        let mut client = Client::start(venue, books).await?;
        if venue != Venue::Coinbase {
            ensure!(client.frame().await? == Outcome::Unchanged, "{venue}: it has no snapshot");
            let asked = client.handle.quotes(client.product()).len();
            let late = client.get(client.product()).await?;
            let shown = client.handle.quotes(client.product()).len();
            ensure!(shown >= asked + 3, "{venue}: the answer came after {} quotes", shown - asked);
            client.join(&late.body)?;
        }
        let quotes = client.quotes().await?;
        client.agrees(&quotes).with_context(|| format!("{venue}"))?;
        ensure!(client.faults() == [Fault::SlowSnapshot], "{venue}: {:?}", client.faults());
    }
    Ok(())
}

#[tokio::test]
async fn coinbase_refuses_a_channel_that_needs_authentication_and_grants_another() -> Result<()> {
    let refuse_channels = vec!["level2".to_owned(), "level2_batch".to_owned()];
    let books = BookSettings { refuse_channels, ..BookSettings::default() };
    let mut client = Client::start(Venue::Coinbase, books).await?;
    let refusal = client.next().await?;
    ensure!(refusal.contains(r#""type":"error""#), "{refusal}");
    ensure!(refusal.contains("now require authentication"), "{refusal}");
    ensure!(client.faults() == [Fault::Refused], "{:?}", client.faults());
    let text = r#"{"type":"subscribe","product_ids":["BTC-USD"],"channels":["level2_50"]}"#;
    client.socket.send(Message::text(text)).await?;
    let granted = client.next().await?;
    ensure!(granted.contains(r#""name":"level2_50""#), "{granted}");
    let quotes = client.quotes().await?;
    client.agrees(&quotes)
}
