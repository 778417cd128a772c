//! The word count under load: what is sent through a repartition topic is in it once, whatever breaks
//! between the two commits.
//!
//! Lines come from a thread that knows how often it has sent each word. A count that is too small has
//! lost words, and one that is too large has doubled them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use tests::support::down::Down;
use tests::support::words::Words;
use tests::support::{Process, Stack, cluster, owned_tasks, topics, wait_until};

use super::progress::Progress;
use super::world::{BOUND, Cost};

const MEMBERS: [&str; 2] = ["one", "two"];
/// Partitions of the lines, and of the words.
const LINES: i32 = 2;
const TASKS: usize = 6;
/// Words that there are, and the most in a line.
const VOCABULARY: u32 = 300;
const LONGEST: usize = 6;
/// Lines that are written between two looks at the stop signal: some hundred a second.
const LINES_AT_ONCE: usize = 20;
/// Longer than any fault lasts: the feed ends when it is told to.
const WHOLE: Duration = Duration::from_hours(1);
/// Records of the repartition topic that show that the group works.
const SOME: i64 = 3_000;
/// Members that are killed in a commit.
const KILLS: usize = 2;
/// Between two commits of a member.
const COMMIT: Duration = Duration::from_millis(100);
/// The load goes on without a broker, after another has taken its place.
const WITHOUT: Duration = Duration::from_secs(5);

/// Counts that have not changed for so long are final: many commits.
const STILL: Duration = Duration::from_secs(5);

/// How often each word was sent.
type Sent = BTreeMap<String, u64>;

/// A thread that writes lines.
struct Feed {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Sent>>>,
}

impl Feed {
    fn start(servers: &str, topic: String) -> Result<Self> {
        let producer: ThreadedProducer<_> = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .set("message.timeout.ms", "0")
            .create()?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut rng, mut sent) = (SmallRng::seed_from_u64(1), Sent::new());
            wait_until("the end of the lines", WHOLE, || {
                for _line in 0..LINES_AT_ONCE {
                    let words = (0..rng.random_range(1..=LONGEST))
                        .map(|_| format!("w{}", rng.random_range(0..VOCABULARY)))
                        .collect::<Vec<_>>();
                    let (line, partition) = (words.join(" "), rng.random_range(0..LINES));
                    let record =
                        BaseRecord::<[u8], str>::to(&topic).partition(partition).payload(&line);
                    // A full queue takes the line later, or another one.
                    if producer.send(record).is_ok() {
                        for word in words {
                            *sent.entry(word).or_default() += 1;
                        }
                    }
                }
                Ok(told.load(Ordering::Relaxed).then_some(()))
            })?;
            producer.flush(BOUND)?;
            Ok(sent)
        });
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Ends it; every line is in the topic.
    fn stop(mut self) -> Result<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().ok_or_else(|| anyhow!("nothing is written"))?;
        thread.join().map_err(|_| anyhow!("the writing panicked"))?
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The group and its load. Dropped in this order: programs must go before their topics.
pub(crate) struct WordsWorld {
    members: BTreeMap<&'static str, Process>,
    feed: Feed,
    progress: Progress,
    words: Words,
    stack: Stack,
    protocol: &'static str,
    starts: usize,
    since: Instant,
}

impl WordsWorld {
    /// Two members, at work.
    pub(crate) fn start(name: &str, protocol: &'static str) -> Result<Self> {
        let stack = Stack::up()?;
        let words = Words::new(stack.bootstrap_servers.clone(), &format!("{name}-{protocol}"))?;
        stack.script("impatient-group.sh", &[&words.group()], &[])?;
        // It creates the topics.
        let first = words.start(MEMBERS[0], "one-0", protocol)?;
        wait_until("the topics", BOUND, || {
            let known = topics::list(&words.servers)?;
            let all = [words.topic("lines"), words.topic("word-counts"), words.repartition()];
            Ok(all.iter().all(|topic| known.contains_key(topic)).then_some(()))
        })?;
        let feed = Feed::start(&words.servers, words.topic("lines"))?;
        let progress = Progress::of(&words.servers, words.group(), words.topic("lines"));
        let (members, since) = (BTreeMap::from([(MEMBERS[0], first)]), Instant::now());
        let mut world = Self { members, feed, progress, words, stack, protocol, starts: 0, since };
        world.join(MEMBERS[1])?;
        world.processed(SOME)?;
        world.since = Instant::now();
        Ok(world)
    }

    fn join(&mut self, name: &'static str) -> Result<()> {
        self.starts += 1;
        let log = format!("{name}-{}", self.starts);
        let member = self.words.start(name, &log, self.protocol)?;
        self.members.insert(name, member);
        Ok(())
    }

    fn wait(&mut self, what: &str, mut is_true: impl FnMut(&Self) -> Result<bool>) -> Result<()> {
        wait_until(what, BOUND, || {
            for member in self.members.values_mut() {
                member.alive()?;
            }
            Ok(is_true(self)?.then_some(()))
        })
        .with_context(|| format!("logs in {}", self.words.folder().display()))
    }

    /// Words that the second sub-topology has committed.
    fn moved(&self) -> Result<i64> {
        let (servers, group) = (&self.words.servers, self.words.group());
        Ok(topics::committed(servers, &group, &self.words.repartition())?.into_iter().sum())
    }

    fn processed(&mut self, count: i64) -> Result<()> {
        let mut before = None;
        self.wait("words to be counted", |world| {
            // A coordinator that moves does not answer.
            let Ok(now) = world.moved() else { return Ok(false) };
            Ok(now >= *before.get_or_insert(now) + count)
        })
    }

    /// A member that writes to the repartition topic: under the cooperative-sticky assignor another may
    /// have no partition of the lines.
    fn writer(&self) -> Result<&'static str> {
        for (name, member) in &self.members {
            if owned_tasks(&member.log()?).iter().any(|task| task.starts_with("0_")) {
                return Ok(name);
            }
        }
        bail!("no member has lines")
    }

    fn all_are_owned(&mut self) -> Result<()> {
        self.wait("the members to have all tasks", |world| {
            let logs = world.members.values().map(Process::log);
            let owned = logs.map(|log| Ok(owned_tasks(&log?).len()));
            Ok(owned.sum::<Result<usize>>()? == TASKS)
        })
    }

    /// Waits until everything is counted, and compares the counts with what was sent.
    pub(crate) fn finish(mut self) -> Result<Cost> {
        self.processed(SOME)?;
        self.all_are_owned()?;
        let stopped = Feed { stop: Arc::default(), thread: None };
        let sent = std::mem::replace(&mut self.feed, stopped).stop()?;
        let mut last = (0, Instant::now());
        self.wait("the counts to stand still", |world| {
            let (servers, lines) = (&world.words.servers, world.words.topic("lines"));
            let read = topics::committed(servers, &world.words.group(), &lines)?;
            let is_read =
                read.iter().zip(topics::ends(servers, &lines)?).all(|(at, end)| *at >= end);
            let total = world.words.counts()?.values().sum::<u64>();
            if !is_read || total != last.0 {
                last = (total, Instant::now());
            }
            Ok(last.1.elapsed() >= STILL)
        })?;
        let still = self.progress.longest_stand(self.since)?;
        for (_, mut member) in std::mem::take(&mut self.members) {
            let status = member.stop()?;
            ensure!(status.success(), "a member ended with {status}:\n{}", member.log()?);
        }
        let counts = self.words.counts()?;
        let beyond = |one: &Sent, other: &Sent| -> u64 {
            let more = |(word, count): (&String, &u64)| {
                count.saturating_sub(other.get(word).copied().unwrap_or(0))
            };
            one.iter().map(more).sum()
        };
        let (lost, doubled) = (beyond(&sent, &counts), beyond(&counts, &sent));
        if lost + doubled == 0 {
            self.words.finish()?;
        }
        Ok(Cost { lost, doubled, still })
    }
}

/// `kill -9` of each member in the middle of a commit, after records for the other sub-topology.
pub(crate) fn killed_during_commits(world: &mut WordsWorld) -> Result<()> {
    for _kill in 0..KILLS {
        world.all_are_owned()?;
        let name = world.writer()?;
        let mut member = world.members.remove(name).context("no such member")?;
        wait_until("a commit to be open", BOUND, || {
            member.signal("STOP")?;
            // One that is still open then is not of the other member, which goes on.
            if is_open(&world.words)? && {
                std::thread::sleep(COMMIT * 5);
                is_open(&world.words)?
            } {
                return Ok(Some(()));
            }
            member.signal("CONT")?;
            Ok(None)
        })?;
        member.kill()?;
        world.join(name)?;
        world.processed(SOME)?;
    }
    Ok(())
}

/// A transaction with records of the repartition topic is open.
fn is_open(words: &Words) -> Result<bool> {
    Ok(!topics::undecided(&words.servers, &words.repartition())?.is_empty())
}

/// The broker that leads the first partition of the repartition topic.
pub(crate) fn leader_killed(world: &mut WordsWorld) -> Result<()> {
    killed(world, |words| cluster::leader(&words.servers, &words.repartition(), 0))
}

/// The coordinator of the first member's transactions.
pub(crate) fn transaction_coordinator_killed(world: &mut WordsWorld) -> Result<()> {
    killed(world, |words| {
        cluster::transaction_coordinator(&words.servers, &words.transactional_id(MEMBERS[0])?)
    })
}

fn killed(world: &mut WordsWorld, who: impl Fn(&Words) -> Result<i32>) -> Result<()> {
    let broker = who(&world.words)?;
    let down = Down::kill(&world.stack.clone(), &format!("kafka-{broker}"))?;
    world.wait("another broker to take its place", |world| {
        Ok(who(&world.words).is_ok_and(|now| now != broker))
    })?;
    let started = Instant::now();
    world.wait("time to pass", |_| Ok(started.elapsed() >= WITHOUT))?;
    down.start()?;
    world.wait("every copy to be in sync", |world| {
        Ok(cluster::is_whole(&world.words.servers, world.words.prefix()).unwrap_or(false))
    })
}
