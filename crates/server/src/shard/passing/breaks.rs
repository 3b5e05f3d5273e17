//! Sessions that break: what becomes of the requests that were under way.
//!
//! | a request | where its session breaks |
//! |---|---|
//! | reads, or is known not to have been executed | goes back to the input; where others of the connection were passed on behind it to other nodes, to whoever leads its keys, with its turn |
//! | may have been executed | its client is closed; one without a socket is told |
//! | is part of a round | the round sees to it |

use std::collections::BTreeSet;
use std::time::Duration;

use sterna_protocol::Reply;

use super::NO_TERM;
use crate::connection::CloseReason;
use crate::connection::client::mark;
use crate::connection::passed::{Repeat, Sent};
use crate::connection::state::{ConnectionRef, Wait};
use crate::nodes::{Lead, RECORD_BYTES_MAX, Say, TAKEN_UNKNOWN};
use crate::shard::Shard;

/// How long a request that the node that leads has not taken waits before it is passed on again.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);

/// How long a node that leads a group no more, and others still, has to answer what it was given for it.
const LEAVING_MAX: Duration = Duration::from_secs(1);

/// No session: their numbers begin at 1.
const NO_SESSION: u64 = 0;

/// What is answered to a client without a socket when it can't be known whether its request was executed.
const UNKNOWN: &[u8] =
    b"ERR the node that leads was lost before it answered: the command may have been executed, or not";

/// The same for a request that the node that leads did not take, and that can't be passed on again.
const NOT_EXECUTED: &[u8] =
    b"CLUSTERDOWN The cluster is down: the node that leads does not take the command, which was not executed";

impl Shard {
    /// A session of the connection is no more.
    pub(super) fn lose_session(&mut self, slot: usize, session: u64, taken: u64) {
        let Some(passed) = &mut self.connections[slot].passed else { return };
        let is_current = passed.lane.session.is_some_and(|(own, _)| own == session);
        let Some(lane) = passed.lane_of(session) else { return };
        let (is_asked, term) = (lane.is_asked(), lane.session.map_or(NO_TERM, |(_, of)| of));
        if !is_asked && !is_current {
            return self.lose_parked(slot, session);
        }
        if is_asked && !passed.is_alone(session) {
            return self.break_among(slot, session, taken);
        }
        passed.turn_to(term);
        self.break_session(slot, taken);
    }

    /// The same, while requests are under way to other nodes, or answered already, that stand between those of the session: what is to be done
    /// again keeps its turn.
    fn break_among(&mut self, slot: usize, session: u64, taken: u64) {
        let connection = &mut self.connections[slot];
        let (me, proto) = (connection.me, connection.proto);
        let Some(passed) = &mut connection.passed else { return };
        let Some(lane) = passed.lane_of(session) else { return };
        let (acks, requests) = (lane.acks, lane.break_session(taken));
        passed.parked.retain(|lane| lane.session.is_some());
        passed.watch_broken |= std::mem::take(&mut passed.watches);
        let is_pipe = connection.transport.is_pipe();
        let mut is_unknown = false;
        for (sent, bytes, is_not) in requests {
            let is_again = match sent.repeat {
                Repeat::Forget | Repeat::Track => continue,
                // A round waits for all that is under way, and is alone.
                Repeat::TurnAlways | Repeat::TurnIfNotExecuted => continue,
                Repeat::Always => !sent.is_blocking || is_not,
                Repeat::IfNotExecuted => is_not,
                Repeat::Never => false,
            };
            if is_again {
                passed.stuck.push_back((sent, bytes));
            } else if !sent.is_silent {
                is_unknown |= !is_not && !is_pipe;
                let mut error = Vec::new();
                Reply::new(&mut error, proto).error(if is_not { NOT_EXECUTED } else { UNKNOWN });
                passed.hold(NO_SESSION, sent.turn, error);
            }
        }
        let is_stuck = !passed.stuck.is_empty();
        if let Some(passing) = &mut self.passing {
            passing.sessions.remove(&session);
            if is_stuck {
                passing.stuck.insert(me);
            }
        }
        if is_unknown {
            return match connection.output.is_empty() {
                true => self.condemn(slot, CloseReason::LeaderLost),
                false => self.drain(slot, CloseReason::LeaderLost),
            };
        }
        if connection.tracking.is_some() {
            self.tell_to_forget(slot);
        }
        (0..acks).for_each(|_| self.count_track_ack(me));
        self.go_on_with_stuck(me);
    }

    /// Passes on what keeps its turn, as far as it is known who leads its keys.
    fn go_on_with_stuck(&mut self, who: ConnectionRef) {
        let slot = who.slot;
        if self.connection_of(who).is_none() {
            if let Some(passing) = &mut self.passing {
                passing.stuck.remove(&who);
            }
            return;
        }
        while let Some((sent, bytes)) =
            self.connections[slot].passed.as_mut().and_then(|passed| passed.stuck.pop_front())
        {
            let lead = self.passing.as_ref().map_or(Lead::Nobody, |passing| passing.nodes.lead(sent.group));
            let now = self.clock.instant;
            let most = Duration::from_secs(self.config.cluster_leader_wait.into());
            let idle =
                self.passing.as_ref().and_then(|passing| *passing.idle_since.get(usize::from(sent.group))?);
            let is_late = idle.is_some_and(|since| since + most <= now);
            let Some(passed) = &mut self.connections[slot].passed else { return };
            match lead {
                Lead::Elsewhere(term) if !passed.has_under_way(sent.group, term) => {
                    let back = passed.lane.session.map_or(NO_TERM, |(_, of)| of);
                    passed.turn_to(term);
                    let session = self.open_session(slot, term);
                    let (Some(session), Some(passing), Some(passed)) =
                        (session, &mut self.passing, &mut self.connections[slot].passed)
                    else {
                        return;
                    };
                    for part in bytes.chunks(RECORD_BYTES_MAX) {
                        passing.say(session, Say::Requests(part));
                    }
                    passed.lane.push(sent, &bytes);
                    passed.turn_to(back);
                }
                Lead::Elsewhere(_) | Lead::Nobody if !is_late => {
                    passed.stuck.push_front((sent, bytes));
                    if let (Lead::Nobody, Some(passing)) = (lead, &mut self.passing) {
                        passing.idle_since[usize::from(sent.group)].get_or_insert(now);
                    }
                    break;
                }
                // This node can't execute what others have overtaken.
                _ if sent.is_silent => {}
                _ => {
                    let mut error = Vec::new();
                    let proto = self.connections[slot].proto;
                    Reply::new(&mut error, proto).error(NOT_EXECUTED);
                    if let Some(passed) = &mut self.connections[slot].passed {
                        passed.hold(NO_SESSION, sent.turn, error);
                    }
                }
            }
        }
        let mut pieces = Vec::new();
        let Some(passed) = &mut self.connections[slot].passed else { return };
        passed.take_early(&mut pieces);
        let is_stuck = !passed.stuck.is_empty();
        if let Some(passing) = self.passing.as_mut().filter(|_| !is_stuck) {
            passing.stuck.remove(&who);
        }
        self.hand_out_pieces(slot, pieces);
        self.go_on_behind_answers(slot);
    }

    /// The connection's session is no more: what was under way is answered, or done again.
    fn break_session(&mut self, slot: usize, taken: u64) {
        let connection = &mut self.connections[slot];
        let Some(passed) = &mut connection.passed else { return };
        if let (Some((session, _)), Some(passing)) = (passed.lane.session, &mut self.passing) {
            passing.sessions.remove(&session);
        }
        let acks = passed.lane.acks;
        let requests = passed.break_session(taken);
        let most = Duration::from_secs(self.config.cluster_leader_wait.into());
        let now = self.clock.instant;
        let is_refused = taken != TAKEN_UNKNOWN;
        let is_late = is_refused && *passed.lane.refused_since.get_or_insert(now) + most <= now;
        if is_late {
            passed.lane.refused_since = None;
        }
        connection.client.set_mark(mark::BLOCKED, false);
        let forgets = passed.tracking.is_some() && connection.proto == sterna_protocol::Proto::Resp3;
        let me = connection.me;
        if connection.tracking.is_some() {
            // In this order: what is answered below may have been read before.
            self.tell_to_forget(slot);
        }
        (0..acks).for_each(|_| self.count_track_ack(me));
        let connection = &mut self.connections[slot];
        let is_lost = |(sent, _, is_not): &(Sent, Vec<u8>, bool)| match sent.repeat {
            _ if is_late => !sent.is_hidden(),
            Repeat::Always => sent.is_blocking && !is_not,
            Repeat::IfNotExecuted | Repeat::TurnIfNotExecuted => !is_not,
            Repeat::Never => true,
            Repeat::Forget | Repeat::Track | Repeat::TurnAlways => false,
        };
        // Replies keep the order of requests: what stands before one that is lost is lost, too.
        let lost = requests.iter().rposition(is_lost).map_or(0, |last| last + 1);
        let is_unknown =
            |(sent, _, is_not): &(Sent, Vec<u8>, bool)| !is_not && !sent.is_silent && !sent.is_hidden();
        if !connection.transport.is_pipe() && requests[..lost].iter().any(is_unknown) {
            return match connection.output.is_empty() {
                true => self.condemn(slot, CloseReason::LeaderLost),
                // What was answered before still goes out.
                false => self.drain(slot, CloseReason::LeaderLost),
            };
        }
        let mut out = self.replies_to_others.lend();
        let start = out.len();
        if forgets {
            out.extend_from_slice(b">2\r\n$10\r\ninvalidate\r\n_\r\n");
        }
        let (mut again, mut turn_answer) = (Vec::new(), None);
        for (at, (sent, bytes, is_not)) in requests.into_iter().enumerate() {
            match sent.repeat {
                Repeat::Forget | Repeat::Track => {}
                repeat if repeat.is_turn() => {
                    // Without an answer it is to be done again.
                    let text = if is_not { NOT_EXECUTED } else { UNKNOWN };
                    let answer = (at < lost).then(|| [b"-", text, b"\r\n"].concat());
                    turn_answer = turn_answer.or(answer);
                }
                _ if at >= lost => again.extend_from_slice(&bytes),
                _ if sent.is_silent => {}
                _ => {
                    let text = if is_not { NOT_EXECUTED } else { UNKNOWN };
                    Reply::new(&mut out, connection.proto).error(text);
                }
            }
        }
        if let Some(range) = self.replies_to_others.give_back(out, start) {
            self.flusher.push_answer(connection, range);
        }
        if let Some(passed) = &mut connection.passed {
            passed.lane.answer = turn_answer;
        }
        if !again.is_empty() {
            connection.put_back(again);
        }
        if is_refused && !is_late && matches!(connection.state().wait(), None | Some(Wait::Passed)) {
            // Who leads is not agreed upon just now, or it has too many sessions.
            if connection.state().wait().is_some() {
                self.resume(slot);
            }
            self.wait(slot, Wait::Lead, Some(now + REFUSED_PAUSE));
            return;
        }
        self.go_on_behind_answers(slot);
        self.make_ready(slot);
    }

    /// Who leads may be another node, or take more again.
    pub(in crate::shard) fn note_lead(&mut self) {
        let Some(passing) = &mut self.passing else { return };
        let leads: Vec<Lead> =
            (0..passing.idle_since.len()).map(|group| passing.nodes.lead(group as u16)).collect();
        let now = self.clock.instant;
        let mut has_changed = false;
        for (lead, (seen, since)) in leads.iter().zip(&mut passing.seen) {
            if *seen != *lead {
                has_changed |= *lead != Lead::Nobody;
                (*seen, *since) = (*lead, Some(now));
            }
        }
        let is_over = |group: usize| {
            let since = passing.seen.get(group).and_then(|(_, since)| *since);
            since.is_none_or(|since| now >= since + LEAVING_MAX)
        };
        let is_over: Vec<bool> = (0..leads.len()).map(is_over).collect();
        passing.has_leaving = false;
        self.undelivered.forget_lost_orphans(&leads);
        let sessions: BTreeSet<ConnectionRef> = passing.sessions.values().copied().collect();
        let waiting = std::mem::take(&mut passing.waiting);
        for (idle_since, _) in
            passing.idle_since.iter_mut().zip(&leads).filter(|(_, lead)| **lead != Lead::Nobody)
        {
            *idle_since = None;
        }
        for who in sessions {
            let Some(passed) = self.connection_of(who).and_then(|connection| connection.passed.as_ref())
            else {
                continue;
            };
            // Nodes that lead nothing any more, and those that lead others still, but not all that they were asked about.
            let (mut lost, mut leaving) = (Vec::new(), Vec::new());
            for (session, term, lane) in passed.asked() {
                if !leads.contains(&Lead::Elsewhere(term)) {
                    lost.push(session);
                }
                let misled =
                    |group: &usize| lane.is_about(*group as u16) && leads[*group] != Lead::Elsewhere(term);
                let mut left = (0..leads.len()).filter(misled).peekable();
                if left.peek().is_some() {
                    leaving.push(((session, term), left.all(|group| is_over[group])));
                }
            }
            leaving.retain(|((session, _), _)| !lost.contains(session));
            for (session, is_late) in leaving {
                // It answers what it has executed, and says what it has not.
                let Some(passing) = &mut self.passing else { continue };
                if is_late {
                    passing.say(session, Say::Close);
                    lost.push(session.0);
                } else {
                    passing.has_leaving = true;
                }
            }
            lost.into_iter().for_each(|session| self.lose_session(who.slot, session, TAKEN_UNKNOWN));
        }
        let stuck = self.passing.as_ref().map(|passing| passing.stuck.clone());
        stuck.into_iter().flatten().for_each(|who| self.go_on_with_stuck(who));
        self.follow_leaders(has_changed);
        for who in waiting {
            let waits = self
                .connection_of(who)
                .is_some_and(|connection| matches!(connection.state().wait(), Some(Wait::Lead)));
            if waits {
                self.resume(who.slot);
            }
        }
    }

    /// Checks sessions that have been given time to end, and at those that may have to be opened again.
    pub(in crate::shard) fn recheck_sessions(&mut self) {
        if self.passing.as_ref().is_some_and(|passing| passing.has_leaving || !passing.stuck.is_empty()) {
            self.note_lead();
        } else if self.passing.as_ref().is_some_and(|passing| !passing.broadcasting.is_empty()) {
            self.follow_leaders(false);
        }
    }
}
