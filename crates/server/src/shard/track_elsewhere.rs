//! Tracking keys that several nodes lead, each a group or more: a client of this node has a session at each of them, which tracks for it.
//!
//! ```text
//!   CLIENT TRACKING ON ──► tracked here ──► asked of every session of the connection; answered when all have
//!   GET of a key that is led elsewhere ──► its session there remembers it; the session stays when the connection turns to another
//!   push of a session ──► whoever is to be told here: the client, in its protocol, or the one that it redirects to
//! ```
//!
//! How a connection tracks is this node's to know (`Connection::tracking`): options, what CLIENT CACHING has said, whom it redirects to. Keys
//! that this node leads are tracked here, as on one node.
//!
//! | a session | is opened |
//! |---|---|
//! | of one that is told of what it reads | with the first request to the node |
//! | of one that broadcasts | at every node that leads keys, at once; and again whenever there is another, or it has ended |
//!
//! Where a group of keys has another leader, or a session ends, whoever tracks is told to forget all it has read: nobody has told it of changes
//! in between. One that broadcasts is told so once more when the new session tracks.

use sterna_protocol::decode::decode;
use sterna_protocol::encode;

use crate::connection::passed::{Piece, Repeat, Sent};
use crate::connection::state::{ConnectionRef, Wait};
use crate::connection::tracking::{Mode, Reads};
use crate::invalidation::Invalidation;
use crate::nodes::{Lead, Say};
use crate::shard::Shard;
use crate::shard::passing::{NO_TERM, Request};
use crate::shard::tell::{What, list_of};

/// Before the list of keys in a push of a session, or the null in place of it.
const PUSH: &[u8] = b">2\r\n$10\r\ninvalidate\r\n";

impl Shard {
    /// The connection tracks as `mode` says, beside what it tracked before: its sessions are asked to do so as well, and its reply waits for them.
    pub(super) fn track_elsewhere(&mut self, slot: usize, mode: &Mode) {
        let connection = &self.connections[slot];
        if !self.has_groups() || connection.is_session || self.passing.is_none() {
            return;
        }
        let me = connection.me;
        let requests = self.requests_to_track(mode);
        for (session, _) in self.sessions_of(slot) {
            requests.iter().for_each(|request| self.ask_session(slot, session, Repeat::Track, request));
        }
        if mode.is_broadcast() {
            if let Some(passing) = &mut self.passing {
                passing.broadcasting.insert(me);
            }
            self.open_at_leaders(slot, mode, false);
        }
        let Some(passed) = &mut self.connections[slot].passed else { return };
        let mut remaining = 0;
        for lane in passed.lanes() {
            lane.acks = lane.asked_to_track;
            remaining += lane.acks;
        }
        if remaining > 0 {
            self.wait(slot, Wait::Acks { remaining }, None);
        }
    }

    /// It tracks no more.
    pub(super) fn untrack_elsewhere(&mut self, slot: usize) {
        if !self.has_groups() || self.connections[slot].is_session {
            return;
        }
        let me = self.connections[slot].me;
        let (Some(passing), Some(passed)) = (&mut self.passing, &mut self.connections[slot].passed) else {
            return;
        };
        passing.broadcasting.remove(&me);
        for lane in std::mem::take(&mut passed.parked) {
            if let Some(session) = lane.session {
                passing.sessions.remove(&session.0);
                passing.say(session, Say::Close);
            }
        }
        if let (Some((session, _)), Some(client)) =
            (passed.lane.session, self.server.renames.name_of("client"))
        {
            let mut request = Vec::new();
            encode::request(&mut request, [client, b"TRACKING", b"OFF"]);
            self.ask_session(slot, session, Repeat::Forget, &request);
        }
    }

    /// Has the session that is about to be given a request know what CLIENT CACHING has said of it.
    pub(crate) fn cache_elsewhere(&mut self, slot: usize, request: &mut Request) {
        let connection = &self.connections[slot];
        let Some(mode) = connection.tracking.as_ref().filter(|mode| mode.is_caching && self.has_groups())
        else {
            return;
        };
        let word: &[u8] = if mode.reads == Reads::OptIn { b"YES" } else { b"NO" };
        let Some(client) = self.server.renames.name_of("client") else { return };
        let mut bytes = Vec::new();
        encode::request(&mut bytes, [client, b"CACHING", word]);
        bytes.append(&mut request.bytes);
        request.bytes = bytes;
        request.sent.hidden += 1;
        // What was said is said once.
        request.sent.repeat = Repeat::Never;
    }

    /// How a session that begins is asked to track; none: the connection does not, or not from here.
    pub(super) fn requests_of_tracker(&self, slot: usize) -> Vec<Vec<u8>> {
        let mode = self.connections[slot].tracking.as_ref().filter(|_| self.has_groups());
        mode.map_or_else(Vec::new, |mode| self.requests_to_track(mode))
    }

    fn requests_to_track(&self, mode: &Mode) -> Vec<Vec<u8>> {
        // Without a name for it no client tracks.
        let client = self.server.renames.name_of("client");
        client.map_or_else(Vec::new, |client| mode.requests(client))
    }

    fn sessions_of(&self, slot: usize) -> Vec<(u64, u64)> {
        self.connections[slot].passed.iter().flat_map(|passed| passed.sessions()).collect()
    }

    /// Asks something on the connection's behalf, of which no client sees the answer.
    pub(super) fn ask_session(&mut self, slot: usize, session: u64, repeat: Repeat, bytes: &[u8]) {
        let (Some(passing), Some(passed)) = (&mut self.passing, &mut self.connections[slot].passed) else {
            return;
        };
        let Some(lane) = passed.lane_of(session) else { return };
        let Some(of) = lane.session else { return };
        passing.say(of, Say::Requests(bytes));
        lane.push(Sent::hidden(bytes.len(), repeat), bytes);
    }

    /// Has a session at every other node that leads keys, for a connection that is told of all of them. `is_late`: they may have been written
    /// since it was.
    fn open_at_leaders(&mut self, slot: usize, mode: &Mode, is_late: bool) {
        let Some(passing) = &self.passing else { return };
        let mut terms: Vec<u64> = (0..self.durability.logs.len())
            .filter_map(|group| match passing.nodes.lead(group as u16) {
                Lead::Elsewhere(term) => Some(term),
                _ => None,
            })
            .collect();
        terms.sort_unstable();
        terms.dedup();
        let open = self.sessions_of(slot);
        for term in terms.into_iter().filter(|term| open.iter().all(|(_, of)| of != term)) {
            let passed = self.connections[slot].passed.get_or_insert_default();
            let back = passed.lane.session.map_or(NO_TERM, |(_, of)| of);
            passed.turn_to(term);
            if let Some((session, _)) = self.open_session(slot, term) {
                // Beside what it was asked when it began, if the connection has tracked before.
                for request in self.requests_to_track(mode) {
                    self.ask_session(slot, session, Repeat::Track, &request);
                }
            }
            if let Some(passed) = &mut self.connections[slot].passed {
                passed.lane.forgets_behind = is_late;
                passed.turn_to(back);
            }
        }
    }

    /// Queues replies of sessions, and tells whom their pushes are for.
    pub(super) fn hand_out_pieces(&mut self, slot: usize, pieces: Vec<Piece>) {
        let mut replies = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Reply(_, mut bytes) if replies.is_empty() => replies = std::mem::take(&mut bytes),
                Piece::Reply(_, bytes) => replies.extend_from_slice(&bytes),
                Piece::Push(push) => {
                    self.queue_replies_of_session(slot, &std::mem::take(&mut replies));
                    // It may have ceased to track since.
                    match push.strip_prefix(PUSH) {
                        Some(b"_\r\n") => self.tell(slot, What::Everything),
                        Some(list) => self.tell_of_list(slot, list),
                        None => {}
                    }
                }
            }
        }
        self.queue_replies_of_session(slot, &replies);
    }

    /// Tells of the keys in an encoded list, but for those that the connection's user may not read by now, which its node knows first.
    fn tell_of_list(&mut self, slot: usize, list: &[u8]) {
        let connection = &self.connections[slot];
        if connection.user.as_ref().is_some_and(|user| user.is_unrestricted()) {
            return self.tell(slot, What::Keys(list));
        }
        let Ok(Some((keys, _))) = decode(list) else { return };
        let keys = keys.as_slice().unwrap_or_default().iter().filter_map(|key| key.as_bytes());
        if let Some(list) = list_of(keys.filter(|key| connection.may_know(key))) {
            self.tell(slot, What::Keys(&list));
        }
    }

    fn queue_replies_of_session(&mut self, slot: usize, bytes: &[u8]) {
        if !bytes.is_empty() {
            let range = self.replies_to_others.append(bytes.len(), |buf| buf.extend_from_slice(bytes));
            self.flusher.push_replies(&mut self.connections[slot], range);
        }
    }

    /// A session that the connection's requests don't go to has ended.
    pub(super) fn lose_parked(&mut self, slot: usize, session: u64) {
        let connection = &mut self.connections[slot];
        let me = connection.me;
        let Some(lane) = connection.passed.as_mut().and_then(|passed| passed.take_parked(session)) else {
            return;
        };
        if let Some(passing) = &mut self.passing {
            passing.sessions.remove(&session);
        }
        self.tell(slot, What::Everything);
        (0..lane.acks).for_each(|_| self.count_track_ack(me));
    }

    /// Another node leads a group of keys: who tracks is told, and who broadcasts has a session there.
    pub(super) fn follow_leaders(&mut self, has_changed: bool) {
        if !self.has_groups() {
            return;
        }
        if has_changed {
            self.receive_invalidation(Invalidation::Everything);
        }
        let broadcasting: Vec<ConnectionRef> =
            self.passing.iter().flat_map(|passing| passing.broadcasting.iter().copied()).collect();
        for who in broadcasting {
            let mode = self.connection_of(who).and_then(|connection| connection.tracking.take());
            let is_open = mode.as_ref().is_some_and(|mode| mode.is_broadcast());
            if let Some(mode) = mode {
                if is_open {
                    self.open_at_leaders(who.slot, &mode, true);
                }
                self.connections[who.slot].tracking = Some(mode);
            }
            if let Some(passing) = self.passing.as_mut().filter(|_| !is_open) {
                passing.broadcasting.remove(&who);
            }
        }
    }
}
