//! Whole tickers and the facts of instruments over real sockets. A channel stands where Kafka is.

#[expect(dead_code, reason = "venues.rs uses all of it")]
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use producer::config::{ByVenue, Command, Config};
use producer::feed::RotationConfig;
use producer::feed::capture::Capture;
use producer::input::replay::Replay;
use producer::metrics::Metrics;
use producer::plan::Plan;
use producer::plan::expiry::Expiry;
use schemas::{Basis, Class, Instrument, InstrumentState, Ticker};
use simulator::faults::Faults;
use simulator::{ListingChange, SimulatorConfig};
use support::{Bench, Setup, serve, simulated};
use venues::pipeline::Output;
use venues::{Channels, Follow, Venue};

const PERPETUAL: &str = "BTC-PERPETUAL";
/// Tickers of each instrument that a test waits for.
const ENOUGH: usize = 20;

/// A perpetual and an option of Deribit, and their listing.
fn deribit() -> anyhow::Result<Setup> {
    let mut setup = Setup::of(Venue::Deribit)?;
    let listed = simulator::listings::names(simulated(Venue::Deribit)?);
    let option = listed.into_iter().find(|name| name.starts_with("BTC-") && name.ends_with("-C"));
    setup.products = vec![PERPETUAL.into(), option.context("it lists options")?];
    setup.connection.streams = setup.venue.streams(&setup.products, setup.follow);
    setup.listed = vec!["BTC".into()];
    setup.rate = 200;
    Ok(setup)
}

fn tickers<'a>(outputs: &'a [Output], name: &str) -> Vec<&'a Ticker> {
    let of = outputs.iter().filter_map(|output| match output {
        Output::Ticker { pair, ticker } if pair.base == name => Some(&**ticker),
        _ => None,
    });
    of.collect()
}

fn facts<'a>(outputs: &'a [Output], name: &str) -> Vec<&'a Instrument> {
    let of = outputs.iter().filter_map(|output| match output {
        Output::Instrument { pair, instrument } if pair.base == name => Some(instrument),
        _ => None,
    });
    of.collect()
}

/// Every product has enough tickers and its facts.
fn has_all(products: &[String], outputs: &[Output]) -> bool {
    products
        .iter()
        .all(|name| tickers(outputs, name).len() >= ENOUGH && !facts(outputs, name).is_empty())
}

#[tokio::test]
async fn each_instrument_has_tickers_price_samples_and_its_facts_once() -> anyhow::Result<()> {
    let setup = deribit()?;
    let products = setup.products.clone();
    let mut bench = Bench::start(setup).await?;
    let mut outputs = bench.until(|seen| has_all(&products, seen)).await?;
    let metrics = Arc::clone(&bench.metrics);
    outputs.extend(bench.stop().await?);
    for name in &products {
        let facts = facts(&outputs, name);
        ensure!(facts.len() == 1, "{name}: {facts:?}");
        ensure!(facts[0].state == InstrumentState::Listed && facts[0].currency == "BTC");
        ensure!(facts[0].contract_size.is_some() && facts[0].tick_size.is_some(), "{facts:?}");
        let is_perpetual = name == PERPETUAL;
        ensure!((facts[0].class == Class::Perpetual) == is_perpetual, "{facts:?}");
        ensure!(facts[0].expiry_time.is_none() == is_perpetual, "{facts:?}");
        ensure!(
            (facts[0].strike.is_none(), facts[0].right.is_none()) == (is_perpetual, is_perpetual)
        );
        let samples = outputs.iter().filter(|output| {
            matches!(output, Output::Event { pair, event } if pair.base == *name && event.basis == Basis::Ticker)
        });
        let tickers = tickers(&outputs, name);
        ensure!(samples.count() == tickers.len(), "{name}: a sample of each ticker");
        ensure!(tickers.iter().all(|one| one.mark_price.is_some()), "{name}");
    }
    let read = metrics.tickers.read.with_label_values(&["deribit", "option"]).get();
    ensure!(read == tickers(&outputs, &products[1]).len() as u64, "{read} are counted");
    let listed = metrics.tickers.instruments.with_label_values(&["deribit", "LISTED"]).get();
    ensure!(listed == 2, "{listed} are counted");
    Ok(())
}

#[tokio::test]
async fn without_the_channel_there_are_no_tickers_and_no_facts() -> anyhow::Result<()> {
    let mut setup = deribit()?;
    setup.follow = Follow { channels: "trades".parse::<Channels>()?, ..setup.follow };
    setup.connection.streams = setup.venue.streams(&setup.products, setup.follow);
    let mut bench = Bench::start(setup).await?;
    let mut outputs = bench.until(|seen| support::trades(seen) >= 50).await?;
    outputs.extend(bench.stop().await?);
    let of_tickers = outputs.iter().filter(|output| {
        matches!(
            output,
            Output::Ticker { .. } | Output::Instrument { .. } | Output::TickerClock { .. }
        )
    });
    ensure!(of_tickers.count() == 0);
    Ok(())
}

#[tokio::test]
async fn facts_are_told_again_after_each_reconnect_and_not_in_between() -> anyhow::Result<()> {
    let faults = Faults { disconnect_every: Some(150), ..Faults::default() };
    let setup = Setup { faults, ..deribit()? };
    let products = setup.products.clone();
    let mut bench = Bench::start(setup).await?;
    let told = |seen: &[Output]| facts(seen, PERPETUAL).len();
    let mut outputs = bench.until(|seen| told(seen) >= 4).await?;
    let metrics = Arc::clone(&bench.metrics);
    let lost = bench.reconnected();
    outputs.extend(bench.stop().await?);
    let completed = 1 + lost;
    for name in &products {
        let told = facts(&outputs, name).len() as u64;
        // A connection may end before it has told its facts.
        ensure!(
            (4..=completed).contains(&told),
            "{name}: {told} times over {completed} connections"
        );
    }
    let ended = metrics.tickers.instruments.with_label_values(&["deribit", "ENDED"]).get();
    ensure!(ended == 0, "a lost connection ends nothing");
    Ok(())
}

#[tokio::test]
async fn an_instrument_that_is_listed_while_the_feed_runs_has_facts_and_an_end()
-> anyhow::Result<()> {
    let mut setup = deribit()?;
    let new = setup.products[1].clone();
    let deribit = Venue::Deribit.adapter();
    let of_currencies = deribit.listing.currency_streams.context("it lists by currency")?;
    setup.connection.streams = of_currencies(&["BTC".into()], setup.follow);
    let of_listed = deribit.subscriptions.streams_of_listed;
    setup.connection.streams.extend(of_listed(PERPETUAL, setup.follow));
    setup.connection.grows = true;
    let mut bench = Bench::start(setup).await?;
    bench.until(|seen| !facts(seen, PERPETUAL).is_empty()).await?;
    bench.simulator.announce(ListingChange::Listed(new.clone()));
    let seen = bench.until(|seen| has_all(std::slice::from_ref(&new), seen)).await?;
    let listed = facts(&seen, &new);
    ensure!(listed.len() == 1 && listed[0].state == InstrumentState::Listed, "{listed:?}");
    ensure!(listed[0].contract_size.is_some(), "the listing was fetched: {listed:?}");
    bench.simulator.announce(ListingChange::Ended(new.clone()));
    let mut seen = bench.until(|seen| !facts(seen, &new).is_empty()).await?;
    // Further listings do not end it a second time.
    seen.extend(bench.until(|seen| tickers(seen, PERPETUAL).len() >= ENOUGH).await?);
    seen.extend(bench.stop().await?);
    let ended = facts(&seen, &new);
    ensure!(ended.len() == 1 && ended[0].state == InstrumentState::Ended, "{ended:?}");
    ensure!(ended[0].contract_size.is_some(), "with its facts: {ended:?}");
    Ok(())
}

#[tokio::test]
async fn a_replacement_repeats_no_ticker_and_tells_no_facts_again() -> anyhow::Result<()> {
    let (after, overlap) = (Some(Duration::from_millis(600)), Duration::from_millis(200));
    let setup = Setup { rotation: RotationConfig { after, overlap }, ..deribit()? };
    let products = setup.products.clone();
    let mut bench = Bench::start(setup).await?;
    let metrics = Arc::clone(&bench.metrics);
    let count = |counter: &prometheus::IntCounterVec| counter.with_label_values(&["deribit"]).get();
    let mut outputs = bench
        .until(|_| count(&metrics.rotations) >= 3 && count(&metrics.tickers.repeated) >= 10)
        .await?;
    ensure!(bench.reconnected() == 0);
    outputs.extend(bench.stop().await?);
    for name in &products {
        let times: Vec<_> = tickers(&outputs, name).iter().map(|one| one.event_time).collect();
        // The first one may be older than the trades of its moment.
        ensure!(times[1..].is_sorted(), "{name}: the state went back");
        ensure!(facts(&outputs, name).len() == 1, "{name}: {:?}", facts(&outputs, name));
    }
    Ok(())
}

#[tokio::test]
async fn a_capture_replays_the_tickers_and_the_facts_of_the_live_feed() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (capture, thread) = Capture::start(dir.path(), "deribit", u64::MAX)?;
    let faults = Faults { disconnect_every: Some(300), ..Faults::default() };
    let setup = Setup { faults, capture: Some(capture), ..deribit()? };
    let mut live = Bench::start(setup).await?;
    let told = |seen: &[Output]| facts(seen, PERPETUAL).len();
    let mut seen = live.until(|seen| told(seen) >= 3).await?;
    seen.extend(live.stop().await?);
    thread.join().ok().context("the capture panicked")??;
    let mut replayed = Vec::new();
    let mut replay = Replay::new(Arc::new(Metrics::new()?));
    let mut publish = |_, output| {
        replayed.push(output);
        Ok(())
    };
    for entry in std::fs::read_dir(dir.path())? {
        replay.file(&entry?.path(), &mut publish)?;
    }
    replay.finish(&mut publish)?;
    let count = |outputs: &[Output]| {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for output in outputs {
            let kind = match output {
                Output::Ticker { .. } => "tickers",
                Output::Instrument { .. } => "facts",
                Output::Event { .. } => "events",
                _ => "others",
            };
            *counts.entry(kind).or_default() += 1;
        }
        counts
    };
    ensure!(seen == replayed, "live {:?}, replayed {:?}", count(&seen), count(&replayed));
    ensure!(count(&seen)["tickers"] > 50 && count(&seen)["facts"] >= 6, "{:?}", count(&seen));
    Ok(())
}

/// The plan of a whole currency of the simulated venue.
async fn planned(flags: &[&str]) -> anyhow::Result<Plan> {
    let (url, _, serving) = serve(&SimulatorConfig::of(simulated(Venue::Deribit)?)).await?;
    let start = ["producer", "plan", "--venue", "deribit", "--currency", "BTC", "--url", &url];
    let config = Config::try_parse_from(start.iter().chain(flags))?;
    let Command::Plan(follow) = &config.command else { bail!("not a plan") };
    let ByVenue::Market(follow) = &**follow else { bail!("not a plan of a market") };
    follow.validate()?;
    let plan = follow.plan().await;
    serving.abort();
    Ok(plan?.0)
}

/// The instruments whose tickers come at an interval.
fn followed(plan: &Plan, interval: &str) -> Vec<String> {
    let streams = plan.connections.iter().flat_map(|line| &line.streams);
    let of = |stream: &String| {
        let name = stream.strip_prefix("ticker.")?.strip_suffix(interval)?.strip_suffix('.')?;
        Some(name.to_owned())
    };
    streams.filter_map(of).collect()
}

#[tokio::test]
async fn a_whole_currency_has_options_by_agg2_and_chosen_expiries_each_100ms() -> anyhow::Result<()>
{
    let plan = planned(&[]).await?;
    let expiries = Expiry::of_options(&followed(&plan, "agg2"));
    ensure!(expiries.len() > 3, "{expiries:?}");
    let fast = followed(&plan, "100ms");
    ensure!(
        Expiry::of_options(&fast).is_empty() && fast.contains(&PERPETUAL.to_owned()),
        "{fast:?}"
    );
    let chosen = *expiries.last().context("an expiry")?;
    // One that has passed does not keep a producer from starting again.
    let days = format!("{chosen},2020-12-25");
    let plan = planned(&["--interval", "100ms", "--expiries", &days]).await?;
    ensure!(Expiry::of_options(&followed(&plan, "100ms")).into_iter().eq([chosen]), "{plan}");
    let others = Expiry::of_options(&followed(&plan, "agg2"));
    ensure!(others.len() == expiries.len() - 1 && !others.contains(&chosen), "{plan}");
    Ok(())
}

#[tokio::test]
async fn an_expiry_that_does_not_exist_ends_the_start_with_one_line() -> anyhow::Result<()> {
    let refused = planned(&["--interval", "100ms", "--expiries", "2098-12-25"]).await;
    let line = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
    let words = "there is no plan for deribit: --expiries 25DEC98: no followed option expires then: \
                 name one or more of ";
    ensure!(line.starts_with(words) && !line.contains('\n'), "{line}");
    Ok(())
}
