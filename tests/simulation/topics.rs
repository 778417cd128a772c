//! The simulated topics and disk of a worker or follower: [`Topics`] over the broker in memory.
//!
//! A job is done by a [`Flusher`], between any two steps of its worker. One that is under way when
//! the worker fails is still done, as by the thread in production; a process that dies takes it along.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use rand::Rng as _;
use streams::record::{Offset, Partition, Timestamp};
use streams::runtime::worker::{Changelog, Fetched, JobResult, OffsetRange, StoreJob, Topics};
use streams::store::Store;
use streams::topology::StoreSpec;
use streams::{Error, Result};

use super::env::{Disks, Shared, index, offset, place};
use super::rules::Rule;

/// A record that was fetched: topic, partition, place, key, value.
type SimRecord = (String, Partition, usize, Vec<u8>, Option<Vec<u8>>);

/// The thread that does a client's jobs. It works between any two steps of the worker.
pub(crate) struct Flusher {
    env: Shared,
    disks: Disks,
    job: Option<StoreJob>,
    done: Option<Result<JobResult>>,
}

impl Flusher {
    /// Does the job that is under way, if there is one.
    pub(crate) fn work(&mut self) {
        if let Some(job) = self.job.take() {
            self.done = Some(self.do_it(job));
        }
    }

    fn do_it(&self, job: StoreJob) -> Result<JobResult> {
        match job {
            StoreJob::Ends(changelogs) => {
                let mut env = self.env.borrow_mut();
                let ends = changelogs.into_iter().map(|changelog| {
                    let log = env.broker.log(&changelog.topic, index(changelog.task.partition));
                    let end = offset(log.stable());
                    (changelog, end)
                });
                Ok(JobResult::Ends(ends.collect()))
            }
            StoreJob::Write(changelogs) => {
                changelogs.iter().try_for_each(|changelog| self.write(changelog))?;
                Ok(JobResult::Written)
            }
        }
    }

    fn write(&self, Changelog { topic, task, store }: &Changelog) -> Result<()> {
        let partition = &task.partition;
        let mut env = self.env.borrow_mut();
        env.die(1, "between freeze and write")?;
        let disks = self.disks.borrow();
        let disk = &disks[&(topic.clone(), *partition)];
        if env.fault(1) {
            disk.tear(env.rng.random_range(0..5));
        }
        let written = store.write_frozen();
        disk.mend();
        if written.is_err() {
            return Err(env.dead("in the middle of writing a store"));
        }
        env.audit_disk(topic, *partition, disk)
    }
}

/// One client of a process.
pub(crate) struct SimTopics {
    env: Shared,
    disks: Disks,
    /// False once the process is dead.
    alive: Rc<Cell<bool>>,
    /// By topic and partition: the next place to read.
    followed: BTreeMap<(String, Partition), usize>,
    flusher: Rc<RefCell<Flusher>>,
}

impl SimTopics {
    /// A client that follows nothing.
    pub(crate) fn new(env: &Shared, disks: &Disks, alive: &Rc<Cell<bool>>) -> Self {
        let flusher =
            Flusher { env: Rc::clone(env), disks: Rc::clone(disks), job: None, done: None };
        Self {
            env: Rc::clone(env),
            disks: Rc::clone(disks),
            alive: Rc::clone(alive),
            followed: BTreeMap::new(),
            flusher: Rc::new(RefCell::new(flusher)),
        }
    }

    /// The thread that does its jobs.
    pub(crate) fn flusher(&self) -> Rc<RefCell<Flusher>> {
        Rc::clone(&self.flusher)
    }

    /// Some of what waits, and the places of the topics whose end is reached.
    fn fetch(&mut self) -> (Vec<SimRecord>, Vec<(String, Partition, usize)>) {
        let mut env = self.env.borrow_mut();
        let (mut records, mut ends) = (Vec::new(), Vec::new());
        for ((topic, partition), next) in &mut self.followed {
            let most = env.rng.random_range(0..12);
            let log = env.broker.log(topic, index(*partition));
            let stable = log.stable();
            for (at, record) in log.committed(*next, stable).take(most) {
                let (key, value) = (record.key.clone(), record.value.clone());
                records.push((topic.clone(), *partition, at, key, value));
                *next = at + 1;
            }
            if log.committed(*next, stable).next().is_none() {
                *next = stable.max(*next);
                ends.push((topic.clone(), *partition, *next));
            }
        }
        (records, ends)
    }
}

impl Topics for SimTopics {
    fn now(&self) -> Timestamp {
        self.env.borrow().time()
    }

    fn uptime(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.env.borrow().now).unwrap_or(0))
    }

    fn wait(&mut self, time: Duration) {
        self.env.borrow_mut().wait(time);
    }

    fn open(&mut self, spec: &StoreSpec, partition: Partition) -> Result<Box<dyn Store>> {
        let mut disks = self.disks.borrow_mut();
        let disk = disks.entry((spec.topic.clone(), partition)).or_default();
        self.env.borrow_mut().audit_disk(&spec.topic, partition, disk)?;
        Ok(Box::new(disk.clone()))
    }

    fn disk_bytes(&self) -> u64 {
        0
    }

    fn follow(&mut self, topic: &str, partition: Partition, next: Offset) -> Result<OffsetRange> {
        let mut env = self.env.borrow_mut();
        env.die(1, "before a restore")?;
        let passes = env.keeps(Rule::RestorePassesOpenTransactions);
        let log = env.broker.log(topic, index(partition));
        let end = if passes { log.high_watermark() } else { log.stable() };
        self.followed.insert((topic.into(), partition), place(next));
        Ok(OffsetRange { first: Offset(0), end: offset(end.max(place(next))) })
    }

    fn extent(&mut self, topic: &str, partition: Partition) -> Result<OffsetRange> {
        let mut env = self.env.borrow_mut();
        let end = offset(env.broker.log(topic, index(partition)).high_watermark());
        Ok(OffsetRange { first: Offset(0), end })
    }

    fn follow_anew(&mut self, all: &[(&str, Partition, Offset)]) -> Result<()> {
        let all = all.iter().map(|(topic, at, next)| (((*topic).to_owned(), *at), place(*next)));
        self.followed = all.collect();
        self.env.borrow_mut().note("follows all of it anew".into());
        Ok(())
    }

    fn unfollow(&mut self, topics: &[&str], partition: Partition) -> Result<()> {
        for topic in topics {
            self.followed.remove(&((*topic).to_owned(), partition));
        }
        // A task may begin to run.
        self.env.borrow_mut().audit_due = true;
        Ok(())
    }

    fn ends(&mut self, topics: &[(&str, Partition)]) -> Result<Vec<Option<Offset>>> {
        let mut env = self.env.borrow_mut();
        let ends = topics.iter().map(|(topic, partition)| {
            // A leader that has just changed does not know.
            let knows = !env.fault(5);
            let end = env.broker.log(topic, index(*partition)).high_watermark();
            knows.then_some(offset(end))
        });
        Ok(ends.collect())
    }

    fn read(
        &mut self,
        wait: Duration,
        mut take: impl FnMut(Fetched<'_>) -> Result<()>,
    ) -> Result<()> {
        let (records, ends) = self.fetch();
        for (topic, partition, at, key, value) in &records {
            take(Fetched::Record {
                topic: topic.as_bytes(),
                partition: *partition,
                offset: offset(*at),
                timestamp: Timestamp(0),
                key,
                value: value.as_deref(),
            })?;
        }
        for (topic, partition, next) in &ends {
            let (topic, partition, next) = (topic.as_bytes(), *partition, offset(*next));
            take(Fetched::End { topic, partition, next })?;
        }
        let mut env = self.env.borrow_mut();
        if env.fault(1)
            && let Some((topic, partition)) = self.followed.keys().next()
        {
            // A refusal without a reason.
            take(Fetched::OutOfRange { topic: topic.as_bytes(), partition: *partition })?;
        }
        if records.is_empty() {
            env.now += i64::try_from(wait.as_millis()).unwrap_or(0);
        }
        env.die(1, "in the middle of a restore")?;
        if env.fault(1) {
            return Err(Error::Unavailable("a fetch failed".into()));
        }
        Ok(())
    }

    fn submit(&mut self, job: StoreJob) -> Result<()> {
        self.flusher.borrow_mut().job = Some(job);
        Ok(())
    }

    fn done(&mut self, wait: Duration) -> Result<Option<JobResult>> {
        let mut flusher = self.flusher.borrow_mut();
        if !wait.is_zero() {
            flusher.work();
        }
        flusher.done.take().transpose()
    }
}

impl Drop for SimTopics {
    fn drop(&mut self) {
        if self.alive.get() {
            let faults = std::mem::take(&mut self.env.borrow_mut().faults);
            // What it would tell is heard by nobody.
            self.flusher.borrow_mut().work();
            self.env.borrow_mut().faults = faults;
        }
    }
}
