//! The keys that changed in recent ticks: the changes that a client that resumes has missed.
//!
//! ```text
//! tick      … 40        41         42
//! changed       BTC-USD    ETH-USD    BTC-USD      only the newest tick of each key is kept
//! offset        117        120        131          the topic's next offset at the end of the tick
//! ```
//!
//! A token of this hub names a tick. A token of another hub names offsets, which map to the last
//! tick that ended at or before them. A client may then get a key twice, and misses none.
//!
//! Invariant: every key of a partition that changed after `since` is in `changed`, with its last
//! tick.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::pattern::Channel;
use super::resume_token::ResumeToken;

/// Keys per channel and partition: hours of a hundred pairs' minutes, and some megabytes. A client
/// that was away longer gets a snapshot.
const MAX_KEYS: usize = 32_768;
/// Ticks whose offset is kept: a quarter of an hour.
const MAX_OFFSETS: usize = 4_096;

/// A store's key.
pub(super) type Key = Arc<[u8]>;

/// The changes of one channel in one partition.
#[derive(Default)]
struct PartitionChanges {
    since: u64,
    /// The topic's next offset, as far as received.
    next: Option<i64>,
    /// The offsets at the ends of ticks, oldest first.
    offsets: VecDeque<(i64, u64)>,
    changed: HashMap<Key, u64>,
    order: BTreeSet<(u64, Key)>,
}

impl PartitionChanges {
    fn mark(&mut self, key: &Key, tick: u64) {
        let key: Key = match self.changed.get_key_value(key) {
            Some((key, old)) => {
                let key = Arc::clone(key);
                self.order.remove(&(*old, Arc::clone(&key)));
                key
            }
            None => Arc::clone(key),
        };
        self.order.insert((tick, Arc::clone(&key)));
        self.changed.insert(key, tick);
        while self.order.len() > MAX_KEYS {
            let Some((tick, key)) = self.order.pop_first() else { break };
            self.changed.remove(&key);
            self.since = self.since.max(tick);
        }
    }

    fn settle(&mut self, tick: u64) {
        let Some(next) = self.next else { return };
        if self.offsets.back().is_none_or(|(known, _)| *known != next) {
            self.offsets.push_back((next, tick));
            if self.offsets.len() > MAX_OFFSETS {
                self.offsets.pop_front();
            }
        }
    }

    /// The last tick that ended at or before this offset.
    fn tick_of(&self, offset: i64) -> Option<u64> {
        let before = self.offsets.partition_point(|(known, _)| *known <= offset);
        self.offsets.get(before.checked_sub(1)?).map(|(_, tick)| *tick)
    }

    fn after(&self, tick: u64) -> impl Iterator<Item = &Key> {
        self.order.range((tick + 1, Key::default())..).map(|(_, key)| key)
    }
}

/// The recent changes of every channel and partition.
pub(super) struct RecentChanges {
    hub: u64,
    /// The tick after which partitions without an entry are complete.
    since: u64,
    each: BTreeMap<(Channel, i32), PartitionChanges>,
}

/// The changes since a token are not known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone {
    /// The reason, for the client.
    pub(super) reason: &'static str,
    /// The partitions that it affects.
    pub(super) partitions: Vec<i32>,
}

impl RecentChanges {
    /// For the hub of this number, which listens since the end of `tick`.
    pub(super) fn new(hub: u64, tick: u64) -> Self {
        Self { hub, since: tick, each: BTreeMap::new() }
    }

    fn entry(&mut self, channel: Channel, partition: i32) -> &mut PartitionChanges {
        let since = self.since;
        let new = || PartitionChanges { since, ..PartitionChanges::default() };
        self.each.entry((channel, partition)).or_insert_with(new)
    }

    /// Records the next offset after a batch.
    pub(super) fn advance(&mut self, channel: Channel, partition: i32, next: Option<i64>) {
        let partition_changes = self.entry(channel, partition);
        if next.is_none() {
            partition_changes.offsets.clear();
        }
        partition_changes.next = next;
    }

    /// Records that the key changed in this tick.
    pub(super) fn mark(&mut self, channel: Channel, partition: i32, key: &Key, tick: u64) {
        self.entry(channel, partition).mark(key, tick);
    }

    /// Ends a tick. A channel with received changes that are not marked yet keeps its offset, which
    /// must not claim changes that were not sent.
    pub(super) fn settle(&mut self, tick: u64, is_marked: impl Fn(Channel) -> bool) {
        let changes = self.each.iter_mut().filter(|((channel, _), _)| is_marked(*channel));
        changes.for_each(|(_, partition_changes)| partition_changes.settle(tick));
    }

    /// Forgets the changes of a partition up to the end of `tick`.
    pub(super) fn forget(&mut self, channel: Channel, partition: i32, tick: u64) {
        let partition_changes = PartitionChanges { since: tick, ..PartitionChanges::default() };
        self.each.insert((channel, partition), partition_changes);
    }

    /// Forgets all changes up to the end of `tick`.
    pub(super) fn forget_all(&mut self, tick: u64) {
        *self = Self::new(self.hub, tick);
    }

    /// The token of a channel at the end of `tick`.
    pub(super) fn token(&self, channel: Channel, tick: u64, topic: u64) -> ResumeToken {
        let index = u8::try_from(channel.index()).unwrap_or(u8::MAX);
        ResumeToken { channel: index, hub: self.hub, tick, topic, offsets: self.offsets(channel) }
    }

    /// The offsets of a channel's partitions, where known.
    pub(super) fn offsets(&self, channel: Channel) -> Vec<(i32, i64)> {
        let changes = self.each.range((channel, i32::MIN)..=(channel, i32::MAX));
        let known = changes.filter_map(|((_, partition), partition_changes)| {
            partition_changes.offsets.back().map(|(offset, _)| (*partition, *offset))
        });
        known.collect()
    }

    /// The keys of a channel that changed since the token was made, in the partitions `here`.
    pub(super) fn since(
        &self,
        token: &ResumeToken,
        channel: Channel,
        topic: u64,
        here: &[i32],
    ) -> Result<Vec<(i32, Key)>, Gone> {
        let everywhere = |reason| Gone { reason, partitions: here.to_vec() };
        if usize::from(token.channel) != channel.index() {
            return Err(everywhere("the token is of another channel"));
        }
        if token.hub != self.hub && (token.topic != topic || topic == 0) {
            return Err(everywhere("the token is of another topic or process"));
        }
        let (mut keys, mut partitions) = (Vec::new(), Vec::new());
        for partition in here {
            let partition_changes = self.each.get(&(channel, *partition));
            let since =
                partition_changes.map_or(self.since, |partition_changes| partition_changes.since);
            let tick = if token.hub == self.hub {
                Some(token.tick)
            } else {
                let offset = token.offsets.iter().find(|(known, _)| known == partition);
                offset.and_then(|(_, offset)| partition_changes?.tick_of(*offset))
            };
            match (tick.filter(|tick| *tick >= since), partition_changes) {
                (Some(tick), Some(partition_changes)) => {
                    keys.extend(
                        partition_changes.after(tick).map(|key| (*partition, Arc::clone(key))),
                    );
                }
                (Some(_), None) => {}
                (None, _) => partitions.push(*partition),
            }
        }
        if partitions.is_empty() {
            return Ok(keys);
        }
        Err(Gone { reason: "changes that old are not kept", partitions })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const CHANNEL: Channel = Channel::Latest;
    const TOPIC: u64 = 7;

    fn key(bytes: &[u8]) -> Key {
        bytes.into()
    }

    fn names(keys: &[(i32, Key)]) -> BTreeSet<Vec<u8>> {
        keys.iter().map(|(_, key)| key.to_vec()).collect()
    }

    #[test]
    fn a_token_of_another_topic_or_channel_is_gone() {
        let changes = RecentChanges::new(1, 0);
        let ours = changes.token(CHANNEL, 5, TOPIC);
        assert_eq!(changes.since(&ours, CHANNEL, TOPIC, &[0]), Ok(vec![]));
        let strange = ResumeToken { hub: 2, topic: 8, ..ours.clone() };
        assert_eq!(
            changes.since(&strange, CHANNEL, TOPIC, &[0, 1]).unwrap_err().partitions,
            [0, 1]
        );
        // Two topics without an id are not the same topic.
        let unknown = ResumeToken { hub: 2, topic: 0, ..ours.clone() };
        assert!(changes.since(&unknown, CHANNEL, 0, &[0]).is_err());
        let other = ResumeToken { channel: 1, ..ours };
        assert!(changes.since(&other, CHANNEL, TOPIC, &[0]).is_err());
    }

    #[test]
    fn what_was_forgotten_is_gone_and_what_came_after_is_known() {
        let mut changes = RecentChanges::new(1, 0);
        changes.mark(CHANNEL, 0, &key(b"a"), 1);
        let old = changes.token(CHANNEL, 1, TOPIC);
        changes.forget(CHANNEL, 0, 2);
        let gone = changes.since(&old, CHANNEL, TOPIC, &[0, 1]).unwrap_err();
        assert_eq!(gone.partitions, [0]);
        let new = changes.token(CHANNEL, 2, TOPIC);
        changes.mark(CHANNEL, 0, &key(b"b"), 3);
        assert_eq!(
            names(&changes.since(&new, CHANNEL, TOPIC, &[0, 1]).unwrap()),
            [b"b".to_vec()].into()
        );
    }

    #[test]
    fn the_oldest_keys_make_room() {
        let mut changes = RecentChanges::new(1, 0);
        for number in 0..=MAX_KEYS {
            changes.mark(CHANNEL, 0, &key(&number.to_be_bytes()), 1 + number as u64);
        }
        assert!(changes.since(&changes.token(CHANNEL, 0, TOPIC), CHANNEL, TOPIC, &[0]).is_err());
        let kept = changes.since(&changes.token(CHANNEL, 1, TOPIC), CHANNEL, TOPIC, &[0]);
        assert_eq!(kept.map(|keys| keys.len()), Ok(MAX_KEYS));
    }

    proptest! {
        /// From any tick and from any offset that was sent, no later change is missing, and the
        /// same hub returns no other key.
        #[test]
        fn whoever_comes_back_misses_nothing(
            ticks in vec(vec(0..9_u8, 0..4), 1..20), stop in 0..20_u64,
        ) {
            let (mut one, mut other) = (RecentChanges::new(1, 0), RecentChanges::new(2, 0));
            let mut token = one.token(CHANNEL, 0, TOPIC);
            let (mut later, mut offset) = (BTreeSet::new(), 0);
            for (tick, keys) in (1_u64..).zip(&ticks) {
                let count = i64::try_from(keys.len()).unwrap();
                for changes in [&mut one, &mut other] {
                    changes.advance(CHANNEL, 0, Some(offset + count));
                    for number in keys {
                        changes.mark(CHANNEL, 0, &key(&[*number]), tick);
                    }
                    changes.settle(tick, |_| true);
                }
                offset += count;
                if tick <= stop {
                    token = one.token(CHANNEL, tick, TOPIC);
                } else {
                    later.extend(keys.iter().map(|key| vec![*key]));
                }
            }
            let told = one.since(&token, CHANNEL, TOPIC, &[0]).unwrap();
            prop_assert_eq!(&names(&told), &later);
            if let Ok(told) = other.since(&token, CHANNEL, TOPIC, &[0]) {
                prop_assert!(names(&told).is_superset(&later));
            } else {
                prop_assert_eq!(stop, 0, "the other hub has heard of that offset");
            }
        }
    }
}
