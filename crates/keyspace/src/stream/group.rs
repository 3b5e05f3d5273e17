//! Consumer groups: a cursor and a PEL over a stream, shared by named consumers.
//!
//! `entries_read` counts how many entries of the stream's whole life lie at or below the cursor, so that the lag is a
//! subtraction. It is known only while nothing was deleted ahead of the cursor; `None` is Redis's "invalid".
//!
//! Invariants
//! - `names` and `slots` name each other; a slot is reused once its consumer is gone, and `free_slots` has it until then.
//! - Every pending entry's consumer has a slot.
//!
//! Source: XREADGROUP, XCLAIM, XAUTOCLAIM, XNACK, XINFO GROUPS (redis.io/commands).

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::stream::pending::{Pending, PendingList};
use crate::stream::references::ReferenceIndex;
use crate::stream::shared::{SharedNames, SharedVec};
use crate::stream::{Entry, EntryId, Stream};

/// Names a consumer within its group, for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConsumerId(u32);

/// A named reader in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    /// Its name.
    pub name: Arc<[u8]>,
    /// When it last tried anything, Unix time in milliseconds.
    pub seen_ms: u64,
    /// When it last got or claimed an entry.
    pub active_ms: Option<u64>,
}

/// Entries of a PEL that one search by idle time finds to be gone from the stream, at most: about a millisecond.
const GONE_MAX: usize = 4096;

/// A consumer group; see the module.
#[derive(Debug, Clone)]
pub struct Group {
    last_id: EntryId,
    entries_read: Option<u64>,
    pending: PendingList,
    names: SharedNames<ConsumerId>,
    slots: SharedVec<Option<Consumer>>,
    free_slots: Vec<ConsumerId>,
    /// Sum of the names' lengths.
    names_bytes: usize,
}

/// A group of a stream, to be changed: what the stream counts of its groups is kept when this goes.
#[derive(Debug)]
pub struct GroupMut<'a> {
    group: &'a mut Group,
    before: Standing,
    groups_bytes: &'a mut usize,
    references: Option<&'a mut ReferenceIndex>,
}

/// What a stream counts of a group.
#[derive(Debug, Clone, Copy)]
struct Standing {
    bytes: usize,
    last_id: EntryId,
}

/// New entries handed to a consumer, and where the cursor went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// The cursor afterwards.
    pub last_id: EntryId,
    /// Entries read afterwards.
    pub entries_read: Option<u64>,
}

/// Who claims, and what the claimed entries are to look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The new owner.
    pub consumer: ConsumerId,
    /// Only entries idle for at least as long, in milliseconds.
    pub min_idle_ms: u64,
    /// Their delivery time from now on.
    pub delivered_ms: u64,
    /// The present.
    pub now_ms: u64,
    /// Their number of deliveries.
    pub target: ClaimTarget,
    /// Claim entries that are not pending at all, too.
    pub force: bool,
}

/// What claiming does to the number of deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimTarget {
    /// One more.
    Increment,
    /// As it was (JUSTID).
    Unchanged,
    /// Exactly so many (RETRYCOUNT).
    Set(u64),
}

/// What became of one ID given to XCLAIM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// It has a new owner.
    Yes,
    /// It is not pending, or not idle for long enough.
    No,
    /// The entry is gone from the stream, and now from the PEL.
    Gone,
}

/// What one XAUTOCLAIM did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AutoClaimed {
    /// Claimed entries.
    pub claimed: Vec<EntryId>,
    /// Entries that were pending but are gone from the stream, and now from the PEL.
    pub deleted: Vec<EntryId>,
    /// Where the next call goes on; `0-0` at the end.
    pub next: EntryId,
}

/// What releasing an entry does to its number of deliveries (XNACK).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nack {
    /// SILENT: one less, as if it had not been delivered.
    Decrement,
    /// FAIL.
    Unchanged,
    /// FATAL: the highest there is.
    Highest,
    /// RETRYCOUNT.
    Set(u64),
}

impl ConsumerId {
    pub(crate) const fn from_number(number: u32) -> ConsumerId {
        ConsumerId(number)
    }

    pub(crate) const fn number(self) -> u32 {
        self.0
    }

    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

impl Group {
    pub(crate) fn new(last_id: EntryId, entries_read: Option<u64>) -> Group {
        let pending = PendingList::default();
        Group {
            last_id,
            entries_read,
            pending,
            names: SharedNames::default(),
            slots: SharedVec::default(),
            free_slots: Vec::new(),
            names_bytes: 0,
        }
    }

    /// The cursor: entries above it are new to the group.
    pub fn last_id(&self) -> EntryId {
        self.last_id
    }

    /// Entries at or below the cursor that were ever added, if that is known.
    pub fn entries_read(&self) -> Option<u64> {
        self.entries_read
    }

    /// The PEL.
    pub fn pending(&self) -> &PendingList {
        &self.pending
    }

    /// The PEL, to be changed.
    pub fn pending_mut(&mut self) -> &mut PendingList {
        &mut self.pending
    }

    /// Sets the cursor (XGROUP SETID).
    pub fn set_id(&mut self, last_id: EntryId, entries_read: Option<u64>) {
        self.last_id = last_id;
        self.entries_read = entries_read;
    }

    /// Raises the cursor to `last_id` if it is below (XCLAIM LASTID).
    pub fn raise_id(&mut self, last_id: EntryId) -> bool {
        let raised = last_id > self.last_id;
        self.last_id = self.last_id.max(last_id);
        raised
    }

    /// The consumer `name`.
    pub fn consumer_id(&self, name: &[u8]) -> Option<ConsumerId> {
        self.names.get(name)
    }

    /// What is known of a consumer.
    pub fn consumer(&self, id: ConsumerId) -> Option<&Consumer> {
        self.slots.get(id.index())?.as_ref()
    }

    /// The name of a consumer; empty for nobody.
    pub fn consumer_name(&self, id: Option<ConsumerId>) -> &[u8] {
        id.and_then(|id| self.consumer(id)).map_or(&[], |consumer| &consumer.name)
    }

    /// How many consumers it has.
    pub fn consumers_len(&self) -> usize {
        self.names.len()
    }

    /// The consumers, in the byte order of their names.
    pub fn consumers(&self) -> impl Iterator<Item = (ConsumerId, &Consumer)> {
        self.names.iter().map(|(_, id)| {
            let consumer = self.consumer(id).expect("a name leads to a slot that is taken");
            (id, consumer)
        })
    }

    /// Creates the consumer `name`, seen at `now_ms`; `None`, and no change, if the name is taken.
    pub fn create_consumer(&mut self, name: &[u8], now_ms: u64) -> Option<ConsumerId> {
        if self.names.get(name).is_some() {
            return None;
        }
        let name: Arc<[u8]> = name.into();
        let consumer = Some(Consumer { name: Arc::clone(&name), seen_ms: now_ms, active_ms: None });
        let id = match self.free_slots.pop() {
            Some(id) => {
                *self.slots.get_mut(id.index()).expect("it was one's that is gone") = consumer;
                id
            }
            None => {
                // Nobody has four billion consumers in memory, which each take over a hundred bytes.
                let id = ConsumerId(u32::try_from(self.slots.len()).ok()?);
                self.slots.push(consumer);
                id
            }
        };
        self.names_bytes += name.len();
        self.names.insert(name, id);
        Some(id)
    }

    /// Removes the consumer `name` and what is pending for it; returns how many entries that were.
    pub fn delete_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let id = self.names.remove(name)?;
        *self.slots.get_mut(id.index()).expect("a name leads to a slot") = None;
        self.free_slots.push(id);
        self.names_bytes -= name.len();
        Some(self.pending.remove_all_of(id))
    }

    /// Notes that a consumer did something, and if `active` that it got something.
    pub fn touch(&mut self, id: ConsumerId, now_ms: u64, active: bool) {
        if let Some(Some(consumer)) = self.slots.get_mut(id.index()) {
            consumer.seen_ms = now_ms;
            if active {
                consumer.active_ms = Some(now_ms);
            }
        }
    }

    /// Sets when a consumer was last active, as it was recorded: later than that it may have been seen.
    pub fn set_active(&mut self, id: ConsumerId, active_ms: u64) {
        if let Some(Some(consumer)) = self.slots.get_mut(id.index()) {
            consumer.seen_ms = consumer.seen_ms.max(active_ms);
            consumer.active_ms = Some(active_ms);
        }
    }

    /// Sets both times of a consumer, as they were recorded.
    pub fn set_times(&mut self, id: ConsumerId, seen_ms: u64, active_ms: Option<u64>) {
        if let Some(Some(consumer)) = self.slots.get_mut(id.index()) {
            consumer.seen_ms = seen_ms;
            consumer.active_ms = active_ms;
        }
    }

    /// Makes `id` pending for a consumer.
    pub fn insert_pending(&mut self, id: EntryId, consumer: ConsumerId, delivered_ms: u64, deliveries: u64) {
        self.pending.set(id, Pending { consumer: Some(consumer), delivered_ms, deliveries });
    }

    /// Acknowledges `id`; `false` if it was not pending. O(log PEL).
    pub fn ack(&mut self, id: EntryId) -> bool {
        self.pending.remove(id).is_some()
    }

    /// Delivers `id` once more to the consumer that has it (reading its history).
    pub fn redeliver(&mut self, id: EntryId, now_ms: u64) {
        if let Some(pending) = self.pending.get(id) {
            let deliveries = pending.deliveries.saturating_add(1).min(i64::MAX as u64);
            self.pending.set(id, Pending { delivered_ms: now_ms, deliveries, ..pending });
        }
    }

    /// Claims `id`, which is in the stream.
    fn claim(&mut self, id: EntryId, claim: Claim) -> bool {
        let before = match self.pending.get(id) {
            Some(pending) => pending,
            None if claim.force => Pending { consumer: None, delivered_ms: claim.now_ms, deliveries: 1 },
            None => return false,
        };
        let idle_ms = claim.now_ms.saturating_sub(before.delivered_ms);
        if before.consumer.is_some() && idle_ms < claim.min_idle_ms {
            return false;
        }
        self.take_over(id, before, claim);
        true
    }

    /// Makes `id`, of which `before` is known, the claimer's.
    fn take_over(&mut self, id: EntryId, before: Pending, claim: Claim) {
        let deliveries = match claim.target {
            ClaimTarget::Increment => before.deliveries.saturating_add(1).min(i64::MAX as u64),
            ClaimTarget::Unchanged => before.deliveries,
            ClaimTarget::Set(deliveries) => deliveries,
        };
        self.insert_pending(id, claim.consumer, claim.delivered_ms, deliveries);
    }

    /// Releases `id` from its consumer; `false` if it is not pending.
    pub fn release(&mut self, id: EntryId, nack: Nack) -> bool {
        let Some(before) = self.pending.get(id) else { return false };
        self.set_released(id, nack, before.deliveries);
        true
    }

    /// Makes `id`, which was not pending, pending for nobody (XNACK FORCE).
    pub fn insert_released(&mut self, id: EntryId, nack: Nack) {
        self.set_released(id, nack, 0);
    }

    fn set_released(&mut self, id: EntryId, nack: Nack, deliveries: u64) {
        let deliveries = match nack {
            Nack::Decrement => deliveries.saturating_sub(1),
            Nack::Unchanged => deliveries,
            Nack::Highest => i64::MAX as u64,
            Nack::Set(deliveries) => deliveries,
        };
        self.pending.set(id, Pending { consumer: None, delivered_ms: 0, deliveries });
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        // An allocation for the name, and its place in the map.
        self.names_bytes
            + self.names.len() * (16 + 8 + 48)
            + self.slots.len() * size_of::<Option<Consumer>>()
            + self.pending.heap_bytes()
    }

    #[cfg(any(test, debug_assertions))]
    pub(crate) fn check(&self) {
        self.pending.check();
        assert_eq!(self.names.len(), self.slots.iter().flatten().count());
        assert_eq!(self.slots.len(), self.names.len() + self.free_slots.len());
        assert_eq!(self.names_bytes, self.names.iter().map(|(name, _)| name.len()).sum::<usize>());
        assert!(self.names.iter().all(|(name, id)| self.consumer_name(Some(id)) == &**name));
        let consumers = self.pending.from(EntryId::MIN).filter_map(|(_, pending)| pending.consumer);
        consumers.for_each(|id| assert!(self.consumer(id).is_some()));
    }
}

impl<'a> GroupMut<'a> {
    pub(crate) fn new(
        group: &'a mut Group,
        groups_bytes: &'a mut usize,
        references: Option<&'a mut ReferenceIndex>,
    ) -> GroupMut<'a> {
        let before = Standing { bytes: group.heap_bytes(), last_id: group.last_id };
        GroupMut { group, before, groups_bytes, references }
    }
}

impl Deref for GroupMut<'_> {
    type Target = Group;

    fn deref(&self) -> &Group {
        self.group
    }
}

impl DerefMut for GroupMut<'_> {
    fn deref_mut(&mut self) -> &mut Group {
        self.group
    }
}

impl Drop for GroupMut<'_> {
    fn drop(&mut self) {
        *self.groups_bytes += self.group.heap_bytes();
        *self.groups_bytes -= self.before.bytes;
        if let Some(references) = &mut self.references {
            references.move_cursor(self.before.last_id, self.group.last_id);
            references.note_moves(self.group.pending.take_moves());
        }
    }
}

impl Stream {
    /// Hands the entries `ids` to a consumer of `group` at `now_ms`: they become pending unless `acked` at once (NOACK),
    /// and the cursor moves to the last of them. They are the ones above the cursor, in order.
    ///
    /// O(ids), whatever the PEL's size. `None` if there is no such group.
    pub fn deliver(
        &mut self,
        group: &[u8],
        consumer: ConsumerId,
        ids: &[EntryId],
        now_ms: u64,
        acked: bool,
    ) -> Option<Delivery> {
        let entries_read = self.entries_read_after(self.groups.get(group)?, ids);
        let mut group = self.group_mut(group)?;
        if !acked {
            ids.iter().for_each(|&id| group.insert_pending(id, consumer, now_ms, 1));
        }
        if let Some(&last) = ids.last() {
            group.last_id = last;
            group.entries_read = entries_read;
            // Redis takes a consumer that acknowledges at once for one that gets nothing.
            group.touch(consumer, now_ms, !acked);
        }
        Some(Delivery { last_id: group.last_id, entries_read: group.entries_read })
    }

    /// What `entries_read` comes to once `ids`, which follow the cursor, were delivered.
    fn entries_read_after(&self, group: &Group, ids: &[EntryId]) -> Option<u64> {
        let first_id = self.first_id();
        let mut cursor = group.last_id;
        let mut entries_read = group.entries_read;
        for (index, &id) in ids.iter().enumerate() {
            let counted = entries_read.filter(|_| cursor >= first_id && !self.has_tombstones_after(cursor));
            if let Some(counted) = counted {
                if self.max_deleted_id <= cursor || self.max_deleted_id < first_id {
                    // Nor can there be any further on: the rest is a sum.
                    return Some(counted + (ids.len() - index) as u64);
                }
                entries_read = Some(counted + 1);
            } else if self.entries_added > 0 {
                entries_read = self.entries_up_to(id);
            }
            cursor = id;
        }
        entries_read
    }

    /// Whether an entry from `id` on was deleted, as far as the highest deleted ID tells.
    fn has_tombstones_after(&self, id: EntryId) -> bool {
        let deleted = self.max_deleted_id;
        self.len > 0 && deleted != EntryId::MIN && self.first_id() <= deleted && id <= deleted
    }

    /// How many entries at or below `id` were ever added, where that follows from the counters.
    pub fn entries_up_to(&self, id: EntryId) -> Option<u64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        if self.len == 0 && id < self.last_id {
            return Some(self.entries_added);
        }
        if id != EntryId::MIN && id < self.max_deleted_id {
            return None;
        }
        match id.cmp(&self.last_id) {
            std::cmp::Ordering::Equal => return Some(self.entries_added),
            std::cmp::Ordering::Greater => return None,
            std::cmp::Ordering::Less => {}
        }
        let first_id = self.first_id();
        if self.max_deleted_id != EntryId::MIN && self.max_deleted_id >= first_id {
            return None;
        }
        match id.cmp(&first_id) {
            std::cmp::Ordering::Less => Some(self.entries_added.saturating_sub(self.len)),
            std::cmp::Ordering::Equal => Some(self.entries_added.saturating_sub(self.len) + 1),
            std::cmp::Ordering::Greater => None,
        }
    }

    /// How many entries `group` has still to read, where that is known. Whoever sets the counters it is the difference of
    /// can make the group seem to have read more than there ever was (XSETID ENTRIESADDED): then none.
    pub fn lag(&self, group: &Group) -> Option<u64> {
        if self.entries_added == 0 || self.len == 0 {
            return Some(0);
        }
        if group.last_id < self.first_id() && self.max_deleted_id < self.first_id() {
            return Some(self.len);
        }
        let counted = group.entries_read.filter(|_| !self.has_tombstones_after(group.last_id));
        let read = counted.or_else(|| self.entries_up_to(group.last_id))?;
        Some(self.entries_added.saturating_sub(read))
    }

    /// Shows the entries that are pending in `group` and were delivered at or before `until_ms` to `each`, the longest idle
    /// first, until it says `false`.
    ///
    /// What is gone from the stream stays pending, for XCLAIM and XAUTOCLAIM to find. What lies before the first entry is
    /// skipped as a whole; what was deleted further behind is found out once, at most `GONE_MAX` of it at a time: then
    /// the search ends early, and the next one goes on. O(log n) an entry shown, after O(n / 4096).
    pub fn search_idle(
        &mut self,
        group: &[u8],
        until_ms: u64,
        mut each: impl FnMut(Entry<'_>, Pending) -> bool,
    ) {
        let Some(state) = self.groups.get(group).filter(|_| self.len > 0) else { return };
        let mut idle = state.pending.idle_since(self.first_id(), until_ms);
        let mut gone = 0;
        while let Some((id, pending)) = idle.next() {
            match self.entry(id) {
                Some(entry) if each(entry, pending) => {}
                Some(_) => break,
                None => {
                    idle.note_gone(id);
                    gone += 1;
                    if gone == GONE_MAX {
                        break;
                    }
                }
            }
        }
        let search = idle.finish();
        if let Some(mut state) = self.group_mut(group) {
            state.pending.settle(search);
        }
    }

    /// Claims `id` for another consumer of `group`. O(log n).
    pub fn claim(&mut self, group: &[u8], id: EntryId, claim: Claim) -> Claimed {
        let exists = self.contains(id);
        let Some(mut group) = self.group_mut(group) else { return Claimed::No };
        if !exists {
            return if group.ack(id) { Claimed::Gone } else { Claimed::No };
        }
        if group.claim(id, claim) { Claimed::Yes } else { Claimed::No }
    }

    /// Claims up to `count` entries of `group` from `start` on, looking at ten times as many. O(log n + looked at).
    pub fn auto_claim(&mut self, group: &[u8], start: EntryId, count: usize, claim: Claim) -> AutoClaimed {
        let mut found = AutoClaimed::default();
        let Some(state) = self.groups.get(group) else { return found };
        let mut candidates = state.pending.from(start);
        let mut attempts = count.saturating_mul(10);
        let mut entries = self.finder();
        let mut known = Vec::new();
        while known.len() + found.deleted.len() < count && attempts > 0 {
            attempts -= 1;
            let Some((id, pending)) = candidates.next() else { break };
            let idle_ms = claim.now_ms.saturating_sub(pending.delivered_ms);
            if entries.find(id).is_none() {
                found.deleted.push(id);
            } else if pending.consumer.is_none() || idle_ms >= claim.min_idle_ms {
                known.push((id, pending));
            }
        }
        found.next = candidates.next().map_or(EntryId::MIN, |(id, _)| id);
        drop(candidates);
        if let Some(mut group) = self.group_mut(group) {
            for (id, pending) in known {
                group.take_over(id, pending, claim);
                found.claimed.push(id);
            }
            for &id in &found.deleted {
                group.ack(id);
            }
        }
        found
    }
}
