//! Options from a simulated Deribit to the rows of `PostgreSQL`, through a kill of the producer, a kill
//! of the member and an outage of the database, while expiries end and are listed: every instrument has
//! a row, and every column is the number that the venue sent.
//!
//! A target of its own: it stops the `PostgreSQL` that all others use. `OPTIONS` and `OUTAGE_SECONDS`
//! make it larger and longer; `make options` runs it through two minutes.

#![expect(clippy::print_stdout, reason = "the figures are what a long run is for")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use schemas::topic::Topic;
use schemas::{Codec, Kind};
use serde_json::Value;
use tests::support::connect::Sinks;
use tests::support::down::Down;
use tests::support::installation::{IMPATIENT, Member};
use tests::support::options::{Fields, fields, told};
use tests::support::outputs::Outputs;
use tests::support::truth::Truth;
use tests::support::venue::{Follower, Simulated};
use tests::support::{Installation, soon, wait_until};
use venues::Venue;

/// The options of the venue unless `OPTIONS` says otherwise.
const OPTIONS: u64 = 1_500;
/// The outage unless `OUTAGE_SECONDS` says otherwise: more than a poll interval of the sinks.
const SECONDS: u64 = 20;
/// The longest that a sink may go without asking for records, in this test.
const POLL_INTERVAL_MS: (&str, &str) = ("SINK_MAX_POLL_INTERVAL_MS", "15000");
/// The longest wait for an expiry of the venue, which has one each minute.
const EXPIRY: Duration = Duration::from_mins(3);
/// The topics of `options`, each with a table.
const SUNK: [Topic; 3] = [Topic::Options, Topic::Options1m, Topic::Derivatives];
/// A member that is given up in seconds and computes options only.
const MEMBER: [&str; 6] =
    [IMPATIENT[0], IMPATIENT[1], IMPATIENT[2], IMPATIENT[3], "--topologies", "options"];
/// The line of the README: every option of a currency.
const CURRENCY: [&str; 2] = ["--currency", "BTC"];
/// A minute in milliseconds.
const MINUTE: i64 = 60_000;

/// A whole number of the environment.
fn variable(name: &str, default: u64) -> Result<u64> {
    let number = std::env::var(name).ok().map(|text| text.parse()).transpose();
    Ok(number.with_context(|| format!("{name} is a whole number"))?.unwrap_or(default))
}

/// The venue, and the file of its truth.
struct Options {
    installation: Installation,
    venue: Simulated,
    sinks: Sinks,
}

impl Options {
    fn start() -> Result<Self> {
        let installation = Installation::new("options")?;
        let count = variable("OPTIONS", OPTIONS)?.to_string();
        let truth = installation.folder().join("truth.jsonl");
        let flags = ["--options", &count, "--currencies", "BTC", "--rate", "20"];
        let changes = ["--expire-every", "60s", "--list-every", "45s"];
        let file = ["--truth", &truth.to_string_lossy()];
        let flags = [&flags[..], &changes, &file].concat();
        let sinks = Sinks::register(&installation, &SUNK, &[POLL_INTERVAL_MS])?;
        let venue = Simulated::start(&installation, Venue::Deribit, &[], 17, &flags)?;
        Ok(Self { installation, venue, sinks })
    }

    fn truth(&self) -> Result<Truth> {
        Truth::read(&self.installation.folder().join("truth.jsonl"))
    }

    /// The instruments that the venue lists: options, or futures and perpetuals.
    fn listed(&self, options: bool) -> Result<BTreeSet<String>> {
        let url = self.venue.url().replace("ws://", "http://");
        let url = format!("{url}/api/v2/public/get_instruments?currency=BTC&expired=false");
        let answer: Value = reqwest::blocking::get(url)?.error_for_status()?.json()?;
        let all = answer["result"].as_array().context("a list")?.iter();
        let wanted = all.filter(|one| (one["kind"] == "option") == options);
        let name = |one: &Value| one["instrument_name"].as_str().map(str::to_owned);
        wanted.map(|one| name(one).context("a name")).collect()
    }

    /// Waits until every option that is listed has an open row that is newer than a time; how long it
    /// took.
    fn every_option_has_a_row_after(&self, time_ms: i64) -> Result<Duration> {
        let started = Instant::now();
        let sql = format!(
            "SELECT base FROM options WHERE state = 'OPEN' AND \
             event_time > to_timestamp({time_ms} / 1000.0)"
        );
        soon("a row of each option that is listed", || {
            let rows: BTreeSet<String> = self.sinks.schema.query(&sql)?.into_iter().collect();
            Ok(self.listed(true)?.is_subset(&rows))
        })?;
        Ok(started.elapsed())
    }

    /// Waits until another expiry has ended, and its rows are closed and stay.
    fn an_expiry_closes_its_rows(&self) -> Result<()> {
        let ended = || -> Result<BTreeSet<String>> {
            let listings = self.truth()?.listings.into_iter().filter(|one| !one.2);
            Ok(listings.map(|one| one.1).filter(|name| name.ends_with(['C', 'P'])).collect())
        };
        let before = ended()?;
        let sql = "SELECT base FROM options WHERE state = 'CLOSED' AND closed_at IS NOT NULL";
        soon("the rows of an expiry to close", || {
            let closed: BTreeSet<String> = self.sinks.schema.query(sql)?.into_iter().collect();
            let ended = ended()?;
            Ok(ended.len() > before.len() && closed == ended)
        })
    }

    /// The newest time in the table, by the venue's clock.
    fn newest(&self) -> Result<i64> {
        let sql = "SELECT (extract(epoch FROM max(event_time)) * 1000)::bigint FROM options";
        let newest = self.sinks.schema.query(sql)?;
        Ok(newest.first().context("no row")?.parse()?)
    }

    /// The content of the topics.
    fn outputs(&self) -> Result<Outputs> {
        let (codec, mut outputs) = (self.installation.codec()?, Outputs::default());
        for topic in SUNK {
            outputs.add(&codec, topic, &self.installation.read(topic)?)?;
        }
        Ok(outputs)
    }
}

/// The database is away, and the member is killed in the meantime; an expiry ends as well.
fn outage(options: &Options, mut member: Member) -> Result<Member> {
    let seconds = variable("OUTAGE_SECONDS", SECONDS)?;
    let ended = |truth: &Truth| truth.listings.iter().filter(|(.., listed)| !listed).count();
    let before = ended(&options.truth()?);
    let postgres = Down::stop(&options.installation.stack, "postgres")?;
    let (started, outage) = (Instant::now(), Duration::from_secs(seconds));
    member.process.kill()?;
    let mut member = options.installation.ready_member("one", &MEMBER)?;
    wait_until("the outage to be over and an expiry to end", outage + EXPIRY, || {
        member.process.alive()?;
        let is_over = started.elapsed() >= outage && ended(&options.truth()?) > before;
        Ok(is_over.then_some(()))
    })?;
    postgres.start()?;
    Ok(member)
}

#[test]
fn every_column_of_every_option_is_the_venues_number_after_kills_and_an_outage() -> Result<()> {
    let options = Options::start()?;
    let installation = &options.installation;
    let first = options.listed(true)?;
    let member = installation.ready_member("one", &MEMBER)?;
    let mut feed = options.venue.follow(installation, &CURRENCY)?;
    let took = options.every_option_has_a_row_after(0)?;
    println!("{} options have rows, {took:?} after the start of the producer", first.len());

    // The next expiry is a minute away: none ends while nobody follows.
    options.an_expiry_closes_its_rows()?;
    feed.process.kill()?;
    let before = options.newest()?;
    let mut feed = options.venue.follow(installation, &CURRENCY)?;
    let took = options.every_option_has_a_row_after(before)?;
    println!("they have newer rows {took:?} after its restart");

    let mut member = outage(&options, member)?;
    let after = options.newest()?;
    options.every_option_has_a_row_after(after)?;
    ends(&options, &mut feed, &mut member, first)?;
    let Options { installation, venue, sinks } = options;
    drop((sinks, venue));
    installation.finish_with([member])
}

/// The producer stops, the group catches up, and everything is compared.
fn ends(
    options: &Options,
    feed: &mut Follower,
    member: &mut Member,
    mut names: BTreeSet<String>,
) -> Result<()> {
    names.extend(options.listed(true)?);
    let newest = options.newest()?;
    options.every_option_has_a_row_after(newest)?;
    feed.stop()?;
    // The producer does not see an end at the venue from here on.
    let truth = options.truth()?;
    let installation = &options.installation;
    installation.caught_up_with(Topic::OptionTickers, &mut [member])?;
    let mut outputs = options.outputs()?;
    options.sinks.tables_equal(&mut outputs)?;
    soon("every sink to run", || options.sinks.are_running())?;
    let letters = installation.read(Topic::DeadLetters)?;
    ensure!(letters.is_empty(), "{letters:?}");
    states_are_the_truth(options, &outputs, &truth, &names)?;
    minutes_are_the_last_tickers(options, &outputs, &truth)
}

/// The numbers of a value are those of a ticker that the venue sent at its time.
fn was_sent(truth: &Truth, base: &str, value: &Fields) -> Result<()> {
    let time = value["event_time"].as_deref().context("no time")?.parse()?;
    let tickers = truth.tickers(base, time)?;
    let told = tickers.iter().map(told).collect::<Result<Vec<_>>>()?;
    let agrees = |told: &Fields| {
        told.iter().all(|(name, wanted)| value.get(name).is_none_or(|found| found == wanted))
    };
    ensure!(told.iter().any(agrees), "{base}: {value:?} is none of {told:?}");
    Ok(())
}

fn text<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).and_then(Option::as_deref).unwrap_or_default()
}

/// Each instrument that was ever listed has one value: the newest ticker that the producer wrote, as
/// the venue sent it, open or closed as it is there.
fn states_are_the_truth(
    options: &Options,
    outputs: &Outputs,
    truth: &Truth,
    names: &BTreeSet<String>,
) -> Result<()> {
    let newest = newest_tickers(options)?;
    let ended: BTreeSet<&str> =
        truth.listings.iter().filter(|one| !one.2).map(|one| one.1.as_str()).collect();
    let mut closed = 0;
    for topic in [Topic::Options, Topic::Derivatives] {
        for (key, value) in outputs.options.of(topic) {
            let base = text(key, "base");
            was_sent(truth, base, value)?;
            let last = newest.get(base).with_context(|| format!("{base} has no ticker"))?;
            ensure!(text(value, "event_time") == text(last, "event_time"), "{base}: {value:?}");
            let is_closed = ended.contains(base);
            let state = if is_closed { "CLOSED" } else { "OPEN" };
            ensure!(text(value, "state") == state, "{base} is not {state}: {value:?}");
            ensure!(value["closed_at"].is_some() == is_closed, "{base}: {value:?}");
            closed += usize::from(is_closed);
            facts_are_those_of_the_name(base, value)?;
        }
    }
    let rows: BTreeSet<String> =
        outputs.options.of(Topic::Options).map(|(key, _)| text(key, "base").to_owned()).collect();
    let lost: Vec<_> = names.difference(&rows).collect();
    ensure!(lost.is_empty(), "these options have no row: {lost:?}");
    // Since the names were asked for, the venue has listed others.
    let here = options.listed(true)?;
    let foreign = rows.difference(names).filter(|name| !here.contains(*name));
    let foreign: Vec<_> = foreign.filter(|name| !ended.contains(name.as_str())).collect();
    ensure!(foreign.is_empty(), "the venue never listed {foreign:?}");
    let futures: BTreeSet<String> = outputs
        .options
        .of(Topic::Derivatives)
        .map(|(key, _)| text(key, "base").to_owned())
        .collect();
    ensure!(options.listed(false)?.is_subset(&futures), "{futures:?}");
    ensure!(closed > 0, "nothing has ended");
    println!("{} options, {closed} of them closed, {} futures", rows.len(), futures.len());
    Ok(())
}

/// Expiry, strike, right and the facts of the listing.
fn facts_are_those_of_the_name(base: &str, value: &Fields) -> Result<()> {
    let name = simulator::surface::instrument::Name::parse(base).context("no instrument")?;
    let expiry = name.expiry_ms.map(|time| time.to_string()).unwrap_or_default();
    ensure!(text(value, "expiry_time") == expiry, "{base}: {value:?}");
    if let simulator::surface::instrument::Kind::Option { strike, is_call } = name.kind {
        ensure!(text(value, "strike") == strike.to_string(), "{base}: {value:?}");
        ensure!(text(value, "right") == if is_call { "CALL" } else { "PUT" }, "{base}: {value:?}");
        ensure!(text(value, "tick_size") == "0.0001", "{base}: {value:?}");
    }
    for (fact, wanted) in
        [("currency", "BTC"), ("settlement_currency", "BTC"), ("contract_size", "1")]
    {
        ensure!(text(value, fact) == wanted, "{base}: {fact} of {value:?}");
    }
    Ok(())
}

/// The tickers in `option_tickers`, each with the name of its instrument, in the order of a partition.
fn tickers(options: &Options) -> Result<Vec<(String, Fields)>> {
    let codec: Codec = options.installation.codec()?;
    let mut tickers = Vec::new();
    for record in options.installation.read(Topic::OptionTickers)? {
        let (kind, value) = fields(&codec, record.value.as_deref().context("a tombstone")?)?;
        if kind == Kind::Ticker {
            let key = fields(&codec, &record.key)?.1;
            tickers.push((text(&key, "base").to_owned(), value));
        }
    }
    ensure!(!tickers.is_empty(), "no ticker");
    Ok(tickers)
}

fn newest_tickers(options: &Options) -> Result<BTreeMap<String, Fields>> {
    Ok(tickers(options)?.into_iter().collect())
}

/// `options_1m` has the last ticker of every minute that has one.
fn minutes_are_the_last_tickers(options: &Options, outputs: &Outputs, truth: &Truth) -> Result<()> {
    let mut wanted: BTreeMap<(String, i64), String> = BTreeMap::new();
    for (base, ticker) in tickers(options)? {
        let is_option = base.ends_with("-C") || base.ends_with("-P");
        let time: i64 = text(&ticker, "event_time").parse()?;
        if is_option {
            wanted.insert((base, time - time.rem_euclid(MINUTE)), time.to_string());
        }
    }
    let mut minutes = 0;
    for (key, value) in outputs.options.of(Topic::Options1m) {
        let (base, open) = (text(key, "base"), text(key, "open_time").parse()?);
        let last = wanted.remove(&(base.to_owned(), open));
        let last = last.with_context(|| format!("{base} has no ticker in {open}"))?;
        ensure!(text(value, "event_time") == last, "{base} {open}: {last} is not of {value:?}");
        was_sent(truth, base, value)?;
        minutes += 1;
    }
    ensure!(wanted.is_empty() && minutes > 0, "no minutes of {wanted:?}");
    println!("{minutes} minutes of options, {} tickers sent", truth.ticker_count());
    Ok(())
}
