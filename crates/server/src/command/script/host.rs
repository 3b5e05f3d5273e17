//! The server as a script sees it: a client that holds the locks already.

use std::time::{Duration, Instant};

use sterna_command::{Channels, Flags, Group};
use sterna_keyspace::Changes;
use sterna_protocol::{Args, Proto, Reply};
use sterna_script::{Host, Level, Verdict};

use super::Permit;
use crate::command::Failure;
use crate::command::acl::Context;
use crate::command::admission::may_mail;
use crate::command::table::{Row, Runs, Unresolved, runs, table};
use crate::connection::fieldsets::Fieldsets;
use crate::connection::state::ConnectionRef;
use crate::limits::SCRIPTED_REPLY_BYTES_MAX;
use crate::matching::Matching;
use crate::parcel::Namespace;
use crate::partitions::{Held, Indices};
use crate::scripts::SlowFunction;
use crate::shard::Shard;
use crate::shard::exec::SLICE;

/// How often others are served beside a script that has run for too long.
const BESIDE_INTERVAL: Duration = Duration::from_millis(5);

/// How long a script has what it names locked; then it keeps it.
const LOCKED_TIME_MAX: Duration = Duration::from_millis(1);

/// One value can be asked for many times in one command.
const REPLY_TOO_LONG: Failure = Failure::of("ERR the reply is longer than a script has memory for");

/// A running script's place in the server.
pub(super) struct Guest<'a, 'p> {
    shard: &'a mut Shard,
    slot: usize,
    held: &'a mut Held<'p>,
    permit: Permit,
    /// The replies that the shard has on loan for this request's client, and before them those to others.
    lent: &'a [u8],
    /// What it is called by, if it is a function.
    function: Option<(&'a str, Args<'a>)>,
    /// The protocol in which the caller is told of what it does: the script has one of its own.
    proto: Proto,
    /// The caller's database and fieldsets: what changes inside ends with the script.
    db: u8,
    fieldsets: Option<Box<Fieldsets>>,
    me: ConnectionRef,
    began: Instant,
    /// When others are served next, once it has run for too long.
    beside_at: Option<Instant>,
    /// Others were served in its middle.
    has_served_others: bool,
    has_written: bool,
    /// A shard stands still: what would mail more to it is refused at once.
    gives_up: bool,
    /// The errors that the script answers, in an array perhaps: those that commands answered it, and whether there are others.
    pub(super) answered_errors: u64,
    pub(super) answers_new_error: bool,
}

impl<'a, 'p> Guest<'a, 'p> {
    pub(super) fn new(
        shard: &'a mut Shard,
        slot: usize,
        held: &'a mut Held<'p>,
        permit: Permit,
        function: Option<(&'a str, Args<'a>)>,
        lent: &'a [u8],
    ) -> Guest<'a, 'p> {
        let connection = &mut shard.connections[slot];
        let (db, me, fieldsets) = (connection.db, connection.me, connection.fieldsets.take());
        let proto = connection.proto;
        let began = shard.clock.instant;
        Guest {
            shard,
            slot,
            held,
            permit,
            lent,
            function,
            proto,
            db,
            fieldsets,
            me,
            began,
            beside_at: None,
            has_served_others: false,
            has_written: false,
            gives_up: false,
            answered_errors: 0,
            answers_new_error: false,
        }
    }

    /// The script has ended: what it did is everybody's again.
    pub(super) fn end(&mut self) {
        if let Some(connection) = self.shard.connections.get_mut(self.slot) {
            connection.db = self.db;
            connection.fieldsets = self.fieldsets.take();
        }
        if self.has_served_others {
            // It has seen one time; what follows sees that of those.
            self.shard.clock.tick();
            // What its client sent meanwhile was left alone.
            self.shard.make_ready(self.slot);
        }
        if self.beside_at.is_none() {
            return self.held.end_keeping();
        }
        self.held.end_busy();
        self.shard.server.notify_shards();
        if self.shard.server.is_stopping() {
            self.shard.script_was_ended = true;
        }
    }

    /// Runs a command; its reply is in `out` unless it fails.
    fn run(&mut self, args: Args<'_>, proto: Proto, out: &mut Vec<u8>) -> Result<(), Failed> {
        let row = match resolve(self.shard, args) {
            Ok(row) => self.admit(row, args).map(|()| row).inspect_err(|_| self.count_rejected(row)),
            Err(unresolved) => {
                if let Unresolved::Arity(row) = unresolved {
                    self.count_rejected(row);
                }
                Err(Failed::from(unresolved))
            }
        }?;
        if row.spec.group == Group::Server && self.held.is_empty() {
            self.shard.server.note_keyspace();
        }
        self.shard.clock.advance();
        let began = self.shard.clock.instant;
        // What it publishes to itself is a message, and its number of deliveries the same in both.
        let is_message = row.spec.channels == Channels::Published;
        self.shard.connections[self.slot].proto = if is_message { self.proto } else { proto };
        let result = self.execute(row, args, out);
        self.shard.connections[self.slot].proto = self.proto;
        let took = self.shard.clock.advance_from(began);
        self.keep_if_long(self.shard.clock.instant);
        self.shard.handle().commands.count(row.id, took, result.is_err());
        self.shard.show_to_monitors_as(self.slot, row, args, Some("lua"));
        result.map_err(|failure| Failed::Counted(failure.wire().to_vec()))
    }

    fn count_rejected(&self, row: &Row) {
        self.shard.handle().commands.count_rejected(row.id);
    }

    fn execute(&mut self, row: &'static Row, args: Args<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
        if row.spec.channels == Channels::Published {
            self.await_events();
            if row.has(Flags::RETAINS) {
                self.find_patterns(row, args);
            }
        }
        if let Some(key) = self.shard.retained(row, args) {
            return self.publish(&key, args, out);
        }
        let Runs::Keys(command) = runs(row) else {
            return self.shard.execute(self.slot, row, args, out, true);
        };
        let partitions = &self.shard.server.partitions;
        let named = partitions.named(&command.spec, args);
        let needed = partitions.needed_for(&command.spec, &named);
        self.hold(needed);
        let shard = &mut *self.shard;
        shard.remember_reads(self.slot, &command.spec, args);
        let scene = shard.scene_of(self.slot, false);
        shard.spare_keys_of_others(row);
        shard.lend_fieldset(self.slot, &command.spec, args);
        let mut reply = Reply::new(out, scene.caller.proto);
        reply.limit(SCRIPTED_REPLY_BYTES_MAX);
        let outcome = self.held.execute_on(&named, command, args, scene, &mut shard.changes, &mut reply);
        let is_too_long = reply.end_limit();
        shard.take_fieldset_back(&command.spec);
        self.let_go();
        self.spread_changes();
        self.shard.reads_end();
        outcome?;
        // What it has changed stays, as where the state has no memory for what it answers.
        if is_too_long { Err(REPLY_TOO_LONG) } else { Ok(()) }
    }

    /// Finds the patterns of what it publishes; if that takes long, others are served meanwhile.
    fn find_patterns(&mut self, row: &Row, args: Args<'_>) {
        let (channel, payload) = (args.get(1).unwrap_or_default(), args.get(2).unwrap_or_default());
        let is_kept = self.shard.is_retained(row, args);
        if !self.shard.is_wide(Namespace::Channels, channel, payload, is_kept) {
            return;
        }
        let mut matching = Matching::begin_with_turn();
        while !self.shard.match_some(&mut matching, channel, Some(Instant::now() + SLICE)) {
            if self.may_serve_others() {
                self.serve_others();
            }
        }
        self.shard.keep_found(channel, Some(matching));
    }

    /// What it has written comes before what it publishes; if there is so much of it that it is told of in slices, others are served
    /// meanwhile.
    fn await_events(&mut self) {
        let last = self.shard.late_events.put;
        while self.shard.late_events.told < last {
            if !self.may_serve_others() || self.shard.server.is_stopping() {
                return self.shard.tell_late_events();
            }
            self.serve_others();
        }
    }

    /// A transaction that changes settings is one piece.
    fn may_serve_others(&self) -> bool {
        !self.shard.server.config_changes.is_locked()
    }

    /// Serves others in the middle of the script, which keeps what it has named.
    fn serve_others(&mut self) {
        if !self.unlocks() {
            self.held.keep();
        }
        self.shard.replies.show(self.lent);
        self.turn_beside();
        self.begin_busy_if_slow(Instant::now());
    }

    fn turn_beside(&mut self) {
        self.has_served_others = true;
        self.shard.turn_beside_script(self.me);
    }

    /// Has others told that it is slow, once it has run for too long.
    fn begin_busy_if_slow(&mut self, now: Instant) {
        let threshold = self.shard.config.busy_reply_threshold;
        let is_slow =
            threshold > 0 && now.duration_since(self.began) > Duration::from_millis(threshold as u64);
        if is_slow && self.beside_at.is_none() {
            self.begin_busy(now);
        }
    }

    /// PUBLISH to a channel that remembers.
    fn publish(&mut self, key: &[u8], args: Args<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
        let mut needed = Indices::default();
        needed.insert(self.shard.server.partitions.index_of(key));
        self.hold(needed);
        let deliveries = self.shard.publish_in(self.slot, self.held, key, args);
        self.let_go();
        self.spread_changes();
        Reply::new(out, self.shard.connections[self.slot].proto).int(deliveries? as i64);
        Ok(())
    }

    /// Tells those concerned what a command did, the caller in its own protocol.
    fn spread_changes(&mut self) {
        let proto = std::mem::replace(&mut self.shard.connections[self.slot].proto, self.proto);
        self.shard.spread_changes();
        if let Some(connection) = self.shard.connections.get_mut(self.slot) {
            connection.proto = proto;
        }
    }

    /// Locks what a command needs, beside what the script has locked already.
    fn hold(&mut self, needed: Indices) {
        if self.unlocks() {
            self.held.take_again(needed);
        } else {
            self.held.add(needed);
        }
        if self.shard.server.partitions.has_unserved() {
            self.settle();
        }
    }

    /// Serves those first whom others' writes have woken, and who are still to be served from what is locked.
    #[cold]
    fn settle(&mut self) {
        let own = Changes::new(self.shard.changes.wants());
        let of_script = std::mem::replace(&mut self.shard.changes, own);
        self.held.settle(&mut self.shard.changes);
        self.shard.remember_served();
        self.spread_changes();
        self.shard.changes = of_script;
    }

    /// Whether nothing stays locked between the script's commands: it has what it names to itself all the same.
    fn unlocks(&self) -> bool {
        self.held.keeps() || self.beside_at.is_some()
    }

    fn let_go(&mut self) {
        if self.unlocks() {
            self.held.release();
        }
    }

    /// Has nobody wait for a lock until the script ends.
    #[inline]
    fn keep_if_long(&mut self, now: Instant) {
        if now.saturating_duration_since(self.began) > LOCKED_TIME_MAX && !self.unlocks() {
            self.held.keep();
        }
    }

    /// Whether the script may call this now. Source: the order of Redis's checks.
    fn admit(&mut self, row: &'static Row, args: Args<'_>) -> Result<(), Failed> {
        if row.has(Flags::NOSCRIPT) {
            return Err(Failed::of("ERR This Redis command is not allowed from script"));
        }
        if let Some(user) = &self.shard.connections[self.slot].user
            && let Err(denied) =
                crate::acl::check(user, row, args, &|key| self.shard.config.retained_channel(key))
        {
            self.shard.note_denied(self.slot, row, &denied, Context::Lua);
            let wire = denied.wire();
            let why = wire.strip_prefix(b"NOPERM ").unwrap_or(&wire);
            let text = [b"ERR ACL failure in script: ", why].concat();
            return Err(Failed::New(text));
        }
        let publishes = row.has(Flags::MAY_REPLICATE);
        if !self.permit.writes && (row.has(Flags::WRITE) || publishes) {
            return Err(Failed::of("ERR Write commands are not allowed from read-only scripts."));
        }
        let writes = row.has(Flags::WRITE) || self.shard.is_retained(row, args);
        if writes {
            self.shard.check_disk().map_err(|failure| Failed::New(failure.wire().to_vec()))?;
        }
        if (row.has(Flags::DENYOOM) || writes && !row.has(Flags::WRITE))
            && self.permit.is_out_of_memory
            && !self.has_written
        {
            return Err(Failed::of("OOM command not allowed when used memory > 'maxmemory'."));
        }
        self.shard.tell_of_much();
        if self.shard.credit.overdrawn() != 0 && may_mail(row) && !self.has_credit() {
            return Err(Failed::of(BEHIND));
        }
        if writes {
            self.has_written = true;
            self.shard.server.scripts.note_write();
        }
        if self.shard.has_groups() {
            let checked = self.shard.check_group_of_script(self.slot, row, args);
            checked.map_err(|failure| Failed::New(failure.wire().to_vec()))?;
        }
        Ok(())
    }

    /// Whether a command may mail to other shards, after one has been given time to catch up.
    #[cold]
    fn has_credit(&mut self) -> bool {
        if !self.gives_up {
            self.gives_up = !self.shard.await_credit();
        }
        !self.gives_up
    }

    /// It has run for longer than `busy-reply-threshold`: others are told so from now on.
    fn begin_busy(&mut self, now: Instant) {
        tracing::warn!(
            "a script is slow: it has been running for {} ms",
            now.duration_since(self.began).as_millis()
        );
        self.held.begin_busy();
        self.shard.replies.show(self.lent);
        let slow = self.function.map(|(name, args)| SlowFunction {
            name: name.into(),
            command: args.iter().map(Into::into).collect(),
            began: self.began,
        });
        self.shard.server.scripts.begin_busy(slow);
        // Whoever waits for the Lua state is to be told so.
        self.shard.server.notify_shards();
        self.beside_at = Some(now);
    }
}

/// What a script is answered that has more to tell another shard than that takes.
const BEHIND: &str = "ERR Too much of what the script has published waits for a shard that stands still";

/// Why a command did not do what the script asked for.
enum Failed {
    /// It was not run: the error is still to be counted.
    New(Vec<u8>),
    /// It was run, and answers this.
    Counted(Vec<u8>),
}

impl Failed {
    fn of(text: &'static str) -> Failed {
        Failed::New(text.as_bytes().to_vec())
    }
}

fn resolve(shard: &mut Shard, args: Args<'_>) -> Result<&'static Row, Unresolved> {
    let renames = &shard.server.renames;
    if renames.is_empty() {
        shard.recent_rows.resolve(table(), args.len(), |at| args.get(at))
    } else {
        renames.resolve(table(), args)
    }
}

impl From<Unresolved> for Failed {
    fn from(unresolved: Unresolved) -> Failed {
        Failed::of(match unresolved {
            Unresolved::Arity(_) => "ERR Wrong number of args calling Redis command from script",
            Unresolved::Command | Unresolved::Subcommand(_) => "ERR Unknown Redis command called from script",
        })
    }
}

impl Host for Guest<'_, '_> {
    fn call(&mut self, args: Args<'_>, proto: Proto, out: &mut Vec<u8>) {
        let start = out.len();
        let text = match self.run(args, proto, out) {
            Ok(()) => return,
            Err(Failed::New(text) | Failed::Counted(text)) => text,
        };
        self.shard.count_error(&text);
        out.truncate(start);
        Reply::new(out, proto).error(&text);
    }

    fn answers_error(&mut self, text: &[u8], is_counted: bool) {
        if is_counted {
            self.answered_errors += 1;
        } else {
            self.answers_new_error = true;
            self.shard.count_error(text);
        }
    }

    fn is_allowed(&mut self, args: Args<'_>) -> Result<bool, &'static str> {
        // Whether it has as many arguments as it takes is not asked.
        let row = match resolve(self.shard, args) {
            Ok(row) | Err(Unresolved::Arity(row)) => row,
            Err(Unresolved::Command | Unresolved::Subcommand(_)) => {
                return Err("ERR Invalid command passed to redis.acl_check_cmd()");
            }
        };
        let user = &self.shard.connections[self.slot].user;
        Ok(user.as_ref().is_none_or(|user| {
            crate::acl::check(user, row, args, &|key| self.shard.config.retained_channel(key)).is_ok()
        }))
    }

    fn log(&mut self, level: Level, text: &[u8]) {
        crate::scripts::log(level, text);
    }

    fn tick(&mut self) -> Verdict {
        let now = Instant::now();
        self.keep_if_long(now);
        self.begin_busy_if_slow(now);
        if let Some(at) = self.beside_at
            && at <= now
        {
            self.turn_beside();
            self.beside_at = Some(Instant::now() + BESIDE_INTERVAL);
        }
        let server = &self.shard.server;
        let stops = server.scripts.is_killed() || self.beside_at.is_some() && server.is_stopping();
        if stops { Verdict::Stop } else { Verdict::GoOn }
    }
}
