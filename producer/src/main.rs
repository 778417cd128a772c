//! The `producer` program: reads its settings, starts logging, runs the command.

use std::process::ExitCode;

use clap::Parser;
use producer::commands::{chain, load, plan, price_events, replay, run, simulate};
use producer::config::{ByVenue, Command, Config};

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
        Command::Run(run) => match &**run {
            ByVenue::Market(run) => run::run(run),
            ByVenue::Chain(run) => chain::run(run),
        },
        Command::Plan(follow) => match &**follow {
            ByVenue::Market(follow) => plan::plan(follow),
            ByVenue::Chain(chain) => plan::plan_chain(chain),
        },
        Command::Simulate(simulate) => simulate::simulate(simulate),
        Command::Replay(replay) => replay::replay(replay),
        Command::PriceEvents(events) => price_events::price_events(events),
        Command::Load(load) => load::load(load),
    }
}
