//! User logic: one record in, any number out, and nothing but its stores to remember by.

use crate::error::Failure;
use crate::punctuation::Schedule;
use crate::record::{Offset, Partition, Timestamp};
use crate::topology::{Child, Scope};

/// One step of a topology.
///
/// A processor does no I/O and reads no clock: what it knows is its input, its stores and the
/// [`Context`]. The same records in the same order give the same outputs, byte for byte.
///
/// A processor that returns [`Failure::Drop`] must not have changed a store before: the record
/// goes to the dead letters as if it had never been processed.
pub trait Processor: 'static {
    /// What it takes.
    type In: 'static;
    /// What it forwards.
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
    /// A record that makes more work than fits between two commits is worked off in steps. What is
    /// left of it must stand in a store: the task may commit, or die, between two steps.
    fn resume(&mut self, context: &mut Context<'_, Self::Out>) -> Result<(), Failure> {
        let _ = context;
        Ok(())
    }
}

/// What a processor may know and do while it runs.
pub struct Context<'a, Out> {
    pub(crate) scope: &'a mut Scope,
    pub(crate) children: &'a [Child<Out>],
}

impl<Out> Context<'_, Out> {
    /// Hands `record` to everything downstream, at once.
    pub fn forward(&mut self, record: &Out) -> Result<(), Failure> {
        self.children.iter().try_for_each(|child| child(self.scope, record))
    }

    /// Asks for [`Processor::resume`] before the next record.
    pub fn again(&mut self) {
        self.scope.again = true;
    }

    /// Where the source record stands; the one before, during punctuation and [`Processor::resume`].
    pub const fn offset(&self) -> Offset {
        self.scope.offset
    }

    /// The partition of the task.
    pub const fn partition(&self) -> Partition {
        self.scope.partition
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
