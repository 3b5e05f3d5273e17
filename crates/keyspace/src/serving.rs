//! Answering those who wait for a key that a write has made ready.
//!
//! ```text
//!   serve_ready ─► all answered
//!        └───────► so many that it takes long: Unserved ─► go_on ─► go_on ─► … ─► all answered
//! ```
//!
//! What one write serves at once is bounded. What is left is an [`Unserved`], which is served in slices: until its end nobody but
//! those it serves may see or touch its keys, nor what its waiters write to, so that all of it is one moment to everybody else.
//! It is the server's part to see to that. The queue of the key that is being served is in it, in place of the partition; who
//! comes to wait for that key stands behind them.

use std::sync::Arc;

use sterna_protocol::{Proto, Reply};

use crate::apart::{APART_MIN, Apart};
use crate::changes::Changes;
use crate::context::Ctx;
use crate::ready::Ready;
use crate::space::Space;
use crate::wait::{Answer, Kinds, Presence, Queue, Served, Waiter};

/// Work of one slice, in such of [`TOLD_WORK`]: a millisecond, and 3 where each claims an entry of a consumer group.
const SLICE_WORK: usize = 1024;

/// Work of giving a waiter a reply that is there, a third of a microsecond.
const TOLD_WORK: usize = 1;

/// Work of asking a waiter, and of answering it by itself; what it takes or reads comes to that.
const ASKED_WORK: usize = 4;

/// Keys whose queues a waiter that is answered leaves in the time of [`TOLD_WORK`], which its shard sees to: it may wait for thousands.
const KEYS_LEFT: usize = 8;

/// Bytes that most answers fit in: the name of a key and a short element.
const SHORT_REPLY: usize = 128;

/// Whom a slice serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhoIsServed {
    /// Everybody who waits.
    All,
    /// Those who only read: this node does not lead the keys any more.
    Readers,
}

/// What is left of serving those whom a write has woken. See the module.
#[derive(Debug)]
pub struct Unserved {
    ready: Ready,
    /// The key whose waiters are being served.
    serving: Option<Serving>,
    /// The time of the write, which all of them see.
    now_ms: u64,
}

/// The waiters of one key, some of which have been asked.
#[derive(Debug)]
struct Serving {
    db: usize,
    key: Box<[u8]>,
    queue: Queue,
    /// Those that can't be answered, in their order.
    passed: Vec<Arc<Waiter>>,
    /// Of which kinds there is nothing more.
    missing: Kinds,
    /// The last reply, and who can share it.
    shared: Option<(Proto, [u64; 3], Arc<[u8]>)>,
}

/// What a slice may yet do.
struct Budget {
    left: usize,
    whom: WhoIsServed,
}

/// Serves the waiters of every key that was touched: called when the writer's command or transaction is done, under its
/// locks. What it returns is still to be served, and before anybody else uses these keys.
///
/// Cost: nothing if no key is ready; else O(waiters of those keys), of which a slice is done here.
#[inline]
#[must_use]
pub fn serve_ready(space: Space<'_>, now_ms: u64, log: &mut Changes) -> Option<Box<Unserved>> {
    if log.has_ready() { serve_each(space, now_ms, log) } else { None }
}

/// As [`serve_ready`], where nobody is served yet.
#[must_use]
pub fn leave_ready(now_ms: u64, log: &mut Changes) -> Option<Box<Unserved>> {
    let ready = log.replace_ready(Ready::default());
    (!ready.is_empty()).then(|| Box::new(Unserved { ready, serving: None, now_ms }))
}

/// Serves `waiter`, and whoever waits before it for the same keys, from what time alone has made ready; then
/// [`Waiter::recheck_ms`] is the next time. Called when that time has come, with its keys locked. As [`serve_ready`].
#[must_use]
pub fn recheck(
    mut space: Space<'_>,
    now_ms: u64,
    log: &mut Changes,
    waiter: &Waiter,
) -> Option<Box<Unserved>> {
    for key in &waiter.keys {
        log.ready(waiter.db, key);
    }
    let unserved = serve_each(space.reborrow(), now_ms, log);
    if !waiter.is_claimed() {
        let space = space.reborrow();
        waiter.plan(&mut Ctx { space, db: waiter.db, now_ms, log, caller: waiter.caller });
    }
    unserved
}

#[cold]
fn serve_each(space: Space<'_>, now_ms: u64, log: &mut Changes) -> Option<Box<Unserved>> {
    let mut unserved = Unserved { ready: log.replace_ready(Ready::default()), serving: None, now_ms };
    unserved.go_on(space, log, WhoIsServed::All).then(|| Box::new(unserved))
}

impl Unserved {
    /// Serves some more. True: there are others still. All that was locked for the write is locked.
    pub fn go_on(&mut self, mut space: Space<'_>, log: &mut Changes, whom: WhoIsServed) -> bool {
        // Who is served may have to know what else is ready, and what it writes to may be.
        let others = log.replace_ready(std::mem::take(&mut self.ready));
        let mut budget = Budget { left: SLICE_WORK, whom };
        let is_left = self.serve(&mut space, log, &mut budget);
        self.ready = log.replace_ready(others);
        is_left
    }

    fn serve(&mut self, space: &mut Space<'_>, log: &mut Changes, budget: &mut Budget) -> bool {
        loop {
            let mut serving = match self.serving.take() {
                Some(serving) => serving,
                None => {
                    let Some((db, key)) = log.next_ready() else { return false };
                    let Some(serving) = Serving::begin(space, db, key) else { continue };
                    serving
                }
            };
            if serving.go_on(space, self.now_ms, log, budget) {
                self.serving = Some(serving);
                return true;
            }
            serving.end(space);
            if budget.left == 0 && log.has_next_ready() {
                return true;
            }
        }
    }

    /// The keys whose waiters are still to be served.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.serving.iter().map(|serving| &*serving.key).chain(self.ready.left())
    }

    /// Whether one of those who are being served writes elsewhere, too.
    pub fn has_links(&self) -> bool {
        self.serving.as_ref().is_some_and(|serving| serving.queue.has_links())
    }
}

impl Serving {
    fn begin(space: &mut Space<'_>, db: usize, key: Box<[u8]>) -> Option<Serving> {
        let (partition, hash) = space.of(&key);
        let queue = partition.waiters.take(db, hash, &key)?;
        Some(Serving { db, key, queue, passed: Vec::new(), missing: Kinds::default(), shared: None })
    }

    /// Serves as many as the budget allows. True: it is used up, and there are more.
    fn go_on(&mut self, space: &mut Space<'_>, now_ms: u64, log: &mut Changes, budget: &mut Budget) -> bool {
        let Serving { db, key, queue, passed, missing, shared } = self;
        let presence = space.of(key).0.presence.clone();
        let mut out = Vec::with_capacity(SHORT_REPLY);
        while queue.has_beside(*missing) {
            if budget.left == 0 {
                return true;
            }
            let Some(waiter) = queue.pop() else { break };
            budget.left = budget.left.saturating_sub(TOLD_WORK + waiter.keys.len() / KEYS_LEFT);
            if waiter.is_claimed() {
                continue;
            }
            let kind = Kinds::index_of(waiter.blocked.awaits());
            if missing.has(kind) || budget.whom == WhoIsServed::Readers && waiter.blocked.writes() {
                passed.push(waiter);
                continue;
            }
            let sharing = waiter.blocked.sharing().map(|sharing| (waiter.caller.proto, sharing));
            if let (Some((proto, with, reply)), Some(sharing)) = (&*shared, sharing)
                && (*proto, *with) == sharing
            {
                // It is as ready as the last one, and nothing has changed.
                if waiter.claim() {
                    log.push_served(Served { answer: Answer::Reply(reply.clone()), waiter, touched: 0..0 });
                }
                continue;
            }
            budget.left = budget.left.saturating_sub(ASKED_WORK - TOLD_WORK);
            let mut ctx = Ctx { space: space.reborrow(), db: *db, now_ms, log, caller: waiter.caller };
            if !waiter.blocked.is_ready(&mut ctx, key) {
                if kind != Kinds::ASKED {
                    missing.add(kind);
                }
                passed.push(waiter);
                continue;
            }
            let work = waiter.blocked.work(&mut ctx, key);
            let mut has_left = |presence: &Arc<dyn Presence>| {
                let mut next = queue.waiting().map(|waiter| &waiter.caller);
                presence.has_left(&waiter.caller, ctx.log.look_mut(), &mut next)
            };
            let is_lost = waiter.blocked.writes() && presence.as_ref().is_some_and(&mut has_left);
            // Its shard ends the wait of one that has left, which stands in no queue of this key any more.
            if is_lost || !waiter.claim() {
                continue;
            }
            if work >= APART_MIN {
                let writes = waiter.blocked.writes();
                let apart = Apart::of_waiter(&mut ctx.space, &waiter, key, now_ms, ctx.log);
                log.push_served(Served { waiter, answer: Answer::Apart(Box::new(apart)), touched: 0..0 });
                if writes {
                    // Who came later gets what it leaves.
                    break;
                }
                continue;
            }
            budget.left = budget.left.saturating_sub(work);
            let touched = ctx.log.touched().len();
            let reply = encode(&waiter, &mut ctx, key, &mut out);
            let touched = touched..log.touched().len();
            *shared = sharing.map(|(proto, sharing)| (proto, sharing, reply.clone()));
            log.push_served(Served { waiter, answer: Answer::Reply(reply), touched });
        }
        false
    }

    /// Nobody of them can be answered any more: those who are left wait on.
    fn end(self, space: &mut Space<'_>) {
        let Serving { key, mut queue, passed, .. } = self;
        passed.into_iter().rev().for_each(|waiter| queue.put_first(waiter));
        space.of(&key).0.waiters.put_back(queue);
    }
}

/// What a waiter is answered; `out` is room to write it in.
fn encode(waiter: &Waiter, ctx: &mut Ctx<'_>, key: &[u8], out: &mut Vec<u8>) -> Arc<[u8]> {
    out.clear();
    let mut reply = Reply::new(out, waiter.caller.proto);
    if let Err(error) = waiter.blocked.serve(ctx, key, &mut reply) {
        reply.error(&error.text());
    }
    Arc::from(&out[..])
}
