//! A file of users: a line `user name [rule ...]` each, as ACL LIST shows them.
//!
//! It is read as a whole or not at all, and what is wrong with it is told for all lines at once. A file that says nothing of
//! `default` leaves that user to `requirepass`. Source: the texts are those of Redis's ACL LOAD.

use std::collections::BTreeSet;

use sterna_command::Table;

use super::rule::{RuleError, whole_rules};
use super::selector::FirstChannels;
use super::user::User;
use super::users::Users;

impl Users {
    /// The users of a file with this text. Error: what is wrong with it, on one line; `path` is how it calls the file.
    pub fn of_file(
        table: &'static Table,
        requirepass: &[u8],
        first: FirstChannels,
        path: &str,
        text: &[u8],
    ) -> Result<Users, String> {
        let mut users = Users::new(table);
        users.set_requirepass(requirepass);
        let (mut names, mut errors) = (BTreeSet::new(), Vec::new());
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            match user_of(table, line, first) {
                Ok(user) if names.insert(user.name().to_vec()) => users.put(user),
                Ok(user) => {
                    let name = String::from_utf8_lossy(user.name());
                    errors.push(format!("WARNING: Duplicate user '{name}' found on line {}.", index + 1));
                }
                Err(error) => errors.push(format!("{path}:{}{error}", index + 1)),
            }
        }
        if errors.is_empty() {
            return Ok(users);
        }
        errors.push(
            "WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
                .to_owned(),
        );
        Err(errors.join(" "))
    }

    /// The text of a file that makes these users again.
    pub fn file_text(&self) -> Vec<u8> {
        self.iter().flat_map(|user| user.line().into_iter().chain([b'\n'])).collect()
    }
}

/// The user of a line. Error: what stands behind the line's number.
fn user_of(table: &'static Table, line: &[u8], first: FirstChannels) -> Result<User, String> {
    let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').filter(|word| !word.is_empty()).collect();
    let [b"user", name, rules @ ..] = &words[..] else {
        return Err(" should start with user keyword followed by the username.".to_owned());
    };
    if name.iter().any(|&byte| byte == 0 || byte.is_ascii_whitespace()) {
        return Err(": Usernames can't contain spaces or null characters.".to_owned());
    }
    let mut user = User::new(table, name, first);
    let rules =
        whole_rules(rules).map_err(|_| ": Unmatched parenthesis in selector definition.".to_owned())?;
    for rule in rules {
        user.apply_rule(&rule, first).map_err(|error| match error {
            RuleError::UnknownCommand => {
                format!(": Error in applying operation '{}': {error}.", String::from_utf8_lossy(&rule))
            }
            _ => format!(": {error}."),
        })?;
    }
    Ok(user)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::table;

    #[test]
    fn users_written_to_a_file_are_the_users_read_from_it() {
        let mut users = Users::new(table());
        users
            .set_user(
                b"bob",
                &[b"on", b">p", b"~a*", b"%R~b", b"&c", b"+@read", b"-get", b"(+set ~x)"],
                FirstChannels::None,
            )
            .unwrap();
        users.set_user(b"default", &[b"off"], FirstChannels::None).unwrap();
        let text = users.file_text();
        let again = Users::of_file(table(), b"ignored", FirstChannels::All, "f", &text).unwrap();
        assert_eq!(again.file_text(), text);
        assert!(again.authenticate(b"bob", b"p").is_some());
    }

    #[test]
    fn a_file_without_the_default_user_leaves_it_to_requirepass() {
        let users =
            Users::of_file(table(), b"secret", FirstChannels::None, "f", b"\n  \r\nuser bob on nopass\r\n")
                .unwrap();
        assert!(users.authenticate(b"default", b"secret").is_some());
        assert!(users.authenticate(b"default", b"x").is_none());
        assert!(users.authenticate(b"bob", b"x").is_some());
    }

    #[test]
    fn everything_that_is_wrong_is_told_with_its_line() {
        let text =
            b"user bob +gett\nusr x on\nuser a b c\nuser bob2 on\nuser bob2 off\nuser c (+get\nuser d >\n";
        let error = Users::of_file(table(), b"", FirstChannels::None, "f", text).unwrap_err();
        assert_eq!(
            error,
            "f:1: Error in applying operation '+gett': Unknown command or category name in ACL. f:2 should start with \
             user keyword followed by the username. f:3: Syntax error. WARNING: Duplicate user 'bob2' found on line 5. \
             f:6: Unmatched parenthesis in selector definition. WARNING: ACL errors detected, no change to the previously \
             active ACL rules was performed"
        );
    }
}
