//! COMMAND: the command table, for clients.
//!
//! | file | what |
//! |---|---|
//! | `info` | COMMAND and COMMAND INFO: arity, flags, categories, key specifications |
//! | `docs`, `syntax` | COMMAND DOCS: what a row says for people, and its arguments as a tree |
//! | `keys`, `key_specs` | COMMAND GETKEYS: the keys of a request |
//! | `page` | `docs/commands.md` |

mod deprecated;
mod docs;
mod info;
mod key_specs;
mod keys;
mod page;
mod syntax;

use sterna_command::{Categories, Command, Flags, Group, Keys, Place, ReplyShape, Secrets, Spec};
use sterna_protocol::argument;
use sterna_pubsub::glob;

use super::help::help;
use super::table::{Row, table};
use super::{Call, Failure, Run};
pub use page::commands_page;

const BASE: Spec = Spec {
    name: "",
    arity: -2,
    flags: Flags::LOADING.union(Flags::STALE),
    keys: Keys::None,
    acl: Categories::CONNECTION,
    group: Group::Server,
    since: "2.8.13",
    complexity: "O(N), N commands",
    summary: "",
    syntax: "",
    reply: &[ReplyShape::Array],
    tips: &[],
    place: Place::Node,
    ..Spec::PLAIN
};

const IN_NO_ORDER: &[&str] = &["nondeterministic_output_order"];

const fn row(spec: Spec, run: Run) -> Command<Run> {
    Command { spec, run: Some(run), subcommands: &[] }
}

/// Rows of this folder.
pub(super) static ROWS: &[Command<Run>] = &[Command {
    spec: Spec {
        name: "command",
        arity: -1,
        summary: "Tells of every command what a client must know of it.",
        tips: IN_NO_ORDER,
        ..BASE
    },
    run: Some(info::every),
    subcommands: &[
        row(
            Spec {
                name: "count",
                arity: 2,
                complexity: "O(1)",
                summary: "Counts the commands.",
                reply: &[ReplyShape::Integer],
                ..BASE
            },
            |call| {
                call.reply.int(table().commands().count() as i64);
                Ok(())
            },
        ),
        row(
            Spec {
                name: "docs",
                since: "7.0.0",
                summary: "Describes commands for people: all, or those named.",
                syntax: "[command-name [command-name ...]]",
                reply: &[ReplyShape::Map],
                tips: IN_NO_ORDER,
                ..BASE
            },
            docs::docs,
        ),
        row(
            Spec {
                name: "getkeys",
                arity: -3,
                secrets: Secrets::Request(2),
                complexity: "O(N), N arguments",
                summary: "Finds the keys among the arguments of a command.",
                syntax: "command [arg [arg ...]]",
                ..BASE
            },
            keys::getkeys,
        ),
        row(
            Spec {
                name: "getkeysandflags",
                arity: -3,
                secrets: Secrets::Request(2),
                since: "7.0.0",
                complexity: "O(N), N arguments",
                summary: "Finds the keys among the arguments of a command, and tells what the command does with each.",
                syntax: "command [arg [arg ...]]",
                ..BASE
            },
            keys::getkeysandflags,
        ),
        row(
            Spec {
                name: "help",
                arity: 2,
                since: "5.0.0",
                complexity: "O(1)",
                summary: "Prints this text.",
                ..BASE
            },
            help,
        ),
        row(
            Spec {
                name: "info",
                summary: "Tells of commands what a client must know of them: all, or those named.",
                syntax: "[command-name [command-name ...]]",
                tips: IN_NO_ORDER,
                ..BASE
            },
            info::named,
        ),
        row(
            Spec {
                name: "list",
                since: "7.0.0",
                summary: "Lists the names of all commands and subcommands, or of those in a category or matching a pattern.",
                syntax: "[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]",
                tips: IN_NO_ORDER,
                ..BASE
            },
            list,
        ),
    ],
}];

fn list(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let is = |at: usize, word: &str| args.get(at).is_some_and(|arg| argument::eq_ignore_case(arg, word));
    let wanted = args.get(4).unwrap_or_default();
    let mut names: Vec<&str> = match args.len() {
        2 => names(|_| true),
        // There are no modules.
        5 if is(2, "FILTERBY") && is(3, "MODULE") => Vec::new(),
        5 if is(2, "FILTERBY") && is(3, "ACLCAT") => {
            crate::acl::commands_in(table(), wanted).unwrap_or_default()
        }
        5 if is(2, "FILTERBY") && is(3, "PATTERN") => {
            let wanted = glob::without_runs_of_stars(wanted);
            names(|row| glob::matches_ignore_case(&wanted, row.full_name.as_bytes()))
        }
        _ => return Err(Failure::SYNTAX),
    };
    names.sort_unstable();
    call.reply.array(names.len());
    names.iter().for_each(|name| call.reply.bulk(name.as_bytes()));
    Ok(())
}

/// Names of the rows, subcommands included, that `are_wanted`.
fn names(are_wanted: impl Fn(&Row) -> bool) -> Vec<&'static str> {
    table().rows().iter().filter(|row| are_wanted(row)).map(|row| row.full_name.as_str()).collect()
}
