//! A story's openings: what a start finds, compared with what was appended.

use std::sync::Arc;

use super::Story;
use crate::disk::Disk;
use crate::disk::simulated::Crash;
use crate::recovery::{Recovery, Rejected, Report, Restore};
use crate::simulation::{Stepper, Subject};
use crate::{Error, Journal, Lsn, Options, SnapshotInfo};

/// A subject being restored, and the records it is handed compared with those that were appended.
struct Compared<'a, S> {
    subject: S,
    history: &'a [Vec<u8>],
    /// Where the snapshot was begun that a start begins with.
    start: Lsn,
}

impl<S: Subject> Restore for Compared<'_, S> {
    fn begin(&mut self, snapshot: Option<SnapshotInfo>) {
        self.start = snapshot.map_or(Lsn::ZERO, |snapshot| snapshot.start);
        self.subject.begin(snapshot);
    }

    fn item(&mut self, key: &[u8], stamp: Lsn, value: &[u8]) -> Result<(), Rejected> {
        self.subject.item(key, stamp, value)
    }

    fn record(&mut self, lsn: Lsn, payload: &[u8]) -> Result<(), Rejected> {
        let appended = self.history.get(lsn.0 as usize - 1).ok_or(Rejected("an invented record"))?;
        if appended != payload {
            return Err(Rejected("not the record that was appended"));
        }
        self.subject.record(lsn, payload)
    }
}

impl<S: Subject> Story<S> {
    /// Opens the journal and checks what it gives, through crashes while it does.
    pub(super) fn open(&mut self) -> Result<(S, Journal, Stepper), String> {
        if self.flips && self.dice.once_in(2) {
            self.open_damaged()?;
        }
        // Each crash in the opening uses up the one that was planned, so this ends.
        loop {
            match self.open_once() {
                Ok((subject, start, report, journal, engine)) => {
                    let floor = self.durable.max(self.written);
                    self.check(&subject, start, report, floor)?;
                    self.accept(report);
                    return Ok((subject, journal, engine));
                }
                Err(error) if self.disk.crashed() => {
                    trace!(self, "crash while opening: {error}");
                    self.tally.crashes_in_recovery += 1;
                    let crash = if self.dice.once_in(2) { Crash::Process } else { Crash::Power };
                    self.disk.restart(crash);
                    if crash == Crash::Power {
                        self.written = Lsn::ZERO;
                    }
                }
                Err(error) => return Err(format!("the opening was refused: {error}")),
            }
        }
    }

    fn open_once(&mut self) -> Result<(S, Lsn, Report, Journal, Stepper), Error> {
        let options = Options { entropy: Some(self.dice.roll()), ..self.options.clone() };
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let recovery = Recovery::open(disk, options)?;
        let mut compared = Compared { subject: S::empty(), history: &self.history, start: Lsn::ZERO };
        let recovered = recovery.replay(&mut compared)?;
        let report = recovered.report();
        let (journal, engine) = recovered.start_stepped(Arc::new(|_| {}))?;
        Ok((compared.subject, compared.start, report, journal, engine))
    }

    /// The digest of the state that a start finds whose log ends at `last`, and whose snapshot was begun at `start`.
    fn expected(&self, mut last: Lsn, start: Lsn) -> Option<u64> {
        loop {
            let moment = self.moments.get(last.0 as usize)?;
            match moment.suspended_by {
                Some(suspend) if start < suspend => last = Lsn(suspend.0 - 1),
                _ => return Some(moment.digest),
            }
        }
    }

    /// Checks that a state is the one after the records up to `report.last`, which is at least `floor`; the snapshot was begun
    /// at `start`.
    fn check(&self, subject: &S, start: Lsn, report: Report, floor: Lsn) -> Result<(), String> {
        let last = report.last;
        trace!(self, "opened: {report:?}");
        if last < floor {
            return Err(format!("the log ends at {last}, but {floor} was promised"));
        }
        match self.expected(last, start) {
            None => Err(format!("the log ends at {last}, but only {} were appended", self.history.len())),
            Some(digest) if digest != subject.digest() => {
                Err(format!("the state after {last} is not what it was"))
            }
            Some(_) => Ok(()),
        }
    }

    /// From here on the records up to `report.last` are the history.
    fn accept(&mut self, report: Report) {
        self.tally.openings += 1;
        self.tally.torn += u64::from(report.torn_bytes > 0);
        self.tally.lost += self.history.len() as u64 - report.last.0;
        self.history.truncate(report.last.0 as usize);
        self.moments.truncate(report.last.0 as usize + 1);
        self.durable = report.last;
        self.written = report.last;
    }

    /// Flips a bit, sees that it is reported or harmless, and flips it back.
    fn open_damaged(&mut self) -> Result<(), String> {
        let names = self.disk.names();
        let Some(name) = names.get(self.dice.below(names.len().max(1))) else { return Ok(()) };
        let bits = self.disk.bytes(name).map_or(0, |bytes| bytes.len() * 8);
        if bits == 0 {
            return Ok(());
        }
        let bit = self.dice.below(bits);
        trace!(self, "flip bit {bit} of {name} (byte {} of {})", bit / 8, bits / 8);
        self.disk.clear_faults();
        self.disk.flip_bit(name, bit);
        self.tally.flips += 1;
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let mut compared = Compared { subject: S::empty(), history: &self.history, start: Lsn::ZERO };
        let outcome = Recovery::open(disk, self.options.clone())
            .and_then(|recovery| recovery.replay(&mut compared))
            .map(|recovered| recovered.report());
        match outcome {
            Err(Error::Rejected { file, offset, why }) => {
                return Err(format!("damage was served: {file} at {offset}: {why}"));
            }
            Err(error) => {
                trace!(self, "refused: {error}");
                self.tally.refused += 1;
            }
            Ok(report) => {
                self.check(&compared.subject, compared.start, report, Lsn::ZERO)?;
                if report.last < self.durable {
                    if report.torn_bytes == 0 {
                        return Err(format!("damage cut the log at {} without a report", report.last));
                    }
                    self.tally.ambiguous += 1;
                }
            }
        }
        self.disk.flip_bit(name, bit);
        Ok(())
    }
}
