//! ZUNION, ZINTER and ZDIFF, their forms that store, and ZINTERCARD.
//!
//! The sources are taken in order of size, as Redis does, which sums of floats can show. A source is a copy that shares
//! its parts, so that a destination may be a source.

use std::collections::HashMap;

use super::range::store;
use super::*;
use crate::apart::work_of_all;
use crate::collection::Elements as _;
use crate::set::Set;
use crate::zset::Digits;

const READS: Spec = Spec {
    arity: -3,
    flags: Flags::READONLY.union(Flags::MOVABLE_KEYS).union(Flags::COMBINES),
    keys: Keys::Counted { count_at: 1 },
    since: "6.2.0",
    reply: &[ReplyShape::Array],
    ..SPEC
};

const STORES: Spec = Spec {
    arity: -4,
    flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::MOVABLE_KEYS).union(Flags::COMBINES),
    keys: Keys::OneAndCounted { first: 1, count_at: 2 },
    uses: KeyUses::FirstAndSecond(KeyUse::OVERWRITES, KeyUse::READS),
    reply: &[ReplyShape::Integer],
    ..SPEC
};

const UNION_COST: &str = "O(N + M log M) for N members in all sources and M in the result";
const INTER_COST: &str = "O(N K + M log M) for K sources, the smallest of N members, and M in the result";
const DIFF_COST: &str = "O(L + M log M) for L members in all sources and M in the result";

pub(in crate::command) const ZUNION: Command<Run> = row(
    Spec {
        name: "zunion",
        complexity: UNION_COST,
        summary: "Answers the members of any of several sorted sets.",
        syntax: "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX | COUNT>] [WITHSCORES]",
        ..READS
    },
    |ctx, args, reply| read(ctx, args, reply, "zunion", Operation::Union),
);

pub(in crate::command) const ZINTER: Command<Run> = row(
    Spec {
        name: "zinter",
        complexity: INTER_COST,
        summary: "Answers the members of all of several sorted sets.",
        ..ZUNION.spec
    },
    |ctx, args, reply| read(ctx, args, reply, "zinter", Operation::Inter),
);

pub(in crate::command) const ZDIFF: Command<Run> = row(
    Spec {
        name: "zdiff",
        complexity: DIFF_COST,
        summary: "Answers the members of the first sorted set that are in no other.",
        syntax: "numkeys key [key ...] [WITHSCORES]",
        ..READS
    },
    |ctx, args, reply| read(ctx, args, reply, "zdiff", Operation::Diff),
);

pub(in crate::command) const ZINTERCARD: Command<Run> = row(
    Spec {
        name: "zintercard",
        since: "7.0.0",
        complexity: "O(N K) for K sources, the smallest of N members",
        summary: "Answers how many members all of several sorted sets have.",
        syntax: "numkeys key [key ...] [LIMIT limit]",
        reply: &[ReplyShape::Integer],
        ..READS
    },
    zintercard,
);

pub(in crate::command) const ZUNIONSTORE: Command<Run> = row(
    Spec {
        name: "zunionstore",
        complexity: UNION_COST,
        summary: "Stores the members of any of several sorted sets.",
        syntax: "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX | COUNT>]",
        ..STORES
    },
    |ctx, args, reply| store_result(ctx, args, reply, "zunionstore", Operation::Union, event::ZUNIONSTORE),
);

pub(in crate::command) const ZINTERSTORE: Command<Run> = row(
    Spec {
        name: "zinterstore",
        complexity: INTER_COST,
        summary: "Stores the members of all of several sorted sets.",
        ..ZUNIONSTORE.spec
    },
    |ctx, args, reply| store_result(ctx, args, reply, "zinterstore", Operation::Inter, event::ZINTERSTORE),
);

pub(in crate::command) const ZDIFFSTORE: Command<Run> = row(
    Spec {
        name: "zdiffstore",
        since: "6.2.0",
        complexity: DIFF_COST,
        summary: "Stores the members of the first sorted set that are in no other.",
        syntax: "destination numkeys key [key ...]",
        ..STORES
    },
    |ctx, args, reply| store_result(ctx, args, reply, "zdiffstore", Operation::Diff, event::ZDIFFSTORE),
);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Inter,
    Diff,
}

/// What becomes of the scores of a member that several sources have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
    /// The weights of those that have it, whatever its scores are. Source: Redis 8.8.
    Count,
}

/// One of the sets that are combined.
#[derive(Debug, Clone)]
struct Source {
    elements: Held,
    weight: f64,
}

/// What a source holds: the members of a set have a score of 1.
#[derive(Debug, Clone)]
enum Held {
    Zset(Zset),
    Set(Set),
}

/// A request, its sources read.
struct Request {
    sources: Vec<Source>,
    aggregate: Aggregate,
    with_scores: bool,
    /// How many members are counted at most; 0: all.
    limit: usize,
}

/// What a command lets its requests say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Members,
    Stored,
    Count,
}

/// Elements in order.
type Elements = Vec<(f64, Box<[u8]>)>;

impl Request {
    /// Reads a request whose number of keys is argument `at`. The sources are read before the options, as in Redis.
    fn read(
        ctx: &mut Ctx<'_>,
        args: Args<'_>,
        at: usize,
        command: &'static str,
        operation: Operation,
        answer: Answer,
    ) -> Result<Request, Error> {
        let keys = integer_at(args, at)?;
        let keys = usize::try_from(keys).ok().filter(|&keys| keys > 0);
        let keys = keys.ok_or(ZsetError::NoInputKey { command })?;
        if keys > args.len() - (at + 1) {
            return Err(Error::Syntax);
        }
        let sources = (at + 1..at + 1 + keys).map(|index| Source::read(ctx, &args[index]));
        let sources = sources.collect::<Result<_, _>>()?;
        let mut request = Request { sources, aggregate: Aggregate::Sum, with_scores: false, limit: 0 };
        let mut at = at + 1 + keys;
        while at < args.len() {
            at = request.read_option(args, at, operation, answer)?;
        }
        Ok(request)
    }

    /// Reads the option at `at`; returns the index behind it.
    fn read_option(
        &mut self,
        args: Args<'_>,
        at: usize,
        operation: Operation,
        answer: Answer,
    ) -> Result<usize, Error> {
        let (word, values) = (&args[at], args.len() - at - 1);
        let weighs = operation != Operation::Diff && answer != Answer::Count;
        if weighs && values >= self.sources.len() && is(word, "WEIGHTS") {
            for (index, source) in (at + 1..).zip(&mut self.sources) {
                source.weight = float::score(&args[index]).ok_or(ZsetError::WeightNotFloat)?;
            }
            return Ok(at + 1 + self.sources.len());
        }
        if weighs && values >= 1 && is(word, "AGGREGATE") {
            self.aggregate = match &args[at + 1] {
                word if is(word, "SUM") => Aggregate::Sum,
                word if is(word, "MIN") => Aggregate::Min,
                word if is(word, "MAX") => Aggregate::Max,
                word if is(word, "COUNT") => Aggregate::Count,
                _ => return Err(Error::Syntax),
            };
            return Ok(at + 2);
        }
        if answer == Answer::Members && is(word, "WITHSCORES") {
            self.with_scores = true;
            return Ok(at + 1);
        }
        if answer == Answer::Count && values >= 1 && is(word, "LIMIT") {
            let limit = integer(&args[at + 1]).and_then(|limit| usize::try_from(limit).ok());
            self.limit = limit.ok_or(ZsetError::LimitNegative)?;
            return Ok(at + 2);
        }
        Err(Error::Syntax)
    }

    /// How many elements are looked at, or as much work in bytes.
    fn work(&self, operation: Operation) -> usize {
        let works = self.sources.iter().map(|source| source.elements.work());
        match operation {
            Operation::Inter => works.min().unwrap_or(0).saturating_mul(self.sources.len()),
            Operation::Union => works.sum(),
            Operation::Diff => works.take(1).sum::<usize>().saturating_mul(self.sources.len()),
        }
    }

    fn result(mut self, operation: Operation) -> Elements {
        let elements = match operation {
            Operation::Union => {
                self.sources.sort_by_key(|source| source.elements.len());
                self.union()
            }
            Operation::Inter => {
                self.sources.sort_by_key(|source| source.elements.len());
                let mut elements = Vec::new();
                self.intersect(|member, score| {
                    elements.push((score, member.into()));
                    true
                });
                elements
            }
            Operation::Diff => self.difference(),
        };
        Zset::in_order(elements)
    }

    fn union(&self) -> Elements {
        let mut scores: HashMap<Box<[u8]>, f64> = HashMap::new();
        for source in &self.sources {
            source.elements.visit(|member, score| {
                let score = self.aggregate.part(source.weight, score);
                match scores.get_mut(member) {
                    Some(sum) => *sum = self.aggregate.of(*sum, score),
                    None => drop(scores.insert(member.into(), score)),
                }
            });
        }
        scores.into_iter().map(|(member, score)| (score, member)).collect()
    }

    /// Shows the members that all sources have, until `visit` has had enough. The first source is the smallest.
    fn intersect(&self, mut visit: impl FnMut(&[u8], f64) -> bool) {
        let Some((first, others)) = self.sources.split_first() else { return };
        first.elements.visit_while(&mut |member, score| {
            let mut sum = self.aggregate.part(first.weight, score);
            for other in others {
                let Some(score) = other.elements.score(member) else { return true };
                sum = self.aggregate.of(sum, self.aggregate.part(other.weight, score));
            }
            visit(member, sum)
        });
    }

    fn difference(&self) -> Elements {
        let Some((first, others)) = self.sources.split_first() else { return Vec::new() };
        let mut elements = Elements::new();
        first.elements.visit(|member, score| {
            if others.iter().all(|other| other.elements.score(member).is_none()) {
                elements.push((score, member.into()));
            }
        });
        elements
    }
}

impl Source {
    fn read(ctx: &mut Ctx<'_>, key: &[u8]) -> Result<Source, Error> {
        let elements = match ctx.read(key) {
            None => Held::Zset(Zset::default()),
            Some(ValueRef::Zset(zset)) => Held::Zset(zset.to_zset()),
            Some(ValueRef::Set(set)) => Held::Set(set.to_set()),
            Some(_) => return Err(Error::WrongType),
        };
        Ok(Source { elements, weight: 1.0 })
    }
}

impl Held {
    /// How much work it is to look at all of it.
    fn work(&self) -> usize {
        match self {
            Held::Zset(zset) => work_of_all(&zset.view(), self.len()),
            Held::Set(set) => work_of_all(&set.view(), self.len()),
        }
    }

    fn len(&self) -> usize {
        match self {
            Held::Zset(zset) => zset.view().len(),
            Held::Set(set) => set.view().len(),
        }
    }

    fn score(&self, member: &[u8]) -> Option<f64> {
        match self {
            Held::Zset(zset) => zset.view().score(member),
            Held::Set(set) => set.view().contains(member).then_some(1.0),
        }
    }

    /// Shows members with their scores, until `visit` has had enough.
    fn visit_while(&self, visit: &mut dyn FnMut(&[u8], f64) -> bool) {
        match self {
            Held::Zset(zset) => zset.view().visit_while(0..zset.view().len(), Direction::Forward, visit),
            Held::Set(set) => {
                let mut digits = Digits::default();
                set.view().visit(|member| visit(digits.bytes(member), 1.0));
            }
        }
    }

    fn visit(&self, mut visit: impl FnMut(&[u8], f64)) {
        self.visit_while(&mut |member, score| {
            visit(member, score);
            true
        });
    }
}

impl Aggregate {
    /// What a member's score in a source of this weight adds to the result.
    fn part(self, weight: f64, score: f64) -> f64 {
        match self {
            Aggregate::Count => weight,
            Aggregate::Sum | Aggregate::Min | Aggregate::Max => number(weight * score),
        }
    }

    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            // Opposite infinities are 0, as in Redis.
            Aggregate::Sum | Aggregate::Count => number(a + b),
            Aggregate::Min => a.min(b),
            Aggregate::Max => a.max(b),
        }
    }
}

fn number(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

fn read(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    command: &'static str,
    operation: Operation,
) -> Result<Outcome, Error> {
    let request = Request::read(ctx, args, 1, command, operation, Answer::Members)?;
    ctx.caller.check_work(request.work(operation))?;
    let shape = Shape::of(request.with_scores, reply);
    let elements = request.result(operation);
    shape.write_header(reply, elements.len());
    elements.iter().for_each(|(score, member)| shape.write(reply, member, *score));
    Ok(Outcome::Replied)
}

fn store_result(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    command: &'static str,
    operation: Operation,
    event: EventKind,
) -> Result<Outcome, Error> {
    let request = Request::read(ctx, args, 2, command, operation, Answer::Stored)?;
    ctx.caller.check_work(request.work(operation))?;
    let elements = request.result(operation);
    reply.int(elements.len() as i64);
    store(&mut ctx.slot(&args[1]), &elements, event);
    Ok(Outcome::Replied)
}

fn zintercard(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let mut request = Request::read(ctx, args, 1, "zintercard", Operation::Inter, Answer::Count)?;
    // A limit is on what is found: it may all be looked at in vain.
    ctx.caller.check_work(request.work(Operation::Inter))?;
    request.sources.sort_by_key(|source| source.elements.len());
    let mut count = 0;
    request.intersect(|_, _| {
        count += 1;
        count != request.limit
    });
    reply.int(count as i64);
    Ok(Outcome::Replied)
}
