//! The facts of pools by calls: what a contract refuses is a fact, what the node refuses is not.

use schemas::{Pool, PoolProtocol};
use serde_json::{Value, json};

use super::follower_tests::{Node, POOL};
use super::{FollowerConfig, Notice};
use crate::pipeline::Output;

const TOKEN0: &str = "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48";
const TOKEN1: &str = "0x9f8f72aa9304c8b593d555f12ef6589cc3a579a2";

/// A node whose pool is an address; the calls of its facts.
fn asked() -> (Node, Vec<Value>) {
    let config = FollowerConfig { addresses: vec![POOL.into()], ..Default::default() };
    let mut node = Node::new(config);
    let calls = node.prepare();
    assert_eq!(calls.len(), 3);
    (node, calls)
}

fn word(digits: &str) -> Value {
    format!("0x{digits:0>64}").into()
}

fn address(address: &str) -> Value {
    word(&address[2..])
}

/// A string as a contract returns it.
fn string(text: &str) -> Value {
    let bytes = alloy_primitives::hex::encode(text);
    format!("0x{:0>64}{:0>64}{bytes:0<64}", "20", format!("{:x}", text.len())).into()
}

/// Answers the calls of a pool; those of its tokens.
fn tokens(node: &mut Node, calls: &[Value]) -> [Vec<Value>; 2] {
    let first = node.answer(&calls[0], &address(TOKEN0));
    [first, node.answer(&calls[1], &address(TOKEN1))]
}

fn pool(node: &Node) -> &Pool {
    let mut pools = node.out.iter().rev().filter_map(|output| match output {
        Output::Pool { pool, .. } => Some(&**pool),
        _ => None,
    });
    pools.next().unwrap()
}

#[test]
fn symbols_are_strings_or_32_bytes_and_decimals_may_be_missing() {
    let (mut node, calls) = asked();
    let [first, second] = tokens(&mut node, &calls);
    node.answer(&calls[2], &word("bb8"));
    node.answer(&first[0], &word("6"));
    node.answer(&first[1], &string("USDC"));
    node.fail(&second[0], 3, "execution reverted");
    let subscriptions = node.answer(&second[1], &format!("0x{:0<64}", "4d4b52").into());
    assert_eq!(subscriptions.len(), 2, "the facts are complete");
    let pool = pool(&node);
    assert_eq!((pool.symbol0.as_deref(), pool.symbol1.as_deref()), (Some("USDC"), Some("MKR")));
    assert_eq!((pool.decimals0, pool.decimals1), (Some(6), None));
    assert_eq!((pool.fee, pool.usd_token), (Some(3000), Some(0)));
    assert_eq!((&*pool.token0, &*pool.token1), (TOKEN0, TOKEN1));
}

#[test]
fn a_pool_whose_contract_has_no_fee_is_of_version_2() {
    for (code, message) in
        [(3, "execution reverted"), (-32_000, "VM Exception: invalid opcode"), (-32_015, "")]
    {
        let (mut node, calls) = asked();
        let [first, second] = tokens(&mut node, &calls);
        assert!(node.fail(&calls[2], code, message).is_empty(), "{message}");
        node.answer(&first[0], &word("6"));
        // Neither a text nor a name: no symbol.
        node.answer(&first[1], &json!("0x"));
        node.answer(&second[0], &word("12"));
        node.answer(&second[1], &string("a\nb"));
        let pool = pool(&node);
        assert_eq!((pool.protocol, pool.fee), (PoolProtocol::UniswapV2, None));
        assert_eq!((&pool.symbol0, &pool.symbol1), (&None, &None));
    }
}

#[test]
fn a_call_that_the_node_limits_is_asked_again_and_is_no_fact() {
    let (mut node, calls) = asked();
    let [first, second] = tokens(&mut node, &calls);
    let again = node.fail(&calls[2], -32_005, "request rate limited");
    assert_eq!(again[0]["params"], calls[2]["params"]);
    node.answer(&again[0], &word("bb8"));
    for calls in [first, second] {
        node.answer(&calls[0], &word("12"));
        node.answer(&calls[1], &string("T"));
    }
    assert_eq!(pool(&node).protocol, PoolProtocol::UniswapV3);
}

#[test]
fn a_node_that_limits_every_call_is_left_and_the_next_one_is_asked_for_all() {
    let (mut node, calls) = asked();
    let mut call = calls[0].clone();
    for _ in 0..2 {
        call = node.fail(&call, 429, "too many requests").remove(0);
    }
    assert!(node.fail(&call, 429, "too many requests").is_empty());
    let notices = node.notices();
    assert!(notices.contains(&Notice::Reconnect(Notice::NO_ANSWER)), "{notices:?}");
    assert!(!notices.iter().any(|notice| matches!(notice, Notice::PoolRefused { .. })));
    let again = node.prepare();
    assert_eq!(again.len(), 3);
    assert_eq!(again[0]["params"], calls[0]["params"]);
}

#[test]
fn an_address_without_tokens_is_refused_and_without_another_pool_the_owner_stops() {
    for result in [json!("0x"), word("0")] {
        let (mut node, calls) = asked();
        node.answer(&calls[0], &result);
        let reason = Notice::NO_TOKENS;
        let refused = Notice::PoolRefused { pool: POOL.into(), reason };
        assert_eq!(node.notices(), [refused, Notice::NoPools]);
    }
}
