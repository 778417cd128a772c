//! A node that fails, is behind or is cut off: requests are asked again, and what came stays.

use serde_json::{Value, json};

use super::follower_tests::{LISTED, Node, POOL, block, hash, log};
use super::held::MAX_HELD;
use super::{FollowerConfig, Notice, listing};

/// A node whose follower begins at a block; the request for the newest one.
fn from(block: i64) -> (Node, Vec<Value>) {
    let pools = vec![listing::parse(LISTED).unwrap()];
    let mut node =
        Node::new(FollowerConfig { pools, from_block: Some(block), ..Default::default() });
    let newest = node.connect();
    node.published();
    (node, newest)
}

/// The first and the last block of a request for logs.
fn range(asked: &[Value]) -> [i64; 2] {
    assert_eq!(asked[0]["method"], "eth_getLogs", "{asked:?}");
    let number = |field: &str| {
        let text = asked[0]["params"][0][field].as_str().unwrap_or_default();
        i64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
    };
    [number("fromBlock"), number("toBlock")]
}

/// Answers a request for the newest block and the walk below it.
fn walked(node: &mut Node, newest: i64, first: i64) -> Vec<Value> {
    let mut asked = node.last.clone();
    for number in (first..=newest).rev() {
        asked = node.answer(&asked[0], &block(number, 0, 0));
    }
    asked
}

#[test]
fn a_request_that_fails_is_asked_again_and_at_last_over_another_connection() {
    let mut node = Node::live();
    let first = node.notify(&block(12, 0, 0));
    let second = node.fail(&first[0], -32_005, "limit exceeded");
    assert_eq!((&second[0]["params"], second.len()), (&first[0]["params"], 1));
    assert!(second[0]["id"] != first[0]["id"]);
    let third = node.fail(&second[0], -32_005, "limit exceeded");
    assert!(!node.notices().iter().any(|notice| matches!(notice, Notice::Reconnect(_))));
    assert!(node.fail(&third[0], -32_005, "limit exceeded").is_empty());
    assert!(node.notices().contains(&Notice::Reconnect(Notice::NO_ANSWER)));
    // The gap is filled over the next one, which knows block 12 already.
    node.follower.lost();
    let anchor = node.connect();
    let newest = node.answer(&anchor[0], &block(10, 0, 0));
    let asked = node.answer(&newest[0], &block(12, 0, 0));
    assert_eq!(asked[0]["params"][0], hash(11, 0));
    let logs = node.answer(&asked[0], &block(11, 0, 0));
    node.answer(&logs[0], &json!([]));
    assert_eq!(node.published(), ["P", "H10", "rpc", "rpc", "rpc", "H11", "H12"]);
}

#[test]
fn a_swap_waits_while_the_time_of_its_block_is_asked_again() {
    let (mut node, newest) = from(10);
    node.answer(&newest[0], &block(12, 0, 9));
    let logs = walked(&mut node, 11, 10);
    assert!(logs.is_empty(), "the fork of block 12 has another parent: {logs:?}");
    let (mut node, _) = from(10);
    walked(&mut node, 12, 10);
    // Block 11 was replaced since, and its time is not known.
    let asked = {
        let request = node.last.clone();
        node.answer(&request[0], &json!([log(11, 7)]))
    };
    assert_eq!(asked[0]["params"][0], hash(11, 7));
    let again = node.fail(&asked[0], -32_005, "limit exceeded");
    let again = node.answer(&again[0], &Value::Null);
    assert_eq!(node.published(), ["rpc"]);
    node.answer(&again[0], &block(11, 7, 0));
    assert_eq!(node.published(), ["S11", "H10", "H11", "H12"]);
}

#[test]
fn a_block_that_stays_unknown_ends_the_wait() {
    let (mut node, _) = from(10);
    walked(&mut node, 10, 10);
    let request = node.last.clone();
    let mut asked = node.answer(&request[0], &json!([log(10, 7)]));
    for _ in 0..3 {
        assert_eq!(node.published(), [""; 0]);
        asked = node.answer(&asked[0], &Value::Null);
    }
    assert!(asked.is_empty());
    assert_eq!(node.published(), ["unknown_block", "H10"]);
}

#[test]
fn logs_that_are_refused_or_too_many_are_asked_of_fewer_blocks() {
    let (mut node, _) = from(10);
    let asked = walked(&mut node, 17, 10);
    assert_eq!(range(&asked), [10, 17]);
    let asked = node.fail(&asked[0], -32_005, "query returned more than 10000 results");
    assert_eq!(range(&asked), [10, 13]);
    let many: Vec<Value> = (0..=MAX_HELD / 2).map(|_| log(12, 0)).collect();
    let asked = node.answer(&asked[0], &json!(many));
    assert_eq!((range(&asked), node.published()), ([10, 11], vec!["rpc".into()]));
    let asked = node.answer(&asked[0], &json!([log(11, 0)]));
    assert_eq!(range(&asked), [12, 13]);
    let mut asked = node.fail(&asked[0], -32_005, "too many");
    assert_eq!(range(&asked), [12, 12]);
    // One block has as many as it has.
    asked = node.answer(&asked[0], &json!(many));
    assert_eq!((range(&asked), node.published().len()), ([13, 13], 2 + many.len()));
    node.fail(&asked[0], -32_005, "too many");
    assert!(node.notices().contains(&Notice::Reconnect(Notice::NO_ANSWER)));
}

#[test]
fn a_backfill_that_is_cut_off_goes_on_where_it_was() {
    let (mut node, _) = from(10);
    let newest = 10 + 600;
    // The walk ends after 512 blocks.
    let asked = walked(&mut node, newest, newest - 511);
    let asked = node.answer(&asked[0], &block(newest - 512, 0, 0));
    assert_eq!(range(&asked), [10, 109]);
    let asked = node.answer(&asked[0], &json!([]));
    assert_eq!(range(&asked), [110, 209]);
    node.follower.lost();
    let latest = node.connect();
    // All but the new block is known.
    let asked = node.answer(&latest[0], &block(newest + 1, 0, 0));
    assert_eq!(range(&asked), [110, 209]);
    let mut asked = asked;
    for _ in 0..5 {
        asked = node.answer(&asked[0], &json!([]));
    }
    assert_eq!(range(&asked), [610, newest + 1]);
    // What is not final may be another block by the next time.
    node.follower.lost();
    let latest = node.connect();
    let asked = node.answer(&latest[0], &block(newest + 1, 0, 0));
    assert_eq!(range(&asked)[0], newest + 1 - 64);
}

#[test]
fn a_head_before_the_second_subscription_is_published() {
    let pools = vec![listing::parse(LISTED).unwrap()];
    let config = FollowerConfig { pools, from_block: Some(10), ..Default::default() };
    let mut node = Node::new(config);
    let subscriptions = node.prepare();
    node.answer(&subscriptions[0], &json!("0xa"));
    node.notify(&block(11, 0, 0));
    let newest = node.answer(&subscriptions[1], &json!("0xb"));
    let asked = node.answer(&newest[0], &block(10, 0, 0));
    node.answer(&asked[0], &json!([]));
    assert_eq!(node.published(), ["P", "H10", "H11"]);
}

#[test]
fn a_refused_subscription_asks_for_another_connection_at_once() {
    let pools = vec![listing::parse(LISTED).unwrap()];
    let mut node = Node::new(FollowerConfig { pools, ..Default::default() });
    let subscriptions = node.prepare();
    assert!(node.fail(&subscriptions[1], -32_000, "too many subscriptions").is_empty());
    assert!(node.notices().contains(&Notice::Reconnect(Notice::NOT_SUBSCRIBED)));
}

#[test]
fn a_swap_of_version_2_has_the_amounts_of_the_pool() {
    use schemas::Integer;
    let line = LISTED.replace("\"fee\":3000", "\"protocol\":\"uniswap_v2\"");
    let pools = vec![listing::parse(&line).unwrap()];
    let mut node = Node::new(FollowerConfig { pools, ..Default::default() });
    node.connect();
    node.notify(&block(10, 0, 0));
    node.published();
    let word = |text: &str| format!("{text:0>64}");
    let mut swap = log(10, 0);
    swap["topics"][0] = "0xd78ad95fa46c994b6551d0da85fc275fe613ce37657fb8d5e3d130840159d822".into();
    // In 0x64 and 1, out 0x65 and 0xff…ff.
    let data = [word("64"), word("1"), word("65"), "f".repeat(64)].concat();
    swap["data"] = format!("0x{data}").into();
    node.notify(&swap);
    let crate::pipeline::Output::Swap { key, swap: found } = &node.out[0] else {
        panic!("{:?}", node.out)
    };
    assert_eq!((key.pool.as_str(), found.amount0), (POOL, Integer::from(-1)));
    let least = "-115792089237316195423570985008687907853269984665640564039457584007913129639934";
    assert_eq!(found.amount1.to_string(), least);
    assert_eq!((found.tick, &found.liquidity, &found.sqrt_price_x96), (None, &None, &None));
    node.published();
    // Three words are no swap, and a swap of version 3 is not of this pool.
    swap["data"] = format!("0x{}", word("1").repeat(3)).into();
    node.notify(&swap);
    node.notify(&log(10, 0));
    assert_eq!(node.published(), ["bad_log", "bad_log"]);
}
