//! MGET, MSET, MSETEX and MSETNX: several strings at once.

use super::set::{Condition, Of, Options};
use super::*;
use sterna_command::{KeyUse, KeyUses, Lifetime};

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

pub(super) const MSETEX: Command<Run> = row(
    Spec {
        name: "msetex",
        arity: -4,
        lifetime: Lifetime::Options { from: 2, pairs: Some(1), per_field: 1 },
        keys: Keys::CountedPairs { count_at: 1 },
        since: "8.4.0",
        summary: "Stores strings under several keys at once with one expiry, if a condition holds for all.",
        syntax: "numkeys key value [key value ...] [NX | XX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
                 PXAT unix-time-milliseconds | KEEPTTL]",
        reply: &[ReplyShape::Integer],
        ..MSET.spec
    },
    msetex,
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
    let (caller, start) = (ctx.caller, reply.out.len());
    reply.array(args.len() - 1);
    let mut too_long = Ok(());
    for key in args.from(1).iter() {
        match ctx.read(key) {
            // The rest is counted as read all the same.
            _ if too_long.is_err() => {}
            // As in GET.
            Some(ValueRef::Text(bytes)) => {
                too_long = caller.check_copy(reply.out.len() - start + bytes.len());
                if too_long.is_ok() {
                    reply.bulk(bytes);
                }
            }
            value => match value.and_then(ValueRef::text) {
                Some(text) => {
                    too_long = caller.check_copy(reply.out.len() - start + text.len());
                    if too_long.is_ok() {
                        text.reply(reply);
                    }
                }
                None => reply.null(),
            },
        }
    }
    if too_long.is_err() {
        reply.out.truncate(start);
    }
    too_long.map(|()| Outcome::Replied)
}

fn msetex(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let count = integer(&args[1]).and_then(|count| i32::try_from(count).ok()).filter(|&count| count > 0);
    let count = count.ok_or(Error::KeyCount)? as usize;
    if (args.len() - 2) / 2 < count {
        return Err(Error::PairCount);
    }
    let options = Options::parse(args, 2 + 2 * count, Of::Msetex)?;
    let (keep, expire_at_ms) = options.expire_at_ms(ctx.now_ms, "msetex")?;
    let pairs = || (0..count).map(|nth| (&args[2 + 2 * nth], &args[3 + 2 * nth]));
    let holds = match options.condition {
        Condition::Missing => pairs().all(|(key, _)| ctx.slot(key).is_empty()),
        Condition::Present => pairs().all(|(key, _)| !ctx.slot(key).is_empty()),
        Condition::Always | Condition::If(_) => true,
    };
    if holds {
        for (key, value) in pairs() {
            let mut slot = ctx.slot(key);
            let expire_at_ms = if keep { slot.expire_at_ms() } else { expire_at_ms };
            slot.overwrite(NewValue::string(value), expire_at_ms, event::SET);
            if !keep && expire_at_ms.is_some() {
                slot.event(event::EXPIRE);
            }
        }
    }
    reply.int(i64::from(holds));
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
        ctx.slot(key).overwrite(NewValue::string(value), None, event::SET);
    }
}
