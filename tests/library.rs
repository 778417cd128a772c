//! The engine without this product: the library's own example, as a program on the real broker.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use tests::support::stack::{kafka, root};
use tests::support::{Process, broker, owned_tasks, soon, topics};

/// The example, where cargo puts it.
const EXAMPLE: &str = "examples/word_count";

/// The topic that moves each word to the partition of its key.
const REPARTITION: &str = "word-count-words-repartition";

/// Topics, a group and a state directory of its own; dropped, they are gone.
struct Words {
    servers: String,
    prefix: String,
    folder: PathBuf,
}

impl Words {
    fn new(name: &str) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let prefix = format!("test-library-{name}-{now:x}.");
        let folder = root().join(".run/test").join(&prefix);
        Ok(Self { servers: kafka()?, prefix, folder })
    }

    fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Starts a member with a state directory and a log of that name.
    fn start(&self, name: &str, protocol: &str) -> Result<Process> {
        let state = self.folder.join(name).to_string_lossy().into_owned();
        let arguments = [self.servers.clone(), state, self.prefix.clone(), protocol.to_owned()];
        Process::start(EXAMPLE, &arguments, &self.folder, name)
    }

    /// Writes each line to another of the two partitions than the one before.
    fn write(&self, lines: &[&[u8]]) -> Result<()> {
        for (line, partition) in lines.iter().zip([0, 1].into_iter().cycle()) {
            let record = (Vec::new(), Some(line.to_vec()));
            broker::write(&self.servers, &self.topic("lines"), partition, &[record])?;
        }
        Ok(())
    }

    /// The newest count of each word, as a reader of committed records sees it.
    fn counts(&self) -> Result<BTreeMap<String, u64>> {
        let mut counts = BTreeMap::new();
        for record in topics::read(&self.servers, &self.topic("word-counts"))? {
            let value = String::from_utf8(record.value.context("a tombstone")?)?;
            counts.insert(String::from_utf8(record.key)?, value.parse()?);
        }
        Ok(counts)
    }

    /// Waits for these counts while the program runs; a larger one would never go away again.
    fn come_to(&self, program: &mut Process, expected: &[(&str, u64)]) -> Result<()> {
        let expected: BTreeMap<_, _> =
            expected.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect();
        let mut counts = BTreeMap::new();
        soon("the words to be counted", || {
            program.alive()?;
            counts = self.counts()?;
            Ok(counts == expected)
        })
        .with_context(|| format!("{counts:?}, not {expected:?}"))
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        let names = ["lines", "word-counts", "word-dead-letters", REPARTITION];
        let names = names.map(|name| self.topic(name));
        // A failure to tidy up must not hide the failure that led here.
        let _ = broker::delete(&self.servers, &names, &[self.topic("word-count")]);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn the_example_counts_each_word_once_through_a_kill() -> Result<()> {
    let words = Words::new("kill")?;
    let mut program = words.start("member", "classic")?;
    soon("the example's topics", || {
        program.alive()?;
        let known = topics::list(&words.servers)?;
        Ok(["lines", "word-counts"].iter().all(|name| known.contains_key(&words.topic(name))))
    })?;
    words.write(&[b"to be or not", b"To be", b"\xff\xfe"])?;
    words.come_to(&mut program, &[("to", 2), ("be", 2), ("or", 1), ("not", 1)])?;

    program.kill()?;
    words.write(&[b"that is the question", b"to be"])?;
    let mut program = words.start("member", "classic")?;
    let all = [("to", 3), ("be", 3), ("or", 1), ("not", 1)];
    let new = [("that", 1), ("is", 1), ("the", 1), ("question", 1)];
    words.come_to(&mut program, &[all, new].concat())?;

    let status = program.stop()?;
    ensure!(status.success(), "{status}: {}", program.log()?);
    let dead = topics::read(&words.servers, &words.topic("word-dead-letters"))?;
    let reasons: Vec<_> = dead.iter().map(|letter| letter.headers.get("reason")).collect();
    ensure!(reasons == [Some(&"not_text".to_owned())], "{dead:?}");
    Ok(())
}

/// How many tasks of each sub-topology a member has.
fn owned(member: &Process) -> Result<BTreeMap<String, usize>> {
    let mut counts = BTreeMap::new();
    for task in owned_tasks(&member.log()?) {
        let (sub_topology, _) = task.split_once('_').context("a task without a partition")?;
        *counts.entry(sub_topology.to_owned()).or_default() += 1;
    }
    Ok(counts)
}

fn come_to_own(member: &mut Process, lines: usize, counts: usize) -> Result<()> {
    let expected = BTreeMap::from([("0".to_owned(), lines), ("1".to_owned(), counts)]);
    soon(&format!("a member to own {expected:?}"), || {
        member.alive()?;
        Ok(owned(member)? == expected)
    })
    .with_context(|| member.log().unwrap_or_default())
}

#[test]
fn two_members_own_half_of_each_topic_and_one_that_leaves_gives_all_back() -> Result<()> {
    let words = Words::new("halves")?;
    let mut one = words.start("one", "consumer")?;
    come_to_own(&mut one, 2, 4)?;
    let mut two = words.start("two", "consumer")?;
    come_to_own(&mut one, 1, 2)?;
    come_to_own(&mut two, 1, 2)?;
    words.write(&[b"to be or not", b"To be"])?;
    words.come_to(&mut one, &[("to", 2), ("be", 2), ("or", 1), ("not", 1)])?;
    let status = two.stop()?;
    ensure!(status.success(), "{status}: {}", two.log()?);
    come_to_own(&mut one, 2, 4)?;
    words.write(&[b"be"])?;
    words.come_to(&mut one, &[("to", 2), ("be", 3), ("or", 1), ("not", 1)])
}
