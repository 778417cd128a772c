//! The golden scripts of swaps: what becomes of heads, logs and removals, as text that a reviewer reads for
//! the specification.
//!
//! `UPDATE_GOLDENFILES=1 cargo test -p processor` writes what the topology says into the files.
//!
//! ```text
//! head N HASH PARENT [t=TIME]               a block; of 12 seconds after the one before without a time
//! swap N HASH LOG AMOUNT [tick=N] [tx=TX]   a log of the block; `removed` for its removal
//! pending TX
//! pool [usd=0|1] [decimals0=N]              the facts of the pool, which come first
//! ```
//!
//! Hashes are the last hexadecimal digits. Block N begins N·12 seconds after the first day.

#[expect(dead_code, reason = "names of instruments and pairs are read elsewhere")]
mod script;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use goldenscript::{ArgumentConsumer, Command, Context, Runner};
use processor::topology::{Named, topology};
use schemas::avro::Record;
use schemas::json::RecordJson;
use schemas::topic::Topic;
use schemas::{ChainHead, Codec, Integer, Pool, PoolKey, Swap, SwapStatus, Timestamp};
use script::{EPOCH, Outcome, time};
use streams::{Driver, SinkRecord};

test_each_file::test_each_path! { in "processor/tests/swaps" as swaps => run }

fn run(path: &Path) {
    let outcome = Script::new()
        .map_err(|error| std::io::Error::other(error.to_string()))
        .and_then(|mut script| goldenscript::run(&mut script, path));
    if let Err(error) = outcome {
        panic!("{}: {error}", path.display());
    }
}

/// Milliseconds between two blocks.
const BLOCK: i64 = 12_000;
/// The fields that a reviewer reads.
const SHOWN: [&str; 15] = [
    "open_time",
    "swaps",
    "net_amount0",
    "in_amount0",
    "open_tick",
    "high_tick",
    "low_tick",
    "close_tick",
    "status",
    "revision",
    "token",
    "volume",
    "pools",
    "volume_usd",
    "block_hash",
];

struct Script {
    codec: Arc<Codec>,
    json: RecordJson,
    driver: Driver,
    /// The times of records do not go back.
    now: i64,
}

fn hex(text: &str, digits: usize) -> String {
    format!("0x{text:0>digits$}")
}

fn pool() -> PoolKey {
    PoolKey::new(1, hex("f00", 40))
}

impl Script {
    fn new() -> Outcome<Self> {
        let codec = Arc::new(Codec::offline());
        let driver = Driver::new(topology(&codec, "", Named::Swaps.into())?)?;
        Ok(Self { codec, json: RecordJson::new()?, driver, now: EPOCH })
    }

    fn pipe<R: Record>(&mut self, key: &PoolKey, value: &R, time: i64) -> Outcome {
        let (key, value) = (self.codec.to_bytes(key), self.codec.to_bytes(value));
        self.now = self.now.max(time);
        self.driver.pipe(Topic::Swaps.base_name(), self.now, &key, Some(&value))?;
        self.commit()
    }

    fn head(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let number: i64 = args.next_pos().ok_or("N")?.parse()?;
        let at = args.take_key("t").map(time).transpose()?.unwrap_or(EPOCH + number * BLOCK);
        let head = ChainHead {
            block_number: number,
            block_hash: hex(args.next_pos().ok_or("HASH")?, 64),
            parent_hash: hex(args.next_pos().ok_or("PARENT")?, 64),
            block_time: Timestamp(at),
            received_at: Timestamp(at),
        };
        self.pipe(&PoolKey::of_chain(1), &head, at)
    }

    fn swap(&mut self, args: &mut ArgumentConsumer<'_>, status: SwapStatus) -> Outcome {
        let number: i64 = args.next_pos().ok_or("N")?.parse()?;
        let hash = args.next_pos().ok_or("HASH")?;
        let log = args.next_pos().ok_or("LOG")?;
        let amount: Integer = args.next_pos().ok_or("AMOUNT")?.parse()?;
        let at = EPOCH + number * BLOCK;
        let swap = Swap {
            tx_hash: hex(args.take_key("tx").unwrap_or(&format!("{hash}{log}")), 64),
            log_index: Some(log.parse()?),
            block_number: Some(number),
            block_hash: Some(hex(hash, 64)),
            status,
            sender: hex("1", 40),
            amount0: amount,
            amount1: amount.negated(),
            tick: args.take_key("tick").map(str::parse).transpose()?,
            block_time: args.take_key("t").is_none().then_some(Timestamp(at)),
            received_at: Timestamp(at),
            ..Swap::default()
        };
        let of = PoolKey::new(1, hex(args.take_key("of").unwrap_or("f00"), 40));
        self.pipe(&of, &swap, at)
    }

    fn pending(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let swap = Swap {
            tx_hash: hex(args.next_pos().ok_or("TX")?, 64),
            status: SwapStatus::Pending,
            sender: hex("1", 40),
            amount0: 9.into(),
            received_at: Timestamp(self.now),
            ..Swap::default()
        };
        self.pipe(&pool(), &swap, self.now)
    }

    fn pool(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let number = |text: Option<&str>| text.map(str::parse).transpose();
        let facts = Pool {
            token0: hex(args.take_key("token0").unwrap_or("a"), 40),
            token1: hex("b", 40),
            decimals0: number(args.take_key("decimals0"))?.or(Some(0)),
            decimals1: Some(0),
            usd_token: number(args.take_key("usd"))?,
            event_time: Timestamp(self.now),
            received_at: Timestamp(self.now),
            ..Pool::default()
        };
        self.pipe(&pool(), &facts, self.now)
    }

    /// Commits, and prints the changes.
    fn commit(&mut self) -> Outcome {
        let dead = self.driver.dead_letters().len();
        self.driver.commit()?;
        let mut out = String::new();
        for topic in [Topic::PoolMinutes, Topic::Token5m, Topic::SwapStatus] {
            for record in self.driver.new_output(topic.base_name()) {
                writeln!(out, "{:11} {}", topic.base_name(), self.show(&record)?)?;
            }
        }
        for (_, letter) in &self.driver.dead_letters()[dead..] {
            writeln!(out, "dead        offset {} {}", letter.offset, letter.reason)?;
        }
        Ok(out)
    }

    fn show(&self, record: &SinkRecord) -> Outcome {
        let key = self.fields(&record.key, true)?;
        let value = record.value.as_deref();
        let value = value.map_or(Ok("deleted".into()), |value| self.fields(value, false))?;
        Ok(format!("{key}: {value}"))
    }

    fn fields(&self, bytes: &[u8], is_key: bool) -> Outcome {
        let (kind, body) = self.codec.own(bytes).ok_or("no record of ours")?;
        let mut text = String::new();
        self.json.write(kind, body, &mut text)?;
        let mut shown = Vec::new();
        // No value of these records has a comma or a colon.
        for field in text.trim_matches(['{', '}']).split(',') {
            let (name, value) = field.split_once(':').ok_or("a field")?;
            let (name, value) = (name.trim_matches('"'), value.trim_matches('"'));
            let value = value.strip_prefix("0x").map_or(value, |hex| hex.trim_start_matches('0'));
            let value = match name {
                "open_time" => script::clock(Timestamp(value.parse()?)),
                _ => value.to_owned(),
            };
            let is_shown = if is_key { name != "chain" } else { SHOWN.contains(&name) };
            if value != "null" && is_shown {
                shown.push(if is_key { value } else { format!("{name}={value}") });
            }
        }
        Ok(shown.join(" "))
    }
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Outcome {
        let mut args = command.consume_args();
        let out = match command.name.as_str() {
            "head" => self.head(&mut args)?,
            "heads" => {
                // Of one fork, each the child of the one before: heads FROM TO FORK.
                let from: i64 = args.next_pos().ok_or("FROM")?.parse()?;
                let to: i64 = args.next_pos().ok_or("TO")?.parse()?;
                let fork = args.next_pos().ok_or("FORK")?;
                let mut out = String::new();
                for number in from..=to {
                    let at = EPOCH + number * BLOCK;
                    let head = ChainHead {
                        block_number: number,
                        block_hash: hex(&format!("{fork}{number}"), 64),
                        parent_hash: hex(&format!("{fork}{}", number - 1), 64),
                        block_time: Timestamp(at),
                        received_at: Timestamp(at),
                    };
                    out += &self.pipe(&PoolKey::of_chain(1), &head, at)?;
                }
                out
            }
            "swap" => self.swap(&mut args, SwapStatus::Included)?,
            "removed" => self.swap(&mut args, SwapStatus::Removed)?,
            "pending" => self.pending(&mut args)?,
            "pool" => self.pool(&mut args)?,
            "crash" => {
                self.driver.crash()?;
                self.commit()?
            }
            other => script::engine(&mut self.driver, other)?,
        };
        args.reject_next()?;
        Ok(out)
    }
}
