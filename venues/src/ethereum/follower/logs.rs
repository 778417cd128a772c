//! The logs of a node: a swap is published as soon as the time of its block is known.

use schemas::{PoolKey, SwapStatus};
use serde_json::value::RawValue;

use super::{Follower, Phase, To};
use crate::ethereum::backfill::Backfill;
use crate::ethereum::decode::Log;
use crate::ethereum::held::HeldSwap;
use crate::ethereum::notice::NoEffect;
use crate::ethereum::protocol::json;
use crate::ethereum::requests::Request;
use crate::malformed::{Malformed, Result};
use crate::pipeline::Output;

impl Follower {
    pub(super) fn logs(
        &mut self,
        request: &Request,
        result: Option<&str>,
        to: &mut To<'_>,
    ) -> Result<()> {
        let is_waited = |backfill: &Backfill| backfill.waits_for(request);
        let logs: Option<Vec<&RawValue>> = result.map(json).transpose()?;
        let count = logs.as_ref().map(Vec::len);
        if let Phase::Backfilling(backfill) = &mut self.phase
            && is_waited(backfill)
            && count.is_none_or(|count| backfill.is_too_many(count))
        {
            let next = backfill.failed();
            self.go_on(next, to);
            return Ok(());
        }
        let Some(logs) = logs else { return Ok(()) };
        for log in logs {
            if let Err(malformed) = self.log(log.get(), to) {
                to.bad(&malformed, log.get());
            }
        }
        for hash in self.held.take_unasked(i64::MAX) {
            self.send(Request::Block(hash));
        }
        if let Phase::Backfilling(backfill) = &mut self.phase
            && is_waited(backfill)
        {
            let next = backfill.logs_came();
            self.go_on(next, to);
        }
        self.settle(to);
        Ok(())
    }

    pub(super) fn log(&mut self, raw: &str, to: &mut To<'_>) -> Result<()> {
        let log: Log<'_> = json(raw)?;
        let chain = self.chain.ok_or(Malformed::UnknownChain)?;
        let pool = log.address()?;
        let Some(protocol) = log.protocol()? else {
            self.ignore(NoEffect::OtherEvent);
            return Ok(());
        };
        let known = self.pools.protocol(&pool);
        let known = known.ok_or_else(|| Malformed::UnknownPool(pool.clone()))?;
        if known != protocol {
            return Err(Malformed::OtherProtocol(protocol.as_str()));
        }
        let mut swap = Box::new(log.swap(protocol, to.at)?);
        if swap.block_number < self.config.from_block && swap.status != SwapStatus::Pending {
            self.ignore(NoEffect::BeforeStart);
            return Ok(());
        }
        let key = PoolKey::new(chain, pool);
        if let Some(hash) = swap.block_hash.clone() {
            swap.block_time = swap.block_time.or_else(|| self.blocks.time(&hash));
            // The removal of a swap that waits comes after it; any other needs no time.
            let is_removed = swap.status == SwapStatus::Removed;
            if swap.block_time.is_none() && (!is_removed || self.held.has(&hash)) {
                let gone = self.held.hold(&hash, HeldSwap { key, swap, raw: raw.into() });
                Self::give_up(gone, to);
                return Ok(());
            }
        }
        to.out.push(Output::Swap { key, swap });
        Ok(())
    }

    /// Publishes the swaps that have waited for the time of a block.
    pub(super) fn time_known(&mut self, hash: &str, to: &mut To<'_>) {
        if !self.held.has(hash) {
            return;
        }
        let time = self.blocks.time(hash);
        for HeldSwap { key, mut swap, .. } in self.held.take(hash) {
            swap.block_time = time;
            to.out.push(Output::Swap { key, swap });
        }
    }

    /// Swaps whose block has no time: they belong to no minute.
    pub(super) fn give_up(held: Vec<HeldSwap>, to: &mut To<'_>) {
        for HeldSwap { swap, raw, .. } in held {
            let hash = swap.block_hash.unwrap_or_default();
            to.bad(&Malformed::UnknownBlock(hash), &raw);
        }
    }
}
