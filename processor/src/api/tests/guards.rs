//! The access policy: tokens, rates, timeouts and CORS.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request};
use axum::middleware::from_fn_with_state;
use axum::routing::get as get_route;
use schemas::Timestamp;
use tokio::sync::Semaphore;

use super::world::{Outcome, get, open, post, send, small};
use crate::api::guard::{Guard, in_time};
use crate::api::{AccessPolicy, AccessToken, Budget};

const PATH: &str = "/v1/latest?base=BTC&quote=USD&exchange=coinbase";

#[tokio::test]
async fn without_the_token_nothing_is_read_and_probes_are_answered() -> Outcome {
    let routes = small()?.guarded(&AccessPolicy { token: AccessToken::new("secret\n"), ..open() });
    for sent in ["", "Bearer", "Bearer wrong!", "Basic secret", "Bearer secret "] {
        let answer = get(&routes, PATH, &[("authorization", sent)]).await?;
        assert_eq!(answer.status, 401, "{sent}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert!(answer.json()["error"].is_string());
    }
    assert_eq!(get(&routes, PATH, &[("authorization", "bearer secret")]).await?.status, 200);
    for probe in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(get(&routes, probe, &[]).await?.status, 200, "{probe}");
    }
    Ok(())
}

#[tokio::test]
async fn whoever_asks_too_often_is_told_when_to_come_back() -> Outcome {
    let routes = small()?.guarded(&AccessPolicy { rate: Some((1, 2)), ..open() });
    // The clock of these routes stands still.
    for _ in 0..2 {
        assert_eq!(get(&routes, PATH, &[]).await?.status, 200);
    }
    let refused = get(&routes, PATH, &[]).await?;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(get(&routes, "/healthz", &[]).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn more_reads_at_once_than_there_may_be_are_refused() -> Outcome {
    let routes = small()?.guarded(&AccessPolicy { max_reads: 0, ..open() });
    let refused = get(&routes, PATH, &[]).await?;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, Some("1")));
    assert!(refused.json()["error"].as_str().is_some_and(|error| error.contains("concurrent")));
    Ok(())
}

#[tokio::test]
async fn a_read_that_takes_too_long_is_refused() -> Outcome {
    let gate = Guard::new(
        &AccessPolicy { timeout: Duration::from_millis(1), ..open() },
        || Timestamp(0),
        &Budget::new(1),
    );
    let never = get_route(std::future::pending::<()>);
    let routes = Router::new().route("/", never).route_layer(from_fn_with_state(gate, in_time));
    let refused = get(&routes, "/", &[]).await?;
    assert_eq!(refused.status, 503);
    assert!(refused.json()["error"].as_str().is_some_and(|error| error.contains("longer")));
    Ok(())
}

#[tokio::test]
async fn without_memory_a_read_is_refused_and_a_body_not_gathered() -> Outcome {
    let mut world = small()?;
    world.budget = Budget::new(40);
    let routes = world.routes();
    let pairs = r#"[{"base":"BTC","quote":"USD","exchange":"coinbase"}]"#;
    for refused in [get(&routes, PATH, &[]).await?, post(&routes, "/v1/latest", pairs).await?] {
        assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, Some("1")));
        assert!(refused.text().contains("other clients"), "{}", refused.text());
    }
    assert_eq!(world.budget.held(), 0);
    Ok(())
}

#[tokio::test]
async fn a_permit_comes_back_when_the_read_is_done() -> Outcome {
    let service = small()?.service();
    let reads = Arc::new(Semaphore::new(1));
    let ask = |service: crate::api::ReadService| async move {
        let routes =
            crate::api::router(service, &AccessPolicy { max_reads: 1, ..open() }, Router::new())?;
        for _ in 0..3 {
            assert_eq!(get(&routes, PATH, &[]).await?.status, 200);
        }
        Outcome::Ok(())
    };
    ask(crate::api::ReadService { reads, ..service }).await
}

#[tokio::test]
async fn pages_of_an_allowed_origin_may_read_and_no_others() -> Outcome {
    let origins = vec![HeaderValue::from_static("https://desk.example")];
    let routes = small()?.guarded(&AccessPolicy { origins, ..open() });
    for (origin, allowed) in [("https://desk.example", true), ("https://evil.example", false)] {
        let answer = get(&routes, PATH, &[("origin", origin)]).await?;
        let told = answer.header("access-control-allow-origin");
        assert_eq!(told, allowed.then_some(origin));
        let preflight = Request::options("/v1/latest")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .body(Body::empty())?;
        let answer = send(&routes, preflight).await?;
        assert_eq!(answer.header("access-control-allow-origin"), allowed.then_some(origin));
    }
    Ok(())
}

#[tokio::test]
async fn large_answers_are_compressed_as_the_client_likes() -> Outcome {
    let routes = small()?.routes();
    let path = "/v1/candles?base=BTC&quote=USD&exchange=coinbase&fill=previous";
    for encoding in ["gzip", "zstd"] {
        let answer = get(&routes, path, &[("accept-encoding", encoding)]).await?;
        assert_eq!(answer.header("content-encoding"), Some(encoding));
        let vary = answer.headers.get_all("vary").iter().filter_map(|value| value.to_str().ok());
        let vary = vary.collect::<Vec<_>>().join(",");
        assert!(vary.contains("accept") && vary.contains("accept-encoding"), "{vary}");
    }
    assert_eq!(
        get(&routes, PATH, &[("accept-encoding", "gzip")]).await?.header("content-encoding"),
        None
    );
    Ok(())
}

#[tokio::test]
async fn requests_are_measured_by_route_and_never_by_what_was_asked() -> Outcome {
    let routes = small()?.routes();
    get(&routes, "/v1/bases/BTC", &[]).await?;
    get(&routes, "/v1/bases/nothing", &[]).await?;
    get(&routes, "/somewhere/else", &[]).await?;
    let metrics = get(&routes, "/metrics", &[]).await?.text();
    let count = |route: &str, status: &str| {
        let labels = format!("{{method=\"GET\",route=\"{route}\",status=\"{status}\"}} 1");
        metrics.contains(&format!("processor_http_request_duration_seconds_count{labels}"))
    };
    assert!(count("/v1/bases/{base}", "2xx"), "{metrics}");
    assert!(count("/v1/bases/{base}", "4xx"), "{metrics}");
    assert!(count("unmatched", "4xx"), "{metrics}");
    Ok(())
}
