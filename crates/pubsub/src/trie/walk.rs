//! Matching: the nodes at which the patterns that match a channel end. The idea stands in the head of `trie`.

use memchr::memchr_iter;

use crate::trie::Pattern;
use crate::trie::arena::Id;
use crate::trie::nodes::{Children, Node, Nodes, Tail};

/// Bytes that `memchr` passes in the time of a step.
const BYTES_PER_STEP: usize = 1024;

/// What a match needs beside the trie; keep it and hand it in again.
///
/// It says nothing about a trie between two matches, so one serves any number of tries. It grows to 4 bytes for
/// each node of the largest trie in which a star was reached from another star.
#[derive(Default)]
pub struct MatchScratch {
    /// Nodes to go on from, with the byte of the channel to go on at.
    walks: Vec<(Id<Node>, usize)>,
    /// Stars to walk from, with the first byte each was reached at.
    stars: Vec<(Id<Node>, usize)>,
    /// By node: the number of the last match that reached this star.
    reached: Vec<u32>,
    /// Of the match going on, from 1.
    match_number: u32,
}

impl MatchScratch {
    /// Heap memory it keeps between matches.
    pub fn heap_bytes(&self) -> usize {
        (self.walks.capacity() + self.stars.capacity()) * size_of::<(Id<Node>, usize)>()
            + self.reached.capacity() * size_of::<u32>()
    }

    #[cfg(test)]
    pub(crate) fn skip_to_last_match_number(&mut self) {
        self.match_number = u32::MAX;
    }

    fn begin(&mut self) {
        self.walks.clear();
        self.stars.clear();
        self.match_number = self.match_number.checked_add(1).unwrap_or_else(|| {
            self.reached.fill(0);
            1
        });
    }

    /// Whether this is the first time in this match.
    fn reach(&mut self, star: Id<Node>, index_end: usize) -> bool {
        if self.reached.len() <= star.index() {
            self.reached.resize(index_end, 0);
        }
        let last = std::mem::replace(&mut self.reached[star.index()], self.match_number);
        last != self.match_number
    }
}

impl Nodes {
    /// Calls `report` with the head of each list of patterns that match `channel`; it answers how many steps that took.
    ///
    /// False: there is more to do than `steps_max`.
    pub(crate) fn for_each_end(
        &self,
        channel: &[u8],
        scratch: &mut MatchScratch,
        steps_max: usize,
        report: impl FnMut(Id<Pattern>) -> usize,
    ) -> bool {
        let Some(root) = self.root() else { return true };
        scratch.begin();
        let mut walk =
            Walk { nodes: self, channel, scratch, report, below_star: false, steps_left: steps_max };
        if channel.is_empty() {
            // Not even `*` matches an empty channel, so there is no going further than the root.
            walk.report(self.node(root));
            return !walk.is_over();
        }
        walk.go(root, 0);
        walk.below_star = true;
        while let Some((star, at)) = walk.scratch.stars.pop() {
            if walk.is_over() {
                return false;
            }
            walk.go_from_star(self.node(star), at);
        }
        !walk.is_over()
    }
}

struct Walk<'a, F> {
    nodes: &'a Nodes,
    channel: &'a [u8],
    scratch: &'a mut MatchScratch,
    report: F,
    /// Whether stars can be reached more than once.
    below_star: bool,
    /// Ways that may yet be entered, and patterns reported; at 0 the walk is over, whatever is left.
    steps_left: usize,
}

impl<F: FnMut(Id<Pattern>) -> usize> Walk<'_, F> {
    #[inline]
    fn is_over(&self) -> bool {
        self.steps_left == 0
    }

    #[inline]
    fn count(&mut self, steps: usize) {
        self.steps_left = self.steps_left.saturating_sub(steps);
    }

    /// Follows every way down from a node that the channel has reached at byte `at`, as far as the next stars.
    fn go(&mut self, id: Id<Node>, at: usize) {
        let mut next = Some((id, at));
        while let Some((id, at)) = next.take().or_else(|| self.scratch.walks.pop()) {
            if self.is_over() {
                return self.scratch.walks.clear();
            }
            let node = self.nodes.node(id);
            let byte = self.channel.get(at).copied();
            if byte.is_none() {
                self.report(node);
            }
            match node.children {
                Children::None => {}
                Children::One(child) => next = self.enter(child, at),
                Children::Many(fan) => {
                    let fan = self.nodes.fan(fan);
                    if let Some(star) = fan.star {
                        self.enter(star, at);
                    }
                    if let Some(byte) = byte {
                        let wild = fan.any.into_iter().chain(fan.classes(byte));
                        for child in wild {
                            let walk = self.enter(child, at);
                            self.scratch.walks.extend(walk);
                        }
                        next = fan.literal(byte).and_then(|child| self.enter(child, at));
                    }
                }
            }
        }
    }

    /// Goes along a node's way from byte `at`; where to go on, if the channel takes all of it.
    #[inline]
    fn enter(&mut self, id: Id<Node>, at: usize) -> Option<(Id<Node>, usize)> {
        self.count(1);
        let node = self.nodes.node(id);
        let rest = self.channel.get(at..)?.strip_prefix(node.label())?;
        let at = self.channel.len() - rest.len();
        match node.tail {
            Tail::None => Some((id, at)),
            Tail::Any => rest.first().map(|_| (id, at + 1)),
            Tail::Class(set) => {
                rest.first().filter(|byte| self.nodes.set(set).contains(**byte)).map(|_| (id, at + 1))
            }
            Tail::Star => {
                self.reach(id, node, at);
                None
            }
        }
    }

    fn reach(&mut self, id: Id<Node>, star: &Node, at: usize) {
        if self.below_star && !self.scratch.reach(id, self.nodes.index_end()) {
            return;
        }
        self.report(star);
        if star.children != Children::None {
            self.scratch.stars.push((id, at));
        }
    }

    /// Goes on from a star at every byte from `at` on.
    fn go_from_star(&mut self, star: &Node, at: usize) {
        match star.children {
            Children::None => {}
            Children::One(child) => self.go_to_only_child(child, at),
            Children::Many(fan) => {
                let fan = self.nodes.fan(fan);
                for at in at..self.channel.len() {
                    if self.is_over() {
                        return;
                    }
                    self.count(1 + fan.classes_len());
                    let byte = self.channel[at];
                    let children = fan.literal(byte).into_iter().chain(fan.any).chain(fan.classes(byte));
                    for child in children {
                        self.go_into(child, at);
                    }
                }
            }
        }
    }

    fn go_to_only_child(&mut self, id: Id<Node>, at: usize) {
        let child = self.nodes.node(id);
        let rest = &self.channel[at..];
        match (child.label(), child.tail, child.children) {
            // All that can still match is the channel's end.
            (label, Tail::None, Children::None) => {
                if rest.ends_with(label) {
                    self.report(child);
                }
            }
            // Behind the next star only its first place counts.
            (label @ &[first, ..], Tail::Star, _) => {
                let mut places = memchr_iter(first, rest);
                let mut tried = rest.len() / BYTES_PER_STEP;
                let place = places.find(|offset| {
                    tried += 1;
                    rest[*offset..].starts_with(label)
                });
                self.count(tried);
                if let Some(offset) = place {
                    self.reach(id, child, at + offset + label.len());
                }
            }
            (&[first, ..], _, _) => {
                self.count(rest.len() / BYTES_PER_STEP);
                for offset in memchr_iter(first, rest) {
                    if self.is_over() {
                        return;
                    }
                    self.go_into(id, at + offset);
                }
            }
            (&[], _, _) => {
                for offset in 0..rest.len() {
                    if self.is_over() {
                        return;
                    }
                    self.go_into(id, at + offset);
                }
            }
        }
    }

    fn go_into(&mut self, child: Id<Node>, at: usize) {
        if let Some((id, at)) = self.enter(child, at) {
            self.go(id, at);
        }
    }

    fn report(&mut self, node: &Node) {
        if let Some(first) = node.patterns {
            let steps = (self.report)(first);
            self.count(steps);
        }
    }
}
