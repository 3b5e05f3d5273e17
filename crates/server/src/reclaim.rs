//! What is slow to free is freed on a thread of its own: large values, emptied databases.
//!
//! A command hands over what it removed (see `sterna_keyspace::Garbage`), and the shard goes on at once. What waits is
//! bounded: a shard that finds the queue full frees its own, so that nobody removes faster than memory comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use sterna_keyspace::{Changes, Garbage};

/// Removals that wait at most.
const QUEUE_MAX: usize = 1024;

/// The way to the thread that frees; it ends when this goes, after it has freed all there is.
#[derive(Debug)]
pub(crate) struct Reclaimer {
    sender: Option<SyncSender<Load>>,
    /// Bytes that wait.
    pending_bytes: Arc<AtomicUsize>,
    objects: Arc<Objects>,
}

/// What is freed at once.
struct Load {
    garbage: Vec<Garbage>,
    bytes: usize,
    objects: usize,
}

/// Keys and groups that are freed here, for INFO.
#[derive(Debug, Default)]
struct Objects {
    pending: AtomicUsize,
    freed: AtomicU64,
}

impl Reclaimer {
    /// Starts the thread. Without one everything is freed where it is removed.
    pub(crate) fn start() -> Reclaimer {
        let (sender, receiver) = sync_channel::<Load>(QUEUE_MAX);
        let pending_bytes = Arc::<AtomicUsize>::default();
        let objects = Arc::<Objects>::default();
        let (pending, counted) = (Arc::clone(&pending_bytes), Arc::clone(&objects));
        let free = move || {
            for Load { garbage, bytes, objects } in receiver {
                drop(garbage);
                pending.fetch_sub(bytes, Relaxed);
                counted.pending.fetch_sub(objects, Relaxed);
                counted.freed.fetch_add(objects as u64, Relaxed);
            }
        };
        let thread = std::thread::Builder::new().name("reclaim".to_owned()).spawn(free);
        if let Err(error) = &thread {
            tracing::warn!(%error, "no thread to free large values: they are freed where they are removed");
        }
        Reclaimer { sender: thread.is_ok().then_some(sender), pending_bytes, objects }
    }

    /// How many keys and groups wait to be freed.
    pub(crate) fn pending_objects(&self) -> usize {
        self.objects.pending.load(Relaxed)
    }

    /// How many have been freed here.
    pub(crate) fn freed_objects(&self) -> u64 {
        self.objects.freed.load(Relaxed)
    }

    /// Counts those that were freed anew.
    pub(crate) fn reset(&self) {
        self.objects.freed.store(0, Relaxed);
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
        let (bytes, objects) =
            (garbage.iter().map(Garbage::bytes).sum(), garbage.iter().map(Garbage::objects).sum());
        self.pending_bytes.fetch_add(bytes, Relaxed);
        self.objects.pending.fetch_add(objects, Relaxed);
        if let Err(TrySendError::Full(load) | TrySendError::Disconnected(load)) =
            sender.try_send(Load { garbage, bytes, objects })
        {
            drop(load);
            self.pending_bytes.fetch_sub(bytes, Relaxed);
            self.objects.pending.fetch_sub(objects, Relaxed);
        }
    }
}
