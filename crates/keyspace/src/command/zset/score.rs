//! ZSCORE, ZMSCORE and ZCARD.

use super::*;

pub(in crate::command) const ZSCORE: Command<Run> = row(
    Spec {
        name: "zscore",
        arity: 3,
        flags: Flags::READONLY.union(Flags::FAST),
        element: ElementAt::Index(2),
        since: "1.2.0",
        summary: "Answers the score of a member.",
        syntax: "key member",
        reply: &[ReplyShape::Double, ReplyShape::Null],
        ..SPEC
    },
    zscore,
);

pub(in crate::command) const ZMSCORE: Command<Run> = row(
    Spec {
        name: "zmscore",
        arity: -3,
        flags: Flags::READONLY.union(Flags::FAST),
        element: ElementAt::Index(2),
        since: "6.2.0",
        complexity: "O(M) for M members",
        summary: "Answers the scores of members.",
        syntax: "key member [member ...]",
        reply: &[ReplyShape::Array],
        ..SPEC
    },
    zmscore,
);

pub(in crate::command) const ZCARD: Command<Run> = row(
    Spec {
        name: "zcard",
        arity: 2,
        flags: Flags::READONLY.union(Flags::FAST),
        uses: KeyUses::Each(KeyUse::EXAMINES),
        since: "1.2.0",
        summary: "Answers how many members a sorted set has.",
        syntax: "key",
        reply: &[ReplyShape::Integer],
        ..SPEC
    },
    zcard,
);

fn zscore(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let zset = read_zset(ctx, &args[1])?;
    write_score(reply, zset.and_then(|zset| zset.score(&args[2])));
    Ok(Outcome::Replied)
}

fn zmscore(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let zset = read_zset(ctx, &args[1])?;
    reply.array(args.len() - 2);
    for index in 2..args.len() {
        write_score(reply, zset.and_then(|zset| zset.score(&args[index])));
    }
    Ok(Outcome::Replied)
}

fn zcard(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let zset = read_zset(ctx, &args[1])?;
    reply.int(zset.map_or(0, ZsetRef::len) as i64);
    Ok(Outcome::Replied)
}

fn write_score(reply: &mut Reply<'_>, score: Option<f64>) {
    match score {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
}
