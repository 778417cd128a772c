//! `openapi.json` and the routes say the same.

use std::collections::BTreeSet;
use std::error::Error;

use axum::body::Body;
use axum::http::Request;
use serde_json::Value;

use super::world::{Answer, Outcome, open, send, small};
use crate::query::openapi::DOCUMENT;
use crate::query::routes::reads;
use crate::query::{Guards, Token};

const METHODS: [&str; 6] = ["get", "post", "put", "patch", "delete", "trace"];

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

#[tokio::test]
async fn paths_and_methods_are_those_of_the_routes() -> Outcome {
    let routes = small()?.routes();
    let mut answered = BTreeSet::new();
    for (path, _) in reads() {
        for method in METHODS {
            let name = method.to_ascii_uppercase();
            let request = Request::builder().method(&*name).uri(path.replace(['{', '}'], ""));
            let answer = send(&routes, request.body(Body::empty())?).await?;
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
    async fn send(&self, guards: &Guards) -> Result<Answer, Box<dyn Error>> {
        let path = self.path.replace("{exchange}", "kraken").replace("{base}", "BTC");
        let mut request = Request::builder()
            .method(&*self.method.to_ascii_uppercase())
            .uri(format!("{path}?{}", self.query));
        for (name, value) in self.headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(self.body.to_owned()))?;
        send(&small()?.guarded(guards), request).await
    }
}

/// Every status that the operation can be made to answer with.
async fn statuses(path: &str, method: &str) -> Result<BTreeSet<String>, Box<dyn Error>> {
    let named = ["/v1/latest", "/v1/candles"].contains(&path) && method == "get";
    let (query, body) = (if named { BTC } else { "" }, if method == "post" { PAIR } else { "" });
    let json = [("content-type", "application/json")];
    let asked = Asked { method, path, query, headers: &json, body };
    let first = asked.send(&open()).await?;
    let tag = first.header("etag").unwrap_or("\"none\"").to_owned();
    let unchanged = [json[0], ("if-none-match", &*tag)];
    let image = [json[0], ("accept", "image/png")];
    let absent = if named { "base=X&quote=Y&exchange=z" } else { "quote=ZZZ" };
    let elsewhere = path.replace("{exchange}", "nowhere").replace("{base}", "NOTHING");
    let huge = " ".repeat(1 << 20);
    let mut found = BTreeSet::from([first.status.as_str().to_owned()]);
    for (asked, guards) in [
        (Asked { headers: &unchanged, ..asked }, open()),
        (Asked { headers: &image, ..asked }, open()),
        (Asked { headers: &[], ..asked }, open()),
        (Asked { query: "nonsense=1", ..asked }, open()),
        (Asked { query: absent, ..asked }, open()),
        (Asked { path: &elsewhere, ..asked }, open()),
        (Asked { body: &huge, ..asked }, open()),
        (Asked { ..asked }, Guards { token: Token::new("secret"), ..open() }),
        (Asked { ..asked }, Guards { rate: Some((1, 1)), ..open() }),
        (Asked { ..asked }, Guards { max_reads: 0, ..open() }),
    ] {
        let mut routes_answer = asked.send(&guards).await?;
        if guards.rate.is_some() {
            routes_answer = twice(&asked, &guards).await?;
        }
        found.insert(routes_answer.status.as_str().to_owned());
    }
    Ok(found)
}

/// The second answer of the same routes.
async fn twice(asked: &Asked<'_>, guards: &Guards) -> Result<Answer, Box<dyn Error>> {
    let routes = small()?.guarded(guards);
    let path = asked.path.replace("{exchange}", "kraken").replace("{base}", "BTC");
    let request = || {
        let method = asked.method.to_ascii_uppercase();
        Request::builder().method(&*method).uri(&path).body(Body::empty())
    };
    send(&routes, request()?).await?;
    send(&routes, request()?).await
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

/// What a schema says of an object's fields, as far as names and types go.
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
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let known = |name: &str| {
        schema["properties"].get(name).is_some() || schema["additionalProperties"] == true
    };
    let inside = match value {
        Value::Array(items) => items.iter().all(|item| fits(document, &schema["items"], item)),
        Value::Object(fields) => {
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let all = required.iter().all(|n| n.as_str().is_some_and(|n| fields.contains_key(n)));
            all && fields.iter().all(|(name, value)| {
                let schema = &schema["properties"][name.as_str()];
                known(name) && (schema.is_null() || fits(document, schema, value))
            })
        }
        _ => schema["enum"].as_array().is_none_or(|words| words.contains(value)),
    };
    types.contains(&kind.into()) && inside
}

#[tokio::test]
async fn answers_have_the_fields_that_the_document_names() -> Outcome {
    let document = document()?;
    for (path, method) in operations(&document) {
        if path.ends_with("openapi.json") {
            continue;
        }
        let named = ["/v1/latest", "/v1/candles"].contains(&&*path) && method == "get";
        let asked = Asked {
            method: &method,
            path: &path,
            query: if named { BTC } else { "" },
            headers: &[("content-type", "application/json")],
            body: if method == "post" { PAIR } else { "" },
        };
        let answer = asked.send(&open()).await?.json();
        let content = &document["paths"][&path][&method]["responses"]["200"]["content"];
        let schema = &content["application/json"]["schema"];
        assert!(fits(&document, schema, &answer), "{method} {path}: {answer:#}");
    }
    Ok(())
}
