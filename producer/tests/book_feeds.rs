//! Every venue's order books under faults, over real sockets: the quotes are those that the simulated
//! venue showed, less exactly what is marked. A channel stands where Kafka is.

#[path = "../../tests/support/book_truth.rs"]
pub mod book_truth;
#[expect(dead_code, reason = "venues.rs uses all of it")]
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use book_truth::{BAD_ANSWERS, Case, Entry, NO_SNAPSHOT, Shown, cases, gaps};
use clap::Parser;
use producer::feed::RotationConfig;
use producer::feed::capture::Capture;
use producer::input::replay::Replay;
use producer::metrics::Metrics;
use schemas::{FeedMark, PairKey, Proof};
use simulator::book::settings::BookSettings;
use simulator::faults::Faults;
use support::{Bench, Setup};
use venues::pipeline::Output;
use venues::{Follow, Venue};

/// Quotes of each pair that a test waits for, at a venue that shows its book ten times a second.
const ENOUGH: usize = 40;

/// Quotes that a replacement of the connection may leave out: the machine may be busy.
const MAX_SKIPPED: usize = 100;

/// Two products of a venue and everything that it sends of them, books as well.
fn with_books(venue: Venue) -> anyhow::Result<Setup> {
    let mut setup = Setup { follow: Follow::ALL, rate: 60, ..Setup::of(venue)? };
    setup.connection.streams = venue.streams(&setup.products, setup.follow);
    Ok(setup)
}

/// The pair of a product, and the best bids and asks that the venue showed of it.
fn shown(bench: &Bench, index: usize) -> anyhow::Result<(PairKey, Vec<Shown>)> {
    let product = &bench.products[index];
    let level = |(price, size): &(String, String)| anyhow::Ok((price.parse()?, size.parse()?));
    let shown = bench.simulator.quotes(product).into_iter().map(|one| {
        let (bid, ask) = (level(&one.bid)?, level(&one.ask)?);
        anyhow::Ok(Shown { time_us: one.time_us, id: one.id, bid, ask })
    });
    Ok((bench.venue.pair(product)?, shown.collect::<Result<_, _>>()?))
}

/// The records of one pair's book.
fn entries(outputs: &[Output], pair: &PairKey) -> Vec<Entry> {
    let of = outputs.iter().filter_map(|output| match output {
        Output::Quote { pair: of, quote } if of == pair => Some(Entry::Quote(*quote)),
        Output::BookMark { pair: of, mark } if of == pair => Some(Entry::Mark(mark.clone())),
        _ => None,
    });
    of.collect()
}

/// Quotes and gaps by pair, counted as they come.
#[derive(Default)]
struct Progress {
    /// The outputs that were looked at.
    read: usize,
    quotes: BTreeMap<PairKey, usize>,
    gaps: BTreeMap<PairKey, usize>,
}

impl Progress {
    fn read(&mut self, seen: &[Output]) -> &Self {
        for output in &seen[self.read..] {
            match output {
                Output::Quote { pair, .. } => *self.quotes.entry(pair.clone()).or_default() += 1,
                Output::BookMark { pair, mark } if mark.gap_from.is_some() => {
                    *self.gaps.entry(pair.clone()).or_default() += 1;
                }
                _ => {}
            }
        }
        self.read = seen.len();
        self
    }

    /// The fewest quotes of any of the two pairs.
    fn fewest(&self) -> usize {
        if self.quotes.len() < 2 { 0 } else { self.quotes.values().copied().min().unwrap_or(0) }
    }

    fn gaps(&self, pair: &PairKey) -> usize {
        self.gaps.get(pair).copied().unwrap_or(0)
    }
}

/// The gaps of a pair of a feed, after the rest was compared with the truth.
fn checked(
    outputs: &[Output],
    (bench, index): (&Bench, usize),
    skipped: usize,
) -> anyhow::Result<Vec<FeedMark>> {
    let (pair, shown) = shown(bench, index)?;
    let entries = entries(outputs, &pair);
    gaps(bench.venue, &entries, &shown, skipped).with_context(|| pair.to_string())
}

/// The flags of `producer simulate` that make a fault.
#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    faults: Faults,
    #[command(flatten)]
    books: BookSettings,
}

async fn run(venue: Venue, case: &Case) -> anyhow::Result<()> {
    let flags = Flags::try_parse_from([&["simulate"], case.flags].concat())?;
    let setup = Setup { faults: flags.faults, books: flags.books, ..with_books(venue)? };
    let mut bench = Bench::start(setup).await?;
    let (faulty, other) = (shown(&bench, 0)?.0, shown(&bench, 1)?.0);
    let mut progress = Progress::default();
    let outputs = bench
        .until(|seen| {
            let seen = progress.read(seen);
            seen.fewest() >= ENOUGH && seen.gaps(&faulty) >= case.gaps as usize
        })
        .await?;
    let of_faulty = checked(&outputs, (&bench, 0), 0)?;
    let of_other = checked(&outputs, (&bench, 1), 0)?;
    ensure!(case.fits(true, &of_faulty), "{faulty}: {of_faulty:?}");
    ensure!(case.fits(false, &of_other), "{other}: {of_other:?}");
    let books = &bench.metrics.books;
    let frames = books.frames.with_label_values(&[venue.as_str()]).get();
    ensure!(frames >= 2 * ENOUGH as u64, "{frames} frames of books are counted");
    if let Some(reason) = case.reason {
        let resyncs = books.resyncs.with_label_values(&[venue.as_str(), reason]).get();
        ensure!(resyncs >= of_faulty.len() as u64, "{resyncs} resyncs are counted");
    }
    if case.name == BAD_ANSWERS {
        for why in NO_SNAPSHOT {
            let failed = books.snapshots_failed.with_label_values(&[venue.as_str(), why]).get();
            ensure!(failed > 0, "no snapshot is counted as {why}");
        }
    }
    if !case.is_of_all {
        ensure!(bench.reconnected() == 0, "it had to connect again");
    }
    bench.stop().await?;
    Ok(())
}

async fn matrix(venue: Venue) -> anyhow::Result<()> {
    for case in cases(venue) {
        let result = run(venue, &case).await;
        result.map_err(|error| error.context(format!("{venue}, {}", case.name)))?;
    }
    Ok(())
}

#[tokio::test]
async fn coinbase_quotes_are_those_of_the_venue_less_what_is_marked() -> anyhow::Result<()> {
    matrix(Venue::Coinbase).await
}

#[tokio::test]
async fn binance_quotes_are_those_of_the_venue_less_what_is_marked() -> anyhow::Result<()> {
    matrix(Venue::Binance).await
}

#[tokio::test]
async fn kraken_quotes_are_those_of_the_venue_less_what_is_marked() -> anyhow::Result<()> {
    matrix(Venue::Kraken).await
}

#[tokio::test]
async fn deribit_quotes_are_those_of_the_venue_less_what_is_marked() -> anyhow::Result<()> {
    matrix(Venue::Deribit).await
}

#[tokio::test]
async fn bitstamp_quotes_are_those_of_the_venue_less_what_is_marked() -> anyhow::Result<()> {
    matrix(Venue::Bitstamp).await
}

#[tokio::test]
async fn quotes_have_the_proof_of_their_venue() -> anyhow::Result<()> {
    for (venue, proof) in [
        (Venue::Coinbase, Proof::None),
        (Venue::Binance, Proof::Sequence),
        (Venue::Kraken, Proof::Checksum),
    ] {
        let mut bench = Bench::start(with_books(venue)?).await?;
        let mut progress = Progress::default();
        let outputs = bench.until(|seen| progress.read(seen).fewest() >= 3).await?;
        let wrong = outputs
            .iter()
            .find(|output| matches!(output, Output::Quote { quote, .. } if quote.proof != proof));
        ensure!(wrong.is_none(), "{venue}: {wrong:?}");
        let checksums = bench.metrics.books.checksums.with_label_values(&[venue.as_str()]).get();
        ensure!((checksums > 0) == (proof == Proof::Checksum), "{venue}: {checksums} checksums");
        bench.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn books_alone_are_followed_without_trades_and_tickers() -> anyhow::Result<()> {
    for venue in Venue::ALL {
        let channels = "book".parse()?;
        let mut setup = with_books(venue)?;
        setup.follow.channels = channels;
        setup.connection.streams = venue.streams(&setup.products, setup.follow);
        let mut bench = Bench::start(setup).await?;
        let mut progress = Progress::default();
        let outputs = bench.until(|seen| progress.read(seen).fewest() >= 5).await?;
        let event = outputs.iter().find(|output| matches!(output, Output::Event { .. }));
        ensure!(event.is_none(), "{venue}: {event:?}");
        bench.stop().await?;
    }
    Ok(())
}

/// The outputs of the replay of a capture.
fn replayed(dir: &Path) -> anyhow::Result<Vec<Output>> {
    let mut files: Vec<_> = std::fs::read_dir(dir)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    let mut outputs = Vec::new();
    let mut publish = |_, output| {
        outputs.push(output);
        Ok(())
    };
    let mut replay = Replay::new(Arc::new(Metrics::new()?));
    for file in &files {
        replay.file(file, &mut publish)?;
    }
    replay.finish(&mut publish)?;
    Ok(outputs)
}

/// The outputs of a live feed, and those of the replay of its capture; `wanted` says when there is
/// enough.
async fn captured(
    mut setup: Setup,
    wanted: impl Fn(&Metrics) -> bool,
) -> anyhow::Result<(Vec<Output>, Vec<Output>)> {
    let dir = tempfile::tempdir()?;
    let (capture, thread) = Capture::start(dir.path(), setup.venue.as_str(), u64::MAX)?;
    setup.capture = Some(capture);
    let mut bench = Bench::start(setup).await?;
    let (metrics, mut progress) = (Arc::clone(&bench.metrics), Progress::default());
    let enough = |seen: &[Output]| progress.read(seen).fewest() >= ENOUGH && wanted(&metrics);
    let mut live = bench.until(enough).await?;
    live.extend(bench.stop().await?);
    thread.join().ok().context("the capture panicked")??;
    Ok((live, replayed(dir.path())?))
}

/// The outputs are equal, one by one.
fn same(venue: Venue, live: &[Output], again: &[Output]) -> anyhow::Result<()> {
    let place = live.iter().zip(again).position(|(one, other)| one != other);
    let at = place.unwrap_or(live.len().min(again.len()));
    ensure!(
        live == again,
        "{venue}: {} live, {} replayed; at {at}: live {:?}, replayed {:?}",
        live.len(),
        again.len(),
        live.get(at),
        again.get(at)
    );
    Ok(())
}

fn is_of_book(output: &Output) -> bool {
    matches!(output, Output::Quote { .. } | Output::Book { .. } | Output::BookMark { .. })
}

#[tokio::test]
async fn a_capture_replays_to_the_same_quotes_whatever_happens_to_the_books() -> anyhow::Result<()>
{
    for venue in Venue::ALL {
        let faults = Faults { disconnect_every: Some(150), ..Faults::default() };
        let books = BookSettings { cross_book_every: Some(9), ..BookSettings::default() };
        let setup = Setup { faults, books, ..with_books(venue)? };
        let enough = |metrics: &Metrics| {
            let lost = metrics.reconnects.with_label_values(&[venue.as_str(), "lost"]).get();
            let crossed = metrics.books.resyncs.with_label_values(&[venue.as_str(), "CROSSED"]);
            lost >= 2 && crossed.get() >= 2
        };
        let (live, again) = captured(setup, enough).await?;
        same(venue, &live, &again)?;
        for reason in ["CROSSED", "DISCONNECTED"] {
            let has = live
                .iter()
                .any(|one| matches!(one, Output::BookMark { mark, .. } if mark.reason == reason));
            ensure!(has, "{venue}: no mark says {reason}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_replaced_connection_marks_no_gap_and_replays() -> anyhow::Result<()> {
    for venue in Venue::ALL {
        let (after, overlap) = (Some(Duration::from_secs(1)), Duration::from_millis(1));
        let rotation = RotationConfig { after, overlap };
        let setup = Setup { rotation, ..with_books(venue)? };
        let rotations =
            |metrics: &Metrics| metrics.rotations.with_label_values(&[venue.as_str()]).get();
        let (mut live, mut again) = captured(setup, |metrics| rotations(metrics) >= 2).await?;
        // A replay does not leave out the events that both connections brought.
        live.retain(is_of_book);
        again.retain(is_of_book);
        same(venue, &live, &again)?;
        let mark = live.iter().find(|output| matches!(output, Output::BookMark { .. }));
        ensure!(mark.is_none(), "{venue}: {mark:?}");
    }
    Ok(())
}

#[tokio::test]
async fn quotes_go_on_over_a_replaced_connection() -> anyhow::Result<()> {
    for venue in Venue::ALL {
        let (after, overlap) = (Some(Duration::from_secs(1)), Duration::from_millis(200));
        let rotation = RotationConfig { after, overlap };
        let setup = Setup { rotation, ..with_books(venue)? };
        let mut bench = Bench::start(setup).await?;
        let rotations = bench.metrics.rotations.with_label_values(&[venue.as_str()]);
        let mut progress = Progress::default();
        let outputs = bench
            .until(|seen| rotations.get() >= 2 && progress.read(seen).fewest() >= ENOUGH)
            .await?;
        for index in 0..2 {
            // The new connection may be ahead of what was read of the old one.
            let gaps = checked(&outputs, (&bench, index), MAX_SKIPPED);
            let gaps =
                gaps.with_context(|| format!("{venue}, replaced {} times", rotations.get()))?;
            ensure!(gaps.is_empty(), "{venue}: {gaps:?}");
        }
        bench.stop().await?;
    }
    Ok(())
}
