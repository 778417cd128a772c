//! The best levels of an order book, and the evidence for them.

use crate::avro::{self, Malformed, Reader, Record};
use crate::kind::Kind;
use crate::{Decimal, Timestamp};

crate::named! {
    /// The evidence that a book is the venue's own.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Proof {
        /// The venue's checksum of the state is that of the book.
        Checksum = "CHECKSUM",
        /// The ids of the frames have no gap.
        Sequence = "SEQUENCE",
        /// The venue gives none.
        None = "NONE",
    }
}

/// The size that rests at a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookLevel {
    /// In units of the quote.
    pub price: Decimal,
    /// In units of the base.
    pub size: Decimal,
}

impl BookLevel {
    /// The level of a price and a size, when both are known.
    pub fn of(price: Option<Decimal>, size: Option<Decimal>) -> Option<Self> {
        price.zip(size).map(|(price, size)| Self { price, size })
    }

    fn write(&self, out: &mut Vec<u8>) {
        avro::decimal(out, self.price);
        avro::decimal(out, self.size);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { price: reader.decimal()?, size: reader.decimal()? })
    }
}

/// The best levels of the book of the pair in its key. It replaces the one before as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Book {
    /// From the best to the worst, at most [`Self::MAX_LEVELS`].
    pub bids: Vec<BookLevel>,
    /// From the best to the worst, at most [`Self::MAX_LEVELS`].
    pub asks: Vec<BookLevel>,
    /// The venue's id of this state; `None` where the venue has none.
    pub sequence: Option<i64>,
    /// The evidence for this state.
    pub proof: Proof,
    /// The venue's time of the newest frame; the time of receipt where the frame has none.
    pub event_time: Timestamp,
    /// When we received that frame, by our clock.
    pub received_at: Timestamp,
}

impl Book {
    /// Levels of a side. A record of 25 has about 1 kB: readers show no more, and the topic holds
    /// one a second for each pair until it is compacted. More are not read.
    pub const MAX_LEVELS: usize = 25;
}

impl Record for Book {
    const KIND: Kind = Kind::Book;

    fn write(&self, out: &mut Vec<u8>) {
        for side in [&self.bids, &self.asks] {
            avro::array(out, side, |out, level| level.write(out));
        }
        avro::optional(out, self.sequence, avro::long);
        avro::string(out, self.proof.as_str());
        avro::long(out, self.event_time.0);
        avro::long(out, self.received_at.0);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            bids: reader.array(Self::MAX_LEVELS, BookLevel::read)?,
            asks: reader.array(Self::MAX_LEVELS, BookLevel::read)?,
            sequence: reader.optional(Reader::long)?,
            proof: reader.named(Proof::parse)?,
            event_time: Timestamp(reader.long()?),
            received_at: Timestamp(reader.long()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_book_of_more_levels_than_the_bound_is_malformed() {
        let level = BookLevel { price: Decimal::ONE, size: Decimal::ONE };
        let book = |count| Book {
            bids: vec![level; count],
            asks: Vec::new(),
            sequence: None,
            proof: Proof::None,
            event_time: Timestamp(1),
            received_at: Timestamp(2),
        };
        let read = |count| {
            let mut bytes = Vec::new();
            book(count).write(&mut bytes);
            Book::read(&mut Reader::new(&bytes))
        };
        assert_eq!(read(Book::MAX_LEVELS), Ok(book(Book::MAX_LEVELS)));
        assert_eq!(read(Book::MAX_LEVELS + 1), Err(Malformed));
    }
}
