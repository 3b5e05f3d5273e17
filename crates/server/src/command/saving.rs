//! SAVE, BGSAVE, BGREWRITEAOF, LASTSAVE; and what DEBUG RELOAD and LOADAOF do.
//!
//! There is one kind of snapshot, which is a new base for the journal: BGSAVE and BGREWRITEAOF do the same, and INFO counts
//! them apart for those who watch. With `appendonly no` it is all that is kept.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

use sterna_command::{Categories, Command, Flags, Group, Keys, Place, ReplyShape, Spec};
use sterna_keyspace::{Effect, KeyGroup, What};
use sterna_protocol::{Reply, argument};

use super::{Call, Failure, Run};
use crate::connection::ReplyMode;
use crate::connection::state::Wait;
use crate::connection::waits::{AfterJob, JobWait};
use crate::journaling::{Job, Outcome};
use crate::mailbox::Ack;
use crate::persistence::Rebuild;
use crate::shard::Shard;

const BASE: Spec = Spec {
    name: "",
    arity: 1,
    flags: Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::NO_ASYNC_LOADING),
    keys: Keys::None,
    acl: Categories::empty(),
    group: Group::Server,
    since: "1.0.0",
    complexity: "O(N), N bytes of all keys and values",
    summary: "",
    syntax: "",
    reply: &[ReplyShape::Simple],
    tips: &[],
    place: Place::Node,
    ..Spec::PLAIN
};

/// Rows of this file.
pub(super) static ROWS: &[Command<Run>] = &[
    Command {
        spec: Spec {
            name: "save",
            flags: BASE.flags.union(Flags::NO_MULTI),
            summary: "Takes a snapshot of the journal's state and answers when it is on the disk.",
            reply: &[ReplyShape::Ok],
            ..BASE
        },
        run: Some(save),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "bgsave",
            arity: -1,
            complexity: "O(1)",
            summary: "Has a snapshot taken in the background, after which the journal before it goes.",
            syntax: "[SCHEDULE]",
            ..BASE
        },
        run: Some(bgsave),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "bgrewriteaof",
            complexity: "O(1)",
            summary: "Has the journal cut behind a snapshot, which is taken in the background.",
            ..BASE
        },
        run: Some(bgrewriteaof),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "lastsave",
            flags: Flags::LOADING.union(Flags::STALE).union(Flags::FAST),
            acl: Categories::ADMIN.union(Categories::DANGEROUS),
            complexity: "O(1)",
            summary: "Answers when the last snapshot was finished, or the server started: Unix time in seconds.",
            reply: &[ReplyShape::Integer],
            tips: &["nondeterministic_output"],
            ..BASE
        },
        run: Some(|call| {
            call.reply.int(call.server().journaling.jobs.last_s.load(Relaxed) as i64);
            Ok(())
        }),
        subcommands: &[],
    },
];

const NO_JOURNAL: Failure =
    Failure::of("ERR there is nothing to load: appendonly is 'no', and nothing was saved");
const IN_PROGRESS: Failure = Failure::of("ERR Background save already in progress");

/// Asks for a job and holds the connection until it has ended. Errors: it can't be asked for.
pub(super) fn await_job(call: &mut Call<'_>, job: Job, then: AfterJob) -> Result<(), Failure> {
    let (slot, row, args) = (call.slot, call.row, call.args.to_owned());
    let connection = call.connection();
    let is_silent = connection.reply_mode != ReplyMode::On;
    let who = connection.me;
    let ack = Ack { shard: call.shard.index, who };
    call.shard.server.ask(job, Some(ack)).map_err(no_thread)?;
    // The mail is read by this shard, later: the connection is held by then.
    call.shard.wait(slot, Wait::Job(JobWait { row, args, then, is_silent }), None);
    Ok(())
}

fn no_thread(error: std::io::Error) -> Failure {
    Failure::text(format!("ERR no thread for a snapshot: {error}"))
}

fn save(call: &mut Call<'_>) -> Result<(), Failure> {
    if matches!(call.server().journaling.jobs.running(), Some((Job::Save, _))) {
        return Err(IN_PROGRESS);
    }
    await_job(call, Job::Save, AfterJob::Save)
}

/// Goes on with a command whose job has ended.
fn go_on(call: &mut Call<'_>, then: AfterJob, outcome: Outcome) -> Result<(), Failure> {
    let unsaved = |_| Failure::of("ERR Error trying to save the DB, check server logs.");
    match then {
        AfterJob::Save => {
            outcome.map_err(unsaved)?;
            call.reply.ok();
            Ok(())
        }
        AfterJob::Reload => {
            outcome.map_err(unsaved)?;
            reload(call, false)
        }
        // The server is on its way to stop, and this connection with it.
        AfterJob::Shutdown if call.server().is_stopping() => Ok(()),
        AfterJob::Shutdown => outcome.map_err(|_| Failure::of("ERR Errors trying to SHUTDOWN. Check logs.")),
        AfterJob::Switch => super::config::switched(call, outcome),
        AfterJob::Copy(copy) => {
            outcome.map_err(unsaved)?;
            super::copying::begin(call, copy)
        }
        AfterJob::Users(users) => {
            outcome.map_err(Failure::text)?;
            super::acl::loaded(call, Arc::into_inner(users).and_then(OnceLock::into_inner))
        }
        AfterJob::Options(read) => {
            outcome.map_err(Failure::text)?;
            super::config::set_with(call, Arc::into_inner(read).and_then(OnceLock::into_inner))
        }
        AfterJob::Answer(answer) => {
            outcome.map_err(Failure::text)?;
            call.reply.out.extend_from_slice(answer.get().map_or(b"", Vec::as_slice));
            Ok(())
        }
    }
}

fn bgsave(call: &mut Call<'_>) -> Result<(), Failure> {
    let is_scheduled = match call.args.get(1) {
        None => false,
        Some(word) if call.args.len() == 2 && argument::eq_ignore_case(word, "schedule") => true,
        Some(_) => return Err(Failure::SYNTAX),
    };
    let text = match call.server().journaling.jobs.running() {
        Some((Job::Save, _)) => return Err(IN_PROGRESS),
        Some(_) if !is_scheduled => {
            return Err(Failure::of(
                "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to \
                 schedule a BGSAVE whenever possible.",
            ));
        }
        Some(_) => "Background saving scheduled",
        None => "Background saving started",
    };
    call.shard.server.ask(Job::Save, None).map_err(no_thread)?;
    call.reply.simple(text);
    Ok(())
}

fn bgrewriteaof(call: &mut Call<'_>) -> Result<(), Failure> {
    let text = match call.server().journaling.jobs.running() {
        Some((Job::Rewrite, _)) => {
            return Err(Failure::of("ERR Background append only file rewriting already in progress"));
        }
        Some(_) => "Background append only file rewriting scheduled",
        None => "Background append only file rewriting started",
    };
    call.shard.server.ask(Job::Rewrite, None).map_err(no_thread)?;
    call.reply.simple(text);
    Ok(())
}

impl Shard {
    /// The job that the connection waits for has ended.
    pub(crate) fn job_ended(&mut self, ack: Ack, outcome: Outcome) {
        let Some(connection) = self.connection_of(ack.who) else { return };
        match connection.state().wait() {
            Some(Wait::Job(_)) => {}
            Some(Wait::File) => return drop(self.resume(ack.who.slot)),
            _ => return,
        }
        let (slot, proto) = (ack.who.slot, connection.proto);
        let Some(Wait::Job(JobWait { row, args, then, is_silent })) = self.resume(slot) else { return };
        let mut bytes = Vec::new();
        let reply = Reply::new(&mut bytes, proto);
        let mut call = Call { shard: self, slot, row, args: args.args(), reply, in_exec: false };
        if let Err(failure) = go_on(&mut call, then, outcome) {
            self.count_error(failure.wire());
            Reply::new(&mut bytes, proto).error(failure.wire());
        }
        let range = self.replies_to_others.append(bytes.len(), |buf| buf.extend_from_slice(&bytes));
        let Some(connection) = self.connections.get_mut(slot) else { return };
        if !is_silent && !bytes.is_empty() {
            self.flusher.push(connection, range);
        }
    }
}

/// DEBUG RELOAD and LOADAOF: forgets every key and loads the journal again, while nobody else runs.
///
/// With `appendonly no`, keys that were written since the snapshot are gone. If the files can't be read, nothing sensible is
/// in memory any more: the server stops, as Redis does.
pub(super) fn reload(call: &mut Call<'_>, takes_snapshot: bool) -> Result<(), Failure> {
    if takes_snapshot {
        return await_job(call, Job::Save, AfterJob::Reload);
    }
    let server = Arc::clone(&call.shard.server);
    if !server.logs.is_empty() {
        return Err(Failure::of("ERR The journal of a node of a cluster is loaded at its start only"));
    }
    let journal = server.journaling.at_rest().cloned().ok_or(NO_JOURNAL)?;
    let mut held = server.partitions.hold(server.partitions.all());
    if held.is_busy() {
        return Err(call.shard.keys_taken());
    }
    held.apply(Effect { db: None, key: b"", what: What::Flush { group: KeyGroup::WHOLE } });
    server.partitions.libraries().clear();
    held.apply(Effect { db: None, key: b"", what: What::Databases { shown: &[] } });
    let stats = journal.stats();
    let mut rebuild = Rebuild::new(&mut held, stats.snapshot, stats.epoch, &server.journaling.loading);
    match journal.reload(&mut rebuild) {
        Ok(_) => {
            call.reply.ok();
            Ok(())
        }
        Err(error) => {
            tracing::error!(%error, "the journal can't be loaded again: stopping");
            server.stop();
            Err(Failure::of("ERR Error trying to load the AOF files, check server logs."))
        }
    }
}
