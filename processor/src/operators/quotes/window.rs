//! One window of spreads: quotes count into a minute, minutes merge into their hour and day.
//!
//! | field | of quotes | of parts |
//! |---|---|---|
//! | `updates` | the quotes that came | sum |
//! | minimum, maximum, high, low | of all that were in force | extremes |
//! | `mid_open` | the first in force | the first known |
//! | `mid_close`, `spread_last` | the last that came | the last known |
//! | sums, `counted_ms` | value × milliseconds in force | sums |
//! | `mid_mean_10`, `microprice`, `imbalance` | of the last that came | of the last part |
//! | `gap`, `coverage_ms`, status, revision | set by the feed's state and the window | not merged |
//!
//! Merging is associative: parts come in the order of time.

use schemas::{Decimal, Quote, Spread, Status};

use super::in_force::InForce;
use crate::operators::feed::{Span, WindowMarks};

/// Counts a quote that came.
pub(super) fn count(spread: &mut Spread, quote: &Quote, mid_mean_10: Option<Decimal>) {
    spread.updates = spread.updates.saturating_add(1);
    if let Some(measures) = quote.spread().zip(quote.mid()) {
        see(spread, measures);
    }
    spread.mid_mean_10 = mid_mean_10;
    spread.microprice = quote.microprice();
    spread.imbalance = quote.imbalance();
}

/// Counts the quote that is in force when the window begins, unless one came at that instant.
pub(super) fn count_carried(spread: &mut Spread, carried: &InForce, window: Span) {
    if carried.ms_within(window) > 0 {
        if let Some(measures) = carried.measures {
            see(spread, measures);
        }
        weigh(spread, carried, window);
    }
}

/// Counts the milliseconds in which a quote was in force.
pub(super) fn weigh(spread: &mut Spread, quote: &InForce, window: Span) {
    let Some((value, mid)) = quote.measures else { return };
    let ms = quote.ms_within(window);
    spread.spread_sum.add(value, ms);
    spread.mid_sum.add(mid, ms);
    spread.counted_ms = spread.counted_ms.saturating_add(ms.into());
}

/// Counts a spread and its mid.
fn see(spread: &mut Spread, (value, mid): (Decimal, Decimal)) {
    let magnitude =
        if value.is_negative() { Decimal::ZERO.checked_sub(value) } else { Some(value) };
    merge_extremes(
        spread,
        &Spread {
            spread_min: Some(value),
            spread_max: Some(value),
            spread_max_abs: magnitude,
            mid_open: Some(mid),
            mid_high: Some(mid),
            mid_low: Some(mid),
            mid_close: Some(mid),
            spread_last: Some(value),
            ..Spread::default()
        },
    );
}

/// Merges a later part into a window.
pub fn merge_spreads(whole: &mut Spread, part: &Spread) {
    merge_extremes(whole, part);
    whole.updates = whole.updates.saturating_add(part.updates);
    whole.spread_sum.merge(part.spread_sum);
    whole.mid_sum.merge(part.mid_sum);
    whole.counted_ms = whole.counted_ms.saturating_add(part.counted_ms);
    whole.mid_mean_10 = part.mid_mean_10;
    whole.microprice = part.microprice;
    whole.imbalance = part.imbalance;
}

fn merge_extremes(whole: &mut Spread, part: &Spread) {
    whole.spread_min = either(whole.spread_min, part.spread_min, Ord::min);
    whole.spread_max = either(whole.spread_max, part.spread_max, Ord::max);
    whole.spread_max_abs = either(whole.spread_max_abs, part.spread_max_abs, Ord::max);
    whole.mid_open = whole.mid_open.or(part.mid_open);
    whole.mid_high = either(whole.mid_high, part.mid_high, Ord::max);
    whole.mid_low = either(whole.mid_low, part.mid_low, Ord::min);
    whole.mid_close = part.mid_close.or(whole.mid_close);
    whole.spread_last = part.spread_last.or(whole.spread_last);
}

fn either(
    one: Option<Decimal>,
    other: Option<Decimal>,
    both: fn(Decimal, Decimal) -> Decimal,
) -> Option<Decimal> {
    match (one, other) {
        (Some(one), Some(other)) => Some(both(one, other)),
        (one, other) => one.or(other),
    }
}

/// Merges a closed minute into its hour or day.
pub(super) fn add_to_parent(window: &mut Option<Spread>, part: &Spread) {
    let parent = window.get_or_insert_with(Spread::default);
    merge_spreads(parent, part);
    if parent.status != Status::Open {
        revise(parent);
    }
}

/// Marks a change of a closed window.
pub(super) fn revise(spread: &mut Spread) {
    spread.status = Status::Revised;
    spread.revision = spread.revision.saturating_add(1);
}

/// The marks of a window: gap and coverage. Coverage is not known before the window has closed. The
/// mark of a forgotten gap stays, and a new window may overlap one that is forgotten.
pub(super) fn marked(spread: &Spread, marks: &WindowMarks, is_new: bool) -> (bool, Option<i64>) {
    if marks.forgotten && spread.gap && !marks.gap {
        return (spread.gap, spread.coverage_ms);
    }
    let is_open = spread.status == Status::Open;
    let coverage_ms = if is_open { spread.coverage_ms } else { marks.coverage_ms };
    (marks.gap || (is_new && marks.overflowed), coverage_ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schemas::{Proof, Timestamp};

    use super::*;

    prop_compose! {
        fn quote()(
            bid in prop::option::of(-50i128..50), above in 0i128..9, ask in any::<bool>(),
            sizes in (0i128..4, 0i128..4),
        ) -> Quote {
            let decimal = |units: i128| Decimal::from_units(units * 1_000_000_000_000);
            let asked = ask.then(|| decimal(bid.unwrap_or(3) + above)).flatten();
            Quote {
                bid: bid.and_then(decimal),
                bid_size: bid.and_then(|_| decimal(sizes.0)),
                ask: asked,
                ask_size: asked.and_then(|_| decimal(sizes.1)),
                ..Quote::empty(Proof::None, Timestamp(1))
            }
        }
    }

    prop_compose! {
        /// A closed minute of at least one quote.
        fn minute()(quotes in prop::collection::vec((quote(), 0i64..60_000), 1..5), mean: bool) -> Spread {
            let mut spread = Spread { status: Status::Closed, ..Spread::default() };
            for (quote, ms) in quotes {
                count(&mut spread, &quote, Decimal::from_units(7).filter(|_| mean));
                let in_force = InForce {
                    since: Timestamp(0),
                    until: Some(Timestamp(ms)),
                    measures: quote.spread().zip(quote.mid()),
                };
                weigh(&mut spread, &in_force, (Timestamp(0), Timestamp(60_000)));
            }
            spread
        }
    }

    fn fold<'a>(parts: impl IntoIterator<Item = &'a Spread>) -> Spread {
        parts.into_iter().fold(Spread::default(), |mut whole, part| {
            merge_spreads(&mut whole, part);
            whole
        })
    }

    proptest! {
        #[test]
        fn any_split_of_minutes_merges_to_the_same_hour(
            minutes in prop::collection::vec(minute(), 1..10),
            split in prop::collection::vec(1usize..4, 1..10),
        ) {
            let mut rest = &minutes[..];
            let mut parts = Vec::new();
            for length in split.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (part, after) = rest.split_at((*length).min(rest.len()));
                parts.push(fold(part));
                rest = after;
            }
            prop_assert_eq!(fold(&parts), fold(&minutes));
        }

        #[test]
        fn an_hour_has_the_sums_and_extremes_of_its_minutes(
            minutes in prop::collection::vec(minute(), 1..10),
        ) {
            let hour = fold(&minutes);
            let known = |of: fn(&Spread) -> Option<Decimal>| minutes.iter().filter_map(of);
            prop_assert_eq!(hour.updates, minutes.iter().map(|one| one.updates).sum::<i64>());
            prop_assert_eq!(hour.counted_ms, minutes.iter().map(|one| one.counted_ms).sum::<i64>());
            prop_assert_eq!(hour.spread_min, known(|one| one.spread_min).min());
            prop_assert_eq!(hour.spread_max, known(|one| one.spread_max).max());
            prop_assert_eq!(hour.spread_max_abs, known(|one| one.spread_max_abs).max());
            prop_assert_eq!(hour.mid_open, known(|one| one.mid_open).next());
            prop_assert_eq!(hour.mid_high, known(|one| one.mid_high).max());
            prop_assert_eq!(hour.mid_low, known(|one| one.mid_low).min());
            prop_assert_eq!(hour.mid_close, known(|one| one.mid_close).next_back());
            let last = minutes.last().map(|one| (one.mid_mean_10, one.microprice, one.imbalance));
            prop_assert_eq!(Some((hour.mid_mean_10, hour.microprice, hour.imbalance)), last);
        }
    }

    #[test]
    fn a_part_that_comes_after_the_parent_has_closed_revises_it() {
        let mut hour = Some(Spread { status: Status::Closed, ..Spread::default() });
        add_to_parent(&mut hour, &Spread { updates: 2, ..Spread::default() });
        let hour = hour.unwrap();
        assert_eq!((hour.updates, hour.status, hour.revision), (2, Status::Revised, 1));
    }

    #[test]
    fn the_mark_of_a_forgotten_gap_stays_and_a_new_window_has_that_of_one_that_overflowed() {
        let closed =
            Spread { gap: true, coverage_ms: Some(5), status: Status::Closed, ..Spread::default() };
        let marks = WindowMarks { coverage_ms: Some(9), ..WindowMarks::default() };
        assert_eq!(marked(&closed, &marks, false), (false, Some(9)));
        let forgotten = WindowMarks { forgotten: true, ..marks };
        assert_eq!(marked(&closed, &forgotten, false), (true, Some(5)));
        let overflowed = WindowMarks { overflowed: true, ..forgotten };
        let new = Spread::default();
        assert_eq!(marked(&new, &overflowed, true), (true, None), "an open one has no coverage");
        assert_eq!(marked(&new, &overflowed, false), (false, None));
    }
}
