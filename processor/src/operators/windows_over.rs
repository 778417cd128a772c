//! The windows of a pair over a span of time, found by their parents.

use schemas::Timestamp;

use super::Result;
use super::feed::Span;
use super::rules::REVISION_HORIZON_MS;
use crate::interval::Interval;

/// A window of a pair: its interval and its start.
pub(super) type WindowStart = (Interval, Timestamp);

/// The windows over a span that may exist, and the number of parents looked up to find them. A
/// parent that does not exist has no closed minute, so its minutes are left out, except the last
/// two, which may be open.
pub(super) fn existing(
    span: Span,
    newest: Timestamp,
    mut exists: impl FnMut(WindowStart) -> Result<bool>,
) -> Result<(Vec<WindowStart>, usize)> {
    let (mut parents, mut found) = (0, Vec::new());
    for day in starts(Interval::Day, span, newest) {
        parents += 1;
        if exists((Interval::Day, day))? {
            found.push((Interval::Day, day));
        }
    }
    let days = found.len();
    for hour in starts(Interval::Hour, span, newest) {
        let day = (Interval::Day, Interval::Day.start(hour));
        if found[..days].contains(&day) {
            parents += 1;
            if exists((Interval::Hour, hour))? {
                found.push((Interval::Hour, hour));
            }
        }
    }
    let hours: Vec<Timestamp> = found[days..].iter().map(|(_, start)| *start).collect();
    let last = Interval::Minute.start(newest);
    let may_be_open = Timestamp(last.0 - Interval::Minute.length_ms());
    let minutes = starts(Interval::Minute, span, newest)
        .filter(|&at| at >= may_be_open || hours.contains(&Interval::Hour.start(at)));
    found.extend(minutes.map(|start| (Interval::Minute, start)));
    Ok((found, parents))
}

/// The starts of the windows over a span, up to the newest event and within the horizon, which
/// bounds them to a day of minutes.
fn starts(
    interval: Interval,
    (from, until): Span,
    newest: Timestamp,
) -> impl Iterator<Item = Timestamp> {
    let from = from.max(Timestamp(newest.0.saturating_sub(REVISION_HORIZON_MS)));
    let first = interval.start(from);
    let until = until.min(Timestamp(newest.0.saturating_add(1)));
    let step = interval.length_ms();
    (0..).map(move |index: i64| Timestamp(first.0 + index * step)).take_while(move |s| *s < until)
}
