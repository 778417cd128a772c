//! What the worker tells of itself: states, sizes, lag.

use std::sync::Arc;

use super::{METRICS_EVERY, Worker};
use crate::record::SourceId;
use crate::runtime::clock;
use crate::runtime::queries::Member;
use crate::store::Committed;
use crate::task::State;

impl Worker<'_> {
    pub(super) fn show_state(&self, label: &str, state: Option<State>) {
        self.show_member();
        for known in State::ALL {
            let value = i64::from(state == Some(known));
            self.shared.metrics.task_state.with_label_values(&[label, known.as_str()]).set(value);
        }
    }

    /// A task is another's: what it holds and how far behind it is are no longer ours to say.
    pub(super) fn show_gone(&self, partition: i32, label: &str) {
        self.show_state(label, None);
        let metrics = &self.shared.metrics;
        for gauge in [&metrics.overlay, &metrics.cache, &metrics.restore_remaining] {
            // It may never have been shown.
            let _ = gauge.remove_label_values(&[label]);
        }
        let lag = [self.consumer.topic(), &partition.to_string()];
        let _ = metrics.consumer_lag.remove_label_values(&lag);
    }

    pub(super) fn show_member(&self) {
        let count = |state| self.owned.values().filter(|o| o.task.state() == state).count();
        let (restoring, running) = (count(State::Restoring), count(State::Running));
        let member = Member { joined: self.joined, restoring, running };
        self.shared.queries.set_member(self.index, member);
    }

    pub(super) fn report(&mut self) {
        if self.last_metrics.elapsed() < METRICS_EVERY {
            return;
        }
        self.last_metrics = clock::instant();
        let metrics = &self.shared.metrics;
        let size = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        for (partition, owned) in &self.owned {
            let overlay: usize = owned
                .task
                .stores()
                .iter()
                .map(|store: &Arc<Committed>| store.overlay_bytes())
                .sum();
            metrics.overlay.with_label_values(&[&owned.label]).set(size(overlay));
            let cache = size(owned.task.cache_bytes());
            metrics.cache.with_label_values(&[&owned.label]).set(cache);
            let remaining = self.tail.remaining(*partition);
            metrics.restore_remaining.with_label_values(&[&owned.label]).set(remaining);
            if let Some(lag) =
                owned.task.position(SourceId(0)).and_then(|o| self.consumer.lag(*partition, o.0))
            {
                let labels = [self.consumer.topic(), &partition.to_string()];
                metrics.consumer_lag.with_label_values(&labels).set(lag);
            }
        }
        let bytes = self.shared.state_dir.database().size_bytes();
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        metrics.store_size.with_label_values(&["all"]).set(bytes);
    }
}

/// However it ends, a worker that has joined anew must not find its tasks shown twice in the group.
impl Drop for Worker<'_> {
    fn drop(&mut self) {
        for (partition, owned) in &self.owned {
            self.show_gone(*partition, &owned.label);
        }
    }
}
