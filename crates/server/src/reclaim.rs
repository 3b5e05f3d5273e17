//! What is slow to free is freed on a thread of its own: large values, emptied databases.
//!
//! A command hands over what it removed (see `sterna_keyspace::Garbage`), and the shard goes on at once. What waits is
//! bounded: a shard that finds the queue full frees its own, so that nobody removes faster than memory comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use sterna_keyspace::{Changes, Garbage};

/// Removals that wait at most.
const QUEUE_MAX: usize = 1024;

/// The way to the thread that frees; it ends when this goes, after it has freed all there is.
#[derive(Debug)]
pub(crate) struct Reclaimer {
    sender: Option<SyncSender<(Vec<Garbage>, usize)>>,
    /// Bytes that wait.
    pending_bytes: Arc<AtomicUsize>,
}

impl Reclaimer {
    /// Starts the thread. Without one everything is freed where it is removed.
    pub(crate) fn start() -> Reclaimer {
        let (sender, receiver) = sync_channel::<(Vec<Garbage>, usize)>(QUEUE_MAX);
        let pending_bytes = Arc::<AtomicUsize>::default();
        let pending = Arc::clone(&pending_bytes);
        let free = move || {
            for (garbage, bytes) in receiver {
                drop(garbage);
                pending.fetch_sub(bytes, Relaxed);
            }
        };
        let thread = std::thread::Builder::new().name("reclaim".to_owned()).spawn(free);
        if let Err(error) = &thread {
            tracing::warn!(%error, "no thread to free large values: they are freed where they are removed");
        }
        Reclaimer { sender: thread.is_ok().then_some(sender), pending_bytes }
    }

    /// About how many bytes wait to be freed.
    pub(crate) fn pending_bytes(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.pending_bytes)
    }

    /// Takes what a command has removed, if it is slow to free.
    #[inline]
    pub(crate) fn take(&self, changes: &mut Changes) {
        self.free(changes.take_garbage());
    }

    /// Frees these.
    #[inline]
    pub(crate) fn free(&self, garbage: Vec<Garbage>) {
        let Some(sender) = self.sender.as_ref().filter(|_| !garbage.is_empty()) else { return };
        let bytes = garbage.iter().map(Garbage::bytes).sum();
        self.pending_bytes.fetch_add(bytes, Relaxed);
        if let Err(TrySendError::Full(garbage) | TrySendError::Disconnected(garbage)) =
            sender.try_send((garbage, bytes))
        {
            drop(garbage);
            self.pending_bytes.fetch_sub(bytes, Relaxed);
        }
    }
}
