//! `sterna export`: brings the keys and the functions of Sterna to Redis or Valkey: into a database file that they load, or into a server
//! that runs (`--to`), once or with what follows (`follow.rs`).
//!
//! The server goes on meanwhile, and the file has each key as it was when it was read (`dumped.rs`): for a copy of one
//! moment, stop writing first. The file gets its name when it is whole, and the lowest version that holds what is in it:
//! 11 or less is read by Valkey and by Redis from 7.2 on, more by newer Redis only. Hashes whose fields expire are in another form in
//! Valkey: a server says which of the two it is, a file is written for Valkey if that is asked for (`--valkey`).

mod follow;

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use sterna_keyspace::{crc64, for_valkey};
use sterna_rdb::{Entry, Kind, RdbWriter, VALKEY_VERSION, VERSION_MIN};

use sterna_server::Dataset;

use crate::Failure;
use crate::compare::compare;
use crate::dumped;
use crate::link::{Link, Reach};
use crate::progress::Progress;
use crate::target::{Target, Way};
use crate::url::Url;

/// From where to where.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    #[command(flatten)]
    destination: Destination,
    /// Of a journal at rest, or of a backup, instead of a server: all keys of one moment
    #[arg(long, value_name = "DIR")]
    journal: Option<PathBuf>,
    /// Go on with what changes, until SIGINT or SIGTERM; the target must be empty, or --replace has it emptied
    #[arg(long, requires = "to", conflicts_with_all = ["check", "journal"])]
    follow: bool,
    /// Seconds that the source may be away while it is followed
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    away: u64,
    /// Bring nothing, and say what differs between the two servers
    #[arg(long, requires = "to", conflicts_with = "journal")]
    check: bool,
    /// Overwrite keys that are there already
    #[arg(long, requires = "to")]
    replace: bool,
    /// Pass over values that the target refuses, instead of stopping at the first
    #[arg(long, requires = "to")]
    keep_going: bool,
    /// Write the file for Valkey (from 9.0 on), and not for Redis: they have fields of hashes that expire in forms of their own
    #[arg(long, requires = "rdb")]
    valkey: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Destination {
    /// The database file to write
    #[arg(long, value_name = "FILE")]
    rdb: Option<PathBuf>,
    /// A running Redis (from 7.2 on) or Valkey: `redis://[[user:]password@]host[:port]`
    #[arg(long, value_name = "URL")]
    to: Option<Url>,
}

/// Digits of the version in the head of a file, behind `REDIS`.
const VERSION_AT: u64 = 5;
const CHECKSUM_BYTES: i64 = 8;

/// Brings everything, and says what was left.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    match (&options.destination.rdb, &options.destination.to) {
        (Some(path), _) => to_file(path, options),
        (None, Some(url)) => to_server(url, options),
        (None, None) => Ok(()),
    }
}

fn to_server(url: &Url, options: &Options) -> Result<(), Failure> {
    let link = Link::open(&Reach::to(url.clone(), &options.reach))?;
    if options.check {
        return compare(Link::open(&options.reach)?, link);
    }
    let mut target = Target::new(link, Way::Out, options.replace, options.keep_going);
    let brought = match &options.journal {
        _ if options.follow => follow::follow(options, &mut target),
        None => from_running(options, &mut target),
        Some(journal) => from_rest(journal, &mut target),
    };
    // What was sent before it stopped is in, or is not: that is said in any case.
    let brought = brought.and(target.settle());
    target.progress.end();
    target.tally.tell();
    brought?;
    target.tally.conclude()
}

fn from_running(options: &Options, target: &mut Target) -> Result<(), Failure> {
    let mut source = Link::open(&options.reach)?;
    if let Some(libraries) = dumped::functions(&mut source)? {
        target.bring_libraries(libraries)?;
    }
    dumped::walk(&mut source, |entry, seen, total| {
        target.bring(entry)?;
        target.progress.show(seen, total, target.tally.total());
        Ok(())
    })
}

fn from_rest(journal: &Path, target: &mut Target) -> Result<(), Failure> {
    target.bring_all(&at_rest(journal)?)
}

fn to_file(path: &Path, options: &Options) -> Result<(), Failure> {
    let unwritable = |error| Failure::Export(path.to_owned(), error);
    let mut source = match &options.journal {
        Some(journal) => Source::Journal(Box::new(at_rest(journal)?)),
        None => Source::Server(Link::open(&options.reach)?),
    };
    let libraries = match &mut source {
        Source::Journal(dataset) => dataset.libraries(),
        Source::Server(link) => dumped::functions(link)?,
    };
    let part = part_of(path);
    let mut export = Export::create(&part, options.valkey).map_err(unwritable)?;
    let mut progress = Progress::new();
    if let Some(libraries) = libraries {
        export.out.libraries(&libraries).map_err(unwritable)?;
    }
    let mut take = |entry: Entry, seen, total| {
        export.write(&entry).map_err(unwritable)?;
        progress.show(seen, total, seen);
        Ok(())
    };
    let written = match source {
        Source::Journal(dataset) => {
            let (mut seen, total) = (0, dataset.counts().values().sum());
            dataset.each(&mut |entry| {
                seen += 1;
                take(entry, seen, total)
            })
        }
        Source::Server(mut link) => dumped::walk(&mut link, take),
    };
    progress.end();
    let (keys, left, version) = (export.keys, export.left, export.version);
    let finished = written.and_then(|()| export.finish().map_err(unwritable));
    if let Err(error) = finished.and_then(|()| fs::rename(&part, path).map_err(unwritable)) {
        // Half a file is of no use to anybody.
        let _ = fs::remove_file(&part);
        return Err(error);
    }
    let version = if options.valkey { VALKEY_VERSION } else { version };
    println!("exported: {keys} keys to {} (version {version})", path.display());
    if !options.valkey && version > VERSION_MIN {
        println!("Valkey does not read this version: --valkey writes a file for it");
    }
    if left > 0 {
        println!("left: {left} values of modules, or that the other server has no form for");
        return Err(Failure::NotAll);
    }
    Ok(())
}

/// Where keys come from.
enum Source {
    Server(Link),
    Journal(Box<Dataset>),
}

fn at_rest(journal: &Path) -> Result<Dataset, Failure> {
    let dataset =
        Dataset::of_journal(journal).map_err(|error| Failure::Journal(journal.to_owned(), error))?;
    dataset.ok_or_else(|| Failure::NoJournal(journal.to_owned(), String::new()))
}

/// Where a file is written before it is whole.
fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// A file being written.
struct Export {
    out: RdbWriter<BufWriter<File>>,
    for_valkey: bool,
    version: u16,
    keys: u64,
    left: u64,
}

impl Export {
    fn create(path: &Path, for_valkey: bool) -> io::Result<Export> {
        let options = &mut File::options();
        let options = options.read(true).write(true).create(true).truncate(true);
        let file = sterna_filesystem::open_with(path, options)?;
        let out = BufWriter::with_capacity(1 << 20, file);
        let server = sterna_server::VERSION.redis;
        let out = match for_valkey {
            true => RdbWriter::begin_for_valkey(out, server)?,
            false => RdbWriter::begin(out, VERSION_MIN, server)?,
        };
        Ok(Export { out, for_valkey, version: VERSION_MIN, keys: 0, left: 0 })
    }

    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        if entry.kind == Kind::Module || entry.value.is_empty() {
            self.left += 1;
            return Ok(());
        }
        let of_valkey = self.for_valkey.then(|| for_valkey(&entry.value)).flatten();
        if self.for_valkey && of_valkey.is_none() && entry.version > VERSION_MIN {
            self.left += 1;
            return Ok(());
        }
        if !self.for_valkey {
            self.version = self.version.max(entry.version);
        }
        let value = of_valkey.as_ref().unwrap_or(&entry.value);
        self.out.key(entry.db, &entry.key, entry.expire_at_ms, value)?;
        self.keys += 1;
        Ok(())
    }

    /// Ends the file and makes it durable.
    fn finish(self) -> io::Result<()> {
        let out = self.out.end()?;
        let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        if self.version != VERSION_MIN {
            restate(&mut file, self.version)?;
        }
        file.sync_all()
    }
}

/// Gives the head another version, and the end the checksum that this makes.
fn restate(file: &mut File, version: u16) -> io::Result<()> {
    file.seek(SeekFrom::Start(VERSION_AT))?;
    file.write_all(format!("{version:04}").as_bytes())?;
    let end = file.seek(SeekFrom::End(-CHECKSUM_BYTES))?;
    file.seek(SeekFrom::Start(0))?;
    let mut checksum = 0;
    let mut reader = BufReader::with_capacity(1 << 20, &*file).take(end);
    let mut piece = vec![0; 1 << 16];
    loop {
        let len = reader.read(&mut piece)?;
        if len == 0 {
            break;
        }
        checksum = crc64(checksum, &piece[..len]);
    }
    file.seek(SeekFrom::Start(end))?;
    file.write_all(&checksum.to_le_bytes())
}
