//! Waiting for the end of a script: a connection waits, its shard goes on.
//!
//! ```text
//!   EVAL, EXEC ─► the Lua state is free, and nobody waits? ─► runs
//!                      │ no
//!                      └─► a ticket, Wait::Turn ─► its shard is called, and its ticket is the oldest ─► runs
//!                      ┌─►                       └─► a script has run for too long ─► BUSY
//!                      │ no
//!   GET … ─────► no script keeps its keys? ─► runs
//! ```
//!
//! 1. A request that needs the state has it at once if nobody waits, or after a moment: two shards whose scripts are short meet
//!    often, and to wait for the other costs them less than to be called.
//! 2. Else it stays in the input, and its connection waits with a ticket. Others, on whichever shard, stand behind it.
//! 3. When the state is free, the shard with the oldest ticket serves that connection, and for [`SERIES`] those of its own
//!    behind it, though others may have waited longer: each call of another shard costs some microseconds.
//! 4. Who names a key that a script keeps (`partitions/kept.rs`) stands in the same line, so that neither scripts nor those who
//!    wait for one keep the other waiting for longer than their turn. So do requests that are executed in parts, and what a shard
//!    has to do by itself: commits, and pages that read on.
//! 5. When a script has run for `busy-reply-threshold`, whoever waits is admitted anew, which answers BUSY. Beside a transaction
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

/// Who on a shard waits for the end of a script.
#[derive(Debug, Default)]
pub(super) struct Turns {
    waiting: BTreeMap<u64, Who>,
    /// The one whose turn it is, with its ticket.
    called: Option<(Who, u64)>,
    /// Whether the shard itself is among them.
    has_own: bool,
}

/// See [`Turns`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// A connection in [`Wait::Turn`].
    Client(ConnectionRef),
    /// One in [`Wait::Parts`].
    InParts(ConnectionRef),
    /// Commits, and pages that read on.
    Shard,
}

impl Shard {
    /// The Lua state for the request of the connection in `slot`. `None`: others have waited longer, or it is taken.
    pub(crate) fn take_turn<'s>(&self, server: &'s Server, slot: usize) -> Option<Turn<'s>> {
        let me = self.connections[slot].me;
        let is_called = self.turns.called.is_some_and(|(who, _)| who == Who::Client(me));
        let is_taken = server.scripts.is_busy() || self.scripting.is_some();
        if is_taken || !is_called && server.scripts.line.first().is_some() {
            return None;
        }
        server.script_turn(MOMENT)
    }

    /// Has the connection wait for the Lua state.
    pub(crate) fn wait_for_turn(&mut self, slot: usize) {
        let me = self.connections[slot].me;
        let ticket = match self.turns.called {
            // It was its turn, and somebody who does not wait for one was there first.
            Some((Who::Client(who), ticket)) if who == me => ticket,
            _ => self.server.scripts.line.ticket(),
        };
        self.wait(slot, Wait::Turn { ticket }, None);
        if matches!(self.connections[slot].state().wait(), Some(&Wait::Turn { ticket: own }) if own == ticket)
        {
            self.turns.waiting.insert(ticket, Who::Client(me));
            self.say_oldest();
        }
    }

    /// Has a request that is executed in parts wait until its keys are free. Returns its ticket, if it has one: see
    /// [`Shard::is_told_of_free_keys`].
    pub(super) fn await_keys_in_parts(&mut self, me: ConnectionRef, ticket: Option<u64>) -> Option<u64> {
        if self.is_told_of_free_keys() {
            ticket.into_iter().for_each(|ticket| self.forget_turn(ticket));
            self.waiting_for_keys.push(me);
            return None;
        }
        let ticket = ticket.unwrap_or_else(|| self.server.scripts.line.ticket());
        self.turns.waiting.insert(ticket, Who::InParts(me));
        self.say_oldest();
        Some(ticket)
    }

    /// Has what the shard does by itself be tried again when its keys are free.
    pub(super) fn await_keys(&mut self) {
        if !self.turns.has_own && !self.is_told_of_free_keys() {
            self.turns.has_own = true;
            let ticket = self.server.scripts.line.ticket();
            self.turns.waiting.insert(ticket, Who::Shard);
            self.say_oldest();
        }
    }

    /// Whether somebody has keys to himself who says so when they are free: a transaction, a script that has run for too long, or those
    /// whom a write has woken. Else it is a script, for whose end one has to stand in line.
    pub(crate) fn is_told_of_free_keys(&self) -> bool {
        self.server.scripts.is_busy() || self.server.partitions.has_unserved()
    }

    /// A connection waits no more.
    pub(super) fn forget_turn(&mut self, ticket: u64) {
        self.turns.waiting.remove(&ticket);
        if self.turns.called.is_none() {
            self.say_oldest();
            // Others may have stood behind it.
            self.server.call_next_script();
        }
    }

    fn is_in_parts(&mut self, who: ConnectionRef) -> bool {
        self.connection_of(who)
            .is_some_and(|connection| matches!(connection.state().wait(), Some(Wait::Parts)))
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
            for (ticket, who) in std::mem::take(&mut self.turns.waiting) {
                match who {
                    Who::Client(who) => {
                        self.turns.waiting.insert(ticket, Who::Client(who));
                        self.resume(who.slot);
                    }
                    Who::InParts(who) => self.waiting_for_keys.push(who),
                    Who::Shard => self.turns.has_own = false,
                }
            }
            self.say_oldest();
            return;
        }
        let until = Instant::now() + SERIES;
        server.scripts.line.set_series(true);
        while server.scripts.is_free()
            && let Some((&ticket, &who)) = self.turns.waiting.first_key_value()
        {
            self.turns.called = Some((who, ticket));
            match who {
                Who::Client(who) if self.resume(who.slot).is_some() => self.serve_batch(who, SERIES),
                Who::InParts(who) if self.is_in_parts(who) => self.serve_batch(who, SERIES),
                // It is about to be closed.
                Who::Client(_) | Who::InParts(_) => self.forget_turn(ticket),
                Who::Shard => {
                    self.forget_turn(ticket);
                    self.turns.has_own = false;
                    self.commit_uncommitted();
                    self.retry_stalled();
                    self.follow_on();
                }
            }
            // Until now nobody behind it was let in.
            self.turns.called = None;
            self.say_oldest();
            if Instant::now() >= until || self.turns.waiting.contains_key(&ticket) {
                break;
            }
        }
        server.scripts.line.set_series(false);
        server.call_next_script();
    }
}
