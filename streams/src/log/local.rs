//! The open log: commits, what is visible, and the swap of segments.
//!
//! Locks, each held for the time of a few map accesses and never during I/O:
//! - `queue`: commits that wait. A commit waits on `answered`, while one of the callers writes.
//! - `shared`: what readers see. It changes when a group is acknowledged, and by compaction.
//!
//! `compacting` is held for a whole compaction: there is one at a time.

use std::any::Any;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use super::commit::LogCommit;
use super::disk::{Directory, Disk};
use super::error::{LogError, Result};
use super::group::{ActiveFile, MAX_GROUP_BYTES, Pending, Queue, Receipt, Written, decoded};
use super::open::{self, Recovery};
use super::options::{Fsync, Options};
use super::segment::{Named, Sealed};
use super::summary::{ByPartition, Summary};
use crate::record::{Offset, Partition, Timestamp};
use crate::task::Consumed;

/// Where a partition begins and ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// The first offset that has not expired.
    pub first: Offset,
    /// The offset after the last visible record.
    pub end: Offset,
}

/// What is visible.
pub(super) struct Shared {
    pub(super) sealed: Vec<Arc<Sealed>>,
    /// The file of the last segment, when it is not sealed.
    pub(super) active: Option<Named>,
    /// Of the last segment, with the state of the log.
    pub(super) summary: Summary,
    /// The number of the next commit.
    pub(super) next: u64,
}

/// A log, open for one process. Dropping it leaves the directory as a crash does; [`Log::close`] seals it.
pub struct Log {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) options: Options,
    pub(super) directory: u128,
    recovery: Recovery,
    queue: Mutex<Queue>,
    answered: Condvar,
    shared: RwLock<Shared>,
    pub(super) compacting: Mutex<()>,
    _lock: Box<dyn Any + Send + Sync>,
}

/// A panic of another caller leaves the guarded values whole: they change by assignment.
pub(super) fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    /// Opens a directory of the file system, which is made when it is missing.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_directory(path: &Path, options: Options) -> Result<Self> {
        let directory = Directory::open(path);
        let directory = directory
            .map_err(|error| LogError::io(path.display().to_string(), "opening", &error))?;
        Self::open(Arc::new(directory), options)
    }

    /// Opens a log, and recovers what a crash has left.
    ///
    /// # Errors
    /// [`LogError::InUse`], [`LogError::Foreign`], [`LogError::Newer`], [`LogError::ReadOnly`],
    /// [`LogError::NoRoom`] when there is none for a copy of the last segment, and
    /// [`LogError::Damaged`] when an acknowledged commit is damaged.
    pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<Self> {
        options.check()?;
        let lock = open::lock(&*disk)?;
        let opened = open::open(&*disk, options.new_id)?;
        let last = opened.sealed.last();
        let summary = last.map(|last| last.summary.next()).unwrap_or_default();
        // Numbers begin at 1: 0 is `durable` before the first fsync.
        let next = last.map_or(1, |last| last.last + 1);
        let written = next - 1;
        let mut queue = Queue { next, ends: ends(&summary), ..Queue::default() };
        queue.file = ActiveFile { durable: written, written, ..ActiveFile::default() };
        Ok(Self {
            disk,
            options,
            directory: opened.directory,
            recovery: opened.recovery,
            queue: Mutex::new(queue),
            answered: Condvar::new(),
            shared: RwLock::new(Shared { sealed: opened.sealed, active: None, summary, next }),
            compacting: Mutex::new(()),
            _lock: lock,
        })
    }

    /// What the open has found.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// The id of the directory.
    pub fn directory_id(&self) -> u128 {
        self.directory
    }

    /// Writes a commit, and returns when it is acknowledged. `now` is wall-clock time, from which
    /// retention counts. Commits of several threads share a write.
    ///
    /// # Errors
    /// [`LogError::NoRoom`] and [`LogError::Refused`]: it is not there, and the log goes on.
    /// [`LogError::Unknown`]: it may be there, and the log must be opened again.
    /// [`LogError::Invalid`] for a commit that the format does not hold.
    #[expect(clippy::needless_pass_by_value, reason = "a commit is written once")]
    pub fn commit(&self, commit: LogCommit, now: Timestamp) -> Result<Receipt> {
        commit.check()?;
        let mut queue = hold(&self.queue);
        while queue.bytes >= MAX_GROUP_BYTES && queue.closed.is_none() {
            queue = self.wait(queue);
        }
        if let Some(error) = &queue.closed {
            return Err(error.clone());
        }
        let (ticket, receipt) = queue.enter(&commit, now)?;
        loop {
            if let Some(answer) = queue.answers.remove(&ticket) {
                return answer.map(|()| receipt);
            }
            queue = if queue.is_writing { self.wait(queue) } else { self.write(queue, Some(now)) };
        }
    }

    fn wait<'a>(&self, queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        self.answered.wait(queue).unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes all that is acknowledged durable: for the other policies than [`Fsync::Always`].
    ///
    /// # Errors
    /// [`LogError::Unknown`]: the log must be opened again.
    pub fn sync(&self, now: Timestamp) -> Result<()> {
        self.alone(|file| file.sync(Some(now)))
    }

    /// Seals the last segment, so that the next open has nothing to recover.
    ///
    /// # Errors
    /// As [`Self::commit`]. The log is whole nevertheless.
    pub fn close(self) -> Result<()> {
        self.alone(|file| self.seal(file))
    }

    /// Runs an operation that has the file to itself.
    fn alone(&self, work: impl FnOnce(&mut ActiveFile) -> Result<()>) -> Result<()> {
        let mut queue = hold(&self.queue);
        while queue.is_writing {
            queue = self.wait(queue);
        }
        if let Some(error) = &queue.closed {
            return Err(error.clone());
        }
        queue.is_writing = true;
        let mut file = queue.file.clone();
        drop(queue);
        let result = work(&mut file);
        let mut queue = hold(&self.queue);
        queue.file = file;
        self.end_writing(&mut queue, result.as_ref().err());
        result
    }

    /// Writes all that waits, as one group. The lock is not held during the write.
    fn write<'a>(
        &'a self,
        mut queue: MutexGuard<'a, Queue>,
        now: Option<Timestamp>,
    ) -> MutexGuard<'a, Queue> {
        queue.is_writing = true;
        let group = std::mem::take(&mut queue.pending);
        queue.bytes = 0;
        let mut file = queue.file.clone();
        drop(queue);
        let tickets: Vec<u64> = group.iter().map(|pending| pending.ticket).collect();
        let result = self.write_group(&mut file, group, now);
        let mut queue = hold(&self.queue);
        queue.file = file;
        if let Err(error) = &result {
            // Offsets and numbers of those that came meanwhile follow those that failed.
            let later = std::mem::take(&mut queue.pending);
            queue.bytes = 0;
            for pending in later {
                queue.answers.insert(pending.ticket, Err(error.clone()));
            }
            self.take_back(&mut queue);
        }
        queue.answers.extend(tickets.into_iter().map(|ticket| (ticket, result.clone())));
        self.end_writing(&mut queue, result.as_ref().err());
        queue
    }

    fn end_writing(&self, queue: &mut Queue, error: Option<&LogError>) {
        queue.is_writing = false;
        if let Some(error @ LogError::Unknown { .. }) = error {
            queue.closed = Some(error.clone());
        }
        self.answered.notify_all();
    }

    /// The next commit follows what is visible.
    fn take_back(&self, queue: &mut Queue) {
        let shared = self.shared();
        queue.next = shared.next;
        queue.ends = ends(&shared.summary);
    }

    fn write_group(
        &self,
        file: &mut ActiveFile,
        group: Vec<Pending>,
        now: Option<Timestamp>,
    ) -> Result<()> {
        let Some(first) = group.first().map(|pending| pending.number) else { return Ok(()) };
        if file.open.as_ref().is_some_and(|open| open.length >= self.options.segment_bytes) {
            self.seal(file)?;
        }
        file.begin(&*self.disk, self.directory, first)?;
        let written = file.append(group)?;
        let is_due = match self.options.fsync {
            Fsync::Always => true,
            Fsync::Never => false,
            Fsync::Interval(time) => is_due(file.synced_at, now, time),
        };
        if is_due {
            file.sync(now)?;
        }
        self.publish(file, &written)
    }

    /// Makes a group visible.
    fn publish(&self, file: &ActiveFile, group: &[Written]) -> Result<()> {
        let bodies = group.iter().map(|written| Ok((written.position, decoded(written)?)));
        let bodies = bodies.collect::<Result<Vec<_>>>()?;
        let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        for (position, body) in &bodies {
            shared.summary.add(*position, body);
        }
        shared.next = file.written + 1;
        shared.active = file.open.as_ref().map(|open| open.named.clone());
        Ok(())
    }

    fn seal(&self, file: &mut ActiveFile) -> Result<()> {
        let summary = self.shared().summary.clone();
        let next = summary.next();
        if let Some(sealed) = file.seal(summary)? {
            let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
            shared.sealed.push(Arc::new(sealed));
            (shared.active, shared.summary) = (None, next);
        }
        Ok(())
    }

    /// Replaces the first segments by what compaction has made of them.
    pub(super) fn replace(&self, count: usize, by: Arc<Sealed>, at: usize) {
        let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        shared.sealed.splice(at..at + count, [by]);
    }

    pub(super) fn shared(&self) -> RwLockReadGuard<'_, Shared> {
        self.shared.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a partition begins and ends. An unknown one is empty.
    pub fn extent(&self, topic: &str, partition: Partition) -> Extent {
        self.shared().extent(topic, partition)
    }

    /// Every partition that has had a record.
    pub fn partitions(&self) -> Vec<(String, Partition)> {
        let shared = self.shared();
        let all = shared.summary.partitions.iter();
        all.map(|(topic, partition, _)| (topic.to_owned(), partition)).collect()
    }

    /// How far a group has processed a partition.
    pub fn consumed(&self, group: &str, topic: &str, partition: Partition) -> Option<Consumed> {
        let key = (group.to_owned(), topic.to_owned(), partition);
        self.shared().summary.consumed.get(&key).copied()
    }

    /// How many commits are visible, with those that compaction has removed.
    pub fn commits(&self) -> u64 {
        self.shared().next - 1
    }

    /// Segments that are sealed.
    pub fn sealed_segments(&self) -> usize {
        self.shared().sealed.len()
    }
}

fn is_due(synced_at: Option<Timestamp>, now: Option<Timestamp>, time: std::time::Duration) -> bool {
    let (Some(synced_at), Some(now)) = (synced_at, now) else { return true };
    // A clock that was set back does not postpone it.
    let passed = u128::try_from(now.0.saturating_sub(synced_at.0));
    passed.is_ok_and(|passed| passed >= time.as_millis()) || passed.is_err()
}

fn ends(summary: &Summary) -> ByPartition<Offset> {
    let mut ends = ByPartition::default();
    for (topic, partition, state) in summary.partitions.iter() {
        *ends.entry(topic, partition) = state.end;
    }
    ends
}

impl Shared {
    pub(super) fn extent(&self, topic: &str, partition: Partition) -> Extent {
        let of = |summary: &Summary| summary.partitions.get(topic, partition).map(|p| p.expired);
        let expired = self.sealed.iter().filter_map(|sealed| of(&sealed.summary)).max();
        let end = self.summary.partitions.get(topic, partition).map(|state| state.end);
        Extent { first: expired.unwrap_or_default(), end: end.unwrap_or_default() }
    }
}

impl Queue {
    /// Numbers a commit, and gives its records offsets.
    fn enter(&mut self, commit: &LogCommit, now: Timestamp) -> Result<(u64, Receipt)> {
        let mut ends: ByPartition<Option<Offset>> = ByPartition::default();
        let mut firsts = Vec::with_capacity(commit.appends.len());
        for append in &commit.appends {
            let known = self.ends.get(&append.topic, append.partition).copied();
            let end = ends.entry(&append.topic, append.partition);
            let first = end.or(known).unwrap_or_default();
            firsts.push(first);
            *end = Some(Offset(first.0 + append.records.len().cast_signed() as i64));
        }
        let body = commit.encode(now, &firsts)?;
        for (topic, partition, end) in ends.iter() {
            *self.ends.entry(topic, partition) = end.unwrap_or_default();
        }
        let (ticket, number) = (self.tickets, self.next);
        (self.tickets, self.next, self.bytes) = (ticket + 1, number + 1, self.bytes + body.len());
        self.pending.push(Pending { ticket, number, body });
        Ok((ticket, Receipt { number, firsts }))
    }
}
