//! Cursors of pages whose order has several parts: the first row of the next page, as opaque text.
//!
//! A cursor names a row and not a number of rows, so rows that come or go between two pages neither
//! repeat nor hide another row.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{Refusal, Result};
use super::params::Params;

/// Bytes of a cursor: the longest names of a pair and its currency.
const MAX_CURSOR: usize = 2_048;

/// The text of a row's place.
pub(super) fn write(place: &impl Serialize) -> Result<String> {
    let json = serde_json::to_vec(place).map_err(|error| Refusal::broken(&error))?;
    Ok(URL_SAFE_NO_PAD.encode(json))
}

/// The place of the parameter `cursor`.
pub(super) fn read<T: DeserializeOwned>(params: &Params) -> Result<Option<T>> {
    let Some(text) = params.get("cursor") else {
        return Ok(None);
    };
    let decoded = (text.len() <= MAX_CURSOR).then(|| URL_SAFE_NO_PAD.decode(text).ok()).flatten();
    let place = decoded.and_then(|json| serde_json::from_slice(&json).ok());
    place.map(Some).ok_or_else(refused)
}

/// The refusal of a cursor that this route did not make.
pub(super) fn refused() -> Refusal {
    Refusal::bad(
        "cursor: not a cursor of this server and layout: send next_cursor and the filters unchanged",
    )
}
