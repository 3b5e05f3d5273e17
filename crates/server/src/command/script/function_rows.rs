//! Rows of FCALL and FUNCTION.

use sterna_command::{Categories, Code, Command, Flags, Place, ReplyShape, Spec};

use super::function::{delete, dump, fcall, flush, kill, list, load, restore, stats};
use super::rows::{BASE, READS, RUNS};
use super::{ScriptRun, help};

const SINCE: &str = "7.0.0";

/// Rows of this file.
pub(super) static ROWS: &[Command<ScriptRun>] = &[
    Command {
        spec: Spec {
            name: "fcall",
            code: Code::Functions,
            since: SINCE,
            complexity: "Depends on the function.",
            summary: "Calls a function of a library.",
            syntax: "function numkeys [key [key ...]] [arg [arg ...]]",
            ..RUNS
        },
        run: Some(fcall),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "fcall_ro",
            code: Code::Functions,
            since: SINCE,
            complexity: "Depends on the function.",
            summary: "Calls a function of a library that writes nothing.",
            syntax: "function numkeys [key [key ...]] [arg [arg ...]]",
            ..READS
        },
        run: Some(fcall),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "function",
            arity: -2,
            flags: Flags::empty(),
            acl: Categories::empty(),
            since: SINCE,
            complexity: "Depends on the subcommand.",
            summary: "Loads, lists, moves and removes libraries of functions.",
            ..BASE
        },
        run: None,
        subcommands: FUNCTION,
    },
];

const OF_FUNCTION: Spec = Spec { since: SINCE, code: Code::Functions, ..BASE };

/// Subcommands that change libraries.
const CHANGES: Spec = Spec {
    flags: Flags::NOSCRIPT.union(Flags::WRITE).union(Flags::EVERY_GROUP),
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    ..OF_FUNCTION
};

static FUNCTION: &[Command<ScriptRun>] = &[
    Command {
        spec: Spec {
            name: "delete",
            arity: 3,
            complexity: "O(1)",
            summary: "Removes a library and its functions.",
            syntax: "library-name",
            reply: &[ReplyShape::Ok],
            ..CHANGES
        },
        run: Some(delete),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "dump",
            arity: 2,
            complexity: "O(N), N libraries",
            summary: "Shows all libraries as FUNCTION RESTORE takes them.",
            reply: &[ReplyShape::Bulk],
            ..OF_FUNCTION
        },
        run: Some(dump),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "flush",
            arity: -2,
            complexity: "O(N), N libraries",
            summary: "Removes all libraries.",
            syntax: "[ASYNC | SYNC]",
            reply: &[ReplyShape::Ok],
            ..CHANGES
        },
        run: Some(flush),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "help",
            arity: 2,
            flags: Flags::LOADING.union(Flags::STALE),
            complexity: "O(1)",
            summary: "Shows this help.",
            reply: &[ReplyShape::Array],
            place: Place::Node,
            ..OF_FUNCTION
        },
        run: Some(help),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "kill",
            arity: 2,
            flags: Flags::NOSCRIPT.union(Flags::ALLOW_BUSY),
            complexity: "O(1)",
            summary: "Ends the function that runs, if it has written nothing.",
            reply: &[ReplyShape::Ok],
            tips: &["request_policy:all_shards", "response_policy:one_succeeded"],
            ..OF_FUNCTION
        },
        run: Some(kill),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "list",
            arity: -2,
            complexity: "O(N), N functions",
            summary: "Lists libraries and their functions.",
            syntax: "[LIBRARYNAME library-name-pattern] [WITHCODE]",
            reply: &[ReplyShape::Array],
            tips: &["nondeterministic_output_order"],
            ..OF_FUNCTION
        },
        run: Some(list),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "load",
            arity: -3,
            code: Code::Library,
            flags: CHANGES.flags.union(Flags::DENYOOM),
            complexity: "O(1), and what the library's code does when it is loaded",
            summary: "Loads a library, whose name it answers.",
            syntax: "[REPLACE] function-code",
            reply: &[ReplyShape::Bulk],
            ..CHANGES
        },
        run: Some(load),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "restore",
            arity: -3,
            code: Code::Libraries(2),
            flags: CHANGES.flags.union(Flags::DENYOOM),
            complexity: "O(N), N libraries",
            summary: "Loads the libraries that FUNCTION DUMP has shown.",
            syntax: "serialized-value [FLUSH | APPEND | REPLACE]",
            reply: &[ReplyShape::Ok],
            ..CHANGES
        },
        run: Some(restore),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "stats",
            arity: 2,
            flags: Flags::NOSCRIPT.union(Flags::ALLOW_BUSY),
            complexity: "O(1)",
            summary: "Tells how many libraries and functions there are, and which function has run for too long.",
            reply: &[ReplyShape::Map],
            tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
            ..OF_FUNCTION
        },
        run: Some(stats),
        subcommands: &[],
    },
];
