//! What the look-up of a member reads, and what its change reads if it is given a score: see `ahead.rs` of the crate.

use super::super::leaf::Leaf;
use super::super::tree::{Descent, Tree};
use super::{Dense, Entry, Large, Probe};
use crate::ahead::{Extent, extent};

/// See the module.
#[derive(Debug)]
pub(crate) struct Ahead<'a> {
    tree: &'a Tree,
    member: Member<'a>,
    /// To where it goes with its score.
    descent: Option<Descent<'a>>,
}

/// The way to a member. Each says what has been named and can be read now.
#[derive(Debug)]
enum Member<'a> {
    Table(Probe<'a, Dense<Entry>>, u8),
    Leaf(&'a Leaf, u8),
    Place(&'a Leaf, usize),
    Found,
}

impl Large {
    /// The look-up of a member, which is perhaps to be given a score.
    pub(crate) fn look_up(&self, member: &[u8], score: Option<f64>) -> Ahead<'_> {
        let hash = (self.hash)(member);
        Ahead {
            tree: &self.tree,
            member: Member::Table(self.table.probe(hash), hash as u8),
            descent: score.map(|score| self.tree.begin_descent(score)),
        }
    }

    /// The look-up of the member of a rank, if there is one. It is read for that: those at the ends are in the caches.
    pub(crate) fn look_up_at(&self, rank: usize) -> Option<Ahead<'_>> {
        let (leaf, at) = (rank < self.len()).then(|| self.tree.locate(rank))?;
        Some(self.look_up(self.tree.leaf(leaf).member(at), None))
    }
}

impl Ahead<'_> {
    /// See [`Ahead::step`](crate::Ahead::step).
    pub(crate) fn step(&mut self, fetch: &mut impl FnMut(Extent)) -> bool {
        let descends = self.descent.as_mut().is_some_and(|descent| descent.step(self.tree, fetch));
        if !descends {
            self.descent = None;
        }
        self.step_to_member(fetch) || descends
    }

    fn step_to_member(&mut self, fetch: &mut impl FnMut(Extent)) -> bool {
        let next = match &mut self.member {
            Member::Table(probe, tag) => {
                if probe.step(fetch) {
                    return true;
                }
                let entry = probe.found().and_then(|(segment, at)| segment.at(at));
                entry.map(|entry| {
                    let leaf = self.tree.leaf(entry.leaf);
                    fetch(leaf.head());
                    Member::Leaf(leaf, *tag)
                })
            }
            Member::Leaf(leaf, tag) => leaf.guess(*tag).map(|at| {
                leaf.visit_place(at, fetch);
                Member::Place(leaf, at)
            }),
            Member::Place(leaf, at) => {
                fetch(extent(leaf.member(*at)));
                Some(Member::Found)
            }
            Member::Found => None,
        };
        let goes_on = next.is_some();
        self.member = next.unwrap_or(Member::Found);
        goes_on
    }
}
