//! Changes over WebSocket and server-sent events, from the real stack: a snapshot and what follows
//! it, a client that comes back, a client that does not read, and one that talks nonsense.

#[path = "stream/frames.rs"]
mod frames;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tests::support::installation::Member;
use tests::support::socket::{Socket, refusal};
use tests::support::{Installation, settles, soon};

/// Events of a few minutes of event time, as fast as they go.
const LOAD: [&str; 7] = ["load", "--events", "20000", "--keys", "40", "--event-rate", "100"];
/// The same hours later, at a pace that takes seconds.
const LATER: [&str; 6] = ["--start-ms", "1700010000000", "--seed", "2", "--rate", "5000"];
/// Event time begins at a fixed minute.
const START: [&str; 2] = ["--start-ms", "1700000000000"];

/// By exchange, base and quote.
type Prices = BTreeMap<[String; 3], String>;

fn text(row: &Value, name: &str) -> String {
    row[name].as_str().unwrap_or_default().to_owned()
}

fn take(prices: &mut Prices, message: &Value) {
    for row in message["rows"].as_array().into_iter().flatten() {
        prices
            .insert(["exchange", "base", "quote"].map(|name| text(row, name)), text(row, "price"));
    }
}

/// What the topic says.
fn committed(installation: &Installation) -> Result<Prices> {
    let (actual, _) = installation.actual_and_expected()?;
    let latest = actual.latest.into_iter();
    Ok(latest
        .map(|(pair, (_, latest))| {
            ([pair.exchange, pair.base, pair.quote], latest.price.to_string())
        })
        .collect())
}

fn url(member: &mut Member) -> Result<String> {
    Ok(format!("ws://{}/v1/stream", member.address()?))
}

fn subscribe(id: u32, resume: Option<&str>) -> Value {
    json!({ "op": "subscribe", "id": id, "channel": "latest", "resume": resume })
}

fn count(member: &mut Member, metric: &str) -> Result<u64> {
    Ok(member.metrics()?.get(metric).and_then(|value| value.parse().ok()).unwrap_or(0))
}

/// Reads updates until the client knows what the topic holds.
fn follow(socket: &mut Socket, prices: &mut Prices, expected: &Prices) -> Result<()> {
    while prices != expected {
        let message = socket.hear()?;
        ensure!(message["type"] != "gone", "{message}");
        take(prices, &message);
    }
    Ok(())
}

/// A snapshot, and what may be missing in it, are what the topic holds.
fn hears_all(url: &str, expected: &Prices) -> Result<()> {
    let mut socket = Socket::open(url)?;
    socket.say(&subscribe(1, None))?;
    let subscribed = socket.typed("subscribed")?;
    ensure!(subscribed["id"] == 1 && subscribed["exchange"] == "*", "{subscribed}");
    let snapshot = socket.typed("snapshot")?;
    let mut prices = Prices::new();
    take(&mut prices, &snapshot);
    follow(&mut socket, &mut prices, expected)
}

/// What has changed since the token was given out.
fn resume(socket: &mut Socket, token: &str) -> Result<Value> {
    socket.say(&subscribe(1, Some(token)))?;
    let resumed = socket.until(
        "resumed or gone",
        |_| (),
        |message| message["type"] == "resumed" || message["type"] == "gone",
    )?;
    ensure!(resumed["type"] == "resumed", "{resumed}");
    Ok(resumed)
}

#[test]
fn a_client_hears_a_snapshot_then_changes_and_misses_nothing_when_it_comes_back() -> Result<()> {
    let installation = Installation::new("stream")?;
    let (mut member, mut view) = installation.member_and_view(&[], &[])?;
    installation.process(&[&LOAD[..], &START].concat(), &mut [&mut member])?;
    let first = committed(&installation)?;

    for reader in [&mut view, &mut member] {
        hears_all(&url(reader)?, &first)?;
    }

    let mut away = Socket::open(&url(&mut view)?)?;
    away.say(&subscribe(1, None))?;
    let mut prices = Prices::new();
    let snapshot = away.typed("snapshot")?;
    take(&mut prices, &snapshot);
    let token = text(&snapshot, "resume");
    drop(away);
    let mut stays = Socket::open(&url(&mut view)?)?;
    stays.say(&subscribe(7, None))?;
    let mut seen = Prices::new();
    let snapshot = stays.typed("snapshot")?;
    take(&mut seen, &snapshot);

    installation.process(&[&LOAD[..], &LATER].concat(), &mut [&mut member])?;
    let second = committed(&installation)?;
    ensure!(first != second, "nothing has changed");
    let mut sequence = snapshot["sequence"].as_u64().context("a sequence")?;
    while seen != second {
        let message = stays.hear()?;
        if message["type"] == "update" {
            sequence += 1;
            ensure!(message["sequence"] == sequence && message["id"] == 7, "{message}");
            take(&mut seen, &message);
        }
    }

    let mut again = Socket::open(&url(&mut view)?)?;
    take(&mut prices, &resume(&mut again, &token)?);
    ensure!(prices == second, "what changed while it was away is not all here");

    // Another process has not heard of it: it says so, and tells everything.
    view.stop()?;
    let mut view = installation.ready_view("view", &[])?;
    let mut again = Socket::open(&url(&mut view)?)?;
    again.say(&subscribe(1, Some(&token)))?;
    let gone = again.typed("gone")?;
    ensure!(!gone["partitions"].as_array().context("partitions")?.is_empty(), "{gone}");
    let mut prices = Prices::new();
    take(&mut prices, &again.typed("snapshot")?);
    ensure!(prices == second, "the snapshot is not all");
    installation.finish_with([view, member])
}

#[test]
fn candles_are_told_as_the_topic_has_them() -> Result<()> {
    let installation = Installation::new("stream-candles")?;
    let mut member = installation.ready_member("one", &[])?;
    let mut socket = Socket::open(&url(&mut member)?)?;
    socket.say(&json!({ "op": "subscribe", "id": 1, "channel": "candles", "interval": "1m" }))?;
    socket.typed("snapshot")?;
    installation.process(&[&LOAD[..], &START].concat(), &mut [&mut member])?;
    let (actual, _) = installation.actual_and_expected()?;
    let minutes = actual.minutes.into_iter();
    let expected: BTreeMap<_, _> = minutes
        .map(|(key, (_, candle))| {
            let pair = key.pair;
            let key = [pair.exchange, pair.base, pair.quote, key.open_time.to_string()];
            (key, [candle.close.to_string(), candle.status.as_str().into()])
        })
        .collect();
    ensure!(expected.len() > 40, "{} candles", expected.len());
    let mut told = BTreeMap::new();
    while told != expected {
        let message = socket.hear()?;
        for row in message["rows"].as_array().into_iter().flatten() {
            let key = ["exchange", "base", "quote", "open_time"].map(|name| text(row, name));
            told.insert(key, ["close", "status"].map(|name| text(row, name)));
        }
    }
    installation.finish_with([member])
}

#[test]
fn who_does_not_read_is_sent_away_with_the_reason_and_nobody_else_is_disturbed() -> Result<()> {
    const SLOW: &str = "processor_stream_clients_dropped_total{reason=\"slow\"}";
    let installation = Installation::new("stream-slow")?;
    let mut member = installation.ready_member("one", &["--stream-updates-per-second", "20"])?;
    // It asks for everything, many times, and reads nothing.
    let mut slow = Socket::open(&url(&mut member)?)?;
    for id in 0..60 {
        slow.say(&json!({ "op": "subscribe", "id": id, "channel": "candles" }))?;
    }
    let mut reads = Socket::open(&url(&mut member)?)?;
    reads.say(&subscribe(1, None))?;
    reads.typed("snapshot")?;
    let load = ["load", "--events", "4000000", "--keys", "400", "--event-rate", "4000"];
    let load = installation.producer(&[&load[..], &START, &["--rate", "20000"]].concat())?;
    let mut sequence = 0;
    while count(&mut member, SLOW)? == 0 {
        for _ in 0..5 {
            let message = reads.hear()?;
            if message["type"] == "update" {
                sequence += 1;
                ensure!(
                    message["sequence"] == sequence,
                    "{} is not {sequence}",
                    message["sequence"]
                );
            }
        }
    }
    let reason = slow.farewell()?;
    ensure!(
        reason.as_ref().is_none_or(|frame| frame.reason.as_str() == "slow"),
        "it was told {reason:?}"
    );
    reads.say(&json!({ "op": "ping" }))?;
    reads.typed("pong")?;
    ensure!(count(&mut member, SLOW)? == 1);
    drop(load);
    installation.finish_with([member])
}

/// Something that a client might send by mistake or malice.
fn nonsense(random: &mut StdRng) -> String {
    const PIECES: &str =
        r#"{ } [ "op" : , "subscribe" "id" 1 -1 null "latest" "channel" "*" "resume" 4294967296"#;
    let pieces: Vec<&str> = PIECES.split(' ').collect();
    match random.random_range(0..4) {
        0 => (0..random.random_range(0..40)).map(|_| random.random::<char>()).collect(),
        1 => (0..random.random_range(0..30))
            .map(|_| pieces[random.random_range(0..pieces.len())])
            .collect(),
        2 => "[".repeat(random.random_range(1..4000)),
        _ => json!({
            "op": pieces[random.random_range(0..pieces.len())].trim_matches('"'),
            "id": random.random::<i64>(),
            "channel": "latest",
            "resume": (0..random.random_range(0..60)).map(|_| random.random_range('a'..='z'))
                .collect::<String>(),
        })
        .to_string(),
    }
}

#[test]
fn nonsense_is_answered_and_breaks_nothing() -> Result<()> {
    const SEED: u64 = 6;
    let installation = Installation::new("stream-nonsense")?;
    let mut member = installation.ready_member("one", &["--stream-max-clients", "2"])?;
    let url = url(&mut member)?;
    let mut random = StdRng::seed_from_u64(SEED);
    let mut bystander = Socket::open(&url)?;
    for _ in 0..40 {
        // A place is free again once the one before has been bidden farewell.
        let mut socket = tests::support::wait_until("a place", Duration::from_mins(1), || {
            Ok(Socket::open(&url).ok())
        })?;
        for _ in 0..50 {
            // Whoever talks too much nonsense is sent away.
            if socket.say_text(&nonsense(&mut random)).is_err() {
                break;
            }
        }
        socket.farewell()?;
    }
    bystander.say(&json!({ "op": "ping" }))?;
    bystander.typed("pong")?;
    bystander.say(&subscribe(1, None))?;
    bystander.typed("snapshot")?;
    ensure!(count(&mut member, "processor_stream_malformed_total")? >= 40 * 20);
    member.process.alive()?;
    let log = member.stop()?;
    ensure!(!log.contains("panicked"), "seed {SEED}: {log}");
    installation.finish()
}

/// Reads up to the answer to a ping; no update may be missing before it.
fn is_undisturbed(socket: &mut Socket, sequence: &mut u64) -> Result<()> {
    socket.say(&json!({ "op": "ping" }))?;
    loop {
        let message = socket.hear()?;
        if message["type"] == "update" {
            *sequence += 1;
            ensure!(message["sequence"] == *sequence, "{message} is not {sequence}");
        }
        if message["type"] == "pong" {
            return Ok(());
        }
    }
}

/// `STREAM_SEED` is another seed, `STREAM_CLIENTS` more of it.
#[test]
fn no_frame_of_any_client_breaks_the_view_or_disturbs_another() -> Result<()> {
    // As many pings as a client may send at once: it asks once for some of the others.
    const PINGS: u64 = 80;
    const CLIENTS: &str = "processor_stream_clients{transport=\"websocket\"}";
    let number = |name: &str, default: u64| match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} is a whole number")),
        Err(_) => Ok(default),
    };
    let (seed, clients) = (number("STREAM_SEED", 6)?, number("STREAM_CLIENTS", 1_000)?);
    let installation = Installation::new("stream-frames")?;
    let pace = ["--stream-updates-per-second", "20"];
    let (member, mut view) = installation.member_and_view(&[], &pace)?;
    let load = ["load", "--events", "4000000", "--keys", "40", "--event-rate", "1000"];
    let load = installation.producer(&[&load[..], &START, &["--rate", "1000"]].concat())?;
    let (address, url) = (view.address()?, url(&mut view)?);
    let mut bystander = Socket::open(&url)?;
    bystander.say(&subscribe(1, None))?;
    let first = bystander.typed("update")?;
    let mut sequence = first["sequence"].as_u64().context("a sequence")?;
    for client in 0..clients {
        let mut random = StdRng::seed_from_u64(seed.wrapping_mul(1 << 32) + client);
        let context = || format!("STREAM_SEED={seed}, client {client}");
        frames::misbehave(&address, &mut random).with_context(context)?;
        if client % clients.div_ceil(PINGS) == 0 {
            is_undisturbed(&mut bystander, &mut sequence).with_context(context)?;
        }
    }
    sequence += 1;
    ensure!(bystander.typed("update")?["sequence"] == sequence, "an update is missing");
    soon("their places to be free", || Ok(count(&mut view, CLIENTS)? == 1))?;
    is_undisturbed(&mut bystander, &mut sequence)?;
    // Most of what is sent is refused below the messages; some of it must get as far as them.
    ensure!(count(&mut view, "processor_stream_malformed_total")? >= clients / 10);
    drop(load);
    member.stop()?;
    let log = view.stop()?;
    ensure!(!log.contains("panicked"), "STREAM_SEED={seed}: {log}");
    installation.finish()
}

#[test]
fn places_and_origins_are_bounded() -> Result<()> {
    let installation = Installation::new("stream-places")?;
    let arguments = ["--stream-max-clients", "1", "--allowed-origins", "https://example.org"];
    let mut member = installation.ready_member("one", &arguments)?;
    let url = url(&mut member)?;
    ensure!(refusal(&url, "https://elsewhere.example")? == 403);
    let socket = Socket::open(&url)?;
    ensure!(refusal(&url, "https://example.org")? == 503, "there is one place only");
    drop(socket);
    soon("the place to be free", || Ok(refusal(&url, "https://example.org")? == 101))?;
    installation.finish_with([member])
}

/// Reads one event: name, id, data.
fn event(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> Result<[String; 3]> {
    let mut event = [const { String::new() }; 3];
    for line in lines {
        let line = line?;
        if line.is_empty() {
            return Ok(event);
        }
        for (field, part) in ["event: ", "id: ", "data: "].iter().zip(&mut event) {
            if let Some(value) = line.strip_prefix(field) {
                value.clone_into(part);
            }
        }
    }
    anyhow::bail!("the events have ended")
}

#[test]
fn server_sent_events_go_on_from_the_last_one() -> Result<()> {
    let installation = Installation::new("stream-events")?;
    let mut member = installation.ready_member("one", &[])?;
    installation.process(&[&LOAD[..], &START].concat(), &mut [&mut member])?;
    let url = format!("http://{}/v1/events?channel=latest", member.address()?);
    let client = reqwest::blocking::Client::builder().timeout(Duration::from_mins(2)).build()?;
    let read = |last: &str| -> Result<Vec<[String; 3]>> {
        let answer = client.get(&url).header("last-event-id", last).send()?.error_for_status()?;
        let mut lines = BufReader::new(answer).lines();
        let mut events = Vec::new();
        while events
            .last()
            .is_none_or(|[name, ..]: &[String; 3]| name == "subscribed" || name == "gone")
        {
            events.push(event(&mut lines)?);
        }
        Ok(events)
    };
    let before = committed(&installation)?;
    let (mut prices, mut last) = (Prices::new(), String::new());
    settles("the snapshot to be all", || {
        let events = read("")?;
        ensure!(events[0][0] == "subscribed" && events[1][0] == "snapshot", "{events:?}");
        prices.clear();
        take(&mut prices, &serde_json::from_str(&events[1][2])?);
        last.clone_from(&events[1][1]);
        ensure!(prices == before, "{} of {} prices", prices.len(), before.len());
        Ok(())
    })?;
    ensure!(!last.is_empty(), "no id");

    installation.process(&[&LOAD[..], &LATER].concat(), &mut [&mut member])?;
    let expected = committed(&installation)?;
    soon("the change to be told", || {
        let events = read(&last)?;
        ensure!(events[1][0] == "resumed", "{events:?}");
        let mut now = prices.clone();
        take(&mut now, &serde_json::from_str(&events[1][2])?);
        Ok(now == expected)
    })?;
    let refused = client.get(url.replace("latest", "nothing")).send()?;
    ensure!(refused.status() == 400, "{}", refused.status());
    installation.finish_with([member])
}
