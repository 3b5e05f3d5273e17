//! WATCH: who must know when a key is touched.
//!
//! A connection that watches owns one flag; every key it watches, in whichever partition, points to it. A touch sets
//! the flags of the key's watchers; EXEC reads its own. While nobody watches, a touch costs one branch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hashbrown::HashTable;
use smallvec::SmallVec;

/// One connection's watch: set as soon as one of its keys is touched.
#[derive(Debug, Default)]
pub struct Watch {
    /// Relaxed suffices: it is set and read under the lock of the key's partition, which orders them.
    is_broken: AtomicBool,
    /// It watches no key any more. Relaxed, too: see [`Watched::remove`].
    is_gone: AtomicBool,
    /// Whether a change suffices that touches nobody: of a group, not of what is in its stream.
    minds_edits: bool,
}

impl Watch {
    /// A watch that any change breaks.
    pub(crate) fn of_every_change() -> Watch {
        Watch { minds_edits: true, ..Watch::default() }
    }

    /// Whether a watched key was touched.
    pub fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }

    /// As if a watched key had been touched.
    pub fn set_broken(&self) {
        self.is_broken.store(true, Ordering::Relaxed);
    }
}

/// The watched keys of one partition. No entry is without watchers.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    keys: HashTable<WatchedKey>,
}

#[derive(Debug)]
struct WatchedKey {
    hash: u64,
    db: usize,
    key: Box<[u8]>,
    /// Each once.
    by: SmallVec<[Arc<Watch>; 1]>,
    /// How many of them are gone and still in their places, or a few more.
    gone: usize,
    /// So many of the first are broken: an earlier touch has told them. Under the lock of the key's partition, as all here.
    broken: AtomicUsize,
}

impl WatchedKey {
    /// The key was touched. Cost: amortised O(1) for each time that it was watched.
    fn touch(&self) {
        self.by[self.broken.load(Ordering::Relaxed)..].iter().for_each(|watch| watch.set_broken());
        self.broken.store(self.by.len(), Ordering::Relaxed);
    }

    /// Forgets those who are gone.
    fn sweep(&mut self) {
        let (mut nth, first, mut left) = (0, *self.broken.get_mut(), 0);
        self.by.retain(|by| {
            let is_here = !by.is_gone.load(Ordering::Relaxed);
            left += usize::from(is_here && nth < first);
            nth += 1;
            is_here
        });
        *self.broken.get_mut() = left;
        self.gone = 0;
    }
}

/// What a watched key takes beside its bytes: its place in the table, of which a part is free.
pub const WATCHED_KEY_BYTES: usize = size_of::<WatchedKey>() * 3 / 2;

/// Watchers of a key that are looked through when one of them goes.
const FEW: usize = 8;

impl Watched {
    /// Has a key watched by whom it was not watched by.
    pub(crate) fn add(&mut self, db: usize, hash: u64, key: &[u8], watch: &Arc<Watch>) {
        let found = self.keys.find_mut(hash, |watched| watched.db == db && *watched.key == *key);
        match found {
            Some(watched) => watched.by.push(watch.clone()),
            None => {
                let by = SmallVec::from_elem(watch.clone(), 1);
                let new = WatchedKey { hash, db, key: key.into(), by, gone: 0, broken: AtomicUsize::new(0) };
                self.keys.insert_unique(hash, new, |watched| watched.hash);
            }
        }
    }

    /// Takes a watch off a key; it is to be taken off every key that it watches. Thousands may watch one key, so that they go together
    /// when they are more than half of its watchers. Cost: amortised O(1).
    pub(crate) fn remove(&mut self, db: usize, hash: u64, key: &[u8], watch: &Arc<Watch>) {
        let found = self.keys.find_entry(hash, |watched| watched.db == db && *watched.key == *key);
        watch.is_gone.store(true, Ordering::Relaxed);
        if let Ok(mut entry) = found {
            let watched = entry.get_mut();
            watched.gone += 1;
            if watched.by.len() <= FEW || watched.gone > watched.by.len() / 2 {
                watched.sweep();
            }
            if watched.by.is_empty() {
                entry.remove();
            }
        }
    }

    #[inline]
    pub(crate) fn touch(&self, db: usize, hash: u64, key: &[u8]) {
        if !self.keys.is_empty() {
            self.touch_watched(db, hash, key);
        }
    }

    /// A stream was changed, perhaps only in its groups.
    #[inline]
    pub(crate) fn edit(&self, db: usize, hash: u64, key: &[u8]) {
        if !self.keys.is_empty() {
            self.edit_watched(db, hash, key);
        }
    }

    #[cold]
    fn edit_watched(&self, db: usize, hash: u64, key: &[u8]) {
        if let Some(watched) = self.keys.find(hash, |watched| watched.db == db && *watched.key == *key) {
            watched.by.iter().filter(|watch| watch.minds_edits).for_each(|watch| watch.set_broken());
        }
    }

    #[cold]
    fn touch_watched(&self, db: usize, hash: u64, key: &[u8]) {
        if let Some(watched) = self.keys.find(hash, |watched| watched.db == db && *watched.key == *key) {
            watched.touch();
        }
    }

    /// The keys that are watched in a database, each with its hash.
    pub(crate) fn keys_in(&self, db: usize) -> impl Iterator<Item = (u64, &[u8])> {
        let watched = self.keys.iter().filter(move |watched| watched.db == db);
        watched.map(|watched| (watched.hash, &watched.key[..]))
    }

    /// Touches the watched keys of a database for which `exists` holds: what FLUSHDB is about to remove.
    pub(crate) fn touch_where(&self, db: usize, exists: impl Fn(u64, &[u8]) -> bool) {
        for watched in self.keys.iter().filter(|watched| watched.db == db) {
            if exists(watched.hash, &watched.key) {
                watched.touch();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_nobody_watches_any_more_leaves_nothing_behind() {
        for count in [1, FEW, 1_000] {
            let mut watched = Watched::default();
            let watches: Vec<Arc<Watch>> = (0..count).map(|_| Arc::default()).collect();
            for watch in &watches {
                watched.add(0, 1, b"a", watch);
                watched.add(1, 1, b"a", watch);
            }
            let (first, last) = watches.split_at(count / 2);
            for watch in first {
                watched.remove(0, 1, b"a", watch);
                watched.remove(1, 1, b"a", watch);
            }
            assert!(!watched.keys.is_empty());
            watched.touch(0, 1, b"a");
            assert!(last.iter().all(|watch| watch.is_broken()));
            for watch in last {
                watched.remove(0, 1, b"a", watch);
                watched.remove(1, 1, b"a", watch);
            }
            assert!(watched.keys.is_empty());
            assert!(watches.iter().all(|watch| Arc::strong_count(watch) == 1));
        }
    }

    #[test]
    fn who_begins_to_watch_a_key_that_was_touched_is_told_of_the_next_touch_whoever_has_gone() {
        let mut watched = Watched::default();
        let mut watches: Vec<Arc<Watch>> = Vec::new();
        for round in 0..20 {
            let new: Vec<Arc<Watch>> = (0..50).map(|_| Arc::default()).collect();
            new.iter().for_each(|watch| watched.add(0, 1, b"a", watch));
            watches.extend(new.iter().cloned());
            assert!(new.iter().all(|watch| !watch.is_broken()), "{round}");
            // Of those who were told and of those who were not some go, so that the others are swept together.
            for watch in watches.extract_if(.., |watch| Arc::as_ptr(watch).addr() / 64 % 3 != 0) {
                watched.remove(0, 1, b"a", &watch);
            }
            watched.touch(0, 1, b"a");
            assert!(watches.iter().all(|watch| watch.is_broken()), "{round}");
        }
    }
}
