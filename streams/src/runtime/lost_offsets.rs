//! Where a partition resumes when the group has no offset: offsets expire and can be deleted.
//!
//! ```text
//! offset     state of the partition       goes on
//! there      any                          there
//! missing    none                         at the first record of the source
//! missing    some, --reset-offsets        behind what the state holds, or at either end of the source
//! missing    some                         not at all: the same records would be counted twice
//! ```
//!
//! State is in the stores on disk, or in any committed record of their topics, also when the disk is
//! lost.
//!
//! The last record that a commit writes to a store's topic has a header with the next offset of the
//! source and the stream time. The newest record of a topic survives compaction, so the newest header
//! of all topics belongs to the last commit that changed state. Later records changed none and are
//! processed again: sinks and dead letters get them twice.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset as NativeOffset, TopicPartitionList};

use super::client::StartPosition;
use super::config::{AppConfig, ResetOffsets};
use super::consumer::GroupConsumer;
use super::{clock, errors};
use crate::error::{Error, Result};
use crate::record::{Offset, TaskId, Timestamp};
use crate::task::Consumed;
use crate::topology::{SubTopology, Topology};

/// The header's name. Its value is the next offset of the source and the stream time, as decimal text
/// with a space between.
pub(super) const HEADER: &str = "consumed";

/// Offsets before the end of a topic in which its last record is looked for first: one commit of many
/// changes has fewer. Each look without one goes back [`LOOK_BACK_FACTOR`] times as far, to the start.
const LOOK_BACK: i64 = 10_000;
/// See [`LOOK_BACK`].
const LOOK_BACK_FACTOR: i64 = 16;
/// An answer of the broker, and the time between two records.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// The broker aborts a dead member's transaction by then.
const DECIDED: Duration = Duration::from_mins(1);
/// Between two looks whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How far the source was processed, as a header has it.
pub(super) fn encode(consumed: &Consumed) -> String {
    format!("{} {}", consumed.next, consumed.stream_time)
}

fn decode(value: &[u8]) -> Option<(Offset, Timestamp)> {
    let (next, stream_time) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    Some((Offset(next.parse().ok()?), Timestamp(stream_time.parse().ok()?)))
}

/// The last record of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Last {
    /// By the clock of its writer.
    written: Timestamp,
    /// Its header; none when an earlier version wrote it.
    consumed: Option<(Offset, Timestamp)>,
}

/// The headers of all stores' topics together.
#[derive(Debug, PartialEq, Eq)]
enum Held {
    /// They are empty.
    Nothing,
    /// They hold state, and how far the source was processed is not certain.
    Something,
    /// They hold state up to here.
    Position(Offset, Timestamp),
}

/// The record that was written last must have the greatest offset. Otherwise offsets were reset by
/// hand since, or clocks are apart: nothing is certain then.
fn held(lasts: &[Last]) -> Held {
    if lasts.is_empty() {
        return Held::Nothing;
    }
    let known: Option<Vec<_>> = lasts.iter().map(|l| Some((l.written, l.consumed?))).collect();
    let known = known.unwrap_or_default();
    let newest = known.iter().max().map(|(_, consumed)| *consumed);
    let greatest = known.iter().map(|(_, consumed)| *consumed).max();
    match (newest, greatest) {
        (Some(newest), Some(greatest)) if newest.0 == greatest.0 => {
            Held::Position(greatest.0, greatest.1)
        }
        _ => Held::Something,
    }
}

/// Decides where those go on that have no offset.
///
/// # Errors
/// [`Error::Invalid`] names group, topic and partitions when a person has to decide.
pub(super) fn resolve(
    config: &AppConfig,
    topology: &Topology,
    consumer: &GroupConsumer,
    resumes: &mut [StartPosition],
    is_on_disk: impl Fn(TaskId) -> bool,
) -> Result<()> {
    let (mut refused, mut unknown) = (Vec::new(), Vec::new());
    for StartPosition { task, consumed } in resumes.iter_mut().filter(|r| r.consumed.is_none()) {
        let shape = topology.sub_topology(task.sub_topology);
        let place = format!("{}/{}", shape.source(), task.partition);
        let held = match held(&last_records(config, shape, task.partition.0)?) {
            Held::Nothing if is_on_disk(*task) => Held::Something,
            held => held,
        };
        let (low, high) = consumer.ends(*task)?;
        let (next, stream_time) = match (held, config.reset_offsets) {
            (Held::Nothing, _) | (_, Some(ResetOffsets::Earliest)) => (low, Timestamp::MIN),
            (_, None) => {
                refused.push(place);
                continue;
            }
            (_, Some(ResetOffsets::Latest)) => (high, Timestamp::MIN),
            (Held::Position(next, time), Some(ResetOffsets::Position)) => (next.0, time),
            (Held::Something, Some(ResetOffsets::Position)) => {
                unknown.push(place);
                continue;
            }
        };
        *consumed = Some(Consumed { next: Offset(next), stream_time });
        tracing::info!(source = place, next, low, high, "the group had no offset: going on");
    }
    refuse(&config.application_id, &refused.join(" "), &unknown.join(" "))
}

fn refuse(group: &str, refused: &str, unknown: &str) -> Result<()> {
    if !unknown.is_empty() {
        return Err(Error::Invalid(format!(
            "group {group} has no committed offsets for {unknown}, and their state does not say how far \
             the topic was processed: an earlier version wrote it, \
             or offsets were reset before; set --reset-offsets earliest (records without ids are \
             counted twice) or latest (records that were not processed are lost)"
        )));
    }
    if !refused.is_empty() {
        return Err(Error::Invalid(format!(
            "group {group} has no committed offsets for {refused}, but there is state of them: the \
             offsets expired or were deleted, and from the beginning \
             records would be counted twice; start once with --reset-offsets position (go on behind \
             what the state holds), earliest (count again) or latest (skip what was not processed)"
        )));
    }
    Ok(())
}

/// The last record of each store's topic that has any.
fn last_records(config: &AppConfig, shape: &SubTopology, partition: i32) -> Result<Vec<Last>> {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.bootstrap_servers)
        // Assigning needs a name; nothing is ever committed under it.
        .set("group.id", format!("{}-tail", config.application_id))
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true");
    for (name, value) in &config.kafka {
        client.set(name, value);
    }
    let probe = client.clone().set("isolation.level", "read_uncommitted").create();
    let probe: BaseConsumer = probe.map_err(errors::setting)?;
    let reader = client.set("isolation.level", "read_committed").create();
    let reader: BaseConsumer = reader.map_err(errors::setting)?;
    let topics = shape.stores().iter().map(|store| store.topic.as_str());
    let lasts = topics.map(|topic| last_record(&probe, &reader, topic, partition));
    lasts.filter_map(Result::transpose).collect()
}

fn last_record(
    probe: &BaseConsumer,
    reader: &BaseConsumer,
    topic: &str,
    partition: i32,
) -> Result<Option<Last>> {
    let marks = probe.fetch_watermarks(topic, partition, ANSWER);
    let (low, end) = marks.map_err(errors::plain)?;
    if low == end {
        return Ok(None);
    }
    wait_decided(reader, topic, partition, end)?;
    let mut back = LOOK_BACK;
    loop {
        let from = low.max(end.saturating_sub(back));
        let last = read_last(reader, topic, partition, from)?;
        if last.is_some() || from == low {
            return Ok(last);
        }
        back = back.saturating_mul(LOOK_BACK_FACTOR);
    }
}

/// Waits until no transaction is open before `end`. A reader of committed records sees none behind the
/// first open transaction until the broker aborts it.
pub(super) fn wait_decided(
    reader: &BaseConsumer,
    topic: &str,
    partition: i32,
    end: i64,
) -> Result<()> {
    let started = clock::instant();
    loop {
        let marks = reader.fetch_watermarks(topic, partition, ANSWER).map_err(errors::plain)?;
        if marks.1 >= end {
            return Ok(());
        }
        if started.elapsed() > DECIDED {
            return Err(Error::Unavailable(format!(
                "{topic}/{partition}: a transaction is open for longer than {DECIDED:?}"
            )));
        }
        clock::wait(LOOK_AGAIN);
    }
}

/// Reads from an offset to the end.
fn read_last(
    reader: &BaseConsumer,
    topic: &str,
    partition: i32,
    from: i64,
) -> Result<Option<Last>> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, NativeOffset::Offset(from))
        .map_err(errors::plain)?;
    reader.assign(&list).map_err(errors::plain)?;
    let mut last = None;
    loop {
        match reader.poll(ANSWER) {
            Some(Ok(record)) => last = Some(read(&record)),
            Some(Err(KafkaError::PartitionEOF(_))) => break,
            Some(Err(error)) => errors::consumer(&error)?,
            None => {
                return Err(Error::Unavailable(format!(
                    "{topic}/{partition}: no record and no end in {ANSWER:?}"
                )));
            }
        }
    }
    reader.unassign().map_err(errors::plain)?;
    Ok(last)
}

fn read(record: &BorrowedMessage<'_>) -> Last {
    let headers = record.headers();
    let mut values = headers.iter().flat_map(|headers| headers.iter());
    let value = values.find(|header| header.key == HEADER).and_then(|header| header.value);
    let written = Timestamp(record.timestamp().to_millis().unwrap_or(i64::MIN));
    Last { written, consumed: value.and_then(decode) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn last(written: i64, next: i64) -> Last {
        Last { written: Timestamp(written), consumed: Some((Offset(next), Timestamp(next * 10))) }
    }

    #[test]
    fn a_header_reads_as_it_was_written() {
        for stream_time in [Timestamp::MIN, Timestamp(0), Timestamp(1_700_000_000_000)] {
            let consumed = Consumed { next: Offset(7), stream_time };
            assert_eq!(decode(encode(&consumed).as_bytes()), Some((Offset(7), stream_time)));
        }
        for other in ["", "7", "7 x", "x 7", " "] {
            assert_eq!(decode(other.as_bytes()), None, "{other:?}");
        }
    }

    #[test]
    fn the_position_is_that_of_the_newest_commit() {
        assert_eq!(held(&[]), Held::Nothing);
        let at = |next: i64| Held::Position(Offset(next), Timestamp(next * 10));
        assert_eq!(held(&[last(5, 70)]), at(70));
        assert_eq!(held(&[last(5, 70), last(9, 90), last(8, 90)]), at(90));
    }

    #[test]
    fn topics_that_contradict_each_other_or_are_of_an_earlier_version_give_none() {
        // Offsets were set back to 10 after 90 had been processed.
        assert_eq!(held(&[last(5, 90), last(9, 10)]), Held::Something);
        let earlier = Last { consumed: None, ..last(3, 0) };
        assert_eq!(held(&[last(5, 90), earlier]), Held::Something);
    }
}
