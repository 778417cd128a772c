//! Checks of prices against what no field of a venue can fake: options against Black-76 and parity, and the
//! exchanges of a pair against each other.
//!
//! They look at rows of the stores `options` and `index` and change none. Floating point is right here: a
//! model has an error of its own, and results are compared with bounds and never published as prices.

pub mod black76;
mod gauges;
pub mod options;
mod venues;

pub use gauges::DivergenceGauges;
pub use venues::VenueGauges;
