//! Bugs to have on purpose, so that a test can show that the simulation would find them.

use std::cell::Cell;
use std::io;

use crate::disk::{Disk, DiskFile};

/// A bug that a journal could have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// A new segment's name is not synced: after a power loss the segment may be gone.
    NoDirectorySync,
    /// Records are synced and told durable before they are written.
    SyncBeforeWrite,
    /// A frame whose checksum does not match is taken all the same.
    ChecksumSkipped,
    /// A key's stamp does not cover the very record it was captured at, which is applied twice.
    StampOffByOne,
    /// The checksum covers a frame's header alone: a record whose payload is torn is taken if its length is whole.
    PayloadUnchecked,
}

thread_local! {
    static ACTIVE: Cell<Option<Planted>> = const { Cell::new(None) };
}

impl Planted {
    /// Every bug there is.
    pub const ALL: [Planted; 5] = [
        Planted::NoDirectorySync,
        Planted::SyncBeforeWrite,
        Planted::ChecksumSkipped,
        Planted::StampOffByOne,
        Planted::PayloadUnchecked,
    ];

    /// Runs `f` with this bug in the journals of this thread.
    pub fn during<T>(self, f: impl FnOnce() -> T) -> T {
        struct Restore(Option<Planted>);
        impl Drop for Restore {
            fn drop(&mut self) {
                ACTIVE.set(self.0);
            }
        }
        let _restore = Restore(ACTIVE.replace(Some(self)));
        f()
    }

    #[inline]
    pub(crate) fn is_active(self) -> bool {
        ACTIVE.get() == Some(self)
    }
}

/// A disk that forgets to sync its directory.
pub(crate) struct WithoutDirectorySync<'a>(pub(crate) &'a dyn Disk);

impl Disk for WithoutDirectorySync<'_> {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.0.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.0.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.0.unlink(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Send>> {
        self.0.lock(name)
    }
}
