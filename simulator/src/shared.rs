//! The state that all connections of one simulated venue share.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::sync::broadcast;

use crate::book::followed::SlowSnapshot;
use crate::book::publisher::{Terms, interval_us};
use crate::book::settings::{BookSettings, SnapshotAnswer};
use crate::book::truth::Fault;
use crate::book::update::Update;
use crate::clock::{self, Stopwatch};
use crate::config::SimulatorConfig;
use crate::deribit;
use crate::faults::Faults;
use crate::http::{Head, Response};
use crate::limits::{Handshakes, Requests};
use crate::listings::{self, ListingChange};
use crate::market::{Market, Product, Trade};
use crate::session::{self, Service};
use crate::venue::Venue;

/// A handshake that takes longer is given up.
pub(crate) const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// Events that a slow client may be behind before the venue closes its connection.
const MAX_BEHIND: usize = 65_536;
/// Changes of the listing that a client may be behind: an expiry of the largest listing of two currencies.
const MAX_CHANGES: usize = 4_096;

/// Something that happens in the market.
#[derive(Debug)]
pub(crate) enum Event {
    /// The venue shows a new state of a book.
    Book(Update),
    /// A trade.
    Trade(Trade),
    /// The surface has other quotes.
    Tick {
        /// The number of its tick.
        number: u64,
        /// The time of all tickers of it, in microseconds since the epoch.
        time_us: i64,
    },
}

/// The market, the limits and the counters of a venue.
pub(crate) struct Shared {
    pub(crate) venue: Venue,
    /// Guards the one market: held to make the trades of a step and hand them to the broadcast,
    /// and to answer a request, so that an answer and the trades after it fit together. Never
    /// held across an await.
    market: Mutex<Market>,
    /// Names and tick sizes, which do not change.
    pub(crate) products: Vec<Product>,
    pub(crate) events: broadcast::Sender<Arc<Event>>,
    pub(crate) changes: broadcast::Sender<ListingChange>,
    pub(crate) tickers_every: Option<Duration>,
    pub(crate) faults: Faults,
    refused: AtomicU32,
    limited: AtomicU32,
    /// The market makes no trades.
    pub(crate) halted: AtomicBool,
    /// Guards the counters of HTTP requests; never held across an await.
    requests: Mutex<Requests>,
    pub(crate) service: Service,
    /// The answers to the next requests for a snapshot; never held across an await.
    snapshot_answers: Mutex<VecDeque<SnapshotAnswer>>,
    /// Guards the handshakes of the last minutes, by address; never held across an await.
    handshakes: Mutex<HashMap<IpAddr, Handshakes>>,
    /// Guards the number of connections, by address; never held across an await.
    open: Mutex<HashMap<IpAddr, usize>>,
    watch: Stopwatch,
}

impl Shared {
    pub(crate) fn new(config: &SimulatorConfig) -> anyhow::Result<Self> {
        let faults = config.faults;
        let now = now_us(&faults);
        let names = if config.products.is_empty() {
            listings::names_at(config.venue, now, &config.surface)
        } else {
            config.products.clone()
        };
        let market = Market::new(config.seed, &names, now)?.forgetting(faults.forget_every);
        let faulty = faulty(&config.books, &market)?;
        let mut market = market.showing(terms(config, faulty)).quoting(&config.surface, now);
        if config.books.truth.is_some() {
            market.books_mut().truth_mut().keep_lines();
            market.surface_mut().keep_lines();
        }
        let by_us = i64::try_from(config.books.slow_snapshot.as_micros()).unwrap_or(i64::MAX);
        let service = Service {
            slow: SlowSnapshot { product: faulty, by_us },
            refused: config.books.refuse_channels.clone().into(),
            ..Service::new(now)
        };
        Ok(Self {
            venue: config.venue,
            products: market.products().to_vec(),
            market: Mutex::new(market),
            events: broadcast::Sender::new(MAX_BEHIND),
            changes: broadcast::Sender::new(MAX_CHANGES),
            tickers_every: config.tickers_every,
            faults,
            refused: AtomicU32::new(0),
            limited: AtomicU32::new(0),
            halted: AtomicBool::new(false),
            requests: Mutex::new(Requests::new(config.venue, now)),
            service,
            snapshot_answers: Mutex::new(config.books.snapshot_answers.clone().into()),
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

    /// The answer to an HTTP request, and the time after which it is sent.
    pub(crate) fn answer(&self, head: &Head) -> (Response, Duration) {
        let mut market = self.market();
        // Read while no update can come between: a snapshot is dated by it.
        let now = self.now_us();
        let answer = session::answer(self.venue, &head.path, &head.query(), &market, now);
        if self.venue == Venue::Deribit && market.surface().keeps_lines() {
            let lines = deribit::truth(&head.path, &head.query(), &market, now);
            for line in lines {
                market.surface_mut().note(line);
            }
        }
        let snapshot = session::snapshot_of(self.venue, &head.path, &head.query(), &market);
        let slow = self.service.slow;
        let Some(index) = snapshot.filter(|index| *index == slow.product) else {
            return (answer, Duration::ZERO);
        };
        let mut answers = self.snapshot_answers.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = answers.pop_front().unwrap_or(SnapshotAnswer::Good);
        drop(answers);
        let wait = self.faults.retry_after.as_secs();
        let error = || Value::String("internal error".into());
        let answer = match kind {
            SnapshotAnswer::Good => answer,
            SnapshotAnswer::Stale => session::stale(self.venue, &head.query(), &market, index),
            SnapshotAnswer::Limited => session::limited(self.venue, wait),
            SnapshotAnswer::Banned => Response::banned(Value::Null).after(wait),
            SnapshotAnswer::Broken => Response::broken(error()),
            SnapshotAnswer::Unavailable => Response::unavailable(error()),
            SnapshotAnswer::Html => Response::page(),
            SnapshotAnswer::Half => answer.half(),
        };
        let truth = market.books_mut().truth_mut();
        match kind {
            SnapshotAnswer::Good => {}
            SnapshotAnswer::Stale => truth.fault(index, now, Fault::StaleSnapshot),
            _ => truth.fault(index, now, Fault::NoSnapshot),
        }
        if slow.by_us > 0 {
            truth.fault(index, now, Fault::SlowSnapshot);
        }
        (answer, Duration::from_micros(slow.by_us.unsigned_abs()))
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

/// The index of the product whose book has the faults.
fn faulty(settings: &BookSettings, market: &Market) -> anyhow::Result<usize> {
    let Some(name) = &settings.faulty_book else { return Ok(0) };
    market.find(name).with_context(|| {
        format!("--faulty-book: '{name}' is not in the market; name it in --products")
    })
}

fn terms(config: &SimulatorConfig, faulty: usize) -> Terms {
    Terms {
        levels: usize::from(config.books.levels),
        every_us: every_us(config),
        faulty,
        skip_every: config.books.skip_book_every,
        cross_every: config.books.cross_book_every,
        faults: config.faults,
    }
}

/// The interval of book updates, in microseconds.
fn every_us(config: &SimulatorConfig) -> i64 {
    let asked = config.books.book_interval.map(|every| i64::try_from(every.as_micros()));
    asked.map_or(interval_us(config.venue), |every| every.unwrap_or(i64::MAX))
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
