//! What comes from one other node: messages in order, those that are missing, and how far it has been handed out.
//!
//! NATS delivers in order or not at all, so a number that is higher than the next one says exactly what was lost. A number that
//! is lower says that the other node has begun to count anew, because it had not received anything from this one for very long: what
//! was lost then is not known.
//!
//! A network may do otherwise, though: a frame that has come already, or is among those that were counted as missing, is nothing. It
//! is told from one of a new count by its bytes, as far back as a few frames.
//!
//! Pure: bytes and numbers in, messages and counts out.

use std::collections::VecDeque;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::frame::Body;

/// After so many bytes the sender is told that they are taken: well below the smallest window.
const TAKEN_BYTES: usize = 256 * 1024;

/// So many frames are remembered.
const RECENT_MAX: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    next_frame: u64,
    next_message: u64,
    /// The frames before `next_frame`, with a hash of what they held, or that they are missing.
    recent: VecDeque<(u64, Option<u64>)>,
    /// A message of which some parts have come.
    partial: Option<Partial>,
    /// Bytes that were taken and the sender has not been told of.
    untold_bytes: usize,
    is_untold: bool,
    /// Where messages were last missing, so were frames.
    lost_frames: bool,
}

#[derive(Debug)]
struct Partial {
    message: u64,
    length: usize,
    bytes: Vec<u8>,
}

/// What a frame brought.
#[derive(Debug)]
pub(super) enum Arrived<'a> {
    Messages(&'a [u8]),
    /// One that came in parts.
    Whole(Vec<u8>),
    Nothing,
}

impl Incoming {
    /// Takes in a frame of messages, a part, or a tail, and tells how many messages are missing before it.
    ///
    /// `length_max`: a message that is longer is counted as missing.
    pub(super) fn receive<'a>(&mut self, body: &Body<'a>, length_max: usize) -> (Arrived<'a>, u64) {
        match *body {
            Body::Messages { frame, first, count, bytes } => {
                let hash = hash([first, u64::from(count), 0], bytes);
                if self.has(frame, Some(hash)) {
                    return (Arrived::Nothing, 0);
                }
                let missed = self.go_to(frame, first);
                self.remember(frame, hash);
                self.next_message = first.saturating_add(u64::from(count));
                self.note(bytes.len());
                (Arrived::Messages(bytes), missed)
            }
            Body::Part { frame, message, length, offset, bytes } => {
                let hash = hash([message, u64::from(length), u64::from(offset) + 1], bytes);
                if self.has(frame, Some(hash)) {
                    return (Arrived::Nothing, 0);
                }
                let missed = self.go_to(frame, message);
                self.remember(frame, hash);
                self.note(bytes.len());
                let whole = self.add_part((message, length as usize, offset as usize), bytes, length_max);
                (whole.map_or(Arrived::Nothing, Arrived::Whole), missed)
            }
            Body::Tail { frame, message } => {
                self.is_untold = true;
                if self.has(frame, None) {
                    return (Arrived::Nothing, 0);
                }
                let missed = self.go_to(frame, message);
                self.next_frame = frame;
                (Arrived::Nothing, missed)
            }
            _ => (Arrived::Nothing, 0),
        }
    }

    /// Whether what was just said to be missing was lost on the way. Where no frame is missing, the other node has dropped it, and knows.
    pub(super) fn has_lost_frames(&self) -> bool {
        self.lost_frames
    }

    /// Whether this frame has come, or is missing. `None`: whatever it held.
    fn has(&self, frame: u64, hash: Option<u64>) -> bool {
        let is_same = |known: Option<u64>| known.is_none() || hash.is_none() || known == hash;
        frame < self.next_frame && self.recent.iter().any(|(at, known)| *at == frame && is_same(*known))
    }

    fn remember(&mut self, frame: u64, hash: u64) {
        self.recent.push_back((frame, Some(hash)));
        self.forget_old();
    }

    fn forget_old(&mut self) {
        let surplus = self.recent.len().saturating_sub(RECENT_MAX);
        self.recent.drain(..surplus);
    }

    /// What comes next is this frame, with this message.
    fn go_to(&mut self, frame: u64, message: u64) -> u64 {
        self.lost_frames = frame != self.next_frame || message < self.next_message;
        if frame < self.next_frame {
            self.recent.clear();
        } else {
            let from = self.next_frame.max(frame.saturating_sub(RECENT_MAX as u64));
            self.recent.extend((from..frame).map(|missing| (missing, None)));
            self.forget_old();
        }
        let has_begun_anew = message < self.next_message;
        let missed = if has_begun_anew { 1 } else { message - self.next_message };
        if self.partial.as_ref().is_some_and(|partial| partial.message != message) {
            self.partial = None;
        }
        self.next_frame = frame.saturating_add(1);
        self.next_message = message;
        missed
    }

    fn add_part(
        &mut self,
        (message, length, offset): (u64, usize, usize),
        bytes: &[u8],
        length_max: usize,
    ) -> Option<Vec<u8>> {
        if offset == 0 && length <= length_max {
            self.partial = Some(Partial { message, length, bytes: Vec::new() });
        }
        let partial = self.partial.as_mut()?;
        let fits = partial.bytes.len() == offset && offset + bytes.len() <= partial.length;
        if !fits || partial.length != length {
            // A part before it is lost, and with it the message.
            self.partial = None;
            return None;
        }
        partial.bytes.extend_from_slice(bytes);
        if partial.bytes.len() < length {
            return None;
        }
        self.next_message = message.saturating_add(1);
        self.partial.take().map(|partial| partial.bytes)
    }

    fn note(&mut self, bytes: usize) {
        self.untold_bytes += bytes;
        self.is_untold = true;
    }

    /// Whether the sender is to be told now that frames are taken.
    pub(super) fn owes_taken(&self) -> bool {
        self.untold_bytes >= TAKEN_BYTES
    }

    /// Whether there is anything to tell, however little.
    pub(super) fn is_untold(&self) -> bool {
        self.is_untold
    }

    /// The sender is told.
    pub(super) fn tell(&mut self) -> u64 {
        (self.untold_bytes, self.is_untold) = (0, false);
        self.next_frame
    }

    #[cfg(test)]
    pub(super) fn next_frame(&self) -> u64 {
        self.next_frame
    }
}

fn hash(numbers: [u64; 3], bytes: &[u8]) -> u64 {
    let seed = numbers.iter().fold(0, |seed: u64, number| seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number);
    xxh3_64_with_seed(bytes, seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(frame: u64, first: u64, count: u32) -> Body<'static> {
        Body::Messages { frame, first, count, bytes: b"" }
    }

    #[test]
    fn a_number_too_high_is_what_is_missing_and_one_too_low_a_new_beginning() {
        let mut incoming = Incoming::default();
        let mut missed = |body: Body<'_>| incoming.receive(&body, 100).1;
        assert_eq!(missed(messages(0, 0, 5)), 0);
        assert_eq!(missed(messages(3, 9, 1)), 4);
        assert_eq!(missed(messages(0, 0, 1)), 1);
        assert_eq!(missed(messages(1, 1, 1)), 0);
        assert_eq!(missed(messages(u64::MAX, u64::MAX, u32::MAX)), u64::MAX - 2);
    }

    #[test]
    fn what_was_lost_on_the_way_is_told_from_a_gap_that_was_left() {
        let mut incoming = Incoming::default();
        let mut gap = |body: Body<'_>| (incoming.receive(&body, 100).1, incoming.has_lost_frames());
        assert_eq!(gap(messages(0, 1, 1)), (1, false), "the frame before is there");
        assert_eq!(gap(messages(1, 2, 1)), (0, false));
        assert_eq!(gap(Body::Tail { frame: 2, message: 4 }), (1, false));
        assert_eq!(gap(messages(4, 6, 1)), (2, true));
        assert_eq!(gap(Body::Tail { frame: 6, message: 8 }), (1, true));
        assert_eq!(gap(messages(6, 0, 1)), (1, true), "it counts anew");
    }

    #[test]
    fn what_arrives_twice_or_too_late_is_nothing() {
        let mut incoming = Incoming::default();
        let frame = |frame, text| Body::Messages { frame, first: frame, count: 1, bytes: text };
        let mut take = |body: Body<'_>| {
            let (arrived, missed) = incoming.receive(&body, 100);
            (matches!(arrived, Arrived::Messages(_)), missed)
        };
        assert_eq!(take(frame(0, b"a")), (true, 0));
        assert_eq!(take(frame(0, b"a")), (false, 0), "twice");
        assert_eq!(take(frame(2, b"c")), (true, 1), "one is missing");
        assert_eq!(take(frame(1, b"b")), (false, 0), "and was counted");
        assert_eq!(take(frame(0, b"a")), (false, 0));
        assert_eq!(take(frame(2, b"c")), (false, 0));
        assert_eq!(
            take(Body::Tail { frame: 2, message: 2 }),
            (false, 0),
            "it was said before the last frame"
        );
        assert_eq!(take(frame(2, b"c")), (false, 0));
        assert_eq!(take(frame(3, b"d")), (true, 0));
        assert_eq!(take(Body::Tail { frame: 4, message: 4 }), (false, 0));
        // Another frame of that number: the other node counts anew.
        assert_eq!(take(frame(2, b"x")), (true, 1));
        assert_eq!(take(frame(3, b"d")), (true, 0), "nothing is remembered of the former count");
        // What is long ago is no accident of a network, either.
        (4..200).for_each(|at| assert_eq!(take(frame(at, b"y")), (true, 0)));
        assert_eq!(take(frame(100, b"y")), (true, 1));
    }

    #[test]
    fn a_message_longer_than_may_be_is_missing() {
        let mut incoming = Incoming::default();
        let part = |message, length, offset, bytes| Body::Part { frame: 0, message, length, offset, bytes };
        assert!(matches!(incoming.receive(&part(0, 101, 0, b"x"), 100), (Arrived::Nothing, 0)));
        assert!(incoming.partial.is_none());
        assert!(matches!(incoming.receive(&part(1, 2, 0, b"x"), 100), (Arrived::Nothing, 1)));
        // More than was announced.
        assert!(matches!(incoming.receive(&part(1, 2, 1, b"xyz"), 100), (Arrived::Nothing, 0)));
        assert!(matches!(incoming.receive(&part(2, 2, 0, b"xy"), 100), (Arrived::Whole(_), 1)));
    }
}
