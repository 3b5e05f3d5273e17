//! From a change to the pushes that tell of it.
//!
//! | the connection that tracks | gets |
//! |---|---|
//! | speaks RESP3 | push `invalidate`, a list of keys |
//! | redirects to one that speaks RESP3 | nothing; the other gets that push |
//! | redirects to one that speaks RESP2 and subscribes to anything | nothing; the other gets a message on `__redis__:invalidate` |
//! | redirects to one that has gone | push `tracking-redir-broken`, if it speaks RESP3 |
//!
//! In place of the list stands null when a database was emptied: everything may have changed. Whoever is being served
//! gets its own push behind its reply, and behind the messages that the command sent it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use smallvec::SmallVec;
use sterna_command::{Flags, Spec};
use sterna_keyspace::{Changes, Served};
use sterna_protocol::{Args, Proto, Reply};

use crate::connection::client::{ClientId, mark};
use crate::connection::{CloseReason, Connection};
use crate::invalidation::Invalidation;
use crate::limits::TRACKED_NAME_BYTES;
use crate::mailbox::Mail;
use crate::partitions::keys_of;
use crate::shard::Shard;
use crate::tracking::table::{Reader, Readers};

/// What a connection is told.
#[derive(Debug, Clone, Copy)]
pub(super) enum What<'a> {
    /// An encoded list of keys has changed.
    Keys(&'a [u8]),
    /// A database was emptied.
    Everything,
}

/// Why a connection is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum As {
    Tracker,
    Redirect,
}

/// Readers of keys that are told together: some 0.4 ms.
const TOLD_AT_ONCE: usize = 4096;

pub(super) const PUSH: &[u8] = b">2\r\n$10\r\ninvalidate\r\n";
const MESSAGE: &[u8] = b"*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n";

/// The keys as an array; `None` if there are none.
pub(super) fn list_of<'a>(keys: impl Iterator<Item = &'a [u8]> + Clone) -> Option<Vec<u8>> {
    let count = keys.clone().count();
    let mut list = Vec::new();
    // Arrays and bulk strings are the same in both protocols.
    let mut reply = Reply::new(&mut list, Proto::Resp3);
    reply.array(count);
    keys.for_each(|key| reply.bulk(key));
    (count > 0).then_some(list)
}

impl Shard {
    /// Remembers the keys that a command is about to read, if its connection tracks what it reads.
    #[inline]
    pub(crate) fn remember_reads(&mut self, slot: usize, spec: &Spec, args: Args<'_>) {
        if self.connections[slot].tracking.is_some() {
            self.remember_keys(slot, spec, args);
        }
    }

    fn remember_keys(&mut self, slot: usize, spec: &Spec, args: Args<'_>) {
        let connection = &self.connections[slot];
        let Some(mode) = &connection.tracking else { return };
        self.tracking.is_read = spec.flags.contains(Flags::READONLY);
        if !self.tracking.is_read || !mode.remembers() {
            return;
        }
        let reader = Reader { client: connection.client.id, shard: self.index as u16 };
        let keys_max = match self.config.tracking_table_max_keys {
            0 => usize::MAX,
            limit => usize::try_from(limit).unwrap_or(usize::MAX),
        };
        for key in keys_of(spec, args) {
            self.server
                .tracking
                .table
                .remember(key, reader, |reader| self.server.tracks(reader.client, reader.shard));
            // One key more is one too many; a lowered limit is reached by two for each. A long name takes the room of many.
            for _ in 0..EVICTIONS_PER_READ + key.len() / TRACKED_NAME_BYTES {
                let Some((evicted, readers)) = self.server.tracking.table.evict(keys_max, key) else { break };
                self.tell_readers(&evicted, &readers, None);
            }
        }
    }

    /// Blocked reads have been answered at the end of a transaction, whose keys are still locked. Their clients were told of
    /// its writes, command by command, and have now read what these left.
    pub(crate) fn remember_served(&self) {
        if !self.server.partitions.is_tracked() {
            return;
        }
        for waiter in self.changes.served_waiters().filter(|waiter| !waiter.writes()) {
            let Some(client) = self.server.client(waiter.caller.client) else { continue };
            if client.has_mark(mark::TRACKING) && !client.has_mark(mark::TRACKING_BROADCAST) {
                let reader = Reader { client: client.id, shard: client.shard };
                let is_there = |reader: &Reader| self.server.tracks(reader.client, reader.shard);
                waiter.keys.iter().for_each(|key| self.server.tracking.table.remember(key, reader, is_there));
            }
        }
    }

    /// What a command did has been collected: tells those who must know. Returns what those who have been served are to be told
    /// of themselves: see [`Shard::tell_served`].
    pub(crate) fn invalidate(&mut self, changes: &Changes, served: &[Served]) -> Vec<(Reader, Arc<[u8]>)> {
        if changes.touched().len() == 0 && !changes.flushed() {
            return Vec::new();
        }
        self.end_run();
        let by = self.current.who.map(|who| who.id);
        let is_read = self.tracking.is_read;
        // A read that finds its key expired has read that it isn't there, and so has a blocked one that is served.
        let reading = served.iter().filter(|served| !served.waiter.writes());
        let mut readers: Vec<ClientId> = reading.map(|served| served.waiter.caller.client).collect();
        readers.sort_unstable();
        let keeps =
            |client: ClientId| (is_read && by == Some(client)) || readers.binary_search(&client).is_ok();
        if changes.flushed() {
            self.invalidate_everything();
        }
        let mut own = Vec::new();
        let mut rest = served;
        for (at, (_, key)) in changes.touched().enumerate() {
            while rest.first().is_some_and(|first| first.touched.end <= at) {
                rest = &rest[1..];
            }
            let mut readers = self.server.tracking.table.take(key, keeps);
            let Some(first) = rest.first().filter(|first| first.touched.contains(&at)) else {
                self.tell_readers(key, &readers, by);
                self.note_for_broadcast(key, if is_read { None } else { by });
                continue;
            };
            let who = first.waiter.caller.client;
            if let Some(at) = readers.iter().position(|reader| reader.client == who) {
                own.push((readers.remove(at), key.into()));
            }
            self.tell_readers(key, &readers, Some(who));
            self.note_for_broadcast(key, Some(who));
        }
        own
    }

    /// Those who have been served are told of what they have changed themselves, which follows their replies.
    pub(crate) fn tell_served(&mut self, own: Vec<(Reader, Arc<[u8]>)>) {
        for (Reader { client, shard }, key) in own {
            self.post(usize::from(shard), Mail::Invalidate(Invalidation::Own { client, key }));
        }
    }

    /// A command, or a transaction, has been answered: what it told its own connection follows.
    #[inline]
    pub(crate) fn defer_own_pushes(&mut self) {
        if !self.tracking.own.is_empty() {
            self.current.deferred.append(&mut self.tracking.own);
        }
    }

    /// The command has been executed.
    pub(crate) fn reads_end(&mut self) {
        self.tracking.is_read = false;
    }

    /// Tells the readers of a key that `by` has changed; for those elsewhere their shards get mail, and for those who are too many for a
    /// turn this one, which tells them in slices.
    fn tell_readers(&mut self, key: &[u8], readers: &Readers, by: Option<ClientId>) {
        let mut elsewhere: SmallVec<[(u16, SmallVec<[ClientId; 2]>); 2]> = SmallVec::new();
        let mut list = None;
        for &Reader { client, shard } in readers {
            let is_now = self.tracking.told < TOLD_AT_ONCE || by == Some(client);
            if usize::from(shard) == self.index && is_now {
                self.tracking.told += 1;
                self.tell_reader(client, key, &mut list, by);
            } else if let Some((_, clients)) = elsewhere.iter_mut().find(|(other, _)| *other == shard) {
                clients.push(client);
            } else {
                elsewhere.push((shard, SmallVec::from_iter([client])));
            }
        }
        if elsewhere.is_empty() {
            return;
        }
        let key: Arc<[u8]> = key.into();
        for (shard, readers) in elsewhere {
            for some in readers.chunks(TOLD_AT_ONCE) {
                let news = Invalidation::Key { readers: some.into(), key: Arc::clone(&key) };
                self.post_news(usize::from(shard), news);
            }
        }
    }

    /// `list` is the key as a list, encoded for the first of several readers who is told.
    fn tell_reader(
        &mut self,
        client: ClientId,
        key: &[u8],
        list: &mut Option<Vec<u8>>,
        by: Option<ClientId>,
    ) {
        let Some(slot) = self.slot_of(client) else { return };
        let connection = &self.connections[slot];
        let Some(mode) = &connection.tracking else { return };
        let is_own = mode.no_loop && by == Some(client);
        // It may have been remembered before it began to broadcast, or read by a user that the connection is no more.
        if !mode.is_broadcast() && !is_own && connection.may_know(key) {
            let list = list.get_or_insert_with(|| list_of(std::iter::once(key)).unwrap_or_default());
            self.tell(slot, What::Keys(list));
        }
    }

    /// What the connection may read has changed: it is to forget what it has read.
    pub(crate) fn tell_to_forget(&mut self, slot: usize) {
        self.tell(slot, What::Everything);
    }

    /// Where the connection of a client of this shard is.
    fn slot_of(&mut self, client: ClientId) -> Option<usize> {
        let who = self.handle().clients.lock().get(&client).map(|client| client.place())?;
        self.connection_of(who).is_some().then_some(who.slot)
    }

    fn invalidate_everything(&mut self) {
        if !self.server.partitions.is_tracked() {
            return;
        }
        self.server.tracking.table.clear();
        self.tell_all();
        for shard in 0..self.server.shards.len() {
            if shard != self.index {
                self.post(shard, Mail::Invalidate(Invalidation::Everything));
            }
        }
    }

    /// Tells every connection of this shard that tracks, in whichever way.
    fn tell_all(&mut self) {
        let tracking = self.connections.iter().filter(|(_, connection)| connection.tracking.is_some());
        for slot in tracking.map(|(slot, _)| slot).collect::<Vec<_>>() {
            self.tell(slot, What::Everything);
        }
    }

    /// Other shards' news.
    pub(crate) fn receive_invalidation(&mut self, news: Invalidation) {
        match news {
            Invalidation::Key { readers, key } => {
                let mut list = None;
                for client in readers {
                    self.tell_reader(client, &key, &mut list, None);
                }
            }
            Invalidation::Own { client, key } => self.tell_reader(client, &key, &mut None, Some(client)),
            Invalidation::Everything => self.tell_all(),
            Invalidation::Batch(batch) => self.tell_of_batch(&batch),
            Invalidation::Redirected { from, to, list } => match self.slot_of(to) {
                Some(slot) => {
                    self.send(slot, list.as_deref().map_or(What::Everything, What::Keys), As::Redirect)
                }
                // It left meanwhile. Whoever redirects to it is to know, on whichever shard that is.
                None => match self.server.client(from).map(|client| usize::from(client.shard)) {
                    Some(shard) if shard == self.index => self.redirection_is_broken(from, to),
                    Some(shard) => {
                        self.post(shard, Mail::Invalidate(Invalidation::Redirected { from, to, list }));
                    }
                    None => {}
                },
            },
        }
    }

    /// Tells a connection that tracks, or the one that it redirects to.
    pub(super) fn tell(&mut self, slot: usize, what: What<'_>) {
        let Some(connection) = self.connections.get(slot) else { return };
        let Some(mode) = &connection.tracking else { return };
        let Some(to) = mode.redirect else { return self.send(slot, what, As::Tracker) };
        let from = connection.client.id;
        let Some(client) = self.server.client(to) else { return self.redirection_is_broken(from, to) };
        let shard = usize::from(client.shard);
        if shard == self.index {
            if let Some(slot) = self.slot_of(to) {
                self.send(slot, what, As::Redirect);
            }
        } else if self.credit.takes_unasked(shard) {
            let list = match what {
                What::Keys(list) => Some(list.into()),
                What::Everything => None,
            };
            self.post(shard, Mail::Invalidate(Invalidation::Redirected { from, to, list }));
        } else if !client.is_killed.swap(true, Relaxed) {
            // It can't be told all, so it is closed, as at its output limit.
            let (who, reason) = (client.place(), CloseReason::OutputLimit);
            self.post(shard, Mail::Close { who, reason, ack: None });
        }
    }

    fn redirection_is_broken(&mut self, from: ClientId, to: ClientId) {
        let Some(slot) = self.slot_of(from) else { return };
        let connection = &self.connections[slot];
        connection.client.set_mark(mark::TRACKING_BROKEN, true);
        if connection.proto == Proto::Resp3 {
            let mut frame = Vec::new();
            let mut push = Reply::new(&mut frame, Proto::Resp3);
            push.push(2);
            push.bulk(b"tracking-redir-broken");
            push.int(to as i64);
            self.queue_push(slot, &[&frame], As::Tracker);
        }
    }

    fn send(&mut self, slot: usize, what: What<'_>, whose: As) {
        let connection = &self.connections[slot];
        if connection.page.is_some() {
            // It speaks another protocol.
            return;
        }
        // The client's own node tells it, or the one that it redirects to, in their protocol.
        let is_for_node = connection.is_session && self.has_groups();
        let body = match (what, connection.proto) {
            (What::Keys(list), _) => list,
            (What::Everything, Proto::Resp2) if !is_for_node => b"$-1\r\n",
            (What::Everything, _) => b"_\r\n",
        };
        match connection.proto {
            Proto::Resp3 => self.queue_push(slot, &[PUSH, body], whose),
            Proto::Resp2 if is_for_node => self.queue_push(slot, &[PUSH, body], whose),
            // Only a subscriber expects anything unasked in RESP2. As in Redis, any subscription makes it one.
            Proto::Resp2
                if whose == As::Redirect
                    && !connection.subscriptions.is_empty()
                    && !connection.is_event_stream =>
            {
                self.queue_push(slot, &[MESSAGE, body], whose);
            }
            Proto::Resp2 => {}
        }
    }

    fn queue_push(&mut self, slot: usize, parts: &[&[u8]], whose: As) {
        let bytes = parts.iter().map(|part| part.len()).sum();
        let range = self
            .replies_to_others
            .append(bytes, |buf| parts.iter().for_each(|part| buf.extend_from_slice(part)));
        let Some(connection) = self.connections.get_mut(slot) else { return };
        if self.current.who == Some(connection.me) {
            match whose {
                As::Tracker => self.tracking.own.push(range),
                As::Redirect => self.current.deferred.push(range),
            }
        } else {
            self.flusher.push_unasked(connection, range);
        }
    }
}

impl Connection {
    /// Whether it may be told that a key has changed: a key that its user may read.
    pub(super) fn may_know(&self, key: &[u8]) -> bool {
        self.user.as_ref().is_some_and(|user| user.may_read(key))
    }
}

/// Keys forgotten at most for one that is remembered, while there are more than `tracking-table-max-keys`.
const EVICTIONS_PER_READ: usize = 2;
