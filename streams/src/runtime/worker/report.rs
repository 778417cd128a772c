//! The metrics of a worker: task states, sizes and lag.

use std::sync::Arc;

use super::{Group, METRICS_EVERY, Topics, Worker};
use crate::record::TaskId;
use crate::runtime::context::RuntimeContext;
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
    pub(super) fn show_gone(&self, task: TaskId) {
        self.show_member();
        hide(self.context, task);
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
        for (task, owned) in &self.owned {
            let overlay: usize = owned
                .task
                .stores()
                .iter()
                .map(|store: &Arc<Committed>| store.overlay_bytes())
                .sum();
            metrics.overlay.with_label_values(&[&owned.label]).set(size(overlay));
            let cache = size(owned.task.cache_bytes());
            metrics.cache.with_label_values(&[&owned.label]).set(cache);
            let remaining = self.tail.remaining(*task);
            metrics.restore_remaining.with_label_values(&[&owned.label]).set(remaining);
            let group = &mut self.group;
            let position = owned.task.position();
            if let Some(lag) = position.and_then(|at| group.lag(*task, at.next)) {
                let source = self.context.topology.sub_topology(task.sub_topology).source();
                let labels = [source, &task.partition.to_string()];
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

fn hide(context: RuntimeContext<'_>, task: TaskId) {
    let (metrics, label) = (context.metrics, &task.to_string());
    show(metrics, label, None);
    for gauge in [&metrics.overlay, &metrics.cache, &metrics.restore_remaining] {
        // It may never have been shown.
        let _ = gauge.remove_label_values(&[label]);
    }
    let source = context.topology.sub_topology(task.sub_topology).source();
    let _ = metrics.consumer_lag.remove_label_values(&[source, &task.partition.to_string()]);
}

/// However it ends, a worker that has joined anew must not find its tasks shown twice in the group.
impl<G, T> Drop for Worker<'_, G, T> {
    fn drop(&mut self) {
        self.owned.keys().for_each(|task| hide(self.context, *task));
    }
}
