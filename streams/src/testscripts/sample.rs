//! The topology under the golden scripts: small, with one of everything that a task can do.
//!
//! ```text
//! events ─► total by key ─────────► totals (store)
//!    │ └──► count by key and window ► counts (store)   windows of 60 ms, grace 30 ms
//!    └────► trace ────────────────► seen (store: the records in the order of processing)
//!    clocks ──────────────────────► ticks (sink: every 100 ms of stream time and of wall clock)
//!
//! through repartition topics, also:
//! events ─► by-value-repartition ──► sum of times by value ► times (store)
//!                                          └─► all-repartition ► count ► all (store)
//! ```
//!
//! An event is `KEY=NUMBER`; without a number it is a tombstone and deletes the total.

use crate::punctuation::{PunctuationType, Schedule};
use crate::record::{SourceRecord, Timestamp};
use crate::store::StoreHandle;
use crate::window::TumblingWindows;
use crate::{Builder, Context, Failure, Layout, Processor, SinkRecord, Stream, Topology};

const LENGTH_MS: i64 = 60;
const GRACE_MS: i64 = 30;
const TICK_MS: i64 = 100;

/// One record.
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

fn number(topic: &str) -> Layout<i64> {
    Layout::new(
        topic,
        |number: &i64, out| out.extend_from_slice(number.to_string().as_bytes()),
        |bytes| {
            let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
            text.parse().map_err(|_| format!("{text} is not a number"))
        },
    )
}

fn line(topic: &str) -> Layout<String> {
    Layout::new(
        topic,
        |line: &String, out| out.extend_from_slice(line.as_bytes()),
        |bytes| String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string()),
    )
}

/// In the store `KEY START` with the start in eight bytes, so that ranges are in order of time; in
/// the topic as people read it, `KEY@START`.
fn counts() -> Layout<i64> {
    number("counts").with_keys(
        |key, out| {
            let (key, start) = window(key)?;
            out.extend_from_slice(format!("{key}@{start}").as_bytes());
            Ok(())
        },
        |key, out| {
            let text = std::str::from_utf8(key).map_err(|error| error.to_string())?;
            let (key, start) = text.split_once('@').ok_or("no window in the key")?;
            let start: i64 = start.parse().map_err(|_| "no start of a window in the key")?;
            window_key(key.as_bytes(), start, out);
            Ok(())
        },
    )
}

fn window_key(key: &[u8], start: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(key);
    out.extend_from_slice(&start.to_be_bytes());
}

/// The parts of a store key of `counts`.
pub(super) fn window(key: &[u8]) -> Result<(&str, i64), String> {
    let (key, start) = key.split_last_chunk::<8>().ok_or("no window in the key")?;
    let key = std::str::from_utf8(key).map_err(|error| error.to_string())?;
    Ok((key, i64::from_be_bytes(*start)))
}

/// Counts the records of each key and window.
struct Count {
    windows: TumblingWindows,
    counts: StoreHandle<i64>,
}

impl Processor for Count {
    type In = Event;
    type Out = Event;

    fn process(&mut self, context: &mut Context<'_, Event>, event: &Event) -> Result<(), Failure> {
        let start = self.windows.start(context.timestamp());
        if self.windows.is_closed(start, GRACE_MS, context.stream_time()) {
            return Err(Failure::Drop("late"));
        }
        let mut key = Vec::new();
        window_key(&event.key, start.0, &mut key);
        *self.counts.entry(&key)?.get_or_insert(0) += 1;
        context.forward(event)
    }
}

/// Sums the values of each key; a tombstone forgets the key.
struct Total {
    totals: StoreHandle<i64>,
}

impl Processor for Total {
    type In = Event;
    type Out = Event;

    fn process(&mut self, context: &mut Context<'_, Event>, event: &Event) -> Result<(), Failure> {
        let mut total = self.totals.entry(&event.key)?;
        *total = event.value.map(|value| total.unwrap_or(0) + value);
        drop(total);
        context.forward(event)
    }
}

/// Keeps what it saw, and when. A store's changes are published in the order of first touch.
struct Trace {
    seen: StoreHandle<String>,
}

impl Processor for Trace {
    type In = Event;
    type Out = ();

    fn process(&mut self, context: &mut Context<'_, ()>, event: &Event) -> Result<(), Failure> {
        let place = format!("events:{}", context.offset());
        let (key, stream_time) = (String::from_utf8_lossy(&event.key), context.stream_time());
        let line = format!("{key} at {}, stream time {stream_time}", context.timestamp());
        *self.seen.entry(place.as_bytes())? = Some(line);
        Ok(())
    }
}

/// Says that its clock has moved.
struct Tick(PunctuationType);

impl Processor for Tick {
    type In = Event;
    type Out = String;

    fn process(&mut self, _: &mut Context<'_, String>, _: &Event) -> Result<(), Failure> {
        Ok(())
    }

    fn schedule(&self) -> Option<Schedule> {
        Some(Schedule { clock: self.0, interval_ms: TICK_MS })
    }

    fn punctuate(
        &mut self,
        context: &mut Context<'_, String>,
        time: Timestamp,
    ) -> Result<(), Failure> {
        context.forward(&format!("{:?} {time}", self.0))
    }
}

/// Sums the times of the records of each key; drops a key that is negative.
struct Times {
    times: StoreHandle<i64>,
}

impl Processor for Times {
    type In = Vec<u8>;
    type Out = Vec<u8>;

    fn process(
        &mut self,
        context: &mut Context<'_, Vec<u8>>,
        key: &Vec<u8>,
    ) -> Result<(), Failure> {
        if key.starts_with(b"-") {
            return Err(Failure::Drop("negative"));
        }
        *self.times.entry(key)?.get_or_insert(0) += context.timestamp().0;
        context.forward(key)
    }
}

/// Counts all records.
struct All {
    all: StoreHandle<i64>,
}

impl Processor for All {
    type In = ();
    type Out = ();

    fn process(&mut self, _: &mut Context<'_, ()>, (): &()) -> Result<(), Failure> {
        *self.all.entry(b"all")?.get_or_insert(0) += 1;
        Ok(())
    }
}

/// The topology of one sub-topology.
pub(super) fn topology() -> crate::Result<Topology> {
    Topology::new(|builder: &mut Builder| {
        events(builder);
    })
}

/// The same with two more sub-topologies behind it.
pub(super) fn through_repartition_topics() -> crate::Result<Topology> {
    Topology::new(|builder: &mut Builder| {
        let times = builder.store("times", number("times"));
        let all = builder.store("all", number("all"));
        let by_key = |key: Vec<u8>| SinkRecord { key, value: None };
        let by_value = events(builder).repartition(
            builder,
            "by-value",
            move |event| by_key(event.value.unwrap_or(0).to_string().into_bytes()),
            |record| Ok(record.key.to_vec()),
        );
        let counted = by_value.process(builder, |stores| Times { times: stores.get(&times) });
        counted
            .repartition(builder, "all", move |_| by_key(vec![]), |_| Ok(()))
            .process(builder, |stores| All { all: stores.get(&all) });
    })
}

fn events(builder: &mut Builder) -> Stream<Event> {
    let events = builder.source("events", event);
    let totals = builder.store("totals", number("totals"));
    let counts = builder.store("counts", counts());
    let seen = builder.store("seen", line("seen"));
    let Some(windows) = TumblingWindows::new(LENGTH_MS) else {
        unreachable!("the length is positive")
    };
    let counted = events.process(builder, |stores| Count { windows, counts: stores.get(&counts) });
    let totalled = counted.process(builder, |stores| Total { totals: stores.get(&totals) });
    let line =
        |line: &String| SinkRecord { key: Vec::new(), value: Some(line.clone().into_bytes()) };
    totalled.process(builder, |stores| Trace { seen: stores.get(&seen) });
    for clock in [PunctuationType::StreamTime, PunctuationType::WallClock] {
        events.process(builder, |_| Tick(clock)).to(builder, "ticks", line);
    }
    totalled
}
