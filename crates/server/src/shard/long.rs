//! Messages of megabytes: their frames are made a piece at a time, and then they are published as all others are.
//!
//! ```text
//!   PUBLISH ────────► Wait::Parts ─► a piece of a frame, others are served ─► … ─► all are there: published
//!   from the mail ──► its turn ────► a piece of a frame, others are served ─► … ─► all are there: handed out
//! ```
//!
//! 1. What all frames share, which is the payload, is copied, and channel and payload for other shards. A frame of its own is made for each form
//!    (protocol, and pattern) that a client gets who can be resumed: a successor is handed whole frames.
//! 2. When that is done, those who listen are looked up again: who has come meanwhile has a frame made, too.
//! 3. The message is published at one moment; what its publisher sends behind it, and what stands behind it in the mail, waits.
//!
//! A transaction that goes on in slices does the same in these. Scripts and other transactions copy the message once, into the mail of their
//! own shard as well (`later.rs`). In one piece are made: events of pages, which are JSON.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sterna_command::Row;
use sterna_protocol::frame;
use sterna_protocol::{Args, Proto};
use sterna_pubsub::SubscriberSet;

use crate::connection::chunk::{self, Range};
use crate::matching::Matching;
use crate::parcel::{Matches, Namespace};
use crate::shard::Shard;
use crate::shard::frames::{kind_of, proto_of};

/// A payload of so many bytes is long: copying it takes some half a millisecond.
pub(super) const LONG_BYTES: usize = 1 << 20;

/// One of so many is if it is copied for many patterns.
const COPIED_OFTEN_BYTES: usize = 16 << 10;

/// Bytes that are copied between two readings of the clock.
const PIECE_BYTES: usize = 128 << 10;

/// Time spent at once on the frames of a message that is published here.
const TIME_AT_ONCE: Duration = Duration::from_micros(300);

/// Whether the frames of a message are made a piece at a time.
#[inline]
pub(super) fn is_long(payload_bytes: usize, patterns: usize) -> bool {
    payload_bytes >= COPIED_OFTEN_BYTES && payload_bytes.saturating_mul(1 + patterns) >= LONG_BYTES
}

/// What a frame is made for: the protocol, and the pattern that it comes by, if it is one.
type Form<'m> = (Proto, Option<&'m Arc<[u8]>>);

/// What is made of a message before it is published.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// Payload and end, which most frames share.
    body: Vec<u8>,
    /// Those that have to lie in one piece.
    frames: Vec<Frame>,
    /// Channel and payload, for other shards.
    texts: Vec<u8>,
    /// The patterns that match, where finding them takes long.
    pub(super) matching: Option<Matching>,
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
        let (mut head, by) = (Vec::new(), pattern.map(|pattern| &**pattern));
        frame::head(&mut head, (proto, kind_of(space, by)), by, channel, payload_bytes);
        let (head_bytes, whole) = (head.len(), head.len() + payload_bytes + frame::END.len());
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
            self.bytes.extend_from_slice(frame::END);
        }
    }
}

impl Prepared {
    /// The frame of a form, if it was made.
    pub(super) fn take(&mut self, proto: Proto, pattern: Option<&[u8]>) -> Option<Range> {
        let at = self.place_of(proto, pattern).filter(|&at| self.frames[at].is_done())?;
        Some(Range::of(self.frames.swap_remove(at).bytes))
    }

    /// Payload and end, if they were put together for a payload of so many bytes.
    pub(super) fn take_body(&mut self, payload_bytes: usize) -> Option<Vec<u8>> {
        (self.body.len() == payload_bytes + frame::END.len()).then(|| std::mem::take(&mut self.body))
    }

    /// Channel and payload, of so many bytes, if they were put together.
    pub(super) fn take_texts(&mut self, bytes: usize) -> Option<Vec<u8>> {
        (self.texts.len() == bytes).then(|| std::mem::take(&mut self.texts))
    }

    /// Puts channel and payload together, until that is done or the time is up; true: it is done.
    fn copy_texts(&mut self, channel: &[u8], payload: &[u8], until: Option<Instant>) -> bool {
        copy_pieces(&mut self.texts, (channel, payload, b""), until)
    }

    /// The same of payload and end.
    pub(super) fn copy_body(&mut self, payload: &[u8], until: Option<Instant>) -> bool {
        copy_pieces(&mut self.body, (b"", payload, frame::END), until)
    }

    fn place_of(&self, proto: Proto, pattern: Option<&[u8]>) -> Option<usize> {
        self.frames.iter().position(|frame| frame.proto == proto && frame.pattern.as_deref() == pattern)
    }
}

/// Puts the three together, a piece at a time, until that is done or the time is up; true: it is done.
fn copy_pieces(
    to: &mut Vec<u8>,
    (first, payload, last): (&[u8], &[u8], &[u8]),
    until: Option<Instant>,
) -> bool {
    if to.is_empty() {
        to.reserve_exact(first.len() + payload.len() + last.len());
        to.extend_from_slice(first);
    }
    while to.len() < first.len() + payload.len() {
        let at = to.len() - first.len();
        to.extend_from_slice(&payload[at..payload.len().min(at + PIECE_BYTES)]);
        if until.is_some_and(|until| Instant::now() >= until) {
            return false;
        }
    }
    if to.len() == first.len() + payload.len() {
        to.extend_from_slice(last);
    }
    true
}

impl Drop for Prepared {
    /// What nobody has waited for in the end is as slow to free as the rest.
    fn drop(&mut self) {
        self.frames.drain(..).for_each(|frame| chunk::free_long(frame.bytes));
        chunk::free_long(std::mem::take(&mut self.body));
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
        is_kept: bool,
    ) -> bool {
        let begins = self.takes_long(space, args, is_kept);
        if begins {
            self.publish_in_parts(slot, row, space);
        }
        begins
    }

    /// Whether a message takes long to copy, or its patterns to find. `is_kept`: its channel remembers.
    #[inline]
    pub(crate) fn takes_long(&mut self, space: Namespace, args: Args<'_>, is_kept: bool) -> bool {
        args[2].len() >= COPIED_OFTEN_BYTES && self.is_long_message(space, args)
            || self.is_wide(space, &args[1], &args[2], is_kept)
    }

    /// Whether the message of a PUBLISH in a transaction is long; if that goes on in slices, it makes the frames in them first.
    pub(crate) fn postpones_message(&mut self, space: Namespace, args: Args<'_>) -> bool {
        let postpones = self.fanout.may_postpone && self.takes_long(space, args, false);
        if postpones {
            self.fanout.postponed = Some(space);
        }
        postpones
    }

    #[cold]
    fn is_long_message(&mut self, space: Namespace, args: Args<'_>) -> bool {
        let patterns = if is_long(args[2].len(), self.server.directory.patterns.len()) {
            self.matching_patterns(space, &args[1]).map_or(usize::MAX, |(patterns, _)| patterns.len())
        } else {
            0
        };
        is_long(args[2].len(), patterns)
    }

    /// Makes some of the frames of what is to be published; true: all are there.
    pub(crate) fn makes_frames(
        &mut self,
        (space, args): (Namespace, Args<'_>),
        prepared: &mut Prepared,
    ) -> bool {
        let (channel, payload) = (&args[1], &args[2]);
        let until = Some(Instant::now() + TIME_AT_ONCE);
        let matched = if prepared.matching.is_none() { self.matching_patterns(space, channel) } else { None };
        if let Some((patterns, by_pattern)) = matched {
            let by_name =
                self.directory_of(space).elsewhere(sterna_pubsub::hash(channel), channel, self.index);
            let is_mailed = (by_name.shards | by_pattern.shards) != 0;
            self.prepare(prepared, (space, channel, &patterns), payload, is_mailed, until)
        } else {
            let matching = prepared.matching.get_or_insert_with(Matching::begin);
            self.match_some(matching, channel, until) && prepared.copy_texts(channel, payload, until)
        }
    }

    /// Has `publish` publish a message to this channel with the frames that have been made, which are there again if it could not.
    pub(crate) fn with_frames<E>(
        &mut self,
        channel: &[u8],
        prepared: &mut Prepared,
        publish: impl FnOnce(&mut Shard) -> Result<usize, E>,
    ) -> Result<usize, E> {
        self.keep_found(channel, prepared.matching.take());
        self.fanout.prepared = Some(std::mem::take(prepared));
        let published = publish(self);
        *prepared = self.fanout.prepared.take().unwrap_or_default();
        if published.is_err() {
            prepared.matching = self.fanout.found.take().map(Matching::ended);
        }
        published
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
        let (forms, shares) = self.forms_of(space, channel, patterns);
        if shares && !prepared.copy_body(payload, until) {
            return false;
        }
        for (proto, pattern) in forms {
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
        !is_mailed || prepared.copy_texts(channel, payload, until)
    }

    /// The frames of RESP that a message would be sent in here and that lie in one piece, and whether there are others.
    fn forms_of<'m>(&self, space: Namespace, channel: &[u8], patterns: &'m Matches) -> (Vec<Form<'m>>, bool) {
        let (mut forms, mut shares) = (Vec::new(), false);
        if space == Namespace::Pages {
            return (forms, shares);
        }
        let mut add = |members: Option<&SubscriberSet<u32>>, pattern| {
            let (mut are_whole, slots) = ([false; 2], members.map_or(&[][..], SubscriberSet::as_slice));
            for &slot in slots {
                let connection = &self.connections[slot as usize];
                match proto_of(connection.dialect()) {
                    Some(Proto::Resp2) if connection.keeps_frames_whole() => are_whole[0] = true,
                    Some(Proto::Resp3) if connection.keeps_frames_whole() => are_whole[1] = true,
                    Some(_) => shares = true,
                    None => {}
                }
            }
            let protos = [Proto::Resp2, Proto::Resp3].into_iter().zip(are_whole);
            forms.extend(protos.filter(|(_, is_whole)| *is_whole).map(|(proto, _)| (proto, pattern)));
        };
        add(self.index_of(space).subscribers_hashed(sterna_pubsub::hash(channel), channel), None);
        for pattern in patterns {
            add(self.patterns.subscribers(pattern), Some(pattern));
        }
        (forms, shares)
    }
}
