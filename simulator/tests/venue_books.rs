//! Each adapter's book of what its simulated venue sends is the market's own, and notices each fault
//! that its proof can show.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use schemas::Decimal;
use simulator::book::publisher::{Terms, interval_us};
use simulator::book::update::Update;
use simulator::faults::Faults;
use simulator::http::QueryString;
use simulator::market::Market;
use simulator::session::{Service, Session, answer};
use venues::book::{Book, BookMessage, FrameKind, Outcome, Precision, Quote, Reason, Rules};
use venues::{Follow, Venue};

/// Past any time at which a market begins here.
const NOW: i64 = 1_618_677_812_000_000;
/// Trades of a run: some thousands of frames where each trade has one.
const TRADES: i64 = 5_000;
/// Microseconds between two trades.
const APART: i64 = 10_000;

/// The product, and the request that subscribes its book at the depth.
///
/// Deribit's is an option: sizes of futures are dollars, which the adapter turns into coins.
fn subscription(venue: Venue, depth: usize) -> (&'static str, String) {
    match venue {
        Venue::Coinbase => (
            "BTC-USD",
            r#"{"type":"subscribe","product_ids":["BTC-USD"],"channels":["level2_batch"]}"#.into(),
        ),
        Venue::Binance => {
            ("BTCUSDT", r#"{"method":"SUBSCRIBE","params":["btcusdt@depth@100ms"],"id":1}"#.into())
        }
        Venue::Kraken => (
            "BTC/USD",
            format!(
                r#"{{"method":"subscribe","params":{{"channel":"book","symbol":["BTC/USD"],"depth":{depth}}}}}"#
            ),
        ),
        Venue::Deribit => (
            "BTC-25DEC26-60000-C",
            r#"{"jsonrpc":"2.0","id":1,"method":"public/subscribe","params":{"channels":["book.BTC-25DEC26-60000-C.100ms"]}}"#.into(),
        ),
        Venue::Bitstamp => (
            "btcusd",
            r#"{"event":"bts:subscribe","data":{"channel":"diff_order_book_btcusd"}}"#.into(),
        ),
    }
}

struct Client {
    venue: Venue,
    market: Market,
    session: Session,
    book: Option<Book>,
    depth: usize,
    precision: Option<Precision>,
    now: i64,
    /// The ticker of the last trade, and the quote of the book at that place of the connection.
    ticker: Option<(String, Option<Quote>)>,
    frames: usize,
    outcomes: Vec<Outcome>,
}

impl Client {
    fn new(venue: Venue, depth: usize, terms: &Terms) -> Result<Self> {
        let simulated = simulator::Venue::parse(venue.as_str()).context("it is not simulated")?;
        let (product, request) = subscription(venue, depth);
        let terms = Terms { every_us: interval_us(simulated), ..*terms };
        let market = Market::new(5, &[product.to_owned()], NOW)?.showing(terms);
        let session = Session::new(simulated, &Service::new(NOW));
        let mut client = Self {
            venue,
            market,
            session,
            book: None,
            depth,
            precision: None,
            now: NOW,
            ticker: None,
            frames: 0,
            outcomes: Vec::new(),
        };
        if venue == Venue::Kraken {
            client.ask(r#"{"method":"subscribe","params":{"channel":"instrument"}}"#)?;
        }
        client.ask(&request)?;
        Ok(client)
    }

    fn ask(&mut self, text: &str) -> Result<()> {
        let reply = self.session.request(text, &self.market, self.now);
        reply.texts.iter().try_for_each(|text| self.take(text))
    }

    /// Takes a text as our client does.
    fn take(&mut self, text: &str) -> Result<()> {
        let mut messages = Vec::new();
        (self.venue.adapter().books.parse)(text, &mut messages)
            .with_context(|| format!("{}: {text}", self.venue))?;
        for message in messages {
            match message {
                BookMessage::Precision(_, precision) => self.precision = Some(precision),
                BookMessage::Depth(_, depth) => ensure!(depth == self.depth, "granted {depth}"),
                BookMessage::Lost(pair) => anyhow::bail!("{pair} is lost by {text}"),
                BookMessage::Frame(_, frame) => {
                    if frame.kind == FrameKind::Update {
                        self.frames += 1;
                    }
                    let outcome = self.book()?.apply(frame);
                    self.outcomes.push(outcome);
                }
            }
        }
        Ok(())
    }

    fn book(&mut self) -> Result<&mut Book> {
        let terms =
            self.precision.map(|precision| venues::book::Terms { depth: self.depth, precision });
        let rules: Rules =
            (self.venue.adapter().books.rules)(Follow::ALL, terms).context("it has no rules")?;
        Ok(self.book.get_or_insert_with(|| Book::new(rules)))
    }

    /// Fetches the snapshot, where it is fetched.
    fn fetch(&mut self) -> Result<()> {
        let (path, query) = match self.venue {
            Venue::Binance => ("/api/v3/depth", "symbol=BTCUSDT&limit=1000"),
            Venue::Bitstamp => ("/api/v2/order_book/btcusd/", ""),
            _ => return Ok(()),
        };
        let simulated = simulator::Venue::parse(self.venue.as_str()).context("not simulated")?;
        let now = self.market.books().newest(0).time_us;
        let answer = answer(simulated, path, &QueryString(query), &self.market, now);
        let parse = self.venue.adapter().books.snapshot.context("it has no snapshot")?;
        let frame = parse(&answer.body().to_string())?;
        let outcome = self.book()?.apply(frame);
        self.outcomes.push(outcome);
        Ok(())
    }

    /// The updates of one more trade, in the order of a connection: the update that comes with the
    /// trade, its ticker, and the updates at an interval.
    fn step(&mut self, number: i64) -> Result<Vec<Update>> {
        self.now = NOW + number * APART;
        let (with_trade, trade) = self.market.step(self.now);
        let mut updates: Vec<Update> = with_trade.into_iter().collect();
        updates.iter().try_for_each(|update| self.receive(update))?;
        let ticker = self.session.ticker(self.market.products(), &trade);
        self.ticker = ticker.map(|ticker| (ticker, self.book.as_ref().and_then(Book::quote)));
        let due = self.market.books_mut().due(self.now);
        due.iter().try_for_each(|update| self.receive(update))?;
        updates.extend(due);
        Ok(updates)
    }

    fn receive(&mut self, update: &Update) -> Result<()> {
        let texts = self.session.book(self.market.products(), update);
        texts.iter().try_for_each(|text| self.take(text))
    }

    /// The book is that of the state, level by level.
    fn agrees(&mut self, update: &Update) -> Result<()> {
        let product = self.market.products()[0].clone();
        let depth = self.book()?.depth(usize::MAX).context("it is out of sync")?;
        let wanted = update.after.book(&product).cut(self.depth);
        let side = |side: &BTreeMap<i64, i64>| -> Result<Vec<(Decimal, Decimal)>> {
            let level = |(price, size): (&i64, &i64)| {
                Ok((product.price(*price).parse()?, product.size(*size).parse()?))
            };
            side.iter().map(level).collect()
        };
        let (mut bids, asks) = (side(&wanted.bids)?, side(&wanted.asks)?);
        bids.reverse();
        let seen = |levels: &[venues::book::Level]| -> Vec<(Decimal, Decimal)> {
            levels.iter().map(|level| (level.price, level.size)).collect()
        };
        ensure!(seen(&depth.bids) == bids, "bids: {:?}, not {bids:?}", depth.bids);
        ensure!(seen(&depth.asks) == asks, "asks: {:?}, not {asks:?}", depth.asks);
        Ok(())
    }

    fn reasons(&self) -> Vec<Reason> {
        let reason = |outcome: &Outcome| match outcome {
            Outcome::Resync(reason) => Some(*reason),
            _ => None,
        };
        self.outcomes.iter().filter_map(reason).collect()
    }
}

#[test]
fn a_book_of_thousands_of_frames_is_the_markets_own() -> Result<()> {
    let all = usize::from(simulator::book::settings::LEVELS);
    for (venue, depth, frames) in [
        (Venue::Coinbase, all, 700),
        (Venue::Binance, all, 400),
        (Venue::Kraken, 10, 4_900),
        (Venue::Kraken, 25, 4_900),
        (Venue::Kraken, 100, 4_900),
        (Venue::Deribit, all, 400),
        (Venue::Bitstamp, all, 400),
    ] {
        let mut client = Client::new(venue, depth, &Terms::default())?;
        let (mut compared, mut quotes) = (0, 0);
        for number in 0..TRADES {
            // Between two updates, after some of them.
            if number == 127 {
                client.fetch()?;
            }
            for update in client.step(number)? {
                if client.book()?.is_in_sync() {
                    client
                        .agrees(&update)
                        .with_context(|| format!("{venue}, {depth}, {number}"))?;
                    compared += 1;
                }
            }
        }
        let reasons = client.reasons();
        ensure!(reasons.is_empty(), "{venue}: {reasons:?}");
        quotes += client.outcomes.iter().filter(|one| matches!(one, Outcome::Quote(_))).count();
        ensure!(client.frames > frames && compared > frames, "{venue}: {} frames", client.frames);
        ensure!(quotes > frames, "{venue}: {quotes} quotes");
    }
    Ok(())
}

/// The reasons that a client notices, each time with a new snapshot.
fn noticed(venue: Venue, terms: &Terms) -> Result<(Vec<Reason>, usize)> {
    let (_, request) = subscription(venue, 10);
    let mut client = Client::new(venue, 10, terms)?;
    let mut made = 0;
    for number in 0..TRADES {
        if number == 60 {
            client.fetch()?;
        }
        let before = client.reasons().len();
        made += client.step(number)?.iter().filter(|one| one.is_crossed || one.is_skipped).count();
        let has_failed = client.reasons().len() > before;
        let is_fetched = venue.adapter().books.snapshot.is_some();
        if is_fetched && has_failed {
            client.fetch()?;
        } else if !is_fetched && !client.book()?.is_in_sync() {
            // Unsubscribed and subscribed again, which sends a snapshot.
            client.ask(&request.replace("subscribe", "unsubscribe"))?;
            client.ask(&request)?;
        }
    }
    Ok((client.reasons(), made))
}

#[test]
fn a_crossed_book_is_noticed_at_every_venue() -> Result<()> {
    for venue in Venue::ALL {
        let terms = Terms { cross_every: Some(40), ..Terms::default() };
        let (reasons, made) = noticed(venue, &terms)?;
        ensure!(reasons.len() > 5 && reasons.len().abs_diff(made) <= 1, "{venue}: {reasons:?}");
        ensure!(reasons.iter().all(|reason| *reason == Reason::Crossed), "{venue}: {reasons:?}");
    }
    Ok(())
}

#[test]
fn a_skipped_update_is_noticed_where_there_is_a_proof() -> Result<()> {
    for (venue, reason) in [
        (Venue::Kraken, Reason::Checksum),
        (Venue::Deribit, Reason::SequenceGap),
        (Venue::Binance, Reason::SequenceGap),
    ] {
        let terms = Terms { skip_every: Some(40), ..Terms::default() };
        let (reasons, made) = noticed(venue, &terms)?;
        ensure!(reasons.len() > 5 && reasons.len().abs_diff(made) <= 1, "{venue}: {reasons:?}");
        ensure!(reasons.iter().all(|one| *one == reason), "{venue}: {reasons:?}");
    }
    Ok(())
}

#[test]
fn a_wrong_checksum_is_noticed() -> Result<()> {
    let faults = Faults { checksum_every: Some(100), checksum_for: 1, ..Faults::default() };
    let terms = Terms { faults, ..Terms::default() };
    let (reasons, _) = noticed(Venue::Kraken, &terms)?;
    // The fault lasts for one trade, so a snapshot after it may have it as well.
    ensure!(reasons.len() >= 40, "{reasons:?}");
    ensure!(reasons.iter().all(|reason| *reason == Reason::Checksum), "{reasons:?}");
    Ok(())
}

/// The request that subscribes the ticker, and where it has the best bid and ask.
fn ticker(venue: Venue) -> Option<(&'static str, [&'static str; 4])> {
    match venue {
        Venue::Coinbase => Some((
            r#"{"type":"subscribe","product_ids":["BTC-USD"],"channels":["ticker"]}"#,
            ["/best_bid", "/best_bid_size", "/best_ask", "/best_ask_size"],
        )),
        Venue::Kraken => Some((
            r#"{"method":"subscribe","params":{"channel":"ticker","symbol":["BTC/USD"]}}"#,
            ["/data/0/bid", "/data/0/bid_qty", "/data/0/ask", "/data/0/ask_qty"],
        )),
        Venue::Binance => Some((
            r#"{"method":"SUBSCRIBE","params":["btcusdt@bookTicker"],"id":2}"#,
            ["/b", "/B", "/a", "/A"],
        )),
        // Deribit's quotes of options come from its surface, not from its books: tests/surface.rs.
        Venue::Deribit | Venue::Bitstamp => None,
    }
}

#[test]
fn a_ticker_has_the_best_bid_and_ask_of_the_book() -> Result<()> {
    for venue in Venue::ALL {
        let Some((request, fields)) = ticker(venue) else { continue };
        let mut client = Client::new(venue, 10, &Terms::default())?;
        client.ask(request)?;
        let mut compared = 0;
        for number in 0..600 {
            if number == 60 {
                client.fetch()?;
            }
            client.step(number)?;
            let (text, quote) = client.ticker.clone().context("no ticker")?;
            let told: serde_json::Value = serde_json::from_str(&text)?;
            // At Binance the update comes after the ticker of its id.
            let quote = if venue == Venue::Binance { client.book()?.quote() } else { quote };
            let Some(quote) = quote else { continue };
            let is_other = told["u"].as_i64().is_some_and(|id| quote.sequence != Some(id));
            if is_other {
                continue;
            }
            let (bid, ask) = (quote.bid.context("no bid")?, quote.ask.context("no ask")?);
            for (field, wanted) in
                fields.into_iter().zip([bid.price, bid.size, ask.price, ask.size])
            {
                let value = told.pointer(field).with_context(|| format!("{field}: {told}"))?;
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let seen: Decimal = text.parse().with_context(|| format!("{field}: {text}"))?;
                ensure!(seen == wanted, "{venue}: {field} is {seen}, not {wanted}");
            }
            compared += 1;
        }
        ensure!(compared > 40, "{venue}: {compared} compared");
    }
    Ok(())
}
