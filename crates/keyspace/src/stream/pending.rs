//! PEL, the pending entries list of a group: what was delivered and is not acknowledged.
//!
//! ```text
//! by ID         1-0 → consumer, delivered at, deliveries     32 bytes an entry
//! by consumer   alice: 1-0 4-0 …   bob: 2-0 …                16 bytes an entry
//! ```
//!
//! So 48 bytes an entry and little more, where Redis spends three radix trees and an allocation. The longest idle are found
//! without an index of their own: their delivery time is their weight in the map by ID (see `runs.rs`). A copy of the list
//! shares what neither changes afterwards.
//!
//! An entry without a consumer was released by XNACK: it counts as delivered at 0, idle for ever. One that was found to be
//! gone from the stream can be marked, and then no search by idle time finds it again.
//!
//! Invariants
//! - An ID is in its consumer's index exactly if it is pending for it.
//! - `large` holds an ID exactly if its `deliveries` field says `LARGE`.
//! - `gone` counts the marked entries.
//!
//! Cost: O(log n) an entry, whatever the list's size; iteration O(1) a step.

use crate::stream::EntryId;
use crate::stream::group::ConsumerId;
use crate::stream::runs::{self, Runs, Visited};
use crate::stream::shared::SharedVec;

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

/// Set in `Packed::delivered` of an entry that is gone from the stream. Times are below: see [`PendingList::set`].
const GONE: u64 = 1 << 63;

#[derive(Debug, Clone, Copy)]
struct Packed {
    /// Unix time in milliseconds, or that and `GONE`.
    delivered: u64,
    consumer: u32,
    deliveries: u32,
}

impl runs::Value for Packed {
    fn weight(&self) -> u64 {
        if self.delivered & GONE == 0 { self.delivered } else { u64::MAX }
    }
}

const _: () = assert!(size_of::<(EntryId, Packed)>() == 32, "the module says what an entry takes");

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct PendingList {
    by_id: Runs<Packed>,
    by_consumer: SharedVec<Runs<()>>,
    large: Runs<u64>,
    released: usize,
    gone: usize,
    /// What came and went since it was last asked, if anybody asks (see `references.rs`).
    moves: Option<Vec<Move>>,
}

/// An ID that came into a PEL or left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    Came(EntryId),
    Left(EntryId),
}

/// Where a search by idle time has looked; see [`PendingList::settle`].
#[derive(Debug, Clone, Default)]
pub struct IdleSearch {
    visited: Visited,
    gone: Vec<EntryId>,
}

/// Entries that are idle for long enough, the longest first.
#[derive(Debug, Clone)]
pub struct Idle<'a> {
    list: &'a PendingList,
    lightest: runs::Lightest<'a, Packed>,
    gone: Vec<EntryId>,
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

    /// Sets what is known of `id`, pending or not before. A time past the year 292 000 000 is that year.
    pub fn set(&mut self, id: EntryId, pending: Pending) {
        let deliveries = u32::try_from(pending.deliveries).unwrap_or(LARGE);
        let consumer = pending.consumer.map_or(RELEASED, ConsumerId::number);
        let packed = Packed { delivered: pending.delivered_ms.min(GONE - 1), consumer, deliveries };
        let before = self.by_id.insert(id, packed);
        match before {
            Some(before) => self.forget(id, before, before.consumer != consumer),
            None => self.note(Move::Came(id)),
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
    }

    /// Removes `id`; `None` if it was not pending.
    pub fn remove(&mut self, id: EntryId) -> Option<Pending> {
        let packed = self.by_id.remove(id)?;
        let pending = self.unpack(id, packed);
        self.forget(id, packed, true);
        self.note(Move::Left(id));
        Some(pending)
    }

    /// Removes what `consumer` has; returns how many that were.
    pub fn remove_all_of(&mut self, consumer: ConsumerId) -> usize {
        let Some(owned) = self.by_consumer.get_mut(consumer.index()).map(std::mem::take) else { return 0 };
        for (id, ()) in owned.from(EntryId::MIN) {
            if let Some(packed) = self.by_id.remove(id) {
                self.forget(id, packed, false);
                self.note(Move::Left(id));
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
            self.large.remove(id);
        }
        self.gone -= usize::from(packed.delivered & GONE != 0);
    }

    fn note(&mut self, moved: Move) {
        if let Some(moves) = &mut self.moves {
            moves.push(moved);
        }
    }

    /// From now on collects what comes and goes.
    pub(crate) fn collect_moves(&mut self, yes: bool) {
        self.moves = yes.then(Vec::new);
    }

    /// What came and went since this was last called.
    pub(crate) fn take_moves(&mut self) -> Vec<Move> {
        self.moves.as_mut().map(std::mem::take).unwrap_or_default()
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

    /// Entries at or above `start` that were delivered at or before `until_ms`, the longest idle first. Those marked as
    /// gone are left out.
    ///
    /// Cost: O(n / 4096), and O(log n) an entry; and once for each run of entries that changed since the last search, if
    /// [`PendingList::settle`] is called afterwards.
    pub fn idle_since(&self, start: EntryId, until_ms: u64) -> Idle<'_> {
        let lightest = self.by_id.lightest(start, until_ms.min(GONE - 1));
        Idle { list: self, lightest, gone: Vec::new() }
    }

    /// Keeps what a search found out, so that the next need not.
    pub fn settle(&mut self, search: IdleSearch) {
        for id in search.gone {
            let marked = self.by_id.get_mut(id).filter(|packed| packed.delivered & GONE == 0);
            if let Some(packed) = marked {
                packed.delivered |= GONE;
                self.gone += 1;
            }
        }
        self.by_id.correct(&search.visited);
    }

    /// Whether an entry is marked.
    pub(crate) fn has_gone(&self) -> bool {
        self.gone > 0
    }

    /// Takes back every mark: IDs may come into the stream again.
    pub(crate) fn unmark_gone(&mut self) {
        let marked =
            |(id, packed): (EntryId, &Packed)| (packed.delivered & GONE != 0).then_some((id, *packed));
        let marked: Vec<(EntryId, Packed)> = match self.gone {
            0 => return,
            _ => self.by_id.from(EntryId::MIN).filter_map(marked).collect(),
        };
        for (id, packed) in marked {
            self.by_id.insert(id, Packed { delivered: packed.delivered & !GONE, ..packed });
        }
        self.gone = 0;
    }

    /// Memory held on the heap, in bytes.
    pub fn heap_bytes(&self) -> usize {
        // Runs of 64 take about two bytes an entry beside the entry.
        let owned = (self.len() - self.released) * (size_of::<EntryId>() + 2);
        self.by_id.heap_bytes()
            + self.large.heap_bytes()
            + owned
            + self.by_consumer.len() * size_of::<Runs<()>>()
    }

    fn owned(&mut self, consumer: ConsumerId) -> &mut Runs<()> {
        let index = consumer.index();
        while self.by_consumer.len() <= index {
            self.by_consumer.push(Runs::default());
        }
        self.by_consumer.get_mut(index).expect("made above")
    }

    fn unpack(&self, id: EntryId, packed: Packed) -> Pending {
        let deliveries = match packed.deliveries {
            LARGE => self.large.get(id).copied().unwrap_or(u64::from(LARGE)),
            deliveries => u64::from(deliveries),
        };
        let consumer = (packed.consumer != RELEASED).then(|| ConsumerId::from_number(packed.consumer));
        Pending { consumer, delivered_ms: packed.delivered & !GONE, deliveries }
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
                assert!(self.by_consumer.get(consumer.index()).unwrap().get(id).is_some());
            }
            assert_eq!(self.large.get(id).is_some(), pending.deliveries >= u64::from(LARGE));
        }
        let gone = self.by_id.from(EntryId::MIN).filter(|(_, packed)| packed.delivered & GONE != 0);
        assert_eq!(gone.count(), self.gone);
    }
}

impl Idle<'_> {
    /// Notes that an entry is gone from the stream.
    pub fn note_gone(&mut self, id: EntryId) {
        self.gone.push(id);
    }

    /// What the search found out.
    pub fn finish(self) -> IdleSearch {
        IdleSearch { visited: self.lightest.into_visited(), gone: self.gone }
    }
}

impl Iterator for Idle<'_> {
    type Item = (EntryId, Pending);

    fn next(&mut self) -> Option<(EntryId, Pending)> {
        self.lightest.next().map(|(id, &packed)| (id, self.list.unpack(id, packed)))
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
        assert_eq!(list.idle_since(EntryId::MIN, 4500).count(), 500);
        for ms in (0..1000).step_by(2) {
            list.set(id(ms), held(2, ms, ms));
        }
        list.set(id(7), Pending { consumer: None, delivered_ms: 0, deliveries: i64::MAX as u64 });
        list.check();
        assert_eq!(list.released(), 1);
        let idle: Vec<EntryId> = list.idle_since(EntryId::MIN, 4).map(|(id, _)| id).collect();
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

    #[test]
    fn an_entry_that_is_gone_is_found_once() {
        let mut list = PendingList::default();
        (0..10_000).for_each(|ms| list.set(id(ms), held(0, ms, 1)));
        let find = |list: &mut PendingList| {
            let mut idle = list.idle_since(id(100), 5000);
            let mut looked_at = 0;
            while let Some((id, _)) = idle.next().filter(|(id, _)| id.ms < 4000) {
                looked_at += 1;
                idle.note_gone(id);
            }
            let search = idle.finish();
            list.settle(search);
            list.check();
            looked_at
        };
        assert_eq!([find(&mut list), find(&mut list)], [3900, 0]);
        assert_eq!(list.get(id(200)), Some(held(0, 200, 1)), "it is pending as before");
        list.set(id(200), held(1, 300, 2));
        assert_eq!(find(&mut list), 1);
        list.unmark_gone();
        assert_eq!(find(&mut list), 3900);
    }
}
