//! A selector: one set of commands, keys and channels. A request must be allowed by one of them as a whole.

use sterna_command::Table;
use sterna_pubsub::glob;

use super::access::Access;
use super::commands::CommandSet;
use super::rule::RuleError;

#[derive(Debug, Clone)]
pub(super) struct Selector {
    pub(super) commands: CommandSet,
    pub(super) keys: Keys,
    pub(super) channels: Channels,
}

/// The keys that may be accessed.
#[derive(Debug, Clone)]
pub(super) enum Keys {
    All,
    Matching(Vec<KeyPattern>),
}

/// Keys that may be accessed in one way.
#[derive(Debug, Clone)]
pub(super) struct KeyPattern {
    pub(super) pattern: Vec<u8>,
    pub(super) access: Access,
}

/// The channels that may be used.
#[derive(Debug, Clone)]
pub(super) enum Channels {
    All,
    Matching(Vec<Vec<u8>>),
}

/// The channels that a user or selector has before any rule is applied: `acl-pubsub-default`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FirstChannels {
    /// None.
    #[default]
    None,
    /// Every channel.
    All,
}

impl FirstChannels {
    fn channels(self) -> Channels {
        match self {
            FirstChannels::None => Channels::Matching(Vec::new()),
            FirstChannels::All => Channels::All,
        }
    }
}

impl Selector {
    /// Allows nothing but its first channels.
    pub(super) fn new(table: &'static Table, first: FirstChannels) -> Selector {
        Selector {
            commands: CommandSet::none(table),
            keys: Keys::Matching(Vec::new()),
            channels: first.channels(),
        }
    }

    /// Allows everything there is and will be.
    pub(super) fn is_everything(&self) -> bool {
        self.commands.is_all() && matches!(self.keys, Keys::All) && matches!(self.channels, Channels::All)
    }
}

impl Keys {
    pub(super) fn add(&mut self, pattern: &[u8], access: Access) -> Result<(), RuleError> {
        let Keys::Matching(patterns) = self else { return Err(RuleError::PatternAfterAll) };
        match patterns.iter_mut().find(|known| known.pattern == pattern) {
            Some(known) => known.access = known.access.or(access),
            None => patterns.push(KeyPattern { pattern: pattern.to_vec(), access }),
        }
        Ok(())
    }

    /// Whether every key may be read.
    pub(super) fn allow_reading_all(&self) -> bool {
        match self {
            Keys::All => true,
            Keys::Matching(patterns) => {
                patterns.iter().any(|known| known.access.includes(Access::READ) && known.pattern == b"*")
            }
        }
    }

    /// Whether one pattern that begins with `prefix`, letter for letter, lets `key` be accessed in this way.
    pub(super) fn allow_named(&self, key: &[u8], prefix: &[u8], access: Access) -> bool {
        match self {
            Keys::All => false,
            Keys::Matching(patterns) => patterns.iter().any(|known| {
                known.access.includes(access)
                    && known.pattern.starts_with(prefix)
                    && glob::matches(&known.pattern, key)
            }),
        }
    }

    /// Whether one pattern lets `key` be accessed in this way.
    pub(super) fn allow(&self, key: &[u8], access: Access) -> bool {
        match self {
            Keys::All => true,
            Keys::Matching(patterns) => patterns
                .iter()
                .any(|known| known.access.includes(access) && glob::matches(&known.pattern, key)),
        }
    }
}

impl Channels {
    pub(super) fn add(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        let Channels::Matching(patterns) = self else { return Err(RuleError::ChannelAfterAll) };
        if !patterns.iter().any(|known| known == pattern) {
            patterns.push(pattern.to_vec());
        }
        Ok(())
    }

    /// Whether messages may be sent to or received from `channel`.
    pub(super) fn allow(&self, channel: &[u8]) -> bool {
        match self {
            Channels::All => true,
            Channels::Matching(patterns) => patterns.iter().any(|known| glob::matches(known, channel)),
        }
    }

    /// Whether `pattern` may be subscribed to. It must be one of the user's, letter for letter: nobody can say whether
    /// one pattern includes another.
    pub(super) fn allow_pattern(&self, pattern: &[u8]) -> bool {
        match self {
            Channels::All => true,
            Channels::Matching(patterns) => patterns.iter().any(|known| known == pattern),
        }
    }
}
