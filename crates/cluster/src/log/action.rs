//! What a [`super::Replica`] asks for, and what it is answered.

use std::time::Duration;

use bytes::Bytes;

use super::frame::{FrameError, RECORD_BYTES_MAX};
use super::position::Position;

/// The nth record that this node has submitted since its start. A reply that depends on it waits for its release.
pub type Ticket = u64;

/// The protocol's times.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// How long a stored frame lets its writer lead.
    pub lease: Duration,
    /// A leader with nothing to say appends an empty frame this often.
    pub renew: Duration,
    /// A follower asks for more this often when no hint comes.
    pub poll: Duration,
    /// Pause before something that failed is tried again.
    pub retry: Duration,
    /// How long the log may look wrong before that is believed: longer than an election among NATS servers takes.
    pub patience: Duration,
}

impl Default for Times {
    fn default() -> Times {
        let ms = Duration::from_millis;
        Times { lease: ms(3500), renew: ms(1000), poll: ms(200), retry: ms(100), patience: ms(20_000) }
    }
}

/// Where to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// From any copy, a batch from the slot on. It may be behind, and have holes.
    Any,
    /// That one slot, from the stream's leader.
    Leader,
}

/// What to do. The driver does them in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Append `frame` if the log ends with slot `expected`; answer with [`super::Replica::on_append`].
    Append {
        /// The frame's number.
        number: u64,
        /// The slot that it is to follow.
        expected: u64,
        /// Its bytes.
        frame: Bytes,
    },
    /// Read; answer with [`super::Replica::on_read`].
    Read {
        /// Names the read in its answer.
        id: u64,
        /// The first slot that is wanted.
        from: u64,
        /// Where.
        source: Source,
    },
    /// A frame counts: keep the position as a witness, with the effects where they are not this node's own.
    Accepted {
        /// Where the log now stands.
        position: Position,
        /// The frame.
        frame: Bytes,
        /// Its effects are in memory already.
        own: bool,
    },
    /// Replies up to this ticket may go, as far as the log is concerned.
    Release {
        /// The last ticket that is stored.
        through: Ticket,
    },
    /// This node leads.
    Lead {
        /// Under this term.
        term: u64,
    },
    /// This node leads no more; replies that were not released are void, but for those that are lost.
    Follow {
        /// Memory holds effects that never happened: make it anew, as of the last accepted position.
        rebuild: bool,
        /// Up to this ticket it can't be known: they were on their way, and the log is trimmed beyond where they would be.
        lost: Option<Ticket>,
    },
    /// The log no longer holds what comes next: load a verified snapshot, after asking [`super::Replica::restore_from`].
    Restore,
    /// Remove the slots below this one.
    Trim {
        /// The first slot that stays.
        below: u64,
    },
    /// Something that people must mend. The node does nothing more with this log.
    Stop(Fault),
}

/// What an append came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// Acknowledged for this slot.
    Stored(u64),
    /// The log does not end where that was expected. What number the refusal holds says nothing, so it is not here.
    Refused,
    /// No answer, or one that leaves it open.
    Unknown,
}

/// What a read came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// Slots and what they hold, ascending; from any copy possibly none.
    Slots(Vec<(u64, Bytes)>),
    /// The leader does not have the slot, and says that it has these.
    Missing {
        /// The first that is not trimmed.
        first: u64,
        /// The last.
        last: u64,
    },
    /// No answer.
    Failed,
}

/// Why a record was not taken. Nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Another node leads, or none.
    #[error("this node does not lead")]
    NotLeader,
    /// The lease is over, and the log does not answer.
    #[error("the log does not answer")]
    Suspended,
    /// Too much waits already.
    #[error("too much waits for the log")]
    Full,
    /// It fits no frame.
    #[error("a record of more than {RECORD_BYTES_MAX} bytes does not fit the log")]
    TooLong,
}

/// What people must mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A slot in the middle is gone.
    #[error("slot {0} of the log is missing")]
    Hole(u64),
    /// The log ends too early.
    #[error("the log ends before slot {0}, which this node has read")]
    Lost(u64),
    /// Another history.
    #[error("slot {0} of the log does not continue what this node has read")]
    Differs(u64),
    /// Bytes that are no frame.
    #[error("slot {0} of the log: {1}")]
    Frame(u64, FrameError),
}

/// What a node is to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Finds out whether the log is the one it knows.
    Checking,
    /// Reads.
    Following,
    /// Reads, and has asked to lead.
    Claiming,
    /// Appends.
    Leading,
    /// Waits for a snapshot.
    Restoring,
    /// Is done with it.
    Stopped(Fault),
}
