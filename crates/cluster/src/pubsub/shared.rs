//! What shards see of other nodes, and how they reach the thread that talks to them.
//!
//! Shards read a few atomics and push to queues; everything else is the thread's own. An interest is asked for in this order, so
//! that it is never withdrawn under who has just been told that it is known:
//!
//! 1. A shard notes the moment at which it asks for a bucket, then looks whether the bucket is known.
//! 2. The thread takes a bucket out of what is known, then looks when it was last asked for.
//!
//! All four are SeqCst: one of them sees what the other did.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_queue::SegQueue;
use sterna_server::{Answer, BUCKETS, BucketSet, Lead, Member, Nodes, Question, SessionId};
use tokio::sync::Notify;

use super::frame::NodeId;
use crate::log::balance::Move;

/// What a shard asks of the thread.
pub(super) enum Wish {
    Listen(BucketSet, Box<dyn FnOnce() + Send>),
    Ask(Question, Box<dyn FnOnce(Vec<Answer>) + Send>),
}

/// See the module.
pub(super) struct Shared {
    began: Instant,
    /// Buckets that somebody elsewhere listens to. Written by the thread before it tells that node so.
    wanted: [AtomicU64; BUCKETS / 64],
    /// Buckets of which every live node knows that they are listened to here.
    known: [AtomicU64; BUCKETS / 64],
    /// When each bucket was last asked for: seconds since `began`, and 1; 0 is never.
    asked_s: Box<[AtomicU32]>,
    /// A node is behind with its window.
    pub(super) is_behind: AtomicBool,
    /// Shards wait to be told that it no longer is.
    pub(super) is_awaited: AtomicBool,
    /// Messages of shards that the thread has not looked at, and their bytes.
    pub(super) letters: SegQueue<Vec<u8>>,
    pub(super) letter_bytes: AtomicUsize,
    letter_bytes_max: usize,
    pub(super) wishes: SegQueue<Wish>,
    /// By group of keys.
    pub(super) groups: Box<[GroupView]>,
    /// The groups that this node is to claim first, a bit each.
    pub(super) preferred: AtomicU64,
    /// Nodes that have part in the keys, as names of writers, and when each has said so last.
    holders: Mutex<BTreeMap<u64, Instant>>,
    /// The group that one node is to hand over to another.
    pub(super) next_move: Mutex<Option<Move>>,
    /// What shards pass on to nodes that lead, each with its term, and its bytes.
    pub(super) passed: SegQueue<(u64, Vec<u8>)>,
    pub(super) passed_bytes: AtomicUsize,
    /// Sessions of other nodes' clients that have something to say.
    pub(super) speaking: SegQueue<(NodeId, SessionId)>,
    pub(super) members: Mutex<Vec<Member>>,
    pub(super) notify: Notify,
    pub(super) is_stopping: AtomicBool,
    pub(super) figures: Mutex<Vec<(&'static str, String)>>,
}

/// What shards see of a group of keys.
pub(super) struct GroupView {
    /// Who leads it: `LEAD_EACH` and its like.
    lead: AtomicU64,
    /// The node that leads it has more under way than it keeps up with.
    pub(super) is_behind: AtomicBool,
    /// Shards wait to be told that it takes more.
    pub(super) is_awaited: AtomicBool,
}

impl GroupView {
    fn new() -> GroupView {
        GroupView {
            lead: AtomicU64::new(LEAD_NOBODY),
            is_behind: AtomicBool::new(false),
            is_awaited: AtomicBool::new(false),
        }
    }

    /// Shards are told by the caller.
    pub(super) fn set_lead(&self, lead: Lead) {
        let number = match lead {
            Lead::Each => LEAD_EACH,
            Lead::Me => LEAD_ME,
            Lead::Nobody => LEAD_NOBODY,
            Lead::Elsewhere(term) => LEAD_NOBODY + term,
        };
        self.lead.store(number, Ordering::SeqCst);
    }
}

impl Shared {
    pub(super) fn new(letter_bytes_max: usize, groups: usize) -> Shared {
        let full = || std::array::from_fn(|_| AtomicU64::new(u64::MAX));
        Shared {
            began: Instant::now(),
            // Until it is known who is there, anybody may listen.
            wanted: full(),
            known: Default::default(),
            asked_s: (0..BUCKETS).map(|_| AtomicU32::new(0)).collect(),
            is_behind: AtomicBool::new(false),
            is_awaited: AtomicBool::new(false),
            letters: SegQueue::new(),
            letter_bytes: AtomicUsize::new(0),
            letter_bytes_max,
            wishes: SegQueue::new(),
            groups: (0..groups).map(|_| GroupView::new()).collect(),
            preferred: AtomicU64::new(u64::MAX),
            holders: Mutex::default(),
            next_move: Mutex::default(),
            passed: SegQueue::new(),
            passed_bytes: AtomicUsize::new(0),
            speaking: SegQueue::new(),
            members: Mutex::default(),
            notify: Notify::new(),
            is_stopping: AtomicBool::new(false),
            figures: Mutex::default(),
        }
    }

    pub(super) fn note_holder(&self, node: u64) {
        let now = Instant::now();
        if let Ok(mut holders) = self.holders.lock()
            && (holders.len() < HOLDERS_MAX || holders.contains_key(&node))
        {
            holders.insert(node, now);
            holders.retain(|_, told| now.saturating_duration_since(*told) < HOLDER_SILENCE_MAX);
        }
    }

    /// Whether the node has part in the keys: one that carries messages only has none to lead.
    pub(super) fn is_holder(&self, node: u64) -> bool {
        let told = self.holders.lock().ok().and_then(|holders| holders.get(&node).copied());
        told.is_some_and(|told| told.elapsed() < HOLDER_SILENCE_MAX)
    }

    pub(super) fn now_s(&self) -> u32 {
        self.began.elapsed().as_secs() as u32
    }

    pub(super) fn set_wanted(&self, buckets: &BucketSet) {
        for (word, bits) in self.wanted.iter().zip(buckets.0) {
            word.store(bits, Ordering::SeqCst);
        }
    }

    pub(super) fn set_known(&self, buckets: &BucketSet) {
        for (word, bits) in self.known.iter().zip(buckets.0) {
            word.store(bits, Ordering::SeqCst);
        }
    }

    /// Whether the bucket has been asked for in the last seconds.
    pub(super) fn is_asked_for(&self, bucket: u8, within_s: u32) -> bool {
        let asked_s = self.asked_s[usize::from(bucket)].load(Ordering::SeqCst);
        asked_s > 0 && (self.now_s() + 1).saturating_sub(asked_s) <= within_s
    }

    fn note_asked(&self, buckets: &BucketSet) {
        let now_s = self.now_s() + 1;
        for bucket in buckets.iter() {
            self.asked_s[usize::from(bucket)].store(now_s, Ordering::SeqCst);
        }
    }

    pub(super) fn has_room_to_pass(&self, group: &GroupView) -> bool {
        !group.is_behind.load(Ordering::SeqCst)
            && self.passed_bytes.load(Ordering::SeqCst) <= self.letter_bytes_max
    }

    pub(super) fn has_room_now(&self) -> bool {
        !self.is_behind.load(Ordering::SeqCst)
            && self.letter_bytes.load(Ordering::SeqCst) <= self.letter_bytes_max
    }
}

/// Who has not said for so long that it has part in the keys has none. It says so every two seconds.
const HOLDER_SILENCE_MAX: Duration = Duration::from_secs(10);

/// More nodes than a cluster has.
const HOLDERS_MAX: usize = 1024;

const LEAD_EACH: u64 = 0;
const LEAD_ME: u64 = 1;
/// Above it stand terms of other nodes, which begin at 1.
const LEAD_NOBODY: u64 = 2;

impl Nodes for Shared {
    #[inline]
    fn wants(&self, bucket: u8) -> bool {
        let word = self.wanted[usize::from(bucket) / 64].load(Ordering::Acquire);
        word & 1 << (bucket % 64) != 0
    }

    fn forward(&self, messages: Vec<u8>) {
        self.letter_bytes.fetch_add(messages.len(), Ordering::SeqCst);
        self.letters.push(messages);
        self.notify.notify_one();
    }

    #[inline]
    fn is_behind(&self) -> bool {
        !self.has_room_now()
    }

    fn await_room(&self) -> bool {
        self.is_awaited.store(true, Ordering::SeqCst);
        !self.has_room_now()
    }

    fn knows(&self, buckets: &BucketSet) -> bool {
        self.note_asked(buckets);
        let known = BucketSet(std::array::from_fn(|word| self.known[word].load(Ordering::SeqCst)));
        known.contains_all(buckets)
    }

    fn listen(&self, buckets: &BucketSet, then: Box<dyn FnOnce() + Send>) {
        self.note_asked(buckets);
        self.wishes.push(Wish::Listen(*buckets, then));
        self.notify.notify_one();
    }

    fn ask(&self, question: Question, then: Box<dyn FnOnce(Vec<Answer>) + Send>) {
        self.wishes.push(Wish::Ask(question, then));
        self.notify.notify_one();
    }

    fn has_room(&self) {
        self.notify.notify_one();
    }

    #[inline]
    fn lead(&self, group: u16) -> Lead {
        let group = self.groups.get(usize::from(group));
        match group.map_or(LEAD_NOBODY, |group| group.lead.load(Ordering::SeqCst)) {
            LEAD_EACH => Lead::Each,
            LEAD_ME => Lead::Me,
            LEAD_NOBODY => Lead::Nobody,
            term => Lead::Elsewhere(term - LEAD_NOBODY),
        }
    }

    fn pass(&self, term: u64, records: Vec<u8>) {
        self.passed_bytes.fetch_add(records.len(), Ordering::SeqCst);
        self.passed.push((term, records));
        self.notify.notify_one();
    }

    fn may_pass(&self, group: u16) -> bool {
        let Some(group) = self.groups.get(usize::from(group)) else { return true };
        if self.has_room_to_pass(group) {
            return true;
        }
        // Then it is looked once more: the thread takes what was passed on before it looks who waits.
        group.is_awaited.store(true, Ordering::SeqCst);
        self.has_room_to_pass(group)
    }

    fn members(&self) -> Vec<Member> {
        self.members.lock().map(|members| members.clone()).unwrap_or_default()
    }

    fn figures(&self) -> Vec<(&'static str, String)> {
        self.figures.lock().map(|figures| figures.clone()).unwrap_or_default()
    }
}
