//! The command table: every row of the server, numbered, and found by name in any case.
//!
//! A row's number is its place in ACL bitsets and in the statistics of INFO; subcommands have numbers of their own and
//! follow their container. What runs a row is known to whoever filled the table, and to nobody else.
//!
//! Cost: finding a row by name is one hash of at most [`NAME_BYTES_MAX`] bytes and allocates nothing.

use std::fmt;

use hashbrown::HashMap;

use crate::{Command, Flags, Group, ReplyShape, Spec};

/// A command or subcommand in its place.
#[derive(Debug)]
pub struct Row {
    /// Its number in the table.
    pub id: usize,
    /// What is said of it.
    pub spec: &'static Spec,
    /// Lower case; a subcommand's is `container|name`.
    pub full_name: String,
    /// The container's number, if it is a subcommand.
    pub parent: Option<usize>,
    /// Numbers of its subcommands, in alphabetical order.
    pub subcommands: Vec<usize>,
    /// Only its subcommands run; the name alone is no request.
    pub is_container: bool,
}

/// All rows.
#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
    by_name: HashMap<&'static [u8], usize>,
}

/// Why a request means no row that can run.
#[derive(Debug, Clone, Copy)]
pub enum Unresolved {
    /// No command has this name.
    Command,
    /// The container has no such subcommand.
    Subcommand(&'static Row),
    /// The row takes another number of arguments, or fewer in one request, or is a container that was named alone.
    Arity(&'static Row),
}

impl Unresolved {
    /// The row that was meant, if the request was wrong in its number of arguments only.
    pub fn row(self) -> Option<&'static Row> {
        match self {
            Unresolved::Arity(row) => Some(row),
            Unresolved::Command | Unresolved::Subcommand(_) => None,
        }
    }
}

/// Rows of the last requests, by their names as they were spelled. Clients and scripts repeat a few commands, and then one
/// comparison finds the row.
#[derive(Debug)]
pub struct RecentRows([Recent; RECENT_MAX]);

/// How many rows are remembered at most. Each has one place, and is found anew where another one has taken it.
const RECENT_MAX: usize = 64;

/// A name in its spelling, and its row.
#[derive(Debug, Clone, Copy, Default)]
struct Recent {
    name: Word,
    row: Option<&'static Row>,
    /// Arguments that the row takes, the name included.
    args_min: usize,
    args_max: usize,
}

/// A name as numbers, which are compared in no time: its first bytes and its last, which overlap unless it has 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Word {
    first: u64,
    last: u64,
    len: usize,
}

impl Word {
    /// `None`: there is no name, or it has more than 16 bytes.
    #[inline(always)]
    fn of(name: &[u8]) -> Option<Word> {
        let (first, last) = match name {
            [] => return None,
            [.., last] if name.len() < 4 => {
                (u64::from(name[0]) | u64::from(name[name.len() / 2]) << 8, u64::from(*last))
            }
            _ if name.len() < 8 => {
                let (first, last) = (name.first_chunk()?, name.last_chunk()?);
                (u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into())
            }
            _ if name.len() <= 16 => {
                (u64::from_le_bytes(*name.first_chunk()?), u64::from_le_bytes(*name.last_chunk()?))
            }
            _ => return None,
        };
        Some(Word { first, last, len: name.len() })
    }

    /// Where it is remembered.
    #[inline]
    fn place(self) -> usize {
        // The odd number next to 2^64 divided by the golden ratio: its multiples are spread evenly.
        let spread = (self.first ^ self.last.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (spread >> (64 - RECENT_MAX.ilog2())) as usize
    }
}

/// Longest command name, for finding one without allocating.
const NAME_BYTES_MAX: usize = 32;

impl Table {
    /// Adds a command and its subcommands; `added` learns the number of each.
    ///
    /// A container that was added before (by another crate, say) keeps its row and gets the further subcommands.
    pub fn add<R>(
        &mut self,
        command: &'static Command<R>,
        added: &mut impl FnMut(usize, &'static Command<R>),
    ) {
        let id = match self.by_name.get(command.spec.name.as_bytes()) {
            Some(&id) => id,
            None => {
                let id = self.push(command, None);
                self.by_name.insert(command.spec.name.as_bytes(), id);
                added(id, command);
                id
            }
        };
        for subcommand in command.subcommands {
            let child = self.push(subcommand, Some(id));
            added(child, subcommand);
            self.rows[id].subcommands.push(child);
        }
        let mut subcommands = std::mem::take(&mut self.rows[id].subcommands);
        subcommands.sort_by_key(|&child| self.rows[child].spec.name);
        self.rows[id].subcommands = subcommands;
    }

    fn push<R>(&mut self, command: &'static Command<R>, parent: Option<usize>) -> usize {
        let (id, spec) = (self.rows.len(), &command.spec);
        let full_name = match parent {
            Some(parent) => format!("{}|{}", self.rows[parent].spec.name, spec.name),
            None => spec.name.to_owned(),
        };
        let is_container = command.run.is_none();
        self.rows.push(Row { id, spec, full_name, parent, subcommands: Vec::new(), is_container });
        id
    }

    /// Every row, subcommands behind their containers.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Row `id`.
    pub fn row(&self, id: usize) -> &Row {
        &self.rows[id]
    }

    /// Rows that are not subcommands.
    pub fn commands(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.parent.is_none())
    }

    /// The command of this name, in any case; not a subcommand.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<&Row> {
        let mut lower = [0; NAME_BYTES_MAX];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.by_name.get(&*lower).map(|&id| &self.rows[id])
    }

    /// The subcommand of `row` of this name, in any case.
    pub fn find_subcommand(&self, row: &Row, name: &[u8]) -> Option<&Row> {
        row.subcommands
            .iter()
            .map(|&id| &self.rows[id])
            .find(|row| row.spec.name.as_bytes().eq_ignore_ascii_case(name))
    }

    /// The row of `name` or `container|name`, in any case.
    pub fn find_full(&self, name: &[u8]) -> Option<&Row> {
        match name.iter().position(|&b| b == b'|') {
            None => self.find(name),
            Some(bar) => self.find_subcommand(self.find(&name[..bar])?, &name[bar + 1..]),
        }
    }

    /// The row that a request means whose first words are these: a container's subcommand if the second names one.
    pub fn find_request(&self, name: &[u8], second: Option<&[u8]>) -> Option<&Row> {
        let row = self.find(name)?;
        match second {
            Some(second) if !row.subcommands.is_empty() => self.find_subcommand(row, second),
            _ => Some(row),
        }
    }

    /// The row that a request of `len` arguments means, of which `argument` returns each.
    #[inline]
    pub fn resolve<'a>(
        &'static self,
        len: usize,
        argument: impl Fn(usize) -> Option<&'a [u8]>,
    ) -> Result<&'static Row, Unresolved> {
        let Some(row) = argument(0).and_then(|name| self.find(name)) else {
            return Err(Unresolved::Command);
        };
        let row = match argument(1) {
            Some(name) if !row.subcommands.is_empty() => {
                self.find_subcommand(row, name).ok_or(Unresolved::Subcommand(row))?
            }
            _ => row,
        };
        if row.spec.takes(len) && !row.is_container { Ok(row) } else { Err(Unresolved::Arity(row)) }
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({} rows)", self.rows.len())
    }
}

impl Default for RecentRows {
    fn default() -> Self {
        RecentRows([Recent::default(); RECENT_MAX])
    }
}

impl RecentRows {
    /// As [`Table::resolve`].
    #[inline]
    pub fn resolve<'a>(
        &mut self,
        table: &'static Table,
        len: usize,
        argument: impl Fn(usize) -> Option<&'a [u8]>,
    ) -> Result<&'static Row, Unresolved> {
        let Some(name) = argument(0).and_then(Word::of) else { return table.resolve(len, argument) };
        let recent = &self.0[name.place()];
        match recent.row {
            Some(row) if recent.name == name && (recent.args_min..=recent.args_max).contains(&len) => Ok(row),
            _ => self.find(table, name, len, argument),
        }
    }

    fn find<'a>(
        &mut self,
        table: &'static Table,
        name: Word,
        len: usize,
        argument: impl Fn(usize) -> Option<&'a [u8]>,
    ) -> Result<&'static Row, Unresolved> {
        let row = table.resolve(len, &argument)?;
        // With subcommands the name alone doesn't say which.
        if row.parent.is_none() && row.subcommands.is_empty() {
            let (args_min, args_max) = row.spec.arguments();
            self.0[name.place()] = Recent { name, row: Some(row), args_min, args_max };
        }
        Ok(row)
    }
}

impl Row {
    /// Whether the row has this flag.
    #[inline]
    pub fn has(&self, flag: Flags) -> bool {
        self.spec.flags.contains(flag)
    }

    /// Whether it changes subscriptions, and answers by pushes that confirm this, whatever CLIENT REPLY says.
    #[inline]
    pub fn confirms(&self) -> bool {
        self.spec.group == Group::Pubsub && self.spec.reply.contains(&ReplyShape::Push)
    }
}
