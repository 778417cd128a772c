//! Kraken spot, version 2 of its feed.

mod book;
mod history;
mod limits;
mod protocol;

use crate::adapter::{Adapter, Books, Endpoints, Listing, Liveness, Subscriptions};
use crate::book::Rules;
use crate::history::TradeHistory;
use crate::instrument::Class;
use crate::request::Request;

/// The name in keys, captures and metrics.
const NAME: &str = "kraken";
/// The public HTTP requests: `/0/public/Trades` looks back; the listing comes over the feed.
const REST: &str = "https://api.kraken.com";

/// The table of the venue.
pub static ADAPTER: Adapter = Adapter {
    name: NAME,
    example: "BTC/USD",
    endpoints: Endpoints {
        feed: "wss://ws.kraken.com/v2",
        rest: REST,
        history: REST,
        rest_path: "",
        time_path: "/0/public/Time",
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
        class_of_stream: protocol::class_of_stream,
        requests: protocol::subscribe,
        expected: protocol::expected,
        empty_is_refusal: false,
    },
    parse: protocol::parse,
    tickers: None,
    books: Books {
        kinds: &[protocol::BOOK, protocol::INSTRUMENT, "subscribe"],
        depths: &book::DEPTHS,
        default_depth: Some(book::DEFAULT_DEPTH),
        pair_of_stream: protocol::pair_of_stream,
        clock_product: None,
        parse: book::parse,
        snapshot_request: None,
        snapshot_pace: None,
        snapshot: None,
        product_of_request: |_| None,
        resubscribe: book::resubscribe,
        rules: |_, terms| terms.map(Rules::Checksummed),
    },
    liveness: Liveness {
        keepalive: Some(protocol::KEEPALIVE),
        lifetime: None,
        pings_count: false,
        heartbeat_channel: None,
    },
    listing: Listing {
        requests: |_| vec![Request::Socket(protocol::listing_request(1))],
        is_answer: protocol::is_listing,
        parse: protocol::instruments,
        change_streams: &[protocol::INSTRUMENT],
        currency_streams: None,
    },
    history: Some(TradeHistory {
        first_cursor: history::first_cursor,
        request: history::request,
        parse: history::parse,
        pace: limits::HISTORY_PACE,
    }),
};
