//! Avro's binary form of what our schemas use, written by hand.
//!
//! The reference implementation builds a tree of values for every record; at a million records
//! a second that tree is most of the cost. Golden bytes and a comparison with the reference
//! implementation hold this file to the specification.
//!
//! | Avro | bytes |
//! |---|---|
//! | long, int, enum index, union branch | zig-zag, then 7 bits a byte, least significant first |
//! | bytes, string | length as long, then the bytes |
//! | decimal | as bytes: the shortest big-endian two's complement of the unscaled value |
//! | record | its fields in order, nothing between |
//! | array | blocks: a count, then so many items; a count of zero ends it |

use crate::Decimal;
use crate::kind::Kind;

/// A type that one of our schemas describes.
pub trait Record: Sized {
    /// The schema.
    const KIND: Kind;
    /// Appends the fields in the schema's order.
    fn write(&self, out: &mut Vec<u8>);
    /// Reads the fields in the schema's order.
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed>;
}

/// The bytes are not a record of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a record of the schema")]
pub struct Malformed;

/// Appends a long (also: an int, an enum's index, a union's branch).
#[inline]
pub fn long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push((rest & 0x7f) as u8);
}

/// Appends a boolean.
pub fn boolean(out: &mut Vec<u8>, value: bool) {
    out.push(u8::from(value));
}

/// Appends bytes with their length.
pub fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    long(out, value.len().cast_signed() as i64);
    out.extend_from_slice(value);
}

/// Appends a string.
pub fn string(out: &mut Vec<u8>, value: &str) {
    bytes(out, value.as_bytes());
}

/// Appends a decimal(38, 18).
pub fn decimal(out: &mut Vec<u8>, value: Decimal) {
    let units = value.units();
    let magnitude = if units < 0 { !units } else { units };
    // One bit more than the magnitude has: the sign.
    let length = (129 - magnitude.leading_zeros() as usize).div_ceil(8);
    bytes(out, &units.to_be_bytes()[16 - length..]);
}

/// Appends `["null", …]`: a branch, then the value of the second branch.
pub fn optional<T>(out: &mut Vec<u8>, value: Option<T>, write: impl FnOnce(&mut Vec<u8>, T)) {
    match value {
        None => long(out, 0),
        Some(value) => {
            long(out, 1);
            write(out, value);
        }
    }
}

/// So many `["null", …]` that are null.
pub fn nulls(out: &mut Vec<u8>, count: usize) {
    out.resize(out.len() + count, 0);
}

/// Appends an array: one block of all items, unless there is none.
pub fn array<T>(out: &mut Vec<u8>, items: &[T], mut write: impl FnMut(&mut Vec<u8>, &T)) {
    if !items.is_empty() {
        long(out, items.len().cast_signed() as i64);
        for item in items {
            write(out, item);
        }
    }
    long(out, 0);
}

/// Takes values off the front of a record's bytes.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from the first byte.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// All bytes have been read.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes that have not been read.
    pub const fn rest(&self) -> &'a [u8] {
        self.0
    }

    #[inline]
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A long.
    #[inline]
    pub fn long(&mut self) -> Result<i64, Malformed> {
        // Nearly all are lengths, branches and symbols: a byte each.
        if let [byte @ 0..0x80, rest @ ..] = self.0 {
            self.0 = rest;
            return Ok(i64::from(byte >> 1) ^ -i64::from(byte & 1));
        }
        self.long_of_many_bytes()
    }

    fn long_of_many_bytes(&mut self) -> Result<i64, Malformed> {
        let mut value = 0u64;
        for (index, &byte) in self.0.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                // The tenth byte has room for one bit.
                if index == 9 && byte > 1 {
                    return Err(Malformed);
                }
                self.0 = &self.0[index + 1..];
                return Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
            }
        }
        Err(Malformed)
    }

    /// A boolean.
    pub fn boolean(&mut self) -> Result<bool, Malformed> {
        match self.take(1)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Malformed),
        }
    }

    /// Bytes.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.long()?).map_err(|_| Malformed)?;
        self.take(length)
    }

    /// A string.
    pub fn string(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed)
    }

    /// A decimal(38, 18).
    #[inline]
    pub fn decimal(&mut self) -> Result<Decimal, Malformed> {
        let bytes = self.bytes()?;
        let first = *bytes.first().ok_or(Malformed)?;
        if bytes.len() > 16 {
            return Err(Malformed);
        }
        let mut filled = if first & 0x80 == 0 { [0; 16] } else { [0xff; 16] };
        filled[16 - bytes.len()..].copy_from_slice(bytes);
        Decimal::from_units(i128::from_be_bytes(filled)).ok_or(Malformed)
    }

    /// `["null", …]`.
    #[inline]
    pub fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        match self.long()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(Malformed),
        }
    }

    /// Passes over so many `["null", …]` that are all null; does nothing when one is not.
    #[inline]
    pub fn nulls(&mut self, count: usize) -> bool {
        let Some((nulls, rest)) = self.0.split_at_checked(count) else { return false };
        let are_null = nulls.iter().all(|byte| *byte == 0);
        if are_null {
            self.0 = rest;
        }
        are_null
    }

    /// An array of at most `most` items. Other writers may split it into blocks, with or without
    /// their sizes.
    pub fn array<T>(
        &mut self,
        most: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let mut items = Vec::new();
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(items);
            }
            if count < 0 {
                // The block's size in bytes, for readers that skip it.
                self.long()?;
            }
            let count = usize::try_from(count.unsigned_abs()).map_err(|_| Malformed)?;
            if count > most - items.len() {
                return Err(Malformed);
            }
            for _ in 0..count {
                items.push(read(self)?);
            }
        }
    }

    /// An enum whose symbols stand for `values`, in order.
    #[inline]
    pub fn symbol<T: Copy>(&mut self, values: &[T]) -> Result<T, Malformed> {
        let index = usize::try_from(self.long()?).map_err(|_| Malformed)?;
        values.get(index).copied().ok_or(Malformed)
    }

    /// A string that names one of a closed set.
    pub fn named<T>(&mut self, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Malformed> {
        parse(self.string()?).ok_or(Malformed)
    }
}
