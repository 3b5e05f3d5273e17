//! The keyspace behind its locks.
//!
//! A command's row says where its keys are; their hashes say which partitions they are in; those are locked, and stay
//! locked until the command, or the transaction, is done. Nobody waits for a partition while holding a later one, which is
//! the whole protection against deadlock; and as a rule nobody waits for one while holding any: see [`Partitions::hold`].
//!
//! What a write did goes to the journal before its partitions are unlocked: two writes to one key stand in the journal in
//! the order they were made, whichever shards made them; and a transaction is one record.
//!
//! A write may wake a command that writes elsewhere (BLMOVE): what that needs is locked from the beginning as well, see
//! [`Partitions::hold_for`].
//!
//! A script names its keys one after the other, so it locks partitions in any order, and holds them to its end. It may wait
//! for one while it holds others, because nobody else does: see `patience`. One that runs for too long lets go of them, and
//! makes the keyspace *busy*: then no command runs but its own, whoever changes keys waits for its end, and shards that
//! find a partition free go on to tell their clients so.
//!
//! Behind them comes the journal's buffer, which knows no other lock: see [`crate::lock::Level`].
//!
//! Cost: a command on one key takes one lock and allocates nothing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;
use sterna_command::{Command, Flags, Spec};
use sterna_keyspace::{
    Apart, Caller, Changes, Ctx, Effect, Error, Fill, KeyHash, Locked, Outcome, PARTITIONS_MAX, Partition,
    Record, Run, Settings, Space, Stats, Waiter, Watch, What, recheck, serve_ready,
};
use sterna_protocol::{Args, Reply};

use crate::libraries::{Codes, Libraries};
use crate::lock::{Level, Mutex, MutexGuard};

/// The keyspace: partitions by key hash, each behind its lock.
#[derive(Debug)]
pub(crate) struct Partitions {
    hash: KeyHash,
    /// A power of two.
    parts: Box<[Mutex<Partition, { Level::Partition as u8 }>]>,
    databases: usize,
    /// Held by whoever waits for a partition while holding others: one at a time can't wait in a circle.
    patience: Mutex<(), { Level::Patience as u8 }>,
    /// A script that has run for too long has the keys to itself. Changed and looked at with partitions locked: they are the
    /// pair.
    busy: AtomicBool,
    journal: OnceLock<Box<dyn EffectLog>>,
    /// Libraries of functions, which belong to no partition.
    libraries: Libraries,
    /// Whether effects go there. Changed with every partition locked, read with some locked: the locks are the pair.
    records: AtomicBool,
    /// Clients that track what they read. Raised before any of their reads, looked at with a partition locked, so that a
    /// write which comes after such a read sees it: the lock is the pair.
    trackers: AtomicUsize,
}

/// Where effects go.
pub(crate) trait EffectLog: std::fmt::Debug + Send + Sync {
    /// Takes the effects of one command or transaction (see [`sterna_keyspace::Effects`]) as one record and returns its
    /// number. Called with partitions locked: it must not wait for a disk.
    fn append(&self, effects: &[u8]) -> u64;
}

/// Who runs a command, where, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene {
    /// The client's database, below [`Partitions::databases`].
    pub(crate) db: usize,
    /// Unix time in milliseconds.
    pub(crate) now_ms: u64,
    /// The client.
    pub(crate) caller: Caller,
}

/// What became of a command that was run apart.
#[derive(Debug)]
pub(crate) enum Committed {
    /// It has happened.
    Yes,
    /// A key was touched meanwhile: nothing has happened, and it is to be run again.
    No,
    /// A script has the keys to itself.
    NotYet(Box<Apart>),
}

/// How often several partitions are tried for together before they are locked one by one.
const ATTEMPTS_MAX: usize = 100;

/// Links that are followed one by one; where there are more, every partition is locked.
const LINKS_MAX: usize = 32;

/// Some partitions, locked until this goes.
pub(crate) struct Held<'a> {
    of: &'a Partitions,
    /// In the order of their indices.
    guards: SmallVec<[(usize, MutexGuard<'a, Partition>); 4]>,
    /// Whether more may be locked.
    patience: Option<MutexGuard<'a, ()>>,
}

/// How long a thread waits before it looks again whether a script has ended.
const SETTLED_PAUSE: std::time::Duration = std::time::Duration::from_millis(1);

/// A set of partition indices, which comes out in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Indices([u64; PARTITIONS_MAX / 64]);

impl Partitions {
    /// At least `count` empty partitions: the next power of two, at most [`PARTITIONS_MAX`].
    pub(crate) fn new(count: usize, databases: usize) -> Partitions {
        let hash = KeyHash::random();
        let count = count.clamp(1, PARTITIONS_MAX).next_power_of_two();
        let part = || Mutex::new(Partition::new(hash.clone(), databases));
        let parts = std::iter::repeat_with(part).take(count).collect();
        Partitions {
            hash,
            parts,
            databases,
            patience: Mutex::default(),
            busy: AtomicBool::new(false),
            journal: OnceLock::new(),
            libraries: Libraries::default(),
            records: AtomicBool::new(false),
            trackers: AtomicUsize::new(0),
        }
    }

    /// The libraries of functions.
    pub(crate) fn libraries(&self) -> &Libraries {
        &self.libraries
    }

    /// The libraries as they are between two scripts, with what `stamp` says at that moment: for a thread of its own.
    pub(crate) fn settled_libraries<S>(&self, stamp: impl FnOnce() -> S) -> (Codes, S) {
        let _first = self.settled_part(0);
        (self.libraries.all().0, stamp())
    }

    /// Where effects go from the next [`Partitions::cut`] on. The first call counts.
    pub(crate) fn set_journal(&self, journal: Box<dyn EffectLog>) {
        let _ = self.journal.set(journal);
    }

    /// Begins or ceases to hand effects to the journal, between two writes: with every partition locked, `between` is run.
    ///
    /// A command or transaction is recorded as a whole or not at all, and so is whatever came before or after it.
    pub(crate) fn cut(&self, records: bool, between: impl FnOnce()) {
        let _all = self.hold_settled();
        between();
        self.records.store(records, Ordering::Relaxed);
    }

    /// Has `log` collect what is wanted now. The partitions concerned are locked.
    #[inline]
    fn set_wants(&self, log: &mut Changes) {
        log.want_touched(self.is_tracked());
        log.want_effects(self.records.load(Ordering::Relaxed));
    }

    /// A client begins to track: from now on writes collect the keys that they touch.
    pub(crate) fn add_tracker(&self) {
        self.trackers.fetch_add(1, Ordering::AcqRel);
    }

    /// A client tracks no more.
    pub(crate) fn remove_tracker(&self) {
        self.trackers.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether any client tracks what it reads.
    pub(crate) fn is_tracked(&self) -> bool {
        self.trackers.load(Ordering::Relaxed) > 0
    }

    /// How many partitions there are.
    pub(crate) fn count(&self) -> usize {
        self.parts.len()
    }

    /// How many databases there are.
    pub(crate) fn databases(&self) -> usize {
        self.databases
    }

    /// Runs one command to its end, and answers the blocked commands that it woke.
    ///
    /// `args` are as many as the row's arity asks for. A row that runs nothing is never passed.
    #[inline]
    pub(crate) fn execute(
        &self,
        command: &Command<Run>,
        args: Args<'_>,
        scene: Scene,
        log: &mut Changes,
        reply: &mut Reply<'_>,
    ) -> Result<Outcome, Error> {
        let mut keys = keys_of(&command.spec, args);
        if let (Some(key), 0, false) = (keys.next(), keys.len(), command.spec.flags.contains(Flags::ALL_KEYS))
        {
            let mut part = self.part(self.index_of(key));
            if self.is_busy() {
                return Err(Error::Busy);
            }
            if !(part.has_links() && command.spec.flags.contains(Flags::WRITE)) {
                self.set_wants(log);
                let mut outcome = run(command, args, scene, Space::one(&mut part), log, reply);
                if matches!(outcome, Err(Error::TooLong)) {
                    outcome = Ok(apart(command, args, scene, Space::one(&mut part), log));
                }
                serve_ready(Space::one(&mut part), scene.now_ms, log);
                self.write_effects(log);
                return outcome;
            }
        }
        let mut held = self.hold_for(self.needed_by(&command.spec, args), || written(&command.spec, args));
        if self.is_busy() {
            return Err(Error::Busy);
        }
        let mut outcome = held.execute(command, args, scene, log, reply);
        if matches!(outcome, Err(Error::TooLong)) {
            outcome = Ok(apart(command, args, scene, Space::some(&mut held), log));
        }
        held.serve_ready(scene.now_ms, log);
        outcome
    }

    /// Ends a command that was run apart: puts what it wrote in its place, if nothing has touched its keys meanwhile, and answers
    /// the blocked commands that it woke. Nothing happens while a script has the keys to itself: then it is given back.
    pub(crate) fn commit(
        &self,
        apart: Box<Apart>,
        spec: &Spec,
        args: Args<'_>,
        now_ms: u64,
        log: &mut Changes,
    ) -> Committed {
        let mut held = self.hold_for(self.needed_by(spec, args), || written(spec, args));
        if self.is_busy() {
            return Committed::NotYet(apart);
        }
        self.set_wants(log);
        let is_done = apart.commit(&mut Space::some(&mut held), now_ms, log);
        held.serve_ready(now_ms, log);
        if is_done { Committed::Yes } else { Committed::No }
    }

    /// The partitions that a command needs.
    pub(crate) fn needed_by(&self, spec: &Spec, args: Args<'_>) -> Indices {
        if spec.flags.contains(Flags::ALL_KEYS) {
            return self.all();
        }
        let mut needed = Indices::default();
        keys_of(spec, args).for_each(|key| needed.insert(self.index_of(key)));
        needed
    }

    fn first(&self) -> Indices {
        let mut first = Indices::default();
        first.insert(0);
        first
    }

    /// Every partition.
    pub(crate) fn all(&self) -> Indices {
        let mut all = Indices::default();
        (0..self.parts.len()).for_each(|index| all.insert(index));
        all
    }

    /// The partition of a key.
    #[inline]
    pub(crate) fn index_of(&self, key: &[u8]) -> usize {
        KeyHash::partition(self.hash.of(key), self.parts.len())
    }

    /// Locks partitions. A caller must not hold any already.
    ///
    /// Whoever waits for a partition that another command keeps for long holds none of the others meanwhile, or a DBSIZE
    /// would stop everybody behind one slow command. Only if they are so busy that this never succeeds are they locked one
    /// after the other, by one thread at a time and not beside a script.
    pub(crate) fn hold(&self, indices: Indices) -> Held<'_> {
        for _ in 0..ATTEMPTS_MAX {
            match self.try_hold(indices) {
                Ok(held) => return held,
                Err(busy) => drop(self.part(busy)),
            }
        }
        let patience = Some(self.patience.lock());
        Held { of: self, guards: indices.iter().map(|index| (index, self.part(index))).collect(), patience }
    }

    /// Locks nothing yet: partitions are added as their keys are named ([`Held::add`]).
    pub(crate) fn hold_growing(&self) -> Held<'_> {
        Held { of: self, guards: SmallVec::new(), patience: Some(self.patience.lock()) }
    }

    /// Locks all, between two scripts: for threads of their own, which may wait.
    fn hold_settled(&self) -> Held<'_> {
        loop {
            let held = self.hold(self.all());
            if !self.is_busy() {
                return held;
            }
            drop(held);
            std::thread::sleep(SETTLED_PAUSE);
        }
    }

    /// Locks one, between two scripts: for threads of their own, which may wait.
    fn settled_part(&self, index: usize) -> MutexGuard<'_, Partition> {
        loop {
            let part = self.part(index);
            if !self.is_busy() {
                return part;
            }
            drop(part);
            std::thread::sleep(SETTLED_PAUSE);
        }
    }

    /// Whether a script has the keys to itself. The answer lasts as long as a partition is locked.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// Locks partitions, and those that are written to when commands blocked on `keys` are served (BLMOVE), and those
    /// blocked on what these write to, and so on: all that a write to `keys` may come to need.
    ///
    /// 1. What is needed for certain is locked, and the links are followed from there as far as partitions are locked.
    /// 2. If they lead further, everything is unlocked, and that is needed for certain, too: again from 1.
    ///
    /// A link is made and undone under the lock of the key it begins at, so none is missed that is there in the end. Nothing
    /// has been done before that: whoever waits is served in its turn, and by the write that it waits for.
    ///
    /// Cost: a look at each locked partition, unless somebody waits with a link there.
    pub(crate) fn hold_for<'k, K: Iterator<Item = &'k [u8]>>(
        &self,
        mut needed: Indices,
        keys: impl Fn() -> K,
    ) -> Held<'_> {
        loop {
            let held = self.hold(needed);
            let linked = held.linked(keys());
            if needed.contains(linked) {
                return held;
            }
            drop(held);
            needed.extend(linked);
        }
    }

    /// Locks partitions if all of them are free; else the index of the first that is not.
    fn try_hold(&self, indices: Indices) -> Result<Held<'_>, usize> {
        let mut held = Held { of: self, guards: SmallVec::new(), patience: None };
        for index in indices.iter() {
            held.guards.push((index, self.parts[index].try_lock_nth(index).ok_or(index)?));
        }
        Ok(held)
    }

    /// Sets `watch` when `key` is touched from now on.
    pub(crate) fn watch(&self, scene: Scene, key: &[u8], watch: &Arc<Watch>, log: &mut Changes) {
        let hash = self.hash.of(key);
        let mut part = self.part_of(hash);
        self.set_wants(log);
        part.watch(scene.db, hash, key, scene.now_ms, watch, log);
        self.write_effects(log);
    }

    /// Takes `watch` off `key`.
    pub(crate) fn unwatch(&self, db: usize, key: &[u8], watch: &Arc<Watch>) {
        let hash = self.hash.of(key);
        self.part_of(hash).unwatch(db, hash, key, watch);
    }

    /// Takes a waiter that has been claimed out of the queues it is still in.
    pub(crate) fn forget_waiter(&self, waiter: &Arc<Waiter>) {
        for key in &waiter.keys {
            let hash = self.hash.of(key);
            self.part_of(hash).forget_waiter(hash, key, waiter);
        }
    }

    /// Removes at most `keys_max` keys of one partition that are due; returns how many. The caller goes round the
    /// partitions, a few times a second, and again at once where it got `keys_max`.
    pub(crate) fn expire_due(&self, index: usize, now_ms: u64, keys_max: usize, log: &mut Changes) -> usize {
        let mut part = self.part(index);
        if self.is_busy() {
            return 0;
        }
        self.set_wants(log);
        let removed = part.expire_due(now_ms, keys_max, log);
        serve_ready(Space::one(&mut part), now_ms, log);
        self.write_effects(log);
        removed
    }

    /// Removes at most `keys_max` keys of one partition that the policy lets go; returns about how many bytes that frees.
    pub(crate) fn evict(&self, index: usize, now_ms: u64, keys_max: usize, log: &mut Changes) -> usize {
        let mut part = self.part(index);
        self.set_wants(log);
        let bytes = (0..keys_max).map_while(|_| part.evict(now_ms, log)).sum();
        serve_ready(Space::one(&mut part), now_ms, log);
        self.write_effects(log);
        bytes
    }

    /// Places of removed keys, by partition, that the next keys will take.
    pub(crate) fn free_places(&self) -> Box<[Arc<AtomicUsize>]> {
        self.each().map(|part| part.free_places()).collect()
    }

    /// Looks whether time alone has made a waiter's command ready, and answers it if so; what was woken is in `log`.
    pub(crate) fn recheck(&self, waiter: &Waiter, now_ms: u64, log: &mut Changes) {
        let mut needed = Indices::default();
        waiter.keys.iter().for_each(|key| needed.insert(self.index_of(key)));
        let mut held = self.hold(needed);
        if self.is_busy() {
            return;
        }
        self.set_wants(log);
        recheck(Space::some(&mut held), now_ms, log, waiter);
        self.write_effects(log);
    }

    /// Shows the records of one partition's database to `visit`, at least `count` of them from `from` on (0 at first), if
    /// there are as many; returns where to go on, `None` at the end. The partition is locked meanwhile.
    ///
    /// A key that is there from the first call to the last is shown exactly once: so a snapshot is taken without stopping
    /// anyone for long. A key that comes or goes meanwhile is in the journal.
    pub(crate) fn visit(
        &self,
        index: usize,
        db: usize,
        from: u64,
        count: usize,
        visit: impl FnMut(&Record),
    ) -> Option<u64> {
        self.part(index).scan(db, from, count, visit)
    }

    /// As [`Partitions::visit`], between two scripts, of the database that is stored under a number: for a thread of its own,
    /// which may wait.
    pub(crate) fn visit_settled(
        &self,
        index: usize,
        stored: usize,
        from: u64,
        count: usize,
        visit: impl FnMut(&Record),
    ) -> Option<u64> {
        let part = self.settled_part(index);
        part.scan(part.shown_as(stored), from, count, visit)
    }

    /// What `look` sees of a key, which is not marked as used; `None`: there is none.
    pub(crate) fn look_at<R>(
        &self,
        db: usize,
        key: &[u8],
        now_ms: u64,
        look: impl FnOnce(&Record) -> R,
    ) -> Option<R> {
        let hash = self.hash.of(key);
        self.part(KeyHash::partition(hash, self.parts.len())).record(db, hash, key, now_ms).map(look)
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

    /// Removes the keys of a stored database that are `doomed`, as a replay does: nobody hears of it.
    pub(crate) fn remove_where(&self, db: usize, doomed: &mut dyn FnMut(&[u8]) -> bool) {
        self.each().for_each(|mut part| remove_where(&mut part, &self.hash, db, doomed));
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

    /// How values are laid out from now on. The caller holds no partition.
    pub(crate) fn set_settings(&self, settings: Settings) {
        self.each().for_each(|mut part| part.set_settings(settings));
    }

    /// Bytes of memory that keys and values take, about.
    pub(crate) fn used_bytes(&self) -> usize {
        self.each().map(|part| part.used_bytes()).sum()
    }

    /// Hands over what was done; the partitions it was done to are still locked.
    #[inline]
    fn write_effects(&self, log: &mut Changes) {
        if !log.effects().is_empty() {
            let lsn = self.journal.get().map(|journal| journal.append(log.effects()));
            log.logged(lsn);
        }
    }

    fn part_of(&self, hash: u64) -> MutexGuard<'_, Partition> {
        self.part(KeyHash::partition(hash, self.parts.len()))
    }

    /// Locks the partition at `index`.
    #[inline]
    fn part(&self, index: usize) -> MutexGuard<'_, Partition> {
        self.parts[index].lock_nth(index)
    }

    /// Locks one partition after the other, never two at once.
    fn each(&self) -> impl Iterator<Item = MutexGuard<'_, Partition>> {
        (0..self.parts.len()).map(|index| self.part(index))
    }
}

impl Held<'_> {
    /// Locks those of `indices` that are not locked. Only where more may be locked ([`Partitions::hold_growing`]).
    pub(crate) fn add(&mut self, indices: Indices) {
        debug_assert!(self.patience.is_some(), "a partition is waited for while others are held");
        for index in indices.iter() {
            if let Err(at) = self.guards.binary_search_by_key(&index, |&(held, _)| held) {
                self.guards.insert(at, (index, self.of.parts[index].lock_among(index)));
            }
        }
    }

    /// Whether nothing is locked.
    pub(crate) fn is_empty(&self) -> bool {
        self.guards.is_empty()
    }

    /// Unlocks all, and has nobody else run a command until [`Held::end_busy`].
    pub(crate) fn begin_busy(&mut self) {
        // With one partition locked at least, as whoever looks has.
        self.add(self.of.first());
        self.of.busy.store(true, Ordering::Relaxed);
        self.release();
    }

    /// Unlocks all, while the keyspace is busy.
    pub(crate) fn release(&mut self) {
        self.guards.clear();
        self.patience = None;
    }

    /// Locks these again, while the keyspace is busy.
    pub(crate) fn take_again(&mut self, indices: Indices) {
        self.release();
        self.patience = Some(self.of.patience.lock());
        self.add(indices);
    }

    /// Locks all, and lets others run commands from then on.
    pub(crate) fn end_busy(&mut self) {
        self.take_again(self.of.all());
        self.of.busy.store(false, Ordering::Relaxed);
    }

    /// The names of all libraries that are kept.
    pub(crate) fn library_names(&self) -> impl Iterator<Item = Box<[u8]>> + use<> {
        self.of.libraries.all().0.into_keys()
    }

    /// A library has this code from now on, or is gone. Only where more may be locked. Returns their version.
    pub(crate) fn set_library(&mut self, name: &[u8], code: Option<&[u8]>, log: &mut Changes) -> u64 {
        self.add(self.of.first());
        self.of.set_wants(log);
        log.note_library(name, code);
        self.of.libraries.set(name, code)
    }

    /// Runs one command of several that must not be interrupted. [`Held::serve_ready`] comes after the last.
    pub(crate) fn execute(
        &mut self,
        command: &Command<Run>,
        args: Args<'_>,
        scene: Scene,
        log: &mut Changes,
        reply: &mut Reply<'_>,
    ) -> Result<Outcome, Error> {
        self.of.set_wants(log);
        run(command, args, scene, Space::some(self), log, reply)
    }

    /// Answers the blocked commands that were woken, and hands all effects since the first command to the journal.
    pub(crate) fn serve_ready(&mut self, now_ms: u64, log: &mut Changes) {
        if self.patience.is_some() && self.guards.iter().any(|(_, part)| part.has_links()) {
            // What they lead to was not known when the first was locked.
            self.add(self.of.all());
        }
        serve_ready(Space::some(self), now_ms, log);
        self.of.write_effects(log);
    }

    /// As [`Partitions::apply`], for the partitions held: all of them, if the effect is of no key.
    pub(crate) fn apply(&mut self, effect: Effect<'_>) -> bool {
        if self.of.libraries.apply(effect.key, &effect.what) {
            return true;
        }
        let hash = self.of.hash.of(effect.key);
        let Some(of_all) = effect.of_all() else {
            return self.partition(KeyHash::partition(hash, self.of.count())).apply(hash, effect);
        };
        self.guards.iter_mut().all(|(_, part)| part.apply(hash, of_all()))
    }

    /// How many databases there are.
    pub(crate) fn databases(&self) -> usize {
        self.of.databases
    }

    /// As [`Partitions::remove_where`], for the partitions held.
    pub(crate) fn remove_where(&mut self, db: usize, doomed: &mut dyn FnMut(&[u8]) -> bool) {
        let hash = &self.of.hash;
        self.guards.iter_mut().for_each(|(_, part)| remove_where(part, hash, db, doomed));
    }

    fn find(&self, index: usize) -> Option<usize> {
        // If all are held, each stands at its own index.
        match self.guards.get(index) {
            Some(&(held, _)) if held == index => Some(index),
            _ => self.guards.binary_search_by_key(&index, |&(held, _)| held).ok(),
        }
    }

    fn place_of(&self, index: usize) -> usize {
        self.find(index).expect("a command uses only the keys its row names")
    }

    /// The partitions of all keys that links lead to from `keys`, as far as can be told from those that are held.
    fn linked<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) -> Indices {
        let mut linked = Indices::default();
        if !self.guards.iter().any(|(_, part)| part.has_links()) {
            return linked;
        }
        let mut found: Vec<Box<[u8]>> = Vec::new();
        keys.for_each(|key| self.follow(key, &mut found));
        let mut followed = 0;
        while let Some(key) = found.get(followed).cloned() {
            if found.len() > LINKS_MAX {
                return self.of.all();
            }
            linked.insert(self.of.index_of(&key));
            self.follow(&key, &mut found);
            followed += 1;
        }
        linked
    }

    /// Adds the keys that links lead to from `key`.
    fn follow(&self, key: &[u8], found: &mut Vec<Box<[u8]>>) {
        let hash = self.of.hash.of(key);
        let Some(at) = self.find(KeyHash::partition(hash, self.of.count())) else { return };
        self.guards[at].1.targets(hash, key, &mut |target| {
            if found.len() <= LINKS_MAX && !found.iter().any(|known| **known == *target) {
                found.push(target.into());
            }
        });
    }

    /// Removes `key` if it has expired, as EXEC does with watched keys before it asks whether the watch is broken.
    pub(crate) fn expire_if_due(&mut self, db: usize, key: &[u8], now_ms: u64, log: &mut Changes) {
        let hash = self.of.hash.of(key);
        self.of.set_wants(log);
        self.partition(KeyHash::partition(hash, self.of.count())).slot(db, hash, key, now_ms, log);
    }
}

impl Locked for Held<'_> {
    fn count(&self) -> usize {
        self.of.count()
    }

    fn hash(&self) -> &KeyHash {
        &self.of.hash
    }

    fn holds(&self, index: usize) -> bool {
        self.find(index).is_some()
    }

    fn partition(&mut self, index: usize) -> &mut Partition {
        let at = self.place_of(index);
        &mut self.guards[at].1
    }

    fn partition_ref(&self, index: usize) -> &Partition {
        &self.guards[self.place_of(index)].1
    }
}

impl Indices {
    /// Adds an index below [`PARTITIONS_MAX`].
    pub(crate) fn insert(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    /// Adds all of `other`.
    pub(crate) fn extend(&mut self, other: Indices) {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word |= other);
    }

    /// Whether all of `other` are here.
    fn contains(&self, other: Indices) -> bool {
        self.0.iter().zip(other.0).all(|(word, other)| other & !word == 0)
    }

    /// The indices, rising.
    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().flat_map(|(word, bits)| {
            std::iter::successors(Some(bits), |bits| Some(bits & bits.wrapping_sub(1)))
                .take_while(|&bits| bits != 0)
                .map(move |bits| 64 * word + bits.trailing_zeros() as usize)
        })
    }
}

fn remove_where(part: &mut Partition, hash: &KeyHash, stored: usize, doomed: &mut dyn FnMut(&[u8]) -> bool) {
    let records = part.records(part.shown_as(stored));
    let keys: Vec<Box<[u8]>> = records.map(Record::key).filter(|key| doomed(key)).map(Box::from).collect();
    for key in keys {
        part.apply(hash.of(&key), Effect { db: Some(stored), key: &key, what: What::Delete });
    }
}

/// The keys among a request's arguments, in order.
#[inline]
pub(crate) fn keys_of<'a>(spec: &Spec, args: Args<'a>) -> impl ExactSizeIterator<Item = &'a [u8]> {
    let positions = spec.keys.positions(args.len(), |index| args.get(index));
    positions.map(move |index| args.get(index).unwrap_or_default())
}

/// The keys that a request may write to, in order.
pub(crate) fn written<'a>(spec: &Spec, args: Args<'a>) -> impl Iterator<Item = &'a [u8]> {
    spec.flags.contains(Flags::WRITE).then(|| keys_of(spec, args)).into_iter().flatten()
}

/// Copies what a command's keys hold, to run it apart.
#[cold]
fn apart(
    command: &Command<Run>,
    args: Args<'_>,
    scene: Scene,
    mut space: Space<'_>,
    log: &Changes,
) -> Outcome {
    let (keys, writes) = (keys_of(&command.spec, args), command.spec.flags.contains(Flags::WRITE));
    let scene = (scene.db, scene.now_ms, scene.caller);
    Outcome::Apart(Box::new(Apart::new(&mut space, keys, writes, scene, log)))
}

#[inline]
fn run<'s>(
    command: &Command<Run>,
    args: Args<'_>,
    scene: Scene,
    space: Space<'s>,
    log: &'s mut Changes,
    reply: &mut Reply<'_>,
) -> Result<Outcome, Error> {
    let run = command.run.expect("a container is resolved to its subcommand before it is run");
    let Scene { db, now_ms, caller } = scene;
    run(&mut Ctx { space, db, now_ms, log, caller }, args, reply)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::thread;

    use sterna_keyspace::{COMMANDS, Effects, Wants};
    use sterna_protocol::{Limits, Parser, Proto};

    use super::*;

    const LIMITS: Limits = Limits {
        bulk_bytes_max: 1 << 20,
        multibulk_len_max: 100,
        inline_bytes_max: 1 << 16,
        unauthenticated: false,
    };
    const SCENE: Scene = Scene {
        db: 0,
        now_ms: 1_700_000_000_000,
        caller: Caller { client: 1, shard: 0, proto: Proto::Resp2, may_block: true, touches: true },
    };

    /// Parses an inline request and passes its row and arguments on.
    fn with_request<R>(request: &str, run: impl FnOnce(&'static Command<Run>, Args<'_>) -> R) -> R {
        let line = format!("{request}\r\n");
        let mut parser = Parser::default();
        parser.parse(line.as_bytes(), &LIMITS).expect("a request");
        let args = parser.args(line.as_bytes());
        let row = COMMANDS.iter().find(|row| row.spec.name.as_bytes() == &args[0]).expect("a command");
        run(row, args)
    }

    fn execute(partitions: &Partitions, request: &str, log: &mut Changes) -> String {
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, Proto::Resp2);
        let result = with_request(request, |row, args| partitions.execute(row, args, SCENE, log, &mut reply));
        result.expect("a reply");
        String::from_utf8(out).expect("ASCII")
    }

    /// Keeps records as they come.
    #[derive(Debug, Default)]
    struct Records(Arc<parking_lot::Mutex<Vec<Vec<u8>>>>);

    impl EffectLog for Records {
        fn append(&self, effects: &[u8]) -> u64 {
            let mut records = self.0.lock();
            records.push(effects.to_vec());
            records.len() as u64
        }
    }

    fn journaled(count: usize) -> (Partitions, Arc<parking_lot::Mutex<Vec<Vec<u8>>>>) {
        let (partitions, records) = (Partitions::new(count, 16), Arc::default());
        partitions.set_journal(Box::new(Records(Arc::clone(&records))));
        partitions.cut(true, || {});
        (partitions, records)
    }

    fn effects_wanted() -> Changes {
        Changes::new(Wants { effects: true, ..Wants::default() })
    }

    #[test]
    fn indices_come_out_rising_and_once() {
        let mut indices = Indices::default();
        assert_eq!(indices.iter().next(), None);
        [200, 3, 64, 63, 3, 0, 255].into_iter().for_each(|index| indices.insert(index));
        let mut more = Indices::default();
        more.insert(7);
        indices.extend(more);
        assert_eq!(indices.iter().collect::<Vec<_>>(), [0, 3, 7, 63, 64, 200, 255]);
    }

    #[test]
    fn a_command_needs_the_partitions_of_its_keys() {
        let partitions = Partitions::new(100, 16);
        assert_eq!(partitions.count(), 128);
        let needed = |request| with_request(request, |row, args| partitions.needed_by(&row.spec, args));
        assert_eq!(needed("dbsize"), partitions.all());
        assert_eq!(partitions.all().iter().count(), 128);
        assert_eq!(needed("get a").iter().collect::<Vec<_>>(), [partitions.index_of(b"a")]);
        let mut both = Indices::default();
        both.insert(partitions.index_of(b"a"));
        both.insert(partitions.index_of(b"b"));
        assert_eq!(needed("mset a 1 b 2 a 3"), both);
    }

    /// Overlapping sets of keys in every order: whoever locked in the order of its arguments would wait for ever.
    #[test]
    fn commands_on_the_same_keys_in_any_order_never_wait_for_each_other_in_a_circle() {
        let partitions = Partitions::new(8, 16);
        thread::scope(|scope| {
            for thread in 0..4 {
                let partitions = &partitions;
                scope.spawn(move || {
                    let mut random = thread * 7919 + 1u64;
                    let mut next = || {
                        random = (random * 1_103_515_245 + 12345) % (1 << 31);
                        random / 65536 % 12
                    };
                    let mut log = Changes::default();
                    for round in 0..3_000 {
                        let (a, b, c) = (next(), next(), next());
                        let request = match round % 5 {
                            0 => format!("mset {a} {thread} {b} {thread} {c} {thread}"),
                            1 => format!("copy {a} {b}x replace"),
                            2 => format!("del {c} {b} {a}"),
                            3 => format!("mget {a} {b} {c}"),
                            _ if round % 500 == 4 => "flushall".to_owned(),
                            _ => "dbsize".to_owned(),
                        };
                        execute(partitions, &request, &mut log);
                        log.clear();
                    }
                });
            }
        });
    }

    /// The slow command ends only after the others have run: were a partition held behind it, nobody would go on.
    #[test]
    fn who_waits_for_a_slow_command_holds_up_nobody_else() {
        for request in ["dbsize", "scan 0", "keys *", "randomkey", "flushall"] {
            let partitions = Partitions::new(8, 16);
            let slow = partitions.part(7);
            thread::scope(|scope| {
                let waiting = scope.spawn(|| execute(&partitions, request, &mut Changes::default()));
                let others = scope.spawn(|| {
                    let mut log = Changes::default();
                    let keys = (0..10_000).map(|number| number.to_string());
                    let quick = keys.filter(|key| partitions.index_of(key.as_bytes()) != 7);
                    quick.for_each(|key| drop(execute(&partitions, &format!("get {key}"), &mut log)));
                });
                others.join().expect("a thread that ends");
                assert!(!waiting.is_finished(), "{request} needs the partition that is held");
                drop(slow);
            });
        }
    }

    #[test]
    fn several_keys_change_as_one() {
        let partitions = Partitions::new(64, 16);
        let mut log = Changes::default();
        execute(&partitions, "mset a 0 b 0 c 0 d 0", &mut log);
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut log = Changes::default();
                for round in 0..2_000 {
                    execute(&partitions, &format!("mset d {round} b {round} a {round} c {round}"), &mut log);
                }
            });
            while !writer.is_finished() {
                let reply = execute(&partitions, "mget a b c d", &mut log);
                let mut values = reply.split("\r\n").skip(2).step_by(2).take(4);
                let first = values.next();
                assert!(values.all(|value| Some(value) == first), "{reply:?}");
            }
        });
    }

    #[test]
    fn the_journal_has_the_writes_of_a_key_in_the_order_they_were_made() {
        let (partitions, records) = journaled(4);
        thread::scope(|scope| {
            for thread in 0..3 {
                let partitions = &partitions;
                scope.spawn(move || {
                    let mut log = effects_wanted();
                    for round in 0..1_000 {
                        execute(partitions, &format!("set key:{} {thread}-{round}", round % 3), &mut log);
                        assert!(log.lsn().is_some());
                        log.clear();
                        assert!(log.effects().is_empty());
                    }
                });
            }
        });
        let replayed = Partitions::new(1, 16);
        for record in records.lock().iter() {
            Effects::new(record).for_each(|effect| assert!(replayed.apply(effect.expect("an effect"))));
        }
        let mut log = Changes::default();
        let request = "mget key:0 key:1 key:2";
        assert_eq!(execute(&partitions, request, &mut log), execute(&replayed, request, &mut log));
    }

    #[test]
    fn a_transaction_is_one_record() {
        let (partitions, records) = journaled(16);
        let mut log = effects_wanted();
        let mut held = partitions.hold(partitions.all());
        let mut out = Vec::new();
        for request in ["set a 1", "incr a", "set b 1", "del b"] {
            let mut reply = Reply::new(&mut out, Proto::Resp2);
            with_request(request, |row, args| held.execute(row, args, SCENE, &mut log, &mut reply))
                .expect("a reply");
            // As the server does between the commands, to publish their events.
            log.clear();
        }
        held.serve_ready(SCENE.now_ms, &mut log);
        assert_eq!(log.lsn(), Some(1));
        let records = records.lock();
        assert_eq!(records.len(), 1);
        assert_eq!(Effects::new(&records[0]).count(), 4);
    }

    #[test]
    fn reads_write_no_record_and_an_expiry_writes_one() {
        let (partitions, records) = journaled(2);
        let mut log = effects_wanted();
        for request in ["get a", "mget a b", "dbsize", "del a", "exists a", "scan 0"] {
            execute(&partitions, request, &mut log);
        }
        assert_eq!((records.lock().len(), log.lsn()), (0, None));
        execute(&partitions, "set a 1 px 10", &mut log);
        let later = SCENE.now_ms + 11;
        let removed: usize = (0..2).map(|index| partitions.expire_due(index, later, 10, &mut log)).sum();
        assert_eq!((removed, records.lock().len()), (1, 2));
    }

    #[test]
    #[should_panic(expected = "a command uses only the keys its row names")]
    fn a_key_that_is_not_held_is_not_touched() {
        let partitions = Partitions::new(256, 16);
        let key =
            (0..).map(|n| n.to_string()).find(|key| partitions.index_of(key.as_bytes()) != 0).expect("one");
        let mut first = Indices::default();
        first.insert(0);
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, Proto::Resp2);
        let mut log = Changes::default();
        let _ = with_request(&format!("get {key}"), |row, args| {
            partitions.hold(first).execute(row, args, SCENE, &mut log, &mut reply)
        });
    }

    /// Who is answered by a request, and with what.
    fn served(partitions: &Partitions, request: &str, log: &mut Changes) -> Vec<String> {
        log.clear();
        execute(partitions, request, log);
        log.served().map(|served| String::from_utf8(served.reply.to_vec()).expect("ASCII")).collect()
    }

    #[test]
    fn an_element_that_is_moved_on_passes_a_whole_chain_of_clients_in_one_record() {
        let (partitions, records) = journaled(64);
        let mut log = effects_wanted();
        for from in 0..20 {
            let wait = format!("blmove key:{from} key:{} left right 0", from + 1);
            assert_eq!(execute(&partitions, &wait, &mut log), "");
        }
        assert_eq!(served(&partitions, "rpush key:0 x", &mut log), ["$1\r\nx\r\n"; 20]);
        assert_eq!(execute(&partitions, "lrange key:20 0 -1", &mut log), "*1\r\n$1\r\nx\r\n");
        assert_eq!(records.lock().len(), 1, "who is told of the push is told of what became of it");
        // Nobody waits any more.
        assert!(served(&partitions, "rpush key:0 y", &mut log).is_empty());
        assert!(partitions.each().all(|part| !part.has_links()));
    }

    #[test]
    fn more_links_than_are_followed_lock_everything() {
        let partitions = Partitions::new(64, 16);
        let mut log = Changes::default();
        for worker in 0..100 {
            execute(&partitions, &format!("brpoplpush jobs worker:{worker} 0"), &mut log);
        }
        for worker in 0..100 {
            let reply = served(&partitions, &format!("lpush jobs {worker}"), &mut log);
            assert_eq!(reply.len(), 1);
            let kept = execute(&partitions, &format!("lindex worker:{worker} 0"), &mut log);
            assert!(
                kept.ends_with(&format!("\r\n{worker}\r\n")),
                "the first who came is served first: {kept}"
            );
        }
    }

    #[test]
    fn moves_in_a_circle_end_and_a_client_that_moves_within_one_list_is_served_once() {
        let partitions = Partitions::new(64, 16);
        let mut log = Changes::default();
        for wait in [
            "blmove a b left left 0",
            "blmove b c left left 0",
            "blmove c a left left 0",
            "blmove d d left right 0",
        ] {
            execute(&partitions, wait, &mut log);
        }
        assert_eq!(served(&partitions, "rpush a x", &mut log).len(), 3);
        assert_eq!(execute(&partitions, "lrange a 0 -1", &mut log), "*1\r\n$1\r\nx\r\n");
        assert_eq!(served(&partitions, "rpush d y z", &mut log).len(), 1);
        assert_eq!(execute(&partitions, "lrange d 0 -1", &mut log), "*2\r\n$1\r\nz\r\n$1\r\ny\r\n");
    }

    #[test]
    fn threads_that_push_and_move_between_each_other_s_lists_neither_wait_for_ever_nor_lose_an_element() {
        const THREADS: usize = 4;
        const ROUNDS: usize = 2_000;
        let partitions = Partitions::new(16, 16);
        let ends = Arc::new(AtomicUsize::new(0));
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (partitions, ends) = (&partitions, Arc::clone(&ends));
                scope.spawn(move || {
                    let mut log = Changes::default();
                    for round in 0..ROUNDS {
                        let (from, to) = ((thread + round) % 5, (thread + 3 * round + 1) % 5);
                        let wait = format!("blmove k:{from} k:{to} left right 0");
                        let moved = execute(partitions, &wait, &mut log);
                        let push = format!("rpush k:{to} {thread}:{round}");
                        let reply = served(partitions, &push, &mut log);
                        ends.fetch_add(reply.len() + usize::from(!moved.is_empty()), Ordering::Relaxed);
                    }
                });
            }
        });
        let mut log = Changes::default();
        let mut seen: HashMap<String, usize> = HashMap::new();
        for key in 0..5 {
            let list = execute(&partitions, &format!("lrange k:{key} 0 -1"), &mut log);
            let texts = list.split("\r\n").filter(|line| line.contains(':'));
            texts.for_each(|text| *seen.entry(text.to_owned()).or_default() += 1);
        }
        assert_eq!(seen.len(), THREADS * ROUNDS);
        assert!(seen.values().all(|&times| times == 1));
        assert!(ends.load(Ordering::Relaxed) <= THREADS * ROUNDS, "nobody is answered twice");
    }

    #[test]
    fn a_visit_shows_every_key_once() {
        let partitions = Partitions::new(4, 16);
        let mut log = Changes::default();
        (0..1_000)
            .for_each(|number| drop(execute(&partitions, &format!("set key:{number} {number}"), &mut log)));
        let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
        for index in 0..partitions.count() {
            let mut from = Some(0);
            while let Some(position) = from {
                from = partitions.visit(index, 0, position, 7, |record| {
                    *seen.entry(record.key().to_vec()).or_default() += 1;
                });
            }
        }
        assert_eq!(seen.len(), 1_000);
        assert!(seen.values().all(|&times| times == 1));
        assert_eq!(partitions.fill(SCENE.now_ms)[0].keys, 1_000);
        assert!(partitions.used_bytes() > 64_000);
    }
}
