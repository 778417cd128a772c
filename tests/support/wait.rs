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

/// [`soon`] a check passes: of what follows an event and is not told to whoever saw the event. The
/// last failure of the check is what the failure says.
pub fn settles(what: &str, mut check: impl FnMut() -> Result<()>) -> Result<()> {
    let mut last = None;
    let passed = soon(what, || {
        last = check().err();
        Ok(last.is_none())
    });
    match (passed, last) {
        (Err(waited), Some(failed)) => Err(failed.context(waited)),
        (passed, _) => passed,
    }
}

/// [`wait_until`] something is true that takes seconds.
pub fn soon(what: &str, mut is_true: impl FnMut() -> Result<bool>) -> Result<()> {
    wait_until(what, SOON, || Ok(is_true()?.then_some(())))
}
