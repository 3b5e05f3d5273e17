//! From a request to its execution: find the row, ask whether it may run (`admission.rs`), run, count.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use sterna_command::{Channels, Flags, Group};
use sterna_keyspace::{Caller, KeyGroup, Outcome, Served};
use sterna_protocol::{Args, Reply};

use super::admission::Admission;
use super::groups::is_cross_slot;
use super::http::is_http;
use super::table::{Row, Runs, runs, table};
use super::{Call, Failure};
use crate::connection::client::{Client, mark};
use crate::connection::dependence::Dependence;
use crate::connection::state::Wait;
use crate::connection::{Connection, ReplyMode, is_confirmation};
use crate::mailbox::Mail;
use crate::partitions::Scene;
use crate::shard::Shard;
use crate::shard::parts::PartEnd;

/// Blocked commands whose answers are mailed one by one.
const SERVED_APIECE: usize = 16;

impl Shard {
    /// Executes one request of the connection in `slot`, or queues it, or refuses it; replies go to `out`.
    ///
    /// Returns whether the request was taken. One that was not is to be read again when the connection's wait is over.
    #[inline]
    pub(crate) fn dispatch(&mut self, slot: usize, args: Args<'_>, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        self.durability.reads_what_is_here = false;
        let renames = &self.server.renames;
        let resolved = if renames.is_empty() {
            self.recent_rows.resolve(table(), args.len(), |at| args.get(at))
        } else {
            renames.resolve(table(), args)
        };
        let row = match resolved {
            Ok(row) => row,
            Err(unresolved) => {
                if let Some(is_taken) = self.serve_turn(slot, args, out) {
                    return is_taken;
                }
                if self.has_passed(slot) {
                    // An error keeps its place among the replies, too.
                    self.wait_for_answers(slot);
                    return false;
                }
                let failure = Failure::unresolved(unresolved, args);
                let row = unresolved.row();
                self.end_run();
                if args.get(0).is_some_and(is_http) {
                    self.close_http(slot);
                    return true;
                }
                self.refuse_request(slot, row, &failure, out);
                self.after_reply(slot, row, out, before);
                return true;
            }
        };
        // A run of messages stays open only from one PUBLISH to the next.
        if row.spec.channels != Channels::Published {
            self.end_run();
        }
        if let Some(command) = self.ordinary_command(slot, row, args) {
            return self.run_ordinary(slot, row, command, args, out);
        }
        // It may be one after which nothing is as it was.
        self.current.is_ordinary = None;
        if self.waits_beside_script(row) {
            self.wait_for_turn(slot);
            return false;
        }
        if self.goes_round(slot, row) {
            return self.go_round(slot, row, args, out);
        }
        if self.passing.is_some() && self.waits_for_its_turn(slot, row, args) {
            return false;
        }
        match self.admit_request(slot, row, args) {
            Ok(Admission::Run) if self.begins_in_parts(slot, row, args) => {
                self.count_begun(slot, row);
                return true;
            }
            Ok(Admission::Run) => {
                if !self.run_and_count(slot, row, args, out) {
                    return false;
                }
                if self.has_yet_to_reply(slot) {
                    return true;
                }
            }
            Ok(Admission::Queue) => {
                self.queue_command(slot, row, args);
                out.extend_from_slice(b"+QUEUED\r\n");
            }
            Ok(Admission::Wait) => return false,
            Ok(Admission::Pass) => self.pass_on(slot, row, args),
            Ok(Admission::Broken) => {
                self.forget_transaction(slot);
                Reply::new(out, self.connections[slot].proto).null_array();
            }
            Err(failure) => self.refuse_request(slot, Some(row), &failure, out),
        }
        self.after_reply(slot, Some(row), out, before);
        true
    }

    /// Whether the connection's command goes on: it is run apart, or a transaction in slices.
    #[inline]
    fn runs_on(&self, slot: usize) -> bool {
        let Some(connection) = self.connections.get(slot) else { return false };
        matches!(connection.state().wait(), Some(Wait::Apart)) || self.is_in_transaction(connection.me)
    }

    fn is_long_transaction_of(&self, slot: usize) -> bool {
        self.long_transaction.is_some()
            && self.connections.get(slot).is_some_and(|connection| self.is_in_transaction(connection.me))
    }

    /// Counts a command that is executed in parts, whose time is added as it passes.
    #[cold]
    fn count_begun(&mut self, slot: usize, row: &'static Row) {
        let client = &self.connections[slot].client;
        client.last_command.store(row.id as u32 + 1, Relaxed);
        client.active_ms.store(self.clock.now_ms, Relaxed);
        Client::add(&client.commands, 1);
        self.handle().commands.count(row.id, Duration::ZERO, false);
    }

    /// Runs a part of a request, whose error goes to `out`. The user's rules may have changed since the request was let in.
    pub(crate) fn run_part(
        &mut self,
        slot: usize,
        row: &'static Row,
        args: Args<'_>,
        out: &mut Vec<u8>,
    ) -> PartEnd {
        let allowed = self.check_rights(slot, row, args);
        let result = allowed.and_then(|()| self.execute(slot, row, args, out, false));
        if self.durability.is_gated {
            self.note_seen(slot);
        }
        if result.as_ref().is_err_and(Failure::is_put_off) {
            return PartEnd::KeysTaken;
        }
        self.show_to_monitors(slot, row, args);
        let Err(failure) = result else { return PartEnd::Done };
        self.count_error(failure.wire());
        Reply::new(out, self.connections[slot].proto).error(failure.wire());
        PartEnd::Failed
    }

    /// Runs a command and counts it: CLIENT LIST, INFO commandstats, SLOWLOG, MONITOR. False: the keys were taken before it
    /// could begin, and the connection waits for them.
    pub(super) fn run_and_count(
        &mut self,
        slot: usize,
        row: &'static Row,
        args: Args<'_>,
        out: &mut Vec<u8>,
    ) -> bool {
        let begun = self.begin_command(slot, row);
        let is_write = row.spec.flags.intersects(Flags::WRITE.union(Flags::RUNS_SCRIPT))
            || row.has(Flags::RUNS_QUEUE) && self.connections[slot].has_queued_writes()
            || self.is_retained(row, args);
        let result = self.execute(slot, row, args, out, false);
        self.end_command(slot, row, args, out, begun, is_write, result)
    }

    /// Notes for CLIENT LIST what the connection does, and when it began.
    #[inline(always)]
    pub(super) fn begin_command(&self, slot: usize, row: &'static Row) -> Begun {
        let connection = &self.connections[slot];
        connection.client.last_command.store(row.id as u32 + 1, Relaxed);
        connection.client.active_ms.store(self.clock.now_ms, Relaxed);
        Client::add(&connection.client.commands, 1);
        Begun { at: self.clock.instant, depended_on: connection.depends_on }
    }

    /// The other half of [`Shard::run_and_count`].
    #[expect(clippy::too_many_arguments, reason = "all that is known of one request")]
    pub(super) fn end_command(
        &mut self,
        slot: usize,
        row: &'static Row,
        args: Args<'_>,
        out: &mut Vec<u8>,
        begun: Begun,
        is_write: bool,
        result: Result<(), Failure>,
    ) -> bool {
        if let Err(failure) = &result
            && failure.is_put_off()
        {
            self.put_off(slot, failure);
            return false;
        }
        if self.is_long_transaction_of(slot) {
            // It is counted when it ends.
            return true;
        }
        if !is_write && let Some(connection) = self.connections.get_mut(slot) {
            // A key that was found expired is no write of who found it; it is among what it may have seen.
            connection.depends_on.disown(begun.depended_on);
        }
        if self.durability.is_gated
            && (matches!(runs(row), Runs::Keys(_) | Runs::Script(_)) || row.spec.group == Group::Transactions)
        {
            self.note_seen(slot);
        }
        if !row.has(Flags::DENYOOM) {
            self.server.memory.note_shrinking();
        }
        self.show_to_monitors(slot, row, args);
        let took = self.clock.advance_from(begun.at);
        let may_wait = row.spec.flags.intersects(Flags::BLOCKING.union(Flags::DEBUGS));
        if may_wait && self.count_when_unblocked(slot, took) {
            return true;
        }
        self.handle().commands.count(row.id, took, result.is_err());
        self.note_duration(slot, row, args, took);
        if let Err(failure) = result {
            if !failure.is_counted() {
                self.count_error(failure.wire());
            }
            let proto =
                self.connections.get(slot).map_or_else(Default::default, |connection| connection.proto);
            Reply::new(out, proto).error(failure.wire());
        }
        true
    }

    /// Nothing was done: the connection waits for what its request needs.
    #[cold]
    pub(super) fn put_off(&mut self, slot: usize, failure: &Failure) {
        if failure.is_turn_taken() {
            self.wait_for_turn(slot);
        } else if failure.is_settings_taken() {
            self.wait_for_settings(slot);
        } else if failure.is_file_awaited() {
            self.wait(slot, Wait::File, None);
        } else if failure.is_paused() {
            self.wait_for_pause(slot);
        } else {
            self.wait_for_keys(slot);
        }
    }

    /// Whether the reply to what has been run is made later. Whether it is silent counts until all of it is.
    #[inline]
    pub(super) fn has_yet_to_reply(&self, slot: usize) -> bool {
        self.replies_in_steps(slot) || self.runs_on(slot)
    }

    /// Keeps a command for SLOWLOG and LATENCY that took too long.
    #[inline]
    pub(crate) fn note_duration(&mut self, slot: usize, row: &'static Row, args: Args<'_>, took: Duration) {
        if took >= self.slow_from || self.config.latency_monitor_threshold > 0 {
            self.note_long(slot, row, args, took);
        }
    }

    #[cold]
    fn note_long(&mut self, slot: usize, row: &'static Row, args: Args<'_>, took: Duration) {
        if took >= self.slow_from {
            self.note_slow(slot, row, args, took);
        }
        self.note_latency(row, took);
    }

    /// Runs a command and nothing else; EXEC runs its own commands with it.
    #[inline]
    pub(super) fn execute(
        &mut self,
        slot: usize,
        row: &'static Row,
        args: Args<'_>,
        out: &mut Vec<u8>,
        in_exec: bool,
    ) -> Result<(), Failure> {
        let proto = self.connections[slot].proto;
        let reply = Reply::new(out, proto);
        match runs(row) {
            Runs::Server(run) => run(&mut Call { shard: self, slot, row, args, reply, in_exec }),
            Runs::Keys(command) => self.execute_on_keys(slot, row, command, args, reply),
            Runs::Script(run) => self.execute_script(run, slot, row, args, reply),
            Runs::Container => Err(Failure::arity(&row.full_name)),
        }
    }

    fn execute_on_keys(
        &mut self,
        slot: usize,
        row: &'static Row,
        command: &'static sterna_command::Command<sterna_keyspace::Run>,
        args: Args<'_>,
        mut reply: Reply<'_>,
    ) -> Result<(), Failure> {
        self.remember_reads(slot, &command.spec, args);
        let scene = self.scene_of(slot, true);
        self.spare_keys_of_others(row);
        self.lend_fieldset(slot, &command.spec, args);
        let outcome = self.server.partitions.execute(command, args, scene, &mut self.changes, &mut reply);
        self.take_fieldset_back(&command.spec);
        self.spread_changes();
        self.reads_end();
        self.conclude(slot, row, command, args, scene, outcome)
    }

    /// What becomes of a command on keys that has been run.
    pub(super) fn conclude(
        &mut self,
        slot: usize,
        row: &'static Row,
        command: &'static sterna_command::Command<sterna_keyspace::Run>,
        args: Args<'_>,
        scene: Scene,
        outcome: Result<Outcome, sterna_keyspace::Error>,
    ) -> Result<(), Failure> {
        match outcome {
            Ok(Outcome::Replied) => Ok(()),
            Ok(Outcome::Long(steps)) => {
                self.reply_in_steps(slot, row, steps);
                Ok(())
            }
            Ok(Outcome::Held(_)) | Err(sterna_keyspace::Error::NeedsAll) => self.run_alone(slot, row, args),
            Ok(Outcome::Apart(apart)) => {
                self.begin_apart(slot, (row, command), args, scene, apart);
                Ok(())
            }
            Ok(Outcome::Wait(waiter)) => {
                self.block(slot, row, args.to_owned(), waiter);
                Ok(())
            }
            Err(sterna_keyspace::Error::Busy) => Err(self.keys_taken()),
            Err(error) => Err(Failure::from(error)),
        }
    }

    /// Who runs a command on keys, where and when. Readers remove no expired keys while writes are paused.
    #[inline]
    pub(crate) fn scene_of(&mut self, slot: usize, may_block: bool) -> Scene {
        let pause = &self.server.pause;
        let is_paused = pause.is_on() && pause.holds_back(true, self.clock.instant);
        let follows = self.log_of(slot).is_some_and(|log| !log.is_leading());
        self.changes.pause_expiry(is_paused || follows);
        let group = self.log_of(slot).map_or(KeyGroup::WHOLE, |log| log.group);
        let connection = &self.connections[slot];
        // A part of a request is small, and has no request of its own.
        let may_block = may_block && !matches!(connection.state().wait(), Some(Wait::Parts));
        let caller = Caller {
            client: connection.client.id,
            shard: self.index,
            proto: connection.proto,
            may_block,
            may_yield: may_block,
            touches: !connection.client.has_mark(mark::NO_TOUCH),
            group,
        };
        Scene { db: usize::from(connection.db), now_ms: self.clock.now_ms, caller }
    }

    /// Tells those concerned what the last command did: clients that hold copies of what it changed, clients it woke,
    /// and subscribers of keyspace events.
    #[inline(always)]
    pub(crate) fn spread_changes(&mut self) {
        if !self.changes.is_empty() {
            self.spread_what_there_is();
        }
    }

    fn spread_what_there_is(&mut self) {
        match self.changes.take_count() {
            Some((count, lsn)) => self.note_changes(count, lsn),
            None => self.spread_all_changes(),
        }
    }

    fn note_changes(&mut self, count: u64, lsn: Option<u64>) {
        Client::add(&self.handle().changes, count);
        if let Some(lsn) = lsn {
            self.note_appended();
            if let Some(who) = self.current.who {
                self.note_written(who.slot, lsn);
            }
        }
    }

    fn spread_all_changes(&mut self) {
        let mut changes = std::mem::take(&mut self.changes);
        self.note_changes(changes.count(), changes.lsn());
        let served: Vec<_> = changes.served().collect();
        let own = self.invalidate(&changes, &served);
        self.mail_served(served);
        self.tell_served(own);
        self.publish_events(&mut changes);
        self.serves_rest |= changes.take_unserved();
        self.server.reclaimer.take(&mut changes);
        changes.clear();
        self.changes = changes;
    }

    /// Answers blocked commands: thousands that one write has woken are one letter to each shard.
    fn mail_served(&mut self, served: Vec<Served>) {
        if served.len() <= SERVED_APIECE {
            return served.into_iter().for_each(|served| {
                self.post(served.waiter.caller.shard, Mail::Served(served));
            });
        }
        let mut of_shards: Vec<VecDeque<Served>> =
            self.server.shards.iter().map(|_| VecDeque::new()).collect();
        served.into_iter().for_each(|served| of_shards[served.waiter.caller.shard].push_back(served));
        for (shard, served) in of_shards.into_iter().enumerate().filter(|(_, served)| !served.is_empty()) {
            self.post(shard, Mail::ServedMany(served));
        }
    }

    /// Answers an error for a request that did not run. Between MULTI and EXEC it spoils the transaction; if it was
    /// EXEC itself that could not run, it ends it.
    pub(super) fn refuse_request(
        &mut self,
        slot: usize,
        row: Option<&Row>,
        failure: &Failure,
        out: &mut Vec<u8>,
    ) {
        if row.is_some_and(|row| row.has(Flags::RUNS_QUEUE)) {
            self.forget_transaction(slot);
            let text = failure.wire();
            if is_cross_slot(failure) {
                return self.answer_refusal(slot, row, text, out);
            }
            let reason = text.strip_prefix(b"ERR ").unwrap_or(text);
            let text = [b"EXECABORT Transaction discarded because of: ", reason].concat();
            return self.answer_refusal(slot, row, &text, out);
        }
        if let Some(transaction) = &mut self.connections[slot].transaction {
            transaction.spoil();
        }
        self.answer_refusal(slot, row, failure.wire(), out);
    }

    fn answer_refusal(&mut self, slot: usize, row: Option<&Row>, text: &[u8], out: &mut Vec<u8>) {
        let connection = &self.connections[slot];
        connection.client.active_ms.store(self.clock.now_ms, Relaxed);
        Reply::new(out, connection.proto).error(text);
        if let Some(row) = row {
            self.handle().commands.count_rejected(row.id);
        }
        self.count_error(text);
    }

    /// Counts an error by its first word (INFO errorstats).
    pub(crate) fn count_error(&mut self, text: &[u8]) {
        self.handle().errors.count(text);
    }

    /// CLIENT REPLY: takes back what must not be said. Confirmations of subscriptions are pushes and stay.
    // Most requests need nothing of it: a call would cost more than what is looked at.
    #[inline(always)]
    pub(crate) fn after_reply(&mut self, slot: usize, row: Option<&Row>, out: &mut Vec<u8>, before: usize) {
        self.defer_own_pushes();
        let Some(connection) = self.connections.get(slot) else { return };
        if connection.reply_mode != ReplyMode::On
            || connection.tracking.is_some()
            || connection.state().wait().is_some()
            || row.is_some_and(|row| row.has(Flags::ASKS_NODES))
        {
            self.after_special_reply(slot, row, out, before);
        }
    }

    /// The same for a client that tracks, waits or is not always answered, and for what was asked of other nodes.
    fn after_special_reply(&mut self, slot: usize, row: Option<&Row>, out: &mut Vec<u8>, before: usize) {
        if row.is_some_and(|row| row.has(Flags::ASKS_NODES)) {
            self.forget_word(self.connections[slot].me);
        }
        let connection = &mut self.connections[slot];
        if connection.tracking.is_some() {
            connection.end_caching(row);
        }
        if connection.state().wait().is_some() {
            connection.is_mute = connection.is_silent();
        }
        if connection.reply_mode != ReplyMode::On {
            connection.drop_reply(row, out, before);
            out.append(&mut self.current.confirmations);
        }
    }
}

impl Connection {
    /// Takes back the reply that stands behind `before`, if CLIENT REPLY says so; pushes stay.
    #[cold]
    fn drop_reply(&mut self, row: Option<&Row>, out: &mut Vec<u8>, before: usize) {
        let is_push = row.is_some_and(Row::confirms) && is_confirmation(&out[before..]);
        let mode = self.reply_mode;
        if mode != ReplyMode::SkipNext && !is_push {
            out.truncate(before);
        }
        self.reply_mode = match mode {
            ReplyMode::SkipNext => ReplyMode::Skip,
            ReplyMode::Skip => ReplyMode::On,
            mode => mode,
        };
    }
}

/// A command that has begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    pub(super) at: Instant,
    /// What the connection's replies depended on before it.
    pub(super) depended_on: Dependence,
}

impl From<sterna_keyspace::Error> for Failure {
    fn from(error: sterna_keyspace::Error) -> Failure {
        match error.text() {
            Cow::Borrowed(text) => Failure::text(text),
            Cow::Owned(text) => Failure::text(text),
        }
    }
}
