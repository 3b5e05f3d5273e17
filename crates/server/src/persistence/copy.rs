//! Copies of the journal: its files as they are at one moment, and a node of a cluster that becomes what such a copy holds.
//!
//! A journal's files are its snapshot, the segments behind that, and the manifest that says which count; any end of the log is a state
//! that the keyspace has had. So a copy of these files is a copy of one moment, the one at which the last segment is measured:
//!
//! 1. The manifest is read, and every file that counts by it is opened and measured. An open file can be read to its end,
//!    whatever name it loses.
//! 2. The names are read again: if they are others, a snapshot or a new segment came in between, and it begins anew.
//!
//! Of a node of a cluster it holds what the log had at its last standing (`replicated.rs`); what stands behind that does not count.
//!
//! # A node that lacks what was removed from the log
//! It takes the place of what it has, without a stop: keys are emptied and loaded from the copy, then written into the node's own journal:
//!
//! ```text
//!   … [standing: what is not settled is void][tentative: all is gone][tentative: keys …] … [standing: these count, the log stands at …]
//! ```
//!
//! Up to the last record a start finds what was there before, behind it what the copy holds: never a part of either. Commands on keys
//! are passed on to the node that leads meanwhile; what would read here is answered `LOADING`. Cost: the copy is read once, its keys
//! are written once, and a snapshot of the node's own follows.
//!
//! Where there are several groups of keys, the copy has those of all, and one is replaced: the other groups' are passed over, and go
//! on meanwhile.

use std::io::{self, Cursor, Read};
use std::path::Path;

use sterna_journal::{Error, FileDisk, Journal, Lsn, Rejected, Restore, inspect};
use sterna_keyspace::{
    Changes, Effect, Effects, KeyGroup, Value, What, flush_all, write_databases, write_library, write_set,
};

use super::restore::Target;
use super::rollback::while_missing;
use super::{LogSeat, Rebuild, SeatError, directory};
use crate::journaling::{Job, Loading};
use crate::partitions::Partitions;
use crate::time::unix_ms;

/// How often it begins anew.
const ATTEMPTS_MAX: usize = 50;

/// The file that names the others, which is replaced as a whole: its bytes are read at once.
const MANIFEST: &str = "MANIFEST";
const MANIFEST_BYTES_MAX: u64 = 16 << 20;

/// Bytes of effects in one record, about, and of keys that are cloned under one lock.
const RECORD_BYTES: usize = 256 << 10;

/// Keys cloned under one lock, at most.
const KEYS_PER_LOCK: usize = 32;

/// One of the journal's files, as it was when it was measured.
pub struct JournalFile {
    /// What it is called.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its bytes.
    pub content: Box<dyn Read + Send>,
}

/// Opens the files of a journal that may be in use, the manifest first.
pub(crate) fn files_of_one_moment(directory: &Path) -> io::Result<Vec<JournalFile>> {
    let disk = FileDisk::existing(directory)?;
    for _ in 0..ATTEMPTS_MAX {
        let manifest = sterna_filesystem::read(directory.join(MANIFEST), MANIFEST_BYTES_MAX)?;
        let names = inspect::files(&disk).map_err(io::Error::other)?;
        let files = names.iter().map(|name| open_one(directory, name)).collect::<io::Result<Vec<_>>>();
        let mut files = match files {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            files => files?,
        };
        let are_same = inspect::files(&disk).map_err(io::Error::other)? == names;
        if are_same && sterna_filesystem::read(directory.join(MANIFEST), MANIFEST_BYTES_MAX)? == manifest {
            let bytes = manifest.len() as u64;
            let content = Box::new(Cursor::new(manifest));
            files.insert(0, JournalFile { name: MANIFEST.to_owned(), bytes, content });
            return Ok(files);
        }
    }
    Err(io::Error::other("its files change too often"))
}

fn open_one(directory: &Path, name: &str) -> io::Result<JournalFile> {
    let file = sterna_filesystem::open(directory.join(name))?;
    let bytes = file.metadata()?.len();
    Ok(JournalFile { name: name.to_owned(), bytes, content: Box::new(file.take(bytes)) })
}

/// Verifies every byte of a copy of a node's journal, and returns how far a group's log is in it; `None`: it is no node's of a cluster
/// with that group.
pub fn witness_of(directory: &Path, group: KeyGroup) -> Result<Option<Vec<u8>>, Error> {
    let mut last = LastStanding { group, witness: None };
    inspect::replay(&disk_of(directory)?, &mut last)?;
    Ok(last.witness)
}

fn disk_of(directory: &Path) -> Result<FileDisk, Error> {
    FileDisk::existing(directory).map_err(|source| {
        let (action, file) = ("open", directory.display().to_string());
        Error::Io { action, file, source }
    })
}

/// What the last standing says of a group's log.
struct LastStanding {
    group: KeyGroup,
    witness: Option<Vec<u8>>,
}

impl Restore for LastStanding {
    fn item(&mut self, _key: &[u8], _stamp: Lsn, _value: &[u8]) -> Result<(), Rejected> {
        Ok(())
    }

    fn record(&mut self, _lsn: Lsn, payload: &[u8]) -> Result<(), Rejected> {
        if let Some(Ok(Effect { what: What::Standing { group, witness, .. }, .. })) =
            Effects::new(payload).next()
            && group == self.group
        {
            self.witness = Some(witness.to_vec());
        }
        Ok(())
    }
}

impl LogSeat {
    /// The files of this node's journal, and how far the log is in them at least. Waits for the disk: for a thread of its own.
    pub fn copy(&self) -> Result<(Vec<u8>, Vec<JournalFile>), SeatError> {
        let journal = self.journal()?;
        let noted = self.replication.note_standing(journal).map_err(|refusal| self.refused(refusal))?;
        let (lsn, witness) = noted;
        journal.flush();
        journal.wait_durable(lsn, None).map_err(|refusal| self.refused(refusal))?;
        let files = files_of_one_moment(&directory(&self.server.config()));
        Ok((witness, files.map_err(|error| SeatError::Journal(error.to_string()))?))
    }

    /// Replaces the group's keys by those of a copy of another node's journal, in which its log stands at `witness`. Returns the number of
    /// the record in which this node's journal is told so. This node does not lead. Errors: it can't go on; a start finds what
    /// was there before.
    pub fn become_copy(&self, copy: &Path, witness: &[u8]) -> Result<Option<u64>, SeatError> {
        self.mend()?;
        let journal = self.journal()?;
        let replace = || self.replace_by(journal, copy, witness);
        let told = while_missing(&self.server, self.group(), replace)?;
        self.serve_waiting();
        if let Err(error) = self.server.ask(Job::Rewrite, None) {
            tracing::warn!(%error, "no snapshot is taken of what was loaded");
        }
        Ok(Some(told.0))
    }

    fn replace_by(&self, journal: &Journal, copy: &Path, witness: &[u8]) -> Result<Lsn, SeatError> {
        let failed = |error: Error| SeatError::Journal(error.to_string());
        let refused = |refusal| self.refused(refusal);
        self.replication.begin_anew(journal).map_err(refused)?;
        let (partitions, group) = (&self.server.partitions, self.group());
        let part = PartOf { partitions, group };
        let mut effects = flush_all(group);
        if part.has_libraries() {
            for name in partitions.libraries().all().0.keys() {
                write_library(&mut effects, name, None);
            }
            partitions.libraries().clear();
        }
        partitions.apply(Effect { db: None, key: b"", what: What::Flush { group } });
        if part.has_databases() {
            partitions.apply(Effect { db: None, key: b"", what: What::Databases { shown: &[] } });
        }
        load(copy, &part, witness).map_err(failed)?;
        if part.has_databases() {
            write_databases(&mut effects, &partitions.shown());
        }
        if part.has_libraries() {
            for (name, code) in &partitions.libraries().all().0 {
                write_library(&mut effects, name, Some(code));
            }
        }
        let mut last = Lsn::ZERO;
        let mut put = |effects: &mut Vec<u8>| {
            last = self.replication.append_of_copy(journal, effects)?;
            effects.clear();
            Ok(())
        };
        put(&mut effects).map_err(refused)?;
        each_key(&part, &mut |stored, key, value, expire_at_ms| {
            write_set(&mut effects, stored, key, value, expire_at_ms);
            if effects.len() > RECORD_BYTES { put(&mut effects) } else { Ok(()) }
        })
        .map_err(refused)?;
        if !effects.is_empty() {
            put(&mut effects).map_err(refused)?;
        }
        let told = self.replication.stand_as_copy(journal, last, witness).map_err(refused)?;
        journal.flush();
        told.ok_or(SeatError::Misfit)
    }

    /// Pages that follow streams are sent what has come.
    fn serve_waiting(&self) {
        let mut woken = Changes::default();
        self.server.partitions.together(|held| held.serve_all_ready(unix_ms(), &mut woken));
        self.hand_out(&mut woken);
    }
}

/// What belongs to one group of keys. Libraries are the first one's; where there are several, no databases are ever exchanged.
struct PartOf<'a> {
    partitions: &'a Partitions,
    group: KeyGroup,
}

impl PartOf<'_> {
    fn has_libraries(&self) -> bool {
        self.group.index == 0
    }

    fn has_databases(&self) -> bool {
        self.group == KeyGroup::WHOLE
    }
}

impl Target for &PartOf<'_> {
    fn apply(&mut self, effect: Effect<'_>) -> bool {
        let is_part = match (&effect.what, effect.db) {
            (What::Flush { group }, _) => *group == self.group,
            (What::Library { .. } | What::NoLibrary, _) => self.has_libraries(),
            (What::Databases { .. }, _) => self.has_databases(),
            (_, None) => true,
            (_, Some(_)) => self.group.has(effect.key),
        };
        !is_part || self.partitions.apply(effect)
    }

    fn remove_where(&mut self, db: usize, doomed: &mut dyn FnMut(&[u8]) -> bool) {
        self.partitions.remove_where(db, &mut |key| self.group.has(key) && doomed(key));
    }

    fn databases(&self) -> usize {
        self.partitions.databases()
    }
}

/// Loads a group's keys from a copy.
fn load(copy: &Path, part: &PartOf<'_>, witness: &[u8]) -> Result<(), Error> {
    let disk = disk_of(copy)?;
    let rejected = |why| Error::Rejected { file: copy.display().to_string(), offset: 0, why };
    let manifest = inspect::manifest(&disk)?.ok_or_else(|| rejected("there is no journal"))?;
    let progress = Loading::default();
    let mut rebuild = Rebuild::new(part, manifest.snapshot, manifest.epoch, &progress);
    inspect::replay(&disk, &mut rebuild)?;
    let standings = rebuild.standings();
    match standings.of.get(&part.group) {
        Some(standing) if standing.witness == witness && !standings.is_left_behind => Ok(()),
        _ => Err(rejected("the log does not stand there where it was verified")),
    }
}

/// Takes a key: the number that its database is stored under, its name, value and expiry.
type Show<'a, E> = &'a mut dyn FnMut(usize, &[u8], &Value, Option<u64>) -> Result<(), E>;

/// Shows every key of a group, with the number that its database is stored under. It ends with the first error.
fn each_key<E>(PartOf { partitions, group }: &PartOf<'_>, show: Show<'_, E>) -> Result<(), E> {
    for index in (0..partitions.count()).filter(|index| partitions.group_of(*index) == group.index) {
        for stored in 0..partitions.databases() {
            let mut from = Some(0);
            while let Some(position) = from {
                let mut keys = Vec::new();
                from = partitions.visit_settled(index, stored, position, KEYS_PER_LOCK, |record| {
                    keys.push((
                        Box::<[u8]>::from(record.key()),
                        record.value().to_value(),
                        record.expire_at_ms(),
                    ));
                });
                for (key, value, expire_at_ms) in &keys {
                    show(stored, key, value, *expire_at_ms)?;
                }
            }
        }
    }
    Ok(())
}
