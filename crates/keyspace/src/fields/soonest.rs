//! When the fields of a segment expire, as far as it is known without looking at them: the soonest moments, and how many fields
//! expire at each.
//!
//! ```text
//! moments   (100, 3 fields) (105, 1) (200, 7)        and beyond 200: so many fields, at moments that are not known
//! ```
//!
//! The soonest moment alone would have to be looked for among all fields whenever it goes, and fields often go in the order of
//! their expiries, or all at one.
//!
//! Invariants
//! - `moments` is in order, none is of no field, and no field expires at or before the last one but those that are counted.
//! - It is empty only if nothing expires.
//!
//! Cost: a change O(log moments), and O(fields) once in [`MOMENTS`] of them at most.

use crate::value::NEVER;

/// Moments that are known: a look at all fields, of which there are some hundred, is then a few fields' worth a change.
const MOMENTS: usize = 16;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Soonest {
    moments: Vec<(u64, u32)>,
    /// Fields that expire after the last of those.
    beyond: u32,
}

impl Soonest {
    /// The soonest moment, or [`NEVER`].
    #[inline]
    pub(super) fn ms(&self) -> u64 {
        self.moments.first().map_or(NEVER, |&(at_ms, _)| at_ms)
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.moments.capacity() * size_of::<(u64, u32)>()
    }

    /// A field expires at `at_ms`, which may be [`NEVER`].
    #[inline]
    pub(super) fn add(&mut self, at_ms: u64) {
        if at_ms != NEVER {
            self.count(at_ms);
        }
    }

    fn count(&mut self, at_ms: u64) {
        match self.moments.binary_search_by_key(&at_ms, |&(known_ms, _)| known_ms) {
            Ok(at) => self.moments[at].1 += 1,
            Err(at) if at == self.moments.len() && (self.beyond > 0 || at == MOMENTS) => self.beyond += 1,
            Err(at) => {
                self.moments.insert(at, (at_ms, 1));
                if self.moments.len() > MOMENTS {
                    self.beyond += self.moments.pop().map_or(0, |(_, fields)| fields);
                }
            }
        }
    }

    /// A field that expired at `old_ms` expires at `new_ms`; each may be [`NEVER`]. `all`: when every field expires by now.
    #[inline]
    pub(super) fn change<I: Iterator<Item = u64>>(
        &mut self,
        old_ms: u64,
        new_ms: u64,
        all: impl FnOnce() -> I,
    ) {
        if old_ms == new_ms {
            return;
        }
        if old_ms != NEVER {
            self.uncount(old_ms);
            if self.moments.is_empty() && self.beyond > 0 {
                return self.find(all());
            }
        }
        self.add(new_ms);
    }

    fn uncount(&mut self, at_ms: u64) {
        match self.moments.binary_search_by_key(&at_ms, |&(known_ms, _)| known_ms) {
            Ok(at) if self.moments[at].1 > 1 => self.moments[at].1 -= 1,
            Ok(_) if self.moments.len() == 1 => self.moments = Vec::new(),
            Ok(at) => drop(self.moments.remove(at)),
            Err(_) => self.beyond -= 1,
        }
    }

    /// Looks at all fields.
    fn find(&mut self, all: impl Iterator<Item = u64>) {
        let mut all: Vec<u64> = all.filter(|&at_ms| at_ms != NEVER).collect();
        all.sort_unstable();
        *self = Soonest::default();
        for group in all.chunk_by(|one, next| one == next) {
            let fields = group.len() as u32;
            match self.moments.len() {
                MOMENTS => self.beyond += fields,
                _ => self.moments.push((group[0], fields)),
            }
        }
    }

    /// Panics unless what the module says holds.
    pub(super) fn check(&self, all: impl Iterator<Item = u64>) {
        let mut all: Vec<u64> = all.filter(|&at_ms| at_ms != NEVER).collect();
        all.sort_unstable();
        let known = all.chunk_by(|one, next| one == next).map(|group| (group[0], group.len() as u32));
        let known: Vec<(u64, u32)> = known.take(self.moments.len()).collect();
        assert_eq!(known, self.moments);
        let counted: u32 = known.iter().map(|&(_, fields)| fields).sum();
        assert_eq!(counted + self.beyond, all.len() as u32);
        assert!(!self.moments.is_empty() || all.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_soonest_moment_is_known_whatever_changes(
            changes in prop::collection::vec((0_usize..40, prop_oneof![1_u64..60, Just(NEVER)]), 1..400),
        ) {
            let (mut soonest, mut fields) = (Soonest::default(), [NEVER; 40]);
            for (field, at_ms) in changes {
                let old_ms = std::mem::replace(&mut fields[field], at_ms);
                match old_ms {
                    NEVER => soonest.add(at_ms),
                    _ => soonest.change(old_ms, at_ms, || fields.iter().copied()),
                }
                soonest.check(fields.iter().copied());
                prop_assert_eq!(soonest.ms(), fields.into_iter().min().expect("some"));
            }
        }
    }

    #[test]
    fn fields_that_go_in_the_order_of_their_expiries_are_seldom_looked_at() {
        const FIELDS: u64 = 448;
        for same in [true, false] {
            let mut soonest = Soonest::default();
            let moment = |field: u64| if same { 7 } else { field };
            (1..=FIELDS).for_each(|field| soonest.add(moment(field)));
            let looks = Cell::new(0);
            for field in 1..=FIELDS {
                soonest.change(moment(field), NEVER, || {
                    looks.set(looks.get() + 1);
                    (field + 1..=FIELDS).map(moment)
                });
            }
            assert_eq!(soonest.ms(), NEVER);
            assert!(looks.get() <= FIELDS as usize / MOMENTS, "{} looks", looks.get());
        }
    }
}
