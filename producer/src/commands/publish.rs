//! The commands that publish until their input ends, and what they share.
//!
//! Each command ends with one line about what it did, after the broker has acknowledged everything.
//! A signal ends it early: everything read until then is delivered, and the exit code is not 0.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use cli::signal::StopSignals;
use schemas::Basis;
use tokio::sync::oneshot;
use venues::pipeline::Output;

use super::connect::connect;
use crate::config::KafkaConfig;
use crate::metrics::Metrics;
use crate::sink::Sink;

/// Events between two lines of progress.
const PROGRESS: u64 = 100_000;
/// The interval of checks while the queue empties after a signal.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// Published records by kind.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: BTreeMap<&'static str, u64>,
    events: u64,
}

impl Tally {
    fn count(&mut self, output: &Output) {
        let kind = match output {
            Output::Event { event, .. } if event.basis == Basis::Trade => "trades",
            Output::Event { .. } => "tickers",
            Output::Quote { .. } => "quotes",
            Output::Book { .. } => "books",
            Output::Ticker { .. } => "whole_tickers",
            Output::Instrument { .. } => "instruments",
            Output::Swap { .. } => "swaps",
            Output::Head { .. } => "heads",
            Output::Pool { .. } => "pools",
            Output::Mark { .. }
            | Output::Gap { .. }
            | Output::BookMark { .. }
            | Output::BookClock { .. }
            | Output::TickerClock { .. } => "marks",
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
        let count = |kind| self.counts.get(kind).copied().unwrap_or(0);
        for kind in ["trades", "tickers", "marks", "dead_letters"] {
            write!(f, ", {kind}: {}", count(kind))?;
        }
        // Few inputs have books or whole tickers.
        let rare = ["quotes", "books", "whole_tickers", "instruments", "swaps", "heads", "pools"];
        for kind in rare.into_iter().filter(|kind| count(kind) > 0) {
            write!(f, ", {kind}: {}", count(kind))?;
        }
        Ok(())
    }
}

/// Publishes the outputs of a command and counts them, until a signal.
pub(super) struct Publisher {
    pub(super) sink: Sink,
    pub(super) tally: Tally,
    pub(super) stopping: Arc<AtomicBool>,
}

impl Publisher {
    pub(super) fn publish(&mut self, output: &Output) -> anyhow::Result<()> {
        ensure!(!self.stopping.load(Ordering::Relaxed), "interrupted");
        self.sink.publish(output)?;
        self.tally.count(output);
        Ok(())
    }
}

/// Connects, runs `work` on a thread, and ends early on a signal with the queue emptied.
pub(super) fn interruptible(
    config: &KafkaConfig,
    work: impl FnOnce(Publisher, &Arc<Metrics>) -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::new()?);
    let sink = connect(config, &config.sink(), &metrics)?;
    let stopping = sink.stopping();
    let publisher = Publisher { sink, tally: Tally::default(), stopping: Arc::clone(&stopping) };
    let (done, finished) = oneshot::channel();
    let counted = Arc::clone(&metrics);
    let job = move || {
        // An error means that a signal came first.
        let _ = done.send(work(publisher, &counted));
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut stop = StopSignals::listen()?;
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

/// Writes the line about what was done.
pub(super) fn tell(line: &str) -> anyhow::Result<()> {
    writeln!(io::stderr(), "{line}").context("cannot write to standard error")
}
