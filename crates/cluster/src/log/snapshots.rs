//! Snapshots that nodes keep for each other (`cluster-snapshots`), in a directory that all reach or in S3.
//!
//! ```text
//!   PREFIX/NAME/INCARNATION/SLOT-xxxxxxxx.snapshot       slots with 20 digits: the names are in their order
//!   PREFIX/NAME/GROUP/INCARNATION/SLOT-xxxxxxxx.snapshot      of each log, where there are several groups of keys
//!
//!   [STERNASN][version u32] ([1][name length u16][name][length u64][bytes])… [0][xxh3 of all before, 128 bits]
//! ```
//!
//! One is the files of the leader's journal as they are at one moment: a start would find there what the log has up to its last
//! standing, which is `SLOT` or later. It is one object, which is there as a whole or not at all, and counts for the log's trimming
//! when it was read back from where it was written, every sum compared and every record read. Who looks for one tries them from the
//! newest on; what is damaged is passed over, and said. So the log keeps what is behind the oldest of those that are kept.
//!
//! Each group of keys has snapshots of its own, by its leader, which go as far as its log. One holds all files of that node's journal, with
//! the keys of other groups; who loads it takes those of the group.
//!
//! All of that is a thread's of its own, which asks nothing of the shards. One thing is done at a time.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, WriteMultipart};
use sterna_server::{CopyError, JournalFile, KeyGroup, LogSeat, SeatError, witness_of};
use tokio::runtime::{Builder, Runtime};
use xxhash_rust::xxh3::Xxh3;

use super::Position;
use super::s3::Connector;

const MAGIC: &[u8; 12] = b"STERNASN\x01\0\0\0";

/// Snapshots of a log that stay: the last one, and the one before, in case the last is damaged.
pub(super) const KEPT: usize = 2;

/// Bytes that go in one request. S3 takes at most 10 000 for one object: 160 GB.
const PART_BYTES: usize = 16 << 20;

/// How long the store may send and take nothing.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Files of one journal, at most.
const FILES_MAX: usize = 1 << 20;

/// Length of a file's name.
const NAME_BYTES_MAX: usize = 64;

/// Where snapshots are, and where one is put to be read.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotSettings {
    /// The keys, or the group of keys, whose log is meant.
    group: KeyGroup,
    store: Arc<dyn ObjectStore>,
    /// The directory, if it is one.
    root: Option<PathBuf>,
    prefix: String,
    work: PathBuf,
}

/// Why `cluster-snapshots` can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Neither of the two.
    #[error("it must be file:///directory or s3://bucket/prefix")]
    Scheme,
    /// What the library says.
    #[error(transparent)]
    Store(#[from] object_store::Error),
    /// The directory can't be made.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// No TLS.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// Why a snapshot is not written or not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error(transparent)]
    Store(#[from] object_store::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Seat(#[from] SeatError),
    #[error(transparent)]
    Journal(#[from] CopyError),
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    #[error("nothing was read of the log yet")]
    NoLog,
}

impl SnapshotSettings {
    /// What `cluster-snapshots` says. `work`: a directory that is nobody else's.
    pub(crate) fn of(url: &str, name: &str, work: PathBuf) -> Result<SnapshotSettings, StoreError> {
        if let Some(root) = url.strip_prefix("file://").filter(|root| root.starts_with('/')) {
            std::fs::create_dir_all(root)?;
            let store = LocalFileSystem::new_with_prefix(root)?.with_fsync(true);
            let (store, root) = (Arc::new(store), Some(PathBuf::from(root)));
            let group = KeyGroup::WHOLE;
            return Ok(SnapshotSettings { group, store, root, prefix: name.to_owned(), work });
        }
        let place = url.strip_prefix("s3://").ok_or(StoreError::Scheme)?;
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        if bucket.is_empty() {
            return Err(StoreError::Scheme);
        }
        let builder =
            AmazonS3Builder::from_env().with_bucket_name(bucket).with_http_connector(Connector::new()?);
        let prefix = [prefix.trim_matches('/'), name].join("/").trim_matches('/').to_owned();
        let (group, store) = (KeyGroup::WHOLE, Arc::new(builder.build()?));
        Ok(SnapshotSettings { group, store, root: None, prefix, work })
    }

    /// The same for one of several groups of keys.
    pub(crate) fn of_group(mut self, group: KeyGroup) -> SnapshotSettings {
        if group != KeyGroup::WHOLE {
            self.prefix = format!("{}/{}", self.prefix, group.index);
            self.work.add_extension(group.index.to_string());
        }
        SnapshotSettings { group, ..self }
    }
}

/// What is asked of the thread.
enum Wish {
    Write,
    Fetch { incarnation: u128, from: u64 },
}

/// What came of it.
pub(super) enum Came {
    /// A snapshot was written and read back; the log up to there is in it.
    Written(Result<Position, SnapshotError>),
    /// One is in that directory; `None`: there is none that goes so far.
    Fetched(Result<Option<Fetched>, SnapshotError>),
}

/// A snapshot that was read whole.
pub(super) struct Fetched {
    pub(super) directory: PathBuf,
    pub(super) witness: Vec<u8>,
    pub(super) position: Position,
}

/// The thread.
pub(super) struct Snapshots(Sender<Wish>);

impl Snapshots {
    /// Starts it. It ends by itself when nobody asks any more.
    pub(super) fn start(
        settings: SnapshotSettings,
        seat: LogSeat,
        tell: impl Fn(Came) + Send + 'static,
    ) -> io::Result<Snapshots> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let (wishes, asked) = channel();
        let shelf = Shelf { settings, runtime };
        let run = move || run(&shelf, &seat, &asked, tell);
        std::thread::Builder::new().name("cluster-snapshots".to_owned()).spawn(run)?;
        Ok(Snapshots(wishes))
    }

    /// Has one written.
    pub(super) fn write(&self) {
        // Without the thread the process is about to end.
        let _ = self.0.send(Wish::Write);
    }

    /// Has the newest one read in which this log stands at slot `from` or behind it.
    pub(super) fn fetch(&self, incarnation: u128, from: u64) {
        let _ = self.0.send(Wish::Fetch { incarnation, from });
    }
}

fn run(shelf: &Shelf, seat: &LogSeat, asked: &Receiver<Wish>, tell: impl Fn(Came)) {
    shelf.clear();
    for wish in asked {
        tell(match wish {
            Wish::Write => Came::Written(shelf.write(seat)),
            Wish::Fetch { incarnation, from } => Came::Fetched(shelf.fetch(incarnation, from)),
        });
    }
}

/// The slots as of which there are snapshots of a log, the newest first. Waits for the store.
pub(crate) fn kept(settings: SnapshotSettings, incarnation: u128) -> Result<Vec<u64>, SnapshotError> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
    let found = Shelf { settings, runtime }.list(incarnation)?;
    Ok(found.into_iter().map(|(slot, _)| slot).collect())
}

struct Shelf {
    settings: SnapshotSettings,
    runtime: Runtime,
}

impl Shelf {
    fn write(&self, seat: &LogSeat) -> Result<Position, SnapshotError> {
        let (witness, files) = seat.copy()?;
        let at = Position::from_witness(&witness).filter(|at| at.number > 0).ok_or(SnapshotError::NoLog)?;
        self.forget_unfinished(at.incarnation);
        let path = self.path(at.incarnation, &format!("{:020}-{:08x}.snapshot", at.slot, fastrand::u32(..)));
        self.upload(&path, files)?;
        let read_back = self.download(&path);
        self.clear();
        let (_, position) = read_back?;
        if position.incarnation != at.incarnation || position.slot < at.slot {
            return Err(SnapshotError::Damaged("it does not hold what was written"));
        }
        let kept = self.list(at.incarnation)?;
        // What claims to be later is another node's, or nobody's.
        for (_, path) in kept.iter().filter(|(slot, _)| *slot <= at.slot).skip(KEPT) {
            self.wait(self.settings.store.delete(path))?;
        }
        tracing::info!(slot = position.slot, %path, "a snapshot for the other nodes is written and verified");
        Ok(position)
    }

    fn fetch(&self, incarnation: u128, from: u64) -> Result<Option<Fetched>, SnapshotError> {
        let mut failure = None;
        for (_, path) in self.list(incarnation)? {
            match self.download(&path) {
                Ok((witness, position)) if position.incarnation == incarnation && position.slot >= from => {
                    let directory = self.settings.work.clone();
                    return Ok(Some(Fetched { directory, witness, position }));
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%path, %error, "a snapshot can't be used: the one before is tried");
                    failure = Some(error);
                }
            }
        }
        self.clear();
        failure.map_or(Ok(None), Err)
    }

    fn path(&self, incarnation: u128, name: &str) -> Path {
        Path::from(format!("{}/{incarnation:032x}/{name}", self.settings.prefix))
    }

    /// All of this log, the newest first.
    fn list(&self, incarnation: u128) -> Result<Vec<(u64, Path)>, SnapshotError> {
        let mut found = Vec::new();
        let prefix = self.path(incarnation, "");
        let mut listed = self.settings.store.list(Some(&prefix));
        while let Some(object) = self.within(listed.next())? {
            let location = object?.location;
            let slot =
                location.filename().and_then(|name| name.strip_suffix(".snapshot")?.get(..20)?.parse().ok());
            found.extend(slot.map(|slot| (slot, location)));
        }
        found.sort();
        found.reverse();
        Ok(found)
    }

    fn upload(&self, path: &Path, files: Vec<JournalFile>) -> Result<(), SnapshotError> {
        let upload = self.wait(self.settings.store.put_multipart(path))?;
        let upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let mut out = Outgoing { shelf: self, upload, sum: Xxh3::new() };
        match pack(files, &mut out) {
            Ok(()) => Ok(self.wait(out.upload.finish()).map(|_| ())?),
            Err(error) => {
                // What is left of it the store forgets, or not: it is no snapshot.
                let _ = self.wait(out.upload.abort());
                Err(error.into())
            }
        }
    }

    /// Reads a snapshot into the directory for that, verifies all of it, and says how far the log is in it.
    fn download(&self, path: &Path) -> Result<(Vec<u8>, Position), SnapshotError> {
        let work = &self.settings.work;
        self.clear();
        std::fs::create_dir_all(work)?;
        let stream = self.wait(self.settings.store.get(path))?.into_stream();
        let mut from = Incoming { shelf: self, stream, chunk: Bytes::new(), sum: Xxh3::new() };
        unpack(&mut from, &mut |name, content, bytes| {
            let mut file = sterna_filesystem::create(work.join(name))?;
            let written = io::copy(&mut content.take(bytes), &mut file)?;
            if written < bytes { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
        })?;
        let witness = witness_of(work, self.settings.group)?;
        let witness = witness.ok_or(SnapshotError::Damaged("it is no node's of this cluster"))?;
        let position = Position::from_witness(&witness).filter(|at| at.number > 0);
        Ok((witness, position.ok_or(SnapshotError::Damaged("how far the log was read can't be read"))?))
    }

    /// Removes what was put there to be read.
    fn clear(&self) {
        match std::fs::remove_dir_all(&self.settings.work) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, directory = %self.settings.work.display(), "can't be removed");
            }
            _ => {}
        }
    }

    /// In a directory, what a node was writing that was killed. Of S3 a rule of the bucket does the same.
    fn forget_unfinished(&self, incarnation: u128) {
        let Some(root) = &self.settings.root else { return };
        let of_log = root.join(self.path(incarnation, "").as_ref());
        let entries = std::fs::read_dir(of_log).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_name().to_string_lossy().contains('#')) {
            // It may be there at the next try.
            let _ = std::fs::remove_file(entry.path());
        }
    }

    fn within<F: Future>(&self, future: F) -> io::Result<F::Output> {
        let limited = async { tokio::time::timeout(SILENCE_MAX, future).await };
        self.runtime.block_on(limited).map_err(|_| io::Error::other("the store does not answer"))
    }

    fn wait<T>(&self, future: impl Future<Output = object_store::Result<T>>) -> Result<T, SnapshotError> {
        // Requests have times of their own, and are tried again.
        Ok(self.runtime.block_on(future)?)
    }
}

/// The store's end of an object that is written.
struct Outgoing<'a> {
    shelf: &'a Shelf,
    upload: WriteMultipart,
    sum: Xxh3,
}

impl Write for Outgoing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sum.update(bytes);
        let _entered = self.shelf.runtime.enter();
        self.upload.write(bytes);
        self.shelf.runtime.block_on(self.upload.wait_for_capacity(1)).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The store's end of one that is read.
struct Incoming<'a> {
    shelf: &'a Shelf,
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    chunk: Bytes,
    sum: Xxh3,
}

impl Read for Incoming<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.shelf.within(self.stream.next())? {
                Some(chunk) => self.chunk = chunk.map_err(io::Error::other)?,
                None => return Ok(0),
            }
        }
        let bytes = self.chunk.split_to(self.chunk.len().min(into.len()));
        into[..bytes.len()].copy_from_slice(&bytes);
        self.sum.update(&bytes);
        Ok(bytes.len())
    }
}

/// What sums up what has passed.
trait Summed {
    fn sum(&self) -> u128;
}

impl Summed for Outgoing<'_> {
    fn sum(&self) -> u128 {
        self.sum.digest128()
    }
}

impl Summed for Incoming<'_> {
    fn sum(&self) -> u128 {
        self.sum.digest128()
    }
}

/// Writes the files of a journal one behind the other.
fn pack(files: Vec<JournalFile>, out: &mut (impl Write + Summed)) -> io::Result<()> {
    out.write_all(MAGIC)?;
    for JournalFile { name, bytes, mut content } in files {
        // Names of a journal's files are short.
        out.write_all(&[1])?;
        out.write_all(&(name.len() as u16).to_le_bytes())?;
        out.write_all(name.as_bytes())?;
        out.write_all(&bytes.to_le_bytes())?;
        if io::copy(&mut content, out)? < bytes {
            return Err(io::Error::other(format!("{name} became shorter")));
        }
    }
    out.write_all(&[0])?;
    let sum = out.sum().to_le_bytes();
    out.write_all(&sum)
}

/// Takes one file: its name, where its bytes come from, how many they are.
type Take<'a> = &'a mut dyn FnMut(&str, &mut dyn Read, u64) -> io::Result<()>;

/// Reads what [`pack`] has written. Errors: it is something else, or the end is missing.
fn unpack(from: &mut (impl Read + Summed), take: Take<'_>) -> Result<(), SnapshotError> {
    let damaged = SnapshotError::Damaged;
    let mut magic = [0; MAGIC.len()];
    from.read_exact(&mut magic)?;
    if magic != *MAGIC {
        return Err(damaged("it is something else, or of another version"));
    }
    for _ in 0..FILES_MAX {
        let mut kind = [0];
        from.read_exact(&mut kind)?;
        if kind == [0] {
            let (sum, mut written) = (from.sum(), [0; 16]);
            from.read_exact(&mut written)?;
            let is_end = from.read(&mut kind)? == 0;
            return if is_end && u128::from_le_bytes(written) == sum {
                Ok(())
            } else {
                Err(damaged("its sum is another"))
            };
        }
        let (mut length, mut bytes) = ([0; 2], [0; 8]);
        from.read_exact(&mut length)?;
        let length = usize::from(u16::from_le_bytes(length));
        let mut name = vec![0; length.min(NAME_BYTES_MAX)];
        from.read_exact(&mut name)?;
        from.read_exact(&mut bytes)?;
        let is_named = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'.';
        let name = String::from_utf8(name)
            .ok()
            .filter(|name| name.len() == length && name.bytes().all(|b| is_named(&b)));
        let name = name.filter(|name| name.starts_with(|first: char| first != '.'));
        take(&name.ok_or(damaged("a file has no name"))?, from, u64::from_le_bytes(bytes))?;
    }
    Err(damaged("it has too many files"))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Plain(Cursor<Vec<u8>>, Xxh3);

    impl Write for Plain {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.update(bytes);
            self.0.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Read for Plain {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let read = self.0.read(into)?;
            self.1.update(&into[..read]);
            Ok(read)
        }
    }

    impl Summed for Plain {
        fn sum(&self) -> u128 {
            self.1.digest128()
        }
    }

    fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
        let file = |(name, content): &(&str, &[u8])| JournalFile {
            name: (*name).to_owned(),
            bytes: content.len() as u64,
            content: Box::new(Cursor::new(content.to_vec())),
        };
        let mut out = Plain::default();
        pack(files.iter().map(file).collect(), &mut out).expect("memory takes it");
        out.0.into_inner()
    }

    fn unpacked(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, SnapshotError> {
        let mut files = Vec::new();
        unpack(&mut Plain(Cursor::new(bytes.to_vec()), Xxh3::new()), &mut |name, content, bytes| {
            let mut all = Vec::new();
            content.take(bytes).read_to_end(&mut all)?;
            files.push((name.to_owned(), all));
            Ok(())
        })?;
        Ok(files)
    }

    #[test]
    fn files_come_back_as_they_were_and_every_byte_and_the_end_count() {
        let files: [(&str, &[u8]); 3] = [("MANIFEST", b"m"), ("1.snapshot", b""), ("2.segment", b"records")];
        let bytes = packed(&files);
        let back = unpacked(&bytes).expect("it is whole");
        assert_eq!(back, files.map(|(name, content)| (name.to_owned(), content.to_vec())));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(unpacked(&changed).is_err(), "byte {at}");
            assert!(unpacked(&bytes[..at]).is_err(), "the first {at} bytes");
        }
        assert!(unpacked(&[&bytes[..], b"x"].concat()).is_err(), "something behind it");
        for name in ["../x", "", "a/b", ".part"] {
            assert!(unpacked(&packed(&[(name, b"x")])).is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn bytes_that_are_no_snapshot_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), begins in any::<bool>()) {
            let head: &[u8] = if begins { MAGIC } else { b"" };
            prop_assert!(unpacked(&[head, &bytes].concat()).is_err());
        }
    }

    #[test]
    fn a_place_is_a_directory_or_a_bucket() {
        let folder = tempfile::tempdir().expect("a folder");
        let of = |url: &str| SnapshotSettings::of(url, "chat", folder.path().join("work"));
        let directory = of(&format!("file://{}/shared", folder.path().display())).expect("it can be made");
        assert_eq!((directory.prefix.as_str(), directory.root.is_some()), ("chat", true));
        assert_eq!(of("s3://bucket/a/b/").expect("a bucket").prefix, "a/b/chat");
        assert_eq!(of("s3://bucket").expect("a bucket").prefix, "chat");
        let third = of("s3://bucket").expect("a bucket").of_group(KeyGroup { index: 2, count: 3 });
        assert_eq!((third.prefix.as_str(), third.work), ("chat/2", folder.path().join("work.2")));
        for url in ["", "/var/lib", "file://relative", "s3://", "gs://bucket"] {
            assert!(of(url).is_err(), "{url}");
        }
    }
}
