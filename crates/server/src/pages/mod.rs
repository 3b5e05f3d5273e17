//! What all shards know of pages that speak Pusher's protocol: who is in which presence channel, what cache channels were sent
//! last, and which connections are a user's.
//!
//! A channel's *room* is locked by whoever joins it, leaves it, or sends to a cache channel, from what it looks up to what it
//! mails:
//!
//! 1. The room is locked.
//! 2. Who joins hands out what its shard's mail holds: all that was sent to the room so far is among it.
//! 3. Members, or the last event, are looked up and changed. Who joins subscribes.
//! 4. What the others are to know is handed out here and mailed to the other shards.
//! 5. The room is unlocked.
//!
//! So who joins is told of the members, or the last event, as of a moment, and gets every later event once and no earlier one.

mod rooms;
mod users;

pub(crate) use rooms::{Join, Rooms};
pub(crate) use users::SignedIn;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    pub(crate) rooms: Rooms,
    pub(crate) users: SignedIn,
}
