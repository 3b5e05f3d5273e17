//! Rows of the commands about scripts.

use sterna_command::{
    Categories, Code, Command, Flags, Group, KeyUse, KeyUses, Keys, Place, ReplyShape, Spec,
};

use super::{ScriptRun, eval, evalsha, exists, flush, help, kill, load};

pub(super) const BASE: Spec = Spec {
    name: "",
    flags: Flags::NOSCRIPT,
    acl: Categories::SCRIPTING,
    group: Group::Scripting,
    since: "2.6.0",
    complexity: "Depends on the script.",
    place: Place::Leader,
    ..Spec::PLAIN
};

/// What a script returns.
const ANY: &[ReplyShape] = &[
    ReplyShape::Null,
    ReplyShape::Integer,
    ReplyShape::Bulk,
    ReplyShape::Simple,
    ReplyShape::Array,
    ReplyShape::Map,
    ReplyShape::Set,
    ReplyShape::Double,
    ReplyShape::Boolean,
    ReplyShape::Verbatim,
];

pub(super) const RUNS: Spec = Spec {
    arity: -3,
    flags: Flags::NOSCRIPT.union(Flags::STALE).union(Flags::RUNS_SCRIPT).union(Flags::NO_MANDATORY_KEYS),
    keys: Keys::Counted { count_at: 2 },
    uses: KeyUses::Each(KeyUse::READS_AND_UPDATES),
    reply: ANY,
    ..BASE
};

pub(super) const READS: Spec = Spec {
    flags: RUNS.flags.union(Flags::READONLY),
    uses: KeyUses::Each(KeyUse::READS),
    since: "7.0.0",
    ..RUNS
};

/// Rows of this file.
pub(super) static ROWS: &[Command<ScriptRun>] = &[
    Command {
        spec: Spec {
            name: "eval",
            code: Code::Script(1),
            summary: "Runs a Lua script.",
            syntax: "script numkeys [key [key ...]] [arg [arg ...]]",
            ..RUNS
        },
        run: Some(eval),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "eval_ro",
            code: Code::Script(1),
            summary: "Runs a Lua script that writes nothing.",
            syntax: "script numkeys [key [key ...]] [arg [arg ...]]",
            ..READS
        },
        run: Some(eval),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "evalsha",
            summary: "Runs a Lua script that the server knows by its SHA1.",
            syntax: "sha1 numkeys [key [key ...]] [arg [arg ...]]",
            ..RUNS
        },
        run: Some(evalsha),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "evalsha_ro",
            summary: "Runs a Lua script that the server knows by its SHA1 and that writes nothing.",
            syntax: "sha1 numkeys [key [key ...]] [arg [arg ...]]",
            ..READS
        },
        run: Some(evalsha),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "script",
            arity: -2,
            flags: Flags::empty(),
            acl: Categories::empty(),
            complexity: "Depends on the subcommand.",
            summary: "Loads, finds, forgets and ends Lua scripts.",
            ..BASE
        },
        run: None,
        subcommands: SCRIPT,
    },
];

static SCRIPT: &[Command<ScriptRun>] = &[
    Command {
        spec: Spec {
            name: "exists",
            arity: -3,
            flags: BASE.flags.union(Flags::EVERY_GROUP),
            complexity: "O(N), N scripts asked for",
            summary: "Tells which scripts the server knows by their SHA1.",
            syntax: "sha1 [sha1 ...]",
            reply: &[ReplyShape::Array],
            tips: &["request_policy:all_shards", "response_policy:agg_logical_and"],
            ..BASE
        },
        run: Some(exists),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "flush",
            arity: -2,
            flags: BASE.flags.union(Flags::EVERY_GROUP),
            complexity: "O(N), N scripts known",
            summary: "Forgets all scripts.",
            syntax: "[ASYNC | SYNC]",
            reply: &[ReplyShape::Ok],
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            ..BASE
        },
        run: Some(flush),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "help",
            arity: 2,
            flags: Flags::LOADING.union(Flags::STALE),
            since: "5.0.0",
            complexity: "O(1)",
            summary: "Shows this help.",
            reply: &[ReplyShape::Array],
            place: Place::Node,
            ..BASE
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
            summary: "Ends the script that runs, if it has written nothing.",
            reply: &[ReplyShape::Ok],
            tips: &["request_policy:all_shards", "response_policy:one_succeeded"],
            ..BASE
        },
        run: Some(kill),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "load",
            arity: 3,
            code: Code::Script(2),
            flags: Flags::NOSCRIPT.union(Flags::STALE).union(Flags::EVERY_GROUP),
            complexity: "O(N), N bytes of the script",
            summary: "Has the server know a script by its SHA1, which it answers.",
            syntax: "script",
            reply: &[ReplyShape::Bulk],
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            ..BASE
        },
        run: Some(load),
        subcommands: &[],
    },
];
