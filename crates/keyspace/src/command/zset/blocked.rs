//! BZPOPMIN, BZPOPMAX and BZMPOP: they take what is there, or wait until there is something.
//!
//! Waiters are served in the order they came, each from the first of its keys, in the order it named them, that has become
//! a sorted set. A key of another type is waited for; only a command that finds one when it comes is refused.

use super::pop::{End, Popped, Several, pop, work_of, write_from};
use super::*;
use crate::collection::Elements;
use crate::wait::Blocked;

pub(in crate::command) const BZPOPMIN: Command<Run> = row(
    Spec {
        name: "bzpopmin",
        arity: -3,
        flags: Flags::WRITE.union(Flags::BLOCKING).union(Flags::FAST),
        keys: Keys::Range { first: 1, last: -2, step: 1 },
        uses: KeyUses::Each(KeyUse::TAKES),
        taken: Taken::Members,
        since: "5.0.0",
        complexity: "O(log N)",
        summary: "Takes the member with the lowest score from the first sorted set that has one, or waits for one.",
        syntax: "key [key ...] timeout",
        reply: &[ReplyShape::Array, ReplyShape::Null],
        ..SPEC
    },
    |ctx, args, reply| bzpop(ctx, args, reply, End::Min),
);

pub(in crate::command) const BZPOPMAX: Command<Run> = row(
    Spec {
        name: "bzpopmax",
        summary: "Takes the member with the highest score from the first sorted set that has one, or waits for one.",
        ..BZPOPMIN.spec
    },
    |ctx, args, reply| bzpop(ctx, args, reply, End::Max),
);

pub(in crate::command) const BZMPOP: Command<Run> = row(
    Spec {
        name: "bzmpop",
        arity: -5,
        flags: Flags::WRITE.union(Flags::BLOCKING).union(Flags::MOVABLE_KEYS),
        keys: Keys::Counted { count_at: 2 },
        uses: KeyUses::Each(KeyUse::TAKES),
        taken: Taken::Members,
        since: "7.0.0",
        complexity: "O(K + log N + M) for K keys and M members taken",
        summary: "Takes members from the first of several sorted sets that has some, or waits for some.",
        syntax: "timeout numkeys key [key ...] <MIN | MAX> [COUNT count]",
        reply: &[ReplyShape::Array, ReplyShape::Null],
        ..SPEC
    },
    bzmpop,
);

/// How a popped element is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Key, member, score.
    One,
    /// Key and pairs.
    Several,
}

/// A pop that waits.
#[derive(Debug)]
struct Popping {
    /// Its keys, in the order it named them.
    keys: Vec<Box<[u8]>>,
    end: End,
    count: usize,
    form: Form,
}

fn bzpop(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>, end: End) -> Result<Outcome, Error> {
    let last = args.len() - 1;
    let deadline_ms = deadline_at(ctx, args, last)?;
    let keys = (1..last).map(|index| args[index].into()).collect();
    take(ctx, reply, deadline_ms, Popping { keys, end, count: 1, form: Form::One })
}

fn bzmpop(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let Several { first, keys, end, count } = Several::parse(args, 2)?;
    let deadline_ms = deadline_at(ctx, args, 1)?;
    let keys = (first..first + keys).map(|index| args[index].into()).collect();
    take(ctx, reply, deadline_ms, Popping { keys, end, count, form: Form::Several })
}

/// Takes what is there, or waits.
fn take(
    ctx: &mut Ctx<'_>,
    reply: &mut Reply<'_>,
    deadline_ms: Option<u64>,
    popping: Popping,
) -> Result<Outcome, Error> {
    for key in &popping.keys {
        let popped = pop(ctx, key, popping.end, popping.count)?;
        if !popped.is_empty() {
            popping.write(reply, key, &popped);
            return Ok(Outcome::Replied);
        }
    }
    if !ctx.caller.may_block {
        reply.null_array();
        return Ok(Outcome::Replied);
    }
    let mut keys = popping.keys.clone();
    keys.sort_unstable();
    keys.dedup();
    Ok(ctx.wait(keys.into(), deadline_ms, Box::new(popping)))
}

impl Popping {
    /// The first of its keys that has become a sorted set, when `key` has.
    fn source<'s>(&'s self, ctx: &mut Ctx<'_>, key: &'s [u8]) -> &'s [u8] {
        let is_ready = |other: &[u8]| *other == *key || ctx.log.is_ready(ctx.db, other);
        let ready: Vec<&[u8]> = self.keys.iter().map(|key| &**key).filter(|key| is_ready(key)).collect();
        ready.into_iter().find(|key| has_elements(ctx, key)).unwrap_or(key)
    }

    fn write(&self, reply: &mut Reply<'_>, key: &[u8], popped: &Popped) {
        match self.form {
            Form::Several => write_from(reply, key, popped),
            Form::One => {
                reply.array(3);
                reply.bulk(key);
                for (score, member) in popped {
                    reply.bulk(member);
                    reply.double(*score);
                }
            }
        }
    }
}

fn zset_of<'c>(ctx: &'c mut Ctx<'_>, key: &'c [u8]) -> Option<ZsetRef<'c>> {
    ctx.peek(key).and_then(|record| Zset::seen(record.value()))
}

fn has_elements(ctx: &mut Ctx<'_>, key: &[u8]) -> bool {
    zset_of(ctx, key).is_some()
}

impl Blocked for Popping {
    fn is_ready(&self, ctx: &mut Ctx<'_>, key: &[u8]) -> bool {
        has_elements(ctx, key)
    }

    fn work(&self, ctx: &mut Ctx<'_>, key: &[u8]) -> usize {
        let first = self.source(ctx, key);
        zset_of(ctx, first).map_or(0, |zset| work_of(zset, self.count))
    }

    fn serve(&self, ctx: &mut Ctx<'_>, key: &[u8], reply: &mut Reply<'_>) -> Result<(), Error> {
        let first = self.source(ctx, key);
        let popped = pop(ctx, first, self.end, self.count)?;
        self.write(reply, first, &popped);
        Ok(())
    }

    fn sharing(&self) -> Option<[u64; 3]> {
        None
    }

    fn awaits(&self) -> Option<u8> {
        Some(Zset::TAG)
    }
}
