//! `processor pairs`: records in the log that end a pair, or set one back whose clock ran ahead.
//!
//! A record is a mark whose key is the pair. One goes to `events` and one to `quotes`, as far as the
//! server knows prices and quotes of the pair, each to the pair's partition, which the server knows,
//! because the writers chose it. Members apply a mark when they process it, so a replay of the log does
//! the same.

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
    let mut found = Vec::new();
    for pair in &config.pairs {
        for source in find(&client, pair, (change, at), out)? {
            found.push((pair, source));
        }
    }
    if !config.yes {
        writeln!(out, "not written: add --yes to write the records")?;
        return Ok(());
    }
    let prefix = &config.kafka.topic_prefix;
    let codec = config.registry.client()?.codec(prefix)?;
    let value = codec.to_bytes(&FeedMark::of_pair(change, FEED, at, now));
    let settings = Setting::pairs(&config.kafka.settings);
    for topic in [Topic::Events, Topic::Quotes] {
        let of = found.iter().filter(|(_, source)| source.topic == topic);
        let records: Vec<NewRecord> = of
            .map(|(pair, source)| NewRecord {
                partition: source.partition,
                key: codec.to_bytes(*pair),
                value: value.clone(),
            })
            .collect();
        if records.is_empty() {
            continue;
        }
        let topic = topic.name(config.input_prefix.as_ref().unwrap_or(prefix));
        write_records(&config.kafka.bootstrap_servers, &settings, &topic, &records)?;
        writeln!(out, "written to {topic}: {}", records.len())?;
    }
    Ok(())
}

/// A topic with records of a pair, and the pair's partition of it.
struct Source {
    topic: Topic,
    partition: i32,
}

/// Prints the newest price and quote of a pair and the change; returns the topics that have the pair.
fn find(
    client: &ApiClient,
    pair: &PairKey,
    (change, at): (PairChange, Timestamp),
    out: &mut impl Write,
) -> Result<Vec<Source>> {
    let parts = [("base", &pair.base), ("quote", &pair.quote), ("exchange", &pair.exchange)];
    let query = parts.map(|(name, part)| (name, part.clone()));
    let mut sources = Vec::new();
    for (route, store, topic) in [
        ("/v1/latest", Topic::Latest, Topic::Events),
        ("/v1/quotes", Topic::TopOfBook, Topic::Quotes),
    ] {
        let Some(answer) = client.find(route, &query, Format::Json)? else { continue };
        let positions = answer.positions.as_deref();
        let partition = positions.and_then(|one| partition(one, store)).with_context(|| {
            format!(
                "{pair}: the answer of {route} does not say its partition; ask a processor of this \
                 version"
            )
        })?;
        let row = answer.json()?;
        let field = |name: &str| row[name].as_str().unwrap_or("-").to_owned();
        let time = field("event_time");
        let (what, newest, concerns) = if topic == Topic::Events {
            ("price", field("price"), "prices and candles")
        } else {
            ("quote", format!("{} / {}", field("bid"), field("ask")), "quotes and spreads")
        };
        write!(out, "{pair}, {what} in partition {partition}: {newest} at {time}; ")?;
        match change {
            PairChange::Reset => writeln!(out, "{concerns} newer than {at} are deleted")?,
            PairChange::Ended => writeln!(out, "it ended at {at}")?,
        }
        sources.push(Source { topic, partition });
    }
    ensure!(
        !sources.is_empty(),
        "{pair} was not found: the server has neither a price nor a quote of it: check its name, and \
         set --url to a view, which has all pairs"
    );
    Ok(sources)
}

/// The partition in a `positions` header of a read of one pair of a store.
fn partition(positions: &str, store: Topic) -> Option<i32> {
    let place = positions.strip_prefix(store_name(store))?.strip_prefix('/')?;
    place.split_once('=')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_is_the_one_that_was_read() {
        assert_eq!(partition("latest/3=42", Topic::Latest), Some(3));
        assert_eq!(partition("top_of_book/5=42", Topic::TopOfBook), Some(5));
        for text in ["", "latest", "latest/x=1", "latest/3", "ohlc_1m/3=42"] {
            assert_eq!(partition(text, Topic::Latest), None, "{text}");
        }
    }
}
