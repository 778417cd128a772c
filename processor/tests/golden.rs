//! The golden scripts of the topology: what becomes of trades, samples and marks, as text that a
//! reviewer reads for the specification.
//!
//! `UPDATE_GOLDENFILES=1 cargo test -p processor` writes what the topology says into the files;
//! the diff is what has changed for a user.
//!
//! Times count from 2024-01-01, so that windows are easy to see: `t=1d0h00m05.250`. A command that
//! processes something commits it and prints what was written.

mod script;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use goldenscript::{ArgumentConsumer, Command, Context, Runner};
use processor::operators::Seen;
use processor::topology::{Named, topology};
use schemas::topic::Topic;
use schemas::{
    Basis, Candle, CandleKey, Codec, Decimal, FeedMark, LatestPrice, MarketEvent, PairKey,
    TakerSide, Timestamp,
};
use script::{EPOCH, Outcome, change, clock, pair, time};
use streams::{Driver, SinkRecord};

test_each_file::test_each_path! { in "processor/tests/candles" as candles => run }

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
        let driver = Driver::new(topology(&codec, "", Named::Prices.into())?)?;
        Ok(Self { codec, driver, quiet: false })
    }

    fn pipe(&mut self, pair: &PairKey, value: &[u8], time: i64) -> Outcome {
        let key = self.codec.to_bytes(pair);
        self.driver.pipe(&Topic::Events.name(""), time, &key, Some(value))?;
        if self.quiet { Ok(String::new()) } else { self.commit() }
    }

    fn event(&mut self, args: &mut ArgumentConsumer<'_>, basis: Basis) -> Outcome {
        let pair = pair(args.next_pos().ok_or("BASE-QUOTE@EXCHANGE")?)?;
        let at = time(args.take_key("t").ok_or("t=TIME")?)?;
        let price: Decimal = args.take_key("price").unwrap_or("1").parse()?;
        let size: Decimal = args.take_key("size").unwrap_or("1").parse()?;
        let plain = match basis {
            Basis::Trade => MarketEvent::trade(price, size, Timestamp(at)),
            Basis::Ticker => MarketEvent::sample(price, Timestamp(at)),
        };
        let number = |args: &mut ArgumentConsumer<'_>, name| -> Outcome<Option<i64>> {
            Ok(args.take_key(name).map(str::parse).transpose()?)
        };
        let volume = |args: &mut ArgumentConsumer<'_>, name| -> Outcome<Option<Decimal>> {
            Ok(args.take_key(name).map(str::parse).transpose()?)
        };
        let received = args.take_key("received").map(time).transpose()?.unwrap_or(at);
        let event = MarketEvent {
            trade_id: number(args, "id")?,
            sequence: number(args, "sequence")?,
            taker_side: match args.take_key("taker") {
                Some("buy") => Some(TakerSide::Buy),
                Some("sell") => Some(TakerSide::Sell),
                Some(other) => return Err(format!("taker={other}").into()),
                None => None,
            },
            base_volume_24h: volume(args, "volume24h")?,
            received_at: Timestamp(received),
            ..plain
        };
        let value = self.codec.to_bytes(&event);
        // The record's own timestamp.
        let written = args.take_key("written").map(time).transpose()?.unwrap_or(at);
        self.pipe(&pair, &value, written)
    }

    /// `mark EXCHANGE t=TIME [from=TIME] [gap=FROM..UNTIL]`: the feed is healthy up to `t`, from
    /// `from` on without a break; it lost the gap.
    /// `gap BASE-QUOTE t=TIME gap=FROM..UNTIL [ids=FIRST..LAST]`: the pair lost it.
    /// `gap BASE-QUOTE t=TIME change=ended|reset`: the pair itself changes.
    fn mark(&mut self, args: &mut ArgumentConsumer<'_>, key: &PairKey) -> Outcome {
        let at = Timestamp(time(args.take_key("t").ok_or("t=TIME")?)?);
        let mut mark = FeedMark::healthy("1", at, at);
        mark.change = args.take_key("change").map(change).transpose()?;
        let from = args.take_key("from").map(time).transpose()?;
        mark.healthy_from = from.map(Timestamp);
        if let Some(gap) = args.take_key("gap") {
            let (from, until) = gap.split_once("..").ok_or("gap=FROM..UNTIL")?;
            mark.gap_from = Some(Timestamp(time(from)?));
            mark.gap_until = Some(Timestamp(time(until)?));
        }
        if let Some(ids) = args.take_key("ids") {
            let (first, last) = ids.split_once("..").ok_or("ids=FIRST..LAST")?;
            let (first, last): (i64, i64) = (first.parse()?, last.parse()?);
            mark.first_missing_id = Some(first);
            mark.missing = Some(last - first + 1);
        }
        let value = self.codec.to_bytes(&mark);
        self.pipe(key, &value, at.0)
    }

    /// Commits, and prints the changes.
    fn commit(&mut self) -> Outcome {
        let dead = self.driver.dead_letters().len();
        self.driver.commit()?;
        let mut out = String::new();
        for topic in [Topic::Latest, Topic::Ohlc1m, Topic::Ohlc1h, Topic::Ohlc1d, Topic::Late] {
            for record in self.driver.new_output(&topic.name("")) {
                writeln!(out, "{:8}{}", topic.base_name(), self.show(topic, &record)?)?;
            }
        }
        for (_, letter) in &self.driver.dead_letters()[dead..] {
            writeln!(out, "dead    offset {} {}", letter.offset, letter.reason)?;
        }
        Ok(out)
    }

    fn show(&self, topic: Topic, record: &SinkRecord) -> Outcome {
        let Some(value) = record.value.as_deref() else {
            return self.show_deleted(topic, &record.key);
        };
        Ok(match topic {
            Topic::Latest => {
                let pair: PairKey = self.codec.decode(&record.key)?;
                let latest: LatestPrice = self.codec.decode(value)?;
                let volume = latest.base_volume_24h.map(|v| format!(" volume24h={v}"));
                format!(
                    "{pair} {} {} at {}{}",
                    latest.basis.as_str(),
                    latest.price,
                    clock(latest.event_time),
                    volume.unwrap_or_default()
                )
            }
            Topic::Late => {
                let pair: PairKey = self.codec.decode(&record.key)?;
                let event: MarketEvent = self.codec.decode(value)?;
                format!("{pair} {} at {}", event.price, clock(event.event_time))
            }
            _ => show_candle(&self.codec.decode(&record.key)?, &self.codec.decode(value)?)?,
        })
    }

    fn show_deleted(&self, topic: Topic, key: &[u8]) -> Outcome {
        if topic == Topic::Latest {
            return Ok(format!("{} deleted", self.codec.decode::<PairKey>(key)?));
        }
        let key: CandleKey = self.codec.decode(key)?;
        Ok(format!("{} {} {} deleted", key.pair, key.basis.as_str(), clock(key.open_time)))
    }
}

fn show_candle(key: &CandleKey, candle: &Candle) -> Outcome {
    let mut out = format!(
        "{} {} {} o={} h={} l={} c={}",
        key.pair,
        key.basis.as_str(),
        clock(key.open_time),
        candle.open,
        candle.high,
        candle.low,
        candle.close
    );
    let mut volume = |name, volume: Option<Decimal>| {
        volume.map_or(Ok(()), |volume| write!(out, " {name}={volume}"))
    };
    volume("v", candle.base_volume)?;
    volume("q", candle.quote_volume)?;
    volume("buy", candle.taker_buy_base)?;
    write!(out, " n={} {}", candle.trades, candle.status.as_str())?;
    if candle.revision > 0 {
        write!(out, " revision={}", candle.revision)?;
    }
    if candle.gap {
        write!(out, " gap")?;
    }
    let mut number =
        |name, number: Option<i64>| number.map_or(Ok(()), |number| write!(out, " {name}={number}"));
    number("missing", candle.missing_trades)?;
    number("coverage", candle.coverage_ms)?;
    if candle.partial_start {
        write!(out, " partial")?;
    }
    let seen = Seen::read(&candle.seen).ok_or("seen")?;
    if !seen.ranges().is_empty() {
        let ranges: Vec<_> = seen.ranges().iter().map(|(a, b)| format!("{a}..{b}")).collect();
        write!(out, " ids={}", ranges.join(","))?;
    }
    Ok(out)
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Outcome {
        let mut args = command.consume_args();
        let out = match command.name.as_str() {
            "trade" => self.event(&mut args, Basis::Trade)?,
            "ticker" => self.event(&mut args, Basis::Ticker)?,
            "mark" => {
                let exchange = args.next_pos().ok_or("EXCHANGE")?.to_owned();
                self.mark(&mut args, &PairKey::feed(exchange))?
            }
            "gap" => {
                let pair = pair(args.next_pos().ok_or("BASE-QUOTE@EXCHANGE")?)?;
                self.mark(&mut args, &pair)?
            }
            "bytes" => {
                let value = args.next_pos().unwrap_or("").as_bytes().to_vec();
                self.pipe(&PairKey::new("BTC", "USD", "coinbase"), &value, EPOCH)?
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
