//! SMEMBERS, SISMEMBER, SMISMEMBER and SCARD: what is in a set.

use super::steps::{Wanted, in_steps};
use super::*;
use sterna_command::{KeyUse, KeyUses};

pub(in super::super) const SMEMBERS: Command<Run> = row(
    Spec {
        name: "smembers",
        arity: 2,
        flags: Flags::READONLY,
        complexity: "O(N) for N members",
        summary: "Answers all members of a set.",
        syntax: "key",
        reply: &[ReplyShape::Set],
        tips: &["nondeterministic_output_order"],
        ..SPEC
    },
    |ctx, args, reply| {
        let caller = ctx.caller;
        let Some(set) = read_set(ctx, &args[1])? else {
            reply.set(0);
            return Ok(Outcome::Replied);
        };
        Ok(in_steps(caller, Wanted::Union, &[set], set.len())?.unwrap_or_else(|| {
            write_all(reply, set);
            Outcome::Replied
        }))
    },
);

pub(in super::super) const SISMEMBER: Command<Run> = row(
    Spec {
        name: "sismember",
        arity: 3,
        flags: Flags::READONLY.union(Flags::FAST),
        uses: KeyUses::Each(KeyUse::EXAMINES),
        element: ElementAt::Index(2),
        complexity: "O(1)",
        summary: "Answers whether a set has a member.",
        syntax: "key member",
        reply: &[ReplyShape::Integer],
        tips: &[],
        ..SMEMBERS.spec
    },
    |ctx, args, reply| {
        let is_member = read_set(ctx, &args[1])?.is_some_and(|set| set.contains(&args[2]));
        reply.int(i64::from(is_member));
        Ok(Outcome::Replied)
    },
);

pub(in super::super) const SMISMEMBER: Command<Run> = row(
    Spec {
        name: "smismember",
        arity: -3,
        flags: Flags::READONLY.union(Flags::FAST),
        element: ElementAt::Index(2),
        since: "6.2.0",
        complexity: "O(1) for each member",
        summary: "Answers for each of several members whether a set has it.",
        syntax: "key member [member ...]",
        reply: &[ReplyShape::Array],
        tips: &[],
        ..SMEMBERS.spec
    },
    |ctx, args, reply| {
        let set = read_set(ctx, &args[1])?;
        let names = args.from(2);
        reply.array(names.len());
        for name in names.iter() {
            reply.int(i64::from(set.is_some_and(|set| set.contains(name))));
        }
        Ok(Outcome::Replied)
    },
);

pub(in super::super) const SCARD: Command<Run> = row(
    Spec {
        name: "scard",
        arity: 2,
        element: ElementAt::None,
        complexity: "O(1)",
        summary: "Answers how many members a set has.",
        syntax: "key",
        ..SISMEMBER.spec
    },
    |ctx, args, reply| {
        let len = read_set(ctx, &args[1])?.map_or(0, SetRef::len);
        reply.int(len as i64);
        Ok(Outcome::Replied)
    },
);

fn write_all(reply: &mut Reply<'_>, set: SetRef<'_>) {
    reply.set(set.len());
    set.for_each(|member| write_member(reply, member));
}
