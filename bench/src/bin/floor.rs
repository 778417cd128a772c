//! `bench-floor`: what librdkafka alone costs on the same topic; one JSON line.
//!
//! - `consume`: every record taken, in batches.
//! - `decode`: and its key and value decoded, by the product's codec.
//! - `pass`: and produced as it came, to the partition that it came from, in transactions of 100 ms.
//!
//! The client is called by the very file through which the engine calls it, so this is the engine's
//! own floor: what would be left if computing, caching and storing cost nothing.

use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bench::read::{Isolation, assign, consumer};
use clap::{Parser, ValueEnum};
use cli::kafka::SchemaRegistry;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use schemas::topic::Topic;
use schemas::{Codec, MarketEvent, PairKey};
use serde_json::json;
use streams::record::{self, Batch};

use librdkafka::Polled;

/// The batch calls of the engine, from the engine's own file.
#[path = "../../../streams/src/runtime/librdkafka.rs"]
#[expect(dead_code, reason = "the engine reads more of what a queue holds")]
mod librdkafka;

/// What that file names.
mod error {
    pub(crate) use streams::error::{Error, Result};
}

// As the processor has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// One answer of the broker.
const ANSWER: Duration = Duration::from_secs(20);
/// Between two commits, as the processor's.
const COMMIT: Duration = Duration::from_millis(100);
/// How long a batch call waits for its first record.
const WAIT: Duration = Duration::from_millis(10);
/// Without a record for so long, the topic cannot be read to its end.
const STALLED: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    Consume,
    Decode,
    Pass,
}

#[derive(Debug, Parser)]
struct Options {
    mode: Mode,
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS", default_value = "127.0.0.1:9092")]
    bootstrap_servers: String,
    #[command(flatten)]
    registry: SchemaRegistry,
    /// The prefix of `events`.
    #[arg(long)]
    input_prefix: String,
    /// The prefix of the topic that `pass` writes: its `events`.
    #[arg(long, default_value = "")]
    topic_prefix: String,
}

/// What has been read and how far.
struct Floor {
    mode: Mode,
    codec: Codec,
    /// By partition: records that wait for the commit, and the next offset.
    batches: Vec<(Batch, i64)>,
    records: u64,
    failed: Option<anyhow::Error>,
}

/// The transactional side.
struct Writer {
    producer: BaseProducer,
    topic: librdkafka::TopicHandle,
}

fn main() -> Result<()> {
    let options = Options::parse();
    // A group of its own: `pass` commits offsets.
    let group = format!("bench-floor-{}", std::process::id());
    let settings = [
        ("group.id", group.as_str()),
        ("enable.partition.eof", "false"),
        ("queued.min.messages", "100000"),
        ("fetch.queue.backoff.ms", "10"),
    ];
    let consumer = consumer(&options.bootstrap_servers, Isolation::Committed, &settings)?;
    // A queue is dropped before its client: it is declared after it.
    let mut queue = librdkafka::Records::new(consumer.client())?;
    let (seconds, cpu, events) = run(&options, &consumer, &mut queue)?;
    // Counts of a run fit a double.
    let count = f64::from(u32::try_from(events)?);
    let done = json!({
        "mode": format!("{:?}", options.mode).to_lowercase(), "events": events, "seconds": seconds,
        "events_per_s": count / seconds, "cpu_us_per_event": cpu * 1e6 / count,
    });
    writeln!(std::io::stdout(), "{done}")?;
    Ok(())
}

/// Reads the topic to its end: seconds from the first record on, processor time, records.
fn run(
    options: &Options,
    consumer: &BaseConsumer,
    queue: &mut librdkafka::Records,
) -> Result<(f64, f64, u64)> {
    let input = Topic::Events.name(&options.input_prefix);
    let codec = options.registry.client()?.codec(&options.input_prefix)?;
    let writer = (options.mode == Mode::Pass).then(|| Writer::new(options)).transpose()?;
    let mut total = 0;
    let partitions = assign(consumer, &input, |partition| {
        total += consumer.fetch_watermarks(&input, partition, ANSWER)?.1.unsigned_abs();
        queue.forward(consumer.client(), &input, partition)?;
        Ok(Offset::Beginning)
    })?;
    ensure!(total > 0, "{input} is empty");
    let batches = (0..partitions).map(|_| (Batch::default(), 0)).collect();
    let mut floor = Floor { mode: options.mode, codec, batches, records: 0, failed: None };
    let cpu = cpu_seconds()?;
    let mut first: Option<Instant> = None;
    let (mut committed, mut progress) = (Instant::now(), Instant::now());
    while floor.records < total {
        if queue.take(WAIT, |taken| floor.take(&taken)) > 0 {
            first.get_or_insert_with(Instant::now);
            progress = Instant::now();
        }
        if let Some(error) = floor.failed.take() {
            return Err(error);
        }
        ensure!(progress.elapsed() < STALLED, "{input} could not be read to its end");
        if let Some(writer) = &writer
            && (committed.elapsed() >= COMMIT || floor.records == total)
        {
            committed = Instant::now();
            writer.commit(consumer, &input, &mut floor.batches)?;
        }
    }
    let seconds = first.map_or(Duration::ZERO, |first| first.elapsed()).as_secs_f64();
    Ok((seconds, cpu_seconds()? - cpu, floor.records))
}

impl Floor {
    fn take(&mut self, taken: &Polled<'_>) {
        let &Polled::Record { partition, offset, timestamp, key, value, .. } = taken else {
            if let Polled::Failed { code, .. } = taken {
                self.failed = Some(anyhow::anyhow!("a partition failed: {code}"));
            }
            return;
        };
        self.records += 1;
        if self.mode == Mode::Decode
            && let Err(error) = self.decode(key, value)
        {
            self.failed = Some(error);
        }
        if self.mode == Mode::Pass
            && let Some((batch, next)) =
                usize::try_from(partition).ok().and_then(|index| self.batches.get_mut(index))
        {
            batch.push(record::Offset(offset), record::Timestamp(timestamp), key, value);
            *next = offset + 1;
        }
    }

    fn decode(&self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        let pair: PairKey = self.codec.decode(key)?;
        let event: MarketEvent = self.codec.decode(value.context("a tombstone")?)?;
        // Looked at, so that nothing of it is optimized away.
        ensure!(pair.is_valid() && event.price.is_positive(), "an event that no load makes");
        Ok(())
    }
}

impl Writer {
    fn new(options: &Options) -> Result<Self> {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &options.bootstrap_servers)
            .set("transactional.id", format!("bench-floor-{}", std::process::id()))
            .set("compression.type", "lz4")
            .set("linger.ms", "5")
            .set("queue.buffering.max.messages", "1000000")
            .set("delivery.report.only.error", "true")
            .create()?;
        producer.init_transactions(ANSWER)?;
        let topic = Topic::Events.name(&options.topic_prefix);
        let topic = librdkafka::TopicHandle::new(producer.client(), &topic)?;
        Ok(Self { producer, topic })
    }

    fn commit(
        &self,
        consumer: &BaseConsumer,
        input: &str,
        batches: &mut [(Batch, i64)],
    ) -> Result<()> {
        let mut offsets = TopicPartitionList::new();
        self.producer.begin_transaction()?;
        for (partition, (batch, next)) in (0..).zip(batches) {
            if batch.is_empty() {
                continue;
            }
            let rows = batch.iter().map(|row| (row.key, row.value));
            self.topic.produce(partition, rows, |code| {
                self.producer.poll(WAIT);
                match code {
                    RDKafkaErrorCode::QueueFull => Ok(()),
                    code => Err(streams::Error::Unavailable(format!("produce: {code}"))),
                }
            })?;
            offsets.add_partition_offset(input, partition, Offset::Offset(*next))?;
            batch.clear();
        }
        ensure!(librdkafka::flush(self.producer.client(), ANSWER), "the broker takes nothing");
        let group = consumer.group_metadata().context("no group")?;
        self.producer.send_offsets_to_transaction(&offsets, &group, ANSWER)?;
        self.producer.commit_transaction(ANSWER)?;
        Ok(())
    }
}

/// Clock ticks in a second, as every Linux that this runs on counts processor time.
const TICKS: f64 = 100.0;

/// User and system time of this process.
fn cpu_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> =
        stat.rsplit_once(')').context("no name")?.1.split_whitespace().collect();
    let ticks = |index: usize| -> Result<f64> { Ok(fields.get(index).context("short")?.parse()?) };

    Ok((ticks(11)? + ticks(12)?) / TICKS)
}
