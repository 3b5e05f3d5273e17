//! What concerns all keys: what is recorded, snapshots, replay, figures.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use sterna_keyspace::{
    Effect, Error, Fill, KeyHash, Partition, Presence, Record, Settings, Stats, Stride, What,
};

use super::{Held, Partitions};
use crate::libraries::Codes;

/// Bytes of names that are copied while a partition is locked: who needs a key of it waits meanwhile.
const BYTES_PER_LOCK: usize = 256 << 10;

impl Partitions {
    /// The libraries as they are between two scripts, with what `stamp` says at that moment: for a thread of its own.
    pub(crate) fn settled_libraries<S>(&self, stamp: impl FnOnce() -> S) -> (Codes, S) {
        let _first = self.settled_part(0);
        (self.libraries.all().0, stamp())
    }

    /// Begins or ceases to hand effects to the journal, between two writes: with every partition locked, `between` is run.
    ///
    /// A command or transaction is recorded as a whole or not at all, and so is whatever came before or after it.
    pub(crate) fn cut(&self, records: bool, between: impl FnOnce()) {
        let _all = self.hold_settled();
        between();
        self.records.store(records, Ordering::Relaxed);
    }

    /// Runs `with` on all keys at once, between two scripts: for a thread of its own, which may wait.
    pub(crate) fn together<R>(&self, with: impl FnOnce(&mut Held<'_>) -> R) -> R {
        with(&mut self.hold_settled())
    }

    /// Shows the records of one partition's database to `visit`, from `from` on (0 at first) until the stride is over; returns where to go
    /// on, `None` at the end. The partition is locked meanwhile. Error: somebody has its keys to himself.
    ///
    /// A key that is there from the first call to the last is shown exactly once: so a snapshot is taken without stopping
    /// anyone for long. A key that comes or goes meanwhile is in the journal.
    pub(crate) fn visit(
        &self,
        index: usize,
        db: usize,
        from: u64,
        stride: &mut Stride<'_>,
        visit: impl FnMut(&mut Stride<'_>, Record<'_>),
    ) -> Result<Option<u64>, Error> {
        let part = self.part_soon(index).filter(|_| !self.is_busy_at(index)).ok_or(Error::Busy)?;
        Ok(part.scan(db, from, stride, visit))
    }

    /// As [`Partitions::visit`], between two scripts, of the database that is stored under a number: for a thread of its own,
    /// which may wait. At most about `count` of them.
    pub(crate) fn visit_settled(
        &self,
        index: usize,
        stored: usize,
        from: u64,
        count: usize,
        mut visit: impl FnMut(Record<'_>),
    ) -> Option<u64> {
        let mut stride = Stride::new(count, BYTES_PER_LOCK, None);
        let part = self.settled_part(index);
        part.scan(part.shown_as(stored), from, &mut stride, |_, record| visit(record))
    }

    /// What `read` makes of a key, which is not marked as used; `None`: there is none. Error: somebody has it to himself.
    pub(crate) fn peek<R>(
        &self,
        db: usize,
        key: &[u8],
        now_ms: u64,
        read: impl FnOnce(Record<'_>) -> R,
    ) -> Result<Option<R>, Error> {
        let hash = self.hash.of(key);
        let index = KeyHash::partition(hash, self.parts.len());
        let part = self.part_soon(index).filter(|_| !self.is_busy_at(index)).ok_or(Error::Busy)?;
        Ok(part.record(db, hash, key, now_ms).map(read))
    }

    /// The keys of these databases, and a bound on the bytes of their names.
    pub(crate) fn names(&self, dbs: Range<usize>) -> (usize, usize) {
        let names = self.each().flat_map(|part| dbs.clone().map(|db| part.names(db)).collect::<Vec<_>>());
        names.fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1))
    }

    /// Applies an effect read from a journal. False: it doesn't fit what is there.
    pub(crate) fn apply(&self, effect: Effect<'_>) -> bool {
        if self.libraries.apply(effect.key, &effect.what) {
            return true;
        }
        let hash = self.hash.of(effect.key);
        let Some(of_all) = effect.of_all() else {
            return self.settled_part(KeyHash::partition(hash, self.parts.len())).apply(hash, effect);
        };
        (0..self.parts.len()).map(|index| self.settled_part(index)).all(|mut part| part.apply(hash, of_all()))
    }

    /// What each database is stored under, up to the last that was swapped.
    pub(crate) fn shown(&self) -> Vec<u8> {
        self.settled_part(0).shown().to_vec()
    }

    /// Removes the keys of a stored database that are `doomed`, as a replay does: nobody is told.
    pub(crate) fn remove_where(&self, db: usize, doomed: &mut dyn FnMut(&[u8]) -> bool) {
        let parts = (0..self.parts.len()).map(|index| self.settled_part(index));
        parts.for_each(|mut part| remove_where(&mut part, &self.hash, db, doomed));
    }

    /// Keys in all databases together.
    pub(crate) fn keys(&self, now_ms: u64) -> usize {
        self.fill(now_ms).iter().map(|fill| fill.keys).sum()
    }

    /// How full each database is.
    pub(crate) fn fill(&self, now_ms: u64) -> Vec<Fill> {
        let mut fills = vec![Fill::default(); self.databases];
        for part in self.each() {
            fills.iter_mut().enumerate().for_each(|(db, fill)| *fill += part.fill(db, now_ms));
        }
        fills
    }

    /// How many keys are waited for, and for how many of them by who is told, too, when the key goes.
    pub(crate) fn awaited(&self) -> (usize, usize) {
        self.each().map(|part| part.awaited()).fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1))
    }

    /// What was counted.
    pub(crate) fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        self.each().for_each(|part| stats += part.stats());
        stats
    }

    /// Counts anew.
    pub(crate) fn reset_stats(&self) {
        self.each().for_each(|mut part| part.reset_stats());
    }

    /// Has `presence` asked before a waiter is given what others could have.
    pub(crate) fn set_presence(&self, presence: &Arc<dyn Presence>) {
        self.each().for_each(|mut part| part.set_presence(Arc::clone(presence)));
    }

    /// How values are laid out from now on. The caller holds no partition.
    pub(crate) fn set_settings(&self, settings: Settings) {
        self.each().for_each(|mut part| part.set_settings(settings));
    }

    /// Bytes of memory that keys and values take, about.
    pub(crate) fn used_bytes(&self) -> usize {
        self.each().map(|part| part.used_bytes()).sum()
    }
}

/// Removes the keys of a stored database that are `doomed`.
pub(super) fn remove_where(
    part: &mut Partition,
    hash: &KeyHash,
    stored: usize,
    doomed: &mut dyn FnMut(&[u8]) -> bool,
) {
    let records = part.records(part.shown_as(stored));
    let keys: Vec<Box<[u8]>> = records.map(Record::key).filter(|key| doomed(key)).map(Box::from).collect();
    for key in keys {
        part.apply(hash.of(&key), Effect { db: Some(stored), key: &key, what: What::Delete });
    }
}
