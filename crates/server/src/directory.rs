//! The directory: which shards have subscribers for a channel or a pattern, and how many.
//!
//! It is what lets PUBLISH answer its count and reach other shards without asking them, and it is never stale:
//!
//! 1. SUBSCRIBE (on shard A): A adds the subscriber to its own index, then counts it here, then confirms.
//! 2. PUBLISH (on shard B): B looks here, then mails the message to each shard with interest, then answers.
//! 3. A receives: whoever is in its index at that moment gets the message.
//! 4. UNSUBSCRIBE (on A): A uncounts here, removes the subscriber from its index, then confirms.
//!
//! So a PUBLISH that begins after a confirmed SUBSCRIBE sees it (1 before 2), and after a confirmed UNSUBSCRIBE nothing
//! is in A's index to receive it (4 before 3). A SUBSCRIBE also drains A's mailbox first, so that a message published
//! before it began, and still in the mail, does not reach the new subscriber.
//!
//! ```text
//!   channel ─ hash ─► stripe: mask of shards (atomic) │ lock ► channel → count per shard
//! ```
//!
//! The mask is read without the lock: if no other shard has any channel in the stripe, a message is purely local and
//! PUBLISH takes no lock at all. Each stripe's `mask` is written under its lock (Release) and read by PUBLISH (Acquire);
//! the confirmation of a SUBSCRIBE travels through a socket after that write, which orders it before any PUBLISH that
//! its client sends or causes afterwards.
//!
//! Patterns stand in one trie for all shards, behind a read-write lock that only PSUBSCRIBE and its like take for writing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use hashbrown::HashMap;
use sterna_pubsub::{InterestCounts, PatternTrie, TrieSize};

use crate::lock::{Level, Mutex, RwLock, RwLockReadGuard};

/// Power of two; with so many, channels of a small deployment seldom share a stripe.
pub(crate) const STRIPES: usize = 4096;

/// Which shards care, by channel.
#[derive(Debug)]
pub(crate) struct ChannelDirectory {
    stripes: Box<[Stripe]>,
    channels: AtomicUsize,
    /// Bytes of their names.
    name_bytes: AtomicUsize,
}

#[derive(Debug, Default)]
struct Stripe {
    mask: AtomicU64,
    entries: Mutex<Entries, { Level::Channels as u8 }>,
}

/// The channels of a stripe.
#[derive(Debug, Default)]
struct Entries {
    channels: HashMap<Arc<[u8]>, InterestCounts>,
    /// How many of them each shard has subscribers for: when it is the last, the shard leaves the mask.
    by_shard: Vec<u32>,
}

impl Default for ChannelDirectory {
    fn default() -> ChannelDirectory {
        ChannelDirectory {
            stripes: (0..STRIPES).map(|_| Stripe::default()).collect(),
            channels: AtomicUsize::new(0),
            name_bytes: AtomicUsize::new(0),
        }
    }
}

impl ChannelDirectory {
    fn stripe(&self, hash: u64) -> &Stripe {
        // The high bits: hash tables inside a stripe use the low ones.
        &self.stripes[(hash >> 48) as usize % STRIPES]
    }

    /// Counts one more subscriber on `shard`.
    pub(crate) fn add(&self, hash: u64, channel: &Arc<[u8]>, shard: usize) {
        let stripe = self.stripe(hash);
        let mut entries = stripe.entries.lock();
        let entries = &mut *entries;
        let counts = entries.channels.entry_ref(channel).or_insert_with(|| {
            self.channels.fetch_add(1, Ordering::Relaxed);
            self.name_bytes.fetch_add(channel.len(), Ordering::Relaxed);
            InterestCounts::default()
        });
        counts.add(shard);
        if counts.on(shard) == 1 {
            if entries.by_shard.len() <= shard {
                entries.by_shard.resize(shard + 1, 0);
            }
            entries.by_shard[shard] += 1;
        }
        stripe.mask.fetch_or(1 << shard, Ordering::Release);
    }

    /// Counts one subscriber fewer on `shard`.
    pub(crate) fn remove(&self, hash: u64, channel: &[u8], shard: usize) {
        let stripe = self.stripe(hash);
        let mut entries = stripe.entries.lock();
        let entries = &mut *entries;
        let Some(counts) = entries.channels.get_mut(channel) else { return };
        if counts.on(shard) == 1 {
            entries.by_shard[shard] -= 1;
            if entries.by_shard[shard] == 0 {
                stripe.mask.fetch_and(!(1 << shard), Ordering::Release);
            }
        }
        counts.remove(shard);
        if counts.total() == 0 {
            entries.channels.remove(channel);
            self.channels.fetch_sub(1, Ordering::Relaxed);
            self.name_bytes.fetch_sub(channel.len(), Ordering::Relaxed);
            if entries.channels.is_empty() {
                *entries = Entries::default();
            }
        }
    }

    /// Shards that may have subscribers of a channel with this hash: no lock, and never too few.
    #[inline]
    pub(crate) fn mask(&self, hash: u64) -> u64 {
        self.stripe(hash).mask.load(Ordering::Acquire)
    }

    /// Subscribers on shards other than `shard`, and which shards those are.
    pub(crate) fn elsewhere(&self, hash: u64, channel: &[u8], shard: usize) -> Elsewhere {
        if self.mask(hash) & !(1 << shard) == 0 {
            return Elsewhere::default();
        }
        self.stripe(hash)
            .entries
            .lock()
            .channels
            .get(channel)
            .map_or(Elsewhere::default(), |counts| Elsewhere::of(counts, shard))
    }

    /// Subscribers on all shards (PUBSUB NUMSUB).
    pub(crate) fn total(&self, hash: u64, channel: &[u8]) -> usize {
        self.stripe(hash).entries.lock().channels.get(channel).map_or(0, |counts| counts.total() as usize)
    }

    /// Channels with a subscriber.
    pub(crate) fn len(&self) -> usize {
        self.channels.load(Ordering::Relaxed)
    }

    /// Bytes of their names.
    pub(crate) fn name_bytes(&self) -> usize {
        self.name_bytes.load(Ordering::Relaxed)
    }

    /// The same with how many subscribers each has, over all shards.
    pub(crate) fn for_each_count_in(&self, stripe: usize, mut f: impl FnMut(&Arc<[u8]>, u64)) {
        let stripe = &self.stripes[stripe];
        if stripe.mask.load(Ordering::Relaxed) == 0 {
            return;
        }
        let entries = stripe.entries.lock();
        entries.channels.iter().for_each(|(channel, counts)| f(channel, counts.total()));
    }

    /// The channels of one stripe, below [`STRIPES`], that have a subscriber. Locks that stripe.
    pub(crate) fn for_each_in(&self, stripe: usize, mut f: impl FnMut(&Arc<[u8]>)) {
        self.stripes[stripe].entries.lock().channels.keys().for_each(&mut f);
    }
}

/// Interest on other shards than the one that asks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Elsewhere {
    pub(crate) subscribers: usize,
    pub(crate) shards: u64,
}

impl Elsewhere {
    /// Adds the interest in one pattern more.
    #[inline]
    pub(crate) fn add(&mut self, counts: &InterestCounts, shard: usize) {
        let there = Elsewhere::of(counts, shard);
        self.subscribers += there.subscribers;
        self.shards |= there.shards;
    }

    pub(crate) fn of(counts: &InterestCounts, shard: usize) -> Elsewhere {
        let here = counts.on(shard);
        Elsewhere {
            subscribers: (counts.total() - u64::from(here)) as usize,
            shards: counts.mask() & !(1 << shard),
        }
    }
}

/// One pattern of the directory.
#[derive(Debug, Default)]
pub(crate) struct Interest {
    pub(crate) counts: InterestCounts,
}

/// Which shards care, by pattern.
#[derive(Default)]
pub(crate) struct PatternDirectory {
    trie: RwLock<PatternTrie<Interest>, { Level::Patterns as u8 }>,
    /// Patterns in the trie; PUBLISH skips the lock while it is 0. Written under the lock (Release), read Acquire.
    patterns: AtomicUsize,
    /// Those of them that are wild, and the nodes of these ([`TrieSize`]). Written and read as `patterns`.
    wild: AtomicUsize,
    wild_nodes: AtomicUsize,
    /// Rises with every change of the trie (written under its lock, Release), so that a publisher that sends to one
    /// channel again and again need not match it again (read Acquire).
    version: AtomicU64,
}

impl PatternDirectory {
    /// Counts one more subscriber on `shard`.
    pub(crate) fn add(&self, pattern: &Arc<[u8]>, shard: usize) {
        let mut trie = self.trie.write();
        let interest = trie.get_or_insert_with(Arc::clone(pattern), Interest::default);
        interest.counts.add(shard);
        self.changed(&trie);
    }

    /// Counts one subscriber fewer on `shard`.
    pub(crate) fn remove(&self, pattern: &[u8], shard: usize) {
        let mut trie = self.trie.write();
        let Some(interest) = trie.get_mut(pattern) else { return };
        interest.counts.remove(shard);
        if interest.counts.total() == 0 {
            trie.remove(pattern);
        }
        self.changed(&trie);
    }

    fn changed(&self, trie: &PatternTrie<Interest>) {
        self.patterns.store(trie.len(), Ordering::Release);
        let size = trie.size();
        self.wild.store(size.wild, Ordering::Release);
        self.wild_nodes.store(size.wild_nodes, Ordering::Release);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Unique patterns (PUBSUB NUMPAT).
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.patterns.load(Ordering::Acquire)
    }

    /// Whether matching a channel of so many bytes may take more steps than this. Cost: three loads.
    #[inline]
    pub(crate) fn may_take(&self, steps: usize, channel_bytes: usize) -> bool {
        let patterns = self.len();
        if patterns == 0 {
            return false;
        }
        let (wild, wild_nodes) = (self.wild.load(Ordering::Acquire), self.wild_nodes.load(Ordering::Acquire));
        TrieSize { patterns, wild, wild_nodes }.steps_max(channel_bytes) > steps
    }

    /// Changes whenever a match may come out differently.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The trie, for matching.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, PatternTrie<Interest>> {
        self.trie.read()
    }
}

/// Channels, sharded channels and patterns of all shards.
#[derive(Default)]
pub(crate) struct Directory {
    pub(crate) channels: ChannelDirectory,
    pub(crate) sharded: ChannelDirectory,
    pub(crate) patterns: PatternDirectory,
}
