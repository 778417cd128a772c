//! A client socket: the handshake, and the wait that a refused handshake names.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// A handshake that takes longer has failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest wait that a venue may ask for: more is a mistake.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// A client's socket.
pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The reason for which there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// The venue is rate limiting.
    #[error("the venue answers {status}: too many requests")]
    Limited {
        /// 429, or 418 for an address that did not listen.
        status: StatusCode,
        /// The time to wait, if the venue names it.
        wait: Option<Duration>,
    },
    /// Anything else.
    #[error("{0}")]
    Other(Box<Error>),
    /// No answer in time.
    #[error("no answer in time")]
    Late,
}

/// Connects to the address.
pub(crate) async fn connect(url: String) -> Result<Socket, Failed> {
    match timeout(CONNECT_TIMEOUT, connect_async(url.as_str())).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(Error::Http(answer)))
            if [StatusCode::TOO_MANY_REQUESTS, StatusCode::IM_A_TEAPOT]
                .contains(&answer.status()) =>
        {
            let wait = retry_after(answer.headers());
            Err(Failed::Limited { status: answer.status(), wait })
        }
        Ok(Err(error)) => Err(Failed::Other(Box::new(error))),
        Err(_) => Err(Failed::Late),
    }
}

/// Seconds, as venues write it; a date is as good as nothing.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    Some(Duration::from_secs(text.trim().parse().ok()?).min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_read_in_seconds_and_bounded() -> anyhow::Result<()> {
        for (text, expected) in [
            ("7", Some(Duration::from_secs(7))),
            ("999999", Some(MAX_RETRY_AFTER)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse()?);
            assert_eq!(retry_after(&headers), expected);
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
        Ok(())
    }
}
