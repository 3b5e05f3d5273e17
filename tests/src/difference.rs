//! Where Sterna answers otherwise than Redis, on purpose: the one list, which is also the documentation.
//!
//! A script marks the step with `differs=name`; the comparison fails if the name isn't here, and also if the replies
//! no longer differ. `docs/differences.md` is written from this list.

/// One difference.
#[derive(Debug)]
pub struct Difference {
    /// As scripts call it.
    pub name: &'static str,
    /// What Redis answers or does.
    pub redis: &'static str,
    /// What Sterna answers or does.
    pub sterna: &'static str,
    /// Why.
    pub reason: &'static str,
}

/// The difference of this name.
pub fn named(name: &str) -> Option<&'static Difference> {
    DIFFERENCES.iter().find(|difference| difference.name == name)
}

/// All differences that the tests meet, in the order of the page.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        name: "crlf",
        redis: "passes over the two bytes behind a bulk string, whatever they are",
        sterna: "answers `ERR Protocol error: invalid CRLF in request` and closes the connection if they are not CRLF, \
                 as Valkey 9 does",
        reason: "A client that has lost its place in its own request is told so before it does harm.",
    },
    Difference {
        name: "nul",
        redis: "cuts names and arguments in the texts of errors at a zero byte",
        sterna: "shows them whole",
        reason: "A zero byte ends nothing here; names are bytes.",
    },
];

/// A part of COMMAND INFO in which a command differs.
#[derive(Debug)]
pub struct CommandDifference {
    /// The command, or `container|subcommand`; `*` is any.
    pub command: &'static str,
    /// The part, as the test calls it.
    pub part: &'static str,
    /// Why.
    pub reason: &'static str,
}

/// Why this part of this command's COMMAND INFO differs, if it may.
pub fn of_command(command: &str, part: &str) -> Option<&'static CommandDifference> {
    COMMAND_DIFFERENCES
        .iter()
        .find(|difference| difference.part == part && (difference.command == "*" || difference.command == command))
}

/// Where COMMAND INFO differs.
pub const COMMAND_DIFFERENCES: &[CommandDifference] = &[];
