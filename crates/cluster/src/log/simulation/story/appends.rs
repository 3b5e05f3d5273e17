//! A story's appends and reads: on their way to the log and back, and with the bugs that are planted there.

use bytes::Bytes;

use super::{Answer, Disk, Event, MS, SECOND, Story, TIMEOUT};
use crate::log::simulation::Planted;
use crate::log::simulation::stream::Outcome;
use crate::log::{Appended, Frame, Kind, Read};

impl Story {
    pub(super) fn send(&mut self, node: usize, life: u64, number: u64, expected: u64, frame: Bytes) {
        let unknown = || Event::AppendAnswered { node, life, number, expected, answer: Answer::Unknown };
        self.after(TIMEOUT, unknown());
        let copies = if self.is_dropped(node) { 0 } else { 1 + u8::from(self.rng.u8(..) < 4) };
        for _ in 0..copies {
            let delay = self.delay();
            let frame = frame.clone();
            self.after(delay, Event::AppendArrives { node, life, number, expected, frame });
        }
        if self.planted == Some(Planted::WindowOfTwo) && self.is_leading(node) {
            let unconfirmed = &mut self.nodes[node].unconfirmed;
            if unconfirmed.len() < 2 && unconfirmed.iter().all(|(n, _)| *n != number) {
                unconfirmed.push_back((number, None));
                let stored = Appended::Stored(expected + 1);
                self.nodes[node].unconfirmed.back_mut().expect("pushed").1 = None;
                let now = self.clock(&self.nodes[node], self.now);
                if let Some(replica) = &mut self.nodes[node].replica {
                    replica.on_append(number, expected, stored, now);
                }
            }
        }
    }

    pub(super) fn append_arrives(
        &mut self,
        node: usize,
        life: u64,
        number: u64,
        expected: u64,
        frame: Bytes,
    ) {
        match self.stream.append(expected, frame, self.now) {
            Outcome::Proposed(slot) => {
                let (sync, generation) = (self.rng.u64(300..4 * MS), self.stream.generation);
                self.after(sync, Event::Committed { generation, slot, node, life, number, expected });
            }
            Outcome::Refused(last) => self.answer(node, life, number, expected, Answer::Refused(last)),
            Outcome::Unavailable if self.rng.bool() => {
                self.answer(node, life, number, expected, Answer::Unknown);
            }
            Outcome::Unavailable => {}
        }
    }

    pub(super) fn answer(&mut self, node: usize, life: u64, number: u64, expected: u64, answer: Answer) {
        if !self.is_dropped(node) {
            let delay = self.delay();
            self.after(delay, Event::AppendAnswered { node, life, number, expected, answer });
        }
    }

    pub(super) fn append_answered(
        &mut self,
        node: usize,
        life: u64,
        number: u64,
        expected: u64,
        answer: Answer,
    ) {
        if self.planted == Some(Planted::WindowOfTwo) && self.nodes[node].life == life {
            self.confirm(node, number, expected, answer);
        }
        let appended = match answer {
            Answer::Stored(slot) => Appended::Stored(slot),
            Answer::Refused(last)
                if self.planted == Some(Planted::RefusalTrusted) && last == expected + 1 =>
            {
                Appended::Stored(last)
            }
            Answer::Refused(_) => Appended::Refused,
            Answer::Unknown => Appended::Unknown,
        };
        self.with(node, life, |replica, now| replica.on_append(number, expected, appended, now));
    }

    /// A window of two: a frame's replies go when its own acknowledgement comes. After a refusal the node starts anew.
    fn confirm(&mut self, node: usize, number: u64, expected: u64, answer: Answer) {
        let unconfirmed = &mut self.nodes[node].unconfirmed;
        let Some(place) = unconfirmed.iter().position(|(n, _)| *n == number) else { return };
        match answer {
            Answer::Stored(slot) if slot == expected + 1 => {
                if let Some((_, Some(through))) = unconfirmed.remove(place) {
                    self.release_now(node, through);
                }
            }
            Answer::Refused(_) => {
                self.kill(node);
                self.nodes[node].disk = Disk::default();
                self.after(SECOND, Event::Start { node });
            }
            Answer::Stored(_) | Answer::Unknown => {}
        }
    }

    /// Without a check of the chain: every frame is made one that continues what was read.
    pub(super) fn unchecked(&self, node: usize, read: Read) -> Read {
        let Some(replica) = &self.nodes[node].replica else { return read };
        let (Some(Planted::ChainUnchecked), Read::Slots(slots)) = (self.planted, &read) else { return read };
        let mut position = *replica.position();
        if let Some((slot, _)) = slots.first()
            && *slot <= position.read_to
        {
            return Read::Missing { first: slot + 1, last: position.read_to };
        }
        let mut taken = Vec::new();
        for (slot, bytes) in slots {
            let Ok(frame) = Frame::decode(bytes) else { break };
            let is_own = frame.writer == self.nodes[node].writer;
            let (previous, number) = (position.hash, position.number + 1);
            let forged = match frame.kind {
                _ if position.number == 0 || is_own || frame.term < position.term => frame,
                Kind::Effects(_) => {
                    Frame { previous, number, term: position.term, writer: position.writer, ..frame }
                }
                _ => Frame { previous, number, ..frame },
            };
            let bytes = Bytes::from(forged.encode());
            if position.advance(&bytes).is_err() {
                break;
            }
            taken.push((*slot, bytes));
        }
        if taken.is_empty() { read } else { Read::Slots(taken) }
    }
}
