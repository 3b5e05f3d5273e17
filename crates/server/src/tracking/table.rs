//! The table of reads: key → the clients that have read it since it last changed.
//!
//! ```text
//!   stripe of the key's hash, behind its lock
//!     places   hash table of indices ─┐
//!     entries  [k1: A] [k2: A B] [k3: C] …      dense, so that any of them can be drawn by lot
//! ```
//!
//! Invariants
//! - `places` has each index of `entries` once, under the hash of the entry's key.
//! - No entry is without a reader; readers are in order of their ids, each once.
//! - `keys` and `items` are the sums over the stripes as soon as nobody is inside one.
//!
//! A client that has gone stays until the key changes or is drawn, a sweep comes by, or its list would grow: whoever is
//! told looks whether the client is there.
//!
//! Cost: remembering and taking O(1) and a lock nobody else is likely to hold; a reader that comes to a key with n others
//! O(log n) to find and O(n) to move. Memory: 56 bytes and the key, 16 for each reader after the first.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use hashbrown::{DefaultHashBuilder, HashTable};
use smallvec::SmallVec;

use crate::connection::client::ClientId;
use crate::limits::TRACKED_NAMES_BYTES_MAX;
use crate::lock::{Level, Mutex};

/// More than shards there are on most machines, so that two of them seldom meet at one.
const STRIPES: usize = 64;

/// A list of readers shorter than this grows without a look at who of them has left.
const READERS_UNSWEPT: usize = 16;

/// Where a sweep stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct SweepAt {
    stripe: usize,
    entry: usize,
}

/// A client that has read a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reader {
    pub(crate) client: ClientId,
    pub(crate) shard: u16,
}

pub(crate) type Readers = SmallVec<[Reader; 1]>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Table {
    stripes: [Mutex<Stripe, { Level::TrackedReads as u8 }>; STRIPES],
    hasher: DefaultHashBuilder,
    keys: AtomicUsize,
    items: AtomicUsize,
    /// Of all keys' names.
    bytes: AtomicUsize,
}

#[derive(Debug, Default)]
struct Stripe {
    places: HashTable<usize>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    key: Box<[u8]>,
    readers: Readers,
}

impl Default for Table {
    fn default() -> Table {
        Table {
            stripes: std::array::from_fn(|_| Mutex::default()),
            hasher: DefaultHashBuilder::default(),
            keys: AtomicUsize::new(0),
            items: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }
}

impl Table {
    pub(crate) fn keys(&self) -> usize {
        self.keys.load(Relaxed)
    }

    pub(crate) fn items(&self) -> usize {
        self.items.load(Relaxed)
    }

    /// Remembers that `reader` reads `key`. A list that would have to grow first forgets readers that are not there any
    /// more, so that it is never longer than twice those that are.
    pub(crate) fn remember(&self, key: &[u8], reader: Reader, is_there: impl Fn(&Reader) -> bool) {
        let hash = self.hasher.hash_one(key);
        let mut stripe = self.stripes[stripe_of(hash)].lock();
        match stripe.find(hash, key) {
            Some(at) => {
                let readers = &mut stripe.entries[at].readers;
                if readers.len() >= READERS_UNSWEPT && readers.len() == readers.capacity() {
                    let before = readers.len();
                    readers.retain(|reader| is_there(reader));
                    self.items.fetch_sub(before - readers.len(), Relaxed);
                }
                let Err(place) = readers.binary_search_by_key(&reader.client, |other| other.client) else {
                    return;
                };
                readers.insert(place, reader);
            }
            None => {
                stripe.insert(Entry { hash, key: key.into(), readers: SmallVec::from_buf([reader]) });
                self.keys.fetch_add(1, Relaxed);
                self.bytes.fetch_add(key.len(), Relaxed);
            }
        }
        self.items.fetch_add(1, Relaxed);
    }

    /// Goes on from `at` and forgets readers that are not there any more, and keys that nobody is left of, until it has
    /// looked at so many. Returns whether it has come to the end.
    pub(super) fn sweep(&self, at: &mut SweepAt, count: usize, is_there: impl Fn(&Reader) -> bool) -> bool {
        let mut left = count;
        while let Some(stripe) = self.stripes.get(at.stripe) {
            let mut stripe = stripe.lock();
            while at.entry < stripe.entries.len() {
                if left == 0 {
                    return false;
                }
                let readers = &mut stripe.entries[at.entry].readers;
                let before = readers.len();
                left = left.saturating_sub(before);
                readers.retain(|reader| is_there(reader));
                self.items.fetch_sub(before - readers.len(), Relaxed);
                if readers.is_empty() {
                    // The last entry takes its place, and is looked at next.
                    let gone = stripe.remove(at.entry);
                    self.count_out(&gone.key);
                } else {
                    at.entry += 1;
                }
            }
            *at = SweepAt { stripe: at.stripe + 1, entry: 0 };
        }
        true
    }

    /// The readers of `key`, which are forgotten but for those that `keeps` says.
    pub(crate) fn take(&self, key: &[u8], keeps: impl Fn(ClientId) -> bool) -> Readers {
        let hash = self.hasher.hash_one(key);
        let mut stripe = self.stripes[stripe_of(hash)].lock();
        let Some(at) = stripe.find(hash, key) else { return Readers::new() };
        let kept: Readers =
            stripe.entries[at].readers.iter().copied().filter(|reader| keeps(reader.client)).collect();
        let (kept_items, readers) = if kept.is_empty() {
            self.count_out(key);
            (0, stripe.remove(at).readers)
        } else {
            (kept.len(), std::mem::replace(&mut stripe.entries[at].readers, kept))
        };
        self.items.fetch_sub(readers.len() - kept_items, Relaxed);
        readers
    }

    fn count_out(&self, key: &[u8]) {
        self.keys.fetch_sub(1, Relaxed);
        self.bytes.fetch_sub(key.len(), Relaxed);
    }

    /// Forgets a key drawn by lot and returns it with its readers, if there are more than `keys_max`, or their names have more
    /// than [`TRACKED_NAMES_BYTES_MAX`]. `spared` isn't drawn: it is what has just been read.
    pub(crate) fn evict(&self, keys_max: usize, spared: &[u8]) -> Option<(Box<[u8]>, Readers)> {
        if self.keys() <= keys_max && self.bytes.load(Relaxed) <= TRACKED_NAMES_BYTES_MAX {
            return None;
        }
        let first = fastrand::usize(..STRIPES);
        for nth in 0..STRIPES {
            let mut stripe = self.stripes[(first + nth) % STRIPES].lock();
            let Some(at) = stripe.draw(spared) else { continue };
            let Entry { key, readers, .. } = stripe.remove(at);
            self.count_out(&key);
            self.items.fetch_sub(readers.len(), Relaxed);
            return Some((key, readers));
        }
        None
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        for stripe in &self.stripes {
            let Stripe { entries, .. } = std::mem::take(&mut *stripe.lock());
            self.keys.fetch_sub(entries.len(), Relaxed);
            self.bytes.fetch_sub(entries.iter().map(|entry| entry.key.len()).sum(), Relaxed);
            self.items.fetch_sub(entries.iter().map(|entry| entry.readers.len()).sum(), Relaxed);
        }
    }
}

/// The upper bits: the lower ones choose the place inside the stripe.
fn stripe_of(hash: u64) -> usize {
    const _: () = assert!(STRIPES.is_power_of_two());
    (hash >> (u64::BITS - STRIPES.trailing_zeros())) as usize
}

impl Stripe {
    fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        self.places.find(hash, |&at| *self.entries[at].key == *key).copied()
    }

    fn insert(&mut self, entry: Entry) {
        let at = self.entries.len();
        let hash = entry.hash;
        self.entries.push(entry);
        let entries = &self.entries;
        self.places.insert_unique(hash, at, |&at| entries[at].hash);
    }

    /// Takes an entry out; the last one takes its place.
    fn remove(&mut self, at: usize) -> Entry {
        let last = self.entries.len() - 1;
        let entry = self.entries.swap_remove(at);
        if let Ok(place) = self.places.find_entry(entry.hash, |&other| other == at) {
            place.remove();
        }
        if let Some(moved) = self.entries.get(at)
            && let Some(place) = self.places.find_mut(moved.hash, |&other| other == last)
        {
            *place = at;
        }
        entry
    }

    /// An index drawn by lot, of any entry but that of `spared`.
    fn draw(&self, spared: &[u8]) -> Option<usize> {
        let count = self.entries.len();
        if count == 0 {
            return None;
        }
        let at = fastrand::usize(..count);
        [at, (at + 1) % count].into_iter().find(|&at| *self.entries[at].key != *spared)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn reader(client: ClientId) -> Reader {
        Reader { client, shard: (client % 4) as u16 }
    }

    fn clients(readers: &Readers) -> Vec<ClientId> {
        readers.iter().map(|reader| reader.client).collect()
    }

    impl Table {
        fn check(&self) {
            let (mut keys, mut items, mut bytes) = (0, 0, 0);
            for (index, stripe) in self.stripes.iter().enumerate() {
                let stripe = stripe.lock();
                assert_eq!(stripe.places.len(), stripe.entries.len());
                for (at, entry) in stripe.entries.iter().enumerate() {
                    assert_eq!(stripe_of(entry.hash), index);
                    assert_eq!(stripe.find(entry.hash, &entry.key), Some(at));
                    assert!(!entry.readers.is_empty());
                    assert!(entry.readers.is_sorted_by(|a, b| a.client < b.client));
                    items += entry.readers.len();
                    bytes += entry.key.len();
                }
                keys += stripe.entries.len();
            }
            assert_eq!((self.keys(), self.items(), self.bytes.load(Relaxed)), (keys, items, bytes));
        }
    }

    #[test]
    fn readers_are_remembered_once_and_taken_once() {
        let table = Table::default();
        for client in [3, 1, 2, 1] {
            table.remember(b"k", reader(client), |_| true);
        }
        table.remember(b"other", reader(1), |_| true);
        assert_eq!((table.keys(), table.items()), (2, 4));
        assert_eq!(clients(&table.take(b"k", |_| false)), [1, 2, 3]);
        assert!(table.take(b"k", |_| false).is_empty());
        table.check();
        assert_eq!((table.keys(), table.items()), (1, 1));
    }

    #[test]
    fn whom_a_taker_keeps_stays_remembered() {
        let table = Table::default();
        (1..=3).for_each(|client| table.remember(b"k", reader(client), |_| true));
        assert_eq!(clients(&table.take(b"k", |client| client == 2)), [1, 2, 3]);
        table.check();
        assert_eq!(clients(&table.take(b"k", |_| false)), [2]);
        assert_eq!((table.keys(), table.items()), (0, 0));
    }

    #[test]
    fn above_the_limit_any_key_goes_but_the_spared_one() {
        let table = Table::default();
        for number in 0..500u32 {
            let key = number.to_be_bytes();
            table.remember(&key, reader(1), |_| true);
            while let Some((evicted, readers)) = table.evict(20, &key) {
                assert_ne!(*evicted, key);
                assert_eq!(clients(&readers), [1]);
            }
            assert!(table.keys() <= 20);
        }
        table.check();
        assert_eq!(table.keys(), 20);
        assert_eq!(table.evict(20, b""), None);
        // One key alone is not drawn if it is the one just read.
        table.clear();
        table.remember(b"only", reader(1), |_| true);
        assert_eq!(table.evict(0, b"only"), None);
        table.check();
    }

    #[test]
    fn the_names_of_all_keys_have_an_end_in_bytes() {
        let table = Table::default();
        let name =
            |number: usize| [&number.to_be_bytes()[..], &vec![b'k'; TRACKED_NAMES_BYTES_MAX / 100]].concat();
        for number in 0..150 {
            table.remember(&name(number), reader(1), |_| true);
            while table.evict(1_000, &name(number)).is_some() {}
            assert!(table.bytes.load(Relaxed) <= TRACKED_NAMES_BYTES_MAX);
        }
        table.check();
        assert_eq!(table.keys(), 99);
        table.clear();
        assert_eq!(table.bytes.load(Relaxed), 0);
    }

    #[test]
    fn a_sweep_forgets_who_has_left_and_nobody_else() {
        let table = Table::default();
        for number in 0..1000u64 {
            table.remember(&number.to_be_bytes(), reader(number % 3), |_| true);
            table.remember(&number.to_be_bytes(), reader(3), |_| true);
        }
        let mut at = SweepAt::default();
        let mut steps = 1;
        while !table.sweep(&mut at, 100, |reader| reader.client == 1) {
            steps += 1;
            table.check();
        }
        assert!(steps >= 2000 / 101, "{steps} steps are too large");
        table.check();
        assert_eq!((table.keys(), table.items()), (333, 333));
    }

    #[test]
    fn readers_that_have_left_do_not_pile_up_under_a_key_that_never_changes() {
        let table = Table::default();
        for client in 0..100_000 {
            table.remember(b"k", reader(client), |other| other.client + 10 > client);
        }
        assert!(table.items() < 64, "{} readers", table.items());
        table.check();
    }

    #[test]
    fn it_is_a_map_of_sets_whatever_happens_in_which_order() {
        let table = Table::default();
        let mut model: BTreeMap<u64, std::collections::BTreeSet<ClientId>> = BTreeMap::new();
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let (key, client) = (random.u64(..300), random.u64(1..9));
            match random.u8(..10) {
                0..7 => {
                    table.remember(&key.to_be_bytes(), reader(client), |_| true);
                    model.entry(key).or_default().insert(client);
                }
                7..9 => {
                    let taken = table.take(&key.to_be_bytes(), |_| false);
                    let expected = model.remove(&key).unwrap_or_default();
                    assert!(clients(&taken).into_iter().eq(expected));
                }
                _ if random.u8(..100) == 0 => {
                    table.clear();
                    model.clear();
                }
                _ => {
                    if let Some((key, readers)) = table.evict(250, b"") {
                        let key = u64::from_be_bytes((*key).try_into().expect("8 bytes"));
                        assert!(clients(&readers).into_iter().eq(model.remove(&key).expect("it was there")));
                    }
                }
            }
        }
        table.check();
        assert_eq!(table.keys(), model.len());
    }
}
