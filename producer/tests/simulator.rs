//! The real feed client against the simulator, over real sockets; a channel stands where Kafka is.

#[expect(dead_code, reason = "venues.rs uses all of it")]
mod support;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::{SinkExt, StreamExt};
use schemas::Basis;
use simulator::SimulatorConfig;
use support::{Bench, PATIENCE, Setup, gap_marks, ids, serve, trades};
use tokio::time::{interval, timeout};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use venues::Venue;
use venues::pipeline::Output;

#[tokio::test]
async fn an_undisturbed_feed_has_every_trade_in_order_and_tells_its_clock() -> anyhow::Result<()> {
    let mut bench = Bench::start(Setup { rate: 2_000, ..Setup::of(Venue::Coinbase)? }).await?;
    let clocks = |seen: &[Output]| seen.iter().filter(|o| matches!(o, Output::Mark { .. })).count();
    let mut outputs = bench.until(|seen| trades(seen) >= 1_000 && clocks(seen) >= 2).await?;
    let (metrics, reconnects) = (Arc::clone(&bench.metrics), bench.reconnected());
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
async fn a_feed_that_is_not_read_does_not_lose_trades() -> anyhow::Result<()> {
    let mut bench = Bench::start(Setup { rate: 2_000, ..Setup::of(Venue::Coinbase)? }).await?;
    // Nobody takes from the channel of 16 while the market makes a second's worth of trades.
    let mut looks = interval(Duration::from_millis(10));
    let busy = async {
        while bench.made()?.values().map(Vec::len).sum::<usize>() < 2_000 {
            looks.tick().await;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, busy).await.context("the market made too few trades")??;
    let outputs = bench.until(|seen| trades(seen) >= 3_000).await?;
    bench.agree(&outputs)?;
    assert_eq!(gap_marks(&outputs), 0);
    bench.stop().await?;
    Ok(())
}

#[tokio::test]
async fn an_unknown_product_is_refused_by_name_and_the_connection_stays() -> anyhow::Result<()> {
    let config = SimulatorConfig {
        products: vec!["BTC-USD".into()],
        ..SimulatorConfig::of(simulator::Venue::Coinbase)
    };
    let (url, ..) = serve(&config).await?;
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
    let (url, ..) = serve(&SimulatorConfig::of(simulator::Venue::Coinbase)).await?;
    let (mut socket, _) = connect_async(&url).await?;
    let end = timeout(PATIENCE, socket.next()).await.context("still connected")?;
    ensure!(end.is_none_or(|end| end.is_err()), "it was told something");
    Ok(())
}
