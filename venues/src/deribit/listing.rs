//! Deribit's listing of instruments over REST: the request and the answer.
//!
//! ```text
//! → GET /api/v2/public/get_instruments?currency=BTC&expired=false
//! ← {"jsonrpc":"2.0","result":[{"instrument_name":"BTC-24SEP21-40000-P","base_currency":"BTC",
//!    "settlement_currency":"BTC","kind":"option","option_type":"put","strike":40000.0,
//!    "expiration_timestamp":1632470400000,"tick_size":0.0005,"contract_size":1.0,
//!    "is_active":true, …}], …}
//! ```

use std::borrow::Cow;

use schemas::{Right, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::names::class;
use crate::fields::{Numbers, integer, scalar, words};
use crate::instrument::{Class, Instrument};
use crate::malformed::{Result, not_json};
use crate::request::{HttpRequest, Request};

#[derive(Deserialize)]
struct Listing<'a> {
    #[serde(borrow)]
    result: Vec<Listed<'a>>,
}

#[derive(Deserialize)]
struct Listed<'a> {
    #[serde(borrow)]
    instrument_name: Cow<'a, str>,
    base_currency: Cow<'a, str>,
    #[serde(default)]
    is_active: bool,
    settlement_currency: Option<&'a RawValue>,
    expiration_timestamp: Option<&'a RawValue>,
    strike: Option<&'a RawValue>,
    option_type: Option<Cow<'a, str>>,
    contract_size: Option<&'a RawValue>,
    tick_size: Option<&'a RawValue>,
}

/// The requests that list the instruments of currencies.
pub(super) fn requests(currencies: &[String]) -> Vec<Request> {
    let path =
        |currency: &String| format!("/public/get_instruments?currency={currency}&expired=false");
    currencies.iter().map(|one| Request::Http(HttpRequest { path: path(one) })).collect()
}

/// The instruments of the answer to `public/get_instruments`.
pub(super) fn instruments(body: &str) -> Result<Vec<Instrument>> {
    let listing: Listing<'_> = serde_json::from_str(body).map_err(|error| not_json(&error))?;
    listing.result.iter().map(listed).collect()
}

/// A listed instrument. Facts that the venue does not state, or that do not fit, are `None`.
fn listed(listed: &Listed<'_>) -> Result<Instrument> {
    let class = class(&listed.instrument_name);
    let mut numbers = Numbers::default();
    // A perpetual has one in the year 3000.
    let expiry = scalar(listed.expiration_timestamp).filter(|_| class != Class::Perpetual);
    let expiry = expiry.map(|text| integer("expiration_timestamp", Some(text))).transpose()?;
    let right = match (class, listed.option_type.as_deref()) {
        (Class::Option, Some("call")) => Some(Right::Call),
        (Class::Option, Some("put")) => Some(Right::Put),
        _ => None,
    };
    let (name, currency) = (&*listed.instrument_name, &*listed.base_currency);
    Ok(Instrument {
        settlement_currency: words("settlement_currency", listed.settlement_currency)?,
        expiry_time: expiry.map(Timestamp),
        strike: numbers.read("strike", listed.strike)?,
        right,
        contract_size: numbers.read("contract_size", listed.contract_size)?,
        tick_size: numbers.read("tick_size", listed.tick_size)?,
        ..Instrument::new(name, currency, class, listed.is_active)
    })
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
