//! One instance of a swap, (block hash, log index) of a pool: what is known of it, and its state.
//!
//! | flag | by the node's logs | in a gap it is |
//! |---|---|---|
//! | `Added` | added, or added again | canonical |
//! | `Removed` | added, then removed | not |
//! | `RemovedFirst` | removed before it was added: cancels the next add | not |
//!
//! Where a head states the canonical block of the height, the flag has no effect.

use schemas::avro::{self, Malformed, Reader, Record};
use schemas::{Decimal, PoolKey, Swap, SwapStatus, SwapStatusKey, Timestamp};

use super::blocks::Blocks;

/// The first number of an instance's bytes.
const VERSION: i64 = 1;
/// The block number of a swap that is in no block.
pub(super) const PENDING: i64 = -1;

schemas::named! {
    /// See the module.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Flag {
        /// The last log says that it is there.
        Added = "added",
        /// The last log says that it is gone.
        Removed = "removed",
        /// The first log says that it is gone.
        RemovedFirst = "removed_first",
    }
}

impl Flag {
    /// After one more log; `known` is the flag before.
    pub(super) fn after(known: Option<Self>, is_removal: bool) -> Self {
        match (known, is_removal) {
            (None | Some(Self::RemovedFirst), true) => Self::RemovedFirst,
            (Some(Self::Added | Self::Removed), true) | (Some(Self::RemovedFirst), false) => {
                Self::Removed
            }
            (None | Some(Self::Added | Self::Removed), false) => Self::Added,
        }
    }
}

/// The identity of an instance, in the order in which a chain executes its swaps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct InstanceKey {
    /// The chain id.
    pub(super) chain: i64,
    /// The number of the block, [`PENDING`] without one.
    pub(super) number: i64,
    /// The place of the log in the block, −1 without one.
    pub(super) log_index: i64,
    /// The hash of the block; of the transaction without one.
    pub(super) hash: String,
    /// The address of the pool.
    pub(super) pool: String,
}

impl InstanceKey {
    /// The instance of a swap; `None` when it is in no block.
    pub(super) fn of(pool: &PoolKey, swap: &Swap) -> Option<Self> {
        Some(Self {
            chain: pool.chain,
            number: swap.block_number?,
            log_index: swap.log_index?,
            hash: swap.block_hash.clone()?,
            pool: pool.pool.clone(),
        })
    }

    /// The key of a swap that is in no block.
    pub(super) fn pending(pool: &PoolKey, tx_hash: &str) -> Self {
        Self {
            chain: pool.chain,
            number: PENDING,
            log_index: SwapStatusKey::PENDING,
            hash: tx_hash.to_owned(),
            pool: pool.pool.clone(),
        }
    }

    /// The pool.
    pub(super) fn pool_key(&self) -> PoolKey {
        PoolKey::new(self.chain, self.pool.as_str())
    }

    /// Its key in the store.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        avro::long(&mut out, self.chain);
        avro::long(&mut out, self.number);
        avro::long(&mut out, self.log_index);
        avro::string(&mut out, &self.hash);
        avro::string(&mut out, &self.pool);
        out
    }

    /// Reads a key of the store.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        Ok(Self {
            chain: reader.long()?,
            number: reader.long()?,
            log_index: reader.long()?,
            hash: reader.string()?.to_owned(),
            pool: reader.string()?.to_owned(),
        })
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Of the node's logs.
    pub flag: Flag,
    /// The status that was last published. It is counted when that is CONFIRMED or FINAL.
    pub status: SwapStatus,
    /// The price of the pool after the swap, by the decimals at its first log.
    pub price: Option<Decimal>,
    /// Its value in USD, by the facts at its first log: what was added is taken back.
    pub usd: Option<Decimal>,
    /// The log.
    pub swap: Swap,
}

impl Instance {
    /// Whether it is in the aggregates.
    pub(super) const fn is_counted(&self) -> bool {
        matches!(self.status, SwapStatus::Confirmed | SwapStatus::Final)
    }

    /// The beginning of its minute; `None` while its time is unknown.
    pub(super) fn minute(&self) -> Option<Timestamp> {
        self.swap.block_time.map(|time| crate::interval::Interval::Minute.start(time))
    }

    /// Appends its bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        avro::long(out, VERSION);
        avro::string(out, self.flag.as_str());
        avro::string(out, self.status.as_str());
        for number in [self.price, self.usd] {
            avro::optional(out, number, avro::decimal);
        }
        self.swap.write(out);
    }

    /// Reads its bytes.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let read = |reader: &mut Reader<'_>| -> Result<Self, Malformed> {
            if reader.long()? != VERSION {
                return Err(Malformed);
            }
            Ok(Self {
                flag: reader.named(Flag::parse)?,
                status: reader.named(SwapStatus::parse)?,
                price: reader.optional(Reader::decimal)?,
                usd: reader.optional(Reader::decimal)?,
                swap: Swap::read(reader)?,
            })
        };
        read(&mut Reader::new(bytes)).map_err(|error| format!("no instance of a swap: {error:?}"))
    }
}

/// The status of an instance: the rule of counting.
///
/// `confirmations` is how many blocks have to be on top of a block whose swaps are counted.
pub(super) fn status(
    key: &InstanceKey,
    flag: Flag,
    blocks: &Blocks,
    confirmations: i64,
) -> SwapStatus {
    let is_canonical = match blocks.canonical(key.number) {
        Some(canonical) => canonical == key.hash,
        None => flag == Flag::Added,
    };
    if !is_canonical {
        return SwapStatus::Removed;
    }
    if blocks.last_final().is_some_and(|last| key.number <= last) {
        return SwapStatus::Final;
    }
    let is_confirmed = blocks.head().is_some_and(|head| key.number <= head - confirmations);
    if is_confirmed { SwapStatus::Confirmed } else { SwapStatus::Included }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_removal_that_came_first_cancels_one_add() {
        let after = |logs: &[bool]| {
            logs.iter().fold(None, |flag, removal| Some(Flag::after(flag, *removal)))
        };
        let (add, remove) = (false, true);
        for (logs, expected) in [
            (&[add][..], Flag::Added),
            (&[add, add], Flag::Added),
            (&[add, remove], Flag::Removed),
            (&[add, remove, remove], Flag::Removed),
            (&[add, remove, add], Flag::Added),
            (&[remove], Flag::RemovedFirst),
            (&[remove, remove], Flag::RemovedFirst),
            (&[remove, add], Flag::Removed),
            (&[remove, add, add], Flag::Added),
        ] {
            assert_eq!(after(logs), Some(expected), "{logs:?}");
        }
    }

    proptest! {
        #[test]
        fn instances_and_their_keys_survive(
            numbers: [i64; 3], hash in "0x[0-9a-f]{64}", price: Option<i64>, tick: Option<i64>,
        ) {
            let [chain, number, log_index] = numbers;
            let pool = format!("0x{}", &hash[2..42]);
            let key = InstanceKey { chain, number, log_index, hash: hash.clone(), pool };
            prop_assert_eq!(InstanceKey::read(&key.bytes()).ok(), Some(key));
            let price = price.and_then(|units| Decimal::from_units(units.into()));
            let swap = Swap { tx_hash: hash, tick, ..Swap::default() };
            for (flag, status) in [(Flag::Added, SwapStatus::Final), (Flag::Removed, SwapStatus::Removed)] {
                let instance = Instance { flag, status, price, usd: price, swap: swap.clone() };
                let mut bytes = Vec::new();
                instance.write(&mut bytes);
                prop_assert_eq!(Instance::read(&bytes), Ok(instance));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = (Instance::read(&bytes), InstanceKey::read(&bytes));
        }
    }
}
