//! `/v1/spreads` over the real topology: exact values, live hours, gaps and pages.

use serde_json::{Value, json};

use super::world::{Outcome, World, get, minute};

const PAIR: (&str, &str, &str) = ("BTC", "USD", "venue");
const BTC: &str = "base=BTC&quote=USD&exchange=venue";

/// A closed minute and an open one.
fn two_minutes() -> Outcome<World> {
    let mut world = World::new()?;
    world.quote(PAIR, [Some("99"), Some("101")], minute(0))?;
    world.quote(PAIR, [Some("100"), Some("101")], minute(0) + 30_000)?;
    world.quote(PAIR, [Some("100"), Some("104")], minute(1) + 10_000)?;
    Ok(world)
}

fn rows(answer: &Value) -> Vec<Value> {
    answer["spreads"].as_array().cloned().unwrap_or_default()
}

#[tokio::test]
async fn a_window_has_exact_means_weighted_by_time() -> Outcome {
    let routes = two_minutes()?.routes();
    let answer = get(&routes, &format!("/v1/spreads?{BTC}"), &[]).await?.json();
    assert_eq!((&answer["interval"], &answer["next_cursor"]), (&json!("1m"), &Value::Null));
    let first = json!({
        "open_time": "2024-01-01T00:00:00.000Z", "updates": 2,
        "spread_min": "1", "spread_max": "2", "spread_max_abs": "2", "spread_mean": "1.5",
        "mid_open": "100", "mid_high": "100.5", "mid_low": "100", "mid_close": "100.5",
        "mid_mean": "100.25", "mid_mean_10": "100.25", "microprice": "100.5", "imbalance": "0",
        "coverage_ms": null, "gap": false, "status": "CLOSED", "revision": 0,
    });
    let rows = rows(&answer);
    assert_eq!(rows[0], first);
    assert_eq!(rows.len(), 2);
    let open = &rows[1];
    assert_eq!((&open["status"], &open["updates"]), (&json!("OPEN"), &json!(1)));
    // The quote in force at its beginning counts.
    assert_eq!((&open["mid_open"], &open["mid_close"]), (&json!("100.5"), &json!("102")));
    let closed = get(&routes, &format!("/v1/spreads?{BTC}&closed_only=true"), &[]).await?.json();
    assert_eq!(closed["spreads"], json!([first]));
    Ok(())
}

#[tokio::test]
async fn an_hour_and_a_day_include_their_open_minute() -> Outcome {
    let routes = two_minutes()?.routes();
    for interval in ["1h", "1d"] {
        let path = format!("/v1/spreads?{BTC}&interval={interval}");
        let answer = get(&routes, &path, &[]).await?.json();
        let [row] = &rows(&answer)[..] else { panic!("{answer}") };
        assert_eq!((&row["updates"], &row["status"]), (&json!(3), &json!("OPEN")), "{row}");
        assert_eq!((&row["spread_min"], &row["spread_max"]), (&json!("1"), &json!("4")), "{row}");
        assert_eq!((&row["mid_open"], &row["mid_close"]), (&json!("100"), &json!("102")), "{row}");
        // A minute of 1.5 and ten seconds of 1.
        assert_eq!(row["spread_mean"], "1.428571428571428571", "{row}");
        // A range that ends before it does not.
        let none = get(&routes, &format!("{path}&to={}", minute(0)), &[]).await?.json();
        assert_eq!(none["spreads"], json!([]));
    }
    Ok(())
}

#[tokio::test]
async fn a_window_in_which_the_book_was_out_of_sync_is_marked() -> Outcome {
    let mut world = two_minutes()?;
    world.lost_sync(PAIR, minute(1) + 20_000, None)?;
    let state = format!("/v1/quotes?{BTC}");
    let quote = get(&world.routes(), &state, &[]).await?.json();
    assert_eq!((&quote["state"], &quote["bid"]), (&json!("OUT_OF_SYNC"), &json!("100")));
    world.lost_sync(PAIR, minute(1) + 20_000, Some(minute(2) + 1_000))?;
    world.quote(PAIR, [Some("100"), None], minute(2) + 1_000)?;
    let routes = world.routes();
    let quote = get(&routes, &state, &[]).await?.json();
    assert_eq!((&quote["state"], &quote["ask"]), (&json!("IN_SYNC"), &Value::Null));
    let answer = get(&routes, &format!("/v1/spreads?{BTC}"), &[]).await?.json();
    let gaps: Vec<_> = rows(&answer).iter().map(|row| row["gap"].clone()).collect();
    assert_eq!(gaps, [json!(false), json!(true), json!(true)]);
    let last = &rows(&answer)[2];
    for name in ["spread_min", "spread_mean", "mid_close", "microprice"] {
        assert_eq!(last[name], Value::Null, "{name}: {last}");
    }
    Ok(())
}

#[tokio::test]
async fn pages_of_spreads_are_the_whole_without_seams() -> Outcome {
    let mut world = World::new()?;
    // Across two segments of the store, with minutes in which no quote came.
    for number in (0..70).filter(|number| number % 3 != 1) {
        let ask = format!("{}", 101 + number);
        world.quote(PAIR, [Some("100"), Some(&ask)], minute(number))?;
    }
    let routes = world.routes();
    let whole = rows(&get(&routes, &format!("/v1/spreads?{BTC}"), &[]).await?.json());
    assert_eq!(whole.len(), 47);
    let (mut pages, mut cursor) = (Vec::new(), String::new());
    for _ in 0..7 {
        let path = format!("/v1/spreads?{BTC}&limit=7{cursor}");
        let page = get(&routes, &path, &[]).await?;
        pages.extend(rows(&page.json()));
        let next = page.json()["next_cursor"].as_str().map(str::to_owned);
        assert_eq!(page.header("next-cursor").map(str::to_owned), next);
        cursor = next.map_or(String::new(), |next| format!("&cursor={next}"));
    }
    assert_eq!((pages, cursor.as_str()), (whole.clone(), ""));
    let range = format!("/v1/spreads?{BTC}&from={}&to={}", minute(30), minute(36));
    assert_eq!(rows(&get(&routes, &range, &[]).await?.json()), whole[20..24]);
    Ok(())
}

#[tokio::test]
async fn spreads_come_as_csv_and_as_arrow() -> Outcome {
    let routes = two_minutes()?.routes();
    let path = format!("/v1/spreads?{BTC}");
    let csv = get(&routes, &path, &[("accept", "text/csv")]).await?.text();
    let mut lines = csv.lines();
    assert!(lines.next().is_some_and(|line| line.starts_with("open_time,updates,spread_min,")));
    let line = "2024-01-01T00:00:00.000Z,2,1,2,2,1.5,100,100.5,100,100.5,100.25,100.25,100.5,0,,false,\
        CLOSED,0";
    assert_eq!(lines.next(), Some(line));
    let accept = [("accept", "application/vnd.apache.arrow.stream")];
    let answer = get(&routes, &path, &accept).await?;
    assert_eq!(answer.header("content-type"), Some(accept[0].1));
    let mut reader = arrow_ipc::reader::StreamReader::try_new(&answer.body[..], None)?;
    let batch = reader.next().ok_or("no batch")??;
    assert_eq!((batch.num_rows(), batch.num_columns()), (2, 18));
    let mean = batch.column_by_name("spread_mean").ok_or("no mean")?;
    let mean = arrow_array::cast::AsArray::as_primitive::<arrow_array::types::Decimal128Type>(mean);
    assert_eq!(mean.value(0), 1_500_000_000_000_000_000);
    Ok(())
}
