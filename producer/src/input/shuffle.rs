//! Disorder on purpose: events out of order and repeated, as networks and reconnects cause it.
//!
//! Each event is sorted by its event time plus a random delay below the bound. Two events change
//! places only if their event times are closer than the bound. A repeated event gets a second
//! delay.
//!
//! Invariant: every event comes out at least once, and the same seed gives the same order.

use std::time::Duration;

use cli::units::Share;
use rand::Rng;
use schemas::Timestamp;

/// The amount of disorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disorder {
    /// Events are moved by less than this much event time.
    pub within: Duration,
    /// The share of repeated events.
    pub repeat: Share,
}

/// Reorders and repeats.
///
/// ```
/// use std::time::Duration;
/// use producer::input::shuffle::{Disorder, shuffle};
/// use cli::units::Share;
/// use rand::SeedableRng;
/// use schemas::Timestamp;
/// let disorder = Disorder { within: Duration::ZERO, repeat: Share(Share::WHOLE) };
/// let mut rng = rand::rngs::StdRng::seed_from_u64(1);
/// let times = shuffle(vec![3, 1], |time| Timestamp(*time), disorder, &mut rng);
/// assert_eq!(times, [1, 1, 3, 3]);
/// ```
pub fn shuffle<T: Clone, R: Rng>(
    events: Vec<T>,
    time_of: impl Fn(&T) -> Timestamp,
    disorder: Disorder,
    rng: &mut R,
) -> Vec<T> {
    let bound = i64::try_from(disorder.within.as_millis()).unwrap_or(i64::MAX);
    let mut delayed = Vec::with_capacity(events.len());
    for event in events {
        let copies = 1 + usize::from(rng.random_range(0..Share::WHOLE) < disorder.repeat.0);
        let time = time_of(&event).0;
        for _ in 0..copies {
            let delay = if bound == 0 { 0 } else { rng.random_range(0..bound) };
            delayed.push((time.saturating_add(delay), event.clone()));
        }
    }
    delayed.sort_by_key(|(key, _)| *key);
    delayed.into_iter().map(|(_, event)| event).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    proptest! {
        #[test]
        fn the_events_stay_the_same_and_near_their_place(
            times in proptest::collection::vec(0i64..10_000, 0..200), within in 0u64..1000, seed: u64,
        ) {
            let events: Vec<(usize, i64)> = times.iter().copied().enumerate().collect();
            let disorder = Disorder { within: Duration::from_millis(within), repeat: Share(0) };
            let mut rng = StdRng::seed_from_u64(seed);
            let shuffled = shuffle(events.clone(), |(_, time)| Timestamp(*time), disorder, &mut rng);
            let mut newest = i64::MIN;
            for (_, time) in &shuffled {
                let behind = newest.saturating_sub(*time);
                prop_assert!(behind <= 0 || behind < i64::try_from(within).unwrap());
                newest = newest.max(*time);
            }
            let mut sorted = shuffled;
            sorted.sort_unstable();
            prop_assert_eq!(sorted, events);
        }

        #[test]
        fn repeats_add_copies_and_nothing_else(count in 1usize..400, share in 0u32..=10_000, seed: u64) {
            let disorder = Disorder { within: Duration::from_secs(5), repeat: Share(share) };
            let mut rng = StdRng::seed_from_u64(seed);
            let events: Vec<usize> = (0..count).collect();
            let mut shuffled = shuffle(events.clone(), |_| Timestamp(0), disorder, &mut rng);
            prop_assert!((count..=2 * count).contains(&shuffled.len()));
            shuffled.sort_unstable();
            shuffled.dedup();
            prop_assert_eq!(shuffled, events);
        }
    }
}
