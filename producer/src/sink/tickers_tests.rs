//! Tickers, the facts of instruments and their clock, against librdkafka's own mock brokers.

use schemas::{Instrument, InstrumentName, InstrumentState, Ticker};

use super::*;

const TOPICS: [Topic; 3] = [Topic::Events, Topic::OptionTickers, Topic::DeadLetters];

fn pair(strike: usize) -> PairKey {
    PairKey::new(format!("BTC-25DEC26-{}-C", 1_000 + strike), "BTC", "deribit")
}

/// A ticker whose time is its number.
fn ticker(strike: usize, number: i64) -> Output {
    let ticker = Ticker {
        mark_price: Some(Decimal::ONE),
        event_time: Timestamp(number),
        received_at: Timestamp(number),
        ..Ticker::default()
    };
    Output::Ticker { pair: pair(strike), ticker: Box::new(ticker) }
}

fn instrument(strike: usize, state: InstrumentState) -> anyhow::Result<Output> {
    let pair = pair(strike);
    let name = InstrumentName::parse(&pair.base).ok_or_else(|| anyhow::anyhow!("a name"))?;
    let instrument = Instrument {
        class: name.class,
        currency: name.currency,
        settlement_currency: None,
        expiry_time: name.expiry_time,
        strike: name.strike,
        right: name.right,
        contract_size: Some(Decimal::ONE),
        tick_size: None,
        state,
        event_time: Timestamp(1),
        received_at: Timestamp(2),
    };
    Ok(Output::Instrument { pair, instrument })
}

fn clock() -> Output {
    let mark = FeedMark::healthy("deribit-0", Timestamp(5), Timestamp(6));
    Output::TickerClock { exchange: "deribit", mark }
}

fn following(cluster: &Cluster, dir: Option<&Path>) -> SinkConfig {
    let spool = dir.map(|dir| SpoolConfig { dir: dir.into(), max_bytes: 1 << 20 });
    SinkConfig { follows_tickers: true, spool, ..config(&cluster.bootstrap_servers()) }
}

fn tickers(dir: Option<&Path>) -> anyhow::Result<Bench> {
    let (cluster, metrics, _) = bench(&TOPICS)?;
    let config = following(&cluster, dir);
    let sink = Sink::connect(&config, Codec::offline(), Arc::clone(&metrics))?;
    Ok(Bench { cluster, metrics, sink })
}

#[test]
fn tickers_and_facts_of_an_instrument_are_in_the_partition_of_its_key() -> anyhow::Result<()> {
    let mut bench = tickers(None)?;
    for strike in 0..12 {
        bench.sink.publish(&instrument(strike, InstrumentState::Listed)?)?;
        for number in 1..=3 {
            bench.sink.publish_live(&ticker(strike, number))?;
        }
        bench.sink.publish(&instrument(strike, InstrumentState::Ended)?)?;
    }
    bench.sink.finish()?;
    let codec = Codec::offline();
    let mut found: BTreeMap<PairKey, Vec<String>> = BTreeMap::new();
    for record in bench.read(Topic::OptionTickers, 60)? {
        let (key, value) = (record.key().unwrap_or_default(), record.payload().unwrap_or_default());
        let partition = (murmur2(key) & 0x7fff_ffff) % PARTITIONS.unsigned_abs();
        assert_eq!(record.partition().unsigned_abs(), partition);
        let shown = match codec.decode::<Ticker>(value) {
            Ok(ticker) => ticker.event_time.0.to_string(),
            Err(_) => codec.decode::<Instrument>(value)?.state.as_str().to_owned(),
        };
        found.entry(codec.decode(key)?).or_default().push(shown);
    }
    assert_eq!(found.len(), 12);
    assert!(found.values().all(|of| *of == ["LISTED", "1", "2", "3", "ENDED"]), "{found:?}");
    let count = |counter: &prometheus::IntCounterVec| counter.with_label_values(&["deribit"]).get();
    assert_eq!(count(&bench.metrics.tickers.published), 60);
    assert_eq!(count(&bench.metrics.published), 0, "none of them is in events");
    assert_eq!(bench.metrics.latency.with_label_values(&["deribit"]).get_sample_count(), 36);
    Ok(())
}

#[test]
fn the_clock_of_tickers_is_in_every_partition() -> anyhow::Result<()> {
    let mut bench = tickers(None)?;
    bench.sink.publish(&clock())?;
    bench.sink.finish()?;
    let codec = Codec::offline();
    for (record, partition) in bench.read(Topic::OptionTickers, 4)?.iter().zip(0..) {
        assert_eq!(record.partition(), partition);
        assert_eq!(codec.decode(record.key().unwrap_or_default()), Ok(PairKey::feed("deribit")));
        let mark: FeedMark = codec.decode(record.payload().unwrap_or_default())?;
        assert_eq!(mark.healthy_until, Timestamp(5));
    }
    Ok(())
}

#[test]
fn the_topic_of_tickers_must_exist_where_they_are_followed() -> anyhow::Result<()> {
    let (cluster, metrics, plain) = bench(&[Topic::Events, Topic::DeadLetters])?;
    let following = following(&cluster, None);
    let refused = Sink::connect(&following, Codec::offline(), metrics).map(|_| ());
    assert_eq!(refused, Err(SinkError::MissingTopic("t-option_tickers".into())));
    // A recording may have tickers all the same.
    let mut plain = plain?;
    for output in [ticker(0, 1), instrument(0, InstrumentState::Listed)?, clock()] {
        let published = plain.publish(&output);
        assert_eq!(published, Err(SinkError::MissingTopic("t-option_tickers".into())));
    }
    Ok(())
}

#[test]
fn tickers_wait_in_the_spool_and_a_killed_process_sends_them_in_order() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut bench = tickers(Some(dir.path()))?;
    bench.sink.publish(&ticker(0, 0))?;
    bench.sink.finish()?;
    bench.cluster.broker_down(1)?;
    (1..50).try_for_each(|number| bench.sink.publish(&ticker(0, number)))?;
    bench.sink.publish(&clock())?;
    let cluster = killed(bench);
    // Kafka is still away: the partitions of `option_tickers` are remembered.
    let metrics = Arc::new(Metrics::new()?);
    let config = following(&cluster, Some(dir.path()));
    let sink = Sink::connect(&config, Codec::offline(), Arc::clone(&metrics))?;
    let mut bench = Bench { cluster, metrics, sink };
    bench.sink.publish(&clock())?;
    (50..60).try_for_each(|number| bench.sink.publish(&ticker(0, number)))?;
    bench.cluster.broker_up(1)?;
    bench.sink.finish()?;
    let codec = Codec::offline();
    let records = bench.read(Topic::OptionTickers, 68)?;
    let tickers = records
        .iter()
        .filter_map(|record| codec.decode::<Ticker>(record.payload().unwrap_or_default()).ok());
    let times: Vec<_> = tickers.map(|ticker| ticker.event_time.0).collect();
    assert_eq!(times, (0..60).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn a_start_without_kafka_needs_a_start_that_knew_the_topic_of_tickers() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (cluster, ..) = bench(&[Topic::Events, Topic::DeadLetters])?;
    let bench = spooled(dir.path(), cluster, 1 << 20)?;
    let cluster = killed(bench);
    cluster.broker_down(1)?;
    let metrics = Arc::new(Metrics::new()?);
    let patience = Duration::from_millis(300);
    let config = SinkConfig { connect_timeout: patience, ..following(&cluster, Some(dir.path())) };
    let refused = Sink::connect(&config, Codec::offline(), metrics).map(|_| ());
    assert!(matches!(refused, Err(SinkError::Unreachable { .. })), "{refused:?}");
    Ok(())
}
