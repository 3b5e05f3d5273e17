//! Commands that wait for another client.
//!
//! 1. The command finds nothing, puts its waiter into the keyspace's queues and returns it; the connection is held.
//! 2. A writer, on any shard, claims the waiter, makes its reply while it holds the keys' locks, and mails it here.
//!    A long reply is not made under the locks: the command is run apart, on copies that the writer has mailed.
//! 3. Time alone can make a command ready (XREADGROUP CLAIM: an entry has been idle for long enough): then the shard looks
//!    again, as a writer would.
//! 4. A timeout, CLIENT UNBLOCK and a disconnect claim it here. Whoever claims it answers; nobody else does. What a writer has taken for
//!    a client that is gone by then is put back (`shard/undelivered.rs`).

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use sterna_command::Row;
use sterna_keyspace::{Answer, Apart, Served, Waiter};
use sterna_protocol::{OwnedArgs, Reply, encode};

use super::table::{Runs, runs};
use crate::apart::{Request, Task};
use crate::connection::Connection;
use crate::connection::state::{ConnectionRef, Wait, Waiting};
use crate::connection::waits::KeyWait;
use crate::partitions::keys_of;
use crate::shard::Shard;

/// How long a wait that time may have ended is left alone while somebody has its keys to himself.
const TAKEN_PAUSE: Duration = Duration::from_millis(10);

/// What a client is told whose wait CLIENT UNBLOCK ends with an error.
const UNBLOCKED: &[u8] = b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n";

/// Redis's words for a node that another takes the place of.
const LEADS_NO_MORE: &[u8] =
    b"-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n";

impl Shard {
    /// Holds the connection until its waiter is answered.
    pub(super) fn block(&mut self, slot: usize, row: &'static Row, request: OwnedArgs, waiter: Arc<Waiter>) {
        let deadline = waiter.deadline_ms.map(|at_ms| self.instant_of(at_ms));
        let until = self.recheck_at(&waiter, deadline);
        let blocked = KeyWait { request, waiter, deadline, row, is_settled: false, ran: Duration::ZERO };
        self.wait(slot, Wait::Key(blocked), until);
        self.note_blocked(slot);
    }

    /// The command that was executed just now waits: it is counted when it ends. False if it does not wait.
    pub(super) fn count_when_unblocked(&mut self, slot: usize, took: Duration) -> bool {
        match self.connections.get_mut(slot).and_then(|connection| connection.waiting_mut()) {
            Some(Waiting { wait: Wait::Key(blocked), .. }) => {
                blocked.ran = took;
                true
            }
            Some(Waiting { wait: Wait::Copies(copies), .. }) => {
                copies.ran = took;
                true
            }
            Some(Waiting { wait: Wait::Asleep(_), .. }) => true,
            _ => false,
        }
    }

    /// When a waiter is to be looked at: to see whether it can be served by now, or to give up, whichever comes first.
    fn recheck_at(&self, waiter: &Waiter, deadline: Option<Instant>) -> Option<Instant> {
        let recheck = waiter.recheck_ms().map(|at_ms| self.instant_of(at_ms));
        [deadline, recheck].into_iter().flatten().min()
    }

    fn blocked(&self, slot: usize) -> Option<&KeyWait> {
        match self.connections[slot].state().wait() {
            Some(Wait::Key(blocked)) => Some(blocked),
            _ => None,
        }
    }

    /// A moment to come on the monotonic clock: always after the present one, or timers that are due would never end.
    fn instant_of(&self, at_ms: u64) -> Instant {
        self.clock.instant + Duration::from_millis(at_ms.saturating_sub(self.clock.now_ms).max(1))
    }

    /// The time has come to look at the connection's wait.
    pub(crate) fn recheck_block(&mut self, slot: usize) {
        let Some(blocked) = self.blocked(slot) else { return };
        let (waiter, deadline) = (Arc::clone(&blocked.waiter), blocked.deadline);
        if deadline.is_some_and(|at| at <= self.clock.instant) {
            return self.block_timed_out(slot);
        }
        if !self.server.partitions.recheck(&waiter, self.clock.now_ms, &mut self.changes) {
            let again = self.clock.instant + TAKEN_PAUSE;
            return self.set_wait_timer(slot, Some(deadline.map_or(again, |deadline| deadline.min(again))));
        }
        // The reply, if there is one now, is mailed to this shard like any other.
        self.spread_changes();
        let until = if waiter.is_claimed() { None } else { self.recheck_at(&waiter, deadline) };
        self.set_wait_timer(slot, until);
    }

    /// A writer has answered the connection's command.
    pub(crate) fn deliver_served(&mut self, Served { waiter, answer, .. }: Served) {
        let client = waiter.caller.client;
        let slot = self.handle().clients.lock().get(&client).map(|client| client.slot.load(Relaxed) as usize);
        if slot.is_some_and(|slot| self.wake_follower(slot, &waiter)) {
            return;
        }
        if let Some(slot) = slot {
            self.check_before_answer(slot);
        }
        let waits =
            |slot: &usize| self.blocked(*slot).is_some_and(|blocked| Arc::ptr_eq(&blocked.waiter, &waiter));
        let Some(slot) = slot.filter(waits) else {
            let request = self.take_wait(&waiter);
            match answer {
                // Nothing is taken yet.
                Answer::Apart(apart) => self.call_off(apart),
                Answer::Reply(reply) => {
                    if let Some(request) = request {
                        let mut bytes = Vec::new();
                        encode::request(&mut bytes, request.args().iter());
                        self.put_back_undelivered(waiter.db as u8, &bytes, &reply);
                    }
                }
            }
            return;
        };
        self.settle(slot);
        self.note_served(slot);
        match answer {
            Answer::Reply(reply) => self.end_block(slot, &reply),
            Answer::Apart(apart) => self.go_on_apart(slot, apart),
        }
    }

    /// What the connection has waited for is so much that its command is run apart.
    fn go_on_apart(&mut self, slot: usize, apart: Box<Apart>) {
        let scene = self.scene_of(slot, true);
        let Some(Wait::Key(KeyWait { request, row, ran, .. })) = self.resume(slot) else { return };
        let Runs::Keys(command) = runs(row) else { return };
        self.handle().commands.count(row.id, ran, false);
        if apart.writes() {
            self.server.reserved.add(scene.db, keys_of(&command.spec, request.args()));
        }
        let room = self.reply_room(slot, self.connections[slot].is_mute);
        let connection = &mut self.connections[slot];
        let mut task = Task::new(connection.me, row, command, scene, apart, room);
        task.request = Request::Queued(request);
        task.is_silent = std::mem::take(&mut connection.is_mute);
        self.wait(slot, Wait::Apart, None);
        self.run_apart(Box::new(task));
    }

    /// A command that was run apart has found, when it had to begin anew, that it has to wait.
    pub(crate) fn block_again(
        &mut self,
        slot: usize,
        row: &'static Row,
        request: OwnedArgs,
        waiter: Arc<Waiter>,
        is_silent: bool,
    ) {
        self.resume(slot);
        self.block(slot, row, request, waiter);
        self.connections[slot].is_mute = is_silent;
    }

    /// The wait has lasted as long as it may.
    pub(crate) fn block_timed_out(&mut self, slot: usize) {
        if self.claim(slot) {
            let mut reply = Vec::new();
            Reply::new(&mut reply, self.connections[slot].proto).null_array();
            self.end_block(slot, &reply);
        }
    }

    /// CLIENT UNBLOCK.
    pub(crate) fn unblock(&mut self, who: ConnectionRef, with_error: bool) {
        if self.connection_of(who).is_none() {
            return;
        }
        if self.has_passed(who.slot) {
            return self.unblock_passed(who, with_error);
        }
        if with_error {
            if self.claim(who.slot) {
                self.end_block(who.slot, UNBLOCKED);
            }
            self.refuse_wait_for_copies(who.slot, UNBLOCKED);
        } else {
            self.block_timed_out(who.slot);
            self.end_wait_for_copies(who.slot);
        }
    }

    /// Nobody writes to keys of this group on this node any more.
    pub(crate) fn unblock_all(&mut self, group: u16) {
        let is_blocked = |connection: &Connection| {
            connection.group == group && matches!(connection.state().wait(), Some(Wait::Key(_)))
        };
        let blocked = self.connections.iter().filter(|(_, connection)| is_blocked(connection));
        for slot in blocked.map(|(slot, _)| slot).collect::<Vec<_>>() {
            if self.claim(slot) && !self.ask_again(slot) {
                self.end_block(slot, LEADS_NO_MORE);
            }
        }
    }

    /// Has a command that waits, and that nobody has answered, come in once more: it waits at whichever node leads its keys by then. False: it
    /// has to be answered, since it asks for what comes after it began.
    fn ask_again(&mut self, slot: usize) -> bool {
        let is_bound = |request: &OwnedArgs| request.args().iter().any(|arg| matches!(arg, b"$" | b"+"));
        let is_mute = self.connections[slot].is_mute;
        if !self.has_groups()
            || is_mute
            || self.blocked(slot).is_none_or(|blocked| is_bound(&blocked.request))
        {
            return false;
        }
        let Some(Wait::Key(KeyWait { request, .. })) = self.resume(slot) else { return true };
        let mut bytes = Vec::new();
        encode::request(&mut bytes, request.args().iter());
        self.connections[slot].put_back(bytes);
        self.make_ready(slot);
        true
    }

    /// Takes the right to answer the connection's wait.
    fn claim(&mut self, slot: usize) -> bool {
        let claims = self.blocked(slot).is_some_and(|blocked| blocked.waiter.claim());
        if claims {
            self.settle(slot);
        }
        claims
    }

    /// It is known who answers the connection's wait.
    fn settle(&mut self, slot: usize) {
        if let Some(Waiting { wait: Wait::Key(blocked), .. }) = self.connections[slot].waiting_mut() {
            blocked.is_settled = true;
        }
    }

    /// Answers, and lets the connection go on. What a writer has mailed to it meanwhile finds nobody who waits.
    pub(super) fn end_block(&mut self, slot: usize, reply: &[u8]) {
        if let Some(text) = reply.strip_prefix(b"-") {
            self.count_error(text);
        }
        self.answer_late(slot, reply);
        if let Some(Wait::Key(KeyWait { request, row, ran, .. })) = self.resume(slot) {
            self.handle().commands.count(row.id, ran, reply.starts_with(b"-"));
            self.note_duration(slot, row, request.args(), ran);
        }
    }

    /// Answers a command that had to wait, unless CLIENT REPLY asked for silence.
    pub(super) fn answer_late(&mut self, slot: usize, reply: &[u8]) {
        let connection = &mut self.connections[slot];
        if !std::mem::take(&mut connection.is_mute) {
            let range = self.replies_to_others.append(reply.len(), |buf| buf.extend_from_slice(reply));
            self.flusher.push(connection, range);
        }
    }

    /// Takes the connection's waiter out of every queue: its wait is over.
    pub(crate) fn forget_waiter(&mut self, blocked: &KeyWait) {
        if !blocked.is_settled && !blocked.waiter.claim() {
            // A writer has mailed a reply that nobody will take.
            self.keep_wait(blocked);
        }
        self.server.partitions.forget_waiter(&blocked.waiter);
    }
}
