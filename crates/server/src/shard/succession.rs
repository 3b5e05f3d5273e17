//! Succession: how a connection takes over what a detached one of its name holds.
//!
//! 1. SUBSCRIBE, by a named connection that has no subscription yet. It looks up who holds its user and name.
//! 2. If the holder is on another shard, the new connection *moves* there: socket, TLS session, user, unread input,
//!    unsent replies. The request is executed where it arrives.
//! 3. A holder whose socket seems to be alive is *challenged*: has its TCP acknowledged all that was for it when the
//!    question came? If so, both go on beside each other, and the name belongs to the new one. If not after [`PROOF_TIME_MAX`],
//!    the socket is given up, and the holder is detached. Where there was nothing to acknowledge, that proves little: what the new one
//!    has yet to subscribe to may reach a line that is dead. So for as long it gets that as well, unless the old one acknowledges
//!    anything.
//! 4. On the holder's shard, the new connection becomes the name's holder, with the old one as its predecessor.
//! 5. For each name that the request subscribes to and the predecessor listens to: the new one joins, the predecessor leaves,
//!    and the messages that came by this subscription move from the predecessor's backlog to the new queue, behind the
//!    confirmations. All of it happens in one command of one thread, so no message can be lost or delivered twice.
//! 6. A predecessor that has nothing left is closed.
//!
//! So subscriptions never move between shards, and nothing has to be told apart that is on its way in the mail.
//!
//! Cost: for a connection without a name nothing; else a lookup, and for one that takes over O(backlog) for each request that
//! subscribes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use hashbrown::HashSet;
use sterna_protocol::frame;
use sterna_pubsub::Kind;

use crate::acl::User;
use crate::connection::backlog::{is_all_of, translated};
use crate::connection::chunk::Range;
use crate::connection::mover::Mover;
use crate::connection::resumption::{Beside, Identity, NOTICE_CHANNEL, Resumption};
use crate::connection::state::{ConnectionRef, Wait};
use crate::connection::{CloseReason, Connection};
use crate::mailbox::{Ack, Mail};
use crate::resumable::Holder;
use crate::shard::Shard;

/// How long the TCP of a connection may take to acknowledge what it has been sent, while another one waits for its name.
const PROOF_TIME_MAX: Duration = Duration::from_secs(1);

/// Time spent in one turn on sockets that have to prove that they are alive: some dozens that don't.
const CHALLENGES_TIME_MAX: Duration = Duration::from_micros(500);

/// Holders that have to prove that their sockets are alive. A network that was cut has thousands of them at once.
#[derive(Debug, Default)]
pub(super) struct Challenges {
    waiting: VecDeque<Challenge>,
    /// How many of them, at the front, are to be asked in this round.
    unasked: usize,
}

impl Challenges {
    /// Begins a round.
    pub(super) fn ask_all(&mut self) {
        self.unasked = self.waiting.len();
    }

    /// Whether there is more to do in this round.
    pub(super) fn is_under_way(&self) -> bool {
        self.unasked > 0
    }
}

/// A holder that has to prove that its socket is alive.
#[derive(Debug)]
struct Challenge {
    holder: ConnectionRef,
    /// Bytes, of all that were ever written to it, that have to be acknowledged.
    bytes: u64,
    until: Instant,
    ack: Ack,
}

impl Shard {
    /// Whether the connection may subscribe here and now, as far as others of its name are concerned. If not, it waits.
    pub(crate) fn has_succeeded(&mut self, slot: usize) -> bool {
        if self.config.resume_window == 0 || self.connections[slot].resumption.is_some() {
            return true;
        }
        let Some(identity) = self.identity_of(slot) else { return true };
        loop {
            let holder = self.server.resumables.holder(&identity);
            let connection = &self.connections[slot];
            let mut beside = None;
            if let Some(holder) = holder {
                let is_asked = holder.is_detached || connection.challenged == holder.who.id;
                if !is_asked && connection.challenged != 0 && holder.who.id > connection.me.id {
                    // It has waited so long that one that came after it has the name by now, and goes on with it.
                    return true;
                }
                if holder.shard != self.index && connection.may_succeed() {
                    self.wait(slot, Wait::Move, None);
                    self.movers.push((self.connections[slot].me, holder.shard));
                    return false;
                }
                if holder.is_detached && !connection.may_succeed() {
                    return true;
                }
                if !is_asked {
                    beside = self.with_nothing_on_its_way(holder);
                    if beside.is_none() {
                        self.challenge(slot, holder);
                        return false;
                    }
                }
            }
            if self.server.resumables.claim(&identity, holder, self.as_holder(slot)) {
                self.succeed(slot, &identity, holder.filter(|holder| holder.is_detached));
                if let Some(own) = &mut self.connections[slot].resumption {
                    own.beside = beside;
                }
                return true;
            }
        }
    }

    /// A holder of this shard for which nothing is on its way: there is nothing that it could have lost.
    fn with_nothing_on_its_way(&mut self, holder: Holder) -> Option<Beside> {
        if holder.shard != self.index {
            return None;
        }
        self.end_run();
        let until = self.clock.instant + self.resume_window();
        let old = self.connection_of(holder.who)?;
        let is_idle = old.output.is_empty() && old.transport.unacknowledged_bytes() == 0;
        is_idle.then_some(Beside {
            who: holder.who,
            acknowledged_bytes: old.net_out_bytes,
            dropped: 0,
            until,
        })
    }

    /// What has reached an old connection that may be dead, of the names that this one is about to subscribe to.
    pub(crate) fn missed_beside<'n>(
        &mut self,
        slot: usize,
        kind: Kind,
        names: impl Iterator<Item = &'n [u8]>,
    ) -> Vec<Range> {
        let connection = &mut self.connections[slot];
        let Some(beside) = connection.resumption.as_ref().and_then(|own| own.beside) else {
            return Vec::new();
        };
        let names: HashSet<&[u8]> =
            names.filter(|name| !connection.subscriptions.contains(kind, name)).collect();
        if names.is_empty() {
            return Vec::new();
        }
        if let Some(own) = &mut connection.resumption {
            own.beside = None;
        }
        let (proto, now) = (connection.proto, self.clock.instant);
        let old = self.connections.get_mut(beside.who.slot);
        let old = old.filter(|old| old.me == beside.who && !old.is_detached() && now < beside.until);
        let Some(old) = old else { return Vec::new() };
        let unacknowledged = old.transport.unacknowledged_bytes();
        if old.net_out_bytes.saturating_sub(unacknowledged as u64) > beside.acknowledged_bytes {
            // It is alive.
            return Vec::new();
        }
        let mut lost = old.output.copy_of_unacknowledged(unacknowledged, &self.replies);
        let (mut dropped, bytes_max) = (0, self.flusher.backlog_bytes_max);
        while lost.queued_bytes() > bytes_max {
            dropped += lost.drop_oldest(bytes_max, usize::MAX);
        }
        let messages = lost.take_messages(|of, name| of == kind && names.contains(name));
        if let Some(own) = &mut self.connections[slot].resumption {
            own.dropped += dropped.saturating_sub(beside.dropped);
            own.beside = Some(Beside { dropped, ..beside });
        }
        match is_all_of(&messages, proto) {
            true => messages,
            false => translated(&messages, proto).into_iter().collect(),
        }
    }

    fn challenge(&mut self, slot: usize, holder: Holder) {
        let connection = &mut self.connections[slot];
        connection.challenged = holder.who.id;
        let ack = Ack { shard: self.index, who: connection.me };
        self.wait(slot, Wait::Acks { remaining: 1 }, None);
        self.post(holder.shard, Mail::Challenge { holder: holder.who, ack });
    }

    /// Another connection wants this one's name.
    pub(super) fn begin_challenge(&mut self, holder: ConnectionRef, ack: Ack) {
        let until = self.clock.instant + PROOF_TIME_MAX;
        // What it is about to be sent as well: it may be what it has just taken over.
        let bytes = self
            .connection_of(holder)
            .map_or(0, |connection| connection.net_out_bytes + connection.output.queued_bytes() as u64);
        self.check_challenge(Challenge { holder, bytes, until, ack });
    }

    /// Goes on with the round over the sockets that have to prove that they are alive, for a bounded time.
    pub(super) fn check_challenges(&mut self) {
        if !self.challenges.is_under_way() {
            return;
        }
        let began = Instant::now();
        while self.challenges.is_under_way()
            && began.elapsed() < CHALLENGES_TIME_MAX
            && let Some(challenge) = self.challenges.waiting.pop_front()
        {
            self.challenges.unasked -= 1;
            self.check_challenge(challenge);
        }
    }

    fn check_challenge(&mut self, challenge: Challenge) {
        let who = challenge.holder;
        let is_proven = match self.connection_of(who).filter(|connection| !connection.is_detached()) {
            None => true,
            Some(connection) => {
                let unacknowledged = connection.transport.unacknowledged_bytes() as u64;
                connection.net_out_bytes.saturating_sub(unacknowledged) >= challenge.bytes
            }
        };
        if !is_proven && self.clock.instant < challenge.until {
            return self.challenges.waiting.push_back(challenge);
        }
        if !is_proven {
            self.close(who.slot, CloseReason::SocketError);
        }
        self.post(challenge.ack.shard, Mail::Done(challenge.ack));
    }

    /// The connection holds its name now.
    fn succeed(&mut self, slot: usize, identity: &Arc<Identity>, predecessor: Option<Holder>) {
        let mut resumption = Resumption::of(Arc::clone(identity));
        resumption.expired = self.server.resumables.take_expired(identity);
        if let Some(Holder { who, .. }) = predecessor {
            if let Some(old) = self.connections[who.slot].resumption.as_mut() {
                resumption.predecessors = std::mem::take(&mut old.predecessors);
                let expired = old.expired.take();
                resumption.expired = match (resumption.expired, expired) {
                    (None, None) => None,
                    (one, other) => Some(one.unwrap_or(0) + other.unwrap_or(0)),
                };
            }
            resumption.predecessors.push(who);
            for who in resumption.predecessors.clone() {
                self.await_successor(who, true);
                let old = self.connection_of(who).and_then(|connection| connection.resumption.as_mut());
                resumption.dropped += old.map_or(0, |old| std::mem::take(&mut old.dropped));
            }
            self.server.resumables.resumed.fetch_add(1, Relaxed);
        }
        self.connections[slot].begin_resuming(resumption);
    }

    /// The connection has subscribed to `names`: what its predecessors hold of these is its own from now on. The messages
    /// follow the reply.
    pub(crate) fn inherit<'n>(
        &mut self,
        slot: usize,
        kind: Kind,
        names: impl Iterator<Item = &'n [u8]> + Clone,
    ) {
        let proto = self.connections[slot].proto;
        let Some(own) = self.connections[slot].resumption.as_mut().filter(|own| own.has_past()) else {
            return;
        };
        let predecessors = std::mem::take(&mut own.predecessors);
        let (expired, mut dropped) = (own.expired.take(), std::mem::take(&mut own.dropped));
        // What has gone since this connection has its name.
        for who in &predecessors {
            let old = self.connection_of(*who).and_then(|connection| connection.resumption.as_mut());
            dropped += old.map_or(0, |old| std::mem::take(&mut old.dropped));
        }
        let losses = [(&b"expired"[..], expired), (b"dropped", Some(dropped))];
        let has_lost = expired.is_some() || dropped > 0;
        for (word, count) in losses {
            if let Some(count) = count.filter(|&count| count > 0 || word == b"expired") {
                let mut notice = Vec::new();
                let payload = [word, b" ", count.to_string().as_bytes()].concat();
                frame::message(&mut notice, proto, NOTICE_CHANNEL, &payload);
                self.current.deferred.push(Range::of(notice));
            }
        }
        let mut left = Vec::new();
        for who in predecessors {
            if self.inherit_from(who, slot, kind, names.clone()) {
                left.push(who);
            }
        }
        if let Some(own) = &mut self.connections[slot].resumption {
            own.predecessors = left;
            own.has_told |= has_lost;
        }
    }

    /// Returns whether the predecessor has more.
    fn inherit_from<'n>(
        &mut self,
        who: ConnectionRef,
        slot: usize,
        kind: Kind,
        names: impl Iterator<Item = &'n [u8]>,
    ) -> bool {
        let proto = self.connections[slot].proto;
        let Some(old) = self.connection_of(who) else { return false };
        let held: HashSet<&[u8]> = names.filter(|name| old.subscriptions.contains(kind, name)).collect();
        if held.is_empty() {
            return true;
        }
        let messages = old.output.take_messages(|of, name| of == kind && held.contains(name));
        for name in held {
            self.leave(who.slot, kind, name);
        }
        if is_all_of(&messages, proto) {
            self.current.deferred.extend(messages);
        } else {
            self.current.deferred.extend(translated(&messages, proto));
        }
        let old = &mut self.connections[who.slot];
        old.publish_gauges();
        if old.subscriptions.is_empty() {
            self.close(who.slot, CloseReason::Resumed);
            return false;
        }
        self.connections[who.slot].note_subscriptions();
        true
    }

    /// The connection has unsubscribed from `names`, or from everything: it wants nothing of them that was before.
    pub(crate) fn disinherit<'n>(
        &mut self,
        slot: usize,
        kind: Kind,
        names: Option<impl Iterator<Item = &'n [u8]> + Clone>,
    ) {
        let Some(own) = &mut self.connections[slot].resumption else { return };
        own.beside = None;
        let predecessors = own.predecessors.clone();
        for who in predecessors {
            if self.connection_of(who).is_none() {
                continue;
            }
            if let Some(names) = &names {
                names.clone().for_each(|name| self.leave(who.slot, kind, name));
            }
            if names.is_none() || self.connections[who.slot].subscriptions.is_empty() {
                self.close(who.slot, CloseReason::Expired);
            }
        }
    }

    /// Sends connections to the shards where their predecessors are. Nothing is executed for them meanwhile.
    pub(super) fn send_movers(&mut self) {
        for (who, shard) in std::mem::take(&mut self.movers) {
            let waits = |connection: &&mut Connection| matches!(connection.state().wait(), Some(Wait::Move));
            if self.connection_of(who).filter(waits).is_some() {
                self.move_to(who.slot, shard);
            }
        }
    }

    fn move_to(&mut self, slot: usize, shard: usize) {
        self.end_session(slot);
        let registry = self.poll.registry();
        if self.connections[slot].transport.deregister(registry).is_err() {
            return self.close(slot, CloseReason::SocketError);
        }
        let Some(connection) = self.connections.remove(slot) else { return };
        let target = &self.server.shards[shard];
        let client = Arc::new(connection.client.moved_to(shard, Arc::clone(&target.client_bytes)));
        connection.client.set_memory(0, 0);
        // Who looks for the client finds it on one of the shards at any time.
        target.clients.lock().insert(client.id, Arc::clone(&client));
        self.handle().clients.lock().remove(&client.id);
        self.handle().connections.fetch_sub(1, Relaxed);
        target.connections.fetch_add(1, Relaxed);
        let mover = connection.leave_shard(client);
        self.post(shard, Mail::Moved(Box::new(mover)));
    }

    /// Takes in a connection that another shard had.
    pub(super) fn take_in(&mut self, mover: Mover) {
        let slot = self.connections.next_slot();
        let me = ConnectionRef { slot, id: mover.client.id };
        let client = Arc::clone(&mover.client);
        let connection = self.connections.insert(Connection::of_mover(me, mover));
        client.slot.store(slot as u32, std::sync::atomic::Ordering::SeqCst);
        if let Some(user) = connection.user.clone() {
            self.follow_latest(slot, &user);
        }
        let Some(connection) = self.connections.get_mut(slot) else { return };
        self.flusher.mark(connection);
        let registered = connection.transport.register(self.poll.registry(), me);
        // Pairs with `forward_kill`.
        let is_killed = client.is_killed.load(std::sync::atomic::Ordering::SeqCst);
        if let Err(error) = registered {
            tracing::warn!(%error, "cannot watch a connection");
            self.close(slot, CloseReason::SocketError);
        } else if is_killed {
            self.flush_and_close(me, CloseReason::Killed);
        } else {
            self.make_ready(slot);
        }
    }

    /// Its rules may have changed while it was on its way.
    fn follow_latest(&mut self, slot: usize, user: &Arc<User>) {
        let latest = self.server.users.read().get(user.name()).cloned();
        match latest {
            Some(latest) => self.connections[slot].user = Some(latest),
            None => self.close(slot, CloseReason::UserRemoved),
        }
    }

    /// CLIENT KILL of a connection that is not here: it may have moved since it was looked up.
    pub(super) fn forward_kill(&mut self, id: u64) {
        let Some(client) = self.server.client(id).filter(|client| usize::from(client.shard) != self.index)
        else {
            return;
        };
        client.is_killed.store(true, std::sync::atomic::Ordering::SeqCst);
        let who = ConnectionRef { slot: client.slot.load(std::sync::atomic::Ordering::SeqCst) as usize, id };
        self.post(usize::from(client.shard), Mail::Close { who, reason: CloseReason::Killed, ack: None });
    }
}
