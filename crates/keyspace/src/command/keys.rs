//! KEYS, RANDOMKEY and DBSIZE: the keyspace as a whole.

use super::*;
use crate::bytes::Bytes;
use crate::long::{HeldSteps, LONG_MIN};
use crate::stride::Stride;

pub(super) const KEYS: Command<Run> = row(
    Spec {
        name: "keys",
        arity: 2,
        flags: Flags::READONLY.union(Flags::ALL_KEYS).union(Flags::IN_PARTS),
        keys: Keys::None,
        acl: Categories::KEYSPACE.union(Categories::DANGEROUS),
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(N) for N keys in the database, a part of them at a time",
        summary: "Answers every key whose name matches a pattern.",
        syntax: "pattern",
        reply: &[ReplyShape::Array],
        tips: &["request_policy:all_shards", "nondeterministic_output_order"],
        ..Spec::PLAIN
    },
    keys,
);

pub(super) const RANDOMKEY: Command<Run> = row(
    Spec {
        name: "randomkey",
        arity: 1,
        flags: Flags::READONLY.union(Flags::ALL_KEYS),
        acl: Categories::KEYSPACE,
        complexity: "O(1)",
        summary: "Answers the name of some key, or null if there is none.",
        syntax: "",
        reply: &[ReplyShape::Bulk, ReplyShape::Null],
        tips: &["request_policy:all_shards", "response_policy:special", "nondeterministic_output"],
        ..KEYS.spec
    },
    randomkey,
);

pub(super) const DBSIZE: Command<Run> = row(
    Spec {
        name: "dbsize",
        arity: 1,
        flags: Flags::READONLY.union(Flags::FAST).union(Flags::ALL_KEYS),
        acl: Categories::KEYSPACE,
        group: Group::Server,
        complexity: "O(1)",
        summary: "Answers how many keys the selected database has.",
        syntax: "",
        reply: &[ReplyShape::Integer],
        tips: &["request_policy:all_shards", "response_policy:agg_sum"],
        ..KEYS.spec
    },
    dbsize,
);

fn keys(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let pattern = &args[1];
    if ctx.caller.may_yield && !ctx.caller.may_block && is_long(ctx, pattern) {
        return Ok(Outcome::Held(Box::new(Walking { pattern: pattern.into(), ..Walking::default() })));
    }
    let mut stride = Stride::of_keys(usize::MAX, usize::MAX, Some(pattern));
    let live = ctx.space.partitions().flat_map(|part| part.records(ctx.db));
    let live = live.filter(|record| !record.is_expired(ctx.now_ms)).map(|record| record.key());
    let names: Vec<&[u8]> = live.filter(|key| stride.wants(key)).collect();
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name));
    Ok(Outcome::Replied)
}

/// Whether it may take long to walk past all keys.
fn is_long(ctx: &Ctx<'_>, pattern: &[u8]) -> bool {
    let (mut keys, mut bytes) = (0, 0);
    for part in ctx.space.partitions() {
        let names = part.names(ctx.db);
        (keys, bytes) = (keys + names.0, bytes + names.1);
    }
    !Stride::of_keys(LONG_MIN, LONG_BYTES, Some(pattern)).has_room(keys, bytes)
}

/// Bytes that take as long as [`LONG_MIN`] keys.
const LONG_BYTES: usize = 2 << 20;

/// Keys that are looked at, or answered, in one step, and their bytes: some 0.1 ms.
const STEP_KEYS: usize = 1024;
const STEP_BYTES: usize = 256 << 10;

/// A KEYS on its way.
#[derive(Debug, Default)]
struct Walking {
    pattern: Box<[u8]>,
    /// Where it goes on: at this place of this partition.
    partition: usize,
    from: u64,
    found: Vec<Box<[u8]>>,
    /// How many of them have been answered, once all have been found.
    answered: Option<usize>,
}

impl HeldSteps for Walking {
    fn step(&mut self, ctx: &mut Ctx<'_>, reply: &mut Reply<'_>) -> Result<bool, Error> {
        let Some(answered) = &mut self.answered else {
            self.find_some(ctx);
            if self.partition == ctx.space.count() {
                reply.array(self.found.len());
                self.answered = Some(0);
            }
            return Ok(true);
        };
        let mut stride = Stride::of_keys(STEP_KEYS, STEP_BYTES, None);
        while !stride.is_over()
            && let Some(name) = self.found.get(*answered)
        {
            stride.pass(name.len());
            reply.bulk(name);
            *answered += 1;
        }
        Ok(*answered < self.found.len())
    }
}

impl Walking {
    fn find_some(&mut self, ctx: &mut Ctx<'_>) {
        let now_ms = ctx.now_ms;
        let mut stride = Stride::of_keys(STEP_KEYS, STEP_BYTES, Some(&self.pattern));
        let found = &mut self.found;
        let part = ctx.space.partition(self.partition);
        let next = part.scan(ctx.db, self.from, &mut stride, |stride, record| {
            if !record.is_expired(now_ms) && stride.wants(record.key()) {
                found.push(record.key().into());
            }
        });
        self.from = next.unwrap_or(0);
        self.partition += usize::from(next.is_none());
    }
}

fn dbsize(ctx: &mut Ctx<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    reply.int(size(ctx) as i64);
    Ok(Outcome::Replied)
}

/// Draws until one is a key that is not due. The last is answered in any case: where very many are due, or all are and none may be removed
/// (in a pause, at a node that follows), there would be no end. Source: Redis, where none may be removed.
const DRAWS_MAX: usize = 100;

fn randomkey(ctx: &mut Ctx<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    for draw in 1..=DRAWS_MAX {
        let Some(key) = random(ctx) else { break };
        if draw == DRAWS_MAX || ctx.peek(&key).is_some() {
            reply.bulk(&key);
            return Ok(Outcome::Replied);
        }
    }
    reply.null();
    Ok(Outcome::Replied)
}

fn size(ctx: &Ctx<'_>) -> usize {
    ctx.space.partitions().map(|part| part.fill(ctx.db, ctx.now_ms).keys).sum()
}

/// The name of a random key, each about as likely as any other.
fn random(ctx: &mut Ctx<'_>) -> Option<Bytes> {
    let mut nth = ctx.space.partition(0).random() % (size(ctx) as u64).max(1);
    for index in 0..ctx.space.count() {
        let part = ctx.space.partition(index);
        let keys = part.fill(ctx.db, ctx.now_ms).keys as u64;
        if nth < keys {
            let random = part.random();
            return part.sample(ctx.db, random).map(|record| Bytes::from(record.key()));
        }
        nth -= keys;
    }
    None
}
