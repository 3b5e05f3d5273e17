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
//! - `tag` is compared before keys are, and `bucket` says where a segment's index is looked at first: `index.rs`, and
//!   hashbrown in the tables of elements.
//! - `partition` picks the lock.
//! - `position` is the key's place in its partition's table and in the order of SCAN; keys' tables bend it (`table.rs`).
//!
//! The seed is drawn once per keyspace, so that nobody can prepare keys that collide; it never changes while the
//! keyspace lives, so that a position stays true.

use std::hash::{BuildHasher, Hasher};

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
pub struct KeyHash(foldhash::quality::RandomState);

impl KeyHash {
    /// With a random seed.
    pub fn random() -> KeyHash {
        KeyHash(foldhash::quality::RandomState::default())
    }

    /// The hash of `key`.
    #[inline]
    pub fn of(&self, key: &[u8]) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write(key);
        hasher.finish()
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
}

/// Where in its partition a key of this hash stands; below [`POSITIONS`].
#[inline]
pub(crate) fn position(hash: u64) -> u64 {
    (hash << TAG_BITS) >> (64 - POSITION_BITS)
}
