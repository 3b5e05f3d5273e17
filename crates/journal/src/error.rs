//! What can go wrong, by who must act.
//!
//! [`Error`] is for the operator: it stops a start, a snapshot or a tool, and its text names the file, the offset and
//! the command to run. [`Refusal`] is for the client whose write is not taken now. A bug of ours is an assertion.

use std::io;

use crate::Lsn;
use crate::disk::is_full;

/// Why opening, reading, snapshotting or repairing failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused an operation. Nothing was lost by it; the cause is outside.
    #[error("cannot {action} {file}: {source}")]
    Io {
        /// What was attempted, as a verb: "read", "sync".
        action: &'static str,
        /// The file's name in the journal's directory.
        file: String,
        /// What the system said.
        source: io::Error,
    },

    /// Another process has this directory open.
    #[error("the journal is in use by another process (it holds the lock file {file})")]
    Locked {
        /// The lock file's name.
        file: String,
    },

    /// Bytes that had been synced are not what was written. The start stops: cutting here would lose what follows.
    #[error(
        "{file} is damaged at offset {offset}: {fault}; see what would be lost with `sterna journal check DIR`, \
             then cut there with `sterna journal repair DIR`"
    )]
    Damaged {
        /// The file's name in the journal's directory.
        file: String,
        /// The first byte that can't be trusted.
        offset: u64,
        /// What is wrong there.
        fault: Fault,
    },

    /// The log ends in bytes that no sync had covered, and the options say not to cut them.
    #[error(
        "{file} ends in {bytes} bytes of an unfinished write at offset {offset}, and aof-load-truncated is no; \
             set it to yes, or cut them with `sterna journal repair DIR`"
    )]
    TornTail {
        /// The last segment's name.
        file: String,
        /// Where its valid records end.
        offset: u64,
        /// How many bytes follow, trailing zeros not counted.
        bytes: u64,
    },

    /// A file that must be there is not.
    #[error("{file} is missing ({why}); restore it, or accept the loss with `sterna journal repair DIR`")]
    Missing {
        /// The name of the missing file.
        file: String,
        /// How it is known that it should be there.
        why: &'static str,
    },

    /// A file's header says it belongs elsewhere: a copy, a swap, or another journal's file.
    #[error(
        "{file} does not belong here: {why}; restore the right file, or accept the loss with \
             `sterna journal repair DIR`"
    )]
    Misplaced {
        /// The file's name in the journal's directory.
        file: String,
        /// What its header contradicts.
        why: &'static str,
    },

    /// The file was written by a later version of Sterna.
    #[error(
        "{file} has format version {found}, this version reads up to {supported}; start the newer sterna"
    )]
    Newer {
        /// The file's name in the journal's directory.
        file: String,
        /// The version in its header.
        found: u32,
        /// The newest version that this code reads.
        supported: u32,
    },

    /// The log ends before what the snapshot holds: synced records have vanished from its end.
    #[error(
        "the log ends at {log_end} but {snapshot} holds state up to {snapshot_end}: records have vanished from the \
             log's end; restore them, or accept the loss with `sterna journal repair DIR`"
    )]
    LogBehindSnapshot {
        /// The snapshot file's name.
        snapshot: String,
        /// The LSN of the log's last record.
        log_end: Lsn,
        /// The last record there was when the snapshot was complete.
        snapshot_end: Lsn,
    },

    /// The receiver of a replay did not understand a payload whose checksum was right.
    #[error("{file}: the record at offset {offset} is intact but not understood: {why}")]
    Rejected {
        /// The file's name in the journal's directory.
        file: String,
        /// Where the record starts.
        offset: u64,
        /// What the receiver said.
        why: &'static str,
    },

    /// The records asked for were cut behind a snapshot.
    #[error("records from {asked} on were asked for, the log begins at {first}")]
    Trimmed {
        /// The first LSN asked for.
        asked: Lsn,
        /// The first LSN there is.
        first: Lsn,
    },

    /// Trimming would remove records that no snapshot holds.
    #[error("cannot trim before {asked}: the snapshot covers the log only up to {covered}")]
    NotCovered {
        /// The LSN before which records were to go.
        asked: Lsn,
        /// The last LSN that needs no record.
        covered: Lsn,
    },

    /// Another snapshot is being taken.
    #[error("a snapshot is already being taken")]
    SnapshotBusy,

    /// The caller wanted the journal to do something while its disk does not work.
    #[error("{0}")]
    Refused(#[from] Refusal),
}

impl Error {
    /// Whether what is missing is room on the disk.
    pub(crate) fn is_disk_full(&self) -> bool {
        matches!(self, Error::Io { source, .. } if is_full(source))
    }

    pub(crate) fn io(action: &'static str, file: &str) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { action, file: file.to_owned(), source }
    }
}

/// What is wrong with bytes that should be a frame or a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The file ends inside a header or a record.
    #[error("the file ends in the middle of a record")]
    Cut,
    /// Zeros where a record should be.
    #[error("zeros where a record should be")]
    Zeros,
    /// The header's fields make no sense together.
    #[error("not a record")]
    NotARecord,
    /// A record of another place in this file.
    #[error("a record out of order")]
    OutOfOrder,
    /// The checksum does not match the bytes.
    #[error("checksum mismatch")]
    Checksum,
    /// The file does not begin as its kind of file does.
    #[error("not a journal file of this kind")]
    Magic,
    /// A field of a valid record contradicts the rest.
    #[error("contents that contradict each other")]
    Contradiction,
}

/// Why a write is not taken now. Nothing was changed; the same write may be taken later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No room on the disk. Ends by itself when there is room again.
    #[error("the disk is full")]
    DiskFull,
    /// A write or a sync failed. Ends by itself when a new segment could be written and synced.
    #[error("the disk does not take writes")]
    DiskFailed,
    /// The disk is slower than the writers: as many bytes wait for it as may.
    #[error("the disk is too slow: too many bytes wait to be written")]
    Backlog,
    /// The payload is longer than [`crate::Options::payload_bytes_max`]. Permanent.
    #[error("a single write is larger than the journal can record")]
    TooLarge,
    /// The journal was closed. Permanent.
    #[error("the journal is closed")]
    Closed,
}
