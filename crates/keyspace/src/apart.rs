//! Commands that are run apart: on copies of what their keys hold, while the keys are locked by nobody.
//!
//! A union of sets of a million elements takes a second, in which whoever needed one of the keys' partitions would wait. So
//! a command that finds that it has much to do says so before it has changed anything ([`Error::TooLong`]), and:
//!
//! 1. Under the locks, its keys are copied into a partition of its own. Values are made of shared parts, so this takes
//!    microseconds. If it writes, its keys are watched, as WATCH does it.
//! 2. Without a lock, the command is run there, unchanged, to its end.
//! 3. Under the locks again: if a key has been touched meanwhile, nothing has happened, and it begins anew. If none has, what
//!    it wrote takes the places of what was there, its effects become one record, and waiters, watchers and those who keep
//!    copies are told, all at once: to everybody else it is one moment, that of step 3; a command that only reads is the
//!    moment of step 1, and ends with step 2.
//!
//! Where nobody may be served meanwhile (scripts) the caller says so ([`Caller::may_yield`]), and commands run at once.
//!
//! Cost: what the command costs, and a copy of every part that it changes, since the values themselves keep theirs.

use std::sync::Arc;

use sterna_protocol::{Args, Reply};

use crate::changes::{Changes, Wants};
use crate::collection::Collection;
use crate::context::{Ctx, Run};
use crate::error::Error;
use crate::event::EventClasses;
use crate::fields::Fieldset;
use crate::garbage::Garbage;
use crate::partition::Partition;
use crate::space::Space;
use crate::wait::{Caller, Waiter};
use crate::watch::Watch;

/// From so many elements on that a command has to look at one by one, it runs apart: they take about a millisecond.
pub(crate) const APART_MIN: usize = 10_000;

/// Bytes that are as much work as an element, where they are only copied: into memory that has to be had first.
pub(crate) const COPIED_BYTES_PER_ELEMENT: usize = 256;

/// Bytes of a value in memory that are as much work as an element, for what writes or reads all of it.
const HEAP_BYTES_PER_ELEMENT: usize = 64;

/// How much work it is to look at all of a collection's elements and to copy them elsewhere: see [`work_of_taking`].
#[inline]
pub(crate) fn work_of_all(of: &dyn Collection, len: usize) -> usize {
    work_of_taking(of, len, len)
}

/// How much work it is to take `taken` of a collection's elements and to answer them: long ones are as many as the bytes that
/// are copied.
pub(crate) fn work_of_taking(of: &dyn Collection, taken: usize, all: usize) -> usize {
    let bytes = (of.heap_bytes() / all.max(1)).saturating_mul(taken);
    taken.max(bytes / COPIED_BYTES_PER_ELEMENT)
}

impl Caller {
    /// As [`Caller::check_work`], for a reply with so many bytes of a string.
    #[inline]
    pub(crate) fn check_copy(&self, bytes: usize) -> Result<(), Error> {
        self.check_work(bytes / COPIED_BYTES_PER_ELEMENT)
    }

    /// As [`Caller::check_work`], for a reply with `taken` of a collection's elements, if these are long: many short ones are
    /// made in steps, which needs no copy.
    #[inline]
    pub(crate) fn check_elements(&self, of: &dyn Collection, taken: usize, all: usize) -> Result<(), Error> {
        let mean_bytes = of.heap_bytes() / all.max(1);
        match mean_bytes > COPIED_BYTES_PER_ELEMENT {
            true => self.check_copy(mean_bytes.saturating_mul(taken)),
            false => Ok(()),
        }
    }

    /// As [`Caller::check_work`], for all that a value of so many bytes holds.
    #[inline]
    pub(crate) fn check_bytes(&self, heap_bytes: usize) -> Result<(), Error> {
        self.check_work(heap_bytes / HEAP_BYTES_PER_ELEMENT)
    }

    /// Refuses a command that has to look at so many elements, so that it is run apart; nothing has been changed or written
    /// to the reply yet. What takes much less than 100 ns each counts as fewer.
    #[inline]
    pub(crate) fn check_work(&self, elements: usize) -> Result<(), Error> {
        if elements >= APART_MIN && self.may_yield { Err(Error::TooLong) } else { Ok(()) }
    }
}

/// A command with copies of what its keys hold.
#[derive(Debug)]
pub struct Apart {
    partition: Partition,
    /// Its keys, each once.
    keys: Box<[Box<[u8]>]>,
    /// Broken when a key is touched; `None`: it only reads.
    watch: Option<Arc<Watch>>,
    /// A command that has waited, and the key that has woken it.
    waiter: Option<(Arc<Waiter>, Box<[u8]>)>,
    db: usize,
    now_ms: u64,
    caller: Caller,
    /// What it did to the copies.
    changes: Changes,
}

impl Apart {
    /// Copies what `keys` hold for a command that is run by `caller` at this moment. The partitions are locked; `log` says what
    /// is collected.
    ///
    /// # Panics
    /// If there is no key.
    pub fn new<'k>(
        space: &mut Space<'_>,
        keys: impl Iterator<Item = &'k [u8]>,
        writes: bool,
        (db, now_ms, caller): (usize, u64, Caller),
        log: &Changes,
    ) -> Apart {
        let mut keys: Vec<Box<[u8]>> = keys.map(Box::from).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut partition = space.of(&keys[0]).0.empty_alike();
        let watch = writes.then(|| Arc::new(Watch::of_every_change()));
        let mut discarded = Changes::default();
        for key in &keys {
            let (from, hash) = space.of(key);
            if let Some(watch) = &watch {
                from.watched.add(db, hash, key, watch);
            }
            if let Some(record) = from.record(db, hash, key, now_ms) {
                let (value, expire_at_ms, usage) =
                    (record.value().to_value(), record.expire_at_ms(), record.usage());
                let mut copy = partition.slot(db, hash, key, now_ms, &mut discarded);
                copy.put(value, expire_at_ms);
                copy.mark_as(usage);
            }
        }
        let Wants { effects, events, .. } = log.wants();
        // A key that is missing has been noted by the command's first run.
        let events = events.difference(EventClasses::KEY_MISS);
        let wants = Wants { effects: effects && writes, events, touched: true, edited: true };
        let mut changes = Changes::new(wants);
        changes.lend(log.fieldset().cloned());
        let caller = Caller { may_block: false, may_yield: false, ..caller };
        Apart { partition, keys: keys.into(), watch, waiter: None, db, now_ms, caller, changes }
    }

    /// Copies what a command that has waited is served from: `key`, which is ready, and whatever else it names that is locked.
    pub(crate) fn of_waiter(
        space: &mut Space<'_>,
        waiter: &Arc<Waiter>,
        key: &[u8],
        now_ms: u64,
        log: &Changes,
    ) -> Apart {
        let named = waiter.keys.iter().map(|named| &**named).chain(waiter.blocked.target());
        let locked: Vec<&[u8]> = named.filter(|&named| named == key || space.holds(named)).collect();
        let scene = (waiter.db, now_ms, waiter.caller);
        let mut apart = Apart::new(space, locked.iter().copied(), waiter.blocked.writes(), scene, log);
        locked.iter().filter(|named| log.is_ready(waiter.db, named)).for_each(|named| {
            apart.changes.ready(waiter.db, named);
        });
        apart.waiter = Some((Arc::clone(waiter), key.into()));
        apart
    }

    /// Runs the command on the copies. No partition need be locked.
    pub fn run(&mut self, run: Run, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
        let Apart { partition, waiter, db, now_ms, caller, changes, .. } = self;
        let (space, db, now_ms, caller) = (Space::one(partition), *db, *now_ms, *caller);
        let mut ctx = Ctx { space, db, now_ms, log: changes, caller };
        let outcome = match waiter {
            Some((waiter, key)) => waiter.blocked.serve(&mut ctx, key, reply),
            None => run(&mut ctx, args, reply).map(|_| ()),
        };
        // What was displaced shares its parts with what is still in use.
        drop(self.changes.take_garbage());
        outcome
    }

    /// The keys that have been copied.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(|key| &**key)
    }

    /// Has nothing happen: a commit comes to nothing, and tells nobody.
    pub fn call_off(&mut self) {
        if let Some(watch) = &self.watch {
            watch.set_broken();
        }
    }

    /// The fieldset that was lent for it.
    pub fn fieldset(&self) -> Option<&Arc<Fieldset>> {
        self.changes.fieldset()
    }

    /// Whether the command writes: then it has happened only once it is committed.
    pub fn writes(&self) -> bool {
        self.watch.is_some()
    }

    /// Puts what the command wrote in the places of what was there, and notes in `log` what it did. False, and nothing has
    /// happened: a key was touched meanwhile, or it has yet to be said whether effects are collected. The partitions of the
    /// keys are locked. In either case it is over with this.
    pub fn commit(mut self, space: &mut Space<'_>, now_ms: u64, log: &mut Changes) -> bool {
        let Some(watch) = self.watch.take() else { return true };
        for key in &self.keys {
            let (partition, hash) = space.of(key);
            // What has expired since is removed here, which breaks the watch.
            partition.slot(self.db, hash, key, now_ms, log);
            partition.unwatch(self.db, hash, key, &watch);
        }
        let collects = log.wants().effects;
        if watch.is_broken() || collects != self.changes.wants().effects {
            // Who waits for what this would have left need wait no longer.
            for key in &self.keys {
                let (partition, hash) = space.of(key);
                partition.slot(self.db, hash, key, now_ms, log).note_ready();
            }
            log.discard([Garbage::of_copies(self.partition)]);
            return false;
        }
        let mut written: Vec<Box<[u8]>> = Vec::new();
        for (_, key) in self.changes.touched() {
            if !written.iter().any(|known| **known == *key) {
                written.push(key.into());
            }
        }
        let (count, mut discarded) = (log.count(), Changes::default());
        // They are recorded as the command's own effects.
        log.want_effects(false);
        for key in &written {
            let (partition, hash) = space.of(key);
            let made = self.partition.slot(self.db, hash, key, self.now_ms, &mut discarded).take();
            let mut slot = partition.slot(self.db, hash, key, now_ms, log);
            match made {
                Some(record) => {
                    let (expire_at_ms, usage) = (record.expire_at_ms, record.usage);
                    slot.put(record.value, expire_at_ms);
                    slot.mark_as(usage);
                }
                None => match slot.take() {
                    Some(record) => log.discard(Garbage::of_value(record.value)),
                    // It was touched, and nothing came of it.
                    None => slot.touch(),
                },
            }
        }
        for key in &self.keys {
            let is_edited = self.changes.edited().any(|edited| *edited == **key);
            if !is_edited || written.contains(key) {
                continue;
            }
            let (partition, hash) = space.of(key);
            let made = self.partition.slot(self.db, hash, key, self.now_ms, &mut discarded).take();
            if let Some(record) = made {
                let mut slot = partition.slot(self.db, hash, key, now_ms, log);
                slot.replace(record.value);
                slot.mark_as(record.usage);
                // Pending entries may be free, or a group gone: the copies have no waiters.
                slot.note_ready();
            }
        }
        log.want_effects(collects);
        log.adopt(&mut self.changes, count);
        log.discard([Garbage::of_copies(self.partition)]);
        true
    }
}
