//! SLOWLOG: the commands that took longest to run.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use sterna_command::{Categories, Command, Flags, Group, Keys, Place, ReplyShape, Spec};
use sterna_keyspace::{Garbage, Steps};
use sterna_protocol::{Args, Reply, argument};

use super::help::help;
use super::redaction::shown;
use super::table::Row;
use super::{Call, Failure, Run};
use crate::history::slow::Entry;
use crate::limits::LOG_ENTRIES_MAX;
use crate::shard::Shard;

const BASE: Spec = Spec {
    name: "",
    arity: 2,
    flags: Flags::ADMIN.union(Flags::LOADING).union(Flags::STALE),
    keys: Keys::None,
    acl: Categories::empty(),
    group: Group::Server,
    since: "2.2.12",
    complexity: "O(1)",
    summary: "",
    syntax: "",
    reply: &[ReplyShape::Ok],
    tips: &[],
    place: Place::Node,
    ..Spec::PLAIN
};

/// Rows of this file.
pub(super) static ROWS: &[Command<Run>] = &[Command {
    spec: Spec {
        name: "slowlog",
        arity: -2,
        flags: Flags::empty(),
        complexity: "Depends on the subcommand.",
        summary: "Shows the commands that took longest to run.",
        reply: &[],
        ..BASE
    },
    run: None,
    subcommands: &[
        Command {
            spec: Spec {
                name: "get",
                arity: -2,
                flags: BASE.flags.union(Flags::LISTS),
                complexity: "O(N), N entries",
                summary: "Lists the newest entries: ten, or as many as named; -1 for all.",
                syntax: "[count]",
                reply: &[ReplyShape::Array],
                tips: &["request_policy:all_nodes", "nondeterministic_output"],
                ..BASE
            },
            run: Some(get),
            subcommands: &[],
        },
        Command {
            spec: Spec {
                name: "help",
                flags: Flags::LOADING.union(Flags::STALE),
                since: "6.2.0",
                summary: "Prints this text.",
                reply: &[ReplyShape::Array],
                ..BASE
            },
            run: Some(help),
            subcommands: &[],
        },
        Command {
            spec: Spec {
                name: "len",
                summary: "Counts the entries.",
                reply: &[ReplyShape::Integer],
                tips: &["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"],
                ..BASE
            },
            run: Some(|call| {
                let len = call.server().slowlog.lock().entries.len();
                call.reply.int(len as i64);
                Ok(())
            }),
            subcommands: &[],
        },
        Command {
            spec: Spec {
                name: "reset",
                summary: "Forgets all entries.",
                tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
                ..BASE
            },
            run: Some(|call| {
                let entries = std::mem::take(&mut call.server().slowlog.lock().entries);
                call.shard.free_slow(entries);
                call.reply.ok();
                Ok(())
            }),
            subcommands: &[],
        },
    ],
}];

/// Arguments kept of one command, and bytes of one argument. Source: Redis's `SLOWLOG_ENTRY_MAX_ARGC` and `_STRING`.
const ARGS_MAX: usize = 32;
const ARG_BYTES_MAX: usize = 128;

impl Shard {
    /// Keeps a command that was slow.
    #[cold]
    pub(super) fn note_slow(&mut self, slot: usize, row: &Row, args: Args<'_>, took: Duration) {
        if row.has(Flags::SKIP_SLOWLOG) {
            return;
        }
        let Some(connection) = self.connections.get(slot) else { return };
        let client = &connection.client;
        let count = if args.len() > ARGS_MAX { ARGS_MAX - 1 } else { args.len() };
        let seen = |i| shorten(shown(row, args, i));
        let mut kept: Vec<Vec<u8>> = (0..count).map(seen).collect();
        if count < args.len() {
            kept.push(format!("... ({} more arguments)", args.len() - count).into_bytes());
        }
        let mut log = self.server.slowlog.lock();
        let entry = Entry {
            id: log.next_id,
            at_s: self.clock.now_ms / 1000,
            took,
            args: kept,
            argument_count: args.len(),
            peer: client.address.peer(),
            name: client.names.lock().name.to_string(),
        };
        log.next_id += 1;
        log.entries.push_front(Arc::new(entry));
        let most = LOG_ENTRIES_MAX.min(self.config.slowlog_max_len as usize);
        // Mostly it is one.
        let gone = if log.entries.len() > most + 1 { log.entries.split_off(most) } else { VecDeque::new() };
        log.entries.truncate(most);
        drop(log);
        self.free_slow(gone);
    }

    /// Thousands of entries with all their arguments are slow to free.
    fn free_slow(&self, entries: VecDeque<Arc<Entry>>) {
        if !entries.is_empty() {
            let bytes = entries.len() * size_of::<Entry>();
            self.server.reclaimer.free(vec![Garbage::of_other(Box::new(entries), bytes)]);
        }
    }
}

fn shorten(arg: &[u8]) -> Vec<u8> {
    if arg.len() <= ARG_BYTES_MAX {
        return arg.to_vec();
    }
    let mut short = arg[..ARG_BYTES_MAX].to_vec();
    short.extend_from_slice(format!("... ({} more bytes)", arg.len() - ARG_BYTES_MAX).as_bytes());
    short
}

fn get(call: &mut Call<'_>) -> Result<(), Failure> {
    if call.args.len() > 3 {
        return Err(Failure::text(
            [
                b"ERR unknown subcommand or wrong number of arguments for '",
                &call.args[1],
                b"'. Try SLOWLOG HELP.",
            ]
            .concat(),
        ));
    }
    let count = match call.args.get(2) {
        None => 10,
        Some(count) => match argument::int(count) {
            Some(-1) => usize::MAX,
            Some(count) if count >= 0 => usize::try_from(count).unwrap_or(usize::MAX),
            _ => return Err(Failure::of("ERR count should be greater than or equal to -1")),
        },
    };
    let log = call.shard.server.slowlog.lock();
    let entries: Vec<Arc<Entry>> = log.entries.iter().take(count).cloned().collect();
    drop(log);
    let mut entries = Entries { entries: entries.into_iter(), is_begun: false };
    if entries.entries.len() > ENTRIES_PER_STEP && call.may_take_parts() {
        call.shard.reply_in_steps(call.slot, call.row, Box::new(entries));
    } else {
        while entries.step(&mut call.reply) {}
    }
    Ok(())
}

/// Entries that are written together: some 0.1 ms, if they are long.
const ENTRIES_PER_STEP: usize = 64;

/// These entries, a few at a time.
#[derive(Debug)]
struct Entries {
    entries: std::vec::IntoIter<Arc<Entry>>,
    is_begun: bool,
}

impl Steps for Entries {
    fn step(&mut self, reply: &mut Reply<'_>) -> bool {
        if !std::mem::replace(&mut self.is_begun, true) {
            reply.array(self.entries.len());
        }
        for entry in self.entries.by_ref().take(ENTRIES_PER_STEP) {
            reply.array(7);
            reply.int(entry.id);
            reply.int(entry.at_s as i64);
            reply.int(entry.took.as_micros() as i64);
            reply.array(entry.args.len());
            entry.args.iter().for_each(|arg| reply.bulk(arg));
            reply.bulk(entry.peer.as_bytes());
            reply.bulk(entry.name.as_bytes());
            reply.int(entry.argument_count as i64);
        }
        self.entries.len() > 0
    }
}
