//! Input that is no live feed: recordings, prices on standard input, synthetic load.

pub mod load;
pub mod price_event;
pub mod replay;
pub mod shuffle;
