//! PFADD.

use super::*;

pub(in super::super) const PFADD: Command<Run> = row(
    Spec {
        name: "pfadd",
        arity: -2,
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST),
        uses: KeyUses::Each(KeyUse::ADDS),
        complexity: "O(1) for each element",
        summary: "Adds elements to the HyperLogLog under a key and answers whether its estimate may have changed.",
        syntax: "key [element [element ...]]",
        ..SPEC
    },
    pfadd,
);

fn pfadd(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let mut slot = ctx.slot(&args[1]);
    let max = slot.limits().hll_sparse_bytes;
    let mut changes = u64::from(slot.is_empty());
    let bytes = slot.value().map(bytes_of).transpose()?;
    let mut edit = match &bytes {
        Some(bytes) => Edit::of(hll_of(bytes)?, max),
        None => Edit::empty(max),
    };
    for element in args.from(2).iter() {
        changes += u64::from(edit.add(element)?);
    }
    if changes > 0 {
        edit.forget_cardinality();
    }
    match edit.into_changed() {
        Some(new) => {
            drop(bytes);
            store(&mut slot, new, changes);
        }
        None => {
            drop(bytes);
            slot.make_changeable();
        }
    }
    reply.int(i64::from(changes > 0));
    Ok(Outcome::Replied)
}
