//! SMEMBERS, SINTER, SUNION and SDIFF of large sets, in steps: see `long.rs`.
//!
//! ```text
//! collecting   a segment of a set a step: what belongs to the answer is appended to lists, encoded, and counted
//! answering    the count, and then a list a step
//! ```

use std::collections::VecDeque;

use super::*;
use crate::long::{LONG_MIN, Steps};
use crate::set::At;

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

/// Bytes of a list, about.
const LIST_BYTES: usize = 64 << 10;

/// The reply in steps, if that many members are to be walked that it would take long.
///
/// `may_yield`: whether others may be served meanwhile.
pub(super) fn in_steps(may_yield: bool, wanted: Wanted, sets: &[SetRef<'_>]) -> Option<Outcome> {
    let walked = match wanted {
        Wanted::Union => sets.iter().map(|set| set.len()).sum(),
        Wanted::Inter | Wanted::Diff => sets.first().map_or(0, |set| set.len()),
    };
    if walked < LONG_MIN || !may_yield {
        return None;
    }
    let sets: Vec<Set> = sets.iter().map(|set| set.to_set()).collect();
    let walk = Walk { wanted, sets, at: Some((0, At::default())), lists: VecDeque::new(), count: 0 };
    Some(Outcome::Long(Box::new(walk)))
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
        let goes_on = sets[index].view().visit_part(&mut at, |member| {
            let is_wanted = match wanted {
                Wanted::Inter => sets[1..].iter().all(|set| set.view().contains_member(member)),
                Wanted::Union => !sets[..index].iter().any(|set| set.view().contains_member(member)),
                Wanted::Diff => !sets[1..].iter().any(|set| set.view().contains_member(member)),
            };
            if is_wanted {
                write_member(&mut part, member);
                *count += 1;
            }
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
