//! The log as the nodes meet it: one sequence, three replicas, a leader that moves.

use bytes::Bytes;
use fastrand::Rng;

use super::super::{Read, Source};

/// Slots that one batch brings.
const BATCH: usize = 16;

/// A replica's own damage. What it holds is otherwise what was committed, sometimes a little behind.
#[derive(Debug, Clone, Copy, Default)]
struct Damage {
    /// Slots that are gone: from, up to.
    hole: (u64, u64),
    /// A slot with a flipped bit; 0: none.
    flipped: u64,
}

/// What came of an append that reached the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Written by the leader; it counts once this slot is committed.
    Proposed(u64),
    /// The expectation does not fit. The number counts what is not committed.
    Refused(u64),
    /// Nobody leads.
    Unavailable,
}

#[derive(Debug, Default)]
pub(super) struct Stream {
    slots: Vec<Bytes>,
    first: u64,
    committed: u64,
    replicas: [Damage; 3],
    leader: usize,
    down_until: u64,
    /// Until then a new leader may answer from before what it has committed.
    catching_up_until: u64,
    /// Counts forgotten ends, so that a commit finds what it is for.
    pub(super) generation: u64,
}

impl Stream {
    pub(super) fn begun(genesis: Bytes) -> Stream {
        Stream { slots: vec![genesis], first: 1, committed: 1, ..Stream::default() }
    }

    pub(super) fn append(&mut self, expected: u64, frame: Bytes, now: u64) -> Outcome {
        let last = self.slots.len() as u64;
        if now < self.down_until {
            return Outcome::Unavailable;
        }
        if expected != last {
            return Outcome::Refused(last);
        }
        self.slots.push(frame);
        Outcome::Proposed(last + 1)
    }

    pub(super) fn commit(&mut self, slot: u64) {
        self.committed = self.committed.max(slot.min(self.slots.len() as u64));
    }

    pub(super) fn read(&self, from: u64, source: Source, now: u64, rng: &mut Rng) -> Read {
        if now < self.down_until {
            return Read::Failed;
        }
        let lags = now < self.catching_up_until || source == Source::Any;
        let behind = if lags && rng.u8(..4) == 0 { rng.u64(1..4) } else { 0 };
        let last = self.committed.saturating_sub(behind);
        match source {
            Source::Leader => match self.slot(self.leader, from) {
                Some(bytes) if from <= last => Read::Slots(vec![(from, bytes)]),
                _ => Read::Missing { first: self.first, last },
            },
            Source::Any => {
                let replica = rng.usize(..3);
                let slots =
                    (from.max(self.first)..=last).filter_map(|at| Some((at, self.slot(replica, at)?)));
                Read::Slots(slots.take(BATCH).collect())
            }
        }
    }

    fn slot(&self, replica: usize, at: u64) -> Option<Bytes> {
        let Damage { hole, flipped } = self.replicas[replica];
        if at < self.first || (hole.0..hole.1).contains(&at) {
            return None;
        }
        let bytes = self.slots.get((at - 1) as usize)?;
        if at != flipped {
            return Some(bytes.clone());
        }
        let mut bytes = bytes.to_vec();
        *bytes.last_mut()? ^= 1;
        Some(bytes.into())
    }

    /// Another replica leads after a while. What was not committed may be gone.
    pub(super) fn fail_over(&mut self, down: u64, now: u64, rng: &mut Rng) {
        let keep = rng.u64(self.committed..=self.slots.len() as u64);
        self.slots.truncate(keep as usize);
        self.committed = keep;
        self.generation += 1;
        self.leader = rng.usize(..3);
        self.down_until = now + down;
        self.catching_up_until = self.down_until + 1_000_000;
    }

    /// One replica loses some slots, or has one changed.
    pub(super) fn damage(&mut self, rng: &mut Rng) {
        self.mend();
        let from = rng.u64(1..=self.committed);
        let damage = if rng.bool() {
            Damage { hole: (from, from + rng.u64(1..6)), flipped: 0 }
        } else {
            Damage { hole: (0, 0), flipped: from }
        };
        self.replicas[rng.usize(..3)] = damage;
    }

    pub(super) fn mend(&mut self) {
        self.replicas = Default::default();
    }

    /// What no majority may do: acknowledged slots are gone.
    pub(super) fn forget(&mut self, rng: &mut Rng) {
        let keep = self.committed - rng.u64(..=3.min(self.committed - 1));
        let keep = keep.max(self.first);
        self.slots.truncate(keep as usize);
        self.committed = keep;
        self.generation += 1;
    }

    pub(super) fn trim(&mut self, below: u64) {
        self.first = self.first.max(below.min(self.committed));
    }

    pub(super) fn recover(&mut self, now: u64) {
        self.down_until = now;
        self.catching_up_until = now;
        self.committed = self.slots.len() as u64;
        self.mend();
    }

    /// Everything that was ever committed and not forgotten, for the check.
    pub(super) fn all(&self) -> &[Bytes] {
        &self.slots[..self.committed as usize]
    }

    pub(super) fn last(&self) -> u64 {
        self.committed
    }
}
