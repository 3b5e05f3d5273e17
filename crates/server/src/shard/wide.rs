//! Messages whose patterns take long to find: very many match, or few with many stars nearly match a long channel everywhere. Both the
//! matching and the deliveries go on in slices.
//!
//! ```text
//!   PUBLISH ──► matched at once? ─► as all others (`fanout.rs`)
//!                   └─ no ─► Wait::Parts ─► some patterns are tried, others are served ─► … ─► published and answered
//!                                                        ┌──────────────────────────────────────────┘
//!                          in the mail of each shard: `Wide`, some patterns a slice, before the letters behind it
//! ```
//!
//! 1. A match that takes more than [`STEPS_AT_ONCE`] is given up. Instead every pattern is tried by itself, some at a time (`matching.rs`). One
//!    request of a shard does so at a time, and only when the messages before it have been handed out, one event (below), and one script:
//!    so there are three lists of matches at most.
//! 2. When all have been tried, the message is published: it goes into the mail of all shards with subscribers (`later.rs`), and its
//!    publisher is answered how many deliveries that will be.
//! 3. These are made in slices. Meanwhile the shard reads no letters, and is behind itself (`credit.rs`): whoever publishes there waits.
//!
//! A keyspace event of this kind is late (`late_events.rs`), and matched in the slices of these. A transaction with such a message goes on in
//! slices, and so does a script, beside which others are served meanwhile (`beside.rs`). A transaction that changes settings is refused
//! with one.
//!
//! Patterns that come while others are tried may be found or not: their PSUBSCRIBE and this PUBLISH happen at once.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Instant;

use sterna_keyspace::Garbage;
use sterna_keyspace::stream::EntryId;

use crate::connection::chunk::Range;
use crate::matching::{Found, Matching, STEPS_AT_ONCE};
use crate::parcel::{ManyMatches, Matches, Message, Namespace, Parcel};
use crate::shard::Shard;
use crate::shard::later::{Audience, Order};
use crate::shard::long::{Prepared, is_long};

/// Patterns that a message is delivered by between two readings of the clock, and bytes of their frames.
const PATTERNS_PER_CLOCK_READ: usize = 64;
const BYTES_PER_CLOCK_READ: usize = 256 << 10;

/// Room for the name of a channel that is kept from one message to the next.
const KEPT_CHANNEL_BYTES: usize = 4096;

/// A shard's part in it.
#[derive(Debug, Default)]
pub(crate) struct Wide {
    /// Messages that are being handed out, each alone.
    messages: VecDeque<Parcel>,
    /// What the frames of the first of them share.
    body: Option<Range>,
    /// The same while it is copied.
    copy: Prepared,
    /// Whoever tries all patterns for a message holds it.
    matching_now: Weak<()>,
}

impl Wide {
    /// Whether all have been handed out.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Hands out a message behind those before it.
    pub(super) fn push(&mut self, parcel: Parcel) {
        self.messages.push_back(parcel);
    }

    /// Gives it the turn if that is free; whether it has it. `is_event`: of a letter that the shard hands out; `has_letters`: there are
    /// letters of its own, behind which a request waits.
    ///
    /// Events have a turn of their own: the request whose turn it is may wait for another shard, which may wait until this one hands out what
    /// stands behind them. Of these there is one at a time as well.
    fn gives_turn(&mut self, matching: &mut Matching, is_event: bool, has_letters: bool) -> bool {
        if matching.has_turn() || !self.is_empty() {
            return matching.has_turn();
        }
        let is_free = self.matching_now.strong_count() == 0;
        if is_event || !has_letters && is_free {
            let turn = matching.take_turn();
            if is_free {
                self.matching_now = turn;
            }
        }
        matching.has_turn()
    }
}

impl Shard {
    /// Whether finding the patterns of a message may take long. What is found out at once is kept for whoever publishes it next.
    #[inline]
    pub(crate) fn is_wide(
        &mut self,
        space: Namespace,
        channel: &[u8],
        payload: &[u8],
        is_kept: bool,
    ) -> bool {
        space == Namespace::Channels
            && self.server.directory.patterns.may_take(STEPS_AT_ONCE, channel.len())
            && !self.continues_run(space, channel, payload, is_kept)
            && self.matches_widely(channel)
    }

    #[cold]
    fn matches_widely(&mut self, channel: &[u8]) -> bool {
        let version = self.server.directory.patterns.version();
        let matched = self.matching_patterns(Namespace::Channels, channel);
        self.keep_matched_channel(channel);
        self.fanout.matched = matched.map(|matched| (version, matched));
        self.fanout.matched.is_none()
    }

    /// As [`Shard::is_wide`], of what is published later.
    pub(crate) fn would_be_wide(&mut self, channel: &[u8]) -> bool {
        self.server.directory.patterns.may_take(STEPS_AT_ONCE, channel.len())
            && self.matching_patterns(Namespace::Channels, channel).is_none()
    }

    /// Finds the patterns of the message that is published next, if that takes long, in slices: false: there are more to try, or it has just
    /// turned out that it does.
    pub(crate) fn finds_patterns(
        &mut self,
        channel: &[u8],
        payload: &[u8],
        matching: &mut Option<Matching>,
        until: Option<Instant>,
    ) -> bool {
        let Some(begun) = matching else {
            let is_wide = self.is_wide(Namespace::Channels, channel, payload, false);
            *matching = is_wide.then(Matching::begin);
            return !is_wide;
        };
        let is_done = self.match_some(begun, channel, until);
        if is_done {
            self.keep_found(channel, matching.take());
        }
        is_done
    }

    /// Keeps what matches for the message that is published next, which is one to this channel.
    pub(crate) fn keep_found(&mut self, channel: &[u8], matching: Option<Matching>) {
        self.fanout.found = matching.map(Matching::end);
        if self.fanout.found.is_some() {
            self.keep_matched_channel(channel);
        }
    }

    /// What was to be published was not.
    #[inline]
    pub(crate) fn forget_found(&mut self) {
        if let Some(found) = self.fanout.found.take() {
            self.free_names(found.patterns);
        }
    }

    fn keep_matched_channel(&mut self, channel: &[u8]) {
        let kept = &mut self.fanout.matched_channel;
        kept.clear();
        kept.shrink_to(channel.len().max(KEPT_CHANNEL_BYTES));
        kept.extend_from_slice(channel);
    }

    /// Tries some patterns, until the time is up; true: all have been tried.
    pub(crate) fn match_some(
        &mut self,
        matching: &mut Matching,
        channel: &[u8],
        until: Option<Instant>,
    ) -> bool {
        // Where the server stops, nobody else goes on.
        if until.is_some() && !self.is_stopping && !matching.is_done() && !self.takes_turn(matching) {
            return false;
        }
        matching.go_on(&self.server.directory.patterns, self.index, channel, until)
    }

    fn takes_turn(&mut self, matching: &mut Matching) -> bool {
        self.wide.gives_turn(matching, self.fanout.order == Order::Now, self.own_letters > 0)
    }

    /// Every pattern that matches, in one piece.
    #[cold]
    pub(super) fn match_all(&mut self, channel: &[u8]) -> Found {
        let mut matching = Matching::begin();
        self.match_some(&mut matching, channel, None);
        matching.end()
    }

    /// Publishes a message by patterns that have been found. Returns how many deliveries that causes.
    #[cold]
    pub(super) fn publish_widely(
        &mut self,
        named: (Namespace, &[u8]),
        payload: &[u8],
        id: Option<EntryId>,
        found: Found,
    ) -> usize {
        let Found { patterns, here, elsewhere } = found;
        let audience = Audience { patterns: Matches::new(), many: Some(patterns), here, elsewhere };
        self.mail_to_all(named, payload, id, audience)
    }

    /// Hands out such messages, some patterns at a time, until the time is up; true: that was all.
    pub(crate) fn hand_out_wide(&mut self, until: Option<Instant>) -> bool {
        while let Some(mut parcel) = self.wide.messages.pop_front() {
            let Some(message) = parcel.messages.first() else { continue };
            if !self.hand_out_some(&parcel.bytes, message, &mut parcel.done, parcel.probe.take(), until) {
                self.wide.messages.push_front(parcel);
                return false;
            }
            parcel.messages.pop().into_iter().for_each(|message| self.free_list(message));
        }
        true
    }

    /// The same of one: the patterns from `done` on. True: to the last.
    fn hand_out_some(
        &mut self,
        bytes: &[u8],
        message: &Message,
        done: &mut usize,
        probe: Option<Instant>,
        until: Option<Instant>,
    ) -> bool {
        let channel = &bytes[message.start..message.channel_end];
        let payload = &bytes[message.channel_end..message.end];
        let (hash, position) = (sterna_pubsub::hash(channel), self.position_of(message.id));
        let patterns = message.many.as_ref().map_or(&[][..], |many| &many[..]);
        let at_once = (BYTES_PER_CLOCK_READ / payload.len().max(1)).clamp(1, PATTERNS_PER_CLOCK_READ);
        if is_long(payload.len(), 0) && self.wide.body.is_none() {
            if !self.wide.copy.copy_body(payload, until) {
                return false;
            }
            self.wide.body = self.wide.copy.take_body(payload.len()).map(Range::of);
        }
        let mut body = self.wide.body.take();
        let before = std::mem::replace(&mut self.fanout.probe, probe);
        loop {
            let end = patterns.len().min(*done + at_once);
            let audience = (*done == 0, &patterns[*done..end]);
            let deliveries =
                self.deliver((message.space, hash, channel), payload, position, audience, &mut body);
            self.fanout.tally.deliver(deliveries);
            *done = end;
            if *done == patterns.len() || until.is_some_and(|until| Instant::now() >= until) {
                break;
            }
        }
        self.fanout.probe = before;
        let is_done = *done == patterns.len();
        self.wide.body = body.filter(|_| !is_done);
        is_done
    }

    /// A long list of names is slow to free. Whoever has it last does.
    pub(super) fn free_list(&self, message: Message) {
        message.many.and_then(Arc::into_inner).into_iter().for_each(|many| self.free_names(many));
    }

    #[cold]
    pub(super) fn free_names(&self, many: ManyMatches) {
        let bytes = many.len() * size_of::<Arc<[u8]>>();
        self.server.reclaimer.free(vec![Garbage::of_other(Box::new(many), bytes)]);
    }

    /// The message is not published: its publisher has left.
    pub(crate) fn free_matches(&self, prepared: &mut Prepared) {
        if let Some(matching) = prepared.matching.take() {
            self.free_names(matching.end().patterns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_matched_while_a_request_waits_in_its_turn_and_no_other_request_is() {
        let mut wide = Wide::default();
        let [mut request, mut event, mut other] = std::array::from_fn(|_| Matching::begin());
        assert!(wide.gives_turn(&mut request, false, false));
        // It waits for another shard now, and that until these have been handed out.
        assert!(wide.gives_turn(&mut event, true, true));
        assert!(!wide.gives_turn(&mut other, false, true));
        drop(event);
        assert!(!wide.gives_turn(&mut other, false, false), "it is the turn of the first still");
        drop(request);
        assert!(!wide.gives_turn(&mut other, false, true), "it comes behind what is in the mail");
        assert!(wide.gives_turn(&mut other, false, false));
        // With the turn free an event takes that, so that no request is matched beside it.
        drop(other);
        let [mut event, mut request] = std::array::from_fn(|_| Matching::begin());
        assert!(wide.gives_turn(&mut event, true, true) && !wide.gives_turn(&mut request, false, false));
    }
}
