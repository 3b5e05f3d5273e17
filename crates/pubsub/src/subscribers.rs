//! The subscribers of one name: a set that is read as a slice.
//!
//! ```text
//!   0 or 1     in place                   most channels: no heap at all
//!   to 32      [7 12 90 …]                a look along the slice answers "is it in?"
//!   above      [7 12 90 …] + positions    a table finds a member's place
//! ```
//!
//! Members lie side by side, because sending to all of them is what a set is for. A removal moves the last member
//! into the gap, so the order is no one's promise.
//!
//! Invariants: no member twice; `Few` has 2 to `FEW_MAX` members; in `Many`, `positions` holds each index of
//! `members` exactly once, under its member's hash.
//!
//! Cost: insert and remove amortised O(1), also with 100 000 members.

use std::hash::Hash;

use hashbrown::HashTable;

use crate::name::hash_key;

/// Up to here looking along the members is no slower than hashing, and needs no table.
const FEW_MAX: usize = 32;
/// Back only well below, so that churn around the border doesn't build the table anew each time.
const FEW_AGAIN: usize = 16;

/// A set of subscribers, contiguous, without duplicates.
#[derive(Clone, Debug)]
pub struct SubscriberSet<S>(Members<S>);

#[derive(Clone, Debug)]
enum Members<S> {
    None,
    One(S),
    Few(Vec<S>),
    Many(Box<Many<S>>),
}

#[derive(Clone, Debug)]
struct Many<S> {
    members: Vec<S>,
    positions: HashTable<u32>,
}

impl<S> Default for SubscriberSet<S> {
    fn default() -> Self {
        SubscriberSet(Members::None)
    }
}

impl<S: Copy + Eq + Hash> SubscriberSet<S> {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many subscribers there are.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        matches!(self.0, Members::None)
    }

    /// All of them, in no particular order.
    #[inline]
    pub fn as_slice(&self) -> &[S] {
        match &self.0 {
            Members::None => &[],
            Members::One(member) => std::slice::from_ref(member),
            Members::Few(members) => members,
            Members::Many(many) => &many.members,
        }
    }

    /// Whether `subscriber` is one of them.
    pub fn contains(&self, subscriber: S) -> bool {
        match &self.0 {
            Members::Many(many) => many.position(subscriber).is_some(),
            _ => self.as_slice().contains(&subscriber),
        }
    }

    /// Adds `subscriber`; `false` if it was there.
    pub fn insert(&mut self, subscriber: S) -> bool {
        if let Members::Many(many) = &mut self.0 {
            return many.insert(subscriber);
        }
        if self.as_slice().contains(&subscriber) {
            return false;
        }
        match &mut self.0 {
            Members::None => self.0 = Members::One(subscriber),
            Members::One(first) => self.0 = Members::Few(vec![*first, subscriber]),
            Members::Few(members) if members.len() < FEW_MAX => members.push(subscriber),
            Members::Few(members) => {
                let mut many = Many::of(std::mem::take(members));
                many.insert(subscriber);
                self.0 = Members::Many(Box::new(many));
            }
            Members::Many(_) => {}
        }
        true
    }

    /// Takes `subscriber` out; `false` if it wasn't there.
    pub fn remove(&mut self, subscriber: S) -> bool {
        match &mut self.0 {
            Members::None => false,
            Members::One(only) => {
                let found = *only == subscriber;
                if found {
                    self.0 = Members::None;
                }
                found
            }
            Members::Few(members) => {
                let Some(at) = members.iter().position(|member| *member == subscriber) else { return false };
                members.swap_remove(at);
                if let [last] = members[..] {
                    self.0 = Members::One(last);
                } else if members.len() < members.capacity() / 4 {
                    members.shrink_to(members.len() * 2);
                }
                true
            }
            Members::Many(many) => {
                let found = many.remove(subscriber);
                if many.members.len() <= FEW_AGAIN {
                    let mut members = std::mem::take(&mut many.members);
                    members.shrink_to_fit();
                    self.0 = Members::Few(members);
                }
                found
            }
        }
    }

    /// Heap memory. Cost: O(1).
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Members::None | Members::One(_) => 0,
            Members::Few(members) => members.capacity() * size_of::<S>(),
            Members::Many(many) => {
                size_of::<Many<S>>()
                    + many.members.capacity() * size_of::<S>()
                    + many.positions.allocation_size()
            }
        }
    }

    /// Panics if an invariant of the module's head doesn't hold.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        match &self.0 {
            Members::None | Members::One(_) => {}
            Members::Few(members) => {
                assert!((2..=FEW_MAX).contains(&members.len()));
                for (at, member) in members.iter().enumerate() {
                    assert!(!members[..at].contains(member), "no member twice");
                }
            }
            Members::Many(many) => {
                assert!(many.members.len() > FEW_AGAIN);
                assert_eq!(many.positions.len(), many.members.len());
                for (at, member) in many.members.iter().enumerate() {
                    assert_eq!(
                        many.position(*member),
                        Some(at),
                        "each is found where it is, so none is twice"
                    );
                }
            }
        }
    }
}

impl<S: Copy + Eq + Hash> Many<S> {
    fn of(members: Vec<S>) -> Self {
        let mut many = Many { positions: HashTable::with_capacity(members.len() * 2), members };
        for at in 0..many.members.len() {
            many.note(at);
        }
        many
    }

    fn position(&self, subscriber: S) -> Option<usize> {
        let members = &self.members;
        self.positions
            .find(hash_key(&subscriber), |at| members[*at as usize] == subscriber)
            .map(|at| *at as usize)
    }

    fn insert(&mut self, subscriber: S) -> bool {
        if self.position(subscriber).is_some() {
            return false;
        }
        self.members.push(subscriber);
        self.note(self.members.len() - 1);
        true
    }

    /// Writes down where the member at `at` is.
    fn note(&mut self, at: usize) {
        let members = &self.members;
        let position = u32::try_from(at).expect("subscribers are connections, fewer than 2³²");
        self.positions.insert_unique(hash_key(&members[at]), position, |at| hash_key(&members[*at as usize]));
    }

    fn remove(&mut self, subscriber: S) -> bool {
        let members = &self.members;
        let found =
            self.positions.find_entry(hash_key(&subscriber), |at| members[*at as usize] == subscriber);
        let Ok(found) = found else { return false };
        let (gap, _) = found.remove();
        let last = members.len() - 1;
        if let Some(moved) = self.positions.find_mut(hash_key(&members[last]), |at| *at as usize == last) {
            *moved = gap;
        }
        self.members.swap_remove(gap as usize);
        self.shrink();
        true
    }

    fn shrink(&mut self) {
        let len = self.members.len();
        if len < self.members.capacity() / 4 {
            self.members.shrink_to(len * 2);
            let members = &self.members;
            self.positions.shrink_to(len * 2, |at| hash_key(&members[*at as usize]));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_subscriber_needs_no_heap() {
        let mut set = SubscriberSet::new();
        assert!(set.insert(7u32));
        assert_eq!((set.as_slice(), set.heap_bytes()), (&[7][..], 0));
        assert!(size_of::<SubscriberSet<u32>>() <= 24);
    }

    #[test]
    fn a_hundred_thousand_come_and_go_and_leave_nothing() {
        let mut set = SubscriberSet::new();
        for subscriber in 0..100_000u32 {
            assert!(set.insert(subscriber));
        }
        assert!(!set.insert(77));
        set.check();
        // Every second first, then the rest: gaps are filled from behind all along.
        for subscriber in (0..100_000).step_by(2).chain((1..100_000).step_by(2)) {
            assert!(set.remove(subscriber) && !set.contains(subscriber));
        }
        assert!(set.is_empty());
        assert_eq!(set.heap_bytes(), 0);
    }

    proptest! {
        #[test]
        fn it_is_a_set(steps in prop::collection::vec((any::<bool>(), 0u32..60), 0..300)) {
            let (mut set, mut model) = (SubscriberSet::new(), BTreeSet::new());
            for (add, subscriber) in steps {
                if add {
                    prop_assert_eq!(set.insert(subscriber), model.insert(subscriber));
                } else {
                    prop_assert_eq!(set.remove(subscriber), model.remove(&subscriber));
                }
                set.check();
                prop_assert_eq!(set.len(), model.len());
                prop_assert_eq!(set.as_slice().iter().copied().collect::<BTreeSet<_>>(), model.clone());
                prop_assert_eq!(set.contains(subscriber), model.contains(&subscriber));
            }
        }
    }
}
