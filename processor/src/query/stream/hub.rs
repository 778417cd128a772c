//! The hub: one thread between the engine and all clients.
//!
//! ```text
//! each moment   news ──► dirty: the newest value of each key, in the order of their first change
//!               what subscriptions begin with ──► scanners ──► members
//! each tick     dirty ──► rows, encoded once ──► pools ──► each member's queue, the same bytes
//! ```
//!
//! Nothing that it does takes longer the more pairs there are: a tick has half its period for what
//! has changed, and leaves the rest to the next one; what reads many rows is read by scanners.
//!
//! It listens to the engine while it has clients, and for a while after: without any it costs
//! nothing. A client is a queue here; who reads too slowly finds it full and is sent away.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use anyhow::Result;
use rustc_hash::FxHashMap;
use schemas::Codec;
use serde_json::json;
use streams::changes::{ChangeEvent, Changed, Listener};
use streams::runtime::{Queries, Stop};

use super::door::{
    ClientId, Clients, Command, Door, End, MAX_SUBSCRIPTIONS, REQUESTS, Subscription,
};
use super::groups::{Groups, updates};
use super::lines::{Key, Lines};
use super::metrics::Metrics;
use super::pattern::{Channel, Pattern};
use super::protocol::{self, Frame, Frames, Resume};
use super::scans::{self, Scans, Start};
use super::snapshot::{ChangedKey, Rows, Stores, parent_key};
use super::token::digest;
use crate::operators::Interval;
use crate::query::budget::Budget;
use crate::query::{Served, clock};

/// Batches of the engine that wait for the hub: seconds of a busy member.
const NEWS: usize = 1_024;
/// Between two heartbeats.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long changes are remembered without any client, for one that comes back.
const REMEMBER: Duration = Duration::from_mins(5);
/// Changed keys between two looks at the clock.
const LOOK: usize = 64;
/// How finely the hub looks for requests while it waits for news.
const STEP: Duration = Duration::from_millis(5);
/// How finely it looks whether it should stop while it has nothing to do.
const IDLE: Duration = Duration::from_millis(100);

/// Starts the hub on a thread of its own.
pub(super) fn start(served: &Served, updates: u32, metrics: Metrics, stop: Stop) -> Result<Door> {
    let (requests, asked) = sync_channel(REQUESTS);
    let scanners = Scans::scanners();
    let (scans, ends) = Scans::new(scanners);
    let mut hub = Hub::new(served, updates, metrics, scans);
    scans::start(ends, scanners, &served.budget)?;
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
    budget: Budget,
    metrics: Metrics,
    scans: Scans,
    listener: Option<Listener>,
    lines: Lines,
    /// By channel.
    dirty: [FxHashMap<Key, Dirty>; 4],
    /// The dirty keys, first come first; one that is dirty no more is passed over.
    order: VecDeque<(Channel, Key)>,
    /// What must be read anew, because it was not told change by change, and in which partitions.
    unknown: BTreeMap<Channel, BTreeSet<i32>>,
    first_change: Option<Instant>,
    groups: Groups,
    clients: Clients,
    tick: u64,
    /// Ticks a second.
    updates: u32,
    every: Duration,
    /// The time of a tick for what has changed.
    patience: Duration,
    next_tick: Instant,
    last_heartbeat: Instant,
    last_client: Instant,
}

impl Hub {
    fn new(served: &Served, updates: u32, metrics: Metrics, scans: Scans) -> Self {
        let now = clock::instant();
        let every = Duration::from_secs(1) / updates.max(1);
        // A number of its own: the process and the moment.
        let number = digest(&format!("{}-{}", std::process::id(), clock::now().0));
        Self {
            queries: served.queries.clone(),
            codec: Arc::clone(&served.codec),
            budget: served.budget.clone(),
            scans,
            clients: Clients::new(metrics.clone()),
            metrics,
            listener: None,
            lines: Lines::new(number, 0),
            dirty: Default::default(),
            order: VecDeque::new(),
            unknown: BTreeMap::new(),
            first_change: None,
            groups: Groups::default(),
            tick: 0,
            updates,
            every,
            patience: every / 2,
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
        self.end_scans();
        self.begin_scans();
        let now = clock::instant();
        if now >= self.next_tick {
            self.next_tick = now + self.every;
            self.end_tick(now);
        }
    }

    fn hear(&mut self, news: ChangeEvent) {
        match news {
            ChangeEvent::Changed(changed) => {
                let Some(channel) = Channel::of_store(&changed.store) else { return };
                self.first_change.get_or_insert_with(clock::instant);
                // Nearly always nobody else has it, and nothing is copied.
                let Changed { partition, next, changes, .. } = Arc::unwrap_or_clone(changed);
                self.lines.heard(channel, partition, next.map(|offset| offset.0));
                for (key, value) in changes {
                    self.soil(channel, &key, Dirty { partition, value });
                }
            }
            ChangeEvent::Moved { store, partition } => {
                let Some(channel) = Channel::of_store(&store) else { return };
                self.dirty[channel.index()].retain(|_, dirty| dirty.partition != partition);
                self.lines.forget(channel, partition, self.tick + 1);
                self.unknown.entry(channel).or_default().insert(partition);
            }
            ChangeEvent::Lost => {
                self.metrics.lost.inc();
                self.dirty.iter_mut().for_each(FxHashMap::clear);
                self.order.clear();
                self.lines.forget_all(self.tick + 1);
                let everywhere = Stores::new(&self.queries, &self.codec).partitions();
                for channel in Channel::ALL {
                    self.unknown.entry(channel).or_default().extend(&everywhere);
                }
            }
        }
    }

    /// A key has changed. An hour and a day live with their open minutes.
    fn soil(&mut self, channel: Channel, key: &[u8], dirty: Dirty) {
        let known = &mut self.dirty[channel.index()];
        if let Some(known) = known.get_mut(key) {
            *known = dirty;
            return;
        }
        let (partition, key) = (dirty.partition, Key::from(key));
        known.insert(Arc::clone(&key), dirty);
        self.order.push_back((channel, Arc::clone(&key)));
        if channel != Channel::Candles(Interval::Minute) {
            return;
        }
        for interval in [Interval::Hour, Interval::Day] {
            let Some(parent) = parent_key(&key, interval) else { continue };
            let channel = Channel::Candles(interval);
            if !self.dirty[channel.index()].contains_key(&parent[..]) {
                self.soil(channel, &parent, Dirty { partition, value: None });
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
                    Some(subscription) => {
                        self.metrics.subscriptions.dec();
                        self.leave(&subscription.pattern, id, client);
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
        known.subscriptions.insert(id, Subscription { pattern: pattern.clone(), waits: None });
        self.metrics.subscriptions.inc();
        self.want(client, id, pattern, resume.map_or(Start::New, Start::From));
    }

    fn topic(&self, channel: Channel) -> u64 {
        self.queries.topic_id(channel.store()).map_or(0, |id| digest(&id))
    }

    fn token(&self, channel: Channel) -> Arc<str> {
        self.lines.token(channel, self.tick, self.topic(channel)).write().into()
    }

    fn end_tick(&mut self, now: Instant) {
        self.tick += 1;
        self.flush(now + self.patience);
        let dirty = &self.dirty;
        self.lines.settle(self.tick, |channel| dirty[channel.index()].is_empty());
        let tokens = Channel::ALL.map(|channel| self.token(channel));
        let Self { groups, clients, budget, .. } = self;
        for pool in groups.pools().filter(|pool| !pool.rows.is_empty()) {
            let (parts, before) = pool.take_rows(budget);
            let resume = &tokens[pool.pattern().channel.index()];
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
            let bare = protocol::heartbeat(&clock::now().to_string(), &json!([]));
            self.clients.beat(&frames, &[bare].into());
            for client in self.clients.gone() {
                self.remove(client, None);
            }
        }
        self.deliver();
        self.begin_anew();
        self.groups.settle();
        self.scans.forgive(self.updates);
        for client in self.clients.slowest(self.budget.excess()) {
            self.remove(client, Some(End::Memory));
        }
        if let Some(first) = self.first_change.take() {
            self.metrics.delivery.observe(clock::instant().duration_since(first).as_secs_f64());
        }
        if !self.clients.is_empty() {
            self.last_client = now;
        } else if now.duration_since(self.last_client) > REMEMBER {
            self.listener = None;
        }
    }

    /// Gives what has changed to the pools, and remembers that it has, for as long as there is time.
    fn flush(&mut self, until: Instant) {
        let stores = Stores::new(&self.queries, &self.codec);
        let heard = Channel::ALL.map(|channel| self.groups.has(channel));
        let mut count = 0;
        while let Some((channel, key)) = self.order.pop_front() {
            let Some(dirty) = self.dirty[channel.index()].remove(&key) else { continue };
            let Dirty { partition, value } = dirty;
            self.lines.mark(channel, partition, &key, self.tick);
            if let Some(changed) =
                heard[channel.index()].then(|| ChangedKey::read(channel, &key)).flatten()
            {
                self.groups.push(channel, &key, changed.pair(), || {
                    let mut rows = Rows::default();
                    let row = stores.row(partition, &changed, value.as_deref(), &mut rows);
                    if let Err(error) = row {
                        tracing::error!(%error, "a change cannot be read");
                    }
                    rows.into_row()
                });
            }
            count += 1;
            if count % LOOK == 0 && clock::instant() >= until {
                break;
            }
        }
        self.metrics.backlog.set(i64::try_from(self.order.len()).unwrap_or(i64::MAX));
    }

    /// Whatever was not told change by change begins with a snapshot again.
    fn begin_anew(&mut self) {
        for (channel, partitions) in std::mem::take(&mut self.unknown) {
            let partitions: Vec<i32> = partitions.into_iter().collect();
            let mut again = Vec::new();
            for pool in self.groups.pools().filter(|pool| pool.pattern().channel == channel) {
                // It may have been read in stores that are here no more, or before what was lost.
                pool.make_void();
                let members = pool.take_members().into_iter();
                again.extend(members.map(|(id, client)| (client, id, pool.pattern().clone())));
            }
            for (client, id, pattern) in again {
                self.want(client, id, &pattern, Start::Again(partitions.clone()));
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
        self.scans.leave(client);
        for (id, subscription) in self.clients.remove(client, why) {
            self.leave(&subscription.pattern, id, client);
        }
    }

    fn leave(&mut self, pattern: &Pattern, id: u32, client: ClientId) {
        self.groups.leave(pattern, id, client);
        // Somebody else may wait for the same, and it was this one that was asked for.
        let next = self.groups.pool(pattern).and_then(|pool| pool.waiting.first());
        if let Some(next) = next {
            self.scans.ask(next.client, pattern);
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

#[path = "beginnings.rs"]
mod beginnings;

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
