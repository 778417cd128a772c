//! The messages of a feed that concern its books.
//!
//! A frame that cannot be read is a message too: a venue without proof would never show that its book
//! has lost one.

use schemas::PairKey;

use super::checksum::Precision;
use super::frame::BookFrame;
use crate::malformed::Result;

/// A message that concerns a book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BookMessage {
    /// A snapshot or an update.
    Frame(PairKey, BookFrame),
    /// A frame of this pair cannot be read: its changes are lost, and the book has to resync.
    Lost(PairKey),
    /// The venue acknowledged the subscription of a book with so many levels a side.
    Depth(PairKey, usize),
    /// The decimals of a pair's prices and sizes.
    Precision(PairKey, Precision),
}

impl BookMessage {
    /// Appends a frame, or notes that it is lost and returns the reason.
    pub(crate) fn push(pair: PairKey, frame: Result<BookFrame>, out: &mut Vec<Self>) -> Result<()> {
        match frame {
            Ok(frame) => out.push(Self::Frame(pair, frame)),
            Err(malformed) => {
                out.push(Self::Lost(pair));
                return Err(malformed);
            }
        }
        Ok(())
    }
}
