//! The metrics of a worker: task states, sizes and lag.

use std::sync::Arc;

use super::{Group, METRICS_EVERY, Topics, Worker};
use crate::record::{Partition, SourceId};
use crate::runtime::metrics::Metrics;
use crate::runtime::queries::WorkerStatus;
use crate::store::Committed;
use crate::task::State;

impl<G: Group, T: Topics> Worker<'_, G, T> {
    pub(super) fn show_state(&self, label: &str, state: Option<State>) {
        self.show_member();
        show(self.context.metrics, label, state);
    }

    /// A task is another's: what it holds and how far behind it is are no longer ours to say.
    pub(super) fn show_gone(&self, partition: Partition, label: &str) {
        self.show_member();
        hide(self.context.metrics, &self.context.topology.sources()[0], partition, label);
    }

    pub(super) fn show_member(&self) {
        let count = |state| self.owned.values().filter(|o| o.task.state() == state).count();
        let (restoring, running) = (count(State::Restoring), count(State::Running));
        let member = WorkerStatus { joined: self.joined, restoring, running };
        self.context.queries.set_member(self.index, member);
    }

    pub(super) fn report(&mut self) {
        if self.since(self.last_metrics) < METRICS_EVERY {
            return;
        }
        self.last_metrics = self.topics.uptime();
        let metrics = self.context.metrics;
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
            let (source, group) = (SourceId(0), &mut self.group);
            let position = owned.task.position(source);
            if let Some(lag) = position.and_then(|at| group.lag(source, *partition, at)) {
                let labels = [&self.context.topology.sources()[0], &partition.to_string()];
                metrics.consumer_lag.with_label_values(&labels).set(lag);
            }
        }
        let bytes = i64::try_from(self.topics.disk_bytes()).unwrap_or(i64::MAX);
        metrics.store_size.with_label_values(&["all"]).set(bytes);
    }
}

fn show(metrics: &Metrics, label: &str, state: Option<State>) {
    for known in State::ALL {
        let value = i64::from(state == Some(known));
        metrics.task_state.with_label_values(&[label, known.as_str()]).set(value);
    }
}

fn hide(metrics: &Metrics, source: &str, partition: Partition, label: &str) {
    show(metrics, label, None);
    for gauge in [&metrics.overlay, &metrics.cache, &metrics.restore_remaining] {
        // It may never have been shown.
        let _ = gauge.remove_label_values(&[label]);
    }
    let _ = metrics.consumer_lag.remove_label_values(&[source, &partition.to_string()]);
}

/// However it ends, a worker that has joined anew must not find its tasks shown twice in the group.
impl<G, T> Drop for Worker<'_, G, T> {
    fn drop(&mut self) {
        for (partition, owned) in &self.owned {
            hide(
                self.context.metrics,
                &self.context.topology.sources()[0],
                *partition,
                &owned.label,
            );
        }
    }
}
