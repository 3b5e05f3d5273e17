//! What SLOWLOG shows: the commands that took longest.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Slow commands, newest first.
#[derive(Debug, Default)]
pub(crate) struct SlowLog {
    pub(crate) entries: VecDeque<Arc<Entry>>,
    pub(crate) next_id: i64,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: i64,
    /// Unix time, seconds.
    pub(crate) at_s: u64,
    pub(crate) took: Duration,
    /// As many as are shown; of a long list the last says how many are missing.
    pub(crate) args: Vec<Vec<u8>>,
    /// Arguments that the request had, its name included.
    pub(crate) argument_count: usize,
    pub(crate) peer: String,
    pub(crate) name: String,
}
