//! Turns with the Lua state: whoever lets go of it calls the shard where somebody has waited longest.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use super::Server;
use crate::scripts::{Locked, States};

/// The Lua state, locked until this goes.
pub(crate) struct Turn<'s> {
    locked: Option<Locked<'s>>,
    server: &'s Server,
}

impl Server {
    /// The Lua state, if it is free within this time, and no script or transaction keeps others from it. The caller holds no
    /// partition.
    pub(crate) fn script_turn(&self, most: Duration) -> Option<Turn<'_>> {
        let turn = Turn { locked: Some(self.scripts.lock_within(most)?), server: self };
        // A transaction that goes on in slices keeps others from the states without holding them, and so does a thread that is about to
        // compile.
        (!self.scripts.is_busy() && !self.scripts.is_compiling()).then_some(turn)
    }

    /// Waits for the Lua state: as the transaction that keeps others from it, or on a thread of its own. The caller holds no
    /// partition.
    pub(crate) fn settled_script_turn(&self) -> Turn<'_> {
        Turn { locked: Some(self.scripts.lock()), server: self }
    }

    /// Wakes the shard where somebody has waited longest for the Lua state.
    pub(crate) fn call_next_script(&self) {
        if let Some(shard) = self.scripts.line.first() {
            self.shards[shard].mailbox.wake();
        }
    }
}

impl Deref for Turn<'_> {
    type Target = States;

    fn deref(&self) -> &States {
        self.locked.as_deref().expect("it is locked until it is dropped")
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut States {
        self.locked.as_deref_mut().expect("it is locked until it is dropped")
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.locked = None;
        fence(Ordering::SeqCst);
        if !self.server.scripts.line.is_series() {
            self.server.call_next_script();
        }
    }
}
