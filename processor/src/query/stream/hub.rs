//! The hub: one thread between the engine and all clients.
//!
//! ```text
//! each moment   news ──► dirty: the newest value of each key
//! each tick     dirty ──► rows, encoded once ──► pools ──► each member's queue, the same bytes
//! ```
//!
//! It listens to the engine while it has clients, and for a while after: without any it costs
//! nothing. A client is a queue here; who reads too slowly finds it full and is sent away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use anyhow::Result;
use rustc_hash::FxHashMap;
use schemas::Codec;
use serde_json::json;
use streams::changes::{Changed, Listener, News};
use streams::runtime::{Queries, Stop};

use super::door::{ClientId, Clients, Command, Door, End, MAX_SUBSCRIPTIONS, REQUESTS};
use super::groups::{Groups, updates};
use super::lines::Lines;
use super::metrics::Metrics;
use super::pattern::{Channel, Pattern};
use super::protocol::{self, Frame, Frames, Resume};
use super::snapshot::{ChangedKey, Rows, Stores, parent_key};
use super::token::digest;
use crate::operators::Interval;
use crate::query::Served;
use crate::query::clock;

/// Batches of the engine that wait for the hub: seconds of a busy member.
const NEWS: usize = 1_024;
/// Between two heartbeats.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long changes are remembered without any client, for one that comes back.
const REMEMBER: Duration = Duration::from_mins(5);
/// How finely the hub looks for requests while it waits for news.
const STEP: Duration = Duration::from_millis(5);
/// How finely it looks whether it should stop while it has nothing to do.
const IDLE: Duration = Duration::from_millis(100);

/// Starts the hub on a thread of its own.
pub(super) fn start(served: &Served, updates: u32, metrics: Metrics, stop: Stop) -> Result<Door> {
    let (requests, asked) = sync_channel(REQUESTS);
    let mut hub = Hub::new(served.queries.clone(), Arc::clone(&served.codec), updates, metrics);
    std::thread::Builder::new().name("stream".into()).spawn(move || {
        while !stop.is_set() {
            hub.turn(&asked);
        }
        hub.send_all_away();
    })?;
    Ok(Door { requests, updates_per_second: updates })
}

/// A key that has changed in this tick, and where.
struct Dirty {
    partition: i32,
    value: Option<Vec<u8>>,
}

struct Hub {
    queries: Queries,
    codec: Arc<Codec>,
    metrics: Metrics,
    listener: Option<Listener>,
    lines: Lines,
    /// By channel.
    dirty: [FxHashMap<Vec<u8>, Dirty>; 4],
    /// What must be read anew, because it was not told change by change, and in which partitions.
    unknown: BTreeMap<Channel, BTreeSet<i32>>,
    first_change: Option<Instant>,
    groups: Groups,
    clients: Clients,
    tick: u64,
    every: Duration,
    next_tick: Instant,
    last_heartbeat: Instant,
    last_client: Instant,
}

impl Hub {
    fn new(queries: Queries, codec: Arc<Codec>, updates: u32, metrics: Metrics) -> Self {
        let now = clock::instant();
        // A number of its own: the process and the moment.
        let number = digest(&format!("{}-{}", std::process::id(), clock::now().0));
        Self {
            queries,
            codec,
            clients: Clients::new(metrics.clone()),
            metrics,
            listener: None,
            lines: Lines::new(number, 0),
            dirty: Default::default(),
            unknown: BTreeMap::new(),
            first_change: None,
            groups: Groups::default(),
            tick: 0,
            every: Duration::from_secs(1) / updates.max(1),
            next_tick: now,
            last_heartbeat: now,
            last_client: now,
        }
    }

    fn turn(&mut self, asked: &Receiver<Command>) {
        let Some(listener) = &self.listener else {
            if let Ok(command) = asked.recv_timeout(IDLE) {
                self.obey(command);
            }
            return;
        };
        let wait = self.next_tick.saturating_duration_since(clock::instant()).min(STEP);
        let mut news = listener.next(wait);
        while let Some(heard) = news {
            self.hear(heard);
            let due = clock::instant() >= self.next_tick;
            news = self.listener.as_ref().filter(|_| !due).and_then(|l| l.next(Duration::ZERO));
        }
        // No more than were there: whoever asks without end must not stop the ticks.
        for _ in 0..REQUESTS {
            let Ok(command) = asked.try_recv() else { break };
            self.obey(command);
        }
        let now = clock::instant();
        if now >= self.next_tick {
            self.next_tick = now + self.every;
            self.end_tick(now);
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Changed(changed) => {
                let Some(channel) = Channel::of_store(&changed.store) else { return };
                self.first_change.get_or_insert_with(clock::instant);
                // Nearly always nobody else has it, and nothing is copied.
                let Changed { partition, next, changes, .. } = Arc::unwrap_or_clone(changed);
                self.lines.heard(channel, partition, next.map(|offset| offset.0));
                let dirty = &mut self.dirty[channel.index()];
                dirty.extend(changes.into_iter().map(|(k, value)| (k, Dirty { partition, value })));
            }
            News::Moved { store, partition } => {
                let Some(channel) = Channel::of_store(&store) else { return };
                self.dirty[channel.index()].retain(|_, dirty| dirty.partition != partition);
                self.lines.forget(channel, partition, self.tick + 1);
                self.unknown.entry(channel).or_default().insert(partition);
            }
            News::Lost => {
                self.metrics.lost.inc();
                self.dirty.iter_mut().for_each(FxHashMap::clear);
                self.lines.forget_all(self.tick + 1);
                let everywhere = Stores::new(&self.queries, &self.codec).partitions();
                for channel in Channel::ALL {
                    self.unknown.entry(channel).or_default().extend(&everywhere);
                }
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Join { client, queue, end } => {
                if self.listener.is_none() {
                    self.listener = Some(self.queries.changes().listen(NEWS));
                    self.lines.forget_all(self.tick);
                    self.next_tick = clock::instant() + self.every;
                }
                self.clients.add(client, queue, end);
            }
            Command::Subscribe { client, id, pattern, resume } => {
                self.subscribe(client, id, &pattern, resume);
            }
            Command::Unsubscribe { client, id } => {
                let Some(known) = self.clients.get(client) else { return };
                let answer = match known.subscriptions.remove(&id) {
                    None => protocol::refused(Some(id), "there is no subscription of this id"),
                    Some(pattern) => {
                        self.metrics.subscriptions.dec();
                        self.groups.leave(&pattern, id, client);
                        protocol::unsubscribed(id)
                    }
                };
                self.send(client, &[answer].into());
            }
            Command::Leave { client } => self.remove(client, None),
        }
    }

    fn subscribe(&mut self, client: ClientId, id: u32, pattern: &Pattern, resume: Option<Resume>) {
        let Some(known) = self.clients.get(client) else { return };
        let refused = if known.subscriptions.contains_key(&id) {
            Some("there is a subscription of this id".to_owned())
        } else if known.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            Some(format!("a client has at most {MAX_SUBSCRIPTIONS} subscriptions"))
        } else {
            None
        };
        if let Some(reason) = refused {
            return self.send(client, &[protocol::refused(Some(id), &reason)].into());
        }
        known.subscriptions.insert(id, pattern.clone());
        self.metrics.subscriptions.inc();
        let sequence = self.groups.join(pattern, id, client).sequence();
        let mut frames = vec![protocol::subscribed(id, pattern, sequence)];
        match self.first_rows(id, pattern, resume) {
            Ok(rows) => frames.extend(rows),
            Err(error) => {
                tracing::error!(%error, "a snapshot cannot be read");
                frames.push(protocol::refused(Some(id), "the store cannot be read"));
            }
        }
        self.send(client, &frames.into());
    }

    /// What a subscription begins with.
    fn first_rows(
        &mut self,
        id: u32,
        pattern: &Pattern,
        resume: Option<Resume>,
    ) -> streams::Result<Vec<Frame>> {
        let stores = Stores::new(&self.queries, &self.codec);
        let token = self.token(pattern.channel);
        let mut frames = Vec::new();
        if let Some(resume) = resume {
            match self.missed(&stores, pattern, &resume)? {
                Ok(rows) => return Ok(self.parts("resumed", id, pattern, &rows, &token)),
                Err((reason, partitions)) => frames.push(protocol::gone(id, reason, &partitions)),
            }
        }
        let rows = self.snapshot(&stores, pattern)?;
        frames.extend(self.parts("snapshot", id, pattern, &rows, &token));
        Ok(frames)
    }

    /// What has changed since a token was made, or why that is not known.
    fn missed(
        &self,
        stores: &Stores,
        pattern: &Pattern,
        resume: &Resume,
    ) -> streams::Result<Result<Rows, (&'static str, Vec<i32>)>> {
        let here = stores.partitions();
        let Resume::From(token) = resume else {
            return Ok(Err(("the token is none of ours", here)));
        };
        let topic = self.topic(pattern.channel);
        match self.lines.since(token, pattern.channel, topic, &here) {
            Err(gone) => Ok(Err((gone.reason, gone.partitions))),
            Ok(keys) => {
                let mut rows = Rows::default();
                stores.values(pattern, &keys, &mut rows)?;
                Ok(Ok(rows))
            }
        }
    }

    /// The snapshot of a pattern, read once a tick: whoever comes later in the tick hears of what
    /// changes meanwhile at its end.
    fn snapshot(&mut self, stores: &Stores, pattern: &Pattern) -> streams::Result<Arc<Rows>> {
        let pool = self.groups.pool(pattern);
        if let Some(rows) = pool.as_ref().and_then(|pool| pool.snapshot.clone()) {
            return Ok(rows);
        }
        let mut rows = Rows::default();
        let left_out = stores.snapshot(pattern, &mut rows)?;
        if left_out > 0 {
            tracing::warn!(left_out, "a snapshot was cut short: the pattern is too wide");
        }
        let rows = Arc::new(rows);
        if let Some(pool) = pool {
            pool.snapshot = Some(Arc::clone(&rows));
        }
        Ok(rows)
    }

    fn parts(
        &mut self,
        kind: &'static str,
        id: u32,
        pattern: &Pattern,
        rows: &Rows,
        token: &Arc<str>,
    ) -> Vec<Frame> {
        let sequence = self.groups.pool(pattern).map_or(0, |pool| pool.sequence());
        let parts = rows.parts();
        let count = parts.len();
        let part = |(index, part): (usize, &&str)| {
            let resume = (index + 1 == count).then_some(token);
            protocol::rows(kind, id, sequence, (index + 1, count), part, resume)
        };
        parts.iter().enumerate().map(part).collect()
    }

    fn topic(&self, channel: Channel) -> u64 {
        self.queries.topic_id(channel.store()).map_or(0, |id| digest(&id))
    }

    fn token(&self, channel: Channel) -> Arc<str> {
        self.lines.token(channel, self.tick, self.topic(channel)).write().into()
    }

    fn end_tick(&mut self, now: Instant) {
        self.tick += 1;
        self.flush();
        self.lines.settle(self.tick);
        let tokens = Channel::ALL.map(|channel| self.token(channel));
        let Self { groups, clients, .. } = self;
        for pool in groups.pools().filter(|pool| !pool.rows.is_empty()) {
            let (rows, before) = pool.take_rows();
            let (parts, resume) = (rows.parts(), &tokens[pool.pattern().channel.index()]);
            for (id, members) in pool.members() {
                let frames = updates(id, before, &parts, resume);
                for client in members {
                    clients.give(*client, &frames);
                }
            }
        }
        if now.duration_since(self.last_heartbeat) >= HEARTBEAT {
            self.last_heartbeat = now;
            let frames: Frames = [self.heartbeat(&tokens)].into();
            self.clients.give_all(&frames);
            for client in self.clients.gone() {
                self.remove(client, None);
            }
        }
        self.deliver();
        self.groups.settle();
        self.begin_anew();
        if let Some(first) = self.first_change.take() {
            self.metrics.delivery.observe(clock::instant().duration_since(first).as_secs_f64());
        }
        if !self.clients.is_empty() {
            self.last_client = now;
        } else if now.duration_since(self.last_client) > REMEMBER {
            self.listener = None;
        }
    }

    /// Gives what has changed in this tick to the pools, and remembers that it has.
    fn flush(&mut self) {
        let minutes = Channel::Candles(Interval::Minute);
        for interval in [Interval::Hour, Interval::Day] {
            let parents = &mut FxHashMap::default();
            std::mem::swap(parents, &mut self.dirty[Channel::Candles(interval).index()]);
            for (key, minute) in &self.dirty[minutes.index()] {
                if let Some(key) = parent_key(key, interval) {
                    let partition = minute.partition;
                    parents.entry(key).or_insert(Dirty { partition, value: None });
                }
            }
            std::mem::swap(parents, &mut self.dirty[Channel::Candles(interval).index()]);
        }
        let stores = Stores::new(&self.queries, &self.codec);
        for channel in Channel::ALL {
            let dirty = std::mem::take(&mut self.dirty[channel.index()]);
            let heard = self.groups.has(channel);
            for (key, Dirty { partition, value }) in &dirty {
                self.lines.mark(channel, *partition, key, self.tick);
                let Some(key) = heard.then(|| ChangedKey::read(channel, key)).flatten() else {
                    continue;
                };
                self.groups.push(channel, key.pair(), || {
                    let mut rows = Rows::default();
                    if let Err(error) = stores.row(*partition, &key, value.as_deref(), &mut rows) {
                        tracing::error!(%error, "a change cannot be read");
                    }
                    rows.parts().first().filter(|row| !row.is_empty()).map(|row| (*row).to_owned())
                });
            }
        }
    }

    /// Whatever was not told change by change begins with a snapshot again.
    fn begin_anew(&mut self) {
        let unknown = std::mem::take(&mut self.unknown);
        let patterns: Vec<_> = self.groups.pools().map(|pool| pool.pattern().clone()).collect();
        for pattern in patterns {
            let (Some(partitions), Some(pool)) =
                (unknown.get(&pattern.channel), self.groups.pool(&pattern))
            else {
                continue;
            };
            let partitions: Vec<i32> = partitions.iter().copied().collect();
            let members: Vec<_> = pool.members().map(|(id, who)| (id, who.to_vec())).collect();
            for (id, clients) in members {
                let reason = "partitions have moved, or changes came too fast";
                let mut frames = vec![protocol::gone(id, reason, &partitions)];
                match self.first_rows(id, &pattern, None) {
                    Ok(rows) => frames.extend(rows),
                    Err(error) => tracing::error!(%error, "a snapshot cannot be read"),
                }
                let frames: Frames = frames.into();
                for client in clients {
                    self.send(client, &frames);
                }
            }
        }
    }

    fn heartbeat(&self, tokens: &[Arc<str>; 4]) -> Frame {
        let channels = Channel::ALL.map(|channel| {
            let offsets = self.lines.offsets(channel).into_iter();
            let positions: serde_json::Map<String, serde_json::Value> =
                offsets.map(|(partition, offset)| (partition.to_string(), offset.into())).collect();
            json!({
                "channel": channel.name(),
                "interval": channel.interval().map(Interval::as_str),
                "positions": positions,
                "resume": &*tokens[channel.index()],
            })
        });
        protocol::heartbeat(&clock::now().to_string(), &json!(channels))
    }

    fn send(&mut self, client: ClientId, frames: &Frames) {
        self.clients.give(client, frames);
        self.deliver();
    }

    fn remove(&mut self, client: ClientId, why: Option<End>) {
        for (id, pattern) in self.clients.remove(client, why) {
            self.groups.leave(&pattern, id, client);
        }
    }

    fn deliver(&mut self) {
        for client in self.clients.send() {
            self.remove(client, Some(End::Slow));
        }
    }

    fn send_all_away(&mut self) {
        for client in self.clients.all() {
            self.remove(client, Some(End::Stopping));
        }
    }
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
