//! `/v1/health`: the state of this process and of the feeds for the status page.
//!
//! It consists of metrics and of the feeds' marks. A number that this process does not have is
//! null; a view, for example, commits nothing.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use prometheus::proto::MetricFamily;
use schemas::topic::Topic;
use schemas::{FeedMark, Timestamp};
use serde_json::{Value, json};
use streams::runtime::{Queries, WorkerStatus};

use super::pattern::Channel;
use super::service::StreamService;
use crate::api::answer::ReadRequest;
use crate::api::clock;
use crate::api::error::{Refusal, Result};
use crate::api::exchange_cache::DEAD_AFTER_MS;
use crate::api::read_service::AFTER_FEEDS;
use crate::store_keys;
use crate::topology::store_name;

/// A bound on the exchanges shown, far above their number.
const MAX_FEEDS: usize = 1_000;

/// `GET /v1/health`.
pub(super) async fn health(
    State(streaming): State<StreamService>,
    ask: ReadRequest,
) -> Result<Json<Value>> {
    ask.params.just(&[])?;
    let read = move || {
        let now = clock::now();
        let service = &streaming.reads;
        let feeds = feeds(&streaming)?;
        let feeds: Vec<Value> = feeds.iter().map(|(name, mark)| feed(name, mark, now)).collect();
        let here = service.queries.stores(Channel::Latest.store());
        let members = service.queries.members();
        Ok::<_, streams::Error>(json!({
            "time": now.to_string(),
            "role": if members.is_empty() { "view" } else { "member" },
            "ready": service.queries.is_ready(),
            "partitions": here.iter().map(|(partition, _)| partition).collect::<Vec<_>>(),
            "members": members.iter().map(member).collect::<Vec<_>>(),
            "follower": service.queries.follower().map(|follower| member(&follower)),
            "feeds": feeds,
            "metrics": numbers(&service.registry.gather()),
            "positions": positions(&service.queries),
        }))
    };
    let health = tokio::task::spawn_blocking(read).await;
    Ok(Json(health.map_err(|error| Refusal::broken(&error))??))
}

fn member(member: &WorkerStatus) -> Value {
    json!({ "joined": member.joined, "restoring": member.restoring, "running": member.running })
}

/// The newest mark of each exchange, over all partitions.
fn feeds(streaming: &StreamService) -> streams::Result<BTreeMap<String, FeedMark>> {
    let mut newest: BTreeMap<String, FeedMark> = BTreeMap::new();
    for (_, store) in streaming.reads.queries.stores(store_name(Topic::Feeds)) {
        for (key, value) in store.range(&[], &AFTER_FEEDS, MAX_FEEDS)? {
            let Some(pair) = store_keys::read_pair(&key) else { continue };
            let Ok(mark) = streaming.reads.codec.decode::<FeedMark>(&value) else { continue };
            let known = newest.get(&pair.exchange);
            if known.is_none_or(|known| known.received_at < mark.received_at) {
                newest.insert(pair.exchange, mark);
            }
        }
    }
    Ok(newest)
}

fn feed(exchange: &str, mark: &FeedMark, now: Timestamp) -> Value {
    let age_ms = now.0.saturating_sub(mark.received_at.0).max(0);
    json!({
        "exchange": exchange,
        "feed": mark.feed,
        "state": if age_ms > DEAD_AFTER_MS { "dead" } else { "live" },
        "age_ms": age_ms,
        "marked_at": mark.received_at.to_string(),
        "healthy_until": mark.healthy_until.to_string(),
        "last_gap_from": mark.gap_from.map(|time| time.to_string()),
        "last_gap_until": mark.gap_until.map(|time| time.to_string()),
        "last_gap_reason": mark.gap_from.map(|_| &mark.reason),
    })
}

fn positions(queries: &Queries) -> Value {
    let channels = Channel::ALL.map(|channel| {
        let store = channel.store();
        json!({ "store": store, "topic_id": queries.topic_id(store) })
    });
    json!(channels)
}

/// The metrics of the status page.
fn numbers(families: &[MetricFamily]) -> Value {
    let family = |name: &str| families.iter().find(|family| family.name() == name);
    let by_label = |name: &str, label: &str| -> Value {
        let Some(family) = family(name) else { return Value::Null };
        let values = family.get_metric().iter().map(|metric| {
            let named = metric.get_label().iter().find(|pair| pair.name() == label);
            let name = named.map_or("", |pair| pair.value());
            (name.to_owned(), json!(metric.get_gauge().get_value()))
        });
        values.collect::<serde_json::Map<_, _>>().into()
    };
    let count = |name: &str| -> Value {
        let Some(family) = family(name) else { return Value::Null };
        let values = family.get_metric().iter().map(|metric| metric.get_counter().get_value());
        json!(values.fold(0.0, f64::max))
    };
    json!({
        "consumer_lag_records": by_label("processor_consumer_lag_records", "partition"),
        "standby_lag_records": by_label("processor_standby_lag_records", "task"),
        "restore_remaining_records": by_label("processor_restore_remaining_records", "task"),
        "rebalances": count("processor_rebalances_total"),
        "store_bytes": by_label("processor_store_size_bytes", "store"),
        "stream_clients": by_label("processor_stream_clients", "transport"),
        "commit_seconds": family("processor_commit_duration_seconds").map(buckets),
        "latency_seconds": family("processor_end_to_end_latency_seconds").map(buckets),
    })
}

/// A histogram since the start: the page shows the difference of two.
fn buckets(family: &MetricFamily) -> Value {
    let Some(metric) = family.get_metric().first() else { return Value::Null };
    let histogram = metric.get_histogram();
    let buckets = histogram.get_bucket().iter();
    let buckets: Vec<Value> =
        buckets.map(|bucket| json!([bucket.upper_bound(), bucket.cumulative_count()])).collect();
    json!({ "count": histogram.get_sample_count(), "buckets": buckets })
}
