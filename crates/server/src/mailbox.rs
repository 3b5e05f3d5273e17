//! Mailboxes: how other threads talk to a shard.
//!
//! A mailbox is two lock-free queues and a waker. Many threads push, one shard drains, in the order of pushes by each
//! thread. What clients can cause without end (messages, invalidations, lines of MONITOR, replies to blocked commands)
//! stands in one queue with its sender and its size, is handed out in slices of time, and is limited by credit
//! (`shard/credit.rs`). What there is little of, and others wait for, stands in the *urgent* queue and is read in every turn.
//!
//! A push wakes the shard at most once between two drains: the pusher sets `is_awake` behind its push (or, where it puts many
//! letters there in one turn, behind the last of them), the shard clears it
//! before it drains. Both are swaps (AcqRel), which have one order: if the pusher's comes second it finds the flag cleared
//! and wakes the shard; if it comes first the shard's swap reads from it, and so the drain sees the push. No mail is ever
//! left without a wake-up behind it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam_queue::SegQueue;
use mio::Waker;
use sterna_keyspace::Served;
use sterna_protocol::Proto;

use crate::acl::{User, Users};
use crate::apart::Task;
use crate::config::PusherApp;
use crate::connection::CloseReason;
use crate::connection::client::Address;
use crate::connection::mover::Mover;
use crate::connection::pipe::Pipe;
use crate::connection::state::ConnectionRef;
use crate::connection::transport::{Socket, Transport};
use crate::invalidation::Invalidation;
use crate::late_events::LateEvents;
use crate::net::Relisten;
use crate::nodes::Word;
use crate::parcel::Parcel;
use crate::position::Since;

/// Something for a shard to do.
#[derive(Debug)]
pub(crate) enum Mail {
    /// A connection was accepted and is this shard's from now on.
    Accepted {
        /// The socket, non-blocking.
        socket: Socket,
        /// Both ends.
        address: Address,
        /// Whether it came in through `tls-port`.
        tls: bool,
        /// Who it is, if somebody else vouches for that.
        vouched: Option<Vouched>,
    },
    /// Messages published on another shard in one of its turns.
    Published(Parcel),
    /// Close this client, then tell `ack` (a connection that waits for it), if any.
    Close { who: ConnectionRef, reason: CloseReason, ack: Option<Ack> },
    /// A part of what a connection of this shard waits for was done.
    Done(Ack),
    /// The job that a connection of this shard waits for has ended.
    JobEnded { ack: Ack, outcome: Result<(), String> },
    /// A file has been written for a connection of this shard, or could not be: what the transaction that had it written answers, and
    /// what it told its own connection. It has waited for this as for a part that is done.
    Answered { ack: Ack, bytes: Vec<u8>, error: Option<String> },
    /// Reply bytes for a client that was blocked and has been served by a writer elsewhere.
    Served(Served),
    /// The same for many.
    ServedMany(VecDeque<Served>),
    /// A command of a connection of this shard has been run apart.
    Apart(Box<Task>),
    /// CLIENT UNBLOCK: end the wait, with an error or as if it timed out.
    Unblock { who: ConnectionRef, with_error: bool },
    /// More of the journal is durable, or its disk has stopped: look at those who wait for it.
    Durable,
    /// Events of this shard's own writes.
    Events(Box<LateEvents>),
    /// Keys have changed that connections of this shard may hold copies of.
    Invalidate(Invalidation),
    /// A client inside the process has sent something, made room, or left.
    Piped(Arc<Pipe>),
    /// A client inside the process goes on with a socket.
    HandOver(Box<HandOver>),
    /// The same, as a page by Pusher's protocol.
    Page(Box<PageHandOver>),
    /// A line for this shard's monitors.
    Monitor(Arc<[u8]>),
    /// This shard's monitors were not shown all.
    MonitorsMissed,
    /// A pause ended: let go what was held back.
    Resume,
    /// To the accepting shard: listen at other addresses, then tell `ack`.
    Listen { listeners: Relisten, ack: Ack },
    /// A user has changed or is no more: have its connections follow, all at once if a transaction did it, then tell `ack`.
    User { change: UserChange, in_exec: bool, ack: Ack },
    /// A connection of this shard has to prove that its socket is alive, because another one wants its name; then tell `ack`.
    Challenge { holder: ConnectionRef, ack: Ack },
    /// A connection of another shard is this one's from now on.
    Moved(Box<Mover>),
    /// Other nodes have answered what a connection of this shard waits for.
    Nodes { who: ConnectionRef, word: Box<Word> },
    /// Replies of the node that leads, and ends of sessions there: records of `nodes`.
    Passed(Vec<u8>),
    /// Who leads the keys may be another node, or take more.
    Lead,
    /// A session acts for another user, or otherwise.
    Role { pipe: Arc<Pipe>, role: Box<Role> },
    /// Stop: close listeners, flush, leave.
    Shutdown,
}

/// A socket that takes the place of a pipe: see `shard/handover.rs`.
#[derive(Debug)]
pub(crate) struct HandOver {
    pub(crate) pipe: Arc<Pipe>,
    /// Counted among `maxclients`.
    pub(crate) transport: Transport,
    /// What it is sent first.
    pub(crate) head: Vec<u8>,
    /// What the client has read from the pipe and not used: whole or cut frames of messages.
    pub(crate) unread: Vec<u8>,
    /// Keys of streams that it follows.
    pub(crate) streams: Vec<Vec<u8>>,
    /// Since when it wants to know.
    pub(crate) since: Option<Since>,
}

/// A socket whose page speaks Pusher's protocol from now on: see `shard/page.rs`.
#[derive(Debug)]
pub(crate) struct PageHandOver {
    pub(crate) pipe: Arc<Pipe>,
    /// Counted among `maxclients`.
    pub(crate) transport: Transport,
    pub(crate) app: Arc<PusherApp>,
    /// What it is sent first.
    pub(crate) head: Vec<u8>,
    /// What the page has sent behind its handshake.
    pub(crate) early: Vec<u8>,
}

/// Who a client inside the process is that need not log in.
#[derive(Debug)]
pub(crate) enum Vouched {
    Guest(Box<Guest>),
    /// The user of this name.
    User(Box<str>),
    /// A client of another node.
    Session(Box<Role>),
}

/// Who a client of another node is here, and how it asks.
#[derive(Debug)]
pub(crate) struct Role {
    pub(crate) user: Arc<User>,
    pub(crate) db: u8,
    pub(crate) proto: Proto,
    pub(crate) is_no_touch: bool,
    pub(crate) name: Box<str>,
    /// Only the user's rights have changed: all else stays as requests that are under way have it.
    pub(crate) is_rights_only: bool,
}

/// What names of guests begin with.
pub(crate) const GUEST_PREFIX: &[u8] = b"token:";

/// A user for a time, who stands in no list: somebody else has vouched for it.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) user: Arc<User>,
    /// Unix time, milliseconds.
    pub(crate) ends_ms: u64,
}

/// What happened to users.
#[derive(Debug, Clone)]
pub(crate) enum UserChange {
    /// This is what the user of its name may do from now on.
    Changed(Arc<User>),
    /// Users of these names are no more.
    Removed(Arc<[Box<[u8]>]>),
    /// These are all there are, with what they may do from now on.
    Replaced(Arc<Users>),
}

/// Who waits for an acknowledgement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ack {
    pub(crate) shard: usize,
    pub(crate) who: ConnectionRef,
}

/// Mail with its sender's shard and its size, which the sender's credit is owed once it has been handed out.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) from: usize,
    pub(crate) bytes: usize,
    pub(crate) mail: Mail,
}

impl Mail {
    /// Whether it is read before what others sent.
    fn is_urgent(&self) -> bool {
        match self {
            // These keep their order: a message published before a CLIENT KILL reaches its victim, and whoever was served a
            // value is told afterwards that it has changed.
            Mail::Published(_)
            | Mail::Served(_)
            | Mail::ServedMany(_)
            | Mail::Events(_)
            | Mail::Invalidate(_)
            | Mail::Monitor(_)
            | Mail::Close { .. } => false,
            Mail::Accepted { .. }
            | Mail::Piped(_)
            | Mail::HandOver(_)
            | Mail::Page(_)
            | Mail::Done(_)
            | Mail::JobEnded { .. }
            | Mail::Answered { .. }
            | Mail::Apart(_)
            | Mail::Unblock { .. }
            | Mail::Durable
            | Mail::Resume
            | Mail::MonitorsMissed
            | Mail::Listen { .. }
            | Mail::User { .. }
            | Mail::Challenge { .. }
            | Mail::Moved(_)
            | Mail::Nodes { .. }
            | Mail::Passed(_)
            | Mail::Lead
            | Mail::Role { .. }
            | Mail::Shutdown => true,
        }
    }

    /// What it counts against its sender's credit; messages are counted one by one.
    pub(crate) fn bytes(&self) -> usize {
        let heap_bytes = match self {
            Mail::Served(served) => served.answer.reply().map_or(0, <[u8]>::len),
            Mail::ServedMany(served) => served.iter().map(bytes_of_served).sum(),
            Mail::Events(late) => late.heap_bytes(),
            Mail::Invalidate(invalidation) => invalidation.heap_bytes(),
            Mail::Monitor(line) => line.len(),
            _ if self.is_urgent() => return 0,
            _ => 0,
        };
        heap_bytes + size_of::<Letter>()
    }
}

/// What one of many answers counts.
pub(crate) fn bytes_of_served(served: &Served) -> usize {
    served.answer.reply().map_or(0, <[u8]>::len) + size_of::<Served>()
}

/// A shard's queues for other threads.
#[derive(Debug)]
pub(crate) struct Mailbox {
    letters: SegQueue<Letter>,
    urgent: SegQueue<Mail>,
    is_awake: AtomicBool,
    waker: Waker,
}

impl Mailbox {
    pub(crate) fn new(waker: Waker) -> Mailbox {
        Mailbox { letters: SegQueue::new(), urgent: SegQueue::new(), is_awake: AtomicBool::new(false), waker }
    }

    /// Puts mail that counts against nobody's credit at the end of its queue and sees to it that the shard looks.
    pub(crate) fn push(&self, mail: Mail) {
        self.post(0, 0, mail);
    }

    /// Puts `mail` of shard `from` at the end of its queue and sees to it that the shard looks.
    pub(crate) fn post(&self, from: usize, bytes: usize, mail: Mail) {
        self.put(from, bytes, mail);
        self.wake();
    }

    /// The same for a caller that calls `wake` by the end of its turn: until then the shard may find it, and need not.
    pub(crate) fn put(&self, from: usize, bytes: usize, mail: Mail) {
        if mail.is_urgent() {
            self.urgent.push(mail);
        } else {
            self.letters.push(Letter { from, bytes, mail });
        }
    }

    /// Sees to it that the shard looks.
    pub(crate) fn wake(&self) {
        if !self.is_awake.swap(true, Ordering::AcqRel) {
            // The write to an eventfd fails only when its counter is full, and then the shard is awake anyway.
            let _ = self.waker.wake();
        }
    }

    /// Called by the shard before it drains.
    pub(crate) fn begin_drain(&self) {
        self.is_awake.swap(false, Ordering::AcqRel);
    }

    /// The next urgent mail, if there is any. Only the owning shard calls this and `pop`.
    pub(crate) fn pop_urgent(&self) -> Option<Mail> {
        self.urgent.pop()
    }

    /// The next letter, if there is any.
    pub(crate) fn pop(&self) -> Option<Letter> {
        self.letters.pop()
    }

    /// Whether any letter waits.
    pub(crate) fn has_letters(&self) -> bool {
        !self.letters.is_empty()
    }

    /// How many letters wait.
    pub(crate) fn len(&self) -> usize {
        self.letters.len()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.letters.is_empty() && self.urgent.is_empty()
    }
}

/// Above so many bytes in the mail a shard is behind. Large enough that mail is still handed out in long runs, small
/// enough that it is handed out within the time of a few turns.
pub(crate) const MAILED_BYTES_MAX: usize = 1024 * 1024;

/// What one shard has mailed to another: stands with the one that gets it, one for each that sends.
#[derive(Debug, Default)]
pub(crate) struct Credit {
    /// Bytes mailed and not yet handed out. Added by the sender, subtracted by the receiver.
    pub(crate) bytes: AtomicUsize,
    /// The sender waits to be told that `bytes` has fallen. Set by the sender before it looks at `bytes` once more, read by the
    /// receiver after it has subtracted (all SeqCst), so that one of them sees what the other did.
    pub(crate) is_awaited: AtomicBool,
}

impl Credit {
    pub(crate) fn add(&self, bytes: usize) -> usize {
        self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    /// The bytes as last seen.
    pub(crate) fn bytes_now(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The bytes, after the receiver has been asked to say when they have fallen.
    pub(crate) fn await_fall(&self) -> usize {
        self.is_awaited.store(true, Ordering::SeqCst);
        self.bytes.load(Ordering::SeqCst)
    }
}
