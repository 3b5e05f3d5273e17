//! SDIFF, SDIFFSTORE and SDIFFCARD: what the first of several sets has and no other.
//!
//! Two ways, of which the one with less work is taken, as in Redis, where the choice shows in the encoding of what is stored:
//! each member of the first is looked up in the others, or all members of the others are removed from a copy of the first.

use super::operands::*;
use super::steps::{Wanted, in_steps};
use super::*;
use crate::set::{Among, At};

pub(in super::super) const SDIFF: Command<Run> = row(
    Spec {
        name: "sdiff",
        summary: "Answers the members of a set that no other of several sets has.",
        ..union::SUNION.spec
    },
    |ctx, args, reply| {
        let keys = keys_from(args, 1);
        let caller = ctx.caller;
        let sets = operands(ctx, &keys)?;
        let present = minuend(&sets).map(|(first, others)| std::iter::once(first).chain(others).collect());
        let present: Vec<SetRef<'_>> = present.unwrap_or_default();
        let work = work(&sets);
        Ok(in_steps(caller, Wanted::Diff, &present, work)?.unwrap_or_else(|| {
            answer(reply, |visit| visit_diff(&sets, visit));
            Outcome::Replied
        }))
    },
);

pub(in super::super) const SDIFFSTORE: Command<Run> = row(
    Spec {
        name: "sdiffstore",
        summary: "Stores the members of a set that no other of several sets has; answers how many they are.",
        ..union::SUNIONSTORE.spec
    },
    |ctx, args, reply| {
        let keys = keys_from(args, 2);
        let (limits, caller) = (ctx.limits(keys[0]), ctx.caller);
        let sets = operands(ctx, &keys)?;
        caller.check_work(work(&sets))?;
        let mut result = Set::default();
        if let Some((first, others)) = minuend(&sets) {
            if is_looked_up(first, &others) {
                visit_diff(&sets, &mut |member| result.insert_member(member, &limits));
            } else {
                first.for_each(|member| {
                    result.insert_member(member, &limits);
                });
                remove_all(&mut result, &others);
            }
        }
        store(ctx, &args[1], result, event::SDIFFSTORE, reply);
        Ok(Outcome::Replied)
    },
);

pub(in super::super) const SDIFFCARD: Command<Run> = row(
    Spec {
        name: "sdiffcard",
        summary: "Answers how many members of a set no other of several sets has, up to a limit.",
        syntax: "numkeys key [key ...] [LIMIT limit]",
        ..union::SUNIONCARD.spec
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
        let sets = operands(ctx, &keys)?;
        caller.check_work(work(&sets))?;
        reply.int(count(most, |visit| visit_diff(&sets, visit)) as i64);
        Ok(Outcome::Replied)
    },
);

/// The first set, and those of the others that are there; `None`: nothing is left of the first, without a look.
fn minuend<'s>(sets: &[Option<SetRef<'s>>]) -> Option<(SetRef<'s>, Vec<SetRef<'s>>)> {
    let (first, others) = sets.split_first()?;
    let first = (*first)?;
    let others: Vec<SetRef<'_>> = others.iter().copied().flatten().collect();
    (!others.iter().any(|other| other.is_same(first))).then_some((first, others))
}

/// What it is to tell the sets apart, on the way that is taken, in units of a short member.
fn work(sets: &[Option<SetRef<'_>>]) -> usize {
    let Some((first, others)) = minuend(sets) else { return 0 };
    match is_looked_up(first, &others) {
        true => inter::work(&std::iter::once(first).chain(others).collect::<Vec<_>>()),
        false => work_of(sets),
    }
}

fn is_looked_up(first: SetRef<'_>, others: &[SetRef<'_>]) -> bool {
    let look_ups = first.len() * (1 + others.len());
    let removals = first.len() + others.iter().map(|set| set.len()).sum::<usize>();
    look_ups / 2 <= removals
}

fn remove_all(set: &mut Set, others: &[SetRef<'_>]) {
    for other in others {
        other.visit(|member| {
            set.remove_member(member);
            set.view().len() > 0
        });
    }
}

/// Shows what only the first set has to `visit`, until it returns false.
fn visit_diff(sets: &[Option<SetRef<'_>>], visit: &mut dyn FnMut(Member<'_>) -> bool) {
    let Some((first, mut others)) = minuend(sets) else { return };
    if is_looked_up(first, &others) {
        // The largest is the most likely to have it.
        others.sort_by_key(|set| std::cmp::Reverse(set.len()));
        let mut at = At::default();
        while first.visit_part_among(&mut at, Among::None, &others, &mut *visit) {}
        return;
    }
    let mut rest = first.to_set();
    remove_all(&mut rest, &others);
    rest.view().visit(visit);
}
