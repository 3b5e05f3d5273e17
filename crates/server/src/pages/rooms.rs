//! Rooms: members of presence channels and the last events of cache channels, by the channel's name outside of its app.
//!
//! ```text
//!   stripe (by hash) ─► channel ─► members  user ─► info, connections
//!                                  last     payload, when, number    ◄─ order: number ─► channel
//! ```
//!
//! Invariants
//! - A room is there while it has a member or an event.
//! - Members are at most [`MEMBERS_MAX`] users and [`MEMBERS_BYTES_MAX`] a room; events of a stripe hold at most [`CACHED_BYTES_MAX`], the oldest go.
//! - An event's number stands in the order, and nothing else does.
//! - What is too old goes within moments ([`Rooms::tidy`]), and so does all of it when there is no app any more.
//! - What was kept before [`Rooms::begin_anew`] is shown to nobody: what was published meanwhile may have been kept by no shard.
//!
//! Cost: O(log members), O(log events).

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::lock::{Level, Mutex, MutexGuard};

/// Users of one presence channel: each join tells all of them. Source: ten times Pusher's own limit.
pub(crate) const MEMBERS_MAX: usize = 1000;

/// Bytes of what is known of the users of one presence channel: who joins is told all of it while the room is locked.
const MEMBERS_BYTES_MAX: usize = 512 * 1024;

/// Bytes of one event that is kept. Source: Pusher's limit on events, with room for what is around the data.
const CACHED_EVENT_BYTES_MAX: usize = 16 * 1024;

/// Bytes of the events that one stripe keeps.
const CACHED_BYTES_MAX: usize = 4 << 20;

/// How long an event is kept. Source: Pusher's own.
const CACHED_MS: u64 = 30 * 60 * 1000;

/// Bytes that a kept event counts for beside its own and its channel's.
const CACHED_OVERHEAD: usize = 256;

const STRIPES: usize = 16;

/// Events let go of under one lock: some 100 µs.
const TIDIED_MAX: usize = 200;

/// See the module.
#[derive(Debug)]
pub(crate) struct Rooms([Mutex<Stripe, { Level::Rooms as u8 }>; STRIPES]);

#[derive(Debug, Default)]
pub(crate) struct Stripe {
    rooms: HashMap<Box<[u8]>, Room>,
    /// Channels by the numbers of their events, the oldest first.
    order: BTreeMap<u64, Box<[u8]>>,
    cached_bytes: usize,
    /// Events kept so far.
    kept: u64,
    /// Those up to this number count no more.
    void: u64,
}

#[derive(Debug, Default)]
struct Room {
    members: BTreeMap<Box<str>, Member>,
    /// Bytes of their IDs and of what is said of them.
    members_bytes: usize,
    last: Option<Last>,
}

#[derive(Debug)]
struct Member {
    /// JSON.
    info: Box<str>,
    connections: usize,
}

#[derive(Debug)]
struct Last {
    payload: Box<[u8]>,
    kept_ms: u64,
    number: u64,
}

/// What became of one who joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Join {
    /// His first connection.
    New,
    /// He was there.
    Again,
}

impl Default for Rooms {
    fn default() -> Rooms {
        Rooms(std::array::from_fn(|_| Mutex::default()))
    }
}

impl Rooms {
    /// Locks the room of a channel, and those that share its stripe.
    pub(crate) fn lock(&self, channel: &[u8]) -> MutexGuard<'_, Stripe> {
        // The remainder is below the number of stripes.
        self.0[(sterna_pubsub::hash(channel) % STRIPES as u64) as usize].lock()
    }

    /// Lets go of some of the events that are too old, or, if `all`, of any.
    pub(crate) fn tidy(&self, now_ms: u64, all: bool) {
        let limit = if all { 0 } else { CACHED_MS };
        self.0.iter().for_each(|stripe| stripe.lock().let_go(now_ms, limit, TIDIED_MAX));
    }

    /// Which channels keep events has changed, and a shard goes by that from now on: no event from before is the last for certain.
    pub(crate) fn begin_anew(&self) {
        for stripe in &self.0 {
            let mut stripe = stripe.lock();
            stripe.void = stripe.kept;
        }
    }

    /// The members of a channel.
    pub(crate) fn members(&self, channel: &[u8]) -> Vec<String> {
        self.lock(channel).members(channel).map(|(id, _)| id.to_owned()).collect()
    }
}

impl Stripe {
    /// Whether `user` may join: he is there, or there is room.
    pub(crate) fn has_room_for(&self, channel: &[u8], user: &str, info: &str) -> bool {
        self.rooms.get(channel).is_none_or(|room| {
            let has_room = room.members.len() < MEMBERS_MAX
                && room.members_bytes + user.len() + info.len() <= MEMBERS_BYTES_MAX;
            has_room || room.members.contains_key(user)
        })
    }

    /// Counts a connection of `user`'s. What is said of him is what was said first.
    pub(crate) fn join(&mut self, channel: &[u8], user: &str, info: &str) -> Join {
        let room = self.rooms.entry(channel.into()).or_default();
        match room.members.get_mut(user) {
            Some(member) => {
                member.connections += 1;
                Join::Again
            }
            None => {
                room.members_bytes += user.len() + info.len();
                room.members.insert(user.into(), Member { info: info.into(), connections: 1 });
                Join::New
            }
        }
    }

    /// A connection of `user`'s has gone; true if that was his last.
    pub(crate) fn leave(&mut self, channel: &[u8], user: &str) -> bool {
        let Some(room) = self.rooms.get_mut(channel) else { return false };
        let Some(member) = room.members.get_mut(user) else { return false };
        member.connections -= 1;
        let is_last = member.connections == 0;
        if is_last {
            room.members_bytes -= user.len() + member.info.len();
            room.members.remove(user);
            self.drop_if_empty(channel);
        }
        is_last
    }

    /// The members and what is said of them, in the order of their IDs.
    pub(crate) fn members(&self, channel: &[u8]) -> impl Iterator<Item = (&str, &str)> + Clone {
        let room = self.rooms.get(channel);
        room.into_iter().flat_map(|room| room.members.iter().map(|(id, member)| (&**id, &*member.info)))
    }

    /// How many members there are.
    pub(crate) fn count(&self, channel: &[u8]) -> usize {
        self.rooms.get(channel).map_or(0, |room| room.members.len())
    }

    /// Keeps what was sent last; nothing, if it is too long.
    pub(crate) fn keep(&mut self, channel: &[u8], payload: &[u8], now_ms: u64) {
        self.forget(channel);
        if payload.len() > CACHED_EVENT_BYTES_MAX {
            return self.drop_if_empty(channel);
        }
        self.kept += 1;
        let last = Last { payload: payload.into(), kept_ms: now_ms, number: self.kept };
        self.cached_bytes += last.cost(channel);
        self.rooms.entry(channel.into()).or_default().last = Some(last);
        self.order.insert(self.kept, channel.into());
        self.make_room(now_ms);
    }

    /// What was sent last, if that is kept.
    pub(crate) fn last(&self, channel: &[u8], now_ms: u64) -> Option<&[u8]> {
        let last = self.rooms.get(channel)?.last.as_ref()?;
        self.counts(last, now_ms, CACHED_MS).then_some(&*last.payload)
    }

    /// Whether an event is neither void nor `limit_ms` old.
    fn counts(&self, last: &Last, now_ms: u64, limit_ms: u64) -> bool {
        last.number > self.void && now_ms.saturating_sub(last.kept_ms) < limit_ms
    }

    /// Lets go of the oldest events where they are too many, and of the oldest of all if it is too old.
    fn make_room(&mut self, now_ms: u64) {
        self.let_go(now_ms, CACHED_MS, 1);
        while self.cached_bytes > CACHED_BYTES_MAX
            && let Some((_, channel)) = self.order.first_key_value()
        {
            let channel = channel.clone();
            self.forget(&channel);
            self.drop_if_empty(&channel);
        }
    }

    /// Lets go of up to `most` events that are void or `limit_ms` old.
    fn let_go(&mut self, now_ms: u64, limit_ms: u64, most: usize) {
        for _ in 0..most {
            let Some((_, channel)) = self.order.first_key_value() else { return };
            let last = self.rooms.get(channel).and_then(|room| room.last.as_ref());
            if last.is_some_and(|last| self.counts(last, now_ms, limit_ms)) {
                return;
            }
            let channel = channel.clone();
            self.forget(&channel);
            self.drop_if_empty(&channel);
        }
    }

    fn forget(&mut self, channel: &[u8]) {
        if let Some(room) = self.rooms.get_mut(channel)
            && let Some(last) = room.last.take()
        {
            self.order.remove(&last.number);
            self.cached_bytes -= last.cost(channel);
        }
    }

    fn drop_if_empty(&mut self, channel: &[u8]) {
        if self.rooms.get(channel).is_some_and(|room| room.members.is_empty() && room.last.is_none()) {
            self.rooms.remove(channel);
        }
    }
}

impl Last {
    fn cost(&self, channel: &[u8]) -> usize {
        self.payload.len() + 2 * channel.len() + CACHED_OVERHEAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(stripe: &Stripe) -> Vec<&str> {
        stripe.members(b"c").map(|(id, _)| id).collect()
    }

    #[test]
    fn a_user_is_one_member_from_his_first_connection_to_his_last() {
        let mut stripe = Stripe::default();
        assert_eq!(stripe.join(b"c", "b", "1"), Join::New);
        assert_eq!(stripe.join(b"c", "b", "2"), Join::Again);
        assert_eq!(stripe.join(b"c", "a", "3"), Join::New);
        assert_eq!(stripe.join(b"d", "x", "4"), Join::New);
        assert_eq!(stripe.members(b"c").collect::<Vec<_>>(), [("a", "3"), ("b", "1")]);
        assert!(!stripe.leave(b"c", "b") && stripe.leave(b"c", "b") && !stripe.leave(b"c", "b"));
        assert!(stripe.leave(b"c", "a") && ids(&stripe).is_empty() && stripe.rooms.len() == 1);
    }

    #[test]
    fn a_room_takes_so_many_users_and_their_further_connections() {
        let mut stripe = Stripe::default();
        for n in 0..MEMBERS_MAX {
            assert!(stripe.has_room_for(b"c", &n.to_string(), "null"));
            stripe.join(b"c", &n.to_string(), "null");
        }
        assert_eq!(stripe.count(b"c"), MEMBERS_MAX);
        assert!(!stripe.has_room_for(b"c", "x", "null") && stripe.has_room_for(b"c", "7", "null"));
    }

    #[test]
    fn so_many_bytes_are_known_of_the_users_of_a_room() {
        let mut stripe = Stripe::default();
        let half = "x".repeat(MEMBERS_BYTES_MAX / 2 - 1);
        stripe.join(b"c", "a", &half);
        stripe.join(b"c", "b", &half);
        assert!(!stripe.has_room_for(b"c", "c", "") && stripe.has_room_for(b"c", "b", &half));
        stripe.leave(b"c", "a");
        assert!(stripe.has_room_for(b"c", "c", &half) && !stripe.has_room_for(b"c", "cc", &half));
    }

    #[test]
    fn the_last_event_is_kept_for_a_time_and_one_that_is_too_long_not_at_all() {
        let mut stripe = Stripe::default();
        stripe.keep(b"c", b"one", 0);
        stripe.keep(b"c", b"two", 5);
        assert_eq!(stripe.last(b"c", 5), Some(&b"two"[..]));
        assert_eq!(stripe.last(b"c", 5 + CACHED_MS), None);
        stripe.keep(b"c", &vec![0; CACHED_EVENT_BYTES_MAX + 1], 6);
        assert_eq!((stripe.last(b"c", 6), stripe.cached_bytes, stripe.rooms.len()), (None, 0, 0));
        stripe.join(b"c", "a", "null");
        stripe.keep(b"c", b"three", 7);
        stripe.leave(b"c", "a");
        assert_eq!(stripe.last(b"c", 7), Some(&b"three"[..]));
        stripe.keep(b"d", b"four", 7 + CACHED_MS);
        assert_eq!((stripe.rooms.len(), stripe.order.len()), (1, 1), "what is too old goes");
    }

    #[test]
    fn of_events_from_before_a_change_none_is_shown_and_all_go() {
        let rooms = Rooms::default();
        rooms.lock(b"c").keep(b"c", b"before", 0);
        rooms.begin_anew();
        assert_eq!(rooms.lock(b"c").last(b"c", 0), None);
        rooms.lock(b"d").keep(b"d", b"after", 0);
        rooms.tidy(0, false);
        assert_eq!(rooms.lock(b"d").last(b"d", 0), Some(&b"after"[..]));
        assert!(!rooms.lock(b"c").rooms.contains_key(&b"c"[..]), "it holds no memory any more");
    }

    #[test]
    fn events_that_are_kept_have_an_end_and_the_oldest_go() {
        let mut stripe = Stripe::default();
        for n in 0..1000_u32 {
            stripe.keep(&n.to_le_bytes(), &vec![0; 10_000], 0);
            assert!(stripe.cached_bytes <= CACHED_BYTES_MAX && stripe.order.len() == stripe.rooms.len());
        }
        assert_eq!(stripe.last(&0_u32.to_le_bytes(), 0), None);
        assert!(stripe.last(&999_u32.to_le_bytes(), 0).is_some() && stripe.rooms.len() > 300);
        // One channel again and again is one event.
        for _ in 0..1000 {
            stripe.keep(b"c", b"event", 0);
        }
        assert_eq!(stripe.order.len(), stripe.rooms.len());
    }
}
