//! Mailboxes: how other threads talk to a shard.
//!
//! A mailbox is a lock-free queue and a waker. Many threads push, one shard drains, in the order of pushes by each
//! thread. A push wakes the shard at most once between two drains: `is_awake` is set by the first pusher (`swap`,
//! AcqRel) and cleared by the shard *before* it drains (`store`, SeqCst), so a push that comes after the drain's last
//! look finds the flag cleared and wakes again. No mail is ever left without a wake-up behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_queue::SegQueue;
use mio::Waker;
use sterna_keyspace::Waiter;

use crate::acl::User;
use crate::connection::CloseReason;
use crate::connection::client::{Address, ClientId};
use crate::connection::transport::Socket;
use crate::fanout::Parcel;
use crate::net::Relisten;
use crate::tracking::Invalidation;

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
    },
    /// Messages published on another shard in one of its turns.
    Published(Parcel),
    /// Close this client, then tell `ack` (a connection that waits for it), if any.
    Close { client: ClientId, slot: usize, reason: CloseReason, ack: Option<Ack> },
    /// A part of what a connection of this shard waits for was done.
    Done(Ack),
    /// Reply bytes for a client that was blocked and has been served by a writer elsewhere.
    Served { client: ClientId, waiter: Arc<Waiter>, reply: Arc<[u8]> },
    /// CLIENT UNBLOCK: end the wait, with an error or as if it timed out.
    Unblock { client: ClientId, slot: usize, with_error: bool },
    /// More of the journal is durable, or its disk has stopped: look at those who wait for it.
    Durable,
    /// Keys have changed that connections of this shard may hold copies of.
    Invalidate(Invalidation),
    /// A line for this shard's monitors.
    Monitor(Arc<[u8]>),
    /// A pause ended: let go what was held back.
    Resume,
    /// To the accepting shard: listen at other addresses, then tell `ack`.
    Listen { listeners: Relisten, ack: Option<Ack> },
    /// A user has changed or is no more: have its connections follow, then tell `ack`.
    User { change: UserChange, ack: Option<Ack> },
    /// Stop: close listeners, flush, leave.
    Shutdown,
}

/// What happened to users.
#[derive(Debug, Clone)]
pub(crate) enum UserChange {
    /// This is what the user of its name may do from now on.
    Changed(Arc<User>),
    /// Users of these names are no more.
    Removed(Arc<[Box<[u8]>]>),
}

/// Who waits for an acknowledgement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ack {
    pub(crate) shard: usize,
    pub(crate) slot: usize,
    pub(crate) client: ClientId,
}

/// A shard's queue for other threads.
#[derive(Debug)]
pub(crate) struct Mailbox {
    queue: SegQueue<Mail>,
    is_awake: AtomicBool,
    waker: Waker,
}

impl Mailbox {
    pub(crate) fn new(waker: Waker) -> Mailbox {
        Mailbox { queue: SegQueue::new(), is_awake: AtomicBool::new(false), waker }
    }

    /// Puts `mail` at the end and sees to it that the shard looks.
    pub(crate) fn push(&self, mail: Mail) {
        self.queue.push(mail);
        self.wake();
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
        self.is_awake.store(false, Ordering::SeqCst);
    }

    /// The next mail, if there is any. Only the owning shard calls it.
    pub(crate) fn pop(&self) -> Option<Mail> {
        self.queue.pop()
    }

    /// How much waits.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}
