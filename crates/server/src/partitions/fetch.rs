//! Fetching into the caches what commands are about to look up.
//!
//! A look-up reads two places, the second of which is known when the first has been read: the index of a segment, and in it where
//! the record begins. Where several keys are known beforehand, all first places are fetched together, then all second ones.
//!
//! An element of a large collection is six and more such places away. Those of several requests are fetched together, step by step
//! ([`Ahead`]).

use smallvec::SmallVec;
use sterna_command::Sought;
use sterna_keyspace::{Ahead, KeyHash, LargeRef, Locked, LookUp, Partition};

use super::{Held, Indices, KEYS_MOSTLY_MAX, Partitions};
use crate::prefetch::{prefetch, prefetch_extent};

/// From so many keys in a partition on, what is read of one is not in the caches as a rule. Where debug assertions are on they are few, so that tests
/// need not have more.
const KEYS_CACHED_MAX: usize = if cfg!(debug_assertions) { 8 } else { 2_048 };

/// From so many on it is worth while for the keys of one command: fetching them takes 100 instructions a key, and waiting for one record after the other was a fifth
/// of an MGET of ten thousand.
const KEYS_FETCHED_MIN: usize = if cfg!(debug_assertions) { 8 } else { 256 };

/// The first keys of a command are fetched, so many times [`KEYS_MOSTLY_MAX`]: more would be gone again when they are read.
const CHUNKS_MAX: usize = 16;

/// A larger collection is not in the caches as a rule. In one of 6 MB (a sorted set of 10⁵) on a machine that does nothing else, ZRANK and ZPOPMIN
/// took a tenth longer with their elements fetched, and ZADD a tenth less.
const COLLECTION_CACHED_MAX: usize = if cfg!(debug_assertions) { 0 } else { 16 << 20 };

/// Requests whose elements are fetched together: as many as the processor fetches at a time, about.
pub(crate) const ELEMENTS_MAX: usize = 8;

/// An element that a request is going to look up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) element: Sought<'a>,
}

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

impl Partitions {
    /// Whether a key is that of a collection whose elements are not in the caches, unless somebody has its partition.
    pub(crate) fn has_large(&self, db: usize, key: &[u8]) -> bool {
        let hash = self.hash.of(key);
        let index = KeyHash::partition(hash, self.parts.len());
        self.parts[index].try_lock_nth(index).is_some_and(|part| large(&part, db, hash, key).is_some())
    }

    /// Fetches what look-ups of at most [`ELEMENTS_MAX`] elements will read, but for those whose partition somebody has.
    pub(crate) fn fetch_elements(&self, db: usize, all: &[Wanted<'_>]) {
        let all = &all[..all.len().min(ELEMENTS_MAX)];
        let mut hashes = [0; ELEMENTS_MAX];
        let mut indices = Indices::default();
        for (nth, wanted) in all.iter().enumerate() {
            // Mostly all are of one key.
            let is_same = nth > 0 && all[nth - 1].key == wanted.key;
            hashes[nth] = if is_same { hashes[nth - 1] } else { self.hash.of(wanted.key) };
            indices.insert(KeyHash::partition(hashes[nth], self.parts.len()));
        }
        let lock = |index: usize| Some((index, self.parts[index].try_lock_nth(index)?));
        let parts: SmallVec<[_; ELEMENTS_MAX]> = indices.iter().filter_map(lock).collect();
        let part_of = |hash: u64| {
            let index = KeyHash::partition(hash, self.parts.len());
            parts.iter().find(|(other, _)| *other == index).map(|(_, part)| &**part)
        };
        let mut steps: SmallVec<[Ahead<'_>; ELEMENTS_MAX]> = SmallVec::new();
        let mut last: Option<LargeRef<'_>> = None;
        for (nth, wanted) in all.iter().enumerate() {
            if nth == 0 || all[nth - 1].key != wanted.key {
                last = part_of(hashes[nth]).and_then(|part| large(part, db, hashes[nth], wanted.key));
            }
            let at_same_end =
                |other: &&Wanted<'_>| other.key == wanted.key && other.element == wanted.element;
            let behind = all[..nth].iter().filter(at_same_end).count();
            steps.extend(last.and_then(|large| large.look_up(wanted.element, behind)));
        }
        while !steps.is_empty() {
            steps.retain(|ahead| ahead.step(&mut prefetch_extent));
        }
    }
}

impl Held<'_> {
    /// Fetches what look-ups of the keys of a command will read, if there are several.
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

/// The collection at a key whose elements are worth while to be fetched.
#[inline]
fn large<'p>(part: &'p Partition, db: usize, hash: u64, key: &[u8]) -> Option<LargeRef<'p>> {
    // Whether it has expired makes no difference to what is fetched.
    part.record(db, hash, key, 0)?.value().large(COLLECTION_CACHED_MAX)
}

#[inline]
fn fetch_record(look_up: LookUp<'_>) {
    if let Some(address) = look_up.record() {
        // Half of them go on in the next line.
        prefetch(address);
        prefetch(address.wrapping_add(40));
    }
}
