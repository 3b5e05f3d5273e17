//! Slots of a cluster: which one a key lies in, and which keys lie in one.
//!
//! Nothing is kept by slot: whoever asks has all keys walked past, some at a time. Cost: some 100 ns a key.

use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;

use sterna_keyspace::{Error, SLOTS, Stride, slot_of};
use sterna_protocol::Reply;

use crate::partitions::Partitions;

/// What is asked about slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// How many keys one has, in all databases.
    Count(u16),
    /// The names of at most so many of its keys in one database.
    Names { slot: u16, db: usize, most: usize },
    /// How many keys each of these has.
    Each(Range<u16>),
    /// The first so many by their number of keys.
    Ordered { most: usize, is_descending: bool },
}

/// A walk past all keys.
#[derive(Debug)]
pub(crate) struct SlotWalk {
    asked: Asked,
    db: usize,
    partition: usize,
    from: u64,
    /// Keys seen in each slot.
    counts: Vec<u64>,
    named: usize,
}

impl SlotWalk {
    pub(crate) fn new(asked: Asked) -> SlotWalk {
        let db = if let Asked::Names { db, .. } = asked { db } else { 0 };
        SlotWalk { asked, db, partition: 0, from: 0, counts: vec![0; SLOTS.into()], named: 0 }
    }

    /// Whether it answers names, as it finds them, and not figures at its end.
    pub(crate) fn answers_names(&self) -> bool {
        matches!(self.asked, Asked::Names { .. })
    }

    /// Goes past some keys, and adds names that were asked for; true at the end. Error: somebody has them to himself.
    pub(crate) fn step(
        &mut self,
        partitions: &Partitions,
        now_ms: u64,
        stride: &mut Stride<'_>,
        names: &mut Vec<Arc<[u8]>>,
    ) -> Result<bool, Error> {
        let SlotWalk { asked, counts, named, .. } = self;
        let next = partitions.visit(self.partition, self.db, self.from, stride, |_, record| {
            if record.is_expired(now_ms) {
                return;
            }
            let slot = slot_of(record.key());
            match asked {
                Asked::Names { slot: wanted, most, .. } if slot == *wanted && *named < *most => {
                    names.push(record.key().into());
                    *named += 1;
                }
                Asked::Names { .. } => {}
                Asked::Count(_) | Asked::Each(_) | Asked::Ordered { .. } => counts[usize::from(slot)] += 1,
            }
        })?;
        self.from = next.unwrap_or(0);
        self.partition += usize::from(next.is_none());
        if self.partition < partitions.count() {
            return Ok(matches!(self.asked, Asked::Names { most, .. } if self.named == most));
        }
        self.partition = 0;
        self.db += 1;
        Ok(self.answers_names() || self.db == partitions.databases())
    }

    /// Writes the figures, in the shapes of Redis 8.2.
    pub(crate) fn answer(&self, reply: &mut Reply<'_>) {
        let count_of = |slot: u16| self.counts.get(usize::from(slot)).copied().unwrap_or(0);
        let slots: Vec<u16> = match &self.asked {
            Asked::Count(slot) => return reply.int(count_of(*slot) as i64),
            Asked::Names { .. } => Vec::new(),
            Asked::Each(slots) => slots.clone().collect(),
            Asked::Ordered { most, is_descending } => {
                let mut slots: Vec<u16> = (0..SLOTS).collect();
                if *is_descending {
                    slots.sort_by_key(|slot| Reverse(count_of(*slot)));
                } else {
                    slots.sort_by_key(|slot| count_of(*slot));
                }
                slots.truncate(*most);
                slots
            }
        };
        reply.array(slots.len());
        for slot in slots {
            reply.array(2);
            reply.int(i64::from(slot));
            reply.map(1);
            reply.bulk(b"key-count");
            reply.int(count_of(slot) as i64);
        }
    }
}
