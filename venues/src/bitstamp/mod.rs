//! Bitstamp.

mod book;
mod limits;
mod protocol;

use crate::adapter::{Adapter, Books, Endpoints, Listing, Liveness, Subscriptions};
use crate::book::Rules;
use crate::instrument::Class;
use crate::message::Subscription;
use crate::request::{HttpRequest, Request};

/// The name in keys, captures and metrics.
const NAME: &str = "bitstamp";
/// The public HTTP requests: `/api/v2/markets/` lists.
const REST: &str = "https://www.bitstamp.net";

/// The table of the venue.
pub static ADAPTER: Adapter = Adapter {
    name: NAME,
    example: "btcusd",
    endpoints: Endpoints {
        feed: "wss://ws.bitstamp.net",
        rest: REST,
        history: REST,
        rest_path: "",
        time_path: "/api/v2/ticker/btcusd/",
    },
    limits: limits::LIMITS,
    kinds: &protocol::KINDS,
    aggregate: None,
    pair: protocol::pair,
    class: |_| Class::Spot,
    // An id counts the trades of the whole venue.
    dense_trade_ids: false,
    subscriptions: Subscriptions {
        streams: protocol::streams,
        streams_of_listed: |name, follow| protocol::streams(&[name.to_owned()], follow),
        // A pair may not trade for hours.
        class_of_stream: |_| None,
        requests: protocol::subscribe,
        expected: |streams, _| Subscription::streams(NAME, streams),
        empty_is_refusal: false,
    },
    parse: protocol::parse,
    tickers: None,
    books: Books {
        kinds: &["data"],
        depths: &[],
        default_depth: None,
        pair_of_stream: protocol::pair_of_stream,
        clock_product: Some(protocol::CLOCK_PRODUCT),
        parse: book::parse,
        snapshot_request: Some(book::snapshot_request),
        snapshot_pace: Some(limits::snapshot_pace),
        snapshot: Some(book::snapshot),
        product_of_request: book::product_of_request,
        resubscribe: |_, _, _| Vec::new(),
        rules: |_, _| Some(Rules::Dated),
    },
    liveness: Liveness {
        keepalive: Some(protocol::KEEPALIVE),
        lifetime: None,
        pings_count: false,
        heartbeat_channel: None,
    },
    listing: Listing {
        requests: |_| vec![Request::Http(HttpRequest { path: "/api/v2/markets/".into() })],
        is_answer: |_| false,
        parse: protocol::instruments,
        change_streams: &[],
        currency_streams: None,
    },
    history: None,
};
