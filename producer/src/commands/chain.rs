//! `producer run --venue ethereum`: publishes the swaps of a chain's pools and serves metrics, until
//! stopped. Stopping is as in [`super::run`]. A node of another chain, or one that gives the tokens of
//! no pool, ends the process with an error.

use std::sync::Arc;

use anyhow::{Context, bail};
use cli::signal::StopSignals;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, watch};
use venues::ethereum::NAME;

use super::connect::connect;
use super::run::{CHANNEL, delivered, serve, spawn_sink, whole};
use crate::clock;
use crate::config::ChainRunConfig;
use crate::feed::FeedContext;
use crate::feed::chain::{ChainFeed, ChainFeedConfig, NODE_LIMITS};
use crate::metrics::Metrics;
use crate::plan::budget::RateLimiter;
use crate::sink::Sink;

/// Runs until a signal, or until the chain or the sink cannot be used.
pub fn run(config: &ChainRunConfig) -> anyhow::Result<()> {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let metrics = Arc::new(Metrics::new()?);
    metrics.declare_chain();
    let feed = config.feed()?;
    let sink = connect(&config.live.kafka, &config.sink(), &metrics)?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let result = runtime.block_on(live(config, feed, sink, &metrics));
    runtime.shutdown_background();
    result
}

async fn live(
    config: &ChainRunConfig,
    feed: ChainFeedConfig,
    sink: Sink,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<()> {
    let mut stop = StopSignals::listen()?;
    serve(config.live.metrics, NAME, metrics).await?;
    let stopping = sink.stopping();
    let (outputs, inbox) = mpsc::channel(CHANNEL);
    let mut finished = spawn_sink(sink, inbox)?;
    let (shutdown, watching) = watch::channel(false);
    let (capture, captured) = config.capture()?.unzip();
    let pools = feed.follower.pools.len() + feed.follower.addresses.len();
    let gauge = i64::try_from(pools).unwrap_or(i64::MAX);
    metrics.instruments.with_label_values(&[NAME]).set(gauge);
    tracing::info!(venue = NAME, chain = feed.follower.chain, pools, url = %feed.url, "running");
    let limiter = RateLimiter::new(NODE_LIMITS);
    let context = FeedContext::new(Arc::clone(metrics), outputs, watching, limiter);
    let rng = StdRng::seed_from_u64(clock::now_micros().cast_unsigned());
    // Sink and capture end with the feed, which alone has their senders.
    let mut feed = tokio::spawn(ChainFeed::new(feed, context.captured(capture), rng).run());
    let ended = tokio::select! {
        ended = &mut finished => {
            ended.context("the sink ended without a word")??;
            bail!("the feed ended by itself: see the log");
        }
        () = stop.wait() => Ok(()),
        ended = &mut feed => ended.context("the feed ended without a word")?,
    };
    tracing::info!("stopping");
    shutdown.send_replace(true);
    delivered(finished, &stopping, config.live.kafka.flush_timeout).await?;
    whole(captured)?;
    tracing::info!("stopped, everything is delivered or kept");
    Ok(ended?)
}
