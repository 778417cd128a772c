//! Which keys changed when: what a client that comes back has missed.
//!
//! ```text
//! tick      … 40        41         42
//! changed       BTC-USD    ETH-USD    BTC-USD      only the newest of each key is kept
//! offset        117        120        131          where the topic stood at the end of the tick
//! ```
//!
//! A token of this hub names a tick. A token of another names offsets, and an offset is as good as
//! the last tick that ended at or before it: whoever comes back hears a key twice rather than never.
//!
//! Invariant: every key of a line that changed after `since` is in `changed`, with its last tick.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::pattern::Channel;
use super::resume_token::ResumeToken;

/// Keys of one line: hours of a hundred pairs' minutes, and some megabytes. Who was away for longer
/// gets a snapshot.
const MAX_KEYS: usize = 32_768;
/// Ticks of which the offset is known: a quarter of an hour.
const MAX_OFFSETS: usize = 4_096;

/// A store's key.
pub(super) type Key = Arc<[u8]>;

/// One channel of one partition.
#[derive(Default)]
struct PartitionChanges {
    since: u64,
    /// Where the topic stands, as far as heard.
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

/// All lines.
pub(super) struct RecentChanges {
    hub: u64,
    /// What a line that has not been heard of is complete since.
    since: u64,
    each: BTreeMap<(Channel, i32), PartitionChanges>,
}

/// What changed cannot be told, and of which partitions.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone {
    /// Why.
    pub(super) reason: &'static str,
    /// Where.
    pub(super) partitions: Vec<i32>,
}

impl RecentChanges {
    /// Of the hub with this number, which listens since the end of `tick`.
    pub(super) fn new(hub: u64, tick: u64) -> Self {
        Self { hub, since: tick, each: BTreeMap::new() }
    }

    fn line(&mut self, channel: Channel, partition: i32) -> &mut PartitionChanges {
        let since = self.since;
        let new = || PartitionChanges { since, ..PartitionChanges::default() };
        self.each.entry((channel, partition)).or_insert_with(new)
    }

    /// A batch was heard, after which the topic stands there.
    pub(super) fn advance(&mut self, channel: Channel, partition: i32, next: Option<i64>) {
        let line = self.line(channel, partition);
        if next.is_none() {
            line.offsets.clear();
        }
        line.next = next;
    }

    /// The key changed in this tick.
    pub(super) fn mark(&mut self, channel: Channel, partition: i32, key: &Key, tick: u64) {
        self.line(channel, partition).mark(key, tick);
    }

    /// The tick ends. A channel of which not everything that was heard is marked stays where it
    /// stood: its offsets must not claim what nobody has been told.
    pub(super) fn settle(&mut self, tick: u64, is_marked: impl Fn(Channel) -> bool) {
        let lines = self.each.iter_mut().filter(|((channel, _), _)| is_marked(*channel));
        lines.for_each(|(_, line)| line.settle(tick));
    }

    /// What changed in the line up to the end of `tick` is not known.
    pub(super) fn forget(&mut self, channel: Channel, partition: i32, tick: u64) {
        let line = PartitionChanges { since: tick, ..PartitionChanges::default() };
        self.each.insert((channel, partition), line);
    }

    /// What changed anywhere up to the end of `tick` is not known.
    pub(super) fn forget_all(&mut self, tick: u64) {
        *self = Self::new(self.hub, tick);
    }

    /// Where a channel stands at the end of `tick`.
    pub(super) fn token(&self, channel: Channel, tick: u64, topic: u64) -> ResumeToken {
        let index = u8::try_from(channel.index()).unwrap_or(u8::MAX);
        ResumeToken { channel: index, hub: self.hub, tick, topic, offsets: self.offsets(channel) }
    }

    /// Where its partitions stand, where that is known.
    pub(super) fn offsets(&self, channel: Channel) -> Vec<(i32, i64)> {
        let lines = self.each.range((channel, i32::MIN)..=(channel, i32::MAX));
        let known = lines.filter_map(|((_, partition), line)| {
            line.offsets.back().map(|(offset, _)| (*partition, *offset))
        });
        known.collect()
    }

    /// The keys of a channel that changed since the token was made, in the partitions that are
    /// `here`.
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
            let line = self.each.get(&(channel, *partition));
            let since = line.map_or(self.since, |line| line.since);
            let tick = if token.hub == self.hub {
                Some(token.tick)
            } else {
                let offset = token.offsets.iter().find(|(known, _)| known == partition);
                offset.and_then(|(_, offset)| line?.tick_of(*offset))
            };
            match (tick.filter(|tick| *tick >= since), line) {
                (Some(tick), Some(line)) => {
                    keys.extend(line.after(tick).map(|key| (*partition, Arc::clone(key))));
                }
                (Some(_), None) => {}
                (None, _) => partitions.push(*partition),
            }
        }
        if partitions.is_empty() {
            return Ok(keys);
        }
        Err(Gone { reason: "what changed so long ago is not known any more", partitions })
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
        let lines = RecentChanges::new(1, 0);
        let ours = lines.token(CHANNEL, 5, TOPIC);
        assert_eq!(lines.since(&ours, CHANNEL, TOPIC, &[0]), Ok(vec![]));
        let strange = ResumeToken { hub: 2, topic: 8, ..ours.clone() };
        assert_eq!(lines.since(&strange, CHANNEL, TOPIC, &[0, 1]).unwrap_err().partitions, [0, 1]);
        // Two topics of which no id is known are not the same topic.
        let unknown = ResumeToken { hub: 2, topic: 0, ..ours.clone() };
        assert!(lines.since(&unknown, CHANNEL, 0, &[0]).is_err());
        let other = ResumeToken { channel: 1, ..ours };
        assert!(lines.since(&other, CHANNEL, TOPIC, &[0]).is_err());
    }

    #[test]
    fn what_was_forgotten_is_gone_and_what_came_after_is_known() {
        let mut lines = RecentChanges::new(1, 0);
        lines.mark(CHANNEL, 0, &key(b"a"), 1);
        let old = lines.token(CHANNEL, 1, TOPIC);
        lines.forget(CHANNEL, 0, 2);
        let gone = lines.since(&old, CHANNEL, TOPIC, &[0, 1]).unwrap_err();
        assert_eq!(gone.partitions, [0]);
        let new = lines.token(CHANNEL, 2, TOPIC);
        lines.mark(CHANNEL, 0, &key(b"b"), 3);
        assert_eq!(
            names(&lines.since(&new, CHANNEL, TOPIC, &[0, 1]).unwrap()),
            [b"b".to_vec()].into()
        );
    }

    #[test]
    fn the_oldest_keys_make_room() {
        let mut lines = RecentChanges::new(1, 0);
        for number in 0..=MAX_KEYS {
            lines.mark(CHANNEL, 0, &key(&number.to_be_bytes()), 1 + number as u64);
        }
        assert!(lines.since(&lines.token(CHANNEL, 0, TOPIC), CHANNEL, TOPIC, &[0]).is_err());
        let kept = lines.since(&lines.token(CHANNEL, 1, TOPIC), CHANNEL, TOPIC, &[0]);
        assert_eq!(kept.map(|keys| keys.len()), Ok(MAX_KEYS));
    }

    proptest! {
        /// From any tick on, and from any offset that was given out: nothing that changed later is
        /// missing, and by the same hub nothing else is told.
        #[test]
        fn whoever_comes_back_misses_nothing(
            ticks in vec(vec(0..9_u8, 0..4), 1..20), stop in 0..20_u64,
        ) {
            let (mut one, mut other) = (RecentChanges::new(1, 0), RecentChanges::new(2, 0));
            let mut token = one.token(CHANNEL, 0, TOPIC);
            let (mut later, mut offset) = (BTreeSet::new(), 0);
            for (tick, keys) in (1_u64..).zip(&ticks) {
                let count = i64::try_from(keys.len()).unwrap();
                for lines in [&mut one, &mut other] {
                    lines.advance(CHANNEL, 0, Some(offset + count));
                    for number in keys {
                        lines.mark(CHANNEL, 0, &key(&[*number]), tick);
                    }
                    lines.settle(tick, |_| true);
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
