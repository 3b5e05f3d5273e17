//! ACL: users, what they may do, and what they were denied.
//!
//! | file | subcommands |
//! |---|---|
//! | `users` | SETUSER, DELUSER, GETUSER, LIST, USERS, WHOAMI: and how a change reaches every connection |
//! | `questions` | CAT, DRYRUN, GENPASS |
//! | `log` | LOG |
//! | `file` | LOAD, SAVE |
//!
//! Users last as `user` lines, which CONFIG REWRITE writes, or in a file of their own (`aclfile`): one or the other.

pub(crate) mod file;
pub(crate) mod log;
mod questions;
mod users;

use sterna_command::{Categories, Command, Flags, Group, Keys, Place, ReplyShape, Spec};
use sterna_protocol::Args;

pub(super) use self::file::{loaded, read_users};
pub(super) use self::log::Context;
use super::help::help;
use super::table::Row;
use super::{Call, Failure, Run};
use crate::acl::{Denied, FirstChannels};
use crate::config::{AclPubsubDefault, Config};
use crate::shard::Shard;

/// What new users have, as the configuration says it.
pub(crate) fn first_channels(config: &Config) -> FirstChannels {
    match config.acl_pubsub_default {
        AclPubsubDefault::ResetChannels => FirstChannels::None,
        AclPubsubDefault::AllChannels => FirstChannels::All,
    }
}

const BASE: Spec = Spec {
    name: "",
    arity: 2,
    flags: Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE),
    keys: Keys::None,
    acl: Categories::empty(),
    group: Group::Server,
    since: "6.0.0",
    complexity: "O(1)",
    summary: "",
    syntax: "",
    reply: &[ReplyShape::Array],
    tips: &[],
    place: Place::Node,
    ..Spec::PLAIN
};

const ADMIN: Flags = BASE.flags.union(Flags::ADMIN);

const ON_ALL_NODES: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

const fn row(spec: Spec, run: Run) -> Command<Run> {
    Command { spec, run: Some(run), subcommands: &[] }
}

/// Rows of this folder.
pub(super) static ROWS: &[Command<Run>] = &[Command {
    spec: Spec {
        name: "acl",
        arity: -2,
        flags: Flags::empty(),
        complexity: "Depends on the subcommand.",
        summary: "Says who may do what.",
        reply: &[],
        ..BASE
    },
    run: None,
    subcommands: &[
        questions::CAT,
        users::DELUSER,
        questions::DRYRUN,
        questions::GENPASS,
        users::GETUSER,
        row(
            Spec {
                name: "help",
                flags: Flags::LOADING.union(Flags::STALE),
                summary: "Prints this text.",
                ..BASE
            },
            help,
        ),
        users::LIST,
        file::LOAD,
        log::LOG,
        file::SAVE,
        users::SETUSER,
        users::USERS,
        users::WHOAMI,
    ],
}];

impl Shard {
    /// Whether a command that was queued by MULTI is still allowed: the user's rules may have changed since.
    pub(super) fn check_again(&mut self, slot: usize, row: &Row, args: Args<'_>) -> Result<(), Failure> {
        let Some(user) = &self.connections[slot].user else { return Ok(()) };
        let Err(denied) = crate::acl::check(user, row, args, &|key| self.config.retained_channel(key)) else {
            return Ok(());
        };
        let reason = match denied {
            Denied::Command { .. } => "no permission to execute the command or subcommand",
            Denied::Key { .. } | Denied::Patterns { .. } => "no permission to touch the specified keys",
            Denied::Channel { .. } => "no permission to access one of the channels used as arguments",
        };
        self.note_denied(slot, row, &denied, Context::Multi);
        Err(Failure::text(format!(
            "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This \
             command is no longer allowed for the following reason: {reason}"
        )))
    }
}

/// The subcommand has more arguments than it takes. Source: Redis says it so where the table can't.
fn too_many(call: &Call<'_>) -> Failure {
    let name = &call.args[1];
    Failure::text(
        [b"ERR unknown subcommand or wrong number of arguments for '", name, b"'. Try ACL HELP."].concat(),
    )
}
