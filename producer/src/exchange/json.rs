//! Scalars of JSON as the text that they were sent as.

use serde_json::value::RawValue;

/// A number, or the inside of a string without escapes; `None` when absent or `null`.
///
/// What is escaped cannot be a number or a time, so it is left as it stands and refused by
/// whoever reads it.
pub(crate) fn scalar(raw: Option<&RawValue>) -> Option<&str> {
    let text = raw?.get().trim();
    if text == "null" {
        return None;
    }
    Some(text.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(text))
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
