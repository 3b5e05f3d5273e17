//! LMPOP: elements of the first list that has some.

use super::pop::{work_of, write_popped};
use super::*;

pub(in crate::command) const LMPOP: Command<Run> = row(
    Spec {
        name: "lmpop",
        arity: -4,
        flags: Flags::WRITE.union(Flags::MOVABLE_KEYS),
        keys: Keys::Counted { count_at: 1 },
        uses: KeyUses::Each(KeyUse::TAKES),
        since: "7.0.0",
        complexity: "O(N + M) for N keys and M elements taken",
        summary: "Takes elements from an end of the first list that has some, and answers its key and them.",
        syntax: "numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
        reply: &[ReplyShape::Array, ReplyShape::Null],
        ..SPEC
    },
    |ctx, args, reply| {
        let wanted = Wanted::read(args, 1)?;
        if !wanted.pop(ctx, wanted.keys(args), reply)? {
            reply.null_array();
        }
        Ok(Outcome::Replied)
    },
);

/// `numkeys key [key ...] LEFT|RIGHT [COUNT count]`, but for the keys themselves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    first_key: usize,
    keys: usize,
    end: End,
    count: u64,
}

impl Wanted {
    /// Reads it; `at`: where the number of keys is.
    pub(super) fn read(args: Args<'_>, at: usize) -> Result<Wanted, Error> {
        let keys = positive(&args[at]).ok_or(Error::NoKeys)?;
        let first_key = at + 1;
        let end_index = usize::try_from(keys).ok().and_then(|keys| first_key.checked_add(keys));
        let end_index = end_index.filter(|&index| index < args.len()).ok_or(Error::Syntax)?;
        let end = end_at(args, end_index)?;
        let count = match args.len() - end_index - 1 {
            0 => 1,
            2 if is(&args[end_index + 1], "COUNT") => {
                positive(&args[end_index + 2]).ok_or(Error::CountBelowOne)?
            }
            _ if args.len() - end_index > 3 && is(&args[end_index + 1], "COUNT") => {
                positive(&args[end_index + 2]).ok_or(Error::CountBelowOne)?;
                return Err(Error::Syntax);
            }
            _ => return Err(Error::Syntax),
        };
        Ok(Wanted { first_key, keys: end_index - first_key, end, count })
    }

    /// The keys.
    pub(super) fn keys<'a>(&self, args: Args<'a>) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        args.from(self.first_key).iter().take(self.keys)
    }

    /// Takes elements from the first of these lists that is there, and answers them. False: there is none, and nothing is
    /// written.
    pub(super) fn pop<'k>(
        &self,
        ctx: &mut Ctx<'_>,
        keys: impl Iterator<Item = &'k [u8]>,
        reply: &mut Reply<'_>,
    ) -> Result<bool, Error> {
        for key in keys {
            if ctx.slot(key).elements::<List>()?.is_some() {
                self.pop_from(ctx, key, reply)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How much work it is to take them from a list.
    pub(super) fn work(&self, list: Option<ListRef<'_>>) -> usize {
        work_of(list, self.count)
    }

    /// Takes elements from a list that is there, and answers them.
    pub(super) fn pop_from(&self, ctx: &mut Ctx<'_>, key: &[u8], reply: &mut Reply<'_>) -> Result<(), Error> {
        let work = self.work(ctx.slot(key).elements::<List>()?);
        ctx.caller.check_work(work)?;
        reply.array(2);
        reply.bulk(key);
        write_popped(&mut ctx.slot(key), reply, self.end, self.count)
    }
}

/// A number above 0.
pub(super) fn positive(text: &[u8]) -> Option<u64> {
    integer(text).and_then(|number| u64::try_from(number).ok()).filter(|&number| number > 0)
}
