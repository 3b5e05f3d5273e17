//! The members of a set by whether others have them, a segment at a time.
//!
//! All tables order their elements alike (`compact/`): what a segment of one has, another has mostly in one segment, too, and there
//! in a few places (`index/common.rs`). So two segments are compared without a hash of the names; where a segment stands beside a whole
//! table, or a set is packed, names are hashed and looked up.

use super::{At, Form, Member, SetRef};
use crate::compact::{NameTable, Names, hash_of};
use crate::index::Places;

/// Which members of a set are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Among {
    /// Those that all of the others have.
    All,
    /// Those that none of the others has.
    None,
}

/// Segments of a table with which one segment is compared at most: more take longer than to hash its names.
const SEGMENTS_MAX: usize = 4;

impl<'a> SetRef<'a> {
    /// Shows some members, all of a small set, by whether `others` have them, until `visit` returns false, and moves `at` on;
    /// false: those were the last, or as many as were wanted. For sets that do not change meanwhile.
    pub(crate) fn visit_part_among(
        self,
        at: &mut At,
        among: Among,
        others: &[SetRef<'_>],
        mut visit: impl FnMut(Member<'a>) -> bool,
    ) -> bool {
        let Form::Large(table) = self.0 else {
            let some_are_large = others.iter().any(|other| other.is_large());
            self.visit(|member| {
                let is_wanted = match member {
                    Member::Text(name) if some_are_large => {
                        let hash = hash_of(name);
                        among.wants(others, |other| other.contains_hashed(hash, name))
                    }
                    _ => among.wants(others, |other| other.contains_member(member)),
                };
                !is_wanted || visit(member)
            });
            return false;
        };
        let place = at.0;
        let Some(segment) = table.segment_at(&mut at.0) else { return false };
        let mut wanted = segment.all();
        for other in others {
            among.keep(&mut wanted, segment, *other, other.segments_like(table, place));
        }
        segment.visit(&wanted, |name| visit(Member::Text(name)))
    }

    /// The segments that have all that is here of what a table's segment may have, where they are few.
    fn segments_like(self, table: &NameTable, place: usize) -> Option<Vec<&'a Names>> {
        self.large()?.segments_like(table, place, SEGMENTS_MAX)
    }
}

impl Among {
    /// Keeps those places of a segment whose names are wanted as far as another set goes, all of whose names in question are in
    /// `segments`.
    fn keep(self, places: &mut Places, segment: &Names, other: SetRef<'_>, segments: Option<Vec<&Names>>) {
        let Some(segments) = segments else {
            let has = self == Among::All;
            return segment.retain(places, |hash, name| other.contains_hashed(hash, name) == has);
        };
        let mut left = places.clone();
        for theirs in segments {
            left.remove(&segment.common(theirs, &left));
        }
        match self {
            Among::All => places.remove(&left),
            Among::None => *places = left,
        }
    }

    #[inline]
    fn wants<T>(self, others: &[T], has: impl Fn(&T) -> bool) -> bool {
        match self {
            Among::All => others.iter().all(has),
            Among::None => !others.iter().any(has),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::collection::{Elements, Limits};
    use crate::set::Set;

    /// Every ninth is too long to stand among the others.
    fn name(number: u32) -> Vec<u8> {
        let width = if number.is_multiple_of(9) { 140 } else { 1 + number as usize % 20 };
        format!("{number:0width$}").into_bytes()
    }

    /// A set of the names of some ranges of numbers, those of another range removed again, and these names.
    fn set() -> impl Strategy<Value = (Set, BTreeSet<Vec<u8>>)> {
        let most = prop_oneof![Just(30u32), Just(700), Just(5_000)];
        let range = move |most: u32| (0..most, 1..=most).prop_map(|(from, count)| from..from + count);
        let ranges =
            most.prop_flat_map(move |most| (proptest::collection::vec(range(most), 1..4), range(most)));
        ranges.prop_map(|(added, removed)| {
            let (mut set, mut names) = (Set::default(), BTreeSet::new());
            for name in added.into_iter().flatten().map(name) {
                set.insert(&name, &Limits::DEFAULT);
                names.insert(name);
            }
            for name in removed.map(name) {
                set.remove(&name);
                names.remove(&name);
            }
            (set, names)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn members_are_those_that_all_or_none_of_the_others_have(
            sets in proptest::collection::vec(set(), 1..5),
            twice in any::<bool>(),
        ) {
            let (first, others) = sets.split_first().unwrap();
            let mut others: Vec<_> = others.iter().collect();
            if twice {
                others.push(others.first().copied().unwrap_or(first));
            }
            let views: Vec<SetRef<'_>> = others.iter().map(|(set, _)| set.view()).collect();
            for among in [Among::All, Among::None] {
                let mut found = BTreeSet::new();
                let mut at = At::default();
                while first.0.view().visit_part_among(&mut at, among, &views, |member| {
                    assert!(found.insert(member.to_bytes()), "twice");
                    true
                }) {}
                let is_wanted = |name: &&Vec<u8>| match among {
                    Among::All => others.iter().all(|(_, names)| names.contains(*name)),
                    Among::None => !others.iter().any(|(_, names)| names.contains(*name)),
                };
                let wanted: BTreeSet<Vec<u8>> = first.1.iter().filter(is_wanted).cloned().collect();
                prop_assert_eq!(&found, &wanted);
            }
        }
    }
}
