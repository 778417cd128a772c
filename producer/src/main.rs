//! The `producer` program: reads its settings, starts logging, runs the command.

use std::process::ExitCode;

use clap::Parser;
use producer::commands::{load, plan, price_events, replay, run, simulate};
use producer::config::{Command, Config};

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
        Command::Plan(follow) => plan::plan(follow),
        Command::Simulate(simulate) => simulate::simulate(simulate),
        Command::Replay(replay) => replay::replay(replay),
        Command::PriceEvents(events) => price_events::price_events(events),
        Command::Load(load) => load::load(load),
    }
}
