//! The keys of the stores.
//!
//! ```text
//! topic  pair    header | base | quote | exchange                      (Avro PairKey)
//! store  pair             base | quote | exchange
//!
//! topic  candle  header | base | quote | exchange | basis | open_time  (Avro CandleKey)
//! store  candle  n n n n n n | base | quote | exchange | b | t t t t t t t t
//!
//! topic  spread  header | base | quote | exchange | open_time          (Avro SpreadKey)
//! store  spread  n n n n n n | base | quote | exchange | t t t t t t t t
//!
//! topic  option  header | base | quote | exchange | open_time          (Avro OptionMinuteKey)
//! store  option  as that of spreads
//!
//! topic  minute  header | chain | pool | open_time                     (Avro PoolMinuteKey)
//! store  minute  n n n n n n | chain | pool | t t t t t t t t
//!
//! topic  bucket  header | chain | token | open_time                    (Avro TokenBucketKey)
//! store  bucket  n n n n n n | chain | token | t t t t t t t t
//! ```
//!
//! Pools, tokens and statuses of swaps have the body of their Avro key as their store key.
//!
//! `b` is 0 for TRADE and 1 for TICKER. `t` is `open_time` big-endian with its sign bit flipped, so
//! that the candles of a pair and basis are in the order of time. Avro's own long is not.
//!
//! `n` numbers the segments of [`SEGMENT`] windows, big-endian from the middle of its range.
//! Candles that change now are adjacent, apart from old ones. A store on disk writes whole leaves:
//! with the pair first, each flush would write one leaf per changed pair, full of old candles. The
//! cost is one look-up per segment of a range.

use schemas::avro::{self, Reader, Record};
use schemas::topic::{Cleanup, Topic};
use schemas::{
    Basis, CandleKey, Codec, IndexKey, Kind, OptionMinuteKey, PairKey, PoolKey, PoolMinuteKey,
    SpreadKey, SwapStatusKey, Timestamp, TokenBucketKey, TokenKey,
};
use streams::Retention;

use crate::interval::Interval;

/// Windows of a pair that are adjacent: half an hour of minutes, a day and a bit of hours, a month
/// of days.
pub const SEGMENT: i64 = 32;
pub use streams::retention::PREFIX;
/// Added to a segment's number so that it is never negative. The shortest segment has 2^20 ms.
const MIDDLE: i64 = 1 << 47;
/// Bytes of a time at the end of a store key.
const TIME: usize = 8;
/// Bytes of basis and time at the end of a candle's store key.
const SUFFIX: usize = 1 + TIME;

/// A store key with the header of its schema: the topic key of a pair.
pub fn with_header(codec: &Codec, kind: Kind, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(schemas::codec::HEADER_BYTES + body.len());
    codec.header(kind, &mut out);
    out.extend_from_slice(body);
    out
}

/// Appends the store key of a pair.
pub fn pair_key(pair: &PairKey) -> Vec<u8> {
    let mut out = Vec::new();
    pair.write(&mut out);
    out
}

/// The pair of a store key.
pub fn read_pair(key: &[u8]) -> Option<PairKey> {
    PairKey::read(&mut Reader::new(key)).ok()
}

/// The beginning of the store keys of every pair of a base, or of a base and quote.
pub fn pair_prefix(base: &str, quote: Option<&str>) -> Vec<u8> {
    let mut out = Vec::new();
    avro::string(&mut out, base);
    if let Some(quote) = quote {
        avro::string(&mut out, quote);
    }
    out
}

/// Greater than every key that begins with `prefix`, and no greater than any other key above it.
pub fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let Some(last) = prefix.iter().rposition(|byte| *byte != u8::MAX) else {
        // No store key begins with it.
        return vec![u8::MAX];
    };
    let mut out = prefix[..=last].to_vec();
    out[last] += 1;
    out
}

const fn basis_byte(basis: Basis) -> u8 {
    match basis {
        Basis::Trade => 0,
        Basis::Ticker => 1,
    }
}

/// Milliseconds of a segment's windows.
const fn segment_length(interval: Interval) -> i64 {
    SEGMENT * interval.length_ms()
}

/// The number of the segment of a time.
pub const fn segment(interval: Interval, time: Timestamp) -> u64 {
    (time.0.div_euclid(segment_length(interval)) + MIDDLE).cast_unsigned()
}

/// The segments that cover what the interval's topic of candles holds; `None` where that is
/// everything.
pub fn kept_segments(interval: Interval) -> Option<u64> {
    kept_segments_of(interval, interval.topic())
}

/// The segments that cover what a topic of windows of that interval holds; `None` where that is
/// everything.
pub fn kept_segments_of(interval: Interval, topic: Topic) -> Option<u64> {
    match topic.cleanup() {
        Cleanup::CompactDelete(time) => {
            let segments =
                time.as_millis().div_ceil(segment_length(interval).unsigned_abs().into());
            Some(u64::try_from(segments).unwrap_or(u64::MAX))
        }
        Cleanup::Compact | Cleanup::Delete(_) => None,
    }
}

/// The prefix of the store keys of all candles in the segment of a time.
pub const fn segment_prefix(interval: Interval, time: Timestamp) -> [u8; PREFIX] {
    Retention::first_key(segment(interval, time))
}

/// The first instant of the segment of a time.
pub const fn segment_start(interval: Interval, time: Timestamp) -> Timestamp {
    Timestamp(time.0.saturating_sub(time.0.rem_euclid(segment_length(interval))))
}

/// The first instant after the segment of a time.
pub const fn segment_end(interval: Interval, time: Timestamp) -> Timestamp {
    let left = segment_length(interval) - time.0.rem_euclid(segment_length(interval));
    Timestamp(time.0.saturating_add(left))
}

/// Appends the store key of a pair's candle.
pub fn candle_key(
    interval: Interval,
    pair: &[u8],
    basis: Basis,
    open_time: Timestamp,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(&segment_prefix(interval, open_time));
    out.extend_from_slice(pair);
    out.push(basis_byte(basis));
    out.extend_from_slice(&ordered(open_time));
}

/// A time whose bytes are in the order of time.
fn ordered(time: Timestamp) -> [u8; TIME] {
    (time.0.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

fn read_ordered(bytes: &[u8]) -> Option<Timestamp> {
    let ordered = u64::from_be_bytes(bytes.try_into().ok()?);
    Some(Timestamp((ordered ^ (1 << 63)).cast_signed()))
}

/// Pair, basis and time of a candle's store key.
pub fn read_candle_key(key: &[u8]) -> Option<(&[u8], Basis, Timestamp)> {
    let (_, key) = key.split_at_checked(PREFIX)?;
    let (pair, suffix) = key.split_at_checked(key.len().checked_sub(SUFFIX)?)?;
    let basis = match suffix[0] {
        0 => Basis::Trade,
        1 => Basis::Ticker,
        _ => return None,
    };
    Some((pair, basis, read_ordered(&suffix[1..])?))
}

/// The typed key of a candle's store key.
pub fn typed_candle_key(key: &[u8]) -> Option<CandleKey> {
    let (pair, basis, open_time) = read_candle_key(key)?;
    Some(CandleKey { pair: read_pair(pair)?, basis, open_time })
}

/// Appends the store key of a pair's spreads.
pub fn spread_key(interval: Interval, pair: &[u8], open_time: Timestamp, out: &mut Vec<u8>) {
    out.extend_from_slice(&segment_prefix(interval, open_time));
    out.extend_from_slice(pair);
    out.extend_from_slice(&ordered(open_time));
}

/// Pair and time of the store key of spreads.
pub fn read_spread_key(key: &[u8]) -> Option<(&[u8], Timestamp)> {
    let (_, key) = key.split_at_checked(PREFIX)?;
    let (pair, time) = key.split_at_checked(key.len().checked_sub(TIME)?)?;
    Some((pair, read_ordered(time)?))
}

/// The typed key of the store key of spreads.
pub fn typed_spread_key(key: &[u8]) -> Option<SpreadKey> {
    let (pair, open_time) = read_spread_key(key)?;
    Some(SpreadKey { pair: read_pair(pair)?, open_time })
}

/// Appends the store key of an option's minute, which has the form of a key of spreads.
pub fn option_minute_key(pair: &[u8], open_time: Timestamp, out: &mut Vec<u8>) {
    spread_key(Interval::Minute, pair, open_time, out);
}

/// The typed key of the store key of an option's minute.
pub fn typed_option_minute_key(key: &[u8]) -> Option<OptionMinuteKey> {
    let (pair, open_time) = read_spread_key(key)?;
    Some(OptionMinuteKey { pair: read_pair(pair)?, open_time })
}

/// The body of a record: the store key of a pool, of a token or of a swap's status.
pub fn body<R: Record>(record: &R) -> Vec<u8> {
    let mut out = Vec::new();
    record.write(&mut out);
    out
}

/// Appends the store key of a pool's minute; `pool` is the [`body`] of its [`PoolKey`].
pub fn pool_minute_key(pool: &[u8], open_time: Timestamp, out: &mut Vec<u8>) {
    spread_key(Interval::Minute, pool, open_time, out);
}

/// The typed key of the store key of a pool's minute.
pub fn typed_pool_minute_key(key: &[u8]) -> Option<PoolMinuteKey> {
    let (pool, open_time) = read_spread_key(key)?;
    Some(PoolMinuteKey::new(&PoolKey::read(&mut Reader::new(pool)).ok()?, open_time))
}

/// The interval that says how many buckets of tokens are adjacent: of five minutes and of an hour.
pub const BUCKET_SEGMENTS: Interval = Interval::Hour;

/// Appends the store key of a token's bucket, of five minutes or of an hour; `token` is the [`body`] of
/// its [`TokenKey`].
pub fn token_bucket_key(token: &[u8], open_time: Timestamp, out: &mut Vec<u8>) {
    spread_key(BUCKET_SEGMENTS, token, open_time, out);
}

/// The typed key of the store key of a token's bucket.
pub fn typed_token_bucket_key(key: &[u8]) -> Option<TokenBucketKey> {
    let (token, open_time) = read_spread_key(key)?;
    Some(TokenBucketKey::new(&TokenKey::read(&mut Reader::new(token)).ok()?, open_time))
}

/// The typed form of the key of an index.
pub fn typed_index_key(key: &[u8]) -> Option<IndexKey> {
    IndexKey::read(&mut Reader::new(key)).ok()
}

/// The typed key of the store key of a swap's status.
pub fn typed_swap_status_key(key: &[u8]) -> Option<SwapStatusKey> {
    SwapStatusKey::read(&mut Reader::new(key)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_survive_and_lie_in_the_order_of_time(
            base in "[A-Z0-9-]{1,20}", ticker: bool, a: i64, b: i64,
            interval in prop::sample::select(&Interval::ALL[..]),
        ) {
            let pair = pair_key(&PairKey::new(base, "USD", "coinbase"));
            let basis = if ticker { Basis::Ticker } else { Basis::Trade };
            let key = |time| {
                let mut out = Vec::new();
                candle_key(interval, &pair, basis, Timestamp(time), &mut out);
                out
            };
            let first = key(a);
            prop_assert_eq!(read_candle_key(&first), Some((&pair[..], basis, Timestamp(a))));
            prop_assert_eq!(key(a).cmp(&key(b)), a.cmp(&b));
        }

        #[test]
        fn keys_of_spreads_survive_and_lie_in_the_order_of_time(
            base in "[A-Z0-9-]{1,20}", a: i64, b: i64,
            interval in prop::sample::select(&Interval::ALL[..]),
        ) {
            let pair = PairKey::new(base, "USD", "coinbase");
            let key = |time| {
                let mut out = Vec::new();
                spread_key(interval, &pair_key(&pair), Timestamp(time), &mut out);
                out
            };
            let typed = SpreadKey { pair: pair.clone(), open_time: Timestamp(a) };
            prop_assert_eq!(typed_spread_key(&key(a)), Some(typed));
            prop_assert_eq!(key(a).cmp(&key(b)), a.cmp(&b));
        }

        #[test]
        fn keys_of_pools_and_tokens_survive_and_lie_in_the_order_of_time(
            chain in 0i64..200_000, name in "0x[0-9a-f]{40}", a: i64, b: i64,
        ) {
            let pool = PoolKey::new(chain, name.as_str());
            let token = TokenKey::new(chain, name);
            let keys = |time| {
                let (mut minute, mut bucket) = (Vec::new(), Vec::new());
                pool_minute_key(&body(&pool), Timestamp(time), &mut minute);
                token_bucket_key(&body(&token), Timestamp(time), &mut bucket);
                (minute, bucket)
            };
            let ((minute, bucket), (next_minute, next_bucket)) = (keys(a), keys(b));
            let typed = PoolMinuteKey::new(&pool, Timestamp(a));
            prop_assert_eq!(typed_pool_minute_key(&minute), Some(typed));
            let typed = TokenBucketKey::new(&token, Timestamp(a));
            prop_assert_eq!(typed_token_bucket_key(&bucket), Some(typed));
            prop_assert_eq!(minute.cmp(&next_minute), a.cmp(&b));
            prop_assert_eq!(bucket.cmp(&next_bucket), a.cmp(&b));
        }

        #[test]
        fn a_segment_is_its_windows_and_no_more(
            time: i64, interval in prop::sample::select(&Interval::ALL[..]),
        ) {
            let prefix = |time| segment_prefix(interval, time);
            let at = Timestamp(time);
            let (start, end) = (segment_start(interval, at), segment_end(interval, at));
            prop_assert!(start <= at && (at < end || end == Timestamp(i64::MAX)));
            prop_assert_eq!(prefix(at), prefix(start));
            if start.0 > i64::MIN {
                prop_assert!(prefix(Timestamp(start.0 - 1)) < prefix(at));
                prop_assert_eq!(start.0 % (SEGMENT * interval.length_ms()), 0);
            }
            if end.0 < i64::MAX {
                prop_assert!(prefix(end) > prefix(at));
            }
        }

        #[test]
        fn a_prefix_holds_its_base_and_no_other(base in "[A-Z]{1,6}", other in "[A-Z]{1,6}") {
            let prefix = pair_prefix(&base, None);
            let key = pair_key(&PairKey::new(other.clone(), "USD", "coinbase"));
            let within = key >= prefix && key < after_prefix(&prefix);
            prop_assert_eq!(within, base == other);
        }

        #[test]
        fn arbitrary_keys_never_panic(bytes: Vec<u8>) {
            let _ = typed_candle_key(&bytes);
            let _ = typed_spread_key(&bytes);
            let _ = typed_option_minute_key(&bytes);
            let _ = typed_pool_minute_key(&bytes);
            let _ = typed_token_bucket_key(&bytes);
            let _ = typed_swap_status_key(&bytes);
        }
    }
}
