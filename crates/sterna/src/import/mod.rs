//! `sterna import`: brings the keys and the functions of a Redis or Valkey into Sterna.
//!
//! ```text
//! dump.rdb ──────────────────────────────► RESTORE ─► a running Sterna
//! an append-only file ─► Dataset ────────►
//! a running server ─► SCAN, DUMP ────────►
//! dump.rdb, an append-only file ─► Dataset ─► the directory of a journal (--into)
//! a running server ─► the same and what follows (--follow, `follow.rs`); both are compared (--check, `../compare.rs`)
//! ```
//!
//! In a running Sterna each value is given to RESTORE, with its
//! expiry and into the same database; keys that are there already are left alone unless `--replace` is given. What there is
//! no type for (values of modules) is counted and named.
//!
//! At a value that can't be read the import stops, unless `--keep-going` is given and its end is known. Whatever happens, it
//! says what was brought and where it stopped, and it ends with an error if any key was left.

mod follow;

pub(crate) use follow::is_of_source;

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;

use sterna_rdb::{Entry, Found, Rdb, RdbError, Step};
use sterna_server::{Dataset, LoadOptions, Loaded};

use crate::Failure;
use crate::backup::{require_empty, start_with};
use crate::compare::compare;
use crate::dumped;
use crate::link::{Link, Reach};
use crate::progress::Progress;
use crate::target::{Tally, Target, Way};
use crate::url::Url;

/// From where to where.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    #[command(flatten)]
    source: Source,
    /// Write the directory of a journal (appenddirname in dir) instead, which must be empty; no server needs to run
    #[arg(long, value_name = "DIR", conflicts_with_all = ["from", "replace"])]
    into: Option<PathBuf>,
    /// Go on with what changes, until SIGINT or SIGTERM; the target must be empty, or --replace has it emptied
    #[arg(long, requires = "from", conflicts_with = "check")]
    follow: bool,
    /// Seconds that the source may be away while it is followed
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    away: u64,
    /// Bring nothing, and say what differs between the two servers
    #[arg(long, requires = "from")]
    check: bool,
    /// Refuse an append-only file that ends in the middle of a command
    #[arg(long)]
    whole: bool,
    /// Overwrite keys that are there already
    #[arg(long)]
    replace: bool,
    /// Pass over values that can't be read, instead of stopping at the first
    #[arg(long)]
    keep_going: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// A data directory of Redis or Valkey, or a file in it: dump.rdb, appendonly.aof, a manifest
    #[arg(value_name = "DIR|FILE")]
    path: Option<PathBuf>,
    /// The same
    #[arg(long, value_name = "FILE")]
    rdb: Option<PathBuf>,
    /// A running Redis or Valkey: `redis://[[user:]password@]host[:port]`
    #[arg(long, value_name = "URL")]
    from: Option<Url>,
}

/// Brings everything over, and says what was left.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let path = options.source.path.as_ref().or(options.source.rdb.as_ref());
    let found = path.map(|path| choose(path)).transpose()?;
    if let (Some(found), Some(into)) = (&found, &options.into) {
        return into_directory(found, into, options);
    }
    let link = Link::open(&options.reach)?;
    if let (true, Some(url)) = (options.check, &options.source.from) {
        return compare(Link::open(&Reach::to(url.clone(), &options.reach))?, link);
    }
    let mut target = Target::new(link, Way::In, options.replace, options.keep_going);
    let brought = match (&found, &options.source.from) {
        (Some(Found::Rdb(path)), _) => from_file(path, &mut target),
        (Some(found), _) => from_commands(found, options, &mut target),
        (_, Some(url)) if options.follow => follow::follow(url, options, &mut target),
        (_, Some(url)) => from_server(url, options, &mut target),
        (None, None) => Ok(()),
    };
    // What was sent before it stopped is in, or is not: that is said in any case.
    let brought = brought.and(target.settle());
    target.progress.end();
    target.tally.tell();
    brought?;
    target.tally.conclude()
}

/// What is at a path, and which of it is meant.
fn choose(path: &Path) -> Result<Found, Failure> {
    let all = Found::at(path)?;
    if all.len() > 1 {
        all.iter().for_each(|found| println!("found: {}", found.describe()));
    }
    let found = Found::choose(all, true).map_err(|why| Failure::Choice(path.to_owned(), why))?;
    println!("importing: {}", found.describe());
    Ok(found)
}

/// Loads files into memory.
fn load(found: &Found, options: &Options, progress: &mut Progress) -> Result<(Dataset, Loaded), Failure> {
    let mut dataset = Dataset::new();
    let how = LoadOptions { keep_going: options.keep_going, may_be_cut: !options.whole };
    let loaded = dataset.load(found, how, &mut |done, total, keys| progress.show(done, total, keys));
    progress.end();
    let loaded = loaded?;
    if let Some((path, offset, bytes)) = &loaded.cut {
        println!(
            "{} ends in an unfinished write: {bytes} bytes from offset {offset} on are left",
            path.display()
        );
    }
    Ok((dataset, loaded))
}

/// Writes a journal.
fn into_directory(found: &Found, into: &Path, options: &Options) -> Result<(), Failure> {
    require_empty(into)?;
    let (dataset, loaded) = load(found, options, &mut Progress::new())?;
    dataset.write_journal(into).map_err(|error| Failure::Journal(into.to_owned(), error))?;
    let mut tally = Tally::new(Way::In);
    tally.brought = dataset.counts();
    tally.add(loaded);
    tally.expired += dataset.expired();
    tally.libraries.0 = u64::from(dataset.libraries().is_some());
    tally.tell();
    println!("start with: {} --appendonly yes", start_with(into));
    tally.conclude()
}

/// Brings an append-only file to a running server: as what is there in the end.
fn from_commands(found: &Found, options: &Options, target: &mut Target) -> Result<(), Failure> {
    let (dataset, loaded) = load(found, options, &mut target.progress)?;
    target.tally.add(loaded);
    target.tally.expired += dataset.expired();
    target.bring_all(&dataset)
}

fn from_file(path: &Path, target: &mut Target) -> Result<(), Failure> {
    let unreadable = |error| Failure::Rdb(path.to_owned(), error);
    let file = sterna_filesystem::open(path).map_err(|error| unreadable(RdbError::Io(error)))?;
    let size = file.metadata().map_or(0, |about| about.len());
    let mut rdb = Rdb::open(BufReader::with_capacity(1 << 20, file)).map_err(unreadable)?;
    loop {
        match rdb.advance().map_err(unreadable)? {
            // It would be taken, and be gone.
            Step::Key(entry) if is_expired(&entry) => target.tally.expired += 1,
            Step::Key(entry) => target.bring(entry)?,
            Step::Library(library) => target.bring_libraries(library)?,
            Step::End => return Ok(()),
        }
        target.progress.show(rdb.offset, size, target.tally.total());
    }
}

fn is_expired(entry: &Entry) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    entry.expire_at_ms.is_some_and(|at_ms| u128::from(at_ms) < now.as_millis())
}

fn from_server(url: &Url, options: &Options, target: &mut Target) -> Result<(), Failure> {
    let mut source = Link::open(&Reach::to(url.clone(), &options.reach))?;
    if let Some(libraries) = dumped::functions(&mut source)? {
        target.bring_libraries(libraries)?;
    }
    dumped::walk(&mut source, |entry, seen, total| {
        target.bring(entry)?;
        target.progress.show(seen, total, target.tally.total());
        Ok(())
    })
}
