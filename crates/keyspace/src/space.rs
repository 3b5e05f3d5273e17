//! The locked partitions, seen as one keyspace.
//!
//! A command for one key gets one partition and knows no other; a command for several keys, or for all, finds the
//! partitions it was promised by the hash of each key. Which are locked is the server's to know: it read the keys off
//! the command's row.

use crate::hash::KeyHash;
use crate::partition::Partition;

/// Partitions that are locked together.
pub trait Locked {
    /// How many partitions the keyspace has, locked or not: a power of two.
    fn count(&self) -> usize;

    /// How all of them hash.
    fn hash(&self) -> &KeyHash;

    /// Whether partition `index` is locked.
    fn holds(&self, index: usize) -> bool;

    /// Partition `index`.
    ///
    /// Panics if it isn't locked: the command's row names other keys than its code uses.
    fn partition(&mut self, index: usize) -> &mut Partition;

    /// Partition `index`, to look only; as [`Locked::partition`].
    fn partition_ref(&self, index: usize) -> &Partition;
}

/// The keyspace as far as a command may see it.
pub struct Space<'a> {
    view: View<'a>,
    /// The keys that were named to find the partitions, with their hashes.
    named: &'a [(&'a [u8], u64)],
    /// Which of them was asked for last: mostly that again, or the next.
    last: usize,
}

enum View<'a> {
    One(&'a mut Partition),
    Some(&'a mut dyn Locked),
}

impl<'a> Space<'a> {
    /// One partition, which holds every key the command names.
    pub fn one(partition: &'a mut Partition) -> Space<'a> {
        Space::of_view(View::One(partition))
    }

    /// Some partitions, or all.
    pub fn some(locked: &'a mut dyn Locked) -> Space<'a> {
        Space::of_view(View::Some(locked))
    }

    fn of_view(view: View<'a>) -> Space<'a> {
        Space { view, named: &[], last: 0 }
    }

    /// The same, for a command whose keys have been hashed.
    pub fn naming(self, named: &'a [(&'a [u8], u64)]) -> Space<'a> {
        Space { named, ..self }
    }

    /// The same view for a shorter time.
    pub(crate) fn reborrow(&mut self) -> Space<'_> {
        let view = match &mut self.view {
            View::One(partition) => View::One(partition),
            View::Some(locked) => View::Some(*locked),
        };
        Space { view, named: self.named, last: self.last }
    }

    /// The partition of `key`, and the key's hash.
    #[inline(always)]
    pub(crate) fn of(&mut self, key: &[u8]) -> (&mut Partition, u64) {
        let known = self.known(key);
        match &mut self.view {
            View::One(partition) => {
                let hash = known.unwrap_or_else(|| partition.hash.of(key));
                debug_assert_eq!(hash, partition.hash.of(key));
                (partition, hash)
            }
            View::Some(locked) => {
                let hash = known.unwrap_or_else(|| locked.hash().of(key));
                debug_assert_eq!(hash, locked.hash().of(key));
                let index = KeyHash::partition(hash, locked.count());
                (locked.partition(index), hash)
            }
        }
    }

    /// The hash of `key`, if these very bytes were named and are asked for again, or next.
    #[inline]
    fn known(&mut self, key: &[u8]) -> Option<u64> {
        let named = self.named;
        let hash_at =
            |at: usize| named.get(at).filter(|(named, _)| std::ptr::eq(*named, key)).map(|&(_, hash)| hash);
        if let Some(hash) = hash_at(self.last) {
            return Some(hash);
        }
        let hash = hash_at(self.last + 1)?;
        self.last += 1;
        Some(hash)
    }

    /// The partition of `key`, to look only, and the key's hash.
    pub(crate) fn of_ref(&self, key: &[u8]) -> (&Partition, u64) {
        match &self.view {
            View::One(partition) => (&**partition, partition.hash.of(key)),
            View::Some(locked) => {
                let hash = locked.hash().of(key);
                (locked.partition_ref(KeyHash::partition(hash, locked.count())), hash)
            }
        }
    }

    /// Whether the partition of `key` is known to be locked: where there is only one, it is the one of the command's own key.
    pub(crate) fn holds(&self, key: &[u8]) -> bool {
        match &self.view {
            View::One(_) => false,
            View::Some(locked) => locked.holds(KeyHash::partition(locked.hash().of(key), locked.count())),
        }
    }

    /// Whether a partition is locked.
    pub(crate) fn is_locked(&self, index: usize) -> bool {
        match &self.view {
            View::One(_) => true,
            View::Some(locked) => locked.holds(index),
        }
    }

    /// How many partitions there are to visit with [`Space::partition`]; all must be locked.
    pub(crate) fn count(&self) -> usize {
        match &self.view {
            View::One(_) => 1,
            View::Some(locked) => locked.count(),
        }
    }

    /// Every partition; all must be locked.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = &Partition> {
        (0..self.count()).map(|index| match &self.view {
            View::One(partition) => &**partition,
            View::Some(locked) => locked.partition_ref(index),
        })
    }

    pub(crate) fn partition(&mut self, index: usize) -> &mut Partition {
        match &mut self.view {
            View::One(partition) => partition,
            View::Some(locked) => locked.partition(index),
        }
    }
}

impl std::fmt::Debug for Space<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Space({} partitions)", self.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_bytes_that_were_named_have_a_known_hash_in_their_order() {
        let mut partition = Partition::new(KeyHash::random(), 1);
        let text = b"aba".to_vec();
        let (first, second, third) = (&text[0..1], &text[1..2], &text[2..3]);
        // Wrong on purpose: what is taken from here shows.
        let named = [(first, 1), (second, 2), (third, 3)];
        let mut space = Space::one(&mut partition).naming(&named);
        assert_eq!(space.known(b"a"), None);
        for (key, hash) in [(first, 1), (first, 1), (second, 2), (third, 3), (third, 3)] {
            assert_eq!(space.known(key), Some(hash));
        }
        assert_eq!((space.known(first), space.known(&text[0..2])), (None, None));
    }
}
