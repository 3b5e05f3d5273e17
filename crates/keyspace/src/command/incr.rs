//! INCR, DECR, INCRBY and DECRBY.

use super::*;
use sterna_command::{KeyUse, KeyUses};

pub(super) const INCR: Command<Run> = row(
    Spec {
        name: "incr",
        arity: 2,
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST),
        keys: Keys::at(1),
        uses: KeyUses::Each(KeyUse::READS_AND_UPDATES),
        acl: Categories::STRING,
        group: Group::String,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Adds one to the integer under a key, which starts at 0.",
        syntax: "key",
        reply: &[ReplyShape::Integer],
        tips: &[],
        ..Spec::PLAIN
    },
    |ctx, args, reply| add(ctx, &args[1], 1, reply),
);

pub(super) const DECR: Command<Run> = row(
    Spec { name: "decr", summary: "Takes one from the integer under a key, which starts at 0.", ..INCR.spec },
    |ctx, args, reply| add(ctx, &args[1], -1, reply),
);

pub(super) const INCRBY: Command<Run> = row(
    Spec {
        name: "incrby",
        arity: 3,
        uses: KeyUses::Each(KeyUse::READS_AND_UPDATES),
        summary: "Adds a number to the integer under a key, which starts at 0.",
        syntax: "key increment",
        ..INCR.spec
    },
    |ctx, args, reply| add(ctx, &args[1], integer_at(args, 2)?, reply),
);

pub(super) const DECRBY: Command<Run> = row(
    Spec {
        name: "decrby",
        uses: KeyUses::Each(KeyUse::READS_AND_UPDATES),
        summary: "Takes a number from the integer under a key, which starts at 0.",
        syntax: "key decrement",
        ..INCRBY.spec
    },
    |ctx, args, reply| {
        let by = integer_at(args, 2)?.checked_neg().ok_or(Error::DecrementOverflow)?;
        add(ctx, &args[1], by, reply)
    },
);

fn add(ctx: &mut Ctx<'_>, key: &[u8], by: i64, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let mut slot = ctx.slot(key);
    let old = match slot.value() {
        None => 0,
        Some(ValueRef::Int(number)) => number,
        // Digits can stand in a string that was appended to.
        Some(value) => {
            value.text().ok_or(Error::WrongType)?.as_short().and_then(integer).ok_or(Error::NotInteger)?
        }
    };
    let Some(new) = old.checked_add(by) else { return Err(Error::IncrementOverflow) };
    slot.set_number(new, event::INCRBY);
    reply.int(new);
    Ok(Outcome::Replied)
}
