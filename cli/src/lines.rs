//! Lines of a file or of standard input: of bounded length, and of any bytes.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// The longest line taken. The largest real one, a whole order book, is about 8 MB.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// The first bytes of a zstd file.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Reads one line after the other into the same buffer.
pub struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// The lines of `input`.
    pub fn new(input: R) -> Self {
        Self { input, buffer: Vec::new() }
    }

    /// The next line without its end; bytes that are not UTF-8 show as replacement characters,
    /// and the parser of the line refuses them.
    pub fn next_line(&mut self) -> io::Result<Option<Cow<'_, str>>> {
        self.buffer.clear();
        let read = (&mut self.input).take(MAX_LINE_BYTES).read_until(b'\n', &mut self.buffer)?;
        if read == 0 {
            return Ok(None);
        }
        let ended = self.buffer.ends_with(b"\n");
        if !ended && read as u64 == MAX_LINE_BYTES {
            let reason = format!("a line is longer than {MAX_LINE_BYTES} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        let line = self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer);
        Ok(Some(String::from_utf8_lossy(line)))
    }

    /// A line of the rest is as `is_wanted` says. It is not read further than that line.
    pub fn any(mut self, is_wanted: impl Fn(&str) -> bool) -> io::Result<bool> {
        while let Some(line) = self.next_line()? {
            if is_wanted(&line) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Opens a file, unpacking zstd.
pub fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    unpack(File::open(path)?)
}

/// The bytes of `input`, unpacked if they are zstd, which is known by its first bytes.
pub fn unpack(input: impl Read + 'static) -> io::Result<Box<dyn BufRead>> {
    let mut input = BufReader::new(input);
    if input.fill_buf()?.starts_with(&ZSTD_MAGIC) {
        return Ok(Box::new(BufReader::new(zstd::Decoder::with_buffer(input)?)));
    }
    Ok(Box::new(input))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_needs_no_end_and_bad_bytes_do_not_stop_the_rest() -> io::Result<()> {
        let mut lines = Lines::new(&b"one\n\xff\n\nlast"[..]);
        let mut read = Vec::new();
        while let Some(line) = lines.next_line()? {
            read.push(line.into_owned());
        }
        assert_eq!(read, ["one", "\u{fffd}", "", "last"]);
        Ok(())
    }
}
