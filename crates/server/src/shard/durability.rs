//! Replies that wait for the disk.
//!
//! A reply leaves only when every record that it depends on is as safe as `appendfsync` says: durable under `always`, else
//! written to the file, which a killed process does not lose. It depends on the records of the connection's own writes, and
//! on those of others that it may have seen the effects of.
//!
//! Under `everysec` and `no` the shard writes at the end of its turn, one write for all that every shard has appended, and
//! flushes; nobody waits and nobody is woken. Only while a sync runs, or another shard's write takes long, does a thread of
//! the journal write instead, and the replies wait for it in the way of `always`, where one sync serves all who wait:
//!
//! 1. A command is executed; the connection notes the LSN (`written`, or `seen` for what it only read).
//! 2. At the end of the turn the shard flushes. A connection whose LSN is not safe yet is passed over: its output stays in
//!    the queue, pushes and all, and its slot goes into `awaiting`.
//! 3. The shard sets its flag, and looks once more (see `Server::wake_awaiting`).
//! 4. When no client has anything more to say, or the first record has waited for [`GATHER_MAX`], the shard has the
//!    journal write and sync what was appended: fewer syncs, each for more clients.
//! 5. The journal's thread has synced (or written), finds the flag, and mails; the shard flushes whoever waited.
//!
//! With `cluster-keys` a reply waits for the log as well (`replication.rs`). Where the log will never have what it depends on, its client is
//! told that the command had no effect, if that is certain and nothing else was answered along with it; else the client is closed
//! (`Dependence::loss`).
//!
//! When the disk stops taking writes, what it did not take is undone (`persistence/rollback.rs`). Each reply that depends on
//! it is replaced by MISCONF; after that, replies to reads leave, since nothing can be seen that is not safe, but for
//! deletions of keys whose time is over.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{Ordering, Ordering::Relaxed, fence};
use std::time::{Duration, Instant};

use sterna_journal::{FsyncPolicy, Journal, Lsn, Refusal};
use sterna_keyspace::KeyGroup;
use sterna_protocol::Reply;
use sterna_protocol::decode::decode;

use crate::connection::dependence::{Dependence, Fate, Loss};
use crate::connection::state::{ConnectionRef, Wait};
use crate::connection::{CloseReason, Connection};
use crate::invalidation::Invalidation;
use crate::journaling::IN_NO_RECORD;
use crate::mailbox::Mail;
use crate::replication::Replication;
use crate::server::Server;
use crate::shard::Shard;

/// Longest time that a record waits for others to be synced with it, while there are always more.
///
/// XADD from 500 clients of redis-benchmark: a sync serves 53 records, and an operation costs 5.2 µs of CPU; if whatever
/// is there is synced at once, 25 records and 6.2 µs.
const GATHER_MAX: Duration = Duration::from_millis(1);

/// How long a connection waits before it looks again whether it may go on to keys of another group.
pub(crate) const GROUP_PAUSE: Duration = Duration::from_millis(1);

/// What is said in place of a reply that depends on what is not in the log of the cluster, and never will be.
/// Clients of a cluster try again where the first word is this.
const NOT_STORED: &str =
    "CLUSTERDOWN The cluster is down: another node leads now, and the command had no effect";
/// The same, of what only read.
const NOT_READ: &str =
    "CLUSTERDOWN The cluster is down: this node may lead no more, and what it has read may be out of date";
/// The same where it can't be known, or several replies are concerned. Only clients without a socket are told: others are closed.
pub(crate) const NOT_KNOWN: &str = "ERR the log has not answered: the command may have been executed or not";

/// What a shard knows of the journal; renewed with the configuration.
#[derive(Default)]
pub(crate) struct Durability {
    /// The keys are not there yet: commands that need them are refused.
    pub(crate) is_loading: bool,
    /// The groups of keys of a cluster that are not, a bit each.
    pub(crate) missing_groups: u64,
    pub(crate) journal: Option<Arc<Journal>>,
    /// The logs of a cluster's groups of keys: replies wait for them, too. Empty without a cluster.
    pub(crate) logs: Box<[Arc<Replication>]>,
    /// How often this node had ceased to lead each when the shard last looked.
    generations: Box<[u64]>,
    /// The command that runs tells of no key, or of what is here, which may be old, as its client has asked for.
    pub(crate) reads_what_is_here: bool,
    /// There is a journal: replies wait for their records.
    pub(crate) is_gated: bool,
    /// `appendfsync always`: they wait for a sync, which is worth gathering for.
    is_always: bool,
    /// In this turn something was read that another shard may have appended and not written yet.
    has_seen: bool,
    /// Since when there are records that the journal has not been told to write.
    unflushed_since: Option<Instant>,
    /// Connections that wait for the disk; each has `awaits_disk` set.
    awaiting: Vec<ConnectionRef>,
}

impl Shard {
    /// Takes over what the server knows of the journal.
    pub(crate) fn refresh_durability(&mut self) {
        let persistence = &self.server.journaling;
        self.durability.is_loading = persistence.is_loading();
        self.durability.missing_groups = persistence.missing_groups();
        self.durability.journal = persistence.recording().cloned();
        if self.durability.logs.is_empty() {
            self.durability.logs.clone_from(&self.server.logs);
            self.durability.generations = vec![0; self.server.logs.len()].into();
        }
        let policy = persistence.awaited().map(|journal| journal.policy());
        self.durability.is_gated = policy.is_some();
        self.durability.is_always = policy == Some(FsyncPolicy::Always);
        if self.current.who.is_some() {
            // Replies that wait may lie in the buffer on loan to a request: later.
            self.post(self.index, Mail::Durable);
        } else {
            self.recheck_awaiting();
        }
    }

    /// Whether there are several groups of keys.
    #[inline]
    pub(crate) fn has_groups(&self) -> bool {
        self.durability.logs.len() > 1
    }

    /// The log of the keys that the connection's commands are about; `None` without a cluster.
    #[inline]
    pub(crate) fn log_of(&self, slot: usize) -> Option<&Replication> {
        match &*self.durability.logs {
            [] => None,
            [one] => Some(one),
            several => self.log_among(several, slot),
        }
    }

    #[cold]
    fn log_among<'l>(&self, logs: &'l [Arc<Replication>], slot: usize) -> Option<&'l Replication> {
        let group = self.connections.get(slot).map_or(0, |connection| connection.group);
        logs.get(usize::from(group)).map(|log| &**log)
    }

    /// The last record that the connection may have seen the effects of.
    pub(crate) fn last_record(&self, slot: usize) -> Lsn {
        match (self.log_of(slot), &self.durability.journal) {
            (Some(log), _) => log.submitted(),
            (None, journal) => journal.as_ref().map_or(Lsn::ZERO, |journal| journal.last_lsn()),
        }
    }

    /// Whether the connection's commands on keys may run here, as of this moment of the shard's clock.
    #[inline]
    pub(crate) fn leads_keys(&self, slot: usize) -> bool {
        self.log_of(slot).is_none_or(|log| log.leads_at(self.clock.instant))
    }

    /// Whether commands on the keys of a partition may run here.
    pub(crate) fn leads_partition(&self, index: usize) -> bool {
        let group = self.server.partitions.group_of(index);
        self.durability.logs.get(usize::from(group)).is_none_or(|log| log.leads_at(self.clock.instant))
    }

    /// Whether what has begun on keys of a partition may go on here.
    pub(super) fn goes_on_leading(&self, index: usize) -> bool {
        let group = self.server.partitions.group_of(index);
        self.durability.logs.get(usize::from(group)).is_none_or(|log| log.is_leading())
    }

    /// Whether commands on any keys may run here.
    pub(crate) fn leads_any_keys(&self) -> bool {
        let logs = &self.durability.logs;
        logs.is_empty() || logs.iter().any(|log| log.leads_at(self.clock.instant))
    }

    /// The connection has made a write, in this record.
    #[inline]
    pub(crate) fn note_written(&mut self, slot: usize, lsn: u64) {
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.depends_on.note_written(Lsn(lsn));
        }
    }

    /// The connection is told of what may be anybody's last write.
    #[inline]
    pub(crate) fn note_seen(&mut self, slot: usize) {
        if let Some(log) = self.log_of(slot) {
            let (submitted, is_doubtful) = (log.submitted(), !log.has_lease());
            if !self.durability.reads_what_is_here
                && let Some(connection) = self.connections.get_mut(slot)
            {
                connection.depends_on.seen = submitted;
                connection.depends_on.is_doubtful |= is_doubtful;
                self.durability.has_seen = true;
            }
            return;
        }
        if let (Some(journal), Some(connection)) = (&self.durability.journal, self.connections.get_mut(slot))
        {
            // What was given up is undone before anything can be read again.
            let last = journal.last_lsn();
            connection.depends_on.seen = if last <= journal.given_up_to() { Lsn::ZERO } else { last };
            self.durability.has_seen = true;
        }
    }

    /// The connection, which was blocked, has been served by another: what answers it, and what that did to a group, is in a
    /// record that has been appended by now.
    pub(crate) fn note_served(&mut self, slot: usize) {
        if self.durability.journal.is_some() {
            let last = self.last_record(slot);
            self.connections[slot].depends_on.note_written_for(last);
            // The shard that has appended it writes it at the end of its turn, and wakes nobody.
            self.durability.has_seen = true;
        }
    }

    /// Whether the connection's output must wait for the disk; it is then flushed when the disk has it.
    pub(super) fn awaits_disk(&mut self, slot: usize) -> bool {
        let depends_on = self.connections[slot].depends_on;
        if depends_on.written.0 == IN_NO_RECORD && !self.server.journaling.is_missing(depends_on.written) {
            self.connections[slot].depends_on.written = Lsn::ZERO;
        }
        let depends_on = self.connections[slot].depends_on;
        let Some(journal) = self.durability.journal.as_ref().filter(|_| !depends_on.is_nothing()) else {
            return false;
        };
        if !self.durability.logs.is_empty() {
            self.answer_what_never_happened(slot);
        } else if depends_on.is_given_up(journal) {
            self.answer_given_up(slot);
        }
        if self.is_met(slot) {
            return false;
        }
        if !self.durability.is_always {
            // It may be another shard's record that is still in memory: of one that it was served from, say. That shard will write it,
            // and tell nobody.
            self.durability.journal.iter().for_each(|journal| journal.flush());
            if self.is_met(slot) {
                return false;
            }
        }
        self.await_disk(slot);
        // It may have become safe before the flag was there to be seen.
        !self.is_met(slot)
    }

    fn is_met(&self, slot: usize) -> bool {
        let is_rolling_back = self.server.journaling.is_rolling_back();
        let depends_on = self.connections[slot].depends_on;
        let is_stored = self.log_of(slot).is_none_or(|log| {
            let is_stored = |lsn| log.fate(lsn) == Fate::Stored;
            is_stored(depends_on.written) && is_stored(depends_on.seen) && !depends_on.is_doubtful
        });
        is_stored
            && self
                .durability
                .journal
                .as_ref()
                .is_none_or(|journal| depends_on.is_met(journal, is_rolling_back))
    }

    /// What the connection waits for is not in the log and never will be, or it is not known: it is told so, or closed.
    #[cold]
    fn answer_what_never_happened(&mut self, slot: usize) {
        let mut depends_on = self.connections[slot].depends_on;
        let Some(log) = self.log_of(slot) else { return };
        if depends_on.is_doubtful && log.has_lease() {
            // Nobody else has led meanwhile.
            depends_on.is_doubtful = false;
        }
        let is_over = !log.is_leading();
        let may_be_lost = depends_on.loss(|lsn| log.fate(lsn), 1, is_over).is_some();
        let connection = &mut self.connections[slot];
        connection.depends_on = depends_on;
        // One that is closing has been told what there is to tell.
        if !may_be_lost || connection.state().condemned().is_some() {
            return;
        }
        if connection.page.is_some() || connection.is_event_stream {
            // What it is sent are messages, in a framing of its own, and those of what never happened have been sent elsewhere.
            connection.depends_on = Dependence::none(depends_on.free_bytes);
            return;
        }
        let queued = connection.output.take();
        let asks_once = connection.transport.is_pipe() && !connection.is_session;
        let replies = connection.replies_in(&queued).count();
        let loss = self.log_of(slot).and_then(|log| depends_on.loss(|lsn| log.fate(lsn), replies, is_over));
        let text = match loss {
            Some(Loss::NoEffect) => NOT_STORED,
            Some(Loss::Unknown) if asks_once => NOT_KNOWN,
            Some(Loss::Unknown) => return self.leave_unanswered(slot, &queued),
            Some(Loss::Read) | None => NOT_READ,
        };
        self.replace_replies(slot, &queued, text.as_bytes());
    }

    /// Closes a client of which nobody knows what became of its commands, as a node that dies would: every client library has a rule for
    /// that, which its user has chosen, while an error is an answer like any other to them. A client of another node is closed there, but
    /// for what only reads.
    #[cold]
    fn leave_unanswered(&mut self, slot: usize, queued: &[u8]) {
        let connection = &mut self.connections[slot];
        let free = connection.depends_on.free_bytes.min(queued.len());
        connection.depends_on = Dependence::none(free);
        if free == 0 {
            return self.condemn(slot, CloseReason::LeaderLost);
        }
        // What was answered before still goes out.
        let range = self.replies_to_others.append(free, |buf| buf.extend_from_slice(&queued[..free]));
        self.flusher.push_replies(&mut self.connections[slot], range);
        self.drain(slot, CloseReason::LeaderLost);
    }

    /// What the connection's replies depend on was given up: each becomes MISCONF. Messages and other pushes stay.
    #[cold]
    fn answer_given_up(&mut self, slot: usize) {
        let refusal = self.disk_failure(Refusal::DiskFailed);
        let queued = self.connections[slot].output.take();
        self.replace_replies(slot, &queued, refusal.wire());
    }

    /// Each reply of what was queued and has not left becomes this error. Messages and other pushes stay.
    #[cold]
    fn replace_replies(&mut self, slot: usize, queued: &[u8], error: &[u8]) {
        let connection = &mut self.connections[slot];
        let free = connection.depends_on.free_bytes.min(queued.len());
        let mut bytes = queued[..free].to_vec();
        let mut kept = free;
        for reply in connection.replies_in(queued) {
            bytes.extend_from_slice(&queued[kept..reply.start]);
            Reply::new(&mut bytes, connection.proto).error(error);
            kept = reply.end;
        }
        bytes.extend_from_slice(&queued[kept..]);
        connection.depends_on = Dependence::none(free);
        let range = self.replies_to_others.append(bytes.len(), |buf| buf.extend_from_slice(&bytes));
        self.flusher.push_replies(&mut self.connections[slot], range);
    }

    /// A client is blocked on keys. Its command may have begun while this node led, and that may be over.
    #[inline]
    pub(crate) fn note_blocked(&mut self, slot: usize) {
        if let Some(group) = self.log_of(slot).filter(|log| !log.is_leading()).map(|log| log.group.index) {
            self.durability.generations[usize::from(group)] = u64::MAX;
            self.post(self.index, Mail::Durable);
        }
    }

    /// This node leads a group of keys no more: nobody serves here who is blocked on them, or tells who tracks or watches them. Who watches others goes on.
    #[cold]
    fn cease_to_lead(&mut self, group: u16) {
        self.unblock_all(group);
        // Who is about to be flushed, and whose socket takes no more: this node may lead again before that.
        let (mut waiting, groups) = (Vec::new(), self.server.partitions.groups());
        for (_, connection) in self.connections.iter() {
            if let Some(transaction) = &connection.transaction {
                transaction.break_watches_beyond(|key| KeyGroup::of_key(key, groups) != group);
            }
            if !connection.output.is_empty() && !connection.depends_on.is_nothing() {
                waiting.push(connection.me.slot);
            }
        }
        waiting.into_iter().for_each(|slot| self.answer_what_never_happened(slot));
        self.server.tracking.table.clear();
        self.receive_invalidation(Invalidation::Everything);
    }

    /// Whether the connection may go on to keys of this group: all that it is told of another is answered and safe, or it waits.
    pub(crate) fn goes_on_to_group(&mut self, slot: usize, group: u16) -> bool {
        if self.connections[slot].group == group {
            return true;
        }
        let is_between = self.has_passed(slot) && self.connections[slot].round.is_none();
        let goes_on = match is_between && self.may_go_elsewhere(slot, group) {
            true => self.is_safe(slot),
            false => self.is_settled(slot),
        };
        if goes_on {
            self.connections[slot].group = group;
        }
        goes_on
    }

    /// Whether all that the connection has asked for is answered and safe; if not, it waits.
    pub(crate) fn is_settled(&mut self, slot: usize) -> bool {
        if self.has_passed(slot) {
            self.wait_for_answers(slot);
            return false;
        }
        self.is_safe(slot)
    }

    /// Whether what the connection was told of what it has done here is safe; if not, it waits.
    fn is_safe(&mut self, slot: usize) -> bool {
        let depends_on = self.connections[slot].depends_on;
        if !depends_on.is_nothing() && !self.is_met(slot) {
            self.await_disk(slot);
            let is_over = |lsn| {
                self.log_of(slot).is_some_and(|log| matches!(log.fate(lsn), Fate::Void | Fate::Unknown))
            };
            if depends_on.is_doubtful || is_over(depends_on.written) || is_over(depends_on.seen) {
                // Nobody else has it told so.
                self.post(self.index, Mail::Durable);
            }
            self.wait(slot, Wait::Backlog, Some(self.clock.instant + GROUP_PAUSE));
            return false;
        }
        let connection = &mut self.connections[slot];
        let free_bytes = connection.output.queued_bytes();
        connection.depends_on = Dependence::none(free_bytes);
        true
    }

    /// Has the connection looked at again when more is durable.
    pub(crate) fn await_disk(&mut self, slot: usize) {
        if !std::mem::replace(&mut self.connections[slot].awaits_disk, true) {
            self.durability.awaiting.push(self.connections[slot].me);
        }
        self.handle().awaits_disk.store(true, Relaxed);
        // Pairs with the fence in `Server::wake_awaiting`.
        fence(Ordering::SeqCst);
    }

    /// More is durable, or nothing will be for a while.
    pub(crate) fn recheck_awaiting(&mut self) {
        for index in 0..self.durability.logs.len() {
            let generation = self.durability.logs[index].generation.load(Ordering::SeqCst);
            if std::mem::replace(&mut self.durability.generations[index], generation) != generation {
                self.cease_to_lead(index as u16);
            }
        }
        for who in std::mem::take(&mut self.durability.awaiting) {
            let Some(connection) = self.connections.get_mut(who.slot).filter(|other| other.me == who) else {
                continue;
            };
            connection.awaits_disk = false;
            if !self.durability.logs.is_empty() {
                self.answer_what_never_happened(who.slot);
            } else if let Some(journal) = &self.durability.journal
                && connection.depends_on.is_given_up(journal)
            {
                // At once: the next failure forgets what this one gave up.
                self.answer_given_up(who.slot);
            }
            let connection = &mut self.connections[who.slot];
            self.flusher.mark(connection);
            if matches!(connection.state().wait(), Some(Wait::Copies(_))) {
                self.recheck_disk_wait(who.slot);
            }
        }
        // What was flushed during the sync has to be flushed again; see `Journal::flush`.
        let is_pending = |journal: &Arc<Journal>| journal.last_lsn() > journal.durable_lsn();
        if self.durability.is_always && self.durability.journal.as_ref().is_some_and(is_pending) {
            self.note_appended();
        }
    }

    /// There is a record that the journal has not been told to write.
    #[inline]
    pub(crate) fn note_appended(&mut self) {
        self.durability.unflushed_since.get_or_insert(self.clock.instant);
    }

    /// Whether records wait for more to come before they are sent on their way.
    pub(super) fn gathers(&self) -> bool {
        self.durability.unflushed_since.is_some()
    }

    /// Writes what was appended; under `always` sends it on its way, unless more may come that the same sync can serve.
    #[inline]
    pub(super) fn flush_journal(&mut self, may_gather: bool) {
        let has_seen = std::mem::take(&mut self.durability.has_seen);
        let waits_for_others = self.durability.is_always || !self.durability.logs.is_empty();
        match self.durability.unflushed_since {
            Some(since)
                if may_gather
                    && waits_for_others
                    && self.clock.instant.duration_since(since) < GATHER_MAX =>
            {
                return;
            }
            // What was only read may be another shard's record that is still in memory.
            None if self.durability.is_always || !has_seen => return,
            _ => self.durability.unflushed_since = None,
        }
        self.durability.logs.iter().for_each(|log| log.flush());
        if let Some(journal) = &self.durability.journal {
            journal.flush();
        }
    }

    /// Waits until what was written is durable, for replies that are to leave before the server stops.
    pub(super) fn await_last_writes(&self, at_most: Duration) {
        let began = Instant::now();
        if let Some(journal) = &self.durability.journal {
            // If it is not durable in time, the replies stay.
            let _ = journal.wait_durable(journal.last_lsn(), Some(at_most));
        }
        for log in &self.durability.logs {
            log.flush();
            let last = log.submitted();
            while log.fate(last) == Fate::Pending && began.elapsed() < at_most {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

impl Connection {
    /// Where in its queue replies stand that have not begun to leave, among messages and other pushes.
    fn replies_in<'q>(&self, queued: &'q [u8]) -> impl Iterator<Item = Range<usize>> + use<'q> {
        let mut at = self.depends_on.free_bytes.min(queued.len());
        let has_messages = !self.subscriptions.is_empty();
        let ranges = frames(&queued[at..]).map(move |frame| {
            let start = at;
            at += frame.len();
            (start..at, frame)
        });
        ranges
            .filter(move |(_, frame)| !(frame.first() == Some(&b'>') || has_messages && is_message(frame)))
            .map(|(range, _)| range)
    }
}

/// The replies and pushes that were written one after the other. What can't be told apart counts as one.
fn frames(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let len = match decode(bytes) {
            _ if bytes.is_empty() => return None,
            Ok(Some((_, len))) => len,
            Ok(None) | Err(_) => bytes.len(),
        };
        let (frame, rest) = bytes.split_at(len);
        bytes = rest;
        Some(frame)
    })
}

/// Whether a frame is a message, or tells of a subscription, as RESP2 has them.
fn is_message(frame: &[u8]) -> bool {
    const KINDS: [&[u8]; 9] = [
        b"message",
        b"pmessage",
        b"smessage",
        b"subscribe",
        b"psubscribe",
        b"ssubscribe",
        b"unsubscribe",
        b"punsubscribe",
        b"sunsubscribe",
    ];
    let kind = decode(frame)
        .ok()
        .flatten()
        .and_then(|(value, _)| value.as_slice()?.first()?.as_bytes().map(<[u8]>::to_vec));
    kind.is_some_and(|kind| KINDS.contains(&&*kind))
}

impl Server {
    /// Has every shard take over configuration and journal at its next turn, which comes at once.
    pub(crate) fn notify_shards(&self) {
        self.note_change();
        self.shards.iter().for_each(|shard| shard.mailbox.wake());
    }
}
