//! The `producer` program: reads its settings, starts logging, runs the command.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use producer::commands::{load, plan, price_events, replay, run, simulate};
use producer::config::{Command, Config, LogFormat};
use tracing_subscriber::EnvFilter;

/// Frees what many threads allocated better than the system's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let config = Config::parse();
    match start(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line; nothing can be done when standard error is closed.
            let _ = writeln!(io::stderr(), "producer: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(config: &Config) -> anyhow::Result<()> {
    config.validate()?;
    log_to_stderr(config.log_format)?;
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

/// `RUST_LOG` decides what is logged; `info` without it.
fn log_to_stderr(format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .from_env()
        .context("RUST_LOG cannot be read")?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
