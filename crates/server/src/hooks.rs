//! What the binary tells the server about the process it runs in: the allocator and the log's level. The
//! server itself knows neither allocator nor log.

use std::sync::OnceLock;

use crate::config::LogLevel;

/// The allocator's figures, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// Asked for by the program and not given back.
    pub allocated: usize,
    /// In pages that hold any of it.
    pub active: usize,
    /// In physical memory, as far as the allocator knows.
    pub resident: usize,
}

static MEMORY: OnceLock<fn() -> MemoryStats> = OnceLock::new();
static PURGE: OnceLock<fn()> = OnceLock::new();
static LOG_LEVEL: OnceLock<Box<dyn Fn(LogLevel) + Send + Sync>> = OnceLock::new();

/// Sets where memory figures come from. The first call counts.
pub fn set_memory_stats(source: fn() -> MemoryStats) {
    let _ = MEMORY.set(source);
}

/// Sets how memory that was freed is given back to the system at once. The first call counts.
pub fn set_memory_purge(purge: fn()) {
    let _ = PURGE.set(purge);
}

/// Sets what CONFIG SET loglevel does. The first call counts.
pub fn on_log_level(change: impl Fn(LogLevel) + Send + Sync + 'static) {
    let _ = LOG_LEVEL.set(Box::new(change));
}

/// The allocator's figures; zeros if nobody tells.
pub(crate) fn memory_stats() -> MemoryStats {
    MEMORY.get().map_or_else(MemoryStats::default, |source| source())
}

/// Gives memory that was freed back to the system. Takes as long as the kernel needs for it.
pub(crate) fn purge_memory() {
    if let Some(purge) = PURGE.get() {
        purge();
    }
}

/// Changes the level of the log.
pub(crate) fn set_log_level(level: LogLevel) {
    if let Some(change) = LOG_LEVEL.get() {
        change(level);
    }
}
