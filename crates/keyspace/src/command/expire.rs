//! EXPIRE and its kin, and PERSIST.

use super::time::Clock;
use super::*;
use sterna_command::Lifetime;

pub(super) const EXPIRE: Command<Run> = row(
    Spec {
        name: "expire",
        arity: -3,
        lifetime: Lifetime::FromNow,
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::at(1),
        acl: Categories::KEYSPACE,
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Lets a key expire after some seconds.",
        syntax: "key seconds [NX | XX | GT | LT]",
        reply: &[ReplyShape::Integer],
        tips: &[],
        ..Spec::PLAIN
    },
    |ctx, args, reply| expire(ctx, args, reply, Clock::Seconds, "expire"),
);

pub(super) const PEXPIRE: Command<Run> = row(
    Spec {
        name: "pexpire",
        since: "2.6.0",
        summary: "Lets a key expire after some milliseconds.",
        syntax: "key milliseconds [NX | XX | GT | LT]",
        ..EXPIRE.spec
    },
    |ctx, args, reply| expire(ctx, args, reply, Clock::Millis, "pexpire"),
);

pub(super) const EXPIREAT: Command<Run> = row(
    Spec {
        name: "expireat",
        lifetime: Lifetime::None,
        since: "1.2.0",
        summary: "Lets a key expire at a Unix time in seconds.",
        syntax: "key unix-time-seconds [NX | XX | GT | LT]",
        ..EXPIRE.spec
    },
    |ctx, args, reply| expire(ctx, args, reply, Clock::UnixSeconds, "expireat"),
);

pub(super) const PEXPIREAT: Command<Run> = row(
    Spec {
        name: "pexpireat",
        lifetime: Lifetime::None,
        since: "2.6.0",
        summary: "Lets a key expire at a Unix time in milliseconds.",
        syntax: "key unix-time-milliseconds [NX | XX | GT | LT]",
        ..EXPIRE.spec
    },
    |ctx, args, reply| expire(ctx, args, reply, Clock::UnixMillis, "pexpireat"),
);

pub(super) const PERSIST: Command<Run> = row(
    Spec {
        name: "persist",
        arity: 2,
        lifetime: Lifetime::None,
        since: "2.2.0",
        summary: "Lets a key stay that would have expired.",
        syntax: "key",
        ..EXPIRE.spec
    },
    persist,
);

/// When an expiry is set. A key that never expires counts as expiring later than any.
#[derive(Debug, Default, Clone, Copy)]
struct Condition {
    missing: bool,
    present: bool,
    later: bool,
    earlier: bool,
}

fn expire(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    clock: Clock,
    command: &'static str,
) -> Result<Outcome, Error> {
    let condition = Condition::parse(args.from(3))?;
    let number = integer_at(args, 2)?;
    let at_ms = clock.unix_ms(number, ctx.now_ms).ok_or(Error::InvalidExpire { command })?;
    let now_ms = ctx.now_ms;
    let mut slot = ctx.slot(&args[1]);
    let sets = !slot.is_empty() && condition.holds(slot.expire_at_ms(), at_ms);
    if sets {
        match u64::try_from(at_ms) {
            Ok(at_ms) if at_ms > now_ms => {
                slot.expire_at(Some(at_ms), event::EXPIRE);
            }
            _ => {
                slot.delete(event::DEL);
            }
        }
    }
    reply.int(i64::from(sets));
    Ok(Outcome::Replied)
}

fn persist(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let mut slot = ctx.slot(&args[1]);
    let expires = slot.expire_at_ms().is_some();
    if expires {
        slot.expire_at(None, event::PERSIST);
    }
    reply.int(i64::from(expires));
    Ok(Outcome::Replied)
}

impl Condition {
    fn parse(options: Args<'_>) -> Result<Condition, Error> {
        let mut condition = Condition::default();
        for option in options.iter() {
            let flag = match () {
                () if is(option, "nx") => &mut condition.missing,
                () if is(option, "xx") => &mut condition.present,
                () if is(option, "gt") => &mut condition.later,
                () if is(option, "lt") => &mut condition.earlier,
                () => return Err(Error::UnsupportedOption { option: option.into() }),
            };
            *flag = true;
        }
        let Condition { missing, present, later, earlier } = condition;
        if missing && (present || later || earlier) {
            return Err(Error::NxExcludesXxGtLt);
        }
        if later && earlier {
            return Err(Error::GtExcludesLt);
        }
        Ok(condition)
    }

    fn holds(self, old_ms: Option<u64>, new_ms: i64) -> bool {
        let old = old_ms.map(i128::from);
        let new = i128::from(new_ms);
        !(self.missing && old.is_some()
            || self.present && old.is_none()
            || self.later && old.is_none_or(|old| new <= old)
            || self.earlier && old.is_some_and(|old| new >= old))
    }
}
