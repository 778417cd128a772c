//! Binance spot.

mod book;
mod history;
mod limits;
mod protocol;

use std::time::Duration;

use crate::adapter::{Adapter, Books, Endpoints, Listing, Liveness, Subscriptions};
use crate::book::Rules;
use crate::history::TradeHistory;
use crate::instrument::Class;
use crate::message::Subscription;
use crate::request::{HttpRequest, Request};

/// The name in keys, captures and metrics.
const NAME: &str = "binance";
/// The listing request.
const LISTING: &str = "/api/v3/exchangeInfo?permissions=SPOT";

/// The table of the venue.
pub static ADAPTER: Adapter = Adapter {
    name: NAME,
    example: "BTCUSDT",
    endpoints: Endpoints {
        feed: "wss://data-stream.binance.vision/ws",
        rest: "https://data-api.binance.vision",
        // The address of market data does not serve `historicalTrades`.
        history: "https://api.binance.com",
        rest_path: "",
        time_path: "/api/v3/time",
    },
    limits: limits::LIMITS,
    kinds: &protocol::KINDS,
    aggregate: Some(protocol::AGGREGATE),
    pair: protocol::pair,
    class: |_| Class::Spot,
    dense_trade_ids: true,
    subscriptions: Subscriptions {
        streams: protocol::streams,
        streams_of_listed: |name, follow| protocol::streams(&[name.to_owned()], follow),
        // A book gives no events.
        class_of_stream: |name| protocol::pair_of_stream(name).is_none().then_some(Class::Spot),
        requests: protocol::subscribe,
        expected: |streams, _| Subscription::streams(NAME, streams),
        empty_is_refusal: false,
    },
    parse: protocol::parse,
    tickers: None,
    books: Books {
        kinds: &["depthUpdate"],
        depths: &[100, 500, 1_000, 5_000],
        default_depth: Some(1_000),
        pair_of_stream: protocol::pair_of_stream,
        clock_product: None,
        parse: book::parse,
        snapshot_request: Some(book::snapshot_request),
        snapshot_pace: Some(limits::snapshot_pace),
        snapshot: Some(book::snapshot),
        product_of_request: book::product_of_request,
        resubscribe: |_, _, _| Vec::new(),
        rules: |follow, _| Some(Rules::Joined { limit: book::limit(follow) }),
    },
    liveness: Liveness {
        keepalive: None,
        lifetime: Some(Duration::from_hours(23)),
        pings_count: true,
        heartbeat_channel: None,
    },
    listing: Listing {
        requests: |_| vec![Request::Http(HttpRequest { path: LISTING.into() })],
        is_answer: |_| false,
        parse: protocol::instruments,
        change_streams: &[],
        currency_streams: None,
    },
    history: Some(TradeHistory {
        first_cursor: |missing| missing.first,
        request: history::request,
        parse: history::parse,
        pace: limits::HISTORY_PACE,
    }),
};
