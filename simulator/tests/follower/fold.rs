//! The canonical chain by the records of a follower, and by the lines of the truth.
//!
//! The rule is that of `docs/design/swaps.md`, written a second time: heads decide, the flag of a log has
//! an effect in a gap alone, and 64 blocks behind the highest head nothing changes any more.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result, ensure};
use schemas::{ChainHead, Swap, SwapStatus};
use serde_json::Value;
use venues::pipeline::Output;

/// Blocks behind the highest head that do not change.
const FINAL: i64 = 64;

/// A swap as text: transaction, pool, amounts, root, liquidity, tick and time in seconds.
type Content = String;
/// Block number, block hash, index of the log.
pub(crate) type Place = (i64, String, i64);

/// A swap of one block.
struct Instance {
    content: Content,
    is_added: bool,
}

/// The state of the fold.
#[derive(Default)]
pub(crate) struct Fold {
    /// The parents of all announced blocks, by number and hash.
    blocks: HashMap<(i64, String), String>,
    canonical: BTreeMap<i64, String>,
    highest: Option<i64>,
    instances: BTreeMap<Place, Instance>,
    /// What is final.
    settled: BTreeMap<Place, Content>,
    /// Heads and swaps that were refused because they are final.
    pub(crate) late: usize,
    /// Reasons of dead letters, and how often.
    pub(crate) dead_letters: BTreeMap<&'static str, usize>,
}

impl Fold {
    /// Takes a record.
    pub(crate) fn take(&mut self, output: Output) -> Result<()> {
        match output {
            Output::Head { head, .. } => self.head(&head),
            Output::Swap { key, swap } => self.swap(&key.pool, &swap)?,
            Output::DeadLetter(letter) => {
                *self.dead_letters.entry(letter.reason).or_default() += 1;
            }
            _ => {}
        }
        Ok(())
    }

    /// The number of the canonical head.
    pub(crate) fn number(&self) -> i64 {
        self.canonical.last_key_value().map_or(-1, |(number, _)| *number)
    }

    fn last_final(&self) -> i64 {
        self.highest.map_or(-1, |highest| highest - FINAL)
    }

    fn head(&mut self, head: &ChainHead) {
        let (number, hash) = (head.block_number, &head.block_hash);
        let last_final = self.last_final();
        if number <= last_final {
            self.late += 1;
            return;
        }
        self.blocks.insert((number, hash.clone()), head.parent_hash.clone());
        if self.canonical.get(&number) != Some(hash) {
            self.canonical.split_off(&number);
            self.canonical.insert(number, hash.clone());
        }
        let (mut at, mut block) = (number, hash.clone());
        while let Some(parent) = self.blocks.get(&(at, block)).cloned() {
            at -= 1;
            if at <= last_final || self.canonical.get(&at) == Some(&parent) {
                break;
            }
            self.canonical.insert(at, parent.clone());
            block = parent;
        }
        self.highest = self.highest.max(Some(number));
        self.settle();
    }

    /// What is final by now is as it is now.
    fn settle(&mut self) {
        let first_open = (self.last_final() + 1, String::new(), 0);
        let open = self.instances.split_off(&first_open);
        let ended = std::mem::replace(&mut self.instances, open);
        for (place, instance) in ended {
            if self.is_canonical(&place, &instance) {
                self.settled.insert(place, instance.content);
            }
        }
    }

    fn is_canonical(&self, place: &Place, instance: &Instance) -> bool {
        match self.canonical.get(&place.0) {
            Some(hash) => *hash == place.1,
            None => instance.is_added,
        }
    }

    fn swap(&mut self, pool: &str, swap: &Swap) -> Result<()> {
        if swap.status == SwapStatus::Pending {
            return Ok(());
        }
        let hash = swap.block_hash.clone().context("no hash")?;
        let place =
            (swap.block_number.context("no number")?, hash, swap.log_index.context("no index")?);
        if place.0 <= self.last_final() {
            self.late += usize::from(!self.settled.contains_key(&place));
            return Ok(());
        }
        let is_added = swap.status != SwapStatus::Removed;
        if is_added {
            ensure!(swap.block_time.is_some(), "a swap without a time: {swap:?}");
        }
        let text =
            |number: Option<&dyn ToString>| number.map(ToString::to_string).unwrap_or_default();
        let seconds = swap.block_time.map(|time| time.0 / 1000);
        let content = [
            swap.tx_hash.clone(),
            pool.to_owned(),
            swap.amount0.to_string(),
            swap.amount1.to_string(),
            text(swap.sqrt_price_x96.as_ref().map(|one| one as _)),
            text(swap.liquidity.as_ref().map(|one| one as _)),
            text(swap.tick.as_ref().map(|one| one as _)),
            text(seconds.as_ref().map(|one| one as _)),
        ]
        .join(" ");
        // Flag and content are those of the last log; a removal has no time if it never was added.
        let known = self
            .instances
            .entry(place)
            .or_insert_with(|| Instance { content: content.clone(), is_added });
        known.is_added = is_added;
        if is_added {
            known.content = content;
        }
        Ok(())
    }

    /// The swaps of the canonical chain.
    pub(crate) fn swaps(&self) -> BTreeMap<Place, Content> {
        let open = self.instances.iter().filter(|(place, one)| self.is_canonical(place, one));
        let open = open.map(|(place, one)| (place.clone(), one.content.clone()));
        self.settled
            .iter()
            .map(|(place, content)| (place.clone(), content.clone()))
            .chain(open)
            .collect()
    }
}

/// A block of the truth.
#[derive(Clone)]
struct Told {
    number: i64,
    parent: String,
    swaps: Vec<(i64, Content)>,
}

/// The lines of the truth.
#[derive(Default)]
pub(crate) struct Truth {
    blocks: HashMap<String, Told>,
    head: Option<String>,
}

impl Truth {
    /// Takes a line.
    pub(crate) fn take(&mut self, line: &str) -> Result<()> {
        let line: Value = serde_json::from_str(line)?;
        let text = |value: &Value| match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if let Some(number) = line["block"].as_i64() {
            let names =
                ["tx_hash", "pool", "amount0", "amount1", "sqrt_price_x96", "liquidity", "tick"];
            let swap = |swap: &Value| {
                let names = names.map(|name| text(&swap[name])).join(" ");
                let content = format!("{names} {}", text(&line["time_s"]));
                Ok((swap["log_index"].as_i64().context("no index")?, content))
            };
            let swaps = line["swaps"].as_array().context("no swaps")?.iter().map(swap);
            let block = Told {
                number,
                parent: text(&line["parent_hash"]),
                swaps: swaps.collect::<Result<_>>()?,
            };
            self.blocks.insert(text(&line["hash"]), block);
        } else if line["head"].is_string() {
            self.head = Some(text(&line["head"]));
        }
        Ok(())
    }

    fn canonical(&self) -> impl Iterator<Item = (&String, &Told)> {
        let of = |hash: &String| self.blocks.get_key_value(hash);
        std::iter::successors(self.head.as_ref().and_then(of), move |(_, block)| of(&block.parent))
    }

    /// The number of the head.
    pub(crate) fn number(&self) -> i64 {
        self.canonical().next().map_or(-1, |(_, block)| block.number)
    }

    /// Blocks without a swap at the end of the chain.
    pub(crate) fn empty(&self) -> usize {
        self.canonical().take_while(|(_, block)| block.swaps.is_empty()).count()
    }

    /// The swaps of the canonical chain.
    pub(crate) fn swaps(&self) -> BTreeMap<Place, Content> {
        let of = |(hash, block): (&String, &Told)| {
            let (hash, number) = (hash.clone(), block.number);
            block
                .swaps
                .clone()
                .into_iter()
                .map(move |(index, content)| ((number, hash.clone(), index), content))
        };
        self.canonical().flat_map(of).collect()
    }
}

/// The fold has the swaps of the truth, and no other.
pub(crate) fn check(fold: &Fold, truth: &Truth) -> Result<()> {
    let (found, expected) = (fold.swaps(), truth.swaps());
    let missing: Vec<_> = expected.iter().filter(|(place, _)| !found.contains_key(place)).collect();
    let wrong: Vec<_> =
        found.iter().filter(|(place, one)| expected.get(place) != Some(one)).collect();
    ensure!(
        missing.is_empty() && wrong.is_empty(),
        "{} of {} swaps are missing, first {:?}; {} are wrong, first {:?}; late {}, dead letters {:?}",
        missing.len(),
        expected.len(),
        missing.first(),
        wrong.len(),
        wrong.first(),
        fold.late,
        fold.dead_letters
    );
    Ok(())
}
