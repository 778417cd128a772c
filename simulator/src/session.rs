//! The session of one client, for every simulated venue.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::faults::Faults;
use crate::http::{QueryString, Response};
use crate::listings::ListingChange;
use crate::market::{Market, Product, Trade};
use crate::reply::Reply;
use crate::venue::Venue;
use crate::{binance, bitstamp, coinbase, deribit, kraken};

/// The subscriptions of one client.
#[derive(Debug)]
pub enum Session {
    /// With Coinbase.
    Coinbase(coinbase::Session),
    /// With Binance.
    Binance(binance::Session),
    /// With Kraken. Its books and faults are several times as large as the others' sessions.
    Kraken(Box<kraken::Session>),
    /// With Deribit.
    Deribit(deribit::Session),
    /// With Bitstamp.
    Bitstamp(bitstamp::Session),
}

impl Session {
    /// A new client; the faults concern the texts that it receives.
    pub fn new(venue: Venue, credits: &Arc<Mutex<deribit::Credits>>, faults: Faults) -> Self {
        match venue {
            Venue::Coinbase => Self::Coinbase(coinbase::Session::default()),
            Venue::Binance => Self::Binance(binance::Session::default()),
            Venue::Kraken => Self::Kraken(Box::new(kraken::Session::new(faults))),
            Venue::Deribit => Self::Deribit(deribit::Session::new(Arc::clone(credits))),
            Venue::Bitstamp => Self::Bitstamp(bitstamp::Session::default()),
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
            Self::Coinbase(session) => session.request(text, market).into(),
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
    pub fn ticker(&self, market: &[Product], trade: &Trade) -> Option<String> {
        match self {
            Self::Coinbase(session) => session.ticker(market, trade),
            // Once a second, whatever trades; and never.
            Self::Binance(_) | Self::Bitstamp(_) => None,
            Self::Kraken(session) => session.ticker(market, trade),
            Self::Deribit(session) => session.ticker(market, trade),
        }
    }

    /// The book update of a trade, if this client follows the book.
    pub fn book(&mut self, market: &[Product], trade: &Trade) -> Option<String> {
        match self {
            Self::Kraken(session) => session.book(market, trade),
            _ => None,
        }
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
            Self::Bitstamp(session) => session.beat(now_us),
        }
    }

    /// The subscribed tickers, at venues that send them at an interval.
    pub fn tickers(&self, market: &Market, now_us: i64) -> Vec<String> {
        match self {
            Self::Deribit(session) => session.tickers(market, now_us),
            _ => Vec::new(),
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

/// The answer to an HTTP request: the listing, or the trades of the past.
pub fn answer(
    venue: Venue,
    path: &str,
    query: &QueryString<'_>,
    market: &Market,
    now_us: i64,
) -> Response {
    match venue {
        Venue::Coinbase => coinbase::answer(path, query, market),
        Venue::Binance => binance::answer(path, query, market),
        Venue::Kraken => kraken::answer(path, query, market),
        Venue::Deribit => deribit::answer(path, query, market, now_us),
        Venue::Bitstamp => bitstamp::answer(path, market),
    }
}
