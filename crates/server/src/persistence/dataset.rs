//! A keyspace that nobody serves: loaded from files, to be written into others.
//!
//! ```text
//! dump.rdb, an append-only file ─┐             ┌─► a journal (`sterna import --into`, `import-on-start`)
//!                                ├─► Dataset ──┤
//! a journal at rest ─────────────┘             └─► key by key (`sterna import`, `sterna export`)
//! ```
//!
//! An append-only file is replayed: its commands are run, one after the other, as they were. Its clock is what the file itself
//! says (notes, times of deliveries), which is never later than the moment at which a command was run: so nothing expires that
//! was not gone then. An expiry that is so long from now, which Redis writes as a moment, counts from the time of the file where there
//! are no notes: rather too long than too short. What has expired since goes as it does in any server.
//!
//! Cost: the memory of the keys.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sterna_command::Command;
use sterna_journal::{Error, FileDisk, Options, Recovery, inspect};
use sterna_keyspace::{
    COMMANDS, Caller, Changes, Effect, KeyGroup, Record, Run, Stride, What, dump_libraries, dump_value,
    read_libraries, restore_value,
};
use sterna_protocol::{OwnedArgs, Proto, Reply};
use sterna_rdb::{Aof, CommandError, Commands, Entry, Found, Kind, Line, Rdb, RdbError, Step, finds_command};
use sterna_script::Engine;

use super::DATABASES;
use super::restore::Rebuild;
use super::snapshot::write_all;
use super::switch::Forget;
use crate::journaling::Loading;
use crate::partitions::{Partitions, Scene};
use crate::time::unix_ms;

/// Names that are kept of keys that were left.
const NAMES_MAX: usize = 5;

/// Keys that are looked at under one lock.
const KEYS_AT_ONCE: usize = 256;

/// How files are loaded.
#[derive(Debug, Clone, Copy)]
pub struct LoadOptions {
    /// Pass over what can't be brought in, instead of stopping at the first; where the files are damaged, keep what stands before that.
    pub keep_going: bool,
    /// Whether an append-only file may end in the middle of a command, as after a crash. Redis's `aof-load-truncated`.
    pub may_be_cut: bool,
}

/// What became of what the files hold.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Commands that were run.
    pub commands: u64,
    /// Keys of a database file that had expired.
    pub expired: u64,
    /// Values of modules, and the names of some.
    pub modules: (u64, Vec<String>),
    /// How much else was not taken, and what the first was.
    pub refused: (u64, Option<String>),
    /// A file that ends in the middle of a command, where its last whole command ends, and the bytes behind that.
    pub cut: Option<(PathBuf, u64, u64)>,
    /// Damage, at which it ended: what stands before it is loaded. Behind it nothing is: what was done there may build on what is lost,
    /// and the database that was selected may be another.
    pub stopped: Option<LoadError>,
}

/// Why files can't be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A database file.
    #[error("{}: {}", .0.display(), .1)]
    Rdb(PathBuf, RdbError),
    /// An append-only file.
    #[error("{}: {}", .0.display(), .1)]
    Commands(PathBuf, CommandError),
    /// One that ends in the middle where it may not.
    #[error("{}: it ends in the middle of what begins at offset {}, and aof-load-truncated is no, or other parts follow", .0.display(), .1)]
    Cut(PathBuf, u64),
    /// Something in it.
    #[error("{0}")]
    Refused(String),
}

impl LoadError {
    /// Whether files that are damaged are the reason, so that what stands before that can be kept.
    fn is_damage(&self, options: LoadOptions) -> bool {
        match self {
            LoadError::Rdb(_, error) => !matches!(error, RdbError::Io(_) | RdbError::Magic),
            LoadError::Commands(_, error) => !matches!(error, CommandError::Io(_)),
            LoadError::Cut(..) => options.may_be_cut,
            LoadError::Refused(_) => false,
        }
    }
}

/// See the module.
pub struct Dataset {
    partitions: Partitions,
    databases: usize,
}

/// Told how many bytes of how many are done, and how many keys or commands that were.
pub type OnProgress<'a> = &'a mut dyn FnMut(u64, u64, u64);

impl Dataset {
    /// An empty one, of as many databases as any server can have.
    pub fn new() -> Dataset {
        Dataset::of(DATABASES)
    }

    /// An empty one.
    pub(crate) fn of(databases: usize) -> Dataset {
        Dataset { partitions: Partitions::new(1, databases), databases }
    }

    /// What a journal at rest holds. Errors: what would stop a start; `None`: there is no journal.
    pub fn of_journal(directory: &Path) -> Result<Option<Dataset>, Error> {
        let disk = FileDisk::existing(directory).map_err(|source| Error::Io {
            action: "open",
            file: "the directory".to_owned(),
            source,
        })?;
        let Some(manifest) = inspect::manifest(&disk)? else { return Ok(None) };
        let (dataset, loading) = (Dataset::new(), Loading::default());
        let mut rebuild = Rebuild::new(&dataset.partitions, manifest.snapshot, manifest.epoch, &loading);
        inspect::replay(&disk, &mut rebuild)?;
        drop(rebuild);
        Ok(Some(dataset))
    }

    /// Loads what was found, into an empty dataset. An error leaves it with part of the keys: throw it away.
    pub fn load(
        &mut self,
        found: &Found,
        options: LoadOptions,
        on_progress: OnProgress<'_>,
    ) -> Result<Loaded, LoadError> {
        let total = found.bytes();
        let mut load = Load::new(self, options, total, on_progress);
        let loaded = match found {
            Found::Rdb(path) => open(path).and_then(|input| load.rdb(path, input, true).map(drop)),
            Found::Aof(aof) => load.aof(aof),
        };
        match loaded {
            Err(error) if options.keep_going && error.is_damage(options) => load.loaded.stopped = Some(error),
            other => other?,
        }
        Ok(load.loaded)
    }

    /// As [`Partitions::visit`]: nobody has its keys to himself.
    fn visit(&self, db: usize, from: u64, count: usize, mut visit: impl FnMut(Record<'_>)) -> Option<u64> {
        let mut stride = Stride::new(count, usize::MAX, None);
        self.partitions.visit(0, db, from, &mut stride, |_, record| visit(record)).ok().flatten()
    }

    /// How many keys there are of each type that have not expired.
    pub fn counts(&self) -> BTreeMap<Kind, u64> {
        let now_ms = unix_ms();
        let mut counts = BTreeMap::new();
        for db in 0..self.databases {
            let mut from = Some(0);
            while let Some(position) = from {
                from = self.visit(db, position, KEYS_AT_ONCE, |record| {
                    if record.is_expired(now_ms) {
                        return;
                    }
                    *counts.entry(Kind::of_type(record.value().type_name().as_bytes())).or_default() += 1;
                });
            }
        }
        counts
    }

    /// How many keys have expired.
    pub fn expired(&self) -> u64 {
        let (now_ms, mut expired) = (unix_ms(), 0);
        for db in 0..self.databases {
            let mut from = Some(0);
            while let Some(position) = from {
                from = self.visit(db, position, KEYS_AT_ONCE, |record| {
                    expired += u64::from(record.is_expired(now_ms));
                });
            }
        }
        expired
    }

    /// Its libraries of functions, as FUNCTION DUMP gives them before its footer; `None`: there are none.
    pub fn libraries(&self) -> Option<Vec<u8>> {
        const FOOTER_BYTES: usize = 2 + 8;
        let codes = self.partitions.libraries().all().0;
        let mut dumped = dump_libraries(codes.values().map(|code| &**code));
        dumped.truncate(dumped.len() - FOOTER_BYTES);
        (!dumped.is_empty()).then_some(dumped)
    }

    /// Shows every key that has not expired. It ends with the first error.
    pub fn each<E>(&self, visit: &mut dyn FnMut(Entry) -> Result<(), E>) -> Result<(), E> {
        let now_ms = unix_ms();
        for db in 0..self.databases {
            let mut from = Some(0);
            while let Some(position) = from {
                let mut entries = Vec::new();
                from = self.visit(db, position, KEYS_AT_ONCE, |record| {
                    let expire_at_ms = record.expire_at_ms();
                    if expire_at_ms.is_some_and(|at_ms| at_ms < now_ms) {
                        return;
                    }
                    let kind = Kind::of_type(record.value().type_name().as_bytes());
                    let (value, version) = dump_value(record.value());
                    entries.push(Entry {
                        db: db as u64,
                        key: record.key().into(),
                        kind,
                        expire_at_ms,
                        value,
                        version,
                    });
                });
                entries.into_iter().try_for_each(&mut *visit)?;
            }
        }
        Ok(())
    }

    /// Writes a journal into a directory that is not there or empty: it is there as a whole and durable, or not at all. Returns how many items it has.
    pub fn write_journal(&self, directory: &Path) -> Result<u64, Error> {
        // Without a slash at its end.
        let mut part = directory.components().collect::<PathBuf>().into_os_string();
        part.push(".importing");
        let part = PathBuf::from(part);
        let io = |action, source| Error::Io { action, file: part.display().to_string(), source };
        match std::fs::remove_dir_all(&part) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io("remove", error)),
            _ => {}
        }
        let written = self.write_files(&part);
        let renamed = written.and_then(|items| {
            std::fs::rename(&part, directory).map_err(|error| io("give its name to", error))?;
            let parent =
                directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let synced = sterna_filesystem::sync_directory(parent);
            synced.map_err(|error| io("sync the directory of", error))?;
            Ok(items)
        });
        if renamed.is_err() {
            // Half a journal is of no use to anybody; what can't be removed now is at the next try.
            let _ = std::fs::remove_dir_all(&part);
        }
        renamed
    }

    fn write_files(&self, directory: &Path) -> Result<u64, Error> {
        let disk = FileDisk::open(directory).map_err(|source| Error::Io {
            action: "make the directory of",
            file: "the journal".to_owned(),
            source,
        })?;
        let recovered = Recovery::open(Arc::new(disk), Options::default())?.replay(&mut Forget)?;
        let journal = recovered.start(Arc::new(|_| {}))?;
        let mut writer = journal.snapshot()?;
        write_all(&self.partitions, &journal, &mut writer, &mut |_| Ok(()))?;
        let info = writer.finish()?;
        journal.close()?;
        Ok(info.items)
    }
}

impl Default for Dataset {
    fn default() -> Dataset {
        Dataset::new()
    }
}

fn open(path: &Path) -> Result<BufReader<File>, LoadError> {
    let file = sterna_filesystem::open(path)
        .map_err(|error| LoadError::Rdb(path.to_owned(), RdbError::Io(error)))?;
    Ok(BufReader::with_capacity(1 << 20, file))
}

/// When a file was written last, Unix time in milliseconds; now, if that is not known.
fn written_ms(path: &Path) -> u64 {
    let modified = std::fs::metadata(path).and_then(|about| about.modified()).ok();
    let since = modified.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    since.map_or_else(unix_ms, |since| since.as_millis() as u64)
}

/// Files being loaded.
struct Load<'a> {
    dataset: &'a Dataset,
    options: LoadOptions,
    loaded: Loaded,
    rows: HashMap<&'static str, &'static Command<Run>>,
    /// What SELECT said last; `None`: a database that there is none of, so that what follows has none.
    db: Option<usize>,
    /// A moment that is not later than that of what is read, Unix time in milliseconds.
    clock_ms: u64,
    /// Whether the file notes the time: then it is that moment, but for a second.
    has_notes: bool,
    /// When the file was written last.
    written_ms: u64,
    /// Bytes of the parts before.
    done_bytes: u64,
    total_bytes: u64,
    keys: u64,
    on_progress: OnProgress<'a>,
}

impl<'a> Load<'a> {
    fn new(
        dataset: &'a Dataset,
        options: LoadOptions,
        total_bytes: u64,
        on_progress: OnProgress<'a>,
    ) -> Load<'a> {
        Load {
            dataset,
            options,
            loaded: Loaded::default(),
            rows: COMMANDS.iter().map(|row| (row.spec.name, row)).collect(),
            db: Some(0),
            clock_ms: 0,
            has_notes: false,
            written_ms: unix_ms(),
            done_bytes: 0,
            total_bytes,
            keys: 0,
            on_progress,
        }
    }

    /// Keys of a database file. Returns the input, behind its end.
    fn rdb<R: BufRead>(&mut self, path: &Path, input: R, is_alone: bool) -> Result<(R, u64), LoadError> {
        let unreadable = |error| LoadError::Rdb(path.to_owned(), error);
        let now_ms = unix_ms();
        let mut rdb = Rdb::open(input).map_err(unreadable)?;
        loop {
            match rdb.advance().map_err(unreadable)? {
                // What goes on as commands may keep a key from expiring.
                Step::Key(entry) if is_alone && entry.expire_at_ms.is_some_and(|at_ms| at_ms < now_ms) => {
                    self.loaded.expired += 1;
                }
                Step::Key(entry) => self.key(entry)?,
                Step::Library(library) => self.libraries(&library)?,
                Step::End => break,
            }
            self.keys += 1;
            if self.keys.is_multiple_of(64) {
                (self.on_progress)(self.done_bytes + rdb.offset, self.total_bytes, self.keys);
            }
        }
        self.clock_ms = self.clock_ms.max(rdb.written_s.saturating_mul(1000));
        let offset = rdb.offset;
        Ok((rdb.into_input(), offset))
    }

    fn key(&mut self, entry: Entry) -> Result<(), LoadError> {
        let Entry { db, key, kind, expire_at_ms, value, version } = entry;
        let name = || key.escape_ascii().to_string();
        if kind == Kind::Module {
            let (count, names) = &mut self.loaded.modules;
            *count += 1;
            if names.len() < NAMES_MAX {
                names.push(name());
            }
            return match self.options.keep_going {
                true => Ok(()),
                false => {
                    Err(LoadError::Refused(format!("{} in database {db} is a value of a module", name())))
                }
            };
        }
        let db = usize::try_from(db).unwrap_or(usize::MAX);
        if db >= self.dataset.databases {
            return self.refuse(format!(
                "{} is in database {db}: there are {} (databases)",
                name(),
                self.dataset.databases
            ));
        }
        let limits = sterna_keyspace::Limits::DEFAULT;
        match restore_value(&value, version, &limits) {
            Ok(value) => {
                let what = What::Set { value, expire_at_ms };
                self.dataset.partitions.apply(Effect { db: Some(db), key: &key, what });
                Ok(())
            }
            Err(_) => self.refuse(format!("{} in database {db} can't be read", name())),
        }
    }

    /// Libraries as a database file or FUNCTION DUMP has them, without a footer.
    fn libraries(&mut self, libraries: &[u8]) -> Result<(), LoadError> {
        let mut payload = libraries.to_vec();
        sterna_keyspace::seal_dump(&mut payload, 10);
        match read_libraries(&payload) {
            Ok(codes) => codes.iter().try_for_each(|code| self.library(code)),
            Err(why) => self.refuse(format!("a library of functions: {why}")),
        }
    }

    fn library(&mut self, code: &[u8]) -> Result<(), LoadError> {
        match Engine::library_name(code) {
            Ok(name) => {
                self.dataset.partitions.libraries().set(name.as_bytes(), Some(code));
                Ok(())
            }
            Err(why) => self.refuse(format!("a library of functions: {}", why.escape_ascii())),
        }
    }

    /// What can't be brought in is counted, or ends it.
    fn refuse(&mut self, what: String) -> Result<(), LoadError> {
        if !self.options.keep_going {
            return Err(LoadError::Refused(what));
        }
        self.loaded.refused.0 += 1;
        self.loaded.refused.1.get_or_insert(what);
        Ok(())
    }

    fn aof(&mut self, aof: &Aof) -> Result<(), LoadError> {
        for (index, part) in aof.parts.iter().enumerate() {
            let is_last = index + 1 == aof.parts.len();
            let (mut input, mut offset) = (open(&part.path)?, 0);
            let head =
                input.fill_buf().map_err(|error| LoadError::Rdb(part.path.clone(), RdbError::Io(error)))?;
            if head.starts_with(b"REDIS") || head.starts_with(b"VALKEY") {
                (input, offset) = self.rdb(&part.path, input, false)?;
            }
            self.db = Some(0);
            self.written_ms = written_ms(&part.path);
            self.commands(&part.path, Commands::from(input, offset), is_last)?;
            self.done_bytes += part.bytes;
        }
        Ok(())
    }

    fn commands<R: BufRead>(
        &mut self,
        path: &Path,
        mut commands: Commands<R>,
        is_last: bool,
    ) -> Result<(), LoadError> {
        // Commands since MULTI, with where they begin.
        let mut queued: Option<Vec<(u64, Vec<Vec<u8>>)>> = None;
        let mut whole = commands.offset;
        let damaged = |error| LoadError::Commands(path.to_owned(), error);
        let is_cut = loop {
            match commands.advance() {
                Ok(Line::End) => break queued.is_some(),
                Err(CommandError::Cut(begin)) if self.finds_command(path, begin + 1)? => {
                    return Err(damaged(CommandError::CutOrDamaged(begin)));
                }
                Err(CommandError::Cut(_)) => break true,
                Err(error) => return Err(damaged(error)),
                Ok(Line::Time(seconds)) => {
                    self.clock_ms = self.clock_ms.max(seconds.saturating_mul(1000));
                    self.has_notes = true;
                }
                Ok(Line::Command(words)) => {
                    let name = &words[0];
                    if name.eq_ignore_ascii_case(b"multi") {
                        // Behind a transaction without its EXEC, of which nothing must get lost unsaid.
                        if queued.is_some() {
                            return Err(damaged(CommandError::Damaged(commands.begin())));
                        }
                        queued = Some(Vec::new());
                    } else if name.eq_ignore_ascii_case(b"exec") {
                        for (begin, words) in queued.take().unwrap_or_default() {
                            self.command(path, begin, &words)?;
                        }
                    } else if let Some(queued) = &mut queued {
                        queued.push((commands.begin(), words));
                    } else {
                        self.command(path, commands.begin(), &words)?;
                    }
                }
            }
            if queued.is_none() {
                whole = commands.offset;
            }
            if self.loaded.commands.is_multiple_of(64) {
                (self.on_progress)(self.done_bytes + commands.offset, self.total_bytes, self.keys);
            }
        };
        if !is_cut {
            return Ok(());
        }
        // An EXEC that is none any more makes all that follows a part of its transaction.
        let unknown = queued.iter().flatten().find(|(_, words)| !self.knows(&words[0]));
        if let Some((begin, _)) = unknown {
            return Err(damaged(CommandError::Damaged(*begin)));
        }
        if !is_last || !self.options.may_be_cut {
            return Err(LoadError::Cut(path.to_owned(), whole));
        }
        let bytes = std::fs::metadata(path).map_or(0, |about| about.len()).saturating_sub(whole);
        self.loaded.cut = Some((path.to_owned(), whole, bytes));
        Ok(())
    }

    /// Whether a command begins in a file anywhere from `offset` on.
    fn finds_command(&self, path: &Path, offset: u64) -> Result<bool, LoadError> {
        let mut input = open(path)?;
        let found =
            input.seek(SeekFrom::Start(offset)).and_then(|_| finds_command(input, |name| self.knows(name)));
        found.map_err(|error| LoadError::Commands(path.to_owned(), CommandError::Io(error)))
    }

    /// Whether files have a command of this name.
    fn knows(&self, name: &[u8]) -> bool {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        matches!(name.as_str(), "select" | "multi" | "exec" | "function")
            || self.rows.contains_key(name.as_str())
    }

    /// Runs one command as it was run then.
    fn command(&mut self, path: &Path, begin: u64, words: &[Vec<u8>]) -> Result<(), LoadError> {
        self.loaded.commands += 1;
        let name = String::from_utf8_lossy(&words[0]).to_ascii_lowercase();
        let done = match name.as_str() {
            "select" => self.select(words),
            "function" => return self.function(path, begin, words),
            name => self.run(name, words),
        };
        match done {
            Ok(()) => Ok(()),
            Err(why) => {
                let name = name.escape_default();
                self.refuse(format!("{}: the command {name} at offset {begin}: {why}", path.display()))
            }
        }
    }

    fn select(&mut self, words: &[Vec<u8>]) -> Result<(), String> {
        let number = words.get(1).and_then(|word| std::str::from_utf8(word).ok()?.parse::<usize>().ok());
        self.db = number.filter(|&number| number < self.dataset.databases);
        self.db.map(drop).ok_or_else(|| format!("there are {} databases", self.dataset.databases))
    }

    fn run(&mut self, name: &str, words: &[Vec<u8>]) -> Result<(), String> {
        let row =
            self.rows.get(name).copied().ok_or("Sterna does not have it, or does not keep it in files")?;
        let row = match words.get(1) {
            Some(word) if !row.subcommands.is_empty() => {
                let of_name = |sub: &&Command<Run>| sub.spec.name.as_bytes().eq_ignore_ascii_case(word);
                row.subcommands.iter().find(of_name).ok_or("Sterna does not have it")?
            }
            _ => row,
        };
        if !row.spec.takes(words.len()) || row.run.is_none() {
            return Err("wrong number of arguments".to_owned());
        }
        let db = self.db.ok_or("it is about a database that there is none of")?;
        if name == "xclaim" {
            self.note_time(words);
        }
        let slices: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let args = OwnedArgs::from_slices(&slices);
        let caller = Caller {
            client: 0,
            shard: 0,
            proto: Proto::Resp2,
            may_block: false,
            may_yield: false,
            touches: true,
            group: KeyGroup::WHOLE,
        };
        let (mut log, mut out) = (Changes::default(), Vec::new());
        let counts_from_now = row.spec.lifetime.is_counted_from_now(words);
        let now_ms = if !self.has_notes && counts_from_now { self.written_ms } else { self.clock_ms };
        let scene = Scene { db, now_ms, caller };
        let mut reply = Reply::new(&mut out, Proto::Resp2);
        match self.dataset.partitions.execute(row, args.args(), scene, &mut log, &mut reply) {
            Ok(_) => Ok(()),
            Err(error) => Err(String::from_utf8_lossy(&error.text()).into_owned()),
        }
    }

    /// A delivery says when it was, which the claim of it takes over only if it is not in the future.
    fn note_time(&mut self, words: &[Vec<u8>]) {
        let time = words.windows(2).filter(|pair| pair[0].eq_ignore_ascii_case(b"time"));
        let time = time.filter_map(|pair| std::str::from_utf8(&pair[1]).ok()?.parse().ok()).next_back();
        self.clock_ms = self.clock_ms.max(time.unwrap_or(0)).min(unix_ms());
    }

    fn function(&mut self, path: &Path, begin: u64, words: &[Vec<u8>]) -> Result<(), LoadError> {
        let libraries = self.dataset.partitions.libraries();
        let verb = words.get(1).map(|word| word.to_ascii_lowercase()).unwrap_or_default();
        match (verb.as_slice(), words.last()) {
            (b"load", Some(code)) if words.len() > 2 => self.library(code),
            (b"delete", Some(name)) if words.len() > 2 => {
                libraries.set(name, None);
                Ok(())
            }
            (b"flush", _) => {
                libraries.clear();
                Ok(())
            }
            (b"restore", _) if words.len() > 2 => {
                let policy = words.get(3).map(|word| word.to_ascii_lowercase());
                if policy.as_deref() == Some(b"flush") {
                    libraries.clear();
                }
                match read_libraries(&words[2]) {
                    Ok(codes) => codes.iter().try_for_each(|code| self.library(code)),
                    Err(why) => {
                        self.refuse(format!("{}: FUNCTION RESTORE at offset {begin}: {why}", path.display()))
                    }
                }
            }
            _ => self
                .refuse(format!("{}: the command function at offset {begin} is not known", path.display())),
        }
    }
}
