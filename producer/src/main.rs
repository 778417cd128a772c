//! The `producer` program: reads its settings, starts logging, does what it is told.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use producer::config::{Command, Config, SimulateConfig};
use producer::simulator::Simulator;
use producer::{batch, run};

/// Frees what many threads allocated better than the system's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let config = Config::parse();
    cli::exit_code("producer", start(&config))
}

fn start(config: &Config) -> anyhow::Result<()> {
    config.validate()?;
    config.log.start()?;
    tracing::info!(?config, "starting");
    match &config.command {
        Command::Run(run) => run::run(run),
        Command::Plan(follow) => run::plan(follow),
        Command::Simulate(simulate) => serve(simulate),
        Command::Replay(replay) => batch::replay(replay),
        Command::PriceEvents(price_events) => batch::price_events(price_events),
        Command::Load(load) => batch::load(load),
    }
}

fn serve(config: &SimulateConfig) -> anyhow::Result<()> {
    let simulator = config.simulator();
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut stop = cli::signal::Stop::listen()?;
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
