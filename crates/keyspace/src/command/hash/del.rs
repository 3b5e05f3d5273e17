//! HDEL.

use super::*;
use sterna_command::{KeyUse, KeyUses};

pub(in super::super) const HDEL: Command<Run> = row(
    Spec {
        name: "hdel",
        arity: -3,
        uses: KeyUses::Each(KeyUse::DELETES_FROM),
        element: ElementAt::Index(2),
        complexity: "O(1) for each field",
        summary: "Removes fields of a hash, which goes with the last, and answers how many were there.",
        syntax: "key field [field ...]",
        reply: &[ReplyShape::Integer],
        ..SPEC
    },
    hdel,
);

fn hdel(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let names = texts(args, 2);
    let mut slot = ctx.slot(&args[1]);
    slot.expire_fields_of(names.clone());
    let removed = slot.edit(event::HDEL, |hash: &mut Hash, edits| hash.delete(edits, names))?;
    reply.int(removed as i64);
    Ok(Outcome::Replied)
}
