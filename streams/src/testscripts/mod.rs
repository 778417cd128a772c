//! The golden scripts: what a task does, as text that a reviewer reads for the specification.
//!
//! `UPDATE_GOLDENFILES=1 cargo test -p streams` writes what the engine says into the files; the
//! diff is what has changed for a user.

mod properties;
mod sample;
mod steps;

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use goldenscript::{Command, Context};

use super::Driver;
use crate::record::{Offset, SinkRecord, SubTopologyId};
use crate::store::Store as _;
use crate::topology::Topology;

test_each_file::test_each_path! { in "streams/src/testscripts/task" as task => one }
test_each_file::test_each_path! { in "streams/src/testscripts/repartition" as repartition => several }
// Each script cites the section of the Kafka Streams manual that it holds.
test_each_file::test_each_path! { in "streams/src/testscripts/kafka_streams" as kafka_streams => several }

fn one(path: &Path) {
    run(path, sample::topology());
}

fn several(path: &Path) {
    run(path, sample::through_repartition_topics());
}

fn run(path: &Path, topology: crate::Result<Topology>) {
    let outcome = topology
        .and_then(|topology| Ok(Script { driver: Driver::new(topology.clone())?, topology }))
        .map_err(std::io::Error::other)
        .and_then(|mut script| goldenscript::run(&mut script, path));
    if let Err(error) = outcome {
        panic!("{}: {error}", path.display());
    }
}

struct Script {
    topology: Topology,
    driver: Driver,
}

impl goldenscript::Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let mut args = command.consume_args();
        let first = args.next_pos();
        let name = first.unwrap_or_default();
        let driver = &mut self.driver;
        let out = match command.name.as_str() {
            // Records and time.
            "add" | "pipe" => {
                let at = args.take_key("at").ok_or("at=TIME")?.parse()?;
                let (key, value) = args.next_key().unwrap_or((args.next_pos().unwrap_or(""), ""));
                let value = Some(value.as_bytes()).filter(|value| !value.is_empty());
                driver.add(name, at, key.as_bytes(), value)?;
                if command.name == "pipe" {
                    driver.process_all()?;
                }
                String::new()
            }
            "process" => silent(driver.process_all())?,
            "advance" => silent(driver.advance_wall_clock(name.parse()?))?,
            "cache" => {
                *driver = Driver::with_cache(self.topology.clone(), name.parse()?)?;
                String::new()
            }
            // The commit and its steps.
            "commit" => silent(driver.commit())?,
            "prepare" => silent(driver.prepare_commit())?,
            "commit-once" => silent(driver.commit_once().map(|_| ()))?,
            "write-transaction" => silent(driver.write_transaction().map(|_| ()))?,
            "discard" => {
                driver.discard();
                String::new()
            }
            "flush" => silent(driver.flush_stores())?,
            // Faults.
            "crash" => format!("restored {} records", driver.crash()?),
            "lose-disk" => format!("restored {} records", driver.lose_disk()?),
            // Another member keeps its own replica.
            "follow" => format!("followed {} records", driver.follow()?),
            "flush-standby" => silent(driver.flush_standby())?,
            "take-over" => format!("replayed {} records", driver.take_over()?),
            "recreate-topic" => {
                driver.logs.remove(name);
                String::new()
            }
            "foreign-record" => {
                let (key, value) = args.next_key().ok_or("KEY=VALUE")?;
                let value = Some(value.into());
                let log = driver.logs.entry(name.into()).or_default();
                log.push(SinkRecord { key: key.into(), value });
                String::new()
            }
            // Queries.
            "output" => topic(driver, name),
            "store" => store(driver, name)?,
            "positions" => positions(driver)?,
            "consumed" => consumed(driver),
            "dead-letters" => dead_letters(driver),
            other => return Err(format!("no command {other}").into()),
        };
        args.reject_next()?;
        Ok(out)
    }
}

fn silent(result: crate::Result<()>) -> Result<String, Box<dyn Error>> {
    Ok(result.map(|()| String::new())?)
}

fn text(value: Option<&[u8]>) -> String {
    value.map_or_else(|| "tombstone".into(), |value| String::from_utf8_lossy(value).into_owned())
}

fn topic(driver: &Driver, name: &str) -> String {
    let mut out = String::new();
    for record in driver.output(name) {
        let key = String::from_utf8_lossy(&record.key);
        let sign = if key.is_empty() { "" } else { " = " };
        let _ = writeln!(out, "{key}{sign}{}", text(record.value.as_deref()));
    }
    out
}

/// The committed state: what is on disk, and what is in front of it.
fn store(driver: &Driver, name: &str) -> Result<String, Box<dyn Error>> {
    let mut out = String::new();
    let committed = driver.store(name).ok_or("no such store")?;
    for (key, value) in committed.range(&[], &[0xff], usize::MAX)? {
        let key = match sample::window(&key) {
            Ok((key, start)) => format!("{key} [{start}, {})", start + 60),
            Err(_) => String::from_utf8_lossy(&key).into_owned(),
        };
        let _ = writeln!(out, "{key} = {}", text(Some(&value)));
    }
    Ok(out)
}

fn positions(driver: &Driver) -> crate::Result<String> {
    let mut out = String::new();
    for (spec, store) in driver.topology.stores().zip(&driver.stores) {
        let position = store.position()?.unwrap_or(Offset(0));
        let end = driver.output(&spec.topic).len();
        let _ = writeln!(out, "{} is written up to {position} of {end}", spec.name);
    }
    Ok(out)
}

fn consumed(driver: &Driver) -> String {
    let mut out = String::new();
    for (index, consumed) in driver.consumed().iter().enumerate() {
        if let Some(consumed) = consumed {
            let source = driver.topology.sub_topology(SubTopologyId(index)).source();
            let (next, time) = (consumed.next, consumed.stream_time);
            let _ = writeln!(out, "{source} next {next}, stream time {time}");
        }
    }
    out
}

fn dead_letters(driver: &Driver) -> String {
    let mut out = String::new();
    for (source, letter) in driver.dead_letters() {
        let key = String::from_utf8_lossy(&letter.key);
        let value = text(letter.value.as_deref());
        let _ = writeln!(out, "{source}:{} {key} = {value}: {}", letter.offset, letter.reason);
    }
    out
}
