//! Ranges of a sorted set, as the commands name them.

use std::ops::Range;

use super::ZsetRef;
use super::leaf::{Edge, Key, order};

/// Scores from `min` to `max`; neither is NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ScoreRange {
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// Whether `min` itself is left out.
    pub(crate) above: bool,
    /// Whether `max` itself is left out.
    pub(crate) below: bool,
}

/// Members from `min` to `max` in the order of their bytes, of a set whose scores are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LexRange<'a> {
    pub(crate) min: Lex<'a>,
    pub(crate) max: Lex<'a>,
}

/// An end of a range of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lex<'a> {
    /// `-`.
    Lowest,
    /// `+`.
    Highest,
    /// `[member`.
    Including(&'a [u8]),
    /// `(member`.
    Excluding(&'a [u8]),
}

/// Ranks in order, or from the last to the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    Backward,
}

impl ScoreRange {
    /// The first place in the range, and the first behind it.
    pub(super) fn keys(&self) -> [Key<'static>; 2] {
        let min = if self.above { Edge::Most } else { Edge::Least };
        let max = if self.below { Edge::Least } else { Edge::Most };
        [Key { score: self.min, edge: min }, Key { score: self.max, edge: max }]
    }

    /// Whether no score can be in it.
    pub(super) fn is_empty(&self) -> bool {
        match order(self.min, self.max) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => self.above || self.below,
            std::cmp::Ordering::Greater => true,
        }
    }
}

impl<'a> Lex<'a> {
    /// The place where a range begins that has this as its lower end.
    fn start(self) -> Edge<'a> {
        match self {
            Lex::Lowest => Edge::Least,
            Lex::Highest => Edge::Most,
            Lex::Including(member) => Edge::At(member),
            Lex::Excluding(member) => Edge::After(member),
        }
    }

    /// The place where a range ends that has this as its upper end.
    fn end(self) -> Edge<'a> {
        match self {
            Lex::Lowest => Edge::Least,
            Lex::Highest => Edge::Most,
            Lex::Including(member) => Edge::After(member),
            Lex::Excluding(member) => Edge::At(member),
        }
    }
}

impl ZsetRef<'_> {
    /// The ranks of the elements in a range of scores. Cost: O(log n).
    pub(crate) fn ranks_by_score(self, range: &ScoreRange) -> Range<usize> {
        if range.is_empty() {
            return 0..0;
        }
        let [start, end] = range.keys().map(|key| self.rank_of(key));
        start..end
    }

    /// The ranks of the elements in a range of members. Of a set whose scores differ the answer is right if
    /// its members happen to be in order. Cost: O(log n), then squared.
    pub(crate) fn ranks_by_lex(self, range: &LexRange<'_>) -> Range<usize> {
        let len = self.len();
        let score_at = |rank: usize| self.at(rank, |_, score| score);
        let Some(score) = score_at(0) else { return 0..0 };
        let scores_are_equal = score_at(len - 1) == Some(score);
        let [start, end] = [range.min.start(), range.max.end()].map(|edge| {
            let key = Key { score, edge };
            match edge {
                Edge::Least => 0,
                Edge::Most => len,
                _ if scores_are_equal => self.rank_of(key),
                _ => self.rank_by_member(key),
            }
        });
        start..end.max(start)
    }

    /// How many elements are before a place if scores are left out of account, and members are in order all the same.
    fn rank_by_member(self, key: Key<'_>) -> usize {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = (from + to) / 2;
            let is_before = self.at(middle, |member, _| key.is_behind(key.score, || member));
            if is_before == Some(true) { from = middle + 1 } else { to = middle }
        }
        from
    }
}
