//! A shard's part in what goes to other nodes, and what is asked of them. The steps are those of `nodes/mod.rs`.
//!
//! ```text
//!   PUBLISH      letter  [message][message] …      handed on at the end of the turn, before replies leave
//!   SUBSCRIBE    waits in the input ──► Nodes::listen ──► Mail::Nodes ──► is taken from the input again
//!   PUBSUB       waits in the input ──► Nodes::ask    ──► Mail::Nodes ──► is taken from the input again, with the answers
//! ```
//!
//! Invariants
//! - A word that came for a connection is used by the request that waited for it, or goes with the connection.
//! - What is in the letter has not been answered yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::connection::state::{ConnectionRef, Wait};
use crate::mailbox::{MAILED_BYTES_MAX, Mail};
use crate::nodes::{BucketSet, ChannelKind, Nodes, Question, Word, bucket_of, write_forwarded};
use crate::parcel::Namespace;
use crate::server::Server;
use crate::shard::Shard;

/// What a shard keeps where there are other nodes.
pub(crate) struct Outward {
    pub(super) nodes: Arc<dyn Nodes>,
    /// Messages of this turn.
    letter: Vec<u8>,
    /// What came for connections that have yet to use it.
    words: BTreeMap<ConnectionRef, Received>,
}

#[derive(Debug)]
struct Received {
    word: Word,
    /// Numbers of it that have been used: a long question is answered a part at a time.
    used: usize,
}

impl Outward {
    pub(super) fn of(server: &Server) -> Option<Box<Outward>> {
        let nodes = Arc::clone(server.nodes.get()?);
        Some(Box::new(Outward { nodes, letter: Vec::new(), words: BTreeMap::new() }))
    }
}

impl Shard {
    /// Hands a message on if somebody elsewhere may listen. Without other nodes that is one branch.
    #[inline]
    pub(super) fn forward(&mut self, space: Namespace, channel: &[u8], payload: &[u8]) {
        if self.outward.is_some() {
            self.forward_if_wanted(space, channel, payload);
        }
    }

    fn forward_if_wanted(&mut self, space: Namespace, channel: &[u8], payload: &[u8]) {
        let Some(outward) = &mut self.outward else { return };
        let kind = match space {
            Namespace::Channels => ChannelKind::Plain,
            Namespace::Sharded => ChannelKind::Sharded,
            // Frames for the pages of this node.
            Namespace::Pages => return,
        };
        if !outward.nodes.wants(bucket_of(channel)) {
            return;
        }
        write_forwarded(&mut outward.letter, kind, channel, payload);
        if outward.letter.len() > MAILED_BYTES_MAX {
            outward.nodes.forward(std::mem::take(&mut outward.letter));
        }
        let is_behind = outward.nodes.is_behind();
        self.credit.note_nodes(is_behind);
    }

    /// Hands on what this turn has published.
    pub(super) fn hand_on(&mut self) {
        if let Some(outward) = &mut self.outward
            && !outward.letter.is_empty()
        {
            outward.nodes.forward(std::mem::take(&mut outward.letter));
        }
    }

    /// Whether a message to this channel would be handed on.
    pub(super) fn is_wanted_elsewhere(&self, channel: &[u8]) -> bool {
        self.outward.as_ref().is_some_and(|outward| outward.nodes.wants(bucket_of(channel)))
    }

    /// Whether publishers to other nodes have to wait. If so this shard is woken when that is over.
    pub(super) fn awaits_nodes(&self) -> bool {
        self.outward.as_ref().is_some_and(|outward| outward.nodes.await_room())
    }

    /// Whether other nodes know that these buckets are listened to here. If not, they are told, and the connection waits.
    pub(crate) fn is_announced(&mut self, slot: usize, buckets: &BucketSet) -> bool {
        let me = self.connections[slot].me;
        let Some(outward) = &mut self.outward else { return true };
        let has_waited = matches!(outward.words.get(&me), Some(Received { word: Word::Known, .. }));
        if has_waited {
            outward.words.remove(&me);
        }
        if has_waited || buckets.is_empty() || outward.nodes.knows(buckets) {
            return true;
        }
        let (server, shard) = (Arc::clone(&self.server), self.index);
        outward.nodes.listen(
            buckets,
            Box::new(move || {
                server.shards[shard].mailbox.push(Mail::Nodes { who: me, word: Box::new(Word::Known) });
            }),
        );
        self.wait(slot, Wait::Nodes, None);
        false
    }

    /// Has other nodes know that a channel is listened to here, without waiting until they do.
    pub(crate) fn announce(&self, buckets: &BucketSet) {
        if let Some(outward) = &self.outward
            && !outward.nodes.knows(buckets)
        {
            outward.nodes.listen(buckets, Box::new(|| {}));
        }
    }

    /// Whether other nodes have answered what the connection asks. If not, they are asked, and it waits.
    pub(crate) fn is_answered(&mut self, slot: usize, question: impl FnOnce() -> Question) -> bool {
        let me = self.connections[slot].me;
        let Some(outward) = &mut self.outward else { return true };
        if outward.words.contains_key(&me) {
            return true;
        }
        let (server, shard, question) = (Arc::clone(&self.server), self.index, question());
        outward.nodes.ask(
            question.clone(),
            Box::new(move |answers| {
                let word = Box::new(Word::of(&server.directory, &question, answers));
                server.shards[shard].mailbox.push(Mail::Nodes { who: me, word });
            }),
        );
        self.wait(slot, Wait::Nodes, None);
        false
    }

    /// What the connection waits for has come.
    pub(super) fn receive_word(&mut self, who: ConnectionRef, word: Word) {
        let waits = self
            .connection_of(who)
            .is_some_and(|connection| matches!(connection.state().wait(), Some(Wait::Nodes)));
        if waits && let Some(outward) = &mut self.outward {
            outward.words.insert(who, Received { word, used: 0 });
            self.resume(who.slot);
        }
    }

    /// The next `count` numbers that other nodes have answered to the connection's question.
    pub(crate) fn counts_elsewhere(&mut self, slot: usize, count: usize) -> Vec<u64> {
        let me = self.connections[slot].me;
        let received = self.outward.as_mut().and_then(|outward| outward.words.get_mut(&me));
        let Some(Received { word: Word::Counts(counts), used }) = received else { return vec![0; count] };
        let mut next: Vec<u64> = counts.iter().skip(*used).take(count).copied().collect();
        *used += count;
        let is_over = *used >= counts.len();
        next.resize(count, 0);
        if is_over {
            self.forget_word(me);
        }
        next
    }

    /// Whether other nodes have answered so many names that the reply is made in parts.
    pub(crate) fn has_many_names(&self, slot: usize) -> bool {
        let me = self.connections[slot].me;
        let received = self.outward.as_ref().and_then(|outward| outward.words.get(&me));
        matches!(received, Some(Received { word: Word::Names(lists), .. }) if lists.len() > 1)
    }

    /// The names that other nodes have answered.
    pub(crate) fn names_elsewhere(&mut self, slot: usize) -> Vec<Vec<Arc<[u8]>>> {
        let me = self.connections[slot].me;
        let received = self.outward.as_mut().and_then(|outward| outward.words.remove(&me));
        match received {
            Some(Received { word: Word::Names(lists), .. }) => lists,
            _ => Vec::new(),
        }
    }

    /// The connection goes, or its request has failed.
    pub(crate) fn forget_word(&mut self, who: ConnectionRef) {
        if let Some(outward) = &mut self.outward {
            outward.words.remove(&who);
        }
    }
}
