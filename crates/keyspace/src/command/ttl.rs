//! TTL, PTTL, EXPIRETIME and PEXPIRETIME: how long a key still lives, and until when.

use super::*;

pub(super) const TTL: Command<Run> = row(
    Spec {
        name: "ttl",
        arity: 2,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::at(1),
        acl: Categories::KEYSPACE,
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Answers how many seconds a key has left: -1 without an expiry, -2 without a key.",
        syntax: "key",
        reply: &[ReplyShape::Integer],
        tips: &["nondeterministic_output"],
        ..Spec::PLAIN
    },
    |ctx, args, reply| ttl(ctx, args, reply, |at_ms, now_ms| seconds(at_ms.saturating_sub(now_ms))),
);

pub(super) const PTTL: Command<Run> = row(
    Spec {
        name: "pttl",
        since: "2.6.0",
        summary: "Answers how many milliseconds a key has left: -1 without an expiry, -2 without a key.",
        ..TTL.spec
    },
    |ctx, args, reply| ttl(ctx, args, reply, |at_ms, now_ms| at_ms.saturating_sub(now_ms)),
);

pub(super) const EXPIRETIME: Command<Run> = row(
    Spec {
        name: "expiretime",
        since: "7.0.0",
        summary: "Answers the Unix time in seconds when a key expires: -1 without an expiry, -2 without a key.",
        tips: &[],
        ..TTL.spec
    },
    |ctx, args, reply| ttl(ctx, args, reply, |at_ms, _| seconds(at_ms)),
);

pub(super) const PEXPIRETIME: Command<Run> = row(
    Spec {
        name: "pexpiretime",
        summary: "Answers the Unix time in milliseconds when a key expires: -1 without an expiry, -2 without a key.",
        ..EXPIRETIME.spec
    },
    |ctx, args, reply| ttl(ctx, args, reply, |at_ms, _| at_ms),
);

fn ttl(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    measure: fn(at_ms: u64, now_ms: u64) -> u64,
) -> Result<Outcome, Error> {
    let now_ms = ctx.now_ms;
    reply.int(match ctx.inspect(&args[1]).map(|record| record.expire_at_ms()) {
        None => -2,
        Some(None) => -1,
        Some(Some(at_ms)) => i64::try_from(measure(at_ms, now_ms)).unwrap_or(i64::MAX),
    });
    Ok(Outcome::Replied)
}

/// To the nearest second.
fn seconds(ms: u64) -> u64 {
    (ms + 500) / 1000
}
