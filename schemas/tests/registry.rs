//! The registry's client against a registry of a few lines: what it asks, in which order, and what
//! it makes of each answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use schemas::absent::WAIT;
use schemas::registry::{Registry, RegistryError};
use schemas::{Codec, DecodeError, Kind, PairKey};

/// What a test returns.
type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Status and body of an answer.
type Answer = (u16, String);

/// A request: method and path, then the body.
type Request = (String, String);

fn answer(stream: &TcpStream, answers: &mut dyn FnMut(&str) -> Answer) -> std::io::Result<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let what = line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (status, text) = answers(&what);
    let length = text.len();
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{text}"
    )?;
    Ok((what, String::from_utf8_lossy(&body).into_owned()))
}

/// Serves `count` requests and goes away. What was asked comes out of the channel.
fn serve(
    count: usize,
    mut answers: impl FnMut(&str) -> Answer + Send + 'static,
) -> Outcome<(Registry, Receiver<Request>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let (asked, requests) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().take(count).flatten() {
            if let Ok(request) = answer(&stream, &mut answers) {
                // A test that has seen enough no longer listens.
                let _ = asked.send(request);
            }
        }
    });
    Ok((Registry::new(&url)?, requests))
}

/// Gives each subject an id of its own, from 11.
fn ids() -> impl FnMut(&str) -> Answer {
    let mut next = 10;
    move |what| {
        if what.starts_with("POST") {
            next += 1;
        }
        (200, format!("{{\"id\": {next}}}"))
    }
}

/// A PUT and a POST for each of the 59 subjects.
const REGISTRATION: usize = 118;

#[test]
fn every_subject_is_set_to_backward_before_its_schema_is_registered() -> Outcome {
    let (registry, requests) = serve(REGISTRATION, ids())?;
    let codec = registry.codec("test.")?;
    let requests: Vec<Request> = requests.iter().collect();
    assert_eq!(requests.len(), REGISTRATION);
    for pair in requests.chunks(2) {
        let [(put, compatibility), (post, schema)] = pair else {
            return Err("requests come in pairs".into());
        };
        let subject = put.strip_prefix("PUT /config/").ok_or(put.as_str())?;
        assert!(subject.starts_with("test."), "{subject}");
        assert_eq!(post, &format!("POST /subjects/{subject}/versions"));
        assert_eq!(compatibility, r#"{"compatibility":"BACKWARD"}"#);
        let schema: serde_json::Value = serde_json::from_str(schema)?;
        assert!(Kind::ALL.iter().any(|kind| schema["schema"] == kind.schema()), "{subject}");
    }
    assert!(Kind::ALL.iter().all(|kind| codec.id(*kind) > 10), "ids are the registry's");
    Ok(())
}

#[test]
fn a_subject_that_does_not_exist_is_set_to_backward_once_it_does() -> Outcome {
    let mut number = ids();
    let mut puts = 0;
    let answers = move |what: &str| {
        if what.starts_with("PUT") {
            puts += 1;
            return if puts % 2 == 1 { (404, "{}".into()) } else { (200, "{}".into()) };
        }
        number(what)
    };
    let (registry, requests) = serve(REGISTRATION + REGISTRATION / 2, answers)?;
    registry.codec("")?;
    let methods: String = requests.iter().filter_map(|(what, _)| what.chars().nth(1)).collect();
    assert_eq!(methods, "UOU".repeat(REGISTRATION / 2), "PUT, POST, PUT");
    Ok(())
}

/// More than a client that tries a conflict again will ask.
const TRIES: usize = 20;

fn refusal(status: u16, body: &str) -> Outcome<RegistryError> {
    let body = body.to_owned();
    let answers = move |what: &str| {
        if what.starts_with("POST") { (status, body.clone()) } else { (200, "{}".into()) }
    };
    let (registry, _requests) = serve(1 + TRIES, answers)?;
    registry.codec("").err().ok_or_else(|| "it was accepted".into())
}

#[test]
fn an_incompatible_schema_is_named_with_the_registrys_words_and_the_way_out() -> Outcome {
    for status in [409, 422] {
        let error = refusal(status, r#"{"error_code": 409, "message": "field size is gone"}"#)?;
        let text = error.to_string();
        assert!(matches!(error, RegistryError::Incompatible { .. }), "{text}");
        for part in ["events-key", "field size is gone", "--topic-prefix"] {
            assert!(text.contains(part), "{text}");
        }
    }
    Ok(())
}

#[test]
fn a_registry_in_trouble_is_not_an_incompatible_schema() -> Outcome {
    for (status, body) in [
        (500, r#"{"error_code": 50001, "message": "the store is down"}"#),
        (503, "<html>the store is down</html>"),
        (200, "the store is down, and this is no id"),
    ] {
        let error = refusal(status, body)?;
        let text = error.to_string();
        assert!(matches!(error, RegistryError::Unreachable { .. }), "{text}");
        assert!(text.contains("the store is down"), "{text}");
    }
    Ok(())
}

#[test]
fn a_registry_that_does_not_answer_is_named_with_the_way_out() -> Outcome {
    // Bound and dropped: nobody listens there.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let error = Registry::new(&format!("http://{address}"))?.codec("").err();
    let text = error.ok_or("nobody listens")?.to_string();
    assert!(text.contains(&address.to_string()), "{text}");
    assert!(text.contains("--schema-registry-url"), "{text}");
    Ok(())
}

fn with_id(codec: &Codec, id: i32) -> Vec<u8> {
    let mut bytes = codec.to_bytes(&PairKey::new("BTC", "USD", "coinbase"));
    bytes[1..5].copy_from_slice(&id.to_be_bytes());
    bytes
}

#[test]
fn an_id_is_looked_up_and_an_outage_is_told_from_an_unknown_one() -> Outcome {
    let mut number = ids();
    let answers = move |what: &str| match what.split('?').next().unwrap_or_default() {
        "GET /schemas/ids/500" => {
            let schema = serde_json::json!({"schema": Kind::PairKey.schema()});
            (200, schema.to_string())
        }
        "GET /schemas/ids/501" => (404, r#"{"error_code": 40403, "message": "none"}"#.into()),
        "GET /schemas/ids/502" => (500, r#"{"error_code": 50001, "message": "down"}"#.into()),
        _ => number(what),
    };
    // One request for the schema that is there, two for each that is not: what kind of no it is.
    let (registry, _requests) = serve(REGISTRATION + 1 + 2 + 2, answers)?;
    let seconds = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&seconds);
    let now = move || Duration::from_secs(clock.load(Ordering::SeqCst));
    let codec = registry.codec("")?.waiting(Box::new(now));
    let read = |id| codec.decode::<PairKey>(&with_id(&codec, id));
    assert_eq!(read(500)?, PairKey::new("BTC", "USD", "coinbase"));
    assert!(matches!(read(501), Err(DecodeError::Unavailable(said)) if said.contains("id 501")));
    assert!(matches!(read(502), Err(DecodeError::Unavailable(_))));
    // It has gone away; what was looked up is known.
    assert!(matches!(read(503), Err(DecodeError::Unavailable(_))));
    assert!(read(500).is_ok());
    Ok(())
}

/// A codec of a registry that knows schema 500 from its `known`th answer on, and its clock.
fn late(known: usize) -> Outcome<(Codec, Arc<AtomicU64>)> {
    let (mut number, mut asked) = (ids(), 0);
    let answers = move |what: &str| {
        if !what.starts_with("GET /schemas/ids/500") {
            return number(what);
        }
        asked += 1;
        if asked < known {
            return (404, r#"{"error_code": 40403, "message": "none"}"#.into());
        }
        (200, serde_json::json!({"schema": Kind::PairKey.schema()}).to_string())
    };
    let (registry, _) = serve(usize::MAX, answers)?;
    let millis = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&millis);
    let now = move || Duration::from_millis(clock.load(Ordering::SeqCst));
    Ok((registry.codec("")?.waiting(Box::new(now)), millis))
}

#[test]
fn a_schema_that_becomes_known_while_it_is_waited_for_loses_no_record() -> Outcome {
    // Two requests for each no.
    let (codec, millis) = late(5)?;
    let read = || codec.decode::<PairKey>(&with_id(&codec, 500));
    let mut waited = 0;
    while matches!(read(), Err(DecodeError::Unavailable(_))) {
        waited += 1;
        millis.fetch_add(100, Ordering::SeqCst);
    }
    assert_eq!(read()?, PairKey::new("BTC", "USD", "coinbase"));
    assert_eq!(waited, 6, "asked at 0, 200 and 600 ms");
    Ok(())
}

#[test]
fn a_schema_that_is_never_known_is_given_up_and_comes_back_when_it_is_known() -> Outcome {
    let (codec, millis) = late(21)?;
    let read = || codec.decode::<PairKey>(&with_id(&codec, 500));
    while matches!(read(), Err(DecodeError::Unavailable(_))) {
        assert!(Duration::from_millis(millis.fetch_add(100, Ordering::SeqCst)) < WAIT);
    }
    assert_eq!(read(), Err(DecodeError::UnknownSchema(500)));
    // What is good was never held up.
    assert!(codec.decode::<PairKey>(&codec.to_bytes(&PairKey::new("A", "B", "c"))).is_ok());
    while read() == Err(DecodeError::UnknownSchema(500)) {
        millis.fetch_add(1_000, Ordering::SeqCst);
        assert!(millis.load(Ordering::SeqCst) < 600_000, "it is not asked for again");
    }
    assert!(read().is_ok());
    Ok(())
}
