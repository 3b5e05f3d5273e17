//! All users, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use sterna_command::Table;

use super::password::Hash;
use super::rule::{RuleError, whole_rules};
use super::selector::FirstChannels;
use super::user::User;

/// The user that a connection has before AUTH, and that `requirepass` is about.
const DEFAULT: &[u8] = b"default";

/// Users that ACL SETUSER makes.
const USERS_MAX: usize = 100_000;

/// Rules and passwords of one, those in parentheses included, and their bytes: a request on a key is compared with all of its patterns.
const RULES_MAX: usize = 4096;
const RULES_BYTES_MAX: usize = 1 << 20;

/// The users by name. There is always one named `default`.
#[derive(Debug, Clone)]
pub struct Users {
    by_name: BTreeMap<Box<[u8]>, Arc<User>>,
    default: Arc<User>,
}

/// Why ACL SETUSER changed nothing. The display is the reply, `ERR` included.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetUserError {
    /// See the text.
    #[error("ERR Usernames can't contain spaces or null characters")]
    Name,
    /// See the text.
    #[error("ERR Unmatched parenthesis in acl selector starting at '{0}'.")]
    Parenthesis(String),
    /// See the text.
    #[error("ERR There are {USERS_MAX} users already")]
    Users,
    /// See the text.
    #[error("ERR A user has at most {RULES_MAX} rules and passwords, and {RULES_BYTES_MAX} bytes of them")]
    Rules,
    /// See the text.
    #[error("ERR Error in ACL SETUSER modifier '{rule}': {error}")]
    Rule {
        /// The rule.
        rule: String,
        /// What is wrong with it.
        error: RuleError,
    },
}

impl Users {
    /// Only `default`, which may do everything without a password. `table` has the commands that rules are about.
    pub fn new(table: &'static Table) -> Users {
        let mut user = User::new(table, DEFAULT, FirstChannels::All);
        for rule in ["on", "nopass", "allcommands", "allkeys", "allchannels"] {
            let applied = user.apply_rule(rule.as_bytes(), FirstChannels::All);
            debug_assert_eq!(applied, Ok(()));
        }
        let default = Arc::new(user);
        Users { by_name: BTreeMap::from([(DEFAULT.into(), Arc::clone(&default))]), default }
    }

    /// The users of a configuration: `requirepass` is the default user's password unless one of `lines` (a name and
    /// its rules) is about it.
    ///
    /// Errors: a rule that can't be.
    pub fn of_lines<'a>(
        table: &'static Table,
        requirepass: &[u8],
        first: FirstChannels,
        lines: impl IntoIterator<Item = (&'a [u8], &'a [Vec<u8>])>,
    ) -> Result<Users, RuleError> {
        let mut users = Users::new(table);
        users.set_requirepass(requirepass);
        for (name, rules) in lines {
            users.insert(User::with_rules(table, name, rules, first)?);
        }
        Ok(users)
    }

    /// The user `default`.
    pub fn default_user(&self) -> &Arc<User> {
        &self.default
    }

    /// The user of this name.
    pub fn get(&self, name: &[u8]) -> Option<&Arc<User>> {
        self.by_name.get(name)
    }

    /// Every user, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<User>> {
        self.by_name.values()
    }

    /// The user of this name if it is enabled and has this password. `None` is WRONGPASS.
    ///
    /// The password is hashed whether the user exists or not, and compared with each of the user's in constant time.
    pub fn authenticate(&self, name: &[u8], password: &[u8]) -> Option<Arc<User>> {
        let hash = Hash::of(password);
        let user = self.get(name)?;
        let right = user.nopass || hash.is_among(&user.passwords);
        (right && user.enabled).then(|| Arc::clone(user))
    }

    /// Makes `password` the only one of the default user; an empty one lets everyone in.
    pub fn set_requirepass(&mut self, password: &[u8]) {
        let mut user = User::clone(&self.default);
        user.passwords.clear();
        user.nopass = password.is_empty();
        if !password.is_empty() {
            user.passwords.push(Hash::of(password));
        }
        self.insert(user);
    }

    /// ACL SETUSER: applies `rules` to the user, which is made if there is none, with these first channels. Returns it as it
    /// now is; nothing has changed after an error.
    pub fn set_user(
        &mut self,
        name: &[u8],
        rules: &[&[u8]],
        first: FirstChannels,
    ) -> Result<Arc<User>, SetUserError> {
        if name.iter().any(|&byte| byte == 0 || byte.is_ascii_whitespace()) {
            return Err(SetUserError::Name);
        }
        if self.by_name.len() >= USERS_MAX && self.get(name).is_none() {
            return Err(SetUserError::Users);
        }
        let table = self.default.table();
        let mut user = self.get(name).map_or_else(|| User::new(table, name, first), |user| User::clone(user));
        let rules = whole_rules(rules).map_err(|open| SetUserError::Parenthesis(lossy(&open)))?;
        for rule in rules {
            user.apply_rule(&rule, first)
                .map_err(|error| SetUserError::Rule { rule: lossy(&rule), error })?;
        }
        let rules = user.rules();
        let words = rules.iter().map(|rule| rule.split(|&byte| byte == b' ').count()).sum::<usize>();
        if words > RULES_MAX || rules.iter().map(Vec::len).sum::<usize>() > RULES_BYTES_MAX {
            return Err(SetUserError::Rules);
        }
        Ok(self.insert(user))
    }

    /// ACL DELUSER for one name: the user that is gone. `default` can't be removed: the caller refuses the name first.
    pub fn remove(&mut self, name: &[u8]) -> Option<Arc<User>> {
        if name == DEFAULT { None } else { self.by_name.remove(name) }
    }

    /// The lines that make these users again, each a name and its rules: none for a default user that `requirepass`
    /// describes.
    pub fn lines(&self, requirepass: &[u8]) -> Vec<(Vec<u8>, Vec<Vec<u8>>)> {
        let mut plain = Users::new(self.default.table());
        plain.set_requirepass(requirepass);
        let told = self.iter().filter(|user| user.name() != DEFAULT || user.line() != plain.default.line());
        told.map(|user| (user.name().to_vec(), user.rules())).collect()
    }

    /// Puts `user` in the place of the one of its name, if there is one.
    pub(super) fn put(&mut self, user: User) {
        self.insert(user);
    }

    fn insert(&mut self, user: User) -> Arc<User> {
        let user = Arc::new(user);
        if user.name() == DEFAULT {
            self.default = Arc::clone(&user);
        }
        self.by_name.insert(user.name().into(), Arc::clone(&user));
        user
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::table;

    fn line(user: &User) -> String {
        String::from_utf8(user.line()).unwrap()
    }

    #[test]
    fn the_default_user_follows_requirepass() {
        let mut users = Users::new(table());
        assert_eq!(line(users.default_user()), "user default on nopass sanitize-payload ~* &* +@all");
        assert!(users.default_user().is_unrestricted());
        assert!(users.authenticate(b"default", b"anything").is_some());
        users.set_requirepass(b"secret");
        assert!(users.authenticate(b"default", b"anything").is_none());
        assert!(users.authenticate(b"default", b"secret").is_some_and(|user| user.is_unrestricted()));
        users.set_requirepass(b"");
        assert!(users.default_user().is_nopass());
    }

    #[test]
    fn only_an_enabled_user_with_its_password_gets_in() {
        let mut users = Users::new(table());
        users.set_user(b"bob", &[b"on", b">one", b">two"], FirstChannels::None).unwrap();
        for (name, password, gets_in) in [
            ("bob", "one", true),
            ("bob", "two", true),
            ("bob", "three", false),
            ("eve", "one", false),
            ("bob", "", false),
        ] {
            assert_eq!(
                users.authenticate(name.as_bytes(), password.as_bytes()).is_some(),
                gets_in,
                "{name} {password}"
            );
        }
        users.set_user(b"bob", &[b"off"], FirstChannels::None).unwrap();
        assert!(users.authenticate(b"bob", b"one").is_none());
    }

    #[test]
    fn there_are_so_many_users_and_each_has_so_many_rules() {
        let mut users = Users::new(table());
        let set = |users: &mut Users, name: &str, rules: &[String]| {
            let rules: Vec<&[u8]> = rules.iter().map(|rule| rule.as_bytes()).collect();
            users.set_user(name.as_bytes(), &rules, FirstChannels::None).map(|_| ())
        };
        let patterns = |from: usize, to: usize| (from..to).map(|n| format!("~{n}")).collect::<Vec<_>>();
        assert_eq!(set(&mut users, "many", &patterns(0, 4000)), Ok(()));
        assert_eq!(set(&mut users, "many", &patterns(0, 4000)), Ok(()), "they are the same");
        assert_eq!(set(&mut users, "many", &patterns(4000, 4100)), Err(SetUserError::Rules));
        let selector = format!("({})", patterns(0, 100).join(" "));
        assert_eq!(set(&mut users, "many", &[selector]), Err(SetUserError::Rules));
        assert_eq!(set(&mut users, "many", &["resetkeys".to_owned(), ">password".to_owned()]), Ok(()));
        let long = |n: usize| format!("&{n}{}", "x".repeat(300_000));
        assert_eq!(set(&mut users, "many", &[long(1), long(2), long(3)]), Ok(()));
        assert_eq!(set(&mut users, "many", &[long(4)]), Err(SetUserError::Rules));
        for n in users.by_name.len()..USERS_MAX {
            let default = Arc::clone(&users.default);
            users.by_name.insert(n.to_string().into_bytes().into(), default);
        }
        assert_eq!(set(&mut users, "one more", &[]), Err(SetUserError::Name));
        assert_eq!(set(&mut users, "one-more", &[]), Err(SetUserError::Users));
        assert_eq!(set(&mut users, "many", &[]), Ok(()));
        assert!(users.remove(b"many").is_some());
        assert_eq!(set(&mut users, "one-more", &[]), Ok(()));
    }

    #[test]
    fn setting_a_user_is_all_or_nothing() {
        let mut users = Users::new(table());
        let error = users.set_user(b"nn", &[b"+get", b"+foo"], FirstChannels::None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "ERR Error in ACL SETUSER modifier '+foo': Unknown command or category name in ACL"
        );
        assert!(users.get(b"nn").is_none());
        let before = line(&users.set_user(b"nn", &[b"+get", b"(+set", b"~x)"], FirstChannels::None).unwrap());
        assert_eq!(
            before,
            "user nn off sanitize-payload resetchannels -@all +get (~x resetchannels -@all +set)"
        );
        let error = users.set_user(b"nn", &[b"on", b"(+get", b"~y"], FirstChannels::None).unwrap_err();
        assert_eq!(error.to_string(), "ERR Unmatched parenthesis in acl selector starting at '(+get'.");
        let error = users.set_user(b"nn", &[b"(+get ~y) "], FirstChannels::None).unwrap_err();
        assert_eq!(error.to_string(), "ERR Unmatched parenthesis in acl selector starting at '(+get ~y) '.");
        assert_eq!(line(users.get(b"nn").unwrap()), before);
        assert_eq!(
            users.set_user(b"a b", &[], FirstChannels::None).unwrap_err().to_string(),
            "ERR Usernames can't contain spaces or null characters"
        );
    }

    #[test]
    fn a_changed_default_user_is_the_default_user() {
        let mut users = Users::new(table());
        users.set_user(b"default", &[b"-@dangerous"], FirstChannels::None).unwrap();
        assert!(!users.default_user().is_unrestricted());
        assert!(users.remove(b"default").is_none());
        users.set_user(b"bob", &[], FirstChannels::None).unwrap();
        assert!(users.remove(b"bob").is_some() && users.remove(b"bob").is_none());
        assert_eq!(users.iter().map(|user| user.name()).collect::<Vec<_>>(), [b"default"]);
    }

    #[test]
    fn users_come_from_lines_and_go_back_to_lines() {
        type Lines = Vec<(Vec<u8>, Vec<Vec<u8>>)>;
        let line = |name: &str, rules: &[&str]| {
            (name.as_bytes().to_vec(), rules.iter().map(|rule| rule.as_bytes().to_vec()).collect::<Vec<_>>())
        };
        let users = |lines: &Lines| {
            Users::of_lines(
                table(),
                b"pass",
                FirstChannels::None,
                lines.iter().map(|(name, rules)| (&name[..], &rules[..])),
            )
        };
        assert_eq!(users(&Lines::new()).unwrap().lines(b"pass"), []);
        let with_bob = users(&vec![line("bob", &["on", ">p", "~*", "+@read"])]).unwrap();
        assert!(with_bob.authenticate(b"bob", b"p").is_some());
        assert!(with_bob.authenticate(b"default", b"pass").is_some());
        let lines = with_bob.lines(b"pass");
        assert_eq!(lines.len(), 1);
        assert_eq!(users(&lines).unwrap().lines(b"pass"), lines);

        // A line about `default` says everything about it, as in Redis.
        let other = users(&vec![line("default", &["on", ">other"])]).unwrap();
        assert!(other.authenticate(b"default", b"pass").is_none());
        assert!(other.authenticate(b"default", b"other").is_some());
        assert!(!other.default_user().is_unrestricted());
        assert_eq!(other.lines(b"pass").len(), 1);
        let unknown = users(&vec![line("eve", &["+nosuch"])]);
        assert_eq!(unknown.unwrap_err(), RuleError::UnknownCommand);
    }

    #[test]
    fn new_users_and_selectors_have_the_first_channels_and_those_that_are_there_keep_theirs() {
        let mut users = Users::new(table());
        let set = |users: &mut Users, name: &str, rules: &[&[u8]], first| {
            line(&users.set_user(name.as_bytes(), rules, first).unwrap())
        };
        let (none, all) = (FirstChannels::None, FirstChannels::All);
        let before = set(&mut users, "before", &[b"+get"], none);
        assert_eq!(before, "user before off sanitize-payload resetchannels -@all +get");
        // As Redis 8.2 lists them with `acl-pubsub-default allchannels`.
        let after = set(&mut users, "after", &[b"+get", b"(+set ~x)"], all);
        assert_eq!(after, "user after off sanitize-payload &* -@all +get (~x &* -@all +set)");
        assert_eq!(set(&mut users, "before", &[], all), before);
        let own = set(&mut users, "own", &[b"resetchannels", b"&news"], all);
        assert_eq!(own, "user own off sanitize-payload resetchannels &news -@all");
        assert_eq!(set(&mut users, "own", &[b"reset"], all), "user own off sanitize-payload &* -@all");
        assert_eq!(
            set(&mut users, "own", &[b"reset"], none),
            "user own off sanitize-payload resetchannels -@all"
        );
    }
}
