//! The nodes of a large list: a tree of counted branches that copies share.
//!
//! ```text
//!                    root  [ 70 000 elements │ 41 000 │ 900 ]          a part: what is below it, weighed
//!                             │
//!                branch  [ 800 │ 812 │ … ]                             at most FANOUT parts
//!                           │
//!                        node: `Packed`
//! ```
//!
//! A copy is a reference to the root; whoever changes a shared tree copies the branches on the way and the node, and
//! nothing else. Adding at an end fills branches to the brim, adding in the middle splits them in half; they are never
//! merged: a list is a queue, and what is taken from the middle goes with its ends.
//!
//! Invariants: all nodes are at one depth, no node and no branch is empty, a part weighs what is below it, the root has
//! more than one part unless its parts are nodes.
//! Cost: O(log nodes) to find, add, take or replace one; O(branches) to weigh.

use std::sync::Arc;

use smallvec::SmallVec;

use super::End;
use crate::packed::Packed;

/// Parts of a branch at most.
const FANOUT: usize = 32;

/// Bytes that a node takes beside its elements: its part, the share of a branch, two allocations.
const NODE_OVERHEAD_BYTES: usize = 96;

/// What one node is replaced by: nothing, itself changed, or what it was split into.
pub(super) type Nodes = SmallVec<[Packed; 3]>;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    root: Option<Arc<Branch>>,
    weight: Weight,
}

/// How much is below a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Weight {
    pub(super) elements: u64,
    pub(super) nodes: u64,
    /// On the heap.
    pub(super) bytes: usize,
}

#[derive(Debug, Clone, Default)]
struct Branch {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
struct Part {
    weight: Weight,
    below: Below,
}

#[derive(Debug, Clone)]
enum Below {
    Node(Arc<Packed>),
    Branch(Arc<Branch>),
}

impl Tree {
    pub(super) fn weight(&self) -> Weight {
        self.weight
    }

    pub(super) fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// The node at an end.
    pub(super) fn node_at(&self, end: End) -> Option<&Packed> {
        let mut branch = self.root.as_deref()?;
        loop {
            match &branch.part_at(end)?.below {
                Below::Node(node) => return Some(node),
                Below::Branch(below) => branch = below,
            }
        }
    }

    /// Adds a node, which is not empty, at an end.
    pub(super) fn push(&mut self, end: End, node: Packed) {
        let part = Part::of_node(node);
        self.weight.add(part.weight);
        let root = self.root.get_or_insert_default();
        if let Some(sibling) = Arc::make_mut(root).push(end, part) {
            let old = Part::of_branch(std::mem::take(root));
            let parts = match end {
                End::Front => vec![sibling, old],
                End::Back => vec![old, sibling],
            };
            *root = Arc::new(Branch { parts });
        }
    }

    /// Takes the node at an end.
    pub(super) fn pop(&mut self, end: End) -> Option<Arc<Packed>> {
        let (node, weight) = Arc::make_mut(self.root.as_mut()?).pop(end)?;
        self.weight.subtract(weight);
        self.straighten();
        Some(node)
    }

    /// Puts what `edit` makes of the node with element `at` in its place; `edit` is told where in the node the element is.
    /// Nothing happens where there is no such element.
    pub(super) fn edit(&mut self, at: u64, edit: &mut dyn FnMut(&mut Arc<Packed>, usize) -> Nodes) {
        if at >= self.weight.elements {
            return;
        }
        let Some(root) = &mut self.root else { return };
        if let Some(sibling) = Arc::make_mut(root).edit(at, edit) {
            let old = Part::of_branch(std::mem::take(root));
            *root = Arc::new(Branch { parts: vec![old, sibling] });
        }
        self.weight = root.weight();
        self.straighten();
    }

    /// Takes all nodes from an end on whose elements are all among the first `elements` there.
    pub(super) fn cut(&mut self, end: End, elements: u64) -> Tree {
        if elements >= self.weight.elements {
            return std::mem::take(self);
        }
        let mut gone = Branch::default();
        if let Some(root) = &mut self.root {
            Arc::make_mut(root).cut(end, elements, &mut gone.parts);
            self.weight = root.weight();
            self.straighten();
        }
        Tree { weight: gone.weight(), root: (!gone.parts.is_empty()).then(|| Arc::new(gone)) }
    }

    /// Shows the nodes from the one with element `from` on to `visit`, each with the number of its first element, until
    /// that says false. Towards the end, or towards the front; then the element just before `from` counts.
    pub(super) fn walk(&self, from: u64, towards: End, visit: &mut dyn FnMut(u64, &Packed) -> bool) -> bool {
        let Some(root) = &self.root else { return true };
        match towards {
            End::Back => root.walk_back(0, from, visit),
            End::Front => root.walk_front(0, from, visit),
        }
    }

    /// The node with element `at`, and where in the node that is.
    pub(super) fn node_with(&self, mut at: u64) -> Option<(&Packed, usize)> {
        let mut branch = self.root.as_deref()?;
        loop {
            let (index, rest) = branch.find(at)?;
            at = rest;
            match &branch.parts[index].below {
                // A node counts its elements in 16 bits.
                Below::Node(node) => return Some((node, at as usize)),
                Below::Branch(below) => branch = below,
            }
        }
    }

    /// Restores that a root has more than one part, unless they are nodes, and that there is none without parts.
    fn straighten(&mut self) {
        while let Some(root) = &self.root {
            match &root.parts[..] {
                [] => self.root = None,
                [Part { below: Below::Branch(only), .. }] => self.root = Some(Arc::clone(only)),
                _ => break,
            }
        }
    }

    /// Panics unless this is what the module says.
    pub(super) fn check(&self) {
        let Some(root) = &self.root else { return assert_eq!(self.weight, Weight::default()) };
        assert_eq!(root.weight(), self.weight);
        assert!(root.parts.len() > 1 || matches!(root.parts[0].below, Below::Node(_)));
        root.check();
    }
}

impl Branch {
    fn weight(&self) -> Weight {
        let mut sum = Weight::default();
        self.parts.iter().for_each(|part| sum.add(part.weight));
        sum
    }

    fn part_at(&self, end: End) -> Option<&Part> {
        match end {
            End::Front => self.parts.first(),
            End::Back => self.parts.last(),
        }
    }

    fn index_at(&self, end: End) -> usize {
        match end {
            End::Front => 0,
            End::Back => self.parts.len().saturating_sub(1),
        }
    }

    /// The part with element `at`, and which of its elements that is.
    fn find(&self, mut at: u64) -> Option<(usize, u64)> {
        for (index, part) in self.parts.iter().enumerate() {
            if at < part.weight.elements {
                return Some((index, at));
            }
            at -= part.weight.elements;
        }
        None
    }

    /// Adds a node; what comes back is to stand beyond this branch, which is full.
    fn push(&mut self, end: End, part: Part) -> Option<Part> {
        let index = self.index_at(end);
        let weight = part.weight;
        let mut overflow = part;
        if let Some(Part { weight: outer, below: Below::Branch(branch) }) = self.parts.get_mut(index) {
            match Arc::make_mut(branch).push(end, overflow) {
                None => {
                    outer.add(weight);
                    return None;
                }
                Some(sibling) => overflow = sibling,
            }
        }
        if self.parts.len() < FANOUT {
            let index = if end == End::Front { 0 } else { self.parts.len() };
            self.parts.insert(index, overflow);
            return None;
        }
        Some(Part::of_branch(Arc::new(Branch { parts: vec![overflow] })))
    }

    fn pop(&mut self, end: End) -> Option<(Arc<Packed>, Weight)> {
        let index = self.index_at(end);
        let part = self.parts.get_mut(index)?;
        let Below::Branch(branch) = &mut part.below else {
            let Part { weight, below: Below::Node(node) } = self.parts.remove(index) else { return None };
            return Some((node, weight));
        };
        let (node, weight) = Arc::make_mut(branch).pop(end)?;
        part.weight.subtract(weight);
        if part.weight.nodes == 0 {
            self.parts.remove(index);
        }
        Some((node, weight))
    }

    /// See [`Tree::edit`]; what comes back is to stand behind this branch, which had become too full.
    fn edit(&mut self, at: u64, edit: &mut dyn FnMut(&mut Arc<Packed>, usize) -> Nodes) -> Option<Part> {
        let (index, at) = self.find(at)?;
        let part = &mut self.parts[index];
        match &mut part.below {
            Below::Node(node) => {
                let nodes = edit(node, at as usize);
                self.parts.splice(index..=index, nodes.into_iter().map(Part::of_node));
            }
            Below::Branch(branch) => {
                let branch = Arc::make_mut(branch);
                let sibling = branch.edit(at, edit);
                part.weight = branch.weight();
                if part.weight.nodes == 0 {
                    self.parts.remove(index);
                }
                if let Some(sibling) = sibling {
                    self.parts.insert(index + 1, sibling);
                }
            }
        }
        if self.parts.len() <= FANOUT {
            return None;
        }
        let parts = self.parts.split_off(self.parts.len() / 2);
        Some(Part::of_branch(Arc::new(Branch { parts })))
    }

    /// See [`Tree::cut`]; fewer elements than are here. What goes is added to `gone`, in order at each depth.
    fn cut(&mut self, end: End, mut elements: u64, gone: &mut Vec<Part>) {
        let mut whole = 0;
        let mut inwards: Box<dyn Iterator<Item = &Part>> = match end {
            End::Front => Box::new(self.parts.iter()),
            End::Back => Box::new(self.parts.iter().rev()),
        };
        while let Some(part) = inwards.next().filter(|part| part.weight.elements <= elements) {
            elements -= part.weight.elements;
            whole += 1;
        }
        drop(inwards);
        match end {
            End::Front => gone.extend(self.parts.drain(..whole)),
            End::Back => gone.extend(self.parts.drain(self.parts.len() - whole..)),
        }
        let index = self.index_at(end);
        if let Some(Part { weight, below: Below::Branch(branch) }) = self.parts.get_mut(index) {
            let branch = Arc::make_mut(branch);
            branch.cut(end, elements, gone);
            *weight = branch.weight();
        }
    }

    fn walk_back(&self, mut start: u64, from: u64, visit: &mut dyn FnMut(u64, &Packed) -> bool) -> bool {
        for Part { weight, below } in &self.parts {
            let next = start + weight.elements;
            let goes_on = next <= from
                || match below {
                    Below::Node(node) => visit(start, node),
                    Below::Branch(branch) => branch.walk_back(start, from, visit),
                };
            if !goes_on {
                return false;
            }
            start = next;
        }
        true
    }

    fn walk_front(&self, start: u64, from: u64, visit: &mut dyn FnMut(u64, &Packed) -> bool) -> bool {
        let mut start = start + self.weight().elements;
        for Part { weight, below } in self.parts.iter().rev() {
            start -= weight.elements;
            let goes_on = start >= from
                || match below {
                    Below::Node(node) => visit(start, node),
                    Below::Branch(branch) => branch.walk_front(start, from, visit),
                };
            if !goes_on {
                return false;
            }
        }
        true
    }

    /// Returns the depth.
    fn check(&self) -> usize {
        assert!((1..=FANOUT).contains(&self.parts.len()));
        let depths = self.parts.iter().map(|part| match &part.below {
            Below::Node(node) => {
                node.view().check();
                assert!(!node.is_empty());
                assert_eq!(part.weight, Weight::of(node));
                0
            }
            Below::Branch(branch) => {
                assert_eq!(part.weight, branch.weight());
                branch.check() + 1
            }
        });
        let depths: Vec<usize> = depths.collect();
        assert!(depths.iter().all(|depth| *depth == depths[0]));
        depths[0]
    }
}

impl Part {
    fn of_node(node: Packed) -> Part {
        Part { weight: Weight::of(&node), below: Below::Node(Arc::new(node)) }
    }

    fn of_branch(branch: Arc<Branch>) -> Part {
        Part { weight: branch.weight(), below: Below::Branch(branch) }
    }
}

impl Weight {
    fn of(node: &Packed) -> Weight {
        Weight { elements: node.len() as u64, nodes: 1, bytes: node.heap_bytes() + NODE_OVERHEAD_BYTES }
    }

    fn add(&mut self, other: Weight) {
        self.elements += other.elements;
        self.nodes += other.nodes;
        self.bytes += other.bytes;
    }

    fn subtract(&mut self, other: Weight) {
        self.elements -= other.elements;
        self.nodes -= other.nodes;
        self.bytes -= other.bytes;
    }
}
