//! The broker: logs, the transaction coordinator, the group coordinator, and the auditor of both.
//!
//! ```text
//! transaction: Idle ──produce──► Open ──end──► Prepared ──markers──► Idle
//! group:       partition ──assign──► member ──revoke, acknowledged──► nobody
//!                                      └────── expelled ────────────► nobody
//! ```
//!
//! What it refuses is what Kafka refuses: an old epoch, offsets from one who is not in the group.
//! Offsets that are part of an undecided transaction are not stable, and are not given out.

use std::collections::{BTreeMap, BTreeSet};

use streams::record::Timestamp;
use streams::task::Consumed;

use super::log::Log;

/// Why a request was refused.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) &'static str);

/// One record of the source topic.
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
    offsets: BTreeMap<usize, Sent>,
    open: bool,
    /// Decided, markers not yet written.
    prepared: bool,
}

/// Everything that outlives the members.
#[derive(Default)]
pub(crate) struct Broker {
    /// By partition: the source topic.
    pub(crate) inputs: Vec<Vec<Event>>,
    logs: BTreeMap<(String, usize), Log>,
    /// By transactional id.
    transactions: Vec<Transaction>,
    members: BTreeSet<u64>,
    /// By partition.
    pub(crate) owner: Vec<Option<u64>>,
    /// By partition: its owner is asked to give it back.
    pub(crate) revoking: Vec<bool>,
    /// By partition: what the group has committed.
    pub(crate) offsets: Vec<Option<Consumed>>,
    /// By partition: the last one who was given its offsets.
    holder: Vec<u64>,
    /// What the auditor has found.
    pub(crate) violation: Option<String>,
}

impl Broker {
    /// Empty logs.
    pub(crate) fn new(partitions: usize, members: usize) -> Self {
        Self {
            inputs: (0..partitions).map(|_| Vec::new()).collect(),
            transactions: (0..members).map(|_| Transaction::default()).collect(),
            owner: vec![None; partitions],
            revoking: vec![false; partitions],
            offsets: vec![None; partitions],
            holder: vec![0; partitions],
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
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), Refused> {
        self.check(id, epoch)?;
        self.log(topic, partition).append(id, key, value);
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
        offsets: BTreeMap<usize, Sent>,
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
        self.audit(member, touched.iter().map(|(_, partition)| *partition), &offsets);
        for (partition, sent) in offsets {
            self.offsets[partition] = Some(sent.consumed);
        }
    }

    /// One writer for each partition; offsets and stream time never go back; nobody commits on top
    /// of what it does not know.
    fn audit(
        &mut self,
        member: u64,
        touched: impl Iterator<Item = usize>,
        offsets: &BTreeMap<usize, Sent>,
    ) {
        for partition in touched.chain(offsets.keys().copied()) {
            if self.holder[partition] != member {
                let holder = self.holder[partition];
                self.violated(format!("{member} wrote partition {partition}, held by {holder}"));
            }
        }
        for (partition, sent) in offsets {
            let known = self.offsets[*partition];
            if known != sent.base {
                self.violated(format!(
                    "partition {partition}: a commit from {:?} onto {known:?}",
                    sent.base
                ));
            }
            let (next, time) = known.map_or((0, Timestamp::MIN), |c| (c.next.0, c.stream_time));
            if sent.consumed.next.0 < next || sent.consumed.stream_time < time {
                self.violated(format!("partition {partition}: offsets or stream time go back"));
            }
        }
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

    /// Throws a member out, or lets it go: its partitions are nobody's.
    pub(crate) fn expel(&mut self, member: u64) {
        self.members.remove(&member);
        for partition in 0..self.owner.len() {
            if self.owner[partition] == Some(member) {
                self.release(partition);
            }
        }
    }

    /// A member has given a partition back.
    pub(crate) fn release(&mut self, partition: usize) {
        self.owner[partition] = None;
        self.revoking[partition] = false;
    }

    /// Whether it is in the group.
    pub(crate) fn is_member(&self, member: u64) -> bool {
        self.members.contains(&member)
    }

    /// The members.
    pub(crate) fn members(&self) -> Vec<u64> {
        self.members.iter().copied().collect()
    }

    /// Whether no pending transaction may change the offsets of a partition.
    pub(crate) fn are_stable(&self, partition: usize) -> bool {
        !self.transactions.iter().any(|t| t.offsets.contains_key(&partition))
    }

    /// The committed offsets of a partition. Its owner holds it from here on.
    pub(crate) fn take_offsets(&mut self, partition: usize, member: u64) -> Option<Consumed> {
        if self.owner[partition] == Some(member) {
            self.holder[partition] = member;
        }
        self.offsets[partition]
    }

    /// Whether it was the last to be given the partition.
    pub(crate) fn holds(&self, partition: usize, member: u64) -> bool {
        self.holder[partition] == member
    }
}
