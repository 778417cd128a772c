//! The broker: logs, the transaction coordinator, the group coordinator, and the auditor of both.
//!
//! ```text
//! transaction: Idle ──produce──► Open ──end──► Prepared ──markers──► Idle
//! group:       task ──assign──► member ──revoke, acknowledged──► nobody
//!                                 └────── expelled ────────────► nobody
//! ```
//!
//! What it refuses is what Kafka refuses: an old epoch, offsets from one who is not in the group.
//! Offsets that are part of an undecided transaction are not stable, and are not given out.

use std::collections::{BTreeMap, BTreeSet};

use streams::record::{TaskId, Timestamp};
use streams::task::Consumed;

use super::log::Log;

/// Why a request was refused.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) &'static str);

/// One record of a source topic.
#[derive(Clone)]
pub(crate) struct Event {
    /// Milliseconds.
    pub(crate) timestamp: i64,
    /// Of the event.
    pub(crate) key: Vec<u8>,
    /// `None` is a tombstone.
    pub(crate) value: Option<Vec<u8>>,
}

/// Offsets as one sends them, and those it began from.
#[derive(Clone, Copy)]
pub(crate) struct Sent {
    /// Where to go on.
    pub(crate) consumed: Consumed,
    /// Where the sender's last commit was.
    pub(crate) base: Option<Consumed>,
}

#[derive(Default)]
struct Transaction {
    epoch: u64,
    /// The incarnation that holds the epoch.
    member: u64,
    touched: BTreeSet<(String, usize)>,
    offsets: BTreeMap<TaskId, Sent>,
    open: bool,
    /// Decided, markers not yet written.
    prepared: bool,
}

/// The group's view of a task.
#[derive(Default)]
pub(crate) struct Claimed {
    /// The member that owns it.
    pub(crate) owner: Option<u64>,
    /// Its owner is asked to give it back.
    pub(crate) is_revoking: bool,
    /// The committed offset.
    pub(crate) offset: Option<Consumed>,
    /// The last member that was given its offset.
    holder: u64,
}

/// Everything that outlives the members.
#[derive(Default)]
pub(crate) struct Broker {
    /// By partition: the source topic.
    pub(crate) inputs: Vec<Vec<Event>>,
    logs: BTreeMap<(String, usize), Log>,
    /// Topics with one writer for each partition: the sub-topology of the writer.
    written_by: BTreeMap<String, usize>,
    /// By transactional id.
    transactions: Vec<Transaction>,
    members: BTreeSet<u64>,
    /// Every task.
    pub(crate) tasks: BTreeMap<TaskId, Claimed>,
    /// The first finding of the auditor.
    pub(crate) violation: Option<String>,
}

impl Broker {
    /// Empty logs. `written_by` names the topics with one writer for each partition, and the
    /// sub-topology of the writer.
    pub(crate) fn new(
        tasks: &[TaskId],
        members: usize,
        written_by: BTreeMap<String, usize>,
    ) -> Self {
        let partitions = tasks.iter().filter(|task| task.sub_topology.0 == 0);
        Self {
            inputs: partitions.map(|_| Vec::new()).collect(),
            written_by,
            transactions: (0..members).map(|_| Transaction::default()).collect(),
            tasks: tasks.iter().map(|task| (*task, Claimed::default())).collect(),
            ..Self::default()
        }
    }

    /// A partition of an output topic.
    pub(crate) fn log(&mut self, topic: &str, partition: usize) -> &mut Log {
        self.logs.entry((topic.into(), partition)).or_default()
    }

    // Transactions.

    /// Fences whoever had the id, ends what it left, and gives an epoch.
    pub(crate) fn init(&mut self, id: usize, member: u64) -> u64 {
        self.settle(id);
        let transaction = &mut self.transactions[id];
        transaction.epoch += 1;
        transaction.member = member;
        transaction.epoch
    }

    /// Ends what an id has open: commits what is decided, aborts the rest.
    pub(crate) fn settle(&mut self, id: usize) {
        if self.transactions[id].prepared {
            self.finish(id, true);
        } else if self.transactions[id].open {
            // The epoch moves: whoever opened it cannot go on.
            self.transactions[id].epoch += 1;
            self.finish(id, false);
        }
    }

    fn check(&self, id: usize, epoch: u64) -> Result<(), Refused> {
        if self.transactions[id].epoch == epoch { Ok(()) } else { Err(Refused("epoch")) }
    }

    /// Writes a record within the transaction.
    pub(crate) fn produce(
        &mut self,
        (id, epoch): (usize, u64),
        (topic, partition): (&str, usize),
        (timestamp, key, value): (i64, &[u8], Option<&[u8]>),
    ) -> Result<(), Refused> {
        self.check(id, epoch)?;
        self.log(topic, partition).append(id, timestamp, key, value);
        let transaction = &mut self.transactions[id];
        transaction.open = true;
        transaction.touched.insert((topic.into(), partition));
        Ok(())
    }

    /// Puts offsets into the transaction. Without any, nothing is asked and nobody is fenced.
    pub(crate) fn send_offsets(
        &mut self,
        (id, epoch): (usize, u64),
        member: u64,
        offsets: BTreeMap<TaskId, Sent>,
    ) -> Result<(), Refused> {
        if offsets.is_empty() {
            return Ok(());
        }
        self.check(id, epoch)?;
        if !self.members.contains(&member) {
            return Err(Refused("not in the group"));
        }
        self.transactions[id].open = true;
        self.transactions[id].offsets.extend(offsets);
        Ok(())
    }

    /// Decides for a commit; the markers come later.
    pub(crate) fn prepare(&mut self, (id, epoch): (usize, u64)) -> Result<(), Refused> {
        self.check(id, epoch)?;
        self.transactions[id].prepared = self.transactions[id].open;
        Ok(())
    }

    /// Commits. A repeated request for what is done is answered as the first was.
    pub(crate) fn commit(&mut self, (id, epoch): (usize, u64)) -> Result<(), Refused> {
        self.prepare((id, epoch))?;
        self.finish(id, true);
        Ok(())
    }

    fn finish(&mut self, id: usize, committed: bool) {
        let transaction = &mut self.transactions[id];
        let member = transaction.member;
        let touched = std::mem::take(&mut transaction.touched);
        let offsets = std::mem::take(&mut transaction.offsets);
        (transaction.open, transaction.prepared) = (false, false);
        for (topic, partition) in &touched {
            self.log(topic, *partition).end(id, committed);
        }
        if !committed {
            return;
        }
        let writers = touched.iter().filter_map(|(topic, partition)| {
            let partition = i32::try_from(*partition).ok()?;
            Some(TaskId::new(*self.written_by.get(topic)?, partition))
        });
        self.audit(member, writers.collect(), &offsets);
        for (task, sent) in offsets {
            self.claimed(task).offset = Some(sent.consumed);
        }
    }

    /// One writer for each partition; offsets and stream time never go back; no member commits on top
    /// of an offset that it does not know.
    fn audit(&mut self, member: u64, writers: Vec<TaskId>, offsets: &BTreeMap<TaskId, Sent>) {
        for task in writers.into_iter().chain(offsets.keys().copied()) {
            let holder = self.claimed(task).holder;
            if holder != member {
                self.violated(format!("{member} wrote for task {task}, held by {holder}"));
            }
        }
        for (task, sent) in offsets {
            let known = self.claimed(*task).offset;
            if known != sent.base {
                self.violated(format!("task {task}: a commit from {:?} onto {known:?}", sent.base));
            }
            let (next, time) = known.map_or((0, Timestamp::MIN), |c| (c.next.0, c.stream_time));
            if sent.consumed.next.0 < next || sent.consumed.stream_time < time {
                self.violated(format!("task {task}: offset or stream time goes back"));
            }
        }
    }

    /// Deletes the records of a repartition topic before a place, for the task that reads them.
    pub(crate) fn purge(&mut self, task: TaskId, topic: &str, before: usize) {
        let committed = self.claimed(task).offset.map_or(0, |consumed| consumed.next.0);
        if i64::try_from(before).unwrap_or(i64::MAX) > committed {
            self.violated(format!("task {task}: records after {committed} are deleted: {before}"));
        }
        let log = self.log(topic, usize::try_from(task.partition.0).unwrap_or(0));
        log.start = log.start.max(before);
    }

    /// Keeps the first finding.
    pub(crate) fn violated(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    // The group.

    /// Takes a member.
    pub(crate) fn join(&mut self, member: u64) {
        self.members.insert(member);
    }

    /// Throws a member out, or lets it go: its tasks belong to no member.
    pub(crate) fn expel(&mut self, member: u64) {
        self.members.remove(&member);
        for claimed in self.tasks.values_mut().filter(|claimed| claimed.owner == Some(member)) {
            (claimed.owner, claimed.is_revoking) = (None, false);
        }
    }

    /// The group's view of a task.
    pub(crate) fn claimed(&mut self, task: TaskId) -> &mut Claimed {
        self.tasks.entry(task).or_default()
    }

    /// A member has given a task back.
    pub(crate) fn release(&mut self, task: TaskId) {
        let claimed = self.claimed(task);
        (claimed.owner, claimed.is_revoking) = (None, false);
    }

    /// Whether it is in the group.
    pub(crate) fn is_member(&self, member: u64) -> bool {
        self.members.contains(&member)
    }

    /// The members.
    pub(crate) fn members(&self) -> Vec<u64> {
        self.members.iter().copied().collect()
    }

    /// Whether no pending transaction may change the offset of a task.
    pub(crate) fn is_stable(&self, task: TaskId) -> bool {
        !self.transactions.iter().any(|t| t.offsets.contains_key(&task))
    }

    /// The committed offset of a task. Its owner holds the task from here on.
    pub(crate) fn take_offset(&mut self, task: TaskId, member: u64) -> Option<Consumed> {
        let claimed = self.claimed(task);
        if claimed.owner == Some(member) {
            claimed.holder = member;
        }
        claimed.offset
    }

    /// Whether it was the last to be given the task.
    pub(crate) fn holds(&self, task: TaskId, member: u64) -> bool {
        self.tasks.get(&task).is_some_and(|claimed| claimed.holder == member)
    }
}
