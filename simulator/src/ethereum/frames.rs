//! Heads and logs as a node writes them.

use serde_json::{Value, json};

use super::chain::{Block, Chain, Log, LogBody, Transaction};
use super::pool::{Pool, Protocol};
use super::word::{address, int, quantity, signed, unsigned};

/// Topics of `Swap` of v2 and v3, of `Sync` of v2, and of `Mint` of v3.
pub(super) const SWAP_V2: &str =
    "0xd78ad95fa46c994b6551d0da85fc275fe613ce37657fb8d5e3d130840159d822";
pub(super) const SWAP_V3: &str =
    "0xc42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67";
const SYNC_V2: &str = "0x1c411e9a96e071241c2f21f7726b17ae89e3cab4c78be50e062b03a9fffbbad1";
const MINT_V3: &str = "0x7a53080ba414158be7ec69b987b5fb7d07dee101fe85488f0853ae16239d0bde";

/// The header of a block, as `newHeads` and `eth_getBlockByHash` have it.
pub(super) fn header(block: &Block) -> Value {
    json!({
        "number": quantity(block.number),
        "hash": block.hash,
        "parentHash": block.parent,
        "timestamp": quantity(block.time_s),
        "gasLimit": "0x1c9c380",
        "gasUsed": quantity(120_000 * u64::try_from(block.logs.len()).unwrap_or_default()),
        "baseFeePerGas": "0x3b9aca00",
        "extraData": "0x",
    })
}

/// A block without the content of its transactions.
pub(super) fn block(block: &Block) -> Value {
    let mut value = header(block);
    let mut hashes: Vec<&str> = block.logs.iter().map(|log| log.transaction.as_str()).collect();
    hashes.dedup();
    value["transactions"] = hashes.into();
    value["uncles"] = json!([]);
    value
}

/// The topics of a log.
pub(super) fn topics(log: &Log, pools: &[Pool]) -> Vec<String> {
    let account = || format!("0x{}", address(&log.sender));
    let both = |topic: &str| vec![topic.to_owned(), account(), account()];
    match (&log.body, pools[log.pool].protocol) {
        (LogBody::Swap(_), Protocol::V2) => both(SWAP_V2),
        (LogBody::Swap(_), Protocol::V3) => both(SWAP_V3),
        (LogBody::Other, Protocol::V2) => vec![SYNC_V2.to_owned()],
        (LogBody::Other, Protocol::V3) => {
            let mut topics = both(MINT_V3);
            topics[2] = format!("0x{}", int(-887_220));
            topics.push(format!("0x{}", int(887_220)));
            topics
        }
    }
}

fn data(log: &Log, pools: &[Pool]) -> String {
    let words = match (&log.body, pools[log.pool].protocol) {
        (LogBody::Swap(swap), Protocol::V3) => vec![
            signed(&swap.amounts[0]),
            signed(&swap.amounts[1]),
            unsigned(swap.sqrt_price_x96),
            unsigned(swap.liquidity),
            int(swap.tick),
        ],
        (LogBody::Swap(swap), Protocol::V2) => {
            let (mut taken, mut given) = (Vec::new(), Vec::new());
            for amount in &swap.amounts {
                let out = amount.strip_prefix('-');
                taken.push(signed(out.map_or(amount.as_str(), |_| "0")));
                given.push(signed(out.unwrap_or("0")));
            }
            [taken, given].concat()
        }
        (LogBody::Other, Protocol::V2) => vec![unsigned(1 << 60), unsigned(1 << 61)],
        (LogBody::Other, Protocol::V3) => {
            vec![address(&log.sender), unsigned(1 << 40), unsigned(7), unsigned(9)]
        }
    };
    format!("0x{}", words.concat())
}

/// A log of a block.
pub(super) fn log(chain: &Chain, block: &Block, log: &Log, removed: bool) -> Value {
    let pools = chain.pools();
    let mut value = json!({
        "address": pools[log.pool].address,
        "topics": topics(log, pools),
        "data": data(log, pools),
        "blockNumber": quantity(block.number),
        "transactionHash": log.transaction,
        "transactionIndex": quantity(log.transaction_index),
        "blockHash": block.hash,
        "logIndex": quantity(log.index),
        "removed": removed,
    });
    if chain.settings().block_timestamps {
        value["blockTimestamp"] = quantity(block.time_s).into();
    }
    value
}

/// The logs of a transaction that waits for a block: the numbers are those of a node that guesses.
pub(super) fn pending(chain: &Chain, transaction: &Transaction) -> Vec<(usize, Value)> {
    let pools = chain.pools();
    let guess = |pool: &usize| {
        let made = Log {
            number: 0,
            index: 0,
            transaction_index: 0,
            transaction: transaction.hash.clone(),
            sender: transaction.sender.clone(),
            pool: *pool,
            body: LogBody::Swap(chain.guess(*pool)),
        };
        let value = json!({
            "address": pools[*pool].address,
            "topics": topics(&made, pools),
            "data": data(&made, pools),
            "blockNumber": null,
            "transactionHash": made.transaction,
            "transactionIndex": null,
            "blockHash": null,
            "logIndex": null,
            "removed": false,
        });
        (*pool, value)
    };
    transaction.pools.iter().map(guess).collect()
}

/// The messages of a subscription.
pub(super) fn notification(subscription: &str, result: &Value) -> String {
    json!({"jsonrpc": "2.0", "method": "eth_subscription",
        "params": {"subscription": subscription, "result": result}})
    .to_string()
}
