//! MEMORY USAGE; the other subcommands are the server's.

use super::*;
use sterna_command::{KeyUse, KeyUses};

pub(super) const MEMORY: Command<Run> = Command {
    spec: Spec {
        name: "memory",
        arity: -2,
        flags: Flags::empty(),
        keys: Keys::None,
        acl: Categories::empty(),
        group: Group::Server,
        since: "4.0.0",
        complexity: "Depends on the subcommand",
        summary: "Tells where memory goes.",
        syntax: "",
        reply: &[],
        tips: &[],
        ..Spec::PLAIN
    },
    run: None,
    subcommands: &[row(USAGE, usage)],
};

const USAGE: Spec = Spec {
    name: "usage",
    arity: -3,
    flags: Flags::READONLY,
    keys: Keys::at(2),
    uses: KeyUses::Each(KeyUse::EXAMINES),
    acl: Categories::empty(),
    group: Group::Server,
    since: "4.0.0",
    complexity: "O(1)",
    summary: "Answers how many bytes a key and its value take; samples are accepted, the answer is exact without.",
    syntax: "key [SAMPLES count]",
    reply: &[ReplyShape::Integer, ReplyShape::Null],
    tips: &[],
    ..Spec::PLAIN
};

fn usage(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let mut at = 3;
    while at < args.len() {
        if !is(&args[at], "samples") || at + 1 == args.len() {
            return Err(Error::Syntax);
        }
        if integer_at(args, at + 1)? < 0 {
            return Err(Error::Syntax);
        }
        at += 2;
    }
    match ctx.peek(&args[2]) {
        Some(record) => reply.int(record.usage_bytes() as i64),
        None => reply.null(),
    }
    Ok(Outcome::Replied)
}
