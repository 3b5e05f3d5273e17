//! A list of more than one node, or of one that is too large for a small list.
//!
//! ```text
//!   front edge │ node │ node │ … │ node │ back edge
//!     (open)   └──── tree: shared by copies ────┘  (open)
//! ```
//!
//! The edges are the first and the last node while somebody pushes or pops there; an edge that is full goes into the tree,
//! and one that is used up is filled with the tree's next node. An edge may be empty while the tree is not: then the
//! tree's own node is the first, or the last. What happens in the middle happens in the tree, so the edges go there first.
//! An element that is larger than a node may be has one of its own, and that is never an edge.
//!
//! Where nodes end is decided as Redis decides it, since OBJECT ENCODING shows a part of that.
//!
//! Invariants: `len` elements; the edges hold what `Fill` lets a node hold, so that a copy, which takes them along, is
//! O(1). Cost: push and pop O(element), amortised; anything at an index O(log nodes + node).

use std::sync::Arc;

use smallvec::smallvec;

use super::edge::Edge;
use super::fill::Fill;
use super::node::{self, Stands};
use super::tree::{Nodes, Tree};
use super::{End, Form, List};
use crate::listpack::Element;
use crate::packed::Packed;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Large {
    front: Edge,
    tree: Tree,
    back: Edge,
    len: u64,
}

/// A node that LSET has let grow beyond its limit by so many times is split.
const GROWTH_MAX: usize = 8;

/// Whether a node is that of one large element.
fn is_plain(node: &Packed, fill: Fill) -> bool {
    fill.is_plain(node.elements(), node.len())
}

impl Large {
    /// A list of these nodes, none of them empty.
    pub(super) fn of_nodes(nodes: impl IntoIterator<Item = Packed>) -> Large {
        let mut large = Large::default();
        nodes.into_iter().for_each(|node| large.push_node(node));
        large
    }

    /// Adds a node, which is not empty, at the back.
    pub(super) fn push_node(&mut self, node: Packed) {
        self.seal(End::Back);
        self.len += node.len() as u64;
        self.tree.push(End::Back, node);
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Large>() + self.front.heap_bytes() + self.tree.weight().bytes + self.back.heap_bytes()
    }

    /// How many nodes.
    pub(super) fn nodes(&self) -> u64 {
        let edges = [&self.front, &self.back].into_iter().filter(|edge| !edge.is_empty()).count();
        self.tree.weight().nodes + edges as u64
    }

    /// The elements of the only node, and how many they are; `None`: there are several.
    pub(super) fn only_node(&self) -> Option<(&[u8], usize)> {
        if self.nodes() != 1 {
            return None;
        }
        let node = self.tree.node_at(End::Front).map(|node| (node.elements(), node.len()));
        node.or_else(|| {
            let edge = if self.front.is_empty() { &self.back } else { &self.front };
            Some((edge.elements(), edge.len()))
        })
    }

    pub(super) fn push(&mut self, end: End, text: &[u8], fill: Fill) {
        self.len += 1;
        if fill.is_large(text.len()) {
            self.seal(end);
            return self.tree.push(end, node::of_one(text));
        }
        if self.edge(end).is_empty() {
            self.open(end, text.len(), fill);
        }
        let at_other = self.edge(end).is_empty() && self.tree.is_empty() && {
            let other = self.edge(end.other());
            fill.admits(other.elements(), other.len(), text.len()) && !other.is_empty()
        };
        let edge = self.edge_mut(if at_other { end.other() } else { end });
        if !edge.is_empty() && !fill.admits(edge.elements(), edge.len(), text.len()) {
            self.seal(end);
        }
        let edge = self.edge_mut(if at_other { end.other() } else { end });
        match end {
            End::Front => edge.push_front(text),
            End::Back => edge.push_back(text),
        }
    }

    /// Takes the element at an end and shows it to `taken`. False: there is none.
    #[inline]
    pub(super) fn pop(&mut self, end: End, taken: impl FnOnce(Element<'_>)) -> bool {
        if self.edge(end).is_empty()
            && let Some(node) = self.tree.pop(end)
        {
            if node.len() == 1
                && let Some((_, only)) = node.view().iter().next()
            {
                self.len -= 1;
                taken(only);
                return true;
            }
            self.edge_mut(end).fill(&node);
        }
        let at = if self.edge(end).is_empty() { end.other() } else { end };
        let edge = self.edge_mut(at);
        let popped = match end {
            End::Front => edge.pop_front(taken),
            End::Back => edge.pop_back(taken),
        };
        self.len -= u64::from(popped);
        popped
    }

    /// Element `index`.
    pub(super) fn get(&self, index: u64) -> Option<Element<'_>> {
        let front = self.front.len() as u64;
        let behind_tree = front + self.tree.weight().elements;
        if index < front {
            node::get(self.front.elements(), self.front.len(), index as usize)
        } else if index < behind_tree {
            let (node, at) = self.tree.node_with(index - front)?;
            node::get(node.elements(), node.len(), at)
        } else {
            node::get(self.back.elements(), self.back.len(), usize::try_from(index - behind_tree).ok()?)
        }
    }

    /// See [`List::visit`].
    pub(super) fn visit(&self, from: u64, towards: End, visit: &mut impl FnMut(Element<'_>) -> bool) {
        let mut each = |start: u64, elements: &[u8], len: usize| match towards {
            End::Back => node::visit_back(elements, len, from.saturating_sub(start), visit),
            End::Front => node::visit_front(elements, len, from - start, visit),
        };
        let front = self.front.len() as u64;
        let behind_tree = front + self.tree.weight().elements;
        let (edges_before, edges_behind) = match towards {
            End::Back => (front > from, self.len > from),
            End::Front => (from > 0, from > behind_tree),
        };
        let through_tree = |each: &mut dyn FnMut(u64, &[u8], usize) -> bool| {
            let from = from.saturating_sub(front);
            self.tree.walk(from, towards, &mut |start, node| each(front + start, node.elements(), node.len()))
        };
        match towards {
            End::Back => {
                let _ = (!edges_before || each(0, self.front.elements(), self.front.len()))
                    && through_tree(&mut each)
                    && edges_behind
                    && each(behind_tree, self.back.elements(), self.back.len());
            }
            End::Front => {
                let _ = (!edges_behind || each(behind_tree, self.back.elements(), self.back.len()))
                    && through_tree(&mut each)
                    && edges_before
                    && each(0, self.front.elements(), self.front.len());
            }
        }
    }

    /// Shows every node to `visit`, from the first on: its elements, and how many they are.
    pub(super) fn each_node(&self, visit: &mut dyn FnMut(&[u8], usize)) {
        if !self.front.is_empty() {
            visit(self.front.elements(), self.front.len());
        }
        self.tree.walk(0, End::Back, &mut |_, node| {
            visit(node.elements(), node.len());
            true
        });
        if !self.back.is_empty() {
            visit(self.back.elements(), self.back.len());
        }
    }

    /// Puts `text` in the place of element `index`, which is there.
    pub(super) fn set(&mut self, index: u64, text: &[u8], fill: Fill) {
        self.seal_both();
        let Some((node, _)) = self.tree.node_with(index) else { return };
        let (len, is_plain, is_large) = (node.len(), is_plain(node, fill), fill.is_large(text.len()));
        if is_plain && !is_large {
            // As in Redis: to the next node, if that takes it.
            self.insert(index, End::Back, text, fill);
            self.tree.edit(index, &mut |_, _| Nodes::new());
            self.len -= 1;
            return;
        }
        self.tree.edit(index, &mut |node, at| {
            if is_large {
                return node::split(node, at, 1, Some(text), Stands::Alone);
            }
            if let Some(place) = node.view().nth(at as i64) {
                Arc::make_mut(node).splice(place, 1, [text]);
            }
            if node.elements().len() > GROWTH_MAX * fill.bytes_max() {
                return node::split(node, node.len() / 2, 0, None, Stands::Alone);
            }
            smallvec![std::mem::take(Arc::make_mut(node))]
        });
        if is_large && len > 1 {
            self.merge_around(index, fill);
        }
    }

    /// Puts `text` before (`Front`) or behind (`Back`) element `pivot`, which is there.
    pub(super) fn insert(&mut self, pivot: u64, side: End, text: &[u8], fill: Fill) {
        self.seal_both();
        let Some((node, at)) = self.tree.node_with(pivot) else { return };
        let admits = |node: &Packed| fill.admits(node.elements(), node.len(), text.len());
        let is_border = at == if side == End::Front { 0 } else { node.len() - 1 };
        let (is_admitted, is_plain, is_large) =
            (admits(node), is_plain(node, fill), fill.is_large(text.len()));
        let beyond = match side {
            End::Front => pivot.checked_sub(1),
            End::Back => Some(pivot + 1),
        };
        let neighbor = beyond.filter(|_| is_border).and_then(|at| self.tree.node_with(at));
        let neighbor_admits = neighbor.is_some_and(|(node, _)| admits(node));
        let place = |at: usize| if side == End::Front { at } else { at + 1 };
        self.len += 1;
        if is_admitted {
            self.tree.edit(pivot, &mut |node, at| smallvec![node::with(node, place(at), text)]);
        } else if let Some(beyond) = beyond.filter(|_| neighbor_admits) {
            let at_its = if side == End::Front { usize::MAX } else { 0 };
            self.tree.edit(beyond, &mut |node, _| smallvec![node::with(node, at_its, text)]);
        } else if is_large || is_plain || is_border {
            self.tree.edit(pivot, &mut |node, at| node::split(node, place(at), 0, Some(text), Stands::Alone));
        } else {
            let stands = if side == End::Front { Stands::Left } else { Stands::Right };
            self.tree.edit(pivot, &mut |node, at| node::split(node, place(at), 0, Some(text), stands));
            let center = if side == End::Front { pivot + 1 } else { pivot };
            self.merge_around(center, fill);
        }
    }

    /// Merges the nodes around the one with element `center`, if two of them fit into one: those before it, those behind it,
    /// it with the one before and with the one behind. Redis does so where it has split a node.
    fn merge_around(&mut self, center: u64, fill: Fill) {
        let (start, end) = self.bounds_of(center);
        if start > 0 {
            self.merge_at(self.bounds_of(start - 1).0, fill);
        }
        if end < self.tree.weight().elements {
            self.merge_at(self.bounds_of(end).1, fill);
        }
        self.merge_at(start, fill);
        self.merge_at(self.bounds_of(center).1, fill);
    }

    /// The elements of the node that has element `at`: the first, and the one behind the last.
    fn bounds_of(&self, at: u64) -> (u64, u64) {
        let Some((node, offset)) = self.tree.node_with(at) else { return (at, at) };
        let start = at - offset as u64;
        (start, start + node.len() as u64)
    }

    /// Makes one node of the two that meet before element `border`, if there are two and they fit.
    fn merge_at(&mut self, border: u64, fill: Fill) {
        let before = border.checked_sub(1).and_then(|at| self.tree.node_with(at));
        let (Some((one, _)), Some((other, _))) = (before, self.tree.node_with(border)) else { return };
        let (bytes, len) = (one.elements().len() + other.elements().len(), one.len() + other.len());
        if is_plain(one, fill) || is_plain(other, fill) || fill.is_exceeded(bytes, len) {
            return;
        }
        let both = [one.elements(), other.elements()].concat();
        let mut both = Packed::from_elements(&both, len);
        self.tree.edit(border, &mut |_, _| Nodes::new());
        self.tree.edit(border - 1, &mut |_, _| both.take().into_iter().collect());
    }

    /// Removes elements equal to the element that is encoded as `wanted`, at most `max` of them, from an end on; returns
    /// how many.
    pub(super) fn remove(&mut self, from: End, wanted: &[u8], max: u64) -> u64 {
        self.seal_both();
        let (mut removed, mut at) = (0, if from == End::Front { 0 } else { self.len });
        while removed < max {
            let mut found = None;
            self.tree.walk(at, from.other(), &mut |start, node| {
                let has_it = node::contains(node.elements(), wanted);
                if has_it {
                    found = Some((start, node.len() as u64));
                }
                !has_it
            });
            let Some((start, len)) = found else { break };
            let mut gone = 0;
            self.tree.edit(start, &mut |node, _| {
                let (left, count) = node::without(node, from, wanted, max - removed);
                gone = count;
                if left.is_empty() { Nodes::new() } else { smallvec![left] }
            });
            removed += gone;
            self.len -= gone;
            at = if from == End::Front { start + len - gone } else { start };
        }
        removed
    }

    /// Removes `elements` from an end, fewer than there are; what was large of that comes back, to be freed.
    pub(super) fn cut(&mut self, end: End, elements: u64) -> Option<List> {
        self.len -= elements;
        let mut left = elements;
        let at_edge = left.min(self.edge(end).len() as u64);
        self.edge_mut(end).cut(end, at_edge as usize);
        left -= at_edge;
        if left == 0 {
            return None;
        }
        let gone = self.tree.cut(end, left);
        left -= gone.weight().elements;
        if left > 0 {
            match self.tree.pop(end) {
                Some(node) => {
                    let edge = self.edge_mut(end);
                    edge.fill(&node);
                    edge.cut(end, left as usize);
                }
                None => self.edge_mut(end.other()).cut(end, left as usize),
            }
        }
        let gone = Large { len: gone.weight().elements, tree: gone, ..Large::default() };
        Some(List(Form::Large(Box::new(gone))))
    }

    fn edge(&self, end: End) -> &Edge {
        match end {
            End::Front => &self.front,
            End::Back => &self.back,
        }
    }

    fn edge_mut(&mut self, end: End) -> &mut Edge {
        match end {
            End::Front => &mut self.front,
            End::Back => &mut self.back,
        }
    }

    /// Makes the tree's outermost node the edge, which is empty, if it takes an element of this length.
    fn open(&mut self, end: End, text_len: usize, fill: Fill) {
        let admits = |node: &Packed| fill.admits(node.elements(), node.len(), text_len);
        if self.tree.node_at(end).is_some_and(admits)
            && let Some(node) = self.tree.pop(end)
        {
            self.edge_mut(end).fill(&node);
        }
    }

    /// Makes an edge a node of the tree.
    fn seal(&mut self, end: End) {
        if !self.edge(end).is_empty() {
            let node = self.edge_mut(end).seal();
            self.tree.push(end, node);
        }
    }

    fn seal_both(&mut self) {
        self.seal(End::Front);
        self.seal(End::Back);
    }

    /// Panics unless this is what the module says.
    pub(super) fn check(&self) {
        self.front.check();
        self.back.check();
        self.tree.check();
        let edges = self.front.len() + self.back.len();
        assert_eq!(self.len, self.tree.weight().elements + edges as u64);
    }
}
