//! `maxmemory-policy`: keys that go so that others can be written.
//!
//! Before a command that may need memory runs, keys go until what is in use is below `maxmemory`, or the time is up that one
//! command may be held up for it: then it runs all the same, and the next one goes on. Partitions take turns, a few keys under
//! each lock. Where nobody writes, because the limit was lowered or clients hold the memory, a shard does the same by the
//! clock.
//!
//! Source: that a command whose time is up runs, and that one is refused only when no key is left that may go, is Redis's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sterna_config::MaxmemoryPolicy;

use crate::shard::Shard;

/// Keys that go under one lock of their partition: some microseconds.
const EVICTIONS_PER_LOCK: usize = 4;

/// How long a shard removes keys by the clock in one go, and how long it then does other things.
const ROUND_TIME_MAX: Duration = Duration::from_millis(1);
const ROUND_PAUSE: Duration = Duration::from_millis(3);

/// What came of making room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// There is enough.
    Enough,
    /// Not yet, but some was made, or will be.
    Later,
    /// The keys that may go are some that somebody has to himself.
    Taken,
    /// There is no key that may go.
    None,
}

impl Shard {
    /// Removes keys, if the policy lets any go, until memory in use is below `maxmemory` or the time of one command is up.
    #[cold]
    pub(crate) fn make_room(&mut self) -> Room {
        if self.must_keep_keys() {
            // Who needs memory is told of that, or waits until it is over. Source: Redis.
            return Room::Later;
        }
        self.evict_keys(time_of_command(self.config.maxmemory_eviction_tenacity))
    }

    /// A shard's part in removing keys where no command asks for it; returns when to go on.
    pub(super) fn evict_by_the_clock(&mut self) -> Option<Instant> {
        if !self.server.memory.is_over() {
            return None;
        }
        let goes_on = matches!(self.evict_keys(ROUND_TIME_MAX), Room::Later | Room::Taken);
        goes_on.then(|| Instant::now() + ROUND_PAUSE)
    }

    fn evict_keys(&mut self, time_max: Duration) -> Room {
        if self.config.maxmemory_policy == MaxmemoryPolicy::NoEviction || !self.may_remove_keys() {
            return Room::None;
        }
        let server = Arc::clone(&self.server);
        let (count, began) = (server.partitions.count(), Instant::now());
        while let Some(excess_bytes) = server.memory.excess_bytes() {
            let (mut freed_bytes, mut in_vain, mut is_taken) = (0, 0, false);
            while freed_bytes < excess_bytes {
                if self.credit.behind() != 0 {
                    // What nobody publishes can't be held back, so it waits for shards that are behind here.
                    return Room::Later;
                }
                let index = self.eviction_at % count;
                self.eviction_at = index + 1;
                let now_ms = self.clock.now_ms;
                let bytes = if self.leads_partition(index) {
                    let bytes = server.partitions.evict(index, now_ms, EVICTIONS_PER_LOCK, &mut self.changes);
                    is_taken |= bytes.is_none();
                    bytes.unwrap_or(0)
                } else {
                    0
                };
                self.spread_changes();
                if bytes > 0 {
                    server.partitions.end_eviction();
                }
                freed_bytes += bytes;
                in_vain = if bytes > 0 { 0 } else { in_vain + 1 };
                if in_vain == count {
                    return match is_taken {
                        _ if freed_bytes > 0 => Room::Later,
                        true => Room::Taken,
                        // Another shard has removed the last of them, just now.
                        false if server.partitions.is_evicting() => Room::Later,
                        false if server.memory.excess_bytes().is_none() => Room::Enough,
                        false => Room::None,
                    };
                }
                if began.elapsed() >= time_max {
                    return Room::Later;
                }
            }
        }
        Room::Enough
    }

    /// Whether keys may be removed that no client asks to remove.
    pub(super) fn may_remove_keys(&self) -> bool {
        // On another node than the leader, what expires or has to go is for that one to say.
        self.leads_any_keys() && !self.must_keep_keys()
    }

    /// Whether nothing is written for now, whoever asks.
    fn must_keep_keys(&self) -> bool {
        // Before all is loaded a key's later life isn't known; a disk that takes no writes must not be given more. What clients
        // may write while a snapshot is taken (`Journaling::admit`) has its limit of memory: so it is asked as for a client.
        let journal = self.durability.journal.as_ref();
        if self.durability.is_loading || journal.is_some_and(|j| self.server.admit_write(j).is_err()) {
            return true;
        }
        // Who pauses writes wants the data to stay as they are.
        let pause = &self.server.pause;
        pause.is_on() && pause.holds_back(true, self.clock.instant)
    }
}

/// How long a command may be held up. Source: the steps of Redis's `maxmemory-eviction-tenacity`.
fn time_of_command(tenacity: u32) -> Duration {
    const STEP: Duration = Duration::from_micros(50);
    match tenacity {
        0..=10 => STEP * tenacity,
        11..=99 => (STEP * 10).mul_f64(1.15f64.powi(tenacity as i32 - 10)),
        _ => Duration::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_command_grows_with_the_tenacity() {
        assert_eq!(time_of_command(0), Duration::ZERO);
        assert_eq!(time_of_command(10), Duration::from_micros(500));
        assert_eq!(time_of_command(20).as_micros(), 2022);
        assert!(time_of_command(99) > Duration::from_secs(120));
        assert_eq!(time_of_command(100), Duration::MAX);
    }
}
