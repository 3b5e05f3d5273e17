//! Blocked commands: who waits for a key, and how a write answers them.
//!
//! 1. A command that finds nothing and may block returns [`Outcome::Wait`](crate::Outcome::Wait) with a [`Waiter`],
//!    which it has put into the queue of each of its keys; it still holds the keys' locks, so no write slips between.
//! 2. A write touches a key somebody waits for: the key is noted as ready.
//! 3. When the writer's command is done (after EXEC: the whole transaction), with its locks still held, it serves each
//!    ready key's waiters in the order they came. A waiter that can be answered is claimed, answered and dropped; the
//!    reply goes to the writer's [`Changes`](crate::Changes), and the server posts it to the waiter's shard.
//! 4. A timeout, CLIENT UNBLOCK and a disconnect claim the waiter, too. Whoever claims it, and nobody else, answers;
//!    the others leave it alone. The owner then takes it out of the queues it is still in.
//!
//! Readers that would be answered alike share one encoded reply ([`Blocked::sharing`]): one entry wakes a thousand
//! readers with one encoding.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hashbrown::HashTable;
use sterna_protocol::{Proto, Reply};

use crate::changes::Changes;
use crate::context::Ctx;
use crate::error::Error;
use crate::space::Space;

/// The part of a blocked command that looks again.
pub trait Blocked: Send + Sync + fmt::Debug {
    /// Whether the command can be answered from `key` now; changes nothing.
    fn is_ready(&self, ctx: &mut Ctx<'_>, key: &[u8]) -> bool;

    /// Answers it from `key`, for which `is_ready` just held.
    fn serve(&self, ctx: &mut Ctx<'_>, key: &[u8], reply: &mut Reply<'_>) -> Result<(), Error>;

    /// Waiters for one key and of one protocol whose values are equal get equal replies, and serving them changes
    /// nothing; `None`: each must be served for itself.
    fn sharing(&self) -> Option<[u64; 3]>;

    /// When `key` may have become ready though nobody wrote to it, Unix time in milliseconds, above the present; `None`:
    /// only a write makes it ready.
    fn recheck_ms(&self, _ctx: &mut Ctx<'_>, _key: &[u8]) -> Option<u64> {
        None
    }
}

/// A blocked command: shared by the queues of its keys and the shard that owns its client.
#[derive(Debug)]
pub struct Waiter {
    /// Whose it is.
    pub caller: Caller,
    /// The database its keys are in.
    pub db: usize,
    /// Its keys; without repetitions.
    pub keys: Box<[Box<[u8]>]>,
    /// Unix time in milliseconds when it gives up; `None`: never.
    pub deadline_ms: Option<u64>,
    /// What looks again.
    pub blocked: Box<dyn Blocked>,
    claimed: AtomicBool,
    /// See [`Waiter::recheck_ms`]; the largest number is never.
    recheck_ms: AtomicU64,
}

/// Who runs a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The client's ID, unique while the server lives.
    pub client: u64,
    /// The shard that owns its connection.
    pub shard: usize,
    /// What it speaks.
    pub proto: Proto,
    /// Whether it can wait: not between MULTI and EXEC.
    pub may_block: bool,
    /// Whether what it reads counts as used: CLIENT NO-TOUCH turns it off.
    pub touches: bool,
}

/// A blocked command with its reply.
#[derive(Debug)]
pub struct Served {
    /// Which; it has been claimed for this reply.
    pub waiter: Arc<Waiter>,
    /// What its client gets.
    pub reply: Arc<[u8]>,
}

impl Waiter {
    /// A command that waits for `keys`.
    pub fn new(
        caller: Caller,
        db: usize,
        keys: Box<[Box<[u8]>]>,
        deadline_ms: Option<u64>,
        blocked: Box<dyn Blocked>,
    ) -> Waiter {
        Waiter {
            caller,
            db,
            keys,
            deadline_ms,
            blocked,
            claimed: AtomicBool::new(false),
            recheck_ms: AtomicU64::new(u64::MAX),
        }
    }

    /// Takes the right to answer. False: somebody else has it.
    pub fn claim(&self) -> bool {
        // AcqRel: whoever loses sees everything the winner did before it claimed.
        !self.claimed.swap(true, Ordering::AcqRel)
    }

    /// When to call [`recheck`] for it, Unix time in milliseconds; `None`: a write will wake it, or nothing.
    pub fn recheck_ms(&self) -> Option<u64> {
        // Relaxed: it is set under the locks of the keys by the shard that reads it.
        Some(self.recheck_ms.load(Ordering::Relaxed)).filter(|&at_ms| at_ms != u64::MAX)
    }

    /// Finds out when to look again.
    pub(crate) fn plan(&self, ctx: &mut Ctx<'_>) {
        let next = self.keys.iter().filter_map(|key| self.blocked.recheck_ms(ctx, key)).min();
        self.recheck_ms.store(next.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether somebody has taken the right to answer.
    pub fn is_claimed(&self) -> bool {
        self.claimed.load(Ordering::Acquire)
    }
}

/// Serves the waiters of every key that was touched: called when the writer's command or transaction is done, under its
/// locks.
///
/// Cost: nothing if no key is ready; else O(waiters of those keys).
#[inline]
pub fn serve_ready(space: Space<'_>, now_ms: u64, log: &mut Changes) {
    if log.has_ready() {
        serve_each(space, now_ms, log);
    }
}

/// Serves `waiter`, and whoever waits before it for the same keys, from what time alone has made ready; then
/// [`Waiter::recheck_ms`] is the next time. Called when that time has come, with its keys locked.
pub fn recheck(mut space: Space<'_>, now_ms: u64, log: &mut Changes, waiter: &Waiter) {
    for key in &waiter.keys {
        log.ready(waiter.db, key);
    }
    serve_each(space.reborrow(), now_ms, log);
    if !waiter.is_claimed() {
        let space = space.reborrow();
        waiter.plan(&mut Ctx { space, db: waiter.db, now_ms, log, caller: waiter.caller });
    }
}

#[cold]
fn serve_each(mut space: Space<'_>, now_ms: u64, log: &mut Changes) {
    let mut nth = 0;
    while let Some((db, key)) = log.ready_at(nth) {
        serve_key(&mut space, db, &key, now_ms, log);
        nth += 1;
    }
    log.clear_ready();
}

fn serve_key(space: &mut Space<'_>, db: usize, key: &[u8], now_ms: u64, log: &mut Changes) {
    let (partition, hash) = space.of(key);
    let queue = partition.waiters.take(db, hash, key);
    let mut left = VecDeque::new();
    let mut shared: Option<(Proto, [u64; 3], Arc<[u8]>)> = None;
    for waiter in queue {
        if waiter.is_claimed() {
            continue;
        }
        let mut ctx = Ctx { space: space.reborrow(), db, now_ms, log, caller: waiter.caller };
        if !waiter.blocked.is_ready(&mut ctx, key) {
            left.push_back(waiter);
            continue;
        }
        if !waiter.claim() {
            continue;
        }
        let (proto, sharing) = (waiter.caller.proto, waiter.blocked.sharing());
        let reply = match (&shared, sharing) {
            (Some((of, with, reply)), Some(sharing)) if *of == proto && *with == sharing => reply.clone(),
            _ => encode(&waiter, &mut ctx, key),
        };
        shared = sharing.map(|sharing| (proto, sharing, reply.clone()));
        log.push_served(Served { waiter, reply });
    }
    let (partition, hash) = space.of(key);
    partition.waiters.put_back(db, hash, key, left);
}

fn encode(waiter: &Waiter, ctx: &mut Ctx<'_>, key: &[u8]) -> Arc<[u8]> {
    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, waiter.caller.proto);
    if let Err(error) = waiter.blocked.serve(ctx, key, &mut reply) {
        reply.error(&error.text());
    }
    out.into()
}

/// The queues of one partition. No queue is empty, and in none are more than half of the waiters gone.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    queues: HashTable<Queue>,
}

#[derive(Debug)]
struct Queue {
    hash: u64,
    db: usize,
    key: Box<[u8]>,
    waiting: VecDeque<Arc<Waiter>>,
    /// How many of them have left and are still in their places.
    gone: usize,
}

impl Waiters {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    pub(crate) fn contains(&self, db: usize, hash: u64, key: &[u8]) -> bool {
        self.queues.find(hash, |queue| queue.db == db && *queue.key == *key).is_some()
    }

    pub(crate) fn push(&mut self, hash: u64, key: &[u8], waiter: Arc<Waiter>) {
        let db = waiter.db;
        match self.queues.find_mut(hash, |queue| queue.db == db && *queue.key == *key) {
            Some(queue) => queue.waiting.push_back(waiter),
            None => {
                let queue = Queue { hash, db, key: key.into(), waiting: VecDeque::from([waiter]), gone: 0 };
                self.queues.insert_unique(hash, queue, |queue| queue.hash);
            }
        }
    }

    /// Takes the whole queue of a key, to be served and put back.
    pub(crate) fn take(&mut self, db: usize, hash: u64, key: &[u8]) -> VecDeque<Arc<Waiter>> {
        match self.queues.find_entry(hash, |queue| queue.db == db && *queue.key == *key) {
            Ok(entry) => entry.remove().0.waiting,
            Err(_) => VecDeque::new(),
        }
    }

    /// Puts back what is left of a queue that was taken.
    pub(crate) fn put_back(&mut self, db: usize, hash: u64, key: &[u8], waiting: VecDeque<Arc<Waiter>>) {
        if !waiting.is_empty() {
            let queue = Queue { hash, db, key: key.into(), waiting, gone: 0 };
            self.queues.insert_unique(hash, queue, |queue| queue.hash);
        }
    }

    /// Takes out a waiter that has been claimed. Thousands may leave in one moment, so they go from the middle of the queue
    /// together, when they are more than half of it. Cost: amortised O(1).
    pub(crate) fn remove(&mut self, hash: u64, key: &[u8], waiter: &Arc<Waiter>) {
        let found = self.queues.find_entry(hash, |queue| queue.db == waiter.db && *queue.key == *key);
        if let Ok(mut entry) = found {
            let queue = entry.get_mut();
            if queue.waiting.front().is_some_and(|first| Arc::ptr_eq(first, waiter)) {
                queue.waiting.pop_front();
            } else {
                queue.gone += 1;
            }
            if queue.gone > queue.waiting.len() / 2 {
                queue.waiting.retain(|other| !other.is_claimed());
                queue.gone = 0;
            }
            if entry.get().waiting.is_empty() {
                entry.remove();
            }
        }
    }

    /// Every key of a database that somebody waits for.
    pub(crate) fn keys(&self, db: usize) -> impl Iterator<Item = &[u8]> {
        self.queues.iter().filter(move |queue| queue.db == db).map(|queue| &*queue.key)
    }
}
