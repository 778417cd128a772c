//! The windows of a pair over a span of time, found by their parents, and those after a time.

use std::collections::BTreeSet;

use schemas::Timestamp;
use streams::store::StoreHandle;

use super::Result;
use super::feed::Span;
use super::pairs::AFTER_ALL;
use super::rules::REVISION_HORIZON_MS;
use crate::interval::Interval;
use crate::store_keys;

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

/// The keys of a pair's windows that begin after a time. `keys` has the pair's keys of a window, one for
/// each basis, and `time` is the start of the window of a key.
pub(super) fn keys_after<V: Clone>(
    table: &StoreHandle<V>,
    interval: Interval,
    at: Timestamp,
    keys: impl Fn(Timestamp) -> Vec<Vec<u8>>,
    time: impl Fn(&[u8]) -> Option<Timestamp>,
) -> Result<BTreeSet<Vec<u8>>> {
    let limit = usize::try_from(store_keys::SEGMENT).unwrap_or_default();
    let (mut found, mut from) = (BTreeSet::new(), at);
    // From one segment with windows of any pair to the next.
    loop {
        let next = table.range(&store_keys::segment_prefix(interval, from), &AFTER_ALL, 1)?;
        let Some(start) = next.first().and_then(|(key, _)| time(key)) else {
            return Ok(found);
        };
        let start = store_keys::segment_start(interval, start);
        let end = store_keys::segment_end(interval, start);
        let first = start.max(Timestamp(at.0.saturating_add(1)));
        for (from, mut to) in keys(first).into_iter().zip(keys(Timestamp(end.0 - 1))) {
            to.push(0);
            if first < end {
                let windows = table.range(&from, &to, limit)?;
                found.extend(windows.into_iter().map(|(key, _)| key));
            }
        }
        from = end;
    }
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
