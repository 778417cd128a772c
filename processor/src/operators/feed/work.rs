//! The rest of a mark that is processed in steps, as it is saved in the exchange's state.
//!
//! ```text
//! bytes  mark | clock? | stage | next pair        as Avro bytes and longs
//! ```

use schemas::avro::{self, Malformed, Reader, Record};
use schemas::{FeedMark, Timestamp};

use crate::operators::rules::GRACE_MS;

/// In the order of their numbers in the state.
pub(super) const STAGES: [Stage; 3] = [Stage::Gap, Stage::CatchUp, Stage::Close];

/// A stage of processing a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Marks the windows over the gap.
    Gap,
    /// Revises the coverage by a late connection.
    CatchUp,
    /// Closes the windows that the clock has passed.
    Close,
}

/// The rest of a mark of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) mark: FeedMark,
    /// The exchange's clock before the mark; not known before the stage `Gap` is over.
    pub(crate) clock: Option<Timestamp>,
    pub(crate) stage: Stage,
    /// The first pair that is not done.
    pub(crate) next: Box<[u8]>,
}

impl Work {
    /// The whole of a mark.
    pub(crate) fn new(mark: &FeedMark) -> Self {
        Self { mark: mark.clone(), clock: None, stage: Stage::Gap, next: Box::default() }
    }

    /// Whether the mark does not move the exchange's clock.
    pub(crate) fn is_behind(&self) -> bool {
        self.clock.is_some_and(|clock| clock >= self.mark.healthy_until)
    }

    /// Whether the mark is of a connection that is late: others have closed windows of its time.
    pub(crate) fn is_late_connection(&self) -> bool {
        let from_clock = self.mark.part.and(self.mark.healthy_from).zip(self.clock);
        from_clock.is_some_and(|(from, clock)| {
            from < self.mark.healthy_until && from.0.saturating_add(GRACE_MS) < clock.0
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        self.mark.write(out);
        avro::optional(out, self.clock, |out, clock| avro::long(out, clock.0));
        avro::long(out, self.stage as i64);
        avro::bytes(out, &self.next);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            mark: FeedMark::read(reader)?,
            clock: reader.optional(|reader| reader.long().map(Timestamp))?,
            stage: reader.symbol(&STAGES)?,
            next: reader.bytes()?.into(),
        })
    }
}
