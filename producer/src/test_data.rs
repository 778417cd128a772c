//! The recorded data that unit tests read, without the adapters.

#[path = "../../tests/support/recordings.rs"]
#[expect(dead_code, unreachable_pub, reason = "a library elsewhere")]
mod recordings;

pub(crate) use recordings::{bodies, path as file};
