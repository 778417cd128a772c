//! The layouts of the stores: how the topic of each holds its keys and values.

use std::sync::Arc;

use schemas::avro::{self, Malformed, Reader, Record};
use schemas::topic::Topic;
use schemas::{
    Basis, Book, CandleKey, Codec, Derivative, Index, IndexKey, Kind, LatestPrice, OptionMinute,
    OptionMinuteKey, OptionState, PairKey, Pool, PoolKey, PoolMinute, PoolMinuteKey, Spread,
    SpreadKey, SwapState, SwapStatusKey, Timestamp, TokenBucket, TokenBucketKey, TopOfBook,
};
use streams::{Layout, Retention};

use crate::interval::Interval;
use crate::operators::{FeedState, Height, Instance, Window};
use crate::store_keys::{self, candle_key, read_candle_key, read_spread_key, spread_key};

/// The version of the candle keys. Stores of another version are ignored and restored from the
/// topic.
const CANDLES_VERSION: u32 = 3;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn pairs<V>(codec: &Arc<Codec>, layout: Layout<V>) -> Layout<V> {
    by::<PairKey, V>(codec, layout)
}

/// By keys whose store key is the body of the Avro key.
fn by<K: Record, V>(codec: &Arc<Codec>, layout: Layout<V>) -> Layout<V> {
    let (writer, reader) = (Arc::clone(codec), Arc::clone(codec));
    layout.with_keys(
        move |key, out| {
            writer.header(K::KIND, out);
            out.extend_from_slice(key);
            Ok(())
        },
        move |key, out| {
            out.extend_from_slice(&reader.body::<K>(key).map_err(text)?);
            Ok(())
        },
    )
}

/// Records as they are, by pair.
fn records_by_pair<R: Record + 'static>(codec: &Arc<Codec>, topic: String) -> Layout<R> {
    pairs(codec, records(codec, topic))
}

/// Records as they are.
fn records<R: Record + 'static>(codec: &Arc<Codec>, topic: String) -> Layout<R> {
    let (writer, reader) = (Arc::clone(codec), Arc::clone(codec));
    let encode = move |record: &R, out: &mut Vec<u8>| writer.encode(record, out);
    let decode = move |bytes: &[u8]| reader.decode(bytes).map_err(text);
    Layout::new(topic, encode, decode)
}

/// The facts of each pool.
pub fn pools(codec: &Arc<Codec>, topic: String) -> Layout<Pool> {
    by::<PoolKey, _>(codec, records(codec, topic))
}

/// The status of each swap of a transaction.
pub fn swap_status(codec: &Arc<Codec>, topic: String) -> Layout<SwapState> {
    by::<SwapStatusKey, _>(codec, records(codec, topic))
}

/// The swaps that a reorganisation can still change, in bytes of the processor's own.
pub fn swap_instances(topic: String) -> Layout<Instance> {
    Layout::new(topic, Instance::write, Instance::read)
}

/// The newest blocks of each chain by number, in bytes of the processor's own.
pub fn chain_blocks(topic: String) -> Layout<Height> {
    Layout::new(topic, Height::write, Height::read)
}

/// How many swaps each pool has in a bucket of a token. The keys begin with the bucket's segment.
pub fn token_pools(topic: Topic, prefix: &str) -> Layout<i64> {
    let encode = |swaps: &i64, out: &mut Vec<u8>| avro::long(out, *swaps);
    let decode = |bytes: &[u8]| Reader::new(bytes).long().map_err(text);
    let layout = Layout::new(topic.name(prefix), encode, decode);
    match store_keys::kept_segments_of(store_keys::BUCKET_SEGMENTS, topic) {
        Some(segments) => layout.with_retention(Retention::of_segments(segments)),
        None => layout,
    }
}

/// The consolidated price of each pair over exchanges.
pub fn index(codec: &Arc<Codec>, topic: String) -> Layout<Index> {
    by::<IndexKey, _>(codec, records(codec, topic))
}

/// The pairs whose newest price has not gone to the index.
pub fn index_due(topic: String) -> Layout<bool> {
    let encode = |due: &bool, out: &mut Vec<u8>| out.push(u8::from(*due));
    Layout::new(topic, encode, |bytes| Ok(bytes == [1]))
}

/// The newest price by pair.
pub fn latest(codec: &Arc<Codec>, topic: String) -> Layout<LatestPrice> {
    records_by_pair(codec, topic)
}

/// The newest quote by pair.
pub fn top_of_book(codec: &Arc<Codec>, topic: String) -> Layout<TopOfBook> {
    records_by_pair(codec, topic)
}

/// The best levels by pair.
pub fn books(codec: &Arc<Codec>, topic: String) -> Layout<Book> {
    records_by_pair(codec, topic)
}

/// The newest ticker of each option, with the facts of the instrument.
pub fn options(codec: &Arc<Codec>, topic: String) -> Layout<OptionState> {
    records_by_pair(codec, topic)
}

/// The newest ticker of each future and perpetual, with the facts of the instrument.
pub fn derivatives(codec: &Arc<Codec>, topic: String) -> Layout<Derivative> {
    records_by_pair(codec, topic)
}

/// The state of each exchange's feed.
pub fn feeds(codec: &Arc<Codec>, topic: String) -> Layout<FeedState> {
    let (writer, reader) = (Arc::clone(codec), Arc::clone(codec));
    let encode = move |feed: &FeedState, out: &mut Vec<u8>| writer.encode(&feed.to_mark(), out);
    let decode = move |bytes: &[u8]| FeedState::of_mark(reader.decode(bytes).map_err(text)?);
    pairs(codec, Layout::new(topic, encode, decode))
}

/// Candles of one interval by segment, pair, basis and time; `prefix` is that of the topics' names. A store
/// keeps a candle as long as its topic does.
pub fn candles(codec: &Arc<Codec>, interval: Interval, prefix: &str) -> Layout<Window> {
    let topic = interval.topic().name(prefix);
    let (writer, reader) = (Arc::clone(codec), Arc::clone(codec));
    let encode = move |window: &Window, out: &mut Vec<u8>| {
        writer.header(Kind::Candle, out);
        window.write(out);
    };
    let decode = move |bytes: &[u8]| Window::read(reader.decode(bytes).map_err(text)?);
    let (writer, reader) = (Arc::clone(codec), Arc::clone(codec));
    let layout = Layout::new(topic, encode, decode).with_version(CANDLES_VERSION).with_keys(
        move |key, out| {
            let (pair, basis, time) = read_candle_key(key).ok_or("not a candle's key")?;
            writer.header(Kind::CandleKey, out);
            out.extend_from_slice(pair);
            avro::string(out, basis.as_str());
            avro::long(out, time.0);
            Ok(())
        },
        move |key, out| {
            let body = reader.body::<CandleKey>(key).map_err(text)?;
            let mut rest = Reader::new(&body);
            // The pair has the same bytes in both; the body is one whole key.
            for _ in 0..3 {
                rest.bytes().map_err(text)?;
            }
            let pair = &body[..body.len() - rest.rest().len()];
            let basis = rest.named(Basis::parse).map_err(text)?;
            candle_key(interval, pair, basis, Timestamp(rest.long().map_err(text)?), out);
            Ok(())
        },
    );
    match store_keys::kept_segments(interval) {
        Some(segments) => layout.with_retention(Retention::of_segments(segments)),
        None => layout,
    }
}

/// Spreads of one interval by segment, pair and time; `prefix` is that of the topics' names. A store
/// keeps a window as long as its topic does.
pub fn spreads(codec: &Arc<Codec>, interval: Interval, prefix: &str) -> Layout<Spread> {
    windows::<SpreadKey, _>(codec, interval, interval.spreads_topic(), prefix, skip_pair)
}

/// The last ticker of each option and minute by segment, pair and time; `prefix` is that of the
/// topics' names. A store keeps a minute as long as its topic does.
pub fn option_minutes(codec: &Arc<Codec>, prefix: &str) -> Layout<OptionMinute> {
    windows::<OptionMinuteKey, _>(codec, Interval::Minute, Topic::Options1m, prefix, skip_pair)
}

/// The minutes of each pool by segment, pool and time; `prefix` is that of the topics' names.
pub fn pool_minutes(codec: &Arc<Codec>, prefix: &str) -> Layout<PoolMinute> {
    windows::<PoolMinuteKey, _>(codec, Interval::Minute, Topic::PoolMinutes, prefix, skip_address)
}

/// The buckets of each token by segment, token and time, of [`Topic::Token5m`] or [`Topic::Token1h`];
/// `prefix` is that of the topics' names.
pub fn token_buckets(codec: &Arc<Codec>, topic: Topic, prefix: &str) -> Layout<TokenBucket> {
    windows::<TokenBucketKey, _>(codec, store_keys::BUCKET_SEGMENTS, topic, prefix, skip_address)
}

/// Reads the part of a window's topic key before its time.
type Skip = fn(&mut Reader<'_>) -> Result<(), Malformed>;

/// A pair.
fn skip_pair(rest: &mut Reader<'_>) -> Result<(), Malformed> {
    (0..3).try_for_each(|_| rest.bytes().map(|_| ()))
}

/// A chain and an address.
fn skip_address(rest: &mut Reader<'_>) -> Result<(), Malformed> {
    rest.long()?;
    rest.bytes().map(|_| ())
}

/// Windows of a topic whose keys are a subject, which `skip` reads, and a time.
fn windows<K: Record, V: Record + 'static>(
    codec: &Arc<Codec>,
    interval: Interval,
    topic: Topic,
    prefix: &str,
    skip: Skip,
) -> Layout<V> {
    let (writer, reader) = (Arc::clone(codec), Arc::clone(codec));
    let layout = records(codec, topic.name(prefix)).with_keys(
        move |key, out| {
            let (pair, time) = read_spread_key(key).ok_or("not the key of a window")?;
            writer.header(K::KIND, out);
            out.extend_from_slice(pair);
            avro::long(out, time.0);
            Ok(())
        },
        move |key, out| {
            let body = reader.body::<K>(key).map_err(text)?;
            let mut rest = Reader::new(&body);
            // The subject has the same bytes in both; the body is one whole key.
            skip(&mut rest).map_err(text)?;
            let pair = &body[..body.len() - rest.rest().len()];
            spread_key(interval, pair, Timestamp(rest.long().map_err(text)?), out);
            Ok(())
        },
    );
    match store_keys::kept_segments_of(interval, topic) {
        Some(segments) => layout.with_retention(Retention::of_segments(segments)),
        None => layout,
    }
}
