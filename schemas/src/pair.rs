//! The key of a market: what is priced, in what, where.
//!
//! Every name (base, quote, exchange, instrument) obeys one rule, [`check_name`]: the producer
//! applies it where it makes a key, the processor again where a record enters. A name that obeys it
//! can be stored by `PostgreSQL`, is written in one way only, and looks like what it is.

use std::fmt;

use unicode_normalization::is_nfc;

use crate::avro::{self, Malformed, Reader, Record};
use crate::kind::Kind;

/// Longest accepted base, quote or exchange, in bytes: the longest real instrument names are
/// under 40, and a bound keeps keys from becoming a way to fill memory.
pub const MAX_PART_BYTES: usize = 128;

/// Why a text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No character.
    #[error("is empty")]
    Empty,
    /// More than [`MAX_PART_BYTES`].
    #[error("is longer than {MAX_PART_BYTES} bytes")]
    TooLong,
    /// Not text.
    #[error("is not UTF-8")]
    NotUtf8,
    /// U+0000..U+001F, U+007F..U+009F: `PostgreSQL` stores no U+0000, and a terminal obeys others.
    #[error("contains a control character")]
    Control,
    /// A line or paragraph separator, or a character that has no glyph of its own: two names that
    /// look the same would be two pairs, and a direction mark reorders what surrounds it.
    #[error("contains an invisible character")]
    Invisible,
    /// White space at an end.
    #[error("begins or ends with white space")]
    Padded,
    /// Not in Unicode's normalization form C: the same text in other bytes would be another pair.
    #[error("is not in Unicode normalization form C")]
    NotNormal,
}

/// Which part of a pair is not a name, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part} {error}")]
pub struct PairError {
    /// `base`, `quote` or `exchange`.
    pub part: &'static str,
    /// The rule that it breaks.
    pub error: NameError,
}

/// The rule of names: 1 to [`MAX_PART_BYTES`] bytes of UTF-8 in normalization form C, without
/// control or invisible characters, and without white space at its ends.
///
/// A printable ASCII name, which nearly all are, costs one pass over its bytes.
///
/// ```
/// use schemas::pair::{NameError, check_name};
/// assert_eq!(check_name(b"BTC-27DEC24-50000-C"), Ok(()));
/// assert_eq!(check_name("币安人生".as_bytes()), Ok(()));
/// assert_eq!(check_name(b"BTC\0"), Err(NameError::Control));
/// ```
pub fn check_name(name: &[u8]) -> Result<(), NameError> {
    let (Some(first), Some(last)) = (name.first(), name.last()) else {
        return Err(NameError::Empty);
    };
    if name.len() > MAX_PART_BYTES {
        return Err(NameError::TooLong);
    }
    if name.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return if *first == b' ' || *last == b' ' { Err(NameError::Padded) } else { Ok(()) };
    }
    check_text(std::str::from_utf8(name).map_err(|_| NameError::NotUtf8)?)
}

fn check_text(name: &str) -> Result<(), NameError> {
    if name.chars().any(char::is_control) {
        return Err(NameError::Control);
    }
    if name.chars().any(is_invisible) {
        return Err(NameError::Invisible);
    }
    if name.trim().len() != name.len() {
        return Err(NameError::Padded);
    }
    if is_nfc(name) { Ok(()) } else { Err(NameError::NotNormal) }
}

/// Separators (Zl, Zp) and format characters (Cf) that have no glyph: soft hyphen, zero-width
/// spaces and joiners, direction marks and their isolates, annotations, tags.
const fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// One pair at one exchange, for example BTC, USD, coinbase.
///
/// A derivative's `base` is the exchange's instrument name (`BTC-27DEC24-50000-C`). The key of a
/// feed's marks has only the exchange.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairKey {
    /// The priced asset.
    pub base: String,
    /// The asset in which the price is given.
    pub quote: String,
    /// Where, in lower case.
    pub exchange: String,
}

impl PairKey {
    /// A key of these three parts, as they are.
    pub fn new(
        base: impl Into<String>,
        quote: impl Into<String>,
        exchange: impl Into<String>,
    ) -> Self {
        Self { base: base.into(), quote: quote.into(), exchange: exchange.into() }
    }

    /// The key under which a feed of `exchange` writes its marks.
    pub fn feed(exchange: impl Into<String>) -> Self {
        Self::new("", "", exchange)
    }

    /// The first part that breaks the rule of names.
    pub fn check(&self) -> Result<(), PairError> {
        let parts = [("base", &self.base), ("quote", &self.quote), ("exchange", &self.exchange)];
        parts.into_iter().try_for_each(|(part, name)| {
            check_name(name.as_bytes()).map_err(|error| PairError { part, error })
        })
    }

    /// The pair, if every part of it is a name.
    pub fn checked(self) -> Result<Self, PairError> {
        self.check().map(|()| self)
    }

    /// Every part is a name.
    pub fn is_valid(&self) -> bool {
        self.check().is_ok()
    }
}

impl fmt::Display for PairKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}@{}", self.base, self.quote, self.exchange)
    }
}

impl Record for PairKey {
    const KIND: Kind = Kind::PairKey;

    fn write(&self, out: &mut Vec<u8>) {
        avro::string(out, &self.base);
        avro::string(out, &self.quote);
        avro::string(out, &self.exchange);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let base = reader.string()?.to_owned();
        let quote = reader.string()?.to_owned();
        let exchange = reader.string()?.to_owned();
        Ok(Self { base, quote, exchange })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_rule_of_names_refuses_what_breaks_it() {
        let cases: [(&[u8], NameError); 15] = [
            (b"", NameError::Empty),
            (&[b'x'; MAX_PART_BYTES + 1], NameError::TooLong),
            (b"BTC\xff", NameError::NotUtf8),
            (b"\xed\xa0\x80", NameError::NotUtf8),
            (b"BTC\0", NameError::Control),
            (b"B\tC", NameError::Control),
            (b"BTC\x7f", NameError::Control),
            ("BTC\u{85}".as_bytes(), NameError::Control),
            ("B\u{200b}TC".as_bytes(), NameError::Invisible),
            ("B\u{202e}TC".as_bytes(), NameError::Invisible),
            ("BTC\u{2028}".as_bytes(), NameError::Invisible),
            (b" BTC", NameError::Padded),
            (b"BTC ", NameError::Padded),
            ("BTC\u{a0}".as_bytes(), NameError::Padded),
            ("E\u{301}".as_bytes(), NameError::NotNormal),
        ];
        for (name, error) in cases {
            assert_eq!(check_name(name), Err(error), "{name:?}");
        }
    }

    #[test]
    fn the_names_that_venues_have_are_names() {
        let longest = "x".repeat(MAX_PART_BYTES);
        for name in
            ["BTC", "1INCH", "BTC-27DEC24-50000-C", "$X (wrapped)", "币安人生", "É", &longest]
        {
            assert_eq!(check_name(name.as_bytes()), Ok(()), "{name}");
        }
    }

    #[test]
    fn a_pair_says_which_part_is_not_a_name() {
        let error = PairKey::new("BTC", "USD ", "x").checked().unwrap_err();
        assert_eq!(error.to_string(), "quote begins or ends with white space");
        assert!(PairKey::new("BTC", "USD", "x").is_valid());
    }

    proptest! {
        #[test]
        fn the_fast_path_says_what_the_rule_says(name in "[ -~]{1,20}") {
            prop_assert_eq!(check_name(name.as_bytes()), check_text(&name));
        }

        #[test]
        fn arbitrary_bytes_never_panic(name: Vec<u8>) {
            let _ = check_name(&name);
        }
    }
}
