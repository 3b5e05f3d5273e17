//! Files that are opened by name, without waiting.
//!
//! A name in the configuration or in a directory may stand for a pipe that nobody writes to, a device that has no end, a folder or a
//! socket. Opening a pipe waits for its other end, and reading a device never ends. So what is opened by name is a regular file, or an
//! error that says what stands there; and what is read as a whole has a length that its reader states.
//!
//! Two things are meant to be other than files, and have functions of their own: a configuration that comes through a descriptor
//! ([`read_descriptor`]), and the log ([`open_log`]).
//!
//! Errors name no path: whoever opens the file knows what it is for.

#![forbid(unsafe_code)]

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Folders in which a name stands for a descriptor of the process.
const DESCRIPTORS: [&str; 3] = ["/dev/stdin", "/dev/fd/", "/proc/self/fd/"];

/// Opens a regular file for reading.
pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
    open_with(path, OpenOptions::new().read(true))
}

/// Opens a regular file for writing, which is made if it is not there, and emptied if it is.
pub fn create(path: impl AsRef<Path>) -> io::Result<File> {
    open_with(path, OpenOptions::new().write(true).create(true).truncate(true))
}

/// Opens a regular file as `options` say; what else they say about flags is lost.
pub fn open_with(path: impl AsRef<Path>, options: &mut OpenOptions) -> io::Result<File> {
    let path = path.as_ref();
    // Opening alone may have consequences, for a device or for whoever waits at a pipe.
    if let Ok(about) = path.metadata() {
        require_regular(about.file_type())?;
    }
    // It may be another one by now: opening it still waits for nobody.
    let file = options.custom_flags(libc::O_NONBLOCK).open(path)?;
    require_regular(file.metadata()?.file_type())?;
    Ok(file)
}

/// All bytes of a regular file that has at most so many.
pub fn read(path: impl AsRef<Path>, bytes_max: u64) -> io::Result<Vec<u8>> {
    read_to_end(open(path)?, bytes_max)
}

/// The same of one that is text.
pub fn read_text(path: impl AsRef<Path>, bytes_max: u64) -> io::Result<String> {
    String::from_utf8(read(path, bytes_max)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Makes these the bytes of a regular file.
pub fn write(path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
    create(path)?.write_all(bytes)
}

/// Opens a directory, to lock it, to sync the names in it, or to know it again.
pub fn open_directory(path: impl AsRef<Path>) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path)
}

/// Syncs the names in a directory.
pub fn sync_directory(path: impl AsRef<Path>) -> io::Result<()> {
    open_directory(path)?.sync_all()
}

/// Whether a path is the name of a descriptor of the process, as `/dev/stdin` is and what a shell gives for `<(command)`.
pub fn is_descriptor(path: impl AsRef<Path>) -> bool {
    let path = path.as_ref().as_os_str().as_encoded_bytes();
    DESCRIPTORS.iter().any(|folder| path.starts_with(folder.as_bytes()))
}

/// All that comes through a descriptor of the process, whatever it is, up to so many bytes. It waits for the end: whoever started the
/// process is at the other one.
pub fn read_descriptor(path: impl AsRef<Path>, bytes_max: u64) -> io::Result<Vec<u8>> {
    read_to_end(File::open(path)?, bytes_max)
}

/// All bytes up to the end, if that comes after at most so many.
pub fn read_to_end(from: impl Read, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is longer than {bytes_max} bytes"),
        ));
    }
    Ok(bytes)
}

/// Opens a log to append lines to, which is made if `is_made` and it is not there. It may be a device or a pipe that somebody reads, as
/// standard output is; what these do not take at once is lost, and nobody waits for them.
pub fn open_log(path: impl AsRef<Path>, is_made: bool) -> io::Result<File> {
    let opened =
        OpenOptions::new().append(true).create(is_made).custom_flags(libc::O_NONBLOCK).open(path.as_ref());
    opened.map_err(|error| match path.as_ref().metadata().map(|about| about.file_type()) {
        Ok(kind) if kind.is_fifo() && error.raw_os_error() == Some(libc::ENXIO) => {
            io::Error::new(error.kind(), "it is a named pipe that nobody reads")
        }
        Ok(kind) if kind.is_socket() => irregular(kind),
        _ => error,
    })
}

fn require_regular(kind: FileType) -> io::Result<()> {
    if kind.is_file() { Ok(()) } else { Err(irregular(kind)) }
}

fn irregular(kind: FileType) -> io::Error {
    let (code, what) = match kind {
        kind if kind.is_dir() => (io::ErrorKind::IsADirectory, "a directory"),
        kind if kind.is_fifo() => (io::ErrorKind::InvalidInput, "a named pipe"),
        kind if kind.is_socket() => (io::ErrorKind::InvalidInput, "a socket"),
        _ => (io::ErrorKind::InvalidInput, "a device"),
    };
    io::Error::new(code, format!("it is {what}, not a regular file"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    #[test]
    fn what_is_no_regular_file_is_named_and_never_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        let _socket = UnixListener::bind(at("socket")).unwrap();
        std::os::unix::fs::symlink(at("pipe"), at("link")).unwrap();
        let kinds = [
            (directory.path().to_owned(), "a directory"),
            (at("pipe"), "a named pipe"),
            (at("link"), "a named pipe"),
            (at("socket"), "a socket"),
            ("/dev/zero".into(), "a device"),
        ];
        for (path, what) in kinds {
            let expected = format!("it is {what}, not a regular file");
            let errors = [
                open(&path).map(drop),
                create(&path).map(drop),
                read(&path, 9).map(drop),
                write(&path, b"x"),
            ];
            for error in errors {
                assert_eq!(error.unwrap_err().to_string(), expected, "{}", path.display());
            }
        }
        assert_eq!(
            open_log(at("pipe"), true).unwrap_err().to_string(),
            "it is a named pipe that nobody reads"
        );
        assert!(open_log(directory.path(), true).is_err());
        assert!(open_log("/dev/null", true).is_ok());
        assert!(sync_directory(at("pipe")).is_err());
        sync_directory(directory.path()).unwrap();
    }

    #[test]
    fn what_is_read_as_a_whole_has_an_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        write(&path, b"hello").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"hello");
        assert_eq!(read(&path, 4).unwrap_err().to_string(), "it is longer than 4 bytes");
        assert_eq!(read_descriptor("/dev/zero", 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        write(&path, b"\xff").unwrap();
        assert_eq!(read_text(&path, 4).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(read("/not/there", 1).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_log_in_a_pipe_loses_what_is_not_read_and_waits_for_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
        let mut log = open_log(&path, true).unwrap();
        let end = (0..1_000).find_map(|_| log.write(&[b'x'; 4096]).err()).unwrap();
        assert_eq!(end.kind(), io::ErrorKind::WouldBlock);
        drop(reader);
    }
}
