//! ZRANGE, the six commands that came before it, and ZRANGESTORE.
//!
//! All of them name a range of ranks, of scores or of members, and read it in one of two directions: [`Query`].

use super::*;
use crate::apart::work_of_taking;

pub(in crate::command) const ZRANGE: Command<Run> = row(
    Spec {
        name: "zrange",
        arity: -4,
        since: "1.2.0",
        complexity: "O(log N + M) for M members answered of N",
        summary: "Reads a range of ranks, of scores or of members.",
        syntax: "key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]",
        reply: &[ReplyShape::Array],
        ..SPEC
    },
    |ctx, args, reply| read(ctx, args, reply, None, None),
);

pub(in crate::command) const ZREVRANGE: Command<Run> = row(
    Spec {
        name: "zrevrange",
        summary: "Reads a range of ranks, the highest score first.",
        syntax: "key start stop [WITHSCORES]",
        ..ZRANGE.spec
    },
    |ctx, args, reply| read(ctx, args, reply, Some(By::Rank), Some(Direction::Backward)),
);

pub(in crate::command) const ZRANGEBYSCORE: Command<Run> = row(
    Spec {
        name: "zrangebyscore",
        since: "1.0.5",
        summary: "Reads a range of scores, the lowest first.",
        syntax: "key min max [WITHSCORES] [LIMIT offset count]",
        ..ZRANGE.spec
    },
    |ctx, args, reply| read(ctx, args, reply, Some(By::Score), Some(Direction::Forward)),
);

pub(in crate::command) const ZREVRANGEBYSCORE: Command<Run> = row(
    Spec {
        name: "zrevrangebyscore",
        since: "2.2.0",
        summary: "Reads a range of scores, the highest first.",
        syntax: "key max min [WITHSCORES] [LIMIT offset count]",
        ..ZRANGE.spec
    },
    |ctx, args, reply| read(ctx, args, reply, Some(By::Score), Some(Direction::Backward)),
);

pub(in crate::command) const ZRANGEBYLEX: Command<Run> = row(
    Spec {
        name: "zrangebylex",
        since: "2.8.9",
        summary: "Reads a range of members in the order of their bytes, if all scores are equal.",
        syntax: "key min max [LIMIT offset count]",
        ..ZRANGE.spec
    },
    |ctx, args, reply| read(ctx, args, reply, Some(By::Lex), Some(Direction::Forward)),
);

pub(in crate::command) const ZREVRANGEBYLEX: Command<Run> = row(
    Spec {
        name: "zrevrangebylex",
        since: "2.8.9",
        summary: "Reads a range of members from the last to the first, if all scores are equal.",
        syntax: "key max min [LIMIT offset count]",
        ..ZRANGE.spec
    },
    |ctx, args, reply| read(ctx, args, reply, Some(By::Lex), Some(Direction::Backward)),
);

pub(in crate::command) const ZRANGESTORE: Command<Run> = row(
    Spec {
        name: "zrangestore",
        arity: -5,
        flags: Flags::WRITE.union(Flags::DENYOOM),
        keys: Keys::Range { first: 1, last: 2, step: 1 },
        uses: KeyUses::FirstAndSecond(KeyUse::OVERWRITES, KeyUse::READS),
        since: "6.2.0",
        complexity: "O(log N + M) for M members stored of N",
        summary: "Stores a range of ranks, of scores or of members in another key.",
        syntax: "dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]",
        reply: &[ReplyShape::Integer],
        ..SPEC
    },
    zrangestore,
);

/// What a range is a range of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// A range as it was asked for.
#[derive(Debug)]
struct Query<'a> {
    range: Wanted<'a>,
    direction: Direction,
    with_scores: bool,
    /// How many to pass over; negative: all.
    offset: i64,
    /// How many at most; negative: all.
    limit: i64,
}

#[derive(Debug)]
enum Wanted<'a> {
    Ranks(i64, i64),
    Scores(ScoreRange),
    Members(LexRange<'a>),
}

/// The options, before the range is read.
struct Options {
    by: Option<By>,
    direction: Option<Direction>,
    with_scores: bool,
    offset: i64,
    limit: i64,
}

impl Options {
    /// Reads the option at `at`; returns the index behind it. `any_by` and `any_direction`: the command lets the request say.
    fn read_one(
        &mut self,
        args: Args<'_>,
        at: usize,
        storing: bool,
        (any_by, any_direction): (bool, bool),
    ) -> Result<usize, Error> {
        let word = &args[at];
        if !storing && is(word, "WITHSCORES") {
            self.with_scores = true;
        } else if is(word, "LIMIT") && args.len() - at > 2 {
            self.offset = integer_at(args, at + 1)?;
            self.limit = integer_at(args, at + 2)?;
            return Ok(at + 3);
        } else if any_direction && self.direction.is_none() && is(word, "REV") {
            self.direction = Some(Direction::Backward);
        } else if any_by && self.by.is_none() && is(word, "BYLEX") {
            self.by = Some(By::Lex);
        } else if any_by && self.by.is_none() && is(word, "BYSCORE") {
            self.by = Some(By::Score);
        } else {
            return Err(Error::Syntax);
        }
        Ok(at + 1)
    }
}

impl<'a> Query<'a> {
    /// Reads the range whose first end is argument `first`. What the command leaves open is `None`.
    fn parse(
        args: Args<'a>,
        first: usize,
        storing: bool,
        by: Option<By>,
        direction: Option<Direction>,
    ) -> Result<Query<'a>, Error> {
        let open = (by.is_none(), direction.is_none());
        let mut options = Options { by, direction, with_scores: false, offset: 0, limit: -1 };
        let mut at = first + 2;
        while at < args.len() {
            at = options.read_one(args, at, storing, open)?;
        }
        let Options { by, direction, with_scores, offset, limit } = options;
        let (by, direction) = (by.unwrap_or(By::Rank), direction.unwrap_or(Direction::Forward));
        if limit != -1 && by == By::Rank {
            return Err(ZsetError::LimitWithRanks.into());
        }
        if with_scores && by == By::Lex {
            return Err(ZsetError::ScoresWithLex.into());
        }
        // A range that is read backward is given backward.
        let (min, max) =
            if direction == Direction::Forward { (first, first + 1) } else { (first + 1, first) };
        let range = match by {
            By::Rank => Wanted::Ranks(integer_at(args, first)?, integer_at(args, first + 1)?),
            By::Score => Wanted::Scores(score_range_at(args, min, max)?),
            By::Lex => Wanted::Members(lex_range_at(args, min, max)?),
        };
        Ok(Query { range, direction, with_scores, offset, limit })
    }

    /// The ranks that it asks for.
    fn ranks(&self, zset: ZsetRef<'_>) -> Range<usize> {
        let len = zset.len();
        let ranks = match &self.range {
            Wanted::Ranks(start, stop) => {
                let ranks = ranks_of(*start, *stop, len);
                return match self.direction {
                    Direction::Forward => ranks,
                    Direction::Backward => ranks_from_end(ranks, len),
                };
            }
            Wanted::Scores(range) => zset.ranks_by_score(range),
            Wanted::Members(range) => zset.ranks_by_lex(range),
        };
        let Ok(offset) = usize::try_from(self.offset) else { return 0..0 };
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let skipped = offset.min(ranks.len());
        let taken = limit.min(ranks.len() - skipped);
        match self.direction {
            Direction::Forward => ranks.start + skipped..ranks.start + skipped + taken,
            Direction::Backward => ranks.end - skipped - taken..ranks.end - skipped,
        }
    }
}

fn read(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    by: Option<By>,
    direction: Option<Direction>,
) -> Result<Outcome, Error> {
    let query = Query::parse(args, 2, false, by, direction)?;
    let caller = ctx.caller;
    let Some(zset) = read_zset(ctx, &args[1])? else {
        reply.array(0);
        return Ok(Outcome::Replied);
    };
    let (ranks, shape) = (query.ranks(zset), Shape::of(query.with_scores, reply));
    caller.check_work(ranks.len())?;
    caller.check_elements(&zset, ranks.len(), zset.len())?;
    shape.write_header(reply, ranks.len());
    match shape {
        Shape::Members => zset.visit_members(ranks, query.direction, |member| reply.bulk(member)),
        _ => zset.visit(ranks, query.direction, |member, score| shape.write(reply, member, score)),
    }
    Ok(Outcome::Replied)
}

fn zrangestore(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let query = Query::parse(args, 3, true, None, None)?;
    let caller = ctx.caller;
    let source = read_zset(ctx, &args[2])?;
    let mut elements = Vec::new();
    if let Some(zset) = source {
        let ranks = query.ranks(zset);
        caller.check_work(work_of_taking(&zset, ranks.len(), zset.len()))?;
        zset.visit(ranks, Direction::Forward, |member, score| elements.push((score, member.into())));
    }
    reply.int(elements.len() as i64);
    store(&mut ctx.slot(&args[1]), &elements, event::ZRANGESTORE);
    Ok(Outcome::Replied)
}

/// Lets a key hold these elements, which are in order, whatever it held before; without any it is removed.
pub(in crate::command) fn store(slot: &mut Slot<'_>, elements: &[(f64, Box<[u8]>)], event: EventKind) {
    if elements.is_empty() {
        slot.delete(event::DEL);
        return;
    }
    let zset = Zset::of_elements(elements, slot.limits());
    slot.overwrite(Value::Zset(zset), None, event);
}
