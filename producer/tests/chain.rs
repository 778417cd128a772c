//! The feed of a chain against a node that a test plays: the ends of a connection, and what comes after.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use producer::feed::backoff::Backoff;
use producer::feed::chain::{ChainFeed, ChainFeedConfig, NODE_LIMITS, Unfollowable};
use producer::feed::{CircuitBreaker, FeedContext};
use producer::labels::Cause;
use producer::metrics::Metrics;
use producer::plan::budget::RateLimiter;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};
use venues::ethereum::{FollowerConfig, NAME, listing};
use venues::pipeline::Output;

/// A test that has not seen what it waits for by then has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Never comes in a test.
const NEVER: Duration = Duration::from_mins(10);
/// Refusals after which the breaker opens, and how long it stays so.
const BREAKER: CircuitBreaker = CircuitBreaker { after: 2, pause: Duration::from_millis(500) };
/// The first block of the feed.
const FIRST: i64 = 100;
const POOL: &str = "0x8ad599c3a0ff1de082011efddc58f1908eb6e6d8";
const LISTED: &str = r#"{"chain":1,"pool":"0x8ad599c3a0ff1de082011efddc58f1908eb6e6d8",
    "token0":"0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48",
    "token1":"0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2","fee":3000}"#;
const V3: &str = "0xc42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67";

fn hash(number: i64) -> String {
    format!("0x{number:064x}")
}

fn block(number: i64) -> Value {
    json!({"number": format!("{number:#x}"), "hash": hash(number), "parentHash": hash(number - 1),
        "timestamp": format!("{:#x}", 100 * number)})
}

fn log(number: i64) -> Value {
    json!({"address": POOL, "topics": [V3, hash(1), hash(2)], "data": format!("0x{}", "0".repeat(320)),
        "blockNumber": format!("{number:#x}"), "blockHash": hash(number), "logIndex": "0x2",
        "transactionHash": hash(7), "removed": false})
}

/// A feed, and the listener of the node that it follows.
struct Scene {
    listener: TcpListener,
    metrics: Arc<Metrics>,
    outputs: mpsc::Receiver<Output>,
    shutdown: watch::Sender<bool>,
    feed: JoinHandle<Result<(), Unfollowable>>,
}

impl Scene {
    /// A feed of the listed pool.
    async fn start(head_timeout: Duration) -> Result<Self> {
        let pools = vec![listing::parse(LISTED)?];
        let from_block = Some(FIRST);
        let follower = FollowerConfig { chain: Some(1), pools, from_block, ..Default::default() };
        Self::of(follower, head_timeout).await
    }

    async fn of(follower: FollowerConfig, head_timeout: Duration) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("ws://{}", listener.local_addr()?).parse()?;
        let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(5))?;
        let config = ChainFeedConfig { url, follower, head_timeout, backoff, breaker: BREAKER };
        let metrics = Arc::new(Metrics::new()?);
        let (sender, outputs) = mpsc::channel(16);
        let (shutdown, watching) = watch::channel(false);
        let limiter = RateLimiter::new(NODE_LIMITS);
        let context = FeedContext::new(Arc::clone(&metrics), sender, watching, limiter);
        let feed = tokio::spawn(ChainFeed::new(config, context, StdRng::seed_from_u64(1)).run());
        Ok(Self { listener, metrics, outputs, shutdown, feed })
    }

    async fn accept(&self) -> Result<Peer> {
        let (socket, _) =
            timeout(PATIENCE, self.listener.accept()).await.context("no client")??;
        Ok(Peer { socket: accept_async(socket).await? })
    }

    /// The next record that is no pool: `H12` a head, `S12` a swap, or the reason of a dead letter.
    async fn published(&mut self) -> Result<String> {
        loop {
            let output = timeout(PATIENCE, self.outputs.recv()).await.context("no record")?;
            return Ok(match output.context("the feed has ended")? {
                Output::Pool { .. } => continue,
                Output::Head { head, .. } => format!("H{}", head.block_number),
                Output::Swap { swap, .. } => format!("S{}", swap.block_number.unwrap_or_default()),
                Output::DeadLetter(letter) => letter.reason.into(),
                other => format!("{other:?}"),
            });
        }
    }

    fn reconnects(&self, cause: Cause) -> u64 {
        self.metrics.reconnects.with_label_values(&[NAME, cause.as_str()]).get()
    }

    async fn end(self) -> Result<Result<(), Unfollowable>> {
        Ok(timeout(PATIENCE, self.feed).await.context("the feed goes on")??)
    }
}

/// The node's side of a connection.
struct Peer {
    socket: WebSocketStream<TcpStream>,
}

impl Peer {
    /// The next request.
    async fn hear(&mut self, method: &str) -> Result<Value> {
        loop {
            let message = timeout(PATIENCE, self.socket.next()).await.context("no request")?;
            if let Message::Text(text) = message.context("the feed has gone")?? {
                let request: Value = serde_json::from_str(&text)?;
                ensure!(request["method"] == method, "{request} is not {method}");
                return Ok(request);
            }
        }
    }

    async fn say(&mut self, frame: &Value) -> Result<()> {
        Ok(self.socket.send(Message::text(frame.to_string())).await?)
    }

    /// Answers the next request.
    async fn answer(&mut self, method: &str, result: &Value) -> Result<Value> {
        let request = self.hear(method).await?;
        self.say(&json!({"jsonrpc": "2.0", "id": request["id"], "result": result})).await?;
        Ok(request["params"].clone())
    }

    /// Grants both subscriptions.
    async fn grant(&mut self) -> Result<()> {
        self.answer("eth_chainId", &json!("0x1")).await?;
        self.answer("eth_subscribe", &json!("0xa")).await?;
        self.answer("eth_subscribe", &json!("0xb")).await?;
        Ok(())
    }

    /// The same, at the first block.
    async fn begin(&mut self) -> Result<()> {
        self.grant().await?;
        self.answer("eth_getBlockByNumber", &block(FIRST)).await?;
        self.answer("eth_getLogs", &json!([])).await?;
        Ok(())
    }

    async fn refuse(&mut self) -> Result<()> {
        self.answer("eth_chainId", &json!("0x1")).await?;
        let request = self.hear("eth_subscribe").await?;
        let error = json!({"code": -32_000, "message": "too many subscriptions"});
        self.say(&json!({"jsonrpc": "2.0", "id": request["id"], "error": error})).await
    }

    async fn notify(&mut self, result: &Value) -> Result<()> {
        let subscription = if result["topics"].is_null() { "0xa" } else { "0xb" };
        let params = json!({"subscription": subscription, "result": result});
        self.say(&json!({"jsonrpc": "2.0", "method": "eth_subscription", "params": params})).await
    }

    /// Waits until the feed closes the connection.
    async fn until_left(mut self) -> Result<()> {
        while let Some(Ok(_)) =
            timeout(PATIENCE, self.socket.next()).await.context("the feed stays")?
        {}
        Ok(())
    }
}

#[tokio::test]
async fn a_node_of_another_chain_ends_the_feed() -> Result<()> {
    let scene = Scene::start(NEVER).await?;
    let mut peer = scene.accept().await?;
    peer.answer("eth_chainId", &json!("0x89")).await?;
    let ended = scene.end().await?;
    let is_it = matches!(ended, Err(Unfollowable::WrongChain { expected: 1, found: 137, .. }));
    ensure!(is_it, "{ended:?}");
    Ok(())
}

#[tokio::test]
async fn pools_without_tokens_end_the_feed() -> Result<()> {
    let follower = FollowerConfig { addresses: vec![POOL.into()], ..Default::default() };
    let scene = Scene::of(follower, NEVER).await?;
    let mut peer = scene.accept().await?;
    peer.answer("eth_chainId", &json!("0x1")).await?;
    peer.answer("eth_call", &json!("0x")).await?;
    let refused = scene.metrics.chains.refused.clone();
    let ended = scene.end().await?;
    ensure!(matches!(ended, Err(Unfollowable::NoPools { .. })), "{ended:?}");
    ensure!(refused.with_label_values(&[NAME]).get() == 1);
    Ok(())
}

#[tokio::test]
async fn a_node_that_refuses_its_subscriptions_opens_the_breaker_until_it_grants_them() -> Result<()>
{
    let mut scene = Scene::start(NEVER).await?;
    for _ in 0..BREAKER.after {
        let mut peer = scene.accept().await?;
        peer.refuse().await?;
        peer.until_left().await?;
        ensure!(scene.published().await? == "rpc");
    }
    let breaker = scene.metrics.breakers.with_label_values(&[NAME]);
    reaches(&breaker, 1).await?;
    let mut peer = scene.accept().await?;
    peer.begin().await?;
    ensure!(scene.published().await? == "H100");
    ensure!(breaker.get() == 0 && scene.reconnects(Cause::Refused) == u64::from(BREAKER.after));
    // A refusal after that is the first one again: it opens nothing.
    drop(peer);
    let mut peer = scene.accept().await?;
    peer.refuse().await?;
    let mut next = pin!(scene.accept());
    loop {
        tokio::select! {
            biased;
            peer = &mut next => return peer.map(drop),
            () = tokio::task::yield_now() => ensure!(breaker.get() == 0, "the breaker is open"),
        }
    }
}

/// Waits until a gauge has a value.
async fn reaches(gauge: &prometheus::IntGauge, value: i64) -> Result<()> {
    let looks = async {
        while gauge.get() != value {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, looks).await.with_context(|| format!("the gauge is {}", gauge.get()))
}

#[tokio::test]
async fn a_node_without_new_heads_until_left() -> Result<()> {
    let mut scene = Scene::start(Duration::from_millis(300)).await?;
    let mut peer = scene.accept().await?;
    peer.begin().await?;
    ensure!(scene.published().await? == "H100");
    // Logs are no sign of life.
    peer.notify(&log(FIRST)).await?;
    ensure!(scene.published().await? == "S100");
    peer.until_left().await?;
    scene.accept().await?;
    ensure!(scene.reconnects(Cause::Stale) == 1);
    Ok(())
}

#[tokio::test]
async fn a_feed_that_was_cut_asks_for_what_it_has_missed() -> Result<()> {
    let mut scene = Scene::start(NEVER).await?;
    let mut peer = scene.accept().await?;
    peer.begin().await?;
    ensure!(scene.published().await? == "H100");
    drop(peer);
    let mut peer = scene.accept().await?;
    peer.grant().await?;
    let anchor = peer.answer("eth_getBlockByNumber", &block(100)).await?;
    ensure!(anchor[0] == "0x64", "{anchor}");
    let newest = peer.answer("eth_getBlockByNumber", &block(102)).await?;
    ensure!(newest[0] == "latest", "{newest}");
    let walked = peer.answer("eth_getBlockByHash", &block(101)).await?;
    ensure!(walked[0] == hash(101), "{walked}");
    let range = peer.answer("eth_getLogs", &json!([log(101)])).await?;
    // From the last head on, and not from before the first block.
    let asked = (&range[0]["fromBlock"], &range[0]["toBlock"]);
    ensure!(asked == (&json!("0x64"), &json!("0x66")), "{range}");
    for expected in ["S101", "H101", "H102"] {
        let found = scene.published().await?;
        ensure!(found == expected, "{found} is not {expected}");
    }
    let lost = scene.reconnects(Cause::Lost) + scene.reconnects(Cause::Closed);
    ensure!(lost == 1, "{lost}");
    Ok(())
}

#[tokio::test]
async fn a_shutdown_ends_the_feed_in_every_state() -> Result<()> {
    // While it connects, while it asks, and while it is live.
    for step in 0..3 {
        let mut scene = Scene::start(NEVER).await?;
        let mut peer = if step > 0 { Some(scene.accept().await?) } else { None };
        if let (Some(peer), 2) = (&mut peer, step) {
            peer.begin().await?;
            ensure!(scene.published().await? == "H100");
        }
        scene.shutdown.send(true)?;
        let ended = scene.end().await?;
        ensure!(ended == Ok(()), "step {step}: {ended:?}");
    }
    Ok(())
}
