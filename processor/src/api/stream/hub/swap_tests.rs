//! The channels `tokens` and `swaps`: patterns by chain and address, snapshots, deletions.

use schemas::avro::Record as _;
use schemas::{SwapState, SwapStatus, SwapStatusKey, TokenBucket};

use super::*;
use crate::api::swap_windows::{name_key, window_key};

const WETH: &str = "0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2";
const USDC: &str = "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48";
const POOL: &str = "0x8ad599c3a0ff1de082011efddc58f1908eb6e6d8";
const OTHER: &str = "0x82c427adfdf2d245ec51d8046b41c4ee87f0d29c";
const FIVE_MINUTES: i64 = 300_000;

fn bucket_key(chain: i64, token: &str, at: i64) -> Vec<u8> {
    window_key(Channel::Tokens.topic(), &name_key(chain, token), Timestamp(at * FIVE_MINUTES))
}

fn swap_key(tx_hash: &str, log_index: i64) -> Vec<u8> {
    let mut out = Vec::new();
    SwapStatusKey { chain: 1, tx_hash: tx_hash.into(), log_index }.write(&mut out);
    out
}

impl World {
    fn bucket(&mut self, chain: i64, token: &str, at: i64, swaps: i64) {
        let bucket = TokenBucket { swaps, pools: 1, ..TokenBucket::default() };
        let value = Codec::offline().to_bytes(&bucket);
        self.commit(Channel::Tokens, bucket_key(chain, token, at), value);
    }

    fn swap(&mut self, pool: &str, log_index: i64, status: SwapStatus) {
        let state = SwapState { status, pool: pool.into(), ..SwapState::default() };
        let value = Codec::offline().to_bytes(&state);
        self.commit(Channel::Swaps, swap_key("0xaa", log_index), value);
    }

    fn delete(&mut self, channel: Channel, key: Vec<u8>) {
        self.stores[channel.index()].commit(std::iter::once((&key[..], None)));
        self.next += 1;
        let told = self.hub.queries.changes().clone();
        told.publish_changes(channel.store(), 0, Some(Offset(self.next)), vec![(key, None)]);
    }
}

fn rows(frame: &Value) -> &[Value] {
    frame["rows"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Chain, token and swaps of each row.
fn buckets(frame: &Value) -> Vec<(i64, &str, i64)> {
    let row = |row: &'_ Value| Some((row["chain"].as_i64()?, row["swaps"].as_i64()?));
    let token = |row: &Value| row["token"].as_str() == Some(WETH);
    let mut found: Vec<_> = rows(frame)
        .iter()
        .filter_map(|one| {
            let (chain, swaps) = row(one)?;
            Some((chain, if token(one) { "WETH" } else { "USDC" }, swaps))
        })
        .collect();
    found.sort_unstable();
    found
}

#[test]
fn a_subscription_gets_the_buckets_of_its_chain_and_token() -> Result<()> {
    let mut world = World::new()?;
    // A snapshot has the newest two of the last hour.
    for (at, swaps) in [(0, 1), (88, 2), (99, 3), (100, 4)] {
        world.bucket(1, WETH, at, swaps);
    }
    world.bucket(1, USDC, 95, 5);
    world.bucket(137, WETH, 100, 6);
    let mut client = world.join(1, QUEUE);
    let upper = WETH.to_ascii_uppercase();
    let asked = [
        (1, String::new(), vec![(1, "USDC", 5), (1, "WETH", 3), (1, "WETH", 4), (137, "WETH", 6)]),
        (2, r#","chain":1"#.into(), vec![(1, "USDC", 5), (1, "WETH", 3), (1, "WETH", 4)]),
        (
            3,
            format!(r#","chain":"*","token":"{upper}""#),
            vec![(1, "WETH", 3), (1, "WETH", 4), (137, "WETH", 6)],
        ),
        (4, format!(r#","chain":"137","token":"{USDC}""#), vec![]),
    ];
    for (id, parts, expected) in &asked {
        world.subscribe(1, *id, &format!("\"channel\":\"tokens\"{parts}"))?;
        let heard = client.all()?;
        ensure!(kinds(&heard) == ["subscribed", "snapshot"], "{heard:?}");
        ensure!(buckets(&heard[1]) == *expected, "{parts}: {heard:?}");
    }
    world.bucket(1, WETH, 100, 7);
    world.tick()?;
    let heard = client.all()?;
    let told: Vec<_> = heard.iter().filter_map(|frame| frame["id"].as_i64()).collect();
    ensure!(told.len() == 3 && !told.contains(&4), "{heard:?}");
    let row = &rows(&heard[0])[0];
    let expected = json!({
        "chain": 1, "token": WETH, "symbol": null, "decimals": null,
        "open_time": "1970-01-01T08:20:00.000Z", "swaps": 7, "volume": null, "volume_usd": null,
        "unpriced_swaps": 0, "pools": 1, "event_time": "1970-01-01T00:00:00.000Z",
    });
    ensure!(*row == expected, "{row}");
    Ok(())
}

#[test]
fn the_answer_to_a_subscription_says_chain_and_address() -> Result<()> {
    let mut world = World::new()?;
    let mut client = world.join(1, QUEUE);
    world.subscribe(1, 1, &format!(r#""channel":"swaps","chain":1,"pool":"{POOL}""#))?;
    let heard = client.all()?;
    let expected = json!({
        "type": "subscribed", "id": 1, "sequence": 0, "channel": "swaps", "interval": null,
        "chain": "1", "pool": POOL,
    });
    ensure!(heard[0] == expected, "{}", heard[0]);
    Ok(())
}

#[test]
fn the_status_of_a_swap_reaches_the_subscribers_of_its_pool_and_a_deletion_all() -> Result<()> {
    let mut world = World::new()?;
    world.swap(POOL, 1, SwapStatus::Included);
    let mut client = world.join(1, QUEUE);
    for (id, pool) in [(1, POOL), (2, OTHER), (3, "*")] {
        world.subscribe(1, id, &format!(r#""channel":"swaps","pool":"{pool}""#))?;
        // The store is not in the order of time, so a snapshot has no rows.
        let heard = client.all()?;
        ensure!(rows(&heard[1]).is_empty(), "{heard:?}");
    }
    world.subscribe(1, 4, r#""channel":"swaps","chain":10"#)?;
    client.all()?;
    world.swap(POOL, 1, SwapStatus::Confirmed);
    world.tick()?;
    let heard = client.all()?;
    let mut told: Vec<_> = heard.iter().filter_map(|frame| frame["id"].as_i64()).collect();
    told.sort_unstable();
    ensure!(told == [1, 3], "{heard:?}");
    ensure!(heard.iter().all(|frame| rows(frame)[0]["status"] == "CONFIRMED"), "{heard:?}");
    world.delete(Channel::Swaps, swap_key("0xaa", SwapStatusKey::PENDING));
    world.tick()?;
    let heard = client.all()?;
    let mut told: Vec<_> = heard.iter().filter_map(|frame| frame["id"].as_i64()).collect();
    told.sort_unstable();
    ensure!(told == [1, 2, 3], "{heard:?}");
    let deleted = json!({ "chain": 1, "tx_hash": "0xaa", "log_index": null, "deleted": true });
    ensure!(heard.iter().all(|frame| rows(frame) == [deleted.clone()]), "{heard:?}");
    Ok(())
}

#[test]
fn a_bucket_that_a_reorganisation_empties_is_deleted() -> Result<()> {
    let mut world = World::new()?;
    world.bucket(1, WETH, 100, 1);
    let mut client = world.join(1, QUEUE);
    world.subscribe(1, 1, r#""channel":"tokens","chain":1"#)?;
    client.all()?;
    world.delete(Channel::Tokens, bucket_key(1, WETH, 100));
    world.tick()?;
    let heard = client.all()?;
    let deleted = json!({
        "chain": 1, "token": WETH, "open_time": "1970-01-01T08:20:00.000Z", "deleted": true,
    });
    ensure!(rows(&heard[0]) == [deleted], "{heard:?}");
    Ok(())
}

#[test]
fn a_client_of_swaps_resumes_with_what_it_missed() -> Result<()> {
    let mut world = World::new()?;
    let mut first = world.join(1, QUEUE);
    world.subscribe(1, 1, r#""channel":"swaps""#)?;
    world.swap(POOL, 1, SwapStatus::Included);
    world.tick()?;
    let heard = first.all()?;
    let token = heard.last().and_then(|update| update["resume"].as_str()).context("a token")?;
    world.swap(OTHER, 2, SwapStatus::Included);
    world.swap(POOL, 3, SwapStatus::Removed);
    world.delete(Channel::Swaps, swap_key("0xaa", 1));
    world.tick()?;
    let mut again = world.join(2, QUEUE);
    let asked = format!(r#""channel":"swaps","pool":"{POOL}","resume":"{token}""#);
    world.subscribe(2, 1, &asked)?;
    let told = again.all()?;
    ensure!(kinds(&told) == ["subscribed", "resumed"], "{told:?}");
    let mut logs: Vec<_> = rows(&told[1]).iter().map(|row| row["log_index"].as_i64()).collect();
    logs.sort_unstable();
    ensure!(logs == [Some(1), Some(3)], "{told:?}");
    Ok(())
}
