//! `import-on-start`: the keys of Redis or Valkey become a journal, once, before anything is served.
//!
//! 1. Nothing happens if the journal holds anything, or has: what was brought in once, or was written since, is never overwritten,
//!    nor is what was removed brought back. A journal that another server uses stops the start.
//! 2. Their files are found and loaded into a keyspace of their own (`dataset.rs`).
//! 3. That is written as a journal under another name, synced, and renamed. So a kill at any moment leaves their files and
//!    either no journal, and the next start begins anew, or a whole one.
//! 4. The start goes on with that journal, as with any other.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sterna_config::Config;
use sterna_journal::disk::Disk;
use sterna_journal::{Error, FileDisk, inspect};
use sterna_rdb::{DirectoryError, Found};

use super::dataset::{Dataset, LoadError, LoadOptions};
use super::directory;
use super::switch::Forget;

/// Between two lines in the log that say how far it is.
const BETWEEN_LINES: Duration = Duration::from_secs(2);

/// Why the keys of another server are not brought in.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// What is in `dir` can't be told.
    #[error("import-on-start: {0}")]
    Directory(#[from] DirectoryError),
    /// Nothing, or too much.
    #[error("import-on-start: in {}: {}", .0.display(), .1)]
    Choice(PathBuf, String),
    /// The files, or what is in them.
    #[error("import-on-start: {0} (`sterna import --into` can pass over it with --keep-going)")]
    Load(#[from] LoadError),
    /// The journal.
    #[error("import-on-start: journal in {}: {}", .0.display(), .1)]
    Journal(PathBuf, Error),
    /// Other files are in its place.
    #[error("import-on-start: {} can't be replaced: {}", .0.display(), .1)]
    InTheWay(PathBuf, io::Error),
}

/// See the module.
pub(crate) fn import_on_start(config: &Config) -> Result<(), ImportError> {
    if !config.import_on_start {
        return Ok(());
    }
    let target = directory(config);
    let _lock = claim(&target)?;
    if holds_anything(&target)? {
        tracing::info!("import-on-start: the journal holds keys already, nothing is brought in");
        return Ok(());
    }
    let all = Found::at(&config.dir)?;
    all.iter().for_each(|found| tracing::info!("found {}", found.describe()));
    if all.is_empty() {
        tracing::info!("import-on-start: no files of Redis or Valkey in {}", config.dir.display());
        return Ok(());
    }
    let found =
        Found::choose(all, config.appendonly).map_err(|why| ImportError::Choice(config.dir.clone(), why))?;
    tracing::info!("bringing in {}", found.describe());
    let began = Instant::now();
    let mut dataset = Dataset::of(config.databases as usize);
    let mut said = began;
    let options = LoadOptions { keep_going: false, may_be_cut: config.aof_load_truncated };
    let loaded = dataset.load(&found, options, &mut |done, total, keys| {
        if said.elapsed() >= BETWEEN_LINES {
            said = Instant::now();
            tracing::info!(keys, "brought in {} %", done * 100 / total.max(1));
        }
    })?;
    if let Some((path, offset, bytes)) = &loaded.cut {
        tracing::warn!(offset, bytes, "{} ended in an unfinished write, which is left", path.display());
    }
    make_room(&target).map_err(|error| ImportError::InTheWay(target.clone(), error))?;
    dataset.write_journal(&target).map_err(|error| ImportError::Journal(target.clone(), error))?;
    let keys: u64 = dataset.counts().values().sum();
    let (commands, expired) = (loaded.commands, loaded.expired + dataset.expired());
    let ms = began.elapsed().as_millis() as u64;
    tracing::info!(
        keys,
        commands,
        expired,
        ms,
        "brought in; the files of Redis are as they were, and not read again"
    );
    Ok(())
}

/// Keeps other servers away from a journal that is there.
fn claim(target: &Path) -> Result<Option<Box<dyn Send>>, ImportError> {
    if !target.exists() {
        return Ok(None);
    }
    let in_the_way = |error| ImportError::InTheWay(target.to_owned(), error);
    let disk = FileDisk::existing(target).map_err(in_the_way)?;
    disk.lock("LOCK").map(Some).map_err(in_the_way)
}

/// Whether a journal has anything in it, or has had.
fn holds_anything(target: &Path) -> Result<bool, ImportError> {
    if !target.exists() {
        return Ok(false);
    }
    let failed = |error| ImportError::Journal(target.to_owned(), error);
    let disk = FileDisk::existing(target).map_err(|error| ImportError::InTheWay(target.to_owned(), error))?;
    let report = inspect::replay(&disk, &mut Forget).map_err(failed)?;
    let manifest = inspect::manifest(&disk).map_err(failed)?;
    let has_had = manifest.and_then(|manifest| manifest.snapshot).is_some_and(|snapshot| snapshot.end.0 > 0);
    Ok(has_had || report.is_some_and(|report| report.items + report.records > 0))
}

/// Removes a journal without anything in it, so that another can take its name.
fn make_room(target: &Path) -> io::Result<()> {
    let Ok(entries) = std::fs::read_dir(target) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_ours = matches!(&*name, "MANIFEST" | "LOCK" | "EPOCH")
            || name.ends_with(".segment")
            || name.ends_with(".tmp");
        if is_ours {
            std::fs::remove_file(entry.path())?;
        }
    }
    // What else is there keeps the directory.
    std::fs::remove_dir(target)
}
