//! The process's memory: what the allocator says of it, for INFO and MEMORY, and how it gives memory back.
//!
//! jemalloc gives pages back some seconds after they were freed, but of itself only while memory is asked for. Its
//! background thread does so in a server that has gone quiet, too.

use std::sync::Mutex;

use sterna_server::MemoryStats;
use tikv_jemalloc_ctl::{Access, AsName, Mib, background_thread, epoch, stats};

/// Tells the server where to ask, and has freed memory go back without traffic.
pub(crate) fn install() {
    sterna_server::set_memory_stats(current);
    sterna_server::set_memory_purge(purge);
    if let Err(error) = background_thread::write(true) {
        tracing::warn!(%error, "memory that is freed goes back to the system only while there is traffic");
    }
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

/// Gives back at once what is free: an arena whose decay is set to no time has nothing left, and gets its time again.
///
/// An arena that jemalloc's own thread is purging at the time passes over it, so that thread rests meanwhile. Arenas that were never used, or that this build doesn't know, refuse, and have nothing to give.
fn purge() {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock();
    let _ = background_thread::write(false);
    purge_arenas();
    let _ = background_thread::write(true);
}

fn purge_arenas() {
    let arenas: u32 = b"arenas.narenas\0"[..].name().read().unwrap_or(0);
    for name in [&b"arena.0.dirty_decay_ms\0"[..], b"arena.0.muzzy_decay_ms\0"] {
        let Ok(mut decay) = name.name().mib::<[usize; 3]>() else { continue };
        for arena in 0..arenas {
            decay[1] = arena as usize;
            purge_arena(&decay);
        }
    }
}

fn purge_arena(decay: &Mib<[usize; 3]>) {
    if let Ok(time_ms) = Access::<isize>::update(decay, 0) {
        // It has just taken another value, so it takes this one.
        let _ = Access::<isize>::write(decay, time_ms);
    }
}
