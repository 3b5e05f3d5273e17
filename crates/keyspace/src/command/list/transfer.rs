//! LMOVE, RPOPLPUSH and LMOVEM: elements from an end of one list to an end of another, or of the same.

use super::many::positive;
use super::pop::work_of;
use super::*;

pub(in crate::command) const LMOVE: Command<Run> = row(
    Spec {
        name: "lmove",
        arity: 5,
        flags: Flags::WRITE.union(Flags::DENYOOM),
        keys: Keys::Range { first: 1, last: 2, step: 1 },
        uses: KeyUses::FirstAndSecond(KeyUse::TAKES, KeyUse::ADDS),
        since: "6.2.0",
        summary: "Takes an element from an end of a list, puts it at an end of another, and answers it.",
        syntax: "source destination <LEFT | RIGHT> <LEFT | RIGHT>",
        reply: &[ReplyShape::Bulk, ReplyShape::Null],
        ..SPEC
    },
    |ctx, args, reply| transfer(ctx, args, reply, Transfer::one(end_at(args, 3)?, end_at(args, 4)?)),
);

pub(in crate::command) const RPOPLPUSH: Command<Run> = row(
    Spec {
        name: "rpoplpush",
        arity: 3,
        since: "1.2.0",
        summary: "Takes the last element of a list, puts it before the first of another, and answers it.",
        syntax: "source destination",
        ..LMOVE.spec
    },
    |ctx, args, reply| transfer(ctx, args, reply, Transfer::one(End::Back, End::Front)),
);

pub(in crate::command) const LMOVEM: Command<Run> = row(
    Spec {
        name: "lmovem",
        arity: -5,
        since: "8.10.0",
        complexity: "O(N) for N elements moved",
        summary: "Takes elements from an end of a list, puts them at an end of another, and answers them.",
        syntax: "source destination <LEFT | RIGHT> <LEFT | RIGHT> [<COUNT count | EXACTLY count> <OBO | BULK>]",
        reply: &[ReplyShape::Array, ReplyShape::Null],
        ..LMOVE.spec
    },
    |ctx, args, reply| {
        let ends = (end_at(args, 3)?, end_at(args, 4)?);
        transfer(ctx, args, reply, Transfer::several(args, 5, ends)?)
    },
);

/// What is moved from where to where, but for the keys.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transfer {
    from: End,
    to: End,
    count: u64,
    /// Fewer elements are not moved at all.
    least: u64,
    /// They stay in the order they have; else each is put beyond the one before it.
    in_bulk: bool,
    /// They are answered as an array, however many they are.
    as_array: bool,
}

impl Transfer {
    pub(super) fn one(from: End, to: End) -> Transfer {
        Transfer { from, to, count: 1, least: 1, in_bulk: false, as_array: false }
    }

    /// `[COUNT|EXACTLY count OBO|BULK]`, from argument `at` to the last.
    pub(super) fn several(args: Args<'_>, at: usize, (from, to): (End, End)) -> Result<Transfer, Error> {
        let transfer = Transfer { as_array: true, ..Transfer::one(from, to) };
        if args.len() == at {
            return Ok(transfer);
        }
        if args.len() != at + 3 {
            return Err(Error::Syntax);
        }
        let is_exact = is(&args[at], "EXACTLY");
        let in_bulk = is(&args[at + 2], "BULK");
        if !is_exact && !is(&args[at], "COUNT") || !in_bulk && !is(&args[at + 2], "OBO") {
            return Err(Error::Syntax);
        }
        let count = positive(&args[at + 1]).ok_or(Error::CountBelowOne)?;
        let least = if is_exact { count } else { 1 };
        Ok(Transfer { count, least, in_bulk, ..transfer })
    }

    /// Answers that nothing was moved.
    pub(super) fn write_none(&self, reply: &mut Reply<'_>) {
        if self.as_array { reply.null_array() } else { reply.null() }
    }

    /// How many elements must be there for any to be moved.
    pub(super) fn least(&self) -> u64 {
        self.least
    }

    /// How much work it is to move them from a list: each is taken, put and answered.
    pub(super) fn work(&self, list: Option<ListRef<'_>>) -> usize {
        work_of(list, self.count).saturating_mul(2)
    }

    /// Moves elements and answers them. False: there are not enough, and nothing is written. On an error nothing is changed.
    pub(super) fn run(
        &self,
        ctx: &mut Ctx<'_>,
        source: &[u8],
        target: &[u8],
        reply: &mut Reply<'_>,
    ) -> Result<bool, Error> {
        let slot = ctx.slot(source);
        let list = slot.elements::<List>()?;
        let (len, work) = (list.map_or(0, ListRef::len), self.work(list));
        if len < self.least {
            return Ok(false);
        }
        ctx.slot(target).elements::<List>()?;
        ctx.caller.check_work(work)?;
        if !self.as_array {
            let text = self.move_texts(ctx, source, target, |_| {})?;
            reply.bulk(&text[0]);
            return Ok(true);
        }
        let texts = self.move_texts(ctx, source, target, |texts| self.order(texts))?;
        reply.array(texts.len());
        texts.iter().for_each(|text| reply.bulk(text));
        Ok(true)
    }

    /// Has elements, which are in the order they were taken, stand as they are to stand in the list they go to.
    fn order(&self, texts: &mut Texts) {
        let was_taken_backwards = self.from == End::Back;
        let is_stacked = self.to == End::Front;
        if if self.in_bulk { was_taken_backwards } else { is_stacked } {
            texts.reverse();
        }
    }

    fn move_texts(
        &self,
        ctx: &mut Ctx<'_>,
        source: &[u8],
        target: &[u8],
        order: impl FnOnce(&mut Texts),
    ) -> Result<Texts, Error> {
        let mut texts = Texts::new();
        if source == target {
            let mut slot = ctx.slot(source);
            let takes_all = slot.elements::<List>()?.is_some_and(|list| list.len() <= self.count);
            slot.edit_value(|list: &mut List, edits| {
                edit::pop(list, edits, self.from, self.count, |element| texts.push(element.to_bytes()));
                order(&mut texts);
                self.push(list, edits, &texts);
                edits.count = texts.len() as u64;
            })?;
            if takes_all {
                slot.note_expiry();
            }
            slot.event(pushed(self.to));
            slot.event(popped(self.from));
            return Ok(texts);
        }
        let taken = ctx.slot(source).edit_value(|list: &mut List, edits| {
            edit::pop(list, edits, self.from, self.count, |element| texts.push(element.to_bytes()))
        })?;
        order(&mut texts);
        ctx.slot(target).edit(pushed(self.to), |list: &mut List, edits| self.push(list, edits, &texts))?;
        ctx.slot(source).event_edited(popped(self.from), &taken);
        // As in Redis: who tracks both is told of the destination first.
        ctx.log.tell_last_first();
        // Two lists have changed, and as many elements have moved.
        ctx.log.count_less(texts.len() as u64);
        Ok(texts)
    }

    fn push(&self, list: &mut List, edits: &mut Edits<'_>, texts: &Texts) {
        let in_order = texts.iter().map(Vec::as_slice);
        match self.to {
            End::Back => edit::push(list, edits, End::Back, in_order),
            End::Front => edit::push(list, edits, End::Front, in_order.rev()),
        }
    }
}

/// Elements on their way.
type Texts = SmallVec<[Vec<u8>; 1]>;

fn transfer(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    transfer: Transfer,
) -> Result<Outcome, Error> {
    if !transfer.run(ctx, &args[1], &args[2], reply)? {
        transfer.write_none(reply);
    }
    Ok(Outcome::Replied)
}
