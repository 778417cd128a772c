//! Reads of options: every field as it is stored, chains, filters, pages and refusals.

use schemas::instrument::{CLOSED, Class, InstrumentName};
use schemas::topic::Topic;
use schemas::{Decimal, Derivative, OptionMinute, OptionState, PairKey, Timestamp};
use serde_json::{Value, json};

use super::world::{Outcome, World, get, minute, small};
use crate::store_keys;

pub(super) const CALL: &str = "BTC-26JAN24-40000-C";
const ARROW: [(&str, &str); 1] = [("accept", "application/vnd.apache.arrow.stream")];

fn number(text: &str) -> Outcome<Option<Decimal>> {
    Ok(Some(text.parse()?))
}

/// An option with a mark, quoted on both sides at `event_time`.
pub(super) fn option(name: &str, event_time: i64) -> Outcome<OptionState> {
    let named = InstrumentName::parse(name).and_then(|name| OptionState::named(&name));
    Ok(OptionState {
        mark_price: number("0.0525")?,
        bid: number("0.0520")?,
        bid_size: number("12.5")?,
        ask: number("0.053")?,
        ask_size: number("3")?,
        mark_iv: number("61.25")?,
        bid_iv: number("0")?,
        ask_iv: number("62.5")?,
        delta: number("-0.25")?,
        open_interest: number("1200.5")?,
        underlying_price: number("42100.125")?,
        underlying_index: Some("BTC-26JAN24".into()),
        event_time: Timestamp(event_time),
        received_at: Timestamp(event_time + 5),
        ..named.ok_or("no option's name")?
    })
}

pub(super) fn put(world: &World, pair: (&str, &str, &str), option: &OptionState) {
    let key = store_keys::pair_key(&PairKey::new(pair.0, pair.1, pair.2));
    world.put(Topic::Options, &key, option);
}

/// A minute of an option, with this mark price.
pub(super) fn put_minute(world: &World, pair: (&str, &str, &str), at: i64, mark: &str) -> Outcome {
    let pair = store_keys::pair_key(&PairKey::new(pair.0, pair.1, pair.2));
    let mut key = Vec::new();
    store_keys::option_minute_key(&pair, Timestamp(at), &mut key);
    let minute = OptionMinute {
        mark_price: number(mark)?,
        bid_iv: number("0")?,
        event_time: Timestamp(at + 59_000),
        ..OptionMinute::default()
    };
    world.put(Topic::Options1m, &key, &minute);
    Ok(())
}

fn put_derivative(world: &World, pair: (&str, &str, &str), state: &str) -> Outcome {
    let named = InstrumentName::parse(pair.0).and_then(|name| Derivative::named(&name));
    let derivative = Derivative {
        mark_price: number("42000.5")?,
        current_funding: if pair.0.ends_with("PERPETUAL") { number("0.0001")? } else { None },
        state: state.into(),
        event_time: Timestamp(minute(3)),
        received_at: Timestamp(minute(3) + 5),
        ..named.ok_or("no future's name")?
    };
    let key = store_keys::pair_key(&PairKey::new(pair.0, pair.1, pair.2));
    world.put(Topic::Derivatives, &key, &derivative);
    Ok(())
}

/// Two expiries of BTC, one of them over, a linear one, other currencies, futures and minutes.
pub(super) fn fill(world: &World) -> Outcome {
    let inverse = |name| (name, "BTC", "deribit");
    put(world, inverse(CALL), &option(CALL, minute(3))?);
    for name in ["BTC-26JAN24-40000-P", "BTC-26JAN24-45000-C", "BTC-26JAN24-9000-P"] {
        put(world, inverse(name), &option(name, minute(2))?);
    }
    let linear = "BTC_USDC-26JAN24-40000-C";
    put(world, (linear, "USDC", "deribit"), &option(linear, minute(1))?);
    let ended = OptionState {
        state: CLOSED.into(),
        closed_at: Some(Timestamp(minute(-3_360))),
        bid: None,
        bid_size: None,
        bid_iv: None,
        ..option("BTC-29DEC23-42000-C", minute(-3_361))?
    };
    put(world, inverse("BTC-29DEC23-42000-C"), &ended);
    put(world, ("ETH-26JAN24-2000-P", "ETH", "deribit"), &option("ETH-26JAN24-2000-P", minute(1))?);
    let small = "XRP_USDC-26JAN24-1d02-P";
    put(world, (small, "USDC", "deribit"), &option(small, minute(1))?);
    for (pair, state) in [
        (("BTC-PERPETUAL", "USD", "deribit"), "OPEN"),
        (("BTC-29DEC23", "USD", "deribit"), CLOSED),
        (("ETH-PERPETUAL", "USD", "deribit"), "OPEN"),
    ] {
        put_derivative(world, pair, state)?;
    }
    for number in 0..3 {
        put_minute(world, inverse(CALL), minute(number), &format!("0.05{number}"))?;
    }
    Ok(())
}

fn names(rows: &Value) -> Vec<String> {
    let rows = rows.as_array().into_iter().flatten();
    rows.map(|row| row["base"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn an_option_has_every_field_and_null_where_the_venue_says_none() -> Outcome {
    let routes = small()?.routes();
    // Longer than `json!` takes.
    let expected: Value = serde_json::from_str(
        r#"{
        "base": "BTC-26JAN24-40000-C", "quote": "BTC", "exchange": "deribit", "currency": "BTC",
        "expiry_time": "2024-01-26T08:00:00.000Z", "strike": "40000", "right": "CALL",
        "settlement_currency": null, "contract_size": null, "tick_size": null,
        "mark_price": "0.0525", "last_price": null, "bid": "0.052", "bid_size": "12.5",
        "ask": "0.053", "ask_size": "3", "mark_iv": "61.25", "bid_iv": "0", "ask_iv": "62.5",
        "delta": "-0.25", "gamma": null, "vega": null, "theta": null, "rho": null,
        "open_interest": "1200.5", "underlying_price": "42100.125",
        "underlying_index": "BTC-26JAN24", "index_price": null, "settlement_price": null,
        "min_price": null, "max_price": null, "interest_rate": null,
        "estimated_delivery_price": null, "volume": null, "volume_usd": null,
        "price_change": null, "high": null, "low": null, "state": "OPEN", "closed_at": null,
        "event_time": "2024-01-01T00:03:00.000Z", "received_at": "2024-01-01T00:03:00.005Z"
        }"#,
    )?;
    let one = get(&routes, &format!("/v1/options/{CALL}"), &[]).await?;
    assert_eq!((one.status.as_u16(), one.json()), (200, expected.clone()));
    let rows = get(&routes, "/v1/options?currency=BTC&expiry=2024-01-26&right=CALL", &[]).await?;
    assert_eq!(rows.json()["options"][0], expected);
    let csv = get(&routes, &format!("/v1/options/{CALL}"), &[("accept", "text/csv")]).await?.text();
    let fields = expected.as_object().map_or(0, serde_json::Map::len);
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let (head, line) = (lines.next().ok_or("no names")?, lines.next().ok_or("no line")?);
    assert_eq!((head.len(), line.len(), lines.next()), (fields, fields, None));
    for (name, cell) in head.iter().zip(line) {
        assert_eq!(expected[name].as_str().unwrap_or_default(), cell, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn rows_are_in_the_order_of_expiry_market_strike_and_right() -> Outcome {
    let routes = small()?.routes();
    let answer = get(&routes, "/v1/options?currency=BTC", &[]).await?.json();
    let expected = [
        "BTC-29DEC23-42000-C",
        "BTC-26JAN24-9000-P",
        CALL,
        "BTC-26JAN24-40000-P",
        "BTC-26JAN24-45000-C",
        "BTC_USDC-26JAN24-40000-C",
    ];
    assert_eq!(names(&answer["options"]), expected);
    assert_eq!((&answer["layout"], &answer["next_cursor"]), (&json!("rows"), &Value::Null));
    let market = |quote: &str, time: &str, options: u32, open: u32| {
        json!({
            "exchange": "deribit", "currency": "BTC", "quote": quote, "expiry": time[..10],
            "expiry_time": time, "options": options, "open": open,
        })
    };
    let expiries = json!([
        market("BTC", "2023-12-29T08:00:00.000Z", 1, 0),
        market("BTC", "2024-01-26T08:00:00.000Z", 4, 4),
        market("USDC", "2024-01-26T08:00:00.000Z", 1, 1),
    ]);
    assert_eq!(answer["expiries"], expiries);
    // One small answer lists every currency and expiry.
    let listed = get(&routes, "/v1/options?limit=1", &[]).await?.json();
    assert_eq!(listed["options"].as_array().map(Vec::len), Some(1));
    assert_eq!(listed["expiries"].as_array().map(Vec::len), Some(5));
    Ok(())
}

#[tokio::test]
async fn each_filter_leaves_out_what_it_says() -> Outcome {
    let routes = small()?.routes();
    for (query, expected) in [
        ("expiry=2024-01-26&quote=BTC&strike_from=40000&strike_to=45000", 3),
        ("expiry=26JAN24&quote=BTC&strike_from=40000.01", 1),
        ("expiry=26jan24&quote=BTC&strike_to=39999.99", 1),
        ("expiry=26JAN24&right=PUT", 2),
        ("expiry=26JAN24&right=call", 3),
        ("state=closed", 1),
        ("state=open", 5),
        ("expiry=29DEC23&state=open", 0),
        ("strike_from=1000000", 0),
    ] {
        let answer = get(&routes, &format!("/v1/options?currency=BTC&{query}"), &[]).await?;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        assert_eq!(names(&answer.json()["options"]).len(), expected, "{query}");
    }
    let answer = get(&routes, "/v1/options?currency=XRP&strike_from=1.02", &[]).await?.json();
    assert_eq!(names(&answer["options"]), ["XRP_USDC-26JAN24-1d02-P"]);
    Ok(())
}

#[tokio::test]
async fn a_chain_has_the_call_and_the_put_of_each_strike_side_by_side() -> Outcome {
    let routes = small()?.routes();
    let path = "/v1/options?currency=BTC&expiry=26JAN24&layout=chain";
    let answer = get(&routes, path, &[]).await?.json();
    let shown = |row: &Value| {
        let name = |side: &str| row[side]["base"].as_str().unwrap_or("-").to_owned();
        let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
        format!("{} {} {} {}", text("quote"), text("strike"), name("call"), name("put"))
    };
    let chain: Vec<_> = answer["chain"].as_array().into_iter().flatten().map(shown).collect();
    let expected = [
        "BTC 9000 - BTC-26JAN24-9000-P",
        "BTC 40000 BTC-26JAN24-40000-C BTC-26JAN24-40000-P",
        "BTC 45000 BTC-26JAN24-45000-C -",
        // Another market: its prices are in another currency.
        "USDC 40000 BTC_USDC-26JAN24-40000-C -",
    ];
    assert_eq!(chain, expected);
    let both = &answer["chain"][1];
    let one = get(&routes, &format!("/v1/options/{CALL}"), &[]).await?.json();
    assert_eq!((&both["call"], &both["expiry"]), (&one, &json!("2024-01-26")));
    assert!(answer.get("options").is_none() && answer["chain"][2]["put"].is_null());
    let calls = get(&routes, &format!("{path}&right=CALL"), &[]).await?.json();
    let puts = calls["chain"].as_array().into_iter().flatten().filter(|row| !row["put"].is_null());
    assert_eq!(puts.count(), 0);
    Ok(())
}

#[tokio::test]
async fn a_chain_comes_as_csv_and_as_arrow_with_its_sides_in_columns() -> Outcome {
    let routes = small()?.routes();
    let path = "/v1/options?currency=BTC&expiry=26JAN24&layout=chain&quote=BTC";
    let csv = get(&routes, path, &[("accept", "text/csv")]).await?.text();
    let mut lines = csv.lines();
    let head: Vec<_> = lines.next().ok_or("no names")?.split(',').collect();
    let at = |name: &str| head.iter().position(|known| *known == name).ok_or("no such column");
    assert_eq!(head[..6], ["exchange", "currency", "quote", "expiry_time", "strike", "call_base"]);
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 3);
    assert_eq!((rows[0][at("call_bid")?], rows[0][at("put_bid")?]), ("", "0.052"));
    assert_eq!((rows[2][at("call_base")?], rows[2][at("put_base")?]), ("BTC-26JAN24-45000-C", ""));
    let answer = get(&routes, path, &ARROW).await?;
    let mut reader = arrow_ipc::reader::StreamReader::try_new(&answer.body[..], None)?;
    let batch = reader.next().ok_or("no batch")??;
    assert_eq!((batch.num_rows(), batch.num_columns()), (3, head.len()));
    let bid = batch.column_by_name("put_bid").ok_or("no bid")?;
    let bid = arrow_array::cast::AsArray::as_primitive::<arrow_array::types::Decimal128Type>(bid);
    let values: Vec<_> = bid.iter().collect();
    assert_eq!(values, [Some(52_000_000_000_000_000), Some(52_000_000_000_000_000), None]);
    Ok(())
}

#[tokio::test]
async fn pages_of_both_layouts_are_the_whole_without_seams() -> Outcome {
    let routes = small()?.routes();
    for (layout, rows, count) in [("rows", "options", 8), ("chain", "chain", 7)] {
        let path = format!("/v1/options?layout={layout}");
        let whole = get(&routes, &path, &[]).await?.json()[rows].clone();
        assert_eq!(whole.as_array().map(Vec::len), Some(count));
        for limit in [1, 3] {
            let (mut pages, mut cursor) = (Vec::new(), String::new());
            for _ in 0..count {
                let page = get(&routes, &format!("{path}&limit={limit}{cursor}"), &[]).await?;
                pages.extend(page.json()[rows].as_array().cloned().unwrap_or_default());
                let next = page.json()["next_cursor"].as_str().map(str::to_owned);
                assert_eq!(page.header("next-cursor").map(str::to_owned), next);
                let Some(next) = next else { break };
                cursor = format!("&cursor={next}");
            }
            assert_eq!(Value::Array(pages), whole, "{layout} {limit}");
        }
    }
    let page = get(&routes, "/v1/options?limit=1", &[]).await?.json();
    let cursor = page["next_cursor"].as_str().ok_or("a cursor")?;
    for path in [format!("layout=chain&cursor={cursor}"), "cursor=x".into(), "cursor=".into()] {
        let answer = get(&routes, &format!("/v1/options?{path}"), &[]).await?;
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.text().contains("next_cursor"), "{path}: {}", answer.text());
    }
    Ok(())
}

#[tokio::test]
async fn an_unknown_currency_or_expiry_is_refused_with_what_exists() -> Outcome {
    let routes = small()?.routes();
    for (path, status, words) in [
        ("/v1/options?currency=DOGE", 404, ["currency DOGE", "BTC, ETH, XRP"]),
        ("/v1/options?exchange=nowhere", 404, ["exchange nowhere", "BTC, ETH, XRP"]),
        (
            "/v1/options?currency=BTC&expiry=2024-01-27",
            404,
            ["2024-01-27", "2023-12-29, 2024-01-26"],
        ),
        ("/v1/options?currency=ETH&expiry=29DEC23", 404, ["expiry 2023-12-29", "2024-01-26"]),
        ("/v1/options?expiry=tomorrow", 400, ["expiry", "2026-12-25 or as 25DEC26"]),
        ("/v1/options?strike_from=x", 400, ["strike_from", "send digits, as in 1.02"]),
        ("/v1/options?strike_to=-5", 400, ["strike_to", "send digits, as in 1.02"]),
        ("/v1/options?strike_to=1e5", 400, ["strike_to", "send digits, as in 1.02"]),
        ("/v1/options?strike_from=2&strike_to=1", 400, ["strike_from", "above strike_to"]),
        ("/v1/options?right=BOTH", 400, ["right", "CALL, PUT"]),
        ("/v1/options?layout=grid", 400, ["layout", "rows, chain"]),
        ("/v1/options?limit=10001", 400, ["limit", "1 to 10000"]),
        ("/v1/surface", 400, ["currency", "currency=BTC"]),
        ("/v1/surface?currency=DOGE", 404, ["currency DOGE", "BTC, ETH, XRP"]),
        (
            "/v1/surface?currency=ETH&expiry=2030-01-01",
            404,
            ["2030-01-01", "choose one of 2024-01-26"],
        ),
        ("/v1/derivatives?currency=DOGE", 404, ["currency DOGE", "BTC, ETH"]),
    ] {
        let answer = get(&routes, path, &[]).await?;
        let error = answer.json()["error"].as_str().unwrap_or_default().to_owned();
        assert_eq!(answer.status, status, "{path}: {error}");
        for word in words {
            assert!(error.contains(word), "{path}: {error}");
        }
        if status == 404 {
            assert_eq!(answer.json()["partitions"], json!([0]), "{path}");
        }
    }
    let unknown = get(&routes, "/v1/options?currency=DOGE", &[]).await?.json();
    assert_eq!(unknown["currencies"], json!(["BTC", "ETH", "XRP"]));
    Ok(())
}

#[tokio::test]
async fn a_refusal_names_a_bounded_number_of_expiries() -> Outcome {
    let world = World::new()?;
    for day in 0..70 {
        let state =
            OptionState { expiry_time: Timestamp(minute(day * 1_440)), ..option(CALL, minute(0))? };
        put(&world, (&format!("BTC-{day}"), "BTC", "deribit"), &state);
    }
    let answer = get(&world.routes(), "/v1/options?expiry=2030-01-01", &[]).await?.json();
    assert_eq!(answer["expiries"].as_array().map(Vec::len), Some(50));
    assert!(answer["error"].as_str().is_some_and(|error| error.ends_with(", …")), "{answer}");
    Ok(())
}

#[tokio::test]
async fn an_unknown_option_is_refused_with_the_names_near_it() -> Outcome {
    let routes = small()?.routes();
    let answer = get(&routes, "/v1/options/BTC-26JAN24-40001-C", &[]).await?;
    let near = answer.json()["near"].clone();
    assert_eq!(
        (answer.status.as_u16(), &near[0], &near[1]),
        (404, &json!(CALL), &json!("BTC-26JAN24-40000-P"))
    );
    assert!(answer.text().contains("near it are BTC-26JAN24-40000-C"), "{}", answer.text());
    let answer = get(&routes, "/v1/options/DOGE-26JAN24-1-C", &[]).await?;
    assert_eq!((answer.status.as_u16(), &answer.json()["near"]), (404, &json!([])));
    assert!(answer.text().contains("GET /v1/options lists"), "{}", answer.text());
    Ok(())
}

#[tokio::test]
async fn an_option_of_two_venues_is_chosen_by_its_exchange() -> Outcome {
    let world = small()?;
    let other = OptionState { mark_price: number("9")?, ..option(CALL, minute(1))? };
    put(&world, (CALL, "BTC", "elsewhere"), &other);
    let routes = world.routes();
    let answer = get(&routes, &format!("/v1/options/{CALL}"), &[]).await?;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("add exchange, one of deribit, elsewhere"), "{}", answer.text());
    let one = get(&routes, &format!("/v1/options/{CALL}?exchange=elsewhere"), &[]).await?.json();
    assert_eq!((&one["mark_price"], &one["exchange"]), (&json!("9"), &json!("elsewhere")));
    let chain =
        get(&routes, "/v1/options?layout=chain&strike_from=40000&strike_to=40000&quote=BTC", &[]);
    let chain = chain.await?.json();
    assert_eq!(chain["chain"].as_array().map(Vec::len), Some(2), "venues share no row: {chain}");
    Ok(())
}

#[tokio::test]
async fn an_answer_about_options_says_how_old_it_is_and_where_it_was_read() -> Outcome {
    let routes = small()?.routes();
    for (path, positions) in [
        ("/v1/options?currency=BTC".to_owned(), "options/0=42"),
        (format!("/v1/options/{CALL}"), "options/0=42"),
        ("/v1/surface?currency=BTC".to_owned(), "options/0=42"),
        ("/v1/derivatives?currency=BTC".to_owned(), "derivatives/0=42"),
        (format!("/v1/options/{CALL}/history"), "options/0=42,options_1m/0=42"),
    ] {
        let answer = get(&routes, &path, &[]).await?;
        assert_eq!(answer.header("lag-ms"), Some("250"), "{path}");
        assert_eq!(answer.header("positions"), Some(positions), "{path}");
        let and = if path.contains('?') { '&' } else { '?' };
        let stale = get(&routes, &format!("{path}{and}max_lag_ms=249"), &[]).await?;
        assert_eq!((stale.status.as_u16(), &stale.json()["lag_ms"]), (503, &json!(250)), "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn futures_and_perpetuals_have_their_funding_and_their_state() -> Outcome {
    let routes = small()?.routes();
    let answer = get(&routes, "/v1/derivatives", &[]).await?.json();
    assert_eq!(names(&answer["derivatives"]), ["BTC-29DEC23", "BTC-PERPETUAL", "ETH-PERPETUAL"]);
    let [ended, perpetual] = [&answer["derivatives"][0], &answer["derivatives"][1]];
    assert_eq!(
        (&ended["class"], &ended["state"]),
        (&json!(Class::Future.as_str()), &json!(CLOSED))
    );
    assert_eq!(
        (&ended["expiry_time"], &ended["current_funding"]),
        (&json!("2023-12-29T08:00:00.000Z"), &Value::Null)
    );
    assert_eq!(
        (&perpetual["expiry_time"], &perpetual["current_funding"]),
        (&Value::Null, &json!("0.0001"))
    );
    let open = get(&routes, "/v1/derivatives?currency=BTC&state=open", &[]).await?.json();
    assert_eq!(names(&open["derivatives"]), ["BTC-PERPETUAL"]);
    let page = get(&routes, "/v1/derivatives?limit=2", &[]).await?.json();
    let cursor = page["next_cursor"].as_str().ok_or("a cursor")?;
    let rest = get(&routes, &format!("/v1/derivatives?limit=2&cursor={cursor}"), &[]).await?.json();
    assert_eq!(
        (names(&rest["derivatives"]), &rest["next_cursor"]),
        (vec!["ETH-PERPETUAL".to_owned()], &Value::Null)
    );
    let csv = get(&routes, "/v1/derivatives?currency=ETH", &[("accept", "text/csv")]).await?.text();
    assert!(csv.starts_with("base,quote,exchange,class,currency,"), "{csv}");
    assert!(csv.contains("\nETH-PERPETUAL,USD,deribit,PERPETUAL,ETH,,,,,42000.5,"), "{csv}");
    let arrow = get(&routes, "/v1/derivatives", &ARROW).await?;
    assert_eq!(arrow.header("content-type"), Some(ARROW[0].1));
    Ok(())
}
