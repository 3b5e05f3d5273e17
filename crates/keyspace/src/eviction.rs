//! Which key goes when memory is short.
//!
//! Looking at every key would take too long, so a few are drawn at random, and of those and the best of earlier draws, which
//! a pool keeps, the one goes that is worth least. Each partition has a pool of its own: keys are spread over partitions by
//! their hash, so what is least used in one of them is hardly used anywhere.
//!
//! ```text
//! draw  ──►  pool    score   0 … … … … … … … … 93 120 355    at most 16, the highest goes first
//! ```
//!
//! What a key is worth is what it was when it was drawn; whether it is still there is asked again when it goes.
//!
//! Cost: O(`samples`) for a key that goes.
//! Source: the policies, their names and the idea of sampling with a pool are Redis's (redis.io, *Key eviction*).

use crate::bytes::Bytes;
use crate::changes::Changes;
use crate::event;
use crate::expiry;
use crate::partition::{Database, Partition};
use crate::record::Record;
use crate::usage::Frequency;
use crate::value::NEVER;

/// What is configured about eviction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eviction {
    /// Which keys go; `None`: none.
    pub policy: Option<Policy>,
    /// Keys that are drawn for each that goes.
    pub samples: u32,
    /// How uses are counted, if they are.
    pub frequency: Frequency,
}

/// Which keys go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Only keys with an expiry do.
    pub only_volatile: bool,
    /// Which of them first.
    pub order: Order,
}

/// Which of two keys goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The one that was used longer ago.
    LastUse,
    /// The one that was changed longer ago.
    LastChange,
    /// The one that is used less often.
    Frequency,
    /// Either.
    Random,
    /// The one that expires earlier.
    Expiry,
}

/// What the word of a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noted {
    /// When the key was used last.
    LastUse,
    /// When it was changed last.
    LastChange,
    /// How often it is used.
    Frequency(Frequency),
}

/// Most keys that a pool keeps.
const POOL_MAX: usize = 16;

/// Draws in which too few keys with an expiry turn up, before they are looked for by their expiry.
const DRAWS_PER_VOLATILE: u32 = 4;

/// The keys of a partition that are worth least, of those that were drawn; in the order of their scores.
#[derive(Debug, Default)]
pub(crate) struct Pool(Vec<Candidate>);

#[derive(Debug)]
struct Candidate {
    /// The higher, the sooner it goes.
    score: u64,
    db: usize,
    hash: u64,
    key: Bytes,
}

impl Eviction {
    /// Nothing goes.
    pub const DEFAULT: Eviction = Eviction { policy: None, samples: 5, frequency: Frequency::DEFAULT };

    /// What is noted of each key.
    #[inline]
    pub(crate) fn noted(&self) -> Noted {
        match self.policy {
            Some(Policy { order: Order::Frequency, .. }) => Noted::Frequency(self.frequency),
            Some(Policy { order: Order::LastChange, .. }) => Noted::LastChange,
            _ => Noted::LastUse,
        }
    }
}

impl Default for Eviction {
    fn default() -> Eviction {
        Eviction::DEFAULT
    }
}

impl Policy {
    fn admits(self, record: Record<'_>) -> bool {
        !self.only_volatile || record.expiry_ms() != NEVER
    }
}

impl Partition {
    /// Removes the key that the policy says, of those that it draws. Returns about how many bytes that frees; `None`: there
    /// is none that may go.
    pub fn evict(&mut self, now_ms: u64, log: &mut Changes) -> Option<usize> {
        let eviction = self.settings.eviction;
        let policy = eviction.policy?;
        let (db, hash, key) = match policy.order {
            Order::Random => self.draw_one(policy)?,
            Order::Expiry => self.earliest()?,
            Order::LastUse | Order::LastChange | Order::Frequency => {
                self.fill_pool(eviction, policy, now_ms);
                self.take_worst(policy)?
            }
        };
        let mut slot = self.slot(db, hash, &key, now_ms, log);
        // Looking for it may have removed it, because it has expired.
        let bytes = slot.record().map_or(1, Record::usage_bytes);
        if slot.delete(event::EVICTED) {
            self.count_eviction();
        }
        Some(bytes)
    }

    fn draw_one(&mut self, policy: Policy) -> Option<(usize, u64, Bytes)> {
        let random = self.random();
        let dbs: Vec<usize> = self.filled(policy).collect();
        let db = *dbs.get(random as usize % dbs.len().max(1))?;
        let mut drawn = None;
        self.draw(db, policy, 1, &mut |_, record| drawn = Some(record.key().into()));
        let key: Bytes = drawn?;
        Some((db, self.hash.of(&key), key))
    }

    /// The key that expires first, within 128 ms.
    fn earliest(&self) -> Option<(usize, u64, Bytes)> {
        let first = |db: usize| Some((self.database(db)?.expiries.first()?, db));
        let ((at_ms, hash), db) = (0..self.databases()).filter_map(first).min()?;
        let record = self.database(db)?.with_expiry(at_ms, hash)?;
        Some((db, hash, record.key().into()))
    }

    /// Databases that have keys which may go.
    fn filled(&self, policy: Policy) -> impl Iterator<Item = usize> {
        (0..self.databases()).filter(move |&db| {
            self.database(db).is_some_and(|database| {
                if policy.only_volatile { database.expiries.len() > 0 } else { database.table.len() > 0 }
            })
        })
    }

    /// Shows `count` keys of a database that may go to `visit`, with their hashes, or fewer.
    fn draw(&mut self, db: usize, policy: Policy, count: u32, visit: &mut dyn FnMut(u64, Record<'_>)) {
        let (random, again) = (self.random(), self.random());
        let hash = self.hash.clone();
        let Some(database) = self.database(db) else { return };
        let draws = if policy.only_volatile { count * DRAWS_PER_VOLATILE } else { count };
        let mut left = count;
        database.table.draw(random, draws, |record| {
            if left > 0 && policy.admits(record) {
                left -= 1;
                visit(record.hash(&hash), record);
            }
        });
        if policy.only_volatile && left > 0 {
            for (at_ms, hash) in database.expiries.draw(again, left as usize) {
                if let Some(record) = database.with_expiry(at_ms, hash) {
                    visit(hash, record);
                }
            }
        }
    }

    fn fill_pool(&mut self, eviction: Eviction, policy: Policy, now_ms: u64) {
        let mut pool = std::mem::take(&mut self.pool);
        let dbs: Vec<usize> = self.filled(policy).collect();
        for db in dbs {
            self.draw(db, policy, eviction.samples, &mut |hash, record| {
                let score = match eviction.noted() {
                    Noted::Frequency(frequency) => 255 - u64::from(frequency.count(record.usage(), now_ms)),
                    Noted::LastUse | Noted::LastChange => record.idle_s(now_ms),
                };
                pool.offer(score, db, hash, record.key());
            });
        }
        self.pool = pool;
    }

    /// Takes the highest out of the pool that is still there.
    fn take_worst(&mut self, policy: Policy) -> Option<(usize, u64, Bytes)> {
        while let Some(Candidate { db, hash, key, .. }) = self.pool.0.pop() {
            if self.record(db, hash, &key, 0).is_some_and(|record| policy.admits(record)) {
                return Some((db, hash, key));
            }
        }
        None
    }
}

impl Database {
    /// The record that an entry of the expiries stands for.
    fn with_expiry(&self, at_ms: u64, hash: u64) -> Option<Record<'_>> {
        let place = self.table.find_where(hash, |record| expiry::rounded(record.expiry_ms()) == at_ms)?;
        Some(self.table.at(place))
    }
}

impl Pool {
    fn offer(&mut self, score: u64, db: usize, hash: u64, key: &[u8]) {
        if self.0.iter().any(|other| other.hash == hash && other.db == db) {
            return;
        }
        let at = self.0.partition_point(|other| other.score < score);
        if self.0.len() == POOL_MAX {
            if at == 0 {
                return;
            }
            self.0.remove(0);
            self.0.insert(at - 1, Candidate { score, db, hash, key: key.into() });
        } else {
            self.0.insert(at, Candidate { score, db, hash, key: key.into() });
        }
    }

    /// Forgets what was drawn by another policy.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::KeyHash;
    use crate::partition::Settings;
    use crate::value::Value;

    const NOW_MS: u64 = 1_700_000_000_000;

    fn partition(only_volatile: bool, order: Order) -> Partition {
        let mut partition = Partition::new(KeyHash::random(), 2);
        let eviction = Eviction { policy: Some(Policy { only_volatile, order }), ..Eviction::DEFAULT };
        partition.set_settings(Settings { eviction, ..Settings::default() });
        partition
    }

    /// Adds keys 0 to `count`, of which every fourth expires, the later the higher.
    fn fill(partition: &mut Partition, count: u64) {
        for number in 0..count {
            let expire_at_ms = number.is_multiple_of(4).then_some(NOW_MS + 1_000_000 + 1_000 * number);
            let now_ms = NOW_MS + number * 1_000;
            set(partition, number, now_ms, expire_at_ms);
        }
    }

    fn set(partition: &mut Partition, number: u64, now_ms: u64, expire_at_ms: Option<u64>) {
        let key = number.to_string();
        let hash = partition.hash.of(key.as_bytes());
        let mut log = Changes::default();
        let mut slot = partition.slot(0, hash, key.as_bytes(), now_ms, &mut log);
        slot.set(Value::Int(0), expire_at_ms, event::SET);
    }

    fn keys(partition: &Partition) -> Vec<u64> {
        let number = |record: Record<'_>| std::str::from_utf8(record.key()).unwrap().parse().unwrap();
        partition.records(0).map(number).collect()
    }

    fn evict(partition: &mut Partition, count: usize, now_ms: u64) {
        for _ in 0..count {
            assert!(partition.evict(now_ms, &mut Changes::default()).is_some());
        }
        partition.check();
    }

    #[test]
    fn what_was_used_long_ago_goes_first() {
        for order in [Order::LastUse, Order::LastChange] {
            let mut partition = partition(false, order);
            fill(&mut partition, 2_000);
            evict(&mut partition, 1_000, NOW_MS + 2_000_000);
            let young = keys(&partition).iter().filter(|&&number| number >= 1_000).count();
            assert!(young > 850, "{young} of 1000 that stay are among the younger half");
        }
    }

    #[test]
    fn what_is_rarely_used_goes_first() {
        let mut partition = partition(false, Order::Frequency);
        (0..1_000).for_each(|number| set(&mut partition, number, NOW_MS, None));
        for _ in 0..100 {
            for number in 0..100u64 {
                let key = number.to_string();
                let hash = partition.hash.of(key.as_bytes());
                partition.slot(0, hash, key.as_bytes(), NOW_MS, &mut Changes::default()).mark_used();
            }
        }
        evict(&mut partition, 800, NOW_MS);
        let often = keys(&partition).iter().filter(|&&number| number < 100).count();
        assert!(often > 95, "{often} of 100");
    }

    #[test]
    fn only_keys_with_an_expiry_go_if_the_policy_says_so() {
        for order in [Order::LastUse, Order::Frequency, Order::Random, Order::Expiry] {
            let mut partition = partition(true, order);
            fill(&mut partition, 400);
            evict(&mut partition, 100, NOW_MS);
            assert_eq!(keys(&partition).len(), 300);
            assert!(keys(&partition).iter().all(|number| number % 4 != 0));
            assert_eq!(partition.evict(NOW_MS, &mut Changes::default()), None);
        }
    }

    #[test]
    fn the_earliest_expiry_goes_first() {
        let mut partition = partition(true, Order::Expiry);
        fill(&mut partition, 400);
        evict(&mut partition, 50, NOW_MS);
        assert!(keys(&partition).iter().all(|number| number % 4 != 0 || *number >= 200));
    }

    #[test]
    fn few_keys_with_an_expiry_are_found_among_many_without() {
        let mut partition = partition(true, Order::LastUse);
        (0..20_000).for_each(|number| set(&mut partition, number, NOW_MS, None));
        (20_000..20_010).for_each(|number| set(&mut partition, number, NOW_MS, Some(NOW_MS + number)));
        evict(&mut partition, 10, NOW_MS);
        assert_eq!(keys(&partition).len(), 20_000);
    }

    #[test]
    fn without_a_policy_nothing_goes() {
        let mut partition = Partition::new(KeyHash::random(), 2);
        fill(&mut partition, 10);
        assert_eq!(partition.evict(NOW_MS, &mut Changes::default()), None);
        assert_eq!(keys(&partition).len(), 10);
    }
}
