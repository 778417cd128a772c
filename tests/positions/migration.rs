//! The application moves to topics with another number of partitions, and goes on as if it had always been
//! there.

use anyhow::{Context as _, Result, ensure};
use schemas::topic::Topic;
use schemas::{Codec, FeedMark, PairKey, Timestamp};
use streams::partitioner::partition;
use tests::support::fold::fold;
use tests::support::outputs::Outputs;
use tests::support::process::Said;
use tests::support::topics::Record;
use tests::support::{Installation, soon};

use super::refuses;

/// Before the move: seven minutes of event time.
const BEFORE: [&str; 9] = [
    "load",
    "--events",
    "4000",
    "--keys",
    "40",
    "--event-rate",
    "10",
    "--start-ms",
    "1700000000000",
];
/// After it: in the last of these minutes, and on.
const AFTER: [&str; 11] = [
    "load",
    "--events",
    "4000",
    "--keys",
    "40",
    "--event-rate",
    "10",
    "--start-ms",
    "1700000400000",
    "--seed",
    "2",
];
const START: i64 = 1_700_000_000_000;
/// The exchange of the load.
const EXCHANGE: &str = "load";
/// Partitions before and after. Each new one has pairs of all old ones.
const PARTITIONS: [i32; 2] = [4, 3];

/// A clock mark of the exchange with a gap, for each partition.
fn mark(installation: &Installation, codec: &Codec, span: [i64; 2], partitions: i32) -> Result<()> {
    let [from, until] = span.map(|seconds| Timestamp(START + seconds * 1_000));
    let mark = FeedMark {
        healthy_from: Some(from),
        gap_from: Some(Timestamp(until.0 - 70_000)),
        gap_until: Some(Timestamp(until.0 - 65_000)),
        reason: "test".into(),
        ..FeedMark::healthy("1", until, until)
    };
    let row = (codec.to_bytes(&PairKey::feed(EXCHANGE)), Some(codec.to_bytes(&mark)));
    (0..partitions)
        .try_for_each(|one| installation.write(Topic::Events, one, std::slice::from_ref(&row)))
}

fn migrate(from: &Installation, to: &Installation, further: &[&str]) -> Result<Said> {
    let (partitions, groups) =
        (PARTITIONS[1].to_string(), [from, to].map(Installation::application_id));
    let own = ["migrate", "--partitions", &partitions, "--to-prefix", &to.prefix];
    let groups = ["--application-id", &groups[0], "--to-application-id", &groups[1]];
    from.command("processor", &[&own[..], &groups, &from.addresses(), further].concat())?.outcome()
}

/// The records of the old `events` as they would stand in as many partitions as the new ones: the mark
/// follows the events of all.
fn moved(codec: &Codec, records: Vec<Record>) -> Result<Vec<Record>> {
    let feed = codec.to_bytes(&PairKey::feed(EXCHANGE));
    let (marks, mut events): (Vec<_>, Vec<_>) =
        records.into_iter().partition(|one| one.key == feed);
    for event in &mut events {
        event.partition = partition(&event.key, PARTITIONS[1]).0;
    }
    ensure!(marks.len() == usize::try_from(PARTITIONS[0])?, "a mark is missing");
    events.extend(marks.into_iter().filter(|one| one.partition < PARTITIONS[1]));
    Ok(events)
}

#[test]
fn an_application_with_other_partitions_goes_on_where_the_old_one_stopped() -> Result<()> {
    let (old, new) = (Installation::new("migrate")?, Installation::without_topics("migrated")?);
    let codec = old.codec()?;
    let mut member = old.ready_member("one", &[])?;
    old.produce(&BEFORE)?;
    mark(&old, &codec, [0, 390], PARTITIONS[0])?;
    old.caught_up(&mut [&mut member])?;
    old.outputs_equal_the_fold()?;
    refuses(&migrate(&old, &new, &["--yes"])?, &["does not take its offsets", "stop its members"])?;
    member.stop()?;

    // Without the flag it says what it would do.
    let said = migrate(&old, &new, &[])?;
    ensure!(said.code == Some(0) && said.out.contains("not done"), "{said:?}");
    ensure!(
        said.out.contains(&format!("topic {}: created, 3", new.topic(Topic::Ohlc1m))),
        "{said:?}"
    );
    let mut last = String::new();
    soon("the group to be without members", || {
        let said = migrate(&old, &new, &["--yes"])?;
        last.clone_from(&said.log);
        Ok(said.code == Some(0) && said.out.contains("records copied and compared"))
    })
    .context(last)?;
    refuses(&migrate(&old, &new, &["--yes"])?, &["it was migrated or has begun", "--to-prefix"])?;

    // The new topics hold what the old ones did, and the members go on there.
    let mut member = new.ready_member("two", &[])?;
    new.produce(&AFTER)?;
    mark(&new, &codec, [390, 760], PARTITIONS[1])?;
    new.caught_up(&mut [&mut member])?;
    let mut events = moved(&codec, old.read(Topic::Events)?)?;
    events.extend(new.read(Topic::Events)?);
    let (expected, mut actual) = (fold(&codec, &events)?, Outputs::default());
    for topic in [Topic::Latest, Topic::Ohlc1m, Topic::Ohlc1h, Topic::Ohlc1d] {
        actual.add(&codec, topic, &new.read(topic)?)?;
    }
    actual.equals(&expected)?;
    let marked = actual.minutes.values().filter(|(_, candle)| candle.gap).count();
    ensure!(marked > 40, "gaps of before and after are in {marked} minutes");
    ensure!(actual.latest.len() == 40, "{} pairs", actual.latest.len());

    // Records that no member has processed would be lost.
    old.produce(&AFTER)?;
    let third = Installation::without_topics("migrated-late")?;
    refuses(
        &migrate(&old, &third, &["--yes"])?,
        &["has not processed 4000 records", "stop the producers"],
    )?;
    third.finish()?;
    old.finish()?;
    new.finish_with([member])
}
