//! Quotes, books and their marks, against librdkafka's own mock brokers.

use schemas::{Book, BookLevel, Part, Proof, Quote};

use super::*;

const TOPICS: [Topic; 4] = [Topic::Events, Topic::Quotes, Topic::Books, Topic::DeadLetters];

fn pair(base: usize) -> PairKey {
    PairKey::new(format!("B{base}"), "USD", "kraken")
}

/// A quote whose sequence is its number.
fn quote(base: usize, number: i64) -> Output {
    let quote = Quote {
        bid: Some(Decimal::ONE),
        bid_size: Some(Decimal::ONE),
        ask: None,
        ask_size: None,
        sequence: Some(number),
        proof: Proof::Checksum,
        event_time: Timestamp(number),
        received_at: Timestamp(number),
    };
    Output::Quote { pair: pair(base), quote }
}

fn book(base: usize) -> Book {
    Book {
        bids: vec![BookLevel { price: Decimal::ONE, size: Decimal::ONE }],
        asks: Vec::new(),
        sequence: None,
        proof: Proof::Checksum,
        event_time: Timestamp(1),
        received_at: Timestamp(i64::try_from(base).unwrap_or_default()),
    }
}

fn lost(base: usize) -> (PairKey, FeedMark) {
    let mark = FeedMark {
        part: Some(Part::Book),
        reason: "CHECKSUM".into(),
        ..FeedMark::healthy("kraken-0", Timestamp(7), Timestamp(8))
    };
    (pair(base), mark)
}

fn following(cluster: &Cluster, dir: Option<&Path>) -> SinkConfig {
    let spool = dir.map(|dir| SpoolConfig { dir: dir.into(), max_bytes: 1 << 20 });
    SinkConfig { follows_books: true, spool, ..config(&cluster.bootstrap_servers()) }
}

fn books(dir: Option<&Path>) -> anyhow::Result<Bench> {
    let (cluster, metrics, _) = bench(&TOPICS)?;
    let config = following(&cluster, dir);
    let sink = Sink::connect(&config, Codec::offline(), Arc::clone(&metrics))?;
    Ok(Bench { cluster, metrics, sink })
}

/// The sequences of quotes by pair, and the marks, as they lie in their partitions.
fn quotes(bench: &Bench, count: usize) -> anyhow::Result<Vec<(PairKey, Option<i64>)>> {
    let codec = Codec::offline();
    let records = bench.read(Topic::Quotes, count)?;
    let read = |record: &OwnedMessage| {
        let value = record.payload().unwrap_or_default();
        let quote = codec.decode::<Quote>(value).ok();
        Ok((codec.decode(record.key().unwrap_or_default())?, quote.and_then(|one| one.sequence)))
    };
    records.iter().map(read).collect()
}

#[test]
fn quotes_and_marks_of_a_pair_are_in_one_partition_in_their_order() -> anyhow::Result<()> {
    let mut bench = books(None)?;
    for number in 0..60 {
        bench.sink.publish_live(&quote(usize::try_from(number % 6)?, number))?;
    }
    let (of, mark) = lost(3);
    bench.sink.publish(&Output::BookMark { pair: of.clone(), mark })?;
    bench.sink.publish(&quote(3, 1_000))?;
    bench.sink.finish()?;
    let all = quotes(&bench, 62)?;
    for base in 0..6 {
        let of_pair = all.iter().filter(|(key, _)| *key == pair(base));
        let numbers: Vec<_> = of_pair.map(|(_, number)| *number).collect();
        let mut expected: Vec<_> =
            (0..10).map(|turn| Some(6 * turn + i64::try_from(base).unwrap_or_default())).collect();
        if base == 3 {
            expected.extend([None, Some(1_000)]);
        }
        assert_eq!(numbers, expected, "B{base}");
    }
    assert_eq!(bench.metrics.books.quotes.with_label_values(&["kraken"]).get(), 62);
    assert_eq!(bench.metrics.latency.with_label_values(&["kraken"]).get_sample_count(), 60);
    assert_eq!(bench.metrics.published.with_label_values(&["kraken"]).get(), 0);
    Ok(())
}

#[test]
fn the_clock_of_books_is_in_every_partition_of_quotes_and_books_have_their_topic()
-> anyhow::Result<()> {
    let mut bench = books(None)?;
    let mark = FeedMark::healthy("kraken-0", Timestamp(5), Timestamp(6));
    bench.sink.publish(&Output::BookClock { exchange: "kraken", mark: mark.clone() })?;
    for base in 0..3 {
        bench.sink.publish(&Output::Book { pair: pair(base), book: book(base) })?;
    }
    bench.sink.finish()?;
    let codec = Codec::offline();
    for (record, partition) in bench.read(Topic::Quotes, 4)?.iter().zip(0..) {
        assert_eq!(record.partition(), partition);
        assert_eq!(codec.decode(record.key().unwrap_or_default()), Ok(PairKey::feed("kraken")));
        assert_eq!(codec.decode(record.payload().unwrap_or_default()), Ok(mark.clone()));
    }
    let mut found = Vec::new();
    for record in bench.read(Topic::Books, 3)? {
        let key: PairKey = codec.decode(record.key().unwrap_or_default())?;
        found.push((key, codec.decode::<Book>(record.payload().unwrap_or_default())?));
    }
    found.sort_by(|one, other| one.0.base.cmp(&other.0.base));
    assert_eq!(found, (0..3).map(|base| (pair(base), book(base))).collect::<Vec<_>>());
    assert_eq!(bench.metrics.books.books.with_label_values(&["kraken"]).get(), 3);
    Ok(())
}

#[test]
fn the_topics_of_books_must_exist_where_books_are_followed() -> anyhow::Result<()> {
    let (cluster, metrics, plain) = bench(&[Topic::Events, Topic::DeadLetters])?;
    let following = following(&cluster, None);
    let refused = Sink::connect(&following, Codec::offline(), metrics).map(|_| ());
    assert_eq!(refused, Err(SinkError::MissingTopic("t-books".into())));
    // A recording may have books all the same.
    let published = plain?.publish(&quote(0, 1));
    assert_eq!(published, Err(SinkError::MissingTopic("t-quotes".into())));
    Ok(())
}

#[test]
fn quotes_wait_in_the_spool_and_a_killed_process_sends_them_in_order() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut bench = books(Some(dir.path()))?;
    bench.sink.publish(&quote(0, 0))?;
    bench.sink.finish()?;
    bench.cluster.broker_down(1)?;
    (1..50).try_for_each(|number| bench.sink.publish(&quote(0, number)))?;
    bench.sink.publish(&Output::Book { pair: pair(0), book: book(0) })?;
    let mark = FeedMark::healthy("kraken-0", Timestamp(5), Timestamp(6));
    bench.sink.publish(&Output::BookClock { exchange: "kraken", mark })?;
    let cluster = killed(bench);
    // Kafka is still away: the partitions of `quotes` are remembered.
    let metrics = Arc::new(Metrics::new()?);
    let config = following(&cluster, Some(dir.path()));
    let sink = Sink::connect(&config, Codec::offline(), Arc::clone(&metrics))?;
    let mut bench = Bench { cluster, metrics, sink };
    (50..60).try_for_each(|number| bench.sink.publish(&quote(0, number)))?;
    bench.cluster.broker_up(1)?;
    bench.sink.finish()?;
    let all = quotes(&bench, 64)?;
    let of_pair = all.iter().filter(|(key, _)| *key == pair(0));
    let numbers: Vec<_> = of_pair.filter_map(|(_, number)| *number).collect();
    assert_eq!(numbers, (0..60).collect::<Vec<_>>());
    assert_eq!(bench.read(Topic::Books, 1)?.len(), 1);
    Ok(())
}

#[test]
fn a_start_without_kafka_needs_a_start_that_knew_the_topics_of_books() -> anyhow::Result<()> {
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

#[test]
fn a_refused_quote_is_a_dead_letter() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut bench = books(Some(dir.path()))?;
    bench.sink.publish(&quote(0, 0))?;
    bench.sink.finish()?;
    let error = rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    bench.cluster.request_errors(rdkafka::types::RDKafkaApiKey::Produce, &[error; 2]);
    bench.sink.publish(&quote(0, 1))?;
    bench.sink.finish()?;
    let letters = bench.read(Topic::DeadLetters, 1)?;
    let quote: Quote = Codec::offline().decode(letters[0].payload().unwrap_or_default())?;
    assert_eq!(quote.sequence, Some(1));
    assert!(!bench.sink.pending());
    Ok(())
}
