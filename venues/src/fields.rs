//! Fields of JSON messages: scalars as text, exact decimals, whole numbers.

use schemas::decimal::ParseDecimalError;
use schemas::pair::{NameError, check_name};
use schemas::{Decimal, TakerSide, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::malformed::{Malformed, Result};

/// A number, or the inside of a string without escapes; `None` when absent or `null`.
///
/// Escaped text cannot be a number or a time. It is returned as it is, and its reader refuses it.
pub fn scalar(raw: Option<&RawValue>) -> Option<&str> {
    let text = raw?.get().trim();
    if text == "null" {
        return None;
    }
    Some(text.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(text))
}

/// A decimal of a field that must be there.
pub fn decimal(field: &'static str, text: Option<&str>) -> Result<Decimal> {
    let text = text.ok_or(Malformed::MissingField(field))?;
    text.parse().map_err(|_| Malformed::BadField(field))
}

/// A decimal of a field that may be absent or null.
pub fn optional(field: &'static str, text: Option<&str>) -> Result<Option<Decimal>> {
    text.map(|text| decimal(field, Some(text))).transpose()
}

/// A whole number of a field that must be there.
pub fn integer(field: &'static str, text: Option<&str>) -> Result<i64> {
    let text = text.ok_or(Malformed::MissingField(field))?;
    text.parse().map_err(|_| Malformed::BadField(field))
}

/// A time of a field that must be there.
pub(crate) fn time(field: &'static str, text: Option<&str>) -> Result<Timestamp> {
    let text = text.ok_or(Malformed::MissingField(field))?;
    Timestamp::parse_rfc3339(text).ok_or(Malformed::BadField(field))
}

/// Reads numbers that may be absent, and counts those that do not fit.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    /// Numbers that do not fit [`Decimal`].
    pub(crate) nulls: usize,
}

impl Numbers {
    /// A number; `None` when it is absent, null, or does not fit.
    pub(crate) fn read(
        &mut self,
        field: &'static str,
        raw: Option<&RawValue>,
    ) -> Result<Option<Decimal>> {
        let Some(text) = scalar(raw) else { return Ok(None) };
        match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(ParseDecimalError::OutOfRange) => {
                self.nulls += 1;
                Ok(None)
            }
            Err(ParseDecimalError::Malformed) => Err(Malformed::BadField(field)),
        }
    }
}

/// A name that may be absent, null or empty: a string, or the digits of a number. It obeys the
/// [rule of names](schemas::pair::check_name), because tables store it.
pub(crate) fn words(field: &'static str, raw: Option<&RawValue>) -> Result<Option<String>> {
    let malformed = || Malformed::BadField(field);
    let Some(text) = raw.map(RawValue::get).filter(|text| *text != "null") else {
        return Ok(None);
    };
    let text: String = match text.as_bytes() {
        [b'"', ..] => serde_json::from_str(text).map_err(|_| malformed())?,
        [b'0'..=b'9', ..] => text.to_owned(),
        _ => return Err(malformed()),
    };
    match check_name(text.as_bytes()) {
        Ok(()) => Ok(Some(text)),
        Err(NameError::Empty) => Ok(None),
        Err(_) => Err(malformed()),
    }
}

/// The side of a field that must be there, by the venue's words for buying and selling.
pub(crate) fn side(
    field: &'static str,
    text: Option<&str>,
    [buy, sell]: [&str; 2],
) -> Result<TakerSide> {
    match text.ok_or(Malformed::MissingField(field))? {
        text if text == buy => Ok(TakerSide::Buy),
        text if text == sell => Ok(TakerSide::Sell),
        _ => Err(Malformed::BadField(field)),
    }
}

/// The content of a field that must be there.
pub(crate) fn content<'a, T: Deserialize<'a>>(
    field: &'static str,
    raw: Option<&'a RawValue>,
) -> Result<T> {
    let raw = raw.ok_or(Malformed::MissingField(field))?;
    serde_json::from_str(raw.get()).map_err(|_| Malformed::BadField(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_numeric_strings_are_the_same_text() -> Result<(), serde_json::Error> {
        for (json, text) in [
            ("1e-8", Some("1e-8")),
            (r#""0.10""#, Some("0.10")),
            ("null", None),
            (
                "12345678901234567890.123456789012345678",
                Some("12345678901234567890.123456789012345678"),
            ),
        ] {
            let raw: &RawValue = serde_json::from_str(json)?;
            assert_eq!(scalar(Some(raw)), text);
        }
        assert_eq!(scalar(None), None);
        Ok(())
    }
}
