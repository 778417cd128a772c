//! Replicas that follow a log in steps: what a member restores, and what it keeps warm for others.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::Rng as _;
use streams::Replica;
use streams::record::{Offset, Timestamp};
use streams::store::{Committed, Store as _};

use super::disk::Disk;
use super::log::Pairs;
use super::rules::{Rule, Stop};
use super::world::Env;

type Result<T = (), E = Stop> = std::result::Result<T, E>;

/// A member's disks, by partition and store.
pub(crate) type Disks = BTreeMap<(usize, usize), Disk>;

/// A replica and how far it has to go.
pub(crate) struct Tail {
    pub(crate) replica: Replica,
    /// It is caught up when it has passed this.
    target: usize,
    pub(crate) caught_up: bool,
}

/// The replicas of a partition, as they are on disk.
pub(crate) fn open(env: &mut Env<'_>, disks: &mut Disks, partition: usize) -> Result<Vec<Tail>> {
    let mut tails = Vec::new();
    for (index, spec) in env.topology.stores().iter().enumerate() {
        let disk = disks.entry((partition, index)).or_default().clone();
        env.audit_disk(&spec.topic, partition, &disk)?;
        let position = disk.position()?.map_or(0, place);
        if position > env.broker.log(&spec.topic, partition).high_watermark() {
            return Err(Stop::Broken(format!("{} is beyond its topic", spec.name)));
        }
        let store = Arc::new(Committed::new(Box::new(disk)));
        let replica = Replica::new(spec.clone(), store)?;
        tails.push(Tail { replica, target: 0, caught_up: false });
    }
    Ok(tails)
}

impl Tail {
    /// From here on it is behind until it has passed the log's present end.
    pub(crate) fn aim(&mut self, env: &mut Env<'_>, partition: usize) {
        let passes = env.keeps(Rule::RestorePassesOpenTransactions);
        let log = env.broker.log(&self.replica.spec().topic, partition);
        self.target = if passes { log.high_watermark() } else { log.stable() };
        self.caught_up = false;
    }

    /// Takes some of what is committed.
    pub(crate) fn poll(&mut self, env: &mut Env<'_>, partition: usize) -> Result {
        let most = env.rng.random_range(1..12);
        let log = env.broker.log(&self.replica.spec().topic, partition);
        let (next, stable) = (place(self.replica.next()), log.stable());
        for (at, record) in log.committed(next, stable).take(most) {
            self.replica.take(offset(at), Timestamp(0), &record.key, record.value.as_deref())?;
        }
        let at_end = log.committed(place(self.replica.next()), stable).next().is_none();
        if at_end {
            self.replica.pass(offset(stable));
        }
        if at_end && place(self.replica.next()) >= self.target {
            self.caught_up = true;
            self.replica.follow()?;
        } else if env.chance(20) && self.replica.freeze()? {
            self.replica.store().write_frozen()?;
        } else {
            self.replica.write()?;
        }
        env.die(1, "in the middle of a restore")
    }

    /// What follows the log holds what the log makes up to there.
    pub(crate) fn audit(&self, env: &mut Env<'_>, partition: usize) -> Result {
        if !self.replica.is_following() {
            return Ok(());
        }
        let topic = &self.replica.spec().topic;
        let pairs = self.replica.store().range(&[], &[0xff; 64], usize::MAX)?;
        let pairs: Pairs = pairs.into_iter().collect();
        let next = place(self.replica.next());
        if pairs == env.broker.log(topic, partition).fold(Pairs::new(), 0, next) {
            return Ok(());
        }
        Err(Stop::Broken(format!("a standby of {topic}-{partition} is wrong at {next}")))
    }
}

/// An offset of a place in a log.
pub(crate) fn offset(place: usize) -> Offset {
    Offset(i64::try_from(place).unwrap_or(i64::MAX))
}

/// A place in a log of an offset.
pub(crate) fn place(offset: Offset) -> usize {
    usize::try_from(offset.0).unwrap_or(0)
}
