//! What a reply promises, and the bounds the journal keeps.

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
    /// - Process crash: what was not yet handed to the system is lost, [`Options::write_pace_ms`] at most, and longer
    ///   while a sync runs, because the thread that syncs is the one that writes.
    /// - Power loss: one second, and the time the sync takes.
    EverySec,
    /// Synced only where the journal itself needs it: at the end of a segment, before a snapshot counts, and when
    /// [`Options::unsynced_bytes_max`] is reached.
    ///
    /// - Process crash: as with `EverySec`.
    /// - Power loss: what the system has not written by itself (30 s on Linux), `unsynced_bytes_max` at most.
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
    /// Written bytes that may stay unsynced: they are kept in memory, in case the sync fails.
    pub unsynced_bytes_max: usize,
    /// Zeros kept written ahead of the log's end under `Always`, in bytes; 0 for none.
    pub zero_ahead_bytes: u64,
    /// Under `EverySec` and `No`, how long appended records gather before they are written, in milliseconds.
    pub write_pace_ms: u64,
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
            zero_ahead_bytes: 256 << 10,
            write_pace_ms: 5,
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
