//! Strides: how much of a walk over names is done at a time.
//!
//! A walk over very many names is one of steps, between which others are served, and a step has a number of names. That alone bounds no
//! time: a key has up to 2 MiB, an element of a collection far more, and a pattern may take a thousand steps for a name. So
//! a stride has bytes as well. It counts those of the names that it comes past, as they are mostly copied, and what
//! it took to match them.

use sterna_pubsub::glob;

/// Bytes that are copied, some of them twice, in the time of a step of [`glob`].
const STEP_BYTES: usize = 8;

/// What is left of a step of a walk.
#[derive(Debug)]
pub struct Stride<'p> {
    names: usize,
    bytes: usize,
    /// `None`: all names match.
    pattern: Option<&'p [u8]>,
}

impl<'p> Stride<'p> {
    /// So many names, or as many as take as long as so many bytes are copied; at least one. A pattern says which are asked for.
    pub fn new(names: usize, bytes: usize, pattern: Option<&'p [u8]>) -> Stride<'p> {
        Stride { names, bytes, pattern }
    }

    /// As [`Stride::new`], of keys or elements: the empty name matches no pattern but the empty one, and yet `*` means every key.
    pub fn of_keys(names: usize, bytes: usize, pattern: Option<&'p [u8]>) -> Stride<'p> {
        Stride::new(names, bytes, pattern.filter(|&pattern| pattern != b"*"))
    }

    /// Without an end.
    pub fn unbounded() -> Stride<'static> {
        Stride::new(usize::MAX, usize::MAX, None)
    }

    /// Whether a name is asked for.
    pub fn wants(&mut self, name: &[u8]) -> bool {
        let Some(pattern) = self.pattern else { return true };
        let (is_wanted, steps) = glob::match_counted(pattern, name);
        self.count(steps.saturating_mul(STEP_BYTES));
        is_wanted
    }

    /// Counts bytes that are looked at, or copied.
    #[inline]
    pub fn count(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Counts a name, and its bytes.
    #[inline]
    pub fn pass(&mut self, bytes: usize) {
        self.names = self.names.saturating_sub(1);
        self.count(bytes);
    }

    /// Whether no other name is to be looked at.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.names == 0 || self.bytes == 0
    }

    /// Shows what a segment has, with the position of each and `bytes` of names in all. Returns the position from which the walk goes
    /// on if it is over before the last of them.
    pub(crate) fn show<T: Copy>(
        &mut self,
        found: &mut [(u64, T)],
        bytes: usize,
        bytes_of: impl Fn(T) -> usize,
        visit: &mut impl FnMut(&mut Stride<'p>, T),
    ) -> Option<u64> {
        // Where it can't end here, order is of no use.
        let may_end = !self.has_room(found.len(), bytes);
        if may_end {
            found.sort_unstable_by_key(|&(at, _)| at);
        }
        let mut last = u64::MAX;
        for &(at, item) in &*found {
            // What shares the last position goes along: a cursor can't point between them.
            if may_end && self.is_over() && last < at {
                return Some(last + 1);
            }
            self.pass(bytes_of(item));
            visit(self, item);
            last = at;
        }
        None
    }

    /// The most that names of so many bytes together take, in bytes.
    #[inline]
    pub fn bound(&self, names: usize, bytes: usize) -> usize {
        let steps = self.pattern.map_or(0, |pattern| glob::steps_max(pattern, names, bytes));
        bytes.saturating_add(steps.saturating_mul(STEP_BYTES))
    }

    /// Whether so many names of so many bytes together are certain to be done in it.
    #[inline]
    pub fn has_room(&self, names: usize, bytes: usize) -> bool {
        names <= self.names && self.bound(names, bytes) <= self.bytes
    }
}
