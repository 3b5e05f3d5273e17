//! What a connection is to those before and behind it under its name; see `resumable.rs`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use sterna_pubsub::Kind;

use super::Connection;
use super::backlog::payloads_of;
use super::chunk::Appender;
use super::state::{ConnectionRef, Wait};
use crate::connection::client::mark;

/// The channel on which a client is told of messages that it will not get.
pub(crate) const NOTICE_CHANNEL: &[u8] = b"__sterna__:resume";

/// Who a connection is to its successor.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) user: Box<[u8]>,
    /// As CLIENT SETNAME gave it; not empty.
    pub(crate) name: Box<str>,
}

/// Of a connection that can be resumed: it is detached, and not closed, when its socket breaks.
#[derive(Debug)]
pub(crate) struct Resumption {
    pub(crate) identity: Arc<Identity>,
    /// Detached connections, the oldest first, whose subscriptions it takes over as it subscribes.
    pub(crate) predecessors: Vec<ConnectionRef>,
    /// The connection of its name that it goes on beside, if that has not shown that its line is alive.
    pub(crate) beside: Option<Beside>,
    /// It is a predecessor itself: nobody else will be told of what it holds.
    pub(crate) is_claimed: bool,
    /// Messages that did not fit into the backlog: its own, or its predecessors' until its client has been told of them.
    pub(crate) dropped: u64,
    /// Messages that predecessors held when their time was over, until its client has been told of them.
    pub(crate) expired: Option<u64>,
    /// Its client has been told of such messages, and may not have got that.
    pub(crate) has_told: bool,
    /// In the shard's list of backlogs that are over their limit.
    pub(crate) is_overfull: bool,
}

/// A connection that has shown nothing since another one has its name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beside {
    pub(crate) who: ConnectionRef,
    /// What its TCP had acknowledged then: all that it had been sent.
    pub(crate) acknowledged_bytes: u64,
    /// Messages for it that are more than is kept for anybody, and were told so.
    pub(crate) dropped: u64,
    /// For how long it is asked.
    pub(crate) until: Instant,
}

impl Resumption {
    pub(crate) fn of(identity: Arc<Identity>) -> Resumption {
        Resumption {
            identity,
            predecessors: Vec::new(),
            beside: None,
            is_claimed: false,
            dropped: 0,
            expired: None,
            has_told: false,
            is_overfull: false,
        }
    }

    /// Whether there is anything of before that its client is to get or to be told.
    pub(crate) fn has_past(&self) -> bool {
        !self.predecessors.is_empty() || self.dropped > 0 || self.expired.is_some()
    }
}

impl Connection {
    /// Whether its socket is gone and its subscriptions go on.
    #[inline]
    pub(crate) fn is_detached(&self) -> bool {
        matches!(self.state.wait(), Some(Wait::Successor))
    }

    /// Whether messages are queued for it though it closes, because it is about to be detached.
    pub(crate) fn is_about_to_detach(&self) -> bool {
        use super::CloseReason::{ClientGone, OutputLimit, SocketError, TlsError};
        self.resumption.is_some()
            && matches!(self.state.condemned(), Some(OutputLimit | ClientGone | SocketError | TlsError))
    }

    /// Whether each message is to lie in one range of its queue: a successor is handed whole ones.
    #[inline]
    pub(crate) fn keeps_frames_whole(&self) -> bool {
        self.resumption.is_some() || self.is_detached()
    }

    /// Has it be resumed under a name when its socket breaks.
    pub(crate) fn begin_resuming(&mut self, resumption: Resumption) {
        self.resumption = Some(Box::new(resumption));
        self.output.keep_sent(true);
        self.transport.note_sealed(true);
    }

    /// Has it be closed as any other when its socket breaks.
    pub(crate) fn stop_resuming(&mut self) -> Option<Box<Resumption>> {
        self.output.keep_sent(false);
        self.transport.note_sealed(false);
        self.resumption.take()
    }

    /// Forgets what it keeps of what was sent, as far as that has arrived.
    pub(crate) fn forget_acknowledged(&mut self) {
        let unacknowledged = self.transport.unacknowledged_bytes();
        self.output.acknowledge(unacknowledged);
    }

    /// Lets go of its socket, and of all that goes with one. What was sent and may have been lost is queued again.
    pub(crate) fn lose_socket(&mut self, replies: &Appender) {
        let unacknowledged = self.transport.unacknowledged_bytes();
        self.output.become_backlog(unacknowledged, replies);
        self.transport.abort();
        (self.partial, self.unread) = (None, None);
        self.depends_on = Default::default();
        // No edge will come; a backlog is kept small as the queue of a socket that is full.
        self.write_blocked = true;
        self.lags = true;
        self.over_soft_limit_since_ms = None;
        self.client.set_mark(mark::CONDEMNED, false);
        self.client.set_mark(mark::DETACHED, true);
        self.client.fd.store(-1, Relaxed);
    }

    /// What its client was told of losses is told again, as far as it may be lost with the socket.
    pub(crate) fn take_back_notices(&mut self) {
        let Some(resumption) = self.resumption.as_mut().filter(|own| own.has_told) else { return };
        if self.subscriptions.contains(Kind::Channel, NOTICE_CHANNEL) {
            // They come back with whatever else came by that.
            return;
        }
        let notices = self.output.take_messages(|kind, name| kind == Kind::Channel && name == NOTICE_CHANNEL);
        for payload in payloads_of(&notices) {
            let text = std::str::from_utf8(&payload).unwrap_or_default();
            match text.split_once(' ').and_then(|(word, count)| Some((word, count.parse::<u64>().ok()?))) {
                Some(("dropped", count)) => resumption.dropped += count,
                Some(("expired", count)) => *resumption.expired.get_or_insert(0) += count,
                _ => {}
            }
        }
    }

    /// Drops of a backlog what is over its limit, but so many frames in one go. Returns whether it is within it.
    pub(crate) fn trim_backlog(&mut self, bytes_max: usize, frames_max: usize) -> bool {
        if self.output.queued_bytes() > bytes_max {
            let dropped = self.output.drop_oldest(bytes_max, frames_max);
            if let Some(resumption) = &mut self.resumption {
                resumption.dropped += dropped;
            }
        }
        self.output.queued_bytes() <= bytes_max
    }

    /// Whether it can take another one's place: it holds nothing that ties it to its shard.
    pub(crate) fn may_succeed(&self) -> bool {
        self.transaction.is_none()
            && self.tracking.is_none()
            && !self.is_monitor
            && self.subscriptions.is_empty()
    }
}
