//! Every venue under every fault, with a real Kafka behind: simulators, producers and a member as
//! users start them.
//!
//! In each round the four venues have the same fault, and beside them a fifth feed has none. After
//! it, for each pair, what is in `events` is what its simulator traded, less what marks say is
//! missing and did not come later; a mark names exactly the ids that are not between its
//! neighbours; candles hold each trade once; and the fifth feed, though of a venue that lost trades
//! elsewhere, has candles without a blemish. `VENUE_FAULTS=all` is every fault, and prints a table.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use schemas::topic::Topic;
use schemas::{Basis, PairKey};
use tests::support::outputs::{Outputs, origin, set_apart};
use tests::support::topics::Record;
use tests::support::venue::{Follower, Published, Simulated, agree, published};
use tests::support::{Installation, wait_until};
use venues::Venue;

/// Trades of each venue, two products together, after which a round has seen enough.
const ENOUGH: f64 = 500.0;
/// A round that has not seen it by then has failed.
const ROUND: Duration = Duration::from_mins(2);
/// Fetching what was missed goes at the pace that venues allow.
const FILLED: Duration = Duration::from_mins(5);
/// Trades a second: gaps come at a pace at which they can be filled.
const RATE: [&str; 2] = ["--rate", "150"];
/// The product whose feed nothing happens to, and its venue.
const UNTOUCHED: (Venue, &str) = (Venue::Coinbase, "SOL-USD");
/// Faults without `VENUE_FAULTS=all`: an interruption, a silent loss, and bytes that are none.
const FEW: [&str; 3] = ["drop", "gap in ids", "malformed"];

/// What goes wrong, how it is asked for, and what it must have shown.
struct Fault {
    name: &'static str,
    simulator: &'static [&'static str],
    producer: &'static [&'static str],
    /// A metric of the producer that must have counted, with its labels.
    shows: Option<(&'static str, &'static str)>,
    /// What is lost is beyond doubt: ids are missing at every venue.
    loses: bool,
}

const RECONNECTS: &str = "producer_reconnects_total";

const fn fault(name: &'static str, simulator: &'static [&'static str]) -> Fault {
    Fault { name, simulator, producer: &[], shows: None, loses: false }
}

const fn cut(
    name: &'static str,
    simulator: &'static [&'static str],
    producer: &'static [&'static str],
    cause: &'static str,
) -> Fault {
    Fault { name, simulator, producer, shows: Some((RECONNECTS, cause)), loses: false }
}

const STALE: &[&str] = &["--stale-after", "1s"];

const FAULTS: [Fault; 12] = [
    fault("nothing", &[]),
    cut("drop", &["--disconnect-every", "120"], &[], "cause=\"lost\""),
    cut("silence", &["--silence-every", "200", "--silence", "5m"], STALE, "cause=\"stale\""),
    cut("half-open socket", &["--half-open-every", "200"], STALE, "cause=\"stale\""),
    fault("slow", &["--slow", "3ms"]),
    Fault { loses: true, ..fault("reorder", &["--reorder-every", "40"]) },
    fault("duplicate", &["--repeat-every", "7"]),
    Fault { loses: true, ..fault("gap in ids", &["--skip-every", "60"]) },
    Fault {
        shows: Some(("producer_dead_letters_total", "not_json")),
        ..fault("malformed", &["--malformed-every", "20"])
    },
    // Kraken says how long it is to be left alone, and is.
    cut("maintenance", &["--maintenance-every", "200"], &[], "cause="),
    cut("refused subscription", &["--refuse-first", "2"], &[], "cause=\"refused\""),
    cut("429", &["--limit-first", "2"], &[], "cause=\"limited\""),
];

/// The venues whose trade ids tell what is missing.
fn venues() -> impl Iterator<Item = Venue> {
    Venue::ALL.into_iter().filter(|venue| venue.adapter().dense_trade_ids)
}

/// A venue and who follows it.
struct Feed {
    venue: Venue,
    simulated: Simulated,
    follower: Follower,
}

impl Feed {
    fn trades(&mut self) -> Result<f64> {
        self.follower.metric("producer_events_parsed_total", "basis=\"TRADE\"")
    }
}

fn started(installation: &Installation, fault: &Fault) -> Result<Vec<Feed>> {
    let flags = [&RATE[..], fault.simulator].concat();
    let mut feeds = Vec::new();
    for (seed, venue) in (100..).zip(venues()) {
        let simulated = simulator::Venue::parse(venue.as_str()).context("it is not simulated")?;
        let products = simulated.majors();
        let simulated = Simulated::start(installation, venue, &products, seed, &flags)?;
        let follower = simulated.follow(installation, fault.producer)?;
        feeds.push(Feed { venue, simulated, follower });
    }
    let (venue, product) = UNTOUCHED;
    let simulated = Simulated::start(installation, venue, &[product], 99, &["--rate", "40"])?;
    // A machine that stands still for seconds is no venue that is silent.
    let follower = simulated.follow(installation, &["--stale-after", "2m"])?;
    feeds.push(Feed { venue, simulated, follower });
    Ok(feeds)
}

/// Waits until what is marked as missing by now has come, at venues where it is fetched.
fn filled(installation: &Installation, feeds: &mut [Feed]) -> Result<()> {
    let codec = installation.codec()?;
    let before = published(&codec, &installation.read(Topic::Events)?);
    // A mark may stand at the end of the log, before the trade that proves it.
    let Ok(before) = before else { return Ok(()) };
    for feed in feeds {
        let fetched = feed.follower.metric("producer_backfilled_trades_total", "")?;
        if feed.venue != Venue::Coinbase && fetched == 0.0 {
            continue;
        }
        let pairs = feed.simulated.pairs()?;
        let wanted = before.iter().filter(|(pair, _)| pairs.contains(pair));
        let wanted: BTreeMap<_, _> = wanted.map(|(pair, of)| (pair, &of.marked)).collect();
        wait_until("what was missed to be fetched", FILLED, || {
            let now = installation.read(Topic::Events)?;
            let Ok(now) = published(&codec, &now) else { return Ok(None) };
            let has = |(pair, ids): (&&PairKey, &&BTreeSet<i64>)| {
                now.get(*pair).is_some_and(|of| ids.is_subset(&of.filled))
            };
            Ok(wanted.iter().all(has).then_some(()))
        })
        .with_context(|| format!("{}", feed.venue))?;
    }
    Ok(())
}

/// A round's outcome for one venue, as a row.
fn row(
    name: &str,
    feed: &Feed,
    events: &BTreeMap<PairKey, Published>,
    outputs: &Outputs,
) -> Result<(String, usize)> {
    let nothing = Published::default();
    let of = |pair: &PairKey| events.get(pair).unwrap_or(&nothing);
    let pairs = feed.simulated.pairs()?;
    let last = |pair: &PairKey| Some((pair.clone(), *of(pair).trades.keys().next_back()?));
    let made = feed.simulated.made(&pairs.iter().filter_map(last).collect())?;
    let (mut count, mut sums) = (0, [0; 6]);
    for pair in &pairs {
        let (of, made) = (of(pair), made.get(pair).context("no market")?);
        count += agree(of, made, feed.venue == Venue::Deribit)
            .with_context(|| format!("{name}, {pair}"))?;
        let minutes = outputs.minutes.iter();
        let own = minutes.filter(|(key, _)| key.pair == *pair && key.basis == Basis::Trade);
        let (trades, missing) = own.fold((0, 0), |(trades, missing), (_, (_, candle))| {
            (trades + candle.trades, missing + candle.missing_trades.unwrap_or(0))
        });
        let distinct = i64::try_from(of.trades.len())?;
        ensure!(trades == distinct, "{name}, {pair}: {trades} in candles, {distinct} in events");
        let unfilled = i64::try_from(of.unfilled())?;
        // A gap over the end of a minute is one of both minutes.
        ensure!((missing == 0) == (unfilled == 0), "{name}, {pair}: candles miss {missing}");
        let parts = [of.trades.len(), of.again, of.marks, of.marked.len(), of.filled.len()];
        sums.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
        sums[5] += of.unfilled();
    }
    let [trades, again, marks, marked, filled, unfilled] = sums;
    let venue = feed.venue;
    let row = format!(
        "| {venue} | {name} | {count} | {trades} | {again} | {marks} | {marked} | {filled} | {unfilled} |"
    );
    Ok((row, marked))
}

fn untouched(feed: &Feed, events: &BTreeMap<PairKey, Published>, outputs: &Outputs) -> Result<()> {
    let pair = feed.simulated.pairs()?.into_iter().next().context("no product")?;
    let of = events.get(&pair).context("it has no events")?;
    ensure!(of.marks == 0 && of.again == 0, "{pair} was touched: {} marks", of.marks);
    let own = outputs.minutes.iter().filter(|(key, _)| key.pair == pair);
    let mut trades = 0;
    for (key, (_, candle)) in own {
        // It may be revised: its exchange's clock is also that of the feed with the fault.
        let whole = !candle.gap && candle.missing_trades.unwrap_or(0) == 0;
        ensure!(whole, "{pair} was touched: {key:?} {candle:?}");
        trades += if key.basis == Basis::Trade { candle.trades } else { 0 };
    }
    ensure!(trades == i64::try_from(of.trades.len())?, "{pair}: {trades} in its candles");
    Ok(())
}

/// The outputs, which are what a fold says; frames that cannot be read are set apart by producers.
fn outputs(installation: &Installation, fault: &Fault) -> Result<Outputs> {
    let (actual, mut expected) = installation.actual_and_expected()?;
    let letters = installation.read(Topic::DeadLetters)?;
    let source = |of: &&Record| of.headers.get("source").is_some_and(|source| source == "producer");
    let unread: Vec<&Record> = letters.iter().filter(source).collect();
    let (count, malformed) = (unread.len(), fault.name == "malformed");
    ensure!((count > 0) == malformed, "{}: {count} frames could not be read", fault.name);
    for letter in unread {
        set_apart(&mut expected.dead_letters, origin(letter));
    }
    actual.equals(&expected)?;
    Ok(actual)
}

/// All venues with one fault; a row for each.
fn round(fault: &Fault) -> Result<Vec<String>> {
    let installation = Installation::new("venues")?;
    let mut member = installation.member("one", &[])?;
    let mut feeds = started(&installation, fault)?;
    let count = venues().count();
    wait_until("every venue to have traded, and its fault to have shown", ROUND, || {
        for feed in &mut feeds[..count] {
            let shown = match fault.shows {
                Some((metric, labels)) => feed.follower.metric(metric, labels)?,
                None => 1.0,
            };
            if shown == 0.0 || feed.trades()? < ENOUGH {
                return Ok(None);
            }
        }
        Ok((feeds[count].trades()? > 0.0).then_some(()))
    })?;
    filled(&installation, &mut feeds)?;
    for feed in &mut feeds {
        feed.follower.stop().with_context(|| format!("{}, {}", fault.name, feed.venue))?;
    }
    installation.caught_up(&mut [&mut member])?;
    let outputs = outputs(&installation, fault)?;
    let events = published(&installation.codec()?, &installation.read(Topic::Events)?)?;
    let mut rows = Vec::new();
    for feed in &feeds[..count] {
        let (row, marked) = row(fault.name, feed, &events, &outputs)?;
        ensure!(!fault.loses || marked > 0, "{}, {}: nothing was lost", fault.name, feed.venue);
        rows.push(row);
    }
    untouched(&feeds[count], &events, &outputs).context(fault.name)?;
    member.stop()?;
    installation.finish()?;
    Ok(rows)
}

#[expect(clippy::print_stdout, reason = "the table is what it is run for")]
fn print(rows: &[String]) {
    println!(
        "\n| venue | fault | made | in events | again | marks | marked | filled | still missing |\n\
         |---|---|---|---|---|---|---|---|---|\n{}\n",
        rows.join("\n")
    );
}

#[test]
fn what_is_in_events_is_what_was_traded_less_what_is_marked() -> Result<()> {
    let all = std::env::var("VENUE_FAULTS").is_ok_and(|which| which == "all");
    let mut rows = Vec::new();
    for fault in FAULTS.iter().filter(|fault| all || FEW.contains(&fault.name)) {
        match round(fault).with_context(|| fault.name) {
            Ok(more) => rows.extend(more),
            Err(error) => {
                print(&rows);
                return Err(error);
            }
        }
    }
    print(&rows);
    Ok(())
}
