//! Fetching into the caches what commands are about to look up.
//!
//! A look-up reads two places, the second of which is known when the first has been read: the index of a segment, and in it where
//! the record begins. Where several keys are known beforehand, all first places are fetched together, then all second ones.

use sterna_keyspace::{KeyHash, Locked, LookUp, Partition};

use super::{Held, KEYS_MOSTLY_MAX, Partitions};
use crate::prefetch::prefetch;

/// From so many keys in a partition on, what is read of one is not in the caches as a rule. Where debug assertions are on they are few, so that tests
/// need not have more.
const KEYS_CACHED_MAX: usize = if cfg!(debug_assertions) { 8 } else { 2_048 };

/// From so many on it is worth while for the keys of one command: fetching them takes 100 instructions a key, and waiting for one record after the other was a fifth
/// of an MGET of ten thousand.
const KEYS_FETCHED_MIN: usize = if cfg!(debug_assertions) { 8 } else { 256 };

/// The first keys of a command are fetched, so many times [`KEYS_MOSTLY_MAX`]: more would be gone again when they are read.
const CHUNKS_MAX: usize = 16;

/// What is fetched of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fetch {
    /// Where its partition's index is looked at.
    Index,
    /// Its record.
    Record,
}

impl Partitions {
    /// Whether a database has so many keys that fetching what is read of them is worth while, as far as one partition tells.
    pub(crate) fn are_large(&self, db: usize) -> bool {
        self.parts[0].try_lock_nth(0).is_some_and(|part| is_large(&part, db))
    }

    /// Fetches what a look-up of a key with this hash will read, unless somebody has its partition. Returns what is to be fetched
    /// when this has come.
    #[inline]
    pub(crate) fn fetch(&self, db: usize, hash: u64, what: Fetch) -> Option<Fetch> {
        let index = KeyHash::partition(hash, self.parts.len());
        let part = self.parts[index].try_lock_nth(index)?;
        match what {
            Fetch::Index => {
                prefetch(part.look_up_of(db, hash)?.index()?);
                Some(Fetch::Record)
            }
            Fetch::Record => {
                fetch_record(part.look_up_of(db, hash)?);
                None
            }
        }
    }
}

impl Held<'_> {
    /// The same for the keys of a command, if there are several.
    #[inline]
    pub(super) fn fetch(&self, named: &[(&[u8], u64)], db: usize) {
        if named.len() > 1 && self.any().is_some_and(|part| part.keys(db) > KEYS_FETCHED_MIN) {
            named.chunks(KEYS_MOSTLY_MAX).take(CHUNKS_MAX).for_each(|named| self.fetch_all(named, db));
        }
    }

    /// All places of the indices, and then all records.
    #[inline(never)]
    fn fetch_all(&self, named: &[(&[u8], u64)], db: usize) {
        let mut look_ups = [None; KEYS_MOSTLY_MAX];
        for (look_up, &(_, hash)) in look_ups.iter_mut().zip(named) {
            *look_up = self.look_up_of(db, hash);
            if let Some(address) = look_up.and_then(LookUp::index) {
                prefetch(address);
            }
        }
        look_ups.iter().take(named.len()).flatten().for_each(|look_up| fetch_record(*look_up));
    }

    #[inline]
    fn look_up_of(&self, db: usize, hash: u64) -> Option<LookUp<'_>> {
        self.held(KeyHash::partition(hash, self.count()))?.look_up_of(db, hash)
    }
}

#[inline]
fn is_large(part: &Partition, db: usize) -> bool {
    part.keys(db) > KEYS_CACHED_MAX
}

#[inline]
fn fetch_record(look_up: LookUp<'_>) {
    if let Some(address) = look_up.record() {
        // Half of them go on in the next line.
        prefetch(address);
        prefetch(address.wrapping_add(40));
    }
}
