//! What the allocator says of the process's memory, for INFO and MEMORY.

use sterna_server::MemoryStats;
use tikv_jemalloc_ctl::{epoch, stats};

/// Tells the server where to ask.
pub(crate) fn install() {
    sterna_server::set_memory_stats(current);
}

fn current() -> MemoryStats {
    // jemalloc's figures are as of the last epoch; advancing it fails only if it was built without statistics, and
    // then every figure is 0.
    let _ = epoch::advance();
    MemoryStats {
        allocated: stats::allocated::read().unwrap_or(0),
        active: stats::active::read().unwrap_or(0),
        resident: stats::resident::read().unwrap_or(0),
    }
}
