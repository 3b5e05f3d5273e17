//! What can be said about an option: its row in the table of `options`.

use super::options::{Config, OPTIONS};
use super::value::{Kind, Phase, ValueError};

/// One row.
#[derive(Debug)]
pub struct OptionRow {
    /// As redis.conf spells it.
    pub name: &'static str,
    /// Heading in the reference page.
    pub section: Section,
    /// What it takes.
    pub kind: Kind,
    /// Who may change it when.
    pub mutability: Mutability,
    /// Values that Redis accepts and Sterna doesn't, in lower case: a warning in a file, an error at run time.
    pub unsupported: &'static [&'static str],
    /// For the reference page.
    pub doc: &'static str,
    pub(super) assign: Assign,
    pub(super) text: fn(&Config, Kind) -> Vec<u8>,
    pub(super) lines: fn(&Config, Kind) -> Vec<Vec<Vec<u8>>>,
}

/// Reads words into the row's field.
type Assign = fn(&mut Config, &[&[u8]], Kind, Phase) -> Result<(), ValueError>;

/// Headings of the reference page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Addresses and sockets.
    Network,
    /// Certificates and TLS versions.
    Tls,
    /// Passwords and users.
    Security,
    /// Other nodes.
    Cluster,
    /// What one client may use up.
    Clients,
    /// Channels that remember.
    Channels,
    /// Keys, their memory and their events.
    Data,
    /// What survives a restart.
    Persistence,
    /// Logs and timings.
    Observability,
    /// The process itself.
    Process,
}

/// When an option may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutability {
    /// CONFIG SET changes it.
    RunTime,
    /// Read at the start only.
    Start,
    /// As `Start`: CONFIG SET of it could be used to write files where a client has no business.
    Protected,
    /// A line of its own, which neither CONFIG GET nor CONFIG SET knows.
    Line,
}

/// Names that options had in earlier versions of Redis, which every place that takes a name takes.
const FORMER: &[(&str, &str)] = &[
    ("lua-time-limit", "busy-reply-threshold"),
    ("hash-max-ziplist-entries", "hash-max-listpack-entries"),
    ("hash-max-ziplist-value", "hash-max-listpack-value"),
    ("list-max-ziplist-size", "list-max-listpack-size"),
    ("zset-max-ziplist-entries", "zset-max-listpack-entries"),
    ("zset-max-ziplist-value", "zset-max-listpack-value"),
];

impl OptionRow {
    /// The row of this name, or of one that it had once, in any case.
    pub fn named(name: &[u8]) -> Option<&'static OptionRow> {
        OptionRow::found(name).map(|(_, row)| row)
    }

    /// As [`OptionRow::named`], with the name that it was found by.
    pub(super) fn found(name: &[u8]) -> Option<(&'static str, &'static OptionRow)> {
        let former = FORMER.iter().find(|(former, _)| former.as_bytes().eq_ignore_ascii_case(name));
        let now = former.map_or(name, |(_, name)| name.as_bytes());
        let row = OPTIONS.iter().find(|row| row.name.as_bytes().eq_ignore_ascii_case(now))?;
        Some((former.map_or(row.name, |(former, _)| former), row))
    }

    /// Every name of every row, the former ones last.
    pub(super) fn names() -> impl Iterator<Item = (&'static str, &'static OptionRow)> {
        let former =
            FORMER.iter().filter_map(|&(former, name)| Some((former, OptionRow::named(name.as_bytes())?)));
        OPTIONS.iter().map(|row| (row.name, row)).chain(former)
    }

    /// Whether its value must not be shown or logged.
    pub fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Secret) || ["user", "pusher-app"].contains(&self.name)
    }

    /// As CONFIG GET answers it.
    pub fn text(&self, config: &Config) -> Vec<u8> {
        (self.text)(config, self.kind)
    }

    /// The words after the name, one list for each line of redis.conf.
    pub(super) fn lines(&self, config: &Config) -> Vec<Vec<Vec<u8>>> {
        (self.lines)(config, self.kind)
    }

    /// Whether a line with an empty value takes back what the lines before it have said.
    pub(super) fn can_be_emptied(&self) -> bool {
        let mut config = Config::default();
        self.kind.takes_several() && self.assign(&mut config, &[b""], Phase::Load).is_ok()
    }

    /// Reads `words` into `config`, which is unchanged after an error.
    pub(super) fn assign(
        &self,
        config: &mut Config,
        words: &[&[u8]],
        phase: Phase,
    ) -> Result<(), ValueError> {
        if words.len() != 1 && !self.kind.takes_several() {
            return Err(ValueError::WrongNumber);
        }
        let is_unsupported =
            |value: &&&str| words.iter().any(|word| word.eq_ignore_ascii_case(value.as_bytes()));
        if let Some(value) = self.unsupported.iter().find(is_unsupported) {
            return Err(ValueError::Unsupported(value));
        }
        (self.assign)(config, words, self.kind, phase)
    }
}
