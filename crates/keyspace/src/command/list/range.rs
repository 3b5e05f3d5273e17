//! LLEN, LINDEX and LRANGE.

use super::*;
use crate::long::{LONG_MIN, Steps};

pub(in crate::command) const LLEN: Command<Run> = row(
    Spec {
        name: "llen",
        arity: 2,
        flags: Flags::READONLY.union(Flags::FAST),
        uses: KeyUses::Each(KeyUse::EXAMINES),
        summary: "Answers how many elements a list has.",
        syntax: "key",
        reply: &[ReplyShape::Integer],
        ..SPEC
    },
    |ctx, args, reply| {
        let len = read_list(ctx, &args[1])?.map_or(0, ListRef::len);
        reply.int(len as i64);
        Ok(Outcome::Replied)
    },
);

pub(in crate::command) const LINDEX: Command<Run> = row(
    Spec {
        name: "lindex",
        arity: 3,
        flags: Flags::READONLY,
        uses: KeyUses::ByFlags,
        complexity: "O(log N) for N elements",
        summary: "Answers the element at an index, which counts from the end if it is negative.",
        syntax: "key index",
        reply: &[ReplyShape::Bulk, ReplyShape::Null],
        ..LLEN.spec
    },
    lindex,
);

pub(in crate::command) const LRANGE: Command<Run> = row(
    Spec {
        name: "lrange",
        arity: 4,
        complexity: "O(log N + M) for M elements answered of N",
        summary: "Answers the elements between two indices, both included.",
        syntax: "key start stop",
        reply: &[ReplyShape::Array],
        ..LINDEX.spec
    },
    lrange,
);

fn lindex(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let Some(list) = read_list(ctx, &args[1])? else {
        reply.null();
        return Ok(Outcome::Replied);
    };
    let place = place_of(integer_at(args, 2)?, list.len());
    match place.and_then(|place| list.get(place)) {
        Some(element) => write_element(reply, element),
        None => reply.null(),
    }
    Ok(Outcome::Replied)
}

fn lrange(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let (start, stop) = (integer_at(args, 2)?, integer_at(args, 3)?);
    let caller = ctx.caller;
    let Some(list) = read_list(ctx, &args[1])? else {
        reply.array(0);
        return Ok(Outcome::Replied);
    };
    let (first, count) = range_of(start, stop, list.len());
    caller.check_elements(&list, count as usize, list.len() as usize)?;
    if caller.may_yield && count >= LONG_MIN as u64 {
        let range = LongRange { list: list.to_list(), next: first, left: count, is_begun: false };
        return Ok(Outcome::Long(Box::new(range)));
    }
    reply.array(count as usize);
    write_range(reply, list, first, count);
    Ok(Outcome::Replied)
}

/// Writes as many elements, which are there, from element `first` on.
fn write_range(reply: &mut Reply<'_>, list: ListRef<'_>, first: u64, count: u64) {
    let (mut left, mut bulks) = (count, reply.bulks());
    if left > 0 {
        list.visit(first, End::Back, |element| {
            match element {
                Element::Int(number) => bulks.bulk_int(number),
                Element::Text(text) => bulks.bulk(text),
            }
            left -= 1;
            left > 0
        });
    }
}

/// Elements that are written together.
const STEP_ELEMENTS: u64 = 4096;

/// A part of a list that takes more than a moment to write.
#[derive(Debug)]
struct LongRange {
    list: List,
    next: u64,
    left: u64,
    is_begun: bool,
}

impl Steps for LongRange {
    fn step(&mut self, reply: &mut Reply<'_>) -> bool {
        if !self.is_begun {
            reply.array(self.left as usize);
            self.is_begun = true;
        }
        let count = self.left.min(STEP_ELEMENTS);
        write_range(reply, self.list.view(), self.next, count);
        self.next += count;
        self.left -= count;
        self.left > 0
    }
}
