//! `/v1/surface`: points by expiry and strike, their ages, and the bound of an answer.

use schemas::instrument::CLOSED;
use schemas::{OptionState, Timestamp};
use serde_json::{Value, json};

use super::options::{CALL, option, put};
use super::world::{NOW, Outcome, World, get, minute, small};

#[tokio::test]
async fn a_surface_has_the_points_of_each_expiry_and_the_age_of_each() -> Outcome {
    let world = small()?;
    let forward = OptionState {
        underlying_price: Some("42200".parse()?),
        mark_iv: None,
        ..option("BTC-26JAN24-41000-C", minute(4))?
    };
    put(&world, ("BTC-26JAN24-41000-C", "BTC", "deribit"), &forward);
    let answer = get(&world.routes(), "/v1/surface?currency=BTC", &[]).await?.json();
    assert_eq!((&answer["currency"], &answer["time"]), (&json!("BTC"), &json!(NOW.to_string())));
    let expiries = answer["expiries"].as_array().cloned().unwrap_or_default();
    let markets: Vec<_> =
        expiries.iter().map(|smile| (&smile["quote"], &smile["expiry"])).collect();
    let day = json!("2024-01-26");
    assert_eq!(markets, [(&json!("BTC"), &day), (&json!("USDC"), &day)], "without what is closed");
    let smile = &expiries[0];
    assert_eq!(smile["underlying_price"], "42200", "of the newest point");
    assert_eq!(smile["expiry_time"], "2024-01-26T08:00:00.000Z");
    let names: Vec<_> =
        smile["points"].as_array().into_iter().flatten().map(|p| &p["base"]).collect();
    let expected = [
        "BTC-26JAN24-9000-P",
        CALL,
        "BTC-26JAN24-40000-P",
        "BTC-26JAN24-41000-C",
        "BTC-26JAN24-45000-C",
    ];
    assert_eq!(names, expected);
    let point = json!({
        "base": CALL, "strike": "40000", "right": "CALL", "mark_iv": "61.25", "bid_iv": "0",
        "ask_iv": "62.5", "delta": "-0.25", "open_interest": "1200.5",
        "underlying_price": "42100.125", "event_time": "2024-01-01T00:03:00.000Z",
        "age_ms": NOW.0 - minute(3),
    });
    assert_eq!(smile["points"][1], point);
    assert_eq!(smile["points"][3]["mark_iv"], Value::Null);
    Ok(())
}

#[tokio::test]
async fn a_ticker_of_a_clock_ahead_of_ours_has_no_age() -> Outcome {
    let world = World::new()?;
    put(&world, (CALL, "BTC", "deribit"), &option(CALL, NOW.0 + 5_000)?);
    let answer = get(&world.routes(), "/v1/surface?currency=BTC", &[]).await?.json();
    assert_eq!(answer["expiries"][0]["points"][0]["age_ms"], 0);
    Ok(())
}

#[tokio::test]
async fn a_surface_comes_as_csv_and_as_arrow() -> Outcome {
    let routes = small()?.routes();
    let path = "/v1/surface?currency=BTC&expiry=26JAN24&quote=USDC";
    let csv = get(&routes, path, &[("accept", "text/csv")]).await?.text();
    let lines = format!(
        "exchange,quote,expiry_time,base,strike,right,mark_iv,bid_iv,ask_iv,delta,open_interest,\
         underlying_price,event_time,age_ms\nderibit,USDC,2024-01-26T08:00:00.000Z,\
         BTC_USDC-26JAN24-40000-C,40000,CALL,61.25,0,62.5,-0.25,1200.5,42100.125,\
         2024-01-01T00:01:00.000Z,{}\n",
        NOW.0 - minute(1)
    );
    assert_eq!(csv, lines);
    let accept = [("accept", "application/vnd.apache.arrow.stream")];
    let answer = get(&routes, path, &accept).await?;
    let mut reader = arrow_ipc::reader::StreamReader::try_new(&answer.body[..], None)?;
    let batch = reader.next().ok_or("no batch")??;
    assert_eq!((batch.num_rows(), batch.num_columns()), (1, 14));
    Ok(())
}

#[tokio::test]
async fn a_surface_that_is_too_large_asks_for_an_expiry() -> Outcome {
    let world = World::new()?;
    let template = option(CALL, minute(0))?;
    for number in 0..10_001_i64 {
        let expiry_time = Timestamp(minute((number % 2) * 1_440));
        let state = OptionState { expiry_time, ..template.clone() };
        put(&world, (&format!("BTC-{number}"), "BTC", "deribit"), &state);
    }
    let routes = world.routes();
    let answer = get(&routes, "/v1/surface?currency=BTC", &[]).await?;
    assert_eq!(answer.status, 400);
    assert!(
        answer.text().contains("10001 points") && answer.text().contains("expiry"),
        "{}",
        answer.text()
    );
    let one = get(&routes, "/v1/surface?currency=BTC&expiry=2024-01-02", &[]).await?.json();
    assert_eq!(one["expiries"][0]["points"].as_array().map(Vec::len), Some(5_000));
    // What is closed does not count.
    let closed = OptionState { state: CLOSED.into(), ..template };
    put(&world, ("BTC-0", "BTC", "deribit"), &closed);
    assert_eq!(get(&world.routes(), "/v1/surface?currency=BTC", &[]).await?.status, 200);
    Ok(())
}
