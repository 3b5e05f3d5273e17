//! All patterns at once, as a trie over their symbols.
//!
//! ```text
//!   patterns  user:1:*  user:12:*  user:?  *0*b       a node is a label, then at most one wildcard, its tail
//!
//!   root ─┬─ "user:" ─┬─ "1" ─┬─ ":" * ■              ■ patterns end here: those that differ only in spelling,
//!         │           │       └─ "2:" * ■               as `a\b` and `ab` do, in one list
//!         │           └─ ? ■
//!         └─ * ── "0" * ── "b" ■
//!
//!   node  40 bytes   label 19 | its length 1 | tail 8 | children 8 | first of its patterns 4
//! ```
//!
//! Matching. Between two stars every symbol takes exactly one byte, so a node below a star that was left at byte q
//! of the channel is reached in one way only. And of all the bytes at which a star can be reached only the first
//! counts: a star takes any run of bytes, so what can be done from later can be done from there. Hence
//!
//! 1. Walk from the root at byte 0, down every way that takes the channel's next bytes, as far as the stars.
//! 2. When a star is reached for the first time in this match, mark it, report its patterns and queue it with the
//!    byte it was reached at.
//! 3. For each queued star, walk on from every byte from there to the end, in rising order, so that "for the first
//!    time" is also at the lowest byte. Where only one child comes into question, `memchr` finds its places, or a
//!    look at the channel's end decides.
//!
//! So every pair of node and byte is visited at most once, and every pattern reported at most once: if it ends in a
//! star when that is marked, else at the channel's end. Time is bounded by nodes × channel length whatever the
//! patterns, and is in practice that of the few nodes whose labels occur in the channel.
//!
//! Invariants
//! - Siblings differ in their first symbol; below a star no way begins with a star or `?` (see `pattern`).
//! - Only the root has neither label nor tail.
//! - A node without patterns has children; if it has just one and no tail, their labels don't fit into one.
//! - Every pattern is in `entries` and `names`, and, unless it can match nothing, in the list of the node at the end
//!   of its symbols.
//!
//! Cost: insert and remove O(pattern); by name, one hash. Memory a pattern: its name, 48 bytes with a 16-byte `T`, 5
//! to 9 bytes of `names`, and between one and two nodes. All of it goes back when the pattern goes.

mod arena;
mod fan;
mod nodes;
mod walk;

use std::sync::Arc;

use hashbrown::HashTable;

use crate::name::{hash, shared_bytes};
use crate::pattern::Symbols;
use arena::{Arena, Id};
use nodes::Nodes;

pub use walk::MatchScratch;

/// Patterns, each with a value, and the ones among them that match a channel.
///
/// Two patterns are the same if their bytes are, even where others match the same channels.
pub struct PatternTrie<T> {
    nodes: Nodes,
    entries: Arena<Entry<T>, Pattern>,
    /// By the name's hash.
    names: HashTable<Id<Pattern>>,
    /// The names' own heap memory.
    name_bytes: usize,
}

/// Marks the ids of entries, so that nodes can hold them without knowing `T`.
enum Pattern {}

struct Entry<T> {
    name: Arc<[u8]>,
    value: T,
    /// Kept so that `names` can grow without reading every name.
    hash: u64,
    /// The neighbours in the list of patterns that end at one node.
    next: Option<Id<Pattern>>,
    previous: Option<Id<Pattern>>,
}

impl<T> Default for PatternTrie<T> {
    fn default() -> Self {
        PatternTrie {
            nodes: Nodes::default(),
            entries: Arena::default(),
            names: HashTable::new(),
            name_bytes: 0,
        }
    }
}

impl<T> PatternTrie<T> {
    /// An empty trie, which owns no memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many patterns there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of `pattern`, which is added with its default value if it isn't there.
    pub fn insert(&mut self, pattern: &[u8]) -> &mut T
    where
        T: Default,
    {
        self.get_or_insert_with(pattern, T::default)
    }

    /// The value of `pattern`, which is added with the value of `make` if it isn't there.
    ///
    /// Given an `Arc`, the trie shares it; given a slice, it makes its own.
    pub fn get_or_insert_with<N>(&mut self, pattern: N, make: impl FnOnce() -> T) -> &mut T
    where
        N: AsRef<[u8]> + Into<Arc<[u8]>>,
    {
        let hash = hash(pattern.as_ref());
        let id = match self.find(hash, pattern.as_ref()) {
            Some(id) => id,
            None => self.add(pattern.into(), hash, make()),
        };
        &mut self.entries.get_mut(id).value
    }

    /// The value of `pattern`.
    pub fn get(&self, pattern: &[u8]) -> Option<&T> {
        self.find(hash(pattern), pattern).map(|id| &self.entries.get(id).value)
    }

    /// The value of `pattern`, to change.
    pub fn get_mut(&mut self, pattern: &[u8]) -> Option<&mut T> {
        self.find(hash(pattern), pattern).map(|id| &mut self.entries.get_mut(id).value)
    }

    /// Takes `pattern` out, with all the memory it held.
    pub fn remove(&mut self, pattern: &[u8]) -> Option<T> {
        let entries = &self.entries;
        let found = self.names.find_entry(hash(pattern), |id| *entries.get(*id).name == *pattern).ok()?;
        let (id, _) = found.remove();
        if let Some(symbols) = Symbols::of(pattern) {
            self.unlink(id, symbols);
        }
        let entry = self.entries.remove(id);
        self.name_bytes -= shared_bytes(entry.name.len());
        self.shrink_names();
        Some(entry.value)
    }

    /// Calls `f` once for each pattern that matches `channel`, in no particular order.
    pub fn for_each_match(&self, channel: &[u8], scratch: &mut MatchScratch, mut f: impl FnMut(&[u8], &T)) {
        self.for_each_match_shared(channel, scratch, |name, value| f(name, value));
    }

    /// As [`for_each_match`](Self::for_each_match), for who wants to keep the name.
    pub fn for_each_match_shared(
        &self,
        channel: &[u8],
        scratch: &mut MatchScratch,
        mut f: impl FnMut(&Arc<[u8]>, &T),
    ) {
        self.nodes.for_each_end(channel, scratch, |first| {
            let mut next = Some(first);
            while let Some(id) = next {
                let entry = self.entries.get(id);
                f(&entry.name, &entry.value);
                next = entry.next;
            }
        });
    }

    /// All patterns and their values, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<[u8]>, &T)> {
        self.entries.iter().map(|entry| (&entry.name, &entry.value))
    }

    /// Heap memory, the names' included, whoever shares them; not what the values own.
    ///
    /// Cost: O(patterns / 256).
    pub fn heap_bytes(&self) -> usize {
        self.nodes.heap_bytes() + self.entries.heap_bytes() + self.names.allocation_size() + self.name_bytes
    }

    fn find(&self, hash: u64, pattern: &[u8]) -> Option<Id<Pattern>> {
        self.names.find(hash, |id| *self.entries.get(*id).name == *pattern).copied()
    }

    fn add(&mut self, name: Arc<[u8]>, hash: u64, value: T) -> Id<Pattern> {
        self.name_bytes += shared_bytes(name.len());
        let node = Symbols::of(&name).map(|symbols| self.nodes.grow(symbols));
        let next = node.and_then(|node| self.nodes.node(node).patterns);
        let id = self.entries.insert(Entry { name, value, hash, next, previous: None });
        if let Some(next) = next {
            self.entries.get_mut(next).previous = Some(id);
        }
        if let Some(node) = node {
            self.nodes.set_patterns(node, Some(id));
        }
        self.names.insert_unique(hash, id, |id| self.entries.get(*id).hash);
        id
    }

    /// Takes an entry out of its node's list, and away the nodes that this makes superfluous.
    fn unlink(&mut self, id: Id<Pattern>, symbols: Symbols<'_>) {
        let Entry { next, previous, .. } = *self.entries.get(id);
        if let Some(next) = next {
            self.entries.get_mut(next).previous = previous;
        }
        match previous {
            Some(previous) => self.entries.get_mut(previous).next = next,
            None => {
                let path = self.nodes.path(symbols);
                let end = *path.last().expect("a pattern in the trie has at least the root on its path");
                self.nodes.set_patterns(end, next);
                self.nodes.prune(path);
            }
        }
    }

    /// Keeps the table within eight times of what it holds; once in so many removals, so O(1) each.
    fn shrink_names(&mut self) {
        if self.names.len() <= self.names.capacity() / 8 {
            let entries = &self.entries;
            self.names.shrink_to(self.names.len() * 2, |id| entries.get(*id).hash);
        }
    }
}
