//! Who subscribes to what, among the subscribers of one shard.
//!
//! ```text
//!   hash(name) ──► │ hash │ name: Arc<[u8]> │ SubscriberSet │      48 bytes a channel, and the name
//!                             └─ shared with the Subscriptions of each subscriber
//! ```
//!
//! It is a table of names, so it serves equally for channels, for sharded channels, and for patterns by name (which
//! of them match is the trie's business).
//!
//! Invariants: a name is here exactly while it has a subscriber; the hash kept with it is `name::hash` of it (so that
//! growing and sending never hash again).
//!
//! Cost: one hash and one lookup each; memory goes back as names go.

use std::hash::Hash;
use std::sync::Arc;

use crate::name::{hash, shared_bytes};
use crate::striped::StripedTable;
use crate::subscribers::SubscriberSet;

/// Names and their subscribers.
#[derive(Debug)]
pub struct ChannelIndex<S> {
    channels: StripedTable<Channel<S>>,
    /// Heap memory of the names and of the sets.
    outside_bytes: usize,
}

#[derive(Debug)]
struct Channel<S> {
    hash: u64,
    name: Arc<[u8]>,
    subscribers: SubscriberSet<S>,
}

/// What a [`ChannelIndex::subscribe`] changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// The channel had no subscriber in this index before.
    pub first_on_channel: bool,
    /// The subscriber wasn't subscribed before; otherwise nothing has changed.
    pub new: bool,
}

/// What an [`ChannelIndex::unsubscribe`] changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribed {
    /// The subscriber was subscribed; otherwise nothing has changed.
    pub removed: bool,
    /// The channel has no subscriber in this index any more.
    pub last_on_channel: bool,
}

impl<S> Default for ChannelIndex<S> {
    fn default() -> Self {
        ChannelIndex { channels: StripedTable::default(), outside_bytes: 0 }
    }
}

impl<S: Copy + Eq + Hash> ChannelIndex<S> {
    /// An empty index, which owns no memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many names have subscribers.
    pub fn len(&self) -> usize {
        self.channels.len()
    }

    /// Whether nobody subscribes to anything.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// Subscribes `subscriber` to `channel`; the name returned is the index's own, to share.
    pub fn subscribe<N>(&mut self, channel: N, subscriber: S) -> (Arc<[u8]>, Subscribed)
    where
        N: AsRef<[u8]> + Into<Arc<[u8]>>,
    {
        let hash = hash(channel.as_ref());
        self.subscribe_hashed(hash, channel, subscriber)
    }

    /// As [`subscribe`](Self::subscribe), with the name's [`hash`] at hand.
    pub fn subscribe_hashed<N>(&mut self, hash: u64, channel: N, subscriber: S) -> (Arc<[u8]>, Subscribed)
    where
        N: AsRef<[u8]> + Into<Arc<[u8]>>,
    {
        let is_it = |other: &Channel<S>| *other.name == *channel.as_ref();
        match self.channels.find_mut(hash, is_it) {
            Some(found) => {
                let before_bytes = found.subscribers.heap_bytes();
                let new = found.subscribers.insert(subscriber);
                self.outside_bytes = self.outside_bytes + found.subscribers.heap_bytes() - before_bytes;
                (Arc::clone(&found.name), Subscribed { first_on_channel: false, new })
            }
            None => {
                let name: Arc<[u8]> = channel.into();
                self.outside_bytes += shared_bytes(name.len());
                let mut subscribers = SubscriberSet::new();
                subscribers.insert(subscriber);
                let channel = Channel { hash, name: Arc::clone(&name), subscribers };
                self.channels.insert_unique(hash, channel, |other| other.hash);
                (name, Subscribed { first_on_channel: true, new: true })
            }
        }
    }

    /// Ends the subscription of `subscriber` to `channel`, if there is one.
    pub fn unsubscribe(&mut self, channel: &[u8], subscriber: S) -> Unsubscribed {
        self.unsubscribe_hashed(hash(channel), channel, subscriber)
    }

    /// As [`unsubscribe`](Self::unsubscribe), with the name's [`hash`] at hand.
    pub fn unsubscribe_hashed(&mut self, hash: u64, channel: &[u8], subscriber: S) -> Unsubscribed {
        let Some(found) = self.channels.find_mut(hash, |other| *other.name == *channel) else {
            return Unsubscribed { removed: false, last_on_channel: false };
        };
        let subscribers = &mut found.subscribers;
        let before_bytes = subscribers.heap_bytes();
        let removed = subscribers.remove(subscriber);
        self.outside_bytes = self.outside_bytes + subscribers.heap_bytes() - before_bytes;
        let last_on_channel = subscribers.is_empty();
        if last_on_channel {
            self.channels.remove(hash, |other| *other.name == *channel, |other| other.hash);
            self.outside_bytes -= shared_bytes(channel.len());
        }
        Unsubscribed { removed, last_on_channel }
    }

    /// The subscribers of `channel`; never an empty set.
    pub fn subscribers(&self, channel: &[u8]) -> Option<&SubscriberSet<S>> {
        self.subscribers_hashed(hash(channel), channel)
    }

    /// As [`subscribers`](Self::subscribers), with the name's [`hash`] at hand.
    #[inline]
    pub fn subscribers_hashed(&self, hash: u64, channel: &[u8]) -> Option<&SubscriberSet<S>> {
        let found = self.channels.find(hash, |other| *other.name == *channel)?;
        Some(&found.subscribers)
    }

    /// The index's own `Arc` of a name that has subscribers.
    pub fn name(&self, channel: &[u8]) -> Option<&Arc<[u8]>> {
        self.channels.find(hash(channel), |other| *other.name == *channel).map(|found| &found.name)
    }

    /// All names and their subscribers, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<[u8]>, &SubscriberSet<S>)> {
        self.channels.iter().map(|channel| (&channel.name, &channel.subscribers))
    }

    /// Heap memory, the names' included, whoever shares them. Cost: O(1).
    pub fn heap_bytes(&self) -> usize {
        self.channels.heap_bytes() + self.outside_bytes
    }

    /// Panics if an invariant of the module's head doesn't hold.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        self.channels.check();
        for channel in self.channels.iter() {
            assert!(!channel.subscribers.is_empty());
            assert_eq!(channel.hash, hash(&channel.name));
            channel.subscribers.check();
        }
        let outside =
            |channel: &Channel<S>| shared_bytes(channel.name.len()) + channel.subscribers.heap_bytes();
        assert_eq!(self.outside_bytes, self.channels.iter().map(outside).sum::<usize>());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_and_the_last_on_a_channel_are_told_so() {
        let mut index = ChannelIndex::new();
        let on = |first_on_channel, new| Subscribed { first_on_channel, new };
        let off = |removed, last_on_channel| Unsubscribed { removed, last_on_channel };
        assert_eq!(index.subscribe(b"news".as_slice(), 1).1, on(true, true));
        assert_eq!(index.subscribe(b"news".as_slice(), 1).1, on(false, false));
        assert_eq!(index.subscribe(b"news".as_slice(), 2).1, on(false, true));
        assert_eq!(index.unsubscribe(b"news", 3), off(false, false));
        assert_eq!(index.unsubscribe(b"news", 1), off(true, false));
        assert_eq!(index.unsubscribe(b"news", 2), off(true, true));
        assert_eq!(index.unsubscribe(b"news", 2), off(false, false));
        assert_eq!(index.heap_bytes(), 0);
    }

    #[test]
    fn a_name_is_stored_once() {
        let mut index = ChannelIndex::new();
        let (first, _) = index.subscribe(b"news".as_slice(), 1);
        let (second, _) = index.subscribe(b"news".as_slice(), 2);
        assert!(Arc::ptr_eq(&first, &second));
        let mut elsewhere = ChannelIndex::new();
        let (third, _) = elsewhere.subscribe(Arc::clone(&first), 1);
        assert!(Arc::ptr_eq(&first, &third));
    }

    proptest! {
        #[test]
        fn it_is_a_map_of_sets(steps in prop::collection::vec((any::<bool>(), 0u8..40, 0u32..40), 0..400)) {
            let mut index = ChannelIndex::new();
            let mut model: BTreeMap<Vec<u8>, BTreeSet<u32>> = BTreeMap::new();
            for (add, name, subscriber) in steps {
                let name = vec![name % 5; usize::from(name)];
                if add {
                    let set = model.entry(name.clone()).or_default();
                    let expected = Subscribed { first_on_channel: set.is_empty(), new: set.insert(subscriber) };
                    prop_assert_eq!(index.subscribe(name.as_slice(), subscriber).1, expected);
                } else {
                    let removed = model.get_mut(&name).is_some_and(|set| set.remove(&subscriber));
                    let last_on_channel = removed && model[&name].is_empty();
                    model.retain(|_, set| !set.is_empty());
                    let expected = Unsubscribed { removed, last_on_channel };
                    prop_assert_eq!(index.unsubscribe(&name, subscriber), expected);
                }
                index.check();
                let held = index.subscribers(&name).map(|set| set.as_slice().iter().copied().collect());
                prop_assert_eq!(held.as_ref(), model.get(&name));
                prop_assert_eq!(index.len(), model.len());
            }
        }
    }
}
