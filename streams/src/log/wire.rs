//! Reads and writes the numbers, texts and byte strings of the format. All numbers are little-endian.
//!
//! Reading never panics and never allocates by a length that it has not checked against the input.

/// The length that stands for a tombstone.
const TOMBSTONE: u32 = u32::MAX;

/// Takes values from the front of bytes. `None` is returned where the bytes do not suffice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a>(pub(super) &'a [u8]);

macro_rules! numbers {
    ($($name:ident $type:ty),*) => {$(
        pub(super) fn $name(&mut self) -> Option<$type> {
            let (head, rest) = self.0.split_first_chunk()?;
            self.0 = rest;
            Some(<$type>::from_le_bytes(*head))
        }
    )*};
}

impl<'a> Input<'a> {
    numbers!(u16 u16, u32 u32, u64 u64, i32 i32, i64 i64, u128 u128);

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = self.u16()?;
        std::str::from_utf8(self.take(length.into())?).ok()
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(length as usize)
    }

    /// Takes a tombstone, if it is the next value.
    pub(super) fn is_tombstone(&mut self) -> bool {
        let rest = self.0.strip_prefix(&TOMBSTONE.to_le_bytes());
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The length of a text, which [`super::commit`] has checked.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_u16(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn put_u16(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&u16::try_from(number).unwrap_or(u16::MAX).to_le_bytes());
}

pub(super) fn put_u32(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(out, bytes.len());
    out.extend_from_slice(bytes);
}

pub(super) fn put_value(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => out.extend_from_slice(&TOMBSTONE.to_le_bytes()),
        Some(value) => put_bytes(out, value),
    }
}
