//! The topology under simulation: whatever it loses or doubles shows in its outputs.
//!
//! ```text
//! events ─► count by window and key ─► total by key ─► trace   (counts, totals: stores; counts is windowed)
//!    ├──► ticks: every 50 ms of stream time
//!    ├──► pulse: every 40 ms of wall clock, with nothing consumed
//!    └──► by-value-repartition ─► sum of times by value ─► times (store), echo
//!                                        └─► by-parity-repartition ─► count by parity ─► parities (store)
//! ```
//!
//! The order in which records of several partitions come to a repartition topic differs between two
//! runs. Sums do not depend on it.

use streams::punctuation::{PunctuationType, Schedule};
use streams::record::{SourceRecord, SubTopologyId, Timestamp};
use streams::store::StoreHandle;
use streams::window::TumblingWindows;
use streams::{
    Builder, Context, Failure, Layout, Processor, Result, Retention, SinkRecord, Stream, Topology,
};

/// The sink whose times are the wall clock's: different in every run.
pub(crate) const PULSE: &str = "pulse";
/// The sink whose records have no order.
pub(crate) const ECHO: &str = "echo";
/// Added to each time, so that a record with the time 0 counts as well.
const BASE_MS: i64 = 1_000;

/// The topic of a sub-topology's records that could not be processed.
pub(crate) fn dead_letters(of: SubTopologyId) -> String {
    format!("dead-{}", of.0)
}

const WINDOW_MS: i64 = 30;
const GRACE_MS: i64 = 20;
/// A world has up to 36 windows.
const KEPT_WINDOWS: u64 = 5;
/// Added to a window's number: a world begins before the epoch.
const FIRST_WINDOW: u64 = 1_000;

struct Event {
    key: Vec<u8>,
    value: Option<i64>,
}

fn event(record: &SourceRecord<'_>) -> Result<Event, Failure> {
    let parse = |value: &[u8]| std::str::from_utf8(value).ok()?.parse().ok();
    let value = match record.value {
        Some(value) => Some(parse(value).ok_or(Failure::Drop("not_a_number"))?),
        None => None,
    };
    Ok(Event { key: record.key.to_vec(), value })
}

fn numbers(topic: &str) -> Layout<i64> {
    Layout::new(
        topic,
        |number: &i64, out| out.extend_from_slice(&number.to_be_bytes()),
        |bytes| bytes.try_into().map(i64::from_be_bytes).map_err(|_| "not a number".into()),
    )
}

struct Sum {
    windows: TumblingWindows,
    counts: StoreHandle<i64>,
    totals: StoreHandle<i64>,
}

impl Processor for Sum {
    type In = Event;
    type Out = String;

    fn process(&mut self, context: &mut Context<'_, String>, event: &Event) -> Result<(), Failure> {
        let start = self.windows.start(context.timestamp());
        if self.windows.is_closed(start, GRACE_MS, context.stream_time()) {
            return Err(Failure::Drop("late"));
        }
        let number = FIRST_WINDOW.saturating_add_signed(start.0 / WINDOW_MS);
        let window = [&Retention::first_key(number)[..], &event.key].concat();
        *self.counts.entry(&window)?.get_or_insert(0) += 1;
        let total = {
            let mut total = self.totals.entry(&event.key)?;
            *total = event.value.map(|value| total.unwrap_or(0) + value);
            *total
        };
        context.forward(&format!("{}: {total:?}", context.offset()))
    }
}

struct Tick(PunctuationType, i64);

impl Processor for Tick {
    type In = Event;
    type Out = String;

    fn process(&mut self, _: &mut Context<'_, String>, _: &Event) -> Result<(), Failure> {
        Ok(())
    }

    fn schedule(&self) -> Option<Schedule> {
        Some(Schedule { clock: self.0, interval_ms: self.1 })
    }

    fn punctuate(
        &mut self,
        context: &mut Context<'_, String>,
        time: Timestamp,
    ) -> Result<(), Failure> {
        context.forward(&time.to_string())
    }
}

/// Sums the times of the records of each value.
struct Times(StoreHandle<i64>);

impl Processor for Times {
    type In = Vec<u8>;
    type Out = Vec<u8>;

    fn process(
        &mut self,
        context: &mut Context<'_, Vec<u8>>,
        value: &Vec<u8>,
    ) -> Result<(), Failure> {
        if value == b"13" {
            return Err(Failure::Drop("unlucky"));
        }
        *self.0.entry(value)?.get_or_insert(0) += context.timestamp().0 + BASE_MS;
        context.forward(value)
    }
}

/// Counts the records of each key.
struct Parities(StoreHandle<i64>);

impl Processor for Parities {
    type In = Vec<u8>;
    type Out = ();

    fn process(&mut self, _: &mut Context<'_, ()>, key: &Vec<u8>) -> Result<(), Failure> {
        *self.0.entry(key)?.get_or_insert(0) += 1;
        Ok(())
    }
}

fn key_only(key: Vec<u8>) -> SinkRecord {
    SinkRecord { key, value: None }
}

#[expect(clippy::unnecessary_wraps, reason = "it decodes a source")]
fn key(record: &SourceRecord<'_>) -> Result<Vec<u8>, Failure> {
    Ok(record.key.to_vec())
}

/// The sub-topologies behind the first.
fn behind(builder: &mut Builder, events: &Stream<Event>) {
    let times = builder.store("times", numbers("times"));
    let parities = builder.store("parities", numbers("parities"));
    let text = |event: &Event| event.value.unwrap_or(0).to_string().into_bytes();
    let values = events.repartition(builder, "by-value", move |event| key_only(text(event)), key);
    let summed = values.process(builder, |stores| Times(stores.get(&times)));
    summed.to(builder, ECHO, |value| key_only(value.clone()));
    let parity = |value: &Vec<u8>| vec![value.last().copied().unwrap_or(0) % 2];
    let parted =
        summed.repartition(builder, "by-parity", move |value| key_only(parity(value)), key);
    parted.process(builder, |stores| Parities(stores.get(&parities)));
}

/// The topology, with or without the pulse: it would fill every commit.
pub(crate) fn topology(with_pulse: bool) -> Result<Topology> {
    Topology::new(move |builder: &mut Builder| {
        let events = builder.source("events", event);
        let kept = Retention::of_segments(KEPT_WINDOWS);
        let counts = builder.store("counts", numbers("counts").with_retention(kept));
        let totals = builder.store("totals", numbers("totals"));
        let Some(windows) = TumblingWindows::new(WINDOW_MS) else {
            unreachable!("the length is positive")
        };
        let line =
            |line: &String| SinkRecord { key: vec![], value: Some(line.clone().into_bytes()) };
        let sums = events.process(builder, |stores| Sum {
            windows,
            counts: stores.get(&counts),
            totals: stores.get(&totals),
        });
        sums.to(builder, "trace", line);
        let tick = Tick(PunctuationType::StreamTime, 50);
        events.process(builder, |_| tick).to(builder, "ticks", line);
        if with_pulse {
            let tick = Tick(PunctuationType::WallClock, 40);
            events.process(builder, |_| tick).to(builder, PULSE, line);
        }
        behind(builder, &events);
    })
}
