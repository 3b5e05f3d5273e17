//! How long what keys hold is, for whoever decides how much of it to read at once.

use sterna_keyspace::KeyHash;

use super::Partitions;

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
