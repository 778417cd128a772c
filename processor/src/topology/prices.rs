//! The sub-topology of prices.

use std::cell::RefCell;
use std::sync::Arc;

use schemas::LatestPrice;
use schemas::topic::Topic;
use streams::topology::DeclaredStore;
use streams::{Builder, SinkRecord, Stream};

use super::{Wiring, store_name};
use crate::operators::{CandleStores, Candles, Entry, Interval, LatestPrices, PairCache, entry};
use crate::{layouts, store_keys};

/// The end of the sub-topology, on which the consolidated price stands.
pub(super) struct Priced {
    /// Each record, after it is in `latest`.
    pub(super) entries: Stream<Entry>,
    /// The newest price of each pair.
    pub(super) latest: DeclaredStore<LatestPrice>,
}

/// Wires it.
///
/// ```text
/// events ──decode, check──┬─► Candles ──too late──► late
///    │                    │      └─ stores ohlc_1m, ohlc_1h, ohlc_1d, feeds (each its own topic)
///    └─invalid──►         │
///      dead_letters       └─► LatestPrices
///                                └─ store latest (its own topic)
/// ```
///
/// `Candles` comes before `LatestPrices`, because a pair's clock is the event time of its latest
/// price *before* the current event.
pub(super) fn wire(builder: &mut Builder, wiring: &Wiring) -> Priced {
    let Wiring { codec, prefix, .. } = wiring;
    let candles = |interval: Interval| layouts::candles(codec, interval, prefix);
    let latest = builder
        .store(store_name(Topic::Latest), layouts::latest(codec, Topic::Latest.name(prefix)));
    let minutes = builder.store(store_name(Topic::Ohlc1m), candles(Interval::Minute));
    let hours = builder.store(store_name(Topic::Ohlc1h), candles(Interval::Hour));
    let days = builder.store(store_name(Topic::Ohlc1d), candles(Interval::Day));
    let feeds =
        builder.store(store_name(Topic::Feeds), layouts::feeds(codec, Topic::Feeds.name(prefix)));
    let decoder = Arc::clone(codec);
    let pairs = RefCell::<PairCache>::default();
    let events = Topic::Events.name(&wiring.input_prefix);
    let entries = builder.source(events, move |record| entry(&decoder, &pairs, record));
    let late = entries.process(builder, |stores| {
        let stores = CandleStores {
            latest: stores.get(&latest),
            minutes: stores.get(&minutes),
            hours: stores.get(&hours),
            days: stores.get(&days),
            feeds: stores.get(&feeds),
        };
        Candles::in_steps(&stores, wiring.step_windows)
    });
    let encoder = Arc::clone(codec);
    late.to(builder, Topic::Late.name(prefix), move |entry: &Entry| SinkRecord {
        key: store_keys::with_header(&encoder, schemas::Kind::PairKey, entry.pair()),
        value: entry.event().map(|event| encoder.to_bytes(event)),
    });
    entries.process(builder, |stores| LatestPrices::new(stores.get(&latest)));
    Priced { entries, latest }
}
