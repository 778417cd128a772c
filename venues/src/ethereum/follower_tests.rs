//! The follower against frames as a node sends them: chain, gaps, outages, bad input.

use schemas::{PoolKey, SwapStatus, Timestamp};
use serde_json::{Value, json};

use super::{Follower, FollowerConfig, NoEffect, Notice, listing};
use crate::pipeline::Output;

pub(super) const POOL: &str = "0x8ad599c3a0ff1de082011efddc58f1908eb6e6d8";
pub(super) const LISTED: &str = r#"{"chain":1,"pool":"0x8ad599c3a0ff1de082011efddc58f1908eb6e6d8",
    "token0":"0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48",
    "token1":"0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2","fee":3000}"#;
const V3: &str = "0xc42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67";

pub(super) fn hash(number: i64, fork: i64) -> String {
    format!("0x{number:032x}{fork:032x}")
}

pub(super) fn block(number: i64, fork: i64, parent_fork: i64) -> Value {
    json!({"number": format!("{number:#x}"), "hash": hash(number, fork),
        "parentHash": hash(number - 1, parent_fork), "timestamp": format!("{:#x}", 100 * number)})
}

pub(super) fn log(number: i64, fork: i64) -> Value {
    let word = |text: &str| format!("{text:0>64}");
    let data = ["5", "7", "1000000000000000000000000", "9", "1"].map(word).concat();
    json!({"address": POOL, "topics": [V3, format!("0x{}", word("aa")), format!("0x{}", word("bb"))],
        "data": format!("0x{data}"), "blockNumber": format!("{number:#x}"),
        "blockHash": hash(number, fork), "transactionHash": hash(7, 7), "logIndex": "0x2",
        "removed": false})
}

/// A follower and what it has published.
pub(super) struct Node {
    pub(super) follower: Follower,
    pub(super) out: Vec<Output>,
    /// The requests of the last frame.
    pub(super) last: Vec<Value>,
}

impl Node {
    pub(super) fn new(config: FollowerConfig) -> Self {
        Self { follower: Follower::new(config), out: Vec::new(), last: Vec::new() }
    }

    /// A follower of the listed pool that is live, and has published it and block 10.
    pub(super) fn live() -> Self {
        let pools = vec![listing::parse(LISTED).unwrap()];
        let config = FollowerConfig { pools, from_block: Some(10), ..Default::default() };
        let mut node = Self::new(config);
        let newest = node.connect();
        let asked = node.answer(&newest[0], &block(10, 0, 0));
        node.answer(&asked[0], &json!([]));
        assert!(node.follower.is_live());
        node
    }

    pub(super) fn connect(&mut self) -> Vec<Value> {
        let subscriptions = self.prepare();
        self.answer(&subscriptions[0], &json!("0xa"));
        self.answer(&subscriptions[1], &json!("0xb"))
    }

    /// A connection of the right chain; the requests that follow.
    pub(super) fn prepare(&mut self) -> Vec<Value> {
        let chain = requests(&self.follower.start());
        self.answer(&chain[0], &json!("0x1"))
    }

    pub(super) fn take(&mut self, frame: &Value) -> Vec<Value> {
        let texts = self.follower.take(&frame.to_string(), Timestamp(1), &mut self.out);
        self.last = requests(&texts);
        self.last.clone()
    }

    pub(super) fn answer(&mut self, request: &Value, result: &Value) -> Vec<Value> {
        self.take(&json!({"jsonrpc": "2.0", "id": request["id"], "result": result}))
    }

    pub(super) fn fail(&mut self, request: &Value, code: i64, message: &str) -> Vec<Value> {
        let error = json!({"code": code, "message": message});
        self.take(&json!({"jsonrpc": "2.0", "id": request["id"], "error": error}))
    }

    pub(super) fn notify(&mut self, result: &Value) -> Vec<Value> {
        let subscription = if result["topics"].is_null() { "0xa" } else { "0xb" };
        let params = json!({"subscription": subscription, "result": result});
        self.take(&json!({"jsonrpc": "2.0", "method": "eth_subscription", "params": params}))
    }

    /// The records published since: `H12` a head, `S12` a swap, `R12` a removal, `P` a pool, or the
    /// reason of a dead letter.
    pub(super) fn published(&mut self) -> Vec<String> {
        let text = |output| match output {
            Output::Head { head, .. } => format!("H{}", head.block_number),
            Output::Swap { swap, .. } if swap.status == SwapStatus::Removed => {
                format!("R{}", swap.block_number.unwrap_or_default())
            }
            Output::Swap { swap, .. } if swap.status == SwapStatus::Pending => "pending".into(),
            Output::Swap { key, swap } => {
                assert_eq!(key, PoolKey::new(1, POOL));
                assert_eq!(
                    swap.block_time.map(|time| time.0),
                    swap.block_number.map(|n| n * 100_000)
                );
                format!("S{}", swap.block_number.unwrap_or_default())
            }
            Output::Pool { .. } => "P".into(),
            Output::DeadLetter(letter) => letter.reason.into(),
            other => format!("{other:?}"),
        };
        std::mem::take(&mut self.out).into_iter().map(text).collect()
    }

    pub(super) fn notices(&mut self) -> Vec<Notice> {
        self.follower.notices().collect()
    }
}

fn requests(texts: &[String]) -> Vec<Value> {
    texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

#[test]
fn a_log_before_its_head_waits_for_its_time() {
    let mut node = Node::live();
    node.notify(&log(11, 0));
    assert_eq!(node.published(), ["P", "H10"]);
    node.notify(&block(11, 0, 0));
    assert_eq!(node.published(), ["S11", "H11"]);
}

#[test]
fn missed_heads_are_asked_for_and_published_in_order() {
    let mut node = Node::live();
    let asked = node.notify(&block(13, 0, 0));
    assert_eq!(node.notices(), [Notice::Gap]);
    node.notify(&block(14, 0, 0));
    let asked = node.answer(&asked[0], &block(12, 0, 0));
    let asked = node.answer(&asked[0], &block(11, 0, 0));
    assert_eq!(asked[0]["method"], "eth_getLogs");
    node.answer(&asked[0], &json!([log(12, 0)]));
    assert_eq!(node.published(), ["P", "H10", "S12", "H11", "H12", "H13", "H14"]);
    assert!(node.follower.is_live());
}

#[test]
fn a_reorganisation_during_an_outage_is_announced_after_its_logs() {
    let mut node = Node::live();
    for number in 10..=12 {
        node.notify(&block(number, 0, 0));
    }
    node.follower.lost();
    node.published();
    let anchor = node.connect();
    assert_eq!(
        (anchor[0]["method"].as_str(), anchor[0]["params"][0].as_str()),
        (Some("eth_getBlockByNumber"), Some("0xc"))
    );
    // Blocks 11 and 12 were replaced, 13 is new.
    let asked = node.answer(&anchor[0], &block(12, 1, 1));
    let asked = node.answer(&asked[0], &block(11, 1, 0));
    let asked = node.answer(&asked[0], &block(13, 1, 1));
    assert_eq!(asked[0]["method"], "eth_getLogs");
    node.answer(&asked[0], &json!([log(12, 1)]));
    assert_eq!(node.published(), ["S12", "H11", "H12", "H13"]);
}

#[test]
fn a_follower_that_begins_at_a_block_announces_the_blocks_since() {
    let pools = vec![listing::parse(LISTED).unwrap()];
    let config = FollowerConfig { pools, from_block: Some(10), ..Default::default() };
    let mut node = Node::new(config);
    let newest = node.connect();
    assert_eq!(newest[0]["params"][0], "latest");
    let mut asked = node.answer(&newest[0], &block(12, 0, 0));
    for number in [11, 10] {
        assert_eq!(asked[0]["params"][0], hash(number, 0));
        asked = node.answer(&asked[0], &block(number, 0, 0));
    }
    assert_eq!(asked[0]["method"], "eth_getLogs");
    node.answer(&asked[0], &json!([log(11, 0)]));
    assert_eq!(node.published(), ["P", "S11", "H10", "H11", "H12"]);
    assert!(node.follower.is_live());
}

#[test]
fn a_follower_without_a_first_block_begins_where_a_reorganisation_may_reach() {
    let pools = vec![listing::parse(LISTED).unwrap()];
    let mut node = Node::new(FollowerConfig { pools, ..Default::default() });
    let mut asked = node.connect();
    for number in (937..=1000).rev() {
        asked = node.answer(&asked[0], &block(number, 0, 0));
    }
    assert_eq!(asked[0]["method"], "eth_getLogs");
    assert_eq!(asked[0]["params"][0]["fromBlock"], "0x3a9");
    node.answer(&asked[0], &json!([]));
    let published = node.published();
    assert_eq!((published.len(), &*published[1], &*published[64]), (65, "H937", "H1000"));
}

#[test]
fn bad_input_is_a_dead_letter_or_has_no_effect() {
    let mut node = Node::live();
    node.published();
    let changed = |field: &str, value: Value| {
        let mut log = log(10, 0);
        log[field] = value;
        log
    };
    for (log, reason) in [
        (changed("data", json!("0x00")), "bad_log"),
        (changed("topics", json!([V3])), "bad_log"),
        (changed("address", json!("0x00000000000000000000000000000000000000aa")), "unknown_pool"),
        (changed("blockNumber", json!("10")), "bad_field"),
        (changed("transactionHash", Value::Null), "missing_field"),
    ] {
        node.notify(&log);
        assert_eq!(node.published(), [reason]);
    }
    node.notify(&changed("topics", json!([hash(1, 1)])));
    assert_eq!(node.notices(), [Notice::Ignored(NoEffect::OtherEvent)]);
    node.notify(&block(10, 0, 0));
    assert_eq!(node.notices(), [Notice::Ignored(NoEffect::RepeatedHead)]);
    node.notify(&changed("removed", json!(true)));
    assert_eq!(node.published(), ["R10"]);
}

#[test]
fn another_chain_publishes_nothing() {
    let pools = vec![listing::parse(LISTED).unwrap()];
    let mut node = Node::new(FollowerConfig { chain: Some(1), pools, ..Default::default() });
    let chain = requests(&node.follower.start());
    assert!(node.answer(&chain[0], &json!("0x89")).is_empty());
    assert_eq!(node.notices(), [Notice::WrongChain { expected: 1, found: 137 }]);
    node.notify(&block(10, 0, 0));
    assert_eq!(node.published(), [""; 0]);
}
