//! The library's word count as a program: its topics, members and counts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use super::stack::root;
use super::{Process, broker, topics};

/// The example, where cargo puts it.
const EXAMPLE: &str = "examples/word_count";

/// Topics and a group of its own; dropped, they are gone. Its folder stays after a failure.
pub struct Words {
    /// Where Kafka is.
    pub servers: String,
    prefix: String,
    folder: PathBuf,
}

impl Words {
    /// A word count of that name without members.
    pub fn new(servers: String, name: &str) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let prefix = format!("test-words-{name}-{now:x}.");
        let folder = root().join(".run/test").join(&prefix);
        Ok(Self { servers, prefix, folder })
    }

    /// The prefix of its topics.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Logs and state directories.
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// Its topic of that name.
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The group's name.
    pub fn group(&self) -> String {
        self.topic("word-count")
    }

    /// The topic that moves each word to the partition of its key.
    pub fn repartition(&self) -> String {
        format!("{}-words-repartition", self.group())
    }

    /// The first worker's transactional id of the member with that state directory.
    pub fn transactional_id(&self, state: &str) -> Result<String> {
        let name = self.folder.join(state).join(self.group()).join("instance");
        let name = std::fs::read_to_string(&name).with_context(|| name.display().to_string())?;
        Ok(format!("{}-{}-0", self.group(), name.trim()))
    }

    /// Starts a member with that state directory and a log of that name.
    pub fn start(&self, state: &str, log: &str, protocol: &str) -> Result<Process> {
        let state = self.folder.join(state).to_string_lossy().into_owned();
        let arguments = [self.servers.clone(), state, self.prefix.clone(), protocol.to_owned()];
        Process::start(EXAMPLE, &arguments, &self.folder, log)
    }

    /// Writes each line to another of the two partitions than the one before.
    pub fn write(&self, lines: &[&[u8]]) -> Result<()> {
        for (line, partition) in lines.iter().zip([0, 1].into_iter().cycle()) {
            let record = (Vec::new(), Some(line.to_vec()));
            broker::write(&self.servers, &self.topic("lines"), partition, &[record])?;
        }
        Ok(())
    }

    /// The last of a test that went well: its logs are not needed.
    pub fn finish(self) -> Result<()> {
        Ok(std::fs::remove_dir_all(&self.folder)?)
    }

    /// The newest count of each word, as a reader of committed records sees it.
    pub fn counts(&self) -> Result<BTreeMap<String, u64>> {
        let mut counts = BTreeMap::new();
        for record in topics::read(&self.servers, &self.topic("word-counts"))? {
            let value = String::from_utf8(record.value.context("a tombstone")?)?;
            counts.insert(String::from_utf8(record.key)?, value.parse()?);
        }
        Ok(counts)
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        let names = ["lines", "word-counts", "word-dead-letters", "facts"];
        let names = names.map(|name| self.topic(name));
        let names = [&names[..], &[self.repartition()]].concat();
        // A failure to tidy up must not hide the failure that led here.
        let _ = broker::delete(&self.servers, &names, &[self.group()]);
    }
}
