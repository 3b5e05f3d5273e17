//! What a shard does by the clock: ten times a second it looks after its clients and its part of the keys, and at
//! given moments it ends waits.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mio::Token;
use sterna_keyspace::Apart;

use crate::apart::Task;
use crate::connection::CloseReason;
use crate::connection::state::{ConnectionRef, State, Wait};
use crate::shard::Shard;

/// Between two looks.
const TICK: Duration = Duration::from_millis(100);

/// Connections that have answers to send, above which no more waits end in this turn: who is answered now stands behind
/// all of them.
const TIMERS_ANSWERS_MAX: usize = 64;

/// Time spent in one turn on waits that end: thousands of clients may have set the same moment.
const TIMERS_TIME_MAX: Duration = Duration::from_micros(1000);

/// Connections that CLIENT PAUSE held back and that go on in one turn: what they ask for stands before what others do.
const RELEASED_AT_ONCE: usize = 64;

/// Connections looked at in one tick; with more, a full round takes several ticks.
const CONNECTIONS_PER_TICK: usize = 2000;

/// Bytes that are copied in one tick so that queues whose sockets are full keep no more alive than they need, and of one end of
/// one queue.
const SETTLED_BYTES_PER_TICK: usize = 2 << 20;
const SETTLED_BYTES_MAX: usize = 256 << 10;

/// Keys that are expired under one lock of their partition: some 50 µs.
const EXPIRIES_PER_LOCK: usize = 100;
/// How long a shard expires keys in one go. A key that is left is gone for every reader all the same.
const EXPIRY_TIME_MAX: Duration = Duration::from_millis(1);

/// How long it then does other things if some were left. It expires for 25 % of its time with `active-expire-effort 1`, and
/// 2 % more for each step, as Redis does.
fn expiry_pause(effort: u32) -> Duration {
    let percent = 25 + 2 * (effort - 1);
    EXPIRY_TIME_MAX * (100 - percent) / percent
}

/// Deadlines of one shard.
#[derive(Debug)]
pub(crate) struct Timers {
    next_tick: Instant,
    /// Where the round over the connections stands.
    round_at: usize,
    /// Ends of waits: when, and whose.
    deadlines: BTreeSet<(Instant, ConnectionRef)>,
    /// Listeners to look at again, and whether they failed: those are left alone until then.
    accepts: Vec<(Token, bool)>,
    /// Connections that CLIENT PAUSE held back, or others, when it was ended.
    released: VecDeque<ConnectionRef>,
    expiry: ExpiryRound,
    /// When to go on removing keys because memory is short.
    eviction_due: Option<Instant>,
    /// Commands that have been run apart and can't be committed now: a script has the keys to itself, or CLIENT PAUSE holds
    /// writes back.
    #[expect(clippy::vec_box, reason = "they come in their boxes and go on in them")]
    uncommitted: Vec<Box<Task>>,
    /// Commands that are to be run apart and whose clients are gone, while somebody has the keys to himself.
    #[expect(clippy::vec_box, reason = "they come in their boxes and go on in them")]
    orphans: Vec<Box<Apart>>,
    /// When to try again; `None`: whoever ends what they wait for says so.
    commits_due: Option<Instant>,
}

/// Where a shard's round over its partitions stands, in search of keys that are due.
#[derive(Debug)]
struct ExpiryRound {
    /// The partition to go on with.
    next: usize,
    /// When to go on before the next tick; `None`: nothing was left.
    due: Option<Instant>,
}

impl Timers {
    pub(super) fn new() -> Timers {
        Timers {
            next_tick: Instant::now() + TICK,
            round_at: 0,
            deadlines: BTreeSet::new(),
            accepts: Vec::new(),
            released: VecDeque::new(),
            expiry: ExpiryRound { next: 0, due: None },
            eviction_due: None,
            uncommitted: Vec::new(),
            orphans: Vec::new(),
            commits_due: None,
        }
    }

    /// How long the shard may sleep.
    pub(super) fn until_next(&self) -> Duration {
        if !self.released.is_empty() {
            return Duration::ZERO;
        }
        let now = Instant::now();
        let next = self.deadlines.first().map_or(self.next_tick, |(at, _)| self.next_tick.min(*at));
        let next = [self.expiry.due, self.eviction_due, self.commits_due]
            .into_iter()
            .flatten()
            .fold(next, Instant::min);
        // The poll rounds down to milliseconds; a moment too late is better than a spin.
        match next.saturating_duration_since(now) {
            Duration::ZERO => Duration::ZERO,
            left => left + Duration::from_millis(1) - Duration::from_nanos(1),
        }
    }

    /// Keeps a command that can't be committed now: until then at the latest, if that is known.
    pub(super) fn commit_later(&mut self, task: Box<Task>, until: Option<Instant>) {
        self.uncommitted.push(task);
        self.commits_due = [self.commits_due, until].into_iter().flatten().min();
    }

    /// What they wait for may have ended.
    pub(super) fn hurry_commits(&mut self) {
        if !self.uncommitted.is_empty() {
            self.commits_due = Some(Instant::now());
        }
    }

    #[expect(clippy::vec_box, reason = "they come in their boxes and go on in them")]
    fn due_commits(&mut self, now: Instant) -> Vec<Box<Task>> {
        if self.commits_due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.commits_due = None;
        std::mem::take(&mut self.uncommitted)
    }

    /// Has `accept` called again with `token` at the next tick.
    pub(super) fn accept_again(&mut self, token: Token, after_failure: bool) {
        self.accepts.push((token, after_failure));
    }

    /// Whether accepting failed in this tick.
    pub(super) fn backs_off(&self, token: Token) -> bool {
        self.accepts.contains(&(token, true))
    }

    /// Notes that the connection's wait is to be looked at. Only the transitions of its state call this and `remove`.
    pub(super) fn add(&mut self, at: Instant, who: ConnectionRef) {
        self.deadlines.insert((at, who));
    }

    /// Forgets a deadline.
    pub(super) fn remove(&mut self, at: Instant, who: ConnectionRef) {
        self.deadlines.remove(&(at, who));
    }

    /// Has everybody who waits for a pause to end be let go, those first whose wait would have ended first: each has a deadline.
    pub(super) fn release(&mut self) {
        self.released = self.deadlines.iter().map(|&(_, who)| who).collect();
    }

    fn due(&mut self, now: Instant) -> Option<ConnectionRef> {
        let first = *self.deadlines.first().filter(|(at, _)| *at <= now)?;
        self.deadlines.remove(&first);
        Some(first.1)
    }
}

impl Shard {
    /// A command that was to be run apart does not happen, since its client is gone: what it would have taken is there for
    /// others.
    pub(crate) fn call_off(&mut self, apart: Box<Apart>) {
        let now_ms = self.clock.now_ms;
        if let Some(apart) = self.server.partitions.call_off(apart, now_ms, &mut self.changes) {
            self.timers.orphans.push(apart);
            self.await_keys();
        }
        self.spread_changes();
    }

    /// Tries again to commit what could not be.
    pub(super) fn commit_uncommitted(&mut self) {
        self.timers.hurry_commits();
        for task in self.timers.due_commits(Instant::now()) {
            self.end_apart(task);
        }
        std::mem::take(&mut self.timers.orphans).into_iter().for_each(|apart| self.call_off(apart));
    }

    pub(super) fn run_timers(&mut self) {
        self.release_some();
        let now = Instant::now();
        if self.timers.deadlines.first().is_some_and(|(at, ..)| *at <= now) {
            // The turn may have lasted: what is due is due by the time of now, on both clocks.
            self.clock.tick();
            while let Some(who) = self.timers.due(self.clock.instant) {
                self.time_is_up(who);
                if now.elapsed() > TIMERS_TIME_MAX || self.flusher.len() > TIMERS_ANSWERS_MAX {
                    // The rest is due at the next turn, before which the shard doesn't sleep.
                    break;
                }
            }
        }
        for task in self.timers.due_commits(now) {
            self.end_apart(task);
        }
        if now < self.timers.next_tick {
            if self.timers.expiry.due.is_some_and(|due| due <= now) {
                self.expire_keys();
            }
            if self.timers.eviction_due.is_some_and(|due| due <= now) {
                self.timers.eviction_due = self.evict_by_the_clock();
            }
            return;
        }
        self.timers.next_tick = now + TICK;
        for (token, _) in std::mem::take(&mut self.timers.accepts) {
            self.accept(token);
        }
        self.check_connections();
        self.go_on_lingering();
        self.challenges.ask_all();
        self.retry_stalled();
        self.recheck_sessions();
        self.poll_undelivered();
        let connections = &self.connections;
        self.flusher.retain_probes(|who| connections.get(who.slot).is_some_and(|other| other.me == who));
        std::mem::take(&mut self.timers.orphans).into_iter().for_each(|apart| self.call_off(apart));
        self.expire_keys();
        self.timers.eviction_due = self.evict_by_the_clock();
        if self.index == 0 {
            self.server.tick();
            if !self.server.is_cron_paused.load(Relaxed) {
                self.server.take_due_snapshot(&self.config);
            }
            let has_no_app = self.config.pusher_app.0.is_empty();
            self.server.pages.rooms.tidy(self.clock.now_ms, has_no_app);
        }
    }

    /// The time of what the connection waits for has come.
    fn time_is_up(&mut self, who: ConnectionRef) {
        let Some(waiting) = self.connection_of(who).and_then(|connection| connection.waiting_mut()) else {
            return;
        };
        waiting.timer = None;
        match waiting.wait {
            Wait::Pause | Wait::Backlog | Wait::Login | Wait::Nap | Wait::Lead => drop(self.resume(who.slot)),
            Wait::Key(_) => self.recheck_block(who.slot),
            Wait::Copies(_) => self.end_wait_for_copies(who.slot),
            Wait::Asleep(_) => self.wake(who.slot),
            Wait::Successor => self.close(who.slot, CloseReason::Expired),
            Wait::Acks { .. }
            | Wait::Job(_)
            | Wait::Credit { .. }
            | Wait::Mail
            | Wait::Nodes
            | Wait::Move
            | Wait::Output
            | Wait::Apart
            | Wait::Parts
            | Wait::Keys
            | Wait::Turn { .. }
            | Wait::Passed
            | Wait::Exec
            | Wait::File => {}
        }
    }

    /// Lets some of those try again that CLIENT PAUSE has held back.
    fn release_some(&mut self) {
        let mut released = 0;
        while released < RELEASED_AT_ONCE
            && let Some(who) = self.timers.released.pop_front()
        {
            let connection = self.connection_of(who);
            if connection.is_some_and(|connection| matches!(connection.state().wait(), Some(Wait::Pause))) {
                self.resume(who.slot);
                released += 1;
            }
        }
    }

    /// `timeout`, `authentication-timeout`, soft output limits, and the gauges of CLIENT LIST.
    fn check_connections(&mut self) {
        let now_ms = self.clock.now_ms;
        let is_paused = self.server.is_cron_paused.load(Relaxed);
        let timeout_ms = if is_paused { 0 } else { u64::from(self.config.timeout) * 1000 };
        let proof_ms = u64::from(self.config.authentication_timeout) * 1000;
        let default_user_has_no_password = self.server.default_user_has_no_password();
        let slots = self.connections.slots();
        let mut settled_bytes = 0;
        for _ in 0..CONNECTIONS_PER_TICK.min(slots) {
            let slot = self.timers.round_at;
            self.timers.round_at = if slot + 1 >= slots { 0 } else { slot + 1 };
            let Some(connection) = self.connections.get_mut(slot) else { continue };
            if connection.is_event_stream {
                self.keep_stream_open(slot);
            } else if connection.page.is_some() {
                self.tend_page(slot);
            }
            let Some(connection) = self.connections.get_mut(slot) else { continue };
            self.flusher.check_soft_limit(connection, now_ms);
            if connection.guest_until_ms.is_some_and(|until_ms| until_ms <= now_ms) {
                self.flusher.condemn(connection, CloseReason::UserRemoved);
            }
            if connection.output.keeps_any() {
                connection.forget_acknowledged();
            }
            if connection.write_blocked && settled_bytes < SETTLED_BYTES_PER_TICK {
                settled_bytes += connection.output.settle_ends(SETTLED_BYTES_MAX);
            }
            connection.publish_gauges();
            let is_waiting = match connection.state() {
                State::Waits(waiting) => !matches!(waiting.wait, Wait::Output),
                // A subscriber that was told that it will be closed has no reason to stay.
                State::Drains(_) | State::Condemned { .. } => false,
                State::Reads => false,
            } || !connection.state().closes()
                && (connection.is_monitor
                    || connection.is_event_stream
                    || connection.page.is_some()
                    || connection.is_session
                    || connection.passed.as_ref().is_some_and(|passed| passed.is_under_way())
                    || !connection.subscriptions.is_empty());
            let idle_ms = now_ms.saturating_sub(connection.client.active_ms.load(Relaxed));
            if timeout_ms > 0 && !is_waiting && idle_ms > timeout_ms {
                self.flusher.condemn(connection, CloseReason::Idle);
            }
            let is_unproven = connection.transport.is_handshaking()
                || connection.is_unauthenticated() && !default_user_has_no_password;
            if proof_ms > 0 && is_unproven && now_ms.saturating_sub(connection.unproven_since_ms) > proof_ms {
                self.flusher.condemn(connection, CloseReason::Unauthenticated);
            }
        }
    }

    /// This shard's share of the active expiry.
    fn expire_keys(&mut self) {
        self.timers.expiry.due = None;
        // What nobody publishes can't be held back, so it waits for shards that are behind here.
        if self.credit.behind() != 0 {
            return;
        }
        if !self.may_remove_keys() {
            return;
        }
        let server = std::sync::Arc::clone(&self.server);
        if !server.expires_actively.load(Relaxed) || server.is_cron_paused.load(Relaxed) {
            return;
        }
        let (partitions, began) = (&server.partitions, Instant::now());
        let own: Vec<usize> = (self.index..partitions.count()).step_by(server.shards.len()).collect();
        let mut partitions_done = 0;
        while partitions_done < own.len() {
            if began.elapsed() >= EXPIRY_TIME_MAX || self.credit.behind() != 0 {
                self.timers.expiry.due =
                    Some(Instant::now() + expiry_pause(self.config.active_expire_effort));
                return;
            }
            let index = own[self.timers.expiry.next % own.len()];
            let removed = if self.leads_partition(index) {
                partitions.expire_due(index, self.clock.now_ms, EXPIRIES_PER_LOCK, &mut self.changes)
            } else {
                0
            };
            if removed > 0 {
                self.spread_changes();
            }
            if removed < EXPIRIES_PER_LOCK {
                self.timers.expiry.next = (self.timers.expiry.next + 1) % own.len();
                partitions_done += 1;
            }
        }
    }
}
