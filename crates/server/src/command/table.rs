//! The command table: every row of this crate and of the keyspace, numbered, and found by name in any case.
//!
//! A row's number is its place in ACL bitsets and in the statistics of INFO; subcommands have numbers of their own and
//! follow their container.

use std::sync::LazyLock;

use hashbrown::HashMap;
use sterna_command::{Command, Flags, Spec};
use sterna_protocol::Args;

use super::{Failure, Run};

/// A command as the dispatcher sees it.
#[derive(Debug)]
pub struct Row {
    /// Its place in the table.
    pub id: usize,
    /// What is said of it.
    pub spec: &'static Spec,
    /// Lower case; a subcommand's is `container|name`.
    pub full_name: String,
    /// The container's number, if it is a subcommand.
    pub parent: Option<usize>,
    /// Numbers of its subcommands, in alphabetical order.
    pub subcommands: Vec<usize>,
    /// PUBLISH or SPUBLISH: what may go on with an open run of messages.
    pub(crate) is_publication: bool,
    pub(crate) run: Runs,
}

/// Where a command runs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Runs {
    /// In the keyspace, with the partitions of its keys locked.
    Keys(&'static Command<sterna_keyspace::Run>),
    /// Here.
    Server(Run),
    /// Its subcommands do.
    Container,
}

/// All rows.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Row>,
    by_name: HashMap<&'static [u8], usize>,
}

/// The row of the last request. Pipelines repeat a command in the same spelling, and then one comparison finds it.
#[derive(Debug, Default)]
pub(crate) struct LastRow {
    name: Vec<u8>,
    row: Option<&'static Row>,
}

impl LastRow {
    /// As [`Table::resolve`].
    #[inline]
    pub(crate) fn resolve(&mut self, args: Args<'_>) -> Result<&'static Row, Failure> {
        match self.row {
            Some(row) if args.get(0) == Some(&self.name) && row.spec.accepts(args.len()) => Ok(row),
            _ => self.look_up(args),
        }
    }

    fn look_up(&mut self, args: Args<'_>) -> Result<&'static Row, Failure> {
        let row = table().resolve(args)?;
        // With subcommands the name alone doesn't say which.
        self.row = (row.parent.is_none() && row.subcommands.is_empty()).then_some(row);
        self.name.clear();
        self.name.extend_from_slice(args.get(0).unwrap_or_default());
        Ok(row)
    }
}

/// Longest command name, for looking one up without allocating.
const NAME_BYTES_MAX: usize = 32;

/// The table of this server.
pub fn table() -> &'static Table {
    static TABLE: LazyLock<Table> = LazyLock::new(Table::build);
    &TABLE
}

impl Table {
    fn build() -> Table {
        let mut table = Table { rows: Vec::new(), by_name: HashMap::new() };
        for command in super::rows() {
            table.add(command, None, |command| command.run.map(Runs::Server));
        }
        for command in sterna_keyspace::COMMANDS {
            table.add(command, None, |command| command.run.map(|_| Runs::Keys(command)));
        }
        table
    }

    fn add<R>(
        &mut self,
        command: &'static Command<R>,
        parent: Option<usize>,
        runs: fn(&'static Command<R>) -> Option<Runs>,
    ) -> usize {
        let spec = &command.spec;
        let full_name = match parent {
            Some(parent) => format!("{}|{}", self.rows[parent].spec.name, spec.name),
            None => spec.name.to_owned(),
        };
        let run = runs(command).unwrap_or(Runs::Container);
        // A container that both crates have rows of (OBJECT here, say) is one row with the subcommands of both.
        let existing = if parent.is_none() { self.by_name.get(spec.name.as_bytes()).copied() } else { None };
        let id = existing.unwrap_or(self.rows.len());
        if existing.is_none() {
            let is_publication = matches!(spec.name, "publish" | "spublish");
            self.rows.push(Row { id, spec, full_name, parent, subcommands: Vec::new(), is_publication, run });
            if parent.is_none() {
                self.by_name.insert(spec.name.as_bytes(), id);
            }
        }
        for subcommand in command.subcommands {
            let child = self.add(subcommand, Some(id), runs);
            self.rows[id].subcommands.push(child);
        }
        let mut subcommands = std::mem::take(&mut self.rows[id].subcommands);
        subcommands.sort_by_key(|&child| self.rows[child].spec.name);
        self.rows[id].subcommands = subcommands;
        id
    }

    /// Every row, subcommands behind their containers.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Row `id`.
    pub fn row(&'static self, id: usize) -> &'static Row {
        &self.rows[id]
    }

    /// Rows that are not subcommands.
    pub fn commands(&'static self) -> impl Iterator<Item = &'static Row> {
        self.rows.iter().filter(|row| row.parent.is_none())
    }

    /// The command of this name, in any case; not a subcommand.
    #[inline]
    pub fn find(&'static self, name: &[u8]) -> Option<&'static Row> {
        let mut lower = [0; NAME_BYTES_MAX];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.by_name.get(&*lower).map(|&id| &self.rows[id])
    }

    /// The subcommand of `row` of this name, in any case.
    pub fn find_subcommand(&'static self, row: &Row, name: &[u8]) -> Option<&'static Row> {
        row.subcommands
            .iter()
            .map(|&id| &self.rows[id])
            .find(|row| row.spec.name.as_bytes().eq_ignore_ascii_case(name))
    }

    /// The row of `name` or `container|name`, in any case.
    pub fn find_full(&'static self, name: &[u8]) -> Option<&'static Row> {
        match name.iter().position(|&b| b == b'|') {
            None => self.find(name),
            Some(bar) => self.find_subcommand(self.find(&name[..bar])?, &name[bar + 1..]),
        }
    }

    /// The row that a request means. Errors: no such command or subcommand, or not as many arguments as it takes.
    #[inline]
    pub(crate) fn resolve(&'static self, args: Args<'_>) -> Result<&'static Row, Failure> {
        let Some(row) = args.get(0).and_then(|name| self.find(name)) else {
            return Err(unknown_command(args));
        };
        let row = if row.subcommands.is_empty() {
            row
        } else {
            match args.get(1) {
                Some(name) => match self.find_subcommand(row, name) {
                    Some(subcommand) => subcommand,
                    None => return Err(unknown_subcommand(row, name)),
                },
                None => row,
            }
        };
        if !row.spec.accepts(args.len()) || (matches!(row.run, Runs::Container)) {
            return Err(Failure::arity(&row.full_name));
        }
        Ok(row)
    }
}

impl Row {
    pub(crate) fn has(&self, flag: Flags) -> bool {
        self.spec.flags.contains(flag)
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
