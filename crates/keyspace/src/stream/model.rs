//! The model test: random operations on a stream and on a plain, slow, obviously right one.
//!
//! The model keeps entries in a vector and pending entries in a map, and answers by filtering. Beside it runs a copy of
//! the stream that is told only the changes, as a journal would tell it; in the end all three must agree, and so must
//! what a snapshot and a dump give back.

use std::collections::BTreeMap;

use crate::stream::effect::{self, Change, Deliver};
use crate::stream::*;

type Fields = Vec<Vec<u8>>;

#[derive(Debug, Default)]
struct ModelGroup {
    last_id: EntryId,
    pending: BTreeMap<EntryId, (Option<Vec<u8>>, u64, u64)>,
    consumers: Vec<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Model {
    entries: Vec<(EntryId, Fields)>,
    last_id: EntryId,
    max_deleted_id: EntryId,
    added: u64,
    groups: BTreeMap<Vec<u8>, ModelGroup>,
}

impl Model {
    fn exists(&self, id: EntryId) -> bool {
        self.entries.iter().any(|(other, _)| *other == id)
    }

    fn delete(&mut self, id: EntryId) -> bool {
        let before = self.entries.len();
        self.entries.retain(|(other, _)| *other != id);
        let deleted = self.entries.len() < before;
        if deleted {
            self.max_deleted_id = self.max_deleted_id.max(id);
        }
        deleted
    }

    fn is_referenced(&self, id: EntryId) -> bool {
        self.groups.values().any(|group| id > group.last_id || group.pending.contains_key(&id))
    }

    fn unreference(&mut self, id: EntryId) {
        self.groups.values_mut().for_each(|group| drop(group.pending.remove(&id)));
    }

    /// An exact trim. `tombstones`: what was deleted and still has its place in a block.
    fn trim(&mut self, bound: TrimBound, references: References, tombstones: Vec<EntryId>) -> u64 {
        let mut removed = 0;
        let mut ids: Vec<EntryId> = self.entries.iter().map(|(id, _)| *id).chain(tombstones).collect();
        ids.sort_unstable();
        for id in ids {
            let stop = match bound {
                TrimBound::MaxLen(max) => self.entries.len() as u64 <= max,
                TrimBound::MinId(min) => id >= min,
            };
            if stop {
                break;
            }
            match references {
                References::Acked if self.is_referenced(id) => continue,
                References::Drop => self.unreference(id),
                _ => {}
            }
            let before = self.entries.len();
            self.entries.retain(|(other, _)| *other != id);
            removed += (before - self.entries.len()) as u64;
        }
        removed
    }
}

/// The stream, the model, and the replica that is told of changes only.
struct Trio {
    stream: Stream,
    model: Model,
    replica: Stream,
    random: fastrand::Rng,
    limits: BlockLimits,
    now_ms: u64,
}

const GROUPS: [&[u8]; 3] = [b"a", b"b", b"c"];
const CONSUMERS: [&[u8]; 3] = [b"x", b"y", b"z"];

impl Trio {
    fn new(seed: u64) -> Trio {
        let mut random = fastrand::Rng::with_seed(seed);
        let limits = BlockLimits { bytes_max: 4096, entries_max: random.u64(1..20) };
        let (stream, model, replica) = (Stream::new(), Model::default(), Stream::new());
        Trio { stream, model, replica, random, limits, now_ms: 1000 }
    }

    fn tell(&mut self, change: Change<'_>) {
        let mut bytes = Vec::new();
        change.write(&mut bytes);
        let change = Change::read(&bytes).expect("what was written can be read");
        // A replica may have other limits: boundaries of blocks don't matter.
        assert!(
            self.replica.apply(change.clone(), BlockLimits { entries_max: 7, bytes_max: 0 }),
            "{change:?}"
        );
    }

    /// The ID of some entry, of one that is gone, or of none.
    fn some_id(&mut self) -> EntryId {
        EntryId::new(self.random.u64(0..=self.model.last_id.ms + 1), self.random.u64(0..3))
    }

    fn group(&mut self) -> &'static [u8] {
        GROUPS[self.random.usize(..GROUPS.len())]
    }

    fn step(&mut self) {
        self.now_ms += self.random.u64(0..5);
        match self.random.u32(..100) {
            0..=39 => self.add(),
            40..=49 => self.delete(),
            50..=53 => self.trim(),
            54..=57 => self.make_group(),
            58..=74 => self.deliver(),
            75..=84 => self.acknowledge(),
            85..=88 => self.claim(),
            89..=91 => self.auto_claim(),
            92..=93 => self.release(),
            94 => self.leave(),
            _ => self.read(),
        }
    }

    fn add(&mut self) {
        let request = match self.random.u32(..4) {
            0 => IdRequest::Auto,
            1 => IdRequest::AutoSeq(self.model.last_id.ms + self.random.u64(0..2)),
            _ => IdRequest::Exact(self.some_id()),
        };
        let now_ms = self.model.last_id.ms + self.random.u64(0..3);
        let names: [&[u8]; 3] = [b"f", b"g", b"a long name"];
        let mut fields = Fields::new();
        for _ in 0..self.random.usize(1..3) {
            fields.push(names[self.random.usize(..3)].to_vec());
            fields.push(vec![b'v'; self.random.usize(..40)]);
        }
        match self.stream.next_id(request, now_ms) {
            Ok(id) => {
                assert!(id > self.model.last_id);
                let texts = || fields.iter().map(Vec::as_slice);
                self.stream.append(id, texts(), self.limits).unwrap();
                let mut bytes = Vec::new();
                effect::write_add(&mut bytes, id, texts());
                self.tell(Change::read(&bytes).unwrap());
                self.model.entries.push((id, fields));
                self.model.last_id = id;
                self.model.added += 1;
            }
            Err(error) => {
                assert_eq!(error, AddError::IdTooSmall);
                assert!(matches!(request, IdRequest::Exact(id) if id <= self.model.last_id));
            }
        }
    }

    fn delete(&mut self) {
        let id = self.some_id();
        match self.random.u32(..3) {
            0 => {
                let deleted = self.stream.delete(id);
                assert_eq!(deleted, self.model.delete(id));
                if deleted {
                    self.tell(Change::Delete { ids: vec![id].into() });
                }
            }
            1 => {
                let was_pending = self.model.groups.values().any(|group| group.pending.contains_key(&id));
                self.model.unreference(id);
                let outcome = self.stream.delete_with(id, References::Drop);
                assert_eq!(outcome == DeleteOutcome::Deleted, self.model.delete(id));
                if was_pending {
                    self.tell(Change::Unreference { ids: vec![id].into() });
                }
                if outcome == DeleteOutcome::Deleted {
                    self.tell(Change::Delete { ids: vec![id].into() });
                }
            }
            _ => {
                let outcome = self.stream.delete_with(id, References::Acked);
                if self.model.is_referenced(id) {
                    assert_eq!(outcome, DeleteOutcome::Referenced);
                } else {
                    assert_eq!(outcome == DeleteOutcome::Deleted, self.model.delete(id));
                }
                if outcome == DeleteOutcome::Deleted {
                    self.tell(Change::Delete { ids: vec![id].into() });
                }
            }
        }
    }

    fn trim(&mut self) {
        let len = self.model.entries.len() as u64;
        let bound = match self.random.bool() {
            true => TrimBound::MaxLen(self.random.u64(len / 2..=len + 1)),
            false => TrimBound::MinId(EntryId::new(self.model.last_id.ms * self.random.u64(0..12) / 10, 0)),
        };
        let references = [References::Keep, References::Drop, References::Acked][self.random.usize(..3)];
        let pending = self.model.groups.values().flat_map(|group| group.pending.keys().copied());
        let tombstones = pending.filter(|&id| self.stream.is_tombstone(id)).collect();
        let trimmed = self.stream.trim(Trim { bound, whole_blocks: None, references });
        let removed = self.model.trim(bound, references, tombstones);
        assert_eq!(trimmed.removed, removed, "{bound:?} {references:?}");
        if let Some(through) = trimmed.through {
            self.tell(Change::Trim { through });
        }
        if !trimmed.holes.is_empty() {
            self.tell(Change::Remove { ids: trimmed.holes.into() });
        }
        if !trimmed.dropped.is_empty() {
            self.tell(Change::Unreference { ids: trimmed.dropped.into() });
        }
    }

    fn make_group(&mut self) {
        let (group, last_id) = (self.group(), self.some_id());
        match self.random.u32(..4) {
            0 => {
                let destroyed = self.stream.destroy_group(group).is_some();
                assert_eq!(destroyed, self.model.groups.remove(group).is_some());
                if destroyed {
                    self.tell(Change::DestroyGroup { group });
                }
            }
            1 if self.model.groups.contains_key(group) => {
                self.stream.group_mut(group).unwrap().set_id(last_id, None);
                self.model.groups.get_mut(group).unwrap().last_id = last_id;
                self.tell(Change::SetGroup { group, last_id, entries_read: None });
            }
            _ => {
                let created = self.stream.create_group(group, last_id, Some(0));
                assert_eq!(created, !self.model.groups.contains_key(group));
                if created {
                    let state = ModelGroup { last_id, ..ModelGroup::default() };
                    self.model.groups.insert(group.to_vec(), state);
                    self.tell(Change::CreateGroup { group, last_id, entries_read: Some(0) });
                }
            }
        }
    }

    fn consumer(&mut self, group: &[u8]) -> Option<(ConsumerId, &'static [u8])> {
        let consumer = CONSUMERS[self.random.usize(..CONSUMERS.len())];
        let seen_ms = self.now_ms;
        let mut state = self.stream.group_mut(group)?;
        let id = state.consumer_id(consumer);
        if let Some(id) = id {
            return Some((id, consumer));
        }
        let id = state.create_consumer(consumer, seen_ms)?;
        drop(state);
        self.model.groups.get_mut(group)?.consumers.push(consumer.to_vec());
        self.tell(Change::CreateConsumer { group: group.to_vec().leak(), consumer, seen_ms });
        Some((id, consumer))
    }

    fn deliver(&mut self) {
        let group = self.group();
        let Some((id, consumer)) = self.consumer(group) else { return };
        let count = self.random.usize(1..8);
        let state = self.model.groups.get_mut(group).unwrap();
        let new = self.model.entries.iter().map(|(id, _)| *id).filter(|&id| id > state.last_id);
        let expected: Vec<EntryId> = new.take(count).collect();
        let from = self.stream.group(group).unwrap().last_id().next().unwrap();
        let ids: Vec<EntryId> =
            self.stream.range(from, EntryId::MAX).take(count).map(|entry| entry.id).collect();
        assert_eq!(ids, expected);
        let acked = self.random.u32(..5) == 0;
        let delivery = self.stream.deliver(group, id, &ids, self.now_ms, acked).unwrap();
        for &id in &ids {
            state.last_id = id;
            if !acked {
                state.pending.insert(id, (Some(consumer.to_vec()), self.now_ms, 1));
            }
        }
        if !ids.is_empty() {
            let Delivery { last_id, entries_read } = delivery;
            let at_ms = self.now_ms;
            self.tell(Change::Deliver(Deliver {
                group,
                consumer,
                at_ms,
                acked,
                last_id,
                entries_read,
                ids: ids.into(),
            }));
        }
    }

    fn acknowledge(&mut self) {
        let (group, anything) = (self.group(), self.some_id());
        let Some(state) = self.model.groups.get_mut(group) else { return };
        let index = self.random.usize(..state.pending.len().max(1));
        let id = state.pending.keys().nth(index).copied().unwrap_or(anything);
        let acked = self.stream.group_mut(group).unwrap().ack(id);
        assert_eq!(acked, state.pending.remove(&id).is_some());
        if acked {
            self.tell(Change::Ack { group, ids: vec![id].into() });
        }
    }

    fn claim_by(&mut self, consumer: ConsumerId) -> Claim {
        Claim {
            consumer,
            min_idle_ms: self.random.u64(0..30),
            delivered_ms: self.now_ms,
            now_ms: self.now_ms,
            target: [ClaimTarget::Increment, ClaimTarget::Unchanged, ClaimTarget::Set(77)]
                [self.random.usize(..3)],
            force: self.random.bool(),
        }
    }

    fn claimed_in_model(&mut self, group: &[u8], consumer: &[u8], id: EntryId, claim: Claim) -> Claimed {
        let exists = self.model.exists(id);
        let state = self.model.groups.get_mut(group).unwrap();
        let before = state.pending.get(&id).cloned();
        if !exists {
            return if state.pending.remove(&id).is_some() { Claimed::Gone } else { Claimed::No };
        }
        let before = match before {
            None if !claim.force => return Claimed::No,
            before => before.unwrap_or((None, self.now_ms, 1)),
        };
        if before.0.is_some() && self.now_ms - before.1 < claim.min_idle_ms {
            return Claimed::No;
        }
        let deliveries = match claim.target {
            ClaimTarget::Increment => before.2.saturating_add(1).min(i64::MAX as u64),
            ClaimTarget::Unchanged => before.2,
            ClaimTarget::Set(deliveries) => deliveries,
        };
        state.pending.insert(id, (Some(consumer.to_vec()), self.now_ms, deliveries));
        Claimed::Yes
    }

    fn tell_pending(&mut self, group: &'static [u8], consumer: &'static [u8], ids: &[EntryId]) {
        let state = self.stream.group(group).unwrap();
        let entry = |&id: &EntryId| {
            let pending = state.pending().get(id).unwrap();
            (id, pending.delivered_ms, pending.deliveries)
        };
        let entries: Vec<_> = ids.iter().map(entry).collect();
        let active_ms = Some(self.now_ms);
        self.tell(Change::Pending { group, consumer, active_ms, entries: entries.into() });
    }

    fn claim(&mut self) {
        let group = self.group();
        let Some((id, consumer)) = self.consumer(group) else { return };
        let (entry, claim) = (self.some_id(), self.claim_by(id));
        let claimed = self.stream.claim(group, entry, claim);
        assert_eq!(claimed, self.claimed_in_model(group, consumer, entry, claim));
        match claimed {
            Claimed::Yes => self.tell_pending(group, consumer, &[entry]),
            Claimed::Gone => self.tell(Change::Ack { group, ids: vec![entry].into() }),
            Claimed::No => {}
        }
    }

    fn auto_claim(&mut self) {
        let group = self.group();
        let Some((id, consumer)) = self.consumer(group) else { return };
        let (start, mut claim) = (self.some_id(), self.claim_by(id));
        claim.force = false;
        let count = self.random.usize(1..5);
        let found = self.stream.auto_claim(group, start, count, claim);
        let candidates: Vec<EntryId> =
            self.model.groups[group].pending.range(start..).map(|(id, _)| *id).take(count * 10).collect();
        let mut expected = AutoClaimed::default();
        let mut looked_at = 0;
        for &candidate in &candidates {
            if expected.claimed.len() + expected.deleted.len() == count {
                break;
            }
            looked_at += 1;
            match self.claimed_in_model(group, consumer, candidate, claim) {
                Claimed::Yes => expected.claimed.push(candidate),
                Claimed::Gone => expected.deleted.push(candidate),
                Claimed::No => {}
            }
        }
        let left = self.model.groups[group].pending.range(start..).map(|(id, _)| *id);
        let last_seen = candidates[..looked_at].last().copied();
        expected.next =
            left.into_iter().find(|&id| last_seen.is_none_or(|last| id > last)).unwrap_or(EntryId::MIN);
        assert_eq!(found, expected);
        if !found.claimed.is_empty() {
            self.tell_pending(group, consumer, &found.claimed);
        }
        if !found.deleted.is_empty() {
            self.tell(Change::Ack { group, ids: found.deleted.into() });
        }
    }

    fn release(&mut self) {
        let (group, id) = (self.group(), self.some_id());
        let Some(state) = self.model.groups.get_mut(group) else { return };
        let released = self.stream.group_mut(group).unwrap().release(id, Nack::Decrement);
        match state.pending.get_mut(&id) {
            Some((consumer, delivered_ms, deliveries)) => {
                assert!(released);
                (*consumer, *delivered_ms) = (None, 0);
                *deliveries = deliveries.saturating_sub(1);
                let entries = vec![(id, *deliveries)].into();
                self.tell(Change::Release { group, entries });
            }
            None => assert!(!released),
        }
    }

    fn leave(&mut self) {
        let group = self.group();
        let consumer = CONSUMERS[self.random.usize(..CONSUMERS.len())];
        let Some(state) = self.model.groups.get_mut(group) else { return };
        let removed = self.stream.group_mut(group).unwrap().delete_consumer(consumer);
        let before = state.pending.len();
        state.pending.retain(|_, (owner, ..)| owner.as_deref() != Some(consumer));
        let known = state.consumers.iter().any(|name| name == consumer);
        state.consumers.retain(|name| name != consumer);
        assert_eq!(removed, known.then_some(before - state.pending.len()));
        if removed.is_some() {
            self.tell(Change::DeleteConsumer { group, consumer });
        }
    }

    fn read(&mut self) {
        let (start, end) = (self.some_id(), self.some_id());
        let expected: Vec<&(EntryId, Fields)> =
            self.model.entries.iter().filter(|(id, _)| (start..=end).contains(id)).collect();
        let flat = |entry: Entry<'_>| -> Fields {
            entry.fields().flat_map(|(name, value)| [name.to_vec(), value.to_vec()]).collect()
        };
        assert!(
            self.stream
                .range(start, end)
                .map(|entry| (entry.id, flat(entry)))
                .eq(expected.iter().map(|e| (*e).clone()))
        );
        let backward = self.stream.range_backward(start, end).map(|entry| entry.id);
        assert!(backward.eq(expected.iter().rev().map(|(id, _)| *id)));
        assert_eq!(self.stream.contains(start), self.model.exists(start));
    }

    /// Compares everything that can be seen.
    fn check(&self) {
        self.stream.check();
        self.replica.check();
        assert_eq!(self.stream.len(), self.model.entries.len() as u64);
        assert_eq!(self.stream.last_id(), self.model.last_id);
        assert_eq!(self.stream.max_deleted_id(), self.model.max_deleted_id);
        assert_eq!(self.stream.entries_added(), self.model.added);
        let ids = self.stream.range(EntryId::MIN, EntryId::MAX).map(|entry| entry.id);
        assert!(ids.eq(self.model.entries.iter().map(|(id, _)| *id)));
        assert_eq!(self.stream.groups().len(), self.model.groups.len());
        for ((name, group), (model_name, model)) in self.stream.groups().zip(&self.model.groups) {
            assert_eq!((name, group.last_id()), (&**model_name, model.last_id));
            let owner = |id| group.consumer_name(id).to_vec();
            let pending = group.pending().from(EntryId::MIN).map(|(id, pending)| {
                (id, (pending.consumer.map(|id| owner(Some(id))), pending.delivered_ms, pending.deliveries))
            });
            assert!(pending.eq(model.pending.iter().map(|(id, state)| (*id, state.clone()))));
        }
        assert_eq!(seen(&self.stream), seen(&self.replica));
        let mut bytes = Vec::new();
        self.stream.write(&mut bytes, &mut |_| {});
        assert_eq!(seen(&self.stream), seen(&Stream::read(&bytes).unwrap()));
        bytes.clear();
        self.stream.write_rdb(&mut bytes);
        assert_eq!(seen(&self.stream), seen(&Stream::read_rdb(self.stream.rdb_type().0, &bytes).unwrap()));
    }
}

/// Everything that clients can see of a stream, but for the times of consumers, which readings change.
fn seen(stream: &Stream) -> String {
    use std::fmt::Write;
    let mut text = format!(
        "{} {} {} {}\n",
        stream.len(),
        stream.last_id(),
        stream.max_deleted_id(),
        stream.entries_added()
    );
    for entry in stream.range(EntryId::MIN, EntryId::MAX) {
        writeln!(text, "{} {:?}", entry.id, entry.fields().collect::<Vec<_>>()).unwrap();
    }
    for (name, group) in stream.groups() {
        writeln!(text, "{name:?} {} {:?}", group.last_id(), group.entries_read()).unwrap();
        group.consumers().for_each(|(_, consumer)| writeln!(text, "{:?}", consumer.name).unwrap());
        for (id, pending) in group.pending().from(EntryId::MIN) {
            let owner = group.consumer_name(pending.consumer);
            writeln!(text, "{id} {owner:?} {} {}", pending.delivered_ms, pending.deliveries).unwrap();
        }
    }
    text
}

#[test]
fn a_stream_does_what_the_model_does() {
    for seed in 0..300 {
        let mut trio = Trio::new(seed);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for step in 0..400 {
                trio.step();
                if step % 80 == 79 {
                    trio.check();
                }
            }
        }));
        assert!(result.is_ok(), "seed {seed}");
    }
}
