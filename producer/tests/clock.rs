//! A machine whose clock is off, by the clock of a simulated venue: nothing is published.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use producer::feed::clock_skew::ClockCheck;
use producer::metrics::Metrics;
use simulator::faults::Faults;
use simulator::{Simulator, SimulatorConfig};
use venues::Venue;

const BOUND: Duration = Duration::from_secs(3);

/// A venue whose clock is so far ahead, and its address.
async fn venue(venue: Venue, clock_ahead: Duration) -> anyhow::Result<String> {
    let faults = Faults { clock_ahead, ..Faults::default() };
    let simulated = simulator::Venue::parse(venue.as_str()).context("it is not simulated")?;
    let config = SimulatorConfig { faults, ..SimulatorConfig::of(simulated) };
    let simulator = Simulator::bind("127.0.0.1:0", &config).await?;
    let url = simulator.url()?;
    tokio::spawn(simulator.run());
    Ok(url)
}

async fn check(of: Venue, clock_ahead: Duration) -> anyhow::Result<(Option<String>, f64)> {
    let url = venue(of, clock_ahead).await?.replace("ws://", "http://");
    let metrics = Metrics::new()?;
    let said = ClockCheck::new(of, &url, BOUND)?.check(&metrics).await.err();
    let skew = metrics.clock_skew.with_label_values(&[of.as_str()]).get();
    Ok((said.map(|said| said.to_string()), skew))
}

#[tokio::test]
async fn each_venue_tells_a_right_clock_from_one_that_is_behind() -> anyhow::Result<()> {
    for of in Venue::ALL {
        let (said, skew) = check(of, Duration::ZERO).await?;
        ensure!(said.is_none() && skew.abs() < BOUND.as_secs_f64(), "{of}: {said:?}, {skew}");
        let (said, skew) = check(of, Duration::from_secs(20)).await?;
        let said = said.unwrap_or_default();
        ensure!(said.contains("s behind by that of") && said.contains(of.as_str()), "{said}");
        ensure!(said.contains("--max-clock-skew 3s") && said.contains("NTP"), "{said}");
        ensure!(skew < -15.0, "{skew}");
    }
    Ok(())
}

#[tokio::test]
async fn a_venue_that_does_not_answer_stops_nobody() -> anyhow::Result<()> {
    let watch = ClockCheck::new(Venue::Coinbase, "http://127.0.0.1:1", BOUND)?;
    ensure!(watch.check(&Metrics::new()?).await.is_ok());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_whose_clock_is_behind_does_not_begin() -> anyhow::Result<()> {
    let url = venue(Venue::Coinbase, Duration::from_secs(20)).await?;
    let run = move || {
        let arguments = ["run", "--venue", "coinbase", "--products", "BTC-USD", "--url", &url];
        // Nobody listens there: the clock is looked at first.
        let kafka = ["--bootstrap-servers", "127.0.0.1:1", "--metrics", "127.0.0.1:0"];
        Command::new(env!("CARGO_BIN_EXE_producer")).args(arguments).args(kafka).output()
    };
    let output = tokio::task::spawn_blocking(run).await??;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = said.lines().last().unwrap_or_default();
    ensure!(!output.status.success(), "{said}");
    ensure!(last.contains("the clock of this machine is") && last.contains("behind"), "{said}");
    Ok(())
}
