//! The command table of this server, and what runs each row: a function of this crate or one of the keyspace.

use std::sync::LazyLock;

use sterna_command::Command;
pub use sterna_command::{Row, Table, Unresolved};
use sterna_protocol::Args;

use super::script::ScriptRun;
use super::{Failure, Run};

/// Where a command runs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Runs {
    /// In the keyspace, with the partitions of its keys locked.
    Keys(&'static Command<sterna_keyspace::Run>),
    /// Here.
    Server(Run),
    /// Here, with the Lua state to itself.
    Script(ScriptRun),
    /// Its subcommands do.
    Container,
}

/// The rows, and what runs each: `runs[row.id]`.
struct Commands {
    table: Table,
    runs: Vec<Runs>,
}

static COMMANDS: LazyLock<Commands> = LazyLock::new(|| {
    let (mut table, mut runs) = (Table::default(), Vec::new());
    for command in super::rows() {
        table.add(command, &mut |_, command| runs.push(command.run.map_or(Runs::Container, Runs::Server)));
    }
    for command in super::script::ROWS.iter().copied().flatten() {
        table.add(command, &mut |_, command| runs.push(command.run.map_or(Runs::Container, Runs::Script)));
    }
    for command in sterna_keyspace::COMMANDS {
        table.add(command, &mut |_, command| {
            runs.push(command.run.map_or(Runs::Container, |_| Runs::Keys(command)));
        });
    }
    Commands { table, runs }
});

/// The table of this server.
#[inline]
pub fn table() -> &'static Table {
    &COMMANDS.table
}

/// What runs `row`.
#[inline]
pub(crate) fn runs(row: &Row) -> Runs {
    COMMANDS.runs[row.id]
}

impl Failure {
    /// What a client is told whose request `args` means no row that can run.
    pub(crate) fn unresolved(unresolved: Unresolved, args: Args<'_>) -> Failure {
        match unresolved {
            Unresolved::Command => unknown_command(args),
            Unresolved::Subcommand(row) => unknown_subcommand(row, args.get(1).unwrap_or_default()),
            Unresolved::Arity(row) if !row.is_container && row.spec.accepts(args.len()) => {
                Failure::too_many_arguments(&row.full_name, row.spec.arguments_max())
            }
            Unresolved::Arity(row) => Failure::arity(&row.full_name),
        }
    }
}

/// Bytes of arguments that the text of an unknown command shows. Source: Redis stops after the argument that passes it.
const SHOWN_ARGS_BYTES: usize = 128;

fn unknown_command(args: Args<'_>) -> Failure {
    let mut text = b"ERR unknown command '".to_vec();
    text.extend(args.get(0).unwrap_or_default().iter().take(SHOWN_ARGS_BYTES));
    text.extend_from_slice(b"', with args beginning with: ");
    let mut shown = 0;
    for arg in args.iter().skip(1) {
        if shown >= SHOWN_ARGS_BYTES {
            break;
        }
        let start = text.len();
        text.push(b'\'');
        text.extend(arg.iter().take(SHOWN_ARGS_BYTES - shown));
        text.extend_from_slice(b"' ");
        shown += text.len() - start;
    }
    Failure::text(text)
}

fn unknown_subcommand(row: &Row, name: &[u8]) -> Failure {
    let mut text = b"ERR unknown subcommand '".to_vec();
    text.extend(name.iter().take(SHOWN_ARGS_BYTES));
    text.extend_from_slice(b"'. Try ");
    text.extend(row.spec.name.to_ascii_uppercase().bytes());
    text.extend_from_slice(b" HELP.");
    Failure::text(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_command::RecentRows;

    /// In whatever order and spelling, more than are remembered, twice each, with arguments that are too few or many.
    #[test]
    fn what_is_remembered_of_recent_rows_is_what_the_table_says() {
        let mut recent = RecentRows::default();
        let names = table().commands().map(|row| row.spec.name.as_bytes().to_vec());
        let names = names.chain([b"nothing".to_vec(), b"".to_vec(), vec![b'x'; 100]]);
        for name in names.flat_map(|name| [name.to_ascii_uppercase(), name]) {
            for len in [1, 2, 3, 2, 1, 9] {
                let words: Vec<&[u8]> =
                    std::iter::once(&name[..]).chain([&b"get"[..]; 8]).take(len).collect();
                let argument = |at: usize| words.get(at).copied();
                let expected = table().resolve(len, argument).map(|row| row.id);
                assert_eq!(
                    recent
                        .resolve(table(), len, argument)
                        .map(|row| row.id)
                        .map_err(|error| error.row().map(|row| row.id)),
                    expected.map_err(|error| error.row().map(|row| row.id)),
                    "{}",
                    name.escape_ascii()
                );
            }
        }
    }
}
