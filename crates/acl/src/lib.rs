//! Users, and what each may do: commands, keys, channels.
//!
//! ```text
//! rules ─► User ─► selectors ─► commands: a bit for each row of the command table
//! (ACL SETUSER,       │         keys:     glob patterns, each for reading, writing or both
//!  `user` lines)      │         channels: glob patterns
//!                     └► unrestricted: one bool, all that most requests ever look at
//! ```
//!
//! A [`User`] is immutable once it is in [`Users`]: ACL SETUSER puts a changed copy in its place, and whoever holds the
//! old one goes on with the old rules until the server hands it the new one. So a check takes no lock.
//!
//! A request is allowed if one of the user's selectors allows all of it: the first selector is the user's own rules, the
//! others are those in parentheses.
//!
//! Source: redis.io/docs/latest/operate/oss_and_stack/management/security/acl; new users start with no command and no key,
//! and with the channels that `acl-pubsub-default` says.

#![forbid(unsafe_code)]

mod access;
mod check;
mod commands;
mod describe;
mod file;
mod password;
mod rule;
#[cfg(test)]
mod sample;
mod selector;
mod user;
mod users;

pub use check::{ChannelOf, Denied, check};
pub use commands::{commands_in, known_categories};
pub use describe::{SelectorDescription, UserDescription};
pub use password::{GENPASS_BITS_MAX, generate_password};
pub use rule::RuleError;
pub use selector::FirstChannels;
pub use user::User;
pub use users::{SetUserError, Users};
