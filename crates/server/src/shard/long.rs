//! Messages of megabytes: their frames are made a piece at a time, and then they are published as all others are.
//!
//! ```text
//!   PUBLISH ────────► Wait::Parts ─► a piece of a frame, others are served ─► … ─► all are there: published
//!   from the mail ──► its turn ────► a piece of a frame, others are served ─► … ─► all are there: handed out
//! ```
//!
//! 1. A frame is made for each form that somebody here gets (protocol, and pattern), and the texts for other shards.
//! 2. When that is done, those who listen are looked up again: who has come meanwhile has a frame made, too.
//! 3. The message is published at one moment; what its publisher sends behind it, and what stands behind it in the mail, waits.
//!
//! A transaction that goes on in slices does the same in these. In one piece are made: events of pages, which are JSON, and messages of
//! other transactions, of scripts, and of channels that remember.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sterna_command::Row;
use sterna_protocol::frame::{self, MessageKind};
use sterna_protocol::{Args, Proto, Reply};
use sterna_pubsub::SubscriberSet;

use crate::connection::chunk::{self, Range};
use crate::parcel::{Matches, Namespace};
use crate::shard::Shard;
use crate::shard::fanout::proto_of;

/// A payload of so many bytes is long: copying it takes some half a millisecond.
pub(super) const LONG_BYTES: usize = 1 << 20;

/// One of so many is if it is copied for many patterns.
const COPIED_OFTEN_BYTES: usize = 16 << 10;

/// Bytes that are copied between two readings of the clock.
const PIECE_BYTES: usize = 128 << 10;

/// Time spent at once on the frames of a message that is published here.
const TIME_AT_ONCE: Duration = Duration::from_micros(300);

/// What a frame ends with, behind its payload.
const END: &[u8] = b"\r\n";

/// Whether the frames of a message are made a piece at a time.
#[inline]
pub(super) fn is_long(payload_bytes: usize, patterns: usize) -> bool {
    payload_bytes >= COPIED_OFTEN_BYTES && payload_bytes.saturating_mul(1 + patterns) >= LONG_BYTES
}

/// What is made of a message before it is published.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    frames: Vec<Frame>,
    /// Channel and payload, for other shards.
    texts: Vec<u8>,
}

/// A frame on its way to be whole.
#[derive(Debug)]
struct Frame {
    proto: Proto,
    pattern: Option<Arc<[u8]>>,
    /// Bytes in front of the payload.
    head: usize,
    /// As long as `whole` when it is done.
    bytes: Vec<u8>,
    whole: usize,
}

impl Frame {
    fn begin(
        proto: Proto,
        pattern: Option<&Arc<[u8]>>,
        (space, channel): (Namespace, &[u8]),
        payload_bytes: usize,
    ) -> Frame {
        let kind = match (pattern, space) {
            (Some(_), _) => MessageKind::Pmessage,
            (None, Namespace::Channels | Namespace::Pages) => MessageKind::Message,
            (None, Namespace::Sharded) => MessageKind::Smessage,
        };
        let mut head = Vec::new();
        frame::head(&mut head, (proto, kind), pattern.map(|pattern| &**pattern), channel, payload_bytes);
        let (head_bytes, whole) = (head.len(), head.len() + payload_bytes + END.len());
        let mut bytes = Vec::with_capacity(whole);
        bytes.append(&mut head);
        Frame { proto, pattern: pattern.cloned(), head: head_bytes, bytes, whole }
    }

    fn is_done(&self) -> bool {
        self.bytes.len() == self.whole
    }

    fn copy_a_piece(&mut self, payload: &[u8]) {
        let at = self.bytes.len() - self.head;
        let end = payload.len().min(at + PIECE_BYTES);
        self.bytes.extend_from_slice(&payload[at..end]);
        if end == payload.len() {
            self.bytes.extend_from_slice(END);
        }
    }
}

impl Prepared {
    /// The frame of a form, if it was made.
    pub(super) fn take(&mut self, proto: Proto, pattern: Option<&[u8]>) -> Option<Range> {
        let at = self.place_of(proto, pattern).filter(|&at| self.frames[at].is_done())?;
        Some(Range::of(self.frames.swap_remove(at).bytes))
    }

    /// Channel and payload, of so many bytes, if they were put together.
    pub(super) fn take_texts(&mut self, bytes: usize) -> Option<Vec<u8>> {
        (self.texts.len() == bytes).then(|| std::mem::take(&mut self.texts))
    }

    fn place_of(&self, proto: Proto, pattern: Option<&[u8]>) -> Option<usize> {
        self.frames.iter().position(|frame| frame.proto == proto && frame.pattern.as_deref() == pattern)
    }
}

impl Drop for Prepared {
    /// What nobody has waited for in the end is as slow to free as the rest.
    fn drop(&mut self) {
        self.frames.drain(..).for_each(|frame| chunk::free_long(frame.bytes));
        chunk::free_long(std::mem::take(&mut self.texts));
    }
}

impl Shard {
    /// Whether the message of a PUBLISH is long; then its frames are made first.
    #[inline]
    pub(crate) fn makes_frames_first(
        &mut self,
        slot: usize,
        row: &'static Row,
        space: Namespace,
        args: Args<'_>,
    ) -> bool {
        let begins = args[2].len() >= COPIED_OFTEN_BYTES && self.is_long_message(space, args);
        if begins {
            self.publish_in_parts(slot, row, space);
        }
        begins
    }

    /// Whether the message of a PUBLISH in a transaction is long; if that goes on in slices, it makes the frames in them first.
    pub(crate) fn postpones_message(&mut self, space: Namespace, args: Args<'_>) -> bool {
        let postpones = self.fanout.may_postpone
            && args[2].len() >= COPIED_OFTEN_BYTES
            && self.is_long_message(space, args);
        if postpones {
            self.fanout.postponed = Some(space);
        }
        postpones
    }

    #[cold]
    fn is_long_message(&mut self, space: Namespace, args: Args<'_>) -> bool {
        let patterns = if is_long(args[2].len(), self.server.directory.patterns.len()) {
            self.matching_patterns(space, &args[1]).0.len()
        } else {
            0
        };
        is_long(args[2].len(), patterns)
    }

    /// Makes some of the frames of what the connection publishes; when all are there, publishes it: true.
    pub(crate) fn part_of_message(
        &mut self,
        slot: usize,
        row: &'static Row,
        (space, args): (Namespace, Args<'_>),
        prepared: &mut Prepared,
        out: &mut Vec<u8>,
    ) -> bool {
        let (channel, payload) = (&args[1], &args[2]);
        let (patterns, by_pattern) = self.matching_patterns(space, channel);
        let by_name = self.directory_of(space).elsewhere(sterna_pubsub::hash(channel), channel, self.index);
        let is_mailed = (by_name.shards | by_pattern.shards) != 0;
        let until = Some(Instant::now() + TIME_AT_ONCE);
        if !self.prepare(prepared, (space, channel, &patterns), payload, is_mailed, until) {
            return false;
        }
        let proto = self.connections[slot].proto;
        // The user's rules may have changed since the request was let in.
        if let Err(failure) = self.check_rights(slot, row, args) {
            self.count_error(failure.wire());
            Reply::new(out, proto).error(failure.wire());
            return true;
        }
        self.fanout.prepared = Some(std::mem::take(prepared));
        let deliveries = self.publish(space, channel, payload);
        self.fanout.prepared = None;
        Reply::new(out, proto).int(deliveries as i64);
        true
    }

    /// Makes what those who listen to a message get, until it is there or the time is up; true: it is there.
    pub(super) fn prepare(
        &mut self,
        prepared: &mut Prepared,
        (space, channel, patterns): (Namespace, &[u8], &Matches),
        payload: &[u8],
        is_mailed: bool,
        until: Option<Instant>,
    ) -> bool {
        let is_over = || until.is_some_and(|until| Instant::now() >= until);
        for (proto, pattern) in self.forms_of(space, channel, patterns) {
            let at = prepared.place_of(proto, pattern.map(|pattern| &**pattern)).unwrap_or_else(|| {
                prepared.frames.push(Frame::begin(proto, pattern, (space, channel), payload.len()));
                prepared.frames.len() - 1
            });
            let frame = &mut prepared.frames[at];
            while !frame.is_done() {
                frame.copy_a_piece(payload);
                if is_over() {
                    return false;
                }
            }
        }
        let texts = &mut prepared.texts;
        if is_mailed && texts.is_empty() {
            texts.reserve_exact(channel.len() + payload.len());
            texts.extend_from_slice(channel);
        }
        while is_mailed && texts.len() < channel.len() + payload.len() {
            let at = texts.len() - channel.len();
            texts.extend_from_slice(&payload[at..payload.len().min(at + PIECE_BYTES)]);
            if is_over() {
                return false;
            }
        }
        true
    }

    /// The frames of RESP that a message would be sent in here: the protocol, and the pattern that it comes by.
    fn forms_of<'m>(
        &self,
        space: Namespace,
        channel: &[u8],
        patterns: &'m Matches,
    ) -> Vec<(Proto, Option<&'m Arc<[u8]>>)> {
        if space == Namespace::Pages {
            return Vec::new();
        }
        let mut forms = Vec::new();
        let mut add = |members: Option<&SubscriberSet<u32>>, pattern| {
            let slots = members.map_or(&[][..], SubscriberSet::as_slice);
            let speaks = |proto| {
                let dialect = |&slot: &u32| self.connections[slot as usize].dialect();
                slots.iter().any(|slot| proto_of(dialect(slot)) == Some(proto))
            };
            for proto in [Proto::Resp2, Proto::Resp3] {
                if speaks(proto) {
                    forms.push((proto, pattern));
                }
            }
        };
        add(self.index_of(space).subscribers_hashed(sterna_pubsub::hash(channel), channel), None);
        for pattern in patterns {
            add(self.patterns.subscribers(pattern), Some(pattern));
        }
        forms
    }
}
