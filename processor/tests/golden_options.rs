//! The golden scripts of options: what becomes of tickers, of listings and of time, as text that a
//! reviewer reads for the specification.
//!
//! `UPDATE_GOLDENFILES=1 cargo test -p processor` writes what the topology says into the files;
//! the diff is what has changed for a user.
//!
//! ```text
//! ticker NAME t=TIME [at=TIME] [FIELD=NUMBER…] [state=WORD]       FIELD is one of the schema; mark is mark_price
//! list NAME t=TIME [at=TIME] [class=CLASS] [expiry=TIME] [strike=N] [right=CALL|PUT] [size=N] [tick=N] [settle=NAME]
//! end NAME t=TIME [at=TIME] …                                     as list
//! clock EXCHANGE t=TIME                                           the feed's clock
//! ```
//!
//! `t` is the venue's time, `at` that of the record, the same without it. The quote of NAME is BTC,
//! unless it is written NAME/QUOTE. Fields that are null are not printed.

#[expect(dead_code, reason = "names of instruments are read here")]
mod script;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use goldenscript::{ArgumentConsumer, Command, Context, Runner};
use processor::topology::{Named, topology};
use schemas::avro::Record;
use schemas::instrument::{Class, InstrumentName, InstrumentState, Right};
use schemas::json::RecordJson;
use schemas::topic::Topic;
use schemas::{Codec, Decimal, FeedMark, Instrument, PairKey, Ticker, Timestamp};
use script::{EPOCH, Outcome, clock, time};
use streams::{Driver, SinkRecord};

test_each_file::test_each_path! { in "processor/tests/options" as options => run }

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
    json: RecordJson,
    driver: Driver,
    quiet: bool,
}

/// The times of a record: the venue's, and when it was written.
struct Times {
    event: i64,
    written: i64,
}

fn times(args: &mut ArgumentConsumer<'_>) -> Outcome<Times> {
    let event = time(args.take_key("t").ok_or("t=TIME")?)?;
    let written = args.take_key("at").map(time).transpose()?.unwrap_or(event);
    Ok(Times { event, written })
}

fn pair(name: &str) -> PairKey {
    let (base, quote) = name.split_once('/').unwrap_or((name, "BTC"));
    PairKey::new(base, quote, "deribit")
}

fn decimal(text: Option<&str>) -> Outcome<Option<Decimal>> {
    Ok(text.map(str::parse).transpose()?)
}

impl Script {
    fn new() -> Outcome<Self> {
        let codec = Arc::new(Codec::offline());
        let driver = Driver::new(topology(&codec, "", Named::Options.into())?)?;
        Ok(Self { codec, json: RecordJson::new()?, driver, quiet: false })
    }

    fn pipe<R: Record>(&mut self, pair: &PairKey, value: &R, time: i64) -> Outcome {
        let (key, value) = (self.codec.to_bytes(pair), self.codec.to_bytes(value));
        self.pipe_bytes(&key, Some(&value), time)
    }

    fn pipe_bytes(&mut self, key: &[u8], value: Option<&[u8]>, time: i64) -> Outcome {
        self.driver.pipe(&Topic::OptionTickers.name(""), time, key, value)?;
        if self.quiet { Ok(String::new()) } else { self.commit() }
    }

    fn ticker(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let pair = pair(args.next_pos().ok_or("NAME")?);
        let Times { event, written } = times(args)?;
        let mut ticker = Ticker {
            state: args.take_key("state").map(str::to_owned),
            underlying_index: args.take_key("underlying_index").map(str::to_owned),
            event_time: Timestamp(event),
            received_at: Timestamp(written),
            ..Ticker::default()
        };
        let fields = [
            ("mark", &mut ticker.mark_price),
            ("last", &mut ticker.last_price),
            ("bid", &mut ticker.bid),
            ("bid_size", &mut ticker.bid_size),
            ("ask", &mut ticker.ask),
            ("mark_iv", &mut ticker.mark_iv),
            ("bid_iv", &mut ticker.bid_iv),
            ("delta", &mut ticker.delta),
            ("open_interest", &mut ticker.open_interest),
            ("underlying_price", &mut ticker.underlying_price),
            ("index_price", &mut ticker.index_price),
            ("funding_8h", &mut ticker.funding_8h),
            ("volume", &mut ticker.volume),
        ];
        for (name, field) in fields {
            *field = decimal(args.take_key(name))?;
        }
        self.pipe(&pair, &ticker, written)
    }

    fn instrument(&mut self, args: &mut ArgumentConsumer<'_>, state: InstrumentState) -> Outcome {
        let pair = pair(args.next_pos().ok_or("NAME")?);
        let Times { event, written } = times(args)?;
        let named = InstrumentName::parse(&pair.base).map(|name| name.class);
        let class = args.take_key("class").map(|class| Class::parse(class).ok_or("CLASS"));
        let listed = Instrument {
            class: class.transpose()?.or(named).ok_or("class=CLASS")?,
            currency: args.take_key("currency").unwrap_or("BTC").into(),
            settlement_currency: args.take_key("settle").map(str::to_owned),
            expiry_time: args.take_key("expiry").map(time).transpose()?.map(Timestamp),
            strike: decimal(args.take_key("strike"))?,
            right: args.take_key("right").and_then(Right::parse),
            contract_size: decimal(args.take_key("size"))?,
            tick_size: decimal(args.take_key("tick"))?,
            state,
            event_time: Timestamp(event),
            received_at: Timestamp(written),
        };
        self.pipe(&pair, &listed, written)
    }

    /// Commits, and prints the changes.
    fn commit(&mut self) -> Outcome {
        let dead = self.driver.dead_letters().len();
        self.driver.commit()?;
        let mut out = String::new();
        for topic in [Topic::Options, Topic::Options1m, Topic::Derivatives] {
            for record in self.driver.new_output(&topic.name("")) {
                writeln!(out, "{:11} {}", topic.base_name(), self.show(&record)?)?;
            }
        }
        for (_, letter) in &self.driver.dead_letters()[dead..] {
            writeln!(out, "dead        offset {} {}", letter.offset, letter.reason)?;
        }
        Ok(out)
    }

    fn show(&self, record: &SinkRecord) -> Outcome {
        let key = self.fields(&record.key)?;
        let value = record.value.as_deref();
        Ok(format!("{key} {}", value.map_or(Ok("deleted".into()), |value| self.fields(value))?))
    }

    /// The fields of a record that are not null, in the order of the schema.
    fn fields(&self, bytes: &[u8]) -> Outcome {
        let (kind, body) = self.codec.own(bytes).ok_or("no record of ours")?;
        let mut text = String::new();
        self.json.write(kind, body, &mut text)?;
        let inner = text.trim_matches(['{', '}']);
        let mut shown = Vec::new();
        // No value of these records has a comma or a colon.
        for field in inner.split(',') {
            let (name, value) = field.split_once(':').ok_or("a field")?;
            let (name, value) = (name.trim_matches('"'), value.trim_matches('"'));
            match name {
                _ if value == "null" => {}
                "base" | "open_time" | "class" | "right" => shown.push(or_time(name, value)?),
                "quote" | "exchange" | "currency" => {}
                _ => shown.push(format!("{name}={}", or_time(name, value)?)),
            }
        }
        Ok(shown.join(" "))
    }
}

fn or_time(name: &str, value: &str) -> Outcome {
    let is_time = name.ends_with("_time") || name.ends_with("_at");
    if is_time { Ok(clock(Timestamp(value.parse()?))) } else { Ok(value.into()) }
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Outcome {
        let mut args = command.consume_args();
        let out = match command.name.as_str() {
            "ticker" => self.ticker(&mut args)?,
            "list" => self.instrument(&mut args, InstrumentState::Listed)?,
            "end" => self.instrument(&mut args, InstrumentState::Ended)?,
            "clock" => {
                let key = PairKey::feed(args.next_pos().ok_or("EXCHANGE")?);
                let Times { event, written } = times(&mut args)?;
                let mark = FeedMark::healthy("1", Timestamp(event), Timestamp(written));
                self.pipe(&key, &mark, written)?
            }
            "mark-of-a-pair" => {
                let mark = FeedMark::healthy("1", Timestamp(EPOCH), Timestamp(EPOCH));
                self.pipe(&pair("BTC-5JAN24-42000-C"), &mark, EPOCH)?
            }
            "bytes" => {
                let value = args.next_pos().map(|text| text.as_bytes().to_vec());
                let key = self.codec.to_bytes(&pair("BTC-5JAN24-42000-C"));
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
