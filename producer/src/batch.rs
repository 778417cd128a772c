//! The commands that publish until their input ends: `replay`, `price-events`, `load`.
//!
//! Each ends with one line on what it did, after the broker has taken everything. A signal ends
//! them early: what was read until then is still delivered, and the exit code is not 0.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rand::SeedableRng;
use rand::rngs::StdRng;
use schemas::{Basis, MarketEvent, PairKey, Timestamp};
use tokio::sync::oneshot;
use venues::pipeline::Output;
use venues::{Ignored, Venue};

use crate::clock::{self, Stopwatch};
use crate::config::{KafkaConfig, LoadConfig, PriceEventsConfig, ReplayConfig};
use crate::load::{self, Load};
use crate::metrics::Metrics;
use crate::price_event;
use crate::replay::{self, Replay};
use crate::run::connect;
use crate::shuffle::shuffle;
use crate::signal::Stop;
use crate::sink::Sink;

/// Events between two lines of progress.
const PROGRESS: u64 = 100_000;

/// Events that a shuffle may hold: about 2 GB.
const MAX_SHUFFLED: usize = 5_000_000;

/// How often a second a paced load waits: a wait for each event costs more than the event.
const WAITS_A_SECOND: u32 = 500;
/// Nanoseconds in a second.
const NANOS: u64 = 1_000_000_000;

/// How often the queue is looked at while it empties after a signal.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// What was published, by kind.
#[derive(Debug, Default)]
struct Tally {
    counts: BTreeMap<&'static str, u64>,
    events: u64,
}

impl Tally {
    fn count(&mut self, output: &Output) {
        let kind = match output {
            Output::Event { event, .. } if event.basis == Basis::Trade => "trades",
            Output::Event { .. } => "tickers",
            Output::Mark { .. } | Output::Gap { .. } => "marks",
            Output::DeadLetter(_) => "dead_letters",
        };
        *self.counts.entry(kind).or_default() += 1;
        if let Output::Event { .. } = output {
            self.events += 1;
            if self.events.is_multiple_of(PROGRESS) {
                tracing::info!(events = self.events, "publishing");
            }
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "events published: {}", self.events)?;
        for kind in ["trades", "tickers", "marks", "dead_letters"] {
            write!(f, ", {kind}: {}", self.counts.get(kind).copied().unwrap_or(0))?;
        }
        Ok(())
    }
}

/// Where the outputs of a command go, counted, until a signal.
struct Publisher {
    sink: Sink,
    tally: Tally,
    stopping: Arc<AtomicBool>,
}

impl Publisher {
    fn publish(&mut self, output: &Output) -> anyhow::Result<()> {
        ensure!(!self.stopping.load(Ordering::Relaxed), "interrupted");
        self.sink.publish(output)?;
        self.tally.count(output);
        Ok(())
    }
}

/// `producer replay`.
pub fn replay(config: &ReplayConfig) -> anyhow::Result<()> {
    replay::check(&config.files)?;
    let config = config.clone();
    interruptible(&config.kafka.clone(), move |mut publisher, metrics| {
        let mut pace = config.speed.map(Pace::new);
        let mut replay = Replay::new(Arc::clone(metrics));
        let disorder = config.disorder();
        let mut held: Vec<(PairKey, MarketEvent)> = Vec::new();
        for file in &config.files {
            replay.file(file, &mut |at, output| match output {
                Output::Event { pair, event } if disorder.is_some() => {
                    ensure!(
                        held.len() < MAX_SHUFFLED,
                        "more than {MAX_SHUFFLED} events cannot be shuffled"
                    );
                    held.push((pair, event));
                    Ok(())
                }
                // A mark tells of an order that no longer is.
                Output::Mark { .. } | Output::Gap { .. } if disorder.is_some() => Ok(()),
                output => {
                    if let Some(pace) = &mut pace {
                        pace.wait(at);
                    }
                    publisher.publish(&output)
                }
            })?;
        }
        if let Some(disorder) = disorder {
            let mut rng = StdRng::seed_from_u64(config.seed);
            for (pair, event) in shuffle(held, |(_, event)| event.event_time, disorder, &mut rng) {
                publisher.publish(&Output::Event { pair, event })?;
            }
        }
        publisher.sink.finish()?;
        tell(&format!("replay: {}{}", publisher.tally, ignored(metrics)))
    })
}

/// `producer price-events`.
pub fn price_events(config: &PriceEventsConfig) -> anyhow::Result<()> {
    interruptible(&config.kafka.clone(), move |mut publisher, _| {
        price_event::read(io::stdin().lock(), clock::now, |output| publisher.publish(&output))
            .context("cannot go on reading standard input")?;
        publisher.sink.finish()?;
        tell(&format!("price-events: {}", publisher.tally))
    })
}

/// `producer load`; its line is JSON on standard output.
pub fn load(config: &LoadConfig) -> anyhow::Result<()> {
    let load = Load {
        events: config.events,
        keys: config.keys,
        ids: config.ids,
        samples_percent: config.samples_percent,
        seed: config.seed,
        event_rate: config.event_rate,
        pick: config.pick,
        disorder_percent: config.disorder_percent,
        disorder_ms: config.disorder_ms,
        start: config.start_ms.map_or_else(
            || load::latest_start(clock::now(), config.events, config.event_rate, config.rate),
            Timestamp,
        ),
    };
    let rate = config.rate;
    interruptible(&config.kafka.clone(), move |mut publisher, metrics| {
        let keys: Vec<_> = load.pairs().iter().map(|pair| publisher.sink.key(pair)).collect();
        let watch = Stopwatch::start();
        let (mut last, mut sent) = (load.start, 0u64);
        for (key, event) in load.events() {
            ensure!(!publisher.stopping.load(Ordering::Relaxed), "interrupted after {sent} events");
            if rate > 0 && sent.is_multiple_of(u64::from(rate / WAITS_A_SECOND).max(1)) {
                watch
                    .wait_until(Duration::from_nanos(sent.saturating_mul(NANOS) / u64::from(rate)));
            }
            publisher.sink.publish_keyed(&keys[key], &event, load::EXCHANGE)?;
            last = event.event_time;
            sent += 1;
        }
        publisher.sink.finish()?;
        let seconds = watch.elapsed().as_secs_f64();
        let done = serde_json::json!({
            "events": sent,
            "keys": load.keys,
            "seed": load.seed,
            "seconds": seconds,
            "events_per_second": per_second(sent, watch.elapsed()),
            "event_rate": load.event_rate,
            "first_event_ms": load.start.0,
            "last_event_ms": last.0,
            "backpressure_seconds": metrics.backpressure.get(),
        });
        writeln!(io::stdout(), "{done}").context("cannot write to standard output")
    })
}

/// Connects, works on a thread of its own, and ends early on a signal with the queue emptied.
fn interruptible(
    config: &KafkaConfig,
    work: impl FnOnce(Publisher, &Arc<Metrics>) -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::new()?);
    let sink = connect(config, &metrics)?;
    let stopping = sink.stopping();
    let publisher = Publisher { sink, tally: Tally::default(), stopping: Arc::clone(&stopping) };
    let (done, finished) = oneshot::channel();
    let counted = Arc::clone(&metrics);
    let job = move || {
        // An error says that a signal was faster.
        let _ = done.send(work(publisher, &counted));
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut stop = Stop::listen()?;
        thread::Builder::new().name("work".into()).spawn(job).context("cannot start a thread")?;
        tokio::select! {
            result = finished => result.context("the work ended without a word")?,
            () = stop.wait() => {
                stopping.store(true, Ordering::Relaxed);
                let drained = async {
                    while metrics.queue_messages.get() > 0 {
                        tokio::time::sleep(DRAIN_POLL).await;
                    }
                };
                if tokio::time::timeout(config.flush_timeout, drained).await.is_err() {
                    bail!("interrupted, and {} records were not delivered", metrics.queue_messages.get());
                }
                bail!("interrupted; what was read until then is delivered");
            }
        }
    })
}

/// Keeps the distances of recorded times.
struct Pace {
    speed: f64,
    watch: Stopwatch,
    first: Option<Timestamp>,
}

impl Pace {
    fn new(speed: f64) -> Self {
        Self { speed, watch: Stopwatch::start(), first: None }
    }

    fn wait(&mut self, at: Timestamp) {
        let first = *self.first.get_or_insert(at);
        let millis = u64::try_from(at.0.saturating_sub(first.0)).unwrap_or(0);
        let since = Duration::from_millis(millis).as_secs_f64() / self.speed;
        self.watch.wait_until(Duration::try_from_secs_f64(since).unwrap_or(Duration::MAX));
    }
}

/// Whole events a second over `span`.
fn per_second(events: u64, span: Duration) -> u128 {
    u128::from(events) * u128::from(NANOS) / span.as_nanos().max(1)
}

/// What was left out, by reason.
fn ignored(metrics: &Metrics) -> String {
    let count = |reason: &str| -> u64 {
        let venues = Venue::ALL.iter().map(|venue| [venue.as_str(), reason]);
        venues.map(|labels| metrics.ignored.with_label_values(&labels).get()).sum()
    };
    let reasons = Ignored::ALL.map(Ignored::as_str).into_iter();
    let counted = reasons.map(|reason| (reason, count(reason))).filter(|(_, count)| *count > 0);
    counted
        .map(|(reason, count)| format!(", ignored {reason}: {count}"))
        .collect::<Vec<_>>()
        .concat()
}

fn tell(line: &str) -> anyhow::Result<()> {
    writeln!(io::stderr(), "{line}").context("cannot write to standard error")
}
