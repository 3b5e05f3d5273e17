//! Other nodes, as the server knows them: somebody elsewhere who may listen.
//!
//! The server knows no network between nodes. It is given one [`Nodes`], or none, and then nothing here runs.
//!
//! ```text
//!   PUBLISH ──► shard ── has the bucket listeners elsewhere? ──► its letter of this turn ──► Nodes::forward
//!   SUBSCRIBE ─► shard ── are the buckets announced? ── no ──► Nodes::listen, and the request waits in the input
//!   from elsewhere ──► Inlet::deliver ── directory: which shards? ──► their mail, as from another shard
//! ```
//!
//! A channel lies in one of [`BUCKETS`] *buckets*, by a checksum of its name that is the same on all nodes. Interest is kept by
//! bucket: what each node tells the others stays small, however many channels there are.
//!
//! 1. SUBSCRIBE (here): before it is executed, its buckets are announced to every live node, and each has acknowledged that.
//! 2. PUBLISH (there): looks which buckets have listeners elsewhere, hands the message on, then answers.
//! 3. It arrives here: whoever is in the directory then gets it.
//!
//! So a PUBLISH anywhere that begins after a confirmed SUBSCRIBE sees it: 1 comes before the confirmation, and the other node
//! has noted the interest before it acknowledges.
//!
//! Invariants
//! - Messages of one shard are handed on in the order in which it published them.
//! - What has come from elsewhere is never handed on.
//! - Requests of one client reach the node that leads in their order, and so do its replies the client: `shard/passing.rs`.
//! - Where the other nodes keep nothing back ([`Nodes::is_behind`]), no request waits for them but SUBSCRIBE and questions.

mod buckets;
mod codec;
mod records;

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashSet;

use crate::directory::Directory;

pub use buckets::{BUCKETS, BucketSet, bucket_of};
pub(crate) use codec::write_forwarded;
pub use codec::{Answer, ChannelKind, Forwarded, Question, forwarded};
pub use records::{
    Asker, RECORD_BYTES_MAX, ROOM_BYTES, Say, SessionId, TAKEN_UNKNOWN, records, shard_of, write_record,
};
pub(crate) use records::{extend_record, session_of};

/// The bit of other nodes in sets of shards, which are fewer.
pub(crate) const NODES: usize = 63;

/// How long a request waits for other nodes at most. Above it the request goes on with what is known.
pub const WAIT_MAX: Duration = Duration::from_secs(6);

/// What a server asks of whoever connects it with other nodes. Called by shards: nothing here may wait.
pub trait Nodes: Send + Sync {
    /// Whether somebody elsewhere may listen to channels of this bucket. Never a false no once `listen` there has ended.
    fn wants(&self, bucket: u8) -> bool;

    /// Hands on messages in the form of [`forwarded`], those of one shard in its order.
    fn forward(&self, messages: Vec<u8>);

    /// Whether publishers have to wait: more is on its way than the other nodes keep up with.
    fn is_behind(&self) -> bool;

    /// The same; if so, the shards' mailboxes are woken when it is over.
    fn await_room(&self) -> bool;

    /// Whether every live node knows that this one listens to these buckets, which stay announced for a while.
    fn knows(&self, buckets: &BucketSet) -> bool;

    /// Tells every live node that this one listens to these buckets, and calls `then` when all know, or after [`WAIT_MAX`].
    fn listen(&self, buckets: &BucketSet, then: Box<dyn FnOnce() + Send>);

    /// Asks every live node, and calls `then` with what has come when all have answered, or after [`WAIT_MAX`].
    fn ask(&self, question: Question, then: Box<dyn FnOnce(Vec<Answer>) + Send>);

    /// A shard has handed out some of what was delivered.
    fn has_room(&self);

    /// What INFO says: names and values.
    fn figures(&self) -> Vec<(&'static str, String)>;

    /// Who leads the keys of a group. Shards get a `Mail::Lead` behind every change.
    fn lead(&self, group: u16) -> Lead;

    /// Hands on [`records`] of one shard, in its order, to the node that leads since `term`; dropped if that has changed.
    fn pass(&self, term: u64, records: Vec<u8>);

    /// Whether the node that leads a group takes more requests. If not, shards get a `Mail::Lead` when it does.
    fn may_pass(&self, group: u16) -> bool;

    /// All nodes, this one first.
    fn members(&self) -> Vec<Member>;
}

/// Who leads the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lead {
    /// Nobody is to: each node's keys are its own.
    Each,
    /// This node.
    Me,
    /// Another one, since this term: it has another number for each node, and whenever what is under way to that one may be lost.
    Elsewhere(u64),
    /// Nobody just now.
    Nobody,
}

/// A node, as clients are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// 40 hexadecimal digits.
    pub id: String,
    /// Where clients reach it.
    pub host: String,
    /// See `host`; 0: not without TLS.
    pub port: u16,
    /// The same with TLS.
    pub tls_port: u16,
    /// It has been heard of lately.
    pub is_live: bool,
    /// The groups of keys that it leads, a bit each.
    pub leads: u64,
}

/// What is known of other nodes when a request has waited for them.
#[derive(Debug)]
pub(crate) enum Word {
    /// They know what is listened to here.
    Known,
    /// Subscribers elsewhere, in the order of the question, or the one number that was asked for.
    Counts(Vec<u64>),
    /// Channels that have subscribers elsewhere and none here, each once, some thousand a list.
    Names(Vec<Vec<Arc<[u8]>>>),
}

/// Names in one list of [`Word::Names`].
const NAMES_IN_LIST: usize = 1024;

impl Word {
    /// What the nodes' answers come to. Takes a while if they are long: for no shard.
    pub(crate) fn of(directory: &Directory, question: &Question, answers: Vec<Answer>) -> Word {
        match question {
            Question::Channels { kind, .. } => {
                let here = match kind {
                    ChannelKind::Plain => &directory.channels,
                    ChannelKind::Sharded => &directory.sharded,
                };
                let is_elsewhere = |name: &Arc<[u8]>| here.total(sterna_pubsub::hash(name), name) == 0;
                let lists = answers.into_iter().filter_map(|answer| match answer {
                    Answer::Names(names) => Some(names),
                    Answer::Counts(_) => None,
                });
                let names: HashSet<Arc<[u8]>> = lists.flatten().filter(is_elsewhere).collect();
                let names: Vec<_> = names.into_iter().collect();
                Word::Names(names.chunks(NAMES_IN_LIST).map(<[_]>::to_vec).collect())
            }
            Question::Subscribers { channels, .. } => Word::Counts(sums(channels.len(), &answers)),
            Question::Patterns => Word::Counts(sums(1, &answers)),
        }
    }
}

/// The sum of each number over all answers; what an answer lacks is 0.
fn sums(len: usize, answers: &[Answer]) -> Vec<u64> {
    let mut sums = vec![0_u64; len];
    for answer in answers {
        let Answer::Counts(counts) = answer else { continue };
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum = sum.saturating_add(*count));
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Arc<[u8]> {
        text.as_bytes().into()
    }

    #[test]
    fn counts_of_all_nodes_are_added_and_a_short_answer_lacks_some() {
        let channels = vec![name("a"), name("b")];
        let question = Question::Subscribers { kind: ChannelKind::Plain, channels };
        let answers = vec![Answer::Counts(vec![1, 2]), Answer::Counts(vec![u64::MAX]), Answer::Names(vec![])];
        let Word::Counts(counts) = Word::of(&Directory::default(), &question, answers) else { panic!() };
        assert_eq!(counts, [u64::MAX, 2]);
    }

    #[test]
    fn a_channel_is_named_once_and_not_if_it_has_subscribers_here() {
        let directory = Directory::default();
        directory.channels.add(sterna_pubsub::hash(b"here"), &name("here"), 0);
        let answers =
            vec![Answer::Names(vec![name("a"), name("here")]), Answer::Names(vec![name("a"), name("b")])];
        let question = Question::Channels { kind: ChannelKind::Plain, pattern: None };
        let Word::Names(lists) = Word::of(&directory, &question, answers) else { panic!() };
        let mut names = lists.concat();
        names.sort();
        assert_eq!(names, [name("a"), name("b")]);
    }
}
