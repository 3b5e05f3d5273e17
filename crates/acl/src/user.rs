//! A user.

use sterna_command::Table;

use super::access::Access;
use super::password::Hash;
use super::rule::{RuleError, whole_rules};
use super::selector::{FirstChannels, Selector};

/// A name, what AUTH accepts for it, and what it may do.
#[derive(Debug, Clone)]
pub struct User {
    name: Box<[u8]>,
    pub(super) enabled: bool,
    /// AUTH accepts anything; then there are no `passwords`.
    pub(super) nopass: bool,
    pub(super) sanitize_payload: bool,
    /// AUTH accepts any of them. In the order in which they were given, each once.
    pub(super) passwords: Vec<Hash>,
    /// The user's own rules.
    pub(super) root: Selector,
    /// The rules in parentheses.
    pub(super) selectors: Vec<Selector>,
    /// `root` allows everything.
    pub(super) unrestricted: bool,
}

impl User {
    /// A user that may do nothing, whatever its first channels are, and can't log in. `table` has the commands that its rules
    /// will be about.
    pub fn new(table: &'static Table, name: &[u8], first: FirstChannels) -> User {
        User {
            name: name.into(),
            enabled: false,
            nopass: false,
            sanitize_payload: true,
            passwords: Vec::new(),
            root: Selector::new(table, first),
            selectors: Vec::new(),
            unrestricted: false,
        }
    }

    /// A user with these rules, or the first one that can't be.
    pub fn with_rules(
        table: &'static Table,
        name: &[u8],
        rules: &[impl AsRef<[u8]>],
        first: FirstChannels,
    ) -> Result<User, RuleError> {
        let mut user = User::new(table, name, first);
        let rules = whole_rules(rules).map_err(|_| RuleError::UnmatchedParenthesis)?;
        rules.iter().try_for_each(|rule| user.apply_rule(rule, first))?;
        Ok(user)
    }

    /// The table whose commands its rules are about.
    pub(super) fn table(&self) -> &'static Table {
        self.root.commands.table()
    }

    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Whether it may run every command on every key and channel, so that no request of it needs a check.
    #[inline]
    pub fn is_unrestricted(&self) -> bool {
        self.unrestricted
    }

    /// Whether it can log in.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Whether no password is asked for.
    pub fn is_nopass(&self) -> bool {
        self.nopass
    }

    /// Whether a command may show the user the value of `key`.
    pub fn may_read(&self, key: &[u8]) -> bool {
        self.unrestricted || self.selectors().any(|selector| selector.keys.allow(key, Access::READ))
    }

    /// Its own rules and those in parentheses.
    pub(super) fn selectors(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(&self.root).chain(&self.selectors)
    }
}
