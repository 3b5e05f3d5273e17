//! Waiting for the Lua state: a connection waits, its shard goes on.
//!
//! ```text
//!   EVAL, EXEC ─► free, and nobody waits? ─► runs
//!                      │ no
//!                      └─► a ticket, Wait::Turn ─► its shard is called, and its ticket is the oldest ─► runs
//!                                                └─► a script has run for too long ─► BUSY
//! ```
//!
//! 1. A request that needs the state has it at once if nobody waits, or after a moment: two shards whose scripts are short meet
//!    often, and to wait for the other costs them less than to be called.
//! 2. Else it stays in the input, and its connection waits with a ticket. Others, on whichever shard, stand behind it.
//! 3. When the state is free, the shard with the oldest ticket serves that connection, and for [`SERIES`] those of its own
//!    behind it, though others may have waited longer: each call of another shard costs some microseconds.
//! 4. When a script has run for `busy-reply-threshold`, whoever waits is admitted anew, which answers BUSY. Beside a transaction
//!    that goes on in slices they wait on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::connection::state::{ConnectionRef, Wait};
use crate::server::Server;
use crate::server::turns::Turn;
use crate::shard::Shard;

/// How long a shard waits for a script of another one: longer than most take.
const MOMENT: Duration = Duration::from_micros(200);

/// Time in which a shard runs scripts of its own in a row while others may have waited longer.
const SERIES: Duration = Duration::from_millis(1);

/// Connections of a shard that wait for the Lua state.
#[derive(Debug, Default)]
pub(super) struct Turns {
    waiting: BTreeMap<u64, ConnectionRef>,
    /// The one whose turn it is, with its ticket.
    called: Option<(ConnectionRef, u64)>,
}

impl Shard {
    /// The Lua state for the request of the connection in `slot`. `None`: others have waited longer, or it is taken.
    pub(crate) fn take_turn<'s>(&self, server: &'s Server, slot: usize) -> Option<Turn<'s>> {
        let me = self.connections[slot].me;
        let is_called = self.turns.called.is_some_and(|(who, _)| who == me);
        if server.scripts.is_busy() || !is_called && server.scripts.line.first().is_some() {
            return None;
        }
        server.script_turn(MOMENT)
    }

    /// Has the connection wait for the Lua state.
    pub(crate) fn wait_for_turn(&mut self, slot: usize) {
        let me = self.connections[slot].me;
        let ticket = match self.turns.called {
            // It was its turn, and somebody who does not wait for one was there first.
            Some((who, ticket)) if who == me => ticket,
            _ => self.server.scripts.line.ticket(),
        };
        self.wait(slot, Wait::Turn { ticket }, None);
        if matches!(self.connections[slot].state().wait(), Some(&Wait::Turn { ticket: own }) if own == ticket)
        {
            self.turns.waiting.insert(ticket, me);
            self.say_oldest();
        }
    }

    /// A connection waits no more.
    pub(super) fn forget_turn(&mut self, ticket: u64) {
        self.turns.waiting.remove(&ticket);
        self.say_oldest();
        if self.turns.called.is_none() {
            // Others may have stood behind it.
            self.server.call_next_script();
        }
    }

    fn say_oldest(&self) {
        let oldest = self.turns.waiting.first_key_value().map(|(&ticket, _)| ticket);
        self.server.scripts.line.set_oldest(self.index, oldest);
    }

    /// Whether somebody is to be served now who waits for the Lua state, or told that it is in use for long.
    pub(super) fn turns_are_due(&self) -> bool {
        let scripts = &self.server.scripts;
        !self.turns.waiting.is_empty()
            && match scripts.is_busy() {
                true => !scripts.is_transaction(),
                false => scripts.line.first() == Some(self.index) && scripts.is_free(),
            }
    }

    /// Serves those whose turn it is.
    pub(super) fn serve_turns(&mut self) {
        if !self.turns_are_due() {
            return;
        }
        let server = Arc::clone(&self.server);
        if server.scripts.is_busy() {
            let waiting: Vec<ConnectionRef> = self.turns.waiting.values().copied().collect();
            waiting.into_iter().for_each(|who| drop(self.resume(who.slot)));
            return;
        }
        let until = Instant::now() + SERIES;
        server.scripts.line.set_series(true);
        while server.scripts.is_free()
            && let Some((&ticket, &who)) = self.turns.waiting.first_key_value()
        {
            self.turns.called = Some((who, ticket));
            if self.resume(who.slot).is_some() {
                self.serve_batch(who, SERIES);
            } else {
                // It is about to be closed.
                self.forget_turn(ticket);
            }
            self.turns.called = None;
            if Instant::now() >= until || self.turns.waiting.contains_key(&ticket) {
                break;
            }
        }
        server.scripts.line.set_series(false);
        server.call_next_script();
    }
}
