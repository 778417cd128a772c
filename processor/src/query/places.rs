//! Where pairs were last found, so that a look-up goes to one partition and not to all of them.
//!
//! A pair's partition is whatever its writer chose: murmur2 of the key's bytes for ours and Java's,
//! another hash for others, and the bytes begin with the id of a schema. So it is remembered and not
//! computed. A place that is wrong, because the pair moved or two pairs share it, costs a look.

use std::hash::{Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU16, Ordering};

use rustc_hash::FxHasher;
use schemas::PairKey;

/// Places: twice as many as the largest installation has pairs in use, in 128 KiB.
const PLACES: usize = 1 << 16;
/// Nothing was found here yet.
const NOWHERE: u16 = u16::MAX;

/// The partition of each pair that was found, by its hash.
pub(super) struct Places(Box<[AtomicU16]>);

impl Default for Places {
    fn default() -> Self {
        Self((0..PLACES).map(|_| AtomicU16::new(NOWHERE)).collect())
    }
}

impl Places {
    fn of(&self, pair: &PairKey) -> &AtomicU16 {
        let mut hasher = FxHasher::default();
        pair.hash(&mut hasher);
        // The upper bits are the better mixed ones.
        let index = usize::try_from(hasher.finish() >> 48).unwrap_or(0);
        &self.0[index % PLACES]
    }

    /// Where to look first.
    pub(super) fn recall(&self, pair: &PairKey) -> Option<i32> {
        let place = self.of(pair).load(Ordering::Relaxed);
        (place != NOWHERE).then_some(i32::from(place))
    }

    /// It was found there. A partition beyond what fits is not remembered.
    pub(super) fn remember(&self, pair: &PairKey, partition: i32) {
        let place = u16::try_from(partition).unwrap_or(NOWHERE);
        self.of(pair).store(place, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_recalled_and_nothing_else() {
        let places = Places::default();
        let pairs: Vec<_> = (0..400).map(|n| PairKey::new(format!("B{n}"), "USD", "x")).collect();
        assert_eq!(places.recall(&pairs[0]), None);
        for (partition, pair) in (0..).zip(&pairs) {
            places.remember(pair, partition);
        }
        let recalled = (0..).zip(&pairs).filter(|(n, pair)| places.recall(pair) == Some(*n));
        // Pairs that share a place are few.
        assert!(recalled.count() > 390);
        places.remember(&pairs[0], i32::MAX);
        assert_eq!(places.recall(&pairs[0]), None);
    }
}
