//! Reads of books: exact, with the state of the book, and null for an empty side.

use schemas::topic::Topic;
use schemas::{Book, BookLevel, BookState, Decimal, PairKey, Proof, Timestamp, TopOfBook};
use serde_json::{Value, json};

use super::world::{NOW, Outcome, World, get, minute, post, small};
use crate::store_keys;

const BTC: &str = "base=BTC&quote=USD&exchange=coinbase";
const EMPTY: &str = "base=BTC&quote=USD&exchange=kraken";
const BROKEN: &str = "base=ETH&quote=USD&exchange=coinbase";

/// Price and size of a level.
type Level = (&'static str, &'static str);

fn pair(base: &str, exchange: &str) -> (PairKey, Vec<u8>) {
    let pair = PairKey::new(base, "USD", exchange);
    let key = store_keys::pair_key(&pair);
    (pair, key)
}

fn levels(levels: &[Level]) -> Outcome<Vec<BookLevel>> {
    let level = |(price, size): &Level| -> Outcome<_> {
        Ok(BookLevel { price: price.parse()?, size: size.parse()? })
    };
    levels.iter().map(level).collect()
}

/// A book, and the quote of its best levels.
fn put(
    world: &World,
    (base, exchange): (&str, &str),
    bids: &[Level],
    asks: &[Level],
    state: BookState,
) -> Outcome {
    let (_, key) = pair(base, exchange);
    let (bids, asks) = (levels(bids)?, levels(asks)?);
    let (bid, ask) = (bids.first(), asks.first());
    let top = TopOfBook {
        bid: bid.map(|level| level.price),
        bid_size: bid.map(|level| level.size),
        ask: ask.map(|level| level.price),
        ask_size: ask.map(|level| level.size),
        max_spread: Some("3".parse()?),
        sequence: Some(42),
        state,
        event_time: Timestamp(minute(2)),
        received_at: Timestamp(minute(2) + 5),
        since: Timestamp(minute(2)),
        clock: Timestamp(minute(2)),
        max_spread_day: Timestamp(minute(0)),
        mids: vec!["100".parse()?, "101.5".parse()?, "102".parse()?],
    };
    world.put(Topic::TopOfBook, &key, &top);
    let book = Book {
        bids,
        asks,
        sequence: Some(42),
        proof: Proof::Checksum,
        event_time: Timestamp(minute(2)),
        received_at: Timestamp(minute(2) + 5),
    };
    world.put(Topic::Books, &key, &book);
    Ok(())
}

/// A book in sync, one out of sync, and one without asks.
pub(super) fn fill(world: &World) -> Outcome {
    let bids = [("100", "3"), ("99.5", "1.25"), ("99", "10")];
    put(world, ("BTC", "coinbase"), &bids, &[("101", "1"), ("102", "4")], BookState::InSync)?;
    put(world, ("ETH", "coinbase"), &[("10", "1")], &[("11", "1")], BookState::OutOfSync)?;
    put(world, ("BTC", "kraken"), &[("98", "2")], &[], BookState::InSync)
}

/// The best bid of BTC changes.
pub(super) fn move_bid(world: &World, price: &'static str) -> Outcome {
    put(world, ("BTC", "coinbase"), &[(price, "3")], &[("101", "1")], BookState::InSync)
}

#[tokio::test]
async fn a_quote_has_its_measures_and_no_private_state() -> Outcome {
    let routes = small()?.routes();
    let answer = get(&routes, &format!("/v1/quotes?{BTC}"), &[]).await?;
    assert_eq!(answer.status, 200);
    let expected = json!({
        "base": "BTC", "quote": "USD", "exchange": "coinbase",
        "bid": "100", "bid_size": "3", "ask": "101", "ask_size": "1",
        "spread": "1", "mid": "100.5", "microprice": "100.75", "imbalance": "0.5",
        "max_spread": "3", "mid_mean_10": "101.166666666666666667", "sequence": 42,
        "state": "IN_SYNC", "event_time": "2024-01-01T00:02:00.000Z",
        "received_at": "2024-01-01T00:02:00.005Z",
    });
    assert_eq!(answer.json(), expected);
    let csv = get(&routes, &format!("/v1/quotes?{BTC}"), &[("accept", "text/csv")]).await?.text();
    let line = "BTC,USD,coinbase,100,3,101,1,1,100.5,100.75,0.5,3,101.166666666666666667,42,IN_SYNC,\
        2024-01-01T00:02:00.000Z,2024-01-01T00:02:00.005Z";
    assert_eq!(csv.lines().nth(1), Some(line));
    Ok(())
}

#[tokio::test]
async fn an_empty_side_is_null_and_never_zero() -> Outcome {
    let routes = small()?.routes();
    let quote = get(&routes, &format!("/v1/quotes?{EMPTY}"), &[]).await?.json();
    for name in ["ask", "ask_size", "spread", "mid", "microprice"] {
        assert_eq!(quote[name], Value::Null, "{name}");
    }
    assert_eq!((&quote["bid"], &quote["imbalance"]), (&json!("98"), &json!("1")));
    let book = get(&routes, &format!("/v1/book?{EMPTY}"), &[]).await?.json();
    assert_eq!((&book["asks"], book["bids"].as_array().map(Vec::len)), (&json!([]), Some(1)));
    Ok(())
}

#[tokio::test]
async fn an_array_of_quotes_is_answered_in_its_order_and_names_what_is_missing() -> Outcome {
    let routes = small()?.routes();
    let body = r#"[{"base":"ETH","quote":"USD","exchange":"coinbase"},
        {"base":"DOGE","quote":"USD","exchange":"coinbase"},
        {"base":"BTC","quote":"USD","exchange":"kraken"}]"#;
    let answer = post(&routes, "/v1/quotes", body).await?;
    assert_eq!(answer.status, 200);
    let found = answer.json()["found"].as_array().cloned().unwrap_or_default();
    let bids: Vec<_> = found.iter().map(|row| row["bid"].clone()).collect();
    assert_eq!(bids, [json!("10"), json!("98")]);
    let missing = json!([{ "base": "DOGE", "quote": "USD", "exchange": "coinbase" }]);
    assert_eq!(answer.json()["missing"], missing);
    let pair = r#"{"base":"BTC","quote":"USD","exchange":"coinbase"}"#;
    let many = format!("[{}]", vec![pair; 1_001].join(","));
    assert_eq!(post(&routes, "/v1/quotes", &many).await?.status, 400);
    Ok(())
}

#[tokio::test]
async fn a_book_has_as_many_levels_as_were_asked_for_and_its_state() -> Outcome {
    let routes = small()?.routes();
    let book = get(&routes, &format!("/v1/book?{BTC}&depth=2"), &[]).await?.json();
    let expected = json!({
        "base": "BTC", "quote": "USD", "exchange": "coinbase", "state": "IN_SYNC",
        "bids": [{ "price": "100", "size": "3" }, { "price": "99.5", "size": "1.25" }],
        "asks": [{ "price": "101", "size": "1" }, { "price": "102", "size": "4" }],
        "sequence": 42, "proof": "CHECKSUM", "event_time": "2024-01-01T00:02:00.000Z",
        "received_at": "2024-01-01T00:02:00.005Z",
    });
    assert_eq!(book, expected);
    let whole = get(&routes, &format!("/v1/book?{BTC}"), &[]).await?.json();
    assert_eq!(whole["bids"].as_array().map(Vec::len), Some(3));
    let csv = get(&routes, &format!("/v1/book?{BTC}&depth=1"), &[("accept", "text/csv")]).await?;
    let lines = "side,level,price,size,state\nbid,1,100,3,IN_SYNC\nask,1,101,1,IN_SYNC\n";
    assert_eq!(csv.text(), lines);
    let broken = get(&routes, &format!("/v1/book?{BROKEN}"), &[]).await?.json();
    assert_eq!(
        (&broken["state"], &broken["bids"][0]["price"]),
        (&json!("OUT_OF_SYNC"), &json!("10"))
    );
    Ok(())
}

#[tokio::test]
async fn a_book_whose_quotes_came_first_is_404_until_it_comes() -> Outcome {
    let world = small()?;
    let (_, key) = pair("SOL", "coinbase");
    let top = TopOfBook {
        bid: None,
        bid_size: None,
        ask: None,
        ask_size: None,
        max_spread: None,
        sequence: None,
        state: BookState::InSync,
        event_time: Timestamp(minute(1)),
        received_at: Timestamp(minute(1)),
        since: Timestamp(minute(1)),
        clock: Timestamp(minute(1)),
        max_spread_day: Timestamp(minute(0)),
        mids: Vec::new(),
    };
    world.put(Topic::TopOfBook, &key, &top);
    let path = "/v1/book?base=SOL&quote=USD&exchange=coinbase";
    let answer = get(&world.routes(), path, &[]).await?;
    let error = answer.json()["error"].as_str().unwrap_or_default().to_owned();
    assert_eq!(answer.status, 404);
    assert!(error.contains("SOL-USD@coinbase") && error.contains("try again"), "{error}");
    let quote = get(&world.routes(), &path.replace("book", "quotes"), &[]).await?.json();
    assert_eq!((&quote["mid_mean_10"], &quote["imbalance"]), (&Value::Null, &Value::Null));
    Ok(())
}

#[tokio::test]
async fn a_refusal_names_what_is_wrong_and_what_to_do() -> Outcome {
    let routes = small()?.routes();
    for (path, status, words) in [
        ("/v1/quotes?base=X&quote=USD&exchange=y".to_owned(), 404, ["X-USD@y", "--channels book"]),
        ("/v1/book?base=X&quote=USD&exchange=y".to_owned(), 404, ["X-USD@y", "ask a view"]),
        ("/v1/spreads?base=X&quote=USD&exchange=y".to_owned(), 404, ["X-USD@y", "check the name"]),
        (format!("/v1/book?{BTC}&depth=0"), 400, ["depth", "1 to 25"]),
        (format!("/v1/book?{BTC}&depth=26"), 400, ["depth", "1 to 25"]),
        (format!("/v1/quotes?{BTC}&depth=5"), 400, ["depth", "there are base"]),
        (format!("/v1/spreads?{BTC}&interval=5m"), 400, ["interval", "1m, 1h, 1d"]),
        (format!("/v1/spreads?{BTC}&interval=auto"), 400, ["interval", "1m, 1h, 1d"]),
        (format!("/v1/spreads?{BTC}&from=2&to=1"), 400, ["from", "after to"]),
        (format!("/v1/spreads?{BTC}&cursor=1h.5"), 400, ["cursor", "unchanged"]),
        (format!("/v1/spreads?{BTC}&fill=previous"), 400, ["fill", "no such parameter"]),
    ] {
        let answer = get(&routes, &path, &[]).await?;
        let error = answer.json()["error"].as_str().unwrap_or_default().to_owned();
        assert_eq!(answer.status, status, "{path}: {error}");
        for word in words {
            assert!(error.contains(word), "{path}: {error}");
        }
    }
    let unknown = get(&routes, "/v1/quotes?base=X&quote=USD&exchange=y", &[]).await?;
    assert_eq!(unknown.json()["partitions"], json!([0]));
    Ok(())
}

#[tokio::test]
async fn an_answer_about_a_book_says_how_old_it_is_and_where_it_was_read() -> Outcome {
    let routes = small()?.routes();
    for (path, positions) in [
        (format!("/v1/quotes?{BTC}"), "top_of_book/0=42"),
        (format!("/v1/book?{BTC}"), "books/0=42,top_of_book/0=42"),
        (
            format!("/v1/spreads?{BTC}&interval=1h"),
            "spreads_1h/0=42,spreads_1m/0=42,top_of_book/0=42",
        ),
    ] {
        let answer = get(&routes, &path, &[]).await?;
        assert_eq!(answer.header("lag-ms"), Some("250"), "{path}");
        assert_eq!(answer.header("positions"), Some(positions), "{path}");
        let stale = get(&routes, &format!("{path}&max_lag_ms=249"), &[]).await?;
        assert_eq!((stale.status.as_u16(), &stale.json()["lag_ms"]), (503, &json!(250)), "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn an_exchange_counts_its_books_and_names_a_bounded_number_that_are_out_of_sync() -> Outcome {
    let world = small()?;
    let path = "/v1/exchanges?max_lag_ms=1000";
    let rows = get(&world.routes(), path, &[]).await?.json()["exchanges"].clone();
    let of = |rows: &Value, name: &str| {
        rows.as_array().into_iter().flatten().map(|row| row[name].clone()).collect::<Vec<_>>()
    };
    assert_eq!(of(&rows, "exchange"), ["binance", "coinbase", "kraken"]);
    assert_eq!(of(&rows, "books"), [json!(0), json!(2), json!(1)]);
    assert_eq!(of(&rows, "books_out_of_sync"), [json!(0), json!(1), json!(0)]);
    let named = json!([{ "base": "ETH", "quote": "USD", "exchange": "coinbase" }]);
    assert_eq!(of(&rows, "out_of_sync"), [json!([]), named, json!([])]);
    for number in 0..30 {
        let base = format!("B{number}");
        put(&world, (&base, "kraken"), &[("1", "1")], &[], BookState::OutOfSync)?;
    }
    let rows = get(&world.routes(), path, &[]).await?.json()["exchanges"].clone();
    assert_eq!(rows[2]["books_out_of_sync"], 30);
    assert_eq!(rows[2]["out_of_sync"].as_array().map(Vec::len), Some(20));
    let csv = get(&world.routes(), "/v1/exchanges", &[("accept", "text/csv")]).await?.text();
    assert!(
        csv.lines().next().is_some_and(|line| line.ends_with("books,books_out_of_sync")),
        "{csv}"
    );
    assert!(csv.lines().nth(2).is_some_and(|line| line.ends_with(",2,1")), "{csv}");
    Ok(())
}

#[tokio::test]
async fn an_exchange_whose_quotes_move_is_live_without_a_trade() -> Outcome {
    let mut world = World::new()?;
    world.mark("books", minute(9), NOW.0 - 1_000)?;
    let rows = get(&world.routes(), "/v1/exchanges?max_lag_ms=9", &[]).await?;
    assert_eq!(rows.status, 503, "no store says how old it is");
    let (_, key) = pair("BTC", "books");
    let moved = TopOfBook {
        bid: Some(Decimal::ONE),
        bid_size: Some(Decimal::ONE),
        ask: None,
        ask_size: None,
        max_spread: None,
        sequence: None,
        state: BookState::InSync,
        event_time: Timestamp(minute(9)),
        received_at: Timestamp(minute(9)),
        since: Timestamp(minute(9)),
        clock: Timestamp(minute(9)),
        max_spread_day: Timestamp(minute(0)),
        mids: Vec::new(),
    };
    let state = |answer: super::world::Answer| answer.json()["exchanges"][0]["state"].clone();
    assert_eq!(state(get(&world.routes(), "/v1/exchanges", &[]).await?), "quiet");
    world.put(Topic::TopOfBook, &key, &moved);
    assert_eq!(state(get(&world.routes(), "/v1/exchanges", &[]).await?), "live");
    Ok(())
}
