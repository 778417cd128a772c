//! `openapi.json` and the routes say the same.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use axum::body::Body;
use axum::http::Request;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

use super::swaps::{POOL, TX, USDC};
use super::world::{Answer, Outcome, open, send, small};
use crate::api::openapi::DOCUMENT;
use crate::api::routes::reads;
use crate::api::{AccessPolicy, AccessToken, stream};

const METHODS: [&str; 6] = ["get", "post", "put", "patch", "delete", "trace"];
/// Answers without end.
const STREAMS: [&str; 2] = ["/v1/stream", "/v1/events"];

fn document() -> Result<Value, serde_json::Error> {
    serde_json::from_str(DOCUMENT)
}

/// Path and method of each operation.
fn operations(document: &Value) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().into_iter().flatten() {
        for method in operations.as_object().into_iter().flatten().map(|(method, _)| method) {
            found.insert((path.clone(), method.clone()));
        }
    }
    found
}

/// Every route that the document is to know.
fn routes() -> Vec<&'static str> {
    let (reads, streams) = (reads(), stream::routes());
    let reads = reads.into_iter().map(|(path, _)| path);
    reads.chain(streams.into_iter().map(|(path, _)| path)).collect()
}

#[tokio::test]
async fn paths_and_methods_are_those_of_the_routes() -> Outcome {
    let (world, _hub) = small()?.streaming(&open(), 1)?;
    let mut answered = BTreeSet::new();
    for path in routes() {
        for method in METHODS {
            let name = method.to_ascii_uppercase();
            let request = Request::builder().method(&*name).uri(path.replace(['{', '}'], ""));
            let answer = send(&world, request.body(Body::empty())?).await?;
            if answer.status != 405 {
                answered.insert((path.to_owned(), method.to_owned()));
            }
        }
    }
    assert_eq!(answered, operations(&document()?));
    Ok(())
}

#[test]
fn what_the_document_refers_to_is_there() -> Outcome {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = document()?;
    let mut found = Vec::new();
    references(&document, &mut found);
    for reference in found {
        let pointer = reference.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    Ok(())
}

const BTC: &str = "base=BTC&quote=USD&exchange=coinbase";
const OPTION: &str = "BTC-26JAN24-40000-C";
/// The address of no token and no pool.
const ABSENT: &str = "0x1111111111111111111111111111111111111111";
const PAIR: &str = r#"[{"base":"BTC","quote":"USD","exchange":"coinbase"}]"#;

/// One request.
#[derive(Clone, Copy)]
struct Asked<'a> {
    method: &'a str,
    path: &'a str,
    query: &'a str,
    headers: &'a [(&'a str, &'a str)],
    body: &'a str,
}

impl Asked<'_> {
    fn request(&self) -> Result<Request<Body>, axum::http::Error> {
        let path = self.path.replace("{exchange}", "kraken").replace("{base}", "BTC");
        let path = path.replace("{instrument}", OPTION).replace("{token}", USDC);
        let path = path.replace("{pool}", POOL).replace("{tx}", TX);
        let mut request = Request::builder()
            .method(&*self.method.to_ascii_uppercase())
            .uri(format!("{path}?{}", self.query));
        for (name, value) in self.headers {
            request = request.header(*name, *value);
        }
        request.body(Body::from(self.body.to_owned()))
    }

    async fn send(&self, guards: &AccessPolicy) -> Outcome<Answer> {
        let (routes, _hub) = small()?.streaming(guards, 1)?;
        send(&routes, self.request()?).await
    }

    /// The status of the second of two answers, whose bodies may have no end.
    async fn status(&self, guards: &AccessPolicy, places: u32) -> Outcome<String> {
        let (routes, _hub) = small()?.streaming(guards, places)?;
        // The first one's place is free again when its answer is dropped.
        routes.clone().oneshot(self.request()?).await?;
        let second = routes.oneshot(self.request()?).await?;
        Ok(second.status().as_str().to_owned())
    }
}

/// The headers by which a browser opens a WebSocket.
const HANDSHAKE: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// A request of an operation that has an answer.
fn good<'a>(path: &'a str, method: &'a str) -> Asked<'a> {
    let of_a_pair = ["/v1/latest", "/v1/candles", "/v1/quotes", "/v1/book", "/v1/spreads"];
    let named = of_a_pair.contains(&path) && method == "get";
    let query = match path {
        "/v1/events" => "channel=latest",
        "/v1/surface" => "currency=BTC",
        _ if named => BTC,
        _ => "",
    };
    let headers: &[_] = match path {
        "/v1/stream" => &HANDSHAKE,
        _ => &[("content-type", "application/json")],
    };
    Asked { method, path, query, headers, body: if method == "post" { PAIR } else { "" } }
}

/// Every status that the operation can be made to answer with.
async fn statuses(path: &str, method: &str) -> Outcome<BTreeSet<String>> {
    let asked = good(path, method);
    let named = asked.query == BTC;
    let tag = if STREAMS.contains(&path) {
        "\"none\"".to_owned()
    } else {
        asked.send(&open()).await?.header("etag").unwrap_or("\"none\"").to_owned()
    };
    let and = |name, value| [asked.headers, &[(name, value)]].concat();
    let unchanged = and("if-none-match", &*tag);
    let (image, foreign) = (and("accept", "image/png"), and("origin", "https://elsewhere"));
    let absent = match path {
        _ if named => "base=X&quote=Y&exchange=z",
        "/v1/surface" => "currency=ZZZ",
        "/v1/tokens" | "/v1/pools" => "chain=10",
        _ => "quote=ZZZ",
    };
    let elsewhere = path.replace("{exchange}", "nowhere").replace("{base}", "NOTHING");
    let elsewhere =
        elsewhere.replace("{instrument}", "NOTHING").replace("{tx}", &TX.replace('a', "c"));
    let elsewhere = elsewhere.replace("{token}", ABSENT).replace("{pool}", ABSENT);
    let huge = " ".repeat(1 << 20);
    let mut found = BTreeSet::new();
    for (asked, guards, places) in [
        (Asked { ..asked }, open(), 1),
        (Asked { headers: &unchanged, ..asked }, open(), 1),
        (Asked { headers: &image, ..asked }, open(), 1),
        (Asked { headers: &foreign, ..asked }, open(), 1),
        (Asked { headers: &[], ..asked }, open(), 1),
        (Asked { query: "nonsense=1", ..asked }, open(), 1),
        (Asked { query: absent, ..asked }, open(), 1),
        (Asked { path: &elsewhere, ..asked }, open(), 1),
        (Asked { body: &huge, ..asked }, open(), 1),
        (Asked { ..asked }, AccessPolicy { token: AccessToken::new("secret"), ..open() }, 1),
        (Asked { ..asked }, AccessPolicy { rate: Some((1, 1)), ..open() }, 1),
        (Asked { ..asked }, AccessPolicy { max_reads: 0, ..open() }, 1),
        (Asked { ..asked }, open(), 0),
    ] {
        found.insert(asked.status(&guards, places).await?);
    }
    if path == "/v1/stream" {
        // A request without a connection cannot become a WebSocket, which is checked first.
        for (headers, places) in [(asked.headers, 1), (asked.headers, 0), (&*foreign, 1)] {
            found.insert(handshake(headers, places).await?);
        }
    }
    Ok(found)
}

/// The status of a handshake over a socket.
async fn handshake(headers: &[(&str, &str)], places: u32) -> Outcome<String> {
    let (routes, _hub) = small()?.streaming(&open(), places)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut socket = TcpStream::connect(listener.local_addr()?).await?;
    let server = tokio::spawn(async move { axum::serve(listener, routes).await });
    let mut request = "GET /v1/stream HTTP/1.1\r\nhost: here\r\n".to_owned();
    for (name, value) in headers {
        write!(request, "{name}: {value}\r\n")?;
    }
    request.push_str("\r\n");
    socket.write_all(request.as_bytes()).await?;
    // `HTTP/1.1 101`
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await?;
    server.abort();
    Ok(String::from_utf8_lossy(&answer[9..]).into_owned())
}

#[tokio::test]
async fn each_documented_status_can_be_had_and_no_other() -> Outcome {
    let document = document()?;
    for (path, method) in operations(&document) {
        let documented = document["paths"][&path][&method]["responses"].as_object();
        let documented: BTreeSet<String> =
            documented.into_iter().flatten().map(|(status, _)| status.clone()).collect();
        assert_eq!(statuses(&path, &method).await?, documented, "{method} {path}");
    }
    Ok(())
}

/// The names and types of an object's fields in a schema.
fn fits(document: &Value, schema: &Value, value: &Value) -> bool {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = document.pointer(reference.trim_start_matches('#'));
        return schema.is_some_and(|schema| fits(document, schema, value));
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.clone(),
        one => vec![one.clone()],
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let known = |name: &str| {
        let more = &schema["additionalProperties"];
        schema["properties"].get(name).is_some() || more == true || more.is_object()
    };
    let inside = match value {
        Value::Array(items) => items.iter().all(|item| fits(document, &schema["items"], item)),
        Value::Object(fields) => {
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let all = required.iter().all(|n| n.as_str().is_some_and(|n| fields.contains_key(n)));
            all && fields.iter().all(|(name, value)| {
                let named = &schema["properties"][name.as_str()];
                let more = &schema["additionalProperties"];
                let schema = if named.is_null() { more } else { named };
                known(name) && (!schema.is_object() || fits(document, schema, value))
            })
        }
        _ => schema["enum"].as_array().is_none_or(|words| words.contains(value)),
    };
    let whole = kind == "integer" && types.contains(&"number".into());
    (types.contains(&kind.into()) || whole) && inside
}

#[tokio::test]
async fn answers_have_the_fields_that_the_document_names() -> Outcome {
    let document = document()?;
    for (path, method) in operations(&document) {
        if path.ends_with("openapi.json") || STREAMS.contains(&&*path) {
            continue;
        }
        let answer = good(&path, &method).send(&open()).await?.json();
        let content = &document["paths"][&path][&method]["responses"]["200"]["content"];
        let schema = &content["application/json"]["schema"];
        assert!(fits(&document, schema, &answer), "{method} {path}: {answer:#}");
    }
    Ok(())
}
