//! Coinbase Exchange.

mod book;
mod history;
mod limits;
mod protocol;

use crate::adapter::{Adapter, Books, Endpoints, Listing, Liveness, Subscriptions};
use crate::book::Rules;
use crate::history::TradeHistory;
use crate::instrument::Class;
use crate::request::{HttpRequest, Request};

/// The name in keys, captures and metrics.
const NAME: &str = "coinbase";
/// The public HTTP requests: `GET /products` lists, `GET /products/{id}/trades` looks back.
const REST: &str = "https://api.exchange.coinbase.com";

/// The table of the venue.
pub static ADAPTER: Adapter = Adapter {
    name: NAME,
    example: "BTC-USD",
    endpoints: Endpoints {
        feed: "wss://ws-feed.exchange.coinbase.com",
        rest: REST,
        history: REST,
        rest_path: "",
        time_path: "/time",
    },
    limits: limits::LIMITS,
    kinds: &protocol::KINDS,
    aggregate: None,
    pair: protocol::pair,
    class: |_| Class::Spot,
    dense_trade_ids: true,
    subscriptions: Subscriptions {
        streams: protocol::streams,
        streams_of_listed: |name, follow| protocol::streams(&[name.to_owned()], follow),
        // A book gives no events.
        class_of_stream: |name| protocol::pair_of_stream(name).is_none().then_some(Class::Spot),
        requests: protocol::subscribe,
        expected: protocol::expected,
        empty_is_refusal: true,
    },
    parse: protocol::parse,
    tickers: None,
    books: Books {
        kinds: &["snapshot", "l2update"],
        depths: &[book::OPEN_DEPTH],
        default_depth: None,
        pair_of_stream: protocol::pair_of_stream,
        clock_product: None,
        parse: book::parse,
        snapshot_request: None,
        snapshot_pace: None,
        snapshot: None,
        product_of_request: |_| None,
        resubscribe: book::resubscribe,
        rules: |_, _| Some(Rules::Plain),
    },
    liveness: Liveness {
        keepalive: None,
        lifetime: None,
        pings_count: false,
        heartbeat_channel: Some(protocol::HEARTBEAT),
    },
    listing: Listing {
        requests: |_| vec![Request::Http(HttpRequest { path: "/products".into() })],
        is_answer: |_| false,
        parse: protocol::instruments,
        change_streams: &[],
        currency_streams: None,
    },
    history: Some(TradeHistory {
        first_cursor: |missing| missing.last.saturating_add(1),
        request: history::request,
        parse: history::parse,
        pace: limits::HISTORY_PACE,
    }),
};
