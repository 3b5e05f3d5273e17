//! Errors of commands of this crate, as the client gets them.

use std::borrow::Cow;

/// The client asked for what can't be: its text on the wire, without the leading `-`. The connection goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    text: Cow<'static, [u8]>,
    standing: Standing,
}

/// What is to be done with an error beside answering it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// INFO errorstats counts it.
    New,
    /// INFO errorstats has it already: a script failed with what its command answered.
    Counted,
    /// It is not answered: nothing was done, and the request is to be read again when the keys are free.
    KeysTaken,
    /// The same, when no script runs.
    TurnTaken,
    /// The same, when nobody else changes settings.
    SettingsTaken,
    /// The same, when a file has been read.
    FileAwaited,
    /// The same, when CLIENT PAUSE has ended.
    Paused,
}

impl Failure {
    /// An error with a fixed text.
    pub(crate) const fn of(text: &'static str) -> Failure {
        Failure { text: Cow::Borrowed(text.as_bytes()), standing: Standing::New }
    }

    /// An error whose text is made for the occasion.
    pub(crate) fn text(text: impl Into<Vec<u8>>) -> Failure {
        Failure { text: Cow::Owned(text.into()), standing: Standing::New }
    }

    pub(crate) const SYNTAX: Failure = Failure::of("ERR syntax error");
    pub(crate) const NOT_INTEGER: Failure = Failure::of("ERR value is not an integer or out of range");
    pub(crate) const NO_AUTH: Failure = Failure::of("NOAUTH Authentication required.");
    pub(crate) const WRONG_PASS: Failure =
        Failure::of("WRONGPASS invalid username-password pair or user is disabled.");

    /// Somebody has the keys to himself for a moment.
    pub(crate) const KEYS_TAKEN: Failure = Failure {
        text: Cow::Borrowed(b"BUSY Redis is busy running a transaction."),
        standing: Standing::KeysTaken,
    };

    /// Somebody else has the Lua state, or a script the keys.
    pub(crate) const TURN_TAKEN: Failure = Failure {
        text: Cow::Borrowed(b"BUSY Redis is busy running a script."),
        standing: Standing::TurnTaken,
    };

    /// Somebody else changes settings.
    pub(crate) const SETTINGS_TAKEN: Failure = Failure {
        text: Cow::Borrowed(b"BUSY Redis is busy changing its settings."),
        standing: Standing::SettingsTaken,
    };

    /// A file is being read.
    pub(crate) const FILE_AWAITED: Failure = Failure {
        text: Cow::Borrowed(b"BUSY Redis is busy reading a file."),
        standing: Standing::FileAwaited,
    };

    /// It may write, and writes are paused.
    pub(crate) const PAUSED: Failure = Failure {
        text: Cow::Borrowed(b"BUSY Redis is busy: writes are paused."),
        standing: Standing::Paused,
    };

    /// Too few or too many arguments for `name`, which for a subcommand is `container|name`.
    pub(crate) fn arity(name: &str) -> Failure {
        Failure::text(format!("ERR wrong number of arguments for '{name}' command"))
    }

    /// More arguments than `name` takes in one request.
    pub(crate) fn too_many_arguments(name: &str, most: usize) -> Failure {
        Failure::text(format!(
            "ERR wrong number of arguments for '{name}' command: it takes at most {most} in one request"
        ))
    }

    /// More bytes than the command takes in one request.
    pub(crate) fn too_long(name: &str, most: usize) -> Failure {
        Failure::text(format!("ERR the request is too long: '{name}' takes at most {most} bytes"))
    }

    /// Names of more bytes, one or all together, than the command takes in one request.
    pub(crate) fn names_too_long(name: &str, one: usize, all: usize) -> Failure {
        Failure::text(format!(
            "ERR the request is too long: '{name}' takes names of at most {one} bytes, {all} together"
        ))
    }

    /// As it goes on the wire.
    pub(crate) fn wire(&self) -> &[u8] {
        &self.text
    }

    /// The same, counted already or not.
    pub(crate) fn counted(mut self, is_counted: bool) -> Failure {
        self.standing = if is_counted { Standing::Counted } else { Standing::New };
        self
    }

    /// Whether it is among those counted by INFO errorstats.
    pub(crate) fn is_counted(&self) -> bool {
        self.standing == Standing::Counted
    }

    /// Whether nothing was done, because somebody else has the Lua state, or a script has the keys.
    pub(crate) fn is_turn_taken(&self) -> bool {
        self.standing == Standing::TurnTaken
    }

    /// Whether nothing was done, because somebody else changes settings.
    pub(crate) fn is_settings_taken(&self) -> bool {
        self.standing == Standing::SettingsTaken
    }

    /// Whether nothing was done, because a file is being read for it.
    pub(crate) fn is_file_awaited(&self) -> bool {
        self.standing == Standing::FileAwaited
    }

    /// Whether nothing was done, because writes are paused.
    pub(crate) fn is_paused(&self) -> bool {
        self.standing == Standing::Paused
    }

    /// Whether nothing was done, and the request waits.
    #[inline]
    pub(crate) fn is_put_off(&self) -> bool {
        !matches!(self.standing, Standing::New | Standing::Counted)
    }
}
