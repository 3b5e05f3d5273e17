//! ZPOPMIN, ZPOPMAX and ZMPOP.

use super::*;
use crate::apart::work_of_taking;
use crate::collection::Elements;

pub(in crate::command) const ZPOPMIN: Command<Run> = row(
    Spec {
        name: "zpopmin",
        arity: -2,
        flags: Flags::WRITE.union(Flags::FAST),
        uses: KeyUses::Each(KeyUse::TAKES),
        element: ElementAt::Lowest,
        since: "5.0.0",
        complexity: "O(log N + M) for M members taken",
        summary: "Takes the members with the lowest scores.",
        syntax: "key [count]",
        reply: &[ReplyShape::Array],
        ..SPEC
    },
    |ctx, args, reply| zpop(ctx, args, reply, End::Min),
);

pub(in crate::command) const ZPOPMAX: Command<Run> = row(
    Spec {
        name: "zpopmax",
        element: ElementAt::Highest,
        summary: "Takes the members with the highest scores.",
        ..ZPOPMIN.spec
    },
    |ctx, args, reply| zpop(ctx, args, reply, End::Max),
);

pub(in crate::command) const ZMPOP: Command<Run> = row(
    Spec {
        name: "zmpop",
        arity: -4,
        flags: Flags::WRITE.union(Flags::MOVABLE_KEYS),
        keys: Keys::Counted { count_at: 1 },
        uses: KeyUses::Each(KeyUse::TAKES),
        since: "7.0.0",
        complexity: "O(K + log N + M) for K keys and M members taken",
        summary: "Takes members from the first of several sorted sets that has some.",
        syntax: "numkeys key [key ...] <MIN | MAX> [COUNT count]",
        reply: &[ReplyShape::Array, ReplyShape::Null],
        ..SPEC
    },
    zmpop,
);

/// From which end members are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Min,
    Max,
}

impl End {
    fn event(self) -> EventKind {
        match self {
            End::Min => event::ZPOPMIN,
            End::Max => event::ZPOPMAX,
        }
    }
}

/// What ZMPOP asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Several {
    /// The index of the first key.
    pub(super) first: usize,
    pub(super) keys: usize,
    pub(super) end: End,
    pub(super) count: usize,
}

fn zpop(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>, end: End) -> Result<Outcome, Error> {
    if args.len() > 3 {
        return Err(Error::Syntax);
    }
    let count = match args.get(2) {
        None => None,
        Some(text) => {
            let count = integer(text).and_then(|count| usize::try_from(count).ok());
            Some(count.ok_or(ZsetError::CountNegative)?)
        }
    };
    let shape = match count {
        Some(_) => Shape::with_scores(reply),
        None => Shape::Flat,
    };
    let Some(count) = count.filter(|&count| count != 1) else {
        return pop_one(ctx, &args[1], end, reply, shape);
    };
    let popped = pop(ctx, &args[1], end, count)?;
    write_popped(reply, shape, &popped);
    Ok(Outcome::Replied)
}

/// Takes the element at one end, if there is one, and answers it as it is taken.
fn pop_one(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    end: End,
    reply: &mut Reply<'_>,
    shape: Shape,
) -> Result<Outcome, Error> {
    let caller = ctx.caller;
    ctx.slot(key).edit(end.event(), |zset: &mut Zset, edits| -> Result<(), Error> {
        let len = zset.view().len();
        let ranks = match end {
            End::Min => 0..len.min(1),
            End::Max => len.saturating_sub(1)..len,
        };
        caller.check_work(work_of(zset.view(), ranks.len()))?;
        shape.write_header(reply, ranks.len());
        if !ranks.is_empty() {
            zset.remove_ranks(ranks.clone(), &mut |member, score| shape.write(reply, member, score));
            record_ranks(edits, ranks);
        }
        Ok(())
    })??;
    Ok(Outcome::Replied)
}

fn zmpop(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let several = Several::parse(args, 1)?;
    for index in several.first..several.first + several.keys {
        let popped = pop(ctx, &args[index], several.end, several.count)?;
        if !popped.is_empty() {
            write_from(reply, &args[index], &popped);
            return Ok(Outcome::Replied);
        }
    }
    reply.null_array();
    Ok(Outcome::Replied)
}

impl Several {
    /// Reads `numkeys key [key ...] <MIN | MAX> [COUNT count]` from argument `at` on.
    pub(super) fn parse(args: Args<'_>, at: usize) -> Result<Several, Error> {
        let keys = integer(&args[at]).and_then(|keys| usize::try_from(keys).ok()).filter(|&keys| keys > 0);
        let keys = keys.ok_or(ZsetError::NumkeysTooSmall)?;
        let first = at + 1;
        let end_at = first.checked_add(keys).ok_or(Error::Syntax)?;
        let end = match args.get(end_at) {
            Some(word) if is(word, "MIN") => End::Min,
            Some(word) if is(word, "MAX") => End::Max,
            _ => return Err(Error::Syntax),
        };
        let (mut count, mut at) = (None, end_at + 1);
        while let Some(word) = args.get(at) {
            let Some(number) = args.get(at + 1).filter(|_| count.is_none() && is(word, "COUNT")) else {
                return Err(Error::Syntax);
            };
            let number = integer(number).and_then(|count| usize::try_from(count).ok());
            count = Some(number.filter(|&count| count > 0).ok_or(ZsetError::CountTooSmall)?);
            at += 2;
        }
        Ok(Several { first, keys, end, count: count.unwrap_or(1) })
    }
}

/// Elements that were taken, in the order in which they were.
pub(super) type Popped = smallvec::SmallVec<[(f64, Box<[u8]>); 1]>;

/// How much work it is to take up to `count` elements.
pub(super) fn work_of(zset: ZsetRef<'_>, count: usize) -> usize {
    work_of_taking(&zset, count.min(zset.len()), zset.len())
}

/// Takes up to `count` elements from one end of a sorted set; none if there is nothing.
pub(super) fn pop(ctx: &mut Ctx<'_>, key: &[u8], end: End, count: usize) -> Result<Popped, Error> {
    let work = ctx.slot(key).elements::<Zset>()?.map_or(0, |zset| work_of(zset, count));
    ctx.caller.check_work(work)?;
    ctx.slot(key).edit(end.event(), |zset: &mut Zset, edits| {
        let len = zset.view().len();
        let count = count.min(len);
        let mut popped = Popped::new();
        if count == 0 {
            return popped;
        }
        let ranks = match end {
            End::Min => 0..count,
            End::Max => len - count..len,
        };
        zset.remove_ranks(ranks.clone(), &mut |member, score| popped.push((score, member.into())));
        if end == End::Max {
            popped.reverse();
        }
        record_ranks(edits, ranks);
        popped
    })
}

pub(super) fn write_popped(reply: &mut Reply<'_>, shape: Shape, popped: &Popped) {
    shape.write_header(reply, popped.len());
    popped.iter().for_each(|(score, member)| shape.write(reply, member, *score));
}

/// Writes what was taken from a key, with the key.
pub(super) fn write_from(reply: &mut Reply<'_>, key: &[u8], popped: &Popped) {
    reply.array(2);
    reply.bulk(key);
    write_popped(reply, Shape::Pairs, popped);
}
