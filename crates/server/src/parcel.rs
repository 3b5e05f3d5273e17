//! Messages on their way to another shard.
//!
//! ```text
//!   bytes     [channel payload] [channel payload] [payload] …      shared by the parcels of a turn
//!   messages   start ──► end      …                                offsets, and the patterns that matched
//! ```

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;
use sterna_keyspace::stream::EntryId;

use crate::connection::chunk;

/// Which name space a channel belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Namespace {
    /// SUBSCRIBE, PUBLISH; patterns match here.
    Channels,
    /// SSUBSCRIBE, SPUBLISH.
    Sharded,
    /// Frames for the pages among the subscribers of a channel, who are in `Channels`.
    Pages,
}

/// Patterns that match one channel.
pub(crate) type Matches = SmallVec<[Arc<[u8]>; 2]>;

/// Very many of them: a list that shards share.
pub(crate) type ManyMatches = Vec<Arc<[u8]>>;

/// Messages for another shard: one turn's.
#[derive(Debug)]
pub(crate) struct Parcel {
    /// Channels and payloads, one behind the other, shared by the parcels of the turn.
    pub(crate) bytes: Arc<Vec<u8>>,
    pub(crate) messages: Vec<Message>,
    /// How many have been handed out.
    pub(crate) done: usize,
    /// When the message was published that is a probe, if one is (`stats/traffic.rs`).
    pub(crate) probe: Option<Instant>,
}

impl Drop for Parcel {
    /// The last of those that share the texts frees them.
    fn drop(&mut self) {
        if let Some(texts) = Arc::get_mut(&mut self.bytes) {
            chunk::free_long(std::mem::take(texts));
        }
    }
}

impl Parcel {
    /// One message, to which `bytes` belong.
    pub(crate) fn of_one(bytes: Arc<Vec<u8>>, message: Message, probe: Option<Instant>) -> Parcel {
        Parcel { bytes, messages: vec![message], done: 0, probe }
    }

    /// Whether all has been handed out.
    pub(crate) fn is_empty(&self) -> bool {
        self.done == self.messages.len()
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) space: Namespace,
    /// It is the one whose time is taken.
    pub(crate) is_probe: bool,
    /// Offsets in `Parcel::bytes`: the channel is `start..channel_end`, the payload `channel_end..end`.
    pub(crate) start: usize,
    pub(crate) channel_end: usize,
    pub(crate) end: usize,
    /// Patterns that matched when it was published.
    pub(crate) patterns: Matches,
    /// The same where they are very many; `patterns` is empty then.
    pub(crate) many: Option<Arc<ManyMatches>>,
    /// Its entry in the channel's stream, if the channel remembers.
    pub(crate) id: Option<EntryId>,
}

impl Message {
    /// What it counts against its sender's credit.
    pub(crate) fn cost(&self) -> usize {
        let list = self.many.as_ref().map_or(0, |many| many.len() * size_of::<Arc<[u8]>>());
        self.end - self.start + list + size_of::<Message>()
    }
}

/// Messages for other shards that have yet to be mailed.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    has_mail: bool,
    bytes: Vec<u8>,
    for_shard: Vec<Vec<Message>>,
    /// When the message was published that is a probe.
    probe: Option<Instant>,
}

impl Outbox {
    /// Returns what it counts against credit with each of `shards`.
    pub(crate) fn add(
        &mut self,
        shards: u64,
        (space, channel): (Namespace, &[u8]),
        payload: &[u8],
        (id, probe): (Option<EntryId>, Option<Instant>),
        patterns: &Matches,
    ) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(channel);
        let channel_end = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        self.probe = probe.or(self.probe);
        let (end, is_probe) = (self.bytes.len(), probe.is_some());
        let message =
            Message { space, is_probe, start, channel_end, end, patterns: patterns.clone(), many: None, id };
        self.note(shards, message)
    }

    /// The same for a message that is alone in the outbox, with its texts as one: those of the channel and the payload.
    pub(crate) fn set(
        &mut self,
        shards: u64,
        (space, channel_bytes): (Namespace, usize),
        texts: Vec<u8>,
        (id, probe): (Option<EntryId>, Option<Instant>),
        patterns: &Matches,
    ) -> usize {
        debug_assert!(!self.has_mail && self.bytes.is_empty());
        self.probe = probe;
        let (end, is_probe) = (texts.len(), probe.is_some());
        self.bytes = texts;
        let patterns = patterns.clone();
        let message =
            Message { space, is_probe, start: 0, channel_end: channel_bytes, end, patterns, many: None, id };
        self.note(shards, message)
    }

    fn note(&mut self, shards: u64, message: Message) -> usize {
        self.has_mail = true;
        let mut rest = shards;
        while rest != 0 {
            let shard = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            if self.for_shard.len() <= shard {
                self.for_shard.resize_with(shard + 1, Vec::new);
            }
            self.for_shard[shard].push(message.clone());
        }
        message.cost()
    }

    /// Empties it: shard, parcel, and what that counts against credit.
    #[inline]
    pub(crate) fn take_parcels(&mut self) -> impl Iterator<Item = (usize, Parcel, usize)> {
        let (has_mail, probe) = (std::mem::take(&mut self.has_mail), self.probe.take());
        let all = has_mail.then(|| Arc::new(std::mem::take(&mut self.bytes)));
        let lists = if has_mail { &mut self.for_shard[..] } else { &mut [] };
        lists.iter_mut().enumerate().filter(|(_, messages)| !messages.is_empty()).filter_map(
            move |(shard, messages)| {
                let (parcel, bytes) = pack(all.as_ref()?, std::mem::take(messages), probe);
                Some((shard, parcel, bytes))
            },
        )
    }
}

/// A parcel of `messages`, whose texts lie in `all`, and what it counts against credit. One that has a small part of them
/// gets its own copy: it may lie in the mail for longer than the others.
fn pack(all: &Arc<Vec<u8>>, mut messages: Vec<Message>, probe: Option<Instant>) -> (Parcel, usize) {
    let cost = messages.iter().map(Message::cost).sum();
    let texts: usize = messages.iter().map(|message| message.end - message.start).sum();
    if 2 * texts >= all.len() {
        return (Parcel { bytes: Arc::clone(all), messages, done: 0, probe }, cost);
    }
    let mut own = Vec::with_capacity(texts);
    for message in &mut messages {
        let start = own.len();
        own.extend_from_slice(&all[message.start..message.end]);
        message.channel_end = start + (message.channel_end - message.start);
        (message.start, message.end) = (start, own.len());
    }
    (Parcel { bytes: Arc::new(own), messages, done: 0, probe }, cost)
}
