//! An application on librdkafka's mock cluster, which fails requests on demand, and what becomes of
//! it.
//!
//! The mock cluster keeps no transactions: it ignores commit and abort and forgets the offsets of a
//! transaction, so each worker reads its source from the beginning. Only reactions can be seen here:
//! which kind of error there was, and whether a worker came after it that could commit.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use prometheus::Registry;
use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
pub(crate) use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Code};
use streams::runtime::{
    App, AppConfig, GroupProtocol, Guarantee, Metrics, Queries, ResetOffsets, Stop,
};
use streams::store::StoreHandle;
use streams::{Builder, Context, Error, Failure, Layout, Processor, Topology};
use tempfile::TempDir;
use tests::support::wait_until;

/// Where words come from.
pub(crate) const WORDS: &str = "words";
/// The value of what is no word, and goes to the dead letters.
pub(crate) const JUNK: &[u8] = b"junk";
/// Where their counts go.
pub(crate) const COUNTS: &str = "counts";
const DEAD_LETTERS: &str = "dead";
const APPLICATION: &str = "count";
/// The kinds of errors after which a worker rejoins, as the metric names them.
const REACTIONS: [&str; 3] = ["fenced", "indeterminate", "unavailable"];
/// A minute of retries, several pauses, and a machine with other things to do.
const BOUND: Duration = Duration::from_mins(4);
/// A producer's last words to the mock cluster.
const DELIVERY: Duration = Duration::from_mins(1);

struct Count {
    counts: StoreHandle<u64>,
}

impl Processor for Count {
    type In = Vec<u8>;
    type Out = ();

    fn process(&mut self, _: &mut Context<'_, ()>, word: &Vec<u8>) -> Result<(), Failure> {
        *self.counts.entry(word)?.get_or_insert(0) += 1;
        Ok(())
    }
}

fn topology() -> streams::Result<Topology> {
    Topology::new(|builder: &mut Builder| {
        let words = builder.source(WORDS, |record| match record.value {
            Some(JUNK) => Err(Failure::Drop("junk")),
            _ => Ok(record.key.to_vec()),
        });
        let layout = Layout::new(
            COUNTS,
            |count: &u64, out| out.extend_from_slice(&count.to_be_bytes()),
            |bytes| bytes.try_into().map(u64::from_be_bytes).map_err(|_| "no count".to_owned()),
        );
        let counts = builder.store(COUNTS, layout);
        words.process(builder, |stores| Count { counts: stores.get(&counts) });
    })
}

/// A broker that fails as it is told to.
pub(crate) struct World {
    /// The broker.
    pub(crate) mock: MockCluster<'static, DefaultProducerContext>,
    folder: TempDir,
    protocol: GroupProtocol,
    guarantee: Guarantee,
}

/// What became of an application.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Dead letters that were given up.
    pub(crate) refused: u64,
    /// What it ended with.
    pub(crate) result: streams::Result<()>,
    /// How often a worker rejoined after each kind of error that there was.
    pub(crate) restarts: Vec<(&'static str, u64)>,
    /// Commits that succeeded.
    pub(crate) committed: u64,
}

impl World {
    /// With topics, and one word to count.
    pub(crate) fn new() -> Result<Self> {
        Self::with_record(b"")
    }

    /// With topics, and one record that is no word.
    pub(crate) fn with_junk() -> Result<Self> {
        Self::with_record(JUNK)
    }

    fn with_record(value: &[u8]) -> Result<Self> {
        let world = Self::with_state(tempfile::tempdir()?)?;
        world.write(WORDS, b"word", value)?;
        Ok(world)
    }

    fn with_state(folder: TempDir) -> Result<Self> {
        let mock = MockCluster::new(1)?;
        for topic in [WORDS, COUNTS, DEAD_LETTERS] {
            mock.create_topic(topic, 1, 1)?;
        }
        // In the classic protocol the mock cluster lets whoever rejoins wait for a session.
        let (protocol, guarantee) = (GroupProtocol::Consumer, Guarantee::ExactlyOnceV2);
        Ok(Self { mock, folder, protocol, guarantee })
    }

    /// Another broker, with topics that are empty, under the same state directory.
    pub(crate) fn forgotten_by_the_broker(self) -> Result<Self> {
        Self::with_state(self.folder)
    }

    /// The group protocol whose requests the mock cluster can fail.
    pub(crate) fn classic(mut self) -> Self {
        self.protocol = GroupProtocol::Classic;
        self
    }

    /// Without transactions.
    pub(crate) fn at_least_once(mut self) -> Self {
        self.guarantee = Guarantee::AtLeastOnce;
        self
    }

    /// The next requests of this kind fail, one after the other.
    pub(crate) fn fail(self, api: Api, codes: &[Code]) -> Self {
        self.mock.request_errors(api, codes);
        self
    }

    /// Writes a record.
    pub(crate) fn write(&self, topic: &str, key: &[u8], value: &[u8]) -> Result<()> {
        let servers = self.mock.bootstrap_servers();
        let producer: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", servers).create()?;
        let record = BaseRecord::<[u8], [u8]>::to(topic).partition(0).key(key).payload(value);
        producer.send(record).map_err(|(error, _)| error)?;
        Ok(producer.flush(DELIVERY)?)
    }

    fn config(&self) -> AppConfig {
        let servers = self.mock.bootstrap_servers();
        AppConfig {
            processing_guarantee: self.guarantee,
            group_protocol: self.protocol,
            flush_interval: Duration::from_millis(100),
            transaction_timeout: Duration::from_secs(8),
            session_timeout: Duration::from_secs(10),
            // The mock cluster keeps no offsets of a transaction: each worker but the first has lost them.
            reset_offsets: Some(ResetOffsets::Earliest),
            ..AppConfig::new(APPLICATION, servers, self.folder.path(), DEAD_LETTERS)
        }
    }

    /// Runs the application until it ends by itself.
    pub(crate) fn run_to_its_end(&self) -> Result<Outcome> {
        self.run_until(|_| Ok(false))
    }

    /// Runs the application until it has committed, or ends by itself.
    pub(crate) fn run(&self) -> Result<Outcome> {
        self.run_until(|metrics| Ok(committed(metrics) > 0))
    }

    /// Runs the application until `is_enough` says so, or it ends by itself.
    pub(crate) fn run_until(
        &self,
        mut is_enough: impl FnMut(&Metrics) -> Result<bool>,
    ) -> Result<Outcome> {
        let (metrics, stop) = (Metrics::new("errors", &Registry::new())?, Stop::default());
        let (queries, config) = (Queries::default(), self.config());
        let app = App::new(&topology()?, config, metrics.clone(), queries, stop.clone())?;
        std::thread::scope(|scope| {
            let running = scope.spawn(|| app.run());
            let waited = wait_until("the application to have done enough", BOUND, || {
                Ok((running.is_finished() || is_enough(&metrics)?).then_some(()))
            });
            stop.set();
            let result = running.join().ok().context("the application panicked")?;
            let counts = REACTIONS.map(|kind| (kind, restarts(&metrics, kind)));
            let restarts = counts.into_iter().filter(|(_, count)| *count > 0).collect();
            let (refused, committed) =
                (metrics.records.dead_letters_refused.get(), committed(&metrics));
            let outcome = Outcome { refused, result, restarts, committed };
            waited.with_context(|| format!("{outcome:?}"))?;
            Ok(outcome)
        })
    }
}

/// Commits that succeeded.
pub(crate) fn committed(metrics: &Metrics) -> u64 {
    metrics.commits.with_label_values(&["committed"]).get()
}

fn restarts(metrics: &Metrics, kind: &str) -> u64 {
    metrics.restarts.with_label_values(&[kind]).get()
}

impl Outcome {
    /// A worker rejoined after exactly these errors, and the last one committed.
    pub(crate) fn healed(&self, restarts: &[(&'static str, u64)]) -> Result<()> {
        ensure!(self.result.is_ok() && self.committed > 0, "{self:?}");
        ensure!(self.restarts == restarts, "{self:?}, not {restarts:?}");
        Ok(())
    }

    /// It ended by itself, with an error of that kind that says all of `words`, and no worker had
    /// rejoined before.
    pub(crate) fn ended(&self, is_kind: fn(&Error) -> bool, words: &[&str]) -> Result<()> {
        let error = self.result.as_ref().err().with_context(|| format!("{self:?}"))?;
        ensure!(is_kind(error) && self.restarts.is_empty(), "{self:?}");
        let said = error.to_string();
        ensure!(words.iter().all(|word| said.contains(word)), "{said} without all of {words:?}");
        Ok(())
    }
}
