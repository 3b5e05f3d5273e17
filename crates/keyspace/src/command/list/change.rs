//! LSET, LINSERT, LREM and LTRIM: changes that are not at an end.

use super::*;

pub(in crate::command) const LSET: Command<Run> = row(
    Spec {
        name: "lset",
        arity: 4,
        flags: Flags::WRITE.union(Flags::DENYOOM),
        uses: KeyUses::Each(KeyUse::UPDATES),
        complexity: "O(log N) for N elements",
        summary: "Puts an element in the place of the one at an index.",
        syntax: "key index element",
        reply: &[ReplyShape::Ok],
        ..SPEC
    },
    lset,
);

pub(in crate::command) const LINSERT: Command<Run> = row(
    Spec {
        name: "linsert",
        arity: 5,
        flags: Flags::WRITE.union(Flags::DENYOOM),
        uses: KeyUses::Each(KeyUse::ADDS),
        since: "2.2.0",
        complexity: "O(N) for N elements up to the pivot",
        summary: "Puts an element before or behind the first that equals another, and answers the list's length.",
        syntax: "key <BEFORE | AFTER> pivot element",
        reply: &[ReplyShape::Integer],
        ..SPEC
    },
    linsert,
);

pub(in crate::command) const LREM: Command<Run> = row(
    Spec {
        name: "lrem",
        arity: 4,
        uses: KeyUses::Each(KeyUse::DELETES_FROM),
        complexity: "O(N) for N elements",
        summary: "Removes elements that are equal to another, from one end on, and answers how many there were.",
        syntax: "key count element",
        reply: &[ReplyShape::Integer],
        ..SPEC
    },
    lrem,
);

pub(in crate::command) const LTRIM: Command<Run> = row(
    Spec {
        name: "ltrim",
        complexity: "O(log N) for N elements; what is removed is freed beside",
        summary: "Removes all elements but those between two indices.",
        syntax: "key start stop",
        reply: &[ReplyShape::Ok],
        ..LREM.spec
    },
    ltrim,
);

fn lset(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let mut slot = ctx.slot(&args[1]);
    let len = slot.elements::<List>()?.ok_or(Error::NoSuchKey)?.len();
    let place = place_of(integer_at(args, 2)?, len).unwrap_or(len);
    let done = slot.edit(event::LSET, |list: &mut List, edits| edit::set(list, edits, place, &args[3]))?;
    if !done {
        return Err(Error::IndexOutOfRange);
    }
    reply.ok();
    Ok(Outcome::Replied)
}

fn linsert(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let (pivot, text) = (&args[3], &args[4]);
    let side = match &args[2] {
        word if is(word, "BEFORE") => End::Front,
        word if is(word, "AFTER") => End::Back,
        _ => return Err(Error::Syntax),
    };
    let caller = ctx.caller;
    let mut slot = ctx.slot(&args[1]);
    let Some(list) = slot.elements::<List>()? else {
        reply.int(0);
        return Ok(Outcome::Replied);
    };
    caller.check_work(walked(list))?;
    let len = slot.edit(event::LINSERT, |list: &mut List, edits| {
        // Redis makes room before it looks for the pivot, which OBJECT ENCODING shows where there is none.
        list.make_room(std::iter::once(text), edits.limits);
        let place = index_of(list.view(), pivot)?;
        edit::insert(list, edits, place, side, text).then(|| list.view().len())
    })?;
    reply.int(len.map_or(-1, |len| len as i64));
    Ok(Outcome::Replied)
}

/// How much work it is to compare every element: some ten nanoseconds each.
fn walked(list: ListRef<'_>) -> usize {
    list.len() as usize / 8
}

/// The first element that equals `wanted`.
fn index_of(list: ListRef<'_>, wanted: &[u8]) -> Option<u64> {
    let (number, mut index, mut found) = (integer(wanted), 0, false);
    list.visit(0, End::Back, |element| {
        found = match (element, number) {
            (Element::Int(one), Some(other)) => one == other,
            (Element::Text(one), None) => one == wanted,
            _ => false,
        };
        index += u64::from(!found);
        !found
    });
    found.then_some(index)
}

fn lrem(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let (from, max) = match integer_at(args, 2)? {
        i64::MIN => return Err(Error::NotNegatable),
        0 => (End::Front, u64::MAX),
        count if count > 0 => (End::Front, count.unsigned_abs()),
        count => (End::Back, count.unsigned_abs()),
    };
    let caller = ctx.caller;
    let mut slot = ctx.slot(&args[1]);
    caller.check_work(slot.elements::<List>()?.map_or(0, walked))?;
    let removed =
        slot.edit(event::LREM, |list: &mut List, edits| edit::remove(list, edits, from, &args[3], max))?;
    reply.int(removed as i64);
    Ok(Outcome::Replied)
}

fn ltrim(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let (start, stop) = (integer_at(args, 2)?, integer_at(args, 3)?);
    let mut slot = ctx.slot(&args[1]);
    let Some(len) = slot.elements::<List>()?.map(ListRef::len) else {
        reply.ok();
        return Ok(Outcome::Replied);
    };
    let (first, count) = range_of(start, stop, len);
    if count == len {
        // As in Redis: a change to whoever watches, though nothing was removed and none is counted.
        slot.touch();
        slot.event(event::LTRIM);
        ctx.log.count_less(1);
    } else {
        slot.edit(event::LTRIM, |list: &mut List, edits| {
            edit::cut(list, edits, End::Front, if count == 0 { len } else { first });
            edit::cut(list, edits, End::Back, list.view().len().saturating_sub(count));
        })?;
    }
    reply.ok();
    Ok(Outcome::Replied)
}
