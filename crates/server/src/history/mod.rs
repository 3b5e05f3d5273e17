//! What the server remembers of commands, for those who ask later.

pub(crate) mod delays;
pub(crate) mod denials;
pub(crate) mod slow;
