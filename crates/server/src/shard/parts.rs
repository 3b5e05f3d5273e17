//! Requests that are executed a part at a time, so that nobody waits long for one that names a million channels.
//!
//! ```text
//!   dispatch ─► checked, and long? ─► Wait::Parts ─► a part a turn, as a request of its own ─► … ─► the rest of the reply
//!                                          ▲   the connection reads nothing meanwhile   │
//!                                          └──────────── more is left ──────────────────┘
//! ```
//!
//! 1. A row whose names are taken one after the other (`Flags::IN_PARTS`) is checked once, as every request is.
//! 2. Each part is executed for some names, and parts go on until the connection has had its time.
//! 3. The parts' replies become one: confirmations follow each other, numbers are added, arrays are joined.
//!
//! Between two parts others are served, so a long request is not one moment: what somebody else does meanwhile may be seen
//! by its later parts. Up to [`whole_max`] arguments it is one, and so is any between MULTI and EXEC, where no
//! request has more than `KEY_ARGUMENTS_MAX`; what walks past everything, or leaves it, goes on in the transaction's slices.
//!
//! A long reply is made in the same way, from copies that its command left (`sterna_keyspace::Steps`): it is one moment all the
//! same.
//!
//! What walks everything that there is (PUBSUB CHANNELS, KEYS) and what leaves everything that it has (UNSUBSCRIBE without
//! names, RESET, a client that is gone) is worked off in the same way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use sterna_command::{Flags, Group, Keys, NAMES_BYTES_MAX, ReplyShape, Row};
use sterna_keyspace::{Error, Garbage, Steps, Stride};
use sterna_protocol::{Args, LongRequest, OwnedArgs, Parser, Reply};
use sterna_pubsub::Kind;

use crate::connection::CloseReason;
use crate::connection::chunk;
use crate::connection::output::OutputQueue;
use crate::connection::state::{ConnectionRef, Wait};
use crate::directory::STRIPES;
use crate::parcel::Namespace;
use crate::shard::Shard;
use crate::shard::current::QueuedParts;
use crate::shard::long::Prepared;
use crate::shard::populate::Populate;
use crate::shard::track::PART_PREFIXES;
use crate::slots::SlotWalk;

/// Confirmations of a subscription that are made together.
pub(crate) const PART_SUBSCRIPTIONS: usize = 128;

/// Watches that end at once: some 0.1 ms.
pub(crate) const PART_WATCHES: usize = 512;

/// Time spent in one turn on what connections had that are gone.
const LEAVE_TIME_MAX: Duration = Duration::from_micros(500);

/// What RESET ends, and a client that leaves.
pub(crate) const ALL_KINDS: [Kind; 3] = [Kind::Channel, Kind::Pattern, Kind::Sharded];

/// Clients, or users, that are listed at once: some 0.1 ms.
const LISTED_MAX: usize = 32;

/// Channels, or keys, that are walked past together.
pub(crate) const PART_WALK: usize = 1024;

/// Names that are taken together before it is known how long what is answered for each is.
const PART_FIRST: usize = 8;

/// Bytes of names that are taken together, and of what is answered for them.
pub(crate) const PART_BYTES: usize = 256 << 10;

/// As many as [`PART_WALK`] names of usual length take, with a pattern that looks for something within them: where they are few, their
/// walk is one part.
pub(crate) const WHOLE_BYTES: usize = 2 << 20;

/// A request that is not done when its turn is over.
#[derive(Debug)]
pub(crate) struct Parts {
    row: &'static Row,
    work: Work,
    /// It waits for the end of a script: see `turns.rs`.
    ticket: Option<u64>,
}

impl Parts {
    /// Whether it mails what it makes.
    fn is_message(&self) -> bool {
        matches!(self.work, Work::Message { .. })
    }

    /// Whether its next part is executed on keys.
    fn needs_keys(&self) -> bool {
        match &self.work {
            Work::Names { .. } => self.row.spec.group != Group::Pubsub,
            Work::Walk { walk: Walk::Keys { .. } | Walk::Slots(_), .. } | Work::Populate(_) => true,
            // It is prepared without them, and others wait for that.
            Work::Walk { .. } | Work::Leave { .. } | Work::Steps(_) | Work::Message { .. } => false,
        }
    }
}

#[derive(Debug)]
enum Work {
    /// The row, for some of its names at a time. The request is handed over once its first bytes have been let go.
    Names { request: Option<LongRequest>, total: Total },
    /// Ends every subscription of these kinds; where they are confirmed, each is.
    Leave { kinds: &'static [Kind], confirms: bool },
    /// Makes a reply from copies of values.
    Steps(Box<dyn Steps>),
    /// Collects names, and then answers them.
    Walk { walk: Walk, found: Found },
    /// Makes keys.
    Populate(Box<Populate>),
    /// Makes the frames of a long message, and publishes it. The request is handed over as that of `Names`.
    Message { space: Namespace, request: Option<LongRequest>, prepared: Prepared },
}

/// What is walked past, and from where on.
#[derive(Debug)]
pub(crate) enum Walk {
    /// The channels of a directory that match, and those of other nodes that none here has, in lists. `of_stripe`: those before `stripe` that
    /// have yet to be looked at.
    Channels {
        space: Namespace,
        pattern: Option<Box<[u8]>>,
        stripe: usize,
        of_stripe: Vec<Arc<[u8]>>,
        elsewhere: Vec<Vec<Arc<[u8]>>>,
    },
    /// The keys of a database that match.
    Keys { db: usize, pattern: Box<[u8]>, partition: usize, from: u64 },
    /// All keys, by slot.
    Slots(Box<SlotWalk>),
    /// All has been seen.
    Done,
}

/// Names that a walk has collected, as many lists as it took steps: a list is let go when it has been answered, so that a
/// million names are never moved or freed at once.
#[derive(Debug, Default)]
struct Found {
    lists: VecDeque<std::vec::IntoIter<Arc<[u8]>>>,
    count: usize,
}

impl Found {
    fn add(&mut self, names: Vec<Arc<[u8]>>) {
        self.count += names.len();
        if !names.is_empty() {
            self.lists.push_back(names.into_iter());
        }
    }

    /// Answers some of them; true: those were the last.
    fn answer_some(&mut self, reply: &mut Reply<'_>) -> bool {
        let mut stride = Stride::new(PART_WALK, PART_BYTES, None);
        while let Some(list) = self.lists.front_mut() {
            for name in list {
                reply.bulk(&name);
                stride.pass(name.len());
                if stride.is_over() {
                    return false;
                }
            }
            self.lists.pop_front();
        }
        true
    }
}

/// What comes after a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Part,
    /// It was the last.
    End,
    /// It once more, when its keys are free.
    Again,
}

impl Next {
    fn after(is_done: bool) -> Next {
        if is_done { Next::End } else { Next::Part }
    }
}

/// What became of a part of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PartEnd {
    Done,
    /// Its error is the reply to the whole.
    Failed,
    /// It has yet to be run: a transaction has the keys to itself.
    KeysTaken,
}

/// How the replies of parts become one.
#[derive(Debug)]
enum Total {
    /// They follow each other.
    Frames,
    /// They are added.
    Sum(i64),
    /// Their elements follow each other, behind one header; so many names are taken next.
    Elements { is_announced: bool, most: usize },
}

impl Total {
    fn of(row: &Row) -> Total {
        match row.spec.reply {
            [ReplyShape::Integer, ..] => Total::Sum(0),
            [ReplyShape::Array, ..] => Total::Elements { is_announced: false, most: PART_FIRST },
            _ => Total::Frames,
        }
    }
}

/// Arguments up to which a row that can be executed in parts is executed whole.
pub(crate) fn whole_max(row: &Row) -> usize {
    let on_keys = row.spec.keys != Keys::None && row.spec.group != Group::Pubsub;
    if on_keys { WHOLE_KEYS_MAX } else { PART_SUBSCRIPTIONS }
}

/// Keys that are one moment to a row that can be executed in parts: some milliseconds, if none of them is in a cache.
const WHOLE_KEYS_MAX: usize = 8_192;

impl Shard {
    /// Whether the request is to be executed in parts; then it is begun.
    #[inline]
    pub(crate) fn begins_in_parts(&mut self, slot: usize, row: &'static Row, args: Args<'_>) -> bool {
        if !row.has(Flags::IN_PARTS) {
            return false;
        }
        let is_long = args.len() > whole_max(row) || args.extent() > NAMES_BYTES_MAX;
        let work = if is_long && !row.has(Flags::ALL_KEYS) {
            Work::Names { request: None, total: Total::of(row) }
        } else if row.has(Flags::ALL_KEYS) && self.walk_is_long(slot, args) {
            let db = usize::from(self.connections[slot].db);
            let pattern = args.get(1).unwrap_or_default().into();
            let walk = Walk::Keys { db, pattern, partition: 0, from: 0 };
            Work::Walk { walk, found: Found::default() }
        } else {
            return false;
        };
        self.begin_parts(slot, row, work);
        true
    }

    /// Whether it may take long to walk past all keys of the connection's database.
    fn walk_is_long(&self, slot: usize, args: Args<'_>) -> bool {
        let db = usize::from(self.connections[slot].db);
        let (keys, bytes) = self.server.partitions.names(db..db + 1);
        !Stride::of_keys(PART_WALK, WHOLE_BYTES, args.get(1)).has_room(keys, bytes)
    }

    fn begin_parts(&mut self, slot: usize, row: &'static Row, work: Work) {
        let parts = Parts { row, work, ticket: None };
        if matches!(self.current.queued_parts, QueuedParts::Allowed) {
            debug_assert!(!parts.needs_keys() && !parts.is_message(), "a transaction holds the keys");
            self.current.queued_parts = QueuedParts::Begun(Box::new(parts));
            return;
        }
        self.parts.insert(self.connections[slot].me, parts);
        self.wait(slot, Wait::Parts, None);
        self.make_ready(slot);
    }

    /// Ends the connection's subscriptions of these kinds, a part at a time. False if there are so few that a command does
    /// it itself.
    pub(crate) fn leaves_in_parts(
        &mut self,
        slot: usize,
        row: &'static Row,
        kinds: &'static [Kind],
        confirms: bool,
    ) -> bool {
        let held = &self.connections[slot].subscriptions;
        let is_long = kinds.iter().map(|&kind| held.len(kind)).sum::<usize>() > PART_SUBSCRIPTIONS
            || kinds.iter().map(|&kind| held.name_bytes(kind)).sum::<usize>() > PART_BYTES;
        if is_long {
            self.begin_parts(slot, row, Work::Leave { kinds, confirms });
        }
        is_long
    }

    /// Makes the reply a step at a time.
    pub(crate) fn reply_in_steps(&mut self, slot: usize, row: &'static Row, steps: Box<dyn Steps>) {
        self.begin_parts(slot, row, Work::Steps(steps));
    }

    /// Makes keys, some at a time.
    pub(crate) fn populate_in_parts(&mut self, slot: usize, row: &'static Row, work: Populate) {
        self.begin_parts(slot, row, Work::Populate(Box::new(work)));
    }

    /// Whether the reply to what the connection has asked for is being made in steps.
    #[inline]
    pub(crate) fn replies_in_steps(&self, slot: usize) -> bool {
        if self.parts.is_empty() {
            return false;
        }
        let parts = self.connections.get(slot).and_then(|connection| self.parts.get(&connection.me));
        matches!(parts, Some(Parts { work: Work::Steps(_), .. }))
    }

    /// Publishes a long message when its frames have been made, a piece at a time.
    pub(super) fn publish_in_parts(&mut self, slot: usize, row: &'static Row, space: Namespace) {
        self.begin_parts(slot, row, Work::Message { space, request: None, prepared: Prepared::default() });
    }

    /// Lets go of what a request was worked off from: copies of values, and long messages, may be slow to free.
    pub(super) fn let_go(&mut self, parts: Parts) {
        parts.ticket.into_iter().for_each(|ticket| self.forget_turn(ticket));
        match parts.work {
            Work::Steps(steps) => self.server.reclaimer.free(vec![Garbage::of_steps(steps)]),
            Work::Message { request, mut prepared, .. } => {
                self.free_matches(&mut prepared);
                request.into_iter().for_each(|request| chunk::free_long(request.into_buf()));
            }
            _ => {}
        }
    }

    /// Answers what is walked past, a part at a time.
    pub(crate) fn walk_in_parts(&mut self, slot: usize, row: &'static Row, walk: Walk) {
        self.begin_parts(slot, row, Work::Walk { walk, found: Found::default() });
    }

    /// Whether what is executed in parts, or apart, has yet to be given its request.
    pub(super) fn awaits_request(&self, slot: usize) -> bool {
        if self.task_awaits_request() || self.current.queued_without_request {
            return true;
        }
        if self.parts.is_empty() {
            return false;
        }
        let parts = self.connections.get(slot).and_then(|connection| self.parts.get(&connection.me));
        matches!(
            parts,
            Some(Parts { work: Work::Names { request: None, .. } | Work::Message { request: None, .. }, .. })
        )
    }

    /// Gives it the request, which `parser` has found at `start` in `buf`.
    pub(super) fn hand_over(&mut self, slot: usize, buf: Vec<u8>, start: usize, parser: Parser) {
        if self.current.queued_without_request {
            return self.hand_over_to_queue(slot, OwnedArgs::of_request(buf, parser));
        }
        if self.task_awaits_request() {
            return self.hand_over_to_task(|head| LongRequest::new(buf, start, parser, head));
        }
        let Some(me) = self.connections.get(slot).map(|connection| connection.me) else { return };
        let Some(parts) = self.parts.get_mut(&me) else { return };
        if let Work::Names { request, .. } | Work::Message { request, .. } = &mut parts.work {
            let head = 1 + usize::from(parts.row.parent.is_some());
            *request = Some(LongRequest::new(buf, start, parser, head));
        }
    }

    /// Closes a connection with very many subscriptions, watched keys or prefixes: the socket at once, these a part at a time. True
    /// if it is on its way; false if it has so few that it can be closed now.
    pub(super) fn closes_in_parts(&mut self, slot: usize, reason: CloseReason) -> bool {
        let connection = &mut self.connections[slot];
        if connection.is_leaving {
            return true;
        }
        let name_bytes = ALL_KINDS.iter().map(|&kind| connection.subscriptions.name_bytes(kind));
        let is_quick = connection.subscriptions.len_of_all() <= PART_SUBSCRIPTIONS
            && name_bytes.sum::<usize>() <= PART_BYTES
            && connection.watched() <= PART_WATCHES
            && connection.prefixes() <= PART_PREFIXES;
        if self.is_stopping || is_quick {
            return false;
        }
        connection.is_leaving = true;
        let me = connection.me;
        connection.output = OutputQueue::default();
        connection.transport.close_notify();
        connection.transport.shut_down();
        self.flusher.condemn(connection, reason);
        self.forget_parts(me);
        self.leaving.push_back((me, reason));
        true
    }

    /// Goes on with the connections that leave, for a bounded time.
    pub(super) fn leave_on(&mut self) {
        let began = Instant::now();
        while let Some(&(ConnectionRef { slot, .. }, reason)) = self.leaving.front() {
            self.leave_some(slot, &ALL_KINDS, None);
            self.forget_some_watches(slot);
            self.forget_some_prefixes(slot);
            let connection = &self.connections[slot];
            if connection.subscriptions.len_of_all() + connection.watched() + connection.prefixes() == 0 {
                self.leaving.pop_front();
                self.connections[slot].is_leaving = false;
                self.close(slot, reason);
            }
            if began.elapsed() > LEAVE_TIME_MAX {
                return;
            }
        }
    }

    /// Executes parts of the connection's request until it has had its time.
    pub(super) fn serve_parts(&mut self, slot: usize) {
        let me = self.connections[slot].me;
        if self.server.scripts.is_busy() && self.parts.get(&me).is_some_and(|parts| parts.needs_keys()) {
            self.waiting_for_keys.push(me);
            return;
        }
        let Some(mut parts) = self.parts.remove(&me) else { return };
        let may_mail = parts.needs_keys() || parts.is_message();
        if may_mail && !self.may_go_on_in_parts(me) {
            parts.ticket.take().into_iter().for_each(|ticket| self.forget_turn(ticket));
            self.parts.insert(me, parts);
            return;
        }
        let mut serving = self.begin(slot);
        let began = self.clock.instant;
        let next = loop {
            let next = self.next_part(slot, &mut parts, &mut serving.out);
            self.after_part(&mut serving);
            self.clock.advance();
            let goes_on = self.connection_of(me).is_some_and(|connection| !connection.state().closes());
            if next != Next::Part || !goes_on || serving.is_over(self.clock.instant) {
                break next;
            }
        };
        let is_done = next == Next::End;
        let took = self.clock.instant.saturating_duration_since(began);
        self.handle().commands.add_time(parts.row.id, took);
        if is_done {
            let before = serving.out.len();
            self.after_reply(slot, Some(parts.row), &mut serving.out, before);
        }
        self.finish(serving);
        if self.connection_of(me).is_none_or(|connection| connection.state().closes()) {
            self.let_go(parts);
            return;
        }
        match next {
            Next::End => {
                self.let_go(parts);
                self.resume_behind_reply(slot);
            }
            Next::Part => {
                parts.ticket.take().into_iter().for_each(|ticket| self.forget_turn(ticket));
                self.parts.insert(me, parts);
                self.make_ready(slot);
            }
            Next::Again => {
                parts.ticket = self.await_keys_in_parts(me, parts.ticket);
                self.parts.insert(me, parts);
            }
        }
    }

    /// Executes one part of a command of a transaction; true: that was the last.
    pub(crate) fn part_of_queued(&mut self, slot: usize, parts: &mut Parts, out: &mut Vec<u8>) -> bool {
        self.next_part(slot, parts, out) == Next::End
    }

    /// Whether what a row of `Flags::LISTS` asks for is much: channels, those that match a pattern or all; all subscriptions of the
    /// connection, which it ends; or clients, users and slow commands.
    pub(crate) fn lists_many(&self, slot: usize, row: &Row, args: Args<'_>) -> bool {
        let held = &self.connections[slot].subscriptions;
        if row.spec.group != Group::Pubsub {
            self.server.connected.load(Relaxed) > LISTED_MAX
                || self.server.users.read().iter().count() > LISTED_MAX
                || self.server.slowlog.lock().entries.len() > LISTED_MAX
        } else if row.has(Flags::IN_PARTS) {
            let bytes = || ALL_KINDS.iter().map(|&kind| held.name_bytes(kind)).sum::<usize>();
            args.len() == 1 && (held.len_of_all() > PART_SUBSCRIPTIONS || bytes() > PART_BYTES)
        } else {
            let is_long = |space| {
                let directory = self.directory_of(space);
                let stride = Stride::new(PART_WALK, WHOLE_BYTES, args.get(2));
                !stride.has_room(directory.len(), directory.name_bytes())
            };
            self.has_many_names(slot) || is_long(Namespace::Channels) || is_long(Namespace::Sharded)
        }
    }

    /// Ends what the connection has begun in parts.
    pub(super) fn forget_parts(&mut self, me: ConnectionRef) {
        if let Some(parts) = self.parts.remove(&me) {
            self.let_go(parts);
        }
    }

    /// Executes one part. What it answers goes to `out`.
    fn next_part(&mut self, slot: usize, parts: &mut Parts, out: &mut Vec<u8>) -> Next {
        let before = out.len();
        let Parts { row, work, .. } = parts;
        let is_silent = self.connections[slot].is_silent() && !row.confirms();
        let next = match work {
            Work::Names { request: Some(request), total } => {
                self.part_of_names(slot, row, request, total, out)
            }
            Work::Names { request: None, .. } | Work::Message { request: None, .. } => Next::End,
            Work::Message { space, request: Some(request), prepared } => {
                let message = (*space, request.args());
                if !self.makes_frames(message, prepared) {
                    Next::Part
                } else if self.publish_prepared(slot, row, message, prepared, out) == PartEnd::KeysTaken {
                    Next::Again
                } else {
                    Next::End
                }
            }
            Work::Leave { kinds, confirms } => {
                let is_done = self.leave_some(slot, kinds, confirms.then_some(&mut *out));
                // RESET has more to do than to leave, and does it as if it had left nothing.
                if is_done && !*confirms {
                    let args = OwnedArgs::from_slices(&[row.spec.name.as_bytes()]);
                    self.run_part(slot, row, args.args(), out);
                }
                Next::after(is_done)
            }
            Work::Steps(steps) => {
                let proto = self.connections[slot].proto;
                Next::after(!steps.step(&mut Reply::new(out, proto)))
            }
            Work::Walk { walk, found } => {
                let proto = self.connections[slot].proto;
                let is_over = self.part_of_walk(walk, found, &mut Reply::new(out, proto));
                is_over.map_or(Next::Again, Next::after)
            }
            Work::Populate(work) => self.populate_some(slot, work, out),
        };
        if is_silent {
            out.truncate(before);
        }
        next
    }

    fn part_of_names(
        &mut self,
        slot: usize,
        row: &'static Row,
        request: &mut LongRequest,
        total: &mut Total,
        out: &mut Vec<u8>,
    ) -> Next {
        let (before, names) = (out.len(), request.names());
        let most = match total {
            _ if row.spec.group == Group::Pubsub => PART_SUBSCRIPTIONS,
            Total::Elements { most, .. } => *most,
            _ => PART_WALK,
        };
        let head = 1 + usize::from(row.parent.is_some());
        let most = match total {
            Total::Elements { .. } if row.spec.group != Group::Pubsub => {
                // Those before may have been short.
                let (db, now_ms) = (usize::from(self.connections[slot].db), self.clock.now_ms);
                let keys = request.next_part(most, PART_BYTES).from(head);
                let short = self.server.partitions.count_short(db, keys.iter(), now_ms, PART_BYTES);
                let count = keys.len();
                request.put_back(count);
                count.min(short + 1)
            }
            _ => most,
        };
        let part = request.next_part(most, PART_BYTES);
        let part_names = part.len() - head;
        match self.run_part(slot, row, part, out) {
            PartEnd::Done => {}
            PartEnd::Failed => return Next::End,
            PartEnd::KeysTaken => {
                request.put_back(part_names);
                return Next::Again;
            }
        }
        let is_done = request.is_done();
        match total {
            Total::Frames => {}
            Total::Sum(sum) => {
                *sum += number(&out[before..]);
                out.truncate(before);
                if is_done {
                    Reply::new(out, self.connections[slot].proto).int(*sum);
                }
            }
            Total::Elements { is_announced, most } => {
                let elements = number(&out[before..]) as usize / part_names.max(1) * names;
                let header = out[before..].iter().position(|&byte| byte == b'\n').map_or(0, |at| at + 1);
                let body = out.split_off(before + header);
                out.truncate(before);
                if !std::mem::replace(is_announced, true) {
                    Reply::new(out, self.connections[slot].proto).array(elements);
                }
                out.extend_from_slice(&body);
                // As many as take no more than their share of a turn, if they are as long as these.
                *most = match body.len() {
                    bytes if bytes > PART_BYTES => (part_names * PART_BYTES / bytes).max(1),
                    _ => (2 * *most).min(PART_WALK),
                };
            }
        }
        Next::after(is_done)
    }

    /// Walks on, or answers some of what was found; true when that was the last. Error: somebody has the keys to himself.
    fn part_of_walk(&self, walk: &mut Walk, found: &mut Found, reply: &mut Reply<'_>) -> Result<bool, Error> {
        let mut names: Vec<Arc<[u8]>> = Vec::new();
        let is_over = match walk {
            Walk::Channels { space, pattern, stripe, of_stripe, elsewhere } => {
                let mut stride = Stride::new(PART_WALK, PART_BYTES, pattern.as_deref());
                while !stride.is_over() {
                    let Some(name) = of_stripe.pop() else {
                        if *stripe == STRIPES {
                            break;
                        }
                        self.directory_of(*space)
                            .for_each_in(*stripe, |name| of_stripe.push(Arc::clone(name)));
                        *stripe += 1;
                        stride.pass(0);
                        continue;
                    };
                    stride.pass(name.len());
                    if stride.wants(&name) {
                        names.push(name);
                    }
                }
                let is_over = *stripe == STRIPES && of_stripe.is_empty();
                if is_over {
                    std::mem::take(elsewhere).into_iter().for_each(|list| found.add(list));
                }
                is_over
            }
            Walk::Keys { db, pattern, partition, from } => {
                let now_ms = self.clock.now_ms;
                let partitions = &self.server.partitions;
                let mut stride = Stride::of_keys(PART_WALK, PART_BYTES, Some(pattern));
                let next = partitions.visit(*partition, *db, *from, &mut stride, |stride, record| {
                    let key = record.key();
                    if !record.is_expired(now_ms) && stride.wants(key) {
                        names.push(key.into());
                    }
                })?;
                *from = next.unwrap_or(0);
                *partition += usize::from(next.is_none());
                *partition == partitions.count()
            }
            Walk::Slots(slots) => {
                let mut stride = Stride::new(PART_WALK, PART_BYTES, None);
                let is_over =
                    slots.step(&self.server.partitions, self.clock.now_ms, &mut stride, &mut names)?;
                if is_over && !slots.answers_names() {
                    slots.answer(reply);
                    return Ok(true);
                }
                is_over
            }
            Walk::Done => return Ok(found.answer_some(reply)),
        };
        found.add(names);
        if !is_over {
            return Ok(false);
        }
        reply.array(found.count);
        *walk = Walk::Done;
        Ok(found.lists.is_empty())
    }
}

/// The number in the first line of a reply: an integer, or how many elements an array has.
fn number(reply: &[u8]) -> i64 {
    let line = reply.get(1..).unwrap_or_default();
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, &digit| number * 10 + i64::from(digit - b'0'))
}
