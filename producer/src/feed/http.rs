//! HTTP requests to a venue while feeds run: the client, and the waits that the venue asks for.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER, USER_AGENT};
use reqwest::{Client, RequestBuilder, StatusCode};

/// A request that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A client of the venue's requests.
pub(super) fn client() -> reqwest::Result<Client> {
    Client::builder().timeout(TIMEOUT).build()
}

/// A request for `url`.
pub(super) fn get(client: &Client, url: &str) -> RequestBuilder {
    // Coinbase refuses clients without a user agent.
    client.get(url).header(USER_AGENT, "market-producer")
}

/// The venue is rate limiting.
pub(super) fn is_limit(status: StatusCode) -> bool {
    // 418 is Binance's for an address that went on after 429.
    [StatusCode::TOO_MANY_REQUESTS, StatusCode::IM_A_TEAPOT].contains(&status)
}

/// A later attempt may succeed.
pub(super) fn passes(status: StatusCode) -> bool {
    is_limit(status) || status.is_server_error()
}

/// The time that the venue asks to wait.
pub(super) fn wish(headers: &HeaderMap) -> Duration {
    let wish = headers.get(RETRY_AFTER).and_then(|wish| wish.to_str().ok());
    Duration::from_secs(wish.and_then(|wish| wish.trim().parse().ok()).unwrap_or(0))
}
