//! The golden scripts of the consolidated price: what becomes of prices, of silence and of time, as text that
//! a reviewer reads for the specification.
//!
//! `UPDATE_GOLDENFILES=1 cargo test -p processor` writes what the topology says into the files;
//! the diff is what has changed for a user.
//!
//! ```text
//! price BASE-QUOTE@EXCHANGE N t=TIME [at=TIME]      `t` is the exchange's time, `at` that of the record
//! mark EXCHANGE t=TIME                              the clock of a feed
//! reset BASE-QUOTE@EXCHANGE to=TIME t=TIME          the pair is set back
//! exchanges BASE-QUOTE COUNT N t=TIME               a price on each of so many exchanges
//! legs                                              how many legs the index has read
//! ```
//!
//! A row is the price, how many count, the spread across venues and the time of the row, and a line for each
//! member.

mod script;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use goldenscript::{ArgumentConsumer, Command, Context, Runner};
use processor::topology::{Topologies, topology};
use schemas::avro::Record;
use schemas::topic::Topic;
use schemas::{Codec, FeedMark, Index, IndexKey, MarketEvent, PairKey, Timestamp};
use script::{Outcome, change, clock, pair, time};
use streams::{Driver, SinkRecord};

test_each_file::test_each_path! { in "processor/tests/index" as index => run }

fn run(path: &Path) {
    let outcome = Script::new()
        .map_err(|error| std::io::Error::other(error.to_string()))
        .and_then(|mut script| goldenscript::run(&mut script, path));
    if let Err(error) = outcome {
        panic!("{}: {error}", path.display());
    }
}

struct Script {
    codec: Arc<Codec>,
    driver: Driver,
    quiet: bool,
}

impl Script {
    fn new() -> Outcome<Self> {
        let codec = Arc::new(Codec::offline());
        let chosen: Topologies = "prices,index".parse()?;
        let driver = Driver::new(topology(&codec, "", chosen)?)?;
        Ok(Self { codec, driver, quiet: false })
    }

    fn pipe<R: Record>(&mut self, pair: &PairKey, value: &R, time: i64) -> Outcome {
        let (key, value) = (self.codec.to_bytes(pair), self.codec.to_bytes(value));
        self.driver.pipe(&Topic::Events.name(""), time, &key, Some(&value))?;
        if self.quiet { Ok(String::new()) } else { self.commit() }
    }

    fn price(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let pair = pair(args.next_pos().ok_or("BASE-QUOTE@EXCHANGE")?)?;
        let price = args.next_pos().ok_or("N")?.parse()?;
        let at = time(args.take_key("t").ok_or("t=TIME")?)?;
        let written = args.take_key("at").map(time).transpose()?.unwrap_or(at);
        self.pipe(&pair, &MarketEvent::sample(price, Timestamp(at)), written)
    }

    /// A price of one pair on many exchanges at once.
    fn exchanges(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let pair = pair(args.next_pos().ok_or("BASE-QUOTE")?)?;
        let count: usize = args.next_pos().ok_or("COUNT")?.parse()?;
        let price = args.next_pos().ok_or("N")?.parse()?;
        let at = time(args.take_key("t").ok_or("t=TIME")?)?;
        for number in 0..count {
            let of = PairKey::new(&*pair.base, &*pair.quote, format!("x{number:03}"));
            let event = MarketEvent::sample(price, Timestamp(at));
            let (key, value) = (self.codec.to_bytes(&of), self.codec.to_bytes(&event));
            self.driver.pipe(&Topic::Events.name(""), at, &key, Some(&value))?;
        }
        Ok(String::new())
    }

    fn mark(&mut self, key: &PairKey, mark: &FeedMark, at: i64) -> Outcome {
        self.pipe(key, mark, at)
    }

    /// Commits, and prints the changes.
    fn commit(&mut self) -> Outcome {
        let dead = self.driver.dead_letters().len();
        self.driver.commit()?;
        let mut out = String::new();
        for record in self.driver.new_output(&Topic::Index.name("")) {
            out.push_str(&self.show(&record)?);
        }
        let letters = self.driver.dead_letters();
        for (topic, letter) in &letters[dead..] {
            writeln!(out, "dead  {topic} offset {} {}", letter.offset, letter.reason)?;
        }
        Ok(out)
    }

    fn show(&self, record: &SinkRecord) -> Outcome {
        let key: IndexKey = self.codec.decode(&record.key)?;
        let Some(value) = record.value.as_deref() else {
            return Ok(format!("{key} deleted\n"));
        };
        let row: Index = self.codec.decode(value)?;
        let shown = |value: Option<schemas::Decimal>| {
            value.map_or_else(|| "none".to_owned(), |value| value.to_string())
        };
        let mut out = format!(
            "{key} {} of {} spread={} as_of={}\n",
            shown(row.price),
            row.used,
            shown(row.spread_across_venues),
            clock(row.as_of)
        );
        // A row of many members is told by its first and its last.
        let (first, last) = (row.members.first(), row.members.last());
        let few = row.members.len() <= 8;
        let ends = first.into_iter().chain(last).filter(|_| !few);
        for one in row.members.iter().filter(|_| few).chain(ends) {
            let because = one.unused_because.as_deref().unwrap_or("used");
            let (time, age) = (clock(one.event_time), one.age_ms);
            writeln!(out, "  {} {} at {time} age={age} {because}", one.exchange, one.price)?;
        }
        if !few {
            writeln!(out, "  {} members", row.members.len())?;
        }
        Ok(out)
    }
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Outcome {
        let mut args = command.consume_args();
        let out = match command.name.as_str() {
            "price" => self.price(&mut args)?,
            "exchanges" => self.exchanges(&mut args)?,
            "mark" => {
                let key = PairKey::feed(args.next_pos().ok_or("EXCHANGE")?);
                let at = time(args.take_key("t").ok_or("t=TIME")?)?;
                self.mark(&key, &FeedMark::healthy("1", Timestamp(at), Timestamp(at)), at)?
            }
            "reset" => {
                let key = pair(args.next_pos().ok_or("BASE-QUOTE@EXCHANGE")?)?;
                let to = Timestamp(time(args.take_key("to").ok_or("to=TIME")?)?);
                let at = time(args.take_key("t").ok_or("t=TIME")?)?;
                let mark = FeedMark::healthy("1", to, Timestamp(at));
                self.mark(&key, &FeedMark { change: Some(change("reset")?), ..mark }, at)?
            }
            "legs" => {
                let read = self.driver.consumed().last().copied().flatten();
                format!("{} legs\n", read.map_or(0, |read| read.next.0))
            }
            // From here on nothing is committed until `commit`.
            "quiet" => {
                self.quiet = true;
                String::new()
            }
            "commit" => self.commit()?,
            // The first of the two commits alone: legs are written, and not read.
            "commit-once" => {
                let any = self.driver.commit_once()?;
                format!("legs written: {any}\n")
            }
            "crash" => {
                let restored = self.driver.crash()?;
                format!("restored {restored} records\n{}", self.commit()?)
            }
            other => script::engine(&mut self.driver, other)?,
        };
        args.reject_next()?;
        Ok(out)
    }
}
