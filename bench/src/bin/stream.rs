//! Many streaming clients at once: how late they hear of a price, what each costs the server, and
//! that those who do not read are sent away while the others hear on.
//!
//! ```text
//! bench-stream --address 127.0.0.1:8080 --pid $(pidof processor) --clients 5000 --slow 100
//! ```
//!
//! Each client hears of one pair and of its minutes. Lateness is from `received_at`, which whoever
//! made the event wrote, to the arrival at the client: commit, follower, tick and socket together.
//! Loopback only: what a network adds is not ours.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use futures_util::{SinkExt as _, StreamExt as _};
use schemas::Timestamp;
use schemas::topic::Topic;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// Of a client's own buffers: thousands of them are in this process.
const BUFFER: usize = 4 << 10;
/// Connections that are made at once.
const AT_ONCE: usize = 64;
/// Subscriptions of one that does not read, so that its buffers are full in seconds.
const GREEDY: u32 = 60;
/// One of so many clients measures; the others read only.
const MEASURES: usize = 10;

/// Many streaming clients at once.
#[derive(Parser)]
struct Args {
    /// The processor, on this machine.
    #[arg(long)]
    address: SocketAddr,
    /// Its process, whose memory is looked at.
    #[arg(long)]
    pid: u32,
    /// Clients that read.
    #[arg(long, default_value_t = 5_000)]
    clients: usize,
    /// Clients that do not.
    #[arg(long, default_value_t = 100)]
    slow: usize,
    /// For how long it is measured.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

type Socket = WebSocketStream<TcpStream>;

async fn connect(address: SocketAddr) -> Result<Socket> {
    let config = WebSocketConfig::default().read_buffer_size(BUFFER).write_buffer_size(0);
    let stream = TcpStream::connect(address).await?;
    let url = format!("ws://{address}/v1/stream");
    let (socket, _) = client_async_with_config(url, stream, Some(config)).await?;
    Ok(socket)
}

fn resident_kib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// The pairs that there are.
async fn pairs(address: SocketAddr) -> Result<Vec<Value>> {
    let mut socket = connect(address).await?;
    let all = json!({ "op": "subscribe", "id": 1, "channel": Topic::Latest.base_name() });
    socket.send(Message::text(all.to_string())).await?;
    while let Some(message) = socket.next().await {
        let Message::Text(text) = message? else { continue };
        let said: Value = serde_json::from_str(&text)?;
        if said["type"] == "snapshot" {
            let rows = said["rows"].as_array().context("no rows")?;
            ensure!(!rows.is_empty(), "there is no price yet: start a load first");
            return Ok(rows.clone());
        }
    }
    anyhow::bail!("the stream ended before the snapshot")
}

/// What the clients count together.
#[derive(Default)]
struct Counts {
    messages: AtomicU64,
    bytes: AtomicU64,
    lost: AtomicU64,
}

/// Reads until the end, and measures if it is told to. Slow ones read nothing.
async fn client(
    mut socket: Socket,
    pair: Value,
    counts: Arc<Counts>,
    late: Option<mpsc::UnboundedSender<i64>>,
    (from, until): (Instant, Instant),
) -> Result<()> {
    for (id, channel) in [(1, Topic::Latest.base_name()), (2, "candles")] {
        let part = |name: &str| pair[name].as_str().unwrap_or_default().to_owned();
        let asked = json!({
            "op": "subscribe", "id": id, "channel": channel,
            "exchange": part("exchange"), "base": part("base"), "quote": part("quote"),
        });
        socket.send(Message::text(asked.to_string())).await?;
    }
    while let Ok(message) = timeout_at(until, socket.next()).await {
        let Some(Ok(Message::Text(text))) = message else {
            counts.lost.fetch_add(1, Ordering::Relaxed);
            break;
        };
        if Instant::now() < from {
            continue;
        }
        counts.messages.fetch_add(1, Ordering::Relaxed);
        counts.bytes.fetch_add(text.len() as u64, Ordering::Relaxed);
        let Some(late) = &late else { continue };
        if text.contains("\"type\":\"update\",\"id\":1,") {
            let at =
                text.split("\"received_at\":\"").nth(1).and_then(|rest| rest.split('"').next());
            let made = at.and_then(Timestamp::parse_rfc3339).context("no received_at")?;
            let _ = late.send(now_ms() - made.0);
        }
    }
    Ok(())
}

async fn greedy(mut socket: Socket, until: Instant) -> Result<()> {
    for id in 0..GREEDY {
        let asked = json!({ "op": "subscribe", "id": id, "channel": Topic::Latest.base_name() });
        socket.send(Message::text(asked.to_string())).await?;
    }
    tokio::time::sleep_until(until).await;
    Ok(())
}

async fn connect_all(address: SocketAddr, count: usize) -> Result<Vec<Socket>> {
    let connecting = (0..count).map(|_| connect(address));
    let mut made = futures_util::stream::iter(connecting).buffer_unordered(AT_ONCE);
    let mut sockets = Vec::with_capacity(count);
    while let Some(socket) = made.next().await {
        sockets.push(socket?);
    }
    Ok(sockets)
}

async fn measure(args: &Args) -> Result<()> {
    ensure!(args.address.ip().is_loopback(), "it measures on this machine only");
    let pairs = pairs(args.address).await?;
    let before = resident_kib(args.pid)?;
    let sockets = connect_all(args.address, args.clients).await?;
    let slow = connect_all(args.address, args.slow).await?;
    let from = Instant::now() + Duration::from_secs(5);
    let until = from + Duration::from_secs(args.seconds);
    let counts = Arc::new(Counts::default());
    let (sender, mut late) = mpsc::unbounded_channel();
    let mut tasks = tokio::task::JoinSet::new();
    for (index, socket) in sockets.into_iter().enumerate() {
        let measures = index.is_multiple_of(MEASURES).then(|| sender.clone());
        let pair = pairs[index % pairs.len()].clone();
        tasks.spawn(client(socket, pair, Arc::clone(&counts), measures, (from, until)));
    }
    drop(sender);
    for socket in slow {
        tasks.spawn(greedy(socket, until));
    }
    tokio::time::sleep_until(until - Duration::from_secs(1)).await;
    let after = resident_kib(args.pid)?;
    let mut failed = 0;
    while let Some(ended) = tasks.join_next().await {
        failed += usize::from(ended?.is_err());
    }
    let mut times = Vec::new();
    while let Some(time) = late.recv().await {
        times.push(time);
    }
    times.sort_unstable();
    ensure!(!times.is_empty(), "nothing was heard: is there a live load?");
    let at = |share: usize| times[(times.len() - 1) * share / 1000];
    let report = json!({
        "clients": args.clients, "pairs": pairs.len(), "slow": args.slow, "seconds": args.seconds,
        "messages_per_second": counts.messages.load(Ordering::Relaxed) / args.seconds,
        "bytes_per_second": counts.bytes.load(Ordering::Relaxed) / args.seconds,
        "lateness_ms": { "p50": at(500), "p99": at(990), "p99.9": at(999), "max": at(1000) },
        "readers_lost": counts.lost.load(Ordering::Relaxed), "failed": failed,
        "rss_before_kib": before, "rss_kib": after,
        "kib_per_client": after.saturating_sub(before) / (args.clients + args.slow) as u64,
    });
    writeln!(std::io::stdout(), "{report:#}")?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    measure(&Args::parse()).await
}
