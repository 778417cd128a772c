//! `/v1/options/{instrument}/history`: minutes of the store, in pages.

use serde_json::{Value, json};

use super::options::{CALL, put_minute};
use super::world::{Outcome, get, minute, small};

const BTC: (&str, &str, &str) = (CALL, "BTC", "deribit");

fn marks(answer: &Value) -> Vec<&str> {
    let rows = answer["minutes"].as_array().into_iter().flatten();
    rows.filter_map(|row| row["mark_price"].as_str()).collect()
}

#[tokio::test]
async fn a_minute_has_the_last_ticker_and_its_time() -> Outcome {
    let routes = small()?.routes();
    let path = format!("/v1/options/{CALL}/history");
    let answer = get(&routes, &path, &[]).await?.json();
    let first = json!({
        "open_time": "2024-01-01T00:00:00.000Z", "mark_price": "0.05", "mark_iv": null,
        "bid": null, "ask": null, "bid_iv": "0", "ask_iv": null, "delta": null,
        "open_interest": null, "underlying_price": null, "index_price": null,
        "event_time": "2024-01-01T00:00:59.000Z",
    });
    assert_eq!(
        (&answer["base"], &answer["quote"], &answer["exchange"]),
        (&json!(CALL), &json!("BTC"), &json!("deribit"))
    );
    assert_eq!((&answer["minutes"][0], marks(&answer)), (&first, vec!["0.05", "0.051", "0.052"]));
    let range = format!("{path}?from={}&to={}", minute(1), minute(2));
    assert_eq!(marks(&get(&routes, &range, &[]).await?.json()), ["0.051"]);
    let csv = get(&routes, &path, &[("accept", "text/csv")]).await?.text();
    assert_eq!((csv.lines().count(), csv.starts_with("open_time,mark_price,mark_iv,")), (4, true));
    Ok(())
}

#[tokio::test]
async fn pages_of_minutes_are_the_whole_across_segments() -> Outcome {
    let world = small()?;
    for number in (3..80).filter(|number| number % 7 != 2) {
        put_minute(&world, BTC, minute(number), &format!("{number}"))?;
    }
    let (routes, path) = (world.routes(), format!("/v1/options/{CALL}/history"));
    let whole = get(&routes, &path, &[]).await?.json()["minutes"].clone();
    assert_eq!(whole.as_array().map(Vec::len), Some(69));
    let (mut pages, mut cursor) = (Vec::new(), String::new());
    for _ in 0..9 {
        let page = get(&routes, &format!("{path}?limit=8{cursor}"), &[]).await?;
        pages.extend(page.json()["minutes"].as_array().cloned().unwrap_or_default());
        cursor = page.header("next-cursor").map_or(String::new(), |next| format!("&cursor={next}"));
    }
    assert_eq!((Value::Array(pages), cursor.as_str()), (whole, ""));
    Ok(())
}

#[tokio::test]
async fn the_minutes_of_an_option_that_has_left_are_found_by_its_pair() -> Outcome {
    let world = small()?;
    put_minute(&world, ("BTC-1DEC23-1-C", "BTC", "deribit"), minute(1), "7")?;
    let (routes, path) = (world.routes(), "/v1/options/BTC-1DEC23-1-C/history");
    let answer = get(&routes, path, &[]).await?;
    assert_eq!((answer.status.as_u16(), answer.json()["near"].is_array()), (404, true));
    let found = get(&routes, &format!("{path}?quote=BTC&exchange=deribit"), &[]).await?.json();
    assert_eq!(marks(&found), ["7"]);
    let absent = get(&routes, &format!("{path}?quote=BTC&exchange=elsewhere"), &[]).await?;
    assert_eq!(absent.status, 404);
    for (query, word) in
        [("quote=BTC", "exchange"), ("from=2&to=1", "after to"), ("cursor=x", "cursor")]
    {
        let answer = get(&routes, &format!("{path}?{query}"), &[]).await?;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.text().contains(word), "{query}: {}", answer.text());
    }
    Ok(())
}
