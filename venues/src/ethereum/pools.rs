//! The followed pools: known from a listing, or learned by calls.
//!
//! ```text
//! pool:  token0(), token1(), fee()   ─→  tokens: decimals(), symbol()  ─→  facts
//! ```
//!
//! A pool that has no `fee()` is of version 2.

use alloy_sol_types::SolCall;
use rustc_hash::FxHashMap;
use schemas::pair::check_name;
use schemas::{Pool, PoolKey, PoolProtocol, Timestamp};

use super::abi::{OldToken, Token, V2, V3};
use super::notice::Notice;
use super::protocol::{address, data, json};
use super::requests::{Call, Request};
use super::stablecoins;

/// Bytes of a symbol as old tokens have it.
const WORD: usize = 32;

/// Pools whose facts are asked for; each takes some hundred bytes. The bound is for captures.
const MAX_DRAFTS: usize = 10_000;

/// The answer to a call: its bytes; `None` of an error.
type Answer = Option<Vec<u8>>;

/// A pool whose facts are not complete.
#[derive(Clone, Default)]
#[expect(clippy::option_option, reason = "an answer that has not come, or that states nothing")]
struct Draft {
    tokens: [Option<String>; 2],
    /// `Some(None)`: it has none.
    fee: Option<Option<i64>>,
}

/// A token: `Some(None)` where it states nothing that can be read.
#[derive(Clone, Default)]
#[expect(clippy::option_option, reason = "an answer that has not come, or that states nothing")]
struct TokenFacts {
    decimals: Option<Option<i64>>,
    symbol: Option<Option<String>>,
}

/// The outcome of an answer.
#[derive(Debug, PartialEq)]
pub(super) enum Learned {
    /// The facts of a pool are complete.
    Pool(PoolKey, Box<Pool>),
    /// A pool cannot be followed.
    Refused(String, &'static str),
}

/// The pools of one chain.
#[derive(Default)]
pub(super) struct Pools {
    /// In the order of the configuration.
    listed: Vec<(PoolKey, Pool)>,
    known: FxHashMap<String, PoolProtocol>,
    drafts: FxHashMap<String, Draft>,
    tokens: FxHashMap<String, TokenFacts>,
    stablecoins: Vec<String>,
}

impl Pools {
    /// The pools of a listing; those of other chains are left out when the chain is known.
    pub(super) fn new(listed: Vec<(PoolKey, Pool)>, stablecoins: Vec<String>) -> Self {
        Self { listed, stablecoins, ..Self::default() }
    }

    /// The protocol of a followed pool.
    pub(super) fn protocol(&self, address: &str) -> Option<PoolProtocol> {
        self.known.get(address).copied()
    }

    /// The addresses of the followed pools, in order.
    pub(super) fn addresses(&self) -> Vec<String> {
        let mut addresses: Vec<String> = self.known.keys().cloned().collect();
        addresses.sort();
        addresses
    }

    /// A fact is still asked for.
    pub(super) fn is_asking(&self) -> bool {
        !self.drafts.is_empty()
    }

    /// Follows the listed pools of a chain; returns those that were not followed before.
    pub(super) fn follow(&mut self, chain: i64, at: Timestamp) -> Vec<(PoolKey, Box<Pool>)> {
        let mut begun = Vec::new();
        for (key, pool) in &self.listed {
            if key.chain == chain && !self.known.contains_key(&key.pool) {
                self.known.insert(key.pool.clone(), pool.protocol);
                let pool = Pool { event_time: at, received_at: at, ..pool.clone() };
                begun.push((key.clone(), Box::new(pool)));
            }
        }
        begun
    }

    /// Begins to learn the facts of a pool; the calls for it.
    pub(super) fn ask(&mut self, pool: &str) -> Vec<Request> {
        let is_new = !self.known.contains_key(pool) && !self.drafts.contains_key(pool);
        if !is_new || self.drafts.len() >= MAX_DRAFTS {
            return Vec::new();
        }
        self.drafts.insert(pool.to_owned(), Draft::default());
        [Call::Token0, Call::Token1, Call::Fee].map(|call| Request::Call(pool.into(), call)).into()
    }

    /// The same for pools that a lost connection has left without facts: all is asked again.
    pub(super) fn ask_again(&mut self) -> Vec<Request> {
        let mut pools: Vec<String> = self.drafts.keys().cloned().collect();
        pools.sort();
        self.drafts.clear();
        self.tokens.clear();
        pools.iter().flat_map(|pool| self.ask(pool)).collect()
    }

    /// Takes the answer to a call, as JSON; `None` of an error. Appends further calls.
    pub(super) fn answer(
        &mut self,
        (chain, at): (i64, Timestamp),
        (to, call): (&str, Call),
        result: Option<&str>,
        calls: &mut Vec<Request>,
    ) -> Vec<Learned> {
        let answer = result.and_then(|result| {
            let text: String = json(result).ok()?;
            data("result", Some(&text)).ok().map(|bytes| bytes.to_vec())
        });
        match call {
            Call::Decimals => {
                let facts = self.tokens.entry(to.into()).or_default();
                facts.decimals = Some(decimals(answer));
            }
            Call::Symbol => {
                let facts = self.tokens.entry(to.into()).or_default();
                facts.symbol = Some(symbol(answer));
            }
            Call::Fee => {
                if let Some(draft) = self.drafts.get_mut(to) {
                    draft.fee = Some(fee(answer));
                }
            }
            Call::Token0 | Call::Token1 => {
                let Some(draft) = self.drafts.get_mut(to) else { return Vec::new() };
                let Some(token) = token(answer) else {
                    self.drafts.remove(to);
                    return vec![Learned::Refused(to.into(), Notice::NO_TOKENS)];
                };
                draft.tokens[usize::from(call == Call::Token1)] = Some(token.clone());
                if !self.tokens.contains_key(&token) {
                    self.tokens.insert(token.clone(), TokenFacts::default());
                    let both = [Call::Decimals, Call::Symbol];
                    calls.extend(both.map(|call| Request::Call(token.clone(), call)));
                }
            }
        }
        self.complete(chain, at)
    }

    /// The pools whose facts are complete by now.
    fn complete(&mut self, chain: i64, at: Timestamp) -> Vec<Learned> {
        let mut pools: Vec<(PoolKey, Pool)> = self
            .drafts
            .iter()
            .filter_map(|(address, draft)| {
                let pool = self.pool_of(chain, draft, at)?;
                Some((PoolKey::new(chain, address.as_str()), pool))
            })
            .collect();
        pools.sort_by(|a, b| a.0.cmp(&b.0));
        let mut learned = Vec::new();
        for (key, pool) in pools {
            self.drafts.remove(&key.pool);
            self.known.insert(key.pool.clone(), pool.protocol);
            learned.push(Learned::Pool(key, Box::new(pool)));
        }
        learned
    }

    fn pool_of(&self, chain: i64, draft: &Draft, at: Timestamp) -> Option<Pool> {
        let [Some(token0), Some(token1)] = &draft.tokens else { return None };
        let fee = draft.fee?;
        let facts = |token: &str| {
            let facts = self.tokens.get(token)?;
            Some((facts.decimals?, facts.symbol.clone()?))
        };
        let ((decimals0, symbol0), (decimals1, symbol1)) = (facts(token0)?, facts(token1)?);
        let protocol =
            if fee.is_some() { PoolProtocol::UniswapV3 } else { PoolProtocol::UniswapV2 };
        Some(Pool {
            protocol,
            usd_token: stablecoins::usd_token(chain, [token0, token1], &self.stablecoins),
            token0: token0.clone(),
            token1: token1.clone(),
            fee,
            symbol0,
            symbol1,
            decimals0,
            decimals1,
            event_time: at,
            received_at: at,
        })
    }
}

/// An address that is not zero, in lower case.
fn token(answer: Answer) -> Option<String> {
    let token = V2::token0Call::abi_decode_returns_validate(&answer?).ok()?;
    (!token.is_zero()).then(|| address("token", Some(&format!("{token:#x}"))).ok())?
}

fn fee(answer: Answer) -> Option<i64> {
    V3::feeCall::abi_decode_returns_validate(&answer?).ok().map(|fee| fee.to::<i64>())
}

fn decimals(answer: Answer) -> Option<i64> {
    Token::decimalsCall::abi_decode_returns_validate(&answer?).ok().map(i64::from)
}

/// A symbol of a string, or of 32 bytes as old tokens have it. One that is no name is none: it could not
/// be stored or shown.
fn symbol(answer: Answer) -> Option<String> {
    let answer = answer?;
    let symbol = if answer.len() == WORD {
        let bytes = OldToken::symbolCall::abi_decode_returns(&answer).ok()?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(WORD);
        std::str::from_utf8(&bytes[..end]).ok()?.to_owned()
    } else {
        Token::symbolCall::abi_decode_returns_validate(&answer).ok()?
    };
    check_name(symbol.as_bytes()).is_ok().then_some(symbol)
}
