//! Passing requests on to the node that leads the keys, and its replies back.
//!
//! ```text
//!   here    request ─► `Passed` keeps it ─► letter of this turn ─► Nodes::pass ═══► a session there: a client without a socket
//!           client  ◄── whole frames ◄── Mail::Passed ◄═══════════════════════════ replies, as far as the client reads them
//! ```
//!
//! A connection that has passed something on goes on reading: what is for the node that leads follows at once, what is executed
//! here waits until everything before it is answered. So replies keep the order of the requests.
//!
//! A session *breaks* when the node that leads is another one, is gone, or anything on the way to it or back is lost. What was
//! under way is then answered with an error if it may have been executed and must not be twice; what reads, and what is known not to
//! have been executed, goes back to the input and is done again (`breaks.rs`). Nothing is answered in another order for that.
//!
//! Where that node leads other groups of keys still, it is asked what has become of what it was given: it answers what it has executed, and ends
//! the session with how far that went. So clients see nothing of a group that is handed over.
//!
//! A client whose request may have been executed or not is closed, as a server that dies would leave it: every client library has a
//! rule for that, which its user has chosen, while an error is an answer like any other to them. One without a socket, which asks
//! once, gets an error.
//!
//! Requests about several groups of keys are under way to several nodes at once; the client gets their replies in the order of its requests
//! ([`Passed::in_turn`](crate::connection::passed::Passed::in_turn)). Where one of these sessions breaks, what is done again goes to the next leader by itself, with its turn.
//!
//! Invariants
//! - A connection in `sessions` has that session open, and the other way round.
//! - All that stands in the letter is of `letter_term`.
//! - Whoever waits for the node that leads is in `waiting`, and looks again at every `Mail::Lead`.

mod asker;
mod breaks;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use sterna_protocol::{Args, encode};

use self::asker::{AskerChange, asker_of};
use crate::connection::CloseReason;
use crate::connection::client::mark;
use crate::connection::passed::{Repeat, Sent, Told};
use crate::connection::state::{ConnectionRef, Wait};
use crate::limits::BACKLOG_BYTES;
use crate::mailbox::{Ack, MAILED_BYTES_MAX};
use crate::nodes::{
    Lead, Nodes, RECORD_BYTES_MAX, ROOM_BYTES, Say, extend_record, records, session_of, write_record,
};
use crate::server::Server;
use crate::shard::Shard;

/// A session is given room for so much at once: each time costs a frame, and a thread that wakes, at both nodes.
///
/// GET by one client, a request at a time: 1.8 writes of the front end's thread for each, 1 without a frame for each reply.
const ROOM_STEP_BYTES: usize = 64 * 1024;

/// No term of another node: theirs begin at 1.
pub(super) const NO_TERM: u64 = 0;

// A session whose client has read everything may always say more.
const _: () = assert!(2 * ROOM_STEP_BYTES <= ROOM_BYTES);

/// What is answered when nobody leads for too long. Source: the first word is Redis's; clients of a cluster try again.
pub(crate) const NOBODY_LEADS: &str = "CLUSTERDOWN The cluster is down: no node leads the keys";

/// What a shard keeps where another node may lead the keys.
pub(crate) struct Passing {
    pub(crate) nodes: Arc<dyn Nodes>,
    letter: Vec<u8>,
    letter_term: u64,
    /// Of the request that is served.
    term: u64,
    /// The session of the letter's last record and where that stands, if it is one of requests.
    last_requests: Option<(u64, usize)>,
    pub(super) sessions: HashMap<u64, ConnectionRef>,
    /// Those with requests that keep their turn and are to be passed on again.
    stuck: BTreeSet<ConnectionRef>,
    /// Those that are told of all changes of keys, whichever node leads these.
    pub(super) broadcasting: BTreeSet<ConnectionRef>,
    next: u64,
    waiting: BTreeSet<ConnectionRef>,
    /// Since when no node has led, by group of keys.
    idle_since: Box<[Option<Instant>]>,
    /// Who leads each, as of the last look, and since when.
    seen: Box<[(Lead, Option<Instant>)]>,
    /// Sessions wait for what another node than the one that leads says of them by now.
    has_leaving: bool,
    /// Sessions here whose next request is another node's to do.
    left_to_others: Vec<ConnectionRef>,
}

impl Passing {
    pub(super) fn of(server: &Server) -> Option<Box<Passing>> {
        if server.config().cluster_leader.is_empty() && server.logs.is_empty() {
            return None;
        }
        let nodes = Arc::clone(server.nodes.get()?);
        Some(Box::new(Passing {
            nodes,
            letter: Vec::new(),
            letter_term: 0,
            term: 0,
            last_requests: None,
            sessions: HashMap::new(),
            stuck: BTreeSet::new(),
            broadcasting: BTreeSet::new(),
            next: 0,
            waiting: BTreeSet::new(),
            idle_since: vec![None; server.logs.len().max(1)].into(),
            seen: vec![(Lead::Nobody, None); server.logs.len().max(1)].into(),
            has_leaving: false,
            left_to_others: Vec::new(),
        }))
    }

    pub(super) fn say(&mut self, (session, term): (u64, u64), say: Say<'_>) {
        if self.letter_term != term {
            self.hand_on();
            self.letter_term = term;
        }
        match (say, self.last_requests) {
            (Say::Requests(bytes), Some((of, at)))
                if of == session && self.letter.len() - at < MAILED_BYTES_MAX =>
            {
                // A pipeline is one record.
                extend_record(&mut self.letter, at, bytes);
            }
            _ => {
                self.last_requests = matches!(say, Say::Requests(_)).then_some((session, self.letter.len()));
                write_record(&mut self.letter, session, say);
            }
        }
        if self.letter.len() > MAILED_BYTES_MAX {
            self.hand_on();
        }
    }

    fn hand_on(&mut self) {
        self.last_requests = None;
        if !self.letter.is_empty() {
            self.nodes.pass(self.letter_term, std::mem::take(&mut self.letter));
        }
    }
}

/// A request to be passed on.
pub(crate) struct Request {
    /// Its bytes, those of a transaction all together.
    pub(crate) bytes: Vec<u8>,
    pub(crate) sent: Sent,
}

impl Request {
    /// The request `args`.
    pub(crate) fn of(args: Args<'_>, repeat: Repeat) -> Request {
        let mut bytes = Vec::new();
        encode::request(&mut bytes, args.iter());
        Request::of_bytes(bytes, 0, repeat)
    }

    /// Requests of which the client sees the reply to the last, behind `hidden` others.
    pub(crate) fn of_bytes(bytes: Vec<u8>, hidden: usize, repeat: Repeat) -> Request {
        let sent = Sent {
            bytes: bytes.len(),
            hidden,
            is_silent: false,
            is_blocking: false,
            is_denied: false,
            selects: None,
            repeat,
            group: 0,
            turn: 0,
        };
        Request { bytes, sent }
    }

    fn hidden(bytes: Vec<u8>) -> Request {
        let sent = Sent::hidden(bytes.len(), Repeat::Forget);
        Request { bytes, sent }
    }
}

impl Shard {
    /// Who leads the keys that the connection's commands are about, as this shard sees it.
    #[inline]
    pub(crate) fn lead(&self, slot: usize) -> Lead {
        let group = self.connections.get(slot).map_or(0, |connection| connection.group);
        self.passing.as_ref().map_or(Lead::Each, |passing| passing.nodes.lead(group))
    }

    /// Whether nodes have keys together.
    pub(crate) fn has_cluster(&self) -> bool {
        self.passing.as_ref().is_some_and(|passing| passing.nodes.lead(0) != Lead::Each)
    }

    /// Whether requests of the connection are under way.
    #[inline]
    pub(crate) fn has_passed(&self, slot: usize) -> bool {
        self.connections[slot].passed.as_ref().is_some_and(|passed| passed.is_under_way())
    }

    /// Holds the connection back until what it has passed on is answered, or there is room for more.
    pub(crate) fn wait_for_answers(&mut self, slot: usize) {
        self.wait(slot, Wait::Passed, None);
    }

    /// Holds the connection back until a node leads; false: none has for too long.
    pub(crate) fn waits_for_lead(&mut self, slot: usize) -> bool {
        let (now, most) = (self.clock.instant, Duration::from_secs(self.config.cluster_leader_wait.into()));
        let (me, group) = (self.connections[slot].me, self.connections[slot].group);
        let Some(passing) = &mut self.passing else { return false };
        let Some(idle_since) = passing.idle_since.get_mut(usize::from(group)) else { return false };
        let until = *idle_since.get_or_insert(now) + most;
        if until <= now {
            return false;
        }
        passing.waiting.insert(me);
        self.wait(slot, Wait::Lead, Some(until));
        true
    }

    /// Whether the node that leads takes more. If not, the connection waits.
    pub(crate) fn has_room_to_pass(&mut self, slot: usize) -> bool {
        let connection = &self.connections[slot];
        if connection.passed.as_ref().is_some_and(|passed| !passed.has_room()) {
            self.wait_for_answers(slot);
            return false;
        }
        let (me, group) = (connection.me, connection.group);
        let Some(passing) = &mut self.passing else { return true };
        if passing.nodes.may_pass(group) {
            return true;
        }
        passing.waiting.insert(me);
        self.wait(slot, Wait::Lead, None);
        false
    }

    /// The connection's session is of another term than its next request: holds it back until that has been given up. Where its node
    /// leads other keys still, it stays there, and the connection has none; false: so it is.
    pub(crate) fn waits_for_change(&mut self, slot: usize, term: u64) -> bool {
        let me = self.connections[slot].me;
        let goes_on = |passing: &Passing| {
            let mut leads = (0..passing.idle_since.len()).map(|group| passing.nodes.lead(group as u16));
            leads.any(|lead| lead == Lead::Elsewhere(term))
        };
        if self.passing.as_deref().is_some_and(goes_on) {
            let Some(passed) = &mut self.connections[slot].passed else { return false };
            // Another node has come to lead the keys that it watches, and nobody has looked after them since.
            let watches = std::mem::take(&mut passed.watches);
            passed.watch_broken |= watches;
            if watches {
                self.pass_hidden(slot, &["UNWATCH"]);
            }
            // It is there for the next request to that node, and what was read there is tracked there.
            if let Some(passed) = &mut self.connections[slot].passed {
                passed.turn_to(NO_TERM);
            }
            return false;
        }
        if let Some(passing) = &mut self.passing {
            passing.waiting.insert(me);
        }
        self.wait(slot, Wait::Lead, None);
        true
    }

    /// Whether the connection may go on to keys of this group while requests about others are under way: to another node.
    pub(super) fn may_go_elsewhere(&self, slot: usize, group: u16) -> bool {
        let lead = self.passing.as_ref().map_or(Lead::Each, |passing| passing.nodes.lead(group));
        let passed = self.connections[slot].passed.as_ref();
        matches!(lead, Lead::Elsewhere(_)) && passed.is_none_or(|passed| passed.may_go_elsewhere())
    }

    /// Whether requests about the connection's group are under way to a node that no longer leads it: they come first.
    pub(crate) fn waits_for_former_leader(&mut self, slot: usize, term: u64) -> bool {
        let group = self.connections[slot].group;
        let passed = self.connections[slot].passed.as_ref();
        let waits = self.has_groups() && passed.is_some_and(|passed| passed.has_under_way(group, term));
        if waits {
            self.wait_for_answers(slot);
        }
        waits
    }

    /// The request that is served is to be passed on in this term.
    pub(crate) fn note_term(&mut self, term: u64) {
        if let Some(passing) = &mut self.passing {
            passing.term = term;
        }
    }

    /// Passes a request on in the term that was noted; it has been asked whether there is room.
    pub(crate) fn pass(&mut self, slot: usize, mut request: Request) {
        let Some(term) = self.passing.as_ref().map(|passing| passing.term) else { return };
        let Some(session) = self.open_session(slot, term) else { return };
        let connection = &mut self.connections[slot];
        if request.sent.is_blocking {
            connection.client.is_unblocked.store(false, std::sync::atomic::Ordering::Relaxed);
            connection.client.set_mark(mark::BLOCKED, true);
        }
        let (Some(passing), Some(passed)) = (&mut self.passing, &mut connection.passed) else { return };
        request.sent.bytes = request.bytes.len();
        request.sent.group = connection.group;
        for part in request.bytes.chunks(RECORD_BYTES_MAX) {
            passing.say(session, Say::Requests(part));
        }
        passed.push(request.sent, &request.bytes);
    }

    /// The connection's session, which knows who asks.
    pub(super) fn open_session(&mut self, slot: usize, term: u64) -> Option<(u64, u64)> {
        let tracks = self.requests_of_tracker(slot);
        let connection = &mut self.connections[slot];
        let (me, user) = (connection.me, connection.user.clone()?);
        let passing = self.passing.as_mut()?;
        let passed = connection.passed.get_or_insert_default();
        if passed.lane.session.is_none_or(|(_, of)| of != term) {
            passed.turn_to(term);
        }
        let is_new = passed.lane.session.is_none();
        let session = *passed.lane.session.get_or_insert_with(|| {
            passing.next += 1;
            (session_of(self.index, passing.next), term)
        });
        let is_resp3 = connection.proto == sterna_protocol::Proto::Resp3;
        let is_no_touch = connection.client.has_mark(mark::NO_TOUCH);
        if let Some(told) = &passed.lane.told
            && Arc::ptr_eq(&told.user, &user)
            && (told.db, told.is_resp3, told.is_no_touch) == (connection.db, is_resp3, is_no_touch)
        {
            return Some(session);
        }
        let told = Told { user, db: connection.db, is_resp3, is_no_touch };
        let asker =
            asker_of(&connection.client, &told, AskerChange { is_rights_only: false, goes_on: !is_new });
        passed.lane.told = Some(told);
        passing.say(session, Say::Open(&asker));
        if is_new {
            passing.sessions.insert(session.0, me);
            if let Some(tracking) = passed.tracking.clone() {
                let request = Request::hidden(Request::of(tracking.args(), Repeat::Forget).bytes);
                passing.say(session, Say::Requests(&request.bytes));
                passed.lane.push(request.sent, &request.bytes);
            }
            for request in tracks {
                self.ask_session(slot, session.0, Repeat::Track, &request);
            }
        }
        Some(session)
    }

    /// Passes on what no client waits for, if there is a session.
    pub(crate) fn pass_hidden(&mut self, slot: usize, words: &[&str]) {
        let (Some(passing), Some(passed)) = (&mut self.passing, &mut self.connections[slot].passed) else {
            return;
        };
        let Some(session) = passed.lane.session else { return };
        let mut bytes = Vec::new();
        encode::request(&mut bytes, words.iter().map(|word| word.as_bytes()));
        let request = Request::hidden(bytes);
        passing.say(session, Say::Requests(&request.bytes));
        passed.lane.push(request.sent, &request.bytes);
    }

    /// Hands on what this turn has passed on.
    #[inline]
    pub(super) fn hand_passed_on(&mut self) {
        if let Some(passing) = &mut self.passing {
            passing.hand_on();
            if !passing.left_to_others.is_empty() {
                self.leave_to_others();
            }
        }
    }

    /// A session's request is another node's to do, and so is what follows it: its client's node is told so behind the answers to all
    /// before it, and passes it on to that one.
    pub(crate) fn leave_to_another(&mut self, slot: usize) {
        let me = self.connections[slot].me;
        self.wait(slot, Wait::Lead, None);
        if let Some(passing) = &mut self.passing {
            passing.left_to_others.push(me);
        }
    }

    #[cold]
    fn leave_to_others(&mut self) {
        let left = self.passing.as_mut().map(|passing| std::mem::take(&mut passing.left_to_others));
        for who in left.into_iter().flatten() {
            let Some(connection) = self.connection_of(who) else { continue };
            let unread = connection.partial.as_ref().map_or(0, |partial| partial.request.len())
                + connection.unread.as_ref().map_or(0, |unread| unread.len());
            let executed = connection.net_in_bytes.saturating_sub(unread as u64);
            connection.transport.set_executed(executed);
            match connection.output.is_empty() {
                true => self.condemn(who.slot, CloseReason::Killed),
                false => self.drain(who.slot, CloseReason::Killed),
            }
        }
    }

    /// CLIENT UNBLOCK of a client whose command waits at the node that leads.
    pub(crate) fn unblock_passed(&mut self, who: ConnectionRef, with_error: bool) {
        let session =
            self.connection_of(who).and_then(|connection| connection.passed.as_ref()?.blocked_session());
        if let (Some(session), Some(passing)) = (session, &mut self.passing) {
            passing.say(session, Say::Unblock { with_error });
        }
    }

    /// The connection goes, or begins anew.
    pub(crate) fn end_session(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        if let Some(passing) = &mut self.passing {
            passing.waiting.remove(&connection.me);
        }
        let Some(passed) = connection.passed.take() else { return };
        connection.client.set_mark(mark::BLOCKED, false);
        for (session, lane) in passed.into_sessions() {
            if let Some(passing) = &mut self.passing {
                passing.sessions.remove(&session.0);
            }
            if !self.adopt_orphan(lane)
                && let Some(passing) = &mut self.passing
            {
                passing.say(session, Say::Close);
            }
        }
    }

    /// Replies have come, or the ends of sessions.
    pub(super) fn receive_passed(&mut self, bytes: &[u8]) {
        for (session, say, _) in records(bytes) {
            let who = self.passing.as_ref().and_then(|passing| passing.sessions.get(&session).copied());
            // Whose session it was may be gone.
            let Some(who) = who.filter(|who| self.connection_of(*who).is_some()) else {
                self.on_orphan_said(session, say);
                continue;
            };
            match say {
                Say::Replies(bytes) => self.answer_passed(who, session, bytes),
                Say::Closed { taken } => self.lose_session(who.slot, session, taken),
                _ => {}
            }
        }
    }

    fn answer_passed(&mut self, who: ConnectionRef, session: u64, bytes: &[u8]) {
        let slot = who.slot;
        let has_groups = self.has_groups();
        let connection = &mut self.connections[slot];
        let Some(passed) = &mut connection.passed else { return };
        let Some(lane) = passed.lane_of(session) else { return };
        let mut said = Vec::new();
        let mut out = self.replies_to_others.lend();
        let start = out.len();
        let asked_to_track = lane.asked_to_track;
        let makes_sense = match has_groups {
            true => lane.receive_pieces(bytes, &mut said),
            false => lane.receive(bytes, &mut out),
        };
        lane.owed += bytes.len();
        lane.refused_since = None;
        let selected = lane.selected.take();
        let (db, undelivered) = (connection.db, std::mem::take(&mut lane.undelivered));
        if let (Some(db), Some(told)) = (selected, &mut lane.told) {
            told.db = db;
        }
        let incomplete = lane.incomplete_bytes();
        let tracks = asked_to_track - lane.asked_to_track;
        let acks = tracks.min(lane.acks);
        lane.acks -= acks;
        let forgets = tracks > 0 && lane.asked_to_track == 0 && std::mem::take(&mut lane.forgets_behind);
        let pieces = passed.in_turn(session, said);
        let is_blocked = passed.blocked_session().is_some();
        if !is_blocked && connection.client.has_mark(mark::BLOCKED) {
            connection.client.set_mark(mark::BLOCKED, false);
        }
        if let Some(range) = self.replies_to_others.give_back(out, start) {
            self.flusher.push_answer(connection, range);
        }
        if incomplete > 0 {
            self.flusher.check_with(connection, incomplete);
        }
        self.hand_out_pieces(slot, pieces);
        if forgets {
            self.tell_to_forget(slot);
        }
        (0..acks).for_each(|_| self.count_track_ack(who));
        self.put_back_all(db, undelivered);
        let connection = &mut self.connections[slot];
        if let Some(db) = selected {
            connection.set_db(db);
        }
        if !makes_sense {
            tracing::error!(
                client = connection.client.id,
                "the node that leads has answered what nobody asked"
            );
            return self.condemn(slot, CloseReason::ProtocolError);
        }
        self.give_room(slot);
        self.go_on_behind_answers(slot);
    }

    /// Lets the session send more, if the client has read what has come.
    pub(super) fn give_room(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        let (Some(passed), Some(passing)) = (&mut connection.passed, &mut self.passing) else { return };
        if connection.output.queued_bytes() > BACKLOG_BYTES {
            return;
        }
        for lane in passed.lanes().filter(|lane| lane.owed >= ROOM_STEP_BYTES) {
            if let Some(session) = lane.session {
                let owed = std::mem::take(&mut lane.owed);
                passing.say(session, Say::Room(u32::try_from(owed).unwrap_or(u32::MAX)));
            }
        }
    }

    fn go_on_behind_answers(&mut self, slot: usize) {
        let connection = &self.connections[slot];
        let Some(passed) = &connection.passed else { return };
        let is_under_way = passed.is_under_way();
        if passed.ends && !is_under_way {
            return self.close_gone(slot);
        }
        if matches!(connection.state().wait(), Some(Wait::Passed)) && (!is_under_way || passed.has_room()) {
            self.resume(slot);
        }
    }

    pub(super) fn count_track_ack(&mut self, who: ConnectionRef) {
        self.count_ack(Ack { shard: self.index, who });
    }
}
