//! The requests for the logs and heads that an outage or a gap of heads has hidden.
//!
//! ```text
//! after an outage   Anchor: the last block by its number ─→ Walk ─→ Newest ─→ Walk ─→ Logs ─→ heads
//! at the beginning  Newest ─→ Walk ─→ Logs ─→ heads
//! after a gap       Walk ─→ Logs ─→ heads
//! ```
//!
//! A walk goes from a head down by parent hashes to a block that was announced, so it ends below every
//! reorganisation that nobody announced. Its blocks are announced upwards, after the logs.
//!
//! A follower that begins may follow one that was killed, whose last blocks were replaced since. Only heads
//! take their swaps back, so it walks as far as after an outage, and without a first block it begins where
//! a reorganisation may still reach.

use schemas::ChainHead;

use super::FINAL;
use super::blocks::Blocks;
use super::held::MAX_HELD;
use super::requests::Request;

/// Blocks of a walk: 26 s of requests at 50 ms each. A longer outage keeps a gap of heads; its logs come
/// nevertheless.
const MAX_WALK: usize = 512;
/// Blocks of a request for logs. Nodes answer at least 100 of a few pools, and each block that has a log
/// may need a request for its time.
const CHUNK: i64 = 100;
/// Blocks before the last head whose logs are asked for again: a connection may end between a head and
/// its logs, while another fork has the block's place. A reorganisation may go back to it.
const OVERLAP: i64 = FINAL;
/// Logs of an answer, when it has several blocks: half of what may wait for times, so that the logs of
/// the subscription have room.
const MAX_LOGS: usize = MAX_HELD / 2;

/// The request that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// The block at the number of the last head.
    Anchor(i64),
    /// The newest block.
    Newest,
    /// The parent of the last block of the walk.
    Walk,
    /// Logs of blocks from a number to a number.
    Logs(i64, i64),
    /// The times of the blocks of those logs.
    Times(i64, i64),
}

/// The state of a backfill.
pub(super) struct Backfill {
    step: Step,
    /// The blocks to announce.
    walked: Vec<ChainHead>,
    /// Blocks of this walk.
    depth: usize,
    /// The last head before the outage.
    last: Option<i64>,
    /// The first block whose logs are asked for; `None` after a gap: the lowest walked block.
    from: Option<i64>,
    /// The last block whose logs are asked for.
    to: i64,
    /// Blocks of the next request for logs.
    chunk: i64,
    /// No block below is of interest.
    floor: i64,
}

/// The next thing to do.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// To send a request.
    Ask(Request),
    /// To wait for the times of blocks, then [`Backfill::settled`].
    Wait,
    /// To announce these blocks; it is over.
    Done(Vec<ChainHead>),
    /// To connect again.
    Fail,
}

impl Backfill {
    fn new(step: Step, last: Option<i64>, from: Option<i64>, floor: Option<i64>) -> Self {
        let floor = floor.unwrap_or(0).max(0);
        Self { step, walked: Vec::new(), depth: 0, last, from, to: 0, chunk: CHUNK, floor }
    }

    /// After an outage whose last head had this number. `lacking` is what another backfill has left.
    pub(super) fn after(last: i64, lacking: Option<i64>, floor: Option<i64>) -> (Self, Request) {
        let from = lacking.unwrap_or(last.saturating_sub(OVERLAP));
        let from = from.max(floor.unwrap_or(0)).max(0);
        (Self::new(Step::Anchor(last), Some(last), Some(from), floor), Request::Number(last))
    }

    /// Before any head: from a block on, or from the lowest that a reorganisation may reach. `lacking` is
    /// what another backfill has left.
    pub(super) fn begin(first: Option<i64>, lacking: Option<i64>) -> (Self, Request) {
        (Self::new(Step::Newest, None, lacking.or(first), first.or(lacking)), Request::Latest)
    }

    /// Of the blocks before a head whose parent was never announced.
    pub(super) fn gap(head: ChainHead, floor: Option<i64>) -> (Self, Request) {
        let parent = Request::Block(head.parent_hash.clone());
        let mut backfill = Self::new(Step::Walk, None, None, floor);
        backfill.to = head.block_number;
        backfill.walked.push(head);
        (backfill, parent)
    }

    /// The request is one that this waits for.
    pub(super) fn waits_for(&self, request: &Request) -> bool {
        match (&self.step, request) {
            (Step::Anchor(last), Request::Number(number)) => last == number,
            (Step::Newest, Request::Latest) => true,
            (Step::Walk, Request::Block(hash)) => {
                self.walked.last().is_some_and(|block| block.parent_hash == *hash)
            }
            (Step::Logs(from, to), Request::Range(first, last)) => (from, to) == (first, last),
            _ => false,
        }
    }

    /// Takes a block, or that there is none.
    pub(super) fn block(&mut self, block: Option<ChainHead>, blocks: &Blocks) -> Next {
        match self.step {
            Step::Anchor(_) => {
                if let Some(block) = block {
                    let limit = usize::try_from(FINAL).unwrap_or(MAX_WALK);
                    if let Some(next) = self.walk(block, limit, blocks) {
                        return next;
                    }
                }
                self.newest()
            }
            Step::Newest => {
                let Some(block) = block else { return Next::Fail };
                if self.from.is_none() {
                    self.floor = block.block_number.saturating_sub(FINAL - 1).max(0);
                    self.from = Some(self.floor);
                }
                self.depth = 0;
                self.to = block.block_number;
                let next = self.walk(block, MAX_WALK, blocks);
                // From here on a walk leads to the logs.
                self.last = None;
                next.unwrap_or_else(|| self.logs())
            }
            Step::Walk => {
                let block = block.filter(|block| self.fits(block));
                let next = block.and_then(|block| self.walk(block, MAX_WALK, blocks));
                next.unwrap_or_else(
                    || if self.last.is_some() { self.newest() } else { self.logs() },
                )
            }
            Step::Logs(..) | Step::Times(..) => Next::Wait,
        }
    }

    /// The block is the parent of the last one of the walk.
    fn fits(&self, block: &ChainHead) -> bool {
        self.walked.last().is_some_and(|child| {
            child.parent_hash == block.block_hash
                && child.block_number.checked_sub(1) == Some(block.block_number)
        })
    }

    /// Goes down as far as blocks are known, then asks for the next one; `None` at the end of the walk.
    fn walk(&mut self, block: ChainHead, limit: usize, blocks: &Blocks) -> Option<Next> {
        let mut next = Some(block);
        while let Some(block) = next {
            let is_walked = |hash: &str| self.walked.iter().any(|one| one.block_hash == hash);
            if blocks.is_announced(&block.block_hash) || is_walked(&block.block_hash) {
                return None;
            }
            let parent = block.parent_hash.clone();
            let is_end = blocks.is_announced(&parent)
                || is_walked(&parent)
                || block.block_number <= self.floor
                || self.depth >= limit;
            self.walked.push(block);
            self.depth += 1;
            if is_end {
                return None;
            }
            next = blocks.get(&parent).filter(|block| self.fits(block)).cloned();
        }
        self.step = Step::Walk;
        let parent = self.walked.last().map(|block| block.parent_hash.clone());
        parent.map(|parent| Next::Ask(Request::Block(parent)))
    }

    fn newest(&mut self) -> Next {
        self.step = Step::Newest;
        Next::Ask(Request::Latest)
    }

    fn logs(&mut self) -> Next {
        let walked = self.walked.iter().map(|block| block.block_number);
        let lowest = walked.min().unwrap_or(i64::MAX);
        self.range(self.from.unwrap_or(lowest).max(self.floor))
    }

    /// Asks for the logs from a block on, or ends.
    fn range(&mut self, from: i64) -> Next {
        if from > self.to {
            let mut walked = std::mem::take(&mut self.walked);
            walked.sort_by_key(|block| block.block_number);
            return Next::Done(walked);
        }
        let to = from.saturating_add(self.chunk - 1).min(self.to);
        self.step = Step::Logs(from, to);
        Next::Ask(Request::Range(from, to))
    }

    /// The logs of a request have come.
    pub(super) fn logs_came(&mut self) -> Next {
        if let Step::Logs(from, to) = self.step {
            self.step = Step::Times(from, to);
        }
        Next::Wait
    }

    /// An answer has more logs than may wait: fewer blocks are to be asked for.
    pub(super) fn is_too_many(&self, count: usize) -> bool {
        matches!(self.step, Step::Logs(from, to) if count > MAX_LOGS && to > from)
    }

    /// No block lacks its time.
    pub(super) fn settled(&mut self) -> Next {
        match self.step {
            Step::Times(_, to) => self.range(to.saturating_add(1)),
            _ => Next::Wait,
        }
    }

    /// Logs are not answered: those of fewer blocks, or another connection.
    pub(super) fn failed(&mut self) -> Next {
        match self.step {
            Step::Logs(from, to) if to > from => {
                self.chunk = (to.saturating_sub(from) + 1) / 2;
                self.range(from)
            }
            _ => Next::Fail,
        }
    }

    /// The first block whose logs another backfill has to ask for, when the connection ends. A block that
    /// is not final may be another one by then. `None` after a gap: the last head says it.
    pub(super) fn lacking(&self) -> Option<i64> {
        let from = self.from?;
        match self.step {
            Step::Logs(first, _) | Step::Times(first, _) => {
                Some(first.min(self.to.saturating_sub(FINAL)).max(from))
            }
            Step::Anchor(_) | Step::Newest | Step::Walk => Some(from),
        }
    }

    /// The blocks that were walked, upwards, when the answers will not come.
    pub(super) fn abandon(mut self) -> Vec<ChainHead> {
        self.walked.sort_by_key(|block| block.block_number);
        self.walked
    }
}
