//! What a command that waited has taken for a client that is gone, or may not have it any more: it goes back to where it was.
//!
//! A writer takes an element out of a list, or out of a sorted set, and mails it to the client that waits for it. It may find nobody:
//!
//! 1. On this node, where the client has left, or has lost its right, while the mail was under way (`KeyWait::is_settled`): what it
//!    waited for is kept here until the mail comes.
//! 2. Where another node leads: the client's session there is told that it *leaves*, and stays here as an *orphan*. The node that leads
//!    ends the wait, as for a client of its own, and answers what has been executed before. What was taken is in these answers.
//! 3. A client whose right has ended gets a refusal in place of what was taken ([`Lane::deny`](crate::connection::passed::Lane::deny)).
//!
//! In each case the request that puts it back is sent by a client without a socket, as any client would: whoever leads the keys by then
//! executes it, and who waits is served. Since others may have taken what follows, it may come in another place than it would have had.
//!
//! What is under way between two nodes when their line is lost, or one of them is, is not put back: the client may have it.
//!
//! Invariants
//! - A wait that is kept has been claimed by a writer, whose mail is under way.
//! - An orphan's session is in no connection.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};

use hashbrown::HashMap;
use sterna_keyspace::Waiter;
use sterna_protocol::OwnedArgs;

use crate::connection::client::Address;
use crate::connection::passed::Lane;
use crate::connection::pipe::{Pipe, PipeEnd};
use crate::connection::transport::Socket;
use crate::connection::waits::KeyWait;
use crate::log_limit::Cause;
use crate::mailbox::{Guest, Mail, Vouched};
use crate::nodes::{Lead, Say};
use crate::shard::Shard;

/// Orphans of a shard. Of more clients that leave at once, what is taken for them meanwhile is lost.
const ORPHANS_MAX: usize = 4096;

/// Bytes of requests that they keep.
const ORPHAN_BYTES_MAX: usize = 16 * 1024 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Undelivered {
    orphans: HashMap<u64, Orphan>,
    orphan_bytes: usize,
    waits: Vec<(Arc<Waiter>, OwnedArgs)>,
    /// Clients that put something back and are not answered yet.
    clients: Vec<Putting>,
}

/// A client that puts something back.
#[derive(Debug)]
struct Putting {
    pipe: Arc<Pipe>,
    /// What it has been answered, and in how many lines its answers are.
    said: Vec<u8>,
    lines: usize,
}

/// The session of a client that is gone.
#[derive(Debug)]
struct Orphan {
    lane: Lane,
    term: u64,
    db: u8,
    bytes: usize,
}

impl Undelivered {
    /// Keeps the session of a client that is gone; `None`: it awaits nothing that could be taken for it, or there are too many.
    fn adopt(&mut self, mut lane: Lane) -> Option<(u64, u64)> {
        let (session, term) = lane.session?;
        let db = lane.told.as_ref().map_or(0, |told| told.db);
        let bytes = lane.heap_bytes();
        let has_room =
            self.orphans.len() < ORPHANS_MAX && self.orphan_bytes.saturating_add(bytes) <= ORPHAN_BYTES_MAX;
        if !lane.leave() || !has_room {
            return None;
        }
        self.orphan_bytes += bytes;
        self.orphans.insert(session, Orphan { lane, term, db, bytes });
        Some((session, term))
    }

    /// These nodes lead: sessions of other terms are gone.
    pub(super) fn forget_lost_orphans(&mut self, leads: &[Lead]) {
        self.orphans.retain(|_, orphan| leads.contains(&Lead::Elsewhere(orphan.term)));
        self.orphan_bytes = self.orphans.values().map(|orphan| orphan.bytes).sum();
    }
}

impl Shard {
    /// The client of this session is gone. True: it is told so, and what it answers yet is awaited.
    pub(super) fn adopt_orphan(&mut self, lane: Lane) -> bool {
        let Some(session) = self.undelivered.adopt(lane) else { return false };
        if let Some(passing) = &mut self.passing {
            passing.say(session, Say::Leave);
        }
        true
    }

    /// What the node that leads says to a session that is nobody's, or one whose client is gone.
    pub(super) fn on_orphan_said(&mut self, session: u64, say: Say<'_>) {
        let Some(orphan) = self.undelivered.orphans.get_mut(&session) else { return };
        let (is_over, db) = match say {
            Say::Replies(bytes) => {
                let makes_sense = orphan.lane.receive(bytes, &mut Vec::new());
                if let Some(passing) = &mut self.passing {
                    let room = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                    passing.say((session, orphan.term), Say::Room(room));
                }
                (!makes_sense, orphan.db)
            }
            Say::Closed { .. } => (true, orphan.db),
            _ => return,
        };
        let undelivered = std::mem::take(&mut orphan.lane.undelivered);
        let awaits_none = !orphan.lane.leave();
        if is_over || awaits_none {
            self.forget_orphan(session, !matches!(say, Say::Closed { .. }));
        }
        self.put_back_all(db, undelivered);
    }

    fn forget_orphan(&mut self, session: u64, is_open: bool) {
        let Some(orphan) = self.undelivered.orphans.remove(&session) else { return };
        self.undelivered.orphan_bytes -= orphan.bytes;
        if let Some(passing) = self.passing.as_mut().filter(|_| is_open) {
            passing.say((session, orphan.term), Say::Close);
        }
    }

    /// Puts back what these requests have taken, to which that was answered.
    pub(super) fn put_back_all(&mut self, db: u8, undelivered: Vec<(Vec<u8>, Vec<u8>)>) {
        for (request, reply) in undelivered {
            self.put_back_undelivered(db, &request, &reply);
        }
    }

    /// Nobody waits there any more, and what a writer has taken for it is on its way.
    pub(crate) fn keep_wait(&mut self, blocked: &KeyWait) {
        self.undelivered.waits.push((Arc::clone(&blocked.waiter), blocked.request.clone()));
    }

    /// What a client has waited in that is gone.
    pub(crate) fn take_wait(&mut self, waiter: &Arc<Waiter>) -> Option<OwnedArgs> {
        let waits = &mut self.undelivered.waits;
        let at = waits.iter().position(|(kept, _)| Arc::ptr_eq(kept, waiter))?;
        Some(waits.swap_remove(at).1)
    }

    /// Has so many requests, each of which is answered by a line, executed for the server itself.
    pub(crate) fn send_requests(&mut self, guest: Guest, requests: &[u8], lines: usize) {
        let pipe = Arc::new(Pipe::default());
        let socket = Socket::Pipe(PipeEnd(Arc::clone(&pipe)));
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let address = Address::Tcp { peer: nowhere, local: nowhere };
        let vouched = Some(Vouched::Guest(Box::new(guest)));
        let handle = self.handle();
        handle.connections.fetch_add(1, Relaxed);
        handle.mailbox.push(Mail::Accepted { socket, address, tls: false, vouched });
        if pipe.send(requests) {
            handle.mailbox.push(Mail::Piped(Arc::clone(&pipe)));
        }
        self.undelivered.clients.push(Putting { pipe, said: Vec::new(), lines });
    }

    /// Looks what has become of what was put back.
    pub(super) fn poll_undelivered(&mut self) {
        if self.undelivered.clients.is_empty() {
            return;
        }
        let context = Context::from_waker(Waker::noop());
        let mut ended = Vec::new();
        self.undelivered.clients.retain_mut(|Putting { pipe, said, lines }| {
            let is_closed = pipe.poll_output(&context, said).0 == Poll::Ready(false);
            let is_over = is_closed || said.iter().filter(|byte| **byte == b'\n').count() >= *lines;
            if is_over {
                ended.push((Arc::clone(pipe), std::mem::take(said)));
            }
            !is_over
        });
        for (pipe, said) in ended {
            if pipe.leave() {
                self.handle().mailbox.push(Mail::Piped(pipe));
            }
            let mut lines = said.split(|byte| *byte == b'\n');
            let failure = lines.find(|line| line.starts_with(b"-"));
            if said.is_empty() || failure.is_some() {
                self.note_not_put_back(failure.unwrap_or_default());
            }
        }
    }

    fn note_not_put_back(&self, error: &[u8]) {
        if self.server.log_limits.admits(Cause::Undelivered, self.clock.now_ms) {
            let error = error.escape_ascii();
            tracing::warn!(%error, "what was taken for a client that is gone can't be put back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::passed::{Repeat, Sent};

    fn lane(session: u64, request: &[u8], is_blocking: bool) -> Lane {
        let mut lane = Lane::default();
        lane.session = Some((session, 1));
        let sent = Sent::hidden(request.len(), Repeat::IfNotExecuted);
        lane.push(Sent { is_silent: false, is_blocking, ..sent }, request);
        lane
    }

    #[test]
    fn clients_that_have_left_are_kept_while_they_are_few_and_await_something() {
        let mut undelivered = Undelivered::default();
        assert_eq!(undelivered.adopt(lane(1, b"GET", false)), None);
        for session in 0..ORPHANS_MAX as u64 {
            assert_eq!(undelivered.adopt(lane(session, b"BLPOP", true)), Some((session, 1)));
        }
        assert_eq!(undelivered.adopt(lane(u64::MAX, b"BLPOP", true)), None);
        undelivered.forget_lost_orphans(&[Lead::Nobody, Lead::Elsewhere(2)]);
        assert_eq!((undelivered.orphans.len(), undelivered.orphan_bytes), (0, 0));
        let long = vec![0; ORPHAN_BYTES_MAX / 3];
        let kept = (0..9).filter(|session| undelivered.adopt(lane(*session, &long, true)).is_some());
        assert_eq!(kept.count(), 2, "beside the bytes of each there are a few more");
    }
}
