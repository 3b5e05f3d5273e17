//! Idempotent production: a message that its producer sends again is recognised and not added again.
//!
//! ```text
//! producer → iid → (entry ID, since when), and the iids in the order they came
//! ```
//!
//! An iid is remembered for `duration_s`, and at most `entries_max` of them for each producer, the latest. What is
//! remembered is the ID of the original entry, which may have been deleted since.
//!
//! Invariants
//! - A producer has an iid; `order` holds each of its iids once, the oldest first.
//! - `bytes` is the sum over the producers.
//!
//! Cost: O(log producers + log iids) a message; forgetting is amortised over the messages. A copy shares what is known of
//! each producer.
//! Source: XADD IDMP and IDMPAUTO, XCFGSET (redis.io/docs/latest/develop/data-types/streams/idempotency).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::stream::EntryId;

/// How long, and how many, iids are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdempotenceConfig {
    /// Seconds, 1 to 86 400 (`stream-idmp-duration`, IDMP-DURATION).
    pub duration_s: u32,
    /// For each producer, 1 to 10 000 (`stream-idmp-maxsize`, IDMP-MAXSIZE).
    pub entries_max: u32,
}

impl IdempotenceConfig {
    /// What `duration_s` can be.
    pub const DURATION_S: std::ops::RangeInclusive<u32> = 1..=86_400;
    /// What `entries_max` can be.
    pub const ENTRIES_MAX: std::ops::RangeInclusive<u32> = 1..=10_000;
}

impl Default for IdempotenceConfig {
    fn default() -> IdempotenceConfig {
        IdempotenceConfig { duration_s: 100, entries_max: 100 }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Idempotence {
    config: IdempotenceConfig,
    producers: BTreeMap<Arc<[u8]>, Arc<Producer>>,
    /// Memory that the producers hold on the heap.
    bytes: usize,
    added: u64,
    duplicates: u64,
}

#[derive(Debug, Clone, Default)]
struct Producer {
    known: BTreeMap<Arc<[u8]>, Known>,
    order: VecDeque<Arc<[u8]>>,
    /// Memory that `known` and `order` hold on the heap.
    bytes: usize,
}

/// What an iid takes beside its bytes: an allocation with counts, and places in both lists.
const IID_BYTES: usize = 16 + 8 + 16 + 60;
/// What a producer takes beside its name.
const PRODUCER_BYTES: usize = 16 + 8 + 36 + 16 + size_of::<Producer>();

#[derive(Debug, Clone, Copy)]
struct Known {
    entry: EntryId,
    since_ms: u64,
}

impl Idempotence {
    /// Nothing is remembered yet.
    pub fn new(config: IdempotenceConfig) -> Idempotence {
        Idempotence { config, producers: BTreeMap::new(), bytes: 0, added: 0, duplicates: 0 }
    }

    /// The settings.
    pub fn config(&self) -> IdempotenceConfig {
        self.config
    }

    /// Changes the settings. Anything but the same again forgets every iid.
    pub fn configure(&mut self, config: IdempotenceConfig) {
        if self.config != config {
            self.config = config;
            self.producers.clear();
            self.bytes = 0;
        }
    }

    /// The entry that `producer` added as `iid`, if that is remembered: the message is a duplicate.
    pub fn original(&mut self, producer: &[u8], iid: &[u8], now_ms: u64) -> Option<EntryId> {
        self.forget_expired(producer, now_ms);
        let entry = self.producers.get(producer)?.known.get(iid)?.entry;
        self.count_duplicate();
        Some(entry)
    }

    /// Remembers that `producer` added `entry` as `iid`, which is new.
    pub fn remember(&mut self, producer: &[u8], iid: &[u8], entry: EntryId, now_ms: u64) {
        self.forget_expired(producer, now_ms);
        self.restore(producer, iid, entry, now_ms);
        self.added += 1;
    }

    pub(crate) fn count_duplicate(&mut self) {
        self.duplicates += 1;
    }

    /// Puts an iid behind the ones of its producer, as it was recorded.
    pub(crate) fn restore(&mut self, producer: &[u8], iid: &[u8], entry: EntryId, since_ms: u64) {
        let entries_max = self.config.entries_max as usize;
        if !self.producers.contains_key(producer) {
            self.bytes += PRODUCER_BYTES + producer.len();
            self.producers.insert(producer.into(), Arc::default());
        }
        self.change(producer, |producer| {
            producer.remember(iid, Known { entry, since_ms });
            while producer.order.len() > entries_max {
                producer.forget_oldest();
            }
        });
    }

    /// Changes what is known of a producer, who is forgotten if that is nothing.
    fn change(&mut self, name: &[u8], change: impl FnOnce(&mut Producer)) {
        let Some(producer) = self.producers.get_mut(name).map(Arc::make_mut) else { return };
        let before = producer.bytes;
        change(producer);
        self.bytes = self.bytes + producer.bytes - before;
        if producer.order.is_empty() {
            self.producers.remove(name);
            self.bytes -= PRODUCER_BYTES + name.len();
        }
    }

    pub(crate) fn set_counters(&mut self, added: u64, duplicates: u64) {
        (self.added, self.duplicates) = (added, duplicates);
    }

    /// Every remembered iid with its producer, entry and time, in the order they came.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8], EntryId, u64)> {
        self.producers.iter().flat_map(|(name, producer)| {
            producer.order.iter().filter_map(move |iid| {
                let known = producer.known.get(iid)?;
                Some((&**name, &**iid, known.entry, known.since_ms))
            })
        })
    }

    /// The producers with their iids and what those added, in the order they came.
    pub(crate) fn producers(
        &self,
    ) -> impl ExactSizeIterator<Item = (&[u8], impl ExactSizeIterator<Item = (&[u8], EntryId)>)> {
        self.producers.iter().map(|(name, producer)| {
            // `order` and `known` hold the same iids.
            let iid = |iid: &'_ Arc<[u8]>| producer.known.get(iid).map_or(EntryId::MIN, |known| known.entry);
            (&**name, producer.order.iter().map(move |name| (&**name, iid(name))))
        })
    }

    /// Producers of which something is remembered at `now_ms`, and how many iids in all. O(producers).
    pub fn tracked(&self, now_ms: u64) -> (u64, u64) {
        let alive = |producer: &Arc<Producer>| {
            // Times don't fall in the order they came, but for a clock that was set back.
            let is_over = |iid: &Arc<[u8]>| producer.is_over(iid, self.config, now_ms);
            (producer.order.len() - producer.order.partition_point(is_over)) as u64
        };
        let counts = self.producers.values().map(alive).filter(|&count| count > 0);
        counts.fold((0, 0), |(producers, iids), count| (producers + 1, iids + count))
    }

    /// Messages ever added with an iid.
    pub fn added(&self) -> u64 {
        self.added
    }

    /// Duplicates ever recognised.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Forgets what is too old: of `producer`, and of the producer after it, so that one who never comes back is
    /// forgotten as the others go on.
    fn forget_expired(&mut self, producer: &[u8], now_ms: u64) {
        use std::ops::Bound::{Excluded, Unbounded};
        let config = self.config;
        let after = self.producers.range::<[u8], _>((Excluded(producer), Unbounded)).next();
        let neighbour = after.or_else(|| self.producers.first_key_value()).map(|(name, _)| name.clone());
        for name in [Some(producer), neighbour.as_deref()].into_iter().flatten() {
            let first = self
                .producers
                .get(name)
                .and_then(|producer| producer.order.front().map(|iid| (producer, iid)));
            if first.is_some_and(|(producer, iid)| producer.is_over(iid, config, now_ms)) {
                self.change(name, |producer| producer.forget_expired(config, now_ms));
            }
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        size_of::<Idempotence>() + self.bytes
    }

    #[cfg(any(test, debug_assertions))]
    pub(crate) fn check(&self) {
        for producer in self.producers.values() {
            assert!(!producer.order.is_empty());
            assert!(producer.order.iter().all(|iid| producer.known.contains_key(iid)));
            assert_eq!(producer.order.len(), producer.known.len());
            let iids = producer.order.iter().map(|iid| IID_BYTES + iid.len());
            assert_eq!(producer.bytes, iids.sum::<usize>());
        }
        let producers = self.producers.iter();
        let bytes = producers.map(|(name, producer)| PRODUCER_BYTES + name.len() + producer.bytes);
        assert_eq!(self.bytes, bytes.sum::<usize>());
    }
}

impl Producer {
    fn remember(&mut self, iid: &[u8], known: Known) {
        if let Some(before) = self.known.get_mut(iid) {
            *before = known;
            return;
        }
        let iid: Arc<[u8]> = iid.into();
        self.bytes += IID_BYTES + iid.len();
        self.known.insert(Arc::clone(&iid), known);
        self.order.push_back(iid);
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front() {
            self.known.remove(&oldest);
            self.bytes -= IID_BYTES + oldest.len();
        }
    }

    fn is_over(&self, iid: &[u8], config: IdempotenceConfig, now_ms: u64) -> bool {
        self.known.get(iid).is_none_or(|known| config.is_over(known.since_ms, now_ms))
    }

    fn forget_expired(&mut self, config: IdempotenceConfig, now_ms: u64) {
        let over = self.order.iter().take_while(|iid| self.is_over(iid, config, now_ms)).count();
        (0..over).for_each(|_| self.forget_oldest());
    }
}

impl IdempotenceConfig {
    fn is_over(self, since_ms: u64, now_ms: u64) -> bool {
        now_ms.saturating_sub(since_ms) >= u64::from(self.duration_s) * 1000
    }
}

/// The iid of IDMPAUTO: the same for the same fields in any order.
///
/// A collision would lose a message in silence, so the hash is one for which nobody can find any. The sum of the pairs'
/// hashes, unlike their exclusive or, tells a field that comes twice from one that does not come at all.
pub fn content_iid<'f>(mut fields: impl Iterator<Item = &'f [u8]>) -> [u8; 16] {
    let mut sum = 0u128;
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        let mut hash = Sha256::new();
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update(value);
        let mut half = [0; 16];
        half.copy_from_slice(&hash.finalize()[..16]);
        sum = sum.wrapping_add(u128::from_le_bytes(half));
    }
    sum.to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64) -> EntryId {
        EntryId::new(ms, 0)
    }

    #[test]
    fn a_message_sent_again_is_recognised_until_it_is_too_old() {
        let mut maps = Idempotence::new(IdempotenceConfig { duration_s: 10, entries_max: 100 });
        assert_eq!(maps.original(b"p", b"1", 1000), None);
        maps.remember(b"p", b"1", id(7), 1000);
        assert_eq!(maps.original(b"p", b"1", 10_999), Some(id(7)));
        assert_eq!(maps.original(b"other", b"1", 1000), None, "producers don't share iids");
        assert_eq!((maps.added(), maps.duplicates(), maps.tracked(10_999)), (1, 1, (1, 1)));
        assert_eq!(maps.original(b"p", b"1", 11_000), None);
        assert_eq!(maps.tracked(11_000), (0, 0));
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let mut maps = Idempotence::new(IdempotenceConfig { duration_s: 100, entries_max: 2 });
        for iid in 1..=3u8 {
            maps.remember(b"p", &[iid], id(u64::from(iid)), 0);
        }
        assert_eq!(maps.original(b"p", &[1], 0), None);
        assert_eq!(maps.original(b"p", &[2], 0), Some(id(2)));
        assert_eq!(maps.original(b"p", &[3], 0), Some(id(3)));
    }

    #[test]
    fn a_producer_who_never_comes_back_is_forgotten() {
        let mut maps = Idempotence::new(IdempotenceConfig { duration_s: 1, entries_max: 2 });
        maps.remember(b"gone", b"1", id(1), 0);
        maps.remember(b"here", b"1", id(2), 5000);
        maps.remember(b"here", b"2", id(3), 5000);
        assert_eq!(maps.producers.len(), 1);
    }

    #[test]
    fn only_other_settings_forget() {
        let mut maps = Idempotence::new(IdempotenceConfig::default());
        maps.remember(b"p", b"1", id(1), 0);
        maps.configure(IdempotenceConfig::default());
        assert_eq!(maps.tracked(0), (1, 1));
        maps.configure(IdempotenceConfig { duration_s: 5, ..IdempotenceConfig::default() });
        assert_eq!(maps.tracked(0), (0, 0));
    }

    #[test]
    fn the_content_counts_and_its_order_does_not() {
        let iid = |fields: &[&'static str]| content_iid(fields.iter().map(|text| text.as_bytes()));
        assert_eq!(iid(&["a", "1", "b", "2"]), iid(&["b", "2", "a", "1"]));
        assert_ne!(iid(&["a", "1"]), iid(&["a", "2"]));
        assert_ne!(iid(&["a", "bc"]), iid(&["ab", "c"]));
        assert_ne!(iid(&["a", "1", "a", "1"]), iid(&["b", "1", "b", "1"]));
    }
}
