//! The interface between the engine and its surroundings: all calls of a worker and of a follower.
//!
//! | trait | calls | worker | follower, view |
//! |---|---|---|---|
//! | [`Group`] | membership, source records, the commit | yes | no |
//! | [`Topics`] | changelogs to follow, stores on disk, time | yes | yes |
//!
//! They are two traits because a follower is in no group and writes no commit. `runtime/kafka.rs`
//! implements both over librdkafka, and the simulation in `tests/` over a broker in memory. A source
//! and its partition are named by a [`TaskId`], so a worker with several source topics needs no other calls.
//!
//! No call blocks on another member: it returns "not yet" or takes a time limit, so that one thread can
//! drive several workers.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::record::{Offset, Partition, SourceRecord, TaskId, Timestamp};
use crate::store::{Committed, Moment, Store};
use crate::task::{Commit, Consumed};
use crate::topology::StoreSpec;

/// A decision of the group about this member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rebalance {
    /// Tasks to take.
    Assign(Vec<TaskId>),
    /// Tasks to give back.
    Revoke {
        /// The tasks.
        tasks: Vec<TaskId>,
        /// They belong to another member already: nothing of them may be written.
        lost: bool,
    },
}

/// The offset at which a task resumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartPosition {
    /// The task.
    pub task: TaskId,
    /// The committed offset with its stream time. [`Group::decide`] gives the one that is missing, so
    /// every commit has an offset to send.
    pub consumed: Option<Consumed>,
}

/// A task without a committed offset: it is new, or the offset has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingOffset {
    /// The task.
    pub task: TaskId,
    /// Its stores hold state on disk.
    pub is_on_disk: bool,
}

/// A member of the application's group, and the one who writes its commits.
///
/// ```text
/// commit: begin ► write (a task at a time) ► flush ► send_offsets ► commit
/// ```
///
/// An error of any call ends the worker: it is dropped, and another one joins.
pub trait Group {
    /// Serves the group, and returns its decisions since the last call, oldest first. Each is
    /// answered by [`Self::assign`] or [`Self::unassign`].
    fn poll(&mut self) -> Result<Vec<Rebalance>>;

    /// The group has given the partitions to others, as far as this member knows.
    fn is_lost(&self) -> bool;

    /// Where tasks go on. `None` while a pending transaction of a former owner may still change the
    /// answer: ask again.
    fn positions(&mut self, tasks: &[TaskId]) -> Result<Option<Vec<StartPosition>>>;

    /// Decides where those tasks of the last answer go on that have no offset.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] when a person has to decide: there is state of them.
    fn decide(&mut self, missing: &[MissingOffset]) -> Result<Vec<StartPosition>>;

    /// Answers an assignment: records come from the positions of the last answer on.
    fn assign(&mut self, tasks: &[TaskId]) -> Result<()>;

    /// Answers a revocation.
    fn unassign(&mut self, tasks: &[TaskId]) -> Result<()>;

    /// Gives waiting records to `take`, and waits up to `wait` for the first.
    fn take(&mut self, wait: Duration, take: impl FnMut(SourceRecord<'_>)) -> Result<()>;

    /// Takes no further records of a task.
    fn pause(&mut self, task: TaskId) -> Result<()>;

    /// Takes records of a paused task again.
    fn resume(&mut self, task: TaskId) -> Result<()>;

    /// Records between `position` and the committed end of a task's source, as far as known.
    fn lag(&mut self, task: TaskId, position: Offset) -> Option<i64>;

    /// Asks the broker to delete the records of repartition topics before these offsets, which are
    /// committed. It does not wait for the answer.
    fn purge(&mut self, committed: &[(TaskId, Offset)]) -> Result<()>;

    /// Opens a commit.
    fn begin(&mut self) -> Result<()>;

    /// Hands over all records of one task's commit.
    fn write(&mut self, task: TaskId, commit: &Commit) -> Result<()>;

    /// Waits until all records are written.
    fn flush(&mut self) -> Result<()>;

    /// Ties consumed offsets to what is written. The group refuses the offsets of a
    /// member that it has given up.
    fn send_offsets(&mut self, offsets: &[(TaskId, Consumed)]) -> Result<()>;

    /// Makes everything since [`Self::begin`] visible, all or nothing.
    ///
    /// # Errors
    /// [`crate::Error::Indeterminate`] when the outcome is not known.
    fn commit(&mut self) -> Result<()>;
}

/// Where a topic begins and ends, records of open transactions included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetRange {
    /// The first offset.
    pub first: Offset,
    /// The offset after the last record.
    pub end: Offset,
}

/// An event of a followed topic.
#[derive(Clone, Copy, Debug)]
pub enum Fetched<'a> {
    /// A committed record.
    Record {
        /// The topic.
        topic: &'a [u8],
        /// Its partition.
        partition: Partition,
        /// Where it stands.
        offset: Offset,
        /// The record's own timestamp.
        timestamp: Timestamp,
        /// The key.
        key: &'a [u8],
        /// `None` is a tombstone.
        value: Option<&'a [u8]>,
    },
    /// The end of the topic, as of now.
    End {
        /// The topic.
        topic: &'a [u8],
        /// Its partition.
        partition: Partition,
        /// The next offset to come.
        next: Offset,
    },
    /// The position is no longer in the topic, which is not read any further: see
    /// [`Topics::follow_anew`].
    OutOfRange {
        /// The topic.
        topic: &'a [u8],
        /// Its partition.
        partition: Partition,
    },
}

/// One store's changelog.
#[derive(Clone)]
pub struct Changelog {
    /// Its topic.
    pub topic: String,
    /// The task of the store: its partition is that of the topic.
    pub task: TaskId,
    /// The store.
    pub store: Arc<Committed>,
}

/// Work of the background thread.
pub enum StoreJob {
    /// Ask where the first open transaction of each changelog begins, or where it ends if none is open.
    Ends(Vec<Changelog>),
    /// Write the frozen changes of these stores ([`Committed::write_frozen`]).
    Write(Vec<Changelog>),
}

/// A finished [`StoreJob`].
pub enum JobResult {
    /// The ends of the changelogs.
    Ends(Vec<(Changelog, Offset)>),
    /// The frozen changes are on disk.
    Written,
}

/// Output topics to follow, stores on disk, and time.
pub trait Topics {
    /// Wall-clock time.
    fn now(&self) -> Timestamp;

    /// Monotonic time since a moment that is the same for all clients of a process.
    fn uptime(&self) -> Duration;

    /// Both clocks, to compute ages.
    fn moment(&self) -> Moment {
        Moment::new(self.now(), self.uptime())
    }

    /// Waits.
    fn wait(&mut self, time: Duration);

    /// Opens one store of a partition, as it is on disk.
    fn open(&mut self, spec: &StoreSpec, partition: Partition) -> Result<Box<dyn Store>>;

    /// Bytes of all stores on disk.
    fn disk_bytes(&self) -> u64;

    /// Follows a topic under `read_committed`, from `next` or from where the topic begins if that
    /// is later. Returns where it begins and ends.
    fn follow(&mut self, topic: &str, partition: Partition, next: Offset) -> Result<OffsetRange>;

    /// Where a topic begins and ends.
    fn extent(&mut self, topic: &str, partition: Partition) -> Result<OffsetRange>;

    /// Replaces all that is followed by these. A partition that was out of range is read again from its
    /// new offset.
    fn follow_anew(&mut self, all: &[(&str, Partition, Offset)]) -> Result<()>;

    /// Follows topics of one partition no longer.
    fn unfollow(&mut self, topics: &[&str], partition: Partition) -> Result<()>;

    /// The ends of topics, records of open transactions included, in one request to each broker; `None`
    /// for a partition whose leader is unknown.
    fn ends(&mut self, topics: &[(&str, Partition)]) -> Result<Vec<Option<Offset>>>;

    /// Gives waiting events to `take`, and waits up to `wait` for the first.
    fn read(&mut self, wait: Duration, take: impl FnMut(Fetched<'_>) -> Result<()>) -> Result<()>;

    /// Begins a job. The caller has one under way at a time.
    fn submit(&mut self, job: StoreJob) -> Result<()>;

    /// The job under way, once it is done; waits for it up to `wait`.
    fn done(&mut self, wait: Duration) -> Result<Option<JobResult>>;
}
