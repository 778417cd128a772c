//! The group member: it owns partitions of the sources, and takes their records in batches.
//!
//! librdkafka waits with a rebalance until it is answered. The callback therefore only writes it
//! down, and the worker answers when `poll` has returned: it commits first, with everything at
//! hand, and needs no lock around its own state.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, ConsumerGroupMetadata};
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{
    Offset as NativeOffset, TopicPartitionList, TopicPartitionListElem,
};
use rdkafka::types::RDKafkaRespErr;

use super::client::{Rebalance, StartPosition};
use super::config::{AppConfig, GroupProtocol};
use super::librdkafka::{Polled, Records};
use super::stable_offsets::{STATISTICS_MS, StableOffsets};
use super::{clock, errors, offset_metadata};
use crate::error::{Error, Result};
use crate::record::{Offset, Partition, SourceRecord, TaskId, Timestamp};
use crate::task::Consumed;
use crate::topology::{SubTopology, Topology};

/// How long a request for committed offsets may take, waiting for a pending transaction of a
/// former owner to end: longer than any transaction may be open, with the broker's own slack.
const COMMITTED_TIMEOUT: Duration = Duration::from_mins(1);

/// A request for the first and the last offset of a partition.
const ENDS_TIMEOUT: Duration = Duration::from_secs(10);

/// A request for the lag of a task: a metric is not worth a longer wait.
const LAG_TIMEOUT: Duration = Duration::from_millis(500);

/// The time to leave the group. Without a bound one that cannot leave would keep its process from ending,
/// and its worker from joining again.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(15);
/// Between two looks whether it has left.
const CLOSE_STEP: Duration = Duration::from_millis(100);

/// A fetch is answered when there is as much as this, or its wait is over.
const FETCH_MIN_BYTES: &str = "131072";
/// That wait is this part of the commit interval. Records are read when they are committed, so a little
/// of it costs no reader anything, and an answer for every few records costs a tenth of the CPU.
const FETCHES_A_COMMIT: u128 = 6;
/// And no longer than a fetch waits by default.
const MAX_FETCH_WAIT_MS: u128 = 500;

fn fetch_wait(commit_interval: Duration) -> String {
    (commit_interval.as_millis() / FETCHES_A_COMMIT).clamp(1, MAX_FETCH_WAIT_MS).to_string()
}

struct Context {
    topology: Topology,
    /// Repartition topics have transactions, as outputs do.
    stable_offsets: StableOffsets,
    /// Written by the callback and read after `poll`, both on the worker's thread: never waited for.
    pending: Mutex<Vec<Rebalance>>,
    /// From here on nobody answers: the callback does.
    closing: AtomicBool,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        errors::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "consumer client error");
    }

    fn stats(&self, statistics: Statistics) {
        self.stable_offsets.take(&statistics);
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        code: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let elements = list.elements();
        let task = |element: &TopicPartitionListElem<'_>| {
            let sub_topology = self.topology.of_source(element.topic())?;
            Some(TaskId { sub_topology, partition: Partition(element.partition()) })
        };
        let tasks = elements.iter().filter_map(task).collect();
        if self.closing.load(Ordering::SeqCst) {
            let answered = match code {
                RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => consumer.unassign(),
                _ => consumer.incremental_unassign(list).or_else(|_| consumer.unassign()),
            };
            if let Err(error) = answered {
                tracing::debug!(%error, "answer a rebalance while closing");
            }
            return;
        }
        let event = match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Rebalance::Assign(tasks),
            _ => Rebalance::Revoke { tasks, lost: consumer.assignment_lost() },
        };
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}

/// A member of the application's group.
pub(super) struct GroupConsumer {
    // Dropped in this order: a queue must go before its client.
    records: Records,
    /// Shared with nobody, unless it is abandoned.
    consumer: Arc<BaseConsumer<Context>>,
    group: String,
    /// See [`offset_metadata::list`].
    sources: Option<String>,
    /// Rebalances that were given out and have no answer yet.
    unanswered: RefCell<Vec<Rebalance>>,
}

impl GroupConsumer {
    /// Joins the group.
    pub(super) fn new(
        config: &AppConfig,
        topology: &Topology,
        name: &str,
        instance: Option<&str>,
        stable_offsets: StableOffsets,
    ) -> Result<Self> {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &config.bootstrap_servers)
            .set("group.id", &config.application_id)
            .set("client.id", name)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // Where to begin is decided here; an offset that is gone is an error.
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("statistics.interval.ms", STATISTICS_MS)
            .set("fetch.message.max.bytes", "262144")
            .set("fetch.min.bytes", FETCH_MIN_BYTES)
            .set("fetch.wait.max.ms", fetch_wait(config.commit_interval))
            .set("queued.min.messages", "50000")
            .set("queued.max.messages.kbytes", "2048")
            // The default of a second turns a full local queue into an idle second.
            .set("fetch.queue.backoff.ms", "10");
        match config.group_protocol {
            GroupProtocol::Classic => client
                .set("partition.assignment.strategy", "cooperative-sticky")
                .set("session.timeout.ms", config.session_timeout.as_millis().to_string()),
            GroupProtocol::Consumer => client.set("group.protocol", "consumer"),
        };
        // The broker's other assignor balances the number of partitions of all topics together: one member
        // could get all of one topic.
        let read = topology.sub_topologies().iter().filter(|one| !one.is_table());
        let sources: Vec<_> = read.map(SubTopology::source).collect();
        if config.group_protocol == GroupProtocol::Consumer && sources.len() > 1 {
            client.set("group.remote.assignor", "range");
        }
        if let Some(instance) = instance {
            client.set("group.instance.id", instance);
        }
        for (name, value) in &config.kafka {
            client.set(name, value);
        }
        let context = Context {
            topology: topology.clone(),
            stable_offsets,
            pending: Mutex::default(),
            closing: AtomicBool::new(false),
        };
        let consumer: BaseConsumer<Context> =
            client.create_with_context(context).map_err(errors::setting)?;
        let records = Records::new(consumer.client())?;
        consumer.subscribe(&sources).map_err(errors::plain)?;
        let (group, sources) = (config.application_id.clone(), offset_metadata::list(topology));
        let consumer = Arc::new(consumer);
        Ok(Self { records, consumer, group, sources, unanswered: RefCell::default() })
    }

    /// Serves the group and returns what it decided, oldest first.
    pub(super) fn poll(&self) -> Result<Vec<Rebalance>> {
        let polled = self.consumer.poll(Duration::ZERO);
        let mut pending =
            self.consumer.context().pending.lock().unwrap_or_else(PoisonError::into_inner);
        let events = std::mem::take(&mut *pending);
        drop(pending);
        // Before an error ends the worker: the same call may have brought both.
        self.unanswered.borrow_mut().extend(events.iter().cloned());
        match polled {
            None => {}
            Some(Ok(message)) => {
                let offset = rdkafka::message::Message::offset(&message);
                return Err(Error::Fenced(format!("a record on the group's own queue: {offset}")));
            }
            Some(Err(error)) => match self.consumer.client().fatal_error() {
                Some((code, _)) => errors::membership(code, &error)?,
                None => errors::consumer(&error)?,
            },
        }
        Ok(events)
    }

    /// The source topic of a task.
    fn topic(&self, task: TaskId) -> &str {
        self.consumer.context().topology.sub_topology(task.sub_topology).source()
    }

    fn list(&self, tasks: &[TaskId]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for task in tasks {
            list.add_partition(self.topic(*task), task.partition.0);
        }
        list
    }

    /// The group's committed offsets. Waits until pending transactions of former owners have
    /// ended: what they may still commit must be in the changelogs before those are restored.
    ///
    /// Adds the sources that they name to `listed`.
    pub(super) fn committed(
        &self,
        tasks: &[TaskId],
        listed: &mut BTreeSet<String>,
    ) -> Result<Vec<StartPosition>> {
        let list = self.list(tasks);
        let committed =
            self.consumer.committed_offsets(list, COMMITTED_TIMEOUT).map_err(errors::plain)?;
        let positions = tasks.iter().map(|task| {
            let (topic, partition) = (self.topic(*task), task.partition.0);
            let element = committed.find_partition(topic, partition).ok_or_else(|| {
                Error::Unavailable(format!("no committed offset for {topic}/{partition}"))
            })?;
            element.error().map_err(errors::plain)?;
            let consumed = match element.offset() {
                NativeOffset::Offset(next) => {
                    let place = format!("group {}, {topic}/{partition}", self.group);
                    let known = offset_metadata::decode(element.metadata(), &place)?;
                    listed.extend(known.sources.into_iter().map(str::to_owned));
                    Some(Consumed { next: Offset(next), stream_time: known.stream_time })
                }
                _ => None,
            };
            Ok(StartPosition { task: *task, consumed })
        });
        positions.collect()
    }

    /// Offsets of the sources of tasks.
    pub(super) fn list_at(&self, tasks: &[(TaskId, Offset)]) -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (task, offset) in tasks {
            let (topic, partition) = (self.topic(*task), task.partition.0);
            let offset = NativeOffset::Offset(offset.0);
            list.add_partition_offset(topic, partition, offset).map_err(errors::plain)?;
        }
        Ok(list)
    }

    /// The consumed offsets of tasks, with what is kept beside them.
    pub(super) fn offsets(&self, tasks: &[(TaskId, Consumed)]) -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (task, consumed) in tasks {
            let mut element = list.add_partition(self.topic(*task), task.partition.0);
            element.set_offset(NativeOffset::Offset(consumed.next.0)).map_err(errors::plain)?;
            element.set_metadata(offset_metadata::encode(
                consumed.stream_time,
                self.sources.as_deref(),
            ));
        }
        Ok(list)
    }

    /// Answers an assignment: fetching begins where the group has committed.
    pub(super) fn assign(&self, positions: &[StartPosition]) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for StartPosition { task, consumed } in positions {
            let (topic, partition) = (self.topic(*task), task.partition.0);
            self.records.forward(self.consumer.client(), topic, partition)?;
            let next = |consumed: &Consumed| NativeOffset::Offset(consumed.next.0);
            let offset = consumed.as_ref().map_or(NativeOffset::Beginning, next);
            list.add_partition_offset(topic, partition, offset).map_err(errors::plain)?;
        }
        self.unanswered.borrow_mut().clear();
        self.consumer.incremental_assign(&list).map_err(errors::plain)
    }

    /// Answers a revocation.
    pub(super) fn unassign(&self, tasks: &[TaskId]) -> Result<()> {
        self.unanswered.borrow_mut().clear();
        self.consumer.incremental_unassign(&self.list(tasks)).map_err(errors::plain)
    }

    /// Stops fetching for a task that has enough.
    pub(super) fn pause(&self, task: TaskId) -> Result<()> {
        self.consumer.pause(&self.list(&[task])).map_err(errors::plain)
    }

    /// Fetches again.
    pub(super) fn resume(&self, task: TaskId) -> Result<()> {
        self.consumer.resume(&self.list(&[task])).map_err(errors::plain)
    }

    /// Gives waiting records to `take`.
    pub(super) fn take(
        &mut self,
        wait: Duration,
        mut take: impl FnMut(SourceRecord<'_>),
    ) -> Result<()> {
        let topology = &self.consumer.context().topology;
        let sources = topology.sub_topologies();
        // Records of a topic come together: the last one is looked at first.
        let (mut last, mut failed) = (0, Ok(()));
        self.records.take(wait, |taken| match taken {
            Polled::Record { topic, partition, offset, timestamp, key, value } => {
                if sources.get(last).is_none_or(|one| one.source().as_bytes() != topic) {
                    let found = sources.iter().position(|one| one.source().as_bytes() == topic);
                    last = found.unwrap_or(sources.len());
                }
                if last < sources.len() {
                    let task = TaskId::new(last, partition);
                    let (offset, timestamp) = (Offset(offset), Timestamp(timestamp));
                    take(SourceRecord { task, offset, timestamp, key, value });
                }
            }
            Polled::End { .. } => {}
            Polled::Failed { topic, partition, code } => {
                let topic = String::from_utf8_lossy(topic);
                let of = topology.of_source(&topic).map(|of| topology.sub_topology(of));
                let is_repartition = of.is_some_and(SubTopology::is_repartition);
                if let Err(error) = errors::partition(&topic, is_repartition, partition, code) {
                    failed = Err(error);
                }
            }
        });
        failed
    }

    /// The member's place in the group, as of now.
    pub(super) fn group_metadata(&self) -> Result<ConsumerGroupMetadata> {
        self.consumer
            .group_metadata()
            .ok_or_else(|| Error::Fenced("the consumer has left its group".into()))
    }

    /// The partitions are another's already: nothing may be committed for them.
    pub(super) fn assignment_lost(&self) -> bool {
        self.consumer.assignment_lost()
    }

    /// Commits offsets outside a transaction.
    pub(super) fn commit(&self, offsets: &TopicPartitionList) -> Result<()> {
        self.consumer
            .commit(offsets, rdkafka::consumer::CommitMode::Sync)
            .map_err(|error| errors::commit(&error))
    }

    /// The first and the next offset of a task's source.
    pub(super) fn ends(&self, task: TaskId) -> Result<(i64, i64)> {
        let topic = self.topic(task);
        let ends = self.consumer.fetch_watermarks(topic, task.partition.0, ENDS_TIMEOUT);
        ends.map_err(errors::plain)
    }

    /// Leaves the group, and serves its last calls back meanwhile. False when it takes too long.
    fn close(&self, bound: Duration) -> bool {
        self.consumer.context().closing.store(true, Ordering::SeqCst);
        // A rebalance that nobody answered, or not in its own way, would keep the client waiting for ever; and
        // an answer to none would, too.
        for rebalance in self.unanswered.take() {
            let answered = match rebalance {
                Rebalance::Assign(_) => self.consumer.unassign(),
                Rebalance::Revoke { tasks, .. } => {
                    self.consumer.incremental_unassign(&self.list(&tasks))
                }
            };
            if let Err(error) = answered {
                tracing::debug!(%error, "answer a rebalance before closing");
            }
        }
        if let Err(error) = self.consumer.close_queue() {
            tracing::debug!(%error, "close a consumer");
        }
        let started = clock::instant();
        while !self.consumer.closed() {
            if started.elapsed() > bound {
                return false;
            }
            self.consumer.poll(CLOSE_STEP);
        }
        true
    }

    /// How many records of a task's source are between its committed end and `position`.
    pub(super) fn lag(&self, task: TaskId, position: Offset) -> Option<i64> {
        let (topic, partition) = (self.topic(task), task.partition.0);
        let (_, high) = self.consumer.fetch_watermarks(topic, partition, LAG_TIMEOUT).ok()?;
        Some((high - position.0).max(0))
    }
}

impl Drop for GroupConsumer {
    fn drop(&mut self) {
        if !self.close(CLOSE_TIMEOUT) {
            tracing::error!(
                group = self.group, waited = ?CLOSE_TIMEOUT,
                "the client does not leave its group and is abandoned: the group drops it when its session ends"
            );
            // Its own drop would wait for ever.
            std::mem::forget(Arc::clone(&self.consumer));
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;
    use rdkafka::mocking::MockCluster;

    use super::super::metrics::Metrics;
    use super::*;
    use crate::topology::Builder;

    /// The time in which a busy machine joins and loses a group.
    const BOUND: Duration = Duration::from_mins(2);

    fn next_rebalance(member: &GroupConsumer) -> Result<Rebalance> {
        let started = clock::instant();
        loop {
            if let Some(rebalance) = member.poll()?.pop() {
                return Ok(rebalance);
            }
            if started.elapsed() > BOUND {
                return Err(Error::Unavailable(format!("no rebalance in {BOUND:?}")));
            }
            clock::wait(CLOSE_STEP);
        }
    }

    #[test]
    fn a_member_that_lost_its_partitions_leaves_a_group_that_is_down() -> Result<()> {
        let cluster = MockCluster::new(1).map_err(errors::plain)?;
        cluster.create_topic("words", 1, 1).map_err(errors::plain)?;
        let config = AppConfig {
            session_timeout: Duration::from_secs(6),
            ..AppConfig::new("group", cluster.bootstrap_servers(), "unused", "dead")
        };
        let topology = Topology::new(|builder: &mut Builder| {
            let _ = builder.source("words", |record| Ok(record.key.to_vec()));
        })?;
        let metrics = Metrics::new("test", &Registry::new());
        let metrics = metrics.map_err(|error| Error::Invalid(error.to_string()))?;
        let stable = StableOffsets::new(&metrics.stable_offset_held);
        let member = GroupConsumer::new(&config, &topology, "test", None, stable)?;
        let task = TaskId::new(0, 0);
        assert!(matches!(next_rebalance(&member)?, Rebalance::Assign(tasks) if tasks == [task]));
        member.assign(&[StartPosition { task, consumed: None }])?;
        cluster.broker_down(1).map_err(errors::plain)?;
        assert!(matches!(next_rebalance(&member)?, Rebalance::Revoke { lost: true, .. }));
        // Without the answer, as when it is not known that one is due, the wait has an end.
        let unanswered = member.unanswered.take();
        assert!(!member.close(Duration::from_secs(2)), "nothing is waited for");
        member.unanswered.replace(unanswered);
        assert!(member.close(CLOSE_TIMEOUT), "it does not leave");
        Ok(())
    }
}
