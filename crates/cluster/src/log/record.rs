//! Records that are longer than a frame come in parts, each in a frame of its own.
//!
//! ```text
//!   [0][record]                          in a frame with others
//!   [1][part] │ [1][part] │ [2][part]    a frame each; the last one ends it
//! ```
//! Between the parts of one record there is no other record of its leader. Parts without an end, before another leader's claim, count
//! for nobody.

use super::frame::{RECORD_BYTES_MAX, Records};

const WHOLE: u8 = 0;
const PART: u8 = 1;
const LAST: u8 = 2;

const PART_BYTES_MAX: usize = RECORD_BYTES_MAX - 1;

/// A record as it stands in frames: head and bytes of each part, and whether it needs a frame to itself.
pub(super) fn parts(record: &[u8]) -> impl Iterator<Item = (&'static [u8], &[u8], bool)> {
    let count = record.len().div_ceil(PART_BYTES_MAX).max(1);
    (0..count).map(move |at| {
        let from = at * PART_BYTES_MAX;
        let part = &record[from..record.len().min(from + PART_BYTES_MAX)];
        let head: &[u8] = match (count, at + 1 == count) {
            (1, _) => &[WHOLE],
            (_, true) => &[LAST],
            (_, false) => &[PART],
        };
        (head, part, count > 1)
    })
}

/// Puts parts together again.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    /// What has come of a record that has not ended.
    begun: Option<Vec<u8>>,
}

/// Records that no leader writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame holds records that this version of Sterna can't read")]
pub(super) struct Unreadable;

impl Assembly {
    /// The records that end in this frame.
    pub(super) fn take(&mut self, records: Records<'_>) -> Result<Vec<Vec<u8>>, Unreadable> {
        let mut whole = Vec::new();
        for record in records {
            let (head, bytes) = record.split_first().ok_or(Unreadable)?;
            match (*head, self.begun.take()) {
                (WHOLE, None) => whole.push(bytes.to_vec()),
                (PART, begun) => self.begun = Some(joined(begun, bytes)),
                (LAST, Some(begun)) => whole.push(joined(Some(begun), bytes)),
                _ => return Err(Unreadable),
            }
        }
        Ok(whole)
    }

    /// Another leader begins: what has not ended never will.
    pub(super) fn clear(&mut self) {
        self.begun = None;
    }

    /// Whether a record has begun and not ended.
    pub(super) fn is_open(&self) -> bool {
        self.begun.is_some()
    }
}

fn joined(begun: Option<Vec<u8>>, bytes: &[u8]) -> Vec<u8> {
    let mut begun = begun.unwrap_or_default();
    begun.extend_from_slice(bytes);
    begun
}

#[cfg(test)]
mod tests {
    use super::super::frame::push_record;
    use super::*;

    fn frames(record: &[u8]) -> Vec<Vec<u8>> {
        let framed = parts(record).map(|(head, part, _)| {
            let mut bytes = Vec::new();
            push_record(&mut bytes, head, part);
            bytes
        });
        framed.collect()
    }

    #[test]
    fn a_record_of_any_length_comes_out_as_it_went_in() {
        for length in [0, 1, PART_BYTES_MAX, PART_BYTES_MAX + 1, 3 * PART_BYTES_MAX, 3 * PART_BYTES_MAX + 7] {
            let record: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let (mut assembly, mut out) = (Assembly::default(), Vec::new());
            let frames = frames(&record);
            assert_eq!(frames.len() > 1, length > PART_BYTES_MAX);
            for (at, frame) in frames.iter().enumerate() {
                out.extend(assembly.take(Records::written(frame)).expect("it is what was written"));
                assert_eq!(assembly.is_open(), at + 1 < frames.len());
            }
            assert_eq!(out, [record]);
        }
    }

    #[test]
    fn parts_that_do_not_belong_together_are_noticed() {
        let long = frames(&vec![7; 2 * PART_BYTES_MAX]);
        let mut assembly = Assembly::default();
        assert_eq!(assembly.take(Records::written(&long[1])), Err(Unreadable), "an end without a beginning");
        let mut assembly = Assembly::default();
        assembly.take(Records::written(&long[0])).expect("a beginning");
        assert_eq!(assembly.take(Records::written(&frames(b"x")[0])), Err(Unreadable), "something between");
        let mut assembly = Assembly::default();
        assembly.take(Records::written(&long[0])).expect("a beginning");
        assembly.clear();
        assert_eq!(assembly.take(Records::written(&frames(b"x")[0])), Ok(vec![b"x".to_vec()]));
    }
}
