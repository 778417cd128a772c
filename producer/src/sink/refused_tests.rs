//! Records that brokers refuse, against librdkafka's own mock brokers.

use std::collections::BTreeMap;

use rdkafka::message::{Headers, Message};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tempfile::TempDir;

use super::*;

/// The next requests of the producer are refused for the size of a record.
fn refuse(cluster: &Cluster, requests: usize) {
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    cluster.request_errors(RDKafkaApiKey::Produce, &vec![error; requests]);
}

/// A connected sink with a spool, whose first record is in Kafka.
fn warm() -> anyhow::Result<(TempDir, Bench)> {
    let dir = tempfile::tempdir()?;
    let mut bench = spooled(dir.path(), connected()?.cluster, 1 << 20)?;
    bench.sink.publish(&output(0, 0))?;
    bench.sink.finish()?;
    Ok((dir, bench))
}

fn await_refusal(bench: &Bench) {
    let refusals = &bench.sink.client.context().refusals;
    for _ in 0..POLLS {
        if refusals.is_empty() {
            bench.sink.client.poll(Duration::from_millis(100));
        }
    }
    assert!(!refusals.is_empty(), "it was not refused");
}

fn headers(record: &OwnedMessage) -> BTreeMap<String, String> {
    let headers = record.headers().into_iter().flat_map(|headers| headers.iter());
    let text =
        |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    headers.map(|one| (one.key.to_owned(), text(one.value))).collect()
}

#[test]
fn a_refused_batch_costs_none_of_its_good_records() -> anyhow::Result<()> {
    let (_dir, mut bench) = warm()?;
    refuse(&bench.cluster, 1);
    bench.publish(1..6)?;
    bench.sink.finish()?;
    let mut ids = ids(&bench, 6)?;
    ids.sort_unstable();
    assert_eq!(ids, (0..6).collect::<Vec<_>>());
    assert_eq!(bench.metrics.delivery_failures.get(), 0);
    assert!(!bench.sink.pending());
    Ok(())
}

#[test]
fn a_refused_record_is_a_dead_letter_and_leaves_the_spool_with_it() -> anyhow::Result<()> {
    let (_dir, mut bench) = warm()?;
    refuse(&bench.cluster, 2);
    bench.sink.publish(&output(0, 1))?;
    bench.sink.finish()?;
    let letters = bench.read(Topic::DeadLetters, 1)?;
    let codec = Codec::offline();
    let event = codec.decode::<MarketEvent>(letters[0].payload().unwrap_or_default())?;
    assert_eq!(event.trade_id, Some(1));
    let pair = codec.decode::<PairKey>(letters[0].key().unwrap_or_default())?;
    assert_eq!(pair, PairKey::new("B0", "USD", "coinbase"));
    let headers = headers(&letters[0]);
    assert_eq!((&headers["reason"][..], &headers["source"][..]), ("refused", "producer"));
    assert!(headers["detail"].contains("size"), "{headers:?}");
    assert_eq!(bench.metrics.delivery_failures.get(), 1);
    assert_eq!(bench.metrics.dead_letters.with_label_values(&["coinbase", "refused"]).get(), 1);
    assert!(!bench.sink.pending());
    bench.sink.publish(&output(0, 2))?;
    bench.sink.finish()?;
    assert_eq!(ids(&bench, 2)?, [0, 2]);
    Ok(())
}

#[test]
fn a_refused_record_stays_in_the_spool_until_its_dead_letter_is_taken() -> anyhow::Result<()> {
    let (dir, mut bench) = warm()?;
    refuse(&bench.cluster, 1);
    bench.sink.publish(&output(0, 1))?;
    await_refusal(&bench);
    bench.cluster.broker_down(1)?;
    // What is known by now is written down, and the process is killed.
    bench.sink.idle()?;
    let cluster = killed(bench);
    cluster.broker_up(1)?;
    let mut bench = spooled(dir.path(), cluster, 1 << 20)?;
    assert!(bench.sink.pending());
    bench.sink.finish()?;
    assert_eq!(ids(&bench, 2)?, [0, 1]);
    Ok(())
}

#[test]
fn a_damaged_record_of_the_spool_costs_itself_and_the_rest_is_let_go() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut bench = spooled(dir.path(), connected()?.cluster, 1 << 20)?;
    bench.cluster.broker_down(1)?;
    bench.publish(0..3)?;
    let cluster = killed(bench);
    let path = dir.path().join("00000000000000000001.spool");
    let mut bytes = std::fs::read(&path)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&path, bytes)?;
    cluster.broker_up(1)?;
    let mut bench = spooled(dir.path(), cluster, 1 << 20)?;
    assert!(bench.metrics.recovery.spool_damaged.get() > 0);
    bench.sink.finish()?;
    assert!(!bench.sink.pending());
    assert_eq!(ids(&bench, 2)?, [0, 2]);
    Ok(())
}

#[test]
fn a_refused_dead_letter_is_kept_beside_the_spool_and_told() -> anyhow::Result<()> {
    let (dir, mut bench) = warm()?;
    // The record twice, and its dead letter three times.
    refuse(&bench.cluster, 5);
    bench.sink.publish(&output(0, 1))?;
    assert_eq!(bench.sink.finish(), Err(SinkError::Refused(1)));
    assert!(!bench.sink.pending(), "nothing waits behind it");
    let mut kept = std::fs::read_dir(dir.path().join("damaged"))?;
    let kept = std::fs::read(kept.next().unwrap()?.path())?;
    let parcel = Parcel::read(&kept).unwrap();
    let event = Codec::offline().decode::<MarketEvent>(parcel.value)?;
    assert_eq!((parcel.target, event.trade_id), (Target::DeadLetters, Some(1)));
    bench.sink.publish(&output(0, 2))?;
    assert_eq!(bench.sink.finish(), Err(SinkError::Refused(1)));
    assert_eq!(ids(&bench, 2)?, [0, 2]);
    Ok(())
}

#[test]
fn a_refused_record_that_is_left_at_the_end_is_told_of() -> anyhow::Result<()> {
    let mut bench = connected()?;
    bench.sink.publish(&output(0, 0))?;
    bench.sink.finish()?;
    refuse(&bench.cluster, 1);
    bench.sink.publish(&output(0, 1))?;
    await_refusal(&bench);
    // Nothing is waited for any more, and there is no spool.
    bench.sink.stopping().store(true, Ordering::Relaxed);
    bench.cluster.broker_down(1)?;
    assert_eq!(bench.sink.finish(), Err(SinkError::Undelivered(1)));
    Ok(())
}

#[test]
fn a_record_that_is_too_large_for_the_client_does_not_end_it() -> anyhow::Result<()> {
    let Bench { cluster, .. } = connected()?;
    let metrics = Arc::new(Metrics::new()?);
    let mut config = config(&cluster.bootstrap_servers());
    config.overrides.push(("message.max.bytes".into(), "1000".into()));
    let mut sink = Sink::connect(&config, Codec::offline(), Arc::clone(&metrics))?;
    let huge = PairKey::new("B".repeat(1_200), "USD", "coinbase");
    sink.publish(&Output::Event { pair: huge, event: event(1) })?;
    sink.publish(&output(0, 2))?;
    // A letter of it fits no more than the record: it is told of, and everything else goes on.
    assert_eq!(sink.finish(), Err(SinkError::Refused(1)));
    let bench = Bench { cluster, metrics, sink };
    assert_eq!(ids(&bench, 1)?, [2]);
    Ok(())
}
