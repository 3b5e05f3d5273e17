//! How long what keys hold is, for whoever decides how much of it to read at once.

use std::collections::HashMap;

use sterna_keyspace::{KeyHash, ValueRef};

use super::Partitions;

/// Elements at whose length is looked one by one, in all of a transaction: some 0.1 ms.
const LOOKED_AT_MAX: usize = 1024;

/// What the commands of a transaction take from the ends of lists and sorted sets, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Of each key: how many elements, from whichever end, and the bytes of the longest take.
    keys: HashMap<Box<[u8]>, (usize, usize)>,
    looked_at: usize,
}

impl Taken {
    /// How many bytes another command takes at most that takes so many elements of `value`, at least one. Where there is too much to look
    /// at, all that there is.
    pub(super) fn take(&mut self, key: &[u8], value: ValueRef<'_>, count: usize) -> usize {
        if !value.has_ends() {
            return 0;
        }
        let count = count.clamp(1, value.elements().max(1));
        self.looked_at = self.looked_at.saturating_add(count);
        if self.looked_at > LOOKED_AT_MAX {
            return value.heap_bytes();
        }
        let (before, longest) = self.keys.entry(key.into()).or_default();
        *longest = value.bytes_at_ends(*before, count).max(*longest);
        *before += count;
        *longest
    }
}

impl Partitions {
    /// How many of these keys, from the first on, hold at most so many bytes together. It ends at one that a script keeps.
    pub(crate) fn count_short<'k>(
        &self,
        db: usize,
        keys: impl Iterator<Item = &'k [u8]>,
        now_ms: u64,
        bytes_max: usize,
    ) -> usize {
        let mut bytes = 0;
        let is_short = |key: &&[u8]| {
            let hash = self.hash.of(key);
            let part = self.part_soon(KeyHash::partition(hash, self.parts.len()));
            part.is_some_and(|part| {
                bytes += part.record(db, hash, key, now_ms).map_or(0, |record| record.value().heap_bytes());
                bytes <= bytes_max
            })
        };
        keys.take_while(is_short).count()
    }
}
