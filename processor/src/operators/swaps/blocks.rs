//! The announced blocks of one chain, and the canonical one of each height: a pure value.
//!
//! ```text
//!         floor              FINAL                          head      highest
//! ──────────●──────────────────┃──●────●────●────●────●──────●──────────○
//!  the newest known block      ┃   canonical: number → hash   above the head no block is canonical
//!  at or below FINAL           ┃        ○────○ forks
//! ```
//!
//! Invariants:
//! - A canonical entry at or below FINAL never changes, and FINAL never goes back.
//! - Above the head no height has a canonical block.
//! - Heights at or below FINAL are gone, but for the floor.
//! - The value is the rows of its store and nothing else, so that a restart goes on with the same.

use std::collections::{BTreeMap, BTreeSet};

use schemas::avro::{self, Malformed, Reader};
use schemas::{ChainHead, Timestamp};

/// Blocks behind the highest head that no reorganisation is expected to reach: two epochs of Ethereum,
/// which finalises within them.
pub const FINAL: i64 = 64;
/// Blocks that a height keeps. A chain has two at a fork, seldom three; the bound holds against a node
/// that invents them. One too many is a gap, which its next announcement fills.
pub(super) const MAX_FORKS: usize = 16;
/// The first byte of a row's bytes.
const VERSION: i64 = 1;

/// A block as its child knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Block {
    parent: String,
    time: Timestamp,
}

/// The blocks of one height: a row of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Height {
    canonical: Option<String>,
    /// By hash.
    blocks: BTreeMap<String, Block>,
}

impl Height {
    /// Appends its bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        avro::long(out, VERSION);
        avro::optional(out, self.canonical.as_ref(), |out, hash| avro::string(out, hash));
        let blocks: Vec<_> = self.blocks.iter().collect();
        avro::array(out, &blocks, |out, (hash, block)| {
            avro::string(out, hash);
            avro::string(out, &block.parent);
            avro::long(out, block.time.0);
        });
    }

    /// Reads its bytes.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut reader = Reader::new(bytes);
        let read = |reader: &mut Reader<'_>| -> Result<Self, Malformed> {
            if reader.long()? != VERSION {
                return Err(Malformed);
            }
            let canonical = reader.optional(|reader| reader.string().map(str::to_owned))?;
            let blocks = reader.array(MAX_FORKS, |reader| {
                let (hash, parent) = (reader.string()?.to_owned(), reader.string()?.to_owned());
                Ok((hash, Block { parent, time: Timestamp(reader.long()?) }))
            })?;
            Ok(Self { canonical, blocks: blocks.into_iter().collect() })
        };
        read(&mut reader).map_err(|error| format!("no blocks of a chain: {error:?}"))
    }

    /// Makes a block canonical, or none. Whether that is a change.
    fn set(&mut self, hash: Option<&str>) -> bool {
        if self.canonical.as_deref() == hash {
            return false;
        }
        self.canonical = hash.map(str::to_owned);
        true
    }

    /// Forgets a block that is neither canonical nor `newest`, if there are too many.
    fn forget(&mut self, newest: &str) -> bool {
        if self.blocks.len() <= MAX_FORKS {
            return false;
        }
        let is_kept = |hash: &str| hash == newest || self.canonical.as_deref() == Some(hash);
        let oldest = self.blocks.keys().find(|hash| !is_kept(hash)).cloned();
        oldest.is_some_and(|hash| self.blocks.remove(&hash).is_some())
    }
}

/// The effect of a head.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Announced {
    /// Heights whose row has changed, or is gone.
    pub(super) rows: BTreeSet<i64>,
    /// The least height from which on a swap may have another state; `None` for no effect on any.
    pub(super) from: Option<i64>,
    /// FINAL before the head.
    pub(super) was_final: Option<i64>,
    /// The head made another block canonical at a height that had one.
    pub(super) reorganised: bool,
    /// The parent of a block is unknown: what is below keeps its state.
    pub(super) gap: bool,
    /// A fork was forgotten.
    pub(super) forgotten: bool,
}

/// The head is at or below FINAL, and is not the block that is known there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct IsFinal;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Blocks {
    heights: BTreeMap<i64, Height>,
}

impl Blocks {
    /// Adds a row of the store.
    pub(super) fn add(&mut self, number: i64, height: Height) {
        self.heights.insert(number, height);
    }

    /// The row of a height.
    pub(super) fn height(&self, number: i64) -> Option<&Height> {
        self.heights.get(&number)
    }

    /// The number of the head.
    pub(super) fn head(&self) -> Option<i64> {
        let mut down = self.heights.iter().rev();
        down.find(|(_, height)| height.canonical.is_some()).map(|(number, _)| *number)
    }

    /// The highest number of any head so far.
    fn highest(&self) -> Option<i64> {
        self.heights.last_key_value().map(|(number, _)| *number)
    }

    /// The number of the final block.
    pub(super) fn last_final(&self) -> Option<i64> {
        self.highest().map(|number| number - FINAL)
    }

    /// A time before which every block is final: that of the newest known block at or below FINAL.
    pub(super) fn final_time(&self) -> Option<Timestamp> {
        let (_, height) = self.heights.range(..=self.last_final()?).next_back()?;
        height.canonical.as_ref().and_then(|hash| height.blocks.get(hash)).map(|block| block.time)
    }

    /// The canonical hash of a height.
    pub(super) fn canonical(&self, number: i64) -> Option<&str> {
        self.heights.get(&number)?.canonical.as_deref()
    }

    /// Refuses a head that has no effect: nothing is changed by the question.
    pub(super) fn check(&self, head: &ChainHead) -> Result<(), IsFinal> {
        let is_final = self.last_final().is_some_and(|last| head.block_number <= last);
        let is_known = self.canonical(head.block_number) == Some(&head.block_hash);
        if is_final && !is_known { Err(IsFinal) } else { Ok(()) }
    }

    /// Takes a head that [`Self::check`] lets pass.
    pub(super) fn announce(&mut self, head: &ChainHead) -> Announced {
        let number = head.block_number;
        let was_final = self.last_final();
        let mut effect = Announced { was_final, ..Announced::default() };
        if was_final.is_some_and(|last| number <= last) {
            return effect;
        }
        let head_before = self.head();
        let height = self.heights.entry(number).or_default();
        let block = Block { parent: head.parent_hash.clone(), time: head.block_time };
        // A known block keeps its first facts: its hash stands for them.
        if !height.blocks.contains_key(&head.block_hash) {
            height.blocks.insert(head.block_hash.clone(), block);
            effect.rows.insert(number);
        }
        let is_repeat = height.canonical.as_deref() == Some(&head.block_hash);
        if !is_repeat {
            effect.reorganised |= height.canonical.is_some();
            height.set(Some(&head.block_hash));
            effect.rows.insert(number);
            self.cut(number, &mut effect);
            // Above the lower of the two heads confirmations change, and canonical blocks here.
            effect.note(number);
            effect.note(head_before.map_or(number, |before| before.min(number)));
        }
        if let Some(height) = self.heights.get_mut(&number) {
            effect.forgotten = height.forget(&head.block_hash);
        }
        self.walk(number, was_final, &mut effect);
        effect
    }

    /// Makes no block above a head canonical.
    fn cut(&mut self, head: i64, effect: &mut Announced) {
        for (number, height) in self.heights.range_mut(head + 1..) {
            if height.set(None) {
                effect.rows.insert(*number);
                effect.reorganised = true;
            }
        }
    }

    /// Follows the parents of a canonical block down to one that is canonical, to a gap or to FINAL.
    fn walk(&mut self, mut number: i64, was_final: Option<i64>, effect: &mut Announced) {
        // Of at most FINAL heights: those above `was_final`, and unknown blocks end it.
        loop {
            let height = self.heights.get(&number);
            let known = height.and_then(|height| height.blocks.get(height.canonical.as_ref()?));
            let Some(parent) = known.map(|block| block.parent.clone()) else {
                effect.gap = true;
                return;
            };
            number -= 1;
            if number < 0 || was_final.is_some_and(|last| number <= last) {
                return;
            }
            let below = self.heights.entry(number).or_default();
            let had = below.canonical.is_some();
            if !below.set(Some(&parent)) {
                return;
            }
            effect.reorganised |= had;
            effect.rows.insert(number);
            effect.note(number);
        }
    }

    /// Forgets what is final, but for the floor, once the states of its swaps are settled. Returns the
    /// heights that are gone.
    pub(super) fn prune(&mut self) -> Vec<i64> {
        let Some(last) = self.last_final() else { return Vec::new() };
        let is_known = |height: &Height| {
            height.canonical.as_ref().is_some_and(|hash| height.blocks.contains_key(hash))
        };
        let floor = self.heights.range(..=last).rev().find(|(_, height)| is_known(height));
        let floor = floor.map(|(number, _)| *number);
        let below = self.heights.range(..=last).map(|(number, _)| *number);
        let gone: Vec<i64> = below.filter(|number| Some(*number) != floor).collect();
        for number in &gone {
            self.heights.remove(number);
        }
        gone
    }
}

impl Announced {
    fn note(&mut self, number: i64) {
        self.from = Some(self.from.map_or(number, |from| from.min(number)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(number: i64, hash: &str, parent: &str) -> ChainHead {
        ChainHead {
            block_number: number,
            block_hash: hash.into(),
            parent_hash: parent.into(),
            block_time: Timestamp(number * 1000),
            received_at: Timestamp(number * 1000),
        }
    }

    fn chain(blocks: &Blocks) -> Vec<(i64, &str)> {
        let named =
            |(number, height): (&i64, &Height)| height.canonical.as_deref().map(|_| *number);
        let numbers: Vec<i64> = blocks.heights.iter().filter_map(named).collect();
        numbers.into_iter().filter_map(|one| Some((one, blocks.canonical(one)?))).collect()
    }

    fn all(heads: &[(i64, &str, &str)]) -> Blocks {
        let mut blocks = Blocks::default();
        for (number, hash, parent) in heads {
            blocks.announce(&head(*number, hash, parent));
        }
        blocks
    }

    #[test]
    fn a_fork_replaces_what_is_above_its_beginning() {
        let blocks = all(&[(5, "a5", "a4"), (6, "a6", "a5"), (7, "a7", "a6"), (6, "b6", "a5")]);
        assert_eq!(chain(&blocks), [(4, "a4"), (5, "a5"), (6, "b6")]);
        assert_eq!(blocks.head(), Some(6));
        assert_eq!(blocks.last_final(), Some(7 - FINAL), "FINAL is behind the highest");
    }

    #[test]
    fn the_last_head_of_a_known_fork_brings_its_ancestors_back() {
        let mut blocks = all(&[(5, "a5", "a4"), (6, "a6", "a5"), (6, "b6", "a5"), (7, "b7", "b6")]);
        let back = blocks.announce(&head(7, "a7", "a6"));
        assert_eq!(chain(&blocks), [(4, "a4"), (5, "a5"), (6, "a6"), (7, "a7")]);
        assert_eq!((back.from, back.reorganised, back.gap), (Some(6), true, false));
    }

    #[test]
    fn a_gap_keeps_what_is_below_until_its_head_comes() {
        let mut blocks = all(&[(5, "a5", "a4"), (6, "a6", "a5"), (7, "b7", "b6")]);
        assert_eq!(chain(&blocks), [(4, "a4"), (5, "a5"), (6, "b6"), (7, "b7")]);
        let filled = blocks.announce(&head(6, "b6", "b5"));
        assert_eq!(chain(&blocks), [(4, "a4"), (5, "b5"), (6, "b6"), (7, "b7")]);
        assert_eq!(filled.from, Some(5));
        let again = blocks.announce(&head(6, "b6", "b5"));
        assert_eq!((again.from, again.rows.len()), (None, 0), "a repeat has no effect");
    }

    #[test]
    fn a_head_at_or_below_final_is_refused_unless_it_is_known() {
        let mut blocks = all(&[(5, "a5", "a4"), (6, "a6", "a5")]);
        blocks.announce(&head(6 + FINAL, "z", "y"));
        blocks.prune();
        assert_eq!(blocks.check(&head(6, "b6", "a5")), Err(IsFinal));
        assert_eq!(blocks.check(&head(6, "a6", "a5")), Ok(()), "the floor");
        assert_eq!(blocks.check(&head(7, "b7", "b6")), Ok(()));
        assert_eq!(blocks.final_time(), Some(Timestamp(6000)));
        assert_eq!(blocks.heights.keys().copied().collect::<Vec<_>>(), [6, 5 + FINAL, 6 + FINAL]);
    }

    #[test]
    fn forks_of_a_height_are_bounded_and_the_canonical_one_stays() {
        let mut blocks = Blocks::default();
        for fork in 0..3 * MAX_FORKS {
            blocks.announce(&head(5, &format!("{fork:03}"), "a4"));
        }
        let height = blocks.height(5).unwrap();
        assert_eq!(height.blocks.len(), MAX_FORKS);
        assert!(height.blocks.contains_key(height.canonical.as_ref().unwrap()));
    }

    proptest! {
        /// Numbers of two forks in any order: the value is that of its rows, and the invariants hold.
        #[test]
        fn rows_are_the_whole_value(heads in prop::collection::vec((0i64..90, 0..3u8, 0..3u8), 0..60)) {
            let (mut blocks, mut rows) = (Blocks::default(), BTreeMap::new());
            let mut last = None;
            for (number, fork, parent) in heads {
                let one = head(number, &format!("{number}-{fork}"), &format!("{}-{parent}", number - 1));
                if blocks.check(&one).is_err() {
                    continue;
                }
                let was: Vec<_> = last.map_or(vec![], |last: i64| {
                    blocks.heights.range(..=last).map(|(n, h)| (*n, h.clone())).collect()
                });
                let mut changed = blocks.announce(&one).rows;
                changed.extend(blocks.prune());
                for number in changed {
                    match blocks.height(number) {
                        None => drop(rows.remove(&number)),
                        Some(height) => {
                            let mut bytes = Vec::new();
                            height.write(&mut bytes);
                            rows.insert(number, bytes);
                        }
                    }
                }
                for (number, height) in was {
                    let now = blocks.height(number);
                    prop_assert!(now.is_none_or(|now| now.canonical == height.canonical));
                }
                let mut read = Blocks::default();
                for (number, bytes) in &rows {
                    read.add(*number, Height::read(bytes).unwrap());
                }
                prop_assert_eq!(&read, &blocks);
                prop_assert!(blocks.last_final() >= last);
                prop_assert!(i64::try_from(blocks.heights.len()).unwrap() <= FINAL + 1);
                last = blocks.last_final();
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Height::read(&bytes);
        }
    }
}
