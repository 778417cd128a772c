//! The session of one client, for every simulated venue.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::book::followed::SlowSnapshot;
use crate::book::update::Update;
use crate::http::{QueryString, Response};
use crate::listings::ListingChange;
use crate::market::{Market, Product, Trade};
use crate::reply::Reply;
use crate::venue::Venue;
use crate::{binance, bitstamp, coinbase, deribit, kraken};

/// The terms that are the same for all clients of a venue.
#[derive(Clone, Debug)]
pub struct Service {
    /// The credits of an address with Deribit.
    pub credits: Arc<Mutex<deribit::Credits>>,
    /// The delay of snapshots.
    pub slow: SlowSnapshot,
    /// The channels that Coinbase refuses to those it does not know.
    pub refused: Arc<[String]>,
}

impl Service {
    /// Without faults.
    pub fn new(now_us: i64) -> Self {
        let credits = Arc::new(Mutex::new(deribit::Credits::new(now_us)));
        Self { credits, slow: SlowSnapshot::default(), refused: Arc::default() }
    }
}

/// The subscriptions of one client.
#[derive(Debug)]
pub enum Session {
    /// With Coinbase.
    Coinbase(coinbase::Session),
    /// With Binance.
    Binance(binance::Session),
    /// With Kraken.
    Kraken(kraken::Session),
    /// With Deribit.
    Deribit(deribit::Session),
    /// With Bitstamp.
    Bitstamp(bitstamp::Session),
}

impl Session {
    /// A new client.
    pub fn new(venue: Venue, service: &Service) -> Self {
        match venue {
            Venue::Coinbase => {
                Self::Coinbase(coinbase::Session::new(Arc::clone(&service.refused), service.slow))
            }
            Venue::Binance => Self::Binance(binance::Session::default()),
            Venue::Kraken => Self::Kraken(kraken::Session::new(service.slow)),
            Venue::Deribit => {
                Self::Deribit(deribit::Session::new(Arc::clone(&service.credits), service.slow))
            }
            Venue::Bitstamp => Self::Bitstamp(bitstamp::Session::default()),
        }
    }

    /// Subscribes to what the address of the feed names.
    pub fn open(&mut self, path: &str, query: &QueryString<'_>, market: &Market) {
        if let Self::Binance(session) = self {
            session.open(path, query, market);
        }
    }

    /// The texts before the first request.
    pub fn greeting(&self) -> Vec<String> {
        match self {
            Self::Kraken(_) => vec![kraken::Session::greeting()],
            _ => Vec::new(),
        }
    }

    /// How long a client may take to subscribe.
    pub fn subscribe_within(&self) -> Duration {
        Duration::from_secs(match self {
            Self::Coinbase(_) => 5,
            _ => 60,
        })
    }

    /// How often the venue sends a ping, whose payload must come back.
    pub fn ping_every(&self) -> Option<Duration> {
        matches!(self, Self::Binance(_)).then(|| Duration::from_secs(20))
    }

    /// Something is subscribed.
    pub fn is_subscribed(&self) -> bool {
        match self {
            Self::Coinbase(session) => session.is_subscribed(),
            Self::Binance(session) => session.is_subscribed(),
            Self::Kraken(session) => session.is_subscribed(),
            Self::Deribit(session) => session.is_subscribed(),
            Self::Bitstamp(session) => session.is_subscribed(),
        }
    }

    /// The answers to a client's message.
    pub fn request(&mut self, text: &str, market: &Market, now_us: i64) -> Reply {
        match self {
            Self::Coinbase(session) => session.request(text, market, now_us),
            Self::Binance(session) => session.request(text, market, now_us),
            Self::Kraken(session) => session.request(text, market, now_us),
            Self::Deribit(session) => session.request(text, market, now_us),
            Self::Bitstamp(session) => session.request(text, market),
        }
    }

    /// The message asks for a subscription, and is refused; `None` when it asks for none.
    pub fn refusal(&self, text: &str) -> Option<String> {
        if !text.to_lowercase().contains("subscribe\"") {
            return None;
        }
        Some(match self {
            Self::Coinbase(_) => coinbase::Session::refusal(),
            Self::Binance(_) => binance::Session::refusal(text),
            Self::Kraken(_) => kraken::Session::refusal(text),
            Self::Deribit(_) => deribit::Session::refusal(text),
            Self::Bitstamp(_) => bitstamp::Session::refusal(),
        })
    }

    /// The ticker that a trade sends at once, if this client follows it.
    pub fn ticker(&mut self, market: &[Product], trade: &Trade) -> Option<String> {
        match self {
            Self::Coinbase(session) => session.ticker(market, trade),
            Self::Binance(session) => session.best(market, trade),
            Self::Bitstamp(_) => None,
            Self::Kraken(session) => session.ticker(market, trade),
            Self::Deribit(session) => {
                session.traded(trade);
                None
            }
        }
    }

    /// The parts of a book's update that this client receives.
    pub fn book(&mut self, market: &[Product], update: &Update) -> Vec<String> {
        let one = match self {
            Self::Coinbase(session) => return session.book(market, update),
            Self::Binance(session) => return session.book(market, update),
            Self::Kraken(session) => session.book(market, update),
            Self::Deribit(session) => session.book(market, update),
            Self::Bitstamp(session) => session.book(market, update),
        };
        one.into_iter().collect()
    }

    /// The trade, if this client follows it.
    pub fn matched(&self, market: &[Product], trade: &Trade) -> Option<String> {
        match self {
            Self::Coinbase(session) => session.matched(market, trade),
            Self::Binance(session) => session.matched(market, trade),
            Self::Kraken(session) => session.matched(market, trade),
            Self::Deribit(session) => session.matched(market, trade),
            Self::Bitstamp(session) => session.matched(market, trade),
        }
    }

    /// The texts that are due in this second.
    pub fn beat(&mut self, market: &Market, now_us: i64) -> Reply {
        match self {
            Self::Coinbase(session) => session.heartbeats(market, now_us).into(),
            Self::Binance(session) => session.beat(market, now_us),
            Self::Kraken(session) => session.beat(),
            Self::Deribit(session) => session.beat(now_us),
            Self::Bitstamp(session) => session.beat(market, now_us),
        }
    }

    /// Tickers are subscribed that come with the ticks of the surface.
    pub fn has_tickers(&self) -> bool {
        matches!(self, Self::Deribit(session) if session.has_tickers())
    }

    /// The tickers that are due in a tick of the surface.
    pub fn tick(&mut self, market: &Market, tick: u64, now_us: i64) -> Reply {
        match self {
            Self::Deribit(session) => session.tick(market, tick, now_us),
            _ => Reply::default(),
        }
    }

    /// The subscribed tickers, at venues that send them at an interval.
    pub fn tickers(&self, market: &Market, now_us: i64) -> Reply {
        match self {
            Self::Deribit(session) => session.tickers(market, now_us),
            _ => Reply::default(),
        }
    }

    /// The text before the venue closes for maintenance.
    pub fn maintenance(&self, now_us: i64) -> Option<String> {
        match self {
            Self::Coinbase(_) | Self::Deribit(_) => None,
            Self::Binance(_) => Some(binance::Session::maintenance(now_us)),
            Self::Kraken(_) => Some(kraken::Session::maintenance()),
            Self::Bitstamp(_) => Some(bitstamp::Session::maintenance()),
        }
    }

    /// The change of the listing, if this client follows it.
    pub fn change(&self, change: &ListingChange, now_us: i64) -> Option<String> {
        match self {
            Self::Deribit(session) => session.change(change, now_us),
            _ => None,
        }
    }
}

/// The answer to an HTTP request.
pub fn answer(
    venue: Venue,
    path: &str,
    query: &QueryString<'_>,
    market: &Market,
    now_us: i64,
) -> Response {
    match venue {
        Venue::Coinbase => coinbase::answer(path, query, market, now_us),
        Venue::Binance => binance::answer(path, query, market, now_us),
        Venue::Kraken => kraken::answer(path, query, market, now_us),
        Venue::Deribit => deribit::answer(path, query, market, now_us),
        Venue::Bitstamp => bitstamp::answer(path, market, now_us),
    }
}

/// The index of the product whose snapshot a request is for, where snapshots are fetched.
pub(crate) fn snapshot_of(
    venue: Venue,
    path: &str,
    query: &QueryString<'_>,
    market: &Market,
) -> Option<usize> {
    match venue {
        Venue::Binance => binance::snapshot_of(path, query, market),
        Venue::Bitstamp => bitstamp::snapshot_of(path, market),
        Venue::Coinbase | Venue::Kraken | Venue::Deribit => None,
    }
}

/// A snapshot from before the market began, where snapshots are fetched.
pub(crate) fn stale(
    venue: Venue,
    query: &QueryString<'_>,
    market: &Market,
    index: usize,
) -> Response {
    let (product, state) = (&market.products()[index], market.books().first(index));
    Response::ok(match venue {
        Venue::Bitstamp => bitstamp::order_book(product, state, state.time_us - 1),
        _ => binance::depth(product, state, state.sequence() - 1, query),
    })
}

/// The answer to a request over the budget.
pub(crate) fn limited(venue: Venue, retry_after: u64) -> Response {
    match venue {
        Venue::Coinbase => coinbase::limited(retry_after),
        Venue::Binance => binance::limited(retry_after),
        Venue::Kraken => kraken::limited(),
        Venue::Deribit => deribit::limited(),
        Venue::Bitstamp => bitstamp::limited(retry_after),
    }
}
