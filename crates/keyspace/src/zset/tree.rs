//! A counted B+tree: elements in order of (score, member), found by either or by rank.
//!
//! ```text
//!                     ┌ counts  [ 2900 ][ 3010 ] …
//! inner node          │ scores  [  –   ][ 17.0 ] …      the border below each child: everything in it is at or above it,
//!                     │ texts   [  –   ][      ] …      everything before is below it; the first child's is not used
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
//!
//! Leaves are split in the middle when they are over, but at the ends of the tree where elements come in order: there a full
//! one stays as it is. Full is one with some room left, so that elements that change their places later don't split all.
//! A leaf or node that has become small joins a neighbour under the same node.
//! Cost: everything O(log n); a split or join moves up to half a leaf.

use std::ops::Range;

use smallvec::SmallVec;

use super::leaf::{Edge, Key, LEAF_BYTES_MAX, LEAF_MAX, Leaf, Tagged, equal_range};
use super::shelf::Shelf;

/// Number of a leaf.
pub(super) type LeafId = u32;

/// Most children of an inner node.
const CHILDREN_MAX: usize = 64;
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
    /// Bytes of the nodes' vectors.
    node_bytes: usize,
}

#[derive(Debug, Clone, Default)]
struct Inner {
    counts: Vec<u64>,
    scores: Vec<f64>,
    texts: Vec<Box<[u8]>>,
    children: Vec<u32>,
    /// Bytes of the texts.
    text_bytes: usize,
}

/// A node, as its parent knows it.
#[derive(Debug)]
struct Child {
    count: u64,
    score: f64,
    text: Box<[u8]>,
    node: u32,
}

/// The way from the root to a leaf, an inner node each.
type Path = SmallVec<[Step; 6]>;

/// An inner node on the way to a leaf, and the child that the way takes.
#[derive(Debug, Clone, Copy)]
struct Step {
    node: u32,
    at: u32,
    /// The child is the last of its level.
    is_last: bool,
}

/// Whether a node is at an end of its level.
#[derive(Debug, Clone, Copy)]
struct Ends {
    first: bool,
    last: bool,
}

/// What is removed from under a node, all from one leaf.
#[derive(Debug, Clone, Copy)]
enum Target<'a> {
    /// As many elements from a rank on, at most.
    Run { rank: u64, most: usize },
    /// The element of this key, and its place in the leaf.
    Found { key: Key<'a>, at: usize },
}

impl Default for Tree {
    fn default() -> Tree {
        let mut leaves = Shelf::default();
        let root = leaves.add(Leaf::default());
        Tree { leaves, inners: Shelf::default(), root, height: 0, len: 0, node_bytes: 0 }
    }
}

impl Tree {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes on the heap. Cost: O(1).
    pub(super) fn heap_bytes(&self) -> usize {
        self.leaves.heap_bytes() + self.inners.heap_bytes() + self.node_bytes
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

    /// Changes the score of an element if the order leaves it where it is; `false`, and nothing is changed, if that can't
    /// be said from the leaf alone.
    pub(super) fn set_score_in_place(&mut self, id: LeafId, at: usize, score: f64) -> bool {
        let leaf = self.leaf(id);
        if at == 0 || at + 1 >= leaf.len() {
            return false;
        }
        let key = Key::of(score, leaf.member(at));
        let stays = key.is_behind(leaf.score(at - 1), || leaf.member(at - 1))
            && !key.is_behind(leaf.score(at + 1), || leaf.member(at + 1));
        if stays {
            let leaf = self.leaves.at_mut_counted(id, &mut self.node_bytes, Leaf::heap_bytes);
            leaf.set_score(at, score);
        }
        stays
    }

    /// Inserts an element that is not there; returns its leaf. `moved` is not told of the new one.
    pub(super) fn insert(&mut self, score: f64, member: Tagged<'_>, moved: Moved<'_>) -> LeafId {
        let (mut path, mut node) = (Path::new(), self.root);
        let mut ends = Ends { first: true, last: true };
        for _ in 0..self.height {
            let inner = self.inners.at(node);
            let at = inner.child_for(Key::of(score, member.member));
            ends = Ends { first: ends.first && at == 0, last: ends.last && at + 1 == inner.children.len() };
            path.push(Step { node, at: at as u32, is_last: ends.last });
            node = inner.children[at];
        }
        let (leaf, mut split) = self.insert_in_leaf(node, ends, (score, member), moved);
        for &step in path.iter().rev() {
            split = match split {
                None => {
                    self.counts_of(step.node)[step.at as usize] += 1;
                    None
                }
                Some(right) => self.insert_child(step, right),
            };
        }
        if let Some(right) = split {
            let left = Child {
                count: self.len as u64 + 1 - right.count,
                score: 0.0,
                text: [].into(),
                node: self.root,
            };
            let mut root = Inner::default();
            root.insert(0, left);
            root.insert(1, right);
            self.node_bytes += root.heap_bytes();
            self.root = self.inners.add(root);
            self.height += 1;
        }
        self.len += 1;
        leaf
    }

    /// Has a node take the right half of a child that has got an element and was split; returns its own right half, if it had to
    /// be split as well.
    fn insert_child(&mut self, Step { node, at, is_last }: Step, right: Child) -> Option<Child> {
        let at = at as usize;
        let split = self.edit(node, |inner| {
            inner.counts[at] += 1;
            inner.counts[at] -= right.count;
            inner.insert(at + 1, right);
            let len = inner.children.len();
            let (most, cut) = if is_last { (CHILDREN_FULL, len - 1) } else { (CHILDREN_MAX, len / 2) };
            (len > most).then(|| inner.split_off(cut))
        });
        split.map(|right| self.shelve(right))
    }

    /// The counts of an inner node, to change them.
    #[inline]
    fn counts_of(&mut self, node: u32) -> &mut [u64] {
        &mut self.inners.at_mut_counted(node, &mut self.node_bytes, Inner::heap_bytes).counts
    }

    fn shelve(&mut self, inner: Inner) -> Child {
        self.node_bytes += inner.heap_bytes();
        let (score, text) = (inner.scores[0], inner.texts[0].clone());
        Child { count: inner.counts.iter().sum(), score, text, node: self.inners.add(inner) }
    }

    fn insert_in_leaf(
        &mut self,
        id: LeafId,
        ends: Ends,
        (score, member): (f64, Tagged<'_>),
        moved: Moved<'_>,
    ) -> (LeafId, Option<Child>) {
        let at = self.leaf(id).rank_of(Key::of(score, member.member));
        let split = self.edit_leaf(id, |leaf| {
            if ends.last && at == leaf.len() {
                leaf.expect_more();
            }
            leaf.insert(at, score, member);
            let cut = match ends {
                Ends { last: true, .. } if at + 1 == leaf.len() && leaf.is_above_full() => at,
                Ends { first: true, .. } if at == 0 && leaf.is_above_full() => 1,
                _ if leaf.is_over() => leaf.middle(),
                _ => return None,
            };
            let right = leaf.split_off(cut);
            let left = (leaf.member(cut - 1), leaf.score(cut - 1));
            let text = border(left, (right.member(0), right.score(0))).into();
            Some((cut, text, right))
        });
        let Some((cut, text, right)) = split else { return (id, None) };
        let (count, score) = (right.len() as u64, right.score(0));
        self.node_bytes += right.heap_bytes();
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
        let run = Target::Run { rank: rank as u64, most };
        let count = self.remove_target(run, visit, moved);
        self.shrink(count);
        count
    }

    /// Removes an element, which is at a place of its leaf. Cheaper than by its rank, which nobody knows.
    pub(super) fn remove_found(&mut self, key: Key<'_>, at: usize, moved: Moved<'_>) {
        let count = self.remove_target(Target::Found { key, at }, &mut |_, _| {}, moved);
        self.shrink(count);
    }

    /// Has lost so many elements.
    fn shrink(&mut self, count: usize) {
        self.len -= count;
        if self.len == 0 {
            *self = Tree::default();
        }
        while self.height > 0 && self.inners.at(self.root).children.len() == 1 {
            let inner = self.inners.at(self.root);
            let (child, bytes) = (inner.children[0], inner.heap_bytes());
            self.node_bytes -= bytes;
            self.inners.remove(self.root);
            (self.root, self.height) = (child, self.height - 1);
        }
    }

    fn remove_target(
        &mut self,
        mut target: Target<'_>,
        visit: &mut dyn FnMut(&[u8], f64),
        moved: Moved<'_>,
    ) -> usize {
        let (mut path, mut node) = (Path::new(), self.root);
        for _ in 0..self.height {
            let inner = self.inners.at(node);
            let at = match &mut target {
                Target::Run { rank, .. } => inner.child_of_rank(rank),
                Target::Found { key, .. } => inner.child_for(*key),
            };
            path.push(Step { node, at: at as u32, is_last: false });
            node = inner.children[at];
        }
        let count = match target {
            Target::Run { rank, most } => self.remove_from_leaf(node, rank as usize, most, visit),
            Target::Found { at, .. } => self.remove_from_leaf(node, at, 1, visit),
        };
        for (level, &Step { node, at, .. }) in (1..).zip(path.iter().rev()) {
            let at = at as usize;
            let left = &mut self.counts_of(node)[at];
            *left -= count as u64;
            if *left == 0 {
                self.drop_child(node, level, at);
            } else if level == 1 {
                self.join_leaf(node, at, moved);
            } else {
                self.join_inner(node, at);
            }
        }
        count
    }

    fn remove_from_leaf(
        &mut self,
        id: LeafId,
        from: usize,
        most: usize,
        visit: &mut dyn FnMut(&[u8], f64),
    ) -> usize {
        let leaf = self.leaf(id);
        let to = leaf.len().min(from.saturating_add(most));
        (from..to).for_each(|at| visit(leaf.member(at), leaf.score(at)));
        self.edit_leaf(id, |leaf| leaf.remove(from..to));
        to - from
    }

    /// Removes a child that has become empty.
    fn drop_child(&mut self, node: u32, level: u32, at: usize) {
        let child = self.edit(node, |inner| inner.remove(at)).node;
        if level == 1 {
            self.node_bytes -= self.leaves.at(child).heap_bytes();
            self.leaves.remove(child);
        } else {
            self.node_bytes -= self.inners.at(child).heap_bytes();
            self.inners.remove(child);
        }
    }

    /// Lets a small leaf join a neighbour.
    fn join_leaf(&mut self, node: u32, at: usize, moved: Moved<'_>) {
        let children = &self.inners.at(node).children;
        let (id, neighbours) = (children[at], [at.checked_sub(1), Some(at + 1)]);
        let leaf = self.leaves.at(id);
        if leaf.len() > JOIN_MAX {
            return;
        }
        let fits = |&other: &usize| {
            let other = children.get(other).map(|&other| self.leaves.at(other));
            other.is_some_and(|other| {
                leaf.len() + other.len() <= LEAF_MAX * 3 / 4
                    && leaf.member_bytes() + other.member_bytes() <= LEAF_BYTES_MAX * 3 / 4
            })
        };
        let Some(other) = neighbours.into_iter().flatten().find(fits) else { return };
        let into = children[other];
        let mut joined = leaf.clone();
        let freed = leaf.heap_bytes() + self.leaves.at(into).heap_bytes();
        joined.iter().for_each(|(member, _)| moved(member, id, into));
        if other < at {
            let mut left = self.leaves.at(into).clone();
            left.append(&joined);
            joined = left;
        } else {
            joined.append(self.leaves.at(into));
        }
        self.node_bytes += joined.heap_bytes();
        self.node_bytes -= freed;
        *self.leaves.at_mut(into) = joined;
        self.leaves.remove(id);
        self.edit(node, |inner| {
            let right = inner.remove(at.max(other));
            let left = at.min(other);
            inner.counts[left] += right.count;
            inner.children[left] = into;
        });
    }

    /// Lets a small inner node join a neighbour.
    fn join_inner(&mut self, node: u32, at: usize) {
        let children = &self.inners.at(node).children;
        let len = self.inners.at(children[at]).children.len();
        if len > JOIN_MAX {
            return;
        }
        let fits = |&other: &usize| {
            let other = children.get(other).map(|&other| self.inners.at(other).children.len());
            other.is_some_and(|other| len + other <= CHILDREN_MAX * 3 / 4)
        };
        let Some(other) = [at.checked_sub(1), Some(at + 1)].into_iter().flatten().find(fits) else { return };
        let (left, right) = (at.min(other), at.max(other));
        let Child { count, score, text, node: gone } = self.edit(node, |inner| inner.remove(right));
        let mut tail = self.inners.at(gone).clone();
        self.node_bytes -= self.inners.at(gone).heap_bytes();
        self.inners.remove(gone);
        // The border below the whole node is the border below its first child.
        tail.set_border(0, score, text);
        self.edit(node, |inner| inner.counts[left] += count);
        let into = self.inners.at(node).children[left];
        self.edit(into, |inner| inner.append(tail));
    }

    /// Changes a leaf and keeps count of its bytes.
    #[inline]
    fn edit_leaf<R>(&mut self, id: LeafId, edit: impl FnOnce(&mut Leaf) -> R) -> R {
        // Before a shared one is copied: the copy has no room to spare.
        let before_bytes = self.leaf(id).heap_bytes();
        let leaf = self.leaves.at_mut(id);
        let result = edit(leaf);
        self.node_bytes += leaf.heap_bytes();
        self.node_bytes -= before_bytes;
        result
    }

    /// Changes an inner node and keeps count of its bytes.
    #[inline]
    fn edit<R>(&mut self, node: u32, edit: impl FnOnce(&mut Inner) -> R) -> R {
        let before_bytes = self.inners.at(node).heap_bytes();
        let inner = self.inners.at_mut(node);
        let result = edit(inner);
        self.node_bytes += inner.heap_bytes();
        self.node_bytes -= before_bytes;
        result
    }

    /// Panics if an invariant doesn't hold.
    pub(super) fn check(&self) {
        let (mut bytes, mut previous) = (0, None);
        let len = self.check_under(self.root, self.height, &mut bytes, &mut previous);
        assert_eq!((len, bytes), (self.len as u64, self.node_bytes));
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
            *bytes += leaf.heap_bytes();
            assert!(!leaf.is_empty() || self.height == 0);
            assert!(!leaf.is_over());
            for (member, score) in leaf.iter() {
                assert!(!score.is_nan());
                if let Some((score_before, before)) = *previous {
                    assert!(Key::of(score, member).is_behind(score_before, || before));
                }
                *previous = Some((score, member));
            }
            return leaf.len() as u64;
        }
        let inner = self.inners.at(node);
        *bytes += inner.heap_bytes();
        assert!(!inner.children.is_empty() && inner.children.len() <= CHILDREN_MAX);
        assert_eq!(inner.text_bytes, inner.texts.iter().map(|text| text.len()).sum::<usize>());
        for at in 0..inner.children.len() {
            if at > 0 {
                let border = Key { score: inner.scores[at], edge: Edge::At(&inner.texts[at]) };
                let (score, member) = previous.expect("no child is empty");
                assert!(border.is_behind(score, || member));
            }
            let count = self.check_under(inner.children[at], level - 1, bytes, previous);
            assert_eq!(count, inner.counts[at]);
        }
        inner.counts.iter().sum()
    }
}

impl Inner {
    fn heap_bytes(&self) -> usize {
        self.counts.capacity() * size_of::<u64>()
            + self.scores.capacity() * size_of::<f64>()
            + self.texts.capacity() * size_of::<Box<[u8]>>()
            + self.children.capacity() * size_of::<u32>()
            + self.text_bytes
    }

    /// The last child in which something may be before `key`, or the first.
    #[inline]
    fn child_for(&self, key: Key<'_>) -> usize {
        let equal = equal_range(&self.scores[1..], key.score);
        let (mut from, mut to) = (1 + equal.start, 1 + equal.end);
        while from < to {
            let middle = (from + to) / 2;
            if key.reaches(&self.texts[middle]) { from = middle + 1 } else { to = middle }
        }
        from - 1
    }

    /// The child in which the element of this rank is; `rank` becomes its rank there.
    #[inline]
    fn child_of_rank(&self, rank: &mut u64) -> usize {
        let mut at = 0;
        while at + 1 < self.counts.len() && *rank >= self.counts[at] {
            *rank -= self.counts[at];
            at += 1;
        }
        at
    }

    fn insert(&mut self, at: usize, child: Child) {
        if self.children.len() == self.children.capacity() {
            let more = (self.children.len() / 2).max(4);
            self.counts.reserve_exact(more);
            self.scores.reserve_exact(more);
            self.texts.reserve_exact(more);
            self.children.reserve_exact(more);
        }
        let Child { count, score, text, node } = child;
        self.text_bytes += text.len();
        self.counts.insert(at, count);
        self.scores.insert(at, score);
        self.texts.insert(at, text);
        self.children.insert(at, node);
    }

    fn remove(&mut self, at: usize) -> Child {
        let text = self.texts.remove(at);
        self.text_bytes -= text.len();
        let (count, score) = (self.counts.remove(at), self.scores.remove(at));
        Child { count, score, text, node: self.children.remove(at) }
    }

    fn set_border(&mut self, at: usize, score: f64, text: Box<[u8]>) {
        self.text_bytes += text.len();
        self.text_bytes -= self.texts[at].len();
        (self.scores[at], self.texts[at]) = (score, text);
    }

    fn split_off(&mut self, at: usize) -> Inner {
        let texts = self.texts.split_off(at);
        let text_bytes = texts.iter().map(|text| text.len()).sum();
        self.text_bytes -= text_bytes;
        let (counts, scores) = (self.counts.split_off(at), self.scores.split_off(at));
        Inner { counts, scores, texts, children: self.children.split_off(at), text_bytes }
    }

    fn append(&mut self, other: Inner) {
        self.counts.extend(other.counts);
        self.scores.extend(other.scores);
        self.texts.extend(other.texts);
        self.children.extend(other.children);
        self.text_bytes += other.text_bytes;
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
