//! Rules as ACL SETUSER takes them, one word each.
//!
//! | rule | meaning |
//! |---|---|
//! | `on` `off` | may log in, or not |
//! | `nopass` `>password` `#hash` `<password` `!hash` `resetpass` | what AUTH accepts |
//! | `+command` `-command` `+container\|sub` `-container\|sub` `+command\|first-arg` `+@category` `-@category` `allcommands` `nocommands` | commands |
//! | `~pattern` `%R~pattern` `%W~pattern` `%RW~pattern` `allkeys` `resetkeys` | keys |
//! | `&pattern` `allchannels` `resetchannels` | channels |
//! | `(rules)` `clearselectors` | further sets of commands, keys and channels |
//! | `sanitize-payload` `skip-sanitize-payload` | kept for ACL LIST |
//! | `reset` | as a new user |

use sterna_command::Table;

use super::access::Access;
use super::commands::Sign;
use super::password::Hash;
use super::selector::{Channels, FirstChannels, Keys, Selector};
use super::user::User;

/// Why a rule can't be applied. The texts are Redis's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// See the text.
    #[error("Unknown command or category name in ACL")]
    UnknownCommand,
    /// See the text.
    #[error("Allowing first-arg of a subcommand is not supported")]
    FirstArgOfSubcommand,
    /// See the text.
    #[error("Syntax error")]
    Syntax,
    /// See the text.
    #[error(
        "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try \
         'resetkeys' to start with an empty list of patterns"
    )]
    PatternAfterAll,
    /// See the text.
    #[error(
        "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. \
         Try 'resetchannels' to start with an empty list of channels"
    )]
    ChannelAfterAll,
    /// See the text.
    #[error(
        "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
    )]
    PasswordHash,
    /// See the text.
    #[error("The password you are trying to remove from the user does not exist")]
    NoSuchPassword,
    /// A selector that is not closed.
    #[error("Unmatched parenthesis in acl selector")]
    UnmatchedParenthesis,
}

/// The rules, with a selector that was split at its spaces put together again: `(+get`, `~a)` is one rule.
///
/// Error: the first rule of a selector that is not closed.
pub(super) fn whole_rules(rules: &[impl AsRef<[u8]>]) -> Result<Vec<Vec<u8>>, Vec<u8>> {
    let mut whole: Vec<Vec<u8>> = Vec::new();
    let mut open: Option<(Vec<u8>, &[u8])> = None;
    for rule in rules {
        let rule = rule.as_ref();
        let (joined, first) = match open.take() {
            Some((selector, first)) => ([&selector, rule].join(&b' '), first),
            None => (rule.to_vec(), rule),
        };
        if joined.starts_with(b"(") && !joined.ends_with(b")") {
            open = Some((joined, first));
        } else {
            whole.push(joined);
        }
    }
    match open {
        Some((_, first)) => Err(first.to_vec()),
        None => Ok(whole),
    }
}

impl User {
    /// Applies one rule; what it begins anew has these first channels. After an error the user is as before.
    pub fn apply_rule(&mut self, rule: &[u8], first: FirstChannels) -> Result<(), RuleError> {
        match rule.to_ascii_lowercase().as_slice() {
            b"" => {}
            b"on" => self.enabled = true,
            b"off" => self.enabled = false,
            b"nopass" => {
                self.nopass = true;
                self.passwords.clear();
            }
            b"resetpass" => {
                self.nopass = false;
                self.passwords.clear();
            }
            b"sanitize-payload" => self.sanitize_payload = true,
            b"skip-sanitize-payload" => self.sanitize_payload = false,
            b"clearselectors" => self.selectors.clear(),
            b"reset" => *self = User::new(self.table(), self.name(), first),
            _ => match rule {
                [b'>', password @ ..] => self.add_password(Hash::of(password)),
                [b'#', hex @ ..] => self.add_password(Hash::from_hex(hex).ok_or(RuleError::PasswordHash)?),
                [b'<', password @ ..] => self.remove_password(Hash::of(password))?,
                [b'!', hex @ ..] => {
                    self.remove_password(Hash::from_hex(hex).ok_or(RuleError::PasswordHash)?)?
                }
                [b'(', inner @ .., b')'] => self.selectors.push(parenthesised(self.table(), inner, first)?),
                _ => self.root.apply_rule(rule)?,
            },
        }
        self.unrestricted = self.root.is_everything();
        Ok(())
    }

    fn add_password(&mut self, password: Hash) {
        if !self.passwords.contains(&password) {
            self.passwords.push(password);
        }
        self.nopass = false;
    }

    fn remove_password(&mut self, password: Hash) -> Result<(), RuleError> {
        if !self.passwords.contains(&password) {
            return Err(RuleError::NoSuchPassword);
        }
        self.passwords.retain(|known| *known != password);
        Ok(())
    }
}

/// The selector that the rules between parentheses describe.
fn parenthesised(table: &'static Table, rules: &[u8], first: FirstChannels) -> Result<Selector, RuleError> {
    let mut selector = Selector::new(table, first);
    for rule in rules.split(|&byte| byte == b' ').filter(|rule| !rule.is_empty()) {
        selector.apply_rule(rule)?;
    }
    Ok(selector)
}

impl Selector {
    /// Applies a rule about commands, keys or channels.
    fn apply_rule(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        match rule.to_ascii_lowercase().as_slice() {
            b"allcommands" => self.commands.set_all(Sign::Allow),
            b"nocommands" => self.commands.set_all(Sign::Deny),
            b"allkeys" | b"~*" => self.keys = Keys::All,
            b"resetkeys" => self.keys = Keys::Matching(Vec::new()),
            b"allchannels" | b"&*" => self.channels = Channels::All,
            b"resetchannels" => self.channels = Channels::Matching(Vec::new()),
            _ => match rule {
                [b'+', b'@', category @ ..] => self.commands.set_category(Sign::Allow, category)?,
                [b'-', b'@', category @ ..] => self.commands.set_category(Sign::Deny, category)?,
                [b'+', command @ ..] => self.commands.set_command(Sign::Allow, command)?,
                [b'-', command @ ..] => self.commands.set_command(Sign::Deny, command)?,
                [b'~', pattern @ ..] => self.keys.add(without_spaces(pattern)?, Access::BOTH)?,
                [b'%', ..] if matches!(self.keys, Keys::All) => return Err(RuleError::PatternAfterAll),
                [b'%', permission @ ..] => {
                    let (access, pattern) = key_permission(permission)?;
                    self.keys.add(without_spaces(pattern)?, access)?;
                }
                [b'&', pattern @ ..] => self.channels.add(without_spaces(pattern)?)?,
                _ => return Err(RuleError::Syntax),
            },
        }
        Ok(())
    }
}

/// Splits what follows `%`: `R`, `W` or both, each once, then `~` and the pattern. Redis takes `%R` alone for a pattern
/// that is empty.
fn key_permission(permission: &[u8]) -> Result<(Access, &[u8]), RuleError> {
    let mut access = Access::NEITHER;
    let mut rest = permission;
    loop {
        match rest {
            [b'R' | b'r', after @ ..] if !access.read => {
                access.read = true;
                rest = after;
            }
            [b'W' | b'w', after @ ..] if !access.write => {
                access.write = true;
                rest = after;
            }
            [b'~', pattern @ ..] if access != Access::NEITHER => return Ok((access, pattern)),
            [] if access != Access::NEITHER => return Ok((access, rest)),
            _ => return Err(RuleError::Syntax),
        }
    }
}

/// A pattern with a space or a null character could not be written to a file and read back.
fn without_spaces(pattern: &[u8]) -> Result<&[u8], RuleError> {
    let wrong = pattern.iter().any(|&byte| byte == 0 || byte.is_ascii_whitespace());
    if wrong { Err(RuleError::Syntax) } else { Ok(pattern) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::table;

    /// The user's line of ACL LIST after `rules`, without what every line here begins with; or the error.
    fn listed(rules: &str) -> Result<String, String> {
        let rules: Vec<&str> = rules.split_whitespace().collect();
        let user = User::with_rules(table(), b"u", &rules, FirstChannels::None)
            .map_err(|error| error.to_string())?;
        let line = String::from_utf8(user.line()).unwrap();
        Ok(line.strip_prefix("user u off sanitize-payload ").map_or(line.clone(), str::to_owned))
    }

    /// As Redis 8.2 lists them.
    #[test]
    fn rules_are_listed_as_redis_lists_them() {
        let foo = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
        let rows = [
            ("", "resetchannels -@all".to_owned()),
            ("on nopass", "user u on nopass sanitize-payload resetchannels -@all".to_owned()),
            (
                "ON OFF NoPass skip-sanitize-payload",
                "user u off nopass skip-sanitize-payload resetchannels -@all".to_owned(),
            ),
            ("~ %R %RW~a* %W~b %R~c", "~ ~a* %W~b %R~c resetchannels -@all".to_owned()),
            ("%R~a %W~a ~b ~b", "~a ~b resetchannels -@all".to_owned()),
            ("~x allkeys ~*", "~* resetchannels -@all".to_owned()),
            ("allkeys resetkeys ~y", "~y resetchannels -@all".to_owned()),
            ("&foo &bar &foo", "resetchannels &foo &bar -@all".to_owned()),
            ("&foo &*", "&* -@all".to_owned()),
            (">foo >foo >bar <bar", format!("#{foo} resetchannels -@all")),
            (&format!("#{foo} !{foo}"), "resetchannels -@all".to_owned()),
            (">foo nopass resetpass", "resetchannels -@all".to_owned()),
            ("+@all -config -config|set +config", "resetchannels +@all +config".to_owned()),
            (
                "+@all +config -config|set +get -get +config|set",
                "resetchannels +@all +config -get +config|set".to_owned(),
            ),
            (
                "+client|id +client|list +config -config|get +client",
                "resetchannels -@all +config -config|get +client".to_owned(),
            ),
            (
                "+get|foo +select|0 +@read -@dangerous +@read",
                "resetchannels -@all +get|foo +select|0 -@dangerous +@read".to_owned(),
            ),
            ("+select|0 +select|1 -select", "resetchannels -@all -select".to_owned()),
            ("+@all -@dangerous +keys -keys", "resetchannels +@all -@dangerous -keys".to_owned()),
            ("-@all +@string -set nocommands allcommands", "resetchannels +@all".to_owned()),
            ("+GET +CONFIG|SET +@READ", "resetchannels -@all +get +config|set +@read".to_owned()),
            ("on >foo +@all allkeys &* reset", "resetchannels -@all".to_owned()),
        ];
        for (rules, expected) in rows {
            assert_eq!(listed(rules).unwrap(), expected, "{rules}");
        }
    }

    #[test]
    fn a_wrong_rule_is_refused_with_the_words_of_redis() {
        let unknown = "Unknown command or category name in ACL";
        let hash = "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters";
        let rows = [
            ("+foo", unknown),
            ("+@foo", unknown),
            ("-get|foo", unknown),
            ("+client|foo", unknown),
            ("+config|get|x", "Allowing first-arg of a subcommand is not supported"),
            ("+select|", "Syntax error"),
            ("foo", "Syntax error"),
            ("%~x", "Syntax error"),
            ("%RZ~foo", "Syntax error"),
            ("%RR~foo", "Syntax error"),
            ("#abc", hash),
            ("!abc", hash),
            ("<nopass", "The password you are trying to remove from the user does not exist"),
            ("(+foo)", unknown),
            ("(on)", "Syntax error"),
            ("(+get ~x", "Unmatched parenthesis in acl selector"),
        ];
        for (rule, expected) in rows {
            assert_eq!(listed(rule).unwrap_err(), expected, "{rule}");
        }
        assert!(
            listed("~* ~foo")
                .unwrap_err()
                .starts_with("Adding a pattern after the * pattern (or the 'allkeys' flag)")
        );
        assert!(
            listed("&* &foo")
                .unwrap_err()
                .starts_with("Adding a pattern after the * pattern (or the 'allchannels'")
        );
        assert_eq!(listed("~* %").unwrap_err(), listed("~* ~foo").unwrap_err());
        let apply =
            |rule: &[u8]| User::new(table(), b"u", FirstChannels::None).apply_rule(rule, FirstChannels::None);
        assert_eq!(apply(b"~a b"), Err(RuleError::Syntax));
        assert_eq!(apply(b""), Ok(()));
    }

    #[test]
    fn only_a_user_that_may_do_everything_is_unrestricted() {
        let unrestricted = |rules: &[&str]| {
            User::with_rules(table(), b"u", rules, FirstChannels::None).unwrap().is_unrestricted()
        };
        assert!(unrestricted(&["+@all", "~*", "&*"]));
        assert!(unrestricted(&["allcommands", "allkeys", "allchannels", "off"]));
        for less in [
            &["+@all", "~*"][..],
            &["~*", "&*"],
            &["+@all", "~*", "&*", "-get"],
            &["+@all", "~*", "&*", "reset"],
        ] {
            assert!(!unrestricted(less), "{less:?}");
        }
        assert!(!unrestricted(&["(+@all ~* &*)"]), "the selector allows it, request by request");
    }

    #[test]
    fn the_rules_of_a_user_make_the_same_user() {
        let rules = [
            "on",
            ">a",
            ">b",
            "~k*",
            "%R~r",
            "&c*",
            "+@all",
            "-@dangerous",
            "+config|get",
            "(+get ~x)",
            "(&y +publish)",
        ];
        let user = User::with_rules(table(), b"u", &rules, FirstChannels::None).unwrap();
        let again = User::with_rules(table(), b"u", &user.rules(), FirstChannels::All).unwrap();
        assert_eq!(again.line(), user.line());
        assert!(
            String::from_utf8(user.line())
                .unwrap()
                .ends_with("(~x resetchannels -@all +get) (resetchannels &y -@all +publish)")
        );
    }
}
