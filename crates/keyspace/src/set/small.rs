//! Small sets, in one allocation: sorted integers of one width, or members as in a listpack, in the order they came.
//!
//! ```text
//! integers   [ width u8: 2, 4 or 8 ][ integer ][ integer ] …       ascending, little endian
//! packed     [ 0 ][ count u16 ][ element ][ element ] …            without backlens: see listpack.rs
//! ```
//!
//! The integers grow wider with the first that needs it and stay so. They are Redis's intset, so that DUMP copies them; the others
//! become its listpack when they are dumped. Nobody reads them from the last on, so that they don't say where they begin from behind.
//!
//! Invariants (`check`)
//! - Without members there is no allocation.
//! - Integers rise strictly; every packed element is there once, and one that reads as an integer is kept as one.
//!
//! Cost: finding an integer O(log n), a packed member O(bytes); a change O(bytes).

use std::collections::HashSet;

use crate::listpack::{self, Element, canonical_int};

/// Packed members that one can count.
pub(super) const PACKED_MAX: usize = u16::MAX as usize;
const PACKED: u8 = 0;
const PACKED_HEAD: usize = 3;

/// See the module.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Small(Box<[u8]>);

/// The same bytes wherever they are: in an allocation, or in the record of a key (`record.rs`).
#[derive(Clone, Copy)]
pub(super) struct SmallRef<'a>(&'a [u8]);

/// What a small set consists of.
#[derive(Clone, Copy)]
pub(super) enum View<'a> {
    Ints(Ints<'a>),
    /// A count, and the elements, without backlens.
    Packed(usize, &'a [u8]),
}

/// Sorted integers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ints<'a> {
    width: usize,
    bytes: &'a [u8],
}

impl<'a> Ints<'a> {
    /// Integers of this width; `None`: they don't rise, or are none.
    pub(super) fn new(width: usize, bytes: &'a [u8]) -> Option<Ints<'a>> {
        let ints = Ints { width, bytes };
        let is_whole = matches!(width, 2 | 4 | 8) && !bytes.is_empty() && bytes.len().is_multiple_of(width);
        (is_whole && ints.iter().is_sorted_by(|one, next| one < next)).then_some(ints)
    }

    pub(super) fn width(self) -> usize {
        self.width
    }

    pub(super) fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    pub(super) fn len(self) -> usize {
        self.bytes.len() / self.width
    }

    #[inline]
    pub(super) fn at(self, index: usize) -> i64 {
        let bytes = &self.bytes[index * self.width..][..self.width];
        match *bytes {
            [a, b] => i64::from(i16::from_le_bytes([a, b])),
            [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
            _ => i64::from_le_bytes(bytes.try_into().expect("a width is 2, 4 or 8")),
        }
    }

    pub(super) fn iter(self) -> impl Iterator<Item = i64> + 'a {
        (0..self.len()).map(move |index| self.at(index))
    }

    /// Where `number` is, or would be.
    #[inline]
    pub(super) fn find(self, number: i64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.at(middle).cmp(&number) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }
}

fn width_of(number: i64) -> usize {
    match number {
        _ if i16::try_from(number).is_ok() => 2,
        _ if i32::try_from(number).is_ok() => 4,
        _ => 8,
    }
}

impl<'a> SmallRef<'a> {
    /// What [`SmallRef::bytes`] gave.
    #[inline]
    pub(super) fn of_bytes(bytes: &'a [u8]) -> SmallRef<'a> {
        SmallRef(bytes)
    }

    /// As the module draws them.
    #[inline]
    pub(super) fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// The same in an allocation of its own.
    pub(super) fn to_small(self) -> Small {
        Small(self.0.into())
    }

    /// Appends packed members as a listpack.
    pub(super) fn write_listpack(self, out: &mut Vec<u8>) {
        let View::Packed(count, elements) = self.view() else { return };
        // The limits keep it far below 4 GiB.
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&(count as u16).to_le_bytes());
        listpack::write_unbared(elements, out);
        out.push(listpack::END);
        let bytes = (out.len() - start) as u32;
        out[start..start + 4].copy_from_slice(&bytes.to_le_bytes());
    }

    /// What it consists of; without members, nothing packed.
    #[inline]
    pub(super) fn view(self) -> View<'a> {
        match self.0 {
            [] => View::Packed(0, &[]),
            [PACKED, low, high, elements @ ..] => {
                View::Packed(usize::from(u16::from_le_bytes([*low, *high])), elements)
            }
            [width, bytes @ ..] => View::Ints(Ints { width: usize::from(*width), bytes }),
        }
    }

    pub(super) fn len(self) -> usize {
        match self.view() {
            View::Ints(ints) => ints.len(),
            View::Packed(count, _) => count,
        }
    }

    #[inline]
    pub(super) fn contains(self, name: &[u8]) -> bool {
        match self.view() {
            View::Ints(ints) => canonical_int(name).is_some_and(|number| ints.find(number).is_ok()),
            View::Packed(_, elements) => find(elements, name).is_some(),
        }
    }

    /// Member `index`.
    pub(super) fn nth(self, index: usize) -> Option<Element<'a>> {
        match self.view() {
            View::Ints(ints) => (index < ints.len()).then(|| Element::Int(ints.at(index))),
            View::Packed(_, mut elements) => {
                for _ in 0..index {
                    read(&mut elements)?;
                }
                read(&mut elements)
            }
        }
    }

    /// Panics if an invariant of the module does not hold.
    pub(super) fn check(self) {
        match self.view() {
            View::Ints(ints) => assert!(Ints::new(ints.width, ints.bytes).is_some()),
            View::Packed(count, mut elements) => {
                assert_eq!(self.0.is_empty(), count == 0);
                let mut all = HashSet::new();
                while let Some(element) = read(&mut elements) {
                    assert!(matches!(element, Element::Int(_)) || element.as_int().is_none());
                    assert!(all.insert(element.to_bytes()));
                }
                assert!(elements.is_empty());
                assert_eq!(all.len(), count);
            }
        }
    }
}

impl Small {
    /// As it is read.
    #[inline]
    pub(super) fn seen(&self) -> SmallRef<'_> {
        SmallRef(&self.0)
    }

    #[inline]
    fn view(&self) -> View<'_> {
        self.seen().view()
    }

    /// These integers.
    pub(super) fn of_ints(ints: Ints<'_>) -> Small {
        Small([&[ints.width as u8], ints.bytes].concat().into())
    }

    /// Reads a listpack that came from outside; `None`: it is none, has no members, one of them twice or written otherwise
    /// than Redis writes it, or more than can be counted.
    pub(super) fn read_listpack(bytes: &[u8]) -> Option<Small> {
        let (elements, count) = listpack::Reader::elements(bytes)?;
        let [low, high] = u16::try_from(count).ok()?.to_le_bytes();
        let mut names = HashSet::with_capacity(count);
        let mut rest = elements;
        while let Some(element) = listpack::read(&mut rest) {
            let is_canonical = matches!(element, Element::Int(_)) || element.as_int().is_none();
            (is_canonical && names.insert(element)).then_some(())?;
        }
        let mut packed = vec![0; PACKED_HEAD + listpack::bare_bytes(elements)];
        packed[..PACKED_HEAD].copy_from_slice(&[PACKED, low, high]);
        listpack::write_bare(elements, &mut packed[PACKED_HEAD..]);
        (count > 0).then(|| Small(packed.into()))
    }

    /// Adds an integer that is not there, to none or to integers.
    pub(super) fn insert_int(&mut self, number: i64) {
        let mut bytes = std::mem::take(&mut self.0).into_vec();
        let wanted = width_of(number);
        match bytes.first().copied() {
            None => {
                bytes.reserve_exact(1 + wanted);
                bytes.push(wanted as u8);
            }
            Some(width) if usize::from(width) < wanted => {
                let ints = Ints { width: usize::from(width), bytes: &bytes[1..] };
                let mut wider = Vec::with_capacity(1 + (ints.len() + 1) * wanted);
                wider.push(wanted as u8);
                ints.iter().for_each(|number| wider.extend_from_slice(&number.to_le_bytes()[..wanted]));
                bytes = wider;
            }
            Some(_) => {}
        }
        let width = usize::from(bytes[0]);
        let at = match (Ints { width, bytes: &bytes[1..] }).find(number) {
            Ok(index) | Err(index) => 1 + index * width,
        };
        bytes.reserve_exact(width);
        bytes.splice(at..at, number.to_le_bytes()[..width].iter().copied());
        self.0 = bytes.into_boxed_slice();
    }

    /// Adds a member that is not there, to none or to packed ones.
    pub(super) fn push(&mut self, name: &[u8]) {
        let mut bytes = std::mem::take(&mut self.0).into_vec();
        let more = listpack::bare_string_bytes(name);
        if bytes.is_empty() {
            bytes.reserve_exact(PACKED_HEAD + more);
            bytes.extend_from_slice(&[PACKED, 0, 0]);
        }
        bytes.reserve_exact(more);
        listpack::write_bare_string(&mut bytes, name);
        count_more(&mut bytes, 1);
        self.0 = bytes.into_boxed_slice();
    }

    /// Without members: the first is to be packed, whatever it is.
    pub(super) fn begin_packed(&mut self) {
        self.0 = Box::new([PACKED, 0, 0]);
    }

    /// Whether there is no member and none is expected to be packed.
    pub(super) fn is_new(&self) -> bool {
        self.0.is_empty()
    }

    /// Integers become packed members, in their order.
    pub(super) fn pack(&mut self) {
        let View::Ints(ints) = self.view() else { return };
        let mut bytes = vec![PACKED, 0, 0];
        ints.iter().for_each(|number| listpack::write_bare_int(&mut bytes, number));
        count_more(&mut bytes, ints.len() as u16);
        self.0 = bytes.into_boxed_slice();
    }

    /// Removes a member; false: it is not there.
    pub(super) fn remove(&mut self, name: &[u8]) -> bool {
        let (range, is_packed) = match self.view() {
            View::Ints(ints) => {
                let Some(index) = canonical_int(name).and_then(|number| ints.find(number).ok()) else {
                    return false;
                };
                let at = 1 + index * ints.width;
                (at..at + ints.width, false)
            }
            View::Packed(_, elements) => {
                let Some((start, end)) = find(elements, name) else { return false };
                (PACKED_HEAD + start..PACKED_HEAD + end, true)
            }
        };
        if self.seen().len() == 1 {
            *self = Small::default();
            return true;
        }
        let mut bytes = std::mem::take(&mut self.0).into_vec();
        bytes.drain(range);
        if is_packed {
            count_more(&mut bytes, u16::MAX);
        }
        self.0 = bytes.into_boxed_slice();
        true
    }
}

/// Adds to the count of packed members, modulo 2^16.
fn count_more(bytes: &mut [u8], more: u16) {
    let count = u16::from_le_bytes([bytes[1], bytes[2]]).wrapping_add(more);
    bytes[1..PACKED_HEAD].copy_from_slice(&count.to_le_bytes());
}

/// Where the packed element that reads as `name` begins and ends.
#[inline]
fn find(elements: &[u8], name: &[u8]) -> Option<(usize, usize)> {
    let (_, start) = listpack::find_in::<false>(elements, name, 1)?;
    Some((start, listpack::skip_in::<false>(elements, start, 1)?))
}

/// Takes the first packed element off `elements`.
#[inline]
pub(super) fn read<'a>(elements: &mut &'a [u8]) -> Option<Element<'a>> {
    listpack::read_in::<false>(elements)
}

impl std::fmt::Debug for Small {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.seen().fmt(f)
    }
}

impl std::fmt::Debug for SmallRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let members = (0..self.len()).map_while(|index| self.nth(index));
        f.debug_set().entries(members.map(|member| member.to_bytes().escape_ascii().to_string())).finish()
    }
}
