//! Commits made of a seed, and the model of a log: the list of its commits.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::Rng;
use streams::log::commit::{Append, GroupOffset, LogCommit, LogRecord};
use streams::log::compaction::Policy;
use streams::log::{Log, Reader, Result};
use streams::record::{Offset, Partition, Timestamp};
use streams::task::Consumed;

/// Keeps everything.
pub(crate) const PLAIN: &str = "trades";
/// Keeps the newest of each key.
pub(crate) const COMPACTED: &str = "candles";
/// Partitions of each topic.
pub(crate) const PARTITIONS: i32 = 2;

pub(crate) fn policy(topic: &str) -> Policy {
    Policy { is_compacted: topic == COMPACTED, retention: None }
}

/// A commit over several partitions. Its consumed offset is its count, so a reader can tell which
/// commits are there.
pub(crate) fn commit(rng: &mut impl Rng, count: i64) -> LogCommit {
    let mut appends = Vec::new();
    for topic in [PLAIN, COMPACTED] {
        for partition in 0..PARTITIONS {
            let records = (0..rng.random_range(0..3)).map(|_| record(rng)).collect();
            appends.push(Append { topic: topic.into(), partition: Partition(partition), records });
        }
    }
    let consumed = Consumed { next: Offset(count), stream_time: Timestamp(count * 10) };
    let (group, topic) = ("app".into(), "source".into());
    let consumed = vec![GroupOffset { group, topic, partition: Partition(0), consumed }];
    LogCommit { appends, consumed }
}

fn record(rng: &mut impl Rng) -> LogRecord {
    let value = vec![rng.random(); rng.random_range(0..90)];
    LogRecord {
        timestamp: Timestamp(rng.random_range(0..1000)),
        key: vec![rng.random_range(0..5)],
        value: rng.random_bool(0.8).then_some(value),
        headers: rng
            .random_bool(0.1)
            .then(|| ("reason".into(), b"late".to_vec()))
            .into_iter()
            .collect(),
    }
}

pub(crate) type Records = Vec<(i64, LogRecord)>;

/// The records of a partition, as a model has them.
pub(crate) fn expected(commits: &[LogCommit], topic: &str, partition: Partition) -> Records {
    let appends = commits.iter().flat_map(|commit| &commit.appends);
    let mine = appends.filter(|append| append.topic == topic && append.partition == partition);
    let records = mine.flat_map(|append| &append.records).cloned();
    (0..).zip(records).collect()
}

/// The records of a partition, as a reader gives them, in portions.
pub(crate) fn read(
    log: &Arc<Log>,
    topic: &str,
    partition: Partition,
    portion: u64,
) -> Result<Records> {
    let mut reader = Reader::new(Arc::clone(log), topic, partition, Offset(0));
    let mut records = Vec::new();
    loop {
        let progress = reader.read(portion, |record| {
            let headers = record.headers().map(|(name, value)| (name.to_owned(), value.to_vec()));
            records.push((
                record.offset.0,
                LogRecord {
                    timestamp: record.timestamp,
                    key: record.key.to_vec(),
                    value: record.value.map(<[u8]>::to_vec),
                    headers: headers.collect(),
                },
            ));
        })?;
        if progress.records == 0 {
            return Ok(records);
        }
    }
}

/// The newest value of each key.
pub(crate) fn fold(records: &Records) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut state = BTreeMap::new();
    for (_, record) in records {
        match &record.value {
            Some(value) => _ = state.insert(record.key.clone(), value.clone()),
            None => _ = state.remove(&record.key),
        }
    }
    state
}

/// The log holds exactly these commits.
pub(crate) fn compare(log: &Arc<Log>, commits: &[LogCommit], portion: u64) -> Result<()> {
    for partition in (0..PARTITIONS).map(Partition) {
        let plain = read(log, PLAIN, partition, portion)?;
        assert_eq!(plain, expected(commits, PLAIN, partition));
        let (found, all) =
            (read(log, COMPACTED, partition, portion)?, expected(commits, COMPACTED, partition));
        assert!(found.iter().all(|record| all.get(record.0 as usize) == Some(record)));
        assert!(found.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(fold(&found), fold(&all));
        assert_eq!(log.extent(COMPACTED, partition).end, Offset(all.len() as i64));
    }
    let last = commits.iter().flat_map(|commit| &commit.consumed).next_back();
    let consumed = log.consumed("app", "source", Partition(0));
    assert_eq!(consumed, last.map(|offset| offset.consumed));
    Ok(())
}
