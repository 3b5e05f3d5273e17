//! `rename-command`: what clients call a command here.
//!
//! Only the name by which a client calls changes. The row stays what it is, and so does everything that is about rows: rules
//! of users, COMMAND, statistics. Source: redis.conf; the texts are Redis's.

use hashbrown::HashMap;
use sterna_command::{Row, Table, Unresolved};
use sterna_protocol::Args;

use crate::config::RenamedCommand;

/// Names that mean something else than in the table, in lower case: the name there, or `None` for no command at all.
#[derive(Debug, Default)]
pub(crate) struct Renames(HashMap<Vec<u8>, Option<Vec<u8>>>);

/// No name of a command is longer, or can be made so.
const NAME_BYTES_MAX: usize = 128;

impl Renames {
    /// Carries out `lines` one after the other. Error: what is wrong with the first that can't be.
    pub(crate) fn of(table: &Table, lines: &[RenamedCommand]) -> Result<Renames, String> {
        let mut renames = Renames::default();
        for RenamedCommand { from, to } in lines {
            let (from, to) = (from.to_ascii_lowercase(), to.to_ascii_lowercase());
            let Some(meant) = renames.meant_by(table, &from) else {
                return Err("No such command in rename-command".to_owned());
            };
            renames.0.insert(from, None);
            if to.is_empty() {
                continue;
            }
            if to.len() > NAME_BYTES_MAX || renames.meant_by(table, &to).is_some() {
                return Err("Target command name already exists".to_owned());
            }
            renames.0.insert(to, Some(meant));
        }
        Ok(renames)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The table's name of the command that is called so.
    fn meant_by(&self, table: &Table, name: &[u8]) -> Option<Vec<u8>> {
        match self.0.get(name) {
            Some(meant) => meant.clone(),
            None => table.find(name).map(|row| row.spec.name.as_bytes().to_vec()),
        }
    }

    /// What clients call the command that the table calls so; `None`: nothing.
    pub(crate) fn name_of(&self, meant: &'static str) -> Option<&[u8]> {
        let renamed = self.0.iter().find(|(_, of)| of.as_deref() == Some(meant.as_bytes()));
        match renamed {
            Some((name, _)) => Some(name),
            None => Some(meant.as_bytes()).filter(|name| !self.0.contains_key(*name)),
        }
    }

    /// The row that a request means.
    pub(crate) fn resolve(&self, table: &'static Table, args: Args<'_>) -> Result<&'static Row, Unresolved> {
        let name = args.get(0).unwrap_or_default();
        let known = (name.len() <= NAME_BYTES_MAX).then(|| self.0.get(&name.to_ascii_lowercase())).flatten();
        match known {
            Some(None) => Err(Unresolved::Command),
            Some(Some(meant)) => {
                table.resolve(args.len(), |at| if at == 0 { Some(meant) } else { args.get(at) })
            }
            None => table.resolve(args.len(), |at| args.get(at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table::table;
    use sterna_protocol::OwnedArgs;

    fn renames(lines: &[(&str, &str)]) -> Result<Renames, String> {
        let line = |(from, to): &(&str, &str)| RenamedCommand { from: (*from).into(), to: (*to).into() };
        Renames::of(table(), &lines.iter().map(line).collect::<Vec<_>>())
    }

    fn row(renames: &Renames, request: &[&str]) -> Option<&'static str> {
        let args: OwnedArgs = request.iter().collect();
        renames.resolve(table(), args.args()).ok().map(|row| row.full_name.as_str())
    }

    #[test]
    fn a_renamed_command_goes_by_its_new_name_only() {
        let renames =
            renames(&[("CONFIG", "Secret"), ("flushall", ""), ("get", "set2"), ("set2", "get")]).unwrap();
        for (request, expected) in [
            (&["config", "get", "x"][..], None),
            (&["SECRET", "GET", "x"], Some("config|get")),
            (&["secret", "nosuch"], None),
            (&["FLUSHALL"], None),
            (&["get", "k"], Some("get")),
            (&["set2", "k"], None),
            (&["ping"], Some("ping")),
        ] {
            assert_eq!(row(&renames, request), expected, "{request:?}");
        }
        for (meant, name) in
            [("config", Some("secret")), ("flushall", None), ("get", Some("get")), ("ping", Some("ping"))]
        {
            assert_eq!(renames.name_of(meant), name.map(str::as_bytes), "{meant}");
        }
    }

    #[test]
    fn what_cannot_be_renamed_is_told() {
        let no_command = "No such command in rename-command";
        for (lines, expected) in [
            (&[("gett", "x")][..], no_command),
            (&[("get", ""), ("get", "x")], no_command),
            (&[("get", "set")], "Target command name already exists"),
            (&[("get", "x"), ("set", "X")], "Target command name already exists"),
        ] {
            assert_eq!(renames(lines).unwrap_err(), expected, "{lines:?}");
        }
    }
}
