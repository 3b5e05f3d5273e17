//! The replicated log: one leader appends frames of effects, everybody else reads them in order.
//!
//! The log is a stream of JetStream that lies on a majority of NATS servers, synced. It is trusted to keep what it has
//! acknowledged and to check the sequence that an append expects; all else Sterna checks itself, for two reasons that were
//! measured: an expected sequence names a *position*, not a predecessor, so the second of two queued appends of a leader that was
//! paused matches again; and a message that is lost inside one replica is noticed by nobody.
//!
//! ```text
//!   slots      1        2       3         4         5        6
//!          ┌────────┬───────┬─────────┬─────────┬───────┬─────────┐
//!          │genesis │claim 1│effects 1│effects 1│claim 2│effects 2│   frames, each with the hash of the one before
//!          └────────┴───────┴─────────┴─────────┴───────┴─────────┘
//!   number     1        2       3         4         5        6        counts frames that count; a slot may hold another's
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | `action` | what the state machine asks for, and what it is answered |
//! | `frame` | the bytes of a frame |
//! | `position` | how far a reader has come, and what it does with the next slot: accept, skip, or stop |
//! | `replica` | a node's part in the protocol, as a state machine without socket, thread and clock |
//! | `record` | records that are longer than a frame |
//! | `balance` | which group another node is to lead, and what the two tell each other |
//! | `trim` | what the log need not hold any more |
//! | `snapshots`, `s3` | snapshots that nodes keep for each other, in a directory or in S3 |
//! | `driver` | the thread that runs a replica on JetStream, for a server |
//! | `gather` | when the next append begins |
//! | `jetstream` | the log as JetStream serves it |
//! | `audit` | what is to be said of the servers and streams below it |
//! | `simulation` | the same over a log that delays, refuses, forgets and moves, by seeds |
//!
//! What holds, and the simulation checks it: a reply that was released is in the log once and on every node, in one order;
//! a reader never passes over a frame that counts; the leader's registers are linearizable; what nobody wrote is nowhere.

mod action;
pub mod audit;
pub(crate) mod balance;
mod driver;
mod frame;
mod gather;
mod jetstream;
#[cfg(test)]
mod on_nats;
mod position;
mod record;
mod replica;
mod s3;
#[cfg(test)]
mod simulation;
pub(crate) mod snapshots;
mod trim;

pub use action::{Action, Appended, Fault, Read, Refused, Role, Source, Ticket, Times};
pub(crate) use driver::Hooks;
pub use driver::LogDriver;
pub use frame::{Frame, FrameError, Kind, RECORD_BYTES_MAX};
pub use jetstream::{Follower, Port, PortError, StreamState};
pub use position::{Contradiction, Position, Verdict};
pub use replica::Replica;
pub use snapshots::StoreError;
pub(crate) use trim::Holding;
