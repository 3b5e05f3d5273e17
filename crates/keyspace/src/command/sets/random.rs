//! SPOP and SRANDMEMBER: members that chance picks.

use std::collections::HashSet;

use super::*;
use crate::apart::work_of_taking;
use crate::compact::Draws;
use crate::garbage::Garbage;
use sterna_command::{KeyUse, KeyUses};

pub(in super::super) const SPOP: Command<Run> = row(
    Spec {
        name: "spop",
        arity: -2,
        flags: Flags::WRITE.union(Flags::FAST),
        uses: KeyUses::Each(KeyUse::TAKES),
        complexity: "O(1), and O(N) for a count of N",
        summary: "Takes random members out of a set and answers them.",
        syntax: "key [count]",
        reply: &[ReplyShape::Bulk, ReplyShape::Set, ReplyShape::Null],
        tips: &["nondeterministic_output"],
        ..SPEC
    },
    spop,
);

pub(in super::super) const SRANDMEMBER: Command<Run> = row(
    Spec {
        name: "srandmember",
        flags: Flags::READONLY,
        uses: KeyUses::Each(KeyUse::READS),
        complexity: "O(1), and O(N) for a count of N, or of −N, which answers members more than once",
        summary: "Answers random members of a set.",
        reply: &[ReplyShape::Bulk, ReplyShape::Array, ReplyShape::Null],
        ..SPOP.spec
    },
    srandmember,
);

/// Members that SRANDMEMBER answers with repetitions, whatever is asked for: the count alone decides how long that takes.
const REPEATED_MAX: u64 = 1_000_000;

/// If more than five are popped for each that stays, Redis makes a new set of those.
const POPPED_PER_KEPT: usize = 5;

fn spop(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    if args.len() > 3 {
        return Err(Error::Syntax);
    }
    let count = match args.get(2) {
        None => None,
        Some(count) => {
            let count = integer(count).and_then(|count| usize::try_from(count).ok());
            Some(count.ok_or(Error::Set(SetError::CountNotPositive))?)
        }
    };
    let key = &args[1];
    let (mut draws, caller) = (draws(ctx, key), ctx.caller);
    let mut slot = ctx.slot(key);
    let set = slot.elements::<Set>()?;
    let len = set.map_or(0, SetRef::len);
    caller.check_work(set.map_or(0, |set| work_of_taking(&set, count.unwrap_or(1).min(len), len)))?;
    match count {
        None => {
            let popped = slot.edit(event::SPOP, |set: &mut Set, edits| set.pop(draws.next(), edits))?;
            reply.bulk_or_null(popped.as_deref());
        }
        Some(0) => reply.set(0),
        Some(_) if len == 0 => reply.set(0),
        Some(count) if count >= len => {
            // Redis reads the set, as SMEMBERS does.
            slot.note_read();
            reply.set(len);
            if let Some(set) = slot.elements::<Set>()? {
                set.for_each(|member| write_member(reply, member));
            }
            slot.event(event::SPOP);
            slot.delete(event::DEL);
            slot.count_changes(len as u64 - 1);
        }
        Some(count) if (len - count) * POPPED_PER_KEPT > count => {
            let popped =
                slot.edit(event::SPOP, |set: &mut Set, edits| set.pop_some(count, &mut draws, edits))?;
            reply.set(popped.len());
            popped.iter().for_each(|name| reply.bulk(name));
        }
        Some(count) => {
            reply.set(count);
            slot.edit(event::SPOP, |set: &mut Set, edits| {
                let kept = set.view().sampled(len - count, &mut draws, edits.limits);
                let before = set.keep_only(kept, edits);
                before.view().for_each(|member| {
                    if !set.view().contains_member(member) {
                        write_member(reply, member);
                    }
                });
                edits.log.discard(Garbage::of_value(Value::Set(before)));
            })?;
        }
    }
    Ok(Outcome::Replied)
}

fn srandmember(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    if args.len() > 3 {
        return Err(Error::Syntax);
    }
    let count = (args.len() == 3).then(|| integer_at(args, 2)).transpose()?;
    if count == Some(i64::MIN) {
        return Err(Error::NotBetween { least: -i64::MAX, most: i64::MAX });
    }
    let (mut draws, caller) = (draws(ctx, &args[1]), ctx.caller);
    let set = read_set(ctx, &args[1])?;
    caller.check_work(set.map_or(0, |set| drawn(count, set.len())))?;
    match (count, set) {
        (None, None) => reply.null(),
        (None, Some(set)) => match set.sample(draws.next()) {
            Some(member) => write_member(reply, member),
            None => reply.null(),
        },
        (Some(_), None) | (Some(0), _) => reply.array(0),
        (Some(count), Some(set)) if count < 0 => {
            let count = count.unsigned_abs();
            if count > REPEATED_MAX {
                return Err(Error::OutOfRange);
            }
            reply.array(count as usize);
            for _ in 0..count {
                if let Some(member) = set.sample(draws.next()) {
                    write_member(reply, member);
                }
            }
        }
        (Some(count), Some(set)) => write_some(reply, set, count as usize, &mut draws),
    }
    Ok(Outcome::Replied)
}

/// How many members are drawn of `len`.
fn drawn(count: Option<i64>, len: usize) -> usize {
    match count {
        None => 1,
        Some(count @ ..0) if count.unsigned_abs() <= REPEATED_MAX => count.unsigned_abs() as usize,
        Some(..0) => 0,
        Some(count) => len.min(count as usize),
    }
}

/// Writes `count` different members, or all if there are no more.
fn write_some(reply: &mut Reply<'_>, set: SetRef<'_>, count: usize, draws: &mut Draws) {
    let len = set.len();
    let count = count.min(len);
    reply.array(count);
    if count.saturating_mul(3) < len && set.is_large() {
        let mut seen = HashSet::with_capacity(count);
        while seen.len() < count {
            let Some(member) = set.sample(draws.next()) else { return };
            if seen.insert(member) {
                write_member(reply, member);
            }
        }
        return;
    }
    // One after the other, each with the share of what is left to pick in what is left to see.
    let (mut wanted, mut left) = (count as u64, len as u64);
    set.for_each(|member| {
        if draws.next() % left < wanted {
            write_member(reply, member);
            wanted -= 1;
        }
        left -= 1;
    });
}

/// Random numbers for a choice from what is under a key.
fn draws(ctx: &mut Ctx<'_>, key: &[u8]) -> Draws {
    Draws::new(ctx.space.of(key).0.random())
}
