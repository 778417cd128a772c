//! What each simulator says is read by the adapter of its venue, and says what the market says.

use schemas::{Basis, MarketEvent, PairKey, Timestamp};
use serde_json::Value;

use super::*;
use crate::exchange::Message;
use crate::simulator::listings;

/// Past any time at which a market begins here.
const NOW: i64 = 1_618_677_812_000_000;

struct Bench {
    venue: Venue,
    market: Market,
    session: Session,
}

impl Bench {
    fn new(venue: Venue) -> anyhow::Result<Self> {
        let names = listings::names(venue)[..3].to_vec();
        let market = Market::new(1, &names, NOW - 1_000_000)?;
        let credits = Arc::new(Mutex::new(deribit::Credits::new(NOW)));
        Ok(Self { venue, market, session: Session::new(venue, &credits, Faults::default()) })
    }

    fn names(&self) -> Vec<String> {
        self.market.products().iter().map(|product| product.name.clone()).collect()
    }

    /// What the adapter reads of what is said.
    fn read(&self, texts: &[String]) -> anyhow::Result<Vec<Message>> {
        let mut out = Vec::new();
        for text in texts {
            self.venue.parse(text, Timestamp(7), &mut out)?;
        }
        Ok(out.into_iter().map(|parsed| parsed.message).collect())
    }

    /// Subscribes to everything as our client does; what the adapter reads of the answers.
    fn subscribe(&mut self) -> anyhow::Result<Vec<Message>> {
        let streams = self.venue.streams(&self.names());
        let mut answers = Vec::new();
        for ask in self.venue.subscribe(&streams, 1) {
            answers.extend(self.session.request(&ask.text, &self.market, NOW).texts);
        }
        self.read(&answers)
    }
}

fn events(messages: &[Message]) -> Vec<(&PairKey, &MarketEvent)> {
    messages
        .iter()
        .filter_map(|message| match message {
            Message::Event(pair, event) => Some((pair, event)),
            _ => None,
        })
        .collect()
}

#[test]
fn everything_that_is_asked_is_granted() -> anyhow::Result<()> {
    for venue in Venue::ALL {
        let mut bench = Bench::new(venue)?;
        let answers = bench.subscribe()?;
        let mut granted: Vec<_> = answers
            .into_iter()
            .filter_map(|message| match message {
                Message::Subscribed(granted) => Some(granted),
                _ => None,
            })
            .flatten()
            .collect();
        let mut asked = venue.asked(&venue.streams(&bench.names()));
        granted.sort();
        asked.sort();
        assert_eq!(granted, asked, "{venue}");
    }
    Ok(())
}

#[test]
fn a_trade_is_read_as_the_market_made_it() -> anyhow::Result<()> {
    for venue in Venue::ALL {
        let mut bench = Bench::new(venue)?;
        bench.subscribe()?;
        for step in 0..50 {
            let trade = bench.market.trade(NOW + step);
            let products = bench.market.products();
            let product = &products[trade.product];
            let matched = bench.session.matched(products, &trade);
            let messages = bench.read(&matched.into_iter().collect::<Vec<_>>())?;
            let [(pair, event)] = events(&messages)[..] else { anyhow::bail!("{messages:?}") };
            assert_eq!(pair, &venue.pair(&product.name)?);
            assert_eq!(event.trade_id, Some(trade.id.cast_signed()));
            assert_eq!(product.price(trade.price).parse(), Ok(event.price));
            assert_eq!(event.event_time.0, trade.time_us / 1000);
            // A maker who buys is sold to.
            let sold = event.taker_side == Some(schemas::TakerSide::Sell);
            assert_eq!(sold, trade.maker_buys, "{venue}");
            if venue != Venue::Deribit {
                assert_eq!(event.size.map(Ok), Some(product.size(trade.size).parse()));
            }
        }
        let said = bench.session.beat(&bench.market, NOW).texts;
        let mut samples = bench.read(&said)?;
        let products = bench.market.products();
        let last = &products[0].last;
        samples.extend(
            bench.read(&bench.session.ticker(products, last).into_iter().collect::<Vec<_>>())?,
        );
        let samples = events(&samples);
        let tickers = samples.iter().filter(|(_, event)| event.basis == Basis::Ticker).count();
        // Coinbase and Kraken tell only of trades after the subscription, which this is.
        assert!(tickers > 0, "{venue}");
    }
    Ok(())
}

#[test]
fn what_is_listed_is_read_and_what_is_past_can_be_asked_for() -> anyhow::Result<()> {
    for (venue, listing, history, ids) in [
        (Venue::Coinbase, "/products", "/products/BTC-USD/trades?limit=5", "trade_id"),
        (
            Venue::Binance,
            "/api/v3/exchangeInfo",
            "/api/v3/historicalTrades?symbol=BTCUSDT&fromId=FIRST&limit=5",
            "id",
        ),
        (Venue::Kraken, "", "/0/public/Trades?pair=XBTUSD&since=FIRST", ""),
        (
            Venue::Deribit,
            "/api/v2/public/get_instruments?currency=BTC&expired=false",
            "/api/v2/public/get_last_trades_by_instrument?instrument_name=BTC-PERPETUAL&start_seq=FIRST&sorting=asc&count=5",
            "trade_seq",
        ),
    ] {
        let mut bench = Bench::new(venue)?;
        let first = bench.market.products()[0].last.id;
        for step in 0..60 {
            bench.market.trade(NOW + step);
        }
        let ask = |target: &str| {
            let target = target.replace("FIRST", &first.to_string());
            let (path, query) = target.split_once('?').unwrap_or((&target, ""));
            answer(venue, path, &Query(query), &bench.market, NOW).body().clone()
        };
        if !listing.is_empty() {
            let listed = venue.instruments(&ask(listing).to_string())?;
            assert_eq!(listed.len(), 3, "{venue}");
            assert!(listed.iter().all(|one| one.active));
        }
        let body = ask(history);
        let rows = match venue {
            Venue::Kraken => &body["result"]["XXBTZUSD"],
            Venue::Deribit => &body["result"]["trades"],
            _ => &body,
        };
        let id = |row: &Value| if ids.is_empty() { row[6].as_u64() } else { row[ids].as_u64() };
        let mut found: Vec<u64> = rows.as_array().into_iter().flatten().filter_map(id).collect();
        assert!(found.len() >= 5, "{venue}: {body}");
        found.sort_unstable();
        assert!(found.windows(2).all(|two| two[1] == two[0] + 1), "{venue}: {found:?}");
    }
    Ok(())
}

#[test]
fn a_refusal_is_read_as_one() -> anyhow::Result<()> {
    for venue in Venue::ALL {
        let bench = Bench::new(venue)?;
        let streams = venue.streams(&bench.names());
        let asks = venue.subscribe(&streams, 1);
        let asking = |text: &&String| bench.session.refusal(text).is_some();
        let texts: Vec<_> = asks.iter().map(|ask| &ask.text).collect();
        let text = texts.into_iter().find(asking).ok_or_else(|| anyhow::anyhow!("no ask"))?;
        let refusal = bench.session.refusal(text).into_iter().collect::<Vec<_>>();
        let messages = bench.read(&refusal)?;
        assert!(matches!(messages[..], [Message::Refused(_)]), "{venue}: {messages:?}");
    }
    Ok(())
}

#[test]
fn deribit_counts_credits_and_asks_whether_somebody_is_there() -> anyhow::Result<()> {
    let mut bench = Bench::new(Venue::Deribit)?;
    bench.subscribe()?;
    let ask = r#"{"jsonrpc":"2.0","id":9,"method":"public/subscribe","params":{"channels":["ticker.BTC-PERPETUAL.100ms","ticker.NONE.100ms"]}}"#;
    let mut granted = 0;
    loop {
        let texts = bench.session.request(ask, &bench.market, NOW).texts;
        match &bench.read(&texts)?[0] {
            Message::Subscribed(channels) => {
                assert_eq!(channels.len(), 1, "what does not exist is not granted");
                granted += 1;
            }
            Message::NotNow { id: Some(9), .. } => break,
            other => anyhow::bail!("{other:?}"),
        }
    }
    // Thirty thousand, of which the first subscription took three.
    assert_eq!(granted, 9);
    let raw = ask.replace("ticker.NONE.100ms", "trades.BTC-PERPETUAL.raw");
    let later = NOW + 10_000_000;
    let texts = bench.session.request(&raw, &bench.market, later).texts;
    assert!(
        matches!(&bench.read(&texts)?[..], [Message::Refused(words)] if words.starts_with("13778"))
    );
    let asked = bench.session.beat(&bench.market, NOW + 31_000_000).texts;
    let messages = bench.read(&asked)?;
    let [Message::Alive, Message::Reply(answer)] = messages[..] else {
        anyhow::bail!("{messages:?}")
    };
    let silent = bench.session.beat(&bench.market, NOW + 62_000_000);
    assert!(silent.cut.is_some(), "no answer");
    bench.session.request(answer, &bench.market, NOW + 63_000_000);
    assert!(bench.session.beat(&bench.market, NOW + 93_000_000).cut.is_none());
    Ok(())
}

#[test]
fn binance_hangs_up_on_a_client_that_talks_too_fast() -> anyhow::Result<()> {
    let mut bench = Bench::new(Venue::Binance)?;
    let ask = r#"{"method":"LIST_SUBSCRIPTIONS","id":1}"#;
    let mut request = || bench.session.request(ask, &bench.market, NOW).cut;
    assert!((0..5).all(|_| request().is_none()) && request().is_some());
    Ok(())
}
