//! The transitions of a connection's state (drawn in `connection/state.rs`), with what each one means elsewhere: timers,
//! queues of waiters, the list of those to be served.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use crate::connection::state::{ConnectionRef, Wait, Waiting};
use crate::connection::{CloseReason, Connection};
use crate::shard::Shard;

impl Shard {
    /// The connection that `who` names, if it is still there.
    #[inline]
    pub(crate) fn connection_of(&mut self, who: ConnectionRef) -> Option<&mut Connection> {
        self.connections.get_mut(who.slot).filter(|connection| connection.me == who)
    }

    /// Whether this connection is being served, or its script runs beside others' requests.
    #[inline]
    pub(crate) fn is_executing(&self, who: ConnectionRef) -> bool {
        self.current.who == Some(who) || self.scripting == Some(who)
    }

    /// Has the connection wait; `until` is when the shard looks at the wait by itself.
    pub(crate) fn wait(&mut self, slot: usize, wait: Wait, until: Option<Instant>) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let me = connection.me;
        let blocked_mark = wait.blocked_mark();
        if !connection.begin_wait(Waiting { wait, timer: until }) {
            return;
        }
        if let Some(mark) = blocked_mark {
            connection.client.is_unblocked.store(false, Relaxed);
            connection.client.set_mark(mark, true);
            self.server.blocked.fetch_add(1, Relaxed);
        }
        if let Some(at) = until {
            self.timers.add(at, me);
        }
    }

    /// Has the shard look at the connection's wait at another time, or not by itself.
    pub(crate) fn set_wait_timer(&mut self, slot: usize, until: Option<Instant>) {
        let connection = &mut self.connections[slot];
        let me = connection.me;
        let Some(waiting) = connection.waiting_mut() else { return };
        let old = std::mem::replace(&mut waiting.timer, until);
        old.into_iter().for_each(|at| self.timers.remove(at, me));
        until.into_iter().for_each(|at| self.timers.add(at, me));
    }

    /// Ends the connection's wait, and lets it go on with what has arrived.
    pub(crate) fn resume(&mut self, slot: usize) -> Option<Wait> {
        let connection = self.connections.get_mut(slot)?;
        let me = connection.me;
        let waiting = connection.end_wait()?;
        self.flusher.mark(connection);
        // What arrived meanwhile has been read, so without a backlog there is nothing to serve before the next edge, but the end.
        if connection.has_backlog() || connection.read_closed {
            self.make_ready(slot);
        }
        Some(self.clear_wait(me, waiting))
    }

    /// As [`Shard::resume`], where a long reply may have been queued meanwhile: the next request waits until it has been read.
    pub(super) fn resume_behind_reply(&mut self, slot: usize) {
        self.resume(slot);
        if let Some(connection) = self.connections.get(slot)
            && self.flusher.holds_back(connection)
        {
            self.wait(slot, Wait::Output, None);
        }
        // What follows the request may be in the socket, whose edge has been used up.
        self.make_ready(slot);
    }

    /// Closes the connection once it has been sent what is queued for it.
    pub(crate) fn drain(&mut self, slot: usize, reason: CloseReason) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let me = connection.me;
        if let Some(waiting) = connection.drain(reason) {
            self.clear_wait(me, waiting);
        }
    }

    /// Closes the connection: the one that is being served once its reply is out, any other now.
    pub(crate) fn dismiss(&mut self, slot: usize, reason: CloseReason) {
        let Some(connection) = self.connections.get(slot) else { return };
        if self.is_executing(connection.me) {
            self.drain(slot, reason);
        } else {
            self.condemn(slot, reason);
        }
    }

    /// Closes the connection without sending more, as soon as nothing is executed for it.
    pub(crate) fn condemn(&mut self, slot: usize, reason: CloseReason) {
        if let Some(connection) = self.connections.get_mut(slot) {
            self.flusher.condemn(connection, reason);
        }
    }

    /// A wait has ended or its connection goes: takes it out of wherever it stands.
    pub(super) fn clear_wait(&mut self, me: ConnectionRef, waiting: Waiting) -> Wait {
        if let Some(at) = waiting.timer {
            self.timers.remove(at, me);
        }
        if let Some(mark) = waiting.wait.blocked_mark() {
            self.connections[me.slot].client.set_mark(mark, false);
            self.server.blocked.fetch_sub(1, Relaxed);
        }
        match &waiting.wait {
            Wait::Key(blocked) => self.forget_waiter(blocked),
            Wait::Turn { ticket } => self.forget_turn(*ticket),
            _ => {}
        }
        waiting.wait
    }
}
