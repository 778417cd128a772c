//! Reads of tokens, pools and swaps: sums, order, pages, formats and refusals.

use schemas::avro::{self, Record as _};
use schemas::topic::Topic;
use schemas::{
    Decimal, Integer, MinuteStatus, Pool, PoolKey, PoolMinute, PoolProtocol, SwapState, SwapStatus,
    SwapStatusKey, Timestamp, TokenBucket,
};
use serde_json::{Value, json};

use super::world::{Outcome, World, get, minute, small};
use crate::api::swap_windows::{name_key, window_key};

pub(super) const WETH: &str = "0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2";
pub(super) const USDC: &str = "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48";
const OSQTH: &str = "0xf1b99e3e573a1a9c5e6b2ce818b617f0e664e86b";
pub(super) const POOL: &str = "0x8ad599c3a0ff1de082011efddc58f1908eb6e6d8";
pub(super) const QUIET: &str = "0x82c427adfdf2d245ec51d8046b41c4ee87f0d29c";
pub(super) const TX: &str = "0x00000000000000000000000000000000000000000000000000000000000000aa";
/// More than 2^256: what no number of JSON or Arrow holds.
const HUGE: &str = "999999999999999999999999999999999999999999999999999999999999999999999999999999";
const ARROW: [(&str, &str); 1] = [("accept", "application/vnd.apache.arrow.stream")];
const CSV: [(&str, &str); 1] = [("accept", "text/csv")];

/// Swaps, volume, volume in USD, swaps without one, pools.
type Sums<'a> = (i64, &'a str, Option<&'a str>, i64, i64);

fn bucket(symbol: &str, sums: Sums<'_>, time: i64) -> Outcome<TokenBucket> {
    let (swaps, volume, usd, unpriced_swaps, pools) = sums;
    Ok(TokenBucket {
        swaps,
        volume: Some(volume.parse()?),
        pools,
        volume_usd: usd.map(str::parse::<Decimal>).transpose()?,
        unpriced_swaps,
        symbol: Some(symbol.into()),
        decimals: Some(18),
        event_time: Timestamp(time),
    })
}

/// Puts a bucket of five minutes or of an hour.
fn put(
    world: &World,
    partition: usize,
    topic: Topic,
    (chain, token, symbol): (i64, &str, &str),
    at: i64,
    sums: Sums<'_>,
) -> Outcome {
    let key = window_key(topic, &name_key(chain, token), Timestamp(at));
    world.put_in(partition, topic, &key, &bucket(symbol, sums, at + 1_000)?);
    Ok(())
}

/// Says that a pool had a swap in a bucket of that length.
fn put_pool_of(world: &World, partition: usize, token: &str, at: i64, length_ms: i64, pool: &str) {
    let mut key = window_key(Topic::Token5m, &name_key(1, token), Timestamp(at));
    avro::long(&mut key, length_ms);
    avro::string(&mut key, pool);
    world.put_bytes(partition, Topic::TokenPools, &key, &[2]);
}

fn put_minute(world: &World, partition: usize, pool: &str, at: i64, swaps: i64) -> Outcome {
    let key = window_key(Topic::PoolMinutes, &name_key(1, pool), Timestamp(at));
    let minute = PoolMinute {
        swaps,
        net_amount0: Some(HUGE.parse()?),
        net_amount1: Some("-5".parse()?),
        in_amount0: Some(Integer::from(7)),
        open_tick: Some(-200_000),
        close_price: Some("0.000444".parse()?),
        open_block: 10,
        close_block: 11,
        status: MinuteStatus::Final,
        revision: 1,
        event_time: Timestamp(at + 59_000),
        ..PoolMinute::default()
    };
    world.put_in(partition, Topic::PoolMinutes, &key, &minute);
    Ok(())
}

fn put_pool(world: &World, partition: usize, key: &PoolKey, tokens: [(&str, &str); 2]) {
    let [(token0, symbol0), (token1, symbol1)] = tokens;
    let pool = Pool {
        protocol: PoolProtocol::UniswapV3,
        token0: token0.into(),
        token1: token1.into(),
        fee: Some(3_000),
        symbol0: Some(symbol0.into()),
        symbol1: Some(symbol1.into()),
        decimals0: Some(6),
        decimals1: None,
        usd_token: Some(0),
        event_time: Timestamp(minute(0)),
        received_at: Timestamp(minute(0) + 5),
    };
    let mut body = Vec::new();
    key.write(&mut body);
    world.put_in(partition, Topic::Pools, &body, &pool);
}

fn put_swap(world: &World, partition: usize, log_index: i64, status: SwapStatus) -> Outcome {
    let key = SwapStatusKey { chain: 1, tx_hash: TX.into(), log_index };
    let is_pending = status == SwapStatus::Pending;
    let state = SwapState {
        status,
        pool: POOL.into(),
        block_number: (!is_pending).then_some(19_000_000),
        block_hash: (!is_pending).then(|| TX.replace("aa", "bb")),
        amount0: HUGE.parse()?,
        amount1: "-12".parse()?,
        block_time: (!is_pending).then_some(Timestamp(minute(4))),
        event_time: Timestamp(minute(5)),
    };
    let mut body = Vec::new();
    key.write(&mut body);
    world.put_in(partition, Topic::SwapStatus, &body, &state);
    Ok(())
}

/// Three tokens of two chains in two partitions over more than a day, two pools, and a transaction.
pub(super) fn fill(world: &World) -> Outcome {
    let (weth, usdc) = ((1, WETH, "WETH"), (1, USDC, "USDC"));
    let (squeeth, foreign) = ((1, OSQTH, "oSQTH"), (137, WETH, "WETH"));
    let five = Topic::Token5m;
    // The newest bucket begins at 23:55, so 24 hours begin at 00:00.
    let newest = minute(1_435);
    for (at, sums) in [
        // One bucket too old, the first and the last of the day.
        (minute(-5), (100, "100", Some("100"), 0, 2)),
        (minute(0), (3, HUGE, Some("1.5"), 1, 2)),
        (minute(600), (2, "0", None, 2, 1)),
        (newest, (1, "0", Some("0.25"), 0, 1)),
    ] {
        put(world, 0, five, weth, at, sums)?;
    }
    put(world, 1, five, usdc, minute(605), (4, "900", Some("900"), 0, 1))?;
    put(world, 1, five, squeeth, minute(1_430), (9, "77", None, 9, 1))?;
    put(world, 1, five, foreign, newest, (1, "5", Some("1.75"), 0, 1))?;
    let hour = Topic::Token1h;
    put(world, 0, hour, weth, minute(0), (3, "3", Some("1.5"), 1, 2))?;
    put(world, 0, hour, weth, minute(1_380), (1, "1", Some("0.25"), 0, 1))?;
    put(world, 1, hour, usdc, minute(600), (4, "900", Some("900"), 0, 1))?;
    put(world, 1, hour, squeeth, minute(1_380), (9, "77", None, 9, 1))?;
    put(world, 1, hour, foreign, minute(1_380), (1, "5", Some("1.75"), 0, 1))?;
    // Two pools in the day, in three buckets; one before it, and one of an hour.
    for (at, length_ms, pool) in [
        (minute(-5), 300_000, WETH),
        (minute(0), 300_000, POOL),
        (minute(0), 300_000, QUIET),
        (minute(600), 300_000, QUIET),
        (newest, 300_000, POOL),
        (minute(1_380), 3_600_000, USDC),
    ] {
        put_pool_of(world, 0, WETH, at, length_ms, pool);
    }
    put_pool(world, 0, &PoolKey::new(1, POOL), [(USDC, "USDC"), (WETH, "WETH")]);
    put_pool(world, 1, &PoolKey::new(1, QUIET), [(WETH, "WETH"), (OSQTH, "oSQTH")]);
    put_pool(world, 0, &PoolKey::new(137, QUIET), [(WETH, "WETH"), (USDC, "USDC")]);
    for (at, swaps) in [(0, 1), (1, 2), (70, 3), (1_438, 9), (1_439, 4)] {
        put_minute(world, 0, POOL, minute(at), swaps)?;
    }
    put_minute(world, 1, QUIET, minute(-100), 5)?;
    put_swap(world, 0, 8, SwapStatus::Confirmed)?;
    put_swap(world, 1, 3, SwapStatus::Removed)
}

/// Chain, token and one field of each row.
fn shown<'a>(answer: &'a Value, rows: &str, field: &str) -> Vec<(i64, &'a str, &'a Value)> {
    let rows = answer[rows].as_array().into_iter().flatten();
    let row = |row: &'a Value| {
        (row["chain"].as_i64().unwrap_or(0), row["token"].as_str().unwrap_or(""), &row[field])
    };
    rows.map(row).collect()
}

#[tokio::test]
async fn the_last_day_is_the_sum_of_its_buckets_and_no_older_one() -> Outcome {
    let routes = small()?.routes();
    let answer = get(&routes, "/v1/tokens", &[]).await?.json();
    assert_eq!(
        [&answer["window"], &answer["from"], &answer["until"], &answer["next_cursor"]],
        [
            &json!("24h"),
            &json!("2024-01-01T00:00:00.000Z"),
            &json!("2024-01-02T00:00:00.000Z"),
            &Value::Null
        ]
    );
    // By volume in USD, and without one last.
    let expected = [
        (1, USDC, &json!("900")),
        (1, WETH, &json!("1.75")),
        (137, WETH, &json!("1.75")),
        (1, OSQTH, &Value::Null),
    ];
    assert_eq!(shown(&answer, "tokens", "volume_usd"), expected);
    let weth = json!({
        "chain": 1, "token": WETH, "symbol": "WETH", "decimals": 18, "swaps": 6, "volume": HUGE,
        "volume_usd": "1.75", "unpriced_swaps": 3, "pools": 2,
        "event_time": "2024-01-01T23:55:01.000Z",
    });
    assert_eq!(answer["tokens"][1], weth);
    assert_eq!(answer["tokens"][3]["unpriced_swaps"], 9);
    assert_eq!(answer["pools_omitted"], Value::Null);
    let one = get(&routes, &format!("/v1/tokens/{WETH}?chain=1&window=24h"), &[]).await?.json();
    let bucket = json!({
        "open_time": "2024-01-01T00:00:00.000Z", "swaps": 6, "volume": HUGE, "volume_usd": "1.75",
        "unpriced_swaps": 3, "pools": 2, "event_time": "2024-01-01T23:55:01.000Z",
    });
    assert_eq!((&one["buckets"], &one["symbol"]), (&json!([bucket]), &json!("WETH")));
    Ok(())
}

#[tokio::test]
async fn without_their_private_store_the_pools_of_a_day_are_omitted_with_a_reason() -> Outcome {
    let mut world = small()?;
    world.forget(Topic::TokenPools);
    let routes = world.routes();
    for (path, rows, is_omitted) in [
        ("/v1/tokens".to_owned(), "tokens", true),
        (format!("/v1/tokens/{USDC}?window=24h"), "buckets", true),
        ("/v1/tokens?window=1h".into(), "tokens", false),
        (format!("/v1/tokens/{USDC}"), "buckets", false),
    ] {
        let answer = get(&routes, &path, &[]).await?.json();
        assert_eq!(answer[rows][0]["pools"].is_null(), is_omitted, "{path}: {answer}");
        let why = answer["pools_omitted"].as_str().unwrap_or_default();
        assert_eq!(why.contains("does not have the store"), is_omitted, "{path}: {answer}");
    }
    Ok(())
}

#[tokio::test]
async fn five_minutes_and_an_hour_are_the_newest_stored_bucket() -> Outcome {
    let routes = small()?.routes();
    let answer = get(&routes, "/v1/tokens?window=5m", &[]).await?.json();
    let swaps = shown(&answer, "tokens", "swaps");
    assert_eq!(swaps, [(137, WETH, &json!(1)), (1, WETH, &json!(1))]);
    assert_eq!(
        (&answer["from"], &answer["pools_omitted"]),
        (&json!("2024-01-01T23:55:00.000Z"), &Value::Null)
    );
    assert_eq!(answer["tokens"][0]["pools"], 1);
    let answer = get(&routes, "/v1/tokens?window=1h&chain=1", &[]).await?.json();
    let swaps = shown(&answer, "tokens", "swaps");
    assert_eq!(swaps, [(1, WETH, &json!(1)), (1, OSQTH, &json!(9))]);
    assert_eq!(answer["from"], "2024-01-01T23:00:00.000Z");
    Ok(())
}

#[tokio::test]
async fn a_row_has_its_last_five_minute_volumes_where_they_are_asked_for() -> Outcome {
    let routes = small()?.routes();
    let answer = get(&routes, "/v1/tokens?volumes=3&chain=1", &[]).await?.json();
    let expected = [
        (1, USDC, &json!(["0", "0", "0"])),
        (1, WETH, &json!(["0", "0", "0"])),
        (1, OSQTH, &json!(["0", "77", "0"])),
    ];
    assert_eq!(shown(&answer, "tokens", "volumes"), expected);
    let answer = get(&routes, "/v1/tokens?volumes=288&chain=1", &[]).await?.json();
    let weth = answer["tokens"][1]["volumes"].as_array().ok_or("no volumes")?;
    assert_eq!((weth.len(), &weth[0], &weth[120]), (288, &json!(HUGE), &json!("0")));
    assert!(get(&routes, "/v1/tokens", &[]).await?.json()["tokens"][0].get("volumes").is_none());
    Ok(())
}

/// The rows of all pages of so many, and that the header names the cursor of the body.
async fn paged(path: &str, rows: &str, limit: usize) -> Outcome<Value> {
    let routes = small()?.routes();
    let (mut pages, mut cursor) = (Vec::new(), String::new());
    for _ in 0..20 {
        let page = get(&routes, &format!("{path}limit={limit}{cursor}"), &[]).await?;
        pages.extend(page.json()[rows].as_array().cloned().unwrap_or_default());
        let next = page.json()["next_cursor"].as_str().map(str::to_owned);
        assert_eq!(page.header("next-cursor").map(str::to_owned), next, "{path}");
        let Some(next) = next else { return Ok(Value::Array(pages)) };
        cursor = format!("&cursor={next}");
    }
    Err("pages without end".into())
}

#[tokio::test]
async fn pages_are_the_whole_without_seams() -> Outcome {
    let routes = small()?.routes();
    let token = format!("/v1/tokens/{WETH}?chain=1&");
    let candles = format!("/v1/pools/{POOL}/candles?");
    for (path, rows, count) in [
        ("/v1/tokens?", "tokens", 4),
        (&token, "buckets", 4),
        ("/v1/pools?", "pools", 3),
        (&candles, "candles", 5),
    ] {
        let whole = get(&routes, path, &[]).await?.json()[rows].clone();
        assert_eq!(whole.as_array().map(Vec::len), Some(count), "{path}: {whole}");
        for limit in [1, 2, 4] {
            assert_eq!(paged(path, rows, limit).await?, whole, "{path} {limit}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_buckets_of_a_token_are_a_range_of_time_in_any_letter_case() -> Outcome {
    let routes = small()?.routes();
    let mixed = format!("0x{}", WETH[2..].to_ascii_uppercase());
    let path = format!("/v1/tokens/{mixed}?chain=1&from={}&to={}", minute(0), minute(600));
    let answer = get(&routes, &path, &[]).await?.json();
    assert_eq!((&answer["token"], &answer["decimals"]), (&json!(WETH), &json!(18)));
    let bucket = json!({
        "open_time": "2024-01-01T00:00:00.000Z", "swaps": 3, "volume": HUGE, "volume_usd": "1.5",
        "unpriced_swaps": 1, "pools": 2, "event_time": "2024-01-01T00:00:01.000Z",
    });
    assert_eq!(answer["buckets"], json!([bucket]));
    let hours = get(&routes, &format!("/v1/tokens/{WETH}?chain=137&window=1h"), &[]).await?.json();
    assert_eq!(hours["buckets"].as_array().map(Vec::len), Some(1));
    // A token that is here and has no bucket in the range is no 404.
    let none = format!("/v1/tokens/{WETH}?chain=1&from={}", minute(9_000));
    let answer = get(&routes, &none, &[]).await?;
    assert_eq!((answer.status.as_u16(), &answer.json()["buckets"]), (200, &json!([])));
    Ok(())
}

#[tokio::test]
async fn a_pool_has_its_facts_and_its_newest_minute() -> Outcome {
    let routes = small()?.routes();
    let answer = get(&routes, "/v1/pools?chain=1", &[]).await?.json();
    let pools = answer["pools"].as_array().ok_or("no pools")?;
    assert_eq!(
        (pools.len(), &pools[0]["pool"], &pools[0]["minute"]),
        (2, &json!(QUIET), &Value::Null)
    );
    let expected = json!({
        "chain": 1, "pool": POOL, "protocol": "uniswap_v3", "token0": USDC, "token1": WETH,
        "fee": 3000, "symbol0": "USDC", "symbol1": "WETH", "decimals0": 6, "decimals1": null,
        "usd_token": 0, "event_time": "2024-01-01T00:00:00.000Z",
        "received_at": "2024-01-01T00:00:00.005Z",
    });
    let mut pool = pools[1].clone();
    let newest = pool.as_object_mut().and_then(|pool| pool.remove("minute")).unwrap_or_default();
    assert_eq!(pool, expected);
    let candles = get(&routes, &format!("/v1/pools/{POOL}/candles"), &[]).await?.json();
    assert_eq!(newest, candles["candles"][4]);
    let with = get(&routes, &format!("/v1/pools?token={USDC}"), &[]).await?.json();
    assert_eq!(with["pools"].as_array().map(Vec::len), Some(2));
    Ok(())
}

#[tokio::test]
async fn the_minutes_of_a_pool_have_every_field_with_exact_integers() -> Outcome {
    let routes = small()?.routes();
    let path = format!("/v1/pools/{POOL}/candles?from={}&to={}&interval=1m", minute(1), minute(71));
    let answer = get(&routes, &path, &[]).await?.json();
    let swaps: Vec<_> =
        answer["candles"].as_array().into_iter().flatten().map(|m| &m["swaps"]).collect();
    assert_eq!(swaps, [2, 3]);
    let expected = json!({
        "open_time": "2024-01-01T00:01:00.000Z", "swaps": 2, "net_amount0": HUGE,
        "net_amount1": "-5", "in_amount0": "7", "in_amount1": null, "open_tick": -200_000,
        "high_tick": null, "low_tick": null, "close_tick": null, "open_price": null,
        "high_price": null, "low_price": null, "close_price": "0.000444", "liquidity": null,
        "open_block": 10, "open_log_index": 0, "close_block": 11, "close_log_index": 0,
        "status": "FINAL", "revision": 1, "event_time": "2024-01-01T00:01:59.000Z",
    });
    assert_eq!(answer["candles"][0], expected);
    let csv = get(&routes, &path, &CSV).await?.text();
    let line = csv.lines().nth(1).unwrap_or_default();
    assert!(line.starts_with(&format!("2024-01-01T00:01:00.000Z,2,{HUGE},-5,7,,")), "{csv}");
    let arrow = get(&routes, &path, &ARROW).await?;
    let mut reader = arrow_ipc::reader::StreamReader::try_new(&arrow.body[..], None)?;
    let batch = reader.next().ok_or("no batch")??;
    let amounts = batch.column_by_name("net_amount0").ok_or("no amounts")?;
    let amounts = arrow_array::cast::AsArray::as_string::<i32>(amounts);
    assert_eq!(amounts.iter().collect::<Vec<_>>(), [Some(HUGE), Some(HUGE)]);
    Ok(())
}

#[tokio::test]
async fn lists_come_as_csv_and_as_arrow_with_the_fields_of_json() -> Outcome {
    let routes = small()?.routes();
    let swap = format!("/v1/swaps/{TX}");
    let token = format!("/v1/tokens/{WETH}?chain=1");
    for (path, rows, head, columns, lines) in [
        ("/v1/tokens", "tokens", "chain,token,symbol,decimals,swaps,volume,", 10, 5),
        (&token, "buckets", "open_time,swaps,volume,volume_usd,", 7, 5),
        (&swap, "swaps", "chain,tx_hash,log_index,status,pool,", 11, 3),
    ] {
        let json = get(&routes, path, &[]).await?.json();
        let fields = json[rows][0].as_object().map(serde_json::Map::len);
        assert_eq!(fields, Some(columns), "{path}");
        let csv = get(&routes, path, &CSV).await?.text();
        assert!(csv.starts_with(head), "{path}: {csv}");
        assert_eq!(csv.lines().count(), lines, "{path}: {csv}");
        let arrow = get(&routes, path, &ARROW).await?;
        let mut reader = arrow_ipc::reader::StreamReader::try_new(&arrow.body[..], None)?;
        let batch = reader.next().ok_or("no batch")??;
        assert_eq!((batch.num_rows(), batch.num_columns()), (lines - 1, columns), "{path}");
    }
    let csv = get(&routes, "/v1/pools?chain=1", &CSV).await?.text();
    assert!(csv.starts_with("chain,pool,protocol,") && csv.contains(",minute_open_time,"), "{csv}");
    Ok(())
}

#[tokio::test]
async fn a_transaction_has_the_status_of_each_of_its_swaps() -> Outcome {
    let world = small()?;
    let routes = world.routes();
    let mixed = format!("0x{}", TX[2..].to_ascii_uppercase());
    let answer = get(&routes, &format!("/v1/swaps/{mixed}"), &[]).await?.json();
    let removed = json!({
        "chain": 1, "tx_hash": TX, "log_index": 3, "status": "REMOVED", "pool": POOL,
        "block_number": 19_000_000, "block_hash": TX.replace("aa", "bb"), "amount0": HUGE,
        "amount1": "-12", "block_time": "2024-01-01T00:04:00.000Z",
        "event_time": "2024-01-01T00:05:00.000Z",
    });
    assert_eq!((&answer["tx_hash"], &answer["swaps"][0]), (&json!(TX), &removed));
    assert_eq!(
        (&answer["swaps"][1]["log_index"], &answer["swaps"][1]["status"]),
        (&json!(8), &json!("CONFIRMED"))
    );
    // A pending swap has no place in a block.
    put_swap(&world, 1, SwapStatusKey::PENDING, SwapStatus::Pending)?;
    let answer = get(&routes, &format!("/v1/swaps/{TX}?chain=1"), &[]).await?.json();
    let pending = &answer["swaps"][0];
    assert_eq!(
        [&pending["status"], &pending["log_index"], &pending["block_hash"]],
        [&json!("PENDING"), &Value::Null, &Value::Null]
    );
    Ok(())
}
