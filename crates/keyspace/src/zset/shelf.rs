//! Parts of a large value, named by number: a clone shares them all, and a part is copied when it is written.
//!
//! ```text
//! shelf   [ page 0 ][ page 1 ] …          a page has room for 128 parts, each behind its own count of owners
//! ```
//!
//! A number stays true until its part is taken away, and is given out again then. A clone costs a word a page; the first
//! write to a page after that copies its 128 words, and the part.

use crate::shared::{Shared, own};

const PAGE: usize = 128;

type Page<T> = [Option<Shared<T>>; PAGE];

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Shelf<T> {
    pages: Vec<Shared<Page<T>>>,
    /// Numbers that were given out and are free again.
    free: Vec<u32>,
    /// The lowest number that was never given out.
    next: u32,
}

impl<T> Default for Shelf<T> {
    fn default() -> Shelf<T> {
        Shelf { pages: Vec::new(), free: Vec::new(), next: 0 }
    }
}

impl<T: Clone> Shelf<T> {
    /// Bytes on the heap beside those of the parts themselves.
    pub(crate) fn heap_bytes(&self) -> usize {
        let parts = self.next as usize - self.free.len();
        self.pages.len() * (size_of::<Page<T>>() + size_of::<usize>() + size_of::<usize>())
            + parts * (size_of::<T>() + size_of::<usize>())
            + self.free.capacity() * size_of::<u32>()
    }

    /// Puts a part on the shelf and returns its number.
    pub(crate) fn add(&mut self, part: T) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        if number as usize / PAGE == self.pages.len() {
            self.pages.push(Shared::new(std::array::from_fn(|_| None)));
        }
        *self.place(number) = Some(Shared::new(part));
        number
    }

    /// Takes a part away.
    pub(crate) fn remove(&mut self, number: u32) {
        *self.place(number) = None;
        self.free.push(number);
    }

    /// The part with this number, which is there.
    #[inline]
    pub(crate) fn at(&self, number: u32) -> &T {
        let part = &self.pages[number as usize / PAGE][number as usize % PAGE];
        part.as_ref().expect("its owner keeps the numbers of parts that are there")
    }

    /// The part with this number, which is there, to change it.
    #[inline]
    pub(crate) fn at_mut(&mut self, number: u32) -> &mut T {
        own(self.place(number).as_mut().expect("its owner keeps the numbers of parts that are there"))
    }

    #[inline]
    fn place(&mut self, number: u32) -> &mut Option<Shared<T>> {
        &mut own(&mut self.pages[number as usize / PAGE])[number as usize % PAGE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_keeps_what_it_was_and_numbers_are_given_out_again() {
        let mut shelf = Shelf::default();
        let numbers: Vec<u32> = (0..3 * PAGE as u32).map(|part| shelf.add(part)).collect();
        let clone = shelf.clone();
        for &number in &numbers {
            *shelf.at_mut(number) += 1;
        }
        shelf.remove(numbers[7]);
        assert_eq!(shelf.add(1000), numbers[7]);
        assert_eq!(*shelf.at(numbers[7]), 1000);
        for (part, &number) in (0u32..).zip(&numbers) {
            assert_eq!(*clone.at(number), part);
            assert!(number == numbers[7] || *shelf.at(number) == part + 1);
        }
    }
}
