//! Blocked commands: who waits for a key, and how a write answers them.
//!
//! 1. A command that finds nothing and may block returns [`Outcome::Wait`](crate::Outcome::Wait) with a [`Waiter`],
//!    which it has put into the queue of each of its keys; it still holds the keys' locks, so no write slips between.
//! 2. A write touches a key somebody waits for: the key is noted as ready.
//! 3. When the writer's command is done (after EXEC: the whole transaction), with its locks still held, it serves each
//!    ready key's waiters in the order they came. A waiter that can be answered is claimed, answered and dropped; the
//!    reply goes to the writer's [`Changes`](crate::Changes), and the server posts it to the waiter's shard. One whose client
//!    has ended its connection ([`Presence`]) is dropped without an answer where that would take something from others.
//!    Where these are very many, it serves some, and the rest is served in slices: see `serving.rs`.
//! 4. A timeout, CLIENT UNBLOCK and a disconnect claim the waiter, too. Whoever claims it, and nobody else, answers;
//!    the others leave it alone. The owner then takes it out of the queues it is still in.
//!
//! Readers that would be answered alike share one encoded reply ([`Blocked::sharing`]): one entry wakes a thousand
//! readers with one encoding. What would take long to answer is not answered under the locks: the waiter gets copies of its keys
//! ([`Answer::Apart`]), and is run apart like a command that had found as much when it came. Those who wait for elements are served while there are some ([`Blocked::awaits`]): one
//! element costs the same whether one client waits for it or ten thousand do.
//!
//! A command that writes elsewhere when it is served (BLMOVE) *links* two keys ([`Blocked::target`]). Whoever locks
//! partitions to write follows the links from the keys it writes to, and locks what they lead to as well, before it begins:
//! see [`Partition::targets`](crate::Partition::targets).

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hashbrown::HashTable;
use sterna_protocol::{Proto, Reply};

use crate::apart::Apart;
use crate::context::Ctx;
use crate::effect::{COLLECTIONS_FIRST, COLLECTIONS_LAST};
use crate::error::Error;
use crate::groups::KeyGroup;

/// The part of a blocked command that looks again.
pub trait Blocked: Send + Sync + fmt::Debug {
    /// Whether the command can be answered from `key` now; changes nothing.
    fn is_ready(&self, ctx: &mut Ctx<'_>, key: &[u8]) -> bool;

    /// Answers it from `key`, for which `is_ready` just held.
    fn serve(&self, ctx: &mut Ctx<'_>, key: &[u8], reply: &mut Reply<'_>) -> Result<(), Error>;

    /// Waiters for one key and of one protocol whose values are equal get equal replies, and serving them changes
    /// nothing; `None`: each must be served for itself.
    fn sharing(&self) -> Option<[u64; 3]>;

    /// The number of the type that a key must hold for the command to be served from it, if that alone decides; `None`: it
    /// must be asked each time.
    fn awaits(&self) -> Option<u8> {
        None
    }

    /// How much work it is to serve it from `key`, for which `is_ready` just held, in elements; exact only below what is run
    /// apart.
    fn work(&self, _ctx: &mut Ctx<'_>, _key: &[u8]) -> usize {
        0
    }

    /// Whether it changes what it is served from.
    fn writes(&self) -> bool {
        true
    }

    /// The key that it writes to when it is served, beside those it waits for.
    fn target(&self) -> Option<&[u8]> {
        None
    }

    /// When `key` may have become ready though nobody wrote to it, Unix time in milliseconds, above the present; `None`:
    /// only a write makes it ready.
    fn recheck_ms(&self, _ctx: &mut Ctx<'_>, _key: &[u8]) -> Option<u64> {
        None
    }
}

/// Who knows whether clients are still there.
pub trait Presence: Send + Sync + fmt::Debug {
    /// Whether the client has ended its connection, be it that its shard has yet to see that. Called with partitions locked.
    ///
    /// Of those who are in line behind it, `next`, as many as `look` says are asked about with it, and how many that is the next
    /// time is said there.
    fn has_left(&self, caller: &Caller, look: &mut Look, next: &mut dyn Iterator<Item = &Caller>) -> bool;
}

/// A look at who is there, for all that a shard executes of what it has read at once: who was there behind that reading was there
/// when those requests were sent. So nobody need be asked about twice, and those of whom many are served are asked about together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look {
    /// No other has this number. 0: each is asked about each time, and alone.
    pub number: u64,
    /// Of so many of those in line it is asked as well: the more have been served, the more will be.
    pub ahead: usize,
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
    /// Whether others may be served while it goes on: not within a script.
    pub may_yield: bool,
    /// Whether what it reads counts as used: CLIENT NO-TOUCH turns it off.
    pub touches: bool,
    /// The keys that a command which changes all of them is about.
    pub group: KeyGroup,
}

/// A blocked command with its reply.
#[derive(Debug)]
pub struct Served {
    /// Which; it has been claimed for this reply.
    pub waiter: Arc<Waiter>,
    /// What its client gets.
    pub answer: Answer,
    /// Which of the touched keys it has touched itself.
    pub touched: Range<usize>,
}

/// What a blocked command is answered.
#[derive(Debug)]
pub enum Answer {
    /// This.
    Reply(Arc<[u8]>),
    /// What it answers when it has been run: it is long.
    Apart(Box<Apart>),
}

impl Answer {
    /// The reply, if it is known.
    pub fn reply(&self) -> Option<&[u8]> {
        match self {
            Answer::Reply(reply) => Some(reply),
            Answer::Apart(_) => None,
        }
    }
}

impl Waiter {
    /// Whether the command changes what it is served from.
    pub fn writes(&self) -> bool {
        self.blocked.writes()
    }

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

    /// What its places in the queues of its keys take beside the keys' own bytes, as if nobody else waited there.
    pub fn queued_bytes(&self) -> usize {
        self.keys.len() * PLACE_BYTES
    }

    /// Takes the right to answer. False: somebody else has it.
    pub fn claim(&self) -> bool {
        // AcqRel: whoever loses sees everything the winner did before it claimed.
        !self.claimed.swap(true, Ordering::AcqRel)
    }

    /// When to call [`recheck`](crate::recheck) for it, Unix time in milliseconds; `None`: a write will wake it, or nothing.
    pub fn recheck_ms(&self) -> Option<u64> {
        // Relaxed: it is set under the locks of the keys by the shard that reads it.
        Some(self.recheck_ms.load(Ordering::Relaxed)).filter(|&at_ms| at_ms != u64::MAX)
    }

    /// Finds out when to check again.
    pub(crate) fn plan(&self, ctx: &mut Ctx<'_>) {
        let next = self.keys.iter().filter_map(|key| self.blocked.recheck_ms(ctx, key)).min();
        self.recheck_ms.store(next.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether somebody has taken the right to answer.
    pub fn is_claimed(&self) -> bool {
        self.claimed.load(Ordering::Acquire)
    }
}

/// The queues of one partition. No queue is empty, and in none are more than half of the waiters gone.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    queues: HashTable<Queue>,
    /// How many of the waiters in them write elsewhere, too.
    linking: usize,
}

#[derive(Debug)]
pub(crate) struct Queue {
    hash: u64,
    db: usize,
    key: Box<[u8]>,
    waiting: VecDeque<Arc<Waiter>>,
    /// How many of them have left and are still in their places, or a few more.
    gone: usize,
    /// How many of them await what.
    kinds: Kinds,
    /// How many of them write elsewhere, too.
    linking: usize,
}

/// A queue in its table, of which a part is free, with room for its first four waiters; and the key in the waiter.
const PLACE_BYTES: usize = size_of::<Queue>() * 2 + 4 * size_of::<Arc<Waiter>>() + size_of::<Box<[u8]>>();

/// A number for each type that can be awaited, and one for those who must be asked.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Kinds([usize; Kinds::COUNT]);

impl Kinds {
    pub(crate) const ASKED: usize = 0;
    const COUNT: usize = 2 + (COLLECTIONS_LAST - COLLECTIONS_FIRST) as usize;

    pub(crate) fn index_of(awaits: Option<u8>) -> usize {
        awaits.map_or(Kinds::ASKED, |tag| 1 + usize::from(tag - COLLECTIONS_FIRST))
    }

    pub(crate) fn add(&mut self, kind: usize) {
        self.0[kind] += 1;
    }

    pub(crate) fn has(&self, kind: usize) -> bool {
        self.0[kind] > 0
    }

    /// Whether there is one of a kind of which `others` has none.
    pub(crate) fn any_beside(&self, others: Kinds) -> bool {
        self.0.iter().zip(others.0).any(|(&count, other)| count > 0 && other == 0)
    }
}

impl Queue {
    fn of(hash: u64, db: usize, key: &[u8]) -> Queue {
        Queue {
            hash,
            db,
            key: key.into(),
            waiting: VecDeque::new(),
            gone: 0,
            kinds: Kinds::default(),
            linking: 0,
        }
    }

    fn count(&mut self, waiter: &Waiter) {
        self.kinds.add(Kinds::index_of(waiter.blocked.awaits()));
        self.linking += usize::from(waiter.blocked.target().is_some());
    }

    fn uncount(&mut self, waiter: &Waiter) {
        self.kinds.0[Kinds::index_of(waiter.blocked.awaits())] -= 1;
        self.linking -= usize::from(waiter.blocked.target().is_some());
    }

    fn put_last(&mut self, waiter: Arc<Waiter>) {
        self.count(&waiter);
        self.waiting.push_back(waiter);
    }

    pub(crate) fn put_first(&mut self, waiter: Arc<Waiter>) {
        self.count(&waiter);
        self.waiting.push_front(waiter);
    }

    /// Takes the first waiter.
    pub(crate) fn pop(&mut self) -> Option<Arc<Waiter>> {
        let waiter = self.waiting.pop_front()?;
        self.uncount(&waiter);
        Some(waiter)
    }

    /// Whether one of them is of a kind of which `missing` has none.
    pub(crate) fn has_beside(&self, missing: Kinds) -> bool {
        self.kinds.any_beside(missing)
    }

    /// Those who wait, in their order; some may have left.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Waiter> {
        self.waiting.iter().map(|waiter| &**waiter)
    }

    /// Whether any of them writes elsewhere, too.
    pub(crate) fn has_links(&self) -> bool {
        self.linking > 0
    }

    /// Lets those go that have left.
    pub(crate) fn sweep(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        (self.kinds, self.linking, self.gone) = (Kinds::default(), 0, 0);
        waiting.into_iter().filter(|waiter| !waiter.is_claimed()).for_each(|waiter| self.put_last(waiter));
    }
}

impl Waiters {
    /// How many keys are waited for, and for how many of them by a consumer of a group, who is told, too, when the key goes.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let is_told = |waiter: &Arc<Waiter>| waiter.blocked.awaits().is_none() && waiter.writes();
        let has_told = |queue: &&Queue| queue.kinds.0[Kinds::ASKED] > 0 && queue.waiting.iter().any(is_told);
        (self.queues.len(), self.queues.iter().filter(has_told).count())
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Whether any waiter writes elsewhere, too.
    #[inline]
    pub(crate) fn has_links(&self) -> bool {
        self.linking > 0
    }

    /// Shows the keys that waiters for `key` write to when they are served, in whichever database, to `visit`.
    pub(crate) fn targets(&self, hash: u64, key: &[u8], visit: &mut dyn FnMut(&[u8])) {
        let queues = self.queues.iter_hash(hash).filter(|queue| queue.linking > 0 && *queue.key == *key);
        for queue in queues {
            let waiting = queue.waiting.iter().filter(|waiter| !waiter.is_claimed());
            waiting.filter_map(|waiter| waiter.blocked.target()).for_each(&mut *visit);
        }
    }

    pub(crate) fn contains(&self, db: usize, hash: u64, key: &[u8]) -> bool {
        self.queues.find(hash, |queue| queue.db == db && *queue.key == *key).is_some()
    }

    pub(crate) fn push(&mut self, hash: u64, key: &[u8], waiter: Arc<Waiter>) {
        let db = waiter.db;
        self.linking += usize::from(waiter.blocked.target().is_some());
        match self.queues.find_mut(hash, |queue| queue.db == db && *queue.key == *key) {
            Some(queue) => queue.put_last(waiter),
            None => {
                let mut queue = Queue::of(hash, db, key);
                queue.put_last(waiter);
                self.queues.insert_unique(hash, queue, |queue| queue.hash);
            }
        }
    }

    /// Takes the whole queue of a key, to be served and put back.
    pub(crate) fn take(&mut self, db: usize, hash: u64, key: &[u8]) -> Option<Queue> {
        let found = self.queues.find_entry(hash, |queue| queue.db == db && *queue.key == *key);
        let (queue, _) = found.ok()?.remove();
        self.linking -= queue.linking;
        Some(queue)
    }

    /// Puts back what is left of a queue that was taken.
    pub(crate) fn put_back(&mut self, mut queue: Queue) {
        if let Some(later) = self.take(queue.db, queue.hash, &queue.key) {
            later.waiting.into_iter().for_each(|waiter| queue.put_last(waiter));
            queue.sweep();
        }
        if queue.waiting.is_empty() {
            return;
        }
        queue.gone = queue.gone.min(queue.waiting.len() / 2);
        self.linking += queue.linking;
        self.queues.insert_unique(queue.hash, queue, |queue| queue.hash);
    }

    /// Takes out a waiter that has been claimed. Thousands may leave in one moment, so they go from the middle of the queue
    /// together, when they are more than half of it. Cost: amortised O(1).
    pub(crate) fn remove(&mut self, hash: u64, key: &[u8], waiter: &Arc<Waiter>) {
        let found = self.queues.find_entry(hash, |queue| queue.db == waiter.db && *queue.key == *key);
        if let Ok(mut entry) = found {
            let queue = entry.get_mut();
            let linking = queue.linking;
            if queue.waiting.front().is_some_and(|first| Arc::ptr_eq(first, waiter)) {
                queue.pop();
            } else {
                queue.gone += 1;
            }
            if queue.gone > queue.waiting.len() / 2 {
                queue.sweep();
            }
            self.linking -= linking - queue.linking;
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
