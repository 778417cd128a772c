//! The parameters of reads of tokens, pools and swaps: chain, addresses, hashes and windows.
//!
//! An address is read in any letter case, because wallets write a checksum in it. The stores and the
//! answers have it in lower case.

use schemas::topic::Topic;

use super::error::{Refusal, Result};
use super::params::Params;
use crate::operators::Interval;

/// Digits of an address: 20 bytes.
const ADDRESS: usize = 40;
/// Digits of a transaction's hash: 32 bytes.
const HASH: usize = 64;
/// Milliseconds of a bucket of `token_5m`.
pub(super) const FIVE_MINUTES_MS: i64 = 300_000;
/// Buckets of `token_5m` in 24 hours.
pub(super) const DAY_BUCKETS: i64 = 288;

/// `0x` and so many hexadecimal digits, in lower case.
fn hex(text: &str, digits: usize) -> Option<String> {
    let rest = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?;
    let is_hex = rest.len() == digits && rest.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| format!("0x{}", rest.to_ascii_lowercase()))
}

/// The address of a token or a pool.
pub(super) fn address(name: &str, text: &str) -> Result<String> {
    hex(text, ADDRESS).ok_or_else(|| {
        let reason = format!("is no address: send 0x and {ADDRESS} hexadecimal digits");
        Refusal::bad(format!("{name}: {:?} {reason}", short(text)))
    })
}

/// The same for a subscription, whose refusals are text.
pub(super) fn is_address(text: &str) -> Option<String> {
    hex(text, ADDRESS)
}

/// The hash of a transaction.
pub(super) fn tx_hash(text: &str) -> Result<String> {
    hex(text, HASH).ok_or_else(|| {
        let reason = format!("is no transaction hash: send 0x and {HASH} hexadecimal digits");
        Refusal::bad(format!("tx: {:?} {reason}", short(text)))
    })
}

/// The beginning of a text of a client, for a refusal.
fn short(text: &str) -> String {
    text.chars().take(HASH + 2).collect()
}

/// The parameter `chain`: a chain id of EIP-155.
pub(super) fn chain(params: &Params) -> Result<Option<i64>> {
    let number = params.number("chain", 1..=i64::MAX.unsigned_abs())?;
    Ok(number.and_then(|number| i64::try_from(number).ok()))
}

/// A window of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenWindow {
    /// A bucket of `token_5m`.
    FiveMinutes,
    /// A bucket of `token_1h`.
    Hour,
    /// The last 288 buckets of `token_5m`.
    Day,
}

impl TokenWindow {
    /// The name in parameters and answers.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
            Self::Day => "24h",
        }
    }

    /// Reads the parameter `window`; the first of `order` without it.
    pub(super) fn read(params: &Params, order: [Self; 3]) -> Result<Self> {
        params.word("window", &order.map(|window| (window.as_str(), window)))
    }

    /// The topic that has its buckets.
    pub(super) const fn topic(self) -> Topic {
        match self {
            Self::FiveMinutes | Self::Day => Topic::Token5m,
            Self::Hour => Topic::Token1h,
        }
    }

    /// Milliseconds of one bucket of that topic.
    pub(super) const fn bucket_ms(self) -> i64 {
        match self {
            Self::FiveMinutes | Self::Day => FIVE_MINUTES_MS,
            Self::Hour => Interval::Hour.length_ms(),
        }
    }

    /// Milliseconds of the whole window.
    pub(super) const fn length_ms(self) -> i64 {
        match self {
            Self::FiveMinutes | Self::Hour => self.bucket_ms(),
            Self::Day => FIVE_MINUTES_MS * DAY_BUCKETS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_in_any_letter_case_and_nothing_else_is_one() {
        let mixed = "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2";
        let lower = mixed.to_ascii_lowercase();
        for text in [mixed, &lower, &mixed.to_ascii_uppercase()] {
            assert_eq!(address("token", text).ok().as_deref(), Some(&*lower), "{text}");
        }
        let longer = format!("{mixed}0");
        for text in ["", "0x", &mixed[2..], &mixed[..41], &longer, &lower.replace('c', "g"), "€"]
        {
            assert!(address("token", text).is_err(), "{text}");
        }
        assert!(tx_hash(&format!("0x{}", "aB".repeat(32))).is_ok());
        assert!(tx_hash(mixed).is_err());
    }
}
