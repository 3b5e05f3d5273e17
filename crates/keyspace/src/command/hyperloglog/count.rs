//! PFCOUNT.

use super::*;
use crate::string::hll;

pub(in super::super) const PFCOUNT: Command<Run> = row(
    Spec {
        name: "pfcount",
        arity: -2,
        flags: Flags::READONLY.union(Flags::MAY_REPLICATE).union(Flags::COMBINES),
        keys: Keys::from(1),
        // It keeps what it has computed.
        uses: KeyUses::Each(KeyUse::RW.union(KeyUse::ACCESS)),
        complexity: "O(1), for several keys O(N) with a larger constant",
        summary: "Answers about how many different elements were added to HyperLogLogs, in all of them together.",
        syntax: "key [key ...]",
        ..SPEC
    },
    pfcount,
);

fn pfcount(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    if args.len() > 2 {
        // Each of them is some ten microseconds.
        ctx.caller.check_work(args.len() * 100)?;
        let mut registers = hll::none();
        for key in args.from(1).iter() {
            if let Some(value) = ctx.read(key) {
                hll_of(&bytes_of(value)?)?.merge_into(&mut registers)?;
            }
        }
        reply.int(hll::cardinality(&registers) as i64);
        return Ok(Outcome::Replied);
    }
    let key = &args[1];
    let Some(value) = ctx.read(key) else {
        reply.int(0);
        return Ok(Outcome::Replied);
    };
    let bytes = bytes_of(value)?;
    let hll = hll_of(&bytes)?;
    let cardinality = match hll.known_cardinality() {
        Some(known) => known,
        None => {
            let computed = hll.cardinality()?;
            drop(bytes);
            let mut slot = ctx.slot(key);
            slot.write(hll::CARDINALITY_AT, &computed.to_le_bytes());
            slot.touch();
            computed
        }
    };
    reply.int(cardinality as i64);
    Ok(Outcome::Replied)
}
