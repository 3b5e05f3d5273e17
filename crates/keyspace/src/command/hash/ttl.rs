//! HTTL, HPTTL, HEXPIRETIME and HPEXPIRETIME: how long fields still live, and until when. An answer for each field.

use super::expire::parse_fields;
use super::*;

pub(in super::super) const HTTL: Command<Run> = row(
    Spec {
        name: "httl",
        arity: -5,
        flags: Flags::READONLY.union(Flags::FAST),
        since: "7.4.0",
        complexity: "O(1) for each field",
        summary: "Answers how many seconds fields have left: -1 without an expiry, -2 without the field.",
        syntax: "key FIELDS numfields field [field ...]",
        reply: &[ReplyShape::Array],
        tips: &["nondeterministic_output"],
        ..SPEC
    },
    |ctx, args, reply| ttl(ctx, args, reply, |at_ms, now_ms| seconds(at_ms - now_ms)),
);

pub(in super::super) const HPTTL: Command<Run> = row(
    Spec {
        name: "hpttl",
        summary: "Answers how many milliseconds fields have left: -1 without an expiry, -2 without the field.",
        ..HTTL.spec
    },
    |ctx, args, reply| ttl(ctx, args, reply, |at_ms, now_ms| at_ms - now_ms),
);

pub(in super::super) const HEXPIRETIME: Command<Run> = row(
    Spec {
        name: "hexpiretime",
        summary: "Answers the Unix time in seconds when fields expire: -1 without an expiry, -2 without the field.",
        tips: &[],
        ..HTTL.spec
    },
    |ctx, args, reply| ttl(ctx, args, reply, |at_ms, _| seconds(at_ms)),
);

pub(in super::super) const HPEXPIRETIME: Command<Run> = row(
    Spec {
        name: "hpexpiretime",
        summary: "Answers the Unix time in ms when fields expire: -1 without an expiry, -2 without the field.",
        ..HEXPIRETIME.spec
    },
    |ctx, args, reply| ttl(ctx, args, reply, |at_ms, _| at_ms),
);

/// `measure` gets an expiry and the time, which is not above it.
fn ttl(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    measure: fn(at_ms: u64, now_ms: u64) -> u64,
) -> Result<Outcome, Error> {
    let now_ms = ctx.now_ms;
    let hash = read_hash(ctx, &args[1])?;
    let names = parse_fields(args, 2, HashError::NumFieldsNotPositive)?;
    reply.array(names.len());
    for name in names {
        let field = hash.and_then(|hash| hash.field(name, now_ms));
        reply.int(match field.map(|field| field.expiry()) {
            None => -2,
            Some(None) => -1,
            Some(Some(at_ms)) => i64::try_from(measure(at_ms, now_ms)).unwrap_or(i64::MAX),
        });
    }
    Ok(Outcome::Replied)
}

/// A second that has begun counts.
fn seconds(ms: u64) -> u64 {
    ms.div_ceil(1000)
}
