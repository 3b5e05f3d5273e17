//! How far a reader has come, and what it does with the next slot.
//!
//! Every reader decides by the same rule from the same two things, its position and the slot's bytes, so all of them accept the
//! same frames:
//!
//! ```text
//!   another incarnation                                  skip: written for a log that is no more
//!   a lower term, or this term and a number we have      skip: a former leader's, or a retry's
//!   next number, names our last frame, and
//!      claim: a higher term                              accept
//!      effects: this term, by the node that claimed it   accept
//!   anything else                                        a contradiction: the log is not the one that we have read
//! ```
//!
//! A healthy log has no contradiction: a frame is appended where its writer has read everything before it. One that forgot its
//! end and was written on has, for all who had read that end; they stop rather than go on with another history.

use super::frame::{Frame, FrameError, Kind, hash};

/// How far a log was read: what a node keeps beside what it has applied, as its own witness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Which log; 0: none was read yet.
    pub incarnation: u128,
    /// The last slot that was read.
    pub read_to: u64,
    /// The slot of the last frame that counted, at most `read_to`.
    pub slot: u64,
    /// That frame's number; 0: none.
    pub number: u64,
    /// That frame's hash.
    pub hash: u128,
    /// The term in force.
    pub term: u64,
    /// Who claimed it.
    pub writer: u64,
    /// The number of the frame that claimed it.
    pub claimed: u64,
}

/// What a reader does with a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It counts.
    Accept(Frame<'a>),
    /// It counts for nobody.
    Skip,
}

/// A slot that can't follow what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// No frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Whole, and no continuation.
    #[error("it does not continue what this node has read")]
    Differs,
}

/// Bytes of a position as a node keeps it.
const WITNESS_BYTES: usize = 88;

impl Position {
    /// As a node keeps it in its journal.
    pub fn to_witness(self) -> [u8; WITNESS_BYTES] {
        let Position { incarnation, read_to, slot, number, hash, term, writer, claimed } = self;
        let mut bytes = [0; WITNESS_BYTES];
        bytes[..16].copy_from_slice(&incarnation.to_le_bytes());
        bytes[16..32].copy_from_slice(&hash.to_le_bytes());
        for (at, value) in [read_to, slot, number, term, writer, claimed].into_iter().enumerate() {
            bytes[32 + at * 8..40 + at * 8].copy_from_slice(&value.to_le_bytes());
        }
        let checksum = xxhash_rust::xxh3::xxh3_64(&bytes[..80]);
        bytes[80..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// What [`Position::to_witness`] has written; nothing is the beginning. `None`: it is something else.
    pub fn from_witness(bytes: &[u8]) -> Option<Position> {
        if bytes.is_empty() {
            return Some(Position::default());
        }
        let bytes: &[u8; WITNESS_BYTES] = bytes.try_into().ok()?;
        let wide = |at: usize| Some(u128::from_le_bytes(*bytes[at..].first_chunk()?));
        let narrow = |at: usize| Some(u64::from_le_bytes(*bytes[at..].first_chunk()?));
        if narrow(80)? != xxhash_rust::xxh3::xxh3_64(&bytes[..80]) {
            return None;
        }
        Some(Position {
            incarnation: wide(0)?,
            hash: wide(16)?,
            read_to: narrow(32)?,
            slot: narrow(40)?,
            number: narrow(48)?,
            term: narrow(56)?,
            writer: narrow(64)?,
            claimed: narrow(72)?,
        })
    }

    /// Takes the slot behind the last one. After an error the position is what it was.
    pub fn advance<'a>(&mut self, bytes: &'a [u8]) -> Result<Verdict<'a>, Contradiction> {
        let frame = Frame::decode(bytes)?;
        if self.number == 0 {
            return match frame.kind {
                Kind::Genesis if self.read_to == 0 => Ok(self.accept(frame, bytes)),
                _ => Err(Contradiction::Differs),
            };
        }
        if self.is_stale(&frame) {
            self.read_to += 1;
            return Ok(Verdict::Skip);
        }
        let in_order = match frame.kind {
            Kind::Genesis => false,
            Kind::Claim { .. } => frame.term > self.term,
            Kind::Effects(_) => frame.term == self.term && frame.writer == self.writer,
        };
        if !in_order || frame.number != self.number + 1 || frame.previous != self.hash {
            return Err(Contradiction::Differs);
        }
        Ok(self.accept(frame, bytes))
    }

    /// Where a reader stands who believes that `frame`, in this slot, is the next: what is before it is trimmed.
    pub(super) fn just_before(frame: &Frame<'_>, slot: u64) -> Position {
        let Frame { incarnation, previous, term, number, writer, kind } = *frame;
        let term = if matches!(kind, Kind::Claim { .. }) { term.saturating_sub(1) } else { term };
        let (number, before) = (number.saturating_sub(1), slot.saturating_sub(1));
        Position {
            incarnation,
            read_to: before,
            slot: before,
            number,
            hash: previous,
            term,
            writer,
            claimed: 0,
        }
    }

    /// Whether a history that stands at `other` can be one that this position is a part of, as far as the two can say. Where the
    /// log between them is trimmed, nothing else tells that it forgot some frames of this term before the next was claimed.
    pub fn leads_to(&self, other: &Position) -> bool {
        let is_further = other.number >= self.number && other.term >= self.term;
        let is_claimed_after =
            if other.term == self.term { other.writer == self.writer } else { other.claimed > self.number };
        self.number == 0 || other.incarnation == self.incarnation && is_further && is_claimed_after
    }

    fn is_stale(&self, frame: &Frame<'_>) -> bool {
        frame.incarnation != self.incarnation
            || frame.term < self.term
            || frame.term == self.term && frame.number <= self.number
    }

    fn accept<'a>(&mut self, frame: Frame<'a>, bytes: &[u8]) -> Verdict<'a> {
        let slot = self.read_to + 1;
        let Frame { incarnation, number, term, writer, .. } = frame;
        let claimed = if matches!(frame.kind, Kind::Effects(_)) { self.claimed } else { number };
        *self =
            Position { incarnation, read_to: slot, slot, number, hash: hash(bytes), term, writer, claimed };
        Verdict::Accept(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::Records;
    use super::*;

    fn claim(at: &Position, term: u64, writer: u64) -> Frame<'static> {
        let (incarnation, previous, number) = (at.incarnation, at.hash, at.number + 1);
        Frame { incarnation, previous, term, number, writer, kind: Kind::Claim { name: b"n" } }
    }

    fn effects(at: &Position) -> Frame<'static> {
        let kind = Kind::Effects(Records::NONE);
        Frame { term: at.term, writer: at.writer, kind, ..claim(at, 0, 0) }
    }

    /// Behind a genesis and a claim of term 5 by node 1.
    fn begun() -> Position {
        let mut position = Position::default();
        position.advance(&Frame::genesis(42).encode()).expect("it begins");
        position.advance(&claim(&position, 5, 1).encode()).expect("it is claimed");
        position
    }

    #[test]
    fn a_slot_is_accepted_skipped_or_contradicts() {
        use Contradiction::Differs;
        let at = begun();
        let own = effects(&at);
        let rows: [(&str, Frame<'_>, Result<bool, Contradiction>); 11] = [
            ("the leader's next", own, Ok(true)),
            ("a higher claim", claim(&at, 6, 2), Ok(true)),
            ("a claim some terms higher", claim(&at, 9, 2), Ok(true)),
            ("another log's", Frame { incarnation: 43, ..own }, Ok(false)),
            ("a former leader's", Frame { term: 4, ..own }, Ok(false)),
            ("one that was read before", Frame { number: at.number, ..own }, Ok(false)),
            ("another node's under this term", Frame { writer: 2, ..own }, Err(Differs)),
            ("one that names another frame before it", Frame { previous: 1, ..own }, Err(Differs)),
            ("one after the next", Frame { number: at.number + 2, ..own }, Err(Differs)),
            ("effects of a term that nobody claimed", Frame { term: 6, ..own }, Err(Differs)),
            ("a higher claim behind another frame", Frame { previous: 1, ..claim(&at, 6, 2) }, Err(Differs)),
        ];
        for (what, frame, expected) in rows {
            let mut position = at;
            let bytes = frame.encode();
            let verdict = position.advance(&bytes);
            assert_eq!(verdict.map(|v| v == Verdict::Accept(frame)), expected, "{what}");
            assert_eq!(position.read_to, at.read_to + u64::from(expected.is_ok()), "{what}");
            assert_eq!(position.number, at.number + u64::from(expected == Ok(true)), "{what}");
        }
    }

    #[test]
    fn a_witness_is_read_as_it_was_written_and_nothing_else_is() {
        let at = begun();
        let bytes = at.to_witness();
        assert_eq!(Position::from_witness(&bytes), Some(at));
        assert_eq!(Position::from_witness(b""), Some(Position::default()));
        for at in 0..bytes.len() {
            let mut changed = bytes;
            changed[at] ^= 1;
            assert_eq!(Position::from_witness(&changed), None, "byte {at}");
            assert_eq!(Position::from_witness(&bytes[..at]).is_some(), at == 0);
        }
    }

    #[test]
    fn a_snapshot_of_another_history_is_told_from_a_later_one() {
        let at = Position { number: 20, ..begun() };
        let later = Position { number: 30, ..at };
        let rows = [
            ("the same term", later, true),
            ("a term claimed behind it", Position { term: 6, claimed: 21, ..later }, true),
            ("a term claimed before what this one has", Position { term: 6, claimed: 20, ..later }, false),
            ("the same term, claimed by another", Position { writer: 2, ..later }, false),
            ("an earlier term", Position { term: 4, ..later }, false),
            ("fewer frames", Position { number: 19, ..at }, false),
            ("another log", Position { incarnation: 1, ..later }, false),
        ];
        for (what, other, expected) in rows {
            assert_eq!(at.leads_to(&other), expected, "{what}");
            assert!(Position::default().leads_to(&other), "{what}: who has nothing takes any");
        }
    }

    #[test]
    fn a_log_begins_with_its_genesis() {
        let at = begun();
        assert_eq!(Position::default().advance(&effects(&at).encode()), Err(Contradiction::Differs));
        let mut again = at;
        assert_eq!(again.advance(&Frame::genesis(42).encode()), Ok(Verdict::Skip), "its term is over");
    }
}
