//! Files of Redis and Valkey where a configuration of theirs points to: recognised, named at the start, and left alone.
//!
//! | where | what | then |
//! |---|---|---|
//! | `dir` | `dump.rdb`, `appendonly.aof`, `appendonlydir` | a warning says what brings their keys in, or `import-on-start` does |
//! | `dir`/`appenddirname` | files named as Redis names its log | the start is refused: files of two servers never mix |
//! | the same, beside a journal of ours | the same | a warning: theirs came later, and are not read |

use std::path::PathBuf;

use sterna_config::Config;
use sterna_rdb::Found;

use super::directory;

/// The journal's directory is another server's.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} is part of an append-only file of Redis or Valkey, and Sterna does not put its own files beside it: set \
     `appenddirname` to a name of its own (--appenddirname sterna), and bring the keys in with `import-on-start yes`, or with \
     `sterna import`",
    file.display()
)]
pub struct ForeignFiles {
    file: PathBuf,
}

/// Whether a file is named as Redis names those of its log.
fn is_foreign(name: &str) -> bool {
    name.ends_with(".aof.manifest") || name.ends_with(".aof") || name.ends_with(".rdb")
}

/// A file of another server in the journal's directory, unless there is a journal.
pub(crate) fn in_the_way(config: &Config) -> Option<ForeignFiles> {
    let directory = directory(config);
    if sterna_journal::is_in(&directory) {
        return None;
    }
    named(&directory).map(|file| ForeignFiles { file })
}

fn named(directory: &std::path::Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(directory).ok()?.flatten();
    let foreign = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_foreign));
    foreign.map(|entry| entry.path()).min()
}

/// Names what of another server's is there. Errors: the journal would have to be put beside it.
pub(crate) fn recognise(config: &Config) -> Result<(), ForeignFiles> {
    match in_the_way(config) {
        Some(foreign) if config.keeps_anything() || config.import_on_start => return Err(foreign),
        Some(foreign) => tracing::warn!("{foreign}"),
        None => {
            if let Some(file) = named(&directory(config)) {
                tracing::warn!(file = %file.display(), "a file of Redis or Valkey beside the journal, which is not read");
            }
        }
    }
    if config.import_on_start {
        // That says what it finds.
        return Ok(());
    }
    // Its own directory has been looked at.
    let is_beside = |found: &Found| !found.path().starts_with(directory(config));
    match Found::at(&config.dir) {
        Ok(all) => all.into_iter().filter(is_beside).for_each(|found| {
            tracing::warn!(
                "found {}, which is not read: `import-on-start yes` or `sterna import` brings its keys in",
                found.describe()
            );
        }),
        Err(error) => {
            tracing::warn!("found files of Redis or Valkey that can't be brought in as they are: {error}")
        }
    }
    Ok(())
}
