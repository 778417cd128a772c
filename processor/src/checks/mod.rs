//! Checks of options against a model that no field of the venue can fake: Black-76 and parity.
//!
//! They look at rows of the store `options` and change none. Floating point is right here: a model has
//! an error of its own, and its results are compared with bounds and never published as prices.

pub mod black76;
mod gauges;
pub mod options;

pub use gauges::DivergenceGauges;
