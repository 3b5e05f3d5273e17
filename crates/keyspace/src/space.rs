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
pub struct Space<'a>(View<'a>);

enum View<'a> {
    One(&'a mut Partition),
    Some(&'a mut dyn Locked),
}

impl<'a> Space<'a> {
    /// One partition, which holds every key the command names.
    pub fn one(partition: &'a mut Partition) -> Space<'a> {
        Space(View::One(partition))
    }

    /// Some partitions, or all.
    pub fn some(locked: &'a mut dyn Locked) -> Space<'a> {
        Space(View::Some(locked))
    }

    /// The same view for a shorter time.
    pub(crate) fn reborrow(&mut self) -> Space<'_> {
        match &mut self.0 {
            View::One(partition) => Space(View::One(partition)),
            View::Some(locked) => Space(View::Some(*locked)),
        }
    }

    /// The partition of `key`, and the key's hash.
    #[inline]
    pub(crate) fn of(&mut self, key: &[u8]) -> (&mut Partition, u64) {
        match &mut self.0 {
            View::One(partition) => {
                let hash = partition.hash.of(key);
                (partition, hash)
            }
            View::Some(locked) => {
                let hash = locked.hash().of(key);
                let index = KeyHash::partition(hash, locked.count());
                (locked.partition(index), hash)
            }
        }
    }

    /// The partition of `key`, to look only, and the key's hash.
    pub(crate) fn of_ref(&self, key: &[u8]) -> (&Partition, u64) {
        match &self.0 {
            View::One(partition) => (&**partition, partition.hash.of(key)),
            View::Some(locked) => {
                let hash = locked.hash().of(key);
                (locked.partition_ref(KeyHash::partition(hash, locked.count())), hash)
            }
        }
    }

    /// Whether the partition of `key` is known to be locked: where there is only one, it is the one of the command's own key.
    pub(crate) fn holds(&self, key: &[u8]) -> bool {
        match &self.0 {
            View::One(_) => false,
            View::Some(locked) => locked.holds(KeyHash::partition(locked.hash().of(key), locked.count())),
        }
    }

    /// How many partitions there are to visit with [`Space::partition`]; all must be locked.
    pub(crate) fn count(&self) -> usize {
        match &self.0 {
            View::One(_) => 1,
            View::Some(locked) => locked.count(),
        }
    }

    /// Every partition; all must be locked.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = &Partition> {
        (0..self.count()).map(|index| match &self.0 {
            View::One(partition) => &**partition,
            View::Some(locked) => locked.partition_ref(index),
        })
    }

    pub(crate) fn partition(&mut self, index: usize) -> &mut Partition {
        match &mut self.0 {
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
