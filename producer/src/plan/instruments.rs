//! The listing of a venue, requested before a plan is made, and again when it changes.
//!
//! Kraken sends its listing over the feed, the others over HTTP. After a rate limit the request is
//! repeated when the venue allows it.

use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::{SinkExt, StreamExt};
use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message as Frame;
use venues::{Instrument, Request, SocketRequest, Venue};

/// An answer that takes longer is not waited for; the longest listing has some megabytes.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Attempts before an error.
const ATTEMPTS: u32 = 5;
/// The wait where the venue names none, and the longest that it may name.
const WAIT: Duration = Duration::from_secs(2);
const MAX_WAIT: Duration = Duration::from_mins(2);

/// An answer of the venue to a request for its listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListingAnswer {
    /// The address of the request.
    pub url: String,
    /// The text as received, for a capture.
    pub body: String,
    /// The instruments in it.
    pub instruments: Vec<Instrument>,
}

impl ListingAnswer {
    /// The instruments of all answers.
    pub fn instruments(answers: &[Self]) -> Vec<Instrument> {
        answers.iter().flat_map(|answer| answer.instruments.iter().cloned()).collect()
    }
}

/// Everything that the venue lists; of these currencies only, where they are given.
pub(crate) async fn discover(
    venue: Venue,
    rest_url: &str,
    url: &str,
    currencies: &[String],
) -> anyhow::Result<Vec<ListingAnswer>> {
    let mut answers = Vec::new();
    for request in (venue.adapter().listing.requests)(currencies) {
        let (from, body) = match request {
            Request::Http(request) => {
                let url = request.url(rest_url);
                let body = get(&url).await?;
                (url, body)
            }
            Request::Socket(request) => (url.to_owned(), over_feed(venue, url, &request).await?),
        };
        let instruments = venue.instruments(&body);
        let instruments =
            instruments.with_context(|| format!("{from} does not list instruments"))?;
        answers.push(ListingAnswer { url: from, body, instruments });
    }
    let instruments: usize = answers.iter().map(|answer| answer.instruments.len()).sum();
    tracing::info!(venue = venue.as_str(), instruments, "instruments are listed");
    Ok(answers)
}

/// The body of an answer, asked for as often and as slowly as the venue wants.
async fn get(url: &str) -> anyhow::Result<String> {
    let client = reqwest::Client::builder().timeout(ANSWER_WITHIN).build()?;
    let mut last = None;
    for _ in 0..ATTEMPTS {
        match client.get(url).send().await {
            Ok(answer) if answer.status().is_success() => {
                return answer.text().await.with_context(|| format!("cannot read {url}"));
            }
            Ok(answer) => {
                let (status, wait) = (answer.status(), retry_after(&answer));
                let passing = status.is_server_error()
                    || [StatusCode::TOO_MANY_REQUESTS, StatusCode::IM_A_TEAPOT].contains(&status);
                if !passing {
                    bail!("{url} answers {status}: check --rest-url and --currency");
                }
                tracing::warn!(url, %status, ?wait, "the venue is rate limiting or unavailable");
                last = Some(anyhow::anyhow!("it answers {status}"));
                sleep(wait).await;
            }
            Err(error) => {
                tracing::warn!(url, %error, "no answer");
                last = Some(error.into());
                sleep(WAIT).await;
            }
        }
    }
    let last = last.unwrap_or_else(|| anyhow::anyhow!("no attempt was made"));
    Err(last).with_context(|| {
        format!("{url} gives no listing: name --products, or check --rest-url and the network")
    })
}

fn retry_after(answer: &reqwest::Response) -> Duration {
    let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let seconds = seconds.and_then(|text| text.parse().ok()).map(Duration::from_secs);
    seconds.unwrap_or(WAIT).min(MAX_WAIT)
}

/// The text frame of the feed that answers a request for the listing.
async fn over_feed(venue: Venue, url: &str, request: &SocketRequest) -> anyhow::Result<String> {
    let ask = async {
        let (mut socket, _) = connect_async(url).await?;
        socket.send(Frame::text(request.text.clone())).await?;
        while let Some(frame) = socket.next().await {
            let Frame::Text(text) = frame? else { continue };
            if (venue.adapter().listing.is_answer)(&text) {
                let _ = socket.close(None).await;
                return Ok(text.as_str().to_owned());
            }
        }
        bail!("the connection was closed before it listed anything")
    };
    timeout(ANSWER_WITHIN, ask)
        .await
        .map_err(|_| anyhow::anyhow!("no answer in {ANSWER_WITHIN:?}"))
        .flatten()
        .with_context(|| format!("{url} gives no listing: name --products, or check --url"))
}
