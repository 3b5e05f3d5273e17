//! HIMPORT SET: a hash of the names that its connection has stated before; the other subcommands are the server's.
//!
//! Whoever runs it lends the fieldset ([`Changes::lend`](crate::Changes::lend)): the request only has its name.

use super::*;
use sterna_command::{KeyUse, KeyUses};

pub(in super::super) const HIMPORT: Command<Run> = Command {
    spec: Spec {
        name: "himport",
        arity: -2,
        acl: Categories::HASH,
        group: Group::Hash,
        since: "8.10.0",
        complexity: "Depends on the subcommand.",
        summary: "Makes hashes of names of fields that are stated once.",
        ..Spec::PLAIN
    },
    run: None,
    subcommands: &[row(SET, set)],
};

const SET: Spec = Spec {
    name: "set",
    arity: -5,
    flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::TAKES_FIELDSET),
    keys: Keys::at(2),
    uses: KeyUses::Each(KeyUse::OVERWRITES),
    since: "8.10.0",
    complexity: "O(N) for N fields",
    summary: "Makes a hash of the fields of a fieldset and these values, in the place of what hash was there.",
    syntax: "key fieldset-name value [value ...]",
    reply: &[ReplyShape::Ok],
    ..SPEC
};

/// Where the values begin.
const FIRST: usize = 4;

fn set(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let fieldset = ctx.log.fieldset().cloned();
    let mut slot = ctx.slot(&args[2]);
    slot.elements::<Hash>()?;
    let fieldset = fieldset.ok_or(HashError::NoFieldset)?;
    if fieldset.len() != args.len() - FIRST {
        return Err(HashError::FieldsetMismatch.into());
    }
    let fields = fieldset.fields(|nth| args.get(FIRST + nth).unwrap_or_default());
    let hash = Hash::of_distinct(fields.clone(), slot.limits());
    slot.overwrite_named(Value::Hash(hash), event::HSET, fields.map(|(name, _)| name));
    reply.ok();
    Ok(Outcome::Replied)
}
