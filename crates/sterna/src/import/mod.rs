//! `sterna import`: brings the strings and streams of a Redis or Valkey into a running Sterna.
//!
//! From a database file, or from the running server itself, read with SCAN and DUMP. Each value is given to RESTORE, with its
//! expiry and into the same database; keys that are there already are left alone unless `--replace` is given. What there is
//! no type for (lists, sets, hashes, sorted sets) is counted and named.
//!
//! At a value that can't be read the import stops, unless `--keep-going` is given and its end is known. Whatever happens, it
//! says what was brought and where it stopped, and it ends with an error if any key was left.

mod rdb;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use sterna_protocol::decode::Value;

use crate::Failure;
use crate::link::{Link, LinkError, Reach};
use crate::url::Url;
pub(crate) use rdb::RdbError;
use rdb::{Entry, Kind, Rdb, Step};

/// From where to where.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    #[command(flatten)]
    source: Source,
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
    /// A database file of Redis or Valkey
    #[arg(long, value_name = "FILE")]
    rdb: Option<PathBuf>,
    /// A running Redis or Valkey: `redis://[[user:]password@]host[:port]`
    #[arg(long, value_name = "URL")]
    from: Option<Url>,
}

/// Requests sent before their replies are read.
const PIPELINE: usize = 128;

/// Names that are kept of keys that were left.
const NAMES_MAX: usize = 5;

/// Brings everything over, and says what was left.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut target = Target {
        link: Link::open(&options.reach)?,
        replace: options.replace,
        keep_going: options.keep_going,
        db: 0,
        waiting: Vec::new(),
        tally: Tally::default(),
        progress: Progress::new(),
    };
    let brought = match (&options.source.rdb, &options.source.from) {
        (Some(path), _) => from_file(path, &mut target),
        (_, Some(url)) => from_server(url, &mut target),
        (None, None) => Ok(()),
    };
    // What was sent before it stopped is in, or is not: that is said in any case.
    let brought = brought.and(target.settle());
    target.progress.end();
    target.tally.tell();
    brought?;
    if target.tally.is_complete() { Ok(()) } else { Err(Failure::NotAll) }
}

fn from_file(path: &PathBuf, target: &mut Target) -> Result<(), Failure> {
    let unreadable = |error| Failure::Rdb(path.clone(), error);
    let file = File::open(path).map_err(|error| unreadable(RdbError::Io(error)))?;
    let size = file.metadata().map_or(0, |about| about.len());
    let mut rdb = Rdb::open(BufReader::with_capacity(1 << 20, file)).map_err(unreadable)?;
    loop {
        match rdb.next().map_err(unreadable)? {
            Step::Key(entry) => target.bring(entry)?,
            Step::Library => target.tally.libraries += 1,
            Step::End => return Ok(()),
        }
        target.progress.show(rdb.offset, size, &target.tally);
    }
}

fn from_server(url: &Url, target: &mut Target) -> Result<(), Failure> {
    let mut source = Link::open(&Reach::to(url.clone()))?;
    let (mut seen, total) = (0, keys_of(&mut source)?);
    for &db in total.keys() {
        source.ask(&["SELECT", &db.to_string()])?;
        let mut cursor = "0".to_owned();
        loop {
            let reply = source.ask(&["SCAN", &cursor, "COUNT", "512"])?;
            let [next, Value::Array(keys)] = reply.as_slice().unwrap_or_default() else {
                return Err(Failure::Link(LinkError::Refused("SCAN answered something else".to_owned())));
            };
            cursor =
                next.as_bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
            for keys in keys.chunks(PIPELINE) {
                let keys: Vec<&[u8]> = keys.iter().filter_map(Value::as_bytes).collect();
                for entry in dumped(&mut source, db, &keys)? {
                    target.bring(entry)?;
                }
                seen += keys.len() as u64;
                target.progress.show(seen, total.values().sum(), &target.tally);
            }
            if cursor == "0" {
                break;
            }
        }
    }
    Ok(())
}

/// Databases that have keys, and how many.
fn keys_of(source: &mut Link) -> Result<BTreeMap<u64, u64>, LinkError> {
    let info = source.ask(&["INFO", "keyspace"])?;
    let text = String::from_utf8_lossy(info.as_bytes().unwrap_or_default()).into_owned();
    let line = |line: &str| {
        let (db, figures) = line.strip_prefix("db")?.split_once(":keys=")?;
        Some((db.parse().ok()?, figures.split(',').next()?.parse().ok()?))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// What is under `keys`; those that are gone meanwhile are left out.
fn dumped(source: &mut Link, db: u64, keys: &[&[u8]]) -> Result<Vec<Entry>, LinkError> {
    for key in keys {
        source.send(&[b"TYPE", *key])?;
        source.send(&[b"PEXPIRETIME", *key])?;
    }
    let mut found = Vec::new();
    for key in keys {
        let (kind, expiry) = (source.receive()?, source.receive()?);
        let kind = match kind.as_bytes().unwrap_or_default() {
            b"none" => continue,
            b"string" => Kind::String,
            b"stream" => Kind::Stream,
            b"list" => Kind::List,
            b"set" => Kind::Set,
            b"zset" => Kind::SortedSet,
            b"hash" => Kind::Hash,
            _ => Kind::Module,
        };
        let expire_at_ms = expiry.as_int().and_then(|at_ms| u64::try_from(at_ms).ok());
        found.push(Entry { db, key: key.to_vec(), kind, expire_at_ms, value: Vec::new() });
    }
    let is_wanted = |entry: &&mut Entry| matches!(entry.kind, Kind::String | Kind::Stream);
    for entry in found.iter_mut().filter(is_wanted) {
        source.send(&[b"DUMP", &*entry.key])?;
    }
    for entry in found.iter_mut().filter(is_wanted) {
        // The footer is made anew: it begins where the last ten bytes do.
        let dump = source.receive()?;
        let dump = dump.as_bytes().unwrap_or_default();
        entry.value = dump[..dump.len().saturating_sub(FOOTER_BYTES)].to_vec();
    }
    found.retain(|entry| !entry.value.is_empty() || !matches!(entry.kind, Kind::String | Kind::Stream));
    Ok(found)
}

/// A version and a checksum end what DUMP gives.
const FOOTER_BYTES: usize = 2 + 8;

/// That of Redis 8.8, which knows all encodings that strings and streams have here.
const DUMP_VERSION: u16 = 14;

/// Where keys go.
struct Target {
    link: Link,
    replace: bool,
    keep_going: bool,
    /// The database that the connection has selected.
    db: u64,
    /// Keys whose replies have not been read.
    waiting: Vec<(Kind, u64, Vec<u8>)>,
    tally: Tally,
    progress: Progress,
}

impl Target {
    fn bring(&mut self, entry: Entry) -> Result<(), Failure> {
        let Entry { db, key, kind, expire_at_ms, mut value } = entry;
        if !matches!(kind, Kind::String | Kind::Stream) {
            self.tally.leave(kind, &key);
            return Ok(());
        }
        if db != self.db {
            self.settle()?;
            self.link.ask(&["SELECT", &db.to_string()])?;
            self.db = db;
        }
        sterna_keyspace::seal_dump(&mut value, DUMP_VERSION);
        let expiry = expire_at_ms.unwrap_or(0).to_string();
        let mut words: Vec<&[u8]> = vec![b"RESTORE", &key, expiry.as_bytes(), &value, b"ABSTTL"];
        if self.replace {
            words.push(b"REPLACE");
        }
        self.link.send(&words)?;
        self.waiting.push((kind, db, key));
        if self.waiting.len() >= PIPELINE { self.settle() } else { Ok(()) }
    }

    /// Reads the replies that are due. Errors: a value was refused, and the import is to stop then.
    fn settle(&mut self) -> Result<(), Failure> {
        let mut stopped = Ok(());
        for (kind, db, key) in std::mem::take(&mut self.waiting) {
            match self.link.receive() {
                Ok(_) => *self.tally.brought.entry(kind).or_default() += 1,
                Err(LinkError::Refused(why)) if why.starts_with("BUSYKEY") => self.tally.busy += 1,
                Err(LinkError::Refused(why)) => {
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
    /// How many the server would not take, and why it didn't take the first.
    refused: (u64, Option<String>),
    libraries: u64,
}

impl Tally {
    fn leave(&mut self, kind: Kind, key: &[u8]) {
        let (count, names) = self.left.entry(kind).or_default();
        *count += 1;
        if names.len() < NAMES_MAX {
            names.push(key.escape_ascii().to_string());
        }
    }

    fn total(&self) -> u64 {
        self.brought.values().sum::<u64>()
            + self.left.values().map(|(count, _)| count).sum::<u64>()
            + self.busy
    }

    /// Whether no key was left.
    fn is_complete(&self) -> bool {
        self.left.is_empty() && self.busy == 0 && self.refused.0 == 0
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
        if self.busy > 0 {
            println!("left: {} that were there already (--replace overwrites them)", self.busy);
        }
        if self.libraries > 0 {
            println!("left: {} libraries of functions", self.libraries);
        }
        if let (count, Some(first)) = &self.refused {
            println!("refused: {count}, the first is {first}");
        }
    }
}

/// A bar on the standard error, if somebody can see it.
struct Progress {
    is_seen: bool,
    shown: Option<Instant>,
}

const BAR: usize = 40;
const BETWEEN_BARS: Duration = Duration::from_millis(100);

impl Progress {
    fn new() -> Progress {
        Progress { is_seen: std::io::stderr().is_terminal(), shown: None }
    }

    fn show(&mut self, done: u64, total: u64, tally: &Tally) {
        if !self.is_seen || self.shown.is_some_and(|shown| shown.elapsed() < BETWEEN_BARS) {
            return;
        }
        self.shown = Some(Instant::now());
        let share = (done as f64 / total.max(1) as f64).min(1.0);
        let filled = (share * BAR as f64) as usize;
        let bar = "█".repeat(filled) + &"░".repeat(BAR - filled);
        eprint!("\r{bar} {:3.0} %  {} keys", share * 100.0, tally.total());
        // What can't be shown is not worth failing for.
        let _ = std::io::stderr().flush();
    }

    fn end(&self) {
        if self.shown.is_some() {
            eprint!("\r{}\r", " ".repeat(BAR + 40));
        }
    }
}
