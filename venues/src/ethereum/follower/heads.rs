//! The heads of a node: one whose parent was not announced begins a backfill, and waits for it.

use schemas::ChainHead;

use super::{Follower, MAX_WAITING, Phase, To};
use crate::ethereum::FINAL;
use crate::ethereum::backfill::{Backfill, Next};
use crate::ethereum::notice::{NoEffect, Notice};
use crate::ethereum::protocol;
use crate::ethereum::requests::Request;
use crate::malformed::Result;
use crate::pipeline::Output;

impl Follower {
    /// A head of the subscription, or one that waited.
    pub(super) fn head(&mut self, head: ChainHead, to: &mut To<'_>) {
        let is_ready = self.is_live() || self.requests.is_replay() && !self.is_backfilling();
        if !is_ready {
            self.waiting.push_back(head);
            if self.waiting.len() > MAX_WAITING {
                self.notices.push(Notice::Reconnect(Notice::TOO_MANY_WAIT));
                self.waiting.pop_front();
            }
            return;
        }
        let last = self.blocks.last();
        if last.is_some_and(|(_, hash)| hash == head.block_hash) {
            return self.ignore(NoEffect::RepeatedHead);
        }
        let is_far_below =
            last.is_some_and(|(last, _)| head.block_number < last.saturating_sub(FINAL));
        let has_parent = last.is_none() || self.blocks.is_announced(&head.parent_hash);
        let is_known = self.blocks.is_announced(&head.block_hash);
        if has_parent || is_known || is_far_below {
            return self.announce(head, to);
        }
        self.notices.push(Notice::Gap);
        let (backfill, request) = Backfill::gap(head, self.config.from_block);
        self.phase = Phase::Backfilling(Box::new(backfill));
        self.send(request);
    }

    pub(super) const fn is_backfilling(&self) -> bool {
        matches!(self.phase, Phase::Backfilling(_))
    }

    /// Publishes a head. The blocks of logs that still wait are asked for: their heads were missed.
    fn announce(&mut self, head: ChainHead, to: &mut To<'_>) {
        let Some(chain) = self.chain else { return };
        self.blocks.announce(&head);
        self.time_known(&head.block_hash, to);
        for hash in self.held.take_unasked(head.block_number) {
            self.send(Request::Block(hash));
        }
        to.out.push(Output::Head { chain, head });
    }

    pub(super) fn block(
        &mut self,
        request: &Request,
        result: Option<&str>,
        to: &mut To<'_>,
    ) -> Result<()> {
        let block = match result.map(|result| protocol::head(result, to.at)).transpose() {
            Ok(block) => Ok(block.flatten()),
            Err(malformed) => Err(malformed),
        };
        let found = block.as_ref().ok().cloned().flatten();
        if let Some(block) = &found {
            self.blocks.note(block);
            self.time_known(&block.block_hash, to);
        }
        if let Request::Block(hash) = request {
            // The node does not know it, or knows another: no time will come.
            let gone = self.held.take(hash);
            Self::give_up(gone, to);
        }
        if let Phase::Backfilling(backfill) = &mut self.phase
            && backfill.waits_for(request)
        {
            let next = backfill.block(found, &self.blocks);
            self.go_on(next, to);
        }
        self.settle(to);
        block.map(|_| ())
    }

    pub(super) fn go_on(&mut self, next: Next, to: &mut To<'_>) {
        match next {
            Next::Ask(request) => self.send(request),
            Next::Wait => {}
            Next::Done(heads) => self.end_backfill(heads, to),
            Next::Fail => self.notices.push(Notice::Reconnect(Notice::NO_ANSWER)),
        }
    }

    /// Goes on with a backfill whose logs have their times.
    pub(super) fn settle(&mut self, to: &mut To<'_>) {
        if !self.held.is_asking()
            && let Phase::Backfilling(backfill) = &mut self.phase
        {
            let next = backfill.settled();
            self.go_on(next, to);
        }
    }

    pub(super) fn end_backfill(&mut self, heads: Vec<ChainHead>, to: &mut To<'_>) {
        self.phase = Phase::Live;
        for head in heads {
            self.announce(head, to);
        }
        while self.is_live()
            && let Some(head) = self.waiting.pop_front()
        {
            self.head(head, to);
        }
    }

    /// Ends a backfill whose answers will not come, in a recording: what is known is published.
    pub(super) fn abandon(&mut self, to: &mut To<'_>) {
        while let Phase::Backfilling(_) = self.phase {
            let Phase::Backfilling(backfill) = std::mem::replace(&mut self.phase, Phase::Live)
            else {
                return;
            };
            backfill.abandon().into_iter().for_each(|head| self.announce(head, to));
            while self.is_live()
                && let Some(head) = self.waiting.pop_front()
            {
                self.head(head, to);
            }
        }
    }
}
