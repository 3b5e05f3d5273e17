//! Which commands a selector allows: a bit for each row of the table, and the rules that led there.
//!
//! ```text
//! bits        one for each row's number, subcommands included
//! first_args  (row, word): a row whose bit is off is allowed with this word as its first argument (`+select|0`)
//! rules       what ACL LIST shows: `-@all` or `+@all`, then the rules since, each subject at most once
//! ```
//!
//! Invariants
//! - `is_all` = every bit is on, because of `+@all` and nothing taken away since.
//! - Applying `rules` in order to a new set gives this set.
//!
//! Cost: a check is one bit; a rule is O(rows).

use sterna_command::Categories;

use super::rule::RuleError;
use sterna_command::{Row, Table};

#[derive(Debug, Clone)]
pub(super) struct CommandSet {
    table: &'static Table,
    bits: Box<[u64]>,
    first_args: Vec<(usize, Vec<u8>)>,
    is_all: bool,
    rules: Vec<String>,
}

/// Whether a rule gives or takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Allow,
    Deny,
}

impl CommandSet {
    /// No command at all.
    pub(super) fn none(table: &'static Table) -> CommandSet {
        let words = table.rows().len().div_ceil(64);
        CommandSet {
            table,
            bits: vec![0; words].into(),
            first_args: Vec::new(),
            is_all: false,
            rules: vec!["-@all".to_owned()],
        }
    }

    /// The table whose rows it counts.
    pub(super) fn table(&self) -> &'static Table {
        self.table
    }

    pub(super) fn is_all(&self) -> bool {
        self.is_all
    }

    /// Whether `row` is allowed with this first argument.
    pub(super) fn allows(&self, row: &Row, first_arg: Option<&[u8]>) -> bool {
        let bit = self.bits.get(row.id / 64).is_some_and(|word| word >> (row.id % 64) & 1 == 1);
        bit || first_arg.is_some_and(|first| {
            self.first_args.iter().any(|(id, word)| *id == row.id && word.eq_ignore_ascii_case(first))
        })
    }

    /// As ACL LIST shows them.
    pub(super) fn rules(&self) -> String {
        self.rules.join(" ")
    }

    /// `allcommands`, `+@all`, `nocommands`, `-@all`.
    pub(super) fn set_all(&mut self, sign: Sign) {
        self.bits.fill(if sign == Sign::Allow { u64::MAX } else { 0 });
        self.first_args.clear();
        self.is_all = sign == Sign::Allow;
        self.rules = vec![format!("{}@all", sign.symbol())];
    }

    /// `+@name` or `-@name`.
    pub(super) fn set_category(&mut self, sign: Sign, name: &[u8]) -> Result<(), RuleError> {
        let name = name.to_ascii_lowercase();
        if name == b"all" {
            self.set_all(sign);
            return Ok(());
        }
        let (category, name) = category_named(&name).ok_or(RuleError::UnknownCommand)?;
        for row in rows_in(self.table, category) {
            self.set_row(sign, row);
        }
        self.note(sign, &format!("@{name}"));
        Ok(())
    }

    /// `+name`, `-name`, `+name|subcommand`, `-name|subcommand` or `+name|first-argument`.
    pub(super) fn set_command(&mut self, sign: Sign, name: &[u8]) -> Result<(), RuleError> {
        if let Some(row) = self.table.find_full(name) {
            self.set_row(sign, row);
            for &id in &row.subcommands {
                self.set_row(sign, self.table.row(id));
            }
            self.note(sign, &row.full_name);
            return Ok(());
        }
        self.allow_first_arg(sign, name)
    }

    /// `+name|word`, where `name` has no subcommands.
    fn allow_first_arg(&mut self, sign: Sign, name: &[u8]) -> Result<(), RuleError> {
        let bar = name.iter().rposition(|&byte| byte == b'|').ok_or(RuleError::UnknownCommand)?;
        let (command, word) = (&name[..bar], &name[bar + 1..]);
        let row = self.table.find_full(command).ok_or(RuleError::UnknownCommand)?;
        if row.parent.is_some() {
            return Err(RuleError::FirstArgOfSubcommand);
        }
        if sign == Sign::Deny || !row.subcommands.is_empty() {
            return Err(RuleError::UnknownCommand);
        }
        let word = std::str::from_utf8(word).ok().filter(|word| !word.is_empty()).ok_or(RuleError::Syntax)?;
        let word = word.to_ascii_lowercase();
        self.first_args.retain(|(id, earlier)| *id != row.id || earlier != word.as_bytes());
        self.note(sign, &format!("{}|{word}", row.full_name));
        self.first_args.push((row.id, word.into_bytes()));
        Ok(())
    }

    fn set_row(&mut self, sign: Sign, row: &Row) {
        let (word, bit) = (row.id / 64, 1 << (row.id % 64));
        match sign {
            Sign::Allow => self.bits[word] |= bit,
            Sign::Deny => {
                self.bits[word] &= !bit;
                self.is_all = false;
            }
        }
        self.first_args.retain(|(id, _)| *id != row.id);
    }

    /// Adds a rule about `subject` and forgets earlier ones about it or a part of it.
    fn note(&mut self, sign: Sign, subject: &str) {
        self.rules.retain(|rule| {
            let earlier = &rule[1..];
            earlier != subject && earlier.strip_prefix(subject).is_none_or(|rest| !rest.starts_with('|'))
        });
        self.rules.push(format!("{}{subject}", sign.symbol()));
    }
}

impl Sign {
    fn symbol(self) -> char {
        match self {
            Sign::Allow => '+',
            Sign::Deny => '-',
        }
    }
}

fn category_named(name: &[u8]) -> Option<(Categories, &'static str)> {
    let lower = name.to_ascii_lowercase();
    Categories::NAMES.iter().copied().find(|(_, known)| known.as_bytes() == lower)
}

fn rows_in(table: &'static Table, category: Categories) -> impl Iterator<Item = &'static Row> {
    table.rows().iter().filter(move |row| row.spec.categories().contains(category))
}

/// The names of the categories, for ACL CAT.
pub fn known_categories() -> impl ExactSizeIterator<Item = &'static str> {
    Categories::NAMES.iter().map(|(_, name)| *name)
}

/// The commands of a category, for ACL CAT with a name: containers, where it is theirs, and subcommands. `None` if there is no such
/// category.
pub fn commands_in(table: &'static Table, category: &[u8]) -> Option<Vec<&'static str>> {
    let (category, _) = category_named(category)?;
    Some(rows_in(table, category).map(|row| row.full_name.as_str()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::table;

    #[test]
    fn categories_hold_commands_and_subcommands() {
        let names = commands_in(table(), b"PubSub").unwrap();
        assert!(names.contains(&"publish") && names.contains(&"pubsub|numsub"), "{names:?}");
        assert!(!names.contains(&"pubsub") && !names.contains(&"get"));
        assert_eq!(commands_in(table(), b"nosuch"), None);
        assert_eq!(known_categories().len(), 21);
    }
}
