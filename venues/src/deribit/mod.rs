//! Deribit: futures, perpetuals, options and spot.

mod book;
mod history;
mod limits;
mod listing;
mod names;
mod protocol;
mod ticker;

use crate::adapter::{Adapter, Books, Endpoints, Listing, Liveness, Subscriptions, Tickers};
use crate::book::Rules;
use crate::channel::TickerInterval;
use crate::history::TradeHistory;
use crate::message::Subscription;

/// The name in keys, captures and metrics.
const NAME: &str = "deribit";
/// The public HTTP requests: `public/get_instruments` lists,
/// `public/get_last_trades_by_instrument` looks back.
const REST: &str = "https://www.deribit.com/api/v2";

/// The table of the venue.
pub static ADAPTER: Adapter = Adapter {
    name: NAME,
    example: "BTC-PERPETUAL",
    endpoints: Endpoints {
        feed: "wss://www.deribit.com/ws/api/v2",
        rest: REST,
        history: REST,
        rest_path: "/api/v2",
        time_path: "/public/get_time",
    },
    limits: limits::LIMITS,
    kinds: &protocol::KINDS,
    aggregate: None,
    pair: names::pair,
    class: names::class,
    dense_trade_ids: true,
    subscriptions: Subscriptions {
        streams: protocol::streams,
        streams_of_listed: protocol::streams_of_listed,
        class_of_stream: protocol::class_of_stream,
        requests: protocol::subscribe,
        expected: |streams, _| Subscription::streams(NAME, streams),
        empty_is_refusal: false,
    },
    parse: protocol::parse,
    tickers: Some(Tickers {
        intervals: &TickerInterval::ALL,
        instrument_of_stream: protocol::instrument_of_stream,
    }),
    books: Books {
        kinds: &["book"],
        depths: &[],
        default_depth: None,
        pair_of_stream: protocol::pair_of_stream,
        clock_product: None,
        parse: book::parse,
        snapshot_request: None,
        snapshot_pace: None,
        snapshot: None,
        product_of_request: |_| None,
        resubscribe: protocol::resubscribe_book,
        rules: |_, _| Some(Rules::Chained),
    },
    liveness: Liveness {
        keepalive: Some(protocol::KEEPALIVE),
        lifetime: None,
        pings_count: false,
        heartbeat_channel: None,
    },
    listing: Listing {
        requests: listing::requests,
        is_answer: |_| false,
        parse: listing::instruments,
        change_streams: &[],
        currency_streams: Some(protocol::currency_streams),
    },
    history: Some(TradeHistory {
        first_cursor: |missing| missing.first,
        request: history::request,
        parse: history::parse,
        pace: limits::HISTORY_PACE,
    }),
};
