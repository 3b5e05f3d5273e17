//! The real disk: a directory of the file system.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{Disk, DiskFile};

/// A directory of the file system.
///
/// Its path may come to mean another directory while this one is in use: it was moved away, and another process has made a new one. Nothing
/// is made, renamed or removed there then. Cost: two calls for the attributes of a directory for each name that changes.
#[derive(Debug)]
pub struct FileDisk {
    directory: PathBuf,
    /// The directory that was opened, wherever it is now.
    opened: File,
}

impl FileDisk {
    /// Uses `directory`, making it (and its parents) if it is not there.
    ///
    /// Whatever gets a new name in it is synced too, so that the directory itself survives a power loss.
    pub fn open(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let directory = directory.into();
        let holders = holders_of_missing(&directory);
        if !holders.is_empty() {
            fs::create_dir_all(&directory)?;
            for holder in holders {
                sterna_filesystem::sync_directory(holder)?;
            }
        }
        Ok(FileDisk { opened: sterna_filesystem::open_directory(&directory)?, directory })
    }

    /// Uses `directory` as it is; `NotFound` if it is not there. For tools that must not leave anything behind.
    pub fn existing(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let directory = directory.into();
        if fs::metadata(&directory)?.is_dir() {
            Ok(FileDisk { opened: sterna_filesystem::open_directory(&directory)?, directory })
        } else {
            Err(io::Error::from(io::ErrorKind::NotADirectory))
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// An error if the path means another directory than the one that was opened.
    fn require_same(&self) -> io::Result<()> {
        let (now, opened) = (fs::metadata(&self.directory)?, self.opened.metadata()?);
        if (now.dev(), now.ino()) == (opened.dev(), opened.ino()) {
            Ok(())
        } else {
            Err(io::Error::other("another directory is in the place of the one that was opened"))
        }
    }
}

/// The directories in which a name has to be made for `directory` to be there, the innermost first.
fn holders_of_missing(directory: &Path) -> Vec<&Path> {
    let mut holders = Vec::new();
    let mut missing = directory;
    while !missing.is_dir() {
        let holder = match missing.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        holders.push(holder);
        missing = holder;
    }
    holders
}

impl Disk for FileDisk {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.require_same()?;
        let options = &mut OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(true);
        let file = sterna_filesystem::open_with(self.path(name), options)?;
        Ok(Box::new(OpenFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenFile(sterna_filesystem::open(self.path(name))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.require_same()?;
        fs::rename(self.path(from), self.path(to))
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.require_same()?;
        fs::remove_file(self.path(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            // A directory or a name that is not UTF-8 was not made by the journal, and is left alone.
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.opened.sync_all()
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Send>> {
        let options = &mut OpenOptions::new();
        let file =
            sterna_filesystem::open_with(self.path(name), options.write(true).create(true).truncate(false))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::Error::from(io::ErrorKind::WouldBlock)),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Somebody may remove the file while it is locked, and the next process would make and lock another one: the directory itself is
        // locked as well, where its file system can do that (NFS can't).
        let directory = sterna_filesystem::open_directory(&self.directory)?;
        match directory.try_lock() {
            Err(TryLockError::WouldBlock) => Err(io::Error::from(io::ErrorKind::WouldBlock)),
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Box::new((file, directory))),
        }
    }
}

struct OpenFile(File);

impl DiskFile for OpenFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while let Some(rest) = into.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, offset + read as u64) {
                Ok(0) => break,
                Ok(n) => read += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn sync(&self) -> io::Result<()> {
        // fdatasync: the length is synced when it matters, the time stamps are not.
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_locked_once_is_refused_a_second_time_until_released() {
        let directory = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(directory.path()).unwrap();
        let held = disk.lock("LOCK").unwrap();
        let second = FileDisk::open(directory.path()).unwrap().lock("LOCK");
        assert_eq!(second.map(|_| ()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        assert!(disk.lock("LOCK").is_ok());
    }

    #[test]
    fn a_directory_is_locked_also_when_somebody_has_removed_the_lock_file() {
        let directory = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(directory.path()).unwrap();
        let held = disk.lock("LOCK").unwrap();
        fs::remove_file(directory.path().join("LOCK")).unwrap();
        let second = FileDisk::open(directory.path()).unwrap();
        assert_eq!(second.lock("LOCK").map(|_| ()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        assert!(second.lock("LOCK").is_ok());
    }

    #[test]
    fn no_name_changes_in_a_directory_that_took_the_place_of_the_one_in_use_until_that_is_back() {
        let parent = tempfile::tempdir().unwrap();
        let (place, away) = (parent.path().join("journal"), parent.path().join("away"));
        let disk = FileDisk::open(&place).unwrap();
        disk.create("x").unwrap();
        fs::rename(&place, &away).unwrap();
        assert!(disk.create("y").is_err(), "there is none");
        let other = FileDisk::open(&place).unwrap();
        other.create("x").unwrap().write_at(b"others", 0).unwrap();
        assert!(disk.create("x").is_err());
        assert!(disk.create("y").is_err());
        assert!(disk.rename("x", "z").is_err());
        assert!(disk.unlink("x").is_err());
        assert_eq!(other.list().unwrap(), ["x"]);
        assert_eq!(fs::read(place.join("x")).unwrap(), b"others");
        // Back under its name, or reached by another way, it is the same one.
        fs::remove_dir_all(&place).unwrap();
        std::os::unix::fs::symlink(&away, &place).unwrap();
        disk.create("y").unwrap();
        disk.unlink("x").unwrap();
        assert_eq!(disk.list().unwrap(), ["y"]);
    }

    #[test]
    fn every_directory_that_gets_a_new_name_is_to_be_synced() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        assert!(holders_of_missing(directory.path()).is_empty());
        assert_eq!(holders_of_missing(&at("a")), [directory.path()]);
        assert_eq!(holders_of_missing(&at("a/b/c")), [&*at("a/b"), &*at("a"), directory.path()]);
        assert_eq!(holders_of_missing(Path::new("not-here")), [Path::new(".")]);
    }

    #[test]
    fn a_missing_directory_is_made_and_a_file_reads_back() {
        let directory = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(directory.path().join("a/b")).unwrap();
        let file = disk.create("x").unwrap();
        file.write_at(b"hello", 3).unwrap();
        file.sync().unwrap();
        disk.rename("x", "y").unwrap();
        disk.sync_dir().unwrap();
        let mut bytes = [9; 10];
        assert_eq!(disk.open("y").unwrap().read_at(&mut bytes, 0).unwrap(), 8);
        assert_eq!(&bytes[..8], b"\0\0\0hello");
        assert_eq!(disk.list().unwrap(), ["y"]);
        assert_eq!(disk.open("x").map(|_| ()).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
