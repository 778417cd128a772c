//! Cuts a record that cannot be processed to the size of a dead letter.
//!
//! ```text
//! fits    key, value                        as they came, no header
//! cut     the beginning of key and value    key-bytes, value-bytes, key-sha256, value-sha256
//! ```
//!
//! A record in the source may be as large as its topic takes, and the client or the topic of the dead
//! letters may take less. A copy of the whole record would then be refused at each start, without end.
//! The digests identify the record in its source, and distinguish two cut records.
//!
//! ```
//! use streams::dead_letter::{MAX_BYTES, cut};
//! let fits = cut(b"key", Some(b"value"), MAX_BYTES);
//! assert_eq!((fits.key, fits.value, fits.headers.len()), (&b"key"[..], Some(&b"value"[..]), 0));
//!
//! let junk = vec![7; 1 << 20];
//! let cut = cut(b"key", Some(&junk), MAX_BYTES);
//! assert_eq!(cut.key.len() + cut.value.map_or(0, <[u8]>::len), MAX_BYTES);
//! assert_eq!(cut.headers[1], ("value-bytes", "1048576".to_owned()));
//! ```

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// Key and value of a dead letter together: enough for any record that one of our producers writes,
/// and a sixteenth of what brokers and clients take by default.
pub const MAX_BYTES: usize = 64 << 10;

/// A key gets at most this part of the room, so that something is kept of the value.
const KEY_SHARE: usize = 4;

/// Header: length of the whole key. It is there when the record was cut, and only then.
pub const KEY_BYTES: &str = "key-bytes";
/// Header: length of the whole value. It is there when the record was cut and had a value.
pub const VALUE_BYTES: &str = "value-bytes";
/// Header: SHA-256 of the whole key, in hex. It is there when the key was cut.
pub const KEY_SHA256: &str = "key-sha256";
/// Header: SHA-256 of the whole value, in hex. It is there when the record was cut and had a value.
pub const VALUE_SHA256: &str = "value-sha256";

/// A record as it goes to the dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut<'a> {
    /// The key, or its beginning.
    pub key: &'a [u8],
    /// The value, or its beginning; `None` for a tombstone.
    pub value: Option<&'a [u8]>,
    /// Lengths and digests of the whole record. Empty when it was not cut.
    pub headers: Vec<(&'static str, String)>,
}

/// Cuts a record so that key and value have at most `room` bytes together.
pub fn cut<'a>(key: &'a [u8], value: Option<&'a [u8]>, room: usize) -> Cut<'a> {
    let whole = key.len().saturating_add(value.map_or(0, <[u8]>::len));
    if whole <= room {
        return Cut { key, value, headers: Vec::new() };
    }
    let kept_key = &key[..key.len().min(room / KEY_SHARE)];
    let left = room - kept_key.len();
    let mut headers = vec![(KEY_BYTES, key.len().to_string())];
    if let Some(value) = value {
        headers.push((VALUE_BYTES, value.len().to_string()));
        headers.push((VALUE_SHA256, sha256(value)));
    }
    if kept_key.len() < key.len() {
        headers.push((KEY_SHA256, sha256(key)));
    }
    Cut { key: kept_key, value: value.map(|value| &value[..value.len().min(left)]), headers }
}

fn sha256(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// "abc", from FIPS 180-4.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn the_digest_is_of_the_whole_value() {
        let cut = cut(b"", Some(b"abc"), 2);
        assert_eq!(cut.value, Some(&b"ab"[..]));
        let headers = [(KEY_BYTES, "0"), (VALUE_BYTES, "3"), (VALUE_SHA256, ABC)];
        assert_eq!(cut.headers, headers.map(|(name, value)| (name, value.to_owned())));
    }

    #[test]
    fn a_key_that_was_cut_has_a_digest_and_leaves_room_for_the_value() {
        let cut = cut(b"abc", Some(b"value"), 8 - 1);
        assert_eq!((cut.key, cut.value), (&b"a"[..], Some(&b"value"[..])));
        assert!(cut.headers.contains(&(KEY_SHA256, ABC.to_owned())), "{cut:?}");
    }

    proptest! {
        #[test]
        fn what_is_kept_is_a_beginning_and_fits(
            key in prop::collection::vec(any::<u8>(), 0..40),
            value in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
            room in 0_usize..90,
        ) {
            let cut = cut(&key, value.as_deref(), room);
            let kept = cut.key.len() + cut.value.map_or(0, <[u8]>::len);
            let whole = key.len() + value.as_ref().map_or(0, Vec::len);
            prop_assert!(kept <= room);
            prop_assert!(key.starts_with(cut.key));
            prop_assert_eq!(cut.value.is_some(), value.is_some());
            let value = value.as_deref().unwrap_or_default();
            prop_assert!(value.starts_with(cut.value.unwrap_or_default()));
            prop_assert_eq!(cut.headers.is_empty(), kept == whole);
        }
    }
}
