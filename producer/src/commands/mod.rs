//! The commands of the program, one file each.

pub mod chain;
mod connect;
pub mod load;
pub mod plan;
pub mod price_events;
mod publish;
pub mod replay;
pub mod run;
pub mod simulate;
