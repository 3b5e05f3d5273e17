//! ZREM, ZREMRANGEBYRANK, ZREMRANGEBYSCORE and ZREMRANGEBYLEX.

use super::*;
use crate::apart::work_of_taking;
use crate::collection::Elements;

pub(in crate::command) const ZREM: Command<Run> = row(
    Spec {
        name: "zrem",
        arity: -3,
        flags: Flags::WRITE.union(Flags::FAST),
        uses: KeyUses::Each(KeyUse::DELETES_FROM),
        element: ElementAt::Index(2),
        since: "1.2.0",
        complexity: "O(M log N) for M members",
        summary: "Removes members.",
        syntax: "key member [member ...]",
        reply: &[ReplyShape::Integer],
        ..SPEC
    },
    zrem,
);

pub(in crate::command) const ZREMRANGEBYRANK: Command<Run> = row(
    Spec {
        name: "zremrangebyrank",
        flags: Flags::WRITE,
        uses: KeyUses::Each(KeyUse::DELETES_FROM),
        complexity: "O(log N + M) for M members removed",
        summary: "Removes the members of a range of ranks.",
        syntax: "key start stop",
        reply: &[ReplyShape::Integer],
        ..SPEC
    },
    |ctx, args, reply| {
        let (start, stop) = (integer_at(args, 2)?, integer_at(args, 3)?);
        remove(ctx, args, reply, event::ZREMRANGEBYRANK, |zset| ranks_of(start, stop, zset.len()))
    },
);

pub(in crate::command) const ZREMRANGEBYSCORE: Command<Run> = row(
    Spec {
        name: "zremrangebyscore",
        since: "1.2.0",
        summary: "Removes the members whose scores are in a range.",
        syntax: "key min max",
        ..ZREMRANGEBYRANK.spec
    },
    |ctx, args, reply| {
        let range = score_range_at(args, 2, 3)?;
        remove(ctx, args, reply, event::ZREMRANGEBYSCORE, |zset| zset.ranks_by_score(&range))
    },
);

pub(in crate::command) const ZREMRANGEBYLEX: Command<Run> = row(
    Spec {
        name: "zremrangebylex",
        since: "2.8.9",
        summary: "Removes the members in a range of byte strings, if all scores are equal.",
        syntax: "key min max",
        ..ZREMRANGEBYRANK.spec
    },
    |ctx, args, reply| {
        let range = lex_range_at(args, 2, 3)?;
        remove(ctx, args, reply, event::ZREMRANGEBYLEX, |zset| zset.ranks_by_lex(&range))
    },
);

fn zrem(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let removed = ctx.slot(&args[1]).edit(event::ZREM, |zset: &mut Zset, edits| {
        let mut removed = Members::new(edits);
        for index in 2..args.len() {
            if zset.remove(&args[index]).is_some() {
                removed.push(&args[index]);
            }
        }
        removed.record(edits);
        removed.count()
    })?;
    reply.int(removed as i64);
    Ok(Outcome::Replied)
}

fn remove(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    event: EventKind,
    ranks: impl FnOnce(ZsetRef<'_>) -> Range<usize>,
) -> Result<Outcome, Error> {
    let caller = ctx.caller;
    let removed = ctx.slot(&args[1]).edit(event, |zset: &mut Zset, edits| -> Result<usize, Error> {
        let ranks = ranks(zset.view());
        caller.check_work(work_of_taking(&zset.view(), ranks.len(), zset.view().len()))?;
        if !ranks.is_empty() {
            zset.remove_ranks(ranks.clone(), &mut |_, _| {});
            record_ranks(edits, ranks.clone());
        }
        Ok(ranks.len())
    })?;
    reply.int(removed? as i64);
    Ok(Outcome::Replied)
}
