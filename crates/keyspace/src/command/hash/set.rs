//! HSET, HMSET and HSETNX.

use super::*;
use sterna_command::{KeyUse, KeyUses};

pub(in super::super) const HSET: Command<Run> = row(
    Spec {
        name: "hset",
        arity: -4,
        flags: SPEC.flags.union(Flags::DENYOOM),
        element: ElementAt::Index(2),
        complexity: "O(1) for each field",
        summary: "Sets fields of a hash, made if there is none, and answers how many are new.",
        syntax: "key field value [field value ...]",
        reply: &[ReplyShape::Integer],
        ..SPEC
    },
    |ctx, args, reply| {
        let added = set(ctx, args, "hset")?;
        reply.int(added as i64);
        Ok(Outcome::Replied)
    },
);

pub(in super::super) const HMSET: Command<Run> = row(
    Spec {
        name: "hmset",
        summary: "Sets fields of a hash, made if there is none.",
        reply: &[ReplyShape::Ok],
        ..HSET.spec
    },
    |ctx, args, reply| {
        set(ctx, args, "hmset")?;
        reply.ok();
        Ok(Outcome::Replied)
    },
);

pub(in super::super) const HSETNX: Command<Run> = row(
    Spec {
        name: "hsetnx",
        arity: 4,
        uses: KeyUses::Each(KeyUse::ADDS),
        complexity: "O(1)",
        summary: "Sets a field of a hash if it is not there, and answers whether it was set.",
        syntax: "key field value",
        ..HSET.spec
    },
    hsetnx,
);

fn set(ctx: &mut Ctx<'_>, args: Args<'_>, command: &'static str) -> Result<usize, Error> {
    if !args.len().is_multiple_of(2) {
        return Err(Error::Arity { command });
    }
    let fields = pairs(args, 2);
    ctx.slot(&args[1]).edit(event::HSET, |hash: &mut Hash, edits| hash.set(edits, fields, Expiry::Clear))
}

fn hsetnx(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let now_ms = ctx.now_ms;
    let mut slot = ctx.slot(&args[1]);
    slot.expire_fields_of([&args[2]].into_iter());
    let sets = slot.edit(event::HSET, |hash: &mut Hash, edits| {
        let is_free = hash.view().field(&args[2], now_ms).is_none();
        if is_free {
            hash.set(edits, pairs(args, 2), Expiry::Clear);
        }
        is_free
    })?;
    reply.int(i64::from(sets));
    Ok(Outcome::Replied)
}
