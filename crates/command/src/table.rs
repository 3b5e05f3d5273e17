//! The command table: every row of the server, numbered, and found by name in any case.
//!
//! A row's number is its place in ACL bitsets and in the statistics of INFO; subcommands have numbers of their own and
//! follow their container. What runs a row is known to whoever filled the table, and to nobody else.
//!
//! Cost: finding a row by name is one hash of at most [`NAME_BYTES_MAX`] bytes and allocates nothing.

use std::fmt;

use hashbrown::HashMap;

use crate::{Command, Flags, Spec};

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

/// Longest name that is remembered.
const RECENT_BYTES_MAX: usize = 23;

/// A name in its spelling, and its row.
#[derive(Debug, Clone, Copy, Default)]
struct Recent {
    len: u8,
    name: [u8; RECENT_BYTES_MAX],
    row: Option<&'static Row>,
}

impl Recent {
    #[inline]
    fn name(&self) -> &[u8] {
        &self.name[..usize::from(self.len)]
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
        let name = argument(0).unwrap_or_default();
        let place = place_of(name);
        let recent = &self.0[place];
        match recent.row {
            Some(row) if recent.name() == name && row.spec.takes(len) => Ok(row),
            _ => self.find(table, place, len, argument),
        }
    }

    fn find<'a>(
        &mut self,
        table: &'static Table,
        place: usize,
        len: usize,
        argument: impl Fn(usize) -> Option<&'a [u8]>,
    ) -> Result<&'static Row, Unresolved> {
        let row = table.resolve(len, &argument)?;
        let name = argument(0).unwrap_or_default();
        // With subcommands the name alone doesn't say which.
        if row.parent.is_none() && row.subcommands.is_empty() && name.len() <= RECENT_BYTES_MAX {
            let recent = &mut self.0[place];
            recent.name[..name.len()].copy_from_slice(name);
            (recent.len, recent.row) = (name.len() as u8, Some(row));
        }
        Ok(row)
    }
}

/// Where a name is remembered: its first three letters and the last one tell most commands apart.
#[inline]
fn place_of(name: &[u8]) -> usize {
    let Some(&[a, b, c]) = name.first_chunk() else { return 0 };
    let last = name.last().map_or(0, |&last| usize::from(last));
    (usize::from(a) ^ usize::from(b) << 1 ^ usize::from(c) << 2 ^ last << 3 ^ name.len()) % RECENT_MAX
}

impl Row {
    /// Whether the row has this flag.
    #[inline]
    pub fn has(&self, flag: Flags) -> bool {
        self.spec.flags.contains(flag)
    }
}
