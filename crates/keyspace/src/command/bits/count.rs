//! BITCOUNT and BITPOS.

use super::super::substring::part;
use super::*;
use crate::string::bits;

pub(in super::super) const BITCOUNT: Command<Run> = row(
    Spec {
        name: "bitcount",
        arity: -2,
        flags: Flags::READONLY,
        since: "2.6.0",
        complexity: "O(N) for N bytes",
        summary: "Answers how many bits of the string under a key are set, in all of it or in a range.",
        syntax: "key [start end [BYTE | BIT]]",
        ..SPEC
    },
    bitcount,
);

pub(in super::super) const BITPOS: Command<Run> = row(
    Spec {
        name: "bitpos",
        arity: -3,
        since: "2.8.7",
        summary: "Answers where the first bit of the string under a key is that is set, or clear.",
        syntax: "key bit [start [end [BYTE | BIT]]]",
        ..BITCOUNT.spec
    },
    bitpos,
);

/// What a range counts.
#[derive(Debug, Clone, Copy)]
enum Unit {
    Byte,
    Bit,
}

impl Unit {
    fn of(word: Option<&[u8]>) -> Result<Unit, Error> {
        match word {
            None => Ok(Unit::Byte),
            Some(word) if is(word, "byte") => Ok(Unit::Byte),
            Some(word) if is(word, "bit") => Ok(Unit::Bit),
            Some(_) => Err(Error::Syntax),
        }
    }

    fn bits(self) -> usize {
        match self {
            Unit::Byte => 8,
            Unit::Bit => 1,
        }
    }
}

fn bitcount(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let range = match args.len() {
        2 => None,
        4 | 5 => Some((integer_at(args, 2)?, integer_at(args, 3)?, Unit::of(args.get(4))?)),
        _ => return Err(Error::Syntax),
    };
    let caller = ctx.caller;
    let Some(value) = ctx.read(&args[1]) else {
        reply.int(0);
        return Ok(Outcome::Replied);
    };
    let text = value.text().ok_or(Error::WrongType)?;
    let bits = match range {
        None => 0..text.len() * 8,
        Some((start, end, unit)) => {
            let part = part(text.len() * 8 / unit.bits(), start, end).unwrap_or(0..0);
            part.start * unit.bits()..part.end * unit.bits()
        }
    };
    caller.check_work(bits.len() / 8 / BYTES_PER_ELEMENT)?;
    reply.int(bits::count(&text, bits) as i64);
    Ok(Outcome::Replied)
}

fn bitpos(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let wanted = match integer_at(args, 2)? {
        0 => false,
        1 => true,
        _ => return Err(Error::NotBitArgument),
    };
    if args.len() > 6 {
        return Err(Error::Syntax);
    }
    let start = if args.len() > 3 { integer_at(args, 3)? } else { 0 };
    let unit = Unit::of(args.get(5))?;
    let end = if args.len() > 4 { Some(integer_at(args, 4)?) } else { None };
    let caller = ctx.caller;
    let Some(value) = ctx.read(&args[1]) else {
        reply.int(if wanted { -1 } else { 0 });
        return Ok(Outcome::Replied);
    };
    let text = value.text().ok_or(Error::WrongType)?;
    // At most 2^32 bits.
    let len = (text.len() * 8 / unit.bits()) as i64;
    let offset = |at: i64| if at < 0 { at.saturating_add(len).max(0) } else { at };
    let (start, last) = (offset(start), offset(end.unwrap_or(-1)).min(len - 1));
    if start <= last {
        caller.check_work((last - start) as usize * unit.bits() / 8 / BYTES_PER_ELEMENT)?;
    }
    let found = (start <= last).then(|| {
        let range = start as usize * unit.bits()..(last as usize + 1) * unit.bits();
        // Behind the end of the string all bits are clear, unless the range ends there.
        let behind = (!wanted && end.is_none()).then_some(range.end);
        bits::find(&text, wanted, range).or(behind)
    });
    reply.int(found.flatten().map_or(-1, |at| at as i64));
    Ok(Outcome::Replied)
}
