//! What a reader saw on the way: a fold of the newest values would not show that an older one was
//! written again and then mended.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use schemas::topic::Topic;
use schemas::{Basis, Candle, LatestPrice, Status};
use tests::support::Installation;

/// What grows with each value of a key, in every topic of values.
type Age = (i64, i64, i64, i64);

/// Committed records that are not newer than the one before of the same key.
pub(crate) fn not_newer(installation: &Installation) -> Result<u64> {
    let codec = installation.codec()?;
    let mut count = 0;
    for topic in [Topic::Latest, Topic::Ohlc1m, Topic::Ohlc1h, Topic::Ohlc1d] {
        let mut newest = BTreeMap::<Vec<u8>, Age>::new();
        for record in installation.read(topic)? {
            let value = record.value.as_deref().context("a tombstone")?;
            let age = match topic {
                Topic::Latest => latest(&codec.decode(value)?),
                _ => candle(&codec.decode(value)?),
            };
            let before = newest.insert(record.key, age);
            count += u64::from(before.is_some_and(|before| age <= before));
        }
    }
    Ok(count)
}

/// A price is replaced by a later one, a sample's by a trade's of the same time; volumes by later ones.
fn latest(price: &LatestPrice) -> Age {
    let is_trade = i64::from(price.basis == Basis::Trade);
    let volumes = price.volume_time.map_or(i64::MIN, |time| time.0);
    (price.event_time.0, is_trade, price.tie, volumes)
}

/// A candle gets events, is closed, and is revised.
fn candle(candle: &Candle) -> Age {
    let status = match candle.status {
        Status::Open => 0,
        Status::Closed => 1,
        Status::Revised => 2,
    };
    (candle.trades, status, i64::from(candle.revision), 0)
}
