//! OBJECT: what a key is made of.

use super::*;
use crate::eviction::Noted;
use sterna_command::{KeyUse, KeyUses};

pub(super) const OBJECT: Command<Run> = Command {
    spec: Spec {
        name: "object",
        arity: -2,
        flags: Flags::empty(),
        keys: Keys::None,
        acl: Categories::empty(),
        group: Group::Generic,
        since: "2.2.3",
        complexity: "Depends on the subcommand",
        summary: "Tells how a value is kept.",
        syntax: "",
        reply: &[],
        tips: &[],
        ..Spec::PLAIN
    },
    run: None,
    subcommands: &[
        row(ENCODING, |ctx, args, reply| {
            inspect(ctx, args, reply, |record, _, reply| {
                reply.bulk(record.value().encoding().as_bytes());
                Ok(())
            })
        }),
        row(FREQ, |ctx, args, reply| {
            inspect(ctx, args, reply, |record, scene, reply| match scene.noted {
                Noted::Frequency(frequency) => {
                    reply.int(frequency.count(record.usage(), scene.now_ms).into());
                    Ok(())
                }
                Noted::LastUse | Noted::LastChange => Err(Error::FrequencyNotTracked),
            })
        }),
        row(HELP, help),
        row(IDLETIME, |ctx, args, reply| {
            inspect(ctx, args, reply, |record, scene, reply| match scene.noted {
                Noted::LastUse | Noted::LastChange => {
                    reply.int(record.idle_s(scene.now_ms) as i64);
                    Ok(())
                }
                Noted::Frequency(_) => Err(Error::IdleTimeNotTracked),
            })
        }),
        row(REFCOUNT, |ctx, args, reply| {
            inspect(ctx, args, reply, |_, _, reply| {
                reply.int(1);
                Ok(())
            })
        }),
    ],
};

const ENCODING: Spec = Spec {
    name: "encoding",
    arity: 3,
    flags: Flags::READONLY,
    keys: Keys::at(2),
    uses: KeyUses::Each(KeyUse::EXAMINES),
    acl: Categories::KEYSPACE,
    group: Group::Generic,
    since: "2.2.3",
    complexity: "O(1)",
    summary: "Answers how the value is laid out in memory.",
    syntax: "key",
    reply: &[ReplyShape::Bulk, ReplyShape::Null],
    tips: &["nondeterministic_output"],
    ..Spec::PLAIN
};

const FREQ: Spec = Spec {
    name: "freq",
    since: "4.0.0",
    summary: "Answers how often the key is used, as a policy sees it that counts uses.",
    reply: &[ReplyShape::Integer, ReplyShape::Null],
    ..ENCODING
};

const HELP: Spec = Spec {
    name: "help",
    arity: 2,
    flags: Flags::LOADING.union(Flags::STALE),
    keys: Keys::None,
    since: "6.2.0",
    summary: "Lists the subcommands.",
    syntax: "",
    reply: &[ReplyShape::Array],
    tips: &[],
    ..ENCODING
};

const IDLETIME: Spec =
    Spec { name: "idletime", summary: "Answers for how many seconds the key has not been used.", ..REFCOUNT };

const REFCOUNT: Spec = Spec {
    name: "refcount",
    summary: "Answers how many keys share the value: one.",
    reply: &[ReplyShape::Integer, ReplyShape::Null],
    ..ENCODING
};

/// What an answer depends on beside the record.
struct Scene {
    now_ms: u64,
    noted: Noted,
}

/// Answers from the record of a key, or null if there is none; being looked at is not being used.
fn inspect(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    answer: fn(Record<'_>, &Scene, &mut Reply<'_>) -> Result<(), Error>,
) -> Result<Outcome, Error> {
    let noted = ctx.space.of(&args[2]).0.settings.eviction.noted();
    let scene = Scene { now_ms: ctx.now_ms, noted };
    match ctx.inspect_silently(&args[2]) {
        Some(record) => answer(record, &scene, reply)?,
        None => reply.null(),
    }
    Ok(Outcome::Replied)
}

fn help(_ctx: &mut Ctx<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    write_help(&OBJECT, reply);
    Ok(Outcome::Replied)
}
