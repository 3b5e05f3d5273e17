//! Commands that take too long under the locks of their keys, from the shard's side.
//!
//! ```text
//!   dispatch ─► too long ─► copies, keys reserved ─► Wait::Apart ─► a thread runs it ─► mail ─► commit ─► reply
//!                             ▲                                                          │
//!                             └───────────── a key was touched meanwhile ────────────────┘
//! ```
//!
//! What can't be committed now (a script has run for too long, CLIENT PAUSE) waits in the timers; whoever ends that says so.
//! Whether its client may still run the command is asked again before it happens (`command/rights.rs`).
//!
//! A client that is gone meanwhile has its command committed all the same, as a command is that it has sent and not waited
//! for. After [`RUNS_MAX`] runs, which only time and scripts that write to keys they did not name can bring about, the command
//! is run with its keys locked.

use std::sync::Arc;
use std::time::Duration;

use sterna_command::{Command, Flags, Row};
use sterna_journal::Refusal;
use sterna_keyspace::{Apart, Error, Garbage, Outcome, Run, Waiter};
use sterna_protocol::{Args, LongRequest, Reply};

use super::serve::Serving;
use crate::apart::{Request, Task};
use crate::connection::Connection;
use crate::connection::chunk::Range;
use crate::connection::state::Wait;
use crate::limits::{PIPED_REPLY_BYTES_MAX, REPLY_BYTES_MAX};
use crate::mailbox::Mail;
use crate::partitions::{Committed, Scene, keys_of};
use crate::shard::Shard;

/// How often a command is run apart before it is run with its keys locked.
const RUNS_MAX: u32 = 4;

/// What a command is answered whose reply would be longer than one may be that is made as a whole.
const REPLY_TOO_LONG: &str = "ERR the reply is too long";
const PIPED_REPLY_TOO_LONG: &str = "ERR The reply is too long for HTTP";

/// How long a commit waits before it looks again whether the journal takes it.
const COMMIT_PAUSE: Duration = Duration::from_millis(5);

impl Shard {
    /// Has the connection wait until its command has been run apart.
    pub(crate) fn begin_apart(
        &mut self,
        slot: usize,
        (row, command): (&'static Row, &'static Command<Run>),
        args: Args<'_>,
        scene: Scene,
        apart: Box<Apart>,
    ) {
        if apart.writes() {
            self.server.reserved.add(scene.db, keys_of(&command.spec, args));
        }
        let (who, room) = (self.connections[slot].me, self.reply_room(slot, false));
        self.wait(slot, Wait::Apart, None);
        // It is run once it has its request, which may be long and is not copied.
        self.current.task_without_request = Some(Box::new(Task::new(who, row, command, scene, apart, room)));
    }

    /// Bytes that a command may answer the connection which is run apart: they are in memory before any of them is sent. `is_mute`: it
    /// is not answered.
    pub(crate) fn reply_room(&self, slot: usize, is_mute: bool) -> usize {
        let connection = &self.connections[slot];
        if is_mute || connection.is_silent() {
            return REPLY_BYTES_MAX;
        }
        let most = match connection.transport.is_pipe() && !connection.is_session {
            true => PIPED_REPLY_BYTES_MAX,
            false => REPLY_BYTES_MAX,
        };
        self.flusher.room_of(connection).min(most)
    }

    /// Whether a command that is to be run apart has yet to be given its request.
    #[inline]
    pub(super) fn task_awaits_request(&self) -> bool {
        self.current.task_without_request.is_some()
    }

    /// Gives it the request, whose first words name the command, so many of them; then it is run.
    pub(super) fn hand_over_to_task(&mut self, request: impl FnOnce(usize) -> LongRequest) {
        let Some(mut task) = self.current.task_without_request.take() else { return };
        task.request = Request::Read(request(1 + usize::from(task.row.parent.is_some())));
        self.run_apart(task);
    }

    pub(crate) fn run_apart(&self, task: Box<Task>) {
        let (server, shard) = (Arc::clone(&self.server), self.index);
        let deliver = move |task| server.shards[shard].mailbox.push(Mail::Apart(task));
        self.server.apart.run(task, Box::new(deliver));
    }

    /// A command has been run apart: commits what it wrote, and answers.
    pub(crate) fn end_apart(&mut self, mut task: Box<Task>) {
        if let Some(transaction) = &mut self.long_transaction
            && transaction.who == task.who
        {
            return transaction.take_back(task);
        }
        let writes = task.row.has(Flags::WRITE);
        if writes && self.server.pause.is_on() && self.server.pause.holds_back(true, self.clock.instant) {
            let until = self.server.pause.end(&self.clock);
            return self.timers.commit_later(task, Some(until));
        }
        if writes && (self.durability.is_loading || self.durability.missing_groups != 0) {
            return self.timers.commit_later(task, None);
        }
        if writes
            && let Some(journal) = &self.durability.journal
            && self.server.admit_write(journal) == Err(Refusal::Backlog)
        {
            // It was admitted when it began; what others have written meanwhile has yet to reach the disk.
            return self.timers.commit_later(task, Some(self.clock.instant + COMMIT_PAUSE));
        }
        let connection = self.connection_of(task.who);
        let waits =
            connection.is_some_and(|connection| matches!(connection.state().wait(), Some(Wait::Apart)));
        if waits {
            self.check_rights_again(&mut task);
        }
        let mut serving = waits.then(|| self.begin(task.who.slot));
        // Nobody is there any more who could wait.
        task.scene.caller.may_block &= waits;
        let end = self.commit_apart(&mut task);
        if matches!(end, End::Over)
            && let Some(serving) = &mut serving
        {
            self.answer_apart(&mut task, serving);
        }
        if let Some(serving) = serving {
            self.finish(serving);
        }
        let waiter = match end {
            End::Over => None,
            End::Again => return self.run_apart(task),
            End::Later => {
                self.await_keys();
                return self.timers.commit_later(task, None);
            }
            End::Waits(waiter) => Some(waiter),
        };
        if writes
            && self.server.reserved.remove(task.scene.db, keys_of(&task.command.spec, task.request.args()))
        {
            self.server.notify_shards();
        }
        self.handle().commands.add_time(task.row.id, task.took);
        if waits && self.connection_of(task.who).is_some() {
            self.note_duration(task.who.slot, task.row, task.request.args(), task.took);
            match waiter {
                None => self.resume_behind_reply(task.who.slot),
                Some(waiter) => {
                    let (request, is_silent) = (task.request.args().to_owned(), self.is_silent(&task));
                    self.block_again(task.who.slot, task.row, request, waiter, is_silent);
                }
            }
        }
        // Its request may be long.
        let bytes = task.request.args().extent();
        self.server.reclaimer.free(vec![Garbage::of_other(task, bytes)]);
    }

    /// A client that has lost the right to its command meanwhile gets NOPERM, and nothing has happened.
    fn check_rights_again(&mut self, task: &mut Task) {
        let Err(denied) = self.check_rights(task.who.slot, task.row, task.request.args()) else { return };
        if let Some(apart) = &mut task.apart {
            apart.call_off();
        }
        task.denied = Some(denied.wire().into());
    }

    /// Commits what the command wrote.
    fn commit_apart(&mut self, task: &mut Task) -> End {
        let Some(apart) = task.apart.take() else {
            // It found the keys taken when it was to begin anew.
            let is_due = task.result.is_none() && task.denied.is_none();
            return if is_due { self.begin_anew(task) } else { End::Over };
        };
        let (spec, now_ms) = (&task.command.spec, self.clock.now_ms);
        let partitions = &self.server.partitions;
        match partitions.commit(apart, spec, task.request.args(), now_ms, &mut self.changes) {
            Committed::NotYet(apart) => {
                task.apart = Some(apart);
                End::Later
            }
            Committed::Yes => {
                self.spread_changes();
                End::Over
            }
            Committed::No => {
                self.spread_changes();
                if task.denied.is_some() || task.is_cut { End::Over } else { self.begin_anew(task) }
            }
        }
    }

    /// Begins the command anew; it may be over at once.
    fn begin_anew(&mut self, task: &mut Task) -> End {
        task.reply.clear();
        task.scene.now_ms = self.clock.now_ms;
        task.scene.caller.may_yield &= task.runs < RUNS_MAX;
        let mut reply = Reply::new(&mut task.reply, task.scene.caller.proto);
        reply.limit(task.room);
        self.changes.lend(task.fieldset.clone());
        let outcome = self.server.partitions.execute(
            task.command,
            task.request.args(),
            task.scene,
            &mut self.changes,
            &mut reply,
        );
        self.changes.lend(None);
        self.spread_changes();
        match outcome {
            Ok(Outcome::Apart(apart)) => {
                (task.apart, task.result) = (Some(apart), None);
                return End::Again;
            }
            Ok(Outcome::Long(mut steps)) => {
                while steps.step(&mut reply) && !reply.is_cut() {}
                task.result = Some(Ok(()));
            }
            Ok(Outcome::Wait(waiter)) => return End::Waits(waiter),
            Ok(Outcome::Replied) => task.result = Some(Ok(())),
            // What names keys as it goes on is never run apart.
            Ok(Outcome::Held(_)) => task.result = Some(Err(Error::NeedsAll)),
            Err(Error::Busy) => {
                task.result = None;
                return End::Later;
            }
            Err(error) => task.result = Some(Err(error)),
        }
        if reply.end_limit() {
            // What it has changed stays: it is the last of several attempts.
            task.cut();
        }
        End::Over
    }

    fn is_silent(&self, task: &Task) -> bool {
        let connection = self.connections.get(task.who.slot);
        task.is_silent || connection.is_some_and(Connection::is_silent)
    }

    /// The error of a reply that is longer than `room`. A connection that may not have as much queued is closed, as if it were.
    pub(crate) fn reply_too_long(&mut self, slot: usize, room: usize) -> &'static str {
        self.flusher.check_with(&mut self.connections[slot], room.saturating_add(1));
        if room == PIPED_REPLY_BYTES_MAX { PIPED_REPLY_TOO_LONG } else { REPLY_TOO_LONG }
    }

    /// Writes the reply, unless CLIENT REPLY asked for silence.
    fn answer_apart(&mut self, task: &mut Task, serving: &mut Serving) {
        let slot = task.who.slot;
        if self.durability.is_gated {
            self.note_seen(slot);
        }
        let error = task.result.take().and_then(Result::err).map(|error| error.text().into_owned());
        let cut = (task.is_cut && !self.is_silent(task)).then(|| self.reply_too_long(slot, task.room));
        if let Some(text) = task.denied.take().or_else(|| cut.map(Vec::from)).or(error) {
            self.count_error(&text);
            task.reply.clear();
            Reply::new(&mut task.reply, task.scene.caller.proto).error(&text);
        }
        let is_silent = self.is_silent(task);
        if !is_silent && task.reply.len() > LARGE_REPLY_BYTES {
            // Its bytes are not moved any more.
            let range = Range::of(std::mem::take(&mut task.reply));
            self.queue_reply(serving, range);
        }
        let before = serving.out.len();
        serving.out.extend_from_slice(if task.is_silent { &[] } else { &task.reply });
        self.after_reply(slot, Some(task.row), &mut serving.out, before);
    }
}

/// What is to be done with a command that has been run apart.
enum End {
    /// Nothing more: it is answered.
    Over,
    /// It is run once more: one of its keys was touched.
    Again,
    /// It is committed later: a script has the keys to itself.
    Later,
    /// There is nothing for it any more: it waits.
    Waits(Arc<Waiter>),
}

/// From so many bytes on a reply is queued as it is.
pub(crate) const LARGE_REPLY_BYTES: usize = 256 << 10;
