//! The way in: what other nodes have published, and what they ask.
//!
//! Messages are matched on the thread that calls, which is no shard, by the directory that shards use as well, and mailed as one
//! shard mails another: with credit, so that a shard which is behind holds back whoever delivers.

use std::sync::Arc;

use sterna_pubsub::{MatchScratch, glob};

use crate::directory::{Elsewhere, STRIPES};
use crate::mailbox::{Credit, MAILED_BYTES_MAX, Mail};
use crate::matching::{Matching, STEPS_AT_ONCE};
use crate::nodes::{Answer, BucketSet, ChannelKind, NODES, Question, bucket_of};
use crate::parcel::{Matches, Message, Namespace, Outbox, Parcel};
use crate::persistence::LogSeat;
use crate::server::Server;

/// The way in for messages and questions from elsewhere.
pub struct Inlet {
    pub(crate) server: Arc<Server>,
    outbox: Outbox,
    scratch: MatchScratch,
}

/// Answers what other nodes ask, on any thread.
#[derive(Clone)]
pub struct Answerer(Arc<Server>);

impl Inlet {
    pub(crate) fn new(server: Arc<Server>) -> Inlet {
        Inlet { server, outbox: Outbox::default(), scratch: MatchScratch::default() }
    }

    /// Puts a message into the mail of the shards that have subscribers for it. It goes with [`Inlet::mail`]. Returns whether
    /// there are any.
    pub fn deliver(&mut self, kind: ChannelKind, channel: &[u8], payload: &[u8]) -> bool {
        let space = Namespace::from(kind);
        let directory = &self.server.directory;
        let index = match space {
            Namespace::Channels | Namespace::Pages => &directory.channels,
            Namespace::Sharded => &directory.sharded,
        };
        let mut shards = index.elsewhere(sterna_pubsub::hash(channel), channel, NODES).shards;
        let mut patterns = Matches::new();
        if space == Namespace::Channels && directory.patterns.len() > 0 {
            let found = directory.patterns.read().match_within(
                channel,
                &mut self.scratch,
                STEPS_AT_ONCE,
                |name, interest| {
                    shards |= Elsewhere::of(&interest.counts, NODES).shards;
                    patterns.push(Arc::clone(name));
                },
            );
            if !found {
                return self.deliver_widely(shards, channel, payload);
            }
        }
        if shards != 0 {
            self.outbox.add(shards, (space, channel), payload, (None, None), &patterns);
        }
        shards != 0
    }

    /// The same for a message whose patterns take long to find (`shard/wide.rs`).
    fn deliver_widely(&mut self, mut shards: u64, channel: &[u8], payload: &[u8]) -> bool {
        let mut matching = Matching::begin();
        matching.go_on(&self.server.directory.patterns, NODES, channel, None);
        let found = matching.end();
        shards |= found.elsewhere.shards;
        self.mail();
        let texts = Arc::new([channel, payload].concat());
        let message = Message {
            space: Namespace::Channels,
            is_probe: false,
            start: 0,
            channel_end: channel.len(),
            end: texts.len(),
            patterns: Matches::new(),
            many: Some(Arc::new(found.patterns)),
            id: None,
        };
        for shard in (0..self.server.shards.len()).filter(|shard| shards & 1 << shard != 0) {
            self.post(shard, Parcel::of_one(Arc::clone(&texts), message.clone(), None), message.cost());
        }
        shards != 0
    }

    fn post(&self, shard: usize, parcel: Parcel, bytes: usize) {
        let (from, handle) = (self.server.shards.len(), &self.server.shards[shard]);
        handle.credit[from].add(bytes);
        handle.mailbox.post(from, bytes, Mail::Published(parcel));
    }

    /// Mails what was delivered.
    pub fn mail(&mut self) {
        let parcels: Vec<_> = self.outbox.take_parcels().collect();
        parcels.into_iter().for_each(|(shard, parcel, bytes)| self.post(shard, parcel, bytes));
    }

    /// Whether no shard has more in its mail than it keeps up with. If one has, `Nodes::has_room` is called when that is over.
    pub fn keeps_up(&self) -> bool {
        let from = self.server.shards.len();
        let over = |credit: &Credit| credit.bytes_now() > MAILED_BYTES_MAX;
        let mut shards = self.server.shards.iter().map(|shard| &shard.credit[from]);
        !shards.any(|credit| over(credit) && credit.await_fall() > MAILED_BYTES_MAX)
    }

    /// Has every shard look whether publishers may go on.
    pub fn wake_shards(&self) {
        self.server.shards.iter().for_each(|shard| shard.mailbox.wake());
    }

    /// Where the threads of the logs that nodes share sit, one for each group of keys, if keys are theirs together.
    pub fn log_seats(&self) -> Vec<LogSeat> {
        LogSeat::all(&self.server)
    }

    /// Who answers questions.
    pub fn answerer(&self) -> Answerer {
        Answerer(Arc::clone(&self.server))
    }

    /// Whether the server is on its way to stop.
    pub fn is_stopping(&self) -> bool {
        self.server.is_stopping()
    }
}

impl Answerer {
    /// What this node answers. Cost: O(channels) if their names are asked for.
    pub fn answer(&self, question: &Question) -> Answer {
        answer(&self.0, question)
    }

    /// The buckets in which somebody here is subscribed. Cost: O(channels); no lock is held for longer than a part of them.
    pub fn buckets(&self) -> BucketSet {
        let directory = &self.0.directory;
        if directory.patterns.len() > 0 {
            return BucketSet::all();
        }
        let mut buckets = BucketSet::default();
        for index in [&directory.channels, &directory.sharded] {
            for stripe in 0..STRIPES {
                index.for_each_in(stripe, |channel| buckets.insert(bucket_of(channel)));
            }
        }
        buckets
    }
}

fn answer(server: &Server, question: &Question) -> Answer {
    let directory = |kind: ChannelKind| match kind {
        ChannelKind::Plain => &server.directory.channels,
        ChannelKind::Sharded => &server.directory.sharded,
    };
    match question {
        Question::Channels { kind, pattern } => {
            let mut names = Vec::new();
            for stripe in 0..STRIPES {
                directory(*kind).for_each_in(stripe, |name| {
                    if pattern.as_deref().is_none_or(|pattern| glob::matches(pattern, name)) {
                        names.push(Arc::clone(name));
                    }
                });
            }
            Answer::Names(names)
        }
        Question::Subscribers { kind, channels } => {
            let count = |name: &Arc<[u8]>| directory(*kind).total(sterna_pubsub::hash(name), name) as u64;
            Answer::Counts(channels.iter().map(count).collect())
        }
        Question::Patterns => Answer::Counts(vec![server.directory.patterns.len() as u64]),
    }
}
