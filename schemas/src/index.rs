//! The consolidated price of a pair over exchanges, its members and its legs.

use std::fmt;

use crate::avro::{self, Malformed, Reader};
use crate::fields::{Field, record};
use crate::{Decimal, Timestamp};

record! {
    /// One pair over all exchanges.
    #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct IndexKey {
        /// The priced asset.
        pub base: String,
        /// The asset in which the price is given.
        pub quote: String,
    }
}

impl IndexKey {
    /// The pair of these two names.
    pub fn new(base: impl Into<String>, quote: impl Into<String>) -> Self {
        Self { base: base.into(), quote: quote.into() }
    }
}

impl fmt::Display for IndexKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.base, self.quote)
    }
}

/// One exchange in an index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexMember {
    /// The exchange.
    pub exchange: String,
    /// Its newest price.
    pub price: Decimal,
    /// The exchange's time of that price.
    pub event_time: Timestamp,
    /// Milliseconds from `event_time` to the `as_of` of the index.
    pub age_ms: i64,
    /// It counts for the price.
    pub used: bool,
    /// [`Index::STALE`] or [`Index::OUTLIER`]; `None` of a member that is used.
    pub unused_because: Option<String>,
}

impl Field for IndexMember {
    fn write(&self, out: &mut Vec<u8>) {
        self.exchange.write(out);
        self.price.write(out);
        self.event_time.write(out);
        self.age_ms.write(out);
        self.used.write(out);
        self.unused_because.write(out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            exchange: Field::read(reader)?,
            price: Field::read(reader)?,
            event_time: Field::read(reader)?,
            age_ms: Field::read(reader)?,
            used: Field::read(reader)?,
            unused_because: Field::read(reader)?,
        })
    }
}

impl Field for Vec<IndexMember> {
    fn write(&self, out: &mut Vec<u8>) {
        avro::array(out, self, |out, member| member.write(out));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.array(Index::MAX_MEMBERS, IndexMember::read)
    }
}

record! {
    /// The consolidated price of the pair in its key.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Index {
        /// Lower median of the members that are used; null without one.
        pub price: Option<Decimal>,
        /// Members that count for the price.
        pub used: i64,
        /// Highest minus lowest price of the members that are not stale, outliers too; null without
        /// one.
        pub spread_across_venues: Option<Decimal>,
        /// `lower_median`.
        pub rule: String,
        /// The exchanges with a price of the pair, by name.
        pub members: Vec<IndexMember>,
        /// Stream time of the index task.
        pub as_of: Timestamp,
        /// Of the newest member.
        pub event_time: Timestamp,
    }
}

impl Index {
    /// Members of an index. No pair is traded on more exchanges; a record of so many has 20 kB. More
    /// are not read.
    pub const MAX_MEMBERS: usize = 256;
    /// The rule of the price: of an even number of members the lower of the two in the middle.
    pub const LOWER_MEDIAN: &str = "lower_median";
    /// The reason of a member whose price is too old.
    pub const STALE: &str = "stale";
    /// The reason of a member whose price is too far from the others.
    pub const OUTLIER: &str = "outlier";
}

record! {
    /// The newest price of one exchange, for the index of the pair in its key.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct IndexLeg {
        /// The exchange.
        pub exchange: String,
        /// Its newest price.
        pub price: Decimal,
        /// The exchange's time of that price.
        pub event_time: Timestamp,
    }
}
