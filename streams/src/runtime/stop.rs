//! The stop signal of an application.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tells an application to stop. Clones are the same signal.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Stop after the current turn: commit, give everything back, return.
    pub fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it was told to.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
