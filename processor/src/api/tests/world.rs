//! The routes over a task that runs without a broker, and requests without a socket.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use prometheus::Registry;
use schemas::avro::Record;
use schemas::topic::Topic;
use schemas::{Codec, Decimal, FeedMark, MarketEvent, PairKey, Proof, Quote, Timestamp};
use serde_json::Value;
use streams::record::{Batch, Offset, SubTopologyId, TaskId};
use streams::runtime::{Queries, Stop};
use streams::store::{Committed, MemoryStore, Moment};
use streams::{Task, Topology};
use tower::ServiceExt as _;

use crate::api::store_reader::StoreReader;
use crate::api::{AccessPolicy, Budget, ReadService, router, stream};
use crate::topology::{Topologies, store_name, topology};

pub(super) type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// 2024-01-01T00:00:00Z.
pub(super) const EPOCH: i64 = 1_704_067_200_000;
/// A moment at which both clocks say the same.
fn moment(time: i64) -> Moment {
    Moment { wall: streams::record::Timestamp(time), up_ms: time }
}

/// The time of the routes.
pub(super) const NOW: Timestamp = Timestamp(EPOCH + 3_600_000);

/// A minute of the day, in milliseconds.
pub(super) const fn minute(minute: i64) -> i64 {
    EPOCH + minute * 60_000
}

/// One task, and its stores by name.
struct Part {
    task: Task,
    names: Vec<String>,
    next: i64,
}

impl Part {
    fn new(topology: &Topology, of: SubTopologyId) -> Outcome<Self> {
        let specs = topology.sub_topology(of).stores();
        let names = specs.iter().map(|spec| spec.name.clone()).collect();
        let mut task = Task::new(
            topology,
            TaskId::new(of.0, 0),
            specs.iter().map(|_| store()).collect(),
            1 << 20,
        )?;
        task.run(None);
        Ok(Self { task, names, next: 0 })
    }

    fn pipe(&mut self, key: &[u8], value: &[u8], time: i64) -> Outcome {
        let mut batch = Batch::default();
        let time = streams::record::Timestamp(time);
        batch.push(Offset(self.next), time, key, Some(value));
        self.next += 1;
        self.task.add_records(batch);
        while self.task.process()? {}
        self.task.prepare_commit()?;
        self.task.post_commit();
        Ok(())
    }

    /// The stores with their names.
    fn stores(&self) -> impl Iterator<Item = (&str, &Arc<Committed>)> {
        self.names.iter().map(String::as_str).zip(self.task.stores())
    }
}

/// The stores of tokens, pools, swaps and indexes.
const SWAPS: [Topic; 7] = [
    Topic::Index,
    Topic::Pools,
    Topic::PoolMinutes,
    Topic::Token5m,
    Topic::Token1h,
    Topic::SwapStatus,
    Topic::TokenPools,
];

fn store() -> Arc<Committed> {
    Arc::new(Committed::new(Box::new(MemoryStore::default())))
}

pub(super) struct World {
    codec: Arc<Codec>,
    prices: Part,
    quotes: Part,
    /// The table `books`.
    books: Arc<Committed>,
    /// The stores of options, their minutes, and futures.
    options: [(Topic, Arc<Committed>); 3],
    /// Two partitions of each store of tokens, pools and swaps.
    swaps: [Vec<(Topic, Arc<Committed>)>; 2],
    /// The memory of its readers.
    pub(super) budget: Budget,
}

impl World {
    pub(super) fn new() -> Outcome<Self> {
        let codec = Arc::new(Codec::offline());
        let topology = topology(&codec, "", Topologies::ALL)?;
        let part = |topic: Topic| {
            let of = topology.of_source(topic.base_name()).ok_or("no such source")?;
            Part::new(&topology, of)
        };
        let (prices, quotes) = (part(Topic::Events)?, part(Topic::Quotes)?);
        let budget = Budget::new(64 << 20);
        let options =
            [Topic::Options, Topic::Options1m, Topic::Derivatives].map(|topic| (topic, store()));
        let swaps = [(); 2].map(|()| SWAPS.map(|topic| (topic, store())).to_vec());
        Ok(Self { codec, prices, quotes, books: store(), options, swaps, budget })
    }

    /// A quote with sizes of one; a side without a price is empty.
    pub(super) fn quote(
        &mut self,
        pair: (&str, &str, &str),
        [bid, ask]: [Option<&str>; 2],
        time: i64,
    ) -> Outcome {
        let key = self.codec.to_bytes(&PairKey::new(pair.0, pair.1, pair.2));
        let price = |text: Option<&str>| text.map(str::parse::<Decimal>).transpose();
        let (bid, ask) = (price(bid)?, price(ask)?);
        let quote = Quote {
            bid,
            bid_size: bid.map(|_| Decimal::ONE),
            ask,
            ask_size: ask.map(|_| Decimal::ONE),
            ..Quote::empty(Proof::None, Timestamp(time))
        };
        let value = self.codec.to_bytes(&quote);
        self.quotes.pipe(&key, &value, time)
    }

    /// A mark of a pair's book: out of sync since `from`, and until a time if it is over.
    pub(super) fn lost_sync(
        &mut self,
        pair: (&str, &str, &str),
        from: i64,
        until: Option<i64>,
    ) -> Outcome {
        let now = until.unwrap_or(from);
        let mark = FeedMark {
            part: Some(schemas::Part::Book),
            reason: "SEQUENCE_GAP".into(),
            gap_from: until.map(|_| Timestamp(from)),
            gap_until: until.map(Timestamp),
            ..FeedMark::healthy("1", Timestamp(from), Timestamp(now))
        };
        let key = self.codec.to_bytes(&PairKey::new(pair.0, pair.1, pair.2));
        let value = self.codec.to_bytes(&mark);
        self.quotes.pipe(&key, &value, now)
    }

    /// Reads its stores.
    pub(super) fn reader(&self) -> StoreReader {
        StoreReader::of_task(&self.prices.task)
    }

    /// A trade of one unit.
    pub(super) fn trade(&mut self, pair: (&str, &str, &str), price: &str, time: i64) -> Outcome {
        let key = self.codec.to_bytes(&PairKey::new(pair.0, pair.1, pair.2));
        let event = MarketEvent::trade(price.parse()?, Decimal::ONE, Timestamp(time));
        let value = self.codec.to_bytes(&event);
        self.prices.pipe(&key, &value, time)
    }

    /// A feed's clock.
    pub(super) fn mark(&mut self, exchange: &str, time: i64, received_at: i64) -> Outcome {
        let mark = FeedMark::healthy("1", Timestamp(time), Timestamp(received_at));
        self.marked(exchange, &mark)
    }

    /// A feed was healthy for a while.
    pub(super) fn healthy(&mut self, exchange: &str, from: i64, until: i64) -> Outcome {
        let mark = FeedMark::healthy("1", Timestamp(until), Timestamp(until));
        self.marked(exchange, &FeedMark { healthy_from: Some(Timestamp(from)), ..mark })
    }

    fn marked(&mut self, exchange: &str, mark: &FeedMark) -> Outcome {
        let key = self.codec.to_bytes(&PairKey::feed(exchange));
        let value = self.codec.to_bytes(mark);
        self.prices.pipe(&key, &value, mark.received_at.0)
    }

    /// Every store with its name.
    fn stores(&self) -> impl Iterator<Item = (&str, &Arc<Committed>)> {
        let books = (store_name(Topic::Books), &self.books);
        let options = self.options.iter().map(|(topic, store)| (store_name(*topic), store));
        let swaps = self.swaps[0].iter().map(|(topic, store)| (store_name(*topic), store));
        self.prices.stores().chain(self.quotes.stores()).chain([books]).chain(options).chain(swaps)
    }

    /// Puts bytes into a partition of a store of tokens, pools or swaps.
    pub(super) fn put_bytes(&self, partition: usize, topic: Topic, key: &[u8], value: &[u8]) {
        let found = self.swaps[partition].iter().find(|(known, _)| *known == topic);
        if let Some((_, store)) = found {
            store.commit(std::iter::once((key, Some(value))));
        }
    }

    /// Takes a store of tokens, pools or swaps away.
    pub(super) fn forget(&mut self, topic: Topic) {
        for stores in &mut self.swaps {
            stores.retain(|(known, _)| *known != topic);
        }
    }

    /// Puts a value into a partition of a store of tokens, pools or swaps.
    pub(super) fn put_in(&self, partition: usize, topic: Topic, key: &[u8], value: &impl Record) {
        self.put_bytes(partition, topic, key, &self.codec.to_bytes(value));
    }

    /// Puts a value into the store of a topic.
    pub(super) fn put(&self, topic: Topic, key: &[u8], value: &impl Record) {
        let value = self.codec.to_bytes(value);
        let found = self.stores().find(|(name, _)| *name == store_name(topic));
        if let Some((_, store)) = found {
            store.commit(std::iter::once((key, Some(&value[..]))));
        }
    }

    /// The stores say that they are so old.
    pub(super) fn is_of(&self, next: i64, time: i64) {
        let further = self.swaps[1].iter().map(|(_, store)| store);
        for store in self.stores().map(|(_, store)| store).chain(further) {
            store.freshness().claims(Offset(next));
            store.freshness().complete(moment(time));
        }
    }

    pub(super) fn service(&self) -> ReadService {
        let stores = self.stores().map(|(name, store)| (name.to_owned(), Arc::clone(store)));
        let queries = Queries::of_partition(stores);
        for (topic, store) in &self.swaps[1] {
            queries.add(store_name(*topic), 1, Arc::clone(store));
        }
        let service = ReadService::new(
            queries,
            Arc::clone(&self.codec),
            Registry::new(),
            self.budget.clone(),
        );
        ReadService { now: || NOW, moment: || moment(NOW.0), ..service }
    }

    pub(super) fn routes(&self) -> Router {
        self.guarded(&open())
    }

    pub(super) fn guarded(&self, guards: &AccessPolicy) -> Router {
        router(self.service(), guards, Router::new()).unwrap()
    }

    /// With the streaming routes, which have so many places, and what ends the thread behind them.
    pub(super) fn streaming(&self, guards: &AccessPolicy, places: u32) -> Outcome<(Router, Hub)> {
        let (service, hub) = (self.service(), Hub(Stop::default()));
        let options = stream::StreamOptions {
            stream_updates_per_second: 4,
            stream_max_clients: places,
            allowed_origins: Vec::new(),
        };
        let streaming = stream::router(&service, &options, &hub.0)?;
        Ok((router(service, guards, streaming)?, hub))
    }
}

/// The thread behind the streaming routes. Dropped, it ends.
pub(super) struct Hub(Stop);

impl Drop for Hub {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// Anybody may anything.
pub(super) fn open() -> AccessPolicy {
    AccessPolicy {
        token: None,
        origins: Vec::new(),
        rate: None,
        max_reads: 100,
        timeout: Duration::from_mins(1),
    }
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

pub(super) async fn send(routes: &Router, request: Request<Body>) -> Outcome<Answer> {
    let response = routes.clone().oneshot(request).await?;
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await?.to_vec();
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}

/// `GET`, with headers.
pub(super) async fn get(routes: &Router, path: &str, headers: &[(&str, &str)]) -> Outcome<Answer> {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(routes, request.body(Body::empty())?).await
}

/// `POST` of JSON.
pub(super) async fn post(routes: &Router, path: &str, body: &str) -> Outcome<Answer> {
    let request = Request::post(path).header("content-type", "application/json");
    send(routes, request.body(Body::from(body.to_owned()))?).await
}

/// A world of a few pairs: two exchanges, quiet minutes, and a price far off.
pub(super) fn small() -> Outcome<World> {
    let mut world = World::new()?;
    let coinbase = ("BTC", "USD", "coinbase");
    world.trade(coinbase, "100", minute(0))?;
    world.trade(coinbase, "101.5", minute(0) + 1_000)?;
    world.trade(coinbase, "99", minute(3))?;
    world.trade(("ETH", "USD", "coinbase"), "10", minute(4))?;
    world.trade(("BTC", "USD", "kraken"), "98", minute(3))?;
    world.trade(("BTC", "USD", "binance"), "150", minute(3))?;
    world.trade(("BTC", "EUR", "kraken"), "90", minute(1))?;
    world.mark("coinbase", minute(6), NOW.0 - 1_000)?;
    world.mark("kraken", minute(3) + 500, NOW.0 - 60_000)?;
    super::books::fill(&world)?;
    super::options::fill(&world)?;
    super::swaps::fill(&world)?;
    super::index::fill(&world)?;
    world.is_of(42, NOW.0 - 250);
    Ok(world)
}

/// The topic of everything that a world is made of.
pub(super) const LATEST: &str = Topic::Latest.base_name();
