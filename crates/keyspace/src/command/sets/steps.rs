//! SMEMBERS, SINTER, SUNION and SDIFF of large sets, in steps: see `long.rs`.
//!
//! A step takes one set's members, a segment of them, and looks each up in the others. So what is of many sets, or has long
//! members, is not done in steps but apart, where a union of many takes no look-up in each.
//!
//! ```text
//! collecting   a segment of a set a step: what belongs to the answer is appended to lists, encoded, and counted
//! answering    the count, and then a list a step
//! ```

use std::collections::VecDeque;

use super::union::LOOKED_UP_MAX;
use super::*;
use crate::collection::Collection;
use crate::long::{LONG_MIN, Steps};
use crate::set::{Among, At};
use crate::wait::Caller;

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// What all the sets have; the first is the smallest.
    Inter,
    /// What any of them has.
    Union,
    /// What the first has and no other.
    Diff,
}

#[derive(Debug)]
struct Walk {
    wanted: Wanted,
    sets: Vec<Set>,
    /// The set that is walked, and how far; `None`: it is done, and the answer is being given.
    at: Option<(usize, At)>,
    lists: VecDeque<Vec<u8>>,
    count: usize,
}

/// Bytes of a set without a table in which the members of a segment are looked up in one step: it has more only where
/// `set-max-listpack-entries` is raised.
const PACKED_BYTES_MAX: usize = 16 << 10;

/// Bytes of a list, about.
const LIST_BYTES: usize = 64 << 10;

/// The reply in steps, if it is so much work that it would take long; `None`: it is to be made at once. `work` is in units of a
/// short member, and the sets are those that are there.
///
/// # Errors
/// [`Error::TooLong`], where a step might take long as well.
pub(super) fn in_steps(
    caller: Caller,
    wanted: Wanted,
    sets: &[SetRef<'_>],
    work: usize,
) -> Result<Option<Outcome>, Error> {
    let walked = if wanted == Wanted::Union { sets.len() } else { sets.len().min(1) };
    sets[..walked].iter().try_for_each(|set| caller.check_elements(set, set.len(), set.len()))?;
    let is_long_to_look_through = |set: &SetRef<'_>| !set.is_large() && set.heap_bytes() > PACKED_BYTES_MAX;
    if sets.len() > LOOKED_UP_MAX || sets.iter().any(is_long_to_look_through) {
        caller.check_work(work)?;
    }
    if work < LONG_MIN || !caller.may_yield {
        return Ok(None);
    }
    let sets: Vec<Set> = sets.iter().map(|set| set.to_set()).collect();
    let walk = Walk { wanted, sets, at: Some((0, At::default())), lists: VecDeque::new(), count: 0 };
    Ok(Some(Outcome::Long(Box::new(walk))))
}

impl Steps for Walk {
    fn step(&mut self, reply: &mut Reply<'_>) -> bool {
        let Some((index, mut at)) = self.at else {
            if let Some(list) = self.lists.pop_front() {
                reply.out.extend_from_slice(&list);
            }
            return !self.lists.is_empty();
        };
        let Walk { wanted, sets, lists, count, .. } = self;
        if lists.back().is_none_or(|list| list.len() >= LIST_BYTES) {
            lists.push_back(Vec::new());
        }
        let mut list = lists.pop_back().unwrap_or_default();
        let mut part = Reply::new(&mut list, reply.proto);
        let (among, others) = match wanted {
            Wanted::Inter => (Among::All, 1..sets.len()),
            Wanted::Union => (Among::None, 0..index),
            Wanted::Diff => (Among::None, 1..sets.len()),
        };
        let others: Vec<SetRef<'_>> = sets[others].iter().map(Set::view).collect();
        let goes_on = sets[index].view().visit_part_among(&mut at, among, &others, |member| {
            write_member(&mut part, member);
            *count += 1;
            true
        });
        lists.push_back(list);
        let is_last = index + 1 == sets.len() || *wanted != Wanted::Union;
        self.at = match (goes_on, is_last) {
            (true, _) => Some((index, at)),
            (false, false) => Some((index + 1, At::default())),
            (false, true) => None,
        };
        if self.at.is_none() {
            reply.set(self.count);
        }
        self.at.is_some() || !self.lists.is_empty()
    }
}
