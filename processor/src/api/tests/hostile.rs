//! Clients within every limit that ask for as much as they may, beside one that only listens.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy, sink};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use super::sockets::{Server, WEBSOCKET, limits, until};
use super::world::{Outcome, World, minute, open};
use crate::api::clock;

const HOSTILE: usize = 16;
/// Pairs that each of their patterns looks at.
const PAIRS: usize = 20_000;
/// Heartbeats come every 5 s; a client takes a connection for dead after three.
const SILENCE: Duration = Duration::from_secs(6);
/// A client may send ten messages a second, after a hundred at once; these stay below.
const PACE: Duration = Duration::from_millis(200);
const AT_ONCE: usize = 60;
const HEARTBEAT: &str = "\"type\":\"heartbeat\"";

/// A message as a client sends it: masked with zeros, so that it stays what it is.
fn message(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    [&[0x81, 0x80 | 0x7e][..], &length, &[0; 4], text.as_bytes()].concat()
}

/// No two of its patterns are the same, and none is anybody else's.
fn wide(client: usize, id: usize) -> Vec<u8> {
    message(&format!(
        r#"{{"op":"subscribe","id":{id},"channel":"latest","quote":"Q{client}-{id}"}}"#
    ))
}

/// Asks for one wide pattern after the other, and takes every answer.
async fn misbehave(client: usize, server: TcpStream) -> Outcome {
    let (mut reads, mut says) = server.into_split();
    let taken = tokio::spawn(async move { copy(&mut reads, &mut sink()).await });
    for id in 0..AT_ONCE {
        says.write_all(&wide(client, id)).await?;
    }
    let mut pace = interval(PACE);
    for id in AT_ONCE.. {
        let last = id - AT_ONCE;
        pace.tick().await;
        says.write_all(&message(&format!(r#"{{"op":"unsubscribe","id":{last}}}"#))).await?;
        pace.tick().await;
        says.write_all(&wide(client, id)).await?;
        if taken.is_finished() {
            break;
        }
    }
    Err("it was sent away".into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_for_everything_silences_nobody() -> Outcome {
    let mut world = World::new()?;
    for pair in 0..PAIRS {
        world.trade((&format!("B{pair}"), "USD", "here"), "1", minute(0))?;
    }
    let (routes, hub) = world.streaming(&open(), 100)?;
    let server = Server::start(routes, limits(), None).await?;
    let mut listener = server.client(WEBSOCKET).await?;
    until(&mut listener, "welcome").await?;
    let pair = r#""channel":"latest","base":"B7","quote":"USD","exchange":"here""#;
    listener.write_all(&message(&format!(r#"{{"op":"subscribe","id":1,{pair}}}"#))).await?;
    until(&mut listener, "\"type\":\"snapshot\"").await?;
    let mut hostile = JoinSet::new();
    for number in 0..HOSTILE {
        let mut client = server.client(WEBSOCKET).await?;
        until(&mut client, "welcome").await?;
        hostile.spawn(async move { misbehave(number, client).await.map_err(|e| e.to_string()) });
    }

    let (mut heartbeats, mut longest, mut buffer) = (0, Duration::ZERO, vec![0; 64 << 10]);
    while heartbeats < 3 {
        let since = clock::instant();
        let read = timeout(SILENCE, listener.read(&mut buffer)).await;
        let read = read.map_err(|_| format!("nothing was heard for {} s", SILENCE.as_secs()))??;
        longest = longest.max(since.elapsed());
        let heard = String::from_utf8_lossy(&buffer[..read]);
        heartbeats += heard.matches(HEARTBEAT).count();
    }
    eprintln!("the longest silence beside {HOSTILE} hostile clients: {longest:?}");
    let away = hostile.try_join_next();
    assert!(away.is_none(), "they stayed within every limit: {away:?}");
    hostile.shutdown().await;
    drop((hub, listener));
    server.stop().await
}
