//! The keyspace behind its locks.
//!
//! A command's row says where its keys are; their hashes say which partitions they are in; those are locked, always in
//! the order of their indices, and stay locked until the command, or the transaction, is done. That order is the whole
//! protection against deadlock: nobody waits for a partition while holding a later one.
//!
//! Lock order: partitions by index, then whatever the caller takes while it holds them (the journal's buffer).
//!
//! Cost: a command on one key takes one lock and allocates nothing.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use sterna_command::{Command, Flags, Spec};
use sterna_keyspace::{
    Caller, Changes, Ctx, Effect, Error, Fill, KeyHash, Locked, Outcome, PARTITIONS_MAX, Partition,
    Run, Space, Stats, Waiter, Watch, What, serve_ready,
};
use sterna_protocol::{Args, Reply};

/// The keyspace: partitions by key hash, each behind its lock.
#[derive(Debug)]
pub struct Partitions {
    hash: KeyHash,
    /// A power of two.
    parts: Box<[Mutex<Partition>]>,
    databases: usize,
}

/// Who runs a command, where, and when.
#[derive(Debug, Clone, Copy)]
pub struct Scene {
    /// The client's database, below [`Partitions::databases`].
    pub db: usize,
    /// Unix time in milliseconds.
    pub now_ms: u64,
    /// The client.
    pub caller: Caller,
}

/// Some partitions, locked until this goes.
pub struct Held<'a> {
    of: &'a Partitions,
    /// In the order of their indices.
    guards: SmallVec<[(usize, MutexGuard<'a, Partition>); 4]>,
}

/// A set of partition indices, which comes out in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Indices([u64; PARTITIONS_MAX / 64]);

impl Partitions {
    /// At least `count` empty partitions: the next power of two, at most [`PARTITIONS_MAX`].
    pub fn new(count: usize, databases: usize) -> Partitions {
        let hash = KeyHash::random();
        let count = count.clamp(1, PARTITIONS_MAX).next_power_of_two();
        let part = || Mutex::new(Partition::new(hash.clone(), databases));
        let parts = std::iter::repeat_with(part).take(count).collect();
        Partitions {
            hash,
            parts,
            databases,
        }
    }

    /// How many partitions there are.
    pub fn count(&self) -> usize {
        self.parts.len()
    }

    /// How many databases there are.
    pub fn databases(&self) -> usize {
        self.databases
    }

    /// Runs one command to its end, and answers the blocked commands that it woke.
    ///
    /// `args` are as many as the row's arity asks for. A row that runs nothing is never passed.
    #[inline]
    pub fn execute(
        &self,
        command: &Command<Run>,
        args: Args<'_>,
        scene: Scene,
        log: &mut Changes,
        reply: &mut Reply<'_>,
    ) -> Result<Outcome, Error> {
        let mut keys = keys_of(&command.spec, args);
        if let (Some(key), 0, false) = (
            keys.next(),
            keys.len(),
            command.spec.flags.contains(Flags::ALL_KEYS),
        ) {
            let mut part = self.parts[self.index_of(key)].lock();
            let outcome = run(command, args, scene, Space::one(&mut part), log, reply);
            serve_ready(Space::one(&mut part), scene.now_ms, log);
            return outcome;
        }
        let mut held = self.hold(self.needed_by(&command.spec, args));
        let outcome = held.execute(command, args, scene, log, reply);
        held.serve_ready(scene.now_ms, log);
        outcome
    }

    /// The partitions that a command needs.
    pub fn needed_by(&self, spec: &Spec, args: Args<'_>) -> Indices {
        if spec.flags.contains(Flags::ALL_KEYS) {
            return self.all();
        }
        let mut needed = Indices::default();
        keys_of(spec, args).for_each(|key| needed.insert(self.index_of(key)));
        needed
    }

    /// Every partition.
    pub fn all(&self) -> Indices {
        let mut all = Indices::default();
        (0..self.parts.len()).for_each(|index| all.insert(index));
        all
    }

    /// The partition of a key.
    #[inline]
    pub fn index_of(&self, key: &[u8]) -> usize {
        KeyHash::partition(self.hash.of(key), self.parts.len())
    }

    /// Locks partitions, in order. A caller must not hold any already.
    pub fn hold(&self, indices: Indices) -> Held<'_> {
        Held {
            of: self,
            guards: indices
                .iter()
                .map(|index| (index, self.parts[index].lock()))
                .collect(),
        }
    }

    /// Sets `watch` when `key` is touched from now on.
    pub fn watch(&self, scene: Scene, key: &[u8], watch: &Arc<Watch>, log: &mut Changes) {
        let hash = self.hash.of(key);
        self.part_of(hash)
            .watch(scene.db, hash, key, scene.now_ms, watch, log);
    }

    /// Takes `watch` off `key`.
    pub fn unwatch(&self, db: usize, key: &[u8], watch: &Arc<Watch>) {
        let hash = self.hash.of(key);
        self.part_of(hash).unwatch(db, hash, key, watch);
    }

    /// Takes a waiter that has been claimed out of the queues it is still in.
    pub fn forget_waiter(&self, waiter: &Arc<Waiter>) {
        for key in &waiter.keys {
            let hash = self.hash.of(key);
            self.part_of(hash).forget_waiter(hash, key, waiter);
        }
    }

    /// Removes at most `keys_max` keys of one partition that are due; returns how many. The caller goes round the
    /// partitions, a few times a second, and again at once where it got `keys_max`.
    pub fn expire_due(
        &self,
        index: usize,
        now_ms: u64,
        keys_max: usize,
        log: &mut Changes,
    ) -> usize {
        let mut part = self.parts[index].lock();
        let removed = part.expire_due(now_ms, keys_max, log);
        serve_ready(Space::one(&mut part), now_ms, log);
        removed
    }

    /// Applies an effect read from a journal. False: it doesn't fit what is there.
    pub fn apply(&self, effect: Effect<'_>) -> bool {
        let hash = self.hash.of(effect.key);
        if !matches!(effect.what, What::Flush) {
            return self.part_of(hash).apply(hash, effect);
        }
        let db = effect.db;
        self.parts.iter().all(|part| {
            part.lock().apply(
                hash,
                Effect {
                    db,
                    key: b"",
                    what: What::Flush,
                },
            )
        })
    }

    /// How full each database is.
    pub fn fill(&self, now_ms: u64) -> Vec<Fill> {
        let mut fills = vec![Fill::default(); self.databases];
        for part in &self.parts {
            let part = part.lock();
            fills
                .iter_mut()
                .enumerate()
                .for_each(|(db, fill)| *fill += part.fill(db, now_ms));
        }
        fills
    }

    /// What was counted.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        self.parts
            .iter()
            .for_each(|part| stats += part.lock().stats());
        stats
    }

    /// Counts anew.
    pub fn reset_stats(&self) {
        self.parts.iter().for_each(|part| part.lock().reset_stats());
    }

    /// Bytes of memory that keys and values take, about.
    pub fn used_bytes(&self) -> usize {
        self.parts.iter().map(|part| part.lock().used_bytes()).sum()
    }

    fn part_of(&self, hash: u64) -> MutexGuard<'_, Partition> {
        self.parts[KeyHash::partition(hash, self.parts.len())].lock()
    }
}

impl Held<'_> {
    /// Runs one command of several that must not be interrupted. Blocked commands are answered by
    /// [`Held::serve_ready`], after the last.
    pub fn execute(
        &mut self,
        command: &Command<Run>,
        args: Args<'_>,
        scene: Scene,
        log: &mut Changes,
        reply: &mut Reply<'_>,
    ) -> Result<Outcome, Error> {
        run(command, args, scene, Space::some(self), log, reply)
    }

    /// Answers the blocked commands that were woken.
    pub fn serve_ready(&mut self, now_ms: u64, log: &mut Changes) {
        serve_ready(Space::some(self), now_ms, log);
    }

    fn place_of(&self, index: usize) -> usize {
        // If all are held, each stands at its own index.
        let place = match self.guards.get(index) {
            Some(&(held, _)) if held == index => Ok(index),
            _ => self.guards.binary_search_by_key(&index, |&(held, _)| held),
        };
        place.expect("a command uses only the keys its row names")
    }

    /// Removes `key` if it has expired, as EXEC does with watched keys before it asks whether the watch is broken.
    pub fn expire_if_due(&mut self, db: usize, key: &[u8], now_ms: u64, log: &mut Changes) {
        let hash = self.of.hash.of(key);
        self.partition(KeyHash::partition(hash, self.of.count()))
            .slot(db, hash, key, now_ms, log);
    }
}

impl Locked for Held<'_> {
    fn count(&self) -> usize {
        self.of.count()
    }

    fn hash(&self) -> &KeyHash {
        &self.of.hash
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
    pub fn insert(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: Indices) {
        self.0
            .iter_mut()
            .zip(other.0)
            .for_each(|(word, other)| *word |= other);
    }

    /// The indices, rising.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().flat_map(|(word, bits)| {
            std::iter::successors(Some(bits), |bits| Some(bits & bits.wrapping_sub(1)))
                .take_while(|&bits| bits != 0)
                .map(move |bits| 64 * word + bits.trailing_zeros() as usize)
        })
    }
}

/// The keys among a request's arguments, in order.
#[inline]
pub fn keys_of<'a>(spec: &Spec, args: Args<'a>) -> impl ExactSizeIterator<Item = &'a [u8]> {
    let positions = spec.keys.positions(args.len(), |index| args.get(index));
    positions.map(move |index| args.get(index).unwrap_or_default())
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
    let run = command
        .run
        .expect("a container is resolved to its subcommand before it is run");
    let Scene { db, now_ms, caller } = scene;
    run(
        &mut Ctx {
            space,
            db,
            now_ms,
            log,
            caller,
        },
        args,
        reply,
    )
}
