//! Rights that end while something still lives on them.
//!
//! A connection can hold what a request once gave it: a subscription, MONITOR, tracking, watched keys, a wait for other
//! clients. The request was checked when it was made. Each of these is tied to the connection's user from then on, and is
//! checked again, as the request that would ask for it now, whenever
//!
//! - the user's rules change (ACL SETUSER, ACL LOAD), on every shard; or
//! - the connection becomes another user (AUTH, HELLO AUTH). From then on all it holds is that user's.
//!
//! | held | when the right has gone |
//! |---|---|
//! | a subscription, what a page follows, MONITOR, CLIENT TRACKING | the connection is closed, after the reply if it is being served |
//! | a wait (XREAD BLOCK, WAIT, WAITAOF) | the wait ends with NOPERM; of a reply that is on its way the client sees nothing, and what was taken for it is put back (`shard/undelivered.rs`), but not what was moved to another key; by a transaction that takes the right it is not served |
//! | watched keys | EXEC answers null, as if one had been touched |
//! | CLIENT NO-EVICT, CLIENT NO-TOUCH | switched off |
//! | that it can be resumed (CLIENT RESUME) | it is closed when its socket breaks, or now if that has happened |
//! | queued commands | checked by EXEC, one by one |
//! | what was read while tracking | the client is told to forget everything; later it is told only of keys it may read |
//!
//! What a connection holds at the node that leads the keys (`shard/passing.rs`: waits, tracking, watched keys) is checked there, in the
//! same way: that node is told at once ([`Shard::pass_rights`]), and so it is with a reply that is on its way from there meanwhile.
//!
//! A user that is gone takes all its connections with it, and so does the end of a guest's time (a token of HTTP).
//!
//! A user may have thousands of connections, so a change is followed in steps, between which others are served. The new rules count
//! at once for whatever is asked for; what a connection holds is checked when its turn comes, and who made the change is answered
//! behind the last.
//!
//! Cost: nothing for an unrestricted user; else O(what the connection holds × rules).

use std::collections::VecDeque;
use std::sync::Arc;

use sterna_protocol::{OwnedArgs, Reply};
use sterna_pubsub::Kind;

use super::acl::Context;
use super::table::table;
use super::taken::last_request;
use crate::acl::{User, check};
use crate::config::Config;
use crate::connection::client::mark;
use crate::connection::follow;
use crate::connection::state::Wait;
use crate::connection::{CloseReason, Connection};
use crate::mailbox::UserChange;
use crate::shard::Shard;
use crate::shard::unchecked::{Following, Unchecked};

impl Shard {
    /// Has the connection act as `user` from now on: after AUTH, HELLO AUTH or RESET.
    pub(crate) fn become_user(&mut self, slot: usize, user: Option<Arc<User>>) {
        let is_other = self.connections[slot].user.as_ref().map(|user| user.name())
            != user.as_ref().map(|user| user.name());
        self.connections[slot].set_user(user);
        self.connections[slot].guest_until_ms = None;
        if is_other {
            self.end_resuming(slot, CloseReason::Expired);
            self.check_held(slot);
        }
        self.pass_rights(slot);
    }

    /// Has the connections of changed or removed users follow: they go by the new rules, or are dismissed. False if nothing is left to
    /// check, and nobody is told.
    pub(crate) fn follow_user(&mut self, change: &UserChange, following: Following) -> bool {
        let slots: Vec<usize> = self.connections.iter().map(|(slot, _)| slot).collect();
        let mut unchecked = VecDeque::new();
        for slot in slots {
            let connection = &mut self.connections[slot];
            let is_own = connection.guest_until_ms.is_none() && !connection.is_session;
            let Some(user) = connection.user.as_ref().filter(|_| is_own) else {
                // Nobody's rules are a guest's, and those of a session are kept by another node.
                continue;
            };
            let new = match fate_of(user, change) {
                Fate::Stays => continue,
                Fate::Goes => {
                    self.dismiss(slot, CloseReason::UserRemoved);
                    continue;
                }
                Fate::Becomes(new) => new,
            };
            connection.user = Some(new);
            let me = connection.me;
            if matches!(following, Following::InSteps(_)) && !self.is_executing(me) {
                unchecked.push_back(me);
                continue;
            }
            self.check_held(slot);
            self.pass_rights(slot);
            if matches!(following, Following::Waits(_)) {
                unchecked.push_back(me);
            }
        }
        let (ack, is_of_waits) = match following {
            Following::InSteps(ack) => (ack, false),
            Following::Waits(ack) => (ack, true),
            Following::NotWaits => return false,
        };
        let is_more = !unchecked.is_empty();
        if is_more {
            self.unchecked.push_back(Unchecked { who: unchecked, ack, is_of_waits });
        }
        is_more
    }

    /// A session of another node's client has other rights: checks what it holds here.
    pub(crate) fn check_all_held(&mut self, slot: usize) {
        self.check_held(slot);
        self.check_wait(slot);
    }

    /// What the connection waits for at the node that leads and may not ask for any more is answered so, whatever comes of it there.
    pub(crate) fn deny_passed(&mut self, slot: usize) {
        let connection = &self.connections[slot];
        let (Some(user), Some(passed)) = (connection.user.clone(), &connection.passed) else { return };
        let mut denials = Vec::new();
        for (session, index, bytes) in passed.blocking() {
            // What is asked for on the client's behalf stands before it.
            let Some(request) = last_request(bytes) else { continue };
            let args = request.args();
            let Ok(row) = self.server.renames.resolve(self.server.table, args) else { continue };
            if let Err(denied) = check(&user, row, args, &|key| self.config.retained_channel(key)) {
                denials.push((session, index, row, denied));
            }
        }
        for (session, index, row, denied) in denials {
            let text = denied.wire();
            self.note_denied(slot, row, &denied, Context::TopLevel);
            self.count_error(&text);
            let connection = &mut self.connections[slot];
            let mut refusal = Vec::new();
            Reply::new(&mut refusal, connection.proto).error(&text);
            if let Some(lane) = connection.passed.as_mut().and_then(|passed| passed.lane_of(session)) {
                lane.deny(index, &refusal);
            }
        }
    }

    /// Whether the user's connections can be resumed: if it may ask for that.
    pub(crate) fn may_resume(user: &User) -> bool {
        user.is_unrestricted() || may(user, &[b"CLIENT", b"RESUME", b"ON"])
    }

    /// Checks what the connection holds, but for what it waits for, against its user's rules.
    pub(crate) fn check_held(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        let Some(user) = connection.user.clone() else { return };
        if user.is_unrestricted() {
            return;
        }
        if connection.listens_beyond(&user) || connection.follows_beyond(&user, &self.config) {
            return self.dismiss(slot, CloseReason::UserRemoved);
        }
        if connection.resumption.is_some() && !Shard::may_resume(&user) {
            if connection.is_detached() {
                return self.dismiss(slot, CloseReason::UserRemoved);
            }
            self.end_resuming(slot, CloseReason::UserRemoved);
        }
        let connection = &mut self.connections[slot];
        connection.drop_privileges(&user);
        if let Some(transaction) = &connection.transaction {
            transaction.break_watches_beyond(|key| may(&user, &[b"WATCH", key]));
        }
        if connection.tracking.is_some() {
            self.tell_to_forget(slot);
        }
    }

    /// Ends what the connection waits for if it may not wait for it any more.
    pub(crate) fn check_wait(&mut self, slot: usize) {
        let connection = &self.connections[slot];
        let Some(user) = connection.user.clone() else { return };
        let Some(request) = connection.state().wait().and_then(Wait::request).cloned() else { return };
        let Ok(row) = self.server.renames.resolve(self.server.table, request.args()) else { return };
        let Err(denied) = check(&user, row, request.args(), &|key| self.config.retained_channel(key)) else {
            return;
        };
        let text = denied.wire();
        // What another node's client was denied is counted and logged there.
        if !self.connections[slot].is_session {
            self.note_denied(slot, row, &denied, Context::TopLevel);
        }
        let mut reply = Vec::new();
        Reply::new(&mut reply, self.connections[slot].proto).error(&text);
        match self.connections[slot].state().wait() {
            Some(Wait::Key(_)) => self.end_block(slot, &reply),
            Some(Wait::Copies(_)) => self.refuse_wait_for_copies(slot, &reply),
            _ => {}
        }
    }
}

impl Connection {
    /// Whether it is sent what `user` may not ask for.
    fn listens_beyond(&self, user: &User) -> bool {
        let subscribes_beyond = [
            (Kind::Channel, &b"SUBSCRIBE"[..]),
            (Kind::Pattern, b"PSUBSCRIBE"),
            (Kind::Sharded, b"SSUBSCRIBE"),
        ]
        .into_iter()
        .any(|(kind, command)| self.subscriptions.iter(kind).any(|name| !may(user, &[command, name])));
        let is_shown_beyond = self.is_monitor && !may(user, &[b"MONITOR"]);
        let tracks =
            self.tracking.is_some() || self.passed.as_ref().is_some_and(|passed| passed.tracking.is_some());
        let tracks_beyond = tracks && !may(user, &[b"CLIENT", b"TRACKING", b"ON"]);
        subscribes_beyond || is_shown_beyond || tracks_beyond
    }

    /// Whether it follows what `user` may not.
    fn follows_beyond(&self, user: &User, config: &Config) -> bool {
        let places = self.follow.as_ref().map_or(&[][..], |follow| follow.places());
        places.iter().any(|place| match place.kind {
            follow::Kind::Channel => !may(user, &[b"SUBSCRIBE", &place.name]),
            follow::Kind::Stream => {
                let request: [&[u8]; 4] = [b"XREAD", b"STREAMS", &place.name, b"$"];
                !may_with(user, &request, &|key| config.retained_channel(key))
            }
        })
    }

    fn drop_privileges(&self, user: &User) {
        for (mark, switch) in [(mark::NO_EVICT, &b"NO-EVICT"[..]), (mark::NO_TOUCH, b"NO-TOUCH")] {
            if self.client.has_mark(mark) && !may(user, &[b"CLIENT", switch, b"ON"]) {
                self.client.set_mark(mark, false);
            }
        }
    }
}

/// What a change makes of a user.
enum Fate {
    Stays,
    Becomes(Arc<User>),
    Goes,
}

fn fate_of(user: &User, change: &UserChange) -> Fate {
    match change {
        UserChange::Changed(new) if new.name() == user.name() => Fate::Becomes(Arc::clone(new)),
        UserChange::Changed(_) => Fate::Stays,
        UserChange::Removed(names) if names.iter().any(|name| **name == *user.name()) => Fate::Goes,
        UserChange::Removed(_) => Fate::Stays,
        UserChange::Replaced(users) => {
            users.get(user.name()).map_or(Fate::Goes, |new| Fate::Becomes(Arc::clone(new)))
        }
    }
}

/// Whether the user may make this request, which is one of the table's.
fn may(user: &User, request: &[&[u8]]) -> bool {
    may_with(user, request, &|_| None)
}

/// The same with what is known of channels that remember.
fn may_with(
    user: &User,
    request: &[&[u8]],
    retained_channel: &dyn for<'k> Fn(&'k [u8]) -> Option<&'k [u8]>,
) -> bool {
    let args = OwnedArgs::from_slices(request);
    let (len, arg) = (request.len(), |at: usize| request.get(at).copied());
    table().resolve(len, arg).is_ok_and(|row| check(user, row, args.args(), retained_channel).is_ok())
}
