//! What travels, held to its fixtures and to the reference implementation of Avro.
//!
//! The encoders of this crate are written by hand. Here they meet three witnesses: bytes that were
//! made by neither implementation (`fixtures/*.json`), `apache-avro`, and the schemas of version 1.

mod arbitrary;
mod compatibility;
mod errors;
mod golden;
mod options;
mod reference;
mod resolution;
mod swaps;

/// What a test returns.
type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;
