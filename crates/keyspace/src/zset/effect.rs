//! Changes of a sorted set in bytes.
//!
//! ```text
//! change   kind u8 │ …
//! 1 scores   (score f64 LE │ length v │ member)…       these members have these scores
//! 2 members  (length v │ member)…                      these members are gone
//! 3 ranks    first v │ count v                         as many elements from this rank on are gone
//! ```
//!
//! `v` is an unsigned LEB128 number. A removed range is its ranks, of which the order of the elements says what they are:
//! a million elements that go at once are a change of a few bytes.

use crate::collection::{Edits, Elements, Limits};
use crate::effect::{read_varint, write_varint};
use crate::zset::Zset;

const SCORES: u8 = 1;
const MEMBERS: u8 = 2;
const RANKS: u8 = 3;

/// Members that have got scores, collected while a command goes on.
#[derive(Debug, Default)]
pub(crate) struct Scores {
    wanted: bool,
    bytes: Vec<u8>,
    count: usize,
}

impl Scores {
    /// None yet.
    pub(crate) fn new(edits: &Edits<'_>) -> Scores {
        Scores { wanted: edits.log.wants_effects(), ..Scores::default() }
    }

    /// Notes that a member has this score now.
    pub(crate) fn push(&mut self, member: &[u8], score: f64) {
        self.count += 1;
        if self.wanted {
            self.bytes.extend_from_slice(&score.to_le_bytes());
            write_varint(&mut self.bytes, member.len() as u64);
            self.bytes.extend_from_slice(member);
        }
    }

    /// Records the change, if there is one.
    pub(crate) fn record(&self, edits: &mut Edits<'_>) {
        if self.count > 0 {
            edits.record(self.count, |body| {
                body.push(SCORES);
                body.extend_from_slice(&self.bytes);
            });
        }
    }
}

/// Members that are gone, collected while a command goes on.
#[derive(Debug, Default)]
pub(crate) struct Members {
    wanted: bool,
    bytes: Vec<u8>,
    count: usize,
}

impl Members {
    /// None yet.
    pub(crate) fn new(edits: &Edits<'_>) -> Members {
        Members { wanted: edits.log.wants_effects(), ..Members::default() }
    }

    /// Notes that a member is gone.
    pub(crate) fn push(&mut self, member: &[u8]) {
        self.count += 1;
        if self.wanted {
            write_varint(&mut self.bytes, member.len() as u64);
            self.bytes.extend_from_slice(member);
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Records the change, if there is one.
    pub(crate) fn record(&self, edits: &mut Edits<'_>) {
        if self.count > 0 {
            edits.record(self.count, |body| {
                body.push(MEMBERS);
                body.extend_from_slice(&self.bytes);
            });
        }
    }
}

/// Records that the elements of these ranks are gone; there is at least one.
pub(crate) fn record_ranks(edits: &mut Edits<'_>, ranks: std::ops::Range<usize>) {
    edits.record(ranks.len(), |body| {
        body.push(RANKS);
        write_varint(body, ranks.start as u64);
        write_varint(body, ranks.len() as u64);
    });
}

/// Applies a change; false, and nothing is changed: it doesn't fit.
pub(super) fn apply(zset: &mut Zset, change: &[u8], limits: &Limits) -> bool {
    match change.split_first() {
        Some((&SCORES, body)) => apply_scores(zset, body, limits),
        Some((&MEMBERS, body)) => apply_members(zset, body),
        Some((&RANKS, body)) => apply_ranks(zset, body).is_some(),
        _ => false,
    }
}

fn apply_scores(zset: &mut Zset, body: &[u8], limits: &Limits) -> bool {
    let read = || scores(body);
    if body.is_empty() || read().any(|element| element.is_none()) {
        return false;
    }
    zset.make_room(read().count(), limits);
    for (member, score) in read().flatten() {
        zset.set(member, score, limits);
    }
    true
}

/// The elements in the body of `scores`; one that is `None` can't be read, and is the last.
fn scores(mut rest: &[u8]) -> impl Iterator<Item = Option<(&[u8], f64)>> {
    std::iter::from_fn(move || {
        (!rest.is_empty()).then(|| {
            let element = read_score(&mut rest);
            if element.is_none() {
                rest = &[];
            }
            element
        })
    })
}

fn read_score<'a>(from: &mut &'a [u8]) -> Option<(&'a [u8], f64)> {
    let score = f64::from_le_bytes(from.split_off(..8)?.try_into().ok()?);
    let member = read_member(from)?;
    (!score.is_nan()).then_some((member, score))
}

pub(super) fn read_member<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(read_varint(from)?).ok()?;
    from.split_off(..len)
}

fn apply_members(zset: &mut Zset, body: &[u8]) -> bool {
    let (mut rest, mut count) = (body, 0);
    while !rest.is_empty() {
        let Some(member) = read_member(&mut rest) else { return false };
        if zset.view().score(member).is_none() {
            return false;
        }
        count += 1;
    }
    let mut rest = body;
    while let Some(member) = read_member(&mut rest) {
        zset.remove(member);
    }
    count > 0
}

fn apply_ranks(zset: &mut Zset, mut body: &[u8]) -> Option<()> {
    let first = usize::try_from(read_varint(&mut body)?).ok()?;
    let count = usize::try_from(read_varint(&mut body)?).ok()?;
    let end =
        first.checked_add(count).filter(|&end| count > 0 && end <= zset.view().len() && body.is_empty())?;
    zset.remove_ranks(first..end, &mut |_, _| {});
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collection::Collection;

    #[test]
    fn a_change_that_names_more_members_than_a_small_set_may_have_makes_it_large() {
        let limits = Limits { zset_entries: 2, ..Limits::DEFAULT };
        let mut change = vec![SCORES];
        for score in [-0.0f64, 1.0, -0.0] {
            change.extend_from_slice(&score.to_le_bytes());
            change.extend_from_slice(b"\x01a");
        }
        let mut zset = Zset::default();
        assert!(apply(&mut zset, &change, &limits));
        zset.check();
        assert_eq!((zset.view().len(), zset.view().encoding()), (1, "skiplist"));
        assert_eq!(zset.view().score(b"a").map(f64::to_bits), Some((-0.0f64).to_bits()));
    }
}
