//! The processor API: one record in, any number out; its only state is in its stores.

use std::collections::BTreeMap;

use crate::error::Failure;
use crate::punctuation::Schedule;
use crate::record::{Offset, Partition, RepartitionRecord, SinkRecord, TaskId, Timestamp};

/// A node downstream of a stream, called for each of its records.
pub(crate) type Child<T> = Box<dyn Fn(&mut Scope, &T) -> Result<(), Failure>>;

/// State that the nodes of a task share while they process a record.
#[derive(Default)]
pub(crate) struct Scope {
    pub(crate) task: TaskId,
    pub(crate) offset: Offset,
    pub(crate) timestamp: Timestamp,
    pub(crate) stream_time: Timestamp,
    /// Records for sinks, by the sink's index.
    pub(crate) outputs: Vec<Vec<SinkRecord>>,
    /// Records for repartition topics, by the order of their declaration.
    pub(crate) repartitioned: Vec<Vec<RepartitionRecord>>,
    /// How late the late records were, in milliseconds.
    pub(crate) late: Vec<i64>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// A processor has asked for [`Processor::resume`].
    pub(crate) again: bool,
}

impl Scope {
    pub(crate) fn count(&mut self, event: &'static str) {
        *self.counts.entry(event).or_default() += 1;
    }

    pub(crate) fn take_counts(&mut self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut self.counts)
    }
}

/// One step of a topology.
///
/// A processor does no I/O and reads no clock: what it knows is its input, its stores and the
/// [`Context`]. The same records in the same order give the same outputs, byte for byte.
///
/// A processor that returns [`Failure::Drop`] must not have changed a store before: the record
/// goes to the dead letters as if it had never been processed.
pub trait Processor: 'static {
    /// Its input records.
    type In: 'static;
    /// The records that it forwards.
    type Out: 'static;

    /// Takes one record.
    fn process(
        &mut self,
        context: &mut Context<'_, Self::Out>,
        record: &Self::In,
    ) -> Result<(), Failure>;

    /// When to call [`Self::punctuate`]; by default never.
    fn schedule(&self) -> Option<Schedule> {
        None
    }

    /// Called when its schedule is due at `time`, between records.
    fn punctuate(
        &mut self,
        context: &mut Context<'_, Self::Out>,
        time: Timestamp,
    ) -> Result<(), Failure> {
        let _ = (context, time);
        Ok(())
    }

    /// Called before the next record for as long as the step before has asked for it with
    /// [`Context::again`], and once when a task starts or has been discarded.
    ///
    /// A record with more work than fits between two commits is processed in steps. The rest of the work
    /// has to be in a store: the task may commit, or die, between two steps.
    fn resume(&mut self, context: &mut Context<'_, Self::Out>) -> Result<(), Failure> {
        let _ = context;
        Ok(())
    }
}

/// The environment of a processor while it runs.
pub struct Context<'a, Out> {
    pub(crate) scope: &'a mut Scope,
    pub(crate) children: &'a [Child<Out>],
}

impl<Out> Context<'_, Out> {
    /// Hands `record` to everything downstream, at once.
    pub fn forward(&mut self, record: &Out) -> Result<(), Failure> {
        self.children.iter().try_for_each(|child| child(self.scope, record))
    }

    /// Claims for [`Processor::resume`] before the next record.
    pub fn again(&mut self) {
        self.scope.again = true;
    }

    /// Where the source record stands; the one before, during punctuation and [`Processor::resume`].
    pub const fn offset(&self) -> Offset {
        self.scope.offset
    }

    /// The partition of the task.
    pub const fn partition(&self) -> Partition {
        self.scope.task.partition
    }

    /// The source record's own timestamp.
    pub const fn timestamp(&self) -> Timestamp {
        self.scope.timestamp
    }

    /// The highest timestamp that the task has processed.
    pub const fn stream_time(&self) -> Timestamp {
        self.scope.stream_time
    }

    /// Counts a record that came after its window had closed, and how late it was.
    pub fn late(&mut self, milliseconds: i64) {
        self.scope.late.push(milliseconds);
    }

    /// Counts something that happened to a record which was not dropped; `what` is a metric label.
    pub fn count(&mut self, what: &'static str) {
        self.scope.count(what);
    }
}
