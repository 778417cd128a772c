//! Clients that speak the protocol badly, below WebSocket as well as above it: frames that are
//! arbitrary, mutated, cut off or too long, all from one seed.
//!
//! Invariant: nothing here reads more than the handshake, so whatever the server says waits for
//! nobody.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::json;

/// A server that does not answer a handshake, or does not take what is sent, has been disturbed.
const PATIENCE: Duration = Duration::from_secs(20);
/// Frames of one client at most.
const FRAMES: usize = 30;
/// More than the server takes in one message.
const TOO_LONG: usize = 20 << 10;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;

/// A client of that seed, from its handshake to its end.
pub(crate) fn misbehave(address: &str, random: &mut StdRng) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    handshake(&mut stream)?;
    for _ in 0..random.random_range(1..=FRAMES) {
        let mut bytes = something(random);
        if random.random_ratio(1, 3) {
            mutate(&mut bytes, random);
        }
        match stream.write_all(&bytes) {
            Ok(()) => {}
            // It has been sent away.
            Err(error) if is_gone(error.kind()) => return Ok(()),
            Err(error) => return Err(error).context("the server does not read"),
        }
    }
    match random.random_range(0..3) {
        // It vanishes, in the middle of a frame perhaps.
        0 => {}
        1 => {
            let _ = stream.write_all(&frame(random, true, CLOSE, &[0x03, 0xe8]));
        }
        _ => {
            let _ = stream.shutdown(Shutdown::Write);
        }
    }
    Ok(())
}

fn is_gone(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected)
}

fn handshake(stream: &mut TcpStream) -> Result<()> {
    let ask = "GET /v1/stream HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\n\
               upgrade: websocket\r\nsec-websocket-version: 13\r\n\
               sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(ask.as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).context("no answer to the handshake")?;
        head.extend(byte);
    }
    ensure!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    Ok(())
}

/// A frame as a client sends it.
fn frame(random: &mut StdRng, fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![u8::from(fin) << 7 | opcode];
    match payload.len() {
        length @ 0..126 => out.push(0x80 | u8::try_from(length).unwrap_or(0)),
        length => {
            out.push(0x80 | 127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    let mask: [u8; 4] = random.random();
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

fn bytes(random: &mut StdRng, up_to: usize) -> Vec<u8> {
    (0..random.random_range(0..=up_to)).map(|_| random.random()).collect()
}

/// What a client that knows the protocol might say, with something wrong in it now and then.
fn message(random: &mut StdRng) -> Vec<u8> {
    let pick = |random: &mut StdRng, of: &[&'static str]| of[random.random_range(0..of.len())];
    let base = match random.random_range(0..4) {
        0 => "L00001".to_owned(),
        1 => "*".to_owned(),
        2 => "é\u{0}\u{1f600}".repeat(random.random_range(0..400)),
        _ => String::from_utf8_lossy(&bytes(random, 40)).into_owned(),
    };
    let token: String =
        (0..random.random_range(0..200)).map(|_| random.random_range('-'..='z')).collect();
    let said = json!({
        "op": pick(random, &["subscribe", "subscribe", "unsubscribe", "ping", "", "SUBSCRIBE"]),
        "id": random.random_range(-1..4_i64) * random.random_range(1..3_000_000_000_i64),
        "channel": pick(random, &["latest", "candles", "feeds", "processor", "*", ""]),
        "base": base,
        "quote": pick(random, &["USD", "*", ""]),
        "resume": token,
    });
    let mut said = said;
    for field in ["id", "channel", "base", "quote", "resume"] {
        if random.random_ratio(1, 3)
            && let Some(said) = said.as_object_mut()
        {
            said.remove(field);
        }
    }
    let mut text = said.to_string().into_bytes();
    if random.random_ratio(1, 4) {
        mutate(&mut text, random);
    }
    text
}

/// One frame or a few that belong together.
fn something(random: &mut StdRng) -> Vec<u8> {
    let message = message(random);
    match random.random_range(0..10) {
        0..4 => frame(random, true, TEXT, &message),
        4 => {
            // In pieces, with a ping between them, and the last of them missing now and then.
            let half = message.len() / 2;
            let mut out = frame(random, false, TEXT, &message[..half]);
            out.extend(frame(random, true, PING, b"between"));
            let fin = random.random_ratio(2, 3);
            out.extend(frame(random, fin, CONTINUATION, &message[half..]));
            out
        }
        5 => frame(random, true, BINARY, &message),
        6 => {
            let (opcode, payload) = (random.random_range(0..16), bytes(random, 300));
            let fin = random.random();
            frame(random, fin, opcode, &payload)
        }
        7 => {
            let deep = vec![b'['; random.random_range(0..TOO_LONG)];
            frame(random, true, TEXT, &deep)
        }
        8 => {
            // It promises more than anybody has.
            let mut out = vec![0x80 | TEXT, 0x80 | 127];
            out.extend(random.random::<u64>().to_be_bytes());
            out.extend(bytes(random, 50));
            out
        }
        _ => bytes(random, 200),
    }
}

/// Changes some of it: bits, a piece that is left out, one that comes twice.
fn mutate(bytes: &mut Vec<u8>, random: &mut StdRng) {
    for _ in 0..random.random_range(1..4) {
        if bytes.is_empty() {
            return;
        }
        let at = random.random_range(0..bytes.len());
        let to = random.random_range(at..=bytes.len());
        match random.random_range(0..4) {
            // Heads are short, and decide more than the rest.
            0 => bytes[at.min(3)] ^= 1 << random.random_range(0..8),
            1 => bytes[at] ^= 1 << random.random_range(0..8),
            2 => {
                bytes.drain(at..to);
            }
            _ => {
                let again = bytes[at..to].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
}
