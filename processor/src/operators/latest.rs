//! The newest price of each pair.
//!
//! Newest is the greatest (event time, basis, tie), a trade above a sample: the ticker that reports
//! a trade shares its time, and the trade has the size. Ties are compared within a basis only,
//! because trade ids and sequences count different things. A late event changes no price.

use schemas::{Basis, LatestPrice, MarketEvent};
use streams::store::{StoreEntry, StoreHandle};
use streams::{Context, Failure, Processor};

use super::Entry;

/// Keeps `latest`.
pub struct LatestPrices {
    latest: StoreHandle<LatestPrice>,
}

impl LatestPrices {
    /// A processor with that store.
    pub const fn new(latest: StoreHandle<LatestPrice>) -> Self {
        Self { latest }
    }
}

impl Processor for LatestPrices {
    type In = Entry;
    type Out = ();

    fn process(&mut self, context: &mut Context<'_, ()>, entry: &Entry) -> Result<(), Failure> {
        if let Entry::Event { pair, event } = entry {
            let tie = event.id().unwrap_or(context.offset().0);
            update(self.latest.entry_near(&pair.in_latest, pair.key())?, event, tie);
        }
        Ok(())
    }
}

/// Takes the price and the volumes of the event that are newer.
fn update(mut latest: StoreEntry<'_, LatestPrice>, event: &MarketEvent, tie: i64) {
    let order = (event.event_time, event.basis == Basis::Trade, tie);
    let newer_price = latest
        .as_ref()
        .is_none_or(|known| order > (known.event_time, known.basis == Basis::Trade, known.tie));
    let newer_volumes = event.has_volumes()
        && latest.as_ref().is_none_or(|known| Some(event.event_time) >= known.volume_time);
    if !newer_price && !newer_volumes {
        return;
    }
    let known = latest.get_or_insert_with(|| LatestPrice::of(event, tie));
    if newer_price {
        known.price = event.price;
        known.size = event.size;
        known.trade_id = event.trade_id;
        known.basis = event.basis;
        known.event_time = event.event_time;
        known.received_at = event.received_at;
        known.tie = tie;
    }
    if newer_volumes {
        known.base_volume_24h = event.base_volume_24h;
        known.quote_volume_24h = event.quote_volume_24h;
        known.volume_source = event.volume_source;
        known.volume_time = Some(event.event_time);
    }
}
