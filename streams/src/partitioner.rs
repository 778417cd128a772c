//! The partition of a key, as Java's producer chooses it.

use crate::record::Partition;

/// The partition of `key` among `count`: murmur2 of its bytes without the sign, modulo the count
/// (`BuiltInPartitioner.partitionForKey` of the Java client).
///
/// ```
/// use streams::{partitioner::partition, record::Partition};
/// assert_eq!(partition(b"21", 1_000), Partition(340));
/// assert_eq!(partition(b"", 1_000), Partition(681));
/// ```
pub fn partition(key: &[u8], count: i32) -> Partition {
    let positive = i64::from(murmur2(key) & 0x7fff_ffff);
    Partition(i32::try_from(positive % i64::from(count.max(1))).unwrap_or_default())
}

/// 32-bit `MurmurHash2` (Austin Appleby) with the seed of Kafka.
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const MULTIPLIER: u32 = 0x5bd1_e995;
    const SHIFT: u32 = 24;
    // Keys are far shorter than 4 GiB.
    let mut hash = SEED ^ u32::try_from(data.len()).unwrap_or(u32::MAX);
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mixed = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        let mixed = (mixed ^ (mixed >> SHIFT)).wrapping_mul(MULTIPLIER);
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed;
    }
    if !rest.is_empty() {
        let last = rest.iter().rev().fold(0, |last, byte| (last << 8) | u32::from(*byte));
        hash = (hash ^ last).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of `UtilsTest.testMurmur2` of Apache Kafka.
    #[test]
    fn keys_hash_as_in_the_java_client() {
        let known: [(&[u8], i32); 7] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
            (b"", 275_646_681),
        ];
        for (key, hash) in known {
            assert_eq!(murmur2(key).cast_signed(), hash, "{}", key.escape_ascii());
        }
    }

    /// `Utils.toPositive` of those hashes, modulo the partitions.
    #[test]
    fn the_partition_of_a_key_is_that_of_the_java_client() {
        let known: [(&[u8], i32); 4] = [(b"21", 340), (b"foobar", 166), (b"abc", 107), (b"", 681)];
        for (key, expected) in known {
            assert_eq!(partition(key, 1_000), Partition(expected), "{}", key.escape_ascii());
        }
    }
}
