//! The first rows of subscriptions: pending, scanned, admitted as members.
//!
//! Invariant: a subscription becomes a member at the moment when it has been sent every change up
//! to the last tick. It neither misses a change nor gets one twice as an update.

use super::super::client_queue::ClientId;
use super::super::pattern::Pattern;
use super::super::plan;
use super::super::protocol;
use super::super::recent_changes::Gone;
use super::super::scans::{
    MAX_SCANS_PER_JOB, PendingSubscription, Scan, ScanResult, ScanTarget, StartFrom,
};
use super::super::snapshot::{LocalStores, Parts};
use super::Hub;

impl Hub {
    /// Adds a subscription that waits for its first rows.
    pub(super) fn add_pending(
        &mut self,
        client: ClientId,
        id: u32,
        pattern: &Pattern,
        start: StartFrom,
    ) {
        let number = self.scans.number();
        let known = self.clients.get(client).and_then(|known| known.subscriptions.get_mut(&id));
        let Some(subscription) = known else { return };
        subscription.waits = Some(number);
        self.groups.open(pattern).waiting.push(PendingSubscription { client, id, number, start });
        self.scans.ask(client, pattern);
    }

    /// Gives scan jobs to the scanners while they have room.
    pub(super) fn begin_scans(&mut self) {
        while self.scans.has_room() {
            let Some(mut client) = self.scans.turn() else { return };
            let stores = LocalStores::new(&self.queries, &self.codec);
            let mut scans = Vec::new();
            for _ in 0..MAX_SCANS_PER_JOB {
                let Some(pattern) = self.scans.next(client) else { break };
                let here = stores.partitions(pattern.channel);
                self.plan(&pattern, &here, &mut scans);
                let is_wide = scans.iter().any(|(read, what)| {
                    matches!(what, ScanTarget::All) && read.pattern.pair().is_none()
                });
                if is_wide || scans.len() >= MAX_SCANS_PER_JOB {
                    break;
                }
                client = self.scans.turn().unwrap_or(client);
            }
            if !scans.is_empty() {
                self.scans.give(stores, scans);
            }
        }
    }

    /// Plans the scans of a group. From now on the group keeps the rows that change.
    fn plan(&mut self, pattern: &Pattern, here: &[i32], scans: &mut Vec<(Scan, ScanTarget)>) {
        let topic = self.topic(pattern.channel);
        let Some(group) = self.groups.group(pattern) else { return };
        // Pending subscriptions are planned when the running scan ends.
        if group.is_scanning() || group.waiting.is_empty() {
            return;
        }
        group.begin();
        let plan = plan::of(std::mem::take(&mut group.waiting), pattern, here, |token| {
            self.changes.since(token, pattern.channel, topic, here)
        });
        group.waiting = plan.later;
        scans.extend(plan.scans);
    }

    /// Admits the subscriptions whose scan has ended.
    pub(super) fn end_scans(&mut self) {
        while let Some(finished) = self.scans.finished() {
            // The scans of a group are adjacent.
            let mut changed: Option<(Pattern, Option<Parts>)> = None;
            for (scan, ScanResult { parts, looked_at }) in finished {
                self.metrics.scanned.inc_by(looked_at as u64);
                let Scan { pattern, wanted, kind, .. } = scan;
                if changed.as_ref().is_none_or(|(of, _)| *of != pattern) {
                    let rows = self.groups.open(&pattern).end();
                    let parts = rows.map(|rows| {
                        if rows.is_empty() { Parts::new() } else { rows.into_parts(&self.budget) }
                    });
                    changed = Some((pattern.clone(), parts));
                }
                if let Some(changed) = changed.as_ref().and_then(|(_, parts)| parts.as_ref()) {
                    self.admit(&pattern, kind, wanted, parts, changed);
                } else {
                    let again = wanted.into_iter().map(|(wanted, _)| wanted);
                    self.groups.open(&pattern).waiting.extend(again);
                }
                let group = self.groups.open(&pattern);
                if let Some(next) = group.waiting.first() {
                    self.scans.ask(next.client, &pattern);
                }
            }
            self.deliver();
        }
    }

    /// Sends the scanned rows and the changes since to the subscriptions that still wait.
    fn admit(
        &mut self,
        pattern: &Pattern,
        kind: &'static str,
        wanted: Vec<(PendingSubscription, Option<Gone>)>,
        parts: streams::Result<Parts>,
        changed: &Parts,
    ) {
        let parts = parts.map(|parts| [&parts[..], changed].concat());
        if let Err(error) = &parts {
            tracing::error!(%error, "what a subscription begins with cannot be read");
        }
        let (sequence, token) = (self.groups.open(pattern).sequence(), self.token(pattern.channel));
        for (PendingSubscription { client, id, number, start }, gone) in wanted {
            let known = self.clients.get(client).and_then(|known| known.subscriptions.get_mut(&id));
            let Some(subscription) = known.filter(|known| known.waits == Some(number)) else {
                continue;
            };
            subscription.waits = None;
            let mut frames = Vec::new();
            if !matches!(start, StartFrom::Restart(_)) {
                frames.push(protocol::subscribed(id, pattern, sequence));
            }
            if let Some(Gone { reason, partitions }) = gone {
                frames.push(protocol::gone(id, reason, &partitions));
            }
            match &parts {
                Ok(parts) => {
                    let count = parts.len();
                    frames.extend(parts.iter().enumerate().map(|(index, part)| {
                        let resume = (index + 1 == count).then_some(&token);
                        protocol::rows(kind, id, sequence, (index + 1, count), part, resume)
                    }));
                }
                Err(_) => frames.push(protocol::refused(Some(id), "the store cannot be read")),
            }
            self.groups.join(pattern, id, client);
            self.clients.give(client, &frames.into());
        }
    }
}
