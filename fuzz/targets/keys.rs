//! Store keys come back from their bytes and lie in the order of time; and records of an output
//! topic, whoever wrote them, are restored or refused.
//!
//! The first nine bytes of an input are a basis and a time, the next eight another time, and the
//! rest is a store key, a topic key and a value.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use processor::operators::Interval;
use processor::{layouts, store_keys};
use schemas::topic::Topic;
use schemas::{Basis, Codec, Timestamp};
use streams::Layout;
use streams::record::{Batch, Offset, Timestamp as At};

static CODEC: LazyLock<Arc<Codec>> = LazyLock::new(|| Arc::new(Codec::offline()));

fn candle(pair: &[u8], basis: Basis, time: i64) -> Vec<u8> {
    let mut key = Vec::new();
    store_keys::candle_key(Interval::Minute, pair, basis, Timestamp(time), &mut key);
    key
}

/// A foreign record is an error, and never a panic.
fn restore<V>(layout: &Layout<V>, key: &[u8], value: &[u8]) {
    let mut batch = Batch::default();
    batch.push(Offset(0), At(0), key, Some(value));
    let _ = layout.store_keys(&batch);
}

fuzz_target!(|data: &[u8]| {
    let Some(([basis, times @ ..], rest)) = data.split_first_chunk::<17>() else { return };
    let basis = if basis % 2 == 0 { Basis::Trade } else { Basis::Ticker };
    let [a, b] = [0, 8].map(|from| {
        times[from..].first_chunk().map_or(0, |bytes: &[u8; 8]| i64::from_be_bytes(*bytes))
    });
    let (first, second) = (candle(rest, basis, a), candle(rest, basis, b));
    assert_eq!(store_keys::read_candle_key(&first), Some((rest, basis, Timestamp(a))));
    assert_eq!(first.cmp(&second), a.cmp(&b));
    let _ = store_keys::typed_candle_key(rest);
    if let Some((pair, basis, time)) = store_keys::read_candle_key(rest) {
        // The segment follows from the time; all else comes back byte for byte.
        assert_eq!(candle(pair, basis, time.0)[store_keys::PREFIX..], rest[store_keys::PREFIX..]);
    }
    if let Some(pair) = store_keys::read_pair(rest) {
        assert_eq!(store_keys::read_pair(&store_keys::pair_key(&pair)), Some(pair));
    }
    let (key, value) = rest.split_at(rest.len() / 2);
    restore(&layouts::latest(&CODEC, Topic::Latest.name("")), key, value);
    restore(&layouts::feeds(&CODEC, Topic::Feeds.name("")), key, value);
    restore(&layouts::candles(&CODEC, Interval::Minute, ""), key, value);
});
