//! `sterna import`: brings the keys and the functions of a Redis or Valkey into Sterna.
//!
//! ```text
//! dump.rdb ──────────────────────────────► RESTORE ─► a running Sterna
//! an append-only file ─► Dataset ────────►
//! a running server ─► SCAN, DUMP ────────►
//! dump.rdb, an append-only file ─► Dataset ─► the directory of a journal (--into)
//! a running server ─► the same and what follows (--follow, `follow.rs`); both are compared (--check, `compare.rs`)
//! ```
//!
//! In a running Sterna each value is given to RESTORE, with its
//! expiry and into the same database; keys that are there already are left alone unless `--replace` is given. What there is
//! no type for (values of modules) is counted and named.
//!
//! At a value that can't be read the import stops, unless `--keep-going` is given and its end is known. Whatever happens, it
//! says what was brought and where it stopped, and it ends with an error if any key was left.

mod compare;
mod follow;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;

use sterna_rdb::{Entry, Found, Kind, Rdb, RdbError, Step};
use sterna_server::{Dataset, LoadOptions, Loaded};

use crate::Failure;
use crate::backup::{require_empty, start_with};
use crate::dumped::{self, PIPELINE};
use crate::link::{Link, LinkError, Reach};
use crate::progress::Progress;
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

/// Names that are kept of keys that were left.
const NAMES_MAX: usize = 5;

/// Brings everything over, and says what was left.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let path = options.source.path.as_ref().or(options.source.rdb.as_ref());
    let found = path.map(|path| choose(path)).transpose()?;
    if let (Some(found), Some(into)) = (&found, &options.into) {
        return into_directory(found, into, options);
    }
    let link = Link::open(&options.reach)?;
    if let (true, Some(url)) = (options.check, &options.source.from) {
        return compare::compare(url, link, &options.reach);
    }
    let mut target = Target {
        link,
        replace: options.replace,
        keep_going: options.keep_going,
        reach: options.reach.clone(),
        // Whichever its URL has selected.
        db: u64::MAX,
        waiting: Vec::new(),
        tally: Tally::default(),
        progress: Progress::new(),
    };
    let brought = match (&found, &options.source.from) {
        (Some(Found::Rdb(path)), _) => from_file(path, &mut target),
        (Some(found), _) => from_commands(found, options, &mut target),
        (_, Some(url)) if options.follow => follow::follow(url, options, &mut target),
        (_, Some(url)) => from_server(url, &mut target),
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
    let mut tally = Tally { brought: dataset.counts(), ..Tally::default() };
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
    if let Some(libraries) = dataset.libraries() {
        target.bring_libraries(libraries)?;
    }
    let total = dataset.counts().values().sum();
    dataset.each(&mut |entry| {
        target.bring(entry)?;
        target.progress.show(target.tally.total(), total, target.tally.total());
        Ok(())
    })
}

fn from_file(path: &Path, target: &mut Target) -> Result<(), Failure> {
    let unreadable = |error| Failure::Rdb(path.to_owned(), error);
    let file = File::open(path).map_err(|error| unreadable(RdbError::Io(error)))?;
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

fn from_server(url: &Url, target: &mut Target) -> Result<(), Failure> {
    let mut source = Link::open(&Reach::to(url.clone(), &target.reach))?;
    if let Some(libraries) = dumped::functions(&mut source)? {
        target.bring_libraries(libraries)?;
    }
    dumped::walk(&mut source, |entry, seen, total| {
        target.bring(entry)?;
        target.progress.show(seen, total, target.tally.total());
        Ok(())
    })
}

/// That of Redis 8.8, which knows all encodings that values of Redis have here.
const DUMP_VERSION: u16 = 14;

/// Valkey's begin here, and give some types another meaning.
const VALKEY_VERSION_MIN: u16 = 80;

/// Where keys go.
struct Target {
    link: Link,
    replace: bool,
    keep_going: bool,
    /// How the target is reached: its certificates are those of both ends.
    reach: Reach,
    /// The database that the connection has selected.
    db: u64,
    /// Keys whose replies have not been read.
    waiting: Vec<(Kind, u64, Vec<u8>)>,
    tally: Tally,
    progress: Progress,
}

impl Target {
    /// Forgets what was brought: it is gone.
    fn start_again(&mut self) {
        self.waiting.clear();
        self.tally = Tally::default();
        self.db = u64::MAX;
    }

    fn bring(&mut self, entry: Entry) -> Result<(), Failure> {
        let Entry { db, key, kind, expire_at_ms, mut value, version } = entry;
        if kind == Kind::Module {
            self.tally.leave(kind, &key);
            return Ok(());
        }
        if db != self.db {
            self.settle()?;
            self.link.ask(&["SELECT", &db.to_string()])?;
            self.db = db;
        }
        let version = if version < VALKEY_VERSION_MIN { DUMP_VERSION } else { version };
        sterna_keyspace::seal_dump(&mut value, version);
        let expiry = expire_at_ms.unwrap_or(0).to_string();
        let mut words: Vec<&[u8]> = vec![b"RESTORE", &key, expiry.as_bytes(), &value, b"ABSTTL"];
        if self.replace {
            words.push(b"REPLACE");
        }
        self.link.send(&words)?;
        self.waiting.push((kind, db, key));
        if self.waiting.len() >= PIPELINE { self.settle() } else { Ok(()) }
    }

    /// `libraries`: of functions, as FUNCTION DUMP gives them before its footer.
    fn bring_libraries(&mut self, mut libraries: Vec<u8>) -> Result<(), Failure> {
        self.settle()?;
        sterna_keyspace::seal_dump(&mut libraries, DUMP_VERSION);
        let policy: &[u8] = if self.replace { b"REPLACE" } else { b"APPEND" };
        let words: [&[u8]; 4] = [b"FUNCTION", b"RESTORE", &libraries, policy];
        self.link.send(&words)?;
        match self.link.receive() {
            Ok(_) => self.tally.libraries.0 += 1,
            Err(LinkError::Refused { why, .. }) => {
                self.tally.libraries.1.get_or_insert(why);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Reads the replies that are due. Errors: a value was refused, and the import is to stop then.
    fn settle(&mut self) -> Result<(), Failure> {
        let mut stopped = Ok(());
        for (kind, db, key) in std::mem::take(&mut self.waiting) {
            match self.link.receive() {
                Ok(_) => *self.tally.brought.entry(kind).or_default() += 1,
                Err(LinkError::Refused { why, .. }) if why.starts_with("BUSYKEY") => self.tally.busy += 1,
                Err(LinkError::Refused { why, .. }) => {
                    let refused = format!("{} in database {db}: {why}", key.escape_ascii());
                    if !self.keep_going && stopped.is_ok() {
                        stopped = Err(Failure::Stopped(refused.clone()));
                    }
                    self.tally.refused.0 += 1;
                    self.tally.refused.1.get_or_insert(refused);
                }
                Err(error) => return Err(error.into()),
            }
        }
        stopped
    }
}

/// What became of the keys.
#[derive(Debug, Default)]
struct Tally {
    brought: BTreeMap<Kind, u64>,
    /// Types that there are none of here: how many, and some of their names.
    left: BTreeMap<Kind, (u64, Vec<String>)>,
    /// There already.
    busy: u64,
    /// Expired before they were brought.
    expired: u64,
    /// How many the server would not take, and why it didn't take the first.
    refused: (u64, Option<String>),
    /// Whether libraries of functions were brought, and why some were not.
    libraries: (u64, Option<String>),
}

impl Tally {
    fn leave(&mut self, kind: Kind, key: &[u8]) {
        let (count, names) = self.left.entry(kind).or_default();
        *count += 1;
        if names.len() < NAMES_MAX {
            names.push(key.escape_ascii().to_string());
        }
    }

    /// Takes over what loading files has left.
    fn add(&mut self, loaded: Loaded) {
        self.expired += loaded.expired;
        if loaded.modules.0 > 0 {
            self.left.insert(Kind::Module, loaded.modules);
        }
        self.refused = loaded.refused;
    }

    /// The last line: whether anything was left.
    fn conclude(&self) -> Result<(), Failure> {
        let left = self.left.values().map(|(count, _)| count).sum::<u64>() + self.busy + self.refused.0;
        let brought = self.brought.values().sum::<u64>();
        if !self.is_complete() {
            println!("done: {brought} keys imported, {left} left");
            return Err(Failure::NotAll);
        }
        println!("done: {brought} keys imported, nothing left");
        Ok(())
    }

    fn total(&self) -> u64 {
        self.brought.values().sum::<u64>()
            + self.left.values().map(|(count, _)| count).sum::<u64>()
            + self.busy
    }

    /// Whether no key was left.
    fn is_complete(&self) -> bool {
        self.left.is_empty() && self.busy == 0 && self.refused.0 == 0 && self.libraries.1.is_none()
    }

    fn tell(&self) {
        for (kind, count) in &self.brought {
            println!("imported: {count} of type {}", kind.name());
        }
        if self.brought.is_empty() {
            println!("imported: nothing");
        }
        for (kind, (count, names)) in &self.left {
            let more = if *count as usize > names.len() { ", …" } else { "" };
            println!(
                "left: {count} of type {}, which Sterna does not have: {}{more}",
                kind.name(),
                names.join(", ")
            );
        }
        if self.expired > 0 {
            println!("expired before: {}", self.expired);
        }
        if self.busy > 0 {
            println!("left: {} that were there already (--replace overwrites them)", self.busy);
        }
        if self.libraries.0 > 0 {
            println!("imported: libraries of functions");
        }
        if let Some(why) = &self.libraries.1 {
            println!("left: libraries of functions: {why}");
        }
        if let (count, Some(first)) = &self.refused {
            println!("refused: {count}, the first is {first}");
        }
    }
}
