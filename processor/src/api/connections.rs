//! Connections, from the socket to the routes: their number and their timeouts.
//!
//! ```text
//! accept ─► slot (overall, by address) ─► TLS handshake ─► head ─► routes ─► answer ─┐
//!             │ none: 503, closed           in time          ▲ in time       in time │
//!                                                            └───────────────────────┘
//! ```
//!
//! These limits apply before authentication. A client that sends half a request, sends nothing, or
//! does not read its answer costs one slot for a bounded time.
//! A WebSocket and an event stream have heartbeats of their own. Once open, only
//! [`ConnectionLimits::write`] applies to them.
//!
//! Invariants:
//! - A connection has a slot from before its first byte until its socket is closed, also as a
//!   WebSocket.
//! - No client delays a shutdown by more than [`ConnectionLimits::grace`]; a client without a pending
//!   answer does not delay it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::response::Response;
use axum::serve::Listener;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::metrics::ConnectionMetrics;
use super::rate::network;

/// The size of the read and write buffers, and of a request's head: two resume tokens fit.
const BUFFER: usize = 32 << 10;
/// At a shutdown, the time to send the last bytes of an answer that is complete.
const FLUSH: Duration = Duration::from_millis(250);

/// The limits of connections.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    /// Open connections.
    pub max: u32,
    /// Open connections of one address.
    pub per_address: u32,
    /// The time in which a connection sends the head of its next request.
    pub idle: Duration,
    /// The time in which a client accepts some bytes of its answer.
    pub write: Duration,
    /// The time of a TLS handshake.
    pub handshake: Duration,
    /// At a shutdown, the time for answers that were requested before it.
    pub grace: Duration,
}

/// The slots of open connections.
struct ConnectionSlots {
    /// One permit per connection.
    all: Arc<Semaphore>,
    per_address: u32,
    /// Locked for one look-up, when a connection opens and when it closes.
    by_address: Mutex<HashMap<IpAddr, u32>>,
    metrics: ConnectionMetrics,
}

impl ConnectionSlots {
    /// A slot for one more connection, or the reason why there is none.
    fn enter(self: &Arc<Self>, address: IpAddr) -> Result<ConnectionSlot, &'static str> {
        let address = network(address);
        let all = Arc::clone(&self.all).try_acquire_owned().map_err(|_| "full")?;
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_address.entry(address).or_default();
        if *count >= self.per_address {
            return Err("address");
        }
        *count += 1;
        self.metrics.open.inc();
        Ok(ConnectionSlot { slots: Arc::clone(self), address, _all: all })
    }
}

/// The slot of one connection, which is free when this value is dropped.
struct ConnectionSlot {
    slots: Arc<ConnectionSlots>,
    address: IpAddr,
    _all: OwnedSemaphorePermit,
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.slots.metrics.open.dec();
        let by_address = &self.slots.by_address;
        let mut by_address = by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

/// A handle by which other code can close the connection. Each request carries it.
#[derive(Clone, Default)]
pub(super) struct ConnectionHandle(Arc<Notify>);

impl ConnectionHandle {
    /// Closes the connection.
    pub(super) fn cut(&self) {
        self.0.notify_one();
    }

    /// Whether the connection was cut and has not noticed yet.
    #[cfg(test)]
    pub(super) fn is_cut(&self) -> bool {
        use futures_util::FutureExt as _;
        self.0.notified().now_or_never().is_some()
    }
}

/// A socket with its slot and its write timeout.
struct Socket {
    stream: TcpStream,
    slot: ConnectionSlot,
    patience: Duration,
    /// Runs while the client accepts no bytes.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    #[expect(clippy::disallowed_methods, reason = "the one slot that waits for a client to read")]
    fn in_time<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(stalled.as_mut().poll(cx));
        self.stalled = None;
        self.slot.slots.metrics.dropped("write");
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.in_time(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.in_time(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Counts a request as pending until its body is sent.
struct Answering(Arc<AtomicUsize>);

impl Answering {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer, counted as pending.
struct TrackedBody {
    body: Body,
    _answering: Answering,
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The configuration and state of every connection.
#[derive(Clone)]
struct ConnectionServer {
    routes: Router,
    tls: Option<TlsAcceptor>,
    limits: ConnectionLimits,
    metrics: ConnectionMetrics,
    stop: watch::Receiver<bool>,
}

/// Serves `routes` until `stopped`, and then the requests that are pending.
pub async fn serve(
    mut listener: TcpListener,
    routes: Router,
    tls: Option<Arc<rustls::ServerConfig>>,
    limits: ConnectionLimits,
    metrics: ConnectionMetrics,
    stopped: impl Future<Output = ()>,
) {
    let slots = Arc::new(ConnectionSlots {
        all: Arc::new(Semaphore::new(usize::try_from(limits.max).unwrap_or(usize::MAX))),
        per_address: limits.per_address,
        by_address: Mutex::default(),
        metrics: metrics.clone(),
    });
    let (sender, stop) = watch::channel(false);
    let (max, longest) = (limits.max, limits.grace + FLUSH);
    let server =
        ConnectionServer { routes, tls: tls.map(TlsAcceptor::from), limits, metrics, stop };
    let mut stopped = pin!(stopped);
    loop {
        let (stream, address) = tokio::select! {
            biased;
            () = &mut stopped => break,
            accepted = Listener::accept(&mut listener) => accepted,
        };
        match slots.enter(address.ip()) {
            Ok(slot) => {
                let patience = server.limits.write;
                let socket = Socket { stream, slot, patience, stalled: None };
                tokio::spawn(server.clone().connection(socket, address));
            }
            Err(reason) => {
                server.metrics.dropped(reason);
                refuse(stream, server.tls.is_some(), reason);
            }
        }
    }
    drop(listener);
    let _ = sender.send(true);
    // Connections that are still open then end with the runtime.
    let _ = timeout(longest, slots.all.acquire_many(max)).await;
}

/// Sends the reason to a client without TLS, and does not wait for it.
fn refuse(stream: TcpStream, is_tls: bool, reason: &str) {
    let Some(mut stream) = stream.into_std().ok().filter(|_| !is_tls) else { return };
    let whose = if reason == "full" { "" } else { " of this address" };
    let body = format!(
        "{{\"error\":\"too many connections{whose} at once: close some, or try again later\"}}"
    );
    let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
                retry-after: 1\r\nconnection: close\r\ncontent-length:";
    // The socket's buffer is empty, so it takes all of it unless the client has closed.
    let _ = write!(stream, "{head} {}\r\n\r\n{body}", body.len());
}

async fn stopping(stop: &mut watch::Receiver<bool>) {
    // Without a sender the process is stopping.
    let _ = stop.wait_for(|stop| *stop).await;
}

impl ConnectionServer {
    async fn connection(mut self, socket: Socket, address: SocketAddr) {
        let Some(tls) = self.tls.take() else { return self.http(socket, address).await };
        let handshake = timeout(self.limits.handshake, tls.accept(socket));
        let shaken = tokio::select! {
            biased;
            () = stopping(&mut self.stop) => return,
            shaken = handshake => shaken,
        };
        match shaken {
            Ok(Ok(stream)) => self.http(stream, address).await,
            Ok(Err(error)) => {
                tracing::debug!(%address, %error, "TLS handshake failed");
                self.metrics.dropped("handshake");
            }
            Err(_) => self.metrics.dropped("handshake"),
        }
    }

    async fn http(
        mut self,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        of: SocketAddr,
    ) {
        let (handle, answering) = (ConnectionHandle::default(), Arc::<AtomicUsize>::default());
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(of));
            request.extensions_mut().insert(handle.clone());
            let answer = self.routes.clone().oneshot(request);
            let answering = Answering::begin(&answering);
            async move {
                let response: Response = answer.await?;
                let whole = |body| TrackedBody { body, _answering: answering };
                Ok::<_, Infallible>(response.map(whole))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.idle)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            biased;
            () = handle.0.notified() => return self.metrics.dropped("memory"),
            ended = connection.as_mut() => ended,
            () = stopping(&mut self.stop) => {
                connection.as_mut().graceful_shutdown();
                let is_owed = answering.load(Ordering::Relaxed) > 0;
                let patience = if is_owed { self.limits.grace } else { FLUSH };
                timeout(patience, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!(address = %of, %error, "connection failed");
            if error.is_timeout() {
                self.metrics.dropped("idle");
            }
        }
    }
}
