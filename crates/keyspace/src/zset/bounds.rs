//! Ranges of a sorted set, as the commands name them.

use std::ops::Range;

use super::Zset;
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

impl Zset {
    /// The ranks of the elements in a range of scores. Cost: O(log n).
    pub(crate) fn ranks_by_score(&self, range: &ScoreRange) -> Range<usize> {
        if range.is_empty() {
            return 0..0;
        }
        let [start, end] = range.keys().map(|key| self.rank_of(key));
        start..end
    }

    /// The ranks of the elements in a range of members. Of a set whose scores differ the members with the lowest score
    /// are found, and the answer is as good as any. Cost: O(log n).
    pub(crate) fn ranks_by_lex(&self, range: &LexRange<'_>) -> Range<usize> {
        let Some(score) = self.first_score() else { return 0..0 };
        let start = self.rank_of_edge(score, range.min.start());
        let end = self.rank_of_edge(score, range.max.end());
        start..end.max(start)
    }

    /// Below the lowest and above the highest there is nothing, whatever the scores.
    fn rank_of_edge(&self, score: f64, edge: Edge<'_>) -> usize {
        match edge {
            Edge::Least => 0,
            Edge::Most => self.len(),
            edge => self.rank_of(Key { score, edge }),
        }
    }
}
