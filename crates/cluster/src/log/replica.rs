//! A node's part in the protocol: what arrives and the time go in, [`Action`]s come out. No socket, thread or clock is here.
//!
//! ```text
//!                       silence > lease, caught up              stored, or read back
//!   Checking ─► Following ───────────────────────► Claiming ───────────────────────► Leading ◄─┐ an append
//!      │         ▲  │  ▲                              │                                │   │   │ is stored
//!      │         │  │  └── another's frame is there ──┘                                │   ▼   │
//!      │         │  │                                                                  │  (suspended: the lease is over)
//!      │         │  └─► Restoring ─► (a snapshot)                                      │
//!      │         └───────────── another's claim is read: what waits is void ───────────┘
//!      └──► Stopped ◄── from anywhere: the log ends before, or differs from, what this node has read
//! ```
//!
//! **One append is in flight.** What is submitted meanwhile waits and makes the next frame. An append counts when it is acknowledged
//! for exactly the expected slot + 1, or when its bytes are read there. Whatever else comes back says nothing: the same bytes are
//! sent again with the same expectation, or that slot is read: own bytes, stored; another's frame that counts, deposed; one that
//! counts for nobody, the same frame one slot on; nothing, again. Without a lease nothing is sent before the frame before was
//! seen to be there still.
//!
//! **A leader may hand over** before its lease ends: where nothing waits or is in flight it ceases to lead, and says so by the hash of
//! the last frame. Who has read that frame last may claim at once: no lease is left that any node could act by. If nobody does, all claim as
//! after any other silence, and the one that has handed over before others.
//!
//! **The lease** begins when the last stored frame was first sent, on the clock that is passed in, which must be monotonic. Without
//! a lease the leader takes no command and answers no read, but is not deposed: its next stored frame resumes it. A follower
//! claims after a longer silence than any lease, counted from when it *read* the last frame, and only at the log's end:
//! the claim expects the slot that it has read to.
//!
//! **Readers** read on from their position, wherever it is quickest; a hole, damage or a contradiction is asked for again, there
//! and at the stream's leader, for `patience`, and then stops the node. Nobody passes over what he can't read.
//!
//! Invariants: `settled ≤ submitted`; a frame in flight continues `position`; while one is, `position` stands still.

mod appending;
mod reading;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::action::{Action, Appended, Fault, Read, Refused, Role, Source, Ticket, Times};
use super::frame::{FRAME_BYTES, LENGTH_BYTES, RECORD_BYTES_MAX, push_record};
use super::position::Position;

/// What may wait for the append in flight. At 40 MB/s, more than a lease's time.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// How often a slot is asked for, at least, before what is wrong with it counts as lasting: half of them go to any of three replicas,
/// of which one may have the hole, and while a node is cut off its patience runs without a try. With 6, one story in 200 000 ended so.
const TRIES_MIN: u32 = 24;

/// A node that has ceased to lead claims again after so many pauses, if nobody has.
const CEDED_RETRIES: u32 = 10;

#[derive(Debug, Clone, Copy)]
enum Stage {
    Checking,
    Following { silent_since: Duration, caught_up: bool },
    Claiming,
    Leading { lease_until: Duration, sent_at: Duration },
    Restoring,
    Stopped(Fault),
}

/// The append in flight.
#[derive(Debug)]
struct Flight {
    frame: Bytes,
    number: u64,
    expected: u64,
    /// When its bytes went out for the first time: no copy can have been stored before.
    first_sent: Duration,
    through: Ticket,
    progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// An answer is to come.
    Sent,
    /// To be sent again then.
    Again(Duration),
    /// Its slot is being read.
    Resolving,
    /// Not sent yet, or not again: whether the log still holds the frame before is being read.
    Verifying,
}

#[derive(Debug)]
struct Reading {
    id: u64,
    source: Source,
}

/// Something looks wrong, since when and how often.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    fault: Fault,
    since: Duration,
    tries: u32,
}

/// Records that make one frame.
#[derive(Debug, Default)]
struct Batch {
    records: Vec<u8>,
    through: Ticket,
    /// Nothing joins it.
    is_closed: bool,
}

/// A node's part. See the module.
#[derive(Debug)]
pub struct Replica {
    writer: u64,
    name: Vec<u8>,
    times: Times,
    /// How much longer than others it waits before it claims to lead.
    reluctance: Duration,
    /// The leader has ceased to lead with the frame of this hash: from then on this node may claim.
    ceded: Option<(u128, Duration)>,
    position: Position,
    stage: Stage,
    flight: Option<Flight>,
    waiting: VecDeque<Batch>,
    waiting_bytes: usize,
    submitted: Ticket,
    settled: Ticket,
    reading: Option<Reading>,
    reads: u64,
    read_at: Duration,
    is_hinted: bool,
    /// It has read to the log's end since it could not read for longer than a lease, and when it last could.
    is_current: bool,
    answered_at: Duration,
    doubt: Option<Doubt>,
    out: VecDeque<Action>,
}

impl Replica {
    /// A node at its start. `writer` is drawn anew for each start; `witness` is what its own journal says it has read.
    pub fn new(writer: u64, name: &str, times: Times, witness: Position, now: Duration) -> Replica {
        let is_new = witness.number == 0;
        let following = Stage::Following { silent_since: now, caught_up: false };
        Replica {
            writer,
            name: name.as_bytes().to_vec(),
            times,
            reluctance: Duration::ZERO,
            ceded: None,
            position: witness,
            stage: if is_new { following } else { Stage::Checking },
            flight: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            submitted: 0,
            settled: 0,
            reading: None,
            reads: 0,
            read_at: now,
            is_hinted: false,
            is_current: false,
            answered_at: now,
            doubt: None,
            out: VecDeque::new(),
        }
    }

    /// How much longer than others it waits before it claims to lead: another node is to come first.
    pub fn set_reluctance(&mut self, reluctance: Duration) {
        self.reluctance = reluctance;
    }

    /// Ceases to lead, for another node to go on: the hash of the last frame, with which that may claim ([`Replica::on_ceded`]).
    /// `None`: something waits, or is in flight. Nobody may act by this node's lease any more, which the caller has seen to.
    pub fn cede(&mut self, now: Duration) -> Option<u128> {
        let is_idle = self.flight.is_none() && self.waiting.is_empty() && self.settled == self.submitted;
        if !is_idle || !matches!(self.stage, Stage::Leading { .. }) {
            return None;
        }
        self.resign(None, now);
        let hash = self.position.hash;
        self.ceded = Some((hash, now + self.times.retry * CEDED_RETRIES));
        Some(hash)
    }

    /// The node that leads has ceased to with the frame of this hash, and this one is to go on.
    pub fn on_ceded(&mut self, hash: u128, now: Duration) {
        self.ceded = Some((hash, now));
        self.tick(now);
    }

    /// From when on this node may claim without having waited for a lease to end.
    fn may_claim_from(&self) -> Option<Duration> {
        self.ceded.filter(|(hash, _)| *hash == self.position.hash).map(|(_, from)| from)
    }

    /// The next thing to do.
    pub fn action(&mut self) -> Option<Action> {
        self.out.pop_front()
    }

    /// How far the log was read and accepted.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// What this node is at the moment.
    pub fn role(&self) -> Role {
        match self.stage {
            Stage::Checking => Role::Checking,
            Stage::Following { .. } => Role::Following,
            Stage::Claiming => Role::Claiming,
            Stage::Leading { .. } => Role::Leading,
            Stage::Restoring => Role::Restoring,
            Stage::Stopped(fault) => Role::Stopped(fault),
        }
    }

    /// Whether commands may run here now. Else: who is to wait, and who is to go elsewhere.
    pub fn serves(&self, now: Duration) -> Result<(), Refused> {
        match self.stage {
            Stage::Leading { lease_until, .. } if now < lease_until => Ok(()),
            Stage::Leading { .. } => Err(Refused::Suspended),
            _ => Err(Refused::NotLeader),
        }
    }

    /// Whether this node has what the log has, but for what is on its way here.
    pub fn is_current(&self, now: Duration) -> bool {
        match self.stage {
            Stage::Leading { lease_until, .. } => now < lease_until,
            Stage::Following { .. } | Stage::Claiming => {
                self.is_current && now <= self.answered_at + self.times.lease
            }
            Stage::Checking | Stage::Restoring | Stage::Stopped(_) => false,
        }
    }

    /// Takes the effects of a command that has run. Its reply waits for the ticket.
    pub fn submit(&mut self, record: &[u8], now: Duration) -> Result<Ticket, Refused> {
        self.serves(now)?;
        if record.len() > RECORD_BYTES_MAX {
            return Err(Refused::TooLong);
        }
        if self.waiting_bytes + record.len() > WAITING_BYTES_MAX {
            return Err(Refused::Full);
        }
        self.queue(&[], record, false);
        self.send_next(now);
        Ok(self.submitted)
    }

    /// Takes the effects of a command that has run while this node had a lease, though it may be over by now: `head` and `record`, of
    /// at most [`RECORD_BYTES_MAX`] bytes together, in a frame of their own if they are `alone`. [`Replica::tick`] sends them. `None`: this node does
    /// not lead, and it never happened. What may wait is the caller's to limit.
    pub fn enqueue(&mut self, head: &[u8], record: &[u8], alone: bool) -> Option<Ticket> {
        if !matches!(self.stage, Stage::Leading { .. }) || head.len() + record.len() > RECORD_BYTES_MAX {
            return None;
        }
        self.queue(head, record, alone);
        Some(self.submitted)
    }

    fn queue(&mut self, head: &[u8], record: &[u8], alone: bool) {
        let bytes = LENGTH_BYTES + head.len() + record.len();
        self.submitted += 1;
        self.waiting_bytes += bytes;
        let fits = |batch: &Batch| !batch.is_closed && batch.records.len() + bytes <= FRAME_BYTES;
        if alone || !self.waiting.back().is_some_and(fits) {
            self.waiting.push_back(Batch::default());
        }
        if let Some(batch) = self.waiting.back_mut() {
            push_record(&mut batch.records, head, record);
            batch.through = self.submitted;
            batch.is_closed = alone;
        }
    }

    /// Until when commands may run here, if this node leads.
    pub fn lease_until(&self) -> Option<Duration> {
        match self.stage {
            Stage::Leading { lease_until, .. } => Some(lease_until),
            _ => None,
        }
    }

    /// Whether an append is under way.
    pub fn is_appending(&self) -> bool {
        self.flight.is_some()
    }

    /// A read of memory: its reply waits for this ticket, because it may have seen what is not stored yet.
    pub fn read(&self, now: Duration) -> Result<Ticket, Refused> {
        self.serves(now).map(|()| self.submitted)
    }

    /// The last ticket that waits for nothing more: released, or void.
    pub fn settled(&self) -> Ticket {
        self.settled
    }

    /// Somebody says that the log has grown.
    pub fn on_hint(&mut self, now: Duration) {
        self.is_hinted = true;
        if self.doubt.is_none() {
            self.read_at = now;
        }
        self.tick(now);
    }

    /// Whether a verified snapshot as of `position` may take the place of what this node has. If so, the node goes on from there;
    /// a later one that can't be a continuation stops it.
    pub fn restore_from(&mut self, position: Position, now: Duration) -> bool {
        if !matches!(self.stage, Stage::Restoring) || position.slot <= self.position.slot {
            return false;
        }
        let fits = self.position.leads_to(&position);
        if fits {
            self.position = position;
            self.is_current = false;
            self.follow(now);
            self.tick(now);
        } else {
            self.stop(Fault::Differs(position.slot));
        }
        fits
    }

    /// A snapshot as of `position` was read back whole: what it holds, the log need not.
    pub fn snapshot_verified(&mut self, position: &Position) {
        let is_ours =
            position.incarnation == self.position.incarnation && position.slot <= self.position.slot;
        if matches!(self.stage, Stage::Leading { .. }) && is_ours {
            self.out.push_back(Action::Trim { below: position.slot });
        }
    }

    /// What came of [`Action::Append`]. Answers to earlier appends are told by number and expectation.
    pub fn on_append(&mut self, number: u64, expected: u64, appended: Appended, now: Duration) {
        let Some(flight) = &mut self.flight else { return };
        if (flight.number, flight.expected) != (number, expected) {
            return;
        }
        match appended {
            Appended::Stored(slot) if slot == expected + 1 => self.commit(now),
            Appended::Stored(_) | Appended::Refused => {
                flight.progress = Progress::Resolving;
                self.read_at = now;
            }
            Appended::Unknown if flight.progress == Progress::Sent => {
                flight.progress = Progress::Again(now + self.times.retry);
            }
            Appended::Unknown => {}
        }
        self.tick(now);
    }

    /// What came of [`Action::Read`].
    pub fn on_read(&mut self, id: u64, read: Read, now: Duration) {
        let Some(reading) = self.reading.take_if(|reading| reading.id == id) else { return };
        match self.stage {
            _ if read == Read::Failed => self.read_at = now + self.times.retry,
            Stage::Checking => self.check(read, now),
            Stage::Following { .. } => self.tail(read, reading.source, now),
            Stage::Claiming | Stage::Leading { .. } => match &self.flight {
                Some(Flight { progress: Progress::Verifying, .. }) => self.check(read, now),
                _ => self.resolve(read, now),
            },
            Stage::Restoring | Stage::Stopped(_) => {}
        }
        self.tick(now);
    }

    /// Does what is due. To be called when [`Replica::due`] says so, or later.
    pub fn tick(&mut self, now: Duration) {
        match self.stage {
            Stage::Checking => self.want(self.position.slot, self.surest(), now),
            Stage::Following { silent_since, caught_up } => {
                let may_claim = self.doubt.is_none() && self.position.number > 0;
                let is_silent = caught_up && now >= silent_since + self.claim_after();
                let is_ceded = self.may_claim_from().is_some_and(|from| now >= from);
                if may_claim && (is_silent || is_ceded) {
                    self.claim(now);
                } else {
                    // In doubt, every second time at the leader.
                    let at_leader = self.doubt.is_some_and(|doubt| doubt.tries % 2 == 0);
                    let source = if at_leader { Source::Leader } else { Source::Any };
                    self.want(self.position.read_to + 1, source, now);
                }
            }
            Stage::Claiming | Stage::Leading { .. } => match &self.flight {
                Some(Flight { progress: Progress::Again(at), .. }) if now >= *at => self.send(now),
                Some(Flight { progress: Progress::Verifying, .. }) => {
                    self.want(self.position.slot, self.surest(), now);
                }
                Some(Flight { progress: Progress::Resolving, expected, .. }) => {
                    self.want(expected + 1, self.surest(), now);
                }
                Some(_) => {}
                None => self.send_next(now),
            },
            Stage::Restoring | Stage::Stopped(_) => {}
        }
    }

    /// When [`Replica::tick`] has something to do, if nothing arrives before.
    pub fn due(&self) -> Option<Duration> {
        let read_at = if self.reading.is_none() { Some(self.read_at) } else { None };
        match (self.stage, &self.flight) {
            (Stage::Checking, _) => read_at,
            (Stage::Following { silent_since, caught_up }, _)
                if self.doubt.is_none() && self.position.number > 0 =>
            {
                let silent_at = caught_up.then(|| silent_since + self.claim_after());
                [read_at, silent_at, self.may_claim_from()].into_iter().flatten().min()
            }
            (Stage::Following { .. }, _) => read_at,
            (_, Some(Flight { progress: Progress::Again(at), .. })) => Some(*at),
            (_, Some(Flight { progress: Progress::Resolving | Progress::Verifying, .. })) => read_at,
            (Stage::Leading { sent_at, .. }, None) => Some(sent_at + self.times.renew),
            _ => None,
        }
    }

    /// Longer than a lease by more than two clocks drift apart in that time, and not the same on all nodes.
    fn claim_after(&self) -> Duration {
        let own = self.times.lease / 32 * (self.writer % 16) as u32;
        self.times.lease + self.times.lease / 4 + own + self.reluctance
    }

    /// Leads, or wants to, no more.
    fn yield_to(&mut self, now: Duration) {
        self.resign(None, now);
    }

    /// The same, and the log no longer holds the slot that says what became of the append in flight.
    fn yield_unresolved(&mut self, now: Duration) {
        let lost = self.flight.as_ref().map(|flight| flight.through);
        self.resign(lost.filter(|through| *through > self.settled), now);
        self.restore();
    }

    fn resign(&mut self, lost: Option<Ticket>, now: Duration) {
        let led = matches!(self.stage, Stage::Leading { .. });
        let rebuild = self.submitted > self.settled;
        self.follow(now);
        if led {
            self.out.push_back(Action::Follow { rebuild, lost });
        }
    }

    fn follow(&mut self, now: Duration) {
        self.leave();
        self.stage = Stage::Following { silent_since: now, caught_up: false };
        self.read_at = now;
    }

    fn restore(&mut self) {
        self.leave();
        self.stage = Stage::Restoring;
        self.out.push_back(Action::Restore);
    }

    fn stop(&mut self, fault: Fault) {
        self.leave();
        self.stage = Stage::Stopped(fault);
        self.out.push_back(Action::Stop(fault));
    }

    fn leave(&mut self) {
        self.flight = None;
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.settled = self.submitted;
        self.reading = None;
        self.doubt = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers the next read: the log ends there.
    fn read_to_the_end(replica: &mut Replica, now: Duration) {
        replica.tick(now);
        while let Some(action) = replica.action() {
            if let Action::Read { id, .. } = action {
                return replica.on_read(id, Read::Missing { first: 1, last: 0 }, now);
            }
        }
        panic!("it asks for nothing");
    }

    #[test]
    fn a_node_is_current_from_when_it_has_read_to_the_end_until_it_could_not_read_for_longer_than_a_lease() {
        let (at, times) = (Duration::from_secs, Times::default());
        let mut replica = Replica::new(7, "node", times, Position::default(), at(0));
        assert!(!replica.is_current(at(0)));
        read_to_the_end(&mut replica, at(1));
        assert!(replica.is_current(at(1)) && replica.is_current(at(1) + times.lease));
        read_to_the_end(&mut replica, at(3));
        assert!(replica.is_current(at(6)) && !replica.is_current(at(7)));
        read_to_the_end(&mut replica, at(60));
        assert!(replica.is_current(at(60)));
    }
}
