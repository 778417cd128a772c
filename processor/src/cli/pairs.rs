//! `processor pairs`: a record in the log that ends a pair, or sets one back whose clock ran ahead.
//!
//! The record is a mark whose key is the pair. It goes to the pair's partition, which a member or a
//! view knows, because the writers chose it. Members apply the mark when they process it, so a
//! replay of the log does the same.

use std::io::Write;

use ::cli::secret::Setting;
use anyhow::{Context as _, Result, ensure};
use schemas::topic::Topic;
use schemas::{FeedMark, PairChange, PairKey, Timestamp};
use streams::runtime::{NewRecord, write_records};

use super::client::ApiClient;
use crate::config::{ChangePairs, Format};
use crate::topology::store_name;

/// The feed's name in the mark, for people who read the log.
const FEED: &str = "processor pairs";

/// Prints the records, and writes them with `--yes`.
pub fn run(
    change: PairChange,
    config: &ChangePairs,
    now: Timestamp,
    out: &mut impl Write,
) -> Result<()> {
    let at = config.at.unwrap_or(now);
    ensure!(at <= now, "--at {at} is in the future: it is {now} here");
    let client = ApiClient::new(&config.server)?;
    let found: Vec<(&PairKey, i32)> = config
        .pairs
        .iter()
        .map(|pair| Ok((pair, find(&client, pair, (change, at), out)?)))
        .collect::<Result<_>>()?;
    if !config.yes {
        writeln!(out, "not written: add --yes to write the records")?;
        return Ok(());
    }
    let prefix = &config.kafka.topic_prefix;
    let codec = config.registry.client()?.codec(prefix)?;
    let value = codec.to_bytes(&FeedMark::of_pair(change, FEED, at, now));
    let records: Vec<NewRecord> = found
        .iter()
        .map(|(pair, partition)| NewRecord {
            partition: *partition,
            key: codec.to_bytes(*pair),
            value: value.clone(),
        })
        .collect();
    let topic = Topic::Events.name(config.input_prefix.as_ref().unwrap_or(prefix));
    let settings = Setting::pairs(&config.kafka.settings);
    write_records(&config.kafka.bootstrap_servers, &settings, &topic, &records)?;
    writeln!(out, "written to {topic}: {}", records.len())?;
    Ok(())
}

/// Prints the pair's newest price and the change; returns its partition.
fn find(
    client: &ApiClient,
    pair: &PairKey,
    (change, at): (PairChange, Timestamp),
    out: &mut impl Write,
) -> Result<i32> {
    let parts = [("base", &pair.base), ("quote", &pair.quote), ("exchange", &pair.exchange)];
    let query = parts.map(|(name, part)| (name, part.clone()));
    let answer = client.get("/v1/latest", &query, Format::Json).with_context(|| {
        format!(
            "{pair} was not found: check its name, and set --url to a view, which has all pairs"
        )
    })?;
    let partition = answer.positions.as_deref().and_then(partition).with_context(|| {
        format!("{pair}: the answer does not say its partition; ask a processor of this version")
    })?;
    let latest = answer.json()?;
    let field = |name: &str| latest[name].as_str().unwrap_or("unknown").to_owned();
    let (price, time) = (field("price"), field("event_time"));
    write!(out, "{pair} in partition {partition}: {price} at {time}; ")?;
    match change {
        PairChange::Reset => writeln!(out, "prices and candles newer than {at} are deleted")?,
        PairChange::Ended => writeln!(out, "it ended at {at}")?,
    }
    Ok(partition)
}

/// The partition in a `positions` header of the newest price.
fn partition(positions: &str) -> Option<i32> {
    let place = positions.strip_prefix(store_name(Topic::Latest))?.strip_prefix('/')?;
    place.split_once('=')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_is_the_one_that_was_read() {
        assert_eq!(partition("latest/3=42"), Some(3));
        for text in ["", "latest", "latest/x=1", "latest/3", "ohlc_1m/3=42"] {
            assert_eq!(partition(text), None, "{text}");
        }
    }
}
