//! How long nothing moved: the group's committed offsets, looked at all the time.
//!
//! A partition stands still from one commit that moves it to the next. The load never pauses, so
//! whoever stands still has work that nobody does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use schemas::topic::Topic;
use tests::support::{Installation, topics, wait_until};

/// Longer than any fault lasts: the watch ends when it is told to.
const WHOLE: Duration = Duration::from_hours(1);

/// When each partition's committed offset moved.
type Moves = Vec<Vec<Instant>>;

/// A thread that looks.
pub(crate) struct Progress {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Moves>>>,
}

impl Progress {
    /// Looks at this installation's group from now on.
    pub(crate) fn watch(installation: &Installation) -> Self {
        let bootstrap = &installation.stack.bootstrap_servers;
        Self::of(bootstrap, installation.application_id(), installation.topic(Topic::Events))
    }

    /// Looks at a group's offsets of a topic from now on.
    pub(crate) fn of(bootstrap: &str, group: String, topic: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (bootstrap, told) = (bootstrap.to_owned(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let (mut seen, mut moves) = (Vec::new(), Moves::new());
            wait_until("the end of the watch", WHOLE, || {
                // Without an answer nothing is known to have moved.
                let now = topics::committed(&bootstrap, &group, &topic).unwrap_or_default();
                note(&mut seen, &mut moves, &now);
                Ok(told.load(Ordering::Relaxed).then_some(()))
            })?;
            Ok(moves)
        });
        Self { stop, thread: Some(thread) }
    }

    /// Looks at nothing: in the place of one that is asked.
    pub(crate) fn none() -> Self {
        Self { stop: Arc::default(), thread: None }
    }

    /// The longest time that a partition stood still, of those that ended after `since`.
    pub(crate) fn longest_stand(mut self, since: Instant) -> Result<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().ok_or_else(|| anyhow!("no watch"))?;
        let moves = thread.join().map_err(|_| anyhow!("the watch panicked"))??;
        let stands = moves.iter().flat_map(|moved| moved.windows(2));
        let ended_later = stands.filter(|stand| stand[1] >= since);
        Ok(ended_later.map(|stand| stand[1] - stand[0]).max().unwrap_or_default())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Notes who has moved since the last look.
fn note(seen: &mut Vec<i64>, moves: &mut Moves, now: &[i64]) {
    seen.resize(seen.len().max(now.len()), 0);
    moves.resize(seen.len(), Vec::new());
    for ((seen, moves), now) in seen.iter_mut().zip(moves).zip(now) {
        if now > seen {
            *seen = *now;
            moves.push(Instant::now());
        }
    }
}
