//! The look-up of an element, as far as its table goes: see `ahead.rs`.

use super::{Segment, Segments};
use crate::ahead::{Extent, extent};

/// See the module.
#[derive(Debug)]
pub(crate) struct Probe<'a, S> {
    segment: &'a S,
    hash: u64,
    next: Next,
}

/// What the next step names.
#[derive(Debug)]
enum Next {
    Segment,
    Group,
    Element,
    Nothing,
}

impl<S: Segment> Segments<S> {
    /// The look-up of an element of this hash.
    #[inline]
    pub(crate) fn probe(&self, hash: u64) -> Probe<'_, S> {
        Probe { segment: self.segment(hash), hash, next: Next::Segment }
    }
}

impl<'a, S: Segment> Probe<'a, S> {
    /// See [`Ahead::step`](crate::Ahead::step).
    #[inline]
    pub(crate) fn step(&mut self, fetch: &mut impl FnMut(Extent)) -> bool {
        let (extent, next) = match self.next {
            Next::Segment => (Some(extent(self.segment)), Next::Group),
            Next::Group => (self.segment.index().group(self.hash).map(extent), Next::Element),
            Next::Element => (self.guess().map(|at| self.segment.extent_at(at)), Next::Nothing),
            Next::Nothing => return false,
        };
        // Without one there is no such element.
        let Some(extent) = extent else { return false };
        fetch(extent);
        self.next = next;
        true
    }

    /// Where in the segment the element is, mostly. The index is read for it.
    #[inline]
    fn guess(&self) -> Option<u16> {
        self.segment.index().guess(self.hash)
    }

    /// The segment, and where in it the element is, mostly.
    #[inline]
    pub(crate) fn found(&self) -> Option<(&'a S, u16)> {
        Some((self.segment, self.guess()?))
    }
}
