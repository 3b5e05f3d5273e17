//! Matching: the nodes at which the patterns that match a channel end. The idea stands in the head of `trie`.

use memchr::memchr_iter;

use crate::trie::Pattern;
use crate::trie::arena::Id;
use crate::trie::nodes::{Children, Node, Nodes, Tail};

/// Bytes that `memchr` passes in the time of a step.
const BYTES_PER_STEP: usize = 1024;

/// Bytes of a label that are compared one by one.
const SHORT_LABEL_BYTES: usize = 6;

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

/// Counts the steps of a match: ways that are entered, and patterns reported.
pub(crate) trait Steps {
    fn count(&mut self, steps: usize);

    /// Whether there have been too many; then the match is over, whatever is left.
    fn is_over(&self) -> bool;
}

/// A match that is known to take few steps, or may take any number: counting them would take a tenth of its time.
pub(crate) struct Uncounted;

impl Steps for Uncounted {
    #[inline]
    fn count(&mut self, _: usize) {}

    #[inline]
    fn is_over(&self) -> bool {
        false
    }
}

/// As many steps as are left.
pub(crate) struct AtMost(pub(crate) usize);

impl Steps for AtMost {
    #[inline]
    fn count(&mut self, steps: usize) {
        self.0 = self.0.saturating_sub(steps);
    }

    #[inline]
    fn is_over(&self) -> bool {
        self.0 == 0
    }
}

impl Nodes {
    /// Calls `report` with the head of each list of patterns that match `channel`, and with `steps`, which it counts on.
    ///
    /// False: there is more to do than that.
    pub(crate) fn for_each_end<S: Steps>(
        &self,
        channel: &[u8],
        scratch: &mut MatchScratch,
        steps: S,
        report: impl FnMut(Id<Pattern>, &mut S),
    ) -> bool {
        let Some(root) = self.root() else { return true };
        scratch.begin();
        let mut walk = Walk { nodes: self, channel, scratch, report, below_star: false, steps };
        if channel.is_empty() {
            // Not even `*` matches an empty channel, so there is no going further than the root.
            walk.report(self.node(root));
            return !walk.steps.is_over();
        }
        walk.go(self.node(root), 0);
        walk.below_star = true;
        while let Some((star, at)) = walk.scratch.stars.pop() {
            if walk.steps.is_over() {
                return false;
            }
            walk.go_from_star(self.node(star), at);
        }
        !walk.steps.is_over()
    }
}

struct Walk<'a, F, S> {
    nodes: &'a Nodes,
    channel: &'a [u8],
    scratch: &'a mut MatchScratch,
    report: F,
    /// Whether stars can be reached more than once.
    below_star: bool,
    steps: S,
}

impl<'a, F: FnMut(Id<Pattern>, &mut S), S: Steps> Walk<'a, F, S> {
    /// Follows every way down from a node that the channel has reached at byte `at`, as far as the next stars.
    fn go(&mut self, node: &'a Node, at: usize) {
        let mut next = Some((node, at));
        while let Some((node, at)) = next.take().or_else(|| self.next_walk()) {
            // The ways that begin with a literal, a star or `?` are few.
            self.steps.count(1);
            if self.steps.is_over() {
                return self.scratch.walks.clear();
            }
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
                        if fan.has_wild() {
                            self.steps.count(fan.classes_len());
                            for child in fan.wild(byte) {
                                if let Some((_, at)) = self.enter(child, at) {
                                    self.scratch.walks.push((child, at));
                                }
                            }
                        }
                        next = fan.literal(byte).and_then(|child| self.enter(child, at));
                    }
                }
            }
        }
    }

    fn next_walk(&mut self) -> Option<(&'a Node, usize)> {
        let (id, at) = self.scratch.walks.pop()?;
        Some((self.nodes.node(id), at))
    }

    /// Goes along a node's way from byte `at`; where to go on, if the channel takes all of it.
    #[inline]
    fn enter(&mut self, id: Id<Node>, at: usize) -> Option<(&'a Node, usize)> {
        let node = self.nodes.node(id);
        let label = node.label();
        let (head, rest) = self.channel.get(at..)?.split_at_checked(label.len())?;
        let is_label = match label.len() {
            // Calling memcmp takes longer.
            ..=SHORT_LABEL_BYTES => head.iter().zip(label).all(|(byte, expected)| byte == expected),
            _ => head == label,
        };
        if !is_label {
            return None;
        }
        let at = self.channel.len() - rest.len();
        match node.tail {
            Tail::None => Some((node, at)),
            Tail::Any => rest.first().map(|_| (node, at + 1)),
            Tail::Class(set) => {
                rest.first().filter(|byte| self.nodes.set(set).contains(**byte)).map(|_| (node, at + 1))
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
                let has_wild = fan.has_wild();
                self.steps.count((self.channel.len() - at).saturating_mul(1 + fan.classes_len()));
                for at in at..self.channel.len() {
                    if self.steps.is_over() {
                        return;
                    }
                    let byte = self.channel[at];
                    if let Some(child) = fan.literal(byte) {
                        self.go_into(child, at);
                    }
                    if has_wild {
                        fan.wild(byte).for_each(|child| self.go_into(child, at));
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
                self.steps.count(1);
                if rest.ends_with(label) {
                    self.report(child);
                }
            }
            // Behind the next star only its first place counts.
            (label @ &[first, ..], Tail::Star, _) => {
                let mut places = memchr_iter(first, rest);
                let mut tried = 1 + rest.len() / BYTES_PER_STEP;
                let place = places.find(|offset| {
                    tried += 1;
                    rest[*offset..].starts_with(label)
                });
                self.steps.count(tried);
                if let Some(offset) = place {
                    self.reach(id, child, at + offset + label.len());
                }
            }
            (&[first, ..], _, _) => {
                self.steps.count(1 + rest.len() / BYTES_PER_STEP);
                for offset in memchr_iter(first, rest) {
                    self.steps.count(1);
                    if self.steps.is_over() {
                        return;
                    }
                    self.go_into(id, at + offset);
                }
            }
            (&[], _, _) => {
                self.steps.count(rest.len());
                for offset in 0..rest.len() {
                    if self.steps.is_over() {
                        return;
                    }
                    self.go_into(id, at + offset);
                }
            }
        }
    }

    fn go_into(&mut self, child: Id<Node>, at: usize) {
        if let Some((node, at)) = self.enter(child, at) {
            self.go(node, at);
        }
    }

    fn report(&mut self, node: &Node) {
        if let Some(first) = node.patterns {
            (self.report)(first, &mut self.steps);
        }
    }
}
