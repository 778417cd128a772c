//! The retention of a windowed store: it keeps its newest windows.
//!
//! ```text
//! key of a windowed store   n n n n n n | …      n: the number of its segment, big-endian
//!
//!   expired, hidden             kept                  newest: the expiry clock
//! ──────────────────┃───────────────────────────────●
//!                   first_kept = newest - segments
//! ```
//!
//! A segment is a fixed span of window starts. The expiry clock is the largest segment among the changes
//! of the store, which is Kafka Streams' observed stream time: member, standby, view and restore take
//! the same changes from the same topic partition, so they forget the same windows. The topic itself
//! expires by publish time and may hold more.

/// Bytes of a segment's number at the beginning of a store key.
pub const PREFIX: usize = 6;
/// Bits of a segment's number.
pub(crate) const BITS: usize = PREFIX * 8;

/// How far the windows of a store have come, as a processor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpiryClock {
    /// The largest segment among all changes.
    pub newest: u64,
    /// The first segment that has not expired; 0 in a store that is not windowed.
    pub first_kept: u64,
}

/// How many segments a windowed store keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    segments: u64,
}

impl Retention {
    /// Keeps the newest segment and so many before it.
    pub const fn of_segments(segments: u64) -> Self {
        Self { segments }
    }

    /// The number of a key's segment; what a shorter key lacks is zero.
    #[inline]
    pub fn segment(key: &[u8]) -> u64 {
        if let Some(first) = key.first_chunk::<8>() {
            return u64::from_be_bytes(*first) >> 16;
        }
        let mut number = [0; 8];
        let length = key.len().min(PREFIX);
        number[2..2 + length].copy_from_slice(&key[..length]);
        u64::from_be_bytes(number)
    }

    /// The least key of a segment.
    pub const fn first_key(segment: u64) -> [u8; PREFIX] {
        let [_, _, key @ ..] = segment.to_be_bytes();
        key
    }

    /// The first segment that is kept while `newest` is the expiry clock.
    pub const fn first_kept(self, newest: u64) -> u64 {
        newest.saturating_sub(self.segments)
    }

    /// Segments that share a keyspace of fjall: at most a quarter more than what is kept stays on disk.
    pub(crate) const fn span(self) -> u64 {
        let quarter = self.segments / 4;
        if quarter == 0 { 1 } else { quarter }
    }
}
