//! Flushing: who has output, who has too much of it, and how it gets out.
//!
//! The list of connections with output (`dirty`) and the list of those to be closed (`doomed`) stand apart from the
//! connections, so that fan-out can fill both while it walks the subscribers.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use crate::config::{Config, OutputLimit};
use crate::connection::chunk::Range;
use crate::connection::client::{Client, ClientType};
use crate::connection::{CloseReason, Connection, Hold};
use crate::limits::{BACKLOG_BYTES, UNAUTHENTICATED_OUTPUT_BYTES_MAX};
use crate::shard::Shard;

/// Bytes sent to one connection in one turn: a client with a huge backlog must not keep the shard from the others.
const FLUSH_BYTES_MAX: usize = 512 * 1024;

/// Time spent flushing in one turn. A fan-out to thousands of subscribers is sent in slices of it, between which
/// other clients are read and answered.
const FLUSH_TIME_MAX: Duration = Duration::from_micros(1500);

/// Connections flushed between two looks at the clock.
const FLUSHES_PER_LOOK: usize = 32;

/// Which connections have output, and which have too much.
#[derive(Debug)]
pub(crate) struct Flusher {
    dirty: VecDeque<usize>,
    doomed: Vec<(usize, CloseReason)>,
    normal: OutputLimit,
    pubsub: OutputLimit,
}

impl Flusher {
    pub(crate) fn new(config: &Config) -> Flusher {
        let limits = &config.client_output_buffer_limit;
        Flusher { dirty: VecDeque::new(), doomed: Vec::new(), normal: limits.normal, pubsub: limits.pubsub }
    }

    pub(crate) fn set_limits(&mut self, config: &Config) {
        (self.normal, self.pubsub) =
            (config.client_output_buffer_limit.normal, config.client_output_buffer_limit.pubsub);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.dirty.is_empty()
    }

    /// Queues `range` for the connection and dooms it if that is more than its hard limit allows.
    #[inline]
    pub(crate) fn push(&mut self, slot: usize, connection: &mut Connection, range: Range) {
        connection.output.push(range);
        self.mark(slot, connection);
        if connection.output.queued_bytes() > SMALL_QUEUE_BYTES {
            self.check_limits(slot, connection);
        }
    }

    /// Notes that the connection has output to send.
    #[inline]
    pub(crate) fn mark(&mut self, slot: usize, connection: &mut Connection) {
        if !connection.is_dirty && !connection.write_blocked {
            connection.is_dirty = true;
            self.dirty.push_back(slot);
        }
    }

    fn limit_of(&self, connection: &Connection) -> OutputLimit {
        if connection.is_unauthenticated() {
            return OutputLimit {
                hard_bytes: UNAUTHENTICATED_OUTPUT_BYTES_MAX as u64,
                soft_bytes: 0,
                soft_seconds: 0,
            };
        }
        match connection.client.class() {
            ClientType::Pubsub => self.pubsub,
            _ => self.normal,
        }
    }

    /// Whether the connection is over its hard limit; called with every byte queued beyond a few.
    fn check_limits(&mut self, slot: usize, connection: &mut Connection) {
        let limit = self.limit_of(connection);
        if limit.hard_bytes > 0 && connection.output.queued_bytes() as u64 > limit.hard_bytes {
            self.doom_for_output(slot, connection);
        }
    }

    /// Whether the connection has been over its soft limit for too long; called ten times a second.
    pub(crate) fn check_soft_limit(&mut self, slot: usize, connection: &mut Connection, now_ms: u64) {
        let limit = self.limit_of(connection);
        if limit.soft_bytes == 0 || connection.output.queued_bytes() as u64 <= limit.soft_bytes {
            connection.over_soft_limit_since_ms = None;
            return;
        }
        let since = *connection.over_soft_limit_since_ms.get_or_insert(now_ms);
        if now_ms.saturating_sub(since) > limit.soft_seconds * 1000 {
            self.doom_for_output(slot, connection);
        }
    }

    /// Whether the connection's next request must wait until it has read more of its replies.
    ///
    /// Where a hard limit closes it, that bounds what it can hold and nothing needs to wait; and waiting must not keep it
    /// from passing a soft limit.
    #[inline]
    pub(crate) fn holds_back(&self, connection: &Connection) -> bool {
        connection.output.queued_bytes() > BACKLOG_BYTES && self.is_backlogged(connection)
    }

    #[cold]
    fn is_backlogged(&self, connection: &Connection) -> bool {
        let limit = self.limit_of(connection);
        limit.hard_bytes == 0 && connection.output.queued_bytes() as u64 > limit.soft_bytes
    }

    fn doom_for_output(&mut self, slot: usize, connection: &mut Connection) {
        if connection.closing.is_some() {
            return;
        }
        connection.closing = Some(CloseReason::OutputLimit);
        connection.publish_gauges();
        self.doomed.push((slot, CloseReason::OutputLimit));
    }

    /// Has the connection closed as soon as nobody walks the subscribers.
    pub(crate) fn doom(&mut self, slot: usize, reason: CloseReason) {
        self.doomed.push((slot, reason));
    }

    #[inline]
    pub(crate) fn has_doomed(&self) -> bool {
        !self.doomed.is_empty()
    }

    pub(crate) fn next_doomed(&mut self) -> Option<(usize, CloseReason)> {
        self.doomed.pop()
    }
}

/// Below so many queued bytes no limit is looked at: less than any sensible limit, more than a healthy queue.
const SMALL_QUEUE_BYTES: usize = 4096;

/// How a flush ended.
enum Flushed {
    /// Nothing is left.
    All,
    /// The socket takes no more for now.
    Blocked,
    /// There is more, but others have waited long enough.
    More,
}

impl Shard {
    /// Sends what is queued, to each connection that has output, for a bounded time.
    pub(crate) fn flush_dirty(&mut self) {
        let start = Instant::now();
        let waiting = self.flusher.dirty.len();
        for done in 0..waiting {
            if done % FLUSHES_PER_LOOK == FLUSHES_PER_LOOK - 1 && start.elapsed() > FLUSH_TIME_MAX {
                break;
            }
            let Some(slot) = self.flusher.dirty.pop_front() else { break };
            self.flush(slot);
        }
    }

    /// Closes the connection, after sending of what it was promised as much as its socket takes at once.
    ///
    /// What was published before CLIENT KILL reaches the client before the end does. Not to be called by a command: while
    /// one is executed, the chunk of replies is on loan.
    pub(crate) fn flush_and_close(&mut self, slot: usize, reason: CloseReason) {
        debug_assert!(self.executing.is_none(), "the chunk of replies is on loan");
        self.end_run();
        let Some(id) = self.connections.get(slot).map(|connection| connection.client.id) else { return };
        self.flush(slot);
        if self.connection_of(slot, id).is_some() {
            self.close(slot, reason);
        }
    }

    fn flush(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        connection.is_dirty = false;
        // Replies wait with their request: other shards have yet to do their part.
        if matches!(connection.hold.as_deref(), Some(Hold::Acks { .. })) {
            return;
        }
        if self.durability.is_gated && !connection.output.is_empty() && self.awaits_disk(slot) {
            return;
        }
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let before = connection.output.queued_bytes();
        let flushed = connection.flush();
        let sent = (before - connection.output.queued_bytes()) as u64;
        connection.net_out_bytes += sent;
        Client::add(&self.server.shards[self.index].net_out_bytes, sent);
        let has_drained = connection.output.queued_bytes() <= BACKLOG_BYTES / 2;
        if has_drained && matches!(connection.hold.as_deref(), Some(Hold::Output)) {
            self.release(slot);
        }
        let Some(connection) = self.connections.get_mut(slot) else { return };
        match flushed {
            Ok(Flushed::All) => {
                if let Some(reason) = connection.closing {
                    self.close(slot, reason);
                }
            }
            Ok(Flushed::More) => self.flusher.mark(slot, connection),
            // It has stopped sending and does not read: nothing would ever end its wait.
            Ok(Flushed::Blocked) if connection.closing == Some(CloseReason::ClientGone) => {
                self.close(slot, CloseReason::ClientGone);
            }
            Ok(Flushed::Blocked) => connection.write_blocked = true,
            Err(_) => self.close(slot, CloseReason::SocketError),
        }
    }
}

impl Connection {
    fn flush(&mut self) -> io::Result<Flushed> {
        let mut sent = 0;
        while !self.output.is_empty() {
            if sent >= FLUSH_BYTES_MAX {
                return Ok(Flushed::More);
            }
            let transport = &mut self.transport;
            match self.output.write_some(|slices| transport.write(slices)) {
                Ok(n) => sent += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Flushed::Blocked),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if self.transport.wants_flush() {
            match self.transport.flush() {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Flushed::Blocked),
                Err(e) => return Err(e),
            }
        }
        Ok(Flushed::All)
    }
}
