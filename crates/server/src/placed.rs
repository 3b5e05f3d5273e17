//! Keys of the first database that have got a stream as a whole, by RENAME, COPY, RESTORE, MOVE or SWAPDB.
//!
//! What such a key held before was another stream, of which this one may be an older copy. Who has read that one up to an ID would
//! find the ID here as well, and not what came behind it there. So for each such key it is known up to which ID positions prove nothing.
//!
//! It is known for as long as the server runs: `persistence/epoch.rs` sees to it that no position outlives that.
//!
//! Cost: nothing but for those commands, and a look at a number for who follows; 32 bytes a key, for [`KEYS_MAX`] keys. Beyond
//! these it is as if every key had got one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};

use sterna_keyspace::stream::EntryId;

use crate::lock::{Level, Mutex};

const KEYS_MAX: usize = 4096;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    /// How many there have been. Changed with the partition of the key locked, so that who has locked it knows of all.
    count: AtomicU64,
    inner: Mutex<Inner, { Level::Placed as u8 }>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By the hashes of the keys.
    of_keys: HashMap<u64, Placement>,
    of_all: Placement,
}

/// The last time that a key got a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Placement {
    /// The how-manieth it was.
    pub(crate) number: u64,
    /// No ID above was handed out under the key before.
    pub(crate) until: EntryId,
}

impl Placement {
    fn or_later(self, other: Placement) -> Placement {
        Placement { number: self.number.max(other.number), until: self.until.max(other.until) }
    }
}

impl Placed {
    /// How many there have been: who knows this number, and finds it again, need not look further.
    #[inline]
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Acquire)
    }

    /// A key has got a stream; `None`: any key may have.
    #[cold]
    pub(crate) fn note(&self, hash: Option<u64>, until: EntryId) {
        let mut inner = self.inner.lock();
        let number = self.count.load(Acquire) + 1;
        let placement = Placement { number, until };
        let Inner { of_keys, of_all } = &mut *inner;
        match hash {
            Some(hash) if of_keys.len() < KEYS_MAX || of_keys.contains_key(&hash) => {
                let known = of_keys.entry(hash).or_default();
                *known = known.or_later(placement);
            }
            _ => {
                *of_all = of_keys.drain().fold(of_all.or_later(placement), |all, (_, one)| all.or_later(one));
            }
        }
        self.count.store(number, Release);
    }

    /// When the key last got one, or may have.
    pub(crate) fn last(&self, hash: u64) -> Placement {
        if self.count() == 0 {
            return Placement::default();
        }
        let inner = self.inner.lock();
        inner.of_keys.get(&hash).copied().unwrap_or_default().or_later(inner.of_all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64) -> EntryId {
        EntryId::new(ms, 0)
    }

    #[test]
    fn the_last_placement_of_each_key_is_known_and_beyond_so_many_that_of_all() {
        let placed = Placed::default();
        assert_eq!(placed.last(1), Placement::default());
        placed.note(Some(1), id(9));
        placed.note(Some(1), id(5));
        placed.note(Some(2), id(7));
        assert_eq!(placed.last(1), Placement { number: 2, until: id(9) });
        assert_eq!((placed.last(2).number, placed.last(3).number, placed.count()), (3, 0, 3));
        placed.note(None, id(8));
        assert_eq!(
            placed.last(3),
            Placement { number: 4, until: id(9) },
            "of keys that are not known any more, the latest"
        );
        assert_eq!(placed.last(1), Placement { number: 4, until: id(9) });
        let keys = KEYS_MAX as u64;
        (0..keys).for_each(|key| placed.note(Some(key), id(1)));
        assert_eq!(placed.last(keys + 1).number, 4);
        placed.note(Some(keys), id(20));
        assert_eq!(placed.last(keys + 1), Placement { number: 5 + keys, until: id(20) });
        assert!(placed.inner.lock().of_keys.is_empty());
    }
}
