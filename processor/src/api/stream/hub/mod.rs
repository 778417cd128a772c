//! The hub: one thread between the engine and all clients.
//!
//! ```text
//! each turn   news ──► dirty: the newest value of each key, in the order of their first change
//!             pending subscriptions ──► scanners ──► members
//! each tick   dirty ──► rows, encoded once ──► groups ──► each member's queue, the same bytes
//! ```
//!
//! No step grows with the number of pairs. A tick spends half its period on changes and leaves the
//! rest to the next one. Scans run on threads of their own.
//!
//! The hub listens to the engine while it has clients and for [`REMEMBER`] afterwards, so without
//! clients it costs nothing. A client is a queue; one that reads too slowly fills it and is
//! disconnected.

mod pending;

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

use super::client_queue::{
    ClientId, ClientSubscription, Clients, CloseReason, HubHandle, HubRequest, MAX_SUBSCRIPTIONS,
    REQUESTS,
};
use super::groups::{Groups, updates};
use super::metrics::StreamMetrics;
use super::pattern::{CHANNELS, Channel, Pattern};
use super::protocol::{self, Frame, Frames, Resume};
use super::recent_changes::{Key, RecentChanges};
use super::resume_token::digest;
use super::scans::{self, Scans, StartFrom};
use super::snapshot::{ChangedKey, LocalStores, Rows, parent_key};
use crate::api::budget::Budget;
use crate::api::{ReadService, clock};
use crate::operators::Interval;

/// Queued batches of the engine: seconds of a busy member.
const NEWS: usize = 1_024;
/// The period of heartbeats.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long changes are remembered without a client, for one that resumes.
const REMEMBER: Duration = Duration::from_mins(5);
/// Changed keys between two reads of the clock.
const LOOK: usize = 64;
/// How often the hub looks for requests while it waits for news.
const STEP: Duration = Duration::from_millis(5);
/// How often it checks for a stop while it is idle.
const IDLE: Duration = Duration::from_millis(100);

/// Starts the hub on a thread of its own.
pub(super) fn start(
    service: &ReadService,
    updates: u32,
    metrics: StreamMetrics,
    stop: Stop,
) -> Result<HubHandle> {
    let (requests, asked) = sync_channel(REQUESTS);
    let scanners = Scans::scanners();
    let (scans, ends) = Scans::new(scanners);
    let mut hub = Hub::new(service, updates, metrics, scans);
    scans::start(ends, scanners, &service.budget)?;
    std::thread::Builder::new().name("stream".into()).spawn(move || {
        while !stop.is_set() {
            hub.turn(&asked);
        }
        hub.close_all();
    })?;
    Ok(HubHandle { requests, updates_per_second: updates })
}

/// A key that has changed since the last tick: its partition and newest value.
struct Dirty {
    partition: i32,
    value: Option<Vec<u8>>,
}

struct Hub {
    queries: Queries,
    codec: Arc<Codec>,
    budget: Budget,
    metrics: StreamMetrics,
    scans: Scans,
    listener: Option<Listener>,
    changes: RecentChanges,
    /// By channel.
    dirty: [FxHashMap<Key, Dirty>; CHANNELS],
    /// The dirty keys in the order of their first change; a key that is clean again is skipped.
    order: VecDeque<(Channel, Key)>,
    /// Partitions whose changes were not received one by one, so that clients need a snapshot.
    unknown: BTreeMap<Channel, BTreeSet<i32>>,
    first_change: Option<Instant>,
    groups: Groups,
    clients: Clients,
    tick: u64,
    /// Ticks per second.
    updates: u32,
    every: Duration,
    /// The time that a tick may spend on changes.
    patience: Duration,
    next_tick: Instant,
    last_heartbeat: Instant,
    last_client: Instant,
}

impl Hub {
    fn new(service: &ReadService, updates: u32, metrics: StreamMetrics, scans: Scans) -> Self {
        let now = clock::instant();
        let every = Duration::from_secs(1) / updates.max(1);
        // A number for this process at this moment.
        let number = digest(&format!("{}-{}", std::process::id(), clock::now().0));
        Self {
            queries: service.queries.clone(),
            codec: Arc::clone(&service.codec),
            budget: service.budget.clone(),
            scans,
            clients: Clients::new(metrics.clone()),
            metrics,
            listener: None,
            changes: RecentChanges::new(number, 0),
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

    fn turn(&mut self, asked: &Receiver<HubRequest>) {
        let Some(listener) = &self.listener else {
            if let Ok(command) = asked.recv_timeout(IDLE) {
                self.handle(command);
            }
            return;
        };
        let wait = self.next_tick.saturating_duration_since(clock::instant()).min(STEP);
        let mut news = listener.next(wait);
        while let Some(heard) = news {
            self.take_news(heard);
            let due = clock::instant() >= self.next_tick;
            news = self.listener.as_ref().filter(|_| !due).and_then(|l| l.next(Duration::ZERO));
        }
        // Bounded by the queue: a flood of requests must not stop the ticks.
        for _ in 0..REQUESTS {
            let Ok(command) = asked.try_recv() else { break };
            self.handle(command);
        }
        self.end_scans();
        self.begin_scans();
        let now = clock::instant();
        if now >= self.next_tick {
            self.next_tick = now + self.every;
            self.end_tick(now);
        }
    }

    fn take_news(&mut self, news: ChangeEvent) {
        match news {
            ChangeEvent::Changed(changed) => {
                let Some(channel) = Channel::of_store(&changed.store) else { return };
                self.first_change.get_or_insert_with(clock::instant);
                // Usually no other listener holds it, so it is not copied.
                let Changed { partition, next, changes, .. } = Arc::unwrap_or_clone(changed);
                self.changes.advance(channel, partition, next.map(|offset| offset.0));
                for (key, value) in changes {
                    self.mark_dirty(channel, &key, Dirty { partition, value });
                }
            }
            ChangeEvent::Moved { store, partition } => {
                let Some(channel) = Channel::of_store(&store) else { return };
                self.dirty[channel.index()].retain(|_, dirty| dirty.partition != partition);
                self.changes.forget(channel, partition, self.tick + 1);
                self.unknown.entry(channel).or_default().insert(partition);
            }
            ChangeEvent::Lost => {
                self.metrics.lost.inc();
                self.dirty.iter_mut().for_each(FxHashMap::clear);
                self.order.clear();
                self.changes.forget_all(self.tick + 1);
                let stores = LocalStores::new(&self.queries, &self.codec);
                for channel in Channel::ALL {
                    self.unknown.entry(channel).or_default().extend(stores.partitions(channel));
                }
            }
        }
    }

    /// Records a changed key. A changed minute also changes its hour and its day.
    fn mark_dirty(&mut self, channel: Channel, key: &[u8], dirty: Dirty) {
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
                self.mark_dirty(channel, &parent, Dirty { partition, value: None });
            }
        }
    }

    fn handle(&mut self, command: HubRequest) {
        match command {
            HubRequest::Join { client, queue, end } => {
                if self.listener.is_none() {
                    self.listener = Some(self.queries.changes().listen(NEWS));
                    self.changes.forget_all(self.tick);
                    self.next_tick = clock::instant() + self.every;
                }
                self.clients.add(client, queue, end);
            }
            HubRequest::Subscribe { client, id, pattern, resume } => {
                self.subscribe(client, id, &pattern, resume);
            }
            HubRequest::Unsubscribe { client, id } => {
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
            HubRequest::Leave { client } => self.remove(client, None),
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
        known
            .subscriptions
            .insert(id, ClientSubscription { pattern: pattern.clone(), waits: None });
        self.metrics.subscriptions.inc();
        self.add_pending(client, id, pattern, resume.map_or(StartFrom::New, StartFrom::Resume));
    }

    fn topic(&self, channel: Channel) -> u64 {
        self.queries.topic_id(channel.store()).map_or(0, |id| digest(&id))
    }

    fn token(&self, channel: Channel) -> Arc<str> {
        self.changes.token(channel, self.tick, self.topic(channel)).write().into()
    }

    fn end_tick(&mut self, now: Instant) {
        self.tick += 1;
        self.flush(now + self.patience);
        let dirty = &self.dirty;
        self.changes.settle(self.tick, |channel| dirty[channel.index()].is_empty());
        let tokens = Channel::ALL.map(|channel| self.token(channel));
        let Self { groups, clients, budget, .. } = self;
        for group in groups.all().filter(|group| !group.rows.is_empty()) {
            let (parts, before) = group.take_rows(budget);
            let resume = &tokens[group.pattern().channel.index()];
            for (id, members) in group.members() {
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
            self.clients.send_heartbeat(&frames, &[bare].into());
            for client in self.clients.gone() {
                self.remove(client, None);
            }
        }
        self.deliver();
        self.restart_unknown();
        self.groups.settle();
        self.scans.reduce_debts(self.updates);
        for client in self.clients.slowest(self.budget.excess()) {
            self.remove(client, Some(CloseReason::Memory));
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

    /// Gives changed keys to the groups and records them in `changes`, until the time is over.
    fn flush(&mut self, until: Instant) {
        let stores = LocalStores::new(&self.queries, &self.codec);
        let heard = Channel::ALL.map(|channel| self.groups.has(channel));
        let mut count = 0;
        while let Some((channel, key)) = self.order.pop_front() {
            let Some(dirty) = self.dirty[channel.index()].remove(&key) else { continue };
            let Dirty { partition, value } = dirty;
            self.changes.mark(channel, partition, &key, self.tick);
            let read = || ChangedKey::read(channel, &key, value.as_deref(), &self.codec);
            if let Some(changed) = heard[channel.index()].then(read).flatten() {
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

    /// Sends a snapshot again to the subscriptions whose changes were not received one by one.
    fn restart_unknown(&mut self) {
        for (channel, partitions) in std::mem::take(&mut self.unknown) {
            let partitions: Vec<i32> = partitions.into_iter().collect();
            let mut again = Vec::new();
            for group in self.groups.all().filter(|group| group.pattern().channel == channel) {
                // It may have read stores that are gone, or have missed the lost changes.
                group.invalidate_scan();
                let members = group.take_members().into_iter();
                again.extend(members.map(|(id, client)| (client, id, group.pattern().clone())));
            }
            for (client, id, pattern) in again {
                self.add_pending(client, id, &pattern, StartFrom::Restart(partitions.clone()));
            }
        }
    }

    fn heartbeat(&self, tokens: &[Arc<str>; CHANNELS]) -> Frame {
        let channels = Channel::ALL.map(|channel| {
            let offsets = self.changes.offsets(channel).into_iter();
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

    fn remove(&mut self, client: ClientId, why: Option<CloseReason>) {
        self.scans.leave(client);
        for (id, subscription) in self.clients.remove(client, why) {
            self.leave(&subscription.pattern, id, client);
        }
    }

    fn leave(&mut self, pattern: &Pattern, id: u32, client: ClientId) {
        self.groups.leave(pattern, id, client);
        // The scan was requested in this client's name; another subscription may wait for it.
        let next = self.groups.group(pattern).and_then(|group| group.waiting.first());
        if let Some(next) = next {
            self.scans.ask(next.client, pattern);
        }
    }

    fn deliver(&mut self) {
        for client in self.clients.send() {
            self.remove(client, Some(CloseReason::Slow));
        }
    }

    fn close_all(&mut self) {
        for client in self.clients.all() {
            self.remove(client, Some(CloseReason::Stopping));
        }
    }
}

#[cfg(test)]
mod tests;
