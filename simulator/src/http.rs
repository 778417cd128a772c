//! The HTTP requests of a simulated venue, on the port of its feed: one GET per connection.

use jiff::fmt::rfc2822::DateTimePrinter;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Headers that are longer are no request of a client that means well.
const MAX_HEAD: usize = 8 * 1024;

static PRINTER: DateTimePrinter = DateTimePrinter::new();

/// The head of a request: enough of it to tell a handshake from a GET.
pub struct Head {
    /// The path, without its query.
    pub path: String,
    query: String,
    /// The client wants a WebSocket.
    pub upgrade: bool,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    status: &'static str,
    retry_after: Option<u64>,
    body: Value,
    form: Form,
}

/// The form of a body.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    /// As JSON.
    Json,
    /// A page, as a proxy in front of a venue answers.
    Page,
    /// The first half of the JSON, and then the connection closes.
    Half,
}

/// The page that stands where JSON should be.
const PAGE: &str = "<!DOCTYPE html><html><body><h1>Just a moment...</h1></body></html>";

impl Response {
    /// A successful answer with this body.
    pub fn ok(body: Value) -> Self {
        Self { status: "200 OK", retry_after: None, body, form: Form::Json }
    }

    /// The venue is broken.
    pub fn broken(body: Value) -> Self {
        Self { status: "500 Internal Server Error", ..Self::ok(body) }
    }

    /// The venue is overloaded.
    pub fn unavailable(body: Value) -> Self {
        Self { status: "503 Service Unavailable", ..Self::ok(body) }
    }

    /// A page instead of JSON.
    pub fn page() -> Self {
        Self { form: Form::Page, ..Self::ok(Value::Null) }
    }

    /// The first half of this answer, and then the connection closes.
    #[must_use]
    pub fn half(self) -> Self {
        Self { form: Form::Half, ..self }
    }

    /// There is no such thing.
    pub fn not_found(body: Value) -> Self {
        Self { status: "404 Not Found", ..Self::ok(body) }
    }

    /// There can be no such thing.
    pub fn bad_request(body: Value) -> Self {
        Self { status: "400 Bad Request", ..Self::ok(body) }
    }

    /// The client asks too often.
    pub fn limited(body: Value) -> Self {
        Self { status: "429 Too Many Requests", ..Self::ok(body) }
    }

    /// The client asked too often, and goes on.
    pub fn banned(body: Value) -> Self {
        Self { status: "418 I'm a teapot", ..Self::ok(body) }
    }

    /// The client must wait for this many seconds.
    #[must_use]
    pub fn after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The seconds that the client must wait, if the answer names them.
    pub fn retry_after(&self) -> Option<u64> {
        self.retry_after
    }

    /// The body.
    pub fn body(&self) -> &Value {
        &self.body
    }
}

/// The part of a path behind the question mark.
pub struct QueryString<'a>(pub &'a str);

impl<'a> QueryString<'a> {
    /// A field's text.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.0
            .split('&')
            .filter_map(|field| field.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// A field that is a whole number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// The number of things asked for, or the usual one, at most `most`.
    pub fn limit(&self, usual: usize, most: usize) -> usize {
        let asked = self.number("limit").or(self.number("count"));
        asked.and_then(|asked| usize::try_from(asked).ok()).map_or(usual, |n| n.min(most))
    }
}

impl Head {
    /// Peeks at the first bytes of a client, without consuming them.
    pub async fn peek(socket: &TcpStream) -> Option<Self> {
        let mut bytes = vec![0; MAX_HEAD];
        let mut seen = 0;
        loop {
            let length = socket.peek(&mut bytes).await.ok()?;
            let text = String::from_utf8_lossy(&bytes[..length]);
            if let Some((head, _)) = text.split_once("\r\n\r\n") {
                return Self::parse(head);
            }
            if length <= seen || length == MAX_HEAD {
                return None;
            }
            seen = length;
            // The bytes that have arrived are ready at once; here the rest is awaited.
            tokio::task::yield_now().await;
        }
    }

    fn parse(head: &str) -> Option<Self> {
        let mut lines = head.lines();
        let target = lines.next()?.strip_prefix("GET ")?.split(' ').next()?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let upgrade = lines.any(|line| {
            let line = line.to_ascii_lowercase();
            line.starts_with("upgrade:") && line.contains("websocket")
        });
        Some(Self { path: path.into(), query: query.into(), upgrade })
    }

    /// The query string.
    pub fn query(&self) -> QueryString<'_> {
        QueryString(&self.query)
    }
}

/// Takes the request and answers it, at that time in microseconds since the epoch.
pub async fn reply(mut socket: TcpStream, answer: &Response, now_us: i64) -> std::io::Result<()> {
    // The request has no body; it is read so that closing does not reset the connection.
    let mut request = vec![0; MAX_HEAD];
    let _ = socket.read(&mut request).await?;
    let (body, kind) = match answer.form {
        Form::Page => (PAGE.to_owned(), "text/html; charset=UTF-8"),
        Form::Json | Form::Half => (answer.body.to_string(), "application/json"),
    };
    let sent = if answer.form == Form::Half { body.len() / 2 } else { body.len() };
    let wait = answer.retry_after.map(|seconds| format!("Retry-After: {seconds}\r\n"));
    let date = jiff::Timestamp::from_microsecond(now_us).unwrap_or_default();
    let date = PRINTER.timestamp_to_rfc9110_string(&date).unwrap_or_default();
    let text = format!(
        "HTTP/1.1 {}\r\nDate: {date}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{}Connection: close\r\n\r\n",
        answer.status,
        body.len(),
        wait.unwrap_or_default(),
    );
    socket.write_all(text.as_bytes()).await?;
    socket.write_all(&body.as_bytes()[..sent]).await?;
    socket.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_is_told_from_a_get() {
        let get = Head::parse("GET /a/b?limit=7&after=9 HTTP/1.1\r\nHost: x").unwrap();
        assert!(!get.upgrade && get.path == "/a/b");
        assert_eq!((get.query().limit(100, 1000), get.query().number("after")), (7, Some(9)));
        assert_eq!(get.query().text("none"), None);
        let upgrade = Head::parse("GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket");
        assert!(upgrade.unwrap().upgrade);
        assert!(Head::parse("POST / HTTP/1.1").is_none());
    }
}
