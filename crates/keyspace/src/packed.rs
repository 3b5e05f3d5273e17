//! A short sequence of byte strings in one allocation: how small lists, hashes and sets are kept.
//!
//! ```text
//! ┌ count ┬ element ┬ element ┬ … ┐        elements as in a listpack, without its frame (`listpack.rs`)
//!   1 byte; from 255 on 255, and a u16
//! ```
//!
//! An element is named by its offset, which holds until something before it changes. Strings that read as integers are kept
//! as such, and what is read back has the same bytes. Reading is O(1) an element from either end; finding and changing are
//! O(bytes), which is why whoever owns one bounds it (the `*-max-listpack-*` directives).
//!
//! An empty sequence has no allocation.
//!
//! **Bare.** What is only found and read from the first element on, and doesn't change where it is, need not know where elements end
//! from behind: a small hash in the record of its key has elements without their backlens, a byte each if they are short.

use smallvec::{SmallVec, smallvec};

use crate::listpack::{self, Element};

/// Elements that one can count; owners stay far below.
pub(crate) const ELEMENTS_MAX: usize = u16::MAX as usize;
/// In the place of a count: it is in the next two bytes.
const LONG: u8 = u8::MAX;
/// Room for what a change adds, mostly enough.
const ADDED_BYTES: usize = 128;

/// See the module.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Packed(Box<[u8]>);

const _: () = assert!(size_of::<Packed>() == 16, "a value keeps one beside its tag");

/// Where an element begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At(u32);

/// The bytes before the first element of so many.
fn head_of(count: usize) -> SmallVec<[u8; 3]> {
    match u8::try_from(count) {
        Ok(count) if count != LONG => smallvec![count],
        // Owners stay below `ELEMENTS_MAX`.
        _ => {
            let [low, high] = (count as u16).to_le_bytes();
            smallvec![LONG, low, high]
        }
    }
}

/// The same bytes wherever they are: in an allocation, or in the record of a key (`record.rs`). Without `BACKLEN` it is bare: whoever
/// reads one knows which it is beforehand, and pays for no question.
#[derive(Clone, Copy, Default)]
pub(crate) struct PackedRef<'a, const BACKLEN: bool = true>(&'a [u8]);

/// What [`PackedRef::write_bare`] wrote.
pub(crate) type BareRef<'a> = PackedRef<'a, false>;

impl<'a, const BACKLEN: bool> PackedRef<'a, BACKLEN> {
    /// What [`PackedRef::bytes`] gave.
    #[inline]
    pub(crate) fn of_bytes(bytes: &'a [u8]) -> Self {
        PackedRef(bytes)
    }

    /// As the module draws them.
    #[inline]
    pub(crate) fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// Where the first element begins.
    #[inline]
    fn head_bytes(self) -> usize {
        if self.0.first() == Some(&LONG) { 3 } else { 1 }
    }

    /// The elements, with or without backlens.
    #[inline]
    fn run(self) -> &'a [u8] {
        self.0.get(self.head_bytes()..).unwrap_or_default()
    }

    /// How many elements.
    pub(crate) fn len(self) -> usize {
        match *self.0 {
            [] => 0,
            [LONG, low, high, ..] => usize::from(u16::from_le_bytes([low, high])),
            [count, ..] => usize::from(count),
        }
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The elements with their places, from the first on.
    pub(crate) fn iter(self) -> Iter<'a, BACKLEN> {
        self.iter_from(At(0))
    }

    /// The elements with their places, from the one at `at` on.
    pub(crate) fn iter_from(self, at: At) -> Iter<'a, BACKLEN> {
        Iter { rest: self.run().get(at.0 as usize..).unwrap_or_default(), at: at.0 }
    }

    /// The place of the first element equal to `text`, of those that are a multiple of `step` away from the first: with
    /// 2, of the names of name, value, name, value….
    #[inline]
    pub(crate) fn find(self, text: &[u8], step: usize) -> Option<At> {
        self.find_nth(text, step).map(|(_, at)| at)
    }

    /// As [`PackedRef::find`], with how many of those elements are before it.
    #[inline]
    pub(crate) fn find_nth(self, text: &[u8], step: usize) -> Option<(usize, At)> {
        let (nth, at) = listpack::find_in::<BACKLEN>(self.run(), text, step)?;
        Some((nth, At(at as u32)))
    }

    /// Panics unless the bytes are what the module says, as far as they are read from the first on.
    fn check_forward(self) {
        let count = self.len();
        assert_eq!(self.0.is_empty(), count == 0);
        assert!(self.0.is_empty() || self.0.starts_with(&head_of(count)));
        assert_eq!(self.iter().count(), count);
    }
}

impl<'a> PackedRef<'a> {
    /// The same in an allocation of its own.
    pub(crate) fn to_packed(self) -> Packed {
        Packed(self.0.into())
    }

    /// The elements as they are in a listpack.
    #[inline]
    pub(crate) fn elements(self) -> &'a [u8] {
        self.run()
    }

    /// Writes the bytes without backlens; `out` has the length of these, [`PackedRef::bare_bytes`].
    pub(crate) fn write_bare(self, out: &mut [u8]) {
        let head = self.0.len() - self.elements().len();
        out[..head].copy_from_slice(&self.0[..head]);
        listpack::write_bare(self.elements(), &mut out[head..]);
    }

    /// How many bytes [`PackedRef::write_bare`] writes.
    pub(crate) fn bare_bytes(self) -> usize {
        self.0.len() - self.elements().len() + listpack::bare_bytes(self.elements())
    }

    /// Appends the whole as a listpack.
    pub(crate) fn write_listpack(self, out: &mut Vec<u8>) {
        let elements = self.elements();
        // Owners bound their bytes far below 4 GiB.
        out.extend_from_slice(&((elements.len() + listpack::FRAME_BYTES) as u32).to_le_bytes());
        out.extend_from_slice(&(self.len() as u16).to_le_bytes());
        out.extend_from_slice(elements);
        out.push(listpack::END);
    }

    /// The elements with their places, from the last on.
    pub(crate) fn iter_back(self) -> IterBack<'a> {
        IterBack { rest: self.elements() }
    }

    /// The place of element `index`, counted from the end if it is negative.
    pub(crate) fn nth(self, index: i64) -> Option<At> {
        if index >= 0 {
            self.iter().nth(usize::try_from(index).ok()?).map(|(at, _)| at)
        } else {
            self.iter_back().nth(usize::try_from(-(index + 1)).ok()?).map(|(at, _)| at)
        }
    }

    /// Panics unless the bytes are what the module says.
    pub(crate) fn check(self) {
        self.check_forward();
        assert_eq!(self.iter_back().count(), self.len());
    }
}

impl BareRef<'_> {
    /// The same with backlens, in an allocation of its own.
    pub(crate) fn to_packed(self) -> Packed {
        let mut packed = Vec::with_capacity(self.0.len() + self.len());
        packed.extend_from_slice(&self.0[..self.0.len() - self.run().len()]);
        listpack::write_unbared(self.run(), &mut packed);
        Packed(packed.into())
    }
}

impl Packed {
    /// As it is read.
    #[inline]
    pub(crate) fn view(&self) -> PackedRef<'_> {
        PackedRef::of_bytes(&self.0)
    }

    /// The elements as they are in a listpack.
    #[inline]
    pub(crate) fn elements(&self) -> &[u8] {
        self.view().elements()
    }

    /// How many elements.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.view().len()
    }

    /// Whether there is none.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Elements as they are in a listpack that has been checked; `None`: they are too many.
    pub(crate) fn from_elements(elements: &[u8], count: usize) -> Option<Packed> {
        u16::try_from(count).ok()?;
        u32::try_from(elements.len()).ok()?;
        if count == 0 {
            return Some(Packed::default());
        }
        Some(Packed([&head_of(count), elements].concat().into()))
    }

    /// Reads a listpack that came from outside; `None`: it is none, or longer than one can be.
    pub(crate) fn read_listpack(bytes: &[u8]) -> Option<Packed> {
        let (elements, count) = listpack::Reader::canonical_elements(bytes)?;
        Packed::from_elements(&elements, count)
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.0.len()
    }

    /// Adds elements at the end.
    pub(crate) fn push_back<'t>(&mut self, texts: impl IntoIterator<Item = &'t [u8]>) {
        let end = self.elements().len();
        self.splice(At(end as u32), 0, texts);
    }

    /// Adds elements, in this order, before the first.
    pub(crate) fn push_front<'t>(&mut self, texts: impl IntoIterator<Item = &'t [u8]>) {
        self.splice(At(0), 0, texts);
    }

    /// Puts elements before the one at `at`, which may be the end, in the place of `removed` elements from there on.
    /// Returns the place behind what was put in.
    ///
    /// The owner sees to it that there are at most [`ELEMENTS_MAX`].
    pub(crate) fn splice<'t>(
        &mut self,
        at: At,
        removed: usize,
        texts: impl IntoIterator<Item = &'t [u8]>,
    ) -> At {
        let start = at.0 as usize;
        let elements = self.elements();
        let mut rest = elements.get(start..).unwrap_or_default();
        let mut gone = 0;
        while gone < removed && listpack::read(&mut rest).is_some() {
            gone += 1;
        }
        let rest_len = rest.len();
        let removed_bytes = elements.len() - start - rest_len;
        let mut added = Vec::with_capacity(ADDED_BYTES);
        let mut count = self.len() - gone;
        for text in texts {
            listpack::write_string(&mut added, text);
            count += 1;
        }
        debug_assert!(count <= ELEMENTS_MAX, "its owner lets it grow without a bound");
        let behind = start + added.len();
        if count == 0 {
            self.0 = Box::default();
            return At(0);
        }
        let (old_head, head) = (self.view().head_bytes(), head_of(count));
        let mut bytes = std::mem::take(&mut self.0).into_vec();
        if bytes.is_empty() {
            bytes.reserve_exact(head.len() + added.len());
            bytes.extend_from_slice(&head);
        } else if head.len() != old_head {
            bytes.splice(..old_head, head.iter().copied());
        }
        let from = head.len() + start;
        let (old_len, new_len) = (bytes.len(), bytes.len() + added.len() - removed_bytes);
        let (old_tail, new_tail) = (from + removed_bytes, from + added.len());
        if new_len > old_len {
            // Exactly what is needed: the allocator's size classes leave the room that a growing value uses.
            bytes.reserve_exact(new_len - old_len);
            bytes.resize(new_len, 0);
        }
        bytes.copy_within(old_tail..old_len, new_tail);
        bytes.truncate(new_len);
        bytes[from..new_tail].copy_from_slice(&added);
        bytes[..head.len()].copy_from_slice(&head);
        self.0 = bytes.into_boxed_slice();
        At(behind as u32)
    }

    /// Puts another element in the place of the one at `at`; where it takes as many bytes, nothing else moves.
    pub(crate) fn replace(&mut self, at: At, text: &[u8]) {
        let start = at.0 as usize;
        let before = self.elements().get(start..).unwrap_or_default();
        let from = self.view().head_bytes() + start;
        // Mostly the one is a short string as long as the other: then its length stays as well.
        if let Some(tag) = listpack::short_string_tag(text)
            && before.first() == Some(&tag)
            && listpack::canonical_int(text).is_none()
        {
            self.0[from + 1..from + 1 + text.len()].copy_from_slice(text);
            return;
        }
        let mut rest = before;
        listpack::read(&mut rest);
        let old_bytes = before.len() - rest.len();
        if listpack::string_bytes(text) != old_bytes {
            self.splice(at, 1, [text]);
            return;
        }
        let mut element = Vec::with_capacity(old_bytes);
        listpack::write_string(&mut element, text);
        self.0[from..from + old_bytes].copy_from_slice(&element);
    }

    /// Removes `count` elements from the one at `at` on.
    pub(crate) fn remove(&mut self, at: At, count: usize) {
        self.splice(at, count, []);
    }
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.view().fmt(f)
    }
}

impl<const BACKLEN: bool> std::fmt::Debug for PackedRef<'_, BACKLEN> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let texts = self.iter().map(|(_, element)| element.to_bytes().escape_ascii().to_string());
        f.debug_list().entries(texts).finish()
    }
}

/// See [`Packed::iter`].
#[derive(Debug, Clone)]
pub(crate) struct Iter<'a, const BACKLEN: bool = true> {
    rest: &'a [u8],
    at: u32,
}

impl<'a, const BACKLEN: bool> Iterator for Iter<'a, BACKLEN> {
    type Item = (At, Element<'a>);

    #[inline]
    fn next(&mut self) -> Option<(At, Element<'a>)> {
        let (at, before) = (self.at, self.rest.len());
        let element = listpack::read_in::<BACKLEN>(&mut self.rest)?;
        self.at += (before - self.rest.len()) as u32;
        Some((At(at), element))
    }
}

/// See [`Packed::iter_back`].
#[derive(Debug, Clone)]
pub(crate) struct IterBack<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for IterBack<'a> {
    type Item = (At, Element<'a>);

    #[inline]
    fn next(&mut self) -> Option<(At, Element<'a>)> {
        let start = self.rest.len() - listpack::last_element_bytes(self.rest)?;
        let (before, mut element) = self.rest.split_at(start);
        self.rest = before;
        Some((At(start as u32), listpack::read(&mut element)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(packed: &Packed) -> Vec<Vec<u8>> {
        packed.view().iter().map(|(_, element)| element.to_bytes()).collect()
    }

    #[test]
    fn a_count_that_a_byte_cannot_say_takes_two_more() {
        let mut packed = Packed::default();
        for number in 0..300usize {
            packed.push_back([number.to_string().as_bytes()]);
            packed.view().check();
            assert_eq!(packed.len(), number + 1);
        }
        packed.replace(packed.view().nth(7).unwrap(), b"8");
        let whole = Packed::from_elements(packed.elements(), packed.len());
        assert!(whole == Some(packed.clone()));
        for left in (0..300usize).rev() {
            packed.remove(packed.view().nth(0).unwrap(), 1);
            packed.view().check();
            assert_eq!(packed.len(), left);
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Splice { at: usize, removed: usize, added: Vec<Vec<u8>> },
        Find(Vec<u8>),
        Replace { at: usize, text: Vec<u8> },
        ThroughListpack,
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            (-5000i64..5000).prop_map(|number| number.to_string().into_bytes()),
            any::<i64>().prop_map(|number| number.to_string().into_bytes()),
            proptest::collection::vec(any::<u8>(), 0..6),
            proptest::collection::vec(any::<u8>(), 60..70),
            Just(vec![b'x'; 5000]),
        ]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0usize..12, 0usize..3, proptest::collection::vec(text(), 0..3))
                .prop_map(|(at, removed, added)| Step::Splice { at, removed, added }),
            2 => text().prop_map(Step::Find),
            2 => (0usize..12, text()).prop_map(|(at, text)| Step::Replace { at, text }),
            1 => Just(Step::ThroughListpack),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_list_of_byte_strings(steps in proptest::collection::vec(step(), 0..40)) {
            let (mut packed, mut model) = (Packed::default(), Vec::<Vec<u8>>::new());
            for step in steps {
                match step {
                    Step::Splice { at, removed, added } => {
                        let index = at.min(model.len());
                        let removed = removed.min(model.len() - index);
                        let end = At(packed.elements().len() as u32);
                        let at = packed.view().nth(index as i64).unwrap_or(end);
                        let behind = packed.splice(at, removed, added.iter().map(Vec::as_slice));
                        model.splice(index..index + removed, added.clone());
                        let next = packed.view().iter_from(behind).next().map(|(_, element)| element.to_bytes());
                        prop_assert_eq!(next.as_ref(), model.get(index + added.len()));
                    }
                    Step::Find(text) => {
                        let found = packed.view().find(&text, 1).and_then(|at| packed.view().iter_from(at).next()).map(|(_, element)| element.to_bytes());
                        prop_assert_eq!(found.as_ref(), model.iter().find(|other| **other == text));
                    }
                    Step::Replace { at, text } => {
                        if let (Some(at), Some(old)) = (packed.view().nth(at as i64), model.get_mut(at)) {
                            packed.replace(at, &text);
                            *old = text;
                        }
                    }
                    Step::ThroughListpack => {
                        let mut bytes = Vec::new();
                        packed.view().write_listpack(&mut bytes);
                        prop_assert_eq!(Packed::read_listpack(&bytes), Some(packed.clone()));
                    }
                }
                packed.view().check();
                prop_assert_eq!(packed.len(), model.len());
                prop_assert_eq!(&texts(&packed), &model);
                let mut back: Vec<_> = packed.view().iter_back().map(|(_, element)| element.to_bytes()).collect();
                back.reverse();
                prop_assert_eq!(&back, &model);
                for index in 0..model.len() as i64 {
                    let last = packed.view().nth(index - model.len() as i64);
                    prop_assert_eq!(last, packed.view().nth(index));
                }
            }
        }

        #[test]
        fn a_bare_one_is_read_as_it_would_be_with_backlens(all in proptest::collection::vec(text(), 0..300), other in text()) {
            let mut packed = Packed::default();
            packed.push_back(all.iter().map(Vec::as_slice));
            let mut bytes = vec![0; packed.view().bare_bytes()];
            packed.view().write_bare(&mut bytes);
            let bare = BareRef::of_bytes(&bytes);
            bare.check_forward();
            prop_assert!(packed.is_empty() || bytes.len() + all.len() <= packed.view().bytes().len());
            prop_assert_eq!(bare.len(), all.len());
            prop_assert_eq!(bare.iter().map(|(_, element)| element.to_bytes()).collect::<Vec<_>>(), all.clone());
            for text in all.iter().chain([&other]) {
                let found = bare.find_nth(text, 1);
                prop_assert_eq!(found.map(|(nth, _)| nth), packed.view().find_nth(text, 1).map(|(nth, _)| nth));
                let read = found.and_then(|(_, at)| bare.iter_from(at).next()).map(|(_, element)| element.to_bytes());
                prop_assert_eq!(read.as_ref(), found.map(|_| text));
            }
            prop_assert!(bare.to_packed() == packed);
            let (mut one, mut same) = (Vec::new(), Vec::new());
            bare.to_packed().view().write_listpack(&mut one);
            packed.view().write_listpack(&mut same);
            prop_assert_eq!(one, same);
        }

        #[test]
        fn any_bytes_are_a_listpack_that_reads_both_ways_or_none(body in proptest::collection::vec(any::<u8>(), 0..40)) {
            let total = (body.len() + listpack::FRAME_BYTES) as u32;
            let bytes = [&total.to_le_bytes()[..], &[1, 0], &body, &[listpack::END]].concat();
            if let Some(packed) = Packed::read_listpack(&bytes) {
                packed.view().check();
            }
        }
    }
}
