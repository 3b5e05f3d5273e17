//! One story: three nodes around the real [`Replica`], clients, and what befalls them.
//!
//! Time is simulated, in microseconds. Everything that takes time is an [`Event`] in one queue; what happens at one moment happens
//! in the order in which it was caused.

mod appends;
mod faults;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;

use faults::Fault;

use super::Planted;
use super::check::{self, Op, parsed, record};
use super::stream::Stream;
use crate::log::{Action, Frame, Kind, Position, Read, Replica, Role, Source, Ticket, Times};

const NODES: usize = 3;
const CLIENTS: usize = 4;
const REGISTERS: usize = 3;
const MS: u64 = 1000;
const SECOND: u64 = 1000 * MS;

/// Faults and clients stop then; from there on all is well.
const TROUBLE: u64 = 20 * SECOND;
/// By then everything must be in order again.
const END: u64 = TROUBLE + 60 * SECOND;
/// How often a leader that is to cease tries to, a millisecond apart, until nothing is on its way.
const HAND_OVER_TRIES: u32 = 1000;
/// An answer that did not come by then never comes.
const TIMEOUT: u64 = 1500 * MS;

fn times() -> Times {
    let ms = Duration::from_millis;
    Times { lease: ms(3500), renew: ms(1000), poll: ms(500), retry: ms(150), patience: ms(12_000) }
}

/// What happened in a story, or in many.
#[derive(Debug, Default)]
pub(super) struct Summary {
    pub(super) acknowledged: u64,
    pub(super) reads: u64,
    pub(super) claims: u64,
    /// Leaders that ceased to lead for another to go on.
    pub(super) ceded: u64,
    pub(super) rebuilt: u64,
    /// Of these, those of which the log did not say what became of an append.
    pub(super) unresolved: u64,
    pub(super) restored: u64,
    pub(super) trimmed: u64,
    pub(super) stopped: u64,
}

impl Summary {
    pub(super) fn add(&mut self, other: &Summary) {
        self.acknowledged += other.acknowledged;
        self.reads += other.reads;
        self.claims += other.claims;
        self.ceded += other.ceded;
        self.rebuilt += other.rebuilt;
        self.unresolved += other.unresolved;
        self.restored += other.restored;
        self.trimmed += other.trimmed;
        self.stopped += other.stopped;
    }
}

#[derive(Debug)]
enum Event {
    Tick { node: usize, life: u64 },
    AppendArrives { node: usize, life: u64, number: u64, expected: u64, frame: Bytes },
    Committed { generation: u64, slot: u64, node: usize, life: u64, number: u64, expected: u64 },
    AppendAnswered { node: usize, life: u64, number: u64, expected: u64, answer: Answer },
    ReadArrives { node: usize, life: u64, id: u64, from: u64, source: Source },
    ReadAnswered { node: usize, life: u64, id: u64, read: Read },
    Client { client: usize },
    HandOver { to: usize, tries: u32 },
    Ceded { node: usize, life: u64, hash: u128 },
    Restore { node: usize, life: u64 },
    Capture { node: usize },
    Verify { snapshot: usize },
    Fault(Fault),
    Start { node: usize },
    Mended,
}

/// As it comes over the wire, with the number that nobody may trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Stored(u64),
    Refused(u64),
    Unknown,
}

/// What a node has computed from the log.
#[derive(Debug, Clone, Default)]
struct State {
    history: Vec<(u8, u64)>,
    registers: [u64; REGISTERS],
}

impl State {
    fn apply(&mut self, (register, value): (u8, u64)) {
        self.history.push((register, value));
        self.registers[usize::from(register) % REGISTERS] = value;
    }
}

/// A node's disk: its witness, with the state as of it.
#[derive(Debug, Clone, Default)]
struct Disk {
    position: Position,
    state: State,
}

#[derive(Debug)]
struct Snapshot {
    disk: Disk,
    is_whole: bool,
    is_verified: bool,
}

#[derive(Debug, Default)]
struct Node {
    life: u64,
    writer: u64,
    replica: Option<Replica>,
    /// Memory: what is on the disk, and what was submitted since.
    live: [u64; REGISTERS],
    disk: Disk,
    old_disk: Disk,
    /// Operations whose replies wait for a ticket.
    held: VecDeque<(Ticket, usize)>,
    paused_until: u64,
    cut_until: u64,
    /// Parts per million that its clock is fast.
    drift: i64,
    wall_offset: i64,
    tick_at: u64,
    /// A window of two: the releases that wait for their own acknowledgement, by frame.
    unconfirmed: VecDeque<(u64, Option<Ticket>)>,
}

impl Node {
    fn has_stopped(&self) -> bool {
        self.replica.as_ref().is_some_and(|replica| matches!(replica.role(), Role::Stopped(_)))
    }
}

struct Story {
    rng: Rng,
    now: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: Vec<Option<Event>>,
    free: Vec<usize>,
    caused: u64,
    stream: Stream,
    nodes: [Node; NODES],
    snapshots: Vec<Snapshot>,
    ops: Vec<Op>,
    favourite: [usize; CLIENTS],
    has_forgotten: bool,
    is_over: bool,
    planted: Option<Planted>,
    summary: Summary,
}

/// Plays the story of a seed. An error says what did not hold.
pub(super) fn play(seed: u64, planted: Option<Planted>) -> Result<Summary, String> {
    let mut story = Story::begun(seed, planted);
    story.plan(seed);
    story.run();
    story.judge()?;
    Ok(story.summary)
}

impl Story {
    fn begun(seed: u64, planted: Option<Planted>) -> Story {
        let mut rng = Rng::with_seed(seed);
        let genesis = Bytes::from(Frame::genesis(rng.u128(1..)).encode());
        Story {
            now: 0,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            free: Vec::new(),
            caused: 0,
            stream: Stream::begun(genesis),
            nodes: Default::default(),
            snapshots: Vec::new(),
            ops: Vec::new(),
            favourite: [0; CLIENTS],
            has_forgotten: false,
            is_over: false,
            planted,
            summary: Summary::default(),
            rng,
        }
    }

    fn plan(&mut self, seed: u64) {
        for node in 0..NODES {
            self.nodes[node].drift = self.rng.i64(-300..300);
            self.start(node);
        }
        for client in 0..CLIENTS {
            self.at(5 * SECOND, Event::Client { client });
        }
        let forgets = self.rng.u8(..4) == 0;
        for _ in 0..self.rng.u8(1..7) {
            let fault = match self.rng.u8(..8) {
                0 => Fault::Pause,
                1 => Fault::CutOff,
                2 => Fault::Kill,
                3 if !forgets => Fault::Wipe,
                4 if !forgets => Fault::OldDisk,
                5 => Fault::WallClock,
                6 => Fault::Damage,
                _ => Fault::FailOver,
            };
            let at = self.rng.u64(3 * SECOND..TROUBLE);
            self.at(at, Event::Fault(fault));
        }
        if forgets {
            let at = self.rng.u64(8 * SECOND..TROUBLE);
            self.at(at, Event::Fault(Fault::Forget));
        }
        for _ in 0..self.rng.u8(..4) {
            let (at, node) = (self.rng.u64(6 * SECOND..TROUBLE), self.rng.usize(..NODES));
            self.at(at, Event::Capture { node });
        }
        // In every other story: what is rare without it stays as frequent.
        let hand_overs = if seed % 2 == 1 { self.rng.u8(..4) } else { 0 };
        for _ in 0..hand_overs {
            let (at, to) = (self.rng.u64(6 * SECOND..TROUBLE), self.rng.usize(..NODES));
            self.at(at, Event::HandOver { to, tries: HAND_OVER_TRIES });
        }
        self.at(TROUBLE, Event::Mended);
    }

    fn at(&mut self, at: u64, event: Event) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[place] = Some(event);
        self.caused += 1;
        // The order of causes, and the place in the lower half.
        self.queue.push(Reverse((at, self.caused << 24 | place as u64)));
    }

    fn after(&mut self, delay: u64, event: Event) {
        self.at(self.now + delay, event);
    }

    fn run(&mut self) {
        while let Some(Reverse((at, key))) = self.queue.pop() {
            self.now = self.now.max(at);
            let place = (key & 0xff_ffff) as usize;
            let event = self.events[place].take().expect("an event is in the queue once");
            self.free.push(place);
            self.happen(event);
            if self.is_over && self.is_settled() || self.now > END {
                return;
            }
        }
    }

    /// All nodes that go on have read the same up to the end, and one leads.
    fn is_settled(&self) -> bool {
        let (last, now) = (self.stream.last(), self.now);
        let all = self.nodes.iter().filter_map(|node| Some((node, node.replica.as_ref()?)));
        let mut going = all.filter(|(node, _)| !node.has_stopped()).peekable();
        let Some((_, replica)) = going.peek() else { return true };
        let hash = replica.position().hash;
        let mut leads = false;
        going.all(|(node, replica)| {
            leads |= replica.serves(self.clock(node, now)).is_ok();
            replica.position().read_to == last && replica.position().hash == hash
        }) && leads
    }

    /// A node's clock. With the bug it is the one that people set.
    fn clock(&self, node: &Node, now: u64) -> Duration {
        let drifted = now as i64 + now as i64 * node.drift / 1_000_000;
        let set = if self.planted == Some(Planted::WallClock) { node.wall_offset } else { 0 };
        Duration::from_micros((drifted + set + 1000 * SECOND as i64) as u64)
    }

    fn happen(&mut self, event: Event) {
        if let Some(node) = event.node()
            && self.nodes[node].paused_until > self.now
        {
            let until = self.nodes[node].paused_until;
            return self.at(until, event);
        }
        match event {
            Event::Tick { node, life } => {
                self.nodes[node].tick_at = u64::MAX;
                self.with(node, life, |replica, now| replica.tick(now));
            }
            Event::AppendArrives { node, life, number, expected, frame } => {
                self.append_arrives(node, life, number, expected, frame);
            }
            Event::Committed { generation, slot, node, life, number, expected } => {
                if generation == self.stream.generation {
                    self.stream.commit(slot);
                    self.answer(node, life, number, expected, Answer::Stored(slot));
                }
            }
            Event::AppendAnswered { node, life, number, expected, answer } => {
                self.append_answered(node, life, number, expected, answer);
            }
            Event::ReadArrives { node, life, id, from, source } => {
                let read = self.stream.read(from, source, self.now, &mut self.rng);
                let (read, delay) =
                    if self.is_dropped(node) { (Read::Failed, TIMEOUT) } else { (read, self.delay()) };
                self.after(delay, Event::ReadAnswered { node, life, id, read });
            }
            Event::ReadAnswered { node, life, id, read } => {
                let read = self.unchecked(node, read);
                self.with(node, life, |replica, now| replica.on_read(id, read, now));
            }
            Event::Client { client } => self.client(client),
            Event::HandOver { to, tries } => self.hand_over(to, tries),
            Event::Ceded { node, life, hash } => {
                self.with(node, life, |replica, now| replica.on_ceded(hash, now));
            }
            Event::Restore { node, life } => self.restore(node, life),
            Event::Capture { node } => self.capture(node),
            Event::Verify { snapshot } => self.verify(snapshot),
            Event::Fault(fault) => self.fault(fault),
            Event::Start { node } => self.start(node),
            Event::Mended => self.mended(),
        }
    }

    fn delay(&mut self) -> u64 {
        match self.rng.u8(..) {
            0..250 => self.rng.u64(100..2 * MS),
            250..254 => self.rng.u64(2 * MS..300 * MS),
            _ => self.rng.u64(300 * MS..4 * SECOND),
        }
    }

    /// Whether something between a node and the log is lost.
    fn is_dropped(&mut self, node: usize) -> bool {
        !self.is_over && (self.nodes[node].cut_until > self.now || self.rng.u8(..) < 2)
    }

    /// Lets a node's replica do something, if it still lives, and does what that wants.
    fn with<T>(
        &mut self,
        node: usize,
        life: u64,
        act: impl FnOnce(&mut Replica, Duration) -> T,
    ) -> Option<T> {
        let now = self.clock(&self.nodes[node], self.now);
        if self.nodes[node].life != life {
            return None;
        }
        let done = act(self.nodes[node].replica.as_mut()?, now);
        self.carry_out(node);
        Some(done)
    }

    fn carry_out(&mut self, node: usize) {
        let life = self.nodes[node].life;
        while let Some(action) = self.nodes[node].replica.as_mut().and_then(Replica::action) {
            match action {
                Action::Append { number, expected, frame } => self.send(node, life, number, expected, frame),
                Action::Read { id, from, source } => {
                    if self.is_dropped(node) {
                        self.after(TIMEOUT, Event::ReadAnswered { node, life, id, read: Read::Failed });
                    } else {
                        let delay = self.delay();
                        self.after(delay, Event::ReadArrives { node, life, id, from, source });
                    }
                }
                Action::Accepted { position, frame, own } => self.accepted(node, position, &frame, own),
                Action::Release { through } => self.release(node, through),
                Action::Lead { .. } => self.summary.claims += 1,
                Action::Follow { rebuild, lost } => {
                    self.summary.rebuilt += u64::from(rebuild);
                    self.summary.unresolved += u64::from(lost.is_some());
                    self.deny(node, lost.filter(|_| self.planted != Some(Planted::LostDenied)));
                    self.void(node);
                }
                Action::Restore => self.after(10 * MS, Event::Restore { node, life }),
                Action::Trim { below } => self.trim(node, below),
                Action::Stop(_) => {
                    self.summary.stopped += 1;
                    self.void(node);
                }
            }
        }
        self.plan_tick(node);
    }

    fn plan_tick(&mut self, node: usize) {
        let Some(due) = self.nodes[node].replica.as_ref().and_then(Replica::due) else { return };
        let clock = self.clock(&self.nodes[node], self.now);
        let at = self.now + due.saturating_sub(clock).as_micros() as u64 + 500;
        if at < self.nodes[node].tick_at {
            self.nodes[node].tick_at = at;
            let life = self.nodes[node].life;
            self.at(at, Event::Tick { node, life });
        }
    }

    fn is_leading(&self, node: usize) -> bool {
        self.nodes[node].replica.as_ref().is_some_and(|replica| replica.role() == Role::Leading)
    }

    fn accepted(&mut self, node: usize, position: Position, frame: &[u8], own: bool) {
        let frame = Frame::decode(frame).expect("an accepted frame");
        let node = &mut self.nodes[node];
        if self.rng.u8(..8) == 0 {
            node.old_disk = node.disk.clone();
        }
        if let Kind::Effects(records) = frame.kind {
            for record in records {
                node.disk.state.apply(parsed(record));
            }
        }
        node.disk.position = position;
        if !own {
            node.live = node.disk.state.registers;
        }
    }

    fn release(&mut self, node: usize, through: Ticket) {
        if self.planted == Some(Planted::WindowOfTwo)
            && let Some((_, waits)) = self.nodes[node].unconfirmed.back_mut()
        {
            *waits = Some(through);
            return;
        }
        self.release_now(node, through);
    }

    fn release_now(&mut self, node: usize, through: Ticket) {
        while let Some((ticket, op)) = self.nodes[node].held.front().copied()
            && ticket <= through
        {
            self.nodes[node].held.pop_front();
            self.ops[op].answered = Some(self.now);
            self.summary.acknowledged += u64::from(self.ops[op].is_write);
        }
    }

    /// Who waits for what is not lost is told that it had no effect.
    fn deny(&mut self, node: usize, lost: Option<Ticket>) {
        for (ticket, op) in &self.nodes[node].held {
            self.ops[*op].is_denied = lost.is_none_or(|lost| *ticket > lost);
        }
    }

    /// Who waits gets an error, and memory is what the disk says.
    fn void(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        node.held.clear();
        node.unconfirmed.clear();
        node.live = node.disk.state.registers;
    }

    fn client(&mut self, client: usize) {
        if self.is_over {
            return;
        }
        let pause = self.rng.u64(20 * MS..800 * MS);
        self.after(pause, Event::Client { client });
        // Mostly where it was answered last; what is paused answers nobody.
        if self.rng.u8(..16) == 0 {
            self.favourite[client] = self.rng.usize(..NODES);
        }
        let node = self.favourite[client];
        let is_write = self.rng.bool();
        if self.nodes[node].paused_until > self.now || !self.ask(node, is_write) {
            self.favourite[client] = self.rng.usize(..NODES);
        }
    }

    fn ask(&mut self, node: usize, is_write: bool) -> bool {
        let (life, index) = (self.nodes[node].life, self.ops.len());
        let register = self.rng.u8(..REGISTERS as u8);
        let payload = index as u64 + 1;
        let mut op =
            Op { register, value: payload, is_write, asked: self.now, answered: None, is_denied: false };
        if !is_write && !self.nodes[node].unconfirmed.is_empty() {
            return false;
        }
        if is_write {
            // Held before the record is submitted, so that a release in the same step finds it.
            let ticket =
                self.with(node, life, |replica, now| replica.submit(&record(register, payload), now));
            let Some(Ok(ticket)) = ticket else { return false };
            self.nodes[node].live[usize::from(register)] = payload;
            self.nodes[node].held.push_back((ticket, index));
        } else {
            let Some(Ok(ticket)) = self.with(node, life, |replica, now| replica.read(now)) else {
                return false;
            };
            op.value = self.nodes[node].live[usize::from(register)];
            let settled = self.nodes[node].replica.as_ref().map_or(0, Replica::settled);
            self.summary.reads += 1;
            if ticket <= settled {
                op.answered = Some(self.now);
            } else {
                self.nodes[node].held.push_back((ticket, index));
            }
        }
        self.ops.push(op);
        true
    }

    /// Whoever leads ceases to, as soon as nothing is on its way, and tells another node so: once, twice, late or never.
    fn hand_over(&mut self, to: usize, tries: u32) {
        let leads = |node: &usize| self.is_leading(*node) && self.nodes[*node].paused_until <= self.now;
        let Some(node) = (0..NODES).find(leads) else { return };
        let life = self.nodes[node].life;
        let hash = if self.planted == Some(Planted::LeaseKept) {
            self.with(node, life, |replica, _| Some(replica.position().hash))
        } else {
            self.with(node, life, |replica, now| replica.cede(now))
        };
        let Some(hash) = hash.flatten() else {
            if tries > 0 {
                self.after(MS, Event::HandOver { to, tries: tries - 1 });
            }
            return;
        };
        self.summary.ceded += 1;
        for _ in 0..if self.is_dropped(node) { 0 } else { 1 + u8::from(self.rng.u8(..8) == 0) } {
            let (delay, life) = (self.delay(), self.nodes[to].life);
            self.after(delay, Event::Ceded { node: to, life, hash });
        }
    }

    fn capture(&mut self, node: usize) {
        if self.nodes[node].replica.is_some() && self.nodes[node].disk.position.number > 0 {
            let (disk, is_whole) = (self.nodes[node].disk.clone(), self.rng.u8(..4) != 0);
            self.snapshots.push(Snapshot { disk, is_whole, is_verified: false });
            let (snapshot, delay) = (self.snapshots.len() - 1, self.rng.u64(100 * MS..3 * SECOND));
            self.after(delay, Event::Verify { snapshot });
        }
    }

    fn verify(&mut self, snapshot: usize) {
        if self.snapshots[snapshot].is_whole {
            self.snapshots[snapshot].is_verified = true;
            let position = self.snapshots[snapshot].disk.position;
            for node in 0..NODES {
                if self.nodes[node].paused_until <= self.now {
                    self.with(node, self.nodes[node].life, |replica, _| replica.snapshot_verified(&position));
                }
            }
        }
    }

    fn trim(&mut self, node: usize, below: u64) {
        self.summary.trimmed += 1;
        let tip = self.nodes[node].disk.position.slot;
        self.stream.trim(if self.planted == Some(Planted::TrimmedAbove) { tip } else { below });
    }

    fn restore(&mut self, node: usize, life: u64) {
        if self.nodes[node].life != life {
            return;
        }
        let usable = self.snapshots.iter().filter(|snapshot| snapshot.is_verified);
        let newest = usable.map(|snapshot| &snapshot.disk).max_by_key(|disk| disk.position.slot).cloned();
        if let Some(disk) = newest
            && self.with(node, life, |replica, now| replica.restore_from(disk.position, now)) == Some(true)
        {
            self.nodes[node].live = disk.state.registers;
            self.nodes[node].disk = disk;
            self.summary.restored += 1;
        } else {
            self.after(SECOND, Event::Restore { node, life });
        }
    }

    fn judge(&self) -> Result<(), String> {
        let history = check::history(self.stream.all());
        let stopped = self.nodes.iter().filter(|node| node.has_stopped()).count();
        if self.has_forgotten && self.summary.stopped > 0 {
            // A log that forgot what it had acknowledged is beyond repair by any protocol, and somebody said so. Who goes on
            // goes on with one history.
            let mut going = self.nodes.iter().filter(|node| !node.has_stopped());
            let first = going.next();
            let same =
                |node: &Node| first.is_none_or(|first| first.disk.state.history == node.disk.state.history);
            return if going.all(same) {
                Ok(())
            } else {
                Err("the log forgot, and two histories go on".to_owned())
            };
        }
        check::kept(&history, &self.ops)?;
        check::linearizable(&history, &self.ops)?;
        if stopped > 0 {
            let roles = self.nodes.iter().filter_map(|node| node.replica.as_ref()).map(Replica::role);
            return Err(format!("a node stopped for no reason: {:?}", roles.collect::<Vec<_>>()));
        }
        for (index, node) in self.nodes.iter().enumerate() {
            if node.disk.state.history != history {
                let role = node.replica.as_ref().map(Replica::role);
                return Err(format!("node {index} ({role:?}) has another history than the log"));
            }
        }
        if !self.is_settled() {
            return Err("it did not come to rest".to_owned());
        }
        Ok(())
    }
}

impl Event {
    /// Whose process it needs.
    fn node(&self) -> Option<usize> {
        match self {
            Event::Tick { node, .. }
            | Event::AppendAnswered { node, .. }
            | Event::ReadAnswered { node, .. }
            | Event::Ceded { node, .. }
            | Event::Restore { node, .. }
            | Event::Capture { node } => Some(*node),
            _ => None,
        }
    }
}
