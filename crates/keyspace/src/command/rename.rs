//! RENAME and RENAMENX.

use super::*;
use sterna_command::{KeyUse, KeyUses};

pub(super) const RENAME: Command<Run> = row(
    Spec {
        name: "rename",
        arity: 3,
        flags: Flags::WRITE,
        keys: Keys::Range { first: 1, last: 2, step: 1 },
        uses: KeyUses::FirstAndSecond(KeyUse::TAKES, KeyUse::OVERWRITES),
        acl: Categories::KEYSPACE,
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(1), and the size of the value where a journal is kept",
        summary: "Gives a value another key, in place of what that held.",
        syntax: "key newkey",
        reply: &[ReplyShape::Ok],
        tips: &[],
        ..Spec::PLAIN
    },
    |ctx, args, reply| {
        rename(ctx, args, |_| true)?;
        reply.ok();
        Ok(Outcome::Replied)
    },
);

pub(super) const RENAMENX: Command<Run> = row(
    Spec {
        name: "renamenx",
        uses: KeyUses::FirstAndSecond(KeyUse::TAKES, KeyUse::CREATES),
        flags: Flags::WRITE.union(Flags::FAST),
        summary: "Gives a value another key, if that key does not exist.",
        reply: &[ReplyShape::Integer],
        ..RENAME.spec
    },
    |ctx, args, reply| {
        let renamed = rename(ctx, args, |target| target.is_empty())?;
        reply.int(i64::from(renamed));
        Ok(Outcome::Replied)
    },
);

/// Moves the value if `may_move` agrees to the target; returns whether it did. A key that is renamed to itself stays.
fn rename(ctx: &mut Ctx<'_>, args: Args<'_>, may_move: fn(&Slot<'_>) -> bool) -> Result<bool, Error> {
    let (from, to) = (&args[1], &args[2]);
    if ctx.slot(from).is_empty() {
        return Err(Error::NoSuchKey);
    }
    if from == to || !may_move(&ctx.slot(to)) {
        return Ok(false);
    }
    let record = ctx.slot(from).take().ok_or(Error::NoSuchKey)?;
    let expire_at_ms = record.expire_at_ms;
    let mut slot = ctx.slot(to);
    let displaced = slot.place(record.value, expire_at_ms);
    slot.event(event::NEW);
    ctx.log.event(event::RENAME_FROM, ctx.db, from);
    let mut slot = ctx.slot(to);
    slot.event(event::RENAME_TO);
    slot.event_displaced(displaced);
    // Two keys were touched, by one change.
    ctx.log.count_less(1);
    Ok(true)
}
