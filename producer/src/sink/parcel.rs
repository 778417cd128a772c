//! A record on its way to Kafka, and its format in the spool.
//!
//! ```text
//! version | target | venue | key | value | (name, text)*      as Avro longs, strings and bytes
//! target  -2 dead letters, -1 events by key, else the partition of events
//! ```
//!
//! The format is self-contained: a later process can publish the record without other state.

use schemas::Timestamp;
use schemas::avro::{self, Reader};

use crate::labels;

/// The form of the bytes.
const VERSION: i64 = 1;
/// Headers that a record may have.
const MAX_HEADERS: i64 = 16;

/// The destination of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To `events`, by key.
    Key,
    /// To `events`, to this partition.
    Partition(i32),
    /// To `dead_letters`, the value alone.
    DeadLetters,
}

/// A record and all that is needed to publish it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel<'a> {
    /// The destination.
    pub target: Target,
    /// Whose it is, for metrics.
    pub venue: &'a str,
    /// The bytes in the wire format.
    pub key: &'a [u8],
    /// The bytes in the wire format, or the raw input.
    pub value: &'a [u8],
    /// The headers of a dead letter.
    pub headers: Vec<(&'a str, &'a str)>,
}

impl<'a> Parcel<'a> {
    /// The bytes in the spool.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.key.len() + self.value.len() + 32);
        avro::long(&mut out, VERSION);
        avro::long(
            &mut out,
            match self.target {
                Target::DeadLetters => -2,
                Target::Key => -1,
                Target::Partition(partition) => i64::from(partition),
            },
        );
        avro::string(&mut out, self.venue);
        avro::bytes(&mut out, self.key);
        avro::bytes(&mut out, self.value);
        avro::long(&mut out, self.headers.len().cast_signed() as i64);
        for (name, text) in &self.headers {
            avro::string(&mut out, name);
            avro::string(&mut out, text);
        }
        out
    }

    /// Out of the spool; `None` when another version wrote it.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.long().ok()? != VERSION {
            return None;
        }
        let target = match reader.long().ok()? {
            -2 => Target::DeadLetters,
            -1 => Target::Key,
            partition => Target::Partition(i32::try_from(partition).ok().filter(|p| *p >= 0)?),
        };
        let venue = text(&mut reader)?;
        let (key, value) = (reader.bytes().ok()?, reader.bytes().ok()?);
        let count = reader.long().ok().filter(|count| (0..=MAX_HEADERS).contains(count))?;
        let headers = (0..count).map(|_| Some((text(&mut reader)?, text(&mut reader)?)));
        let headers = headers.collect::<Option<_>>()?;
        reader.is_empty().then_some(Self { target, venue, key, value, headers })
    }
}

/// The context of a record in the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The destination.
    pub target: Target,
    /// The index of its venue's label in metrics.
    pub label: usize,
    /// Its number in the spool; 0 when it is not from there.
    pub number: u64,
    /// The time of receipt from a feed or of spooling; `None` for replayed records.
    pub received: Option<Timestamp>,
    /// The number of refusals.
    pub sendings: u32,
}

impl Tag {
    /// The tag of a record that is sent for the first time.
    pub fn of(parcel: &Parcel<'_>, number: u64, received: Option<Timestamp>) -> Self {
        let label = labels::exchange(parcel.venue);
        Self { target: parcel.target, label, number, received, sendings: 0 }
    }
}

fn text<'a>(reader: &mut Reader<'a>) -> Option<&'a str> {
    std::str::from_utf8(reader.bytes().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_parcel_survives(
            partition in -2i32..1000, venue: String, key: Vec<u8>, value: Vec<u8>,
            headers in prop::collection::vec(any::<(String, String)>(), 0..5),
        ) {
            let target = match partition {
                -2 => Target::DeadLetters,
                -1 => Target::Key,
                partition => Target::Partition(partition),
            };
            let headers = headers.iter().map(|(name, text)| (&name[..], &text[..])).collect();
            let parcel = Parcel { target, venue: &venue, key: &key, value: &value, headers };
            let bytes = parcel.write();
            prop_assert_eq!(Parcel::read(&bytes), Some(parcel.clone()));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Parcel::read(&bytes);
        }
    }
}
