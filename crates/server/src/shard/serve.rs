//! Serving a connection: read once, parse in place, execute, and keep what is left.
//!
//! ```text
//!   socket ──read──► scratch (the shard's, 64 KiB) ──parse──► Args ──execute──► reply bytes ──► output queue
//!                        ├ bytes of an incomplete request ──► Partial ┐ the connection's own,
//!                        └ bytes that must wait ────────────► Unread  ┘ gone when they drain (`connection/input.rs`)
//! ```
//!
//! A request that began in an earlier read is completed in its `Partial` with just the bytes it lacks, and the rest of
//! the read is parsed in place again. A batch ends when the read is used up, when the connection must wait (`Wait`), or
//! when it has had its time; then the rest of the read becomes `Unread`, and the connection stays ready. What is unread is
//! served before the socket is read again, a block at a time, as if it came from there.

use std::io;
use std::time::{Duration, Instant};

use sterna_keyspace::Garbage;
use sterna_protocol::{Args, Limits, Parser, Progress, ProtocolError, Reply};

use crate::connection::chunk::Range;
use crate::connection::client::Client;
use crate::connection::input::Partial;
use crate::connection::pace::Class;
use crate::connection::state::Wait;
use crate::connection::{CloseReason, Connection};
use crate::limits::{
    UNAUTHENTICATED_INPUT_BYTES_MAX, UNAUTHENTICATED_READ_BYTES, UNAUTHENTICATED_REQUESTS_PER_TURN,
};
use crate::log_limit::Cause;
use crate::shard::{READ_BYTES, Shard};

/// Time one connection may use in one turn, over several reads if each fills the buffer.
pub(super) const BATCH_TIME_MAX: Duration = Duration::from_micros(500);

/// Time after which a connection is not read from again in its turn: who asks for little waits for one full buffer of a client with
/// an endless pipeline, not for three. To read on saves nothing but where what was read is for many others: each is sent more by
/// one call.
pub(super) const READ_AGAIN_TIME_MAX: Duration = Duration::from_micros(150);

/// So many connections with messages to send are many.
const MANY_RECEIVERS: usize = 8;

/// Bytes read from one connection in one turn where they are for many. Each is sent them by one call, which costs the less for a
/// message the more there are; but what is sent to all of them together must not leave the processor's caches before it is read.
const READ_FOR_MANY_MAX: usize = 512 * 1024;

/// Bytes read at once from a client with long bursts while there are others who ask for little: what those wait for is mostly that one
/// read is worked off. Each read costs some microseconds, which is why it isn't less, and more where nobody waits.
const READ_BESIDE_QUIET: usize = 16 * 1024;

/// Bytes handed to an incomplete request when it isn't known how many it lacks.
const PARTIAL_STEP: usize = 512;

/// A request with so many arguments is wide, if it is as long: it takes as long as a hundred others, whoever asks. Bytes tell most
/// requests from it without a look.
const WIDE_ARGS_MIN: usize = 256;
const WIDE_BYTES_MIN: usize = 2048;

/// Reply bytes after which a new chunk is begun, so that one doesn't grow without bound in a batch.
const REPLY_CHUNK_BYTES: usize = 256 * 1024;

/// So many requests at once are answered before messages are sent to others. A pipeline takes its turn with those.
const ANSWERED_FIRST_MAX: usize = 4;

/// A batch being served: the reply buffer on loan, and how long it may take.
pub(super) struct Serving {
    pub(super) slot: usize,
    pub(super) out: Vec<u8>,
    start: usize,
    /// When others have waited long enough.
    until: Instant,
    requests: usize,
    /// Requests after which others have waited long enough.
    requests_max: usize,
    /// Connections with messages to send when it began.
    messages: usize,
}

impl Serving {
    /// Whether others have waited long enough by now.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now > self.until || self.requests >= self.requests_max
    }
}

/// How many arguments the request has, of which these are the first bytes, by what it says itself.
fn arguments_said(bytes: &[u8]) -> Option<usize> {
    let digits = bytes.strip_prefix(b"*")?.split(|&byte| byte == b'\r').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

impl Shard {
    /// Reads from the connection once and executes what has arrived. Returns whether there may be more and time for it.
    pub(super) fn serve(&mut self, slot: usize) -> bool {
        let connection = &mut self.connections[slot];
        if connection.state().closes() || connection.is_detached() {
            return false;
        }
        let is_held = connection.state().wait().is_some();
        if matches!(connection.state().wait(), Some(Wait::Parts)) {
            // What follows is left in the socket meanwhile.
            self.serve_parts(slot);
            return false;
        }
        if connection.has_backlog() && !is_held {
            if connection.page.is_some() {
                self.serve_page(slot, &[]);
                self.make_ready(slot);
                return false;
            }
            return self.serve_backlog(slot);
        }
        if is_held && !self.has_room_for_input(slot) {
            // It is left in the socket, and read when the connection goes on.
            return false;
        }
        if !is_held && self.publishes_too_early(slot) {
            self.hold_for_credit(slot, 1 << self.index);
            return false;
        }
        let mut goes_on = false;
        let room = self.bytes_to_read(slot);
        let mut scratch = std::mem::take(&mut self.scratch);
        match self.connections[slot].transport.read(&mut scratch[..room]) {
            Ok(0) => self.close_gone(slot),
            Ok(n) => {
                let connection = &mut self.connections[slot];
                connection.net_in_bytes += n as u64;
                self.current.read_bytes += n;
                Client::add(&self.server.shards[self.index].net_in_bytes, n as u64);
                let mut is_put_behind = false;
                if self.connections[slot].page.is_some() {
                    self.serve_page(slot, &scratch[..n]);
                } else if self.connections[slot].is_event_stream {
                    // Whatever is sent on one is no request.
                } else if is_held {
                    self.keep(slot, &scratch[..n]);
                } else if n >= WIDE_BYTES_MIN && self.lets_quiet_pass(slot, &scratch[..n]) {
                    self.keep(slot, &scratch[..n]);
                    if let Some(connection) = self.connections.get_mut(slot) {
                        self.ready.add_behind_quiet(connection);
                    }
                    is_put_behind = true;
                } else {
                    self.serve_bytes(slot, &scratch[..n]);
                }
                // A full buffer means that there may be more, and there will be no new edge for it; under TLS, records
                // that have been decrypted already make no edge either, nor does the end of what the peer sends if it
                // came with the last bytes.
                let has_no_edge = |connection: &Connection| {
                    n == room || connection.transport.is_tls() || connection.read_closed
                };
                if self.connections.get(slot).is_some_and(has_no_edge) {
                    // What a page sends takes no time, by which there would be no end.
                    goes_on = n == READ_BYTES
                        && !is_put_behind
                        && self.goes_on(slot)
                        && !self.connections[slot].is_event_stream
                        && self.may_read_again(slot);
                    if !goes_on {
                        self.make_ready(slot);
                    }
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => self.make_ready(slot),
            Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                if self.server.log_limits.admits(Cause::Tls, self.clock.now_ms) {
                    tracing::info!(error = %e, addr = %self.connections[slot].client.address.peer(), "TLS failed");
                }
                self.close(slot, CloseReason::TlsError);
            }
            Err(_) => self.close(slot, CloseReason::SocketError),
        }
        self.scratch = scratch;
        goes_on
    }

    /// How many bytes are read from the connection at once.
    fn bytes_to_read(&self, slot: usize) -> usize {
        let connection = &self.connections[slot];
        if connection.is_unauthenticated() {
            UNAUTHENTICATED_READ_BYTES
        } else if connection.pace.class() == Class::Busy
            && self.ready.had_quiet(connection.me, self.clock.instant)
            && !self.has_many_receivers(slot)
        {
            READ_BESIDE_QUIET
        } else {
            READ_BYTES
        }
    }

    /// Whether quiet clients are served before what a quiet one has just sent, because that is wide.
    #[cold]
    fn lets_quiet_pass(&self, slot: usize, bytes: &[u8]) -> bool {
        let connection = &self.connections[slot];
        if connection.pace.class() != Class::Quiet
            || connection.is_unauthenticated()
            || connection.read_closed
            || !self.ready.has_quiet()
        {
            return false;
        }
        let head = connection.partial.as_ref().map_or(bytes, |partial| partial.request.bytes());
        arguments_said(head).is_some_and(|args| args >= WIDE_ARGS_MIN)
    }

    /// Whether the connection that is served may be read from again in its turn.
    fn may_read_again(&self, slot: usize) -> bool {
        match self.has_many_receivers(slot) {
            true => self.clock.instant < self.current.until && self.current.read_bytes < READ_FOR_MANY_MAX,
            false => self.clock.instant < self.current.read_until,
        }
    }

    /// Whether what was read of the connection last is for many.
    fn has_many_receivers(&self, slot: usize) -> bool {
        let connection = self.connections.get(slot);
        connection.is_some_and(|connection| connection.has_just_published)
            && self.flusher.messages() >= MANY_RECEIVERS
    }

    /// Whether the connection publishes one message after the other to this shard, which has yet to send what was published. The next
    /// message would only be queued behind that, and what is read with it would be kept as a copy until then.
    fn publishes_too_early(&self, slot: usize) -> bool {
        let connection = &self.connections[slot];
        connection.has_just_published
            && connection.pace.class() == Class::Busy
            && self.credit.is_behind_itself(self.index)
    }

    /// The client sends no more. Requests that wait for the server are executed, and replies that wait for the disk, or for their
    /// turn to be sent, are sent before its connection is closed: it may have ended only its own half. One that can be resumed is
    /// detached with them.
    pub(super) fn close_gone(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        let is_closing = connection.state().closes();
        if let Some(passed) = &mut connection.passed
            && passed.is_under_way()
            && !passed.awaits_others()
            && !is_closing
        {
            passed.ends = true;
            return;
        }
        let is_kept = connection.resumption.is_some();
        let is_answered = connection.state().wait().is_some_and(Wait::ends_by_itself);
        if connection.round.is_some() && !is_closing || is_answered && !is_kept && connection.page.is_none() {
            // Its end is read once more behind that.
            connection.read_closed = true;
            return;
        }
        if connection.state().reads()
            && !connection.output.is_empty()
            && !connection.write_blocked
            && !is_kept
        {
            self.drain(slot, CloseReason::ClientGone);
        } else {
            self.close(slot, CloseReason::ClientGone);
        }
    }

    /// Goes on with what arrived earlier and had to wait. Returns whether there is more and time for it.
    fn serve_backlog(&mut self, slot: usize) -> bool {
        let connection = &mut self.connections[slot];
        if let Some(partial) = &mut connection.partial
            && partial.request.is_moving()
        {
            if let Some(old) = partial.request.go_on() {
                let bytes = old.capacity();
                self.server.reclaimer.free(vec![Garbage::of_other(Box::new(old), bytes)]);
            }
        } else if let Some(partial) = connection.partial.take_if(|partial| partial.is_whole) {
            let mut serving = self.begin(slot);
            self.execute_whole(&mut serving, partial);
            self.finish(serving);
        } else if let Some((block, read)) = connection.unread.as_mut().and_then(|unread| unread.take()) {
            let used = self.serve_unread(slot, &block[read..]);
            if let Some(connection) = self.connections.get_mut(slot)
                && let Some(unread) = &mut connection.unread
            {
                unread.give_back(block, read + used);
                connection.unread.take_if(|unread| unread.is_empty());
            }
        }
        // The socket may hold more, and its edge has been used up.
        self.make_ready(slot);
        // What is for many is sent with what the socket holds.
        self.goes_on(slot)
            && (self.connections[slot].has_backlog() || self.has_many_receivers(slot))
            && self.connections[slot].page.is_none()
            && Instant::now() < self.current.until
    }

    fn serve_bytes(&mut self, slot: usize, bytes: &[u8]) {
        let used = self.serve_unread(slot, bytes);
        if used < bytes.len() {
            self.keep(slot, &bytes[used..]);
        }
        if self.goes_on(slot) && self.connections[slot].has_backlog() {
            self.make_ready(slot);
        }
    }

    /// Executes the requests in `bytes`, which stand behind what the connection has of an incomplete one. Returns how many were
    /// used; the others have to wait.
    fn serve_unread(&mut self, slot: usize, bytes: &[u8]) -> usize {
        let mut serving = self.begin(slot);
        let mut used = 0;
        let mut goes_on = true;
        if let Some(partial) = self.connections[slot].partial.take() {
            (used, goes_on) = self.complete_partial(&mut serving, partial, bytes);
        }
        if goes_on {
            let parser = std::mem::take(&mut self.parser);
            let (more, ended, parser) = self.execute_all(&mut serving, &bytes[used..], parser);
            used += more;
            if ended == End::Incomplete && used < bytes.len() {
                // The parser knows its place in these bytes, so it goes with them.
                self.keep_incomplete(slot, &bytes[used..], parser);
                used = bytes.len();
            } else {
                self.parser = parser;
            }
        }
        self.finish(serving);
        used
    }

    /// Gives an incomplete request the bytes it lacks. Returns how many of `bytes` were used, and whether the batch
    /// goes on behind them.
    fn complete_partial(
        &mut self,
        serving: &mut Serving,
        mut partial: Box<Partial>,
        bytes: &[u8],
    ) -> (usize, bool) {
        let slot = serving.slot;
        let limits = self.limits_of(slot);
        let mut used = 0;
        loop {
            let held = partial.request.len();
            match partial.parser.parse(partial.request.bytes(), &limits) {
                Ok(Progress::Request { consumed }) => {
                    // Bytes behind the request, if any, came from `bytes` just now: they are given back.
                    used -= held - consumed;
                    partial.request.truncate(consumed);
                    return (used, self.execute_whole(serving, partial));
                }
                Ok(Progress::Incomplete { bytes_at_least }) => {
                    if used == bytes.len() {
                        self.connections[slot].partial = Some(partial);
                        self.check_query_limit(slot);
                        return (used, false);
                    }
                    let lacking = bytes_at_least.saturating_sub(held).max(PARTIAL_STEP);
                    let take = lacking.min(bytes.len() - used);
                    if !partial.request.append(&bytes[used..used + take], bytes_at_least) {
                        // It is copied to a larger buffer first.
                        self.connections[slot].partial = Some(partial);
                        return (used, false);
                    }
                    used += take;
                }
                Err(error) => {
                    self.refuse(serving, &error);
                    return (bytes.len(), false);
                }
            }
        }
    }

    /// Executes a request that is all there. Returns whether the batch goes on.
    fn execute_whole(&mut self, serving: &mut Serving, mut partial: Box<Partial>) -> bool {
        let slot = serving.slot;
        let taken = self.execute_one(serving, partial.parser.args(partial.request.bytes()));
        if self.awaits_request(slot) {
            let Partial { request, parser, .. } = *partial;
            self.hand_over(slot, request.into_bytes(), 0, parser);
            return self.goes_on(slot);
        }
        if !taken && let Some(connection) = self.connections.get_mut(slot) {
            partial.is_whole = true;
            connection.partial = Some(partial);
            return false;
        }
        self.goes_on(slot)
    }

    /// Executes the requests in `bytes`. Returns how many bytes they were, why it ended, and the parser, which knows
    /// its place in the rest if that is an incomplete request.
    fn execute_all(
        &mut self,
        serving: &mut Serving,
        bytes: &[u8],
        mut parser: Parser,
    ) -> (usize, End, Parser) {
        let slot = serving.slot;
        let mut used = 0;
        let mut limits = self.limits_of(slot);
        if !limits.unauthenticated
            && let Some(fetched) = self.fetched_ahead(slot, bytes, &limits)
        {
            return self.execute_reading_ahead(serving, bytes, &limits, parser, fetched);
        }
        while used < bytes.len() {
            match parser.parse(&bytes[used..], &limits) {
                Ok(Progress::Request { consumed }) => {
                    if self.execute_one(serving, parser.args(&bytes[used..])) {
                        used += consumed;
                    }
                    if self.awaits_request(slot) {
                        let request = bytes[used - consumed..used].to_vec();
                        self.hand_over(slot, request, 0, std::mem::take(&mut parser));
                    }
                    if !self.goes_on(slot) {
                        return (used, End::Held, parser);
                    }
                    if limits.unauthenticated {
                        // It may have said who it is.
                        limits = self.limits_of(slot);
                    }
                    if serving.is_over(self.clock.instant) {
                        return (used, if used < bytes.len() { End::OutOfTime } else { End::Done }, parser);
                    }
                }
                Ok(Progress::Incomplete { .. }) => return (used, End::Incomplete, parser),
                Err(error) => {
                    self.refuse(serving, &error);
                    return (bytes.len(), End::Held, parser);
                }
            }
        }
        (used, End::Done, parser)
    }

    /// Whether the connection's next request may be executed.
    pub(super) fn goes_on(&self, slot: usize) -> bool {
        self.connections.get(slot).is_some_and(|connection| connection.state().reads())
    }

    /// Executes a request; false if it was not taken, because it has to wait itself.
    #[inline]
    pub(super) fn execute_one(&mut self, serving: &mut Serving, args: Args<'_>) -> bool {
        if args.is_empty() {
            return true;
        }
        serving.requests += 1;
        let taken = self.dispatch(serving.slot, args, &mut serving.out);
        self.after_part(serving);
        self.check_credit(serving.slot);
        if let Some(connection) = self.connections.get(serving.slot)
            && self.flusher.holds_back(connection)
        {
            self.wait(serving.slot, Wait::Output, None);
        }
        taken
    }

    /// Who has to be closed is closed, what the connection published to itself follows its reply, and a long reply is queued.
    // Mostly there is none of that: a call would cost more than what is looked at.
    #[inline(always)]
    pub(super) fn after_part(&mut self, serving: &mut Serving) {
        if self.flusher.has_condemned() {
            // The end of a page may be told to the connection: it comes among what follows the reply.
            self.reap();
        }
        if !self.current.deferred.is_empty() {
            self.queue_deferred(serving);
        }
        if serving.out.len() - serving.start > REPLY_CHUNK_BYTES {
            self.queue_replies(serving);
        }
    }

    /// Answers a protocol error; the connection closes once the answer is out.
    pub(super) fn refuse(&mut self, serving: &mut Serving, error: &ProtocolError) {
        let connection = &mut self.connections[serving.slot];
        Reply::new(&mut serving.out, connection.proto).error(&error.wire());
        let addr = connection.client.address.peer();
        if *error == ProtocolError::Tls && self.server.log_limits.admits(Cause::Tls, self.clock.now_ms) {
            tracing::info!(%addr, "a client speaks TLS to a port without it");
        } else {
            tracing::debug!(%error, %addr, "protocol error");
        }
        self.drain(serving.slot, CloseReason::ProtocolError);
    }

    pub(super) fn begin(&mut self, slot: usize) -> Serving {
        self.current.who = Some(self.connections[slot].me);
        self.current.is_ordinary = None;
        self.credit.begin_request();
        self.begin_look();
        let out = self.replies.lend();
        self.clock.advance();
        let is_unauthenticated =
            self.connections.get(slot).is_some_and(|connection| connection.is_unauthenticated());
        let requests_max = if is_unauthenticated { UNAUTHENTICATED_REQUESTS_PER_TURN } else { usize::MAX };
        let messages = self.flusher.messages();
        Serving {
            slot,
            start: out.len(),
            out,
            until: self.current.until,
            requests: 0,
            requests_max,
            messages,
        }
    }

    pub(super) fn finish(&mut self, mut serving: Serving) {
        let has_just_published = self.fanout.has_local_run();
        self.end_run();
        self.queue_replies(&mut serving);
        self.replies.give_back(serving.out, usize::MAX);
        self.current.who = None;
        self.current.is_ordinary = None;
        if self.clients_bytes_max().is_some()
            && let Some(connection) = self.connections.get(serving.slot)
        {
            connection.publish_gauges();
        }
        if let Some(connection) = self.connections.get_mut(serving.slot) {
            connection.has_just_published = has_just_published;
            if let Some(reason) = connection.state().drains()
                && connection.output.is_empty()
                && !connection.is_dirty
            {
                self.flusher.condemn(connection, reason);
            }
        }
        if self.flusher.has_condemned() {
            self.reap();
        }
    }

    /// Moves the replies written so far to the connection's queue.
    fn queue_replies(&mut self, serving: &mut Serving) {
        let out = std::mem::take(&mut serving.out);
        let range = self.replies.give_back(out, serving.start);
        if let (Some(range), Some(connection)) = (range, self.connections.get_mut(serving.slot)) {
            let asks_for_little =
                serving.requests <= ANSWERED_FIRST_MAX && serving.messages == self.flusher.messages();
            if asks_for_little {
                self.flusher.push_answer(connection, range);
            } else {
                self.flusher.push_replies(connection, range);
            }
        }
        serving.out = self.replies.lend();
        serving.start = serving.out.len();
    }

    /// Queues a reply that is not in the buffer of replies, behind those that are.
    pub(super) fn queue_reply(&mut self, serving: &mut Serving, range: Range) {
        self.queue_replies(serving);
        if let Some(connection) = self.connections.get_mut(serving.slot) {
            self.flusher.push_replies(connection, range);
        }
    }

    /// What the connection published to itself follows the reply to that. To one that closes the reply is the last.
    fn queue_deferred(&mut self, serving: &mut Serving) {
        self.queue_replies(serving);
        for range in std::mem::take(&mut self.current.deferred) {
            if let Some(connection) = self.connections.get_mut(serving.slot) {
                self.flusher.push(connection, range);
            }
        }
    }

    #[inline]
    fn limits_of(&self, slot: usize) -> Limits {
        let unauthenticated =
            self.connections.get(slot).is_some_and(|connection| connection.is_unauthenticated());
        Limits {
            bulk_bytes_max: self.config.proto_max_bulk_len as usize,
            unauthenticated,
            ..Limits::default()
        }
    }

    /// Keeps bytes that can't be executed yet.
    fn keep(&mut self, slot: usize, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        if connection.state().closes() || connection.is_detached() {
            return;
        }
        connection.unread.get_or_insert_default().push(bytes);
        self.check_query_limit(slot);
    }

    fn keep_incomplete(&mut self, slot: usize, bytes: &[u8], parser: Parser) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        connection.partial = Some(Box::new(Partial::of(bytes, parser)));
        self.check_query_limit(slot);
    }

    /// Whether the connection is over `client-query-buffer-limit`. What MULTI has queued has not been executed either.
    pub(crate) fn check_query_limit(&mut self, slot: usize) {
        let connection = &self.connections[slot];
        let bytes = connection.input_bytes();
        if bytes as u64 <= self.input_limit_of(slot) {
            return;
        }
        if self.server.log_limits.admits(Cause::QueryLimit, self.clock.now_ms) {
            let client = self.describe(slot);
            tracing::warn!(bytes, %client, "closing client that reached max query buffer length");
        }
        self.condemn(slot, CloseReason::QueryLimit);
    }

    fn input_limit_of(&self, slot: usize) -> u64 {
        let limit = self.config.client_query_buffer_limit;
        match self.connections[slot].is_unauthenticated() {
            true => limit.min(UNAUTHENTICATED_INPUT_BYTES_MAX as u64),
            false => limit,
        }
    }

    /// Whether a connection that waits may have more of its requests read: up to its limit, so that a client which sends
    /// all it has before it reads the first reply is served. One that doesn't read its replies is spared the end that
    /// passing the limit would be; one that waits for credit is to notice that it does.
    fn has_room_for_input(&self, slot: usize) -> bool {
        let connection = &self.connections[slot];
        if connection.page.as_ref().is_some_and(|page| page.has_backlog()) {
            return false;
        }
        match connection.state().wait() {
            Some(Wait::Output) => (connection.input_bytes() + READ_BYTES) as u64 <= self.input_limit_of(slot),
            Some(Wait::Credit { .. }) => false,
            _ => true,
        }
    }
}

/// Why a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// All bytes have been used.
    Done,
    /// The rest is the beginning of a request.
    Incomplete,
    /// The connection must wait, or closes.
    Held,
    /// Others have waited long enough.
    OutOfTime,
}
