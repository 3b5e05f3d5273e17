//! The epoch of the positions of messages: it stays the same for as long as nothing that was acknowledged can have been lost.
//!
//! A client that has read a remembered channel up to an ID goes on from there. The ID alone does not prove that all that came
//! behind it is still there: a machine that lost power may have lost the last seconds, and IDs go on above them. So a
//! position is an epoch and an ID, and who comes with another epoch is told that it may have missed something.
//!
//! ```text
//!   EPOCH, beside the journal's files     epoch (hex) │ repairs │ running BOOT, or closed
//! ```
//!
//! A start keeps the epoch of the file if the journal was kept until the end (`closed`, or `running` on this boot of the
//! machine: what a killed process has written is there), nothing has been repaired since, and everything in the journal
//! counted. Otherwise, and where nothing is journaled, it is a new random number. The file is there only while every write is
//! journaled or after an end in order; a file that can't be read is none.
//!
//! Where a stream has come to a key as a whole (`placed.rs`), IDs that were read there before prove nothing. The server
//! knows of which keys that is so, and a journal does not: the file goes, and after a restart the epoch is another.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{Ordering::Relaxed, Ordering::SeqCst};

use super::directory;
use crate::journaling::Mode;
use crate::server::Server;

const FILE: &str = "EPOCH";
const FILE_BYTES_MAX: u64 = 4096;
/// Another number at each boot of the machine.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// How the server that wrote the file ended, or goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Closed,
    Running { boot: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    epoch: u64,
    /// Times that records of the journal were given up.
    repairs: u64,
    state: State,
}

fn boot() -> Option<String> {
    fs::read_to_string(BOOT).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

impl Kept {
    fn parse(text: &str) -> Option<Kept> {
        let mut words = text.split_whitespace();
        let epoch = u64::from_str_radix(words.next()?, 16).ok()?;
        let repairs = words.next()?.parse().ok()?;
        let state = match (words.next()?, words.next()) {
            ("closed", None) => State::Closed,
            ("running", Some(boot)) => State::Running { boot: boot.to_owned() },
            _ => return None,
        };
        words.next().is_none().then_some(Kept { epoch, repairs, state })
    }

    fn text(&self) -> String {
        let Kept { epoch, repairs, state } = self;
        match state {
            State::Closed => format!("{epoch:016x} {repairs} closed\n"),
            State::Running { boot } => format!("{epoch:016x} {repairs} running {boot}\n"),
        }
    }

    /// Whether nothing that was acknowledged under this epoch can be missing now.
    fn is_proven(&self, repairs: u64, boot: Option<&str>) -> bool {
        self.repairs == repairs
            && match &self.state {
                State::Closed => true,
                State::Running { boot: then } => boot == Some(then),
            }
    }

    fn write(&self, directory: &Path) -> io::Result<()> {
        let beside = directory.join(format!("{FILE}.tmp"));
        let mut file = sterna_filesystem::create(&beside)?;
        file.write_all(self.text().as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, directory.join(FILE))?;
        sterna_filesystem::sync_directory(directory)
    }
}

fn forget(directory: &Path) -> io::Result<()> {
    match fs::remove_file(directory.join(FILE)) {
        Err(error) => unless_there(error),
        Ok(()) => sterna_filesystem::sync_directory(directory),
    }
}

/// A file that is not there has been removed.
fn unless_there(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

impl Server {
    /// The epoch of all positions that are handed out now.
    pub(crate) fn epoch(&self) -> u64 {
        self.journaling.epoch.number.load(Relaxed)
    }

    /// A stream has come to a key as a whole: no position outlives this process.
    pub(super) fn unsettle_epoch(&self) {
        let epoch = &self.journaling.epoch;
        if epoch.has_file.load(SeqCst) && epoch.has_file.swap(false, SeqCst) {
            // Not synced: a kill leaves the file system as it is, and after a loss of power the machine has booted anew.
            let removed = fs::remove_file(directory(&self.config()).join(FILE));
            if let Err(error) = removed.or_else(unless_there) {
                tracing::warn!(%error, "the epoch of positions can't be forgotten: after a restart it is the same");
            }
        }
    }

    /// The journal has been loaded; `is_whole`: with all that is in it.
    pub(super) fn settle_epoch(&self, is_whole: bool) {
        let (directory, repairs) = self.epoch_place();
        let kept = sterna_filesystem::read_text(directory.join(FILE), FILE_BYTES_MAX);
        let kept = kept.ok().and_then(|text| Kept::parse(&text));
        if let Some(kept) = kept.filter(|kept| is_whole && kept.is_proven(repairs, boot().as_deref())) {
            self.journaling.epoch.number.store(kept.epoch, Relaxed);
        }
        self.keep_epoch(self.journaling.mode() == Mode::On);
    }

    /// From here on every write is journaled, or no more.
    pub(super) fn keep_epoch(&self, is_journaled: bool) {
        let state = boot().filter(|_| is_journaled).map(|boot| State::Running { boot });
        self.write_epoch(state);
    }

    /// The journal is closed, and nothing comes behind it.
    pub(super) fn close_epoch(&self) {
        match self.journaling.mode() {
            Mode::On => self.write_epoch(Some(State::Closed)),
            // What is there holds for the next start.
            Mode::Loading => {}
            _ => self.write_epoch(None),
        }
    }

    fn write_epoch(&self, state: Option<State>) {
        let (directory, repairs) = self.epoch_place();
        let has_placed = || self.partitions.placed().count() > 0;
        let state = state.filter(|_| !has_placed());
        self.journaling.epoch.has_file.store(state.is_some(), SeqCst);
        let is_kept = state.is_some();
        let written = match state {
            // What stood there before must not be taken for true.
            Some(state) => Kept { epoch: self.epoch(), repairs, state }
                .write(&directory)
                .or_else(|error| forget(&directory).and(Err(error))),
            None => forget(&directory),
        };
        if let Err(error) = written {
            tracing::warn!(%error, "the epoch of positions can't be kept: after a restart it is another");
        }
        // It may have been written over by what it was to be removed for.
        if is_kept && has_placed() {
            self.journaling.epoch.has_file.store(true, SeqCst);
            self.unsettle_epoch();
        }
    }

    fn epoch_place(&self) -> (PathBuf, u64) {
        let repairs = self.journaling.opened.get().map_or(0, |journal| journal.stats().epoch);
        (directory(&self.config()), repairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_it_was_written_and_nothing_else_is() {
        let running = Kept { epoch: 0xfe, repairs: 3, state: State::Running { boot: "b-1".to_owned() } };
        let closed = Kept { state: State::Closed, ..running.clone() };
        for kept in [&running, &closed] {
            assert_eq!(Kept::parse(&kept.text()).as_ref(), Some(kept));
        }
        for text in
            ["", "x 0 closed", "1 closed", "1 -1 closed", "1 0 running", "1 0 closed x", "1 0 running b x"]
        {
            assert_eq!(Kept::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_epoch_holds_after_an_end_in_order_or_on_the_same_boot_if_nothing_was_repaired() {
        let running = Kept { epoch: 1, repairs: 3, state: State::Running { boot: "b-1".to_owned() } };
        let closed = Kept { state: State::Closed, ..running.clone() };
        let rows = [
            (&running, 3, Some("b-1"), true),
            (&running, 3, Some("b-2"), false),
            (&running, 3, None, false),
            (&running, 4, Some("b-1"), false),
            (&closed, 3, Some("b-2"), true),
            (&closed, 3, None, true),
            (&closed, 4, Some("b-1"), false),
        ];
        for (kept, repairs, boot, expected) in rows {
            assert_eq!(kept.is_proven(repairs, boot), expected, "{kept:?}, {repairs}, {boot:?}");
        }
    }
}
