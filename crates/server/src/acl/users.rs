//! All users, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::password::Hash;
use super::rule::{RuleError, whole_rules};
use super::user::User;
use crate::config::{Config, UserLine};

/// The user that a connection has before AUTH, and that `requirepass` is about.
const DEFAULT: &[u8] = b"default";

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
    #[error("ERR Error in ACL SETUSER modifier '{rule}': {error}")]
    Rule {
        /// The rule.
        rule: String,
        /// What is wrong with it.
        error: RuleError,
    },
}

impl Users {
    /// The users of the configuration: `requirepass` is the default user's password unless a `user` line is about it.
    ///
    /// Errors: a rule that can't be; [`Config::load`] has refused such a line before.
    pub fn from_config(config: &Config) -> Result<Users, RuleError> {
        let mut users = Users::default();
        users.set_requirepass(&config.requirepass);
        for line in &config.users {
            users.insert(User::with_rules(&line.name, &line.rules)?);
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

    /// ACL SETUSER: applies `rules` to the user, which is made if there is none. Returns it as it now is; nothing has
    /// changed after an error.
    pub fn set_user(&mut self, name: &[u8], rules: &[&[u8]]) -> Result<Arc<User>, SetUserError> {
        if name.iter().any(|&byte| byte == 0 || byte.is_ascii_whitespace()) {
            return Err(SetUserError::Name);
        }
        let mut user = self.get(name).map_or_else(|| User::new(name), |user| User::clone(user));
        let rules = whole_rules(rules).map_err(|open| SetUserError::Parenthesis(lossy(&open)))?;
        for rule in rules {
            user.apply_rule(&rule).map_err(|error| SetUserError::Rule { rule: lossy(&rule), error })?;
        }
        Ok(self.insert(user))
    }

    /// ACL DELUSER for one name: the user that is gone. `default` can't be removed: the caller refuses the name first.
    pub fn remove(&mut self, name: &[u8]) -> Option<Arc<User>> {
        if name == DEFAULT { None } else { self.by_name.remove(name) }
    }

    /// The `user` lines that make these users, for CONFIG REWRITE: none for a default user that `requirepass` describes.
    pub fn lines(&self, config: &Config) -> Vec<UserLine> {
        let mut plain = Users::default();
        plain.set_requirepass(&config.requirepass);
        let told = self.iter().filter(|user| user.name() != DEFAULT || user.line() != plain.default.line());
        told.map(|user| UserLine { name: user.name().to_vec(), rules: user.rules() }).collect()
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

/// Only `default`, which may do everything without a password.
impl Default for Users {
    fn default() -> Users {
        let mut user = User::new(DEFAULT);
        for rule in ["on", "nopass", "allcommands", "allkeys", "allchannels"] {
            let applied = user.apply_rule(rule.as_bytes());
            debug_assert_eq!(applied, Ok(()));
        }
        let default = Arc::new(user);
        Users { by_name: BTreeMap::from([(DEFAULT.into(), Arc::clone(&default))]), default }
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(user: &User) -> String {
        String::from_utf8(user.line()).unwrap()
    }

    #[test]
    fn the_default_user_follows_requirepass() {
        let mut users = Users::default();
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
        let mut users = Users::default();
        users.set_user(b"bob", &[b"on", b">one", b">two"]).unwrap();
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
        users.set_user(b"bob", &[b"off"]).unwrap();
        assert!(users.authenticate(b"bob", b"one").is_none());
    }

    #[test]
    fn setting_a_user_is_all_or_nothing() {
        let mut users = Users::default();
        let error = users.set_user(b"nn", &[b"+get", b"+foo"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "ERR Error in ACL SETUSER modifier '+foo': Unknown command or category name in ACL"
        );
        assert!(users.get(b"nn").is_none());
        let before = line(&users.set_user(b"nn", &[b"+get", b"(+set", b"~x)"]).unwrap());
        assert_eq!(
            before,
            "user nn off sanitize-payload resetchannels -@all +get (~x resetchannels -@all +set)"
        );
        let error = users.set_user(b"nn", &[b"on", b"(+get", b"~y"]).unwrap_err();
        assert_eq!(error.to_string(), "ERR Unmatched parenthesis in acl selector starting at '(+get'.");
        assert_eq!(line(users.get(b"nn").unwrap()), before);
        assert_eq!(
            users.set_user(b"a b", &[]).unwrap_err().to_string(),
            "ERR Usernames can't contain spaces or null characters"
        );
    }

    #[test]
    fn a_changed_default_user_is_the_default_user() {
        let mut users = Users::default();
        users.set_user(b"default", &[b"-@dangerous"]).unwrap();
        assert!(!users.default_user().is_unrestricted());
        assert!(users.remove(b"default").is_none());
        users.set_user(b"bob", &[]).unwrap();
        assert!(users.remove(b"bob").is_some() && users.remove(b"bob").is_none());
        assert_eq!(users.iter().map(|user| user.name()).collect::<Vec<_>>(), [b"default"]);
    }

    #[test]
    fn users_come_from_the_configuration_and_go_back_to_it() {
        let rules = |rules: &[&str]| rules.iter().map(|rule| rule.as_bytes().to_vec()).collect();
        let mut config = Config { requirepass: b"pass".to_vec(), ..Config::default() };
        assert_eq!(Users::from_config(&config).unwrap().lines(&config), []);
        config.users.push(UserLine { name: b"bob".to_vec(), rules: rules(&["on", ">p", "~*", "+@read"]) });
        let users = Users::from_config(&config).unwrap();
        assert!(
            users.authenticate(b"bob", b"p").is_some() && users.authenticate(b"default", b"pass").is_some()
        );
        config.users = users.lines(&config);
        assert_eq!(config.users.len(), 1);
        assert_eq!(Users::from_config(&config).unwrap().lines(&config), config.users);

        // A `user default` line says everything about the default user, as in Redis.
        config.users = vec![UserLine { name: b"default".to_vec(), rules: rules(&["on", ">other"]) }];
        let users = Users::from_config(&config).unwrap();
        assert!(
            users.authenticate(b"default", b"pass").is_none()
                && users.authenticate(b"default", b"other").is_some()
        );
        assert!(!users.default_user().is_unrestricted());
        assert_eq!(users.lines(&config).len(), 1);
        config.users = vec![UserLine { name: b"eve".to_vec(), rules: rules(&["+nosuch"]) }];
        assert_eq!(Users::from_config(&config).unwrap_err(), RuleError::UnknownCommand);
    }
}
