//! The topology under simulation: whatever it loses or doubles shows in its outputs.
//!
//! ```text
//! events ─► count by key and window ─► total by key ─► trace   (counts, totals: stores)
//!    ├──► ticks: every 50 ms of stream time
//!    └──► pulse: every 40 ms of wall clock, with nothing consumed
//! ```

use streams::punctuation::{PunctuationType, Schedule};
use streams::record::{SourceRecord, Timestamp};
use streams::store::StoreHandle;
use streams::window::TumblingWindows;
use streams::{Builder, Context, Failure, Layout, Processor, SinkRecord, Topology};

/// The sink whose times are the wall clock's: different in every run.
pub(crate) const PULSE: &str = "pulse";
/// The topic of records that could not be processed.
pub(crate) const DEAD_LETTERS: &str = "dead";

const GRACE_MS: i64 = 20;

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
        let window = [&event.key[..], &start.0.to_be_bytes()].concat();
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

/// The topology, with or without the pulse: it would fill every commit.
pub(crate) fn topology(with_pulse: bool) -> Topology {
    Topology::new(move |builder: &mut Builder| {
        let events = builder.source("events", event);
        let counts = builder.store("counts", numbers("counts"));
        let totals = builder.store("totals", numbers("totals"));
        let Some(windows) = TumblingWindows::new(30) else {
            unreachable!("the length is positive")
        };
        let line =
            |line: &String| SinkRecord { key: vec![], value: Some(line.clone().into_bytes()) };
        events.process(builder, Sum { windows, counts, totals }).to(builder, "trace", line);
        events.process(builder, Tick(PunctuationType::StreamTime, 50)).to(builder, "ticks", line);
        if with_pulse {
            events.process(builder, Tick(PunctuationType::WallClock, 40)).to(builder, PULSE, line);
        }
    })
}
