//! The address of a feed. The path of a node's address may be a key, so only the host is shown.

use std::convert::Infallible;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

/// The value of `--url`.
///
/// ```
/// use producer::plan::feed_url::FeedUrl;
/// let Ok(url) = "wss://user:word@node.example:443/v3/key".parse::<FeedUrl>();
/// assert_eq!(url.to_string(), "wss://node.example:443");
/// assert_eq!(&*url, "wss://user:word@node.example:443/v3/key");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct FeedUrl(String);

impl FeedUrl {
    /// It is the address of a WebSocket.
    pub fn is_socket(&self) -> bool {
        self.starts_with("ws://") || self.starts_with("wss://")
    }
}

impl Deref for FeedUrl {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl FromStr for FeedUrl {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for FeedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.split_once("://").unwrap_or(("", self));
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        if scheme.is_empty() { f.write_str(host) } else { write!(f, "{scheme}://{host}") }
    }
}

impl fmt::Debug for FeedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
