//! Reads are answered exactly, in every format, with their age.

use super::world::{LATEST, NOW, Outcome, World, get, minute, post, small};
use schemas::Timestamp;
use serde_json::{Value, json};

const BTC: &str = "base=BTC&quote=USD&exchange=coinbase";

fn strings(rows: &Value, name: &str) -> Vec<String> {
    let rows = rows.as_array().cloned().unwrap_or_default();
    let text =
        |row: &Value| row[name].as_str().map_or_else(|| row[name].to_string(), str::to_owned);
    rows.iter().map(text).collect()
}

#[tokio::test]
async fn the_newest_price_of_a_pair_is_its_newest_trade() -> Outcome {
    let routes = small()?.routes();
    let answer = get(&routes, &format!("/v1/latest?{BTC}"), &[]).await?;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["price"], "99");
    assert_eq!(answer.json()["event_time"], "2024-01-01T00:03:00.000Z");
    let csv = get(&routes, &format!("/v1/latest?{BTC}"), &[("accept", "text/csv")]).await?;
    assert_eq!(csv.header("content-type"), Some("text/csv"));
    let lines: Vec<String> = csv.text().lines().map(str::to_owned).collect();
    assert!(lines[0].starts_with("base,quote,exchange,price,"), "{lines:?}");
    assert!(lines[1].starts_with("BTC,USD,coinbase,99,1,,TRADE,,,NONE,,"), "{lines:?}");
    Ok(())
}

#[tokio::test]
async fn an_array_is_answered_in_its_order_and_names_what_is_missing() -> Outcome {
    let routes = small()?.routes();
    let body = r#"[{"base":"ETH","quote":"USD","exchange":"coinbase"},
        {"base":"DOGE","quote":"USD","exchange":"coinbase"},
        {"base":"BTC","quote":"USD","exchange":"kraken"}]"#;
    let answer = post(&routes, "/v1/latest", body).await?;
    assert_eq!(answer.status, 200);
    assert_eq!(strings(&answer.json()["found"], "price"), ["10", "98"]);
    let missing = json!([{ "base": "DOGE", "quote": "USD", "exchange": "coinbase" }]);
    assert_eq!(answer.json()["missing"], missing);
    Ok(())
}

#[tokio::test]
async fn candles_have_their_ohlc_and_the_hour_is_live() -> Outcome {
    let routes = small()?.routes();
    let answer = get(&routes, &format!("/v1/candles?{BTC}"), &[]).await?.json();
    assert_eq!(answer["resolution"], "1m");
    assert_eq!(strings(&answer["candles"], "open"), ["100", "99"]);
    assert_eq!(strings(&answer["candles"], "high"), ["101.5", "99"]);
    assert_eq!(strings(&answer["candles"], "close"), ["101.5", "99"]);
    assert_eq!(strings(&answer["candles"], "base_volume"), ["2", "1"]);
    assert_eq!(strings(&answer["candles"], "status"), ["CLOSED", "CLOSED"]);
    let hours = get(&routes, &format!("/v1/candles?{BTC}&interval=1h"), &[]).await?.json();
    assert_eq!(strings(&hours["candles"], "trades"), ["3"]);
    assert_eq!(strings(&hours["candles"], "low"), ["99"]);
    // The minute of ETH is open, and in its hour all the same.
    let eth = "/v1/candles?base=ETH&quote=USD&exchange=coinbase&interval=1d";
    assert_eq!(strings(&get(&routes, eth, &[]).await?.json()["candles"], "close"), ["10"]);
    Ok(())
}

#[tokio::test]
async fn pages_of_filled_candles_are_the_whole_without_seams() -> Outcome {
    let routes = small()?.routes();
    let path = format!("/v1/candles?{BTC}&fill=previous");
    let whole = get(&routes, &path, &[]).await?.json();
    let times = ["00", "01", "02", "03", "04"].map(|m| format!("2024-01-01T00:{m}:00.000Z"));
    assert_eq!(strings(&whole["candles"], "open_time"), times);
    assert_eq!(strings(&whole["candles"], "close"), ["101.5", "101.5", "101.5", "99", "99"]);
    assert_eq!(strings(&whole["candles"], "filled"), ["false", "true", "true", "false", "true"]);
    assert_eq!(whole["next_cursor"], Value::Null);
    let (mut pages, mut cursor) = (Vec::new(), String::new());
    for _ in 0..3 {
        let page = get(&routes, &format!("{path}&limit=2{cursor}"), &[]).await?;
        pages.extend(page.json()["candles"].as_array().cloned().unwrap_or_default());
        let next = page.json()["next_cursor"].as_str().map(str::to_owned);
        assert_eq!(page.header("next-cursor").map(str::to_owned), next);
        cursor = next.map_or(String::new(), |next| format!("&cursor={next}"));
    }
    assert_eq!(cursor, "");
    assert_eq!(Value::Array(pages), whole["candles"]);
    // A range that begins in the quiet goes on from the price before it.
    let from = format!("{path}&from={}&limit=1", minute(1));
    assert_eq!(strings(&get(&routes, &from, &[]).await?.json()["candles"], "close"), ["101.5"]);
    Ok(())
}

#[tokio::test]
async fn auto_says_which_resolution_it_took() -> Outcome {
    let routes = small()?.routes();
    for (from, resolution) in [(minute(0), "1m"), (minute(-60 * 24 * 100), "1h"), (0, "1d")] {
        let path = format!("/v1/candles?{BTC}&interval=auto&from={from}");
        let answer = get(&routes, &path, &[]).await?;
        assert_eq!(answer.json()["resolution"], resolution);
        assert_eq!(answer.header("resolution"), Some(resolution));
    }
    Ok(())
}

#[tokio::test]
async fn closed_candles_alone_are_those_that_closed() -> Outcome {
    let mut world = World::new()?;
    world.trade(("BTC", "USD", "coinbase"), "1", minute(0))?;
    world.trade(("BTC", "USD", "coinbase"), "2", minute(2))?;
    let routes = world.routes();
    let path = format!("/v1/candles?{BTC}");
    let all = get(&routes, &path, &[]).await?.json();
    assert_eq!(strings(&all["candles"], "status"), ["CLOSED", "OPEN"]);
    let closed = get(&routes, &format!("{path}&closed_only=true"), &[]).await?.json();
    assert_eq!(strings(&closed["candles"], "close"), ["1"]);
    Ok(())
}

#[tokio::test]
async fn a_candle_is_complete_when_its_feed_was_up_for_all_of_it() -> Outcome {
    let mut world = World::new()?;
    let btc = ("BTC", "USD", "coinbase");
    // Up for six seconds of the first minute, for all of the second, and for all of the third so far.
    world.healthy("coinbase", minute(0) + 30_000, minute(0) + 36_000)?;
    world.trade(btc, "1", minute(0) + 31_000)?;
    world.healthy("coinbase", minute(1), minute(1) + 20_000)?;
    world.trade(btc, "2", minute(1) + 21_000)?;
    world.trade(btc, "3", minute(2) + 1_000)?;
    world.healthy("coinbase", minute(1) + 20_000, minute(2) + 30_000)?;
    // Another whose feed tells nothing.
    world.trade(("BTC", "USD", "posted"), "1", minute(0))?;
    world.trade(("BTC", "USD", "posted"), "1", minute(9))?;
    let routes = world.routes();
    let path = format!("/v1/candles?{BTC}&fill=null");
    let candles = get(&routes, &path, &[]).await?.json()["candles"].clone();
    assert_eq!(strings(&candles, "gap"), ["false", "false", "false"]);
    assert_eq!(strings(&candles, "coverage_ms"), ["6000", "60000", "null"]);
    assert_eq!(strings(&candles, "status"), ["CLOSED", "CLOSED", "OPEN"]);
    assert_eq!(strings(&candles, "complete"), ["false", "true", "false"]);
    let hours = get(&routes, &format!("{path}&interval=1h"), &[]).await?.json();
    assert_eq!(strings(&hours["candles"], "complete"), ["false"]);
    // Over, with more coverage than a minute has and less than an hour.
    world.healthy("coinbase", minute(2) + 30_000, minute(60) + 5_000)?;
    let hours = get(&world.routes(), &format!("{path}&interval=1h"), &[]).await?.json();
    assert_eq!(strings(&hours["candles"], "status"), ["CLOSED"]);
    assert_eq!(strings(&hours["candles"], "coverage_ms"), ["3546000"]);
    assert_eq!(strings(&hours["candles"], "complete"), ["false"]);
    // An hour that begins well, and of which two minutes are covered.
    world.healthy("coinbase", minute(60) + 5_000, minute(62))?;
    world.trade(btc, "4", minute(61))?;
    world.healthy("coinbase", minute(120), minute(120) + 5_000)?;
    let hours = get(&world.routes(), &format!("{path}&interval=1h"), &[]).await?.json();
    assert_eq!(strings(&hours["candles"], "partial_start"), ["true", "false"]);
    assert_eq!(strings(&hours["candles"], "coverage_ms"), ["3546000", "120000"]);
    assert_eq!(strings(&hours["candles"], "complete"), ["false", "false"]);
    let csv = get(&routes, &path, &[("accept", "text/csv")]).await?.text();
    let last = |line: &str| line.rsplit(',').take(2).map(str::to_owned).collect::<Vec<_>>();
    let lines: Vec<_> = csv.lines().map(last).collect();
    assert_eq!(lines[..3], [["filled", "complete"], ["false", "false"], ["false", "true"]]);
    let posted = "/v1/candles?base=BTC&quote=USD&exchange=posted&fill=previous";
    let posted = get(&routes, posted, &[]).await?.json()["candles"].clone();
    assert!(strings(&posted, "complete").iter().all(|complete| complete == "false"), "{posted}");
    Ok(())
}

#[tokio::test]
async fn exchanges_have_their_health_and_their_pairs() -> Outcome {
    let routes = small()?.routes();
    let answer = get(&routes, "/v1/exchanges", &[]).await?.json();
    let rows = &answer["exchanges"];
    assert_eq!(strings(rows, "exchange"), ["binance", "coinbase", "kraken"]);
    assert_eq!(strings(rows, "state"), ["quiet", "quiet", "dead"]);
    assert_eq!(strings(rows, "pairs"), ["1", "2", "2"]);
    assert_eq!(rows[1]["last_event_time"], Timestamp(minute(4)).to_string());
    assert_eq!(rows[2]["gap_since"], Timestamp(minute(3) + 500).to_string());
    let path = "/v1/exchanges/kraken/pairs";
    let pairs = get(&routes, path, &[]).await?.json();
    assert_eq!(strings(&pairs["pairs"], "quote"), ["EUR", "USD"]);
    assert_eq!(pairs["pairs"][0]["last_event_time"], Timestamp(minute(1)).to_string());
    let first = get(&routes, &format!("{path}?limit=1"), &[]).await?.json();
    assert_eq!(strings(&first["pairs"], "quote"), ["EUR"]);
    let next = first["next_cursor"].as_str().unwrap_or_default();
    let second = get(&routes, &format!("{path}?limit=1&cursor={next}"), &[]).await?.json();
    assert_eq!(strings(&second["pairs"], "quote"), ["USD"]);
    assert_eq!(second["next_cursor"], Value::Null);
    Ok(())
}

#[tokio::test]
async fn a_base_has_one_price_for_each_quote_and_its_members_beside_it() -> Outcome {
    let routes = small()?.routes();
    let answer = get(&routes, "/v1/bases/BTC", &[]).await?.json();
    assert_eq!(strings(&answer["quotes"], "quote"), ["EUR", "USD"]);
    assert_eq!(strings(&answer["quotes"], "price"), ["90", "98"]);
    let members = &answer["quotes"][1]["members"];
    assert_eq!(strings(members, "exchange"), ["binance", "coinbase", "kraken"]);
    assert_eq!(strings(members, "unused_because"), ["outlier", "null", "null"]);
    let usd = get(&routes, "/v1/bases/BTC?quote=USD", &[("accept", "text/csv")]).await?.text();
    assert_eq!(usd.lines().count(), 4, "{usd}");
    Ok(())
}

#[tokio::test]
async fn an_answer_says_how_old_it_is_and_where_it_was_read() -> Outcome {
    let routes = small()?.routes();
    let path = format!("/v1/latest?{BTC}");
    let answer = get(&routes, &path, &[]).await?;
    assert_eq!(answer.header("as-of"), Some(&*Timestamp(NOW.0 - 250).to_string()));
    assert_eq!(answer.header("lag-ms"), Some("250"));
    assert_eq!(answer.header("positions"), Some(&*format!("{LATEST}/0=42")));
    let fresh = get(&routes, &format!("{path}&max_lag_ms=250"), &[]).await?;
    assert_eq!(fresh.status, 200);
    let stale = get(&routes, &format!("{path}&max_lag_ms=249"), &[]).await?;
    assert_eq!((stale.status.as_u16(), &stale.json()["lag_ms"]), (503, &json!(250)));
    Ok(())
}

#[tokio::test]
async fn what_a_client_has_is_not_sent_again_until_it_changes() -> Outcome {
    let mut world = small()?;
    let routes = world.routes();
    let path = format!("/v1/latest?{BTC}");
    let first = get(&routes, &path, &[]).await?;
    let tag = first.header("etag").unwrap_or_default().to_owned();
    let again = get(&routes, &path, &[("if-none-match", &tag)]).await?;
    assert_eq!((again.status.as_u16(), again.body.len()), (304, 0));
    assert_eq!(again.header("lag-ms"), Some("250"));
    world.trade(("BTC", "USD", "coinbase"), "97", minute(5))?;
    let changed = get(&routes, &path, &[("if-none-match", &tag)]).await?;
    assert_eq!((changed.status.as_u16(), &changed.json()["price"]), (200, &json!("97")));
    Ok(())
}

#[tokio::test]
async fn candles_come_as_arrow_too() -> Outcome {
    let routes = small()?.routes();
    let accept = [("accept", "application/vnd.apache.arrow.stream")];
    let answer = get(&routes, &format!("/v1/candles?{BTC}"), &accept).await?;
    assert_eq!(answer.header("content-type"), Some(accept[0].1));
    let mut reader = arrow_ipc::reader::StreamReader::try_new(&answer.body[..], None)?;
    let rows: usize = reader.try_fold(0, |rows, batch| batch.map(|b| rows + b.num_rows()))?;
    assert_eq!(rows, 2);
    Ok(())
}

#[tokio::test]
async fn exchanges_are_gathered_once_for_many_who_do_not_say_how_old_they_may_be() -> Outcome {
    let mut world = small()?;
    let routes = world.routes();
    let names = |answer: &Value| strings(&answer["exchanges"], "exchange").len();
    assert_eq!(names(&get(&routes, "/v1/exchanges", &[]).await?.json()), 3);
    world.trade(("BTC", "USD", "bitstamp"), "100", minute(6))?;
    world.is_of(43, NOW.0 - 50);
    // The clock stands still: it is as it was a moment ago, and says so.
    let kept = get(&routes, "/v1/exchanges", &[]).await?;
    assert_eq!((names(&kept.json()), kept.header("lag-ms")), (3, Some("250")));
    let asked = get(&routes, "/v1/exchanges?max_lag_ms=100", &[]).await?;
    assert_eq!((names(&asked.json()), asked.header("lag-ms")), (4, Some("50")));
    assert_eq!(names(&get(&routes, "/v1/exchanges", &[]).await?.json()), 4);
    Ok(())
}
