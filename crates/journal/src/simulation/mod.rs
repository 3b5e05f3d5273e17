//! Simulation: the journal's own code over a disk that fails by a seed.
//!
//! [`schedule::run`] plays one life story of a journal: writes, turns of the engine, snapshots, a full disk, failed
//! operations, and crashes at any of them, the ones of the recovery included. What it writes comes from a [`Subject`],
//! a state machine whose effects are journaled; [`keys::Keys`] is a small one, and the real keyspace can be another.
//!
//! Everything a story leaves to chance comes from its seed, so a seed that fails can be played again:
//!
//! ```text
//! JOURNAL_SEED=4711 cargo test -p sterna-journal one_seed -- --nocapture
//! ```

mod dice;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod golden;
pub mod keys;
#[cfg(test)]
mod mutations;
pub mod planted;
#[cfg(test)]
pub(crate) mod rig;
pub mod schedule;
pub mod subject;
mod tally;

use std::sync::mpsc::{Receiver, sync_channel};

pub use dice::Dice;
pub use planted::Planted;
pub use subject::{Capture, Subject};
pub use tally::Tally;

use crate::engine::Engine;
use crate::front::Command;
use crate::snapshot::SnapshotWriter;
use crate::{Error, Journal, Lsn, Publication, Refusal, SnapshotInfo};

/// An engine that takes a turn only when told to, for the journal it came with.
pub struct Stepper {
    engine: Engine,
}

impl Stepper {
    pub(crate) fn new(engine: Engine) -> Stepper {
        Stepper { engine }
    }

    /// Takes one turn at `now_ms`, which must not fall.
    pub fn turn(&mut self, now_ms: u64) {
        self.engine.turn(now_ms);
    }

    /// [`Journal::snapshot`], with the turn that it waits for.
    pub fn snapshot(&mut self, journal: &Journal, now_ms: u64) -> Result<SnapshotWriter, Error> {
        let (answer, begun) = sync_channel(1);
        journal.front().command(Command::BeginSnapshot(answer))?;
        self.turn(now_ms);
        SnapshotWriter::create(journal.disk().clone(), journal.front().clone(), answered(&begun)?)
    }

    /// [`Publication::wait`], with the turn that it waits for.
    pub fn publish(&mut self, mut publication: Publication, now_ms: u64) -> Result<SnapshotInfo, Error> {
        self.turn(now_ms);
        publication.try_wait().unwrap_or(Err(Refusal::Closed.into()))
    }

    /// [`Journal::give_up`], with the turn that it waits for.
    pub fn give_up(&mut self, journal: &Journal, now_ms: u64) -> Option<crate::GivenUp> {
        let (answer, given_up) = sync_channel(1);
        journal.front().command(Command::GiveUp(answer)).ok()?;
        self.turn(now_ms);
        given_up.try_recv().ok()?
    }

    /// [`crate::Log::trim_before`], with the turn that it waits for.
    pub fn trim_before(&mut self, journal: &Journal, lsn: Lsn, now_ms: u64) -> Result<(), Error> {
        let (answer, trimmed) = sync_channel(1);
        journal.front().command(Command::TrimBefore(lsn, answer))?;
        self.turn(now_ms);
        answered(&trimmed)
    }

    /// [`Journal::close`], with the turn that it waits for.
    pub fn close(&mut self, journal: &Journal, now_ms: u64) -> Result<(), Error> {
        let (answer, closed) = sync_channel(1);
        journal.front().command(Command::Close(answer))?;
        self.turn(now_ms);
        answered(&closed)
    }
}

/// The answer that the last turn gave.
fn answered<T>(answer: &Receiver<Result<T, Error>>) -> Result<T, Error> {
    answer.try_recv().unwrap_or(Err(Refusal::Closed.into()))
}
