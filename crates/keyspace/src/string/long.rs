//! A long string that is changed in places, kept in parts.
//!
//! ```text
//! bytes    0        64 KiB     128 KiB    192 KiB    256 KiB
//! parts    [ base ]  [ own ]    [ zeros ]  [ own … 0 0 ]
//!             │         └ an `Arc`, which copies of the string share until one writes to it
//!             └ bytes of the string as it was set, shared with whoever else has it
//! ```
//!
//! Why not one allocation: a snapshot or a COPY that holds it would make the next SETBIT copy 100 MB, growth would move all of
//! it now and then, and `SETBIT k 4294967295 1` would have to clear 512 MB. Here a write copies at most the parts it touches,
//! and a part that was never written to takes no memory.
//!
//! Invariants (`check`)
//! - There is a part for every [`PART_BYTES`] of `len`, the last one as long as the others: behind `len` it is zeros.
//! - `base` covers whole parts only, from the front; it goes when all of those are the string's own.
//! - `own` counts the parts that are `Some`, `own_in_base` those among them that the base would cover.
//!
//! Cost: reading a range O(its bytes); writing O(bytes + parts touched × 64 KiB at worst); copying O(1), and O(parts) once
//! when the copy or the original is written to.

use std::ops::Range;
use std::sync::Arc;

/// Bytes of a part: copied in some 10 µs.
pub(crate) const PART_BYTES: usize = 64 << 10;

static ZEROS: [u8; PART_BYTES] = [0; PART_BYTES];

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Long {
    len: usize,
    base: Option<Arc<[u8]>>,
    parts: Vec<Option<Arc<[u8]>>>,
    own: usize,
    own_in_base: usize,
}

impl Long {
    /// The string that is set to `base`, whose bytes are shared; only a last part that is not whole is copied.
    pub(crate) fn over(base: Arc<[u8]>) -> Long {
        let mut long = Long { len: base.len(), ..Long::default() };
        let whole = base.len() / PART_BYTES;
        long.parts.resize(base.len().div_ceil(PART_BYTES), None);
        let tail = &base[whole * PART_BYTES..];
        if !tail.is_empty() {
            long.parts[whole] = Some(padded(tail));
            long.own = 1;
        }
        long.base = (whole > 0).then_some(base);
        long
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes on the heap, not counting this struct. What is shared with copies counts for each.
    pub(crate) fn heap_bytes(&self) -> usize {
        let base = self.base.as_ref().map_or(0, |base| base.len() + 16);
        base + self.parts.capacity() * size_of::<Option<Arc<[u8]>>>() + self.own * (PART_BYTES + 16)
    }

    /// The bytes in `range`, which ends at `len` or before, in pieces that end where parts end.
    pub(crate) fn pieces(&self, range: Range<usize>) -> impl Iterator<Item = &[u8]> {
        debug_assert!(range.end <= self.len);
        let parts = range.start / PART_BYTES..range.end.div_ceil(PART_BYTES).max(range.start / PART_BYTES);
        parts.map(move |index| {
            let at = index * PART_BYTES;
            let start = range.start.saturating_sub(at);
            &self.part(index)[start..(range.end - at).min(PART_BYTES)]
        })
    }

    /// Lengthens the string with zeros to at least `len` bytes. Cost: O(parts).
    pub(crate) fn grow(&mut self, len: usize) {
        if len > self.len {
            self.len = len;
            self.parts.resize(len.div_ceil(PART_BYTES), None);
        }
    }

    /// Writes bytes at an offset; a shorter string is lengthened, with zeros between.
    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.grow(offset + bytes.len());
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let (index, start) = (at / PART_BYTES, at % PART_BYTES);
            let (now, later) = rest.split_at(rest.len().min(PART_BYTES - start));
            self.write_part(index, start, now);
            at += now.len();
            rest = later;
        }
    }

    /// The base, once nothing of it is used any more: dropping it is the caller's, because that is slow.
    pub(crate) fn take_unused_base(&mut self) -> Option<Arc<[u8]>> {
        let unused = self.base.take_if(|base| self.own_in_base == base.len() / PART_BYTES)?;
        self.own_in_base = 0;
        Some(unused)
    }

    /// Panics if what is counted is not what is there.
    pub(crate) fn check(&self) {
        assert_eq!(self.parts.len(), self.len.div_ceil(PART_BYTES));
        assert_eq!(self.own, self.parts.iter().flatten().count());
        let in_base = self.parts[..self.base_parts()].iter().flatten().count();
        assert_eq!(self.own_in_base, in_base);
        assert!(self.parts.iter().flatten().all(|part| part.len() == PART_BYTES));
        if let Some(last) = self.parts.len().checked_sub(1) {
            assert!(self.part(last)[self.len - last * PART_BYTES..].iter().all(|&byte| byte == 0));
        }
    }

    fn base_parts(&self) -> usize {
        self.base.as_ref().map_or(0, |base| base.len() / PART_BYTES)
    }

    /// A part, whole.
    fn part(&self, index: usize) -> &[u8] {
        let at = index * PART_BYTES;
        match (&self.parts[index], &self.base) {
            (Some(own), _) => own,
            (None, Some(base)) => base.get(at..at + PART_BYTES).unwrap_or(&ZEROS),
            (None, None) => &ZEROS,
        }
    }

    fn write_part(&mut self, index: usize, start: usize, bytes: &[u8]) {
        let in_base = index < self.base_parts();
        match &mut self.parts[index] {
            Some(own) if bytes.len() < PART_BYTES => {
                Arc::make_mut(own)[start..start + bytes.len()].copy_from_slice(bytes);
            }
            Some(own) => *own = bytes.into(),
            None if !in_base && bytes.iter().all(|&byte| byte == 0) => {}
            None => {
                let mut part: Arc<[u8]> = self.part(index).into();
                // Nobody else has it yet: this copies nothing.
                Arc::make_mut(&mut part)[start..start + bytes.len()].copy_from_slice(bytes);
                self.parts[index] = Some(part);
                self.own += 1;
                self.own_in_base += usize::from(in_base);
            }
        }
    }
}

impl From<&[u8]> for Long {
    fn from(bytes: &[u8]) -> Long {
        let mut long = Long::default();
        long.write(0, bytes);
        long
    }
}

/// A whole part that begins with `bytes`.
fn padded(bytes: &[u8]) -> Arc<[u8]> {
    let mut part = Vec::with_capacity(PART_BYTES);
    part.extend_from_slice(bytes);
    part.resize(PART_BYTES, 0);
    part.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(long: &Long) -> Vec<u8> {
        long.check();
        long.pieces(0..long.len()).flatten().copied().collect()
    }

    #[test]
    fn what_was_never_written_takes_no_memory() {
        let mut long = Long::default();
        long.write(500 << 20, b"x");
        assert_eq!(long.len(), (500 << 20) + 1);
        assert!(long.heap_bytes() < 1 << 20);
        long.write(100 << 20, &[0; 3 * PART_BYTES]);
        assert!(long.heap_bytes() < 1 << 20, "zeros where zeros are");
        assert_eq!(long.pieces(500 << 20..long.len()).next(), Some(&b"x"[..]));
        long.check();
    }

    #[test]
    fn a_copy_keeps_what_it_was() {
        let text: Vec<u8> = (0..300_000).map(|number: u32| number as u8).collect();
        let mut long = Long::over(text[..].into());
        let copy = long.clone();
        long.write(100_000, b"changed");
        long.write(290_000, &[1; 20_000]);
        assert_eq!(bytes(&copy), text);
        assert_eq!(&bytes(&long)[100_000..100_007], b"changed");
        assert_eq!(long.len(), 310_000);
    }

    #[test]
    fn the_base_goes_when_every_part_of_it_was_written() {
        let text = vec![7; 4 * PART_BYTES + 5];
        let mut long = Long::over(text[..].into());
        for part in 0..4 {
            assert!(long.take_unused_base().is_none());
            long.write(part * PART_BYTES + 9, b"x");
        }
        assert!(long.take_unused_base().is_some());
        assert!(long.take_unused_base().is_none());
        assert_eq!(bytes(&long).iter().filter(|&&byte| byte == b'x').count(), 4);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Write(usize, Vec<u8>),
        Grow(usize),
        Read(usize, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let near =
            || (0usize..4, 0usize..5).prop_map(|(part, off)| (part * PART_BYTES + off).saturating_sub(2));
        let some = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..6),
            (0usize..3 * PART_BYTES, any::<bool>()).prop_map(|(len, set)| vec![u8::from(set); len]),
        ];
        prop_oneof![
            4 => (near(), some).prop_map(|(at, bytes)| Step::Write(at, bytes)),
            1 => near().prop_map(Step::Grow),
            2 => (near(), near()).prop_map(|(start, end)| Step::Read(start, end)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_is_a_vector_of_bytes(base in 0usize..3 * PART_BYTES, steps in prop::collection::vec(step(), 1..12)) {
            let mut model: Vec<u8> = (0..base).map(|number| number as u8 | 1).collect();
            let mut long = Long::over(model[..].into());
            let mut copies = Vec::new();
            for step in steps {
                match step {
                    Step::Write(at, new) => {
                        copies.push((long.clone(), model.clone()));
                        model.resize(model.len().max(at + new.len()), 0);
                        model[at..at + new.len()].copy_from_slice(&new);
                        long.write(at, &new);
                        long.take_unused_base();
                    }
                    Step::Grow(len) => {
                        model.resize(model.len().max(len), 0);
                        long.grow(len);
                    }
                    Step::Read(start, end) => {
                        let end = end.min(model.len());
                        let start = start.min(end);
                        let got: Vec<u8> = long.pieces(start..end).flatten().copied().collect();
                        prop_assert_eq!(&got, &model[start..end]);
                    }
                }
                prop_assert_eq!(&bytes(&long), &model);
            }
            for (copy, model) in &copies {
                prop_assert_eq!(&bytes(copy), model);
            }
        }
    }
}
