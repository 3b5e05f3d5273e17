//! Commands that take too long under the locks of their keys, from the shard's side.
//!
//! ```text
//!   dispatch ─► too long ─► copies, keys reserved ─► Wait::Apart ─► a thread runs it ─► mail ─► commit ─► reply
//!                             ▲                                                          │
//!                             └───────────── a key was touched meanwhile ────────────────┘
//! ```
//!
//! A client that is gone meanwhile has its command committed all the same, as a command is that it has sent and not waited
//! for. After [`RUNS_MAX`] runs, which only time and scripts that write to keys they did not name can bring about, the command
//! is run with its keys locked.

use std::sync::Arc;
use std::time::Duration;

use sterna_command::{Command, Flags, Row};
use sterna_keyspace::{Apart, Outcome, Run};
use sterna_protocol::{Args, Reply};

use super::serve::Serving;
use crate::apart::Task;
use crate::connection::ReplyMode;
use crate::connection::chunk::Range;
use crate::connection::state::Wait;
use crate::mailbox::Mail;
use crate::partitions::{Committed, Scene, keys_of};
use crate::shard::Shard;

/// How often a command is run apart before it is run with its keys locked.
const RUNS_MAX: u32 = 4;

/// How long a write to a reserved key waits before it is looked at again.
pub(crate) const RESERVED_PAUSE: Duration = Duration::from_millis(1);

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
        let (who, request) = (self.connections[slot].me, args.to_owned());
        self.wait(slot, Wait::Apart, None);
        self.run_apart(Box::new(Task::new(who, row, command, request, scene, apart)));
    }

    fn run_apart(&self, task: Box<Task>) {
        let (server, shard) = (Arc::clone(&self.server), self.index);
        let deliver = move |task| server.shards[shard].mailbox.push(Mail::Apart(task));
        self.server.apart.run(task, Box::new(deliver));
    }

    /// A command has been run apart: commits what it wrote, and answers.
    pub(crate) fn end_apart(&mut self, mut task: Box<Task>) {
        let writes = task.row.has(Flags::WRITE);
        let is_paused = self.server.pause.is_on() && self.server.pause.holds_back(true, self.clock.now_ms);
        if writes && (is_paused || self.durability.is_loading) {
            return self.run_apart(task);
        }
        let connection = self.connection_of(task.who);
        let waits =
            connection.is_some_and(|connection| matches!(connection.state().wait(), Some(Wait::Apart)));
        let mut serving = waits.then(|| self.begin(task.who.slot));
        let is_over = self.commit_apart(&mut task);
        if is_over && let Some(serving) = &mut serving {
            self.answer_apart(&mut task, serving);
        }
        if let Some(serving) = serving {
            self.finish(serving);
        }
        if !is_over {
            return self.run_apart(task);
        }
        if writes {
            self.server.reserved.remove(task.scene.db, keys_of(&task.command.spec, task.request.args()));
        }
        self.handle().commands.add_time(task.row.id, task.took);
        if waits && self.connection_of(task.who).is_some() {
            self.note_duration(task.who.slot, task.row, task.request.args(), task.took);
            self.resume(task.who.slot);
            // What follows the request may be in the socket, whose edge has been used up.
            self.make_ready(task.who.slot);
        }
    }

    /// Commits what the command wrote; false: it is to be run once more, or committed later.
    fn commit_apart(&mut self, task: &mut Task) -> bool {
        let Some(apart) = task.apart.take() else { return true };
        let (spec, now_ms) = (&task.command.spec, self.clock.now_ms);
        let partitions = &self.server.partitions;
        match partitions.commit(apart, spec, task.request.args(), now_ms, &mut self.changes) {
            Committed::NotYet(apart) => {
                task.apart = Some(apart);
                false
            }
            Committed::Yes => {
                self.spread_changes();
                true
            }
            Committed::No => {
                self.spread_changes();
                self.begin_anew(task)
            }
        }
    }

    /// Begins the command anew; true: it is over already.
    fn begin_anew(&mut self, task: &mut Task) -> bool {
        task.reply.clear();
        task.scene.now_ms = self.clock.now_ms;
        task.scene.caller.may_block &= task.runs < RUNS_MAX;
        let mut reply = Reply::new(&mut task.reply, task.scene.caller.proto);
        let outcome = self.server.partitions.execute(
            task.command,
            task.request.args(),
            task.scene,
            &mut self.changes,
            &mut reply,
        );
        self.spread_changes();
        match outcome {
            Ok(Outcome::Apart(apart)) => {
                (task.apart, task.result) = (Some(apart), None);
                return false;
            }
            Ok(Outcome::Long(mut steps)) => {
                while steps.step(&mut reply) {}
                task.result = Some(Ok(()));
            }
            Ok(_) => task.result = Some(Ok(())),
            Err(error) => task.result = Some(Err(error)),
        }
        true
    }

    /// Writes the reply, unless CLIENT REPLY asked for silence.
    fn answer_apart(&mut self, task: &mut Task, serving: &mut Serving) {
        let slot = task.who.slot;
        if self.durability.is_gated {
            self.note_seen(slot);
        }
        if let Some(Err(error)) = task.result.take() {
            let text = error.text();
            self.count_error(&text);
            task.reply.clear();
            Reply::new(&mut task.reply, task.scene.caller.proto).error(&text);
        }
        let Some(connection) = self.connections.get(slot) else { return };
        let is_silent = matches!(connection.reply_mode, ReplyMode::Off | ReplyMode::Skip);
        if !is_silent && task.reply.len() > LARGE_BYTES {
            // Its bytes are not moved any more.
            let range = Range::of(std::mem::take(&mut task.reply));
            self.queue_reply(serving, range);
        }
        let before = serving.out.len();
        serving.out.extend_from_slice(&task.reply);
        self.after_reply(slot, Some(task.row), &mut serving.out, before);
    }
}

/// From so many bytes on a reply is queued as it is.
const LARGE_BYTES: usize = 256 << 10;
