//! As much of HTTP/1.1 as a kept connection to our own views needs: a general client costs more
//! than the reads that are measured.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// More than a head of ours, and less than what an attacker would send.
const MAX_HEAD: usize = 64 << 10;
/// The end of a head.
const BLANK: &[u8] = b"\r\n\r\n";

/// What is looked at of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// How old it says that it is.
    pub(crate) lag_ms: Option<u64>,
}

/// A kept connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(MAX_HEAD) })
    }

    /// Asks, and reads the whole answer.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<Answer> {
        self.buffer.clear();
        self.stream.write_all(request).await?;
        let head = loop {
            if let Some(at) = self.buffer.windows(BLANK.len()).position(|part| part == BLANK) {
                break at + BLANK.len();
            }
            ensure!(self.buffer.len() < MAX_HEAD, "a head of {} bytes", self.buffer.len());
            self.more().await?;
        };
        let text = std::str::from_utf8(&self.buffer[..head])?;
        let field = |name: &str| {
            text.lines().find_map(|line| {
                let (field, value) = line.split_once(':')?;
                field.eq_ignore_ascii_case(name).then(|| value.trim())
            })
        };
        let status = text.split(' ').nth(1).context("no status")?.parse()?;
        let lag_ms = field("lag-ms").and_then(|lag| lag.parse().ok());
        let length: usize = field("content-length").context("no content-length")?.parse()?;
        while self.buffer.len() < head + length {
            self.more().await?;
        }
        Ok(Answer { status, lag_ms })
    }

    async fn more(&mut self) -> Result<()> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            bail!("the connection was closed before the answer");
        }
        Ok(())
    }
}
