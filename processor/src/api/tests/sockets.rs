//! Clients that keep a connection and do nothing with it, on real sockets: each of them costs a
//! bounded time and a bounded memory, and nobody else anything.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::IntoResponse as _;
use axum::routing::get;
use axum::{Extension, Router};
use prometheus::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};

use super::tls::certificate;
use super::world::{Outcome, open, small};
use crate::api::connections::ConnectionHandle;
use crate::api::{
    AccessPolicy, Budget, ConnectionLimits, ConnectionMetrics, Refusal, serve, server_config,
};

/// A timeout that no passing test reaches.
const BOUND: Duration = Duration::from_mins(1);
/// The patience of these servers.
const SHORT: Duration = Duration::from_millis(200);
/// A limit that must not expire in a test.
const LONG: Duration = Duration::from_hours(1);

pub(super) fn limits() -> ConnectionLimits {
    ConnectionLimits {
        max: 1_000,
        per_address: 1_000,
        idle: LONG,
        write: LONG,
        handshake: LONG,
        grace: LONG,
    }
}

/// Routes on a socket.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) metrics: ConnectionMetrics,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Server {
    pub(super) async fn start(
        routes: Router,
        limits: ConnectionLimits,
        tls: Option<std::sync::Arc<rustls::ServerConfig>>,
    ) -> Outcome<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), routes, limits, tls).await
    }

    /// The same at an address, whose last server has ended.
    pub(super) async fn start_at(
        address: SocketAddr,
        routes: Router,
        limits: ConnectionLimits,
        tls: Option<std::sync::Arc<rustls::ServerConfig>>,
    ) -> Outcome<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let metrics = ConnectionMetrics::new(&Registry::new())?;
        let (stop, stopped) = oneshot::channel();
        let stopped = async { drop(stopped.await) };
        let serving = tokio::spawn(serve(listener, routes, tls, limits, metrics.clone(), stopped));
        Ok(Self { address, metrics, stop, serving })
    }

    /// Ends it; an error when a client can delay that.
    pub(super) async fn stop(self) -> Outcome {
        let _ = self.stop.send(());
        timeout(BOUND, self.serving).await??;
        Ok(())
    }

    /// A client over TLS that trusts this certificate, and the address for it.
    pub(super) fn https(&self, trusted: &str) -> Outcome<(reqwest::Client, String)> {
        let client = reqwest::Client::builder()
            .add_root_certificate(reqwest::Certificate::from_pem(trusted.as_bytes())?)
            .resolve("localhost", self.address)
            .build()?;
        Ok((client, format!("https://localhost:{}", self.address.port())))
    }

    /// A client that has sent this.
    pub(super) async fn client(&self, sent: &str) -> Outcome<TcpStream> {
        let mut client = TcpStream::connect(self.address).await?;
        client.write_all(sent.as_bytes()).await?;
        Ok(client)
    }

    /// A client of another address of this machine, which takes little at once.
    async fn client_of(&self, last: u8) -> Outcome<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4 << 10)?;
        socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into())?;
        Ok(socket.connect(self.address).await?)
    }

    async fn is_empty(&self) -> Outcome {
        soon("every place to be free", || self.metrics.open.get() == 0).await
    }
}

/// Waits for a condition.
async fn soon(what: &str, condition: impl Fn() -> bool) -> Outcome {
    let mut look = interval(Duration::from_millis(5));
    let wait = async {
        while !condition() {
            look.tick().await;
        }
    };
    timeout(BOUND, wait).await.map_err(|_| format!("waited for {what}"))?;
    Ok(())
}

async fn bounded<T>(what: &str, work: impl Future<Output = std::io::Result<T>>) -> Outcome<T> {
    Ok(timeout(BOUND, work).await.map_err(|_| format!("waited for {what}"))??)
}

/// All that comes until the other side closes. How it does is not looked at.
async fn rest(client: &mut TcpStream) -> Outcome<String> {
    let mut text = Vec::new();
    let read = timeout(BOUND, client.read_to_end(&mut text)).await;
    let _ = read.map_err(|_| "the connection was not closed")?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Reads until what has come ends with this, or contains it.
pub(super) async fn until(client: &mut TcpStream, what: &str) -> Outcome<String> {
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    while !text.contains(what) {
        let read = bounded(what, client.read(&mut buffer)).await?;
        if read == 0 {
            return Err(format!("closed before {what}: {text}").into());
        }
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    Ok(text)
}

const HEALTHY: &str = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn who_sends_half_a_request_or_none_is_closed() -> Outcome {
    let limits = ConnectionLimits { idle: SHORT, ..limits() };
    let server = Server::start(small()?.routes(), limits, None).await?;
    for sent in ["", "GET /healthz HTT", "GET /healthz HTTP/1.1\r\nhost: x\r\n"] {
        assert_eq!(rest(&mut server.client(sent).await?).await?, "", "{sent}");
    }
    let mut kept = server.client(HEALTHY).await?;
    until(&mut kept, "ok\n").await?;
    assert_eq!(rest(&mut kept).await?, "", "it was answered, and is idle");
    server.is_empty().await?;
    assert_eq!(server.metrics.count("idle"), 4);
    server.stop().await
}

#[tokio::test]
async fn who_sends_half_a_body_is_refused() -> Outcome {
    let routes = small()?.guarded(&AccessPolicy { timeout: SHORT, ..open() });
    let server = Server::start(routes, limits(), None).await?;
    let head = "POST /v1/latest HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let mut client = server.client(&format!("{head}content-length: 100\r\n\r\n[{{")).await?;
    assert!(rest(&mut client).await?.starts_with("HTTP/1.1 503"));
    server.is_empty().await?;
    server.stop().await
}

#[tokio::test]
async fn who_shakes_no_hands_is_closed_and_others_are_served() -> Outcome {
    let folder = tempfile::tempdir()?;
    let (own, [certificate, key]) = certificate(folder.path())?;
    let tls = Some(server_config(&certificate, &key)?);
    let limits = ConnectionLimits { handshake: SHORT, per_address: 400, ..limits() };
    let server = Server::start(small()?.routes(), limits, tls).await?;
    let mut silent = Vec::new();
    for _ in 0..300 {
        // The first bytes of a record of a handshake, and nothing after them.
        silent.push(server.client("\x16\x03\x01").await?);
    }
    let (client, url) = server.https(&own)?;
    let answer = timeout(BOUND, client.get(format!("{url}/healthz")).send()).await??;
    assert_eq!(answer.status().as_u16(), 200);
    for client in &mut silent {
        rest(client).await?;
    }
    soon("300 handshakes to be given up", || server.metrics.count("handshake") == 300).await?;
    drop((answer, client));
    server.is_empty().await?;
    server.stop().await
}

/// More than the buffers of both sockets hold.
const BIG: usize = 32 << 20;

async fn big() -> Bytes {
    Bytes::from(vec![b'x'; BIG])
}

#[tokio::test]
async fn who_takes_no_answer_is_cut_off() -> Outcome {
    let limits = ConnectionLimits { write: SHORT, ..limits() };
    let routes = Router::new().route("/big", get(big));
    let server = Server::start(routes, limits, None).await?;
    let mut slow = server.client_of(1).await?;
    slow.write_all(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n").await?;
    soon("it to be cut off", || server.metrics.count("write") == 1).await?;
    server.is_empty().await?;
    assert!(rest(&mut slow).await?.len() < BIG);
    server.stop().await
}

#[tokio::test]
async fn connections_are_bounded_overall_and_by_address() -> Outcome {
    let limits = ConnectionLimits { max: 3, per_address: 2, ..limits() };
    let server = Server::start(small()?.routes(), limits, None).await?;
    let mut places = Vec::new();
    for last in [1, 1, 2] {
        let mut client = server.client_of(last).await?;
        client.write_all(HEALTHY.as_bytes()).await?;
        until(&mut client, "ok\n").await?;
        places.push(client);
    }
    let refused = rest(&mut server.client_of(3).await?).await?;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: 1"), "{refused}");
    assert_eq!(server.metrics.count("full"), 1);
    drop(places.pop());
    soon("a place to be free", || server.metrics.open.get() == 2).await?;
    let refused = rest(&mut server.client_of(1).await?).await?;
    assert!(refused.contains("of this address"), "{refused}");
    assert_eq!((server.metrics.count("full"), server.metrics.count("address")), (1, 1));
    let mut other = server.client_of(2).await?;
    other.write_all(HEALTHY.as_bytes()).await?;
    until(&mut other, "ok\n").await?;
    server.stop().await
}

pub(super) const WEBSOCKET: &str = "GET /v1/stream HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const EVENTS: &str = "GET /v1/events?channel=latest HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn streams_are_longer_than_idle_and_have_a_place_until_they_end() -> Outcome {
    let (routes, hub) = small()?.streaming(&open(), 10)?;
    let limits = ConnectionLimits { idle: SHORT, ..limits() };
    let server = Server::start(routes, limits, None).await?;
    let mut websocket = server.client(WEBSOCKET).await?;
    let mut events = server.client(EVENTS).await?;
    // Heartbeats come every five seconds.
    for client in [&mut websocket, &mut events] {
        until(client, "\"type\":\"heartbeat\"").await?;
    }
    assert_eq!((server.metrics.open.get(), server.metrics.count("idle")), (2, 0));
    drop(hub);
    for client in [&mut websocket, &mut events] {
        let farewell = rest(client).await?;
        assert!(farewell.contains("stopping"), "{farewell:?}");
    }
    server.is_empty().await?;
    server.stop().await
}

#[tokio::test]
async fn no_half_sent_request_delays_a_shutdown() -> Outcome {
    let (routes, hub) = small()?.streaming(&open(), 10)?;
    // Each wait has an hour.
    let server = Server::start(routes, limits(), None).await?;
    let mut clients = vec![server.client("").await?, server.client("GET /healthz HTT").await?];
    for (sent, answer) in
        [(HEALTHY, "ok\n"), (WEBSOCKET, "\"type\":\"welcome\""), (EVENTS, "snapshot")]
    {
        let mut client = server.client(sent).await?;
        until(&mut client, answer).await?;
        clients.push(client);
    }
    soon("all to have a place", || server.metrics.open.get() == 5).await?;
    drop(hub);
    server.stop().await?;
    for client in &mut clients {
        rest(client).await?;
    }
    Ok(())
}

#[tokio::test]
async fn slow_answers_are_counted_and_make_room_for_others() -> Outcome {
    let counted = |State(budget): State<Budget>, Extension(line): Extension<ConnectionHandle>| async move {
        match budget.answer(big().await, Some(&line)) {
            Some(body) => body.into_response(),
            None => Refusal::no_memory().into_response(),
        }
    };
    // Three quarters of it are for answers: two of them fit.
    let budget = Budget::new(3 * BIG);
    let routes = Router::new().route("/big", get(counted)).with_state(budget.clone());
    let server = Server::start(routes, limits(), None).await?;
    let request = b"GET /big HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut client = server.client_of(1).await?;
        client.write_all(request).await?;
        slow.push(client);
        soon("its answer to be held", || budget.held() == slow.len() * BIG).await?;
    }
    // It is refused until one of the two is old enough to be cut.
    loop {
        let mut quick = server.client("").await?;
        quick.write_all(request).await?;
        let answer = rest(&mut quick).await?;
        if answer.starts_with("HTTP/1.1 200") {
            assert!(answer.len() > BIG);
            break;
        }
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"));
    }
    soon("a slow client to be cut", || server.metrics.count("memory") == 1).await?;
    assert!(rest(&mut slow[0]).await?.len() < BIG, "the oldest goes first");
    soon("the other to be held alone", || budget.held() == BIG).await?;
    drop(slow);
    soon("nothing to be held", || budget.held() == 0).await?;
    server.stop().await
}
