//! PFMERGE.

use super::*;
use crate::string::hll;

pub(in super::super) const PFMERGE: Command<Run> = row(
    Spec {
        name: "pfmerge",
        arity: -2,
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::COMBINES),
        keys: Keys::from(1),
        uses: KeyUses::FirstAndSecond(KeyUse::ADDS.union(KeyUse::ACCESS), KeyUse::READS),
        complexity: "O(N) for N keys, with a large constant",
        summary: "Adds what was added to other HyperLogLogs to the one under the first key.",
        syntax: "destkey [sourcekey [sourcekey ...]]",
        reply: &[ReplyShape::Ok],
        ..SPEC
    },
    pfmerge,
);

fn pfmerge(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    // Each of them is some ten microseconds.
    ctx.caller.check_work(args.len() * 100)?;
    let mut registers = hll::none();
    let mut any_dense = false;
    for key in args.from(1).iter() {
        if let Some(value) = ctx.read(key) {
            let bytes = bytes_of(value)?;
            let source = hll_of(&bytes)?;
            any_dense |= source.is_dense();
            source.merge_into(&mut registers)?;
        }
    }
    let mut slot = ctx.slot(&args[1]);
    let max = slot.limits().hll_sparse_bytes;
    let bytes = slot.value().map(bytes_of).transpose()?;
    let mut edit = match &bytes {
        Some(bytes) => Edit::of(hll_of(bytes)?, max),
        None => Edit::empty(max),
    };
    if any_dense {
        edit.make_dense()?;
        edit.replace(&registers);
    } else {
        for (index, &value) in registers.iter().enumerate().filter(|(_, value)| **value > 0) {
            edit.raise(index, value)?;
        }
    }
    edit.forget_cardinality();
    match edit.into_changed() {
        Some(new) => {
            drop(bytes);
            store(&mut slot, new, 1);
        }
        None => {
            drop(bytes);
            slot.make_changeable();
            slot.patched(1, event::PFADD);
        }
    }
    reply.ok();
    Ok(Outcome::Replied)
}
