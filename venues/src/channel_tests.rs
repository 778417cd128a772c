//! Streams, requests and expected acknowledgements by channel and depth.

use super::*;
use crate::message::Subscription;
use crate::venue::Venue;

/// Trades and tickers of two products, and everything of the first one at the smallest depth.
fn texts(venue: Venue, follow: Follow) -> Vec<String> {
    let products = products(venue);
    let adapter = venue.adapter();
    let streams = (adapter.subscriptions.streams)(&products, follow);
    let requests = (adapter.subscriptions.requests)(&streams, follow, 1);
    requests.into_iter().map(|request| request.text).collect()
}

fn products(venue: Venue) -> [String; 2] {
    match venue {
        Venue::Coinbase => ["BTC-USD", "ETH-USD"],
        Venue::Binance => ["BTCUSDT", "ETHUSDT"],
        Venue::Kraken => ["BTC/USD", "ETH/USD"],
        Venue::Deribit => ["BTC-PERPETUAL", "ETH-PERPETUAL"],
        Venue::Bitstamp => ["btcusd", "ethusd"],
    }
    .map(str::to_owned)
}

fn follow(channels: &str) -> Follow {
    Follow { channels: channels.parse().unwrap(), ..Follow::default() }
}

#[test]
fn without_books_the_requests_are_those_of_trades_and_tickers() {
    for (venue, expected) in [
        (
            Venue::Coinbase,
            &[
                r#"{"channels":["matches","ticker","heartbeat"],"product_ids":["BTC-USD","ETH-USD"],"type":"subscribe"}"#,
            ][..],
        ),
        (
            Venue::Binance,
            &[
                r#"{"id":1,"method":"SUBSCRIBE","params":["btcusdt@trade","btcusdt@miniTicker","ethusdt@trade","ethusdt@miniTicker"]}"#,
                r#"{"id":2,"method":"LIST_SUBSCRIPTIONS"}"#,
            ],
        ),
        (
            Venue::Kraken,
            &[
                r#"{"method":"subscribe","params":{"channel":"trade","snapshot":true,"symbol":["BTC/USD","ETH/USD"]},"req_id":1}"#,
                r#"{"method":"subscribe","params":{"channel":"ticker","snapshot":true,"symbol":["BTC/USD","ETH/USD"]},"req_id":2}"#,
            ],
        ),
        (
            Venue::Deribit,
            &[
                r#"{"id":1,"jsonrpc":"2.0","method":"public/set_heartbeat","params":{"interval":30}}"#,
                r#"{"id":2,"jsonrpc":"2.0","method":"public/subscribe","params":{"channels":["ticker.BTC-PERPETUAL.100ms","trades.BTC-PERPETUAL.100ms","ticker.ETH-PERPETUAL.100ms","trades.ETH-PERPETUAL.100ms"]}}"#,
            ],
        ),
        (
            Venue::Bitstamp,
            &[
                r#"{"data":{"channel":"diff_order_book_btcusd"},"event":"bts:subscribe"}"#,
                r#"{"data":{"channel":"live_trades_btcusd"},"event":"bts:subscribe"}"#,
                r#"{"data":{"channel":"live_trades_ethusd"},"event":"bts:subscribe"}"#,
            ],
        ),
    ] {
        assert_eq!(texts(venue, Follow::default()), expected, "{venue}");
    }
}

#[test]
fn books_alone_are_subscribed_with_what_their_feed_needs() {
    for (venue, expected) in [
        (
            Venue::Coinbase,
            &[
                r#"{"channels":["heartbeat"],"product_ids":["BTC-USD","ETH-USD"],"type":"subscribe"}"#,
                r#"{"channels":["level2_batch"],"product_ids":["BTC-USD","ETH-USD"],"type":"subscribe"}"#,
            ][..],
        ),
        (
            Venue::Binance,
            &[
                r#"{"id":1,"method":"SUBSCRIBE","params":["btcusdt@miniTicker","btcusdt@depth@100ms","ethusdt@depth@100ms"]}"#,
                r#"{"id":2,"method":"LIST_SUBSCRIPTIONS"}"#,
            ],
        ),
        (
            Venue::Kraken,
            &[
                r#"{"method":"subscribe","params":{"channel":"instrument","snapshot":true},"req_id":1}"#,
                r#"{"method":"subscribe","params":{"channel":"book","depth":25,"snapshot":true,"symbol":["BTC/USD","ETH/USD"]},"req_id":2}"#,
            ],
        ),
        (
            Venue::Deribit,
            &[
                r#"{"id":1,"jsonrpc":"2.0","method":"public/set_heartbeat","params":{"interval":30}}"#,
                r#"{"id":2,"jsonrpc":"2.0","method":"public/subscribe","params":{"channels":["book.BTC-PERPETUAL.100ms","book.ETH-PERPETUAL.100ms"]}}"#,
            ],
        ),
        (
            Venue::Bitstamp,
            &[
                r#"{"data":{"channel":"diff_order_book_btcusd"},"event":"bts:subscribe"}"#,
                r#"{"data":{"channel":"diff_order_book_ethusd"},"event":"bts:subscribe"}"#,
            ],
        ),
    ] {
        assert_eq!(texts(venue, follow("book")), expected, "{venue}");
    }
}

#[test]
fn each_book_is_a_stream_that_counts_and_is_acknowledged() {
    for venue in Venue::ALL {
        let subscriptions = &venue.adapter().subscriptions;
        let (products, pair_of) = (products(venue), venue.adapter().books.pair_of_stream);
        let streams = |channels| (subscriptions.streams)(&products, follow(channels));
        let (all, without) = (streams("trades,ticker,book"), streams("trades,ticker"));
        assert_eq!(all.len(), without.len() + products.len(), "{venue}");
        let books: Vec<&String> = all.iter().filter(|stream| pair_of(stream).is_some()).collect();
        let pairs = products.iter().map(|product| venue.pair(product).ok());
        assert!(books.iter().map(|stream| pair_of(stream)).eq(pairs), "{venue}");
        assert!(without.iter().all(|stream| pair_of(stream).is_none()), "{venue}");
        // No event comes over the stream of a book, so its silence says nothing.
        let class_of = subscriptions.class_of_stream;
        assert!(books.iter().all(|stream| class_of(stream).is_none()), "{venue}");
        let expected = |streams: &[String]| (subscriptions.expected)(streams, Follow::ALL);
        let [all, without] = [expected(&all), expected(&without)];
        assert_eq!(all.len(), without.len() + products.len(), "{venue}");
    }
}

#[test]
fn the_depth_names_the_channel_or_the_snapshot() {
    let depth = |channels, depth| Follow { depth: Some(depth), ..follow(channels) };
    let coinbase = texts(Venue::Coinbase, depth("trades,book", 50));
    let expected = [
        r#"{"channels":["matches","heartbeat"],"product_ids":["BTC-USD","ETH-USD"],"type":"subscribe"}"#,
        r#"{"channels":["level2_50"],"product_ids":["BTC-USD","ETH-USD"],"type":"subscribe"}"#,
    ];
    assert_eq!(coinbase, expected);
    let kraken = texts(Venue::Kraken, depth("book", 1_000));
    assert!(kraken[1].contains(r#""depth":1000"#), "{kraken:?}");
    let books = &Venue::Binance.adapter().books;
    let pair = schemas::PairKey::new("BTC", "USDT", "binance");
    let path = |follow| books.snapshot_request.map(|request| request(&pair, follow).path);
    let expected = "/api/v3/depth?symbol=BTCUSDT&limit=";
    assert_eq!(path(follow("book")), Some(format!("{expected}1000")));
    assert_eq!(path(depth("book", 5_000)), Some(format!("{expected}5000")));
    for venue in Venue::ALL {
        let books = &venue.adapter().books;
        let is_offered = |depth: usize| books.depths.contains(&depth);
        assert!(books.default_depth.is_none_or(is_offered), "{venue}");
    }
}

#[test]
fn the_request_of_a_snapshot_names_its_product() {
    for venue in Venue::ALL {
        let books = &venue.adapter().books;
        assert_eq!(books.snapshot_request.is_some(), books.snapshot.is_some(), "{venue}");
        let Some(request) = books.snapshot_request else { continue };
        for product in products(venue) {
            let pair = venue.pair(&product).unwrap();
            let path = request(&pair, Follow::ALL).path;
            assert_eq!((books.product_of_request)(&path), Some(&*product), "{venue}");
        }
        for other in ["/api/v3/exchangeInfo?symbol=BTCUSDT", "/api/v2/markets/", ""] {
            assert_eq!((books.product_of_request)(other), None, "{venue}");
        }
    }
}

#[test]
fn one_book_is_subscribed_again() {
    for (venue, expected) in [
        (
            Venue::Coinbase,
            &[
                r#"{"channels":["level2_batch"],"product_ids":["BTC-USD"],"type":"unsubscribe"}"#,
                r#"{"channels":["level2_batch"],"product_ids":["BTC-USD"],"type":"subscribe"}"#,
            ][..],
        ),
        (Venue::Binance, &[]),
        (
            Venue::Kraken,
            &[
                r#"{"method":"unsubscribe","params":{"channel":"book","depth":25,"symbol":["BTC/USD"]},"req_id":7}"#,
                r#"{"method":"subscribe","params":{"channel":"book","depth":25,"snapshot":true,"symbol":["BTC/USD"]},"req_id":8}"#,
            ],
        ),
        (
            Venue::Deribit,
            &[
                r#"{"id":7,"jsonrpc":"2.0","method":"public/unsubscribe","params":{"channels":["book.BTC-PERPETUAL.100ms"]}}"#,
                r#"{"id":8,"jsonrpc":"2.0","method":"public/subscribe","params":{"channels":["book.BTC-PERPETUAL.100ms"]}}"#,
            ],
        ),
        (Venue::Bitstamp, &[]),
    ] {
        let pair = venue.pair(&products(venue)[0]).unwrap();
        let requests = (venue.adapter().books.resubscribe)(&pair, follow("book"), 7);
        let texts: Vec<&str> = requests.iter().map(|request| request.text.as_str()).collect();
        assert_eq!(texts, expected, "{venue}");
        assert!(requests.iter().map(|request| request.id).eq((7..).take(expected.len())));
    }
}

#[test]
fn instruments_of_kraken_are_asked_for_once() {
    let streams = ["instrument".to_owned(), "book:BTC/USD".into(), "trade:BTC/USD".into()];
    let requests = Venue::Kraken.adapter().subscriptions.requests;
    let asked = |first_id| {
        let requests = requests(&streams, Follow::ALL, first_id);
        let ids: Vec<u64> = requests.iter().map(|request| request.id).collect();
        let of_listing = |text: &str| text.contains("\"instrument\"");
        let places: Vec<usize> =
            (0..requests.len()).filter(|place| of_listing(&requests[*place].text)).collect();
        (ids, places)
    };
    assert_eq!(asked(1), (vec![1, 2, 3], vec![0]), "before the books");
    assert_eq!(asked(9), (vec![9, 10, 11], vec![2]));
    let granted = (Venue::Kraken.adapter().subscriptions.expected)(&streams, Follow::ALL);
    assert!(granted.contains(&Subscription::stream("kraken", "instrument")));
}

#[test]
fn channels_are_read_and_an_unknown_one_names_those_that_exist() {
    let read = |text: &str| text.parse::<Channels>().map(|channels| channels.to_string());
    assert_eq!(read(" book , trades"), Ok("trades,book".into()));
    for unknown in ["", "trades,", "Book", "quotes"] {
        let error = read(unknown).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("name one or more of trades, ticker, book"), "{error}");
    }
}
