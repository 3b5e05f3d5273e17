//! What a node reads: its own last frame, to see that the log still holds it, and every slot behind it.

use std::time::Duration;

use bytes::Bytes;

use super::{Doubt, Reading, Replica, Stage, TRIES_MIN};
use crate::log::action::{Action, Fault, Read, Source};
use crate::log::frame::{Frame, FrameError, hash};
use crate::log::position::{Contradiction, Position, Verdict};

impl Replica {
    /// The stream's leader knows best what the log holds, but its own copy may be the one with a hole.
    pub(super) fn surest(&self) -> Source {
        match self.doubt {
            Some(Doubt { fault: Fault::Hole(_) | Fault::Frame(..), tries, .. }) if tries % 2 == 1 => {
                Source::Any
            }
            _ => Source::Leader,
        }
    }

    /// Reads, if it is time and nothing is being read.
    pub(super) fn want(&mut self, from: u64, source: Source, now: Duration) {
        if self.reading.is_none() && now >= self.read_at {
            self.reads += 1;
            self.reading = Some(Reading { id: self.reads, source });
            self.is_hinted = false;
            self.out.push_back(Action::Read { id: self.reads, from, source });
        }
    }

    /// The slot of the last frame that counted was read.
    pub(super) fn check(&mut self, read: Read, now: Duration) {
        let Position { slot, read_to, hash: known, .. } = self.position;
        match read {
            Read::Slots(slots) => match slots.first() {
                Some((at, bytes)) if *at == slot && hash(bytes) == known => self.checked(now),
                Some((at, bytes)) if *at == slot && Frame::decode(bytes).is_ok() => {
                    self.stop(Fault::Differs(slot));
                }
                Some((at, _)) if *at == slot => self.doubt(Fault::Frame(slot, FrameError::Damaged), now),
                _ => self.doubt(Fault::Hole(slot), now),
            },
            Read::Missing { first, .. } if first > read_to + 1 => self.yield_unresolved(now),
            Read::Missing { last, .. } if last < slot => self.doubt(Fault::Lost(slot), now),
            // Trimmed. The next frame names this one's hash.
            Read::Missing { first, .. } if first > slot => self.checked(now),
            Read::Missing { .. } => self.doubt(Fault::Hole(slot), now),
            Read::Failed => {}
        }
    }

    /// The log holds the last frame that this node knows.
    fn checked(&mut self, now: Duration) {
        self.doubt = None;
        if self.flight.is_some() {
            self.transmit();
        } else {
            self.follow(now);
        }
    }

    pub(super) fn tail(&mut self, read: Read, source: Source, now: Duration) {
        let next = self.position.read_to + 1;
        self.is_current &= now <= self.answered_at + self.times.lease;
        self.answered_at = now;
        match read {
            Read::Slots(slots) if slots.is_empty() => {
                if self.doubt.is_some() {
                    self.doubt(Fault::Hole(next), now);
                } else {
                    self.caught_up(now);
                }
            }
            Read::Slots(slots) => {
                self.read_at = now;
                for (slot, bytes) in slots {
                    if slot > self.position.read_to && !self.take(slot, bytes, source, now) {
                        return;
                    }
                }
            }
            Read::Missing { first, .. } if first > next => self.restore(),
            Read::Missing { last, .. } if last >= next => self.doubt(Fault::Hole(next), now),
            Read::Missing { last, .. } if last + 1 < next => self.doubt(Fault::Lost(next - 1), now),
            Read::Missing { .. } => {
                self.doubt = None;
                self.caught_up(now);
            }
            Read::Failed => {}
        }
    }

    /// A follower takes a slot that it has not read. False: it can't.
    fn take(&mut self, slot: u64, bytes: Bytes, source: Source, now: Duration) -> bool {
        let next = self.position.read_to + 1;
        if slot != next {
            self.doubt(Fault::Hole(next), now);
            return false;
        }
        let is_accepted = match self.position.advance(&bytes) {
            Ok(verdict) => verdict != Verdict::Skip,
            Err(contradiction) => {
                self.contradicted(contradiction, slot, source, now);
                return false;
            }
        };
        self.doubt = None;
        if let Stage::Following { silent_since, caught_up } = &mut self.stage {
            *caught_up = false;
            if is_accepted {
                *silent_since = now;
            }
        }
        if is_accepted {
            self.out.push_back(Action::Accepted { position: self.position, frame: bytes, own: false });
        }
        true
    }

    pub(super) fn contradicted(
        &mut self,
        contradiction: Contradiction,
        slot: u64,
        source: Source,
        now: Duration,
    ) {
        match contradiction {
            Contradiction::Differs if source == Source::Leader => self.stop(Fault::Differs(slot)),
            Contradiction::Differs => self.doubt(Fault::Differs(slot), now),
            Contradiction::Frame(error) => self.doubt(Fault::Frame(slot, error), now),
        }
    }

    fn caught_up(&mut self, now: Duration) {
        if let Stage::Following { caught_up, .. } = &mut self.stage {
            *caught_up = true;
            self.is_current = true;
        }
        self.read_at = if self.is_hinted { now } else { now + self.times.poll };
    }

    pub(super) fn doubt(&mut self, fault: Fault, now: Duration) {
        let doubt = self.doubt.get_or_insert(Doubt { fault, since: now, tries: 0 });
        doubt.fault = fault;
        doubt.tries += 1;
        if doubt.tries >= TRIES_MIN && now >= doubt.since + self.times.patience {
            self.stop(fault);
        } else {
            self.read_at = now + self.times.retry;
        }
    }
}
