//! Fan-out: from one PUBLISH to the output queues of all who wait for it.
//!
//! ```text
//!   PUBLISH ──► match: local channel, patterns, other shards' interest (directory)
//!                 │
//!                 ├─ encode: one frame per dialect and kind, into the shard's chunk
//!                 ├─ local:  one range appended to each subscriber's output queue
//!                 └─ remote: one message in the outbox of each shard with interest, mailed once a turn
//! ```
//!
//! A burst to one channel is a *run* (`fanout/runs.rs`): its frames are handed out together.
//!
//! Invariants
//! - The count that PUBLISH answers, and the set of other shards that get the message, are looked up anew for every
//!   message: only the matching of patterns is remembered, and only while the pattern directory's version stands.
//! - A message is in the outbox before its PUBLISH has been answered, and mailed before that answer is sent.

mod runs;

use std::sync::Arc;
use std::time::Instant;

use sterna_keyspace::stream::EntryId;
use sterna_protocol::pusher;
use sterna_pubsub::{MatchScratch, SubscriberSet};

use crate::connection::Dialect;
use crate::connection::chunk::{Appender, Range};
use crate::connection::circle::Lines;
use crate::directory::{ChannelDirectory, Elsewhere};
use crate::mailbox::Mail;
use crate::matching::{Found, STEPS_AT_ONCE};
use crate::nodes::NODES;
use crate::parcel::{Matches, Message, Namespace, Outbox, Parcel};
use crate::position::Position;
use crate::shard::Shard;
use crate::shard::frames::{SHARED_BYTES, body_of, encode, encode_head, encode_pattern, proto_of};
use crate::shard::later::Order;
use crate::shard::long::{Prepared, is_long};
use crate::stats::traffic::{Sample, Sampler, Tally};
use runs::Run;

/// Patterns of a sampled message that are counted: more would take longer than the deliveries.
const SAMPLED_PATTERNS_MAX: usize = 16;

/// Work done between two readings of the clock while mail is handed out: deliveries, and kilobytes encoded.
const WORK_PER_CLOCK_READ: usize = 128;

/// A shard's part in fan-out.
#[derive(Default)]
pub(crate) struct Fanout {
    /// Where frames go, by dialect, so that a subscriber's frames lie behind each other.
    frames: ByDialect<Appender>,
    /// What goes to some of the pages alone.
    lines: Lines,
    run: Option<Run>,
    outbox: Outbox,
    /// Shards, a bit each, whose mail they have not been woken for.
    wakes_owed: u64,
    scratch: MatchScratch,
    /// What matches the message that is published next, if that has been found out: at once, and of which patterns, or in slices.
    pub(super) matched: Option<(u64, (Matches, Elsewhere))>,
    pub(super) found: Option<Found>,
    /// The channel that it is of.
    pub(super) matched_channel: Vec<u8>,
    /// Channel bytes of the last run, kept for their memory.
    spare_channel: Vec<u8>,
    /// Connections of this shard that are pages by Pusher's protocol.
    pub(super) pages: usize,
    pub(super) tally: Tally,
    pub(super) sampler: Sampler,
    /// When the message was published that is on its way now, if it is a probe.
    pub(super) probe: Option<Instant>,
    /// The frames of the message that is on its way now, if it is a long one.
    pub(super) prepared: Option<Prepared>,
    /// A transaction may make the frames of a long message in slices, and does so with one in this space.
    pub(crate) may_postpone: bool,
    pub(crate) postponed: Option<Namespace>,
    pub(crate) order: Order,
    /// What the client of the script beside which others are served has been sent: it follows the reply.
    pub(super) for_script: Vec<Range>,
    /// Those of the long message of the mail whose turn it is.
    incoming: Prepared,
}

impl Fanout {
    /// A frame for pages, behind those that they were sent before.
    pub(super) fn append_for_pages(&mut self, frame: &[u8]) -> Range {
        self.frames[Dialect::Pusher as usize].append(frame.len(), |buf| buf.extend_from_slice(frame))
    }

    /// Whether the message may name a page that is not to be sent it, and there are pages here.
    #[inline]
    fn names_page(&self, payload: &[u8]) -> bool {
        self.pages > 0 && pusher::except(payload).is_some()
    }

    /// Called once a turn, after flushing.
    pub(crate) fn recycle(&mut self) {
        self.frames.iter_mut().for_each(Appender::recycle);
        self.lines.recycle();
    }
}

/// One for each dialect.
type ByDialect<T> = [T; Dialect::COUNT];
const _: () = assert!(Dialect::COUNT <= u8::BITS as usize);

impl Shard {
    /// Publishes a message and returns how many deliveries it caused, over all shards. Other nodes get it if somebody listens
    /// there, and are not counted.
    ///
    /// `publisher` is the slot of the connection that is being served, if one is: what it publishes to itself follows
    /// its reply.
    pub(crate) fn publish(&mut self, space: Namespace, channel: &[u8], payload: &[u8]) -> usize {
        self.publish_kept(space, channel, payload, None)
    }

    /// The same for a message that is an entry of the channel's stream: `id`.
    pub(crate) fn publish_kept(
        &mut self,
        space: Namespace,
        channel: &[u8],
        payload: &[u8],
        id: Option<EntryId>,
    ) -> usize {
        self.forward(space, channel, payload);
        self.publish_here(space, channel, payload, id)
    }

    /// The same on this node alone.
    // All that a message of a run takes is one function: calls would cost more than what they do.
    #[inline(always)]
    pub(crate) fn publish_here(
        &mut self,
        space: Namespace,
        channel: &[u8],
        payload: &[u8],
        id: Option<EntryId>,
    ) -> usize {
        self.fanout.tally.publish(payload.len());
        let sample = self.fanout.sampler.next();
        if let Some(sample) = &sample {
            self.fanout.probe = sample.probe;
        }
        let deliveries = self.publish_uncounted(space, channel, payload, id);
        if let Some(sample) = sample {
            self.fanout.probe = None;
            self.note_sample(sample, space, (channel, payload.len(), deliveries));
        }
        deliveries
    }

    #[cold]
    fn note_sample(&mut self, sample: Sample, space: Namespace, message: (&[u8], usize, usize)) {
        let patterns = self.first_matches(space, message.0, SAMPLED_PATTERNS_MAX);
        let patterns = patterns.iter().map(|pattern| &**pattern);
        self.server.shards[self.index].traffic.note(sample, message, patterns, self.clock.instant);
    }

    /// Deliveries to connections of this shard in this turn.
    #[inline]
    pub(crate) fn deliveries_now(&self) -> u64 {
        self.fanout.tally.deliveries()
    }

    /// Takes over what was counted in this turn, so that whoever is sent anything finds it in INFO.
    pub(crate) fn note_traffic(&mut self) {
        if !self.fanout.tally.is_empty() {
            self.server.shards[self.index].traffic.add(&mut self.fanout.tally);
        }
    }

    #[inline(always)]
    fn publish_uncounted(
        &mut self,
        space: Namespace,
        channel: &[u8],
        payload: &[u8],
        id: Option<EntryId>,
    ) -> usize {
        if self.continues_run(space, channel, payload, id.is_some()) {
            return self.continue_run(payload, id);
        }
        self.end_run();
        if !self.config.pusher_app.0.is_empty() && space == Namespace::Channels && self.is_cache(channel) {
            return self.publish_to_cache(channel, payload, id);
        }
        self.publish_anew(space, channel, payload, id)
    }

    /// Publishes a message that continues no run, and may begin one.
    #[inline(never)]
    pub(super) fn publish_anew(
        &mut self,
        space: Namespace,
        channel: &[u8],
        payload: &[u8],
        id: Option<EntryId>,
    ) -> usize {
        // What was found out for a message that then went with a run, or nowhere, is of no use to another.
        let is_known = space != Namespace::Sharded && self.fanout.matched_channel == channel;
        if is_known && let Some(found) = self.fanout.found.take() {
            return self.publish_widely((space, channel), payload, id, found);
        }
        self.forget_found();
        let hash = sterna_pubsub::hash(channel);
        let elsewhere = self.directory_of(space).elsewhere(hash, channel, self.index);
        let patterns_version = self.server.directory.patterns.version();
        let known =
            self.fanout.matched.take().filter(|(version, _)| is_known && *version == patterns_version);
        let matched = known.map(|(_, known)| known).or_else(|| self.matching_patterns(space, channel));
        let Some((patterns, pattern_elsewhere)) = matched else {
            let found = self.match_all(channel);
            return self.publish_widely((space, channel), payload, id, found);
        };
        if self.is_handed_out_later(payload, &patterns) {
            return self.publish_later((space, channel), payload, id, (patterns, pattern_elsewhere));
        }

        let audience = (&patterns, pattern_elsewhere, patterns_version);
        let members = self.open_run(space, hash, channel, audience, id.is_some());
        self.fanout.keep_run_if_for_all(payload);
        let position = self.position_of(id);
        if self.fanout.run.is_some() {
            self.encode_into_run(payload, position);
        } else {
            self.deliver((space, hash, channel), payload, position, (true, &patterns), &mut None);
        }
        if members > 0 {
            self.fanout.tally.deliver(members);
            self.credit.note_local(self.index);
        }
        let shards = elsewhere.shards | pattern_elsewhere.shards;
        if shards != 0 {
            let text_bytes = channel.len() + payload.len();
            let texts = self.fanout.prepared.as_mut().and_then(|prepared| prepared.take_texts(text_bytes));
            if texts.is_some() {
                self.put_outbox();
            }
            let is_alone = texts.is_some();
            let (outbox, kept) = (&mut self.fanout.outbox, (id, self.fanout.probe));
            let bytes = match texts {
                Some(texts) => outbox.set(shards, (space, channel.len()), texts, kept, &patterns),
                None => outbox.add(shards, (space, channel), payload, kept, &patterns),
            };
            self.credit.note_outgoing_to(shards, bytes);
            if is_alone {
                self.put_outbox();
            }
        }
        members + elsewhere.subscribers + pattern_elsewhere.subscribers
    }

    /// Delivers one message to the local subscribers of its channel, if it is to go there, and then to those of each pattern.
    /// Returns how many they are. `body`: payload and end of a long one, which all share who take them apart from the frame's head.
    pub(super) fn deliver(
        &mut self,
        (space, hash, channel): (Namespace, u64, &[u8]),
        payload: &[u8],
        position: Option<Position>,
        (by_name, patterns): (bool, &[Arc<[u8]>]),
        body: &mut Option<Range>,
    ) -> usize {
        let Shard {
            fanout,
            connections,
            channels,
            sharded,
            patterns: by_pattern,
            flusher,
            current,
            scripting,
            config,
            server,
            index: own_index,
            ..
        } = self;
        let times = &server.shards[*own_index].traffic.latency;
        let index = match space {
            Namespace::Channels | Namespace::Pages => channels,
            Namespace::Sharded => sharded,
        };
        let apps = &config.pusher_app;
        let except = if fanout.pages > 0 { pusher::except(payload) } else { None };
        let Fanout { frames: appenders, lines, probe, prepared, for_script, .. } = fanout;
        let mut prepared = prepared.as_mut();
        let shares = payload.len() >= SHARED_BYTES;
        lines.begin_round();
        let mut deliveries = 0;
        let mut hand_out = |members: &SubscriberSet<u32>,
                            pattern: Option<&[u8]>,
                            position: Option<Position>| {
            let (mut frames, mut heads): (ByDialect<Option<Range>>, ByDialect<Option<Range>>) =
                Default::default();
            deliveries += members.len();
            for &slot in members.as_slice() {
                let connection = &mut connections[slot as usize];
                let dialect = connection.dialect();
                if except.is_some() && connection.is_page_of(except) {
                    continue;
                }
                let appender = &mut appenders[dialect as usize];
                let shared = proto_of(dialect).filter(|_| shares && !connection.keeps_frames_whole());
                let (first, rest) = if let Some(proto) = shared {
                    let body = body.get_or_insert_with(|| body_of(payload, prepared.as_deref_mut()));
                    let head = heads[dialect as usize].get_or_insert_with(|| {
                        encode_head(appender, proto, (space, pattern), channel, payload.len())
                    });
                    (head.clone(), Some(body.clone()))
                } else {
                    let frame = frames[dialect as usize].get_or_insert_with(|| {
                        let prepared = prepared.as_deref_mut();
                        let made = prepared.and_then(|made| made.take(proto_of(dialect)?, pattern));
                        made.unwrap_or_else(|| match pattern {
                            None => encode(appender, (dialect, apps), (space, channel), payload, position),
                            Some(pattern) => {
                                encode_pattern(appender, (dialect, apps), pattern, channel, payload)
                            }
                        })
                    });
                    (frame.clone(), None)
                };
                if let Some(position) = position
                    && let Some(line) = lines.line(connection, channel, position)
                {
                    flusher.push(connection, line);
                }
                let (me, is_detached) = (Some(connection.me), connection.is_detached());
                for range in std::iter::once(first).chain(rest) {
                    if !is_detached && current.who == me {
                        current.deferred.push(range);
                    } else if !is_detached && *scripting == me {
                        for_script.push(range);
                    } else {
                        flusher.push(connection, range);
                    }
                }
            }
            if let (Some(since), false) = (*probe, members.is_empty()) {
                let chosen = &connections[members.as_slice()[fastrand::usize(..members.len())] as usize];
                // What it has published to itself is queued later.
                if current.who != Some(chosen.me) {
                    *probe = None;
                    flusher.begin_probe(chosen, since, times);
                }
            }
        };
        if by_name && let Some(members) = index.subscribers_hashed(hash, channel) {
            hand_out(members, None, position);
        }
        for pattern in patterns {
            if let Some(members) = by_pattern.subscribers(pattern) {
                hand_out(members, Some(pattern), None);
            }
        }
        deliveries
    }

    /// Where a message stands that is an entry of its channel's stream.
    #[inline]
    pub(super) fn position_of(&self, id: Option<EntryId>) -> Option<Position> {
        id.map(|id| Position { epoch: self.server.epoch(), id })
    }

    /// The patterns that match, and who has them on other shards; `None`: finding that out takes long.
    pub(super) fn matching_patterns(
        &mut self,
        space: Namespace,
        channel: &[u8],
    ) -> Option<(Matches, Elsewhere)> {
        let mut matches = Matches::new();
        let mut elsewhere = Elsewhere::default();
        let directory = &self.server.directory.patterns;
        if space == Namespace::Sharded || directory.len() == 0 {
            return Some((matches, elsewhere));
        }
        let index = self.index;
        let scratch = &mut self.fanout.scratch;
        let is_all = directory.read().match_within(channel, scratch, STEPS_AT_ONCE, |name, interest| {
            elsewhere.add(&interest.counts, index);
            matches.push(Arc::clone(name));
        });
        is_all.then_some((matches, elsewhere))
    }

    /// Some of the patterns that match.
    fn first_matches(&mut self, space: Namespace, channel: &[u8], most: usize) -> Matches {
        let mut matches = Matches::new();
        let directory = &self.server.directory.patterns;
        if space != Namespace::Sharded && directory.len() > 0 {
            let scratch = &mut self.fanout.scratch;
            directory.read().match_within(channel, scratch, STEPS_AT_ONCE, |name, _| {
                if matches.len() < most {
                    matches.push(Arc::clone(name));
                }
            });
        }
        matches
    }

    /// Shards with subscribers that a message would be delivered to, a bit each.
    pub(crate) fn shards_reached(&mut self, space: Namespace, channel: &[u8]) -> u64 {
        let hash = sterna_pubsub::hash(channel);
        let elsewhere = self.directory_of(space).elsewhere(hash, channel, self.index);
        let Some((patterns, pattern_elsewhere)) = self.matching_patterns(space, channel) else {
            // As if each had one: who finds out publishes at the same time.
            return u64::MAX >> (u64::BITS as usize - self.server.shards.len())
                | u64::from(self.is_wanted_elsewhere(channel)) << NODES;
        };
        let is_local = self.index_of(space).subscribers_hashed(hash, channel).is_some()
            || patterns.iter().any(|pattern| self.patterns.subscribers(pattern).is_some());
        let shards = elsewhere.shards | pattern_elsewhere.shards | u64::from(is_local) << self.index;
        shards | u64::from(self.is_wanted_elsewhere(channel)) << NODES
    }

    /// Delivers what another shard has published, from where the parcel's cursor stands, until the time is up.
    ///
    /// Returns what that was against the sender's credit.
    pub(crate) fn receive(&mut self, parcel: &mut Parcel, until: Option<Instant>) -> usize {
        let (mut bytes, mut work) = (0, 0);
        while let Some(message) = parcel.messages.get(parcel.done) {
            if message.many.is_some() {
                bytes += message.cost();
                let probe = parcel.probe.filter(|_| message.is_probe);
                let alone = Parcel::of_one(Arc::clone(&parcel.bytes), message.clone(), probe);
                parcel.done += 1;
                self.end_run();
                self.wide.push(alone);
                if self.hand_out_wide(until) {
                    continue;
                }
                break;
            }
            let channel = &parcel.bytes[message.start..message.channel_end];
            let payload = &parcel.bytes[message.channel_end..message.end];
            if is_long(payload.len(), message.patterns.len()) {
                let mut prepared = std::mem::take(&mut self.fanout.incoming);
                let audience = (message.space, channel, &message.patterns);
                if !self.prepare(&mut prepared, audience, payload, false, until) {
                    self.fanout.incoming = prepared;
                    break;
                }
                self.fanout.prepared = Some(prepared);
            }
            self.fanout.probe = parcel.probe.filter(|_| message.is_probe);
            work += 1 + payload.len() / 1024 + self.receive_one(message, channel, payload);
            self.fanout.prepared = None;
            bytes += message.cost();
            parcel.done += 1;
            if work >= WORK_PER_CLOCK_READ && until.is_some_and(|until| Instant::now() >= until) {
                break;
            }
            work %= WORK_PER_CLOCK_READ;
        }
        self.end_run();
        self.fanout.probe = None;
        bytes
    }

    /// Returns how many queues it has touched.
    fn receive_one(&mut self, message: &Message, channel: &[u8], payload: &[u8]) -> usize {
        let position = self.position_of(message.id);
        if let Some(members) = self.continues_received(message, channel, payload) {
            self.fanout.tally.deliver(members);
            self.encode_into_run(payload, position);
            return 0;
        }
        self.end_run();
        let (space, hash) = (message.space, sterna_pubsub::hash(channel));
        if space == Namespace::Pages {
            let deliveries = self.deliver_to_pages(channel, payload, None);
            self.fanout.tally.deliver(deliveries);
            return deliveries;
        }
        // No command continues this run: it ends with the slice.
        let audience = (&message.patterns, Elsewhere::default(), 0);
        let members = self.open_run(space, hash, channel, audience, message.id.is_some());
        self.fanout.tally.deliver(members);
        self.fanout.keep_run_if_for_all(payload);
        if self.fanout.run.is_some() {
            self.encode_into_run(payload, position);
        } else {
            self.deliver((space, hash, channel), payload, position, (true, &message.patterns), &mut None);
        }
        members
    }

    /// Puts a frame for pages into the outbox for these shards.
    pub(super) fn mail_to_pages(&mut self, shards: u64, channel: &[u8], frame: &[u8]) {
        let outbox = &mut self.fanout.outbox;
        let bytes = outbox.add(shards, (Namespace::Pages, channel), frame, (None, None), &Matches::new());
        self.credit.note_outgoing_to(shards, bytes);
    }

    /// Mails the turn's messages, and hands on those that somebody elsewhere listens to. Runs have ended.
    pub(crate) fn mail_outbox(&mut self) {
        if self.outward.is_some() {
            self.hand_on();
        }
        self.put_outbox();
        let mut owed = std::mem::take(&mut self.fanout.wakes_owed);
        while owed != 0 {
            self.server.shards[owed.trailing_zeros() as usize].mailbox.wake();
            owed &= owed - 1;
        }
    }

    /// The same for one message of many: the shards are woken by the next `mail_outbox`, which ends the turn.
    #[inline]
    pub(crate) fn mail_outbox_quietly(&mut self) {
        if self.outward.is_some() {
            self.hand_on();
        }
        self.put_outbox();
    }

    pub(super) fn put_outbox(&mut self) {
        let Shard { fanout, credit, server, index, .. } = self;
        for (shard, parcel, bytes) in fanout.outbox.take_parcels() {
            credit.mailed(server, *index, shard, bytes);
            server.shards[shard].mailbox.put(*index, bytes, Mail::Published(parcel));
            fanout.wakes_owed |= 1 << shard;
        }
    }

    /// Puts a message that is alone into the mail of these shards, a bit each; this one may be among them.
    pub(super) fn mail_alone(
        &mut self,
        shards: u64,
        texts: &Arc<Vec<u8>>,
        message: &Message,
        probe: Option<Instant>,
    ) {
        let bytes = message.cost();
        self.credit.note_outgoing_to(shards, bytes);
        let own = 1 << self.index;
        self.fanout.wakes_owed |= shards & !own;
        if shards & own != 0 {
            self.note_own_letter();
        }
        let Shard { credit, server, index, .. } = self;
        let mut rest = shards;
        while rest != 0 {
            let shard = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            credit.mailed(server, *index, shard, bytes);
            let parcel = Parcel::of_one(Arc::clone(texts), message.clone(), probe);
            server.shards[shard].mailbox.put(*index, bytes, Mail::Published(parcel));
        }
    }

    pub(crate) fn directory_of(&self, space: Namespace) -> &ChannelDirectory {
        match space {
            Namespace::Channels | Namespace::Pages => &self.server.directory.channels,
            Namespace::Sharded => &self.server.directory.sharded,
        }
    }
}
