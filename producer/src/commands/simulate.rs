//! `producer simulate`: serves a simulated venue.

use anyhow::Context;
use cli::signal::StopSignals;
use simulator::Simulator;
use simulator::ethereum::Node;

use crate::config::{SimulateConfig, Simulated};

/// Serves the simulated venue until a signal.
pub fn simulate(config: &SimulateConfig) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(async {
        match config.venue {
            Simulated::Exchange(_) => exchange(config).await,
            Simulated::Ethereum => ethereum(config).await,
        }
    })
}

async fn exchange(config: &SimulateConfig) -> anyhow::Result<()> {
    let mut stop = StopSignals::listen()?;
    let simulator = Simulator::bind(&config.listen.to_string(), &config.simulator()?).await?;
    tracing::info!(
        venue = config.venue.as_str(),
        url = simulator.url()?,
        products = simulator.products(),
        "simulating"
    );
    tokio::select! {
        () = simulator.run() => {}
        () = stop.wait() => {}
    }
    Ok(())
}

async fn ethereum(config: &SimulateConfig) -> anyhow::Result<()> {
    let mut stop = StopSignals::listen()?;
    let node = Node::bind(&config.listen.to_string(), &config.ethereum()).await?;
    tracing::info!(
        venue = config.venue.as_str(),
        url = node.url()?,
        chain = config.chain.chain_id,
        pools = config.chain.pools,
        "simulating"
    );
    tokio::select! {
        () = node.run() => {}
        () = stop.wait() => {}
    }
    Ok(())
}
