//! SMOVE.

use super::*;
use sterna_command::{KeyUse, KeyUses};

pub(in super::super) const SMOVE: Command<Run> = row(
    Spec {
        name: "smove",
        arity: 4,
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::Range { first: 1, last: 2, step: 1 },
        uses: KeyUses::FirstAndSecond(KeyUse::TAKES, KeyUse::ADDS),
        complexity: "O(1)",
        summary: "Moves a member from one set to another; answers whether it was there.",
        syntax: "source destination member",
        reply: &[ReplyShape::Integer],
        ..SPEC
    },
    smove,
);

fn smove(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let (from, to, member) = (&args[1], &args[2], &args[3]);
    let is_member = match ctx.slot(from).elements::<Set>() {
        // What the destination holds matters only if there is a source.
        Ok(None) => None,
        Ok(Some(set)) => Some(set.contains(member)),
        Err(error) => return Err(error),
    };
    let Some(is_member) = is_member else {
        reply.int(0);
        return Ok(Outcome::Replied);
    };
    ctx.slot(to).elements::<Set>()?;
    if is_member && from != to {
        let names = std::iter::once(member);
        ctx.slot(from).edit(event::SREM, |set: &mut Set, edits| set.discard(names.clone(), edits))?;
        ctx.slot(to).edit(event::SADD, |set: &mut Set, edits| set.add(names.clone(), 1, edits))?;
    }
    reply.int(i64::from(is_member));
    Ok(Outcome::Replied)
}
