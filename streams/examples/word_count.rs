//! Counts words, exactly once: the whole of a program on this library.
//!
//! ```text
//! word_count BOOTSTRAP_SERVERS STATE_DIR [PREFIX [classic|consumer]]
//! ```
//!
//! It takes lines of text from the topic `lines` and keeps the count of each word in the topic
//! `word-counts`, where a reader of committed records sees each line counted once, whatever happens
//! to this program. The topics are made when they are missing; Ctrl-C ends it.
//!
//! Lines come in [`LINES_PARTITIONS`] partitions and words are counted in [`WORDS_PARTITIONS`]: a
//! repartition topic moves each word to the partition of its key.

use std::error::Error;

use prometheus::Registry;
use streams::runtime::{
    App, AppConfig, GroupProtocol, Metrics, Queries, Stop, TopicSpec, create_topics,
};
use streams::store::StoreHandle;
use streams::{Builder, Context, Failure, Layout, Processor, SinkRecord, Topology};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "usage: word_count BOOTSTRAP_SERVERS STATE_DIR [PREFIX [classic|consumer]]";

/// Partitions of the topic of lines.
const LINES_PARTITIONS: i32 = 2;
/// Partitions of the topics of words and their counts.
const WORDS_PARTITIONS: i32 = 4;

/// Takes a line apart.
struct Split;

impl Processor for Split {
    type In = String;
    type Out = String;

    fn process(&mut self, context: &mut Context<'_, String>, line: &String) -> Result<(), Failure> {
        line.split_whitespace().try_for_each(|word| context.forward(&word.to_lowercase()))
    }
}

/// Counts what it sees.
struct Count {
    counts: StoreHandle<u64>,
}

impl Processor for Count {
    type In = String;
    type Out = ();

    fn process(&mut self, _: &mut Context<'_, ()>, word: &String) -> Result<(), Failure> {
        *self.counts.entry(word.as_bytes())?.get_or_insert(0) += 1;
        Ok(())
    }
}

fn topology(lines: String, counts: String) -> streams::Result<Topology> {
    Topology::new(move |builder: &mut Builder| {
        let lines = builder.source(lines.as_str(), |record| {
            let line = record.value.and_then(|value| String::from_utf8(value.into()).ok());
            line.ok_or(Failure::Drop("not_text"))
        });
        let counts = Layout::new(
            counts.as_str(),
            |count: &u64, out| out.extend_from_slice(count.to_string().as_bytes()),
            |bytes| {
                let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
                text.parse().map_err(|_| format!("{text} is not a count"))
            },
        );
        let counts = builder.store("counts", counts);
        let words = lines.process(builder, |_| Split).repartition(
            builder,
            "words",
            |word| SinkRecord { key: word.clone().into_bytes(), value: None },
            |record| String::from_utf8(record.key.into()).map_err(|_| Failure::Drop("not_text")),
        );
        words.process(builder, |stores| Count { counts: stores.get(&counts) });
    })
}

/// Copies of each partition, as the broker's `default.replication.factor` says.
const BROKER_DEFAULT: i32 = -1;

fn topic(name: &str, policy: &str, partitions: i32) -> TopicSpec {
    let settings = vec![("cleanup.policy", policy.to_owned())];
    TopicSpec { name: name.into(), partitions, replication: BROKER_DEFAULT, settings }
}

/// Creates the topics that are missing, with those that the application writes for itself.
fn create_all(
    servers: &str,
    topology: &Topology,
    application_id: &str,
    [lines, counts, dead_letters]: [&str; 3],
) -> streams::Result<()> {
    let mut topics = vec![
        topic(lines, "delete", LINES_PARTITIONS),
        topic(counts, "compact", WORDS_PARTITIONS),
        topic(dead_letters, "delete", WORDS_PARTITIONS),
    ];
    let named = topology.of_application(application_id);
    let between = named.sub_topologies().iter().filter(|shape| shape.is_repartition());
    topics.extend(
        between.map(|shape| TopicSpec::repartition(shape, WORDS_PARTITIONS, BROKER_DEFAULT)),
    );
    create_topics(servers, &[], &topics).map(|_| ())
}

/// Stops the application on SIGTERM or Ctrl-C.
fn stop_on_signal() -> std::io::Result<Stop> {
    let stop = Stop::default();
    let told = stop.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        let waited = runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            tokio::select! {
                pressed = tokio::signal::ctrl_c() => pressed,
                _ = terminate.recv() => Ok(()),
            }
        });
        if let Err(error) = waited {
            eprintln!("word_count: no signals: {error}");
        }
        told.set();
    });
    Ok(stop)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (servers, state_dir, prefix, group_protocol) = match arguments[..] {
        [servers, state_dir] => (servers, state_dir, "", GroupProtocol::Classic),
        [servers, state_dir, prefix] | [servers, state_dir, prefix, "classic"] => {
            (servers, state_dir, prefix, GroupProtocol::Classic)
        }
        [servers, state_dir, prefix, "consumer"] => {
            (servers, state_dir, prefix, GroupProtocol::Consumer)
        }
        _ => return Err(USAGE.into()),
    };
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    let [lines, counts, dead_letters] =
        ["lines", "word-counts", "word-dead-letters"].map(|name| format!("{prefix}{name}"));
    let topology = topology(lines.clone(), counts.clone())?;
    let application_id = format!("{prefix}word-count");
    create_all(servers, &topology, &application_id, [&lines, &counts, &dead_letters])?;
    let config = AppConfig {
        group_protocol,
        ..AppConfig::new(application_id, servers, state_dir, dead_letters)
    };
    let metrics = Metrics::new("word_count", &Registry::new())?;
    let stop = stop_on_signal()?;
    let app = App::new(&topology, config, metrics, Queries::default(), stop)?;
    Ok(app.run()?)
}
