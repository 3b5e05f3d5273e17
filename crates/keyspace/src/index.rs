//! The index of a segment: by hash, where each of its records begins, or at which place an element stands.
//!
//! ```text
//! groups   [ 8 tags, 1 byte each │ 8 offsets, 2 bytes each ] …       24 bytes, 8 places
//!
//! tag      0: empty   1: removed   0x80 and 7 bits of the hash: the offset of a record stands in the place
//! ```
//!
//! A look-up begins at the group that the hash says and goes on until one has an empty place. The tags of a group are
//! compared at once; the bits in a tag decide nothing else (`hash.rs`), so that hardly a record is read in vain.
//!
//! A record keeps its place when it moves; a place that was removed has an empty one behind it in a probe, sooner or later.
//!
//! Cost: O(1); between 40 % and 87 % of the places are used, so that a record takes some 5 bytes here.
//! Source: groups and tags are those of Google's Swiss tables; comparing bytes in a word is from *Hacker's Delight*.

use crate::compact::mixed;
use crate::hash::KeyHash;
use crate::segment::class_of;

mod common;

pub(crate) use common::Places;

/// Places that are compared at once.
const GROUP: usize = 8;
const EMPTY: u64 = 0;
const REMOVED: u64 = 1;
/// In the tag of a place in which an offset stands.
const USED: u64 = 0x80;

/// The lowest bit of each byte, and the highest.
pub(crate) const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = LOW << 7;

/// The offset of a record that is about to be written elsewhere.
pub(crate) const NOWHERE: u16 = u16::MAX;

/// Offsets by hash.
#[derive(Debug, Clone, Default)]
#[repr(C)]
pub(crate) struct Index {
    groups: Box<[Group]>,
    len: u32,
    /// Places that are [`REMOVED`].
    removed: u32,
}

/// Places that are looked at together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Group {
    /// A byte for each place.
    tags: u64,
    at: [u16; GROUP],
}

/// Where a record is, until one is added to its segment, removed or moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot {
    /// In the index.
    place: u16,
    /// Offset of its first byte.
    pub(crate) at: u16,
}

impl Index {
    /// An empty one for so many records.
    pub(crate) fn with_capacity(records: usize) -> Index {
        Index { groups: vec![Group::default(); groups_for(records)].into(), len: 0, removed: 0 }
    }

    /// How many records.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether it must be made anew before another record has room.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        (self.len + self.removed + 1) as usize * 8 > self.groups.len() * GROUP * 7
    }

    /// Whether it is far larger than it need be.
    pub(crate) fn is_sparse(&self) -> bool {
        self.groups.len() > 2 && self.len() * 3 < self.groups.len() * GROUP
    }

    /// Bytes on the heap.
    pub(crate) fn allocated_bytes(&self) -> usize {
        size_of_val(&*self.groups)
    }

    /// Where a look-up begins to read: the first group of a probe.
    #[inline]
    pub(crate) fn group(&self, hash: u64) -> Option<&Group> {
        self.groups.get(KeyHash::bucket(hash, self.groups.len()))
    }

    /// The offset of the record of this hash, mostly: the first in that group whose tag is the hash's.
    #[inline]
    pub(crate) fn guess(&self, hash: u64) -> Option<u16> {
        let group = self.group(hash)?;
        let hits = zero_bytes(group.tags ^ (tag_of(hash) * LOW));
        (hits != 0).then(|| group.at[first_byte(hits)])
    }

    /// The first place of this hash for whose record `is_it` holds; it is given offsets.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u16) -> bool) -> Option<Spot> {
        let groups = self.groups.len();
        let tag = tag_of(hash) * LOW;
        let mut nth = KeyHash::bucket(hash, groups);
        for _ in 0..groups {
            let group = &self.groups[nth];
            let mut hits = zero_bytes(group.tags ^ tag);
            while hits != 0 {
                let place = first_byte(hits);
                let at = group.at[place];
                if is_it(at) {
                    return Some(Spot { place: (nth * GROUP + place) as u16, at });
                }
                hits &= hits - 1;
            }
            if group.has_empty() {
                return None;
            }
            nth = if nth + 1 == groups { 0 } else { nth + 1 };
        }
        None
    }

    /// Has the first free place for this hash hold this offset. There is one: see [`Index::is_full`].
    pub(crate) fn insert(&mut self, hash: u64, at: u16) -> Spot {
        let groups = self.groups.len();
        let mut nth = KeyHash::bucket(hash, groups);
        loop {
            let group = &mut self.groups[nth];
            let free = !group.tags & HIGH;
            if free != 0 {
                let place = first_byte(free);
                self.removed -= u32::from(group.tag(place) == REMOVED);
                self.len += 1;
                group.set_tag(place, tag_of(hash));
                group.at[place] = at;
                return Spot { place: (nth * GROUP + place) as u16, at };
            }
            nth = if nth + 1 == groups { 0 } else { nth + 1 };
        }
    }

    /// Has a place hold another offset.
    #[inline]
    pub(crate) fn move_to(&mut self, spot: Spot, at: u16) -> Spot {
        let (nth, place) = spot.split();
        self.groups[nth].at[place] = at;
        Spot { at, ..spot }
    }

    /// Where the record of a place is by now.
    #[inline]
    pub(crate) fn renewed(&self, spot: Spot) -> Spot {
        let (nth, place) = spot.split();
        Spot { at: self.groups[nth].at[place], ..spot }
    }

    /// Frees a place.
    pub(crate) fn remove(&mut self, spot: Spot) {
        let (nth, place) = spot.split();
        let group = &mut self.groups[nth];
        // A group with an empty place ends every probe that comes to it.
        let ends = group.has_empty();
        group.set_tag(place, if ends { EMPTY } else { REMOVED });
        self.removed += u32::from(!ends);
        self.len -= 1;
    }

    /// Every offset, in the order of the places.
    pub(crate) fn offsets(&self) -> impl Iterator<Item = u16> + Clone {
        self.groups.iter().flat_map(|group| {
            let is_used = |place: &usize| group.tag(*place) & USED != 0;
            (0..GROUP).filter(is_used).map(|place| group.at[place])
        })
    }

    /// One of the offsets, each as likely as the others; `random` has uniform bits.
    pub(crate) fn pick(&self, random: u64) -> Option<u16> {
        let places = (self.groups.len() * GROUP) as u64;
        let mut random = random;
        // Mostly between a third and seven eighths of the places are used: a few draws find one.
        for _ in 0..if self.len == 0 { 0 } else { 64 } {
            let place = (random % places) as usize;
            let group = &self.groups[place / GROUP];
            if group.tag(place % GROUP) & USED != 0 {
                return Some(group.at[place % GROUP]);
            }
            random = mixed(random);
        }
        self.offsets().next()
    }

    /// Every offset, to be changed, but for what is [`NOWHERE`].
    pub(crate) fn offsets_mut(&mut self) -> impl Iterator<Item = &mut u16> {
        self.groups.iter_mut().flat_map(|group| {
            let tags = group.tags;
            let is_used =
                move |(place, at): &(usize, &mut u16)| tags >> (8 * place) & USED != 0 && **at != NOWHERE;
            group.at.iter_mut().enumerate().filter(is_used).map(|(_, at)| at)
        })
    }

    /// Panics if what is counted is not what is there.
    pub(crate) fn check(&self) {
        assert_eq!(self.len(), self.offsets().count());
        let tags = self.groups.iter().flat_map(|group| (0..GROUP).map(|place| group.tag(place)));
        assert_eq!(self.removed as usize, tags.filter(|&tag| tag == REMOVED).count());
    }
}

impl Spot {
    /// As one number.
    #[inline]
    pub(crate) fn word(self) -> u32 {
        u32::from(self.place) << 16 | u32::from(self.at)
    }

    /// The spot of which this is the number.
    #[inline]
    pub(crate) fn of_word(word: u32) -> Spot {
        Spot { place: (word >> 16) as u16, at: word as u16 }
    }

    /// Its group, and its place there.
    #[inline]
    fn split(self) -> (usize, usize) {
        let place = usize::from(self.place);
        (place / GROUP, place % GROUP)
    }
}

impl Group {
    #[inline]
    fn tag(&self, place: usize) -> u64 {
        self.tags >> (8 * place) & 0xff
    }

    #[inline]
    fn set_tag(&mut self, place: usize, tag: u64) {
        self.tags = self.tags & !(0xff << (8 * place)) | tag << (8 * place);
    }

    /// Whether a tag is neither of a used place nor of a removed one.
    #[inline]
    fn has_empty(&self) -> bool {
        // The highest bit of a byte becomes whether any of its two says that it is not empty.
        (self.tags | self.tags << 7) & HIGH != HIGH
    }
}

/// The tag of a place for this hash.
#[inline]
fn tag_of(hash: u64) -> u64 {
    USED | hash >> 57
}

/// The highest bit of each byte that is zero; perhaps that of a byte 1 above one, too.
#[inline]
pub(crate) fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(LOW) & !word & HIGH
}

/// The number of the lowest byte in which a bit is set.
#[inline]
pub(crate) fn first_byte(bits: u64) -> usize {
    bits.trailing_zeros() as usize / 8 % GROUP
}

/// Groups of an index that is to have so many records: as many as fill the allocator's next size.
fn groups_for(records: usize) -> usize {
    if records == 0 {
        return 0;
    }
    let bytes = (records * 8).div_ceil(7).div_ceil(GROUP) * size_of::<Group>();
    class_of(bytes) / size_of::<Group>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_has_room_for_what_it_is_made_for_and_is_at_most_87_percent_full() {
        for records in 1..3_000 {
            let mut index = Index::with_capacity(records);
            for at in 0..records {
                assert!(!index.is_full(), "{at} of {records}");
                index.insert((at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15), at as u16);
            }
            assert!(index.groups.len() * GROUP <= records * 3 / 2 + 2 * GROUP);
            index.check();
        }
    }

    #[test]
    fn every_offset_is_drawn_as_often_as_the_others() {
        let mut index = Index::with_capacity(200);
        assert_eq!((index.pick(1), Index::default().pick(1)), (None, None));
        for at in 0..100u16 {
            index.insert(u64::from(at).wrapping_mul(0x9e37_79b9_7f4a_7c15), at);
        }
        let mut random = fastrand::Rng::with_seed(5);
        let mut drawn = [0; 100];
        for _ in 0..40_000 {
            drawn[usize::from(index.pick(random.u64(..)).expect("there are some"))] += 1;
        }
        // Five standard deviations around 400.
        assert!(drawn.iter().all(|count| (300..=500).contains(count)), "{drawn:?}");
    }

    /// Every probe ends, and finds what is there, after any number of removals.
    #[test]
    fn places_are_found_whatever_was_removed() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut index = Index::with_capacity(100);
        let mut model: Vec<(u64, u16)> = Vec::new();
        for number in 0..20_000u16 {
            if index.is_full() {
                let mut anew = Index::with_capacity(model.len() + 1);
                model.iter().for_each(|&(hash, at)| {
                    anew.insert(hash, at);
                });
                index = anew;
            }
            // Few tags and few groups, so that many agree.
            let hash = random.u64(..4) << 57 | random.u64(..1 << 9);
            index.insert(hash, number);
            model.push((hash, number));
            while model.len() > 80 {
                let (hash, at) = model.swap_remove(random.usize(..model.len()));
                let spot = index.find(hash, |found| found == at).expect("it is there");
                index.remove(spot);
                assert!(index.find(hash, |found| found == at).is_none());
            }
            for &(hash, at) in &model {
                assert_eq!(index.find(hash, |found| found == at).map(|spot| spot.at), Some(at));
            }
        }
        index.check();
    }
}
