//! A large sorted set: a tree that holds the elements, and a table that knows in which leaf a member is.
//!
//! ```text
//! table   64-bit hash of a member ──► number of a leaf         12 bytes an element, no member
//! tree    leaf ──► scores, members                             tree.rs
//! ```
//!
//! A member's bytes stand in its leaf and nowhere else. Finding it is a step in the table and a search of one leaf, which
//! compares members, so nothing depends on hashes being different: of two members with one hash the second is entered
//! under the next number that is free, as in open addressing, and a search goes on up to a number that is not there.
//! Two of 10⁷ members share a hash once in 370 000 such sets, so most sets never look for it (`has_displaced`); the tests
//! use a hash of four bits.
//!
//! Invariant: a member whose hash is h stands in the leaf of one of the numbers h, h + 1, … up to the first that is not in
//! the table; for each element there is one number, and for each number one element of its leaf.
//!
//! Cost: O(1) to find a member, O(log n) for the rest. A leaf that splits or joins renames up to half of its elements.

use std::ops::Range;

use super::leaf::{Key, Tagged};
use super::tree::{LeafId, Tree, Way};
use crate::compact::{Compact, Dense, Keyed, Probe, hash_of};
use crate::stride::Stride;

mod ahead;

pub(crate) use ahead::Ahead;

/// In which leaf the member of a number is.
#[derive(Debug, Clone)]
struct Entry {
    number: [u8; 8],
    leaf: LeafId,
}

const _: () = assert!(size_of::<Entry>() == 12, "a table of 10⁷ members is 180 MB");

impl Keyed for Entry {
    fn name(&self) -> &[u8] {
        &self.number
    }

    /// Without a call, as one of unknown length takes.
    #[inline]
    fn has_name(&self, name: &[u8]) -> bool {
        name.first_chunk() == Some(&self.number) && name.len() == self.number.len()
    }

    /// The number is a hash, or near one.
    fn hash_of(name: &[u8]) -> u64 {
        name.try_into().map_or(0, u64::from_le_bytes)
    }

    fn heap_bytes(&self) -> usize {
        0
    }

    /// They are in its leaf.
    fn walked_bytes(&self) -> Option<usize> {
        None
    }
}

/// While an element is on its way from one leaf to another.
const NOWHERE: LeafId = LeafId::MAX;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Large {
    tree: Tree,
    table: Compact<Entry>,
    hash: fn(&[u8]) -> u64,
    /// Whether a member has ever been entered under another number than its hash.
    has_displaced: bool,
}

/// Where a member is.
#[derive(Debug, Clone, Copy)]
struct Found {
    number: u64,
    leaf: LeafId,
    at: usize,
}

impl Default for Large {
    fn default() -> Large {
        Large { tree: Tree::default(), table: Compact::new(), hash: hash_of, has_displaced: false }
    }
}

impl Large {
    #[cfg(test)]
    pub(super) fn with_hash(hash: fn(&[u8]) -> u64) -> Large {
        Large { hash, ..Large::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.tree.len()
    }

    /// Bytes on the heap. Cost: O(1).
    pub(super) fn heap_bytes(&self) -> usize {
        self.tree.heap_bytes() + self.table.heap_bytes()
    }

    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Where a member of this hash is, or the number under which it would be entered.
    #[inline]
    fn find(&self, member: &[u8], hash: u64) -> Result<Found, u64> {
        let (mut number, tagged) = (hash, Tagged::of(member, hash));
        loop {
            let Some(entry) = self.table.get(&number.to_le_bytes()) else { return Err(number) };
            if let Some(at) = self.tree.leaf(entry.leaf).find(tagged) {
                return Ok(Found { number, leaf: entry.leaf, at });
            }
            number = number.wrapping_add(1);
        }
    }

    /// The score of a member.
    #[inline]
    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        let found = self.find(member, (self.hash)(member)).ok()?;
        Some(self.tree.leaf(found.leaf).score(found.at))
    }

    /// Rank and score of a member.
    pub(super) fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let found = self.find(member, (self.hash)(member)).ok()?;
        let score = self.tree.leaf(found.leaf).score(found.at);
        Some((self.tree.rank_of_leaf(Key::of(score, member)) + found.at, score))
    }

    /// Adds a member, or gives it another score; returns the score that it had.
    pub(super) fn set(&mut self, member: &[u8], score: f64) -> Option<f64> {
        let set: Result<_, std::convert::Infallible> = self.update(member, Some(score), |_| Ok(Some(score)));
        let Ok(old) = set;
        old
    }

    fn score_of(&self, found: Result<Found, u64>) -> Option<f64> {
        found.ok().map(|found| self.tree.leaf(found.leaf).score(found.at))
    }

    /// See [`Zset::update`](super::Zset::update).
    pub(super) fn update<E>(
        &mut self,
        member: &[u8],
        likely: Option<f64>,
        decide: impl FnOnce(Option<f64>) -> Result<Option<f64>, E>,
    ) -> Result<Option<f64>, E> {
        let hash = (self.hash)(member);
        let way = likely.map(|score| (score, self.tree.way_to(Key::of(score, member))));
        let found = self.find(member, hash);
        let old = self.score_of(found);
        if let Some(score) = decide(old)? {
            let way = way.filter(|(likely, _)| *likely == score).map(|(_, way)| way);
            self.set_found(found, (member, hash), score, way);
        }
        Ok(old)
    }

    /// Gives a member of this hash that has just been searched this score.
    fn set_found(
        &mut self,
        found: Result<Found, u64>,
        (member, hash): (&[u8], u64),
        score: f64,
        way: Option<Way>,
    ) {
        let tagged = Tagged::of(member, hash);
        match found {
            Err(number) => {
                self.has_displaced |= number != hash;
                let leaf = self.insert(tagged, score, way);
                self.table.insert(Entry { number: number.to_le_bytes(), leaf });
            }
            Ok(Found { number, leaf, at }) => {
                // Otherwise it has its number for itself, and nobody is taken for it.
                if self.has_displaced {
                    enter(&mut self.table, number, NOWHERE);
                }
                let Large { tree, table, hash, .. } = self;
                let now_in = tree.set_score((leaf, at), score, tagged, way, &mut |member, from, to| {
                    follow(table, hash(member), from, to);
                });
                if now_in != leaf || self.has_displaced {
                    enter(&mut self.table, number, now_in);
                }
            }
        }
    }

    /// Inserts into the tree alone.
    fn insert(&mut self, member: Tagged<'_>, score: f64, way: Option<Way>) -> LeafId {
        let Large { tree, table, hash, .. } = self;
        let way = way.unwrap_or_else(|| tree.way_to(Key::of(score, member.member)));
        tree.insert_along(way, score, member, &mut |member, from, to| follow(table, hash(member), from, to))
    }

    /// Removes an element that has just been found, from the tree alone.
    fn remove_found(&mut self, key: Key<'_>, at: usize) {
        let Large { tree, table, hash, .. } = self;
        tree.remove_found(key, at, &mut |member, from, to| follow(table, hash(member), from, to));
    }

    /// Removes from the tree alone.
    fn remove_run(&mut self, rank: usize, most: usize, visit: &mut dyn FnMut(&[u8], f64)) -> usize {
        let Large { tree, table, hash, .. } = self;
        tree.remove_run(rank, most, visit, &mut |member, from, to| follow(table, hash(member), from, to))
    }

    /// Removes a member; returns the score that it had.
    pub(super) fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let Found { number, leaf, at } = self.find(member, (self.hash)(member)).ok()?;
        let score = self.tree.leaf(leaf).score(at);
        self.forget(number, leaf, at..at + 1);
        self.remove_found(Key::of(score, member), at);
        Some(score)
    }

    /// Removes the elements of these ranks and shows them, in order.
    pub(super) fn remove_ranks(&mut self, ranks: Range<usize>, visit: &mut dyn FnMut(&[u8], f64)) {
        let mut left = ranks.len();
        while left > 0 {
            let (leaf, from) = self.tree.locate(ranks.start);
            let to = self.tree.leaf(leaf).len().min(from.saturating_add(left));
            for at in from..to {
                let number = self.number_in(self.tree.leaf(leaf).member(at), leaf);
                self.forget(number, leaf, from..at + 1);
            }
            left -= self.remove_run(ranks.start, to - from, visit);
        }
    }

    /// A number of the leaf in which `member` is, among those under which it is searched.
    fn number_in(&self, member: &[u8], leaf: LeafId) -> u64 {
        let mut number = (self.hash)(member);
        if !self.has_displaced {
            return number;
        }
        while self.table.get(&number.to_le_bytes()).is_some_and(|entry| entry.leaf != leaf) {
            number = number.wrapping_add(1);
        }
        number
    }

    /// Takes a number out of the table; `gone` are the elements of `leaf` that have none any more.
    fn forget(&mut self, number: u64, leaf: LeafId, gone: Range<usize>) {
        self.table.remove(&number.to_le_bytes());
        if self.has_displaced && self.table.get(&number.wrapping_add(1).to_le_bytes()).is_some() {
            self.close_gap(number, leaf, gone);
        }
    }

    /// Enters the members of the numbers around `gap` anew: some may have been entered behind it only because it was
    /// taken.
    #[cold]
    fn close_gap(&mut self, gap: u64, leaf: LeafId, gone: Range<usize>) {
        let mut leaves = Vec::new();
        let (mut first, mut last) = (gap, gap);
        while let Some(entry) = self.table.remove(&last.wrapping_add(1).to_le_bytes()) {
            last = last.wrapping_add(1);
            leaves.push(entry.leaf);
        }
        while let Some(entry) = self.table.remove(&first.wrapping_sub(1).to_le_bytes()) {
            first = first.wrapping_sub(1);
            leaves.push(entry.leaf);
        }
        leaves.sort_unstable();
        leaves.dedup();
        for id in leaves {
            for (at, (member, _)) in self.tree.leaf(id).iter().enumerate() {
                if id == leaf && gone.contains(&at) {
                    continue;
                }
                let mut number = (self.hash)(member);
                if number.wrapping_sub(first) > last.wrapping_sub(first) {
                    continue;
                }
                while self.table.get(&number.to_le_bytes()).is_some() {
                    number = number.wrapping_add(1);
                }
                self.table.insert(Entry { number: number.to_le_bytes(), leaf: id });
            }
        }
    }

    /// Walks the members in the order of the table from `from` on until the stride is over; returns where to go on. What is there
    /// during the whole walk is shown, hardly ever twice.
    pub(super) fn scan(
        &self,
        from: u64,
        stride: &mut Stride<'_>,
        mut visit: impl FnMut(&mut Stride<'_>, &[u8], f64),
    ) -> Option<u64> {
        self.table.scan(from, stride, |stride, entry| {
            let mut visit = |member: &[u8], score| {
                stride.count(member.len());
                visit(stride, member, score);
            };
            let number = u64::from_le_bytes(entry.number);
            let leaf = self.tree.leaf(entry.leaf);
            let mut found = false;
            for (member, score) in leaf.iter().filter(|(member, _)| (self.hash)(member) == number) {
                visit(member, score);
                found = true;
            }
            if !found {
                // Entered further on than its hash: if it is not clear which, all that it can be.
                let near = |member: &[u8]| number.wrapping_sub((self.hash)(member)) < self.table.len() as u64;
                leaf.iter()
                    .filter(|(member, _)| near(member))
                    .for_each(|(member, score)| visit(member, score));
            }
        })
    }

    /// Panics if an invariant doesn't hold.
    pub(super) fn check(&self) {
        self.tree.check();
        self.table.check();
        assert_eq!(self.table.len(), self.tree.len());
        self.tree.visit(0..self.tree.len(), &mut |member, score| {
            assert_eq!(self.score(member).map(f64::to_bits), Some(score.to_bits()));
            true
        });
    }
}

/// Notes that the member of a number is in this leaf.
#[inline]
fn enter(table: &mut Compact<Entry>, number: u64, leaf: LeafId) {
    table.update(&number.to_le_bytes(), |entry| entry.leaf = leaf);
}

/// Notes that a member with this hash has come from one leaf into another.
fn follow(table: &mut Compact<Entry>, hash: u64, from: LeafId, to: LeafId) {
    let mut number = hash;
    loop {
        let moved = table.update(&number.to_le_bytes(), |entry| {
            let is_it = entry.leaf == from;
            if is_it {
                entry.leaf = to;
            }
            is_it
        });
        match moved {
            Some(false) => number = number.wrapping_add(1),
            Some(true) | None => return,
        }
    }
}
