//! EVAL, EVALSHA, SCRIPT, FCALL, FUNCTION: scripts and functions in the Lua states that all shards share (`scripts.rs`).
//!
//! 1. The client waits for the states (`shard/turns.rs`); then the shard has them, and the right to lock partitions as keys are named.
//!    What is long to compile is compiled by a thread first, which has the states meanwhile.
//! 2. The script runs on the shard's thread. Each command it calls is checked as a client's would be, locks the partitions
//!    of its keys, and runs as EXEC runs its commands (`host.rs`). Partitions stay locked, so nobody sees a state between.
//! 3. When it has ended, blocked readers are served, its effects become one record of the journal, and the locks go.

mod function;
mod function_rows;
mod host;
mod rows;

use std::sync::Arc;

use sterna_command::{Command, Flags};
use sterna_keyspace::Garbage;
use sterna_protocol::{Args, Reply, argument};
use sterna_script::{Engine, RunError, Script, ScriptFlags, Sha};

use super::table::Row;
use super::{Call, Failure};
use crate::partitions::Held;
use crate::scripts::{Ahead, Kind, States};
use crate::server::Server;
use crate::server::turns::Turn;
use crate::shard::Shard;
use host::Guest;

/// Rows of this module.
pub(super) static ROWS: &[&[Command<ScriptRun>]] = &[rows::ROWS, function_rows::ROWS];

/// What runs a command about scripts.
pub(crate) type ScriptRun = fn(&mut ScriptCall<'_, '_>) -> Result<(), Failure>;

/// A command about scripts being executed for a connection.
pub(crate) struct ScriptCall<'a, 'p> {
    pub(crate) shard: &'a mut Shard,
    pub(crate) slot: usize,
    pub(crate) row: &'static Row,
    pub(crate) args: Args<'a>,
    pub(crate) reply: Reply<'a>,
    /// The Lua states and what is locked; `None` for a command that doesn't wait for them (SCRIPT KILL).
    pub(crate) place: Option<Place<'a, 'p>>,
    /// It is no part of a transaction, and so can wait until CLIENT PAUSE has ended.
    pub(crate) may_wait: bool,
}

/// Where a script runs.
pub(crate) struct Place<'a, 'p> {
    pub(crate) states: &'a mut States,
    pub(crate) held: &'a mut Held<'p>,
}

/// Whether a command about scripts must have the Lua state: those that are answered beside a script, and HELP, need not.
pub(crate) fn needs_engine(row: &Row) -> bool {
    !row.spec.flags.intersects(Flags::ALLOW_BUSY.union(Flags::LOADING))
}

impl ScriptCall<'_, '_> {
    /// The state of scripts.
    fn engine(&mut self) -> Result<&mut Engine, Failure> {
        self.place.as_mut().map(|place| place.states.scripts()).ok_or(Failure::SYNTAX)
    }

    /// The state of functions.
    fn functions(&mut self) -> Result<&mut Engine, Failure> {
        let libraries = self.shard.server.partitions.libraries();
        self.place.as_mut().map(|place| place.states.functions(libraries)).ok_or(Failure::SYNTAX)
    }

    /// Whether code that says this of itself may run now: CLIENT PAUSE WRITE holds back what may write.
    fn check_pause(&self, flags: Option<ScriptFlags>) -> Result<(), Failure> {
        let (pause, now) = (&self.shard.server.pause, self.shard.clock.instant);
        let may_write = !self.row.has(Flags::READONLY) && !flags.is_some_and(|flags| flags.no_writes);
        match may_write && self.may_wait && pause.is_on() && pause.holds_back(true, now) {
            true => Err(Failure::PAUSED),
            false => Ok(()),
        }
    }

    /// As other commands of this crate are called.
    fn plain(&mut self, run: super::Run) -> Result<(), Failure> {
        let proto = self.reply.proto;
        let reply = Reply::new(self.reply.out, proto);
        run(&mut Call {
            shard: self.shard,
            slot: self.slot,
            row: self.row,
            args: self.args,
            reply,
            in_exec: true,
        })
    }
}

/// Has a thread compile what the first of these requests needs that needs it. Error: it does, and the request waits for its turn anew.
///
/// Also how many requests have been looked at. Of several that wait as one, each is looked at once: what was compiled for it may be given up
/// for others before its turn comes, and is compiled where it is executed then. Scripts of `hash_bytes_max` bytes together are hashed.
pub(super) fn compile_ahead<'a>(
    server: &Arc<Server>,
    turn: &mut Turn<'_>,
    requests: impl Iterator<Item = (&'static Row, Args<'a>)>,
    hash_bytes_max: usize,
) -> (usize, Result<(), Failure>) {
    let libraries = server.partitions.libraries();
    let (mut looked_at, mut hashed_left, mut found) = (0, hash_bytes_max, None);
    for (row, args) in requests {
        found = turn.ahead_of(row, args, libraries, &mut hashed_left);
        // Behind libraries that have changed comes what the request itself brings.
        looked_at += usize::from(!matches!(found, Some(Ahead::Kept)));
        if found.is_some() {
            break;
        }
    }
    let Some(ahead) = found else { return (looked_at, Ok(())) };
    let there = Arc::clone(server);
    let work = move || {
        let mut turn = there.settled_script_turn();
        turn.compile(ahead, there.partitions.libraries());
        there.scripts.note_figures(&turn);
        there.scripts.end_compiling();
    };
    let result = match server.scripts.compile(Box::new(work)) {
        true => Err(Failure::TURN_TAKEN),
        // There is no thread: it is compiled when it is executed.
        false => Ok(()),
    };
    (looked_at, result)
}

impl Shard {
    /// Runs a command about scripts outside of a transaction.
    pub(super) fn execute_script(
        &mut self,
        run: ScriptRun,
        slot: usize,
        row: &'static Row,
        args: Args<'_>,
        reply: Reply<'_>,
    ) -> Result<(), Failure> {
        if !needs_engine(row) {
            return run(&mut ScriptCall { shard: self, slot, row, args, reply, place: None, may_wait: true });
        }
        let server = Arc::clone(&self.server);
        let mut turn = self.script_turn(&server, slot)?;
        compile_ahead(&server, &mut turn, std::iter::once((row, args)), usize::MAX).1?;
        let mut held = server.partitions.hold_growing();
        let now_ms = self.clock.now_ms;
        let result = {
            let (start, place) = (reply.out.len(), Some(Place { states: &mut turn, held: &mut held }));
            let mut call = ScriptCall { shard: self, slot, row, args, reply, place, may_wait: true };
            let result = run(&mut call);
            if call.shard.forget_ended_script() && result.is_ok() {
                call.reply.out.truncate(start);
                Err(ENDED)
            } else {
                result
            }
        };
        if !held.is_empty() {
            held.serve_ready(now_ms, &mut self.changes);
            self.remember_served();
        }
        drop(held);
        drop(turn);
        self.spread_changes();
        result
    }
}

/// What a request is answered that was under way with a script when the server stopped: its own reply would promise too much.
pub(super) const ENDED: Failure = Failure::of("ERR the server stops: nothing of the request is kept");

impl Shard {
    /// Of a request whose script was ended in its middle nothing is to be found after the next start, and nobody is served from
    /// what it left. Returns whether that is so.
    pub(super) fn forget_ended_script(&mut self) -> bool {
        let was_ended = std::mem::take(&mut self.script_was_ended);
        if was_ended {
            self.changes.forget();
        }
        was_ended
    }
}

/// How a script is run: what the command allows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mode {
    is_readonly: bool,
}

/// `EVAL script numkeys [key …] [arg …]`, and EVAL_RO.
fn eval(call: &mut ScriptCall<'_, '_>) -> Result<(), Failure> {
    let keys = key_count(call.args)?;
    let body = call.args.get(1).unwrap_or_default();
    let script = call.engine()?.load(body, false).map_err(Failure::text)?;
    run_script(call, script, keys)
}

/// `EVALSHA sha1 numkeys [key …] [arg …]`, and EVALSHA_RO.
fn evalsha(call: &mut ScriptCall<'_, '_>) -> Result<(), Failure> {
    // What can be the name of no script is looked at first. Source: Redis.
    if call.args[1].len() != Sha::TEXT_BYTES {
        return Err(NO_SCRIPT);
    }
    let keys = key_count(call.args)?;
    let sha = Sha::parse(&call.args[1]).ok_or(NO_SCRIPT)?;
    let script = call.engine()?.find(sha).ok_or(NO_SCRIPT)?;
    run_script(call, script, keys)
}

const NO_SCRIPT: Failure = Failure::of("NOSCRIPT No matching script. Please use EVAL.");

/// How many of the arguments are keys.
fn key_count(args: Args<'_>) -> Result<usize, Failure> {
    let keys = argument::int(&args[2]).ok_or(Failure::NOT_INTEGER)?;
    if keys > args.len() as i64 - 3 {
        return Err(Failure::of("ERR Number of keys can't be greater than number of args"));
    }
    usize::try_from(keys).map_err(|_| Failure::of("ERR Number of keys can't be negative"))
}

fn run_script(call: &mut ScriptCall<'_, '_>, script: Script, keys: usize) -> Result<(), Failure> {
    let mode = Mode { is_readonly: call.row.has(Flags::READONLY) };
    call.check_pause(script.flags)?;
    let permit = Permit::of(call, script.flags, mode)?;
    let args = call.args;
    run(call, permit, None, |engine, guest, reply| {
        let (keys, args) = (args.iter().skip(3).take(keys), args.iter().skip(3 + keys));
        engine.run(script, keys, args, guest, reply)
    })
}

/// Whether no key could make room for what the script may write when its request began (`find_memory`).
fn lacks_memory(call: &ScriptCall<'_, '_>) -> bool {
    call.shard.server.memory.has_limit() && call.shard.connections[call.slot].lacks_memory
}

/// What a script may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Permit {
    writes: bool,
    /// Whether commands that need memory are refused.
    is_out_of_memory: bool,
}

impl Permit {
    /// What follows from the flags of a script, or a function, or why it does not run at all. Without a first line that names flags,
    /// each command is looked at when it is called.
    fn of(call: &ScriptCall<'_, '_>, flags: Option<ScriptFlags>, mode: Mode) -> Result<Permit, Failure> {
        let is_out_of_memory = lacks_memory(call);
        let Some(flags) = flags else { return Ok(Permit { writes: !mode.is_readonly, is_out_of_memory }) };
        if is_out_of_memory && !flags.allow_oom && !flags.no_writes {
            return Err(Failure::of("OOM command not allowed when used memory > 'maxmemory'."));
        }
        if !flags.no_writes {
            if mode.is_readonly {
                return Err(Failure::of("ERR Can not execute a script with write flag using *_ro command."));
            }
            call.shard.check_disk()?;
        }
        let writes = !mode.is_readonly && !flags.no_writes;
        Ok(Permit { writes, is_out_of_memory: is_out_of_memory && !flags.allow_oom })
    }
}

/// Bytes of a reply's buffer that are kept for the next script.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// Runs a script, from its first instruction to its last.
fn run(
    call: &mut ScriptCall<'_, '_>,
    permit: Permit,
    function: Option<&str>,
    run: impl FnOnce(&mut Engine, &mut Guest<'_, '_>, &mut Reply<'_>) -> Result<(), RunError>,
) -> Result<(), Failure> {
    let Some(place) = &mut call.place else { return Err(Failure::SYNTAX) };
    let server = Arc::clone(&call.shard.server);
    server.scripts.begin(if function.is_some() { Kind::Function } else { Kind::Script });
    call.shard.show_to_monitors_as(call.slot, call.row, call.args, None);
    let called = function.map(|name| (name, call.args));
    // The replies before this one, which others may have to read meanwhile.
    let lent = std::mem::take(call.reply.out);
    let engine = match function {
        None => place.states.scripts(),
        Some(_) => place.states.functions(server.partitions.libraries()),
    };
    let mut made = std::mem::take(&mut engine.reply);
    let mut reply = Reply::new(&mut made, call.reply.proto);
    let mut guest = Guest::new(call.shard, call.slot, place.held, permit, called, &lent);
    let result = run(engine, &mut guest, &mut reply);
    guest.end();
    if result.is_ok() {
        // As Redis counts: each error that a command answered, and the script's own as one.
        let failures = guest.answered_errors + u64::from(guest.answers_new_error);
        call.shard.handle().commands.count_failures(call.row.id, failures);
    }
    *call.reply.out = lent;
    call.reply.out.extend_from_slice(&made);
    if made.capacity() <= KEPT_BYTES_MAX {
        made.clear();
        engine.reply = made;
    }
    server.scripts.end(place.states);
    result.map_err(|error| Failure::text(error.text).counted(error.is_counted))
}

/// `SCRIPT LOAD script`
fn load(call: &mut ScriptCall<'_, '_>) -> Result<(), Failure> {
    let body = call.args.get(2).unwrap_or_default();
    let script = call.engine()?.load(body, true).map_err(Failure::text)?;
    note_figures(call)?;
    call.reply.bulk(script.sha.to_string().as_bytes());
    Ok(())
}

/// `SCRIPT EXISTS sha1 [sha1 …]`
fn exists(call: &mut ScriptCall<'_, '_>) -> Result<(), Failure> {
    let args = call.args.from(2);
    call.reply.array(args.len());
    for text in args.iter() {
        let has = match Sha::parse(text) {
            Some(sha) => call.engine()?.has(sha),
            None => false,
        };
        call.reply.int(has.into());
    }
    Ok(())
}

/// `SCRIPT FLUSH [ASYNC | SYNC]`: the same either way, what is slow to free is freed on a thread of its own.
fn flush(call: &mut ScriptCall<'_, '_>) -> Result<(), Failure> {
    let is_known = match call.args.len() {
        2 => true,
        3 => [&b"sync"[..], b"async"].iter().any(|word| call.args[2].eq_ignore_ascii_case(word)),
        _ => false,
    };
    if !is_known {
        return Err(Failure::of("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
    }
    let engine = call.engine()?;
    let (bytes, remains) = (engine.figures().used_bytes, engine.flush());
    call.shard.server.reclaimer.free(vec![Garbage::of_other(Box::new(remains), bytes)]);
    note_figures(call)?;
    call.reply.ok();
    Ok(())
}

fn note_figures(call: &mut ScriptCall<'_, '_>) -> Result<(), Failure> {
    let place = call.place.as_ref().ok_or(Failure::SYNTAX)?;
    call.shard.server.scripts.note_figures(place.states);
    Ok(())
}

/// `SCRIPT KILL`
fn kill(call: &mut ScriptCall<'_, '_>) -> Result<(), Failure> {
    call.shard.server.scripts.kill(Kind::Script).map_err(Failure::of)?;
    call.reply.ok();
    Ok(())
}

fn help(call: &mut ScriptCall<'_, '_>) -> Result<(), Failure> {
    call.plain(super::help::help)
}
