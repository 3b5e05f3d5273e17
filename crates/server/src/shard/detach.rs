//! Detached connections: those whose socket broke and whose subscriptions go on for `resume-window`.
//!
//! ```text
//!   SUBSCRIBE under a name ──► can be resumed: what is sent is kept until it is acknowledged
//!                                 │
//!           the socket breaks     ▼                                          a successor has subscribed to all of it
//!           ──────────────►  Wait::Successor: no socket, a backlog  ──────►  or its time is over: closed
//!                                 ▲                  │
//!                     messages ───┘                  └── beyond `resume-buffer` the oldest are dropped, and counted
//! ```
//!
//! To everybody else it is a connection like any other: a subscriber that PUBLISH counts, whose rights are checked, that CLIENT
//! LIST shows and CLIENT KILL closes. It differs in that its output goes nowhere.
//!
//! A connection breaks when the stream ends without QUIT, the socket or the TLS session fails, or it is over its output limit.
//! Whoever is closed for another reason is closed.
//!
//! Invariants
//! - A detached connection is the holder of its name (`resumable.rs`), or a predecessor of one.
//! - What is in a backlog is delivered to a successor, or counted when it goes, or of a subscription that nobody wants.

use std::sync::Arc;
use std::sync::atomic::{Ordering, Ordering::Relaxed};
use std::time::Duration;

use crate::connection::CloseReason;
use crate::connection::resumption::{Identity, Resumption};
use crate::connection::state::{ConnectionRef, Wait};
use crate::resumable::Holder;
use crate::shard::Shard;

impl Shard {
    /// Under whom the connection can be resumed: it speaks RESP through a socket and has a name, and neither it nor its user's
    /// rules object.
    pub(super) fn identity_of(&self, slot: usize) -> Option<Arc<Identity>> {
        let connection = &self.connections[slot];
        let speaks_resp = !connection.is_event_stream && connection.page.is_none();
        connection.transport.fd().filter(|_| speaks_resp)?;
        let user = connection.user.as_ref().filter(|_| !connection.declines_resuming)?;
        let name = connection.client.names.lock().name.clone();
        if name.is_empty() || !Shard::may_resume(user) {
            return None;
        }
        Some(Arc::new(Identity { user: user.name().into(), name }))
    }

    pub(super) fn as_holder(&self, slot: usize) -> Holder {
        Holder { shard: self.index, who: self.connections[slot].me, is_detached: false }
    }

    /// Whether the connection, which breaks for this reason, is detached instead of closed.
    pub(super) fn detaches(&self, slot: usize, reason: CloseReason) -> bool {
        let connection = &self.connections[slot];
        let Some(resumption) = &connection.resumption else { return false };
        let breaks = match reason {
            CloseReason::ClientGone
            | CloseReason::SocketError
            | CloseReason::TlsError
            | CloseReason::LeaderLost
            | CloseReason::OutputLimit => !self.is_stopping,
            CloseReason::ProtocolError
            | CloseReason::Quit
            | CloseReason::Killed
            | CloseReason::Idle
            | CloseReason::QueryLimit
            | CloseReason::UserRemoved
            | CloseReason::Unauthenticated
            | CloseReason::Copied
            | CloseReason::Http
            | CloseReason::Evicted
            | CloseReason::Resumed
            | CloseReason::Expired
            | CloseReason::Shutdown => false,
        };
        breaks
            && !connection.is_detached()
            && !connection.is_leaving
            && connection.state().drains().is_none()
            && !connection.client.is_killed.load(Ordering::Acquire)
            && !connection.subscriptions.is_empty()
            && self.server.resumables.detach(&resumption.identity, connection.me)
    }

    /// Lets go of the connection's socket and of all it holds but its subscriptions. Nothing is being executed: the chunk of
    /// replies is not on loan.
    pub(super) fn detach(&mut self, slot: usize, reason: CloseReason) {
        self.release(slot);
        let connection = &mut self.connections[slot];
        connection.lose_socket(&self.replies);
        connection.take_back_notices();
        connection.publish_gauges();
        tracing::debug!(id = connection.client.id, reason = reason.name(), "detached");
        let predecessors = connection.resumption.as_ref().map_or(&[][..], |own| &own.predecessors).to_vec();
        let until = self.clock.instant + self.resume_window();
        self.wait(slot, Wait::Successor, Some(until));
        for predecessor in predecessors {
            self.await_successor(predecessor, false);
        }
        self.handle().closed.count(reason);
        self.handle().connections.fetch_sub(1, Relaxed);
        // It had a socket, and so a place among `maxclients`.
        self.server.connected.fetch_sub(1, Relaxed);
        let others = self.server.resumables.detached.fetch_add(1, Relaxed);
        if others >= self.config.maxclients as usize {
            self.close(slot, CloseReason::Evicted);
        }
    }

    /// As [`Shard::detach`], amid a transaction of the connection that goes on in slices. What this has told its own connection
    /// does not follow its reply any more, which nobody will read.
    pub(super) fn detach_in_transaction(&mut self, slot: usize, reason: CloseReason) {
        let me = self.connections[slot].me;
        let pushes =
            self.long_transaction.as_mut().map(|transaction| std::mem::take(&mut transaction.pushes));
        self.detach(slot, reason);
        for range in pushes.into_iter().flatten() {
            if let Some(connection) = self.connections.get_mut(slot).filter(|connection| connection.me == me)
            {
                self.flusher.push(connection, range);
            }
        }
    }

    pub(super) fn resume_window(&self) -> Duration {
        Duration::from_secs(u64::from(self.config.resume_window))
    }

    /// Gives a detached connection another window, as somebody's predecessor or not.
    pub(super) fn await_successor(&mut self, who: ConnectionRef, is_claimed: bool) {
        let until = self.clock.instant + self.resume_window();
        let Some(connection) = self.connection_of(who).filter(|connection| connection.is_detached()) else {
            return;
        };
        if let Some(resumption) = &mut connection.resumption {
            resumption.is_claimed = is_claimed;
        }
        self.set_wait_timer(who.slot, Some(until));
    }

    /// The connection closes, or is not to be resumed any more. Its predecessors go with it.
    pub(crate) fn end_resuming(&mut self, slot: usize, reason: CloseReason) {
        let connection = &mut self.connections[slot];
        if connection.resumption.is_none() {
            return;
        }
        let (me, is_detached) = (connection.me, connection.is_detached());
        let Some(resumption) = connection.stop_resuming() else { return };
        self.server.resumables.release(&resumption.identity, me);
        if is_detached && reason != CloseReason::UserRemoved && reason != CloseReason::Resumed {
            self.give_up(slot, &resumption);
        }
        for predecessor in resumption.predecessors {
            if self.connection_of(predecessor).is_some() {
                self.close(predecessor.slot, if is_detached { reason } else { CloseReason::Expired });
            }
        }
    }

    /// Notes how many messages are lost with a detached connection, for whoever comes under its name; none are where it has left all.
    fn give_up(&mut self, slot: usize, resumption: &Resumption) {
        let has_left = self.connections[slot].subscriptions.is_empty();
        if has_left || resumption.is_claimed || self.config.resume_window == 0 || self.is_stopping {
            return;
        }
        let messages = self.connections[slot].output.count_messages();
        let all = messages + resumption.dropped + resumption.expired.unwrap_or(0);
        self.server.resumables.note_expired(&resumption.identity, all, self.clock.instant);
    }

    /// `resume-window` has been turned on, or off.
    pub(super) fn switch_resuming(&mut self) {
        let is_on = self.config.resume_window > 0;
        if !is_on {
            self.server.resumables.forget_expired();
        }
        let slots: Vec<usize> = self.connections.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            let Some(connection) = self.connections.get(slot) else { continue };
            if connection.is_detached() {
                // They close by the clock, a few a turn.
                self.set_wait_timer(slot, Some(self.clock.instant));
            } else if is_on && !connection.subscriptions.is_empty() {
                self.begin_resuming(slot);
            } else if !is_on {
                self.end_resuming(slot, CloseReason::Expired);
            }
        }
    }

    /// Has a connection that listens already be resumed, unless its name is a detached one's: that waits for somebody who
    /// subscribes.
    fn begin_resuming(&mut self, slot: usize) {
        let Some(identity) = self.identity_of(slot) else { return };
        let holder = self.server.resumables.holder(&identity);
        if holder.is_none_or(|holder| !holder.is_detached)
            && self.server.resumables.claim(&identity, holder, self.as_holder(slot))
        {
            self.connections[slot].begin_resuming(Resumption::of(identity));
        }
    }
}
