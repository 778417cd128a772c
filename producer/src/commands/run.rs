//! `producer run`: publishes the live feeds of a plan and serves metrics, until stopped.
//!
//! ```text
//! plan ─→ feed (task) ─┐
//!         feed (task) ─┴─ Output, bounded ──→ sink (thread) ──→ Kafka
//! ```
//!
//! Stopping follows the stream: the feeds end, the channel empties, the queue is flushed. Records
//! that Kafka does not acknowledge within `--flush-timeout` are reported, and the exit code is not
//! 0. A skewed clock stops the process the same way (`feed/clock_skew.rs`).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;
use cli::signal::StopSignals;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::net::TcpListener;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot, watch};
use venues::pipeline::Output;
use venues::{Channel, Follow};

use super::connect::connect;
use crate::clock;
use crate::config::RunConfig;
use crate::feed::backfill::{self, BackfillConfig};
use crate::feed::books::snapshots::Snapshots;
use crate::feed::clock_skew::ClockCheck;
use crate::feed::listings::{ListingSource, Listings};
use crate::feed::{Feed, FeedContext};
use crate::metrics::Metrics;
use crate::plan::Plan;
use crate::plan::budget::RateLimiter;
use crate::plan::instruments::ListingAnswer;
use crate::sink::Sink;
use crate::sink::config::SinkError;

/// Outputs between feed and sink. Small: what waits belongs in the sink's queue, which is bounded
/// by flags.
pub(super) const CHANNEL: usize = 1024;

/// Runs until a signal, or until the sink cannot go on.
pub fn run(config: &RunConfig) -> anyhow::Result<()> {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let metrics = Arc::new(Metrics::new()?);
    metrics.declare(config.follow.venue);
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    // The plan first: its errors are reported before anything connects.
    let (plan, listing) = runtime.block_on(config.follow.plan())?;
    let (venue, url) = (config.follow.venue, config.follow.history_url());
    let clock = ClockCheck::new(venue, &url, config.max_clock_skew)?;
    runtime.block_on(clock.check(&metrics))?;
    let sink = connect(&config.live.kafka, &config.sink(), &metrics)?;
    let result = runtime.block_on(live(config, &plan, listing, sink, &metrics, &clock));
    runtime.shutdown_background();
    result
}

async fn live(
    config: &RunConfig,
    plan: &Plan,
    listing: Vec<ListingAnswer>,
    sink: Sink,
    metrics: &Arc<Metrics>,
    clock: &ClockCheck,
) -> anyhow::Result<()> {
    let mut stop = StopSignals::listen()?;
    serve(config.live.metrics, config.follow.venue.as_str(), metrics).await?;
    let stopping = sink.stopping();
    let (outputs, inbox) = mpsc::channel(CHANNEL);
    let mut finished = spawn_sink(sink, inbox)?;
    let (shutdown, watching) = watch::channel(false);
    let outputs = with_backfill(config, metrics, outputs, &watching)?;
    let (capture, captured) = config.capture()?.unzip();
    let limiter = RateLimiter::new(config.follow.budget());
    let context = FeedContext::new(Arc::clone(metrics), outputs, watching, limiter);
    let context = context.captured(capture).fetching(snapshots(config)?);
    let context = context.listing(listings(config, listing, metrics));
    // Kept by the feeds alone: sink and capture end with the last of them.
    feeds(config, plan, &context)?;
    drop(context);
    let skewed = tokio::select! {
        ended = &mut finished => {
            ended.context("the sink ended without a word")??;
            bail!("the feed ended by itself: see the log");
        }
        () = stop.wait() => Ok(()),
        skewed = clock.watch(metrics) => Err(skewed),
    };
    tracing::info!("stopping");
    shutdown.send_replace(true);
    delivered(finished, &stopping, config.live.kafka.flush_timeout).await?;
    whole(captured)?;
    tracing::info!("stopped, everything is delivered or kept");
    Ok(skewed?)
}

/// Waits until the sink has delivered or kept everything; after `patience` it no longer waits for Kafka.
pub(super) async fn delivered(
    mut finished: oneshot::Receiver<Result<(), SinkError>>,
    stopping: &AtomicBool,
    patience: Duration,
) -> anyhow::Result<()> {
    let ended = tokio::select! {
        ended = &mut finished => ended,
        () = tokio::time::sleep(patience) => {
            stopping.store(true, Ordering::Relaxed);
            finished.await
        }
    };
    Ok(ended.context("the sink ended without a word")??)
}

/// Waits for the end of a capture, which is whole unless its thread says otherwise.
pub(super) fn whole(captured: Option<thread::JoinHandle<io::Result<()>>>) -> anyhow::Result<()> {
    match captured.map(thread::JoinHandle::join) {
        Some(Ok(written)) => written.context("the capture is not whole"),
        _ => Ok(()),
    }
}

/// The channel of the feeds, with backfill on the way unless it is turned off.
fn with_backfill(
    config: &RunConfig,
    metrics: &Arc<Metrics>,
    outputs: mpsc::Sender<Output>,
    shutdown: &watch::Receiver<bool>,
) -> anyhow::Result<mpsc::Sender<Output>> {
    let Some(rest_url) = config.backfill_url() else {
        return Ok(outputs);
    };
    let (venue, shutdown) = (config.follow.venue, shutdown.clone());
    let seed = clock::now_micros().cast_unsigned();
    let fetched = BackfillConfig { venue, rest_url, shutdown, seed };
    backfill::between(fetched, Arc::clone(metrics), outputs)
}

/// The requests for snapshots of books, where books are followed and their snapshots are fetched.
fn snapshots(config: &RunConfig) -> anyhow::Result<Option<Snapshots>> {
    let follow = config.follow.followed().follow;
    let pace = config.follow.venue.adapter().books.snapshot_pace;
    let pace = pace.filter(|_| follow.has(Channel::Book));
    let start = |pace: fn(Follow) -> _| Snapshots::start(config.follow.rest_url(), pace(follow));
    pace.map(start).transpose().context("cannot make a client of HTTP requests")
}

/// The facts of instruments, where whole tickers are followed.
fn listings(
    config: &RunConfig,
    first: Vec<ListingAnswer>,
    metrics: &Arc<Metrics>,
) -> Option<Listings> {
    let follow = &config.follow;
    follow.follows_tickers().then(|| {
        let (rest, url) = (follow.rest_url(), follow.url());
        let source = ListingSource::new(follow.venue, rest, url, follow.currencies());
        Listings::start(source, first, Arc::clone(metrics))
    })
}

/// A task for each connection of the plan.
fn feeds(config: &RunConfig, plan: &Plan, context: &FeedContext) -> anyhow::Result<()> {
    let venue = config.follow.venue.as_str();
    let instruments = i64::try_from(plan.instruments()).unwrap_or(i64::MAX);
    context.metrics.instruments.with_label_values(&[venue]).set(instruments);
    let seed = clock::now_micros().cast_unsigned();
    for (number, connection) in (0..).zip(&plan.connections) {
        let rng = StdRng::seed_from_u64(seed.wrapping_add(number));
        let feed = Feed::new(config.feed(connection.clone())?, context.clone(), rng);
        let feed = if plan.connections.len() > 1 { feed.one_of_several() } else { feed };
        tokio::spawn(feed.run());
    }
    tracing::info!(venue, instruments, connections = plan.connections.len(), "running");
    Ok(())
}

/// The sink on a thread of its own: everything it does blocks.
pub(super) fn spawn_sink(
    mut sink: Sink,
    mut inbox: mpsc::Receiver<Output>,
) -> anyhow::Result<oneshot::Receiver<Result<(), SinkError>>> {
    let (done, finished) = oneshot::channel();
    let work = move || {
        let mut drain = || {
            while let Some(output) = next(&mut inbox, &mut sink)? {
                sink.publish_live(&output)?;
            }
            sink.finish()
        };
        // An error means that the receiver is gone.
        let _ = done.send(drain());
    };
    thread::Builder::new().name("sink".into()).spawn(work).context("cannot start a thread")?;
    Ok(finished)
}

/// The next output; while there is none, the spool is worked on.
fn next(inbox: &mut mpsc::Receiver<Output>, sink: &mut Sink) -> Result<Option<Output>, SinkError> {
    while sink.pending() {
        match inbox.try_recv() {
            Ok(output) => return Ok(Some(output)),
            Err(TryRecvError::Disconnected) => return Ok(None),
            Err(TryRecvError::Empty) => sink.idle()?,
        }
    }
    Ok(inbox.blocking_recv())
}

/// Serves `/metrics` for Prometheus and `/healthz` for a supervisor.
pub(super) async fn serve(
    address: SocketAddr,
    venue: &'static str,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot serve metrics at {address}: choose another --metrics or free the port")
    })?;
    tracing::info!(address = %listener.local_addr()?, "serving metrics");
    let router = Router::new()
        .route("/metrics", get(render))
        .route("/healthz", get(async || "ok\n"))
        .with_state((venue, Arc::clone(metrics)));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "metrics are no longer served");
        }
    });
    Ok(())
}

async fn render(State((venue, metrics)): State<(&'static str, Arc<Metrics>)>) -> impl IntoResponse {
    match metrics.render(venue, clock::now()) {
        Ok(text) => Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4")], text)),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}
