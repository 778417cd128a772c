//! The group member: it owns partitions, and takes their records in batches.
//!
//! librdkafka waits with a rebalance until it is answered. The callback therefore only writes it
//! down, and the worker answers when `poll` has returned: it commits first, with everything at
//! hand, and needs no lock around its own state.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, ConsumerGroupMetadata};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset as NativeOffset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;

use super::client::Rebalance;
use super::config::{AppConfig, GroupProtocol};
use super::errors;
use super::librdkafka::{Polled, Records};
use crate::error::{Error, Result};
use crate::record::{Partition, Timestamp};

/// How long a request for committed offsets may take, waiting for a pending transaction of a
/// former owner to end: longer than any transaction may be open, with the broker's own slack.
const COMMITTED_TIMEOUT: Duration = Duration::from_mins(1);

/// A request for the first and the last offset of a partition.
const ENDS_TIMEOUT: Duration = Duration::from_secs(10);

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

/// Where a partition goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct CommittedOffset {
    /// The partition.
    pub(super) partition: Partition,
    /// The committed offset; `None` in a new group, and when it is lost.
    pub(super) next: Option<i64>,
    /// The stream time kept beside it.
    pub(super) stream_time: Timestamp,
}

#[derive(Default)]
struct Context {
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
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        code: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let elements = list.elements();
        let partitions = elements.iter().map(|element| Partition(element.partition())).collect();
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
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Rebalance::Assign(partitions),
            _ => Rebalance::Revoke { partitions, lost: consumer.assignment_lost() },
        };
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}

/// A member of the application's group.
pub(super) struct GroupConsumer {
    // Dropped in this order: a queue must go before its client.
    records: Records,
    consumer: BaseConsumer<Context>,
    topic: String,
    /// A rebalance was given out and has no answer yet.
    unanswered: Cell<bool>,
}

impl GroupConsumer {
    /// Joins the group.
    pub(super) fn new(config: &AppConfig, topic: &str, instance: &str) -> Result<Self> {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &config.bootstrap_servers)
            .set("group.id", &config.application_id)
            .set("client.id", instance)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // Where to begin is decided here; an offset that is gone is an error.
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
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
        for (name, value) in &config.kafka {
            client.set(name, value);
        }
        let consumer: BaseConsumer<Context> =
            client.create_with_context(Context::default()).map_err(errors::setting)?;
        let records = Records::new(consumer.client())?;
        consumer.subscribe(&[topic]).map_err(errors::plain)?;
        Ok(Self { records, consumer, topic: topic.into(), unanswered: Cell::new(false) })
    }

    /// Serves the group and returns what it decided, oldest first.
    pub(super) fn poll(&self) -> Result<Vec<Rebalance>> {
        match self.consumer.poll(Duration::ZERO) {
            None => {}
            Some(Ok(message)) => {
                let offset = rdkafka::message::Message::offset(&message);
                return Err(Error::Fenced(format!("a record on the group's own queue: {offset}")));
            }
            Some(Err(error)) => errors::consumer(&error)?,
        }
        let mut pending =
            self.consumer.context().pending.lock().unwrap_or_else(PoisonError::into_inner);
        let events = std::mem::take(&mut *pending);
        self.unanswered.set(self.unanswered.get() || !events.is_empty());
        Ok(events)
    }

    fn list(&self, partitions: &[Partition]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for &partition in partitions {
            list.add_partition(&self.topic, partition.0);
        }
        list
    }

    /// The group's committed offsets. Waits until pending transactions of former owners have
    /// ended: what they may still commit must be in the changelogs before those are restored.
    pub(super) fn committed(&self, partitions: &[Partition]) -> Result<Vec<CommittedOffset>> {
        let list = self.list(partitions);
        let committed =
            self.consumer.committed_offsets(list, COMMITTED_TIMEOUT).map_err(errors::plain)?;
        let elements = committed.elements();
        let resumes = elements.iter().map(|element| {
            element.error().map_err(errors::plain)?;
            let next = match element.offset() {
                NativeOffset::Offset(offset) => Some(offset),
                _ => None,
            };
            let stream_time = element.metadata().parse().map_or(Timestamp::MIN, Timestamp);
            Ok(CommittedOffset { partition: Partition(element.partition()), next, stream_time })
        });
        resumes.collect()
    }

    /// Answers an assignment: fetching begins where the group has committed.
    pub(super) fn assign(&self, resumes: &[CommittedOffset]) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for resume in resumes {
            self.records.forward(self.consumer.client(), &self.topic, resume.partition.0)?;
            let offset = resume.next.map_or(NativeOffset::Beginning, NativeOffset::Offset);
            list.add_partition_offset(&self.topic, resume.partition.0, offset)
                .map_err(errors::plain)?;
        }
        self.unanswered.set(false);
        self.consumer.incremental_assign(&list).map_err(errors::plain)
    }

    /// Answers a revocation.
    pub(super) fn unassign(&self, partitions: &[Partition]) -> Result<()> {
        self.unanswered.set(false);
        self.consumer.incremental_unassign(&self.list(partitions)).map_err(errors::plain)
    }

    /// Stops fetching for a partition whose task has enough.
    pub(super) fn pause(&self, partition: Partition) -> Result<()> {
        self.consumer.pause(&self.list(&[partition])).map_err(errors::plain)
    }

    /// Fetches again.
    pub(super) fn resume(&self, partition: Partition) -> Result<()> {
        self.consumer.resume(&self.list(&[partition])).map_err(errors::plain)
    }

    /// Gives waiting records to `take`.
    pub(super) fn take(&mut self, wait: Duration, take: impl FnMut(Polled<'_>)) -> usize {
        self.records.take(wait, take)
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

    /// The first and the next offset of a partition.
    pub(super) fn ends(&self, partition: Partition) -> Result<(i64, i64)> {
        let ends = self.consumer.fetch_watermarks(&self.topic, partition.0, ENDS_TIMEOUT);
        ends.map_err(errors::plain)
    }

    /// How many records of a partition are between its committed end and `position`.
    pub(super) fn lag(&self, partition: Partition, position: i64) -> Option<i64> {
        let timeout = Duration::from_millis(500);
        let (_, high) = self.consumer.fetch_watermarks(&self.topic, partition.0, timeout).ok()?;
        Some((high - position).max(0))
    }

    /// The topic.
    pub(super) fn topic(&self) -> &str {
        &self.topic
    }
}

impl Drop for GroupConsumer {
    fn drop(&mut self) {
        // The client's own drop polls until the group has let go, and calls back meanwhile.
        self.consumer.context().closing.store(true, Ordering::SeqCst);
        // A rebalance that nobody answered would keep it waiting for ever; and an answer to none
        // would, too.
        if self.unanswered.get()
            && let Err(error) = self.consumer.unassign()
        {
            tracing::debug!(%error, "unassign while closing");
        }
    }
}
