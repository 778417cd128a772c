//! Requests for snapshots against a server that answers by the path, over real sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;
use venues::HttpRequest;

use super::*;

/// A test that has not seen what it waits for by then has failed.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server: its address, and when each path was asked for.
struct Server {
    url: String,
    asked: Arc<std::sync::Mutex<Vec<(String, Duration)>>>,
    /// The most requests at a time.
    most: Arc<AtomicUsize>,
}

/// The state that all requests of a server have in common.
#[derive(Clone)]
struct Shared {
    watch: Stopwatch,
    asked: Arc<std::sync::Mutex<Vec<(String, Duration)>>>,
    open: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    full: Arc<Notify>,
}

impl Server {
    async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Shared {
            watch: Stopwatch::start(),
            asked: Arc::default(),
            open: Arc::default(),
            most: Arc::default(),
            full: Arc::default(),
        };
        let (asked, most) = (Arc::clone(&shared.asked), Arc::clone(&shared.most));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, shared.clone()));
            }
        });
        Ok(Self { url, asked, most })
    }

    fn asked(&self) -> Vec<(String, Duration)> {
        self.asked.lock().map(|asked| asked.clone()).unwrap_or_default()
    }
}

/// Answers one request by its path, and closes.
async fn serve(mut socket: TcpStream, shared: Shared) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let path = head.split(' ').nth(1)?.to_owned();
    shared.asked.lock().ok()?.push((path.clone(), shared.watch.elapsed()));
    let open = shared.open.fetch_add(1, Ordering::SeqCst) + 1;
    shared.most.fetch_max(open, Ordering::SeqCst);
    let body = |status: &str, more: &str, text: &str, bytes: usize| {
        format!(
            "HTTP/1.1 {status}\r\n{more}content-length: {bytes}\r\nconnection: close\r\n\r\n{text}"
        )
    };
    let answer = match path.as_str() {
        "/limited" => body("429 Too Many Requests", "retry-after: 1\r\n", "", 0),
        "/banned" => body("418 I'm a teapot", "", "", 0),
        "/broken" => body("503 Service Unavailable", "", "", 0),
        "/gone" => body("404 Not Found", "", "", 0),
        "/cut" => body("200 OK", "", "{\"lastUpdateId\"", 100),
        "/large" => {
            let text = " ".repeat(MAX_BODY_BYTES + 1);
            body("200 OK", "", &text, text.len())
        }
        "/crowd" => {
            if open < IN_FLIGHT {
                shared.full.notified().await;
            }
            shared.full.notify_waiters();
            // The next one begins only after this is answered.
            shared.full.notify_one();
            body("200 OK", "", "{}", 2)
        }
        _ => body("200 OK", "", "{}", 2),
    };
    shared.open.fetch_sub(1, Ordering::SeqCst);
    socket.write_all(answer.as_bytes()).await.ok()
}

fn pair() -> PairKey {
    PairKey::new("BTC", "USDT", "binance")
}

/// Asks for these paths, one after another, and waits for all answers, in the order of arrival.
async fn answers(client: &mut SnapshotClient, paths: &[&str]) -> anyhow::Result<Vec<Answer>> {
    for path in paths {
        let request = HttpRequest { path: (*path).into() };
        ensure!(client.ask(pair(), &request), "{path} was not taken");
    }
    let mut answers = Vec::new();
    for _ in paths {
        answers.push(timeout(PATIENCE, client.answer()).await.context("no answer")?);
    }
    Ok(answers)
}

fn client(server: &Server, pace: Duration) -> anyhow::Result<SnapshotClient> {
    Ok(SnapshotClient::new(Some(Snapshots::start(server.url.clone(), pace)?)))
}

#[tokio::test]
async fn each_bad_answer_has_its_reason() -> anyhow::Result<()> {
    let server = Server::start().await?;
    for (path, why, wait) in [
        ("/limited", NoSnapshot::Limited, Duration::from_secs(1)),
        ("/banned", NoSnapshot::Limited, LIMITED_WAIT),
        ("/broken", NoSnapshot::Unavailable, Duration::ZERO),
        ("/gone", NoSnapshot::Refused, Duration::ZERO),
        ("/cut", NoSnapshot::Unavailable, Duration::ZERO),
        ("/large", NoSnapshot::TooLarge, Duration::ZERO),
    ] {
        // A client of its own: a rate limit stops the requests of all others.
        let mut client = client(&server, Duration::ZERO)?;
        let answer = answers(&mut client, &[path]).await?.remove(0);
        let Err(failure) = answer.body else { anyhow::bail!("{path} was taken") };
        ensure!((failure.why, failure.wait) == (why, wait), "{path}: {failure:?}");
    }
    let mut client = client(&server, Duration::ZERO)?;
    let answer = answers(&mut client, &["/good"]).await?.remove(0);
    ensure!(answer.url.ends_with("/good") && answer.pair == pair(), "{answer:?}");
    ensure!(answer.body.is_ok_and(|(body, at)| body == "{}" && at.0 > 0), "no body");
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable() -> anyhow::Result<()> {
    let snapshots = Snapshots::start("http://127.0.0.1:1".into(), Duration::ZERO)?;
    let mut client = SnapshotClient::new(Some(snapshots));
    let answer = answers(&mut client, &["/good"]).await?.remove(0);
    ensure!(
        answer.body.is_err_and(|failure| failure.why == NoSnapshot::Unavailable),
        "it answered"
    );
    Ok(())
}

#[tokio::test]
async fn after_a_rate_limit_no_pair_is_asked_for_until_the_venue_allows_it() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let mut client = client(&server, Duration::ZERO)?;
    let mut other = SnapshotClient::new(client.snapshots.clone());
    answers(&mut client, &["/limited"]).await?;
    answers(&mut other, &["/good"]).await?;
    let asked = server.asked();
    let pause = asked[1].1.saturating_sub(asked[0].1);
    ensure!(asked.len() == 2 && pause >= Duration::from_secs(1), "{asked:?}");
    Ok(())
}

#[tokio::test]
async fn requests_of_all_connections_keep_the_pace() -> anyhow::Result<()> {
    let (server, pace) = (Server::start().await?, Duration::from_millis(50));
    let mut client = client(&server, pace)?;
    let mut other = SnapshotClient::new(client.snapshots.clone());
    let (first, second) =
        tokio::join!(answers(&mut client, &["/a", "/b", "/c"]), answers(&mut other, &["/d", "/e"]));
    ensure!(first?.len() + second?.len() == 5);
    let asked = server.asked();
    // From the first to the fifth; a slow machine only makes it longer.
    ensure!(asked[4].1.saturating_sub(asked[0].1) >= 3 * pace, "{asked:?}");
    Ok(())
}

#[tokio::test]
async fn no_more_requests_are_on_their_way_than_the_bound() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let mut client = client(&server, Duration::ZERO)?;
    let paths = ["/crowd"; 2 * IN_FLIGHT];
    ensure!(answers(&mut client, &paths).await?.len() == paths.len());
    let most = server.most.load(Ordering::SeqCst);
    ensure!(most == IN_FLIGHT, "{most} at a time");
    Ok(())
}

#[tokio::test]
async fn a_request_of_a_connection_that_has_ended_is_not_sent() -> anyhow::Result<()> {
    let (server, pace) = (Server::start().await?, Duration::from_millis(20));
    let mut client = client(&server, pace)?;
    let ended = SnapshotClient::new(client.snapshots.clone());
    answers(&mut client, &["/first"]).await?;
    ensure!(ended.ask(pair(), &HttpRequest { path: "/ended".into() }));
    drop(ended);
    answers(&mut client, &["/last"]).await?;
    let paths: Vec<_> = server.asked().into_iter().map(|(path, _)| path).collect();
    ensure!(paths == ["/first", "/last"], "{paths:?}");
    Ok(())
}

#[tokio::test]
async fn a_request_for_which_there_is_no_room_is_refused() {
    let (requests, _inbox) = mpsc::channel(1);
    let snapshots = Snapshots { rest_url: String::new(), requests };
    let client = SnapshotClient::new(Some(snapshots));
    let request = HttpRequest { path: "/".into() };
    assert!(client.ask(pair(), &request) && !client.ask(pair(), &request));
    assert!(!SnapshotClient::new(None).ask(pair(), &request), "nobody fetches");
}
