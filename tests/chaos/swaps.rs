//! Swaps of a chain that reorganises all the time, under load: each leg goes through a repartition topic
//! once, whatever breaks between the two commits.
//!
//! The chain is a simulated one, whose truth says which swaps are canonical: a bucket that the fold has
//! and the topic has not is lost, and one that is in the topic only is doubled.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use schemas::topic::Topic;
use tests::support::chain::SimulatedChain;
use tests::support::down::Down;
use tests::support::installation::{IMPATIENT, Member};
use tests::support::venue::Follower;
use tests::support::{Installation, cluster, swaps, topics, wait_until};

use super::progress::Progress;
use super::world::{BOUND, Cost};

/// Twenty blocks a second, of twelve seconds each, with swaps from more pools than there are partitions.
const CHAIN: [&str; 10] = [
    "--rate",
    "300",
    "--block-every",
    "50ms",
    "--block-time",
    "12s",
    "--chain-age",
    "12h",
    "--pools",
    "20",
];
/// Two reorganisations a second, some of them back, and what nodes do besides.
const FAULTS: [&str; 14] = [
    "--reorg-every",
    "10",
    "--reorg-back-every",
    "3",
    "--pending-every",
    "5",
    "--drop-pending-every",
    "2",
    "--logs-first-every",
    "3",
    "--repeat-every",
    "7",
    "--reorder-every",
    "5",
];
/// Records of `swaps` that show that the group works.
const SOME: i64 = 1_500;
/// Members that are killed during a reorganisation.
const KILLS: usize = 3;
/// The load goes on without the broker, after another has taken its place.
const WITHOUT: Duration = Duration::from_secs(5);
/// Five minutes, and an hour, in milliseconds.
const FIVE_MINUTES: i64 = 300_000;
const HOUR: i64 = 3_600_000;

/// The group and its chain. Dropped in this order: programs must go before their topics.
pub(crate) struct SwapsWorld {
    members: BTreeMap<&'static str, Member>,
    feed: Follower,
    chain: SimulatedChain,
    progress: Progress,
    installation: Installation,
    protocol: &'static str,
    since: Instant,
}

impl SwapsWorld {
    /// Two members, at work.
    pub(crate) fn start(name: &str, protocol: &'static str) -> Result<Self> {
        let installation = Installation::new(&format!("chaos-{name}-{protocol}"))?;
        let group = installation.application_id();
        installation.stack.script("impatient-group.sh", &[&group], &[])?;
        let chain = SimulatedChain::start(&installation, &[&CHAIN[..], &FAULTS].concat())?;
        let feed = chain.follow(&installation, &[])?;
        let (bootstrap, source) =
            (installation.stack.bootstrap_servers.clone(), installation.topic(Topic::Swaps));
        let progress = Progress::of(&bootstrap, group, source);
        let (members, since) = (BTreeMap::new(), Instant::now());
        let mut world = Self { members, feed, chain, progress, installation, protocol, since };
        world.join("one")?;
        world.join("two")?;
        world.processed(SOME)?;
        world.since = Instant::now();
        Ok(world)
    }

    fn join(&mut self, name: &'static str) -> Result<()> {
        let own = ["--topologies", "swaps", "--group-protocol", self.protocol];
        let member = self.installation.member(name, &[&own[..], &IMPATIENT].concat())?;
        self.members.insert(name, member);
        Ok(())
    }

    fn wait(
        &mut self,
        what: &str,
        mut is_true: impl FnMut(&mut Self) -> Result<bool>,
    ) -> Result<()> {
        wait_until(what, BOUND, || {
            for member in self.members.values_mut() {
                member.process.alive()?;
            }
            self.feed.process.alive()?;
            self.chain.process.alive()?;
            Ok(is_true(self)?.then_some(()))
        })
        .with_context(|| format!("logs in {}", self.installation.folder().display()))
    }

    /// Waits until the group has committed so many further swaps.
    fn processed(&mut self, count: i64) -> Result<()> {
        let (bootstrap, group) =
            (self.installation.stack.bootstrap_servers.clone(), self.installation.application_id());
        let source = self.installation.topic(Topic::Swaps);
        let mut before = None;
        self.wait("swaps to be counted", |_| {
            // A coordinator that moves does not answer.
            let Ok(now) = topics::committed(&bootstrap, &group, &source) else { return Ok(false) };
            let now: i64 = now.into_iter().sum();
            Ok(now >= *before.get_or_insert(now) + count)
        })
    }

    /// Rows of the topics that are not those of the canonical chain, and those that are missing.
    fn different(&self, expected: &BTreeMap<Topic, BTreeSet<String>>) -> Result<(u64, u64)> {
        let codec = self.installation.codec()?;
        let (mut lost, mut doubled) = (0, 0);
        for (topic, expected) in expected {
            let columns = match topic {
                Topic::PoolMinutes => swaps::POOL_MINUTE,
                _ => swaps::TOKEN_BUCKET,
            };
            let rows = swaps::rows(&codec, &self.installation.read(*topic)?, columns)?;
            let found: BTreeSet<String> = rows.into_iter().collect();
            lost += expected.difference(&found).count();
            doubled += found.difference(expected).count();
        }
        Ok((u64::try_from(lost)?, u64::try_from(doubled)?))
    }

    /// Waits until everything is processed, and compares the topics with the canonical chain.
    pub(crate) fn finish(mut self) -> Result<Cost> {
        self.processed(SOME)?;
        let still =
            std::mem::replace(&mut self.progress, Progress::none()).longest_stand(self.since)?;
        let chain = self.chain.settle()?;
        let pools = self.chain.pools.clone();
        let expected = BTreeMap::from([
            (Topic::PoolMinutes, swaps::pool_minutes(&chain, &pools)?.into_iter().collect()),
            (
                Topic::Token5m,
                swaps::token_buckets(&chain, &pools, FIVE_MINUTES)?.into_iter().collect(),
            ),
            (Topic::Token1h, swaps::token_buckets(&chain, &pools, HOUR)?.into_iter().collect()),
        ]);
        let (mut lost, mut doubled) = (0, 0);
        // A difference that stands by then stays.
        let settled = self.wait("the topics to be those of the canonical chain", |world| {
            (lost, doubled) = world.different(&expected)?;
            Ok(lost + doubled == 0)
        });
        let folder = self.installation.folder().display().to_string();
        self.feed.stop()?;
        for (_, member) in std::mem::take(&mut self.members) {
            member.stop()?;
        }
        if lost + doubled == 0 {
            settled.with_context(|| format!("logs in {folder}"))?;
            drop((self.feed, self.chain));
            self.installation.finish()?;
        }
        Ok(Cost { lost, doubled, still })
    }
}

/// `kill -9` of one member after the other while a reorganisation is on its way to it.
pub(crate) fn killed_during_reorganisations(world: &mut SwapsWorld) -> Result<()> {
    for kill in 0..KILLS {
        let name = ["one", "two"][kill % 2];
        let mut member = world.members.remove(name).context("no such member")?;
        world.chain.reorganise(5)?;
        member.process.kill()?;
        world.chain.reorganise(3)?;
        world.join(name)?;
        world.processed(SOME)?;
    }
    Ok(())
}

/// The broker that leads the first partition of the legs of tokens.
pub(crate) fn leader_killed(world: &mut SwapsWorld) -> Result<()> {
    let stack = world.installation.stack.clone();
    let legs = format!("{}-token-legs-repartition", world.installation.application_id());
    let who = || cluster::leader(&stack.bootstrap_servers, &legs, 0);
    let broker = who()?;
    let down = Down::kill(&stack, &format!("kafka-{broker}"))?;
    world.wait("another broker to take its place", |_| Ok(who().is_ok_and(|now| now != broker)))?;
    let started = Instant::now();
    world.wait("time to pass", |_| Ok(started.elapsed() >= WITHOUT))?;
    down.start()?;
    let prefix = world.installation.prefix.clone();
    world.wait("every copy to be in sync", |_| {
        Ok(cluster::is_whole(&stack.bootstrap_servers, &prefix).unwrap_or(false))
    })
}
