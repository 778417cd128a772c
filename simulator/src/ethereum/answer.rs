//! The requests of JSON-RPC and their answers, with the errors that nodes give.

use std::sync::Arc;

use serde_json::{Value, json};

use super::chain::{Block, Chain};
use super::filter::Filter;
use super::frames;
use super::pool::{Pool, Protocol, Token};
use super::word;

/// Codes of errors: what geth gives, and -32005 as providers limit.
const PARSE: i64 = -32_700;
const NO_METHOD: i64 = -32_601;
const BAD_PARAMS: i64 = -32_602;
const REFUSED: i64 = -32_000;
const LIMITED: i64 = -32_005;
const REVERTED: i64 = 3;
/// Requests in one batch, as with geth.
const MAX_BATCH: usize = 1_000;

/// The effect of a request on the connection or on the chain, apart from a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Control {
    /// Announce heads under this id.
    Heads(String),
    /// Announce logs under this id.
    Logs(String, Filter),
    /// End the subscription of this id.
    Unsubscribe(String),
    /// No more swaps, and no reorganisation but those that are asked for.
    Halt,
    /// A reorganisation of this depth, now.
    Reorganise(u32),
}

/// The answer to a message of a client.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The text to send.
    pub text: String,
    /// Its further effects, in order.
    pub controls: Vec<Control>,
}

struct Failure {
    code: i64,
    message: String,
}

impl Failure {
    fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    fn value(&self) -> Value {
        json!({"code": self.code, "message": self.message})
    }
}

/// Answers a message. `next_id` makes the ids of subscriptions; with `is_limited` every request fails as
/// if the client had asked too often; `may_subscribe` false refuses subscriptions.
pub fn answer(
    chain: &Chain,
    text: &str,
    next_id: &mut impl FnMut() -> String,
    is_limited: bool,
    may_subscribe: bool,
) -> Answer {
    let mut controls = Vec::new();
    let Ok(message) = serde_json::from_str::<Value>(text) else {
        let error = Failure::new(PARSE, "parse error").value();
        return Answer {
            text: json!({"jsonrpc": "2.0", "id": null, "error": error}).to_string(),
            controls,
        };
    };
    let mut one = |request: &Value| {
        let id = request["id"].clone();
        let result = if is_limited {
            Err(Failure::new(LIMITED, "daily request count exceeded, request rate limited"))
        } else if !may_subscribe && request["method"] == "eth_subscribe" {
            Err(Failure::new(REFUSED, "too many subscriptions"))
        } else {
            result(chain, request, next_id, &mut controls)
        };
        match result {
            Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
            Err(failure) => json!({"jsonrpc": "2.0", "id": id, "error": failure.value()}),
        }
    };
    let value = match &message {
        Value::Array(requests) if requests.len() <= MAX_BATCH => requests.iter().map(one).collect(),
        Value::Array(_) => {
            json!({"jsonrpc": "2.0", "id": null, "error": Failure::new(-32_600, "batch too large").value()})
        }
        request => one(request),
    };
    Answer { text: value.to_string(), controls }
}

fn result(
    chain: &Chain,
    request: &Value,
    next_id: &mut impl FnMut() -> String,
    controls: &mut Vec<Control>,
) -> Result<Value, Failure> {
    let (method, params) = (request["method"].as_str().unwrap_or_default(), &request["params"]);
    match method {
        "eth_chainId" => Ok(word::quantity(chain.settings().chain_id).into()),
        "net_version" => Ok(chain.settings().chain_id.to_string().into()),
        "web3_clientVersion" => Ok("simulator".into()),
        "eth_syncing" => Ok(false.into()),
        "eth_blockNumber" => Ok(word::quantity(chain.head().number).into()),
        "eth_getBlockByNumber" => {
            Ok(of_tag(chain, &params[0])?.map_or(Value::Null, |block| frames::block(block)))
        }
        "eth_getBlockByHash" => {
            let block = params[0].as_str().and_then(|hash| chain.block_of(hash));
            Ok(block.map_or(Value::Null, |block| frames::block(block)))
        }
        "eth_getLogs" => logs(chain, &params[0]),
        "eth_call" => call(chain, params),
        "eth_subscribe" => {
            let filter = || Filter::read(&params[1]).map_err(|why| Failure::new(BAD_PARAMS, why));
            let id = next_id();
            controls.push(match params[0].as_str() {
                Some("newHeads") => Control::Heads(id.clone()),
                Some("logs") => Control::Logs(id.clone(), filter()?),
                other => {
                    let name = other.unwrap_or_default();
                    let said = format!("no \"{name}\" subscription in eth namespace");
                    return Err(Failure::new(NO_METHOD, said));
                }
            });
            Ok(id.into())
        }
        "eth_unsubscribe" => {
            controls.push(Control::Unsubscribe(params[0].as_str().unwrap_or_default().to_owned()));
            Ok(true.into())
        }
        // Controls of the simulator, as other simulated nodes have them.
        "simulator_halt" => {
            controls.push(Control::Halt);
            Ok(true.into())
        }
        "simulator_reorganise" => {
            let depth = params[0].as_u64().and_then(|depth| u32::try_from(depth).ok());
            let depth = depth.ok_or_else(|| Failure::new(BAD_PARAMS, "params: [depth], 1 to 5"))?;
            controls.push(Control::Reorganise(depth));
            Ok(true.into())
        }
        _ => {
            let said = format!("the method {method} does not exist/is not available");
            Err(Failure::new(NO_METHOD, said))
        }
    }
}

/// The canonical block of a number or a tag.
fn of_tag<'a>(chain: &'a Chain, tag: &Value) -> Result<Option<&'a Arc<Block>>, Failure> {
    Ok(match tag.as_str() {
        Some("latest" | "pending") => Some(chain.head()),
        Some("safe") => chain.block(chain.head().number.saturating_sub(32)),
        Some("finalized") => chain.block(chain.head().number.saturating_sub(64)),
        Some("earliest") => chain.block(chain.oldest()),
        Some(text) => chain.block(word::number(text).ok_or_else(bad_number)?),
        None => return Err(bad_number()),
    })
}

fn bad_number() -> Failure {
    Failure::new(BAD_PARAMS, "invalid argument 0: hex string without 0x prefix")
}

/// `eth_getLogs`: of a block by its hash, or of a range of canonical blocks.
fn logs(chain: &Chain, filter: &Value) -> Result<Value, Failure> {
    let wanted = Filter::read(filter).map_err(|why| Failure::new(BAD_PARAMS, why))?;
    let most = usize::try_from(chain.settings().max_logs).unwrap_or(usize::MAX);
    let has_range = !(filter["fromBlock"].is_null() && filter["toBlock"].is_null());
    let mut found = Vec::new();
    let mut take = |block: &Block| {
        for log in &block.logs {
            let topics = frames::topics(log, chain.pools());
            if wanted.takes(&chain.pools()[log.pool].address, &topics) {
                found.push(frames::log(chain, block, log, false));
            }
        }
        if found.len() > most {
            // As the providers say it; some name a range that would do.
            let said = format!("query returned more than {most} results");
            return Err(Failure::new(LIMITED, said));
        }
        Ok(())
    };
    if let Some(hash) = filter["blockHash"].as_str() {
        if has_range {
            let said =
                "cannot specify both BlockHash and FromBlock/ToBlock, choose one or the other";
            return Err(Failure::new(BAD_PARAMS, said));
        }
        take(chain.block_of(hash).ok_or_else(|| Failure::new(REFUSED, "unknown block"))?)?;
        return Ok(found.into());
    }
    let head = chain.head().number;
    let bound = |field: &str, default: u64| match filter[field].as_str() {
        None | Some("latest" | "pending") => Ok(default),
        Some("earliest") => Ok(chain.oldest()),
        Some("safe") => Ok(head.saturating_sub(32)),
        Some("finalized") => Ok(head.saturating_sub(64)),
        Some(text) => word::number(text).ok_or_else(bad_number),
    };
    let (from, to) = (bound("fromBlock", head)?, bound("toBlock", head)?);
    if from > to || from > head {
        return Err(Failure::new(REFUSED, "invalid block range params"));
    }
    for number in from.max(chain.oldest())..=to.min(head) {
        if let Some(block) = chain.block(number) {
            take(block)?;
        }
    }
    Ok(found.into())
}

/// `eth_call` of a pool or a token; an address without a contract returns nothing.
fn call(chain: &Chain, params: &Value) -> Result<Value, Failure> {
    let to = params[0]["to"].as_str().unwrap_or_default().to_lowercase();
    let input = params[0]["data"].as_str().or(params[0]["input"].as_str()).unwrap_or_default();
    let selector = input.get(..10).unwrap_or(input);
    let pool = chain.pools().iter().position(|pool| pool.address == to);
    if let Some(index) = pool {
        return of_pool(chain, index, selector).map(|words| format!("0x{words}").into());
    }
    let mut tokens = chain.pools().iter().flat_map(|pool| [&pool.token0, &pool.token1]);
    match tokens.find(|token| token.address == to) {
        Some(token) => of_token(token, selector).map(|words| format!("0x{words}").into()),
        None => Ok("0x".into()),
    }
}

fn reverted() -> Failure {
    Failure::new(REVERTED, "execution reverted")
}

fn of_pool(chain: &Chain, index: usize, selector: &str) -> Result<String, Failure> {
    let pool: &Pool = &chain.pools()[index];
    Ok(match (selector, pool.protocol) {
        ("0x0dfe1681", _) => word::address(&pool.token0.address),
        ("0xd21220a7", _) => word::address(&pool.token1.address),
        ("0xddca3f43", Protocol::V3) => word::unsigned(pool.fee.into()),
        // liquidity(), slot0()
        ("0x1a686502", Protocol::V3) => word::unsigned(chain.guess(index).liquidity),
        ("0x3850c7bd", Protocol::V3) => {
            let now = chain.guess(index);
            let rest = [0, 1, 1, 0, 1].map(word::unsigned).concat();
            [word::unsigned(now.sqrt_price_x96), word::int(now.tick), rest].concat()
        }
        // getReserves()
        ("0x0902f1ac", Protocol::V2) => {
            let time = u128::from(chain.head().time_s);
            [1 << 60, 1 << 61, time].map(word::unsigned).concat()
        }
        _ => return Err(reverted()),
    })
}

fn of_token(token: &Token, selector: &str) -> Result<String, Failure> {
    Ok(match selector {
        "0x313ce567" => word::unsigned(token.decimals.into()),
        "0x95d89b41" if token.has_short_symbol => word::bytes32(&token.symbol),
        "0x95d89b41" => word::string(&token.symbol),
        _ => return Err(reverted()),
    })
}
