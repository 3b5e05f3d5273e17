//! SETBIT and GETBIT.

use super::*;

pub(in super::super) const SETBIT: Command<Run> = row(
    Spec {
        name: "setbit",
        arity: 4,
        flags: Flags::WRITE.union(Flags::DENYOOM),
        uses: KeyUses::Each(KeyUse::READS_AND_UPDATES),
        since: "2.2.0",
        complexity: "O(1)",
        summary: "Sets or clears one bit of the string under a key and answers what it was.",
        syntax: "key offset value",
        ..SPEC
    },
    setbit,
);

pub(in super::super) const GETBIT: Command<Run> = row(
    Spec {
        name: "getbit",
        arity: 3,
        flags: Flags::READONLY.union(Flags::FAST),
        uses: KeyUses::ByFlags,
        summary: "Answers one bit of the string under a key.",
        syntax: "key offset",
        ..SETBIT.spec
    },
    getbit,
);

fn setbit(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let offset = bit_offset(&args[2])?;
    let bit = match integer(&args[3]) {
        Some(bit @ 0..=1) => bit as u8,
        _ => return Err(Error::NotBit),
    };
    let mut slot = ctx.slot(&args[1]);
    let (at, shift) = (offset / 8, 7 - offset % 8);
    let mut byte = [0];
    let len = match slot.value() {
        Some(value) => {
            let text = value.text().ok_or(Error::WrongType)?;
            text.read_at(at, &mut byte);
            text.len()
        }
        None => 0,
    };
    let old = byte[0] >> shift & 1;
    if old != bit || at >= len {
        byte[0] = byte[0] & !(1 << shift) | bit << shift;
        slot.write(at, &byte).ok_or(Error::WrongType)?;
        slot.patched(1, event::SETBIT);
    } else {
        slot.make_changeable();
    }
    reply.int(old.into());
    Ok(Outcome::Replied)
}

fn getbit(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let offset = bit_offset(&args[2])?;
    let mut byte = [0];
    if let Some(value) = ctx.read(&args[1]) {
        value.text().ok_or(Error::WrongType)?.read_at(offset / 8, &mut byte);
    }
    reply.int((byte[0] >> (7 - offset % 8) & 1).into());
    Ok(Outcome::Replied)
}
