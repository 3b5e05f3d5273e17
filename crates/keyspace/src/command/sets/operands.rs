//! The sets that SINTER, SUNION, SDIFF and their forms work on, and what becomes of the result.

use super::*;
use crate::apart::work_of_all;
use crate::event::EventKind;

/// The sets under `keys`, each read and counted as such; `None` where there is nothing.
pub(super) fn operands<'c>(
    ctx: &'c mut Ctx<'_>,
    keys: &[&'c [u8]],
) -> Result<Vec<Option<SetRef<'c>>>, Error> {
    for key in keys {
        read_set(ctx, key)?;
    }
    let ctx = &*ctx;
    keys.iter().map(|key| ctx.again(key).map(of).transpose()).collect()
}

/// Keys from argument `first` on.
pub(super) fn keys_from(args: Args<'_>, first: usize) -> Vec<&[u8]> {
    args.from(first).iter().collect()
}

/// The keys behind the number at argument 1, and the place behind them.
pub(super) fn counted_keys(args: Args<'_>) -> Result<(Vec<&[u8]>, usize), Error> {
    let count = integer(&args[1]).and_then(|count| usize::try_from(count).ok()).filter(|&count| count > 0);
    let count = count.ok_or(Error::Set(SetError::NoKeys))?;
    if count > args.len() - 2 {
        return Err(Error::Set(SetError::TooManyKeys));
    }
    Ok((args.from(2).iter().take(count).collect(), 2 + count))
}

/// What it is to look at all members of the sets, in units of a short one.
pub(super) fn work_of(sets: &[Option<SetRef<'_>>]) -> usize {
    sets.iter().flatten().map(|set| work_of_all(set, set.len())).sum()
}

/// The number behind LIMIT; 0 is none.
pub(super) fn limit(number: &[u8]) -> Result<u64, Error> {
    let number = integer(number).and_then(|number| u64::try_from(number).ok());
    match number.ok_or(Error::Set(SetError::LimitNegative))? {
        0 => Ok(u64::MAX),
        limit => Ok(limit),
    }
}

/// Counts what `walk` shows, up to `limit`.
pub(super) fn count(limit: u64, walk: impl FnOnce(&mut dyn FnMut(Member<'_>) -> bool)) -> u64 {
    let mut found = 0;
    walk(&mut |_| {
        found += 1;
        found < limit
    });
    found
}

/// Writes what `walk` shows as a set.
pub(super) fn answer(reply: &mut Reply<'_>, walk: impl FnOnce(&mut dyn FnMut(Member<'_>) -> bool)) {
    let deferred = reply.array_deferred();
    let mut found = 0;
    walk(&mut |member| {
        write_member(reply, member);
        found += 1;
        true
    });
    reply.set_finish(deferred, found);
}

/// Puts the result under `key`, in the place of whatever was there, or removes that if there is no member.
pub(super) fn store(ctx: &mut Ctx<'_>, key: &[u8], result: Set, event: EventKind, reply: &mut Reply<'_>) {
    let len = result.view().len();
    let mut slot = ctx.slot(key);
    if len > 0 {
        slot.overwrite(Value::Set(result), None, event);
    } else {
        slot.delete(event::DEL);
    }
    reply.int(len as i64);
}
