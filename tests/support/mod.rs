//! The parts of a test on the real stack.

pub mod book_truth;
pub mod books;
pub mod broker;
pub mod browser;
pub mod chain;
pub mod cluster;
pub mod connect;
pub mod data;
pub mod down;
pub mod exact;
pub mod facts;
pub mod fold;
pub mod installation;
pub mod options;
pub mod outputs;
pub mod ownership;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod recordings;
pub mod socket;
pub mod spreads;
pub mod stack;
pub mod swaps;
pub mod topics;
pub mod truth;
pub mod venue;
pub mod wait;
pub mod words;

pub use installation::Installation;
pub use ownership::owned_tasks;
pub use process::Process;
pub use stack::Stack;
pub use wait::{settles, soon, wait_until};
