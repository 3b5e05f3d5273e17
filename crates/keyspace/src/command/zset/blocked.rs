//! BZPOPMIN, BZPOPMAX and BZMPOP: they take what is there, or wait until there is something.
//!
//! Waiters are served in the order they came, each from the first of its keys, in the order it named them, that has become
//! a sorted set. A key of another type is waited for; only a command that finds one when it comes is refused.

use super::pop::{End, Popped, Several, pop, write_from};
use super::*;
use crate::extended::{Extended, Parsed};
use crate::wait::Blocked;

pub(in crate::command) const BZPOPMIN: Command<Run> = row(
    Spec {
        name: "bzpopmin",
        arity: -3,
        flags: Flags::WRITE.union(Flags::BLOCKING).union(Flags::FAST),
        keys: Keys::Range { first: 1, last: -2, step: 1 },
        uses: KeyUses::Each(KeyUse::TAKES),
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
    let deadline_ms = deadline(&args[last], ctx.now_ms)?;
    let keys = (1..last).map(|index| args[index].into()).collect();
    take(ctx, reply, deadline_ms, Popping { keys, end, count: 1, form: Form::One })
}

fn bzmpop(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let Several { first, keys, end, count } = Several::parse(args, 2)?;
    let deadline_ms = deadline(&args[1], ctx.now_ms)?;
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

fn has_elements(ctx: &mut Ctx<'_>, key: &[u8]) -> bool {
    ctx.peek(key).is_some_and(|record| matches!(record.value(), Value::Zset(_)))
}

impl Blocked for Popping {
    fn is_ready(&self, ctx: &mut Ctx<'_>, key: &[u8]) -> bool {
        has_elements(ctx, key)
    }

    fn serve(&self, ctx: &mut Ctx<'_>, key: &[u8], reply: &mut Reply<'_>) -> Result<(), Error> {
        let is_ready = |other: &[u8]| *other == *key || ctx.log.is_ready(ctx.db, other);
        let ready: Vec<&[u8]> = self.keys.iter().map(|key| &**key).filter(|key| is_ready(key)).collect();
        let first = ready.into_iter().find(|key| has_elements(ctx, key)).unwrap_or(key);
        let popped = pop(ctx, first, self.end, self.count)?;
        self.write(reply, first, &popped);
        Ok(())
    }

    fn sharing(&self) -> Option<[u64; 3]> {
        None
    }
}

/// When a timeout in seconds ends, Unix time in milliseconds; `None`: never.
///
/// A part of a millisecond is a whole one. Source: Redis's `getTimeoutFromObjectOrReply`.
fn deadline(text: &[u8], now_ms: u64) -> Result<Option<u64>, Error> {
    let seconds = match Extended::parse(text) {
        None => return Err(ZsetError::TimeoutNotFloat.into()),
        Some(Parsed::Infinite) => f64::INFINITY,
        Some(Parsed::Finite(number)) => number.to_f64_not_zero(),
    };
    let ms = (seconds * 1000.0).ceil();
    if ms > (i64::MAX as u64 - now_ms) as f64 {
        return Err(ZsetError::TimeoutOutOfRange.into());
    }
    if ms < 0.0 {
        return Err(ZsetError::TimeoutNegative.into());
    }
    Ok((ms > 0.0).then(|| now_ms + ms as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_redis_reads_them() {
        let rows: &[(&str, Result<Option<u64>, ZsetError>)] = &[
            ("0", Ok(None)),
            ("-0.0001", Ok(None)),
            ("1", Ok(Some(2000))),
            ("0.044", Ok(Some(1044))),
            ("0.0001", Ok(Some(1001))),
            ("1e-400", Ok(Some(1001))),
            ("0x1", Ok(Some(2000))),
            ("-1", Err(ZsetError::TimeoutNegative)),
            ("x", Err(ZsetError::TimeoutNotFloat)),
            ("", Err(ZsetError::TimeoutNotFloat)),
            ("nan", Err(ZsetError::TimeoutNotFloat)),
            ("inf", Err(ZsetError::TimeoutOutOfRange)),
            ("1e30", Err(ZsetError::TimeoutOutOfRange)),
            ("9223372036854775807", Err(ZsetError::TimeoutOutOfRange)),
        ];
        for (text, expected) in rows {
            assert_eq!(deadline(text.as_bytes(), 1000), expected.map_err(Error::Zset), "{text:?}");
        }
    }
}
