//! The commit: everything that the tasks have done, all or nothing.

use std::time::Duration;

use super::{Owned, Worker};
use crate::error::{Error, Result};
use crate::runtime::clock;
use crate::runtime::config::Guarantee;
use crate::runtime::{Queries, producer};
use crate::store::{Change, Moment};
use crate::task::{Commit, Consumed, State};
use crate::topology::StoreChange;

/// Between two proofs of ownership while there is nothing to commit: an answer of an idle member is no
/// older. Each is a transaction without records: three requests, and a record of each partition in the
/// broker's own `__consumer_offsets`.
const PROOF_EVERY: Duration = Duration::from_secs(1);

/// The changes of a commit by store, when somebody listens.
fn changed(queries: &Queries, commit: Option<&Commit>) -> Vec<Vec<Change>> {
    let heard = commit.filter(|_| queries.changes().is_heard());
    let stores = heard.iter().flat_map(|commit| &commit.changes);
    let change =
        |change: StoreChange<'_>| (change.store_key.to_vec(), change.value.map(<[u8]>::to_vec));
    stores.map(|drained| drained.iter().map(change).collect()).collect()
}

impl Worker<'_> {
    /// Everything that the tasks have done since the last commit, all or nothing.
    pub(super) fn commit(&mut self) -> Result<()> {
        self.last_commit = clock::instant();
        let mut empty = true;
        for owned in self.owned.values_mut().filter(|o| o.task.state() == State::Running) {
            empty &= owned.task.prepare_commit()?.is_empty();
        }
        let proven = if empty {
            self.prove()?
        } else {
            let started = clock::instant();
            let written = self.write();
            let outcome = if written.is_ok() { "committed" } else { "failed" };
            self.shared.metrics.commits.with_label_values(&[outcome]).inc();
            let asked = written?;
            self.shared.metrics.commit_duration.observe(started.elapsed().as_secs_f64());
            self.count();
            Some(asked)
        };
        let proven = proven.filter(|_| !self.consumer.assignment_lost());
        if proven.is_some() {
            self.last_proof = clock::instant();
        }
        for (partition, owned) in &mut self.owned {
            let committed = changed(&self.shared.queries, owned.task.pending());
            owned.task.post_commit();
            // Told once they can be read.
            for (spec, changes) in self.shared.topology.stores().iter().zip(committed) {
                self.shared.queries.changes().tell_changed(&spec.name, *partition, None, changes);
            }
            if let Some(asked) = proven.filter(|_| owned.task.state() == State::Running) {
                for store in owned.task.stores() {
                    store.freshness().complete(asked);
                }
            }
        }
        Ok(())
    }

    /// Proves at times, while there is nothing to write, that what is here is all there is: the group
    /// takes offsets from the owner only. Returns when it was asked.
    ///
    /// There must be nothing that is processed and not committed.
    fn prove(&self) -> Result<Option<Moment>> {
        let mut running =
            self.owned.values().filter(|o| o.task.state() == State::Running).peekable();
        let is_known = |o: &Owned| {
            o.task.stores().iter().all(|store| store.freshness().complete_at().is_some())
        };
        if running.peek().is_none() || self.consumer.assignment_lost() {
            return Ok(None);
        }
        if self.last_proof.elapsed() < PROOF_EVERY && running.all(is_known) {
            return Ok(None);
        }
        let asked = clock::moment();
        match (self.confirm_ownership(), self.config().processing_guarantee) {
            (Ok(()), _) => Ok(Some(asked)),
            // A transaction that failed leaves no producer to go on with.
            (Err(error), Guarantee::ExactlyOnceV2) => Err(error),
            // There was nothing to lose: the age grows, and the group says what has become of it.
            (Err(error), Guarantee::AtLeastOnce) => {
                tracing::debug!(%error, "no proof of ownership");
                Ok(None)
            }
        }
    }

    /// Writes what is prepared. Returns a moment before the group was asked whether this member is the
    /// owner: nobody else had committed anything by then.
    fn write(&self) -> Result<Moment> {
        if self.consumer.assignment_lost() {
            return Err(Error::Fenced("the group has given the partitions away".into()));
        }
        let commits =
            || self.owned.iter().filter_map(|(partition, o)| Some((*partition, o.task.pending()?)));
        self.producer.begin()?;
        for (partition, commit) in commits() {
            self.producer.produce(partition, commit)?;
        }
        self.producer.flush()?;
        let asked = clock::moment();
        self.commit_offsets(
            commits().map(|(partition, commit)| (partition, commit.consumed.clone())),
        )?;
        Ok(asked)
    }

    /// Commits offsets, and with them the open transaction. The group refuses them from a member
    /// that it has given up.
    pub(super) fn commit_offsets(
        &self,
        consumed: impl Iterator<Item = (i32, Vec<Consumed>)>,
    ) -> Result<()> {
        let offsets = producer::offsets(self.shared.topology.sources(), consumed)?;
        match self.config().processing_guarantee {
            // A rebalance makes metadata stale: it is taken afresh.
            Guarantee::ExactlyOnceV2 => {
                self.producer.commit(&offsets, &self.consumer.group_metadata()?)
            }
            Guarantee::AtLeastOnce => self.consumer.commit(&offsets),
        }
    }

    /// Counts what was written, once it was.
    fn count(&mut self) {
        let metrics = &self.shared.metrics;
        let topology = &self.shared.topology;
        let now = clock::now();
        for owned in self.owned.values_mut() {
            let Some(commit) = owned.task.pending() else {
                continue;
            };
            metrics.records.processed.with_label_values(&[&owned.label]).inc_by(commit.processed);
            for (reason, count) in &commit.dropped {
                metrics.records.dropped.with_label_values(&[reason]).inc_by(*count);
            }
            for (event, count) in &commit.counted {
                metrics.records.events.with_label_values(&[event]).inc_by(*count);
            }
            metrics.records.late.inc_by(commit.late.len() as u64);
            for late in &commit.late {
                let late = Duration::from_millis(u64::try_from(*late).unwrap_or(0));
                metrics.records.lateness.observe(late.as_secs_f64());
            }
            let stores = topology.stores().iter().map(|spec| &spec.topic);
            let changes = commit.changes.iter().map(crate::topology::Drained::len);
            let outputs = commit.outputs.iter().map(Vec::len);
            let written = stores.zip(changes).chain(topology.sinks().iter().zip(outputs));
            for (topic, count) in written {
                metrics.records.written.with_label_values(&[topic]).inc_by(count as u64);
            }
            if let Some(newest) = owned.newest.take() {
                let ms = u64::try_from(now.0 - newest.0).unwrap_or(0);
                metrics.end_to_end_latency.observe(Duration::from_millis(ms).as_secs_f64());
            }
        }
    }
}
