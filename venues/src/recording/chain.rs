//! A captured node: the lines of a capture of venue `ethereum`, in order, become the records of the live
//! follower.
//!
//! | kind | content | effect |
//! |---|---|---|
//! | `open` | nothing | a connection begins |
//! | `closed` | nothing | it has ended |
//! | `sent` | a request of the recorder | the frame with its id is its answer |
//! | `frame` | a frame | records |
//!
//! The follower asks as it does live; a request that the capture does not have right behind its frame was
//! never sent. So a capture without a backfill gives what it has.

use schemas::{Pool, PoolKey, Timestamp};

use super::Captured;
use crate::ethereum::{Follower, FollowerConfig};
use crate::pipeline::Produced;

/// The node of a recording.
#[derive(Default)]
pub(super) struct CapturedChain {
    pools: Vec<(PoolKey, Pool)>,
    follower: Option<Follower>,
}

impl CapturedChain {
    /// A node whose pools are known.
    pub(super) fn new(pools: Vec<(PoolKey, Pool)>) -> Self {
        Self { pools, follower: None }
    }

    /// Appends the records of a line.
    pub(super) fn line(&mut self, line: &Captured<'_>, out: &mut Produced) {
        let pools = &self.pools;
        let follower = self.follower.get_or_insert_with(|| {
            let config = FollowerConfig { pools: pools.clone(), ..FollowerConfig::default() };
            let mut follower = Follower::replay(config);
            follower.start();
            follower
        });
        match line.kind {
            // The texts were sent by the recorder.
            "open" => _ = follower.start(),
            "closed" => follower.lost(),
            "sent" => follower.sent(line.raw),
            "frame" => _ = follower.take(line.raw, line.at, &mut out.outputs),
            _ => {}
        }
    }

    /// Ends the recording.
    pub(super) fn finish(&mut self, at: Timestamp, out: &mut Produced) {
        if let Some(follower) = &mut self.follower {
            follower.finish(at, &mut out.outputs);
        }
    }
}
