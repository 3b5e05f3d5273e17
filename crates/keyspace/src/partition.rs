//! A partition: the part of the keyspace behind one lock, with everything that belongs to its keys.
//!
//! ```text
//! partition ─┬─ database 0 ─┬─ records, by key      (table.rs)
//!            │              ├─ expiries, by time    (expiry.rs)
//!            │              └─ the soonest expiry in each hash, by time
//!            ├─ database 1 … 15, made on first use
//!            ├─ watched keys                        (watch.rs)
//!            └─ queues of blocked commands          (wait.rs)
//! ```
//!
//! SWAPDB exchanges two databases as they are. What is stored goes by a number that a database keeps when it is swapped
//! ([`Partition::stored`]): a swap is one effect, and a snapshot that is being taken meanwhile finds each key where it was.
//!
//! A key is reached through its [`Slot`](crate::Slot), and everything that can happen to it happens there: `slot.rs`.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::changes::Changes;
use crate::collection::Limits;
use crate::effect::{Effect, What};
use crate::event;
use crate::eviction::{Eviction, Noted, Pool};
use crate::expiry::{Expiries, ROUNDED_MS, rounded};
use crate::garbage::Garbage;
use crate::groups::KeyGroup;
use crate::hash::KeyHash;
use crate::record::Record;
use crate::slot::Slot;
use crate::stream::{BlockLimits, IdempotenceConfig};
use crate::stride::Stride;
use crate::table::{LookUp, Place, Table};
use crate::usage;
use crate::value::{NEVER, STRING_BYTES_MAX, ValueRef};
use crate::wait::{Presence, Waiter, Waiters};
use crate::watch::{Watch, Watched};

/// Most databases: an effect names one in a byte, and 255 means all.
pub const DATABASES_MAX: usize = 255;

/// Bytes that are removed in the time of a short key: its name is copied some times.
const BYTES_PER_DUE: usize = 2048;

/// Part of the keyspace behind one lock.
#[derive(Debug)]
pub struct Partition {
    pub(crate) hash: KeyHash,
    dbs: Box<[Option<Box<Database>>]>,
    /// The number that each database is stored under; the same in all partitions.
    stored: Box<[u8]>,
    pub(crate) watched: Watched,
    pub(crate) waiters: Waiters,
    stats: Stats,
    pub(crate) settings: Settings,
    /// Who knows whether waiters are still there; without it all are.
    pub(crate) presence: Option<Arc<dyn Presence>>,
    /// How many random numbers were drawn.
    drawn: u64,
    /// Keys that may go when memory is short.
    pub(crate) pool: Pool,
    /// Bytes that records have left and no other has taken yet.
    dead_bytes: Arc<AtomicUsize>,
}

/// What is configured about values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// Where small collections become large.
    pub limits: Limits,
    /// Streams.
    pub streams: StreamSettings,
    /// Which key goes when memory is short.
    pub eviction: Eviction,
}

/// What is configured about streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamSettings {
    /// Where blocks end (`stream-node-max-bytes`, `stream-node-max-entries`).
    pub limits: BlockLimits,
    /// What a stream starts with (`stream-idmp-duration`, `stream-idmp-maxsize`).
    pub idempotence: IdempotenceConfig,
}

/// One database's keys in one partition.
#[derive(Debug)]
pub(crate) struct Database {
    /// What it is stored under.
    number: u8,
    pub(crate) table: Table,
    /// By times that are [`rounded`].
    pub(crate) expiries: Expiries,
    /// Of every hash in which a field expires, and every stream in which an entry does, the soonest.
    pub(crate) part_expiries: Expiries,
    /// Bytes that the records point to.
    pub(crate) heap_bytes: usize,
}

/// Counted since the start, or since CONFIG RESETSTAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Reads that found their key.
    pub hits: u64,
    /// Reads that didn't.
    pub misses: u64,
    /// Keys that expired.
    pub expired: u64,
    /// Fields of hashes that expired.
    pub expired_fields: u64,
    /// Keys that went because memory was short.
    pub evicted: u64,
}

/// How full a database is, in one partition or in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fill {
    /// Keys, those included that are due to expire.
    pub keys: usize,
    /// Keys with an expiry.
    pub expires: usize,
    /// Sum of the times to live of those, each less than 128 ms too small.
    pub ttl_sum_ms: u128,
    /// Hashes in which a field expires, and streams in which an entry does.
    pub parts_expiring: usize,
}

impl Partition {
    /// An empty partition of `databases` databases, at most [`DATABASES_MAX`]. All partitions of a keyspace hash alike.
    pub fn new(hash: KeyHash, databases: usize) -> Partition {
        assert!(databases <= DATABASES_MAX, "an effect can name {DATABASES_MAX} databases");
        Partition {
            hash,
            dbs: std::iter::repeat_with(|| None).take(databases).collect(),
            stored: (0..databases as u8).collect(),
            watched: Watched::default(),
            waiters: Waiters::default(),
            stats: Stats::default(),
            settings: Settings::default(),
            presence: None,
            drawn: 0,
            pool: Pool::default(),
            dead_bytes: Arc::default(),
        }
    }

    /// An empty partition that hashes and is configured as this one, and draws random numbers of its own.
    pub(crate) fn empty_alike(&mut self) -> Partition {
        let mut alike = Partition::new(self.hash.clone(), self.databases());
        alike.stored.clone_from(&self.stored);
        alike.settings = self.settings;
        alike.drawn = self.random();
        alike
    }

    /// How many databases there are.
    pub fn databases(&self) -> usize {
        self.dbs.len()
    }

    /// The number that a database is stored under.
    pub fn stored(&self, db: usize) -> usize {
        usize::from(self.stored[db])
    }

    /// The database that is stored under a number below [`Partition::databases`].
    pub fn shown_as(&self, stored: usize) -> usize {
        let is_it = |&number: &u8| usize::from(number) == stored;
        if self.stored.get(stored).is_some_and(is_it) {
            return stored;
        }
        self.stored.iter().position(is_it).expect("each number is some database's")
    }

    /// What each database is stored under, up to the last that was swapped.
    pub fn shown(&self) -> &[u8] {
        let is_swapped = |(db, &stored): (usize, &u8)| db != usize::from(stored);
        let len = self.stored.iter().enumerate().rposition(is_swapped).map_or(0, |last| last + 1);
        &self.stored[..len]
    }

    /// The place of `key`, whose hash is `hash`. A key that has expired is removed first.
    ///
    /// `db` is below [`Partition::databases`]: SELECT saw to that.
    #[inline]
    pub fn slot<'a>(
        &'a mut self,
        db: usize,
        hash: u64,
        key: &'a [u8],
        now_ms: u64,
        log: &'a mut Changes,
    ) -> Slot<'a> {
        let Partition { hash: of, dbs, stored, watched, waiters, stats, settings, dead_bytes, .. } = self;
        let new = || Box::new(Database::new(stored[db], of.clone(), Arc::clone(dead_bytes)));
        let database = dbs[db].get_or_insert_with(new);
        Slot::find(database, db, watched, waiters, stats, settings, hash, key, now_ms, log)
    }

    /// What is known of `key`, for a command that reads it: counted as a hit or a miss, and marked as used if it is to be.
    #[inline]
    pub(crate) fn read<'a>(
        &'a mut self,
        db: usize,
        hash: u64,
        key: &'a [u8],
        now_ms: u64,
        mark_used: bool,
        log: &'a mut Changes,
    ) -> Option<Record<'a>> {
        match self.hit(db, hash, key, now_ms, mark_used) {
            Some(place) => self.database(db).map(|database| database.table.at(place)),
            None => self.read_slot(db, hash, key, now_ms, mark_used, log),
        }
    }

    /// Where `key` is, with all that a read of it entails. `None`, and nothing has been done: it is not there, or has expired, or
    /// its uses are counted.
    #[inline]
    fn hit(&mut self, db: usize, hash: u64, key: &[u8], now_ms: u64, mark_used: bool) -> Option<Place> {
        let usage = match self.settings.eviction.noted() {
            Noted::LastUse if mark_used => Some(usage::seconds(now_ms)),
            Noted::Frequency(_) if mark_used => return None,
            _ => None,
        };
        let place = self.dbs.get_mut(db)?.as_mut()?.table.find_live(hash, key, now_ms, usage)?;
        self.stats.hits += 1;
        Some(place)
    }

    fn read_slot<'a>(
        &'a mut self,
        db: usize,
        hash: u64,
        key: &'a [u8],
        now_ms: u64,
        mark_used: bool,
        log: &'a mut Changes,
    ) -> Option<Record<'a>> {
        // Readers remove nothing in a pause, in which writers don't run.
        if log.is_expiry_paused() && self.is_due(db, hash, key, now_ms) {
            self.stats.misses += 1;
            log.event(event::KEY_MISS, db, key);
            return None;
        }
        let mut slot = self.slot(db, hash, key, now_ms, log);
        slot.note_read();
        if mark_used {
            slot.mark_used();
        }
        slot.into_record()
    }

    /// Counts a read of which there is no event.
    pub(crate) fn count_read(&mut self, found: bool) {
        self.stats.hits += u64::from(found);
        self.stats.misses += u64::from(!found);
    }

    /// Whether `key` is there and has expired.
    pub(crate) fn is_due(&self, db: usize, hash: u64, key: &[u8], now_ms: u64) -> bool {
        let place = |database: &Database| {
            database.table.find(hash, key).map(|at| database.table.at(at).is_expired(now_ms))
        };
        self.database(db).and_then(place).unwrap_or(false)
    }

    /// What is known of `key`, unless it has expired.
    pub fn record(&self, db: usize, hash: u64, key: &[u8], now_ms: u64) -> Option<Record<'_>> {
        let table = &self.database(db)?.table;
        let record = table.at(table.find(hash, key)?);
        (!record.is_expired(now_ms)).then_some(record)
    }

    /// Keys of a database.
    #[inline]
    pub fn keys(&self, db: usize) -> usize {
        self.database(db).map_or(0, |database| database.table.len())
    }

    /// Where a look-up of a key with this hash reads.
    #[inline]
    pub fn look_up_of(&self, db: usize, hash: u64) -> Option<LookUp<'_>> {
        Some(self.database(db)?.table.look_up_of(hash))
    }

    #[inline]
    pub(crate) fn database(&self, db: usize) -> Option<&Database> {
        self.dbs.get(db)?.as_deref()
    }

    /// Every record of a database, in no order; those that are due included.
    pub fn records(&self, db: usize) -> impl Iterator<Item = Record<'_>> {
        self.database(db).into_iter().flat_map(|database| database.table.iter())
    }

    /// A record near a random place; `random` has uniform bits. `None` only if the database has none.
    pub(crate) fn sample(&self, db: usize, random: u64) -> Option<Record<'_>> {
        self.database(db)?.table.sample(random)
    }

    /// A random number, for choices that leave no effect: the seed is the hash's own.
    pub(crate) fn random(&mut self) -> u64 {
        self.drawn += 1;
        self.hash.of(&self.drawn.to_le_bytes())
    }

    /// Shows records in order of position to `visit`, from position `from` on until the stride is over; returns where to go on, `None` at the
    /// end. Below every position returned earlier there is nothing left to visit.
    pub fn scan<'a>(
        &'a self,
        db: usize,
        from: u64,
        stride: &mut Stride<'_>,
        visit: impl FnMut(&mut Stride<'_>, Record<'a>),
    ) -> Option<u64> {
        self.database(db)?.table.scan(from, stride, visit)
    }

    /// The names of a database and a bound on their bytes. Cost: O(records / 300).
    pub fn names(&self, db: usize) -> (usize, usize) {
        self.database(db).map_or((0, 0), |database| {
            (database.table.len(), database.table.allocated_bytes() + database.heap_bytes)
        })
    }

    /// How many keys are waited for, and for how many of them by who is told, too, when the key goes.
    pub fn awaited(&self) -> (usize, usize) {
        self.waiters.counts()
    }

    /// How full a database is.
    pub fn fill(&self, db: usize, now_ms: u64) -> Fill {
        self.database(db).map_or(Fill::default(), |database| Fill {
            keys: database.table.len(),
            expires: database.expiries.len(),
            ttl_sum_ms: database.expiries.ttl_sum_ms(now_ms.saturating_add(ROUNDED_MS - 1)),
            parts_expiring: database.part_expiries.len(),
        })
    }

    /// Bytes of memory that keys and values take, about. Cost: O(records / 300).
    pub fn used_bytes(&self) -> usize {
        self.dbs.iter().flatten().map(|db| db.table.allocated_bytes() + db.heap_bytes).sum()
    }

    /// Bytes that removed records have left and no other has taken yet: memory that is in use and that the next keys won't
    /// ask for.
    pub fn dead_bytes(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.dead_bytes)
    }

    pub(crate) fn count_eviction(&mut self) {
        self.stats.evicted += 1;
    }

    /// Has `presence` asked before a waiter is given what others could have.
    pub fn set_presence(&mut self, presence: Arc<dyn Presence>) {
        self.presence = Some(presence);
    }

    /// Configures how values are laid out and which of them go, from the next change on.
    pub fn set_settings(&mut self, settings: Settings) {
        if settings.eviction != self.settings.eviction {
            self.pool.clear();
        }
        self.settings = settings;
    }

    /// What was counted.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Counts anew.
    pub fn reset_stats(&mut self) {
        self.stats = Stats::default();
    }

    /// Removes keys, fields of hashes and entries of streams that are due, at most about `most`, the earliest first in each database;
    /// keys that have been due for less than 128 ms may stay (`expiry.rs`). Returns how many, of which a long one counts as many short ones.
    ///
    /// Cost: O(removed × log n).
    pub fn expire_due(&mut self, now_ms: u64, most: usize, log: &mut Changes) -> usize {
        let keys = self.expire_due_keys(now_ms, most, log);
        keys + self.expire_due_parts(now_ms, most.saturating_sub(keys), log)
    }

    fn expire_due_parts(&mut self, now_ms: u64, most: usize, log: &mut Changes) -> usize {
        let mut removed = 0;
        for db in 0..self.dbs.len() {
            while removed < most {
                let Some(database) = &mut self.dbs[db] else { break };
                let due = database.part_expiries.first().filter(|&(at_ms, _)| now_ms > at_ms);
                let Some((at_ms, hash)) = due else { break };
                let is_it = |record: Record<'_>| record.value().soonest_ms() == at_ms;
                let Some(place) = database.table.find_where(hash, is_it) else {
                    database.part_expiries.remove(at_ms, hash);
                    continue;
                };
                let key = Vec::from(database.table.at(place).key());
                let before = database.heap_bytes;
                let mut slot = self.slot(db, hash, &key, now_ms, log);
                // The key may be due itself, for a moment: then that was its end.
                let expired = if slot.is_empty() { 1 } else { slot.expire_parts(most - removed) };
                let after = self.database(db).map_or(0, |database| database.heap_bytes);
                if expired == 0 {
                    debug_assert!(false, "what is due goes");
                    break;
                }
                removed += expired + before.saturating_sub(after) / BYTES_PER_DUE;
            }
        }
        removed
    }

    fn expire_due_keys(&mut self, now_ms: u64, keys_max: usize, log: &mut Changes) -> usize {
        let mut removed = 0;
        for db in 0..self.dbs.len() {
            while removed < keys_max {
                let Some(database) = &mut self.dbs[db] else { break };
                let Some((at_ms, hash)) = database.expiries.first().filter(|&(at_ms, _)| now_ms > at_ms)
                else {
                    break;
                };
                let is_it = |record: Record<'_>| rounded(record.expiry_ms()) == at_ms;
                let Some(place) = database.table.find_where(hash, is_it) else {
                    database.expiries.remove(at_ms, hash);
                    continue;
                };
                let key: Vec<u8> = database.table.at(place).key().into();
                // Finding a key that is due removes it.
                self.slot(db, hash, &key, now_ms, log);
                removed += 1 + key.len() / BYTES_PER_DUE;
            }
        }
        removed
    }

    /// Empties a database, or all. Watchers and waiters learn of the keys that were there; the effect is the caller's.
    pub(crate) fn flush(&mut self, db: Option<usize>, log: &mut Changes) {
        let dbs = db.map_or(0..self.dbs.len(), |db| db..db + 1);
        for db in dbs {
            let Some(database) = &self.dbs[db] else { continue };
            let exists = |hash, key: &[u8]| database.table.find(hash, key).is_some();
            self.watched.touch_where(db, exists);
            for key in self.waiters.keys(db).filter(|key| exists(self.hash.of(key), key)) {
                log.ready(db, key);
            }
            if let Some(mut emptied) = self.dbs[db].take() {
                log.count_more(emptied.table.len() as u64);
                emptied.table.forget_dead();
                log.discard([Garbage::of_database(emptied)]);
            }
        }
    }

    /// Removes a group's keys from a database, or from all. Cost: that of [`Partition::flush`] where the keyspace is shared out to as many
    /// groups, so that a partition has keys of one; else O(keys).
    fn flush_group(&mut self, db: Option<usize>, group: KeyGroup, log: &mut Changes) {
        if group == KeyGroup::WHOLE {
            return self.flush(db, log);
        }
        let is_shared_out = self.hash.groups() == group.count;
        for db in db.map_or(0..self.dbs.len(), |db| db..db + 1) {
            let Some(database) = &self.dbs[db] else { continue };
            if is_shared_out {
                let is_of_group = database.table.iter().next().is_some_and(|record| group.has(record.key()));
                if is_of_group {
                    self.flush(Some(db), log);
                }
                continue;
            }
            let keys = database.table.iter().map(Record::key).filter(|key| group.has(key));
            let doomed: Vec<Box<[u8]>> = keys.map(Box::from).collect();
            for key in doomed {
                self.slot(db, self.hash.of(&key), &key, 0, log).delete(event::DEL);
            }
        }
    }

    /// Exchanges two databases. Watchers and waiters learn of the keys that were in either; the effect is the caller's.
    ///
    /// A key that is watched in one and due in the other goes first: it was not there, so that nothing changes with it.
    ///
    /// Cost: O(keys that are watched or waited for).
    pub(crate) fn swap(&mut self, a: usize, b: usize, now_ms: u64, log: &mut Changes) {
        for (watched, other) in [(a, b), (b, a)] {
            let is_due = |&(hash, key): &(u64, &[u8])| self.is_due(other, hash, key, now_ms);
            let due = self.watched.keys_in(watched).filter(is_due);
            let due: Vec<(u64, Box<[u8]>)> = due.map(|(hash, key)| (hash, key.into())).collect();
            for (hash, key) in due {
                self.slot(other, hash, &key, now_ms, log);
            }
        }
        let is_in = |db: usize, hash, key: &[u8]| {
            self.database(db).is_some_and(|database| database.table.find(hash, key).is_some())
        };
        for db in [a, b] {
            self.watched.touch_where(db, |hash, key| is_in(a, hash, key) || is_in(b, hash, key));
        }
        for db in [a, b] {
            // Of a key that goes as well: who waits as a consumer waits no longer than there is its group.
            let is_in_either = |hash, key: &[u8]| is_in(a, hash, key) || is_in(b, hash, key);
            for key in self.waiters.keys(db).filter(|key| is_in_either(self.hash.of(key), key)) {
                log.ready(db, key);
            }
        }
        self.dbs.swap(a, b);
        self.stored.swap(a, b);
        self.pool = Pool::default();
    }

    /// Has the databases show what is stored under these numbers. False: they are not this keyspace's.
    fn show(&mut self, shown: &[u8]) -> bool {
        let mut rest: Vec<u8> = (0..shown.len() as u8).collect();
        rest.retain(|number| !shown.contains(number));
        if shown.len() > self.dbs.len() || !rest.is_empty() {
            return false;
        }
        let stored: Vec<u8> = shown.iter().copied().chain(shown.len() as u8..self.dbs.len() as u8).collect();
        for (db, &number) in stored.iter().enumerate() {
            let now = self.shown_as(usize::from(number));
            self.dbs.swap(db, now);
            self.stored.swap(db, now);
        }
        self.pool = Pool::default();
        true
    }

    /// Applies an effect to `self`; of one without a key, its part. `hash` is the key's.
    ///
    /// False, and nothing is changed: the effect doesn't fit what is there, so the log is not this keyspace's.
    pub fn apply(&mut self, hash: u64, effect: Effect<'_>) -> bool {
        self.apply_noting(hash, effect, &mut Changes::default())
    }

    /// The same; `log` collects what it wants, and who waits for the keys.
    pub fn apply_noting(&mut self, hash: u64, effect: Effect<'_>, log: &mut Changes) -> bool {
        // Replay is at the beginning of time: nothing expires but by its own effect.
        let now_ms = 0;
        if effect.db.is_some_and(|db| db >= self.dbs.len()) {
            return false;
        }
        let db = match (&effect.what, effect.db) {
            (What::Flush { group }, stored) => {
                self.flush_group(stored.map(|stored| self.shown_as(stored)), *group, log);
                return true;
            }
            (What::Databases { shown }, None) => return self.show(shown),
            // About the log and about functions: whoever reads it goes by them.
            (
                What::Suspend
                | What::Resume
                | What::Tentative { .. }
                | What::Standing { .. }
                | What::Library { .. }
                | What::NoLibrary,
                db,
            ) => return db.is_none(),
            (_, Some(stored)) => self.shown_as(stored),
            (_, None) => return false,
        };
        let limits = self.settings.streams.limits;
        let mut slot = self.slot(db, hash, effect.key, now_ms, log);
        match effect.what {
            What::Set { value, expire_at_ms } => slot.set(value, expire_at_ms, event::SET),
            What::Delete => {
                slot.delete(event::DEL);
            }
            What::Expire { at_ms } => return slot.expire_at(at_ms, event::EXPIRE),
            What::Append { tail } => return slot.append(tail, event::APPEND).is_some(),
            What::Patch { offset, bytes } => {
                let fits = offset.checked_add(bytes.len()).is_some_and(|end| end <= STRING_BYTES_MAX);
                return fits && slot.write(offset, bytes).is_some();
            }
            What::Stream { change } => {
                let applied = slot.edit_stream(|stream, _| stream.apply(change, limits));
                return applied.unwrap_or(false);
            }
            What::Elements { tag, change } => return slot.apply(tag, change),
            What::Flush { .. } | What::Databases { .. } | What::Suspend | What::Resume => {}
            What::Library { .. } | What::NoLibrary | What::Tentative { .. } | What::Standing { .. } => {}
        }
        true
    }

    /// Panics if what is counted or indexed is not what is there; for tests and fuzz targets.
    pub fn check(&self) {
        let mut numbers = self.stored.to_vec();
        numbers.sort_unstable();
        assert!((0..self.dbs.len()).eq(numbers.into_iter().map(usize::from)));
        for (number, database) in self.stored.iter().zip(&self.dbs) {
            let Some(database) = database else { continue };
            assert_eq!(database.number, *number);
            database.table.check();
            let heap_bytes: usize = database.table.iter().map(Record::heap_bytes).sum();
            assert_eq!(database.heap_bytes, heap_bytes);
            let expiries = database
                .table
                .iter()
                .filter_map(|r| Some((rounded(r.expire_at_ms()?), self.hash.of(r.key()))));
            database.expiries.check(expiries);
            let soonest =
                database.table.iter().map(|record| (record.value().soonest_ms(), self.hash.of(record.key())));
            database.part_expiries.check(soonest.filter(|&(at_ms, _)| at_ms != NEVER));
            database.table.iter().for_each(|record| match record.value() {
                ValueRef::Kept(value) => value.check(),
                small => small.to_value().check(),
            });
            #[cfg(any(test, debug_assertions))]
            database
                .table
                .iter()
                .filter_map(|record| record.value().stream())
                .for_each(|stream| stream.check());
        }
    }

    /// Sets `watch` when `key` is touched from now on.
    pub fn watch(
        &mut self,
        db: usize,
        hash: u64,
        key: &[u8],
        now_ms: u64,
        watch: &Arc<Watch>,
        log: &mut Changes,
    ) {
        // A key that has expired already is removed here, so that its removal can't count as a change later.
        self.slot(db, hash, key, now_ms, log);
        self.watched.add(db, hash, key, watch);
    }

    /// Takes `watch` off `key`.
    pub fn unwatch(&mut self, db: usize, hash: u64, key: &[u8], watch: &Arc<Watch>) {
        self.watched.remove(db, hash, key, watch);
    }

    /// Whether any of the blocked commands here writes to another key when it is served.
    #[inline]
    pub fn has_links(&self) -> bool {
        self.waiters.has_links()
    }

    /// Shows the keys to `visit` that are written to when those who wait for `key` are served. A write to `key` needs their
    /// partitions locked as well, and so on from there.
    ///
    /// Cost: O(who waits for it).
    pub fn targets(&self, hash: u64, key: &[u8], visit: &mut dyn FnMut(&[u8])) {
        self.waiters.targets(hash, key, visit);
    }

    /// Takes `waiter` out of the queue of `key`, if it is still there.
    pub fn forget_waiter(&mut self, hash: u64, key: &[u8], waiter: &Arc<Waiter>) {
        self.waiters.remove(hash, key, waiter);
    }
}

impl Database {
    fn new(number: u8, hash: KeyHash, dead_bytes: Arc<AtomicUsize>) -> Database {
        Database {
            number,
            table: Table::new(hash, dead_bytes),
            expiries: Expiries::default(),
            part_expiries: Expiries::default(),
            heap_bytes: 0,
        }
    }

    /// What it is stored under.
    pub(crate) fn number(&self) -> usize {
        usize::from(self.number)
    }
}

impl std::ops::AddAssign for Fill {
    fn add_assign(&mut self, other: Fill) {
        self.keys += other.keys;
        self.expires += other.expires;
        self.ttl_sum_ms += other.ttl_sum_ms;
        self.parts_expiring += other.parts_expiring;
    }
}

impl std::ops::AddAssign for Stats {
    fn add_assign(&mut self, other: Stats) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.expired += other.expired;
        self.expired_fields += other.expired_fields;
        self.evicted += other.evicted;
    }
}
