//! What others have written, followed: a standby that takes over warm, and a view outside the
//! group.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use schemas::PairKey;
use schemas::topic::Topic;
use serde_json::Value;
use tests::support::installation::{IMPATIENT, Member};
use tests::support::stack::binary;
use tests::support::{Installation, settles, soon};

/// The output topics whose records are the state.
const STATE: [Topic; 4] = [Topic::Latest, Topic::Ohlc1m, Topic::Ohlc1h, Topic::Ohlc1d];
/// Events whose windows close, as fast as they go.
const LOAD: [&str; 7] = ["load", "--events", "60000", "--keys", "200", "--event-rate", "100"];
/// Event time begins at a fixed minute: the same input in every run.
const START: [&str; 2] = ["--start-ms", "1700000000000"];
/// The same hours later.
const LATER: [&str; 4] = ["--start-ms", "1700010000000", "--seed", "2"];

/// Records of state in each partition.
fn changes(installation: &Installation) -> Result<BTreeMap<i32, u64>> {
    let mut changes = BTreeMap::new();
    for topic in STATE {
        for record in installation.read(topic)? {
            *changes.entry(record.partition).or_default() += 1;
        }
    }
    Ok(changes)
}

/// Waits until a follower has taken so many records of each partition.
fn has_followed(follower: &mut Member, changes: &BTreeMap<i32, u64>) -> Result<()> {
    soon("everything to be followed", || {
        let metrics = follower.metrics()?;
        let taken = |partition| {
            let name = format!("processor_standby_records{{task=\"0_{partition}\"}}");
            metrics.get(&name).and_then(|count| count.parse::<u64>().ok())
        };
        Ok(changes.iter().all(|(partition, count)| taken(partition) == Some(*count)))
    })
}

/// What it answers for a pair; `None` when it has none.
fn latest(member: &mut Member, pair: &PairKey) -> Result<Option<Value>> {
    let url = format!("http://{}/v1/latest", member.address()?);
    let query = [("base", &pair.base), ("quote", &pair.quote), ("exchange", &pair.exchange)];
    let answer = reqwest::blocking::Client::new().get(url).query(&query).send()?;
    Ok(if answer.status().is_success() { Some(answer.json()?) } else { None })
}

/// It answers with the last price in the topic, whoever owns the pair.
fn answers_everything(installation: &Installation, member: &mut Member) -> Result<()> {
    let (actual, _) = installation.actual_and_expected()?;
    ensure!(actual.latest.len() == 200, "{} pairs", actual.latest.len());
    for (pair, (_, expected)) in &actual.latest {
        let answer = latest(member, pair)?.with_context(|| format!("no answer for {pair}"))?;
        ensure!(answer["price"] == expected.price.to_string(), "{pair}: {answer}");
    }
    Ok(())
}

#[test]
fn a_standby_takes_over_with_the_last_moments_to_replay() -> Result<()> {
    let installation = Installation::new("standby")?;
    let arguments = [&["--standby"][..], &IMPATIENT].concat();
    let mut one = installation.member("one", &arguments)?;
    let mut two = installation.member("two", &arguments)?;
    one.ready()?;
    two.ready()?;
    installation.process(&[&LOAD[..], &START].concat(), &mut [&mut one, &mut two])?;
    let changes = changes(&installation)?;
    settles("the standby to have followed", || answers_everything(&installation, &mut one))?;
    // A member is ready without a partition while another has yet to give it up.
    let others = two.given()?;
    let before = one.restores()?.len();

    two.process.kill()?;
    installation.process(&[&LOAD[..], &LATER].concat(), &mut [&mut one])?;
    installation.outputs_equal_the_fold()?;
    // The first time that it takes over: it may be thrown out later, and begin with its disk.
    let mut restored = BTreeMap::new();
    for (partition, count) in one.restores()?.into_iter().skip(before) {
        restored.entry(partition).or_insert(count);
    }
    let taken: BTreeSet<i32> = restored.keys().copied().collect();
    ensure!(others.is_subset(&taken), "of {others:?} it has taken over {taken:?}");
    for partition in &others {
        let all = changes.get(partition).copied().unwrap_or(0);
        let count = restored.get(partition).copied().unwrap_or(0);
        // What came after the last look of the follower, if anything.
        ensure!(count < all / 10, "restored {count} of {all} records of partition {partition}");
    }
    installation.finish_with([one])
}

#[test]
fn a_partition_that_comes_and_goes_between_threads_and_standby_is_never_wrong() -> Result<()> {
    let installation = Installation::new("standby-threads")?;
    let arguments = [&["--standby", "--threads", "2"][..], &IMPATIENT].concat();
    let mut one = installation.ready_member("one", &arguments)?;
    let load = installation.producer(&[&LOAD[..], &START, &["--rate", "6000"]].concat())?;
    for name in ["two", "three"] {
        let mut other = installation.member(name, &arguments)?;
        other.given()?;
        other.ready()?;
        other.stop()?;
    }
    load.finish()?;
    installation.caught_up(&mut [&mut one])?;
    installation.outputs_equal_the_fold()?;
    let log = one.stop()?;
    ensure!(log.contains("tasks revoked"), "no partition moved:\n{log}");
    // A worker may be refused a commit while the group moves on; what follows is in no group, and
    // fails by nothing but a broker that is silent for long.
    let fails = |line: &&str| line.contains("name=\"follower\"") && !line.contains("unavailable");
    let failed: Vec<_> = log.lines().filter(fails).collect();
    ensure!(failed.is_empty(), "the follower has failed: {failed:#?}\n{log}");
    installation.finish()
}

#[test]
fn a_view_answers_outside_the_group_while_there_is_no_writer() -> Result<()> {
    let installation = Installation::new("view")?;
    let (mut member, mut view) = installation.member_and_view(&[], &[])?;
    installation.process(&[&LOAD[..], &START].concat(), &mut [&mut member])?;
    let changes = changes(&installation)?;
    has_followed(&mut view, &changes)?;
    member.process.kill()?;
    settles("the view to show it", || answers_everything(&installation, &mut view))?;

    // It is nobody's member: whoever joins next has every partition at once.
    view.stop()?;
    let mut view = installation.ready_view("view", &[])?;
    let none = changes.keys().map(|partition| (*partition, 0)).collect();
    has_followed(&mut view, &none)?;
    settles("the view to have it again", || answers_everything(&installation, &mut view))?;
    installation.finish_with([view])
}

/// Notes that it was run, and is as slow as on a machine whose disks are busy.
const SLOW_SYNC: &str = "#!/bin/sh\ntouch \"$0.was-run\"\nsleep 3\n";

/// The command `sync` flushes every file system of the machine. Who waits for it waits for others.
#[test]
fn the_default_engine_never_runs_sync_as_sled_does() -> Result<()> {
    for (flags, runs) in [(&[][..], false), (&["--store-engine", "sled"][..], true)] {
        let installation = Installation::new("sync")?;
        let folder = installation.folder().join("bin");
        std::fs::create_dir_all(&folder)?;
        let sync = folder.join("sync");
        std::fs::write(&sync, SLOW_SYNC)?;
        std::fs::set_permissions(&sync, std::fs::Permissions::from_mode(0o755))?;
        let path = format!("PATH={}:/usr/bin:/bin", folder.display());
        let with_path = || -> Result<Command> {
            let mut by = Command::new("/usr/bin/env");
            by.arg(&path).arg(binary("processor")?);
            Ok(by)
        };
        let flags = [flags, &["--flush-interval", "1s"]].concat();
        for _start in 0..2 {
            let mut member = installation.member_by(with_path()?, "one", &flags)?;
            member.ready()?;
            installation.process(&[&LOAD[..], &START].concat(), &mut [&mut member])?;
            member.stop()?;
        }
        let was_run = folder.join("sync.was-run").exists();
        ensure!(was_run == runs, "{flags:?}: sync was run: {was_run}");
        installation.finish()?;
    }
    Ok(())
}

/// How long the transaction below has held back readers before it ends.
const HELD_SECONDS: i64 = 6;
const BROKER_TIMEOUT: Duration = Duration::from_secs(30);

#[test]
fn an_open_transaction_that_holds_back_a_view_is_shown() -> Result<()> {
    let installation = Installation::new("held")?;
    let (member, mut view) = installation.member_and_view(&[], &[])?;
    let topic = installation.topic(Topic::Latest);
    let name = format!("processor_stable_offset_held_seconds{{partition=\"0\",topic=\"{topic}\"}}");
    let mut held = || -> Result<Option<i64>> {
        Ok(view.metrics()?.get(&name).map(|seconds| seconds.parse()).transpose()?)
    };
    soon("a fetch of the view", || Ok(held()? == Some(0)))?;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &installation.stack.bootstrap_servers)
        .set("transactional.id", format!("{}hangs", installation.prefix))
        .set("transaction.timeout.ms", "300000")
        .create()?;
    producer.init_transactions(BROKER_TIMEOUT)?;
    producer.begin_transaction()?;
    let record = BaseRecord::to(&topic).partition(0).key("never committed").payload("");
    producer.send(record).map_err(|(error, _)| error)?;
    producer.flush(BROKER_TIMEOUT)?;
    soon("the transaction to show", || Ok(held()? >= Some(HELD_SECONDS)))?;
    producer.abort_transaction(BROKER_TIMEOUT)?;
    soon("the readers to go on", || Ok(held()? == Some(0)))?;
    installation.finish_with([member, view])
}
