//! A client socket: the handshake, and the wait that a refused handshake names.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

/// A handshake that takes longer has failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest wait that a venue may ask for: more is a mistake.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// Bytes of a frame, and of a message of several frames, at most. A snapshot of Coinbase's books is one
/// frame of up to 8 MB; a larger message ends the connection, so a connection holds no more.
const MAX_FRAME_BYTES: usize = 16 << 20;

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
    let limits = WebSocketConfig::default()
        .max_frame_size(Some(MAX_FRAME_BYTES))
        .max_message_size(Some(MAX_FRAME_BYTES));
    // Nagle's algorithm stays on: requests are few, and may share a packet.
    let connecting = connect_async_with_config(url.as_str(), Some(limits), false);
    match timeout(CONNECT_TIMEOUT, connecting).await {
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
    use anyhow::Context;
    use futures_util::{SinkExt, StreamExt};
    use tokio::net::TcpListener;
    use tokio_tungstenite::accept_async;
    use tokio_tungstenite::tungstenite::Message;

    use super::*;

    #[tokio::test]
    async fn a_snapshot_of_eight_megabytes_is_one_frame_and_memory_has_a_bound()
    -> anyhow::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("ws://{}", listener.local_addr()?);
        tokio::spawn(async move {
            let (socket, _) = listener.accept().await?;
            let mut socket = accept_async(socket).await?;
            for bytes in [9_000_000, MAX_FRAME_BYTES + 1] {
                socket.send(Message::text("1".repeat(bytes))).await?;
            }
            anyhow::Ok(())
        });
        let mut socket = connect(url).await?;
        let frame = timeout(CONNECT_TIMEOUT, socket.next()).await?.context("closed")??;
        assert_eq!(frame.len(), 9_000_000);
        let frame = timeout(CONNECT_TIMEOUT, socket.next()).await?.context("closed")?;
        assert!(matches!(frame, Err(Error::Capacity(_))), "{:?}", frame.map(|one| one.len()));
        Ok(())
    }

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
