//! `processor migrate`: the application moves to topics with another number of partitions.
//!
//! A record of a store's topic belongs to the pair of its key. The state of an exchange's feed stands in
//! every partition, and is merged.

use std::io::Write;
use std::sync::Arc;

use ::cli::secret::Setting;
use anyhow::{Result, ensure};
use schemas::topic::Topic;
use schemas::{CandleKey, Codec, Kind, PairKey, SpreadKey};
use streams::Error;
use streams::partitioner::partition;
use streams::record::Partition;
use streams::runtime::{MigrateConfig, Migration, Placement, TopicSpec};

use crate::config::MigrateCommand;
use crate::operators::FeedState;
use crate::store_keys;
use crate::topology::{self, store_name};

/// Prints the steps, and does them with `--yes`.
///
/// # Errors
/// See [`Migration::run`].
pub fn run(command: &MigrateCommand, out: &mut impl Write) -> Result<()> {
    let MigrateCommand { partitions, to_prefix, to_application_id, kafka, .. } = command;
    let prefix = &kafka.topic_prefix;
    ensure!(prefix != to_prefix, "--to-prefix is the present prefix: choose another");
    ensure!(
        command.application_id != *to_application_id,
        "--to-application-id is the present group: choose another"
    );
    let registry = command.registry.client()?;
    // The same schemas under the new subjects have the same ids.
    let (codec, new) = (Arc::new(registry.codec(prefix)?), Arc::new(registry.codec(to_prefix)?));
    for kind in Kind::ALL {
        ensure!(
            codec.id(kind) == new.id(kind),
            "the registry has another id for {} under {to_prefix}: use a registry context in which \
             both prefixes share the schemas",
            kind.as_str()
        );
    }
    let [from, to] =
        [prefix, to_prefix].map(|prefix| topology::topology(&codec, prefix, command.topologies));
    let topics = Topic::ALL.map(|topic| TopicSpec {
        name: topic.name(to_prefix),
        partitions: *partitions,
        replication: command.replication_factor,
        settings: topic.settings(),
    });
    let settings = Setting::pairs(&kafka.settings);
    let config = MigrateConfig {
        bootstrap_servers: &kafka.bootstrap_servers,
        kafka: &settings,
        groups: [&command.application_id, to_application_id],
        partitions: *partitions,
    };
    let migration = Migration::plan(config, [&from?, &to?], topics.into())?;
    write!(out, "{migration}")?;
    if !command.yes {
        writeln!(out, "not done: add --yes, once producers and members are stopped")?;
        return Ok(());
    }
    let copied = migration.run(&Placement {
        source_key: &|store, key| source_key(&codec, store, key),
        merge: &|_, values| merge(&codec, values, *partitions),
    })?;
    writeln!(
        out,
        "done: {copied} records copied and compared; start producers and members with \
         --topic-prefix {to_prefix} and --application-id {to_application_id}"
    )?;
    Ok(())
}

/// The key in `events` of the pair of a record; `None` for the feed of an exchange.
fn source_key(codec: &Codec, store: &str, key: &[u8]) -> streams::Result<Option<Vec<u8>>> {
    let topic = Topic::ALL.into_iter().find(|topic| store_name(*topic) == store);
    let malformed = |error: &dyn std::fmt::Display| {
        Error::Corrupt(format!("store {store}: its topic has a key that is none: {error}"))
    };
    let pair = match topic.and_then(Topic::kinds) {
        Some((Kind::PairKey, _)) => codec.decode::<PairKey>(key).map_err(|e| malformed(&e))?,
        Some((Kind::SpreadKey, _)) => {
            codec.decode::<SpreadKey>(key).map_err(|e| malformed(&e))?.pair
        }
        Some((Kind::CandleKey, _)) => {
            codec.decode::<CandleKey>(key).map_err(|e| malformed(&e))?.pair
        }
        _ => return Err(Error::Invalid(format!("store {store} has no place in new partitions"))),
    };
    let key = || store_keys::with_header(codec, Kind::PairKey, &store_keys::pair_key(&pair));
    Ok((!pair.base.is_empty()).then(key))
}

/// The states of one feed, merged for each new partition.
fn merge(codec: &Codec, values: &[Vec<u8>], partitions: i32) -> streams::Result<Vec<Vec<u8>>> {
    let read = |value: &Vec<u8>| {
        let mark = codec.decode(value).map_err(|error| error.to_string())?;
        FeedState::of_mark(mark)
    };
    let states: Result<Vec<FeedState>, String> = values.iter().map(read).collect();
    let states = states.map_err(Error::Corrupt)?;
    let of = |index: i32| {
        let has = |pair: &[u8]| {
            let key = store_keys::with_header(codec, Kind::PairKey, pair);
            partition(&key, partitions) == Partition(index)
        };
        let merged = FeedState::merged(&states, has).ok_or_else(|| {
            Error::Invalid(
                "a mark is processed in part: start a member until its log shows no more work, stop it, \
                 and repeat the command"
                    .into(),
            )
        })?;
        Ok(codec.to_bytes(&merged.to_mark()))
    };
    (0..partitions).map(of).collect()
}

#[cfg(test)]
mod tests {
    use schemas::{Basis, Timestamp};

    use super::*;

    #[test]
    fn a_record_follows_the_pair_of_its_key() -> Result<()> {
        let codec = Codec::offline();
        let pair = PairKey::new("BTC", "USD", "coinbase");
        let events = codec.to_bytes(&pair);
        let candle = CandleKey { pair: pair.clone(), basis: Basis::Trade, open_time: Timestamp(0) };
        let spread = SpreadKey { pair: pair.clone(), open_time: Timestamp(0) };
        for (store, key) in [
            (store_name(Topic::Latest), events.clone()),
            (store_name(Topic::Feeds), events.clone()),
            (store_name(Topic::QuoteFeeds), events.clone()),
            (store_name(Topic::Books), events.clone()),
            (store_name(Topic::Ohlc1m), codec.to_bytes(&candle)),
            (store_name(Topic::Spreads1d), codec.to_bytes(&spread)),
        ] {
            assert_eq!(source_key(&codec, store, &key)?, Some(events.clone()), "{store}");
        }
        let feed = codec.to_bytes(&PairKey::feed("coinbase"));
        assert_eq!(source_key(&codec, store_name(Topic::Feeds), &feed)?, None);
        assert!(source_key(&codec, store_name(Topic::Latest), b"junk").is_err());
        assert!(source_key(&codec, "unknown", &events).is_err());
        Ok(())
    }
}
