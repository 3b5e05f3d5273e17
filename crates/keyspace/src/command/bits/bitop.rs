//! BITOP.

use super::*;
use crate::string::bits::{self, Operation};
use crate::string::{PART_BYTES, Text};

pub(in super::super) const BITOP: Command<Run> = row(
    Spec {
        name: "bitop",
        arity: -4,
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::COMBINES),
        keys: Keys::Range { first: 2, last: -1, step: 1 },
        uses: KeyUses::FirstAndSecond(KeyUse::OVERWRITES, KeyUse::READS),
        since: "2.6.0",
        complexity: "O(N) for N bytes in all strings together",
        summary: "Combines strings bit by bit and stores the result, as long as the longest.",
        syntax: "<AND | OR | XOR | NOT | DIFF | DIFF1 | ANDOR | ONE> destkey key [key ...]",
        ..SPEC
    },
    bitop,
);

const OPERATIONS: [(&str, Operation); 8] = [
    ("AND", Operation::And),
    ("OR", Operation::Or),
    ("XOR", Operation::Xor),
    ("NOT", Operation::Not),
    ("DIFF", Operation::Diff),
    ("DIFF1", Operation::Diff1),
    ("ANDOR", Operation::AndOr),
    ("ONE", Operation::One),
];

fn bitop(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let found = OPERATIONS.into_iter().find(|(name, _)| is(&args[1], name));
    let (name, operation) = found.ok_or(Error::Syntax)?;
    let sources = args.from(3);
    match operation {
        Operation::Not if sources.len() != 1 => return Err(Error::BitopOneSource),
        Operation::Diff | Operation::Diff1 | Operation::AndOr if sources.len() < 2 => {
            return Err(Error::BitopTwoSources { operation: name });
        }
        _ => {}
    }
    let mut bytes = 0;
    for key in sources.iter() {
        if let Some(value) = ctx.read(key) {
            bytes += value.text().ok_or(Error::WrongType)?.len();
        }
    }
    ctx.caller.check_work(bytes / BYTES_PER_ELEMENT)?;
    let texts: Vec<Text<'_>> = sources
        .iter()
        .map(|key| ctx.again(key).and_then(ValueRef::text).unwrap_or(Text::held(b"")))
        .collect();
    let result = bits::combine(operation, &texts);
    drop(texts);
    let len = result.len();
    let mut slot = ctx.slot(&args[2]);
    if len == 0 {
        slot.delete(event::DEL);
    } else {
        let value = if len < PART_BYTES {
            Value::Grown(Arc::new(result.pieces(0..len).flatten().copied().collect()))
        } else {
            Value::Long(Arc::new(result))
        };
        slot.overwrite(value, None, event::SET);
    }
    reply.int(len as i64);
    Ok(Outcome::Replied)
}
