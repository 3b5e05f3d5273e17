//! `sterna backup` and `sterna restore`: a copy of a running server's journal, and the way back.
//!
//! ```text
//! server ─► BACKUP STREAM ─► DIR/  MANIFEST  …snapshot  …segment…  SHA256SUMS      (or a tar on the standard output)
//! DIR ─► every sum is compared, every checksum of the journal read ─► the directory of a journal
//! ```
//!
//! The copy is of one moment, and the server goes on meanwhile. A directory gets its name when all of it is there, verified and
//! durable; before that it is called `DIR.part`, which a later try replaces. `sha256sum -c SHA256SUMS` verifies it without Sterna,
//! and `sterna journal check` reads it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use clap::Args;
use sha2::{Digest, Sha256};
use sterna_journal::{FileDisk, inspect};

use crate::Failure;
use crate::link::{Link, Reach};
use crate::progress::Progress;
use crate::tar;

/// From where to where.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct BackupOptions {
    /// The directory to make; `-` writes a tar to the standard output
    #[arg(value_name = "DIR|-")]
    to: PathBuf,
    #[command(flatten)]
    reach: Reach,
}

/// From where to where.
#[derive(Debug, Args)]
pub(crate) struct RestoreOptions {
    /// A directory that `sterna backup` has made
    #[arg(value_name = "DIR")]
    from: PathBuf,
    /// The directory of the journal (appenddirname in dir), which must be empty; without it, the backup is only verified
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
}

/// What the sums are in.
const SUMS: &str = "SHA256SUMS";

/// It has a line for each file, of which there are [`FILES_MAX`] at most.
const SUMS_BYTES_MAX: u64 = FILES_MAX * 256;

/// Names in one copy, at most: far more segments than any log has.
const FILES_MAX: u64 = 1 << 20;

/// Makes a backup.
pub(crate) fn backup(options: &BackupOptions) -> Result<(), Failure> {
    let mut link = Link::open(&options.reach)?;
    link.send(&["BACKUP", "STREAM"])?;
    let address = link.address().to_owned();
    if options.to == Path::new("-") {
        let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
        let mut received = Received::default();
        receive(&mut link, &mut received, &mut |name, bytes, from| {
            let unwritable = |error| Failure::Io("cannot write to the standard output", error);
            tar::file(&mut out, name, bytes, from).map_err(unwritable)
        })?;
        let unwritable = |error| Failure::Io("cannot write to the standard output", error);
        let sums = received.sums();
        tar::file(&mut out, SUMS, sums.len() as u64, &mut sums.as_bytes()).map_err(unwritable)?;
        tar::end(&mut out).and_then(|()| out.flush()).map_err(unwritable)?;
        eprintln!("done: {} files, {} bytes from {address}", received.sums.len(), received.bytes);
        return Ok(());
    }
    let to = &options.to;
    require_empty(to)?;
    let part = part_of(to);
    let made = make(&mut link, &part, to);
    if made.is_err() {
        // Half a backup is of no use to anybody.
        let _ = fs::remove_dir_all(&part);
    }
    let (received, check) = made?;
    println!(
        "done: {} files, {} bytes in {}: {} items and {} records, verified",
        received.sums.len(),
        received.bytes,
        to.display(),
        check.items,
        check.records
    );
    Ok(())
}

fn make(link: &mut Link, part: &Path, to: &Path) -> Result<(Received, inspect::Check), Failure> {
    let unwritable = |error| Failure::Export(part.to_owned(), error);
    match fs::remove_dir_all(part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unwritable(error)),
        _ => {}
    }
    let mut received = Received::default();
    let mut is_made = false;
    receive(link, &mut received, &mut |name, _, from| {
        if !std::mem::replace(&mut is_made, true) {
            create_private(part).map_err(unwritable)?;
        }
        let path = part.join(name);
        let mut file =
            sterna_filesystem::create(&path).map_err(|error| Failure::Export(path.clone(), error))?;
        let written = io::copy(from, &mut file).and_then(|_| file.sync_all());
        written.map_err(|error| Failure::Export(path.clone(), error))
    })?;
    let sums = part.join(SUMS);
    write_durably(&sums, received.sums().as_bytes()).map_err(|error| Failure::Export(sums.clone(), error))?;
    let check = sound(part)?;
    give_name(part, to).map_err(|error| Failure::Export(to.to_owned(), error))?;
    Ok((received, check))
}

/// What came.
#[derive(Debug, Default)]
struct Received {
    sums: BTreeMap<String, String>,
    bytes: u64,
}

impl Received {
    /// As `sha256sum` writes them.
    fn sums(&self) -> String {
        self.sums.iter().map(|(name, sum)| format!("{sum}  {name}\n")).collect()
    }
}

/// Takes one file: its name, its length, and where its bytes come from.
type Take<'a> = &'a mut dyn FnMut(&str, u64, &mut dyn Read) -> Result<(), Failure>;

/// Hands over each file of the copy that a server sends.
fn receive(link: &mut Link, received: &mut Received, take: Take<'_>) -> Result<(), Failure> {
    let mut progress = Progress::new();
    let words = link.number(b'*')?;
    if words < 2 || !words.is_multiple_of(2) || words > FILES_MAX {
        return Err(link.nonsense("an array of another length").into());
    }
    for index in 0..words / 2 {
        let name_bytes = link.number(b'$')?;
        if name_bytes > 255 {
            return Err(link.nonsense("a name of a file that is too long").into());
        }
        let mut name = vec![0; name_bytes as usize];
        link.read_exact(&mut name).map_err(|error| link.broken(error))?;
        link.end_of_line()?;
        let name = String::from_utf8(name).ok().filter(|name| is_name(name));
        let name = name.ok_or_else(|| link.nonsense("a name that no file of a journal has"))?;
        let bytes = link.number(b'$')?;
        let mut digested = Digested { from: &mut *link, left: bytes, digest: Sha256::new(), error: None };
        let taken = take(&name, bytes, &mut digested);
        let Digested { left, digest, error, .. } = digested;
        if let Some(error) = error {
            return Err(link.broken(error.into()).into());
        }
        taken?;
        if left > 0 {
            return Err(link.broken(io::ErrorKind::UnexpectedEof.into()).into());
        }
        link.end_of_line()?;
        let sum = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        received.sums.insert(name, sum);
        received.bytes += bytes;
        progress.show(index + 1, words / 2, received.bytes >> 20);
    }
    progress.end();
    Ok(())
}

/// Whether a file of a journal can have this name, which becomes one here.
fn is_name(name: &str) -> bool {
    let is_number = |name: &str| name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit());
    name == "MANIFEST"
        || name.strip_suffix(".segment").is_some_and(is_number)
        || name.strip_suffix(".snapshot").is_some_and(is_number)
}

/// Some of what comes, with the sum of it.
struct Digested<'a> {
    from: &'a mut Link,
    left: u64,
    digest: Sha256,
    /// Why there is no more of it.
    error: Option<io::ErrorKind>,
}

impl Read for Digested<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len());
        let read = match self.from.read(&mut buf[..most]) {
            Ok(0) if most > 0 => Err(io::ErrorKind::UnexpectedEof.into()),
            other => other,
        };
        let read = read.inspect_err(|error| {
            self.error = Some(error.kind()).filter(|&kind| kind != io::ErrorKind::Interrupted);
        })?;
        self.digest.update(&buf[..read]);
        self.left -= read as u64;
        Ok(read)
    }
}

/// Verifies a backup, and puts it where a server finds it.
pub(crate) fn restore(options: &RestoreOptions) -> Result<(), Failure> {
    let from = &options.from;
    let names = verify(from)?;
    let check = sound(from)?;
    println!("verified: {} files, {} items and {} records", names.len(), check.items, check.records);
    let Some(into) = &options.into else { return Ok(()) };
    require_empty(into)?;
    let part = part_of(into);
    let copied = copy_all(from, &names, &part)
        .and_then(|()| give_name(&part, into).map_err(|error| Failure::Export(into.to_owned(), error)));
    if copied.is_err() {
        let _ = fs::remove_dir_all(&part);
    }
    copied?;
    println!("done: restored into {}; start with: {}", into.display(), start_with(into));
    Ok(())
}

/// How a server is started that finds the journal there.
pub(crate) fn start_with(journal: &Path) -> String {
    let parent = journal.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = journal.file_name().unwrap_or_default();
    format!("sterna --dir {} --appenddirname {}", parent.display(), name.display())
}

fn copy_all(from: &Path, names: &[String], part: &Path) -> Result<(), Failure> {
    let failed = |path: &Path, error| Failure::Export(path.to_owned(), error);
    match fs::remove_dir_all(part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(part, error)),
        _ => {}
    }
    fs::create_dir_all(part).map_err(|error| failed(part, error))?;
    for name in names {
        let to = part.join(name);
        let from = from.join(name);
        let mut file = sterna_filesystem::open(&from).map_err(|error| failed(&from, error))?;
        let copied = sterna_filesystem::create(&to).and_then(|mut copy| {
            io::copy(&mut file, &mut copy)?;
            copy.sync_all()
        });
        copied.map_err(|error| failed(&to, error))?;
    }
    Ok(())
}

/// Compares every file with its sum. Returns their names.
fn verify(directory: &Path) -> Result<Vec<String>, Failure> {
    let wrong = |why: String| Failure::Backup(directory.to_owned(), why);
    let sums = directory.join(SUMS);
    let text = sterna_filesystem::read_text(&sums, SUMS_BYTES_MAX)
        .map_err(|error| wrong(format!("{SUMS} can't be read: {error}")))?;
    let mut names = Vec::new();
    for line in text.lines() {
        let pair = line.split_once("  ").filter(|(sum, name)| sum.len() == 64 && is_name(name));
        let (sum, name) =
            pair.ok_or_else(|| wrong(format!("{SUMS} has a line that says nothing: {line}")))?;
        let unreadable = |error: io::Error| wrong(format!("{name}: {error}"));
        let mut file = sterna_filesystem::open(directory.join(name)).map_err(unreadable)?;
        let mut digest = Sha256::new();
        io::copy(&mut file, &mut digest).map_err(unreadable)?;
        let got: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if got != sum {
            return Err(wrong(format!("{name} is not what was backed up: its SHA-256 is another")));
        }
        names.push(name.to_owned());
    }
    let disk = FileDisk::existing(directory).map_err(|error| Failure::Export(directory.to_owned(), error))?;
    let needed = inspect::files(&disk).map_err(|error| Failure::Journal(directory.to_owned(), error))?;
    for needed in needed.iter().map(String::as_str).chain(["MANIFEST"]) {
        if !names.iter().any(|name| name == needed) {
            return Err(wrong(format!("{SUMS} does not name {needed}")));
        }
    }
    Ok(names)
}

/// Reads every byte of the journal in a directory.
fn sound(directory: &Path) -> Result<inspect::Check, Failure> {
    let failed = |error| Failure::Journal(directory.to_owned(), error);
    let disk = FileDisk::existing(directory).map_err(|error| Failure::Export(directory.to_owned(), error))?;
    let check = inspect::check(&disk).map_err(failed)?;
    match check.damage.first() {
        None => Ok(check),
        Some(damage) => Err(Failure::Backup(directory.to_owned(), damage.to_string())),
    }
}

pub(crate) fn require_empty(directory: &Path) -> Result<(), Failure> {
    match fs::read_dir(directory).map(|mut entries| entries.next().is_none()) {
        Ok(false) => Err(Failure::NotEmpty(directory.to_owned())),
        Ok(true) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::Export(directory.to_owned(), error)),
    }
}

fn part_of(directory: &Path) -> PathBuf {
    // Without a slash at its end.
    let mut name = directory.components().collect::<PathBuf>().into_os_string();
    name.push(".part");
    name.into()
}

/// A directory for what nobody else is to read.
fn create_private(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = sterna_filesystem::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Gives a directory its name, once what is in it is durable.
fn give_name(part: &Path, to: &Path) -> io::Result<()> {
    sterna_filesystem::sync_directory(part)?;
    fs::rename(part, to)?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sterna_filesystem::sync_directory(parent)
}
