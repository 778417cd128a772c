//! What is asked: routes by their parts, pairs by how often they trade.

use std::rc::Rc;
use std::str::FromStr;

use anyhow::{Context as _, Error, Result, bail, ensure};
use producer::input::load::{Ids, Load, Pick};
use schemas::{PairKey, Timestamp};
use serde_json::json;

/// Pairs that are drawn in advance, and come again in the same order.
const DRAWN: u64 = 1 << 16;
/// Steps through the routes that come near each part's share from the first reads on: 2⁶⁴ divided
/// by the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A route of those that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Route {
    /// The newest price of a pair.
    One,
    /// Of many pairs.
    Many,
    /// Sixty candles.
    Candles,
    /// Every exchange.
    Exchanges,
    /// A base by quote and exchange.
    Base,
}

impl Route {
    pub(crate) const ALL: [(&'static str, Self); 5] = [
        ("one", Self::One),
        ("many", Self::Many),
        ("candles", Self::Candles),
        ("exchanges", Self::Exchanges),
        ("base", Self::Base),
    ];
}

/// `one=70`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share(Route, u64);

impl FromStr for Share {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, part) = text.split_once('=').context("a part is ROUTE=NUMBER")?;
        let Some((_, route)) = Route::ALL.into_iter().find(|(known, _)| *known == name) else {
            bail!("{name} is no route that is measured");
        };
        Ok(Self(route, part.parse()?))
    }
}

/// What all connections ask.
pub(crate) struct Mix {
    shares: Vec<Share>,
    all: u64,
    pairs: Vec<PairKey>,
    drawn: Vec<usize>,
    many: usize,
    from_ms: i64,
}

impl Mix {
    pub(crate) fn new(shares: &[Share], keys: u32, many: usize, from_ms: i64) -> Result<Self> {
        let all = shares.iter().map(|share| share.1).sum();
        ensure!(all > 0, "no route has a part");
        let load = Load {
            events: DRAWN,
            keys,
            ids: Ids::Dense,
            samples_percent: 0,
            seed: 1,
            event_rate: 1,
            pick: Pick::Zipf,
            disorder_percent: 0,
            disorder_ms: 1,
            start: Timestamp(0),
        };
        let drawn = load.events().map(|(key, _)| key).collect();
        Ok(Self { shares: shares.to_vec(), all, pairs: load.pairs(), drawn, many, from_ms })
    }

    fn route(&self, index: u64) -> Route {
        // The upper half, brought to the sum of the parts.
        let point = (index.wrapping_mul(STEP) >> 32).wrapping_mul(self.all) >> 32;
        let mut below = 0;
        for share in &self.shares {
            below += share.1;
            if point < below {
                return share.0;
            }
        }
        Route::One
    }
}

/// What one connection asks next.
pub(crate) struct Requests {
    mix: Rc<Mix>,
    index: u64,
    pair: usize,
}

impl Requests {
    /// Each connection begins elsewhere.
    pub(crate) fn new(mix: Rc<Mix>, connection: u32) -> Self {
        let begin = connection.wrapping_mul(7919);
        Self { mix, index: begin.into(), pair: begin as usize }
    }

    fn pair(&mut self) -> usize {
        self.pair += 1;
        self.mix.drawn[self.pair % self.mix.drawn.len()]
    }

    /// The route, and the request as it is sent.
    pub(crate) fn next(&mut self) -> (Route, Vec<u8>) {
        self.index += 1;
        let route = self.mix.route(self.index);
        let pair = self.pair();
        let PairKey { base, quote, exchange } = &self.mix.pairs[pair];
        let path = match route {
            Route::One => format!("/v1/latest?base={base}&quote={quote}&exchange={exchange}"),
            Route::Candles => format!(
                "/v1/candles?base={base}&quote={quote}&exchange={exchange}&from={}&limit=60",
                self.mix.from_ms
            ),
            Route::Exchanges => "/v1/exchanges".to_owned(),
            Route::Base => format!("/v1/bases/{base}"),
            Route::Many => return (route, self.array()),
        };
        (route, format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").into_bytes())
    }

    fn array(&mut self) -> Vec<u8> {
        let drawn: Vec<usize> = (0..self.mix.many).map(|_| self.pair()).collect();
        let pairs = drawn.into_iter().map(|pair| {
            let PairKey { base, quote, exchange } = &self.mix.pairs[pair];
            json!({ "base": base, "quote": quote, "exchange": exchange })
        });
        let body = pairs.collect::<serde_json::Value>().to_string();
        let head = "POST /v1/latest HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json";
        format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }
}
