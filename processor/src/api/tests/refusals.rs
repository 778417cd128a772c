//! Refusals state their reason, in one form.

use axum::Router;
use axum::body::Body;
use axum::http::Request;

use super::world::{Outcome, get, post, send, small};

const BTC: &str = "base=BTC&quote=USD&exchange=coinbase";

/// The status, and that the answer is an error that names `what`.
async fn refused(routes: &Router, path: &str, status: u16, what: &str) -> Outcome {
    let answer = get(routes, path, &[]).await?;
    let text = answer.text();
    assert_eq!(answer.status, status, "{path}: {text}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
    let error = answer.json()["error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains(what), "{path}: {text}");
    Ok(())
}

#[tokio::test]
async fn a_bad_parameter_is_named() -> Outcome {
    let routes = small()?.routes();
    for (query, what) in [
        ("base=BTC&quote=USD", "exchange"),
        ("base=&quote=USD&exchange=coinbase", "base"),
        (&format!("{BTC}&limit=0"), "limit"),
        (&format!("{BTC}&limit=10001"), "limit"),
        (&format!("{BTC}&interval=5m"), "interval"),
        (&format!("{BTC}&from=yesterday"), "from"),
        (&format!("{BTC}&from=2&to=1"), "from"),
        (&format!("{BTC}&fill=zero"), "fill"),
        (&format!("{BTC}&basis=BOOK"), "basis"),
        (&format!("{BTC}&closed_only=yes"), "closed_only"),
        (&format!("{BTC}&cursor=7"), "cursor"),
        (&format!("{BTC}&max_lag_ms=-1"), "max_lag_ms"),
        (&format!("{BTC}&intervall=1h"), "intervall"),
        (&format!("{BTC}&base=ETH"), "base"),
    ] {
        refused(&routes, &format!("/v1/candles?{query}"), 400, what).await?;
    }
    refused(&routes, "/v1/exchanges?limit=1", 400, "limit").await?;
    refused(&routes, "/v1/exchanges/%ff/pairs", 400, "UTF-8").await
}

#[tokio::test]
async fn what_is_not_here_is_404_and_a_quiet_range_is_not() -> Outcome {
    let routes = small()?.routes();
    refused(&routes, "/v1/latest?base=X&quote=USD&exchange=y", 404, "X-USD@y").await?;
    refused(&routes, "/v1/candles?base=X&quote=USD&exchange=y", 404, "X-USD@y").await?;
    refused(&routes, "/v1/exchanges/nowhere/pairs", 404, "nowhere").await?;
    refused(&routes, "/v1/bases/NONE", 404, "NONE").await?;
    refused(&routes, "/v2/latest", 404, "/v2/latest").await?;
    let quiet = get(&routes, &format!("/v1/candles?{BTC}&to=1"), &[]).await?;
    assert_eq!(quiet.json()["candles"], serde_json::json!([]));
    Ok(())
}

#[tokio::test]
async fn another_method_is_405_and_says_which_there_are() -> Outcome {
    let routes = small()?.routes();
    let request = Request::delete("/v1/candles").body(Body::empty())?;
    let answer = send(&routes, request).await?;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.header("allow"), Some("GET,HEAD"));
    assert!(answer.json()["error"].is_string());
    Ok(())
}

#[tokio::test]
async fn an_array_that_is_none_or_too_long_is_refused() -> Outcome {
    let routes = small()?.routes();
    for (body, status) in [
        ("{}", 400),
        ("[{", 400),
        (r#"[{"base":"BTC","quote":"USD"}]"#, 400),
        (r#"[{"base":"","quote":"USD","exchange":"coinbase"}]"#, 400),
        (r#"[{"base":"BTC","quote":"USD","exchange":"coinbase","size":1}]"#, 400),
    ] {
        let answer = post(&routes, "/v1/latest", body).await?;
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        assert!(answer.json()["error"].is_string(), "{body}");
    }
    let pair = r#"{"base":"BTC","quote":"USD","exchange":"coinbase"}"#;
    let many = format!("[{}]", vec![pair; 1_001].join(","));
    assert_eq!(post(&routes, "/v1/latest", &many).await?.status, 400);
    let huge = format!("[{}]", " ".repeat(1 << 20));
    assert_eq!(post(&routes, "/v1/latest", &huge).await?.status, 413);
    let plain = Request::post("/v1/latest").body(Body::from("[]"))?;
    assert_eq!(send(&routes, plain).await?.status, 415);
    Ok(())
}

#[tokio::test]
async fn a_format_that_is_not_offered_is_406() -> Outcome {
    let routes = small()?.routes();
    let arrow = [("accept", "application/vnd.apache.arrow.stream")];
    for (path, accept) in [
        (format!("/v1/latest?{BTC}"), arrow),
        (format!("/v1/candles?{BTC}"), [("accept", "image/png")]),
    ] {
        let answer = get(&routes, &path, &accept).await?;
        assert_eq!(answer.status, 406);
        assert!(answer.json()["error"].as_str().is_some_and(|e| e.contains("application/json")));
    }
    Ok(())
}
