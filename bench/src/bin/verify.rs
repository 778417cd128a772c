//! `bench-verify`: the processor's outputs against a fold of its input; one JSON line.
//!
//! The last value of every key of `latest` and the three candle topics, both ways: a wrong, missing
//! or unexpected one is a mismatch, and the exit code is then 1. An empty input is no success.

use std::hash::Hash;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use bench::fold::{Expected, Fold};
use bench::read::{Isolation, read};
use clap::Parser;
use cli::kafka::SchemaRegistry;
use rustc_hash::FxHashMap;
use schemas::avro::Record;
use schemas::topic::Topic;
use schemas::{Candle, Codec};
use serde_json::{Map, Value, json};

/// Mismatches that are shown.
const SHOWN: usize = 5;

#[derive(Debug, Parser)]
struct Options {
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS", default_value = "127.0.0.1:9092")]
    bootstrap_servers: String,
    #[command(flatten)]
    registry: SchemaRegistry,
    /// The prefix of `events`.
    #[arg(long)]
    input_prefix: String,
    /// The prefix of the outputs.
    #[arg(long)]
    topic_prefix: String,
}

/// What a topic ends with: for each key its partition and newest value, as bytes.
type Newest = FxHashMap<Vec<u8>, (i32, Vec<u8>)>;

struct Verify {
    options: Options,
    codec: Codec,
    report: Map<String, Value>,
    mismatched: usize,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let codec = options.registry.client()?.codec(&options.topic_prefix)?;
    let mut verify = Verify { options, codec, report: Map::new(), mismatched: 0 };
    verify.run()?;
    let agreed = verify.mismatched == 0;
    verify.report.insert("mismatched".into(), json!(verify.mismatched));
    writeln!(std::io::stdout(), "{}", Value::Object(verify.report))?;
    Ok(if agreed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Verify {
    fn run(&mut self) -> Result<()> {
        let mut fold = Fold::default();
        let input = Topic::Events.name(&self.options.input_prefix);
        let bootstrap = self.options.bootstrap_servers.clone();
        read(&bootstrap, &input, Isolation::Uncommitted, |row| {
            fold.add(&self.codec, row.partition, row.key, row.value)
        })?;
        ensure!(fold.trades > 0, "{input} is empty: there is nothing to verify");
        self.report.insert("input_events".into(), json!(fold.trades));
        self.compare(Topic::Latest, fold.latest()?, |_| {})?;
        let candles =
            [Topic::Ohlc1m, Topic::Ohlc1h, Topic::Ohlc1d].into_iter().zip(fold.candles()?);
        for (topic, expected) in candles {
            self.compare(topic, expected, |candle: &mut Candle| candle.seen.clear())?;
        }
        for topic in [Topic::Late, Topic::DeadLetters] {
            let found = self.read(topic)?.1;
            self.mismatched += usize::try_from(found)?;
            self.report.insert(topic.base_name().into(), json!({ "records": found }));
        }
        Ok(())
    }

    fn read(&self, topic: Topic) -> Result<(Newest, u64)> {
        let mut newest = Newest::default();
        let name = topic.name(&self.options.topic_prefix);
        let records = read(&self.options.bootstrap_servers, &name, Isolation::Committed, |row| {
            let value = (row.partition, row.value.unwrap_or_default().to_vec());
            newest.insert(row.key.to_vec(), value);
            Ok(())
        })?;
        Ok((newest, records))
    }

    fn compare<K, V>(
        &mut self,
        topic: Topic,
        mut expected: Expected<K, V>,
        clear: impl Fn(&mut V),
    ) -> Result<()>
    where
        K: Record + Eq + Hash + std::fmt::Debug,
        V: Record + PartialEq + std::fmt::Debug,
    {
        let (found, records) = self.read(topic)?;
        let (compared, mut wrong) = (expected.len(), 0);
        let mut tell = |key: &K, is: &dyn std::fmt::Debug, not: &dyn std::fmt::Debug| {
            wrong += 1;
            let mut stderr = std::io::stderr().lock();
            if wrong <= SHOWN {
                // The exit code says it too.
                let _ = writeln!(stderr, "{topic:?} {key:?}\n  is  {is:?}\n  not {not:?}");
            }
        };
        for (key, (partition, value)) in &found {
            let (key, mut value): (K, V) = (self.codec.decode(key)?, self.codec.decode(value)?);
            clear(&mut value);
            let is = (*partition, value);
            let wanted = expected.remove(&key);
            if wanted.as_ref() != Some(&is) {
                tell(&key, &is, &wanted);
            }
        }
        for (key, wanted) in &expected {
            tell(key, &"missing", wanted);
        }
        self.mismatched += wrong;
        let row = json!({ "records": records, "compared": compared, "mismatched": wrong });
        self.report.insert(topic.base_name().into(), row);
        Ok(())
    }
}
