//! What a shard does by the clock: ten times a second it looks after its clients and its part of the keys, and at
//! given moments it ends waits.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use mio::Token;

use crate::connection::client::ClientId;
use crate::connection::{CloseReason, Hold};
use crate::shard::Shard;

/// Between two looks.
const TICK: Duration = Duration::from_millis(100);

/// Connections looked at in one tick; with more, a full round takes several ticks.
const CONNECTIONS_PER_TICK: usize = 2000;

/// Keys of one partition that are expired in one tick. What is left is gone for every reader all the same.
const EXPIRIES_PER_TICK: usize = 2000;

/// Deadlines of one shard.
#[derive(Debug)]
pub(crate) struct Timers {
    next_tick: Instant,
    /// Where the round over the connections stands.
    round_at: usize,
    /// Ends of waits: when, and whose.
    deadlines: BTreeSet<(Instant, usize, ClientId)>,
    /// Listeners to look at again.
    accepts: Vec<Token>,
}

impl Timers {
    pub(super) fn new() -> Timers {
        Timers {
            next_tick: Instant::now() + TICK,
            round_at: 0,
            deadlines: BTreeSet::new(),
            accepts: Vec::new(),
        }
    }

    /// How long the shard may sleep.
    pub(super) fn until_next(&self) -> Duration {
        let now = Instant::now();
        let next = self.deadlines.first().map_or(self.next_tick, |(at, ..)| self.next_tick.min(*at));
        // The poll rounds down to milliseconds; a moment too late is better than a spin.
        match next.saturating_duration_since(now) {
            Duration::ZERO => Duration::ZERO,
            left => left + Duration::from_millis(1) - Duration::from_nanos(1),
        }
    }

    /// Has `accept` called again with `token` at the next tick.
    pub(super) fn accept_again(&mut self, token: Token) {
        self.accepts.push(token);
    }

    /// Notes that the connection's wait ends at `at`.
    pub(crate) fn add(&mut self, at: Instant, slot: usize, client: ClientId) {
        self.deadlines.insert((at, slot, client));
    }

    /// Forgets a deadline.
    pub(crate) fn remove(&mut self, at: Instant, slot: usize, client: ClientId) {
        self.deadlines.remove(&(at, slot, client));
    }

    fn due(&mut self, now: Instant) -> Option<(usize, ClientId)> {
        let first = *self.deadlines.first().filter(|(at, ..)| *at <= now)?;
        self.deadlines.remove(&first);
        Some((first.1, first.2))
    }
}

impl Shard {
    pub(super) fn run_timers(&mut self) {
        let now = Instant::now();
        if self.timers.deadlines.first().is_some_and(|(at, ..)| *at <= now) {
            // The turn may have lasted: what is due is due by the time of now, on both clocks.
            self.clock.tick();
            while let Some((slot, client)) = self.timers.due(self.clock.instant) {
                self.end_wait(slot, client);
            }
        }
        if now < self.timers.next_tick {
            return;
        }
        self.timers.next_tick = now + TICK;
        for token in std::mem::take(&mut self.timers.accepts) {
            self.accept(token);
        }
        self.look_after_connections();
        self.expire_keys();
        if self.index == 0 {
            self.server.look_around();
            self.server.look_after_journal(&self.config);
        }
    }

    /// The time of what the connection waits for has come.
    fn end_wait(&mut self, slot: usize, client: ClientId) {
        let Some(connection) = self.connection_of(slot, client) else { return };
        match connection.hold.as_deref() {
            Some(Hold::Pause) => self.release(slot),
            Some(Hold::Blocked(_)) => self.look_at_block(slot),
            Some(Hold::Disk(_)) => self.wait_timed_out(slot),
            Some(Hold::Asleep(_)) => self.wake(slot),
            Some(Hold::Acks { .. } | Hold::Output) | None => {}
        }
    }

    /// `timeout`, `authentication-timeout`, soft output limits, and the gauges of CLIENT LIST.
    fn look_after_connections(&mut self) {
        let now_ms = self.clock.now_ms;
        let timeout_ms = u64::from(self.config.timeout) * 1000;
        let proof_ms = u64::from(self.config.authentication_timeout) * 1000;
        let default_user_has_no_password = self.server.default_user_has_no_password();
        let capacity = self.connections.capacity();
        for _ in 0..CONNECTIONS_PER_TICK.min(capacity) {
            let slot = self.timers.round_at;
            self.timers.round_at = if slot + 1 >= capacity { 0 } else { slot + 1 };
            let Some(connection) = self.connections.get_mut(slot) else { continue };
            self.flusher.check_soft_limit(slot, connection, now_ms);
            connection.publish_gauges();
            let waits_for_others = !matches!(connection.hold.as_deref(), None | Some(Hold::Output));
            let is_waiting =
                waits_for_others || connection.is_monitor || !connection.subscriptions.is_empty();
            let idle_ms =
                now_ms.saturating_sub(connection.client.active_ms.load(std::sync::atomic::Ordering::Relaxed));
            if timeout_ms > 0 && !is_waiting && idle_ms > timeout_ms {
                self.flusher.doom(slot, CloseReason::Idle);
            }
            let is_unproven = connection.transport.is_handshaking()
                || connection.is_unauthenticated() && !default_user_has_no_password;
            if proof_ms > 0 && is_unproven && now_ms.saturating_sub(connection.unproven_since_ms) > proof_ms {
                self.flusher.doom(slot, CloseReason::Unauthenticated);
            }
        }
    }

    /// This shard's share of the active expiry.
    fn expire_keys(&mut self) {
        // Before all is loaded a key's later life isn't known; a disk that takes no writes must not be given more.
        if self.durability.is_loading || self.durability.journal.as_ref().is_some_and(|j| j.admit().is_err())
        {
            return;
        }
        let server = std::sync::Arc::clone(&self.server);
        let partitions = &server.partitions;
        for index in (self.index..partitions.count()).step_by(server.shards.len()) {
            let removed =
                partitions.expire_due(index, self.clock.now_ms, EXPIRIES_PER_TICK, &mut self.changes);
            if removed > 0 {
                self.spread_changes();
            }
        }
    }
}
