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

impl Position {
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
