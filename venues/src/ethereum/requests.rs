//! The requests of a connection: their texts, and which of them still lack an answer.
//!
//! In a replay the texts go nowhere. The recorder's own requests, which stand in the capture, say which
//! requests were sent and under which ids.

use alloy_primitives::hex;
use alloy_sol_types::SolCall;
use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::abi::{Token, V2, V3};
use super::decode::TOPICS;
use super::protocol::quantity;

/// Requests without an answer. The follower itself has a few hundred; the bound is for captures.
const MAX_PENDING: usize = 4096;

schemas::named! {
    /// A function of a pool or of a token.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(super) enum Call {
        /// The first token of a pool.
        Token0 = "token0",
        /// The second token of a pool.
        Token1 = "token1",
        /// The fee of a pool of version 3.
        Fee = "fee",
        /// The digits of a token.
        Decimals = "decimals",
        /// The symbol of a token.
        Symbol = "symbol",
    }
}

impl Call {
    /// The data of the call.
    fn selector(self) -> [u8; 4] {
        match self {
            Self::Token0 => V2::token0Call::SELECTOR,
            Self::Token1 => V2::token1Call::SELECTOR,
            Self::Fee => V3::feeCall::SELECTOR,
            Self::Decimals => Token::decimalsCall::SELECTOR,
            Self::Symbol => Token::symbolCall::SELECTOR,
        }
    }

    fn of_data(data: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|call| hex::encode_prefixed(call.selector()) == data)
    }
}

/// A request. The addresses of a request for logs are those of the followed pools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// The chain of the node.
    Chain,
    /// Heads as they come.
    Heads,
    /// Logs as they come.
    Logs,
    /// The newest block.
    Latest,
    /// A block by its number.
    Number(i64),
    /// A block by its hash.
    Block(String),
    /// The logs of blocks from a number to a number.
    Range(i64, i64),
    /// A function of a contract.
    Call(String, Call),
}

impl Request {
    /// The method of JSON-RPC.
    pub(super) const fn method(&self) -> &'static str {
        match self {
            Self::Chain => "eth_chainId",
            Self::Heads | Self::Logs => "eth_subscribe",
            Self::Latest | Self::Number(_) => "eth_getBlockByNumber",
            Self::Block(_) => "eth_getBlockByHash",
            Self::Range(..) => "eth_getLogs",
            Self::Call(..) => "eth_call",
        }
    }

    /// An error is not its answer: it is asked again. That of a subscription counts for the owner, and
    /// that of a range says that it was too long.
    pub(super) const fn is_asked_again(&self) -> bool {
        matches!(self, Self::Latest | Self::Number(_) | Self::Block(_) | Self::Call(..))
    }

    /// Nothing but an outage or a gap makes the follower send it.
    const fn is_of_backfill(&self) -> bool {
        matches!(self, Self::Latest | Self::Number(_) | Self::Block(_) | Self::Range(..))
    }

    fn text(&self, id: u64, addresses: &[String]) -> String {
        let number = |number: &i64| format!("{number:#x}");
        let params = match self {
            Self::Chain => json!([]),
            Self::Heads => json!(["newHeads"]),
            Self::Logs => {
                json!(["logs", {"address": addresses, "topics": [TOPICS.map(|topic| topic.to_string())]}])
            }
            Self::Latest => json!(["latest", false]),
            Self::Number(block) => json!([number(block), false]),
            Self::Block(hash) => json!([hash, false]),
            Self::Range(from, to) => json!([{
                "fromBlock": number(from), "toBlock": number(to), "address": addresses,
                "topics": [TOPICS.map(|topic| topic.to_string())],
            }]),
            Self::Call(to, call) => {
                json!([{"to": to, "data": hex::encode_prefixed(call.selector())}, "latest"])
            }
        };
        json!({"jsonrpc": "2.0", "id": id, "method": self.method(), "params": params}).to_string()
    }

    /// The id and the request of a text; `None` of any other request.
    fn parse(text: &str) -> Option<(u64, Self)> {
        #[derive(Deserialize)]
        struct Sent {
            id: u64,
            method: String,
            #[serde(default)]
            params: Vec<Value>,
        }
        let Sent { id, method, params } = serde_json::from_str(text).ok()?;
        let first = params.first().unwrap_or(&Value::Null);
        let number = |value: &Value| quantity("params", value.as_str()).ok();
        let request = match (&*method, first.as_str()) {
            ("eth_chainId", _) => Self::Chain,
            ("eth_subscribe", Some("newHeads")) => Self::Heads,
            ("eth_subscribe", Some("logs")) => Self::Logs,
            ("eth_getBlockByNumber", Some("latest")) => Self::Latest,
            ("eth_getBlockByNumber", Some(_)) => Self::Number(number(first)?),
            ("eth_getBlockByHash", Some(hash)) => Self::Block(hash.to_lowercase()),
            ("eth_getLogs", _) => {
                Self::Range(number(&first["fromBlock"])?, number(&first["toBlock"])?)
            }
            ("eth_call", _) => {
                let call = Call::of_data(first["data"].as_str()?)?;
                Self::Call(first["to"].as_str()?.to_lowercase(), call)
            }
            _ => return None,
        };
        Some((id, request))
    }
}

struct Pending {
    request: Request,
    /// How often it was asked before.
    tries: u8,
    /// Of a replay: the capture has the request.
    is_sent: bool,
}

/// The requests of a connection.
#[derive(Default)]
pub(super) struct Requests {
    last_id: u64,
    pending: FxHashMap<u64, Pending>,
    texts: Vec<String>,
    is_replay: bool,
}

impl Requests {
    /// Of a replay.
    pub(super) fn replay() -> Self {
        Self { is_replay: true, ..Self::default() }
    }

    /// A replay.
    pub(super) const fn is_replay(&self) -> bool {
        self.is_replay
    }

    /// The connection has ended: no answer comes.
    pub(super) fn forget(&mut self) {
        self.pending.clear();
        self.texts.clear();
    }

    fn id_of(&self, request: &Request) -> Option<u64> {
        self.pending.iter().find(|(_, one)| one.request == *request).map(|(id, _)| *id)
    }

    fn next_id(&mut self) -> u64 {
        loop {
            self.last_id += 1;
            if !self.pending.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }

    /// Sends a request, which was sent so often before.
    pub(super) fn send(&mut self, request: Request, tries: u8, addresses: &[String]) {
        if self.is_replay && self.id_of(&request).is_some() {
            return;
        }
        let id = self.next_id();
        if !self.is_replay {
            self.texts.push(request.text(id, addresses));
        }
        self.pending.insert(id, Pending { request, tries, is_sent: false });
    }

    /// The texts to send now.
    pub(super) fn take_texts(&mut self) -> Vec<String> {
        std::mem::take(&mut self.texts)
    }

    /// The request of an answer, and how often it was asked before. It has its answer then.
    pub(super) fn answered(&mut self, id: u64) -> Option<(Request, u8)> {
        self.pending.remove(&id).map(|one| (one.request, one.tries))
    }

    /// A request of the capture, which tells under which id its answer comes.
    pub(super) fn sent(&mut self, text: &str) -> Option<Request> {
        let (id, request) = Request::parse(text)?;
        let own = self.id_of(&request).and_then(|own| self.pending.remove(&own));
        let tries = own.map_or(0, |own| own.tries);
        if self.pending.len() >= MAX_PENDING {
            return None;
        }
        let replaced =
            self.pending.insert(id, Pending { request: request.clone(), tries, is_sent: true });
        if let Some(other) = replaced {
            let id = self.next_id();
            self.pending.insert(id, other);
        }
        Some(request)
    }

    /// Of a replay, before the next frame: what the capture does not have was never sent. True when a
    /// request is gone by that.
    pub(super) fn drop_unsent(&mut self) -> bool {
        let before = self.pending.len();
        if self.is_replay {
            self.pending.retain(|_, one| one.is_sent || !one.request.is_of_backfill());
        }
        self.pending.len() < before
    }
}
