//! The hash of a key, and which of its bits decide what.
//!
//! One hash per lookup serves three choices. They use disjoint bits, so that the keys of one partition or one
//! segment still spread evenly over what is chosen next.
//!
//! ```text
//! bit 63      57                                      17        9        0
//!     [  tag  |               position                | partition | bucket ]
//!        7                       40                         8         9
//! ```
//!
//! - `tag` is compared before keys are, and `bucket` says where a segment's index is looked at first: `index.rs`.
//! - `partition` picks the lock.
//! - `position` is the key's place in its partition's table and in the order of SCAN, which bend it ([`position`]).
//!
//! The seed is drawn once per keyspace, so that nobody can prepare keys that collide; it never changes while the
//! keyspace lives, so that a position stays true.

use std::hash::{BuildHasher, Hasher};

use crate::groups::KeyGroup;

/// Most partitions a keyspace can have: what the `partition` bits can tell apart.
pub const PARTITIONS_MAX: usize = 1 << PARTITION_BITS;

/// One past the highest position.
pub(crate) const POSITIONS: u64 = 1 << POSITION_BITS;

pub(crate) const POSITION_BITS: u32 = 40;
const PARTITION_BITS: u32 = 8;
/// Bits at the bottom that are left to the buckets of one segment.
const BUCKET_BITS: u32 = 9;
const TAG_BITS: u32 = 7;

const _: () = assert!(
    TAG_BITS + POSITION_BITS + PARTITION_BITS + BUCKET_BITS == 64,
    "every bit of the hash decides one thing"
);

/// Hashes keys; the same for every partition of a keyspace.
#[derive(Debug, Clone)]
pub struct KeyHash {
    state: foldhash::quality::RandomState,
    /// Groups of a cluster, each of which has partitions of its own ([`KeyHash::group_of`]), and partitions; 1 group: all have all.
    groups: u16,
    partitions: u16,
}

impl KeyHash {
    /// With a random seed.
    pub fn random() -> KeyHash {
        KeyHash::grouped(1, 1)
    }

    /// With a random seed, for keys in so many groups of a cluster and at least as many partitions (a power of two, at most
    /// [`PARTITIONS_MAX`]): no partition has keys of two groups.
    pub fn grouped(groups: u16, partitions: u16) -> KeyHash {
        KeyHash { state: foldhash::quality::RandomState::default(), groups, partitions }
    }

    /// The hash of `key`.
    #[inline]
    pub fn of(&self, key: &[u8]) -> u64 {
        #[cfg(test)]
        HASHED_BYTES.set(HASHED_BYTES.get() + key.len());
        let mut hasher = self.state.build_hasher();
        hasher.write(key);
        let hash = hasher.finish();
        if self.groups > 1 { self.within_group(hash, key) } else { hash }
    }

    /// The same hash, but for the bits of the partition: it is one of the key's group.
    #[cold]
    fn within_group(&self, hash: u64, key: &[u8]) -> u64 {
        let (group, groups) = (KeyGroup::of_key(key, self.groups), u64::from(self.groups));
        let of_group = (u64::from(self.partitions) - u64::from(group)).div_ceil(groups);
        let drawn = (hash >> BUCKET_BITS) & (PARTITIONS_MAX as u64 - 1);
        let partition = u64::from(group) + groups * (drawn % of_group);
        hash & !((PARTITIONS_MAX as u64 - 1) << BUCKET_BITS) | partition << BUCKET_BITS
    }

    /// The group whose keys a partition has.
    pub fn group_of(&self, partition: usize) -> u16 {
        (partition % usize::from(self.groups)) as u16
    }

    /// How many groups there are.
    #[inline]
    pub fn groups(&self) -> u16 {
        self.groups
    }

    /// Which of `partitions` (a power of two, at most [`PARTITIONS_MAX`]) holds the keys of this hash.
    #[inline]
    pub fn partition(hash: u64, partitions: usize) -> usize {
        (hash >> BUCKET_BITS) as usize & (partitions - 1)
    }

    /// Which of `buckets` (any number up to 2^[`BUCKET_BITS`]) keys of this hash are looked for in first.
    #[inline]
    pub(crate) fn bucket(hash: u64, buckets: usize) -> usize {
        ((hash as usize & ((1 << BUCKET_BITS) - 1)) * buckets) >> BUCKET_BITS
    }

    /// The first and the last of `others` buckets that keys have which have one of `buckets`.
    #[inline]
    pub(crate) fn buckets_like(bucket: usize, buckets: usize, others: usize) -> (usize, usize) {
        let first = (bucket << BUCKET_BITS).div_ceil(buckets);
        let last = ((bucket + 1) << BUCKET_BITS).div_ceil(buckets) - 1;
        ((first * others) >> BUCKET_BITS, (last * others) >> BUCKET_BITS)
    }
}

#[cfg(test)]
thread_local! {
    static HASHED_BYTES: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// How many bytes this thread has hashed.
#[cfg(test)]
pub(crate) fn hashed_bytes() -> usize {
    HASHED_BYTES.get()
}

/// Where in its table a key, or an element, of this hash stands; below [`POSITIONS`].
///
/// At the beginning they stand twice as close as at the end: `x (2 + x) / 3` for `x` between 0 and 1. So the segments of a
/// table, each of which covers a half, a quarter, an eighth … of the positions, are of all sizes between one and twice the
/// least, however many there are. Source: Martin, *Spiral Storage*, 1979.
#[inline]
pub(crate) fn position(hash: u64) -> u64 {
    let even = even_position(hash);
    let denser = (u128::from(even) * u128::from(2 * POSITIONS + even)) >> POSITION_BITS;
    denser as u64 / 3
}

/// A position, each as likely as any other for a hash that is drawn.
#[inline]
pub(crate) fn even_position(hash: u64) -> u64 {
    (hash << TAG_BITS) >> (64 - POSITION_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_has_keys_of_one_group_and_all_of_a_groups_partitions_have_some() {
        for (groups, partitions) in [(3, 4), (3, 64), (5, 8), (64, 64), (2, 256)] {
            let hash = KeyHash::grouped(groups, partitions);
            let mut seen = vec![false; usize::from(partitions)];
            for n in 0..20_000_u32 {
                let key = n.to_le_bytes();
                let partition = KeyHash::partition(hash.of(&key), usize::from(partitions));
                assert_eq!(hash.group_of(partition), KeyGroup::of_key(&key, groups));
                seen[partition] = true;
            }
            assert!(seen.iter().all(|seen| *seen), "{groups} groups");
        }
    }
}
