//! Where a member goes on: without its group's offsets, behind a topic's moved start, and past a record
//! that is larger than anything it may write.

#[path = "positions/migration.rs"]
mod migration;
#[path = "bad_input/refusal.rs"]
mod refusal;
#[path = "positions/topologies.rs"]
mod topologies;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use refusal::refuses;
use schemas::topic::{DEFAULT_PARTITIONS, Topic};
use streams::dead_letter;
use tests::support::installation::{IMPATIENT, Member};
use tests::support::process::Said;
use tests::support::topics::{self, Record};
use tests::support::{Installation, broker, soon};

/// Events that change the state at each commit, as fast as they go.
const LOAD: [&str; 7] = ["load", "--events", "4000", "--keys", "40", "--event-rate", "100"];
/// The same without an end.
const ENDLESS: [&str; 7] = ["load", "--events", "10000000", "--keys", "40", "--event-rate", "100"];
/// Event time begins at a fixed minute: the same input in every run.
const START: [&str; 2] = ["--start-ms", "1700000000000"];
/// The same hours later.
const LATER: [&str; 4] = ["--start-ms", "1700010000000", "--seed", "2"];
const PROCESSED: &str = "processor_records_processed_total";

/// Records that a member has processed since it started.
fn processed(member: &mut Member) -> Result<u64> {
    let metrics = member.metrics()?;
    let counts = metrics.iter().filter(|(name, _)| name.starts_with(PROCESSED));
    counts.map(|(_, count)| Ok(count.parse::<u64>()?)).sum()
}

fn committed(installation: &Installation) -> Result<Vec<i64>> {
    let (bootstrap, events) =
        (&installation.stack.bootstrap_servers, installation.topic(Topic::Events));
    topics::committed(bootstrap, &installation.application_id(), &events)
}

/// The group's offsets are gone, as when they have expired. A group with members cannot be deleted.
fn forget_offsets(installation: &Installation) -> Result<()> {
    soon("the group to be deleted", || {
        let group = installation.application_id();
        broker::delete(&installation.stack.bootstrap_servers, &[], &[group])?;
        let left = committed(installation)?;
        Ok(!left.is_empty() && left.iter().all(|offset| *offset == 0))
    })
}

fn is_refused(installation: &Installation, state: &str) -> Result<()> {
    let said = installation.member(state, &[])?.process.outcome()?;
    let (group, events) = (installation.application_id(), installation.topic(Topic::Events));
    let words = ["has no committed offsets", "counted twice", "--reset-offsets position"];
    let sources = (0..4).map(|partition| format!("{events}/{partition}"));
    let sources = sources.collect::<Vec<_>>().join(" ");
    refuses(&said, &[&[group.as_str(), &sources][..], &words].concat())
}

/// Starts a member with the flag, waits until it is at the end of events, and says how many records
/// it has processed.
fn resumed(installation: &Installation, state: &str, from: &str) -> Result<u64> {
    let mut member = installation.ready_member(state, &["--reset-offsets", from])?;
    installation.caught_up(&mut [&mut member])?;
    let count = processed(&mut member)?;
    member.stop()?;
    Ok(count)
}

#[test]
fn lost_offsets_are_refused_and_each_way_out_goes_on_where_it_says() -> Result<()> {
    let installation = Installation::new("offsets")?;
    // Without any, a fresh group starts at the beginning, whatever the flag says.
    installation.produce(&[&LOAD[..], &START].concat())?;
    ensure!(resumed(&installation, "one", "latest")? == 4_000, "not everything was processed");
    // With offsets it changes nothing either.
    ensure!(resumed(&installation, "one", "earliest")? == 0, "a group with offsets was reset");

    forget_offsets(&installation)?;
    is_refused(&installation, "one")?;
    // Whoever has lost its disk as well finds the state in the topics.
    is_refused(&installation, "two")?;
    ensure!(committed(&installation)?.iter().all(|offset| *offset == 0), "it has committed");

    ensure!(resumed(&installation, "two", "position")? == 0, "records were processed twice");
    // The offsets are there again, although there was nothing to process.
    let member = installation.ready_member("one", &[])?;
    member.stop()?;

    forget_offsets(&installation)?;
    installation.produce(&[&LOAD[..], &LATER].concat())?;
    ensure!(resumed(&installation, "one", "latest")? == 0, "records were not skipped");
    forget_offsets(&installation)?;
    ensure!(resumed(&installation, "one", "earliest")? == 8_000, "not everything was repeated");
    installation.outputs_equal_the_fold()?;
    installation.finish()
}

/// Where a member went on, by partition, as its log has it.
fn went_on(member: &Member) -> Result<BTreeMap<usize, i64>> {
    let field = |line: &str, name: &str| -> Result<String> {
        let rest = line.split(&format!(" {name}=")).nth(1).context("no such field")?;
        Ok(rest.split(' ').next().unwrap_or_default().to_owned())
    };
    let lines = member.process.lines("the group had no offset")?;
    let position = |line: &String| {
        let source = field(line, "source")?;
        let (_, partition) = source.trim_matches('"').rsplit_once('/').context("no partition")?;
        Ok((partition.parse()?, field(line, "next")?.parse()?))
    };
    lines.iter().map(position).collect()
}

#[test]
fn a_killed_member_without_offsets_goes_on_exactly_behind_its_last_commit() -> Result<()> {
    let installation = Installation::new("offsets-kill")?;
    let mut member = installation.ready_member("one", &IMPATIENT)?;
    let load = installation.producer(&[&ENDLESS[..], &["--rate", "4000"], &START].concat())?;
    soon("some commits", || Ok(installation.processed()? > 8_000))?;
    member.process.kill()?;
    load.told_to_end()?;
    // What the dead member left open is aborted by then.
    for topic in [Topic::Latest, Topic::Ohlc1m] {
        installation.read(topic)?;
    }
    let offsets = committed(&installation)?;
    forget_offsets(&installation)?;
    let position = [&IMPATIENT[..], &["--reset-offsets", "position"]].concat();
    let mut member = installation.ready_member("one", &position)?;
    let expected: BTreeMap<usize, i64> = offsets.into_iter().enumerate().collect();
    let resumed = went_on(&member)?;
    ensure!(resumed == expected, "went on at {resumed:?}, had committed {expected:?}");
    installation.caught_up(&mut [&mut member])?;
    installation.outputs_equal_the_fold()?;
    installation.finish_with([member])
}

#[test]
fn a_view_goes_on_where_the_topic_begins_when_its_start_has_moved() -> Result<()> {
    let installation = Installation::new("start")?;
    let bootstrap = &installation.stack.bootstrap_servers;
    let (mut member, mut view) = installation.member_and_view(&[], &[])?;
    installation.process(&[&LOAD[..], &START].concat(), &mut [&mut member])?;
    // It is stopped, and what it has not read is deleted, as retention does it.
    view.process.signal("STOP")?;
    installation.process(&[&LOAD[..], &LATER].concat(), &mut [&mut member])?;
    let minutes = installation.topic(Topic::Ohlc1m);
    broker::delete_records(bootstrap, &minutes, &topics::ends(bootstrap, &minutes)?)?;
    view.process.signal("CONT")?;
    soon("the view to go on at the start", || {
        view.process.alive()?;
        let lines = view.process.lines("the topic's start has moved")?;
        Ok(lines.len() >= usize::try_from(DEFAULT_PARTITIONS)?)
    })?;
    // And what comes then it has.
    let newest = ["--start-ms", "1700020000000", "--seed", "3"];
    installation.process(&[&LOAD[..], &newest].concat(), &mut [&mut member])?;
    let latest = |member: &mut Member| -> Result<String> {
        // Older ones the member still has, and the view never read.
        let pair = "base=L00000&quote=USD&exchange=load&from=1700019900000";
        let url = format!("http://{}/v1/candles?{pair}", member.address()?);
        Ok(reqwest::blocking::get(url)?.text()?)
    };
    let expected = latest(&mut member)?;
    ensure!(expected.contains("2023-11-15"), "no newer candles: {expected}");
    soon("the view to have what was written since", || Ok(latest(&mut view)? == expected))?;
    let log = view.stop()?;
    ensure!(!log.contains("rejoining"), "the follower started again:\n{log}");
    installation.finish_with([member])
}

/// As large as a topic of the default takes: a batch of one record is 12 bytes longer.
const HUGE: usize = (1 << 20) - 100;

fn junk(installation: &Installation, partition: i32) -> Result<Vec<u8>> {
    // Nothing that a codec can make smaller.
    let mut state = 7_u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    });
    let value: Vec<u8> = noise.take(HUGE).collect();
    let records = [(b"junk".to_vec(), Some(value.clone()))];
    installation.write(Topic::Events, partition, &records)?;
    Ok(value)
}

/// The one dead letter of a partition is the junk, of which so much is kept.
fn is_kept(letters: &[Record], partition: i32, value: &[u8], room: usize) -> Result<()> {
    let mut letters = letters.iter().filter(|letter| letter.partition == partition);
    let (Some(letter), None) = (letters.next(), letters.next()) else {
        anyhow::bail!("not one dead letter in partition {partition}");
    };
    let cut = dead_letter::cut(b"junk", Some(value), room);
    ensure!(letter.key == cut.key, "key {:?}", letter.key);
    ensure!(letter.value.as_deref().unwrap_or_default() == cut.value.unwrap_or_default());
    for (name, expected) in &cut.headers {
        let header = letter.headers.get(*name);
        ensure!(header == Some(expected), "{name}: {header:?} instead of {expected}");
    }
    ensure!(letter.headers.contains_key("reason"), "{:?}", letter.headers);
    Ok(())
}

#[test]
fn a_record_as_large_as_its_topic_takes_is_cut_and_ends_nobody() -> Result<()> {
    let installation = Installation::new("huge")?;
    let bootstrap = &installation.stack.bootstrap_servers;
    // With the client's own bound as it is, and as small as it can be.
    let (first, mut member) = (junk(&installation, 0)?, installation.member("one", &[])?);
    installation.caught_up(&mut [&mut member])?;
    member.stop()?;
    let least = ["--kafka", "message.max.bytes=1000"];
    let (second, mut member) = (junk(&installation, 1)?, installation.member("one", &least)?);
    installation.caught_up(&mut [&mut member])?;
    member.stop()?;
    // A topic that takes little more than the headers.
    broker::set(bootstrap, &installation.topic(Topic::DeadLetters), "max.message.bytes", "1500")?;
    let (third, mut member) = (junk(&installation, 2)?, installation.member("one", &[])?);
    installation.caught_up(&mut [&mut member])?;
    let log = member.stop()?;
    ensure!(log.contains("refuses dead letters"), "it was not refused:\n{log}");
    let letters = installation.read(Topic::DeadLetters)?;
    is_kept(&letters, 0, &first, dead_letter::MAX_BYTES)?;
    is_kept(&letters, 1, &second, 0)?;
    is_kept(&letters, 2, &third, 0)?;
    installation.finish()
}

/// `processor reset prices`, with these arguments as well.
fn reset(installation: &Installation, further: &[&str]) -> Result<Said> {
    let group = installation.application_id();
    let own = ["reset", "prices", "--application-id", &group];
    let servers = &installation.stack.bootstrap_servers;
    let kafka = ["--bootstrap-servers", servers, "--topic-prefix", &installation.prefix];
    installation.command("processor", &[&own[..], &kafka, further].concat())?.outcome()
}

#[test]
fn a_reset_computes_everything_anew_and_never_twice() -> Result<()> {
    let installation = Installation::new("reset")?;
    let mut member = installation.ready_member("one", &[])?;
    // Without ids a record counts each time that it is processed.
    let load = [&LOAD[..], &START, &["--ids", "none"]].concat();
    installation.process(&load, &mut [&mut member])?;
    let before = installation.outputs_equal_the_fold()?;
    let said = reset(&installation, &["--yes"])?;
    refuses(&said, &["has members", "stop them"])?;
    installation.outputs_equal_the_fold()?;
    member.stop()?;

    // Without the flag it says what it would do.
    let said = reset(&installation, &[])?;
    ensure!(said.code == Some(0) && said.out.contains("not done"), "{said:?}");
    ensure!(committed(&installation)?.iter().sum::<i64>() == 4_000, "the offsets are gone");
    soon("the group to be without members", || {
        let said = reset(&installation, &["--yes"])?;
        Ok(said.code == Some(0) && said.out.contains("done: start members"))
    })?;
    for topic in [Topic::Latest, Topic::Ohlc1m, Topic::Late] {
        ensure!(installation.read(topic)?.is_empty(), "{topic:?} has records");
    }

    // The old stores are of topics that are gone.
    let said = installation.member("one", &[])?.process.outcome()?;
    refuses(&said, &["was deleted and created again", "move the state directory away"])?;
    let mut member = installation.ready_member("two", &[])?;
    installation.caught_up(&mut [&mut member])?;
    ensure!(processed(&mut member)? == 4_000, "not everything was processed again");
    let after = installation.outputs_equal_the_fold()?;
    ensure!(after.latest.len() == before.latest.len(), "pairs are missing");
    installation.finish_with([member])
}
