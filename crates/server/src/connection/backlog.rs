//! Backlog: what a detached connection has to tell its successor, as whole frames.
//!
//! ```text
//!   kept by the output queue      [..acknowledged..│ not acknowledged ] [ queued ] ◄── messages go on being pushed
//!                                  └ frames that end here are dropped
//! ```
//!
//! It is the output queue of a connection that has no socket: its ranges are shared with every other queue that waits for the
//! same messages. Frames are read back from their bytes only when the connection breaks, when the backlog is over its limit,
//! and when a successor asks for some.
//!
//! Invariants
//! - It begins with a frame, and ends with one.
//! - Whatever leaves it without being handed to a successor is counted, unless it is no message.
//!
//! Cost: reading a frame is O(its headers), some 20 ns.

use sterna_protocol::Proto;
use sterna_protocol::decode::{Value, decode};
use sterna_protocol::frame::{self, Message, MessageKind};
use sterna_pubsub::Kind;

use super::chunk::{Appender, Range};
use super::output::OutputQueue;

/// Messages that are dropped in one go: some 0.1 ms.
pub(crate) const DROPPED_AT_ONCE_MAX: usize = 4096;

/// What stands at the start of some bytes.
enum Frame<'a> {
    Message(Message<'a>),
    /// A reply, a confirmation: of no interest to a successor. With its length.
    Other(usize),
}

impl Frame<'_> {
    /// The frame at the start of `bytes`, if all of it is there.
    fn read(bytes: &[u8]) -> Option<Frame<'_>> {
        match frame::read_message(bytes) {
            Some(message) => Some(Frame::Message(message)),
            None => decode(bytes).ok().flatten().map(|(_, len)| Frame::Other(len)),
        }
    }

    fn len(&self) -> usize {
        match self {
            Frame::Message(message) => message.len,
            Frame::Other(len) => *len,
        }
    }
}

/// The kind of subscription that a message came by.
fn kind_of(message: &Message<'_>) -> Kind {
    match message.kind {
        MessageKind::Message => Kind::Channel,
        MessageKind::Pmessage => Kind::Pattern,
        MessageKind::Smessage => Kind::Sharded,
    }
}

impl OutputQueue {
    /// Makes it a backlog: of what was sent the last `unacknowledged` bytes count as lost, and the frame that they begin in.
    /// What lies in the chunk of `replies`, which is not on loan now, is copied: it may be, when the backlog is read.
    pub(crate) fn become_backlog(&mut self, unacknowledged: usize, replies: &Appender) {
        let readable = |range: Range| match replies.may_lend(&range) {
            true => Range::of(range.bytes(0).to_vec()),
            false => range,
        };
        let (mut ranges, mut skip) = self.take_all(unacknowledged);
        while let Some(first) = ranges.pop_front() {
            if first.len() <= skip {
                skip -= first.len();
                continue;
            }
            let acknowledged = whole_frames(&first.bytes(0), skip);
            self.push(readable(first.part(acknowledged, first.len())));
            break;
        }
        ranges.into_iter().for_each(|range| self.push(readable(range)));
    }

    /// What would become a backlog now, as a queue of its own, without what lies in the chunk of `replies`, which is on loan: that is
    /// no message.
    pub(crate) fn copy_of_unacknowledged(&self, unacknowledged: usize, replies: &Appender) -> OutputQueue {
        let (ranges, written) = self.all();
        let mut skip = written - unacknowledged.min(written);
        let mut copy = OutputQueue::default();
        for range in ranges {
            if range.len() <= skip {
                skip -= range.len();
                continue;
            }
            if !replies.may_lend(range) {
                copy.push(range.part(whole_frames(&range.bytes(0), skip), range.len()));
            }
            skip = 0;
        }
        copy
    }

    /// Drops the oldest frames until at most `bytes_max` are left, but `frames_max` in one go. Returns how many of them were
    /// messages.
    pub(crate) fn drop_oldest(&mut self, bytes_max: usize, frames_max: usize) -> u64 {
        let (mut dropped, mut frames) = (0, 0);
        while self.queued_bytes() > bytes_max && frames < frames_max {
            let Some(range) = self.front() else { break };
            let mut at = 0;
            while at < range.len()
                && self.queued_bytes() - at > bytes_max
                && frames < frames_max
                && let Some(frame) = Frame::read(&range.bytes(at))
            {
                at += frame.len();
                dropped += u64::from(matches!(frame, Frame::Message(_)));
                frames += 1;
            }
            self.skip(at);
            if at == 0 {
                // It is no frame: what begins in it ends in the next one.
                dropped += self.join_from_front();
            }
        }
        dropped
    }

    /// Takes out the messages that `wants` asks for by their subscription, in their order, and whatever is no message.
    pub(crate) fn take_messages(&mut self, wants: impl Fn(Kind, &[u8]) -> bool) -> Vec<Range> {
        let mut taken: Vec<Range> = Vec::new();
        let mut left = OutputQueue::default();
        while let Some(range) = self.pop_range() {
            let (mut at, len) = (0, range.len());
            while at < len {
                let bytes = range.bytes(at);
                let Some(frame) = Frame::read(&bytes) else { break };
                let next = at + frame.len();
                if let Frame::Message(message) = &frame {
                    let part = range.part(at, next);
                    if !wants(kind_of(message), message.subscription) {
                        left.push(part);
                    } else if !taken.last_mut().is_some_and(|last| last.extend(&part)) {
                        taken.push(part);
                    }
                }
                at = next;
            }
            if at < len {
                self.join(range.part(at, len));
            }
        }
        *self = left;
        taken
    }

    /// How many messages it holds.
    pub(crate) fn count_messages(&self) -> u64 {
        let mut count = 0;
        self.for_each_range(|range| {
            let mut at = 0;
            while at < range.len() {
                let bytes = range.bytes(at);
                let Some(frame) = Frame::read(&bytes) else { break };
                count += u64::from(matches!(frame, Frame::Message(_)));
                at += frame.len();
            }
        });
        count
    }

    /// `range` ends within a frame: puts it back together with all that follows. What can't be read even so counts as one
    /// message and is dropped. Returns how many were.
    ///
    /// A disk that fails has the queue of a connection that lags rewritten in the middle of a frame; nothing else does.
    #[cold]
    fn join_from_front(&mut self) -> u64 {
        self.pop_range().map_or(0, |range| self.join(range))
    }

    fn join(&mut self, range: Range) -> u64 {
        let mut bytes = range.bytes(0).to_vec();
        bytes.append(&mut self.take());
        if Frame::read(&bytes).is_none() {
            return 1;
        }
        self.push(Range::of(bytes));
        0
    }
}

/// Bytes of the frames at the start of `bytes` that end within the first `most` of them.
fn whole_frames(bytes: &[u8], most: usize) -> usize {
    let mut at = 0;
    while at < most
        && let Some(frame) = Frame::read(&bytes[at..])
        && at + frame.len() <= most
    {
        at += frame.len();
    }
    at
}

/// The messages of `ranges` as a client reads them that speaks another protocol than whom they were written for.
pub(crate) fn translated(ranges: &[Range], proto: Proto) -> Option<Range> {
    let mut bytes = Vec::with_capacity(ranges.iter().map(Range::len).sum());
    for range in ranges {
        let start = bytes.len();
        bytes.extend_from_slice(&range.bytes(0));
        let mut at = start;
        while at < bytes.len() {
            let Some(frame) = Frame::read(&bytes[at..]) else { break };
            let len = frame.len();
            frame::set_protocol(&mut bytes[at..], proto);
            at += len;
        }
    }
    (!bytes.is_empty()).then(|| Range::of(bytes))
}

/// The payloads of the messages of `ranges`, which begin and end with one.
pub(super) fn payloads_of(ranges: &[Range]) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    for range in ranges {
        let (mut at, bytes) = (0, range.bytes(0));
        while let Ok(Some((Value::Array(parts) | Value::Push(parts), len))) = decode(&bytes[at..]) {
            payloads.extend(parts.last().and_then(Value::as_bytes).map(<[u8]>::to_vec));
            at += len;
        }
    }
    payloads
}

/// Whether the first of `ranges` was written for `proto`, and so, mostly, all: who changes its protocol does it at the start.
pub(crate) fn is_all_of(ranges: &[Range], proto: Proto) -> bool {
    let mut expected = [0];
    frame::set_protocol(&mut expected, proto);
    ranges.iter().all(|range| {
        let bytes = range.bytes(0);
        let mut at = 0;
        while at < bytes.len() {
            if bytes[at] != expected[0] {
                return false;
            }
            let Some(frame) = Frame::read(&bytes[at..]) else { return true };
            at += frame.len();
        }
        true
    })
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    /// A message on channel `a`, `b` or `c`, or a reply.
    fn frame_of(which: u8, number: usize) -> Vec<u8> {
        let (mut bytes, payload) = (Vec::new(), number.to_string().into_bytes());
        match which {
            0 => frame::message(&mut bytes, Proto::Resp2, b"a", &payload),
            1 => frame::pmessage(&mut bytes, Proto::Resp2, b"b*", b"bb", &payload),
            2 => frame::smessage(&mut bytes, Proto::Resp2, b"c", &payload),
            _ => bytes.extend_from_slice(b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"),
        }
        bytes
    }

    fn queue_of(frames: &[Vec<u8>]) -> OutputQueue {
        let mut appenders = [Appender::default(), Appender::default()];
        let mut queue = OutputQueue::default();
        for (number, frame) in frames.iter().enumerate() {
            let appender = &mut appenders[number / 3 % 2];
            queue.push(appender.append(frame.len(), |buf| buf.extend_from_slice(frame)));
        }
        queue
    }

    fn bytes_of(ranges: &[Range]) -> Vec<u8> {
        ranges.iter().flat_map(|range| range.bytes(0).to_vec()).collect()
    }

    proptest! {
        #[test]
        fn a_backlog_holds_the_whole_frames_that_were_not_acknowledged(
            which in prop::collection::vec(0u8..4, 1..40),
            sent in 0usize..2000,
            unacknowledged in 0usize..1000,
        ) {
            let frames: Vec<_> = which.iter().enumerate().map(|(i, &which)| frame_of(which, i)).collect();
            let total: usize = frames.iter().map(Vec::len).sum();
            let (sent, mut queue) = (sent.min(total), queue_of(&frames));
            queue.keep_sent(true);
            let mut left = sent;
            while left > 0 {
                left -= queue.write_some(left, |slices| Ok(slices.iter().map(|slice| slice.len()).sum())).unwrap();
            }
            let unacknowledged = unacknowledged.min(sent);
            queue.become_backlog(unacknowledged, &Appender::default());
            let mut acknowledged = sent - unacknowledged;
            let rest: Vec<u8> = frames
                .iter()
                .skip_while(|frame| frame.len() <= acknowledged && { acknowledged -= frame.len(); true })
                .flatten()
                .copied()
                .collect();
            prop_assert_eq!(queue.queued_bytes(), rest.len());
            prop_assert_eq!(queue.take(), rest);
        }

        #[test]
        fn messages_are_taken_by_subscription_in_order_and_what_is_dropped_is_counted(
            which in prop::collection::vec(0u8..4, 0..60),
            bytes_max in 0usize..2000,
        ) {
            let mut frames: VecDeque<_> = which.iter().enumerate().map(|(i, &which)| (which, frame_of(which, i))).collect();
            let mut queue = queue_of(&frames.iter().map(|(_, frame)| frame.clone()).collect::<Vec<_>>());
            prop_assert_eq!(queue.count_messages(), frames.iter().filter(|(which, _)| *which < 3).count() as u64);
            let mut dropped = 0;
            while frames.iter().map(|(_, frame)| frame.len()).sum::<usize>() > bytes_max {
                dropped += u64::from(frames.pop_front().is_some_and(|(which, _)| which < 3));
            }
            prop_assert_eq!(queue.drop_oldest(bytes_max, usize::MAX), dropped);
            let of = |wanted: &[u8]| -> Vec<u8> {
                frames.iter().filter(|(which, _)| wanted.contains(which)).flat_map(|(_, frame)| frame.clone()).collect()
            };
            let taken = queue.take_messages(|kind, name| (kind, name) == (Kind::Channel, b"a") || (kind, name) == (Kind::Pattern, b"b*"));
            prop_assert_eq!(bytes_of(&taken), of(&[0, 1]));
            prop_assert!(is_all_of(&taken, Proto::Resp2) && (taken.is_empty() || !is_all_of(&taken, Proto::Resp3)));
            if let Some(translated) = translated(&taken, Proto::Resp3) {
                prop_assert!(is_all_of(&[translated], Proto::Resp3));
            }
            prop_assert_eq!(bytes_of(&queue.take_messages(|_, _| true)), of(&[2]));
            prop_assert!(queue.is_empty());
        }
    }

    #[test]
    fn frames_that_were_cut_in_the_queue_are_whole_in_the_backlog() {
        let frames = [frame_of(0, 1), frame_of(0, 2), frame_of(2, 3)];
        let all = frames.concat();
        let mut queue = OutputQueue::default();
        queue.push(Range::of(all[..10].to_vec()));
        queue.push(Range::of(all[10..].to_vec()));
        assert_eq!(bytes_of(&queue.take_messages(|kind, _| kind == Kind::Channel)), frames[..2].concat());
        assert_eq!(queue.take(), frames[2]);
        queue.push(Range::of(all[..10].to_vec()));
        queue.push(Range::of(all[10..].to_vec()));
        assert_eq!(queue.drop_oldest(frames[2].len(), usize::MAX), 2);
        queue.push(Range::of(b"*3\r\n".to_vec()));
        assert_eq!(queue.drop_oldest(0, usize::MAX), 2, "what can't be read is something");
    }
}
