//! The depth of reorganisations, for the metric. The processor decides by its own tree which block
//! counts.

use std::collections::BTreeMap;

use schemas::ChainHead;

/// Blocks that are remembered: a block further behind the highest one is final.
const REMEMBERED: i64 = 64;

/// The hash and the parent of each canonical block of late.
///
/// Invariant: the numbers span at most [`REMEMBERED`] blocks.
#[derive(Debug, Default)]
pub(super) struct Forks {
    canonical: BTreeMap<i64, (String, String)>,
}

impl Forks {
    /// Takes a head; the number of blocks that it replaces. One that fills a gap below replaces those
    /// of another branch there.
    pub(super) fn head(&mut self, head: &ChainHead) -> usize {
        let number = head.block_number;
        if self.is_final(number) {
            return 0;
        }
        let is_filling = self
            .canonical
            .get(&number.saturating_add(1))
            .is_some_and(|(_, parent)| *parent == head.block_hash);
        let mut replaced = 0;
        let before = self.canonical.get(&number).map(|(hash, _)| hash);
        if before != Some(&head.block_hash) {
            replaced += usize::from(before.is_some());
            if !is_filling {
                replaced += self.canonical.split_off(&number.saturating_add(1)).len();
            }
        }
        self.canonical.insert(number, (head.block_hash.clone(), head.parent_hash.clone()));
        // A parent of another branch is replaced; the parent itself is on its way.
        let below = number.saturating_sub(1);
        if self.canonical.get(&below).is_some_and(|(hash, _)| *hash != head.parent_hash) {
            self.canonical.remove(&below);
            replaced += 1;
        }
        self.forget();
        replaced
    }

    fn is_final(&self, number: i64) -> bool {
        let highest = self.canonical.last_key_value();
        highest.is_some_and(|(highest, _)| number <= highest.saturating_sub(REMEMBERED))
    }

    fn forget(&mut self) {
        if let Some((highest, _)) = self.canonical.last_key_value() {
            let first = highest.saturating_sub(REMEMBERED - 1);
            self.canonical = self.canonical.split_off(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(number: i64, hash: &str, parent: &str) -> ChainHead {
        ChainHead {
            block_number: number,
            block_hash: hash.into(),
            parent_hash: parent.into(),
            ..ChainHead::default()
        }
    }

    /// The depths of heads: `number hash parent`.
    fn depths(forks: &mut Forks, heads: &[(i64, &str, &str)]) -> Vec<usize> {
        heads
            .iter()
            .map(|(number, hash, parent)| forks.head(&head(*number, hash, parent)))
            .collect()
    }

    #[test]
    fn a_head_replaces_the_blocks_above_its_parent() {
        let mut forks = Forks::default();
        let chain = [(1, "a", "-"), (2, "b", "a"), (3, "c", "b"), (4, "d", "c"), (4, "d", "c")];
        assert_eq!(depths(&mut forks, &chain), [0, 0, 0, 0, 0]);
        // Two and above give way; then back, by one head at a time.
        assert_eq!(depths(&mut forks, &[(2, "B", "a"), (3, "C", "B")]), [3, 0]);
        assert_eq!(depths(&mut forks, &[(2, "b", "a"), (3, "c", "b"), (4, "d", "c")]), [2, 0, 0]);
    }

    #[test]
    fn a_node_that_announces_only_the_last_head_replaces_the_rest_as_the_gap_is_filled() {
        let mut forks = Forks::default();
        depths(&mut forks, &[(1, "a", "-"), (2, "b", "a"), (3, "c", "b")]);
        assert_eq!(depths(&mut forks, &[(4, "D", "C"), (3, "C", "B"), (2, "B", "a")]), [1, 1, 0]);
        assert_eq!(forks.canonical.len(), 4);
    }

    #[test]
    fn what_is_final_is_forgotten_and_replaces_nothing() {
        let mut forks = Forks::default();
        for number in 0..200 {
            let (hash, parent) = (number.to_string(), (number - 1).to_string());
            assert_eq!(forks.head(&head(number, &hash, &parent)), 0);
        }
        assert_eq!(forks.canonical.len(), 64);
        assert_eq!(forks.head(&head(135, "x", "y")), 0);
        assert_eq!(forks.head(&head(136, "x", "135")), 64);
    }
}
