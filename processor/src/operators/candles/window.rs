//! A candle in the cache, with the set of counted ids decoded.

use schemas::{Candle, Status};

use super::merge::merge;
use super::seen::Seen;
use crate::operators::feed::WindowMarks;

/// A candle and the ids that it has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its own `seen` is empty; the field below replaces it.
    pub candle: Candle,
    /// The ids counted.
    pub seen: Seen,
}

impl Window {
    /// A window of that candle, which has counted no id.
    pub fn new(candle: Candle) -> Self {
        Self { candle, seen: Seen::default() }
    }

    /// Appends the candle with its ids as an Avro record.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.candle.write_before_seen(out);
        self.seen.write(out);
    }

    /// Takes the ids out of a candle.
    pub fn read(mut candle: Candle) -> Result<Self, String> {
        let seen = Seen::read(&candle.seen).ok_or("the counted ids of a candle are malformed")?;
        candle.seen = Vec::new();
        Ok(Self { candle, seen })
    }

    /// Marks a change by a late event.
    pub fn revise(&mut self) {
        self.candle.status = Status::Revised;
        self.candle.revision = self.candle.revision.saturating_add(1);
    }

    /// Sets the marks. Coverage and partial start are set when the window has closed; before that
    /// they are not known.
    pub fn mark(&mut self, marks: &WindowMarks, is_new: bool) {
        let marked = self.marked(marks, is_new);
        let candle = &mut self.candle;
        (candle.gap, candle.missing_trades, candle.coverage_ms, candle.partial_start) = marked;
    }

    /// Whether [`Self::mark`] would change the window.
    pub fn differs(&self, marks: &WindowMarks, is_new: bool) -> bool {
        let Candle { gap, missing_trades, coverage_ms, partial_start, .. } = self.candle;
        self.marked(marks, is_new) != (gap, missing_trades, coverage_ms, partial_start)
    }

    /// Gap, missing trades, coverage and partial start.
    fn marked(&self, marks: &WindowMarks, is_new: bool) -> (bool, Option<i64>, Option<i64>, bool) {
        let Candle { gap, missing_trades, coverage_ms, partial_start, status, .. } = self.candle;
        // The mark of a forgotten gap stays.
        if marks.forgotten && gap && !marks.gap {
            return (gap, missing_trades, coverage_ms, partial_start);
        }
        // A new window may overlap a forgotten gap, so it is marked.
        let gap = marks.gap || (is_new && marks.overflowed);
        if status == Status::Open {
            return (gap, marks.missing, coverage_ms, partial_start);
        }
        (gap, marks.missing, marks.coverage_ms, marks.partial_start)
    }
}

/// Merges a minute or an event into a parent. False when a sum does not fit.
pub(super) fn add_to_parent(window: &mut Option<Window>, part: &Candle, closed: bool) -> bool {
    let Some(known) = window else {
        let status = if closed { Status::Closed } else { Status::Open };
        *window = Some(Window::new(Candle { status, revision: 0, ..part.clone() }));
        return true;
    };
    if closed || known.candle.status != Status::Open {
        known.revise();
    }
    merge(&mut known.candle, part)
}
