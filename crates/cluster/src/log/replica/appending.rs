//! The append in flight: a claim or a leader's next frame, until it is stored or something else is there.

use std::time::Duration;

use bytes::Bytes;

use super::{Flight, Progress, Replica, Stage};
use crate::log::action::{Action, Fault, Read, Source, Ticket};
use crate::log::frame::{Frame, Kind, Records};
use crate::log::position::{Position, Verdict};

impl Replica {
    pub(super) fn claim(&mut self, now: Duration) {
        self.ceded = None;
        let name = std::mem::take(&mut self.name);
        self.stage = Stage::Claiming;
        self.launch(self.position.term + 1, Kind::Claim { name: &name }, self.submitted, now);
        self.name = name;
    }

    /// A leader's next frame: what waits, or nothing where the lease is to be renewed.
    pub(super) fn send_next(&mut self, now: Duration) {
        let Stage::Leading { sent_at, .. } = self.stage else { return };
        if self.flight.is_some() {
            return;
        }
        if let Some(batch) = self.waiting.pop_front() {
            self.waiting_bytes -= batch.records.len();
            let kind = Kind::Effects(Records::written(&batch.records));
            self.launch(self.position.term, kind, batch.through, now);
        } else if now >= sent_at + self.times.renew {
            self.launch(self.position.term, Kind::Effects(Records::NONE), self.settled, now);
        }
    }

    fn launch(&mut self, term: u64, kind: Kind<'_>, through: Ticket, now: Duration) {
        let Position { incarnation, hash, number, read_to, .. } = self.position;
        let frame =
            Frame { incarnation, previous: hash, term, number: number + 1, writer: self.writer, kind };
        let progress = Progress::Sent;
        let frame = Bytes::from(frame.encode());
        self.reading = None;
        self.doubt = None;
        self.flight =
            Some(Flight { frame, number: number + 1, expected: read_to, first_sent: now, through, progress });
        self.send(now);
    }

    /// Under a lease nobody else can have appended. Without one the log may have forgotten its end, and been written on by
    /// somebody who never saw it, up to the very slot that is expected.
    pub(super) fn send(&mut self, now: Duration) {
        if self.serves(now).is_ok() {
            return self.transmit();
        }
        if let Some(flight) = &mut self.flight {
            flight.progress = Progress::Verifying;
            self.read_at = now;
        }
    }

    pub(super) fn transmit(&mut self) {
        if let Some(flight) = &mut self.flight {
            flight.progress = Progress::Sent;
            let Flight { number, expected, .. } = *flight;
            self.out.push_back(Action::Append { number, expected, frame: flight.frame.clone() });
        }
    }

    /// The frame in flight is stored.
    pub(super) fn commit(&mut self, now: Duration) {
        let Some(flight) = self.flight.take() else { return };
        if !matches!(self.position.advance(&flight.frame), Ok(Verdict::Accept(_))) {
            return self.stop(Fault::Differs(flight.expected + 1));
        }
        self.reading = None;
        self.doubt = None;
        let began = matches!(self.stage, Stage::Claiming);
        let lease_until = flight.first_sent + self.times.lease;
        self.stage = Stage::Leading { lease_until, sent_at: flight.first_sent };
        self.out.push_back(Action::Accepted { position: self.position, frame: flight.frame, own: true });
        if began {
            self.out.push_back(Action::Lead { term: self.position.term });
        } else if flight.through > self.settled {
            self.settled = flight.through;
            self.out.push_back(Action::Release { through: flight.through });
        }
        self.send_next(now);
    }

    /// The slot behind the expected one was read, to find out what became of the append.
    pub(super) fn resolve(&mut self, read: Read, now: Duration) {
        let Some(flight) = &mut self.flight else { return };
        let slot = flight.expected + 1;
        match read {
            Read::Slots(slots) => match slots.into_iter().find(|(at, _)| *at == slot) {
                Some((_, bytes)) if bytes == flight.frame => self.commit(now),
                Some((_, bytes)) => self.displaced(slot, bytes, now),
                None => self.doubt(Fault::Hole(slot), now),
            },
            Read::Missing { first, .. } if first > slot => self.yield_unresolved(now),
            Read::Missing { last, .. } if last < self.position.read_to => {
                self.doubt(Fault::Lost(self.position.read_to), now);
            }
            Read::Missing { last, .. } if last >= slot => self.doubt(Fault::Hole(slot), now),
            Read::Missing { .. } => {
                self.doubt = None;
                flight.progress = Progress::Again(now + self.times.retry);
            }
            Read::Failed => {}
        }
    }

    /// Something else is where the frame in flight was to be.
    fn displaced(&mut self, slot: u64, bytes: Bytes, now: Duration) {
        match self.position.advance(&bytes) {
            Ok(Verdict::Skip) => {
                self.doubt = None;
                if let Some(flight) = &mut self.flight {
                    flight.expected = slot;
                }
                self.transmit();
            }
            Ok(Verdict::Accept(_)) => {
                self.yield_to(now);
                self.out.push_back(Action::Accepted { position: self.position, frame: bytes, own: false });
            }
            Err(contradiction) => self.contradicted(contradiction, slot, Source::Leader, now),
        }
    }
}
