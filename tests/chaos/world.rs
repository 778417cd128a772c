//! A group under load, to which something happens, and what its outputs are worth afterwards.
//!
//! The input has everything that has a topic of its own: candles of minutes, hours and days that
//! close all the time, events too late for any, and records that cannot be used. All of it keeps
//! coming while things break. Trades have no ids, so that each counts each time it is processed.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use schemas::topic::{DEFAULT_PARTITIONS, Topic};
use tests::support::installation::{IMPATIENT, Member};
use tests::support::stack::binary;
use tests::support::{Installation, Process, topics, wait_until};

use super::broken::Broken;
use super::history::not_newer;
use super::progress::Progress;

/// More than any fault lasts: the load is told to stop. Candles would hide an id that is processed
/// twice.
const LOAD: [&str; 9] =
    ["load", "--events", "10000000", "--keys", "400", "--ids", "none", "--samples-percent", "20"];
/// A minute of event time in a second.
const RATE: [&str; 4] = ["--rate", "3000", "--event-rate", "50"];
/// Twenty seconds of the load before midnight: every window of every pair closes under load.
const START: [&str; 2] = ["--start-ms", "1700005200000"];
/// Some of the same pairs each second, days before: too late for any candle once the pairs' clocks
/// run.
const LATE: [&str; 6] = ["--rate", "50", "--start-ms", "1699700000000", "--seed", "2"];
/// Every pair has a clock by then.
const BEFORE: i64 = 12_000;
/// Records after which the group works again.
const AFTER: i64 = 12_000;
/// How long a wait for the group may take: sessions, transactions and restarts of brokers have
/// ended long before, on a busy machine too.
pub(crate) const BOUND: Duration = Duration::from_mins(5);

/// What a fault has cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// What the fold has and the outputs have not.
    pub(crate) lost: u64,
    /// What the outputs have and the fold has not, or had before.
    pub(crate) doubled: u64,
    /// The longest time that a partition did not move.
    pub(crate) still: Duration,
}

/// The group and its surroundings. Dropped in this order: programs must go before their topics.
pub(crate) struct World {
    /// Those that should run.
    pub(crate) members: BTreeMap<&'static str, Member>,
    load: Process,
    /// There once the pairs' clocks run.
    disturbed: Option<Disturbed>,
    progress: Progress,
    /// Its topics.
    pub(crate) installation: Installation,
    protocol: &'static str,
    since: Instant,
}

/// Events that are too late, and records that cannot be used: while things break, too.
struct Disturbed {
    late: Process,
    broken: Broken,
    /// Broken records before anything broke.
    before: u64,
}

impl World {
    /// Two members, at work.
    pub(crate) fn start(name: &str, protocol: &'static str) -> Result<Self> {
        let installation = Installation::new(&format!("chaos-{name}-{protocol}"))?;
        let group = installation.application_id();
        installation.stack.script("impatient-group.sh", &[&group], &[])?;
        let load = installation.background_producer(&[&LOAD[..], &RATE, &START].concat())?;
        let progress = Progress::watch(&installation);
        let members = BTreeMap::new();
        let since = Instant::now();
        let disturbed = None;
        let mut world = Self { members, load, disturbed, progress, installation, protocol, since };
        world.join("one")?;
        world.join("two")?;
        world.processed(BEFORE)?;
        world.disturb()?;
        if let Some(disturbed) = &mut world.disturbed {
            disturbed.before = disturbed.broken.taken();
        }
        world.since = Instant::now();
        Ok(world)
    }

    /// Starts a member, or one again that was here before.
    pub(crate) fn join(&mut self, name: &'static str) -> Result<()> {
        self.join_by(Command::new(binary("processor")?), name, &[])
    }

    /// The same by a launcher and with further arguments.
    pub(crate) fn join_by(
        &mut self,
        by: Command,
        name: &'static str,
        further: &[&str],
    ) -> Result<()> {
        let own = ["--flush-interval", "1s", "--group-protocol", self.protocol];
        let arguments = [&own[..], &IMPATIENT, further].concat();
        let member = self.installation.member_by(by, name, &arguments)?;
        self.members.insert(name, member);
        Ok(())
    }

    /// A member that should be here.
    pub(crate) fn member(&mut self, name: &str) -> Result<&mut Member> {
        self.members.get_mut(name).with_context(|| format!("there is no member {name}"))
    }

    /// Takes a member out of those that should run.
    pub(crate) fn take(&mut self, name: &str) -> Result<Member> {
        self.members.remove(name).with_context(|| format!("there is no member {name}"))
    }

    /// Waits, while all that should run does.
    pub(crate) fn wait(
        &mut self,
        what: &str,
        mut is_true: impl FnMut(&mut Self) -> Result<bool>,
    ) -> Result<()> {
        wait_until(what, BOUND, || {
            for member in self.members.values_mut() {
                member.process.alive()?;
            }
            self.load.alive()?;
            self.disturbed.as_mut().map_or(Ok(()), |disturbed| disturbed.late.alive())?;
            Ok(is_true(self)?.then_some(()))
        })
        .with_context(|| format!("logs in {}", self.installation.folder().display()))
    }

    /// Lets the load go on for a while.
    pub(crate) fn go_on_for(&mut self, time: Duration) -> Result<()> {
        let started = Instant::now();
        self.wait("time to pass", |_| Ok(started.elapsed() >= time))
    }

    /// Waits until that many further records have been processed.
    pub(crate) fn processed(&mut self, count: i64) -> Result<()> {
        let before = self.installation.processed()?;
        self.wait("the group to work", |world| {
            // Nothing is known while a coordinator moves.
            Ok(world.installation.processed().is_ok_and(|now| now >= before + count))
        })
    }

    /// Waits until these members, of those that should run, have all partitions between them.
    pub(crate) fn all_owned_by(&mut self, names: &[&str]) -> Result<()> {
        self.wait(&format!("{names:?} to have all partitions"), |world| {
            let mut owned = 0;
            for name in names {
                owned += world.member(name)?.owned()?.len();
            }
            Ok(owned == usize::try_from(DEFAULT_PARTITIONS)?)
        })
    }

    /// Waits until a member has a partition.
    pub(crate) fn owns_something(&mut self, name: &str) -> Result<()> {
        self.wait(&format!("{name} to have a partition"), |world| {
            Ok(!world.member(name)?.owned()?.is_empty())
        })
    }

    /// From now on events come that are too late, and records that cannot be used. Waits for the first
    /// of each, because their producer needs the registry when it starts.
    fn disturb(&mut self) -> Result<()> {
        let late = self.installation.background_producer(&[&LOAD[..], &LATE].concat())?;
        let broken = Broken::start(&self.installation)?;
        self.disturbed = Some(Disturbed { late, broken, before: 0 });
        let bootstrap = self.installation.stack.bootstrap_servers.clone();
        for topic in [Topic::Late, Topic::DeadLetters] {
            let topic = self.installation.topic(topic);
            self.wait(&format!("a record in {topic}"), |_| {
                Ok(topics::ends(&bootstrap, &topic)?.iter().any(|end| *end > 0))
            })?;
        }
        Ok(())
    }

    /// Waits until everything is processed, stops all, and compares every output with the fold.
    pub(crate) fn finish(mut self) -> Result<Cost> {
        self.processed(AFTER)?;
        let Disturbed { late, broken, before } = self.disturbed.take().context("no disturbance")?;
        ensure!(broken.taken() > before, "no record that cannot be used came while things broke");
        late.told_to_end()?;
        broken.stop()?;
        self.load.told_to_end()?;
        self.installation.caught_up(&mut self.members.values_mut().collect::<Vec<_>>())?;
        let still = self.progress.longest_stand(self.since)?;
        for (_, member) in std::mem::take(&mut self.members) {
            member.stop()?;
        }
        let (actual, expected) = self.installation.actual_and_expected()?;
        let (lost, doubled) = (expected.beyond(&actual), actual.beyond(&expected));
        let doubled = doubled + not_newer(&self.installation)?;
        ensure!(
            !expected.late.is_empty() && !expected.dead_letters.is_empty(),
            "the input has no event that is late, or no record that cannot be used"
        );
        let folder = self.installation.folder().display().to_string();
        let shown = actual.equals(&expected).with_context(|| format!("logs in {folder}"));
        match shown {
            Err(error) if lost + doubled == 0 => Err(error),
            _ if lost + doubled == 0 => {
                self.installation.finish()?;
                Ok(Cost { lost, doubled, still })
            }
            _ => Ok(Cost { lost, doubled, still }),
        }
    }
}
