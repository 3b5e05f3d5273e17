//! The commands on sets.

use super::*;
use crate::collection::Elements;
use crate::set::{Member, Set, SetRef};

pub(super) mod add;
pub(super) mod diff;
mod error;
pub(super) mod inter;
pub(super) mod members;
mod operands;
pub(super) mod random;
pub(super) mod scan;
pub(super) mod smove;
mod steps;
pub(super) mod union;

pub use error::SetError;

/// What the rows have in common.
const SPEC: Spec =
    Spec { keys: Keys::at(1), acl: Categories::SET, group: Group::Set, since: "1.0.0", ..Spec::PLAIN };

fn write_member(reply: &mut Reply<'_>, member: Member<'_>) {
    match member {
        Member::Int(number) => reply.bulk_int(number),
        Member::Text(name) => reply.bulk(name),
    }
}

/// The set under a key, for a command that reads it; `None`: there is nothing.
fn read_set<'s>(ctx: &'s mut Ctx<'_>, key: &'s [u8]) -> Result<Option<SetRef<'s>>, Error> {
    ctx.read(key).map(of).transpose()
}

fn of(value: ValueRef<'_>) -> Result<SetRef<'_>, Error> {
    match value {
        ValueRef::Set(set) => Ok(set),
        _ => Err(Error::WrongType),
    }
}
