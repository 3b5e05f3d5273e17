//! When keys expire: an index by time, for the active cycle.
//!
//! Every key with an expiry has one entry (time, hash), in order of time, so that the cycle finds what is due
//! without looking at anything else. The hash stands for the key, which the table finds by it; two keys that agree in
//! all 64 bits and in the millisecond share an entry, and the one that is left over goes on its next access.
//!
//! Cost: O(log n) per expiry set or removed, about 24 bytes an entry. Redis samples at random instead, which costs no
//! index but leaves expired keys lying about.

use std::collections::BTreeSet;

/// The expiries of one database in one partition.
#[derive(Debug, Default)]
pub(crate) struct Expiries {
    by_time: BTreeSet<(u64, u64)>,
    /// Sum of the times, for their average.
    sum_ms: u128,
}

impl Expiries {
    pub(crate) fn len(&self) -> usize {
        self.by_time.len()
    }

    pub(crate) fn insert(&mut self, at_ms: u64, hash: u64) {
        if self.by_time.insert((at_ms, hash)) {
            self.sum_ms += u128::from(at_ms);
        }
    }

    pub(crate) fn remove(&mut self, at_ms: u64, hash: u64) {
        if self.by_time.remove(&(at_ms, hash)) {
            self.sum_ms -= u128::from(at_ms);
        }
    }

    /// The earliest time and the hash of its key.
    pub(crate) fn first(&self) -> Option<(u64, u64)> {
        self.by_time.first().copied()
    }

    /// Some neighbours near a random time, or fewer, with the hashes of their keys.
    pub(crate) fn draw(&self, random: u64, count: usize) -> impl Iterator<Item = (u64, u64)> {
        let ends = self.by_time.first().zip(self.by_time.last());
        let at = ends.map_or((0, 0), |(first, last)| (first.0 + random % (last.0 - first.0 + 1), random));
        self.by_time.range(at..).chain(self.by_time.range(..at)).take(count).copied()
    }

    /// Sum of the times to live at `now_ms`; those past count as nothing together with what they lack.
    pub(crate) fn ttl_sum_ms(&self, now_ms: u64) -> u128 {
        self.sum_ms.saturating_sub(u128::from(now_ms) * self.by_time.len() as u128)
    }

    /// Panics unless these are the expiries.
    pub(crate) fn check(&self, expected: impl Iterator<Item = (u64, u64)>) {
        let expected: BTreeSet<_> = expected.collect();
        assert_eq!(self.by_time, expected);
        assert_eq!(self.sum_ms, expected.iter().map(|&(at_ms, _)| u128::from(at_ms)).sum());
    }
}
