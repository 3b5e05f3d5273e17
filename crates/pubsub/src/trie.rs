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

use crate::glob;
use crate::name::{hash, shared_bytes};
use crate::pattern::Symbols;
use crate::striped::StripedTable;
use arena::{Arena, Id};
use nodes::Nodes;
use walk::{AtMost, Steps, Uncounted};

pub use walk::MatchScratch;

/// Steps of a match that is reported: name and value are seldom in a cache.
const STEPS_PER_MATCH: usize = 4;

/// Bytes of patterns and channel that are compared at once where patterns are tried by themselves, and what trying one costs beside.
const BYTES_AT_ONCE: usize = 16 << 10;
const BYTES_PER_PATTERN: usize = 64;

/// What a bound of the work of a match comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrieSize {
    /// How many patterns there are.
    pub patterns: usize,
    /// Those among them that are more than literal bytes, or literal bytes and a star.
    pub wild: usize,
    /// Nodes on the ways of those, at most.
    pub wild_nodes: usize,
}

impl TrieSize {
    /// At least as many steps as [`PatternTrie::match_within`] takes for a channel of so many bytes.
    #[inline]
    pub fn steps_max(&self, channel_bytes: usize) -> usize {
        let places = channel_bytes.saturating_add(2);
        // Literal bytes lead from the root to one node for each byte, and there each may be the end of one pattern, or of one with
        // a star behind it.
        let plain = self.patterns.saturating_sub(self.wild).min(places);
        // Any other node is entered once for each byte, may be looked at as often as one of the classes, and may be a star from which
        // each byte is tried.
        let entered = self.wild_nodes.saturating_mul(places).saturating_mul(4);
        let reported = self.wild.saturating_add(plain).saturating_mul(STEPS_PER_MATCH);
        places.saturating_add(entered).saturating_add(reported)
    }
}

/// Whether a pattern is literal bytes, or such and a star behind them. No two of these match the same channels.
fn is_plain(pattern: &[u8]) -> bool {
    let literal = pattern.strip_suffix(b"*").unwrap_or(pattern);
    !literal.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'))
}

/// Patterns, each with a value, and the ones among them that match a channel.
///
/// Two patterns are the same if their bytes are, even where others match the same channels.
pub struct PatternTrie<T> {
    nodes: Nodes,
    entries: Arena<Entry<T>, Pattern>,
    /// By the name's hash.
    names: StripedTable<Id<Pattern>>,
    /// The names' own heap memory.
    name_bytes: usize,
    /// Patterns that are not plain, and the bytes of these.
    wild: usize,
    wild_bytes: usize,
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
            names: StripedTable::default(),
            name_bytes: 0,
            wild: 0,
            wild_bytes: 0,
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

    /// How much a match may have to do.
    pub fn size(&self) -> TrieSize {
        let wild_nodes = self.nodes.len().min(self.wild_bytes);
        TrieSize { patterns: self.len(), wild: self.wild, wild_nodes }
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
        let is_it = |id: &Id<Pattern>| *entries.get(*id).name == *pattern;
        let id = self.names.remove(hash(pattern), is_it, |id| entries.get(*id).hash)?;
        if let Some(symbols) = Symbols::of(pattern) {
            self.unlink(id, symbols);
        }
        let entry = self.entries.remove(id);
        self.name_bytes -= shared_bytes(entry.name.len());
        if !is_plain(&entry.name) {
            self.wild -= 1;
            self.wild_bytes -= entry.name.len();
        }
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
        f: impl FnMut(&Arc<[u8]>, &T),
    ) {
        self.match_counted(channel, scratch, Uncounted, f);
    }

    /// The same if it takes at most so many steps, of some 50 ns at worst; false: it takes more, and `f` was called for some.
    ///
    /// Then there are very many matches, or patterns with many stars nearly match a long channel at very many places:
    /// [`match_some`](Self::match_some) goes past all patterns.
    pub fn match_within(
        &self,
        channel: &[u8],
        scratch: &mut MatchScratch,
        steps_max: usize,
        f: impl FnMut(&Arc<[u8]>, &T),
    ) -> bool {
        if self.size().steps_max(channel.len()) <= steps_max {
            self.match_counted(channel, scratch, Uncounted, f)
        } else {
            self.match_counted(channel, scratch, AtMost(steps_max), f)
        }
    }

    fn match_counted<S: Steps>(
        &self,
        channel: &[u8],
        scratch: &mut MatchScratch,
        steps: S,
        mut f: impl FnMut(&Arc<[u8]>, &T),
    ) -> bool {
        self.nodes.for_each_end(channel, scratch, steps, |first, steps| {
            let mut next = Some(first);
            while let Some(id) = next.filter(|_| !steps.is_over()) {
                let entry = self.entries.get(id);
                f(&entry.name, &entry.value);
                next = entry.next;
                steps.count(STEPS_PER_MATCH);
            }
        })
    }

    /// Tries some patterns by themselves, from `place` on, which is 0 at first; `f` is called for those that match. Returns where to
    /// go on, if there are more.
    ///
    /// Patterns may come and go between two calls: those that are there all the time are tried once. What takes more steps than
    /// [`glob::matches`] takes matches nothing. Cost: some 20 µs, or that of one such pattern.
    pub fn match_some(
        &self,
        channel: &[u8],
        place: usize,
        mut f: impl FnMut(&Arc<[u8]>, &T),
    ) -> Option<usize> {
        let mut bytes = 0;
        for place in place..self.entries.index_end() {
            if bytes > BYTES_AT_ONCE {
                return Some(place);
            }
            bytes += BYTES_PER_PATTERN;
            if let Some(entry) = self.entries.at(place) {
                bytes += entry.name.len() + channel.len();
                if glob::matches(&entry.name, channel) {
                    f(&entry.name, &entry.value);
                }
            }
        }
        None
    }

    /// All patterns and their values, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<[u8]>, &T)> {
        self.entries.iter().map(|entry| (&entry.name, &entry.value))
    }

    /// Heap memory, the names' included, whoever shares them; not what the values own.
    ///
    /// Cost: O(patterns / 1024).
    pub fn heap_bytes(&self) -> usize {
        self.nodes.heap_bytes() + self.entries.heap_bytes() + self.names.heap_bytes() + self.name_bytes
    }

    fn find(&self, hash: u64, pattern: &[u8]) -> Option<Id<Pattern>> {
        self.names.find(hash, |id| *self.entries.get(*id).name == *pattern).copied()
    }

    fn add(&mut self, name: Arc<[u8]>, hash: u64, value: T) -> Id<Pattern> {
        self.name_bytes += shared_bytes(name.len());
        if !is_plain(&name) {
            self.wild += 1;
            self.wild_bytes += name.len();
        }
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

    /// Panics if an invariant of the module's head doesn't hold.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let mut listed = 0;
        for (node, first) in self.nodes.check() {
            let (mut next, mut previous) = (Some(first), None);
            while let Some(id) = next {
                let entry = self.entries.get(id);
                assert_eq!(entry.previous, previous);
                let symbols = Symbols::of(&entry.name).expect("what can match nothing is in no list");
                assert_eq!(self.nodes.path(symbols).last(), Some(&node), "a pattern is listed where it ends");
                assert_eq!(self.find(entry.hash, &entry.name), Some(id));
                listed += 1;
                (previous, next) = (next, entry.next);
            }
        }
        let barren = self.entries.iter().filter(|entry| Symbols::of(&entry.name).is_none()).count();
        self.names.check();
        assert_eq!((listed + barren, self.names.len()), (self.entries.len(), self.entries.len()));
        let wild = || self.entries.iter().filter(|entry| !is_plain(&entry.name));
        let wild_bytes = wild().map(|entry| entry.name.len()).sum::<usize>();
        assert_eq!((self.wild, self.wild_bytes), (wild().count(), wild_bytes));
        let name_bytes = self.entries.iter().map(|entry| shared_bytes(entry.name.len()));
        assert_eq!(self.name_bytes, name_bytes.sum::<usize>());
        self.entries.check();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn trie_of<'p>(patterns: impl IntoIterator<Item = &'p str>) -> PatternTrie<u32> {
        let mut trie = PatternTrie::new();
        for (pattern, number) in patterns.into_iter().zip(0..) {
            *trie.insert(pattern.as_bytes()) = number;
        }
        trie.check();
        trie
    }

    /// The patterns that match, in order; each as often as it was reported.
    fn matching<T>(trie: &PatternTrie<T>, scratch: &mut MatchScratch, channel: &[u8]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        trie.for_each_match(channel, scratch, |pattern, _| found.push(pattern.to_vec()));
        found.sort_unstable();
        found
    }

    fn assert_matches(trie: &PatternTrie<u32>, channel: &str, expected: &[&str]) {
        let found = matching(trie, &mut MatchScratch::default(), channel.as_bytes());
        let mut expected: Vec<_> = expected.iter().map(|pattern| pattern.as_bytes().to_vec()).collect();
        expected.sort_unstable();
        assert_eq!(found, expected, "{channel}");
    }

    #[test]
    fn every_matching_pattern_is_reported_once() {
        let trie =
            trie_of(["user:*", "user:?", "user:[0-9]", "*", "*:1", "*1*", "user:1", "*user*:*1*", "u[^s]*"]);
        assert_matches(
            &trie,
            "user:1",
            &["*", "*1*", "*:1", "*user*:*1*", "user:*", "user:1", "user:?", "user:[0-9]"],
        );
        assert_matches(&trie, "user:11", &["*", "*1*", "*user*:*1*", "user:*"]);
        assert_matches(&trie, "unit", &["*", "u[^s]*"]);
    }

    #[test]
    fn patterns_that_match_the_same_are_still_two() {
        let mut trie = trie_of(["ab", "a\\b", "[a]b", "*?", "?*"]);
        assert_eq!((trie.len(), trie.get(b"a\\b")), (5, Some(&1)));
        assert_matches(&trie, "ab", &["ab", "a\\b", "[a]b", "*?", "?*"]);
        assert_eq!(trie.remove(b"a\\b"), Some(1));
        assert_eq!(trie.remove(b"a\\b"), None);
        trie.check();
        assert_matches(&trie, "ab", &["ab", "[a]b", "*?", "?*"]);
    }

    #[test]
    fn an_empty_channel_matches_only_the_empty_pattern() {
        let trie = trie_of(["", "*", "**", "?", "[^a]"]);
        assert_matches(&trie, "", &[""]);
        assert_matches(&trie, "b", &["*", "**", "?", "[^a]"]);
    }

    #[test]
    fn a_pattern_that_can_match_nothing_is_kept_all_the_same() {
        let too_many_stars = "*a".repeat(1001);
        let mut trie = trie_of(["[]", "a[", &too_many_stars]);
        assert_eq!(trie.len(), 3);
        assert_matches(&trie, "a", &[]);
        assert_matches(&trie, &"a".repeat(2000), &[]);
        for pattern in ["[]", "a[", &too_many_stars] {
            assert!(trie.remove(pattern.as_bytes()).is_some());
        }
        assert_eq!(trie.heap_bytes(), 0);
    }

    #[test]
    fn a_node_may_branch_on_every_byte_and_on_many_classes() {
        let literals = (u8::MIN..=u8::MAX).map(|byte| vec![b'n', b'\\', byte]);
        let classes = (u8::MIN..u8::MAX).map(|low| vec![b'n', b'[', b'\\', low, b'-', low + 1]);
        let patterns: Vec<_> = literals.chain(classes).collect();
        let (mut trie, mut scratch) = (PatternTrie::<u32>::new(), MatchScratch::default());
        for pattern in &patterns {
            trie.insert(pattern);
            trie.check();
        }
        for byte in u8::MIN..=u8::MAX {
            let mut expected: Vec<_> = patterns.clone();
            expected.retain(|pattern| glob::matches(pattern, &[b'n', byte]));
            expected.sort_unstable();
            assert_eq!(matching(&trie, &mut scratch, &[b'n', byte]), expected);
        }
        for pattern in patterns.iter().rev() {
            trie.remove(pattern);
            trie.check();
        }
        assert_eq!(trie.heap_bytes(), 0);
    }

    #[test]
    fn a_long_pattern_neither_recurses_nor_loses_a_byte() {
        let long = "?[ab]x".repeat(50_000);
        let mut trie = trie_of([&long[..], &long[..150_000]]);
        assert_matches(&trie, &"zax".repeat(50_000), &[&long]);
        assert!(trie.remove(long.as_bytes()).is_some());
        trie.check();
        assert_matches(&trie, &"zax".repeat(25_000), &[&long[..150_000]]);
    }

    #[test]
    fn hostile_patterns_cost_no_more_than_nodes_times_bytes() {
        // Each star can be left at every byte of the channel, and all of them nearly match.
        let patterns: Vec<_> = (0..40).map(|n| format!("{}b", "*a?".repeat(n))).collect();
        let trie = trie_of(patterns.iter().map(String::as_str));
        assert_matches(&trie, &"a".repeat(5_000), &[]);
    }

    #[test]
    fn a_match_that_takes_too_long_ends_and_goes_on_pattern_by_pattern() {
        let mut scratch = MatchScratch::default();
        let hostile = trie_of([&*format!("{}b", "*a?".repeat(900)), "a*", "*"]);
        let mut within = |trie: &PatternTrie<u32>, channel: &[u8], steps| {
            let mut found = 0;
            (trie.match_within(channel, &mut scratch, steps, |_, _| found += 1), found)
        };
        let channel = vec![b'a'; 100_000];
        assert!(!within(&hostile, &channel, 10_000).0);
        assert_eq!(some_by_some(&hostile, &channel), [&b"*"[..], b"a*"]);
        let many: Vec<_> = (0..5_000).map(|n| format!("a*[a{n}]")).collect();
        let many = trie_of(many.iter().map(String::as_str));
        let (is_all, found) = within(&many, b"aa", 1_000);
        assert!(!is_all && found < 1_000, "{found}");
        assert_eq!(within(&many, b"aa", 1 << 20), (true, 5_000));
        assert_eq!(some_by_some(&many, b"aa").len(), 5_000);
    }

    #[test]
    fn patterns_that_only_begin_alike_are_known_to_take_few_steps() {
        let mut trie = PatternTrie::<u32>::new();
        (0..10_000).for_each(|n| *trie.insert(format!("user:{n}:*").as_bytes()) = n);
        assert!(trie.size().steps_max(20) < 200, "{:?}", trie.size());
        trie.insert(b"*:typing?");
        assert!(trie.size().steps_max(20) < 1_000, "{:?}", trie.size());
    }

    /// What `match_some` finds, in order.
    fn some_by_some(trie: &PatternTrie<u32>, channel: &[u8]) -> Vec<Vec<u8>> {
        let (mut found, mut place) = (Vec::new(), Some(0));
        while let Some(from) = place {
            place = trie.match_some(channel, from, |pattern, _| found.push(pattern.to_vec()));
        }
        found.sort_unstable();
        found
    }

    #[test]
    fn a_scratch_serves_any_trie_also_when_its_match_number_wraps() {
        let (one, other) = (trie_of(["*a*b*", "*b*a*"]), trie_of(["*b*", "*a*c*", "*a*b*"]));
        let mut scratch = MatchScratch::default();
        for _ in 0..3 {
            assert_eq!(matching(&one, &mut scratch, b"xaxbx").len(), 1);
            scratch.skip_to_last_match_number();
            assert_eq!(matching(&other, &mut scratch, b"xaxbx").len(), 2);
        }
    }

    #[test]
    fn memory_goes_back_to_where_it_was() {
        let mut trie = PatternTrie::<u32>::new();
        assert_eq!(trie.heap_bytes(), 0);
        for n in 0..300 {
            trie.insert(format!("room:{n}:[a-f]?*").as_bytes());
        }
        let start_bytes = trie.heap_bytes();
        let name = |n: u32| format!("*user:{n}:?[{n}xyz]*").into_bytes();
        for n in 0..20_000 {
            trie.insert(&name(n));
        }
        let full_bytes = trie.heap_bytes();
        for n in (0..20_000).rev() {
            assert!(trie.remove(&name(n)).is_some());
        }
        trie.check();
        // The patterns that stayed hold the arenas' first chunks, which have grown to their full size.
        assert!(trie.heap_bytes() < full_bytes / 10, "{start_bytes}, {full_bytes}, {}", trie.heap_bytes());
        for n in 0..300 {
            trie.remove(format!("room:{n}:[a-f]?*").as_bytes());
        }
        assert_eq!(trie.heap_bytes(), 0);
    }

    #[test]
    fn a_million_prefix_patterns_take_under_200_bytes_each() {
        let mut trie = PatternTrie::<[u64; 2]>::new();
        for n in 0..1_000_000 {
            trie.insert(format!("user:{n}:*").as_bytes());
        }
        let each = trie.heap_bytes() / trie.len();
        assert!(each < 200, "{each} bytes a pattern");
    }

    /// Short patterns over few bytes, so that they share, split and nearly match.
    fn pattern() -> impl Strategy<Value = Vec<u8>> {
        let dense = prop::collection::vec(prop::sample::select(b"aabb*?[]^-\\c".as_slice()), 0..8);
        let stars = prop::collection::vec(prop::sample::select(b"ab*".as_slice()), 0..8);
        // Long enough that labels run over several nodes.
        let long = prop::collection::vec(prop::sample::select(b"aaaaaaaaaaab*?".as_slice()), 15..50);
        // So many different first bytes, and classes, that a node needs a table for them.
        let wide = (any::<u8>(), "[*a]{0,2}").prop_map(|(first, rest)| [&[first], rest.as_bytes()].concat());
        let class = "\\*?\\[\\^?[a-e]{1,3}\\][*ab]{0,2}".prop_map(String::into_bytes);
        prop_oneof![4 => dense, 2 => stars, 1 => long, 4 => wide, 2 => class]
    }

    fn channel() -> impl Strategy<Value = Vec<u8>> {
        let short = prop::collection::vec(prop::sample::select(b"aabbc]-\\".as_slice()), 0..10);
        let long = prop::collection::vec(prop::sample::select(b"aaaaaaaaaaaaaab".as_slice()), 10..50);
        let wide = prop::collection::vec(any::<u8>(), 1..3);
        prop_oneof![3 => short, 1 => long, 1 => wide]
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(Vec<u8>),
        /// The n-th of those there are.
        Remove(prop::sample::Index),
        Match(Vec<u8>),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            5 => pattern().prop_map(Step::Insert),
            2 => any::<prop::sample::Index>().prop_map(Step::Remove),
            3 => channel().prop_map(Step::Match),
        ];
        prop::collection::vec(step, 0..150)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn it_finds_what_trying_every_pattern_finds(steps in steps()) {
            let (mut trie, mut model) = (PatternTrie::<u32>::new(), BTreeMap::new());
            let mut scratch = MatchScratch::default();
            for (step, number) in steps.into_iter().zip(0..) {
                match step {
                    Step::Insert(pattern) => {
                        *trie.insert(&pattern) = number;
                        model.insert(pattern, number);
                    }
                    Step::Remove(_) if model.is_empty() => {}
                    Step::Remove(index) => {
                        let pattern = index.get(&model.keys().cloned().collect::<Vec<_>>()).clone();
                        prop_assert_eq!(trie.remove(&pattern), model.remove(&pattern));
                    }
                    Step::Match(channel) => {
                        let expected = model.keys().filter(|pattern| glob::matches(pattern, &channel));
                        let expected: Vec<_> = expected.cloned().collect();
                        prop_assert_eq!(&some_by_some(&trie, &channel), &expected);
                        prop_assert_eq!(matching(&trie, &mut scratch, &channel), expected);
                        let steps = AtMost(trie.size().steps_max(channel.len()) + 1);
                        let is_all = trie.match_counted(&channel, &mut scratch, steps, |_, _| {});
                        prop_assert!(is_all, "{:?}", trie.size());
                    }
                }
                trie.check();
            }
            prop_assert!(trie.iter().map(|(name, value)| (name.to_vec(), *value)).collect::<BTreeMap<_, _>>() == model);
            for pattern in model.keys() {
                trie.remove(pattern);
                trie.check();
            }
            prop_assert_eq!(trie.heap_bytes(), 0);
        }
    }
}
