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
//! A script names its keys one after the other, so it locks partitions in any order, and has them to its end. It may wait
//! for one while it holds others, because nobody else does: see `patience`. One that takes longer than a millisecond *keeps* them
//! unlocked between its commands, so that no shard waits for its end, only connections do: see `kept`. One that runs for too long
//! makes the keyspace *busy*: it keeps all partitions, and others are told so. A transaction that takes long does the same between
//! its slices; it runs with the right of a script, so that there is one of them at most.
//!
//! A shard finds that a partition is not to be had when it has locked it, or has waited for a moment for a script that has it locked.
//! Who only takes something away that is his (a watch, a waiter), or counts, does so though a partition is kept.
//!
//! A write that wakes thousands *takes* their partitions until the last of them is served: see `unserved`.
//!
//! Behind them comes the journal's buffer, which knows no other lock: see [`crate::lock::Level`].
//!
//! | file | what |
//! |---|---|
//! | `fetch` | what is about to be looked up is fetched into the caches |
//! | `held` | locking several partitions, and what is done while they are |
//! | `indices` | which partitions |
//! | `kept` | those that a script has to itself |
//! | `unserved` | those whom a write has woken, in slices |
//! | `whole` | what concerns all keys: snapshots, replay, figures |
//!
//! Cost: a command on one key takes one lock and allocates nothing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use smallvec::SmallVec;
use sterna_command::{Command, Flags, Keys, Spec};
use sterna_keyspace::stream::EntryId;
use sterna_keyspace::{
    Apart, Caller, Changes, Ctx, Error, KeyGroup, KeyHash, Outcome, PARTITIONS_MAX, Partition, Run, Space,
    Unserved, Waiter, Watch, recheck, serve_ready,
};
use sterna_protocol::{Args, Reply};

use crate::libraries::Libraries;
use crate::lock::{Level, Mutex, MutexGuard};
use crate::placed::{Placed, Placement};
use crate::signal::Signal;

mod fetch;
mod held;
mod indices;
mod kept;
mod lengths;
mod long;
mod unserved;
mod whole;

pub(crate) use fetch::{ELEMENTS_MAX, Fetch, Wanted};
pub(crate) use held::Held;
pub(crate) use indices::Indices;
use kept::Kept;
pub(crate) use lengths::Taken;
use long::{is_large, is_long, refuse_long};
use unserved::{Rest, Rests};

/// The keyspace: partitions by key hash, each behind its lock.
#[derive(Debug)]
pub(crate) struct Partitions {
    hash: KeyHash,
    /// A power of two.
    parts: Box<[Mutex<Partition, { Level::Partition as u8 }>]>,
    databases: usize,
    /// Held by whoever waits for a partition while holding others: one at a time can't wait in a circle.
    patience: Mutex<(), { Level::Patience as u8 }>,
    kept: Kept,
    /// That a script has ended which kept some, or that nobody waits for that any more.
    settled: Signal,
    /// Threads that wait for that.
    settling: AtomicUsize,
    rests: Rests,
    /// Evictions whose bytes nobody has counted as free yet. Grows with the partition locked, so that whoever finds no key there
    /// any more finds this.
    evicting: AtomicUsize,
    journal: OnceLock<Box<dyn EffectLog>>,
    /// Libraries of functions, which belong to no partition.
    libraries: Libraries,
    /// Whether effects go there. Changed with every partition locked, read with some locked: the locks are the pair.
    records: AtomicBool,
    /// Clients that track what they read. Raised before any of their reads, looked at with a partition locked, so that a
    /// write which comes after such a read sees it: the lock is the pair.
    trackers: AtomicUsize,
    placed: Placed,
}

/// Where effects go.
pub(crate) trait EffectLog: std::fmt::Debug + Send + Sync {
    /// Takes the effects of one command or transaction (see [`sterna_keyspace::Effects`]) as one record and returns its
    /// number. Called with partitions locked: it must not wait for a disk.
    fn append(&self, effects: &[u8]) -> u64;

    /// Comes before the effects by which a key of the first database gets a stream as a whole.
    fn note_placed(&self) {}

    /// The same for long ones, which are not copied.
    fn append_long(&self, effects: Vec<u8>) -> u64 {
        self.append(&effects)
    }
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

/// A command that only reads, and answers more bytes than these, is run apart: as many are copied in about a millisecond.
const LONG_REPLY_BYTES: usize = 2_500_000;

/// Most requests with several keys have no more: what is kept for each takes no allocation.
const KEYS_MOSTLY_MAX: usize = 16;

/// Keys of a request, with their hashes.
pub(crate) type Named<'a> = SmallVec<[(&'a [u8], u64); KEYS_MOSTLY_MAX]>;

/// How long a shard waits for the lock of a partition that a script has: longer than one has it without keeping it, but for a
/// command that takes long by itself.
const MOMENT: Duration = Duration::from_millis(2);

impl Partitions {
    /// At least `count` empty partitions: the next power of two, at most [`PARTITIONS_MAX`].
    pub(crate) fn new(count: usize, databases: usize) -> Partitions {
        Partitions::grouped(1, count, databases)
    }

    /// The same, each with keys of one of so many groups of a cluster, and at least one for each group.
    pub(crate) fn grouped(groups: u16, count: usize, databases: usize) -> Partitions {
        let count = count.max(groups.into()).clamp(1, PARTITIONS_MAX).next_power_of_two();
        let hash = KeyHash::grouped(groups, count as u16);
        let part = || Mutex::new(Partition::new(hash.clone(), databases));
        let parts = std::iter::repeat_with(part).take(count).collect();
        Partitions {
            hash,
            parts,
            databases,
            patience: Mutex::default(),
            kept: Kept::default(),
            settled: Signal::default(),
            settling: AtomicUsize::new(0),
            rests: Rests::default(),
            evicting: AtomicUsize::new(0),
            journal: OnceLock::new(),
            libraries: Libraries::default(),
            records: AtomicBool::new(false),
            trackers: AtomicUsize::new(0),
            placed: Placed::default(),
        }
    }

    /// The libraries of functions.
    pub(crate) fn libraries(&self) -> &Libraries {
        &self.libraries
    }

    /// Where effects go from the next [`Partitions::cut`] on. The first call counts.
    pub(crate) fn set_journal(&self, journal: Box<dyn EffectLog>) {
        let _ = self.journal.set(journal);
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

    /// The group of a cluster whose keys a partition has.
    pub(crate) fn group_of(&self, index: usize) -> u16 {
        self.hash.group_of(index)
    }

    /// How many groups of a cluster there are.
    #[inline]
    pub(crate) fn groups(&self) -> u16 {
        self.hash.groups()
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
        if let Some(key) = only_key(&command.spec, args)
            && !command.spec.flags.contains(Flags::ALL_KEYS)
        {
            let hash = self.hash.of(key);
            let index = KeyHash::partition(hash, self.parts.len());
            let Some(mut part) = self.part_soon(index) else { return Err(Error::Busy) };
            if self.is_busy_at(index) {
                return Err(Error::Busy);
            }
            if !(part.has_links() && command.spec.flags.contains(Flags::WRITE)) {
                self.set_wants(log);
                let named = [(key, hash)];
                let space = Space::one(&mut part).naming(&named);
                let mut outcome = run(command, args, scene, space, log, reply);
                if matches!(outcome, Err(Error::TooLong)) {
                    outcome = Ok(apart(command, args, scene, Space::one(&mut part), log));
                }
                let unserved = serve_ready(Space::one(&mut part), scene.now_ms, log);
                self.end_write(index, unserved, log);
                return outcome;
            }
        }
        let named = self.named(&command.spec, args);
        let needed = match command.spec.flags.contains(Flags::EVERY_GROUP) {
            true => self.of_group(scene.caller.group),
            false => self.needed_for(&command.spec, &named),
        };
        let mut held = self.hold_for(needed, || written(&command.spec, args));
        if held.is_busy() {
            return Err(Error::Busy);
        }
        held.fetch(&named, scene.db);
        let mut outcome = held.execute_on(&named, command, args, scene, log, reply);
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
        if held.is_busy() {
            return Committed::NotYet(apart);
        }
        self.set_wants(log);
        let is_done = apart.commit(&mut Space::some(&mut held), now_ms, log);
        held.serve_ready(now_ms, log);
        if is_done { Committed::Yes } else { Committed::No }
    }

    /// A command that is to be run apart does not happen: its client is gone. Who waits behind it is answered. While somebody has the keys to himself it is given back.
    pub(crate) fn call_off(
        &self,
        mut apart: Box<Apart>,
        now_ms: u64,
        log: &mut Changes,
    ) -> Option<Box<Apart>> {
        let mut needed = Indices::default();
        apart.keys().for_each(|key| needed.insert(self.index_of(key)));
        let mut held = self.hold_for(needed, || apart.keys());
        if held.is_busy() {
            return Some(apart);
        }
        self.set_wants(log);
        apart.call_off();
        apart.commit(&mut Space::some(&mut held), now_ms, log);
        held.serve_ready(now_ms, log);
        None
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

    /// The hash of a request's key, if it has one and no other.
    #[inline]
    pub(crate) fn only_hash(&self, spec: &Spec, args: Args<'_>) -> Option<u64> {
        let key = only_key(spec, args)?;
        (!spec.flags.contains(Flags::ALL_KEYS)).then(|| self.hash.of(key))
    }

    /// The keys of a request, with their hashes.
    #[inline]
    pub(crate) fn named<'a>(&self, spec: &Spec, args: Args<'a>) -> Named<'a> {
        keys_of(spec, args).map(|key| (key, self.hash.of(key))).collect()
    }

    /// As [`Partitions::needed_by`], of a request whose keys have been hashed.
    pub(crate) fn needed_for(&self, spec: &Spec, named: &[(&[u8], u64)]) -> Indices {
        if spec.flags.contains(Flags::ALL_KEYS) {
            return self.all();
        }
        let mut needed = Indices::default();
        named.iter().for_each(|&(_, hash)| needed.insert(KeyHash::partition(hash, self.parts.len())));
        needed
    }

    fn first(&self) -> Indices {
        only(0)
    }

    /// Every partition.
    pub(crate) fn all(&self) -> Indices {
        let mut all = Indices::default();
        (0..self.parts.len()).for_each(|index| all.insert(index));
        all
    }

    /// Every partition with keys of a group.
    fn of_group(&self, group: KeyGroup) -> Indices {
        let mut indices = Indices::default();
        let has_some = |index: &usize| group == KeyGroup::WHOLE || self.group_of(*index) == group.index;
        (0..self.parts.len()).filter(has_some).for_each(|index| indices.insert(index));
        indices
    }

    /// The partition of a key.
    #[inline]
    pub(crate) fn index_of(&self, key: &[u8]) -> usize {
        KeyHash::partition(self.hash.of(key), self.parts.len())
    }

    /// Whether a script has all keys to itself. The answer lasts as long as a partition is locked.
    pub(crate) fn is_busy(&self) -> bool {
        self.kept.is_busy()
    }

    /// Whether a script has any keys to itself.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept.is_any()
    }

    /// Whether somebody has the keys of this partition to himself, which is locked.
    #[inline]
    fn is_busy_at(&self, index: usize) -> bool {
        self.kept.has(index) || self.rests.takes(std::iter::once(index))
    }

    /// Sets `watch` when `key` is touched from now on.
    pub(crate) fn watch(
        &self,
        scene: Scene,
        key: &[u8],
        watch: &Arc<Watch>,
        log: &mut Changes,
    ) -> Result<(), Error> {
        let hash = self.hash.of(key);
        let index = KeyHash::partition(hash, self.parts.len());
        let mut part = self.part_soon(index).ok_or(Error::Busy)?;
        // Beside a script that has run for too long it is allowed.
        if !self.is_busy() && self.kept.has(index) {
            return Err(Error::Busy);
        }
        self.set_wants(log);
        part.watch(scene.db, hash, key, scene.now_ms, watch, log);
        self.write_effects(log);
        Ok(())
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
        let Some(mut part) = self.part_soon(index).filter(|_| !self.is_busy_at(index)) else { return 0 };
        self.set_wants(log);
        let removed = part.expire_due(now_ms, keys_max, log);
        let unserved = serve_ready(Space::one(&mut part), now_ms, log);
        self.end_write(index, unserved, log);
        removed
    }

    /// Removes at most `keys_max` keys of one partition that the policy lets go; returns about how many bytes that frees, and where
    /// these are any the caller says when they are free ([`Partitions::end_eviction`]). `None`: somebody has its keys to himself.
    pub(crate) fn evict(
        &self,
        index: usize,
        now_ms: u64,
        keys_max: usize,
        log: &mut Changes,
    ) -> Option<usize> {
        let mut part = self.part_soon(index).filter(|_| !self.is_busy_at(index))?;
        self.set_wants(log);
        let bytes = (0..keys_max).map_while(|_| part.evict(now_ms, log)).sum();
        if bytes > 0 {
            self.evicting.fetch_add(1, Ordering::Relaxed);
        }
        let unserved = serve_ready(Space::one(&mut part), now_ms, log);
        self.end_write(index, unserved, log);
        Some(bytes)
    }

    /// What an [eviction](Partitions::evict) has removed is free, or on its way to whoever frees it.
    pub(crate) fn end_eviction(&self) {
        self.evicting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether a shard has removed keys that still count as memory in use.
    pub(crate) fn is_evicting(&self) -> bool {
        self.evicting.load(Ordering::Relaxed) > 0
    }

    /// Bytes that removed keys have left, by partition, which the next keys will take.
    pub(crate) fn dead_bytes(&self) -> Box<[Arc<AtomicUsize>]> {
        self.each().map(|part| part.dead_bytes()).collect()
    }

    /// Looks whether time alone has made a waiter's command ready, and answers it if so; what was woken is in `log`. False: somebody
    /// has its keys to himself.
    pub(crate) fn recheck(&self, waiter: &Waiter, now_ms: u64, log: &mut Changes) -> bool {
        let mut needed = Indices::default();
        waiter.keys.iter().for_each(|key| needed.insert(self.index_of(key)));
        let mut held = self.hold(needed);
        if held.is_busy() {
            return false;
        }
        self.set_wants(log);
        let unserved = recheck(Space::some(&mut held), now_ms, log, waiter);
        held.end_write(unserved, log);
        true
    }

    /// A write to one partition, which is locked, is done, but for those that it has woken and are still to be served.
    #[inline]
    fn end_write(&self, index: usize, unserved: Option<Box<Unserved>>, log: &mut Changes) {
        if let Some(unserved) = unserved {
            self.leave_rest(Rest { taken: only(index), unserved, shard: None }, log);
        }
        self.write_effects(log);
    }

    /// Takes these partitions, which are locked, until those are served who are left.
    #[cold]
    fn leave_rest(&self, rest: Rest, log: &mut Changes) {
        self.rests.add(rest);
        log.note_unserved();
    }

    /// Locks the partitions of those whom the shard is to serve next, none while a script has them; `None`: everybody has been.
    pub(crate) fn hold_unserved(&self, shard: usize) -> Option<Held<'_>> {
        self.rests.first(shard).map(|taken| self.hold(taken))
    }

    /// Whether there are any who are still to be served.
    pub(crate) fn has_unserved(&self) -> bool {
        !self.rests.is_empty()
    }

    /// Hands over what was done; the partitions it was done to are still locked.
    #[inline]
    fn write_effects(&self, log: &mut Changes) {
        if log.has_placed() {
            for placed in log.take_placed() {
                self.note_placed(placed.key.as_deref(), placed.until);
            }
        }
        if !log.effects().is_empty() {
            let lsn = self.journal.get().map(|journal| match log.take_long_effects() {
                None => journal.append(log.effects()),
                Some(effects) => journal.append_long(effects),
            });
            log.logged(lsn);
        }
    }

    /// A key of the first database has got a stream as a whole; `None`: any may have.
    #[cold]
    fn note_placed(&self, key: Option<&[u8]>, until: EntryId) {
        self.placed.note(key.map(|key| self.hash.of(key)), until);
        if let Some(journal) = self.journal.get() {
            journal.note_placed();
        }
    }

    /// Keys of the first database that have got a stream as a whole.
    pub(crate) fn placed(&self) -> &Placed {
        &self.placed
    }

    /// When the key last got a stream as a whole, or may have.
    pub(crate) fn last_placement(&self, key: &[u8]) -> Placement {
        self.placed.last(self.hash.of(key))
    }

    #[inline]
    fn part_of(&self, hash: u64) -> MutexGuard<'_, Partition> {
        self.part(KeyHash::partition(hash, self.parts.len()))
    }

    /// Locks the partition at `index`, unless a script has it locked for longer than a moment.
    #[inline]
    fn part_soon(&self, index: usize) -> Option<MutexGuard<'_, Partition>> {
        let moment = if self.kept.is_in_vain() { Duration::ZERO } else { MOMENT };
        match self.parts[index].lock_nth_within(index, moment) {
            None => self.await_part(index),
            part => part,
        }
    }

    #[cold]
    fn await_part(&self, index: usize) -> Option<MutexGuard<'_, Partition>> {
        loop {
            if self.kept.is_marked(index) {
                self.kept.note_in_vain();
                return None;
            }
            if let Some(part) = self.parts[index].lock_nth_within(index, MOMENT) {
                return Some(part);
            }
        }
    }

    /// Locks the partition at `index`, at the latest behind one command of a script.
    #[inline]
    fn part(&self, index: usize) -> MutexGuard<'_, Partition> {
        self.parts[index].lock_nth(index)
    }

    /// Locks one partition after the other, never two at once.
    fn each(&self) -> impl Iterator<Item = MutexGuard<'_, Partition>> {
        (0..self.parts.len()).map(|index| self.part(index))
    }
}

fn only(index: usize) -> Indices {
    let mut only = Indices::default();
    only.insert(index);
    only
}

/// The key of a request, if it has one and no other.
#[inline]
fn only_key<'a>(spec: &Spec, args: Args<'a>) -> Option<&'a [u8]> {
    match spec.keys {
        // Most commands are such, and they have as many arguments as they must have.
        Keys::Range { first, last, .. } if first == last => args.get(usize::try_from(first).ok()?),
        _ => {
            let mut keys = keys_of(spec, args);
            keys.next().filter(|_| keys.len() == 0)
        }
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

// A call, and a copy of its arguments, would cost more than what is done before the command runs.
#[inline(always)]
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
    let mut ctx = Ctx { space, db, now_ms, log, caller };
    if is_large(args) && caller.may_yield && is_long(&command.spec, args) {
        return Err(refuse_long(&mut ctx, &command.spec, args));
    }
    let Spec { flags, keys, .. } = &command.spec;
    if !caller.may_yield
        || !flags.contains(Flags::READONLY)
        || flags.contains(Flags::READS_BY_PATTERN)
        || *keys == Keys::None
    {
        return run(&mut ctx, args, reply);
    }
    // What only reads may be run as often as it takes.
    let start = reply.out.len();
    reply.limit(LONG_REPLY_BYTES);
    let outcome = run(&mut ctx, args, reply);
    if reply.end_limit() {
        reply.out.truncate(start);
        return Err(Error::TooLong);
    }
    outcome
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_long;
