//! Exactly once on the real broker: through kills, joins, leaves and lost disks, every output topic
//! is what an independent fold of `events` says, for readers of committed records.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use schemas::avro::{self, Record as _};
use schemas::topic::{DEFAULT_PARTITIONS, Topic};
use schemas::{Basis, Codec, Decimal, FeedMark, Kind, MarketEvent, PairKey, Timestamp};
use serde_json::{Value, json};
use tests::support::fold::Outputs;
use tests::support::installation::{IMPATIENT, Member};
use tests::support::{Installation, topics, wait_until};

/// Event time passes far faster than real time, so that windows close. It is longer than any test
/// and told to end: a group that is slow to rebalance on a busy machine is still under load.
const LOAD: [&str; 7] = ["load", "--events", "10000000", "--keys", "500", "--event-rate", "100"];
/// Each event counts each time that it is processed: with ids, candles would hide a second time.
const COUNTED: [&str; 4] = ["--ids", "none", "--samples-percent", "20"];
/// A member is killed in it.
const BRISK: [&str; 2] = ["--rate", "15000"];
/// Members come and go in it.
const STEADY: [&str; 2] = ["--rate", "6000"];
/// Event time begins at a fixed minute: the same input in every run.
const START: [&str; 2] = ["--start-ms", "1700000000000"];
/// How long a wait for a part of the load may take.
const BOUND: std::time::Duration = std::time::Duration::from_mins(3);

fn load(rate: [&'static str; 2]) -> Vec<&'static str> {
    [&LOAD[..], &COUNTED, &rate, &START].concat()
}

/// Waits until the group has committed so many records.
fn wait_processed(installation: &Installation, count: i64) -> Result<()> {
    wait_until(&format!("{count} records to be processed"), BOUND, || {
        Ok((installation.processed()? >= count).then_some(()))
    })
}

fn arguments(protocol: &'static str) -> Vec<&'static str> {
    let common = ["--flush-interval", "1s", "--group-protocol", protocol];
    [&common[..], &IMPATIENT].concat()
}

fn a_killed_member_loses_and_doubles_nothing(protocol: &'static str) -> Result<()> {
    let installation = Installation::new(&format!("kill-{protocol}"))?;
    let arguments = arguments(protocol);
    let mut one = installation.member("one", &arguments)?;
    let mut two = installation.member("two", &arguments)?;
    one.ready()?;
    two.ready()?;
    let load = installation.producer(&load(BRISK))?;
    wait_processed(&installation, 75_000)?;
    let held = one.owned()?;
    let on_disk = written_to_disk(&installation, &mut one)?;
    one.process.kill()?;
    // What it got only then was perhaps not written.
    let had = one.owned()?.intersection(&held).copied().collect::<BTreeSet<_>>();
    let mut one = installation.member("one", &arguments)?;
    one.given()?;
    load.told_to_end()?;
    installation.caught_up(&mut [&mut one, &mut two])?;
    installation.outputs_equal_the_fold()?;
    // A member that was slow to start finds what it had with the other, and gets it when that leaves.
    two.stop()?;
    wait_until("the member to have again what it had", BOUND, || {
        Ok(one.restored()?.keys().any(|partition| had.contains(partition)).then_some(()))
    })?;
    restored_only_the_tail(&installation, &on_disk, &had, &one.restored()?)?;
    installation.finish_with([one])
}

/// The output topics whose records are the state.
const STATE: [Topic; 4] = [Topic::Latest, Topic::Ohlc1m, Topic::Ohlc1h, Topic::Ohlc1d];
/// Topics with the ends of their partitions.
type Ends = Vec<(Topic, Vec<i64>)>;

/// Ends of the output topics, before which all of the member's state is on its disk.
fn written_to_disk(installation: &Installation, member: &mut Member) -> Result<Ends> {
    let bootstrap = &installation.stack.bootstrap_servers;
    let ends = STATE.map(|topic| Ok((topic, topics::ends(bootstrap, &installation.topic(topic))?)));
    let ends = ends.into_iter().collect::<Result<_>>()?;
    let mut writes = || -> Result<u64> {
        let metrics = member.metrics()?;
        Ok(metrics.get(STORE_WRITES).context("the stores' writes are not counted")?.parse()?)
    };
    // The round under way may have begun before these ends; the one after the next has not.
    let wanted = writes()? + 2;
    wait_until("the stores to be written", BOUND, || Ok((writes()? >= wanted).then_some(())))?;
    Ok(ends)
}

const STORE_WRITES: &str = "processor_store_writes_total";

/// Of the partitions that it had before, the member restored nothing that was on its disk. Those
/// that it gets for the first time it has to read as a whole.
fn restored_only_the_tail(
    installation: &Installation,
    on_disk: &Ends,
    had: &BTreeSet<i32>,
    restored: &BTreeMap<i32, u64>,
) -> Result<()> {
    let mut tail = BTreeMap::<i32, u64>::new();
    for (topic, ends) in on_disk {
        for record in installation.read(*topic)? {
            let end = ends.get(usize::try_from(record.partition)?).context("no such partition")?;
            *tail.entry(record.partition).or_default() += u64::from(record.offset >= *end);
        }
    }
    for (partition, count) in restored.iter().filter(|(task, _)| had.contains(task)) {
        let tail = tail.get(partition).copied().unwrap_or(0);
        ensure!(*count <= tail, "restored {count} of a tail of {tail} in partition {partition}");
    }
    Ok(())
}

#[test]
fn a_killed_member_of_a_classic_group_loses_and_doubles_nothing() -> Result<()> {
    a_killed_member_loses_and_doubles_nothing("classic")
}

#[test]
fn a_killed_member_of_a_kip_848_group_loses_and_doubles_nothing() -> Result<()> {
    a_killed_member_loses_and_doubles_nothing("consumer")
}

// Members that come and go.

fn a_third_member_joins_and_leaves(protocol: &'static str) -> Result<()> {
    let installation = Installation::new(&format!("join-{protocol}"))?;
    let arguments = arguments(protocol);
    let mut one = installation.member("one", &arguments)?;
    let mut two = installation.member("two", &arguments)?;
    one.ready()?;
    two.ready()?;
    let load = installation.producer(&load(STEADY))?;
    wait_processed(&installation, 30_000)?;
    let mut three = installation.member("three", &arguments)?;
    wait_until("the third member to process", BOUND, || {
        let metrics = three.metrics()?;
        let mut counts = metrics.iter().filter(|(name, _)| name.starts_with(PROCESSED));
        Ok(counts.any(|(_, count)| count != "0").then_some(()))
    })?;
    let left = three.stop()?;
    ensure!(assignments(&left) > 0, "{left}");
    load.told_to_end()?;
    installation.caught_up(&mut [&mut one, &mut two])?;
    installation.outputs_equal_the_fold()?;
    let stayed = [one.stop()?, two.stop()?].concat();
    // Once each at the start, and then what the third had, be it revoked or lost before.
    ensure!(assignments(&stayed) > 2, "no partition came back:\n{stayed}");
    installation.finish()
}

const PROCESSED: &str = "processor_records_processed_total";

/// How often partitions were given to a member, by its log.
fn assignments(log: &str) -> usize {
    let gave = |line: &&str| !line.ends_with("tasks=\"\"");
    log.lines().filter(|line| line.contains("tasks assigned")).filter(gave).count()
}

#[test]
fn a_member_joins_and_leaves_a_classic_group_and_nothing_is_lost_or_doubled() -> Result<()> {
    a_third_member_joins_and_leaves("classic")
}

#[test]
fn a_member_joins_and_leaves_a_kip_848_group_and_nothing_is_lost_or_doubled() -> Result<()> {
    a_third_member_joins_and_leaves("consumer")
}

#[test]
fn at_least_once_gives_the_same_outputs_when_nothing_fails() -> Result<()> {
    let installation = Installation::new("at-least-once")?;
    let guarantee = ["--processing-guarantee", "at_least_once"];
    let mut one = installation.member("one", &guarantee)?;
    let mut two = installation.member("two", &guarantee)?;
    // A commit may be refused while the group rebalances, which is a failure.
    one.given()?;
    two.given()?;
    installation.process(&[&SMALL[..], &COUNTED, &START].concat(), &mut [&mut one, &mut two])?;
    installation.outputs_equal_the_fold()?;
    installation.finish_with([one, two])
}

/// As fast as it goes.
const SMALL: [&str; 7] = ["load", "--events", "60000", "--keys", "200", "--event-rate", "100"];
/// The same hours later.
const LATER: [&str; 4] = ["--start-ms", "1700010000000", "--seed", "2"];

#[test]
fn a_lost_state_directory_is_restored_from_the_output_topics() -> Result<()> {
    let installation = Installation::new("restore")?;
    // Its stores are written when it is told to stop, and at no other time.
    let mut member = installation.member("one", &["--flush-interval", "1h"])?;
    installation.process(&[&SMALL[..], &COUNTED, &START].concat(), &mut [&mut member])?;
    // Read once: by then the last commit's markers are written, and a store may claim what it has.
    for topic in STATE {
        installation.read(topic)?;
    }
    member.stop()?;

    let mut member = installation.member("one", &[])?;
    let restored = restored_in_all(&mut member)?;
    ensure!(restored == 0, "a member that was told to stop had {restored} records to restore");
    member.stop()?;

    std::fs::remove_dir_all(installation.state("one"))?;
    let mut member = installation.member("one", &[])?;
    let restored = restored_in_all(&mut member)?;
    let mut keys = 0;
    for topic in STATE {
        let records = installation.read(topic)?;
        keys += records.iter().map(|record| &record.key).collect::<BTreeSet<_>>().len() as u64;
    }
    ensure!(restored >= keys, "{restored} records were restored, and there are {keys} keys");
    installation.process(&[&SMALL[..], &COUNTED, &LATER].concat(), &mut [&mut member])?;
    installation.outputs_equal_the_fold()?;
    installation.finish_with([member])
}

/// Records that a member has restored, once it has every partition.
fn restored_in_all(member: &mut Member) -> Result<u64> {
    let all = usize::try_from(DEFAULT_PARTITIONS)?;
    wait_until("every partition to be restored", BOUND, || {
        member.process.alive()?;
        Ok((member.restored()?.len() == all).then_some(()))
    })?;
    member.ready()?;
    Ok(member.restored()?.values().sum())
}

// Records that cannot be processed, and records of other writers.

const TIME: i64 = 1_700_000_000_000;

fn trade(id: i64) -> MarketEvent {
    let event = MarketEvent::trade(Decimal::ONE, Decimal::ONE, Timestamp(TIME + id));
    MarketEvent { trade_id: Some(id), ..event }
}

/// The reason, and a record for it.
type Bad = (&'static str, Vec<u8>, Option<Vec<u8>>);

fn bad_records(codec: &Codec) -> Result<Vec<Bad>> {
    let key = |base: &str| codec.to_bytes(&PairKey::new(base, "USD", "test"));
    let value = |event: MarketEvent| Some(codec.to_bytes(&event));
    let zero = Decimal::ZERO;
    let negative = Decimal::from_units(-1).context("minus one")?;
    let none_missing =
        FeedMark { missing: Some(0), ..FeedMark::healthy("1", Timestamp(TIME), Timestamp(TIME)) };
    let mut cut = codec.to_bytes(&trade(1));
    cut.pop();
    let mut unknown = codec.to_bytes(&trade(1));
    unknown[1..5].copy_from_slice(&0x7fff_fff0_i32.to_be_bytes());
    let at = |time| MarketEvent { event_time: Timestamp(time), ..trade(1) };
    Ok(vec![
        ("corrupt", key("A"), Some(b"not Avro".to_vec())),
        ("corrupt", key("A"), Some(cut)),
        ("corrupt", b"not a key".to_vec(), value(trade(1))),
        ("corrupt", key("A"), Some(key("A"))),
        ("unknown_schema", key("A"), Some(unknown)),
        ("bad_price", key("A"), value(MarketEvent { price: zero, ..trade(1) })),
        ("bad_price", key("A"), value(MarketEvent { price: negative, ..trade(1) })),
        ("bad_size", key("A"), value(MarketEvent { size: Some(negative), ..trade(1) })),
        ("bad_size", key("A"), value(MarketEvent { size: None, ..trade(1) })),
        // Year 1, the epoch, and six seconds from when it was received.
        ("bad_time", key("A"), value(at(-62_135_596_800_000))),
        ("bad_time", key("A"), value(at(0))),
        ("bad_time", key("A"), value(at(TIME + 6_001))),
        ("tombstone", key("A"), None),
        ("invalid_key", key(""), value(trade(1))),
        ("bad_mark", codec.to_bytes(&PairKey::feed("test")), Some(codec.to_bytes(&none_missing))),
    ])
}

#[test]
fn what_cannot_be_processed_is_a_dead_letter_and_the_partition_goes_on() -> Result<()> {
    let installation = Installation::new("dead-letters")?;
    let (codec, events) = (installation.codec()?, installation.topic(Topic::Events));
    let good = codec.to_bytes(&PairKey::new("A", "USD", "test"));
    let bad = bad_records(&codec)?;
    let mut records = vec![(good.clone(), Some(codec.to_bytes(&trade(1))))];
    records.extend(bad.iter().map(|(_, key, value)| (key.clone(), value.clone())));
    records.push((good, Some(codec.to_bytes(&trade(2)))));
    let mut member = installation.member("one", &[])?;
    installation.write(Topic::Events, 2, &records)?;
    installation.caught_up(&mut [&mut member])?;

    let letters = installation.read(Topic::DeadLetters)?;
    ensure!(letters.len() == bad.len(), "{letters:?}");
    for ((offset, (reason, key, value)), letter) in (1..).zip(&bad).zip(&letters) {
        let header = |name: &str| letter.headers.get(name).map(String::as_str);
        let said = ["topic", "partition", "offset", "reason"].map(header);
        let offset = format!("{offset}");
        let expected = [&events, "2", &offset, reason].map(Some);
        ensure!(said == expected, "{said:?} is not {expected:?}");
        ensure!((&letter.key, &letter.value) == (key, value), "{letter:?} is not as it came");
    }
    let mut counts = BTreeMap::<String, usize>::new();
    for (reason, ..) in &bad {
        let name = format!("processor_records_dropped_total{{reason=\"{reason}\"}}");
        *counts.entry(name).or_default() += 1;
    }
    // Readers may see a commit before the member has its answer.
    wait_until(&format!("the metrics to be {counts:?}"), BOUND, || {
        let metrics = member.metrics()?;
        let is_counted =
            |(name, count): (&String, &usize)| metrics.get(name) == Some(&count.to_string());
        Ok(counts.iter().all(is_counted).then_some(()))
    })?;
    let mut outputs = Outputs::default();
    outputs.add(&codec, Topic::Ohlc1m, &installation.read(Topic::Ohlc1m)?)?;
    let trades: Vec<_> = outputs.minutes.values().map(|(_, candle)| candle.trades).collect();
    ensure!(trades == [2], "the good ones before and after: {:?}", outputs.minutes);
    installation.finish_with([member])
}

/// Registers a schema under a subject of the test's own; returns its id.
fn register(installation: &Installation, subject: &str, schema: &Value) -> Result<i32> {
    let subject = format!("{}{subject}", installation.prefix);
    let url = format!("{}/subjects/{subject}/versions", installation.stack.registry);
    let body = json!({"schemaType": "AVRO", "schema": schema.to_string()});
    let answer = reqwest::blocking::Client::new().post(url).json(&body).send()?;
    let answer: Value = answer.error_for_status()?.json()?;
    Ok(i32::try_from(answer["id"].as_i64().context("an id")?)?)
}

#[test]
fn older_and_newer_writers_are_read_by_schema_resolution() -> Result<()> {
    let installation = Installation::new("writers")?;
    let codec = installation.codec()?;
    let ours: Value = serde_json::from_str(Kind::MarketEvent.schema())?;
    let fields = ours["fields"].as_array().context("fields")?;
    let (mut old, mut new) = (ours.clone(), ours.clone());
    let required = fields.iter().filter(|field| field.get("default").is_none());
    let kept = required.chain(fields.iter().filter(|field| field["name"] == "size"));
    old["fields"] = kept.cloned().collect();
    let venue_note = json!({"name": "note", "type": "string", "default": ""});
    new["fields"] = [venue_note].into_iter().chain(fields.iter().cloned()).collect();
    let wire = |id: i32, body: &[u8]| [&[0][..], &id.to_be_bytes(), body].concat();

    // By an older writer: what is required, and then the size.
    let mut body = Vec::new();
    avro::decimal(&mut body, "7.5".parse()?);
    for time in [TIME, TIME] {
        avro::long(&mut body, time);
    }
    avro::long(&mut body, Basis::Trade as i64);
    avro::optional(&mut body, Some("2".parse()?), avro::decimal);
    let older = wire(register(&installation, "older-value", &old)?, &body);
    // By a newer one: a field that we do not know, and then all that we know.
    let mut body = Vec::new();
    avro::string(&mut body, "an auction");
    trade(2).write(&mut body);
    let newer = wire(register(&installation, "newer-value", &new)?, &body);

    let key = codec.to_bytes(&PairKey::new("A", "USD", "test"));
    let records = [(key.clone(), Some(older)), (key, Some(newer))];
    installation.write(Topic::Events, 1, &records)?;
    let mut member = installation.member("one", &[])?;
    installation.caught_up(&mut [&mut member])?;
    let outputs = installation.outputs_equal_the_fold()?;
    ensure!(outputs.dead_letters.is_empty(), "{outputs:?}");
    let (_, candle) = outputs.minutes.values().next().context("no candle")?;
    ensure!(candle.trades == 2 && candle.base_volume == Some("3".parse()?), "{candle:?}");
    ensure!([candle.open, candle.close] == ["7.5".parse()?, Decimal::ONE], "{candle:?}");
    installation.finish_with([member])
}
