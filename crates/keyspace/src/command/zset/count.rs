//! ZCOUNT and ZLEXCOUNT.

use super::*;

pub(in crate::command) const ZCOUNT: Command<Run> = row(
    Spec {
        name: "zcount",
        flags: Flags::READONLY.union(Flags::FAST),
        complexity: "O(log N)",
        summary: "Answers how many members have a score in a range.",
        syntax: "key min max",
        reply: &[ReplyShape::Integer],
        ..SPEC
    },
    zcount,
);

pub(in crate::command) const ZLEXCOUNT: Command<Run> = row(
    Spec {
        name: "zlexcount",
        flags: Flags::READONLY.union(Flags::FAST),
        since: "2.8.9",
        complexity: "O(log N)",
        summary: "Answers how many members are in a range of byte strings, if all scores are equal.",
        syntax: "key min max",
        reply: &[ReplyShape::Integer],
        ..SPEC
    },
    zlexcount,
);

fn zcount(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let range = score_range_at(args, 2, 3)?;
    let zset = read_zset(ctx, &args[1])?;
    reply.int(zset.map_or(0, |zset| zset.ranks_by_score(&range).len()) as i64);
    Ok(Outcome::Replied)
}

fn zlexcount(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let range = lex_range_at(args, 2, 3)?;
    let zset = read_zset(ctx, &args[1])?;
    reply.int(zset.map_or(0, |zset| zset.ranks_by_lex(&range).len()) as i64);
    Ok(Outcome::Replied)
}
