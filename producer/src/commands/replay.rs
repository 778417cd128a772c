//! `producer replay`: publishes recorded captures and trade files.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use rand::SeedableRng;
use rand::rngs::StdRng;
use schemas::{MarketEvent, PairKey, Timestamp};
use venues::pipeline::Output;
use venues::{Ignored, Venue};

use super::publish::{interruptible, tell};
use crate::clock::Stopwatch;
use crate::config::ReplayConfig;
use crate::input::replay::{self, Replay};
use crate::input::shuffle::shuffle;
use crate::metrics::Metrics;
use crate::plan::pools;

/// Events that a shuffle may hold: about 2 GB.
const MAX_SHUFFLED: usize = 5_000_000;

/// Publishes the files in order.
pub fn replay(config: &ReplayConfig) -> anyhow::Result<()> {
    replay::check(&config.files)?;
    let pools = config.listing.as_deref().map(pools::read).transpose()?.unwrap_or_default();
    let config = config.clone();
    interruptible(&config.kafka.clone(), move |mut publisher, metrics| {
        let mut pace = config.speed.map(Pace::new);
        let mut replay = Replay::new(Arc::clone(metrics)).with_pools(pools);
        let disorder = config.disorder();
        let mut held: Vec<(PairKey, MarketEvent)> = Vec::new();
        let mut publish = |at, output| match output {
            Output::Event { pair, event } if disorder.is_some() => {
                ensure!(
                    held.len() < MAX_SHUFFLED,
                    "more than {MAX_SHUFFLED} events cannot be shuffled"
                );
                held.push((pair, event));
                Ok(())
            }
            // A mark describes an order that the shuffle changes.
            Output::Mark { .. } | Output::Gap { .. } if disorder.is_some() => Ok(()),
            // Books keep their order: each quote replaces the one before it.
            output => {
                if let Some(pace) = &mut pace {
                    pace.wait(at);
                }
                publisher.publish(&output)
            }
        };
        for file in &config.files {
            replay.file(file, &mut publish)?;
        }
        replay.finish(&mut publish)?;
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

/// Keeps the intervals of recorded times.
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

/// The ignored messages by reason, as text.
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
