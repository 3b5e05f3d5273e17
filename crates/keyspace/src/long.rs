//! Long replies: what takes more than a moment to write is written in steps, from copies that share the values' parts.
//!
//! A command that would answer with millions of elements returns [`Outcome::Long`](crate::Outcome::Long) instead of writing them:
//! the answer is as of that moment, whatever happens to the keys meanwhile, and between two steps others are served. Where
//! nobody may be served meanwhile (scripts), the caller says so (`Caller::may_yield`), and the command writes all at once.

use std::fmt;

use sterna_protocol::Reply;

use crate::context::Ctx;
use crate::error::Error;

/// From so many elements on a reply is long: they take about a millisecond.
pub(crate) const LONG_MIN: usize = 10_000;

/// A command that goes on in steps, while its caller keeps all keys locked or sees to it that nobody else changes any.
pub trait HeldSteps: fmt::Debug + Send + Sync {
    /// Goes on for a moment; false: that was all. On an error nothing has been changed, and nothing written to the reply.
    fn step(&mut self, ctx: &mut Ctx<'_>, reply: &mut Reply<'_>) -> Result<bool, Error>;
}

/// A reply that is made in steps.
pub trait Steps: fmt::Debug + Send + Sync {
    /// Goes on for a moment, and writes what is ready to be written; false: that was all.
    fn step(&mut self, reply: &mut Reply<'_>) -> bool;
}
