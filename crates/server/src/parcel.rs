//! Messages on their way to another shard.
//!
//! ```text
//!   bytes     [channel payload] [channel payload] [payload] …      shared by the parcels of a turn
//!   messages   start ──► end      …                                offsets, and the patterns that matched
//! ```

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;
use sterna_keyspace::stream::EntryId;

/// Which name space a channel belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Namespace {
    /// SUBSCRIBE, PUBLISH; patterns match here.
    Channels,
    /// SSUBSCRIBE, SPUBLISH.
    Sharded,
    /// Frames for the pages among the subscribers of a channel, who are in `Channels`.
    Pages,
}

/// Patterns that match one channel.
pub(crate) type Matches = SmallVec<[Arc<[u8]>; 2]>;

/// Messages for another shard: one turn's.
#[derive(Debug)]
pub(crate) struct Parcel {
    /// Channels and payloads, one behind the other, shared by the parcels of the turn.
    pub(crate) bytes: Arc<Vec<u8>>,
    pub(crate) messages: Vec<Message>,
    /// How many have been handed out.
    pub(crate) done: usize,
    /// When the message was published that is a probe, if one is (`stats/traffic.rs`).
    pub(crate) probe: Option<Instant>,
}

impl Parcel {
    /// Whether all has been handed out.
    pub(crate) fn is_empty(&self) -> bool {
        self.done == self.messages.len()
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) space: Namespace,
    /// It is the one whose time is taken.
    pub(crate) is_probe: bool,
    /// Offsets in `Parcel::bytes`: the channel is `start..channel_end`, the payload `channel_end..end`.
    pub(crate) start: usize,
    pub(crate) channel_end: usize,
    pub(crate) end: usize,
    /// Patterns that matched when it was published.
    pub(crate) patterns: Matches,
    /// Its entry in the channel's stream, if the channel remembers.
    pub(crate) id: Option<EntryId>,
}

impl Message {
    /// What it counts against its sender's credit.
    pub(crate) fn cost(&self) -> usize {
        self.end - self.start + size_of::<Message>()
    }
}
