//! Several partitions, locked together or one after the other.
//!
//! A command locks all that it needs before it does anything; a script adds partitions as it names keys ([`Held::add`]), and
//! alone may wait for one while it holds others. One that takes long holds none between its commands: see `kept`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use smallvec::SmallVec;
use sterna_command::Command;
use sterna_keyspace::stream::{EntryId, Stream};
use sterna_keyspace::{
    Apart, Blocked, Changes, Ctx, Effect, Error, HeldSteps, KeyHash, Locked, Outcome, Partition, Retention,
    Run, Space, Unserved, Waiter, What, WhoIsServed, leave_ready, remember, serve_ready,
};
use sterna_protocol::{Args, Reply};

use super::lengths::Taken;
use super::unserved::Rest;
use super::whole::remove_where;
use super::{Indices, KEYS_MOSTLY_MAX, MOMENT, Partitions, Scene, apart, run};
use crate::libraries::Codes;
use crate::lock::MutexGuard;
use crate::time::unix_ms;

/// Some partitions, locked until this goes.
pub(crate) struct Held<'a> {
    of: &'a Partitions,
    /// In the order of their indices.
    guards: SmallVec<[(usize, MutexGuard<'a, Partition>); KEYS_MOSTLY_MAX]>,
    /// Their indices.
    indices: Indices,
    patience: Option<MutexGuard<'a, ()>>,
    way: Way,
}

/// What is locked, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// All that is needed, from the beginning to the end.
    Once,
    /// Nothing: a script has it, and whoever wanted it goes away.
    InVain,
    /// Whatever is added, with the right of a script; what has been stays marked to the end.
    Growing,
    /// The same, between whose commands nothing is locked.
    Keeping,
}

/// How often several partitions are tried for together before they are locked one by one.
const ATTEMPTS_MAX: usize = 100;

/// Links that are followed one by one; where there are more, every partition is locked.
const LINKS_MAX: usize = 32;

/// Bytes of an element that are as much work as a shorter one.
const ELEMENT_BYTES_MIN: usize = 32;

impl Partitions {
    /// Locks partitions. A caller must not hold any already.
    ///
    /// Whoever waits for a partition that another command keeps for long holds none of the others meanwhile, or a DBSIZE
    /// would stop everybody behind one slow command. Only if they are so busy that this never succeeds are they locked one
    /// after the other, by one thread at a time and not beside a script.
    ///
    /// If a script has one locked for longer than a moment, nothing is: it [is busy](Held::is_busy).
    pub(crate) fn hold(&self, indices: Indices) -> Held<'_> {
        let mut held = Held::nothing(self, Way::Once);
        for _ in 0..ATTEMPTS_MAX {
            let Err(locked) = held.try_lock(indices) else { return held };
            match self.part_soon(locked) {
                Some(part) => drop(part),
                None => {
                    held.way = Way::InVain;
                    return held;
                }
            }
        }
        let Some(patience) = self.patience.lock_within(MOMENT) else {
            held.way = Way::InVain;
            return held;
        };
        held.guards.extend(indices.iter().map(|index| (index, self.part(index))));
        held.indices = indices;
        held.patience = Some(patience);
        held
    }

    /// The same, behind whatever a script does: for whoever may wait for that, or has to.
    pub(crate) fn hold_patiently(&self, indices: Indices) -> Held<'_> {
        loop {
            let held = self.hold(indices);
            if held.way != Way::InVain {
                return held;
            }
            // Who has one locked for so long has this, too.
            drop(self.patience.lock());
        }
    }

    /// Locks nothing yet: partitions are added as their keys are named ([`Held::add`]). The caller has the right of a script.
    pub(crate) fn hold_growing(&self) -> Held<'_> {
        if self.settling.load(Relaxed) > 0 && !self.is_kept() {
            // Threads that have waited for the end of another script: they have their step before this one begins.
            self.settled.wait_within(MOMENT, || self.settling.load(Relaxed) == 0);
        }
        let mut held = Held::nothing(self, Way::Growing);
        held.patience = Some(self.patience.lock());
        held
    }

    /// Locks all, between two scripts: for threads of their own, which may wait.
    pub(super) fn hold_settled(&self) -> Held<'_> {
        self.settle(|| Some(self.hold_patiently(self.all())).filter(|_| !self.is_kept()), || !self.is_kept())
    }

    /// Locks one, between two scripts: for threads of their own, which may wait.
    pub(super) fn settled_part(&self, index: usize) -> MutexGuard<'_, Partition> {
        self.settle(|| Some(self.part(index)).filter(|_| !self.kept.has(index)), || !self.kept.has(index))
    }

    /// What is `taken` between two scripts; `is_free`: it makes sense to try.
    fn settle<T>(&self, taken: impl Fn() -> Option<T>, is_free: impl Fn() -> bool) -> T {
        if let Some(taken) = taken() {
            return taken;
        }
        self.settling.fetch_add(1, Relaxed);
        let taken = loop {
            self.settled.wait_until(&is_free);
            if let Some(taken) = taken() {
                break taken;
            }
        };
        self.settling.fetch_sub(1, Relaxed);
        self.settled.notify();
        taken
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
}

impl<'a> Held<'a> {
    fn nothing(of: &'a Partitions, way: Way) -> Held<'a> {
        Held { of, guards: SmallVec::new(), indices: Indices::default(), patience: None, way }
    }

    /// Locks partitions if all of them are free, where none is locked; else the index of the first that is not.
    #[inline]
    fn try_lock(&mut self, indices: Indices) -> Result<(), usize> {
        for index in indices.iter() {
            let Some(part) = self.of.parts[index].try_lock_nth(index) else {
                self.guards.clear();
                return Err(index);
            };
            self.guards.push((index, part));
        }
        self.indices = indices;
        Ok(())
    }
}

impl Held<'_> {
    /// Locks those of `indices` that are not locked. Only where more may be locked ([`Partitions::hold_growing`]).
    pub(crate) fn add(&mut self, indices: Indices) {
        debug_assert!(self.patience.is_some(), "a partition is waited for while others are held");
        for index in indices.iter() {
            if !self.indices.has(index) {
                self.indices.insert(index);
                let part = self.of.parts[index].lock_among(index);
                let at = self.place_of(index);
                self.guards.insert(at, (index, part));
                self.of.kept.mark(index);
            }
        }
    }

    /// Whether somebody else has keys to himself that are locked here, or were to be.
    pub(crate) fn is_busy(&self) -> bool {
        let is_kept = match self.way {
            Way::InVain => true,
            // The marks are its own.
            Way::Growing | Way::Keeping => self.of.is_busy(),
            Way::Once => self.of.is_kept() && self.guards.iter().any(|(index, _)| self.of.kept.has(*index)),
        };
        is_kept || self.of.rests.takes(self.guards.iter().map(|(index, _)| *index))
    }

    /// Serves all who are left of those whom others' writes have woken, and whose partitions are locked here: see `unserved`. Only where
    /// more may be locked.
    pub(crate) fn settle(&mut self, log: &mut Changes) {
        self.serve_rests(log);
        self.of.write_effects(log);
    }

    fn serve_rests(&mut self, log: &mut Changes) {
        while self.of.has_unserved()
            && let Some(taken) = self.guards.iter().find_map(|(index, _)| self.of.rests.partitions_of(*index))
        {
            self.add(taken);
            while !self.serve_rest(taken, WhoIsServed::All, log) {}
        }
    }

    /// A slice of serving those who are left, of whom [`Partitions::hold_unserved`] has locked the partitions. True: it was the last.
    pub(crate) fn serve_some(&mut self, whom: WhoIsServed, log: &mut Changes) -> bool {
        let is_over = self.serve_rest(self.indices, whom, log);
        self.of.write_effects(log);
        is_over
    }

    /// The index of a partition that is locked, the first one.
    pub(crate) fn first_index(&self) -> Option<usize> {
        self.guards.first().map(|(index, _)| *index)
    }

    fn serve_rest(&mut self, taken: Indices, whom: WhoIsServed, log: &mut Changes) -> bool {
        // Others may have served it before these were locked, and left another.
        let Some(mut rest) = taken.iter().next().and_then(|index| self.of.rests.remove(index)) else {
            return true;
        };
        let is_left = !taken.contains(rest.taken) || {
            self.of.set_wants(log);
            rest.unserved.go_on(Space::some(self), log, whom)
        };
        if is_left {
            self.of.rests.add(rest);
        }
        !is_left
    }

    /// Whether nothing is locked: a script has what was to be, or has named nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.guards.is_empty()
    }

    /// Keeps what is marked by now and will be, until [`Held::end_keeping`]: unlocks all.
    pub(crate) fn keep(&mut self) {
        self.way = Way::Keeping;
        self.of.kept.begin();
        self.unlock();
    }

    /// Whether it keeps what is marked, and has nothing locked but for the time of a command.
    pub(crate) fn keeps(&self) -> bool {
        self.way == Way::Keeping
    }

    /// Locks all that it keeps, if it does.
    pub(crate) fn end_keeping(&mut self) {
        if self.way == Way::Keeping {
            self.take_again(self.of.kept.marked());
            self.way = Way::Growing;
            self.of.kept.end();
            self.of.settled.notify();
        }
    }

    /// Unlocks all, and has nobody else run a command until [`Held::end_busy`].
    pub(crate) fn begin_busy(&mut self) {
        if self.way == Way::Keeping {
            self.take_again(self.of.kept.marked());
            self.way = Way::Growing;
        }
        // With one partition locked at least, as whoever looks has.
        self.add(self.of.first());
        self.of.kept.set_busy(true);
        self.release();
    }

    /// Has the keyspace be busy still, though a script has ended that ([`Held::end_busy`]); all are locked since.
    pub(crate) fn stay_busy(&mut self) {
        if !self.is_empty() {
            self.of.kept.set_busy(true);
        }
    }

    /// Unlocks all, while the keyspace is busy, or what is marked is kept.
    pub(crate) fn release(&mut self) {
        if self.way == Way::Growing {
            self.of.kept.clear();
        }
        self.unlock();
    }

    fn unlock(&mut self) {
        self.guards.clear();
        self.indices = Indices::default();
        self.patience = None;
    }

    /// Locks these again, while the keyspace is busy, or what is marked is kept.
    pub(crate) fn take_again(&mut self, indices: Indices) {
        self.release();
        self.patience = Some(self.of.patience.lock());
        self.add(indices);
    }

    /// Locks all, and lets others run commands from then on.
    pub(crate) fn end_busy(&mut self) {
        self.take_again(self.of.all());
        self.of.kept.set_busy(false);
        self.of.settled.notify();
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

    /// All libraries are gone: what they were, and their version. Only where more may be locked.
    pub(crate) fn remove_libraries(&mut self, log: &mut Changes) -> (Codes, u64) {
        self.add(self.of.first());
        self.of.set_wants(log);
        let (codes, version) = self.of.libraries.take();
        log.note_no_libraries(codes.keys().map(|name| &**name));
        (codes, version)
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
        let named = self.of.named(&command.spec, args);
        self.execute_on(&named, command, args, scene, log, reply)
    }

    /// The same, if its keys have been hashed.
    pub(crate) fn execute_on(
        &mut self,
        named: &[(&[u8], u64)],
        command: &Command<Run>,
        args: Args<'_>,
        scene: Scene,
        log: &mut Changes,
        reply: &mut Reply<'_>,
    ) -> Result<Outcome, Error> {
        self.of.set_wants(log);
        run(command, args, scene, Space::some(self).naming(named), log, reply)
    }

    /// Goes on with a command that has all keys to itself; all are locked. True: there is more to do.
    pub(crate) fn go_on(
        &mut self,
        steps: &mut dyn HeldSteps,
        scene: Scene,
        log: &mut Changes,
        reply: &mut Reply<'_>,
    ) -> Result<bool, Error> {
        self.of.set_wants(log);
        let Scene { db, now_ms, caller } = scene;
        steps.step(&mut Ctx { space: Space::some(self), db, now_ms, log, caller }, reply)
    }

    /// Keeps a message in the stream at `key`; see [`remember`].
    pub(crate) fn remember(
        &mut self,
        key: &[u8],
        message: &[u8],
        retention: Retention,
        scene: Scene,
        log: &mut Changes,
    ) -> Result<EntryId, Error> {
        self.of.set_wants(log);
        let Scene { db, now_ms, caller } = scene;
        let mut ctx = Ctx { space: Space::some(self), db, now_ms, log, caller };
        remember(&mut ctx, key, message, retention)
    }

    /// The stream at a key of database 0, if there is one.
    pub(crate) fn stream(&self, key: &[u8], now_ms: u64) -> Option<&Stream> {
        let hash = self.of.hash.of(key);
        let part = self.partition_ref(KeyHash::partition(hash, self.of.count()));
        part.record(0, hash, key, now_ms)?.value().stream()
    }

    /// Puts a waiter into the queue of a key.
    pub(crate) fn wait_for(
        &mut self,
        key: &[u8],
        scene: Scene,
        blocked: Box<dyn Blocked>,
        log: &mut Changes,
    ) -> Option<Arc<Waiter>> {
        let Scene { db, now_ms, caller } = scene;
        let mut ctx = Ctx { space: Space::some(self), db, now_ms, log, caller };
        match ctx.wait(Box::new([key.into()]), None, blocked) {
            Outcome::Wait(waiter) => Some(waiter),
            _ => None,
        }
    }

    /// Copies what a command's keys hold, to run it apart: it has answered that it takes too long.
    pub(crate) fn copies(
        &mut self,
        command: &Command<Run>,
        args: Args<'_>,
        scene: Scene,
        log: &Changes,
    ) -> Outcome {
        apart(command, args, scene, Space::some(self), log)
    }

    /// As [`Partitions::commit`], for a command of several that must not be interrupted.
    pub(crate) fn commit(&mut self, apart: Box<Apart>, now_ms: u64, log: &mut Changes) -> bool {
        self.of.set_wants(log);
        apart.commit(&mut Space::some(self), now_ms, log)
    }

    /// Bytes of what these keys hold, strings alone if `of_strings`. Short elements are as much work as some of 32 bytes.
    pub(crate) fn bytes_of<'k>(
        &self,
        scene: Scene,
        keys: impl Iterator<Item = &'k [u8]>,
        of_strings: bool,
    ) -> usize {
        let bytes = |key| {
            let hash = self.of.hash.of(key);
            let part = self.partition_ref(KeyHash::partition(hash, self.of.count()));
            let value = part.record(scene.db, hash, key, scene.now_ms)?.value();
            let bytes = || value.heap_bytes().max(value.elements() * ELEMENT_BYTES_MIN);
            (!of_strings || value.is_string()).then(bytes)
        };
        keys.filter_map(bytes).sum()
    }

    /// Bytes of elements of what these keys hold: of `once` each, as far as there are as many, and of `again` in any case. They are of
    /// mean length, but for those at the ends, behind what was `taken` there.
    pub(crate) fn bytes_of_elements<'k>(
        &self,
        scene: Scene,
        keys: impl Iterator<Item = &'k [u8]>,
        (once, again): (usize, usize),
        taken: &mut Taken,
    ) -> usize {
        let bytes = |key| {
            let hash = self.of.hash.of(key);
            let part = self.partition_ref(KeyHash::partition(hash, self.of.count()));
            let value = part.record(scene.db, hash, key, scene.now_ms)?.value();
            let all = value.elements().max(1);
            let mean = (value.heap_bytes() / all).saturating_mul(once.min(all).max(again));
            Some(mean.max(taken.take(key, value, once)))
        };
        keys.filter_map(bytes).fold(0, usize::saturating_add)
    }

    /// Bytes of the values of these fields, where the keys hold hashes.
    pub(crate) fn bytes_of_fields<'k>(
        &self,
        scene: Scene,
        mut keys: impl Iterator<Item = &'k [u8]>,
        names: impl Iterator<Item = &'k [u8]>,
    ) -> usize {
        let Some(key) = keys.next() else { return 0 };
        let hash = self.of.hash.of(key);
        let part = self.partition_ref(KeyHash::partition(hash, self.of.count()));
        let record = part.record(scene.db, hash, key, scene.now_ms);
        record.map_or(0, |record| record.value().bytes_of_fields(names, scene.now_ms))
    }

    /// Answers the blocked commands that were woken, and hands all effects since the first command to the journal.
    pub(crate) fn serve_ready(&mut self, now_ms: u64, log: &mut Changes) {
        self.add_linked(log);
        let unserved = serve_ready(Space::some(self), now_ms, log);
        self.end_write(unserved, log);
    }

    /// Locks what links lead to: where more may be locked it was not known when the first was.
    fn add_linked(&mut self, log: &mut Changes) {
        if self.way == Way::Growing && self.guards.iter().any(|(_, part)| part.has_links()) {
            self.add(self.of.all());
            self.serve_rests(log);
        }
    }

    /// As [`Held::serve_ready`], but nobody is served before `shard` does so: it says when. False: nobody waits for what was written.
    pub(crate) fn leave_ready(&mut self, shard: usize, now_ms: u64, log: &mut Changes) -> bool {
        self.add_linked(log);
        let unserved = leave_ready(now_ms, log);
        let is_left = unserved.is_some();
        self.end_write_for(Some(shard), unserved, log);
        is_left
    }

    /// As [`Held::serve_ready`], all at once: for a thread of its own.
    pub(crate) fn serve_all_ready(&mut self, now_ms: u64, log: &mut Changes) {
        let mut unserved = serve_ready(Space::some(self), now_ms, log);
        while let Some(rest) = &mut unserved
            && rest.go_on(Space::some(self), log, WhoIsServed::All)
        {}
        self.of.write_effects(log);
    }

    /// The write is done, but for those that it has woken and are still to be served.
    pub(super) fn end_write(&mut self, unserved: Option<Box<Unserved>>, log: &mut Changes) {
        self.end_write_for(None, unserved, log);
    }

    fn end_write_for(&mut self, shard: Option<usize>, unserved: Option<Box<Unserved>>, log: &mut Changes) {
        if let Some(unserved) = unserved {
            let mut taken = Indices::default();
            if unserved.has_links() || self.guards.iter().any(|(_, part)| part.has_links()) {
                taken = self.indices;
            } else {
                unserved.keys().for_each(|key| taken.insert(self.of.index_of(key)));
            }
            self.of.leave_rest(Rest { taken, unserved, shard }, log);
        }
        self.of.write_effects(log);
    }

    /// The same; `log` collects who waits for the key. [`Held::serve_ready`] comes after the last.
    pub(crate) fn apply_noting(&mut self, effect: Effect<'_>, log: &mut Changes) -> bool {
        if self.of.libraries.apply(effect.key, &effect.what) {
            return true;
        }
        match &effect.what {
            What::Databases { .. } => self.of.note_placed(None, now()),
            What::Set { value, .. } => {
                if let Some(stream) = value.stream() {
                    self.of.note_placed(Some(effect.key), now().max(stream.last_id()));
                }
            }
            _ => {}
        }
        let hash = self.of.hash.of(effect.key);
        let Some(of_all) = effect.of_all() else {
            let index = KeyHash::partition(hash, self.of.count());
            return self.partition(index).apply_noting(hash, effect, log);
        };
        self.guards.iter_mut().all(|(_, part)| part.apply_noting(hash, of_all(), log))
    }

    /// As [`Partitions::apply`], for the partitions held: all of them, if the effect is of no key.
    pub(crate) fn apply(&mut self, effect: Effect<'_>) -> bool {
        self.apply_noting(effect, &mut Changes::default())
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

    #[inline]
    fn find(&self, index: usize) -> Option<usize> {
        self.indices.place_of(index)
    }

    /// Partition `index`, if it is locked.
    pub(super) fn held(&self, index: usize) -> Option<&Partition> {
        self.find(index).map(|at| &*self.guards[at].1)
    }

    /// One of those that are locked.
    pub(super) fn any(&self) -> Option<&Partition> {
        self.guards.first().map(|(_, part)| &**part)
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

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Before what is marked is unlocked.
        if self.way == Way::Growing {
            self.of.kept.clear();
        }
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

/// The last ID that the clock gives now.
fn now() -> EntryId {
    EntryId::new(unix_ms(), u64::MAX)
}
