//! The metrics of chains: heads, swaps, reorganisations, and the requests to a node.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec};
use schemas::SwapStatus;

use super::{Declaring, Named};
use crate::labels::Method;

const HEADS: Named = ("producer_chain_heads_read_total", "Heads read, those asked for included.");
const SWAPS: Named = ("producer_swaps_read_total", "Swaps read, by their status.");
const DEPTHS: Named = (
    "producer_chain_reorganisation_depth_blocks",
    "Blocks that a head replaced, of each head that replaced some.",
);
const GAPS: Named =
    ("producer_chain_gaps_total", "Heads whose parent was never announced, which was asked for.");
const REQUESTS: Named = ("producer_chain_requests_total", "Requests to the node, by method.");
const ERRORS: Named =
    ("producer_chain_errors_total", "Requests that the node answered with an error, by method.");
const REFUSED: Named =
    ("producer_pools_refused_total", "Pools that are not followed: their facts cannot be read.");
const PUBLISHED: Named =
    ("producer_swap_records_published_total", "Records of swaps that the broker acknowledged.");
/// Upper bounds of depths: one block is usual on some chains, 64 is final.
const DEPTH_BOUNDS: [f64; 9] = [1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0, 64.0];

/// Metrics of chains.
#[derive(Debug)]
pub struct ChainMetrics {
    /// Heads read, by venue.
    pub heads: IntCounterVec,
    /// Swaps read, by venue and status.
    pub swaps: IntCounterVec,
    /// Blocks replaced by a head, by venue.
    pub depths: HistogramVec,
    /// Gaps of heads, by venue.
    pub gaps: IntCounterVec,
    /// Requests sent, by venue and method.
    pub requests: IntCounterVec,
    /// Errors as answers, by venue and method.
    pub errors: IntCounterVec,
    /// Pools that are not followed, by venue.
    pub refused: IntCounterVec,
    /// Records acknowledged by the broker in `swaps`, by venue.
    pub published: IntCounterVec,
}

impl ChainMetrics {
    pub(super) fn new(to: &Declaring) -> prometheus::Result<Self> {
        let depths = HistogramOpts::new(DEPTHS.0, DEPTHS.1).buckets(DEPTH_BOUNDS.into());
        Ok(Self {
            heads: to.counters(HEADS, &["venue"])?,
            swaps: to.counters(SWAPS, &["venue", "status"])?,
            depths: to.add(HistogramVec::new(depths, &["venue"]))?,
            gaps: to.counters(GAPS, &["venue"])?,
            requests: to.counters(REQUESTS, &["venue", "method"])?,
            errors: to.counters(ERRORS, &["venue", "method"])?,
            refused: to.counters(REFUSED, &["venue"])?,
            published: to.counters(PUBLISHED, &["venue"])?,
        })
    }

    /// Makes every series of a venue exist.
    pub(super) fn declare(&self, venue: &str) {
        for status in [SwapStatus::Pending, SwapStatus::Included, SwapStatus::Removed] {
            self.swaps.with_label_values(&[venue, status.as_str()]);
        }
        for method in Method::ALL {
            self.requests.with_label_values(&[venue, method.as_str()]);
            self.errors.with_label_values(&[venue, method.as_str()]);
        }
        for counter in [&self.heads, &self.gaps, &self.refused, &self.published] {
            counter.with_label_values(&[venue]);
        }
        self.depths.with_label_values(&[venue]);
    }
}
