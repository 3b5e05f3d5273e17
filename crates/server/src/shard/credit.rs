//! Credit: how much a shard may mail to another that has not handed it out yet, and whom it holds back meanwhile.
//!
//! 1. A request mails something to shard B (a message, a keyspace event, an invalidation): A adds its bytes to the counter
//!    of the pair, which stands with B (`ShardHandle::credit`).
//! 2. Above [`MAILED_BYTES_MAX`] B is *behind*. A connection of A whose request mails there waits (`Wait::Credit`), and so
//!    does a PUBLISH that would. A reads no more from it, so that its client is slowed by its own socket.
//! 3. B takes what it hands out off the counter. When that falls to [`MAILED_BYTES_LOW`] and A has said that it waits, B
//!    wakes it; A looks at the counters once a turn and lets go whom it held.
//!
//! A shard is behind itself while it has not offered all its output to the sockets, has yet to trim backlogs of detached connections, or has
//! messages or events of its own in its mail: then its own publishers wait; for its output and the backlogs it takes no more mail
//! either, so that those who mail to it wait too. A socket that takes no more is its client's own affair
//! (`client-output-buffer-limit`) and holds nobody: a slow subscriber never slows a publisher, a slow shard does.
//!
//! No two shards can stop each other for good: a shard never waits, only connections do; what is in its mail it hands out
//! whether or not others are behind; and handing out mails nothing that would have to wait.
//!
//! Bound: `MAILED_BYTES_MAX` for each pair of shards, and above that one request for each connection, up to [`OWED_BYTES_MAX`].
//! Above that the other shard is *overdrawn*, as it is when it stands still: no connection begins what could mail more, lines of
//! MONITOR are left out and its monitors closed, and a command of a script that could mail more is refused, unless the other shard
//! catches up meanwhile. So what is above is what one command mails. A transaction that goes on in slices waits between them.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::connection::state::{ConnectionRef, Wait};
use crate::limits::OWED_BYTES_MAX;
use crate::mailbox::{MAILED_BYTES_MAX, Mail};
use crate::nodes::NODES;
use crate::server::Server;
use crate::shard::Shard;

/// Below so many it no longer is.
const MAILED_BYTES_LOW: usize = MAILED_BYTES_MAX / 2;

/// How long a script waits for a shard that takes nothing of its mail.
const STANDSTILL: Duration = Duration::from_secs(2);

/// How often it polls.
const STANDSTILL_INTERVAL: Duration = Duration::from_millis(1);

/// What a shard knows of the others' mail, and who waits for it.
#[derive(Debug, Default)]
pub(crate) struct Creditor {
    /// The shard itself.
    own: usize,
    /// Bytes mailed to each shard and not handed out, as last seen, and those in the outbox.
    mailed_bytes: Vec<usize>,
    /// Shards that are behind, a bit each; this one's own bit while its output has not been offered, and that of the other nodes
    /// while they take no more.
    behind: u64,
    /// Other shards that are overdrawn.
    overdrawn: u64,
    /// Shards to which the request that is being executed has mailed, this one if it has subscribers here.
    reached: u64,
    /// Connections in `Wait::Credit`, first come first.
    held: Vec<ConnectionRef>,
    /// Connections whose request is executed in parts, and goes on when no shard is overdrawn.
    held_parts: Vec<ConnectionRef>,
}

impl Creditor {
    pub(super) fn new(own: usize, shards: usize) -> Creditor {
        Creditor { own, mailed_bytes: vec![0; shards], ..Creditor::default() }
    }

    /// Something of this size goes to `shard`, now or with the outbox.
    #[inline]
    pub(crate) fn note_outgoing(&mut self, shard: usize, bytes: usize) {
        self.reached |= 1 << shard;
        self.mailed_bytes[shard] += bytes;
        if self.mailed_bytes[shard] > MAILED_BYTES_MAX {
            self.note_behind(shard);
        }
    }

    #[cold]
    fn note_behind(&mut self, shard: usize) {
        self.behind |= 1 << shard;
        if self.mailed_bytes[shard] > OWED_BYTES_MAX && shard != self.own {
            self.overdrawn |= 1 << shard;
        }
    }

    /// As `note_outgoing`, for each of `shards` (a bit each).
    #[inline]
    pub(crate) fn note_outgoing_to(&mut self, mut shards: u64, bytes: usize) {
        while shards != 0 {
            self.note_outgoing(shards.trailing_zeros() as usize, bytes);
            shards &= shards - 1;
        }
    }

    /// The request being executed has subscribers on this shard.
    #[inline]
    pub(crate) fn note_local(&mut self, shard: usize) {
        self.reached |= 1 << shard;
    }

    /// What the request being executed has to publish waits in this shard's own mail.
    pub(crate) fn hold_publishers(&mut self, shard: usize) {
        self.note_local(shard);
        self.set_behind_itself(shard, true);
    }

    /// Shards to which the request that is being executed has mailed.
    pub(super) fn reached(&self) -> u64 {
        self.reached
    }

    /// It has mailed to these.
    pub(super) fn note_reached(&mut self, shards: u64) {
        self.reached |= shards;
    }

    /// A request is about to be executed.
    pub(crate) fn begin_request(&mut self) {
        self.reached = 0;
    }

    /// Shards that are behind.
    #[inline]
    pub(crate) fn behind(&self) -> u64 {
        self.behind
    }

    /// Shards that are overdrawn.
    #[inline]
    pub(crate) fn overdrawn(&self) -> u64 {
        self.overdrawn
    }

    /// Whether `shard` may be mailed what its clients are sent without a request, and nobody here waits for: lines of MONITOR, and
    /// invalidations that are redirected to them. They alone never overdraw it, which would harm others.
    pub(crate) fn takes_unasked(&self, shard: usize) -> bool {
        self.mailed_bytes[shard] <= OWED_BYTES_MAX / 2
    }

    /// The request being executed has published to other nodes; whether they are behind.
    pub(super) fn note_nodes(&mut self, are_behind: bool) {
        self.reached |= 1 << NODES;
        self.behind |= u64::from(are_behind) << NODES;
    }

    /// Whether `shard`, which this is, has yet to send what was published.
    #[inline]
    pub(super) fn is_behind_itself(&self, shard: usize) -> bool {
        self.behind & 1 << shard != 0
    }

    pub(super) fn set_behind_itself(&mut self, shard: usize, is_behind: bool) {
        let bit = 1 << shard;
        self.behind = if is_behind { self.behind | bit } else { self.behind & !bit };
    }

    /// Mail of this size has been sent to `shard`; it was noted as outgoing.
    pub(crate) fn mailed(&mut self, server: &Server, from: usize, to: usize, bytes: usize) {
        self.mailed_bytes[to] = server.shards[to].credit[from].add(bytes);
    }
}

impl Shard {
    /// Sends `mail` to `shard`, which may be this one.
    pub(crate) fn post(&mut self, shard: usize, mail: Mail) {
        let bytes = mail.bytes();
        if bytes > 0 {
            self.credit.note_outgoing(shard, bytes);
            self.credit.mailed(&self.server, self.index, shard, bytes);
        }
        self.server.shards[shard].mailbox.post(self.index, bytes, mail);
    }

    /// Mail of this size has been handed out.
    pub(super) fn give_credit(&self, to: usize, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let credit = &self.handle().credit[to];
        let left = credit.bytes.fetch_sub(bytes, Ordering::SeqCst) - bytes;
        if left <= MAILED_BYTES_LOW && credit.is_awaited.swap(false, Ordering::SeqCst) {
            match self.server.shards.get(to) {
                Some(shard) => shard.mailbox.wake(),
                // It came from other nodes.
                None => self.outward.iter().for_each(|outward| outward.nodes.has_room()),
            }
        }
    }

    /// The request of the connection in `slot` has been executed: it waits if it has reached a shard that is behind.
    #[inline]
    pub(super) fn check_credit(&mut self, slot: usize) {
        let reached = std::mem::take(&mut self.credit.reached) & self.credit.behind;
        if reached != 0 {
            self.hold_for_credit(slot, reached);
        }
    }

    /// Has the connection wait until none of `shards` is behind.
    #[cold]
    pub(crate) fn hold_for_credit(&mut self, slot: usize, shards: u64) {
        let Some(connection) = self.connections.get(slot) else { return };
        if connection.state().reads() {
            self.credit.held.push(connection.me);
            self.wait(slot, Wait::Credit { shards }, None);
        }
    }

    /// Looks whether shards that were behind still are, and lets go whom that held back. Called before the shard may sleep.
    pub(super) fn refresh_credit(&mut self) {
        let own = 1 << self.index;
        self.credit.set_behind_itself(
            self.index,
            self.flusher.holds_publishers() || self.own_letters > 0 || !self.wide.is_empty(),
        );
        let mut others = self.credit.behind & !own;
        // Without other nodes the bit may be a shard's.
        if self.outward.is_some() {
            if others & 1 << NODES != 0 {
                self.credit.set_behind_itself(NODES, self.awaits_nodes());
            }
            others &= !(1 << NODES);
        }
        while others != 0 {
            let shard = others.trailing_zeros() as usize;
            others &= others - 1;
            self.recount(shard);
        }
        if !self.credit.held.is_empty() {
            self.release_held();
        }
        if self.credit.overdrawn == 0 && !self.credit.held_parts.is_empty() {
            for who in std::mem::take(&mut self.credit.held_parts) {
                if self.connection_of(who).is_some() {
                    self.make_ready(who.slot);
                }
            }
        }
    }

    /// Takes what is in another shard's mail anew; that shard notifies this one when it has fallen.
    fn recount(&mut self, shard: usize) -> usize {
        let bytes = self.server.shards[shard].credit[self.index].await_fall();
        self.credit.mailed_bytes[shard] = bytes;
        if bytes <= MAILED_BYTES_LOW {
            self.credit.behind &= !(1 << shard);
            self.credit.overdrawn &= !(1 << shard);
        }
        bytes
    }

    /// The connection's request is executed in parts: whether the next may mail more. If not, it goes on when it may.
    pub(super) fn may_go_on_in_parts(&mut self, who: ConnectionRef) -> bool {
        let may_go_on = self.credit.overdrawn == 0;
        if !may_go_on && !self.credit.held_parts.contains(&who) {
            self.credit.held_parts.push(who);
        }
        may_go_on
    }

    /// A script has told nobody yet of what it has changed: if that is much, it does so now. Nothing else would until it ends.
    #[inline]
    pub(crate) fn tell_of_much(&mut self) {
        if self.own_letters > 0 && self.handle().credit[self.index].bytes_now() > OWED_BYTES_MAX / 2 {
            self.hand_out_own_letters();
        }
        if self.batch_bytes() > OWED_BYTES_MAX / 2 {
            self.broadcast_changes();
        }
    }

    /// Mails what a script has published, and waits until no shard is overdrawn; false: one stands still.
    #[cold]
    pub(crate) fn await_credit(&mut self) -> bool {
        self.end_run();
        self.mail_outbox();
        let (mut owed_bytes, mut since) = (usize::MAX, Instant::now());
        loop {
            let (mut overdrawn, mut bytes) = (self.credit.overdrawn, 0);
            while overdrawn != 0 {
                bytes += self.recount(overdrawn.trailing_zeros() as usize);
                overdrawn &= overdrawn - 1;
            }
            if self.credit.overdrawn == 0 {
                return true;
            }
            if bytes < owed_bytes {
                (owed_bytes, since) = (bytes, Instant::now());
            } else if since.elapsed() > STANDSTILL {
                return false;
            }
            std::thread::sleep(STANDSTILL_INTERVAL);
        }
    }

    fn release_held(&mut self) {
        let behind = self.credit.behind;
        for who in std::mem::take(&mut self.credit.held) {
            let wait = self.connection_of(who).and_then(|connection| connection.state().wait());
            let Some(&Wait::Credit { shards }) = wait else { continue };
            if shards & behind != 0 {
                self.credit.held.push(who);
            } else {
                self.resume(who.slot);
                // Nothing was read from it meanwhile, and its edge may have been used up.
                self.make_ready(who.slot);
            }
        }
    }
}
