//! The partition in which a pair, a pool or a token was last found, so that a look-up reads one partition first.
//!
//! A pair's partition depends on its writer: murmur2 of the key's bytes for this producer and
//! Java's, another hash for others, and the bytes begin with a schema id. Therefore it is
//! remembered and not computed. A wrong hint, because the pair moved or two pairs share a slot,
//! costs one more look-up.

use std::hash::{Hash, Hasher as _};
use std::sync::atomic::{AtomicU16, Ordering};

use rustc_hash::FxHasher;

/// Slots: twice as many as the largest installation has pairs in use, in 128 KiB.
const SLOTS: usize = 1 << 16;
/// The value of an empty slot.
const EMPTY: u16 = u16::MAX;

/// The partition of each key that was found, by its hash.
pub(super) struct PartitionHints(Box<[AtomicU16]>);

impl Default for PartitionHints {
    fn default() -> Self {
        Self((0..SLOTS).map(|_| AtomicU16::new(EMPTY)).collect())
    }
}

impl PartitionHints {
    fn of(&self, key: &impl Hash) -> &AtomicU16 {
        let mut hasher = FxHasher::default();
        key.hash(&mut hasher);
        // The upper bits of the hash are mixed better.
        let index = usize::try_from(hasher.finish() >> 48).unwrap_or(0);
        &self.0[index % SLOTS]
    }

    /// The partition to read first.
    pub(super) fn recall(&self, key: &impl Hash) -> Option<i32> {
        let slot = self.of(key).load(Ordering::Relaxed);
        (slot != EMPTY).then_some(i32::from(slot))
    }

    /// Records the partition. One that does not fit is not recorded.
    pub(super) fn remember(&self, key: &impl Hash, partition: i32) {
        let slot = u16::try_from(partition).unwrap_or(EMPTY);
        self.of(key).store(slot, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use schemas::PairKey;

    use super::*;

    #[test]
    fn what_was_found_is_recalled_and_nothing_else() {
        let hints = PartitionHints::default();
        let pairs: Vec<_> = (0..400).map(|n| PairKey::new(format!("B{n}"), "USD", "x")).collect();
        assert_eq!(hints.recall(&pairs[0]), None);
        for (partition, pair) in (0..).zip(&pairs) {
            hints.remember(pair, partition);
        }
        let recalled = (0..).zip(&pairs).filter(|(n, pair)| hints.recall(pair) == Some(*n));
        // Few pairs share a slot.
        assert!(recalled.count() > 390);
        hints.remember(&pairs[0], i32::MAX);
        assert_eq!(hints.recall(&pairs[0]), None);
    }
}
