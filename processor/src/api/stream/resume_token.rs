//! The resume token: a client's position as opaque text.
//!
//! ```text
//! base64url( version 1 | channel 1 | hub 8 | tick 8 | topic 8 | (partition 4 | next offset 8)* )
//! ```
//!
//! `hub` and `tick` are the position for the process that made the token. `topic` and the offsets
//! are the position for any process that follows the same topic, but not another topic of the same
//! name.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The version of the format.
const VERSION: u8 = 1;
/// Bytes of one partition.
const ENTRY: usize = 12;
/// Bytes before the partitions.
const HEAD: usize = 26;

/// A client's position in one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResumeToken {
    /// The channel's index.
    pub(super) channel: u8,
    /// The number of the process's hub.
    pub(super) hub: u64,
    /// Its tick: every change up to it was sent.
    pub(super) tick: u64,
    /// A digest of the topic's id; 0 when it is not known.
    pub(super) topic: u64,
    /// Partition and next offset, where known.
    pub(super) offsets: Vec<(i32, i64)>,
}

impl ResumeToken {
    /// As text.
    pub(super) fn write(&self) -> String {
        let mut bytes = Vec::with_capacity(HEAD + ENTRY * self.offsets.len());
        bytes.extend_from_slice(&[VERSION, self.channel]);
        for number in [self.hub, self.tick, self.topic] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        for (partition, offset) in &self.offsets {
            bytes.extend_from_slice(&partition.to_be_bytes());
            bytes.extend_from_slice(&offset.to_be_bytes());
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads what [`Self::write`] wrote.
    pub(super) fn read(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (head, entries) = bytes.split_at_checked(HEAD)?;
        if head[0] != VERSION || entries.len() % ENTRY != 0 {
            return None;
        }
        let number = |at: usize| Some(u64::from_be_bytes(head[at..at + 8].try_into().ok()?));
        let entry = |entry: &[u8]| {
            let (partition, offset) = entry.split_at(4);
            let partition = i32::from_be_bytes(partition.try_into().ok()?);
            Some((partition, i64::from_be_bytes(offset.try_into().ok()?)))
        };
        Some(Self {
            channel: head[1],
            hub: number(2)?,
            tick: number(10)?,
            topic: number(18)?,
            offsets: entries.chunks_exact(ENTRY).map(entry).collect::<Option<_>>()?,
        })
    }
}

/// A digest that is equal in every process: FNV-1a. It distinguishes topics and is not secure.
pub(super) fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_survives(
            channel: u8, hub: u64, tick: u64, topic: u64, offsets: Vec<(i32, i64)>,
        ) {
            let token = ResumeToken { channel, hub, tick, topic, offsets };
            let text = token.write();
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
            prop_assert_eq!(ResumeToken::read(&text), Some(token));
        }

        #[test]
        fn arbitrary_text_is_no_token_and_no_panic(text: String) {
            let _ = ResumeToken::read(&text);
        }
    }
}
