//! Requests to a venue, as values.

/// A request, by its transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Over the socket of the feed.
    Socket(SocketRequest),
    /// Over HTTP.
    Http(HttpRequest),
}

/// A text frame to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketRequest {
    /// The id of the answer, at venues that have ids.
    pub id: u64,
    /// The text frame.
    pub text: String,
}

/// A GET request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// The path and the query, behind an endpoint of the venue.
    pub path: String,
}

impl HttpRequest {
    /// The address of the request at an endpoint.
    pub fn url(&self, endpoint: &str) -> String {
        format!("{}{}", endpoint.trim_end_matches('/'), self.path)
    }
}

/// Requests of at most `chunk` streams each, with ids from `first_id` on.
pub(crate) fn chunked(
    streams: &[String],
    chunk: usize,
    first_id: u64,
    text: impl Fn(&[String], u64) -> String,
) -> Vec<SocketRequest> {
    let chunks = streams.chunks(chunk).zip(first_id..);
    chunks.map(|(part, id)| SocketRequest { id, text: text(part, id) }).collect()
}
