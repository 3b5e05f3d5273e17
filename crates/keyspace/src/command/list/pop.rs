//! LPOP and RPOP.

use super::*;
use crate::apart::work_of_taking;

pub(in crate::command) const LPOP: Command<Run> = row(
    Spec {
        name: "lpop",
        arity: -2,
        flags: Flags::WRITE.union(Flags::FAST),
        uses: KeyUses::Each(KeyUse::TAKES),
        complexity: "O(N) for N elements taken",
        summary: "Takes the first element of a list, or as many as are asked for, and answers them.",
        syntax: "key [count]",
        reply: &[ReplyShape::Bulk, ReplyShape::Array, ReplyShape::Null],
        ..SPEC
    },
    |ctx, args, reply| pop(ctx, args, reply, "lpop", End::Front),
);

pub(in crate::command) const RPOP: Command<Run> = row(
    Spec {
        name: "rpop",
        summary: "Takes the last element of a list, or as many as are asked for, and answers them.",
        ..LPOP.spec
    },
    |ctx, args, reply| pop(ctx, args, reply, "rpop", End::Back),
);

fn pop(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    command: &'static str,
    end: End,
) -> Result<Outcome, Error> {
    let count = match args.len() {
        2 => None,
        3 => Some(u64::try_from(integer(&args[2]).unwrap_or(-1)).map_err(|_| Error::NotPositive)?),
        _ => return Err(Error::Arity { command }),
    };
    let caller = ctx.caller;
    let mut slot = ctx.slot(&args[1]);
    match count {
        None => {
            caller.check_work(work_of(slot.elements::<List>()?, 1))?;
            let popped = slot.edit(popped(end), |list: &mut List, edits| {
                edit::pop(list, edits, end, 1, |element| write_element(reply, element))
            })?;
            if popped == 0 {
                reply.null();
            }
        }
        Some(_) if slot.elements::<List>()?.is_none() => reply.null_array(),
        Some(count) => {
            caller.check_work(work_of(slot.elements::<List>()?, count))?;
            write_popped(&mut slot, reply, end, count)?;
        }
    }
    Ok(Outcome::Replied)
}

/// How much work it is to take up to `count` elements.
pub(super) fn work_of(list: Option<ListRef<'_>>, count: u64) -> usize {
    // A list has no more elements than fit into memory.
    list.map_or(0, |list| work_of_taking(&list, count.min(list.len()) as usize, list.len() as usize))
}

/// Takes up to `count` elements and answers them as an array.
pub(super) fn write_popped(
    slot: &mut Slot<'_>,
    reply: &mut Reply<'_>,
    end: End,
    count: u64,
) -> Result<(), Error> {
    slot.edit(popped(end), |list: &mut List, edits| {
        reply.array(count.min(list.view().len()) as usize);
        edit::pop(list, edits, end, count, |element| write_element(reply, element));
    })
}
