//! APPEND, SETRANGE and STRLEN.

use super::*;
use crate::value::STRING_BYTES_MAX;
use sterna_command::{KeyUse, KeyUses};

pub(super) const APPEND: Command<Run> = row(
    Spec {
        name: "append",
        arity: 3,
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST),
        keys: Keys::at(1),
        uses: KeyUses::Each(KeyUse::ADDS),
        acl: Categories::STRING,
        group: Group::String,
        since: "2.0.0",
        complexity: "O(1) amortised, for what is appended is short",
        summary: "Puts bytes behind the string under a key, which starts empty, and answers its length.",
        syntax: "key value",
        reply: &[ReplyShape::Integer],
        tips: &[],
        ..Spec::PLAIN
    },
    append,
);

pub(super) const SETRANGE: Command<Run> = row(
    Spec {
        name: "setrange",
        arity: 4,
        flags: Flags::WRITE.union(Flags::DENYOOM),
        uses: KeyUses::Each(KeyUse::UPDATES),
        since: "2.2.0",
        complexity: "O(N) for N bytes that are written",
        summary: "Writes bytes into the string under a key at an offset, zeros before them if it is shorter.",
        syntax: "key offset value",
        ..APPEND.spec
    },
    setrange,
);

pub(super) const STRLEN: Command<Run> = row(
    Spec {
        name: "strlen",
        arity: 2,
        uses: KeyUses::Each(KeyUse::EXAMINES),
        flags: Flags::READONLY.union(Flags::FAST),
        since: "2.2.0",
        complexity: "O(1)",
        summary: "Answers the length of the string under a key in bytes.",
        syntax: "key",
        ..APPEND.spec
    },
    strlen,
);

fn append(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let mut slot = ctx.slot(&args[1]);
    let len = match slot.value() {
        Some(value) => value.text().ok_or(Error::WrongType)?.len(),
        None => 0,
    };
    if len + args[2].len() > STRING_BYTES_MAX {
        return Err(Error::StringTooLong);
    }
    let len = slot.append(&args[2], event::APPEND).ok_or(Error::WrongType)?;
    reply.int(len as i64);
    Ok(Outcome::Replied)
}

fn setrange(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let (offset, bytes) = (integer_at(args, 2)?, &args[3]);
    let offset = usize::try_from(offset).map_err(|_| Error::OffsetOutOfRange)?;
    let mut slot = ctx.slot(&args[1]);
    let old_len = match slot.value() {
        Some(value) => value.text().ok_or(Error::WrongType)?.len(),
        None => 0,
    };
    if bytes.is_empty() {
        reply.int(old_len as i64);
        return Ok(Outcome::Replied);
    }
    if offset.checked_add(bytes.len()).is_none_or(|end| end > STRING_BYTES_MAX) {
        return Err(Error::StringTooLong);
    }
    let len = slot.write(offset, bytes).ok_or(Error::WrongType)?;
    slot.patched(1, event::SETRANGE);
    reply.int(len as i64);
    Ok(Outcome::Replied)
}

fn strlen(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let len = match ctx.read(&args[1]) {
        Some(value) => value.text().ok_or(Error::WrongType)?.len(),
        None => 0,
    };
    reply.int(len as i64);
    Ok(Outcome::Replied)
}
