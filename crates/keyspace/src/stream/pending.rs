//! PEL, the pending entries list of a group: what was delivered and is not acknowledged.
//!
//! ```text
//! by ID         1-0 → consumer, delivered at, deliveries     32 bytes an entry
//! by consumer   alice: 1-0 4-0 …   bob: 2-0 …                16 bytes an entry
//! by time       (delivered at, ID)                           only once something claims the longest idle
//! ```
//!
//! So 48 bytes an entry and little more, where Redis spends two radix trees and an allocation. The index by time is built
//! when XREADGROUP CLAIM first asks for it, and kept from then on: groups that never claim that way don't pay for it.
//!
//! An entry without a consumer was released by XNACK: it counts as delivered at 0, idle for ever.
//!
//! Invariants
//! - An ID is in its consumer's index exactly if it is pending for it.
//! - `by_time`, if there, holds exactly the pending entries.
//! - `large` holds an ID exactly if its `deliveries` field says `LARGE`.
//!
//! Cost: O(log n) an entry, whatever the list's size; iteration O(1) a step.

use std::collections::{BTreeMap, BTreeSet};

use crate::stream::EntryId;
use crate::stream::group::ConsumerId;
use crate::stream::runs::{self, Runs};

/// What is known of one pending entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Who has it; `None` once it was released.
    pub consumer: Option<ConsumerId>,
    /// When it was last delivered, Unix time in milliseconds.
    pub delivered_ms: u64,
    /// How often.
    pub deliveries: u64,
}

impl Pending {
    /// Milliseconds since it was last delivered; −1 once it was released.
    pub fn idle_ms(self, now_ms: u64) -> i64 {
        match self.consumer {
            Some(_) => i64::try_from(now_ms.saturating_sub(self.delivered_ms)).unwrap_or(i64::MAX),
            None => -1,
        }
    }
}

/// `deliveries` that don't fit their field are in a map of their own: RETRYCOUNT can set any, nobody does.
const LARGE: u32 = u32::MAX;
const RELEASED: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Packed {
    delivered_ms: u64,
    consumer: u32,
    deliveries: u32,
}

const _: () = assert!(size_of::<(EntryId, Packed)>() == 32, "the module says what an entry takes");

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct PendingList {
    by_id: Runs<Packed>,
    by_consumer: Vec<Runs<()>>,
    by_time: Option<BTreeSet<(u64, EntryId)>>,
    large: BTreeMap<EntryId, u64>,
    released: usize,
}

impl PendingList {
    /// How many.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many are pending for nobody.
    pub fn released(&self) -> usize {
        self.released
    }

    /// How many `consumer` has.
    pub fn len_of(&self, consumer: ConsumerId) -> usize {
        self.by_consumer.get(consumer.index()).map_or(0, Runs::len)
    }

    /// Whether `id` is pending.
    pub fn contains(&self, id: EntryId) -> bool {
        self.by_id.get(id).is_some()
    }

    /// What is known of `id`.
    pub fn get(&self, id: EntryId) -> Option<Pending> {
        self.by_id.get(id).map(|&packed| self.unpack(id, packed))
    }

    /// The lowest pending ID.
    pub fn first(&self) -> Option<EntryId> {
        self.by_id.first()
    }

    /// The highest pending ID.
    pub fn last(&self) -> Option<EntryId> {
        self.by_id.last()
    }

    /// Sets what is known of `id`, pending or not before.
    pub fn set(&mut self, id: EntryId, pending: Pending) {
        let deliveries = u32::try_from(pending.deliveries).unwrap_or(LARGE);
        let consumer = pending.consumer.map_or(RELEASED, ConsumerId::number);
        let packed = Packed { delivered_ms: pending.delivered_ms, consumer, deliveries };
        let before = self.by_id.insert(id, packed);
        if let Some(before) = before {
            self.forget(id, before, before.consumer != consumer);
        }
        if deliveries == LARGE {
            self.large.insert(id, pending.deliveries);
        }
        if before.is_none_or(|before| before.consumer != consumer) {
            match pending.consumer {
                Some(consumer) => drop(self.owned(consumer).insert(id, ())),
                None => self.released += 1,
            }
        }
        if let Some(by_time) = &mut self.by_time {
            by_time.insert((pending.delivered_ms, id));
        }
    }

    /// Removes `id`; `None` if it was not pending.
    pub fn remove(&mut self, id: EntryId) -> Option<Pending> {
        let packed = self.by_id.remove(id)?;
        let pending = self.unpack(id, packed);
        self.forget(id, packed, true);
        Some(pending)
    }

    /// Removes what `consumer` has; returns how many that were.
    pub fn remove_all_of(&mut self, consumer: ConsumerId) -> usize {
        let Some(owned) = self.by_consumer.get_mut(consumer.index()).map(std::mem::take) else { return 0 };
        for (id, ()) in owned.from(EntryId::MIN) {
            if let Some(packed) = self.by_id.remove(id) {
                self.forget(id, packed, false);
            }
        }
        owned.len()
    }

    /// Takes `id`, known as `packed`, out of the indexes; out of its consumer's only if `owner` says so.
    fn forget(&mut self, id: EntryId, packed: Packed, owner: bool) {
        if owner {
            match packed.consumer {
                RELEASED => self.released -= 1,
                consumer => drop(self.owned(ConsumerId::from_number(consumer)).remove(id)),
            }
        }
        if packed.deliveries == LARGE {
            self.large.remove(&id);
        }
        if let Some(by_time) = &mut self.by_time {
            by_time.remove(&(packed.delivered_ms, id));
        }
    }

    /// Pending entries at or above `start`, in the order of their IDs.
    pub fn from(&self, start: EntryId) -> impl Iterator<Item = (EntryId, Pending)> + Clone {
        self.by_id.from(start).map(|(id, &packed)| (id, self.unpack(id, packed)))
    }

    /// The IDs at or above `start` that `consumer` has, in order.
    pub fn ids_of(&self, consumer: ConsumerId, start: EntryId) -> impl Iterator<Item = EntryId> {
        let owned = self.by_consumer.get(consumer.index()).map(|owned| owned.from(start));
        owned.into_iter().flat_map(|ids: runs::From<'_, ()>| ids.map(|(id, _)| id))
    }

    /// Makes the index by time, if it is not there yet: O(n log n).
    pub fn index_by_time(&mut self) {
        if self.by_time.is_none() {
            let entries = self.by_id.from(EntryId::MIN);
            self.by_time = Some(entries.map(|(id, packed)| (packed.delivered_ms, id)).collect());
        }
    }

    /// Entries delivered at or before `until_ms`, the longest idle first; none before [`PendingList::index_by_time`].
    pub fn idle_since(&self, until_ms: u64) -> impl Iterator<Item = (EntryId, Pending)> {
        let idle = self.by_time.as_ref().map(|by_time| by_time.range(..=(until_ms, EntryId::MAX)));
        idle.into_iter().flatten().filter_map(|&(_, id)| self.get(id).map(|pending| (id, pending)))
    }

    /// When the entry was delivered that is the first after `after_ms`; `None` before [`PendingList::index_by_time`].
    pub fn delivered_after(&self, after_ms: u64) -> Option<u64> {
        let from = (after_ms.checked_add(1)?, EntryId::MIN);
        self.by_time.as_ref()?.range(from..).next().map(|&(delivered_ms, _)| delivered_ms)
    }

    /// Memory held on the heap, in bytes.
    pub fn heap_bytes(&self) -> usize {
        // A B-tree of single keys is a little over half full when it is filled in order.
        let by_time =
            self.by_time.as_ref().map_or(0, |by_time| by_time.len() * 2 * size_of::<(u64, EntryId)>());
        // Runs of 64 take about two bytes an entry beside the entry.
        let owned = (self.len() - self.released) * (size_of::<EntryId>() + 2);
        self.by_id.heap_bytes() + owned + self.by_consumer.capacity() * size_of::<Runs<()>>() + by_time
    }

    fn owned(&mut self, consumer: ConsumerId) -> &mut Runs<()> {
        let index = consumer.index();
        if self.by_consumer.len() <= index {
            self.by_consumer.resize_with(index + 1, Runs::default);
        }
        &mut self.by_consumer[index]
    }

    fn unpack(&self, id: EntryId, packed: Packed) -> Pending {
        let deliveries = match packed.deliveries {
            LARGE => self.large.get(&id).copied().unwrap_or(u64::from(LARGE)),
            deliveries => u64::from(deliveries),
        };
        let consumer = (packed.consumer != RELEASED).then(|| ConsumerId::from_number(packed.consumer));
        Pending { consumer, delivered_ms: packed.delivered_ms, deliveries }
    }

    /// Panics unless the invariants hold.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn check(&self) {
        self.by_id.check();
        self.by_consumer.iter().for_each(Runs::check);
        let owned: usize = self.by_consumer.iter().map(Runs::len).sum();
        assert_eq!(owned + self.released, self.len());
        for (id, pending) in self.from(EntryId::MIN) {
            if let Some(consumer) = pending.consumer {
                assert!(self.by_consumer[consumer.index()].get(id).is_some());
            }
            assert_eq!(self.large.contains_key(&id), pending.deliveries >= u64::from(LARGE));
            assert!(
                self.by_time.as_ref().is_none_or(|by_time| by_time.contains(&(pending.delivered_ms, id)))
            );
        }
        assert!(self.by_time.as_ref().is_none_or(|by_time| by_time.len() == self.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64) -> EntryId {
        EntryId::new(ms, 0)
    }

    fn held(consumer: u32, delivered_ms: u64, deliveries: u64) -> Pending {
        Pending { consumer: Some(ConsumerId::from_number(consumer)), delivered_ms, deliveries }
    }

    #[test]
    fn it_keeps_its_indexes_in_step() {
        let mut list = PendingList::default();
        for ms in 0..1000 {
            list.set(id(ms), held((ms % 3) as u32, 5000 - ms, 1));
        }
        list.check();
        list.index_by_time();
        assert_eq!(list.idle_since(4500).count(), 500);
        for ms in (0..1000).step_by(2) {
            list.set(id(ms), held(2, ms, ms));
        }
        list.set(id(7), Pending { consumer: None, delivered_ms: 0, deliveries: i64::MAX as u64 });
        list.check();
        assert_eq!(list.released(), 1);
        let idle: Vec<EntryId> = list.idle_since(4).map(|(id, _)| id).collect();
        assert_eq!(idle, [id(0), id(7), id(2), id(4)]);
        assert_eq!(list.get(id(7)).map(|pending| pending.deliveries), Some(i64::MAX as u64));
        assert_eq!(list.remove(id(7)).and_then(|pending| pending.consumer), None);
        assert_eq!(list.remove(id(7)), None);
        let before = list.len_of(ConsumerId::from_number(2));
        assert_eq!(list.remove_all_of(ConsumerId::from_number(2)), before);
        list.check();
        assert_eq!(list.len(), 999 - before);
        assert_eq!(list.ids_of(ConsumerId::from_number(0), id(10)).next(), Some(id(15)));
    }
}
