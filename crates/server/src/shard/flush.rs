//! Flushing: who has output, who has too much of it, and how it gets out.
//!
//! The lists of connections with output and the list of those to be closed (`condemned`) stand apart from the connections, so that
//! fan-out can fill them while it walks the subscribers. What goes into a queue goes through here, so that nothing is queued
//! without its limit, and nothing for a connection that closes.
//!
//! Each turn sends to three lists, each for a bounded time: first to those who have asked for little and wait for nothing but their
//! answer (`answered`), so that they don't stand behind a fan-out to thousands; then to all others (`dirty`); then to those whose
//! sockets were full (`lagging`). Backlogs of detached connections that are over their limit (`overfull`) are trimmed behind that, as long
//! as it takes, and nobody publishes here until they are.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use crate::config::{Config, OutputLimit};
use crate::connection::backlog::DROPPED_AT_ONCE_MAX;
use crate::connection::chunk::Range;
use crate::connection::client::{Client, ClientType};
use crate::connection::output::LastCopy;
use crate::connection::state::{ConnectionRef, Wait};
use crate::connection::{CloseReason, Connection};
use crate::histogram::Histogram;
use crate::limits::{BACKLOG_BYTES, UNAUTHENTICATED_OUTPUT_BYTES_MAX};
use crate::shard::Shard;
use crate::stats::traffic::Probes;

/// Bytes sent to one connection in one go. Fan-out of 16 KiB in bursts of 64 costs 1.3 × the floor when a burst is sent by
/// one call, and 2.0 × in pieces of 64 KiB.
const FLUSH_BYTES_MAX: usize = 1024 * 1024;

/// The same for one that has more than [`LONG_QUEUE_BYTES`] to send, of which a socket may take several megabytes at once: a
/// megabyte is one to four milliseconds of the kernel's, in which nobody else is served. Bursts are shorter.
const LONG_BYTES_MAX: usize = 256 * 1024;

/// More than a burst of messages of tens of KiB: a message of megabytes, or a long backlog.
const LONG_QUEUE_BYTES: usize = 4 * 1024 * 1024;

/// The same for one that lags: a client with a huge backlog must not keep the shard from the others.
const LAGGING_BYTES_MAX: usize = 64 * 1024;

/// Time spent in one turn on those who ask for little, and as much on the others. A fan-out to thousands of subscribers is sent in
/// slices of it, between which other clients are read and answered.
const FLUSH_TIME_MAX: Duration = Duration::from_micros(1500);

/// Connections closed in one go: some half a millisecond.
const CLOSED_AT_ONCE: usize = 64;

/// Frames that leave a full backlog with what comes in, if that is not so much that it is at twice its limit: one that takes the place
/// of thousands may come to thousands of backlogs at once.
const DROPPED_WITH_A_PUSH: usize = 4;

/// Time spent in one turn on backlogs that are over their limit.
const TRIM_TIME_MAX: Duration = Duration::from_micros(1000);

/// Time spent in one turn on those that lag, beside the others.
const LAGGING_TIME_MAX: Duration = Duration::from_micros(100);

/// Connections flushed, or bytes that sockets took, between two readings of the clock: a message takes a few microseconds.
const FLUSHES_PER_CLOCK_READ: usize = 4;
const BYTES_PER_CLOCK_READ: u64 = 64 * 1024;

/// What was done since the clock was read.
#[derive(Debug, Default)]
struct SinceClockRead {
    flushes: usize,
    bytes: u64,
}

impl SinceClockRead {
    /// Notes a flush of so many bytes; `true`: the clock is to be read before the next one.
    #[inline]
    fn note(&mut self, bytes: u64) -> bool {
        self.flushes += 1;
        self.bytes += bytes;
        let is_due = self.flushes >= FLUSHES_PER_CLOCK_READ || self.bytes >= BYTES_PER_CLOCK_READ;
        if is_due {
            *self = SinceClockRead::default();
        }
        is_due
    }
}

/// Which connections have output, and which have too much.
#[derive(Debug)]
pub(crate) struct Flusher {
    /// Connections that have asked for little, and have nothing to send but the answer.
    answered: VecDeque<ConnectionRef>,
    dirty: VecDeque<ConnectionRef>,
    /// Connections that lag and whose sockets have room again.
    lagging: VecDeque<ConnectionRef>,
    /// Detached connections whose backlogs are over their limit.
    overfull: VecDeque<ConnectionRef>,
    /// Not all that was dirty could be offered to its socket in the last turn.
    has_unsent: bool,
    condemned: Vec<ConnectionRef>,
    /// There are more of them than are closed at once.
    closes_on: bool,
    normal: OutputLimit,
    pubsub: OutputLimit,
    /// Of streams of events.
    pages: OutputLimit,
    /// Of pages by Pusher's protocol.
    sockets: OutputLimit,
    /// What the backlog of a detached connection may hold.
    pub(super) backlog_bytes_max: usize,
    last_copy: LastCopy,
    /// Messages whose time to the socket is taken.
    probes: Probes,
    /// Bytes that sockets took.
    taken_bytes: u64,
}

impl Flusher {
    pub(crate) fn new(config: &Config) -> Flusher {
        let limits = &config.client_output_buffer_limit;
        Flusher {
            answered: VecDeque::new(),
            dirty: VecDeque::new(),
            lagging: VecDeque::new(),
            overfull: VecDeque::new(),
            has_unsent: false,
            condemned: Vec::new(),
            closes_on: false,
            normal: limits.normal,
            pubsub: limits.pubsub,
            pages: config.http_output_limit,
            sockets: config.pusher_output_limit,
            backlog_bytes_max: backlog_bytes_max(config),
            last_copy: LastCopy::default(),
            probes: Probes::default(),
            taken_bytes: 0,
        }
    }

    pub(crate) fn set_limits(&mut self, config: &Config) {
        (self.normal, self.pubsub) =
            (config.client_output_buffer_limit.normal, config.client_output_buffer_limit.pubsub);
        self.pages = config.http_output_limit;
        self.sockets = config.pusher_output_limit;
        self.backlog_bytes_max = backlog_bytes_max(config);
    }

    /// How many connections have messages to send, or much else.
    #[inline]
    pub(crate) fn messages(&self) -> usize {
        self.dirty.len()
    }

    /// How many connections have output to send.
    pub(crate) fn len(&self) -> usize {
        self.answered.len() + self.dirty.len()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.answered.is_empty()
            && self.dirty.is_empty()
            && self.lagging.is_empty()
            && self.overfull.is_empty()
            && !self.closes_on
    }

    /// Whether output waits that no socket has been offered, or backlogs hold more than they may: then nobody publishes more.
    pub(crate) fn holds_publishers(&self) -> bool {
        self.has_unsent || !self.overfull.is_empty()
    }

    /// Queues a message, or whatever else the connection didn't ask for just now. One that closes gets no more of it.
    #[inline]
    pub(crate) fn push(&mut self, connection: &mut Connection, range: Range) {
        if !connection.state().closes() || connection.is_about_to_detach() {
            self.queue(connection, range);
            self.mark(connection);
        }
    }

    /// Queues replies of the connection, the last one before it closes included.
    pub(crate) fn push_replies(&mut self, connection: &mut Connection, range: Range) {
        if connection.state().condemned().is_none() {
            self.queue(connection, range);
            self.mark(connection);
        }
    }

    /// The same, and they are sent before what others have: the connection has asked for little, and nobody got a message by it.
    pub(crate) fn push_answer(&mut self, connection: &mut Connection, range: Range) {
        if connection.state().condemned().is_none() {
            let has_nothing_else = connection.output.is_empty();
            self.queue(connection, range);
            self.mark_in(connection, has_nothing_else);
        }
    }

    /// Queues `range`, and condemns the connection if that is more than its hard limit allows.
    #[inline]
    fn queue(&mut self, connection: &mut Connection, range: Range) {
        connection.output.push(range);
        if connection.write_blocked {
            if connection.is_detached() {
                connection.output.settle_with(&mut self.last_copy);
            } else {
                connection.output.settle();
            }
        }
        if connection.output.queued_bytes() > SMALL_QUEUE_BYTES {
            self.check_limits(connection);
        }
    }

    /// As [`Flusher::push`], for what no request of the connection's asked for: a line of MONITOR, an invalidation. There
    /// is no request that could wait until it has read, so the hard limit of subscribers holds for such output.
    pub(crate) fn push_unasked(&mut self, connection: &mut Connection, range: Range) {
        if connection.output.is_empty() {
            connection.unasked_bytes = 0;
        }
        connection.unasked_bytes += range.len();
        self.push(connection, range);
        let waiting = connection.unasked_bytes.min(connection.output.queued_bytes()) as u64;
        if self.pubsub.hard_bytes > 0 && waiting > self.pubsub.hard_bytes {
            self.condemn_for_output(connection);
        }
    }

    /// Notes that the connection has output to send.
    #[inline]
    pub(crate) fn mark(&mut self, connection: &mut Connection) {
        self.mark_in(connection, false);
    }

    #[inline]
    fn mark_in(&mut self, connection: &mut Connection, comes_first: bool) {
        if !connection.is_dirty && !connection.write_blocked {
            connection.is_dirty = true;
            let list = match (connection.lags, comes_first) {
                (true, _) => &mut self.lagging,
                (false, true) => &mut self.answered,
                (false, false) => &mut self.dirty,
            };
            list.push_back(connection.me);
        }
    }

    /// Takes the time from `since`, when a message was published, until what `connection` has queued is sent.
    #[cold]
    pub(crate) fn begin_probe(&mut self, connection: &Connection, since: Instant, times: &Histogram) {
        if !connection.is_detached() && !connection.output.is_empty() {
            let sent_at_bytes = connection.net_out_bytes + connection.output.queued_bytes() as u64;
            self.probes.begin(connection.me, sent_at_bytes, since, times);
        }
    }

    /// Forgets the probes of connections that are gone.
    pub(crate) fn retain_probes(&mut self, is_there: impl Fn(ConnectionRef) -> bool) {
        if !self.probes.is_empty() {
            self.probes.retain(is_there);
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
            _ if connection.is_event_stream => self.pages,
            _ if connection.page.is_some() => self.sockets,
            ClientType::Pubsub => self.pubsub,
            _ => self.normal,
        }
    }

    /// Whether the connection is over its hard limit; called with every byte queued beyond a few.
    fn check_limits(&mut self, connection: &mut Connection) {
        if connection.is_detached() {
            return self.trim(connection);
        }
        let limit = self.limit_of(connection);
        if limit.hard_bytes > 0 && connection.output.queued_bytes() as u64 > limit.hard_bytes {
            self.condemn_for_output(connection);
        }
    }

    /// Drops of a backlog what is over its limit, if that is little: the rest later. What a script publishes, behind which nothing is
    /// done until it ends, must not make it grow for as long.
    fn trim(&mut self, connection: &mut Connection) {
        let has_grown = connection.output.queued_bytes() > self.backlog_bytes_max.saturating_mul(2);
        let frames_max = if has_grown { DROPPED_AT_ONCE_MAX } else { DROPPED_WITH_A_PUSH };
        if !connection.trim_backlog(self.backlog_bytes_max, frames_max)
            && let Some(resumption) = &mut connection.resumption
            && !std::mem::replace(&mut resumption.is_overfull, true)
        {
            self.overfull.push_back(connection.me);
        }
    }

    /// How many bytes the connection may have queued: with more it is closed.
    pub(crate) fn room_of(&self, connection: &Connection) -> usize {
        match self.limit_of(connection).hard_bytes {
            0 => usize::MAX,
            bytes => usize::try_from(bytes).unwrap_or(usize::MAX),
        }
    }

    /// As [`Flusher::check_limits`], with so many bytes that are about to be queued.
    pub(crate) fn check_with(&mut self, connection: &mut Connection, bytes: usize) {
        let limit = self.limit_of(connection);
        if limit.hard_bytes > 0 && (connection.output.queued_bytes() + bytes) as u64 > limit.hard_bytes {
            self.condemn_for_output(connection);
        }
    }

    /// Whether the connection has been over its soft limit for too long; called ten times a second.
    pub(crate) fn check_soft_limit(&mut self, connection: &mut Connection, now_ms: u64) {
        if connection.is_detached() {
            return self.trim(connection);
        }
        let limit = self.limit_of(connection);
        if limit.soft_bytes == 0 || connection.output.queued_bytes() as u64 <= limit.soft_bytes {
            connection.over_soft_limit_since_ms = None;
            return;
        }
        let since = *connection.over_soft_limit_since_ms.get_or_insert(now_ms);
        if now_ms.saturating_sub(since) > limit.soft_seconds * 1000 {
            self.condemn_for_output(connection);
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

    fn condemn_for_output(&mut self, connection: &mut Connection) {
        if connection.state().condemned().is_none() {
            connection.publish_gauges();
            self.condemn(connection, CloseReason::OutputLimit);
        }
    }

    /// Has the connection closed as soon as nobody walks the subscribers.
    pub(crate) fn condemn(&mut self, connection: &mut Connection, reason: CloseReason) {
        if connection.condemn(reason) {
            self.condemned.push(connection.me);
        }
    }

    #[inline]
    pub(crate) fn has_condemned(&self) -> bool {
        !self.condemned.is_empty()
    }

    /// Those that are to be closed now: of very many, the first.
    pub(crate) fn take_condemned(&mut self) -> Vec<ConnectionRef> {
        let rest = self.condemned.split_off(self.condemned.len().min(CLOSED_AT_ONCE));
        self.closes_on = !rest.is_empty();
        std::mem::replace(&mut self.condemned, rest)
    }

    /// Has the rest of them be closed later: it took long enough.
    pub(crate) fn put_back_condemned(&mut self, rest: impl ExactSizeIterator<Item = ConnectionRef>) {
        self.closes_on |= rest.len() > 0;
        self.condemned.splice(0..0, rest);
    }

    /// Keeps one that can't be closed yet.
    pub(crate) fn condemn_later(&mut self, who: ConnectionRef) {
        self.condemned.push(who);
    }
}

/// `resume-buffer`, and never more than a successor may have queued.
fn backlog_bytes_max(config: &Config) -> usize {
    let hard_bytes = match config.client_output_buffer_limit.pubsub.hard_bytes {
        0 => u64::MAX,
        bytes => bytes / 2,
    };
    usize::try_from(config.resume_buffer.min(hard_bytes)).unwrap_or(usize::MAX)
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
        self.flusher.last_copy.forget();
        self.flush_list(|flusher| &mut flusher.answered);
        self.flush_list(|flusher| &mut flusher.dirty);
        self.flusher.has_unsent = !self.flusher.dirty.is_empty();
        if !self.flusher.lagging.is_empty() {
            self.flush_lagging();
        }
        if !self.flusher.overfull.is_empty() {
            self.trim_overfull();
        }
    }

    /// Sends to those who are in the list now, for a bounded time.
    fn flush_list(&mut self, list: impl Fn(&mut Flusher) -> &mut VecDeque<ConnectionRef>) {
        let waiting = list(&mut self.flusher).len();
        if waiting == 0 {
            return;
        }
        let (start, mut since) = (Instant::now(), SinceClockRead::default());
        for _ in 0..waiting {
            let Some(who) = list(&mut self.flusher).pop_front() else { break };
            let before = self.flusher.taken_bytes;
            self.flush(who);
            if since.note(self.flusher.taken_bytes - before) && start.elapsed() > FLUSH_TIME_MAX {
                break;
            }
        }
    }

    /// Goes on with backlogs that are over their limit, for a bounded time.
    fn trim_overfull(&mut self) {
        let (start, bytes_max) = (Instant::now(), self.flusher.backlog_bytes_max);
        while let Some(who) = self.flusher.overfull.pop_front() {
            let Some(connection) = self.connection_of(who) else { continue };
            let is_within = connection.trim_backlog(bytes_max, DROPPED_AT_ONCE_MAX);
            if let Some(resumption) = &mut connection.resumption {
                resumption.is_overfull = !is_within;
            }
            if !is_within {
                self.flusher.overfull.push_back(who);
            }
            if start.elapsed() > TRIM_TIME_MAX {
                break;
            }
        }
    }

    fn flush_lagging(&mut self) {
        let start = Instant::now();
        for _ in 0..self.flusher.lagging.len() {
            let Some(who) = self.flusher.lagging.pop_front() else { break };
            self.flush(who);
            if start.elapsed() > LAGGING_TIME_MAX {
                break;
            }
        }
    }

    /// Closes the connection, after sending of what it was promised as much as its socket takes at once.
    ///
    /// What was published before CLIENT KILL reaches the client before the end does. Not to be called by a command: while
    /// one is executed, the chunk of replies is on loan.
    pub(crate) fn flush_and_close(&mut self, who: ConnectionRef, reason: CloseReason) {
        debug_assert!(self.current.who.is_none(), "the chunk of replies is on loan");
        self.end_run();
        self.flush(who);
        if self.connection_of(who).is_some() {
            self.close(who.slot, reason);
        }
    }

    fn flush(&mut self, who: ConnectionRef) {
        let Some(connection) = self.connection_of(who) else { return };
        let slot = who.slot;
        connection.is_dirty = false;
        // Replies wait with their request: other shards have yet to do their part. A detached one has no socket.
        if matches!(connection.state().wait(), Some(Wait::Acks { .. } | Wait::Successor)) {
            return;
        }
        let has_output = !connection.output.is_empty();
        if self.durability.is_gated && has_output && self.awaits_disk(slot) {
            return;
        }
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let before = connection.output.queued_bytes();
        let flushed = connection.flush();
        connection.depends_on.note_free(connection.output.queued_bytes());
        let sent = (before - connection.output.queued_bytes()) as u64;
        connection.net_out_bytes += sent;
        self.flusher.taken_bytes += sent;
        if self.flusher.probes.has_one_to(who) {
            let times = &self.server.shards[self.index].traffic.latency;
            self.flusher.probes.note_sent(who, connection.net_out_bytes, times);
        }
        if connection.output.keeps_much() {
            connection.forget_acknowledged();
        }
        Client::add(&self.server.shards[self.index].net_out_bytes, sent);
        let has_drained = connection.output.queued_bytes() <= BACKLOG_BYTES / 2;
        let is_awaited = self.passing.is_some() || connection.follow.is_some();
        if !is_awaited && connection.state().reads() && matches!(flushed, Ok(Flushed::All)) {
            // So are most: nobody waits for the room.
            connection.lags = false;
            return;
        }
        if has_drained && matches!(connection.state().wait(), Some(Wait::Output)) {
            self.resume(slot);
        }
        if has_drained && self.passing.is_some() && self.connections.contains(slot) {
            self.give_room(slot);
        }
        self.note_room(slot);
        let Some(connection) = self.connections.get_mut(slot) else { return };
        match flushed {
            Ok(Flushed::All) => {
                connection.lags = false;
                if let Some(reason) = connection.state().drains() {
                    self.close(slot, reason);
                }
            }
            Ok(Flushed::More) => {
                // However fast it reads, publishers, and mail, don't wait for the end of a long reply.
                connection.lags |= connection.subscriptions.is_empty()
                    && connection.output.queued_bytes() > LONG_QUEUE_BYTES;
                self.flusher.mark(connection);
            }
            // It has stopped sending and does not read: nothing would ever end its wait.
            Ok(Flushed::Blocked) if connection.state().drains() == Some(CloseReason::ClientGone) => {
                self.close(slot, CloseReason::ClientGone);
            }
            Ok(Flushed::Blocked) => {
                connection.write_blocked = true;
                connection.lags = true;
                connection.output.settle();
            }
            Err(_) => self.close(slot, CloseReason::SocketError),
        }
    }
}

/// How many bytes one is sent in one go that has `queued_bytes` to send.
fn bytes_at_once(lags: bool, queued_bytes: usize) -> usize {
    match queued_bytes {
        _ if lags => LAGGING_BYTES_MAX,
        bytes if bytes > LONG_QUEUE_BYTES => LONG_BYTES_MAX,
        _ => FLUSH_BYTES_MAX,
    }
}

impl Connection {
    fn flush(&mut self) -> io::Result<Flushed> {
        let bytes_max = bytes_at_once(self.lags, self.output.queued_bytes());
        let mut sent = 0;
        while !self.output.is_empty() {
            if sent >= bytes_max {
                return Ok(Flushed::More);
            }
            let transport = &mut self.transport;
            match self.output.write_some(bytes_max - sent, |slices| transport.write(slices)) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_sent_in_one_go_and_of_a_message_of_megabytes_a_piece() {
        // 64 of 16 KiB, with what frames them.
        let burst = 64 * (16 * 1024 + 64);
        assert!(bytes_at_once(false, burst) >= 1 << 20);
        assert_eq!(bytes_at_once(false, 512 << 20), LONG_BYTES_MAX);
        assert_eq!(bytes_at_once(true, burst), LAGGING_BYTES_MAX);
    }

    #[test]
    fn the_clock_is_read_behind_each_long_send_and_behind_a_few_short_ones() {
        let mut since = SinceClockRead::default();
        let due = [60, 16_384, 49_152, 1_000_000, 700_000, 0, 60, 60, 60, 60, 65_536]
            .map(|bytes| since.note(bytes));
        let expected = [false, false, true, true, true, false, false, false, true, false, true];
        assert_eq!(due, expected);
    }
}
