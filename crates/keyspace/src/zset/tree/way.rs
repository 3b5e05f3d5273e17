//! The way to where an element belongs, and an element that gets another score.
//!
//! Whoever knows the score that a member will have goes there first, and looks for the member after that: the two wait for memory at the
//! same time, and what is read of the leaf into which it comes is in the caches when the element has been taken out of the one it was in.

use smallvec::SmallVec;

use super::super::leaf::{Key, Tagged};
use super::{Ends, JOIN_MAX, LeafId, Moved, Tree};

/// The way from the root to a leaf, an inner node each.
pub(super) type Path = SmallVec<[Step; 6]>;

/// An inner node on the way to a leaf, and the child that the way takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) node: u32,
    pub(super) at: u32,
    /// The child is the last of its level.
    pub(super) is_last: bool,
}

/// The way to where the element of a key belongs, as long as the tree does not change.
#[derive(Debug)]
pub(in super::super) struct Way {
    pub(super) path: Path,
    pub(super) leaf: LeafId,
    /// How many elements of the leaf are before it.
    pub(super) place: usize,
    /// Of what the leaf is at an end.
    pub(super) ends: Ends,
}

impl Tree {
    /// Where the element of this key belongs.
    pub(in super::super) fn way_to(&self, key: Key<'_>) -> Way {
        let (path, leaf, ends) = self.path_to(key);
        Way { path, leaf, place: self.leaf(leaf).rank_of(key), ends }
    }

    #[inline]
    pub(super) fn path_to(&self, key: Key<'_>) -> (Path, LeafId, Ends) {
        let (mut path, mut node) = (Path::new(), self.root);
        let mut ends = Ends { first: true, last: true };
        for _ in 0..self.height {
            let inner = self.inners.at(node);
            let at = inner.child_for(key);
            ends = Ends { first: ends.first && at == 0, last: ends.last && at + 1 == inner.len };
            path.push(Step { node, at: at as u32, is_last: ends.last });
            node = inner.children[at];
        }
        (path, node, ends)
    }

    /// Gives an element, which is at this place of this leaf, another score; returns its leaf. `moved` is not told of it. `way` is
    /// the one to where it belongs then, if somebody has gone it.
    pub(in super::super) fn set_score(
        &mut self,
        (id, at): (LeafId, usize),
        score: f64,
        member: Tagged<'_>,
        way: Option<Way>,
        moved: Moved<'_>,
    ) -> LeafId {
        let leaf = self.leaf(id);
        let (old, new) = (Key::of(leaf.score(at), member.member), Key::of(score, member.member));
        let place = match &way {
            _ if score == old.score => Some(at),
            Some(way) => (way.leaf == id).then_some(way.place),
            // Behind its first element and before its last one the leaf is the right one, whatever its borders are.
            None => Some(leaf.rank_of(new)).filter(|rank| (1..leaf.len()).contains(rank)),
        };
        if let Some(place) = place {
            let leaf = self.leaves.at_mut(id);
            if place == at || place == at + 1 {
                leaf.set_score(at, score);
            } else {
                leaf.remove(at..at + 1);
                leaf.insert(if place > at { place - 1 } else { place }, score, member);
            }
            return id;
        }
        let way = way.unwrap_or_else(|| self.way_to(new));
        if self.move_along(&way, (id, at), old, (score, member)) {
            return way.leaf;
        }
        self.remove_found(old, at, moved);
        self.insert(score, member, moved)
    }

    /// Moves an element from this place of this leaf into another leaf. False, and nothing is changed: a leaf would have to be split or
    /// joined, or the element would be at an end of its leaf.
    fn move_along(
        &mut self,
        way: &Way,
        (id, at): (LeafId, usize),
        old: Key<'_>,
        (score, member): (f64, Tagged<'_>),
    ) -> bool {
        let into = self.leaf(way.leaf);
        let is_between = 0 < way.place && way.place < into.len() && way.leaf != id;
        if !is_between || !into.has_room(member.member.len()) || self.leaf(id).len() <= JOIN_MAX + 1 {
            return false;
        }
        let (from, _, _) = self.path_to(old);
        for (from, to) in from.iter().zip(&way.path) {
            self.inners.at_mut(from.node).counts[from.at as usize] -= 1;
            self.inners.at_mut(to.node).counts[to.at as usize] += 1;
        }
        self.leaves.at_mut(id).remove(at..at + 1);
        self.leaves.at_mut(way.leaf).insert(way.place, score, member);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn tagged(member: &[u8]) -> Tagged<'_> {
        Tagged::of(member, u64::from(member[0]))
    }

    #[test]
    fn an_element_that_gets_another_score_is_where_the_order_wants_it_whether_the_way_is_known_or_not() {
        for (scores, members) in [(3_u32, 100_u32), (50, 3_000), (1_000_000, 8_000)] {
            let mut random = fastrand::Rng::with_seed(u64::from(scores));
            let mut tree = Tree::default();
            let mut leaves: BTreeMap<[u8; 4], (LeafId, f64)> = BTreeMap::new();
            for number in 0..members {
                let (member, score) = (number.to_le_bytes(), f64::from(number % scores));
                let leaf = tree.insert(score, tagged(&member), &mut |moved, _, to| {
                    leaves.get_mut(moved).expect("it is there").0 = to;
                });
                leaves.insert(member, (leaf, score));
            }
            for step in 0..20_000 {
                let member = random.u32(..members).to_le_bytes();
                let (leaf, old) = leaves[&member];
                // Far away, at an end, or near by.
                let score = match random.u8(..8) {
                    0 => -f64::from(random.u32(..scores)),
                    1 => [f64::INFINITY, f64::NEG_INFINITY][random.usize(..2)],
                    2 | 3 => old + random.f64() - 0.5,
                    _ => f64::from(random.u32(..scores)),
                };
                let at = tree.leaf(leaf).find(tagged(&member)).expect("it is in its leaf");
                let way = random.bool().then(|| tree.way_to(Key::of(score, &member)));
                let now_in =
                    tree.set_score((leaf, at), score, tagged(&member), way, &mut |moved, from, to| {
                        let known = leaves.get_mut(moved).expect("it is there");
                        assert_eq!(std::mem::replace(&mut known.0, to), from);
                    });
                leaves.insert(member, (now_in, score));
                if step % 1_000 == 0 {
                    tree.check();
                }
            }
            tree.check();
            assert_eq!(tree.len(), leaves.len());
            for (member, &(leaf, score)) in &leaves {
                let at = tree.leaf(leaf).find(tagged(member)).expect("it is in its leaf");
                assert_eq!(tree.leaf(leaf).score(at), score);
            }
        }
    }
}
