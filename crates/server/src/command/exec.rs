//! EXEC: runs what MULTI has queued, as one.
//!
//! It locks the partitions of all keys that its commands and watches name, in their order, and runs the commands one after the
//! other; no other client sees a state between. Blocked clients are answered after the last.
//!
//! One that may take long (many commands, long values, scripts) does so with the right of a script, and goes on in slices if it
//! does: `shard/exec.rs` says how. A script is one piece of it, and what changes settings is run in one piece as a whole.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use sterna_command::{Channels, Command, Flags, Group, Keys, ReplyShape};
use sterna_keyspace::{Error, Garbage, HeldSteps, Outcome, Run, SCAN_BYTES, Stride};
use sterna_protocol::{Args, OwnedArgs, Reply};

use super::Failure;
use super::published::Message;
use super::script::{ENDED, Place, ScriptCall, compile_ahead, needs_engine};
use super::table::{Row, Runs, runs};
use super::transaction_size::{QUICK_BYTES_MAX, is_long, names_long, reports_much};
use crate::apart::{Request, Task};
use crate::connection::client::mark;
use crate::connection::state::Wait;
use crate::connection::transaction::Transaction;
use crate::partitions::{Held, Indices, Scene, written};
use crate::server::Server;
use crate::server::turns::Turn;
use crate::shard::Shard;
use crate::shard::apart::LARGE_REPLY_BYTES;
use crate::shard::current::QueuedParts;
use crate::shard::exec::{Course, LongTransaction, Pieces, SLICE, Stage};
use crate::shard::long::Prepared;

/// Keys that KEYS may look at at once.
const QUICK_KEYS_MAX: usize = 8192;

/// Bytes of the scripts of a transaction that are hashed in one piece: some 0.5 ms.
const HASHED_BYTES_MAX: usize = 256 << 10;

/// What a transaction is answered that changes settings, which is one piece, and may take long.
const LONG_WITH_SETTINGS: Failure = Failure::of(
    "EXECABORT Transaction discarded because of: one that changes settings has at most 256 commands, of which 16 tell of \
     the server, and 640 KB, and no message that thousands of patterns match",
);

/// What a command of such a transaction is answered that would be run apart, or in steps, elsewhere.
const TOO_LONG_WITH_SETTINGS: Failure =
    Failure::of("ERR it would take too long in a transaction that changes settings");

impl Shard {
    /// Runs a transaction, or its first slice.
    pub(super) fn run_transaction(
        &mut self,
        slot: usize,
        (row, args): (&'static Row, Args<'_>),
        mut transaction: Box<Transaction>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Failure> {
        if self.reads_files_first(slot, &mut transaction) {
            return Err(self.put_back(slot, transaction, Failure::FILE_AWAITED));
        }
        let server = Arc::clone(&self.server);
        let partitions = &server.partitions;
        let publishes = |(row, args): &(&'static Row, OwnedArgs)| self.retained(row, args.args());
        let retained: Vec<Vec<u8>> = transaction.queued.iter().filter_map(publishes).collect();
        let mut needed = self.partitions_of(&transaction);
        retained.iter().for_each(|key| needed.insert(partitions.index_of(key)));
        let has = |is_so: &dyn Fn(&Row) -> bool| transaction.queued.iter().any(|(row, _)| is_so(row));
        if has(&|row| row.spec.group == Group::Server) {
            // INFO and MEMORY can't look while the partitions are held.
            server.note_keyspace();
        }
        let scene = self.scene_of(slot, false);
        // Before the partitions: see `lock::Level`.
        let changes_settings = has(&|row| row.has(Flags::CHANGES_SETTINGS));
        if changes_settings && (is_long(&transaction) || self.publishes_widely(&transaction)) {
            return Err(self.put_back(slot, transaction, LONG_WITH_SETTINGS));
        }
        let settings = changes_settings.then(|| server.config_changes.lock_within(SLICE));
        if matches!(settings, Some(None)) {
            return Err(self.put_back(slot, transaction, Failure::SETTINGS_TAKEN));
        }
        let runs_script = has(&|row| matches!(runs(row), Runs::Script(_)) && needs_engine(row));
        let way = if runs_script {
            Way::AsScript
        } else if changes_settings {
            Way::Whole
        } else {
            Way::AsLong
        };
        let held = self.hold(&server, slot, (&mut transaction, &retained), needed, scene, way);
        let (mut turn, mut held) = match held {
            Ok((_, held)) if held.is_busy() => {
                let failure = self.keys_taken();
                return Err(self.put_back(slot, transaction, failure));
            }
            Ok(held) => held,
            Err(failure) => return Err(self.put_back(slot, transaction, failure)),
        };
        for (db, key) in &transaction.watched {
            held.expire_if_due(usize::from(*db), key, scene.now_ms, &mut self.changes);
        }
        if transaction.watch.is_broken() {
            held.serve_ready(scene.now_ms, &mut self.changes);
            drop(held);
            self.spread_changes();
            self.unwatch_all(&transaction);
            self.free_transaction(transaction);
            reply.null_array();
            return Ok(());
        }
        if let Some(files) = transaction.files.take().and_then(Arc::into_inner).and_then(OnceLock::into_inner)
        {
            self.current.files_read = files;
        }
        let start = reply.out.len();
        let is_silent = self.connections[slot].is_silent();
        if !is_silent {
            reply.array(transaction.queued.len());
        }
        let mut course = Course {
            is_retained: !retained.is_empty(),
            is_whole: changes_settings,
            runs_script,
            ..Course::new(transaction, scene.now_ms, is_silent)
        };
        let until = (turn.is_some() && !changes_settings).then(|| course.now + SLICE);
        while course.is_under_way() {
            self.run_queued(slot, &mut course, &mut held, turn.as_mut(), reply.out, until);
            if self.ends_slice(&course, until) {
                break;
            }
        }
        if !course.is_done() {
            server.scripts.begin_transaction();
            held.begin_busy();
            drop(held);
            drop(turn);
            let reply = reply.out.split_off(start);
            self.begin_slices(slot, (row, args), course, needed, reply);
            return Ok(());
        }
        let was_ended = self.forget_ended_script();
        match std::mem::take(&mut self.rights_acks) {
            0 => held.serve_ready(scene.now_ms, &mut self.changes),
            // Who has lost the right to what he waits for gets nothing of it.
            acks => {
                let is_left = held.leave_ready(self.index, scene.now_ms, &mut self.changes);
                let connection = &self.connections[slot];
                let remaining = match connection.state().wait() {
                    Some(Wait::Acks { remaining }) => *remaining,
                    _ => acks,
                };
                if is_left {
                    self.unfollowed.push((connection.me, remaining));
                }
            }
        }
        self.remember_served();
        drop(held);
        self.spread_changes();
        self.unwatch_all(&course.transaction);
        let mut transaction = course.transaction;
        let files = std::mem::take(&mut self.current.files_read);
        if files.users.is_some() || !files.options.tls.is_empty() {
            // Where none of its commands took them.
            transaction.files = Some(Arc::new(OnceLock::from(files)));
        }
        self.free_transaction(transaction);
        let file = self.current.file_to_write.take();
        if was_ended {
            reply.out.truncate(start);
            return Err(ENDED);
        }
        if is_silent {
            self.current.confirmations = reply.out.split_off(start);
        }
        if let Some(file) = file {
            self.write_behind(slot, file, start, reply);
        }
        Ok(())
    }

    /// What it holds may be slow to free.
    fn free_transaction(&self, transaction: Box<Transaction>) {
        if transaction.files.is_some() {
            let bytes = transaction.heap_bytes();
            self.server.reclaimer.free(vec![Garbage::of_other(transaction, bytes)]);
        }
    }

    /// Has a command go on in slices that needs all keys to itself: as a transaction.
    pub(super) fn run_alone(
        &mut self,
        slot: usize,
        row: &'static Row,
        args: Args<'_>,
    ) -> Result<(), Failure> {
        let server = Arc::clone(&self.server);
        let (partitions, now_ms) = (&server.partitions, self.clock.now_ms);
        let turn = self.script_turn(&server, slot)?;
        let mut held = partitions.hold_growing();
        held.add(partitions.all());
        if held.is_busy() {
            return Err(self.keys_taken());
        }
        let queued = vec![(row, args.to_owned())];
        let transaction = Box::new(Transaction { queued, ..Transaction::default() });
        let is_silent = self.connections[slot].is_silent();
        let course = Course { is_alone: true, ..Course::new(transaction, now_ms, is_silent) };
        server.scripts.begin_transaction();
        held.begin_busy();
        drop(held);
        drop(turn);
        self.begin_slices(slot, (row, args), course, partitions.all(), Vec::new());
        Ok(())
    }

    /// Locks what a transaction needs, and takes the right of a script if it is to have it.
    fn hold<'s>(
        &mut self,
        server: &'s Arc<Server>,
        slot: usize,
        (transaction, retained): (&mut Transaction, &[Vec<u8>]),
        needed: Indices,
        scene: Scene,
        way: Way,
    ) -> Result<(Option<Turn<'s>>, Held<'s>), Failure> {
        let partitions = &server.partitions;
        if way == Way::Whole
            || way == Way::AsLong
                && !is_long(transaction)
                && !self.publishes_widely(transaction)
                && !self.tells_much_and_publishes(transaction)
                && !self.walks_far(transaction)
                && !self.lists_much(slot, transaction)
        {
            let commands = || transaction.queued.iter().filter(|(row, _)| matches!(runs(row), Runs::Keys(_)));
            let held = partitions.hold_for(needed, || {
                let written = commands().flat_map(|(row, args)| written(row.spec, args.args()));
                written.chain(retained.iter().map(Vec::as_slice))
            });
            if way == Way::Whole || held.is_busy() || !names_long(transaction, &held, scene) {
                return Ok((None, held));
            }
        }
        let mut turn = self.script_turn(server, slot)?;
        if way == Way::AsScript {
            let queued = transaction.queued.iter().skip(transaction.compiled_ahead);
            let requests = queued.map(|(row, args)| (*row, args.args()));
            let (looked_at, result) = compile_ahead(server, &mut turn, requests, HASHED_BYTES_MAX);
            transaction.compiled_ahead += looked_at;
            result?;
        }
        let mut held = partitions.hold_growing();
        held.add(needed);
        Ok((Some(turn), held))
    }

    /// Whether others are served before the next command: what very many are sent comes before what it publishes then.
    fn ends_slice(&self, course: &Course, until: Option<Instant>) -> bool {
        until.is_some_and(|until| course.now >= until || self.own_letters > 0)
    }

    /// Whether it walks past names of keys that are many, or long, or hard to match: all with KEYS, some with each SCAN.
    fn walks_far(&self, transaction: &Transaction) -> bool {
        let walks = |(row, _): &&(&'static Row, OwnedArgs)| {
            row.has(Flags::ALL_KEYS.union(Flags::READONLY))
                && row.spec.keys == Keys::None
                && row.spec.reply.contains(&ReplyShape::Array)
        };
        let (mut names, mut bytes, mut scans) = (None, 0, 0);
        transaction.queued.iter().filter(walks).any(|(row, args)| {
            let partitions = &self.server.partitions;
            let (keys, in_all) = *names.get_or_insert_with(|| partitions.names(0..partitions.databases()));
            bytes += if row.has(Flags::IN_PARTS) {
                let stride = Stride::of_keys(QUICK_KEYS_MAX, QUICK_BYTES_MAX, args.args().get(1));
                if stride.has_room(keys, in_all) { 0 } else { usize::MAX / 2 }
            } else {
                // One is a piece elsewhere, too. Each may come to the same long names.
                scans += 1;
                if scans == 1 { 0 } else { in_all.min(SCAN_BYTES) }
            };
            bytes > QUICK_BYTES_MAX
        })
    }

    /// Whether it walks past very many clients, users, channels or slow commands, or ends very many subscriptions.
    fn lists_much(&self, slot: usize, transaction: &Transaction) -> bool {
        let is_much = |(row, args): &(&'static Row, OwnedArgs)| {
            row.has(Flags::LISTS) && self.lists_many(slot, row, args.args())
        };
        transaction.queued.iter().any(is_much)
            || reports_much(transaction, self.server.connected.load(Relaxed))
    }

    /// The partitions of all keys that the transaction's commands and watches name; where they are many, all: finding out
    /// would hold the shard for longer than it spares others.
    fn partitions_of(&self, transaction: &Transaction) -> Indices {
        let (partitions, mut needed) = (&self.server.partitions, Indices::default());
        if is_long(transaction) {
            return partitions.all();
        }
        for (row, args) in &transaction.queued {
            if matches!(runs(row), Runs::Keys(_)) {
                needed.extend(partitions.needed_by(row.spec, args.args()));
            }
        }
        transaction.watched.iter().for_each(|(_, key)| needed.insert(partitions.index_of(key)));
        needed
    }

    /// Nothing of the transaction has been run, since what it needs was taken: it ends with an error, or is there again for the
    /// EXEC that waits.
    fn put_back(&mut self, slot: usize, transaction: Box<Transaction>, failure: Failure) -> Failure {
        if !failure.is_put_off() {
            self.unwatch_all(&transaction);
            return failure;
        }
        let connection = &mut self.connections[slot];
        let client = &connection.client;
        client.set_mark(mark::MULTI, true);
        client.multi.store(transaction.queued.len() as i64, Relaxed);
        client.multi_bytes.store(transaction.queued_bytes() as u64, Relaxed);
        client.watch.store(transaction.watched.len() as u32, Relaxed);
        connection.transaction = Some(transaction);
        failure
    }

    /// Runs the next command, or goes on with it. `until`: others may be served from then on.
    fn run_queued(
        &mut self,
        slot: usize,
        course: &mut Course,
        held: &mut Held<'_>,
        turn: Option<&mut Turn<'_>>,
        out: &mut Vec<u8>,
        until: Option<Instant>,
    ) {
        let before = out.len();
        let row = course.transaction.queued[course.at].0;
        match std::mem::replace(&mut course.stage, Stage::Next) {
            Stage::Next => self.begin_queued(slot, course, held, turn, out, until.is_some()),
            Stage::Steps(mut steps, took) => {
                let goes_on = steps.step(&mut Reply::new(out, self.connections[slot].proto));
                let took = took + course.pass();
                if goes_on {
                    course.stage = Stage::Steps(steps, took);
                } else {
                    self.server.reclaimer.free(vec![Garbage::of_steps(steps)]);
                    self.end_queued(slot, course, Ok(()), out, took);
                }
            }
            Stage::Held(steps, took) => {
                self.go_on_with_queued(slot, course, held, steps, out, took, until.is_some())
            }
            Stage::Parts(mut parts, took) => {
                let is_done = self.part_of_queued(slot, &mut parts, out);
                let took = took + course.pass();
                if is_done {
                    self.end_queued(slot, course, Ok(()), out, took);
                } else {
                    course.stage = Stage::Parts(parts, took);
                }
            }
            Stage::Message(space, prepared, took) => {
                self.go_on_with_message(slot, course, held, (space, prepared, took), out)
            }
            Stage::Commit(task) => self.commit_queued(slot, course, held, *task, out),
            waits @ (Stage::Apart(_) | Stage::Waits) => course.stage = waits,
        }
        course.hush(row, out, before);
    }

    fn begin_queued(
        &mut self,
        slot: usize,
        course: &mut Course,
        held: &mut Held<'_>,
        turn: Option<&mut Turn<'_>>,
        out: &mut Vec<u8>,
        may_yield: bool,
    ) {
        let (row, args) = &course.transaction.queued[course.at];
        let (row, args) = (*row, args.args());
        let result = match runs(row) {
            _ if !course.is_alone
                && let Err(failure) = self.check_again(slot, row, args) =>
            {
                Err(failure)
            }
            _ if row.spec.channels == Channels::Published => {
                match self.publish_queued(slot, (row, args), course.is_retained, held, out, may_yield) {
                    Message::Long(space) => {
                        course.stage = Stage::Message(space, Prepared::default(), course.pass());
                        return;
                    }
                    Message::Published(result) => result,
                }
            }
            Runs::Keys(command) => {
                let mut scene = self.scene_of(slot, false);
                self.spare_keys_of_others(row);
                (scene.now_ms, scene.caller.may_yield) = (course.now_ms, may_yield || course.is_whole);
                match self.run_on_held(slot, (command, args), held, scene, out, course.is_whole) {
                    Ok(Outcome::Long(_) | Outcome::Held(_)) | Err(Error::TooLong) if course.is_whole => {
                        Err(TOO_LONG_WITH_SETTINGS)
                    }
                    Ok(Outcome::Long(steps)) => {
                        course.stage = Stage::Steps(steps, course.pass());
                        return;
                    }
                    Ok(Outcome::Held(steps)) => {
                        course.stage = Stage::Held(steps, course.pass());
                        return;
                    }
                    Ok(Outcome::Apart(apart)) => {
                        let (me, room) = (self.connections[slot].me, self.reply_room(slot, false));
                        let task = Task::new(me, row, command, scene, apart, room);
                        course.stage = Stage::Apart(Box::new(task));
                        course.pass();
                        return;
                    }
                    outcome => outcome.map(|_| ()).map_err(Failure::from),
                }
            }
            Runs::Script(run) if let Some(turn) = turn => {
                let reply = Reply::new(out, self.connections[slot].proto);
                let place = Some(Place { states: turn, held });
                // It is as old as itself, and sees the time that the other commands see.
                self.clock.set_back(course.now);
                let now_ms = std::mem::replace(&mut self.clock.now_ms, course.now_ms);
                let result =
                    run(&mut ScriptCall { shard: self, slot, row, args, reply, place, may_wait: false });
                self.clock.now_ms = self.clock.now_ms.max(now_ms);
                result
            }
            _ => {
                if may_yield {
                    self.current.queued_parts = QueuedParts::Allowed;
                }
                let result = self.execute(slot, row, args, out, true);
                if let QueuedParts::Begun(parts) = std::mem::take(&mut self.current.queued_parts) {
                    course.stage = Stage::Parts(parts, course.pass());
                    return;
                }
                result
            }
        };
        let took = course.pass();
        self.end_queued(slot, course, result, out, took);
    }

    /// Goes on with a command that looks at keys which are known only while it runs.
    #[expect(clippy::too_many_arguments, reason = "all that is known of one command, and of its transaction")]
    fn go_on_with_queued(
        &mut self,
        slot: usize,
        course: &mut Course,
        held: &mut Held<'_>,
        mut steps: Box<dyn HeldSteps>,
        out: &mut Vec<u8>,
        took: Duration,
        may_yield: bool,
    ) {
        let mut scene = self.scene_of(slot, false);
        (scene.now_ms, scene.caller.may_yield) = (course.now_ms, may_yield);
        let mut reply = Reply::new(out, scene.caller.proto);
        let result = held.go_on(&mut *steps, scene, &mut self.changes, &mut reply);
        self.spread_changes();
        let took = took + course.pass();
        if matches!(result, Ok(true)) {
            course.stage = Stage::Held(steps, took);
        } else {
            self.server.reclaimer.free(vec![Garbage::of_held(steps)]);
            self.end_queued(slot, course, result.map(|_| ()).map_err(Failure::from), out, took);
        }
    }

    fn run_on_held(
        &mut self,
        slot: usize,
        (command, args): (&'static Command<Run>, Args<'_>),
        held: &mut Held<'_>,
        scene: Scene,
        out: &mut Vec<u8>,
        is_whole: bool,
    ) -> Result<Outcome, Error> {
        self.remember_reads(slot, &command.spec, args);
        self.lend_fieldset(slot, &command.spec, args);
        let mut reply = Reply::new(out, scene.caller.proto);
        let mut outcome = held.execute(command, args, scene, &mut self.changes, &mut reply);
        if !is_whole && matches!(outcome, Err(Error::TooLong)) {
            outcome = Ok(held.copies(command, args, scene, &self.changes));
        }
        self.take_fieldset_back(&command.spec);
        self.spread_changes();
        self.reads_end();
        outcome
    }

    /// A command has been run apart: commits what it wrote. Its keys were touched by nobody but the transaction.
    fn commit_queued(
        &mut self,
        slot: usize,
        course: &mut Course,
        held: &mut Held<'_>,
        mut task: Task,
        out: &mut Vec<u8>,
    ) {
        let is_done =
            task.apart.take().is_none_or(|apart| held.commit(apart, course.now_ms, &mut self.changes));
        self.spread_changes();
        let took = task.took;
        if let Request::Queued(args) = std::mem::take(&mut task.request) {
            course.transaction.queued[course.at].1 = args;
        }
        let result = match task.result.take() {
            Some(_) if task.is_cut => Err(Failure::of(self.reply_too_long(slot, task.room))),
            Some(result) if is_done => {
                if result.is_ok() && task.reply.len() > LARGE_REPLY_BYTES {
                    course.large_reply = Some(task.reply);
                } else if result.is_ok() {
                    out.extend_from_slice(&task.reply);
                }
                result.map_err(Failure::from)
            }
            // Whether effects are collected has changed meanwhile: it is run here.
            _ => {
                let args = std::mem::take(&mut course.transaction.queued[course.at].1);
                let mut scene = task.scene;
                scene.caller.may_yield = false;
                let outcome = self.run_on_held(slot, (task.command, args.args()), held, scene, out, false);
                course.transaction.queued[course.at].1 = args;
                outcome.map(|_| ()).map_err(Failure::from)
            }
        };
        course.pass();
        self.end_queued(slot, course, result, out, took);
    }

    /// Counts a command of a transaction, and shows it.
    pub(super) fn end_queued(
        &mut self,
        slot: usize,
        course: &mut Course,
        result: Result<(), Failure>,
        out: &mut Vec<u8>,
        took: Duration,
    ) {
        let (row, args) = &course.transaction.queued[course.at];
        self.handle().commands.count(row.id, took, result.is_err());
        self.show_to_monitors(slot, row, args.args());
        if let Err(failure) = result {
            if !failure.is_counted() {
                self.count_error(failure.wire());
            }
            Reply::new(out, self.connections[slot].proto).error(failure.wire());
        }
        course.at += 1;
    }

    /// The first slice is over, and the keyspace busy.
    fn begin_slices(
        &mut self,
        slot: usize,
        (row, args): (&'static Row, Args<'_>),
        course: Course,
        needed: Indices,
        reply: Vec<u8>,
    ) {
        self.defer_own_pushes();
        let changes = sterna_keyspace::Changes::new(self.changes.wants());
        let connection = &self.connections[slot];
        let mut transaction = LongTransaction {
            who: connection.me,
            row,
            request: args.to_owned(),
            needed,
            course,
            reply: Pieces::default(),
            pushes: std::mem::take(&mut self.current.deferred),
            changes: std::mem::replace(&mut self.changes, changes),
            took: self.clock.instant.elapsed(),
            depended_on: connection.depends_on,
        };
        *transaction.reply.buffer() = reply;
        self.wait(slot, Wait::Exec, None);
        self.pause_transaction(transaction);
    }

    /// A slice is over, and more is left.
    fn pause_transaction(&mut self, mut transaction: LongTransaction) {
        let bytes = transaction.reply.bytes() + transaction.course.transaction.queued_bytes();
        if self.check_long_reply(transaction.who.slot, bytes) {
            transaction.reply.clear();
        }
        let course = &mut transaction.course;
        match std::mem::replace(&mut course.stage, Stage::Waits) {
            Stage::Apart(mut task) => {
                task.request = Request::Queued(std::mem::take(&mut course.transaction.queued[course.at].1));
                self.run_apart(task);
            }
            stage => course.stage = stage,
        }
        self.long_transaction = Some(Box::new(transaction));
    }

    /// Goes on with the transaction that goes on in slices; to its end, if there is no `until`.
    pub(crate) fn run_slice(&mut self, until: Option<Instant>) {
        let Some(mut transaction) = self.long_transaction.take() else { return };
        let (server, who, began) = (Arc::clone(&self.server), transaction.who, Instant::now());
        self.current.who = Some(who);
        self.credit.begin_request();
        std::mem::swap(&mut self.changes, &mut transaction.changes);
        let mut turn = transaction.course.runs_script.then(|| server.settled_script_turn());
        let mut held = server.partitions.hold_growing();
        held.add(transaction.needed);
        let LongTransaction { course, reply, .. } = &mut *transaction;
        course.pass();
        while course.is_under_way() {
            self.run_queued(who.slot, course, &mut held, turn.as_mut(), reply.buffer(), until);
            if turn.is_some() {
                // A script that has ended has nothing to itself any more.
                held.stay_busy();
                server.scripts.begin_transaction();
            }
            if let Some(large) = course.large_reply.take() {
                reply.push(large);
            }
            if self.ends_slice(course, until) {
                break;
            }
        }
        let is_done = course.is_done();
        if is_done {
            held.end_busy();
            if self.forget_ended_script() {
                reply.clear();
                if !course.is_silent {
                    Reply::new(reply.buffer(), self.connections[who.slot].proto).error(ENDED.wire());
                }
            }
            held.serve_ready(self.clock.now_ms, &mut self.changes);
            self.remember_served();
            server.scripts.end_transaction();
        }
        drop(held);
        drop(turn);
        self.spread_changes();
        self.end_run();
        self.defer_own_pushes();
        transaction.pushes.append(&mut self.current.deferred);
        std::mem::swap(&mut self.changes, &mut transaction.changes);
        transaction.took += began.elapsed();
        self.current.who = None;
        if is_done {
            server.notify_shards();
            self.end_transaction(*transaction);
        } else {
            self.pause_transaction(*transaction);
        }
    }

    /// As `run_and_count` for a command that is over at once.
    fn end_transaction(&mut self, transaction: LongTransaction) {
        let LongTransaction { who, row, request, course, reply, pushes, took, depended_on, .. } = transaction;
        let slot = who.slot;
        self.unwatch_all(&course.transaction);
        if !course.is_retained
            && !course.transaction.has_writes()
            && let Some(connection) = self.connections.get_mut(slot)
        {
            connection.depends_on.disown(depended_on);
        }
        if self.durability.is_gated {
            self.note_seen(slot);
        }
        self.server.memory.note_shrinking();
        if !course.is_alone {
            self.show_to_monitors(slot, row, request.args());
            self.handle().commands.count(row.id, took, false);
        }
        self.note_duration(slot, row, request.args(), took);
        self.answer_transaction(who, row, reply, pushes);
        let bytes = course.transaction.heap_bytes();
        self.server.reclaimer.free(vec![Garbage::of_other(course.transaction, bytes)]);
    }
}

/// How a transaction may be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// In one piece.
    Whole,
    /// In slices, if it is long.
    AsLong,
    /// With the Lua state, and in slices between its commands unless it changes settings.
    AsScript,
}
