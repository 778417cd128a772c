//! `producer load`: publishes synthetic events for measurements and tests.

use std::io::{self, Write};
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, ensure};
use schemas::Timestamp;

use super::publish::interruptible;
use crate::clock::{self, Stopwatch};
use crate::config::LoadConfig;
use crate::input::load::{self, Load};

/// Waits a second of a paced load: a wait for each event costs more than the event.
const WAITS_A_SECOND: u32 = 500;
/// Nanoseconds in a second.
const NANOS: u64 = 1_000_000_000;

/// Publishes the load; the result is a line of JSON on standard output.
pub fn load(config: &LoadConfig) -> anyhow::Result<()> {
    let rate = config.rate;
    let (events, event_rate) = (config.load.events, config.load.event_rate);
    let latest = || load::latest_start(clock::now(), events, event_rate, rate);
    let load = Load { start: config.start_ms.map_or_else(latest, Timestamp), ..config.load };
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

/// Whole events a second over `span`.
fn per_second(events: u64, span: Duration) -> u128 {
    u128::from(events) * u128::from(NANOS) / span.as_nanos().max(1)
}
