//! Who is served next: connections with input, those first that leave others their time.
//!
//! A connection whose last batch was short is *quiet*; all quiet ones are served in each turn, so that a client that asks
//! now and then waits for one turn and not for everybody. The others are *busy* and share what is left of the turn, one
//! batch after the other. A TLS handshake, which takes as long as hundreds of requests, comes after both.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::connection::Connection;
use crate::connection::state::ConnectionRef;
use crate::shard::Shard;
use crate::shard::serve::BATCH_TIME_MAX;

/// A batch that took less leaves its connection quiet: a handful of requests.
const QUIET_BATCH_MAX: Duration = Duration::from_micros(20);

/// Time for one quiet connection in one turn. One that has more to say is busy, and goes on when it is its turn among those:
/// so hundreds that begin to be greedy at once don't keep the quiet ones waiting while that shows.
const QUIET_SLICE: Duration = Duration::from_micros(50);

/// Time for quiet connections in one turn. With so many of them that it isn't enough they are served in turn.
const QUIET_TIME_MAX: Duration = Duration::from_millis(2);

/// Time for busy connections in one turn, at least; where the quiet ones take longer, it is as long as theirs.
const BUSY_TIME_MIN: Duration = Duration::from_millis(1);

/// Time for TLS handshakes in one turn; the one under way is brought to its end.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_micros(400);

/// Connections with input to go on with; each has `is_ready` set and stands in one list once.
#[derive(Debug, Default)]
pub(super) struct Ready {
    quiet: VecDeque<ConnectionRef>,
    busy: VecDeque<ConnectionRef>,
    /// Those whose TLS handshake is under way.
    handshakes: VecDeque<ConnectionRef>,
}

impl Ready {
    pub(super) fn is_empty(&self) -> bool {
        self.quiet.is_empty() && self.busy.is_empty() && self.handshakes.is_empty()
    }

    /// Adds the connection unless it is there.
    pub(super) fn add(&mut self, connection: &mut Connection) {
        if !std::mem::replace(&mut connection.is_ready, true) {
            let list = match connection.is_busy {
                _ if connection.transport.is_handshaking() => &mut self.handshakes,
                true => &mut self.busy,
                false => &mut self.quiet,
            };
            list.push_back(connection.me);
        }
    }

    /// The connection that was served just now has become busy, or quiet: if it has more to say it waits there.
    fn move_last(&mut self, who: ConnectionRef, is_busy: bool) {
        let (from, to) =
            if is_busy { (&mut self.quiet, &mut self.busy) } else { (&mut self.busy, &mut self.quiet) };
        if from.back() == Some(&who) {
            from.pop_back();
            to.push_back(who);
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
        let start = Instant::now();
        self.clock.instant = start;
        // Nobody is served twice in a turn: a client that has sent its last request and its end gets the reply first.
        let (quiet, busy) = (self.ready.quiet.len(), self.ready.busy.len());
        for _ in 0..quiet {
            let Some(who) = self.ready.quiet.pop_front() else { break };
            self.serve_one(who, QUIET_SLICE);
            if self.clock.instant.duration_since(start) > QUIET_TIME_MAX {
                break;
            }
        }
        let quiet_time = self.clock.instant.duration_since(start);
        let until = self.clock.instant + quiet_time.max(BUSY_TIME_MIN);
        for _ in 0..busy {
            let Some(who) = self.ready.busy.pop_front() else { break };
            self.serve_one(who, BATCH_TIME_MAX);
            if self.clock.instant > until {
                break;
            }
        }
    }

    /// Goes on with TLS handshakes, for a bounded time: each may take most of a millisecond, and when thousands of clients
    /// come back at once they wait for each other, and not those for them who are connected.
    pub(super) fn shake_hands(&mut self) {
        let start = Instant::now();
        while let Some(who) = self.ready.handshakes.pop_front() {
            self.serve_one(who, BATCH_TIME_MAX);
            if start.elapsed() > HANDSHAKE_TIME_MAX {
                break;
            }
        }
    }

    fn serve_one(&mut self, who: ConnectionRef, slice: Duration) {
        let runs_script = self.scripting == Some(who);
        let Some(connection) = self.connection_of(who) else { return };
        connection.is_ready = false;
        if runs_script {
            // Served again when its script has ended.
            return;
        }
        let began = self.clock.instant;
        self.slice_until = began + slice;
        while self.serve(who.slot) {}
        let is_busy = self.clock.instant.duration_since(began) > QUIET_BATCH_MAX;
        if let Some(connection) = self.connection_of(who)
            && connection.is_busy != is_busy
        {
            connection.is_busy = is_busy;
            let me = connection.me;
            self.ready.move_last(me, is_busy);
        }
    }
}
