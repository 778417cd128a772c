//! Waiting for something that another program does, with a bound.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Between two looks. Short beside everything that is waited for, long beside a look.
const PAUSE: Duration = Duration::from_millis(50);
/// What two busy cores do in good time, with the margin that a busy machine needs.
const SOON: Duration = Duration::from_mins(3);

/// Looks until `look` finds something, at most `bound` long; `what` is what the failure says.
pub fn wait_until<T>(
    what: &str,
    bound: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if started.elapsed() > bound {
            bail!("waited {} s for: {what}", bound.as_secs());
        }
        std::thread::sleep(PAUSE);
    }
}

/// [`wait_until`] something is true that takes seconds.
pub fn soon(what: &str, mut is_true: impl FnMut() -> Result<bool>) -> Result<()> {
    wait_until(what, SOON, || Ok(is_true()?.then_some(())))
}
