//! A WebSocket client that waits for what it expects, with a bound.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::stream::MaybeTlsStream;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, connect};

/// The longest wait for one message: heartbeats come more often.
const SILENCE: Duration = Duration::from_secs(30);
/// The longest wait for what is expected.
const EXPECTED: Duration = Duration::from_mins(1);

/// The longest that any test listens: heartbeats alone would keep it waiting for ever.
const LISTENS: Duration = Duration::from_mins(15);

/// A connection.
pub struct Socket {
    opened: Instant,
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
}

/// How a connection that was refused was answered.
pub fn refusal(url: &str, origin: &str) -> Result<u16> {
    let mut request = url.into_client_request()?;
    request.headers_mut().insert("origin", origin.parse()?);
    match connect(request) {
        Err(Error::Http(answer)) => Ok(answer.status().as_u16()),
        Err(error) => Err(error.into()),
        Ok((_, answer)) => Ok(answer.status().as_u16()),
    }
}

impl Socket {
    /// Connects.
    pub fn open(url: &str) -> Result<Self> {
        let (socket, _) = connect(url).with_context(|| url.to_owned())?;
        if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
            stream.set_read_timeout(Some(SILENCE))?;
        }
        Ok(Self { opened: Instant::now(), socket })
    }

    /// Says something.
    pub fn say(&mut self, message: &Value) -> Result<()> {
        self.say_text(&message.to_string())
    }

    /// Says anything.
    pub fn say_text(&mut self, text: &str) -> Result<()> {
        Ok(self.socket.send(Message::text(text))?)
    }

    /// The next message; an error when the other side has closed, with its reason.
    pub fn hear(&mut self) -> Result<Value> {
        ensure!(self.opened.elapsed() < LISTENS, "listened for {} s", LISTENS.as_secs());
        loop {
            match self.socket.read()? {
                Message::Text(text) => return Ok(serde_json::from_str(&text)?),
                Message::Close(frame) => bail!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// The next message of which that is true. Those before it are given to `others`.
    pub fn until(
        &mut self,
        what: &str,
        mut others: impl FnMut(Value),
        is_it: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let started = Instant::now();
        loop {
            ensure!(started.elapsed() < EXPECTED, "waited for {what}");
            let message = self.hear().with_context(|| format!("while waiting for {what}"))?;
            if is_it(&message) {
                return Ok(message);
            }
            others(message);
        }
    }

    /// The next message of a type.
    pub fn typed(&mut self, kind: &str) -> Result<Value> {
        self.until(kind, |_| (), |message| message["type"] == kind)
    }

    /// Reads on until the other side closes, and how it does; `None` when it does so without a word.
    pub fn farewell(&mut self) -> Result<Option<CloseFrame>> {
        let started = Instant::now();
        loop {
            ensure!(started.elapsed() < EXPECTED, "waited for the connection to be closed");
            match self.socket.read() {
                Ok(Message::Close(frame)) => return Ok(frame),
                Ok(_) => {}
                Err(_) => return Ok(None),
            }
        }
    }
}
