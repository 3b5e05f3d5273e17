//! What a reply promises, and the bounds the journal keeps.

use crate::record::{FRAME_PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX};

/// When written records are synced, hence what may be lost. Redis's `appendfsync`.
///
/// In every mode records are recovered in order and without holes: what is lost is the newest, never something between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FsyncPolicy {
    /// A record is synced before anyone is told that it is durable; one sync serves all that came while the last ran.
    ///
    /// - Process crash: nothing whose LSN was at or below the durable LSN is lost.
    /// - Power loss: the same.
    ///
    /// The promise is made to who waits: a reply must be held back until [`durable_lsn`](crate::Journal::durable_lsn)
    /// has reached its record.
    Always,
    /// Synced a second after the oldest record that is not.
    ///
    /// - Process crash: nothing whose LSN was at or below the written LSN is lost. The promise is made to who waits: a reply
    ///   must be held back until [`written_lsn`](crate::Journal::written_lsn) has reached its record.
    /// - Power loss: one second, and the time the sync takes; [`Options::unsynced_bytes_max`] twice, at most.
    EverySec,
    /// Synced only where the journal itself needs it: at the end of a segment, before a snapshot counts, and when
    /// [`Options::unsynced_bytes_max`] is reached.
    ///
    /// - Process crash: as with `EverySec`.
    /// - Power loss: what the system has not written by itself (30 s on Linux), twice `unsynced_bytes_max` at most.
    No,
}

/// What to do when the log ends in an unfinished write. Redis's `aof-load-truncated`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TornTail {
    /// Cut it and report how many bytes went. They had not been synced, so nobody was told that they were durable.
    Cut,
    /// Don't start.
    Refuse,
}

/// How a journal is kept. [`Options::default`] is for production.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// When to sync; changeable while running.
    pub fsync: FsyncPolicy,
    /// What to do with an unfinished write at the end.
    pub torn_tail: TornTail,
    /// A segment that has reached this many bytes is followed by a new one. At most [`SEGMENT_BYTES_MAX`].
    pub segment_bytes: u64,
    /// Appended bytes that may wait to be written before writes are refused with [`crate::Refusal::Backlog`].
    pub pending_bytes_max: usize,
    /// Written bytes at which a sync is due: they are kept in memory, in case it fails. While it runs as many again are
    /// written; what comes then waits in memory, up to `pending_bytes_max`.
    pub unsynced_bytes_max: usize,
    /// Longest payload of one frame, in bytes, above which a record comes in parts. Lower than the default for tests.
    pub frame_payload_max: usize,
    /// Zeros kept written ahead of the log's end under `Always`, in bytes; 0 for none.
    pub zero_ahead_bytes: u64,
    /// Longest payload of a record, in bytes; a longer one is refused as [`crate::Refusal::TooLarge`].
    pub payload_bytes_max: usize,
    /// How long after a failure of the disk the next attempt is made, in milliseconds.
    pub retry_ms: u64,
    /// Seed of identities and salts; `None` draws one. For tests that must repeat.
    pub entropy: Option<u64>,
}

/// Records in a segment are numbered with 32 bits, and none is shorter than 12 bytes; this is far below what that allows.
pub const SEGMENT_BYTES_MAX: u64 = 4 << 30;

impl Default for Options {
    fn default() -> Self {
        Options {
            fsync: FsyncPolicy::EverySec,
            torn_tail: TornTail::Cut,
            segment_bytes: 64 << 20,
            pending_bytes_max: 64 << 20,
            unsynced_bytes_max: 32 << 20,
            frame_payload_max: FRAME_PAYLOAD_BYTES_MAX,
            payload_bytes_max: PAYLOAD_BYTES_MAX,
            zero_ahead_bytes: 256 << 10,
            retry_ms: 500,
            entropy: None,
        }
    }
}

/// Draws identities and salts. SplitMix64; unpredictable only as far as its seed is.
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(options: &Options) -> Draw {
        use std::hash::{BuildHasher, RandomState};
        Draw(options.entropy.unwrap_or_else(|| RandomState::new().hash_one(std::process::id())))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
