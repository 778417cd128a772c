//! What the measurements share: topics read to their end, and a fold of `events` by other means
//! than the product's.
//!
//! | program | does |
//! |---|---|
//! | `bench-verify` | holds the processor's outputs to the fold |
//! | `bench-probe` | times events from produced to visible |
//! | `bench-floor` | what librdkafka alone costs |
//! | `bench-reads` | reads views over REST at a rate, or as fast as they answer |
//! | `bench-stream` | listens with thousands of WebSocket clients |
//! | `bench-fixed` | a fixed run of the topology, whose instructions are counted |
//!
//! `bench/*.py` runs them; `bench/README.md` says what is measured and how.

pub mod fold;
pub mod read;
pub mod visible;
