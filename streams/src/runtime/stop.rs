//! The stop signal of an application.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Stops an application. Clones share the signal.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Sets the signal: each worker commits, gives its partitions back and returns.
    pub fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether the signal is set.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
