//! Messages that are handed out later than with their PUBLISH: long ones, and those by very many patterns, whose publisher can't wait while
//! that goes on in slices. So it is with a script, a transaction that is one piece, and a channel that remembers.
//!
//! ```text
//!   PUBLISH ──► long, by very many patterns, or behind such a one? ── no ─► handed out at once (`fanout.rs`)
//!                  └─ yes ─► the mail of all shards with subscribers, this one among them ─► handed out in slices (`mail.rs`, `wide.rs`)
//! ```
//!
//! 1. It is copied once, and put into the mail with its patterns. Its publisher is answered how many deliveries that will be.
//! 2. While a shard has mail of its own, whatever it publishes goes behind that, and so do keyspace events (`late_events.rs`): what one
//!    client publishes comes in its order.
//! 3. Meanwhile the shard is behind itself (`credit.rs`): whoever has published there waits, and so does a transaction that goes on in
//!    slices. A script goes on; when its own shard has very much of it, that is handed out at once.
//! 4. A message to a channel that remembers is put there with the channel's stream locked, if what others have mailed before it takes
//!    longer than a moment to hand out: it comes behind that.

use std::sync::Arc;

use sterna_keyspace::stream::EntryId;
use sterna_pubsub::SubscriberSet;

use crate::directory::Elsewhere;
use crate::parcel::{ManyMatches, Matches, Message, Namespace, Parcel};
use crate::shard::Shard;
use crate::shard::long::is_long;

/// Where what is published stands among what is handed out here later.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Behind what this shard has published itself.
    #[default]
    BehindOwn,
    /// Behind what others have mailed as well.
    BehindAll,
    /// It stood in the mail, and it is its turn.
    Now,
}

/// Who gets a message.
pub(super) struct Audience {
    pub(super) patterns: Matches,
    /// The same where they are very many; `patterns` is empty then.
    pub(super) many: Option<ManyMatches>,
    /// Subscriptions to these patterns on this shard.
    pub(super) here: usize,
    pub(super) elsewhere: Elsewhere,
}

impl Shard {
    /// Whether a message that nobody has made the frames of is handed out later.
    #[inline]
    pub(super) fn is_handed_out_later(&self, payload: &[u8], patterns: &Matches) -> bool {
        match self.fanout.order {
            Order::Now => false,
            Order::BehindAll => true,
            Order::BehindOwn => {
                self.own_letters > 0
                    || !self.wide.is_empty()
                    || is_long(payload.len(), patterns.len()) && self.fanout.prepared.is_none()
            }
        }
    }

    /// Publishes a message to a channel that remembers, whose stream is locked. Returns how many deliveries that causes.
    pub(crate) fn publish_remembered(
        &mut self,
        channel: &[u8],
        payload: &[u8],
        id: Option<EntryId>,
    ) -> usize {
        if self.has_letters() {
            self.hand_out_before();
        }
        let deliveries = self.publish_kept(Namespace::Channels, channel, payload, id);
        self.fanout.order = Order::BehindOwn;
        deliveries
    }

    /// What others have mailed comes before it.
    #[cold]
    fn hand_out_before(&mut self) {
        let prepared = self.fanout.prepared.take();
        if !self.hands_out_at_once() {
            self.fanout.order = Order::BehindAll;
        }
        self.fanout.prepared = prepared;
    }

    /// Publishes such a message. Returns how many deliveries that causes.
    #[cold]
    pub(super) fn publish_later(
        &mut self,
        named: (Namespace, &[u8]),
        payload: &[u8],
        id: Option<EntryId>,
        (patterns, elsewhere): (Matches, Elsewhere),
    ) -> usize {
        let of = |pattern: &Arc<[u8]>| self.patterns.subscribers(pattern).map_or(0, SubscriberSet::len);
        let here = patterns.iter().map(of).sum();
        self.mail_to_all(named, payload, id, Audience { patterns, many: None, here, elsewhere })
    }

    /// Puts a message into the mail of all shards with subscribers. Returns how many deliveries that causes.
    pub(super) fn mail_to_all(
        &mut self,
        (space, channel): (Namespace, &[u8]),
        payload: &[u8],
        id: Option<EntryId>,
        audience: Audience,
    ) -> usize {
        let hash = sterna_pubsub::hash(channel);
        let by_name = self.directory_of(space).elsewhere(hash, channel, self.index);
        let by_name_here =
            self.index_of(space).subscribers_hashed(hash, channel).map_or(0, SubscriberSet::len);
        let Audience { patterns, many, here, elsewhere } = audience;
        let (here, others) = (here + by_name_here, by_name.shards | elsewhere.shards);
        if here == 0 && others == 0 {
            many.into_iter().for_each(|many| self.free_names(many));
            return 0;
        }
        let made = self.fanout.prepared.as_mut();
        let made = made.and_then(|made| made.take_texts(channel.len() + payload.len()));
        let texts = Arc::new(made.unwrap_or_else(|| [channel, payload].concat()));
        let probe = self.fanout.probe;
        let message = Message {
            space,
            is_probe: probe.is_some(),
            start: 0,
            channel_end: channel.len(),
            end: texts.len(),
            patterns,
            many: many.map(Arc::new),
            id,
        };
        // What was published before comes before it.
        self.put_outbox();
        if here > 0 && self.fanout.order == Order::Now {
            self.mail_alone(others, &texts, &message, probe);
            self.wide.push(Parcel::of_one(texts, message, probe));
        } else {
            let own = u64::from(here > 0) << self.index;
            self.mail_alone(others | own, &texts, &message, probe);
            self.free_list(message);
        }
        if here > 0 {
            self.credit.hold_publishers(self.index);
        }
        here + by_name.subscribers + elsewhere.subscribers
    }
}
