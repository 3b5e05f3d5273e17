//! The hash of a channel's or pattern's name.
//!
//! One hash serves every table that a message passes (the server's directory, then a shard's index), so the caller
//! may compute it once and hand it on. It is seeded once a process: clients choose the names and must not be able
//! to choose where they fall.

use std::hash::{BuildHasher, Hash};
use std::sync::LazyLock;

use hashbrown::DefaultHashBuilder;

static SEEDED: LazyLock<DefaultHashBuilder> = LazyLock::new(DefaultHashBuilder::default);

/// The hash of a name, the same all over this process and different in the next.
#[inline]
pub fn hash(name: &[u8]) -> u64 {
    SEEDED.hash_one(name)
}

/// The hash of a subscriber's key, by the same seed.
pub(crate) fn hash_key<K: Hash>(key: &K) -> u64 {
    SEEDED.hash_one(key)
}

/// What an `Arc<[u8]>` of `len` bytes takes on the heap beside its bytes: two counts, and padding to them.
pub(crate) fn shared_bytes(len: usize) -> usize {
    (2 * size_of::<usize>() + len).next_multiple_of(align_of::<usize>())
}
