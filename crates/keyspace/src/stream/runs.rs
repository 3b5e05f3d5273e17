//! An ordered map from entry IDs whose copies share whatever neither has changed since.
//!
//! ```text
//! pages   [from 1-0 │ lightest 5 │ ●] [from 81-2 │ lightest 7 │ ●] …       a vector; a copy copies this and nothing else
//!                                └ page  [from 1-0 │ lightest 5 │ ●] …     up to 64 runs, shared by copies
//!                                                               └ run  [1-0: v] [1-3: v] …    up to 64 keys, shared by copies
//! ```
//!
//! Made for keys that arrive in order and leave in any. A run that is full is cut in two; but one that is full at the very
//! end is left full and a new one started, so that a map filled in order has no slack: 16 bytes a key and the value, where
//! a B-tree of single keys has about twice that.
//!
//! Values have a *weight*, and every run and page knows a lower bound of the weights in it. So the lightest values are
//! found without an index of their own ([`Runs::lightest`]); a removal leaves the bound as it is, and the next search, which
//! finds out, corrects it ([`Runs::correct`]).
//!
//! Invariants
//! - No run or page is empty; its `from` is ≤ its first ID, and > every ID of the one before.
//! - Its `lightest` is ≤ the weight of everything in it.
//! - `len` and `runs` count keys and runs.
//!
//! Cost, for n keys: O(log n) for everything by key and O(1) amortised behind the end, as long as n / 4096 pages are moved
//! faster than a run is; a copy O(n / 4096); a write after a copy copies one run and one page.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::shared::{Shared, own};
use crate::stream::EntryId;
use crate::stream::block::Block;

/// Keys in a run at most. A removal moves half of them on average: a few hundred bytes.
const RUN_MAX: usize = 64;
/// Runs in a page at most.
const PAGE_MAX: usize = 64;

/// What a map can hold.
pub(crate) trait Value: Clone {
    /// Where it stands in [`Runs::lightest`]; the highest there is never comes up there.
    fn weight(&self) -> u64 {
        u64::MAX
    }
}

impl Value for Arc<Block> {}
impl Value for () {}
impl Value for u32 {}
impl Value for u64 {}

type Run<V> = Vec<(EntryId, V)>;
type Page<V> = Vec<Part<Run<V>>>;

/// A run or a page, as the level above knows it.
#[derive(Debug)]
struct Part<T> {
    from: EntryId,
    lightest: u64,
    inside: Shared<T>,
}

impl<T> Clone for Part<T> {
    fn clone(&self) -> Part<T> {
        Part { from: self.from, lightest: self.lightest, inside: Shared::clone(&self.inside) }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Runs<V> {
    pages: Vec<Part<Page<V>>>,
    runs: usize,
    len: usize,
}

impl<V> Default for Runs<V> {
    fn default() -> Runs<V> {
        Runs { pages: Vec::new(), runs: 0, len: 0 }
    }
}

/// Index of the part in which `id` is, if it is in any.
#[inline]
fn place<T>(parts: &[Part<T>], id: EntryId) -> Option<usize> {
    match parts {
        // The newest is asked for more often than any other.
        [.., last] if last.from <= id => Some(parts.len() - 1),
        parts => parts.partition_point(|part| part.from <= id).checked_sub(1),
    }
}

fn run_part<V: Value>(run: Run<V>) -> Part<Run<V>> {
    Part { from: run[0].0, lightest: lightest_in_run(&run), inside: Shared::new(run) }
}

fn page_part<V: Value>(page: Page<V>) -> Part<Page<V>> {
    Part { from: page[0].from, lightest: lightest_in_page(&page), inside: Shared::new(page) }
}

fn lightest_in_run<V: Value>(run: &Run<V>) -> u64 {
    run.iter().map(|(_, value)| value.weight()).min().unwrap_or(u64::MAX)
}

fn lightest_in_page<V>(page: &Page<V>) -> u64 {
    page.iter().map(|run| run.lightest).min().unwrap_or(u64::MAX)
}

impl<V: Value> Runs<V> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, id: EntryId) -> Option<&V> {
        let page = &self.pages[place(&self.pages, id)?].inside;
        let run = &page[place(page, id)?].inside;
        let index = run.binary_search_by_key(&id, |&(key, _)| key).ok()?;
        Some(&run[index].1)
    }

    /// The value of `id`, to be changed; its weight must not fall.
    pub(crate) fn get_mut(&mut self, id: EntryId) -> Option<&mut V> {
        let (page, run, index) = self.find(id)?;
        let page = own(&mut self.pages[page].inside);
        Some(&mut own(&mut page[run].inside)[index].1)
    }

    fn find(&self, id: EntryId) -> Option<(usize, usize, usize)> {
        let page = place(&self.pages, id)?;
        let runs = &self.pages[page].inside;
        let run = place(runs, id)?;
        let index = runs[run].inside.binary_search_by_key(&id, |&(key, _)| key).ok()?;
        Some((page, run, index))
    }

    /// Sets the value of `id`, and returns the one it had.
    pub(crate) fn insert(&mut self, id: EntryId, value: V) -> Option<V> {
        let Some(last_page) = self.pages.len().checked_sub(1) else {
            self.pages.push(page_part(vec![run_part(vec![(id, value)])]));
            (self.runs, self.len) = (1, 1);
            return None;
        };
        // What is below everything goes into the first.
        let page_at = place(&self.pages, id).unwrap_or(0);
        let weight = value.weight();
        let part = &mut self.pages[page_at];
        part.note(id, weight);
        let page = own(&mut part.inside);
        let runs_before = page.len();
        let before = insert_in_page(page, id, value, page_at == last_page);
        self.runs += page.len() - runs_before;
        if page.len() > PAGE_MAX {
            let at_the_end = page_at == last_page && page.last().is_some_and(|run| run.from == id);
            let upper = page.split_off(if at_the_end { PAGE_MAX } else { PAGE_MAX / 2 });
            self.pages.insert(page_at + 1, page_part(upper));
        }
        self.len += usize::from(before.is_none());
        before
    }

    pub(crate) fn remove(&mut self, id: EntryId) -> Option<V> {
        let (page_at, run_at, index) = self.find(id)?;
        let page = own(&mut self.pages[page_at].inside);
        let run = own(&mut page[run_at].inside);
        let (_, value) = run.remove(index);
        self.len -= 1;
        if run.is_empty() {
            page.remove(run_at);
            self.runs -= 1;
            if page.is_empty() {
                self.pages.remove(page_at);
            }
        } else if run.capacity() > 8 && run.len() <= run.capacity() / 4 {
            run.shrink_to(run.len() * 2);
        }
        Some(value)
    }

    pub(crate) fn pop_last(&mut self) -> Option<(EntryId, V)> {
        let id = self.last()?;
        self.remove(id).map(|value| (id, value))
    }

    pub(crate) fn first(&self) -> Option<EntryId> {
        self.first_entry().map(|(id, _)| id)
    }

    pub(crate) fn first_entry(&self) -> Option<(EntryId, &V)> {
        let run = self.pages.first().and_then(|page| page.inside.first())?;
        run.inside.first().map(|(id, value)| (*id, value))
    }

    pub(crate) fn last(&self) -> Option<EntryId> {
        self.last_entry().map(|(id, _)| id)
    }

    pub(crate) fn last_entry(&self) -> Option<(EntryId, &V)> {
        let run = self.pages.last().and_then(|page| page.inside.last())?;
        run.inside.last().map(|(id, value)| (*id, value))
    }

    /// The last key at or below `id`, with its value.
    #[inline]
    pub(crate) fn at_or_below(&self, id: EntryId) -> Option<(EntryId, &V)> {
        self.down_from(id).next()
    }

    /// Everything at or above `start`, rising.
    pub(crate) fn from(&self, start: EntryId) -> From<'_, V> {
        let Some(page_at) = place(&self.pages, start) else {
            return From { run: &[], page: &[], pages: &self.pages };
        };
        let page = &self.pages[page_at].inside;
        let run_at = place(page, start).unwrap_or(0);
        let run = &page[run_at].inside;
        let run = &run[run.partition_point(|&(id, _)| id < start)..];
        From { run, page: &page[run_at + 1..], pages: &self.pages[page_at + 1..] }
    }

    /// Everything at or below `end`, falling.
    pub(crate) fn down_from(&self, end: EntryId) -> DownFrom<'_, V> {
        let Some(page_at) = place(&self.pages, end) else {
            return DownFrom { run: &[], page: &[], pages: &[] };
        };
        let page = &self.pages[page_at].inside;
        let Some(run_at) = place(page, end) else {
            return DownFrom { run: &[], page: &[], pages: &self.pages[..page_at] };
        };
        let run = &page[run_at].inside;
        let run = &run[..run.partition_point(|&(id, _)| id <= end)];
        DownFrom { run, page: &page[..run_at], pages: &self.pages[..page_at] }
    }

    /// What weighs at most `weight_max`, from the ID `start` on, the lightest first, and of equals the one with the lower
    /// ID. O(log n) a step, after O(pages) at first.
    pub(crate) fn lightest(&self, start: EntryId, weight_max: u64) -> Lightest<'_, V> {
        let first = place(&self.pages, start).unwrap_or(0);
        let pages = self.pages.iter().enumerate().skip(first);
        let light = pages.filter(|(_, page)| page.lightest <= weight_max && page.lightest < u64::MAX);
        let heap = light.map(|(at, page)| Reverse((page.lightest, page.from, Node::Page(at)))).collect();
        Lightest { map: self, start, weight_max, heap, visited: Visited::default() }
    }

    /// Makes the bounds exact that a search has found out to be too low.
    pub(crate) fn correct(&mut self, visited: &Visited) {
        for &(page, run) in &visited.0 {
            let page = own(&mut self.pages[page].inside);
            if let Some(run) = run {
                page[run].lightest = lightest_in_run(&page[run].inside);
            }
        }
        for &(page, _) in &visited.0 {
            self.pages[page].lightest = lightest_in_page(&self.pages[page].inside);
        }
    }

    /// Memory held on the heap, in bytes; an estimate that looks at no run.
    pub(crate) fn heap_bytes(&self) -> usize {
        // Vector, counts and allocation of a run, and its place in a page.
        self.len * size_of::<(EntryId, V)>() + self.runs * 90
    }

    #[cfg(any(test, debug_assertions))]
    pub(crate) fn check(&self) {
        let (mut before, mut page_before, mut runs) = (None, None, 0);
        for page in &self.pages {
            assert!(!page.inside.is_empty() && page.from <= page.inside[0].from);
            assert!(page.inside.len() <= PAGE_MAX && page_before.is_none_or(|before| before < page.from));
            assert!(page.lightest <= lightest_in_page(&page.inside));
            runs += page.inside.len();
            for run in &*page.inside {
                assert!(!run.inside.is_empty() && run.inside.len() <= RUN_MAX);
                assert!(run.from <= run.inside[0].0 && before.is_none_or(|before| before < run.from));
                assert!(run.inside.windows(2).all(|pair| pair[0].0 < pair[1].0));
                assert!(run.lightest <= lightest_in_run(&run.inside));
                before = run.inside.last().map(|&(id, _)| id);
            }
            page_before = before;
        }
        let lens = self.pages.iter().flat_map(|page| page.inside.iter().map(|run| run.inside.len()));
        assert_eq!((runs, lens.sum::<usize>()), (self.runs, self.len));
    }
}

impl<T> Part<T> {
    /// Notes that something was put in.
    fn note(&mut self, id: EntryId, weight: u64) {
        self.from = self.from.min(id);
        self.lightest = self.lightest.min(weight);
    }
}

/// Puts `id` into a page, which may then have a run too many.
fn insert_in_page<V: Value>(page: &mut Page<V>, id: EntryId, value: V, last_page: bool) -> Option<V> {
    let run_at = place(page, id).unwrap_or(0);
    let at_the_end = last_page && run_at + 1 == page.len();
    let part = &mut page[run_at];
    let index = match part.inside.last() {
        Some(&(last, _)) if last < id => Err(part.inside.len()),
        _ => part.inside.binary_search_by_key(&id, |&(key, _)| key),
    };
    if at_the_end && index == Err(RUN_MAX) {
        page.push(run_part(vec![(id, value)]));
        return None;
    }
    part.note(id, value.weight());
    let run = own(&mut part.inside);
    let index = match index {
        Ok(index) => return Some(std::mem::replace(&mut run[index].1, value)),
        Err(index) => index,
    };
    if run.len() < RUN_MAX {
        run.insert(index, (id, value));
        return None;
    }
    let mut upper = run.split_off(RUN_MAX / 2);
    match index.checked_sub(RUN_MAX / 2) {
        Some(index) if index > 0 => upper.insert(index, (id, value)),
        _ => run.insert(index, (id, value)),
    }
    page.insert(run_at + 1, run_part(upper));
    None
}

/// Keys and values from some ID on.
#[derive(Debug, Clone)]
pub(crate) struct From<'a, V> {
    run: &'a [(EntryId, V)],
    page: &'a [Part<Run<V>>],
    pages: &'a [Part<Page<V>>],
}

impl<'a, V> Iterator for From<'a, V> {
    type Item = (EntryId, &'a V);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((id, value)) = self.run.split_off_first() {
                return Some((*id, value));
            }
            match self.page.split_off_first() {
                Some(run) => self.run = &run.inside,
                None => self.page = &self.pages.split_off_first()?.inside,
            }
        }
    }
}

/// Keys and values from some ID down.
#[derive(Debug, Clone)]
pub(crate) struct DownFrom<'a, V> {
    run: &'a [(EntryId, V)],
    page: &'a [Part<Run<V>>],
    pages: &'a [Part<Page<V>>],
}

impl<'a, V> Iterator for DownFrom<'a, V> {
    type Item = (EntryId, &'a V);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((id, value)) = self.run.split_off_last() {
                return Some((*id, value));
            }
            match self.page.split_off_last() {
                Some(run) => self.run = &run.inside,
                None => self.page = &self.pages.split_off_last()?.inside,
            }
        }
    }
}

/// What a search has looked into: page, and run in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Visited(Vec<(usize, Option<usize>)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    Page(usize),
    Run(usize, usize),
    Value(usize, usize, usize),
}

/// Keys and values in the order of their weights: a search that opens what may hold the lightest.
#[derive(Debug, Clone)]
pub(crate) struct Lightest<'a, V> {
    map: &'a Runs<V>,
    start: EntryId,
    weight_max: u64,
    /// Unopened parts by their bounds, and values by their weights.
    heap: BinaryHeap<Reverse<(u64, EntryId, Node)>>,
    visited: Visited,
}

impl<V> Lightest<'_, V> {
    /// What was looked into.
    pub(crate) fn into_visited(self) -> Visited {
        self.visited
    }
}

impl<V: Value> Lightest<'_, V> {
    fn push(&mut self, weight: u64, id: EntryId, node: Node) {
        if weight <= self.weight_max && weight < u64::MAX {
            self.heap.push(Reverse((weight, id, node)));
        }
    }

    fn open_page(&mut self, at: usize) {
        self.visited.0.push((at, None));
        let page = &self.map.pages[at].inside;
        let first = place(page, self.start).unwrap_or(0);
        for (index, run) in page.iter().enumerate().skip(first) {
            self.push(run.lightest, run.from, Node::Run(at, index));
        }
    }

    fn open_run(&mut self, page: usize, at: usize) {
        self.visited.0.push((page, Some(at)));
        let run = &self.map.pages[page].inside[at].inside;
        let first = run.partition_point(|&(id, _)| id < self.start);
        for (index, (id, value)) in run.iter().enumerate().skip(first) {
            self.push(value.weight(), *id, Node::Value(page, at, index));
        }
    }
}

impl<'a, V: Value> Iterator for Lightest<'a, V> {
    type Item = (EntryId, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Reverse((_, id, node)) = self.heap.pop()?;
            match node {
                Node::Page(page) => self.open_page(page),
                Node::Run(page, run) => self.open_run(page, run),
                Node::Value(page, run, index) => {
                    return Some((id, &self.map.pages[page].inside[run].inside[index].1));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Weighed(u64);

    impl Value for Weighed {
        fn weight(&self) -> u64 {
            self.0
        }
    }

    fn id(ms: u64) -> EntryId {
        EntryId::new(ms, ms % 5)
    }

    #[test]
    fn filled_in_order_it_has_no_slack() {
        let mut runs = Runs::default();
        for ms in 0..6400 {
            runs.insert(id(ms), ());
        }
        assert_eq!((runs.runs, runs.pages.len()), (100, 2));
        runs.check();
        assert!(runs.heap_bytes() < 18 * 6400);
    }

    #[test]
    fn it_does_what_a_tree_does_and_a_copy_keeps_what_it_had() {
        for seed in 0..4 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut runs, mut tree) = (Runs::default(), BTreeMap::new());
            let mut copy = (runs.clone(), tree.clone());
            for step in 0..60_000u64 {
                let key = if random.u32(..3) == 0 { step } else { random.u64(..=step) };
                // Grows to several pages, then mostly shrinks.
                if random.u64(..60_000) > step * 3 / 2 {
                    let value = Weighed(random.u64(..1000));
                    assert_eq!(runs.insert(id(key), value), tree.insert(id(key), value));
                } else {
                    let key = tree.range(id(key)..).next().map_or(id(key), |(&key, _)| key);
                    assert_eq!(runs.remove(key), tree.remove(&key));
                }
                if step % 9_973 == 0 {
                    copy = (runs.clone(), tree.clone());
                }
                if step % 2_000 == 0 {
                    compare(&runs, &tree, id(key));
                    compare(&copy.0, &copy.1, id(key));
                    search(&mut runs, &tree, id(key), random.u64(..1000));
                }
            }
        }
    }

    fn compare(runs: &Runs<Weighed>, tree: &BTreeMap<EntryId, Weighed>, from: EntryId) {
        runs.check();
        assert_eq!(runs.len(), tree.len());
        assert!(runs.from(from).eq(tree.range(from..).map(|(&id, value)| (id, value))));
        assert!(runs.down_from(from).eq(tree.range(..=from).rev().map(|(&id, value)| (id, value))));
        assert!(runs.from(EntryId::MIN).count() == tree.len());
        assert_eq!(runs.first(), tree.first_key_value().map(|(&id, _)| id));
        assert_eq!(runs.last(), tree.last_key_value().map(|(&id, _)| id));
        assert_eq!(runs.get(from), tree.get(&from));
    }

    fn search(runs: &mut Runs<Weighed>, tree: &BTreeMap<EntryId, Weighed>, from: EntryId, weight_max: u64) {
        let light = tree.range(from..).filter(|(_, value)| value.0 <= weight_max);
        let mut expected: Vec<(u64, EntryId)> = light.map(|(&id, value)| (value.0, id)).collect();
        expected.sort_unstable();
        let mut search = runs.lightest(from, weight_max);
        let found: Vec<_> = search.by_ref().map(|(id, value)| (value.0, id)).collect();
        assert_eq!(found, expected);
        let visited = search.into_visited();
        runs.correct(&visited);
        runs.check();
    }

    #[test]
    fn a_search_looks_into_what_was_removed_only_once() {
        let mut runs = Runs::default();
        for ms in 0..100_000 {
            runs.insert(id(ms), Weighed(ms));
        }
        for ms in 0..99_000 {
            runs.remove(id(ms));
        }
        for ms in 0..64_000 {
            runs.insert(id(ms), Weighed(u64::MAX));
        }
        let looked_into = |runs: &mut Runs<Weighed>| {
            let mut search = runs.lightest(EntryId::MIN, 99_500);
            assert_eq!(search.next().map(|(_, value)| value.0), Some(99_000));
            let visited = search.into_visited();
            runs.correct(&visited);
            visited.0.len()
        };
        looked_into(&mut runs);
        assert!(looked_into(&mut runs) <= 2);
    }

    #[test]
    fn a_write_after_a_copy_copies_one_run_and_one_page() {
        let mut runs = Runs::default();
        for ms in 0..100_000 {
            runs.insert(id(ms), ());
        }
        let copy = runs.clone();
        runs.remove(id(50_000));
        let shared =
            |one: &Part<Page<()>>, other: &Part<Page<()>>| Shared::ptr_eq(&one.inside, &other.inside);
        let apart = copy.pages.iter().zip(&runs.pages).filter(|(one, other)| !shared(one, other)).count();
        assert_eq!((apart, copy.len(), runs.len()), (1, 100_000, 99_999));
        let page = copy.pages.iter().position(|page| Shared::strong_count(&page.inside) == 1).unwrap();
        let runs_apart =
            copy.pages[page].inside.iter().filter(|run| Shared::strong_count(&run.inside) == 1).count();
        assert_eq!(runs_apart, 1);
    }
}
