//! The way to the leaf into which a score would come, in steps: see `ahead.rs` of the crate.

use super::super::leaf::{Edge, Key, Leaf};
use super::{Inner, Tree};
use crate::ahead::{Extent, extent};

/// What has been named and can be read now.
#[derive(Debug)]
pub(in super::super) struct Descent<'a> {
    score: f64,
    at: At<'a>,
}

#[derive(Debug)]
enum At<'a> {
    /// An inner node, and so many levels above the leaves.
    Inner(&'a Inner, u32),
    Leaf(&'a Leaf),
    Place(&'a Leaf, usize),
}

impl Tree {
    /// The way to a score. The nodes above the lowest are few: they are read at once.
    pub(in super::super) fn begin_descent(&self, score: f64) -> Descent<'_> {
        Descent { score, at: self.node(self.root, self.height) }
    }

    fn node(&self, number: u32, height: u32) -> At<'_> {
        match height {
            0 => At::Leaf(self.leaves.at(number)),
            _ => At::Inner(self.inners.at(number), height),
        }
    }
}

impl<'a> Descent<'a> {
    /// See [`Ahead::step`](crate::Ahead::step).
    pub(in super::super) fn step(&mut self, tree: &'a Tree, fetch: &mut impl FnMut(Extent)) -> bool {
        let key = Key { score: self.score, edge: Edge::Least };
        loop {
            match self.at {
                At::Inner(inner, height) => {
                    let child = inner.child_for(key);
                    fetch(extent(&inner.counts[child]));
                    self.at = tree.node(inner.children[child], height - 1);
                    match self.at {
                        At::Inner(inner, 1) => {
                            fetch(extent(&inner.len));
                            fetch(extent(&inner.scores));
                            fetch(extent(&inner.children));
                        }
                        At::Leaf(leaf) => {
                            fetch(leaf.head());
                            fetch(leaf.all_scores());
                        }
                        // Few, and read all the time.
                        _ => continue,
                    }
                    return true;
                }
                At::Leaf(leaf) => {
                    let at = leaf.rank_of(key);
                    fetch(leaf.ends_from(at));
                    self.at = At::Place(leaf, at);
                    return true;
                }
                At::Place(leaf, at) => {
                    fetch(leaf.bytes_from(at));
                    return false;
                }
            }
        }
    }
}
