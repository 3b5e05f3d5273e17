//! SLOWLOG: the commands that took longest to run.

use std::time::Duration;

use sterna_command::{Categories, Command, Flags, Group, Keys, Place, ReplyShape, Spec};
use sterna_protocol::{Args, argument};

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
                call.server().slowlog.lock().entries.clear();
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
        log.entries.push_front(entry);
        log.entries.truncate(LOG_ENTRIES_MAX.min(self.config.slowlog_max_len as usize));
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
    let count = count.min(log.entries.len());
    call.reply.array(count);
    for entry in log.entries.iter().take(count) {
        call.reply.array(7);
        call.reply.int(entry.id);
        call.reply.int(entry.at_s as i64);
        call.reply.int(entry.took.as_micros() as i64);
        call.reply.array(entry.args.len());
        entry.args.iter().for_each(|arg| call.reply.bulk(arg));
        call.reply.bulk(entry.peer.as_bytes());
        call.reply.bulk(entry.name.as_bytes());
        call.reply.int(entry.argument_count as i64);
    }
    drop(log);
    Ok(())
}
