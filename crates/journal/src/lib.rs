//! The journal: effects in, durable up to LSN *n*; snapshot and tail out.
//!
//! An append-only log of opaque, checksummed records in segments, one thread that writes and syncs them for everybody,
//! snapshots that neither fork nor pause, and a start that tells a torn tail from damage. What an effect means is
//! not known here: payloads are bytes.
//!
//! ```text
//! append ─► front ─► pen ─► segment ─► disk           writer.rs front.rs pen.rs segment.rs disk/
//!                    engine: syncs, files, failures   engine/
//!                                                     record.rs header.rs: the bytes
//! Restore ◄─ recovery ◄─ chain ◄─────────────┘        recovery.rs chain.rs
//!         ◄─ snapshot ◄── manifest ◄─────────┘        snapshot.rs manifest.rs
//! ```
//!
//! The life of a record
//! 1. A shard calls [`Journal::admit`] before it executes a write, and refuses the command if the disk won't take it.
//! 2. It executes, and calls [`Journal::append`] while it still holds the lock that orders writes to the key. The record
//!    has an [`Lsn`], and is in memory.
//! 3. At the end of its turn it calls [`Journal::flush`], which writes everything pending in one go, or under `Always` has
//!    the journal's thread do it. Under the other policies replies may go once it is written.
//! 4. By policy ([`FsyncPolicy`]) the thread syncs, and tells [`Event::Durable`]; replies that waited for it may go.
//!
//! ```
//! use std::sync::Arc;
//! use sterna_journal::{FileDisk, Journal, Lsn, Options, Recovery, Rejected, Restore};
//!
//! /// One value, replaced by each effect.
//! #[derive(Default)]
//! struct State(Vec<u8>, Lsn);
//!
//! impl Restore for State {
//!     fn item(&mut self, _key: &[u8], stamp: Lsn, value: &[u8]) -> Result<(), Rejected> {
//!         *self = State(value.to_vec(), stamp);
//!         Ok(())
//!     }
//!
//!     fn record(&mut self, lsn: Lsn, payload: &[u8]) -> Result<(), Rejected> {
//!         if !self.1.covers(lsn) {
//!             self.0 = payload.to_vec();
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # let directory = tempfile::tempdir()?;
//! let open = || -> Result<(Journal, State), Box<dyn std::error::Error>> {
//!     let disk = Arc::new(FileDisk::open(directory.path())?);
//!     let mut state = State::default();
//!     let recovered = Recovery::open(disk, Options::default())?.replay(&mut state)?;
//!     if recovered.report().torn_bytes > 0 {
//!         eprintln!("the log's end was torn: {} bytes cut", recovered.report().torn_bytes);
//!     }
//!     Ok((recovered.start(Arc::new(|_event| {}))?, state))
//! };
//! let (journal, _) = open()?;
//! journal.admit()?;
//! let lsn = journal.append(b"one")?;
//! journal.flush();
//! journal.wait_durable(lsn, None)?;
//!
//! let mut snapshot = journal.snapshot()?;
//! snapshot.item(b"key", journal.last_lsn(), b"one")?;
//! snapshot.finish()?;
//! journal.append(b"two")?;
//! journal.close()?;
//! drop(journal);
//! assert_eq!(open()?.1.0, b"two");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Order of the goals: nothing acknowledged is lost, then fast, then convenient. The format is in
//! `docs/journal-format.md`; which fault is met by what, with its test, is at the top of `simulation/faults.rs`.

#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

mod chain;
pub mod disk;
mod engine;
mod error;
mod front;
mod header;
pub mod inspect;
pub mod log;
mod manifest;
mod pen;
mod policy;
mod record;
mod recovery;
mod salvage;
mod segment;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;
mod snapshot;
mod writer;

pub use disk::FileDisk;
pub use engine::GivenUp;
pub use error::{Error, Fault, Refusal};
pub use front::{Event, Notify};
pub use header::{FORMAT_VERSION, JournalId};
pub use log::Log;
pub use manifest::{Manifest, SnapshotInfo};
pub use policy::{FsyncPolicy, Options, SEGMENT_BYTES_MAX, TornTail};
pub use record::{FRAME_PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX};
pub use recovery::{Recovered, Recovery, Rejected, Report, Restore};
pub use snapshot::{ITEM_OVERHEAD_BYTES, Publication, SYNC_BYTES, SnapshotWriter, WRITE_BYTES};
pub use writer::Journal;

/// Whether a directory holds a journal, sound or not.
#[must_use]
pub fn is_in(directory: &std::path::Path) -> bool {
    directory.join(manifest::MANIFEST).is_file()
}

/// Log sequence number: a record's place in the journal, from 1, without gaps. [`Lsn::ZERO`] is before the first.
///
/// A record that was never durable may be lost to a crash, and its LSN is then given to another. One that was durable
/// keeps its LSN for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Before the first record.
    pub const ZERO: Lsn = Lsn(0);

    /// The LSN after this one. A record every nanosecond would take 584 years to exhaust them.
    #[must_use]
    pub fn next(self) -> Lsn {
        Lsn(self.0 + 1)
    }

    /// With `self` as the stamp of a key in a snapshot: whether its state already holds the effects of `record`.
    ///
    /// The rule of replay: an effect on a key is skipped exactly if the key's stamp covers the record it stands in.
    #[inline]
    #[must_use]
    pub fn covers(self, record: Lsn) -> bool {
        #[cfg(any(test, feature = "simulation"))]
        if simulation::planted::Planted::StampOffByOne.is_active() {
            return record < self;
        }
        record <= self
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How far a replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Items loaded from the snapshot.
    pub items: u64,
    /// Records replayed.
    pub records: u64,
    /// Bytes of the log read so far.
    pub bytes: u64,
    /// Bytes of the log to be read in all.
    pub total_bytes: u64,
}

/// What the journal knows about itself, as of the engine's last turn.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// Bytes of all segments.
    pub log_bytes: u64,
    /// Number of segments.
    pub segments: usize,
    /// Bytes written and not yet synced.
    pub unsynced_bytes: usize,
    /// The snapshot that a start would begin with.
    pub snapshot: Option<SnapshotInfo>,
    /// See [`Manifest::epoch`].
    pub epoch: u64,
    /// Syncs of records since the start.
    pub syncs: u64,
    /// How long they took, all together.
    pub sync_time: Duration,
    /// How long the last one took.
    pub last_sync_time: Duration,
    /// Failures of the disk since the start, failed retries included.
    pub failures: u64,
    /// What the last failure said.
    pub last_error: Option<String>,
}
