//! The `producer` program: reads its settings, starts logging, does what it is told.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use producer::config::{Command, Config, LogFormat, SimulateConfig};
use producer::simulator::faults::Faults;
use producer::simulator::{Simulator, SimulatorConfig, history};
use producer::{batch, run};
use tokio::net::TcpListener;
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
        Command::Simulate(simulate) => serve(simulate),
        Command::Replay(replay) => batch::replay(replay),
        Command::PriceEvents(price_events) => batch::price_events(price_events),
        Command::Load(load) => batch::load(load),
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

fn serve(config: &SimulateConfig) -> anyhow::Result<()> {
    let simulator = SimulatorConfig {
        seed: config.seed,
        products: config.products.clone(),
        rate: config.rate,
        faults: Faults {
            disconnect_every: config.disconnect_every,
            silence_every: config.silence_every,
            silence: config.silence,
            malformed_every: config.malformed_every,
            repeat_every: config.repeat_every,
            skip_every: config.skip_every,
        },
    };
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut stop = producer::signal::Stop::listen()?;
        let simulator = Simulator::bind(&config.listen.to_string(), &simulator).await?;
        if let Some(address) = config.rest_listen {
            let rest = TcpListener::bind(address).await.with_context(|| {
                format!("cannot listen at {address}: choose another --rest-listen or free the port")
            })?;
            let (products, market) = simulator.market();
            tokio::spawn(history::serve(rest, products, market, None));
        }
        tracing::info!(url = simulator.url()?, products = simulator.products(), "simulating");
        tokio::select! {
            () = simulator.run() => {}
            () = stop.wait() => {}
        }
        Ok(())
    })
}
