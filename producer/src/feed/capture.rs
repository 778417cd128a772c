//! The capture: every frame of a feed, in files that `producer replay` reads.
//!
//! ```text
//! feed (task) ── lines, bounded ──→ capture (thread) ──→ DIR/coinbase-1700000000000000.jsonl.zst
//!
//! {"at_us":1700000000000000,"venue":"coinbase","kind":"open","url":"wss://…","raw":""}
//! {"at_us":…,"venue":"coinbase","kind":"sent","url":"wss://…","raw":"{\"type\":\"subscribe\",…"}
//! {"at_us":…,"venue":"coinbase","kind":"frame","url":"wss://…","raw":"{\"type\":\"match\",…"}
//! ```
//!
//! The line `open` has the streams, the channels and the depth of books: a replay follows the same.
//! With books, a connection that will replace another one has lines of its own, `next_…`, because its
//! books are read while the other connection is published.
//!
//! Of answers to HTTP requests, only snapshots of books and listings are captured: a replay marks the
//! same gaps of trades and fills none.
//!
//! A file is named by the time of its first line, and ends by size or by time. It is a sequence of
//! zstd frames of a few seconds each: a killed process loses the last one.
//!
//! An `ethereum` capture has the requests and answers of the node, and no streams: the answer to
//! `eth_chainId` names its chain.
//!
//! Invariants:
//! - A line has the text and the receive time of a frame, in microseconds, as the feed used them.
//! - The files of a venue exceed the bound by at most one zstd frame: the oldest are deleted.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use serde_json::json;
use tokio::sync::mpsc;

/// Text of a file at most: some ten megabytes packed, which a replay reads in a second.
const FILE_TEXT_BYTES: u64 = 128 << 20;
/// Time of a file at most: an hour of a day is easily found.
const FILE_MICROS: i64 = 3_600_000_000;
/// Text of a zstd frame at most: larger packs little better.
const FRAME_TEXT_BYTES: u64 = 4 << 20;
/// Time of a zstd frame at most: so much is lost when the process is killed.
const FRAME_MICROS: i64 = 10_000_000;
/// The compression level: 3 is the library's default.
const LEVEL: i32 = 3;
/// Lines between feed and thread. Small: a disk that does not keep up holds up the feed.
const CHANNEL: usize = 1024;

/// The end of a file's name.
const SUFFIX: &str = ".jsonl.zst";
/// Digits of the time in a file's name: microseconds since the epoch.
const DIGITS: usize = 16;

schemas::named! {
    /// The kind of a line.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum LineKind {
        /// A connection was made.
        Open = "open",
        /// We sent it.
        Sent = "sent",
        /// The venue sent it.
        Frame = "frame",
        /// The venue answered it to a request for the snapshot of a book, or for its listing.
        Http = "http",
        /// The connection has ended.
        Closed = "closed",
        /// These further streams are subscribed.
        Carry = "carry",
        /// A connection was made that will replace this one.
        NextOpen = "next_open",
        /// The venue sent it over that connection, and it may be of a book.
        Next = "next",
        /// The venue answered it to a request of that connection for the snapshot of a book.
        NextHttp = "next_http",
        /// It is of that connection and was kept until now; its books have been read.
        Kept = "kept",
        /// That connection has taken over.
        TakeOver = "take_over",
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When, in microseconds since the epoch.
    pub at_us: i64,
    /// The kind.
    pub kind: LineKind,
    /// The address.
    pub url: String,
    /// The text as received.
    pub raw: String,
}

/// The venue of a file of a capture, by its name: `<venue>-<16 digits>.jsonl.zst`.
pub fn venue_of_file(name: &str) -> Option<&str> {
    let (venue, at) = name.strip_suffix(SUFFIX)?.rsplit_once('-')?;
    (at.len() == DIGITS && at.bytes().all(|one| one.is_ascii_digit())).then_some(venue)
}

/// The files of one venue.
struct Files {
    dir: PathBuf,
    venue: &'static str,
    max_bytes: u64,
    /// The complete files, the oldest first, with their sizes.
    whole: VecDeque<(PathBuf, u64)>,
    open: Option<Open>,
}

/// The file that is written to.
struct Open {
    path: PathBuf,
    file: File,
    since: i64,
    text_bytes: u64,
    /// The zstd frame at hand, not yet packed.
    frame: Vec<u8>,
    frame_since: i64,
}

impl Files {
    fn new(dir: &Path, venue: &'static str, max_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut whole = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let own = name.to_str().is_some_and(|name| {
                name.starts_with(&format!("{venue}-")) && name.ends_with(SUFFIX)
            });
            if own {
                whole.push((entry.path(), entry.metadata()?.len()));
            }
        }
        whole.sort();
        Ok(Self { dir: dir.into(), venue, max_bytes, whole: whole.into(), open: None })
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        let ended = self.open.as_ref().is_some_and(|open| {
            open.text_bytes >= FILE_TEXT_BYTES || line.at_us - open.since >= FILE_MICROS
        });
        if ended {
            self.finish()?;
        }
        let open = match self.open.take() {
            Some(open) => open,
            None => self.create(line.at_us)?,
        };
        let open = self.open.insert(open);
        let text = json!({
            "at_us": line.at_us, "venue": self.venue, "kind": line.kind.as_str(),
            "url": line.url, "raw": line.raw,
        });
        let before = open.frame.len();
        if before == 0 {
            open.frame_since = line.at_us;
        }
        writeln!(open.frame, "{text}")?;
        open.text_bytes += (open.frame.len() - before) as u64;
        let packs = open.frame.len() as u64 >= FRAME_TEXT_BYTES
            || line.at_us - open.frame_since >= FRAME_MICROS;
        if packs {
            open.pack()?;
            self.keep_bound()?;
        }
        Ok(())
    }

    fn create(&self, at_us: i64) -> io::Result<Open> {
        // A second connection in the same microsecond, or a clock that was set back.
        let path = |at: i64| self.dir.join(format!("{}-{at:0DIGITS$}{SUFFIX}", self.venue));
        let mut free = at_us;
        while path(free).exists() {
            free += 1;
        }
        let path = path(free);
        let file = File::create_new(&path)?;
        Ok(Open { path, file, since: at_us, text_bytes: 0, frame: Vec::new(), frame_since: at_us })
    }

    /// Deletes the oldest files while all together are too large.
    fn keep_bound(&mut self) -> io::Result<()> {
        let open = self.open.as_ref().map(|open| open.file.metadata()).transpose()?;
        let mut bytes = open.map_or(0, |metadata| metadata.len());
        bytes += self.whole.iter().map(|(_, bytes)| bytes).sum::<u64>();
        while bytes > self.max_bytes
            && let Some((oldest, size)) = self.whole.pop_front()
        {
            tracing::warn!(file = %oldest.display(), "the capture is full: its oldest file is deleted");
            fs::remove_file(oldest)?;
            bytes -= size;
        }
        Ok(())
    }

    /// Ends the file at hand.
    fn finish(&mut self) -> io::Result<()> {
        if let Some(mut open) = self.open.take() {
            open.pack()?;
            let bytes = open.file.metadata()?.len();
            self.whole.push_back((open.path, bytes));
            self.keep_bound()?;
        }
        Ok(())
    }
}

impl Open {
    /// Writes the frame at hand.
    fn pack(&mut self) -> io::Result<()> {
        if !self.frame.is_empty() {
            let packed = zstd::bulk::compress(&self.frame, LEVEL)?;
            self.file.write_all(&packed)?;
            self.frame.clear();
        }
        Ok(())
    }
}

/// A capture and its thread.
pub type Capturing = (Capture, JoinHandle<io::Result<()>>);

/// The handle of a capture. Clones write to the same files.
#[derive(Clone, Debug)]
pub struct Capture {
    lines: mpsc::Sender<Line>,
}

impl Capture {
    /// Writes into `dir`, on a thread that ends with the last clone; `max_bytes` bounds the files.
    pub fn start(dir: &Path, venue: &'static str, max_bytes: u64) -> io::Result<Capturing> {
        let mut files = Files::new(dir, venue, max_bytes)?;
        let (lines, mut inbox) = mpsc::channel::<Line>(CHANNEL);
        let shown = dir.display().to_string();
        let work = move || {
            let mut written = || {
                while let Some(line) = inbox.blocking_recv() {
                    files.write(&line)?;
                }
                files.finish()
            };
            let result = written();
            if let Err(error) = &result {
                tracing::error!(dir = shown, %error, "the capture has stopped: make room on the disk and restart");
            }
            result
        };
        let thread = thread::Builder::new().name("capture".into()).spawn(work)?;
        Ok((Self { lines }, thread))
    }

    /// Takes a line; waits while the disk does not keep up. False when nothing is captured any more.
    pub async fn line(&self, at_us: i64, kind: LineKind, url: &str, raw: &str) -> bool {
        let line = Line { at_us, kind, url: url.into(), raw: raw.into() };
        self.lines.send(line).await.is_ok()
    }
}

#[cfg(test)]
#[path = "capture_tests.rs"]
mod tests;
