//! HEXPIRE and its kin, and HPERSIST: when fields expire. An answer for each field.

use super::named::Named;
use super::*;
use crate::command::time::Clock;
use crate::fields::FieldChange;
use sterna_command::Lifetime;

pub(in super::super) const HEXPIRE: Command<Run> = row(
    Spec {
        name: "hexpire",
        arity: -6,
        lifetime: Lifetime::FromNow,
        since: "7.4.0",
        complexity: "O(1) for each field",
        summary: "Lets fields of a hash expire after some seconds.",
        syntax: "key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        reply: &[ReplyShape::Array],
        ..SPEC
    },
    |ctx, args, reply| expire(ctx, args, reply, Clock::Seconds, "hexpire"),
);

pub(in super::super) const HPEXPIRE: Command<Run> = row(
    Spec {
        name: "hpexpire",
        summary: "Lets fields of a hash expire after some milliseconds.",
        syntax: "key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        ..HEXPIRE.spec
    },
    |ctx, args, reply| expire(ctx, args, reply, Clock::Millis, "hpexpire"),
);

pub(in super::super) const HEXPIREAT: Command<Run> = row(
    Spec {
        name: "hexpireat",
        lifetime: Lifetime::None,
        summary: "Lets fields of a hash expire at a Unix time in seconds.",
        syntax: "key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        ..HEXPIRE.spec
    },
    |ctx, args, reply| expire(ctx, args, reply, Clock::UnixSeconds, "hexpireat"),
);

pub(in super::super) const HPEXPIREAT: Command<Run> = row(
    Spec {
        name: "hpexpireat",
        lifetime: Lifetime::None,
        summary: "Lets fields of a hash expire at a Unix time in milliseconds.",
        syntax: "key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        ..HEXPIRE.spec
    },
    |ctx, args, reply| expire(ctx, args, reply, Clock::UnixMillis, "hpexpireat"),
);

pub(in super::super) const HPERSIST: Command<Run> = row(
    Spec {
        name: "hpersist",
        arity: -5,
        lifetime: Lifetime::None,
        summary: "Lets fields of a hash stay that would have expired.",
        syntax: "key FIELDS numfields field [field ...]",
        ..HEXPIRE.spec
    },
    hpersist,
);

/// Latest expiry of a field, as in Redis: 46 bits of milliseconds.
const LATEST_MS: i64 = (1 << 46) - 1;

/// What is answered of a field.
const NO_FIELD: i64 = -2;
const NO_EXPIRY: i64 = -1;
const NOT_MET: i64 = 0;
const SET: i64 = 1;
const REMOVED: i64 = 2;

/// When an expiry is set. A field that never expires counts as expiring later than any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Always,
    Missing,
    Present,
    Later,
    Earlier,
}

impl Condition {
    /// The condition that a word is, if it is one.
    fn of(word: &[u8]) -> Option<Condition> {
        let words = [
            ("nx", Condition::Missing),
            ("xx", Condition::Present),
            ("gt", Condition::Later),
            ("lt", Condition::Earlier),
        ];
        words.into_iter().find(|(name, _)| is(word, name)).map(|(_, condition)| condition)
    }

    fn holds(self, old_ms: Option<u64>, new_ms: u64) -> bool {
        match self {
            Condition::Always => true,
            Condition::Missing => old_ms.is_none(),
            Condition::Present => old_ms.is_some(),
            Condition::Later => old_ms.is_some_and(|old_ms| new_ms > old_ms),
            Condition::Earlier => old_ms.is_none_or(|old_ms| new_ms < old_ms),
        }
    }
}

/// The Unix time in milliseconds that an argument means, which may be over.
pub(super) fn parse_time(
    clock: Clock,
    number: &[u8],
    now_ms: u64,
    command: &'static str,
) -> Result<u64, Error> {
    let number = integer(number).ok_or(Error::NotInteger)?;
    if number < 0 {
        return Err(HashError::ExpireNegative.into());
    }
    let at_ms = clock.unix_ms(number, now_ms).filter(|&at_ms| at_ms <= LATEST_MS);
    at_ms.and_then(|at_ms| u64::try_from(at_ms).ok()).ok_or(Error::InvalidExpire { command })
}

/// The names behind FIELDS, which is argument `at`, and their number, which `refused` says is none.
pub(super) fn parse_fields(
    args: Args<'_>,
    at: usize,
    refused: HashError,
) -> Result<impl ExactSizeIterator<Item = &[u8]> + Clone, Error> {
    if !args.get(at).is_some_and(|word| is(word, "fields")) {
        return Err(HashError::FieldsMissing.into());
    }
    let count = args.get(at + 1).and_then(integer).filter(|&count| count > 0).ok_or(refused)?;
    let names = texts(args, at + 2);
    if u64::try_from(count) != Ok(names.len() as u64) {
        return Err(HashError::NumFieldsMismatch.into());
    }
    Ok(names)
}

fn expire(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    clock: Clock,
    command: &'static str,
) -> Result<Outcome, Error> {
    let now_ms = ctx.now_ms;
    let mut slot = ctx.slot(&args[1]);
    slot.elements::<Hash>()?;
    let at_ms = parse_time(clock, &args[2], now_ms, command)?;
    let (condition, named) = parse_options(args)?;
    let names = named.names(args);
    let (event, change, done) = if at_ms <= now_ms {
        (event::HDEL, FieldChange::Remove, REMOVED)
    } else {
        (event::HEXPIRE, FieldChange::Expire(Some(at_ms)), SET)
    };
    slot.expire_fields_of(names.clone());
    let changed = slot.edit(event, |hash: &mut Hash, edits| {
        reply.array(names.len());
        hash.change_each(edits, names, change, |field| {
            let code = match field {
                None => NO_FIELD,
                Some(field) if !condition.holds(field.expiry(), at_ms) => NOT_MET,
                Some(_) => done,
            };
            reply.int(code);
            code == done
        })
    })?;
    if done == REMOVED {
        slot.count_expired_fields(changed);
    }
    Ok(Outcome::Replied)
}

/// The condition and FIELDS, in any order.
fn parse_options(args: Args<'_>) -> Result<(Condition, Named), Error> {
    let (mut condition, mut named, mut at) = (None, None::<Named>, 3);
    let mut differ = false;
    while let Some(word) = args.get(at) {
        if is(word, "fields") {
            if named.is_some() {
                return Err(HashError::FieldsTwice.into());
            } else if at + 2 >= args.len() {
                return Err(HashError::FieldsCut.into());
            }
            let fields = Named::parse(args, at, 1, HashError::NumFieldsZero)?;
            at = fields.end();
            named = Some(fields);
        } else if let Some(asked) = Condition::of(word) {
            differ |= condition.replace(asked).is_some_and(|before| before != asked);
            at += 1;
        } else {
            return Err(HashError::Argument { argument: word.into() }.into());
        }
    }
    let named = named.ok_or(HashError::FieldsAbsent)?;
    if differ {
        return Err(HashError::ConditionsDiffer.into());
    }
    Ok((condition.unwrap_or(Condition::Always), named))
}

fn hpersist(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let mut slot = ctx.slot(&args[1]);
    slot.elements::<Hash>()?;
    let names = parse_fields(args, 2, HashError::NumFieldsNotPositive)?;
    slot.edit(event::HPERSIST, |hash: &mut Hash, edits| {
        reply.array(names.len());
        hash.change_each(edits, names, FieldChange::Expire(None), |field| {
            let code = match field.map(|field| field.expiry()) {
                None => NO_FIELD,
                Some(None) => NO_EXPIRY,
                Some(Some(_)) => SET,
            };
            reply.int(code);
            code == SET
        });
    })?;
    Ok(Outcome::Replied)
}
