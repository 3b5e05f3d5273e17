//! One client's connection, as its shard sees it.
//!
//! A connection is a socket, what is left of an incomplete request, an output queue, and what the client asked to be
//! (user, protocol, subscriptions, transaction). Everything that only some connections need is behind a pointer that
//! is null while it isn't needed: an idle connection owns no buffer.

pub(crate) mod backlog;
pub(crate) mod chunk;
pub(crate) mod circle;
pub(crate) mod client;
pub(crate) mod dependence;
pub(crate) mod fieldsets;
pub(crate) mod follow;
pub(crate) mod input;
pub(crate) mod mover;
pub(crate) mod output;
pub(crate) mod pace;
pub(crate) mod page;
pub(crate) mod passed;
pub(crate) mod pipe;
pub(crate) mod resumption;
pub(crate) mod round;
pub(crate) mod state;
pub(crate) mod tracking;
pub(crate) mod transaction;
pub(crate) mod transport;
mod unacknowledged;
pub(crate) mod waits;

use std::rc::Rc;
use std::sync::Arc;

use sterna_protocol::{OwnedArgs, Proto};
use sterna_pubsub::Subscriptions;

use crate::acl::User;
use circle::Circle;
use client::{Client, ClientId, mark};
use dependence::Dependence;
use fieldsets::Fieldsets;
use follow::Follow;
use input::{Partial, Unread};
use output::OutputQueue;
use pace::Pace;
use page::Page;
use passed::Passed;
use resumption::Resumption;
use round::Round;
use state::{ConnectionRef, State, Wait, Waiting};
use transaction::Transaction;
use transport::Transport;

/// Why a connection was closed. Every close has one; INFO counts them and the log names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum CloseReason {
    /// The client closed its end.
    ClientGone,
    /// The socket failed.
    SocketError,
    /// The client broke the protocol.
    ProtocolError,
    /// QUIT, or the reply to a refused connection has been sent.
    Quit,
    /// CLIENT KILL.
    Killed,
    /// Idle longer than `timeout`.
    Idle,
    /// Over `client-output-buffer-limit`.
    OutputLimit,
    /// Over `client-query-buffer-limit`.
    QueryLimit,
    /// The TLS handshake or session failed.
    TlsError,
    /// The user was deleted, or may no longer be sent what it asked for.
    UserRemoved,
    /// It did not authenticate, or finish its TLS handshake, within `authentication-timeout`.
    Unauthenticated,
    /// The client spoke HTTP.
    Http,
    /// All clients together held more than `maxmemory-clients`, and it the most.
    Evicted,
    /// It was detached, and another connection has taken over all its subscriptions.
    Resumed,
    /// It was detached, and nobody has come within `resume-window`.
    Expired,
    /// Its socket went to a thread that sends a copy of the keys or the journal.
    Copied,
    /// The node that leads was lost, and it is not known whether that has executed what the client waits for.
    LeaderLost,
    /// The server stops.
    Shutdown,
}

impl CloseReason {
    /// Every reason, in the order INFO shows them.
    pub(crate) const ALL: [CloseReason; 18] = [
        CloseReason::ClientGone,
        CloseReason::SocketError,
        CloseReason::ProtocolError,
        CloseReason::Quit,
        CloseReason::Killed,
        CloseReason::Idle,
        CloseReason::OutputLimit,
        CloseReason::QueryLimit,
        CloseReason::TlsError,
        CloseReason::UserRemoved,
        CloseReason::Unauthenticated,
        CloseReason::Http,
        CloseReason::Evicted,
        CloseReason::Resumed,
        CloseReason::Expired,
        CloseReason::Copied,
        CloseReason::LeaderLost,
        CloseReason::Shutdown,
    ];

    /// As INFO and the log say it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            CloseReason::ClientGone => "client_gone",
            CloseReason::SocketError => "socket_error",
            CloseReason::ProtocolError => "protocol_error",
            CloseReason::Quit => "quit",
            CloseReason::Killed => "killed",
            CloseReason::Idle => "idle",
            CloseReason::OutputLimit => "output_limit",
            CloseReason::QueryLimit => "query_limit",
            CloseReason::TlsError => "tls_error",
            CloseReason::UserRemoved => "user_removed",
            CloseReason::Unauthenticated => "unauthenticated",
            CloseReason::Http => "http",
            CloseReason::Evicted => "evicted",
            CloseReason::Resumed => "resumed",
            CloseReason::Expired => "expired",
            CloseReason::Copied => "copied",
            CloseReason::LeaderLost => "leader_lost",
            CloseReason::Shutdown => "shutdown",
        }
    }
}

/// How messages are framed: once for all subscribers that share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Dialect {
    /// Arrays.
    Resp2,
    /// Pushes.
    Resp3,
    /// Server-sent events.
    Events,
    /// The same with the IDs of messages of channels that remember.
    IdEvents,
    /// Pusher's protocol, in frames of a WebSocket.
    Pusher,
}

impl Dialect {
    /// How many there are.
    pub(crate) const COUNT: usize = Dialect::ALL.len();

    /// Every dialect, in the order of their numbers.
    pub(crate) const ALL: [Dialect; 5] =
        [Dialect::Resp2, Dialect::Resp3, Dialect::Events, Dialect::IdEvents, Dialect::Pusher];
}

/// How a connection wants its copy of the keys (REPLCONF).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CopyAsked {
    /// It finds the end of a file by a mark.
    pub(crate) takes_any_length: bool,
    /// It has said where it can be reached, as replicas do.
    pub(crate) is_replica: bool,
    /// It wants nothing behind the file.
    pub(crate) wants_no_stream: bool,
    pub(crate) without_keys: bool,
    pub(crate) without_functions: bool,
}

/// What CLIENT REPLY asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ReplyMode {
    /// Every command is answered.
    #[default]
    On,
    /// None is.
    Off,
    /// The command after this one is not.
    SkipNext,
    /// This one is not.
    Skip,
}

/// A request that waits is kept, and what are mostly its keys once more in the waiter, in the command, and in the queues.
const WAITING_COPIES: usize = 4;

/// A connection of this shard.
#[derive(Debug)]
pub(crate) struct Connection {
    /// What lists remember it by.
    pub(crate) me: ConnectionRef,
    state: State,
    pub(crate) transport: Transport,
    /// What other shards may see of it.
    pub(crate) client: Arc<Client>,
    pub(crate) output: OutputQueue,
    /// A request that is incomplete, or had to wait.
    pub(crate) partial: Option<Box<Partial>>,
    /// What has been read behind it and had to wait, if there is any.
    pub(crate) unread: Option<Box<Unread>>,
    pub(crate) subscriptions: Subscriptions,
    /// The user it acts as; `None` until it has authenticated.
    pub(crate) user: Option<Arc<User>>,
    /// The user is a guest, and so long: Unix time, milliseconds.
    pub(crate) guest_until_ms: Option<u64>,
    pub(crate) transaction: Option<Box<Transaction>>,
    /// What is kept of one that goes on in slices: its requests, and its reply so far.
    pub(crate) transaction_bytes: usize,
    /// How it tracks what it reads (CLIENT TRACKING).
    pub(crate) tracking: Option<Box<tracking::Mode>>,
    /// What it has passed on to the node that leads, if it ever has.
    pub(crate) passed: Option<Box<Passed>>,
    /// The command that every group's leader is to execute, while that goes on.
    pub(crate) round: Option<Box<Round>>,
    /// A client of another node, for which it is executed here.
    pub(crate) is_session: bool,
    /// READONLY: it takes what a node has that does not lead.
    pub(crate) reads_stale: bool,
    /// There was no memory for what scripts write when the request that runs them began.
    pub(crate) lacks_memory: bool,
    /// Names of fields that it has stated (HIMPORT).
    pub(crate) fieldsets: Option<Box<Fieldsets>>,
    /// Under whom it can be resumed when its socket breaks, if it can.
    pub(crate) resumption: Option<Box<Resumption>>,
    /// CLIENT RESUME OFF: it is not to be resumed.
    pub(crate) declines_resuming: bool,
    /// The holder of its name that has been asked to prove that its socket is alive; 0: none.
    pub(crate) challenged: ClientId,
    /// Bytes read from it and written to it. Kept here, where reading and writing already are, and copied to the client's
    /// record by `publish_gauges`.
    pub(crate) net_in_bytes: u64,
    pub(crate) net_out_bytes: u64,
    pub(crate) proto: Proto,
    pub(crate) db: u8,
    pub(crate) reply_mode: ReplyMode,
    pub(crate) copy_asked: CopyAsked,
    /// CLIENT REPLY asked that the command which waits is not answered.
    pub(crate) is_mute: bool,
    /// Its socket is closed, and its subscriptions end a part at a time.
    pub(crate) is_leaving: bool,
    /// In the shard's list of connections with output to flush.
    pub(crate) is_dirty: bool,
    /// In the shard's list of connections with input to go on with.
    pub(crate) is_ready: bool,
    /// What it was served last ended with a message to subscribers of its shard that others may follow (`shard/fanout/runs.rs`).
    pub(crate) has_just_published: bool,
    /// The peer sends nothing more. Its last bytes and its end may have come as one edge, so reading goes on to the end.
    pub(crate) read_closed: bool,
    /// The socket took no more: wait for the next writable edge.
    pub(crate) write_blocked: bool,
    /// The socket has been full since the queue was last empty: what it is behind with is the client's own affair.
    pub(crate) lags: bool,
    /// The mail that was there when its next request came has been read.
    pub(crate) has_read_mail: bool,
    /// Shown every command (MONITOR).
    pub(crate) is_monitor: bool,
    /// A page listens: messages are framed as events, and what it sends is no request.
    pub(crate) is_event_stream: bool,
    /// A page that listens to one channel, which remembers: events have its IDs.
    pub(crate) shares_ids: bool,
    /// What a page follows, if that can be resumed.
    pub(crate) follow: Option<Box<Follow>>,
    /// The same for one that is up to date with several channels and nothing else: it is shared with others.
    pub(crate) circle: Option<Rc<Circle>>,
    /// A page listens and speaks by Pusher's protocol.
    pub(crate) page: Option<Box<Page>>,
    /// What its replies depend on, under `appendfsync always`.
    pub(crate) depends_on: Dependence,
    /// The group of keys of a cluster that its commands are about, and what it depends on.
    pub(crate) group: u16,
    /// Whether it leaves others their time; see `shard/ready.rs`.
    pub(crate) pace: Pace,
    /// In the shard's list of connections that wait for the disk.
    pub(crate) awaits_disk: bool,
    /// When the output queue passed its soft limit, Unix time, milliseconds.
    pub(crate) over_soft_limit_since_ms: Option<u64>,
    /// A stream of events: when it was last known not to be silent, and how much it had been sent by then.
    pub(crate) beat_ms: u64,
    pub(crate) beat_bytes: u64,
    /// Bytes queued that no request of its own asked for, since its output was last empty.
    pub(crate) unasked_bytes: usize,
    /// Since when it has had something to prove, if it still has: `user`, or the TLS handshake. Same clock.
    pub(crate) unproven_since_ms: u64,
}

/// Whether this is what a row that confirms answers with, and not an error, or `+QUEUED`.
pub(crate) fn is_confirmation(reply: &[u8]) -> bool {
    matches!(reply.first(), Some(b'>' | b'*'))
}

impl Connection {
    /// Whether CLIENT REPLY has the request that is executed not answered.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self.reply_mode, ReplyMode::Off | ReplyMode::Skip)
    }

    pub(crate) fn new(
        me: ConnectionRef,
        transport: Transport,
        client: Arc<Client>,
        user: Option<Arc<User>>,
        now_ms: u64,
    ) -> Connection {
        if let Some(peer) = transport.peer() {
            // A record is of one connection.
            let _ = client.peer.set(peer);
        }
        Connection {
            me,
            state: State::default(),
            transport,
            client,
            output: OutputQueue::default(),
            partial: None,
            unread: None,
            subscriptions: Subscriptions::default(),
            user,
            guest_until_ms: None,
            transaction: None,
            transaction_bytes: 0,
            tracking: None,
            passed: None,
            round: None,
            is_session: false,
            reads_stale: false,
            lacks_memory: false,
            fieldsets: None,
            resumption: None,
            declines_resuming: false,
            challenged: 0,
            net_in_bytes: 0,
            net_out_bytes: 0,
            proto: Proto::default(),
            db: 0,
            reply_mode: ReplyMode::On,
            copy_asked: CopyAsked::default(),
            is_mute: false,
            is_leaving: false,
            is_dirty: false,
            is_ready: false,
            has_just_published: false,
            read_closed: false,
            write_blocked: false,
            lags: false,
            has_read_mail: false,
            is_monitor: false,
            is_event_stream: false,
            shares_ids: false,
            follow: None,
            circle: None,
            page: None,
            beat_ms: 0,
            beat_bytes: 0,
            depends_on: Dependence::default(),
            group: 0,
            pace: Pace::default(),
            awaits_disk: false,
            over_soft_limit_since_ms: None,
            unasked_bytes: 0,
            unproven_since_ms: now_ms,
        }
    }

    /// What it does next.
    #[inline]
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    // The transitions; `shard/states.rs` makes them.

    pub(crate) fn begin_wait(&mut self, waiting: Waiting) -> bool {
        self.state.begin_wait(waiting)
    }

    pub(crate) fn waiting_mut(&mut self) -> Option<&mut Waiting> {
        self.state.waiting_mut()
    }

    pub(crate) fn end_wait(&mut self) -> Option<Waiting> {
        self.state.end_wait()
    }

    pub(crate) fn drain(&mut self, reason: CloseReason) -> Option<Waiting> {
        self.client.set_mark(mark::CLOSE_AFTER_REPLY, true);
        self.state.drain(reason)
    }

    pub(crate) fn condemn(&mut self, reason: CloseReason) -> bool {
        self.client.set_mark(mark::CONDEMNED, true);
        self.state.condemn(reason)
    }

    /// The wait of a connection that goes.
    pub(crate) fn take_waiting(&mut self) -> Option<Waiting> {
        std::mem::take(&mut self.state).into_waiting()
    }

    /// How it frames messages.
    #[inline]
    pub(crate) fn dialect(&self) -> Dialect {
        match self.proto {
            _ if self.shares_ids => Dialect::IdEvents,
            _ if self.is_event_stream => Dialect::Events,
            _ if self.page.is_some() => Dialect::Pusher,
            Proto::Resp2 => Dialect::Resp2,
            Proto::Resp3 => Dialect::Resp3,
        }
    }

    /// Whether RESP2's rule applies that a subscriber may only change its subscriptions.
    pub(crate) fn in_subscriber_mode(&self) -> bool {
        self.proto == Proto::Resp2 && !self.subscriptions.is_empty()
    }

    /// Whether it has yet to say who it is. (Without a password nobody needs to, and each connection has a user.)
    pub(crate) fn is_unauthenticated(&self) -> bool {
        self.user.is_none()
    }

    /// Whether complete requests may have been read already that could not be executed yet.
    pub(crate) fn has_backlog(&self) -> bool {
        self.unread.is_some()
            || self.partial.as_ref().is_some_and(|partial| partial.is_backlog())
            || self.page.as_ref().is_some_and(|page| page.has_backlog())
    }

    /// Bytes of requests that have not been executed: unfinished, waiting, or queued by MULTI.
    pub(crate) fn input_bytes(&self) -> usize {
        let kept = self.partial.as_ref().map_or(0, |partial| partial.request.len())
            + self.unread.as_ref().map_or(0, |unread| unread.len())
            + self.page.as_ref().map_or(0, |page| page.input_bytes());
        kept + self.transaction.as_ref().map_or(0, |transaction| transaction.queued_bytes())
    }

    /// Whether MULTI would have queued more than a client may have while memory is short, with so many bytes.
    pub(crate) fn queues_much(&self, bytes: usize) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| transaction.is_large_with(bytes))
    }

    /// Puts requests before all others that are to be executed.
    pub(crate) fn put_back(&mut self, bytes: Vec<u8>) {
        let unread = self.unread.get_or_insert_default();
        if let Some(partial) = self.partial.take() {
            unread.push_front(partial.request.into_bytes());
        }
        unread.push_front(bytes);
    }

    /// Bytes it holds beside the shared chunks (CLIENT LIST's `tot-mem` adds the queued bytes).
    pub(crate) fn heap_bytes(&self) -> usize {
        let partial = self.partial.as_ref().map_or(0, |partial| partial.heap_bytes())
            + self.unread.as_ref().map_or(0, |unread| unread.heap_bytes());
        size_of::<Connection>()
            + size_of::<Client>()
            + partial
            + self.output.heap_bytes()
            + self.subscriptions.heap_bytes()
            + self.subscriptions.indexed_bytes()
            + self.transport.heap_bytes()
            + self.state.wait().and_then(Wait::request).map_or(0, OwnedArgs::heap_bytes) * WAITING_COPIES
            + self.state.wait().and_then(Wait::waiter).map_or(0, |waiter| waiter.queued_bytes())
            + self.transaction.as_ref().map_or(0, |transaction| transaction.heap_bytes())
            + self.transaction_bytes
            + self.page.as_ref().map_or(0, |page| page.heap_bytes())
            + self.tracking.as_ref().map_or(0, |mode| mode.heap_bytes())
            + self.follow.as_ref().map_or(0, |follow| follow.heap_bytes())
            + self.circle.as_ref().map_or(0, |circle| circle.heap_bytes())
            + self.resumption.as_ref().map_or(0, |own| {
                size_of::<Resumption>() + own.predecessors.capacity() * size_of::<ConnectionRef>()
            })
            + self.passed.as_ref().map_or(0, |passed| passed.heap_bytes())
            + self.fieldsets.as_ref().map_or(0, |fieldsets| fieldsets.bytes())
            + self.client.names.lock().heap_bytes()
    }
}
