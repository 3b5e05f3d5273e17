//! SINTER, SINTERSTORE and SINTERCARD: what several sets have in common.

use super::operands::*;
use super::steps::{Wanted, in_steps};
use super::*;
use crate::apart::work_of_all;
use crate::collection::Collection;
use crate::set::{Among, At};
use sterna_command::{KeyUse, KeyUses};

pub(in super::super) const SINTER: Command<Run> = row(
    Spec {
        name: "sinter",
        arity: -2,
        flags: Flags::READONLY.union(Flags::COMBINES),
        keys: Keys::from(1),
        complexity: "O(N*M) for N members of the smallest set and M sets",
        summary: "Answers the members that all of several sets have.",
        syntax: "key [key ...]",
        reply: &[ReplyShape::Set],
        tips: &["nondeterministic_output_order"],
        ..SPEC
    },
    |ctx, args, reply| {
        let keys = keys_from(args, 1);
        let caller = ctx.caller;
        let sets = by_size(&operands(ctx, &keys)?);
        Ok(in_steps(caller, Wanted::Inter, &sets, work(&sets))?.unwrap_or_else(|| {
            answer(reply, |visit| visit_inter(&sets, visit));
            Outcome::Replied
        }))
    },
);

pub(in super::super) const SINTERSTORE: Command<Run> = row(
    Spec {
        name: "sinterstore",
        arity: -3,
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::COMBINES),
        uses: KeyUses::FirstAndSecond(KeyUse::OVERWRITES, KeyUse::READS),
        summary: "Stores the members that all of several sets have; answers how many they are.",
        syntax: "destination key [key ...]",
        reply: &[ReplyShape::Integer],
        tips: &[],
        ..SINTER.spec
    },
    |ctx, args, reply| {
        let keys = keys_from(args, 2);
        let (limits, caller) = (ctx.limits(keys[0]), ctx.caller);
        let sets = by_size(&operands(ctx, &keys)?);
        caller.check_work(work(&sets))?;
        // As Redis grows it: packed, and then integers if it has only such.
        let mut result = sets.first().map_or_else(Set::default, |smallest| smallest.made_anew());
        visit_inter(&sets, &mut |member| result.insert_member(member, &limits));
        result.make_integers(&limits);
        store(ctx, &args[1], result, event::SINTERSTORE, reply);
        Ok(Outcome::Replied)
    },
);

pub(in super::super) const SINTERCARD: Command<Run> = row(
    Spec {
        name: "sintercard",
        arity: -3,
        flags: Flags::READONLY.union(Flags::MOVABLE_KEYS).union(Flags::COMBINES),
        keys: Keys::Counted { count_at: 1 },
        since: "7.0.0",
        summary: "Answers how many members all of several sets have, up to a limit.",
        syntax: "numkeys key [key ...] [LIMIT limit]",
        reply: &[ReplyShape::Integer],
        tips: &[],
        ..SINTER.spec
    },
    |ctx, args, reply| {
        let (keys, mut at) = counted_keys(args)?;
        let mut most = u64::MAX;
        while let Some(word) = args.get(at) {
            let number = args.get(at + 1).filter(|_| is(word, "limit")).ok_or(Error::Syntax)?;
            most = limit(number)?;
            at += 2;
        }
        let caller = ctx.caller;
        let sets = by_size(&operands(ctx, &keys)?);
        caller.check_work(work(&sets))?;
        reply.int(count(most, |visit| visit_inter(&sets, visit)) as i64);
        Ok(Outcome::Replied)
    },
);

/// Bytes, and members, of a packed set that are read, where a member is looked up in it, in the time that a large one takes.
const LOOKED_THROUGH_BYTES: usize = 2048;
const LOOKED_THROUGH: usize = 32;

/// What it is to look all members of the first of the sets up in the others, in units of a short one.
pub(super) fn work(sets: &[SetRef<'_>]) -> usize {
    let Some((first, others)) = sets.split_first() else { return 0 };
    let of = |other: &SetRef<'_>| match other.is_large() || other.is_integers() {
        true => 1,
        false => 1 + (other.heap_bytes() / LOOKED_THROUGH_BYTES).max(other.len() / LOOKED_THROUGH),
    };
    work_of_all(first, first.len()).saturating_mul(1 + others.iter().map(of).sum::<usize>())
}

/// The sets, the smallest first; none, if one of them is missing.
fn by_size<'s>(sets: &[Option<SetRef<'s>>]) -> Vec<SetRef<'s>> {
    let mut sets: Vec<SetRef<'_>> = sets.iter().copied().collect::<Option<_>>().unwrap_or_default();
    sets.sort_by_key(|set| set.len());
    sets
}

/// Shows what all the sets have to `visit`, until it returns false.
fn visit_inter(sets: &[SetRef<'_>], visit: &mut dyn FnMut(Member<'_>) -> bool) {
    let Some((first, others)) = sets.split_first() else { return };
    let mut at = At::default();
    while first.visit_part_among(&mut at, Among::All, others, &mut *visit) {}
}
