//! PFDEBUG: a HyperLogLog from within.

use super::*;

pub(in super::super) const PFDEBUG: Command<Run> = row(
    Spec {
        name: "pfdebug",
        arity: 3,
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::ADMIN),
        keys: Keys::at(2),
        uses: KeyUses::Each(KeyUse::RW.union(KeyUse::ACCESS)),
        complexity: "O(1)",
        summary: "Shows the registers, the runs or the encoding of a HyperLogLog, or makes it dense.",
        syntax: "<DECODE | ENCODING | GETREG | TODENSE> key",
        reply: &[ReplyShape::Integer, ReplyShape::Simple, ReplyShape::Bulk, ReplyShape::Array],
        ..SPEC
    },
    pfdebug,
);

fn pfdebug(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let word = &args[1];
    let mut slot = ctx.slot(&args[2]);
    let max = slot.limits().hll_sparse_bytes;
    let bytes = bytes_of(slot.value().ok_or(Error::NoSuchHll)?)?;
    let hll = hll_of(&bytes)?;
    if is(word, "encoding") {
        reply.simple(if hll.is_dense() { "dense" } else { "sparse" });
        return Ok(Outcome::Replied);
    }
    if is(word, "decode") {
        reply.bulk(hll.runs().ok_or(Error::HllNotSparse)??.as_bytes());
        return Ok(Outcome::Replied);
    }
    let (to_dense, registers) = (is(word, "todense"), is(word, "getreg"));
    if !to_dense && !registers {
        return Err(Error::UnknownPfdebug { subcommand: word.into() });
    }
    let all = hll.registers()?;
    let mut edit = Edit::of(hll, max);
    edit.make_dense()?;
    let new = edit.into_changed();
    drop(bytes);
    if registers {
        reply.array(all.len());
        all.iter().for_each(|&register| reply.int(register.into()));
    } else {
        reply.int(i64::from(new.is_some()));
    }
    if let Some(new) = new {
        slot.write(0, &new);
        slot.count_changes(1);
    }
    Ok(Outcome::Replied)
}
