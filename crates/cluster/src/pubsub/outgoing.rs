//! What goes to one other node: frames in order, a window of what it has not taken, and what is dropped.
//!
//! ```text
//!   messages ─► open frame ─► sealed, waiting ─► under way ─► taken
//!                   │              └ behind: publishers wait
//!                   └ sealed when it is full, or when there is nothing more to add
//! ```
//!
//! Frames and messages have numbers of their own, from 0. What is dropped keeps its numbers, so that the other node sees how many
//! messages it lacks. A message that fits no frame goes in parts, a frame each.
//!
//! A node that takes nothing for [`STALL`] while something waits is *stalled*: what waits for it is dropped until it takes
//! something again. It is asked with tails, which cost nothing to answer.
//!
//! Invariants
//! - `under_way_bytes` and `waiting_bytes` are the sums over their frames; none waits while the window has room.
//! - Between frames that are sent numbers only rise; frames that were sent are in order.
//!
//! Pure: the time is passed in, what is to be sent comes out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::frame::{Body, HEADER_BYTES_MAX, Link, NodeId, write_on};

/// A frame is sealed above so many bytes.
const FRAME_BYTES: usize = 32 * 1024;

/// A message that is longer goes in parts of this size: below NATS's usual limit of 1 MiB.
pub(super) const PART_BYTES: usize = 256 * 1024;

/// After so long without anything taken while something waits, what waits is dropped.
pub(super) const STALL: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Frame {
    number: u64,
    /// Messages that are lost if it is.
    messages: u64,
    bytes: Bytes,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Outgoing {
    me: NodeId,
    link: Link,
    window_bytes: usize,
    part_bytes: usize,
    open: Vec<u8>,
    open_first: u64,
    open_count: u32,
    next_frame: u64,
    next_message: u64,
    waiting: VecDeque<Frame>,
    waiting_bytes: usize,
    /// Numbers of frames that were sent and not taken, and their bytes.
    under_way: VecDeque<(u64, usize)>,
    under_way_bytes: usize,
    /// When something was last taken, or something began to wait.
    progressed: Instant,
    is_stalled: bool,
    /// Frames have been sent since the last tail.
    owes_tail: bool,
    /// Messages that were dropped here.
    pub(super) dropped: u64,
    /// Messages that were handed over, dropped ones included.
    pub(super) messages: u64,
}

impl Outgoing {
    pub(super) fn new(
        (me, link): (NodeId, Link),
        window_bytes: usize,
        part_bytes: usize,
        now: Instant,
    ) -> Outgoing {
        Outgoing {
            me,
            link,
            window_bytes,
            part_bytes: part_bytes.clamp(1, PART_BYTES),
            open: Vec::new(),
            open_first: 0,
            open_count: 0,
            next_frame: 0,
            next_message: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            under_way: VecDeque::new(),
            under_way_bytes: 0,
            progressed: now,
            is_stalled: false,
            owes_tail: false,
            dropped: 0,
            messages: 0,
        }
    }

    /// Adds a message. `letter` is what it lies in.
    pub(super) fn push(&mut self, message: &[u8], letter: &Bytes) {
        self.messages += 1;
        if self.is_stalled {
            return self.drop_one();
        }
        if message.len() > self.part_bytes {
            self.seal();
            return self.push_in_parts(letter.slice_ref(message));
        }
        if self.open_count == 0 {
            self.open_first = self.next_message;
        }
        self.open.extend_from_slice(message);
        self.open_count += 1;
        self.next_message += 1;
        if self.open.len() >= FRAME_BYTES {
            self.seal();
        }
    }

    /// The node can't be reached: a message to it is dropped.
    pub(super) fn drop_one(&mut self) {
        self.next_message += 1;
        self.dropped += 1;
        self.owes_tail = true;
    }

    /// Has the node miss a message between what was pushed before and what comes: by that it learns of something.
    pub(super) fn leave_gap(&mut self) {
        self.seal();
        self.drop_one();
    }

    fn push_in_parts(&mut self, message: Bytes) {
        let (number, length) = (self.next_message, message.len());
        self.next_message += 1;
        for offset in (0..length).step_by(self.part_bytes) {
            let part = &message[offset..length.min(offset + self.part_bytes)];
            let is_last = offset + part.len() == length;
            let body = Body::Part {
                frame: self.next_frame,
                message: number,
                length: length as u32,
                offset: offset as u32,
                bytes: part,
            };
            let bytes = write_on(self.me, self.link, &body).into();
            self.enqueue(bytes, u64::from(is_last));
        }
    }

    /// Nothing more is to be added for now.
    pub(super) fn seal(&mut self) {
        if self.open_count == 0 {
            return;
        }
        let body = Body::Messages {
            frame: self.next_frame,
            first: self.open_first,
            count: self.open_count,
            bytes: &self.open,
        };
        let bytes = write_on(self.me, self.link, &body).into();
        let messages = u64::from(std::mem::take(&mut self.open_count));
        self.open.clear();
        self.enqueue(bytes, messages);
    }

    fn enqueue(&mut self, bytes: Bytes, messages: u64) {
        self.waiting_bytes += bytes.len();
        self.waiting.push_back(Frame { number: self.next_frame, messages, bytes });
        self.next_frame += 1;
    }

    /// The next frame to send, if the window has room for it.
    pub(super) fn next(&mut self, now: Instant) -> Option<Bytes> {
        if self.under_way_bytes > self.window_bytes {
            return None;
        }
        let frame = self.waiting.pop_front()?;
        if self.under_way.is_empty() {
            self.progressed = now;
        }
        let bytes = frame.bytes.len();
        self.waiting_bytes -= bytes;
        self.under_way.push_back((frame.number, bytes));
        self.under_way_bytes += bytes;
        self.owes_tail = true;
        Some(frame.bytes)
    }

    /// The node has taken everything before this frame.
    pub(super) fn taken(&mut self, next_frame: u64, now: Instant) {
        while let Some(&(number, bytes)) = self.under_way.front()
            && number < next_frame
        {
            self.under_way.pop_front();
            self.under_way_bytes -= bytes;
            self.progressed = now;
        }
        if next_frame >= self.waiting.front().map_or(self.next_frame, |frame| frame.number) {
            self.is_stalled = false;
            self.progressed = now;
        }
    }

    /// Drops what waits if the node has taken nothing for too long. Returns whether it has stalled just now.
    pub(super) fn check_stall(&mut self, now: Instant) -> bool {
        if self.waiting.is_empty() || now.saturating_duration_since(self.progressed) < STALL {
            return false;
        }
        self.drop_waiting();
        !std::mem::replace(&mut self.is_stalled, true)
    }

    /// The node is gone, or NATS is: nothing waits for it, and what was under way is not waited for.
    pub(super) fn cut(&mut self) {
        self.seal();
        self.drop_waiting();
        self.under_way.clear();
        self.under_way_bytes = 0;
        self.is_stalled = false;
        self.owes_tail = true;
    }

    fn drop_waiting(&mut self) {
        self.dropped += self.waiting.iter().map(|frame| frame.messages).sum::<u64>();
        self.waiting.clear();
        self.waiting_bytes = 0;
    }

    /// What the node is told now and then, so that it notices a loss at the end: what comes next. `None`: there is nothing to notice.
    pub(super) fn tail(&mut self) -> Option<Bytes> {
        if !self.waiting.is_empty() || self.open_count > 0 {
            // What waits comes later, and says it itself.
            return None;
        }
        let is_due = std::mem::take(&mut self.owes_tail) || !self.under_way.is_empty() || self.is_stalled;
        let body = Body::Tail { frame: self.next_frame, message: self.next_message };
        is_due.then(|| write_on(self.me, self.link, &body).into())
    }

    /// Bytes that the node has not taken.
    pub(super) fn bytes(&self) -> usize {
        self.waiting_bytes + self.under_way_bytes + self.open.len()
    }

    /// Whether more waits than the window takes.
    pub(super) fn is_behind(&self) -> bool {
        !self.waiting.is_empty() && !self.is_stalled
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.is_stalled
    }

    #[cfg(test)]
    fn check(&self) {
        assert_eq!(self.waiting_bytes, self.waiting.iter().map(|frame| frame.bytes.len()).sum::<usize>());
        assert_eq!(self.under_way_bytes, self.under_way.iter().map(|(_, bytes)| bytes).sum::<usize>());
        assert!(self.under_way.iter().zip(self.under_way.iter().skip(1)).all(|(a, b)| a.0 < b.0));
        assert!(self.open.len() < FRAME_BYTES + PART_BYTES);
    }
}

const _: () = assert!(FRAME_BYTES + PART_BYTES + HEADER_BYTES_MAX < 1024 * 1024);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pubsub::frame::read;
    use crate::pubsub::incoming::{Arrived, Incoming};
    use sterna_server::{ChannelKind, forwarded};

    /// A letter of one message, as a shard writes it.
    fn letter(channel: &[u8], payload: &[u8]) -> Bytes {
        let mut bytes = vec![ChannelKind::Plain as u8];
        bytes.extend_from_slice(&(channel.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes.extend_from_slice(channel);
        bytes.extend_from_slice(payload);
        bytes.into()
    }

    fn push(outgoing: &mut Outgoing, payload: &[u8]) {
        let letter = letter(b"c", payload);
        let message = forwarded(&letter).next().expect("a message");
        outgoing.push(message.bytes, &letter);
        outgoing.check();
    }

    fn new(window_bytes: usize, now: Instant) -> Outgoing {
        Outgoing::new((NodeId(1), Link::Messages), window_bytes, PART_BYTES, now)
    }

    /// Payloads that arrive of these frames, and how many messages are known to be missing.
    fn receive(incoming: &mut Incoming, frames: &[Bytes]) -> (Vec<Vec<u8>>, u64) {
        let (mut payloads, mut missed) = (Vec::new(), 0);
        for frame in frames {
            let (_, _, body) = read(frame).expect("a frame");
            let (arrived, lost) = incoming.receive(&body, usize::MAX);
            missed += lost;
            let bytes = match &arrived {
                Arrived::Messages(bytes) => bytes,
                Arrived::Whole(bytes) => &bytes[..],
                Arrived::Nothing => continue,
            };
            payloads.extend(forwarded(bytes).map(|message| message.payload.to_vec()));
        }
        (payloads, missed)
    }

    fn all(outgoing: &mut Outgoing, now: Instant) -> Vec<Bytes> {
        std::iter::from_fn(|| outgoing.next(now)).collect()
    }

    #[test]
    fn messages_of_a_burst_share_frames_and_arrive_in_order() {
        let now = Instant::now();
        let (mut outgoing, mut incoming) = (new(1 << 20, now), Incoming::default());
        let sent: Vec<Vec<u8>> = (0..3000_u32).map(|n| [&n.to_le_bytes()[..], &[7; 60]].concat()).collect();
        sent.iter().for_each(|payload| push(&mut outgoing, payload));
        outgoing.seal();
        let frames = all(&mut outgoing, now);
        assert!(frames.len() < 10, "{}", frames.len());
        assert_eq!(receive(&mut incoming, &frames), (sent, 0));
    }

    #[test]
    fn a_message_that_fits_no_frame_goes_in_parts_between_its_neighbours() {
        let now = Instant::now();
        let (mut outgoing, mut incoming) = (new(64 << 20, now), Incoming::default());
        let long: Vec<u8> = (0..3 * PART_BYTES + 17).map(|n| n as u8).collect();
        for payload in [b"before", &long[..], b"after"] {
            push(&mut outgoing, payload);
        }
        outgoing.seal();
        let frames = all(&mut outgoing, now);
        assert_eq!(frames.len(), 6);
        assert!(frames.iter().all(|frame| frame.len() <= PART_BYTES + HEADER_BYTES_MAX));
        let (arrived, missed) = receive(&mut incoming, &frames);
        assert_eq!(missed, 0);
        assert!(arrived == [b"before".to_vec(), long, b"after".to_vec()]);
    }

    #[test]
    fn a_lost_part_is_one_message_missing() {
        let now = Instant::now();
        for lost in 1..5 {
            let (mut outgoing, mut incoming) = (new(64 << 20, now), Incoming::default());
            for payload in [b"before", &[1; 3 * PART_BYTES + 17][..], b"after"] {
                push(&mut outgoing, payload);
            }
            outgoing.seal();
            let mut frames = all(&mut outgoing, now);
            frames.remove(lost);
            let (arrived, missed) = receive(&mut incoming, &frames);
            assert_eq!((arrived, missed), (vec![b"before".to_vec(), b"after".to_vec()], 1), "part {lost}");
        }
    }

    #[test]
    fn a_loss_at_the_end_shows_in_the_tail() {
        let now = Instant::now();
        let (mut outgoing, mut incoming) = (new(1 << 20, now), Incoming::default());
        for _ in 0..3 {
            push(&mut outgoing, b"x");
            outgoing.seal();
        }
        let mut frames = all(&mut outgoing, now);
        frames.pop();
        frames.extend(outgoing.tail());
        let (arrived, missed) = receive(&mut incoming, &frames);
        assert_eq!((arrived.len(), missed), (2, 1));
        outgoing.taken(incoming.next_frame(), now);
        assert_eq!((outgoing.bytes(), outgoing.tail()), (0, None));
    }

    #[test]
    fn a_window_that_is_full_holds_frames_back_until_some_are_taken() {
        let now = Instant::now();
        let mut outgoing = new(100_000, now);
        (0..100).for_each(|_| push(&mut outgoing, &[0; 10_000]));
        outgoing.seal();
        let sent = all(&mut outgoing, now);
        assert!(outgoing.is_behind() && sent.len() < 6, "{}", sent.len());
        outgoing.taken(sent.len() as u64, now);
        outgoing.check();
        assert!(!all(&mut outgoing, now).is_empty());
    }

    #[test]
    fn a_node_that_takes_nothing_stalls_and_goes_on_when_it_takes_something() {
        let now = Instant::now();
        let (mut outgoing, mut incoming) = (new(50_000, now), Incoming::default());
        let mut count = 0;
        while !outgoing.is_behind() {
            push(&mut outgoing, &[0; 1000]);
            count += 1;
            all(&mut outgoing, now)
                .iter()
                .for_each(|frame| drop(receive(&mut incoming, std::slice::from_ref(frame))));
        }
        assert!(!outgoing.check_stall(now + STALL / 2));
        assert!(outgoing.check_stall(now + STALL) && !outgoing.check_stall(now + STALL));
        assert!(outgoing.is_stalled() && !outgoing.is_behind());
        push(&mut outgoing, b"dropped");
        count += 1;
        let tail = outgoing.tail().expect("a stalled node is asked");
        let (_, missed) = receive(&mut incoming, &[tail]);
        assert_eq!(missed, outgoing.dropped);
        assert!(missed > 0 && missed < count);
        outgoing.taken(incoming.next_frame(), now);
        assert!(!outgoing.is_stalled());
        push(&mut outgoing, b"again");
        outgoing.seal();
        let frames = all(&mut outgoing, now);
        assert_eq!(receive(&mut incoming, &frames), (vec![b"again".to_vec()], 0));
        outgoing.check();
    }

    #[test]
    fn a_gap_is_left_behind_what_was_pushed_before() {
        let now = Instant::now();
        let (mut outgoing, mut incoming) = (new(1 << 20, now), Incoming::default());
        push(&mut outgoing, b"before");
        outgoing.leave_gap();
        push(&mut outgoing, b"after");
        outgoing.seal();
        let frames = all(&mut outgoing, now);
        assert_eq!(receive(&mut incoming, &frames[..1]), (vec![b"before".to_vec()], 0));
        assert_eq!(receive(&mut incoming, &frames[1..]), (vec![b"after".to_vec()], 1));
        assert!(!incoming.has_lost_frames());
    }

    #[test]
    fn what_is_dropped_while_a_node_is_away_is_missing_when_it_is_back() {
        let now = Instant::now();
        let (mut outgoing, mut incoming) = (new(1 << 20, now), Incoming::default());
        push(&mut outgoing, b"waits");
        outgoing.cut();
        (0..3).for_each(|_| outgoing.drop_one());
        push(&mut outgoing, b"back");
        outgoing.seal();
        let frames = all(&mut outgoing, now);
        assert_eq!(receive(&mut incoming, &frames), (vec![b"back".to_vec()], 4));
        assert_eq!(outgoing.dropped, 4);
    }
}
