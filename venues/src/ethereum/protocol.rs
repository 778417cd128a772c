//! JSON-RPC frames, and the texts that they are made of: quantities, hashes, addresses, data.
//!
//! ```text
//! answer        {"id":1,"result":…} or {"id":1,"error":{"code":…,"message":…}}
//! notification  {"method":"eth_subscription","params":{"subscription":"0x…","result":…}}
//! ```

use std::borrow::Cow;
use std::str::FromStr;

use alloy_primitives::{Address, B256, Bytes};
use schemas::{ChainHead, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::malformed::{Malformed, Result, not_json};

/// The method of notifications.
const NOTIFICATION: &str = "eth_subscription";

/// The codes of a call that a contract has refused: of geth, and of nodes in the line of Parity.
const REVERTED: [i64; 2] = [3, -32_015];
/// The words by which nodes of other codes name the errors of the virtual machine.
const OF_MACHINE: [&str; 5] = ["revert", "opcode", "out of gas", "stack", "jump"];

/// A text frame.
#[derive(Debug)]
pub(super) enum Frame<'a> {
    /// The answer to a request; its result is JSON.
    Answer(u64, Result<&'a str, RpcError>),
    /// The result of a subscription.
    Notification {
        /// The id of the subscription.
        subscription: Cow<'a, str>,
        /// JSON.
        result: &'a str,
    },
    /// Neither.
    Other,
}

/// An error as answer.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(super) struct RpcError {
    /// The code of JSON-RPC.
    pub(super) code: i64,
    /// The node's words.
    pub(super) message: String,
}

impl RpcError {
    /// The contract has refused a call. Any other error is one of the node, such as a limit of requests.
    pub(super) fn is_of_contract(&self) -> bool {
        let message = self.message.to_lowercase();
        REVERTED.contains(&self.code) || OF_MACHINE.iter().any(|words| message.contains(words))
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    id: Option<u64>,
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<Params<'a>>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<RpcError>,
}

#[derive(Deserialize)]
struct Params<'a> {
    subscription: Option<Cow<'a, str>>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

/// Reads a frame.
pub(super) fn read(text: &str) -> Result<Frame<'_>> {
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|error| not_json(&error))?;
    if let Some(error) = envelope.error {
        // An error without an id is of no request: the request could not be read.
        return Ok(Frame::Answer(envelope.id.unwrap_or_default(), Err(error)));
    }
    if let Some(id) = envelope.id {
        // A result of null reads as none.
        return Ok(Frame::Answer(id, Ok(envelope.result.map_or("null", RawValue::get))));
    }
    if envelope.method.as_deref() != Some(NOTIFICATION) {
        return Ok(Frame::Other);
    }
    let params = envelope.params.ok_or(Malformed::MissingField("params"))?;
    Ok(Frame::Notification {
        subscription: params.subscription.ok_or(Malformed::MissingField("subscription"))?,
        result: params.result.ok_or(Malformed::MissingField("result"))?.get(),
    })
}

/// Reads JSON of a known shape.
pub(super) fn json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| not_json(&error))
}

/// The header of a block.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header<'a> {
    number: Option<Cow<'a, str>>,
    hash: Option<Cow<'a, str>>,
    parent_hash: Option<Cow<'a, str>>,
    timestamp: Option<Cow<'a, str>>,
}

/// Reads the header of a block; `None` of null, which stands for a block that the node does not know.
pub(super) fn head(text: &str, received_at: Timestamp) -> Result<Option<ChainHead>> {
    let Some(header) = json::<Option<Header<'_>>>(text)? else { return Ok(None) };
    Ok(Some(ChainHead {
        block_number: quantity("number", header.number.as_deref())?,
        block_hash: hash("hash", header.hash.as_deref())?,
        parent_hash: hash("parentHash", header.parent_hash.as_deref())?,
        block_time: time("timestamp", header.timestamp.as_deref())?,
        received_at,
    }))
}

/// The text of a field that must be there.
fn there<'a>(field: &'static str, text: Option<&'a str>) -> Result<&'a str> {
    text.ok_or(Malformed::MissingField(field))
}

/// A number as `0x` and hexadecimal digits.
pub(super) fn quantity(field: &'static str, text: Option<&str>) -> Result<i64> {
    let digits = there(field, text)?.strip_prefix("0x");
    let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    digits.and_then(|digits| i64::from_str_radix(digits, 16).ok()).ok_or(Malformed::BadField(field))
}

/// A time in seconds.
pub(super) fn time(field: &'static str, text: Option<&str>) -> Result<Timestamp> {
    let seconds = quantity(field, text)?;
    seconds.checked_mul(1000).map(Timestamp).ok_or(Malformed::BadField(field))
}

/// 32 bytes, in lower case.
pub(super) fn hash(field: &'static str, text: Option<&str>) -> Result<String> {
    word(field, there(field, text)?).map(|word| format!("{word:#x}"))
}

/// 32 bytes.
pub(super) fn word(field: &'static str, text: &str) -> Result<B256> {
    prefixed(field, text)
}

/// An address, in lower case.
pub(super) fn address(field: &'static str, text: Option<&str>) -> Result<String> {
    prefixed::<Address>(field, there(field, text)?).map(|address| format!("{address:#x}"))
}

/// Bytes of any length.
pub(super) fn data(field: &'static str, text: Option<&str>) -> Result<Bytes> {
    prefixed(field, there(field, text)?)
}

/// The library also reads digits without `0x`, which no node sends.
fn prefixed<T: FromStr>(field: &'static str, text: &str) -> Result<T> {
    let text = if text.starts_with("0x") { text } else { "" };
    if text.is_empty() {
        return Err(Malformed::BadField(field));
    }
    text.parse().map_err(|_| Malformed::BadField(field))
}
