//! Each adapter reads what its simulated venue sends, and reads it as the market made it.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemas::{Basis, MarketEvent, PairKey, Timestamp};
use serde_json::Value;
use simulator::book::followed::SlowSnapshot;
use simulator::http::QueryString;
use simulator::listings;
use simulator::market::{Market, Trade};
use simulator::session::{Service, Session, answer};
use simulator::surface::settings::SurfaceSettings;
use venues::history::{HistoryAnswer, MissingTrades};
use venues::{Class, Control, Follow, Message, Parsed, Venue};

/// Past any time at which a market begins here.
const NOW: i64 = 1_618_677_812_000_000;

/// The simulation of a venue.
fn simulated(venue: Venue) -> anyhow::Result<simulator::Venue> {
    simulator::Venue::parse(venue.as_str()).ok_or_else(|| anyhow::anyhow!("{venue}"))
}

/// What a venue lists.
fn listed(venue: Venue) -> anyhow::Result<Vec<String>> {
    Ok(listings::names_at(simulated(venue)?, NOW, &SurfaceSettings::default()))
}

#[test]
fn every_venue_is_simulated_and_lists_products_that_its_adapter_reads() -> anyhow::Result<()> {
    assert_eq!(Venue::ALL.len(), simulator::Venue::ALL.len());
    for venue in Venue::ALL {
        for name in listed(venue)? {
            venue.pair(&name)?;
        }
    }
    Ok(())
}

#[test]
fn deribit_has_more_than_1300_options() -> anyhow::Result<()> {
    let mut options = 0;
    for name in listed(Venue::Deribit)? {
        options += u32::from(Venue::Deribit.class(&Venue::Deribit.pair(&name)?) == Class::Option);
    }
    assert_eq!(options, 1_488);
    Ok(())
}

struct Bench {
    venue: Venue,
    market: Market,
    session: Session,
}

impl Bench {
    fn new(venue: Venue) -> anyhow::Result<Self> {
        let simulated = simulated(venue)?;
        let names = listed(venue)?[..3].to_vec();
        let market = Market::new(1, &names, NOW - 1_000_000)?;
        let session = Session::new(simulated, &Service::new(NOW));
        Ok(Self { venue, market, session })
    }

    fn names(&self) -> Vec<String> {
        self.market.products().iter().map(|product| product.name.clone()).collect()
    }

    /// The tickers that a trade sends, at once or with the next tick.
    fn tickers(&mut self, trade: &Trade) -> Vec<String> {
        let ticker = self.session.ticker(self.market.products(), trade);
        let mut texts: Vec<String> = ticker.into_iter().collect();
        texts.extend(self.session.tick(&self.market, 1, NOW).texts);
        texts
    }

    /// The messages that the adapter parses from the texts.
    fn read(&self, texts: &[String]) -> anyhow::Result<Vec<Message>> {
        let mut out = Vec::new();
        for text in texts {
            self.venue.parse(text, Timestamp(7), &mut out)?;
        }
        Ok(out.into_iter().map(|parsed| parsed.message).collect())
    }

    /// Subscribes to everything as our client does; what the adapter reads of the answers.
    fn subscribe(&mut self) -> anyhow::Result<Vec<Message>> {
        let streams = self.venue.streams(&self.names(), Follow::default());
        let mut answers = Vec::new();
        for ask in (self.venue.adapter().subscriptions.requests)(&streams, Follow::default(), 1) {
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
                Message::Control(Control::Subscribed(granted)) => Some(granted),
                _ => None,
            })
            .flatten()
            .collect();
        let expected = venue.adapter().subscriptions.expected;
        let mut asked =
            expected(&venue.streams(&bench.names(), Follow::default()), Follow::default());
        // The book that is Bitstamp's clock is granted to every connection.
        granted.retain(|one| one.channel != "diff_order_book_btcusd");
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
            let texts = bench.tickers(&trade);
            let tickers = bench.read(&texts)?;
            for (_, sample) in events(&tickers) {
                assert_eq!((sample.basis, sample.price), (Basis::Ticker, event.price), "{venue}");
                let side = sample.taker_side;
                assert!(side.is_none() || side == event.taker_side, "{venue}");
            }
        }
        let said = bench.session.beat(&bench.market, NOW).texts;
        let mut samples = bench.read(&said)?;
        let beats = samples.iter().filter(|one| matches!(one, Message::Heartbeat { .. })).count();
        assert_eq!(beats > 0, venue.adapter().liveness.heartbeat_channel.is_some(), "{venue}");
        let last = bench.market.products()[0].last.clone();
        let texts = bench.tickers(&last);
        samples.extend(bench.read(&texts)?);
        let samples = events(&samples);
        let tickers = samples.iter().filter(|(_, event)| event.basis == Basis::Ticker).count();
        // Coinbase and Kraken tell only of trades after the subscription, which this is.
        let has_tickers = venue.adapter().kinds.iter().any(|kind| kind.ends_with("icker"));
        assert_eq!(tickers > 0, has_tickers, "{venue}");
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
            anyhow::Ok(
                answer(simulated(venue)?, path, &QueryString(query), &bench.market, NOW)
                    .body()
                    .clone(),
            )
        };
        if !listing.is_empty() {
            let listed = venue.instruments(&ask(listing)?.to_string())?;
            assert_eq!(listed.len(), 3, "{venue}");
            assert!(listed.iter().all(|one| one.active));
        }
        let body = ask(history)?;
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
        let streams = venue.streams(&bench.names(), Follow::default());
        let asks = (venue.adapter().subscriptions.requests)(&streams, Follow::default(), 1);
        let asking = |text: &&String| bench.session.refusal(text).is_some();
        let texts: Vec<_> = asks.iter().map(|ask| &ask.text).collect();
        let text = texts.into_iter().find(asking).ok_or_else(|| anyhow::anyhow!("no ask"))?;
        let refusal = bench.session.refusal(text).into_iter().collect::<Vec<_>>();
        let messages = bench.read(&refusal)?;
        assert!(
            matches!(messages[..], [Message::Control(Control::Refused(_))]),
            "{venue}: {messages:?}"
        );
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
            Message::Control(Control::Subscribed(channels)) => {
                assert_eq!(channels.len(), 1, "what does not exist is not granted");
                granted += 1;
            }
            Message::Control(Control::RetryAfter { id: Some(9), .. }) => break,
            other => anyhow::bail!("{other:?}"),
        }
    }
    // Thirty thousand, of which the first subscription took three.
    assert_eq!(granted, 9);
    let raw = ask.replace("ticker.NONE.100ms", "trades.BTC-PERPETUAL.raw");
    let later = NOW + 10_000_000;
    let texts = bench.session.request(&raw, &bench.market, later).texts;
    assert!(
        matches!(&bench.read(&texts)?[..], [Message::Control(Control::Refused(words))] if words.starts_with("13778"))
    );
    let asked = bench.session.beat(&bench.market, NOW + 31_000_000).texts;
    let messages = bench.read(&asked)?;
    let [Message::Alive, Message::Control(Control::Reply(answer))] = messages[..] else {
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

fn coinbase_message(text: &str) -> anyhow::Result<Parsed> {
    let mut out = Vec::new();
    Venue::Coinbase.parse(text, Timestamp(7), &mut out)?;
    out.pop().ok_or_else(|| anyhow::anyhow!("no message"))
}

fn coinbase_session() -> simulator::coinbase::Session {
    simulator::coinbase::Session::new(Arc::default(), SlowSnapshot::default())
}

fn coinbase_market() -> anyhow::Result<Market> {
    Market::new(1, &["BTC-USD".into(), "SHIB-USD".into()], 1_618_677_810_244_075)
}

#[test]
fn coinbase_refuses_in_its_own_words() -> anyhow::Result<()> {
    let market = coinbase_market()?;
    for (ask, reason) in [
        (
            r#"{"type":"subscribe","product_ids":["FOO-USD"],"channels":["ticker"]}"#,
            "Failed to subscribe: FOO-USD is not a valid product",
        ),
        (
            r#"{"type":"subscribe","product_ids":["BTC-USD"],"channels":["foo"]}"#,
            "Failed to subscribe: foo is not a valid channel",
        ),
        (r#"{"type":"greet"}"#, "Failed to subscribe: no products or channels"),
        ("{", "Malformed JSON"),
    ] {
        let mut session = coinbase_session();
        let answers = session.request(ask, &market, NOW).texts;
        let parsed = coinbase_message(&answers[0])?;
        assert_eq!(parsed.message, Message::Control(Control::Refused(reason.into())));
        assert!(!session.is_subscribed());
    }
    Ok(())
}

#[test]
fn coinbase_sends_no_trade_from_before_the_subscription() -> anyhow::Result<()> {
    let mut market = coinbase_market()?;
    let early: Vec<_> = (0..10).map(|_| market.trade(1_618_677_811_000_000)).collect();
    let mut session = coinbase_session();
    session.request(
        r#"{"type":"subscribe","product_ids":["BTC-USD","SHIB-USD"],"channels":["matches"]}"#,
        &market,
        NOW,
    );
    assert!(early.iter().all(|trade| session.matched(market.products(), trade).is_none()));
    assert!(session.ticker(market.products(), &market.products()[0].last).is_none());
    Ok(())
}

#[test]
fn a_trade_that_was_fetched_is_the_one_that_the_feed_brings() -> anyhow::Result<()> {
    for venue in Venue::ALL {
        let name = listings::names(simulated(venue)?)[0].clone();
        let mut market = Market::new(3, std::slice::from_ref(&name), NOW - 1_000_000)?;
        let first = market.products()[0].last.id.cast_signed();
        let mut session = Session::new(simulated(venue)?, &Service::new(NOW));
        let streams = venue.streams(std::slice::from_ref(&name), Follow::default());
        for ask in (venue.adapter().subscriptions.requests)(&streams, Follow::default(), 1) {
            session.request(&ask.text, &market, NOW);
        }
        let mut live = Vec::new();
        for step in 0..2_500 {
            let trade = market.trade(NOW + step * 997);
            let text = session.matched(market.products(), &trade).unwrap_or_default();
            let mut out = Vec::new();
            venue.parse(&text, Timestamp(7), &mut out)?;
            live.extend(out.into_iter().filter_map(|parsed| match parsed.message {
                // Coinbase counts the messages of its feed, and no others.
                Message::Event(_, event) => Some(MarketEvent { sequence: None, ..event }),
                _ => None,
            }));
        }
        // All but the first and the last, over three pages.
        let (pair, since) = (venue.pair(&name)?, live[0].event_time);
        let wanted = MissingTrades { pair, first: first + 2, last: first + 2_499, since };
        let Some(history) = &venue.adapter().history else { continue };
        let rest_path = venue.adapter().endpoints.rest_path;
        let (mut cursor, mut pages, mut found) =
            ((history.first_cursor)(&wanted), 0, BTreeMap::new());
        loop {
            let target = (history.request)(&wanted, cursor).url(rest_path);
            let (path, query) = target.split_once('?').unwrap_or((&target, ""));
            let answered = answer(simulated(venue)?, path, &QueryString(query), &market, NOW);
            let text = answered.body().to_string();
            let HistoryAnswer::Page(page) = (history.parse)(&wanted, cursor, &text, Timestamp(7))?
            else {
                anyhow::bail!("{venue}: {text}")
            };
            found.extend(page.trades.into_iter().map(|event| (event.trade_id, event)));
            pages += 1;
            match page.next {
                Some(next) if next != cursor => cursor = next,
                _ => break,
            }
        }
        assert_eq!(pages, 3, "{venue}");
        assert!(found.into_values().eq(live[1..2_499].iter().cloned()), "{venue}");
    }
    Ok(())
}
