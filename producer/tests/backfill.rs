//! Trades that the socket never sends, fetched over each venue's requests: marked, found, and the
//! mark taken back. The real feed and the real fetching against the simulators; candles by the
//! product's topology.

#[expect(dead_code, reason = "venues.rs uses all of it")]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use processor::topology::{Named, topology};
use producer::labels::GaveUp;
use producer::metrics::Metrics;
use schemas::topic::Topic;
use schemas::{Basis, Candle, CandleKey, Codec, PairKey, Status};
use simulator::faults::Faults;
use streams::Driver;
use support::{Bench, Setup, gap_marks as gaps};
use venues::Venue;
use venues::pipeline::Output;

/// Gaps of a run.
const GAPS: usize = 6;

type Ids = BTreeSet<(PairKey, i64)>;

/// What a run gave.
struct Run {
    outputs: Vec<Output>,
    /// What the market made, by base.
    made: BTreeMap<String, Vec<(i64, String)>>,
    metrics: Arc<Metrics>,
    /// Requests that were one too many, and those that came before they were welcome again.
    refused: (u64, u64),
}

/// A run of a venue with faults until `enough` gaps are marked; then the market stands still until
/// each of them is filled or given up.
async fn run(venue: Venue, rate: u32, faults: Faults, enough: usize) -> anyhow::Result<Run> {
    let setup = Setup { seed: 11, rate, faults, fetches: true, ..Setup::of(venue)? };
    let mut live = Bench::start(setup).await?;
    let metrics = Arc::clone(&live.metrics);
    let mut outputs = live.until(|seen| gaps(seen) >= enough).await?;
    live.simulator.halt();
    let before = lost(&outputs).len();
    let after = live
        .until(|seen| {
            // Whatever is looked for is counted when it has ended.
            let missing = (before + lost(seen).len()) as u64;
            let ended = backfilled(&metrics, venue) + given_up(&metrics, venue);
            ended >= missing
        })
        .await?;
    outputs.extend(after);
    let (made, refused) = (live.made()?, live.simulator.refused());
    outputs.extend(live.stop().await?);
    Ok(Run { outputs, made, metrics, refused })
}

/// The venues whose missed trades are fetched.
fn venues() -> impl Iterator<Item = Venue> {
    Venue::ALL.into_iter().filter(|venue| venue.adapter().history.is_some())
}

fn backfilled(metrics: &Metrics, venue: Venue) -> u64 {
    metrics.recovery.backfilled.with_label_values(&[venue.as_str()]).get()
}

fn gave_up(metrics: &Metrics, venue: Venue, why: GaveUp) -> u64 {
    let labels = [venue.as_str(), why.as_str()];
    metrics.recovery.backfill_given_up.with_label_values(&labels).get()
}

/// Gaps that were given up, for whatever reason.
fn given_up(metrics: &Metrics, venue: Venue) -> u64 {
    GaveUp::ALL.into_iter().map(|why| gave_up(metrics, venue, why)).sum()
}

fn trade_id(output: &Output) -> Option<(PairKey, i64)> {
    match output {
        Output::Event { pair, event } if event.basis == Basis::Trade => {
            Some((pair.clone(), event.trade_id?))
        }
        _ => None,
    }
}

/// The ids that the marks say are missing.
fn lost(outputs: &[Output]) -> Ids {
    let mut lost = Ids::new();
    for output in outputs {
        if let Output::Gap { pair, mark } = output
            && let (Some(first), Some(count)) = (mark.first_missing_id, mark.missing)
        {
            lost.extend((first..first + count).map(|id| (pair.clone(), id)));
        }
    }
    lost
}

/// Every trade that the market made is there as it was made, from the first to the newest that came,
/// less `absent`; how often each is there.
fn agree(run: &Run, absent: &Ids) -> anyhow::Result<BTreeMap<(PairKey, i64), usize>> {
    let mut counts = BTreeMap::new();
    let mut prices: BTreeMap<PairKey, BTreeMap<i64, String>> = BTreeMap::new();
    for output in &run.outputs {
        if let (Output::Event { pair, event }, Some(id)) = (output, trade_id(output)) {
            *counts.entry(id.clone()).or_default() += 1;
            let known = prices.entry(pair.clone()).or_default();
            let price = event.price.to_string();
            let same = known.insert(id.1, price.clone()).is_none_or(|before| before == price);
            ensure!(same, "{pair} {} came with two prices", id.1);
        }
    }
    ensure!(prices.len() == 2, "trades of {:?}", prices.keys());
    for (pair, published) in prices {
        let (first, last) = (published.keys().min().copied(), published.keys().max().copied());
        let range = first.context("no trade")?..=last.context("no trade")?;
        let made = run.made.get(&pair.base).context("nothing was made")?;
        let mut expected = BTreeMap::new();
        for (id, price) in made {
            if range.contains(id) && !absent.contains(&(pair.clone(), *id)) {
                expected.insert(*id, price.parse::<schemas::Decimal>()?.to_string());
            }
        }
        ensure!(expected.len() > 30, "{} trades of {pair}", expected.len());
        ensure!(expected == published, "{pair}: made {expected:?}, published {published:?}");
    }
    Ok(counts)
}

/// The newest candles of each tier that a log gives, without the ids that they counted.
fn candles(outputs: &[Output]) -> anyhow::Result<BTreeMap<(Topic, CandleKey), Candle>> {
    let codec = Arc::new(Codec::offline());
    let mut driver = Driver::new(topology(&codec, "", Named::Prices.into())?)?;
    for output in outputs {
        let (key, value) = match output {
            Output::Event { pair, event } => (pair.clone(), codec.to_bytes(event)),
            Output::Gap { pair, mark } => (pair.clone(), codec.to_bytes(mark)),
            Output::Mark { exchange, mark } => (PairKey::feed(*exchange), codec.to_bytes(mark)),
            // Of another topic.
            Output::Ticker { .. } | Output::Instrument { .. } | Output::TickerClock { .. } => {
                continue;
            }
            other => anyhow::bail!("{other:?}"),
        };
        driver.pipe(&Topic::Events.name(""), 0, &codec.to_bytes(&key), Some(&value))?;
    }
    driver.commit()?;
    anyhow::ensure!(driver.dead_letters().is_empty(), "{:?}", driver.dead_letters());
    let mut newest = BTreeMap::new();
    for topic in [Topic::Ohlc1m, Topic::Ohlc1h, Topic::Ohlc1d] {
        for output in driver.output(&topic.name("")) {
            let candle: Candle = codec.decode(output.value.as_deref().context("a tombstone")?)?;
            let key: CandleKey = codec.decode(&output.key)?;
            let mut candle = Candle { seen: Vec::new(), ..candle };
            if key.basis == Basis::Ticker {
                // What has no id is told apart by its offset, which a gap's mark before it moves.
                (candle.open_tie, candle.close_tie) = Default::default();
            }
            newest.insert((topic, key), candle);
        }
    }
    Ok(newest)
}

/// The same log without the fault: each hidden trade where its gap's mark is.
fn without_fault(outputs: &[Output], lost: &Ids) -> Vec<Output> {
    let whole: BTreeMap<(PairKey, i64), &Output> =
        outputs.iter().filter_map(|output| Some((trade_id(output)?, output))).collect();
    let mut clean = Vec::new();
    for output in outputs {
        match output {
            Output::Gap { .. } => {
                let hidden = self::lost(std::slice::from_ref(output));
                clean.extend(hidden.iter().filter_map(|id| whole.get(id)).map(|o| (*o).clone()));
            }
            output if trade_id(output).is_some_and(|id| lost.contains(&id)) => {}
            output => clean.push(output.clone()),
        }
    }
    clean
}

/// Hidden trades are marked, fetched although one request in four is one too many, and published as
/// they were made, each once; the candles are those of the same log without the fault.
async fn fills(venue: Venue) -> anyhow::Result<()> {
    let faults = Faults {
        skip_every: Some(40),
        limit_requests_every: Some(4),
        retry_after: Duration::from_secs(1),
        ..Faults::default()
    };
    let run = run(venue, 40, faults, GAPS).await?;
    let counts = agree(&run, &Ids::new())?;
    let often: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    ensure!(often.is_empty(), "not once: {often:?}");
    let (outputs, lost) = (&run.outputs[..], lost(&run.outputs));
    ensure!(lost.len() >= GAPS && given_up(&run.metrics, venue) == 0, "{} were lost", lost.len());
    ensure!(backfilled(&run.metrics, venue) == lost.len() as u64);
    ensure!(run.refused.0 > 0 && run.refused.1 == 0, "refused, impatient: {:?}", run.refused);
    let clean = without_fault(outputs, &lost);
    ensure!(clean.len() == outputs.len() - gaps(outputs));
    // Without what was fetched the marks stay.
    let live = |output: &&Output| trade_id(output).is_none_or(|id| !lost.contains(&id));
    let unfilled: Vec<Output> = outputs.iter().filter(live).cloned().collect();
    let marked = candles(&unfilled)?;
    let missing = marked.values().filter_map(|candle| candle.missing_trades).max();
    ensure!(marked.values().any(|candle| candle.gap) && missing >= Some(1), "{missing:?}");
    // With it they are gone, and the candles are those of the log without the fault.
    let plain = |candles: BTreeMap<(Topic, CandleKey), Candle>| -> Vec<_> {
        let same = |candle| Candle { status: Status::Open, revision: 0, ..candle };
        candles.into_iter().map(|(key, candle)| (key, same(candle))).collect()
    };
    assert_eq!(plain(candles(outputs)?), plain(candles(&clean)?), "{venue}");
    Ok(())
}

/// Checks each venue beside the others.
async fn each<F>(check: fn(Venue) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let all: Vec<_> = venues().map(|venue| (venue, tokio::spawn(check(venue)))).collect();
    for (venue, one) in all {
        one.await?.with_context(|| venue.to_string())?;
    }
    Ok(())
}

#[tokio::test]
async fn each_venue_fills_what_its_socket_hid() -> anyhow::Result<()> {
    each(fills).await
}

/// What was traded while a connection was made again is all there.
async fn reconnects(venue: Venue) -> anyhow::Result<()> {
    // The last fifty trades come with a subscription at Kraken: it needs hidden ones for a gap. The
    // third is after the first cut: two of one product are five hundred trades of it apart.
    let skip_every = (venue == Venue::Kraken).then_some(500);
    let faults = Faults { disconnect_every: Some(600), skip_every, ..Faults::default() };
    let run = run(venue, 400, faults, 3).await?;
    agree(&run, &Ids::new())?;
    ensure!(given_up(&run.metrics, venue) == 0, "given up");
    let causes = ["lost", "closed"];
    let cuts = causes
        .map(|cause| run.metrics.reconnects.with_label_values(&[venue.as_str(), cause]).get());
    ensure!(cuts.iter().sum::<u64>() >= 1, "it was not cut");
    Ok(())
}

#[tokio::test]
async fn what_was_traded_between_two_connections_is_fetched() -> anyhow::Result<()> {
    each(reconnects).await
}

/// Every other one of the hidden trades is in no answer.
async fn gives_up(venue: Venue) -> anyhow::Result<()> {
    let faults = Faults { skip_every: Some(40), forget_every: Some(80), ..Faults::default() };
    let run = run(venue, 40, faults, 4).await?;
    let lost = lost(&run.outputs);
    let absent: Ids = lost.iter().filter(|(_, id)| id % 80 == 0).cloned().collect();
    ensure!(!absent.is_empty() && absent.len() < lost.len(), "{} of {}", absent.len(), lost.len());
    agree(&run, &absent)?;
    ensure!(gave_up(&run.metrics, venue, GaveUp::Absent) == absent.len() as u64);
    ensure!(given_up(&run.metrics, venue) == absent.len() as u64);
    ensure!(backfilled(&run.metrics, venue) == (lost.len() - absent.len()) as u64);
    Ok(())
}

#[tokio::test]
async fn what_a_venue_does_not_have_is_looked_for_given_up_and_counted() -> anyhow::Result<()> {
    each(gives_up).await
}

/// Each request is one too many, as often as it is made, until `enough`; what becomes of the gaps.
async fn refused(
    venue: Venue,
    enough: impl Fn(&[Output], &Metrics) -> bool,
) -> anyhow::Result<Arc<Metrics>> {
    let faults =
        Faults { skip_every: Some(40), limit_requests_every: Some(1), ..Faults::default() };
    let setup = Setup { rate: 40, faults, fetches: true, ..Setup::of(venue)? };
    let mut live = Bench::start(setup).await?;
    let metrics = Arc::clone(&live.metrics);
    let mut outputs = live.until(|seen| enough(seen, &metrics)).await?;
    outputs.extend(live.stop().await?);
    ensure!(backfilled(&metrics, venue) == 0);
    ensure!(given_up(&metrics, venue) == gaps(&outputs) as u64, "{} gaps", gaps(&outputs));
    Ok(metrics)
}

#[tokio::test]
async fn what_a_venue_refuses_over_and_over_is_given_up_and_counted() -> anyhow::Result<()> {
    let failed = |metrics: &Metrics| gave_up(metrics, Venue::Coinbase, GaveUp::Failed);
    let metrics = refused(Venue::Coinbase, |_, metrics| failed(metrics) >= 1).await?;
    ensure!(failed(&metrics) >= 1);
    Ok(())
}

#[tokio::test]
async fn what_still_waits_at_the_end_is_given_up_and_counted() -> anyhow::Result<()> {
    for venue in venues() {
        let metrics = refused(venue, |seen, _| gaps(seen) >= 2).await?;
        ensure!(gave_up(&metrics, venue, GaveUp::Stopped) >= 1, "{venue}");
    }
    Ok(())
}
