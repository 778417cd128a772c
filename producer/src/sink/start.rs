//! The state of the last start, kept beside the spool.
//!
//! ```text
//! DIR/start    {"topic_prefix", "partitions", "quotes", "option_tickers", "swaps", "schema_ids", "schemas_crc"}
//!              rewritten at each start
//! ```
//!
//! A producer that restarts while Kafka is away uses this state and continues to spool. State of
//! another topic prefix, or of other schemas than this program's, is ignored.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use schemas::topic::Topic;
use schemas::{Codec, Kind};
use serde::{Deserialize, Serialize};

use crate::sink::config::{Result, SinkConfig, SinkError};

/// A broker that has not answered in this time is away, if an earlier state is at hand.
const AWAY_AFTER: Duration = Duration::from_secs(1);
/// The file's name.
const NAME: &str = "start";

/// The partitions of the topics that records of every partition go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partitions {
    /// Of `events`.
    #[serde(rename = "partitions")]
    pub events: i32,
    /// Of `quotes`; `None` where the topics of books do not exist.
    #[serde(default)]
    pub quotes: Option<i32>,
    /// Of `option_tickers`; `None` where that topic does not exist.
    #[serde(default)]
    pub option_tickers: Option<i32>,
    /// Of `swaps`; `None` where that topic does not exist.
    #[serde(default)]
    pub swaps: Option<i32>,
}

impl Partitions {
    /// They are of all topics that the settings need.
    fn suffice(&self, config: &SinkConfig) -> bool {
        (self.quotes.is_some() || !config.follows_books)
            && (self.option_tickers.is_some() || !config.follows_tickers)
            && (self.swaps.is_some() || !config.follows_swaps)
    }
}

/// The state that a start leaves for the next one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    topic_prefix: String,
    /// The partitions.
    #[serde(flatten)]
    pub partitions: Partitions,
    /// The id of each schema, in the order of [`Kind::ALL`].
    schema_ids: [i32; Kind::ALL.len()],
    /// The checksum of the schemas' texts: another program may have others.
    schemas_crc: u32,
}

impl Start {
    /// The state of this start.
    pub fn new(topic_prefix: &str, partitions: Partitions, codec: &Codec) -> Self {
        Self {
            topic_prefix: topic_prefix.into(),
            partitions,
            schema_ids: Kind::ALL.map(|kind| codec.id(kind)),
            schemas_crc: schemas_crc(),
        }
    }

    /// The state that an earlier start left in `dir` for this prefix and these schemas.
    pub fn read(dir: &Path, topic_prefix: &str) -> Option<Self> {
        let start: Self = serde_json::from_slice(&fs::read(dir.join(NAME)).ok()?).ok()?;
        let fits = start.topic_prefix == topic_prefix && start.schemas_crc == schemas_crc();
        (fits && start.partitions.events > 0).then_some(start)
    }

    /// Writes the state to `dir`, atomically.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        let new = dir.join(format!("{NAME}.new"));
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_data()?;
        fs::rename(new, dir.join(NAME))
    }

    /// The codec of the schemas' ids; it decodes nothing.
    pub fn codec(&self) -> Codec {
        Codec::new(self.schema_ids, Box::new(|_| Ok(None)))
    }
}

/// The partitions of the topics: as Kafka says, which `ask` asks for so long, or as an earlier start
/// has left it. The topics of books and tickers have to exist only where these are followed.
pub fn partitions(
    config: &SinkConfig,
    codec: &Codec,
    ask: impl FnOnce(Duration) -> Result<BTreeMap<String, i32>>,
) -> Result<Partitions> {
    let prefix = &config.topic_prefix;
    let dir = config.spool.as_ref().map(|spool| spool.dir.as_path());
    let remembered = dir.and_then(|dir| Start::read(dir, prefix));
    let patience = config.connect_timeout;
    let patience = if remembered.is_some() { patience.min(AWAY_AFTER) } else { patience };
    let found = match (ask(patience), remembered) {
        (Err(error @ (SinkError::Unreachable { .. } | SinkError::Denied { .. })), Some(start))
            if start.partitions.suffice(config) =>
        {
            tracing::warn!(%error, "kafka is away: records are kept until it is back");
            return Ok(start.partitions);
        }
        (found, _) => found?,
    };
    let count = |topic: Topic| {
        let name = topic.name(prefix);
        found.get(&name).copied().ok_or(SinkError::MissingTopic(name))
    };
    count(Topic::DeadLetters)?;
    let quotes = count(Topic::Books).and_then(|_| count(Topic::Quotes));
    let tickers = count(Topic::OptionTickers);
    let swaps = count(Topic::Swaps);
    let partitions = Partitions {
        events: count(Topic::Events)?,
        quotes: if config.follows_books { Some(quotes?) } else { quotes.ok() },
        option_tickers: if config.follows_tickers { Some(tickers?) } else { tickers.ok() },
        swaps: if config.follows_swaps { Some(swaps?) } else { swaps.ok() },
    };
    let write = |dir| Start::new(prefix, partitions, codec).write(dir);
    dir.map_or(Ok(()), write).map_err(|error| SinkError::Spool(error.to_string()))?;
    Ok(partitions)
}

fn schemas_crc() -> u32 {
    let mut crc = crc32fast::Hasher::new();
    for kind in Kind::ALL {
        crc.update(kind.schema().as_bytes());
    }
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learned_serves_the_same_prefix_and_the_same_schemas() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let partitions =
            Partitions { events: 4, quotes: Some(3), option_tickers: Some(2), swaps: None };
        let start = Start::new("a.", partitions, &Codec::offline());
        assert_eq!(Start::read(dir.path(), "a."), None);
        start.write(dir.path())?;
        assert_eq!(Start::read(dir.path(), "a."), Some(start.clone()));
        assert_eq!(Start::read(dir.path(), "b."), None);
        Start { schemas_crc: !start.schemas_crc, ..start.clone() }.write(dir.path())?;
        assert_eq!(Start::read(dir.path(), "a."), None);
        fs::write(dir.path().join(NAME), b"{\"topic_prefix\":\"a.\"")?;
        assert_eq!(Start::read(dir.path(), "a."), None);
        let ids = Kind::ALL.map(|kind| start.codec().id(kind));
        assert_eq!(ids, Kind::ALL.map(|kind| Codec::offline().id(kind)));
        Ok(())
    }
}
