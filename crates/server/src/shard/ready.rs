//! Who is served next: connections with input, those first that leave others their time.
//!
//! A connection that asks for little at once is *quiet* (`connection/pace.rs`); all quiet ones are served in each turn, so
//! that a client that asks now and then waits for one turn and not for everybody. One that has yet to show that is *fresh*; these
//! are served behind the quiet ones, for as long as those have left and some time in any case. Then come quiet ones with a request that
//! anybody can see to be long, by the number of its arguments. The others are *busy* and share
//! what is left of the turn, one batch after the other. Who has yet to authenticate is a *stranger*, and all strangers together
//! have a small part of the turn. A TLS handshake, which takes as long as hundreds of requests, comes last.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::connection::Connection;
use crate::connection::pace::{Class, Then};
use crate::connection::state::ConnectionRef;
use crate::shard::Shard;
use crate::shard::serve::{BATCH_TIME_MAX, READ_AGAIN_TIME_MAX};

/// Time for one quiet connection in one turn. One that has more to say is busy, and goes on when it is its turn among those.
/// Long enough for a pipeline of a hundred requests: if that is cut, its fan-out is sent twice.
const QUIET_SLICE: Duration = Duration::from_micros(150);

/// Time for quiet connections in one turn. With so many of them that it isn't enough they are served in turn.
const QUIET_TIME_MAX: Duration = Duration::from_millis(2);

/// For so long after quiet connections were served it is taken that there will be more of them.
const QUIET_MEMORY: Duration = Duration::from_millis(100);

/// Time for fresh connections in one turn, at least; or what quiet ones leave of theirs, where that is more. Each has one batch in it.
const FRESH_TIME_MIN: Duration = Duration::from_millis(1);

/// Time for quiet ones with wide requests in one turn, at least; or what is left of the others'.
const WIDE_TIME_MIN: Duration = Duration::from_micros(500);

/// Time for busy connections in one turn, at least; where the quiet or the fresh ones take longer, it is as long as theirs.
const BUSY_TIME_MIN: Duration = Duration::from_millis(1);

/// Time for strangers in one turn, all of them together: logging in takes one request and some microseconds.
const STRANGERS_TIME_MAX: Duration = Duration::from_micros(200);

/// Time for TLS handshakes in one turn; the one under way is brought to its end.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_micros(400);

/// Connections with input to go on with; each has `is_ready` set and stands in one list once.
#[derive(Debug, Default)]
pub(super) struct Ready {
    quiet: VecDeque<ConnectionRef>,
    /// Those that have yet to show that they are quiet.
    fresh: VecDeque<ConnectionRef>,
    busy: VecDeque<ConnectionRef>,
    /// Those that have yet to authenticate.
    strangers: VecDeque<ConnectionRef>,
    /// Those whose TLS handshake is under way.
    handshakes: VecDeque<ConnectionRef>,
    /// Quiet ones whose request takes long.
    wide: VecDeque<ConnectionRef>,
    /// Who was quiet when it was served last, the last two of them, and when that was.
    were_quiet: [Option<(ConnectionRef, Instant)>; 2],
}

impl Ready {
    pub(super) fn is_empty(&self) -> bool {
        self.quiet.is_empty()
            && self.wide.is_empty()
            && self.fresh.is_empty()
            && self.busy.is_empty()
            && self.strangers.is_empty()
            && self.handshakes.is_empty()
    }

    /// Notes that a connection was quiet, and is.
    fn note_quiet(&mut self, who: ConnectionRef, now: Instant) {
        if self.were_quiet[0].is_some_and(|(last, _)| last != who) {
            self.were_quiet[1] = self.were_quiet[0];
        }
        self.were_quiet[0] = Some((who, now));
    }

    /// Whether another connection was quiet a short time ago.
    pub(super) fn had_quiet(&self, who: ConnectionRef, now: Instant) -> bool {
        let mut others = self.were_quiet.iter().flatten().filter(|(other, _)| *other != who);
        others.any(|(_, at)| now.saturating_duration_since(*at) < QUIET_MEMORY)
    }

    /// Adds the connection unless it is there.
    pub(super) fn add(&mut self, connection: &mut Connection) {
        if !std::mem::replace(&mut connection.is_ready, true) {
            let list = match connection.pace.class() {
                _ if connection.transport.is_handshaking() => &mut self.handshakes,
                _ if connection.is_unauthenticated() => &mut self.strangers,
                // Thousands that leave at once, whom nobody waits for, are not to stand before a request.
                _ if connection.read_closed => &mut self.busy,
                class => self.list_of(class),
            };
            list.push_back(connection.me);
        }
    }

    /// Whether any that is quiet waits.
    pub(super) fn has_quiet(&self) -> bool {
        !self.quiet.is_empty()
    }

    /// Adds a quiet connection that is served behind the others: what it asks for takes long. It is the one that is served.
    pub(super) fn add_behind_quiet(&mut self, connection: &mut Connection) {
        if !std::mem::replace(&mut connection.is_ready, true) {
            self.wide.push_back(connection.me);
        }
    }

    fn list_of(&mut self, class: Class) -> &mut VecDeque<ConnectionRef> {
        match class {
            Class::Quiet => &mut self.quiet,
            Class::Fresh => &mut self.fresh,
            Class::Busy => &mut self.busy,
        }
    }

    /// The connection that was served just now is of another class: if it has more to say it waits there.
    fn move_last(&mut self, who: ConnectionRef, from: Class, to: Class) {
        let list = self.list_of(from);
        if list.back() == Some(&who) {
            list.pop_back();
            self.list_of(to).push_back(who);
        }
    }
}

impl Shard {
    /// Sees to it that the connection is served.
    pub(crate) fn make_ready(&mut self, slot: usize) {
        if let Some(connection) = self.connections.get_mut(slot) {
            self.ready.add(connection);
        }
    }

    /// Serves those who were ready when it began, a batch each, for a bounded time.
    pub(super) fn serve_ready(&mut self) {
        self.clock.advance();
        let start = self.clock.instant;
        // Nobody is served twice in a turn: a client that has sent its last request and its end gets the reply first.
        let Ready { quiet, fresh, busy, strangers, .. } = &self.ready;
        let (quiet, fresh, busy, strangers) = (quiet.len(), fresh.len(), busy.len(), strangers.len());
        let quiet_until = start + QUIET_TIME_MAX;
        self.serve_some(quiet, QUIET_SLICE, quiet_until, |ready| &mut ready.quiet);
        let fresh_since = self.clock.instant;
        let until = quiet_until.max(fresh_since + FRESH_TIME_MIN);
        self.serve_some(fresh, QUIET_SLICE, until, |ready| &mut ready.fresh);
        // Those among them that were put behind the quiet ones just now have been read from, and no more.
        let (wide, until) = (self.ready.wide.len(), until.max(self.clock.instant + WIDE_TIME_MIN));
        self.serve_some(wide, QUIET_SLICE, until, |ready| &mut ready.wide);
        let (quiet_time, fresh_time) = (fresh_since - start, self.clock.instant - fresh_since);
        let until = self.clock.instant + STRANGERS_TIME_MAX;
        self.serve_some(strangers, QUIET_SLICE, until, |ready| &mut ready.strangers);
        let until = self.clock.instant + quiet_time.max(fresh_time).max(BUSY_TIME_MIN);
        self.serve_some(busy, BATCH_TIME_MAX, until, |ready| &mut ready.busy);
    }

    /// Serves the first `count` of a list, as many as are begun in time.
    fn serve_some(
        &mut self,
        count: usize,
        slice: Duration,
        until: Instant,
        list: fn(&mut Ready) -> &mut VecDeque<ConnectionRef>,
    ) {
        for _ in 0..count {
            let Some(who) = list(&mut self.ready).pop_front() else { break };
            self.serve_one(who, slice);
            if self.clock.instant > until {
                break;
            }
        }
    }

    /// Goes on with TLS handshakes, for a bounded time: each may take most of a millisecond, and when thousands of clients
    /// come back at once they wait for each other, and not those for them who are connected. Shards that share a core leave it to
    /// each other between two handshakes: the kernel would let one go on for milliseconds, while a client of the other waits.
    pub(super) fn shake_hands(&mut self) {
        let start = Instant::now();
        while let Some(who) = self.ready.handshakes.pop_front() {
            self.serve_one(who, BATCH_TIME_MAX);
            if self.shares_core {
                std::thread::yield_now();
            }
            if start.elapsed() > HANDSHAKE_TIME_MAX {
                break;
            }
        }
    }

    fn serve_one(&mut self, who: ConnectionRef, slice: Duration) {
        let in_transaction = self.is_in_transaction(who);
        let runs_a_script = self.scripting == Some(who);
        let Some(connection) = self.connection_of(who) else { return };
        // Of one that may be detached the end is not to be overlooked: others may want its name.
        let runs_on = runs_a_script || in_transaction && connection.resumption.is_none();
        connection.is_ready = false;
        if !runs_on {
            self.serve_batch(who, slice);
        }
        // Else it is served again when its script, or its transaction, has ended.
    }

    /// Serves the connection, for a bounded time.
    pub(super) fn serve_batch(&mut self, who: ConnectionRef, slice: Duration) {
        let Some(connection) = self.connection_of(who) else { return };
        let was_handshaking = connection.transport.is_handshaking();
        let requests_before = connection.client.commands.load(Relaxed);
        let began = self.clock.instant;
        self.current.read_bytes = 0;
        self.current.until = began + slice;
        self.current.read_until = began + slice.min(READ_AGAIN_TIME_MAX);
        while self.serve(who.slot) {}
        let took = self.clock.instant.duration_since(began);
        if self.clock.instant == began {
            // To read from it, or to close it, took time as well, and no command has said so.
            self.clock.advance();
        }
        let Some(connection) = self.connection_of(who).filter(|_| !was_handshaking) else { return };
        let before = connection.pace.class();
        let requests = connection.client.commands.load(Relaxed) - requests_before;
        let then = match connection.is_ready {
            true => Then::GoesOn,
            false if connection.state().wait().is_some() => Then::Waits,
            false => Then::Ends,
        };
        connection.pace.note(took, requests, then);
        let class = connection.pace.class();
        if (before, class) == (Class::Quiet, Class::Quiet) {
            let now = self.clock.instant;
            self.ready.note_quiet(who, now);
        } else if class != before {
            self.ready.move_last(who, before, class);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_quiet_connections_are_expected_for_a_short_time_after_some_were_served() {
        let [one, other] = [1, 2].map(|id| ConnectionRef { slot: id as usize, id });
        let now = Instant::now();
        let mut ready = Ready::default();
        assert!(!ready.had_quiet(one, now));
        ready.note_quiet(one, now);
        assert!(!ready.had_quiet(one, now), "it does not wait for itself");
        assert!(ready.had_quiet(other, now) && ready.had_quiet(other, now + QUIET_MEMORY / 2));
        assert!(!ready.had_quiet(other, now + QUIET_MEMORY));
        (0..3).for_each(|_| ready.note_quiet(other, now));
        assert!(ready.had_quiet(one, now) && ready.had_quiet(other, now), "both are known");
    }
}
