//! MGET, MSET and MSETNX: several strings at once.

use super::*;
use sterna_command::{KeyUse, KeyUses};

pub(super) const MGET: Command<Run> = row(
    Spec {
        name: "mget",
        arity: -2,
        flags: Flags::READONLY.union(Flags::FAST).union(Flags::IN_PARTS),
        keys: Keys::from(1),
        acl: Categories::STRING,
        group: Group::String,
        since: "1.0.0",
        complexity: "O(N) for N keys",
        summary: "Answers the strings under several keys, null where there is none.",
        syntax: "key [key ...]",
        reply: &[ReplyShape::Array],
        tips: &["request_policy:multi_shard"],
        ..Spec::PLAIN
    },
    mget,
);

pub(super) const MSET: Command<Run> = row(
    Spec {
        name: "mset",
        arity: -3,
        flags: Flags::WRITE.union(Flags::DENYOOM),
        keys: Keys::Range { first: 1, last: -1, step: 2 },
        uses: KeyUses::Each(KeyUse::OVERWRITES),
        since: "1.0.1",
        summary: "Stores strings under several keys at once.",
        syntax: "key value [key value ...]",
        reply: &[ReplyShape::Ok],
        tips: &["request_policy:multi_shard", "response_policy:all_succeeded"],
        ..MGET.spec
    },
    |ctx, args, reply| {
        set_all(ctx, pairs(args, "mset")?);
        reply.ok();
        Ok(Outcome::Replied)
    },
);

pub(super) const MSETNX: Command<Run> = row(
    Spec {
        name: "msetnx",
        uses: KeyUses::Each(KeyUse::CREATES),
        summary: "Stores strings under several keys at once, if none of the keys exists.",
        reply: &[ReplyShape::Integer],
        tips: &[],
        ..MSET.spec
    },
    |ctx, args, reply| {
        let missing = pairs(args, "msetnx")?.all(|(key, _)| ctx.slot(key).is_empty());
        if missing {
            set_all(ctx, pairs(args, "msetnx")?);
        }
        reply.int(i64::from(missing));
        Ok(Outcome::Replied)
    },
);

fn mget(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    reply.array(args.len() - 1);
    for key in args.from(1).iter() {
        match ctx.read(key).and_then(Value::text) {
            Some(text) => reply.bulk(&text),
            None => reply.null(),
        }
    }
    Ok(Outcome::Replied)
}

fn pairs<'a>(
    args: Args<'a>,
    command: &'static str,
) -> Result<impl Iterator<Item = (&'a [u8], &'a [u8])>, Error> {
    if args.len().is_multiple_of(2) {
        return Err(Error::Arity { command });
    }
    let rest = args.from(1);
    Ok((0..rest.len()).step_by(2).filter_map(move |at| rest.get(at).zip(rest.get(at + 1))))
}

fn set_all<'a>(ctx: &mut Ctx<'_>, pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
    for (key, value) in pairs {
        ctx.slot(key).overwrite(Value::string(value), None, event::SET);
    }
}
