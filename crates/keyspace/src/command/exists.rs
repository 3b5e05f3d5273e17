//! EXISTS, TOUCH and TYPE: whether a key is there, and what it holds.

use super::*;
use sterna_command::{KeyUse, KeyUses};

pub(super) const EXISTS: Command<Run> = row(
    Spec {
        name: "exists",
        arity: -2,
        flags: Flags::READONLY.union(Flags::FAST).union(Flags::IN_PARTS),
        keys: Keys::from(1),
        uses: KeyUses::Each(KeyUse::EXAMINES),
        acl: Categories::KEYSPACE,
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(N) for N keys",
        summary: "Answers how many of the keys exist, one named twice counting twice.",
        syntax: "key [key ...]",
        reply: &[ReplyShape::Integer],
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        ..Spec::PLAIN
    },
    exists,
);

pub(super) const TOUCH: Command<Run> = row(
    Spec {
        name: "touch",
        uses: KeyUses::Each(KeyUse::EXAMINES),
        since: "3.2.1",
        summary: "Marks keys as used now and answers how many of them exist.",
        ..EXISTS.spec
    },
    touch,
);

pub(super) const TYPE: Command<Run> = row(
    Spec {
        name: "type",
        arity: 2,
        keys: Keys::at(1),
        uses: KeyUses::Each(KeyUse::EXAMINES),
        complexity: "O(1)",
        summary: "Answers the type of the value under a key, or none.",
        syntax: "key",
        reply: &[ReplyShape::Simple],
        tips: &[],
        ..EXISTS.spec
    },
    type_,
);

fn exists(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let found = args.from(1).iter().filter(|key| ctx.inspect(key).is_some()).count();
    reply.int(found as i64);
    Ok(Outcome::Replied)
}

fn touch(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    // What TOUCH touches counts as used even for a client that asked for CLIENT NO-TOUCH.
    ctx.caller.touches = true;
    let found = args.from(1).iter().filter(|key| ctx.read(key).is_some()).count();
    reply.int(found as i64);
    Ok(Outcome::Replied)
}

fn type_(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    reply.simple(ctx.inspect(&args[1]).map_or("none", |record| record.value().type_name()));
    Ok(Outcome::Replied)
}
