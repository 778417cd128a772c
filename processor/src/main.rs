//! The processor: parse, log, build, run; an error is one line and an exit code.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use ::cli::secret::Setting;
use ::cli::signal;
use anyhow::{Context as _, Result};
use axum::Router;
use clap::Parser as _;
use processor::api::{
    self, ConnectionLimits, ConnectionMetrics, History, ReadService, router, stream,
};
use processor::checks::{DivergenceGauges, VenueGauges};
use processor::config::{
    Candles, ChangePairs, Cli, Command, Compute, CreateTopics, Http, Kafka, Pairs, Query,
    ResetCommand, Run, Serve, Stores, TopicsCommand,
};
use processor::topology::{self, Topologies};
use processor::{cli, compute, migrate};
use prometheus::Registry;
use rustls::ServerConfig;
use schemas::topic::Topic;
use schemas::{Codec, PairChange};
use streams::Topology;
use streams::runtime::{
    App, Metrics, Queries, Reset, ResetConfig, Stop, TopicSpec, View, create_topics,
};
use streams::topology::SubTopology;

// Records are freed on another thread than the one that allocated them, which costs glibc more.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments = Cli::parse();
    ::cli::exit_code("processor", start(arguments))
}

fn start(arguments: Cli) -> Result<()> {
    arguments.log.start()?;
    match arguments.command {
        Command::Run(config) => run(&config),
        Command::Serve(config) => view(&config),
        Command::Compute(config) => compute_topic(&config),
        Command::Candles(config) => print_candles(&config),
        Command::Query(query) => print_answer(&query),
        Command::Topics(TopicsCommand::Create(config)) => make_topics(&config),
        Command::Topics(TopicsCommand::List { topic_prefix }) => list_topics(&topic_prefix),
        Command::Pairs(Pairs::Reset(config)) => change_pairs(PairChange::Reset, &config),
        Command::Pairs(Pairs::End(config)) => change_pairs(PairChange::Ended, &config),
        Command::Reset(config) => reset(&config),
        Command::Migrate(config) => migrate::run(&config, &mut std::io::stdout().lock()),
    }
}

fn run(config: &Run) -> Result<()> {
    let engine = config.runtime();
    engine.validate()?;
    tracing::info!(?config, "starting");
    let process = Process::new(&config.kafka, &config.stores, &config.http)?;
    let input_prefix = config.input_prefix.as_ref().unwrap_or(&config.kafka.topic_prefix);
    let topologies = config.topologies;
    let topology = process.topology(input_prefix, topologies, config.confirmations)?;
    let metrics = process.metrics()?;
    let app = App::new(&topology, engine, metrics, process.queries(), process.stop.clone())?;
    process.serve_while(move || app.run())
}

fn view(config: &Serve) -> Result<()> {
    let engine = config.runtime();
    engine.validate()?;
    tracing::info!(?config, "starting");
    let process = Process::new(&config.kafka, &config.stores, &config.http)?;
    // A view computes nothing.
    let confirmations = topology::CONFIRMATIONS;
    let prefix = &config.kafka.topic_prefix;
    let topology = process.topology(prefix, config.topologies, confirmations)?;
    let metrics = process.metrics()?;
    let view = View::new(topology, engine, metrics, process.queries(), process.stop.clone())?;
    process.serve_while(move || view.run())
}

/// The state that a member of the group and a view share.
struct Process {
    listener: std::net::TcpListener,
    topic_prefix: String,
    service: ReadService,
    routes: Router,
    tls: Option<Arc<ServerConfig>>,
    limits: ConnectionLimits,
    connections: ConnectionMetrics,
    stop: Stop,
}

impl Process {
    fn new(kafka: &Kafka, stores: &Stores, http: &Http) -> Result<Self> {
        let guards = http.guards(stores.listen)?;
        let limits = http.limits()?;
        let files = http.tls_cert.as_ref().zip(http.tls_key.as_ref());
        let tls = files.map(|(cert, key)| api::server_config(cert, key)).transpose()?;
        let listener = std::net::TcpListener::bind(stores.listen).with_context(|| {
            format!("cannot listen on {}: is it in use? set --listen", stores.listen)
        })?;
        let topic_prefix = kafka.topic_prefix.clone();
        let codec = Arc::new(stores.registry.client()?.codec(&topic_prefix)?);
        let (registry, budget) = (Registry::new(), http.budget());
        let connections = ConnectionMetrics::new(&registry)?;
        budget.register(&registry)?;
        let mut service = ReadService::new(Queries::default(), codec, registry, budget);
        let (queries, codec) = (service.queries.clone(), Arc::clone(&service.codec));
        DivergenceGauges::register(&service.registry, queries.clone(), Arc::clone(&codec))?;
        VenueGauges::register(&service.registry, queries, codec)?;
        let history = stores.history_url.as_ref();
        let history = history.map(|url| History::new(url, &service.registry)).transpose()?;
        service.history = history.map(Arc::new);
        let stop = Stop::default();
        let streaming = stream::router(&service, &stores.stream, &stop)?;
        let routes = router(service.clone(), &guards, streaming)?;
        Ok(Self { listener, topic_prefix, service, routes, tls, limits, connections, stop })
    }

    fn topology(
        &self,
        input_prefix: &str,
        topologies: Topologies,
        confirmations: i64,
    ) -> streams::Result<Topology> {
        let (codec, prefix) = (&self.service.codec, &self.topic_prefix);
        topology::topology_confirmed(codec, input_prefix, prefix, topologies, confirmations)
    }

    fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics::new("processor", &self.service.registry)?)
    }

    fn queries(&self) -> Queries {
        self.service.queries.clone()
    }

    /// Runs the engine on its own thread and serves, until one of them ends or a signal comes.
    fn serve_while(self, run: impl FnOnce() -> streams::Result<()> + Send + 'static) -> Result<()> {
        let stop = self.stop.clone();
        let engine = std::thread::Builder::new().name("engine".into()).spawn({
            let stop = stop.clone();
            move || {
                let result = run();
                stop.set();
                result
            }
        })?;
        let runtime = tokio::runtime::Runtime::new()?;
        let serving = runtime.block_on(self.serve());
        stop.set();
        // Cuts off connections and reads that are still open.
        runtime.shutdown_background();
        let ran = engine.join().map_err(|_| anyhow::anyhow!("the engine panicked"))?;
        ran?;
        serving
    }

    /// Serves until a signal comes or the application stops.
    async fn serve(self) -> Result<()> {
        let Self { listener, routes, tls, limits, connections, stop, .. } = self;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        tracing::info!(?limits, %address, "serving metrics, health and reads");
        let mut signal = signal::StopSignals::listen()?;
        let stopped = async move {
            tokio::select! {
                () = signal.wait() => {}
                () = application_stopped(&stop) => {}
            }
            tracing::info!("stopping");
            stop.set();
        };
        api::serve(listener, routes, tls, limits, connections, stopped).await;
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that waits for the application")]
async fn application_stopped(stop: &Stop) {
    while !stop.is_set() {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

fn compute_topic(config: &Compute) -> Result<()> {
    let options = compute::ComputeOptions {
        print: config.print,
        changes: config.changes,
        listing: config.listing.clone(),
        commit_every: compute::COMMIT_EVERY,
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    read_enough(compute::run(&config.recorded.files, &options, &mut out))
}

fn print_candles(config: &Candles) -> Result<()> {
    let options = compute::CandlesOptions { interval: config.interval, closed: config.closed };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    read_enough(compute::candles(&config.recorded.files, options, &mut out))
}

fn print_answer(query: &Query) -> Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    read_enough(cli::run(query, &mut out).and_then(|()| Ok(out.flush()?)))
}

fn change_pairs(change: PairChange, config: &ChangePairs) -> Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let changed = cli::pairs::run(change, config, api::now(), &mut out);
    read_enough(changed.and_then(|()| Ok(out.flush()?)))
}

fn reset(config: &ResetCommand) -> Result<()> {
    let prefix = &config.kafka.topic_prefix;
    let input_prefix = config.input_prefix.as_ref().unwrap_or(prefix);
    let codec = Arc::new(Codec::offline());
    // All of them, so that tasks have the numbers that they have in a group of all.
    let topology = topology::topology_from(&codec, input_prefix, prefix, Topologies::ALL)?;
    let sources = config.sub_topology.sources(input_prefix);
    let source = sources.first().context("a sub-topology has no source: this is a bug")?;
    let of = topology.of_source(source).with_context(|| format!("nothing reads {source}"))?;
    let kafka = Setting::pairs(&config.kafka.settings);
    let application = ResetConfig {
        bootstrap_servers: &config.kafka.bootstrap_servers,
        kafka: &kafka,
        application_id: &config.application_id,
    };
    let settings = |name: &str| {
        let topic = Topic::ALL.into_iter().find(|topic| topic.name(prefix) == name);
        topic.map(Topic::settings).unwrap_or_default()
    };
    let reset = Reset::plan(application, &topology, of, settings)?;
    let mut out = std::io::stdout().lock();
    write!(out, "{reset}")?;
    if !config.yes {
        writeln!(out, "not done: add --yes, once all members are stopped")?;
        return Ok(());
    }
    reset.run()?;
    writeln!(out, "done: start members with new state directories")?;
    Ok(())
}

/// A reader that closes the pipe, such as `head`, is no error.
fn read_enough(printed: Result<()>) -> Result<()> {
    match &printed {
        Err(error) if is_broken_pipe(error) => Ok(()),
        _ => printed,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn make_topics(config: &CreateTopics) -> Result<()> {
    let topics = Topic::ALL.into_iter().map(|topic| TopicSpec {
        name: topic.name(&config.kafka.topic_prefix),
        partitions: config.partitions,
        replication: config.replication_factor,
        settings: topic.settings(),
    });
    let all = topology::topology(&Arc::new(Codec::offline()), "", Topologies::ALL)?;
    let of_group = |group: &str| {
        let all = all.of_application(group);
        let ids = all.sub_topologies().iter().flat_map(SubTopology::repartitions);
        let (partitions, copies) = (config.partitions, config.replication_factor);
        ids.map(|id| TopicSpec::repartition(all.sub_topology(*id), partitions, copies)).collect()
    };
    let repartitions: Vec<TopicSpec> = config.group().map(of_group).unwrap_or_default();
    let topics: Vec<TopicSpec> = topics.chain(repartitions).collect();
    let settings = Setting::pairs(&config.kafka.settings);
    let created = create_topics(&config.kafka.bootstrap_servers, &settings, &topics)?;
    tracing::info!(?created, existed = topics.len() - created.len(), "topics");
    Ok(())
}

fn list_topics(prefix: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for topic in Topic::ALL {
        let settings = topic.settings();
        let value = |name: &str| {
            settings.iter().find(|(n, _)| *n == name).map_or("", |(_, value)| value.as_str())
        };
        writeln!(
            out,
            "{}\t{}\t{}",
            topic.name(prefix),
            value("cleanup.policy"),
            value("retention.ms")
        )?;
    }
    Ok(())
}
