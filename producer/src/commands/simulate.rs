//! `producer simulate`: serves a simulated venue.

use anyhow::Context;
use cli::signal::StopSignals;
use simulator::Simulator;

use crate::config::SimulateConfig;

/// Serves the simulated venue until a signal.
pub fn simulate(config: &SimulateConfig) -> anyhow::Result<()> {
    let simulator = config.simulator()?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut stop = StopSignals::listen()?;
        let simulator = Simulator::bind(&config.listen.to_string(), &simulator).await?;
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
    })
}
