//! Which prices go to the index: the newest of each pair that has a new one, once a second of stream time.
//!
//! The pairs with a new price stand in a store, not in memory: what waits for its second survives a crash,
//! and a price after which nothing comes is sent as soon as a mark moves stream time.
//!
//! A pair that is reset has another price, or none. One that has none sends [`NO_PRICE`], which takes its
//! exchange out of the index.

use schemas::{Decimal, IndexKey, IndexLeg, LatestPrice, PairChange};
use streams::punctuation::{PunctuationType, Schedule};
use streams::record::Timestamp;
use streams::store::StoreHandle;
use streams::{Context, Processor};

use super::IndexLegEntry;
use crate::operators::pairs::AFTER_ALL;
use crate::operators::{Entry, Result};
use crate::store_keys;

/// The time between two legs of a pair: readers of a consolidated price look once a second.
const EVERY: Schedule = Schedule { clock: PunctuationType::StreamTime, interval_ms: 1_000 };
/// Legs of one punctuation, which is one piece of work between two commits. Further pairs wait a second.
const MAX_LEGS: usize = 50_000;

/// Price and time of a leg whose pair has left `latest`. Prices are above zero, and a member of that time is
/// forgotten at once.
const NO_PRICE: (Decimal, schemas::Timestamp) = (Decimal::ZERO, schemas::Timestamp(0));

/// Sends the newest prices on. It comes after the operator that keeps `latest`.
pub struct IndexLegs {
    latest: StoreHandle<LatestPrice>,
    due: StoreHandle<bool>,
}

impl IndexLegs {
    /// Legs of the prices of `latest`; `due` has the pairs that wait.
    pub const fn new(latest: StoreHandle<LatestPrice>, due: StoreHandle<bool>) -> Self {
        Self { latest, due }
    }
}

impl Processor for IndexLegs {
    type In = Entry;
    type Out = IndexLegEntry;

    fn process(&mut self, _: &mut Context<'_, IndexLegEntry>, entry: &Entry) -> Result<()> {
        match entry {
            Entry::Event { pair, event } => {
                let latest = self.latest.get_near(&pair.in_latest, pair.key())?;
                if latest.is_some_and(|latest| latest.event_time == event.event_time) {
                    self.due.entry(pair.key())?.get_or_insert(true);
                }
            }
            Entry::Mark { feed, mark } if mark.change == Some(PairChange::Reset) => {
                self.due.entry(feed)?.get_or_insert(true);
            }
            Entry::Mark { .. } => {}
        }
        Ok(())
    }

    fn schedule(&self) -> Option<Schedule> {
        Some(EVERY)
    }

    fn punctuate(&mut self, context: &mut Context<'_, IndexLegEntry>, _: Timestamp) -> Result<()> {
        for (key, _) in self.due.range(&[], &AFTER_ALL, MAX_LEGS)? {
            self.due.remove(&key)?;
            let pair = store_keys::read_pair(&key);
            let latest = self.latest.get(&key)?.map(|latest| (latest.price, latest.event_time));
            let Some(pair) = pair else { continue };
            let (price, event_time) = latest.unwrap_or(NO_PRICE);
            let leg = IndexLeg { exchange: pair.exchange, price, event_time };
            context.forward(&(IndexKey::new(pair.base, pair.quote), leg))?;
        }
        Ok(())
    }
}
