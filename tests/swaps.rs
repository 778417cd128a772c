//! Swaps of a simulated chain to the rows of `PostgreSQL` and the reads, while the chain reorganises, a
//! member is killed during a reorganisation, and the producer is killed during another: every minute of
//! a pool and every bucket of a token is that of the canonical chain.
//!
//! The rule is the issue's: aggregates equal a fold over the canonical chain, to the last digit.

#![expect(clippy::print_stdout, reason = "the figures are what a long run is for")]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use schemas::topic::Topic;
use serde_json::{Value, json};
use tests::support::chain::{Block, SimulatedChain};
use tests::support::connect::Sinks;
use tests::support::installation::{IMPATIENT, Member};
use tests::support::socket::Socket;
use tests::support::venue::Follower;
use tests::support::{Installation, swaps, wait_until};

/// The topics of `swaps` that have a table.
const SUNK: [Topic; 5] =
    [Topic::Pools, Topic::PoolMinutes, Topic::Token5m, Topic::Token1h, Topic::SwapStatus];
/// The settings of members and views.
const TOPOLOGIES: [&str; 2] = ["--topologies", "swaps"];
/// Ten blocks a second of twelve seconds each: a minute of the chain is half a second. It ends before the
/// clock does.
const CHAIN: [&str; 8] =
    ["--rate", "40", "--block-every", "100ms", "--block-time", "12s", "--chain-age", "4h"];
/// The faults: reorganisations, also back, pending swaps that never come, missed heads, logs before
/// their heads, repeated and reordered ones, and cut connections.
const FAULTS: [&str; 18] = [
    "--reorg-every",
    "9",
    "--reorg-back-every",
    "3",
    "--pending-every",
    "5",
    "--drop-pending-every",
    "2",
    "--skip-heads-every",
    "6",
    "--logs-first-every",
    "4",
    "--repeat-every",
    "7",
    "--reorder-every",
    "5",
    "--disconnect-every",
    "600",
];
/// Rows of `pool_1m` before something is killed, each time.
const ROWS: usize = 40;
/// Programs that were killed are back, and rows have gone through Kafka twice, the registry and a sink.
const BOUND: Duration = Duration::from_mins(2);
/// Five minutes, and an hour, in milliseconds.
const FIVE_MINUTES: i64 = 300_000;
const HOUR: i64 = 3_600_000;

/// The chain, its group and its readers. Dropped in this order.
struct Scene {
    members: Vec<(&'static str, Member)>,
    views: Vec<Member>,
    feed: Follower,
    chain: SimulatedChain,
    sinks: Sinks,
    installation: Installation,
}

impl Scene {
    fn start() -> Result<Self> {
        let installation = Installation::new("swaps")?;
        let sinks = Sinks::register(&installation, &SUNK, &[])?;
        let chain = SimulatedChain::start(&installation, &[&CHAIN[..], &FAULTS].concat())?;
        let feed = chain.follow(&installation, &[])?;
        let mut members = Vec::new();
        for name in ["one", "two"] {
            members.push((name, member(&installation, name)?));
        }
        let mut views = Vec::new();
        for name in ["view", "other"] {
            views.push(installation.view(name, &TOPOLOGIES)?);
        }
        for member in members.iter_mut().map(|(_, member)| member).chain(&mut views) {
            member.ready()?;
        }
        Ok(Self { members, views, feed, chain, sinks, installation })
    }

    fn alive(&mut self) -> Result<()> {
        for (_, member) in &mut self.members {
            member.process.alive()?;
        }
        self.feed.process.alive()?;
        self.chain.process.alive()
    }

    /// Waits until the table has so many more minutes.
    fn more_rows(&mut self) -> Result<()> {
        let count = |scene: &Self| -> Result<usize> {
            let rows = scene.sinks.schema.query("SELECT count(*) FROM pool_1m")?;
            Ok(rows.first().context("no count")?.parse()?)
        };
        let before = count(self)?;
        wait_until("further minutes of pools", BOUND, || {
            self.alive()?;
            Ok((count(self)? >= before + ROWS).then_some(()))
        })
    }

    /// A member is killed while a reorganisation is on its way to it; another one takes its place.
    fn a_member_is_killed_during_a_reorganisation(&mut self) -> Result<()> {
        self.chain.reorganise(5)?;
        let (name, mut killed) = self.members.remove(0);
        killed.process.kill()?;
        self.chain.reorganise(3)?;
        self.members.push((name, member(&self.installation, name)?));
        Ok(())
    }

    /// The producer is killed, and the chain reorganises meanwhile: no node tells it what was removed.
    fn the_producer_is_killed_and_misses_a_reorganisation(&mut self) -> Result<()> {
        self.feed.process.kill()?;
        self.chain.reorganise(5)?;
        self.feed = self.chain.follow(&self.installation, &[])?;
        Ok(())
    }

    /// Waits until a table has exactly these rows.
    fn table_is(&mut self, name: &str, sql: &str, mut expected: Vec<String>) -> Result<()> {
        expected.sort();
        let mut shown = String::new();
        let result =
            wait_until(&format!("{name} to be that of the canonical chain"), BOUND, || {
                self.alive()?;
                let mut rows = self.sinks.schema.query(sql)?;
                rows.sort();
                if rows == expected {
                    return Ok(Some(()));
                }
                let more = rows.iter().find(|row| expected.binary_search(row).is_err());
                let less = expected.iter().find(|row| rows.binary_search(row).is_err());
                let (found, wanted) = (rows.len(), expected.len());
                shown = format!(
                    "{found} rows, of {wanted};\nnot expected: {more:?}\nexpected: {less:?}"
                );
                Ok(None)
            });
        ensure!(
            result.is_ok(),
            "{result:?}: {shown}\nlogs in {}",
            self.installation.folder().display()
        );
        println!("{name}: {} rows are those of the canonical chain", expected.len());
        Ok(())
    }

    fn tables_are_those_of(&mut self, chain: &[Block]) -> Result<()> {
        let pools = self.chain.pools.clone();
        let minutes = swaps::pool_minutes(chain, &pools)?;
        let sql = swaps::query("pool_1m", swaps::POOL_MINUTE);
        self.table_is("pool_1m", &sql, minutes)?;
        for (table, length) in [("token_5m", FIVE_MINUTES), ("token_1h", HOUR)] {
            let rows = swaps::token_buckets(chain, &pools, length)?;
            self.table_is(table, &swaps::query(table, swaps::TOKEN_BUCKET), rows)?;
        }
        let named =
            pools.iter().map(|pool| format!("{}|{}|{}", pool.pool, pool.protocol, pool.symbol0));
        self.table_is("pools", "SELECT pool, protocol, symbol0 FROM pools", named.collect())?;
        // Each swap of the chain is final, and no other is in a block.
        let each = chain.iter().flat_map(|block| {
            let number = block.block;
            block.swaps.iter().map(move |swap| {
                format!(
                    "{}|{}|{number}|{}|{}",
                    swap.tx_hash, swap.log_index, swap.amount0, swap.amount1
                )
            })
        });
        let sql = "SELECT tx_hash, log_index, block_number, amount0, amount1 FROM swap_status \
                   WHERE status = 'FINAL'";
        self.table_is("swap_status", sql, each.collect())?;
        let other = "SELECT status FROM swap_status WHERE status IN ('INCLUDED', 'CONFIRMED')";
        self.table_is("swap_status of no block", other, Vec::new())
    }
}

fn member(installation: &Installation, name: &str) -> Result<Member> {
    installation.member(name, &[&IMPATIENT[..], &TOPOLOGIES].concat())
}

/// The tokens that an API process answers with: by address, swaps, volume and value in dollars.
fn tokens(reader: &mut Member) -> Result<BTreeMap<String, [String; 3]>> {
    let url = format!("http://{}/v1/tokens?chain=1&window=24h", reader.address()?);
    let answer: Value = reqwest::blocking::get(url)?.error_for_status()?.json()?;
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let tokens = answer["tokens"].as_array().with_context(|| answer.to_string())?.iter();
    let token = |one: &Value| {
        (text(&one["token"]), ["swaps", "volume", "volume_usd"].map(|name| text(&one[name])))
    };
    Ok(tokens.map(token).collect())
}

/// Both API processes answer as the canonical chain says; one window holds all of it.
fn reads_are_those_of(scene: &mut Scene, chain: &[Block]) -> Result<()> {
    let all = swaps::buckets(chain, &scene.chain.pools, i64::MAX / 2)?;
    let of = |((token, _), bucket): (&(String, i64), &swaps::Bucket)| {
        (token.clone(), [bucket.swaps.to_string(), bucket.volume.to_string(), bucket.usd()])
    };
    let expected: BTreeMap<String, [String; 3]> = all.iter().map(of).collect();
    for view in &mut scene.views {
        let mut found = BTreeMap::new();
        let result = wait_until("a view to answer with the canonical chain", BOUND, || {
            found = tokens(view)?;
            Ok((found == expected).then_some(()))
        });
        ensure!(result.is_ok(), "{result:?}: {found:?} is not {expected:?}");
    }
    let last = chain.iter().rev().find_map(|block| block.swaps.first()).context("no swap")?;
    let url = format!("http://{}/v1/swaps/{}", scene.views[0].address()?, last.tx_hash);
    let answer = reqwest::blocking::get(url)?.error_for_status()?.text()?;
    ensure!(answer.contains(&last.tx_hash) && answer.contains("FINAL"), "{answer}");
    Ok(())
}

/// Listens to both channels, until there is a change of each.
fn listener(view: &mut Member) -> Result<Socket> {
    let mut socket = Socket::open(&format!("ws://{}/v1/stream", view.address()?))?;
    for (id, channel) in [(1, "tokens"), (2, "swaps")] {
        socket.say(&json!({"op": "subscribe", "id": id, "channel": channel, "chain": 1}))?;
    }
    Ok(socket)
}

fn hears_changes(socket: &mut Socket) -> Result<()> {
    let mut heard = [false; 3];
    while !(heard[1] && heard[2]) {
        let message = socket.hear()?;
        ensure!(message["type"] != "error", "{message}");
        let id = message["id"].as_u64().and_then(|id| usize::try_from(id).ok());
        if let (Some(id @ 1..=2), "update") = (id, message["type"].as_str().unwrap_or_default()) {
            heard[id] = true;
        }
    }
    Ok(())
}

#[test]
fn every_bucket_is_that_of_the_canonical_chain_after_kills_during_reorganisations() -> Result<()> {
    let mut scene = Scene::start()?;
    let mut socket = listener(&mut scene.views[0])?;
    scene.more_rows()?;
    hears_changes(&mut socket)?;
    drop(socket);

    scene.a_member_is_killed_during_a_reorganisation()?;
    scene.more_rows()?;
    scene.the_producer_is_killed_and_misses_a_reorganisation()?;
    scene.more_rows()?;

    let chain = scene.chain.settle()?;
    let count: usize = chain.iter().map(|block| block.swaps.len()).sum();
    println!("{} canonical blocks with {count} swaps", chain.len());
    scene.tables_are_those_of(&chain)?;
    reads_are_those_of(&mut scene, &chain)?;
    ends(scene)
}

/// The producer stops, and no record was left out but repeated swaps and heads of final blocks: the second
/// producer sends them again.
fn ends(mut scene: Scene) -> Result<()> {
    scene.feed.stop()?;
    for letter in scene.installation.read(Topic::DeadLetters)? {
        let reason = letter.headers.get("reason").map(String::as_str);
        ensure!(matches!(reason, Some("late_swap" | "late_head")), "{letter:?}");
    }
    let Scene { members, views, sinks, chain, installation, .. } = scene;
    drop((sinks, chain));
    installation.finish_with(members.into_iter().map(|(_, member)| member).chain(views))
}
