//! What a connection has passed on to the node that leads, and is not answered yet.
//!
//! ```text
//!   requests ─► bytes kept [r1][r2][r3]        sent: what becomes of each reply
//!   replies  ─► frames, each whole ─► the first of `sent`       pushes ─► the client, beside them
//! ```
//!
//! Requests are kept until they are answered: one that is known not to have been executed, or only reads, is done again when the
//! node that leads is another one.
//!
//! Where several nodes lead groups of keys, requests of one connection may be under way to several. Each has its *turn* among the replies that the
//! client gets; one that comes early waits for it, with the pushes behind it.
//!
//! Invariants
//! - A reply is shown when all that have an earlier turn are; `early` has those above `shown`, and no other.
//! - What was taken for the client and it is not to have is in `undelivered`, until the shard has seen to it.
//! - `kept` holds the bytes of `sent`, in their order, from `start` on.
//! - A frame goes to the client whole or not at all: what has come of one stands in `incomplete`.

mod scanner;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use sterna_protocol::OwnedArgs;

use self::scanner::Scanner;
use crate::acl::User;

/// Requests under way for one connection; the next one waits in its input.
pub(crate) const SENT_BYTES_MAX: usize = 1024 * 1024;

/// The same, counted: each costs a few bytes.
pub(crate) const SENT_MAX: usize = 16 * 1024;

/// What may be done about a request that was under way when its session broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It reads: it may be executed twice.
    Always,
    /// If it was not executed.
    IfNotExecuted,
    /// It stands for a transaction that the client can't be asked for again.
    Never,
    /// No client waits for it.
    Forget,
    /// The same: it asks the node to track keys for the connection.
    Track,
    /// It is part of a round, which sees to all that comes of it ([`Lane::answer`]), and it may be executed twice.
    TurnAlways,
    /// The same, but not twice.
    TurnIfNotExecuted,
}

impl Repeat {
    /// Whether it is part of a round.
    pub(crate) fn is_turn(self) -> bool {
        matches!(self, Repeat::TurnAlways | Repeat::TurnIfNotExecuted)
    }
}

/// A request that is under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) bytes: usize,
    /// Replies before its own that the client is not to see.
    pub(crate) hidden: usize,
    /// The client is not to see its own, either.
    pub(crate) is_silent: bool,
    pub(crate) is_blocking: bool,
    /// The client may not ask for it any more: whatever is answered, it gets [`Lane::refusal`].
    pub(crate) is_denied: bool,
    /// The database that the connection is in once it is executed: SELECT of a transaction. Nothing follows it until then.
    pub(crate) selects: Option<u8>,
    pub(crate) repeat: Repeat,
    /// The group of keys that it is about.
    pub(crate) group: u16,
    /// Which of the replies that the client gets its own is; given with [`Passed::push`].
    pub(crate) turn: u64,
}

impl Sent {
    /// Whether no client has asked for it.
    pub(crate) fn is_hidden(&self) -> bool {
        matches!(self.repeat, Repeat::Forget | Repeat::Track)
    }

    /// What is asked on the connection's behalf, and answered to nobody.
    pub(crate) fn hidden(bytes: usize, repeat: Repeat) -> Sent {
        let (is_silent, is_blocking, is_denied) = (true, false, false);
        Sent { bytes, hidden: 0, is_silent, is_blocking, is_denied, selects: None, repeat, group: 0, turn: 0 }
    }
}

/// What the session has been told of its client.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) user: Arc<User>,
    pub(crate) db: u8,
    pub(crate) is_resp3: bool,
    pub(crate) is_no_touch: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// At the node whose keys the connection is about.
    pub(crate) lane: Lane,
    /// At other nodes, which lead other groups of keys: the connection comes back to them, and what it has read there is tracked there. None
    /// has the term of another.
    pub(crate) parked: Vec<Lane>,
    /// Turns that were given, and how many of them are over.
    turns: u64,
    shown: u64,
    /// Replies whose turn is to come, by turn.
    early: BTreeMap<u64, Early>,
    /// Requests that a session has not executed which is no more, while others behind them may have been: they go to whoever leads their keys
    /// by then, and keep their turn.
    pub(crate) stuck: VecDeque<(Sent, Vec<u8>)>,
    /// WATCH was passed on.
    pub(crate) watches: bool,
    /// The session in which it was is no more: EXEC runs nothing.
    pub(crate) watch_broken: bool,
    /// CLIENT TRACKING as it was last asked for at the node that leads all keys, to be asked for again in the next session.
    pub(crate) tracking: Option<OwnedArgs>,
    /// The client has ended its half: it is closed when it is answered.
    pub(crate) ends: bool,
}

/// A session at one node, and what is under way there.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// The session, if it is open, and the term in which it was opened.
    pub(crate) session: Option<(u64, u64)>,
    pub(crate) told: Option<Told>,
    pub(crate) sent: VecDeque<Sent>,
    /// How many of them a client has asked for, and which groups of keys these are about, a bit each.
    asked: usize,
    groups: u64,
    /// The turn of the last reply that came early.
    held: Option<u64>,
    kept: Vec<u8>,
    start: usize,
    /// Bytes of requests that were answered in this session.
    answered_bytes: u64,
    scanner: Scanner,
    incomplete: Vec<u8>,
    /// What is answered in place of what the client may not have any more.
    refusal: Vec<u8>,
    /// Requests that may have waited for others, and what was answered in place of which the client has got [`Lane::refusal`].
    pub(crate) undelivered: Vec<(Vec<u8>, Vec<u8>)>,
    /// What was answered to a part of a round.
    pub(crate) answer: Option<Vec<u8>>,
    /// The database that a transaction has selected, until the connection is told.
    pub(crate) selected: Option<u8>,
    /// Reply bytes that have come, and that the session has not been given room for.
    pub(crate) owed: usize,
    /// Since when the node that leads takes nothing of it.
    pub(crate) refused_since: Option<Instant>,
    /// Requests to track that are under way, and of how many of them the connection awaits the answer.
    pub(crate) asked_to_track: usize,
    pub(crate) acks: usize,
    /// The client is to forget all it has read when the node tracks for it: nobody has told it of changes until then.
    pub(crate) forgets_behind: bool,
}

/// What has come early of a session.
#[derive(Debug)]
struct Early {
    session: u64,
    pieces: Vec<Piece>,
    bytes: usize,
}

/// A frame on its way to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// With its turn.
    Reply(u64, Vec<u8>),
    Push(Vec<u8>),
}

/// What a frame of the node that leads is to its client.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// It stands beside replies.
    Push,
    Shown,
    Hidden,
    /// The client is told that it may not ask for that, which is this.
    Refused(Vec<u8>),
    /// It is kept for the round.
    Kept,
    /// Nobody has asked.
    Nobody,
}

impl Passed {
    /// Notes a request that goes to the session of the connection's requests.
    pub(crate) fn push(&mut self, mut sent: Sent, bytes: &[u8]) {
        if !sent.is_silent && !sent.repeat.is_turn() {
            sent.turn = self.turns;
            self.turns += 1;
        }
        self.lane.push(sent, bytes);
    }

    /// Whether requests of the client are under way.
    pub(crate) fn is_under_way(&self) -> bool {
        self.lane.asked > 0 || !self.stuck.is_empty() || self.parked.iter().any(|lane| lane.asked > 0)
    }

    /// Whether another request may go, as far as those are concerned that are under way.
    pub(crate) fn has_room(&self) -> bool {
        let lanes = || std::iter::once(&self.lane).chain(&self.parked);
        self.stuck.is_empty()
            && lanes().map(Lane::sent_bytes).sum::<usize>() < SENT_BYTES_MAX
            && lanes().map(|lane| lane.sent.len()).sum::<usize>() < SENT_MAX
            && lanes().all(|lane| lane.sent.back().is_none_or(|last| last.selects.is_none()))
    }

    /// Whether a request for another node may go while those are under way that are.
    pub(crate) fn may_go_elsewhere(&self) -> bool {
        let mut lanes = std::iter::once(&self.lane).chain(&self.parked);
        self.has_room()
            && !self.watches
            && lanes.all(|lane| lane.sent.back().is_none_or(|last| !last.is_blocking))
    }

    /// Whether requests about this group are under way, but for a session of this term.
    pub(crate) fn has_under_way(&self, group: u16, but: u64) -> bool {
        let mut lanes = std::iter::once(&self.lane).chain(&self.parked);
        lanes.any(|lane| lane.is_about(group) && lane.session.is_some_and(|(_, of)| of != but))
    }

    /// Whether nothing of the client is under way but to this session, and nothing waits for its turn.
    pub(crate) fn is_alone(&self, session: u64) -> bool {
        let is_own = |lane: &&Lane| lane.session.is_some_and(|(own, _)| own == session);
        let mut others = std::iter::once(&self.lane).chain(&self.parked).filter(|lane| !is_own(lane));
        self.stuck.is_empty() && self.early.is_empty() && !others.any(|lane| lane.asked > 0)
    }

    /// Sessions that are open, with their terms.
    pub(crate) fn asked(&self) -> impl Iterator<Item = (u64, u64, &Lane)> {
        let lanes = std::iter::once(&self.lane).chain(&self.parked);
        lanes.filter_map(|lane| lane.session.map(|(session, term)| (session, term, lane)))
    }

    /// The requests that may wait for others where they are: see [`Lane::blocking`], with their session.
    pub(crate) fn blocking(&self) -> Vec<(u64, usize, &[u8])> {
        let mut all = Vec::new();
        for (session, _, lane) in self.asked() {
            let own = lane.blocking().into_iter();
            all.extend(own.map(|(index, bytes)| (session, index, bytes)));
        }
        all
    }

    /// Whether a request is under way that may wait for others.
    pub(crate) fn awaits_others(&self) -> bool {
        let lanes = std::iter::once(&self.lane).chain(&self.parked);
        lanes.flat_map(|lane| &lane.sent).any(|sent| sent.is_blocking)
    }

    /// The session whose next reply is that of a request which may wait for others.
    pub(crate) fn blocked_session(&self) -> Option<(u64, u64)> {
        let lanes = std::iter::once(&self.lane).chain(&self.parked);
        let mut waiting = lanes.filter(|lane| lane.sent.front().is_some_and(|sent| sent.is_blocking));
        waiting.next().and_then(|lane| lane.session)
    }

    /// Takes what a session has said, and gives back what the client is to get now.
    pub(crate) fn in_turn(&mut self, session: u64, said: Vec<Piece>) -> Vec<Piece> {
        let mut out = Vec::new();
        for piece in said {
            let held = self.lane_of(session).and_then(|lane| lane.held);
            match piece {
                Piece::Reply(turn, bytes) if turn == self.shown => {
                    out.push(Piece::Reply(turn, bytes));
                    self.shown += 1;
                    self.take_early(&mut out);
                }
                Piece::Reply(turn, bytes) => self.hold(session, turn, bytes),
                Piece::Push(bytes) => match held.and_then(|turn| self.early.get_mut(&turn)) {
                    // It tells of what was read before it.
                    Some(early) => early.pieces.push(Piece::Push(bytes)),
                    None => out.push(Piece::Push(bytes)),
                },
            }
        }
        out
    }

    /// A reply waits for its turn. Its session is given no more room for it until then.
    pub(crate) fn hold(&mut self, session: u64, turn: u64, bytes: Vec<u8>) {
        if let Some(lane) = self.lane_of(session) {
            lane.held = Some(turn);
            lane.owed = lane.owed.saturating_sub(bytes.len());
        }
        let (length, pieces) = (bytes.len(), vec![Piece::Reply(turn, bytes)]);
        self.early.insert(turn, Early { session, pieces, bytes: length });
    }

    /// Appends the replies whose turn has come.
    pub(crate) fn take_early(&mut self, out: &mut Vec<Piece>) {
        while let Some(Early { session, mut pieces, bytes }) = self.early.remove(&self.shown) {
            out.append(&mut pieces);
            self.shown += 1;
            if let Some(lane) = self.lane_of(session) {
                lane.owed += bytes;
            }
        }
    }

    /// The session of this number, wherever it is.
    pub(crate) fn lane_of(&mut self, session: u64) -> Option<&mut Lane> {
        self.lanes().find(|lane| lane.session.is_some_and(|(own, _)| own == session))
    }

    /// All sessions, the one of the connection's requests first.
    pub(crate) fn lanes(&mut self) -> impl Iterator<Item = &mut Lane> {
        std::iter::once(&mut self.lane).chain(&mut self.parked)
    }

    /// All sessions that are open, each with its term.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = (u64, u64)> {
        std::iter::once(&self.lane).chain(&self.parked).filter_map(|lane| lane.session)
    }

    /// The same, with all that is known of each.
    pub(crate) fn into_sessions(self) -> impl Iterator<Item = ((u64, u64), Lane)> {
        std::iter::once(self.lane).chain(self.parked).filter_map(|lane| Some((lane.session?, lane)))
    }

    /// Takes out a session that the connection's requests don't go to.
    pub(crate) fn take_parked(&mut self, session: u64) -> Option<Lane> {
        let at = self.parked.iter().position(|lane| lane.session.is_some_and(|(own, _)| own == session))?;
        Some(self.parked.swap_remove(at))
    }

    /// Leaves the session that it is in, if any, where it is, and takes up the one of this term, or none.
    pub(crate) fn turn_to(&mut self, term: u64) {
        if self.lane.session.is_some_and(|(_, of)| of == term) {
            return;
        }
        let at = self.parked.iter().position(|lane| lane.session.is_some_and(|(_, of)| of == term));
        let next = at.map(|at| self.parked.swap_remove(at)).unwrap_or_default();
        let left = std::mem::replace(&mut self.lane, next);
        match left.session {
            Some(_) => self.parked.push(left),
            None => self.lane.refused_since = left.refused_since,
        }
    }

    /// The session is no more: see [`Lane::break_session`].
    pub(crate) fn break_session(&mut self, taken: u64) -> Vec<(Sent, Vec<u8>, bool)> {
        self.watch_broken |= std::mem::take(&mut self.watches);
        let requests = self.lane.break_session(taken);
        if !self.is_under_way() {
            // All turns that are not over were its own.
            self.turns = self.shown;
        }
        requests
    }

    /// All that it holds beside itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        size_of::<Passed>()
            + self.lane.heap_bytes()
            + self.parked.iter().map(Lane::heap_bytes).sum::<usize>()
            + self.parked.capacity() * size_of::<Lane>()
            + self.early.values().map(|early| early.bytes + size_of::<Early>()).sum::<usize>()
            + self.stuck.iter().map(|(_, bytes)| bytes.len() + size_of::<Sent>()).sum::<usize>()
            + self.tracking.as_ref().map_or(0, OwnedArgs::heap_bytes)
    }
}

impl Lane {
    /// Notes a request that goes.
    pub(crate) fn push(&mut self, sent: Sent, bytes: &[u8]) {
        debug_assert_eq!(sent.bytes, bytes.len());
        self.asked_to_track += usize::from(sent.repeat == Repeat::Track);
        if !sent.is_hidden() {
            self.asked += 1;
            self.groups |= 1 << (sent.group % 64);
        }
        self.kept.extend_from_slice(bytes);
        self.sent.push_back(sent);
    }

    /// Bytes of requests that are under way.
    pub(crate) fn sent_bytes(&self) -> usize {
        self.kept.len() - self.start
    }

    /// Whether requests about this group may be under way.
    pub(crate) fn is_about(&self, group: u16) -> bool {
        self.groups & 1 << (group % 64) != 0
    }

    /// Whether requests of the client are under way.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked > 0
    }

    /// The requests that may wait for others where they are, by their place among those that are under way, with their bytes: what is asked
    /// for on the client's behalf stands before each.
    pub(crate) fn blocking(&self) -> Vec<(usize, &[u8])> {
        let mut at = self.start;
        let mut blocking = Vec::new();
        for (index, sent) in self.sent.iter().enumerate() {
            if sent.is_blocking && !sent.is_denied {
                blocking.push((index, &self.kept[at..at + sent.bytes]));
            }
            at += sent.bytes;
        }
        blocking
    }

    /// Whatever is answered to that request, the client gets `refusal`.
    pub(crate) fn deny(&mut self, index: usize, refusal: &[u8]) {
        if let Some(sent) = self.sent.get_mut(index) {
            sent.is_denied = true;
            self.refusal = refusal.to_vec();
        }
    }

    /// The client is gone: what is taken for it from now on it does not get. False: nothing under way waits for others.
    pub(crate) fn leave(&mut self) -> bool {
        let waiting = self.sent.iter_mut().filter(|sent| sent.is_blocking);
        waiting.map(|sent| sent.is_denied = true).count() > 0
    }

    /// Takes in reply bytes: what the client is to see goes to `out`. False: they are no replies, or nobody has asked.
    pub(crate) fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        self.take_in(bytes, |_, parts| parts.iter().for_each(|part| out.extend_from_slice(part)))
    }

    /// The same, frame by frame.
    pub(crate) fn receive_pieces(&mut self, bytes: &[u8], said: &mut Vec<Piece>) -> bool {
        self.take_in(bytes, |turn, parts| {
            said.push(match turn {
                Some(turn) => Piece::Reply(turn, parts.concat()),
                None => Piece::Push(parts.concat()),
            });
        })
    }

    /// Shows each frame that the client is to see, with its turn if it is a reply.
    fn take_in(&mut self, bytes: &[u8], mut show: impl FnMut(Option<u64>, [&[u8]; 2])) -> bool {
        let mut at = 0;
        while at < bytes.len() {
            let Ok(end) = self.scanner.scan(&bytes[at..]) else { return false };
            let Some(end) = end else {
                self.incomplete.extend_from_slice(&bytes[at..]);
                return true;
            };
            let whole = self.incomplete.iter().chain(&bytes[at..at + end]);
            let mut begins = whole.take(2).copied();
            let begins = [begins.next().unwrap_or_default(), begins.next().unwrap_or_default()];
            let turn = self.sent.front().map_or(0, |sent| sent.turn);
            match if begins[0] == b'>' { Fate::Push } else { self.next_fate(begins) } {
                Fate::Push => show(None, [&self.incomplete, &bytes[at..at + end]]),
                Fate::Shown => show(Some(turn), [&self.incomplete, &bytes[at..at + end]]),
                Fate::Hidden => {}
                Fate::Refused(request) => {
                    show(Some(turn), [&self.refusal, &[]]);
                    self.undelivered.push((request, [&self.incomplete[..], &bytes[at..at + end]].concat()));
                }
                Fate::Kept => self.answer = Some([&self.incomplete[..], &bytes[at..at + end]].concat()),
                Fate::Nobody => return false,
            }
            if !self.incomplete.is_empty() {
                self.incomplete = Vec::new();
            }
            at += end;
        }
        true
    }

    /// What becomes of a reply that begins so.
    fn next_fate(&mut self, begins: [u8; 2]) -> Fate {
        let Some(sent) = self.sent.front_mut() else { return Fate::Nobody };
        if sent.hidden > 0 {
            sent.hidden -= 1;
            return Fate::Hidden;
        }
        let (is_silent, is_denied, is_turn) = (sent.is_silent, sent.is_denied, sent.repeat.is_turn());
        let denied =
            (is_denied && !is_silent).then(|| self.kept[self.start..self.start + sent.bytes].to_vec());
        self.asked_to_track -= usize::from(sent.repeat == Repeat::Track);
        if sent.selects.is_some() && begins[0] == b'*' && begins[1] != b'-' {
            self.selected = sent.selects;
        }
        self.pop();
        match denied {
            _ if is_turn => Fate::Kept,
            _ if is_silent => Fate::Hidden,
            Some(request) => Fate::Refused(request),
            None => Fate::Shown,
        }
    }

    fn pop(&mut self) {
        let Some(sent) = self.sent.pop_front() else { return };
        self.start += sent.bytes;
        self.answered_bytes += sent.bytes as u64;
        self.asked -= usize::from(!sent.is_hidden());
        if self.asked == 0 {
            self.groups = 0;
        }
        if self.sent.is_empty() {
            // A long request is not kept for the sake of its memory.
            if self.kept.capacity() > 64 * 1024 {
                self.kept = Vec::new();
            }
            self.kept.clear();
            self.start = 0;
        } else if self.start > self.kept.len() / 2 && self.start > 4096 {
            self.kept.drain(..self.start);
            self.start = 0;
        }
    }

    /// Bytes of a reply whose end has not come.
    pub(crate) fn incomplete_bytes(&self) -> usize {
        self.incomplete.len()
    }

    /// The session is no more: takes the requests that were under way, each with its bytes, and whether it is known that it was
    /// not executed. `taken`: so many bytes of requests may have been, in this session; of what is whole only behind them nothing was.
    pub(crate) fn break_session(&mut self, taken: u64) -> Vec<(Sent, Vec<u8>, bool)> {
        let mut requests = Vec::with_capacity(self.sent.len());
        let (mut at, mut offset) = (self.start, self.answered_bytes);
        for sent in std::mem::take(&mut self.sent) {
            offset += sent.bytes as u64;
            requests.push((sent, self.kept[at..at + sent.bytes].to_vec(), offset > taken));
            at += sent.bytes;
        }
        (self.session, self.told) = (None, None);
        (self.asked, self.groups, self.held) = (0, 0, None);
        (self.kept, self.start, self.answered_bytes) = (Vec::new(), 0, 0);
        (self.asked_to_track, self.acks, self.forgets_behind) = (0, 0, false);
        (self.scanner, self.incomplete, self.owed) = (Scanner::default(), Vec::new(), 0);
        self.undelivered = Vec::new();
        requests
    }

    /// All that it holds beside itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.kept.capacity()
            + self.incomplete.capacity()
            + self.refusal.capacity()
            + self.answer.as_ref().map_or(0, Vec::capacity)
            + self.sent.capacity() * size_of::<Sent>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FRAMES: &[&[u8]] = &[
        b"+OK\r\n",
        b"-ERR no\r\n",
        b":-12\r\n",
        b"$5\r\nhe\r\no\r\n",
        b"$0\r\n\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"*3\r\n:1\r\n*2\r\n+a\r\n$1\r\nb\r\n_\r\n",
        b"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n#t\r\n",
        b"~1\r\n,1.5\r\n",
        b"=7\r\ntxt:abc\r\n",
        b"(123\r\n",
        b"|1\r\n+k\r\n+v\r\n:5\r\n",
    ];

    fn sent(bytes: usize) -> Sent {
        Sent {
            bytes,
            hidden: 0,
            is_silent: false,
            is_blocking: false,
            is_denied: false,
            selects: None,
            repeat: Repeat::Always,
            group: 0,
            turn: 0,
        }
    }

    proptest! {
        #[test]
        fn frames_are_whole_however_they_arrive(which in prop::collection::vec(0..FRAMES.len(), 1..20), cut in 1_usize..9) {
            let bytes: Vec<u8> = which.iter().flat_map(|at| FRAMES[*at].to_vec()).collect();
            let mut passed = Lane::default();
            which.iter().for_each(|_| passed.push(sent(2), b"xy"));
            let mut out = Vec::new();
            for part in bytes.chunks(cut) {
                let before = passed.sent.len();
                prop_assert!(passed.receive(part, &mut out));
                let answered = which.len() - passed.sent.len();
                let whole: usize = which[..answered].iter().map(|at| FRAMES[*at].len()).sum();
                prop_assert_eq!(out.len(), whole);
                prop_assert!(passed.sent.len() <= before);
            }
            prop_assert_eq!(&out, &bytes);
            prop_assert_eq!((passed.sent.len(), passed.sent_bytes(), passed.incomplete_bytes()), (0, 0, 0));
            prop_assert!(!passed.receive(b"+more\r\n", &mut out), "nobody has asked");
        }

        #[test]
        fn bytes_that_are_no_replies_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut passed = Lane::default();
            passed.push(sent(1), b"x");
            let _ = passed.receive(&bytes, &mut Vec::new());
        }
    }

    #[test]
    fn pushes_pass_beside_replies_and_hidden_replies_are_not_seen() {
        let mut passed = Lane::default();
        passed.push(Sent { hidden: 2, ..sent(1) }, b"a");
        passed.push(Sent { is_silent: true, ..sent(1) }, b"b");
        passed.push(sent(1), b"c");
        let mut out = Vec::new();
        assert!(passed.receive(b"+OK\r\n>1\r\n+p\r\n+QUEUED\r\n*1\r\n:1\r\n:2\r\n:3\r\n", &mut out));
        assert_eq!(out, b">1\r\n+p\r\n*1\r\n:1\r\n:3\r\n");
        assert!(passed.sent.is_empty());
    }

    #[test]
    fn what_is_answered_to_a_part_of_a_round_is_kept_for_it() {
        let mut passed = Lane::default();
        passed.push(Sent { repeat: Repeat::TurnIfNotExecuted, ..sent(1) }, b"a");
        passed.push(sent(1), b"b");
        let mut out = Vec::new();
        assert!(passed.receive(b"-ERR n", &mut out) && passed.receive(b"o\r\n+OK\r\n", &mut out));
        assert_eq!((passed.answer.take(), out), (Some(b"-ERR no\r\n".to_vec()), b"+OK\r\n".to_vec()));
    }

    #[test]
    fn what_a_client_may_not_ask_for_any_more_is_answered_by_the_refusal() {
        let mut passed = Lane::default();
        passed.push(sent(1), b"a");
        passed.push(Sent { is_blocking: true, ..sent(2) }, b"bc");
        passed.push(sent(1), b"d");
        let blocking = passed.blocking();
        assert_eq!(blocking, [(1, &b"bc"[..])]);
        passed.deny(1, b"-NOPERM\r\n");
        assert!(passed.blocking().is_empty());
        let mut out = Vec::new();
        assert!(passed.receive(b":1\r\n*1\r\n$6\r\nsecret\r\n:3\r\n", &mut out));
        assert_eq!(out, b":1\r\n-NOPERM\r\n:3\r\n");
        assert_eq!(passed.undelivered, [(b"bc".to_vec(), b"*1\r\n$6\r\nsecret\r\n".to_vec())]);
    }

    #[test]
    fn replies_of_several_sessions_are_shown_in_the_order_of_requests_with_the_pushes_behind_each() {
        let reply = |turn: u64| Piece::Reply(turn, turn.to_string().into_bytes());
        let push = |text: &str| Piece::Push(text.as_bytes().to_vec());
        let mut passed = Passed::default();
        for turn in 0..6 {
            let term = turn % 3 + 1;
            passed.turn_to(term);
            passed.turn_to(term);
            passed.lane.session.get_or_insert((10 * term, term));
            passed.push(Sent { group: term as u16, ..sent(1) }, b"x");
        }
        assert!(passed.is_under_way() && passed.has_under_way(2, 0) && !passed.has_under_way(2, 2));
        assert_eq!(
            passed.in_turn(20, vec![push("before"), reply(1), push("behind"), reply(4)]),
            [push("before")]
        );
        assert_eq!(passed.in_turn(30, vec![reply(2)]), []);
        let shown = passed.in_turn(10, vec![reply(0), push("first")]);
        assert_eq!(shown, [reply(0), reply(1), push("behind"), reply(2), push("first")]);
        assert_eq!(passed.in_turn(10, vec![reply(3)]), [reply(3), reply(4)]);
        assert_eq!(passed.in_turn(20, vec![push("at once")]), [push("at once")]);
        assert_eq!(passed.in_turn(30, vec![reply(5)]), [reply(5)]);
        assert!(passed.early.is_empty());
    }

    #[test]
    fn what_was_under_way_says_whether_it_may_have_been_executed() {
        let mut passed = Passed::default();
        ["one", "two", "three", "four"]
            .iter()
            .for_each(|text| passed.lane.push(sent(text.len()), text.as_bytes()));
        assert!(passed.lane.receive(b"+1\r\n+2", &mut Vec::new()));
        passed.watches = true;
        let requests = passed.break_session(6);
        let known: Vec<_> = requests.iter().map(|(_, bytes, is_not)| (&bytes[..], *is_not)).collect();
        assert_eq!(known, [(&b"two"[..], false), (b"three", true), (b"four", true)]);
        assert!(passed.watch_broken && !passed.watches && passed.lane.sent_bytes() == 0);
    }
}
