//! LPUSH, RPUSH, and LPUSHX, RPUSHX, which add to lists that exist only.

use super::*;

pub(in crate::command) const LPUSH: Command<Run> = row(
    Spec {
        name: "lpush",
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST),
        uses: KeyUses::Each(KeyUse::ADDS),
        complexity: "O(1) for each element",
        summary: "Puts elements before the first of a list, one after the other, and answers its length.",
        syntax: "key element [element ...]",
        reply: &[ReplyShape::Integer],
        ..SPEC
    },
    |ctx, args, reply| push(ctx, args, reply, End::Front),
);

pub(in crate::command) const RPUSH: Command<Run> = row(
    Spec {
        name: "rpush",
        summary: "Puts elements behind the last of a list, one after the other, and answers its length.",
        ..LPUSH.spec
    },
    |ctx, args, reply| push(ctx, args, reply, End::Back),
);

pub(in crate::command) const LPUSHX: Command<Run> = row(
    Spec {
        name: "lpushx",
        since: "2.2.0",
        summary: "Puts elements before the first of a list that exists, and answers its length.",
        ..LPUSH.spec
    },
    |ctx, args, reply| push_if_there(ctx, args, reply, End::Front),
);

pub(in crate::command) const RPUSHX: Command<Run> = row(
    Spec {
        name: "rpushx",
        summary: "Puts elements behind the last of a list that exists, and answers its length.",
        ..LPUSHX.spec
    },
    |ctx, args, reply| push_if_there(ctx, args, reply, End::Back),
);

fn push(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>, end: End) -> Result<Outcome, Error> {
    let texts = args.from(2).iter();
    let len = ctx.slot(&args[1]).edit(pushed(end), |list: &mut List, edits| {
        edit::push(list, edits, end, texts);
        list.view().len()
    })?;
    reply.int(len as i64);
    Ok(Outcome::Replied)
}

fn push_if_there(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    end: End,
) -> Result<Outcome, Error> {
    if ctx.slot(&args[1]).elements::<List>()?.is_none() {
        reply.int(0);
        return Ok(Outcome::Replied);
    }
    push(ctx, args, reply, end)
}
