//! The sink against librdkafka's own mock brokers: real protocol, real queue, no installation.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message, OwnedMessage};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::{Offset, TopicPartitionList};
use schemas::{Decimal, MarketEvent};
use streams::dead_letter;
use venues::Malformed;
use venues::pipeline::{DeadLetter, Output};

use super::*;
use crate::sink::config::SpoolConfig;

#[cfg(test)]
#[path = "books_tests.rs"]
mod books;
#[cfg(test)]
#[path = "refused_tests.rs"]
mod refused;
#[cfg(test)]
#[path = "swaps_tests.rs"]
mod swaps;
#[cfg(test)]
#[path = "tickers_tests.rs"]
mod tickers;

const PARTITIONS: i32 = 4;
/// Polls of 100 ms without a record before a test gives up.
const POLLS: usize = 300;

type Cluster = MockCluster<'static, DefaultProducerContext>;

struct Bench {
    cluster: Cluster,
    metrics: Arc<Metrics>,
    sink: Sink,
}

fn config(servers: &str) -> SinkConfig {
    SinkConfig {
        bootstrap_servers: servers.into(),
        topic_prefix: "t-".into(),
        queue_max_messages: 10,
        queue_max_kbytes: 10_000,
        connect_timeout: Duration::from_secs(10),
        flush_timeout: Duration::from_secs(30),
        spool: None,
        follows_books: false,
        follows_tickers: false,
        follows_swaps: false,
        overrides: vec![("reconnect.backoff.max.ms".into(), "200".into())],
    }
}

fn bench(topics: &[Topic]) -> anyhow::Result<(Cluster, Arc<Metrics>, Result<Sink, SinkError>)> {
    let cluster = MockCluster::new(1)?;
    for topic in topics {
        cluster.create_topic(&topic.name("t-"), PARTITIONS, 1)?;
    }
    let metrics = Arc::new(Metrics::new()?);
    let config = config(&cluster.bootstrap_servers());
    let sink = Sink::connect(&config, Codec::offline(), Arc::clone(&metrics));
    Ok((cluster, metrics, sink))
}

fn connected() -> anyhow::Result<Bench> {
    let (cluster, metrics, sink) = bench(&[Topic::Events, Topic::DeadLetters])?;
    Ok(Bench { cluster, metrics, sink: sink? })
}

impl Bench {
    fn publish(&mut self, mut ids: std::ops::Range<i64>) -> Result<()> {
        ids.try_for_each(|id| self.sink.publish(&output(0, id)))
    }

    /// The first `count` records of a topic, partition by partition.
    fn read(&self, topic: Topic, count: usize) -> anyhow::Result<Vec<OwnedMessage>> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.cluster.bootstrap_servers())
            .set("group.id", "test")
            .create()?;
        let mut assignment = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            assignment.add_partition_offset(&topic.name("t-"), partition, Offset::Beginning)?;
        }
        consumer.assign(&assignment)?;
        let mut records = Vec::new();
        let mut empty = 0;
        while records.len() < count && empty < POLLS {
            match consumer.poll(Duration::from_millis(100)) {
                Some(record) => records.push(record?.detach()),
                None => empty += 1,
            }
        }
        anyhow::ensure!(records.len() == count, "{} of {count} records", records.len());
        records.sort_by_key(|record| (record.partition(), record.offset()));
        Ok(records)
    }
}

fn event(id: i64) -> MarketEvent {
    MarketEvent {
        trade_id: Some(id),
        ..MarketEvent::trade(Decimal::ONE, Decimal::ONE, Timestamp(1_000 + id))
    }
}

fn output(base: usize, id: i64) -> Output {
    let pair = PairKey::new(format!("B{base}"), "USD", "coinbase");
    Output::Event { pair, event: event(id) }
}

/// The hash of Kafka's Java clients, written down a second time.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ u32::try_from(data.len()).unwrap();
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes(chunk.try_into().unwrap()).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = chunks.remainder();
    for (index, byte) in rest.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * index);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[test]
fn events_go_where_java_clients_would_put_them_and_keep_their_order() -> anyhow::Result<()> {
    let mut bench = connected()?;
    for id in 0..200 {
        bench.sink.publish(&output(usize::try_from(id % 20)?, id))?;
    }
    bench.sink.finish()?;
    let codec = Codec::offline();
    let mut newest: BTreeMap<PairKey, i64> = BTreeMap::new();
    let mut used = std::collections::BTreeSet::new();
    for record in bench.read(Topic::Events, 200)? {
        let key = record.key().unwrap_or_default();
        let partition = (murmur2(key) & 0x7fff_ffff) % PARTITIONS.unsigned_abs();
        assert_eq!(record.partition().unsigned_abs(), partition);
        used.insert(partition);
        let pair: PairKey = codec.decode(key)?;
        let event: MarketEvent = codec.decode(record.payload().unwrap_or_default())?;
        let id = event.trade_id.unwrap_or_default();
        let before = newest.insert(pair, id);
        assert!(before.is_none_or(|before| before < id));
    }
    assert_eq!(used.len(), 4);
    assert_eq!(bench.metrics.published.with_label_values(&["coinbase"]).get(), 200);
    assert_eq!((bench.metrics.queue_messages.get(), bench.metrics.queue_bytes.get()), (0, 0));
    Ok(())
}

#[test]
fn a_mark_is_in_every_partition() -> anyhow::Result<()> {
    let mut bench = connected()?;
    let mark = FeedMark {
        healthy_from: Some(Timestamp(3)),
        ..FeedMark::healthy("coinbase-0", Timestamp(5), Timestamp(6))
    };
    bench.sink.publish(&Output::Mark { exchange: "coinbase", mark: mark.clone() })?;
    bench.sink.finish()?;
    let codec = Codec::offline();
    let records = bench.read(Topic::Events, 4)?;
    for (record, partition) in records.iter().zip(0..) {
        assert_eq!(record.partition(), partition);
        assert_eq!(codec.decode(record.key().unwrap_or_default()), Ok(PairKey::feed("coinbase")));
        assert_eq!(codec.decode(record.payload().unwrap_or_default()), Ok(mark.clone()));
    }
    Ok(())
}

#[test]
fn a_dead_letter_keeps_its_bytes_and_says_why() -> anyhow::Result<()> {
    let mut bench = connected()?;
    let malformed = Malformed::MissingField("price");
    bench.sink.publish(&Output::DeadLetter(DeadLetter::new("coinbase", &malformed, "{raw")))?;
    let huge = "x".repeat(3 << 20);
    bench.sink.publish(&Output::DeadLetter(DeadLetter::new("coinbase", &malformed, &huge)))?;
    bench.sink.finish()?;
    let records = bench.read(Topic::DeadLetters, 2)?;
    let small = records.iter().find(|record| record.payload() == Some(b"{raw")).unwrap();
    let headers: Vec<_> = small
        .headers()
        .into_iter()
        .flat_map(|headers| headers.iter())
        .map(|header| (header.key, std::str::from_utf8(header.value.unwrap_or_default())))
        .collect();
    let expected = [
        ("source", "producer"),
        ("venue", "coinbase"),
        ("reason", "missing_field"),
        ("detail", "field price is missing"),
        ("bytes", "4"),
    ];
    assert_eq!(headers, expected.map(|(key, value)| (key, Ok(value))));
    let kept = records.iter().map(|record| record.payload().unwrap_or_default().len()).max();
    assert_eq!(kept, Some(dead_letter::MAX_BYTES));
    let counted = bench.metrics.dead_letters.with_label_values(&["coinbase", "missing_field"]);
    assert_eq!(counted.get(), 2);
    Ok(())
}

#[test]
fn a_full_queue_waits_for_the_broker_and_loses_nothing() -> anyhow::Result<()> {
    let mut bench = connected()?;
    bench.sink.publish(&output(0, 0))?;
    bench.sink.finish()?;
    bench.cluster.broker_down(1)?;
    let metrics = Arc::clone(&bench.metrics);
    let Bench { cluster, sink, .. } = bench;
    let mut sink = sink;
    let publishing = thread::spawn(move || {
        (1..100).try_for_each(|id| sink.publish(&output(0, id)))?;
        sink.finish().map(|()| sink)
    });
    while metrics.backpressure.get() < 0.2 {
        assert!(!publishing.is_finished(), "nothing waited for the broker");
        thread::yield_now();
    }
    assert!(!publishing.is_finished() && metrics.queue_messages.get() <= 11);
    cluster.broker_up(1)?;
    let sink = publishing.join().map_err(|_| anyhow::anyhow!("the sink panicked"))??;
    let bench = Bench { cluster, metrics, sink };
    assert_eq!(ids(&bench, 100)?, (0..100).collect::<Vec<_>>());
    assert_eq!(bench.metrics.delivery_failures.get(), 0);
    Ok(())
}

#[test]
fn stopping_ends_the_wait_and_says_how_much_is_lost() -> anyhow::Result<()> {
    let mut bench = connected()?;
    bench.cluster.broker_down(1)?;
    bench.sink.stopping().store(true, Ordering::Relaxed);
    let mut refused = Ok(());
    for id in 0..20 {
        refused = refused.and_then(|()| bench.sink.publish(&output(0, id)));
    }
    assert_eq!(refused, Err(SinkError::Undelivered(10)));
    assert_eq!(bench.sink.finish(), Err(SinkError::Undelivered(10)));
    Ok(())
}

#[test]
fn a_missing_topic_is_named_with_the_way_out() -> anyhow::Result<()> {
    let (_cluster, _, sink) = bench(&[Topic::DeadLetters])?;
    let words = "topic t-events does not exist, or this user may not write to it: create it with \
                 'processor topics create', or allow that user Write on it";
    assert_eq!(sink.map(|_| ()).map_err(|error| error.to_string()), Err(words.into()));
    Ok(())
}

#[test]
fn an_unreachable_broker_is_named_in_bounded_time() -> anyhow::Result<()> {
    let config =
        SinkConfig { connect_timeout: Duration::from_millis(300), ..config("127.0.0.1:1") };
    let sink = Sink::connect(&config, Codec::offline(), Arc::new(Metrics::new()?));
    let Err(error) = sink.map(|_| ()) else { anyhow::bail!("connected to nothing") };
    let text = error.to_string();
    assert!(
        text.contains("Kafka at 127.0.0.1:1 does not answer") && !text.contains('\n'),
        "{text}"
    );
    Ok(())
}

#[test]
fn a_setting_that_does_not_exist_is_named() -> anyhow::Result<()> {
    let mut config = config("127.0.0.1:1");
    config.overrides = vec![("no.such.setting".into(), "1".into())];
    let sink = Sink::connect(&config, Codec::offline(), Arc::new(Metrics::new()?));
    let Err(error) = sink.map(|_| ()) else { anyhow::bail!("it was taken") };
    assert!(error.to_string().contains("no.such.setting"), "{error}");
    Ok(())
}

/// A sink with a spool of so many bytes.
fn spooled(dir: &Path, cluster: Cluster, max: u64) -> anyhow::Result<Bench> {
    let metrics = Arc::new(Metrics::new()?);
    let spool = Some(SpoolConfig { dir: dir.into(), max_bytes: max });
    let config = SinkConfig { spool, ..config(&cluster.bootstrap_servers()) };
    let sink = Sink::connect(&config, Codec::offline(), Arc::clone(&metrics))?;
    Ok(Bench { cluster, metrics, sink })
}

/// As after a kill -9: nothing is flushed, and the client forgets what it had.
fn killed(bench: Bench) -> Cluster {
    bench.cluster
}

/// Trade ids of the first `count` records of `events`, as they lie in their partition.
fn ids(bench: &Bench, count: usize) -> anyhow::Result<Vec<i64>> {
    let codec = Codec::offline();
    let records = bench.read(Topic::Events, count)?;
    let events = records
        .iter()
        .map(|record| Ok(codec.decode::<MarketEvent>(record.payload().unwrap_or_default())?));
    events.map(|event| event.map(|event| event.trade_id.unwrap_or_default())).collect()
}

#[test]
fn while_the_broker_is_away_records_wait_on_disk_and_the_feed_is_read() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut bench = spooled(dir.path(), connected()?.cluster, 1 << 20)?;
    bench.publish(0..1)?;
    bench.cluster.broker_down(1)?;
    // Fifty times what the queue holds, and nobody waits.
    bench.publish(1..500)?;
    let metrics = Arc::clone(&bench.metrics);
    let spool = &metrics.recovery;
    assert!(spool.spool_records.get() >= 499 && spool.spool_bytes.get() > 20_000);
    assert!(metrics.backpressure.get() == 0.0 && metrics.queue_messages.get() <= 10);
    bench.cluster.broker_up(1)?;
    bench.sink.finish()?;
    let published = metrics.published.with_label_values(&["coinbase"]).get();
    assert_eq!((spool.spool_records.get(), published), (0, 500));
    assert_eq!(ids(&bench, 500)?, (0..500).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn what_a_killed_process_left_is_sent_first_and_in_order() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut bench = spooled(dir.path(), connected()?.cluster, 1 << 20)?;
    bench.cluster.broker_down(1)?;
    bench.publish(0..200)?;
    let cluster = killed(bench);
    cluster.broker_up(1)?;
    let mut bench = spooled(dir.path(), cluster, 1 << 20)?;
    bench.publish(200..300)?;
    bench.sink.finish()?;
    assert_eq!(ids(&bench, 300)?, (0..300).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn a_killed_process_comes_back_while_the_broker_is_away() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut bench = spooled(dir.path(), connected()?.cluster, 1 << 20)?;
    bench.cluster.broker_down(1)?;
    bench.publish(0..100)?;
    let mut bench = spooled(dir.path(), killed(bench), 1 << 20)?;
    (100..200).try_for_each(|id| bench.sink.publish_live(&output(0, id)))?;
    assert!(bench.metrics.recovery.spool_records.get() >= 199);
    bench.cluster.broker_up(1)?;
    bench.sink.finish()?;
    assert_eq!(ids(&bench, 200)?, (0..200).collect::<Vec<_>>());
    // Each record of a process that came back is as old as its place in the spool says.
    assert_eq!(bench.metrics.latency.with_label_values(&["coinbase"]).get_sample_count(), 200);
    Ok(())
}

#[test]
fn what_is_left_at_the_end_is_kept_and_is_no_error() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut bench = spooled(dir.path(), connected()?.cluster, 1 << 20)?;
    bench.cluster.broker_down(1)?;
    bench.publish(0..20)?;
    let letter = DeadLetter::new("coinbase", &Malformed::MissingField("price"), "{raw");
    bench.sink.publish(&Output::DeadLetter(letter))?;
    bench.sink.stopping().store(true, Ordering::Relaxed);
    assert_eq!(bench.sink.finish(), Ok(()));
    let cluster = killed(bench);
    cluster.broker_up(1)?;
    let mut bench = spooled(dir.path(), cluster, 1 << 20)?;
    assert!(bench.sink.pending());
    bench.sink.finish()?;
    assert_eq!(ids(&bench, 20)?.len(), 20);
    let letters = bench.read(Topic::DeadLetters, 1)?;
    assert_eq!((letters[0].payload(), letters[0].key()), (Some(&b"{raw"[..]), None));
    assert_eq!(letters[0].headers().map(Headers::count), Some(5));
    Ok(())
}

#[test]
fn a_full_spool_waits_and_marks_the_feed_when_it_goes_on() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let Bench { cluster, metrics, sink } = spooled(dir.path(), connected()?.cluster, 1 << 16)?;
    cluster.broker_down(1)?;
    let publishing = thread::spawn(move || {
        let mut sink = sink;
        let mut published = 0;
        while sink.metrics.backpressure.get() == 0.0 {
            sink.publish(&output(0, published))?;
            published += 1;
        }
        sink.finish().map(|()| (sink, published))
    });
    while metrics.backpressure.get() < 0.2 {
        assert!(!publishing.is_finished(), "nothing waited for the broker");
        thread::yield_now();
    }
    assert!(!publishing.is_finished() && metrics.recovery.spool_bytes.get() <= 1 << 16);
    cluster.broker_up(1)?;
    let joined = publishing.join().map_err(|_| anyhow::anyhow!("the sink panicked"))?;
    let (sink, published) = joined?;
    let published = usize::try_from(published)?;
    let bench = Bench { cluster, metrics, sink };
    let codec = Codec::offline();
    let records = bench.read(Topic::Events, published + 4)?;
    let marks: Vec<FeedMark> = records
        .iter()
        .filter_map(|record| codec.decode(record.payload().unwrap_or_default()).ok())
        .collect();
    assert_eq!(marks.len(), 4, "one in each partition");
    assert!(marks.iter().all(|mark| mark.gap_from < mark.gap_until && mark.gap_from.is_some()));
    let events = records.iter().filter_map(|record| {
        codec.decode::<MarketEvent>(record.payload().unwrap_or_default()).ok()
    });
    let ids: Vec<_> = events.filter_map(|event| event.trade_id).collect();
    assert_eq!(ids, (0..i64::try_from(published)?).collect::<Vec<_>>());
    Ok(())
}
