//! What two indexes of names have in common, found without a hash of the names.
//!
//! ```text
//! one     group 3 │ tags  a b c             the elements have their homes here, or in the full groups right before this one
//!                   │ │ │
//! other   group 5 │ b x y │ group 6 │ a …   where elements of the same homes are: these groups, and on to one that has an empty place
//! ```
//!
//! The lowest bits of a hash say which share of the groups an element belongs to, however many there are. So what an element of
//! one index can be in the other stands in a few groups there, of which its tag leaves one place in sixteen or so: only for that one are
//! names compared.
//!
//! Cost: some nanoseconds an element, where its hash alone takes as long.

use super::*;

/// Some of the places of an index: for each group, the highest bit of each byte.
#[derive(Debug, Clone)]
pub(crate) struct Places(Vec<u64>);

impl Places {
    /// Removes those that are `others`, too.
    pub(crate) fn remove(&mut self, others: &Places) {
        self.0.iter_mut().zip(&others.0).for_each(|(marks, others)| *marks &= !others);
    }
}

impl Index {
    /// The places in which offsets stand.
    pub(crate) fn used(&self) -> Places {
        Places(self.groups.iter().map(|group| group.tags & HIGH).collect())
    }

    /// Keeps those of `places` for which `is_kept` holds; it is given offsets.
    pub(crate) fn retain(&self, places: &mut Places, mut is_kept: impl FnMut(u16) -> bool) {
        for (group, marks) in self.groups.iter().zip(&mut places.0) {
            each_byte(*marks, |place| {
                if !is_kept(group.at[place]) {
                    *marks &= !mark(place);
                }
                true
            });
        }
    }

    /// Shows the offsets in these places to `visit`, until it returns false; whether it never did.
    pub(crate) fn visit(&self, places: &Places, mut visit: impl FnMut(u16) -> bool) -> bool {
        self.groups
            .iter()
            .zip(&places.0)
            .all(|(group, &marks)| each_byte(marks, |place| visit(group.at[place])))
    }

    /// Those of `places` that `other` has an element for that may have the same hash and for which `is_same` holds; it is given an
    /// offset of this index and one of the other.
    pub(crate) fn common(
        &self,
        other: &Index,
        places: &Places,
        is_same: impl Fn(u16, u16) -> bool,
    ) -> Places {
        let mut found = Places(vec![0; self.groups.len()]);
        if other.groups.is_empty() {
            return found;
        }
        let mut displaced = self.full_groups_at_the_end();
        for (nth, group) in self.groups.iter().enumerate() {
            let wanted = places.0[nth];
            if wanted != 0 {
                let (first, homes) = other.homes_like(self, nth, displaced);
                let candidates = other.groups[first..].iter().chain(&other.groups[..first]);
                for (at, theirs) in candidates.enumerate() {
                    found.0[nth] |= group.marks_alike(theirs, wanted & !found.0[nth], &is_same);
                    // As in a look-up: an empty place ends it.
                    if at + 1 >= homes && theirs.has_empty() {
                        break;
                    }
                }
            }
            displaced = if group.has_empty() { 0 } else { displaced + 1 };
        }
        found
    }

    /// The first group, and how many, that are the homes here of what stands in group `nth` of `other`, where the `displaced` groups
    /// before that have no empty place.
    fn homes_like(&self, other: &Index, nth: usize, displaced: usize) -> (usize, usize) {
        let (ours, theirs) = (self.groups.len(), other.groups.len());
        let home = (nth + theirs - displaced.min(theirs - 1)) % theirs;
        let (first, _) = KeyHash::buckets_like(home, theirs, ours);
        let (_, last) = KeyHash::buckets_like(nth, theirs, ours);
        // The first group comes behind the last.
        let homes = if home <= nth { last + 1 - first } else { last + 1 + ours - first };
        (first, homes.min(ours))
    }

    /// How many groups right before the first one, which comes behind the last, have no empty place.
    fn full_groups_at_the_end(&self) -> usize {
        self.groups.iter().rev().take_while(|group| !group.has_empty()).count()
    }
}

impl Group {
    /// Those of the marked places whose tag another group has, and with it an element for which `is_same` holds.
    #[inline]
    fn marks_alike(&self, other: &Group, marks: u64, is_same: &impl Fn(u16, u16) -> bool) -> u64 {
        let mut alike = 0;
        each_byte(marks, |place| {
            let hits = zero_bytes(other.tags ^ (self.tag(place) * LOW));
            let is_other = each_byte(hits, |hit| !is_same(self.at[place], other.at[hit]));
            alike |= if is_other { 0 } else { mark(place) };
            true
        });
        alike
    }
}

/// Passes the number of each byte in which a bit is set to `visit`, until it returns false; whether it never did.
#[inline]
fn each_byte(bits: u64, mut visit: impl FnMut(usize) -> bool) -> bool {
    let mut bits = bits;
    while bits != 0 {
        if !visit(first_byte(bits)) {
            return false;
        }
        bits &= bits - 1;
    }
    true
}

/// The mark of a place.
#[inline]
fn mark(place: usize) -> u64 {
    USED << (8 * place)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// An index of elements, each of which stands at the offset that is its number, and their hashes. Some have been removed again.
    fn churned(random: &mut fastrand::Rng, hashes: &[u64], most: usize) -> (Index, HashMap<u16, u64>) {
        let mut index = Index::with_capacity(most);
        let mut model = HashMap::new();
        for _ in 0..4 * most {
            let at = random.usize(..hashes.len()) as u16;
            let hash = hashes[usize::from(at)];
            if let Some(spot) = index.find(hash, |found| found == at) {
                index.remove(spot);
                model.remove(&at);
            } else if !index.is_full() {
                index.insert(hash, at);
                model.insert(at, hash);
            }
        }
        (index, model)
    }

    #[test]
    fn what_two_indexes_have_in_common_is_found_however_many_groups_they_have_and_however_full_they_are() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut common = 0;
        for round in 0..4_000u32 {
            // Few buckets in every second round: most groups are full then, and probes go on from the last to the first.
            let buckets = if round.is_multiple_of(2) { 1 << 9 } else { 1 << random.u32(0..4) };
            let from = random.u64(..512);
            let hashes: Vec<u64> = (0..random.usize(1..600))
                .map(|_| (random.u64(..8) << 57) | ((from + random.u64(..buckets)) % 512))
                .collect();
            let [ours, theirs] = [(); 2].map(|()| {
                let most = random.usize(1..450);
                churned(&mut random, &hashes, most)
            });
            let mut wanted = ours.0.used();
            ours.0.retain(&mut wanted, |at| !at.is_multiple_of(5));
            let found = ours.0.common(&theirs.0, &wanted, |one, other| one == other);
            let mut offsets = Vec::new();
            assert!(ours.0.visit(&found, |at| {
                offsets.push(at);
                true
            }));
            offsets.sort_unstable();
            let is_common = |at: &u16| !at.is_multiple_of(5) && theirs.1.contains_key(at);
            let mut expected: Vec<u16> = ours.1.keys().copied().filter(is_common).collect();
            expected.sort_unstable();
            assert_eq!(offsets, expected, "round {round}");
            common += expected.len();
        }
        assert!(common > 50_000, "{common}");
    }

    #[test]
    fn an_index_without_elements_has_nothing_in_common_with_another() {
        let (empty, mut one) = (Index::default(), Index::with_capacity(1));
        one.insert(5, 3);
        for (ours, theirs) in [(&empty, &one), (&one, &empty), (&empty, &empty)] {
            let found = ours.common(theirs, &ours.used(), |_, _| true);
            assert!(ours.visit(&found, |_| false));
        }
    }
}
