//! The disk, as much of it as the journal needs: one directory of flat files.
//!
//! All I/O of this crate goes through these two traits, so that the code that runs on a real disk is the code that the
//! simulator crashes (`simulated.rs`). They promise no more than POSIX does:
//!
//! - a write survives a power loss only after [`DiskFile::sync`] of that file returned `Ok`;
//! - a name (created, renamed, unlinked) survives only after [`Disk::sync_dir`] returned `Ok`;
//! - after a failed `sync`, bytes written before it may be lost even if a later `sync` succeeds: they have to be written
//!   again, elsewhere (*Can Applications Recover from fsync Failures?*, ATC '20).
//!
//! Deliberately absent: memory mapping (a page that can't be read would be a signal, not an error), appending by the
//! kernel's idea of the end (a retry after a short write would duplicate), paths (a journal is one directory).

mod file;
#[cfg(any(test, feature = "simulation"))]
pub mod simulated;

use std::io;

pub use file::FileDisk;

/// One directory. Names are plain file names, without separators.
///
/// Methods take `&self` and may be called from several threads: the journal's thread writes while a snapshot is written
/// and the log is read elsewhere.
pub trait Disk: Send + Sync {
    /// Makes an empty file for reading and writing, replacing any file of that name.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Opens an existing file for reading. `NotFound` if there is none.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Gives `from` the name `to`, atomically replacing any file of that name. Not durable before `sync_dir`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name. Not durable before `sync_dir`.
    fn unlink(&self, name: &str) -> io::Result<()>;

    /// The names in the directory, in no order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes every name given, changed or removed so far survive a power loss.
    fn sync_dir(&self) -> io::Result<()>;

    /// Claims the directory for this process until the returned file is dropped; `WouldBlock` if another holds it.
    fn lock(&self, name: &str) -> io::Result<Box<dyn Send>>;
}

/// One open file, read and written at offsets that the caller keeps.
///
/// Methods take `&self`: the file is written to while it is being synced.
pub trait DiskFile: Send + Sync {
    /// Writes all of `bytes` at `offset`. On an error any part of them may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Reads up to `into.len()` bytes at `offset` and returns how many; fewer only at the end of the file.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Makes every byte that was written before the call survive a power loss. After an error no byte since the last
    /// success is safe, and no later success makes it so.
    fn sync(&self) -> io::Result<()>;

    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file holds no byte.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Whether an error means that there is no room (`ENOSPC`, `EDQUOT`, `EFBIG`), as opposed to a disk that does not work.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
