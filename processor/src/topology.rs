//! READ THIS FIRST: the whole computation on one page.
//!
//! ```text
//! events ──decode, check──┬─► Candles ──too late──► late
//!    │                    │      └─ stores ohlc_1m, ohlc_1h, ohlc_1d, feeds (each its own topic)
//!    └─invalid──►         │
//!      dead_letters       └─► LatestPrices
//!                                └─ store latest (its own topic)
//! ```
//!
//! Each store publishes its changes once: the topic that consumers read is the changelog that
//! restores the store. `Candles` comes before `LatestPrices`, because a pair's clock is the event
//! time of its latest price *before* the current event.

use std::cell::RefCell;
use std::sync::Arc;

use schemas::Codec;
use schemas::topic::Topic;
use streams::{Result, SinkRecord, Topology};

use crate::operators::{
    CandleStores, Candles, Entry, Interval, LatestPrices, PairCache, STEP_WINDOWS, entry,
};
use crate::{layouts, store_keys};

/// The name of a topic's store: the topic's own, without the prefix.
pub const fn store_name(topic: Topic) -> &'static str {
    topic.base_name()
}

/// The topology over topics whose names begin with `prefix`.
pub fn topology(codec: &Arc<Codec>, prefix: &str) -> Result<Topology> {
    topology_from(codec, prefix, prefix)
}

/// The same, with the events of another prefix.
pub fn topology_from(codec: &Arc<Codec>, input_prefix: &str, prefix: &str) -> Result<Topology> {
    topology_in_steps(codec, input_prefix, prefix, STEP_WINDOWS)
}

/// [`topology_from`] with another bound on the windows per step of a mark. Tests use it to show that the
/// bound changes no candle.
pub fn topology_in_steps(
    codec: &Arc<Codec>,
    input_prefix: &str,
    prefix: &str,
    step_windows: usize,
) -> Result<Topology> {
    let events = Topic::Events.name(input_prefix);
    let (codec, prefix) = (Arc::clone(codec), prefix.to_owned());
    Topology::new(move |builder| {
        let candles = |interval: Interval| layouts::candles(&codec, interval, &prefix);
        let latest = builder
            .store(store_name(Topic::Latest), layouts::latest(&codec, Topic::Latest.name(&prefix)));
        let minutes = builder.store(store_name(Topic::Ohlc1m), candles(Interval::Minute));
        let hours = builder.store(store_name(Topic::Ohlc1h), candles(Interval::Hour));
        let days = builder.store(store_name(Topic::Ohlc1d), candles(Interval::Day));
        let feeds = builder
            .store(store_name(Topic::Feeds), layouts::feeds(&codec, Topic::Feeds.name(&prefix)));
        let decoder = Arc::clone(&codec);
        let pairs = RefCell::<PairCache>::default();
        let entries = builder.source(events.clone(), move |record| entry(&decoder, &pairs, record));
        let late = entries.process(builder, |stores| {
            let stores = CandleStores {
                latest: stores.get(&latest),
                minutes: stores.get(&minutes),
                hours: stores.get(&hours),
                days: stores.get(&days),
                feeds: stores.get(&feeds),
            };
            Candles::in_steps(&stores, step_windows)
        });
        let encoder = Arc::clone(&codec);
        late.to(builder, Topic::Late.name(&prefix), move |entry: &Entry| SinkRecord {
            key: store_keys::with_header(&encoder, schemas::Kind::PairKey, entry.pair()),
            value: entry.event().map(|event| encoder.to_bytes(event)),
        });
        entries.process(builder, |stores| LatestPrices::new(stores.get(&latest)));
    })
}
