//! The table of a venue: every value and function in which venues differ.
//!
//! A caller never asks which venue it has. A new kind of record is a new variant of `Message`, a
//! new ability of a venue is a new field here.

use std::time::Duration;

use schemas::{PairKey, Timestamp};

use crate::book::{BookFrame, BookMessage, Rules, Terms};
use crate::channel::{Follow, TickerInterval};
use crate::history::TradeHistory;
use crate::instrument::{Class, Instrument};
use crate::limits::Limits;
use crate::malformed::Result;
use crate::message::{Parsed, Subscription};
use crate::request::{HttpRequest, Request, SocketRequest};

/// The streams of some products or currencies.
pub type StreamsOf = fn(&[String], Follow) -> Vec<String>;

/// A venue's protocol.
#[derive(Debug)]
pub struct Adapter {
    /// The name in keys, captures and metrics.
    pub name: &'static str,
    /// A product in the venue's notation, for error messages.
    pub example: &'static str,
    /// The addresses.
    pub endpoints: Endpoints,
    /// The limits of one address.
    pub limits: Limits,
    /// The kinds of message, as `Parsed::kind` has them.
    pub kinds: &'static [&'static str],
    /// The kind of message that aggregates trades which are also sent one by one.
    pub aggregate: Option<&'static str>,
    /// The pair of a product in the venue's notation.
    pub pair: fn(&str) -> Result<PairKey>,
    /// The class of an instrument by its name.
    pub class: fn(&str) -> Class,
    /// Trade ids are dense per pair: a jump means that trades were missed. Without it, only the
    /// feed's clock tells what was missed.
    pub dense_trade_ids: bool,
    /// Streams and how to subscribe to them.
    pub subscriptions: Subscriptions,
    /// Appends the messages of one text frame, received at a time. The parts that can be parsed
    /// are appended even if another part is malformed.
    pub parse: fn(&str, Timestamp, &mut Vec<Parsed>) -> Result<()>,
    /// Whole tickers; `None` where the venue sends prices only.
    pub tickers: Option<Tickers>,
    /// Order books.
    pub books: Books,
    /// Signs of life of a connection.
    pub liveness: Liveness,
    /// The instruments that the venue lists.
    pub listing: Listing,
    /// The trades of the past. `None` where nothing tells which trades were missed.
    pub history: Option<TradeHistory>,
}

/// A venue's addresses.
#[derive(Debug)]
pub struct Endpoints {
    /// The public feed.
    pub feed: &'static str,
    /// The public HTTP requests.
    pub rest: &'static str,
    /// The requests for trades of the past.
    pub history: &'static str,
    /// The path of [`Self::rest`]: another host has it too.
    pub rest_path: &'static str,
    /// The cheapest request: its answer dates the venue's clock.
    pub time_path: &'static str,
}

/// A venue's streams and how to subscribe to them.
#[derive(Debug)]
pub struct Subscriptions {
    /// The streams of products: a connection subscribes them, and its limit counts them.
    pub streams: StreamsOf,
    /// The streams by which a newly listed instrument is followed.
    pub streams_of_listed: fn(&str, Follow) -> Vec<String>,
    /// The class whose instruments send over a stream; `None` where it may stay silent.
    pub class_of_stream: fn(&str) -> Option<Class>,
    /// The requests that subscribe to streams, with ids from the last argument on.
    pub requests: fn(&[String], Follow, u64) -> Vec<SocketRequest>,
    /// The subscriptions that the venue acknowledges after [`Self::requests`].
    pub expected: fn(&[String], Follow) -> Vec<Subscription>,
    /// An acknowledgement of no subscription at all means that the venue refused.
    pub empty_is_refusal: bool,
}

/// A venue's whole tickers: prices, greeks, funding and the state of each instrument.
#[derive(Debug)]
pub struct Tickers {
    /// The intervals that can be asked for.
    pub intervals: &'static [TickerInterval],
    /// The instrument whose ticker comes over a stream. `None` for any other stream.
    pub instrument_of_stream: fn(&str) -> Option<&str>,
}

/// A venue's order books.
#[derive(Debug)]
pub struct Books {
    /// The kinds of message in which [`Self::parse`] may find book messages.
    pub kinds: &'static [&'static str],
    /// The levels of a side that can be asked for; empty where the venue offers no choice.
    pub depths: &'static [usize],
    /// The levels of a side without a choice; `None` is all of them.
    pub default_depth: Option<usize>,
    /// The pair whose book comes over a stream. `None` for any other stream.
    pub pair_of_stream: fn(&str) -> Option<PairKey>,
    /// The product whose book every connection follows for its clock: it may come unasked.
    pub clock_product: Option<&'static str>,
    /// Appends the book messages of one text frame; a frame of another kind has none. A frame whose
    /// levels cannot be read is an error and a [`BookMessage::Lost`]; one whose pair cannot be read is
    /// an error alone, and only a proof shows which book lost it.
    pub parse: fn(&str, &mut Vec<BookMessage>) -> Result<()>,
    /// The request for the snapshot of a pair's book, at [`Endpoints::rest`]. `None` where the venue
    /// sends snapshots over the feed.
    pub snapshot_request: Option<fn(&PairKey, Follow) -> HttpRequest>,
    /// The time between two such requests of all pairs together. `None` where there is no request.
    pub snapshot_pace: Option<fn(Follow) -> Duration>,
    /// The snapshot in the answer to [`Self::snapshot_request`].
    pub snapshot: Option<fn(&str) -> Result<BookFrame>>,
    /// The product in the path of such a request; `None` for another path.
    pub product_of_request: fn(&str) -> Option<&str>,
    /// The requests that subscribe the book of one pair again, with ids from the last argument on: the
    /// venue answers with a new snapshot. Empty where snapshots are fetched.
    pub resubscribe: fn(&PairKey, Follow, u64) -> Vec<SocketRequest>,
    /// The rules of a book that is followed so, with these terms. Only Kraken has terms, and none of
    /// its books has rules without them.
    pub rules: fn(Follow, Option<Terms>) -> Option<Rules>,
}

/// Signs of life of a connection.
#[derive(Debug)]
pub struct Liveness {
    /// A text that is sent at an interval: the answer tells the venue's clock.
    pub keepalive: Option<(Duration, &'static str)>,
    /// The age at which a connection is replaced: the venue closes it an hour later.
    pub lifetime: Option<Duration>,
    /// A ping or pong proves that the connection lives: the venue has no heartbeat.
    pub pings_count: bool,
    /// The channel whose messages tell the venue's clock, one for each pair.
    pub heartbeat_channel: Option<&'static str>,
}

/// The instruments that a venue lists.
#[derive(Debug)]
pub struct Listing {
    /// The requests for the listing of these currencies; venues that list all at once ignore them.
    pub requests: fn(&[String]) -> Vec<Request>,
    /// A text frame is the answer to a request over the socket.
    pub is_answer: fn(&str) -> bool,
    /// The instruments of an answer.
    pub parse: fn(&str) -> Result<Vec<Instrument>>,
    /// The streams that announce changes of the whole listing.
    pub change_streams: &'static [&'static str],
    /// The streams of whole currencies, where the venue has them: trades, and changes of the
    /// listing. Such a venue lists by currency.
    pub currency_streams: Option<StreamsOf>,
}
