//! Who leads the keys, and sessions of clients at the node that does.
//!
//! ```text
//!   a node that does not lead                          the node that leads
//!   shards ─► `passed` ─► sessions_out ═══ NATS ═══► sessions_in ─► session: a client without a socket ─► its shard
//!   shards ◄─ Mail::Passed ◄─ sessions_in ◄══════ sessions_out ◄── what it says, as far as there is room for it
//! ```
//!
//! Sessions have links of their own, with the windows and numbers of those of messages. A number that is missing, in either direction,
//! breaks all sessions of the two nodes (whoever loses something on the way leaves a gap for the other one): the term is another one, and what was under way is answered by the shards (`shard/passing.rs`
//! of the server). So nothing is executed out of order, and no reply is taken for another one's.
//!
//! Room: a session may send [`ROOM_BYTES`] more than its client has read. So one client that doesn't read stops its own session.
//!
//! Each group of keys has a node that leads it; sessions are with nodes, whatever these lead.
//!
//! Invariants
//! - Every other node that leads anything has a term, and no other has; it is a new one whenever a session there may have lost anything.
//! - Records of another term are dropped: their sessions are broken already.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use bytes::Bytes;
use sterna_server::{
    Asker, Engine, Inlet, InnerClient, Lead, Leadership, LogSeat, Member, RECORD_BYTES_MAX, ROOM_BYTES, Say,
    SessionId, TAKEN_UNKNOWN, records, shard_of, write_record,
};

use super::frame::{Address, Body, Link, NodeId, write};
use super::hub::Hub;
use super::incoming::Arrived;
use super::peer::Peer;
use super::shared::Shared;
use crate::log::balance::{Move, SETTLED};

/// A node says where clients reach it with every beat that is this one among as many.
const ADDRESS_EVERY: u32 = 4;

/// See the module.
pub(super) struct Leading {
    /// See `cluster-leader`.
    named: String,
    /// Who knows which node leads each group of keys, with `cluster-keys`.
    seats: Vec<LogSeat>,
    address: Address,
    engine: Engine,
    /// By group of keys; one without `cluster-keys`.
    leads: Vec<Leader>,
    /// Which nodes are there and who leads each group, as names of writers, and since when that has been so.
    seen: (Vec<u64>, Vec<u64>, Instant),
    terms: BTreeMap<NodeId, Term>,
    last_term: u64,
    sessions: HashMap<(NodeId, SessionId), Session>,
    sessions_max: usize,
    /// Sessions that have more to say than the way to their node takes.
    held: Vec<(NodeId, SessionId)>,
    beats: u32,
}

/// Who leads a group of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leader {
    /// Each node has its own.
    Each,
    Me,
    Other(NodeId),
    Nobody,
}

/// What frames of the log name a node as: the lower half of its identity.
pub(super) fn writer_of(node: NodeId) -> u64 {
    node.0 as u64
}

/// How long another node has led without a break.
struct Term {
    number: u64,
    /// It has been told that this term begins.
    has_begun: bool,
}

/// A client of another node.
struct Session {
    client: InnerClient,
    waker: Waker,
    room: i64,
    /// Bytes of requests that it has been given.
    taken: u64,
}

/// Wakes the hub for a session that has something to say.
struct Speaks {
    shared: Arc<Shared>,
    who: (NodeId, SessionId),
}

impl Wake for Speaks {
    fn wake(self: Arc<Self>) {
        self.shared.speaking.push(self.who);
        self.shared.notify.notify_one();
    }
}

impl Leading {
    pub(super) fn new(
        (named, seats): (String, Vec<LogSeat>),
        sessions_max: usize,
        address: Address,
        inlet: &Inlet,
    ) -> Leading {
        Leading {
            named,
            leads: vec![Leader::Nobody; seats.len().max(1)],
            seats,
            seen: (Vec::new(), Vec::new(), Instant::now()),
            address,
            engine: Engine::of(inlet),
            terms: BTreeMap::new(),
            last_term: 0,
            sessions: HashMap::new(),
            sessions_max,
            held: Vec::new(),
            beats: 0,
        }
    }

    /// Whether the other node leads any keys.
    pub(super) fn is_leader(&self, node: NodeId) -> bool {
        self.terms.contains_key(&node)
    }

    fn leads_any(&self) -> bool {
        self.leads.contains(&Leader::Me)
    }

    fn begin_term(&mut self, node: NodeId) {
        self.last_term += 1;
        self.terms.insert(node, Term { number: self.last_term, has_begun: false });
    }

    /// The groups that are led so, a bit each.
    fn groups_led(&self, by: Leader) -> u64 {
        let led = self.leads.iter().enumerate().filter(|(_, leader)| **leader == by);
        led.fold(0, |bits, (group, _)| bits | 1 << group)
    }
}

impl Hub {
    // Who leads.

    /// Where clients reach this node, to be sent now and then.
    pub(super) fn my_address(&mut self, is_hello: bool) -> Option<Vec<u8>> {
        let leading = &mut self.leading;
        if leading.address.host.is_empty() {
            leading.address.host = self.client.server_info().client_ip;
        }
        leading.beats = leading.beats.wrapping_add(1);
        let Address { host, port, tls_port } = &leading.address;
        let body = Body::Address { port: *port, tls_port: *tls_port, host };
        (is_hello || leading.beats.is_multiple_of(ADDRESS_EVERY)).then(|| write(self.me, &body))
    }

    pub(super) fn note_address(&mut self, from: NodeId, address: &Address) {
        if let Some(peer) = self.peers.get_mut(&from)
            && peer.address != *address
        {
            peer.address = address.clone();
            self.refresh_lead();
            self.show_members();
        }
    }

    /// The log's thread may have said that another node leads.
    pub(super) fn follow_lead(&mut self) {
        if !self.leading.seats.is_empty() {
            self.refresh_lead();
        }
    }

    /// Finds who leads by now.
    pub(super) fn refresh_lead(&mut self) {
        self.show_preferred();
        let leads: Vec<Leader> = (0..self.leading.leads.len()).map(|group| self.find_leader(group)).collect();
        self.show_next_move(&leads);
        if leads != self.leading.leads {
            self.set_leads(leads);
        }
    }

    fn find_leader(&self, group: usize) -> Leader {
        let leading = &self.leading;
        let named = &leading.named;
        let claimed = leading.seats.get(group).map(LogSeat::leadership);
        let is_named = |(id, peer): &(&NodeId, &Peer)| match claimed {
            Some(Leadership::Other(claimed)) => peer.is_live && writer_of(**id) == claimed,
            Some(_) => false,
            None => peer.is_live && peer.address.is(named),
        };
        let mut live = self.peers.iter().filter(is_named);
        if claimed == Some(Leadership::Me) {
            Leader::Me
        } else if claimed.is_none() && named.is_empty() {
            Leader::Each
        } else if claimed.is_none() && leading.address.is(named) {
            match live.next() {
                None => Leader::Me,
                Some((node, peer)) => {
                    if leading.leads_any() {
                        let name = &peer.name;
                        tracing::error!(%node, name, "another node has the address of cluster-leader, too: neither leads");
                    }
                    Leader::Nobody
                }
            }
        } else {
            let other = live.find(|(_, peer)| !peer.sessions_out.is_stalled()).filter(|_| self.is_joined());
            other.map_or(Leader::Nobody, |(node, _)| Leader::Other(*node))
        }
    }

    /// Says which groups this node is to claim first, where there are several: of the nodes that are there each has its share.
    fn show_preferred(&self) {
        let mut nodes: Vec<NodeId> =
            self.peers.iter().filter(|(_, peer)| peer.is_live).map(|(id, _)| *id).collect();
        nodes.push(self.me);
        nodes.sort();
        let own = (0..self.leading.leads.len()).filter(|group| nodes[group % nodes.len()] == self.me);
        let bits = own.fold(0, |bits: u64, group| bits | 1 << group);
        self.shared.preferred.store(bits, Ordering::Relaxed);
    }

    /// Says which group is to be handed over, as soon as nothing else has happened for a while.
    fn show_next_move(&mut self, leads: &[Leader]) {
        if leads.len() < 2 {
            return;
        }
        let live = self.peers.iter().filter(|(_, peer)| peer.is_live).map(|(id, _)| *id);
        let mut nodes: Vec<NodeId> = live.chain([self.me]).collect();
        nodes.sort();
        let name_of = |leader: &Leader| match leader {
            Leader::Me => Some(writer_of(self.me)),
            Leader::Other(node) => Some(writer_of(*node)),
            Leader::Each | Leader::Nobody => None,
        };
        let nodes: Vec<u64> =
            nodes.into_iter().map(writer_of).filter(|node| self.shared.is_holder(*node)).collect();
        let leaders: Option<Vec<u64>> = leads.iter().map(name_of).collect();
        // Without a leader of each there is nothing to share out.
        let leaders = leaders.filter(|_| self.is_joined()).unwrap_or_default();
        let now = Instant::now();
        let (seen_nodes, seen_leaders, since) = &mut self.leading.seen;
        if (&*seen_nodes, &*seen_leaders) != (&nodes, &leaders) {
            (*seen_nodes, *seen_leaders, *since) = (nodes, leaders, now);
        }
        let is_settled = now >= *since + SETTLED;
        let next_move = if is_settled { Move::next(seen_nodes, seen_leaders) } else { None };
        if let Ok(mut shown) = self.shared.next_move.lock() {
            *shown = next_move;
        }
    }

    fn set_leads(&mut self, leads: Vec<Leader>) {
        let leading = &mut self.leading;
        leading.terms.retain(|node, _| leads.contains(&Leader::Other(*node)));
        for leader in &leads {
            if let Leader::Other(node) = leader
                && !leading.terms.contains_key(node)
            {
                leading.begin_term(*node);
            }
        }
        leading.leads = leads;
        self.show_leads();
        if !self.leading.leads_any() {
            self.refuse_all_sessions();
        }
        self.leading.engine.tell_lead();
        self.show_members();
    }

    /// Shows shards who leads.
    fn show_leads(&self) {
        for (group, leader) in self.leading.leads.iter().enumerate() {
            let term = |node| self.leading.terms.get(&node).map(|term| term.number);
            let lead = match *leader {
                Leader::Each => Lead::Each,
                Leader::Me => Lead::Me,
                Leader::Other(node) => term(node).map_or(Lead::Nobody, Lead::Elsewhere),
                Leader::Nobody => Lead::Nobody,
            };
            self.shared.groups[group].set_lead(lead);
            self.shared.groups[group].is_behind.store(false, Ordering::SeqCst);
        }
    }

    /// What was under way to that node, or back, may be lost.
    fn begin_term(&mut self, node: NodeId) {
        if self.leading.is_leader(node) {
            self.leading.begin_term(node);
            self.show_leads();
            self.leading.engine.tell_lead();
        }
    }

    /// What clients are told of nodes.
    pub(super) fn show_members(&self) {
        let leading = &self.leading;
        let member = |id: NodeId, address: &Address, is_live: bool, leads: u64| Member {
            id: format!("{:08x}{id}", (id.0 ^ (id.0 >> 32) ^ (id.0 >> 64) ^ (id.0 >> 96)) as u32),
            host: address.host.clone(),
            port: address.port,
            tls_port: address.tls_port,
            is_live,
            leads,
        };
        let mut members = vec![member(self.me, &leading.address, true, leading.groups_led(Leader::Me))];
        // Who has not said where it is can't be reached.
        let known = self.peers.iter().filter(|(_, peer)| !peer.address.host.is_empty());
        members.extend(known.map(|(id, peer)| {
            member(*id, &peer.address, peer.is_live, leading.groups_led(Leader::Other(*id)))
        }));
        if let Ok(mut shown) = self.shared.members.lock() {
            *shown = members;
        }
    }

    // What goes.

    /// Sends what shards pass on.
    pub(super) fn take_passed(&mut self) {
        while let Some((term, letter)) = self.shared.passed.pop() {
            self.shared.passed_bytes.fetch_sub(letter.len(), Ordering::SeqCst);
            let of_term = self.leading.terms.iter_mut().find(|(_, of)| of.number == term);
            let Some((node, term)) = of_term else { continue };
            let Some(peer) = self.peers.get_mut(node) else { continue };
            if !std::mem::replace(&mut term.has_begun, true) {
                let mut begin = Vec::new();
                write_record(&mut begin, 0, Say::Begin);
                let begin = Bytes::from(begin);
                peer.sessions_out.push(&begin, &begin);
            }
            let letter = Bytes::from(letter);
            for (_, _, record) in records(&letter) {
                peer.sessions_out.push(record, &letter);
            }
        }
        for peer in self.peers.values_mut() {
            peer.sessions_out.seal();
        }
    }

    /// Sends what sessions say, and looks whether shards may pass on more.
    pub(super) fn send_replies(&mut self) {
        for who in std::mem::take(&mut self.leading.held) {
            self.let_speak(who);
        }
        while let Some(who) = self.shared.speaking.pop() {
            self.let_speak(who);
        }
        for peer in self.peers.values_mut() {
            peer.sessions_out.seal();
        }
        let mut has_room = false;
        for (leader, group) in self.leading.leads.iter().zip(&self.shared.groups) {
            let peer = if let Leader::Other(node) = leader { self.peers.get(node) } else { None };
            let is_behind = peer.is_some_and(|peer| peer.sessions_out.bytes() > self.window_bytes);
            group.is_behind.store(is_behind, Ordering::SeqCst);
            has_room |= self.shared.has_room_to_pass(group) && group.is_awaited.swap(false, Ordering::SeqCst);
        }
        if has_room {
            self.leading.engine.tell_lead();
        }
    }

    /// Takes what a session says, as far as there is room for it.
    fn let_speak(&mut self, who: (NodeId, SessionId)) {
        let Some(session) = self.leading.sessions.get_mut(&who) else { return };
        let Some(peer) = self.peers.get_mut(&who.0) else { return };
        while session.room > 0 {
            if peer.sessions_out.bytes() > self.window_bytes {
                return self.leading.held.push(who);
            }
            let mut said = Vec::new();
            let mut record = Vec::new();
            match session.client.poll_receive(&Context::from_waker(&session.waker), &mut said) {
                Poll::Pending => return,
                Poll::Ready(true) => {
                    session.room -= said.len() as i64;
                    write_record(&mut record, who.1, Say::Replies(&said));
                    let record = Bytes::from(record);
                    peer.sessions_out.push(&record, &record);
                }
                Poll::Ready(false) => {
                    let taken = session.client.executed().unwrap_or(TAKEN_UNKNOWN);
                    self.leading.sessions.remove(&who);
                    return self.say(who, Say::Closed { taken });
                }
            }
        }
    }

    fn say(&mut self, (node, session): (NodeId, SessionId), say: Say<'_>) {
        if let Some(peer) = self.peers.get_mut(&node) {
            let mut record = Vec::new();
            write_record(&mut record, session, say);
            let record = Bytes::from(record);
            peer.sessions_out.push(&record, &record);
        }
    }

    // What comes.

    pub(super) fn take_of_sessions(&mut self, from: NodeId, body: &Body<'_>) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if let Body::Taken { frame } = body {
            return peer.sessions_out.taken(*frame, Instant::now());
        }
        let (arrived, missed) = peer.sessions_in.receive(body, 2 * RECORD_BYTES_MAX);
        let owes = matches!(body, Body::Tail { .. }) || peer.sessions_in.owes_taken();
        let is_lost = peer.sessions_in.has_lost_frames();
        if missed > 0 {
            tracing::warn!(node = %from, name = %peer.name, missed, "parts of clients' sessions are missing: they are broken");
            // A gap that the other node has left says that it knows: who answered it with one of its own would be answered in turn, for ever.
            if is_lost {
                self.close_sessions_of(from);
            } else {
                self.forget_sessions_of(from);
            }
            self.begin_term(from);
        }
        match &arrived {
            Arrived::Messages(bytes) => self.take_records(from, bytes),
            Arrived::Whole(bytes) => self.take_records(from, bytes),
            Arrived::Nothing => {}
        }
        if owes {
            self.tell_sessions_taken(from);
        }
    }

    fn take_records(&mut self, from: NodeId, bytes: &[u8]) {
        // For each shard of this node.
        let mut replies: BTreeMap<usize, (SessionId, Vec<u8>)> = BTreeMap::new();
        for (session, say, record) in records(bytes) {
            let who = (from, session);
            match say {
                Say::Replies(_) | Say::Closed { .. } => {
                    if self.leading.is_leader(from) {
                        let shard = shard_of(session);
                        replies
                            .entry(shard)
                            .or_insert_with(|| (session, Vec::new()))
                            .1
                            .extend_from_slice(record);
                    }
                }
                Say::Begin => self.leading.sessions.retain(|(node, _), _| *node != from),
                Say::Open(asker) => self.open(who, asker),
                Say::Requests(bytes) => self.give(who, bytes),
                Say::Room(bytes) => {
                    if let Some(session) = self.leading.sessions.get_mut(&who) {
                        session.room += i64::from(bytes);
                        self.let_speak(who);
                    }
                }
                Say::Close => drop(self.leading.sessions.remove(&who)),
                Say::Leave => match self.leading.sessions.get(&who) {
                    Some(session) => session.client.end(),
                    None => self.say(who, Say::Closed { taken: TAKEN_UNKNOWN }),
                },
                Say::Unblock { with_error } => {
                    if let Some(session) = self.leading.sessions.get(&who) {
                        session.client.unblock(with_error);
                    }
                }
            }
        }
        for (session, records) in replies.into_values() {
            self.leading.engine.tell_passed(session, records);
        }
    }

    fn open(&mut self, who: (NodeId, SessionId), asker: &[u8]) {
        let leading = &mut self.leading;
        let is_open = leading.sessions.contains_key(&who);
        let asker = Asker::read(asker);
        let begins = asker.as_ref().is_some_and(|asker| !asker.goes_on);
        let has_room = is_open || begins && leading.sessions.len() < leading.sessions_max;
        let asker = asker.filter(|_| leading.leads_any() && has_room);
        // One that goes on and is not known here was forgotten with its node: what it had done nobody can say.
        let Some(asker) = asker else { return self.refuse(who, if begins { 0 } else { TAKEN_UNKNOWN }) };
        if let Some(session) = leading.sessions.get(&who) {
            if !session.client.become_asker(&asker) {
                self.refuse(who, TAKEN_UNKNOWN);
            }
            return;
        }
        let Some(client) = leading.engine.session(&asker) else { return self.refuse(who, 0) };
        let waker = Waker::from(Arc::new(Speaks { shared: Arc::clone(&self.shared), who }));
        leading.sessions.insert(who, Session { client, waker, room: ROOM_BYTES as i64, taken: 0 });
        // It is asked once, so that it wakes the hub from then on.
        self.let_speak(who);
    }

    fn give(&mut self, who: (NodeId, SessionId), bytes: &[u8]) {
        if !self.leading.leads_any() {
            return self.refuse(who, TAKEN_UNKNOWN);
        }
        match self.leading.sessions.get_mut(&who) {
            Some(session) => {
                session.taken += bytes.len() as u64;
                session.client.send(bytes);
            }
            // Whether it was executed as long as the session was there is not known here.
            None => self.say(who, Say::Closed { taken: TAKEN_UNKNOWN }),
        }
    }

    /// Takes no more of a session. `unless_known`: what it was given, if it is not among those of this node: that it is forgotten
    /// does not say that nothing of it was executed.
    fn refuse(&mut self, who: (NodeId, SessionId), unless_known: u64) {
        let taken = self.leading.sessions.remove(&who).map_or(unless_known, |session| session.taken);
        self.say(who, Say::Closed { taken });
    }

    fn refuse_all_sessions(&mut self) {
        for who in self.leading.sessions.keys().copied().collect::<Vec<_>>() {
            self.let_speak(who);
            self.refuse(who, TAKEN_UNKNOWN);
        }
    }

    /// Something on the way is lost, be it the beginning of a session: no session of the node goes on, and it is told by a number
    /// that is missing to it as well.
    fn close_sessions_of(&mut self, node: NodeId) {
        self.forget_sessions_of(node);
        if self.leading.leads_any()
            && let Some(peer) = self.peers.get_mut(&node)
        {
            peer.sessions_out.leave_gap();
        }
    }

    /// A node is gone: so are its clients.
    pub(super) fn forget_sessions_of(&mut self, node: NodeId) {
        self.leading.sessions.retain(|(of, _), _| *of != node);
    }

    pub(super) fn forget_all_sessions(&mut self) {
        self.leading.sessions.clear();
    }

    /// What INFO says of it.
    pub(super) fn figures_of_leading(&self) -> [(&'static str, String); 4] {
        let peer =
            |leader: &Leader| if let Leader::Other(node) = leader { self.peers.get(node) } else { None };
        let lead = |leader: &Leader| match leader {
            Leader::Each => "none",
            Leader::Me => "self",
            Leader::Other(_) => "other",
            Leader::Nobody => "unknown",
        };
        // By group, if there are several.
        let leads = &self.leading.leads;
        let leaders: Vec<&str> = leads.iter().map(lead).collect();
        let names: Vec<&str> = leads.iter().map(|of| peer(of).map_or("", |peer| &peer.name)).collect();
        let pending: usize = self
            .leading
            .terms
            .keys()
            .filter_map(|node| self.peers.get(node))
            .map(|peer| peer.sessions_out.bytes())
            .sum();
        [
            ("cluster_leader", leaders.join(",")),
            ("cluster_leader_name", names.join(",")),
            ("cluster_sessions", self.leading.sessions.len().to_string()),
            ("cluster_passed_pending_bytes", pending.to_string()),
        ]
    }

    fn tell_sessions_taken(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            let frame = peer.sessions_in.tell();
            self.send_on(Link::Sessions, node, &Body::Taken { frame });
        }
    }

    /// What is to be done for sessions now and then.
    pub(super) fn tend_sessions(
        &mut self,
        node: NodeId,
        (tail, is_untold): (Option<Bytes>, bool),
        now: Instant,
    ) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let subject = peer.subject.clone();
        let has_stalled = peer.sessions_out.check_stall(now);
        if let Some(tail) = tail {
            self.send(subject, tail);
        }
        if is_untold {
            self.tell_sessions_taken(node);
        }
        if has_stalled {
            self.close_sessions_of(node);
            self.refresh_lead();
        }
    }
}
