//! Swaps, heads and the facts of pools, against librdkafka's own mock brokers.

use schemas::{ChainHead, Pool, PoolKey, Swap};

use super::*;

const TOPICS: [Topic; 3] = [Topic::Events, Topic::Swaps, Topic::DeadLetters];

fn key(pool: usize) -> PoolKey {
    PoolKey::new(1, format!("0x{pool:040x}"))
}

/// A swap whose log index is its number.
fn swap(pool: usize, number: i64) -> Output {
    let swap = Swap { log_index: Some(number), received_at: Timestamp(number), ..Swap::default() };
    Output::Swap { key: key(pool), swap: Box::new(swap) }
}

fn head(number: i64) -> Output {
    Output::Head { chain: 1, head: ChainHead { block_number: number, ..ChainHead::default() } }
}

fn following(cluster: &Cluster, dir: Option<&Path>) -> SinkConfig {
    let spool = dir.map(|dir| SpoolConfig { dir: dir.into(), max_bytes: 1 << 20 });
    SinkConfig { follows_swaps: true, spool, ..config(&cluster.bootstrap_servers()) }
}

fn swaps(dir: Option<&Path>) -> anyhow::Result<Bench> {
    let (cluster, metrics, _) = bench(&TOPICS)?;
    let config = following(&cluster, dir);
    let sink = Sink::connect(&config, Codec::offline(), Arc::clone(&metrics))?;
    Ok(Bench { cluster, metrics, sink })
}

#[test]
fn swaps_are_in_the_partition_of_their_pool_and_a_head_is_in_every_one() -> anyhow::Result<()> {
    let mut bench = swaps(None)?;
    for pool in 0..12 {
        let facts = Output::Pool { key: key(pool), pool: Box::new(Pool::default()) };
        bench.sink.publish(&facts)?;
        for number in 1..=3 {
            bench.sink.publish_live(&swap(pool, number))?;
        }
    }
    bench.sink.publish(&head(7))?;
    bench.sink.finish()?;
    let codec = Codec::offline();
    let mut found: BTreeMap<PoolKey, Vec<i64>> = BTreeMap::new();
    let mut heads = Vec::new();
    for record in bench.read(Topic::Swaps, 52)? {
        let (key, value) = (record.key().unwrap_or_default(), record.payload().unwrap_or_default());
        let pool: PoolKey = codec.decode(key)?;
        if pool.is_chain() {
            let head: ChainHead = codec.decode(value)?;
            assert_eq!(head.block_number, 7);
            heads.push(record.partition());
            continue;
        }
        let partition = (murmur2(key) & 0x7fff_ffff) % PARTITIONS.unsigned_abs();
        assert_eq!(record.partition().unsigned_abs(), partition);
        let number = codec.decode::<Swap>(value).map_or(0, |swap| swap.log_index.unwrap_or(-1));
        found.entry(pool).or_default().push(number);
    }
    assert_eq!(heads, [0, 1, 2, 3]);
    assert_eq!(found.len(), 12);
    assert!(found.values().all(|numbers| *numbers == [0, 1, 2, 3]), "{found:?}");
    let published = bench.metrics.chains.published.with_label_values(&["ethereum"]);
    assert_eq!(published.get(), 52);
    Ok(())
}

#[test]
fn the_topic_of_swaps_must_exist_where_a_chain_is_followed() -> anyhow::Result<()> {
    let (cluster, metrics, plain) = bench(&[Topic::Events, Topic::DeadLetters])?;
    let refused = Sink::connect(&following(&cluster, None), Codec::offline(), metrics).map(|_| ());
    assert_eq!(refused, Err(SinkError::MissingTopic("t-swaps".into())));
    let mut plain = plain?;
    for output in [swap(0, 1), head(1)] {
        assert_eq!(plain.publish(&output), Err(SinkError::MissingTopic("t-swaps".into())));
    }
    Ok(())
}

#[test]
fn swaps_wait_in_the_spool_and_a_killed_process_sends_them_in_order() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut bench = swaps(Some(dir.path()))?;
    bench.sink.publish(&swap(0, 0))?;
    bench.sink.finish()?;
    bench.cluster.broker_down(1)?;
    (1..50).try_for_each(|number| bench.sink.publish(&swap(0, number)))?;
    let cluster = killed(bench);
    // Kafka is still away: the partitions of `swaps` are remembered.
    let metrics = Arc::new(Metrics::new()?);
    let config = following(&cluster, Some(dir.path()));
    let sink = Sink::connect(&config, Codec::offline(), Arc::clone(&metrics))?;
    let mut bench = Bench { cluster, metrics, sink };
    (50..60).try_for_each(|number| bench.sink.publish(&swap(0, number)))?;
    bench.cluster.broker_up(1)?;
    bench.sink.finish()?;
    let codec = Codec::offline();
    let records = bench.read(Topic::Swaps, 60)?;
    let numbers = records.iter().map(|record| {
        codec.decode::<Swap>(record.payload().unwrap_or_default()).map(|swap| swap.log_index)
    });
    let numbers = numbers.collect::<Result<Vec<_>, _>>()?;
    assert_eq!(numbers, (0..60).map(Some).collect::<Vec<_>>());
    Ok(())
}
