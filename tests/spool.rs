//! Kafka goes away under load, and the producer is killed in the middle of it: with `--spool-dir`
//! nothing that was on disk is lost, and each pair's trades come in their order.
//!
//! A target of its own: it stops the Kafka that all others use. `OUTAGE_SECONDS` makes it longer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use producer::sink::parcel::{Parcel, Target};
use producer::sink::spool::Spool;
use schemas::topic::Topic;
use schemas::{Codec, Kind, MarketEvent, PairKey};
use tests::support::down::Down;
use tests::support::topics::Record;
use tests::support::venue::{Made, Simulated};
use tests::support::{Installation, wait_until};
use venues::Venue;

/// The outage unless `OUTAGE_SECONDS` says otherwise.
const SECONDS: u64 = 10;
/// Products, and trades a second over all of them.
const PRODUCTS: [&str; 8] =
    ["BTC-USD", "ETH-USD", "SOL-USD", "LTC-USD", "ADA-USD", "LINK-USD", "BCH-USD", "XLM-USD"];
const RATE: [&str; 2] = ["--rate", "1000"];
/// Trades before the outage.
const BEFORE: f64 = 2_000.0;
/// What a busy machine takes to catch up.
const PATIENCE: Duration = Duration::from_mins(3);
/// What is between the socket and the spool and dies with the process: the channel from feed to
/// sink, that to the backfill, and a frame being read.
const IN_MEMORY: f64 = 2.0 * 1024.0 + 64.0;
/// Records of a spool that only holds what has just come: a second of the load.
const DRAINED: f64 = 1_000.0;
const TRADES: (&str, &str) = ("producer_events_parsed_total", "basis=\"TRADE\"");

/// The trades of a pair that lie in a spool, in order.
type Spooled = BTreeMap<PairKey, Vec<i64>>;

/// A copy of a spool as the killed process left it, read to its end.
fn left(from: &Path, copy: &Path, codec: &Codec) -> Result<Spooled> {
    fs::create_dir_all(copy)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), copy.join(entry.file_name()))?;
    }
    let (mut spool, mut trades) = (Spool::open(copy, u64::MAX)?, Spooled::new());
    while let Some(record) = spool.peek()? {
        let parcel = Parcel::read(&record.bytes).context("a record of another version")?;
        if matches!(parcel.target, Target::Key(_))
            && codec.kind(parcel.value)? == Some(Kind::MarketEvent)
        {
            let event: MarketEvent = codec.decode(parcel.value)?;
            let pair = codec.decode(parcel.key)?;
            trades.entry(pair).or_default().extend(event.trade_id);
        }
        spool.advance();
    }
    Ok(trades)
}

/// Trade ids of each pair in the order of their records.
fn in_order(codec: &Codec, records: &[Record]) -> Result<Spooled> {
    let mut trades = Spooled::new();
    for record in records {
        let value = record.value.as_deref().context("a tombstone")?;
        if codec.kind(value)? == Some(Kind::MarketEvent) {
            let event: MarketEvent = codec.decode(value)?;
            let pair = codec.decode(&record.key)?;
            trades.entry(pair).or_default().extend(event.trade_id);
        }
    }
    Ok(trades)
}

/// The ids without those that were there before: what is sent again, and what was fetched.
fn ascending(ids: &[i64]) -> Vec<i64> {
    let mut order: Vec<i64> = Vec::new();
    for &id in ids {
        if order.last().is_none_or(|newest| id > *newest) {
            order.push(id);
        }
    }
    order
}

/// How many trades came, came again, were made and never came, and were made before the kill; what
/// was on disk is all there, and each pair's trades are in their order.
fn verified(found: &Spooled, left: &Spooled, made: &BTreeMap<PairKey, Made>) -> Result<[usize; 4]> {
    let (mut distinct, mut again, mut unread, mut before_kill) = (0, 0, 0, 0);
    for (pair, ids) in found {
        let all: BTreeSet<i64> = ids.iter().copied().collect();
        let spooled = left.get(pair).context("a pair had nothing on disk")?;
        let lost: Vec<_> = spooled.iter().filter(|id| !all.contains(id)).collect();
        ensure!(lost.is_empty(), "{pair}: {} of the spool were lost: {lost:?}", lost.len());
        let last = *spooled.iter().max().context("an empty spool")?;
        // As the feed read them: dense up to the kill, and again after it.
        let order = ascending(ids);
        // What a busy machine missed in between was fetched, and came later.
        let is_open = |two: &&[i64]| (two[0] + 1..two[1]).any(|id| !all.contains(&id));
        let holes: Vec<_> = order.windows(2).filter(is_open).collect();
        ensure!(
            holes.iter().all(|two| two[0] == last),
            "{pair}: holes {holes:?}, killed at {last}"
        );
        let made = made.get(pair).context("it was never made")?;
        ensure!(all.iter().all(|id| made.contains_key(id)), "{pair}: ids that nobody made");
        let (from, to) = (all.iter().min(), all.iter().max());
        let (from, to) = (from.context("no id")?, to.context("no id")?);
        unread += made.range(from..=to).filter(|(id, _)| !all.contains(id)).count();
        distinct += all.len();
        again += ids.len() - all.len();
        before_kill += all.range(..=last).count();
    }
    Ok([distinct, again, unread, before_kill])
}

#[test]
fn nothing_on_disk_is_lost_and_each_pair_keeps_its_order() -> Result<()> {
    let seconds = std::env::var("OUTAGE_SECONDS").ok().map(|text| text.parse()).transpose();
    let outage = Duration::from_secs(
        seconds.context("OUTAGE_SECONDS is a whole number")?.unwrap_or(SECONDS),
    );
    let installation = Installation::new("spool")?;
    let codec = installation.codec()?;
    let spool = installation.folder().join("spool");
    let shown = spool.to_string_lossy().into_owned();
    // A machine that stands still for seconds is no venue that is silent.
    let with_spool = ["--spool-dir", shown.as_str(), "--stale-after", "2m"];
    let simulated = Simulated::start(&installation, Venue::Coinbase, &PRODUCTS, 5, &RATE)?;
    let mut first = simulated.follow(&installation, &with_spool)?;
    wait_until("load", PATIENCE, || {
        Ok((first.metric(TRADES.0, TRADES.1)? >= BEFORE).then_some(()))
    })?;

    let kafka = Down::stop(&installation.stack, "kafka")?;
    let started = Instant::now();
    wait_until("half of the outage", outage * 2, || {
        first.process.alive()?;
        Ok((started.elapsed() >= outage / 2).then_some(()))
    })?;
    let waiting = first.metric("producer_spool_records", "")?;
    let read = first.metric(TRADES.0, TRADES.1)?;
    first.process.kill()?;
    let left = left(&spool, &installation.folder().join("copy"), &codec)?;
    let on_disk: usize = left.values().map(Vec::len).sum();
    ensure!(waiting > 0.0 && on_disk > 0, "the outage was not felt");

    // It comes back while Kafka is away, and goes on to spool.
    let mut second = simulated.follow(&installation, &with_spool)?;
    wait_until("the second half of the outage, and trades in it", outage * 2 + PATIENCE, || {
        let more = second.metric("producer_spool_records", "")? > waiting;
        Ok((more && started.elapsed() >= outage).then_some(()))
    })?;
    let spooled = second.metric("producer_spool_records", "")?;
    kafka.start()?;
    // Under load it is never empty for long; what is left goes when it is told to stop.
    wait_until("the spool to be drained", PATIENCE, || {
        Ok((second.metric("producer_spool_records", "")? < DRAINED).then_some(()))
    })?;
    second.stop()?;

    let records = installation.read(Topic::Events)?;
    let found = in_order(&codec, &records)?;
    let newest =
        found.iter().map(|(pair, ids)| Ok((pair.clone(), *ids.iter().max().context("no id")?)));
    let made = simulated.made(&newest.collect::<Result<_>>()?)?;
    let [distinct, again, unread, before_kill] = verified(&found, &left, &made)?;
    ensure!(found.len() == PRODUCTS.len(), "{} pairs", found.len());
    // Of what was read, no more died than stands between socket and disk.
    let died = read - f64::from(u32::try_from(before_kill)?);
    ensure!(died <= IN_MEMORY, "{died} trades were read and not on disk");
    print(&format!(
        "| {} | {} | {waiting} | {on_disk} | 0 | {spooled} | {distinct} | {again} | {unread} | kept |",
        outage.as_secs(),
        found.len()
    ));
    installation.finish()
}

#[expect(clippy::print_stdout, reason = "the table is what it is run for")]
fn print(row: &str) {
    println!(
        "\n| Kafka away, s | pairs | waiting at kill -9 | trades on disk | of them lost \
         | waiting at the end | distinct trades in events | sent again | made while no producer ran \
         | order per key |\n|---|---|---|---|---|---|---|---|---|---|\n{row}\n"
    );
}
