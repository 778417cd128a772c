//! Volumes of tokens: each leg is added to, or taken from, its five minutes and its hour.
//!
//! Everything is a sum of signed legs, so that their order does not matter, as long as a leg is taken back
//! after it was added: the task of its pool sends both, to one partition. How many pools a bucket has
//! comes from a private store of swaps by bucket and pool.

use schemas::avro;
use schemas::{Codec, Decimal, Timestamp, TokenBucket, TokenKey, TokenLeg};
use streams::record::SourceRecord;
use streams::store::StoreHandle;
use streams::{Context, Failure, Processor};

use crate::operators::Result;
use crate::operators::entry::failure;
use crate::store_keys::{self, BUCKET_SEGMENTS};

/// Pools of a bucket that are told apart. Further ones count in the volume, and not as pools.
const MAX_POOLS: i64 = 10_000;
/// The shorter of the two windows.
const FIVE_MINUTES_MS: i64 = 5 * 60 * 1000;
const HOUR_MS: i64 = 60 * 60 * 1000;

/// A leg with the token that it is of.
pub type LegEntry = (TokenKey, TokenLeg);

/// Decodes one record of the repartition topic.
pub fn leg_entry(codec: &Codec, record: &SourceRecord<'_>) -> Result<LegEntry, Failure> {
    let value = record.value.ok_or(Failure::Drop("tombstone"))?;
    let key = codec.decode(record.key).map_err(failure)?;
    let leg: TokenLeg = codec.decode(value).map_err(failure)?;
    if matches!(leg.sign, 1 | -1) { Ok((key, leg)) } else { Err(Failure::Drop("corrupt")) }
}

/// The stores of a task of `tokens`.
#[derive(Clone)]
pub struct TokenStores {
    /// The buckets of five minutes.
    pub five_minutes: StoreHandle<TokenBucket>,
    /// The buckets of an hour.
    pub hours: StoreHandle<TokenBucket>,
    /// Swaps by bucket and pool.
    pub pools: StoreHandle<i64>,
}

/// Keeps `token_5m` and `token_1h`. It forwards nothing.
pub struct Tokens {
    stores: TokenStores,
}

impl Tokens {
    /// Tokens in these stores.
    pub const fn new(stores: TokenStores) -> Self {
        Self { stores }
    }

    fn add(
        &self,
        context: &mut Context<'_, ()>,
        (key, leg): &LegEntry,
        buckets: &StoreHandle<TokenBucket>,
        length_ms: i64,
    ) -> Result<()> {
        let start =
            Timestamp(leg.block_time.0.saturating_sub(leg.block_time.0.rem_euclid(length_ms)));
        let mut of = Vec::new();
        store_keys::token_bucket_key(&store_keys::body(key), start, &mut of);
        let mut entry = buckets.entry(&of)?;
        let known = entry.as_ref().map_or(0, |bucket| bucket.pools);
        let pools = known + self.pool(context, &of, &leg.pool, (length_ms, leg.sign), known)?;
        let mut bucket = entry.clone().unwrap_or_else(empty);
        if !sum(&mut bucket, leg) {
            context.count("amount_overflow");
        }
        bucket.pools = pools;
        *entry = (bucket.swaps != 0).then_some(bucket);
        Ok(())
    }

    /// Adds a swap to those of a pool in a bucket, or takes one. Returns the change of how many pools
    /// the bucket has.
    fn pool(
        &self,
        context: &mut Context<'_, ()>,
        bucket: &[u8],
        pool: &str,
        (length_ms, sign): (i64, i64),
        known: i64,
    ) -> Result<i64> {
        // The bucket's key begins with its segment, as that of each windowed store.
        let mut key = bucket.to_vec();
        avro::long(&mut key, length_ms);
        avro::string(&mut key, pool);
        let mut entry = self.stores.pools.entry(&key)?;
        let before = (*entry).unwrap_or(0);
        if before == 0 && known >= MAX_POOLS {
            context.count("uncounted_pool");
            return Ok(0);
        }
        let after = before + sign;
        *entry = Some(after).filter(|swaps| *swaps != 0);
        Ok(i64::from(after != 0) - i64::from(before != 0))
    }
}

fn empty() -> TokenBucket {
    TokenBucket { volume: Some(schemas::Integer::ZERO), ..TokenBucket::default() }
}

/// Adds a leg; false when a sum did not fit and is `None` from here on.
fn sum(bucket: &mut TokenBucket, leg: &TokenLeg) -> bool {
    let is_added = leg.sign > 0;
    let amount = if is_added { leg.amount } else { leg.amount.negated() };
    let had_volume = bucket.volume.is_some();
    bucket.volume = bucket.volume.and_then(|volume| volume.checked_add(amount));
    let priced = bucket.swaps - bucket.unpriced_swaps;
    let mut fits = bucket.volume.is_some() || !had_volume;
    match leg.usd {
        None => bucket.unpriced_swaps += leg.sign,
        Some(usd) => {
            // No swap with a value is zero; `None` beside such swaps did not fit.
            let known = if priced == 0 { Some(Decimal::ZERO) } else { bucket.volume_usd };
            let total = known.and_then(|known| {
                if is_added { known.checked_add(usd) } else { known.checked_sub(usd) }
            });
            fits &= total.is_some() || known.is_none();
            bucket.volume_usd = total.filter(|_| priced + leg.sign != 0);
        }
    }
    bucket.swaps += leg.sign;
    if is_added {
        bucket.symbol = leg.symbol.clone().or_else(|| bucket.symbol.take());
        bucket.decimals = leg.decimals.or(bucket.decimals);
        bucket.event_time = bucket.event_time.max(leg.block_time);
    }
    fits
}

impl Processor for Tokens {
    type In = LegEntry;
    type Out = ();

    fn process(&mut self, context: &mut Context<'_, ()>, entry: &LegEntry) -> Result<()> {
        let TokenStores { five_minutes, hours, pools } = &self.stores;
        let segment = store_keys::segment(BUCKET_SEGMENTS, entry.1.block_time);
        let kept = [five_minutes.clock()?, hours.clock()?, pools.clock()?];
        // In no window that is kept, nothing may be changed in part.
        if kept.iter().any(|clock| segment < clock.first_kept) {
            return Err(Failure::Drop("late_leg"));
        }
        self.add(context, entry, five_minutes, FIVE_MINUTES_MS)?;
        self.add(context, entry, hours, HOUR_MS)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leg(sign: i64, amount: i64, usd: Option<i64>) -> TokenLeg {
        let usd = usd.and_then(|units| Decimal::from_units(units.into()));
        TokenLeg { sign, amount: amount.into(), usd, ..TokenLeg::default() }
    }

    proptest! {
        /// A leg is taken back after it was added: one task sends both, to one partition.
        #[test]
        fn adding_and_taking_back_in_any_order_leaves_what_was(
            kept in prop::collection::vec((0i64..99, any::<Option<i32>>(), 0u8..99), 0..6),
            gone in prop::collection::vec((0i64..99, any::<Option<i32>>(), 0u8..99, 0u8..99), 0..6),
        ) {
            let of = |sign, amount, usd: Option<i32>| leg(sign, amount, usd.map(i64::from));
            let mut all: Vec<(u8, TokenLeg)> = Vec::new();
            for (amount, usd, at) in &kept {
                all.push((*at, of(1, *amount, *usd)));
            }
            for (amount, usd, at, later) in &gone {
                all.push((*at, of(1, *amount, *usd)));
                all.push((at + later, of(-1, *amount, *usd)));
            }
            all.sort_by_key(|(at, _)| *at);
            let all: Vec<TokenLeg> = all.into_iter().map(|(_, leg)| leg).collect();
            let kept: Vec<TokenLeg> =
                kept.iter().map(|(amount, usd, _)| of(1, *amount, *usd)).collect();
            let fold = |legs: &[TokenLeg]| {
                let mut bucket = empty();
                let fits = legs.iter().all(|leg| sum(&mut bucket, leg));
                (bucket, fits)
            };
            prop_assert_eq!(fold(&all), fold(&kept));
        }
    }

    #[test]
    fn a_volume_that_does_not_fit_is_none_until_the_bucket_is_empty() {
        let mut bucket = empty();
        let huge = TokenLeg { amount: "9".repeat(78).parse().unwrap(), ..leg(1, 0, None) };
        assert!(sum(&mut bucket, &huge));
        assert!(!sum(&mut bucket, &huge), "counted once");
        assert!(sum(&mut bucket, &TokenLeg { sign: -1, ..huge }), "it is already none");
        assert_eq!((bucket.volume, bucket.swaps), (None, 1));
    }
}
