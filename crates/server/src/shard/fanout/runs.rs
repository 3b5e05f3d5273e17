//! Runs: bursts of messages to one channel, which are handed out together.
//!
//! While one connection publishes to the same channel again and again, the frames lie
//! behind each other in one chunk; the subscribers' queues are touched once, when the run ends, with one range that
//! covers all of it. A run has one audience (the channel's subscribers, or one pattern's), so no subscriber's order is
//! disturbed, and it ends before anything else may look at a queue or change a subscription: another audience, a
//! command that isn't PUBLISH, the end of the connection's batch. What other shards have published is handed out in runs
//! too, within one slice of the mail.
//!
//! A page that an event names is not sent it, so such an event, where there are pages, is no part of a run. Pages that follow
//! several channels are told with each message where all of them stand (`connection/circle.rs`): a run of theirs is copied, with
//! the lines between its messages, for each circle once.
//!
//! Invariant: while a run is open, the publisher is not in its audience, and no subscription of this shard has changed since it began.

use std::sync::Arc;
use std::time::Instant;

use sterna_keyspace::stream::EntryId;
use sterna_pubsub::SubscriberSet;

use super::{ByDialect, Fanout};
use crate::connection::Dialect;
use crate::connection::chunk::Range;
use crate::connection::circle::{COPIED_BYTES_MAX, Kept};
use crate::directory::Elsewhere;
use crate::parcel::{Matches, Message, Namespace};
use crate::position::Position;
use crate::shard::Shard;
use crate::shard::frames::{encode, encode_pattern};
use crate::shard::long::LONG_BYTES;

/// The audience of a run.
#[derive(Debug)]
enum Audience {
    Nobody,
    Channel(Namespace),
    Pattern(Arc<[u8]>),
}

/// A burst of messages to one channel.
#[derive(Debug)]
pub(super) struct Run {
    space: Namespace,
    channel: Vec<u8>,
    hash: u64,
    audience: Audience,
    /// Members of the audience, all on this shard.
    local: usize,
    /// Whether its messages have IDs.
    has_ids: bool,
    /// The longest line that a page of the audience has of its own before each message; 0: none has.
    line_bytes: usize,
    /// Where the messages stand that `frames` has as events, if any page has.
    kept: Kept,
    /// Which dialects the audience speaks, a bit each.
    wanted: u8,
    frames: ByDialect<Option<Range>>,
    patterns: Matches,
    pattern_elsewhere: Elsewhere,
    patterns_version: u64,
    /// When the first of its messages that is a probe was published.
    probe: Option<Instant>,
}

impl Run {
    /// Whether the message may be one of it: the pages that have lines of their own get copies, and one that is long has frames of
    /// its own.
    #[inline]
    fn takes(&self, payload: &[u8]) -> bool {
        payload.len() < LONG_BYTES && (self.line_bytes == 0 || payload.len() <= COPIED_BYTES_MAX)
    }
}

impl Fanout {
    /// Ends a run that has just been opened if its message is not for all of its audience, or too long for it.
    #[inline]
    pub(super) fn keep_run_if_for_all(&mut self, payload: &[u8]) {
        let is_for_all = !self.names_page(payload) && self.run.as_ref().is_some_and(|run| run.takes(payload));
        if !is_for_all {
            self.close_run();
        }
    }

    /// Whether the last command was a message to subscribers of this shard, and others may follow it.
    #[inline]
    pub(in crate::shard) fn has_local_run(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.local > 0)
    }

    /// Ends a run whose frames have been handed out.
    #[inline]
    fn close_run(&mut self) {
        if let Some(run) = &mut self.run {
            self.spare_channel = std::mem::take(&mut run.channel);
        }
        // Where it is: moving it would take longer than much of what it saves.
        self.run = None;
    }
}

impl Shard {
    /// Whether the message is one more of the run that is open.
    #[inline(always)]
    pub(in crate::shard) fn continues_run(
        &self,
        space: Namespace,
        channel: &[u8],
        payload: &[u8],
        has_id: bool,
    ) -> bool {
        self.fanout.run.as_ref().is_some_and(|run| {
            run.space == space
                && run.channel == channel
                && run.has_ids == has_id
                && (space == Namespace::Sharded
                    || run.patterns_version == self.server.directory.patterns.version())
                && run.takes(payload)
                && !self.fanout.names_page(payload)
        })
    }

    /// The same of one that another shard has published; then it says how many deliveries the message causes here.
    pub(super) fn continues_received(
        &self,
        message: &Message,
        channel: &[u8],
        payload: &[u8],
    ) -> Option<usize> {
        let run = self.fanout.run.as_ref()?;
        let is_of_run = run.space == message.space
            && run.channel == channel
            && run.has_ids == message.id.is_some()
            && run.patterns == message.patterns
            && run.takes(payload)
            && !self.fanout.names_page(payload);
        is_of_run.then_some(run.local)
    }

    /// Opens a run if the messages of `channel` have one audience here, without the publisher in it. Returns how many
    /// deliveries a message causes on this shard, with or without a run.
    pub(super) fn open_run(
        &mut self,
        space: Namespace,
        hash: u64,
        channel: &[u8],
        (patterns, pattern_elsewhere, patterns_version): (&Matches, Elsewhere, u64),
        has_ids: bool,
    ) -> usize {
        let local = self.index_of(space).subscribers_hashed(hash, channel).map_or(0, SubscriberSet::len);
        let local_by_pattern: usize = patterns
            .iter()
            .filter_map(|pattern| self.patterns.subscribers(pattern))
            .map(SubscriberSet::len)
            .sum();
        let audience = match (local, &patterns[..]) {
            (0, _) if local_by_pattern == 0 => Audience::Nobody,
            (1.., _) if local_by_pattern == 0 => Audience::Channel(space),
            (0, [only]) => Audience::Pattern(Arc::clone(only)),
            _ => return local + local_by_pattern,
        };
        let members = local + local_by_pattern;
        if let Some((wanted, line_bytes)) = self.admit(&audience, hash, channel, has_ids) {
            let mut channel_bytes = std::mem::take(&mut self.fanout.spare_channel);
            channel_bytes.clear();
            channel_bytes.extend_from_slice(channel);
            self.fanout.run = Some(Run {
                space,
                channel: channel_bytes,
                hash,
                audience,
                local: members,
                has_ids,
                line_bytes,
                kept: Kept::default(),
                wanted,
                frames: Default::default(),
                patterns: patterns.clone(),
                pattern_elsewhere,
                patterns_version,
                probe: None,
            });
        }
        members
    }

    /// Which dialects the audience speaks, and how long its lines are; `None` if the publisher is in it.
    fn admit(&self, audience: &Audience, hash: u64, channel: &[u8], has_ids: bool) -> Option<(u8, usize)> {
        let (mut wanted, mut line_bytes) = (0, 0);
        let members = match audience {
            Audience::Nobody => None,
            Audience::Channel(space) => self.index_of(*space).subscribers_hashed(hash, channel),
            Audience::Pattern(pattern) => self.patterns.subscribers(pattern),
        };
        for &slot in members.map_or(&[][..], SubscriberSet::as_slice) {
            let connection = &self.connections[slot as usize];
            if self.is_executing(connection.me) {
                return None;
            }
            // Who has it by a pattern stands nowhere in the channel.
            if has_ids && matches!(audience, Audience::Channel(_)) {
                line_bytes = connection.own_line_bytes().unwrap_or(0).max(line_bytes);
            }
            wanted |= 1 << connection.dialect() as u8;
        }
        Some((wanted, line_bytes))
    }

    #[inline(always)]
    pub(super) fn continue_run(&mut self, payload: &[u8], id: Option<EntryId>) -> usize {
        let local = self.fanout.run.as_ref().map_or(0, |run| run.local);
        if local > 0 {
            self.encode_into_run(payload, self.position_of(id));
            self.fanout.tally.deliver(local);
            self.credit.note_local(self.index);
        }
        let Some(run) = &self.fanout.run else { return local };
        let elsewhere = self.directory_of(run.space).elsewhere(run.hash, &run.channel, self.index);
        let total = local + elsewhere.subscribers + run.pattern_elsewhere.subscribers;
        let shards = elsewhere.shards | run.pattern_elsewhere.shards;
        if shards != 0 {
            let (outbox, kept) = (&mut self.fanout.outbox, (id, self.fanout.probe));
            let bytes = outbox.add(shards, (run.space, &run.channel), payload, kept, &run.patterns);
            self.credit.note_outgoing_to(shards, bytes);
        }
        total
    }

    /// Encodes a message behind the others of the run: for nobody, if it has no audience here.
    pub(super) fn encode_into_run(&mut self, payload: &[u8], position: Option<Position>) {
        let mut wanted = self.fanout.run.as_ref().map_or(0, |run| run.wanted);
        while wanted != 0 {
            let i = wanted.trailing_zeros() as usize;
            wanted &= wanted - 1;
            let apps = &self.config.pusher_app;
            let Fanout { frames, run: Some(run), probe, .. } = &mut self.fanout else { return };
            if probe.is_some() {
                run.probe = run.probe.or(*probe);
            }
            let dialect = Dialect::ALL[i];
            let range = match &run.audience {
                Audience::Pattern(pattern) => {
                    encode_pattern(&mut frames[i], (dialect, apps), pattern, &run.channel, payload)
                }
                _ => encode(&mut frames[i], (dialect, apps), (run.space, &run.channel), payload, position),
            };
            let (frame_bytes, has_lines) = (range.len(), dialect == Dialect::Events && run.line_bytes > 0);
            if !run.frames[i].as_mut().is_some_and(|so_far| so_far.extend(&range)) {
                // The chunk was full: what lies in the old one goes out, and the run goes on in the new one.
                if let Some(full) = run.frames[i].replace(range) {
                    self.hand_out_full(dialect, full);
                }
            }
            if let (true, Some(position)) = (has_lines, position) {
                self.keep_place(position, frame_bytes);
            }
        }
    }

    /// Hands out what lies in one chunk, for who speaks one dialect.
    #[cold]
    fn hand_out_full(&mut self, dialect: Dialect, full: Range) {
        let mut frames: ByDialect<Option<Range>> = Default::default();
        frames[dialect as usize] = Some(full);
        self.hand_out(&frames);
    }

    /// Notes where a message of the run stands that has been encoded.
    #[cold]
    fn keep_place(&mut self, position: Position, frame_bytes: usize) {
        let Some(run) = &mut self.fanout.run else { return };
        run.kept.push(position, frame_bytes);
        if run.kept.is_full(run.line_bytes)
            && let Some(full) = run.frames[Dialect::Events as usize].take()
        {
            self.hand_out_full(Dialect::Events, full);
        }
    }

    /// Ends the run, if one is open: its frames go to its audience's queues.
    #[inline(always)]
    pub(crate) fn end_run(&mut self) {
        if self.fanout.run.is_some() {
            self.hand_out_run();
        }
    }

    fn hand_out_run(&mut self) {
        let Some(run) = &mut self.fanout.run else { return };
        if run.local > 0 {
            let frames = std::mem::take(&mut run.frames);
            self.hand_out(&frames);
        }
        self.fanout.close_run();
    }

    /// Appends `frames` to the queues of the run's audience.
    fn hand_out(&mut self, frames: &ByDialect<Option<Range>>) {
        let Fanout { run: Some(run), lines, .. } = &mut self.fanout else { return };
        let probe = run.probe.take();
        let members = match &run.audience {
            Audience::Nobody => None,
            Audience::Channel(Namespace::Channels | Namespace::Pages) => {
                self.channels.subscribers_hashed(run.hash, &run.channel)
            }
            Audience::Channel(Namespace::Sharded) => self.sharded.subscribers_hashed(run.hash, &run.channel),
            Audience::Pattern(pattern) => self.patterns.subscribers(pattern),
        };
        let members = members.map_or(&[][..], SubscriberSet::as_slice);
        lines.begin_round();
        for &slot in members {
            let connection = &mut self.connections[slot as usize];
            let Some(range) = &frames[connection.dialect() as usize] else { continue };
            let own = match run.line_bytes {
                0 => None,
                _ => lines.run(connection, &run.channel, &run.kept, range),
            };
            self.flusher.push(connection, own.unwrap_or_else(|| range.clone()));
        }
        if frames[Dialect::Events as usize].is_some() {
            run.kept.clear();
        }
        if let (Some(since), false) = (probe, members.is_empty()) {
            let chosen = &self.connections[members[fastrand::usize(..members.len())] as usize];
            let times = &self.server.shards[self.index].traffic.latency;
            self.flusher.begin_probe(chosen, since, times);
        }
    }
}
