//! SUNION, SUNIONSTORE and SUNIONCARD: what any of several sets has.

use super::operands::*;
use super::steps::{Wanted, in_steps};
use super::*;
use crate::collection::Limits;
use crate::set::{Among, At};

pub(in super::super) const SUNION: Command<Run> = row(
    Spec {
        name: "sunion",
        complexity: "O(N) for N members of all sets",
        summary: "Answers the members that any of several sets has.",
        ..inter::SINTER.spec
    },
    |ctx, args, reply| {
        let keys = keys_from(args, 1);
        let (limits, caller) = (ctx.limits(keys[0]), ctx.caller);
        let sets = operands(ctx, &keys)?;
        let present: Vec<SetRef<'_>> = sets.iter().copied().flatten().collect();
        Ok(in_steps(caller, Wanted::Union, &present, work_of(&sets))?.unwrap_or_else(|| {
            answer(reply, |visit| visit_union(&sets, &limits, visit));
            Outcome::Replied
        }))
    },
);

pub(in super::super) const SUNIONSTORE: Command<Run> = row(
    Spec {
        name: "sunionstore",
        complexity: SUNION.spec.complexity,
        summary: "Stores the members that any of several sets has; answers how many they are.",
        ..inter::SINTERSTORE.spec
    },
    |ctx, args, reply| {
        let keys = keys_from(args, 2);
        let (limits, caller) = (ctx.limits(keys[0]), ctx.caller);
        let sets = operands(ctx, &keys)?;
        caller.check_work(work_of(&sets))?;
        let mut result = Set::default();
        for set in sets.into_iter().flatten() {
            set.for_each(|member| {
                result.insert_member(member, &limits);
            });
        }
        store(ctx, &args[1], result, event::SUNIONSTORE, reply);
        Ok(Outcome::Replied)
    },
);

pub(in super::super) const SUNIONCARD: Command<Run> = row(
    Spec {
        name: "sunioncard",
        since: "8.10.0",
        complexity: SUNION.spec.complexity,
        summary: "Answers how many members several sets have together, up to a limit; the answer is exact with APPROX as well.",
        syntax: "numkeys key [key ...] [APPROX] [LIMIT limit]",
        ..inter::SINTERCARD.spec
    },
    |ctx, args, reply| {
        let (keys, mut at) = counted_keys(args)?;
        let mut most = u64::MAX;
        while let Some(word) = args.get(at) {
            if is(word, "approx") {
                at += 1;
                continue;
            }
            let number = args.get(at + 1).filter(|_| is(word, "limit")).ok_or(Error::Syntax)?;
            most = limit(number)?;
            at += 2;
        }
        let (limits, caller) = (ctx.limits(keys[0]), ctx.caller);
        let sets = operands(ctx, &keys)?;
        caller.check_work(work_of(&sets))?;
        reply.int(count(most, |visit| visit_union(&sets, &limits, visit)) as i64);
        Ok(Outcome::Replied)
    },
);

/// Sets up to which a member is looked up in those before its own, which costs nothing for those of the first.
pub(super) const LOOKED_UP_MAX: usize = 3;

/// Shows what any of the sets has to `visit`, each once, until it returns false.
fn visit_union(sets: &[Option<SetRef<'_>>], limits: &Limits, visit: &mut dyn FnMut(Member<'_>) -> bool) {
    let sets: Vec<SetRef<'_>> = sets.iter().copied().flatten().collect();
    let (mut seen, mut goes_on) = (Set::default(), true);
    for (index, set) in sets.iter().enumerate() {
        let mut visit = |member: Member<'_>| {
            goes_on = visit(member);
            goes_on
        };
        if sets.len() > LOOKED_UP_MAX {
            set.visit(|member| !seen.insert_member(member, limits) || visit(member));
        } else {
            let mut at = At::default();
            while set.visit_part_among(&mut at, Among::None, &sets[..index], &mut visit) {}
        }
        if !goes_on {
            return;
        }
    }
}
