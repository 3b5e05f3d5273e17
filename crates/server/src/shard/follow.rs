//! Pages that read on: from where they were, until they are up to date.
//!
//! 1. A page that is handed over says since when (`position.rs`). Each name that has a position is looked at under the lock
//!    of its stream: is all there that came after that? The answer is the first event, `resume`.
//! 2. A place that is behind is read a slice at a time, while the page's queue has room. So a replay holds a slice and no more,
//!    a page that reads slowly is replayed slowly, and others have their turns between two slices.
//! 3. When a slice reaches the end of a channel's stream, the lock of which is still held, what other shards have mailed is
//!    handed out, and the page subscribes. Messages get their IDs, and are mailed, under that lock: so those with IDs up to the end
//!    have been read, and do not come again, and all others are delivered.
//! 4. At the end of a stream a waiter is put into the stream's queue, under the same lock. Whoever adds an entry wakes it (as it
//!    does a client blocked in XREAD), and it goes on with 2.
//!
//! What was trimmed before it could be read, or may be missing in the stream that the key has got since, is told by another `resume`, which says `false`; then the place goes on with what
//! comes next. So is what may have been published while `retain` did not name the channel: in 3, behind what the stream holds.
//! Rights are those of the page's user: `command/rights.rs` closes a page that loses one.
//!
//! Cost: a lock and a look for each slice; a channel that is live costs what any subscription does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sterna_keyspace::stream::{Entry, EntryId, Stream};
use sterna_keyspace::{Blocked, Ctx, Error, Waiter};
use sterna_protocol::{Reply, event};
use sterna_pubsub::Kind as SubscriptionKind;

use crate::connection::follow::{Follow, Kind, Stage, write_resume_of_none};
use crate::connection::state::ConnectionRef;
use crate::partitions::{Held, Indices, Scene};
use crate::placed::Placement;
use crate::position::Since;
use crate::shard::Shard;

/// Time for those that read on, in one turn.
const READ_TIME_MAX: Duration = Duration::from_micros(300);

/// Time for what other shards have published, before a slice.
const MAIL_TIME_MAX: Duration = Duration::from_micros(100);

/// Entries and bytes of events of one slice: some 100 µs.
const SLICE_ENTRIES_MAX: usize = 256;
const SLICE_BYTES_MAX: usize = 64 * 1024;

/// Bytes that may be queued for a page that reads on.
const QUEUED_BYTES_MAX: usize = 64 * 1024;

/// The field of an entry of a channel's stream that holds the message.
const MESSAGE: &[u8] = b"message";

/// Those that read on.
#[derive(Debug, Default)]
pub(super) struct Followers {
    list: VecDeque<ConnectionRef>,
    /// Those that wait until a script or a transaction lets go of the keys.
    stalled: Vec<ConnectionRef>,
}

impl Followers {
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// How a step ended.
enum Step {
    /// There is more to read.
    More,
    /// Nothing is to be read, or there is no room: whoever changes that lists it again.
    Rests,
    /// Somebody has the keys to himself.
    Stalls,
}

/// What a slice has come to.
struct Slice {
    events: Vec<u8>,
    is_last: bool,
}

/// Waits for an entry behind an ID.
#[derive(Debug)]
struct Behind(EntryId);

impl Blocked for Behind {
    fn is_ready(&self, ctx: &mut Ctx<'_>, key: &[u8]) -> bool {
        let stream = ctx.peek(key).and_then(|record| record.value().stream());
        stream.is_some_and(|stream| stream.last_id() != self.0)
    }

    fn serve(&self, _: &mut Ctx<'_>, _: &[u8], _: &mut Reply<'_>) -> Result<(), Error> {
        // It reads by itself.
        Ok(())
    }

    fn sharing(&self) -> Option<[u64; 3]> {
        None
    }

    fn writes(&self) -> bool {
        false
    }
}

impl Shard {
    /// Has the connection follow its channels that remember, and `streams`, from `since` on. Appends the first event to `out`.
    pub(super) fn begin_to_follow(
        &mut self,
        slot: usize,
        streams: Vec<Vec<u8>>,
        since: Option<&Since>,
        out: &mut Vec<u8>,
    ) {
        let (server, epoch) = (Arc::clone(&self.server), self.server.epoch());
        let subscriptions = &self.connections[slot].subscriptions;
        let channels: Vec<Arc<[u8]>> = subscriptions.iter(SubscriptionKind::Channel).cloned().collect();
        let patterns = subscriptions.iter(SubscriptionKind::Pattern).cloned();
        let (kept, mut live): (Vec<_>, Vec<_>) =
            channels.into_iter().partition(|name| self.config.retention_of(name).is_some());
        live.extend(patterns);
        let live_names = live.iter().map(|name| &**name);
        if kept.is_empty() && streams.is_empty() {
            return write_resume_of_none(out, epoch, live_names);
        }
        let count = self.connections[slot].subscriptions.len(SubscriptionKind::Channel);
        let shares_ids = kept.len() == 1 && count == 1 && streams.is_empty();
        kept.iter().for_each(|name| self.leave(slot, SubscriptionKind::Channel, name));
        let names = kept.iter().map(|name| (Kind::Channel, Box::from(&**name)));
        let names = names.chain(streams.into_iter().map(|key| (Kind::Stream, key.into())));
        let mut follow = Box::new(Follow::new(names.collect(), !shares_ids));
        follow.retain_version = server.retain_version();
        let mut begun = Vec::new();
        for index in 0..follow.places().len() {
            let key = self.key_of(&follow, index);
            let held = server.partitions.hold_patiently(only(server.partitions.index_of(&key)));
            let (stream, last) =
                (held.stream(&key, self.clock.now_ms), server.partitions.last_placement(&key));
            let begin = follow.begin(index, since, epoch, stream, last);
            begun.push((index, begin.recovered));
        }
        follow.write_resume(out, epoch, &begun, live_names);
        let connection = &mut self.connections[slot];
        (connection.follow, connection.shares_ids) = (Some(follow), shares_ids);
        connection.note_subscriptions();
        self.read_on_later(slot);
    }

    /// The key of the stream behind a place.
    fn key_of(&self, follow: &Follow, index: usize) -> Vec<u8> {
        match follow.places().get(index) {
            Some(place) if place.kind == Kind::Channel => self.config.retained_key(&place.name),
            Some(place) => place.name.to_vec(),
            None => Vec::new(),
        }
    }

    /// Sees to it that the connection reads on.
    fn read_on_later(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let me = connection.me;
        let Some(follow) = &mut connection.follow else { return };
        if !std::mem::replace(&mut follow.is_listed, true) {
            self.followers.list.push_back(me);
        }
    }

    /// The connection's queue has been sent in part: one that waits for room reads on.
    pub(super) fn note_room(&mut self, slot: usize) {
        let Some(connection) = self.connections.get(slot) else { return };
        let has_room = connection.output.queued_bytes() <= QUEUED_BYTES_MAX / 2;
        if has_room
            && connection.follow.as_ref().is_some_and(|follow| !follow.is_listed && follow.is_behind())
        {
            self.read_on_later(slot);
        }
    }

    /// Whoever adds to a stream has woken its follower. False: the waiter is none of the connection's.
    pub(crate) fn wake_follower(&mut self, slot: usize, waiter: &Arc<Waiter>) -> bool {
        let follow = self.connections.get_mut(slot).and_then(|connection| connection.follow.as_mut());
        let is_its = follow.is_some_and(|follow| follow.wake(waiter));
        if is_its {
            self.read_on_later(slot);
        }
        is_its
    }

    /// The keys may be free again.
    pub(super) fn retry_stalled(&mut self) {
        for who in std::mem::take(&mut self.followers.stalled) {
            if self.connection_of(who).is_some() {
                self.read_on_later(who.slot);
            }
        }
    }

    /// Ends what the connection follows.
    pub(super) fn stop_following(&mut self, slot: usize) {
        self.circles.leave(&mut self.connections[slot]);
        let Some(mut follow) = self.connections[slot].follow.take() else { return };
        for waiter in follow.take_waiters() {
            // A wake-up that is on its way finds nobody.
            let _ = waiter.claim();
            self.server.partitions.forget_waiter(&waiter);
        }
    }

    /// Reads on for those that are behind, a slice each, for a bounded time.
    pub(super) fn follow_on(&mut self) {
        if self.followers.list.is_empty() {
            return;
        }
        let until = Instant::now() + READ_TIME_MAX;
        for _ in 0..self.followers.list.len() {
            let Some(who) = self.followers.list.pop_front() else { break };
            match self.read_slice(who) {
                Step::More => self.followers.list.push_back(who),
                step => {
                    if let Some(follow) = self.connection_of(who).and_then(|of| of.follow.as_mut()) {
                        follow.is_listed = false;
                    }
                    if let Step::Stalls = step {
                        self.followers.stalled.push(who);
                        self.await_keys();
                    }
                }
            }
            if Instant::now() >= until {
                break;
            }
        }
    }

    fn read_slice(&mut self, who: ConnectionRef) -> Step {
        let Some(connection) = self.connection_of(who) else { return Step::Rests };
        if connection.state().closes() || connection.output.queued_bytes() > QUEUED_BYTES_MAX {
            return Step::Rests;
        }
        let Some(index) = connection.follow.as_mut().and_then(|follow| follow.next_behind()) else {
            return Step::Rests;
        };
        if !self.receive_published(Some(Instant::now() + MAIL_TIME_MAX)) {
            return Step::More;
        }
        // What was handed out may have been too much for it.
        let Some(mut follow) = self.connection_of(who).and_then(|of| of.follow.take()) else {
            return Step::Rests;
        };
        let key = self.key_of(&follow, index);
        let server = Arc::clone(&self.server);
        let mut held = server.partitions.hold(only(server.partitions.index_of(&key)));
        if held.is_busy() {
            self.connections[who.slot].follow = Some(follow);
            return Step::Stalls;
        }
        let stream = held.stream(&key, self.clock.now_ms);
        let last = server.partitions.last_placement(&key);
        let slice = read(&mut follow, index, (stream, last), server.epoch(), self.config.http_replay_max);
        self.connections[who.slot].follow = Some(follow);
        if !slice.events.is_empty() {
            let bytes = slice.events;
            let range = self.replies_to_others.append(bytes.len(), |buf| buf.extend_from_slice(&bytes));
            self.flusher.push(&mut self.connections[who.slot], range);
        }
        if slice.is_last {
            self.end_reading(who, index, &key, &mut held);
        }
        Step::More
    }

    /// The place is up to date, and the lock of its stream is held: from here on it is told.
    fn end_reading(&mut self, who: ConnectionRef, index: usize, key: &[u8], held: &mut Held<'_>) {
        let Some(place) = self.connections[who.slot].follow.as_ref().and_then(|of| of.places().get(index))
        else {
            return;
        };
        let (kind, name, at) = (place.kind, place.name.clone(), place.at);
        let stage = match kind {
            Kind::Channel => {
                self.receive_published(None);
                self.join(who.slot, SubscriptionKind::Channel, &name);
                self.connections[who.slot].note_subscriptions();
                Stage::Live
            }
            Kind::Stream => {
                let behind = Box::new(Behind(at));
                let scene = Scene { db: 0, ..self.scene_of(who.slot, false) };
                held.wait_for(key, scene, behind, &mut self.changes).map_or(Stage::Behind, Stage::Waits)
            }
        };
        let Some(follow) = self.connections[who.slot].follow.as_mut() else { return };
        if let Some(place) = follow.place_mut(index) {
            place.stage = stage;
        }
        // What was published while `retain` did not name the channel is in no stream, and it may name it again by now. Asked now
        // that it is subscribed: what is not kept from here on is delivered.
        let may_have_ceased = follow.retain_version != self.server.retain_version();
        if kind == Kind::Channel && (may_have_ceased || self.server.config().retention_of(&name).is_none()) {
            self.tell_of_gap(who.slot, index);
        }
        self.end_run();
        self.circles.enter(&mut self.connections[who.slot]);
    }

    /// Tells a page that it may have missed something of a place.
    fn tell_of_gap(&mut self, slot: usize, index: usize) {
        let (mut bytes, epoch) = (Vec::new(), self.server.epoch());
        let Some(follow) = &self.connections[slot].follow else { return };
        follow.write_resume(&mut bytes, epoch, &[(index, false)], std::iter::empty());
        let range = self.replies_to_others.append(bytes.len(), |buf| buf.extend_from_slice(&bytes));
        self.flusher.push(&mut self.connections[slot], range);
    }
}

/// The indices of one partition.
fn only(index: usize) -> Indices {
    let mut indices = Indices::default();
    indices.insert(index);
    indices
}

/// Reads a slice of a place's stream, as events.
fn read(
    follow: &mut Follow,
    index: usize,
    (stream, last): (Option<&Stream>, Placement),
    epoch: u64,
    most: u64,
) -> Slice {
    let mut events = Vec::new();
    let is_whole = follow.place_mut(index).is_some_and(|place| {
        place.placement == last.number && place.read <= most && place.is_continuous(stream)
    });
    if !is_whole {
        if let Some(place) = follow.place_mut(index) {
            place.skip(stream, last);
        }
        follow.write_resume(&mut events, epoch, &[(index, false)], std::iter::empty());
        return Slice { events, is_last: true };
    }
    let Some(place) = follow.places().get(index) else { return Slice { events, is_last: true } };
    let (kind, name) = (place.kind, place.name.clone());
    let mut left = stream.and_then(|stream| Some(stream.range(place.at.next()?, EntryId::MAX)));
    for _ in 0..SLICE_ENTRIES_MAX {
        if events.len() >= SLICE_BYTES_MAX {
            break;
        }
        let Some(entry) = left.as_mut().and_then(Iterator::next) else {
            if let Some(place) = follow.place_mut(index) {
                place.caught_up(stream);
            }
            return Slice { events, is_last: true };
        };
        if let Some(place) = follow.place_mut(index) {
            place.pass(entry.id);
        }
        write_entry(&mut events, follow, epoch, (kind, &name), &entry);
    }
    Slice { events, is_last: false }
}

/// The event of an entry. One of a channel's stream that is no message has none: somebody else has added it.
fn write_entry(
    out: &mut Vec<u8>,
    follow: &Follow,
    epoch: u64,
    (kind, name): (Kind, &[u8]),
    entry: &Entry<'_>,
) {
    if kind == Kind::Stream {
        follow.write_id_line(out, epoch, 0);
        return event::entry(out, name, (entry.id.ms, entry.id.seq), entry.fields());
    }
    let mut fields = entry.fields();
    if let (Some((MESSAGE, message)), None) = (fields.next(), fields.next()) {
        follow.write_id_line(out, epoch, 0);
        event::message(out, None, name, message);
    }
}
