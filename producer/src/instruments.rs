//! What a venue lists, asked before a plan is made.
//!
//! Coinbase, Binance and Deribit answer a request over HTTP; Kraken says it over its feed. A venue
//! that wants to be left alone says for how long, and is asked again then.

use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::{SinkExt, StreamExt};
use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::exchange::{Instrument, Venue, binance, coinbase, kraken};

/// An answer that takes longer is not waited for; the longest listing has some megabytes.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Attempts before a person is told.
const ATTEMPTS: u32 = 5;
/// The wait where the venue names none, and the longest that it may name.
const WAIT: Duration = Duration::from_secs(2);
const MAX_WAIT: Duration = Duration::from_mins(2);

/// Everything that the venue lists; of these currencies only, where they are given.
pub async fn discover(
    venue: Venue,
    rest_url: &str,
    url: &str,
    currencies: &[String],
) -> anyhow::Result<Vec<Instrument>> {
    let mut listed = Vec::new();
    match venue {
        Venue::Kraken => listed = over_feed(url).await?,
        Venue::Coinbase => {
            listed = listing(venue, &format!("{rest_url}{}", coinbase::LISTING)).await?;
        }
        Venue::Binance => {
            listed = listing(venue, &format!("{rest_url}{}", binance::LISTING)).await?;
        }
        Venue::Deribit => {
            for currency in currencies {
                let query = format!("public/get_instruments?currency={currency}&expired=false");
                listed.extend(listing(venue, &format!("{rest_url}/{query}")).await?);
            }
        }
    }
    tracing::info!(venue = venue.as_str(), instruments = listed.len(), "instruments are listed");
    Ok(listed)
}

async fn listing(venue: Venue, url: &str) -> anyhow::Result<Vec<Instrument>> {
    let body = get(url).await?;
    venue.instruments(&body).with_context(|| format!("{url} does not list instruments"))
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
                tracing::warn!(url, %status, ?wait, "the venue wants to be asked later");
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

/// The snapshot of Kraken's channel of instruments.
async fn over_feed(url: &str) -> anyhow::Result<Vec<Instrument>> {
    let ask = async {
        let (mut socket, _) = connect_async(url).await?;
        socket.send(Frame::text(kraken::listing_ask(1))).await?;
        while let Some(frame) = socket.next().await {
            let Frame::Text(text) = frame? else { continue };
            // The acknowledgement names the channel as well, and has no data.
            if text.contains(r#""channel":"instrument""#) && text.contains(r#""data":"#) {
                let _ = socket.close(None).await;
                return Ok(Venue::Kraken.instruments(&text)?);
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
