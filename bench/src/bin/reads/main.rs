//! Readers of views over REST: how many, how long each route takes, and what an answer costs.
//!
//! ```text
//! bench-reads --address 127.0.0.1:8110 --pid $(pgrep -f 'processor serve') --rate 5000 --seconds 10
//! ```
//!
//! Each connection is kept and asks one thing at a time. With a rate, every read has a time at which
//! it is due, whatever became of those before; a read that finds no connection free waits, and its
//! latency counts from when it was due. Without one each connection asks again at once (a closed
//! loop): that finds how many there can be, and its latencies say nothing of a load that comes by
//! itself. Pairs are drawn as the load draws them, the first most often.

mod http;
mod mix;
mod tally;

use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use serde_json::{Value, json};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, sleep_until};

use http::Connection;
use mix::{Mix, Requests, Share};
use tally::Tally;

/// Before another attempt at a view that does not answer: a client with manners.
const PAUSE: Duration = Duration::from_millis(50);
/// A read that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(15);
/// Before the first read that counts.
const WARM: Duration = Duration::from_secs(2);

/// Readers of views over REST.
#[derive(Parser)]
struct Args {
    /// A member or view on this machine; may be given again, and each has its part of the reads.
    #[arg(long = "address", required = true)]
    addresses: Vec<SocketAddr>,
    /// The process of each address, whose processor time is looked at.
    #[arg(long = "pid")]
    pids: Vec<u32>,
    /// Reads a second over all addresses; 0 is a closed loop.
    #[arg(long, default_value_t = 0)]
    rate: u32,
    /// Connections to each address.
    #[arg(long, default_value_t = 16)]
    connections: u32,
    /// For how long it is measured.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Parts of the reads: one, many, candles, exchanges, base.
    #[arg(
        long,
        default_value = "one=70,many=10,candles=15,exchanges=1,base=4",
        value_delimiter = ','
    )]
    mix: Vec<Share>,
    /// Pairs that there are.
    #[arg(long, default_value_t = 5_000)]
    keys: u32,
    /// Pairs of an array.
    #[arg(long, default_value_t = 20)]
    many: usize,
    /// The first minute of the candles, of which an answer has at most sixty.
    #[arg(long, default_value_t = 0)]
    from_ms: i64,
}

/// When reads are due and when they count.
#[derive(Clone, Copy)]
struct Plan {
    from: Instant,
    until: Instant,
    /// Between two reads of one connection; none is a closed loop.
    every: Option<Duration>,
}

/// One connection, until the end.
async fn reader(
    address: SocketAddr,
    plan: Plan,
    first_due: Instant,
    mut requests: Requests,
    tally: Rc<Tally>,
) {
    let mut connection = None;
    let mut due = first_due;
    while Instant::now() < plan.until && due < plan.until {
        let waits = plan.every.is_some() && Instant::now() < due;
        if waits {
            sleep_until(due).await;
        }
        // That this program woke late is not the view's doing; that no connection was free is.
        let since = if plan.every.is_none() || waits { Instant::now() } else { due };
        let (route, request) = requests.next();
        let asked = tokio::time::timeout(PATIENCE, ask(&mut connection, address, &request)).await;
        let answer = asked.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in time")));
        let failed = answer.is_err();
        if since >= plan.from {
            tally.add(route, since.elapsed(), answer);
        }
        if failed {
            connection = None;
            sleep(PAUSE).await;
        }
        if let Some(every) = plan.every {
            due += every;
        }
    }
}

async fn ask(
    connection: &mut Option<Connection>,
    address: SocketAddr,
    request: &[u8],
) -> Result<http::Answer> {
    if connection.is_none() {
        *connection = Some(Connection::open(address).await?);
    }
    let open = connection.as_mut().context("a connection")?;
    open.ask(request).await
}

/// User and system time of a process, in microseconds.
fn cpu_us(pid: u32) -> Result<u64> {
    // In ticks of a hundredth of a second, as Linux has them for everybody.
    const TICK_US: u64 = 10_000;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks = fields.skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(ticks * TICK_US)
}

/// What a process that has been killed had used is not known.
fn cpu_of(pids: &[u32]) -> Vec<Option<u64>> {
    pids.iter().map(|pid| cpu_us(*pid).ok()).collect()
}

async fn measure(args: &Args) -> Result<Value> {
    ensure!(args.addresses.iter().all(|address| address.ip().is_loopback()), "this machine only");
    ensure!(args.connections > 0 && args.seconds > 0 && args.keys > 0, "none is nothing");
    let mix = Rc::new(Mix::new(&args.mix, args.keys, args.many, args.from_ms)?);
    let begin = Instant::now();
    let from = begin + WARM;
    let until = from + Duration::from_secs(args.seconds);
    let targets = u32::try_from(args.addresses.len())?;
    let connections = args.connections * targets;
    let every = (args.rate > 0).then(|| Duration::from_secs(1) * connections / args.rate);
    let plan = Plan { from, until, every };
    let tallies: Vec<_> = args.addresses.iter().map(|_| Rc::new(Tally::default())).collect();
    let readers = LocalSet::new();
    for index in 0..connections {
        let target = (index % targets) as usize;
        let first = begin + plan.every.unwrap_or_default() * index / connections;
        let requests = Requests::new(Rc::clone(&mix), index);
        let tally = Rc::clone(&tallies[target]);
        readers.spawn_local(reader(args.addresses[target], plan, first, requests, tally));
    }
    let (pids, own) = (args.pids.clone(), std::process::id());
    let cpu = readers.spawn_local(async move {
        sleep_until(from).await;
        let before = (cpu_of(&pids), cpu_us(own).ok());
        sleep_until(until).await;
        (before, (cpu_of(&pids), cpu_us(own).ok()))
    });
    readers.await;
    let (before, after) = cpu.await?;
    let used = |from: Option<u64>, to: Option<u64>| Some(to?.saturating_sub(from?));
    let targets = tallies.iter().enumerate().map(|(index, tally)| {
        let at = |cpu: &[Option<u64>]| cpu.get(index).copied().flatten();
        let cpu = used(at(&before.0), at(&after.0));
        tally.of_target(args.addresses[index], cpu)
    });
    let reads: u64 = tallies.iter().map(|tally| tally.reads()).sum();
    Ok(json!({
        "closed_loop": args.rate == 0, "offered_per_s": args.rate, "seconds": args.seconds,
        "connections": connections, "reads_per_s": reads / args.seconds,
        "client_cpu_us": used(before.1, after.1),
        "targets": targets.collect::<Vec<_>>(), "routes": Tally::routes(&tallies),
    }))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let report = measure(&Args::parse()).await?;
    writeln!(std::io::stdout(), "{report:#}")?;
    Ok(())
}
