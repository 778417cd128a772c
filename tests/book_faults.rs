//! Every venue's order books under faults, with a real Kafka behind: what is in `quotes` is what the
//! simulated venue showed (`--truth`), less exactly what marks say.
//!
//! The venues run side by side, each with a fault of its own: a round takes the next fault of each.
//! The faults and the check are those of `producer/tests/book_feeds.rs`; here programs, registry,
//! topics and partitions are those of users.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use schemas::topic::Topic;
use schemas::{Kind, PairKey};
use tests::support::book_truth::{BAD_ANSWERS, Case, Entry, NO_SNAPSHOT, cases, gaps};
use tests::support::truth::Truth;
use tests::support::venue::{Follower, Simulated};
use tests::support::{Installation, topics, wait_until};
use venues::Venue;

/// Records of `quotes` of a venue, two pairs together, after which a round has seen enough.
const ENOUGH: f64 = 200.0;
/// Quotes of a pair without a fault that a round has at least.
const FEWEST: usize = 10;
/// A round that has not seen it by then has failed.
const ROUND: Duration = Duration::from_mins(2);
/// Trades a second, so that each update of a book has another best bid or ask.
const RATE: [&str; 2] = ["--rate", "60"];
/// What was missed of trades is not fetched: the venue's requests are for snapshots.
const FOLLOWED: [&str; 4] = ["--channels", "trades,ticker,book", "--backfill", "false"];

/// The entries of each pair of a topic's records, in their order.
type Entries = BTreeMap<PairKey, Vec<Entry>>;

/// A venue with a fault of its books, and who follows it.
struct Run {
    venue: Venue,
    case: Case,
    products: Vec<String>,
    truth: PathBuf,
    follower: Follower,
    _simulated: Simulated,
}

impl Run {
    fn start(installation: &Installation, venue: Venue, case: Case) -> Result<Self> {
        let simulator = simulator::Venue::parse(venue.as_str()).context("it is not simulated")?;
        let products = simulator.majors();
        let file = format!("truth-{venue}-{}.jsonl", case.name.replace(' ', "-"));
        let truth = installation.folder().join(file);
        let path = truth.to_string_lossy().into_owned();
        let flags = [&RATE[..], &["--truth", &path], case.flags].concat();
        let simulated = Simulated::start(installation, venue, &products, 7, &flags)?;
        let follower = simulated.follow(installation, &FOLLOWED)?;
        let products = products.map(str::to_owned).to_vec();
        Ok(Self { venue, case, products, truth, follower, _simulated: simulated })
    }

    /// As many gaps and records as the case needs have been published.
    fn has_seen_enough(&mut self) -> Result<bool> {
        let venue = format!("venue=\"{}\"", self.venue);
        let resyncs = self.case.reason.map_or(Ok(0.0), |reason| {
            let labels = format!("reason=\"{reason}\",{venue}");
            self.follower.metric("producer_book_resyncs_total", &labels)
        })?;
        let quotes = self.follower.metric("producer_quotes_published_total", &venue)?;
        // One loss may have no gap yet.
        Ok(quotes >= ENOUGH && (self.case.gaps == 0 || resyncs > f64::from(self.case.gaps)))
    }

    /// Its quotes are those of its venue, less what is marked.
    fn agrees(&self, published: &Entries) -> Result<()> {
        let truth = Truth::read(&self.truth)?;
        for (index, product) in self.products.iter().enumerate() {
            let pair = self.venue.pair(product)?;
            let entries = published.get(&pair).with_context(|| format!("no quotes of {pair}"))?;
            let shown = truth.quotes.get(product).context("nothing was shown")?;
            let found = gaps(self.venue, entries, shown, 0).with_context(|| pair.to_string())?;
            ensure!(self.case.fits(index == 0, &found), "{pair} has other gaps: {found:?}");
            let quotes = entries.iter().filter(|one| matches!(one, Entry::Quote(_))).count();
            let wanted = if index == 0 { self.case.gaps as usize } else { 0 };
            ensure!(found.len() >= wanted, "{pair} has {} gaps", found.len());
            ensure!(!found.is_empty() || quotes >= FEWEST, "{pair} has {quotes} quotes");
        }
        Ok(())
    }

    /// The bad answers of the venue are counted by their reason.
    fn counts(&mut self) -> Result<()> {
        for why in NO_SNAPSHOT.into_iter().filter(|_| self.case.name == BAD_ANSWERS) {
            let labels = format!("reason=\"{why}\"");
            let failed = self.follower.metric("producer_book_snapshots_failed_total", &labels)?;
            ensure!(failed > 0.0, "no snapshot is counted as {why}");
        }
        Ok(())
    }
}

/// The entries of `quotes` from these offsets on, by pair. Marks of exchanges are no entries.
fn published(installation: &Installation, from: &[i64]) -> Result<Entries> {
    let (codec, mut entries) = (installation.codec()?, Entries::new());
    for record in installation.read(Topic::Quotes)? {
        let first = from.get(usize::try_from(record.partition)?).context("another partition")?;
        let pair: PairKey = codec.decode(&record.key)?;
        if record.offset < *first || pair.base.is_empty() {
            continue;
        }
        let value = record.value.as_deref().context("a tombstone")?;
        let entry = match codec.kind(value)? {
            Some(Kind::Quote) => Entry::Quote(codec.decode(value)?),
            _ => Entry::Mark(codec.decode(value)?),
        };
        entries.entry(pair).or_default().push(entry);
    }
    Ok(entries)
}

/// The fault of that number of each venue that has as many.
fn round(installation: &Installation, number: usize) -> Result<usize> {
    let topic = installation.topic(Topic::Quotes);
    let from = topics::ends(&installation.stack.bootstrap_servers, &topic)?;
    let mut runs = Vec::new();
    for venue in Venue::ALL {
        if let Some(case) = cases(venue).get(number) {
            runs.push(Run::start(installation, venue, *case)?);
        }
    }
    for run in &mut runs {
        let what = format!("quotes of {}, {}", run.venue, run.case.name);
        wait_until(&what, ROUND, || Ok(run.has_seen_enough()?.then_some(())))?;
        run.counts().with_context(|| what.clone())?;
    }
    for run in &mut runs {
        run.follower.stop()?;
    }
    let published = published(installation, &from)?;
    for run in &runs {
        run.agrees(&published).with_context(|| format!("{}, {}", run.venue, run.case.name))?;
    }
    Ok(runs.len())
}

#[test]
fn quotes_in_kafka_are_those_of_each_venue_less_exactly_what_is_marked() -> Result<()> {
    let installation = Installation::new("book-faults")?;
    let mut number = 0;
    while round(&installation, number)? > 0 {
        number += 1;
    }
    ensure!(number >= 4, "{number} rounds");
    installation.finish()
}
