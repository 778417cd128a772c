//! The state that all connections of one simulated venue share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::broadcast;

use crate::clock::{self, Stopwatch};
use crate::config::SimulatorConfig;
use crate::deribit::{self, Credits};
use crate::faults::Faults;
use crate::http::{Head, Response};
use crate::limits::{Handshakes, Requests};
use crate::listings::{self, ListingChange};
use crate::market::{Market, Product, Trade};
use crate::venue::Venue;

/// A handshake that takes longer is given up.
pub(crate) const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// Trades that a slow client may be behind before the venue closes its connection.
const MAX_BEHIND: usize = 65_536;
/// Changes of the listing that a client may be behind.
const MAX_CHANGES: usize = 1024;

/// The market, the limits and the counters of a venue.
pub(crate) struct Shared {
    pub(crate) venue: Venue,
    /// Guards the one market: held to make the trades of a step and hand them to the broadcast,
    /// and to answer a request, so that an answer and the trades after it fit together. Never
    /// held across an await.
    market: Mutex<Market>,
    /// Names and tick sizes, which do not change.
    pub(crate) products: Vec<Product>,
    pub(crate) trades: broadcast::Sender<Arc<Trade>>,
    pub(crate) changes: broadcast::Sender<ListingChange>,
    pub(crate) tickers_every: Option<Duration>,
    pub(crate) faults: Faults,
    refused: AtomicU32,
    limited: AtomicU32,
    /// The market makes no trades.
    pub(crate) halted: AtomicBool,
    /// Guards the counters of HTTP requests; never held across an await.
    requests: Mutex<Requests>,
    pub(crate) credits: Arc<Mutex<Credits>>,
    /// Guards the handshakes of the last minutes, by address; never held across an await.
    handshakes: Mutex<HashMap<IpAddr, Handshakes>>,
    /// Guards the number of connections, by address; never held across an await.
    open: Mutex<HashMap<IpAddr, usize>>,
    watch: Stopwatch,
}

impl Shared {
    pub(crate) fn new(config: &SimulatorConfig) -> anyhow::Result<Self> {
        let faults = config.faults;
        let names = if config.products.is_empty() {
            listings::names(config.venue)
        } else {
            config.products.clone()
        };
        let now = now_us(&faults);
        let market = Market::new(config.seed, &names, now)?.forgetting(faults.forget_every);
        Ok(Self {
            venue: config.venue,
            products: market.products().to_vec(),
            market: Mutex::new(market),
            trades: broadcast::Sender::new(MAX_BEHIND),
            changes: broadcast::Sender::new(MAX_CHANGES),
            tickers_every: config.tickers_every,
            faults,
            refused: AtomicU32::new(0),
            limited: AtomicU32::new(0),
            halted: AtomicBool::new(false),
            requests: Mutex::new(Requests::new(config.venue, now)),
            credits: Arc::new(Mutex::new(Credits::new(now))),
            handshakes: Mutex::default(),
            open: Mutex::default(),
            watch: Stopwatch::start(),
        })
    }

    /// The venue's clock, in microseconds since the epoch.
    pub(crate) fn now_us(&self) -> i64 {
        now_us(&self.faults)
    }

    pub(crate) fn market(&self) -> MutexGuard<'_, Market> {
        self.market.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The faults refuse this subscription.
    pub(crate) fn refuses_subscription(&self) -> bool {
        takes(&self.refused, self.faults.refuse_first)
    }

    /// The refusal of a client over a limit, before anything else is read of it.
    pub(crate) fn refusal(&self, address: IpAddr, head: &Head, now_us: i64) -> Option<Response> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let full = open.get(&address).is_some_and(|open| *open > deribit::CONNECTIONS);
        drop(open);
        if head.upgrade {
            let wait = self.handshake_refused(address);
            let full = (self.venue == Venue::Deribit && full).then_some(1);
            return wait.or(full).map(|seconds| Response::limited(Value::Null).after(seconds));
        }
        if self.venue == Venue::Deribit && full {
            return Some(deribit::limited());
        }
        self.requests().refusal(&self.faults, now_us)
    }

    /// The seconds that a client must wait with its handshake.
    fn handshake_refused(&self, address: IpAddr) -> Option<u64> {
        if takes(&self.limited, self.faults.limit_first) {
            return Some(self.faults.retry_after.as_secs());
        }
        let limit = Handshakes::of(self.venue)?;
        let mut handshakes = self.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = handshakes.entry(address).or_insert(limit).admit(self.watch.elapsed()).err();
        refused.map(|wait| wait.as_secs().max(1))
    }
}

/// Now, by the clock of a venue with these faults, in microseconds since the epoch.
fn now_us(faults: &Faults) -> i64 {
    let ahead = i64::try_from(faults.clock_ahead.as_micros()).unwrap_or_default();
    clock::now_micros() + ahead
}

/// Counts one more; true while the count is within `most`.
fn takes(count: &AtomicU32, most: u32) -> bool {
    most > 0 && count.fetch_add(1, Ordering::Relaxed) < most
}

/// An open connection of an address; counted until it is dropped.
pub(crate) struct Open {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl Open {
    pub(crate) fn new(shared: &Arc<Shared>, address: IpAddr) -> Self {
        let mut open = shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open.entry(address).or_default() += 1;
        drop(open);
        Self { shared: Arc::clone(shared), address }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
        }
    }
}
