//! HINCRBY and HINCRBYFLOAT. A field keeps its expiry.

use super::*;
use crate::extended::{Extended, Parsed};
use sterna_command::{KeyUse, KeyUses};

pub(in super::super) const HINCRBY: Command<Run> = row(
    Spec {
        name: "hincrby",
        arity: 4,
        flags: SPEC.flags.union(Flags::DENYOOM),
        uses: KeyUses::Each(KeyUse::READS_AND_UPDATES),
        element: ElementAt::Index(2),
        summary: "Adds a number to the integer in a field of a hash, which starts at 0.",
        syntax: "key field increment",
        reply: &[ReplyShape::Integer],
        ..SPEC
    },
    hincrby,
);

pub(in super::super) const HINCRBYFLOAT: Command<Run> = row(
    Spec {
        name: "hincrbyfloat",
        since: "2.6.0",
        summary: "Adds a float to the number in a field of a hash, which starts at 0.",
        reply: &[ReplyShape::Bulk],
        ..HINCRBY.spec
    },
    hincrbyfloat,
);

fn hincrby(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let by = integer_at(args, 3)?;
    let (name, now_ms) = (&args[2], ctx.now_ms);
    let mut slot = ctx.slot(&args[1]);
    slot.expire_fields_of([name].into_iter());
    let sum = slot.edit(event::HINCRBY, |hash: &mut Hash, edits| {
        let old = match hash.view().get(name, now_ms) {
            None => 0,
            Some(Element::Int(number)) => number,
            Some(Element::Text(text)) => integer(text).ok_or(HashError::NotInteger)?,
        };
        let sum = old.checked_add(by).ok_or(Error::IncrementOverflow)?;
        let mut digits = itoa::Buffer::new();
        hash.set(edits, [(name, digits.format(sum).as_bytes())].into_iter(), Expiry::Keep);
        Ok::<i64, Error>(sum)
    })??;
    reply.int(sum);
    Ok(Outcome::Replied)
}

fn hincrbyfloat(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let by = match Extended::parse(&args[3]).ok_or(Error::NotFloat)? {
        Parsed::Finite(by) => by,
        Parsed::Infinite => return Err(Error::IncrementNotFinite),
    };
    let (name, now_ms) = (&args[2], ctx.now_ms);
    let mut slot = ctx.slot(&args[1]);
    slot.expire_fields_of([name].into_iter());
    let text = slot.edit(event::HINCRBYFLOAT, |hash: &mut Hash, edits| {
        let old = match hash.view().get(name, now_ms) {
            None => Parsed::Finite(Extended::from(0)),
            Some(Element::Int(number)) => Parsed::Finite(Extended::from(number)),
            Some(Element::Text(text)) => Extended::parse(text).ok_or(HashError::NotFloat)?,
        };
        let sum = match old {
            Parsed::Finite(old) => old.add(by).ok_or(Error::NotFinite)?,
            Parsed::Infinite => return Err(Error::NotFinite),
        };
        let text = sum.format();
        hash.set(edits, [(name, &text[..])].into_iter(), Expiry::Keep);
        Ok::<Vec<u8>, Error>(text)
    })??;
    reply.bulk(&text);
    Ok(Outcome::Replied)
}
