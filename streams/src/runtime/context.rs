//! The parts of an application that its workers and its follower share.

use super::metrics::Metrics;
use super::queries::Queries;
use crate::topology::Topology;

/// Shared by the workers and the follower of one application.
#[derive(Clone, Copy)]
pub struct RuntimeContext<'a> {
    /// The graph that every task runs.
    pub topology: &'a Topology,
    /// The metrics of the application.
    pub metrics: &'a Metrics,
    /// The stores that are readable.
    pub queries: &'a Queries,
}
