//! The golden scripts of quotes: what becomes of quotes and of the marks of their books, as text that
//! a reviewer reads for the specification.
//!
//! `UPDATE_GOLDENFILES=1 cargo test -p processor` writes what the topology says into the files;
//! the diff is what has changed for a user.
//!
//! ```text
//! quote PAIR t=TIME [bid=PRICE[xSIZE]] [ask=PRICE[xSIZE]]    a side that is not named is empty; SIZE is 1
//! lost PAIR t=TIME reason=WORD                             the book was last in sync at that time
//! gap PAIR gap=FROM..UNTIL reason=WORD                     the book was out of sync
//! change PAIR t=TIME change=ended|reset                    the pair itself changes
//! carrier PAIR from=TIME feed=NAME                         the book comes over that connection
//! mark EXCHANGE t=TIME [from=TIME] [gap=FROM..UNTIL] [feed=NAME]   the feed is healthy up to `t`
//! ```

mod script;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use goldenscript::{ArgumentConsumer, Command, Context, Runner};
use processor::topology::{Named, topology};
use schemas::avro::Record;
use schemas::topic::Topic;
use schemas::{
    Codec, Decimal, FeedMark, PairKey, Part, Proof, Quote, Spread, SpreadKey, Timestamp, TopOfBook,
};
use script::{EPOCH, Outcome, change, clock, pair, time};
use streams::{Driver, SinkRecord};

test_each_file::test_each_path! { in "processor/tests/quotes" as quotes => run }

fn run(path: &Path) {
    let outcome = Script::new()
        .map_err(std::io::Error::other)
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
    fn new() -> streams::Result<Self> {
        let codec = Arc::new(Codec::offline());
        let driver = Driver::new(topology(&codec, "", Named::Quotes.into())?)?;
        Ok(Self { codec, driver, quiet: false })
    }

    fn pipe<R: Record>(&mut self, pair: &PairKey, value: &R, time: i64) -> Outcome {
        let (key, value) = (self.codec.to_bytes(pair), self.codec.to_bytes(value));
        self.pipe_bytes(&key, Some(&value), time)
    }

    fn pipe_bytes(&mut self, key: &[u8], value: Option<&[u8]>, time: i64) -> Outcome {
        self.driver.pipe(&Topic::Quotes.name(""), time, key, value)?;
        if self.quiet { Ok(String::new()) } else { self.commit() }
    }

    fn quote(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let pair = pair(args.next_pos().ok_or("BASE-QUOTE@EXCHANGE")?)?;
        let at = time(args.take_key("t").ok_or("t=TIME")?)?;
        let (bid, bid_size) = side(args.take_key("bid"))?;
        let (ask, ask_size) = side(args.take_key("ask"))?;
        let received = args.take_key("received").map(time).transpose()?.unwrap_or(at);
        let quote = Quote {
            bid,
            bid_size,
            ask,
            ask_size,
            sequence: args.take_key("sequence").map(str::parse).transpose()?,
            proof: Proof::None,
            event_time: Timestamp(at),
            received_at: Timestamp(received),
        };
        self.pipe(&pair, &quote, at)
    }

    fn mark(&mut self, args: &mut ArgumentConsumer<'_>, key: &PairKey) -> Outcome {
        let gap = args.take_key("gap").map(span).transpose()?;
        let at = args.take_key("t").map(time).transpose()?;
        let from = args.take_key("from").map(time).transpose()?;
        let at = at.or(gap.map(|(_, until)| until)).or(from).ok_or("t=TIME")?;
        let feed = args.take_key("feed");
        let of_pair = !key.base.is_empty();
        let of_connection = feed.map(|_| Part::Connection);
        let change = args.take_key("change").map(change).transpose()?;
        let mark = FeedMark {
            gap_from: gap.map(|(from, _)| Timestamp(from)),
            gap_until: gap.map(|(_, until)| Timestamp(until)),
            healthy_from: from.map(Timestamp),
            reason: args.take_key("reason").unwrap_or_default().into(),
            part: if of_pair { change.is_none().then_some(Part::Book) } else { of_connection },
            change,
            ..FeedMark::healthy(feed.unwrap_or("1"), Timestamp(at), Timestamp(at))
        };
        self.pipe(key, &mark, at)
    }

    /// Commits, and prints the changes.
    fn commit(&mut self) -> Outcome {
        let dead = self.driver.dead_letters().len();
        self.driver.commit()?;
        let mut out = String::new();
        for topic in [Topic::TopOfBook, Topic::Spreads1m, Topic::Spreads1h, Topic::Spreads1d] {
            for record in self.driver.new_output(&topic.name("")) {
                writeln!(out, "{:11} {}", topic.base_name(), self.show(topic, &record)?)?;
            }
        }
        for (_, letter) in &self.driver.dead_letters()[dead..] {
            writeln!(out, "dead        offset {} {}", letter.offset, letter.reason)?;
        }
        Ok(out)
    }

    fn show(&self, topic: Topic, record: &SinkRecord) -> Outcome {
        let Some(value) = record.value.as_deref() else {
            return Ok(if topic == Topic::TopOfBook {
                format!("{} deleted", self.codec.decode::<PairKey>(&record.key)?)
            } else {
                let key: SpreadKey = self.codec.decode(&record.key)?;
                format!("{} {} deleted", key.pair, clock(key.open_time))
            });
        };
        if topic == Topic::TopOfBook {
            let top: TopOfBook = self.codec.decode(value)?;
            return Ok(show_top(&self.codec.decode(&record.key)?, &top));
        }
        show_spread(&self.codec.decode(&record.key)?, &self.codec.decode(value)?)
    }
}

fn side(text: Option<&str>) -> Outcome<(Option<Decimal>, Option<Decimal>)> {
    let Some(text) = text else { return Ok((None, None)) };
    let decimal = |text: &str| -> Outcome<Option<Decimal>> {
        Ok(if text.is_empty() { None } else { Some(text.parse()?) })
    };
    let (price, size) = text.split_once('x').unwrap_or((text, "1"));
    Ok((decimal(price)?, decimal(size)?))
}

fn span(text: &str) -> Outcome<(i64, i64)> {
    let (from, until) = text.split_once("..").ok_or("gap=FROM..UNTIL")?;
    Ok((time(from)?, time(until)?))
}

fn number(value: Option<Decimal>) -> String {
    value.map_or("-".into(), |value| value.to_string())
}

fn show_top(pair: &PairKey, top: &TopOfBook) -> String {
    format!(
        "{pair} {}:{} {}:{} spread={} mid={} micro={} imbalance={} max={} mean10={} {} at {}{}",
        number(top.bid),
        number(top.bid_size),
        number(top.ask),
        number(top.ask_size),
        number(top.spread()),
        number(top.mid()),
        number(top.microprice()),
        number(top.imbalance()),
        number(top.max_spread),
        number(top.mid_mean_10()),
        top.state.as_str(),
        clock(top.event_time),
        if top.clock == top.event_time {
            String::new()
        } else {
            format!(" clock={}", clock(top.clock))
        },
    )
}

fn show_spread(key: &SpreadKey, spread: &Spread) -> Outcome {
    let mut out = format!("{} {} n={}", key.pair, clock(key.open_time), spread.updates);
    let magnitude = if spread.spread_max_abs == spread.spread_max {
        String::new()
    } else {
        format!(" abs={}", number(spread.spread_max_abs))
    };
    write!(
        out,
        " spread={}..{}{magnitude} mean={} mid={}/{}/{}/{} mean={} mean10={} micro={} imbalance={} {}",
        number(spread.spread_min),
        number(spread.spread_max),
        number(spread.spread_mean()),
        number(spread.mid_open),
        number(spread.mid_high),
        number(spread.mid_low),
        number(spread.mid_close),
        number(spread.mid_mean()),
        number(spread.mid_mean_10),
        number(spread.microprice),
        number(spread.imbalance),
        spread.status.as_str(),
    )?;
    if spread.revision > 0 {
        write!(out, " revision={}", spread.revision)?;
    }
    if spread.gap {
        write!(out, " gap")?;
    }
    if let Some(coverage) = spread.coverage_ms {
        write!(out, " coverage={coverage}")?;
    }
    Ok(out)
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Outcome {
        let mut args = command.consume_args();
        let out = match command.name.as_str() {
            "quote" => self.quote(&mut args)?,
            "mark" => {
                let exchange = args.next_pos().ok_or("EXCHANGE")?.to_owned();
                self.mark(&mut args, &PairKey::feed(exchange))?
            }
            "lost" | "gap" | "carrier" | "change" => {
                let pair = pair(args.next_pos().ok_or("BASE-QUOTE@EXCHANGE")?)?;
                self.mark(&mut args, &pair)?
            }
            "bytes" => {
                let value = args.next_pos().map(|text| text.as_bytes().to_vec());
                let key = self.codec.to_bytes(&PairKey::new("BTC", "USD", "coinbase"));
                self.pipe_bytes(&key, value.as_deref(), EPOCH)?
            }
            // From here on nothing is committed until `commit`.
            "quiet" => {
                self.quiet = true;
                String::new()
            }
            "commit" => self.commit()?,
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
