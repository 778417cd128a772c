//! `bench-probe`: how long an event takes from produced to visible under `read_committed`.
//!
//! ```text
//! probe ─► events ─► a side ─► latest ─► probe
//!   └── the clock starts               └── and stops: this price, or a later one of its pair
//! ```
//!
//! It produces trades of a few pairs of its own among the load, and reads `latest`, whoever writes
//! it. Both schemas of `latest` begin with the price, and a pair's price is the number of the trade.
//! A trade that is overwritten before it is committed counts as seen when the one after it is.

use std::collections::VecDeque;
use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use bench::read::{Isolation, assign, consumer};
use clap::Parser;
use cli::kafka::SchemaRegistry;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::Offset;
use schemas::codec::HEADER_BYTES;
use schemas::topic::Topic;
use schemas::{Codec, Decimal, MarketEvent, PairKey, TakerSide, Timestamp, avro};
use serde_json::json;

/// One answer of the broker.
const ANSWER: Duration = Duration::from_secs(20);
/// How long the last trades are waited for: a side that has fallen behind still has its latency told.
const LAST: Duration = Duration::from_mins(3);
/// Pairs, so that every partition has some and each trade is seen before the pair's next.
const PAIRS: usize = 16;

#[derive(Debug, Parser)]
struct Options {
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS", default_value = "127.0.0.1:9092")]
    bootstrap_servers: String,
    #[command(flatten)]
    registry: SchemaRegistry,
    /// The prefix of `events`.
    #[arg(long)]
    input_prefix: String,
    /// The prefix of `latest`.
    #[arg(long)]
    topic_prefix: String,
    /// How long to go on.
    #[arg(long)]
    seconds: u64,
    /// The first so many of them are not counted.
    #[arg(long, default_value_t = 0)]
    warm_up_seconds: u64,
    /// Milliseconds between two trades.
    #[arg(long, default_value_t = 20)]
    interval_ms: u64,
    /// Event time less the time of the clock, in milliseconds: where the load's event time is.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    shift_ms: i64,
}

/// A pair and its trades that are not seen yet.
struct Pair {
    key: Vec<u8>,
    sent: i64,
    waiting: VecDeque<(i64, Instant)>,
}

struct Probe {
    options: Options,
    codec: Codec,
    consumer: BaseConsumer,
    producer: BaseProducer,
    events: String,
    pairs: Vec<Pair>,
    started: Instant,
    /// In milliseconds.
    latencies: Vec<f64>,
}

fn main() -> Result<()> {
    let mut probe = Probe::new(Options::parse())?;
    probe.run()?;
    writeln!(std::io::stdout(), "{}", probe.report()?)?;
    Ok(())
}

/// A consumer that begins at the end of the topic.
fn tail(bootstrap: &str, topic: &str) -> Result<BaseConsumer> {
    let consumer = consumer(bootstrap, Isolation::Committed, &[])?;
    assign(&consumer, topic, |partition| {
        Ok(Offset::Offset(consumer.fetch_watermarks(topic, partition, ANSWER)?.1))
    })?;
    Ok(consumer)
}

impl Probe {
    fn new(options: Options) -> Result<Self> {
        let codec = options.registry.client()?.codec(&options.input_prefix)?;
        let consumer =
            tail(&options.bootstrap_servers, &Topic::Latest.name(&options.topic_prefix))?;
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &options.bootstrap_servers)
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "0")
            .set("enable.idempotence", "true")
            .create()?;
        let pair = |index| Pair {
            key: codec.to_bytes(&PairKey::new(format!("P{index:02}"), "USD", "probe")),
            sent: 0,
            waiting: VecDeque::new(),
        };
        let pairs = (0..PAIRS).map(pair).collect();
        let events = Topic::Events.name(&options.input_prefix);
        let started = Instant::now();
        let latencies = Vec::new();
        Ok(Self { options, codec, consumer, producer, events, pairs, started, latencies })
    }

    fn run(&mut self) -> Result<()> {
        let interval = Duration::from_millis(self.options.interval_ms);
        let whole = Duration::from_secs(self.options.seconds);
        let (mut next, mut due) = (0, self.started);
        while self.started.elapsed() < whole {
            if Instant::now() >= due {
                self.send(next % PAIRS)?;
                next += 1;
                due += interval;
            }
            self.look(due.saturating_duration_since(Instant::now()))?;
        }
        let waited = Instant::now();
        while self.pairs.iter().any(|pair| !pair.waiting.is_empty()) && waited.elapsed() < LAST {
            self.look(interval)?;
        }
        self.producer.flush(ANSWER)?;
        Ok(())
    }

    fn send(&mut self, index: usize) -> Result<()> {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        let pair = &mut self.pairs[index];
        pair.sent += 1;
        let price = number(pair.sent)?;
        let time = Timestamp(now + self.options.shift_ms);
        let trade = MarketEvent {
            trade_id: Some(pair.sent),
            taker_side: Some(TakerSide::Buy),
            ..MarketEvent::trade(price, number(1)?, time)
        };
        let value = self.codec.to_bytes(&trade);
        pair.waiting.push_back((pair.sent, Instant::now()));
        let record = BaseRecord::to(&self.events).key(&pair.key).payload(&value);
        self.producer.send(record).map_err(|(error, _)| error).context("producing a probe")?;
        self.producer.poll(Duration::ZERO);
        Ok(())
    }

    /// Takes what has become visible, for at least one record or this time.
    fn look(&mut self, wait: Duration) -> Result<()> {
        let message = match self.consumer.poll(wait) {
            None | Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            Some(message) => message.context("reading latest")?,
        };
        let seen = Instant::now();
        let Some(pair) = self.pairs.iter_mut().find(|pair| Some(&pair.key[..]) == message.key())
        else {
            return Ok(());
        };
        let value = message.payload().context("a tombstone in latest")?;
        ensure!(value.len() > HEADER_BYTES, "a value without a price");
        let price = avro::Reader::new(&value[HEADER_BYTES..]).decimal()?;
        let warm = self.started + Duration::from_secs(self.options.warm_up_seconds);
        while let Some((_, sent)) = pair.waiting.front().filter(|(id, _)| is_at_least(price, *id)) {
            if *sent >= warm {
                self.latencies.push((seen - *sent).as_secs_f64() * 1e3);
            }
            pair.waiting.pop_front();
        }
        Ok(())
    }

    fn report(&mut self) -> Result<serde_json::Value> {
        let sent: i64 = self.pairs.iter().map(|pair| pair.sent).sum();
        let lost: usize = self.pairs.iter().map(|pair| pair.waiting.len()).sum();
        ensure!(!self.latencies.is_empty(), "none of the trades became visible; {lost} were lost");
        self.latencies.sort_by(f64::total_cmp);
        let at = |share: usize| {
            let last = self.latencies.len() - 1;
            self.latencies[last * share / 100]
        };
        Ok(json!({
            "sent": sent, "samples": self.latencies.len(), "lost": lost,
            "p50_ms": at(50), "p99_ms": at(99), "max_ms": at(100),
        }))
    }
}

fn number(number: i64) -> Result<Decimal> {
    Decimal::from_units(i128::from(number) * Decimal::ONE.units()).context("too many trades")
}

fn is_at_least(price: Decimal, number: i64) -> bool {
    price.units() >= i128::from(number) * Decimal::ONE.units()
}
