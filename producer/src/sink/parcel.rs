//! A record on its way to Kafka, and its format in the spool.
//!
//! ```text
//! 1 | target | venue | key | value | (name, text)*           as Avro longs, strings and bytes
//!     target  -2 dead letters, -1 events by key, else the partition of events
//! 2 | topic | target | venue | key | value | (name, text)*
//!     topic   1 quotes, 2 books, 3 option_tickers, 4 swaps
//!     target  -1 by key, else the partition
//! ```
//!
//! The format is self-contained: a later process can publish the record without other state. Records of
//! books and tickers have a version of their own, so an older producer reads a spool without them.

use schemas::Timestamp;
use schemas::avro::{self, Reader};
use schemas::topic::Topic;

use crate::labels;

/// The form of events and dead letters.
const VERSION: i64 = 1;
/// The form of records whose topic is named.
const VERSION_WITH_TOPIC: i64 = 2;
/// The target of a dead letter.
const DEAD_LETTERS: i64 = -2;
/// The target of a record that goes to the partition of its key.
const BY_KEY: i64 = -1;
/// Headers that a record may have.
const MAX_HEADERS: i64 = 16;

/// A topic whose records have a pair, an exchange or a pool as key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairTopic {
    /// Trades, price samples and marks.
    Events,
    /// Quotes and marks of books.
    Quotes,
    /// The best levels of books.
    Books,
    /// Tickers, the facts of instruments, and marks of their feeds.
    OptionTickers,
    /// Swaps, heads of chains and the facts of pools.
    Swaps,
}

impl PairTopic {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::Events, Self::Quotes, Self::Books, Self::OptionTickers, Self::Swaps];

    /// The topic in the table of topics.
    pub const fn topic(self) -> Topic {
        match self {
            Self::Events => Topic::Events,
            Self::Quotes => Topic::Quotes,
            Self::Books => Topic::Books,
            Self::OptionTickers => Topic::OptionTickers,
            Self::Swaps => Topic::Swaps,
        }
    }

    /// The topic of a number in the spool.
    fn numbered(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| *topic as i64 == number)
    }
}

/// The destination of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To the topic, by key.
    Key(PairTopic),
    /// To the topic, to this partition.
    Partition(PairTopic, i32),
    /// To `dead_letters`, the value alone.
    DeadLetters,
}

impl Target {
    fn write(self, out: &mut Vec<u8>) {
        let (topic, target) = match self {
            Self::DeadLetters => (PairTopic::Events, DEAD_LETTERS),
            Self::Key(topic) => (topic, BY_KEY),
            Self::Partition(topic, partition) => (topic, i64::from(partition)),
        };
        if topic == PairTopic::Events {
            avro::long(out, VERSION);
        } else {
            avro::long(out, VERSION_WITH_TOPIC);
            avro::long(out, topic as i64);
        }
        avro::long(out, target);
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let topic = match reader.long().ok()? {
            VERSION => PairTopic::Events,
            VERSION_WITH_TOPIC => PairTopic::numbered(reader.long().ok()?)?,
            _ => return None,
        };
        match reader.long().ok()? {
            DEAD_LETTERS => (topic == PairTopic::Events).then_some(Self::DeadLetters),
            BY_KEY => Some(Self::Key(topic)),
            partition => {
                let partition = i32::try_from(partition).ok().filter(|p| *p >= 0)?;
                Some(Self::Partition(topic, partition))
            }
        }
    }
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
        self.target.write(&mut out);
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
        let target = Target::read(&mut reader)?;
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
            partition in -2i32..1000, topic in 0usize..PairTopic::ALL.len(), venue: String, key: Vec<u8>, value: Vec<u8>,
            headers in prop::collection::vec(any::<(String, String)>(), 0..5),
        ) {
            let topic = PairTopic::ALL[topic];
            let target = match partition {
                -2 => Target::DeadLetters,
                -1 => Target::Key(topic),
                partition => Target::Partition(topic, partition),
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

    #[test]
    fn events_keep_the_form_that_older_producers_read() {
        let first = |target| {
            let parcel = Parcel { target, venue: "v", key: b"k", value: b"w", headers: Vec::new() };
            parcel.write()[..3].to_vec()
        };
        // Zigzag: 1 is 2, 2 is 4, -1 is 1, -2 is 3.
        assert_eq!(first(Target::Key(PairTopic::Events)), [2, 1, 2]);
        assert_eq!(first(Target::Partition(PairTopic::Events, 3)), [2, 6, 2]);
        assert_eq!(first(Target::DeadLetters), [2, 3, 2]);
        assert_eq!(first(Target::Key(PairTopic::Quotes)), [4, 2, 1]);
        assert_eq!(first(Target::Key(PairTopic::Books)), [4, 4, 1]);
        assert_eq!(first(Target::Partition(PairTopic::Quotes, 3)), [4, 2, 6]);
        assert_eq!(first(Target::Key(PairTopic::OptionTickers)), [4, 6, 1]);
        assert_eq!(first(Target::Key(PairTopic::Swaps)), [4, 8, 1]);
    }
}
