//! The trie's nodes: how a pattern's path grows, is found again and goes away.
//!
//! ```text
//!   grow "user:?" where "user:1:*" is:                 and back, when either leaves:
//!
//!   root ── "user:1:" * ■      root ── "user:" ─┬─ "1:" * ■      a node without patterns and with one child
//!                                               └─ ? ■           is joined to it, if the labels fit in one
//! ```
//!
//! A label that doesn't fit goes on in a child: a chain of full labels. The invariants stand in the head of `trie`.

use smallvec::SmallVec;

use crate::byteset::ByteSet;
use crate::pattern::{Symbol, Symbols};
use crate::trie::Pattern;
use crate::trie::arena::{Arena, Id};
use crate::trie::fan::Fan;

/// What makes a node 40 bytes: with its length, 20 bytes of label beside 20 of the rest.
pub(crate) const LABEL_MAX: usize = 19;

const _: () = assert!(size_of::<Option<Node>>() == 40);

#[derive(Default)]
pub(crate) struct Nodes {
    nodes: Arena<Node>,
    fans: Arena<Fan<Node>>,
    /// The sets of the nodes whose tail is a class.
    sets: Arena<ByteSet>,
    /// There while any other node is, or any pattern.
    root: Option<Id<Node>>,
    /// The sum of the fans' `heap_bytes`.
    fan_bytes: usize,
}

#[derive(Default)]
pub(crate) struct Node {
    /// `label[..label_len]` are the bytes on the way here, before the tail.
    label: [u8; LABEL_MAX],
    label_len: u8,
    pub(crate) tail: Tail,
    pub(crate) children: Children,
    /// The head of the list of patterns that end here.
    pub(crate) patterns: Option<Id<Pattern>>,
}

/// The wildcard that ends a node's way, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tail {
    #[default]
    None,
    Any,
    Class(Id<ByteSet>),
    Star,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Children {
    #[default]
    None,
    One(Id<Node>),
    /// Two or more.
    Many(Id<Fan<Node>>),
}

/// Root first; short for all but very long patterns.
pub(crate) type Path = SmallVec<[Id<Node>; 16]>;

impl Node {
    #[inline]
    pub(crate) fn label(&self) -> &[u8] {
        &self.label[..usize::from(self.label_len)]
    }

    fn set_label(&mut self, bytes: &[u8]) {
        self.label[..bytes.len()].copy_from_slice(bytes);
        self.label_len = bytes.len() as u8;
    }
}

impl Nodes {
    #[inline]
    pub(crate) fn root(&self) -> Option<Id<Node>> {
        self.root
    }

    #[inline]
    pub(crate) fn node(&self, id: Id<Node>) -> &Node {
        self.nodes.get(id)
    }

    #[inline]
    pub(crate) fn fan(&self, id: Id<Fan<Node>>) -> &Fan<Node> {
        self.fans.get(id)
    }

    #[inline]
    pub(crate) fn set(&self, id: Id<ByteSet>) -> &ByteSet {
        self.sets.get(id)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Above every node's index.
    pub(crate) fn index_end(&self) -> usize {
        self.nodes.index_end()
    }

    pub(crate) fn set_patterns(&mut self, id: Id<Node>, first: Option<Id<Pattern>>) {
        self.nodes.get_mut(id).patterns = first;
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.nodes.heap_bytes() + self.fans.heap_bytes() + self.sets.heap_bytes() + self.fan_bytes
    }

    /// The node at the end of `symbols`, made if need be. The caller then gives it a pattern.
    pub(crate) fn grow(&mut self, symbols: Symbols<'_>) -> Id<Node> {
        let mut symbols = symbols.peekable();
        let mut here = match self.root {
            Some(root) => root,
            None => *self.root.insert(self.nodes.insert(Node::default())),
        };
        let mut parent = None;
        while let Some(symbol) = symbols.peek().copied() {
            let Some(child) = self.child(here, &symbol) else {
                let leaf = self.sprout(&mut symbols);
                self.add_child(here, &symbol, leaf);
                (parent, here) = (Some(here), leaf);
                continue;
            };
            let (shared, whole) = self.follow(child, &mut symbols);
            if whole {
                (parent, here) = (Some(here), child);
            } else {
                let upper = self.split(here, child, shared);
                // Each half may fit onto a neighbour for which the whole was too long.
                if let Children::One(lower) = self.nodes.get(child).children {
                    self.join(Some(upper), child, lower);
                }
                let joined = self.join(parent, here, upper);
                (parent, here) = (if joined { parent } else { Some(here) }, upper);
            }
        }
        here
    }

    /// The nodes from the root to the end of `symbols`, which has been grown.
    pub(crate) fn path(&self, symbols: Symbols<'_>) -> Path {
        let mut symbols = symbols.peekable();
        let mut path: Path = self.root.into_iter().collect();
        while let (Some(here), Some(symbol)) = (path.last(), symbols.peek().copied()) {
            let child = self.child(*here, &symbol).expect("the pattern's path is in the trie");
            self.follow(child, &mut symbols);
            path.push(child);
        }
        path
    }

    /// Takes away what `path` doesn't need any more, now that its last node has lost its patterns.
    pub(crate) fn prune(&mut self, mut path: Path) {
        while let Some(id) = path.pop() {
            let node = self.nodes.get(id);
            let parent = path.last().copied();
            match (node.children, parent) {
                _ if node.patterns.is_some() => return,
                (Children::None, Some(parent)) => self.cut(parent, id),
                (Children::None, None) => {
                    self.nodes.remove(id);
                    self.root = None;
                }
                (Children::One(child), _) => {
                    self.join(parent, id, child);
                    return;
                }
                (Children::Many(_), _) => return,
            }
        }
    }

    /// How much of a node's way `symbols` goes along, at least its first symbol: label bytes, and whether all of it.
    fn follow(&self, id: Id<Node>, symbols: &mut std::iter::Peekable<Symbols<'_>>) -> (usize, bool) {
        let node = self.nodes.get(id);
        for (shared, byte) in node.label().iter().enumerate() {
            if symbols.next_if_eq(&Symbol::Byte(*byte)).is_none() {
                return (shared, false);
            }
        }
        let whole = match self.tail_symbol(node.tail) {
            Some(tail) => symbols.next_if_eq(&tail).is_some(),
            None => true,
        };
        (node.label().len(), whole)
    }

    /// A new node for as many symbols as one holds.
    fn sprout(&mut self, symbols: &mut std::iter::Peekable<Symbols<'_>>) -> Id<Node> {
        let mut node = Node::default();
        while usize::from(node.label_len) < LABEL_MAX {
            let Some(Symbol::Byte(byte)) = symbols.next_if(|symbol| matches!(symbol, Symbol::Byte(_))) else {
                break;
            };
            node.label[usize::from(node.label_len)] = byte;
            node.label_len += 1;
        }
        node.tail = match symbols.next_if(|symbol| !matches!(symbol, Symbol::Byte(_))) {
            None | Some(Symbol::Byte(_)) => Tail::None,
            Some(Symbol::Any) => Tail::Any,
            Some(Symbol::Star) => Tail::Star,
            Some(Symbol::Class(set)) => Tail::Class(self.sets.insert(set)),
        };
        self.nodes.insert(node)
    }

    /// Puts a node for the first `shared` bytes of `child`'s label between `parent` and `child`, and returns it.
    fn split(&mut self, parent: Id<Node>, child: Id<Node>, shared: usize) -> Id<Node> {
        let lead = self.lead(child);
        let node = self.nodes.get_mut(child);
        let (label, len) = (node.label, usize::from(node.label_len));
        node.set_label(&label[shared..len]);
        let mut upper = Node { children: Children::One(child), ..Node::default() };
        upper.set_label(&label[..shared]);
        let upper = self.nodes.insert(upper);
        self.replace_child(parent, &lead, upper);
        upper
    }

    /// Undoes a split: gives `child` the whole way from `parent`, in place of `id`, if nothing else is on it and the
    /// labels fit in one: whether it did. (The root, which has no parent, stays.)
    fn join(&mut self, parent: Option<Id<Node>>, id: Id<Node>, child: Id<Node>) -> bool {
        let Some(parent) = parent else { return false };
        let (upper, lower) = (self.nodes.get(id), self.nodes.get(child));
        let upper_len = upper.label().len();
        let len = upper_len + lower.label().len();
        let alone = upper.patterns.is_none() && upper.children == Children::One(child);
        if !alone || upper.tail != Tail::None || len > LABEL_MAX {
            return false;
        }
        let mut label = [0; LABEL_MAX];
        label[..upper_len].copy_from_slice(upper.label());
        label[upper_len..len].copy_from_slice(lower.label());
        self.nodes.get_mut(child).set_label(&label[..len]);
        let lead = self.lead(id);
        self.replace_child(parent, &lead, child);
        self.nodes.remove(id);
        true
    }

    fn cut(&mut self, parent: Id<Node>, leaf: Id<Node>) {
        let lead = self.lead(leaf);
        self.unset_child(parent, &lead);
        if let Tail::Class(set) = self.nodes.remove(leaf).tail {
            self.sets.remove(set);
        }
    }

    /// The first symbol on the way to a node that isn't the root.
    fn lead(&self, id: Id<Node>) -> Symbol {
        let node = self.nodes.get(id);
        let literal = node.label().first().map(|byte| Symbol::Byte(*byte));
        literal.or_else(|| self.tail_symbol(node.tail)).expect("only the root has neither label nor tail")
    }

    fn tail_symbol(&self, tail: Tail) -> Option<Symbol> {
        match tail {
            Tail::None => None,
            Tail::Any => Some(Symbol::Any),
            Tail::Class(set) => Some(Symbol::Class(*self.sets.get(set))),
            Tail::Star => Some(Symbol::Star),
        }
    }

    /// The child whose way begins with `symbol`.
    fn child(&self, parent: Id<Node>, symbol: &Symbol) -> Option<Id<Node>> {
        match self.nodes.get(parent).children {
            Children::None => None,
            Children::One(child) => (self.lead(child) == *symbol).then_some(child),
            Children::Many(fan) => self.fans.get(fan).find(symbol),
        }
    }

    /// Adds `child` behind `symbol`, where there is none yet.
    fn add_child(&mut self, parent: Id<Node>, symbol: &Symbol, child: Id<Node>) {
        let children = match self.nodes.get(parent).children {
            Children::None => Children::One(child),
            Children::One(only) => {
                let mut fan = Fan::default();
                fan.set(&self.lead(only), only);
                fan.set(symbol, child);
                self.fan_bytes += fan.heap_bytes();
                Children::Many(self.fans.insert(fan))
            }
            Children::Many(fan) => return self.set_in_fan(fan, symbol, child),
        };
        self.nodes.get_mut(parent).children = children;
    }

    /// Puts `child` in the place of the one that is behind `symbol`.
    fn replace_child(&mut self, parent: Id<Node>, symbol: &Symbol, child: Id<Node>) {
        match self.nodes.get(parent).children {
            Children::None | Children::One(_) => self.nodes.get_mut(parent).children = Children::One(child),
            Children::Many(fan) => self.set_in_fan(fan, symbol, child),
        }
    }

    fn set_in_fan(&mut self, fan: Id<Fan<Node>>, symbol: &Symbol, child: Id<Node>) {
        let fan = self.fans.get_mut(fan);
        let before = fan.heap_bytes();
        fan.set(symbol, child);
        self.fan_bytes = self.fan_bytes + fan.heap_bytes() - before;
    }

    /// The child behind `symbol` gives way to its siblings; `parent` has it.
    fn unset_child(&mut self, parent: Id<Node>, symbol: &Symbol) {
        let children = match self.nodes.get(parent).children {
            Children::None | Children::One(_) => Children::None,
            Children::Many(id) => {
                let fan = self.fans.get_mut(id);
                let before = fan.heap_bytes();
                fan.unset(symbol);
                self.fan_bytes = self.fan_bytes + fan.heap_bytes() - before;
                if fan.len() > 1 {
                    return;
                }
                let last = fan.iter().next();
                self.fan_bytes -= self.fans.remove(id).heap_bytes();
                last.map_or(Children::None, Children::One)
            }
        };
        self.nodes.get_mut(parent).children = children;
    }

    /// Panics if an invariant of the head of `trie` doesn't hold for the nodes; returns every node's list.
    #[cfg(test)]
    pub(crate) fn check(&self) -> Vec<(Id<Node>, Id<Pattern>)> {
        let (mut nodes, mut fans, mut sets, mut fan_bytes) = (0, 0, 0, 0);
        let mut lists = Vec::new();
        let mut to_visit: Vec<_> = self.root.into_iter().collect();
        while let Some(id) = to_visit.pop() {
            let node = self.nodes.get(id);
            nodes += 1;
            lists.extend(node.patterns.map(|first| (id, first)));
            sets += usize::from(matches!(node.tail, Tail::Class(_)));
            let children: Vec<_> = match node.children {
                Children::None => Vec::new(),
                Children::One(child) => vec![child],
                Children::Many(fan) => {
                    let fan = self.fans.get(fan);
                    fans += 1;
                    fan_bytes += fan.heap_bytes();
                    assert_eq!(fan.len(), fan.iter().count());
                    assert!(fan.len() > 1);
                    fan.iter().collect()
                }
            };
            for child in &children {
                let lead = self.lead(*child);
                assert_eq!(self.child(id, &lead), Some(*child), "a child is found by its lead");
                assert!(node.tail != Tail::Star || !matches!(lead, Symbol::Star | Symbol::Any));
            }
            if let (Children::One(child), Tail::None, None) = (node.children, node.tail, node.patterns) {
                let len = node.label().len() + self.nodes.get(child).label().len();
                assert!(len > LABEL_MAX || Some(id) == self.root, "what fits in one node is one");
            }
            assert!(node.patterns.is_some() || !children.is_empty(), "no node is there for nothing");
            to_visit.extend(children);
        }
        assert_eq!((nodes, fans, sets), (self.nodes.len(), self.fans.len(), self.sets.len()));
        assert_eq!(fan_bytes, self.fan_bytes);
        self.nodes.check();
        self.fans.check();
        self.sets.check();
        lists
    }
}
