//! CLIENT: what is known of the connections, and what can be done to them.
//!
//! | file | subcommands |
//! |---|---|
//! | `list` | ID, INFO, LIST |
//! | `filter` | which clients LIST and KILL mean |
//! | `kill` | KILL |
//! | `names` | GETNAME, SETNAME, SETINFO |
//! | `switches` | REPLY, NO-EVICT, NO-TOUCH, RESUME |
//! | `pause` | PAUSE, UNPAUSE, UNBLOCK |
//! | `tracking` | TRACKING, CACHING, TRACKINGINFO, GETREDIR |
//!
//! MAINT_NOTIFICATIONS is an unknown subcommand, so that no client believes it will be told.

mod filter;
mod kill;
mod list;
mod names;
mod pause;
mod switches;
mod tracking;

use sterna_command::{Categories, Command, Flags, Group, Keys, Place, ReplyShape, Spec};

use super::Run;
use super::help::help;

const BASE: Spec = Spec {
    name: "",
    arity: 2,
    flags: Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE).union(Flags::KEEPS_CACHING),
    keys: Keys::None,
    acl: Categories::CONNECTION,
    group: Group::Connection,
    since: "2.4.0",
    complexity: "O(1)",
    summary: "",
    syntax: "",
    reply: &[ReplyShape::Ok],
    tips: &[],
    place: Place::Connection,
    ..Spec::PLAIN
};

/// What is about other clients than the caller.
const ADMIN: Flags = BASE.flags.union(Flags::ADMIN);

const ON_ALL_NODES: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

const fn row(spec: Spec, run: Run) -> Command<Run> {
    Command { spec, run: Some(run), subcommands: &[] }
}

/// Rows of this folder.
pub(super) static ROWS: &[Command<Run>] = &[Command {
    spec: Spec {
        name: "client",
        arity: -2,
        flags: Flags::empty(),
        acl: Categories::empty(),
        complexity: "Depends on the subcommand.",
        summary: "Tells of connections, and changes, holds back or closes them.",
        reply: &[],
        ..BASE
    },
    run: None,
    subcommands: &[
        tracking::CACHING,
        names::GETNAME,
        tracking::GETREDIR,
        row(
            Spec {
                name: "help",
                flags: Flags::LOADING.union(Flags::STALE).union(Flags::KEEPS_CACHING),
                since: "5.0.0",
                summary: "Prints this text.",
                reply: &[ReplyShape::Array],
                ..BASE
            },
            help,
        ),
        list::ID,
        list::INFO,
        kill::KILL,
        list::LIST,
        switches::NO_EVICT,
        switches::NO_TOUCH,
        pause::PAUSE,
        switches::REPLY,
        switches::RESUME,
        names::SETINFO,
        names::SETNAME,
        tracking::TRACKING,
        tracking::TRACKINGINFO,
        pause::UNBLOCK,
        pause::UNPAUSE,
    ],
}];
