//! The real feed client against the simulator, over real sockets; a channel stands where Kafka is.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::{SinkExt, StreamExt};
use schemas::Basis;
use simulator::faults::Faults;
use simulator::{Simulator, SimulatorConfig};
use support::{Live, Setup};
use tokio::time::timeout;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use venues::Venue;
use venues::pipeline::Output;

/// A test that has not seen what it waits for by then has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Coinbase with faults, and a feed that listens to it.
async fn start(faults: Faults) -> anyhow::Result<Live> {
    Live::start(Setup { faults, ..Setup::of(Venue::Coinbase) }).await
}

fn reconnects(live: &Live, cause: &str) -> u64 {
    live.metrics.reconnects.with_label_values(&["coinbase", cause]).get()
}

fn gaps(live: &Live) -> u64 {
    live.metrics.sequence_gaps.with_label_values(&["coinbase"]).get()
}

/// The trade ids of each base, in the order in which they came.
fn ids(outputs: &[Output]) -> BTreeMap<&str, Vec<i64>> {
    let mut ids: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for output in outputs {
        if let Output::Event { pair, event } = output
            && event.basis == Basis::Trade
        {
            ids.entry(pair.base.as_str()).or_default().extend(event.trade_id);
        }
    }
    ids
}

fn trades(outputs: &[Output]) -> usize {
    ids(outputs).values().map(Vec::len).sum()
}

fn gap_marks(outputs: &[Output]) -> usize {
    let gap = |output: &&Output| matches!(output, Output::Gap { .. });
    outputs.iter().filter(gap).count()
}

/// Ids that are missing between the first and the last of each base.
fn missing(ids: &BTreeMap<&str, Vec<i64>>) -> i64 {
    ids.values()
        .map(|ids| {
            let mut unique = ids.clone();
            unique.sort_unstable();
            unique.dedup();
            unique.windows(2).map(|two| two[1] - two[0] - 1).sum::<i64>()
        })
        .sum()
}

const LONG: Duration = Duration::from_mins(1);

#[tokio::test]
async fn an_undisturbed_feed_has_every_trade_in_order_and_tells_its_clock() -> anyhow::Result<()> {
    let mut bench = start(Faults::default()).await?;
    let clocks = |seen: &[Output]| seen.iter().filter(|o| matches!(o, Output::Mark { .. })).count();
    let mut outputs = bench.until(|seen| trades(seen) >= 1_000 && clocks(seen) >= 2).await?;
    let (metrics, reconnects) = (Arc::clone(&bench.metrics), reconnects(&bench, "lost"));
    outputs.extend(bench.stop().await?);
    let ids = ids(&outputs);
    assert_eq!(ids.len(), 2);
    for (base, ids) in &ids {
        assert!(ids.windows(2).all(|two| two[1] == two[0] + 1), "{base}: {ids:?}");
    }
    assert_eq!((gap_marks(&outputs), reconnects), (0, 0));
    let samples = outputs.iter().filter(
        |output| matches!(output, Output::Event { event, .. } if event.basis == Basis::Ticker),
    );
    assert!(samples.count() >= 1_000, "a ticker for every trade");
    let healthy: Vec<_> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Mark { mark, .. } => Some(mark.healthy_until.0),
            _ => None,
        })
        .collect();
    assert!(healthy.windows(2).all(|two| two[1] >= two[0] + 1000), "{healthy:?}");
    assert_eq!(metrics.received.with_label_values(&["coinbase", "subscriptions"]).get(), 1);
    Ok(())
}

#[tokio::test]
async fn a_cut_connection_is_made_again_and_what_was_missed_is_marked() -> anyhow::Result<()> {
    let faults = Faults { disconnect_every: Some(150), ..Faults::default() };
    let mut bench = start(faults).await?;
    let outputs = bench.until(|seen| trades(seen) >= 700).await?;
    let cuts = reconnects(&bench, "lost") + reconnects(&bench, "closed");
    ensure!(cuts >= 4, "{cuts} reconnects");
    let missing = missing(&ids(&outputs));
    let mut marked = 0;
    for output in &outputs {
        if let Output::Gap { mark, .. } = output {
            marked += mark.missing.context("a count")?;
        }
    }
    assert_eq!(marked, missing, "as many are marked as are missing");
    bench.stop().await?;
    Ok(())
}

#[tokio::test]
async fn trades_that_are_never_sent_are_gaps_and_repeated_ones_are_not() -> anyhow::Result<()> {
    let faults = Faults { skip_every: Some(50), repeat_every: Some(7), ..Faults::default() };
    let mut bench = start(faults).await?;
    // A mark stands before the trade that proves it: up to that trade.
    let trade = |output: Option<&Output>| matches!(output, Some(Output::Event { event, .. }) if event.basis == Basis::Trade);
    let outputs = bench.until(|seen| gap_marks(seen) >= 10 && trade(seen.last())).await?;
    let ids = ids(&outputs);
    assert!(ids.values().flatten().skip(2).all(|id| id % 50 != 0), "only the first may be one");
    // Each one that was skipped is one gap of one trade.
    assert_eq!(missing(&ids), i64::try_from(gap_marks(&outputs))?);
    ensure!(gaps(&bench) >= 10, "{} gaps are counted", gaps(&bench));
    let repeated = ids.values().flat_map(|ids| ids.windows(2)).filter(|two| two[0] == two[1]);
    assert!(repeated.count() > 10);
    bench.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_malformed_frame_is_a_dead_letter_and_loses_no_trade() -> anyhow::Result<()> {
    let faults = Faults { malformed_every: Some(20), ..Faults::default() };
    let mut bench = start(faults).await?;
    let letters = |seen: &[Output]| {
        seen.iter().filter(|output| matches!(output, Output::DeadLetter(_))).count()
    };
    let outputs = bench.until(|seen| letters(seen) >= 10).await?;
    assert_eq!(missing(&ids(&outputs)), 0);
    for output in &outputs {
        if let Output::DeadLetter(letter) = output {
            assert_eq!((letter.venue, letter.reason), ("coinbase", "not_json"));
            assert!(letter.raw.starts_with(r#"{"type":"match","#), "{}", letter.raw);
        }
    }
    assert_eq!(reconnects(&bench, "lost"), 0, "the connection outlives it");
    bench.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_silent_connection_is_given_up() -> anyhow::Result<()> {
    let faults = Faults { silence_every: Some(100), silence: LONG, ..Faults::default() };
    let stale_after = Duration::from_millis(300);
    let setup = Setup { faults, stale_after, ..Setup::of(Venue::Coinbase) };
    let mut bench = Live::start(setup).await?;
    bench.until(|seen| trades(seen) >= 250).await?;
    ensure!(reconnects(&bench, "stale") >= 2, "{} were stale", reconnects(&bench, "stale"));
    bench.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_feed_that_is_not_read_does_not_lose_trades() -> anyhow::Result<()> {
    let mut bench = start(Faults::default()).await?;
    // Nobody takes from the channel of 16 while the market makes a second's worth of trades.
    let mut looks = tokio::time::interval(Duration::from_millis(10));
    let busy = async {
        while bench.made()?.values().map(Vec::len).sum::<usize>() < 2_000 {
            looks.tick().await;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, busy).await.context("the market made too few trades")??;
    let outputs = bench.until(|seen| trades(seen) >= 3_000).await?;
    assert_eq!((missing(&ids(&outputs)), gaps(&bench)), (0, 0));
    bench.stop().await?;
    Ok(())
}

#[tokio::test]
async fn an_unknown_product_is_refused_by_name_and_the_connection_stays() -> anyhow::Result<()> {
    let config = SimulatorConfig {
        products: vec!["BTC-USD".into()],
        ..SimulatorConfig::of(simulator::Venue::Coinbase)
    };
    let simulator = Simulator::bind("127.0.0.1:0", &config).await?;
    let url = simulator.url()?;
    tokio::spawn(simulator.run());
    let (mut socket, _) = connect_async(&url).await?;
    let ask = r#"{"type":"subscribe","product_ids":["FOO-USD"],"channels":["ticker"]}"#;
    socket.send(Message::text(ask)).await?;
    let answer = timeout(PATIENCE, socket.next()).await?.context("closed")??;
    ensure!(answer.to_text()?.contains("FOO-USD is not a valid product"), "{answer}");
    socket.send(Message::Ping("7".into())).await?;
    let answer = timeout(PATIENCE, socket.next()).await?.context("closed")??;
    assert_eq!(answer, Message::Pong("7".into()));
    Ok(())
}

#[tokio::test]
async fn a_client_that_does_not_subscribe_is_dropped() -> anyhow::Result<()> {
    let simulator =
        Simulator::bind("127.0.0.1:0", &SimulatorConfig::of(simulator::Venue::Coinbase)).await?;
    let url = simulator.url()?;
    tokio::spawn(simulator.run());
    let (mut socket, _) = connect_async(&url).await?;
    let end = timeout(PATIENCE, socket.next()).await.context("still connected")?;
    ensure!(end.is_none_or(|end| end.is_err()), "it was told something");
    Ok(())
}
