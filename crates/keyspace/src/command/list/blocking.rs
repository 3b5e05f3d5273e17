//! BLPOP, BRPOP, BLMPOP, BLMOVE, BRPOPLPUSH and BLMOVEM: what waits until there is something to take.
//!
//! Who waits for a key is served in the order they came, and each takes what the ones before left. Somebody who waits for
//! several keys takes from the first of them, in the order it named them, that the writer has made ready: only of these
//! is it certain that they are locked, and the others have nothing, or it would not be waiting. A key that becomes
//! something else than a list wakes nobody.

use super::many::Wanted;
use super::pop::work_of;
use super::transfer::Transfer;
use super::*;
use crate::wait::Blocked;

pub(in crate::command) const BLPOP: Command<Run> = row(
    Spec {
        name: "blpop",
        flags: Flags::WRITE.union(Flags::BLOCKING),
        keys: Keys::Range { first: 1, last: -2, step: 1 },
        uses: KeyUses::Each(KeyUse::TAKES),
        taken: Taken::First,
        since: "2.0.0",
        complexity: "O(N) for N keys",
        summary: "Takes the first element of the first list that has one, or waits for one.",
        syntax: "key [key ...] timeout",
        reply: &[ReplyShape::Array, ReplyShape::Null],
        ..SPEC
    },
    |ctx, args, reply| pop(ctx, args, reply, End::Front),
);

pub(in crate::command) const BRPOP: Command<Run> = row(
    Spec {
        name: "brpop",
        taken: Taken::Last,
        summary: "Takes the last element of the first list that has one, or waits for one.",
        ..BLPOP.spec
    },
    |ctx, args, reply| pop(ctx, args, reply, End::Back),
);

pub(in crate::command) const BLMPOP: Command<Run> = row(
    Spec {
        name: "blmpop",
        arity: -5,
        flags: Flags::WRITE.union(Flags::BLOCKING).union(Flags::MOVABLE_KEYS),
        keys: Keys::Counted { count_at: 2 },
        taken: Taken::FromNamedEnd,
        since: "7.0.0",
        complexity: "O(N + M) for N keys and M elements taken",
        summary: "Takes elements from an end of the first list that has some, or waits for some.",
        syntax: "timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
        ..BLPOP.spec
    },
    |ctx, args, reply| {
        let wanted = Wanted::read(args, 2)?;
        let deadline_ms = deadline_at(ctx, args, 1)?;
        take(ctx, wanted.keys(args), Taking::Several(wanted), deadline_ms, reply)
    },
);

pub(in crate::command) const BLMOVE: Command<Run> = row(
    Spec {
        name: "blmove",
        arity: 6,
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::BLOCKING),
        keys: Keys::Range { first: 1, last: 2, step: 1 },
        uses: KeyUses::FirstAndSecond(KeyUse::TAKES, KeyUse::ADDS),
        taken: Taken::Nothing,
        since: "6.2.0",
        complexity: "O(1)",
        summary: "Moves an element from an end of a list to an end of another, or waits for one.",
        syntax: "source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout",
        reply: &[ReplyShape::Bulk, ReplyShape::Null],
        ..BLPOP.spec
    },
    |ctx, args, reply| {
        let transfer = Transfer::one(end_at(args, 3)?, end_at(args, 4)?);
        let deadline_ms = deadline_at(ctx, args, 5)?;
        move_or_wait(ctx, args, reply, transfer, deadline_ms)
    },
);

pub(in crate::command) const BRPOPLPUSH: Command<Run> = row(
    Spec {
        name: "brpoplpush",
        arity: 4,
        since: "2.2.0",
        summary: "Moves the last element of a list before the first of another, or waits for one.",
        syntax: "source destination timeout",
        ..BLMOVE.spec
    },
    |ctx, args, reply| {
        let deadline_ms = deadline_at(ctx, args, 3)?;
        move_or_wait(ctx, args, reply, Transfer::one(End::Back, End::Front), deadline_ms)
    },
);

pub(in crate::command) const BLMOVEM: Command<Run> = row(
    Spec {
        name: "blmovem",
        arity: -6,
        since: "8.10.0",
        complexity: "O(N) for N elements moved",
        summary: "Moves elements from an end of a list to an end of another, or waits until there are enough.",
        syntax: "source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout \
                 [<COUNT count | EXACTLY count> <OBO | BULK>]",
        reply: &[ReplyShape::Array, ReplyShape::Null],
        ..BLMOVE.spec
    },
    |ctx, args, reply| {
        let ends = (end_at(args, 3)?, end_at(args, 4)?);
        let deadline_ms = deadline_at(ctx, args, 5)?;
        let transfer = Transfer::several(args, 6, ends)?;
        move_or_wait(ctx, args, reply, transfer, deadline_ms)
    },
);

/// What is taken from the first list that has elements.
#[derive(Debug, Clone, Copy)]
enum Taking {
    /// One, answered beside its key.
    One(End),
    /// Some, answered as an array beside their key.
    Several(Wanted),
}

impl Taking {
    /// Takes from a list that is there, and answers what.
    /// How much work it is to take from a list.
    fn work(self, list: Option<ListRef<'_>>) -> usize {
        match self {
            Taking::One(_) => work_of(list, 1),
            Taking::Several(wanted) => wanted.work(list),
        }
    }

    fn take_from(self, ctx: &mut Ctx<'_>, key: &[u8], reply: &mut Reply<'_>) -> Result<(), Error> {
        match self {
            Taking::Several(wanted) => wanted.pop_from(ctx, key, reply),
            Taking::One(end) => {
                let work = self.work(ctx.slot(key).elements::<List>()?);
                ctx.caller.check_work(work)?;
                reply.array(2);
                reply.bulk(key);
                ctx.slot(key).edit(popped(end), |list: &mut List, edits| {
                    edit::pop(list, edits, end, 1, |element| write_element(reply, element));
                })
            }
        }
    }
}

fn pop(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>, end: End) -> Result<Outcome, Error> {
    let last = args.len() - 1;
    let deadline_ms = deadline_at(ctx, args, last)?;
    take(ctx, args.from(1).iter().take(last - 1), Taking::One(end), deadline_ms, reply)
}

/// Takes from the first of `keys` that has elements, or waits for one of them.
fn take<'k>(
    ctx: &mut Ctx<'_>,
    keys: impl Iterator<Item = &'k [u8]> + Clone,
    taking: Taking,
    deadline_ms: Option<u64>,
    reply: &mut Reply<'_>,
) -> Result<Outcome, Error> {
    for key in keys.clone() {
        if ctx.slot(key).elements::<List>()?.is_some() {
            taking.take_from(ctx, key, reply)?;
            return Ok(Outcome::Replied);
        }
    }
    if !ctx.caller.may_block {
        reply.null_array();
        return Ok(Outcome::Replied);
    }
    let keys: Vec<Box<[u8]>> = keys.map(Box::from).collect();
    let mut distinct = keys.clone();
    distinct.sort_unstable();
    distinct.dedup();
    Ok(ctx.wait(distinct.into(), deadline_ms, Box::new(Taker { keys, taking })))
}

/// A command that waits to take from one of its keys.
#[derive(Debug)]
struct Taker {
    /// In the order they were named.
    keys: Vec<Box<[u8]>>,
    taking: Taking,
}

impl Taker {
    /// The first of its keys that has elements, when `key` has.
    fn source<'s>(&'s self, ctx: &mut Ctx<'_>, key: &'s [u8]) -> &'s [u8] {
        let mut named = self.keys.iter().map(|named| &**named);
        let first = named.find(|&named| named == key || ctx.space.holds(named) && len_of(ctx, named) > 0);
        first.unwrap_or(key)
    }
}

impl Blocked for Taker {
    fn is_ready(&self, ctx: &mut Ctx<'_>, key: &[u8]) -> bool {
        len_of(ctx, key) > 0
    }

    fn work(&self, ctx: &mut Ctx<'_>, key: &[u8]) -> usize {
        let first = self.source(ctx, key);
        self.taking.work(list_of(ctx, first))
    }

    fn serve(&self, ctx: &mut Ctx<'_>, key: &[u8], reply: &mut Reply<'_>) -> Result<(), Error> {
        let first = self.source(ctx, key);
        self.taking.take_from(ctx, first, reply)
    }

    fn sharing(&self) -> Option<[u64; 3]> {
        None
    }

    fn awaits(&self) -> Option<u8> {
        Some(List::TAG)
    }
}

/// Moves elements, or waits for them.
fn move_or_wait(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    transfer: Transfer,
    deadline_ms: Option<u64>,
) -> Result<Outcome, Error> {
    let (source, target) = (&args[1], &args[2]);
    if transfer.run(ctx, source, target, reply)? {
        return Ok(Outcome::Replied);
    }
    if !ctx.caller.may_block {
        transfer.write_none(reply);
        return Ok(Outcome::Replied);
    }
    let mover = Mover { target: target.into(), transfer };
    Ok(ctx.wait([source.into()].into(), deadline_ms, Box::new(mover)))
}

/// A command that waits to move elements from its key to another.
#[derive(Debug)]
struct Mover {
    target: Box<[u8]>,
    transfer: Transfer,
}

impl Blocked for Mover {
    fn is_ready(&self, ctx: &mut Ctx<'_>, key: &[u8]) -> bool {
        let enough = len_of(ctx, key) >= self.transfer.least();
        let is_locked = *self.target == *key || ctx.space.holds(&self.target);
        debug_assert!(!enough || is_locked, "a writer has locked what waiters write to");
        enough && is_locked
    }

    fn work(&self, ctx: &mut Ctx<'_>, key: &[u8]) -> usize {
        self.transfer.work(list_of(ctx, key))
    }

    fn serve(&self, ctx: &mut Ctx<'_>, key: &[u8], reply: &mut Reply<'_>) -> Result<(), Error> {
        if !self.transfer.run(ctx, key, &self.target, reply)? {
            self.transfer.write_none(reply);
        }
        Ok(())
    }

    fn sharing(&self) -> Option<[u64; 3]> {
        None
    }

    fn awaits(&self) -> Option<u8> {
        (self.transfer.least() == 1).then_some(List::TAG)
    }

    fn target(&self) -> Option<&[u8]> {
        Some(&self.target)
    }
}

fn list_of<'c>(ctx: &'c mut Ctx<'_>, key: &'c [u8]) -> Option<ListRef<'c>> {
    ctx.peek(key).and_then(|record| List::seen(record.value()))
}

/// How many elements the list has; 0: there is none.
fn len_of(ctx: &mut Ctx<'_>, key: &[u8]) -> u64 {
    list_of(ctx, key).map_or(0, ListRef::len)
}
