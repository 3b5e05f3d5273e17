//! A counted B+tree: elements in order of (score, member), found by either or by rank.
//!
//! ```text
//!                     ┌ counts  [ 2900 ][ 3010 ] …
//! inner node          │ scores  [  –   ][ 17.0 ] …      the border below each child: everything in it is at or above it,
//!                     │ texts   [      ][      ] …      everything before is below it; that of the first child is below all
//!                     └ children [ 4 ][ 9 ] …           numbers on the shelf of inner nodes, or of leaves at height 1
//! leaf                see leaf.rs
//! ```
//!
//! Nodes are on shelves (`shelf.rs`), so a clone shares them and a write copies the few that it changes. A leaf has a number
//! that holds until its elements move: then the owner is told ([`Moved`]), which lets a table say in which leaf a member is
//! and keep nothing else of it.
//!
//! Invariants
//! - A node's count is the number of elements under it; no node is empty, but the only leaf of an empty tree.
//! - Between leaves whose scores differ the border has no text; otherwise the fewest bytes that tell them apart.
//! - Borders of a node are in order, that of its first child included: what comes below all of its elements goes there, and may split
//!   that child at any place.
//!
//! Leaves are split in the middle when they are over, but at the ends of the tree where elements come in order: there a full
//! one stays as it is. Full is one with some room left, so that elements that change their places later don't split all.
//! A leaf or node that has become small joins a neighbour under the same node.
//! Cost: everything O(log n); a split or join moves up to half a leaf.

mod descent;
mod inner;
mod way;

use std::ops::Range;

use super::leaf::{Edge, Key, LEAF_BYTES_MAX, LEAF_MAX, Leaf, Tagged};
use super::shelf::Shelf;
pub(super) use descent::Descent;
use inner::{Child, Inner};
pub(super) use way::Way;
use way::{Path, Step};

/// Number of a leaf.
pub(super) type LeafId = u32;

/// Most children of an inner node: as many as a leaf has elements, so that both are searched alike.
const CHILDREN_MAX: usize = LEAF_MAX;
/// So many children has one that is full because elements come in order.
const CHILDREN_FULL: usize = CHILDREN_MAX / 8 * 7;
/// From so few elements or children on a node joins a neighbour, if both together are well below the most.
const JOIN_MAX: usize = 8;

/// What is told of every element that comes to be in another leaf: its member, the old leaf, the new one.
pub(super) type Moved<'m> = &'m mut dyn FnMut(&[u8], LeafId, LeafId);

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    leaves: Shelf<Leaf>,
    inners: Shelf<Inner>,
    root: u32,
    /// Levels of inner nodes above the leaves.
    height: u32,
    len: usize,
    /// Bytes of the members, and of the texts of borders.
    text_bytes: usize,
}

/// Whether a node is at an end of its level.
#[derive(Debug, Clone, Copy)]
struct Ends {
    first: bool,
    last: bool,
}

impl Default for Tree {
    fn default() -> Tree {
        let mut leaves = Shelf::default();
        let root = leaves.add(Leaf::default());
        Tree { leaves, inners: Shelf::default(), root, height: 0, len: 0, text_bytes: 0 }
    }
}

impl Tree {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes on the heap. Cost: O(1).
    pub(super) fn heap_bytes(&self) -> usize {
        self.leaves.heap_bytes() + self.inners.heap_bytes() + self.text_bytes
    }

    /// A leaf that is there.
    #[inline]
    pub(super) fn leaf(&self, id: LeafId) -> &Leaf {
        self.leaves.at(id)
    }

    /// How many elements are before a place.
    pub(super) fn rank_of(&self, key: Key<'_>) -> usize {
        let (leaf, rank) = self.descend(key);
        rank + self.leaf(leaf).rank_of(key)
    }

    /// How many elements are before the leaf in which the element of this key is.
    pub(super) fn rank_of_leaf(&self, key: Key<'_>) -> usize {
        self.descend(key).1
    }

    /// The leaf of a key, and how many elements are before it.
    #[inline]
    fn descend(&self, key: Key<'_>) -> (LeafId, usize) {
        let (mut node, mut rank) = (self.root, 0);
        for _ in 0..self.height {
            let inner = self.inners.at(node);
            let at = inner.child_for(key);
            rank += inner.counts[..at].iter().sum::<u64>();
            node = inner.children[at];
        }
        (node, rank as usize)
    }

    /// Leaf and place of the element of a rank below the length.
    pub(super) fn locate(&self, rank: usize) -> (LeafId, usize) {
        let (mut node, mut rest) = (self.root, rank as u64);
        for _ in 0..self.height {
            let inner = self.inners.at(node);
            let at = inner.child_of_rank(&mut rest);
            node = inner.children[at];
        }
        (node, rest as usize)
    }

    /// Shows the elements of some ranks in order, until `visit` has had enough.
    pub(super) fn visit(&self, ranks: Range<usize>, visit: &mut dyn FnMut(&[u8], f64) -> bool) {
        let Range { mut start, end } = ranks;
        while start < end {
            let (leaf, from) = self.locate(start);
            let leaf = self.leaf(leaf);
            let to = leaf.len().min(from + (end - start));
            for at in from..to {
                if !visit(leaf.member(at), leaf.score(at)) {
                    return;
                }
            }
            start += to - from;
        }
    }

    /// As [`Tree::visit`], from the last to the first.
    pub(super) fn visit_back(&self, ranks: Range<usize>, visit: &mut dyn FnMut(&[u8], f64) -> bool) {
        let Range { start, mut end } = ranks;
        while start < end {
            let (leaf, last) = self.locate(end - 1);
            let leaf = self.leaf(leaf);
            let from = (last + 1).saturating_sub(end - start);
            for at in (from..=last).rev() {
                if !visit(leaf.member(at), leaf.score(at)) {
                    return;
                }
            }
            end -= last + 1 - from;
        }
    }

    /// Inserts an element that is not there; returns its leaf. `moved` is not told of the new one.
    pub(super) fn insert(&mut self, score: f64, member: Tagged<'_>, moved: Moved<'_>) -> LeafId {
        let way = self.way_to(Key::of(score, member.member));
        self.insert_along(way, score, member, moved)
    }

    /// The same if the way to it is known.
    pub(super) fn insert_along(
        &mut self,
        way: Way,
        score: f64,
        member: Tagged<'_>,
        moved: Moved<'_>,
    ) -> LeafId {
        let Way { mut path, leaf, place, ends } = way;
        for step in &path {
            self.inners.at_mut(step.node).counts[step.at as usize] += 1;
        }
        self.len += 1;
        self.text_bytes += member.member.len();
        let (leaf, mut split) = self.insert_in_leaf((leaf, place), ends, (score, member), moved);
        while let Some(right) = split {
            self.text_bytes += right.text.len();
            split = match path.pop() {
                Some(step) => self.insert_child(step, right),
                None => {
                    self.grow(right);
                    None
                }
            };
        }
        leaf
    }

    /// Puts a root above the one that was split, of which `right` is the right half.
    fn grow(&mut self, right: Child) {
        let count = self.len as u64 - right.count;
        let mut root = Inner::default();
        root.insert(0, Child { count, score: f64::NEG_INFINITY, text: [].into(), node: self.root });
        root.insert(1, right);
        self.root = self.inners.add(root);
        self.height += 1;
    }

    /// Has a node take the right half of a child that was split; returns its own right half, if it had to be split as well.
    fn insert_child(&mut self, Step { node, at, is_last }: Step, right: Child) -> Option<Child> {
        let at = at as usize;
        let inner = self.inners.at_mut(node);
        inner.counts[at] -= right.count;
        inner.insert(at + 1, right);
        let (most, cut) =
            if is_last { (CHILDREN_FULL, inner.len - 1) } else { (CHILDREN_MAX, inner.len / 2) };
        if inner.len <= most {
            return None;
        }
        let mut right = inner.split_off(cut);
        let (score, text) = right.open_below();
        self.text_bytes -= text.len();
        Some(Child { count: right.count(), score, text, node: self.inners.add(right) })
    }

    fn insert_in_leaf(
        &mut self,
        (id, at): (LeafId, usize),
        ends: Ends,
        (score, member): (f64, Tagged<'_>),
        moved: Moved<'_>,
    ) -> (LeafId, Option<Child>) {
        let leaf = self.leaves.at_mut(id);
        if ends.last && at == leaf.len() {
            leaf.expect_more(member.member.len());
        }
        leaf.insert(at, score, member);
        let cut = match ends {
            Ends { last: true, .. } if at + 1 == leaf.len() && leaf.is_above_full() => at,
            Ends { first: true, .. } if at == 0 && leaf.is_above_full() => 1,
            _ if leaf.is_over() => leaf.middle(),
            _ => return (id, None),
        };
        let right = leaf.split_off(cut);
        let left = (leaf.member(cut - 1), leaf.score(cut - 1));
        let (count, score) = (right.len() as u64, right.score(0));
        let text = border(left, (right.member(0), score)).into();
        let node = self.leaves.add(right);
        for (index, (member, _)) in (cut..).zip(self.leaves.at(node).iter()) {
            if index != at {
                moved(member, id, node);
            }
        }
        let landed = if at < cut { id } else { node };
        (landed, Some(Child { count, score, text, node }))
    }

    /// Removes elements from a rank on, at most `most` and only in one leaf, and shows them; returns how many. There is one.
    pub(super) fn remove_run(
        &mut self,
        rank: usize,
        most: usize,
        visit: &mut dyn FnMut(&[u8], f64),
        moved: Moved<'_>,
    ) -> usize {
        let (mut path, mut node, mut rank) = (Path::new(), self.root, rank as u64);
        for _ in 0..self.height {
            let inner = self.inners.at(node);
            let at = inner.child_of_rank(&mut rank);
            path.push(Step { node, at: at as u32, is_last: false });
            node = inner.children[at];
        }
        let count = self.remove_from_leaf(node, rank as usize, most, visit);
        for step in &path {
            self.inners.at_mut(step.node).counts[step.at as usize] -= count as u64;
        }
        self.shrink(&path, node, moved);
        count
    }

    /// Removes an element, which is at a place of its leaf. Cheaper than by its rank, which nobody knows.
    pub(super) fn remove_found(&mut self, key: Key<'_>, at: usize, moved: Moved<'_>) {
        let (mut path, mut node) = (Path::new(), self.root);
        for _ in 0..self.height {
            let inner = self.inners.at_mut(node);
            let at = inner.child_for(key);
            inner.counts[at] -= 1;
            path.push(Step { node, at: at as u32, is_last: false });
            node = inner.children[at];
        }
        self.remove_from_leaf(node, at, 1, &mut |_, _| {});
        self.shrink(&path, node, moved);
    }

    /// A leaf at the end of this path has lost elements: drops or joins the nodes that have become empty or small.
    fn shrink(&mut self, path: &Path, leaf: LeafId, moved: Moved<'_>) {
        // Otherwise no node has lost a child.
        if self.leaf(leaf).len() > JOIN_MAX {
            return;
        }
        if self.len == 0 {
            *self = Tree::default();
            return;
        }
        for (level, &Step { node, at, .. }) in (1..).zip(path.iter().rev()) {
            let at = at as usize;
            let inner = self.inners.at(node);
            let (left, child) = (inner.counts[at], inner.children[at]);
            if left == 0 {
                self.drop_child(node, level, at);
            } else if level == 1 {
                self.join_leaf((node, at), child, moved);
            } else {
                self.join_inner((node, at), child);
            }
        }
        while self.height > 0 && self.inners.at(self.root).len == 1 {
            let root = self.root;
            (self.root, self.height) = (self.inners.at(root).children[0], self.height - 1);
            self.inners.remove(root);
        }
    }

    fn remove_from_leaf(
        &mut self,
        id: LeafId,
        from: usize,
        most: usize,
        visit: &mut dyn FnMut(&[u8], f64),
    ) -> usize {
        let leaf = self.leaves.at_mut(id);
        let to = leaf.len().min(from.saturating_add(most));
        (from..to).for_each(|at| visit(leaf.member(at), leaf.score(at)));
        let before_bytes = leaf.member_bytes();
        leaf.remove(from..to);
        self.text_bytes -= before_bytes - leaf.member_bytes();
        self.len -= to - from;
        to - from
    }

    /// Removes a child that has become empty.
    fn drop_child(&mut self, node: u32, level: u32, at: usize) {
        let child = self.remove_child(node, at).node;
        if level == 1 { self.leaves.remove(child) } else { self.inners.remove(child) }
    }

    /// Takes a child out of its node.
    fn remove_child(&mut self, node: u32, at: usize) -> Child {
        let inner = self.inners.at_mut(node);
        let child = inner.remove(at);
        self.text_bytes -= child.text.len();
        if at == 0 && inner.len > 0 {
            self.text_bytes -= inner.open_below().1.len();
        }
        child
    }

    /// Lets a small leaf, which is this child of a node, join a neighbour.
    fn join_leaf(&mut self, (node, at): (u32, usize), id: LeafId, moved: Moved<'_>) {
        let leaf = self.leaves.at(id);
        if leaf.len() > JOIN_MAX {
            return;
        }
        let inner = self.inners.at(node);
        let fits = |&other: &usize| {
            let other = self.leaves.at(inner.children[other]);
            leaf.len() + other.len() <= LEAF_MAX * 3 / 4
                && leaf.member_bytes() + other.member_bytes() <= LEAF_BYTES_MAX * 3 / 4
        };
        let Some(other) = inner.neighbours(at).find(fits) else { return };
        let into = inner.children[other];
        leaf.iter().for_each(|(member, _)| moved(member, id, into));
        let (left, right) = if other < at { (into, id) } else { (id, into) };
        let mut joined = self.leaves.at(left).clone();
        joined.append(self.leaves.at(right));
        *self.leaves.at_mut(into) = joined;
        self.leaves.remove(id);
        let right = self.remove_child(node, at.max(other));
        let (inner, left) = (self.inners.at_mut(node), at.min(other));
        inner.counts[left] += right.count;
        inner.children[left] = into;
    }

    /// Lets a small inner node, which is this child of a node, join a neighbour.
    fn join_inner(&mut self, (node, at): (u32, usize), id: u32) {
        let len = self.inners.at(id).len;
        if len > JOIN_MAX {
            return;
        }
        let inner = self.inners.at(node);
        let fits = |&other: &usize| len + self.inners.at(inner.children[other]).len <= CHILDREN_MAX * 3 / 4;
        let Some(other) = inner.neighbours(at).find(fits) else { return };
        let (left, right) = (at.min(other), at.max(other));
        let into = inner.children[left];
        let Child { count, score, text, node: gone } = self.inners.at_mut(node).remove(right);
        self.inners.at_mut(node).counts[left] += count;
        let mut tail = self.inners.at(gone).clone();
        self.inners.remove(gone);
        // The border below the whole node is the border below its first child.
        (tail.scores[0], tail.texts[0]) = (score, text);
        self.inners.at_mut(into).append(tail);
    }

    /// Panics if an invariant doesn't hold.
    pub(super) fn check(&self) {
        let (mut bytes, mut previous) = (0, None);
        let len = self.check_under(self.root, self.height, &mut bytes, &mut previous);
        assert_eq!((len, bytes), (self.len as u64, self.text_bytes));
    }

    fn check_under<'t>(
        &'t self,
        node: u32,
        level: u32,
        bytes: &mut usize,
        previous: &mut Option<(f64, &'t [u8])>,
    ) -> u64 {
        if level == 0 {
            let leaf = self.leaf(node);
            *bytes += leaf.member_bytes();
            assert!(!leaf.is_empty() || self.height == 0);
            assert!(leaf.len() <= LEAF_MAX);
            for (member, score) in leaf.iter() {
                assert!(!score.is_nan());
                assert_eq!(
                    self.path_to(Key::of(score, member)).1,
                    node,
                    "the way to an element ends in its leaf"
                );
                if let Some((score_before, before)) = *previous {
                    assert!(Key::of(score, member).is_behind(score_before, || before));
                }
                *previous = Some((score, member));
            }
            return leaf.len() as u64;
        }
        let inner = self.inners.at(node);
        *bytes += inner.texts.iter().map(|text| text.len()).sum::<usize>();
        assert!(inner.len > 0 && inner.len <= CHILDREN_MAX);
        assert!(inner.scores[0] == f64::NEG_INFINITY && inner.texts[0].is_empty());
        assert!(inner.texts[inner.len..].iter().all(|text| text.is_empty()));
        assert!(inner.scores.is_sorted());
        for at in 0..inner.len {
            if at > 0 {
                let border = Key { score: inner.scores[at], edge: Edge::At(&inner.texts[at]) };
                let (score, member) = previous.expect("no child is empty");
                assert!(border.is_behind(score, || member));
            }
            let count = self.check_under(inner.children[at], level - 1, bytes, previous);
            assert_eq!(count, inner.counts[at]);
        }
        inner.count()
    }
}

/// The fewest bytes that are above the last element on the left, and not above the first on the right.
fn border<'r>(left: (&[u8], f64), right: (&'r [u8], f64)) -> &'r [u8] {
    if left.1 != right.1 {
        return b"";
    }
    let common = left.0.iter().zip(right.0).take_while(|(a, b)| a == b).count();
    &right.0[..right.0.len().min(common + 1)]
}

#[cfg(test)]
mod tests {
    use super::super::leaf::LEAF_FULL;
    use super::*;
    use std::collections::BTreeMap;

    /// The elements in order, and in which leaf the tree said each is.
    #[derive(Default)]
    struct Model {
        elements: Vec<(f64, Vec<u8>)>,
        leaves: BTreeMap<Vec<u8>, LeafId>,
    }

    /// With a hash by which some are alike.
    fn tagged(member: &[u8]) -> Tagged<'_> {
        Tagged::of(member, member.iter().map(|&byte| u64::from(byte)).sum::<u64>() % 7)
    }

    fn insert(tree: &mut Tree, model: &mut Model, score: f64, member: &[u8]) {
        let at = model.elements.partition_point(|(s, m)| (*s, &m[..]) < (score, member));
        assert_eq!(tree.rank_of(Key::of(score, member)), at);
        model.elements.insert(at, (score, member.to_vec()));
        let leaves = &mut model.leaves;
        let leaf = tree.insert(score, tagged(member), &mut |member, from, to| {
            assert_eq!(leaves.insert(member.to_vec(), to), Some(from));
        });
        model.leaves.insert(member.to_vec(), leaf);
    }

    fn remove(tree: &mut Tree, model: &mut Model, rank: usize, most: usize) -> usize {
        let mut removed = Vec::new();
        let leaves = &mut model.leaves;
        let mut moved = Vec::new();
        let mut note = |m: &[u8], f, t| moved.push((m.to_vec(), f, t));
        let count = if most == 1 {
            let (score, member) = model.elements[rank].clone();
            let (_, at) = tree.locate(rank);
            tree.remove_found(Key::of(score, &member), at, &mut note);
            removed.push((score, member));
            1
        } else {
            let mut show = |member: &[u8], score| removed.push((score, member.to_vec()));
            tree.remove_run(rank, most, &mut show, &mut note)
        };
        for (member, from, to) in moved {
            assert_eq!(leaves.insert(member, to), Some(from));
        }
        assert!(count > 0 && count <= most);
        let expected: Vec<_> = model.elements.drain(rank..rank + count).collect();
        assert_eq!(removed, expected);
        expected.iter().for_each(|(_, member)| {
            model.leaves.remove(member);
        });
        count
    }

    fn check(tree: &Tree, model: &Model) {
        tree.check();
        assert_eq!(tree.len(), model.elements.len());
        let mut seen = Vec::new();
        tree.visit(0..tree.len(), &mut |member, score| {
            seen.push((score, member.to_vec()));
            true
        });
        assert_eq!(seen, model.elements);
        tree.visit_back(0..tree.len(), &mut |member, score| {
            assert_eq!(seen.pop(), Some((score, member.to_vec())));
            true
        });
        for (member, &leaf) in &model.leaves {
            assert!(tree.leaf(leaf).find(tagged(member)).is_some());
        }
    }

    #[test]
    fn it_is_a_sorted_list_that_says_where_its_elements_are() {
        for (scores, member_bytes) in [(1u32, 4usize), (7, 4), (1_000_000, 4), (3, 300)] {
            let mut random = fastrand::Rng::with_seed(u64::from(scores));
            let (mut tree, mut model) = (Tree::default(), Model::default());
            let mut clones = Vec::new();
            for round in 0..12_000 {
                let growing = (round / 3000) % 2 == 0;
                if model.elements.is_empty() || random.u8(..) < if growing { 200 } else { 50 } {
                    let mut member = vec![b'm'; random.usize(..member_bytes)];
                    member.extend(random.u32(..).to_be_bytes());
                    if !model.leaves.contains_key(&member) {
                        insert(&mut tree, &mut model, f64::from(random.u32(..scores)), &member);
                    }
                } else {
                    let rank = random.usize(..tree.len());
                    remove(&mut tree, &mut model, rank, 1 + random.usize(..3));
                }
                if round % 2000 == 0 {
                    check(&tree, &model);
                    clones.push((tree.clone(), model.elements.clone()));
                }
            }
            for (clone, elements) in clones {
                clone.check();
                assert!((0..clone.len()).all(|rank| {
                    let (leaf, at) = clone.locate(rank);
                    let (member, score) = (clone.leaf(leaf).member(at), clone.leaf(leaf).score(at));
                    (score, member) == (elements[rank].0, &elements[rank].1[..])
                }));
            }
            while tree.len() > 0 {
                let rank = random.usize(..tree.len());
                remove(&mut tree, &mut model, rank, usize::MAX);
            }
            check(&tree, &model);
        }
    }

    #[test]
    fn elements_that_come_in_order_fill_the_leaves() {
        for backward in [false, true] {
            let (mut tree, mut model) = (Tree::default(), Model::default());
            for number in 0..20_000u32 {
                let score = f64::from(number) * if backward { -1.0 } else { 1.0 };
                insert(&mut tree, &mut model, score, &number.to_be_bytes());
            }
            tree.check();
            let leaves: std::collections::BTreeSet<LeafId> = model.leaves.values().copied().collect();
            assert!(leaves.len() <= 20_000 / LEAF_FULL + 2, "{} leaves", leaves.len());
        }
    }

    #[test]
    fn elements_that_change_their_places_once_all_came_in_order_split_few_leaves() {
        let (mut tree, mut model) = (Tree::default(), Model::default());
        for number in 0..20_000u32 {
            insert(&mut tree, &mut model, f64::from(number), &number.to_be_bytes());
        }
        let leaves = |model: &Model| model.leaves.values().collect::<std::collections::BTreeSet<_>>().len();
        let before = leaves(&model);
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..2000 {
            let rank = random.usize(..tree.len());
            let member = model.elements[rank].1.clone();
            remove(&mut tree, &mut model, rank, 1);
            insert(&mut tree, &mut model, f64::from(random.u32(..20_000)) + 0.5, &member);
        }
        tree.check();
        let after = leaves(&model);
        assert!(after < before + before / 10, "{before} leaves became {after}");
    }

    #[test]
    fn what_comes_below_all_others_is_in_order_once_the_first_leaves_have_become_empty() {
        // The second of two leaves that are full is not joined by the first: this becomes empty, as in a queue.
        for (count, gone) in [(300, 60), (5_000, 500), (5_000, 4_000)] {
            let (mut tree, mut model) = (Tree::default(), Model::default());
            for number in 0..count {
                insert(&mut tree, &mut model, f64::from(number), &u32::to_be_bytes(number));
            }
            let mut left = gone as usize;
            while left > 0 {
                left -= remove(&mut tree, &mut model, 0, left);
            }
            tree.check();
            let mut random = fastrand::Rng::with_seed(1);
            for number in count..count + 2_000 {
                insert(&mut tree, &mut model, f64::from(random.u32(..gone)), &u32::to_be_bytes(number));
            }
            check(&tree, &model);
        }
    }

    #[test]
    fn places_between_elements_are_found_by_score_and_by_member() {
        let (mut tree, mut model) = (Tree::default(), Model::default());
        for number in 0..5000u32 {
            insert(&mut tree, &mut model, f64::from(number / 100), &number.to_be_bytes());
        }
        let rank = |score, edge| tree.rank_of(Key { score, edge });
        assert_eq!(rank(7.0, Edge::Least), 700);
        assert_eq!(rank(7.0, Edge::Most), 800);
        assert_eq!(rank(6.5, Edge::Most), 700);
        let member = 750u32.to_be_bytes();
        assert_eq!(rank(7.0, Edge::At(&member)), 750);
        assert_eq!(rank(7.0, Edge::After(&member)), 751);
        assert_eq!(rank(f64::NEG_INFINITY, Edge::Most), 0);
        assert_eq!(rank(f64::INFINITY, Edge::Least), 5000);
    }
}
