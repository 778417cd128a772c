//! A cache of pairs by the bytes of their keys, so that a key is decoded once and not for every
//! event.
//!
//! A pair also remembers its slots in the caches of the stores (see [`Hint`]), which saves most of
//! the hashing of an event.
//!
//! Cost: one hash and one comparison of a known key. The table has a fixed size, and a new pair
//! replaces another with the same hash, which is then decoded again.

use std::hash::Hasher as _;
use std::rc::Rc;

use rustc_hash::FxHasher;
use schemas::Basis;
use schemas::avro::{self, Reader};
use schemas::pair::check_name;
use streams::store::Hint;

/// Slots, a power of two: more than the pairs of one partition of all venues together, at some 200
/// bytes each.
const SLOTS: usize = 1 << 16;
/// The base and the quote of a feed's key: empty.
pub(super) const NO_PAIR: [u8; 2] = [0, 0];

/// No store key is greater.
pub(super) const AFTER_ALL: [u8; 1] = [0xff];

/// The last part of a store key: its exchange, with its length.
pub(super) fn exchange_of(key: &[u8]) -> &[u8] {
    let mut rest = key;
    for _ in 0..2 {
        let mut reader = Reader::new(rest);
        let _ = reader.bytes();
        rest = reader.rest();
    }
    rest
}

/// A pair, and its slots in the caches of the stores.
#[derive(Debug)]
pub struct Pair {
    key: Box<[u8]>,
    feed: Box<[u8]>,
    /// Of its latest price.
    pub(super) in_latest: Hint,
    /// Of its exchange's feed.
    pub(super) in_feeds: Hint,
    in_minutes: [Hint; 2],
}

impl Pair {
    /// The pair of a store key; `None` when a part is not a name, or the key is not in the
    /// canonical form.
    pub fn read(key: &[u8]) -> Option<Self> {
        let names = names(key)?;
        names.iter().all(|name| check_name(name).is_ok()).then_some(())?;
        let mut feed = NO_PAIR.to_vec();
        avro::bytes(&mut feed, names[2]);
        Some(Self {
            key: key.into(),
            feed: feed.into(),
            in_latest: Hint::default(),
            in_feeds: Hint::default(),
            in_minutes: [Hint::default(), Hint::default()],
        })
    }

    /// Its store key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Its base: the name of the instrument where the venue has names.
    pub fn base(&self) -> &str {
        // The parts of a key are names, which are text.
        Reader::new(&self.key).string().unwrap_or_default()
    }

    /// The store key of its exchange's feed.
    pub fn feed(&self) -> &[u8] {
        &self.feed
    }

    /// Its exchange as the last part of its key, with its length.
    pub fn exchange(&self) -> &[u8] {
        &self.feed[NO_PAIR.len()..]
    }

    /// Of its newest minute of that basis.
    pub(super) const fn in_minutes(&self, basis: Basis) -> &Hint {
        &self.in_minutes[basis as usize]
    }
}

/// Whether a mark may have that store key: an exchange without a pair, or a pair.
pub(super) fn is_key_of_mark(key: &[u8]) -> bool {
    names(key).is_some_and(|[base, quote, exchange]| {
        let of_feed = base.is_empty() && quote.is_empty();
        check_name(exchange).is_ok()
            && (of_feed || (check_name(base).is_ok() && check_name(quote).is_ok()))
    })
}

/// Base, quote and exchange of a store key. A length can be written in more bytes than it needs,
/// which would give one pair two keys, so such a key is refused.
fn names(key: &[u8]) -> Option<[&[u8]; 3]> {
    let mut reader = Reader::new(key);
    let names = [reader.bytes().ok()?, reader.bytes().ok()?, reader.bytes().ok()?];
    let mut written = Vec::with_capacity(key.len());
    for name in names {
        avro::bytes(&mut written, name);
    }
    (written == key).then_some(names)
}

/// Pairs by the bytes of a topic key.
pub struct PairCache(Vec<Option<Slot>>);

struct Slot {
    topic_key: Box<[u8]>,
    pair: Rc<Pair>,
}

impl Default for PairCache {
    /// Empty.
    fn default() -> Self {
        Self((0..SLOTS).map(|_| None).collect())
    }
}

impl PairCache {
    /// The pair of that key; `read` decodes one that is not in the cache.
    pub fn get<E>(
        &mut self,
        topic_key: &[u8],
        read: impl FnOnce() -> Result<Pair, E>,
    ) -> Result<Rc<Pair>, E> {
        let slot = &mut self.0[slot_of(topic_key)];
        if let Some(known) = slot
            && *known.topic_key == *topic_key
        {
            return Ok(Rc::clone(&known.pair));
        }
        let pair = Rc::new(read()?);
        *slot = Some(Slot { topic_key: topic_key.into(), pair: Rc::clone(&pair) });
        Ok(pair)
    }
}

fn slot_of(topic_key: &[u8]) -> usize {
    let mut hasher = FxHasher::default();
    hasher.write(topic_key);
    // The upper bits of the hash are mixed better; the remaining bits fit into any integer.
    usize::try_from(hasher.finish() >> (u64::BITS - SLOTS.trailing_zeros())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schemas::PairKey;

    use super::*;
    use crate::store_keys;

    #[test]
    fn a_key_is_read_once() {
        let mut pairs = PairCache::default();
        let key = store_keys::pair_key(&PairKey::new("BTC", "USD", "coinbase"));
        let mut reads = 0;
        for _ in 0..3 {
            let found = pairs.get(&key, || {
                reads += 1;
                Pair::read(&key).ok_or(())
            });
            let found = found.unwrap();
            assert_eq!(found.key(), key);
            assert_eq!((found.base(), found.exchange()), ("BTC", &b"\x10coinbase"[..]));
            assert_eq!(found.feed(), store_keys::pair_key(&PairKey::feed("coinbase")));
        }
        assert_eq!(reads, 1);
    }

    #[test]
    fn what_is_no_pair_is_not_kept() {
        let mut pairs = PairCache::default();
        let key = store_keys::pair_key(&PairKey::new("", "USD", "coinbase"));
        assert!(pairs.get(&key, || Pair::read(&key).ok_or("invalid")).is_err());
        assert!(pairs.get(&key, || Err("asked again")).is_err_and(|error| error == "asked again"));
    }

    #[test]
    fn a_key_of_other_bytes_than_its_names_have_is_none() {
        let key = store_keys::pair_key(&PairKey::new("BTC", "USD", "x"));
        assert!(Pair::read(&key).is_some() && is_key_of_mark(&key));
        // The length 3 in two bytes, and a byte too many.
        let long = [&[0x86, 0x00][..], &key[1..]].concat();
        for key in [&long[..], &[&key[..], b"x"].concat()] {
            assert!(Pair::read(key).is_none() && !is_key_of_mark(key), "{key:?}");
        }
    }

    #[test]
    fn a_mark_is_of_an_exchange_or_of_a_pair() {
        let is_key = |base: &str, quote: &str, exchange: &str| {
            is_key_of_mark(&store_keys::pair_key(&PairKey::new(base, quote, exchange)))
        };
        assert!(is_key("", "", "x") && is_key("BTC", "USD", "x"));
        for (base, quote, exchange) in
            [("", "", ""), ("BTC", "", "x"), ("", "USD", "x"), ("B\0", "USD", "x"), ("", "", "x ")]
        {
            assert!(!is_key(base, quote, exchange), "{base:?} {quote:?} {exchange:?}");
        }
    }

    proptest! {
        #[test]
        fn every_key_gets_its_own_pair(bases in prop::collection::vec("[A-C]{1,3}", 1..60)) {
            let mut pairs = PairCache::default();
            for base in bases {
                let key = store_keys::pair_key(&PairKey::new(base, "USD", "x"));
                let pair = pairs.get(&key, || Pair::read(&key).ok_or("invalid"));
                prop_assert_eq!(pair.map(|pair| pair.key().to_vec()), Ok(key));
            }
        }

        #[test]
        fn arbitrary_keys_never_panic(key: Vec<u8>) {
            let _ = Pair::read(&key);
        }
    }
}
