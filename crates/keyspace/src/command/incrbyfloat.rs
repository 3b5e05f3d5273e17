//! INCRBYFLOAT.

use super::*;
use crate::extended::{Extended, Parsed};
use sterna_command::{KeyUse, KeyUses};

pub(super) const INCRBYFLOAT: Command<Run> = row(
    Spec {
        name: "incrbyfloat",
        arity: 3,
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST),
        keys: Keys::at(1),
        uses: KeyUses::Each(KeyUse::READS_AND_UPDATES),
        acl: Categories::STRING,
        group: Group::String,
        since: "2.6.0",
        complexity: "O(1)",
        summary: "Adds a float to the number under a key, which starts at 0.",
        syntax: "key increment",
        reply: &[ReplyShape::Bulk],
        tips: &[],
        ..Spec::PLAIN
    },
    incrbyfloat,
);

fn incrbyfloat(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let mut slot = ctx.slot(&args[1]);
    let old = match slot.value() {
        None => Parsed::Finite(Extended::from(0)),
        Some(ValueRef::Int(number)) => Parsed::Finite(Extended::from(number)),
        Some(value) => parse(value.text().ok_or(Error::WrongType)?.as_short().ok_or(Error::NotFloat)?)?,
    };
    let sum = match (old, parse(&args[2])?) {
        (Parsed::Finite(old), Parsed::Finite(by)) => old.add(by).ok_or(Error::NotFinite)?,
        _ => return Err(Error::NotFinite),
    };
    let text = sum.format();
    let expire_at_ms = slot.expire_at_ms();
    // Kept as text even if it is an integer, as Redis does; only OBJECT ENCODING tells.
    slot.set(NewValue::Text(&text[..]), expire_at_ms, event::INCRBYFLOAT);
    reply.bulk(&text);
    Ok(Outcome::Replied)
}

fn parse(text: &[u8]) -> Result<Parsed, Error> {
    Extended::parse(text).ok_or(Error::NotFloat)
}
