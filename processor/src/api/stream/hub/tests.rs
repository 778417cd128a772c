//! The hub over stores in memory: the messages of clients, turn by turn.

use anyhow::{Context as _, Result, bail, ensure};
use prometheus::Registry;
use schemas::{Basis, LatestPrice, MarketEvent, PairKey, Timestamp};
use serde_json::Value;
use streams::record::Offset;
use streams::store::{Committed, MemoryStore};
use tokio::sync::oneshot;

use super::super::client_queue::{ClientOutbox, QUEUE, queue};
use super::super::scans::{ScanJob, ScanJobResult, ScannerEnds};
use super::*;
use crate::operators::single;
use crate::store_keys;

#[cfg(test)]
#[path = "book_tests.rs"]
mod books;
#[cfg(test)]
#[path = "index_tests.rs"]
mod indexes;
#[cfg(test)]
#[path = "option_tests.rs"]
mod options;
#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod snapshots;
#[cfg(test)]
#[path = "swap_tests.rs"]
mod swaps;

/// A hub, its world and its turns.
struct World {
    hub: Hub,
    /// In place of the scanners.
    ends: ScannerEnds,
    stores: [Arc<Committed>; CHANNELS],
    next: i64,
}

struct Hearing {
    queue: ClientOutbox,
    end: oneshot::Receiver<CloseReason>,
}

impl Hearing {
    fn all(&mut self) -> Result<Vec<Value>> {
        let mut heard = Vec::new();
        while let Some(delivery) = self.queue.take() {
            for frame in delivery.frames() {
                heard.push(serde_json::from_str(&frame.text())?);
            }
        }
        Ok(heard)
    }
}

impl World {
    fn new() -> Result<Self> {
        Self::with_memory(1 << 30)
    }

    fn with_memory(bytes: usize) -> Result<Self> {
        let queries = Queries::default();
        queries.set_topics(Channel::ALL.map(|c| (c.store().into(), "id".into())).into_iter());
        let stores = Channel::ALL.map(|channel| {
            let store = Arc::new(Committed::new(Box::new(MemoryStore::default())));
            queries.add(channel.store(), 0, Arc::clone(&store));
            store
        });
        let metrics = StreamMetrics::new(&Registry::new())?;
        let codec = Arc::new(Codec::offline());
        let service = ReadService::new(queries, codec, Registry::new(), Budget::new(bytes));
        let (scans, ends) = Scans::new(1);
        let mut hub = Hub::new(&service, 4, metrics, scans);
        // No tick is cut short unless a test says so.
        hub.patience = Duration::from_hours(1);
        Ok(Self { hub, ends, stores, next: 0 })
    }

    /// Takes the next job, if there is one.
    fn job(&mut self) -> Option<ScanJob> {
        self.hub.begin_scans();
        self.ends.jobs.try_recv().ok()
    }

    /// Does a job as a scanner would.
    fn done(&mut self, done: ScanJobResult) -> Result<()> {
        self.ends.done.send(done)?;
        self.hub.end_scans();
        Ok(())
    }

    /// Reads everything that is asked for.
    fn scan(&mut self) -> Result<()> {
        while let Some(job) = self.job() {
            let done = job.run(&self.hub.budget);
            self.done(done)?;
        }
        Ok(())
    }

    fn join(&mut self, client: ClientId, places: usize) -> Hearing {
        let (sender, queue) = queue(places);
        let (ends, end) = oneshot::channel();
        self.hub.handle(HubRequest::Join { client, queue: sender, end: ends });
        Hearing { queue, end }
    }

    fn subscribe(&mut self, client: ClientId, id: u32, said: &str) -> Result<()> {
        self.ask(client, id, said)?;
        self.scan()
    }

    fn ask(&mut self, client: ClientId, id: u32, said: &str) -> Result<()> {
        let said = format!("{{\"op\":\"subscribe\",\"id\":{id},{said}}}");
        match protocol::ClientRequest::read(&said) {
            Ok(protocol::ClientRequest::Subscribe { id, pattern, resume }) => {
                self.hub.handle(HubRequest::Subscribe { client, id, pattern, resume });
                Ok(())
            }
            other => bail!("{said}: {other:?}"),
        }
    }

    fn commit(&mut self, channel: Channel, key: Vec<u8>, value: Vec<u8>) {
        let store = &self.stores[channel.index()];
        store.commit(std::iter::once((&key[..], Some(&value[..]))));
        self.next += 1;
        let changes = vec![(key, Some(value))];
        let told = self.hub.queries.changes().clone();
        told.publish_changes(channel.store(), 0, Some(Offset(self.next)), changes);
    }

    fn price(&mut self, base: &str, price: &str, time: i64) -> Result<()> {
        let price = price.parse().ok().context("a price")?;
        let price = LatestPrice::of(&MarketEvent::sample(price, Timestamp(time)), 0);
        let key = store_keys::pair_key(&PairKey::new(base, "USD", "here"));
        let value = Codec::offline().to_bytes(&price);
        self.commit(Channel::Latest, key, value);
        Ok(())
    }

    fn minute(&mut self, base: &str, time: i64, close: &str) -> Result<()> {
        let close = close.parse().ok().context("a price")?;
        let candle = single(&MarketEvent::sample(close, Timestamp(time)), 0);
        let pair = store_keys::pair_key(&PairKey::new(base, "USD", "here"));
        let mut key = Vec::new();
        store_keys::candle_key(Interval::Minute, &pair, Basis::Trade, Timestamp(time), &mut key);
        self.commit(Channel::Candles(Interval::Minute), key, Codec::offline().to_bytes(&candle));
        Ok(())
    }

    /// The next tick has a heartbeat.
    fn due_heartbeat(&mut self) -> Result<()> {
        let long_ago = clock::instant().checked_sub(2 * HEARTBEAT);
        self.hub.last_heartbeat = long_ago.context("the clock began a moment ago")?;
        Ok(())
    }

    /// Hears what was told and ends the tick.
    fn end_tick(&mut self) {
        while let Some(news) = self.hub.listener.as_ref().and_then(|l| l.next(Duration::ZERO)) {
            self.hub.take_news(news);
        }
        self.hub.end_tick(clock::instant());
    }

    /// The same, and reads what is asked for.
    fn tick(&mut self) -> Result<()> {
        self.end_tick();
        self.scan()
    }
}

fn kinds(heard: &[Value]) -> Vec<&str> {
    heard.iter().filter_map(|frame| frame["type"].as_str()).collect()
}

fn prices(frame: &Value) -> Vec<(&str, &str)> {
    let rows = frame["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut prices: Vec<_> = rows
        .iter()
        .filter_map(|row| Some((row["base"].as_str()?, row["price"].as_str()?)))
        .collect();
    prices.sort_unstable();
    prices
}

const LATEST: &str = r#""channel":"latest""#;

#[test]
fn a_snapshot_comes_first_and_then_the_newest_of_each_key() -> Result<()> {
    let mut world = World::new()?;
    world.price("BTC", "1.10", 1)?;
    let mut all = world.join(1, QUEUE);
    world.subscribe(1, 7, LATEST)?;
    let mut one = world.join(2, QUEUE);
    world.subscribe(2, 7, r#""channel":"latest","base":"ETH","quote":"USD","exchange":"here""#)?;
    world.price("BTC", "2", 2)?;
    world.price("BTC", "3", 3)?;
    world.price("ETH", "9", 3)?;
    world.tick()?;
    world.tick()?;

    let heard = all.all()?;
    ensure!(kinds(&heard) == ["subscribed", "snapshot", "update"], "{heard:?}");
    ensure!(prices(&heard[1]) == [("BTC", "1.1")], "{heard:?}");
    ensure!(prices(&heard[2]) == [("BTC", "3"), ("ETH", "9")], "conflated: {heard:?}");
    ensure!(heard[0]["sequence"] == 0 && heard[2]["sequence"] == 1, "{heard:?}");
    let heard = one.all()?;
    ensure!(prices(&heard[1]).is_empty(), "{heard:?}");
    ensure!(prices(&heard[2]) == [("ETH", "9")], "{heard:?}");
    Ok(())
}

#[test]
fn who_comes_back_hears_what_changed_since_and_no_more() -> Result<()> {
    let mut world = World::new()?;
    let mut first = world.join(1, QUEUE);
    world.subscribe(1, 1, LATEST)?;
    world.price("BTC", "1", 1)?;
    world.price("ETH", "1", 1)?;
    world.tick()?;
    let heard = first.all()?;
    let token = heard.last().and_then(|update| update["resume"].as_str()).context("a token")?;
    let token = token.to_owned();
    world.hub.handle(HubRequest::Leave { client: 1 });
    world.price("ETH", "2", 2)?;
    world.tick()?;
    world.price("SOL", "3", 3)?;
    world.tick()?;

    let mut again = world.join(2, QUEUE);
    world.subscribe(2, 1, &format!("{LATEST},\"resume\":\"{token}\""))?;
    let heard = again.all()?;
    ensure!(kinds(&heard) == ["subscribed", "resumed"], "{heard:?}");
    ensure!(prices(&heard[1]) == [("ETH", "2"), ("SOL", "3")], "{heard:?}");
    // A token of nobody's is gone, and everything is told.
    world.subscribe(2, 2, &format!("{LATEST},\"resume\":\"AAAA\""))?;
    let heard = again.all()?;
    ensure!(kinds(&heard) == ["subscribed", "gone", "snapshot"], "{heard:?}");
    ensure!(prices(&heard[2]).len() == 3, "{heard:?}");
    Ok(())
}

#[test]
fn a_token_holds_in_another_process_that_has_heard_of_its_offset() -> Result<()> {
    let (mut one, mut other) = (World::new()?, World::new()?);
    other.hub.changes = RecentChanges::new(99, 0);
    let mut heard = Vec::new();
    for world in [&mut one, &mut other] {
        let mut client = world.join(1, QUEUE);
        world.subscribe(1, 1, LATEST)?;
        world.price("BTC", "1", 1)?;
        world.tick()?;
        heard = if heard.is_empty() { client.all()? } else { heard };
    }
    let token = heard.last().and_then(|update| update["resume"].as_str()).context("a token")?;
    other.price("ETH", "2", 2)?;
    other.tick()?;
    let mut moved = other.join(2, QUEUE);
    other.subscribe(2, 1, &format!("{LATEST},\"resume\":\"{token}\""))?;
    let told = moved.all()?;
    ensure!(kinds(&told) == ["subscribed", "resumed"], "{told:?}");
    ensure!(prices(&told[1]) == [("ETH", "2")], "{told:?}");
    Ok(())
}

#[test]
fn who_does_not_read_is_sent_away_and_the_others_hear_everything() -> Result<()> {
    let mut world = World::new()?;
    let (mut slow, mut quick) = (world.join(1, 3), world.join(2, QUEUE));
    world.subscribe(1, 1, LATEST)?;
    world.subscribe(2, 1, LATEST)?;
    for time in 1..9 {
        world.price("BTC", &time.to_string(), time)?;
        world.tick()?;
    }
    ensure!(slow.end.try_recv() == Ok(CloseReason::Slow));
    let updates: Vec<Value> =
        quick.all()?.into_iter().filter(|frame| frame["type"] == "update").collect();
    ensure!(updates.len() == 8, "{updates:?}");
    for (sequence, update) in (1..).zip(&updates) {
        ensure!(update["sequence"] == sequence, "{update}");
    }
    ensure!(world.hub.metrics.dropped.with_label_values(&["slow"]).get() == 1);
    ensure!(world.hub.metrics.subscriptions.get() == 1);
    Ok(())
}

#[test]
fn what_was_lost_is_read_anew_and_said() -> Result<()> {
    let mut world = World::new()?;
    let mut client = world.join(1, QUEUE);
    world.subscribe(1, 1, LATEST)?;
    for time in 0..=i64::try_from(NEWS)? {
        world.price("BTC", "1", time)?;
    }
    world.price("BTC", "2", 9_999)?;
    world.tick()?;
    world.tick()?;
    let heard = client.all()?;
    ensure!(kinds(&heard) == ["subscribed", "snapshot", "gone", "snapshot"], "{heard:?}");
    ensure!(prices(&heard[3]) == [("BTC", "2")], "{heard:?}");
    ensure!(world.hub.metrics.lost.get() == 1);
    Ok(())
}

#[test]
fn a_partition_that_moves_is_said_and_read_anew() -> Result<()> {
    let mut world = World::new()?;
    world.price("BTC", "1", 1)?;
    let mut client = world.join(1, QUEUE);
    world.subscribe(1, 1, LATEST)?;
    let other = Arc::new(Committed::new(Box::new(MemoryStore::default())));
    world.hub.queries.add(Channel::Latest.store(), 0, other);
    world.tick()?;
    let heard = client.all()?;
    ensure!(kinds(&heard) == ["subscribed", "snapshot", "gone", "snapshot"], "{heard:?}");
    ensure!(heard[2]["partitions"] == json!([0]), "{heard:?}");
    ensure!(prices(&heard[3]).is_empty(), "{heard:?}");
    Ok(())
}

#[test]
fn an_hour_lives_with_its_open_minute() -> Result<()> {
    const HOUR: i64 = 3_600_000;
    let mut world = World::new()?;
    let mut client = world.join(1, QUEUE);
    world.subscribe(1, 1, r#""channel":"candles","interval":"1h","base":"BTC""#)?;
    world.price("BTC", "5", HOUR + 60_001)?;
    world.minute("BTC", HOUR + 60_000, "5")?;
    world.tick()?;
    let heard = client.all()?;
    ensure!(kinds(&heard) == ["subscribed", "snapshot", "update"], "{heard:?}");
    let row = &heard[2]["rows"][0];
    ensure!(row["open_time"] == "1970-01-01T01:00:00.000Z" && row["close"] == "5", "{row}");
    ensure!(row["interval"] == "1h" && row["status"] == "OPEN", "{row}");
    Ok(())
}

#[test]
fn a_client_has_so_many_subscriptions_and_each_id_once() -> Result<()> {
    let mut world = World::new()?;
    let mut client = world.join(1, QUEUE);
    world.subscribe(1, 0, LATEST)?;
    world.subscribe(1, 0, LATEST)?;
    ensure!(kinds(&client.all()?) == ["subscribed", "snapshot", "error"]);
    for id in 1..=u32::try_from(MAX_SUBSCRIPTIONS)? {
        world.subscribe(1, id, LATEST)?;
        let heard = client.all()?;
        let more = id < u32::try_from(MAX_SUBSCRIPTIONS)?;
        ensure!((kinds(&heard) == ["subscribed", "snapshot"]) == more, "{id}: {heard:?}");
    }
    world.hub.handle(HubRequest::Unsubscribe { client: 1, id: 0 });
    world.hub.handle(HubRequest::Unsubscribe { client: 1, id: 0 });
    ensure!(kinds(&client.all()?) == ["unsubscribed", "error"]);
    Ok(())
}

#[test]
fn the_engine_is_heard_only_while_somebody_listens() -> Result<()> {
    let mut world = World::new()?;
    ensure!(!world.hub.queries.changes().has_listeners());
    let _client = world.join(1, QUEUE);
    ensure!(world.hub.queries.changes().has_listeners());
    world.hub.handle(HubRequest::Leave { client: 1 });
    world.hub.end_tick(clock::instant());
    ensure!(world.hub.listener.is_some(), "it may come back");
    world.hub.end_tick(clock::instant() + REMEMBER * 2);
    ensure!(world.hub.listener.is_none());
    Ok(())
}
